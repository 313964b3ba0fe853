"""The loop in one process, a builder and a learner in turns; and work in forked processes, which have what is loaded here.

Rule of this file: nothing depends on how fast the machine is. The clock moves when the learner has learned, so that the builder takes
over each policy at once; the same seed gives the same records, rules and policies.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ostinato import tir
from ostinato.judge import Function, of_tir
from ostinato.online import Folder, Learner, Metrics, Study, Work, Worker
from ostinato.online.builder import BEAM
from ostinato.online.working import LOOKS_S, NOTES_S
from ostinato.targets import TritonTarget, is_straight

END = 2**33  # a time (Unix seconds) by which anything new is due

_work: Callable[[int], Any] | None = None  # what a forked process does


class Remembering(TritonTarget):
    """What it said of a rule it says again: a check is the same whoever asks."""

    def __init__(self, functions: Sequence[Function]) -> None:
        super().__init__(functions)
        self._said: dict[tuple[tuple[str, ...], tuple[str, ...]], int | None] = {}

    def check_rule(self, before: Sequence[str], after: Sequence[str]) -> int | None:
        """As `Target.check_rule`."""
        key = tuple(before), tuple(after)
        if key not in self._said:
            self._said[key] = super().check_rule(before, after)
        return self._said[key]


def straight(families: Sequence[str], every: int = 1) -> list[Function]:
    """Of each family the straight-line functions, every so manyth of them, in the order of the corpus."""
    chosen = []
    for family in families:
        functions = [of_tir(program) for program in tir.family(family)]
        chosen += [one for one in functions if is_straight(one)][::every]
    return chosen


def warm(target: TritonTarget) -> None:
    """Draw all inputs that its judges will ask for, so that forked processes need not. Cost: 0.3 s a program."""
    for i, function in enumerate(target.functions):
        target.judge_of(i).judge([list(function.baseline)], confirm="all")


@dataclass(frozen=True, slots=True)
class Trained:
    """A loop's end. checkpoint: the active policy, None if there is none. cycles: (of baselines, of bests)."""

    checkpoint: Path | None
    versions: int
    rules: int
    general: int
    attempts: int
    records: int
    cycles: tuple[int, int]
    reduction: float


def train(
    target: TritonTarget, path: Path, *, seed: int, attempts: int, beam: int = BEAM, **told: Any
) -> Trained:
    """So many judged candidates in a new folder, and what was learned from them; `told`: as in `Study`."""
    folder = Folder(path)
    now = 0.0

    def clock() -> float:
        return now

    with folder.store(create=True) as store, store.writer() as writer:
        work = Work(str(path), "rules", 0, seed, beam)
        worker = Worker(target, store, writer, work, clock=clock)
        learner = Learner(target, store, Study(str(path), seed=seed, **told))
        versions = 0
        while worker.attempts < attempts:
            worker.turn()
            if learner.turn(0.0):
                versions += 1
                now += max(LOOKS_S, NOTES_S)  # the next turn looks, and notes what it has observed
        now += max(LOOKS_S, NOTES_S)
        worker.turn()
        versions += learner.turn(END) is not None
        metrics = Metrics(target.programs)
        metrics.take(store.results())
    active = folder.active()
    return Trained(
        checkpoint=None if active is None else folder.checkpoint(active),
        versions=versions,
        rules=len(learner.policy.rules),
        general=sum(rule.general for rule in learner.policy.rules),
        attempts=metrics.attempts,
        records=metrics.records,
        cycles=metrics.cycles,
        reduction=float(metrics.reduction or 0.0),
    )


def in_children(work: Callable[[int], Any], count: int, processes: int = 2) -> Iterator[tuple[int, Any]]:
    """(i, work(i)) for i in range(count), as they are done; each in a process of its own that is forked from this one."""
    global _work
    _work = work
    with multiprocessing.get_context("fork").Pool(processes, maxtasksperchild=1) as pool:
        yield from pool.imap_unordered(_call, range(count))


def _call(i: int) -> tuple[int, Any]:
    assert _work is not None
    return i, _work(i)


def reduction(before: Sequence[int], after: Sequence[int]) -> float:
    """The geometric mean of what is saved, with one cycle added on both sides."""
    logs = np.log1p(np.asarray(after, np.float64)) - np.log1p(np.asarray(before, np.float64))
    return float(1.0 - np.exp(logs.mean()))
