"""Canonical bytes of a program, and the hash that names it (FORMAT.md, "TIR programs").

Rule of this file: what changes the question changes the bytes, and nothing else does: names, comments and subroutines that nobody
calls are left out, subroutines are numbered as they are first called.
"""

from __future__ import annotations

import struct

from ostinato.errors import DamageError, UsageError, VersionError
from ostinato.tir.checking import MAX_NESTING, check, instructions_of
from ostinato.tir.operations import BY_NAME, OPERATIONS, RANGES
from ostinato.tir.poseidon2 import poseidon2
from ostinato.tir.program import TYPES, Op, Program, Subroutine, Value, walk
from ostinato.triton.isa import BY_OPCODE

VERSION = 1
MAX_BYTES = 16 << 20


def cid(program: Program) -> bytes:
    """The content hash, 32 bytes: Poseidon2 of the canonical bytes. It is a build result's `tir_hash`.

    Raises:
        UsageError: the program is wrong, see `check`.

    Cost: 2.5 us a byte, some hundred us for a short function.
    """
    return poseidon2(to_bytes(program))


def to_bytes(program: Program) -> bytes:
    """The canonical bytes, version 1.

    Raises:
        UsageError: the program is wrong, see `check`.
    """
    check(program)
    known = {one.name: one for one in program.subroutines}
    order: dict[str, int] = {}
    bodies = [program.body]
    for body in bodies:  # grows while it is walked
        for op in walk(body):
            if op.name in ("call", "entry") and op.text not in order:
                order[op.text] = len(order)
                bodies.append(known[op.text].body)
    if len(order) >= 2**16:
        raise UsageError("expected fewer than 65,536 subroutines", program.name)
    out = bytearray([VERSION])
    for values in (program.arguments, program.results):
        out += struct.pack("<H", len(values)) + bytes(TYPES.index(value.type) for value in values)
    out += struct.pack("<H", len(order))
    _put_body(out, program.body, order)
    for name in order:
        one = known[name]
        out += struct.pack("<HH", one.takes, one.leaves)
        _put_body(out, one.body, order)
    return bytes(out)


def _kept(body: tuple[Op, ...]) -> list[Op]:
    """Without what means nothing: comments, and the `return` that a function may end with."""
    return [op for op in body if op.name not in ("comment", "return")]


def _put_body(out: bytearray, body: tuple[Op, ...], order: dict[str, int]) -> None:
    ops = _kept(body)
    out += struct.pack("<I", len(ops))
    for op in ops:
        row = BY_NAME[op.name]
        out.append(row.number)
        if row.structure == "asm":
            instructions = instructions_of(op)
            out += struct.pack("<I", len(instructions))
            for opcode, argument in instructions:
                out.append(opcode)
                if BY_OPCODE[opcode].argument is not None:
                    out += struct.pack("<Q", argument)
            continue
        for (_, kind), value in zip(row.arguments, op.arguments, strict=True):
            out += struct.pack("<Q" if kind == "word" else "<B", value)
        if row.structure == "label":
            out += struct.pack("<H", order[op.text])
        if op.name == "proof_block":
            out += bytes.fromhex(op.text)
        if row.structure in ("body", "branches"):
            _put_body(out, op.body, order)
        if row.structure == "branches":
            _put_body(out, op.orelse, order)


def from_bytes(data: bytes, name: str = "program") -> Program:
    """The program of canonical bytes; arguments, results and subroutines get names like a0, r0 and s0.

    Raises:
        DamageError: they are none, or not canonical; says at which byte. VersionError: of a newer version.

    Cost: about 5 us an operation.
    """
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise UsageError(f"expected bytes, got {type(data).__name__}", "data")
    data = bytes(data)
    if len(data) > MAX_BYTES:
        raise DamageError(f"expected at most {MAX_BYTES:,} bytes, got {len(data):,}")
    reader = _Reader(data)
    version = reader.number("<B")
    if version > VERSION:
        raise VersionError(f"TIR bytes of version {version}; this Ostinato reads {VERSION}")
    if version != VERSION:
        raise DamageError(f"expected version {VERSION}, got {version}", offset=0)
    arguments, results = reader.values("a"), reader.values("r")
    count = reader.number("<H")
    body = reader.body(0)
    subroutines = []
    for k in range(count):
        takes, leaves = reader.number("<H"), reader.number("<H")
        subroutines.append(Subroutine(f"s{k}", takes, leaves, reader.body(0)))
    if reader.at != len(data):
        raise DamageError(f"expected the end, {len(data) - reader.at} bytes follow", offset=reader.at)
    program = Program(name, arguments, results, body, tuple(subroutines))
    try:
        same = to_bytes(program) == data
    except UsageError as error:
        raise DamageError(f"no program: {error}") from None
    if not same:
        raise DamageError("not the canonical bytes of this program")
    return program


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise DamageError(
                f"expected {count} bytes more, there are {len(self.data) - self.at}", offset=self.at
            )
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, code: str) -> int:
        (value,) = struct.unpack(code, self.take(struct.calcsize(code)))
        return int(value)

    def values(self, letter: str) -> tuple[Value, ...]:
        count, at = self.number("<H"), self.at
        kinds = self.take(count)
        for k, kind in enumerate(kinds):
            if kind >= len(TYPES):
                raise DamageError(f"expected a type below {len(TYPES)}, got {kind}", offset=at + k)
        return tuple(Value(f"{letter}{k}", TYPES[kind]) for k, kind in enumerate(kinds))

    def body(self, nesting: int) -> tuple[Op, ...]:
        if nesting > MAX_NESTING:
            raise DamageError(f"bodies are nested more than {MAX_NESTING} deep", offset=self.at)
        return tuple(self.op(nesting) for _ in range(self.count()))

    def count(self) -> int:
        """How many things follow, each of at least one byte."""
        count, at = self.number("<I"), self.at - 4
        if count > len(self.data) - self.at:
            raise DamageError(f"{count:,} operations do not fit into what follows", offset=at)
        return count

    def op(self, nesting: int) -> Op:
        at = self.at
        number = self.number("<B")
        if number >= len(OPERATIONS) or OPERATIONS[number].structure in ("function", "text"):
            raise DamageError(f"expected an operation, got number {number}", offset=at)
        row = OPERATIONS[number]
        if row.structure == "asm":
            return self.asm()
        arguments = []
        for letter, kind in row.arguments:
            arguments.append(self.number("<Q" if kind == "word" else "<B"))
            if arguments[-1] not in RANGES[kind]:
                raise DamageError(f"`{row.name}`: {letter} cannot be {arguments[-1]}", offset=at)
        text = f"s{self.number('<H')}" if row.structure == "label" else ""
        if row.name == "proof_block":
            text = self.take(32).hex()
        body = self.body(nesting + 1) if row.structure in ("body", "branches") else ()
        orelse = self.body(nesting + 1) if row.structure == "branches" else ()
        return Op(row.name, tuple(arguments), text, (), body, orelse)

    def asm(self) -> Op:
        lines, effect = [], 0
        for _ in range(self.count()):
            at = self.at
            row = BY_OPCODE.get(self.number("<B"))
            if row is None or row.argument == "label":
                raise DamageError("in `asm`: expected an instruction that does not jump", offset=at)
            argument = self.number("<Q") if row.argument is not None else 0
            lines.append(row.name if row.argument is None else f"{row.name} {argument}")
            effect += row.depth_change(argument if row.argument is not None else 1)
            if row.argument in ("count", "register") and argument > 15:
                raise DamageError(f"in `asm`: `{row.name}` cannot have {argument}", offset=at)
        return Op("asm", (effect,), lines=tuple(lines))
