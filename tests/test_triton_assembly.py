"""The assembler: what it takes, what it refuses and where, and that text and program are the same thing."""

from __future__ import annotations

import pickle
import runpy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import slow_machine
from machine_programs import P, jobs
from ostinato import UsageError
from ostinato.triton import BY_NAME, ParseError, Program, format, parse
from test_slow_machine import goldens


def test_what_the_real_assembler_takes_is_taken_and_the_rest_refused() -> None:
    refused = 0
    for golden in goldens():
        result = golden["result"]
        if result["error"] == "ParseError":
            with pytest.raises(ParseError):
                parse(golden["code"])
            refused += 1
        else:
            program = parse(golden["code"])
            found = (len(program.words), list(program.digest), parse(format(program)) == program)
            assert found == (result["program_len"], result["program_digest"], True), golden["id"]
    assert refused == 62


# (text, line, column, what was expected)
REFUSED = [
    ("push", 1, 5, "an integer between -p and p"),
    ("nop\n  pick 16", 2, 8, "a register, 0 to 15"),
    ("pop 0", 1, 5, "a number of words, 1 to 5"),
    ("pop 01", 1, 5, "a number of words, 1 to 5"),
    (f"push {P}", 1, 6, "an integer between -p and p"),
    (f"push -{P}", 1, 6, "an integer between -p and p"),
    ("push 1" + "0" * 1_000_000, 1, 6, "an integer between -p and p"),
    ("push - 1", 1, 6, "an integer between -p and p"),
    ("push 1halt", 1, 7, "white space, a comment or the end"),
    ("halt;", 1, 5, "white space, a comment or the end"),
    ("halt //\nnop", 1, 6, "a label, an instruction or the end"),
    ("/* open", 1, 1, "a label, an instruction or the end"),
    ("9: halt", 1, 1, "a label, an instruction or the end"),
    ("²: halt", 1, 1, "a label, an instruction or the end"),
    ("neg", 1, 1, "an instruction, or a label with `:` behind it"),
    ("a/**/: halt", 1, 1, "an instruction, or a label with `:` behind it"),
    ("push: halt", 1, 1, "a label that is no instruction or keyword"),
    ("error_message: halt", 1, 1, "a label that is no instruction or keyword"),
    ("call nop", 1, 6, "a label that is no instruction or keyword"),
    ("call @a", 1, 6, "a label"),
    ("call a halt", 1, 6, "a label that there is"),
    ("a: nop\na: halt", 2, 1, "a label that is not taken"),
    ("error_id 3", 1, 1, "`error_id` right behind `assert` or `assert_vector` only"),
    ("assert error_id 1 error_id 2", 1, 19, "`error_id` right behind `assert` or `assert_vector` only"),
    (f"assert error_id {2**127}", 1, 17, "an integer of 128 bits"),
    ("hint A = stack[0]", 1, 6, "a name of lower-case letters"),
    ("hint a stack[0]", 1, 8, "`=`"),
    ("hint a = stack [0]", 1, 10, "`stack[`"),
    ("hint a = stack[x]", 1, 16, "a number"),
    ("hint a = stack[3..3]", 1, 19, "a number above 3"),
    ("hint a = stack[3", 1, 17, "`]`"),
    ("hint a: B<C = stack[0]", 1, 13, "`,` or `>`"),
    ("hint a: 1 = stack[0]", 1, 9, "a type"),
]


@pytest.mark.parametrize(("text", "line", "column", "expected"), REFUSED)
def test_a_refusal_says_where_and_what_was_expected(text: str, line: int, column: int, expected: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse(text)
    error = caught.value
    assert (error.line, error.column, error.expected) == (line, column, expected)
    assert str(error).startswith(f"line {line}, column {column}: expected {expected}, got ")
    assert isinstance(error, UsageError)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


TAKEN = [
    ("", []),
    (" /* a\nb */ // c\n", []),
    ("push +05 push -1", ["push 5", f"push {P - 1}"]),
    ("push/**/1/**/halt", ["push 1", "halt"]),
    ("\u2003halt\u00a0", ["halt"]),
    ("call f halt f \n:return", ["call f", "halt", "return"]),
    ("é-1_x: recurse", ["recurse"]),
    ("break hint a: *T<U, V<>> = stack[1 .. 4]halt", ["halt"]),
    ("assert error_id -3", ["assert"]),
]


@pytest.mark.parametrize(("text", "instructions"), TAKEN)
def test_what_is_allowed_is_taken(text: str, instructions: list[str]) -> None:
    program = parse(text)
    assert [program.instruction(i) for i in range(len(program))] == instructions
    assert parse(format(program)) == program


def test_a_hint_as_deep_as_one_likes_is_taken() -> None:
    deep = 100_000
    assert len(parse(f"hint a: {'A<' * deep}{'>' * deep} = stack[0] halt")) == 1


def test_labels_hints_and_breakpoints_keep_their_place() -> None:
    program = parse("break a: hint x = stack[0]\npush 1 b: c: assert error_id 7 call a d:")
    assert dict(program.labels) == {"a": 0, "b": 1, "c": 1, "d": 3}
    assert (program.hints, program.breakpoints) == (((0, "x = stack[0]"),), (0,))
    assert (dict(program.error_ids), program.addresses, program.words) == (
        {1: 7}, (0, 2, 3, 5), (1, 1, 10, 49, 0),
    )  # fmt: skip


def test_the_words_and_the_digest_are_those_of_the_plain_machine() -> None:
    program = parse("push 7 call f halt f: dup 0 return")
    assert (
        program.digest
        == slow_machine.Machine("push 7 call f halt f: dup 0 return", [], [], [], [], []).digest
    )


def test_a_program_made_of_numbers_has_a_text() -> None:
    call = BY_NAME["call"].opcode
    program = Program((call, 0), (1, 0))
    assert str(program) == "call at_2\nat_2:\nhalt"
    assert parse(program.text).words == program.words


@pytest.mark.parametrize(
    ("opcodes", "arguments", "complaint"),
    [
        ((5,), (0,), "expected an opcode, got 5 - at `opcodes[0]`"),
        ((3,), (6,), "expected an argument of `pop`, got 6 - at `arguments[0]`"),
        ((8,), (1,), "expected an argument of `nop`, got 1 - at `arguments[0]`"),
        ((49,), (2,), "expected an argument of `call`, got 2 - at `arguments[0]`"),
        ((8,), (), "expected 1 arguments, got 0 - at `arguments`"),
    ],
)
def test_a_program_made_of_wrong_numbers_is_refused(
    opcodes: tuple[int, ...], arguments: tuple[int, ...], complaint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        Program(opcodes, arguments)
    assert str(caught.value) == complaint


def test_programs_are_values() -> None:
    program, same = parse("a: push 1 call a"), parse("a: push 1 // one\n call a")
    assert (program == same, hash(program) == hash(same), pickle.loads(pickle.dumps(program)) == program) == (
        True,
    ) * 3
    assert Program.from_lines(["a:", "push 1", "call a"]) == program


def test_text_that_is_no_text_is_refused() -> None:
    with pytest.raises(UsageError, match="expected text, got bytes - at `text`"):
        parse(b"halt")  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(jobs("all"))
def test_format_and_parse_are_inverse(job: object) -> None:
    program = parse(job.text)  # type: ignore[attr-defined]
    assert parse(format(program)) == program


SOUP = [
    *BY_NAME,
    "a",
    "a:",
    ":",
    "hint",
    "break",
    "error_id",
    "stack[",
    "]",
    "=",
    "1",
    "-1",
    "..",
    "//",
    "/*",
    "*/",
    "\n",
    "<",
    ">",
    "\ud800",
    "\0",
]


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from(SOUP), st.text(max_size=4)), max_size=12), st.sampled_from(["", " "])
)
def test_no_text_raises_anything_but_a_parse_error(parts: list[str], between: str) -> None:
    try:
        program = parse(between.join(parts))
    except ParseError:
        return
    assert parse(format(program)) == program


def test_the_page_of_instructions_is_made_from_the_table() -> None:
    docs = Path(__file__).parent.parent / "docs"
    made = runpy.run_path(str(docs / "make_instructions.py"))["page"]()
    assert (docs / "instructions.md").read_text(encoding="utf-8") == made
