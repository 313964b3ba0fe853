"""Rates and means over programs, with bootstrap intervals.

Rule of this file: programs are what is drawn again, since attempts for one program are alike; what was not measured is None.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

RESAMPLES, LEVEL = 1000, 0.95
BINS_A_DECADE = 24  # of latencies: a bin is 10 % wide
_DECADES = 9  # from 1 us to 1,000 s
BINS = BINS_A_DECADE * _DECADES


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its bootstrap interval, `low` to `high`; all None where nothing was measured."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def as_dict(self) -> dict[str, float | None]:
        """For JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}


def interval(values: npt.ArrayLike, seed: int = 0, level: float = LEVEL) -> tuple[float, float]:
    """The bootstrap interval of the mean of f64[n], n >= 1: 1,000 resamples."""
    given = np.asarray(values, np.float64)
    return _quantiles(given[_drawn(len(given), seed)].mean(axis=1), level)


def rate(part: npt.ArrayLike, whole: npt.ArrayLike, *, seed: int = 0, level: float = LEVEL) -> Estimate:
    """sum(part) / sum(whole) over programs, counts [programs] each."""
    parts, wholes = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    used = wholes > 0
    if not used.any():
        return Estimate(None)
    parts, wholes = parts[used], wholes[used]
    drawn = _drawn(len(parts), seed)
    low, high = _quantiles(parts[drawn].sum(axis=1) / wholes[drawn].sum(axis=1), level)
    return Estimate(float(parts.sum() / wholes.sum()), low, high)


def geometric_mean_reduction(before: npt.ArrayLike, after: npt.ArrayLike, *, seed: int = 0) -> Estimate:
    """What is saved, the geometric mean over programs, with one cycle added on both sides, so that code of no cycles counts."""
    logs = np.log1p(np.asarray(after, np.float64)) - np.log1p(np.asarray(before, np.float64))
    if not len(logs):
        return Estimate(None)
    low, high = interval(logs, seed)
    return Estimate(1 - math.exp(float(logs.mean())), 1 - math.exp(high), 1 - math.exp(low))


def median_reduction(before: npt.ArrayLike, after: npt.ArrayLike, *, seed: int = 0) -> Estimate:
    """What is saved, the median over programs whose baseline costs something, as a share of that."""
    old, new = np.asarray(before, np.float64), np.asarray(after, np.float64)
    saved = 1 - new[old > 0] / old[old > 0]
    if not len(saved):
        return Estimate(None)
    low, high = _quantiles(np.median(saved[_drawn(len(saved), seed)], axis=1), LEVEL)
    return Estimate(float(np.median(saved)), low, high)


def bins_of(microseconds: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bins of latencies, i64[n]."""
    place = np.floor(np.log10(np.maximum(microseconds, 1)) * BINS_A_DECADE)
    return np.asarray(np.minimum(place, BINS - 1), np.int64)


def quantile_ms(counts: NDArray[np.int64], share: float) -> float | None:
    """The latency in ms that this share of `counts` i64[BINS] does not exceed, the upper end of its bin: at most 10 % too high."""
    total = int(counts.sum())
    if not total:
        return None
    place = int(np.searchsorted(np.cumsum(counts), math.ceil(share * total)))
    return float(10 ** ((place + 1) / BINS_A_DECADE) / 1000)


def _drawn(count: int, seed: int) -> NDArray[np.int64]:
    return np.asarray(np.random.default_rng(seed).integers(0, count, (RESAMPLES, count)), np.int64)


def _quantiles(values: NDArray[np.float64], level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
