"""The processes of a run: builders, a learner, and now and then one that makes room on the disk.

Rule of this file: whoever ends without having been told to is started again; nobody is asked to end, all are killed.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess

from ostinato.online.keeping import shrink
from ostinato.online.learner import Study, study
from ostinato.online.working import MakeTarget, Work, build

_RESTARTS = 20  # of processes that ended without having been told to


class Crew:
    """Builders, and a learner if there is something to study. Starts them.

    Args:
        make_target: makes the target, in each process. works: one for each builder. learning: for the learner, or None.
    """

    def __init__(self, make_target: MakeTarget, works: Sequence[Work], learning: Study | None) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._roles: list[tuple[Callable[..., None], tuple[object, ...]]] = [
            (build, (make_target, work)) for work in works
        ]
        self._builders = len(self._roles)
        if learning is not None:
            self._roles.append((study, (make_target, learning)))
        self._processes = [self._start(*role) for role in self._roles]
        self._keeper: BaseProcess | None = None
        self.restarted = 0

    def _start(self, target: Callable[..., None], arguments: tuple[object, ...]) -> BaseProcess:
        process = self._context.Process(target=target, args=arguments, daemon=True)
        process.start()
        return process

    @property
    def building(self) -> bool:
        """Is there a builder that has not come to its end?"""
        return any(process.is_alive() for process in self._processes[: self._builders])

    def look_after(self) -> None:
        """Start again who has ended on its own.

        Raises:
            RuntimeError: that happened more than twenty times.
        """
        for k, process in enumerate(self._processes):
            if process.exitcode not in (None, 0):
                self.restarted += 1
                if self.restarted > _RESTARTS:
                    raise RuntimeError(
                        f"processes have ended {self.restarted} times, the last with {process.exitcode}"
                    )
                self._processes[k] = self._start(*self._roles[k])

    @property
    def keeping(self) -> bool:
        """Is somebody making room?"""
        return self._keeper is not None and self._keeper.is_alive()

    def make_room(self, path: str, disk_bytes: int) -> None:
        """Let a process do it, if none is `keeping`."""
        self._keeper = self._start(shrink, (path, disk_bytes))

    def stop(self) -> None:
        """Kill all. Cost: some ms."""
        processes = [*self._processes, *([] if self._keeper is None else [self._keeper])]
        for process in processes:
            process.kill()
        for process in processes:
            process.join()
