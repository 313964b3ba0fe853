"""Segments being written, one after the other, each up to a size.

Memory: a chunk of records, 8 bytes a record written, and twice `_LINES` bytes of amendments.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.archive.places import DamagedPlaces
from ostinato.errors import UsageError
from ostinato.results import Results
from ostinato.store import layout
from ostinato.store.fs import FileSystem
from ostinato.store.journal import Context
from ostinato.store.manifest import Manifest, SegmentEntry
from ostinato.store.segment import Part
from ostinato.store.segment_writing import SegmentFull, SegmentWriter
from ostinato.store.upkeep import KINDS
from ostinato.store.view import View

SEGMENT_BYTES = 1 << 30
_CHUNK = 1024
_LINES = 64 << 20  # bytes of amendments.jsonl: with more of them, further segments are begun
_WORDS, _TEXT = 1 << 20, 8 << 20  # instructions and bytes, about, of a chunk


def check_size(max_bytes: int) -> None:
    """Refuse a size that no segment can have."""
    if not isinstance(max_bytes, int) or not 1 << 12 <= max_bytes <= layout.FILE_END - (64 << 20):
        raise UsageError(f"expected an int in [4096, 2**31 - 2**26], got {max_bytes!r}", "max_bytes")


def _text_bytes(view: View, places: NDArray[np.int64]) -> int:
    """About how many bytes the lists of these records take: from the first list to the last one in each file."""
    numbers = places >> np.int64(32)
    alike = bool((numbers == numbers[0]).all())
    total = 0
    for number in [int(numbers[0])] if alike else np.unique(numbers).tolist():
        entries = (places[numbers == number] & 0xFFFFFFFF) << 3
        data = view.buffers.data(number)
        lists = [
            at + int(data[at + 32 : at + 36].view("<i4")[0])
            for at in (int(entries.min()), int(entries.max()))
        ]
        total += abs(lists[1] - lists[0])
    return total


def _in_groups(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Lines of amendments.jsonl, as many together as a segment gets."""
    group: list[bytes] = []
    size = 0
    for line in lines:
        if group and size + len(line) > _LINES:
            yield group
            group, size = [], 0
        group.append(line)
        size += len(line)
    if group:
        yield group


class Output:
    """Segments being written, one after the other."""

    def __init__(
        self, fs: FileSystem, root: str, live: Manifest, max_bytes: int, contexts: Mapping[int, Context]
    ) -> None:
        """`contexts`: of the journals whose records will come."""
        self._fs, self._root, self._live, self._max_bytes = fs, root, live, max_bytes
        self._contexts = contexts
        self._done: list[tuple[SegmentWriter, str, str]] = []
        self._current: SegmentWriter | None = None
        self.next_segment = live.next_segment
        self._named: list[str] = []
        self.records = self.damaged = 0
        self._written: list[NDArray[np.int64]] = []

    def copy(self, view: View, part: Part | None) -> None:
        """Write the records of a part, whose ids rise; damaged ones are passed over and counted."""
        if part is None:
            return
        for first in range(0, len(part.ids), _CHUNK):
            ids, places = part.ids[first : first + _CHUNK], part.places[first : first + _CHUNK]
            extras, bad = view.extras(ids)
            if bad.any():
                self.damaged += int(bad.sum())
                ids, places = ids[~bad], places[~bad]
                extras = {name: column[~bad] for name, column in extras.items()}
            self.write(view, ids, places, extras)

    def write(
        self,
        view: View,
        ids: NDArray[np.int64],
        places: NDArray[np.int64],
        extras: dict[str, NDArray[Any]],
    ) -> None:
        """Write some records under these ids, which rise; damaged ones are passed over and counted."""
        if not len(ids):
            return
        try:
            results = view.buffers.results(places)
            half = len(ids) // 2
            large = int(np.sum(results.instruction_counts)) > _WORDS or _text_bytes(view, places) > _TEXT
            if half and large:
                for part in (slice(None, half), slice(half, None)):
                    some = {name: column[part] for name, column in extras.items()}
                    self.write(view, ids[part], places[part], some)
                return
            self._add(results, ids, extras)
        except DamagedPlaces as damage:
            good = ~damage.bad
            self.damaged += int(damage.bad.sum())
            if good.any():
                some = {name: column[good] for name, column in extras.items()}
                self.write(view, ids[good], places[good], some)

    def _add(self, results: Results, ids: NDArray[np.int64], extras: dict[str, NDArray[Any]]) -> None:
        if self._current is None:
            self._begin()
        assert self._current is not None
        try:
            self._current.add(results, ids, extras)
        except SegmentFull:
            half = len(ids) // 2
            parts = [slice(None, half), slice(half, None)]
            if self._current.records:
                self._begin()
                parts = [slice(None)]
            for part in parts:
                self._add(results[part], ids[part], {name: column[part] for name, column in extras.items()})
            return
        self.records += len(ids)
        self._written.append(ids.copy())

    def _begin(self) -> None:
        fs = self._fs
        # a segment that MANIFEST does not name, and that may be the only one of its kind, keeps its place
        while f"{self.next_segment:06d}" in fs.names(os.path.join(self._root, layout.SEGMENTS)):
            self.next_segment += 1
        name = f"{self.next_segment:06d}"
        beside = layout.segment_path(self._root, f".{name}.{secrets.token_hex(8)}.tmp")
        self._current = SegmentWriter(fs, beside, self._live.extras, self._max_bytes, self._contexts)
        self._done.append((self._current, name, beside))
        self.next_segment += 1

    def has(self, identity: int) -> bool:
        """Was this record written? O(log n)."""
        if len(self._written) > 1:
            self._written = [np.sort(np.concatenate(self._written))]
        for ids in self._written:
            k = int(np.searchsorted(ids, identity))
            return k < len(ids) and int(ids[k]) == identity
        return False

    def finish(self, amendments: Iterable[bytes], dropped: dict[str, int]) -> tuple[SegmentEntry, ...]:
        """Complete all folders and give them their names; the last one bears what is said of all.

        The last one with records also gets the lines of amendments, as far as they fit, and more segments the others.
        """
        fs = self._fs
        groups = _in_groups(amendments)
        lines = next(groups, None)
        if lines and not self._done:
            self._begin()
        dropped = {**dropped, "damaged": dropped.get("damaged", 0) + self.damaged}
        entries = []
        k = 0
        while k < len(self._done):
            writer, name, beside = self._done[k]
            k += 1
            mine: list[bytes] = []
            if k == len(self._done) and lines:
                mine, lines = lines, next(groups, None)
                if lines:
                    self._begin()
            size = writer.finish(
                name=name,
                store_id=self._live.store_id,
                amendments=mine,
                dropped=dropped if k == len(self._done) else dict.fromkeys(KINDS, 0),
            )
            fs.replace(beside, layout.segment_path(self._root, name))
            self._named.append(name)
            entries.append(SegmentEntry(name, writer.records, size))
        if entries:
            fs.sync_folder(os.path.join(self._root, layout.SEGMENTS))
        return tuple(entries)

    def abandon(self) -> None:
        """Remove what was written, as far as that goes; what is left is a left-over."""
        for writer, _, beside in self._done:
            with contextlib.suppress(OSError, UsageError):
                writer.close()
            with contextlib.suppress(OSError, UsageError):
                self._fs.remove_folder(beside)
        # those alone that we have made: a folder that was there before may be the only one of its kind
        for name in self._named:
            with contextlib.suppress(OSError, UsageError):
                self._fs.remove_folder(layout.segment_path(self._root, name))
