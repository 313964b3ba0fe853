"""The store's small catalog, `catalog.sqlite`: programs, contexts, model versions, finetunes, metadata.

Rule of this file: records never go here, and nothing that is needed to read one is here alone. Every row has a
checksum; a wrong one is named, never believed. No clock: times are given. Importing this loads sqlite3, so it is
imported where it is first used.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from ostinato.errors import DamageError
from ostinato.store import catalog_contexts, catalog_lineage
from ostinato.store.catalog_contexts import Contexts, JournalContext
from ostinato.store.catalog_lineage import Finetune, Lineage, ModelVersion
from ostinato.store.catalog_metadata import Metadata, item_of
from ostinato.store.catalog_rows import (
    BASELINES,
    CONTEXTS,
    FINETUNE_RECORDS,
    FINETUNES,
    METADATA,
    MODEL_VERSIONS,
    PROGRAMS,
    TABLES,
    Key,
    Table,
)
from ostinato.store.catalog_session import Session, in_order
from ostinato.store.program_rows import Program, baseline_of, check_baselines, own_of, settle_baselines
from ostinato.store.programs import Programs

__all__ = ["SIDE_FILES", "Catalog", "Finetune", "JournalContext", "ModelVersion", "Program"]

# what SQLite may keep beside the file: left there, a journal would be rolled back into the file's successor
SIDE_FILES = ("-journal", "-wal", "-shm")

_PROBLEMS = 100  # that SQLite itself finds

_PARSE: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    CONTEXTS.name: catalog_contexts.context_of,
    PROGRAMS.name: own_of,
    BASELINES.name: baseline_of,
    MODEL_VERSIONS.name: catalog_lineage.version_of,
    FINETUNES.name: catalog_lineage.finetune_of,
    FINETUNE_RECORDS.name: catalog_lineage.part_of,
    METADATA.name: item_of,
}


class Catalog(Contexts, Lineage):
    """The catalog of a store: see Database for what opening it means and what every call raises.

    Attributes:
        programs: what is to be compiled (Programs). metadata: free keys and JSON values (Metadata).
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        super().__init__(path, read_only=read_only)
        self.programs = Programs(self)
        self.metadata = Metadata(self)

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def check(self) -> list[str]:
        """Everything that is wrong, in words, naming file and row; empty if nothing is.

        Raises:
            VersionError: of a newer Ostinato. OSError: it cannot be read.

        Cost: O(bytes of the file); one read transaction, in which writers can prepare but not commit.
        """
        try:
            with self.reading() as session:
                parts = [
                    _integrity(session),
                    *(_damaged_rows(session, table) for table in TABLES),
                    catalog_contexts.check_values(session),
                    catalog_lineage.check_parts(session),
                    check_baselines(session),
                ]
                return [problem for part in parts for problem in _to_the_end(part)]
        except DamageError as error:
            return [str(error)]

    def salvage(
        self, into_path: str | os.PathLike[str], *, swap: Callable[[], None] | None = None
    ) -> tuple[int, int]:
        """Copy every row that is right into a new catalog; this file stays as it is.

        Args:
            swap: called when the new one is on the disk, to put this file aside, and its SIDE_FILES with it, and
                the new one in its place. Nobody else is within a call from before the first row is read until then.
        Returns:
            (rows kept, rows lost, as far as can be told): a stretch that cannot be read at all, be it a table or
            the whole file, counts as one. A finetune some of whose ids are lost says how many; a program, a
            baseline of which is lost, has the others.
        Raises:
            FileExistsError: there is something at `into_path`. FileNotFoundError: there is no catalog.
            VersionError: of a newer Ostinato.

        Cost: O(bytes of the file).
        """
        if os.path.lexists(into_path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fsdecode(into_path))
        counts: Counter[str] = Counter()
        with contextlib.ExitStack() as until_swapped:
            source: Session | None = None
            tables: list[Table] = []
            with contextlib.suppress(DamageError):  # no database at all, which nobody can be within either
                source, tables = until_swapped.enter_context(self.rescuing(alone=swap is not None))
            counts["lost"] += 1 if source is None else len(TABLES) - len(tables)
            try:
                with Catalog(into_path).writing() as target:
                    if source is not None:
                        for table in tables:
                            _salvage(source, target, table, counts)
                    catalog_lineage.settle(target, counts)
                    settle_baselines(target)
                if swap is not None:
                    swap()
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(into_path)
                raise
        return counts["kept"], counts["lost"]


def _integrity(session: Session) -> Iterator[str]:
    for (text,) in session.query(f"PRAGMA integrity_check({_PROBLEMS})"):
        if text != "ok":
            yield f"{session.path}: SQLite: {text}"


def _damaged_rows(session: Session, table: Table) -> Iterator[str]:
    for key in session.rising(table.select_keys):
        try:
            session.there(table, key, _PARSE[table.name])
        except DamageError as error:
            yield str(error)


def _to_the_end(problems: Iterator[str]) -> Iterator[str]:
    """The problems, and as the last one what kept us from finding more."""
    try:
        yield from problems
    except DamageError as error:
        yield str(error)


def _salvage(source: Session, target: Session, table: Table, counts: Counter[str]) -> None:
    parse = _PARSE[table.name]
    for key in _reachable(source, table, counts):
        try:
            cells, item = source.there(table, key, lambda cells: (cells, parse(cells)))
        except DamageError:
            counts["lost"] += 1
            continue
        if table is CONTEXTS:
            catalog_contexts.keep(target, item)
        else:
            target.insert(table, cells)
        counts["kept"] += 1


def _reachable(source: Session, table: Table, counts: Counter[str]) -> Iterator[Key]:
    """The keys from the beginning as far as they can be read, then those from the end."""
    last: Key | None = None
    try:
        for key in source.rising(table.select_keys):
            last = key
            yield key
    except DamageError:
        counts["lost"] += 1
        with contextlib.suppress(DamageError):
            for key in source.rising(table.select_keys_backwards, falling=True):
                if in_order(key) <= in_order(last):
                    break
                yield key
