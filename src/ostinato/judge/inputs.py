"""What a program is given and what it leaves: the words between references, tests and the judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ostinato.tir.program import TYPES

__all__ = ["BELOW", "TYPES", "Event", "Expected", "Input", "Reference"]

BELOW = 16  # words under the arguments, which a candidate may neither use nor change


@dataclass(frozen=True, slots=True)
class Input:
    """What a block is run on.

    Attributes:
        arguments: the last on top. below: the words under them, the last nearest.
        ram: words by address. public, secret, digests: inputs that may be read. sponge: its state, or None.
    """

    arguments: tuple[int, ...]
    below: tuple[int, ...] = ()
    ram: Mapping[int, int] = field(default_factory=dict, hash=False)
    public: tuple[int, ...] = ()
    secret: tuple[int, ...] = ()
    digests: tuple[tuple[int, ...], ...] = ()
    sponge: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """What a block leaves.

    Attributes:
        error: the kind of the machine's error, or None. stack: words below and results, the last on top.
        ram: words by address, given and written. touched: the addresses that were read or written.
        output: what it wrote. public_used, secret_used, digests_used: how much it read. sponge: its state, or None.
    """

    error: str | None
    stack: tuple[int, ...]
    ram: Mapping[int, int]
    touched: frozenset[int]
    output: tuple[int, ...]
    public_used: int
    secret_used: int
    digests_used: int
    sponge: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Event:
    """A comparison that a program makes.

    Attributes:
        site: where in the program. kind: "eq", "lt", "assert", "assert_vector", "branch" (is it not 0?), "u32" (does it
            fit?), "zero" (where 0 is an error). left, right: what is compared. outcome: 1 if it holds, else 0.
    """

    site: tuple[int, ...]
    kind: str
    left: tuple[int, ...]
    right: tuple[int, ...]
    outcome: int


class Reference(Protocol):
    """What is right."""

    types: tuple[str, ...]

    def run(self, given: Input) -> Expected:
        """What is left."""

    def observe(self, given: Input) -> tuple[Expected, list[Event]]:
        """The same, and the comparisons on the way."""

    def operations(self) -> frozenset[str]:
        """Names of the operations or instructions that occur."""

    def steps(self) -> list[tuple[str, int]] | None:
        """Instructions whose results have at least the degrees of its own, where it is a straight line of sums and
        products; else None."""
