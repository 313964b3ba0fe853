"""The loop: builders and a learner as processes around a store, and somebody who looks after them.

Rule of this file: whoever looks after them keeps nothing that the store does not; so anybody may be killed at any moment.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess

from ostinato.online.builder import BEAM
from ostinato.online.folder import Folder
from ostinato.online.learner import TRIGGER, Study, study
from ostinato.online.metrics import Find, Metrics
from ostinato.online.working import MakeTarget, Work, build, share

_TICK_S = 0.25
_RESTARTS = 20  # of processes that ended without having been told to


@dataclass(frozen=True, slots=True)
class Moment:
    """How a run stands. finds: better code since the last moment. active: the policy at work. restarted: processes so far."""

    seconds: float
    metrics: Metrics
    finds: tuple[Find, ...]
    active: int | None
    restarted: int


def learn(
    make_target: MakeTarget,
    path: str,
    *,
    policy: str = "rules",
    builders: int = 2,
    seconds: float | None = None,
    attempts: int | None = None,
    seed: int = 0,
    beam: int = BEAM,
    trigger: int = TRIGGER,
    held_out: MakeTarget | None = None,
    every_s: float = 1.0,
) -> Iterator[Moment]:
    """Run builders and a learner, and say how it stands every second; end it by closing the iterator, or let it end.

    Args:
        make_target: makes the target, in each process; must be importable there. path: the run's folder; one that is there goes on.
        seconds, attempts: when to end; both None: never.
        policy: "rules", which a learner trains, or "edits". seed: of all that is drawn. trigger: new results to learn from.
        held_out: makes the target that the regression guard compares policies on; None: no guard.
    Raises:
        RuntimeError: processes ended on their own more than twenty times.
    """
    folder = Folder(path)
    begin = time.time()
    context = multiprocessing.get_context("spawn")
    with folder.store(create=True) as store:
        metrics = Metrics(make_target().programs)
        records = store.results()
        metrics.take(records)

        def start(k: int) -> BaseProcess:
            if k == builders:
                process = context.Process(
                    target=study,
                    args=(make_target, Study(path, seed=seed, trigger=trigger, held_out=held_out)),
                )
            else:
                until = None if seconds is None else begin + seconds
                work = Work(path, policy, k, seed, beam, until, share(attempts, builders))
                process = context.Process(target=build, args=(make_target, work))
            process.daemon = True
            process.start()
            return process

        roles = range(builders + (policy == "rules"))
        processes = {k: start(k) for k in roles}
        restarted, told = 0, 0.0
        try:
            while any(processes[k].is_alive() for k in range(builders)):
                time.sleep(_TICK_S)
                for k, process in processes.items():
                    if process.exitcode not in (None, 0):
                        restarted += 1
                        if restarted > _RESTARTS:
                            raise RuntimeError(
                                f"processes have ended {restarted} times, the last with {process.exitcode}"
                            )
                        processes[k] = start(k)
                if time.time() - begin - told >= every_s:
                    told = time.time() - begin
                    records = store.results(records.cursor)
                    finds = tuple(metrics.take(records))
                    yield Moment(told, metrics, finds, folder.active(), restarted)
        finally:
            for process in processes.values():
                process.kill()
            for process in processes.values():
                process.join()
        records = store.results(records.cursor)
        yield Moment(time.time() - begin, metrics, tuple(metrics.take(records)), folder.active(), restarted)
