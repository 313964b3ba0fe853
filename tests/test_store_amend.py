"""Corrections: the latest counts, the history stays, sealing and compacting fold them in, every reader sees them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.testing import assert_array_equal

from ostinato import BuildResult, UsageError, archive
from ostinato.replay import LowestPriority, Oldest, Uniform
from ostinato.store import Extra, Keep, Sealed, Store
from record_helpers import complaint, few
from store_helpers import afresh, as_written, contents, filled, ids_of, journals, made, many, opened, segments


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path) as store:
        yield store


def wrong(k: int, cycles: int = 7) -> BuildResult:
    """What the k-th record becomes when it was judged again."""
    return dataclasses.replace(
        made(k), valid=False, clock_cycles=cycles, generated_tasm=("judged", "again, and longer")
    )


def history(store: Store) -> list[tuple[int, int, str, BuildResult | None, BuildResult]]:
    return [
        (s.amendment.id, s.amendment.at, s.amendment.reason, s.before, s.amendment.result)
        for s in store.amendments()
    ]


# Seen by whom


def test_a_corrected_record_is_seen_at_once_by_everybody(store: Store):
    reader = Store.open(store.path)
    ids = filled(store, many(5))
    stream_before = reader.results()
    own = store.amend(ids[2], wrong(2), reason="miscounted")
    expected = {**dict(zip(ids, many(5), strict=True)), ids[2]: wrong(2)}
    assert contents(store) == contents(reader) == afresh(store) == as_written(store) == expected
    assert [s.get(ids[2]) for s in (store, reader)] == [wrong(2)] * 2
    assert [r for part in store.parts(size=2) for r in part] == list(expected.values())
    assert [r for part in store.follow(timeout_s=0) for r in part] == list(expected.values())
    assert list(stream_before) == many(5)  # what is held stays as it is
    assert own not in ids


def test_a_correction_is_no_record(store: Store):
    ids = filled(store, many(5))
    own = store.amend(ids[2], wrong(2), reason="miscounted")
    assert (len(store), store.health().records) == (5, 5)
    assert "no record" in complaint(UsageError, store.get, own)


@pytest.mark.parametrize("act", ["seal", "compact"])
def test_a_correction_before_sealing_is_folded_in(store: Store, act: str):
    ids = filled(store, many(5))
    store.amend(ids[2], wrong(2), reason="miscounted")
    assert getattr(store, act)().folded == 1
    assert list(archive.open(Path(store.path, "segments", "000001", "records.rkyv")))[2] == wrong(2)
    assert contents(store) == as_written(store) == {**dict(zip(ids, many(5), strict=True)), ids[2]: wrong(2)}


def test_a_correction_of_a_sealed_record_is_seen_and_compacting_folds_it_in(store: Store):
    ids = filled(store, many(5), host="a")
    expected = {**dict(zip(ids, many(5), strict=True)), ids[2]: wrong(2)}
    store.seal()
    store.amend(ids[2], wrong(2), reason="miscounted")
    assert contents(store) == afresh(store) == as_written(store) == expected
    assert (store.seal().folded, segments(store)) == (0, ["000001", "000002"])
    assert contents(store) == afresh(store) == as_written(store) == expected
    assert (store.compact().folded, len(segments(store))) == (1, 1)
    assert contents(store) == afresh(store) == as_written(store) == expected
    assert list(archive.open(Path(store.path, "segments", segments(store)[0], "records.rkyv")))[2] == wrong(2)
    assert store.context(ids[2]) == {"host": "a"}


def test_when_all_is_folded_compacting_again_does_nothing(store: Store):
    ids = filled(store, [made(k, generated_tasm=["x" * 500]) for k in range(10)])
    store.seal()
    store.amend(ids[2], wrong(2), reason="miscounted")
    for size in (4096, 6000, 1 << 20):
        store.compact(max_bytes=size)
        names = segments(store)
        assert (store.compact(max_bytes=size), segments(store)) == (Sealed(), names)
    assert store.get(ids[2]) == wrong(2)


def test_extra_columns_and_contexts_stay_with_a_corrected_record(tmp_path: Path):
    store = opened(tmp_path, extras={"x": Extra("i4", -1)})
    with store.writer({"host": "a"}) as writer:
        ids = writer.extend(many(4), {"x": np.arange(4)})
    store.amend(int(ids[1]), wrong(1), reason="miscounted")
    for act in (lambda: None, store.seal, store.compact):
        act()
        records = store.results()
        assert_array_equal(records.extras["x"], np.arange(4))
        assert [records.context(i) for i in range(4)] == [{"host": "a"}] * 4
        assert records[1] == wrong(1)


# Which one counts


@pytest.mark.parametrize("between", [lambda s: None, lambda s: s.seal(), lambda s: s.compact()])
def test_the_latest_correction_counts(store: Store, between: Any):
    (identity,) = filled(store, [made(1)])
    between(store)
    for cycles in (7, 8, 9):
        store.amend(identity, wrong(1, cycles), reason=f"again {cycles}")
        assert contents(store) == afresh(store) == as_written(store) == {identity: wrong(1, cycles)}
        between(store)
        assert contents(store) == afresh(store) == as_written(store) == {identity: wrong(1, cycles)}
    assert [reason for _, _, reason, _, _ in history(store)] == ["again 7", "again 8", "again 9"]


@pytest.mark.parametrize("between", [lambda s: None, lambda s: s.seal(), lambda s: s.compact()])
def test_the_latest_is_said_by_the_time_that_is_given_and_then_by_the_order(store: Store, between: Any):
    (identity,) = filled(store, [made(1)])
    for at, cycles, counts in [(5, 1, 1), (9, 2, 2), (7, 3, 2), (9, 4, 4), (0, 5, 4), (10, 6, 6)]:
        store.amend(identity, wrong(1, cycles), reason="again", at=at)
        between(store)
        assert contents(store) == afresh(store) == as_written(store) == {identity: wrong(1, counts)}
    store.compact()
    assert store.get(identity) == wrong(1, 6)


def test_a_clock_that_was_set_back_does_not_hide_a_correction(store: Store):
    (identity,) = filled(store, [made(1)])
    store.amend(identity, wrong(1, 1), reason="from the future", at=2**40)
    store.amend(identity, wrong(1, 2), reason="now")
    assert store.get(identity) == wrong(1, 2)


def test_many_are_corrected_with_one_journal(store: Store):
    ids = filled(store, many(10))
    own = store.amend_many([(i, wrong(k)) for k, i in enumerate(ids)], reason="all")
    assert (len(set(own)), len(journals(store))) == (10, 2)
    assert list(contents(store).values()) == [wrong(k) for k in range(10)]


def test_of_one_record_corrected_twice_at_once_the_last_counts(store: Store):
    (identity,) = filled(store, [made(1)])
    store.amend_many([(identity, wrong(1, 1)), (identity, wrong(1, 2))], reason="twice")
    assert contents(store) == as_written(store) == {identity: wrong(1, 2)}


def test_correcting_none_is_nothing(store: Store):
    assert store.amend_many([], reason="none") == []
    assert journals(store) == []


# History


@pytest.mark.parametrize("between", [lambda s: None, lambda s: s.seal(), lambda s: s.compact()])
def test_the_history_says_what_was_before_and_when_and_why(store: Store, between: Any):
    ids = filled(store, many(3))
    expected = []
    for at, k, cycles in [(5, 1, 1), (6, 2, 2), (7, 1, 3), (9, 1, 4)]:
        store.amend(ids[k], wrong(k, cycles), reason=f"é {at}", at=at)
        expected.append((ids[k], at, f"é {at}", made(k), wrong(k, cycles)))
        between(store)
        # `before` is the record as it was appended
        assert history(store) == expected
    store.compact()
    assert history(store) == history(Store.open(store.path)) == expected


def test_the_history_stands_beside_the_segment_as_json_lines(store: Store):
    (identity,) = filled(store, [made(1)])
    own = store.amend(identity, wrong(1), reason="again", at=5)
    store.seal()
    (line,) = Path(store.path, "segments", "000001", "amendments.jsonl").read_bytes().splitlines()
    assert json.loads(line) == {
        "id": identity, "at": 5, "reason": "again", "amendment": own,
        "before": made(1).to_dict(), "after": wrong(1).to_dict(), "folded": True,
    }  # fmt: skip


def test_a_correction_of_a_record_that_a_policy_removed_does_nothing(store: Store):
    ids = filled(store, many(4))
    store.amend(ids[0], wrong(0), reason="again", at=5)
    store.compact(Keep(newest=2))
    assert list(contents(store)) == list(as_written(store)) == ids[2:]
    assert (len(history(store)), store.health().amended) == (1, 0)
    assert "no record" in complaint(UsageError, store.amend, ids[0], wrong(0), reason="again")


def test_a_policy_looks_at_what_records_are_now(store: Store):
    ids = filled(store, [made(k, valid=True, clock_cycles=5, fallback_used=False) for k in (0, 5, 10)])
    better = made(10, valid=True, clock_cycles=4, fallback_used=False)
    store.amend(ids[2], better, reason="measured again")
    store.compact(Keep(best_per_program=1))
    assert contents(store) == {ids[2]: better}


# Replay buffers


def test_a_replay_buffer_takes_in_a_correction_with_its_priority(store: Store):
    ids = filled(store, [made(k, valid=True, clock_cycles=5, fallback_used=False) for k in range(5)])
    buffer = store.replay(100, sampler=Uniform(), seed=1)
    before = buffer.priorities(ids)
    store.amend(ids[2], wrong(2), reason="again")
    assert buffer.refresh() == 0
    assert buffer.get(ids[2]) == wrong(2)
    fresh = store.replay(100, seed=1)
    assert_array_equal(buffer.priorities(ids), fresh.priorities(ids))
    assert before[2] != buffer.priorities(ids)[2]
    buffer.check()


def test_the_same_when_it_is_sealed_and_compacted(store: Store):
    ids = filled(store, many(5))
    buffer = store.replay(100, remover=LowestPriority(), seed=1)
    expected = dict(zip(ids, many(5), strict=True))
    for k, act in enumerate((store.seal, store.seal, store.compact, store.compact)):
        store.amend(ids[k], wrong(k), reason="again")
        expected[ids[k]] = wrong(k)
        if k % 2:
            buffer.refresh()
        act()
        buffer.refresh()
        buffer.check()
        assert {i: buffer.get(i) for i in ids} == expected == contents(store)
        assert_array_equal(buffer.priorities(ids), store.replay(100).priorities(ids))


def test_a_record_that_comes_corrected_comes_once_and_corrected(store: Store):
    buffer = store.replay(100)
    ids = filled(store, many(3))
    store.amend(ids[1], wrong(1), reason="again")
    assert (buffer.refresh(), buffer.ids().tolist(), buffer.get(ids[1])) == (3, ids, wrong(1))


def test_a_correction_of_a_record_that_the_buffer_let_go_does_not_matter(store: Store):
    ids = filled(store, many(5))
    buffer = store.replay(2, remover=Oldest())
    assert ids[0] not in buffer
    store.amend(ids[0], wrong(0), reason="again")
    buffer.refresh()
    assert buffer.ids().tolist() == ids[3:]
    buffer.check()


# Against a model


@few
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["append", "amend", "seal", "compact", "small"]),
            st.integers(0, 20),
            st.integers(0, 3),
        ),
        max_size=14,
    )
)
def test_whatever_comes_between_the_right_correction_counts(tmp_path_factory: Any, steps: Any):
    store = opened(tmp_path_factory.mktemp("a"))
    buffer = store.replay(1000)
    appended: dict[int, BuildResult] = {}
    given: list[tuple[int, int, int, BuildResult]] = []  # record, at, order, result
    for n, (what, k, at) in enumerate(steps):
        if what == "append":
            appended |= zip(filled(store, [made(k)]), [made(k)], strict=True)
        elif what == "amend" and appended:
            identity = list(appended)[k % len(appended)]
            result = dataclasses.replace(appended[identity], clock_cycles=n)
            store.amend(identity, result, reason=str(n), at=at)
            given.append((identity, at, n, result))
        elif what == "seal":
            store.seal()
        elif what == "compact":
            store.compact()
        elif what == "small":
            store.compact(max_bytes=4096)
        now = appended | {i: result for i, _, _, result in sorted(given, key=lambda g: (g[1], g[2]))}
        buffer.refresh()
        assert contents(store) == {i: buffer.get(i) for i in ids_of(store.results())} == now
    assert afresh(store) == as_written(store) == now if steps else True
    assert [(i, at, r, b) for i, at, r, b, _ in history(store)] == [
        (i, at, str(n), appended[i]) for i, at, n, _ in sorted(given, key=lambda g: (g[1], g[2]))
    ]


# Refusals


def test_ids_that_are_not_there_are_refused(store: Store):
    ids = filled(store, many(3))
    for identity in (0, ids[2] + 1, -1, 2**63, 1 << 24 | 2**23, "1", None):
        assert "`identity`" in complaint(UsageError, store.amend, identity, wrong(0), reason="again")


def test_of_many_with_one_that_is_not_there_none_is_corrected(store: Store):
    ids = filled(store, many(3))
    complaint(UsageError, store.amend_many, [(ids[0], wrong(0)), (5, wrong(1))], reason="again")
    assert (list(store.results()), len(journals(store))) == (many(3), 1)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"result": made(1)}, "result.tir_hash"),
        ({"result": None}, "result"),
        ({"reason": None}, "reason"),
        ({"reason": "\ud800"}, "reason"),
        ({"at": -1}, "at"),
        ({"at": 2**63}, "at"),
        ({"at": 1.5}, "at"),
        ({"at": True}, "at"),
    ],
)
def test_what_is_no_correction_is_refused_with_its_place(store: Store, change: Any, where: str):
    (identity,) = filled(store, [made(0)])
    arguments = {"result": wrong(0), "reason": "again", **change}
    assert f"`{where}`" in complaint(UsageError, store.amend, identity, **arguments)
    assert store.get(identity) == made(0)


def test_a_correction_outlives_the_records_that_stand_beside_it(store: Store):
    """Its segment is emptied by a policy, while its record is in another one that stays."""
    ids = filled(store, [made(k, generated_tasm=["x" * 700], timestamp=2**40) for k in range(10)])
    store.seal()
    filled(store, [made(k, generated_tasm=["x" * 700]) for k in range(10)])
    store.amend(ids[2], made(2, valid=False, timestamp=2**40), reason="again", at=5)
    store.seal()
    store.compact(Keep(newest=10), max_bytes=8000)
    expected = {i: made(k, generated_tasm=["x" * 700], timestamp=2**40) for k, i in enumerate(ids)}
    expected[ids[2]] = made(2, valid=False, timestamp=2**40)
    assert contents(store) == as_written(store) == expected
    assert [(i, reason) for i, _, reason, _, _ in history(store)] == [(ids[2], "again")]


@pytest.mark.parametrize("sealed", [False, True])
def test_a_corrected_record_that_a_policy_removes_leaves_the_buffer(store: Store, sealed: bool):
    ids = filled(store, many(5))
    if sealed:
        store.seal()
    buffer = store.replay(100)
    store.amend(ids[0], wrong(0), reason="again")
    store.amend(ids[4], dataclasses.replace(made(4), clock_cycles=3), reason="again")
    buffer.refresh()
    store.compact(Keep(newest=2))
    buffer.refresh()
    assert buffer.ids().tolist() == list(contents(store)) == ids[3:]
    assert {i: buffer.get(i) for i in ids[3:]} == contents(store)
    buffer.check()
