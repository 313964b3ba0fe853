"""Records where they lie: hostile bytes cost no more than the bytes that are there."""

from __future__ import annotations

import numpy as np
import pytest

from ostinato import archive
from ostinato.archive import layout
from ostinato.archive.places import STEP, Buffers, DamagedPlaces
from record_helpers import record


def places_of(data: np.ndarray, number: int, n: int) -> np.ndarray:
    entries = len(data) - layout.ROOT_BYTES - layout.ENTRY_BYTES * n
    return (np.int64(number) << np.int64(32)) + entries // 8 + STEP * np.arange(n)


def archive_of(sizes: list[int]) -> np.ndarray:
    words = [f"{k:03d}" + "x" * (size - 3) for k, size in enumerate(sizes)]
    return np.frombuffer(archive.dumps([record(generated_tasm=[w]) for w in words]), np.uint8).copy()


def test_records_that_are_drawn_many_times_are_read_many_times():
    data = archive_of([1 << 20, 1 << 20])
    buffers = Buffers()
    places = places_of(data, buffers.add(data), 2).repeat(30)
    text = buffers.results(places).generated_tasm
    assert [word[0][:3] for word in text] == ["000"] * 30 + ["001"] * 30


def test_strings_that_share_their_bytes_are_refused_before_they_are_copied():
    large, n = 20 << 20, 50
    data = archive_of([large] + [12] * (n - 1))
    buffers = Buffers()
    places = places_of(data, buffers.add(data), n)
    for place in places.tolist():  # each record's one string is made that of the first
        entry = (place & 0xFFFFFFFF) << 3
        at = entry + 32 + int(data[entry + 32 : entry + 36].view("<i4")[0])
        string = layout.pack_length(large).to_bytes(4, "little") + (-at).to_bytes(4, "little", signed=True)
        data[at : at + 8] = np.frombuffer(string, np.uint8)
    text = buffers.text(places)
    with pytest.raises(DamagedPlaces) as refused:
        text.spans(0, n)
    assert refused.value.bad.all()
    assert len(text.lines(n - 1)[0]) == large
