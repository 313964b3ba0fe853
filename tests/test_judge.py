"""The judge: real verdicts again, what they miss, planted errors, and the kernel against the machine itself."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from machine_programs import KINDS, P, words
from ostinato import UsageError, Vocabulary
from ostinato.data import programs_path, triton_attempts
from ostinato.judge import (
    Function,
    Input,
    Judge,
    Reason,
    Verdict,
    judge,
    load_programs,
    of_tasm,
    reverify,
    run_block,
)
from ostinato.judge.drawing import draw
from ostinato.judge.suite import Suite
from ostinato.triton import parse


@cache
def functions() -> dict[str, Function]:
    return {function.name: function for function in load_programs(programs_path())}


@cache
def judge_of(name: str) -> Judge:
    return Judge(functions()[name])


def verdict(name: str, *lines: str) -> Verdict:
    return judge_of(name).judge([list(lines)], confirm="all")[0]


def shows(name: str, lines: Any, given_input: Input) -> bool:
    """Does this input tell the candidate from the reference, on the machine that counts everything?"""
    expected = functions()[name].reference.run(given_input)
    outcome = run_block(lines, given_input, max_cycles=100_000)
    if outcome.error == "CycleLimit":
        return True
    if expected.error or not outcome.ok:
        return bool(expected.error) == outcome.ok
    left = tuple(outcome.final_stack[::-1][16:])
    used = len(given_input.public) - outcome.public_left, len(given_input.secret) - outcome.secret_left
    return (left, _words(outcome.ram), outcome.output, used, outcome.sponge, outcome.ip) != (
        expected.stack, _words(expected.ram), expected.output, (expected.public_used, expected.secret_used),
        expected.sponge, 3,
    )  # fmt: skip


def _words(ram: Any) -> dict[int, int]:
    return {address: word for address, word in ram.items() if word}


# Real verdicts


def test_every_verdict_and_price_of_the_real_machine_is_found_again() -> None:
    report = reverify(triton_attempts(), functions().values(), strict=False)
    assert (report.checked, report.unknown, report.programs, report.findings) == (13913, 7084, 32, ())


@pytest.mark.slow
def test_stricter_inputs_find_what_the_tests_of_the_real_verdicts_missed() -> None:
    done = []
    report = reverify(triton_attempts(), functions().values(), on_progress=lambda k, n: done.append((k, n)))
    assert {finding.what for finding in report.findings} == {"wrongly valid"}
    assert {finding.program for finding in report.findings} == {
        "hash10_first_word_is",
        "assert_digest_eq",
        "mem_write2",
    }
    for finding in report.findings:
        told = finding.verdict.given
        assert told is not None
        assert shows(finding.program, finding.stored.generated_tasm, told)
        assert not finding.corrected.valid
        assert finding.corrected.clock_cycles is None
    assert done[-1] == (20997, 20997)


def test_a_record_with_another_price_is_mispriced() -> None:
    results = triton_attempts()
    chosen = np.flatnonzero(results.valid)[:50]
    records = [results[int(i)] for i in chosen]
    from dataclasses import replace

    from ostinato import Results

    wrong = [replace(record, clock_cycles=(record.clock_cycles or 0) + 1) for record in records]
    report = reverify(Results.concat(wrong), functions().values(), strict=False)
    assert report.count("mispriced") == report.checked > 0
    assert {finding.corrected for finding in report.findings} <= set(records)


# Planted errors

MUTANTS = [
    ("field_sub", "push -1 mul add", "swap 1 push -1 mul add"),
    ("field_sub", "push -1 mul add", "push -2 mul add"),
    ("field_sub", "push -1 mul add", "push -1 mul mul"),
    (
        "det2",
        "mul pick 2 pick 2 mul push -1 mul add",
        "mul pick 2 pick 2 mul push -1 mul add nop pop 1 push 0",
    ),
    ("sum5", "add add add add", "add add add pick 1 add addi 1"),
    ("sum5", "add add add add", "add add add swap 1 pop 1"),
    ("rotate3", "pick 2", "pick 1"),
    ("rotate3", "pick 2", "place 2"),
    ("reverse4", "swap 3 pick 1 pick 2 swap 1", "swap 3"),
    ("dup_pair", "dup 1 dup 1", "dup 1 dup 2"),
    ("dup_pair", "dup 1 dup 1", "dup 2 dup 1"),
    ("u32_wrapping_add", "add split pick 1 pop 1", "add split pop 1"),
    ("assert_u32", "split pop 1 pop 1", "split pop 1 pop 1"),
    ("bit3_test", "push 8 and push 8 eq", "push 4 and push 4 eq"),
    ("mem_read1", "read_mem 1 pop 1", "addi 1 read_mem 1 pop 1"),
    ("mem_read1", "read_mem 1 pop 1", "pop 1 push 0"),
    ("mem_write2", "write_mem 2 pop 1", "pick 1 pop 1 write_mem 1 pop 1"),
    ("mem_write2", "write_mem 2 pop 1", "pop 3"),
    ("mem_write2", "write_mem 2 pop 1", "pick 2 pick 2 write_mem 2 pop 1"),
    ("zero_digest", "push 0 push 0 push 0 push 0 push 0", "push 4 read_mem 4 pop 1 push 0"),
    ("is_nonzero", "push 0 eq push 0 eq", "push 0 eq"),
    ("pow5", "dup 0 dup 0 mul dup 0 mul mul", "dup 0 dup 0 mul dup 0 mul"),
    ("assert_digest_eq", "assert_vector pop 5", "pop 5 pop 5"),
    ("bool_or", "dup 1 dup 1 mul push -1 mul add add", "add"),
]


@pytest.mark.parametrize(("name", "right", "wrong"), MUTANTS)
def test_a_planted_error_is_found_and_shown(name: str, right: str, wrong: str) -> None:
    found = verdict(name, wrong)
    assert not found.valid
    assert found.given is not None
    assert shows(name, wrong, found.given)


def test_the_code_that_errors_are_planted_in_is_right() -> None:
    known = {(name, right) for name, right, _ in MUTANTS if verdict(name, right).valid}
    assert len(known) >= 10
    assert verdict("assert_digest_eq", "assert_vector pop 5").clock_cycles == 2
    assert verdict("field_sub", "push -1 mul add").clock_cycles == 3


@pytest.mark.parametrize("kept", [[k for k in range(5) if k != omitted] for omitted in range(5)])
def test_who_compares_four_of_five_words_is_found_out(kept: list[int]) -> None:
    lines = [line for k in kept for line in (f"dup {9 - k}", f"dup {5 - k}", "eq", "assert")]
    found = verdict("assert_digest_eq", *lines, "pop 5", "pop 5")
    assert (found.valid, found.reason) == (False, Reason.NO_CRASH)


# Reasons

REASONS = [
    (
        ["push 99999999999999999999999"],
        Reason.PARSE,
        "line 1, column 6: expected an integer between -p and p",
    ),
    (["call nowhere"], Reason.PARSE, "line 1, column 6: expected a label that there is"),
    (["divine 1"], Reason.CRASH, "EmptySecretInput"),
    (["return", "skiz"], Reason.STACK, None),
    (["push 0", "skiz"], Reason.CRASH, "InstructionPointerOverflow"),
    (["halt"], Reason.HALT, None),
    (["pop 1"], Reason.STACK, None),
    (["push -1 mul add push 7 push 3 write_mem 1 pop 1"], Reason.MEMORY, None),
    (["push -1 mul add dup 0 write_io 1"], Reason.OUTPUT, None),
    (["push -1 mul add sponge_init"], Reason.SPONGE, None),
    (["a: recurse"], Reason.SLOW, None),
    (["a: push 1 dup 0 dup 0 dup 0 dup 0 dup 0 dup 0 dup 0 recurse"], Reason.SIZE, None),
]


@pytest.mark.parametrize(("lines", "reason", "error"), REASONS)
def test_a_verdict_says_why(lines: list[str], reason: Reason, error: str | None) -> None:
    own = Judge(functions()["field_sub"], max_cycles=20_000)
    found = own.judge([lines])[0]
    assert (found.valid, found.reason, found.clock_cycles) == (False, reason, None)
    assert (found.error or "").startswith(error or "")
    assert (found.error is None) == (error is None)


def test_what_reads_inputs_that_the_reference_does_not_is_told() -> None:
    own = Judge(of_tasm("f", ["read_io 1"], []))
    assert own.judge([["read_io 2", "pop 1"]])[0].reason in (Reason.INPUTS, Reason.CRASH, Reason.STACK)
    assert own.judge([["read_io 1", "divine 1", "pop 1"]])[0].reason in (Reason.INPUTS, Reason.CRASH)
    assert own.judge([["read_io 1", "nop"]])[0].valid


def test_a_failure_where_the_reference_fails_is_right_whatever_its_kind() -> None:
    own = Judge(of_tasm("f", ["push 0", "eq", "assert"], ["field"]))
    assert own.judge([["invert", "pop 1"], ["pop 1"]]).valid.tolist() == [False, False]
    assert own.judge([["push 0 eq push 1 eq assert"], ["push 0 eq invert pop 1"]]).valid.tolist() == [
        True,
        True,
    ]


# The kernel against the machine


@pytest.mark.parametrize("kind", KINDS)
def test_random_blocks_are_judged_as_the_machine_runs_them(kind: str) -> None:
    names = ["field_sub", "mem_swap", "assert_u32", "hash_pair_words"]

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(names), st.lists(st.one_of(*KINDS[kind]), max_size=8))
    def agree(name: str, pieces: list[str]) -> None:
        lines = [" ".join([*pieces, "return a: return b: return c: return"])]
        if kind not in {"all", "branching"}:
            lines = pieces
        own = judge_of(name)
        found = own.judge([lines], confirm="none")[0]
        told = [one for one in own.inputs if shows(name, lines, one)]
        assert found.valid == (not told)
        if not found.valid:
            assert found.given in told

    agree()


@settings(max_examples=30, deadline=None)
@given(words, words)
def test_cycles_are_those_of_the_block_without_the_call(a: int, b: int) -> None:
    candidate = [f"push {a}", f"push {b}", "pop 2", *functions()["field_sub"].baseline]
    assert verdict("field_sub", *candidate).clock_cycles == len(candidate)


def test_a_block_with_subroutines_is_priced_without_its_last_return() -> None:
    own = Judge(of_tasm("f", ["push 1", "add"], ["field"]))
    found = own.judge(
        [["call g", "return", "g:", "addi 1", "return"], ["addi 1"], "addi 1\nreturn", parse("addi 1")]
    )
    assert (found.valid.tolist(), found.clock_cycles.tolist()) == ([True] * 4, [3, 1, 1, 1])


def test_cycles_are_the_largest_over_the_tests() -> None:
    loop = ["call l", "return", "l:", "dup 0", "push 0", "eq", "skiz", "return", "addi -1", "recurse"]
    own = Judge(of_tasm("f", ["pop 1", "push 0"], ["bool"]))
    assert own.judge([loop])[0].clock_cycles == 1 + 5 + 6


# Judges


def test_what_told_once_is_tried_first_and_kept() -> None:
    own = Judge(functions()["select"])
    found = own.judge([["pop 2"]])[0]
    assert own.counterexamples == [found.given]
    again = Judge(functions()["select"], counterexamples=own.counterexamples)
    assert again.inputs[0] == found.given
    assert again.judge([["pop 2"]])[0].given == found.given


def test_the_same_seed_gives_the_same_inputs_and_another_does_not() -> None:
    first, same, other = (Judge(functions()["det2"], seed=seed).inputs for seed in (1, 1, 2))
    assert first == same
    assert first != other


def test_tokens_are_judged_like_text() -> None:
    results = triton_attempts()
    own = functions()["poly3_horner"]
    chosen = np.flatnonzero((results.tir_hash == np.frombuffer(own.tir_hash, np.uint8)).all(axis=1))
    vocabulary = Vocabulary()
    tokens, offsets = results[chosen].tokens(vocabulary)
    lines = [list(results.generated_tasm[i]) for i in chosen.tolist()]
    from_text, from_tokens = Judge(own).judge(lines), Judge(own).judge_tokens(tokens, offsets, vocabulary)
    assert from_text.reason.tolist() == from_tokens.reason.tolist()
    assert from_text.clock_cycles.tolist() == from_tokens.clock_cycles.tolist()
    assert 0 < from_text.valid.sum() < len(lines)


def test_tokens_that_are_no_single_instructions_go_through_the_parser() -> None:
    vocabulary = Vocabulary(["call g", "return", "g:", "addi 1", "nonsense"])
    tokens = np.array([0, 1, 2, 3, 1, 4], np.int32)
    own = Judge(of_tasm("f", ["push 1", "add"], ["field"]))
    found = own.judge_tokens(tokens, np.array([0, 5, 6]), vocabulary)
    assert found.reason.tolist() == [Reason.VALID, Reason.PARSE]
    for bad in (np.array([0, 5]), np.array([1, 6]), np.array([0, 5, 3, 6])):
        with pytest.raises(UsageError, match="offsets"):
            own.judge_tokens(tokens, bad, vocabulary)
    with pytest.raises(UsageError, match="token ids in"):
        own.judge_tokens(np.array([5], np.int32), np.array([0, 1]), vocabulary)


def test_a_baseline_with_a_test_that_it_fails_in_the_same_way_is_fine_but_no_block_is_not() -> None:
    with pytest.raises(UsageError, match="the block stops the machine"):
        Judge(of_tasm("f", ["halt"], []))
    with pytest.raises(UsageError, match="does not end"):
        Judge(of_tasm("f", ["call g", "return", "g:", "recurse"], []))
    with pytest.raises(UsageError, match="expected best, all or none, got 'some' - at `confirm`"):
        judge_of("select").judge([], confirm="some")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"expected lines of TASM, got 3 - at `candidates\[0\]`"):
        judge_of("select").judge([3])  # type: ignore[list-item]


# Evidence


def test_polynomials_are_decided_by_random_points() -> None:
    found = verdict("poly3_horner", *functions()["poly3_horner"].baseline)
    assert found.evidence is not None
    assert (found.evidence.kind, found.evidence.degree) == ("identity", 3)
    assert found.evidence.log2_error is not None
    assert found.evidence.log2_error < -900
    assert found.evidence.inputs > 1000


def test_booleans_are_tried_in_every_combination() -> None:
    found = verdict("bool_or", "add", "dup 0", "push 2", "eq", "push -1", "mul", "add")
    assert found.evidence is not None
    assert (found.valid, found.evidence.kind) == (True, "exhaustive")


def test_what_is_no_polynomial_stands_on_its_tests() -> None:
    found = verdict("is_nonzero", "push 0", "eq", "push 0", "eq")
    assert found.evidence is not None
    assert (found.evidence.kind, found.evidence.log2_error) == ("tests", None)


def test_a_candidate_that_knows_the_tests_is_found_out_by_further_inputs() -> None:
    own = Judge(of_tasm("f", ["push 3", "mul", "nop"], ["u32"]), tests=2)
    arguments = sorted({one.arguments[0] for one in own.inputs})
    # 3 x, plus a polynomial that is 0 on every test
    lines = ["dup 0", "push 3", "mul", "push 1"]
    for word in arguments:
        lines += ["dup 2", f"addi -{word}", "mul"]
    lines += ["push 0", "mul", "add", "swap 1", "pop 1"]
    assert own.judge([lines], confirm="none").valid.tolist() == [True]
    wrong = [line for line in lines if line != "push 0"]
    wrong.remove("mul")
    cheat = [*lines[:-5], "add", "swap 1", "pop 1"]
    first = own.judge([cheat], confirm="none")[0]
    second = own.judge([cheat], confirm="all")[0]
    assert (first.valid, second.valid) == (True, False)
    assert second.given in own.counterexamples
    assert own.judge([cheat], confirm="none").valid.tolist() == [False]


def test_a_suite_gives_back_each_of_its_inputs() -> None:
    sponges = of_tasm(
        "sponge",
        ["read_io 1", "sponge_squeeze", "read_mem 1", "divine 1", "merkle_step"],
        ["u32"] * 3,
        tir_hash=bytes(32),
    )
    for function in (*functions().values(), sponges):
        tests = draw(function.reference, 40, np.random.default_rng(7))
        assert [Suite(tests).given(k) for k in range(40)] == [one for one, _ in tests]


def test_judging_once_needs_no_judge() -> None:
    found = judge(functions()["average2"], [["add", "push 9223372034707292161", "mul"], ["add"]])
    assert (found.valid.tolist(), found.unexercised, repr(found)) == (
        [True, False],
        [((7,), "zero", 1)],
        "Verdicts(1 of 2 valid)",
    )
    assert [str(one) for one in found] == ["valid, 3 cycles", "wrong stack"]
    assert P == 2**64 - 2**32 + 1
