"""The policy that learns: rules where they match, drawn by how often they were right, among edits that know good code.

Rule of this file: everything here is learned from verified results, or follows from the target's features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import DamageError
from ostinato.online.edits import (
    AGAIN,
    SLOTS,
    Family,
    Grammar,
    Parents,
    children,
    plain_grammar,
    spread,
    taught_grammar,
)
from ostinato.online.filter import BATCH, Filter
from ostinato.online.policies import Example, Proposals, joined, read_json, without_rule, write_json
from ostinato.online.ranking import Ranking
from ostinato.online.rules import Rule, RuleBook, Words
from ostinato.online.target import Judged, Target

# of DELETE, INSERT, REPLACE, ARGUMENT, MOVE, EXCHANGE, WINDOW, CLOSE, TAKE, FRAGMENT, CROSS, SCRATCH, PAIR
WEIGHTS = (5, 4, 8, 10, 8, 5, 18, 8, 8, 10, 5, 12, 5)
_KNOWN = 0.75  # of an edit's weight, what follows from its gains so far
_FADES = 0.999  # what a beam's past counts after the next
_PRIOR = 1000.0  # attempts of each edit that are taken as given, with the mean gain
_MORE = 2  # candidates that are proposed for each that is judged
_DRAWN = 0.1  # of those judged, what is drawn whatever the model says
_LEAST = 4096  # and at least so many, where few are judged at once: then each judgement is worth more
_KNOWS_NOTHING = 200  # verdicts before which the model is not asked
_SHORTER = 0.7  # of those judged, what is shorter than the best
_PLAIN = 0.5  # of edits from the fixed distribution, so that what was never seen can be found
_MATCHES = 4096
_ROUNDS = 3  # rules that may follow each other in one candidate
_PIECES = 256
_LONGEST_PIECE = 4


class RulePolicy:
    """Rules and edits, learned.

    Args:
        target: whose words; it checks rules. rules: of candidates, the share that rules may make where enough of them match.
    """

    def __init__(self, target: Target, *, rules: float = 0.5, more: int = _MORE) -> None:
        self._target = target
        self._share = rules
        self._family = Family.of(target.features)
        self._base = np.array(WEIGHTS, np.float64) / sum(WEIGHTS)
        self._gains, self._efforts = np.zeros(len(WEIGHTS)), np.zeros(len(WEIGHTS))
        self.version = 0
        self.ranking = Ranking(target.features)
        self._more = more
        self.rules = RuleBook(target)
        self.good: dict[str, Words] = {}  # the best code seen of each program
        self._cycles: dict[str, int] = {}
        self._plain: dict[int, Grammar] = {}
        self._learned: dict[int, tuple[int, Grammar]] = {}
        self._patterns: _Patterns | None = None
        self.observed: dict[tuple[Words, Words], tuple[int, int]] = {}  # by rule: right and wrong, here

    def propose(self, parents: Parents, count: int, rng: np.random.Generator) -> Proposals:
        """About so many: rules first, then edits. Cost: about 0.5 us a candidate, and some ms where many rules match."""
        batch = Filter(BATCH)
        made = self._by_rules(parents, int(self._share * count), rng)
        made = [one.take(batch.new(parents.program, one.tokens, one.offsets, parents.tried)) for one in made]
        count -= sum(map(len, made))
        left = max(self._more * count, _LEAST)
        plain = int(_PLAIN * left) if self.good else left
        edits = [self._edits(parents, plain, self._plain_of(parents.program), batch, rng)]
        if left > plain:
            edits.append(self._edits(parents, left - plain, self._grammar(parents.program), batch, rng))
        return joined([*made, self._worth(parents, joined(edits), count, rng)])

    def _worth(self, parents: Parents, made: Proposals, count: int, rng: np.random.Generator) -> Proposals:
        """Those that are most worth a judgement, and a few that are drawn."""
        if len(made) <= count:
            return made
        chances = self.ranking.chances(parents, made)
        lengths, own = np.diff(made.offsets), np.diff(parents.starts)
        gain = own.min() - lengths
        worth = chances * np.sqrt(1.0 + np.maximum(gain, 0)) * rng.gamma(2.0, 0.5, len(made))
        if self.ranking.taught < _KNOWS_NOTHING:
            worth = rng.random(len(made))
        chosen = np.zeros(len(made), np.bool_)
        for group, share in ((gain > 0, _SHORTER), (gain <= 0, 1.0 - _SHORTER - _DRAWN)):
            own, most = np.flatnonzero(group), int(share * count)
            chosen[own[np.argpartition(-worth[own], most)[:most]] if len(own) > most else own] = True
        others = np.flatnonzero(~chosen)
        chosen[rng.choice(others, min(len(others), count - int(chosen.sum())), replace=False)] = True
        return made.take(chosen)

    def _edits(
        self, parents: Parents, count: int, grammar: Grammar, batch: Filter, rng: np.random.Generator
    ) -> Proposals:
        seed = int(rng.integers(0, 2**63))
        return without_rule(
            children(parents, count, seed, grammar, self._family, self._weights(), AGAIN, batch)
        )

    def _weights(self) -> NDArray[np.float64]:
        """Of the edits: as given, and by what each has gained."""
        mean = self._gains.sum() / max(1.0, self._efforts.sum())
        if not mean:
            return self._base
        rates = (self._gains + _PRIOR * mean) / (self._efforts + _PRIOR)
        weights: NDArray[np.float64] = (1 - _KNOWN) * self._base + _KNOWN * rates / rates.sum()
        return weights

    def _by_rules(self, parents: Parents, count: int, rng: np.random.Generator) -> list[Proposals]:
        """Rules applied where they match, then more rules to what that made, which nobody has judged: what several have made together
        says nothing of one of them."""
        if not len(self.rules) or count < 1:
            return []
        if self._patterns is None:
            self._patterns = _Patterns(self.rules, self._target)
        out: list[Proposals] = []
        lists = parents.lists
        origin, chances = np.arange(len(lists)), np.ones(len(lists))
        for turn in range(_ROUNDS):
            found = self._patterns.apply(lists, origin, chances, count // _ROUNDS, parents.limit, rng)
            if found is None:
                break
            made, chances = found
            lists, origin = [list(made.code(i)) for i in range(len(made))], made.parent
            out.append(made if turn == 0 else without_rule(made))
        return out

    def observe(self, parents: Parents, proposals: Proposals, judged: Judged, cycles: int) -> None:
        """Count for each rule how often it was right, and for each edit what it gained."""
        self._credit(proposals, judged, cycles)
        if len(proposals):
            self.ranking.learn(parents, proposals, judged.valid)
        if self._patterns is None:
            return
        made = proposals.rule >= 0
        size = len(self._patterns.rules)
        right = np.bincount(proposals.rule[made & judged.valid], minlength=size)
        wrong = np.bincount(proposals.rule[made & ~judged.valid], minlength=size)
        for i in np.flatnonzero(right + wrong).tolist():
            rule = self._patterns.rules[i]
            rule.successes += int(right[i])
            rule.failures += int(wrong[i])
            known = self.observed.get((rule.before, rule.after), (0, 0))
            self.observed[rule.before, rule.after] = known[0] + int(right[i]), known[1] + int(wrong[i])

    def _credit(self, proposals: Proposals, judged: Judged, cycles: int) -> None:
        made = (proposals.how[:, None] >> np.arange(len(WEIGHTS))) & 1
        self._gains *= _FADES
        self._efforts = self._efforts * _FADES + made.sum(0)
        if judged.valid.any():
            best = int(np.argmin(np.where(judged.valid, judged.cycles, 2**62)))
            if judged.cycles[best] < cycles and made[best].any():
                self._gains += (cycles - int(judged.cycles[best])) * made[best] / made[best].sum()

    def learn(self, examples: Sequence[Example]) -> None:
        """Rules from better children, and what good code looks like; of words that the target has. Cost: some checks by the target for
        each example."""
        known = self._target.vocabulary
        examples = [one for one in examples if all(word in known for word in (*one.before, *one.after))]
        for one in examples:
            if one.cycles_after < self._cycles.get(one.program, 2**62):
                self._cycles[one.program] = one.cycles_after
                self.good[one.program] = one.after
            self.rules.learn(one.program, one.before, one.after, one.cycles_before - one.cycles_after)
        if examples:
            self.version += 1
            self._patterns = None

    def observations(self) -> dict[str, Any]:
        """For JSON: what `observe` has counted, for a learner to `gather`."""
        return {
            "rules": [
                [list(before), list(after), *counts] for (before, after), counts in self.observed.items()
            ],
            "ranking": self.ranking.as_dict(),
            "edits": [self._gains.tolist(), self._efforts.tolist()],
        }

    def gather(self, many: Sequence[Any]) -> None:
        """Take over what others have observed: how often each rule was right, their rankings' mean, what edits gained. What is no
        such observation is passed over."""
        counts: Counter[tuple[Words, Words, bool]] = Counter()
        rankings, edits = [], []
        for one in many:
            try:
                ranking = Ranking(self._target.features)
                ranking.restore(one["ranking"])
                rows = [
                    (tuple(map(str, b)), tuple(map(str, a)), int(r), int(w)) for b, a, r, w in one["rules"]
                ]
                edits.append(_edits_of(one["edits"]))
            except (DamageError, KeyError, TypeError, ValueError):
                continue
            rankings.append(ranking)
            for before, after, right, wrong in rows:
                counts[before, after, True] += max(0, right)
                counts[before, after, False] += max(0, wrong)
        if not rankings:
            return
        self.rules.tally({(b, a): (counts[b, a, True], counts[b, a, False]) for b, a, _ in counts})
        self.ranking = Ranking.mean(self._target.features, rankings)
        self._gains, self._efforts = (np.sum([one[k] for one in edits], axis=0) for k in (0, 1))

    def _plain_of(self, program: int) -> Grammar:
        if program not in self._plain:
            self._plain[program] = plain_grammar(self._target, program)
        return self._plain[program]

    def _grammar(self, program: int) -> Grammar:
        """What edits of this program put in, after what was good elsewhere."""
        known = self._learned.get(program)
        if known is None or known[0] != self.version:
            self._learned[program] = known = self.version, self._made(program)
        return known[1]

    def _made(self, program: int) -> Grammar:
        ids = self._target.vocabulary.ids
        kind = self._target.features.kind
        tokens, weights = self._target.alphabet(program)
        weights = weights / weights.sum()
        allowed = set(tokens.tolist())
        place = {t: i for i, t in enumerate(tokens.tolist())}
        rows = np.zeros((2 + int(kind.max()), len(tokens)))
        pieces: Counter[tuple[int, ...]] = Counter()
        for words in self.good.values():
            code = ids(words)
            for before, token in zip([-1, *code], code, strict=False):
                if token in place:
                    rows[0 if before < 0 else 1 + int(kind[before]), place[token]] += 1.0
            for size in range(1, _LONGEST_PIECE + 1):
                pieces.update({tuple(code[i : i + size]) for i in range(len(code) - size + 1)})
        for rule in self.rules:
            if 0 < len(rule.after) <= _LONGEST_PIECE:
                pieces[tuple(ids(rule.after))] += 1
        single = rows.sum(0)
        single /= max(1.0, single.sum())
        totals = rows.sum(1, keepdims=True)
        mixed = (
            0.4 * weights
            + 0.25 * single
            + 0.35 * np.where(totals > 0, rows / np.maximum(totals, 1.0), weights)
        )
        tables = np.concatenate([spread(tokens, row, SLOTS) for row in mixed])
        usable = [piece for piece, _ in pieces.most_common(4 * _PIECES) if allowed.issuperset(piece)]
        return taught_grammar(self._plain_of(program), self._target, tables, usable[:_PIECES])

    def save(self, path: str | Path) -> None:
        """As JSON."""
        data = {
            "policy": "rules",
            "version": self.version,
            "rules": [rule.as_dict() for rule in self.rules],
            "ranking": self.ranking.as_dict(),
            "edits": [self._gains.tolist(), self._efforts.tolist()],
            "good": {name: [list(words), self._cycles[name]] for name, words in self.good.items()},
        }
        write_json(path, data)

    def load(self, path: str | Path) -> None:
        """What `save` wrote, in place of all that was learned.

        Raises:
            DamageError: it is no such file.
        """
        data = read_json(path, "rules")
        rules, ranking = RuleBook(self._target, like=self.rules), Ranking(self._target.features)
        try:
            known = self._target.vocabulary  # a policy of other programs may have words that these do not
            for one in data["rules"]:
                rule = Rule.from_dict(one)
                if all(word in known for word in (*rule.before, *rule.after)):
                    rules.add(rule)
            ranking.restore(data["ranking"])
            good = {str(name): tuple(map(str, words)) for name, (words, _) in data["good"].items()}
            good = {name: words for name, words in good.items() if all(word in known for word in words)}
            cycles = {name: int(data["good"][name][1]) for name in good}
            gains, efforts = _edits_of(data["edits"])
            version = int(data["version"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DamageError(f"expected a policy: {error!r:.200}", source=str(path)) from None
        self.rules, self.ranking, self.version = rules, ranking, version
        self.good, self._cycles = good, cycles
        self._gains, self._efforts = gains, efforts
        self._patterns = None
        self._learned.clear()

    def adopt(self, path: str | Path) -> None:
        """Take over the rules and the good code that `save` wrote, and keep what this one has learned by observing.

        Raises:
            DamageError: it is no such file.
        """
        other = RulePolicy(self._target)
        other.rules = self.rules  # what is known of rules is not found out again
        other.load(path)
        self.rules, self.good, self._cycles = other.rules, other.good, other._cycles
        self.version = other.version
        self.observed = {said: counts for said, counts in self.observed.items() if said in self.rules}
        if not self.ranking.taught:
            self.ranking = other.ranking
        self._patterns = None
        self._learned.clear()


def _edits_of(data: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(gains, efforts), one of each for every edit. Raises: ValueError."""
    gains, efforts = (np.array(one, np.float64) for one in data)
    if not all(
        one.shape == (len(WEIGHTS),) and np.isfinite(one).all() and (one >= 0).all()
        for one in (gains, efforts)
    ):
        raise ValueError("expected a gain and an effort for each edit")
    return gains, efforts


class _Patterns:
    """Rules as arrays, in order of their first word."""

    def __init__(self, book: RuleBook, target: Target) -> None:
        self.rules = list(book)
        said = [
            (before, after, i)
            for i, rule in enumerate(self.rules)
            for before, after in book.coded(rule)
            if before
        ]
        said.sort(key=lambda one: one[0][0])
        before = [one[0] for one in said]
        self._after = [one[1] for one in said]
        self._rule = np.array([one[2] for one in said], np.int64)
        self._length = np.array([len(words) for words in before], np.int64)
        self._words = np.array([t for words in before for t in words], np.int32)
        self._starts = np.concatenate([[0], np.cumsum(self._length)]).astype(np.int64)
        heads = np.array([words[0] for words in before], np.int64)
        self._heads = np.searchsorted(heads, np.arange(len(target.vocabulary) + 1)).astype(np.int64)
        self._saved = np.array([rule.saved for rule in self.rules], np.float64)

    def apply(
        self,
        lists: Sequence[list[int]],
        origin: NDArray[np.int64],
        chances: NDArray[np.float64],
        count: int,
        limit: int,
        rng: np.random.Generator,
    ) -> tuple[Proposals, NDArray[np.float64]] | None:
        """At most so many applications, the likeliest and most saving drawn first, and how likely each is right as drawn; None if
        nothing matches. chances f64[lists]: how likely each list is right. What is right wherever it stands is thought to be so nine
        times in ten until more is known, what is not one time in ten."""
        from ostinato.online.edits_kernels import matches

        tokens = np.array([t for one in lists for t in one], np.int32)
        starts = np.concatenate([[0], np.cumsum([len(one) for one in lists])]).astype(np.int64)
        found = np.empty(3 * _MATCHES, np.int64)
        size = matches(tokens, starts, self._words, self._starts, self._heads, found)
        if size == 0:
            return None
        rows = found[: 3 * size].reshape(-1, 3)
        right = np.array([1.0 + rule.successes + 8.0 * rule.general for rule in self.rules])
        wrong = np.array([1.0 + rule.failures + 8.0 * (not rule.general) for rule in self.rules])
        drawn = rng.beta(right, wrong)
        said = self._rule[rows[:, 2]]
        each = drawn[said] * chances[rows[:, 0]]
        worth = each * (0.5 + np.maximum(self._saved, 0.0))[said] * rng.random(size) ** 0.25
        order = np.argsort(-worth, kind="stable")[:count]
        made: list[list[int]] = []
        parent, which, likely = [], [], []
        for (mother, at, which_said), chance in zip(rows[order].tolist(), each[order].tolist(), strict=True):
            own = lists[mother]
            code = own[:at] + self._after[which_said] + own[at + int(self._length[which_said]) :]
            if len(code) <= limit:
                made.append(code)
                parent.append(int(origin[mother]))
                which.append(int(self._rule[which_said]))
                likely.append(chance)
        if not made:
            return None
        offsets = np.concatenate([[0], np.cumsum([len(code) for code in made])]).astype(np.int64)
        flat = np.array([t for code in made for t in code], np.int32)
        proposals = Proposals(
            flat,
            offsets,
            np.array(parent, np.int64),
            np.array(which, np.int64),
            np.zeros(len(made), np.int64),
        )
        return proposals, np.array(likely)
