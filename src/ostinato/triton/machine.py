"""Running programs: what goes into the machine, what came out, and each step on the way.

Rule of this file: the kernel does the work; here its arrays are made, made larger when it says so, and read.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.arguments import integer
from ostinato.errors import UsageError
from ostinato.goldilocks import P
from ostinato.triton.isa import DIGEST, MIN_DEPTH
from ostinato.triton.machine_layout import (
    COUNTED,
    CYCLES,
    DELTA,
    DETAIL,
    DIGESTS,
    DIGESTS_END,
    ERRORS,
    GIVEN_FIRST,
    GIVEN_MASK,
    HASH_ROWS,
    IP,
    JUMPS,
    LAST,
    LIMIT,
    NEED_JUMPS,
    NEED_OUTPUT,
    NEED_RAM,
    NEED_STACK,
    OP_STACK_ROWS,
    OUTPUT,
    PUBLIC,
    PUBLIC_END,
    RAM_ROWS,
    SALT,
    SECRET,
    SECRET_END,
    SP,
    SPONGE,
    STAMP,
    STATE_SLOTS,
    U32_ROWS,
)
from ostinato.triton.parsing import parse
from ostinato.triton.program import Program
from ostinato.triton.tip5 import Digest, as_words

MAX_CYCLES = 10_000_000
MEMORY_LIMIT = 256 << 20
_SLICE = 4_000_000  # cycles between two looks at whether somebody has pressed Ctrl-C
_SALT = secrets.randbits(62) | 1  # no result depends on it, only which addresses share a slot
_LIMITED = len(ERRORS) - 2  # CycleLimit

Words = Sequence[int] | NDArray[np.uint64]
Ram = Mapping[int, int] | Iterable[tuple[int, int]]
Code = tuple[NDArray[np.uint8], NDArray[np.int8], NDArray[np.uint64]]


def code_of(opcodes: NDArray[np.uint8], arguments: NDArray[np.uint64]) -> Code:
    """A program as the kernel takes it: opcodes u8[n], needs i8[n], arguments u64[n]."""
    counts = np.where(COUNTED[opcodes], arguments, 1).astype(np.int64)
    return opcodes, np.maximum(0, -DELTA[opcodes] * counts).astype(np.int8), arguments


@lru_cache(maxsize=256)
def _code(program: Program) -> Code:
    return code_of(np.array(program.opcodes, np.uint8), np.array(program.arguments, np.uint64))


class Outcome:
    """What came of a run.

    Attributes:
        ok: did it end in `halt`? error: the kind of error, or None; one of `ERRORS`. error_message: in the words
            of the real machine, or None.
        halted: the same as ok. ip: the word address that would come next, or of the instruction that failed.
        cycles: instructions executed; one that fails is not counted.
        output: the public output. final_stack: the words on the stack, the top first.
        ram: word by address, those given and those written, by address. sponge: its sixteen words, or None.
        jump_stack: (return address, call target), the oldest first.
        public_left, secret_left, digests_left: inputs that were not taken.
        program_len: words of the program. program_digest: five words.

    The heights of the nine tables are counted when they are first asked for, by running once more; they are None
    for a run that failed, of which there is no proof.
    """

    def __init__(self, machine: _Machine, status: int) -> None:
        state = machine.state
        self._machine_inputs = machine.inputs
        self.program = machine.program
        self.error: str | None = ERRORS[status] or None
        self.error_message: str | None = machine.message(status) if self.error else None
        self.ok = self.halted = self.error is None
        self.ip: int = self.program.addresses[int(state[IP])]
        self.cycles = int(state[CYCLES])
        self.output: tuple[int, ...] = tuple(machine.output[: state[OUTPUT]].tolist())
        self.final_stack: tuple[int, ...] = machine.stack_top_first()
        self.ram: dict[int, int] = machine.ram_now()
        self.sponge: tuple[int, ...] | None = tuple(machine.sponge.tolist()) if state[SPONGE] else None
        self.jump_stack: tuple[tuple[int, int], ...] = machine.jumps_now()
        self.public_left = int(state[PUBLIC_END] - state[PUBLIC])
        self.secret_left = int(state[SECRET_END] - state[SECRET])
        self.digests_left = int(state[DIGESTS_END] - state[DIGESTS])

    def __repr__(self) -> str:
        if self.ok:
            return f"Outcome(ok, {self.cycles:,} cycles, output={list(self.output)})"
        return f"Outcome({self.error} at word {self.ip} after {self.cycles:,} cycles: {self.error_message})"

    @property
    def program_len(self) -> int:
        """Words of the program."""
        return self.program.addresses[-1]

    @property
    def program_digest(self) -> Digest:
        """Five words; what the stack begins with."""
        return self.program.digest

    @cached_property
    def heights(self) -> dict[str, int] | None:
        """Rows of each of the nine tables: program, processor (one a cycle), op_stack, ram, jump_stack, hash, cascade, lookup, u32.

        None for a run that failed. Cost: a second run, about twice as slow.
        """
        return _heights(self.program, self._machine_inputs, self.cycles) if self.ok else None

    @property
    def height(self) -> int | None:
        """Rows of the tallest table."""
        return None if self.heights is None else max(self.heights.values())

    @property
    def padded_height(self) -> int | None:
        """The next power of two: what a proof costs follows this."""
        return None if self.height is None else 1 << (self.height - 1).bit_length()

    @property
    def dominant_table(self) -> str | None:
        """The name of the tallest table."""
        if self.heights is None:
            return None
        heights = self.heights
        return TABLES[max(reversed(TABLES), key=lambda name: heights[name])]

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        names = ("ok", "error", "error_message", "halted", "ip", "cycles")
        lists = ("output", "final_stack")
        more = ("public_left", "secret_left", "digests_left", "program_len")
        priced = ("heights", "height", "dominant_table", "padded_height")
        return {
            **{name: getattr(self, name) for name in names},
            **{name: list(getattr(self, name)) for name in lists},
            "ram": [[address, word] for address, word in self.ram.items()],
            "sponge": None if self.sponge is None else list(self.sponge),
            "jump_stack": [list(entry) for entry in self.jump_stack],
            **{name: getattr(self, name) for name in more},
            "program_digest": list(self.program_digest),
            **{name: getattr(self, name) for name in priced},
        }


# the tables, and what the real machine calls them; where two are equally tall, the last one dominates
TABLES = {
    "program": "Program",
    "processor": "Processor",
    "op_stack": "OpStack",
    "ram": "Ram",
    "jump_stack": "JumpStack",
    "hash": "Hash",
    "cascade": "Cascade",
    "lookup": "Lookup",
    "u32": "U32",
}


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a run begins with, checked. public, secret u64[n]; digests u64[n, 5]; ram u64[n, 2]: address, word; stack
    u64[n], what is injected above the first sixteen words, the last on top; sponge u64[16] or None."""

    public: NDArray[np.uint64]
    secret: NDArray[np.uint64]
    digests: NDArray[np.uint64]
    ram: NDArray[np.uint64]
    stack: NDArray[np.uint64]
    sponge: NDArray[np.uint64] | None
    memory_limit: int


@dataclass(frozen=True, slots=True)
class Step:
    """The machine before an instruction. `instruction` is as it is written; stack and jump_stack as in `Outcome`."""

    cycle: int
    ip: int
    instruction: str
    stack: tuple[int, ...]
    jump_depth: int
    outcome: Outcome | None = None


def run(
    program: Program | str,
    *,
    public: Words = (),
    secret: Words = (),
    digests: Iterable[Words] = (),
    ram: Ram | None = None,
    stack: Words = (),
    sponge: Words | None = None,
    max_cycles: int = MAX_CYCLES,
    memory_limit: int = MEMORY_LIMIT,
) -> Outcome:
    """Run a program, or a program's text, to its end.

    Args:
        public, secret: words to be read by `read_io` and `divine`. digests: five words each, for `merkle_step`.
        ram: words that are there from the beginning. stack: words on top of the first sixteen, the last on top.
        sponge: sixteen words, for a run that begins in the middle of something.
        max_cycles: after so many the run ends with the error "CycleLimit".
        memory_limit: bytes for stack, RAM, jump stack and output; beyond it the error is "MemoryLimit".
    Raises:
        ParseError: the text is no program. UsageError: an input is not what it should be.

    Cost: 3 to 4 ns for a simple instruction, 1.1 us for a permutation; 20 us for the call.

    >>> run("push 2 push 3 add write_io 1 halt")
    Outcome(ok, 5 cycles, output=[5])
    """
    machine = _machine_for(program, public, secret, digests, ram, stack, sponge, memory_limit)
    status = machine.go(integer(max_cycles, "max_cycles", 0, 2**62))
    return Outcome(machine, status)


def trace(
    program: Program | str,
    *,
    public: Words = (),
    secret: Words = (),
    digests: Iterable[Words] = (),
    ram: Ram | None = None,
    stack: Words = (),
    sponge: Words | None = None,
    max_cycles: int = MAX_CYCLES,
    memory_limit: int = MEMORY_LIMIT,
) -> Iterator[Step]:
    """Run step by step, by the same kernel: a `Step` before each instruction, the last one with the outcome.

    Arguments and errors are those of `run`. Cost: about 10 us and a copy of the stack a step.

    >>> [step.instruction for step in trace("push 2 pop 1 halt")]
    ['push 2', 'pop 1', 'halt', '']
    """
    machine = _machine_for(program, public, secret, digests, ram, stack, sponge, memory_limit)
    limit = integer(max_cycles, "max_cycles", 0, 2**62)
    return _steps(machine, limit)


def _steps(machine: _Machine, limit: int) -> Iterator[Step]:
    while True:
        cycle = int(machine.state[CYCLES])
        step = machine.step_now()
        status = machine.go(min(cycle + 1, limit))
        if status == _LIMITED and machine.state[CYCLES] < limit:
            yield step
            continue
        if machine.state[CYCLES] > cycle or status != _LIMITED:
            yield step
        outcome = Outcome(machine, status)
        yield Step(outcome.cycles, outcome.ip, "", outcome.final_stack, len(outcome.jump_stack), outcome)
        return


def _machine_for(
    program: Program | str, public: Words, secret: Words, digests: Iterable[Words], ram: Ram | None, stack: Words,
    sponge: Words | None, memory_limit: int,
) -> _Machine:  # fmt: skip
    """A machine that is about to run, of what callers give. Raises: as `run`."""
    if isinstance(program, str):
        program = parse(program)
    rows = [as_words(row, "digests", DIGEST) for row in _iterated(digests, "digests")]
    inputs = Inputs(
        public=as_words(public, "public"),
        secret=as_words(secret, "secret"),
        digests=np.array(rows, np.uint64).reshape(-1, DIGEST),
        ram=_pairs(ram),
        stack=as_words(stack, "stack"),
        sponge=None if sponge is None else as_words(sponge, "sponge", 16),
        memory_limit=integer(memory_limit, "memory_limit", 0, 2**62),
    )
    return _Machine(program, inputs)


def _iterated(values: Any, name: str) -> list[Any]:
    try:
        return list(values)
    except TypeError:
        raise UsageError(f"expected a sequence, got {values!r}", name) from None


def _pairs(ram: Ram | None) -> NDArray[np.uint64]:
    """u64[n, 2]; of an address that is given twice the last word counts."""
    if ram is None:
        return np.zeros((0, 2), np.uint64)
    rows = list(ram.items()) if isinstance(ram, Mapping) else _iterated(ram, "ram")
    try:
        flat = [word for address, value in rows for word in (address, value)]
    except (TypeError, ValueError):
        raise UsageError("expected a mapping, or pairs of address and word", "ram") from None
    return as_words(flat, "ram").reshape(-1, 2)


def table_salt() -> int:
    """What the tables of this process are salted with."""
    return _SALT


class GivenRam:
    """A table of words that are there from the beginning, as the kernel takes it.

    Attributes: keys, values u64[slots], used u8[slots].
    """

    def __init__(self, pairs: NDArray[np.uint64]) -> None:
        slots = 1 << (2 * len(pairs) - 1).bit_length() if len(pairs) else 0
        self.keys, self.values = np.zeros(slots, np.uint64), np.zeros(slots, np.uint64)
        self.used = np.zeros(slots, np.uint8)
        self.mask = slots - 1
        if slots:
            from ostinato.triton.machine_kernels import give_all

            give_all(self.keys, self.values, self.used, 0, self.mask, _SALT, pairs)


class _Machine:
    """The arrays of one run."""

    def __init__(self, program: Program, inputs: Inputs, recorded: bool = False) -> None:
        self.program, self.inputs = program, inputs
        self.given = GivenRam(inputs.ram)
        self.stack = np.zeros(MIN_DEPTH + len(inputs.stack) + 256, np.uint64)
        self.stack[:DIGEST] = program.digest[::-1]
        self.stack[MIN_DEPTH : MIN_DEPTH + len(inputs.stack)] = inputs.stack
        self.jumps = np.zeros(2 * 64, np.int64)
        self.ram, self.stamps = np.zeros(2 * 64, np.uint64), np.zeros(64, np.int64)
        self.output = np.zeros(64, np.uint64)
        self.sponge = np.zeros(16, np.uint64) if inputs.sponge is None else inputs.sponge.copy()
        self.detail = np.zeros(2, np.uint64)
        self.cascade = np.zeros(65_536, np.uint8) if recorded else None
        self.entries = np.zeros(3 * 64, np.uint64) if recorded else None
        self.limit = 0
        state = self.state = np.zeros(STATE_SLOTS, np.int64)
        state[SP] = MIN_DEPTH + len(inputs.stack)
        state[LAST] = len(program.opcodes)
        state[PUBLIC_END], state[SECRET_END] = len(inputs.public), len(inputs.secret)
        state[DIGESTS_END] = len(inputs.digests)
        state[SPONGE] = inputs.sponge is not None
        state[STAMP], state[SALT] = 1, _SALT
        state[GIVEN_FIRST], state[GIVEN_MASK] = 0, self.given.mask

    def go(self, limit: int) -> int:
        """Run until something ends it, or so many cycles have passed; the status."""
        from ostinato.triton.machine_kernels import execute

        self.limit = limit
        state = self.state
        while True:
            state[LIMIT] = min(limit, int(state[CYCLES]) + _SLICE)
            status: int = execute(
                *_code(self.program), self.stack, self.jumps, self.ram, self.stamps, self.given.keys,
                self.given.values, self.given.used, self.sponge, self.inputs.public, self.inputs.secret,
                self.inputs.digests.reshape(-1), self.output, state, self.detail, self.cascade, self.entries,
            )  # fmt: skip
            if status == _LIMITED and state[CYCLES] < limit:
                continue
            if status >= 0:
                return status
            if self._bytes() > self.inputs.memory_limit:
                return len(ERRORS) - 1
            self._grow(status)

    def _bytes(self) -> int:
        """Bytes of what grows, once the largest is twice as large."""
        sizes = [a.nbytes for a in (self.stack, self.jumps, self.ram, self.stamps, self.output)]
        return sum(sizes) + max(sizes)

    def _grow(self, need: int) -> None:
        if need == NEED_STACK:
            self.stack = _doubled(self.stack)
        elif need == NEED_JUMPS:
            self.jumps = _doubled(self.jumps)
        elif need == NEED_OUTPUT:
            self.output = _doubled(self.output)
        elif need == NEED_RAM:
            from ostinato.triton.machine_kernels import move_ram

            larger, stamps = np.zeros(2 * len(self.ram), np.uint64), np.zeros(2 * len(self.stamps), np.int64)
            move_ram(self.ram, self.stamps, larger, stamps, self.state)
            self.ram, self.stamps = larger, stamps
        else:
            from ostinato.triton.machine_kernels import move_u32

            assert self.entries is not None
            more = np.zeros(2 * len(self.entries), np.uint64)
            move_u32(self.entries, more, self.state)
            self.entries = more

    def message(self, status: int) -> str:
        """An error in the words of the real machine."""
        word, other = (shown_word(int(w)) for w in self.detail)
        place = int(self.state[DETAIL])
        name = ERRORS[status]
        if name in ("AssertionFailed", "VectorAssertionFailed"):
            known = self.program.error_ids.get(int(self.state[IP]))
            tag = "" if known is None else f"[{known}] "
            if name == "AssertionFailed":
                return f"assertion failed: {tag}expected 1, got {word}"
            return (
                f"vector assertion failed because stack[{place}] != stack[{place + DIGEST}]: "
                f"{tag}expected {word}, got {other}"
            )
        return {
            "InstructionPointerOverflow": "instruction pointer points outside of program",
            "OpStackError.TooShallow": "operational stack is too shallow",
            "OpStackError.FailedU32Conversion": f"failed to convert BFieldElement {word} into u32",
            "JumpStackIsEmpty": "jump stack is empty",
            "InverseOfZero": "0 does not have a multiplicative inverse",
            "DivisionByZero": "division by 0 is impossible",
            "LogarithmOfZero": "the logarithm of 0 does not exist",
            "EmptyPublicInput": f"public input buffer is empty after {place} reads",
            "EmptySecretInput": f"secret input buffer is empty after {place} reads",
            "EmptySecretDigestInput": "no more secret digests available",
            "SpongeNotInitialized": "the Sponge state must be initialized before it can be used",
            "CycleLimit": f"no halt within {self.limit} cycles",
            "MemoryLimit": f"more than {self.inputs.memory_limit} bytes of memory are needed",
        }[name]

    def stack_top_first(self) -> tuple[int, ...]:
        return tuple(self.stack[: self.state[SP]][::-1].tolist())

    def ram_now(self) -> dict[int, int]:
        words = dict(self.inputs.ram.tolist())
        live = np.flatnonzero(self.stamps == self.state[STAMP])
        words.update(self.ram.reshape(-1, 2)[live].tolist())
        return dict(sorted(words.items()))

    def jumps_now(self) -> tuple[tuple[int, int], ...]:
        addresses = self.program.addresses
        rows = self.jumps[: 2 * self.state[JUMPS]].reshape(-1, 2).tolist()
        return tuple((addresses[back], addresses[target]) for back, target in rows)

    def step_now(self) -> Step:
        at = int(self.state[IP])
        known = at < len(self.program.opcodes)
        return Step(
            int(self.state[CYCLES]),
            self.program.addresses[at],
            self.program.instruction(at) if known else "",
            self.stack_top_first(),
            int(self.state[JUMPS]),
        )


def _doubled(array: NDArray[Any]) -> NDArray[Any]:
    larger: NDArray[Any] = np.zeros(2 * len(array), array.dtype)
    larger[: len(array)] = array
    return larger


def shown_word(word: int) -> str:
    """A word as the real machine shows it: small ones and small negative ones short, others with twenty digits."""
    if word >= P - 256:
        return f"-{P - word}"
    return str(word) if word <= 256 else f"{word:020}"


def _heights(program: Program, inputs: Inputs, cycles: int) -> dict[str, int]:
    from ostinato.triton.tip5_kernels import hash_words

    machine = _Machine(program, inputs, recorded=True)
    machine.go(cycles)
    hash_words(np.array(program.words, np.uint64), machine.cascade)
    assert machine.cascade is not None
    words = program.addresses[-1]
    return {
        "program": 10 * -(-(words + 1) // 10),
        "processor": cycles,
        "op_stack": int(machine.state[OP_STACK_ROWS]),
        "ram": int(machine.state[RAM_ROWS]),
        "jump_stack": cycles,
        "hash": 6 * (words // 10 + 1) + int(machine.state[HASH_ROWS]),
        "cascade": int(machine.cascade.sum(dtype=np.int64)),
        "lookup": 256,
        "u32": int(machine.state[U32_ROWS]),
    }
