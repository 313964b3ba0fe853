"""What a run has come to, from its records alone.

Rule of this file: rates are over attempts as builders counted them, not over the records that were kept; what was not measured is None.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ostinato.online.target import Task
from ostinato.store import Records


@dataclass(frozen=True, slots=True)
class Find:
    """Better code for a program than any before."""

    program: str
    before: int
    after: int
    code: tuple[str, ...]
    timestamp: int
    model_version: int


@dataclass
class Metrics:
    """Counts and bests; `take` adds records.

    Attributes:
        attempts, valid, duplicates: candidates judged, right, and not judged again. records: taken in.
        beams, fallbacks: beams, and those without a valid candidate. finds: better code as it came.
        best: cycles and instructions of the best valid result by program.
        seconds_proposing, seconds_judging: of all builders together.
    """

    tasks: Sequence[Task]
    attempts: int = 0
    valid: int = 0
    duplicates: int = 0
    records: int = 0
    beams: int = 0
    fallbacks: int = 0
    seconds_proposing: float = 0.0
    seconds_judging: float = 0.0
    finds: list[Find] = field(default_factory=list)
    best: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._by_hash = {task.tir_hash: task for task in self.tasks}
        self.best = {task.name: (task.compiler_cycles, task.baseline) for task in self.tasks}

    def take(self, records: Records) -> list[Find]:
        """Count records; returns the finds among them. Cost: some us a record."""
        extras = records.extras
        beams = extras["attempts"] > 0
        self.records += len(records)
        self.beams += int(beams.sum())
        self.fallbacks += int((records.fallback_used & beams).sum())
        self.attempts += int(extras["attempts"].sum())
        self.valid += int(extras["valid_attempts"].sum())
        self.duplicates += int(extras["duplicates"].sum())
        self.seconds_proposing += float(extras["proposal_us"].sum()) / 1e6
        self.seconds_judging += float(extras["judge_us"].sum()) / 1e6
        found = []
        cycles = np.ma.filled(records.clock_cycles, 0)
        for i in np.flatnonzero(records.valid & ~records.fallback_used).tolist():
            task = self._by_hash.get(records.tir_hash[i].tobytes())
            if task is not None and cycles[i] < self.best[task.name][0]:
                code = tuple(records.generated_tasm[i])
                find = Find(task.name, self.best[task.name][0], int(cycles[i]), code, int(records.timestamp[i]), int(records.model_version[i]))  # fmt: skip
                self.best[task.name] = find.after, code
                found.append(find)
        self.finds += found
        return found

    @property
    def validity(self) -> float | None:
        """Of attempts, those that were right."""
        return self.valid / self.attempts if self.attempts else None

    @property
    def fallback_rate(self) -> float | None:
        """Of beams, those without a valid candidate."""
        return self.fallbacks / self.beams if self.beams else None

    @property
    def duplicate_rate(self) -> float | None:
        """Of proposals, those that were not judged again."""
        proposed = self.attempts + self.duplicates
        return self.duplicates / proposed if proposed else None

    @property
    def improved(self) -> int:
        """Programs with better code than the baseline."""
        return sum(self.best[task.name][0] < task.compiler_cycles for task in self.tasks)

    @property
    def cycles(self) -> tuple[int, int]:
        """(of the baselines, of the best), summed over programs."""
        return sum(task.compiler_cycles for task in self.tasks), sum(
            self.best[task.name][0] for task in self.tasks
        )

    @property
    def reduction(self) -> float | None:
        """The geometric mean over programs of what is saved, with one cycle added on both sides, so that code of no cycles counts."""
        if not self.tasks:
            return None
        logs = [math.log((self.best[task.name][0] + 1) / (task.compiler_cycles + 1)) for task in self.tasks]
        return 1.0 - math.exp(sum(logs) / len(logs))

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        before, after = self.cycles
        return {
            "attempts": self.attempts,
            "validity": self.validity,
            "fallback_rate": self.fallback_rate,
            "duplicate_rate": self.duplicate_rate,
            "records": self.records,
            "improved_programs": self.improved,
            "programs": len(self.tasks),
            "baseline_cycles": before,
            "best_cycles": after,
            "geometric_mean_reduction": self.reduction,
        }
