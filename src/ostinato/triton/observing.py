"""What an instruction looks at, before it runs: the words that it compares, the addresses that it uses.

Rule of this file: names and the stack in, facts out; nothing is changed. The stack is given top first.
"""

from __future__ import annotations

from collections.abc import Sequence

from ostinato.goldilocks import P
from ostinato.triton.isa import DIGEST, RATE

U32_END = 2**32

# kind, left words, right words, does it hold?
Comparison = tuple[str, tuple[int, ...], tuple[int, ...], bool]


def comparisons_of(name: str, st: Sequence[int]) -> list[Comparison]:
    """The comparisons that an instruction makes, in their order.

    Kinds: "eq", "lt", "assert", "assert_vector", "branch" (is it not 0?), "u32" (does it fit?), "zero" (where 0 is an error).
    """

    def u32(*words: int) -> list[Comparison]:
        return [("u32", (word,), (U32_END - 1,), word < U32_END) for word in words]

    def zero(word: int) -> Comparison:
        return "zero", (word,), (0,), word == 0

    match name:
        case "eq":
            return [("eq", (st[1],), (st[0],), st[0] == st[1])]
        case "lt":
            return [*u32(st[0], st[1]), ("lt", (st[0],), (st[1],), st[0] < st[1])]
        case "and" | "xor":
            return u32(st[0], st[1])
        case "div_mod":
            return [*u32(st[0], st[1]), zero(st[1])]
        case "pow":
            return u32(st[1])
        case "pop_count":
            return u32(st[0])
        case "log_2_floor":
            return [*u32(st[0]), zero(st[0])]
        case "merkle_step" | "merkle_step_mem":
            return [*u32(st[5]), ("branch", (st[5] & 1,), (0,), bool(st[5] & 1))]
        case "skiz":
            return [("branch", (st[0],), (0,), st[0] != 0)]
        case "recurse_or_return":
            return [("eq", (st[5],), (st[6],), st[5] == st[6])]
        case "assert":
            return [("assert", (st[0],), (1,), st[0] == 1)]
        case "assert_vector":
            left, right = tuple(st[:DIGEST]), tuple(st[DIGEST : 2 * DIGEST])
            return [("assert_vector", left, right, left == right)]
        case "invert":
            return [zero(st[0])]
    return []


def addresses_of(name: str, argument: int, st: Sequence[int]) -> set[int]:
    """The addresses that an instruction reads or writes."""
    match name:
        case "read_mem":
            places = [st[0] - k for k in range(argument)]
        case "write_mem":
            places = [st[0] + k for k in range(argument)]
        case "sponge_absorb_mem":
            places = [st[0] + k for k in range(RATE)]
        case "merkle_step_mem":
            places = [st[7] + k for k in range(DIGEST)]
        case "xx_dot_step":
            places = [st[i] + k for i in (0, 1) for k in range(3)]
        case "xb_dot_step":
            places = [st[0], *(st[1] + k for k in range(3))]
        case _:
            places = []
    return {place % P for place in places}
