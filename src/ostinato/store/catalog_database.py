"""The catalog's file: one SQLite connection a call, opened with distrust and closed when the call ends.

Rules of this file:
- No connection outlives a call. So nothing is locked while idle, a catalog that a repair has put aside is let go by
  every process, and no connection is carried over a fork: a fork waits for the calls of other threads. (SQLite notes
  a process's locks in its memory; a child that inherited the note would believe in locks that it does not have.)
- No code of a caller runs within a call.
- Nobody else in this process opens the file by itself while a call lasts: closing any descriptor of a file drops
  all POSIX locks that the process has on it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from ostinato.errors import DamageError, UsageError, VersionError
from ostinato.store import catalog_rows
from ostinato.store.catalog_rows import SCHEMA, Table
from ostinato.store.catalog_session import BUSY_S, REPAIR, STEPS_A_LOOK, Patience, Session, translating
from ostinato.store.forks import FORKS

_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")  # sqlite.org/fileformat2.html, section 3


class Database:
    """The file, and how one is to call it. Opening it touches nothing; a call opens, does its work, and closes.

    Args:
        path: where the catalog is, or will be with the first row that is put.
        read_only: never change the file, nor make it. A missing one is an empty catalog either way.

    Every call raises, besides its own errors:
        DamageError: the file is no catalog, or damaged. VersionError: of a newer Ostinato.
        TimeoutError: another process has held it for 30 s. OSError: as the system says.
        UsageError: after `close`; or it is read-only and the call would write.

    Any threads and processes may use one, also after a fork. Cost: about 0.3 ms to read, and four fsyncs to write.
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        self.path = os.path.abspath(os.fsdecode(path))
        self.read_only = read_only
        self._closed = False
        self._left_out: set[str] = set()

    @property
    def left_out(self) -> list[str]:
        """The damaged rows that listings have left out so far, each with its cause."""
        return sorted(self._left_out)

    def close(self) -> None:
        """No more calls. Those that other threads are within end as usual."""
        self._closed = True

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one state of the catalog."""
        with self._call() as connections:
            yield self._to_read(connections, "ro" if self.read_only else "rw")

    @contextlib.contextmanager
    def writing(self) -> Iterator[Session]:
        """A session whose changes are on the disk, all of them, when it ends without an error; else none."""
        self.refuse_read_only()
        with self._call() as connections:
            connection, session = self._connect(connections, "rwc")
            # a file that somebody has switched to another mode; what is so already costs nothing
            connection.execute("PRAGMA journal_mode = DELETE")
            # FULL, and the folder is synced when the journal has gone: else a power loss may bring it back
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.execute("BEGIN IMMEDIATE")
            if not self._is_made(connection):
                _make(connection)
            yield session
            connection.execute("COMMIT")  # else closing rolls back

    @contextlib.contextmanager
    def rescuing(self, *, alone: bool = False) -> Iterator[tuple[Session, list[Table]]]:
        """A session on whatever the file is, and the tables that are as they were made.

        Args:
            alone: nobody else, in any process, is within a call meanwhile, so that the file may be put aside.
        """
        if alone:
            self.refuse_read_only()
        with self._call() as connections:
            begin = "BEGIN EXCLUSIVE" if alone else "BEGIN"
            connection, session = self._begun(connections, "ro" if self.read_only else "rw", begin)
            self._refuse_newer(connection)
            found = set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))
            yield session, [t for t in catalog_rows.TABLES if ("table", t.name, t.name, t.create) in found]

    def refuse_read_only(self) -> None:
        """Raise UsageError if nothing may be written."""
        if self.read_only:
            raise UsageError(f"{self.path} was opened to be read only")

    @contextlib.contextmanager
    def _call(self) -> Iterator[contextlib.ExitStack]:
        if self._closed:
            raise UsageError("the catalog is closed")
        with FORKS.held_off(), contextlib.ExitStack() as connections, translating(self.path):
            yield connections

    def _to_read(self, connections: contextlib.ExitStack, mode: str) -> Session:
        with contextlib.suppress(FileNotFoundError):
            connection, session = self._begun(connections, mode, "BEGIN")
            if self._is_made(connection):
                return session
        # there is none yet: an empty one, which lives as long as the call
        connection = connections.enter_context(
            contextlib.closing(sqlite3.connect(":memory:", isolation_level=None))
        )
        _make(connection)
        return Session(connection, self.path, self._left_out, Patience(0))

    def _begun(
        self, connections: contextlib.ExitStack, mode: str, begin: str
    ) -> tuple[sqlite3.Connection, Session]:
        connection, session = self._connect(connections, mode)
        try:
            if begin == "BEGIN":  # an exclusive lock counts as a write
                connection.execute("PRAGMA query_only = ON")
            connection.execute(begin)
            connection.execute("PRAGMA schema_version").fetchone()  # the first look at the file
        except sqlite3.OperationalError as error:
            # half a write of a writer that died is to be taken back first, by whoever comes and may
            if mode == "ro" and error.sqlite_errorcode == sqlite3.SQLITE_READONLY_ROLLBACK:
                return self._begun(connections, "rw", begin)
            raise
        return connection, session

    def _connect(self, connections: contextlib.ExitStack, mode: str) -> tuple[sqlite3.Connection, Session]:
        """A connection that is closed with `connections`; mode as in SQLite's URIs: ro, rw, rwc.

        Raises:
            FileNotFoundError: there is no file, and the mode does not make one.
        """
        try:
            size = self._refuse_strange_files()
        except FileNotFoundError:
            if mode != "rwc":
                raise
            size = 0
        uri = f"{Path(self.path).as_uri()}?mode={mode}"
        try:
            connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
        except sqlite3.OperationalError:
            if mode != "rwc" and not os.path.lexists(self.path):  # put aside just now
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path) from None
            raise
        connections.enter_context(contextlib.closing(connection))
        patience = Patience(size)
        connection.set_progress_handler(patience, STEPS_A_LOOK)
        _distrust(connection)
        return connection, Session(connection, self.path, self._left_out, patience)

    def _refuse_strange_files(self) -> int:
        """The file's size in bytes.

        Raises:
            DamageError: it is a link or a pipe, or its rollback journal is nothing that SQLite has written for us.
        """
        size = _regular_size(self.path)
        journal = self.path + "-journal"
        with contextlib.suppress(FileNotFoundError):
            if _regular_size(journal) < 16:
                return size
            descriptor = os.open(journal, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                end = os.pread(descriptor, 16, max(os.fstat(descriptor).st_size - 16, 0))
            finally:
                os.close(descriptor)
            # rolling back deletes the super-journal that a journal names, whichever file that is
            if end[8:] == _JOURNAL_MAGIC and any(end[:4]):
                raise DamageError("names a super-journal, which a catalog never has", source=journal)
        return size

    def _refuse_newer(self, connection: sqlite3.Connection) -> tuple[int, int]:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application == catalog_rows.APPLICATION_ID and version > catalog_rows.VERSION:
            raise VersionError(
                f"{self.path} is of version {version}; this Ostinato reads version {catalog_rows.VERSION}: use a newer one"
            )
        return version, application

    def _is_made(self, connection: sqlite3.Connection) -> bool:
        """Is the schema there? Not yet, in a file that is just being made."""
        version, application = self._refuse_newer(connection)
        # one more than ours is enough to know that it is not ours
        found = connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_master LIMIT ?", (len(SCHEMA) + 1,)
        ).fetchall()
        if not (version or application or found):
            return False
        expected = {(*names, sql) for names, sql in SCHEMA.items()}
        strange = next(iter({*found} ^ expected), None)
        if application != catalog_rows.APPLICATION_ID or version != catalog_rows.VERSION:
            raise DamageError(f"no catalog of Ostinato's, by its header; {REPAIR}", source=self.path)
        if strange is not None or len(found) != len(expected):
            what = "twice the same" if strange is None else f"see `{ascii(strange[1])[1:-1][:60]}`"
            raise DamageError(f"its tables are not those of a catalog ({what}); {REPAIR}", source=self.path)
        return True


def _regular_size(path: str) -> int:
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        raise DamageError(f"not a regular file; {REPAIR}", source=path)
    return status.st_size


def _distrust(connection: sqlite3.Connection) -> None:
    """Set what a hostile file must not do; before anything is read from it."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA mmap_size = 0")  # a file that is cut short under us is an error, no SIGBUS
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, catalog_rows.ROW_END)
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, 1 << 16)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    # never an error of its own: text that is no UTF-8 is found by the row's checksum
    connection.text_factory = lambda data: data.decode(errors="replace")


def _make(connection: sqlite3.Connection) -> None:
    for sql in SCHEMA.values():
        connection.execute(sql)
    connection.execute(f"PRAGMA application_id = {catalog_rows.APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {catalog_rows.VERSION}")
