"""Programs: what a hash names, and how what a compiler makes of it has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_helpers import HASHES, U64
from ostinato import UsageError
from ostinato.store.catalog import Catalog, Program
from ostinato.store.programs import Programs
from record_helpers import complaint

A, B = HASHES[:2]


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Catalog(tmp_path / "catalog.sqlite").programs


def written(path: Path) -> tuple[int, ...]:
    """All that is known of a file but when it was read."""
    s = path.stat()
    return (
        s.st_mode,
        s.st_ino,
        s.st_dev,
        s.st_nlink,
        s.st_uid,
        s.st_gid,
        s.st_size,
        s.st_mtime_ns,
        s.st_ctime_ns,
    )


def said(found: list[Program]) -> list[tuple[Any, ...]]:
    return [(p.baseline, p.cycles, p.toolchain, p.recorded_at) for p in found]


def test_a_program_comes_back_as_it_was_put(programs: Programs):
    put = programs.put(A, tir=b"tir", name="fib", baseline=["push 1", "é"], cycles=9, toolchain="1.0", at=5)
    assert (
        put
        == programs.get(A)
        == Program(
            tir_hash=A,
            tir=b"tir",
            name="fib",
            baseline=("push 1", "é"),
            cycles=9,
            toolchain="1.0",
            recorded_at=5,
        )
    )


def test_an_unknown_program_is_none(programs: Programs):
    assert (programs.get(A), programs.history(A), A in programs, len(programs), list(programs)) == (
        None,
        [],
        False,
        0,
        [],
    )


def test_what_was_not_given_is_none(programs: Programs):
    assert programs.put(A, at=5) == programs.get(A) == Program(tir_hash=A, recorded_at=5)
    assert (programs.history(A), A in programs, len(programs)) == ([], True, 1)


def test_nothing_is_not_the_same_as_unknown(programs: Programs):
    programs.put(A, tir=b"", name="", baseline=[], cycles=0, toolchain="", at=0)
    assert programs.get(A) == Program(
        tir_hash=A, tir=b"", name="", baseline=(), cycles=0, toolchain="", recorded_at=0
    )


@pytest.mark.parametrize("cycles", [0, 1, 2**63 - 1, 2**63, U64 - 1])
def test_cycles_of_64_bits_are_kept(programs: Programs, cycles: int):
    programs.put(A, cycles=np.uint64(cycles), at=0)
    assert [p.cycles for p in programs.history(A)] == [cycles]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8)])
def test_a_hash_is_a_hash_in_whatever_it_comes(programs: Programs, kind: Any):
    programs.put(kind(A), cycles=1, at=0)
    assert (kind(A) in programs, kind(B) in programs, programs.get(kind(A)).cycles) == (True, False, 1)


def test_the_same_again_changes_nothing(programs: Programs, tmp_path: Path):
    first = programs.put(A, tir=b"tir", name="fib", baseline=("add",), cycles=9, toolchain="1.0", at=5)
    before = written(tmp_path / "catalog.sqlite")
    again = programs.put(A, tir=b"tir", name="fib", baseline=("add",), cycles=9, toolchain="1.0", at=6)
    part = programs.put(A, cycles=9, toolchain="1.0", at=7)
    assert (first, again, part) == (first, first, first)
    assert (programs.history(A), written(tmp_path / "catalog.sqlite")) == ([first], before)


def test_a_baseline_that_changes_is_kept_as_a_new_row(programs: Programs):
    programs.put(A, baseline=["add"], cycles=9, toolchain="1.0", at=5)
    programs.put(A, baseline=["mul"], cycles=8, toolchain="1.0", at=6)
    assert said(programs.history(A)) == [(("add",), 9, "1.0", 5), (("mul",), 8, "1.0", 6)]
    assert said([programs.get(A)]) == [(("mul",), 8, "1.0", 6)]


def test_a_baseline_that_changes_back_is_a_new_row_too(programs: Programs):
    for at, cycles in enumerate([9, 8, 9]):
        programs.put(A, cycles=cycles, at=at)
    assert [p.cycles for p in programs.history(A)] == [9, 8, 9]


def test_each_toolchain_has_a_history_of_its_own(programs: Programs):
    for at, (cycles, toolchain) in enumerate([(9, "1.0"), (8, "1.1"), (9, "1.0"), (8, "1.1"), (7, None)]):
        programs.put(A, cycles=cycles, toolchain=toolchain, at=at)
    assert said(programs.history(A)) == [(None, 9, "1.0", 0), (None, 8, "1.1", 1), (None, 7, None, 4)]


def test_what_was_not_known_is_completed(programs: Programs):
    programs.put(A, baseline=["add"], at=1)
    programs.put(A, cycles=9, at=2)
    assert said(programs.history(A)) == [(("add",), None, None, 1), (("add",), 9, None, 2)]


def test_cycles_of_an_old_baseline_are_not_given_to_a_new_one(programs: Programs):
    programs.put(A, baseline=["add"], cycles=9, at=1)
    programs.put(A, baseline=["mul"], at=2)
    assert said(programs.history(A))[1:] == [(("mul",), None, None, 2)]


def test_the_newest_row_is_the_one_put_last_whatever_the_clocks_say(programs: Programs):
    programs.put(A, cycles=9, at=100)
    programs.put(A, cycles=8, at=1)
    assert programs.get(A).cycles == 8


def test_name_and_tir_belong_to_the_program_and_need_no_new_row(programs: Programs):
    programs.put(A, cycles=9, toolchain="1.0", at=1)
    programs.put(A, name="fib", tir=b"tir", at=2)
    programs.put(A, cycles=8, toolchain="1.1", at=3)
    programs.put(A, name="fibonacci", at=4)
    assert [(p.name, p.tir, p.cycles) for p in programs.history(A)] == [
        ("fibonacci", b"tir", 9),
        ("fibonacci", b"tir", 8),
    ]


def test_tir_may_come_later_but_never_changes(programs: Programs):
    programs.put(A, name="fib", at=1)
    programs.put(A, tir=b"tir", at=2)
    words = complaint(UsageError, programs.put, A, tir=b"other", cycles=3, at=3)
    assert words == f"another TIR is kept for {A.hex()}: a hash names one for ever - at `tir`"
    assert programs.get(A) == Program(tir_hash=A, name="fib", tir=b"tir", recorded_at=1)


def test_drift_names_the_programs_whose_cycles_differ(programs: Programs):
    for digest, cycles, toolchain in [
        (A, 9, "1.0"),
        (A, 8, "1.1"),
        (B, 9, "1.0"),
        (B, 9, "1.1"),
        (HASHES[2], 5, None),
        (HASHES[3], 1, "1.0"),
        (HASHES[3], 2, "1.0"),
        (HASHES[3], 1, "1.0"),
    ]:
        programs.put(digest, cycles=cycles, toolchain=toolchain, at=0)
    programs.put(HASHES[2], baseline=["add"], toolchain="1.1", at=0)
    assert [(p.tir_hash, p.cycles) for p in programs.drift()] == [(A, 8), (HASHES[3], 1)]


def test_programs_are_listed_once_each_in_the_order_of_their_hashes(programs: Programs):
    hashes = [np.random.default_rng(i).bytes(32) for i in range(40)]
    for digest in hashes:
        programs.put(digest, cycles=1, at=0)
        programs.put(digest, cycles=2, at=1)
    assert [(p.tir_hash, p.cycles) for p in programs] == [(digest, 2) for digest in sorted(hashes)]
    assert len(programs) == 40


def test_programs_may_be_put_while_they_are_listed(programs: Programs):
    for digest in HASHES:
        programs.put(digest, at=0)
    for program in programs:
        programs.put(program.tir_hash, name="seen", at=1)
    assert {p.name for p in programs} == {"seen"}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"tir_hash": b"short"}, "expected 32 bytes, got b'short' - at `tir_hash`"),
    ({"tir_hash": "a" * 32}, "expected 32 bytes, got 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' - at `tir_hash`"),
    ({"tir": "text"}, "expected bytes, got 'text' - at `tir`"),
    ({"tir": bytes(2**24)}, "expected fewer than 16,777,216 bytes, got 16,777,216 - at `tir`"),
    ({"name": 1}, "expected a str, got 1 - at `name`"),
    ({"baseline": "push 1"}, "expected a list of str, got 'push 1' - at `baseline`"),
    ({"baseline": ["add", 1]}, "expected a str, got 1 - at `baseline[1]`"),
    ({"baseline": ["\udcff"]}, "expected text without lone surrogates, got '\\udcff' - at `baseline[0]`"),
    ({"cycles": -1}, "expected an int in [0, 2**64), got -1 - at `cycles`"),
    ({"cycles": U64}, "expected an int in [0, 2**64), got 18446744073709551616 - at `cycles`"),
    ({"cycles": 1.0}, "expected an int in [0, 2**64), got 1.0 - at `cycles`"),
    ({"cycles": True}, "expected an int in [0, 2**64), got True - at `cycles`"),
    ({"toolchain": b"1"}, "expected a str, got b'1' - at `toolchain`"),
    ({"at": -1}, "expected an int in [0, 2**63), got -1 - at `at`"),
    ({"at": None}, "expected an int in [0, 2**63), got None - at `at`"),
]


@pytest.mark.parametrize(("changes", "words"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_argument_is_named_and_nothing_is_kept(
    programs: Programs, changes: dict[str, Any], words: str
):
    arguments: dict[str, Any] = {"tir_hash": A, "at": 0, **changes}
    assert complaint(UsageError, programs.put, arguments.pop("tir_hash"), **arguments) == words
    assert len(programs) == 0


def test_what_is_no_hash_is_not_among_the_programs(programs: Programs):
    assert "text" not in programs


baselines = st.none() | st.sampled_from([(), ("add",), ("mul", "add")])
puts = st.fixed_dictionaries(
    {
        "tir_hash": st.sampled_from([A, B]),
        "name": st.sampled_from([None, "f", "g"]),
        "baseline": baselines,
        "cycles": st.none() | st.integers(0, 2),
        "toolchain": st.sampled_from([None, "1.0"]),
    }
)


class Model:
    """What put means, slowly: a list of what is known."""

    def __init__(self) -> None:
        self.names: dict[bytes, Any] = {}
        self.rows: dict[bytes, list[list[Any]]] = {}

    def put(self, tir_hash: bytes, name: Any, baseline: Any, cycles: Any, toolchain: Any) -> None:
        rows = self.rows.setdefault(tir_hash, [])
        if name is not None or tir_hash not in self.names:
            self.names[tir_hash] = name
        if (baseline, cycles, toolchain) == (None, None, None):
            return
        new = [baseline, cycles, toolchain]
        for old in reversed(rows):
            if old[2] == toolchain:
                if all(None in (a, b) or a == b for a, b in zip(new[:2], old[:2], strict=True)):
                    new = [b if a is None else a for a, b in zip(new, old, strict=True)]
                if new == old:
                    return
                break
        rows.append(new)


@settings(max_examples=60, deadline=None)
@given(st.lists(puts, max_size=8))
def test_any_puts_do_what_a_plain_list_would(tmp_path_factory: pytest.TempPathFactory, given_puts: Any):
    programs = Catalog(tmp_path_factory.mktemp("programs") / "catalog.sqlite").programs
    model = Model()
    for put in given_puts:
        model.put(**put)
        programs.put(**put, at=0)
    for digest in (A, B):
        kept = [[p.baseline, p.cycles, p.toolchain] for p in programs.history(digest)]
        assert kept == model.rows.get(digest, [])
        newest = programs.get(digest)
        assert (newest and newest.name) == model.names.get(digest)
        if kept:
            assert newest is not None
            assert [newest.baseline, newest.cycles, newest.toolchain] == kept[-1]
