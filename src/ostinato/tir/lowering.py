"""TIR to TASM as an ordinary compiler does it: operation by operation, nothing saved. What candidates must beat.

Rule of this file: the table says what an operation becomes; here are the structures, which become subroutines behind the
block's `return`, and the few lowerings that depend on a number.
"""

from __future__ import annotations

from ostinato.tir.checking import check
from ostinato.tir.operations import BY_NAME
from ostinato.tir.program import Op, Program
from ostinato.triton.isa import RATE


def lower(program: Program) -> tuple[str, ...]:
    """The block's lines: its own instructions, and behind a `return` the subroutines that it needs.

    Raises:
        UsageError: the program is wrong, see `check`.

    Cost: about 2 us an operation.

    >>> from ostinato.tir import parse
    >>> lower(parse("fn difference(a: field, b: field) -> (d: field)\\n sub\\nend"))
    ('push -1', 'mul', 'add')
    """
    check(program)
    return _Lowering(program).lines()


class _Lowering:
    def __init__(self, program: Program) -> None:
        self._program = program
        self._behind: list[list[str]] = []
        taken = {one.name for one in program.subroutines}
        self._prefix = "_"
        while any(name.startswith(self._prefix) for name in taken):
            self._prefix += "_"
        self._count = 0

    def lines(self) -> tuple[str, ...]:
        lines = self._body(self._program.body)
        for one in self._program.subroutines:
            self._behind.append([f"{one.name}:", *self._body(one.body), "return"])
        if self._behind:
            lines.append("return")
        return tuple(lines + [line for lines in self._behind for line in lines])

    def _label(self, what: str) -> str:
        self._count += 1
        return f"{self._prefix}{what}_{self._count}"

    def _subroutine(self, what: str, before: list[str], body: tuple[Op, ...], after: list[str]) -> str:
        label = self._label(what)
        place = len(self._behind)
        self._behind.append([])
        self._behind[place] = [f"{label}:", *before, *self._body(body), *after]
        return f"call {label}"

    def _body(self, body: tuple[Op, ...]) -> list[str]:
        return [line for op in body for line in self._op(op)]

    def _op(self, op: Op) -> list[str]:
        match op.name:
            case "comment" | "return":  # a function ends where its lines end
                return []
            case "call":
                return [f"call {op.text}"]
            case "entry":
                return [f"call {op.text}", "halt"]
            case "if":
                first = self._subroutine("then", ["pop 1"], op.body, ["push 0", "return"])
                second = self._subroutine("else", [], op.orelse, ["return"])
                return ["push 1", "swap 1", "skiz", first, "skiz", second]
            case "if_only":
                return ["skiz", self._subroutine("only", [], op.body, ["return"])]
            case "loop":
                begin = ["dup 0", "push 0", "eq", "skiz", "return", "addi -1"]
                return [self._subroutine("loop", begin, op.body, ["recurse"])]
            case "proof_block":
                return self._body(op.body)
            case "asm":
                return list(op.lines)
            case "assert":
                return ["assert" if op.arguments[0] == 1 else "assert_vector"]
            case "reveal":
                tag, count = op.arguments
                return [f"push {tag}"] + ["write_io 1"] * (count + 1)
            case "seal":
                tag, count = op.arguments
                return ["push 0"] * (RATE - 1 - count) + [f"push {tag}", "hash", "write_io 5"]
        row = BY_NAME[op.name]
        named = {letter: value for (letter, _), value in zip(row.arguments, op.arguments, strict=True)}
        return [line.format(**named) for line in row.lowering]
