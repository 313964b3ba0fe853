"""The slow store reader and the writer beside it, against each other and against bytes made here."""

from __future__ import annotations

import contextlib
import io
import json
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

import slow_reader
from slow_store_reader import (
    CODES,
    FIELDS,
    Bad,
    Newer,
    Refused,
    SlowStore,
    npy,
    read_json,
    read_npy,
    read_signed,
    read_store,
    record_id,
    signed,
)
from slow_store_writer import (
    Frame,
    Journal,
    Segment,
    Written,
    amendment_frame,
    records_frame,
    sealed_amendment,
    write_store,
)

EXTRAS = [["loss", "<f4", 0.5], ["step", "<i8", None], ["greedy", "|b1", False]]
STORE_ID = "00112233445566778899aabbccddeeff"
FIRST = 128 + 72  # the first frame of a journal with the context of `journal()`


def record(seed: int) -> dict[str, object]:
    words = ["add", "swap 1", "sponge_init", "größer als acht", "", "\0"]
    return {
        "tir_hash": bytes([seed % 256]).hex() * 32,
        "generated_tasm": words[: seed % 7],
        "valid": seed % 2 == 0,
        "clock_cycles": None if seed % 3 else 2**64 - 1 - seed,
        "compiler_cycles": seed,
        "fallback_used": seed % 5 == 0,
        "timestamp": 1_700_000_000 + seed,
        "model_version": seed,
    }


def row(seed: int) -> dict[str, object]:
    return {"loss": seed / 4, "step": -seed, "greedy": seed % 2 == 1}


def frame(*seeds: int, **about: int | None) -> Frame:
    return records_frame([record(seed) for seed in seeds], [row(seed) for seed in seeds], EXTRAS, **about)


def journal(number: int, *frames: Frame | bytes, **about: object) -> Journal:
    return Journal(number, list(frames), **{"context": {"model": "a", "program": "b"}} | about)


def eight(amended: dict[str, object]) -> dict[str, object]:
    return {name: amended[name] for name in FIELDS}


def flip(file: Path, position: int, bit: int = 0) -> None:
    data = bytearray(file.read_bytes())
    data[position] ^= 1 << bit
    file.write_bytes(data)


def cut(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])


def journal_file(store: Path, number: int) -> Path:
    return store / "journals" / f"{number:06d}.journal"


def three_frames(path: Path) -> tuple[Path, list[tuple[int, int]]]:
    """A store of one journal of three frames with the records 0, 1; 2; 3, 4, and where its frames are."""
    written = write_store(path, [journal(7, frame(0, 1), frame(2), frame(3, 4))], extras=EXTRAS)
    return path, written.parts["000007.journal"]


def seeds_of(store: SlowStore) -> dict[int, object]:
    """By index in its journal, the number that each record was made of."""
    return {number & 0xFFFFFF: found["compiler_cycles"] for number, found in store.records.items()}


def spoil(store: Path, **about: object) -> None:
    """Write MANIFEST again with other fields."""
    manifest = read_signed((store / "MANIFEST").read_bytes())
    (store / "MANIFEST").write_bytes(signed(manifest | about))


# what is undamaged


def test_an_empty_store_holds_nothing(tmp_path: Path):
    written = write_store(tmp_path / "s")
    store = read_store(tmp_path / "s")
    assert store == SlowStore(written.manifest)


def test_the_bytes_of_a_journal_are_those_of_the_description(tmp_path: Path):
    write_store(tmp_path / "s", [Journal(7, [records_frame([record(1)])], context={}, salt=5)])
    context = b'{"context": {}, "opened": 1700000000}   '
    head = b"OSTJRNL\n" + struct.pack("<IIIIQQ", 1, 40, zlib.crc32(context), 0, 7, 5)
    head += bytes.fromhex(STORE_ID) + bytes(4)
    head += struct.pack("<I", zlib.crc32(head))
    archive = slow_reader.write([record(1)])
    frame_head = struct.pack("<QIII", 5 ^ 168, len(archive), 1, 0)
    crc = struct.pack("<I", zlib.crc32(frame_head + archive))
    expected = head + head + context + frame_head + crc + archive
    assert journal_file(tmp_path / "s", 7).read_bytes() == expected


def test_records_of_journals_come_back_with_extras_context_and_file(tmp_path: Path):
    journals = [journal(7, frame(0, 1), frame(2)), journal(9, frame(3), context={"ü": "€"})]
    write_store(tmp_path / "s", journals, extras=EXTRAS)
    store = read_store(tmp_path / "s")
    places = {0: record_id(7, 0), 1: record_id(7, 1), 2: record_id(7, 2), 3: record_id(9, 0)}
    expected = {}
    for seed, number in places.items():
        expected[number] = record(seed) | {
            "extras": row(seed),
            "context": {"ü": "€"} if seed == 3 else {"model": "a", "program": "b"},
            "file": "journals/000009.journal" if seed == 3 else "journals/000007.journal",
        }
    assert store.records == expected
    assert list(store.records) == [7 << 24, 7 << 24 | 1, 7 << 24 | 2, 9 << 24]
    assert (store.amendments, store.skipped, store.problems) == ([], [], [])


def test_a_thousand_records_come_back_from_frames_of_every_size(tmp_path: Path):
    chance = random.Random(1)
    seeds, frames = list(range(1000)), []
    while seeds:
        size = chance.randint(1, 20)
        frames.append(frame(*seeds[:size]))
        seeds = seeds[size:]
    write_store(tmp_path / "s", [journal(1, *frames)], extras=EXTRAS)
    store = read_store(tmp_path / "s")
    assert len(store.records) == 1000
    assert [eight(found) for found in store.records.values()] == [record(seed) for seed in range(1000)]
    assert [found["extras"] for found in store.records.values()] == [row(seed) for seed in range(1000)]
    assert (store.skipped, store.problems) == ([], [])


@pytest.mark.parametrize("size", range(1, 9))
def test_rows_of_every_length_up_to_the_padding_come_back(tmp_path: Path, size: int):
    extras = [[f"x{i}", "|u1", 0] for i in range(size)]
    rows = [{f"x{i}": 10 * n + i for i in range(size)} for n in range(3)]
    frames = [records_frame([record(n) for n in range(3)], rows, extras)]
    write_store(tmp_path / "s", [Journal(1, frames)], extras=extras)
    store = read_store(tmp_path / "s")
    assert [found["extras"] for found in store.records.values()] == rows
    assert store.skipped == []


def test_every_dtype_comes_back_from_journals_and_segments(tmp_path: Path):
    extras = [[f"x{i}", dtype, None] for i, dtype in enumerate(CODES)]
    values = {name: True if dtype == "|b1" else 1 for name, dtype, _ in extras}
    journals = [Journal(2, [records_frame([record(0)], [values], extras)])]
    segments = [Segment(1, [(record_id(1, 0), record(1), values)], {1: {}})]
    write_store(tmp_path / "s", journals, segments, extras)
    store = read_store(tmp_path / "s")
    assert [found["extras"] for found in store.records.values()] == [values, values]
    assert store.problems == []


def test_indexes_need_not_be_consecutive(tmp_path: Path):
    frames = [frame(0, 1, index=5), frame(2), frame(3, index=2**24 - 1)]
    write_store(tmp_path / "s", [journal(1, *frames)], extras=EXTRAS)
    store = read_store(tmp_path / "s")
    assert seeds_of(store) == {5: 0, 6: 1, 7: 2, 2**24 - 1: 3}
    assert store.skipped == []


def test_a_journal_may_have_a_number_of_seven_digits(tmp_path: Path):
    write_store(tmp_path / "s", [journal(1_234_567, frame(0))], extras=EXTRAS)
    assert list(read_store(tmp_path / "s").records) == [1_234_567 << 24]


def test_records_of_segments_come_back_with_extras_context_and_file(tmp_path: Path):
    places = {0: record_id(1, 4), 1: record_id(3, 0), 2: record_id(3, 9)}
    sealed = [(number, record(seed), row(seed)) for seed, number in places.items()]
    segment = Segment(2, sealed, {1: {"a": "1"}, 3: {"a": "2"}, 4: {"a": "1"}})
    written = write_store(tmp_path / "s", [journal(5, frame(3))], [segment], EXTRAS)
    store = read_store(tmp_path / "s")
    for seed, number in places.items():
        assert store.records[number] == record(seed) | {
            "extras": row(seed),
            "context": {"a": "1" if seed == 0 else "2"},
            "file": "segments/000002",
        }
    assert list(store.records) == [*places.values(), record_id(5, 0)]
    assert written.manifest["retired"] == [[1, 1], [3, 4]]
    assert (store.skipped, store.problems) == ([], [])


def test_a_segment_of_many_blocks_comes_back(tmp_path: Path):
    sealed = [(record_id(1, seed), record(seed), row(seed)) for seed in range(500)]
    write_store(tmp_path / "s", [], [Segment(1, sealed, {1: {}})], EXTRAS)
    assert (tmp_path / "s/segments/000001/records.rkyv").stat().st_size > 10 * 4096
    store = read_store(tmp_path / "s")
    assert [eight(found) for found in store.records.values()] == [record(seed) for seed in range(500)]
    assert (store.skipped, store.problems) == ([], [])


def test_a_segment_may_be_empty(tmp_path: Path):
    write_store(tmp_path / "s", [], [Segment(1)], EXTRAS)
    store = read_store(tmp_path / "s")
    assert (store.records, store.skipped, store.problems) == ({}, [], [])


# amendments


def test_an_amendment_changes_the_eight_fields_and_nothing_else(tmp_path: Path):
    amendment = amendment_frame(record_id(1, 1), 12, "wrong é", record(9))
    write_store(tmp_path / "s", [journal(1, frame(0, 1), amendment, frame(2))], extras=EXTRAS)
    store = read_store(tmp_path / "s")
    assert seeds_of(store) == {0: 0, 1: 9, 3: 2}
    assert eight(store.records[record_id(1, 1)]) == record(9)
    assert store.records[record_id(1, 1)]["extras"] == row(1)
    assert store.amendments == [
        {
            "id": record_id(1, 1),
            "at": 12,
            "reason": "wrong é",
            "after": record(9),
            "amendment": record_id(1, 2),
            "before": record(1),
            "folded": False,
            "file": "journals/000001.journal",
        }
    ]
    assert (store.skipped, store.problems) == ([], [])


@pytest.mark.parametrize(("first_at", "second_at", "last"), [(1, 2, 11), (2, 1, 10), (1, 1, 11)])
def test_the_last_amendment_by_time_and_then_by_its_own_id_wins(
    tmp_path: Path, first_at: int, second_at: int, last: int
):
    first = amendment_frame(record_id(3, 0), first_at, "", record(10))
    second = amendment_frame(record_id(3, 0), second_at, "", record(11))
    journals = [journal(1, first), journal(2, second), journal(3, frame(0))]
    write_store(tmp_path / "s", journals, extras=EXTRAS)
    store = read_store(tmp_path / "s")
    assert seeds_of(store) == {0: last}
    assert len(store.amendments) == 2


def test_an_amendment_of_what_is_not_there_is_kept_and_does_nothing(tmp_path: Path):
    amendments = [amendment_frame(record_id(1, 1), 1, "", record(10)) for _ in range(2)]
    write_store(tmp_path / "s", [journal(1, frame(0), *amendments)], extras=EXTRAS)
    store = read_store(tmp_path / "s")
    assert seeds_of(store) == {0: 0}
    assert [each["before"] for each in store.amendments] == [None, None]
    assert store.problems == []


def test_sealed_amendments_reach_records_elsewhere_and_folded_ones_stand_already(tmp_path: Path):
    here, elsewhere = record_id(2, 0), record_id(1, 0)
    amendments = [
        sealed_amendment(here, 5, "folded", record_id(2, 1), record(1), record(10), True),
        sealed_amendment(elsewhere, 6, "not folded", record_id(2, 2), None, record(11), False),
    ]
    segments = [
        Segment(1, [(elsewhere, record(0), row(0))], {1: {}}),
        Segment(2, [(here, record(10), row(1))], {2: {}}, amendments),
    ]
    late = amendment_frame(here, 4, "of an earlier time", record(12))
    write_store(tmp_path / "s", [journal(3, late)], segments, EXTRAS)
    store = read_store(tmp_path / "s")
    assert eight(store.records[here]) == record(10)
    assert eight(store.records[elsewhere]) == record(11)
    assert [each["before"] for each in store.amendments] == [record(1), None, record(1)]
    assert store.problems == []


def test_an_amendment_that_two_segments_hold_counts_once(tmp_path: Path):
    number = record_id(1, 0)
    amendment = sealed_amendment(number, 5, "", record_id(2, 0), record(1), record(10), False)
    segments = [
        Segment(2, [], {2: {}}, [amendment]),
        Segment(3, [(number, record(10), row(1))], {1: {}}, [amendment | {"folded": True}]),
    ]
    write_store(tmp_path / "s", [], segments, EXTRAS)
    store = read_store(tmp_path / "s")
    assert len(store.amendments) == 1
    assert store.problems == []


AMENDMENT_TEXT = json.dumps({"id": 1 << 24, "at": 1, "reason": "", "result": record(9)})


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (AMENDMENT_TEXT, True),
        (AMENDMENT_TEXT + " " * 16, True),
        (AMENDMENT_TEXT.replace("{", "{ "), True),
        (AMENDMENT_TEXT + "\0", False),
        (AMENDMENT_TEXT + "\n", True),
        (AMENDMENT_TEXT[:-1], False),
        (f"[{AMENDMENT_TEXT}]", False),
        (AMENDMENT_TEXT.replace('"at": 1', '"at": NaN'), False),
        (AMENDMENT_TEXT.replace('"at": 1', '"at": 1e999'), False),
        (AMENDMENT_TEXT.replace('"at": 1', '"at": "1"'), False),
        (AMENDMENT_TEXT.replace('"at": 1', '"at": 1, "at": 2'), False),
        (AMENDMENT_TEXT.replace('"at": 1', '"at": 1, "more": 2'), True),
        (AMENDMENT_TEXT.replace('"at": 1', '"at": 1.0'), False),
        (AMENDMENT_TEXT.replace('"at": 1', '"at": -1'), False),
        (AMENDMENT_TEXT.replace('"reason": ""', '"reason": null'), False),
        (AMENDMENT_TEXT.replace('"reason": ""', '"reason": "\\ud800"'), False),
        (AMENDMENT_TEXT.replace('"id": 16777216', '"id": 16777216.0'), False),
        (AMENDMENT_TEXT.replace('"id": 16777216', f'"id": {2**63}'), False),
        (AMENDMENT_TEXT.replace('"valid": false', '"valid": 0'), False),
        (AMENDMENT_TEXT.replace('"model_version": 9', '"model_version": 4294967296'), False),
        (AMENDMENT_TEXT.replace('"model_version": 9', '"model_version": -1'), False),
        (AMENDMENT_TEXT.replace('"timestamp"', '"time"'), False),
        (AMENDMENT_TEXT.replace("09", "0g"), False),
    ],
)
def test_an_amendment_whose_text_is_none_is_damage(tmp_path: Path, text: str, good: bool):
    payload = text.encode()
    payload = payload.ljust((len(payload) + 7) // 8 * 8, b" ")
    write_store(tmp_path / "s", [journal(1, frame(0), Frame(payload, kind=1), frame(1))], extras=EXTRAS)
    store = read_store(tmp_path / "s")
    assert (len(store.amendments), len(store.skipped)) == ((1, 0) if good else (0, 1))
    assert seeds_of(store) == {0: 9 if good else 0, 2: 1}


def test_an_amendment_of_bytes_that_are_no_utf8_is_damage(tmp_path: Path):
    payload = AMENDMENT_TEXT.replace('"reason": ""', '"reason": "?"').encode().replace(b"?", b"\xff")
    payload = payload.ljust((len(payload) + 7) // 8 * 8, b" ")
    write_store(tmp_path / "s", [journal(1, frame(0), Frame(payload, kind=1), frame(1))], extras=EXTRAS)
    assert len(read_store(tmp_path / "s").skipped) == 1


# journals: frames


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("place", [16, 20, 24, 60, -1])
def test_a_flipped_bit_in_a_frame_loses_that_frame_alone(tmp_path: Path, which: int, place: int):
    path, parts = three_frames(tmp_path / "s")
    at, size = parts[which]
    flip(journal_file(path, 7), at + (place if place >= 0 else size - 1), 3)
    store = read_store(path)
    lost = [{0, 1}, {2}, {3, 4}][which]
    assert seeds_of(store) == {i: i for i in range(5) if i not in lost}
    assert store.skipped == [("journals/000007.journal", at, size, "damage")]
    assert store.problems == []


@pytest.mark.parametrize("place", range(24))
def test_every_flipped_bit_in_the_head_of_a_frame_loses_that_frame_alone(tmp_path: Path, place: int):
    path, parts = three_frames(tmp_path / "s")
    whole = journal_file(path, 7).read_bytes()
    for bit in range(8):
        flip(journal_file(path, 7), parts[1][0] + place, bit)
        store = read_store(path)
        assert seeds_of(store) == {0: 0, 1: 1, 3: 3, 4: 4}
        assert store.skipped == [("journals/000007.journal", *parts[1], "damage")]
        journal_file(path, 7).write_bytes(whole)


@pytest.mark.parametrize(
    ("place", "bit", "kind"),
    [
        (0, 0, "torn"),  # without its mark it is no frame
        (8, 0, "torn"),  # a length that is no multiple of 8
        (8, 3, "damage"),  # a length that is less, and still a frame
        (11, 0, "torn"),  # a length beyond the file
        (12, 0, "damage"),
        (19, 0, "damage"),
        (20, 0, "damage"),
        (24, 0, "damage"),
    ],
)
def test_a_last_frame_is_damaged_if_it_is_whole_and_else_torn(
    tmp_path: Path, place: int, bit: int, kind: str
):
    path, parts = three_frames(tmp_path / "s")
    at, size = parts[2]
    flip(journal_file(path, 7), at + place, bit)
    store = read_store(path)
    assert seeds_of(store) == {0: 0, 1: 1, 2: 2}
    assert store.skipped == [("journals/000007.journal", at, size, kind)]


def test_a_journal_cut_anywhere_loses_a_torn_tail_and_nothing_else(tmp_path: Path):
    path, parts = three_frames(tmp_path / "s")
    whole = journal_file(path, 7).read_bytes()
    ends = [at + size for at, size in parts]
    assert parts[0][0] == FIRST
    assert ends[-1] == len(whole)
    for size in range(len(whole) + 1):
        journal_file(path, 7).write_bytes(whole[:size])
        store = read_store(path)
        kept = sum(end <= size for end in ends)
        assert len(store.records) == [0, 2, 3, 5][kept]
        begin = 0 if size < FIRST else ([FIRST, *ends])[kept]
        expected = [("journals/000007.journal", begin, size - begin, "torn")] if begin < size else []
        assert store.skipped == expected
        assert store.problems == []


def test_a_torn_frame_that_the_next_one_overwrites_leaves_a_torn_tail(tmp_path: Path):
    path, parts = three_frames(tmp_path / "s")
    short, long = frame(5, index=5), frame(*range(5, 25), index=5)
    end = sum(parts[-1])
    salt = Journal(7).salt
    data = bytearray(journal_file(path, 7).read_bytes() + long.bytes_at(end, salt, 5)[:-40])
    written = short.bytes_at(end, salt, 5)
    data[end : end + len(written)] = written
    journal_file(path, 7).write_bytes(data)
    store = read_store(path)
    assert seeds_of(store) == {i: i for i in range(6)}
    rest = end + len(written)
    assert store.skipped == [("journals/000007.journal", rest, len(data) - rest, "torn")]


@pytest.mark.parametrize("gap", [1, 7, 8, 9, 24, 64, 4096])
def test_after_bytes_that_are_none_of_it_the_next_frame_is_found_at_a_multiple_of_eight(
    tmp_path: Path, gap: int
):
    stuff = random.Random(gap).randbytes((gap + 7) // 8 * 8)
    written = write_store(tmp_path / "s", [journal(7, frame(0), stuff, frame(1))], extras=EXTRAS)
    store = read_store(tmp_path / "s")
    assert seeds_of(store) == {0: 0, 1: 1}
    at, size = written.parts["000007.journal"][1]
    assert store.skipped == [("journals/000007.journal", at, size, "damage")]


def test_a_frame_that_is_not_at_a_multiple_of_eight_is_not_found(tmp_path: Path):
    written = write_store(tmp_path / "s", [journal(7, frame(0), b"1234", frame(1))], extras=EXTRAS)
    at = written.parts["000007.journal"][1][0]
    size = journal_file(tmp_path / "s", 7).stat().st_size
    store = read_store(tmp_path / "s")
    assert seeds_of(store) == {0: 0}
    assert store.skipped == [("journals/000007.journal", at, size - at, "torn")]


def test_a_copied_frame_is_none(tmp_path: Path):
    path, parts = three_frames(tmp_path / "s")
    data = journal_file(path, 7).read_bytes()
    at, size = parts[2]
    journal_file(path, 7).write_bytes(data + data[at : at + size])
    store = read_store(path)
    assert seeds_of(store) == {i: i for i in range(5)}
    assert store.skipped == [("journals/000007.journal", at + size, size, "torn")]


def test_a_frame_of_another_journal_is_none(tmp_path: Path):
    other = frame(1).bytes_at(FIRST, 1, 0)
    write_store(tmp_path / "s", [journal(7, other, frame(2))], extras=EXTRAS)
    store = read_store(tmp_path / "s")
    assert seeds_of(store) == {0: 2}
    assert store.skipped == [("journals/000007.journal", FIRST, len(other), "damage")]


def archive_of(count: int) -> bytes:
    return slow_reader.write([record(seed) for seed in range(count)])


ROW = struct.pack("<fq?", 0, 0, False)
BAD_FRAMES = {
    "kind 2": frame(9, kind=2),
    "kind 255": frame(9, kind=255),
    "count 0": Frame(slow_reader.write([]), count=0),
    "fewer records than the count": Frame(archive_of(1) + ROW * 2 + bytes(6), count=2),
    "more records than the count": Frame(archive_of(2) + ROW + bytes(3), count=1),
    "an archive that is none": Frame(b"\xff" * 104 + ROW + bytes(3)),
    "no rows": Frame(archive_of(1)),
    "eight bytes of padding too many": Frame(archive_of(1) + ROW + bytes(11)),
    "an empty payload": Frame(b""),
    "a length that is no multiple of 8": Frame(archive_of(1) + ROW + bytes(3), size=len(archive_of(1)) + 15),
    "a length beyond the file": Frame(archive_of(1) + ROW + bytes(3), size=2**32 - 8),
    "an amendment of two": amendment_frame(7 << 24, 1, "", record(9), count=2),
    "an amendment as records": amendment_frame(7 << 24, 1, "", record(9), kind=0),
    "a wrong mark": frame(9, mark=0),
}


@pytest.mark.parametrize("what", BAD_FRAMES)
@pytest.mark.parametrize("last", [False, True])
def test_a_frame_with_a_right_crc_that_is_not_good_is_skipped(tmp_path: Path, what: str, last: bool):
    frames = [frame(0), BAD_FRAMES[what]] + ([] if last else [frame(1, index=1)])
    written = write_store(tmp_path / "s", [journal(7, *frames)], extras=EXTRAS)
    store = read_store(tmp_path / "s")
    assert seeds_of(store) == ({0: 0} if last else {0: 0, 1: 1})
    at, size = written.parts["000007.journal"][1]
    torn = last and what in ("a length beyond the file", "a wrong mark")
    assert store.skipped == [("journals/000007.journal", at, size, "torn" if torn else "damage")]
    assert store.amendments == []


@pytest.mark.parametrize("last", [False, True])
def test_a_frame_whose_records_were_there_before_is_repeated(tmp_path: Path, last: bool):
    frames = [frame(0), frame(9, index=0)] + ([] if last else [frame(1, index=1)])
    written = write_store(tmp_path / "s", [journal(7, *frames)], extras=EXTRAS)
    store = read_store(tmp_path / "s")
    assert seeds_of(store) == ({0: 0} if last else {0: 0, 1: 1})
    assert store.skipped == [("journals/000007.journal", *written.parts["000007.journal"][1], "repeated")]


def test_padding_of_rows_is_not_looked_at(tmp_path: Path):
    frames = [Frame(archive_of(1) + ROW + b"\0\0\1"), frame(1)]
    write_store(tmp_path / "s", [journal(7, *frames)], extras=EXTRAS)
    store = read_store(tmp_path / "s")
    assert seeds_of(store) == {0: 0, 1: 1}
    assert store.skipped == []


def test_an_amendment_that_is_none_is_damage_and_takes_its_index(tmp_path: Path):
    frames = [frame(0), frame(9, kind=1), frame(2, index=1), frame(3, index=2)]
    written = write_store(tmp_path / "s", [journal(7, *frames)], extras=EXTRAS)
    store = read_store(tmp_path / "s")
    assert seeds_of(store) == {0: 0, 2: 3}
    parts = written.parts["000007.journal"]
    assert [skip[1:] for skip in store.skipped] == [(*parts[1], "damage"), (*parts[2], "repeated")]


def test_a_frame_whose_indexes_do_not_fit_24_bits_is_skipped(tmp_path: Path):
    write_store(tmp_path / "s", [journal(7, frame(0), frame(1, 2, index=2**24 - 1))], extras=EXTRAS)
    store = read_store(tmp_path / "s")
    assert seeds_of(store) == {0: 0}
    assert len(store.skipped) == 1


def test_after_a_lost_frame_a_lower_index_is_measured_against_the_last_good_one(tmp_path: Path):
    frames = [frame(0), frame(1, index=100, crc=0), frame(2, index=1)]
    write_store(tmp_path / "s", [journal(7, *frames)], extras=EXTRAS)
    assert seeds_of(read_store(tmp_path / "s")) == {0: 0, 1: 2}


# journals: heads and names


@pytest.mark.parametrize("head", [0, 1])
def test_one_damaged_head_costs_nothing(tmp_path: Path, head: int):
    path, _ = three_frames(tmp_path / "s")
    whole = journal_file(path, 7).read_bytes()
    for place in range(64):
        flip(journal_file(path, 7), 64 * head + place, place % 8)
        store = read_store(path)
        assert len(store.records) == 5
        assert store.skipped == []
        assert store.problems == [f"journals/000007.journal: head {head + 1} is damaged"]
        journal_file(path, 7).write_bytes(whole)


def test_with_both_heads_damaged_the_journal_is_ignored(tmp_path: Path):
    path, _ = three_frames(tmp_path / "s")
    for head in (0, 64):
        flip(journal_file(path, 7), head + 33)
    store = read_store(path)
    assert store.records == {}
    assert store.skipped == []
    assert store.problems == ["journals/000007.journal: both heads are damaged"]


@pytest.mark.parametrize(
    "about",
    [
        {"context_bytes": b"{}      "},
        {"context_bytes": b""},
        {"context_bytes": b'{"context": {"a": 1}, "opened": 1}'.ljust(40)},
        {"context_bytes": b'{"context": {}, "opened": "1"}'.ljust(32)},
        {"context_bytes": b'{"context": {}}'.ljust(16)},
        {"context_bytes": b'{"context": {"a": "\xff"}, "opened": 1}'.ljust(40)},
        {"context_bytes": b"[" * 100_000},
    ],
)
def test_a_context_that_is_none_is_a_problem_and_costs_no_records(tmp_path: Path, about: dict[str, bytes]):
    write_store(tmp_path / "s", [journal(7, frame(0), **about)], extras=EXTRAS)
    store = read_store(tmp_path / "s")
    assert seeds_of(store) == {0: 0}
    assert [found["context"] for found in store.records.values()] == [{}]
    assert len(store.problems) == 1
    assert store.problems[0].startswith("journals/000007.journal: the context: ")


def test_a_damaged_context_is_a_problem_and_costs_no_records(tmp_path: Path):
    path, _ = three_frames(tmp_path / "s")
    flip(journal_file(path, 7), 128 + 20)
    store = read_store(path)
    assert len(store.records) == 5
    assert store.problems == ["journals/000007.journal: the context: the CRC-32 is wrong"]


@pytest.mark.parametrize("size", [2**20 + 8, 60])
def test_a_context_of_a_size_that_is_none_damages_both_heads(tmp_path: Path, size: int):
    context = b'{"context": {}, "opened": 1}'.ljust(size)
    write_store(tmp_path / "s", [journal(7, frame(0), context_bytes=context)], extras=EXTRAS)
    store = read_store(tmp_path / "s")
    assert store.records == {}
    assert store.problems == ["journals/000007.journal: both heads are damaged"]


@pytest.mark.parametrize(
    ("about", "problem"),
    [
        ({"store_id": "f" * 32}, f"is of store {'f' * 32}"),
        ({"said_number": 8}, "is journal 8"),
        ({"extra_size": 12}, "has 12 bytes of extra columns a record, not 13"),
    ],
)
def test_a_journal_of_something_else_is_a_problem_and_ignored(
    tmp_path: Path, about: dict[str, object], problem: str
):
    write_store(tmp_path / "s", [journal(7, frame(0), **about), journal(9, frame(1))], extras=EXTRAS)
    store = read_store(tmp_path / "s")
    assert list(store.records) == [9 << 24]
    assert store.problems == [f"journals/000007.journal: {problem}"]
    assert store.skipped == []


@pytest.mark.parametrize(
    "name", ["7.journal", "0000007.journal", "000000.journal", "a.journal", "٠٠٠٠٠٧.journal"]
)
def test_a_file_of_another_name_does_not_count(tmp_path: Path, name: str):
    write_store(tmp_path / "s", [journal(7, frame(0), name=name)], extras=EXTRAS)
    store = read_store(tmp_path / "s")
    assert store.records == {}
    assert (store.skipped, store.problems) == ([], [])


def test_other_files_are_no_journals(tmp_path: Path):
    path, _ = three_frames(tmp_path / "s")
    (path / "journals/000008.journal.tmp").write_bytes(b"1")
    (path / "aside/000009.journal").write_bytes(b"1")
    (path / "catalog.sqlite").write_bytes(b"1")
    store = read_store(path)
    assert (len(store.records), store.problems) == (5, [])


def test_retired_journals_are_not_even_looked_at(tmp_path: Path):
    journals = [journal(number, frame(number)) for number in range(1, 8)]
    journals.append(journal(8, frame(8), version=2))
    write_store(tmp_path / "s", journals, extras=EXTRAS, retired=[[1, 2], [4, 4], [6, 6], [8, 9]])
    store = read_store(tmp_path / "s")
    assert list(store.records) == [record_id(number, 0) for number in (3, 5, 7)]
    assert (store.skipped, store.problems) == ([], [])


# segments


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A store of one segment of 100 records, and of one journal with a record."""
    records = [(record_id(1, seed), record(seed), row(seed)) for seed in range(100)]
    amendment = sealed_amendment(record_id(1, 7), 5, "", record_id(1, 100), record(1), record(7), True)
    write_store(
        tmp_path / "s", [journal(2, frame(0))], [Segment(1, records, {1: {"a": "b"}}, [amendment])], EXTRAS
    )
    return tmp_path / "s"


FILES = [
    "records.rkyv",
    "ids.npy",
    "extra-loss.npy",
    "extra-step.npy",
    "extra-greedy.npy",
    "journals.npy",
    "contexts.json",
    "amendments.jsonl",
]


def test_a_segment_has_the_files_of_the_description_in_its_order(sealed: Path):
    about = read_signed((sealed / "segments/000001/segment.json").read_bytes())
    assert [name for name, _ in about["files"]] == FILES
    assert {file.name for file in (sealed / "segments/000001").iterdir()} == {
        *FILES,
        "sums.npy",
        "segment.json",
    }


def in_block(place: int, block: int) -> bool:
    return place // 4096 == block


@pytest.mark.parametrize("name", ["ids.npy", "extra-loss.npy", "extra-step.npy", "extra-greedy.npy"])
def test_a_damaged_block_of_numbers_takes_the_records_whose_numbers_lie_in_it(tmp_path: Path, name: str):
    sealed = [(record_id(1, seed), record(seed), row(seed)) for seed in range(5000)]
    write_store(tmp_path / "s", [], [Segment(1, sealed, {1: {}})], EXTRAS)
    width = {"ids.npy": 8, "extra-loss.npy": 4, "extra-step.npy": 8, "extra-greedy.npy": 1}[name]
    file = tmp_path / "s/segments/000001" / name
    whole = file.read_bytes()
    for position in (0, 128, 4096, len(whole) - 1):
        flip(file, position, 1)
        begin = position // 4096 * 4096
        end = min(begin + 4096, len(whole))
        store = read_store(tmp_path / "s")
        lost = {i for i in range(5000) if begin < 128 + width * (i + 1) and 128 + width * i < end}
        assert set(seeds_of(store)) == set(range(5000)) - lost
        assert store.left_out == {"segments/000001": len(lost)}
        assert store.skipped == [(f"segments/000001/{name}", begin, end - begin, "damage")]
        file.write_bytes(whole)


def test_a_damaged_block_of_records_takes_those_whose_entry_or_text_lies_in_it(sealed: Path):
    file = sealed / "segments/000001/records.rkyv"
    whole = file.read_bytes()
    entries_at = len(whole) - 8 - 9600
    begin = 0
    touched: dict[int, set[int]] = {}  # by record, the blocks of its entry, its list and its long words
    for i in range(100):
        words = [word.encode() for word in record(i)["generated_tasm"]]
        long = sum(len(word) for word in words if len(word) > 8)
        list_at = (begin + long + 3) // 4 * 4
        places = [*range(begin, begin + long), *range(list_at, list_at + 8 * len(words))]
        places += range(entries_at + 96 * i, entries_at + 96 * (i + 1))
        touched[i] = {place // 4096 for place in places}
        begin = list_at + 8 * len(words)
    assert (begin + 7) // 8 * 8 == entries_at
    for block in range((len(whole) + 4095) // 4096):
        flip(file, min(4096 * block + 1000, len(whole) - 1), 1)
        store = read_store(sealed)
        # record 7 was amended and folded: there is nothing to put in its place
        left = {i for i, blocks in touched.items() if block not in blocks}
        assert {number & 0xFFFFFF for number in store.records if number >> 24 == 1} == left
        assert store.left_out == {"segments/000001": 100 - len(left)}
        assert 0 < len(left) < 100
        file.write_bytes(whole)


def test_of_a_record_that_was_amended_later_the_text_is_not_needed(tmp_path: Path):
    sealed = [(record_id(1, seed), record(seed), row(seed)) for seed in range(200)]
    amendments = [amendment_frame(record_id(1, seed), 5, "", record(seed + 1000)) for seed in (4, 199)]
    write_store(tmp_path / "s", [journal(2, *amendments)], [Segment(1, sealed, {1: {}})], EXTRAS)
    flip(tmp_path / "s/segments/000001/records.rkyv", 0)
    store = read_store(tmp_path / "s")
    assert store.records[record_id(1, 4)]["compiler_cycles"] == 1004
    assert store.amendments[0]["before"] is None
    assert 1 < store.left_out["segments/000001"] < 199
    assert record_id(1, 5) not in store.records


@pytest.mark.parametrize(
    "name", ["journals.npy", "contexts.json", "amendments.jsonl", "sums.npy", "segment.json"]
)
def test_a_flipped_bit_in_a_file_that_must_be_right_as_a_whole_is_refused(sealed: Path, name: str):
    file = sealed / "segments/000001" / name
    whole = file.read_bytes()
    for position in range(0, len(whole), 7):
        flip(file, position, 0)
        with pytest.raises(Refused, match=f"segments/000001/{name}"):
            read_store(sealed)
        file.write_bytes(whole)


@pytest.mark.parametrize("name", [*FILES, "sums.npy", "segment.json"])
@pytest.mark.parametrize("change", ["gone", "longer", "shorter", "a link"])
def test_a_file_that_is_missing_or_of_another_size_is_refused(sealed: Path, name: str, change: str):
    file = sealed / "segments/000001" / name
    whole = file.read_bytes()
    file.unlink()
    if change == "longer":
        file.write_bytes(whole + b"\n")
    elif change == "shorter":
        file.write_bytes(whole[:-1])
    elif change == "a link":
        (sealed / "elsewhere").write_bytes(whole)
        file.symlink_to(sealed / "elsewhere")
    with pytest.raises(Refused, match=f"segments/000001/{name}"):
        read_store(sealed)


def test_a_segment_that_manifest_does_not_name_is_ignored(tmp_path: Path):
    segments = [
        Segment(1, [(record_id(1, 0), record(1), row(1))], {1: {}}),
        Segment(2, [(record_id(1, 0), record(2), row(2))], {1: {}}, about={"store_id": "?"}, named=False),
    ]
    write_store(tmp_path / "s", [], segments, EXTRAS)
    store = read_store(tmp_path / "s")
    assert seeds_of(store) == {0: 1}
    assert store.problems == []


def test_a_segment_that_is_not_there_is_refused(tmp_path: Path):
    entries = [{"name": "000001", "records": 3, "bytes": 5}]
    write_store(tmp_path / "s", [journal(2, frame(0))], extras=EXTRAS)
    spoil(tmp_path / "s", segments=entries, next_segment=2)
    with pytest.raises(Refused, match=r"segments/000001/segment\.json: cannot be opened"):
        read_store(tmp_path / "s")


ONE = [(1 << 24, record(1), row(1))]
LINE = json.dumps(sealed_amendment(1 << 24, 5, "", 2 << 24, None, record(2), False)).encode() + b"\n"
BAD_SEGMENTS = {
    "of another store": Segment(1, ONE, {1: {}}, about={"store_id": "f" * 32}),
    "of another name": Segment(1, ONE, {1: {}}, about={"name": "000002"}),
    "records are another number": Segment(1, ONE, {1: {}}, about={"records": 2}),
    "a field is missing": Segment(1, ONE, {1: {}}, about={"dropped": None}),
    "ids that do not rise": Segment(1, ONE * 2, {1: {}}),
    "more ids than records": Segment(
        1, ONE, {1: {}}, files={"ids.npy": npy("<i8", (2,), [1 << 24, 2 << 24])}
    ),
    "ids of another dtype": Segment(1, ONE, {1: {}}, files={"ids.npy": npy("<u8", (1,), [1 << 24])}),
    "an archive that is none": Segment(1, ONE, {1: {}}, files={"records.rkyv": b"\xff" * 8}),
    "no ids": Segment(1, ONE, {1: {}}, files={"ids.npy": None}),
    "no column": Segment(1, ONE, {1: {}}, files={"extra-step.npy": None}),
    "a long column": Segment(1, ONE, {1: {}}, files={"extra-step.npy": npy("<i8", (2,), [1, 2])}),
    "a column of another dtype": Segment(1, ONE, {1: {}}, files={"extra-loss.npy": npy("<f8", (1,), [1])}),
    "no contexts": Segment(1, ONE, {1: {}}, files={"contexts.json": None}),
    "a context that is none": Segment(1, ONE, {1: {}}, files={"contexts.json": b'[{"a": 1}]'}),
    "three columns of journals": Segment(
        1, ONE, {1: {}}, files={"journals.npy": npy("<i8", (1, 3), [1, 0, 0])}
    ),
    "a journal twice": Segment(1, ONE, {1: {}}, files={"journals.npy": npy("<i8", (2, 2), [1, 0, 1, 0])}),
    "an amendment that is none": Segment(1, ONE, {1: {}}, files={"amendments.jsonl": b"{}\n"}),
    "an amendment cut short": Segment(1, ONE, {1: {}}, files={"amendments.jsonl": LINE[:-9]}),
}


def test_the_segment_that_the_bad_ones_are_made_of_is_read(tmp_path: Path):
    segment = Segment(1, ONE, {1: {}}, files={"amendments.jsonl": LINE})
    write_store(tmp_path / "s", [journal(2, frame(0))], [segment], EXTRAS, retired=[[1, 1]])
    store = read_store(tmp_path / "s")
    assert [store.records[number]["compiler_cycles"] for number in (1 << 24, 2 << 24)] == [2, 0]
    assert len(store.amendments) == 1


@pytest.mark.parametrize("what", BAD_SEGMENTS)
def test_a_segment_with_right_sums_that_is_not_as_described_is_refused(tmp_path: Path, what: str):
    write_store(tmp_path / "s", [journal(2, frame(0))], [BAD_SEGMENTS[what]], EXTRAS, retired=[[1, 1]])
    with pytest.raises(Refused, match="segments/000001"):
        read_store(tmp_path / "s")


@pytest.mark.parametrize(
    "segment",
    [Segment(1, ONE), Segment(1, ONE, {1: {"a": "b"}}, files={"contexts.json": b"[]"})],
    ids=["no journal", "no context"],
)
def test_a_record_whose_context_is_not_there_has_an_empty_one(tmp_path: Path, segment: Segment):
    write_store(tmp_path / "s", [], [segment], EXTRAS, retired=[[1, 1]])
    store = read_store(tmp_path / "s")
    assert [found["context"] for found in store.records.values()] == [{}]
    assert store.problems == []


def test_a_record_that_stands_in_two_files_is_refused(tmp_path: Path):
    segment = Segment(1, [(7 << 24, record(1), row(1))], {7: {}})
    write_store(tmp_path / "s", [journal(7, frame(1, 2))], [segment], EXTRAS, retired=[])
    with pytest.raises(Refused, match="record 117440512 is in segments/000001 too"):
        read_store(tmp_path / "s")


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_damaged_the_rest_is_read_and_nothing_is_invented(sealed: Path, seed: int):
    """MANIFEST apart: records are right or gone, and damage never goes unmentioned."""
    chance = random.Random(seed)
    whole = read_store(sealed)
    files = [file for file in sorted(sealed.glob("*/**/*")) if file.is_file()]
    for _ in range(10):
        file = chance.choice(files)
        before = file.read_bytes()
        after = bytearray(before)
        for _ in range(chance.choice([1, 1, 5])):
            at, size = chance.randrange(len(after)), chance.choice([1, 1, 8, 100])
            after[at : at + size] = chance.choice([b"", bytes(size), chance.randbytes(size)])
            after = after or bytearray(1)
        file.write_bytes(after)
        store = None
        with contextlib.suppress(Refused):
            store = read_store(sealed)
        if store is not None:
            assert after == before or store.skipped or store.problems
            for number, found in store.records.items():
                assert found | {"context": {}} == whole.records[number] | {"context": {}}
        file.write_bytes(before)
    assert read_store(sealed) == whole


# MANIFEST, and versions


def test_without_a_manifest_there_is_no_store(tmp_path: Path):
    with pytest.raises(Refused, match="no MANIFEST"):
        read_store(tmp_path)


def test_every_flipped_bit_of_manifest_is_refused(sealed: Path):
    whole = (sealed / "MANIFEST").read_bytes()
    for position in range(len(whole)):
        flip(sealed / "MANIFEST", position, 0)
        with pytest.raises(Refused, match="MANIFEST"):
            read_store(sealed)
        (sealed / "MANIFEST").write_bytes(whole)


def test_a_manifest_cut_anywhere_is_refused(sealed: Path):
    whole = (sealed / "MANIFEST").read_bytes()
    for size in range(len(whole)):
        (sealed / "MANIFEST").write_bytes(whole[:size])
        with pytest.raises(Refused, match="MANIFEST"):
            read_store(sealed)


@pytest.mark.parametrize(
    "about",
    [
        {"ostinato_store": "1"},
        {"ostinato_store": 0},
        {"store_id": "0"},
        {"created": None},
        {"generation": -1},
        {"extras": [["a", "<f4"]]},
        {"extras": [["a", ">f4", 0]]},
        {"extras": [["a", "<f4", 0], ["a", "<f4", 0]]},
        {"extras": [["a", "<f4", float("nan")]]},
        {"segments": [{"name": "../../x", "records": 0, "bytes": 0}]},
        {"segments": [{"name": "000001", "records": 0, "bytes": 0}], "next_segment": 1},
        {"segments": [{"name": "000001", "records": 0, "bytes": 0}] * 2, "next_segment": 2},
        {"retired": [[2, 1]]},
        {"retired": [1]},
        {"retired": [[3, 4], [1, 2]]},
        {"retired": [[1, 2], [3, 4]]},
        {"retired": [[0, 2]]},
        {"merged": None},
        {"merged": {"0": []}},
        {"extras": [["a b", "<f4", 0]]},
        {"extras": [["a" * 65, "<f4", 0]]},
        {"extras": [["a", "<f4", "0"]]},
    ],
)
def test_a_manifest_with_a_field_that_is_not_its_own_is_refused(tmp_path: Path, about: dict[str, object]):
    path, _ = three_frames(tmp_path / "s")
    spoil(path, **about)
    with pytest.raises(Refused, match="MANIFEST"):
        read_store(path)


def test_a_manifest_of_a_newer_version_raises(tmp_path: Path):
    path, _ = three_frames(tmp_path / "s")
    spoil(path, ostinato_store=2, extras="of another kind")
    with pytest.raises(Newer, match="MANIFEST: version 2"):
        read_store(path)


def test_a_journal_of_a_newer_version_raises(tmp_path: Path):
    write_store(tmp_path / "s", [journal(7, version=2)], extras=EXTRAS)
    with pytest.raises(Newer, match=r"journals/000007.journal: version 2"):
        read_store(tmp_path / "s")


def test_a_segment_of_a_newer_version_raises(tmp_path: Path):
    segment = Segment(1, about={"ostinato_segment": 2, "files": "of another kind"})
    write_store(tmp_path / "s", [], [segment], EXTRAS)
    with pytest.raises(Newer, match=r"segments/000001/segment.json: version 2"):
        read_store(tmp_path / "s")


# the small parts


def test_npy_files_are_what_numpy_reads_and_writes():
    for dtype in CODES:
        for shape in [(0,), (5,), (3, 2)]:
            size = int(np.prod(shape))
            values = [bool(i % 2) for i in range(size)] if dtype == "|b1" else list(range(size))
            array = np.load(io.BytesIO(npy(dtype, shape, values)))
            assert array.dtype.str == dtype
            assert array.tolist() == np.array(values).reshape(shape).tolist()
            file = io.BytesIO()
            np.save(file, array)
            assert read_npy(file.getvalue(), dtype, len(shape)) == (shape, values)


@pytest.mark.parametrize("size", [0, 5, 9, 20, 127, 135])
def test_an_npy_file_that_is_cut_is_bad(size: int):
    with pytest.raises(Bad):
        read_npy(npy("<i8", (1,), [1])[:size], "<i8", 1)


def test_an_npy_file_of_version_2_is_bad():
    data = bytearray(npy("<i8", (1,), [1]))
    data[6] = 2
    with pytest.raises(Bad, match=r"version 1\.0"):
        read_npy(bytes(data), "<i8", 1)


@pytest.mark.parametrize(
    "text", [b"{", b"NaN", b"\xff", b'{"a": 1, "a": 1}', b'"\\ud800"', b"[" * 100_000, b"\xef\xbb\xbf1"]
)
def test_json_is_read_strictly(text: bytes):
    with pytest.raises(Bad, match="no JSON"):
        read_json(text)


def test_a_signed_text_is_json_and_a_line_of_its_crc():
    text = b'{"a": "\xc3\xa9"}\n'
    assert signed({"a": "é"}) == text + b"crc32 %08x\n" % zlib.crc32(text)
    assert read_signed(signed({"a": "é"})) == {"a": "é"}


def test_what_was_written_says_where_its_parts_are(tmp_path: Path):
    written = write_store(tmp_path / "s", [journal(7, b"12345678", frame(0))], extras=EXTRAS)
    assert isinstance(written, Written)
    assert written.parts["000007.journal"][0] == (FIRST, 8)
    assert sum(written.parts["000007.journal"][1]) == journal_file(tmp_path / "s", 7).stat().st_size
