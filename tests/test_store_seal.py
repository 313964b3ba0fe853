"""Sealing and compacting: order, sizes, what is kept, retention against a plain model, memory."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.testing import assert_array_equal

from ostinato import BuildResult, OstinatoError, UsageError, archive
from ostinato.store import Extra, Keep, Sealed, Store, layout, output, segment_writing
from ostinato.store import segment as segment_reading
from ostinato.store.manifest import read_manifest
from ostinato.store.output import Output
from ostinato.store.segment import Part
from ostinato.store.view import View
from record_helpers import complaint, more, record
from store_helpers import (
    NOW,
    QUICK,
    Quick,
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


def long(k: int) -> BuildResult:
    return made(k, generated_tasm=["x" * 1000])


def segment(store: Store, name: str, file: str) -> Path:
    return Path(store.path, "segments", name, file)


# Sealing


def test_sealing_changes_nothing_that_is_read(store: Store):
    filled(store, many(50), one_by_one=True, host="a")
    filled(store, many(2000, 50), host="b")
    before = contents(store)
    assert len(before) == 2050
    assert store.seal() == Sealed(journals=2, records=2050, segments=1, bytes=store.health().bytes)
    assert contents(store) == afresh(store) == as_written(store) == before
    assert [store.context(i) for i in (1 << 24, 2 << 24)] == [{"host": "a"}, {"host": "b"}]


def test_journals_are_gone_when_they_are_sealed(store: Store):
    filled(store, many(3))
    store.seal()
    assert (journals(store), segments(store)) == ([], ["000001"])


def test_sealing_nothing_is_nothing(store: Store):
    assert store.seal() == store.seal() == store.compact() == Sealed()
    assert segments(store) == []


def test_an_empty_journal_is_sealed_without_a_segment(store: Store):
    filled(store, [])
    assert store.seal() == Sealed(journals=1)
    assert (journals(store), segments(store), len(store)) == ([], [], 0)


def test_the_journal_of_a_writer_at_work_is_left_alone(store: Store):
    with store.writer() as writer:
        ids = [writer.append(made(0))]
        ids += filled(store, [made(1)])
        assert store.seal().journals == 1
        assert journals(store) == ["000001.journal"]
        ids.append(writer.append(made(2)))
        assert contents(store) == afresh(store) == dict(zip(ids, many(3), strict=True))
    assert store.seal().journals == 1
    assert contents(store) == as_written(store) == dict(zip(ids, many(3), strict=True))


def test_a_segments_records_are_a_canonical_archive(store: Store):
    filled(store, many(30), one_by_one=True)
    filled(store, many(2000, 30))
    store.seal()
    path = segment(store, "000001", "records.rkyv")
    assert archive.deviation(path.read_bytes()) is None
    assert path.read_bytes() == archive.dumps(many(2030))
    assert list(archive.open(path)) == many(2030)


def test_what_stands_beside_the_archive_opens_with_numpy(tmp_path: Path):
    store = opened(tmp_path, extras={"logp": Extra("f4", float("nan")), "flag": Extra("?", False)})
    with store.writer() as writer:
        ids = writer.extend(many(5), {"logp": np.arange(5), "flag": [True, False, True, False, True]})
    store.seal()
    assert_array_equal(np.load(segment(store, "000001", "ids.npy")), ids)
    assert_array_equal(np.load(segment(store, "000001", "extra-logp.npy")), np.arange(5, dtype="f4"))
    assert_array_equal(np.load(segment(store, "000001", "extra-flag.npy")), [True, False, True, False, True])


def test_journals_become_a_segment_in_their_order(store: Store):
    with store.writer() as late:
        early = filled(store, many(2, 2)) + filled(store, many(2, 4))
        late_ids = [late.append(made(k)) for k in (0, 1)]
    store.seal()
    assert ids_of(store.results()) == late_ids + early
    assert list(store.results()) == many(6)


def test_segments_are_at_most_as_large_as_chosen(store: Store):
    ids = filled(store, [long(k) for k in range(40)], one_by_one=True)
    sealed = store.seal(max_bytes=10_000)
    assert sealed.segments == len(segments(store)) >= 4
    sizes = [segment(store, name, "records.rkyv").stat().st_size for name in segments(store)]
    assert max(sizes) <= 10_000
    assert contents(store) == as_written(store) == {i: long(k) for k, i in enumerate(ids)}
    assert ids_of(store.results()) == ids


def test_a_record_larger_than_a_segment_may_be_has_one_of_its_own(store: Store):
    given = [made(0), made(1, generated_tasm=["x" * 20_000]), made(2)]
    ids = filled(store, given, one_by_one=True)
    assert store.seal(max_bytes=4096).segments == 3
    assert contents(store) == as_written(store) == dict(zip(ids, given, strict=True))


def test_frames_of_many_records_are_cut_where_the_segment_is_full(store: Store):
    """Chunks of 1,024 records go whole into a segment: what is too large stands alone."""
    ids = filled(store, [long(k) for k in range(3000)])
    store.seal(max_bytes=2_000_000)
    assert len(segments(store)) == 3
    assert contents(store) == {i: long(k) for k, i in enumerate(ids)}


def test_what_is_sealed_later_goes_into_further_segments(store: Store):
    expected: dict[int, BuildResult] = {}
    for k in range(5):
        expected |= zip(filled(store, many(3, 3 * k)), many(3, 3 * k), strict=True)
        store.seal()
    assert segments(store) == [f"{k:06d}" for k in range(1, 6)]
    assert contents(store) == as_written(store) == expected


@pytest.mark.parametrize("size", [0, 4095, 2**31, 1e6, "1", None])
def test_a_size_that_no_segment_can_have_is_refused(store: Store, size: Any):
    filled(store, many(2))
    for act in (store.seal, store.compact):
        assert "`max_bytes`" in complaint(UsageError, act, max_bytes=size)
    assert journals(store) == ["000001.journal"]


def test_progress_comes_to_its_end(store: Store):
    for k in range(5):
        filled(store, [long(k)] * 10)
    steps: list[tuple[int, int]] = []
    store.seal(max_bytes=20_000, progress=lambda done, total: steps.append((done, total)))
    assert steps == sorted(steps)
    assert len({total for _, total in steps}) == 1
    assert steps[-1][0] == steps[-1][1] > 50_000


HOLD = """
import sys
from ostinato.store import Store, seal
from ostinato.store.fs import REAL
with seal.locked(REAL, sys.argv[1], 0):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_while_another_process_seals_one_is_refused_and_waits_if_asked(store: Store):
    ids = filled(store, many(3))
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, store.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"held\n"
        for act in (store.seal, store.compact):
            assert "another process" in complaint(OstinatoError, act)
        ids.append(filled(store, [made(3)])[0])  # which hinders neither writers nor readers
        assert list(contents(store)) == ids
        holder.kill()  # the lock dies with it
        assert store.seal(wait_s=30).records == 4


def test_a_context_that_many_writers_share_stands_once(store: Store):
    for k in range(20):
        filled(store, [made(k)], host="a", note="x" * 1000)
    store.seal()
    assert segment(store, "000001", "contexts.json").stat().st_size < 2000
    assert [store.context(int(i)) for i in store.results().ids] == [{"host": "a", "note": "x" * 1000}] * 20


def test_a_segment_says_what_is_in_it(store: Store):
    filled(store, many(3))
    store.seal()
    said = json.loads(segment(store, "000001", "segment.json").read_text().rpartition("crc32")[0])
    assert (said["name"], said["records"], said["store_id"]) == ("000001", 3, store.store_id)
    there = {path.name: path.stat().st_size for path in segment(store, "000001", "").iterdir()}
    assert dict(said["files"]) == {n: s for n, s in there.items() if n not in ("sums.npy", "segment.json")}


def test_extra_columns_stay_beside_their_records_through_everything(tmp_path: Path):
    store = opened(tmp_path, extras={"x": "i4", "y": Extra("f8", float("nan"))})
    for k in range(0, 60, 6):
        with store.writer() as writer:
            writer.extend(many(4, k), {"x": np.arange(k, k + 4)})
            writer.append(made(k + 4), {"x": k + 4, "y": 0.5})
            writer.append(made(k + 5), {"x": k + 5})
        if k % 4 == 0:
            store.seal(max_bytes=4096)
    for act in (lambda: None, store.seal, store.compact, lambda: store.compact(Keep(newest=31))):
        act()
        records = store.results()
        order = np.argsort(records.timestamp)
        here = records.timestamp[order].astype(np.int64) - NOW
        assert len(here) in (60, 31)
        assert_array_equal(records.extras["x"][order], here)
        assert_array_equal(records.extras["y"][order], np.where(here % 6 == 4, 0.5, np.nan))
        one = store.results()[len(records) - 1]
        assert one == made(int(records.extras["x"][-1]))


# Compacting without a policy


def test_compacting_makes_one_of_small_segments(store: Store):
    expected: dict[int, BuildResult] = {}
    for k in range(7):
        expected |= zip(filled(store, many(3, 3 * k), host=str(k)), many(3, 3 * k), strict=True)
        store.seal()
    done = store.compact()
    assert (done.segments, done.records, done.removed, len(segments(store))) == (1, 21, 0, 1)
    assert contents(store) == afresh(store) == as_written(store) == expected
    assert [store.context(i)["host"] for i in expected] == [str(k) for k in range(7) for _ in range(3)]


def test_compacting_again_does_nothing(store: Store):
    for k in range(4):
        filled(store, many(3, 3 * k))
        store.seal()
    store.compact()
    names = segments(store)
    assert store.compact() == Sealed()
    assert segments(store) == names


def test_compacting_seals_first(store: Store):
    filled(store, many(3))
    done = store.compact()
    assert (done.journals, done.records, journals(store)) == (1, 3, [])


def test_large_segments_are_left_as_they_are(store: Store):
    for k in range(3):
        filled(store, [long(10 * k + i) for i in range(8)])
        store.seal()
    before = {name: segment(store, name, "records.rkyv").stat().st_ino for name in segments(store)}
    assert store.compact(max_bytes=12_000) == Sealed()
    assert {n: segment(store, n, "records.rkyv").stat().st_ino for n in segments(store)} == before


def test_compacting_keeps_segments_within_the_size(store: Store):
    for k in range(12):
        filled(store, [long(k), long(k + 1)])
        store.seal()
    before = contents(store)
    store.compact(max_bytes=10_000)
    sizes = [segment(store, name, "records.rkyv").stat().st_size for name in segments(store)]
    assert (max(sizes) <= 10_000, 2 < len(sizes) < 6) == (True, True)
    assert contents(store) == as_written(store) == before


# Retention

hashes = st.sampled_from([bytes([k]) * 32 for k in range(3)])
plain = st.builds(
    record,
    tir_hash=hashes,
    valid=st.booleans() | st.just(True),
    clock_cycles=st.none() | st.integers(0, 3) | st.sampled_from([2**64 - 1]),
    fallback_used=st.sampled_from([False, False, True]),
    timestamp=st.integers(0, 5) | st.sampled_from([NOW, NOW - 10, 2**64 - 1, 2**32, 2**32 + 1, 2**48]),
    generated_tasm=st.just(("add",)),
)
counts = st.none() | st.integers(0, 6) | st.just(10**9)
policies = st.builds(
    dict,
    newest=counts,
    best_per_program=counts,
    max_age_s=st.none() | st.sampled_from([0, 9, 10, 11, NOW, 2**62]),
).filter(lambda p: any(v is not None for v in p.values()))


def kept(given: dict[int, BuildResult], keep: Keep, now: int) -> dict[int, BuildResult]:
    """What Keep's docstring says, by looking at everything."""
    stays: set[int] = set()
    if keep.max_age_s is not None:
        stays |= {i for i, r in given.items() if now - r.timestamp <= keep.max_age_s}
    if keep.newest is not None:
        order = sorted(given, key=lambda i: (given[i].timestamp, i), reverse=True)
        stays |= set(order[: keep.newest])
    if keep.best_per_program is not None:
        for program in {r.tir_hash for r in given.values()}:
            good = [
                (r.clock_cycles, i)
                for i, r in given.items()
                if r.tir_hash == program and r.valid and not r.fallback_used and r.clock_cycles is not None
            ]
            stays |= {i for _, i in sorted(good)[: keep.best_per_program]}
    return {i: r for i, r in given.items() if i in stays}


@more
@given(
    parts=st.lists(st.lists(plain, max_size=8), min_size=1, max_size=3),
    policy=policies,
    corrections=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3), st.integers(0, 3)), max_size=3),
    sealed=st.booleans(),
)
def test_a_policy_keeps_what_it_says(
    tmp_path_factory: Any, parts: Any, policy: Any, corrections: Any, sealed: bool
):
    store = opened(tmp_path_factory.mktemp("k"))
    model: dict[int, BuildResult] = {}
    for part in parts:
        model |= zip(filled(store, part), part, strict=True)
        if sealed:
            store.seal()
    for place, cycles, stamp in corrections:
        if model:
            identity = list(model)[place % len(model)]
            model[identity] = dataclasses.replace(
                model[identity], valid=True, clock_cycles=cycles, timestamp=stamp
            )
            store.amend(identity, model[identity], reason="again")
    keep = Keep(**policy)
    expected = kept(model, keep, NOW)
    done = store.compact(keep, now=NOW)
    assert contents(store) == afresh(store) == as_written(store) == expected
    assert done.removed == len(model) - len(expected)
    assert store.compact(keep, now=NOW).removed == 0


def test_of_equal_timestamps_those_with_the_highest_ids_are_the_newest(store: Store):
    ids = filled(store, [made(k, timestamp=NOW) for k in range(10)])
    store.compact(Keep(newest=3))
    assert list(contents(store)) == ids[-3:]


def test_of_equal_cycles_the_oldest_is_the_best(store: Store):
    ids = filled(store, [record(clock_cycles=5) for _ in range(4)])
    store.compact(Keep(best_per_program=2))
    assert list(contents(store)) == ids[:2]


def test_an_age_just_reached_is_kept(store: Store):
    ids = filled(store, [record(timestamp=NOW - age) for age in (9, 10, 11)])
    store.compact(Keep(max_age_s=10), now=NOW)
    assert list(contents(store)) == ids[:2]


def test_a_record_stays_if_any_rule_says_so(store: Store):
    ids = filled(
        store,
        [
            record(timestamp=1, clock_cycles=1),
            record(timestamp=2),
            record(timestamp=3),
            record(timestamp=NOW),
        ],
    )
    store.compact(Keep(newest=2, best_per_program=1, max_age_s=0), now=NOW)
    assert list(contents(store)) == [ids[0], ids[2], ids[3]]


def test_many_programs_keep_their_best(store: Store):
    rng = np.random.default_rng(3)
    given = [
        record(tir_hash=int(p).to_bytes(32, "little"), clock_cycles=int(c))
        for p, c in zip(rng.integers(0, 2000, 8000), rng.integers(0, 50, 8000), strict=True)
    ]
    model = dict(zip(filled(store, given), given, strict=True))
    store.compact(Keep(best_per_program=2))
    by_program: dict[bytes, list[tuple[int | None, int]]] = {}
    for i, r in model.items():
        by_program.setdefault(r.tir_hash, []).append((r.clock_cycles, i))
    expected = {i for found in by_program.values() for _, i in sorted(found)[:2]}  # type: ignore[type-var]
    assert set(contents(store)) == expected


def test_records_of_a_writer_at_work_stay_whatever_the_policy(store: Store):
    with store.writer() as writer:
        ids = [writer.append(made(k)) for k in range(3)]
        filled(store, many(3, 3))
        assert store.compact(Keep(newest=0)).removed == 3
        assert list(contents(store)) == ids


def test_what_is_removed_is_gone_and_its_ids_stay_unknown(store: Store):
    ids = filled(store, many(5))
    store.compact(Keep(newest=2))
    assert "no record" in complaint(UsageError, store.get, ids[0])
    assert store.get(ids[4]) == made(4)
    new = filled(store, many(1))
    assert new[0] > max(ids)


def test_a_store_that_keeps_nothing_is_empty_and_goes_on(store: Store):
    filled(store, many(5))
    store.compact(Keep(newest=0))
    assert (contents(store), segments(store), store.health().records) == ({}, [], 0)
    ids = filled(store, many(2))
    assert list(contents(store)) == ids


def test_a_segment_in_which_all_stay_is_not_written_anew(store: Store):
    filled(store, [long(k) for k in range(8)])
    store.seal()
    filled(store, [long(k) for k in range(100, 108)])
    store.seal()
    inode = segment(store, "000002", "records.rkyv").stat().st_ino
    done = store.compact(Keep(newest=8), max_bytes=12_000)
    assert (done.removed, segments(store)) == (8, ["000002"])
    assert segment(store, "000002", "records.rkyv").stat().st_ino == inode


@pytest.mark.parametrize(
    ("policy", "where"),
    [
        ({}, "keep"),
        ({"newest": -1}, "newest"),
        ({"newest": 1.5}, "newest"),
        ({"newest": True}, "newest"),
        ({"best_per_program": "3"}, "best_per_program"),
        ({"max_age_s": 2**63}, "max_age_s"),
    ],
)
def test_what_is_no_policy_is_refused(policy: Any, where: str):
    assert f"`{where}`" in complaint(UsageError, Keep, **policy)


@pytest.mark.parametrize("keep", [3, {"newest": 3}, "newest"])
def test_what_is_no_keep_is_refused(store: Store, keep: Any):
    assert "`keep`" in complaint(UsageError, store.compact, keep)


@pytest.mark.parametrize("now", [-1, 1.5, "now", 2**63])
def test_what_is_no_time_is_refused(store: Store, now: Any):
    assert "`now`" in complaint(UsageError, store.compact, Keep(max_age_s=1), now=now)


# Memory and descriptors


def _peak(act: Any) -> int:
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("act", ["seal", "compact"])
def test_memory_does_not_grow_with_the_bytes_of_the_store(tmp_path: Path, act: str):
    peaks = []
    for n in (8, 32):
        store = opened(tmp_path, f"{act}{n}")
        for k in range(n):
            filled(store, [made(k, generated_tasm=[f"{k:02d}{i:04d}" + "x" * 1000 for i in range(100)])] * 20)
        if act == "compact":
            store.seal(max_bytes=4 << 20)
        peaks.append(_peak(getattr(store, act)))
        assert len(store) == 20 * n
        store.close()
    # text of 16 MB and 64 MB: the second may not hold more than the first but for a little a record
    assert peaks[1] < peaks[0] + (6 << 20)


def test_sealing_and_reading_give_all_descriptors_back(store: Store):
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no /proc here")
    filled(store, many(10))
    store.compact()
    store.catalog.close()
    before = count()
    for k in range(5):
        filled(store, many(10))
        store.compact(Keep(newest=5 + k))
        len(store)
    store.close()
    assert count() <= before


# Limits


def test_corrections_that_are_more_than_a_segment_takes_go_into_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    ids = filled(store, many(100))
    store.seal()
    monkeypatch.setattr(output, "_LINES", 8 << 10)
    monkeypatch.setattr(layout, "LINES_END", 8 << 10)
    store.amend_many([(i, made(k, valid=False)) for k, i in enumerate(ids)], reason="judged again", at=5)
    expected = [(a.amendment.id, a.before, a.amendment.result) for a in store.amendments()]
    assert len(expected) == 100
    for act in (store.seal, store.compact):
        act()
        assert [(a.amendment.id, a.before, a.amendment.result) for a in store.amendments()] == expected
        assert list(afresh(store).values()) == [made(k, valid=False) for k in range(100)]
        sizes = [path.stat().st_size for path in Path(store.path).glob("segments/*/amendments.jsonl")]
        assert len(sizes) > 3
        assert max(sizes) <= 8 << 10


def test_a_correction_whose_history_is_too_long_for_a_line_is_sealed_without(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    (long_one, short) = filled(store, [made(0, generated_tasm=["x" * 5000]), made(1)])
    store.amend(long_one, made(5), reason="shorter", at=5)
    store.amend(short, made(6), reason="another", at=5)
    monkeypatch.setattr(layout, "LINES_END", 4096)
    store.seal()
    assert list(afresh(store).values()) == [made(5), made(6)]
    assert {a.amendment.id: a.before for a in store.amendments()} == {long_one: None, short: made(1)}


def test_a_correction_that_no_line_could_hold_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch):
    (identity,) = filled(store, [made(0)])
    monkeypatch.setattr(layout, "AMENDMENT_END", 4096)
    long_one = made(0, generated_tasm=["x" * 5000])
    assert "at most 4,096 bytes" in complaint(
        UsageError, lambda: store.amend(identity, long_one, reason="", at=5)
    )
    store.amend(identity, made(5), reason="", at=5)
    assert contents(store) == {identity: made(5)}


def test_contexts_that_are_more_than_a_segment_takes_go_into_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    for module in (segment_writing, segment_reading):
        monkeypatch.setattr(module, "CONTEXTS_END", 10_000)
    context = {k: {"note": f"{k % 30:02d}" + "x" * 1000} for k in range(40)}
    ids = {filled(store, [made(k)], **context[k])[0]: k for k in context}
    for act in (store.seal, store.compact):
        act()
        assert {i: store.context(i) for i in ids} == {i: context[k] for i, k in ids.items()}
        assert list(afresh(store).values()) == [made(k) for k in context]
        sizes = [path.stat().st_size for path in Path(store.path).glob("segments/*/contexts.json")]
        assert len(sizes) >= 4
        assert max(sizes) <= 10_000


def test_a_chunk_of_records_whose_contexts_are_too_many_is_cut(store: Store, monkeypatch: pytest.MonkeyPatch):
    for k in range(16):
        filled(store, [made(k)], note=f"{k:02d}" + "x" * 1000)
    store.seal()
    # what was written is one segment, which is copied as one chunk
    assert segments(store) == ["000001"]
    monkeypatch.setattr(segment_writing, "CONTEXTS_END", 4000)
    assert store.compact(Keep(newest=15)).removed == 1
    assert len(segments(store)) >= 4
    notes = [store.context(int(i))["note"][:2] for i in store.results().ids]
    assert notes == [f"{k:02d}" for k in range(1, 16)]


# What fails


def test_what_is_abandoned_takes_no_folder_with_it_that_was_there_before(store: Store):
    filled(store, many(10))
    view = View(QUICK, store.path)
    view.refresh()
    out = Output(QUICK, store.path, read_manifest(QUICK, store.path), 1 << 20, {})
    there = [segment(store, name, "") for name in ("000001", "000003")]
    there[0].mkdir()
    (there[0] / "only").write_bytes(b"one")
    for ids in ([0, 5], [5, 10]):
        part = next(view.parts())
        out.copy(view, Part(*(column[slice(*ids)] for column in part)))
        out._begin()
    there[1].mkdir()  # after the name was chosen
    (there[1] / "only").write_bytes(b"one")
    with pytest.raises(OSError, match="not empty"):
        out.finish([], {})
    assert segment(store, "000002", "segment.json").exists()
    out.abandon()
    assert segments(store) == ["000001", "000003"]
    assert [(folder / "only").read_bytes() for folder in there] == [b"one", b"one"]


class _Full(Quick):
    full = ""

    def create(self, path: str) -> int:
        if self.full and path.endswith(self.full):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return super().create(path)


@pytest.mark.parametrize("file", ["records.rkyv", "ids.npy", "extra-x.npy", "entries.tmp", "contexts.json"])
def test_a_segment_that_cannot_be_begun_leaves_no_descriptor_and_no_folder(tmp_path: Path, file: str):
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no /proc here")
    fs = _Full()
    store = opened(tmp_path, fs=fs, extras={"x": Extra("i4", 1)})
    ids = filled(store, many(10))
    before = len(os.listdir("/proc/self/fd"))
    fs.full = file
    for _ in range(3):
        assert "No space" in complaint(OSError, store.seal)
        assert segments(store) == []
    assert len(os.listdir("/proc/self/fd")) == before
    fs.full = ""
    assert store.seal().records == 10
    assert list(contents(store)) == ids
    store.close()


class _Looked(Quick):
    """LOCK is somebody else's at the first few looks, as while somebody checks the store."""

    looks = 0

    def open(self, path: str) -> int:
        fd = super().open(path)
        if os.path.basename(path) == layout.LOCK:
            self.lock_fd = fd
        return fd

    def lock(self, fd: int, *, shared: bool = False) -> bool:
        if self.looks and fd == self.lock_fd:
            self.looks -= 1
            return False
        return super().lock(fd, shared=shared)


def test_whoever_checks_the_store_for_a_moment_does_not_keep_others_from_sealing(tmp_path: Path):
    fs = _Looked()
    store = opened(tmp_path, fs=fs)
    filled(store, many(3))
    fs.looks = 5
    assert store.seal(wait_s=0).records == 3
    fs.looks = 1000
    assert "another process" in complaint(OstinatoError, lambda: store.seal(wait_s=0))
    assert fs.looks > 900
    store.close()


FEW = """
import os, resource, sys
sys.path[:0] = sys.argv[3:]
from ostinato.store import Store
from store_helpers import QUICK, made, many
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
store, other = (Store.open(path, fs=QUICK) for path in sys.argv[1:3])
"""


def few_descriptors(tmp_path: Path, program: str) -> list[str]:
    """What a program says that has a `store` and an `other`, and 64 descriptors."""
    pytest.importorskip("resource")
    arguments = [str(tmp_path / "store"), str(tmp_path / "other"), str(Path(__file__).parent)]
    done = subprocess.run(
        [sys.executable, "-c", FEW + program, *arguments], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_many_large_journals_are_sealed_with_few_descriptors(tmp_path: Path):
    program = """
for k in range(100):
    with store.writer() as writer:
        writer.append(made(k, generated_tasm=["x" * 70_000]))
print(len(store), store.seal().records, len(store))
"""
    assert few_descriptors(tmp_path, program) == ["100", "100", "100"]


def test_many_empty_journals_are_retired_at_once_with_few_descriptors(tmp_path: Path):
    program = """
from ostinato.store import seal
seal._EMPTY = 32
for k in range(1, 101):
    open(os.path.join(store.path, "journals", f"{k:06d}.journal"), "xb").close()
store.seal()
print(len(os.listdir(os.path.join(store.path, "journals"))))
with store.writer() as writer:
    print(writer.append(made(1)) >> 24)
"""
    assert few_descriptors(tmp_path, program) == ["0", "101"]


def test_many_contexts_are_merged_with_few_descriptors(tmp_path: Path):
    program = """
for k in range(100):
    with other.writer({"k": str(k)}) as writer:
        writer.append(made(k))
other.seal()
merged = store.merge(other)
print(merged.records, len(merged.journals), len(os.listdir(os.path.join(store.path, "journals"))))
print(store.context(int(store.results().ids[99]))["k"])
"""
    assert few_descriptors(tmp_path, program) == ["100", "100", "0", "99"]
