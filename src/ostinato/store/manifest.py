"""MANIFEST: which segments are live and which journals are in them. What it does not name does not count.

Rule of this file: whatever a hostile file says, names are numbers and lengths are bounded.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ostinato.errors import DamageError, UsageError
from ostinato.result import FIELDS
from ostinato.store import layout
from ostinato.store.fs import FileSystem

MANIFEST_END = 1 << 26  # bytes; a larger one is refused before it is read
_KINDS = "biuf"
_COLUMNS = 256  # extra ones, at most
_DTYPE = re.compile(r"[<|][biuf][1248]")
_DEFAULTS = ("nan", "inf", "-inf")  # those that JSON has no word for


@dataclass(frozen=True, slots=True)
class Extra:
    """An extra column: a fixed-width number kept beside each record.

    Args:
        dtype: bool, or a signed, unsigned or floating number; kept little-endian.
        default: what a record gets that comes without; None: it must come with one.
    """

    dtype: DTypeLike
    default: float | int | bool | None = None

    def __post_init__(self) -> None:
        try:
            kind = np.dtype(self.dtype).newbyteorder("<")
        except TypeError as error:
            raise UsageError(f"expected a dtype, got {self.dtype!r}", "extras") from error
        if kind.kind not in _KINDS or kind.itemsize > 8:
            raise UsageError(f"expected a bool or a number of at most 8 bytes, got {kind}", "extras")
        object.__setattr__(self, "dtype", kind)
        if self.default is not None:
            default = self.value(self.default, "extras").item()
            # one and the same nan, so that two columns with it are equal
            object.__setattr__(self, "default", default if default == default else math.nan)  # noqa: PLR0124

    @property
    def kind(self) -> np.dtype[Any]:
        """The dtype, little-endian."""
        kind: np.dtype[Any] = self.dtype  # type: ignore[assignment]
        return kind

    def value(self, given: Any, name: str) -> np.ndarray[Any, np.dtype[Any]]:
        """Numbers as this column keeps them.

        Raises:
            UsageError: they are of another kind, or do not fit.
        """
        try:
            array = np.asarray(given)
            if array.dtype.kind not in _KINDS:
                raise TypeError(f"expected {self.kind}, got {array.dtype}")
            with np.errstate(all="ignore"):
                cast = array.astype(self.kind)
        except (TypeError, ValueError, OverflowError) as error:
            raise UsageError(str(error), name) from None
        if array.dtype != self.kind:
            if self.kind.kind == "f":
                fits = bool(np.all(np.isfinite(cast) == np.isfinite(array)))
            else:
                with np.errstate(all="ignore"):
                    fits = bool(np.all(cast == array))
            if not fits:
                raise UsageError(f"does not fit into {self.kind}", name)
        return cast


Extras = dict[str, Extra]


def as_extras(given: Mapping[str, Extra | DTypeLike] | None) -> Extras:
    """Extra columns by name.

    Raises:
        UsageError: a name is no identifier, or one of the eight fields'; a dtype is none.
    """
    out: Extras = {}
    for name, extra in (given or {}).items():
        if not isinstance(name, str) or not name.isidentifier() or not name.isascii() or len(name) > 64:
            raise UsageError(f"expected an ASCII identifier of at most 64 letters, got {name!r}", "extras")
        if name in FIELDS:
            raise UsageError(f"{name!r} is a build result's own field", "extras")
        out[name] = extra if isinstance(extra, Extra) else Extra(extra)
    if len(out) > _COLUMNS:
        raise UsageError(f"expected at most {_COLUMNS} columns, got {len(out)}", "extras")
    return out


def extras_dtype(extras: Extras) -> np.dtype[np.void]:
    """A row of them: one after the other, unaligned."""
    return np.dtype([(name, extra.kind) for name, extra in extras.items()])


Ranges = tuple[tuple[int, int], ...]  # of journal numbers, first and last, rising, apart


def add_ranges(ranges: Ranges, numbers: Iterable[int]) -> Ranges:
    """With these numbers in them."""
    merged: list[list[int]] = []
    for first, last in sorted([*ranges, *((n, n) for n in numbers)]):
        if merged and first <= merged[-1][1] + 1:
            merged[-1][1] = max(merged[-1][1], last)
        else:
            merged.append([first, last])
    return tuple((a, b) for a, b in merged)


def remove_numbers(ranges: Ranges, numbers: Iterable[int]) -> Ranges:
    """Without these numbers."""
    out = list(ranges)
    for number in numbers:
        for k, (first, last) in enumerate(out):
            if first <= number <= last:
                out[k : k + 1] = [(a, b) for a, b in ((first, number - 1), (number + 1, last)) if a <= b]
                break
    return tuple(out)


def in_ranges(ranges: Ranges, number: int) -> bool:
    """Is it in one of them? O(log n)."""
    low, high = 0, len(ranges)
    while low < high:
        middle = (low + high) // 2
        first, last = ranges[middle]
        if number > last:
            low = middle + 1
        elif number < first:
            high = middle
        else:
            return True
    return False


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """A live segment: its folder's name, its records, the bytes of all its files."""

    name: str
    records: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What MANIFEST says; see FORMAT.md."""

    store_id: bytes
    created: int
    generation: int = 1
    extras: Extras = dataclasses.field(default_factory=dict)
    segments: tuple[SegmentEntry, ...] = ()
    next_segment: int = 1
    retired: Ranges = ()
    damaged: Ranges = ()  # retired, and to be put aside
    merged: Mapping[str, tuple[tuple[int, int], ...]] = dataclasses.field(default_factory=dict)

    def dumps(self) -> bytes:
        """The file's bytes."""
        damaged = {"damaged": [list(pair) for pair in self.damaged]} if self.damaged else {}
        return layout.signed(
            {
                "ostinato_store": layout.VERSION,
                "store_id": self.store_id.hex(),
                "created": self.created,
                "generation": self.generation,
                "extras": [[name, e.kind.str, _plain(e.default)] for name, e in self.extras.items()],
                "segments": [dataclasses.asdict(entry) for entry in self.segments],
                "next_segment": self.next_segment,
                "retired": [list(pair) for pair in self.retired],
                "merged": {other: [list(pair) for pair in seen] for other, seen in self.merged.items()},
                **damaged,
            }
        )

    def is_retired(self, journal: int) -> bool:
        """Are this journal's records in segments, or removed for good?"""
        return in_ranges(self.retired, journal)

    @property
    def last_retired(self) -> int:
        """The highest number of a retired journal; 0 if there is none."""
        return self.retired[-1][1] if self.retired else 0


def _plain(default: float | int | bool | None) -> Any:
    return repr(default) if isinstance(default, float) and not math.isfinite(default) else default


def loads(data: bytes, source: str) -> Manifest:
    """The manifest of a file's bytes.

    Raises:
        DamageError: it is none. VersionError: it is of a newer version.
    """
    value = layout.unsigned(data, source, "ostinato_store")
    try:
        store_id = bytes.fromhex(_of(value, "store_id", str))
        if len(store_id) != 16:
            raise ValueError("`store_id` has 16 bytes")
        segments = _segments(value)
        next_segment = _count(value, "next_segment")
        if any(int(entry.name) >= next_segment for entry in segments) or next_segment >= 10**18:
            raise ValueError("`next_segment` is not above all segments")
        return Manifest(
            store_id=store_id,
            created=_count(value, "created"),
            generation=_count(value, "generation"),
            extras=_extras(value),
            segments=segments,
            next_segment=next_segment,
            retired=ranges_of(value),
            damaged=ranges_of(value, "damaged") if "damaged" in value else (),
            merged={other: _merged(seen) for other, seen in _of(value, "merged", dict).items()},
        )
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise DamageError(f"no manifest: {error}", source=source) from None


def read_manifest(fs: FileSystem, root: str) -> Manifest:
    """MANIFEST as it is now.

    Raises:
        DamageError: it is none, or no plain file. VersionError: it is of a newer version. OSError: as the system says.
    """
    path = os.path.join(root, layout.MANIFEST)
    try:
        data = fs.read(path, MANIFEST_END)
    except UsageError as error:  # a link, or larger than any
        raise DamageError(f"no manifest: {error}", source=path) from None
    return loads(data, path)


def _extras(value: Mapping[str, Any]) -> Extras:
    extras: Extras = {}
    for name, kind, default in _of(value, "extras", list):
        if not isinstance(kind, str) or not _DTYPE.fullmatch(kind):
            raise ValueError(f"`extras`: no dtype of a column: {kind!r:.60}")
        if default is not None and not isinstance(default, bool | int | float) and default not in _DEFAULTS:
            raise ValueError(f"`extras`: no default: {default!r:.60}")
        if isinstance(name, str) and name in extras:
            raise ValueError(f"`extras`: {name!r:.60} stands twice")
        extras |= as_extras({name: Extra(kind, float(default) if isinstance(default, str) else default)})
    if len(extras) > _COLUMNS:
        raise ValueError(f"`extras`: more than {_COLUMNS} columns")
    return extras


def _segments(value: Mapping[str, Any]) -> tuple[SegmentEntry, ...]:
    segments = tuple(SegmentEntry(**entry) for entry in _of(value, "segments", list))
    for entry in segments:
        # a number, so that no name leads anywhere else
        if not isinstance(entry.name, str) or not layout.SEGMENT_NAME.fullmatch(entry.name):
            raise ValueError(f"a segment's name is a number, not {entry.name!r:.60}")
        if not is_count(entry.records) or not is_count(entry.bytes):
            raise ValueError(f"segment {entry.name}: its sizes are not counts")
    if len({entry.name for entry in segments}) != len(segments):
        raise ValueError("a segment stands twice")
    return segments


def _merged(seen: Any) -> tuple[tuple[int, int], ...]:
    ranges = tuple((a, b) for a, b in seen)
    if not all(is_count(a) and is_count(b) and a <= b for a, b in ranges):
        raise ValueError("`merged` holds no ranges of ids")
    return ranges


def ranges_of(value: Mapping[str, Any], name: str = "retired") -> Ranges:
    """Journal numbers in a manifest.

    Raises:
        ValueError: it is none.
    """
    ranges = tuple((a, b) for a, b in _of(value, name, list))
    low = 0
    for first, last in ranges:
        if not is_count(first) or not is_count(last) or not low < first <= last < layout.JOURNAL_END:
            raise ValueError(f"`{name}` is not rising")
        low = last + 1
    return ranges


def _of(value: Mapping[str, Any], name: str, kind: type) -> Any:
    found = value[name]
    if not isinstance(found, kind):
        raise ValueError(f"`{name}` is no {kind.__name__}")
    return found


def is_count(value: object) -> bool:
    """Is it an int that a file may count with?"""
    return type(value) is int and 0 <= value < 2**63


def _count(value: Mapping[str, Any], name: str) -> int:
    if not is_count(value[name]):
        raise ValueError(f"`{name}` is no count")
    return int(value[name])
