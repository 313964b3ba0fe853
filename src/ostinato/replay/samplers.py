"""Samplers: which records are drawn, with what probability.

A sampler is its settings; `attach` makes the index that does the work for one table. The seam is
`SamplerIndex`: whoever implements it can be given to a ReplayBuffer.

Rule of this file: the only randomness is `rng.random()`, and what is made of it is basic arithmetic, so that
the same calls give the same draws on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import EmptyBufferError, UsageError
from ostinato.replay.ranks import Ranking
from ostinato.replay.table import Table
from ostinato.replay.trees import Numbers, OrderTree, Scope, Slots, SumTree

Beta = float | Callable[[int], float]


class Draw(NamedTuple):
    """What a sampler drew: n slots, each with its probability in one draw and its importance weight.

    `expected` tells how often each of some slots was to be expected among these n: what a mixture weighs by.
    `scale` is what the weights were divided by to normalize them.
    """

    slots: Slots
    probability: Numbers
    weight: NDArray[np.float32]
    expected: Callable[[Slots], Numbers] | None = None
    scale: float = 1.0


class SamplerIndex(Protocol):
    """A sampler at work on one table.

    One that has a state which the table does not hold (a cursor, say) has `state() -> dict[str, NDArray]` and
    `restore(state)` too.
    """

    def changed(self, slots: Slots) -> None:
        """These slots have another record or another priority, or from `table.count` on none."""

    def draw(self, n: int | None, rng: np.random.Generator) -> Draw:
        """Draw n >= 1 records; None: as many as the sampler itself says.

        Raises:
            EmptyBufferError: the table is empty, or none of its records can be drawn.
            UsageError: n is None and the sampler does not say.
        """


class Sampler(Protocol):
    """A sampler's settings."""

    def attach(self, table: Table, scope: Scope | None = None) -> SamplerIndex:
        """The index for one table, and for those of its records that are in the scope."""


@dataclass(frozen=True, slots=True)
class LinearSchedule:
    """A `beta` that moves evenly from `start` to `end` over so many draws, then stays (Schaul et al. 2016, 3.4)."""

    start: float
    end: float
    draws: int

    def __post_init__(self) -> None:
        if isinstance(self.draws, bool) or not isinstance(self.draws, (int, np.integer)) or self.draws < 1:
            raise UsageError(f"expected an int >= 1, got {self.draws!r}", "draws")
        for name in ("start", "end"):
            _check_number(getattr(self, name), name, 1.0)

    def __call__(self, draws: int) -> float:
        share = min(1.0, draws / self.draws)
        return self.start + (self.end - self.start) * share


# --- by an order, no chance in it ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Greedy:
    """The highest priorities first, of equals the oldest; n beyond what there is gives all. No chance in it.

    What Trident's buffer promises. Probability and weight are 1. Cost: O(n log N).
    """

    def attach(self, table: Table, scope: Scope | None = None) -> SamplerIndex:
        return _OrderIndex(OrderTree(table, -1, 1, scope=scope))


@dataclass(frozen=True, slots=True)
class Fifo:
    """The oldest first; n beyond what there is gives all (Reverb's Fifo). With `max_times_sampled=1`, a queue.

    Probability and weight are 1. Cost: O(n log N).
    """

    def attach(self, table: Table, scope: Scope | None = None) -> SamplerIndex:
        return _OrderIndex(_by_age(table, 1, scope))


@dataclass(frozen=True, slots=True)
class Lifo:
    """The newest first; n beyond what there is gives all (Reverb's Lifo). With `max_times_sampled=1`, a stack.

    Probability and weight are 1. Cost: O(n log N).
    """

    def attach(self, table: Table, scope: Scope | None = None) -> SamplerIndex:
        return _OrderIndex(_by_age(table, -1, scope))


def _by_age(table: Table, sign_id: int, scope: Scope | None) -> OrderTree:
    if scope is None:
        return OrderTree(table, 0, sign_id)
    return OrderTree(table, 1, sign_id, lambda slots: np.zeros(len(slots)), scope)


class _OrderIndex:
    def __init__(self, tree: OrderTree) -> None:
        self.tree = tree

    def changed(self, slots: Slots) -> None:
        self.tree.changed(slots)

    def draw(self, n: int | None, rng: np.random.Generator) -> Draw:
        return certain(self.tree.first(known(n)))


# --- by chance ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Uniform:
    """Each record with the same probability 1 / N; weights are 1.

    Args:
        replace: may a record come twice in a batch? If not, every set of n records is equally likely, and n
            beyond what there is gives all.

    In a window with a decay: by its factors, with replacement or by successive draws. Cost: O(n); without
    replacement O(n), or O(N) when n is over N / 4.
    """

    replace: bool = True

    def __post_init__(self) -> None:
        _check_flag(self.replace, "replace")

    def attach(self, table: Table, scope: Scope | None = None) -> SamplerIndex:
        if scope is None:
            return _UniformIndex(table, self.replace)
        # the weights of a window's factors alone, and no correction for them: beta is 0
        return _ProportionalIndex(
            table, Proportional(1.0, 0.0, False, self.replace), scope, by_priority=False
        )


@dataclass(frozen=True, slots=True)
class Proportional:
    """P(i) = p_i**alpha / sum over k of p_k**alpha (Schaul et al. 2016, eq. 1).

    Args:
        alpha: how much priorities count, >= 0; 0 is uniform over the records with a positive priority.
        beta: how much the importance weights (N * P(i))**-beta correct for it, in [0, 1] (section 3.4); or a
            function of the number of batches drawn so far, such as LinearSchedule(0.4, 1.0, 100_000).
        stratified: draw one from each of n equal shares of the sum (appendix B.2.1), which lowers variance
            and keeps each record's expected number of draws, n * P(i); else draw independently. With
            replacement only.
        replace: may a record come twice in a batch? If not, the draws are successive: each by P among what is
            left, exactly (repeats are dropped, and what was drawn is out of the tree until the batch is whole);
            n beyond what there is gives all. Inclusion probabilities have no closed form, so the weights are
            (N * q(i) / n)**-beta with q(i) = 1 - exp(-p_i**alpha * t), t being the time at which a race of
            exponential clocks with rates p**alpha would give the record after the last (Efraimidis and Spirakis
            2006): with beta = 1, 1 / q(i) is an unbiased estimator (Cohen and Kaplan 2008, bottom-k rank
            conditioning).
        normalize: divide the weights by the "largest" that any record could have, or by the largest of the
            "batch".

    A record with priority 0 is never drawn. `probability` is P(i). Cost: O(n log8 N).
    """

    alpha: float = 0.6
    beta: Beta = 0.4
    stratified: bool = True
    replace: bool = True
    normalize: Literal["batch", "largest"] = "batch"

    def __post_init__(self) -> None:
        # as floats: one kernel, for float64
        object.__setattr__(self, "alpha", _check_number(self.alpha, "alpha", 1e300))
        object.__setattr__(self, "beta", check_beta(self.beta))
        _check_flag(self.stratified, "stratified")
        _check_flag(self.replace, "replace")
        _check_normalize(self.normalize)

    def attach(self, table: Table, scope: Scope | None = None) -> SamplerIndex:
        return _ProportionalIndex(table, self, scope)


@dataclass(frozen=True, slots=True)
class RankBased:
    """P(i) = rank(i)**-alpha / sum, rank 1 being the highest priority (Schaul et al. 2016, section 3.3).

    What outliers of the priority cannot spoil: only their order counts. Ranks are exact at every draw, and equal
    priorities share what their ranks have, each the same; with replacement.

    Args:
        alpha: how much ranks count, >= 0; 0 is uniform.
        beta, stratified, normalize: as in Proportional.

    Records with priority 0 have ranks too, the last. Cost: O(n log N) a draw, and about 1 us for each record that
    came, went or got another priority since the last one (a sort when a sixteenth has). Memory: 45 bytes a record.
    """

    alpha: float = 0.7
    beta: Beta = 0.5
    stratified: bool = True
    normalize: Literal["batch", "largest"] = "batch"

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", _check_number(self.alpha, "alpha", 1e300))
        object.__setattr__(self, "beta", check_beta(self.beta))
        _check_flag(self.stratified, "stratified")
        _check_normalize(self.normalize)

    def attach(self, table: Table, scope: Scope | None = None) -> SamplerIndex:
        return _RankIndex(table, self, scope)


class _UniformIndex:
    def __init__(self, table: Table, replace: bool) -> None:
        self._table = table
        self._replace = replace

    def changed(self, slots: Slots) -> None:
        pass

    def draw(self, n: int | None, rng: np.random.Generator) -> Draw:
        count = self._table.count
        n = drawable(n, self._table)
        if self._replace:
            slots = _pick(rng, n, count)
        elif 4 * n >= count:
            slots = np.argsort(rng.random(count), kind="stable")[:n]
        else:
            slots = np.empty(0, np.int64)
            while len(slots) < n:  # dropping repeats leaves every order of n records equally likely
                slots = _firsts(np.concatenate([slots, _pick(rng, n - len(slots), count)]))
        n = len(slots)
        ones = np.ones(n, np.float32)
        return Draw(slots, np.full(n, 1 / count), ones, lambda some: np.full(len(some), n / count))


def _pick(rng: np.random.Generator, n: int, count: int) -> Slots:
    # of random(), not integers(): one float64 a draw is all the randomness that any sampler uses
    slots: Slots = np.minimum((rng.random(n) * count).astype(np.int64), count - 1)
    return slots


def _firsts(slots: Slots) -> Slots:
    """Without repeats, in the order of first appearance."""
    return slots[_first_places(slots)]


def _first_places(slots: Slots) -> NDArray[np.int64]:
    """Where each slot comes for the first time."""
    from ostinato.replay import table_kernels as kernels

    places = np.empty(len(slots), np.int64)
    return places[: kernels.first_places(slots, places)]


class _ProportionalIndex:
    def __init__(
        self, table: Table, settings: Proportional, scope: Scope | None, *, by_priority: bool = True
    ) -> None:
        self._table = table
        self._settings = settings
        self._scope = scope
        self.tree = SumTree(
            table, settings.alpha if by_priority else None, scope, least=settings.normalize == "largest"
        )

    def changed(self, slots: Slots) -> None:
        self.tree.changed(slots)

    def draw(self, n: int | None, rng: np.random.Generator) -> Draw:
        n = drawable(n, self._table)
        settings = self._settings
        beta = beta_at(settings.beta, self._table)
        count = self._table.count if self._scope is None else self._scope.count
        if not count:
            raise EmptyBufferError("no record is in the window")
        total = check_total(self.tree.total(), count)
        least = self.tree.least() if settings.normalize == "largest" else 0.0
        if not settings.replace:
            return self._successive(min(n, count), total, beta, count, least, rng)
        slots, probability, weight, scale = self.tree.draw(
            rng.random(n), total, stratified=settings.stratified, beta=beta, count=count, least=least
        )
        return Draw(slots, probability, weight, lambda some: n * (self.tree.leaves(some) / total), scale)

    def _successive(
        self, n: int, total: float, beta: float, count: int, least: float, rng: np.random.Generator
    ) -> Draw:
        from ostinato.replay import sum_tree_kernels as kernels

        tree = self.tree
        slots, leaves = np.empty(0, np.int64), np.empty(0)
        rest = total
        try:
            while len(slots) < n and rest > 0:
                numbers = np.minimum(rng.random(n - len(slots)) * rest, np.nextafter(rest, 0))
                drawn, found = tree.find(numbers)
                first = _first_places(drawn)
                drawn, found = drawn[first], found[first]
                slots, leaves = np.concatenate([slots, drawn]), np.concatenate([leaves, found])
                tree.put(drawn, np.zeros(len(drawn)))
                rest = tree.total()
        finally:
            tree.put(slots, leaves)
        n = len(slots)
        numbers = rng.random(n + 1)
        time = kernels.race(leaves, rest, numbers) if rest > 0 else math.inf

        def included(rates: Numbers) -> Numbers:
            if time == math.inf:
                return (rates > 0).astype(np.float64)
            out = np.empty(len(rates))
            kernels.rung(rates, time, out)
            return out

        top = count * included(np.array([least])) / n if least > 0 else None
        weight, scale = importance(count * included(leaves) / n, beta, top)
        return Draw(slots, leaves / total, weight, lambda some: included(tree.leaves(some)), scale)


class _RankIndex:
    def __init__(self, table: Table, settings: RankBased, scope: Scope | None) -> None:
        self._table = table
        self._settings = settings
        self.ranking = Ranking(table, scope)
        self._sums = np.empty(0)  # of rank**-alpha up to each rank

    def changed(self, slots: Slots) -> None:
        self.ranking.changed(slots)

    def _cumulated(self, count: int) -> Numbers:
        """Sums of rank**-alpha up to each of so many ranks."""
        from ostinato.replay import sum_tree_kernels as kernels

        if count > len(self._sums):
            known = len(self._sums)
            new = np.arange(known + 1, max(count, self._table.room) + 1, dtype=np.float64)
            kernels.powers(new, -self._settings.alpha, new)
            if known:
                new[0] += self._sums[-1]
            self._sums = np.concatenate([self._sums, np.cumsum(new)])
        return self._sums[:count]

    def draw(self, n: int | None, rng: np.random.Generator) -> Draw:
        n = drawable(n, self._table)
        settings, ranking = self._settings, self.ranking
        beta = beta_at(settings.beta, self._table)
        if not len(ranking):
            raise EmptyBufferError("no record is in the window")
        sums = self._cumulated(len(ranking))
        slots, probability, weight, scale = ranking.draw(
            rng.random(n), sums, settings.alpha, beta,
            stratified=settings.stratified, largest=settings.normalize == "largest",
        )  # fmt: skip
        return Draw(
            slots,
            probability,
            weight,
            lambda some: n * ranking.probability(some, sums, settings.alpha),
            scale,
        )


# --- what samplers share ------------------------------------------------------------------------------------


def known(n: int | None) -> int:
    """The number asked for.

    Raises:
        UsageError: there is none.
    """
    if n is None:
        raise UsageError("this sampler needs a number; Fresh() and a Mixture with 'all' know their own", "n")
    return n


def few_enough(n: int) -> int:
    """A number of draws that memory holds.

    Raises:
        UsageError: it is more.
    """
    if n >= 2**31:
        raise UsageError(f"expected fewer than 2**31 draws, got {n}", "n")
    return n


def drawable(n: int | None, table: Table) -> int:
    """The number asked for, of a table that has something to draw.

    Raises:
        EmptyBufferError: it is empty. UsageError: there is no number, or it is more than memory holds.
    """
    n = known(n)
    if not table.count:
        raise EmptyBufferError("the buffer is empty: push build results first")
    return few_enough(n)


def check_total(total: float, count: int) -> float:
    """A tree's sum that can be drawn from.

    Raises:
        EmptyBufferError: it is 0. UsageError: float64 does not hold it.
    """
    if not total > 0:
        raise EmptyBufferError(f"priority**alpha is 0 for all {count} records that may be drawn")
    if not 2.0**-1000 < total < math.inf:  # smaller ones have no digits left to divide
        raise UsageError(
            f"the sum of priority**alpha is {total}: scale the priorities, or change alpha", "alpha"
        )
    return total


def certain(slots: Slots) -> Draw:
    """A draw without chance."""
    n = len(slots)
    return Draw(
        slots, np.ones(n), np.ones(n, np.float32), lambda some: np.isin(some, slots).astype(np.float64)
    )


def importance(
    relative: Numbers, beta: float, least: Numbers | None = None
) -> tuple[NDArray[np.float32], float]:
    """relative**-beta over the largest such (or that of `least`), and that largest one.

    Weights of draws that are relative[i] times too frequent.
    """
    from ostinato.replay import sum_tree_kernels as kernels

    weight = np.empty(len(relative))
    normalized = np.empty(len(relative), np.float32)
    scale = kernels.importance(relative, beta, np.empty(0) if least is None else least, weight, normalized)
    return normalized, scale


def check_beta(beta: Beta) -> Beta:
    """A beta as a float, or a function."""
    return beta if callable(beta) else _check_number(beta, "beta", 1.0)


def beta_at(beta: Beta, table: Table) -> float:
    """beta at this draw.

    Raises:
        UsageError: the schedule gives no number in [0, 1].
    """
    return _check_number(beta(table.draws), "beta", 1.0) if callable(beta) else beta


def _check_number(value: Any, name: str, end: float) -> float:
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= end:
        raise UsageError(f"expected a number in [0, {end:g}], got {value!r}", name)
    return float(value)


def _check_flag(value: Any, name: str) -> None:
    if not isinstance(value, bool):
        raise UsageError(f"expected True or False, got {value!r}", name)


def _check_normalize(value: Any) -> None:
    if value not in ("batch", "largest"):
        raise UsageError(f"expected 'batch' or 'largest', got {value!r}", "normalize")


def check_fraction(value: Any, name: str, most: float = 1.0) -> float:
    """A number in [0, most] as a float."""
    return _check_number(value, name, most)


def split(n: int, fractions: Numbers) -> NDArray[np.int64]:
    """n in whole parts by fractions that add up to 1: what is left after rounding down goes to the largest rests."""
    exact = n * fractions
    counts = np.floor(exact + 1e-9).astype(np.int64)
    rests = np.argsort(counts - exact, kind="stable")  # of equals the first
    counts[rests[: n - int(counts.sum())]] += 1
    return counts
