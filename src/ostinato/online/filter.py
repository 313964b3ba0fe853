"""A filter against repeats, of bounded memory.

Rule of this file: it forgets, and may call new what it has forgotten; it calls old what was never seen once in 2**63.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SLOTS = 1 << 20


class Filter:
    """Hashes in a table where each has one place, and whoever comes later takes it. Memory: 8 bytes a slot.

    Args:
        slots: a power of two.
    """

    def __init__(self, slots: int = SLOTS) -> None:
        if slots < 1 or slots & (slots - 1):
            raise ValueError(f"expected a power of two, got {slots}")
        self._table = np.zeros(slots, np.uint64)

    def new(self, program: int, tokens: NDArray[np.int32], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool[n]: is candidate i of this program new? From now on it is not. Cost: about 20 ns a candidate."""
        from ostinato.online.edits_kernels import hashes, unseen

        words = np.empty(len(offsets) - 1, np.uint64)
        hashes(tokens, offsets, program, words)
        fresh = np.zeros(len(words), np.bool_)
        unseen(words, self._table, fresh)
        return fresh

    def forget(
        self, program: int, tokens: NDArray[np.int32], offsets: NDArray[np.int64], which: NDArray[np.bool_]
    ) -> None:
        """Those that `which` names are new again."""
        from ostinato.online.edits_kernels import hashes

        words = np.empty(len(offsets) - 1, np.uint64)
        hashes(tokens, offsets, program, words)
        words = words[which]
        slots = ((words >> np.uint64(7)) & np.uint64(len(self._table) - 1)).astype(np.int64)
        self._table[slots[self._table[slots] == words]] = 0
