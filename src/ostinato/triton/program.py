"""A program of Triton VM: its instructions, its labels, its words.

Rule of this file: a program is by instruction, counted from 0; only `words` and `addresses` know that some instructions
take two words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType

from ostinato.errors import UsageError
from ostinato.goldilocks import P
from ostinato.triton.isa import BY_OPCODE, COUNTS, REGISTERS


@dataclass(frozen=True, slots=True)
class Program:
    """Instructions with their arguments. `parse` makes programs; whoever makes one by hand is checked.

    Attributes:
        opcodes: one for each instruction. arguments: what follows it, 0 where nothing does; for `call` the number of the
            instruction that is called, which may be one behind the last.
        labels: instruction by name. error_ids: what the text says of assertions, by instruction.
        hints: (instruction, text of the hint); breakpoints: instructions before which there is `break`. Neither
            these nor labels change what a program does, or its digest.
    Raises:
        UsageError: an opcode or an argument is none.
    """

    opcodes: tuple[int, ...]
    arguments: tuple[int, ...]
    labels: Mapping[str, int] = field(default_factory=dict, hash=False)
    error_ids: Mapping[int, int] = field(default_factory=dict, hash=False)
    hints: tuple[tuple[int, str], ...] = ()
    breakpoints: tuple[int, ...] = ()
    addresses: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.opcodes) != len(self.arguments):
            raise UsageError(
                f"expected {len(self.opcodes)} arguments, got {len(self.arguments)}", "arguments"
            )
        address, addresses = 0, [0]
        for i, (opcode, argument) in enumerate(zip(self.opcodes, self.arguments, strict=True)):
            row = BY_OPCODE.get(opcode)
            if row is None:
                raise UsageError(f"expected an opcode, got {opcode!r}", f"opcodes[{i}]")
            allowed = {
                None: range(1),
                "word": range(P),
                "count": COUNTS,
                "register": REGISTERS,
                "label": range(len(self.opcodes) + 1),
            }[row.argument]
            if argument not in allowed:
                raise UsageError(f"expected an argument of `{row.name}`, got {argument!r}", f"arguments[{i}]")
            address += row.size
            addresses.append(address)
        object.__setattr__(self, "addresses", tuple(addresses))
        for name in ("labels", "error_ids"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __reduce__(self) -> tuple[type[Program], tuple[object, ...]]:
        own = (
            self.opcodes,
            self.arguments,
            dict(self.labels),
            dict(self.error_ids),
            self.hints,
            self.breakpoints,
        )
        return Program, own

    def __len__(self) -> int:
        """Instructions."""
        return len(self.opcodes)

    @property
    def words(self) -> tuple[int, ...]:
        """Opcodes, each with its argument behind it if it has one; a call's is a word address. What is hashed."""
        out = []
        for opcode, argument in zip(self.opcodes, self.arguments, strict=True):
            out.append(opcode)
            kind = BY_OPCODE[opcode].argument
            if kind is not None:
                out.append(self.addresses[argument] if kind == "label" else argument)
        return tuple(out)

    @property
    def digest(self) -> tuple[int, int, int, int, int]:
        """Tip5 of the words, in variable-length mode. Cost: 1.1 us for ten words, once a program."""
        return _digest(self.words)

    def instruction(self, i: int) -> str:
        """Instruction i as it is written; a label that is called has its name, or its address where it has none."""
        row = BY_OPCODE[self.opcodes[i]]
        argument = self.arguments[i]
        if row.argument is None:
            return row.name
        if row.argument == "label":
            name = next((name for name, at in self.labels.items() if at == argument), None)
            return f"{row.name} {name or f'at_{self.addresses[argument]}'}"
        return f"{row.name} {argument}"

    @classmethod
    def from_lines(cls, lines: Sequence[str]) -> Program:
        """A program from lines, as `generated_tasm` has them: an instruction each, or a label.

        Raises:
            ParseError: they are no program.
        """
        from ostinato.triton.parsing import parse

        return parse("\n".join(lines))

    @property
    def text(self) -> str:
        """The program as `format` writes it."""
        from ostinato.triton.parsing import format

        return format(self)

    def __str__(self) -> str:
        return self.text


@lru_cache(maxsize=1024)
def _digest(words: tuple[int, ...]) -> tuple[int, int, int, int, int]:
    from ostinato.triton.tip5 import Tip5

    return Tip5.hash_varlen(words)
