"""Test inputs: in their domain, filled, the same everywhere, and both ways through every comparison."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from machine_programs import P
from ostinato import DamageError, UsageError
from ostinato.data import programs_path
from ostinato.judge import Event, Expected, Input, Judge, covering, load_programs, of_tasm
from ostinato.judge.drawing import draw, fits
from ostinato.judge.inputs import BELOW, TYPES
from ostinato.judge.references import TasmReference


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def missing(lines: list[str], *types: str) -> list[tuple[str, int]]:
    _, coverage = covering.tests_for(TasmReference(lines, types), 0, 12)
    return [(kind, outcome) for _, kind, outcome in coverage.missing]


# Drawing


@pytest.mark.parametrize("kind", TYPES)
def test_arguments_stay_in_the_domain_of_their_type(kind: str) -> None:
    reference = TasmReference(["pop 3"], [kind] * 3)
    for given, _ in draw(reference, 200, rng()):
        assert all(fits(kind, word) for word in given.arguments)
        assert len(given.below) == BELOW
        assert len(set(given.below)) > 1


def test_structured_arguments_come_first() -> None:
    first = [given.arguments for given, _ in draw(TasmReference(["pop 2"], ["field"] * 2), 60, rng())]
    for plan in [(0, 0), (1, 1), (P - 1, P - 1), (0, 1), (1, 0), (2, 3), (2**32, 2**32)]:
        assert plan in first[:40]
    assert len(set(first)) > 50


def test_draws_are_the_same_for_the_same_generator() -> None:
    reference = TasmReference(["read_mem 1", "pop 1", "read_io 2"], ["address"])
    assert draw(reference, 40, rng()) == draw(reference, 40, rng())


def test_memory_is_filled_from_zero_on_and_around_every_address_in_use() -> None:
    # it follows a pointer that it finds in memory
    reference = TasmReference(["read_mem 1", "pop 1", "read_mem 1", "pop 1"], ["address"])
    for given, _ in draw(reference, 40, rng()):
        expected = reference.run(given)
        near = {(a + d) % P for a in expected.touched for d in range(-8, 9)}
        near |= {(given.arguments[0] + d) % P for d in range(-16, 17)}
        assert len(expected.touched) in (1, 2)
        assert near | set(range(64)) <= set(given.ram)


def test_memory_holds_words_that_work_where_they_must_be_u32() -> None:
    reference = TasmReference(["read_mem 2", "pop 1", "and"], ["address"])
    errors = [expected.error for _, expected in draw(reference, 64, rng())]
    assert errors.count(None) > 40
    assert errors.count("OpStackError.FailedU32Conversion") > 0


def test_inputs_are_as_long_as_they_are_read_and_now_and_then_too_short() -> None:
    reference = TasmReference(["read_io 5", "read_io 5", "divine 3", "merkle_step"], ["u32"] + ["field"] * 5)
    drawn = draw(reference, 64, rng())
    left = {len(given.public) - expected.public_used for given, expected in drawn if expected.error is None}
    assert left >= {0, 1, 4}
    assert any(expected.error is not None and expected.error.startswith("Empty") for _, expected in drawn)


def test_what_comes_with_an_input_is_what_the_reference_leaves_of_it() -> None:
    for lines, types in [
        (["read_io 2", "divine 1"], ["u32"]),
        (["read_mem 1", "write_mem 1"], ["address"]),
        (["merkle_step"], ["field"] * 6),
    ]:
        reference = TasmReference(lines, types)
        for given, expected in draw(reference, 64, rng()):
            assert expected == reference.run(given)
            assert (
                expected.ram.items()
                >= {a: w for a, w in given.ram.items() if a not in expected.touched}.items()
            )


def test_a_sponge_is_given_where_one_is_used() -> None:
    with_sponge = draw(TasmReference(["sponge_squeeze"], []), 20, rng())
    without = draw(TasmReference(["nop"], []), 20, rng())
    assert {given.sponge is None for given, _ in with_sponge} == {True, False}
    assert {given.sponge is None for given, _ in without} == {True}


# Covering

COVERED: list[tuple[str, list[str], list[str]]] = [
    ("a number that nobody draws", ["push 918273645546372819", "eq"], ["field"]),
    ("an equation", ["push 31415", "mul", "addi 2718", "push 987654321012345678", "eq"], ["field"]),
    ("equal words", ["eq", "assert"], ["field", "field"]),
    ("less", ["lt"], ["u32", "u32"]),
    ("a limit", ["push 1234567", "lt"], ["u32"]),
    ("does it fit", ["split", "pop 1", "push 0", "eq", "assert"], ["any"]),
    ("digests", ["assert_vector", "pop 5"], ["field"] * 10),
    ("one of ten words", ["hash", "pop 4", "eq"], ["field"] * 11),
    ("a hash in memory", ["dup 0", "push 4", "add", "read_mem 5", "pop 1", "pick 5", "pop 1", "hash", "pop 4", "push 77", "eq"], ["address", *["field"] * 5]),
    ("five words one by one", [line for k in range(5) for line in (f"dup {9 - k}", f"dup {5 - k}", "eq", "assert")], ["field"] * 10),
    ("a branch", ["skiz", "addi 1"], ["field", "field"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "types"), [case[1:] for case in COVERED], ids=[case[0] for case in COVERED]
)
def test_both_ways_through_a_comparison_are_found(lines: list[str], types: list[str]) -> None:
    impossible = [("eq", 1)] if "push 77" in lines else []  # nobody finds a preimage
    if "lt" in lines:
        impossible.append(("u32", 0))  # arguments stay in their domain
    assert missing(lines, *types) == impossible


def test_what_cannot_happen_is_reported() -> None:
    assert missing(["push 2", "invert", "mul"], "field") == [("zero", 1)]


class Magic:
    """A reference in Python that looks for one word in memory."""

    types = ("address",)

    def operations(self) -> frozenset[str]:
        return frozenset({"read_mem"})

    def run(self, given: Input) -> Expected:
        return self.observe(given)[0]

    def observe(self, given: Input) -> tuple[Expected, list[Event]]:
        address = given.arguments[0]
        word = given.ram.get(address, 0)
        event = Event((0,), "eq", (word,), (5**27 % P,), int(word == 5**27 % P))
        return Expected(None, (word,), given.ram, frozenset({address}), (), 0, 0, 0, None), [event]


def test_words_in_memory_are_solved_for_too() -> None:
    reference = Magic()
    coverage = covering.cover(reference, [given for given, _ in draw(reference, 8, rng())], rng())
    assert coverage.missing == []
    assert next(reference.observe(given)[1][0].outcome for given in coverage.inputs) == 1


def test_who_passes_is_changed_in_each_word_alone() -> None:
    reference = TasmReference(["assert_vector", "pop 5"], ["field"] * 10)
    tests, _ = covering.tests_for(reference, 0, 24)
    patterns = {
        tuple(int(a != b) for a, b in zip(t.arguments[:5], t.arguments[5:], strict=True)) for t in tests
    }
    alone = {tuple(int(i == k) for i in range(5)) for k in range(5)}
    assert alone | {(0,) * 5} <= patterns


# Programs files


def test_the_programs_that_come_along_have_their_tests() -> None:
    functions = load_programs(programs_path())
    assert (len(functions), {len(function.tests) for function in functions}) == (32, {24})
    assert sum(Judge(function, tests=0).baseline_cycles for function in functions) == 384


ENTRY: dict[str, Any] = {
    "name": "double", "description": "", "inputs": 1, "outputs": 1, "argument_types": ["u"],
    "baseline": ["push 2", "mul"], "tests": [{"args": [3], "ram": [[1, 2]]}],
}  # fmt: skip


def test_a_programs_file_needs_no_more_than_a_name_types_and_code(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps([ENTRY]))
    (function,) = load_programs(path)
    assert function == of_tasm(
        "double", ENTRY["baseline"], ["u32"], results=1, tests=[Input((3,), ram={1: 2})]
    ) or (function.types, function.tests) == (("u32",), (Input((3,), ram={1: 2}),))
    assert function.tir_hash == of_tasm("double", ["push 2", "mul"], ["u32"]).tir_hash


WRONG = [
    ({"name": 3}, "expected text, got 3 - at record 0, `programs[0].name`"),
    ({"inputs": -1}, "expected a number of words, got -1 - at record 0, `programs[0].inputs`"),
    ({"inputs": True}, "expected a number of words, got True - at record 0, `programs[0].inputs`"),
    ({"argument_types": []}, "expected 1 types, as many as there are inputs, got 0 - at record 0, `programs[0].argument_types`"),
    ({"argument_types": ["q"]}, "expected a type, one of field (f), u32 (u), bool (b), address (m), positive (p), any (x), got 'q' - at record 0, `programs[0].types`"),
    ({"baseline": "add"}, "expected a list, got 'add' - at record 0, `programs[0].baseline`"),
    ({"baseline": ["ad"]}, "line 4, column 1: expected an instruction, or a label with `:` behind it, got `ad` - at record 0, `programs[0].baseline`"),
    ({"tir_hash": "00"}, "expected 64 hexadecimal digits, got '00' - at record 0, `programs[0].tir_hash`"),
    ({"tests": [3]}, "expected an object, got int - at record 0, `programs[0].tests[0]`"),
    ({"tests": [{"args": []}]}, "expected 1 words, got 0 - at record 0, `programs[0].tests[0].args`"),
    ({"tests": [{"args": [P]}]}, f"expected a list of words in [0, p), got [{P}] - at record 0, `programs[0].tests[0].args`"),
    ({"tests": [{"args": [1], "ram": [[1]]}]}, "expected pairs of address and word - at record 0, `programs[0].tests[0].ram`"),
    ({"tests": [{"args": [1], "digests": [[1]]}]}, "expected 5 words each - at record 0, `programs[0].tests[0].digests`"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "complaint"), WRONG)
def test_a_wrong_programs_file_says_where(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps([ENTRY | change]))
    with pytest.raises(DamageError) as caught:
        load_programs(path)
    assert str(caught.value) == f"{path}: {complaint}"


@pytest.mark.parametrize("text", ["", "{", "3", "[3]", "[" * 100_000, "\xff"])
def test_what_is_no_programs_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DamageError):
        load_programs(path)


def test_a_type_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match="got 'word' - at `types`"):
        of_tasm("f", [], ["word"])
