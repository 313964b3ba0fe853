"""A program's row and its baselines' rows in the catalog: what the cells say, and how the rows belong together.

Rule of this file: a program's own row says how many baselines it has and which is the newest. So a baseline that is
hidden, by damage in the index that leads to it, is missed; an older one never passes for the newest.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ostinato.errors import DamageError
from ostinato.result import HASH_BYTES, U64_END
from ostinato.store.catalog_rows import BASELINES, PROGRAMS, Cell, from_json, to_json
from ostinato.store.catalog_session import Session

_DECIMAL = re.compile("0|[1-9][0-9]{0,19}")
_NUMBERS_SQL = "SELECT number FROM baselines WHERE tir_hash = ? ORDER BY number"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program, and a baseline of it: what one toolchain made of it. None: not known, not measured.

    Attributes:
        tir_hash: 32 bytes that name it. tir: its TIR, as bytes.
        baseline: the instructions that the toolchain made, costing `cycles`, in [0, 2**64).
        recorded_at: Unix seconds; of the baseline, or of the program where it has none.
    """

    tir_hash: bytes
    name: str | None = None
    tir: bytes | None = field(default=None, repr=False)
    baseline: tuple[str, ...] | None = None
    cycles: int | None = None
    toolchain: str | None = None
    recorded_at: int

    @property
    def has_baseline(self) -> bool:
        """Is anything said of what a toolchain made?"""
        return (self.baseline, self.cycles, self.toolchain) != (None, None, None)


@dataclass(frozen=True, slots=True)
class Own:
    """What a program's own row says: the program without a baseline, how many it has, and which is the newest."""

    program: Program
    baselines: int
    newest: int | None

    @property
    def cells(self) -> tuple[Cell, ...]:
        """As the table keeps it."""
        program = self.program
        return (
            program.tir_hash,
            program.name,
            self.baselines,
            self.newest,
            program.recorded_at,
            program.tir,
        )


def baselines(session: Session, tir_hash: bytes) -> list[Program]:
    """A program with each of its baselines alone, the oldest first; damaged ones are left out."""
    numbers = session.rising(_NUMBERS_SQL, tir_hash)
    # what an index leads to is looked at: it may be damaged
    return [item for _, item in session.rows(BASELINES, baseline_of, numbers) if item.tir_hash == tir_hash]


def joined(own: Own, item: Program) -> Program:
    """The baseline of `item`, with what the program's own row says."""
    return replace(item, name=own.program.name, tir=own.program.tir)


def newest(session: Session, tir_hash: bytes) -> Program | None:
    """A program with its newest baseline. Raises DamageError if a row of these is damaged, or hidden."""
    own = session.row(PROGRAMS, (tir_hash,), own_of)
    return None if own is None else newest_of(session, own)


def newest_of(session: Session, own: Own) -> Program:
    """The same, by its own row."""
    if own.newest is None:
        return own.program
    found = session.row(BASELINES, (own.newest,), baseline_of)
    if found is None or found[1].tir_hash != own.program.tir_hash:
        raise DamageError(miscount(own, own.baselines - 1), source=session.path)
    return joined(own, found[1])


def miscount(own: Own, found: int) -> str:
    """That baselines are missing, in words."""
    return f"row {PROGRAMS.row((own.program.tir_hash,))}: {found} of {own.baselines} baselines are here"


def baseline_cells(number: int, program: Program) -> tuple[Cell, ...]:
    """A baseline, as the table keeps it."""
    return (
        number,
        program.tir_hash,
        None if program.baseline is None else to_json(program.baseline, "baseline"),
        None if program.cycles is None else str(program.cycles),
        program.toolchain,
        program.recorded_at,
    )


def own_of(cells: tuple[Any, ...]) -> Own:
    """What a checked row of programs says. Raises DamageError if a cell is not what it should be."""
    tir_hash, name, baselines, newest, at, tir = cells
    if len(tir_hash) != HASH_BYTES or at < 0:
        raise PROGRAMS.damage(cells, "a hash or a time is out of range")
    if baselines < 0 or (newest is None) != (baselines == 0):
        raise PROGRAMS.damage(cells, f"{baselines} baselines, of which {newest} is the newest")
    return Own(Program(tir_hash=tir_hash, name=name, tir=tir, recorded_at=at), baselines, newest)


def baseline_of(cells: tuple[Any, ...]) -> tuple[int, Program]:
    """A checked row's number, and a program with that baseline alone. Raises DamageError like `own_of`."""
    number, tir_hash, instructions, cycles, toolchain, at = cells
    if len(tir_hash) != HASH_BYTES or at < 0:
        raise BASELINES.damage(cells, "a hash or a time is out of range")
    if cycles is not None and not (_DECIMAL.fullmatch(cycles) and int(cycles) < U64_END):
        raise BASELINES.damage(cells, "`cycles` is no int in [0, 2**64)")
    if instructions is not None:
        instructions = from_json(BASELINES, cells, "instructions", list)
        if not all(isinstance(word, str) for word in instructions):
            raise BASELINES.damage(cells, "`instructions` is no list of texts")
    return number, Program(
        tir_hash=tir_hash,
        baseline=None if instructions is None else tuple(instructions),
        cycles=None if cycles is None else int(cycles),
        toolchain=toolchain,
        recorded_at=at,
    )


def check_baselines(session: Session) -> Iterator[str]:
    """What is wrong between programs and their baselines, in words."""
    found = _found(session)
    for own in session.rows(PROGRAMS, own_of):
        numbers = found.pop(own.program.tir_hash, [])
        if (len(numbers), max(numbers, default=None)) != (own.baselines, own.newest):
            yield f"{session.path}: {miscount(own, len(numbers))}"
    for tir_hash, numbers in found.items():
        yield f"{session.path}: row {PROGRAMS.row((tir_hash,))}: missing, but {len(numbers)} of its baselines are here"


def settle_baselines(session: Session) -> None:
    """After rows were lost: every program says which baselines it has, and every baseline has its program."""
    found = _found(session)
    for (tir_hash,) in list(session.rising(PROGRAMS.select_keys)):
        own = session.there(PROGRAMS, (tir_hash,), own_of)
        numbers = found.pop(tir_hash, [])
        settled = replace(own, baselines=len(numbers), newest=max(numbers, default=None))
        if settled != own:
            session.insert(PROGRAMS, settled.cells)
    for tir_hash, numbers in found.items():
        _, first = session.there(BASELINES, (numbers[0],), baseline_of)
        program = Program(tir_hash=tir_hash, recorded_at=first.recorded_at)
        session.insert(PROGRAMS, Own(program, len(numbers), numbers[-1]).cells)


def _found(session: Session) -> dict[bytes, list[int]]:
    """The numbers of each program's baselines, rising."""
    found: defaultdict[bytes, list[int]] = defaultdict(list)
    for number, item in session.rows(BASELINES, baseline_of):
        found[item.tir_hash].append(number)
    return dict(found)
