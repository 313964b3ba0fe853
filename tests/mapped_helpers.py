"""What the tests of mapped buffers share: archives in memory, records in them, and how to damage one."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato import BuildResult, archive
from ostinato.archive.places import Buffers
from ostinato.replay import Batch, MappedBuffer

Ints = NDArray[np.int64]
ENTRY, STEP = 96, 12


def made(k: int, **other: Any) -> BuildResult:
    """The k-th of many records that differ in all that samplers and removers look at."""
    fields: dict[str, Any] = {
        "tir_hash": bytes([k % 5]) * 32,
        "generated_tasm": [f"push {k}", "add", "a long instruction"][: 1 + k % 3],
        "valid": k % 7 != 0,
        "clock_cycles": None if k % 4 == 0 else 1 + k * 37 % 100,
        "compiler_cycles": 60,
        "fallback_used": k % 9 == 0,
        "timestamp": k,
        "model_version": k // 10,
    }
    return BuildResult(**{**fields, **other})


class Shelf:
    """Buffers of archives in memory, which can be written to: what a store's files are to a mapped buffer."""

    def __init__(self) -> None:
        self.buffers = Buffers()
        self.bytes: dict[int, NDArray[np.uint8]] = {}

    def lay(self, records: Sequence[BuildResult]) -> Ints:
        """An archive of these records; returns their places."""
        raw = archive.dumps(records)
        room = np.zeros(len(raw) + 8, np.uint8)
        begin = -room.ctypes.data % 8
        data = room[begin : begin + len(raw)]
        data[:] = np.frombuffer(raw, np.uint8)
        number = self.buffers.add(data, name=f"archive {len(self.bytes)}")
        self.bytes[number] = data
        root = len(raw) - 8
        first = root + struct.unpack("<i", raw[root : root + 4])[0]
        return (number << 32) + first // 8 + STEP * np.arange(len(records))

    def lay_one_by_one(self, records: Sequence[BuildResult]) -> Ints:
        """The same, each in an archive of its own."""
        return np.concatenate([self.lay([one]) for one in records])

    def _entry(self, place: int) -> tuple[NDArray[np.uint8], int]:
        return self.bytes[int(place) >> 32], (int(place) & 0xFFFFFFFF) << 3

    def damage_fields(self, place: int) -> None:
        """A flag that is neither 0 nor 1."""
        data, at = self._entry(place)
        data[at + 40] = 7

    def damage_text(self, place: int) -> None:
        """A first instruction that is no UTF-8."""
        data, at = self._entry(place)
        offset = int(data[at + 32 : at + 36].view("<i4")[0])
        data[at + 32 + offset] = 0xC3
        data[at + 33 + offset] = 0x28


def named(first: int, n: int, journal: int = 1) -> Ints:
    """Ids as a store gives them to n records of a journal."""
    return (journal << 24) + first + np.arange(n)


def mapped(
    records: Sequence[BuildResult], capacity: int = 100, **settings: Any
) -> tuple[MappedBuffer, Shelf]:
    """A buffer of these records, in one archive, from id 2**24 on."""
    shelf = Shelf()
    buffer = MappedBuffer(capacity, shelf.buffers, **settings)
    buffer.take_in(named(0, len(records)), shelf.lay(records))
    return buffer, shelf


def seen(batch: Batch, names: Ints | None = None) -> dict[str, Any]:
    """All that a batch shows, its ids replaced by names[id]."""
    ids = batch.ids if names is None else names[batch.ids]
    columns = ("priority", "probability", "weight", "times_sampled", "times_seen", "reward")
    return {
        "ids": ids.tolist(),
        "records": list(batch),
        "words": [tuple(words) for words in batch.generated_tasm],
        **{name: getattr(batch, name).tolist() for name in columns},
    }
