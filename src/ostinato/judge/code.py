"""Candidates as the kernel takes them: instructions of all of them end to end, without Python between two.

Rule of this file: a candidate's own instructions are followed by `return` and `halt`; what is no program gets a message
instead of code. Straight-line lists, nearly all there are, never see the parser: each distinct line is looked up.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import UsageError
from ostinato.triton.isa import BY_NAME
from ostinato.triton.machine import code_of
from ostinato.triton.parsing import ParseError, parse
from ostinato.triton.program import Program
from ostinato.vocabulary import Vocabulary

Candidate = str | Sequence[str] | Program
Token = tuple[int, int]

_RETURN, _HALT = BY_NAME["return"].opcode, BY_NAME["halt"].opcode
_END = ((_RETURN, 0), (_HALT, 0))
_CACHE = 1 << 16  # distinct lines that are remembered

MAX_INSTRUCTIONS = 1 << 20  # of one candidate

_tokens: dict[str, Token | None] = {}


def token_of(line: str) -> Token | None:
    """(opcode, argument) of a line that is one instruction and says nothing of the lines around it, else None."""
    if line in _tokens:
        return _tokens[line]
    found: Token | None = None
    try:
        program = parse(line)
    except ParseError:
        pass
    else:
        plain = not program.labels and not program.error_ids and "call" not in line
        if len(program.opcodes) == 1 and plain:
            found = program.opcodes[0], program.arguments[0]
    if len(_tokens) >= _CACHE:
        _tokens.clear()
    _tokens[line] = found
    return found


def assemble(candidate: Candidate) -> list[Token]:
    """The instructions of one candidate, without `return` and `halt`.

    Raises:
        ParseError: it is no program.
    """
    if isinstance(candidate, Program):
        return list(zip(candidate.opcodes, candidate.arguments, strict=True))
    if isinstance(candidate, str):
        lines: Sequence[str] = candidate.splitlines()
    else:
        lines = candidate
    found = [token_of(line) for line in lines]
    if None not in found:
        return found  # type: ignore[return-value]
    program = parse("\n".join(lines))
    return list(zip(program.opcodes, program.arguments, strict=True))


@dataclass(frozen=True, slots=True)
class Code:
    """Candidates, ready to run.

    Attributes:
        ops u8[n], needs i8[n], args u64[n]: their instructions, end to end. starts i64[candidates + 1].
        errors: what the parser said, by candidate; those have no code.
    """

    ops: NDArray[np.uint8]
    needs: NDArray[np.int8]
    args: NDArray[np.uint64]
    starts: NDArray[np.int64]
    errors: dict[int, str]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def tokens(self, i: int) -> list[Token]:
        """The instructions of candidate i."""
        own = slice(int(self.starts[i]), int(self.starts[i + 1]) - len(_END))
        return list(zip(self.ops[own].tolist(), self.args[own].tolist(), strict=True))

    def take(self, chosen: NDArray[np.int64]) -> Code:
        """Some of them, in this order."""
        lengths = np.diff(self.starts)[chosen]
        starts = np.zeros(len(chosen) + 1, np.int64)
        np.cumsum(lengths, out=starts[1:])
        within = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
        places = np.repeat(self.starts[:-1][chosen], lengths) + within
        errors = {k: self.errors[int(i)] for k, i in enumerate(chosen) if int(i) in self.errors}
        return Code(self.ops[places], self.needs[places], self.args[places], starts, errors)


def code_for(candidates: Sequence[Candidate]) -> Code:
    """Code for candidates given as lines, text or programs.

    Raises:
        UsageError: one is none of these.
    """
    tokens: list[Token] = []
    starts, errors = [0], {}
    for i, candidate in enumerate(candidates):
        try:
            tokens += assemble(candidate)
        except ParseError as error:
            errors[i] = str(error)
        except (TypeError, AttributeError):
            raise UsageError(f"expected lines of TASM, got {candidate!r:.60}", f"candidates[{i}]") from None
        tokens += _END
        starts.append(len(tokens))
    both = np.array(tokens, np.uint64).reshape(-1, 2)
    ops, needs, args = code_of(both[:, 0].astype(np.uint8), np.ascontiguousarray(both[:, 1]))
    return Code(ops, needs, args, np.array(starts, np.int64), errors)


class TokenTable:
    """The instructions that a vocabulary's words stand for, so that candidates may come as token ids.

    Words that are added to the vocabulary later are looked up when they first come.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._ops = np.zeros(0, np.uint8)
        self._args = np.zeros(0, np.uint64)
        self._plain = np.zeros(0, np.bool_)

    def _extend(self) -> None:
        known = [token_of(self._vocabulary.word(i)) for i in range(len(self._ops), len(self._vocabulary))]
        ops = np.array([0 if token is None else token[0] for token in known], np.uint8)
        args = np.array([0 if token is None else token[1] for token in known], np.uint64)
        plain = np.array([token is not None for token in known], np.bool_)
        self._ops, self._args = np.concatenate([self._ops, ops]), np.concatenate([self._args, args])
        self._plain = np.concatenate([self._plain, plain])

    def code(self, tokens: NDArray[np.signedinteger[Any]], offsets: NDArray[np.int64]) -> Code:
        """Code for candidates tokens[offsets[i] : offsets[i + 1]].

        Raises:
            UsageError: an id is none of the vocabulary's, or offsets do not rise from 0 to len(tokens).

        Cost: about 10 ns a token, for lists that are straight-line.
        """
        if len(self._ops) < len(self._vocabulary):
            self._extend()
        tokens, offsets = np.asarray(tokens, np.int64), np.asarray(offsets, np.int64)
        lengths = np.diff(offsets)
        if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(tokens) or (lengths < 0).any():
            raise UsageError(f"expected offsets that rise from 0 to {len(tokens)}", "offsets")
        if len(tokens) and not (tokens.min() >= 0 and tokens.max() < len(self._ops)):
            raise UsageError(f"expected token ids in [0, {len(self._ops)})", "tokens")
        if not self._plain[tokens].all():
            return self._parsed(tokens, offsets)
        count = len(lengths)
        starts = offsets + len(_END) * np.arange(count + 1)
        ops = np.empty(starts[-1], np.uint8)
        args = np.zeros(starts[-1], np.uint64)
        places = np.arange(len(tokens)) + len(_END) * np.repeat(np.arange(count), lengths)
        ops[places], args[places] = self._ops[tokens], self._args[tokens]
        ops[starts[1:] - 2], ops[starts[1:] - 1] = _RETURN, _HALT
        return Code(*code_of(ops, args), starts, {})

    def _parsed(self, tokens: NDArray[np.signedinteger[Any]], offsets: NDArray[np.int64]) -> Code:
        words = [self._vocabulary.word(i) for i in tokens.tolist()]
        ends = offsets.tolist()
        return code_for([words[a:b] for a, b in itertools.pairwise(ends)])
