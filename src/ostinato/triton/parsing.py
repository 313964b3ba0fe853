"""Assembler text to a program and back.

Rule of this file: it accepts what the assembler of triton-vm 2.0.0 accepts and refuses what that refuses, and says where
and what it would have liked. Names and arguments of instructions come from `isa`. Nothing recurses, so that no text is too deep.

One deviation: letters in labels are Python's (`str.isalpha`), which leave out some combining marks that Rust counts as letters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ostinato.errors import UsageError
from ostinato.goldilocks import P
from ostinato.triton.isa import BY_NAME, COUNTS, REGISTERS, Instruction
from ostinato.triton.program import Program

# white space as Rust has it; a comment to the end of the line holds something, one in /* */ ends
_SPACE = r"[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
_SKIP = re.compile(rf"(?:{_SPACE}+|//[^\r\n]+|/\*.*?\*/)*", re.DOTALL)
_BLANK = re.compile(rf"{_SPACE}*")
_WORD = re.compile(r"[^\W\d][\w-]*")
_NUMBER = re.compile(r"[+-]?[0-9]+")
_DIGITS = re.compile(r"[0-9]+")
_HINT_NAME = re.compile(r"[a-z_][a-z_0-9]*")
_TYPE_NAME = re.compile(r"\**[^\W\d]\w*")
_KEYWORDS = frozenset({*BY_NAME, "hint", "break", "error_id", "error_message"})
LABEL_KEYWORDS = _KEYWORDS - {"break"}  # what no label may be

_TOO_LONG = 64  # digits, beside leading zeros, of a number that is out of range anyway
_ASSERTIONS = frozenset({"assert", "assert_vector"})
_ARGUMENTS = {
    "count": ("a number of words, 1 to 5", {str(n): n for n in COUNTS}),
    "register": ("a register, 0 to 15", {str(n): n for n in REGISTERS}),
}


class ParseError(UsageError):
    """The text is no program.

    Attributes:
        line, column: where, from 1. expected: what would have been right.
    """

    def __init__(self, expected: str, got: str, line: int, column: int) -> None:
        self.expected, self.got, self.line, self.column = expected, got, line, column
        super().__init__(f"line {line}, column {column}: expected {expected}, got {got}")

    def __reduce__(self) -> tuple[type[ParseError], tuple[str, str, int, int]]:  # type: ignore[override]
        return ParseError, (self.expected, self.got, self.line, self.column)


def parse(text: str) -> Program:
    """A program from its text.

    Raises:
        ParseError: it is none; says where, and what was expected. UsageError: it is no str.

    Cost: about 2 us an instruction.
    """
    if not isinstance(text, str):
        raise UsageError(f"expected text, got {type(text).__name__}", "text")
    return _Parser(text).program()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._opcodes: list[int] = []
        self._arguments: list[int] = []
        self._calls: list[tuple[int, str, int]] = []  # instruction, label, where it stands
        self._labels: dict[str, int] = {}
        self._error_ids: dict[int, int] = {}
        self._hints: list[tuple[int, str]] = []
        self._breakpoints: list[int] = []

    def program(self) -> Program:
        text, end = self._text, len(self._text)
        at = self._skip(0)
        asserted = False  # was the last thing an assertion?
        while at < end:
            found = _WORD.match(text, at)
            if found is None or not _begins_label(found[0]):
                raise self._error("a label, an instruction or the end", at)
            word, behind = found[0], found.end()
            row = BY_NAME.get(word)
            if row is not None and self._is_no_label(behind):
                at = self._instruction(row, behind)
                asserted = word in _ASSERTIONS
                continue
            if word == "error_id" and self._is_no_label(behind):
                if not asserted:
                    raise self._error("`error_id` right behind `assert` or `assert_vector` only", at)
                at = self._error_id(behind)
            elif word == "break" and self._is_no_label(behind):
                self._breakpoints.append(len(self._opcodes))
                at = self._boundary(behind)
            elif word == "hint" and self._is_no_label(behind):
                at = self._hint(behind)
            else:
                at = self._label(word, at, behind)
            asserted = False
        for i, label, place in self._calls:
            if label not in self._labels:
                raise self._error("a label that there is", place)
            self._arguments[i] = self._labels[label]
        return Program(
            tuple(self._opcodes),
            tuple(self._arguments),
            self._labels,
            self._error_ids,
            tuple(self._hints),
            tuple(self._breakpoints),
        )

    def _skip(self, at: int) -> int:
        """Behind white space and comments."""
        found = _SKIP.match(self._text, at)
        assert found is not None
        return found.end()

    def _blank(self, at: int) -> int:
        """Behind white space."""
        found = _BLANK.match(self._text, at)
        assert found is not None
        return found.end()

    def _boundary(self, at: int) -> int:
        """Behind the white space, comment or end that must be here."""
        behind = self._skip(at)
        if behind == at and at < len(self._text):
            raise self._error("white space, a comment or the end", at)
        return behind

    def _is_no_label(self, at: int) -> bool:
        text = self._text
        return at >= len(text) or not text.startswith(":", at if text[at] == ":" else self._blank(at))

    def _instruction(self, row: Instruction, at: int) -> int:
        argument = 0
        if row.argument is not None:
            start = self._boundary(at)
            if row.argument == "label":
                found = _WORD.match(self._text, start)
                if found is None or not _begins_label(found[0]):
                    raise self._error("a label", start)
                if found[0] in LABEL_KEYWORDS:
                    raise self._error("a label that is no instruction or keyword", start)
                self._calls.append((len(self._opcodes), found[0], start))
                at = found.end()
            elif row.argument == "word":
                argument, at = self._number(start, -P + 1, P - 1, "an integer between -p and p")
                argument %= P
            else:
                expected, known = _ARGUMENTS[row.argument]
                found = _DIGITS.match(self._text, start)
                if found is None or found[0] not in known:
                    raise self._error(expected, start)
                argument, at = known[found[0]], found.end()
        self._opcodes.append(row.opcode)
        self._arguments.append(argument)
        return self._boundary(at)

    def _number(self, at: int, low: int, high: int, expected: str) -> tuple[int, int]:
        found = _NUMBER.match(self._text, at)
        # int() is slow, or refuses, where there are very many digits
        if found is None or len(found[0].lstrip("+-0")) > _TOO_LONG:
            raise self._error(expected, at)
        sign = -1 if found[0][0] == "-" else 1
        value = sign * int(found[0].lstrip("+-0") or "0")
        if not low <= value <= high:
            raise self._error(expected, at)
        return value, found.end()

    def _error_id(self, at: int) -> int:
        value, behind = self._number(self._boundary(at), -(2**127), 2**127 - 1, "an integer of 128 bits")
        self._error_ids[len(self._opcodes) - 1] = value
        return self._boundary(behind)

    def _label(self, word: str, at: int, behind: int) -> int:
        colon = self._blank(behind)
        if not self._text.startswith(":", colon):
            raise self._error("an instruction, or a label with `:` behind it", at)
        if word in LABEL_KEYWORDS:
            raise self._error("a label that is no instruction or keyword", at)
        if word in self._labels:
            raise self._error("a label that is not taken", at)
        self._labels[word] = len(self._opcodes)
        return self._skip(colon + 1)

    def _hint(self, at: int) -> int:
        start = self._boundary(at)
        place = self._expect(_HINT_NAME, start, "a name of lower-case letters")
        place = self._blank(place)
        if self._text.startswith(":", place):
            place = self._blank(self._type(self._blank(place + 1)))
        place = self._blank(self._literal("=", place))
        place = self._blank(self._literal("stack[", place))
        low, place = self._index(place)
        place = self._blank(place)
        if self._text.startswith("..", place):
            begin = self._blank(place + 2)
            high, place = self._index(begin)
            if high <= low:
                raise self._error(f"a number above {low}", begin)
            place = self._blank(place)
        place = self._literal("]", place)
        self._hints.append((len(self._opcodes), " ".join(self._text[start:place].split())))
        return self._skip(place)

    def _type(self, at: int) -> int:
        """Behind a type: stars, a name, and perhaps types in angle brackets, as deep as one likes."""
        depth = 0
        while True:
            at = self._expect(_TYPE_NAME, at, "a type")
            open_allowed = True
            while True:
                place = self._blank(at)
                mark = self._text[place : place + 1]
                if mark == "<" and open_allowed:
                    depth += 1
                    at = self._blank(place + 1)
                    if not self._text.startswith(">", at):
                        break
                elif depth and mark == ",":
                    at = self._blank(place + 1)
                    break
                elif depth and mark == ">":
                    depth -= 1
                    at = place + 1
                elif depth:
                    raise self._error("`,` or `>`", place)
                else:
                    return at
                open_allowed = mark == "<"

    def _index(self, at: int) -> tuple[int, int]:
        found = _DIGITS.match(self._text, at)
        if found is None or len(found[0].lstrip("0")) > 19:
            raise self._error("a number", at)
        return int(found[0].lstrip("0") or "0"), found.end()

    def _expect(self, pattern: re.Pattern[str], at: int, expected: str) -> int:
        found = pattern.match(self._text, at)
        if found is None:
            raise self._error(expected, at)
        return found.end()

    def _literal(self, literal: str, at: int) -> int:
        if not self._text.startswith(literal, at):
            raise self._error(f"`{literal}`", at)
        return at + len(literal)

    def _error(self, expected: str, at: int) -> ParseError:
        before = self._text[:at]
        line = before.count("\n") + 1
        column = at - (before.rfind("\n") + 1) + 1
        rest = self._text[at : at + 200].split()
        got = "the end" if at >= len(self._text) else f"`{rest[0][:40] if rest else ' '}`"
        return ParseError(expected, got, line, column)


def _begins_label(word: str) -> bool:
    return word[0] == "_" or word[0].isalpha()


def format(program: Program) -> str:
    """A program's text: an instruction a line, labels on lines of their own; `parse` makes the same program of it."""
    return "\n".join(_lines(program))


def _lines(program: Program) -> Iterator[str]:
    names: dict[int, list[str]] = {}
    for name, at in program.labels.items():
        names.setdefault(at, []).append(name)
    for i, opcode in enumerate(program.opcodes):  # targets without a name, as `instruction` calls them
        target = program.arguments[i]
        if opcode == BY_NAME["call"].opcode and target not in names:
            names[target] = [f"at_{program.addresses[target]}"]
    hints: dict[int, list[str]] = {}
    for at, text in program.hints:
        hints.setdefault(at, []).append(f"hint {text}")
    for i in range(len(program) + 1):
        yield from (f"{name}:" for name in names.get(i, ()))
        yield from hints.get(i, ())
        yield from ["break"] * program.breakpoints.count(i)
        if i < len(program):
            text = program.instruction(i)
            known = program.error_ids.get(i)
            yield text if known is None else f"{text} error_id {known}"
