"""TIR programs: a function block as a tree of operations, checked by `checking`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

# field: any word. u32: below 2**32. bool: 0 or 1. address: of RAM. positive: a u32 that is not 0. any: a word that is often a u32
TYPES = ("field", "u32", "bool", "address", "positive", "any")


@dataclass(frozen=True, slots=True)
class Value:
    """An argument or a result: a word with a name and a type, one of `TYPES`."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Op:
    """An operation as it stands in a program.

    Attributes:
        name: one of the table's. arguments: its numbers.
        text: the label of `call`, `entry` and `loop`, the words of a `comment`, the hash (hex) of a `proof_block`.
        lines: the instructions of an `asm`, whose effect is its only argument.
        body, orelse: what it runs. line: where it stands in its text, from 1, or 0; no part of what it is.
    """

    name: str
    arguments: tuple[int, ...] = ()
    text: str = ""
    lines: tuple[str, ...] = ()
    body: tuple[Op, ...] = ()
    orelse: tuple[Op, ...] = ()
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Subroutine:
    """A function that is called: it takes and leaves so many words."""

    name: str
    takes: int
    leaves: int
    body: tuple[Op, ...]


@dataclass(frozen=True)
class Program:
    """A function block: what one asks a compiler for.

    Attributes:
        name: for people, like those of arguments and results, of which the last is on top of the stack.
        body: its operations. subroutines: what it calls.
    """

    name: str
    arguments: tuple[Value, ...]
    results: tuple[Value, ...]
    body: tuple[Op, ...]
    subroutines: tuple[Subroutine, ...] = ()

    @property
    def types(self) -> tuple[str, ...]:
        """The types of its arguments."""
        return tuple(value.type for value in self.arguments)

    @property
    def description(self) -> str:
        """Its first comment, if it begins with one."""
        return self.body[0].text if self.body and self.body[0].name == "comment" else ""

    @cached_property
    def operations(self) -> frozenset[str]:
        """Names of the operations, and of the instructions in `asm`, that occur."""
        names: set[str] = set()
        for body in (self.body, *(one.body for one in self.subroutines)):
            for op in walk(body):
                names.add(op.name)
                names.update(line.split()[0] for line in op.lines)
        return frozenset(names)

    def __str__(self) -> str:
        from ostinato.tir.text import format

        return format(self)


def walk(body: tuple[Op, ...]) -> Iterator[Op]:
    """The operations of a body and of all bodies in it."""
    for op in body:
        yield op
        yield from walk(op.body)
        yield from walk(op.orelse)
