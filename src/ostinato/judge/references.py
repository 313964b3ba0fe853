"""What a program means: for an input, what must be left; from TASM that is known to be right.

Rule of this file: a block is judged as the job `call`, `halt`, the block, `return`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ostinato.errors import UsageError
from ostinato.goldilocks import P
from ostinato.judge.inputs import Event, Expected, Input
from ostinato.triton.isa import DIGEST, MIN_DEPTH
from ostinato.triton.machine import Outcome, Step, run, trace
from ostinato.triton.parsing import parse
from ostinato.triton.program import Program

_U32_END = 2**32
_OVER, _OVER_WORDS = 2, 3  # the job's first instructions, `call` and `halt`, and their words


def job_of(lines: Sequence[str]) -> Program:
    """The whole program that a block is judged as: `call`, `halt`, the block, `return`.

    Raises:
        ParseError: the lines are no block.
    """
    label = "f"
    while f"{label}:" in (line.replace(" ", "") for text in lines for line in text.split("\n")):
        label += "_"
    return parse("\n".join([f"call {label}", "halt", f"{label}:", *lines, "return"]))


class TasmReference:
    """A TASM block as what is right, for users whose compiler has no TIR.

    Args:
        lines: instructions, straight-line or with subroutines behind a `return`. types: those of its arguments.
    Raises:
        ParseError: it is no block.
    """

    def __init__(self, lines: Sequence[str], types: Sequence[str]) -> None:
        self.lines, self.types = tuple(lines), tuple(types)
        self.job = job_of(lines)
        names = {self.job.instruction(i).split()[0] for i in range(_OVER, len(self.job.opcodes) - 1)}
        self._names = frozenset(names)
        self._reads = any("mem" in name or "dot_step" in name for name in names)

    def operations(self) -> frozenset[str]:
        """Names of the instructions that occur."""
        return self._names

    def run(self, given: Input) -> Expected:
        """What is left. Cost: 30 us; 10 us an instruction where it uses memory.

        Raises:
            UsageError: it stops the machine, or does not end within ten million cycles.
        """
        if self._reads:
            return self.observe(given)[0]
        return self._expected(run(self.job, **arguments_of(given)), given, frozenset())

    def observe(self, given: Input) -> tuple[Expected, list[Event]]:
        """The same, and every comparison on the way."""
        events: list[Event] = []
        touched: set[int] = set()
        for step in trace(self.job, **arguments_of(given)):
            if step.outcome is not None:
                return self._expected(step.outcome, given, frozenset(touched)), events
            events += events_of(step)
            touched.update(addresses_of(step))
        raise AssertionError("a trace ends with an outcome")

    def _expected(self, outcome: Outcome, given: Input, touched: frozenset[int]) -> Expected:
        if outcome.ok and (outcome.ip != _OVER_WORDS or outcome.jump_stack):  # not the job's own `halt`
            raise UsageError("the block stops the machine: a block returns", "baseline")
        if outcome.error in ("CycleLimit", "MemoryLimit"):
            raise UsageError(f"the block does not end: {outcome.error_message}", "baseline")
        return left_by(outcome, given, touched)


def arguments_of(given: Input) -> dict[str, Any]:
    """An input as the arguments of `triton.run` and `triton.trace`."""
    return {
        "public": given.public,
        "secret": given.secret,
        "digests": given.digests,
        "ram": given.ram,
        "stack": [*given.below, *given.arguments],
        "sponge": given.sponge,
    }


def left_by(outcome: Outcome, given: Input, touched: frozenset[int]) -> Expected:
    """What a job leaves of an input, above the machine's first sixteen words."""
    return Expected(
        error=outcome.error,
        stack=tuple(outcome.final_stack[::-1][MIN_DEPTH:]),
        ram=outcome.ram,
        touched=touched,
        output=outcome.output,
        public_used=len(given.public) - outcome.public_left,
        secret_used=len(given.secret) - outcome.secret_left,
        digests_used=len(given.digests) - outcome.digests_left,
        sponge=outcome.sponge,
    )


def events_of(step: Step) -> list[Event]:
    """The comparisons that an instruction makes; a site is the word of the block that it stands at."""
    name, _, _ = step.instruction.partition(" ")
    st = step.stack
    site = (step.ip - _OVER_WORDS,)

    def event(kind: str, left: Sequence[int], right: Sequence[int], outcome: bool) -> Event:
        return Event(site, kind, tuple(left), tuple(right), int(outcome))

    def u32(*words: int) -> list[Event]:
        return [event("u32", (word,), (_U32_END - 1,), word < _U32_END) for word in words]

    def zero(word: int) -> Event:
        return event("zero", (word,), (0,), word == 0)

    match name:
        case "eq":
            return [event("eq", st[1:2], st[:1], st[0] == st[1])]
        case "lt":
            return [*u32(st[0], st[1]), event("lt", st[:1], st[1:2], st[0] < st[1])]
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
            return [*u32(st[5]), event("branch", (st[5] & 1,), (0,), bool(st[5] & 1))]
        case "skiz":
            return [event("branch", st[:1], (0,), st[0] != 0)]
        case "recurse_or_return":
            return [event("eq", st[5:6], st[6:7], st[5] == st[6])]
        case "assert":
            return [event("assert", st[:1], (1,), st[0] == 1)]
        case "assert_vector":
            left, right = st[:DIGEST], st[DIGEST : 2 * DIGEST]
            return [event("assert_vector", left, right, left == right)]
        case "invert":
            return [zero(st[0])]
    return []


def addresses_of(step: Step) -> set[int]:
    """The addresses that an instruction reads or writes."""
    name, _, argument = step.instruction.partition(" ")
    st = step.stack
    match name:
        case "read_mem":
            places = [st[0] - k for k in range(int(argument))]
        case "write_mem":
            places = [st[0] + k for k in range(int(argument))]
        case "sponge_absorb_mem":
            places = [st[0] + k for k in range(10)]
        case "merkle_step_mem":
            places = [st[7] + k for k in range(DIGEST)]
        case "xx_dot_step":
            places = [st[i] + k for i in (0, 1) for k in range(3)]
        case "xb_dot_step":
            places = [st[0], *(st[1] + k for k in range(3))]
        case _:
            places = []
    return {place % P for place in places}
