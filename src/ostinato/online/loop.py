"""The loop: builders and a learner as processes around a store, and somebody who looks after them and the disk.

Rule of this file: whoever looks after them keeps nothing that the run's folder does not; so anybody may be killed at any moment.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ostinato.errors import DamageError
from ostinato.online.builder import BEAM
from ostinato.online.crew import Crew
from ostinato.online.folder import Folder
from ostinato.online.keeping import DISK_BYTES, is_full
from ostinato.online.learner import TRIGGER, Study
from ostinato.online.metrics import Find, Metrics
from ostinato.online.target import Task
from ostinato.online.working import MakeTarget, Work, share
from ostinato.store import Store
from ostinato.store.catalog_lineage import ModelVersion

_TICK_S = 0.25


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the guard said of a policy. reduction: of cycles, geometric mean, on held-out programs; None where there are none."""

    version: int
    activated: bool
    reason: str
    reduction: float | None


@dataclass(frozen=True, slots=True)
class Moment:
    """How a run stands.

    Attributes:
        seconds: since it began. metrics: of all its records; attempts_before: of them, those before it went on.
        finds, verdicts: what is new since the last moment.
        active: the policy at work, and what the guard said of it, where it is known. restarted: processes so far.
        store_bytes: of the store's files.
    """

    seconds: float
    metrics: Metrics
    attempts_before: int
    finds: tuple[Find, ...]
    verdicts: tuple[Verdict, ...]
    active: int | None
    verdict: Verdict | None
    restarted: int
    store_bytes: int

    @property
    def held_out_reduction(self) -> float | None:
        """Of the policy at work; None where it is not known."""
        return None if self.verdict is None else self.verdict.reduction


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
    disk_bytes: int = DISK_BYTES,
    keep_s: float = 10.0,
    every_s: float = 1.0,
) -> Iterator[Moment]:
    """Run builders and a learner, and say how it stands every second; end it by closing the iterator, or let it end.

    Args:
        make_target: makes the target, in each process; must be importable there. path: the run's folder; one that is there goes on.
        seconds, attempts: when to end; both None: never.
        policy: "rules", which a learner trains, or "edits". seed: of all that is drawn. trigger: new results to learn from.
        held_out: makes the target that the regression guard compares policies on; None: no guard.
        disk_bytes: what the run's files may take; when half of it is full, records leave, but never the best of a program. That is
            looked at every `keep_s`; builders wait when it takes longer than they take to write more. every_s: between two moments.
    Raises:
        RuntimeError: processes ended on their own more than twenty times.
    """
    folder = Folder(path)
    with folder.store(create=True) as store:
        watch = _Watch(folder, store, make_target().programs)
        begin, told = time.time(), 0.0
        until = None if seconds is None else begin + seconds
        own = share(attempts, builders)
        works = [Work(path, policy, k, seed, beam, until, own, builders, disk_bytes) for k in range(builders)]
        learning = Study(path, seed=seed, trigger=trigger, held_out=held_out) if policy == "rules" else None
        crew = Crew(make_target, works, learning)
        kept = begin
        try:
            while crew.building:
                time.sleep(_TICK_S)
                crew.look_after()
                if time.time() - begin - told < every_s:
                    continue
                told = time.time() - begin
                yield watch.moment(told, crew.restarted)
                if attempts is not None and watch.metrics.attempts - watch.before >= attempts:
                    break  # who was started again has counted from 0
                if time.time() - kept >= keep_s and not crew.keeping and is_full(folder, disk_bytes):
                    watch.save()
                    crew.make_room(path, disk_bytes)
                    kept = time.time()
        finally:
            crew.stop()
            last = watch.moment(time.time() - begin, crew.restarted)
            watch.save()
        yield last


class _Watch:
    """How a run stands: what is new in its folder since the last look."""

    def __init__(self, folder: Folder, store: Store, tasks: Sequence[Task]) -> None:
        self._folder, self._store = folder, store
        self.metrics = known_metrics(folder, tasks)
        self._told = max((one.version for one in store.catalog.versions()), default=0)
        self._verdict: Verdict | None = None
        self.metrics.take(store.results(self.metrics.cursor))
        self.before = self.metrics.attempts

    def moment(self, seconds: float, restarted: int) -> Moment:
        """Now."""
        finds = tuple(self.metrics.take(self._store.results(self.metrics.cursor)))
        active = self._folder.active()
        verdicts: tuple[Verdict, ...] = ()
        if self._folder.versions()[-1:] > [self._told] or (
            active is not None and (self._verdict is None or self._verdict.version != active)
        ):
            known = {one.version: _verdict(one) for one in self._store.catalog.versions()}
            verdicts = tuple(one for version, one in sorted(known.items()) if version > self._told)
            self._told = max([self._told, *known])
            self._verdict = None if active is None else known.get(active)
        return Moment(
            seconds,
            self.metrics,
            self.before,
            finds,
            verdicts,
            active,
            self._verdict,
            restarted,
            self._folder.store_bytes(),
        )

    def save(self) -> None:
        """The metrics, so that records that leave have been counted."""
        self.metrics.save(self._folder.metrics)


def known_metrics(folder: Folder, tasks: Sequence[Task]) -> Metrics:
    """A run's metrics as they were saved, without what has come since; of nothing if they never were, or the file is damaged."""
    try:
        return Metrics.load(folder.metrics, tasks)
    except (FileNotFoundError, DamageError):
        return Metrics(tasks)


def _verdict(version: ModelVersion) -> Verdict:
    said = version.metrics
    reduction = said.get("held_out_reduction")
    return Verdict(
        version.version,
        bool(said.get("activated")),
        str(said.get("guard")),
        float(reduction) if isinstance(reduction, int | float) else None,
    )
