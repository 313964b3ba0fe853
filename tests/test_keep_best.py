"""KeepBest, against a model that looks at every record each time."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from draw_helpers import held
from ostinato import BuildResult, ReplayBuffer, UsageError, reward
from ostinato.replay import Dedupe, KeepBest, LeastUseful, LowestPriority, Oldest, Reservoir, Uniform
from record_helpers import complaint, record

INNER = [LowestPriority("oldest"), LowestPriority("newest"), Oldest(), LeastUseful(), Reservoir(3)]
every_inner = pytest.mark.parametrize("inner", INNER, ids=repr)
RECORD_BYTES, INSTRUCTION_BYTES = 116, 4  # as the docstring of ReplayBuffer counts them


def made(program: int = 0, clock_cycles: int | None = 5, words: int = 1, **other: Any) -> BuildResult:
    return record(
        tir_hash=program.to_bytes(32, "big"),
        clock_cycles=clock_cycles,
        generated_tasm=("add",) * words,
        **other,
    )


def leaving_order(seed: int, count: int) -> list[int]:
    """The first ids in the order in which a reservoir gives them up: what stays in one of any size is nested."""
    order = []
    here = set(range(count))
    for capacity in range(count - 1, -1, -1):
        buffer = ReplayBuffer(max(1, capacity), remover=Reservoir(seed))
        buffer.extend([made()] * count)
        left = set(buffer.ids().tolist()) if capacity else set()
        assert left < here
        order += here - left
        here = left
    return order


class Model:
    """What a buffer promises about who is here, by dicts that are searched from end to end."""

    def __init__(
        self,
        capacity: int,
        remover: Any,
        *,
        capacity_bytes: int | None = None,
        max_age_s: int | None = None,
        max_times_sampled: int | None = None,
        dedupe: Dedupe | None = None,
        reservoir: list[int] | None = None,
    ) -> None:
        self.capacity, self.remover = capacity, remover
        self.capacity_bytes, self.max_age_s, self.most = capacity_bytes, max_age_s, max_times_sampled
        self.key = None if dedupe is None else dedupe.key
        self.reservoir = reservoir
        self.records: dict[int, BuildResult] = {}
        self.priority: dict[int, float] = {}
        self.times: dict[int, int] = {}
        self.seen: dict[int, int] = {}
        self.costs: dict[int, list[int]] = {}
        self.next_id = self.merged = self.forced = self.updated = self.late = self.sampled = 0
        self.newest = -1
        self.conflicts: list[tuple[int, int]] = []
        self.removed: Counter[str] = Counter()
        self.gone: list[tuple[int, int]] = []  # age and times sampled of those that left

    def extend(self, results: list[BuildResult], priorities: list[float] | None = None) -> list[int]:
        known = {self.content(r): i for i, r in self.records.items()} if self.key else {}
        ids = []
        for n, result in enumerate(results):
            identity = self.next_id
            self.next_id += 1
            ids.append(identity)
            self.newest = max(self.newest, result.timestamp)
            if self.key:
                content = self.content(result)
                if content in known:
                    self.merged += 1
                    self.merge(known[content], result)
                    continue
                other = known.get((not content[0], *content[1:]))
                if other is not None:
                    self.conflicts.append((other, identity))
                known[content] = identity
            self.records[identity] = result
            self.priority[identity] = reward(result) if priorities is None else priorities[n]
            self.times[identity], self.seen[identity] = 0, 1
            self.costs[identity] = [] if result.clock_cycles is None else [result.clock_cycles]
            if len(self.records) > self.capacity:
                self.give_up("capacity")
        self.keep_limits()
        return ids

    def content(self, result: BuildResult) -> tuple[Any, ...]:
        assert self.key
        return (result.valid, *(getattr(result, name) for name in self.key))

    def merge(self, identity: int, repeat: BuildResult) -> None:
        if identity not in self.records:
            return
        first = self.records[identity]
        self.records[identity] = BuildResult(
            tir_hash=first.tir_hash,
            generated_tasm=first.generated_tasm,
            valid=first.valid,
            clock_cycles=repeat.clock_cycles if first.clock_cycles is None else first.clock_cycles,
            compiler_cycles=first.compiler_cycles,
            fallback_used=first.fallback_used,
            timestamp=max(first.timestamp, repeat.timestamp),
            model_version=first.model_version,
        )
        self.seen[identity] += 1
        if repeat.clock_cycles is not None:
            self.costs[identity].append(repeat.clock_cycles)

    def keep_limits(self) -> None:
        if self.max_age_s is not None:
            for i in [i for i, r in self.records.items() if r.timestamp + self.max_age_s < self.newest]:
                self.remove(i, "max_age")
        while self.capacity_bytes is not None and self.bytes() > self.capacity_bytes:
            self.give_up("capacity_bytes")

    def bytes(self) -> int:
        counts = [len(r.generated_tasm) for r in self.records.values()]
        return RECORD_BYTES * len(counts) + INSTRUCTION_BYTES * sum(counts)

    def protected(self) -> set[int]:
        if not isinstance(self.remover, KeepBest):
            return set()
        programs: dict[bytes, list[int]] = {}
        for i, r in self.records.items():
            programs.setdefault(r.tir_hash, []).append(i)
        out = set()
        for members in programs.values():
            good = [i for i in members if self.can_be_best(self.records[i])]
            good.sort(key=lambda i: (self.records[i].clock_cycles, i))
            out.update(good[: self.remover.per_program])
            if len(members) == 1:
                out.update(members)
        return out

    @staticmethod
    def can_be_best(result: BuildResult) -> bool:
        return result.valid and not result.fallback_used and result.clock_cycles is not None

    def turn(self, identity: int) -> Any:
        """What leaves first is least."""
        inner = self.remover.inner if isinstance(self.remover, KeepBest) else self.remover
        if isinstance(inner, LowestPriority):
            return self.priority[identity], identity if inner.ties == "oldest" else -identity
        if isinstance(inner, LeastUseful):
            return -self.times[identity], identity
        if isinstance(inner, Reservoir):
            assert self.reservoir is not None
            return self.reservoir.index(identity)
        return identity

    def give_up(self, cause: str) -> None:
        free = self.records.keys() - self.protected()
        if free:
            self.remove(min(free, key=self.turn), cause)
        else:
            self.forced += 1
            self.remove(min(self.records), cause)

    def remove(self, identity: int, cause: str = "request") -> None:
        self.gone.append((self.next_id - 1 - identity, self.times[identity]))
        self.removed[cause] += 1
        for column in (self.records, self.priority, self.times, self.seen, self.costs):
            del column[identity]

    def update(self, ids: list[int], priorities: list[float]) -> None:
        for identity, priority in zip(ids, priorities, strict=True):
            if identity in self.records:
                self.priority[identity] = priority
                self.updated += 1
            else:
                self.late += 1

    def draw(self, ids: list[int]) -> None:
        self.sampled += len(ids)
        for i in ids:
            self.times[i] += 1
            if self.most is not None and self.times[i] == self.most:
                self.remove(i, "max_times_sampled")

    def same_records(self, buffer: ReplayBuffer) -> None:
        ids = sorted(self.records)
        assert buffer.ids().tolist() == ids
        assert list(buffer) == [self.records[i] for i in ids]
        assert buffer.priorities(ids).tolist() == [self.priority[i] for i in ids]

    def same_counts(self, buffer: ReplayBuffer) -> None:
        stats = buffer.stats()
        assert stats.pushed == self.next_id
        assert stats.merged == self.merged
        assert {cause: n for cause, n in stats.removed_by.items() if n} == dict(self.removed)
        assert (stats.forced, stats.sampled) == (self.forced, self.sampled)
        assert (stats.updated, stats.late_updates) == (self.updated, self.late)
        assert stats.conflicts == len(self.conflicts)


class Pair:
    """A buffer and its model, driven together."""

    def __init__(
        self, capacity: int, remover: Any, *, reservoir: list[int] | None = None, **limits: Any
    ) -> None:
        self.buffer = ReplayBuffer(
            capacity, remover=remover, sampler=Uniform(replace=False), seed=7, **limits
        )
        self.model = Model(capacity, remover, reservoir=reservoir, **limits)

    def push(self, result: BuildResult) -> None:
        assert [self.buffer.push(result)] == self.model.extend([result])

    def extend(self, results: list[BuildResult], priorities: list[float] | None = None) -> None:
        assert self.buffer.extend(results, priorities).tolist() == self.model.extend(results, priorities)

    def sample(self, n: int) -> None:
        if len(self.buffer):
            self.model.draw(self.buffer.sample(n).ids.tolist())

    def update(self, ids: list[int], priorities: list[float]) -> None:
        self.buffer.update_priorities(ids, priorities)
        self.model.update(ids, priorities)

    def remove(self, ids: list[int]) -> None:
        here = set(ids) & self.model.records.keys()
        assert self.buffer.remove(ids) == len(here)
        for i in here:
            self.model.remove(i)

    def look(self) -> None:
        self.model.same_records(self.buffer)

    def compare(self) -> None:
        self.look()
        self.model.same_counts(self.buffer)
        self.buffer.check()


ids = st.lists(st.integers(0, 40), max_size=6)
levels = st.sampled_from([0.0, 0.5, 1.0, 2.0])
results = st.builds(
    made,
    st.integers(0, 3),
    st.sampled_from([None, 1, 2, 2, 3, 9]),
    st.integers(0, 4),
    valid=st.sampled_from([True, True, True, False]),
    fallback_used=st.sampled_from([False, False, True]),
    timestamp=st.integers(0, 12),
)
calls = st.one_of(
    st.tuples(st.just("push"), results),
    st.tuples(st.just("extend"), st.lists(results, max_size=9)),
    st.tuples(st.just("sample"), st.integers(1, 6)),
    st.tuples(st.just("update"), ids.flatmap(lambda i: st.tuples(st.just(i), st.lists(levels, min_size=len(i), max_size=len(i))))),
    st.tuples(st.just("remove"), ids),
    st.tuples(st.just("look")),
)  # fmt: skip
scripts = st.lists(calls, max_size=14)
RESERVOIR = leaving_order(3, 300)


def drive(pair: Pair, script: list[Any]) -> None:
    for name, *arguments in script:
        if name == "update":
            pair.update(*arguments[0])
        else:
            getattr(pair, name)(*arguments)
    pair.compare()


def one_by_one(script: list[Any]) -> list[Any]:
    """The same, with every record pushed alone, and a look after each call."""
    out: list[Any] = []
    for name, *arguments in script:
        alone = [("push", r) for r in arguments[0]] if name == "extend" else [(name, *arguments)]
        out += [step for call in alone for step in (call, ("look",))]
    return out


# --- against the model --------------------------------------------------------------------------------------


@every_inner
@settings(max_examples=40, deadline=None)
@given(st.integers(8, 20), st.integers(1, 2), scripts)
def test_with_room_for_the_best_those_leave_whom_the_model_gives_up(
    inner: Any, capacity: int, k: int, script: list[Any]
) -> None:
    drive(Pair(capacity, KeepBest(inner, per_program=k), reservoir=RESERVOIR), script)


@settings(max_examples=40, deadline=None, database=None)
@given(st.integers(1, 7), st.integers(1, 3), scripts)
def drive_without_room(inner: Any, capacity: int, k: int, script: list[Any]) -> None:
    remover = KeepBest(inner, per_program=min(k, capacity))
    # step by step first: what goes wrong in a call of many may never return
    drive(Pair(capacity, remover, reservoir=RESERVOIR), one_by_one(script))
    drive(Pair(capacity, remover, reservoir=RESERVOIR), script)


@pytest.mark.parametrize("number", range(len(INNER)), ids=[repr(inner) for inner in INNER])
def test_with_no_room_for_the_best_those_leave_whom_the_model_gives_up(number: int) -> None:
    code = f"import test_keep_best as t; t.drive_without_room(t.INNER[{number}])"
    child = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (child.returncode, child.stderr[-3000:]) == (0, "")


@every_inner
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), scripts)
def test_a_capacity_in_bytes_removes_in_the_same_order(inner: Any, records: int, script: list[Any]) -> None:
    capacity_bytes = records * (RECORD_BYTES + INSTRUCTION_BYTES)
    drive(Pair(20, KeepBest(inner), reservoir=RESERVOIR, capacity_bytes=capacity_bytes), script)


@every_inner
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 3), scripts)
def test_age_and_use_remove_whatever_they_hit(inner: Any, age: int, most: int, script: list[Any]) -> None:
    drive(Pair(20, KeepBest(inner), reservoir=RESERVOIR, max_age_s=age, max_times_sampled=most), script)


@every_inner
@settings(max_examples=40, deadline=None)
@given(st.integers(8, 20), scripts)
def test_what_merged_repeats_have_measured_counts(inner: Any, capacity: int, script: list[Any]) -> None:
    # one by one: within a call it is left open which comes first, the repeat or the removal
    drive(Pair(capacity, KeepBest(inner), reservoir=RESERVOIR, dedupe=Dedupe()), one_by_one(script))


# --- each promise by itself ---------------------------------------------------------------------------------


@every_inner
def test_the_best_of_a_program_stays_whatever_comes(inner: Any) -> None:
    buffer = ReplayBuffer(3, remover=KeepBest(inner))
    best = buffer.push(made(0, 1))
    buffer.extend([made(0, 9, timestamp=t) for t in range(50)])
    assert best in buffer


@every_inner
def test_the_last_record_of_a_program_stays_though_it_is_invalid(inner: Any) -> None:
    buffer = ReplayBuffer(3, remover=KeepBest(inner))
    last = buffer.push(made(1, valid=False))
    buffer.extend([made(0, 9) for _ in range(50)])
    assert last in buffer


@every_inner
def test_a_new_best_frees_the_old_one(inner: Any) -> None:
    buffer = ReplayBuffer(2, remover=KeepBest(inner))
    buffer.extend([made(0, 5), made(1, 5), made(0, 4)], [1.0, 1.0, 1.0])
    assert held(buffer) == [1, 2]


def test_of_equal_costs_the_oldest_is_the_best() -> None:
    buffer = ReplayBuffer(2, remover=KeepBest(Oldest()))
    buffer.extend([made(0, 5), made(0, 5), made(0, 5)])
    assert held(buffer) == [0, 2]


@pytest.mark.parametrize(
    "lesser", [{"valid": False}, {"fallback_used": True}, {"clock_cycles": None}], ids=str
)
def test_only_valid_measured_results_without_fallback_are_best(lesser: dict[str, Any]) -> None:
    buffer = ReplayBuffer(2, remover=KeepBest(Oldest()))
    buffer.extend([made(0, **{"clock_cycles": 1, **lesser}), made(0, 9), made(0, 10)])
    assert held(buffer) == [1, 2]


@every_inner
@pytest.mark.parametrize("k", [1, 2, 5])
def test_k_of_each_program_stay(inner: Any, k: int) -> None:
    rng = np.random.default_rng(k)
    costs = rng.permutation(300)
    buffer = ReplayBuffer(3 * k + 1, remover=KeepBest(inner, per_program=k))
    buffer.extend([made(i % 3, int(cost)) for i, cost in enumerate(costs)])
    best = [i for p in range(3) for i in sorted(range(p, 300, 3), key=lambda i: costs[i])[:k]]
    assert set(best) <= set(held(buffer))


@every_inner
def test_nothing_is_forced_while_other_records_are_left(inner: Any) -> None:
    buffer = ReplayBuffer(5, remover=KeepBest(inner))
    buffer.extend([made(i % 4, i % 7) for i in range(300)])
    assert buffer.stats().forced == 0


@every_inner
def test_where_all_are_protected_the_oldest_goes_and_is_counted(inner: Any) -> None:
    buffer = ReplayBuffer(3, remover=KeepBest(inner))
    for program in range(5):
        buffer.push(made(program))
    assert (held(buffer), buffer.stats().forced) == ([2, 3, 4], 2)


@every_inner
def test_a_forced_removal_leaves_every_record_under_its_own_id(inner: Any) -> None:
    buffer = ReplayBuffer(3, remover=KeepBest(inner))
    given = [made(program, program) for program in range(5)]
    ids = [buffer.push(result) for result in given]
    assert {i: buffer.get(i) for i in ids if i in buffer} == {i: given[i] for i in held(buffer)}


@every_inner
def test_with_a_capacity_of_one_the_newcomer_of_another_program_forces_the_other_out(inner: Any) -> None:
    buffer = ReplayBuffer(1, remover=KeepBest(inner))
    buffer.extend([made(0), made(1)])
    assert (held(buffer), buffer.stats().forced) == ([1], 1)


@every_inner
def test_too_many_bytes_of_protected_records_force_the_oldest_out(inner: Any) -> None:
    buffer = ReplayBuffer(9, remover=KeepBest(inner), capacity_bytes=2 * (RECORD_BYTES + INSTRUCTION_BYTES))
    for program in range(5):
        buffer.push(made(program))
    assert (held(buffer), buffer.stats().forced) == ([3, 4], 3)


def test_a_capacity_in_bytes_leaves_each_program_its_last_record() -> None:
    buffer = ReplayBuffer(
        9, remover=KeepBest(Oldest()), capacity_bytes=4 * (RECORD_BYTES + INSTRUCTION_BYTES)
    )
    bad, other = made(1, valid=False), made(2, valid=False)
    buffer.extend([bad, bad, bad, other, other, other, other])
    assert held(buffer) == [2, 4, 5, 6]


def test_records_removed_on_request_are_not_forced() -> None:
    buffer = ReplayBuffer(3, remover=KeepBest(Oldest()))
    buffer.remove(buffer.extend([made(0), made(1)]))
    assert (len(buffer), buffer.stats().forced) == (0, 0)


def test_records_too_old_are_not_forced() -> None:
    buffer = ReplayBuffer(3, remover=KeepBest(Oldest()), max_age_s=5)
    buffer.extend([made(0, timestamp=0), made(1, timestamp=6)])
    assert (held(buffer), buffer.stats().forced) == ([1], 0)


def test_when_the_best_is_removed_on_request_the_next_best_is_kept() -> None:
    buffer = ReplayBuffer(3, remover=KeepBest(Oldest()))
    buffer.extend([made(0, 2), made(0, 1), made(0, 9)])
    buffer.remove([1])
    buffer.extend([made(0, 9), made(0, 9), made(0, 9)])
    assert held(buffer) == [0, 4, 5]


def test_a_program_left_with_one_record_keeps_it() -> None:
    buffer = ReplayBuffer(3, remover=KeepBest(Oldest()))
    buffer.extend([made(0, valid=False), made(0, valid=False), made(1)])
    buffer.remove([1])
    buffer.extend([made(1, 9), made(1, 9), made(1, 9)])
    assert held(buffer) == [0, 2, 5]


def test_a_program_that_has_gone_and_comes_again_is_protected_anew() -> None:
    buffer = ReplayBuffer(3, remover=KeepBest(Oldest()))
    buffer.remove(buffer.extend([made(0, 1)]))
    buffer.extend([made(0, 7), made(1, 1), made(1, 2), made(1, 3), made(1, 4)])
    assert held(buffer) == [1, 2, 5]


def test_a_low_priority_does_not_take_the_best_out() -> None:
    buffer = ReplayBuffer(2, remover=KeepBest(LowestPriority()))
    buffer.extend([made(0, 1), made(0, 2)], [5.0, 5.0])
    buffer.update_priorities([0], [0.0])
    buffer.extend([made(0, 3)], [9.0])
    assert held(buffer) == [0, 2]


def test_updated_priorities_order_those_that_are_not_protected() -> None:
    buffer = ReplayBuffer(3, remover=KeepBest(LowestPriority()))
    buffer.extend([made(0, 1), made(0, 2), made(0, 3)], [1.0, 2.0, 3.0])
    buffer.update_priorities([2], [0.5])
    buffer.extend([made(0, 4)], [1.0])
    assert held(buffer) == [0, 1, 3]


def test_draws_order_those_that_are_not_protected() -> None:
    buffer = ReplayBuffer(3, remover=KeepBest(LeastUseful()), sampler=Uniform(replace=False), seed=1)
    buffer.extend([made(0, 1), made(0, 2)])
    buffer.sample(2)
    buffer.extend([made(0, 3), made(0, 4)])
    assert held(buffer) == [0, 2, 3]


def test_a_priority_beyond_all_others_protects_nobody() -> None:
    buffer = ReplayBuffer(2, remover=KeepBest(LowestPriority()))
    top = float(np.finfo(np.float64).max)
    buffer.extend([made(0, 9), made(0, 9), made(0, 1)], [top, top, 0.0])
    assert (held(buffer), buffer.stats().forced) == ([1, 2], 0)


def test_a_record_that_a_repeat_has_measured_can_be_the_best() -> None:
    buffer = ReplayBuffer(2, remover=KeepBest(Oldest()), dedupe=Dedupe())
    buffer.push(made(0, None, words=1))
    buffer.push(made(0, 5, words=2))
    buffer.push(made(0, 1, words=1))
    buffer.push(made(0, 9, words=3))
    assert held(buffer) == [0, 3]


def test_a_repeat_that_is_merged_removes_nothing() -> None:
    buffer = ReplayBuffer(2, remover=KeepBest(Oldest()), dedupe=Dedupe())
    buffer.extend([made(0, 5, words=1), made(0, 6, words=2), made(0, 4, words=2)])
    assert (held(buffer), buffer.stats().merged) == ([0, 1], 1)


@pytest.mark.parametrize("inner", INNER[:4], ids=repr)
def test_thousands_of_programs_come_and_go(inner: Any) -> None:
    pair = Pair(200, KeepBest(inner))
    rng = np.random.default_rng(8)
    for turn in range(60):  # 4,500 programs: numbers of those that are gone are given up
        costs = rng.integers(0, 4, 225).tolist()
        pair.extend([made(75 * turn + i % 75, c, 0, valid=c > 0) for i, c in enumerate(costs)])
        pair.remove(rng.permutation(sorted(pair.model.records))[:150].tolist())
    pair.compare()
    assert pair.model.forced == 0


@pytest.mark.parametrize("act", ["updates", "draws"])
def test_a_learner_alone_leaves_nothing_behind(act: str) -> None:
    inner = LowestPriority() if act == "updates" else LeastUseful()
    buffer = ReplayBuffer(1000, remover=KeepBest(inner), sampler=Uniform())
    ids = buffer.extend([made()] * 1000)

    def repeat(times: int) -> None:
        for _ in range(times):
            if act == "updates":
                buffer.update_priorities(ids, np.ones(1000))
            else:
                buffer.sample(1000)

    repeat(20)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        repeat(200)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 200_000


# --- mistakes -----------------------------------------------------------------------------------------------


def test_more_of_a_program_than_the_capacity_is_an_error() -> None:
    message = complaint(UsageError, ReplayBuffer, 2, remover=KeepBest(Oldest(), per_program=3))
    assert message == "3 records of a program do not fit into a capacity of 2 - at `per_program`"


def test_as_many_of_a_program_as_the_capacity_is_none() -> None:
    buffer = ReplayBuffer(2, remover=KeepBest(Oldest(), per_program=2))
    buffer.extend([made(0, cost) for cost in (5, 4, 3)])
    assert held(buffer) == [1, 2]


@pytest.mark.parametrize("k", [0, -1, True, 1.0, "1", None])
def test_how_many_of_a_program_is_an_integer_above_0(k: Any) -> None:
    assert complaint(UsageError, KeepBest, Oldest(), k).endswith("at `per_program`")


@pytest.mark.parametrize("inner", [KeepBest(Oldest()), Oldest, None, "oldest"], ids=repr)
def test_the_inner_remover_has_an_order(inner: Any) -> None:
    assert complaint(UsageError, KeepBest, inner).endswith("at `inner`")


@every_inner
def test_a_file_keeps_what_the_inner_remover_would_keep(inner: Any) -> None:
    assert KeepBest(inner).save_order == inner.save_order
