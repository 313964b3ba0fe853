"""The loop in one process, a builder and a learner in turns; and work in forked processes, which have what is loaded here.

Rule of this file: nothing depends on how fast the machine is. The clock moves when the learner has learned, so that the builder takes
over each policy at once; the same seed gives the same records, rules and policies.
"""

from __future__ import annotations

import itertools
import multiprocessing
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from ostinato import tir
from ostinato.judge import Function, of_tir
from ostinato.online import Folder, Learner, Metrics, Study, Work, Worker
from ostinato.online.builder import BEAM
from ostinato.online.working import LOOKS_S, NOTES_S
from ostinato.targets import TritonTarget, is_straight

END = 2**33  # a time (Unix seconds) by which anything new is due


class Remembering(TritonTarget):
    """What it said of a rule it says again: a check is the same whoever asks."""

    def __init__(self, functions: Sequence[Function]) -> None:
        super().__init__(functions)
        self.said: dict[tuple[tuple[str, ...], tuple[str, ...]], int | None] = {}

    def check_rule(self, before: Sequence[str], after: Sequence[str]) -> int | None:
        """As `Target.check_rule`."""
        key = tuple(before), tuple(after)
        if key not in self.said:
            self.said[key] = super().check_rule(before, after)
        return self.said[key]


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
    target: TritonTarget,
    path: Path,
    *,
    seed: int,
    attempts: int,
    beam: int = BEAM,
    roll_back_at: int | None = None,
    **told: Any,
) -> Trained:
    """So many judged candidates in a new folder, and what was learned from them; `told`: as in `Study`.

    After roll_back_at candidates the first policy is put to work again, and what was learned since is gone but for the records."""
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
            if roll_back_at is not None and versions and worker.attempts >= roll_back_at:
                folder.activate(folder.versions()[0])
                roll_back_at = None
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
    """(i, work(i)) for i in range(count), as they are done; each in a process of its own that is forked from this one.

    Raises:
        RuntimeError: one of them has failed, and how.
    """
    context = multiprocessing.get_context("fork")
    waiting = iter(range(count))
    running: dict[Connection, tuple[int, BaseProcess]] = {}
    try:
        while True:
            for i in itertools.islice(waiting, processes - len(running)):
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_child, args=(work, i, theirs), daemon=True)
                with warnings.catch_warnings():  # threads of libraries, which hold nothing that a child needs
                    warnings.simplefilter("ignore", DeprecationWarning)
                    process.start()
                theirs.close()
                running[ours] = i, process
            if not running:
                return
            for ready in wait(list(running)):
                i, process = running.pop(ready)  # type: ignore[index]
                yield i, _answer(ready, process)  # type: ignore[arg-type]
    finally:
        for _, process in running.values():
            process.kill()


def _child(work: Callable[[int], Any], i: int, pipe: Connection) -> None:
    try:
        answer = True, work(i)
    except Exception:
        answer = False, traceback.format_exc()
    pipe.send(answer)


def _answer(pipe: Connection, process: BaseProcess) -> Any:
    try:
        good, value = pipe.recv()
    except EOFError:
        good, value = False, "it ended without an answer"
    process.join()
    pipe.close()
    if not good:
        raise RuntimeError(value)
    return value
