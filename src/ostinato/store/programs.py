"""What is to be compiled: for each tir_hash its TIR, its name, and what the ordinary compiler makes of it.

Rule of this file: baselines are added, never changed. The newest one of a program counts; the others are its history.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import DamageError, UsageError
from ostinato.result import HASH_BYTES, U64_END
from ostinato.store.catalog_database import Database
from ostinato.store.catalog_rows import (
    BASELINES,
    CELL_END,
    PROGRAMS,
    checked_int,
    checked_text,
    shown,
    to_json,
)
from ostinato.store.catalog_session import Session
from ostinato.store.program_rows import (
    Own,
    Program,
    baseline_cells,
    baseline_of,
    baselines,
    joined,
    miscount,
    newest,
    newest_of,
    own_of,
)

_PAGE = 16  # programs that iterating reads at a time

Hash = bytes | bytearray | memoryview | NDArray[np.uint8]


class Programs:
    """The programs of a store, reachable as `store.programs`. Calls raise, besides their own errors, Database's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(
        self,
        tir_hash: Hash,
        *,
        tir: bytes | bytearray | memoryview | None = None,
        name: str | None = None,
        baseline: Sequence[str] | None = None,
        cycles: int | None = None,
        toolchain: str | None = None,
        at: int,
    ) -> Program:
        """Keep what is known of a program; what is known already costs no write. Returns what is kept now.

        A name and a TIR are the program's, the last name given counts. The others are held against the newest
        baseline of that program and toolchain. What is not given differs from nothing. What was not known is
        completed, as a new baseline. Instructions or cycles that are others than before make a new baseline of
        what was given alone: what the old compiler's output cost says nothing about the new one's.

        Raises:
            UsageError: an argument is wrong, or the TIR is not that which is kept for the same hash.
            DamageError: the program's row is damaged.

        Cost: O(baselines of this program).
        """
        given = Program(
            tir_hash=checked_hash(tir_hash),
            name=None if name is None else checked_text(name, "name"),
            tir=None if tir is None else _checked_tir(tir),
            baseline=None if baseline is None else _checked_baseline(baseline),
            cycles=None if cycles is None else checked_int(cycles, "cycles", U64_END),
            toolchain=None if toolchain is None else checked_text(toolchain, "toolchain"),
            recorded_at=checked_int(at, "at"),
        )
        self._database.refuse_read_only()
        with self._database.reading() as session:
            own, kept, new = _plan(session, given)
            if own == new:
                return kept
        with self._database.writing() as session:
            own, kept, new = _plan(session, given)  # again, since somebody may have been faster
            if own != new:
                session.insert(PROGRAMS, new.cells)
            if new.newest is not None and (own is None or own.newest != new.newest):
                session.insert(BASELINES, baseline_cells(new.newest, kept))
        return kept

    def get(self, tir_hash: Hash) -> Program | None:
        """A program with its newest baseline, of whichever toolchain, or None.

        Raises:
            DamageError: the program's row, or that baseline's, is damaged.
        """
        digest = checked_hash(tir_hash)
        with self._database.reading() as session:
            return newest(session, digest)

    def history(self, tir_hash: Hash) -> list[Program]:
        """A program with each of its baselines, the oldest first; damaged ones are left out (`catalog.left_out`).

        Raises:
            DamageError: the program's row is damaged.
        """
        digest = checked_hash(tir_hash)
        with self._database.reading() as session:
            own = session.row(PROGRAMS, (digest,), own_of)
            if own is None:
                return []
            found = baselines(session, digest)
            if len(found) != own.baselines:
                session.leave_out(DamageError(miscount(own, len(found)), source=session.path))
            return [joined(own, item) for item in found]

    def drift(self) -> list[Program]:
        """The programs, by tir_hash, whose baselines differ in cycles, with the newest; damaged ones are left out.

        Cost: O(all baselines), about 10 us each.
        """
        cycles: defaultdict[bytes, set[int]] = defaultdict(set)
        with self._database.reading() as session:
            for _, item in session.rows(BASELINES, baseline_of):
                if item.cycles is not None:
                    cycles[item.tir_hash].add(item.cycles)
            return list(_each(session, sorted(digest for digest, known in cycles.items() if len(known) > 1)))

    def __len__(self) -> int:
        """How many programs there are. Cost: O(programs)."""
        with self._database.reading() as session:
            return int(session.one("SELECT COUNT(*) FROM programs"))

    def __contains__(self, tir_hash: object) -> bool:
        """Is anything kept of it?"""
        if not isinstance(tir_hash, (bytes, bytearray, memoryview, np.ndarray)):
            return False
        digest = checked_hash(tir_hash)
        with self._database.reading() as session:
            return session.one("SELECT 1 FROM programs WHERE tir_hash = ?", digest) is not None

    def __iter__(self) -> Iterator[Program]:
        """Every program with its newest baseline, by tir_hash; damaged ones are left out (`catalog.left_out`).

        It reads 16 at a time, and locks nothing in between: what is put meanwhile may be among them or not.
        """
        last = b""
        while True:
            with self._database.reading() as session:
                page = [digest for (digest,) in session.rising(_PAGE_SQL, last, _PAGE)]
                programs = list(_each(session, page))
            yield from programs
            if not page or page[-1] <= last:
                return
            last = page[-1]


# blobs only: nothing else is above x''
_PAGE_SQL = "SELECT tir_hash FROM programs WHERE tir_hash > ? ORDER BY tir_hash LIMIT ?"


def _plan(session: Session, given: Program) -> tuple[Own | None, Program, Own]:
    """(the program's row, what is kept once `given` is put, the row as it is then)"""
    own = session.row(PROGRAMS, (given.tir_hash,), own_of)
    then = own or Own(Program(tir_hash=given.tir_hash, recorded_at=given.recorded_at), 0, None)
    program = then.program
    if _differ(given.tir, program.tir):
        raise UsageError(f"another TIR is kept for {given.tir_hash.hex()}: a hash names one for ever", "tir")
    name, tir = _either(given.name, program.name), _either(given.tir, program.tir)
    then = replace(then, program=replace(program, name=name, tir=tir))
    if not given.has_baseline:
        return own, newest_of(session, then), then
    kept = baselines(session, given.tir_hash)
    last = next((item for item in reversed(kept) if item.toolchain == given.toolchain), None)
    if last is not None and not (
        _differ(given.baseline, last.baseline) or _differ(given.cycles, last.cycles)
    ):
        instructions, cycles = _either(given.baseline, last.baseline), _either(given.cycles, last.cycles)
        if (instructions, cycles) == (last.baseline, last.cycles):
            return own, joined(then, last), then
        given = replace(given, baseline=instructions, cycles=cycles)
    then = replace(then, baselines=then.baselines + 1, newest=session.next_number(("baselines", "number")))
    return own, joined(then, given), then


def _either(new: Any, old: Any) -> Any:
    return old if new is None else new


def _differ(new: Any, old: Any) -> bool:
    return new is not None and old is not None and new != old


def _each(session: Session, hashes: Sequence[bytes]) -> Iterator[Program]:
    for tir_hash in hashes:
        try:
            program = newest(session, tir_hash)
        except DamageError as error:
            session.leave_out(error)
        else:
            if program is not None:
                yield program


def checked_hash(value: Any) -> bytes:
    """32 bytes.

    Raises:
        UsageError: it is something else.
    """
    if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == 1:
        value = value.tobytes()
    if isinstance(value, (bytes, bytearray, memoryview)) and len(data := bytes(value)) == HASH_BYTES:
        return data
    raise UsageError(f"expected {HASH_BYTES} bytes, got {shown(value)}", "tir_hash")


def _checked_tir(value: Any) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise UsageError(f"expected bytes, got {shown(value)}", "tir")
    data = bytes(value)
    if len(data) >= CELL_END:
        raise UsageError(f"expected fewer than {CELL_END:,} bytes, got {len(data):,}", "tir")
    return data


def _checked_baseline(value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise UsageError(f"expected a list of str, got {shown(value)}", "baseline")
    words = tuple(checked_text(word, f"baseline[{i}]") for i, word in enumerate(value))
    to_json(words, "baseline")  # so that it is refused before anything is asked
    return words
