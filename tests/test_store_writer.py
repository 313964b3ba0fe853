"""The writer: every byte of a frame, rotation, extra columns, ids, errors that say where, and what it does not load."""

from __future__ import annotations

import ast
import dataclasses
import gc
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.testing import assert_array_equal

from ostinato import BuildResult, OstinatoError, ReplayBuffer, Results, UsageError, archive
from ostinato.replay import Uniform
from ostinato.store import Extra, Store
from ostinato.store.fs import FileSystem
from ostinato.testing import FaultyFileSystem
from ostinato.text import TokenText
from record_helpers import complaint, every_way, few, more, record, record_lists, records
from store_helpers import afresh, contents, filled, ids_of, journals, made, many, opened

# from Python 3.12 on, forking a process with threads (numpy's) warns
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

long_words = st.text(st.characters(exclude_categories=["Cs"]), min_size=20, max_size=400) | st.sampled_from(
    [
        "a" * 63,
        "a" * 64,
        "a" * 65,
        "é" * 32,
        "a" * 255,
        "a" * 256,
        "a" * 257,
        "\U0001f600" * 3,
        "x" * 20_000,
        "12345678",
    ]
)
wordy = st.builds(
    lambda r, more: dataclasses.replace(r, generated_tasm=(*r.generated_tasm, *more)),
    records,
    st.lists(long_words, max_size=4),
)


class Frame:
    """A frame as FORMAT.md has it, read by hand."""

    def __init__(self, raw: bytes, at: int, salt: int) -> None:
        mark, size, self.count, word, self.crc = struct.unpack_from("<QIIII", raw, at)
        assert mark == salt ^ at
        self.first, self.kind = word & 0xFFFFFF, word >> 24
        self.payload = raw[at + 24 : at + 24 + size]
        self.end = at + 24 + size


def frames(path: str | Path) -> list[Frame]:
    raw = Path(path).read_bytes()
    context, salt = struct.unpack_from("<I", raw, 12)[0], struct.unpack_from("<Q", raw, 32)[0]
    at, out = 128 + context, []
    while at < len(raw):
        out.append(Frame(raw, at, salt))
        at = out[-1].end
    return out


def journal(store: Store, number: int = 1) -> Path:
    return Path(store.path, "journals", f"{number:06d}.journal")


def padded(raw: bytes) -> bytes:
    return raw + bytes(-len(raw) % 8)


# Bytes


@more
@given(given=st.lists(records | wordy, min_size=1, max_size=6))
def test_a_record_is_written_as_archive_dumps_writes_it(tmp_path_factory: Any, given: list[BuildResult]):
    store = opened(tmp_path_factory.mktemp("w"))
    ids = filled(store, given, one_by_one=True)
    found = frames(journal(store))
    assert [frame.payload for frame in found] == [padded(archive.dumps([r])) for r in given]
    assert [(frame.first, frame.count, frame.kind) for frame in found] == [
        (k, 1, 0) for k in range(len(given))
    ]
    assert list(store.results()) == given
    assert ids == ids_of(store.results())


@few
@given(given=record_lists.filter(bool), rest=st.lists(wordy, max_size=3))
def test_many_at_once_are_written_as_archive_dumps_writes_them(
    tmp_path_factory: Any, given: list[BuildResult], rest: list[BuildResult]
):
    store = opened(tmp_path_factory.mktemp("w"))
    filled(store, [*given, *rest])
    (frame,) = frames(journal(store))
    assert frame.payload == padded(archive.dumps([*given, *rest]))
    assert (frame.first, frame.count, frame.kind) == (0, len(given) + len(rest), 0)


@every_way
def test_however_results_were_made_they_are_written_alike(tmp_path: Path, results_of: Any):
    store = opened(tmp_path)
    with store.writer() as writer:
        writer.extend(results_of(many(10)))
    assert frames(journal(store))[0].payload == archive.dumps(many(10))


def test_words_that_were_forgotten_and_met_again_are_written_the_same(tmp_path: Path, monkeypatch: Any):
    from ostinato.store import writer as module

    monkeypatch.setattr(module, "_KNOWN", 8)
    given = many(60) + many(60)
    store = opened(tmp_path)
    filled(store, given, one_by_one=True)
    assert [frame.payload for frame in frames(journal(store))] == [padded(archive.dumps([r])) for r in given]


def test_a_frame_holds_at_most_1024_records(tmp_path: Path):
    store = opened(tmp_path)
    filled(store, many(2500))
    assert [(f.first, f.count) for f in frames(journal(store))] == [(0, 1024), (1024, 1024), (2048, 452)]


def test_long_lists_go_into_frames_of_fewer_records(tmp_path: Path):
    store = opened(tmp_path)
    long = record(generated_tasm=("push 1",) * 600_000)
    filled(store, [long, long, long, record()])
    assert [f.count for f in frames(journal(store))] == [1, 1, 2]
    assert list(store.results()) == [long, long, long, record()]


@pytest.mark.parametrize("form", ["strings", "tokens"])
def test_of_many_with_one_that_is_too_large_none_is_appended(tmp_path: Path, monkeypatch: Any, form: str):
    import ostinato.store.writer as module

    right = [made(k, generated_tasm=("add",)) for k in range(1500)]
    large = made(
        0, generated_tasm=("x" * 800, "é" * 100)
    )  # 1,000 bytes of text, 16 of records, 104 of fixed size
    given = Results.concat([[*right, large]])
    if form == "tokens":
        buffer = ReplayBuffer(2000, sampler=Uniform(), seed=0)
        buffer.extend(given)
        given = buffer.results()
        assert isinstance(given.generated_tasm, TokenText)
    store = opened(tmp_path)
    monkeypatch.setattr(module, "_CHUNK", 4)
    with store.writer() as writer:
        monkeypatch.setattr(module, "_LARGEST", 1120)
        with pytest.raises(UsageError, match="2 GiB"):
            writer.extend(given)
        assert (writer.appended, len(store)) == (0, 0)
        monkeypatch.setattr(module, "_LARGEST", 1121)  # what fits alone fits among others
        writer.extend(given)
    assert sorted(r.timestamp for r in store.results()) == sorted(r.timestamp for r in given)
    assert large in list(store.results())


def test_the_extra_columns_stand_behind_the_archive_row_by_row(tmp_path: Path):
    store = opened(tmp_path, extras={"a": "u2", "b": "f8", "c": "?"})
    with store.writer() as writer:
        writer.extend(many(2), {"a": [1, 2], "b": [0.5, -0.0], "c": [True, False]})
    rows = struct.pack("<Hd?Hd?", 1, 0.5, True, 2, -0.0, False)
    assert frames(journal(store))[0].payload == archive.dumps(many(2)) + padded(rows)


def test_the_head_stands_twice_and_says_whose_journal_it_is(tmp_path: Path):
    store = opened(tmp_path, extras={"a": Extra("u2", 0), "b": Extra("f8", 0)})
    filled(store, [], host="é")
    raw = journal(store).read_bytes()
    assert raw[:64] == raw[64:128]
    assert raw[:8] == b"OSTJRNL\n"
    version, size, _, extras, number, _, store_id = struct.unpack_from("<IIIIQQ16s", raw, 8)
    assert (version, size, extras, number, store_id.hex()) == (1, len(raw) - 128, 10, 1, store.store_id)


def test_every_journal_has_a_salt_of_its_own(tmp_path: Path):
    store = opened(tmp_path)
    for _ in range(5):
        filled(store, [])
    salts = {journal(store, n).read_bytes()[32:40] for n in range(1, 6)}
    assert len(salts) == 5


# Ids


def test_an_id_is_the_journals_number_and_an_index(tmp_path: Path):
    store = opened(tmp_path)
    a = filled(store, many(3), one_by_one=True)
    b = filled(store, many(3))
    assert (a, b) == ([(1 << 24) + k for k in range(3)], [(2 << 24) + k for k in range(3)])


def test_ids_are_never_used_again(tmp_path: Path):
    from ostinato.store import Keep

    store = opened(tmp_path)
    seen: list[int] = []
    for _ in range(3):
        seen += filled(store, many(2))
        store.compact(Keep(newest=0))
        seen += filled(store, many(1))
        store.seal()
    assert len(set(seen)) == len(seen) == 9
    assert seen == sorted(seen)


def test_nothing_extended_is_nothing(tmp_path: Path):
    store = opened(tmp_path)
    with store.writer() as writer:
        ids = writer.extend([])
        assert (ids.dtype, ids.tolist(), writer.appended, len(store)) == (np.int64, [], 0, 0)


def test_a_writer_counts_what_it_appended(tmp_path: Path):
    with opened(tmp_path).writer() as writer:
        writer.append(made(0))
        writer.extend(many(4))
        assert (writer.appended, writer.journal, repr(writer)) == (5, 1, "Writer(journal 000001, 5 appended)")
    assert (writer.journal, repr(writer)) == (0, "Writer(closed, 5 appended)")


# Rotation


def test_a_journal_that_would_grow_too_large_is_left_for_a_new_one(tmp_path: Path):
    store = opened(tmp_path)
    with store.writer({"host": "a"}, rotate_bytes=4096) as writer:
        ids = [writer.append(made(k)) for k in range(100)]
    numbers = {i >> 24 for i in ids}
    assert numbers == set(range(1, len(journals(store)) + 1))
    assert len(numbers) > 3
    assert all(journal(store, n).stat().st_size <= 4096 for n in numbers)
    assert contents(store) == dict(zip(ids, many(100), strict=True))
    assert all(store.context(i) == {"host": "a"} for i in ids)


def test_a_frame_larger_than_a_journal_may_be_has_one_of_its_own(tmp_path: Path):
    store = opened(tmp_path)
    large = made(1, generated_tasm=["x" * 9000])
    with store.writer(rotate_bytes=4096) as writer:
        ids = [writer.append(r) for r in (made(0), large, made(2))]
    assert [i >> 24 for i in ids] == [1, 2, 3]
    assert list(contents(store).values()) == [made(0), large, made(2)]


def test_a_large_first_frame_goes_into_the_journal_that_is_there(tmp_path: Path):
    store = opened(tmp_path)
    with store.writer(rotate_bytes=4096) as writer:
        writer.append(made(1, generated_tasm=["x" * 9000]))
    assert journals(store) == ["000001.journal"]


def test_a_journal_that_was_left_can_be_sealed_while_the_writer_goes_on(tmp_path: Path):
    store = opened(tmp_path)
    with store.writer(rotate_bytes=4096) as writer:
        ids = [writer.append(made(k)) for k in range(60)]
        sealed = store.seal()
        assert sealed.journals == len({i >> 24 for i in ids}) - 1
        ids.append(writer.append(made(60)))
        writer.sync()
    assert contents(store) == dict(zip(ids, many(61), strict=True))


def test_indexes_that_run_out_begin_another_journal(tmp_path: Path):
    store = opened(tmp_path)
    with store.writer() as writer:
        writer.append(made(0))
        writer._index = (1 << 24) - 2  # as if as many had been appended
        ids = [writer.append(made(k)) for k in (1, 2, 3)]
    assert ids == [(2 << 24) - 2, (2 << 24) - 1, 2 << 24]
    assert [store.get(i) for i in ids] == [made(1), made(2), made(3)]


# Extra columns

EXTRAS: dict[str, Any] = {
    "logp": Extra("f4", float("nan")),
    "parent": Extra("i8", -1),
    "flag": "?",
    "big": Extra("u8", 0),
}


def test_extra_columns_come_back_with_their_dtypes_and_defaults(tmp_path: Path):
    store = opened(tmp_path, extras=EXTRAS)
    with store.writer() as writer:
        writer.append(made(0), {"flag": True})
        writer.append(made(1), {"flag": False, "logp": -1.5, "parent": 2**62, "big": 2**64 - 1})
        writer.extend(
            many(3, 2), {"flag": [True, False, True], "logp": np.float64(0.25), "parent": np.arange(3)}
        )
    for _ in range(2):
        extras = store.results().extras
        assert {name: column.dtype.str for name, column in extras.items()} == {
            "logp": "<f4", "parent": "<i8", "flag": "|b1", "big": "<u8",
        }  # fmt: skip
        assert_array_equal(extras["logp"], np.array([np.nan, -1.5, 0.25, 0.25, 0.25], "f4"))
        assert_array_equal(extras["parent"], [-1, 2**62, 0, 1, 2])
        assert_array_equal(extras["flag"], [True, False, True, False, True])
        assert_array_equal(extras["big"], np.array([0, 2**64 - 1, 0, 0, 0], "u8"))
        store.seal()


def test_the_bits_of_a_float_are_kept(tmp_path: Path):
    store = opened(tmp_path, extras={"x": "f8"})
    values = np.array([0x7FF8000000000123, 0x8000000000000000, 0x7FF0000000000000, 1], "u8").view("f8")
    with store.writer() as writer:
        writer.extend(many(4), {"x": values})
    before = store.results().extras["x"].view("u8")
    store.compact()
    assert_array_equal(before, values.view("u8"))
    assert_array_equal(store.results().extras["x"].view("u8"), values.view("u8"))


@pytest.mark.parametrize(
    ("extras", "where"),
    [
        (None, "extras[flag]"),
        ({}, "extras[flag]"),
        ({"flag": True, "other": 1}, "extras[other]"),
        ({"flag": 2}, "extras[flag]"),
        ({"flag": "yes"}, "extras[flag]"),
        ({"flag": True, "parent": 2**63}, "extras[parent]"),
        ({"flag": True, "parent": 1.5}, "extras[parent]"),
        ({"flag": True, "parent": float("nan")}, "extras[parent]"),
        ({"flag": True, "big": -1}, "extras[big]"),
        ({"flag": True, "logp": 1e300}, "extras[logp]"),
        ({"flag": True, "logp": 1j}, "extras[logp]"),
        ({"flag": True, "logp": [[1.0]]}, "extras[logp]"),
        ({"flag": True, "logp": [1.0, 2.0]}, "extras[logp]"),
        ({"flag": True, "logp": object()}, "extras[logp]"),
    ],
)
def test_extra_columns_that_do_not_fit_are_refused_and_nothing_is_appended(
    tmp_path: Path, extras: Any, where: str
):
    store = opened(tmp_path, extras=EXTRAS)
    with store.writer() as writer:
        assert f"`{where}`" in complaint(UsageError, writer.append, made(0), extras)
        assert f"`{where}`" in complaint(UsageError, writer.extend, [made(0)], extras)
        assert (len(store), writer.appended) == (0, 0)
        writer.append(made(1), {"flag": True})
    assert list(store.results()) == [made(1)]


def test_a_column_of_another_length_is_refused(tmp_path: Path):
    store = opened(tmp_path, extras={"x": "i4"})
    with store.writer() as writer:
        assert "`extras[x]`" in complaint(UsageError, writer.extend, many(3), {"x": [1, 2]})
    assert len(store) == 0


def test_a_store_without_columns_takes_none(tmp_path: Path):
    with opened(tmp_path).writer() as writer:
        assert "none" in complaint(UsageError, writer.append, made(0), {"x": 1})
        assert "`extras[x]`" in complaint(UsageError, writer.extend, many(2), {"x": 1})


# Errors


@pytest.mark.parametrize("wrong", [None, 3, {"tir_hash": bytes(32)}, [made(0)]])
def test_what_is_no_build_result_is_refused(tmp_path: Path, wrong: Any):
    with opened(tmp_path).writer() as writer:
        assert "`result`" in complaint(UsageError, writer.append, wrong)
        assert writer.appended == 0


@pytest.mark.parametrize("wrong", [[3], [made(0), None], 3])
def test_what_are_no_build_results_is_refused_and_none_is_appended(tmp_path: Path, wrong: Any):
    store = opened(tmp_path)
    with store.writer() as writer, pytest.raises((UsageError, TypeError)):
        writer.extend(wrong)
    assert len(store) == 0


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"durability": "fsync"}, "durability"),
        ({"interval_ms": 0}, "interval_ms"),
        ({"interval_ms": float("nan")}, "interval_ms"),
        ({"interval_ms": "soon"}, "interval_ms"),
        ({"rotate_bytes": 4095}, "rotate_bytes"),
        ({"rotate_bytes": 2**31}, "rotate_bytes"),
        ({"rotate_bytes": 1e6}, "rotate_bytes"),
        ({"context": {"a": 1}}, "context[a]"),
        ({"context": {1: "a"}}, "context[1]"),
        ({"context": "host"}, "context"),
        ({"context": {"a": "\ud800"}}, "context"),
        ({"context": {"a": "x" * 2**20}}, "context"),
    ],
)
def test_a_setting_that_is_none_is_refused_and_no_journal_is_made(tmp_path: Path, settings: Any, where: str):
    store = opened(tmp_path)
    assert f"`{where}`" in complaint(UsageError, store.writer, **settings)
    assert journals(store) == []


@pytest.mark.parametrize(
    "act",
    [lambda w: w.append(made(0)), lambda w: w.extend(many(2)), lambda w: w.extend([]), lambda w: w.sync()],
)
def test_a_closed_writer_refuses(tmp_path: Path, act: Any):
    store = opened(tmp_path)
    writer = store.writer()
    writer.append(made(0))
    writer.close()
    writer.close()
    assert "`writer`" in complaint(UsageError, act, writer)
    assert len(store) == 1


def test_a_context_as_large_as_may_be_is_kept(tmp_path: Path):
    store = opened(tmp_path)
    (identity,) = filled(store, [made(0)], note="é" * 500_000)
    assert store.context(identity) == {"note": "é" * 500_000}
    store.seal()
    assert store.context(identity) == {"note": "é" * 500_000}


def test_what_the_caller_does_to_its_context_afterwards_does_not_matter(tmp_path: Path):
    store = opened(tmp_path)
    context = {"host": "a"}
    with store.writer(context, rotate_bytes=4096) as writer:
        context["host"] = "b"
        ids = [writer.append(made(k)) for k in range(60)]
    assert {store.context(i)["host"] for i in ids} == {"a"}


def test_after_an_error_of_the_system_the_writer_goes_on_in_another_journal(tmp_path: Path):
    store = opened(tmp_path)
    fs = FaultyFileSystem(tmp_path)
    with Store.open(store.path, fs=fs).writer() as writer:
        a = writer.append(made(0))
        fs.fail_at(fs.calls + 1, 28)
        with pytest.raises(OSError, match=os.strerror(28)):
            writer.append(made(1))
        b = writer.append(made(2))
    assert contents(store) == {a: made(0), b: made(2)}
    assert (a >> 24, b >> 24) == (1, 2)


def test_a_write_that_was_cut_short_is_completed(tmp_path: Path):
    store = opened(tmp_path)
    fs = FaultyFileSystem(tmp_path)
    with Store.open(store.path, fs=fs).writer() as writer:
        fs.fail_at(fs.calls + 1, "short")
        ids = [writer.append(r) for r in many(2)]
    assert contents(store) == dict(zip(ids, many(2), strict=True))


# Durability


@pytest.mark.parametrize("durability", ["system", "group", "each"])
def test_what_was_synced_survives_the_power(tmp_path: Path, durability: Any):
    fs = FaultyFileSystem(tmp_path)
    store = opened(tmp_path, fs=fs)
    writer = store.writer({"host": "a"}, durability=durability, interval_ms=1e6, rotate_bytes=4096)
    ids = [writer.append(made(k)) for k in range(50)]
    if durability != "each":
        writer.sync()
    fs.crash(keep="none")
    again = opened(tmp_path)
    assert contents(again) == dict(zip(ids, many(50), strict=True))
    assert again.context(ids[0]) == {"host": "a"}


def test_closing_keeps_a_group_writers_promise(tmp_path: Path):
    fs = FaultyFileSystem(tmp_path)
    with opened(tmp_path, fs=fs).writer(durability="group", interval_ms=1e6) as writer:
        ids = [writer.append(made(k)) for k in range(3)]
    fs.crash(keep="none")
    assert list(contents(opened(tmp_path))) == ids


def test_a_group_is_synced_without_being_asked(tmp_path: Path):
    fs = FaultyFileSystem(tmp_path)
    writer = opened(tmp_path, fs=fs).writer(durability="group", interval_ms=1)
    ids = [writer.append(made(0))]
    ticks = threading.Event()
    for _ in range(3000):
        if [call.name for call in fs.log].count(
            "sync_folder"
        ) == 2:  # that of the store's folder is the last step
            break
        ticks.wait(0.01)
    fs.crash(keep="none")
    assert list(contents(opened(tmp_path))) == ids


@pytest.mark.parametrize(
    "act",
    [lambda w: w.append(made(1)), lambda w: w.extend(many(3)), lambda w: w.sync()],
    ids=["append", "extend", "sync"],
)
def test_an_error_of_the_sync_in_the_background_is_told_once_and_before_anything_is_appended(
    tmp_path: Path, act: Any
):
    fs = FaultyFileSystem(tmp_path)
    store = opened(tmp_path, fs=fs)
    with store.writer(durability="group", interval_ms=1) as writer:
        fs.fail_from(1, 5, only=["sync"])
        a = writer.append(made(0))
        ticks = threading.Event()
        for _ in range(3000):
            if writer._failed is not None:
                break
            ticks.wait(0.01)
        fs.mend()
        with pytest.raises(OSError, match=os.strerror(5)):
            act(writer)
        b = writer.append(made(2))
    assert afresh(opened(tmp_path)) == {a: made(0), b: made(2)}


def test_such_an_error_is_told_by_close_at_the_latest(tmp_path: Path):
    fs = FaultyFileSystem(tmp_path)
    writer = opened(tmp_path, fs=fs).writer(durability="group", interval_ms=1e6)
    writer.append(made(0))
    fs.fail_from(1, 5, only=["sync"])
    with pytest.raises(OSError, match=os.strerror(5)):
        writer.close()
    writer.close()
    assert writer.journal == 0


def test_a_group_writer_that_is_dropped_keeps_its_promise_first(tmp_path: Path):
    fs = FaultyFileSystem(tmp_path)
    writer = opened(tmp_path, fs=fs).writer(durability="group", interval_ms=1e6, rotate_bytes=4096)
    ids = [writer.append(made(k)) for k in range(50)]
    assert ids[-1] >> 24 > 1  # journals were left
    del writer
    gc.collect()
    fs.crash(keep="none")
    assert list(contents(opened(tmp_path))) == ids


def test_the_thread_of_a_writer_that_is_dropped_ends(tmp_path: Path, monkeypatch: Any):
    import ostinato.store.writer as module

    monkeypatch.setattr(module, "_LOOK_S", 0.01)
    store = opened(tmp_path)
    writer = store.writer(durability="group", interval_ms=1e6)
    writer.append(made(0))
    thread = writer._thread
    assert thread is not None
    assert thread.is_alive()
    del writer
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()
    assert store.seal().records == 1


# Calls within calls, as from a signal handler


@pytest.mark.parametrize(
    "act",
    [
        lambda w: w.append(made(7)),
        lambda w: w.extend(many(3)),
        lambda w: w.amend(1 << 24, 1, "no", made(7)),
        lambda w: w.sync(),
        lambda w: w.close(),
    ],
    ids=["append", "extend", "amend", "sync", "close"],
)
@pytest.mark.parametrize("within", ["write_at", "sync"])
def test_a_call_within_an_append_or_a_sync_of_the_same_thread_is_refused(
    tmp_path: Path, within: str, act: Any
):
    class Interrupted(FileSystem):
        """Has something done in the middle of a call, once."""

        then: Any = None

        def now(self, name: str) -> None:
            if name == within and self.then is not None:
                then, self.then = self.then, None
                then()

        def write_at(self, fd: int, data: Any, offset: int) -> int:
            self.now("write_at")
            return super().write_at(fd, data, offset)

        def sync(self, fd: int) -> None:
            self.now("sync")
            super().sync(fd)

    fs = Interrupted()
    store = opened(tmp_path, fs=fs)
    refused = []
    with store.writer() as writer:

        def handler() -> None:
            with pytest.raises(OstinatoError, match="in the middle"):
                act(writer)
            refused.append(within)

        fs.then = handler
        ids = [writer.append(made(0))]
        writer.sync()
        assert refused == [within]
        ids.append(writer.append(made(1)))
    assert contents(store) == dict(zip(ids, many(2), strict=True))
    assert ids == [1 << 24, (1 << 24) + 1]  # and it went on where it was


# Forks


def test_a_forked_child_goes_on_in_a_journal_of_its_own(tmp_path: Path):
    store = opened(tmp_path)
    writer = store.writer({"host": "a"})
    ids = [writer.append(made(0))]
    child = os.fork()
    if not child:
        try:
            writer.append(made(1))
            writer.append(made(2))
            writer.close()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    ids.append(writer.append(made(3)))
    writer.close()
    assert {i: store.get(i) for i in ids} == {ids[0]: made(0), ids[1]: made(3)}
    assert list(store.results()) == [made(0), made(3), made(1), made(2)]
    assert {store.context(int(i))["host"] for i in store.results().ids} == {"a"}


def test_a_child_that_lives_on_does_not_keep_its_parents_journal_open(tmp_path: Path):
    store = opened(tmp_path)
    writer = store.writer()
    writer.append(made(0))
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    writer.close()
    try:
        assert store.seal().journals == 1
    finally:
        os.write(go[1], b"x")
        os.waitpid(child, 0)


# What it costs to import

APPEND = """
import sys
from ostinato import BuildResult
from ostinato.store import Store
record = BuildResult(tir_hash=bytes(32), generated_tasm=["push 1", "a long instruction"], valid=True, clock_cycles=None,
    compiler_cycles=10, fallback_used=False, timestamp=0, model_version=1)
with Store.open(sys.argv[1], extras={"x": "f4"}).writer({"host": "a"}) as writer:
    writer.append(record, {"x": 1})
    writer.extend([record] * 3, {"x": [1, 2, 3]})
    writer.sync()
names = ["numba", "llvmlite", "sqlite3", "typer", "rich", "ostinato.replay"]
print([name for name in names if name in sys.modules])
"""


def test_appending_loads_neither_numba_nor_sqlite_nor_the_command_line(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", APPEND, str(tmp_path / "store")], capture_output=True, text=True, check=True
    )
    assert [name for name in ast.literal_eval(done.stdout) if name != "ostinato.replay"] == []
    assert len(opened(tmp_path)) == 4


def test_extending_takes_any_iterable(tmp_path: Path):
    store = opened(tmp_path)
    given: list[Sequence[BuildResult] | Results] = [tuple(many(2)), Results.concat([many(2, 2)])]
    with store.writer() as writer:
        for part in given:
            writer.extend(part)
        writer.extend(made(k) for k in (4, 5))
        writer.extend(store.results()[:1])
    assert list(store.results()) == [*many(6), made(0)]
