"""Random TIR programs for Hypothesis: right by construction, straight-line or with branches, loops, calls and machine code.

Rule of this file: a body is made with the depth in hand, so that it takes and leaves what it should.
"""

from __future__ import annotations

from hypothesis import strategies as st

from ostinato.tir import OPERATIONS, TYPES, Op, Program, Subroutine, Value, check
from ostinato.tir.operations import RANGES

P = 2**64 - 2**32 + 1
WORDS = st.one_of(
    st.integers(0, 40), st.sampled_from([P - 1, 2**32 - 1, 2**32, 2**31, 2**63]), st.integers(0, P - 1)
)
PLAIN = [row for row in OPERATIONS if row.structure == "none" and row.name not in ("halt", "return")]
CHEAP = [
    row
    for row in PLAIN
    if row.name not in ("invert", "ext_invert", "assert", "log2", "read_io", "hint", "merkle_step")
]
ASM = {
    "addi 3": 0,
    "xx_add": -3,
    "xb_mul": -1,
    "pick 3": 0,
    "place 2": 0,
    "nop": 0,
    "split": 1,
    "swap 0": 0,
    "dup 1": 1,
}
ASM_NEEDS = {
    "addi 3": 1,
    "xx_add": 6,
    "xb_mul": 4,
    "pick 3": 4,
    "place 2": 3,
    "nop": 0,
    "split": 1,
    "swap 0": 1,
    "dup 1": 2,
}
MAX_DEPTH = 40


@st.composite
def bodies(
    draw: st.DrawFn, depth: int, end: int, callees: dict[str, tuple[int, int]], nesting: int = 0
) -> tuple[Op, ...]:
    """A body that begins with so many words and ends with so many."""
    ops: list[Op] = []
    for _ in range(draw(st.integers(0, 8 if nesting % 10 == 0 else 3))):
        what = draw(st.integers(0, 14))
        if what == 0 and nesting % 10 < 2 and depth >= 1:
            name = draw(st.sampled_from(["if", "if_only", "loop", "proof_block"]))
            if name == "if":
                to = draw(st.integers(max(0, depth - 3), depth + 1))
                ways = [draw(bodies(depth - 1, to, callees, nesting + 1)) for _ in range(2)]
                ops.append(Op("if", body=ways[0], orelse=ways[1]))
                depth = to
            elif name == "if_only":
                ops.append(Op("if_only", body=draw(bodies(depth - 1, depth - 1, callees, nesting + 1))))
                depth -= 1
            elif (
                name == "loop"
            ):  # the counter is put first and is kept on top by the body, which keeps to what is below it
                inner = draw(bodies(depth, depth, callees, nesting + 1))
                ops.append(Op("push", (draw(st.integers(0, 3)),)))
                ops.append(Op("loop", text="again", body=_under_the_counter(inner, nesting)))
                depth += 1
            else:
                to = draw(st.integers(max(0, depth - 3), depth + 1))
                ops.append(
                    Op("proof_block", text="ab" * 32, body=draw(bodies(depth, to, callees, nesting + 1)))
                )
                depth = to
        elif what == 1 and callees:
            name = draw(st.sampled_from(sorted(callees)))
            takes, leaves = callees[name]
            if takes <= depth:
                ops.append(Op("call", text=name))
                depth += leaves - takes
        elif what == 2:
            line = draw(st.sampled_from(sorted(ASM)))
            if ASM_NEEDS[line] <= depth:
                ops.append(Op("asm", (ASM[line],), lines=(line,)))
                depth += ASM[line]
        elif what == 3:
            ops.append(Op("comment", text=draw(st.sampled_from(["note", "a b", ""]))))
        else:
            row = draw(st.sampled_from(PLAIN if draw(st.integers(0, 9)) == 0 else CHEAP))
            arguments = tuple(
                draw(WORDS) if kind == "word" else draw(st.sampled_from(list(RANGES[kind])))
                for _, kind in row.arguments
            )
            takes, leaves = row.effect(arguments)
            if takes <= depth and depth + leaves - takes <= MAX_DEPTH:
                ops.append(Op(row.name, arguments))
                depth += leaves - takes
    while depth > end:
        count = min(5, depth - end)
        ops.append(Op("pop", (count,)))
        depth -= count
    while depth < end:
        ops.append(Op("push", (draw(WORDS),)))
        depth += 1
    return tuple(ops)


def _under_the_counter(body: tuple[Op, ...], nesting: int) -> tuple[Op, ...]:
    """A body that finds the counter on top and keeps it in RAM meanwhile, at an address of its own."""
    address = P - 12345 - nesting
    keep = (Op("push", (address,)), Op("swap", (1,)), Op("ram_write", (1,)))
    back = (Op("push", (address,)), Op("ram_read", (1,)))
    return (*keep, *body, *back)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """A checked program of up to three subroutines, which call only those made before them."""
    callees: dict[str, tuple[int, int]] = {}
    subroutines: list[Subroutine] = []
    for k in range(draw(st.integers(0, 2))):
        takes, leaves = draw(st.integers(0, 3)), draw(st.integers(0, 3))
        subroutines.append(
            Subroutine(f"helper{k}", takes, leaves, draw(bodies(takes, leaves, callees, 10 * k + 11)))
        )
        callees[f"helper{k}"] = takes, leaves
    inputs, outputs = draw(st.integers(0, 12)), draw(st.integers(0, 6))
    body = draw(bodies(inputs, outputs, callees))
    if draw(st.booleans()):
        body = (*body, Op("return"))

    def values(letter: str, count: int) -> tuple[Value, ...]:
        return tuple(Value(f"{letter}{k}", draw(st.sampled_from(TYPES))) for k in range(count))

    return check(Program("made", values("x", inputs), values("y", outputs), body, tuple(subroutines)))
