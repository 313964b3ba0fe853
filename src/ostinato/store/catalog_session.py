"""One call's work on the catalog: statements, and rows that are checked as they are read.

Rule of this file: what SQLite raises becomes what it means, ours or the system's, with the file's name.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from ostinato.errors import DamageError
from ostinato.store import catalog_rows
from ostinato.store.catalog_rows import Cell, Key, Table

BUSY_S = 30.0  # how long a call waits for another process's transaction
REPAIR = "`ostinato check --repair` puts the file aside and makes it anew"

T = TypeVar("T")


# a hostile file can be a tree whose pages repeat without end: steps of SQLite's machine that a statement may take
_STEPS, _STEPS_A_BYTE, STEPS_A_LOOK = 20_000_000, 64, 100_000


class Patience:
    """SQLite asks it every 100,000 steps: is it enough? Each statement has steps for its own."""

    def __init__(self, size_bytes: int) -> None:
        self._steps = _STEPS + size_bytes * _STEPS_A_BYTE
        self._left = self._steps

    def __call__(self) -> bool:
        """Shall the statement be given up?"""
        self._left -= STEPS_A_LOOK
        return self._left < 0

    def renew(self) -> None:
        """Another statement begins."""
        self._left = self._steps


class Session:
    """One call's connection, within a transaction.

    Args:
        left_out: where damaged rows that an answer leaves out are noted.
    """

    def __init__(
        self, connection: sqlite3.Connection, path: str, left_out: set[str], patience: Patience
    ) -> None:
        self._connection = connection
        self.path = path
        self._left_out = left_out
        self._patience = patience

    def query(self, sql: str, *cells: Cell) -> Iterator[tuple[Any, ...]]:
        """The rows of a statement as SQLite has them, unchecked."""
        with translating(self.path):
            yield from self._run(sql, cells)

    def rising(self, sql: str, *cells: Cell, falling: bool = False) -> Iterator[tuple[Any, ...]]:
        """The rows of a statement that orders them by all its columns and gives none twice.

        Raises:
            DamageError: they are not so: a file may be a tree whose pages repeat without end.
        """
        last: Key | None = None
        for key in self.query(sql, *cells):
            low, high = (key, last) if falling else (last, key)
            if last is not None and not in_order(low) < in_order(high):
                raise DamageError(f"rows or an index out of order; {REPAIR}", source=self.path)
            last = key
            yield key

    def one(self, sql: str, *cells: Cell) -> Any:
        """The first cell of the first row, or None."""
        return next(self.query(sql, *cells), (None,))[0]

    def next_number(self, *columns: tuple[str, str]) -> int:
        """One more than the highest number in these columns of tables, >= 1."""
        highest = [self.one(f"SELECT MAX({column}) FROM {table}") for table, column in columns]
        known = [number for number in highest if number is not None]
        if any(type(number) is not int or not 0 <= number < catalog_rows.I64_END - 1 for number in known):
            raise DamageError(f"numbers of {columns[0][0]} are out of range; {REPAIR}", source=self.path)
        return max(known, default=0) + 1

    def row(self, table: Table, key: Key, parse: Callable[[tuple[Any, ...]], T]) -> T | None:
        """What `parse` makes of the checked cells of a row; None if there is no such row.

        Raises:
            DamageError: it is damaged; names the row.
        """
        try:
            with translating(self.path):
                cells = self._run(table.select, key).fetchone()
        except DamageError as error:  # of this row's pages alone, perhaps
            raise DamageError(f"row {table.row(key)}: {error.cause}", source=self.path) from error
        try:
            return None if cells is None else parse(table.checked(cells))
        except DamageError as error:
            raise error.at(self.path) from None

    def there(self, table: Table, key: Key, parse: Callable[[tuple[Any, ...]], T]) -> T:
        """The same, of a key that was found: there must be such a row."""
        item = self.row(table, key, parse)
        if item is None:  # its key is no text, or an index leads nowhere
            raise DamageError(f"row {table.row(key)}: found, and then not", source=self.path)
        return item

    def rows(
        self, table: Table, parse: Callable[[tuple[Any, ...]], T], keys: Iterable[Key] | None = None
    ) -> Iterator[T]:
        """What `parse` makes of the rows of these keys, or of all rows; damaged ones are left out, and noted."""
        for key in self.rising(table.select_keys) if keys is None else keys:
            try:
                item = self.there(table, key, parse)
            except DamageError as error:
                self.leave_out(error)
            else:
                yield item

    def leave_out(self, error: DamageError) -> None:
        """Note a row that is left out of an answer."""
        self._left_out.add(str(error))

    def insert(self, table: Table, cells: Sequence[Cell]) -> None:
        """Keep a row, with its checksum, instead of the one that has its key."""
        self.execute(table.insert, *cells, table.crc32(cells))

    def execute(self, sql: str, *cells: Cell) -> int:
        """Change rows; says how many."""
        with translating(self.path):
            return self._run(sql, cells).rowcount

    def _run(self, sql: str, cells: Sequence[Cell]) -> sqlite3.Cursor:
        self._patience.renew()
        return self._connection.execute(sql, cells)


def in_order(key: Key | None) -> list[tuple[int, Any]]:
    """What compares as SQLite compares keys: NULL, numbers, texts, blobs."""
    ranks = {int: 1, float: 1, str: 2, bytes: 3}
    return [(ranks.get(type(cell), 0), 0 if cell is None else cell) for cell in key or ()]


@contextlib.contextmanager
def translating(path: str) -> Iterator[None]:
    """SQLite's errors become what they mean: ours, or the system's."""
    try:
        yield
    except sqlite3.ProgrammingError:  # our mistake
        raise
    except sqlite3.DatabaseError as error:
        raise _translated(error, path) from error
    except UnicodeDecodeError as error:  # a message of SQLite's that quotes what is no text
        raise DamageError(f"SQLite: malformed, with bytes that are no text; {REPAIR}", source=path) from error


def _translated(error: sqlite3.DatabaseError, path: str) -> Exception:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    if code == sqlite3.SQLITE_READONLY_DBMOVED:
        return OSError(errno.ESTALE, "the catalog has been put aside meanwhile: call again", path)
    match code & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return TimeoutError(errno.ETIMEDOUT, f"another process has held it for {BUSY_S:g} s", path)
        case sqlite3.SQLITE_FULL:
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        case sqlite3.SQLITE_IOERR:
            return OSError(errno.EIO, f"SQLite: {error}", path)
        case sqlite3.SQLITE_NOMEM:
            return MemoryError(f"SQLite, at {path}")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
            folder = os.path.dirname(path)
            if not os.path.isdir(folder):
                return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
            number = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
            return OSError(number, f"{os.strerror(number)}: the file, or its folder (SQLite: {error})", path)
    return DamageError(f"SQLite: {error}; {REPAIR}", source=path)
