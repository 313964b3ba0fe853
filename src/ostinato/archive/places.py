"""Places: records where they lie, in many buffers at once.

A place is an int64: buffer number << 32 | position of an entry in it // 8. Entries stand 96 bytes apart, so that the
places of neighbours differ by 12. Whoever holds places and a `Buffers` has the records without a copy.

Rule of this file: what cannot be read is named place by place (`DamagedPlaces`), so that the rest can be.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

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


class _Held(NamedTuple):
    """A buffer, kept alive."""

    data: NDArray[np.uint8]
    sums: NDArray[np.uint32] | None
    states: NDArray[np.uint8] | None  # of its blocks


class _Tables:
    """Buffers as they are at one time; whoever holds this can read them, dropped or not. Those that are added come in."""

    __slots__ = ("_room", "columns", "held")

    def __init__(self, held: dict[int, _Held], columns: NDArray[np.int64]) -> None:
        self.held = held
        self._room = np.zeros((5, max(16, 1 << columns.shape[1].bit_length())), np.int64)
        self._room[:, : columns.shape[1]] = columns
        # number, address of the bytes, their size, address of the states, their size; by rising number
        self.columns = self._room[:, : columns.shape[1]]

    def without(self, numbers: Iterable[int]) -> _Tables:
        """The same without these buffers. O(buffers)."""
        held, stay = self.held.copy(), np.ones(self.columns.shape[1], np.bool_)
        for number in numbers:
            if held.pop(number, None) is not None:
                stay[self.column(number)] = False
        return _Tables(held, self.columns if stay.all() else self.columns[:, stay])

    def column(self, number: int) -> int:
        """Where a buffer that is here stands."""
        return int(np.searchsorted(self.columns[0], number))

    def append(self, number: int, held: _Held) -> None:
        """One more, with a higher number. Who reads meanwhile sees it or not. O(1) amortised."""
        n = self.columns.shape[1]
        if n == self._room.shape[1]:
            self._room = np.concatenate([self._room, np.zeros_like(self._room)], axis=1)
        self._room[:, n] = _addresses(number, held)
        self.held[number] = held
        self.columns = self._room[:, : n + 1]

    def places(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The same by column, -1 where the buffer is not here: as kernels take them. 2 ns each once some were dropped."""
        from ostinato.archive import places_kernels as kernels

        places = np.ascontiguousarray(places, np.int64)
        numbers = self.columns[0]
        if not len(numbers) or numbers[-1] == len(numbers) - 1:
            return places
        out = np.empty(len(places), np.int64)
        kernels.in_columns(numbers, places, out)
        return out

    def put(self, number: int, held: _Held) -> None:
        """Another in its place, while nobody else has this."""
        self.held[number] = held
        self.columns[:, self.column(number)] = _addresses(number, held)


def _addresses(number: int, held: _Held) -> tuple[int, ...]:
    data, _, states = held
    of_states = (0, 0) if states is None else (states.ctypes.data, len(states))
    return number, data.ctypes.data, len(data), *of_states


class Buffers:
    """Archives' bytes, numbered as they come: mapped files, or memory.

    One thread at a time may add, replace or drop; any number may read meanwhile. Memory: about 300 bytes for each that is
    here, nothing for those that were dropped.
    """

    def __init__(self) -> None:
        self._now = _Tables({}, np.empty((5, 0), np.int64))
        self._next = 0
        self._names: dict[int, str] = {}
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
        number = self._next
        self._next += 1
        self._names[number] = name
        self._now.append(number, _Held(data, sums, None if sums is None else np.zeros(len(sums), np.uint8)))
        return number

    def replace(self, number: int, data: NDArray[np.uint8]) -> None:
        """The same bytes and more of them, elsewhere in memory: a file that has grown; its bytes are known to be right.

        Cost: some us, and 0.1 us a buffer that is here.
        Raises:
            DamageError: it was dropped.
        """
        self.data(number)
        now = self._now.without(())  # who reads now goes on with the old ones
        now.put(number, _Held(data, None, None))
        self._now = now

    def drop(self, numbers: Iterable[int]) -> None:
        """Forget buffers, with what is known of them; their numbers are not used again, and their places are bad from now on.

        Cost: as `replace`, for all at once.
        """
        gone = [number for number in numbers if number in self._now.held]
        if not gone:
            return
        self._now = self._now.without(gone)
        for number in gone:
            self._names.pop(number, None)
            self._damage.pop(number, None)

    def data(self, number: int) -> NDArray[np.uint8]:
        """A buffer's bytes.

        Raises:
            DamageError: it was dropped.
        """
        found = self._now.held.get(number)
        if found is None:
            raise DamageError("the file is no longer in the store")
        return found.data

    def damaged_blocks(self) -> dict[str, list[int]]:
        """The blocks found damaged so far, by file."""
        return {
            self._names[number]: sorted(found)
            for number, found in list(self._damage.items())
            if number in self._names
        }

    def damaged_in(self, number: int) -> list[int]:
        """The blocks of one buffer found damaged so far."""
        return sorted(self._damage.get(number, ()))

    def verify(self, number: int, begin: int, end: int) -> list[int]:
        """Compare the blocks of bytes begin .. end-1 with their sums; returns those that are damaged. 6 GB/s."""
        held = self._now.held.get(number)
        if held is None or held.states is None or end <= begin:
            return []
        states = held.states
        blocks = np.arange(begin // BLOCK_BYTES, -(-end // BLOCK_BYTES))
        self._compare(held, number, blocks[states[blocks] < _GOOD])
        return [int(block) for block in blocks[states[blocks] == _BAD]]

    def rows(self, places: NDArray[np.int64]) -> NDArray[np.void]:
        """RECORD[n]: copies of the fields. About 20 ns each; once buffers were dropped, up to 10 more.

        Raises:
            DamagedPlaces: some cannot be read.
        """
        return self._rows(places)[0]

    def timestamps(self, places: NDArray[np.int64]) -> NDArray[np.uint64]:
        """uint64[n], as they stand there, to put records in order by: checked when the records themselves are read. 5 ns each."""
        from ostinato.archive import places_kernels as kernels

        stamps = np.empty(len(places), np.uint64)
        now = self._now
        at = now.places(places)
        columns = now.columns
        kernels.read_stamps(columns[1], columns[2], at, stamps)
        return stamps

    def results(self, places: NDArray[np.int64]) -> Results:
        """Both: 80 bytes a record, and the text where it lies.

        Raises:
            DamagedPlaces: some cannot be read.
        """
        tables = self._now  # the same for both, whatever is dropped between
        rows, counts = self._rows(places, tables)
        return Results(rows, PlacedText(self, tables, places, counts))

    def readable_rows(self, places: NDArray[np.int64]) -> tuple[NDArray[np.void], NDArray[np.bool_]]:
        """(RECORD[m], bool[n]): the fields of those that can be read, and which those are. Cost: as `rows`."""
        return _readable(self.rows, places)

    def readable_results(self, places: NDArray[np.int64]) -> tuple[Results, NDArray[np.bool_]]:
        """The same with text, which is looked at when it is asked for."""
        return _readable(self.results, places)

    def readable(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool[n]: which of the records can be read wholly, fields and instructions.

        Cost: of buffers without sums, whose bytes are known to be right, nothing; of others that of reading their bytes once,
        5 GB/s, or where few records are asked for, those records; and of damaged ones 0.2 us a record.
        """
        out = np.ones(len(places), np.bool_)
        numbers = places >> 32
        for number in np.unique(numbers).tolist():
            here = np.flatnonzero(numbers == number)
            held = self._now.held.get(number)
            if held is None:
                out[here] = False
            elif held.sums is not None and (
                len(here) * _FEW < len(held.data) or self.verify(number, 0, len(held.data))
            ):
                for first in range(0, len(here), _TODO):
                    some = here[first : first + _TODO]
                    out[some] = self._are_whole(places[some])
        return out

    def _are_whole(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Can they be read? Each is looked at."""
        (_, counts), out = _readable(self._rows, places)
        try:
            self._find_text(self._now, places[out], counts)
        except DamagedPlaces as damage:
            out[np.flatnonzero(out)[damage.bad]] = False
        return out

    def _rows(
        self, places: NDArray[np.int64], tables: _Tables | None = None
    ) -> tuple[NDArray[np.void], NDArray[np.int64]]:
        from ostinato.archive import places_kernels as kernels

        tables = self._now if tables is None else tables
        at = tables.places(places)
        n = len(places)
        rows, counts, bad = np.zeros(n, RECORD), np.empty(n, np.int64), np.empty(n, np.uint8)
        flat = rows.view(np.uint8)
        self._settle(
            tables,
            lambda c, todo: (
                kernels.read_rows(c[1], c[2], c[3], c[4], at, flat, counts, bad, todo),
                None,
            ),
        )
        self._refuse(bad, places)
        return rows, counts

    def _locate(self, tables: _Tables, places: NDArray[np.int64], counts: NDArray[np.int64]) -> Spans:
        """(bytes, starts, lengths): copies of all strings of these lists, end to end; `counts` as `_rows` found them."""
        from ostinato.archive import places_kernels as kernels

        starts, lengths, size = self._find_text(tables, places, counts)
        out = np.empty(size + 24, np.uint8)
        columns = tables.columns
        kernels.copy_text(columns[1], columns[2], tables.places(places), counts, starts, lengths, out)
        return out, starts, lengths

    def _find_text(
        self, tables: _Tables, places: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], int]:
        """Where the strings of these lists are, each in its buffer: (starts, lengths, bytes of all)."""
        from ostinato.archive import places_kernels as kernels

        at = tables.places(places)
        total = int(counts.sum())
        starts, lengths = np.empty(total, np.int64), np.empty(total, np.int32)
        bad, report = np.empty(len(places), np.uint8), np.zeros(7, np.int64)
        size = self._settle(
            tables,
            lambda c, todo: kernels.locate_text(
                c[1], c[2], c[3], c[4], at, counts, starts, lengths, bad, todo, report
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
            columns = tables.columns
            asked, outcome = call(columns, todo)
            if not asked:
                return outcome
            wanted = todo[:asked]
            for column in np.unique(wanted >> 32).tolist():
                number = int(columns[0, column])
                self._compare(tables.held[number], number, wanted[wanted >> 32 == column] & 0xFFFFFFFF)

    def _compare(self, held: _Held, number: int, blocks: NDArray[np.int64]) -> None:
        data, sums, states = held
        if sums is None or states is None:
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
        if not found.all() and number in self._now.held:  # else nobody wants to know any more
            self._damage.setdefault(number, set()).update(blocks[~found].tolist())

    def _refuse(self, bad: NDArray[np.uint8], places: NDArray[np.int64]) -> None:
        if not bad.any():
            return
        first = int(places[np.argmax(bad)])
        number, at = first >> 32, (first & 0xFFFFFFFF) << 3
        name = self._names.get(number)
        raise DamagedPlaces(
            f"{name + ': ' if name else ''}{int(bad.sum())} of {len(bad)} records cannot be read, the first at byte {at}",
            bad.view(np.bool_),
        )


def _readable(
    read: Callable[[NDArray[np.int64]], T], places: NDArray[np.int64]
) -> tuple[T, NDArray[np.bool_]]:
    """(what is read of those places that can be read, bool[n]: which those are)."""
    good = np.ones(len(places), np.bool_)
    wanted = places
    while True:  # twice at most, unless a file changes meanwhile
        try:
            return read(wanted), good
        except DamagedPlaces as damage:
            good[np.flatnonzero(good)[damage.bad]] = False
            wanted = places[good]


def _shares_bytes(
    tables: _Tables, places: NDArray[np.int64], counts: NDArray[np.int64], lengths: NDArray[np.int32]
) -> bool:
    """Have these records, each counted once, more text than their buffers have bytes? Then strings of theirs overlap.

    Only who makes sums to match can make such a file; without this its text would take n times its size.
    """
    ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])[np.concatenate([[0], np.cumsum(counts)])]
    distinct, first = np.unique(places, return_index=True)
    columns = tables.columns
    here = np.isin(columns[0], distinct >> 32)
    return int(np.diff(ends)[first].sum()) > int(columns[2, here].sum())


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
