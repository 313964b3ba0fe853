"""Best code over time and by program, from the finds of a run's metrics.

Rule of this file: pure; a curve is the points at which it falls, and ends where the run stands.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ostinato.online import Find, Metrics


@dataclass(frozen=True, slots=True)
class Program:
    """A program and the best that is known of it.

    Attributes:
        name, family: for people. before, after: cycles of the baseline and of the best code. baseline, best: their instructions.
        attempts: for it. validity, improvement_rate, fallback_rate: as `Metrics.by_program`.
        path: (seconds since the run began, attempts of the whole run, cycles) of each find, rising.
    """

    name: str
    family: str
    before: int
    after: int
    baseline: tuple[str, ...]
    best: tuple[str, ...]
    attempts: int
    validity: float | None
    improvement_rate: float | None
    fallback_rate: float | None
    path: list[tuple[int, int, int]]

    @property
    def left(self) -> float:
        """Of the baseline's cycles, what is left; 1 where there was nothing to save."""
        return self.after / self.before if self.before else 1.0


@dataclass(frozen=True, slots=True)
class Progress:
    """All programs together.

    Attributes:
        began, ended: timestamps of the first and the last record or find, Unix seconds, None where there are none.
        seconds, attempts, cycles: of each find, the time since the run began, all attempts until then, and the cycles of all
            programs together then; the first point is the baselines, the last one is now.
    """

    began: int | None
    ended: int | None
    seconds: list[int]
    attempts: list[int]
    cycles: list[int]


def progress_of(metrics: Metrics, stamps: NDArray[np.uint64] | None) -> Progress:
    """stamps: of the records that are there; older ones may have left."""
    times = [find.timestamp for find in metrics.finds]
    if stamps is not None and len(stamps):
        times += [int(stamps.min()), int(stamps.max())]
    before, _ = metrics.cycles
    began, ended = (min(times), max(times)) if times else (None, None)
    saved = itertools.accumulate(find.before - find.after for find in metrics.finds)
    cycles = [before, *(before - less for less in saved)]
    # two builders' clocks and beams end in another order than they began
    seconds = list(itertools.accumulate((find.timestamp - (began or 0) for find in metrics.finds), max))
    attempts = list(itertools.accumulate((find.attempts for find in metrics.finds), max))
    last = 0 if began is None or ended is None else ended - began
    return Progress(
        began,
        ended,
        [0, *seconds, last],
        [0, *attempts, max([metrics.attempts, *attempts])],
        [*cycles, cycles[-1]],
    )


def programs_of(metrics: Metrics, began: int | None) -> list[Program]:
    """Of each program, in the order of the run, which began then."""
    finds: dict[str, list[Find]] = {}
    for find in metrics.finds:
        finds.setdefault(find.program, []).append(find)
    found = []
    for task, row in zip(metrics.tasks, metrics.by_program(), strict=True):
        after, best = metrics.best[task.name]
        path = [
            (find.timestamp - (began or 0), find.attempts, find.after) for find in finds.get(task.name, ())
        ]
        found.append(
            Program(
                task.name, task.family, task.compiler_cycles, after, task.baseline, best, row["attempts"],
                row["validity"], row["improvement_rate"], row["fallback_rate"], path,
            )
        )  # fmt: skip
    return found
