"""A store whose bytes are not what they should be: it opens, or refuses naming the file; records are right or absent.

In `make test` some bytes of every file are flipped, and a journal is cut at some places; with OSTINATO_LONG=1 at every
byte of every file, in three ways, and there are many more random changes.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import slow_store_reader as slow
import slow_store_writer as slow_writer
from ostinato import BuildResult, DamageError, OstinatoError, VersionError
from ostinato.store import Keep, Store, compact, seal
from ostinato.store import journal as journals
from ostinato.store.amendments import SealedAmendment
from ostinato.store.check import check, repair
from ostinato.store.fs import REAL, FileSystem
from store_helpers import NOW, made

LONG = bool(os.environ.get("OSTINATO_LONG"))
EXTRAS = {"score": "<f4", "parent": "<i8"}
SEALED, UNSEALED = 60, 20


def columns(numbers: list[int]) -> dict[str, list[float]]:
    return {"score": [k / 8 for k in numbers], "parent": [k - 1 for k in numbers]}


class Truth:
    """A small store with all kinds of files in it, and what it says while it is whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with Store.open(folder, extras=EXTRAS) as store:
            first = range(SEALED)
            with store.writer({"host": "a", "target": "triton"}) as writer:
                ids = writer.extend([made(k) for k in first[:30]], columns(list(first[:30])))
            with store.writer({"host": "b"}) as writer:
                for k in first[30:]:
                    writer.append(made(k), {"score": k / 8, "parent": k - 1})
            store.amend(int(ids[3]), made(3, valid=False), reason="wrong after all", at=5)
            store.seal()
            rest = list(range(SEALED, SEALED + UNSEALED))
            with store.writer({"host": "c"}) as writer:
                for k in rest[:10]:
                    writer.append(made(k), {"score": k / 8, "parent": k - 1})
                more = writer.extend([made(k) for k in rest[10:]], columns(rest[10:]))
            store.amend(int(ids[5]), made(5, valid=False), reason="again", at=6)
            store.amend(int(more[0]), made(70, compiler_cycles=1), reason="again", at=7)
            store.close()
        for left in folder.glob("catalog*"):  # SQLite's own files are damaged in test_catalog_damage
            left.unlink()
        self.records = told_by(folder)
        # what a record may be where the correction is damaged: what it was before
        self.before = {int(ids[5]): made(5), int(more[0]): made(70)}
        assert len(self.records) == SEALED + UNSEALED

    def is_true(self, identity: int, record: BuildResult, score: float, parent: int) -> bool:
        now, *extras = self.records[identity]
        return extras == [score, parent] and record in (now, self.before.get(identity, now))


Told = dict[int, tuple[BuildResult, float, int]]


def told_by(folder: Path) -> Told:
    with Store.open(folder, create=False) as store:
        return told(store)


def told(store: Store) -> Told:
    """What a store says: every record with its extra columns, words and all."""
    records = store.results()
    score, parent = records.extras["score"].tolist(), records.extras["parent"].tolist()
    out = dict(zip(records.ids.tolist(), zip(records, score, parent, strict=True), strict=True))
    assert len(out) == len(records)
    return out


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return Truth(tmp_path_factory.mktemp("truth") / "store")


@pytest.fixture(scope="module")
def copy_of(truth: Truth, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Copies of the store, to be damaged."""
    folder = tmp_path_factory.mktemp("copies")
    count = 0

    def copy() -> Path:
        nonlocal count
        count += 1
        shutil.copytree(truth.folder, folder / str(count))
        return folder / str(count)

    return copy


@pytest.fixture(scope="module")
def one_copy(copy_of: Callable[[], Path]) -> Path:
    return copy_of()


@pytest.fixture
def damaged(one_copy: Path) -> Iterator[Path]:
    """One copy that is damaged and mended many times."""
    before = {path: path.read_bytes() for path in files(one_copy)}
    yield one_copy
    for path, data in before.items():
        path.write_bytes(data)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def flips(size: int, dense: int = 60) -> Iterator[tuple[int, int]]:
    """(byte, what it is XORed with): some bytes of a file, more at its ends; in long mode all, three times."""
    for at in range(size):
        if LONG:
            yield from ((at, mask) for mask in (1 << at % 8, 0x20, 0xFF))
        elif at < 8 or at >= size - 8 or at % (size // dense + 1) == 0:
            yield at, (1 << at % 8, 0x20, 0xFF)[at % 3]


def judge(truth: Truth, folder: Path, changed: Path, *, may_be_shorter: bool = False) -> str:
    """Look at a damaged store in all ways; it may refuse, naming the file, or tell nothing but the truth.

    A journal that ends where a frame ends is one that ends there, and no loss that could be counted: `may_be_shorter`.
    Returns "refused", "whole" or "less", as the store says it.
    """
    try:
        with Store.open(folder, create=False) as store:
            said = told(store)
            for identity, (record, score, parent) in said.items():
                assert truth.is_true(identity, record, score, parent), f"record {identity} is wrong"
            health = store.health()
            drawn = _drawn(store)
            for identity, record, score, parent in drawn:
                assert truth.is_true(identity, record, score, parent), f"record {identity} is drawn wrong"
            assert {identity for identity, *_ in drawn} <= said.keys() or health.problems
            assert (
                all(store.context(i).get("host", "none") in "abc" for i in list(said)[::7]) or health.problems
            )
            if said == truth.records:
                return "whole"
            # what is not there is counted
            assert health.torn + health.damaged + store.results().damaged or health.problems or may_be_shorter
            return "less"
    except DamageError as error:
        why = str(error)
    assert str(changed) in why or str(changed.parent) in why
    return "refused"


def _drawn(store: Store) -> list[tuple[int, BuildResult, float, int]]:
    buffer = store.replay(200, seed=1)
    if not len(buffer):
        return []
    batch = buffer.sample(64)
    records = list(buffer.results())
    by_id = dict(zip(buffer.ids().tolist(), records, strict=True))
    score, parent = batch.extras["score"].tolist(), batch.extras["parent"].tolist()
    out = []
    for k, identity in enumerate(batch.ids.tolist()):
        if identity in by_id:
            assert batch.timestamp[k] == by_id[identity].timestamp
            out.append((identity, by_id[identity], score[k], parent[k]))
    return out


def test_an_undamaged_store_tells_all_and_is_whole(truth: Truth, copy_of: Callable[[], Path]) -> None:
    folder = copy_of()
    assert judge(truth, folder, folder) == "whole"
    assert len(_drawn(Store.open(folder))) == 64
    report = Store.open(folder).check()
    assert (report.ok, report.records, report.torn, report.lost) == (True, SEALED + UNSEALED, 0, 0)
    before = {path: path.read_bytes() for path in files(folder)}
    assert repair(REAL, str(folder)).ok
    assert told_by(folder) == truth.records
    assert not (folder / "aside").exists()
    assert len(before) == len(files(truth.folder))


def test_a_wrong_record_is_noticed(truth: Truth, copy_of: Callable[[], Path]) -> None:
    folder = copy_of()
    with Store.open(folder) as store:
        store.amend(next(iter(truth.records)), made(0, valid=True), reason="a lie", at=99)
    with pytest.raises(AssertionError, match="is wrong"):
        judge(truth, folder, folder)


# --- single bytes -----------------------------------------------------------------------------------------------

KINDS = [
    "MANIFEST", "MANIFEST.copy", "journals/000004.journal", "journals/000005.journal", "journals/000006.journal",
    *(f"segments/000001/{name}" for name in (
        "amendments.jsonl", "contexts.json", "extra-parent.npy", "extra-score.npy", "ids.npy", "journals.npy",
        "records.rkyv", "segment.json", "sums.npy",
    )),
]  # fmt: skip


def test_these_are_all_files(truth: Truth) -> None:
    assert [str(path.relative_to(truth.folder)) for path in files(truth.folder)] == sorted(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_any_byte_flipped_is_found_and_no_record_is_wrong(truth: Truth, damaged: Path, name: str) -> None:
    path = damaged / name
    data = path.read_bytes()
    outcomes: dict[str, int] = {}
    for at, mask in flips(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :])
        outcome = judge(truth, damaged, path)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        report = check(REAL, str(damaged))
        assert not report.ok or report.torn, f"byte {at} ^ {mask:#x} is not found"
        assert outcome != "refused" or not report.ok
    path.write_bytes(data)
    assert judge(truth, damaged, path) == "whole"
    assert outcomes.keys() <= EXPECTED[name.rpartition("/")[2]], outcomes


EXPECTED = {
    "MANIFEST": {"refused"},
    "MANIFEST.copy": {"whole"},
    "000004.journal": {"whole", "less"},  # whole: one of the heads, or the context
    "000005.journal": {"whole", "less"},
    "000006.journal": {"whole", "less"},
    "amendments.jsonl": {"refused"},
    "contexts.json": {"refused"},
    "journals.npy": {"refused"},
    "segment.json": {"refused"},
    "sums.npy": {"refused"},
    "extra-parent.npy": {"less"},
    "extra-score.npy": {"less"},
    "ids.npy": {"less"},
    "records.rkyv": {"less"},
}


@pytest.mark.parametrize("name", KINDS)
def test_repair_makes_the_store_whole_and_deletes_nothing(
    truth: Truth, copy_of: Callable[[], Path], name: str
) -> None:
    data = (truth.folder / name).read_bytes()
    for at in range(5, len(data), len(data) // (20 if LONG else 2)):
        folder = copy_of()
        bad = data[:at] + bytes([data[at] ^ 0x11]) + data[at + 1 :]
        (folder / name).write_bytes(bad)
        report = repair(REAL, str(folder))
        assert report.ok, report.problems
        assert check(REAL, str(folder)).ok
        left = told_by(folder)
        for identity, found in left.items():
            assert truth.is_true(identity, *found)
        assert report.records == len(left)
        # each of a file's own records that is not there is in what was put aside, and what is damaged stands there as it was
        kept = [path for path in (folder / "aside").rglob("*") if path.is_file()]
        assert bad in [path.read_bytes() for path in kept]
        assert report.aside
        assert len(truth.records) - len(left) <= report.lost + report.torn + 1
        # and all goes on
        with Store.open(folder) as store, store.writer() as writer:
            writer.append(made(999), {"score": 0, "parent": 0})
        assert len(told_by(folder)) == len(left) + 1


def test_a_block_that_is_damaged_takes_only_its_own_records_with_it(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store", extras=EXTRAS) as store:
        with store.writer() as writer:
            numbers = list(range(2000))
            ids = writer.extend([made(k) for k in numbers], columns(numbers))
        store.seal()
    whole = told_by(tmp_path / "store")
    assert len(whole) == len(ids)
    losses = {}
    for name in ("records.rkyv", "ids.npy", "extra-score.npy", "extra-parent.npy"):
        path = tmp_path / "store" / "segments" / "000001" / name
        data = path.read_bytes()
        for at in (40, len(data) // 2, len(data) - 1):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            left = told_by(tmp_path / "store")
            assert left.items() <= whole.items()
            losses[name, at] = len(whole) - len(left)
            path.write_bytes(data)
    per_block = {"records.rkyv": 4096 // 16, "ids.npy": 512, "extra-score.npy": 1024, "extra-parent.npy": 512}
    assert all(0 < lost <= per_block[name] for (name, _), lost in losses.items()), losses


def test_records_with_damaged_text_are_left_out_and_counted(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        with store.writer() as writer:
            ids = writer.extend([made(k) for k in range(3000)])
        store.seal()
        path = tmp_path / "store" / "segments" / "000001" / "records.rkyv"
        with path.open("r+b") as file:  # the text of the first records
            file.seek(100)
            file.write(b"\0")
    with Store.open(tmp_path / "store") as store:
        records = store.results()
        assert 0 < records.damaged < 300
        assert len(records) == len(ids) - records.damaged
        assert [list(r.generated_tasm) for r in records] == [
            list(made(int(i) & 0xFFFFFF).generated_tasm) for i in records.ids
        ]
        first = int(ids[0])
        with pytest.raises(DamageError, match=str(first)):
            store.get(first)
        assert store.get(int(ids[-1])) == made(2999)
        assert sum(len(part) + part.damaged for part in store.parts(size=7)) == len(ids)
        assert any("records.rkyv" in problem for problem in store.health().problems)
        buffer = store.replay(5000)
        for _ in range(200):
            batch = buffer.sample(64)
            assert set(batch.ids.tolist()) <= set(records.ids.tolist())
        assert 0 < buffer.damaged <= records.damaged
        aside = store.compact().aside, store.repair().aside
        assert len(store) == len(ids) - records.damaged
        assert (tmp_path / "store" / "aside").exists(), aside


def test_a_drawn_record_with_damaged_extras_leaves_the_buffer(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store", extras={"score": "<f8"}) as store:
        with store.writer() as writer:
            writer.extend([made(k) for k in range(3000)], {"score": np.arange(3000)})
        store.seal()
    path = tmp_path / "store" / "segments" / "000001" / "extra-score.npy"
    with path.open("r+b") as file:
        file.seek(5000)
        file.write(b"\xff")
    with Store.open(tmp_path / "store") as store:
        lost = store.results().damaged
        assert lost == 512
        buffer = store.replay(5000)
        assert len(buffer) == 3000
        for _ in range(100):
            batch = buffer.sample(64)
            assert (batch.extras["score"] == batch.timestamp.astype(np.float64) - NOW).all()
        assert 0 < buffer.damaged <= lost
        assert len(buffer) == 3000 - buffer.damaged


# --- journals ---------------------------------------------------------------------------------------------------


def test_every_prefix_of_a_journal_tells_what_was_written_before_it_ends(truth: Truth, damaged: Path) -> None:
    path = damaged / "journals" / "000004.journal"
    data = path.read_bytes()
    mine = [i for i in truth.records if i >> 24 == 4]
    head = 128 + struct.unpack_from("<I", data, 12)[0]
    ends = _frame_ends(data, head)
    assert len(mine) == 20
    counts = []
    for size in range(len(data) + 1):
        near = any(abs(size - edge) < 2 for edge in (0, 64, 128, head, *ends))
        if not (LONG or near or size % 41 == 0):
            continue
        path.write_bytes(data[:size])
        with Store.open(damaged, create=False) as store:
            found = told(store)
            health = store.health()
        count = sum(i >> 24 == 4 for i in found)
        counts.append(count)
        frames = sum(end <= size for end in ends)
        assert [i for i in found if i >> 24 == 4] == mine[: frames if frames <= 10 else 20]
        assert all(truth.is_true(i, *entry) for i, entry in found.items())
        assert health.torn == (size not in (0, head, *ends)), size
        assert health.damaged == 0
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, 20)
    path.write_bytes(data)


def _frame_ends(data: bytes, start: int) -> list[int]:
    ends = []
    while start < len(data):
        start += 24 + struct.unpack_from("<I", data, start + 8)[0]
        ends.append(start)
    assert start == len(data)
    return ends


class Journal:
    """A journal's bytes, taken to pieces."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path.read_bytes()
        self.start = 128 + struct.unpack_from("<I", self.data, 12)[0]
        (self.salt,) = struct.unpack_from("<Q", self.data, 32)
        edges = [self.start, *_frame_ends(self.data, self.start)]
        self.frames = [self.data[a:b] for a, b in itertools.pairwise(edges)]
        self.head = self.data[: self.start]

    def write(self, *parts: bytes) -> None:
        self.path.write_bytes(self.head + b"".join(parts))

    def frame(self, at: int, payload: bytes, *, count: int = 1, word: int = 0, good: bool = True) -> bytes:
        """A frame for this place, as somebody makes it who knows the salt."""
        head = struct.pack("<QIII", self.salt ^ at, len(payload), count, word)
        crc = zlib.crc32(payload, zlib.crc32(head)) ^ (not good)
        return head + struct.pack("<I", crc) + payload


@pytest.fixture
def journal(copy_of: Callable[[], Path]) -> Journal:
    return Journal(copy_of() / "journals" / "000004.journal")


def seen(journal: Journal) -> list[int]:
    """The indexes of the journal's records, all of which are right."""
    with Store.open(journal.path.parents[1], create=False) as store:
        found = told(store)
    out = [i & 0xFFFFFF for i in found if i >> 24 == 4]
    records = {i & 0xFFFFFF: entry[0] for i, entry in found.items() if i >> 24 == 4}
    assert all(record in (made(60 + k), made(60 + k, compiler_cycles=1)) for k, record in records.items())
    return out


def counts(journal: Journal) -> tuple[int, int, int]:
    with Store.open(journal.path.parents[1], create=False) as store:
        health = store.health()
        return health.torn, health.damaged, health.repeated


def test_a_journal_taken_to_pieces_and_put_together_is_the_same(journal: Journal) -> None:
    journal.write(*journal.frames)
    assert journal.path.read_bytes() == journal.data
    assert seen(journal) == list(range(20))
    assert counts(journal) == (0, 0, 0)


def test_frames_that_changed_places_are_none(journal: Journal) -> None:
    first, second, third, *rest = journal.frames
    journal.write(first, third, second, *rest)
    if len(second) != len(third):
        assert seen(journal) == [0, *range(3, 20)]
        assert counts(journal) == (0, 1, 0)


def test_a_frame_that_was_copied_behind_itself_is_none(journal: Journal) -> None:
    first, *rest = journal.frames
    journal.write(first, first, *rest)  # all of the rest stands elsewhere too
    assert seen(journal) == [0]
    torn, damaged, repeated = counts(journal)
    assert torn + damaged == 1
    assert repeated == 0


def test_a_frame_of_another_journal_is_none(journal: Journal) -> None:
    other = Journal(journal.path.with_name("000005.journal"))
    journal.write(*journal.frames, *other.frames)
    assert seen(journal) == list(range(20))
    assert counts(journal) == (1, 0, 0)


def test_records_that_stand_twice_count_once(journal: Journal) -> None:
    end = len(journal.data)
    again = journal.frame(end, journal.frames[2][24:], word=2)
    journal.write(*journal.frames, again)
    assert seen(journal) == list(range(20))
    assert counts(journal) == (0, 0, 1)


@pytest.mark.parametrize("size", [8, 24, 100, 512, 4096])
def test_a_range_of_zeros_takes_only_the_frames_it_touches_with_it(journal: Journal, size: int) -> None:
    edges = np.cumsum([journal.start, *map(len, journal.frames)])
    for at in range(journal.start, len(journal.data) - size, 97 if LONG else 613):
        data = bytearray(journal.data)
        data[at : at + size] = bytes(size)
        if data == journal.data:
            continue
        journal.path.write_bytes(data)
        hit = {k for k in range(len(journal.frames)) if edges[k] < at + size and edges[k + 1] > at}
        hit = {k for k in hit if data[edges[k] : edges[k + 1]] != journal.frames[k]}
        lost = {index for k in hit for index in ([k] if k < 10 else range(10, 20))}
        assert set(seen(journal)) == set(range(20)) - lost
        assert sum(counts(journal)) >= 1


def test_the_bytes_of_a_frame_in_a_record_are_no_frame(truth: Truth, tmp_path: Path) -> None:
    with Store.open(tmp_path / "store", extras=EXTRAS) as store:
        with store.writer() as writer:
            writer.append(made(0), {"score": 0, "parent": 0})
        path = tmp_path / "store" / "journals" / "000001.journal"
        frame = Journal(path).frames[0]
        text = frame.decode("latin-1")  # not the same bytes, but those below 128 are
        with store.writer() as writer:
            for shift in range(8):
                words = ["x" * shift + text, "\0" * shift + text]
                writer.append(made(1, generated_tasm=words), {"score": 0, "parent": 0})
            writer.append(made(2), {"score": 0, "parent": 0})
        second = Journal(path.with_name("000002.journal"))
        assert len(told(store)) == 10
    # damage in front of such text, so that frames are looked for in it
    data = bytearray(second.data)
    data[second.start] ^= 1
    second.path.write_bytes(data)
    assert len(told_by(tmp_path / "store")) == 9


def test_who_knows_the_salt_cannot_make_a_record_come_alive_under_an_id_that_is_taken(
    journal: Journal,
) -> None:
    inner_at = len(journal.data) + 24 + 64
    inner = journal.frame(inner_at, journal.frames[2][24:], word=2)
    payload = (b" " * 64 + inner).ljust(400)
    journal.write(*journal.frames, journal.frame(len(journal.data), payload, word=20, good=False))
    assert seen(journal) == list(range(20))
    assert counts(journal) == (0, 1, 0)


@pytest.mark.parametrize("length", ["zero", "short", "rest", "beyond"])
def test_a_journal_of_false_marks_is_read_in_bounded_time(journal: Journal, length: str) -> None:
    _false_marks(journal, 20_000, length)  # compiles, and bounds: time would grow with the square
    assert seen(journal) == list(range(20))
    with _work() as work:
        _false_marks(journal, 1_000_000 if LONG else 200_000, length)
        seen(journal)
    assert work[0] < 60


def _false_marks(journal: Journal, n: int, length: str) -> None:
    at = len(journal.data) + 24 * np.arange(n, dtype=np.uint64)
    marks = np.zeros(
        n, [("mark", "<u8"), ("length", "<u4"), ("count", "<u4"), ("word", "<u4"), ("crc", "<u4")]
    )
    marks["mark"] = at ^ np.uint64(journal.salt)
    end = int(at[-1]) + 24
    marks["length"] = {"zero": 0, "short": 48, "rest": end - at - np.uint64(24), "beyond": 0xFFFFFFF8}[length]
    marks["count"] = 1
    marks["word"] = 20
    journal.write(*journal.frames, marks.tobytes())


def test_good_frames_between_false_ones_are_read_in_bounded_time(journal: Journal) -> None:
    with _work() as work:
        at, parts = len(journal.data), []
        n = 200_000 if LONG else 30_000
        end = at + 48 * n
        for k in range(n):  # each false one reaches to the end
            parts.append(journal.frame(at, b"", word=20 + k | 1 << 24))
            at += 24
            length = end - at - 24
            parts.append(struct.pack("<QIIII", journal.salt ^ at, length, 1, 0, 0))
            at += 24
        journal.write(*journal.frames, *parts)
        assert seen(journal) == list(range(20))
    assert work[0] < 60
    assert counts(journal)[1] > 0


class _work:  # noqa: N801 - a context
    """Seconds of this process's own work within the block, which do not depend on who else is running."""

    def __enter__(self) -> list[float]:
        self.seconds = [0.0]
        self._begin = time.process_time()
        return self.seconds

    def __exit__(self, *_: object) -> None:
        self.seconds[0] = time.process_time() - self._begin


def test_a_journal_that_claims_much_allocates_little(journal: Journal) -> None:
    tracemalloc.start()
    try:
        for count, word in ((2**32 - 1, 0), (2**24 - 1, 0), (1, 0xFFFFFFFF), (2**31, 20)):
            end = len(journal.data)
            frame = journal.frame(end, journal.frames[0][24:], count=count, word=word)
            journal.write(*journal.frames, frame)
            assert seen(journal) == list(range(20))
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


# --- newer versions ---------------------------------------------------------------------------------------------


def _newer_text(path: Path, field: str) -> None:
    value = slow.read_signed(path.read_bytes())
    path.write_bytes(slow.signed({**value, field: 2}))


def _newer_head(path: Path) -> None:
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, 8, 2)
    struct.pack_into("<I", data, 60, zlib.crc32(data[:60]))
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("MANIFEST", lambda path: _newer_text(path, "ostinato_store")),
        ("segments/000001/segment.json", lambda path: _newer_text(path, "ostinato_segment")),
        ("journals/000005.journal", _newer_head),
    ],
)
def test_a_newer_version_is_refused_with_a_clear_word_and_nothing_is_changed(
    copy_of: Callable[[], Path], name: str, change: Callable[[Path], None]
) -> None:
    folder = copy_of()
    change(folder / name)
    before = {path: path.read_bytes() for path in files(folder)}

    def use(store: Store) -> None:
        store.results()

    for what in (
        use,
        Store.health,
        Store.seal,
        Store.compact,
        Store.repair,
        Store.check,
        lambda s: s.replay(5),
    ):
        with pytest.raises(
            VersionError, match="version 2; this Ostinato reads version 1: use a newer one"
        ) as error:
            what(Store.open(folder, create=False))
        assert str(folder / name) in str(error.value)
    assert {path: path.read_bytes() for path in files(folder)} == before


# --- hostile folders --------------------------------------------------------------------------------------------

ENTRY = {"name": "000001", "records": 60, "bytes": 1}
HOSTILE: dict[str, list[Any]] = {
    "store_id": [None, 7, "", "zz" * 16, "00" * 15, "00" * 17, ["00" * 16]],
    "created": [None, -1, 2**63, 1.5, "now", True, [], {}],
    "generation": [None, -1, 10**30, "1"],
    "extras": [
        None, {}, "score", [["score"]], [["score", "<f4", None, 1]], [["score", "O", None]],
        [["score", "<f4", None], ["score", "<f4", None]], [["../score", "<f4", None]], [["a" * 65, "<f4", None]],
        [["valid()", "<f4", None]], [["score", ">f4", None]], [["score", "<f16", None]], [["score", "<U4", None]],
        [["score", "(9999999,)i8", None]], [["score", "i8,i8", None]], [["score", None, None]], [["score", 4, None]],
        [["score", {"names": ["a"], "formats": ["<f4"]}, None]], [["score", "<i8", 1e400]], [["score", "<i8", 10**30]],
        [["score", "<f4", "1"]], [["score", "<f4", "infinity"]], [["score", "<f4", [1]]], [["score", "<f4", {}]],
        [[f"x{k}", "<f4", None] for k in range(257)],
    ],
    "segments": [
        None, {}, "000001", [None], ["000001"], [{}], [[1, 2, 3]], [{**ENTRY, "more": 1}],
        *([{**ENTRY, "name": name}] for name in (
            "../../secret", "/etc", "..", ".", "", "000001/../000001", "000001/", "1", "00000a", 1, None, ["000001"],
            "000001\0", "\u0660\u0660\u0660\u0660\u0660\u0661", "0" * 300,
        )),
        *([{**ENTRY, "records": n}] for n in (-1, 1.5, None, "60", True, 2**63, 10**400)),
        [{**ENTRY, "bytes": -1}], [ENTRY, ENTRY],
        [{**ENTRY, "records": 61}],  # not what the segment says
        [{**ENTRY, "name": "000002"}],  # not there
    ],
    "next_segment": [None, -1, 0, 1, 1.5, "2", 10**18, 2**63],
    "retired": [
        None, {}, [1], [[1]], [[1, 2, 3]], [[2, 1]], [[0, 1]], [[-1, 1]], [[1, 2], [2, 3]], [[3, 4], [1, 2]],
        [[1, 2**39]], [[1, 2**39 - 1]], [[1, 10**30]], [["1", "2"]], [[1.0, 2.0]], [[True, True]], [[1, None]],
    ],
    "merged": [None, [], {"a": 1}, {"a": [1]}, {"a": [[1]]}, {"a": [[2, 1]]}, {"a": [[-1, 1]]}, {"a": [[0, 2**63]]}, {"a": [["0", "1"]]}],
    "ostinato_store": [None, 0, -1, 1.0, "1", True, []],
}  # fmt: skip


@pytest.mark.parametrize("field", HOSTILE)
def test_a_hostile_manifest_is_refused_naming_the_file(truth: Truth, damaged: Path, field: str) -> None:
    path = damaged / "MANIFEST"
    whole = path.read_bytes()
    value = slow.read_signed(whole)
    path.write_bytes(slow.signed(value))
    assert told_by(damaged) == truth.records
    for bad in HOSTILE[field]:
        path.write_bytes(_signed({**value, field: bad}))
        with pytest.raises(DamageError) as error:
            told_by(damaged)
        assert str(damaged) in str(error.value), bad
        assert len(str(error.value)) < 1000
    less = {name: some for name, some in value.items() if name != field}
    path.write_bytes(_signed(less))
    with pytest.raises(DamageError, match="MANIFEST"):
        told_by(damaged)


def test_a_manifest_may_lack_damaged_journals_and_is_refused_for_those_that_cannot_be(
    truth: Truth, damaged: Path
) -> None:
    path = damaged / "MANIFEST"
    value = slow.read_signed(path.read_bytes())
    assert "damaged" not in value
    path.write_bytes(_signed({**value, "damaged": [[1, 1]]}))
    assert told_by(damaged) == truth.records
    for bad in HOSTILE["retired"]:
        path.write_bytes(_signed({**value, "damaged": bad}))
        with pytest.raises(DamageError, match="MANIFEST"):
            told_by(damaged)


def _signed(value: Any) -> bytes:
    text = json.dumps(value).encode() + b"\n"
    return text + b"crc32 %08x\n" % zlib.crc32(text)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\n", b"{}", b"crc32 00000000\n", b"\0" * 5000, b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe",
        b"1e999", b"NaN", b'"text"', b"[]", b"null", b'{"ostinato_store": 1}', b"9" * 10_000,
    ],
    ids=lambda data: repr(data[:12]),
)  # fmt: skip
@pytest.mark.parametrize("name", ["MANIFEST", "segments/000001/segment.json"])
def test_text_that_is_no_manifest_is_refused_naming_the_file(damaged: Path, name: str, data: bytes) -> None:
    for whole in (data, data + b"\n" + b"crc32 %08x\n" % zlib.crc32(data + b"\n")):
        (damaged / name).write_bytes(whole)
        with pytest.raises(DamageError, match=name):
            told_by(damaged)


HOSTILE_SEGMENT: dict[str, list[Any]] = {
    "store_id": [None, 1, "00" * 16],
    "name": [None, 1, "000002", "../000001"],
    "records": [None, -1, 0, 59, 61, 2**62, 10**400, 60.5, "60", [], True],
    "files": [
        None, {}, [], [1], [["records.rkyv"]], [["..", 5]], [["../../MANIFEST", 5]], [["/etc/passwd", 5]], [["", 0]],
        [["a\0b", 5]], [[1, 2]], [[["records.rkyv"], 2]],
    ],
    "dropped": [None, 1, [1], {"torn": -1}, {"torn": "1"}, {"torn": 1.5}],
    "sums_crc32": [None, -1, "0", 1.5, 0, 2**40],
}  # fmt: skip


@pytest.mark.parametrize("field", HOSTILE_SEGMENT)
def test_a_hostile_segment_is_refused_naming_the_file(truth: Truth, damaged: Path, field: str) -> None:
    path = damaged / "segments" / "000001" / "segment.json"
    value = slow.read_signed(path.read_bytes())
    path.write_bytes(_signed(value))
    assert told_by(damaged) == truth.records
    sizes = dict(value["files"])
    hostile = list(HOSTILE_SEGMENT[field])
    if field == "files":
        hostile += [
            value["files"] + [[name, 5]] for name in ("..", "x.npy", "../MANIFEST", "LOCK", "extra-a b.npy")
        ]
        hostile += [[[name, size if name != other else wrong] for name, size in sizes.items()]
                    for other in sizes for wrong in (0, 1, -1, sizes[other] + 1, 2**62, 10**400, 1.5, None)]  # fmt: skip
        hostile += [[pair for pair in value["files"] if pair[0] != name] for name in sizes]
        hostile += [value["files"] * 2, value["files"][::-1]]
    for bad in hostile:
        path.write_bytes(_signed({**value, field: bad}))
        with pytest.raises(DamageError) as error:
            told_by(damaged)
        assert str(path.parent) in str(error.value), bad
        assert len(str(error.value)) < 1000


def resum(folder: Path, change: dict[str, bytes]) -> None:
    """Put other files into a segment, with sums that are right: what somebody can who wants to."""
    about = slow.read_signed((folder / "segment.json").read_bytes())
    for name, data in change.items():
        (folder / name).write_bytes(data)
    datas = {name: (folder / name).read_bytes() for name, _ in about["files"]}
    blocks = [crc for data in datas.values() for crc in slow.sums_of(data)]
    sums = slow.npy("<u4", (len(blocks),), blocks)
    (folder / "sums.npy").write_bytes(sums)
    about |= {"files": [[name, len(data)] for name, data in datas.items()], "sums_crc32": zlib.crc32(sums)}
    (folder / "segment.json").write_bytes(slow.signed(about))


def test_any_byte_of_a_segment_changed_with_the_sums_made_right_again_crashes_nothing(
    truth: Truth, damaged: Path
) -> None:
    folder = damaged / "segments" / "000001"
    rng = np.random.default_rng(5)
    outcomes = dict.fromkeys(("refused", "told"), 0)
    for name in (
        "records.rkyv",
        "ids.npy",
        "journals.npy",
        "contexts.json",
        "amendments.jsonl",
        "extra-score.npy",
    ):
        data = (folder / name).read_bytes()
        for _ in range(600 if LONG else 40):
            bad = bytearray(data)
            for at in rng.integers(0, len(data), rng.integers(1, 4)):
                bad[at] = rng.choice([0, 1, 127, 128, 255, bad[at] ^ 1])
            resum(folder, {name: bytes(bad)})
            try:
                with Store.open(damaged, create=False) as store:
                    records = store.results()
                    assert len(list(records)) == len(records)
                    buffer = store.replay(100, seed=1)
                    if len(buffer):
                        buffer.sample(32)
                    store.health()
                    check(REAL, str(damaged))
                outcomes["told"] += 1
            except DamageError as error:
                assert str(folder) in str(error) or "cannot be read" in str(error)  # noqa: PT017
                outcomes["refused"] += 1
        resum(folder, {name: data})
    assert told_by(damaged) == truth.records
    assert min(outcomes.values()) > 20


def test_nothing_outside_of_the_store_is_read_or_changed_through_a_link(
    truth: Truth, copy_of: Callable[[], Path], tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(truth.folder, elsewhere)
    for name in ("MANIFEST", "segments", "journals", "segments/000001", *KINDS[5:]):
        folder = copy_of()
        target = folder / name
        shutil.rmtree(target) if target.is_dir() else target.unlink()
        target.symlink_to(elsewhere / name)
        with pytest.raises(DamageError, match=name) as error:
            told_by(folder)
        assert "link" in str(error.value)
        assert not check_or_refuse(folder)
    for name in KINDS[2:5]:  # a journal that cannot be read stands in nobody's way
        folder = copy_of()
        (folder / name).unlink()
        (folder / name).symlink_to(elsewhere / name)
        assert told_by(folder).keys() == {i for i in truth.records if i >> 24 != int(name[14:15])}
        report = check(REAL, str(folder))
        assert ["link" in problem for problem in report.problems] == [True]
        with Store.open(folder) as store:
            assert store.health().problems == report.problems
            store.seal()
            store.compact()
        assert (folder / name).is_symlink()
    folder = copy_of()
    (folder / "LOCK").unlink()
    (folder / "LOCK").symlink_to(elsewhere / "LOCK")
    with pytest.raises(OstinatoError, match="link"):
        Store.open(folder).seal()
    assert told_by(folder) == truth.records
    (folder / "LOCK").unlink()
    (folder / "aside").symlink_to(elsewhere)
    data = (folder / KINDS[2]).read_bytes()
    (folder / KINDS[2]).write_bytes(data[:300] + b"x" + data[301:])
    with pytest.raises(OstinatoError, match="link"):
        Store.open(folder).seal()
    assert {p.relative_to(elsewhere): p.read_bytes() for p in files(elsewhere)} == {
        p.relative_to(truth.folder): p.read_bytes() for p in files(truth.folder)
    }


def check_or_refuse(folder: Path) -> bool:
    try:
        return check(REAL, str(folder)).ok
    except DamageError:
        return False


@pytest.mark.parametrize(
    "name",
    [
        "000004.journal.tmp", "4.journal", "0000004.journal", "999999999999999999.journal", "549755813887.journal",
        "..journal", "000000.journal", ".journal", "000009.journal2", "\u0660\u0660\u0660\u0660\u0660\u0669.journal",
    ],
)  # fmt: skip
def test_a_file_whose_name_is_no_journals_does_not_count(
    truth: Truth, copy_of: Callable[[], Path], name: str
) -> None:
    folder = copy_of()
    shutil.copy(folder / "journals" / "000004.journal", folder / "journals" / name)
    assert told_by(folder) == truth.records
    with Store.open(folder) as store:
        with store.writer() as writer:
            assert writer.journal == 7
        store.seal()
    assert (folder / "journals" / name).exists()
    assert told_by(folder) == truth.records


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_is_no_journal(
    truth: Truth, copy_of: Callable[[], Path], make: Callable[[Path], None]
) -> None:
    folder = copy_of()
    make(folder / "journals" / "000009.journal")
    assert told_by(folder) == truth.records
    assert [p for p in check(REAL, str(folder)).problems if "000009" in p]
    with Store.open(folder) as store:
        store.seal()
    assert told_by(folder) == truth.records


# --- copies that were made while others wrote -------------------------------------------------------------------


class Copying(FileSystem):
    """Copies the store, a file at a time, while what is done through it goes on: a file before each change."""

    def __init__(self, folder: Path, target: Path, names: list[str], every: int) -> None:
        self._folder, self._target, self._names, self._every = folder, target, names, every
        self._count = 0

    def _copy(self) -> None:
        self._count += 1
        if self._count % self._every == 0 and self._names:
            copy_part(self._folder, self._target, self._names.pop(0))

    def finish(self) -> None:
        while self._names:
            copy_part(self._folder, self._target, self._names.pop(0))

    def create(self, path: str) -> int:
        self._copy()
        return super().create(path)

    def replace(self, source: str, target: str) -> None:
        self._copy()
        super().replace(source, target)

    def unlink(self, path: str) -> None:
        self._copy()
        super().unlink(path)

    def sync_folder(self, path: str) -> None:
        self._copy()
        super().sync_folder(path)


def copy_part(folder: Path, target: Path, name: str) -> None:
    """As `cp -r` does it: what is there now."""
    if (folder / name).is_dir():
        (target / name).mkdir(parents=True, exist_ok=True)
        for path in sorted((folder / name).iterdir()):
            copy_part(folder, target, f"{name}/{path.name}")
    elif (folder / name).exists():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / name, target / name)


ORDERS = [
    list(order) for order in itertools.permutations(("MANIFEST", "MANIFEST.copy", "journals", "segments"))
]


@pytest.mark.parametrize("every", [1, 3, 8, 17])
def test_a_store_copied_while_it_is_sealed_tells_all_or_what_is_missing(
    truth: Truth, copy_of: Callable[[], Path], tmp_path: Path, every: int
) -> None:
    refused = whole = 0
    for k, order in enumerate(ORDERS if LONG else ORDERS[every % 5 :: 5]):
        folder, target = copy_of(), tmp_path / str(k)
        target.mkdir()
        fs = Copying(folder, target, list(order), every)
        with Store.open(folder, fs=fs) as store:
            store.seal()
            store.compact()
            fs.finish()
        try:
            said = told_by(target)
            for identity, found in said.items():
                assert truth.is_true(identity, *found)
            missing = truth.records.keys() - said.keys()
            # where all else was copied before the journals, nothing knows of those that were sealed meanwhile
            if [name for name in order if name != "MANIFEST.copy"][-1] != "journals":
                assert not missing or check(REAL, str(target)).problems, order
            whole += not missing
        except DamageError as error:
            assert str(target) in str(error)  # noqa: PT017
            refused += 1
        with contextlib.suppress(
            DamageError, FileNotFoundError
        ):  # whatever it does, it deletes nothing that is alone
            Store.open(target).seal()
        repair(REAL, str(target))
        said = told_by(target)
        assert all(truth.is_true(identity, *found) for identity, found in said.items())
        there = set(said)
        for path in (target / "aside").glob("*/ids.npy"):
            there |= set(np.load(path).tolist())
        lost = truth.records.keys() - there
        copied = {int(p.name[:6]) for p in (target / "aside").glob("*.journal")}
        assert all(i >> 24 in copied or not _was_copied(truth, target, i) for i in lost)
    assert refused + whole


def _was_copied(truth: Truth, target: Path, identity: int) -> bool:
    """Does any file of the copy hold this record still?"""
    word = truth.records[identity][0].tir_hash + b""
    stamp = struct.pack("<Q", truth.records[identity][0].timestamp)
    return any(word in data and stamp in data for data in (p.read_bytes() for p in files(target)))


# --- anything ---------------------------------------------------------------------------------------------------


@settings(max_examples=1500 if LONG else 60, deadline=None)
@given(
    name=st.sampled_from(KINDS),
    edits=st.lists(
        st.tuples(st.floats(0, 1), st.sampled_from(["set", "cut", "zero", "insert", "remove", "copy"]), st.binary(min_size=1, max_size=40)),
        min_size=1,
        max_size=5,
    ),
)  # fmt: skip
def test_whatever_happens_to_the_bytes_of_a_file_nothing_wrong_is_told(
    truth: Truth, one_copy: Path, name: str, edits: list[tuple[float, str, bytes]]
) -> None:
    path = one_copy / name
    whole = path.read_bytes()
    data = bytearray(whole)
    for share, what, raw in edits:
        at, n = int(share * len(data)), len(raw)
        if what == "set":
            data[at : at + n] = raw
        elif what == "cut":
            del data[at:]
        elif what == "zero":
            data[at : at + 16 * n] = bytes(len(data[at : at + 16 * n]))
        elif what == "insert":
            data[at:at] = raw
        elif what == "remove":
            del data[at : at + n]
        else:
            data[at : at + 8 * n] = data[: 8 * n]
    try:
        path.write_bytes(data)
        judge(truth, one_copy, path, may_be_shorter=path.suffix == ".journal" and len(data) < len(whole))
        report = check(REAL, str(one_copy))
        assert report.problems or report.torn or data == whole or "journal" in name
    finally:
        path.write_bytes(whole)


@settings(max_examples=3000 if LONG else 150, deadline=None)
@given(st.data())
def test_a_journal_of_any_bytes_crashes_nothing(truth: Truth, data: st.DataObject) -> None:
    store_id = slow.read_signed((truth.folder / "MANIFEST").read_bytes())["store_id"]
    pieces = data.draw(st.lists(st.binary(max_size=64) | st.tuples(st.integers(0, 3), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=200)), max_size=12))  # fmt: skip
    raw, _ = slow_writer.journal_bytes(slow_writer.Journal(4, salt=99), store_id)
    for piece in pieces:
        if isinstance(piece, bytes):
            raw += piece
        else:
            kind, count, word, payload = piece
            raw += bytes(-len(raw) % 8)
            payload += bytes(-len(payload) % 8)
            count = count % 4 if kind & 1 else count
            word = word % 8 | (word & 1) << 24 if kind & 2 else word
            head = struct.pack("<QIII", 99 ^ len(raw), len(payload), count, word)
            raw += head + struct.pack("<I", zlib.crc32(payload, zlib.crc32(head))) + payload
    array = np.frombuffer(raw + bytes(-len(raw) % 8), np.uint8)[: len(raw)]
    head = journals.parse_head(raw, "it")
    assert head is not None
    found = journals.scan(array, head, at=head.start, index=0, closed=True)
    assert found.at == len(raw)
    skipped = sum(skip.size for skip in found.skipped)
    assert skipped <= len(raw) - head.start
    assert all(head.start <= skip.position <= len(raw) - skip.size for skip in found.skipped)


# Stopped between MANIFEST and what is put aside


def flip(file: Path, position: int) -> None:
    with open(file, "r+b") as stream:
        stream.seek(position)
        byte = stream.read(1)
        stream.seek(position)
        stream.write(bytes([byte[0] ^ 1]))


def _stop(*_: object) -> int:
    raise KeyboardInterrupt


def _names(folder: Path, name: str) -> list[str]:
    return sorted(path.name for path in (folder / name).iterdir()) if (folder / name).exists() else []


@pytest.mark.parametrize("damaged", [False, True])
def test_a_damaged_journal_is_put_aside_also_by_who_comes_after_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    fs = FileSystem()
    with Store.open(tmp_path / "s", fs=fs) as store:
        with store.writer() as writer:
            for k in range(50):
                writer.append(made(k))
        journal = Path(store.path, "journals", "000001.journal")
        if damaged:
            flip(journal, journal.stat().st_size // 2)
        whole = journal.read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(seal, "put_aside", _stop)
            patch.setattr(
                fs, "unlink", lambda path: _stop() if path.endswith(".journal") else os.unlink(path)
            )
            with contextlib.suppress(KeyboardInterrupt):
                store.seal()
        assert _names(tmp_path / "s", "journals") == ["000001.journal"]
        assert _names(tmp_path / "s", "segments") == ["000001"]
        store.seal()
        assert _names(tmp_path / "s", "journals") == []
        assert _names(tmp_path / "s", "aside") == ["000001.journal"] * damaged
        if damaged:
            assert (tmp_path / "s" / "aside" / "000001.journal").read_bytes() == whole
        assert len(store) == 50 - damaged


@pytest.mark.parametrize("file", [None, "records.rkyv", "ids.npy", "no journals.npy", "no ids.npy"])
def test_a_damaged_segment_is_put_aside_also_by_who_comes_after_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str | None
) -> None:
    folder = tmp_path / "s"
    with Store.open(folder) as store:
        with store.writer() as writer:
            writer.extend([made(k, generated_tasm=["x" * 900] * 8) for k in range(20)])
        store.seal()
        with monkeypatch.context() as patch:
            patch.setattr(compact, "put_aside", _stop)
            patch.setattr(compact, "discard", _stop)
            with contextlib.suppress(KeyboardInterrupt):
                store.compact(Keep(newest=19))
        assert _names(folder, "segments") == ["000001", "000002"]
        segment = folder / "segments" / "000001"
        if file and file.startswith("no "):
            (segment / file.removeprefix("no ")).unlink()
        elif file:  # the first bytes of records.rkyv are text, which nobody reads to find the records
            flip(segment / file, 5 if file == "records.rkyv" else 130)
        store.seal()
        assert _names(folder, "segments") == ["000002"]
        assert _names(folder, "aside") == ["000001"] * (file is not None)
        assert len(store) == 19
        assert check(REAL, str(folder)).ok


def test_a_link_under_a_journals_name_that_is_retired_does_not_keep_anybody_from_sealing(
    tmp_path: Path,
) -> None:
    with Store.open(tmp_path / "s") as store:
        for k in range(2):
            with store.writer() as writer:
                writer.append(made(k))
            if not k:
                store.seal()
        (tmp_path / "elsewhere").write_bytes(b"untouched")
        Path(store.path, "journals", "000001.journal").symlink_to(tmp_path / "elsewhere")
        assert store.seal().records == 1
        assert _names(tmp_path / "s", "journals") == []
        assert len(store) == 2
    assert (tmp_path / "elsewhere").read_bytes() == b"untouched"


def test_corrections_of_a_segment_that_is_put_aside_are_counted(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        with store.writer() as writer:
            ids = [writer.append(made(k)) for k in range(10)]
        store.seal()
        for k in range(3):
            store.amend(ids[k], made(k, valid=False), reason="", at=5)
        store.seal()
        assert _names(tmp_path / "s", "segments") == ["000001", "000002"]
    assert repair(REAL, str(tmp_path / "s")).lost_amendments == 0
    newest = tmp_path / "s" / "segments" / _names(tmp_path / "s", "segments")[-1]
    (newest / "contexts.json").write_bytes(b"{")
    report = repair(REAL, str(tmp_path / "s"))
    assert (report.ok, report.lost_amendments) == (True, 3)


# Bounds of what segments say


def _context_of(folder: Path, name: str, data: bytes) -> None:
    record = {**made(0).to_dict(), "generated_tasm": ["add"]}
    about = slow_writer.Segment(1, [(1 << 24, record, {})], {1: {}}, files={name: data})
    slow_writer.write_store(folder, [], [about], [], retired=[[1, 1]])


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + 32])
def test_contexts_larger_than_the_journals_can_have_are_not_read(tmp_path: Path, size: int) -> None:
    _context_of(tmp_path / "s", "contexts.json", b"[{}]".ljust(size))
    if size <= 1 << 20:
        assert len(Store.open(tmp_path / "s", create=False)) == 1
    else:
        with pytest.raises(DamageError, match=r"contexts\.json.* more than"):
            len(Store.open(tmp_path / "s", create=False))


@pytest.mark.parametrize(
    ("change", "right"),
    [
        ({}, True),
        ({"at": 2**64 - 1}, True),
        ({"at": 2**64}, False),
        ({"at": -1}, False),
        ({"at": True}, False),
        ({"id": 2**63}, False),
        ({"amendment": -1}, False),
        ({"reason": "half of a pair: \ud800"}, False),
        ({"after": {**made(1).to_dict(), "generated_tasm": ["\udfff"]}}, False),
        ({"before": {**made(1).to_dict(), "generated_tasm": ["\udfff"]}}, False),
    ],
)
def test_what_is_no_correction_is_refused(change: dict[str, Any], right: bool) -> None:
    value = {"id": 1 << 24, "at": 5, "reason": "", "amendment": 2 << 24, "before": None, "folded": False}
    line = json.dumps({**value, "after": made(0).to_dict(), **change}).encode()
    if right:
        assert json.loads(SealedAmendment.parse(line).dump()) == json.loads(line)
    else:
        with pytest.raises((ValueError, TypeError, KeyError)):
            SealedAmendment.parse(line)
