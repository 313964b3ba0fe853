"""The Goldilocks field, p = 2**64 - 2**32 + 1, and its cubic extension modulo x**3 - x + 1, in plain ints.

Rule of this file: exact and readable. The fast twin is `goldilocks_kernels`; a test holds them together.
An element of the extension is (c0, c1, c2), c0 + c1 x + c2 x**2, c0 on top of the stack.
"""

from __future__ import annotations

from collections.abc import Sequence

P = 2**64 - 2**32 + 1

Extension = tuple[int, int, int]


def inverse(x: int) -> int:
    """The y with x y = 1 (mod p).

    Raises:
        ZeroDivisionError: x is 0 (mod p).
    """
    if x % P == 0:
        raise ZeroDivisionError("0 has no inverse")
    return pow(x, P - 2, P)


def x_mul(a: Sequence[int], b: Sequence[int]) -> Extension:
    """The product of two elements of the extension."""
    (a0, a1, a2), (b0, b1, b2) = a, b
    # x**3 = x - 1, x**4 = x**2 - x
    third, fourth = a1 * b2 + a2 * b1, a2 * b2
    return (
        (a0 * b0 - third) % P,
        (a0 * b1 + a1 * b0 + third - fourth) % P,
        (a0 * b2 + a1 * b1 + a2 * b0 + fourth) % P,
    )


def x_inverse(a: Sequence[int]) -> Extension:
    """The b with a b = 1.

    Multiplying by a is a 3x3 matrix; b is the first column of its inverse: cofactors over the determinant.

    Raises:
        ZeroDivisionError: a is 0.
    """
    a0, a1, a2 = a
    # columns: a, a x, a x**2
    m00, m10, m20 = a0, a1, a2
    m01, m11, m21 = -a2, a0 + a2, a1
    m02, m12, m22 = -a1, a1 - a2, a0 + a2
    c0 = m11 * m22 - m12 * m21
    c1 = m12 * m20 - m10 * m22
    c2 = m10 * m21 - m11 * m20
    scale = inverse((m00 * c0 + m01 * c1 + m02 * c2) % P)
    return c0 * scale % P, c1 * scale % P, c2 * scale % P
