"""TIR: the table, the text, the checker, what programs mean, what they are lowered to, and the bytes that name them."""

from __future__ import annotations

import doctest
import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ostinato import DamageError, UsageError, VersionError, judge, tir, triton
from ostinato.tir import OPERATIONS, Builder, Op, Program, Value
from ostinato.tir.operations import RANGES
from ostinato.triton import ParseError
from tir_programs import WORDS, programs

P = 2**64 - 2**32 + 1
FACTS = [
    "Call",
    "Return",
    "Halt",
    "IfElse",
    "IfOnly",
    "Loop",
    "FnStart",
    "FnEnd",
    "Entry",
    "Comment",
    "Asm",
    "Push",
    "Pop",
    "Dup",
    "Swap",
    "Add",
    "Sub",
    "Mul",
    "Neg",
    "Invert",
    "Eq",
    "Lt",
    "And",
    "Or",
    "Xor",
    "PopCount",
    "Split",
    "DivMod",
    "Shl",
    "Shr",
    "Log2",
    "Pow",
    "ReadIo",
    "WriteIo",
    "ReadMem",
    "WriteMem",
    "Assert",
    "Hash",
    "Reveal",
    "Seal",
    "RamRead",
    "RamWrite",
    "Hint",
    "SpongeInit",
    "SpongeAbsorb",
    "SpongeSqueeze",
    "SpongeLoad",
    "MerkleStep",
    "MerkleLoad",
    "ExtMul",
    "ExtInvert",
    "FoldExt",
    "FoldBase",
    "ProofBlock",
]
INPUTS = {
    "public": [5, 0, P - 1, 7, 2**32, 3, 9],
    "secret": [11, 1, 2, 3, 4, 5],
    "digests": [[1, 2, 3, 4, 5], [P - 1, 0, 7, 7, 7]],
}


def program_of(text: str) -> Program:
    return tir.parse(text)


def body_of(*lines: str, takes: int = 0, leaves: int = 0, types: str = "field") -> Program:
    arguments = ", ".join(f"a{k}: {types}" for k in range(takes))
    results = ", ".join(f"r{k}: field" for k in range(leaves))
    return tir.parse("\n".join([f"fn f({arguments}) -> ({results})", *lines, "end"]))


def both(program: Program, stack: list[int], **inputs: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """What the interpreter and the machine, running the lowering, make of it."""
    meant = tir.interpret(program, stack=stack, **inputs)
    lines = tir.lower(program)
    text = "\n".join(["call f__", "halt", "f__:", *lines, "return"])
    made = triton.run(text, stack=stack, **inputs)

    def words(ram: Any) -> dict[int, int]:
        return {address: word for address, word in ram.items() if word}

    left = len(inputs.get("public", ())), len(inputs.get("secret", ())), len(inputs.get("digests", ()))
    used = tuple(
        a - b for a, b in zip(left, (made.public_left, made.secret_left, made.digests_left), strict=True)
    )
    if meant.error is not None:  # how far they came before is nobody's business
        return (meant.error is None,), (made.ok,)
    return (
        (True, meant.stack, words(meant.ram), meant.output, meant.sponge, (meant.public_used, meant.secret_used, meant.digests_used)),
        (made.ok, tuple(made.final_stack[::-1][16:]), words(made.ram), made.output, made.sponge, used),
    )  # fmt: skip


# the table


def test_the_table_has_the_54_operations_of_trident_in_their_order() -> None:
    assert [row.number for row in OPERATIONS] == list(range(54))
    other = {"IfElse": "if", "ReadIo": "read_io", "WriteIo": "write_io"}
    assert [row.name for row in OPERATIONS] == [
        other.get(name, re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()) for name in FACTS
    ]


@pytest.mark.parametrize(
    "row", [row for row in OPERATIONS if row.structure == "none"], ids=lambda row: row.name
)
def test_every_operation_is_lowered_to_what_the_interpreter_means(row: tir.Operation) -> None:
    rng = np.random.default_rng(row.number)
    choices = [[int(rng.integers(0, P, dtype=np.uint64)), 5] if kind == "word" else list(RANGES[kind])[:: max(1, len(RANGES[kind]) // 5)] for _, kind in row.arguments]  # fmt: skip
    agreed = 0
    for arguments in [(), *choices[0]] if len(choices) == 1 else [None]:
        given_arguments = (
            (arguments,) if isinstance(arguments, int) else tuple(choice[-1] for choice in choices)
        )
        takes, leaves = row.effect(given_arguments)
        values = [tuple(Value(f"{letter}{k}", "field") for k in range(count)) for letter, count in (("a", takes), ("r", leaves))]  # fmt: skip
        program = tir.check(Program("f", values[0], values[1], (Op(row.name, given_arguments),)))
        for turn in range(60):
            ends = (2**32, P, 40, 3, 2)[turn % 5]
            stack = [int(word) for word in rng.integers(0, ends, takes + 3, dtype=np.uint64)]
            if turn % 7 == 6:
                stack = [stack[-1]] * len(stack)
            ram = {
                int(a) % P: int(w)
                for word in stack
                for a, w in [(word + d, word * 3 % P) for d in range(-5, 14)]
            }
            sponge = None if turn % 3 == 0 else list(range(16))
            meant, made = both(program, stack, ram=ram, sponge=sponge, **INPUTS)
            assert meant == made, (given_arguments, stack)
            agreed += meant[0]
    assert agreed > 0


def test_operations_that_need_certain_words_do_what_they_say() -> None:
    def left(*lines: str, **inputs: Any) -> tuple[int, ...]:
        stack = inputs.pop("stack", [])
        program = body_of(*lines, takes=len(stack), leaves=inputs.pop("leaves", 1))
        meant, made = both(program, stack, **inputs)
        assert meant == made
        assert meant[0]
        return tuple(meant[1])

    assert left("sub", stack=[7, 3]) == (4,)
    assert left("lt", stack=[2, 3]) == (1,)
    assert left("or", stack=[12, 10]) == (14,)
    assert left("div_mod", stack=[17, 5], leaves=2) == (3, 2)
    assert left("shl", stack=[3, 4]) == (48,)
    assert left("shr", stack=[50, 4]) == (3,)
    assert left("pow", stack=[3, 4]) == (81,)
    assert left("log2", stack=[40]) == (5,)
    assert left("ram_write 2", "push 100", "ram_read 1", stack=[100, 6, 5]) == (5,)
    assert left("write_mem 2", stack=[6, 5, 100]) == (102,)
    assert left("split", stack=[2**32 + 9], leaves=2) == (1, 9)


@given(programs(), st.lists(WORDS, min_size=24, max_size=24), st.booleans())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_programs_mean_what_their_lowering_does(
    program: Program, words: list[int], sponge: bool
) -> None:
    inputs = {"ram": {k: k * k for k in range(40)}, "sponge": [3] * 16 if sponge else None, **INPUTS}
    meant, made = both(program, words, **inputs)
    assert meant == made


@given(programs())
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_programs_survive_text_and_bytes(program: Program) -> None:
    assert tir.parse(tir.format(program)) == program
    data = tir.to_bytes(program)
    again = tir.from_bytes(data)
    assert tir.to_bytes(again) == data
    assert again.types == program.types
    assert tir.lower(again)[: len(tir.lower(program))] is not None


# the text


def test_a_text_holds_many_functions_with_their_subroutines() -> None:
    text = """
// of two functions
fn one(a: field) -> (b: field)   // behind a line too
    // Doubles twice.
    call twice
    call twice
end
sub twice 1 -> 1
    push 2
    mul
    return
end
fn two() -> ()
end
"""
    first, second = tir.parse_many(text)
    assert (first.name, first.description, [one.name for one in first.subroutines]) == ("one", "Doubles twice.", ["twice"])  # fmt: skip
    assert second == Program("two", (), (), ())
    assert tir.interpret(first, stack=[5]).stack == (20,)
    assert tir.parse_many("\n\n".join(map(str, (first, second)))) == [first, second]
    assert first.operations == {"comment", "call", "push", "mul", "return"}


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("", 1, "one function"),
        ("add", 1, "`fn name"),
        ("fn f() -> ()\n  addd\nend", 2, "an operation, or `end`"),
        ("fn f() -> ()\n  push\nend", 2, "`push A`"),
        ("fn f() -> ()\n  push x\nend", 2, "a number"),
        (f"fn f() -> ()\n  push {P}\nend", 2, "between -p and p"),
        ("fn f() -> ()\n  push 1", 2, "`end`"),
        ("fn f(a: word) -> ()\nend", 1, "`name: type`"),
        ("fn f(a: u32, a: u32) -> ()\nend", 1, "names that differ"),
        ("fn f() -> ()\nend\nfn f() -> ()\nend", 3, "not there yet"),
        ("fn f() -> ()\n  if x\n  end\nend", 2, "`if` alone"),
        ("fn f() -> ()\n  call\nend", 2, "the name of a subroutine"),
        ("fn f() -> ()\n  asm x\n  end\nend", 2, "`asm EFFECT`"),
        ("fn f() -> ()\n" + "proof_block " + "0" * 64 + "\n", 3, "`end`"),
        ("fn f() -> ()\n" + "if_only\n" * 70, 66, "at most 64 bodies"),
    ],
)
def test_what_is_no_text_is_refused_with_its_line(text: str, line: int, expected: str) -> None:
    with pytest.raises(ParseError, match=re.escape(expected)) as caught:
        tir.parse(text)
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["add"], "f, line 2: `add` takes 2 words, there are 0"),
        (["push 1"], "it ends with 1 word, and should leave 0"),
        (["pop 6"], "expected n to be 1 to 5, got 6"),
        (["assert 2"], "expected n to be 1 or 5, got 2"),
        (["swap 0"], "expected i to be 1 to 15, got 0"),
        (["call g"], "there is no subroutine 'g'"),
        (["push 1", "if", "push 1", "end", "pop 1"], "`if` ends with 1 word on one way and 0 on the other"),
        (["push 1", "if_only", "push 1", "end"], "begins with 0 words and ends with 1"),
        (["halt", "push 1"], "stands behind what stops the machine"),
        (["return", "push 1", "pop 1"], "stands at the end of a function alone"),
        (["asm +1", "push 1", "push 1", "end", "pop 1"], "`asm` says +1 words, its lines leave +2"),
        (["asm +0", "pick 3", "end"], "`pick` looks at 4 words, there are 0"),
        (["asm +0", "skiz", "end"], "none that jumps"),
        (["asm +0", "l: nop", "end"], "one instruction a line"),
        (["proof_block 00", "end"], "expected 64 hexadecimal digits"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(lines: list[str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        body_of(*lines)
    place = "f, line 2" if words.startswith("f, line 2: ") else ""
    assert words.removeprefix("f, line 2: ") in str(caught.value)
    assert place in str(caught.value)


@pytest.mark.parametrize("name", ["add", "1f", "a-b", "", "hint"])
def test_a_function_is_not_called_like_an_instruction(name: str) -> None:
    with pytest.raises(UsageError, match="no instruction of the machine"):
        tir.check(Program(name, (), (), ()))


# what programs mean


def test_a_loop_counts_down_and_leaves_its_counter() -> None:
    program = body_of(
        "push 0", "swap 1", "loop", "swap 1", "push 3", "add", "swap 1", "end", "pop 1", takes=1, leaves=1
    )
    assert tir.interpret(program, stack=[5]).stack == (15,)
    assert both(program, [5])[0] == both(program, [5])[1]


def test_halt_and_entry_stop_the_machine() -> None:
    program = program_of("fn f() -> ()\nentry g\nend\nsub g 0 -> 0\nhalt\nend")
    result = tir.interpret(program)
    assert (result.halted, result.error) == (True, None)
    with pytest.raises(UsageError, match="stops the machine"):
        judge.Judge(judge.of_tir(program))


def test_what_does_not_end_is_refused() -> None:
    endless = program_of("fn f() -> ()\ncall f1\nend\nsub f1 0 -> 0\ncall f1\nend")
    with pytest.raises(UsageError, match="more than 128 calls"):
        tir.interpret(endless)
    long = body_of("loop", "end", "pop 1", takes=1)
    with pytest.raises(UsageError, match="more than 1,000 operations"):
        tir.interpret(long, stack=[2**40], max_steps=1000)
    with pytest.raises(UsageError, match="at least 1 words"):
        tir.interpret(long)


def test_comparisons_are_noted_with_their_place() -> None:
    program = body_of("dup 1", "dup 1", "eq", "if_only", "push 1", "pop 1", "end", "pop 2", takes=2)
    found = tir.interpret(program, stack=[4, 4]).comparisons
    assert [(one.kind, one.site, one.outcome) for one in found] == [("eq", (0, 2), 1), ("branch", (0, 3), 1)]


# the builder


def test_the_builder_makes_what_the_text_says() -> None:
    build = Builder("f", {"a": "u32", "c": "bool"}, {"r": "field"}, "Of all structures.")
    with build.if_():
        build.push(3).or_()
    with build.else_():
        build.call("g")
    with build.proof_block(bytes(32)):
        build.asm(0, "addi  5")
    build.push(2)
    with build.loop("again"):
        build.comment("nothing")
    with build.if_only():
        build.push(1).op("assert", 1)
    with build.sub("g", 1, 1):
        build.neg()
    text = """fn f(a: u32, c: bool) -> (r: field)
    // Of all structures.
    if
        push 3
        or
    else
        call g
    end
    proof_block 0000000000000000000000000000000000000000000000000000000000000000
        asm +0
            addi 5
        end
    end
    push 2
    loop again
        // nothing
    end
    if_only
        push 1
        assert 1
    end
end

sub g 1 -> 1
    neg
end"""
    assert str(build.program()) == text
    assert tir.parse(text) == build.program()


def test_the_builder_refuses_what_is_not_there() -> None:
    build = Builder("f", {}, {})
    with pytest.raises(AttributeError):
        build.nothing()
    with pytest.raises(UsageError, match="without label or body"):
        build.op("call")
    with pytest.raises(UsageError, match="follows `if_`"), build.else_():
        pass
    with pytest.raises(UsageError, match="takes 2 words"):
        build.add().program()


def test_the_page_is_made_of_the_table_and_the_corpus() -> None:
    docs = Path(__file__).parent.parent / "docs"
    made = runpy.run_path(str(docs / "make_tir.py"))["page"]()
    assert (docs / "tir.md").read_text(encoding="utf-8") == made


def test_the_page_says_what_happens() -> None:
    page = Path(__file__).parent.parent / "docs" / "tir.md"
    result = doctest.testfile(str(page), module_relative=False)
    assert (result.failed, result.attempted > 4) == (0, True)
    text = re.search(r"```text\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert text is not None
    assert tir.interpret(tir.parse(text[1]), stack=[5, 6]).stack == (20,)


# bytes and the hash


def test_names_and_comments_are_no_part_of_the_hash() -> None:
    one = "fn f(a: u32) -> (b: u32)\n// Twice.\ncall g\nend\nsub g 1 -> 1\npush 2\nmul\nend"
    other = "fn h(x: u32) -> (y: u32)\ncall k\nreturn\nend\nsub unused 0 -> 0\nend\nsub k 1 -> 1\n push 2\n// so\n mul\nend"
    assert tir.cid(program_of(one)) == tir.cid(program_of(other))
    assert len(tir.cid(program_of(one))) == 32


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("fn f(a: u32) -> (b: u32)\nend", "fn f(a: field) -> (b: u32)\nend"),
        ("fn f(a: u32) -> (b: u32)\nend", "fn f(a: u32) -> (b: field)\nend"),
        ("fn f() -> (b: u32)\npush 1\nend", "fn f() -> (b: u32)\npush 2\nend"),
        ("fn f() -> ()\npush 1\npop 1\nend", "fn f() -> ()\nasm +1\npush 1\nend\npop 1\nend"),
        ("fn f() -> ()\nproof_block " + "0" * 64 + "\nend\nend", "fn f() -> ()\nproof_block " + "1" * 64 + "\nend\nend"),
    ],
)  # fmt: skip
def test_what_changes_the_question_changes_the_hash(one: str, other: str) -> None:
    assert tir.cid(program_of(one)) != tir.cid(program_of(other))


def test_the_example_of_the_format_is_what_it_says() -> None:
    text = (Path(__file__).parent.parent / "FORMAT.md").read_text(encoding="utf-8")
    part = text[text.index("## TIR programs") :]
    source, dump = re.findall(r"```text\n(.*?)```", part, re.DOTALL)[:2]
    program = tir.parse(source)
    data = bytes.fromhex("".join(re.sub(r" {3,}.*", "", line) for line in dump.splitlines()))
    assert tir.to_bytes(program) == data
    digest = re.search(r"`([0-9a-f]{64})`", part)
    assert digest is not None
    assert tir.cid(program).hex() == digest[1]


@given(programs(), st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_bytes_that_are_damaged_are_refused_or_another_program(program: Program, data: st.DataObject) -> None:
    raw = bytearray(tir.to_bytes(program))
    where = data.draw(st.integers(0, len(raw) - 1))
    if data.draw(st.booleans()):
        raw[where] ^= data.draw(st.integers(1, 255))
    else:
        del raw[where:]
    try:
        found = tir.from_bytes(bytes(raw))
    except (DamageError, VersionError):
        return
    assert tir.to_bytes(found) == bytes(raw)


@given(st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_refused_or_read(raw: bytes) -> None:
    try:
        found = tir.from_bytes(b"\x01" + raw)
    except DamageError:
        return
    assert tir.to_bytes(found) == b"\x01" + raw


def test_bytes_of_another_version_or_too_deep_or_too_long_are_refused() -> None:
    with pytest.raises(VersionError):
        tir.from_bytes(b"\x02")
    with pytest.raises(DamageError, match="expected version 1"):
        tir.from_bytes(b"\x00")
    head = b"\x01" + bytes(6)
    with pytest.raises(DamageError, match="64 deep"):
        tir.from_bytes(head + b"\x01\0\0\0\x04" * 80)
    with pytest.raises(DamageError, match="do not fit"):
        tir.from_bytes(head + b"\xff\xff\xff\xff")
    with pytest.raises(UsageError):
        tir.from_bytes("x")  # type: ignore[arg-type]


# the judge, by TIR


def test_a_wrong_lowering_is_found_instead_of_copied() -> None:
    program = body_of("sub", takes=2, leaves=1)
    function = judge.of_tir(program)
    assert function.tir_hash == tir.cid(program)
    own = judge.Judge(function)
    assert own.baseline_cycles == 3
    wrong = judge.Function(**{name: getattr(function, name) for name in ("name", "description", "tir_hash", "reference", "results", "tests")}, baseline=("swap 1", *function.baseline))  # fmt: skip
    with pytest.raises(UsageError, match="the baseline of `f` is wrong"):
        judge.Judge(wrong)


def test_candidates_are_judged_by_what_tir_means() -> None:
    own = judge.Judge(judge.of_tir(body_of("dup 1", "dup 1", "sub", "swap 2", "pop 2", takes=2, leaves=1)))
    right, wrong = own.judge(["push -1 mul add", "add"])
    assert (right.valid, right.clock_cycles, wrong.valid) == (True, 3, False)
    assert right.evidence is not None
    assert (right.evidence.kind, right.evidence.degree) == ("identity", 1)


def test_both_ways_of_a_branch_in_tir_are_exercised() -> None:
    program = body_of("dup 0", "push 123456789", "eq", "if_only", "push 5", "mul", "end", takes=1, leaves=1)
    own = judge.Judge(judge.of_tir(program))
    assert own.coverage.missing == []
    assert not own.judge(["nop"])[0].valid
