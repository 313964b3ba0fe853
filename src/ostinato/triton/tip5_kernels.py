"""The Tip5 permutation as a kernel. Szepieniec et al. 2023, "The Tip5 Hash Function for Recursive STARKs".

Rule of this file: the state is sixteen canonical words, changed in place. Whoever counts lookups (the cascade table)
passes 65,536 bytes, in which the 16-bit limbs that were looked up become 1; others pass None, and the counting is
not compiled.
"""

from typing import Any

import numpy as np

from ostinato.goldilocks_kernels import EPSILON, HALF, ONE, add, mul, reduced
from ostinato.kernels import U64, get, kernel, put, threaded_kernel
from ostinato.triton.tip5_tables import LOOKUP, MDS, ROUND_CONSTANTS, ROUNDS

_LOOKUP = np.array(LOOKUP, np.uint64)
_CONSTANTS = np.array(ROUND_CONSTANTS, np.uint64)
# the column twice: row r of the circulant is then a run of sixteen, read backwards from 16 + r
_MDS = np.array(MDS + MDS, np.uint64)
_FROM_MONTGOMERY = np.uint64(18446744065119617025)  # 2**-64; 2**64 itself is EPSILON
_BYTE, _LIMB = np.uint64(0xFF), np.uint64(0xFFFF)


@kernel
def permute(state: U64, cascade: Any) -> None:
    """One permutation."""
    low, high = np.empty(16, np.uint64), np.empty(16, np.uint64)
    for turn in range(ROUNDS):
        for i in range(4):
            word = mul(get(state, i), EPSILON)  # to Montgomery form
            if cascade is not None:
                for k in range(4):
                    cascade[np.int64((word >> np.uint64(16 * k)) & _LIMB)] = 1
            looked = np.uint64(0)
            for k in range(8):
                shift = np.uint64(8 * k)
                looked |= _LOOKUP[np.int64((word >> shift) & _BYTE)] << shift
            put(state, i, mul(looked, _FROM_MONTGOMERY))
        for i in range(4, 16):
            word = get(state, i)
            square = mul(word, word)
            put(state, i, mul(mul(mul(square, square), square), word))
        # entries of 16 bits times halves of 32: sixteen products are below 2**52, so that one reduction is enough
        for r in range(16):
            low[r] = np.uint64(0)
            high[r] = np.uint64(0)
        for c in range(16):
            word = get(state, c)
            lower, upper = word & EPSILON, word >> HALF
            for r in range(16):
                entry = get(_MDS, 16 + r - c)
                put(low, r, get(low, r) + entry * lower)
                put(high, r, get(high, r) + entry * upper)
        for r in range(16):
            lower, upper = get(low, r), get(high, r)
            total = lower + (upper << HALF)
            carry = (upper >> HALF) + (ONE if total < lower else np.uint64(0))
            put(state, r, add(reduced(carry, total), get(_CONSTANTS, 16 * turn + r)))


@threaded_kernel
def permute_many(states: U64) -> None:
    """Each row of states[n, 16]."""
    for row in range(len(states)):
        permute(states[row], None)


@threaded_kernel
def hash_words(words: U64, cascade: Any) -> Any:
    """The digest u64[5] of words in variable-length mode: a 1 behind them, zeros up to a multiple of ten."""
    state = np.zeros(16, np.uint64)
    count = len(words)
    for start in range(0, count + 1, 10):
        for k in range(10):
            at = start + k
            state[k] = words[at] if at < count else np.uint64(1 if at == count else 0)
        permute(state, cascade)
    return state[:5].copy()


@threaded_kernel
def hash_ten(words: U64) -> Any:
    """The digest u64[5] of ten words in fixed-length mode: the capacity is ones."""
    state = np.ones(16, np.uint64)
    state[:10] = words
    permute(state, None)
    return state[:5].copy()
