"""Prioritized replay in fifty lines of numpy: what a learner writes who takes no library.

A sum tree as one array a level, the root last. A draw goes down level by level, all of a batch at once; an update
adds children up, level by level. Proportional (Schaul et al. 2016), stratified, with importance weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Replay:
    """A ring of records with priorities."""

    def __init__(
        self, capacity: int, like: dict[str, NDArray[Any]], alpha: float = 0.6, seed: int = 0
    ) -> None:
        self.columns = {k: np.zeros((capacity, *v.shape[1:]), v.dtype) for k, v in like.items()}
        self.capacity, self.alpha, self.next, self.count = capacity, alpha, 0, 0
        self.levels = [np.zeros(1 << bits) for bits in range((capacity - 1).bit_length(), -1, -1)]
        self.rng = np.random.default_rng(seed)

    def extend(self, rows: dict[str, NDArray[Any]], priorities: NDArray[np.float64]) -> None:
        """Add records; the oldest leave."""
        slots = (self.next + np.arange(len(priorities))) % self.capacity
        for name, column in self.columns.items():
            column[slots] = rows[name]
        self.next = (self.next + len(slots)) % self.capacity
        self.count = min(self.count + len(slots), self.capacity)
        self.update(slots, priorities)

    def add(self, row: dict[str, Any], priority: float) -> None:
        """Add one record; the oldest leaves."""
        slot = self.next
        for name, column in self.columns.items():
            column[slot] = row[name]
        self.next, self.count = (slot + 1) % self.capacity, min(self.count + 1, self.capacity)
        self.levels[0][slot] = priority**self.alpha
        for below, above in zip(self.levels, self.levels[1:], strict=False):
            slot >>= 1
            above[slot] = below[2 * slot] + below[2 * slot + 1]

    def update(self, slots: NDArray[np.int64], priorities: NDArray[np.float64]) -> None:
        """Give records new priorities; of one given twice, the last counts."""
        self.levels[0][slots] = priorities**self.alpha
        for below, above in zip(self.levels, self.levels[1:], strict=False):
            slots = slots >> 1
            above[slots] = below[2 * slots] + below[2 * slots + 1]

    def draw(self, n: int, beta: float = 0.4) -> tuple[dict[str, NDArray[Any]], Any, Any]:
        """(columns, slots, weights) of n records, drawn with P(i) = p_i**alpha / sum, stratified."""
        rest = (np.arange(n) + self.rng.random(n)) * (self.levels[-1][0] / n)
        slots = np.zeros(n, np.int64)
        for level in reversed(self.levels[:-1]):
            left = level[2 * slots]
            right = (rest >= left) & (level[2 * slots + 1] > 0)  # rounding must not lead into an empty branch
            rest = rest - left * right
            slots = 2 * slots + right
        weights = (self.count * self.levels[0][slots] / self.levels[-1][0]) ** -beta
        return {k: column[slots] for k, column in self.columns.items()}, slots, weights / weights.max()
