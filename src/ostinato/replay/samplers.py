"""Samplers: which records are drawn, with what probability.

A sampler is its settings; `attach` makes the index that does the work for one table. The seam is
`SamplerIndex`: whoever implements it can be given to a ReplayBuffer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import EmptyBufferError, UsageError
from ostinato.replay.table import Table
from ostinato.replay.trees import OrderTree, Slots, SumTree


def _check_draws(n: int, table: Table) -> None:
    if not table.count:
        raise EmptyBufferError("the buffer is empty: push build results first")
    if n >= 2**31:
        raise UsageError(f"expected fewer than 2**31 draws, got {n}", "n")


class Draw(NamedTuple):
    """What a sampler drew: n slots, each with its probability in one draw and its importance weight."""

    slots: Slots
    probability: NDArray[np.float64]
    weight: NDArray[np.float32]


class SamplerIndex(Protocol):
    """A sampler at work on one table."""

    def changed(self, slots: Slots) -> None:
        """These slots have another record or another priority."""

    def draw(self, n: int, rng: np.random.Generator) -> Draw:
        """Draw n >= 1 records.

        Raises:
            EmptyBufferError: the table is empty, or none of its records can be drawn.
        """


class Sampler(Protocol):
    """A sampler's settings."""

    def attach(self, table: Table) -> SamplerIndex:
        """The index for one table."""


@dataclass(frozen=True, slots=True)
class Greedy:
    """The highest priorities first, of equals the oldest; n beyond what there is gives all. No chance in it.

    What Trident's buffer promises. Probability and weight are 1. Cost: O(n log N).
    """

    def attach(self, table: Table) -> SamplerIndex:
        return _GreedyIndex(table)


@dataclass(frozen=True, slots=True)
class Uniform:
    """Each record with the same probability 1 / N, with replacement; weights are 1. Cost: O(n)."""

    def attach(self, table: Table) -> SamplerIndex:
        return _UniformIndex(table)


@dataclass(frozen=True, slots=True)
class Proportional:
    """P(i) = p_i**alpha / sum over k of p_k**alpha, with replacement (Schaul et al. 2016, eq. 1).

    Args:
        alpha: how much priorities count, >= 0; 0 is uniform over the records with a positive priority.
        beta: how much the importance weights (N * P(i))**-beta correct for it, in [0, 1]; they are divided
            by the batch's largest (section 3.4).
        stratified: draw one from each of n equal shares of the sum (appendix B.2.1), which lowers variance
            and keeps each record's expected number of draws, n * P(i); else draw independently.

    A record with priority 0 is never drawn. Cost: O(n log8 N).
    """

    alpha: float = 0.6
    beta: float = 0.4
    stratified: bool = True

    def __post_init__(self) -> None:
        for name, end in (("alpha", 1e300), ("beta", 1.0)):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= end:
                raise UsageError(f"expected a number in [0, {end:g}], got {value!r}", name)
            object.__setattr__(self, name, float(value))  # one kernel, for float64

    def attach(self, table: Table) -> SamplerIndex:
        return _ProportionalIndex(table, self)


class _GreedyIndex:
    def __init__(self, table: Table) -> None:
        self.tree = OrderTree(table, -1, 1)

    def changed(self, slots: Slots) -> None:
        self.tree.changed(slots)

    def draw(self, n: int, rng: np.random.Generator) -> Draw:
        slots = self.tree.first(n)
        return Draw(slots, np.ones(len(slots)), np.ones(len(slots), np.float32))


class _UniformIndex:
    def __init__(self, table: Table) -> None:
        self._table = table

    def changed(self, slots: Slots) -> None:
        pass

    def draw(self, n: int, rng: np.random.Generator) -> Draw:
        count = self._table.count
        _check_draws(n, self._table)
        # of random(), not integers(): one float64 a draw is all the randomness that any sampler uses
        slots = np.minimum((rng.random(n) * count).astype(np.int64), count - 1)
        return Draw(slots, np.full(n, 1 / count), np.ones(n, np.float32))


class _ProportionalIndex:
    def __init__(self, table: Table, settings: Proportional) -> None:
        self._table = table
        self._settings = settings
        self.tree = SumTree(table, settings.alpha)

    def changed(self, slots: Slots) -> None:
        self.tree.changed(slots)

    def draw(self, n: int, rng: np.random.Generator) -> Draw:
        from ostinato.replay import sum_tree_kernels as kernels

        _check_draws(n, self._table)
        total = self.tree.total()
        if not total > 0:
            raise EmptyBufferError(f"priority**alpha is 0 for all {self._table.count} records")
        if not 2.0**-1000 < total < math.inf:  # smaller ones have no digits left to divide
            raise UsageError(
                f"the sum of priority**alpha is {total}: scale the priorities, or change alpha", "alpha"
            )
        numbers = rng.random(n)
        if self._settings.stratified:
            numbers = (np.arange(n) + numbers) / n
        numbers = np.minimum(numbers * total, np.nextafter(total, 0))
        slots, leaves = self.tree.find(numbers)
        probability = leaves / total
        weight = np.empty(n)
        kernels.powers(self._table.count * probability, -self._settings.beta, weight)
        return Draw(slots, probability, (weight / weight.max()).astype(np.float32))
