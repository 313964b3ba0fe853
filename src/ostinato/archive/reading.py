"""Bytes -> Results: what rkyv's checked access accepts is accepted, in place; all else is a DamageError."""

from __future__ import annotations

import mmap
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.archive import layout
from ostinato.errors import DamageError, UsageError
from ostinato.files import open_regular, read_file
from ostinato.results import Results
from ostinato.text import Index, Spans, Text, decode
from ostinato.vocabulary import Vocabulary

Buffer = bytes | bytearray | memoryview | mmap.mmap | NDArray[np.uint8]

_FIELDS = {layout.LIST_FIELD: "generated_tasm", 40: "valid", 48: "clock_cycles", 72: "fallback_used"}
_PART = 50_000  # entries that are worth a thread
_HEAD = struct.Struct("<iI")


def loads(buffer: Buffer, *, validate: bool = True) -> Results:
    """Read an archive in place: the Results' columns are views of `buffer`, instructions decode when asked for.

    Args:
        buffer: the archive's bytes; do not change them while the Results live. Bytes that do not begin at a
            multiple of 8 in memory are copied.
        validate: check everything that rkyv's checked access checks. False checks the root alone; the rest is
            then checked when many records are first read, written or pushed, or one when it is read alone;
            columns are taken as they are. Neither reads outside the buffer.

    Raises:
        DamageError: rkyv would refuse these bytes; says the byte, the record and the field.

    Cost: one pass over the bytes, about 0.15 us a record of 30 instructions, no copy; O(1) without validation. Format: FORMAT.md, "What is accepted".
    """
    source = _Source(_as_bytes(buffer))
    if validate:
        source.validate()
    return Results(
        source.rows, ArchiveText(source, source.places, source.rows["list_offset"], source.rows["list_count"])
    )


def open(path: str | os.PathLike[str], *, validate: bool = True) -> Results:
    """Map an archive read-only and read it in place; see `loads`.

    For files that nobody rewrites in place, such as those `save` makes: whoever truncates a mapped file
    kills its readers with SIGBUS, and whoever overwrites it changes what they see. Trident rewrites its
    `replay.rkyv` in place, so use `read` (or ReplayBuffer.load) for that one.

    Raises:
        DamageError: rkyv would refuse the file. UsageError: not a regular file. OSError: as the system says.

    Cost: O(1) memory before pages are touched; without validation O(1) time.
    """
    with open_regular(path) as (file, size):
        # an empty file cannot be mapped; it is refused like any other that is too short
        data: Buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    try:
        return loads(data, validate=validate)
    except DamageError as error:
        raise error.at(os.fspath(path)) from None


def read(path: str | os.PathLike[str]) -> Results:
    """Read an archive into memory and validate it: later changes of the file do not matter.

    Raises:
        DamageError: rkyv would refuse the file. UsageError: not a regular file, or over 6 GiB.
        OSError: as the system says.
    """
    try:
        return loads(read_file(path, layout.READ_END))
    except DamageError as error:
        raise error.at(os.fspath(path)) from None


class _Source:
    """An archive's bytes, its entries, and whether they have been validated."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self.data = data
        self.entries, count = _root(data)
        end = self.entries + layout.ENTRY_BYTES * count
        self.rows: NDArray[np.void] = data[self.entries : end].view(layout.ENTRY)
        self.places = range(self.entries, end, layout.ENTRY_BYTES)
        self.validated = False

    def validate(self) -> None:
        """rkyv's checked access, once.

        Raises:
            DamageError: rkyv would refuse.
        """
        if not self.validated and len(self.rows):
            from ostinato.archive import archive_kernels as kernels

            def scan(part: int) -> tuple[int, NDArray[np.int64]]:
                report = np.zeros(7, np.int64)
                begin, end = len(self.rows) * part // parts, len(self.rows) * (part + 1) // parts
                return kernels.scan(self.data, self.entries, begin, end, report), report

            parts = min(os.cpu_count() or 1, 8, 1 + len(self.rows) // _PART)
            if parts == 1:
                outcomes = [scan(0)]
            else:
                with ThreadPoolExecutor(parts) as threads:
                    outcomes = list(threads.map(scan, range(parts)))
            for wrong, report in outcomes:  # in order: the first that is wrong is what rkyv would name
                if wrong != kernels.OK:
                    raise self.damage(wrong, report, self.places[report[0]])
        self.validated = True

    def damage(self, wrong: int, report: NDArray[np.int64], entry: int) -> DamageError:
        """What a kernel reported of an entry, in rkyv's words, with the place of what is wrong."""
        from ostinato.archive import archive_kernels as kernels

        _, place, string, *detail = (int(x) for x in report)
        field, offset = _FIELDS[place], entry + place
        if string >= 0:
            field = f"{field}[{string}]"
            list_offset, _ = _HEAD.unpack(self.data[offset : offset + 8].tobytes())
            offset += list_offset + layout.STRING_BYTES * string
        causes: dict[int, Any] = {
            kernels.OVERRUN: lambda: _overrun(*detail),
            kernels.UNALIGNED: lambda: _unaligned(detail[0], detail[1]),
            kernels.TOO_SHORT: lambda: "String representation was out-of-line but the length was too short",
            kernels.BAD_UTF8: lambda: "invalid UTF-8",
            kernels.BAD_BOOL: lambda: f"bool set to invalid byte {detail[0]}, expected either 0 or 1",
            kernels.BAD_TAG: lambda: f"invalid discriminant '{detail[0]}' for enum 'ArchivedOption'",
        }
        record = (entry - self.entries) // layout.ENTRY_BYTES
        return DamageError(causes[wrong](), offset=offset, record=record, field=field)


class ArchiveText(Text):
    """Instruction lists as an archive holds them; list i is counts[i] string records.

    Its position is places[i] + LIST_FIELD + offsets[i], the place being its entry's. One list of an archive
    that was opened without validation is checked alone; work on many validates the whole archive first,
    since lists that share bytes could make it endless.
    """

    def __init__(
        self,
        source: _Source,
        places: range | NDArray[np.int64],
        offsets: NDArray[np.int32],
        counts: NDArray[np.int64] | NDArray[np.uint32],
    ) -> None:
        self._source = source
        self._places = places
        self._offsets = offsets
        self.counts = counts

    def take(self, index: Index) -> ArchiveText:
        places: Any
        if isinstance(index, slice) or not isinstance(self._places, range):
            places = self._places[index]
        else:
            if index.dtype == np.bool_:
                index = np.flatnonzero(index)
            wrapped = np.where(index < 0, index.astype(np.int64) + len(self), index)
            places = self._places.start + self._places.step * wrapped.astype(np.int64)
        return ArchiveText(self._source, places, self._offsets[index], self.counts[index])

    def tokens(self, vocabulary: Vocabulary) -> NDArray[np.int32]:
        self._source.validate()  # before anything is allocated on the strength of the counts
        return super().tokens(vocabulary)

    def lines(self, i: int) -> tuple[str, ...]:
        buffer, starts, lengths = self._locate(i, i + 1)
        words = zip(starts.tolist(), lengths.tolist(), strict=True)
        return tuple(decode(buffer[start : start + length].tobytes()) for start, length in words)

    def spans(self, first: int, end: int) -> Spans:
        self._source.validate()
        return self._locate(first, end)

    def _locate(self, first: int, end: int) -> Spans:
        from ostinato.archive import archive_kernels as kernels

        data = self._source.data
        places = np.asarray(self._places[first:end], np.int64)
        offsets = self._offsets[first:end].astype(np.int64)
        counts = self.counts[first:end].astype(np.int64)
        # a list that claims more than the file holds is found by the kernel, with no room to write to
        total = int(counts.sum()) if len(counts) and counts.max() <= len(data) // layout.STRING_BYTES else 0
        starts = np.empty(total, np.int64)
        lengths = np.empty(total, np.int32)
        report = np.zeros(7, np.int64)
        check = not self._source.validated
        wrong = kernels.locate(data, places, offsets, counts, starts, lengths, check, report)
        if wrong != kernels.OK:
            raise self._source.damage(wrong, report, int(places[report[0]]))
        return data, starts, lengths


def _as_bytes(buffer: Buffer) -> NDArray[np.uint8]:
    try:
        data = np.frombuffer(buffer, np.uint8) if len(buffer) else np.empty(0, np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        raise UsageError(f"expected contiguous bytes ({error})", "buffer") from None
    if data.ctypes.data % layout.ENTRY_ALIGN:
        copy = np.empty(len(data) + layout.ENTRY_ALIGN, np.uint8)
        start = -copy.ctypes.data % layout.ENTRY_ALIGN
        copy[start : start + len(data)] = data
        data = copy[start : start + len(data)]
    data.flags.writeable = False
    return data


def _root(data: NDArray[np.uint8]) -> tuple[int, int]:
    """(position of entry 0, number of entries), both checked against the size."""
    size = len(data)
    root = max(0, size - layout.ROOT_BYTES)
    _claim(root, layout.ROOT_BYTES, 4, size, root)
    offset, count = layout.ROOT.unpack(data[root:].tobytes())
    entries = root + offset
    _claim(entries, layout.ENTRY_BYTES * count, layout.ENTRY_ALIGN, root, root)
    return entries, count


def _claim(at: int, size: int, align: int, high: int, pointer: int) -> None:
    if at < 0 or at + size > high:
        raise DamageError(_overrun(at, size, 0, high), offset=pointer)
    if at % align:
        raise DamageError(_unaligned(at, align), offset=pointer)


def _overrun(at: int, size: int, low: int, high: int) -> str:
    return f"subtree pointer overran range: ptr base{at:+d} size {size} in range base+{low}..base+{high}"


def _unaligned(at: int, align: int) -> str:
    return f"unaligned pointer: ptr base{at:+d} unaligned for alignment {align}"
