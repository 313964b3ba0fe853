"""The store as its users meet it: opening, appending, reading, following, closing, many objects and threads."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import ostinato.store
from crash_helpers import child
from ostinato import DamageError, Results, UsageError, archive
from ostinato.store import Cursor, Extra, Keep, Records, Store, Writer
from ostinato.store.fs import FileSystem
from record_helpers import complaint
from store_helpers import contents, filled, ids_of, journals, made, many, opened, segments

# from Python 3.12 on, forking a process with threads (numpy's) warns
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path) as store:
        yield store


# Opening


def test_a_new_store_is_empty(store: Store):
    records = store.results()
    assert (len(store), len(records), records.damaged, ids_of(records)) == (0, 0, 0, [])


def test_a_store_is_a_folder_that_ls_explains(store: Store):
    filled(store, many(3))
    assert sorted(os.listdir(store.path)) == ["LOCK", "MANIFEST", "MANIFEST.copy", "journals", "segments"]
    assert journals(store) == ["000001.journal"]


def test_missing_folders_above_are_made(tmp_path: Path):
    assert len(Store.open(tmp_path / "a" / "b" / "c")) == 0


def test_a_path_may_be_text(tmp_path: Path):
    filled(Store.open(f"{tmp_path}/store"), many(2))
    assert len(Store.open(tmp_path / "store")) == 2


def test_the_same_store_is_opened_again(store: Store):
    ids = filled(store, many(5))
    again = Store.open(store.path)
    assert (again.store_id, contents(again)) == (store.store_id, dict(zip(ids, many(5), strict=True)))


def test_two_stores_have_different_names(tmp_path: Path):
    a, b = opened(tmp_path, "a"), opened(tmp_path, "b")
    assert (a.store_id == b.store_id, len(a.store_id)) == (False, 32)


def test_without_create_a_missing_store_is_not_made(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="MANIFEST"):
        Store.open(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()


def test_without_create_a_folder_that_is_no_store_stays_as_it_is(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        Store.open(tmp_path, create=False)
    assert os.listdir(tmp_path) == []


def test_a_folder_with_other_things_is_refused_and_stays_as_it_is(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("mine")
    assert "thesis.tex" in complaint(UsageError, Store.open, tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_file_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    assert "is a file" in complaint(UsageError, Store.open, tmp_path / "file")


def test_an_empty_path_is_refused():
    assert "`path`" in complaint(UsageError, Store.open, "")


def test_a_store_whose_manifest_is_gone_is_refused_not_made_anew(store: Store):
    filled(store, many(3))
    os.unlink(Path(store.path, "MANIFEST"))
    assert "MANIFEST is missing" in complaint(DamageError, Store.open, store.path)
    assert journals(store) == ["000001.journal"]


def test_the_same_of_a_store_with_a_catalog(store: Store):
    filled(store, many(3))
    store.seal()
    store.close()
    os.unlink(Path(store.path, "MANIFEST"))
    assert "MANIFEST is missing" in complaint(DamageError, Store.open, store.path)


def test_what_a_killed_creation_left_is_completed(tmp_path: Path):
    root = tmp_path / "store"
    for name in ("journals", "segments"):
        (root / name).mkdir(parents=True)
    (root / "LOCK").touch()
    (root / ".MANIFEST.copy.0123.tmp").write_text("half")
    assert len(filled(Store.open(root), many(2))) == 2


def test_of_many_threads_that_create_one_store_all_get_the_same(tmp_path: Path):
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(opened(tmp_path).store_id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), len(set(found))) == (8, 1)


# Extra columns


def test_extra_columns_are_the_same_when_opened_again(tmp_path: Path):
    declared = {"logp": Extra("f4", float("nan")), "parent": Extra("i8", -1), "flag": "?"}
    first = opened(tmp_path, extras=declared)
    assert opened(tmp_path, extras=declared).extras == opened(tmp_path).extras == first.extras


def test_extra_columns_are_kept_little_endian(tmp_path: Path):
    store = opened(tmp_path, extras={"a": ">u2", "b": "f8"})
    assert {name: extra.kind.str for name, extra in store.extras.items()} == {"a": "<u2", "b": "<f8"}


@pytest.mark.parametrize(
    ("other", "word"),
    [
        ({}, "(none)"),
        ({"logp": "f8"}, "float64"),
        ({"logq": "f4"}, "logq"),
        ({"logp": Extra("f4", 1.5)}, "1.5"),
        ({"logp": "f4", "more": "?"}, "more"),
    ],
)
def test_other_extra_columns_than_the_stores_are_refused(tmp_path: Path, other: Any, word: str):
    opened(tmp_path, extras={"logp": "f4"})
    assert word in complaint(UsageError, opened, tmp_path, extras=other)


@pytest.mark.parametrize(
    "wrong",
    [
        {"a b": "f4"},
        {"": "f4"},
        {"é": "f4"},
        {"x" * 65: "f4"},
        {"a": "U4"},
        {"a": "O"},
        {"a": "c16"},
        {"a": "f16"},
        {"a": "M8[s]"},
        {"a": "no dtype"},
        {"a": [("x", "f4")]},
        {3: "f4"},
        {f"c{i}": "f4" for i in range(257)},
    ],
)
def test_what_is_no_extra_column_is_refused_and_nothing_is_made(tmp_path: Path, wrong: Any):
    assert "extras" in complaint(UsageError, opened, tmp_path, extras=wrong)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("default", [300, -1, "a", 1.5])
def test_a_default_that_does_not_fit_is_refused(default: Any):
    assert "extras" in complaint(UsageError, Extra, "u1", default)


def test_the_stores_extras_are_a_copy(tmp_path: Path):
    store = opened(tmp_path, extras={"a": "f4"})
    store.extras.clear()
    assert list(store.extras) == ["a"]


# Reading


def test_results_are_in_the_order_in_which_they_were_appended(store: Store):
    ids = filled(store, many(10), one_by_one=True) + filled(store, many(2000, 10))
    records = store.results()
    assert (list(records), ids_of(records)) == (many(2010), ids)


def test_results_are_results(store: Store):
    filled(store, many(20))
    records = store.results()
    assert isinstance(records, Results)
    assert archive.dumps(records) == archive.dumps(many(20))


def test_a_record_is_there_as_soon_as_append_returns(store: Store):
    reader = Store.open(store.path)
    with store.writer() as writer:
        for k in range(20):
            identity = writer.append(made(k))
            assert (len(reader), reader.get(identity), len(store)) == (k + 1, made(k), k + 1)


def test_since_a_cursor_gives_only_what_is_new(store: Store):
    filled(store, many(5))
    first = store.results()
    with store.writer() as writer:
        ids = [writer.append(made(k)) for k in (5, 6)]
        second = store.results(since=first.cursor)
        more = [writer.append(made(7))]
        third = store.results(since=second.cursor)
    fourth = store.results(since=third.cursor)
    assert [ids_of(r) for r in (second, third, fourth)] == [ids, more, []]
    assert list(third) == [made(7)]


def test_an_old_cursor_gives_all_since_then_again(store: Store):
    filled(store, many(5))
    old = store.results().cursor
    ids = filled(store, many(3, 5))
    assert [ids_of(store.results(since=old)) for _ in range(3)] == [ids] * 3


def test_a_cursor_outlives_sealing_and_compacting(store: Store):
    filled(store, many(5))
    cursor = store.results().cursor
    ids = filled(store, many(3, 5))
    store.seal()
    assert ids_of(store.results(since=cursor)) == ids
    ids += filled(store, many(2, 8))
    store.compact()
    assert sorted(ids_of(store.results(since=cursor))) == ids


def test_a_cursor_goes_through_text_to_another_process(store: Store):
    filled(store, many(5))
    text = store.results().cursor.to_json()
    ids = filled(store, many(2, 5))
    assert ids_of(Store.open(store.path).results(since=Cursor.from_json(text))) == ids


def test_the_cursor_of_a_part_of_a_journal_in_work_goes_on_in_it(store: Store):
    with store.writer() as writer:
        writer.append(made(0))
        cursor = store.results().cursor
        writer.append(made(1))
    store.seal()
    assert list(store.results(since=cursor)) == [made(1)]


@pytest.mark.parametrize("wrong", [3, "[]", [(0, 1)]])
def test_what_is_no_cursor_is_refused(store: Store, wrong: Any):
    for read in (
        store.results,
        lambda since: next(store.parts(since)),
        lambda since: next(store.follow(since)),
    ):
        assert "`since`" in complaint(UsageError, read, wrong)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[1]", "[[1]]", "[[1,2,3]]", '[["a",2]]', "[[2,1]]", "[[-1,2]]", "[[0,1e3]]", "[[true,2]]"],
)
def test_text_that_is_no_cursor_is_refused(text: str):
    complaint(UsageError, Cursor.from_json, text)


def test_a_cursor_is_its_set_of_ids():
    a = Cursor.of([(5, 7), (0, 3), (3, 4), (6, 9), (20, 20)])
    assert a.ranges() == [(0, 4), (5, 9)]
    assert (a == Cursor.from_json(a.to_json()), hash(a) == hash(Cursor.of([(0, 4), (5, 9)]))) == (True, True)
    assert_array_equal(a.seen(np.arange(11)), [1, 1, 1, 1, 0, 1, 1, 1, 1, 0, 0])
    assert [a.has_none(*r) for r in [(4, 5), (3, 5), (9, 99), (4, 6), (0, 99)]] == [
        True,
        False,
        True,
        False,
        False,
    ]
    assert a.union([(4, 5)]).ranges() == [(0, 9)]
    assert Cursor().ranges() == []


def test_parts_are_all_records_some_at_a_time(store: Store):
    ids = filled(store, many(25))
    store.seal()
    ids += filled(store, many(7, 25), one_by_one=True)
    parts = list(store.parts(size=10))
    assert [len(part) for part in parts] == [10, 10, 5, 7]
    assert [i for part in parts for i in ids_of(part)] == ids
    assert [r for part in parts for r in part] == many(32)


def test_the_cursor_of_each_part_is_where_to_go_on(store: Store):
    filled(store, many(25))
    store.seal()
    filled(store, many(7, 25))
    for part in store.parts(size=4):
        rest = store.results(since=part.cursor)
        assert list(rest) == many(32)[32 - len(rest) :]
        assert len(rest) == 31 - part[-1].timestamp + made(0).timestamp


def test_parts_since_a_cursor_are_what_is_new(store: Store):
    filled(store, many(5))
    cursor = store.results().cursor
    filled(store, many(5, 5))
    assert [list(part) for part in store.parts(cursor, size=3)] == [many(3, 5), many(2, 8)]


@pytest.mark.parametrize("size", [0, -1, 1.5, "3"])
def test_a_size_of_parts_below_one_is_refused(store: Store, size: Any):
    assert "`size`" in complaint(UsageError, lambda: next(store.parts(size=size)))


def test_one_record_by_its_id(store: Store):
    ids = filled(store, many(3)) + filled(store, many(3, 3), one_by_one=True)
    store.seal()
    ids += filled(store, many(3, 6))
    assert [store.get(i) for i in ids] == many(9)
    assert store.get(np.int64(ids[4])) == made(4)


@pytest.mark.parametrize("wrong", [0, -1, 3, 2**24 + 5, 2 << 24, 2**63, 2**70, 1.5, "1", None, True])
def test_an_id_that_is_not_there_is_refused(store: Store, wrong: Any):
    filled(store, many(5))
    for read in (store.get, store.context):
        assert "`identity`" in complaint(UsageError, read, wrong)
    store.seal()
    assert "`identity`" in complaint(UsageError, store.get, wrong)


def test_every_record_has_the_context_of_its_writer(store: Store):
    a = filled(store, many(2), host="a", toolchain="é\n")
    store.seal()
    b = filled(store, many(2, 2), host="b")
    c = filled(store, many(1, 4))
    records = store.results()
    expected = [{"host": "a", "toolchain": "é\n"}] * 2 + [{"host": "b"}] * 2 + [{}]
    assert [records.context(i) for i in range(5)] == expected
    assert [store.context(i) for i in a + b + c] == expected


def test_records_that_are_held_stay_as_they_are_whatever_becomes_of_the_store(store: Store):
    from ostinato.store import Keep

    filled(store, many(50), host="a")
    before = store.results()
    store.seal()
    sealed = store.results()
    store.compact(Keep(newest=0))
    assert len(store) == 0
    store.close()
    for records in (before, sealed):
        assert list(records) == many(50)
        assert records.context(49) == {"host": "a"}


def test_some_of_the_records_are_records(tmp_path: Path):
    store = opened(tmp_path, extras={"x": "i4"})
    with store.writer({"host": "a"}) as writer:
        ids = writer.extend(many(10), {"x": np.arange(10)})
    records = store.results()
    mask = np.arange(10) % 2 == 0
    for index in (slice(2, 8, 3), [3, 1, -1], mask, [], np.array([5])):
        some = records[index]
        where = np.arange(10)[
            index if isinstance(index, slice) else np.array(index, None if len(index) else int)
        ]
        assert isinstance(some, Records)
        assert_array_equal(some.ids, ids[where])
        assert_array_equal(some.extras["x"], where)
        assert list(some) == [made(int(k)) for k in where]
        assert [some.context(i) for i in range(len(some))] == [{"host": "a"}] * len(where)
    assert records[3] == made(3)


def test_what_records_hand_out_cannot_be_written_to(tmp_path: Path):
    store = opened(tmp_path, extras={"x": Extra("i4", 7)})
    filled(store, many(3))
    records = store.results()
    for array in (records.ids, records.extras["x"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


# Following


def test_follow_gives_what_is_there_and_what_comes(store: Store):
    filled(store, many(3))
    stream = store.follow(poll_s=0.001, timeout_s=30)
    assert list(next(stream)) == many(3)
    with store.writer() as writer:
        writer.append(made(3))
        assert list(next(stream)) == [made(3)]
        writer.extend(many(2, 4))
        assert list(next(stream)) == many(2, 4)


def test_follow_waits_for_what_another_thread_appends(store: Store):
    stream = store.follow(poll_s=0.001, timeout_s=30)
    writer = threading.Timer(0.05, lambda: filled(store, many(3)))
    writer.start()
    assert list(next(stream)) == many(3)
    writer.join()


def test_follow_ends_when_nothing_comes_for_so_long(store: Store):
    filled(store, many(3))
    assert [list(part) for part in store.follow(poll_s=0.001, timeout_s=0.02)] == [many(3)]


def test_follow_begins_after_a_cursor_and_its_parts_have_cursors(store: Store):
    filled(store, many(3))
    first = next(store.follow())
    ids = filled(store, many(2, 3))
    assert [ids_of(part) for part in store.follow(first.cursor, timeout_s=0)] == [ids]


def test_follow_tells_nothing_twice_when_journals_are_sealed_and_compacted(store: Store):
    told: list[int] = []
    stream = store.follow(poll_s=0.001, timeout_s=30)
    expected: list[int] = []
    for k in range(6):
        expected += filled(store, many(3, 3 * k))
        if k % 2:
            store.seal()
        if k == 4:
            store.compact()
        while len(told) < len(expected):
            told += ids_of(next(stream))
    assert told == expected


# What changes while it is read


class Between(FileSystem):
    """Does something the n-th time that somebody looks at MANIFEST."""

    def __init__(self) -> None:
        self.left = -1
        self.what: Any = None

    def at(self, n: int, what: Any) -> None:
        self.left, self.what = n, what

    def status(self, path: str) -> os.stat_result:
        if os.path.basename(path) == "MANIFEST":
            self.left -= 1
            if self.left == 0:
                self.what()
        return super().status(path)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("act", ["seal", "compact", "both"])
def test_records_that_are_sealed_while_they_are_looked_for_are_told_of_once(tmp_path: Path, n: int, act: str):
    fs = Between()
    with opened(tmp_path) as store, Store.open(store.path, fs=fs) as reader:
        buffer = reader.replay(100, seed=1)
        ids = filled(store, many(3))
        store.seal()
        ids += filled(store, many(4, 3))
        acts = {"seal": store.seal, "compact": store.compact, "both": lambda: (store.seal(), store.compact())}
        fs.at(n, acts[act])
        assert sorted(ids_of(reader.results())) == ids
        fs.at(n, acts[act])
        ids += filled(store, many(2, 7))
        buffer.refresh()
        assert (sorted(buffer.ids().tolist()), buffer.damaged) == (ids, 0)
        assert {i: buffer.get(i) for i in ids} == contents(store)


@pytest.mark.parametrize("n", [1, 2])
def test_records_that_a_policy_removes_while_they_are_looked_for_are_not_told_of(tmp_path: Path, n: int):
    from ostinato.store import Keep

    fs = Between()
    with opened(tmp_path) as store, Store.open(store.path, fs=fs) as reader:
        buffer = reader.replay(100, seed=1)
        ids = filled(store, many(6))
        fs.at(n, lambda: store.compact(Keep(newest=2)))
        buffer.refresh()
        buffer.refresh()
        assert (buffer.ids().tolist(), buffer.damaged) == (ids[-2:], 0)


class Descriptors(FileSystem):
    """Has no descriptors left after so many journals."""

    left = 10**9

    def open(self, path: str) -> int:
        if path.endswith(".journal"):
            self.left -= 1
            if self.left < 0:
                raise OSError(24, os.strerror(24), path)
        return super().open(path)


def test_what_a_look_that_failed_had_found_is_told_by_the_next(tmp_path: Path):
    fs = Descriptors()
    with opened(tmp_path) as store, Store.open(store.path, fs=fs) as reader:
        buffer = reader.replay(100)
        stream = reader.follow(poll_s=0.001, timeout_s=0)
        ids = [i for k in range(4) for i in filled(store, many(3, 3 * k))]
        fs.left = 2
        with pytest.raises(OSError, match=os.strerror(24)):
            buffer.refresh()
        fs.left = 2
        with pytest.raises(OSError, match=os.strerror(24)):
            reader.results()
        fs.left = 10**9
        assert (buffer.refresh(), sorted(buffer.ids().tolist())) == (12, ids)
        assert ids_of(reader.results()) == ids
        assert [i for part in stream for i in ids_of(part)] == ids


# Objects, threads, forks


def test_a_closed_store_opens_again_when_it_is_used(store: Store):
    ids = filled(store, many(3))
    records = store.results()
    store.close()
    store.close()
    assert list(records) == many(3)
    assert contents(store) == dict(zip(ids, many(3), strict=True))
    assert ids_of(store.results(since=records.cursor)) == []


def test_two_objects_of_one_store_see_what_the_other_does(store: Store):
    other = Store.open(store.path)
    ids = filled(store, many(3)) + filled(other, many(3, 3))
    assert contents(store) == contents(other) == dict(zip(ids, many(6), strict=True))
    other.seal()
    assert contents(store) == contents(other) == dict(zip(ids, many(6), strict=True))
    assert (journals(store), segments(store)) == ([], ["000001"])


def test_writers_at_the_same_time_have_a_journal_each(store: Store):
    with store.writer() as a, store.writer() as b:
        assert (a.journal, b.journal) == (1, 2)
        ids = [(a if k % 2 else b).append(made(k)) for k in range(6)]
    assert contents(store) == dict(zip(ids, many(6), strict=True))


def test_threads_may_share_a_writer_and_a_store(store: Store):
    found: dict[int, int] = {}
    errors: list[BaseException] = []
    done = threading.Event()

    def append(writer: Writer, first: int) -> None:
        try:
            for k in range(first, first + 200):
                found[writer.append(made(k))] = k
        except BaseException as error:
            errors.append(error)

    def read() -> None:
        try:
            cursor, seen = Cursor(), 0
            while not done.is_set():
                new = store.results(since=cursor)
                cursor, seen = new.cursor, seen + len(new)
            new = store.results(since=cursor)
            assert seen + len(new) == 800
        except BaseException as error:
            errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    with store.writer() as writer:
        threads = [threading.Thread(target=append, args=(writer, 200 * i)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    done.set()
    reader.join()
    assert errors == []
    assert contents(store) == {i: made(k) for i, k in found.items()}
    assert sorted(found.values()) == list(range(800))


def test_a_forked_child_can_use_the_store_though_another_thread_was_reading(store: Store):
    filled(store, many(3))
    len(store)
    holding, release = threading.Event(), threading.Event()

    def hold() -> None:
        with store._reading():
            holding.set()
            release.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait()
    child = os.fork()
    if not child:
        try:
            filled(store, many(1, 3))
            os._exit(len(store))
        finally:
            os._exit(99)
    release.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
    assert list(store.results()) == many(4)


def test_a_store_says_where_it_is(store: Store):
    assert (repr(store), store.path) == (f"Store({store.path!r})", os.path.realpath(store.path))


def test_a_read_only_folder_can_be_read(tmp_path: Path):
    from ostinato.testing import FaultyFileSystem

    with opened(tmp_path) as store:
        ids = filled(store, many(3))
        store.seal()
        ids += filled(store, many(3, 3))
    fs = FaultyFileSystem(tmp_path)
    fs.fail_from(1, 30)  # EROFS at all that would change something
    with Store.open(store.path, fs=fs) as reader:
        assert contents(reader) == dict(zip(ids, many(6), strict=True))
        assert len(reader.replay(10)) == 6
        with pytest.raises(OSError, match=os.strerror(30)):
            reader.writer()


@pytest.mark.parametrize("name", sorted(ostinato.store.__all__))
def test_every_public_method_says_what_it_does(name: str):
    silent = []
    public = getattr(ostinato.store, name)
    for member in (m for m in dir(public) if not m.startswith("_")):
        found = inspect.getattr_static(public, member)
        function = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
        if inspect.isfunction(function) and not inspect.getdoc(getattr(public, member)):
            silent.append(member)
    assert silent == []


# Arguments


class Four:
    """An int to whoever asks for one."""

    def __index__(self) -> int:
        return 4


@pytest.mark.parametrize("path", [None, b"store", 3, "", "a\0b"])
def test_what_is_no_path_is_refused_by_name(path: Any):
    assert "`path`" in complaint(UsageError, Store.open, path)


@pytest.mark.parametrize("extras", [["loss"], "loss", 3])
def test_extra_columns_without_dtypes_are_refused_by_name(tmp_path: Path, extras: Any):
    assert "`extras`" in complaint(UsageError, opened, tmp_path, extras=extras)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("four", [np.int64(4), np.uint8(4), Four()], ids=["int64", "uint8", "index"])
def test_whatever_is_an_int_may_be_one(store: Store, tmp_path: Path, four: Any):
    size = four if isinstance(four, Four) else np.int64(1 << 16)
    ids = filled(store, many(10))
    assert [len(part) for part in store.parts(size=four)] == [4, 4, 2]
    assert store.export(tmp_path / "best", best=four, best_per_program=four) == 4
    store.amend(np.int64(ids[0]), made(0), reason="x", at=four)
    assert store.amendments()[0].amendment.at == 4
    assert type(store.amendments()[0].amendment.at) is int
    assert store.health(now=four).lag_s == 0
    if size is not four:
        assert store.seal(max_bytes=size, wait_s=four).records == 10
        filled(store, many(3), one_by_one=True)
        assert store.compact(Keep(newest=four), now=four, max_bytes=size, wait_s=four).removed == 9
        assert (len(store), Keep(newest=four)) == (4, Keep(newest=4))
        assert type(Keep(newest=four).newest) is int
        assert store.writer(rotate_bytes=size, interval_ms=np.float32(5)).append(made(1)) > 0


@pytest.mark.parametrize("wrong", ["x", None, True, 1.5, -1])
def test_what_is_no_int_is_refused_by_name(store: Store, tmp_path: Path, wrong: Any):
    [identity] = filled(store, many(1))
    calls: dict[str, Any] = {
        "size": lambda: next(store.parts(size=wrong)),
        "max_bytes": lambda: store.seal(max_bytes=wrong),
        "rotate_bytes": lambda: store.writer(rotate_bytes=wrong),
    }
    if wrong is not None:  # which is allowed there
        calls |= {
            "at": lambda: store.amend(identity, made(0), reason="x", at=wrong),
            "now": lambda: store.health(now=wrong),
            "best": lambda: store.export(tmp_path / "a", best=wrong),
            "best_per_program": lambda: store.export(tmp_path / "a", best_per_program=wrong),
            "newest": lambda: Keep(newest=wrong),
        }
    for name, call in calls.items():
        assert f"`{name}`" in complaint(UsageError, call)
    assert (len(store), store.amendments()) == (1, [])


@pytest.mark.parametrize("wrong", ["x", "1", None, True, float("nan"), []])
def test_a_wait_that_is_no_number_of_seconds_is_refused_before_anything_is_done(
    store: Store, tmp_path: Path, wrong: Any
):
    filled(store, many(2))
    other = opened(tmp_path, "other")
    for call in (store.seal, store.compact, store.repair, lambda wait_s: store.merge(other, wait_s=wait_s)):
        assert "`wait_s`" in complaint(UsageError, lambda call=call: call(wait_s=wrong))
    assert "`poll_s`" in complaint(UsageError, lambda: store.follow(poll_s=wrong))
    assert segments(store) == []


def test_a_context_is_looked_for_by_text(store: Store):
    filled(store, many(1), host="1")
    assert "`host`" in complaint(UsageError, lambda: store.journals_where(host=1))  # type: ignore[arg-type]
    assert store.journals_where(host="1") == [1]


# Pickling


@pytest.mark.parametrize("copied", [lambda s: pickle.loads(pickle.dumps(s)), copy.deepcopy, copy.copy])
def test_a_pickled_store_is_the_same_folder(tmp_path: Path, copied: Any):
    store = Store.open(tmp_path / "s")
    filled(store, many(3))
    with copied(store) as other:
        assert (other.path, other.store_id, len(other)) == (store.path, store.store_id, 3)
        filled(other, many(2))
    assert len(store) == 5


def test_a_pickled_store_that_is_gone_is_not_made_anew(tmp_path: Path):
    pickled = pickle.dumps(Store.open(tmp_path / "s"))
    (tmp_path / "s").rename(tmp_path / "t")
    with pytest.raises(FileNotFoundError):
        pickle.loads(pickled)
    assert not (tmp_path / "s").exists()


def test_what_cannot_be_pickled_says_what_to_do(tmp_path: Path):
    store = Store.open(tmp_path / "s")
    with store.writer() as writer:
        assert "give the store" in complaint(UsageError, pickle.dumps, writer)
        writer.append(made(1))
    assert "give the store" in complaint(UsageError, pickle.dumps, store.replay(3))


def test_a_closed_writer_is_not_entered_again(store: Store):
    with store.writer() as writer:
        pass
    assert "closed" in complaint(UsageError, writer.__enter__)


def test_a_store_s_buffer_says_what_it_is(store: Store):
    filled(store, many(3))
    assert re.fullmatch(r"StoreBuffer\(3 of 9 build results\)", repr(store.replay(9)))


# Descriptors


def few_descriptors(path: str) -> None:
    """In a child that may have 256 files open: more journals than that, large enough to be mapped, are read and sealed."""
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    with Store.open(path, create=False) as store:
        records = store.results()
        buffer = store.replay(1000)
        assert (len(records), len(buffer), len(buffer.sample(16))) == (300, 300, 16)
        assert store.seal().records == 300
        assert [r.timestamp for r in records] == [r.timestamp for r in store.results()]
        assert len(os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else []) < 50


def test_more_journals_than_descriptors_are_read_and_sealed(store: Store):
    word = "x" * 70_000
    for k in range(300):
        filled(store, [made(k, generated_tasm=[word])])
    sizes = [os.path.getsize(Path(store.path, "journals", name)) for name in journals(store)]
    assert (len(sizes), min(sizes) > 1 << 16) == (300, True)  # else they are not mapped
    with child(few_descriptors, store.path) as reading:
        reading.finish()
    assert (len(store), journals(store)) == (300, [])
