"""TIR texts: one operation a line, structures closed by `end`, functions with named and typed arguments.

    // a file may hold many functions, each with the subroutines behind it
    fn distance(a: u32, b: u32) -> (d: u32)
        // The difference of two words, whichever is larger.
        dup 1
        ...
    end

Rule of this file: lines in, operations out, and back; whether they make sense is `checking`'s business. What is refused is
refused with line and column.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ostinato.errors import UsageError
from ostinato.goldilocks import P
from ostinato.tir.checking import MAX_NESTING, NAME, check
from ostinato.tir.operations import BY_NAME
from ostinato.tir.program import TYPES, Op, Program, Subroutine, Value
from ostinato.triton.parsing import ParseError

_FN = re.compile(r"fn\s+(\w+)\s*\(([^()]*)\)\s*->\s*\(([^()]*)\)")
_SUB = re.compile(r"sub\s+(\w+)\s+([0-9]{1,4})\s*->\s*([0-9]{1,4})")
_VALUE = re.compile(r"\s*(\w+)\s*:\s*(\w+)\s*")
_NUMBER = re.compile(r"[+-]?[0-9]{1,40}")
_INDENT = "    "


def parse(text: str) -> Program:
    """The one program of a text.

    Raises:
        ParseError: it is none, or several; UsageError: one that is wrong, see `check`.

    >>> print(parse("fn double(a: field) -> (b: field)\\n push 2\\n mul\\nend"))
    fn double(a: field) -> (b: field)
        push 2
        mul
    end
    """
    programs = parse_many(text)
    if len(programs) != 1:
        raise ParseError("one function", f"{len(programs)} of them", 1, 1)
    return programs[0]


def parse_many(text: str) -> list[Program]:
    """The programs of a text, each a `fn` with the `sub`s behind it, checked.

    Raises:
        ParseError: it is no such text; says where. UsageError: a program is wrong, see `check`; or it is no str.
    """
    if not isinstance(text, str):
        raise UsageError(f"expected text, got {type(text).__name__}", "text")
    programs = _Parser(text).programs()
    return [check(program) for program in programs]


class _Parser:
    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._at = 0

    def programs(self) -> list[Program]:
        found: list[Program] = []
        names: set[str] = set()
        while (line := self._next()) is not None:
            if line.startswith("//") or not line:
                continue
            if match := _FN.fullmatch(line):
                if match[1] in names:
                    raise self._error("a function that is not there yet", match[1])
                names.add(match[1])
                arguments, results = self._values(match[2]), self._values(match[3])
                found.append(Program(match[1], arguments, results, self._function()))
            elif (match := _SUB.fullmatch(line)) and found:
                one = Subroutine(match[1], int(match[2]), int(match[3]), self._function())
                last = found[-1]
                found[-1] = Program(
                    last.name, last.arguments, last.results, last.body, (*last.subroutines, one)
                )
            else:
                wanted = "`fn name(argument: type, ..) -> (result: type, ..)`"
                raise self._error(wanted + (" or `sub name TAKES -> LEAVES`" if found else ""), line)
        return found

    def _next(self) -> str | None:
        """The next line without white space around it and without a comment behind it; None at the end."""
        if self._at >= len(self._lines):
            return None
        line = self._lines[self._at].strip()
        self._at += 1
        if not line.startswith("//"):
            line = line.partition("//")[0].rstrip()
        return line

    def _error(self, expected: str, got: str) -> ParseError:
        raw = self._lines[self._at - 1] if self._at else ""
        column = len(raw) - len(raw.lstrip()) + 1
        return ParseError(expected, f"`{got[:60]}`" if got else "nothing", max(self._at, 1), column)

    def _values(self, text: str) -> tuple[Value, ...]:
        if not text.strip():
            return ()
        values = []
        for part in text.split(","):
            match = _VALUE.fullmatch(part)
            if match is None or match[2] not in TYPES:
                raise self._error(f"`name: type` with a type of {', '.join(TYPES)}", part.strip())
            values.append(Value(match[1], match[2]))
        if len({value.name for value in values}) != len(values):
            raise self._error("names that differ", text.strip())
        return tuple(values)

    def _function(self) -> tuple[Op, ...]:
        body, _ = self._body(0)
        return body

    def _body(self, nesting: int, *, branches: bool = False) -> tuple[tuple[Op, ...], str]:
        """The operations up to `end` (or `else`), and which of them it was."""
        if nesting > MAX_NESTING:
            raise self._error(
                f"at most {MAX_NESTING} bodies in each other", self._lines[self._at - 1].strip()
            )
        ops: list[Op] = []
        while (line := self._next()) is not None:
            if not line:
                continue
            if line == "end" or (branches and line == "else"):
                return tuple(ops), line
            ops.append(self._op(line, nesting))
        raise ParseError("`end`", "the end of the text", len(self._lines), 1)

    def _op(self, line: str, nesting: int) -> Op:
        here = self._at
        if line.startswith("//"):
            return Op("comment", text=line[2:].strip(), line=here)
        name, *words = line.split()
        row = BY_NAME.get(name)
        if row is None or row.structure in ("function", "text"):
            raise self._error("an operation, or `end`", name)
        if row.structure == "asm":
            return Op(name, (self._number(words, line),), lines=self._asm(), line=here)
        if row.structure == "label":
            if len(words) != 1 or not NAME.fullmatch(words[0]):
                raise self._error(f"`{name}` and the name of a subroutine", line)
            return Op(name, text=words[0], line=here)
        if row.structure == "branches":
            if words:
                raise self._error(f"`{name}` alone", line)
            body, end = self._body(nesting + 1, branches=True)
            orelse = self._body(nesting + 1)[0] if end == "else" else ()
            return Op(name, body=body, orelse=orelse, line=here)
        if row.structure == "body":
            if len(words) > (name != "if_only") or (name == "proof_block" and not words):
                raise self._error({"loop": "`loop` and perhaps a name", "if_only": "`if_only` alone"}.get(name, "`proof_block` and its hash"), line)  # fmt: skip
            body, _ = self._body(nesting + 1)
            return Op(name, text=words[0] if words else "", body=body, line=here)
        if len(words) != len(row.arguments):
            wanted = " ".join([name, *(letter.upper() for letter, _ in row.arguments)])
            raise self._error(f"`{wanted}`", line)
        return Op(name, tuple(self._word(word, kind == "word") for word, (_, kind) in zip(words, row.arguments, strict=True)), line=here)  # fmt: skip

    def _number(self, words: Sequence[str], line: str) -> int:
        if len(words) != 1 or not _NUMBER.fullmatch(words[0]):
            raise self._error("`asm EFFECT`, how many words more or less its lines leave", line)
        return int(words[0])

    def _word(self, word: str, field: bool) -> int:
        if not _NUMBER.fullmatch(word):
            raise self._error("a number", word)
        value = int(word)
        if field and not -P < value < P:
            raise self._error("a number between -p and p", word)
        return value % P if field else value

    def _asm(self) -> tuple[str, ...]:
        lines: list[str] = []
        while (line := self._next()) is not None:
            if line == "end":
                return tuple(lines)
            if line and not line.startswith("//"):
                lines.append(" ".join(line.split()))
        raise ParseError("`end`", "the end of the text", len(self._lines), 1)


def format(program: Program) -> str:
    """The text of a program, as `parse` reads it: `parse(format(program)) == program`."""

    def values(of: tuple[Value, ...]) -> str:
        return ", ".join(f"{value.name}: {value.type}" for value in of)

    lines = [f"fn {program.name}({values(program.arguments)}) -> ({values(program.results)})"]
    lines += [*_lines(program.body, 1), "end"]
    for one in program.subroutines:
        lines += ["", f"sub {one.name} {one.takes} -> {one.leaves}", *_lines(one.body, 1), "end"]
    return "\n".join(lines)


def _lines(body: tuple[Op, ...], level: int) -> list[str]:
    out = []
    for op in body:
        words = [op.name, *(f"{value:+d}" if op.name == "asm" else str(value) for value in op.arguments)]
        if op.name == "comment":
            out += [_INDENT * level + f"// {line}".rstrip() for line in op.text.split("\n")]
            continue
        out.append(_INDENT * level + " ".join([*words, op.text] if op.text else words))
        out += [_INDENT * (level + 1) + line for line in op.lines]
        out += _lines(op.body, level + 1)
        if op.orelse:
            out += [_INDENT * level + "else", *_lines(op.orelse, level + 1)]
        if BY_NAME[op.name].structure in ("asm", "body", "branches"):
            out.append(_INDENT * level + "end")
    return out
