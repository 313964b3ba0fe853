"""Tests with what the reference made of them, as the arrays that the kernel runs candidates against.

Rule of this file: the sixteen words at the bottom of the stack are eleven zeros and, where a program's digest would be, five
words that differ from test to test: nobody may depend on them, and nobody may change them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ostinato.goldilocks import P
from ostinato.judge.code import Code
from ostinato.judge.inputs import Expected, Input
from ostinato.triton.isa import DIGEST, MIN_DEPTH
from ostinato.triton.machine import GivenRam, table_salt
from ostinato.triton.machine_layout import SALT, STATE_SLOTS

_DEPTH = 4096  # words that a candidate's stack may hold; its output and its calls as well
_WRITES = 256  # addresses that it may write, more where the reference writes more
_STRIDE = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True)
class Found:
    """What became of candidates. reasons u8[n]; tests i64[n]: which one told, or -1; errors i64[n]: the machine's
    status there; cycles i64[n]: the largest, of those that are valid, without the call."""

    reasons: NDArray[np.uint8]
    tests: NDArray[np.int64]
    errors: NDArray[np.int64]
    cycles: NDArray[np.int64]


class Suite:
    """Tests in an order. Cost: about 50 us and 1 KiB a test, and 34 bytes or more for each word of RAM."""

    def __init__(self, tests: Sequence[tuple[Input, Expected]]) -> None:
        tests = list(tests)
        pack = _Pack()
        rows = [pack.row(given, expected, k) for k, (given, expected) in enumerate(tests)]
        self.order = np.arange(len(tests))
        self._arguments = np.array([len(given.arguments) for given, _ in tests], np.int64)
        self._table = np.array(rows, np.int64).reshape(-1)
        sponges = [side for given, expected in tests for side in (given.sponge, expected.sponge)]
        self._sponges = np.array([side or (0,) * 16 for side in sponges], np.uint64).reshape(-1)
        self._data = np.array(pack.words, np.uint64)
        self._digests = np.array(pack.digests, np.uint64).reshape(-1)
        self._written = np.array(pack.writes, np.uint64).reshape(-1)
        self._keys = np.concatenate([np.zeros(0, np.uint64), *(table.keys for table in pack.ram)])
        self._values = np.concatenate([np.zeros(0, np.uint64), *(table.values for table in pack.ram)])
        self._used = np.concatenate([np.zeros(0, np.uint8), *(table.used for table in pack.ram)])
        deepest = max((len(expected.stack) for _, expected in tests), default=0)
        self._stack = np.zeros(_DEPTH + MIN_DEPTH + 2 * deepest, np.uint64)
        self._jumps = np.zeros(2 * _DEPTH, np.int64)
        self._output = np.zeros(_DEPTH + max((len(e.output) for _, e in tests), default=0), np.uint64)
        most = max((len(expected.touched) for _, expected in tests), default=0)
        slots = 1 << (2 * max(_WRITES, 2 * most) - 1).bit_length()
        self._written_ram, self._stamps = np.zeros(2 * slots, np.uint64), np.zeros(slots, np.int64)
        self._state = np.zeros(STATE_SLOTS, np.int64)
        self._state[SALT] = table_salt()

    def __len__(self) -> int:
        return len(self.order)

    def given(self, k: int) -> Input:
        """The input of test k, from the arrays: inputs are not kept, since their words as objects take more."""
        from ostinato.judge import judge_kernels as of

        row = self._table.reshape(-1, of.TEST_COLUMNS)[k].tolist()
        stack = self._data[row[of.STACK_AT] + MIN_DEPTH : row[of.STACK_END]].tolist()
        below = len(stack) - int(self._arguments[k])
        first = row[of.RAM_FIRST]
        slots = slice(first, first + row[of.RAM_MASK] + 1)
        used = self._used[slots] != 0
        pairs = zip(self._keys[slots][used].tolist(), self._values[slots][used].tolist(), strict=True)
        digests = self._digests.reshape(-1, DIGEST)[row[of.DIGESTS_AT] : row[of.DIGESTS_STOP]]
        return Input(
            arguments=tuple(stack[below:]),
            below=tuple(stack[:below]),
            ram=dict(sorted(pairs)),
            public=tuple(self._data[row[of.PUBLIC_AT] : row[of.PUBLIC_STOP]].tolist()),
            secret=tuple(self._data[row[of.SECRET_AT] : row[of.SECRET_STOP]].tolist()),
            digests=tuple(map(tuple, digests.tolist())),
            sponge=tuple(self._sponges[32 * k : 32 * k + 16].tolist()) if row[of.HAS_SPONGE] else None,
        )

    def to_front(self, k: int) -> None:
        """From now on test k is tried first."""
        place = int(np.flatnonzero(self.order == k)[0])
        self.order[1 : place + 1] = self.order[:place].copy()
        self.order[0] = k

    def run(self, code: Code, max_cycles: int) -> Found:
        """Try each candidate on the tests, in order, until one tells it from the reference.

        Cost: 0.1 to 0.3 us a run of some instructions.
        """
        from ostinato.judge.judge_kernels import judge_all

        count = len(code)
        reasons, failed = np.zeros(count, np.uint8), np.zeros(count, np.int64)
        errors, cycles = np.zeros(count, np.int64), np.zeros(count, np.int64)
        judge_all(
            code.ops, code.needs, code.args, code.starts, self.order, self._table, self._data, self._digests,
            self._sponges, self._keys, self._values, self._used, self._written, self._stack, self._jumps,
            self._written_ram, self._stamps, self._output, self._state, max_cycles, reasons, failed, errors, cycles,
        )  # fmt: skip
        return Found(reasons, failed, errors, cycles)


class _Pack:
    """What the arrays of a suite are made of."""

    def __init__(self) -> None:
        self.words: list[int] = []
        self.digests: list[tuple[int, ...]] = []
        self.writes: list[tuple[int, int]] = []
        self.ram: list[GivenRam] = []
        self._slots = 0

    def row(self, given: Input, expected: Expected, k: int) -> list[int]:
        """The columns of test k."""
        bottom = bottom_of(k)
        stack = self._put([*bottom, *given.below, *given.arguments])
        public, secret = self._put(given.public), self._put(given.secret)
        digests = len(self.digests), len(self.digests) + len(given.digests)
        self.digests.extend(given.digests)
        ram = self._table_of(_given(given.ram))
        changed = {a: w for a, w in expected.ram.items() if given.ram.get(a, 0) != w}
        final = self._table_of(_given(expected.ram)) if changed else ram
        writes = len(self.writes), len(self.writes) + len(changed)
        self.writes.extend(sorted(changed.items()))
        left = self._put([*bottom, *expected.stack])
        output = self._put(expected.output)
        ends = public[0] + expected.public_used, secret[0] + expected.secret_used
        return [
            *stack, *public, *secret, *digests, given.sponge is not None, *ram, expected.error is not None, *left,
            *final, *writes, *output, *ends, digests[0] + expected.digests_used, expected.sponge is not None,
        ]  # fmt: skip

    def _put(self, words: Sequence[int]) -> tuple[int, int]:
        begin = len(self.words)
        self.words.extend(words)
        return begin, len(self.words)

    def _table_of(self, ram: GivenRam) -> tuple[int, int]:
        if ram.mask < 0:
            return 0, -1
        self.ram.append(ram)
        first = self._slots
        self._slots += ram.mask + 1
        return first, ram.mask


def bottom_of(k: int) -> list[int]:
    """The sixteen words below all others in test k."""
    digest = [(k * DIGEST + i + 1) * _STRIDE % P for i in range(DIGEST)]
    return digest + [0] * (MIN_DEPTH - DIGEST)


def _given(ram: Mapping[int, int]) -> GivenRam:
    return GivenRam(np.array(list(ram.items()), np.uint64).reshape(-1, 2))
