"""Whatever bytes a catalog has: what is read is right, or an error, or left out and named. Never wrong."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import sqlite3
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalog_helpers import HASHES, IDS, READS, answers, fill
from ostinato import DamageError, OstinatoError, VersionError
from ostinato.store import catalog_session
from ostinato.store.catalog import Catalog
from ostinato.store.catalog_rows import (
    BASELINES,
    CONTEXTS,
    FINETUNE_RECORDS,
    FINETUNES,
    METADATA,
    MODEL_VERSIONS,
    PROGRAMS,
    TABLES,
    Table,
)
from record_helpers import complaint
from test_catalog import DIES

REPAIR = "`ostinato check --repair` puts the file aside and makes it anew"
ROWS = 15  # of a filled catalog, its index of contexts aside


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "catalog.sqlite"
    fill(Catalog(path))
    return path


def change(path: Path, *statements: str, cells: tuple[Any, ...] = ()) -> None:
    """Change the file behind the catalog's back."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA writable_schema = ON")
        for sql in statements:
            other.execute(sql, cells)


# Checksums


def slow_crc32(table: str, cells: tuple[Any, ...]) -> int:
    """As CATALOG_FORMAT says, word for word."""
    data = b""
    for cell in (table, *cells):
        if cell is None:
            data += b"n"
        elif isinstance(cell, int):
            data += b"i" + struct.pack("<q", cell)
        elif isinstance(cell, str):
            data += b"t" + struct.pack("<Q", len(cell.encode())) + cell.encode()
        else:
            data += b"b" + struct.pack("<Q", len(cell)) + cell
    return zlib.crc32(data)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_row_has_the_checksum_that_the_format_says(path: Path, table: Table):
    with contextlib.closing(sqlite3.connect(path)) as other:
        rows = other.execute(f"SELECT * FROM {table.name}").fetchall()
    assert [row[-1] for row in rows] == [slow_crc32(table.name, row[:-1]) for row in rows] != []


def test_the_worked_example_of_the_format():
    assert METADATA.crc32(("note", '"text"')) == zlib.crc32(
        bytes.fromhex(
            "7408000000000000006d65746164617461 7404000000000000006e6f7465 740600000000000000227465787422"
        )
    )


FORGED = [
    ("contexts", "journal = 2", "context = '{}'", "row contexts 2: crc mismatch"),
    ("contexts", "journal = 2", "opened = 'x'", "row contexts 2: `opened` is no integer"),
    ("baselines", "number = 2", "cycles = '8'", "row baselines 2: crc mismatch"),
    ("baselines", "number = 2", "crc32 = 'x'", "row baselines 2: crc mismatch: no INTEGER is kept"),
    ("baselines", "number = 2", "number = 9", "row baselines 9: crc mismatch"),
    ("programs", "name = 'fib'", "name = NULL", "crc mismatch"),
    ("programs", "name = 'fib'", "tir = x''", "crc mismatch"),
    ("model_versions", "version = 1", "parent = 9", "row model_versions 1: crc mismatch"),
    ("model_versions", "version = 1", "version = 2", "row model_versions 2: crc mismatch"),
    ("finetunes", "number = 1", "metrics = '{}'", "row finetunes 1: crc mismatch"),
    ("finetune_records", "finetune = 1", "ids = zeroblob(48)", "row finetune_records 1 0: crc mismatch"),
    ("metadata", "key = 'a'", "value = CAST(x'22ff22' AS TEXT)", "row metadata a: crc mismatch"),
    ("metadata", "key = 'a'", "key = CAST(x'ff' AS TEXT)", "row metadata \\ufffd: found, and then not"),
    ("metadata", "key = 'a'", "value = x'3131'", "row metadata a: `value` is no text"),
]


@pytest.mark.parametrize(("table", "where", "new", "words"), FORGED)
def test_a_changed_row_is_named_by_check(path: Path, table: str, where: str, new: str, words: str):
    change(path, f"UPDATE {table} SET {new} WHERE {where}")
    assert [problem for problem in Catalog(path).check() if f"{path}: " in problem and words in problem] != []


def test_a_changed_row_is_an_error_where_it_is_asked_for_and_left_out_of_lists(path: Path):
    change(path, "UPDATE metadata SET value = '1' WHERE key = 'a'")
    catalog = Catalog(path)
    words = complaint(DamageError, catalog.metadata.get, "a")
    assert words.startswith(f"{path}: row metadata a: crc mismatch: ")
    assert (catalog.metadata.items(), catalog.left_out) == ([("note", "text")], [words])
    assert catalog.check() == [words]


def forge(path: Path, table: Table, *cells: Any) -> None:
    """A row with a right checksum, whatever it holds."""
    change(path, table.insert, cells=(*cells, table.crc32(cells)))


ODD: list[tuple[Table, tuple[Any, ...], str]] = [
    (BASELINES, (9, b"short", None, None, None, 0), "a hash or a time"),
    (BASELINES, (9, HASHES[0], None, None, None, -1), "a hash or a time"),
    *[
        (BASELINES, (9, HASHES[0], None, cycles, None, 0), "`cycles` is no int")
        for cycles in ("-1", "01", "1.0", "", "x", str(2**64), "9" * 5000, "\u0661")
    ],
    *[
        (BASELINES, (9, HASHES[0], instructions, None, None, 0), "`instructions`")
        for instructions in ("{}", "[1]", "[", "nan", "9" * 5000, "[" * 100_000, "")
    ],
    (PROGRAMS, (b"short", None, 0, None, 0, None), "a hash or a time"),
    (PROGRAMS, (HASHES[5], None, 0, None, -1, None), "a hash or a time"),
    (PROGRAMS, (HASHES[5], None, 1, None, 0, None), "1 baselines, of which None is the newest"),
    (PROGRAMS, (HASHES[5], None, -1, 2, 0, None), "-1 baselines, of which 2 is the newest"),
    (CONTEXTS, (0, "{}", 0), "a number is out of range"),
    (CONTEXTS, (5, '{"a": 1}', 0), "a value of the context is no text"),
    (MODEL_VERSIONS, (-1, None, None, None, "{}", 0), "a number is out of range"),
    (MODEL_VERSIONS, (9, 2**40, None, None, "{}", 0), "a number is out of range"),
    (MODEL_VERSIONS, (9, None, None, None, "[]", 0), "`metrics` is no JSON dict"),
    (FINETUNES, (9, -1, 0, "{}", "{}", None, None, 0), "a number is out of range"),
    (FINETUNES, (9, 5, 6, "{}", "{}", None, None, 0), "a number is out of range"),
    (FINETUNES, (9, 0, 0, "{}", "{}", -1, None, 0), "a version is out of range"),
    (FINETUNE_RECORDS, (1, 1, 0, 0, b"123"), "3 bytes of ids"),
    (FINETUNE_RECORDS, (1, 1, 0, 0, b""), "0 bytes of ids"),
    (FINETUNE_RECORDS, (1, 1, 0, 0, bytes(8 << 17)), "1048576 bytes of ids"),
    (FINETUNE_RECORDS, (1, 1, -1, -1, b"\xff" * 8), "ids out of range"),
    (FINETUNE_RECORDS, (1, 1, 0, 5, bytes(8)), "ids out of range"),
    (METADATA, ("b", "NaN"), "no JSON that can be read"),
]


@pytest.mark.parametrize(("table", "cells", "words"), ODD, ids=range(len(ODD)))
def test_a_row_whose_checksum_is_right_is_not_believed_either(
    path: Path, table: Table, cells: tuple[Any, ...], words: str
):
    forge(path, table, *cells)
    catalog = Catalog(path)
    problems = catalog.check()
    assert [words in problem for problem in problems].count(True) == 1
    with contextlib.suppress(OstinatoError):
        answers(catalog)
    kept, lost = catalog.salvage(path.with_name("new"))
    assert (Catalog(path.with_name("new")).check(), lost) == ([], 1)
    assert kept == ROWS


def test_missing_ids_are_named_and_not_left_out(path: Path):
    change(path, "DELETE FROM finetune_records")
    words = f"{path}: row finetunes 1: 0 of 6 record ids are here"
    assert Catalog(path).check() == [words]
    assert complaint(DamageError, Catalog(path).finetune_records, 1) == words


def test_ids_of_no_finetune_are_named(path: Path):
    change(path, "DELETE FROM finetunes WHERE number = 1")
    assert Catalog(path).check() == [f"{path}: row finetunes 1: missing, but 6 of its record ids are here"]


def test_a_damaged_index_of_contexts_tells_nothing_wrong_and_is_made_anew(path: Path):
    change(path, "UPDATE context_values SET journal = journal + 1 WHERE key = 'host' AND journal = 2")
    catalog = Catalog(path)
    assert catalog.journals_where(host="a") == [1]
    assert catalog.check() == [
        f"{path}: 1 rows of context_values are missing; rebuilding the contexts mends it",
        f"{path}: 1 rows of context_values are of no context; rebuilding the contexts mends it",
    ]
    catalog.rebuild_contexts((c.journal, c.context, c.opened) for c in catalog.contexts().values())
    assert (catalog.journals_where(host="a"), catalog.check()) == ([1, 2], [])


# Repair


def test_salvage_of_a_good_catalog_loses_nothing(path: Path):
    new = path.with_name("new")
    assert Catalog(path).salvage(new) == (ROWS, 0)
    assert (answers(Catalog(new)), Catalog(new).check()) == (answers(Catalog(path)), [])


def test_salvage_leaves_the_damaged_row_and_the_old_file_as_they_are(path: Path):
    change(path, "UPDATE baselines SET cycles = '8' WHERE number = 2")
    before = path.read_bytes()
    new = path.with_name("new")
    assert Catalog(path, read_only=True).salvage(new) == (ROWS - 1, 1)
    assert [program.cycles for program in Catalog(new).programs.history(HASHES[0])] == [2**64 - 1]
    assert (Catalog(new).check(), path.read_bytes()) == ([], before)


def test_salvage_says_how_many_ids_went_with_a_damaged_part(path: Path):
    ids = np.arange(150_000)
    number = Catalog(path).record_finetune(
        record_ids=ids, config={}, metrics={}, base_version=None, new_version=None, at=0
    )
    change(path, f"UPDATE finetune_records SET highest = 0 WHERE finetune = {number} AND part = 1")
    new = Catalog(path.with_name("new"))
    assert Catalog(path).salvage(new.path) == (ROWS + 3, 1)
    assert [(f.records, f.lost) for f in new.finetunes()] == [(6, 0), (0, 0), (150_000, 65_536)]
    assert (new.finetune_records(number) == np.r_[: 1 << 16, 1 << 17 : 150_000]).all()
    assert new.check() == []


def test_salvage_drops_ids_whose_finetune_is_lost(path: Path):
    change(path, "UPDATE finetunes SET config = '{}' WHERE number = 1")
    new = Catalog(path.with_name("new"))
    assert Catalog(path).salvage(new.path) == (ROWS - 2, 2)
    assert ([f.number for f in new.finetunes()], new.finetunes_of(3), new.check()) == ([2], [], [])


def test_salvage_takes_what_is_there_beside_foreign_tables(path: Path):
    change(path, "DROP TABLE metadata", "CREATE VIEW metadata AS SELECT 1", "CREATE TABLE more (a)")
    new = path.with_name("new")
    assert Catalog(path).salvage(new) == (ROWS - 2, 1)
    assert (Catalog(new).programs.get(HASHES[0]), Catalog(new).check()) == (
        Catalog(new).programs.history(HASHES[0])[-1],
        [],
    )


def test_salvage_of_what_is_no_database_makes_an_empty_catalog(path: Path):
    path.write_bytes(b"no database, " * 1000)
    new = path.with_name("new")
    assert Catalog(path).salvage(new) == (0, 1)
    assert (Catalog(new).metadata.items(), Catalog(new).check()) == ([], [])


def test_salvage_writes_over_nothing(path: Path):
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        Catalog(path).salvage(path)
    assert path.read_bytes() == before


def test_salvage_of_nothing_is_a_missing_file(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        Catalog(tmp_path / "none").salvage(tmp_path / "new")
    assert os.listdir(tmp_path) == []


# Files that are no catalog


def test_what_is_no_database_is_named_with_what_to_do(path: Path):
    path.write_bytes(b"no database, " * 1000)
    words = f"{path}: SQLite: file is not a database; {REPAIR}"
    assert complaint(DamageError, Catalog(path).versions) == words
    assert complaint(DamageError, Catalog(path).metadata.set, "a", 1) == words
    assert Catalog(path).check() == [words]


def test_a_database_of_somebody_else_is_not_touched(tmp_path: Path):
    path = tmp_path / "catalog.sqlite"
    change(path, "CREATE TABLE programs (a)")
    before = path.read_bytes()
    words = complaint(DamageError, Catalog(path).metadata.set, "a", 1)
    assert words == f"{path}: no catalog of Ostinato's, by its header; {REPAIR}"
    assert path.read_bytes() == before


STRANGE = [
    "CREATE TABLE more (a)",
    "CREATE VIEW more AS SELECT 1",
    "CREATE INDEX more ON programs (name)",
    "CREATE TRIGGER more AFTER INSERT ON programs BEGIN DELETE FROM metadata; END",
    "CREATE TABLE more AS SELECT sqlite_version()",
    "DROP TABLE programs",
    "DROP INDEX baselines_of",
    "ALTER TABLE programs ADD COLUMN more",
    "UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL', '') WHERE name = 'programs'",
    "UPDATE sqlite_master SET sql = 'CREATE TABLE x' WHERE name = 'programs'",
    "UPDATE sqlite_master SET rootpage = 10000000 WHERE name = 'programs'",
    "DELETE FROM sqlite_master",
    "PRAGMA user_version = -1",
    "PRAGMA user_version = 0",
    "PRAGMA application_id = 7",
]


@pytest.mark.parametrize("statement", STRANGE)
def test_other_tables_or_headers_than_ours_are_refused(path: Path, statement: str):
    change(path, statement)
    before = path.read_bytes()
    catalog = Catalog(path)
    for call in (lambda: answers(catalog), lambda: catalog.programs.put(HASHES[7], tir=b"x", at=1)):
        assert complaint(DamageError, call).startswith(f"{path}: ")
    assert len(catalog.check()) >= 1
    assert path.read_bytes() == before


def test_a_view_of_a_tables_name_is_not_asked(path: Path):
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT i, i FROM n"
    change(path, "DROP TABLE metadata", f"CREATE VIEW metadata AS {endless}")
    assert "(see `metadata`)" in complaint(DamageError, Catalog(path).metadata.items)


def test_a_huge_cell_is_left_out_and_not_read_into_memory(path: Path):
    change(path, "INSERT INTO metadata VALUES ('huge', CAST(zeroblob(100000000) AS TEXT), 0)")
    catalog = Catalog(path)
    assert [key for key, _ in catalog.metadata.items()] == ["a", "note"]
    assert catalog.left_out == [f"{path}: row metadata huge: SQLite: string or blob too big; {REPAIR}"]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("old", path)])
@pytest.mark.parametrize("name", ["catalog.sqlite", "catalog.sqlite-journal"])
def test_what_is_no_regular_file_is_refused_at_once(path: Path, name: str, make: Any):
    with contextlib.suppress(FileNotFoundError):
        path.with_name(name).rename(path.with_name("old"))
    make(path.with_name(name))
    words = f"{path.with_name(name)}: not a regular file; {REPAIR}"
    assert complaint(DamageError, Catalog(path).versions) == words
    assert complaint(DamageError, Catalog(path).metadata.set, "a", 1) == words


def hot_journal(path: Path, super_journal: bytes) -> None:
    """A rollback journal of a writer that died, naming a super-journal as SQLite does for several attached files."""
    subprocess.run([sys.executable, "-c", DIES, path], check=False)
    journal = path.with_name("catalog.sqlite-journal")
    # the page that is never used, the name, its length, the sum of its bytes, the magic
    numbers = struct.pack(">II", len(super_journal), sum(super_journal))
    with open(journal, "ab") as file:
        file.write(struct.pack(">I", (1 << 30) // 4096 + 1) + super_journal + numbers)
        file.write(bytes.fromhex("d9d505f920a163d7"))


def test_a_journal_that_would_delete_another_file_is_refused(path: Path):
    victim = path.with_name("victim")
    victim.write_bytes(b"precious")
    hot_journal(path, os.fsencode(victim))
    words = f"{path}-journal: names a super-journal, which a catalog never has"
    assert complaint(DamageError, Catalog(path).versions).startswith(words)
    assert complaint(DamageError, Catalog(path).metadata.set, "a", 1).startswith(words)
    assert victim.exists()


def test_such_a_journal_deletes_the_other_file_where_it_is_believed(path: Path):
    victim = path.with_name("victim")
    victim.write_bytes(b"precious")
    hot_journal(path, os.fsencode(victim))
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("SELECT * FROM metadata").fetchall()
    assert not victim.exists()


def test_pages_that_repeat_do_not_repeat_rows(path: Path):
    catalog = Catalog(path)
    catalog.rebuild_contexts((i, {"host": "a" * 50}, i) for i in range(1, 2000))
    with contextlib.closing(sqlite3.connect(path)) as other:
        root = other.execute("SELECT rootpage FROM sqlite_master WHERE name = 'contexts'").fetchone()[0]
    data = bytearray(path.read_bytes())
    page = (root - 1) * 4096
    assert data[page] == 5  # an inner page of a table
    cells = int.from_bytes(data[page + 3 : page + 5], "big")
    places = [int.from_bytes(data[page + 12 + 2 * i :][:2], "big") for i in range(cells)]
    for place in places:
        data[page + place : page + place + 4] = data[page + places[0] : page + places[0] + 4]
    path.write_bytes(data)
    assert "out of order" in complaint(DamageError, catalog.contexts)
    assert len(catalog.check()) > 1


def test_a_statement_that_takes_more_steps_than_the_file_can_need_is_given_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    catalog = Catalog(path)
    catalog.rebuild_contexts((i, {"host": "a"}, i) for i in range(1, 30_000))
    monkeypatch.setattr(catalog_session, "_STEPS", 0)
    monkeypatch.setattr(catalog_session, "_STEPS_A_BYTE", 0)
    assert "SQLite: interrupted" in complaint(DamageError, catalog.journals_where, host="a")


# Every byte


@functools.cache
def small() -> tuple[bytes, dict[str, Any]]:
    """A catalog of small pages, so that most bytes say something, and what it answers."""
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"small-{os.getpid()}.sqlite"
    try:
        fill(Catalog(path))
        change(path, "PRAGMA page_size = 512", "VACUUM")
        assert Catalog(path).check() == []
        return path.read_bytes(), answers(Catalog(path))
    finally:
        path.unlink()


LISTS = {"contexts", "journals", "journals where", "programs", "history", "drift", "versions", "finetunes"}
LISTS |= {"finetunes of", "metadata"}
ONES = READS.keys() - LISTS


def judge(path: Path) -> str:
    """How the catalog stands the damage: right, or reported; fails where it is wrong."""
    _, expected = small()
    catalog = Catalog(path)
    different = []
    for name, read in READS.items():
        try:
            said = read(catalog)
        except (OstinatoError, OSError):
            continue
        if said != expected[name]:
            different.append(name)
        if name in LISTS:
            assert [item for item in said if item not in expected[name]] == [], name
        else:
            assert said in (expected[name], None), name
    try:
        problems = catalog.check()
    except (VersionError, OSError):
        return "refused"
    assert not different or problems, different
    return "reported" if problems else "right"


def damaged(path: Path, position: int, mask: int) -> None:
    data = bytearray(small()[0])
    data[position] ^= mask
    path.write_bytes(data)


def test_the_undamaged_file_is_right(tmp_path: Path):
    (tmp_path / "catalog.sqlite").write_bytes(small()[0])
    assert judge(tmp_path / "catalog.sqlite") == "right"


EVERY = int(os.environ.get("OSTINATO_EVERY_BYTE", "13"))


@pytest.mark.parametrize("part", range(4))
def test_a_flipped_byte_never_makes_a_row_wrong(tmp_path: Path, part: int):
    dice = random.Random(part)
    size = len(small()[0])
    count = {"right": 0, "reported": 0, "refused": 0}
    for position in range(size * part // 4, size * (part + 1) // 4, EVERY):
        damaged(tmp_path / "catalog.sqlite", position, dice.choice([0xFF, 1 << dice.randrange(8)]))
        count[judge(tmp_path / "catalog.sqlite")] += 1
        for name in os.listdir(tmp_path):
            os.unlink(tmp_path / name)
    assert min(count["right"], count["reported"]) > 5, count


def rows_of(path: Path) -> set[tuple[str, Any]]:
    """Every row that a repair copies as it is; of the others, which it may settle anew, the keys."""
    with contextlib.closing(sqlite3.connect(path)) as other:
        return {
            (table.name, row[: table.key] if table in (PROGRAMS, FINETUNES) else row)
            for table in TABLES
            for row in other.execute(f"SELECT * FROM {table.name}")
        }


def test_what_is_salvaged_from_a_flipped_byte_is_right(tmp_path: Path):
    dice = random.Random(9)
    path, new = tmp_path / "catalog.sqlite", tmp_path / "new"
    path.write_bytes(small()[0])
    expected = rows_of(path)
    assert len(expected) == ROWS
    whole = 0
    for _ in range(60):
        damaged(path, dice.randrange(100, len(small()[0])), 1 << dice.randrange(8))
        kept, lost = Catalog(path).salvage(new)
        assert Catalog(new).check() == []
        assert rows_of(new) <= expected
        assert kept == ROWS or (kept < ROWS and lost)
        whole += kept == ROWS
        for name in os.listdir(tmp_path):
            os.unlink(tmp_path / name)
    assert 20 < whole < 60


@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_never_wrong(tmp_path: Path, share: float):
    data = small()[0]
    path = tmp_path / "catalog.sqlite"
    path.write_bytes(data[: int(len(data) * share)])
    if share:
        assert judge(path) == "reported"
    else:  # as somebody left it who was about to make it
        assert (Catalog(path).check(), Catalog(path).versions()) == ([], [])


def test_random_bytes_in_the_place_of_a_page_are_never_wrong(tmp_path: Path):
    dice = random.Random(3)
    path = tmp_path / "catalog.sqlite"
    for page in range(len(small()[0]) // 512):
        data = bytearray(small()[0])
        data[page * 512 : page * 512 + 512] = dice.randbytes(512)
        path.write_bytes(data)
        assert judge(path) == "reported"


def test_the_ids_that_a_damaged_finetune_fed_are_an_error_not_fewer(path: Path):
    change(path, "UPDATE finetune_records SET ids = zeroblob(48)")
    words = complaint(DamageError, Catalog(path).finetune_records, 1)
    assert words.startswith(f"{path}: row finetune_records 1 0: crc mismatch")
    assert Catalog(path).finetunes_of(int(IDS[0])) == []


def test_nothing_is_put_on_a_damaged_program(path: Path):
    change(path, "UPDATE programs SET tir = x'00' WHERE name = 'fib'")
    for tir in (b"tir 0", b"other", None):
        with pytest.raises(DamageError, match="row programs 0101"):
            Catalog(path).programs.put(HASHES[0], tir=tir, at=9)


def test_an_older_baseline_never_passes_for_the_newest(path: Path):
    change(path, "DELETE FROM baselines WHERE number = 2")
    catalog = Catalog(path)
    words = f"{path}: row programs {HASHES[0].hex()}: 1 of 2 baselines are here"
    assert complaint(DamageError, catalog.programs.get, HASHES[0]) == words
    assert [program.cycles for program in catalog.programs.history(HASHES[0])] == [2**64 - 1]
    assert (catalog.left_out, catalog.check()) == ([words], [words])
    new = Catalog(path.with_name("new"))
    catalog.salvage(new.path)
    assert ([p.cycles for p in new.programs], new.check()) == ([2**64 - 1, 0], [])


def test_salvaged_baselines_have_a_program_again(path: Path):
    change(path, "UPDATE programs SET name = 'x' WHERE name = 'fib'")
    new = Catalog(path.with_name("new"))
    assert Catalog(path).salvage(new.path) == (ROWS - 1, 1)
    assert [(p.name, p.tir, p.cycles) for p in new.programs] == [(None, None, 7), (None, b"", 0)]
    assert new.check() == []
    new.programs.put(HASHES[0], tir=b"tir 0", name="fib", at=9)
    assert new.programs.history(HASHES[0]) == small()[1]["history"]
