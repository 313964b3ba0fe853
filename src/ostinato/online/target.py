"""What a search asks of whoever knows the code: programs, a judge, and what edits need to know of tokens.

Rule of this file: numbers and words only; nothing here says what an instruction does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ostinato.vocabulary import Vocabulary

Confirm = Literal["best", "all", "none"]


@dataclass(frozen=True, slots=True)
class Task:
    """A program to be made shorter.

    Attributes:
        name, family: for people, and for holding out. tir_hash: 32 bytes. baseline: words; costs compiler_cycles.
        depth: words of the stack that code may reach, 0 where there is no stack.
    """

    name: str
    tir_hash: bytes
    baseline: tuple[str, ...]
    compiler_cycles: int
    family: str
    depth: int = 0


class Numbers:
    """Programs by hash.

    Args:
        tasks: with hashes of 32 bytes, no two alike.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        keys = _keys(np.array([list(task.tir_hash) for task in tasks], np.uint8).reshape(-1, 32))
        self._order = np.argsort(keys)
        self._keys = keys[self._order]

    def of(self, hashes: NDArray[np.uint8]) -> NDArray[np.int64]:
        """i64[n]: the places in `tasks` of hashes u8[n, 32], -1 where there is none. Cost: O(n log tasks)."""
        if not len(self._keys) or not len(hashes):
            return np.full(len(hashes), -1, np.int64)
        keys = _keys(hashes)
        found = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[found] == keys, self._order[found], -1).astype(np.int64)


def _keys(hashes: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """All of one length, so that it does not matter that numpy leaves out zeros at the end."""
    return np.ascontiguousarray(hashes).view("S32").reshape(-1)


@dataclass(frozen=True, slots=True)
class Judged:
    """Verdicts. valid bool[n], cycles i64[n] (0 where invalid), failure u8[n]: places in `Target.failures`."""

    valid: NDArray[np.bool_]
    cycles: NDArray[np.int64]
    failure: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Features:
    """What edits know of a vocabulary's words, i32[words] each. A target without a stack leaves all but `kind` zero.

    Attributes:
        kind: the same for words that differ in their argument only.
        change: words that the stack grows by. need: words that it must hold.
        register: which word from the top the argument names, or -1. The word of that kind for another register is the
            one with this kind and that register.
        skips: 1 where the next word may be skipped.
        wired: 1 where a word only moves, copies or drops words of the stack. source i32[words, 17], flat: where it does,
            from which word (counted from the top, before) each word it leaves comes (counted from the top, after).
    """

    kind: NDArray[np.int32]
    change: NDArray[np.int32]
    need: NDArray[np.int32]
    register: NDArray[np.int32]
    skips: NDArray[np.int32]
    wired: NDArray[np.int32]
    source: NDArray[np.int32]

    @classmethod
    def plain(cls, kind: Sequence[int]) -> Features:
        """Of words without a stack."""
        zeros = np.zeros(len(kind), np.int32)
        return cls(
            np.array(kind, np.int32),
            zeros,
            zeros,
            zeros - 1,
            zeros,
            zeros,
            np.zeros(17 * len(kind), np.int32),
        )


class Target(Protocol):
    """Who can say what is right and what it costs.

    Attributes:
        name: of the target. vocabulary: all words that code is made of; it does not grow. programs: what to search for.
        failures: names of the numbers in `Judged.failure`; the first is for valid ones. features: of the words.
    """

    name: str
    vocabulary: Vocabulary
    failures: tuple[str, ...]
    features: Features

    @property
    def programs(self) -> Sequence[Task]: ...

    def judge(
        self, program: int, tokens: NDArray[np.int32], offsets: NDArray[np.int64], confirm: Confirm = "best"
    ) -> Judged:
        """Verdicts on tokens[offsets[i] : offsets[i + 1]]. With "best", who is valid in fewer cycles than any before has passed
        every further test there is."""
        ...

    def alphabet(self, program: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """(words i32[k], weights f64[k]): what edits of this program put in, and how often."""
        ...

    def check_rule(self, before: Sequence[str], after: Sequence[str]) -> int | None:
        """Cycles saved if `after` does what `before` does wherever it stands, else None."""
        ...
