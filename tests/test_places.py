"""Records where they lie: hostile bytes cost no more than the bytes that are there."""

from __future__ import annotations

import contextlib
import threading
import zlib

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


def same_places(buffers: Buffers, data: np.ndarray, live: int, gone: int) -> dict[int, np.ndarray]:
    """Buffers with the same three records, `gone` dropped between them."""
    kept = {}
    for k in range(live + gone):
        number = buffers.add(data, name=f"file {k}")
        if k % (1 + gone // live) == 0 and len(kept) < live:
            kept[number] = places_of(data, number, 3)
        else:
            buffers.drop([number])
    return kept


def test_records_are_found_whatever_was_dropped_around_them():
    data, buffers = archive_of([10, 20, 30]), Buffers()
    kept = same_places(buffers, data, 8, 100)
    places = np.concatenate(list(kept.values()))
    results = buffers.results(places[::-1])
    assert [word[0][:3] for word in results.generated_tasm] == ["002", "001", "000"] * 8
    assert buffers.timestamps(places).tolist() == results.timestamp[::-1].tolist()


def test_places_of_buffers_that_are_not_here_are_bad():
    data, buffers = archive_of([10, 20, 30]), Buffers()
    kept = same_places(buffers, data, 3, 30)
    never = [n for n in range(-2, 40) if n not in kept]
    places = np.concatenate([places_of(data, n, 3) for n in [*kept, *never]])
    rows, good = buffers.readable_rows(places)
    assert (len(rows), good.tolist()) == (9, [True] * 9 + [False] * 3 * len(never))
    assert buffers.readable(places).tolist() == good.tolist()
    buffers.drop(kept)
    assert not buffers.readable_rows(places)[1].any()


def test_results_that_are_held_stay_whatever_becomes_of_their_buffer():
    data, buffers = archive_of([10, 20, 30]), Buffers()
    first, second = buffers.add(data.copy()), buffers.add(data.copy())
    held = buffers.results(np.concatenate([places_of(data, first, 3), places_of(data, second, 3)]))
    buffers.drop([first])
    buffers.replace(second, np.concatenate([data, data]))
    for _ in range(20):  # whose columns are not theirs
        buffers.add(data)
    assert [word[0][:3] for word in held.generated_tasm] == ["000", "001", "002"] * 2


def test_what_is_kept_grows_with_the_buffers_that_are_here_and_not_with_those_that_were():
    data, buffers = archive_of([10]), Buffers()
    kept = same_places(buffers, data, 8, 5000)
    for number in list(kept) * 3:
        buffers.replace(number, data)
    now = buffers._now
    assert (now.columns.shape, now._room.shape) == ((5, 8), (5, 16))
    assert sorted(now.held) == sorted(buffers._names) == list(kept)


def test_dropping_nothing_changes_nothing():
    data, buffers = archive_of([10]), Buffers()
    buffers.add(data)
    before = buffers._now
    buffers.drop([])
    buffers.drop([7])
    assert buffers._now is before


def test_damage_of_a_buffer_is_forgotten_with_it_and_not_found_again():
    data, buffers = archive_of([5000, 5000, 5000]), Buffers()
    sums = np.array([zlib.crc32(data[at : at + 4096]) for at in range(0, len(data), 4096)], np.uint32)
    sums[0] += 1
    first, second = (buffers.add(data, name=name, sums=sums) for name in ("first", "second"))
    held = [buffers.results(places_of(data, number, 3)[1:]) for number in (first, second)]
    assert not buffers.readable(places_of(data, first, 3)).all()
    assert buffers.damaged_blocks() == {"first": [0]}
    buffers.drop([first, second])
    for results in held:
        with contextlib.suppress(DamagedPlaces):
            results.generated_tasm.spans(0, 2)
    assert (buffers.damaged_blocks(), buffers.damaged_in(first), buffers._damage) == ({}, [], {})


def test_who_reads_while_another_drops_and_replaces_gets_what_it_asked_for():
    data, buffers = archive_of([10, 20, 30]), Buffers()
    number = buffers.add(data)
    places, stop = places_of(data, number, 3), threading.Event()

    def change() -> None:
        while not stop.is_set():
            other = buffers.add(data)
            buffers.replace(number, data.copy())
            buffers.drop([other])

    changer = threading.Thread(target=change)
    changer.start()
    try:
        words = {tuple(w[0][:3] for w in buffers.results(places).generated_tasm) for _ in range(500)}
    finally:
        stop.set()
        changer.join()
    assert words == {("000", "001", "002")}


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
    text = buffers.results(places).generated_tasm
    with pytest.raises(DamagedPlaces) as refused:
        text.spans(0, n)
    assert refused.value.bad.all()
    assert len(text.lines(n - 1)[0]) == large
