"""Programs by model version, and why candidates failed, in few columns.

Rule of this file: pure; versions that are too many are joined, and what was not tried is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ostinato.online import Metrics
from ostinato.online.tallies import BEAMS, COUNTS, FALLBACKS, KINDS, NONE

COLUMNS = 40
_ATTEMPTS, _VALID = COUNTS.index("attempts"), COUNTS.index("valid_attempts")

Grid = list[list[float | None]]


@dataclass(frozen=True, slots=True)
class Versions:
    """A column for a model version, or for versions first to last.

    Attributes:
        spans: (first, last) of each column. programs: names of the rows, by family and name.
        reduction, fallback, invalid: [row][column]: the share of cycles that the best code found by these versions saves (0 if it saves
            nothing), of beams those that fell back, of attempts those that were not valid; None where nothing was tried.
        kinds: why candidates failed. failed: [kind][column], how many of the failed candidates that were kept, which are a sample.
    """

    spans: list[tuple[int, int]]
    programs: list[str]
    reduction: Grid
    fallback: Grid
    invalid: Grid
    kinds: list[str]
    failed: list[list[int]]


def versions_of(metrics: Metrics, failures: Sequence[str]) -> Versions:
    """failures: names of the kinds, as `Target.failures`."""
    own = metrics.tallies
    starts = np.unique(np.linspace(0, len(own), min(len(own), COLUMNS), endpoint=False).astype(np.int64))
    order = sorted(range(len(metrics.tasks)), key=lambda i: (metrics.tasks[i].family, metrics.tasks[i].name))
    names = [metrics.tasks[i].name for i in order]
    if not len(starts):
        return Versions([], names, [[] for _ in order], [[] for _ in order], [[] for _ in order], [], [])
    ends = np.append(starts[1:], len(own)) - 1
    counts = np.add.reduceat(own.counts, starts, axis=0)[:, order]
    best = np.minimum.reduceat(own.best, starts, axis=0)[:, order]
    failed = np.add.reduceat(own.failures, starts, axis=0)
    before = np.array([metrics.tasks[i].compiler_cycles for i in order], np.float64)
    after = np.minimum(np.where(best == NONE, np.inf, best.astype(np.float64)), before)
    tried = (counts[:, :, _ATTEMPTS] > 0) | (best != NONE)
    reduction = np.where(tried, 1 - after / np.maximum(before, 1), np.nan)
    kinds = [k for k in range(KINDS) if failed[:, k].any()]
    return Versions(
        list(zip(own.first[starts].tolist(), own.last[ends].tolist(), strict=True)),
        names,
        _grid(reduction),
        _grid(_shares(counts[:, :, FALLBACKS], counts[:, :, BEAMS])),
        _grid(1 - _shares(counts[:, :, _VALID], counts[:, :, _ATTEMPTS])),
        [failures[k] if k < len(failures) else f"kind {k}" for k in kinds],
        [failed[:, k].tolist() for k in kinds],
    )


def _shares(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """NaN where there is nothing to be a share of."""
    return np.asarray(np.where(whole > 0, part / np.maximum(whole, 1), np.nan))


def _grid(values: NDArray[np.float64]) -> Grid:
    """f64[columns, programs] to [program][column], rounded to a hundredth of a percent."""
    return [[None if np.isnan(x) else round(float(x), 4) for x in row] for row in values.T]
