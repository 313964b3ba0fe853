"""Numbers about build results, computed once, as a snapshot that commands, pages and `--json` only render.

A rate without anything to divide by is None, not 0.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.results import Columns, grouped, program_keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How a set of attempts fared.

    Attributes:
        records: all of them. candidates: those that are no fallback.
        valid: valid candidates. improved: those of them that cost less than the baseline.
        fallbacks: records with the baseline's own output.
        validity: valid / candidates. improvement: improved / valid. fallback_rate: fallbacks / records.
        median_reduction: median over valid candidates of 1 - clock_cycles / compiler_cycles, those measured
            against a baseline above 0.
    """

    records: int
    candidates: int
    valid: int
    improved: int
    fallbacks: int
    validity: float | None
    improvement: float | None
    fallback_rate: float | None
    median_reduction: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is known of one program: `best` is the index of its cheapest valid result, of equals the first."""

    tir_hash: str
    attempts: int
    compiler_cycles: int
    best: int | None
    best_cycles: int | None

    @property
    def reduction(self) -> float | None:
        """Share of the baseline's cycles that the best result saves."""
        if self.best_cycles is None or not self.compiler_cycles:
            return None
        return 1 - self.best_cycles / self.compiler_cycles


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """All that `ostinato info` says."""

    total: Rates
    instructions: int
    oldest: int | None
    newest: int | None
    versions: dict[int, Rates]
    programs: list[Program]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **asdict(self.total),
            "instructions": self.instructions,
            "oldest": self.oldest,
            "newest": self.newest,
            "versions": [{"model_version": v, **asdict(rates)} for v, rates in self.versions.items()],
            "programs": [{**asdict(p), "reduction": p.reduction} for p in self.programs],
        }


def summarize(results: Columns) -> Summary:
    """The numbers of these results. Cost: O(n log n), about 1 us a record."""
    stamps = results.timestamp
    # once, not once a version: each is a pass over all results
    clocks, better = results.clock_cycles.data, improved(results)
    return Summary(
        total=_rates(results, clocks, better, np.arange(len(results))),
        instructions=int(results.instruction_counts.sum()),
        oldest=int(stamps.min()) if len(stamps) else None,
        newest=int(stamps.max()) if len(stamps) else None,
        versions={
            int(version): _rates(results, clocks, better, members)
            for version, members in grouped(results.model_version)
        },
        programs=_programs(results),
    )


def improved(results: Columns) -> NDArray[np.bool_]:
    """bool[n]: valid, no fallback, and measured to cost less than the baseline."""
    better = results.measured & (results.clock_cycles.data < results.compiler_cycles)
    return better & results.valid & ~results.fallback_used


def _rates(
    results: Columns, clocks: NDArray[np.uint64], better: NDArray[np.bool_], chosen: NDArray[np.int64]
) -> Rates:
    fallback = results.fallback_used[chosen]
    valid = results.valid[chosen] & ~fallback
    baseline = results.compiler_cycles[chosen]
    comparable = valid & results.measured[chosen] & (baseline > 0)
    clock = clocks[chosen]
    reductions = 1 - clock[comparable].astype(np.float64) / baseline[comparable]
    records, fallbacks = len(chosen), int(fallback.sum())
    candidates, good = records - fallbacks, int(valid.sum())
    gained = int(better[chosen].sum())
    return Rates(
        records=records,
        candidates=candidates,
        valid=good,
        improved=gained,
        fallbacks=fallbacks,
        validity=good / candidates if candidates else None,
        improvement=gained / good if good else None,
        fallback_rate=fallbacks / records if records else None,
        median_reduction=float(np.median(reductions)) if len(reductions) else None,
    )


def _programs(results: Columns) -> list[Program]:
    hashes = program_keys(results.tir_hash)
    names, first, which = np.unique(hashes, return_index=True, return_inverse=True)
    attempts = np.bincount(which, minlength=len(names))
    last = np.zeros(len(names), np.int64)
    last[which] = np.arange(len(which))  # the newest record's baseline is the one in force
    scored = np.flatnonzero(results.valid & results.measured)
    clock = results.clock_cycles.data
    order = scored[np.lexsort((scored, clock[scored], which[scored]))]
    best = np.full(len(names), -1)
    leaders, at = np.unique(which[order], return_index=True)
    best[leaders] = order[at]
    return [
        Program(
            tir_hash=names[i].tobytes().hex(),
            attempts=int(attempts[i]),
            compiler_cycles=int(results.compiler_cycles[last[i]]),
            best=int(best[i]) if best[i] >= 0 else None,
            best_cycles=int(clock[best[i]]) if best[i] >= 0 else None,
        )
        for i in np.argsort(first)
    ]
