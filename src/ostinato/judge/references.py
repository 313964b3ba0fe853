"""What a program means: for an input, what must be left; from its TIR, or from TASM that is known to be right.

Rule of this file: a block is judged as the job `call`, `halt`, the block, `return`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ostinato.errors import UsageError
from ostinato.judge.inputs import Event, Expected, Input
from ostinato.tir.checking import check
from ostinato.tir.interpreter import Result, interpret
from ostinato.tir.program import Program as TirProgram
from ostinato.triton.isa import BY_OPCODE, MIN_DEPTH
from ostinato.triton.machine import Outcome, Step, run, trace
from ostinato.triton.observing import addresses_of, comparisons_of
from ostinato.triton.parsing import parse
from ostinato.triton.program import Program

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

    def steps(self) -> list[tuple[str, int]] | None:
        """Its instructions; whether these are sums and products is for `identity` to say."""
        job = self.job
        return [
            (BY_OPCODE[job.opcodes[i]].name, job.arguments[i]) for i in range(_OVER, len(job.opcodes) - 1)
        ]

    def run(self, given: Input) -> Expected:
        """What is left. Cost: 30 us; 10 us an instruction where it uses memory.

        Raises:
            UsageError: it stops the machine, or does not end within ten million cycles.
        """
        if self._reads:
            return self.observe(given)[0]
        left = self._expected(run(self.job, **arguments_of(given) | {"ram": None}), given, frozenset())
        return replace(left, ram=dict(sorted(given.ram.items())))

    def observe(self, given: Input) -> tuple[Expected, list[Event]]:
        """The same, and every comparison on the way."""
        events: list[Event] = []
        touched: set[int] = set()
        for step in trace(self.job, **arguments_of(given)):
            if step.outcome is not None:
                return self._expected(step.outcome, given, frozenset(touched)), events
            events += events_of(step)
            touched.update(_touched_by(step))
        raise AssertionError("a trace ends with an outcome")

    def _expected(self, outcome: Outcome, given: Input, touched: frozenset[int]) -> Expected:
        if outcome.ok and (outcome.ip != _OVER_WORDS or outcome.jump_stack):  # not the job's own `halt`
            raise UsageError("the block stops the machine: a block returns", "baseline")
        if outcome.error in ("CycleLimit", "MemoryLimit"):
            raise UsageError(f"the block does not end: {outcome.error_message}", "baseline")
        return left_by(outcome, given, touched)


# TIR's names for what has the degrees of an instruction, or of several
_DEGREES = {"sub": ("add",), "neg": (), "ext_mul": ("xx_mul",), "comment": (), "return": ()}
_SAME = {"push", "pop", "dup", "swap", "add", "mul"}


class TirReference:
    """A TIR program as what is right: its interpreter says what must be left.

    Raises:
        UsageError: the program is wrong, see `tir.check`.
    """

    def __init__(self, program: TirProgram) -> None:
        self.program, self.types = check(program), program.types

    def operations(self) -> frozenset[str]:
        """Names of the operations that occur."""
        return self.program.operations

    def steps(self) -> list[tuple[str, int]] | None:
        """Instructions whose results have at least the degrees of its own; None where it does something else."""
        found: list[tuple[str, int]] = []
        for op in self.program.body:
            if op.name in _SAME:
                found.append((op.name, op.arguments[0] if op.arguments else 0))
            elif op.name in _DEGREES:
                found += [(name, 0) for name in _DEGREES[op.name]]
            else:
                return None
        return found

    def run(self, given: Input) -> Expected:
        """What is left. Cost: about 1 us an operation, 10 us for the call.

        Raises:
            UsageError: it stops the machine, or does not end.
        """
        return self._expected(self._result(given))

    def observe(self, given: Input) -> tuple[Expected, list[Event]]:
        """The same, and every comparison on the way."""
        result = self._result(given)
        events = [Event(one.site, one.kind, one.left, one.right, one.outcome) for one in result.comparisons]
        return self._expected(result), events

    def _result(self, given: Input) -> Result:
        return interpret(self.program, checked=True, **arguments_of(given))

    def _expected(self, result: Result) -> Expected:
        if result.halted:
            raise UsageError("the block stops the machine: a block returns", self.program.name)
        return Expected(
            error=result.error,
            stack=result.stack,
            ram=result.ram,
            touched=result.touched,
            output=result.output,
            public_used=result.public_used,
            secret_used=result.secret_used,
            digests_used=result.digests_used,
            sponge=result.sponge,
        )


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
    site = (step.ip - _OVER_WORDS,)
    found = comparisons_of(name, step.stack)
    return [Event(site, kind, left, right, int(holds)) for kind, left, right, holds in found]


def _touched_by(step: Step) -> set[int]:
    name, _, argument = step.instruction.partition(" ")
    return addresses_of(name, int(argument) if argument.isdigit() else 0, step.stack)
