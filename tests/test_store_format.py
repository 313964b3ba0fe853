"""The real store and the slow reader agree: on stores of the real writer, of the hand writer, and on what chance makes of them.

With OSTINATO_LONG=1 chance has 40 times as many tries.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import slow_reader
from ostinato import BuildResult
from ostinato.store import Extra, Keep, Store
from record_helpers import records as any_record
from slow_store_reader import FIELDS, record_id
from slow_store_writer import (
    Frame,
    Journal,
    Segment,
    amendment_frame,
    records_frame,
    sealed_amendment,
    write_store,
)
from store_helpers import QUICK, made
from store_readers import Read, agreed

TRIES = 4000 if os.environ.get("OSTINATO_LONG") == "1" else 100
EXTRAS = {"loss": Extra("<f4", 0.5), "step": "<i8", "greedy": "|b1", "far": Extra("<f8", float("inf"))}
COLUMNS = [["loss", "<f4", 0.5], ["step", "<i8", None], ["greedy", "|b1", None], ["far", "<f8", "inf"]]
GOLDEN = Path(__file__).parent / "golden" / "store"
FORMAT = Path(__file__).parent.parent / "FORMAT.md"


def row(k: int) -> dict[str, Any]:
    return {"loss": k / 4, "step": -k, "greedy": k % 2 == 1, "far": float("-inf") if k % 3 else float("nan")}


def of(k: int) -> dict[str, Any]:
    """The k-th record as the slow reader has it."""
    return made(k).to_dict()


def numbers(read: Read) -> dict[int, int]:
    """By id, the number that each record was made of."""
    return {i: r["timestamp"] - 1_700_000_000 for i, r in read.records.items()}


def journal_files(store: Path) -> list[Path]:
    return sorted((store / "journals").iterdir())


# stores of the real writer


def opened(path: Path) -> Store:
    return Store.open(path, extras=EXTRAS, fs=QUICK)


def test_an_empty_store_is_empty(tmp_path: Path):
    opened(tmp_path / "s").close()
    assert agreed(tmp_path / "s") == Read()


def test_what_was_appended_one_by_one_and_at_once_is_read(tmp_path: Path):
    with opened(tmp_path / "s") as store, store.writer({"host": "ü"}) as writer:
        ids = [writer.append(made(k), row(k)) for k in range(20)]
        columns = {name: [row(k)[name] for k in range(20, 1500)] for name in EXTRAS}
        ids += writer.extend([made(k) for k in range(20, 1500)], columns).tolist()
        ids += writer.extend([made(1500)], {"step": 7, "greedy": True}).tolist()
    read = agreed(tmp_path / "s")
    assert numbers(read) == dict(zip(ids, range(1501), strict=True))
    assert repr(read.records[ids[1234]]["extras"]) == repr(row(1234))
    last = {"loss": 0.5, "step": 7, "greedy": True, "far": float("inf")}
    assert read.records[ids[1500]]["extras"] == last
    assert {repr(r["context"]) for r in read.records.values()} == {"{'host': 'ü'}"}
    assert (read.skipped, read.damaged) == ([], 0)


@settings(max_examples=20, deadline=None)
@given(st.lists(any_record, max_size=6))
def test_any_record_is_read_as_it_is(results: list[BuildResult]):
    with TemporaryStore() as path:
        with Store.open(path, fs=QUICK) as store:
            with store.writer() as writer:
                ids = [writer.append(r) for r in results]
                ids += writer.extend(results).tolist()
            read = agreed(path)
            assert [read.records[i] for i in ids] == [
                r.to_dict() | {"extras": {}, "context": {}} for r in results * 2
            ]
            store.seal()
        assert agreed(path) == read


def test_a_writer_that_went_on_in_new_journals_is_read(tmp_path: Path):
    with opened(tmp_path / "s") as store, store.writer({"a": "b"}, rotate_bytes=4096) as writer:
        for k in range(100):
            writer.append(made(k), row(k))
    read = agreed(tmp_path / "s")
    assert len(journal_files(tmp_path / "s")) > 4
    assert sorted(numbers(read).values()) == list(range(100))
    assert {r["context"]["a"] for r in read.records.values()} == {"b"}


def worked(path: Path) -> dict[int, int]:
    """A store in which everything was done that can be done; what it must hold: by id, the number of the record."""
    store = opened(path)
    held: dict[int, int] = {}
    for round_ in range(4):
        for context in ({"worker": "1"}, {"worker": "2", "ü": "€"}, {}):
            with store.writer(context, rotate_bytes=16384) as writer:
                for _ in range(8):
                    k = len(held)
                    held[writer.append(made(k), row(k))] = k
                first = len(held)
                many = range(first, first + 40)
                columns = {name: [row(k)[name] for k in many] for name in EXTRAS}
                held |= dict(zip(writer.extend([made(k) for k in many], columns).tolist(), many, strict=True))
        chosen = list(held)[:: 7 + round_]
        for at, i in enumerate(chosen[:6]):
            k = held[i] % 5 + 5 * (10_000 + 100 * round_ + at)  # of the same program
            store.amend(i, made(k), reason=f"é {round_}", at=100 + at % 3)
        if round_ == 1:
            store.seal(max_bytes=1 << 14)
        if round_ == 2:
            store.seal()
            store.compact()
    # the last of several corrections counts by its time, and of equals by its id
    with store as closing:
        for amendment in sorted(closing.amendments(), key=lambda a: (a.amendment.at, a.amendment.amendment)):
            held[amendment.amendment.id] = amendment.amendment.result.timestamp - 1_700_000_000
    return held


def test_a_store_that_was_amended_sealed_and_compacted_is_read(tmp_path: Path):
    held = worked(tmp_path / "s")
    read = agreed(tmp_path / "s")
    assert numbers(read) == dict(sorted(held.items()))
    assert len(read.amendments) == 24
    assert {a["folded"] for a in read.amendments} == {True, False}
    assert all(a["before"] is not None for a in read.amendments)
    assert (read.skipped, read.damaged) == ([], 0)
    assert list((tmp_path / "s/segments").iterdir())


def test_a_store_whose_journals_are_all_sealed_says_the_same(tmp_path: Path):
    held = worked(tmp_path / "s")
    before = agreed(tmp_path / "s")
    with opened(tmp_path / "s") as store:
        store.seal(max_bytes=1 << 15)
        assert journal_files(tmp_path / "s") == []
        sealed = agreed(tmp_path / "s")
        store.compact()
        compacted = agreed(tmp_path / "s")
    for after in (sealed, compacted):
        assert repr(after.records) == repr(before.records)
        assert [{**a, "folded": 0} for a in after.amendments] == [
            {**a, "folded": 0} for a in before.amendments
        ]
    assert len(held) == len(compacted.records)
    assert {a["folded"] for a in compacted.amendments} == {True}


def test_what_a_policy_keeps_is_read(tmp_path: Path):
    worked(tmp_path / "s")
    with opened(tmp_path / "s") as store:
        store.compact(Keep(newest=50))
    read = agreed(tmp_path / "s")
    assert len(read.records) == 50
    assert (read.skipped, read.damaged) == ([], 0)


def test_merged_stores_are_read(tmp_path: Path):
    held = worked(tmp_path / "a")
    worked(tmp_path / "b")
    with opened(tmp_path / "a") as ours, opened(tmp_path / "b") as theirs:
        ours.merge(theirs)
    read = agreed(tmp_path / "a")
    theirs_read = agreed(tmp_path / "b")
    assert len(read.records) == 2 * len(held)

    def sorted_records(records: list[dict[str, Any]]) -> list[str]:
        return sorted(map(repr, records))

    brought = [r for i, r in read.records.items() if i not in held]
    assert sorted_records(brought) == sorted_records(list(theirs_read.records.values()))


def test_corrections_of_records_that_are_not_sealed_yet_survive_compacting(tmp_path: Path):
    with Store.open(tmp_path / "s", fs=QUICK) as store, store.writer() as writer:
        i = writer.append(made(5))
        for at in (1, 2):
            store.amend(i, made(5 + 5 * at), reason="", at=at)
            store.seal()
        store.compact()
        assert store.get(i) == made(15)
        assert len(store.amendments()) == 2
    assert numbers(agreed(tmp_path / "s")) == {i: 15}


def test_a_journal_cut_anywhere_is_read_alike(tmp_path: Path):
    with opened(tmp_path / "s") as store, store.writer({"a": "b"}) as writer:
        for k in range(2):
            writer.append(made(k), row(k))
        writer.extend([made(2), made(3)], {"step": [1, 2], "greedy": False})
    (file,) = journal_files(tmp_path / "s")
    whole = file.read_bytes()
    counts = []
    for size in range(0, len(whole) + 1, 1 if TRIES > 1000 else 5):
        file.unlink()
        file.write_bytes(whole[:size])
        read = agreed(tmp_path / "s")
        assert len(read.skipped) <= 1
        assert all(kind == "torn" and at + n == size for _, at, n, kind in read.skipped)
        counts.append(len(read.records))
    assert counts == sorted(counts)
    assert set(counts) >= {0, 1, 2}


# stores of the hand writer


def frame(*ks: int, **about: Any) -> Frame:
    return records_frame([of(k) for k in ks], [row(k) for k in ks], COLUMNS, **about)


def journal(number: int, *frames: Frame | bytes, **about: Any) -> Journal:
    return Journal(number, list(frames), **{"context": {"model": "a", "ü": "b"}} | about)


ROWS = struct.pack("<fq?d", 1, 2, True, 3) + bytes(3)  # of one record, padded
ONE = slow_reader.write([of(1)])
AMENDMENT = json.dumps({"id": 7 << 24, "reason": "?", "result": of(5), "at": 9})
UNTIMED = b'{"context": {"a": "b"}, "opened": "1"}  '


def padded(text: str) -> bytes:
    return text.encode().ljust((len(text.encode()) + 7) // 8 * 8, b" ")


JOURNALS: dict[str, tuple[list[Journal], int, list[str]]] = {
    # the journals, how many records are read, the kinds of what is passed over
    "undamaged": ([journal(7, frame(0, 1), frame(2)), journal(1_000_000, frame(3))], 4, []),
    "without frames": ([journal(7)], 0, []),
    "a wrong crc": ([journal(7, frame(0), frame(1, crc=1), frame(2))], 2, ["damage"]),
    "a wrong crc at the end": ([journal(7, frame(0), frame(1, crc=1))], 1, ["damage"]),
    "a wrong mark": ([journal(7, frame(0), frame(1, mark=1), frame(2))], 2, ["damage"]),
    "a wrong mark at the end": ([journal(7, frame(0), frame(1, mark=1))], 1, ["torn"]),
    "a size beyond the file": ([journal(7, frame(0), frame(1, size=2**32 - 8), frame(2))], 2, ["damage"]),
    "a size beyond the file at the end": ([journal(7, frame(0), frame(1, size=2**32 - 8))], 1, ["torn"]),
    "an odd size beyond the file at the end": ([journal(7, frame(0), frame(1, size=2**32 - 3))], 1, ["torn"]),
    "an odd size at the end": ([journal(7, frame(0), frame(1, size=13))], 1, ["damage"]),
    "count 0": ([journal(7, Frame(slow_reader.write([]), count=0), frame(2))], 1, ["damage"]),
    "another count": ([journal(7, Frame(ONE + ROWS + ROWS, count=2), frame(2))], 1, ["damage"]),
    "kind 2": ([journal(7, frame(0, kind=2), frame(2))], 1, ["damage"]),
    "kind 255 at the end": ([journal(7, frame(0), frame(1, kind=255))], 1, ["damage"]),
    "an archive that is none": ([journal(7, Frame(b"\xff" * 104 + ROWS), frame(2))], 1, ["damage"]),
    "an archive with bytes behind its entries": (
        [journal(7, Frame(ONE[:-8] + bytes(8) + struct.pack("<iI", -104, 1) + ROWS), frame(2))],
        1,
        ["damage"],
    ),
    "bytes in front of the text": (
        [journal(7, Frame(bytes(16) + ONE + ROWS), frame(2))],
        2,
        [],
    ),
    "no rows": ([journal(7, Frame(ONE), frame(2))], 1, ["damage"]),
    "padding that is not zeros": ([journal(7, Frame(ONE + ROWS[:-3] + b"abc"), frame(2))], 2, []),
    "an empty payload": ([journal(7, Frame(b""), frame(2))], 1, ["damage"]),
    "a repeated index": ([journal(7, frame(0, 1), frame(2, index=1), frame(3))], 3, ["repeated"]),
    "a repeated index at the end": ([journal(7, frame(0, 1), frame(2, index=1))], 2, ["repeated"]),
    "repeated and then damaged": (
        [journal(7, frame(0, 1), frame(2, index=0), frame(3, crc=0), frame(4))],
        3,
        ["repeated"],
    ),
    "damaged and then repeated": (
        [journal(7, frame(0, 1), frame(3, crc=0), frame(2, index=0), frame(4, index=3))],
        3,
        ["damage"],
    ),
    "an index far ahead": ([journal(7, frame(0), frame(1, index=2**24 - 1))], 2, []),
    "an index too far": ([journal(7, frame(0), frame(1, 2, index=2**24 - 1))], 1, ["damage"]),
    "indexes of a lost frame": (
        [journal(7, frame(0), frame(1, index=9, crc=0), frame(2, index=1))],
        2,
        ["damage"],
    ),
    "strange bytes between": (
        [journal(7, frame(0), random.Random(1).randbytes(4096), frame(1))],
        2,
        ["damage"],
    ),
    "strange bytes at an odd place": ([journal(7, frame(0), b"1234", frame(1))], 1, ["torn"]),
    "strange bytes at the end": ([journal(7, frame(0), b"1234")], 1, ["torn"]),
    "a frame of another journal": (
        [journal(7, frame(0), frame(1).bytes_at(504, 99, 1), frame(2))],
        2,
        ["damage"],
    ),
    "an amendment": ([journal(7, frame(0, 5), amendment_frame(7 << 24, 5, "é", of(5)), frame(2))], 3, []),
    "an amendment of what is not there": ([journal(7, frame(0), amendment_frame(9, 5, "", of(5)))], 1, []),
    "an amendment that is none": ([journal(7, frame(0), frame(1, kind=1), frame(2))], 2, ["damage"]),
    "an amendment that is none at the end": ([journal(7, frame(0), frame(1, kind=1))], 1, ["damage"]),
    "an amendment of two": (
        [journal(7, frame(0), amendment_frame(7 << 24, 5, "", of(5), count=2), frame(2))],
        2,
        ["damage"],
    ),
    "an amendment with half of a surrogate pair": (
        [journal(7, frame(0), Frame(padded(AMENDMENT.replace("?", "\\ud800")), kind=1), frame(2))],
        2,
        ["damage"],
    ),
    "an amendment of a time that is no integer": (
        [journal(7, frame(0), Frame(padded(AMENDMENT.replace("9}", "9.5}")), kind=1), frame(2))],
        2,
        ["damage"],
    ),
    "an amendment that says more": (
        [journal(7, frame(0), Frame(padded(AMENDMENT.replace("9}", '9, "by": null}')), kind=1), frame(2))],
        2,
        [],
    ),
    "a context of a time that is text": ([journal(7, frame(0), context_bytes=UNTIMED)], 1, []),
    "a damaged context": ([journal(7, frame(0), context_bytes=b"{" * 16)], 1, []),
    "no context": ([journal(7, frame(0), context_bytes=b"")], 1, []),
    "a context that is too large": ([journal(7, frame(0), context_bytes=b"{}".ljust(2**20 + 8))], 0, []),
    "a context of an odd size": ([journal(7, frame(0), context_bytes=b"{}")], 0, []),
    "of another store": ([journal(7, frame(0), store_id="f" * 32), journal(8, frame(1))], 1, []),
    "of another number": ([journal(7, frame(0), said_number=8), journal(9, frame(1))], 1, []),
    "of other columns": ([journal(7, frame(0), extra_size=8), journal(8, frame(1))], 1, []),
    "of another salt for each": ([journal(7, frame(0), salt=1), journal(8, frame(1), salt=2**64 - 1)], 2, []),
    "a name of too few digits": ([journal(7, frame(0), name="00007.journal")], 0, []),
    "a name of too many zeros": ([journal(7, frame(0), name="0000007.journal")], 0, []),
    "number 0": ([journal(0, frame(0))], 0, []),
}


@pytest.mark.parametrize("what", JOURNALS)
def test_journals_made_by_hand_are_read_alike(tmp_path: Path, what: str):
    journals, count, kinds = JOURNALS[what]
    write_store(tmp_path / "s", journals, extras=COLUMNS)
    read = agreed(tmp_path / "s")
    assert not read.refused
    assert len(read.records) == count
    assert [kind for *_, kind in read.skipped] == kinds


@pytest.mark.parametrize("what", [name for name in JOURNALS if name != "an amendment of two"])
def test_what_was_passed_over_is_counted_before_and_after_sealing(tmp_path: Path, what: str):
    journals, count, kinds = JOURNALS[what]
    write_store(tmp_path / "s", journals, extras=COLUMNS)
    before = agreed(tmp_path / "s")
    with Store.open(tmp_path / "s", create=False, fs=QUICK) as store:
        for _ in range(2):
            health = store.health()
            counts = {"torn": health.torn, "damage": health.damaged, "repeated": health.repeated}
            assert counts == {kind: kinds.count(kind) for kind in counts}
            assert health.records == count
            store.seal()
    assert repr(agreed(tmp_path / "s").records) == repr(before.records)


@pytest.mark.parametrize("head", [0, 64])
def test_one_damaged_head_costs_nothing_and_two_cost_the_journal(tmp_path: Path, head: int):
    write_store(tmp_path / "s", [journal(7, frame(0, 1))], extras=COLUMNS)
    (file,) = journal_files(tmp_path / "s")
    whole = file.read_bytes()
    for place in range(head, head + 64):
        data = bytearray(whole)
        data[place] ^= 16
        file.write_bytes(data)
        assert len(agreed(tmp_path / "s").records) == 2
        data[64 - head + 9] ^= 1
        file.write_bytes(data)
        assert agreed(tmp_path / "s") == Read()


def sealed(*ks: int, number: int = 1, **about: Any) -> Segment:
    records = [(record_id(1, k), of(k), row(k)) for k in ks]
    return Segment(number, records, {1: {"a": "b"}}, **about)


LATE = sealed_amendment(record_id(1, 0), 5, "é", record_id(2, 9), of(0), of(5), False)
FOLDED = sealed_amendment(record_id(1, 5), 6, "", record_id(2, 8), of(0), of(5), True)
SEGMENTS: dict[str, tuple[list[Segment], int | None]] = {
    # the segments, and how many records are read; None: refused
    "none": ([], 0),
    "one": ([sealed(0, 1, 2)], 3),
    "an empty one": ([Segment(1)], 0),
    "one of many blocks": ([sealed(*range(500))], 500),
    "two": ([sealed(0, 1), sealed(2, number=2)], 3),
    "one that is not named": ([sealed(0), sealed(7, number=2, named=False)], 1),
    "amended": ([sealed(0, 5, amendments=[LATE, FOLDED])], 2),
    "only amendments": ([Segment(1, amendments=[LATE]), sealed(0, number=2)], 1),
    "of another store": ([sealed(0, about={"store_id": "f" * 32})], None),
    "of another name": ([sealed(0, about={"name": "000002"})], None),
    "of another version": ([sealed(0, about={"ostinato_segment": 2})], None),
    "of another count": ([sealed(0, about={"records": 2})], None),
    "nothing dropped": ([sealed(0, about={"dropped": None})], None),
    "ids that do not rise": ([sealed(1, 0)], None),
    "ids that stand twice": ([sealed(1, 1)], None),
    "no ids": ([sealed(1, files={"ids.npy": None})], None),
    "no column": ([sealed(1, files={"extra-step.npy": None})], None),
    "no contexts": ([sealed(1, files={"contexts.json": None})], None),
    "contexts that are none": ([sealed(1, files={"contexts.json": b'[{"a": 1}]'})], None),
    "no archive": ([sealed(1, files={"records.rkyv": b"\xff" * 128})], None),
    "an empty archive": ([sealed(1, files={"records.rkyv": bytes(8)})], None),
    "an amendment that is none": ([sealed(1, files={"amendments.jsonl": b"{}\n"})], None),
    "a journal that is not named": ([Segment(1, [(record_id(1, 0), of(0), row(0))])], 1),
    "a context too few": ([sealed(0, files={"contexts.json": b"[]"})], 1),
}


@pytest.mark.parametrize("what", SEGMENTS)
def test_segments_made_by_hand_are_read_alike(tmp_path: Path, what: str):
    segments, count = SEGMENTS[what]
    late = amendment_frame(record_id(1, 2), 9, "", of(12))
    write_store(tmp_path / "s", [journal(5, frame(3), late)], segments, COLUMNS)
    read = agreed(tmp_path / "s")
    assert bool(read.refused) == (count is None)
    assert len(read.records) == (0 if count is None else count + 1)


def test_left_over_journals_that_are_retired_are_not_looked_at(tmp_path: Path):
    journals = [journal(1, frame(8), version=2), journal(2, frame(9)), journal(3, frame(10))]
    write_store(tmp_path / "s", journals, [sealed(0)], COLUMNS, retired=[[1, 2]])
    assert numbers(agreed(tmp_path / "s")) == {record_id(1, 0): 0, record_id(3, 0): 10}


@pytest.mark.parametrize("what", ["journal", "segment", "MANIFEST"])
def test_a_newer_version_is_refused(tmp_path: Path, what: str):
    version = 2 if what == "journal" else 1
    segment = sealed(0, about={"ostinato_segment": 2} if what == "segment" else {})
    manifest = {"ostinato_store": 2} if what == "MANIFEST" else {}
    write_store(tmp_path / "s", [journal(7, frame(0), version=version)], [segment], COLUMNS, **manifest)
    assert "version 2" in agreed(tmp_path / "s").refused


@pytest.mark.parametrize("what", ["journals", "segments/000001", "segments/000001/ids.npy"])
def test_a_link_is_not_followed(tmp_path: Path, what: str):
    write_store(tmp_path / "s", [journal(5, frame(3))], [sealed(0)], COLUMNS)
    assert len(agreed(tmp_path / "s").records) == 2
    shutil.move(tmp_path / "s" / what, tmp_path / "elsewhere")
    (tmp_path / "s" / what).symlink_to(tmp_path / "elsewhere")
    assert agreed(tmp_path / "s").refused


def test_a_journal_that_is_a_link_is_ignored(tmp_path: Path):
    write_store(tmp_path / "s", [journal(5, frame(3)), journal(6, frame(4))], extras=COLUMNS)
    (file, _) = journal_files(tmp_path / "s")
    shutil.move(file, tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert numbers(agreed(tmp_path / "s")) == {record_id(6, 0): 4}


# chance


class TemporaryStore:
    """A path for a store, of which nothing is left."""

    def __enter__(self) -> Path:
        import tempfile

        self._folder = tempfile.mkdtemp()
        return Path(self._folder) / "s"

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder)


@dataclass
class Change:
    """One thing done to one file of a store; places are shares of the file's size, in 2**32ths."""

    kind: str
    file: int
    place: int
    size: int
    other: int

    def apply(self, data: bytes, files: list[bytes]) -> bytes:
        at = self.place * len(data) >> 32
        if self.kind in ("move", "lose", "insert"):
            at -= at % 8  # where frames may stand
        end = at + self.size
        source = files[self.other % len(files)]
        begin = self.other * len(source) >> 32
        begin -= begin % 8
        if self.kind == "flip":
            return data[:at] + bytes(b ^ 1 << self.other % 8 for b in data[at : at + 1]) + data[at + 1 :]
        return {
            "cut": data[:at],
            "zeros": data[:at] + bytes(len(data[at:end])) + data[end:],
            "noise": data[:at] + random.Random(self.other).randbytes(len(data[at:end])) + data[end:],
            "lose": data[:at] + data[at + self.size // 8 * 8 :],
            "insert": data[:at] + source[begin : begin + self.size // 8 * 8] + data[at:],
            "move": data[:at] + source[begin : begin + self.size] + data[end:],
        }[self.kind]


u32 = st.integers(0, 2**32 - 1)
changes = st.lists(
    st.builds(
        Change,
        kind=st.sampled_from(["flip", "flip", "cut", "zeros", "noise", "lose", "insert", "move"]),
        file=u32,
        place=u32,
        size=st.sampled_from([1, 8, 24, 64, 500, 5000]),
        other=u32,
    ),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("base") / "s"
    worked(path)
    return path


@contextlib.contextmanager
def changed(base: Path, todo: list[Change], pattern: str) -> Iterator[tuple[Path, bool]]:
    """The store with some files changed, and was one?"""
    files = sorted(file for file in base.glob(pattern) if file.is_file())
    before = [file.read_bytes() for file in files]
    after = list(before)
    for change in todo:
        k = change.file % len(files)
        after[k] = change.apply(after[k], before)
    touched = [k for k in range(len(files)) if after[k] != before[k]]
    try:
        for k in touched:
            files[k].unlink()
            files[k].write_bytes(after[k])
        yield base, bool(touched)
    finally:
        for k in touched:
            files[k].unlink()
            files[k].write_bytes(before[k])


chance = settings(
    max_examples=TRIES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("pattern", ["journals/*", "segments/*/*"])
def test_whatever_happens_to_the_files_both_readers_agree_and_no_record_is_wrong(base: Path, pattern: str):
    whole = agreed(base)
    assert len(whole.records) == 576

    @chance
    @given(changes)
    def agree(todo: list[Change]) -> None:
        with changed(base, todo, pattern) as (path, _):
            read = agreed(path)
            originals = {a["id"]: a["before"] for a in whole.amendments}
            texts = {i: {repr(r)} for i, r in whole.records.items()}
            for a in whole.amendments:  # a lost correction leaves an earlier one, or the record as it was
                rest = {k: whole.records[a["id"]][k] for k in ("extras", "context")}
                texts[a["id"]] |= {repr(a["after"] | rest), repr(originals[a["id"]] | rest)}
            for i, found in read.records.items():
                context = whole.records[i]["context"]
                assert found["context"] in (context, {})
                assert repr(found | {"context": context}) in texts[i]

    agree()
    assert repr(agreed(base)) == repr(whole)


def test_every_byte_of_a_small_journal_flipped_is_read_alike(tmp_path: Path):
    frames = [frame(0), amendment_frame(7 << 24, 5, "", of(5)), frame(2)]
    write_store(tmp_path / "s", [journal(7, *frames)], extras=COLUMNS)
    (file,) = journal_files(tmp_path / "s")
    whole = file.read_bytes()
    counts = set()
    for place in range(0, len(whole), 1 if TRIES > 1000 else 3):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        file.unlink()
        file.write_bytes(data)
        read = agreed(tmp_path / "s")
        counts.add(len(read.records))
    assert counts == {1, 2}


# what was written once


def test_the_golden_store_is_read_for_ever(tmp_path: Path):
    shutil.copytree(GOLDEN, tmp_path / "s")
    read = agreed(tmp_path / "s")
    expected = json.loads(GOLDEN.with_suffix(".json").read_bytes())
    about = {int(i): r for i, r in expected["records"].items()}
    assert len(about) == 48
    assert repr(read.records) == repr({i: {k: about[i][k] for k in read.records[i]} for i in sorted(about)})
    amendments = sorted(expected["amendments"], key=lambda a: a["amendment"])
    assert read.amendments == [{k: a[k] for k in read.amendments[0]} for a in amendments]
    assert read.skipped == [tuple(skip) for skip in expected["skipped"]]
    with Store.open(tmp_path / "s", create=False) as store:
        health = store.health()
        assert (health.records, health.torn, health.damaged, health.amended) == (48, 1, 1, 2)


def test_the_golden_store_is_what_its_maker_made(tmp_path: Path):
    """By formula: the k-th record, those that were lost, those that were corrected."""
    shutil.copytree(GOLDEN, tmp_path / "s")
    corrected = {3: 203, 4: 204}
    lost = {44, 47}
    expected = [made(corrected.get(k, k)).to_dict() for k in range(50) if k not in lost]
    assert [{k: r[k] for k in FIELDS} for r in agreed(tmp_path / "s").records.values()] == expected


def test_the_golden_store_is_sealed_and_says_the_same(tmp_path: Path):
    shutil.copytree(GOLDEN, tmp_path / "s")
    before = agreed(tmp_path / "s")
    with Store.open(tmp_path / "s", create=False, fs=QUICK) as store:
        store.compact()
    after = agreed(tmp_path / "s")
    assert repr(after.records) == repr(before.records)
    assert journal_files(tmp_path / "s") == []


def test_the_example_of_the_description_is_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    _, found, text = FORMAT.read_text().partition("## A journal, byte by byte\n")
    assert found
    expected = b""
    for line in text.partition("```text\n")[2].partition("```")[0].splitlines():
        place, said = int(line[:3], 16), line[5:53].strip()
        assert place == len(expected)
        if ".." in said:
            first, last = (int(end, 16) for end in said.split(" .. "))
            expected += expected[first : last + 1]
        elif "×" in said:
            byte, times = said.split(" × ")
            expected += bytes.fromhex(byte) * int(times)
        else:
            expected += bytes.fromhex(said)
    assert len(expected) == 336
    write_store(tmp_path / "s", extras=[["loss", "<f4", None]], store_id="00112233445566778899aabbccddeeff")
    monkeypatch.setattr("ostinato.store.writer.secrets.randbits", lambda bits: 0x8877665544332211)
    monkeypatch.setattr("ostinato.store.writer.time.time", lambda: 5.0)
    example = BuildResult(
        tir_hash=bytes([0xAA]) * 32,
        generated_tasm=("add", "sponge_init"),
        valid=True,
        clock_cycles=7,
        compiler_cycles=9,
        fallback_used=False,
        timestamp=5,
        model_version=2,
    )
    with Store.open(tmp_path / "s", create=False) as store, store.writer({"host": "a"}) as writer:
        writer.append(example, {"loss": 0.5})
    (file,) = journal_files(tmp_path / "s")
    assert file.read_bytes() == expected
