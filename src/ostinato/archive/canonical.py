"""Is an accepted archive what a writer would have written?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ostinato.archive.reading import Buffer, _as_bytes, loads
from ostinato.archive.writing import encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """Where an archive first differs from what a writer makes of the same results."""

    offset: int  # byte offset of the first difference
    size: int  # bytes the archive has
    canonical_size: int  # bytes a writer makes

    def __str__(self) -> str:
        if self.size == self.canonical_size:
            return f"differs from what a writer makes, first at byte {self.offset}"
        return (
            f"{self.size:,} bytes where a writer makes {self.canonical_size:,}, "
            f"first difference at byte {self.offset}"
        )


def deviation(buffer: Buffer) -> Deviation | None:
    """None if writing what is read gives the same bytes again, else where it does not.

    Gaps, garbage in padding, entries that the root does not count and appended zeros are accepted by every
    reader but made by no writer; results that went missing this way are worth a look.

    Raises:
        DamageError: the bytes are not accepted at all.

    Cost: about that of `loads` and `dumps` together, with little memory.
    """
    data = _as_bytes(buffer)
    at = 0
    first: int | None = None
    for chunk in encode(loads(data)):
        made = np.frombuffer(chunk, np.uint8)
        if first is None:
            there = data[at : at + len(made)]
            different = there != made[: len(there)]
            if different.any():
                first = at + int(np.argmax(different))
            elif len(there) < len(made):
                first = len(data)
        at += len(made)
    if first is None and at == len(data):
        return None
    return Deviation(offset=at if first is None else first, size=len(data), canonical_size=at)
