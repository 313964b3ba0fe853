"""Inputs that take every comparison of a reference both ways, found by solving for them where drawing does not.

What is compared shows what to change: a word of the input that is one operand becomes the other, all pairs at once where digests
are compared; a difference that a word moves in proportion is solved for 0; and two arguments are made equal. What comes
out is kept if it takes a comparison in a way that no input did. (The first of these is what fuzzers call input-to-state
correspondence: Aschermann et al. 2019, "Redqueen".)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ostinato.goldilocks import P, inverse
from ostinato.judge.drawing import EDGES, U32, U32_EDGES, Rng, any_word, draw, fit, fits
from ostinato.judge.inputs import Event, Input, Reference

BUDGET = 1500  # runs of the reference that looking may cost
_NEAR = 6  # inputs that one way is looked for from
_SINGLE = 96  # inputs that differ from one that passes in one word

Way = tuple[tuple[int, ...], str, int]


@dataclass(frozen=True, slots=True)
class Coverage:
    """What comparisons have been seen to do.

    Attributes:
        inputs: those that were found besides the given ones. reached: outcomes by (site, kind).
        missing: (site, kind, outcome) that no input takes.
    """

    inputs: list[Input]
    reached: Mapping[tuple[tuple[int, ...], str], frozenset[int]]
    missing: list[Way]


def tests_for(reference: Reference, seed: int, count: int) -> tuple[list[Input], Coverage]:
    """Tests for a reference: so many drawn ones, and those that cover what these do not, which come first.

    Cost: some hundred runs of the reference, at most some thousand.
    """
    rng = np.random.default_rng([seed, 0])
    drawn = [given for given, _ in draw(reference, count, rng)]
    coverage = cover(reference, drawn, rng)
    return [*coverage.inputs, *drawn], coverage


def cover(reference: Reference, inputs: list[Input], rng: Rng, *, budget: int = BUDGET) -> Coverage:
    """Look for inputs that take each comparison the way that the given ones do not."""
    search = _Search(reference, budget)
    for given in inputs:
        search.look(given)
    progress = True
    while progress and search.left > 0:
        progress = False
        for way in search.missing():
            progress |= search.reach(way, rng)
    found = list(search.kept)
    found += _single_changes(search, rng)
    reached = {key: frozenset(outcomes) for key, outcomes in search.reached.items()}
    return Coverage(found, reached, search.missing())


class _Search:
    def __init__(self, reference: Reference, budget: int) -> None:
        self.reference, self.left = reference, budget
        self.reached: dict[tuple[tuple[int, ...], str], set[int]] = {}
        self.near: dict[tuple[tuple[int, ...], str], list[tuple[Input, Event]]] = {}
        self.kept: list[Input] = []
        self.passing: list[Input] = []
        self.checks = False  # does it compare words at all?

    def look(self, given: Input) -> tuple[list[Event], bool]:
        """Run it; (the comparisons, did it take one a new way?)"""
        self.left -= 1
        expected, events = self.reference.observe(given)
        new = False
        for event in events:
            key = event.site, event.kind
            outcomes = self.reached.setdefault(key, set())
            new |= event.outcome not in outcomes
            outcomes.add(event.outcome)
            near = self.near.setdefault(key, [])
            if len(near) < _NEAR:
                near.append((given, event))
            self.checks |= event.kind in ("eq", "assert", "assert_vector", "lt")
        if expected.error is None and len(self.passing) < _NEAR:
            self.passing.append(given)
        return events, new

    def missing(self) -> list[Way]:
        both = (((*key, outcome), seen) for key, seen in self.reached.items() for outcome in (0, 1))
        return sorted(way for way, seen in both if way[2] not in seen)

    def reach(self, way: Way, rng: Rng) -> bool:
        """Look for an input that takes this way."""
        site, kind, outcome = way
        for given, event in self.near[site, kind][:]:
            for changed in _changes(self, given, event, rng):
                if self.left <= 0:
                    return False
                _, new = self.look(changed)
                if new:
                    self.kept.append(changed)
                    self.near[site, kind].append((changed, event))
                if outcome in self.reached[site, kind]:
                    return True
        return False


def _changes(search: _Search, given: Input, event: Event, rng: Rng) -> Iterator[Input]:
    types = search.reference.types
    pairs = list(zip(event.left, event.right, strict=True))
    targets = [dict(pairs), {right: left for left, right in pairs}]
    if event.kind == "lt":
        (left, right) = pairs[0]
        targets += [{left: (right - 1) % P}, {right: left + 1}, {left: right + 1}]
    elif event.kind == "u32":
        left = event.left[0]
        targets = [{left: left % U32}, {left: (left + U32) % P}, {left: U32}]
    elif not event.outcome:
        targets += [{left: right} for left, right in pairs] + [{right: left} for left, right in pairs]
    else:
        targets += [{left: (left + 1) % P} for left, _ in pairs] + [{left: 0} for left, _ in pairs]
    for target in targets:
        yield from _replaced(given, types, target)
    n = len(given.arguments)
    for i in range(n):
        for k in range(n):
            if i != k and fits(types[i], given.arguments[k]):
                yield with_argument(given, i, given.arguments[k])
    if len(pairs) == 1:
        yield from _solved(search, given, event)
    for i in range(n):
        for edge in (*U32_EDGES[:6], *EDGES[:6]):
            if fits(types[i], edge):
                yield with_argument(given, i, edge)
    for _ in range(8):
        if n:
            i = int(rng.integers(0, n))
            yield with_argument(given, i, any_word(types[i], rng))


def with_argument(given: Input, i: int, word: int) -> Input:
    """The same input with another argument."""
    return replace(given, arguments=(*given.arguments[:i], word, *given.arguments[i + 1 :]))


def _replaced(given: Input, types: tuple[str, ...], target: Mapping[int, int]) -> Iterator[Input]:
    """The input with words replaced wherever they are: all at once, among the arguments alone, and in memory alone."""
    arguments = tuple(
        target[word] if word in target and fits(kind, target[word]) else word
        for word, kind in zip(given.arguments, types, strict=True)
    )
    ram = {address: target.get(word, word) for address, word in given.ram.items()}

    def others(words: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(target.get(word, word) for word in words)

    read = {name: others(getattr(given, name)) for name in ("public", "secret")}
    digests = tuple(others(digest) for digest in given.digests)
    seen = set()
    for changed in (
        replace(given, arguments=arguments, ram=ram, digests=digests, **read),
        replace(given, arguments=arguments),
        replace(given, ram=ram),
    ):
        key = changed.arguments, tuple(changed.ram.values()), changed.public, changed.secret, changed.digests
        if changed != given and key not in seen:
            seen.add(key)
            yield changed


def _solved(search: _Search, given: Input, event: Event) -> Iterator[Input]:
    """Make the two sides equal by changing one argument, where their difference follows it in proportion."""

    def difference(one: Input) -> int | None:
        events, _ = search.look(one)
        same = (e for e in events if (e.site, e.kind) == (event.site, event.kind))
        return next(((e.left[0] - e.right[0]) % P for e in same), None)

    here = (event.left[0] - event.right[0]) % P
    for i, word in enumerate(given.arguments):
        step = with_argument(given, i, fit(search.reference.types[i], word + 1))
        there = difference(step)
        moved = (step.arguments[i] - word) % P
        if there is None or there == here or not moved:
            continue
        solution = (word - here * moved * inverse(there - here)) % P
        if fits(search.reference.types[i], solution):
            yield with_argument(given, i, solution)


def _single_changes(search: _Search, rng: Rng) -> list[Input]:
    """Inputs that pass but for one word: who compares some of the words only is found out by one of them alone."""
    if not search.checks:
        return []
    out: list[Input] = []
    for given in reversed(search.passing[-2:]):
        for i, kind in enumerate(search.reference.types):
            for word in (given.arguments[i] + 1, any_word(kind, rng)):
                if len(out) < _SINGLE and fits(kind, word % P) and word % P != given.arguments[i]:
                    out.append(with_argument(given, i, word % P))
    return out
