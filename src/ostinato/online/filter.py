"""A filter against repeats, of bounded memory.

Rule of this file: it forgets, and may call new what it has forgotten; it calls old what was never seen once in 2**63.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SLOTS = 1 << 20
BATCH = 1 << 16  # for what is made at once


class Filter:
    """Hashes in a table where each has one place, and whoever comes later takes it. Memory: 8 bytes a slot.

    Args:
        slots: a power of two.
    """

    def __init__(self, slots: int = SLOTS) -> None:
        if slots < 1 or slots & (slots - 1):
            raise ValueError(f"expected a power of two, got {slots}")
        self.table = np.zeros(slots, np.uint64)

    def new(
        self,
        program: int,
        tokens: NDArray[np.int32],
        offsets: NDArray[np.int64],
        tried: Filter | None = None,
    ) -> NDArray[np.bool_]:
        """bool[n]: is candidate i of this program new, to this filter and to another? From now on it is not to this one.

        Cost: about 20 ns a candidate.
        """
        from ostinato.online.edits_kernels import unseen

        fresh = np.zeros(len(offsets) - 1, np.bool_)
        unseen(tokens, offsets, program, (tried or self).table, self.table, fresh)
        return fresh
