"""The catalog keeps what it is given, once, for any number of threads and processes."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalog_helpers import CONTEXTS, HASHES, IDS, READS, answers, child, fill, forked, reachable_by_nobody
from ostinato import UsageError, VersionError
from ostinato.store import catalog_database
from ostinato.store.catalog import Catalog, Finetune, JournalContext, ModelVersion
from ostinato.store.layout import JOURNAL_END
from record_helpers import complaint

# from Python 3.12 on, forking a process with threads warns
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.sqlite"


@pytest.fixture
def catalog(path: Path) -> Catalog:
    return Catalog(path)


# The file


def test_opening_and_reading_make_no_file(catalog: Catalog, path: Path):
    assert answers_but_keyed(catalog) == [[]] * len(answers_but_keyed(catalog))
    assert not path.exists()


def answers_but_keyed(catalog: Catalog) -> list[Any]:
    return [read(catalog) for name, read in READS.items() if name not in KEYED]


KEYED = {"program", "version", "finetune records", "metadatum"}


def test_a_new_catalog_is_right(catalog: Catalog):
    catalog.metadata.set("a", 1)
    assert catalog.check() == []


def test_a_filled_catalog_is_right_and_leaves_nothing_out(catalog: Catalog):
    fill(catalog)
    assert (catalog.check(), catalog.left_out) == ([], [])


def test_another_catalog_on_the_same_file_says_the_same(catalog: Catalog, path: Path):
    fill(catalog)
    assert answers(Catalog(path)) == answers(catalog)


def test_a_copied_file_says_the_same(catalog: Catalog, path: Path, tmp_path: Path):
    fill(catalog)
    shutil.copy(path, tmp_path / "copy")
    assert answers(Catalog(tmp_path / "copy")) == answers(catalog)


def test_nothing_stays_beside_the_file(catalog: Catalog, tmp_path: Path):
    fill(catalog)
    assert os.listdir(tmp_path) == ["catalog.sqlite"]


def test_nothing_is_locked_while_idle(catalog: Catalog, path: Path):
    fill(catalog)
    answers(catalog)
    iterator = iter(catalog.programs)
    next(iterator)
    with contextlib.closing(sqlite3.connect(path, timeout=0)) as other:
        other.execute("BEGIN EXCLUSIVE")


def test_a_relative_path_means_the_folder_that_was_current_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    catalog = Catalog("catalog.sqlite")
    monkeypatch.chdir("/")
    catalog.metadata.set("a", 1)
    assert (tmp_path / "catalog.sqlite").exists()


@pytest.mark.parametrize("name", ["a b?mode=memory", "a#b", "100%41", "ü", "a\udcffb", "x&cache=shared"])
def test_any_name_of_a_folder_will_do(tmp_path: Path, name: str):
    folder = tmp_path / name
    folder.mkdir()
    Catalog(folder / "catalog.sqlite").metadata.set("a", 1)
    assert os.listdir(folder) == ["catalog.sqlite"]


def test_a_missing_folder_is_a_missing_file(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        Catalog(tmp_path / "none" / "catalog.sqlite").metadata.set("a", 1)


def test_a_closed_catalog_refuses_every_call(catalog: Catalog):
    with catalog:
        fill(catalog)
    refused = [complaint(UsageError, read, catalog) for read in READS.values()]
    assert refused == ["the catalog is closed"] * len(READS)


def test_a_file_put_aside_is_let_go(catalog: Catalog, path: Path, tmp_path: Path):
    fill(catalog)
    path.rename(tmp_path / "aside")
    catalog.metadata.set("new", 1)
    assert catalog.metadata.items() == [("new", 1)]


def test_a_file_in_another_journal_mode_is_brought_back(catalog: Catalog, path: Path, tmp_path: Path):
    fill(catalog)
    expected = answers(catalog)
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = WAL")
    assert answers(catalog) == expected
    catalog.metadata.set("note", "text")
    assert (os.listdir(tmp_path), path.read_bytes()[18:20]) == (["catalog.sqlite"], b"\1\1")


def test_a_catalog_held_by_somebody_else_is_waited_for_only_so_long(
    catalog: Catalog, path: Path, monkeypatch: pytest.MonkeyPatch
):
    fill(catalog)
    monkeypatch.setattr(catalog_database, "BUSY_S", 0.05)
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TimeoutError, match="another process"):
            catalog.versions()
        with pytest.raises(TimeoutError, match="another process"):
            catalog.metadata.set("a", 1)


def test_a_newer_version_is_refused_by_everything(catalog: Catalog, path: Path, tmp_path: Path):
    fill(catalog)
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 2")
    before = path.read_bytes()
    calls: list[Any] = [
        *[lambda read=read: read(catalog) for read in READS.values()],
        catalog.check,
        lambda: catalog.salvage(tmp_path / "new"),
        lambda: fill(catalog),
    ]
    words = {complaint(VersionError, call) for call in calls}
    assert words == {f"{path} is of version 2; this Ostinato reads version 1: use a newer one"}
    assert (path.read_bytes(), os.listdir(tmp_path)) == (before, ["catalog.sqlite"])


def test_only_the_modules_that_need_sqlite_load_it():
    light = "import sys, ostinato, ostinato.store.catalog_rows; print('sqlite3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", light], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


# Read only


def test_a_read_only_catalog_refuses_to_write(catalog: Catalog, path: Path):
    fill(catalog)
    before = path.read_bytes()
    reader = Catalog(path, read_only=True)
    assert answers(reader) == answers(catalog)
    calls: list[Any] = [
        lambda: reader.put_contexts(CONTEXTS),
        lambda: reader.rebuild_contexts([]),
        lambda: reader.programs.put(HASHES[0], at=1),
        lambda: reader.metadata.delete("a"),
        lambda: reader.put_version(5, parent=None, finetune=None, path=None, metrics={}, at=0),
    ]
    assert {complaint(UsageError, call) for call in calls} == {f"{path} was opened to be read only"}
    assert path.read_bytes() == before


def test_a_missing_file_that_may_not_be_made_is_an_empty_catalog(path: Path):
    assert (Catalog(path, read_only=True).metadata.items(), path.exists()) == ([], False)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that a user without rights can reach."""
    folder = Path(tempfile.mkdtemp())
    yield folder
    folder.chmod(0o700)
    shutil.rmtree(folder)


@pytest.mark.parametrize("read_only", [True, False])
def test_a_catalog_in_a_read_only_folder_can_be_read(public: Path, read_only: bool):
    catalog = Catalog(public / "catalog.sqlite", read_only=read_only)
    fill(Catalog(public / "catalog.sqlite"))
    expected = repr(answers(catalog))
    reachable_by_nobody(public)
    assert forked(lambda: answers(catalog), as_nobody=True) == expected


@pytest.mark.parametrize("is_there", [True, False])
def test_writing_into_a_read_only_folder_says_so(public: Path, is_there: bool):
    catalog = Catalog(public / "catalog.sqlite")
    if is_there:
        fill(catalog)
    reachable_by_nobody(public)
    words = forked(lambda: catalog.metadata.set("a", 1), as_nobody=True)
    assert words.startswith("PermissionError: [Errno 13] Permission denied: the file, or its folder")
    assert words.endswith("catalog.sqlite'")


# Contexts


def test_contexts_come_back_as_they_were(catalog: Catalog):
    catalog.put_contexts(CONTEXTS)
    assert catalog.contexts() == {journal: JournalContext(journal, c, at) for journal, c, at in CONTEXTS}


@pytest.mark.parametrize(
    ("asked", "journals"),
    [
        ({}, [1, 2, 9]),
        ({"host": "a"}, [1, 2]),
        ({"toolchain": "1.1"}, [2, 9]),
        ({"toolchain": "1.1", "host": "a"}, [2]),
        ({"toolchain": "1.1", "host": "b"}, []),
        ({"self": "1.1"}, []),
    ],
)
def test_journals_are_found_by_the_values_of_their_contexts(
    catalog: Catalog, asked: dict[str, str], journals: list[int]
):
    catalog.put_contexts(CONTEXTS)
    assert catalog.journals_where(**asked) == journals


def test_contexts_that_are_known_cost_no_write(catalog: Catalog, path: Path):
    catalog.put_contexts(CONTEXTS)
    before = path.stat()
    catalog.put_contexts(CONTEXTS)
    assert path.stat() == before


def test_a_context_that_differs_replaces_the_old_one_and_its_values(catalog: Catalog):
    catalog.put_contexts(CONTEXTS)
    catalog.put_contexts([(2, {"host": "b"}, 201)])
    assert catalog.contexts()[2] == JournalContext(2, {"host": "b"}, 201)
    assert (catalog.journals_where(host="a"), catalog.journals_where(host="b")) == ([1], [2])
    assert catalog.check() == []


def test_rebuilding_the_contexts_forgets_the_others(catalog: Catalog):
    fill(catalog)
    catalog.rebuild_contexts(CONTEXTS[1:])
    assert (list(catalog.contexts()), catalog.journals_where(host="a"), catalog.check()) == ([2, 9], [2], [])


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ((0, {}, 0), f"expected an int in [1, {JOURNAL_END}), got 0 - at `journal`"),
        ((JOURNAL_END, {}, 0), f"expected an int in [1, {JOURNAL_END}), got {JOURNAL_END} - at `journal`"),
        ((1, {}, -1), "expected an int in [0, 2**63), got -1 - at `opened`"),
        ((1, {"a": 1}, 0), "expected a str, got 1 - at `context`"),
        ((1, {"a": "\ud800"}, 0), "expected text without lone surrogates, got '\\ud800' - at `context`"),
        ((1, [], 0), "expected a mapping of str to str - at `context`"),
    ],
)
def test_a_wrong_context_is_refused_and_none_is_kept(catalog: Catalog, item: Any, words: str):
    assert complaint(UsageError, catalog.put_contexts, [CONTEXTS[0], item]) == words
    assert catalog.contexts() == {}


def test_many_rows_are_not_taken_for_a_hostile_file(catalog: Catalog):
    catalog.rebuild_contexts((i, {"host": "a", "pid": str(i)}, i) for i in range(1, 50_001))
    assert len(catalog.journals_where(host="a")) == 50_000
    assert catalog.check() == []


# Versions, finetunes, metadata


def test_versions_come_back_in_order(catalog: Catalog):
    fill(catalog)
    first = ModelVersion(version=0, parent=None, finetune=None, path=None, metrics={}, recorded_at=7)
    second = ModelVersion(
        version=1, parent=0, finetune=1, path="model/1.pt", metrics={"win rate": 0.25}, recorded_at=8
    )
    assert catalog.versions() == [first, second]
    assert [catalog.version(n) for n in (0, 1, 2)] == [first, second, None]
    assert [version.recorded_at for version in catalog.versions()] == [7, 8]


def test_a_version_put_again_changes_nothing(catalog: Catalog):
    for at in (1, 2):
        catalog.put_version(3, parent=2, finetune=None, path="a", metrics={"loss": np.float64(0.5)}, at=at)
    assert [(v.version, v.recorded_at) for v in catalog.versions()] == [(3, 1)]


def test_a_version_does_not_become_another(catalog: Catalog):
    catalog.put_version(3, parent=2, finetune=None, path="a", metrics={}, at=1)
    words = complaint(UsageError, catalog.put_version, 3, parent=2, finetune=None, path="b", metrics={}, at=1)
    assert words == "model version 3 is kept already, with other values - at `version`"


def test_a_finetune_comes_back_with_its_ids_as_they_were_given(catalog: Catalog):
    fill(catalog)
    assert catalog.finetunes()[0] == Finetune(
        number=1,
        records=6,
        lost=0,
        config={"lr": 0.5},
        metrics={"loss": None},
        base_version=None,
        new_version=1,
        recorded_at=5,
    )
    ids = catalog.finetune_records(1)
    assert (ids.tolist(), ids.dtype, ids.flags.writeable) == (IDS.tolist(), np.int64, False)
    assert catalog.finetune_records(2).tolist() == []


def test_many_ids_come_back_as_they_were_given(catalog: Catalog):
    ids = np.random.default_rng(1).integers(0, 2**63, 200_000)
    number = record(catalog, ids)
    assert (catalog.finetune_records(number) == ids).all()
    assert catalog.check() == []


def record(catalog: Catalog, ids: Any, **changes: Any) -> int:
    settings = {"config": {}, "metrics": {}, "base_version": None, "new_version": None, "at": 0} | changes
    return catalog.record_finetune(record_ids=ids, **settings)


def test_the_finetunes_of_a_record_are_found(catalog: Catalog):
    for ids in ([1, 5], [5, 9], range(10), [4, 6], np.arange(200_000)):
        record(catalog, np.array(ids))
    found = {identity: catalog.finetunes_of(identity) for identity in (1, 5, 9, 150_000, 2**62)}
    assert found == {1: [1, 3, 5], 5: [1, 2, 3, 5], 9: [2, 3, 5], 150_000: [5], 2**62: []}


def test_finetunes_are_numbered_on_even_when_a_number_is_known_from_elsewhere_only(catalog: Catalog):
    catalog.put_version(1, parent=0, finetune=7, path=None, metrics={}, at=0)
    assert [record(catalog, [1]), record(catalog, [1])] == [8, 9]


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([1.5], "expected int64[n], got float64[1] - at `record_ids`"),
        ([[1]], "expected int64[n], got int64[1, 1] - at `record_ids`"),
        ([True], "expected int64[n], got bool[1] - at `record_ids`"),
        ([3, -1], "expected ids in [0, 2**63) - at `record_ids`"),
        (np.array([2**63], np.uint64), "expected ids in [0, 2**63) - at `record_ids`"),
        (np.zeros(2**24, np.int8), "expected fewer than 16,777,216 ids, got 16,777,216 - at `record_ids`"),
    ],
)
def test_wrong_ids_are_refused(catalog: Catalog, ids: Any, words: str):
    assert complaint(UsageError, record, catalog, ids) == words
    assert catalog.finetunes() == []


def test_there_is_no_finetune_that_was_not_recorded(catalog: Catalog):
    assert complaint(UsageError, catalog.finetune_records, 3) == "there is no finetune 3 - at `number`"


NO_JSON: list[tuple[Any, str]] = [
    (float("nan"), "got nan - at `value`"),
    ({"a": [1, float("inf")]}, "got inf - at `value.a[1]`"),
    (2**64, "got 18446744073709551616 - at `value`"),
    ({1: 2}, "expected a str, got 1 - at `value, a name`"),
    ("\ud800", "without lone surrogates, got '\\ud800' - at `value`"),
    (b"bytes", "got b'bytes' - at `value`"),
    ("x" * 2**24, "expected fewer than 16,777,216 bytes, got 16,777,216 - at `value`"),
]


@pytest.mark.parametrize(("value", "words"), NO_JSON, ids=range(len(NO_JSON)))
def test_what_json_cannot_say_is_refused(catalog: Catalog, value: Any, words: str):
    assert complaint(UsageError, catalog.metadata.set, "key", value).endswith(words)
    assert catalog.metadata.items() == []


def test_what_is_nested_without_end_is_refused(catalog: Catalog):
    endless: list[Any] = []
    endless.append(endless)
    assert complaint(UsageError, catalog.metadata.set, "key", endless) == "nested too deeply - at `value`"


@pytest.mark.parametrize(
    "value", [None, True, 0, -(2**63), 2**64 - 1, 1e308, "", "\0é😀", [], {}, [[{"": 1}]]]
)
def test_metadata_come_back_as_they_were(catalog: Catalog, value: Any):
    catalog.metadata.set("\0é", value)
    back = catalog.metadata.get("\0é", "default")
    assert (back, type(back)) == (value, type(value))


def test_metadata_are_replaced_and_deleted(catalog: Catalog):
    for value in (1, 2):
        catalog.metadata.set("a", value)
    assert catalog.metadata.items() == [("a", 2)]
    assert [catalog.metadata.delete("a"), catalog.metadata.delete("a")] == [True, False]
    assert catalog.metadata.get("a", "default") == "default"


# Threads, processes, forks, kills

WRITER = """
import sys
from ostinato.store.catalog import Catalog
catalog, me, count = Catalog(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
for i in range(count):
    digest = (me * 10**6 + i).to_bytes(32, "big")
    catalog.programs.put(digest, tir=b"x" * 300, name=f"{me}-{i}", cycles=i, at=i)
    number = catalog.record_finetune(record_ids=[me, i], config={}, metrics={}, base_version=None,
        new_version=None, at=i)
    catalog.put_contexts([(me * 10**6 + i + 1, {"writer": str(me)}, i)])
    print(i, number, flush=True)
"""


def test_processes_that_write_at_once_lose_nothing(catalog: Catalog, path: Path):
    writers = [child(WRITER, path, me, 20) for me in range(3)]
    numbers = [int(line.split()[1]) for w in writers for line in w.communicate()[0].splitlines()]
    assert [w.returncode for w in writers] == [0, 0, 0]
    assert sorted(numbers) == list(range(1, 61))
    assert sorted(p.name or "" for p in catalog.programs) == sorted(
        f"{me}-{i}" for me in range(3) for i in range(20)
    )
    assert [len(catalog.journals_where(writer=str(me))) for me in range(3)] == [20] * 3
    assert catalog.check() == []


def test_threads_that_write_at_once_lose_nothing(catalog: Catalog):
    def write(me: int) -> None:
        for i in range(20):
            catalog.programs.put(bytes([me, i]) * 16, cycles=i, at=0)
            list(catalog.programs)

    threads = [threading.Thread(target=write, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(catalog.programs), catalog.check()) == (80, [])


def test_a_writer_killed_at_any_moment_leaves_a_good_catalog_with_all_that_was_acknowledged(
    catalog: Catalog, path: Path
):
    dice = random.Random(1)
    acknowledged: list[bytes] = []
    for me in range(6):
        writer = child(WRITER, path, me, 10**5)
        assert writer.stdout is not None
        lines = [writer.stdout.readline()]
        time.sleep(dice.random() * 0.1)
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.read().splitlines()
        writer.stdout.close()
        writer.wait()
        acknowledged += [(me * 10**6 + int(line.split()[0])).to_bytes(32, "big") for line in lines]
        assert catalog.check() == []
    assert len(acknowledged) > 6
    kept = {program.tir_hash for program in catalog.programs}
    assert set(acknowledged) - kept == set()
    assert len(kept - set(acknowledged)) <= 6  # one each, put but not said


DIES = """
import os, signal, sys
from ostinato.store.catalog import Catalog
from ostinato.store.catalog_rows import PROGRAMS
with Catalog(sys.argv[1]).writing() as session:
    for i in range(8):  # more than is kept in memory: pages of the file are written over
        session.insert(PROGRAMS, (bytes([100 + i]) * 32, None, 0, None, 0, bytes(1 << 20)))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def dies_while_writing(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", DIES, path], check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("read_only", [True, False])
def test_half_a_write_is_taken_back_by_whoever_comes(path: Path, read_only: bool):
    fill(Catalog(path))
    expected = answers(Catalog(path))
    before = path.read_bytes()
    dies_while_writing(path)
    assert (path.read_bytes() != before, path.with_name("catalog.sqlite-journal").exists()) == (True, True)
    catalog = Catalog(path, read_only=read_only)
    assert answers(catalog) == expected
    assert (path.read_bytes(), catalog.check()) == (before, [])


def test_half_a_write_is_not_salvaged(path: Path):
    fill(Catalog(path))
    dies_while_writing(path)
    new = path.with_name("new")
    assert Catalog(path, read_only=True).salvage(new) == (15, 0)
    assert answers(Catalog(new)) == answers(Catalog(path))


def test_half_a_write_in_a_read_only_folder_is_said_to_be_unreadable(public: Path):
    path = public / "catalog.sqlite"
    fill(Catalog(path))
    dies_while_writing(path)
    reachable_by_nobody(public)
    words = forked(Catalog(path, read_only=True).versions, as_nobody=True)
    assert words.startswith("PermissionError: [Errno 13] Permission denied: the file, or its folder")


def test_a_forked_child_reads_and_writes_as_its_parent_does(catalog: Catalog):
    fill(catalog)
    expected = repr(answers(catalog))
    assert forked(lambda: answers(catalog)) == expected
    assert forked(lambda: catalog.metadata.set("child", 1)) == "None"
    catalog.metadata.set("parent", 1)
    assert [key for key, _ in catalog.metadata.items()] == ["a", "child", "note", "parent"]


def test_a_fork_waits_until_no_thread_is_within_a_call(catalog: Catalog):
    fill(catalog)
    order: list[str] = []
    begun = threading.Event()

    def write() -> None:
        with catalog.writing() as session:
            begun.set()
            time.sleep(0.2)
            order.append("the call ends")
            session.execute("DELETE FROM metadata")

    thread = threading.Thread(target=write)
    thread.start()
    begun.wait()
    words = forked(lambda: (order, catalog.metadata.set("child", 1), catalog.metadata.items()))
    thread.join()
    assert words == "(['the call ends'], None, [('child', 1)])"
    assert catalog.metadata.items() == [("child", 1)]


def test_forks_and_calls_of_many_threads_do_not_hinder_each_other(catalog: Catalog):
    catalog.metadata.set("n", 0)
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            catalog.metadata.get("n")

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        said = [forked(lambda: catalog.metadata.get("n")) for _ in range(10)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert said == ["0"] * 10


# Putting aside


def test_a_catalog_is_swapped_while_nobody_is_within_a_call(catalog: Catalog, path: Path):
    fill(catalog)
    new, order = path.with_name("new"), []
    waiting = threading.Thread(target=lambda: (catalog.metadata.get("a"), order.append("the reader")))

    def swap() -> None:
        waiting.start()
        time.sleep(0.1)
        order.append("the swap")
        path.rename(path.with_name("aside"))
        new.rename(path)

    catalog.salvage(new, swap=swap)
    waiting.join()
    assert (order, os.listdir(path.parent)) == (["the swap", "the reader"], ["aside", "catalog.sqlite"])
    assert answers(catalog) == answers(Catalog(path.with_name("aside")))


def test_a_writer_that_waited_for_a_file_that_was_put_aside_is_told_to_call_again(
    catalog: Catalog, path: Path
):
    fill(catalog)
    new, said = path.with_name("new"), []

    def write() -> None:
        try:
            catalog.metadata.set("late", 1)
        except OSError as error:
            said.append(error.errno)

    waiting = threading.Thread(target=write)

    def swap() -> None:
        waiting.start()
        time.sleep(0.1)
        path.rename(path.with_name("aside"))
        new.rename(path)

    catalog.salvage(new, swap=swap)
    waiting.join()
    assert (said, catalog.metadata.get("late")) == ([errno.ESTALE], None)
    assert (Catalog(path.with_name("aside")).metadata.get("late"), catalog.check()) == (None, [])
