"""Places: records where they lie, in many buffers at once.

A place is an int64: buffer number << 32 | position of an entry in it // 8. Entries stand 96 bytes apart, so that the
places of neighbours differ by 12. Whoever holds places and a `Buffers` has the records without a copy.

Rule of this file: what cannot be read is named place by place (`DamagedPlaces`), so that the rest can be.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ostinato.archive import layout
from ostinato.errors import DamageError, UsageError
from ostinato.results import RECORD, Results
from ostinato.text import Index, Spans, Text, decode

BLOCK_BYTES = 4096  # what a checksum is of: as much as the system reads at once
STEP = layout.ENTRY_BYTES // 8  # between the places of neighbours
_TEXT_BYTES = 1 << 24  # of text, from which it is asked whether that can be
_TODO = 4096  # blocks compared with their sums at once; records looked at one by one
_FEW = 512  # bytes: fewer than one record for so many of a buffer are looked at one by one
_GOOD, _BAD = 2, 3  # as in places_kernels

T = TypeVar("T")


class DamagedPlaces(DamageError):  # noqa: N818
    """Some of the records asked for cannot be read.

    Attributes:
        bad: bool[n], which of the n places that were asked for.
    """

    def __init__(self, cause: str, bad: NDArray[np.bool_]) -> None:
        super().__init__(cause)
        self.bad = bad


class _Tables:
    """Buffers as they are at one time; whoever holds this can read them, dropped or not."""

    __slots__ = ("addresses", "data", "states", "sums")

    def __init__(self) -> None:
        self.addresses = np.zeros((4, 16), np.int64)  # of the bytes, their size, the states, their size
        self.data: list[NDArray[np.uint8] | None] = []
        self.sums: list[NDArray[np.uint32] | None] = []
        self.states: list[NDArray[np.uint8] | None] = []

    def copy(self) -> _Tables:
        other = _Tables()
        other.addresses = self.addresses.copy()
        other.data, other.sums, other.states = self.data.copy(), self.sums.copy(), self.states.copy()
        return other

    def put(self, number: int, data: NDArray[np.uint8], sums: NDArray[np.uint32] | None) -> None:
        self.data[number], self.sums[number] = data, sums
        self.addresses[:2, number] = data.ctypes.data, len(data)
        if sums is not None:
            states = self.states[number] = np.zeros(len(sums), np.uint8)
            self.addresses[2:, number] = states.ctypes.data, len(states)


class Buffers:
    """Archives' bytes, numbered as they come: mapped files, or memory.

    One thread at a time may add, replace or drop; any number may read meanwhile.
    """

    def __init__(self) -> None:
        self._now = _Tables()
        self._names: list[str] = []
        self._damage: dict[int, set[int]] = {}

    def add(self, data: NDArray[np.uint8], *, name: str = "", sums: NDArray[np.uint32] | None = None) -> int:
        """Number a buffer, which begins at a multiple of 8 in memory and is kept alive.

        Args:
            name: of the file, for messages.
            sums: uint32[ceil(size / 4096)], CRC-32 of each block, compared when the block is first read; None if the
                bytes are known to be right.
        Raises:
            UsageError: it begins elsewhere.
        """
        if data.ctypes.data % 8:
            raise UsageError("expected bytes that begin at a multiple of 8", "data")
        now = self._now
        number = len(now.data)
        if number >= now.addresses.shape[1]:
            now.addresses = np.concatenate([now.addresses, np.zeros_like(now.addresses)], axis=1)
        for column in (now.data, now.sums, now.states):
            column.append(None)
        self._names.append(name)
        now.put(number, data, sums)
        return number

    def replace(self, number: int, data: NDArray[np.uint8]) -> None:
        """The same bytes and more of them, elsewhere in memory: a file that has grown."""
        now = self._now.copy()  # who reads now goes on with the old ones
        now.put(number, data, None)
        self._now = now

    def drop(self, numbers: Iterable[int]) -> None:
        """Forget buffers; their numbers are not used again, and their places are bad from now on."""
        now = self._now.copy()
        for number in numbers:
            now.data[number] = now.sums[number] = now.states[number] = None
            now.addresses[:, number] = 0
            self._names[number] = ""
            self._damage.pop(number, None)
        self._now = now

    def data(self, number: int) -> NDArray[np.uint8]:
        """A buffer's bytes.

        Raises:
            DamageError: it was dropped.
        """
        found = self._now.data[number]
        if found is None:
            raise DamageError("the file is no longer in the store", source=self._names[number] or None)
        return found

    def damaged_blocks(self) -> dict[str, list[int]]:
        """The blocks found damaged so far, by file."""
        return {self._names[number]: sorted(found) for number, found in self._damage.items()}

    def damaged_in(self, number: int) -> list[int]:
        """The blocks of one buffer found damaged so far."""
        return sorted(self._damage.get(number, ()))

    def verify(self, number: int, begin: int, end: int) -> list[int]:
        """Compare the blocks of bytes begin .. end-1 with their sums; returns those that are damaged. 6 GB/s."""
        states = self._now.states[number]
        if states is None or end <= begin:
            return []
        blocks = np.arange(begin // BLOCK_BYTES, -(-end // BLOCK_BYTES))
        self._compare(self._now, number, blocks[states[blocks] < _GOOD])
        return [int(block) for block in blocks[states[blocks] == _BAD]]

    def rows(self, places: NDArray[np.int64]) -> NDArray[np.void]:
        """RECORD[n]: copies of the fields. About 20 ns each.

        Raises:
            DamagedPlaces: some cannot be read.
        """
        return self._rows(places)[0]

    def timestamps(self, places: NDArray[np.int64]) -> NDArray[np.uint64]:
        """uint64[n], as they stand there, to put records in order by: checked when the records themselves are read. 5 ns each."""
        from ostinato.archive import places_kernels as kernels

        stamps = np.empty(len(places), np.uint64)
        addresses = self._now.addresses
        kernels.read_stamps(addresses[0], addresses[1], np.ascontiguousarray(places, np.int64), stamps)
        return stamps

    def text(self, places: NDArray[np.int64]) -> PlacedText:
        """The instruction lists, copied when asked for.

        Raises:
            DamagedPlaces: some records cannot be read.
        """
        return PlacedText(self, self._now, places, self._rows(places)[1])

    def results(self, places: NDArray[np.int64]) -> Results:
        """Both: 80 bytes a record, and the text where it lies.

        Raises:
            DamagedPlaces: some cannot be read.
        """
        rows, counts = self._rows(places)
        return Results(rows, PlacedText(self, self._now, places, counts))

    def readable(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool[n]: which of the records can be read wholly, fields and instructions.

        Cost: of buffers without sums, whose bytes are known to be right, nothing; of others that of reading their bytes once,
        5 GB/s, or where few records are asked for, those records; and of damaged ones 0.2 us a record.
        """
        out = np.ones(len(places), np.bool_)
        numbers = places >> 32
        for number in np.unique(numbers).tolist():
            here = np.flatnonzero(numbers == number)
            data = self._now.data[number] if 0 <= number < len(self._now.data) else None
            if data is None:
                out[here] = False
            elif self._now.sums[number] is not None and (
                len(here) * _FEW < len(data) or self.verify(number, 0, len(data))
            ):
                for first in range(0, len(here), _TODO):
                    some = here[first : first + _TODO]
                    out[some] = self._are_whole(places[some])
        return out

    def _are_whole(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Can they be read? Each is looked at."""
        out = np.ones(len(places), np.bool_)
        try:
            counts = self._rows(places)[1]
        except DamagedPlaces as damage:
            out = ~damage.bad
            counts = self._rows(places[out])[1]
        try:
            self._find_text(self._now, places[out], counts)
        except DamagedPlaces as damage:
            out[np.flatnonzero(out)[damage.bad]] = False
        return out

    def _rows(self, places: NDArray[np.int64]) -> tuple[NDArray[np.void], NDArray[np.int64]]:
        from ostinato.archive import places_kernels as kernels

        places = np.ascontiguousarray(places, np.int64)
        n = len(places)
        rows, counts, bad = np.zeros(n, RECORD), np.empty(n, np.int64), np.empty(n, np.uint8)
        flat = rows.view(np.uint8)
        self._settle(
            self._now,
            lambda a, todo: (
                kernels.read_rows(a[0], a[1], a[2], a[3], places, flat, counts, bad, todo),
                None,
            ),
        )
        self._refuse(bad, places)
        return rows, counts

    def _locate(self, tables: _Tables, places: NDArray[np.int64], counts: NDArray[np.int64]) -> Spans:
        """(bytes, starts, lengths): copies of all strings of these lists, end to end; `counts` as `_rows` found them."""
        from ostinato.archive import places_kernels as kernels

        places = np.ascontiguousarray(places, np.int64)
        starts, lengths, size = self._find_text(tables, places, counts)
        out = np.empty(size + 24, np.uint8)
        addresses = tables.addresses
        kernels.copy_text(addresses[0], addresses[1], places, counts, starts, lengths, out)
        return out, starts, lengths

    def _find_text(
        self, tables: _Tables, places: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], int]:
        """Where the strings of these lists are, each in its buffer: (starts, lengths, bytes of all)."""
        from ostinato.archive import places_kernels as kernels

        total = int(counts.sum())
        starts, lengths = np.empty(total, np.int64), np.empty(total, np.int32)
        bad, report = np.empty(len(places), np.uint8), np.zeros(7, np.int64)
        size = self._settle(
            tables,
            lambda a, todo: kernels.locate_text(
                a[0], a[1], a[2], a[3], places, counts, starts, lengths, bad, todo, report
            ),
        )
        if size > _TEXT_BYTES and _shares_bytes(tables, places, counts, lengths):
            bad[:] = 1
        self._refuse(bad, places)
        return starts, lengths, size

    def _settle(
        self, tables: _Tables, call: Callable[[NDArray[np.int64], NDArray[np.int64]], tuple[int, T]]
    ) -> T:
        """Call a kernel until it asks for no more blocks."""
        todo = np.empty(_TODO, np.int64)
        while True:
            asked, outcome = call(tables.addresses, todo)
            if not asked:
                return outcome
            wanted = todo[:asked]
            for number in np.unique(wanted >> 32).tolist():
                self._compare(tables, number, wanted[wanted >> 32 == number] & 0xFFFFFFFF)

    def _compare(self, tables: _Tables, number: int, blocks: NDArray[np.int64]) -> None:
        data, sums, states = tables.data[number], tables.sums[number], tables.states[number]
        if data is None or sums is None or states is None:
            return
        view, crc32 = data.data, zlib.crc32
        found = np.array(
            [
                crc32(view[at : at + BLOCK_BYTES]) == expected
                for at, expected in zip((blocks * BLOCK_BYTES).tolist(), sums[blocks].tolist(), strict=True)
            ],
            np.bool_,
        )
        states[blocks] = np.where(found, _GOOD, _BAD)
        if not found.all():
            self._damage.setdefault(number, set()).update(blocks[~found].tolist())

    def _refuse(self, bad: NDArray[np.uint8], places: NDArray[np.int64]) -> None:
        if not bad.any():
            return
        first = int(places[np.argmax(bad)])
        number, at = first >> 32, (first & 0xFFFFFFFF) << 3
        name = self._names[number] if 0 <= number < len(self._names) else ""
        raise DamagedPlaces(
            f"{name + ': ' if name else ''}{int(bad.sum())} of {len(bad)} records cannot be read, the first at byte {at}",
            bad.view(np.bool_),
        )


def _shares_bytes(
    tables: _Tables, places: NDArray[np.int64], counts: NDArray[np.int64], lengths: NDArray[np.int32]
) -> bool:
    """Have these records, each counted once, more text than their buffers have bytes? Then strings of theirs overlap.

    Only who makes sums to match can make such a file; without this its text would take n times its size.
    """
    ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])[np.concatenate([[0], np.cumsum(counts)])]
    distinct, first = np.unique(places, return_index=True)
    sizes = tables.addresses[1, np.unique(distinct >> 32)]
    return int(np.diff(ends)[first].sum()) > int(sizes.sum())


class PlacedText(Text):
    """Instruction lists of records at places; strings are copied, and checked, when asked for."""

    def __init__(
        self,
        buffers: Buffers,
        tables: _Tables,
        places: NDArray[np.int64],
        counts: NDArray[np.int64],
    ) -> None:
        self._buffers = buffers
        self._tables = tables
        self._places = places
        self._counts = self.counts = counts

    def take(self, index: Index) -> PlacedText:
        return PlacedText(self._buffers, self._tables, self._places[index], self._counts[index])

    def lines(self, i: int) -> tuple[str, ...]:
        buffer, starts, lengths = self.spans(i, i + 1)
        words = zip(starts.tolist(), lengths.tolist(), strict=True)
        return tuple(decode(buffer[start : start + length].tobytes()) for start, length in words)

    def spans(self, first: int, end: int) -> Spans:
        return self._buffers._locate(self._tables, self._places[first:end], self._counts[first:end])
