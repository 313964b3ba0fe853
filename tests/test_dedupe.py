"""Dedupe: what is merged, what is kept of it, and what is a conflict."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from ostinato import BuildResult, ReplayBuffer, Results, UsageError, Vocabulary
from ostinato.replay import Batch, ByOutcome, Dedupe, LeastUseful, LowestPriority, Oldest
from ostinato.replay import dedupe_kernels as kernels
from record_helpers import U64, complaint
from test_keep_best import Pair, drive, made, scripts

KEYS = [("tir_hash", "generated_tasm"), ("tir_hash",), ("generated_tasm",), ("generated_tasm", "tir_hash")]
every_key = pytest.mark.parametrize("key", KEYS, ids=str)


def buffer_of(given: list[BuildResult], capacity: int = 100, **other: Any) -> ReplayBuffer:
    buffer = ReplayBuffer(capacity, dedupe=Dedupe(), **other)
    buffer.extend(given)
    return buffer


def by_age(buffer: ReplayBuffer) -> Batch:
    """All records of a greedy buffer, oldest first, with what is known of their repeats."""
    ids = buffer.ids()
    buffer.update_priorities(ids, np.arange(len(ids), 0, -1.0))
    return buffer.sample(len(ids))


def ways(given: list[BuildResult]) -> list[ReplayBuffer]:
    """Taken in by one call, by a call each, and by pushes."""
    whole, single, pushed = (ReplayBuffer(100, dedupe=Dedupe()) for _ in range(3))
    whole.extend(given)
    for result in given:
        single.extend([result])
        pushed.push(result)
    return [whole, single, pushed]


# --- against the model --------------------------------------------------------------------------------------


@every_key
@pytest.mark.parametrize("remover", [Oldest(), LowestPriority(), LeastUseful()], ids=repr)
@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), scripts)
def test_any_calls_merge_what_the_model_merges(
    remover: Any, key: tuple[str, ...], capacity: int, script: list[Any]
) -> None:
    pair = Pair(capacity, remover, dedupe=Dedupe(key))
    drive(pair, script)
    assert pair.buffer.conflicts().tolist() == [list(two) for two in pair.model.conflicts]
    if len(pair.buffer):
        batch = pair.buffer.sample(100)
        ids, costs = batch.ids.tolist(), pair.model.costs
        assert batch.times_seen.tolist() == [pair.model.seen[i] for i in ids]
        assert batch.lowest_cycles.tolist() == [min(costs[i], default=None) for i in ids]
        assert batch.highest_cycles.tolist() == [max(costs[i], default=None) for i in ids]


@settings(max_examples=40, deadline=None)
@given(scripts, st.integers(1, 8), st.integers(300, 1200))
def test_limits_hold_among_merged_records(script: list[Any], age: int, capacity_bytes: int) -> None:
    drive(Pair(20, Oldest(), dedupe=Dedupe(), max_age_s=age, capacity_bytes=capacity_bytes), script)


def test_a_long_stream_of_few_contents_is_counted_whole() -> None:
    contents = np.random.default_rng(2).integers(0, 500, 40_000)
    buffer = ReplayBuffer(1000, dedupe=Dedupe())
    for part in np.split(contents, 8):
        buffer.extend([made(int(c) % 50, words=int(c) // 50) for c in part])
    buffer.check()
    found = by_age(buffer)
    _, first, seen = np.unique(contents, return_index=True, return_counts=True)
    assert found.ids.tolist() == np.sort(first).tolist()
    assert found.times_seen.tolist() == seen[np.argsort(first)].tolist()


# --- what is kept of repeats --------------------------------------------------------------------------------


def test_repeats_are_counted() -> None:
    for buffer in ways([made(1), made(2), made(1), made(1)]):
        assert by_age(buffer).times_seen.tolist() == [3, 1]


def test_the_newest_timestamp_is_kept_whenever_it_comes() -> None:
    for buffer in ways([made(timestamp=5), made(timestamp=9), made(timestamp=7)]):
        assert [r.timestamp for r in buffer] == [9]


def test_the_range_of_measured_costs_is_kept() -> None:
    for buffer in ways([made(clock_cycles=c) for c in (5, 9, None, 3, 4)]):
        batch = buffer.sample(1)
        assert (batch.lowest_cycles.tolist(), batch.highest_cycles.tolist()) == ([3], [9])


def test_the_cost_stays_the_first_that_was_measured() -> None:
    for buffer in ways([made(clock_cycles=c) for c in (None, 9, 3)]):
        assert [r.clock_cycles for r in buffer] == [9]


def test_the_largest_and_the_smallest_costs_are_a_range() -> None:
    for buffer in ways([made(clock_cycles=c) for c in (U64 - 1, 0)]):
        batch = buffer.sample(1)
        assert (batch.lowest_cycles.tolist(), batch.highest_cycles.tolist()) == ([0], [U64 - 1])


def test_costs_never_measured_have_no_range() -> None:
    for buffer in ways([made(clock_cycles=None)] * 3):
        batch = buffer.sample(1)
        assert (batch.lowest_cycles.tolist(), batch.highest_cycles.tolist()) == ([None], [None])


def test_a_record_that_came_once_has_its_cost_as_range() -> None:
    batch = buffer_of([made(clock_cycles=7)]).sample(1)
    assert (batch.lowest_cycles.tolist(), batch.highest_cycles.tolist()) == ([7], [7])


def test_model_version_fallback_and_baseline_stay_the_first_ones() -> None:
    first = made(model_version=1, fallback_used=False, compiler_cycles=10)
    for buffer in ways([first, made(model_version=2, fallback_used=True, compiler_cycles=99)]):
        assert list(buffer) == [first]


def test_the_priority_stays_the_first_one() -> None:
    buffer = ReplayBuffer(9, dedupe=Dedupe())
    buffer.extend([made(), made()], [0.25, 4.0])
    buffer.extend([made()], [9.0])
    assert buffer.priorities([0]).tolist() == [0.25]


def test_an_updated_priority_survives_a_repeat() -> None:
    buffer = buffer_of([made()])
    buffer.update_priorities([0], [7.0])
    buffer.push(made())
    assert buffer.priorities([0]).tolist() == [7.0]


def test_times_sampled_survive_a_repeat() -> None:
    buffer = buffer_of([made()])
    buffer.sample(1)
    buffer.push(made())
    assert buffer.sample(1).times_sampled.tolist() == [2]


def test_the_id_of_a_merged_repeat_is_gone_at_once() -> None:
    buffer = ReplayBuffer(9, dedupe=Dedupe())
    ids = [*buffer.extend([made(), made()]).tolist(), buffer.push(made())]
    assert [(i, i in buffer) for i in ids] == [(0, True), (1, False), (2, False)]


def test_an_update_for_a_merged_repeat_is_late() -> None:
    buffer = buffer_of([made(), made()])
    updated = buffer.update_priorities([1], [5.0])
    assert (updated, buffer.stats().late_updates) == (0, 1)


def test_a_repeat_takes_no_place() -> None:
    buffer = buffer_of([made(1), made(2), made(1), made(2)], capacity=2)
    assert (buffer.ids().tolist(), buffer.stats().removed) == ([0, 1], 0)


def test_what_a_batch_says_of_repeats_does_not_change_later() -> None:
    buffer = buffer_of([made(clock_cycles=5)])
    batch = buffer.sample(1)
    buffer.push(made(clock_cycles=1))
    assert (batch.times_seen.tolist(), batch.lowest_cycles.tolist()) == ([1], [5])


def test_without_dedupe_every_record_was_seen_once() -> None:
    buffer = ReplayBuffer(9)
    buffer.extend([made()] * 3)
    assert (len(buffer), buffer.sample(3).times_seen.tolist()) == (3, [1, 1, 1])


def test_a_record_that_a_repeat_has_measured_can_be_drawn_as_improved() -> None:
    buffer = ReplayBuffer(9, dedupe=Dedupe(), sampler=ByOutcome(improved=1.0), seed=1)
    buffer.extend([made(1, clock_cycles=None), made(2, clock_cycles=5)])
    buffer.sample(1)
    buffer.push(made(1, clock_cycles=5))
    assert set(buffer.sample(64).ids.tolist()) == {0, 1}


# --- what is a repeat ---------------------------------------------------------------------------------------


@every_key
def test_records_equal_in_the_key_are_one(key: tuple[str, ...]) -> None:
    buffer = ReplayBuffer(9, dedupe=Dedupe(key))
    given = [made(1, words=1), made(1, words=2), made(2, words=1), made(2, words=2), made(1, words=1)]
    buffer.extend(given)
    kept = {tuple(getattr(r, name) for name in key): r for r in reversed(given)}
    assert list(buffer) == [r for n, r in enumerate(given) if r in kept.values() and r not in given[:n]]


def test_the_key_may_be_one_name() -> None:
    assert Dedupe("tir_hash") == Dedupe(("tir_hash",))


@pytest.mark.parametrize(
    "key", [(), ("valid",), ("tir_hash", "tir_hash"), "clock_cycles", ("tir_hash", "timestamp")]
)
def test_a_key_is_of_the_fields_that_say_what_was_made(key: Any) -> None:
    assert complaint(UsageError, Dedupe, key).endswith("at `key`")


@pytest.mark.parametrize(
    ("one", "other"),
    [(["a", "b"], ["ab"]), (["a", "b"], ["a\nb"]), ([], [""]), (["a"], ["a", ""]), (["a", "b"], ["b", "a"]), (["a"], ["a\0"])],
    ids=str,
)  # fmt: skip
def test_instructions_that_read_alike_are_not_the_same(one: list[str], other: list[str]) -> None:
    fields = {"tir_hash": bytes(32), "clock_cycles": 5, "compiler_cycles": 9, "valid": True}
    rest = {"fallback_used": False, "timestamp": 0, "model_version": 0}
    buffer = buffer_of([BuildResult(generated_tasm=words, **fields, **rest) for words in (one, other)])
    assert len(buffer) == 2


@pytest.mark.parametrize("at", range(32))
def test_one_bit_of_a_hash_makes_another_program(at: int) -> None:
    hashes = [bytes(32), bytes(at) + b"\x80" + bytes(31 - at)]
    given = [
        BuildResult(
            tir_hash=h, generated_tasm=["add"], valid=True, clock_cycles=1, compiler_cycles=1,
            fallback_used=False, timestamp=0, model_version=0,
        )
        for h in hashes
    ]  # fmt: skip
    assert len(buffer_of(given)) == 2


def test_no_instructions_at_all_are_equal_too() -> None:
    for buffer in ways([made(1, words=0), made(2, words=0), made(1, words=0)]):
        assert buffer.ids().tolist() == [0, 1]


def test_words_that_a_vocabulary_does_not_know_stay_different() -> None:
    vocabulary = Vocabulary(["<unknown>", "add"], unknown=0)
    buffer = ReplayBuffer(9, dedupe=Dedupe(), vocabulary=vocabulary)
    plain = made()
    for word in ("x", "y", "x"):
        buffer.push(
            BuildResult(
                tir_hash=plain.tir_hash, generated_tasm=[word], valid=True, clock_cycles=1, compiler_cycles=1,
                fallback_used=False, timestamp=0, model_version=0,
            )
        )  # fmt: skip
    assert [r.generated_tasm for r in buffer] == [("x",), ("y",)]


def test_results_of_another_vocabulary_repeat_by_their_words() -> None:
    buffer = buffer_of([made(words=2)])
    theirs = Vocabulary(["mul", "swap 3", "add"])
    whole = Results.from_columns(
        tir_hash=np.zeros((2, 32), np.uint8),
        tokens=np.array([2, 2, 0, 0], np.int32),
        offsets=np.array([0, 2, 4]),
        vocabulary=theirs,
        valid=np.ones(2, bool),
        clock_cycles=np.full(2, 5, np.uint64),
        compiler_cycles=np.full(2, 10, np.uint64),
        fallback_used=np.zeros(2, bool),
        timestamp=np.zeros(2, np.uint64),
        model_version=np.zeros(2, np.uint32),
    )
    buffer.extend(whole)
    assert [r.generated_tasm for r in buffer] == [("add", "add"), ("mul", "mul")]


def test_a_repeat_beyond_one_chunk_of_a_call_is_merged_too() -> None:
    given = [made(words=0)] + [made(1 + i, words=0) for i in range(20_000)] + [made(words=0)]
    buffer = ReplayBuffer(30_000, dedupe=Dedupe())
    buffer.extend(given)
    assert (len(buffer), buffer.stats().merged, 20_001 in buffer) == (20_001, 1, False)


def test_what_was_removed_can_come_again() -> None:
    buffer = buffer_of([made(1), made(2)])
    buffer.remove([0])
    buffer.push(made(1))
    assert (buffer.ids().tolist(), buffer.stats().merged) == ([1, 2], 0)


def test_what_left_for_lack_of_room_can_come_again() -> None:
    buffer = buffer_of([made(1), made(2)], capacity=1, remover=Oldest())
    buffer.push(made(1))
    assert (buffer.ids().tolist(), buffer.stats().merged) == ([2], 0)


def test_what_came_again_after_it_was_removed_starts_to_count_anew() -> None:
    buffer = buffer_of([made(clock_cycles=1)] * 5)
    buffer.remove([0])
    buffer.push(made(clock_cycles=4))
    batch = buffer.sample(1)
    assert (batch.times_seen.tolist(), batch.lowest_cycles.tolist()) == ([1], [4])


def test_a_record_that_moves_when_another_leaves_is_still_found() -> None:
    buffer = buffer_of([made(p, clock_cycles=p) for p in range(1, 9)])
    buffer.remove([0, 3, 5])
    buffer.extend([made(p, clock_cycles=p + 10) for p in (8, 7, 2)])
    batch = by_age(buffer)
    assert batch.ids.tolist() == [1, 2, 4, 6, 7]
    assert batch.times_seen.tolist() == [2, 1, 1, 2, 2]
    assert batch.highest_cycles.tolist() == [12, 3, 5, 17, 18]


def test_a_repeat_of_what_leaves_in_the_same_call_is_merged_and_gone() -> None:
    buffer = buffer_of([made(1), made(2), made(1)], capacity=1, remover=Oldest())
    assert (buffer.ids().tolist(), buffer.stats().merged) == ([1], 1)


def test_contents_with_one_hash_are_still_different() -> None:
    buffer = ReplayBuffer(100, dedupe=Dedupe())
    buffer.extend([made(0, words=0)])
    given = Results.concat([[made(p, words=p % 3) for p in (1, 2, 3, 1, 4)]])
    table = buffer._table
    tokens, offsets = table.translate(given.generated_tasm)
    rows = given._rows.view(np.uint8).reshape(5, -1)
    index = np.zeros(16, np.uint64)
    index[0] = 1  # the record in slot 0, with the hash 0
    into, against = np.empty(5, np.int64), np.empty(5, np.int64)
    kernels.match(
        index, *table.content(), rows, tokens, offsets, np.zeros(5, np.uint64), True, True,
        np.zeros(16, np.uint64), into, against,
    )  # fmt: skip
    assert (into.tolist(), against.tolist()) == ([-1, -1, -1, -2, -1], [-1] * 5)


# --- conflicts ----------------------------------------------------------------------------------------------


def test_a_repeat_with_another_verdict_is_stored_and_reported() -> None:
    for buffer in ways([made(valid=True), made(valid=False)]):
        assert (len(buffer), buffer.conflicts().tolist()) == (2, [[0, 1]])


def test_conflicts_are_counted_and_inserted() -> None:
    stats = buffer_of([made(1), made(2), made(1, valid=False), made(2, valid=False)]).stats()
    assert (stats.conflicts, stats.merged, stats.inserted) == (2, 0, 4)


def test_a_repeat_of_either_side_of_a_conflict_is_merged_into_that_side() -> None:
    verdicts = [True, False, False, True, False]
    for buffer in ways([made(valid=v) for v in verdicts]):
        assert by_age(buffer).times_seen.tolist() == [2, 3]


def test_a_conflict_leaves_both_records_as_they_came() -> None:
    given = [made(valid=True, clock_cycles=5, timestamp=1), made(valid=False, clock_cycles=3, timestamp=2)]
    for buffer in ways(given):
        assert list(buffer) == given


def test_another_fallback_is_no_conflict() -> None:
    for buffer in ways([made(fallback_used=True), made(fallback_used=False)]):
        assert (len(buffer), len(buffer.conflicts())) == (1, 0)


def test_a_record_that_has_gone_contradicts_nobody() -> None:
    buffer = buffer_of([made(valid=True)])
    buffer.remove([0])
    buffer.push(made(valid=False))
    assert buffer.conflicts().tolist() == []


def test_conflicts_stay_reported_when_the_records_have_gone() -> None:
    buffer = buffer_of([made(valid=True), made(valid=False)])
    buffer.remove([0, 1])
    assert buffer.conflicts().tolist() == [[0, 1]]


def test_a_conflict_names_the_record_that_is_here() -> None:
    buffer = buffer_of([made(valid=True), made(3), made(3), made(valid=True)])
    assert buffer.push(made(valid=False)) == 4
    assert buffer.conflicts().tolist() == [[0, 4]]


def test_the_last_thousand_conflicts_are_remembered_and_all_are_counted() -> None:
    buffer = ReplayBuffer(5000, dedupe=Dedupe())
    for first in (0, 600):
        buffer.extend([made(p, valid=v) for p in range(first, first + 600) for v in (True, False)])
    expected = [[2 * p, 2 * p + 1] for p in range(200, 1200)]
    assert (buffer.stats().conflicts, buffer.conflicts().tolist()) == (1200, expected)


def test_without_repeats_there_are_no_conflicts() -> None:
    buffer = ReplayBuffer(9)
    buffer.extend([made(valid=True), made(valid=False)])
    assert (buffer.conflicts().shape, buffer.conflicts().dtype) == ((0, 2), np.int64)


@pytest.mark.parametrize("dedupe", [Dedupe, True, ("tir_hash",)], ids=repr)
def test_what_is_no_dedupe_is_refused(dedupe: Any) -> None:
    assert complaint(UsageError, ReplayBuffer, 9, dedupe=dedupe).endswith("at `dedupe`")
