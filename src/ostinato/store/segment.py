"""Segments: sealed records, an archive and its sibling arrays, none of which ever changes.

Rule of this file: what is written is written in one pass, with memory for one chunk; what is read is checked against the
sums before it is believed.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import stat
import zlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.archive import layout as archive_layout
from ostinato.archive.places import BLOCK_BYTES, STEP, Buffers
from ostinato.errors import DamageError, UsageError
from ostinato.store import layout
from ostinato.store.amendments import SealedAmendment
from ostinato.store.fs import FileSystem
from ostinato.store.journal import Context, check_context
from ostinato.store.manifest import Extras, is_count
from ostinato.store.segment_writing import _ENTRIES, CONTEXTS_END, NPY_BYTES

_TEXT_END = 1 << 30  # bytes of a file of a segment that is read as a whole
# a segment holds no other files, so that no name in segment.json leads elsewhere
_FILE = re.compile(
    r"records\.rkyv|ids\.npy|journals\.npy|contexts\.json|amendments\.jsonl|extra-[A-Za-z_][A-Za-z0-9_]{0,63}\.npy"
)
_NEEDED = ("records.rkyv", "ids.npy", "journals.npy", "contexts.json")


class Part(NamedTuple):
    """Records of one file: their ids and places, int64[n] each."""

    ids: NDArray[np.int64]
    places: NDArray[np.int64]


class Segment:
    """A segment: what it says of itself, and, once `open` was called, its records.

    Attributes:
        name, records, dropped: as segment.json says.
        amendments: those of amendments.jsonl. problems: what is wrong with it, in words.
        number: of its buffer, -1 before `open`. ids: int64[n], -1 for records that are damaged.
    """

    def __init__(self, fs: FileSystem, root: str, name: str, store_id: bytes) -> None:
        """Read all but the records.

        Raises:
            DamageError: it cannot be read; names the file. OSError: as the system says.
        """
        self._fs, self._folder = fs, layout.segment_path(root, name)
        self.name = name
        self.problems: list[str] = []
        if not stat.S_ISDIR(fs.status(self._folder).st_mode):
            raise DamageError("expected a folder, no link and nothing else", source=self._folder)
        source = self._path("segment.json")
        info = layout.unsigned(self._read("segment.json"), source, "ostinato_segment")
        try:
            right = info["store_id"] == store_id.hex() and info["name"] == name
            self.records = _count(info["records"])
            self._sizes = _sizes(info["files"])
            self.dropped = {kind: _count(n) for kind, n in dict(info["dropped"]).items()}
            crc = _count(info["sums_crc32"])
        except (KeyError, TypeError, ValueError) as error:
            raise DamageError(f"no segment: {error}", source=source) from None
        if not right:
            raise DamageError("it is of another store, or of another segment", source=source)
        self._sums = self._read_sums(crc)
        self._checked: dict[str, NDArray[np.uint8]] = {}
        # as they were mapped: compacting removes the names under a reader
        self._arrays: dict[str, NDArray[np.uint8]] = {}
        self._columns: dict[str, NDArray[Any]] = {}
        self._read_journals()
        self.amendments = self._read_amendments()
        self.number = -1
        self.damaged = 0
        self.ids: NDArray[np.int64] = np.empty(0, np.int64)
        self.entries = 0  # where they begin
        self._alive: NDArray[np.int64] | None = None

    def open(self, buffers: Buffers, extras: Extras) -> None:
        """Map the records, and check what is needed to find them. 1 GB/s of entries, text untouched.

        Raises:
            DamageError: they cannot be read at all; names the file. OSError: as the system says.
        """
        data = self._map("records.rkyv")
        number = buffers.add(data, name=self._path("records.rkyv"), sums=self._sums["records.rkyv"])
        try:
            self._find_entries(buffers, data, number)
            self._columns = {
                column: self._array(f"extra-{column}.npy", extra.kind, (self.records,))
                for column, extra in extras.items()
            }
        except BaseException:
            buffers.drop([number])
            raise
        self.number = number

    def _find_entries(self, buffers: Buffers, data: NDArray[np.uint8], number: int) -> None:
        size = len(data)
        source = self._path("records.rkyv")
        if size < archive_layout.ROOT_BYTES:
            raise DamageError("cut short", source=source)
        count = self.records
        offset = -archive_layout.ENTRY_BYTES * count
        entries = size - archive_layout.ROOT_BYTES + offset
        root = data[-archive_layout.ROOT_BYTES :].tobytes()
        # a root that is damaged is not needed; one that is not must be right
        hurt = buffers.verify(number, size - archive_layout.ROOT_BYTES, size)
        if entries < 0 or entries % 8 or (archive_layout.ROOT.unpack(root) != (offset, count) and not hurt):
            raise DamageError("the root is not what segment.json says", source=source)
        self.entries = entries
        bad_blocks = buffers.verify(number, entries, size)
        bad = np.zeros(count, np.bool_)
        for block in bad_blocks:
            low = (block * BLOCK_BYTES - entries) // archive_layout.ENTRY_BYTES
            high = ((block + 1) * BLOCK_BYTES - 1 - entries) // archive_layout.ENTRY_BYTES
            bad[max(low, 0) : max(high, -1) + 1] = True
        self._check_lists(data, bad, source)
        ids = self._array("ids.npy", np.dtype("<i8"), (count,))
        bad |= self._bad_items("ids.npy", count, 8)
        if bad.any():
            ids = np.where(bad, np.int64(-1), ids)
            self.problems.append(f"{source}: {int(bad.sum())} records are damaged")
        alive = ids[~bad] if bad.any() else ids
        if len(alive) and not (alive[0] >= 0 and bool((alive[1:] > alive[:-1]).all())):
            raise DamageError("ids do not rise", source=self._path("ids.npy"))
        self.ids = ids
        self.damaged = int(bad.sum())

    def _check_lists(self, data: NDArray[np.uint8], bad: NDArray[np.bool_], source: str) -> None:
        """Refuse lists that share bytes: what a file's text takes is then bounded by the file."""
        from ostinato.archive import places_kernels as kernels

        edges = np.flatnonzero(np.diff(np.concatenate([[True], bad, [True]])))
        low = 0
        for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            low = kernels.lists_in_order(data, self.entries, begin, end, low)
            if low < 0:
                raise DamageError("its instruction lists overlap", record=-1 - low, source=source)

    def _read_journals(self) -> None:
        pairs = self._array("journals.npy", np.dtype("<i8"), None)
        self._require("journals.npy")
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise DamageError("expected pairs", source=self._path("journals.npy"))
        if not bool((pairs[1:, 0] > pairs[:-1, 0]).all()):
            raise DamageError("journals do not rise", source=self._path("journals.npy"))
        self._journals: NDArray[np.int64] = pairs[:, 0]
        self._contexts_of: NDArray[np.int64] = pairs[:, 1]
        self._require("contexts.json")
        try:
            # no journal has a context of more
            found = json.loads(
                self._read("contexts.json", min(CONTEXTS_END, 16 + len(pairs) * layout.CONTEXT_END))
            )
            if not isinstance(found, list):
                raise TypeError("expected a list")
            self.contexts: list[Context] = [check_context(value) for value in found]
        except (ValueError, TypeError, RecursionError) as error:
            raise DamageError(f"no contexts: {error}", source=self._path("contexts.json")) from None

    def place(self, ordinals: NDArray[np.int64]) -> NDArray[np.int64]:
        """The places of the records of these numbers; computed, since keeping them would take 8 bytes a record."""
        return (np.int64(self.number) << np.int64(32)) + self.entries // 8 + STEP * ordinals

    def part(self) -> Part:
        """The records that can be read, as far as is known."""
        from ostinato.kernels import aligned

        n = len(self.ids)
        places: NDArray[np.int64] = aligned(n, np.int64)  # goes back to the system when it is let go
        for first in range(0, n, _ENTRIES):
            end = min(first + _ENTRIES, n)
            places[first:end] = self.place(np.arange(first, end, dtype=np.int64))
        if not self.damaged:
            return Part(self.ids, places)
        here = self.ids >= 0
        return Part(self.ids[here], places[here])

    def find(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[n]: which records here have these ids; -1 where none has, or it is damaged. O(n log records)."""
        if not self.damaged:
            here = self.ids
        else:  # -1 stands among the ids, which rise without it
            if self._alive is None:
                self._alive = np.flatnonzero(self.ids >= 0)
            here = self.ids[self._alive]
        if not len(here):
            return np.full(len(ids), -1, np.int64)
        k = np.minimum(np.searchsorted(here, ids), len(here) - 1)
        found = here[k] == ids
        return np.where(found, k if self._alive is None else self._alive[k], -1)

    def journals(self) -> list[int]:
        """The numbers of the journals whose records are here."""
        return [int(number) for number in self._journals]

    def contexts_by_journal(self) -> dict[int, Context]:
        """The context of each journal whose records are here."""
        n = len(self.contexts)
        pairs = zip(self._journals.tolist(), self._contexts_of.tolist(), strict=True)
        return {journal: self.contexts[k] if 0 <= k < n else {} for journal, k in pairs}

    def context_of(self, journal: int) -> Context | None:
        """The context of a journal, None if it is not here. O(log n)."""
        k = int(np.searchsorted(self._journals, journal))
        if k == len(self._journals) or self._journals[k] != journal:
            return None
        number = int(self._contexts_of[k])
        return self.contexts[number] if 0 <= number < len(self.contexts) else {}

    def extras(self, ordinals: NDArray[np.int64]) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_]]:
        """Extra columns of the records of these numbers, and which of them are damaged in one."""
        out = {}
        bad = np.zeros(len(ordinals), np.bool_)
        for name, column in self._columns.items():
            bad |= self._bad_among(f"extra-{name}.npy", ordinals, column.dtype.itemsize)
            out[name] = column[ordinals]
        return out, bad

    def hurt(self, buffers: Buffers) -> bool:
        """Has damage been found in its records so far?"""
        return self.number >= 0 and bool(buffers.damaged_in(self.number))

    def check(self, buffers: Buffers) -> list[str]:
        """Compare every block of every file with its sum; returns what is wrong. 3 GB/s."""
        problems = []
        for file, size in self._sizes.items():
            if file == "records.rkyv":
                blocks = buffers.verify(self.number, 0, size)
            else:
                blocks = np.flatnonzero(self._bad_blocks_of(file)).tolist()
            if blocks:
                shown = ", ".join(map(str, blocks[:8])) + (", ..." if len(blocks) > 8 else "")
                problems.append(f"{self._path(file)}: damaged blocks of {BLOCK_BYTES} bytes: {shown}")
        return problems

    def _path(self, file: str) -> str:
        return os.path.join(self._folder, file)

    def _read(self, file: str, limit_bytes: int = _TEXT_END) -> bytes:
        """A whole small file."""
        try:
            return self._fs.read(self._path(file), limit_bytes)
        except UsageError as error:  # a link, or larger than any
            raise DamageError(error.cause, source=self._path(file)) from None

    def _map(self, file: str) -> NDArray[np.uint8]:
        try:
            fd = self._fs.open(self._path(file))
        except UsageError as error:
            raise DamageError(error.cause, source=self._path(file)) from None
        try:
            size = self._fs.size(fd)
            if size != self._sizes[file]:
                raise DamageError(
                    f"has {size:,} bytes, segment.json says {self._sizes[file]:,}", source=self._path(file)
                )
            return self._fs.map(fd, size)
        finally:
            self._fs.close(fd)

    def _array(self, file: str, kind: np.dtype[Any], shape: tuple[int, ...] | None) -> NDArray[Any]:
        """A mapped npy file of this kind and shape."""
        source = self._path(file)
        if file not in self._sizes:
            raise DamageError(f"no segment: {file} is not named", source=self._path("segment.json"))
        data = self._arrays[file] = self._map(file)
        try:
            stream = io.BytesIO(data[: 1 << 12].tobytes())
            if np.lib.format.read_magic(stream) != (1, 0):
                raise ValueError("expected npy 1.0")
            found, fortran, has = np.lib.format.read_array_header_1_0(stream)
            items = data[stream.tell() :]
            if has != kind or fortran or (shape is not None and found != shape):
                raise ValueError(f"expected {kind} of {shape}, got {has} of {found}")
            if not all(type(k) is int and k >= 0 for k in found):
                raise ValueError(f"a shape of {found}")
            return items.view(kind).reshape(found)
        except Exception as error:  # numpy's reader lets through whatever Python's parser raises
            items = data[NPY_BYTES:]
            if shape and len(items) == math.prod(shape) * kind.itemsize and self._bad_blocks_of(file)[0]:
                return items.view(kind).reshape(shape)  # the head alone is no reason to lose all
            raise DamageError(f"no such array: {error}", source=source) from None

    def _read_sums(self, crc: int) -> dict[str, NDArray[np.uint32]]:
        source = self._path("sums.npy")
        raw = self._read("sums.npy")
        if zlib.crc32(raw) != crc:
            raise DamageError("crc mismatch", source=source)
        if len(raw) < NPY_BYTES or (len(raw) - NPY_BYTES) % 4:
            raise DamageError("no such array", source=source)
        sums = np.frombuffer(raw, "<u4", offset=NPY_BYTES)
        out, done = {}, 0
        for file, size in self._sizes.items():
            blocks = -(-size // BLOCK_BYTES)
            out[file] = sums[done : done + blocks]
            done += blocks
        if done != len(sums):
            raise DamageError("expected a sum for each block", source=source)
        return out

    def _bad_blocks_of(self, file: str) -> NDArray[np.bool_]:
        data = self._map(file).data
        sums = self._sums[file].tolist()
        crc32 = zlib.crc32
        return np.array(
            [
                crc32(data[at : at + BLOCK_BYTES]) != expected
                for at, expected in zip(range(0, self._sizes[file], BLOCK_BYTES), sums, strict=True)
            ],
            np.bool_,
        )

    def _bad_items(self, file: str, count: int, itemsize: int) -> NDArray[np.bool_]:
        """Which items of an npy file are in damaged blocks."""
        bad = np.zeros(count, np.bool_)
        for block in np.flatnonzero(self._bad_blocks_of(file)).tolist():
            low = (block * BLOCK_BYTES - NPY_BYTES) // itemsize
            high = -(-((block + 1) * BLOCK_BYTES - NPY_BYTES) // itemsize)
            bad[max(low, 0) : max(high, 0)] = True
        return bad

    def _require(self, file: str) -> None:
        if self._bad_blocks_of(file).any():
            raise DamageError("crc mismatch", source=self._path(file))

    def _bad_among(self, file: str, ordinals: NDArray[np.int64], itemsize: int) -> NDArray[np.bool_]:
        """Which of these items of an npy file are in damaged blocks; blocks are compared when they are first read."""
        states = self._checked.setdefault(file, np.zeros(len(self._sums[file]), np.uint8))
        blocks = (NPY_BYTES + ordinals * itemsize) // BLOCK_BYTES
        fresh = np.unique(blocks[states[blocks] == 0])
        if len(fresh):
            data, sums = self._arrays[file].data, self._sums[file]
            for block in fresh.tolist():
                at = block * BLOCK_BYTES
                right = zlib.crc32(data[at : at + BLOCK_BYTES]) == int(sums[block])
                states[block] = 1 if right else 2
                if not right:
                    self.problems.append(f"{self._path(file)}: crc mismatch - at byte {at}")
        return np.asarray(states[blocks] == 2)

    def _read_amendments(self) -> list[SealedAmendment]:
        if "amendments.jsonl" not in self._sizes:
            return []
        self._require("amendments.jsonl")
        source = self._path("amendments.jsonl")
        out = []
        for line, text in enumerate(self._read("amendments.jsonl", layout.LINES_END).splitlines(), 1):
            try:
                out.append(SealedAmendment.parse(text))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise DamageError(f"no amendment: {error}", line=line, source=source) from None
        return out


def _count(value: object) -> int:
    if not is_count(value):
        raise ValueError(f"no count: {value!r:.60}")
    assert isinstance(value, int)
    return value


def _sizes(files: object) -> dict[str, int]:
    """The sizes of a segment's files, in their order.

    Raises:
        ValueError, TypeError: that is none.
    """
    if not isinstance(files, list):
        raise TypeError("`files` is no list")
    sizes: dict[str, int] = {}
    for file, size in files:
        if not isinstance(file, str) or not _FILE.fullmatch(file) or file in sizes:
            raise ValueError(f"a segment has no such file, or not twice: {file!r:.60}")
        sizes[file] = _count(size)
    for needed in _NEEDED:
        if needed not in sizes:
            raise ValueError(f"{needed} is not named")
    return sizes
