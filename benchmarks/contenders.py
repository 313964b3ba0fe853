"""Who keeps records for good: Ostinato's store, LMDB, SQLite, and a bare log as the floor, at the same work.

All promise the same: what was appended when the call returns survives the death of the process, not the loss of power.
LMDB and the log are given an archive's bytes ready-made, SQLite columns ready-made, Ostinato a BuildResult or numpy
columns, so that making the bytes is in its time alone.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.attempts import CHUNK, Given
from ostinato import Results
from ostinato.store import Store

TABLE = (
    "CREATE TABLE records (id INTEGER PRIMARY KEY, tir_hash BLOB, tasm TEXT, valid INT, clock_cycles INT, "
    "compiler_cycles INT, fallback_used INT, timestamp INT, model_version INT)"
)
INSERT = (
    "INSERT INTO records (tir_hash, tasm, valid, clock_cycles, compiler_cycles, fallback_used, timestamp, "
    "model_version) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
READ = (
    "SELECT tir_hash, tasm, valid, clock_cycles, compiler_cycles, fallback_used, timestamp, model_version "
    "FROM records ORDER BY id"
)


class Contender(Protocol):
    """One that keeps records in a folder, which is empty."""

    def __init__(self, folder: Path) -> None: ...

    def append(self, given: Given) -> None:
        """Each record by itself."""

    def extend(self, given: Given, times: int) -> None:
        """1,024 at once, all of them so many times."""

    def close(self) -> int:
        """How many are there."""


class Ostinato:
    """A store's writer, with the default durability."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.open(folder / "store")
        self.writer = self.store.writer()

    def append(self, given: Given) -> None:
        append = self.writer.append
        for record in given.records:
            append(record)

    def extend(self, given: Given, times: int) -> None:
        for _ in range(times):
            for columns in given.columns:
                self.writer.extend(Results.from_columns(**columns))

    def close(self) -> int:
        self.writer.close()
        return len(self.store)


class Lmdb:
    """LMDB without syncing: rising keys, which it may take to be the last ones (`append`)."""

    settings: dict[str, Any] = {"sync": False}  # noqa: RUF012
    together = False  # all puts of a transaction in one call

    def __init__(self, folder: Path) -> None:
        import lmdb

        self.environment = lmdb.open(str(folder), map_size=1 << 36, **self.settings)

    def append(self, given: Given) -> None:
        begin = self.environment.begin
        for key, value in zip(given.keys, given.archives, strict=False):
            with begin(write=True) as transaction:
                transaction.put(key, value, append=True)

    def extend(self, given: Given, times: int) -> None:
        keys = iter(range(0, len(given.keys), CHUNK))
        for _ in range(times):
            for first in range(0, len(given.archives), CHUNK):
                at = next(keys)
                items = zip(given.keys[at : at + CHUNK], given.archives[first : first + CHUNK], strict=True)
                with self.environment.begin(write=True) as transaction:
                    if self.together:
                        with transaction.cursor() as cursor:
                            cursor.putmulti(list(items), append=True)
                    else:
                        put = transaction.put
                        for key, value in items:
                            put(key, value, append=True)

    def close(self) -> int:
        count = int(self.environment.stat()["entries"])
        self.environment.close()
        return count


class LmdbMapped(Lmdb):
    """LMDB that writes through its mapping: no system call, but the file has its full size at once, and a stray pointer can
    write into it."""

    settings = {"sync": False, "writemap": True}  # noqa: RUF012
    together = True


class Sqlite:
    """SQLite with a write-ahead log, synchronous NORMAL."""

    def __init__(self, folder: Path) -> None:
        self.connection = connect(folder / "records.sqlite")
        self.connection.execute(TABLE)

    def append(self, given: Given) -> None:
        execute = self.connection.execute
        for row in given.rows:
            execute(INSERT, row)

    def extend(self, given: Given, times: int) -> None:
        for _ in range(times):
            for first in range(0, len(given.rows), CHUNK):
                self.connection.execute("BEGIN")
                self.connection.executemany(INSERT, given.rows[first : first + CHUNK])
                self.connection.execute("COMMIT")

    def close(self) -> int:
        count = int(self.connection.execute("SELECT count(*) FROM records").fetchone()[0])
        self.connection.close()
        return count


class Log:
    """The floor: the bytes, one write after the other, with nothing to find them again."""

    def __init__(self, folder: Path) -> None:
        self.fd = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.count = 0

    def append(self, given: Given) -> None:
        fd, write = self.fd, os.write
        for data in given.archives:
            write(fd, data)
        self.count += len(given.archives)

    def extend(self, given: Given, times: int) -> None:
        for _ in range(times):
            for first in range(0, len(given.archives), CHUNK):
                os.write(self.fd, b"".join(given.archives[first : first + CHUNK]))
        self.count += times * len(given.archives)

    def close(self) -> int:
        os.close(self.fd)
        return self.count


CONTENDERS: dict[str, type[Contender]] = {
    "Ostinato": Ostinato,
    "LMDB": Lmdb,
    "LMDB, writemap and putmulti": LmdbMapped,
    "SQLite": Sqlite,
    "bare log": Log,
}


def connect(path: Path) -> sqlite3.Connection:
    """A database as the benchmark has it: nothing begins a transaction by itself."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


def read_columns(path: Path) -> dict[str, Any]:
    """All records of a SQLite database as numpy columns; instructions as one text and where each record's begins."""
    connection = sqlite3.connect(path)
    hashes, texts, *scalars = zip(*connection.execute(READ), strict=True)
    connection.close()
    names = ("valid", "clock_cycles", "compiler_cycles", "fallback_used", "timestamp", "model_version")
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    out: dict[str, Any] = {
        "tir_hash": np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32),
        "text": np.frombuffer("".join(texts).encode(), np.uint8),
        "offsets": np.concatenate([[0], np.cumsum(lengths)]),
    }
    for name, column in zip(names, scalars, strict=True):
        if name == "clock_cycles":
            out["measured"] = np.array([cycles is not None for cycles in column])
            column = [cycles or 0 for cycles in column]  # noqa: PLW2901
        out[name] = np.array(column, np.int64)
    return out
