"""A builder at work: beams become records, others' records become parents, a new active policy is taken over.

Rule of this file: a process that is killed anywhere here loses nothing that it has appended, and hurts nobody.
"""

from __future__ import annotations

import math
import multiprocessing
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import DamageError
from ostinato.online.builder import BEAM, Beam, Builder, Found
from ostinato.online.folder import Folder
from ostinato.online.keeping import DISK_BYTES, Room, rotate_bytes
from ostinato.online.policies import EditPolicy, Policy
from ostinato.online.pool import SLACK, Code
from ostinato.online.rule_policy import RulePolicy
from ostinato.online.target import Numbers, Target
from ostinato.result import BuildResult
from ostinato.store import Records, Store, Writer
from ostinato.store.layout import INDEX_BITS

LOOKS_S = 1.0  # between two looks at what others have found
NOTES_S = 5.0  # between two notes of what this one has observed
FAILURES = 0.1  # of beams, those that keep a failed candidate
_IDS = 1 << 16  # codes whose record is remembered
_TAKEN = 512  # records of a program that one look takes over

MakeTarget = Callable[[], Target]


@dataclass(frozen=True, slots=True)
class Work:
    """What a builder is told: the run's folder, the policy ("rules" or "edits"), its number and seed, candidates in a beam, when it
    ends: at a time (Unix seconds), or after so many attempts; None: never. How many builders there are; what the run's files may take."""

    path: str
    policy: str
    number: int
    seed: int
    beam: int = BEAM
    until: float | None = None
    attempts: int | None = None
    builders: int = 1
    disk_bytes: int = DISK_BYTES


def policy_for(name: str, target: Target) -> Policy:
    """A policy that has learned nothing."""
    return EditPolicy(target) if name == "edits" else RulePolicy(target)


def build(make_target: MakeTarget, work: Work) -> None:
    """A builder process: works until it is told to end, is killed, or its parent has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it ends it
    said = {"builder": str(work.number), "policy": work.policy}
    folder = Folder(work.path)
    rotate = rotate_bytes(work.disk_bytes, work.builders)
    with folder.store() as store, store.writer(said, rotate_bytes=rotate) as writer:
        own, room = Worker(make_target(), store, writer, work), Room(folder, work.disk_bytes)
        while not own.done() and looked_after():
            own.turn()
            room.wait()


def looked_after() -> bool:
    """Is there still who started this process? Whoever is left alone ends."""
    parent = multiprocessing.parent_process()
    return parent is None or parent.is_alive()


class Worker:
    """One builder with its store.

    Args:
        clock: seconds, which say when it looks at what others have done; one of the caller's own makes runs the same again.
    """

    def __init__(
        self,
        target: Target,
        store: Store,
        writer: Writer,
        work: Work,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._target, self._store, self._writer, self._work = target, store, writer, work
        self._folder = Folder(work.path)
        self._policy = policy_for(work.policy, target)
        records = store.results()
        self._builder = Builder(
            target,
            self._policy,
            seed=_seed(work, len(records)),
            beam=work.beam,
            share=(work.number, work.builders),
        )
        self._rng = np.random.default_rng([work.seed, work.number, len(records), 1])
        self._numbers = Numbers(target.programs)
        self._ids: dict[tuple[int, Code], int] = {}
        self._cursor = records.cursor
        self._journal: int | None = None  # the first one that this builder has written
        self._looked = clock()
        self._noted = self._looked - NOTES_S
        self.attempts = 0
        self.version = 0
        self._take(records)
        self._take_policy()

    def done(self) -> bool:
        """Has it done what it was told?"""
        if self._work.attempts is not None and self.attempts >= self._work.attempts:
            return True
        return self._work.until is not None and time.time() >= self._work.until

    def turn(self) -> None:
        """One beam, its records, and now and then a look at what others have done."""
        begin = time.perf_counter()
        beam = self._builder.beam()
        spent = time.perf_counter() - begin
        self.attempts += beam.attempts
        self._write(beam, spent)
        if self._clock() - self._looked >= LOOKS_S:
            self._look()

    def _look(self) -> None:
        """Take over what others have found, and say what this one has counted."""
        self._looked = self._clock()
        records = self._store.results(self._cursor)
        self._cursor = records.cursor
        self._take(records)
        self._take_policy()
        if isinstance(self._policy, RulePolicy) and self._journal is not None and self._due():
            self._folder.note_observations(self._journal, self._policy.observations())

    def _due(self) -> bool:
        """Are its observations to be written again? They are some 100 KB."""
        due = self._clock() - self._noted >= NOTES_S
        if due:
            self._noted = self._clock()
        return due

    def _take(self, records: Records) -> None:
        """Verified code that others found becomes parents: of each program the newest that are cheap enough to be kept."""
        programs = self._numbers.of(records.tir_hash)
        cycles = np.ma.filled(records.clock_cycles, 0).astype(np.int64)
        usable = records.valid & ~records.fallback_used & (programs >= 0)
        least = np.array([self._builder.pool.best(i)[1] for i in range(len(self._target.programs))], np.int64)
        np.minimum.at(least, programs[usable], cycles[usable])
        chosen = np.flatnonzero(usable & (cycles <= least[programs] + SLACK))
        ids = records.ids
        for i in newest(programs[chosen], chosen, _TAKEN).tolist():
            words = records.generated_tasm[i]
            if not all(word in self._target.vocabulary for word in words):
                continue
            code = tuple(self._target.vocabulary.ids(list(words)))
            self._builder.pool.add(int(programs[i]), code, int(cycles[i]))
            self._remember(int(programs[i]), code, int(ids[i]))

    def _take_policy(self) -> None:
        """The active policy, if it is another than before; one that cannot be read is left alone."""
        if not isinstance(self._policy, RulePolicy):
            return
        try:
            active = self._folder.active()
            if active is not None and active != self.version:
                self._policy.adopt(self._folder.checkpoint(active))
                self.version = active
        except (DamageError, OSError):
            return

    def _remember(self, program: int, code: Code, identity: int) -> None:
        if len(self._ids) >= _IDS:
            self._ids.clear()
        self._ids[program, code] = identity

    def _write(self, beam: Beam, spent: float) -> None:
        task = self._target.programs[beam.program]
        now = int(time.time())
        judging = self._builder.judging_s
        counts = {
            "attempts": beam.attempts,
            "valid_attempts": beam.valid,
            "better_attempts": beam.better,
            "duplicates": beam.duplicates,
            "proposal_us": round(max(0.0, spent - judging) * 1e6),
            "judge_us": round(judging * 1e6),
        }
        for one in beam.steps:
            if beam.best is None or one.code != beam.best.code:
                self._found(beam.program, one, now, {})
        if beam.best is not None:
            self._found(beam.program, beam.best, now, counts)
        else:
            self._append(beam.program, self._builder.pool.baselines[beam.program], True, task.compiler_cycles, now, counts, fallback=True)  # fmt: skip
        if beam.sample and self._rng.random() < FAILURES:
            code, parent, failure = beam.sample[0]
            self._append(
                beam.program,
                code,
                False,
                None,
                now,
                {"parent": self._id_of(beam.program, parent), "failure": failure},
            )

    def _id_of(self, program: int, code: Code) -> int:
        return self._ids.get((program, code), -1)

    def _found(self, program: int, found: Found, now: int, extras: dict[str, int]) -> None:
        """Valid code; what it was made from goes first, if it has no record yet and is not the baseline."""
        parent = self._id_of(program, found.parent)
        if parent < 0 and found.parent != self._builder.pool.baselines[program]:
            parent = self._append(program, found.parent, True, found.parent_cycles, now, {})
        self._append(program, found.code, True, found.cycles, now, {"parent": parent, **extras})

    def _append(
        self, program: int, code: Code, valid: bool, cycles: int | None, now: int, extras: dict[str, int], *, fallback: bool = False
    ) -> int:  # fmt: skip
        task = self._target.programs[program]
        identity = self._writer.append(
            BuildResult(
                tir_hash=task.tir_hash,
                generated_tasm=task.baseline if fallback else [self._target.vocabulary.word(t) for t in code],
                valid=valid,
                clock_cycles=cycles,
                compiler_cycles=task.compiler_cycles,
                fallback_used=fallback,
                timestamp=now,
                model_version=self.version,
            ),
            extras,
        )
        if self._journal is None:
            self._journal = identity >> INDEX_BITS
        if valid and not fallback:
            self._remember(program, code, identity)
        return identity


def newest(groups: NDArray[np.int64], items: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Of items, which are in groups, the last `count` of each group, in their order. Cost: a sort."""
    order = np.argsort(groups, kind="stable")
    ends = np.searchsorted(groups[order], groups[order], side="right")
    chosen = order[ends - np.arange(len(order)) <= count]
    return items[np.sort(chosen)]


def _seed(work: Work, records: int) -> int:
    return int(np.random.default_rng([work.seed, work.number, records]).integers(2**62))


def share(attempts: int | None, builders: int) -> int | None:
    """Of all attempts, one builder's."""
    return None if attempts is None else math.ceil(attempts / builders)
