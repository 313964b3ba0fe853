"""Blocks that compute polynomials, and how sure random points make that two of them are the same.

Two polynomials that differ, of total degree d or less, agree on at most d/p of all points (Schwartz 1980, Zippel 1979). A
straight-line block of field operations leaves polynomials of its arguments and of the words below them on the stack, always
equally many; so k points, drawn at random from the whole field, on which all words agree leave a chance of (d/p)**k that the
blocks differ anywhere.

Rule of this file: nothing is run. Degrees are bounds, found by following what an instruction does to the stack.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from ostinato.goldilocks import P
from ostinato.triton.isa import BY_OPCODE

DEGREE_END = 1 << 32  # beyond it nobody would be sure of anything

_LOOKS_ELSEWHERE = ("read", "divine", "mem", "sponge", "merkle", "dot", "call", "recurse", "skiz", "return")

Step = tuple[str, int]


def degree_of(steps: Iterable[Step], depth: int) -> int | None:
    """A bound of the degrees of what a block leaves; None if it does not compute polynomials of `depth` words."""
    stack = [1] * depth
    try:
        for name, argument in steps:
            if not _follow(stack, name, argument):
                return None
    except IndexError:  # it reaches below the words that vary
        return None
    most = max(stack, default=0)
    return most if most < DEGREE_END else None


def _follow(stack: list[int], name: str, argument: int) -> bool:
    """What one operation does to degrees; False if it does no field arithmetic."""
    if name == "push":
        stack.append(0)
    elif name == "pop":
        _take(stack, argument)
    elif name == "dup":
        stack.append(stack[-1 - _within(stack, argument)])
    elif name == "swap":
        other = -1 - _within(stack, argument)
        stack[-1], stack[other] = stack[other], stack[-1]
    elif name == "pick":
        stack.append(stack.pop(-1 - _within(stack, argument)))
    elif name == "place":
        _within(stack, argument)
        stack.insert(len(stack) - 1 - argument, stack.pop())
    elif name == "add":
        stack.append(max(_take(stack, 2)))
    elif name == "mul":
        stack.append(sum(_take(stack, 2)))
    elif name == "xx_add":
        top, under = _take(stack, 3), _take(stack, 3)
        stack += map(max, zip(top, under, strict=True))
    elif name == "xx_mul":
        top, under = _take(stack, 3), _take(stack, 3)
        stack += [max(top) + max(under)] * 3
    elif name == "xb_mul":
        (scalar,), element = _take(stack, 1), _take(stack, 3)
        stack += [scalar + degree for degree in element]
    else:
        return name in ("nop", "addi")
    return True


def _take(stack: list[int], count: int) -> list[int]:
    if count > len(stack):
        raise IndexError
    taken = stack[len(stack) - count :]
    del stack[len(stack) - count :]
    return taken


def _within(stack: list[int], argument: int) -> int:
    if argument >= len(stack):
        raise IndexError
    return argument


def steps_of_tokens(tokens: Iterable[tuple[int, int]]) -> list[Step]:
    """The steps of a straight-line TASM block; what is none has steps that `degree_of` refuses."""
    return [(BY_OPCODE[opcode].name, argument) for opcode, argument in tokens]


def log2_error(degree: int, points: int) -> float:
    """log2 of the chance that two blocks of this degree that agree on so many random points differ."""
    return points * (math.log2(max(degree, 1)) - math.log2(P))


def keeps_to(tokens: Iterable[tuple[int, int]], depth: int) -> bool:
    """Does a block look at its arguments alone: nothing below them, no memory, no input?"""
    for opcode, argument in tokens:
        row = BY_OPCODE[opcode]
        if any(word in row.name for word in _LOOKS_ELSEWHERE):
            return False
        if row.reach(argument) > depth:
            return False
        depth += row.depth_change(argument)
    return True
