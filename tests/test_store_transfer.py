"""Into a store and out of it: archives, JSON lines, exports, merging."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from ostinato import DamageError, OstinatoError, ReplayBuffer, UsageError, archive, jsonl, reward
from ostinato.data import triton_attempts
from ostinato.replay import LowestPriority
from ostinato.store import Extra, Keep, Store
from ostinato.store.seal import locked
from ostinato.store.transfer import Merged
from record_helpers import complaint, record
from store_helpers import (
    QUICK,
    afresh,
    as_written,
    contents,
    filled,
    ids_of,
    journals,
    made,
    many,
    opened,
    segments,
)

# Archives in


def test_an_archive_comes_in_as_it_is(store: Store, tmp_path: Path):
    path = tmp_path / "replay.rkyv"
    path.write_bytes(archive.dumps(many(2500)))
    ids = store.import_archive(path)
    assert (ids.dtype, ids_of(store.results()), list(store.results())) == (np.int64, ids.tolist(), many(2500))
    assert store.context(int(ids[0])) == {"imported_from": "replay.rkyv"}


def test_real_attempts_come_in_and_go_out_unchanged(store: Store, tmp_path: Path):
    path = tmp_path / "replay.rkyv"
    path.write_bytes(archive.dumps(triton_attempts()))
    store.import_archive(path)
    assert store.results() == triton_attempts()
    store.seal()
    assert store.results() == triton_attempts()
    assert Path(store.path, "segments", "000001", "records.rkyv").read_bytes() == path.read_bytes()


def test_an_archive_comes_with_a_context_and_extra_columns(tmp_path: Path):
    store = opened(tmp_path, extras={"x": "i4"})
    (tmp_path / "a.rkyv").write_bytes(archive.dumps(many(3)))
    ids = store.import_archive(tmp_path / "a.rkyv", context={"run": "1"}, extras={"x": [5, 6, 7]})
    assert store.context(int(ids[2])) == {"imported_from": "a.rkyv", "run": "1"}
    assert_array_equal(store.results().extras["x"], [5, 6, 7])


def test_a_damaged_archive_is_refused_and_nothing_comes(store: Store, tmp_path: Path):
    path = tmp_path / "replay.rkyv"
    path.write_bytes(archive.dumps(many(3))[:-1])
    assert "replay.rkyv" in complaint(DamageError, store.import_archive, path)
    assert (len(store), journals(store)) == (0, [])


def test_an_archive_that_is_not_there_says_so(store: Store, tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        store.import_archive(tmp_path / "none.rkyv")
    assert journals(store) == []


# JSON lines in


def lines(n: int) -> bytes:
    return b"".join(jsonl.dump(r) for r in many(n))


def test_json_lines_come_in_one_by_one(store: Store):
    assert store.import_jsonl(io.BytesIO(lines(20)), context={"host": "a"}) == 20
    assert list(store.results()) == many(20)
    assert store.results().context(3) == {"host": "a"}


def test_what_stands_before_a_bad_line_is_appended(store: Store):
    bad = lines(3) + b'{"valid": 3}\n' + lines(1)
    with pytest.raises(DamageError, match=r"in\.jsonl.*line 4"):
        store.import_jsonl(io.BytesIO(bad), source="in.jsonl")
    assert list(store.results()) == many(3)


def test_bad_lines_are_passed_over_if_asked(store: Store):
    skipped: list[DamageError] = []
    bad = lines(3) + b"nonsense\n" + lines(1)
    assert store.import_jsonl(io.BytesIO(bad), skip=skipped.append) == 4
    assert ([error.line for error in skipped], list(store.results())) == ([4], [*many(3), made(0)])


def test_json_lines_come_with_extra_columns(tmp_path: Path):
    store = opened(tmp_path, extras={"x": "i4"})
    assert store.import_jsonl(io.BytesIO(lines(2)), extras={"x": 7}) == 2
    assert_array_equal(store.results().extras["x"], [7, 7])
    assert "`extras[x]`" in complaint(UsageError, store.import_jsonl, io.BytesIO(lines(2)))


# Out


def ranked(given: dict[int, Any]) -> list[Any]:
    return [r for _, r in sorted(given.items(), key=lambda item: (-reward(item[1]), item[0]))]


@pytest.mark.parametrize("act", [lambda s: None, lambda s: s.seal(), lambda s: s.compact()])
def test_an_export_is_an_archive_of_all_by_priority(store: Store, tmp_path: Path, act: Any):
    filled(store, many(1500))
    filled(store, many(30, 1500), one_by_one=True)
    act(store)
    path = tmp_path / "replay.rkyv"
    assert store.export(path) == 1530
    assert list(archive.open(path)) == ranked(contents(store))
    assert archive.deviation(path.read_bytes()) is None


def test_a_replay_buffer_loads_an_export(store: Store, tmp_path: Path):
    filled(store, many(100))
    store.export(tmp_path / "replay.rkyv", best=50)
    buffer = ReplayBuffer.load(100, tmp_path / "replay.rkyv", remover=LowestPriority())
    assert list(buffer) == ranked(contents(store))[:50]


def test_it_is_what_a_replay_buffer_saves(store: Store, tmp_path: Path):
    filled(store, many(100))
    store.export(tmp_path / "a.rkyv")
    store.replay(1000).save(tmp_path / "b.rkyv")
    assert (tmp_path / "a.rkyv").read_bytes() == (tmp_path / "b.rkyv").read_bytes()


@pytest.mark.parametrize("best", [0, 1, 7, 10**9])
def test_the_best_are_exported(store: Store, tmp_path: Path, best: int):
    filled(store, many(40))
    assert store.export(tmp_path / "best.rkyv", best=best) == min(best, 40)
    assert list(archive.open(tmp_path / "best.rkyv")) == ranked(contents(store))[:best]


@pytest.mark.parametrize("k", [0, 1, 2])
def test_the_best_of_each_program_are_exported(store: Store, tmp_path: Path, k: int):
    given = contents(store) | dict(zip(filled(store, many(60)), many(60), strict=True))
    best = []
    for program in {r.tir_hash for r in given.values()}:
        good = [
            (r.clock_cycles or 0, i)
            for i, r in given.items()
            if r.tir_hash == program and r.valid and not r.fallback_used and r.clock_cycles is not None
        ]
        best += [i for _, i in sorted(good)[:k]]
    assert store.export(tmp_path / "best.rkyv", best_per_program=k) == len(best) == 5 * k
    assert list(archive.open(tmp_path / "best.rkyv")) == ranked({i: given[i] for i in best})


def test_corrections_are_exported(store: Store, tmp_path: Path):
    ids = filled(store, many(3))
    store.amend(ids[1], made(1, valid=False), reason="again")
    store.export(tmp_path / "a.rkyv")
    assert made(1, valid=False) in list(archive.open(tmp_path / "a.rkyv"))
    assert made(1) not in list(archive.open(tmp_path / "a.rkyv"))


def test_an_empty_store_exports_an_empty_archive(store: Store, tmp_path: Path):
    assert store.export(tmp_path / "a.rkyv") == 0
    assert (tmp_path / "a.rkyv").read_bytes() == archive.dumps([])


def test_an_export_that_fails_leaves_the_old_file(store: Store, tmp_path: Path):
    (tmp_path / "a.rkyv").write_text("old")
    for name in ("best", "best_per_program"):
        for wrong in (-1, 1.5, True, "3"):
            assert f"`{name}`" in complaint(UsageError, store.export, tmp_path / "a.rkyv", **{name: wrong})
    assert (tmp_path / "a.rkyv").read_text() == "old"


# Merging


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path, "other") as other:
        yield other


def test_merging_brings_all_with_new_ids_and_their_contexts(store: Store, other: Store):
    mine = contents(store) | dict(zip(filled(store, many(3), host="mine"), many(3), strict=True))
    filled(other, many(5, 10), host="a")
    other.seal()
    filled(other, many(4, 20), one_by_one=True, host="b")
    filled(other, many(2, 30), host="a")
    merged = store.merge(other)
    now = contents(store)
    assert (merged.records, merged.damaged, merged.left_out) == (11, 0, ())
    new = {i: r for i, r in now.items() if i not in mine}
    assert {i: r for i, r in now.items() if i in mine} == mine
    assert sorted(r.timestamp for r in new.values()) == [
        made(k).timestamp for k in (*range(10, 15), *range(20, 24), 30, 31)
    ]
    assert {i >> 24 for i in new} == set(merged.journals)
    for i, r in new.items():
        assert store.context(i) == {"host": "b" if 20 <= r.timestamp - made(0).timestamp < 24 else "a"}
    assert afresh(store) == as_written(store) == now
    assert len(other) == 11  # which stays as it is


def test_merging_again_brings_only_what_is_new(store: Store, other: Store):
    filled(other, many(5))
    assert store.merge(other).records == 5
    assert store.merge(other) == Merged()
    filled(other, many(2, 5))
    other.compact()
    assert (store.merge(other).records, store.merge(other).records) == (2, 0)
    assert sorted(r.timestamp for r in store.results()) == [made(k).timestamp for k in range(7)]


def test_what_a_writer_at_work_has_appended_comes_and_its_rest_the_next_time(store: Store, other: Store):
    with other.writer() as writer:
        writer.extend(many(3))
        assert store.merge(other).records == 3
        writer.append(made(3))
        assert store.merge(other).records == 1
    assert sorted(r.timestamp for r in store.results()) == [made(k).timestamp for k in range(4)]


def test_merged_records_that_were_removed_do_not_come_again(store: Store, other: Store):
    filled(other, many(5))
    store.merge(other)
    store.compact(Keep(newest=0))
    assert (store.merge(other).records, len(store)) == (0, 0)


def test_merging_needs_no_sealing_and_takes_no_id_from_a_writer_at_work(store: Store, other: Store):
    filled(other, many(5, 100))
    with store.writer() as writer:
        ids = [writer.append(made(0))]
        store.merge(other)
        ids += [writer.append(made(1)), *filled(store, many(2, 2))]
    now = contents(store)
    assert [now[i] for i in ids] == many(4)
    assert len(now) == 9
    store.compact()
    assert contents(store) == as_written(store) == now


def test_readers_and_buffers_take_in_what_was_merged(store: Store, other: Store):
    filled(store, many(2))
    buffer = store.replay(100)
    cursor = store.results().cursor
    filled(other, many(5, 10))
    store.merge(other)
    assert list(store.results(since=cursor)) == many(5, 10)
    assert (buffer.refresh(), {int(i): buffer.get(int(i)) for i in buffer.ids()}) == (5, contents(store))
    buffer.check()


def test_corrections_are_merged_in(store: Store, other: Store):
    ids = filled(other, many(3))
    other.seal()
    other.amend(ids[1], made(1, valid=False), reason="again")
    store.merge(other)
    assert list(store.results()) == [made(0), made(1, valid=False), made(2)]


def test_extra_columns_are_merged_by_name(tmp_path: Path):
    store = opened(tmp_path, "a", extras={"x": "i4", "y": Extra("f4", float("nan"))})
    other = opened(tmp_path, "b", extras={"z": "?", "x": "u1"})
    with other.writer() as writer:
        writer.extend(many(3), {"x": [1, 2, 3], "z": True})
    merged = store.merge(other)
    records = store.results()
    assert (merged.records, merged.left_out, list(records.extras)) == (3, ("z",), ["x", "y"])
    assert_array_equal(records.extras["x"], np.array([1, 2, 3], "i4"))
    assert_array_equal(records.extras["y"], np.full(3, np.nan, "f4"))
    assert contents(store) == as_written(store)


def test_a_missing_column_without_a_default_is_refused(tmp_path: Path):
    store = opened(tmp_path, "a", extras={"x": "i4"})
    other = opened(tmp_path, "b")
    filled(other, many(3))
    assert "`extras[x]`" in complaint(UsageError, store.merge, other)
    assert (len(store), segments(store), journals(store)) == (0, [], [])


def test_values_that_do_not_fit_are_refused_and_nothing_comes(tmp_path: Path):
    store, other = opened(tmp_path, "a", extras={"x": "u1"}), opened(tmp_path, "b", extras={"x": "i4"})
    with other.writer() as writer:
        writer.extend(many(3), {"x": [1, 300, 2]})
    assert "`extras[x]`" in complaint(UsageError, store.merge, other)
    assert (len(store), segments(store)) == (0, [])
    store.seal()  # which removes the empty journals that were taken for it
    assert (len(store), segments(store), journals(store)) == (0, [], [])


def test_a_store_is_not_merged_with_itself_or_its_copy(store: Store, tmp_path: Path):
    import shutil

    filled(store, many(3))
    shutil.copytree(store.path, tmp_path / "copy")
    for same in (store, Store.open(store.path), Store.open(tmp_path / "copy")):
        assert "`other`" in complaint(UsageError, store.merge, same)
    assert len(store) == 3


@pytest.mark.parametrize("wrong", [None, "path", 3])
def test_what_is_no_store_is_not_merged(store: Store, wrong: Any):
    assert "`other`" in complaint(UsageError, store.merge, wrong)


def test_while_another_process_seals_merging_is_refused(store: Store, other: Store):
    filled(other, many(3))
    with locked(QUICK, store.path, 0):
        assert "another process" in complaint(OstinatoError, store.merge, other, wait_s=0)
    assert store.merge(other).records == 3


def test_merging_an_empty_store_is_nothing(store: Store, other: Store):
    assert store.merge(other) == Merged()
    assert (segments(store), journals(store)) == ([], [])


def test_programs_come_with_a_merge_and_come_once(store: Store, other: Store):
    a, b = bytes([1]) * 32, bytes([2]) * 32
    store.programs.put(a, name="fib", at=1)
    other.programs.put(a, tir=b"tir", name="fib", baseline=["push 1"], cycles=9, toolchain="1.0", at=2)
    other.programs.put(a, baseline=["push 2"], cycles=7, toolchain="1.1", at=3)
    other.programs.put(b, tir=b"other", at=4)
    filled(other, [record(tir_hash=a)])
    for _ in range(2):
        store.merge(other)
        assert [(p.cycles, p.toolchain) for p in store.programs.history(a)] == [(9, "1.0"), (7, "1.1")]
        found = store.programs.get(b)
        assert found is not None
        assert (len(store.programs), found.tir) == (2, b"other")


def test_merging_three_ways_round_loses_nothing(tmp_path: Path):
    stores = [opened(tmp_path, str(k)) for k in range(3)]
    for k, one in enumerate(stores):
        filled(one, many(4, 10 * k), host=str(k))
    stores[0].merge(stores[1])
    stores[0].merge(stores[2])
    stores[0].compact()
    now = contents(stores[0])
    assert len(now) == 12
    for i, r in now.items():
        assert stores[0].context(i) == {"host": str((r.timestamp - made(0).timestamp) // 10)}
    assert json.loads(Path(stores[0].path, "MANIFEST").read_text().rpartition("crc32")[0])[
        "merged"
    ].keys() == {
        stores[1].store_id,
        stores[2].store_id,
    }
    assert os.listdir(Path(stores[0].path, "journals")) == []


def test_a_baseline_that_changed_to_and_fro_comes_once(store: Store, other: Store):
    a = bytes([1]) * 32
    for at, cycles in enumerate((9, 7, 9)):
        other.programs.put(a, cycles=cycles, toolchain="1.0", at=at)
    for _ in range(3):
        store.merge(other)
        assert [p.cycles for p in store.programs.history(a)] == [9, 7, 9]


def test_a_program_that_is_another_one_here_is_named_and_the_rest_comes(store: Store, other: Store):
    a, b = bytes([1]) * 32, bytes([2]) * 32
    store.programs.put(a, tir=b"mine", at=1)
    other.programs.put(a, tir=b"theirs", at=1)
    other.programs.put(b, tir=b"more", at=1)
    filled(other, many(3))
    merged = store.merge(other)
    assert (merged.records, len(merged.problems), len(store), len(store.programs)) == (3, 1, 3, 2)
    assert a.hex() in merged.problems[0]


def test_a_catalog_of_the_other_that_cannot_be_read_costs_no_records(store: Store, other: Store):
    filled(other, many(3))
    Path(other.path, "catalog.sqlite").write_bytes(b"nonsense" * 1000)
    merged = store.merge(other)
    assert (merged.records, len(merged.problems), len(store)) == (3, 1, 3)


def test_a_store_in_which_a_segment_is_missing_takes_in_nothing(store: Store, other: Store, tmp_path: Path):
    """It was copied while it was compacted: what MANIFEST does not name may be the only one of its kind."""
    filled(store, many(20))
    store.seal()
    before = Path(store.path, "MANIFEST").read_bytes()
    store.compact(Keep(newest=15))
    assert segments(store) == ["000002"]
    copy = Path(shutil.copytree(store.path, tmp_path / "copy"))
    for name in ("MANIFEST", "MANIFEST.copy"):
        (copy / name).write_bytes(before)
    filled(other, many(5, 100))
    with Store.open(copy, fs=QUICK) as damaged:
        for _ in range(2):
            assert "000001" in complaint(DamageError, lambda: damaged.merge(other))
            assert segments(damaged) == ["000002"]
            assert journals(damaged) == []
    assert (copy / "MANIFEST").read_bytes() == before
