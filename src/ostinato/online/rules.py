"""Rewrite rules: what a better child has in place of what its parent had.

Rule of this file: a rule is `general` only if the target said so of the rule on its own; any other is kept by how often it was
right where it was tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

from ostinato.errors import DamageError
from ostinato.online.target import Features, Target

LONGEST = 16  # words of a rule's side before
CONTEXT = 2  # words on each side that may join a window
MOST = 1024  # rules in a book

_REMEMBERED = 1 << 16  # checks
_FORGOTTEN = 0.25  # of a book that is too full
VARIATIONS = ("constant", "registers", "depths")

Words = tuple[str, ...]


@dataclass
class Rule:
    """before -> after.

    Attributes:
        saved: cycles that the target says it saves, or that it saved where it was found.
        general: does the target say that it holds wherever it stands?
        varies: what of it may be another, as `VARIATIONS` says.
        seen: how often it was found, by program. successes, failures: how often a candidate that it made was valid, or not.
    """

    before: Words
    after: Words
    saved: int
    general: bool
    varies: list[str] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)
    successes: int = 0
    failures: int = 0

    def __str__(self) -> str:
        mark = "" if self.general else "  (not in general)"
        where = ", ".join(f"{name} {count}" for name, count in sorted(self.seen.items()))
        mark += f"  (any {', '.join(self.varies)})" if self.varies else ""
        tried = self.successes + self.failures
        return (
            f"{'; '.join(self.before) or '-'}  ->  {'; '.join(self.after) or '-'}  saves {self.saved}{mark}"
            f"  right {self.successes} of {tried}  seen in {where or 'none'}"
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "before": list(self.before), "after": list(self.after), "saved": self.saved, "general": self.general,
            "varies": self.varies, "seen": self.seen, "successes": self.successes, "failures": self.failures,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: Any) -> Rule:
        """Raises: DamageError: it is none."""
        try:
            sides = [tuple(map(str, data[side])) for side in ("before", "after")]
            seen = {str(name): int(count) for name, count in data["seen"].items()}
            counts = int(data["successes"]), int(data["failures"])
            varies = [str(one) for one in data["varies"] if one in VARIATIONS]
            return cls(sides[0], sides[1], int(data["saved"]), bool(data["general"]), varies, seen, *counts)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DamageError(f"expected a rule, got {data!r:.80}: {error}", field="rules") from None


def hunks(before: Sequence[str], after: Sequence[str]) -> list[tuple[int, int, int, int]]:
    """Where these differ, as (start, end) in the one and (start, end) in the other, in order."""
    return [
        (a, b, c, d)
        for tag, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        if tag != "equal"
    ]


def windows(
    before: Sequence[str], after: Sequence[str], hunk: tuple[int, int, int, int]
) -> Iterator[tuple[Words, Words]]:
    """A window in which these differ, then with more of the words around that they share; the shortest first."""
    a, b, c, d = hunk
    contexts = sorted(
        ((x, y) for x in range(CONTEXT + 1) for y in range(CONTEXT + 1)), key=lambda x: (sum(x), x)
    )
    for left, right in contexts:
        inside = left <= min(a, c) and b + right <= len(before) and d + right <= len(after)
        if (
            not inside
            or before[a - left : a] != after[c - left : c]
            or before[b : b + right] != after[d : d + right]
        ):
            continue
        found = tuple(before[a - left : b + right]), tuple(after[c - left : d + right])
        if 0 < len(found[0]) <= LONGEST:
            yield found


class RuleBook:
    """Rules by what they say, and how they are found. Bounded: when it is full, the quarter that was of least use is forgotten.

    Args:
        target: checks them. most: rules that it holds. like: a book of the same target that has checked rules already.
    """

    def __init__(self, target: Target, *, most: int = MOST, like: RuleBook | None = None) -> None:
        self._target = target
        self._most = most
        self._rules: dict[tuple[Words, Words], Rule] = {}
        self._said: dict[tuple[Words, Words], Rule] = {}  # instances
        self.checks = 0
        self._known: _Known = _Known(target) if like is None else like._known

    def __len__(self) -> int:
        return len(self._rules)

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._rules.values())

    def add(self, rule: Rule) -> Rule:
        """A rule, unless one says the same; the one that is kept."""
        own = self._rules.setdefault((rule.before, rule.after), rule)
        for said in self.instances(own):
            self._said.setdefault(said, own)
        if len(self._rules) > self._most:
            self._forget(own)
        return own

    def _forget(self, last: Rule) -> None:
        """What holds in general stays before what does not, then what was found or right more often, then what is newer."""
        kept = list(self._rules.values())
        use = [
            (rule is last, rule.general, sum(rule.seen.values()) + rule.successes, i)
            for i, rule in enumerate(kept)
        ]
        order = sorted(range(len(kept)), key=use.__getitem__)
        gone = set(order[: max(1, int(_FORGOTTEN * len(kept)))])
        self._rules = {(rule.before, rule.after): rule for i, rule in enumerate(kept) if i not in gone}
        self._said = {}
        for rule in self._rules.values():
            for said in self.instances(rule):
                self._said.setdefault(said, rule)

    def tally(self, counts: Mapping[tuple[Words, Words], tuple[int, int]]) -> None:
        """How often candidates that these rules made were valid, and not; others keep what they have."""
        for said, (right, wrong) in counts.items():
            if said in self._rules:
                self._rules[said].successes, self._rules[said].failures = right, wrong

    def __contains__(self, said: tuple[Words, Words]) -> bool:
        return said in self._rules

    def saved(self, before: Words, after: Words) -> int | None:
        """Cycles saved if the rule holds in general, else None. Cost: a check by the target, once."""
        key = (before, after)
        if key not in self._known.checked:
            fits = self._known.depths.change(before) == self._known.depths.change(after)
            if len(self._known.checked) >= _REMEMBERED:
                self._known.checked.clear()
            self.checks += fits
            self._known.checked[key] = self._target.check_rule(before, after) if fits else None
        return self._known.checked[key]

    def learn(self, program: str, before: Words, after: Words, gained: int) -> list[Rule]:
        """The rules that this pair shows: for each place where it differs the smallest that holds in general; if there is
        none, for all places at once, and if that does not hold in general either, with the gain that it had here."""
        places = hunks(before, after)
        if not places:
            return []
        found = []
        for place in places:
            rule = self._smallest(program, windows(before, after, place))
            if rule is not None:
                found.append(rule)
        if len(found) < len(places) and len(places) > 1:
            places = [(places[0][0], places[-1][1], places[0][2], places[-1][3])]
            rule = self._smallest(program, windows(before, after, places[0]))
            found += [] if rule is None else [rule]
        if not found:
            for window in windows(before, after, places[0]):
                if self._known.depths.change(window[0]) == self._known.depths.change(window[1]):
                    return [self._count(self.add(Rule(*window, gained, False)), program)]
        return found

    def _smallest(self, program: str, candidates: Iterable[tuple[Words, Words]]) -> Rule | None:
        for window in candidates:
            if window in self._said and self._said[window].general:
                return self._count(self._said[window], program)
            saved = self.saved(*window)
            if saved is not None and saved >= 0:
                rule = Rule(*window, saved, True)
                self._widen(rule)
                return self._count(self.add(rule), program)
        return None

    @staticmethod
    def _count(rule: Rule, program: str) -> Rule:
        rule.seen[program] = rule.seen.get(program, 0) + 1
        return rule

    def _widen(self, rule: Rule) -> None:
        """Find out whether it holds with other registers, or with another constant, by a few checks."""
        for varies in VARIATIONS:
            others = self._known.depths.instances(rule.before, rule.after, varies)
            asked = others[:1] + others[len(others) // 2 : len(others) // 2 + 1] + others[-1:]
            if len(others) > 1 and all(self.saved(*other) == rule.saved for other in asked):
                rule.varies.append(varies)

    def instances(self, rule: Rule) -> list[tuple[Words, Words]]:
        """What the rule says: itself, and itself with whatever may vary."""
        return self._known.instances(rule)

    def coded(self, rule: Rule) -> list[tuple[list[int], list[int]]]:
        """The same as token ids, of a rule whose words the target has."""
        return self._known.coded(rule)


class _Known:
    """What is true of rules whichever book they are in, so that nobody finds it out twice: checks, and what rules say."""

    def __init__(self, target: Target) -> None:
        self._ids = target.vocabulary.ids
        words = {target.vocabulary.word(i): i for i in range(len(target.vocabulary))}
        self.depths = _Depths(target.features, words)
        self.checked: dict[tuple[Words, Words], int | None] = {}
        self._said: dict[tuple[Words, Words, tuple[str, ...]], list[tuple[Words, Words]]] = {}
        self._coded: dict[tuple[Words, Words, tuple[str, ...]], list[tuple[list[int], list[int]]]] = {}

    def instances(self, rule: Rule) -> list[tuple[Words, Words]]:
        key = (rule.before, rule.after, tuple(rule.varies))
        if key not in self._said:
            said = [(rule.before, rule.after)]
            for varies in rule.varies:
                said += self.depths.instances(rule.before, rule.after, varies)
            if len(self._said) >= 4 * MOST:
                self._said.clear()
            self._said[key] = list(dict.fromkeys(said))
        return self._said[key]

    def coded(self, rule: Rule) -> list[tuple[list[int], list[int]]]:
        key = (rule.before, rule.after, tuple(rule.varies))
        if key not in self._coded:
            if len(self._coded) >= 4 * MOST:
                self._coded.clear()
            self._coded[key] = [
                (self._ids(before), self._ids(after)) for before, after in self.instances(rule)
            ]
        return self._coded[key]


class _Depths:
    """What rules need of a target's features, by word."""

    def __init__(self, features: Features, ids: Mapping[str, int]) -> None:
        self._ids, self._features = ids, features
        self._register: dict[tuple[int, int], str] = {}
        self._counted: dict[tuple[int, int], str] = {}  # words of a kind whose argument changes the depth
        self._constant: dict[tuple[int, str], str] = {}  # words of a kind whose argument does not
        changes: dict[int, set[int]] = {}
        for i in ids.values():
            changes.setdefault(int(features.kind[i]), set()).add(int(features.change[i]))
        for word, i in ids.items():
            kind = int(features.kind[i])
            if features.register[i] >= 0:
                self._register[kind, int(features.register[i])] = word
            elif len(changes[kind]) > 1:
                self._counted[kind, int(features.change[i])] = word
            elif " " in word:
                self._constant[kind, word.rsplit(" ", 1)[1]] = word
        self._values = list(dict.fromkeys(value for _, value in self._constant))

    def change(self, words: Words) -> int:
        """Words that the stack grows by."""
        return sum(int(self._features.change[self._ids[word]]) for word in words if word in self._ids)

    def instances(self, before: Words, after: Words, varies: str) -> list[tuple[Words, Words]]:
        """The rule with all registers moved alike ("registers"), with all registers and counts ("depths"), or with another
        constant in place of one that both sides have ("constant")."""
        if varies == "constant":
            return self._with_constants(before, after)
        out: list[tuple[Words, Words]] = []
        for by in (*range(1, 15), *range(-1, -15, -1)):
            counts = by if varies == "depths" else 0
            sides = [[self._moved(word, by, counts) for word in side] for side in (before, after)]
            new = tuple(w for w in sides[0] if w), tuple(w for w in sides[1] if w)
            if None not in sides[0] + sides[1] and new != (before, after):
                out.append(new)
        return out

    def _with_constants(self, before: Words, after: Words) -> list[tuple[Words, Words]]:
        mine = [self._value(word) for word in before]
        shared = [value for value in dict.fromkeys(mine) if value is not None]
        if len(shared) != 1 or any(self._value(word) not in (None, shared[0]) for word in after):
            return []
        out = []
        for value in self._values:
            sides = [
                [word if self._value(word) is None else self._other(word, value) for word in side]
                for side in (before, after)
            ]
            if value != shared[0] and None not in sides[0] + sides[1]:
                out.append((tuple(map(str, sides[0])), tuple(map(str, sides[1]))))
        return out

    def _value(self, word: str) -> str | None:
        i = self._ids.get(word)
        value = word.rsplit(" ", 1)[-1]
        return value if i is not None and (int(self._features.kind[i]), value) in self._constant else None

    def _other(self, word: str, value: str) -> str | None:
        return self._constant.get((int(self._features.kind[self._ids[word]]), value))

    def _moved(self, word: str, by: int, counts: int) -> str | None:
        i = self._ids.get(word)
        if i is None:
            return word
        kind, change = int(self._features.kind[i]), int(self._features.change[i])
        register = int(self._features.register[i])
        if register >= 0:
            return self._register.get((kind, register + by))
        if counts and (kind, change) in self._counted:
            return self._counted.get((kind, change + (counts if change > 0 else -counts)))
        return word
