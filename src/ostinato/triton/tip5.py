"""Tip5, the hash of Triton VM: sixteen words, of which ten are absorbed or squeezed at once.

Words are ints in [0, p). Digests are five words, word 0 first. Kernels are loaded at the first call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import UsageError
from ostinato.goldilocks import P

Digest = tuple[int, int, int, int, int]


def as_words(values: Any, name: str, count: int | None = None) -> NDArray[np.uint64]:
    """u64[n], a copy; ints in [0, p).

    Raises:
        UsageError: it holds something else, or not `count` of them; names the argument.
    """
    if isinstance(values, np.ndarray) and values.dtype == np.uint64 and values.ndim == 1:
        words = values.copy()
    else:
        try:
            listed = [value.__index__() for value in values]
            words = np.array(listed, np.uint64)
        except (TypeError, AttributeError, OverflowError):
            raise UsageError(f"expected ints in [0, p), got {_shown(values)}", name) from None
        if any(value < 0 for value in listed):  # what numpy would turn round
            raise UsageError(f"expected ints in [0, p), got {_shown(values)}", name)
    if len(words) and int(words.max()) >= P:
        raise UsageError(f"expected ints in [0, p), got {int(words.max())}", name)
    if count is not None and len(words) != count:
        raise UsageError(f"expected {count} words, got {len(words)}", name)
    return words


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class Tip5:
    """The permutation and the two ways to hash with it.

    >>> Tip5.hash_varlen([])[:2]
    (2335476311349343808, 1307299401243390569)
    """

    @staticmethod
    def permutation(state: Sequence[int] | NDArray[np.uint64]) -> tuple[int, ...]:
        """The state of sixteen words after five rounds. Cost: about 1 us, and 3 us for the words.

        Raises:
            UsageError: it is not sixteen words in [0, p).
        """
        from ostinato.triton.tip5_kernels import permute

        words = as_words(state, "state", 16)
        permute(words, None)
        return tuple(words.tolist())

    @staticmethod
    def hash10(words: Sequence[int] | NDArray[np.uint64]) -> Digest:
        """The digest of exactly ten words, as the instruction `hash` makes it (the capacity is ones).

        Raises:
            UsageError: it is not ten words in [0, p).
        """
        from ostinato.triton.tip5_kernels import hash_ten

        return _digest(hash_ten(as_words(words, "words", 10)))

    @staticmethod
    def hash_pair(left: Sequence[int], right: Sequence[int]) -> Digest:
        """The digest of two digests: a node of a Merkle tree from its children.

        Raises:
            UsageError: they are not five words in [0, p) each.
        """
        return Tip5.hash10(np.concatenate([as_words(left, "left", 5), as_words(right, "right", 5)]))

    @staticmethod
    def hash_varlen(words: Sequence[int] | NDArray[np.uint64]) -> Digest:
        """The digest of any number of words, as a program's is made (the capacity is zeros, a 1 ends the words).

        Raises:
            UsageError: a word is not in [0, p).
        """
        from ostinato.triton.tip5_kernels import hash_words

        return _digest(hash_words(as_words(words, "words"), None))


def _digest(words: NDArray[np.uint64]) -> Digest:
    d0, d1, d2, d3, d4 = words.tolist()
    return d0, d1, d2, d3, d4
