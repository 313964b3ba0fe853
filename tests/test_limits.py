"""Limits of bytes, age and draws, each alone and together, with every remover."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from draw_helpers import held
from ostinato import EmptyBufferError, ReplayBuffer, UsageError
from ostinato.replay import (
    Fifo,
    Greedy,
    KeepBest,
    LeastUseful,
    Lifo,
    LowestPriority,
    Oldest,
    Proportional,
    Reservoir,
    Uniform,
)
from record_helpers import U64, complaint
from test_keep_best import RESERVOIR, Pair, drive, made, scripts

REMOVERS = [LowestPriority(), LowestPriority("newest"), Oldest(), LeastUseful(), Reservoir(3)]
every_remover = pytest.mark.parametrize("remover", REMOVERS, ids=repr)
SAMPLERS = [
    Uniform(),
    Uniform(replace=False),
    Proportional(),
    Proportional(replace=False),
    Greedy(),
    Fifo(),
    Lifo(),
]
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
BARE = 116  # bytes of a record without instructions, as the docstring of ReplayBuffer counts
NAMES = ["capacity_bytes", "max_age_s", "max_times_sampled"]


def bytes_of(buffer: ReplayBuffer) -> int:
    return sum(BARE + 4 * len(r.generated_tasm) for r in buffer)


def aged(*timestamps: int, max_age_s: int, **other: Any) -> ReplayBuffer:
    buffer = ReplayBuffer(1000, max_age_s=max_age_s, **other)
    buffer.extend([made(timestamp=t) for t in timestamps])
    return buffer


# --- against the model --------------------------------------------------------------------------------------


@every_remover
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), scripts, st.integers(116, 1600))
def test_bytes_alone_leave_whom_the_model_leaves(
    remover: Any, capacity: int, script: list[Any], capacity_bytes: int
) -> None:
    drive(Pair(capacity, remover, reservoir=RESERVOIR, capacity_bytes=capacity_bytes), script)


@every_remover
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), scripts, st.integers(0, 13))
def test_age_alone_leaves_whom_the_model_leaves(
    remover: Any, capacity: int, script: list[Any], max_age_s: int
) -> None:
    drive(Pair(capacity, remover, reservoir=RESERVOIR, max_age_s=max_age_s), script)


@every_remover
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), scripts, st.integers(1, 4))
def test_draws_alone_leave_whom_the_model_leaves(
    remover: Any, capacity: int, script: list[Any], most: int
) -> None:
    drive(Pair(capacity, remover, reservoir=RESERVOIR, max_times_sampled=most), script)


@every_remover
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), scripts, st.integers(116, 1600), st.integers(0, 13), st.integers(1, 4))
def test_all_limits_together_leave_whom_the_model_leaves(
    remover: Any, capacity: int, script: list[Any], capacity_bytes: int, max_age_s: int, most: int
) -> None:
    limits = {"capacity_bytes": capacity_bytes, "max_age_s": max_age_s, "max_times_sampled": most}
    drive(Pair(capacity, remover, reservoir=RESERVOIR, **limits), script)


@every_remover
def test_a_long_run_keeps_all_limits(remover: Any) -> None:
    limits = {"capacity_bytes": 60 * BARE, "max_age_s": 40, "max_times_sampled": 3}
    pair = Pair(100, remover, reservoir=RESERVOIR, **limits)
    rng = np.random.default_rng(6)
    for turn in range(28):
        stamps = turn * 5 + rng.integers(-5, 6, 10) + 5
        words, priorities = rng.integers(0, 20, 10), rng.random(10)
        pair.extend(
            [made(words=int(w), timestamp=int(t)) for w, t in zip(words, stamps, strict=True)],
            priorities.tolist(),
        )
        pair.sample(7)
        pair.look()
    pair.compare()


# --- bytes --------------------------------------------------------------------------------------------------


@every_remover
@pytest.mark.parametrize("words", [0, 1, 30])
def test_as_many_records_stay_as_fit_into_the_bytes(remover: Any, words: int) -> None:
    capacity_bytes = 7 * (BARE + 4 * words)
    buffer = ReplayBuffer(100, remover=remover, capacity_bytes=capacity_bytes)
    buffer.extend([made(words=words)] * 50)
    assert (len(buffer), bytes_of(buffer)) == (7, capacity_bytes)


def test_one_byte_less_holds_one_record_less() -> None:
    buffer = ReplayBuffer(100, capacity_bytes=7 * BARE - 1)
    buffer.extend([made(words=0)] * 50)
    assert len(buffer) == 6


def test_the_capacity_in_records_holds_as_well() -> None:
    buffer = ReplayBuffer(5, capacity_bytes=10**9)
    buffer.extend([made()] * 50)
    assert len(buffer) == 5


def test_no_more_leave_than_must() -> None:
    buffer = ReplayBuffer(100, remover=Oldest(), capacity_bytes=10 * BARE + 40)
    buffer.extend([made(words=0)] * 10)
    buffer.extend([made(words=10)])
    assert held(buffer) == list(range(1, 11))


def test_one_long_record_pushes_out_as_many_as_it_needs() -> None:
    buffer = ReplayBuffer(100, remover=Oldest(), capacity_bytes=10 * BARE)
    buffer.extend([made(words=0)] * 10)
    buffer.extend([made(words=29 * 3)])  # four records' bytes
    assert held(buffer) == [4 + n for n in range(7)]


@every_remover
def test_a_record_larger_than_all_the_bytes_does_not_stay(remover: Any) -> None:
    buffer = ReplayBuffer(100, remover=remover, capacity_bytes=BARE + 8)
    identity = buffer.push(made(words=3))
    assert (identity, len(buffer), buffer.stats().removed_by["capacity_bytes"]) == (0, 0, 1)


@every_remover
def test_a_record_exactly_as_large_as_all_the_bytes_stays(remover: Any) -> None:
    buffer = ReplayBuffer(100, remover=remover, capacity_bytes=BARE + 8)
    buffer.push(made(words=2))
    assert held(buffer) == [0]


@every_remover
def test_a_buffer_goes_on_after_a_record_that_was_too_large(remover: Any) -> None:
    buffer = ReplayBuffer(100, remover=remover, capacity_bytes=BARE + 8)
    buffer.extend([made(words=1), made(words=1000)])
    buffer.push(made(words=2))
    buffer.check()
    assert bytes_of(buffer) <= BARE + 8


def test_fewer_bytes_than_any_record_takes_are_refused() -> None:
    with pytest.raises(UsageError, match="capacity_bytes"):
        ReplayBuffer(100, capacity_bytes=BARE - 1)


def test_the_lowest_priority_leaves_for_lack_of_bytes() -> None:
    buffer = ReplayBuffer(100, capacity_bytes=2 * BARE)
    buffer.extend([made(words=0)] * 3, [3.0, 1.0, 2.0])
    assert held(buffer) == [0, 2]


def test_the_record_drawn_most_often_leaves_for_lack_of_bytes() -> None:
    buffer = ReplayBuffer(100, capacity_bytes=2 * BARE, remover=LeastUseful(), sampler=Greedy())
    buffer.extend([made(words=0)] * 2, [1.0, 2.0])
    buffer.sample(1)
    buffer.push(made(words=0))
    assert held(buffer) == [0, 2]


def test_bytes_given_free_on_request_can_be_used_again() -> None:
    buffer = ReplayBuffer(100, capacity_bytes=3 * BARE)
    buffer.remove(buffer.extend([made(words=0)] * 3)[:2])
    buffer.extend([made(words=0)] * 2)
    assert held(buffer) == [2, 3, 4]


@every_remover
def test_bytes_hold_after_a_call_of_several_chunks(remover: Any) -> None:
    rng = np.random.default_rng(1)
    buffer = ReplayBuffer(50_000, remover=remover, capacity_bytes=300 * BARE)
    contents = [made(words=n) for n in range(6)]
    buffer.extend([contents[n] for n in rng.integers(0, 6, 40_000)], rng.integers(0, 9, 40_000).astype(float))
    buffer.check()
    assert 300 * BARE - (BARE + 20) < bytes_of(buffer) <= 300 * BARE


# --- age ----------------------------------------------------------------------------------------------------


def test_a_record_exactly_as_old_as_it_may_be_stays() -> None:
    assert held(aged(0, 1, 10, max_age_s=10)) == [0, 1, 2]


def test_a_record_a_second_older_leaves() -> None:
    assert held(aged(0, 1, 11, max_age_s=10)) == [1, 2]


def test_at_an_age_of_0_only_the_newest_second_stays() -> None:
    assert held(aged(5, 7, 6, 7, max_age_s=0)) == [1, 3]


def test_a_record_that_comes_too_late_leaves_at_once() -> None:
    buffer = aged(100, max_age_s=10)
    assert (buffer.push(made(timestamp=89)), held(buffer)) == (1, [0])


def test_age_is_counted_from_the_newest_that_came_though_it_has_gone() -> None:
    buffer = aged(100, 50, max_age_s=60)
    buffer.remove([0])
    buffer.push(made(timestamp=30))
    assert held(buffer) == [1]


def test_age_is_counted_from_the_newest_though_it_never_stayed() -> None:
    buffer = ReplayBuffer(2, max_age_s=10, remover=LowestPriority())
    buffer.extend([made(timestamp=0), made(timestamp=5), made(timestamp=12)], [2.0, 2.0, 1.0])
    assert held(buffer) == [1]


def test_timestamps_may_come_in_any_order() -> None:
    stamps = np.random.default_rng(3).permutation(500).tolist()
    buffer = aged(*stamps, max_age_s=99)
    assert sorted(r.timestamp for r in buffer) == list(range(400, 500))


def test_time_going_back_removes_nobody_else() -> None:
    assert held(aged(100, 99, 95, 97, max_age_s=5)) == [0, 1, 2, 3]


@pytest.mark.parametrize("max_age_s", [0, 1, 2**63, U64 - 2, U64 - 1, U64, 10**30])
def test_the_earliest_and_the_latest_time_are_told_apart(max_age_s: int) -> None:
    buffer = aged(0, U64 - 1, max_age_s=max_age_s)
    assert held(buffer) == ([0, 1] if max_age_s >= U64 - 1 else [1])


@pytest.mark.parametrize("newest", [2**53 + 1, 2**63, U64 - 1])
def test_one_second_counts_among_times_beyond_those_a_float_can_tell_apart(newest: int) -> None:
    buffer = aged(newest - 11, newest - 10, newest - 9, newest, max_age_s=10)
    assert held(buffer) == [1, 2, 3]


@pytest.mark.parametrize("newest", [2**63 + 1000, U64 - 1])
def test_many_records_of_times_that_a_float_cannot_tell_apart_are_looked_at_one_by_one(newest: int) -> None:
    buffer = aged(*[newest] * 100, *[newest - 11] * 100, max_age_s=10)
    assert held(buffer) == list(range(100))


@every_remover
def test_thousands_grow_old_at_once(remover: Any) -> None:
    buffer = ReplayBuffer(30_000, remover=remover, max_age_s=10)
    buffer.extend([made(timestamp=0)] * 20_000)
    buffer.extend([made(timestamp=11)] * 5)
    buffer.check()
    assert held(buffer) == list(range(20_000, 20_005))


def test_age_removes_protected_records_too() -> None:
    buffer = aged(0, 20, max_age_s=10, remover=KeepBest(Oldest()))
    assert held(buffer) == [1]


# --- draws --------------------------------------------------------------------------------------------------


@every_sampler
@pytest.mark.parametrize("most", [1, 2, 5])
def test_no_record_is_drawn_more_often_than_it_may(sampler: Any, most: int) -> None:
    buffer = ReplayBuffer(100, sampler=sampler, max_times_sampled=most, seed=3)
    buffer.extend([made()] * 20)
    drawn: list[int] = []
    while len(buffer):
        drawn += buffer.sample(13).ids.tolist()
    assert np.bincount(drawn).tolist() == [most] * 20


@every_sampler
def test_a_record_leaves_with_its_last_draw(sampler: Any) -> None:
    buffer = ReplayBuffer(100, sampler=sampler, max_times_sampled=2, seed=3)
    buffer.extend([made()] * 20)
    times = np.bincount(np.concatenate([buffer.sample(7).ids for _ in range(4)]), minlength=20)
    assert held(buffer) == np.flatnonzero(times < 2).tolist()


@pytest.mark.parametrize("sampler", [Uniform(), Proportional(), Proportional(stratified=False)], ids=repr)
def test_what_was_drawn_too_often_is_drawn_again_from_the_rest(sampler: Any) -> None:
    buffer = ReplayBuffer(100, sampler=sampler, max_times_sampled=3, seed=3)
    buffer.extend([made()] * 10)
    assert np.bincount(buffer.sample(30).ids).tolist() == [3] * 10


@every_sampler
def test_a_batch_is_shorter_when_nothing_is_left(sampler: Any) -> None:
    buffer = ReplayBuffer(100, sampler=sampler, max_times_sampled=1, seed=3)
    buffer.extend([made()] * 10)
    batch = buffer.sample(25)
    assert (sorted(batch.ids.tolist()), len(buffer)) == (list(range(10)), 0)


def test_an_empty_buffer_has_nothing_to_draw_once_all_are_worn_out() -> None:
    buffer = ReplayBuffer(100, sampler=Uniform(), max_times_sampled=1)
    buffer.extend([made()] * 3)
    buffer.sample(3)
    with pytest.raises(EmptyBufferError):
        buffer.sample(1)


def test_first_in_first_out_once_is_a_queue() -> None:
    buffer = ReplayBuffer(100, sampler=Fifo(), max_times_sampled=1)
    buffer.extend([made()] * 5)
    batches = [buffer.sample(2).ids.tolist()]
    buffer.push(made())
    batches += [buffer.sample(3).ids.tolist(), buffer.sample(3).ids.tolist()]
    assert batches == [[0, 1], [2, 3, 4], [5]]


def test_last_in_first_out_once_is_a_stack() -> None:
    buffer = ReplayBuffer(100, sampler=Lifo(), max_times_sampled=1)
    buffer.extend([made()] * 3)
    batches = [buffer.sample(2).ids.tolist()]
    buffer.push(made())
    batches += [buffer.sample(3).ids.tolist()]
    assert batches == [[2, 1], [3, 0]]


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_times_sampled_of_a_batch_include_all_of_the_batch(seed: int) -> None:
    buffer = ReplayBuffer(10, sampler=Uniform(), max_times_sampled=5, seed=seed)
    buffer.extend([made()] * 2)
    assert buffer.sample(10).times_sampled.tolist() == [5] * 10


def test_a_batch_drawn_in_parts_holds_the_right_records() -> None:
    given = [made(p, clock_cycles=p, words=p) for p in range(10)]
    buffer = ReplayBuffer(10, sampler=Uniform(), max_times_sampled=3, seed=0)
    buffer.extend(given)
    batch = buffer.sample(30)
    assert [batch[i] for i in range(30)] == [given[i] for i in batch.ids]


def test_a_draw_of_nothing_wears_nothing_out() -> None:
    buffer = ReplayBuffer(10, sampler=Uniform(), max_times_sampled=1)
    buffer.extend([made()] * 2)
    buffer.sample(0)
    assert held(buffer) == [0, 1]


def test_an_update_of_a_record_worn_out_is_late() -> None:
    buffer = ReplayBuffer(10, sampler=Uniform(), max_times_sampled=1)
    buffer.push(made())
    updated = buffer.update_priorities(buffer.sample(1).ids, [2.0])
    assert (updated, buffer.stats().late_updates) == (0, 1)


# --- mistakes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [-1, 1.5, True, "1"])
def test_a_limit_is_an_integer(name: str, bad: Any) -> None:
    assert complaint(UsageError, ReplayBuffer, 9, **{name: bad}).endswith(f"at `{name}`")


@pytest.mark.parametrize("name", ["capacity_bytes", "max_times_sampled"])
def test_bytes_and_draws_are_at_least_1(name: str) -> None:
    assert complaint(UsageError, ReplayBuffer, 9, **{name: 0}).endswith(f"at `{name}`")


@every_remover
def test_a_refused_priority_takes_nothing_in_and_removes_nothing(remover: Any) -> None:
    buffer = aged(0, max_age_s=10, remover=remover, capacity_bytes=2 * BARE)
    complaint(UsageError, buffer.extend, [made(timestamp=50)], [-1.0])
    assert (held(buffer), buffer.push(made(timestamp=5, words=0))) == ([0], 1)
