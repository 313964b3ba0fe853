"""Random programs of Triton VM with their inputs, most of which run for a while before they end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st

P = 2**64 - 2**32 + 1

EDGES = [0, 1, 2, 3, P - 1, P - 2, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**63]
words = st.one_of(
    st.sampled_from(EDGES), st.integers(0, 20), st.integers(0, 2**32 - 1), st.integers(0, P - 1)
)
counts = st.integers(1, 5)
registers = st.integers(0, 15)

STACK = [
    st.builds("push {}".format, words), st.builds("pop {}".format, counts), st.builds("dup {}".format, registers),
    st.builds("swap {}".format, registers), st.builds("pick {}".format, registers),
    st.builds("place {}".format, registers), st.just("nop"),
]  # fmt: skip
FIELD = [
    *(
        st.just(name)
        for name in ("add", "mul", "eq", "invert", "xx_add", "xx_mul", "x_invert", "xb_mul", "split")
    ),
    st.builds("addi {}".format, words),
]
# on small words, so that most of them work
U32 = [
    st.builds("push {} push {} {}".format, st.integers(0, 2**32 - 1), st.integers(0, 40), st.sampled_from(["lt", "and", "xor", "div_mod"])),
    st.builds("push {} push {} pow".format, st.integers(0, 70), words),
    st.builds("push {} {}".format, st.integers(0, 2**32 - 1), st.sampled_from(["log_2_floor", "pop_count", "split"])),
    *(st.just(name) for name in ("lt", "and", "xor", "div_mod", "pow", "log_2_floor", "pop_count")),
]  # fmt: skip
addresses = st.one_of(st.integers(0, 12), st.sampled_from([P - 1, P - 3, 2**32, 2**63]))
MEMORY = [
    st.builds("push {} read_mem {}".format, addresses, counts),
    st.builds("push {} write_mem {} pop 1".format, addresses, counts),
    st.builds("push {} push {} xx_dot_step".format, addresses, addresses),
    st.builds("push {} push {} xb_dot_step".format, addresses, addresses),
    st.just("read_mem 1"), st.just("write_mem 2"), st.just("xx_dot_step"), st.just("xb_dot_step"),
]  # fmt: skip
HASHING = [
    *(st.just(name) for name in ("hash", "sponge_init", "sponge_absorb", "sponge_squeeze", "merkle_step", "sponge_absorb_mem")),
    st.builds("sponge_init push {} sponge_absorb_mem sponge_squeeze".format, addresses),
    st.builds("push {} push 1 push 2 push 3 push 4 push 5 merkle_step".format, st.integers(0, 9)),
    st.builds("push {} push 0 push {} push 1 push 2 push 3 push 4 push 5 merkle_step_mem".format, addresses, st.integers(0, 9)),
    st.just("merkle_step_mem"),
]  # fmt: skip
IO = [
    st.builds("read_io {}".format, counts), st.builds("write_io {}".format, counts), st.builds("divine {}".format, counts),
]  # fmt: skip
CHECKS = [
    st.just("push 1 assert"), st.just("dup 0 dup 1 eq assert"), st.just("assert_vector"), st.just("assert"),
    st.just("dup 4 dup 4 dup 4 dup 4 dup 4 assert_vector"),
]  # fmt: skip
JUMPS = [
    st.just("skiz"), st.just("skiz skiz"), st.just("return"), st.just("recurse"), st.just("recurse_or_return"), st.just("halt"),
    st.builds("call {}".format, st.sampled_from("abc")),
    st.builds("push {} skiz call {}".format, st.integers(0, 1), st.sampled_from("abc")),
]  # fmt: skip

KINDS = {
    "straight": [*STACK, *FIELD],
    "u32": [*STACK, *U32],
    "memory": [*STACK, *FIELD, *MEMORY],
    "hashing": [*STACK, *HASHING],
    "io": [*STACK, *IO, *FIELD],
    "checks": [*STACK, *CHECKS, *FIELD],
    "branching": [*STACK, *JUMPS, *FIELD],
    "all": [*STACK, *FIELD, *U32, *MEMORY, *HASHING, *IO, *CHECKS, *JUMPS],
}


@dataclass(frozen=True)
class Job:
    text: str
    public: list[int]
    secret: list[int]
    digests: list[list[int]]
    ram: list[list[int]]
    stack: list[int]
    max_cycles: int

    def inputs(self) -> dict[str, Any]:
        return {
            name: getattr(self, name)
            for name in ("public", "secret", "digests", "ram", "stack", "max_cycles")
        }


@st.composite
def jobs(draw: st.DrawFn, kind: str) -> Job:
    """A program of one kind, in a main part and three subroutines, one of which counts down; with inputs."""
    piece = st.one_of(*KINDS[kind])
    parts = [" ".join(draw(st.lists(piece, max_size=12))) for _ in range(3)]
    loop = f"c: dup 0 push 0 eq skiz return addi -1 {parts[2] if draw(st.booleans()) else 'nop'} recurse"
    text = f"{parts[0]} {'halt' if draw(st.booleans()) else ''} a: {parts[1]} return b: {parts[2]} {loop}"
    if kind == "branching":
        text = f"push {draw(st.integers(0, 9))} call c {text}"
    many = st.lists(words, max_size=20)
    return Job(
        text,
        draw(many),
        draw(many),
        draw(st.lists(st.lists(words, min_size=5, max_size=5), max_size=4)),
        [list(pair) for pair in draw(st.dictionaries(addresses, words, max_size=12)).items()],
        draw(st.lists(words, max_size=24)),
        draw(st.sampled_from([0, 1, 50, 300])),
    )
