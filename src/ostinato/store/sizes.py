"""How large a record's archive is, before it is made: so that many are refused before the first of them is written.

Rule of this file: no numba, as in writer.py.
"""

from __future__ import annotations

from itertools import chain

import numpy as np

from ostinato.archive import layout as archive_layout
from ostinato.errors import UsageError
from ostinato.text import ListText, Text, TokenText

_FIXED = archive_layout.ENTRY_BYTES + archive_layout.ROOT_BYTES
_WORD = archive_layout.STRING_BYTES
_INLINE = archive_layout.INLINE_BYTES


def check_sizes(text: Text, limit: int) -> None:
    """Refuse instruction lists of which one makes an archive of its own of `limit` bytes or more, or one word is too long.

    Text of an archive is of a file under 2 GiB, whose lists share no bytes: it is not looked at.

    Raises:
        UsageError: there is one.

    Cost: 20 ns a word of Python strings, 1 ns a word of a vocabulary's ids at most.
    """
    if isinstance(text, ListText):
        # four bytes a character at most
        words = sum(map(len, chain.from_iterable(text)))
        if 4 * words + _most(text) < min(limit, archive_layout.STRING_END):
            return
        for lines in text:
            _check_lengths([_bytes_of(word) for word in lines], limit)
    elif isinstance(text, TokenText):
        lengths = np.diff(text.vocabulary.spans()[1])
        longest = int(lengths.max(initial=0))
        widest = int(text.counts.max()) if len(text) else 0
        if longest < archive_layout.STRING_END and (longest + _WORD) * widest + _FIXED + 8 < limit:
            return
        for k in range(len(text)):
            _check_lengths(lengths[text.flat(k, k + 1)].tolist(), limit)


def _most(text: Text) -> int:
    """Bytes of all that is no text."""
    return _WORD * int(text.counts.sum()) + _FIXED + 8


def _bytes_of(word: str) -> int:
    return len(word) if word.isascii() else len(word.encode())


def _check_lengths(lengths: list[int], limit: int) -> None:
    longest = max(lengths, default=0)
    if longest >= archive_layout.STRING_END:
        raise UsageError(f"expected strings under 2**30 bytes, got one of {longest}", "generated_tasm")
    outside = sum(size for size in lengths if size > _INLINE)
    size = outside + -outside % archive_layout.LIST_ALIGN + _WORD * len(lengths)
    if size + -size % 8 + _FIXED >= limit:
        raise UsageError("expected results of less than 2 GiB", "results")
