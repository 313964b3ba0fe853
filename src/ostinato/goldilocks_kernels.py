"""The Goldilocks field for kernels: canonical words in, canonical words out, all uint64.

Rule of this file: no 128-bit integers, which numba has not: products are made of 32-bit halves. 2**64 is 2**32 - 1
and 2**96 is -1 (mod p), so that a product is reduced by two additions.
"""

from typing import Any

import numpy as np

from ostinato.goldilocks import P as _P
from ostinato.kernels import inlined, kernel

P = np.uint64(_P)
EPSILON = np.uint64(2**32 - 1)  # 2**64 (mod p), and the mask of a low half
ZERO, ONE, HALF = np.uint64(0), np.uint64(1), np.uint64(32)


@inlined
def add(a: Any, b: Any) -> Any:
    """a + b"""
    total = a + b
    if total < a:  # a carry out of 64 bits; the sum of two words below p is then below p again
        return total + EPSILON
    return total - P if total >= P else total


@inlined
def sub(a: Any, b: Any) -> Any:
    """a - b"""
    return a - b if a >= b else a + (P - b)


@inlined
def neg(a: Any) -> Any:
    """-a"""
    return P - a if a != ZERO else ZERO


@inlined
def reduced(high: Any, low: Any) -> Any:
    """high 2**64 + low"""
    top = high >> HALF
    word = low - top
    if low < top:  # a borrow: 2**64 too much
        word -= EPSILON
    middle = (high & EPSILON) * EPSILON
    total = word + middle
    if total < middle:
        total += EPSILON
    return total - P if total >= P else total


@inlined
def mul(a: Any, b: Any) -> Any:
    """a b"""
    a0, a1, b0, b1 = a & EPSILON, a >> HALF, b & EPSILON, b >> HALF
    low, cross = a0 * b0, a1 * b0
    middle = a0 * b1 + (low >> HALF) + (cross & EPSILON)  # below 2**64: (2**32-1)**2 + 2 (2**32-1)
    high = a1 * b1 + (cross >> HALF) + (middle >> HALF)
    return reduced(high, (middle << HALF) | (low & EPSILON))


@kernel
def power(base: Any, exponent: Any) -> Any:
    """base**exponent, by squaring; 0**0 is 1."""
    result, square = ONE, base
    while exponent != ZERO:
        if exponent & ONE:
            result = mul(result, square)
        square = mul(square, square)
        exponent >>= ONE
    return result


@kernel
def inverse(a: Any) -> Any:
    """1/a by Fermat; the caller has seen that it is not 0."""
    return power(a, P - np.uint64(2))


@inlined
def x_mul(a0: Any, a1: Any, a2: Any, b0: Any, b1: Any, b2: Any) -> Any:
    """The three words of a product in the extension; see goldilocks.x_mul."""
    third, fourth = add(mul(a1, b2), mul(a2, b1)), mul(a2, b2)
    c0 = sub(mul(a0, b0), third)
    c1 = sub(add(add(mul(a0, b1), mul(a1, b0)), third), fourth)
    c2 = add(add(mul(a0, b2), mul(a1, b1)), add(mul(a2, b0), fourth))
    return c0, c1, c2


@kernel
def x_inverse(a0: Any, a1: Any, a2: Any) -> Any:
    """The three words of an inverse; the caller has seen that a is not 0. See goldilocks.x_inverse."""
    m01, m11, m21 = neg(a2), add(a0, a2), a1
    m02, m12, m22 = neg(a1), sub(a1, a2), add(a0, a2)
    c0 = sub(mul(m11, m22), mul(m12, m21))
    c1 = sub(mul(m12, a2), mul(a1, m22))
    c2 = sub(mul(a1, m21), mul(m11, a2))
    scale = inverse(add(add(mul(a0, c0), mul(m01, c1)), mul(m02, c2)))
    return mul(c0, scale), mul(c1, scale), mul(c2, scale)
