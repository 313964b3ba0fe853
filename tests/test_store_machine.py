"""A store with everything that can happen to it, driven at random beside a slow model in plain Python.

OSTINATO_LONG=1 takes many more and longer ways.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ostinato import BuildResult, EmptyBufferError, reward
from ostinato.replay import LowestPriority, MappedBuffer, Oldest, PerProgram, Proportional, Uniform
from ostinato.store import Cursor, Extra, Keep, Store, Writer
from ostinato.testing import FaultyFileSystem, PowerLoss
from store_helpers import NOW, as_written, made, many, opened

LONG = os.environ.get("OSTINATO_LONG") == "1"
EXTRAS = {"x": Extra("i4", -1), "y": Extra("f8", float("nan"))}
SAMPLERS = {"uniform": Uniform, "proportional": Proportional, "per program": lambda: PerProgram(Uniform())}
REMOVERS = {"oldest": Oldest, "lowest": LowestPriority}


@dataclasses.dataclass
class Kept:
    """A record as the model holds it."""

    result: BuildResult
    x: int
    host: str
    sealed: bool = False
    synced: bool = False


@dataclasses.dataclass
class Working:
    """A writer at work, and the ids that are in its journal now."""

    writer: Writer
    host: str
    ids: list[int] = dataclasses.field(default_factory=list)


class Machine(RuleBasedStateMachine):
    """The model: what is in the store, by id; what was said of corrections; what was sealed; what was synced."""

    @initialize(sampler=st.sampled_from(sorted(SAMPLERS)), remover=st.sampled_from(sorted(REMOVERS)))
    def begin(self, sampler: str, remover: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ostinato-machine-"))
        self.setting = (sampler, remover)
        self.here: dict[int, Kept] = {}
        self.all_ids: set[int] = set()
        self.corrections: dict[int, list[tuple[int, bool]]] = {}  # of each record: (at, synced)
        self.writers: list[Working] = []
        self.merged: set[int] = set()
        self.cursor, self.told = Cursor(), dict[int, BuildResult]()
        self.steps = 0
        self.torn = False  # after a loss of power there may be damage, in what was not synced
        self.random = np.random.default_rng(0)
        self.other = opened(self.folder, "other")
        self.others: dict[int, BuildResult] = {}
        self._open()

    def _open(self) -> None:
        self.fs = FaultyFileSystem(self.folder, rng=self.random)
        self.store = Store.open(self.folder / "store", extras=EXTRAS, fs=self.fs)
        self.buffer = self._buffer()

    def _buffer(self) -> MappedBuffer:
        sampler, remover = self.setting
        made_sampler: Any = SAMPLERS[sampler]()
        made_remover: Any = REMOVERS[remover]()
        return self.store.replay(1000, sampler=made_sampler, remover=made_remover, seed=1)

    def teardown(self) -> None:
        for working in getattr(self, "writers", []):
            working.writer.close()
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    # --- appending

    @precondition(lambda self: len(self.writers) < 3)
    @rule(rotate=st.sampled_from([4096, 1 << 20]))
    def begin_writer(self, rotate: int) -> None:
        host = f"host {self.steps}"
        self.writers.append(Working(self.store.writer({"host": host}, rotate_bytes=rotate), host))

    @precondition(lambda self: self.writers)
    @rule(w=st.integers(0, 2), k=st.integers(0, 12), x=st.none() | st.integers(-9, 9))
    def append(self, w: int, k: int, x: int | None) -> None:
        working = self.writers[w % len(self.writers)]
        identity = working.writer.append(made(k), {} if x is None else {"x": x})
        self._keep(working, [identity], [made(k)], [-1 if x is None else x])

    @precondition(lambda self: self.writers)
    @rule(w=st.integers(0, 2), k=st.integers(0, 12), n=st.sampled_from([0, 1, 5, 30]))
    def extend(self, w: int, k: int, n: int) -> None:
        working = self.writers[w % len(self.writers)]
        ids = working.writer.extend(many(n, k), {"x": np.arange(n)})
        self._keep(working, ids.tolist(), many(n, k), list(range(n)))

    def _keep(self, working: Working, ids: list[int], results: list[BuildResult], xs: list[int]) -> None:
        assert not self.all_ids & set(ids)
        assert len(set(ids)) == len(results)
        self.all_ids |= set(ids)
        for identity, result, x in zip(ids, results, xs, strict=True):
            self.here[identity] = Kept(result, x, working.host)
        journal = working.writer.journal
        working.ids = [i for i in [*working.ids, *ids] if i >> 24 == journal]

    @precondition(lambda self: self.writers)
    @rule(w=st.integers(0, 2))
    def sync(self, w: int) -> None:
        working = self.writers[w % len(self.writers)]
        working.writer.sync()
        for kept in self.here.values():
            kept.synced |= kept.host == working.host

    @precondition(lambda self: self.writers)
    @rule(w=st.integers(0, 2))
    def close_writer(self, w: int) -> None:
        self.writers.pop(w % len(self.writers)).writer.close()

    # --- keeping in order

    def _sealed(self) -> None:
        at_work = {i for working in self.writers for i in working.ids}
        for identity, kept in self.here.items():
            if identity not in at_work:
                kept.sealed = kept.synced = True
        for identity, said in self.corrections.items():
            self.corrections[identity] = [(at, True) for at, _ in said]

    @rule(size=st.sampled_from([4096, 1 << 20]))
    def seal(self, size: int) -> None:
        self.store.seal(max_bytes=size)
        self._sealed()

    @rule(size=st.sampled_from([4096, 1 << 20]))
    def compact(self, size: int) -> None:
        self.store.compact(max_bytes=size)
        self._sealed()

    @rule(
        newest=st.none() | st.integers(0, 40),
        best=st.none() | st.integers(0, 3),
        age=st.none() | st.integers(0, 40),
        size=st.sampled_from([4096, 1 << 20]),
    )
    def retain(self, newest: int | None, best: int | None, age: int | None, size: int) -> None:
        if newest is best is age is None:
            return
        keep = Keep(newest=newest, best_per_program=best, max_age_s=age)
        self.store.compact(keep, now=NOW + 30, max_bytes=size)
        self._sealed()
        sealed = {i: k.result for i, k in self.here.items() if k.sealed}
        stays: set[int] = set()
        if newest is not None:
            order = sorted(sealed, key=lambda i: (sealed[i].timestamp, i), reverse=True)
            stays |= set(order[:newest])
        if age is not None:
            stays |= {i for i, r in sealed.items() if r.timestamp >= NOW + 30 - age}
        if best is not None:
            for program in {r.tir_hash for r in sealed.values()}:
                good = [
                    (r.clock_cycles or 0, i)
                    for i, r in sealed.items()
                    if r.tir_hash == program
                    and r.valid
                    and not r.fallback_used
                    and r.clock_cycles is not None
                ]
                stays |= {i for _, i in sorted(good)[:best]}
        for identity in sealed.keys() - stays:
            del self.here[identity]
        self._look()

    @precondition(lambda self: self.here)
    @rule(
        which=st.integers(0, 10**6),
        cycles=st.integers(0, 99),
        at=st.none() | st.integers(0, 3),
        look=st.booleans(),
    )
    def amend(self, which: int, cycles: int, at: int | None, look: bool) -> None:
        identity = list(self.here)[which % len(self.here)]
        kept = self.here[identity]
        result = dataclasses.replace(kept.result, clock_cycles=cycles, valid=cycles % 3 != 0)
        self.store.amend(identity, result, reason=f"step {self.steps}", at=at)
        said = self.corrections.setdefault(identity, [])
        if at is None or all(at >= other for other, _ in said):
            kept.result = result
        said.append((2**62 if at is None else at, False))
        if look:
            self._look()

    @rule(n=st.integers(0, 4), k=st.integers(0, 12), act=st.sampled_from(["none", "seal"]))
    def merge(self, n: int, k: int, act: str) -> None:
        with self.other.writer({"host": "other"}) as writer:
            ids = writer.extend(many(n, k)).tolist()
        self.others |= zip(ids, many(n, k), strict=True)
        if act == "seal":
            self.other.seal()
        before = set(self.all_ids)
        merged = self.store.merge(self.other)
        new = [int(i) for i in self.store.results().ids if int(i) not in before]
        assert merged.records == len(new) == len(self.others.keys() - self.merged)
        assert [self.store.get(i) for i in sorted(new)] == [
            self.others[i] for i in sorted(self.others.keys() - self.merged)
        ]
        self.merged = set(self.others)
        self.all_ids |= set(new)
        for identity in new:
            self.here[identity] = Kept(self.store.get(identity), -1, "other", sealed=True, synced=True)

    # --- reading

    @rule()
    def read_on(self) -> None:
        """A reader that goes on from its cursor is told of each record once."""
        records = self.store.results(since=self.cursor)
        new = records.ids.tolist()
        assert not self.told.keys() & set(new)
        self.told |= zip(new, records, strict=True)
        self.cursor = Cursor.from_json(records.cursor.to_json())
        assert self.here.keys() <= self.told.keys()

    def _look(self) -> None:
        """The buffer follows the store."""
        self.buffer.refresh()
        assert set(self.buffer.ids().tolist()) == self.here.keys()

    @rule(n=st.integers(1, 16))
    def learn(self, n: int) -> None:
        self._look()
        try:
            batch = self.buffer.sample(n)
        except EmptyBufferError:
            assert not (self.buffer.priorities(list(self.here)) > 0).any()
            return
        for i, identity in enumerate(batch.ids.tolist()):
            assert batch[i] == self.here[identity].result
            assert batch.extras["x"][i] == self.here[identity].x
        given = self.random.random(n)
        self.buffer.update_priorities(batch.ids, given)
        said = dict(zip(batch.ids.tolist(), given.tolist(), strict=True))
        assert self.buffer.priorities(list(said)).tolist() == list(said.values())
        self.buffer.check()

    @rule()
    def learn_in_another_process(self) -> None:
        """As far as that goes here: another store object, and the state through its arrays."""
        self.buffer.refresh()
        state, before = self.buffer.state_dict(), self.buffer
        self.store = Store.open(self.store.path, fs=self.fs)
        self.buffer = self._buffer()
        self.buffer.load_state_dict(state)
        assert self.buffer.ids().tolist() == before.ids().tolist()
        ids = list(self.here)
        assert self.buffer.priorities(ids).tolist() == before.priorities(ids).tolist()
        self.buffer.check()

    # --- stopping

    @rule()
    def close_store(self) -> None:
        self.store.close()

    @rule()
    def kill(self) -> None:
        """All processes are killed: the system keeps what was written."""
        self._crash("all")
        self._check_all()

    @rule(seed=st.integers(0, 2**32 - 1))
    def lose_power(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self._crash("random")
        self._lost_power()

    @rule(
        act=st.sampled_from(["seal", "compact"]),
        calls=st.integers(1, 60),
        keep=st.sampled_from(["all", "random"]),
        size=st.sampled_from([4096, 1 << 20]),
    )
    def stopped_within(self, act: str, calls: int, keep: Any, size: int) -> None:
        """Killed, or without power, at one of the calls that sealing or compacting makes."""
        self.fs.fail_at(self.fs.calls + calls, "crash", keep=keep)
        try:
            getattr(self.store, act)(max_bytes=size)
        except PowerLoss:
            self.writers = []
            self._open()
            if keep == "all":
                self._check_all()
            else:
                self._lost_power()
        else:
            self.fs.mend()
            self._sealed()

    def _lost_power(self) -> None:
        """What was synced is here and as it was; the model becomes what else was kept."""
        self.torn = True
        now = {int(i): r for i, r in self._pairs()}
        for identity, kept in self.here.items():
            if kept.synced:
                assert identity in now
        assert now.keys() <= self.here.keys()  # nothing comes alive
        for identity, result in now.items():
            said = self.corrections.get(identity, [])
            if all(synced for _, synced in said):
                assert result == self.here[identity].result
            self.here[identity].result = result  # else any of the corrections may be the last that is there
            self.here[identity].synced = True  # it is on the disk now
        for identity in self.here.keys() - now.keys():
            del self.here[identity]
        # what is left of the corrections is read from the store: the model cannot know
        left: dict[int, list[tuple[int, bool]]] = {}
        for sealed in self.store.amendments():
            at = sealed.amendment.at
            left.setdefault(sealed.amendment.id, []).append((2**62 if at > NOW else at, True))
        for identity, said in left.items():
            assert identity not in self.here or {at for at, _ in said} <= {
                at for at, _ in self.corrections.get(identity, [])
            }
        self.corrections = left
        self.cursor, self.told = Cursor(), {}  # a reader may have been told of what is lost
        self.all_ids = set(self.here)  # numbers of journals that were lost may come again

    def _crash(self, keep: Any) -> None:
        self.fs.crash(self.random, keep=keep)
        self.writers = []
        self._open()

    # --- what always holds

    def _pairs(self) -> list[tuple[int, BuildResult]]:
        records = self.store.results()
        assert records.damaged == 0
        return list(zip(records.ids.tolist(), records, strict=True))

    def _check_all(self) -> None:
        expected = {i: kept.result for i, kept in self.here.items()}
        pairs = self._pairs()
        assert dict(pairs) == expected
        assert len(pairs) == len(expected) == len(self.store)
        assert as_written(self.store, whole=not self.torn) == expected

    @invariant()
    def everything_is_here_once(self) -> None:
        if not hasattr(self, "store"):
            return
        self.steps += 1
        pairs = self._pairs()
        assert dict(pairs) == {i: kept.result for i, kept in self.here.items()}
        assert len(pairs) == len(self.here) == len(self.store)
        records = self.store.results()
        assert records.extras["x"].tolist() == [self.here[i].x for i, _ in pairs]
        assert [records.context(i).get("host") for i in range(len(pairs))] == [
            self.here[i].host for i, _ in pairs
        ]
        if self.steps % 4 == 0:
            self._check_all()
            health = self.store.health(now=NOW)
            assert (health.records, health.alive) == (len(self.here), len(self.writers))
            assert self.torn or (health.damaged, health.torn, health.problems) == (0, 0, [])
            # of a record that nobody learned from the priority is the reward
            fresh = self._buffer()
            assert fresh.priorities(list(self.here)).tolist() == [
                reward(k.result) for k in self.here.values()
            ]


TestStore = Machine.TestCase
TestStore.settings = settings(
    max_examples=150 if LONG else 25,
    stateful_step_count=50 if LONG else 30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, *([Phase.shrink] if LONG else [])],
)
