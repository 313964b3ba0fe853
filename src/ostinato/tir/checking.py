"""Is a program one? Depths, ranges, labels, and where what is wrong stands.

Rule of this file: what passes here can be lowered and interpreted, and never reaches below its arguments.
"""

from __future__ import annotations

import re

from ostinato.errors import UsageError
from ostinato.goldilocks import P
from ostinato.tir.operations import BY_NAME, RANGES
from ostinato.tir.program import TYPES, Op, Program, Subroutine
from ostinato.triton.isa import BY_OPCODE
from ostinato.triton.parsing import LABEL_KEYWORDS, ParseError, parse

MAX_NESTING = 64
MAX_OPERATIONS = 1 << 20
MAX_WORDS = 256  # that a function takes or leaves

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_JUMPS = {"call", "return", "recurse", "recurse_or_return", "halt", "skiz"}
_HASH = re.compile(r"[0-9a-f]{64}")


def check(program: Program) -> Program:
    """The program itself, if it is right.

    Raises:
        UsageError: an operation is unknown, has a wrong argument, finds too few words or calls what is not there; says
            in which line, or at which operation. TypeError: it is no Program.
    """
    if not isinstance(program, Program):
        raise TypeError(f"expected a tir.Program, got {type(program).__name__}")
    _Checker(program).check()
    return program


def instructions_of(op: Op) -> list[tuple[int, int]]:
    """The (opcode, argument) of an `asm`'s lines.

    Raises:
        UsageError: a line is no instruction, or one that jumps.
    """
    found = []
    for line in op.lines:
        try:
            one = parse(line)
        except ParseError as error:
            raise UsageError(f"in `asm`: expected {error.expected}, got {error.got}") from None
        if len(one.opcodes) != 1 or one.labels or BY_OPCODE[one.opcodes[0]].name in _JUMPS:
            raise UsageError(
                f"in `asm`: expected one instruction a line, and none that jumps, got `{line:.40}`"
            )
        found.append((one.opcodes[0], one.arguments[0]))
    return found


class _Checker:
    def __init__(self, program: Program) -> None:
        self._program = program
        self._count = 0
        self._known: dict[str, Subroutine] = {}

    def check(self) -> None:
        program = self._program
        self._label(program.name, program.name)
        for what, values in (("argument", program.arguments), ("result", program.results)):
            if len(values) > MAX_WORDS:
                raise UsageError(f"expected at most {MAX_WORDS} {what}s, got {len(values)}", program.name)
            for value in values:
                if not NAME.fullmatch(value.name):
                    raise UsageError(f"expected a name for an {what}, got {value.name!r:.40}", program.name)
                if value.type not in TYPES:
                    raise UsageError(
                        f"expected a type, one of {', '.join(TYPES)}, got {value.type!r:.40}", program.name
                    )
        for one in program.subroutines:
            self._label(one.name, one.name)
            if one.name == program.name or one.name in self._known:
                raise UsageError("there are two functions of this name", one.name)
            if not (0 <= one.takes <= MAX_WORDS and 0 <= one.leaves <= MAX_WORDS):
                raise UsageError(f"a subroutine takes and leaves at most {MAX_WORDS} words", one.name)
            self._known[one.name] = one
        self._function(program.name, program.body, len(program.arguments), len(program.results))
        for one in program.subroutines:
            self._function(one.name, one.body, one.takes, one.leaves)

    def _label(self, name: str, where: str) -> None:
        if not NAME.fullmatch(name) or name in LABEL_KEYWORDS:
            raise UsageError(
                f"expected a name that is no instruction of the machine, got {name!r:.40}", where
            )

    def _function(self, name: str, body: tuple[Op, ...], takes: int, leaves: int) -> None:
        if body and body[-1].name == "return":
            self._count += 1
            body = body[:-1]
        depth = self._body(name, body, takes, 0)
        if depth is not None and depth != leaves:
            where = f"{name}, line {body[-1].line}" if body and body[-1].line else name
            raise UsageError(f"it ends with {_words(depth)}, and should leave {leaves}", where)

    def _body(self, where: str, body: tuple[Op, ...], depth: int, nesting: int) -> int | None:
        """The depth after it, or None where nothing comes after it."""
        if nesting > MAX_NESTING:
            raise UsageError(f"bodies are nested more than {MAX_NESTING} deep", where)
        at: int | None = depth
        for k, op in enumerate(body):
            here = f"{where}, line {op.line}" if op.line else f"{where}[{k}]"
            self._count += 1
            if self._count > MAX_OPERATIONS:
                raise UsageError(f"expected at most {MAX_OPERATIONS:,} operations", here)
            if at is None:
                raise UsageError(f"`{op.name}` stands behind what stops the machine", here)
            at = self._op(here, op, at, nesting)
        return at

    def _op(self, here: str, op: Op, depth: int, nesting: int) -> int | None:
        row = BY_NAME.get(op.name)
        if row is None or row.structure == "function":
            raise UsageError(f"expected an operation, got {op.name!r:.40}", here)
        if row.structure == "asm":
            return self._asm(here, op, depth)
        if len(op.arguments) != len(row.arguments):
            raise UsageError(f"`{op.name}` has {len(row.arguments)} arguments, got {len(op.arguments)}", here)
        for (letter, kind), value in zip(row.arguments, op.arguments, strict=True):
            if value not in RANGES[kind]:
                raise UsageError(f"`{op.name}`: expected {letter} to be {_range(kind)}, got {value}", here)
        takes, leaves = row.effect(op.arguments)
        if op.name in ("call", "entry"):
            callee = self._known.get(op.text)
            if callee is None:
                raise UsageError(f"`{op.name}`: there is no subroutine {op.text!r:.40}", here)
            takes, leaves = callee.takes, callee.leaves
        if takes > depth:
            raise UsageError(f"`{op.name}` takes {_words(takes)}, there are {depth}", here)
        after = depth - takes + leaves
        if op.name == "return":
            raise UsageError("`return` stands at the end of a function alone", here)
        if op.name in ("halt", "entry"):
            return None
        if op.name == "if":
            return self._both(here, op, after, nesting)
        if op.name in ("if_only", "loop", "proof_block"):
            return self._one(here, op, after, nesting)
        return after

    def _both(self, here: str, op: Op, depth: int, nesting: int) -> int | None:
        ends = [self._body(f"{here}.{name}", body, depth, nesting + 1) for name, body in (("then", op.body), ("else", op.orelse))]  # fmt: skip
        if None not in ends and ends[0] != ends[1]:
            raise UsageError(
                f"`if` ends with {_words(ends[0] or 0)} on one way and {ends[1]} on the other", here
            )
        return ends[1] if ends[0] is None else ends[0]

    def _one(self, here: str, op: Op, depth: int, nesting: int) -> int | None:
        if op.name == "proof_block" and not _HASH.fullmatch(op.text):
            raise UsageError(f"`proof_block`: expected 64 hexadecimal digits, got {op.text!r:.70}", here)
        if op.name == "loop" and op.text and not NAME.fullmatch(op.text):
            raise UsageError(f"`loop`: expected a name, got {op.text!r:.40}", here)
        end = self._body(f"{here}.body", op.body, depth, nesting + 1)
        if op.name == "proof_block":
            return end
        if end is not None and end != depth:
            raise UsageError(f"the body of `{op.name}` begins with {_words(depth)} and ends with {end}", here)
        return depth

    def _asm(self, here: str, op: Op, depth: int) -> int:
        if len(op.arguments) != 1:
            raise UsageError(f"`asm` has 1 argument, its effect, got {len(op.arguments)}", here)
        at = depth
        try:
            for opcode, argument in instructions_of(op):
                row = BY_OPCODE[opcode]
                if row.reach(argument) > at:
                    raise UsageError(f"in `asm`: `{row.name}` looks at {_words(row.reach(argument))}, there are {at}")  # fmt: skip
                at += row.depth_change(argument)
        except UsageError as error:
            raise UsageError(error.cause, here) from None
        if at - depth != op.arguments[0]:
            raise UsageError(f"`asm` says {op.arguments[0]:+d} words, its lines leave {at - depth:+d}", here)
        return at


def _words(count: int) -> str:
    return f"{count} word" if count == 1 else f"{count} words"


def _range(kind: str) -> str:
    values = RANGES[kind]  # type: ignore[index]
    if kind == "word":
        return f"in [0, {P})"
    return "1 or 5" if kind == "assertion" else f"{values[0]} to {values[-1]}"
