"""What a buffer says it has done, against what was seen to happen."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from ostinato import ReplayBuffer
from ostinato.replay import (
    Dedupe,
    Greedy,
    KeepBest,
    LeastUseful,
    LowestPriority,
    Oldest,
    Reservoir,
    Stats,
    Uniform,
)
from test_keep_best import RESERVOIR, Pair, drive, made, one_by_one, scripts

REMOVERS = [
    LowestPriority(),
    LowestPriority("newest"),
    Oldest(),
    LeastUseful(),
    Reservoir(3),
    KeepBest(LowestPriority()),
]
every_remover = pytest.mark.parametrize("remover", REMOVERS, ids=repr)
CAUSES = {"capacity", "capacity_bytes", "max_age", "max_times_sampled", "request"}
LIMITS: dict[str, Any] = {"capacity_bytes": 1000, "max_age_s": 8, "max_times_sampled": 3, "dedupe": Dedupe()}


def removed_by(buffer: ReplayBuffer) -> dict[str, int]:
    return {cause: n for cause, n in buffer.stats().removed_by.items() if n}


def test_a_new_buffer_has_done_nothing() -> None:
    assert ReplayBuffer(3).stats() == Stats(
        pushed=0,
        inserted=0,
        merged=0,
        conflicts=0,
        removed=0,
        removed_by=dict.fromkeys(CAUSES, 0),
        forced=0,
        sampled=0,
        batches=0,
        updated=0,
        late_updates=0,
        age_at_removal=None,
        times_sampled_at_removal=None,
        never_sampled=0,
    )


# --- sums ---------------------------------------------------------------------------------------------------


@every_remover
@settings(max_examples=40, deadline=None)
@given(scripts)
def test_whoever_came_is_here_or_merged_or_removed(remover: Any, script: list[Any]) -> None:
    pair = Pair(15, remover, reservoir=RESERVOIR, **LIMITS)
    drive_only(pair.buffer, script)
    stats = pair.buffer.stats()
    assert stats.pushed == stats.merged + stats.removed + len(pair.buffer)
    assert stats.inserted == stats.removed + len(pair.buffer)
    assert sum(stats.removed_by.values()) == stats.removed
    assert stats.removed_by.keys() == CAUSES


def drive_only(buffer: ReplayBuffer, script: list[Any]) -> None:
    for name, *arguments in script:
        if name == "update":
            buffer.update_priorities(*arguments[0])
        elif name == "sample" and len(buffer):
            buffer.sample(*arguments)
        elif name in ("push", "extend", "remove"):
            getattr(buffer, name)(*arguments)


@pytest.mark.parametrize("remover", REMOVERS[:-1], ids=repr)
@settings(max_examples=40, deadline=None)
@given(scripts)
def test_means_at_removal_are_those_of_the_model(remover: Any, script: list[Any]) -> None:
    pair = Pair(15, remover, reservoir=RESERVOIR, capacity_bytes=1000, max_age_s=8, max_times_sampled=3)
    drive(pair, script)
    stats, gone = pair.buffer.stats(), pair.model.gone
    ages, times = [age for age, _ in gone], [n for _, n in gone]
    assert stats.age_at_removal == (pytest.approx(np.mean(ages)) if gone else None)
    assert stats.times_sampled_at_removal == (pytest.approx(np.mean(times)) if gone else None)
    assert stats.never_sampled == times.count(0)


@pytest.mark.parametrize("remover", REMOVERS[:-1], ids=repr)
@settings(max_examples=40, deadline=None)
@given(scripts, st.integers(1, 10))
def test_means_at_removal_for_lack_of_room_are_those_of_the_model(
    remover: Any, script: list[Any], capacity: int
) -> None:
    pair = Pair(capacity, remover, reservoir=RESERVOIR)
    drive(pair, [call for call in one_by_one(script) if call[0] != "remove"])
    stats, gone = pair.buffer.stats(), pair.model.gone
    assert stats.age_at_removal == (pytest.approx(np.mean([age for age, _ in gone])) if gone else None)
    assert stats.never_sampled == [n for _, n in gone].count(0)


# --- causes -------------------------------------------------------------------------------------------------


@every_remover
def test_those_without_room_left_for_capacity(remover: Any) -> None:
    buffer = ReplayBuffer(3, remover=remover)
    buffer.extend([made()] * 10)
    assert removed_by(buffer) == {"capacity": 7}


@every_remover
def test_those_without_bytes_left_for_capacity_bytes(remover: Any) -> None:
    buffer = ReplayBuffer(9, remover=remover, capacity_bytes=3 * 120)
    buffer.extend([made()] * 8)
    assert removed_by(buffer) == {"capacity_bytes": 5}


@every_remover
def test_those_too_old_left_for_max_age(remover: Any) -> None:
    buffer = ReplayBuffer(9, remover=remover, max_age_s=5)
    buffer.extend([made(timestamp=t) for t in range(9)])
    assert removed_by(buffer) == {"max_age": 3}


@every_remover
def test_those_worn_out_left_for_max_times_sampled(remover: Any) -> None:
    buffer = ReplayBuffer(9, remover=remover, sampler=Greedy(), max_times_sampled=1)
    buffer.extend([made()] * 9)
    buffer.sample(4)
    assert removed_by(buffer) == {"max_times_sampled": 4}


@every_remover
def test_those_removed_by_hand_left_on_request(remover: Any) -> None:
    buffer = ReplayBuffer(9, remover=remover)
    buffer.extend([made()] * 9)
    removed = buffer.remove([1, 1, 4, 77, -3])
    assert (removed, removed_by(buffer)) == (2, {"request": 2})


def test_causes_are_counted_side_by_side() -> None:
    buffer = ReplayBuffer(
        5, remover=Oldest(), sampler=Greedy(), max_age_s=10, capacity_bytes=4 * 116, max_times_sampled=1
    )
    buffer.extend(
        [made(words=0, timestamp=t) for t in (20, 20, 20, 20, 9, 20, 20)]
    )  # two without room, one old
    buffer.sample(1)
    buffer.remove(buffer.ids()[:1])
    buffer.extend([made(words=0, timestamp=20)] * 3)  # five are here, bytes for four
    assert removed_by(buffer) == {
        "capacity": 2, "capacity_bytes": 1, "max_age": 1, "max_times_sampled": 1, "request": 1,
    }  # fmt: skip


# --- merged, conflicts --------------------------------------------------------------------------------------


def test_repeats_are_pushed_and_merged_but_not_inserted() -> None:
    buffer = ReplayBuffer(9, dedupe=Dedupe())
    buffer.extend([made(1), made(1), made(2), made(1)])
    stats = buffer.stats()
    assert (stats.pushed, stats.inserted, stats.merged, stats.conflicts) == (4, 2, 2, 0)


def test_conflicts_are_inserted() -> None:
    buffer = ReplayBuffer(9, dedupe=Dedupe())
    buffer.extend([made(1), made(1, valid=False), made(1, valid=False)])
    stats = buffer.stats()
    assert (stats.inserted, stats.merged, stats.conflicts) == (2, 1, 1)


# --- drawn and updated --------------------------------------------------------------------------------------


def test_draws_and_batches_are_counted() -> None:
    buffer = ReplayBuffer(9, sampler=Uniform())
    buffer.extend([made()] * 3)
    for n in (5, 1, 100):
        buffer.sample(n)
    stats = buffer.stats()
    assert (stats.sampled, stats.batches) == (106, 3)


def test_a_short_batch_counts_what_it_holds() -> None:
    buffer = ReplayBuffer(9, sampler=Greedy())
    buffer.extend([made()] * 3)
    buffer.sample(100)
    assert buffer.stats().sampled == 3


def test_draws_that_were_drawn_again_count_once() -> None:
    buffer = ReplayBuffer(9, sampler=Uniform(), max_times_sampled=2, seed=1)
    buffer.extend([made()] * 5)
    batch = buffer.sample(10)
    assert (len(batch), buffer.stats().sampled, buffer.stats().batches) == (10, 10, 1)


def test_late_updates_are_counted_beside_those_that_came_in_time() -> None:
    buffer = ReplayBuffer(3, remover=Oldest())
    ids = buffer.extend([made()] * 5)
    updated = buffer.update_priorities([*ids, 99, -1], np.ones(7))
    stats = buffer.stats()
    assert (updated, stats.updated, stats.late_updates) == (3, 3, 4)


def test_refused_updates_are_not_counted() -> None:
    buffer = ReplayBuffer(3)
    buffer.extend([made()] * 3)
    with pytest.raises(ValueError, match="record 1"):
        buffer.update_priorities([0, 1, 99], [1.0, -1.0, 1.0])
    stats = buffer.stats()
    assert (stats.updated, stats.late_updates) == (0, 0)


# --- at removal ---------------------------------------------------------------------------------------------


def test_the_age_of_a_record_pushed_out_is_how_many_came_after_it() -> None:
    buffer = ReplayBuffer(4, remover=Oldest())
    for _ in range(10):
        buffer.push(made())
    assert buffer.stats().age_at_removal == 4.0


def test_a_record_removed_as_it_comes_has_an_age_of_0() -> None:
    buffer = ReplayBuffer(1, remover=LowestPriority())
    buffer.extend([made()] * 3, [5.0, 1.0, 1.0])
    assert buffer.stats().age_at_removal == 0.0


def test_the_age_of_a_record_removed_on_request_is_how_many_came_after_it() -> None:
    buffer = ReplayBuffer(9)
    buffer.extend([made()] * 3)
    buffer.remove([0])
    assert buffer.stats().age_at_removal == 2.0


def test_the_newest_record_removed_on_request_has_an_age_of_0() -> None:
    buffer = ReplayBuffer(9)
    buffer.remove([buffer.push(made())])
    assert buffer.stats().age_at_removal == 0.0


def test_how_often_those_were_drawn_that_left() -> None:
    buffer = ReplayBuffer(2, remover=LeastUseful(), sampler=Greedy())
    buffer.extend([made()] * 2, [2.0, 1.0])
    buffer.sample(1)
    buffer.sample(2)  # the first twice, the second once
    buffer.extend([made()] * 2, [0.0, 0.0])
    assert buffer.stats().times_sampled_at_removal == 1.5


def test_those_that_left_without_having_been_drawn_are_counted() -> None:
    buffer = ReplayBuffer(4, remover=Oldest(), sampler=Greedy())
    buffer.extend([made()] * 4, [1.0, 2.0, 3.0, 4.0])
    buffer.sample(2)
    buffer.extend([made()] * 4)
    assert (buffer.stats().never_sampled, buffer.stats().times_sampled_at_removal) == (2, 0.5)


def test_a_record_that_took_the_place_of_a_drawn_one_was_never_drawn() -> None:
    buffer = ReplayBuffer(1, remover=Oldest(), sampler=Greedy())
    buffer.push(made())
    buffer.sample(1)
    buffer.extend([made()] * 2)
    assert (buffer.stats().never_sampled, buffer.stats().times_sampled_at_removal) == (1, 0.5)


# --- when it may be asked -----------------------------------------------------------------------------------


def test_single_pushes_that_wait_are_in_the_counts() -> None:
    buffer = ReplayBuffer(3)
    for _ in range(5):
        buffer.push(made())
    stats = buffer.stats()
    assert (stats.pushed, stats.removed) == (5, 2)


def test_counts_once_given_do_not_change() -> None:
    buffer = ReplayBuffer(3)
    before = buffer.stats()
    buffer.extend([made()] * 5)
    buffer.remove([4])
    assert (before.pushed, before.removed_by["request"]) == (0, 0)
