"""The catalog's tables and rows: what each cell holds, and the checksum that says a row is as it was written.

Rule of this file: pure, and without sqlite3; cells in, checked cells out. FORMAT.md says it in words ("The catalog").
A checksum finds damage, not malice: who can write the file can write checksums too, so types and ranges are checked
wherever a cell is used.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ostinato.errors import DamageError, UsageError

VERSION = 1  # PRAGMA user_version
APPLICATION_ID = 0x4F535443  # "OSTC": PRAGMA application_id, by which `file` knows it
CELL_END = 1 << 24  # bytes of one text or blob; a longer one is refused
ROW_END = 1 << 26  # bytes of a row, for SQLite's own limit
I64_END = 1 << 63

Cell: TypeAlias = int | str | bytes | None
Key: TypeAlias = tuple[Cell, ...]

_TAGS: dict[type, bytes] = {int: b"i", str: b"t", bytes: b"b"}


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose rows end in their own checksum.

    Args:
        columns: name -> SQL type, with "?" where it may be NULL; `crc32` comes after them.
        key: how many of the first columns name a row.
        by_key: is the table itself ordered by that key (WITHOUT ROWID)?
    """

    name: str
    columns: Mapping[str, str]
    key: int = 1
    by_key: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the columns that name a row."""
        return tuple(self.columns)[: self.key]

    @property
    def create(self) -> str:
        """The statement that makes it, as sqlite_master keeps it."""
        lines = [
            f"  {name} {kind[:-1] if kind[-1] == '?' else kind + ' NOT NULL'}"
            for name, kind in self.columns.items()
        ]
        lines += ["  crc32 INTEGER NOT NULL", f"  PRIMARY KEY ({', '.join(self.keys)})"]
        return (
            f"CREATE TABLE {self.name} (\n"
            + ",\n".join(lines)
            + "\n)"
            + (" WITHOUT ROWID" if self.by_key else "")
        )

    @property
    def select(self) -> str:
        """The statement that reads the row of a key."""
        where = " AND ".join(f"{name} = ?" for name in self.keys)
        return f"SELECT {', '.join(self.columns)}, crc32 FROM {self._alone} WHERE {where}"

    @property
    def select_keys(self) -> str:
        """The statement that lists all keys in order; it touches no long cells."""
        keys = ", ".join(self.keys)
        return f"SELECT {keys} FROM {self._alone} ORDER BY {keys}"

    @property
    def select_keys_backwards(self) -> str:
        """The same from the end."""
        keys = ", ".join(self.keys)
        return f"SELECT {keys} FROM {self._alone} ORDER BY {', '.join(f'{key} DESC' for key in self.keys)}"

    @property
    def _alone(self) -> str:
        # not by an index, which may be damaged where the table is whole; WITHOUT ROWID, the table is its own index
        return self.name if self.by_key else f"{self.name} NOT INDEXED"

    @property
    def insert(self) -> str:
        """The statement that keeps a row, instead of one that has its key."""
        return f"INSERT OR REPLACE INTO {self.name} VALUES ({', '.join('?' * (len(self.columns) + 1))})"

    def row(self, key: Sequence[Cell]) -> str:
        """A row's name for messages, as in "programs 12": ASCII and short."""
        words = [cell.hex() if isinstance(cell, bytes) else str(cell) for cell in key]
        return " ".join([self.name, *(ascii(word)[1:-1][:64] for word in words)])

    def crc32(self, cells: Sequence[Cell]) -> int:
        """CRC-32 of the row's canonical bytes: the table's name as a text, then each cell in the order of the columns.

        A cell is one byte for its type and then: NULL `n`, nothing; integer `i`, int64; text `t` and blob `b`,
        u64 bytes and the bytes (text in UTF-8). Little endian.
        """
        crc = 0
        for cell in (self.name, *cells):
            crc = zlib.crc32(_canonical(cell), crc)
        return crc

    def checked(self, cells: Sequence[Any]) -> tuple[Any, ...]:
        """The cells of a row that was read, its checksum taken off.

        Raises:
            DamageError: a type or the checksum is wrong; names the row.
        """
        *row, crc = cells
        for (name, kind), cell in zip(self.columns.items(), row, strict=True):
            if type(cell) is not _TYPES[kind.rstrip("?")] and not (cell is None and kind[-1] == "?"):
                raise self.damage(row, f"`{name}` is no {kind.rstrip('?').lower()}")
        computed = self.crc32(row)
        if crc != computed:
            kept = f"{crc:08x}" if type(crc) is int else "no INTEGER"
            raise self.damage(row, f"crc mismatch: {kept} is kept, {computed:08x} computed")
        return tuple(row)

    def damage(self, cells: Sequence[Cell], cause: str) -> DamageError:
        """What is wrong with a row, naming it."""
        return DamageError(f"row {self.row(cells[: self.key])}: {cause}")


_TYPES: dict[str, type] = {"INTEGER": int, "TEXT": str, "BLOB": bytes}


def _canonical(cell: Cell) -> bytes:
    if cell is None:
        return b"n"
    if isinstance(cell, int):
        return b"i" + struct.pack("<q", cell)
    data = cell.encode() if isinstance(cell, str) else cell
    return _TAGS[type(cell)] + struct.pack("<Q", len(data)) + data


CONTEXTS = Table("contexts", {"journal": "INTEGER", "context": "TEXT", "opened": "INTEGER"})
# a program's own row says how many baselines it has and which is the newest, so that one that is hidden, by damage
# in the index that leads to it, is missed
PROGRAMS = Table(
    "programs",
    {
        "tir_hash": "BLOB",
        "name": "TEXT?",
        "baselines": "INTEGER",
        "newest": "INTEGER?",
        "recorded_at": "INTEGER",
        "tir": "BLOB?",  # last: what comes after a long cell is far away
    },
    by_key=True,
)
BASELINES = Table(
    "baselines",
    {
        "number": "INTEGER",
        "tir_hash": "BLOB",
        "instructions": "TEXT?",
        "cycles": "TEXT?",  # decimal: SQLite's integers end at 2**63
        "toolchain": "TEXT?",
        "recorded_at": "INTEGER",
    },
)
MODEL_VERSIONS = Table(
    "model_versions",
    {
        "version": "INTEGER",
        "parent": "INTEGER?",
        "finetune": "INTEGER?",
        "path": "TEXT?",
        "metrics": "TEXT",
        "recorded_at": "INTEGER",
    },
)
FINETUNES = Table(
    "finetunes",
    {
        "number": "INTEGER",
        "records": "INTEGER",
        "lost": "INTEGER",  # ids that a repair could not keep
        "config": "TEXT",
        "metrics": "TEXT",
        "base_version": "INTEGER?",
        "new_version": "INTEGER?",
        "recorded_at": "INTEGER",
    },
)
# the ids of a finetune in parts, each with the lowest and the highest, so that most parts need not be read to find one
FINETUNE_RECORDS = Table(
    "finetune_records",
    {"finetune": "INTEGER", "part": "INTEGER", "lowest": "INTEGER", "highest": "INTEGER", "ids": "BLOB"},
    key=2,
    by_key=True,
)
METADATA = Table("metadata", {"key": "TEXT", "value": "TEXT"}, by_key=True)

TABLES = (CONTEXTS, PROGRAMS, BASELINES, MODEL_VERSIONS, FINETUNES, FINETUNE_RECORDS, METADATA)
# found by, never believed: what they lead to is read from the tables above and checked
CONTEXT_VALUES = (
    "CREATE TABLE context_values (\n  key TEXT NOT NULL,\n  value TEXT NOT NULL,\n  journal INTEGER NOT NULL,\n"
    "  PRIMARY KEY (key, value, journal)\n) WITHOUT ROWID"
)
BASELINES_OF = "CREATE INDEX baselines_of ON baselines (tir_hash, number)"
SCHEMA: dict[tuple[str, str, str], str] = {
    **{("table", table.name, table.name): table.create for table in TABLES},
    ("table", "context_values", "context_values"): CONTEXT_VALUES,
    ("index", "baselines_of", "baselines"): BASELINES_OF,
}


def checked_text(value: Any, name: str) -> str:
    """A text that UTF-8 can say and a cell can hold."""
    if not isinstance(value, str):
        raise UsageError(f"expected a str, got {shown(value)}", name)
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise UsageError(f"expected text without lone surrogates, got {shown(value)}", name) from None
    if size >= CELL_END:
        raise UsageError(f"expected fewer than {CELL_END:,} bytes, got {size:,}", name)
    return str(value)


def checked_int(value: Any, name: str, end: int = I64_END, low: int = 0) -> int:
    """An int in [low, end)."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and low <= value < end:
        return int(value)
    top = f"2**{end.bit_length() - 1}" if end & (end - 1) == 0 else f"{end}"
    raise UsageError(f"expected an int in [{low}, {top}), got {shown(value)}", name)


def to_json(value: Any, name: str) -> str:
    """JSON text of a value: as short as it can be, names in the order given; numpy's scalars as what they hold.

    Raises:
        UsageError: it holds what JSON cannot say and give back (NaN, names that are no str, an int beyond 64 bits,
            nesting without end), or is longer than a cell; names the place.
    """
    try:
        text = json.dumps(_plain(value, name), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except RecursionError:
        raise UsageError("nested too deeply", name) from None
    return checked_text(text, name)


def _plain(value: Any, name: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return checked_text(value, name)
    if isinstance(value, int) and -I64_END <= value < 2 * I64_END:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, Mapping):
        return {
            checked_text(key, f"{name}, a name"): _plain(item, f"{name}.{_word(key)}")
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{name}[{i}]") for i, item in enumerate(value)]
    raise UsageError(f"expected what JSON can say (no NaN, ints of 64 bits), got {shown(value)}", name)


def from_json(table: Table, cells: Sequence[Cell], column: str, kind: type) -> Any:
    """The value of a row's JSON cell, which is of this type.

    Raises:
        DamageError: it is no JSON, or of another type; names the row.
    """
    text = cells[tuple(table.columns).index(column)]
    try:
        value = json.loads(text, parse_constant=_refuse_constant)  # type: ignore[arg-type]
    except (ValueError, RecursionError):  # also ints of thousands of digits
        raise table.damage(cells, f"`{column}` is no JSON that can be read") from None
    if not isinstance(value, kind):
        raise table.damage(cells, f"`{column}` is no JSON {kind.__name__}")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _word(key: Any) -> str:
    return ascii(key)[1:-1][:40]


def shown(value: Any) -> str:
    """A value for a message: ASCII on one line, and short."""
    text = (
        f"an int of {value.bit_length()} bits"
        if isinstance(value, int) and value.bit_length() > 200
        else ascii(value)
    )
    return text if len(text) <= 60 else f"{text[:57]}..."
