"""What each function of the corpus must do, in plain Python, written without looking at its code.

`REFERENCES[name]` takes the arguments as ints in their order, and by keyword what else the function uses: `ram` (words by
address, changed in place), `secret`, `public` and `digests` (what is read is removed from their beginning), `output`
(what is written is added). It returns the results, the last one on top of the stack, and raises AssertionError where the
program must fail.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from ostinato.triton import Tip5

P = 2**64 - 2**32 + 1
U32 = 2**32

Ram = dict[int, int]
Words = list[int]
Digests = list[Sequence[int]]
Extension = tuple[int, int, int]  # the coefficients of x^2, x and 1
Reference = Callable[..., tuple[int, ...]]

REFERENCES: dict[str, Reference] = {}


def reference(function: Reference) -> Reference:
    """Enter a function under its name."""
    REFERENCES[function.__name__] = function
    return function


def words(*values: int) -> tuple[int, ...]:
    """The same numbers in [0, p)."""
    return tuple(int(value) % P for value in values)


def must(condition: bool) -> None:
    """The program fails unless this holds."""
    if not condition:
        raise AssertionError("the program must fail")


def inverse(x: int) -> int:
    """1/x modulo p; of 0 there is none."""
    must(x % P != 0)
    return pow(x, -1, P)


def polynomial(coefficients: Iterable[int], x: int) -> int:
    """A polynomial at x, the constant coefficient first."""
    return sum(c * pow(x, k, P) for k, c in enumerate(coefficients)) % P


def dot(left: Iterable[int], right: Iterable[int]) -> int:
    """Inner product."""
    return sum(a * b for a, b in zip(left, right, strict=True))


def extension_product(a: Extension, b: Extension) -> Extension:
    """Product of polynomials, reduced by x^3 = x - 1 from the top."""
    product = [0] * 5
    for i, left in enumerate(reversed(a)):
        for j, right in enumerate(reversed(b)):
            product[i + j] += left * right
    for k in (4, 3):
        product[k - 2] += product[k]
        product[k - 3] -= product[k]
    return product[2] % P, product[1] % P, product[0] % P


def extension_power(a: Extension, exponent: int) -> Extension:
    """By squaring. The inverse is the power p^3 - 2."""
    result: Extension = (0, 0, 1)
    for bit in f"{exponent:b}":
        result = extension_product(result, result)
        if bit == "1":
            result = extension_product(result, a)
    return result


def bit_of(word: int, position: int) -> int:
    """One bit."""
    return word >> position & 1


def word_of_bits(bits: Iterable[int]) -> int:
    """The word of these bits, the lowest first."""
    return sum(bit << k for k, bit in enumerate(bits))


def rotated(word: int, places: int) -> int:
    """A word of 32 bits, rotated to the left."""
    text = f"{word:032b}"
    return int(text[places:] + text[:places], 2)


def load(ram: Ram, address: int) -> int:
    """A word of memory."""
    return ram.get(address % P, 0)


def store(ram: Ram, address: int, *values: int) -> None:
    """Change words of memory, upwards from an address."""
    for k, value in enumerate(values):
        ram[(address + k) % P] = value % P


def load_extension(ram: Ram, address: int) -> Extension:
    """An element of the extension field; its constant coefficient lies at the lowest address."""
    return load(ram, address + 2), load(ram, address + 1), load(ram, address)


def take(queue: Words) -> int:
    """The next word of an input, which must not be empty."""
    must(bool(queue))
    return queue.pop(0)


def take_digest(queue: Digests) -> Sequence[int]:
    """The next digest of the input, which must not be empty; word 0 first."""
    must(bool(queue))
    return queue.pop(0)


def digest_of(*top_first: int) -> tuple[int, ...]:
    """Tip5 of these words and zeros; word 0 of the digest last, as it lies on the stack."""
    return tuple(reversed(Tip5.hash10([*top_first, *[0] * (10 - len(top_first))])))


def parent(index: int, node: Sequence[int], sibling: Sequence[int]) -> tuple[int, ...]:
    """The digest of a node and its sibling; nodes with word 0 last, the sibling with word 0 first."""
    own = tuple(reversed(node))
    pair = (sibling, own) if index % 2 else (own, sibling)
    return tuple(reversed(Tip5.hash_pair(*pair)))


# field


@reference
def field_mul_add(a: int, b: int, c: int) -> tuple[int, ...]:
    """a*b + c, the step of every inner product."""
    return words(a * b + c)


@reference
def field_cube(x: int) -> tuple[int, ...]:
    """Third power."""
    return words(pow(x, 3, P))


@reference
def field_div(numerator: int, denominator: int) -> tuple[int, ...]:
    """Quotient of two field elements; fails for a denominator of 0."""
    return words(numerator * inverse(denominator))


@reference
def squared_distance(a: int, b: int) -> tuple[int, ...]:
    """Square of the difference of two field elements."""
    return words(a * a - 2 * a * b + b * b)


@reference
def difference_of_squares(a: int, b: int) -> tuple[int, ...]:
    """a^2 - b^2, multiplied out."""
    return words((a + b) * (a - b))


@reference
def inverse_or_zero(x: int) -> tuple[int, ...]:
    """Inverse of x, and 0 for 0, without a branch."""
    return words(pow(x, P - 2, P))


@reference
def inverse_pair(a: int, b: int) -> tuple[int, ...]:
    """Inverses of two elements by one inversion."""
    return words(inverse(a), inverse(b))


@reference
def sum_of_reciprocals(a: int, b: int) -> tuple[int, ...]:
    """1/a + 1/b, as two inversions."""
    return words((a + b) * inverse(a) * inverse(b))


@reference
def linear_interpolation(start: int, stop: int, t: int) -> tuple[int, ...]:
    """Point between start (t = 0) and stop (t = 1)."""
    return words(start + t * (stop - start))


@reference
def field_power(base: int, exponent: int) -> tuple[int, ...]:
    """base^exponent; 0^0 is 1."""
    return words(pow(base, exponent, P))


@reference
def eleventh_power(x: int) -> tuple[int, ...]:
    """x^11 by squares."""
    return words(pow(x, 11, P))


@reference
def scaled_and_shifted(x: int) -> tuple[int, ...]:
    """x*(3*5 + 2) - (4*6 + 1), constants as they were written."""
    return words(17 * x - 25)


@reference
def mobius_map(x: int, a: int, b: int, c: int, d: int) -> tuple[int, ...]:
    """(a*x + b) / (c*x + d); fails at the pole."""
    return words((a * x + b) * inverse(c * x + d))


# extension


@reference
def ext_sub(a2: int, a1: int, a0: int, b2: int, b1: int, b0: int) -> tuple[int, ...]:
    """Difference of two extension-field elements."""
    return words(a2 - b2, a1 - b1, a0 - b0)


@reference
def ext_neg(a2: int, a1: int, a0: int) -> tuple[int, ...]:
    """Negative of an extension-field element."""
    return words(P - a2, P - a1, P - a0)


@reference
def ext_scale(a2: int, a1: int, a0: int, scalar: int) -> tuple[int, ...]:
    """An extension-field element times a base-field element."""
    return words(scalar * a2, scalar * a1, scalar * a0)


@reference
def ext_mul_by_x(a2: int, a1: int, a0: int) -> tuple[int, ...]:
    """An extension-field element times x, of x^3 = x - 1."""
    return words(*extension_product((a2, a1, a0), (0, 1, 0)))


@reference
def ext_square(a2: int, a1: int, a0: int) -> tuple[int, ...]:
    """Square of an extension-field element."""
    return words(*extension_product((a2, a1, a0), (a2, a1, a0)))


@reference
def ext_cube(a2: int, a1: int, a0: int) -> tuple[int, ...]:
    """Third power of an extension-field element."""
    return words(*extension_power((a2, a1, a0), 3))


@reference
def ext_mul_add(
    a2: int, a1: int, a0: int, b2: int, b1: int, b0: int, c2: int, c1: int, c0: int
) -> tuple[int, ...]:
    """a*b + c in the extension field."""
    p2, p1, p0 = extension_product((a2, a1, a0), (b2, b1, b0))
    return words(p2 + c2, p1 + c1, p0 + c0)


@reference
def ext_div(a2: int, a1: int, a0: int, b2: int, b1: int, b0: int) -> tuple[int, ...]:
    """a/b in the extension field; fails for b = 0."""
    must(b2 != 0 or b1 != 0 or b0 != 0)
    return words(*extension_product((a2, a1, a0), extension_power((b2, b1, b0), P**3 - 2)))


@reference
def ext_equal(a2: int, a1: int, a0: int, b2: int, b1: int, b0: int) -> tuple[int, ...]:
    """Are two extension-field elements the same?"""
    return words((a2, a1, a0) == (b2, b1, b0))


@reference
def ext_is_zero(a2: int, a1: int, a0: int) -> tuple[int, ...]:
    """Is an extension-field element 0?"""
    return words(a2 == a1 == a0 == 0)


@reference
def ext_is_base(a2: int, a1: int, a0: int) -> tuple[int, ...]:
    """Does an extension-field element lie in the base field?"""
    return words(a2 == a1 == 0)


@reference
def ext_from_base_difference(x: int, y: int) -> tuple[int, ...]:
    """x - y, lifted into the extension field."""
    return words(0, 0, x - y)


@reference
def ext_linear(z2: int, z1: int, z0: int, slope: int, offset: int) -> tuple[int, ...]:
    """slope*z + offset for z in the extension field and the others in the base field."""
    p2, p1, p0 = extension_product((z2, z1, z0), (0, 0, slope))
    return words(p2, p1, p0 + offset)


@reference
def ext_mul_schoolbook(a2: int, a1: int, a0: int, b2: int, b1: int, b0: int) -> tuple[int, ...]:
    """Product of two extension-field elements by base-field products alone."""
    return words(*extension_product((a2, a1, a0), (b2, b1, b0)))


# polynomial


@reference
def quadratic_eval(a: int, b: int, c: int, x: int) -> tuple[int, ...]:
    """a*x^2 + b*x + c, power by power."""
    return words(polynomial((c, b, a), x))


@reference
def quartic_horner(c4: int, c3: int, c2: int, c1: int, c0: int, x: int) -> tuple[int, ...]:
    """A polynomial of degree four at x by Horner's rule."""
    return words(polynomial((c0, c1, c2, c3, c4), x))


@reference
def cubic_even_odd(c3: int, c2: int, c1: int, c0: int, x: int) -> tuple[int, ...]:
    """A cubic polynomial at x and at -x, from its even and odd parts."""
    return words(polynomial((c0, c1, c2, c3), x), polynomial((c0, c1, c2, c3), -x))


@reference
def line_through(x0: int, y0: int, x1: int, y1: int, x: int) -> tuple[int, ...]:
    """The line through two points at x; fails where x0 = x1."""
    return words((y0 * (x1 - x) + y1 * (x - x0)) * inverse(x1 - x0))


@reference
def vanishing3(root0: int, root1: int, root2: int, x: int) -> tuple[int, ...]:
    """(x - root0)(x - root1)(x - root2)."""
    return words(math.prod(x - root for root in (root0, root1, root2)))


@reference
def geometric_sum5(x: int) -> tuple[int, ...]:
    """1 + x + x^2 + x^3 + x^4, power by power."""
    return words(sum(pow(x, k, P) for k in range(5)))


@reference
def chebyshev4(x: int) -> tuple[int, ...]:
    """The Chebyshev polynomial 8x^4 - 8x^2 + 1."""
    return words(2 * (2 * x * x - 1) ** 2 - 1)


@reference
def linear_product(a1: int, a0: int, b1: int, b0: int) -> tuple[int, ...]:
    """Coefficients of (a1*x + a0)(b1*x + b0)."""
    return words(a1 * b1, a1 * b0 + a0 * b1, a0 * b0)


@reference
def linear_product_karatsuba(a1: int, a0: int, b1: int, b0: int) -> tuple[int, ...]:
    """Coefficients of (a1*x + a0)(b1*x + b0) with three products."""
    return words(a1 * b1, a1 * b0 + a0 * b1, a0 * b0)


@reference
def divide_by_root(a: int, b: int, c: int, root: int) -> tuple[int, ...]:
    """a*x^2 + b*x + c divided by x - root."""
    return words(a, a * root + b, polynomial((c, b, a), root))


@reference
def cubic_derivative(c3: int, c2: int, c1: int, x: int) -> tuple[int, ...]:
    """Derivative of c3*x^3 + c2*x^2 + c1*x at x."""
    return words(polynomial((c1, 2 * c2, 3 * c3), x))


@reference
def discriminant(a: int, b: int, c: int) -> tuple[int, ...]:
    """b^2 - 4ac of a quadratic polynomial."""
    return words(b**2 - 4 * a * c)


@reference
def fri_fold(even_point: int, odd_point: int, x: int, challenge: int) -> tuple[int, ...]:
    """Two values f(x), f(-x) folded to one: (f(x)+f(-x))/2 + challenge*(f(x)-f(-x))/(2x); fails for x = 0."""
    even = (even_point + odd_point) * inverse(2)
    odd = (even_point - odd_point) * inverse(2 * x)
    return words(even + challenge * odd)


# linear_algebra


@reference
def dot2(a0: int, a1: int, b0: int, b1: int) -> tuple[int, ...]:
    """Inner product of two vectors of two."""
    return words(dot((a0, a1), (b0, b1)))


@reference
def dot4(a0: int, a1: int, a2: int, a3: int, b0: int, b1: int, b2: int, b3: int) -> tuple[int, ...]:
    """Inner product of two vectors of four."""
    return words(dot((a0, a1, a2, a3), (b0, b1, b2, b3)))


@reference
def norm_squared3(x: int, y: int, z: int) -> tuple[int, ...]:
    """Inner product of a vector of three with itself."""
    return words(sum(c * c for c in (x, y, z)))


@reference
def matrix2_vector(m00: int, m01: int, m10: int, m11: int, x: int, y: int) -> tuple[int, ...]:
    """A 2x2 matrix times a vector."""
    return words(dot((m00, m01), (x, y)), dot((m10, m11), (x, y)))


@reference
def matrix2_product(
    a00: int, a01: int, a10: int, a11: int, b00: int, b01: int, b10: int, b11: int
) -> tuple[int, ...]:
    """Product of two 2x2 matrices."""
    left, right = ((a00, a01), (a10, a11)), ((b00, b10), (b01, b11))
    return words(*(dot(row, column) for row in left for column in right))


@reference
def matrix2_transpose(m00: int, m01: int, m10: int, m11: int) -> tuple[int, ...]:
    """A 2x2 matrix, transposed."""
    return words(m00, m10, m01, m11)


@reference
def matrix2_inverse(a: int, b: int, c: int, d: int) -> tuple[int, ...]:
    """Inverse of a 2x2 matrix; fails where it has none."""
    scale = inverse(a * d - b * c)
    return words(d * scale, -b * scale, -c * scale, a * scale)


@reference
def solve2(a: int, b: int, c: int, d: int, u: int, v: int) -> tuple[int, ...]:
    """Solution of a*x + b*y = u, c*x + d*y = v by Cramer's rule; fails where it is not unique."""
    scale = inverse(a * d - b * c)
    return words((d * u - b * v) * scale, (a * v - c * u) * scale)


@reference
def det3(a: int, b: int, c: int, d: int, e: int, f: int, g: int, h: int, i: int) -> tuple[int, ...]:
    """Determinant of a 3x3 matrix by its first row."""
    return words(a * e * i + b * f * g + c * d * h - c * e * g - b * d * i - a * f * h)


@reference
def cross3(a0: int, a1: int, a2: int, b0: int, b1: int, b2: int) -> tuple[int, ...]:
    """Cross product of two vectors of three."""
    return words(a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0)


@reference
def vector2_axpy(scale: int, x0: int, x1: int, y0: int, y1: int) -> tuple[int, ...]:
    """scale*x + y for vectors of two."""
    return words(y0 + scale * x0, y1 + scale * x1)


@reference
def quadratic_form2(a: int, b: int, c: int, x: int, y: int) -> tuple[int, ...]:
    """a*x^2 + 2*b*x*y + c*y^2."""
    return words((a * x + b * y) * x + (b * x + c * y) * y)


@reference
def complex_product(a_re: int, a_im: int, b_re: int, b_im: int) -> tuple[int, ...]:
    """Product of two complex numbers."""
    return words(a_re * b_re - a_im * b_im, a_re * b_im + a_im * b_re)


@reference
def butterfly(even: int, odd: int, twiddle: int) -> tuple[int, ...]:
    """The two-point step of a number-theoretic transform."""
    return words(even + twiddle * odd, even - twiddle * odd)


@reference
def circulant3(c0: int, c1: int, c2: int, x0: int, x1: int, x2: int) -> tuple[int, ...]:
    """A circulant 3x3 matrix times a vector."""
    column, vector = (c0, c1, c2), (x0, x1, x2)
    return words(*(sum(column[(i - j) % 3] * vector[j] for j in range(3)) for i in range(3)))


# u32


@reference
def u32_wrapping_sub(a: int, b: int) -> tuple[int, ...]:
    """a - b modulo 2^32."""
    return words((a - b) % U32)


@reference
def u32_wrapping_mul(a: int, b: int) -> tuple[int, ...]:
    """a*b modulo 2^32."""
    return words(a * b % U32)


@reference
def u32_wide_mul(a: int, b: int) -> tuple[int, ...]:
    """a*b as two words."""
    return words(*divmod(a * b, U32))


@reference
def u32_wide_mul_add(a: int, b: int, carry: int) -> tuple[int, ...]:
    """a*b + carry as two words, the step of a long multiplication; at most p - 1."""
    return words(*divmod(a * b + carry, U32))


@reference
def u32_add_with_carry(a: int, b: int, carry_in: int) -> tuple[int, ...]:
    """a + b + carry_in as a carry and a word."""
    return words(*divmod(a + b + carry_in, U32))


@reference
def u32_sub_with_borrow(a: int, b: int, borrow_in: int) -> tuple[int, ...]:
    """a - b - borrow_in as a borrow and a word."""
    return words(a < b + borrow_in, (a - b - borrow_in) % U32)


@reference
def u32_checked_add(a: int, b: int) -> tuple[int, ...]:
    """a + b; fails where it overflows."""
    must(a + b < U32)
    return words(a + b)


@reference
def u32_checked_sub(a: int, b: int) -> tuple[int, ...]:
    """a - b; fails where it is negative."""
    must(a >= b)
    return words(a - b)


@reference
def u32_checked_mul(a: int, b: int) -> tuple[int, ...]:
    """a*b; fails where it overflows."""
    must(a * b < U32)
    return words(a * b)


@reference
def u32_saturating_add(a: int, b: int) -> tuple[int, ...]:
    """a + b, at most 2^32 - 1."""
    return words(min(a + b, U32 - 1))


@reference
def u32_saturating_sub(a: int, b: int) -> tuple[int, ...]:
    """a - b, at least 0."""
    return words(max(a - b, 0))


@reference
def u32_abs_diff(a: int, b: int) -> tuple[int, ...]:
    """The distance of two words."""
    return words(abs(a - b))


@reference
def u32_ceil_div(numerator: int, divisor: int) -> tuple[int, ...]:
    """Quotient, rounded up."""
    return words(-(-numerator // divisor))


@reference
def u32_round_down(value: int, step: int) -> tuple[int, ...]:
    """The largest multiple of step that is not above value."""
    return words(value - value % step)


@reference
def u32_is_multiple(value: int, divisor: int) -> tuple[int, ...]:
    """Is value a multiple of divisor?"""
    return words(value % divisor == 0)


@reference
def u32_floor_average(a: int, b: int) -> tuple[int, ...]:
    """(a + b) / 2, rounded down, without leaving 32 bits."""
    return words((a + b) // 2)


@reference
def u32_mod_add(a: int, b: int, modulus: int) -> tuple[int, ...]:
    """a + b modulo a number; both are reduced first."""
    return words((a + b) % modulus)


@reference
def u32_gcd_step(a: int, b: int) -> tuple[int, ...]:
    """One step of Euclid's algorithm."""
    return words(b, a % b)


@reference
def hours_and_days(hours: int) -> tuple[int, ...]:
    """Hours as days and an hour of the day."""
    return words(*divmod(hours, 24))


@reference
def u64_add(a_high: int, a_low: int, b_high: int, b_low: int) -> tuple[int, ...]:
    """Sum of two 64-bit numbers modulo 2^64."""
    return words(*divmod((((a_high + b_high) << 32) + a_low + b_low) % 2**64, U32))


@reference
def u64_checked_double(high: int, low: int) -> tuple[int, ...]:
    """Twice a 64-bit number; fails where it overflows."""
    double = 2 * ((high << 32) + low)
    must(double < 2**64)
    return words(*divmod(double, U32))


# comparison


@reference
def field_not_equal(a: int, b: int) -> tuple[int, ...]:
    """Are two words different?"""
    return words(a != b)


@reference
def u32_greater(a: int, b: int) -> tuple[int, ...]:
    """a > b, by exchanging the operands."""
    return words(a > b)


@reference
def u32_at_most(a: int, b: int) -> tuple[int, ...]:
    """a <= b as not b < a."""
    return words(a <= b)


@reference
def u32_between(value: int, low: int, high: int) -> tuple[int, ...]:
    """low <= value <= high."""
    return words(low <= value <= high)


@reference
def u32_outside(value: int, low: int, high: int) -> tuple[int, ...]:
    """value < low or value > high."""
    return words(value not in range(low, high + 1))


@reference
def u32_compare(a: int, b: int) -> tuple[int, ...]:
    """1 where a > b, 0 where they are equal, -1 where a < b."""
    return words(0 if a == b else 1 if a > b else -1)


@reference
def pair_equal(a0: int, a1: int, b0: int, b1: int) -> tuple[int, ...]:
    """Are two pairs of words equal?"""
    return words((a0, a1) == (b0, b1))


@reference
def all_equal3(a: int, b: int, c: int) -> tuple[int, ...]:
    """Are three words the same?"""
    return words(a == b == c)


@reference
def is_one_of3(value: int, first: int, second: int, third: int) -> tuple[int, ...]:
    """Is a word among three others?"""
    return words(value in (first, second, third))


@reference
def count_matches4(needle: int, a: int, b: int, c: int, d: int) -> tuple[int, ...]:
    """How many of four words are the needle?"""
    return words((a, b, c, d).count(needle))


@reference
def u64_less(a_high: int, a_low: int, b_high: int, b_low: int) -> tuple[int, ...]:
    """a < b for numbers of two 32-bit words."""
    return words((a_high, a_low) < (b_high, b_low))


@reference
def is_sorted3(a: int, b: int, c: int) -> tuple[int, ...]:
    """a <= b <= c."""
    return words(a <= b <= c)


@reference
def is_leap_year(year: int) -> tuple[int, ...]:
    """Has a year of the Gregorian calendar 366 days?"""
    return words(year % 400 == 0 or (year % 4 == 0 and year % 100 != 0))


@reference
def same_parity(a: int, b: int) -> tuple[int, ...]:
    """Are both even or both odd?"""
    return words((a - b) % 2 == 0)


@reference
def field_less(a: int, b: int) -> tuple[int, ...]:
    """a < b for any two words, by their halves."""
    return words(a < b)


# bits


@reference
def bit_at(word: int, position: int) -> tuple[int, ...]:
    """A bit of a word; the position counts modulo 32."""
    return words((word >> position % 32) % 2)


@reference
def set_bit(word: int, position: int) -> tuple[int, ...]:
    """A word with one bit set; the position counts modulo 32."""
    return words(word | 1 << position % 32)


@reference
def clear_bit(word: int, position: int) -> tuple[int, ...]:
    """A word with one bit cleared; the position counts modulo 32."""
    return words(word & ~(1 << position % 32))


@reference
def toggle_bits(word: int, mask: int, enable: int) -> tuple[int, ...]:
    """A word with the bits of a mask turned round where enabled."""
    return words(word ^ mask if enable else word)


@reference
def u32_not(word: int) -> tuple[int, ...]:
    """All bits turned round."""
    return words(U32 - 1 - word)


@reference
def and_not(word: int, mask: int) -> tuple[int, ...]:
    """The bits of a word that are not in a mask."""
    return words(word & ~mask)


@reference
def low_bits(word: int, count: int) -> tuple[int, ...]:
    """The lowest bits of a word; the count modulo 32."""
    return words(word % 2 ** (count % 32))


@reference
def bit_field(word: int) -> tuple[int, ...]:
    """Bits 5 to 10 of a word."""
    return words(word // 32 % 64)


@reference
def is_power_of_two(word: int) -> tuple[int, ...]:
    """Is exactly one bit set?"""
    return words(word in [2**k for k in range(32)])


@reference
def hamming_distance(a: int, b: int) -> tuple[int, ...]:
    """In how many bits do two words differ?"""
    return words((a ^ b).bit_count())


@reference
def bit_parity(word: int) -> tuple[int, ...]:
    """Is the number of set bits odd?"""
    return words(word.bit_count() % 2)


@reference
def zero_bits(word: int) -> tuple[int, ...]:
    """How many bits are not set?"""
    return words(f"{word:032b}".count("0"))


@reference
def leading_zeros(word: int) -> tuple[int, ...]:
    """Zeros before the highest set bit."""
    return words(32 - word.bit_length())


@reference
def lowest_set_bit(word: int) -> tuple[int, ...]:
    """A word's lowest set bit alone."""
    return words(next(2**k for k in range(32) if word >> k & 1))


@reference
def trailing_zeros(word: int) -> tuple[int, ...]:
    """Zeros behind the lowest set bit."""
    return words(next(k for k in range(32) if word >> k & 1))


@reference
def without_lowest_bit(word: int) -> tuple[int, ...]:
    """A word without its lowest set bit."""
    return words(word - (word & -word))


@reference
def align_to_8(offset: int) -> tuple[int, ...]:
    """An offset rounded down to a multiple of eight."""
    return words(offset // 8 * 8)


@reference
def gray_code(number: int) -> tuple[int, ...]:
    """The Gray code of a number."""
    return words(word_of_bits([bit_of(number, k) ^ bit_of(number, k + 1) for k in range(32)]))


@reference
def blend_bits(mask: int, ones: int, zeros: int) -> tuple[int, ...]:
    """Bits of one word where the mask has ones, of another where it has zeros."""
    return words(word_of_bits([bit_of(ones if bit_of(mask, k) else zeros, k) for k in range(32)]))


@reference
def bool_majority(a: int, b: int, c: int) -> tuple[int, ...]:
    """Are at least two of three true?"""
    return words(sorted((a, b, c))[1])


@reference
def bool_xor(a: int, b: int) -> tuple[int, ...]:
    """Exclusive or of two Booleans, as arithmetic."""
    return words(a != b)


@reference
def bool_implies(premise: int, conclusion: int) -> tuple[int, ...]:
    """Not premise, or conclusion."""
    return words(premise <= conclusion)


@reference
def rotate_left_7(word: int) -> tuple[int, ...]:
    """A word's bits, seven places to the left and round."""
    return words(rotated(word, 7))


@reference
def rotate_left(word: int, count: int) -> tuple[int, ...]:
    """A word's bits to the left and round; the count modulo 32."""
    return words(rotated(word, count % 32))


# selection


@reference
def u32_max(a: int, b: int) -> tuple[int, ...]:
    """The larger of two words."""
    return words(max(a, b))


@reference
def u32_min3(a: int, b: int, c: int) -> tuple[int, ...]:
    """The smallest of three words, without a branch."""
    return words(min(a, b, c))


@reference
def u32_clamp(value: int, low: int, high: int) -> tuple[int, ...]:
    """A word, brought between two limits; the upper one prevails."""
    return words(min(max(value, low), high))


@reference
def saturate_to_byte(value: int) -> tuple[int, ...]:
    """A word, at most 255."""
    return words(min(value, 255))


@reference
def relu(balance: int) -> tuple[int, ...]:
    """A signed word (p - n stands for -n), or 0 where it is negative."""
    return words(balance if balance < 2**63 else 0)


@reference
def signed_abs(balance: int) -> tuple[int, ...]:
    """A signed word (p - n stands for -n) without its sign."""
    return words(balance if balance < 2**63 else P - balance)


@reference
def sort_pair(a: int, b: int) -> tuple[int, ...]:
    """Two words in order."""
    return words(*sorted((a, b)))


@reference
def conditional_swap(condition: int, a: int, b: int) -> tuple[int, ...]:
    """Two words, exchanged on a condition."""
    return words(*((b, a) if condition else (a, b)))


@reference
def conditional_negate(condition: int, value: int) -> tuple[int, ...]:
    """A word, negated on a condition."""
    return words(-value if condition else value)


@reference
def conditional_increment(condition: int, counter: int) -> tuple[int, ...]:
    """A counter, one more on a condition."""
    return words(counter + condition)


@reference
def select_of_four(high_bit: int, low_bit: int, v0: int, v1: int, v2: int, v3: int) -> tuple[int, ...]:
    """One of four words by two bits."""
    return words((v0, v1, v2, v3)[2 * high_bit + low_bit])


@reference
def default_if_zero(value: int, default: int) -> tuple[int, ...]:
    """A word, or another one where it is 0."""
    return words(value or default)


@reference
def progressive_fee(amount: int) -> tuple[int, ...]:
    """Nothing up to 100, then 2 for each unit up to 1000, then 5."""
    return words(2 * max(min(amount, 1000) - 100, 0) + 5 * max(amount - 1000, 0))


@reference
def select_pair(condition: int, a0: int, a1: int, b0: int, b1: int) -> tuple[int, ...]:
    """The first pair where the condition holds, else the second."""
    return words(*((a0, a1) if condition else (b0, b1)))


# range_check


@reference
def assert_byte(value: int) -> tuple[int, ...]:
    """A word that must be below 256."""
    must(value < 256)
    return words(value)


@reference
def assert_u16_pair(a: int, b: int) -> tuple[int, ...]:
    """Two words that must both be below 2^16."""
    must(a < 2**16 and b < 2**16)
    return words(a, b)


@reference
def assert_bool(value: int) -> tuple[int, ...]:
    """A word that must be 0 or 1."""
    must(value in (0, 1))
    return words(value)


@reference
def assert_nonzero(value: int) -> tuple[int, ...]:
    """A word that must not be 0."""
    must(value != 0)
    return words(value)


@reference
def assert_between(value: int, low: int, high: int) -> tuple[int, ...]:
    """A word that must lie between two limits."""
    must(low <= value <= high)
    return words(value)


@reference
def assert_ordered3(a: int, b: int, c: int) -> tuple[int, ...]:
    """Fails unless a <= b <= c."""
    must(a <= b <= c)
    return words()


@reference
def assert_all_different3(a: int, b: int, c: int) -> tuple[int, ...]:
    """Fails where two of three words are the same."""
    must(len({a, b, c}) == 3)
    return words()


@reference
def assert_index(index: int, length: int) -> tuple[int, ...]:
    """An index that must be below a length."""
    must(index < length)
    return words(index)


@reference
def assert_low_bits(word: int, b1: int, b0: int) -> tuple[int, ...]:
    """Fails unless two bits are the lowest of a word."""
    must(f"{word:02b}"[-2:] == f"{b1}{b0}")
    return words()


@reference
def assert_multiple(value: int, divisor: int) -> tuple[int, ...]:
    """The quotient of a division that must leave nothing."""
    must(value % divisor == 0)
    return words(value // divisor)


@reference
def assert_pairs_equal(a1: int, a0: int, b1: int, b0: int) -> tuple[int, ...]:
    """A pair of words that must be the same as another one, compared as five words."""
    must((a1, a0) == (b1, b0))
    return words(a1, a0)


@reference
def fits_u16(value: int) -> tuple[int, ...]:
    """Is a word below 2^16?"""
    return words(value < 2**16)


@reference
def fits_u32(value: int) -> tuple[int, ...]:
    """Is a word below 2^32?"""
    return words(value < U32)


@reference
def checked_transfer(sender: int, receiver: int, amount: int) -> tuple[int, ...]:
    """Balances after a transfer, which must be covered and must not overflow."""
    must(amount <= sender and receiver + amount < U32)
    return words(sender - amount, receiver + amount)


@reference
def assert_valid_time(hour: int, minute: int, second: int) -> tuple[int, ...]:
    """Seconds since midnight of a time that must be one."""
    must(hour < 24 and minute < 60 and second < 60)
    return words(3600 * hour + 60 * minute + second)


# hashing


@reference
def hash_tagged_word(tag: int, word: int) -> tuple[int, ...]:
    """Digest of a tag and a word, filled up with zeros."""
    return words(*digest_of(tag, word))


@reference
def hash_five(w4: int, w3: int, w2: int, w1: int, w0: int) -> tuple[int, ...]:
    """Digest of a digest alone, filled up with zeros."""
    return words(*digest_of(w0, w1, w2, w3, w4))


@reference
def hash_twice(word: int) -> tuple[int, ...]:
    """Digest of the digest of one word."""
    return words(*digest_of(*reversed(digest_of(word))))


@reference
def hash_to_bool(word: int, salt: int) -> tuple[int, ...]:
    """A pseudo-random bit of two words."""
    return words(digest_of(word, salt)[-1] % 2)


@reference
def hash_to_extension(seed: int) -> tuple[int, ...]:
    """A pseudo-random element of the extension field."""
    return words(*digest_of(seed)[2:])


@reference
def digest_fold(d4: int, d3: int, d2: int, d1: int, d0: int, challenge: int) -> tuple[int, ...]:
    """A digest as one word: its words as coefficients at a challenge."""
    return words(polynomial((d0, d1, d2, d3, d4), challenge))


@reference
def digest_equal(
    a4: int, a3: int, a2: int, a1: int, a0: int, b4: int, b3: int, b2: int, b1: int, b0: int
) -> tuple[int, ...]:
    """Are two digests the same?"""
    return words((a4, a3, a2, a1, a0) == (b4, b3, b2, b1, b0))


@reference
def swap_digests(
    a4: int, a3: int, a2: int, a1: int, a0: int, b4: int, b3: int, b2: int, b1: int, b0: int
) -> tuple[int, ...]:
    """Two digests, exchanged in place."""
    return words(b4, b3, b2, b1, b0, a4, a3, a2, a1, a0)


@reference
def merkle_two_levels(
    index: int, d4: int, d3: int, d2: int, d1: int, d0: int, *, digests: Digests
) -> tuple[int, ...]:
    """A node's digest two levels up a Merkle tree; the siblings are secret."""
    lower = parent(index, (d4, d3, d2, d1, d0), take_digest(digests))
    upper = parent(index // 2, lower, take_digest(digests))
    return words(index // 4, *upper)


@reference
def merkle_left_leaf(leaf: int, *, digests: Digests) -> tuple[int, ...]:
    """The parent of a leaf that is one hashed word, on the left of a secret sibling."""
    return words(*parent(2, digest_of(leaf), take_digest(digests)))


@reference
def merkle_step_from_memory(
    path: int, index: int, d4: int, d3: int, d2: int, d1: int, d0: int, *, ram: Ram
) -> tuple[int, ...]:
    """One level up a Merkle tree; the sibling lies in memory."""
    sibling = [load(ram, path + k) for k in range(5)]
    return words(path + 5, index // 2, *parent(index, (d4, d3, d2, d1, d0), sibling))


@reference
def commit_with_secret(value: int, *, secret: Words) -> tuple[int, ...]:
    """Commitment to a value: its digest with a secret blinding word."""
    return words(*digest_of(value, take(secret)))


@reference
def sponge_digest3(w2: int, w1: int, w0: int) -> tuple[int, ...]:
    """Digest of three words by the sponge, padded with a one."""
    state = Tip5.permutation([w0, w1, w2, 1, *[0] * 12])
    return words(*reversed(state[:5]))


@reference
def fiat_shamir_challenge(transcript: int, *, ram: Ram) -> tuple[int, ...]:
    """Ten words of memory absorbed; the first word that is squeezed."""
    return words(Tip5.permutation([*(load(ram, transcript + k) for k in range(10)), *[0] * 6])[0])


# memory


@reference
def mem_copy_word(source: int, target: int, *, ram: Ram) -> tuple[int, ...]:
    """One word from one place to another."""
    store(ram, target, load(ram, source))
    return words()


@reference
def mem_copy3(source: int, target: int, *, ram: Ram) -> tuple[int, ...]:
    """Three words, all read before any is written."""
    moved = [load(ram, source + k) for k in range(3)]
    store(ram, target, *moved)
    return words()


@reference
def mem_copy_one_by_one(source: int, target: int, *, ram: Ram) -> tuple[int, ...]:
    """Three words, each written before the next is read."""
    for k in range(3):
        store(ram, target + k, load(ram, source + k))
    return words()


@reference
def mem_swap_pairs(left: int, right: int, *, ram: Ram) -> tuple[int, ...]:
    """Two words exchanged with two others."""
    from_left = [load(ram, left), load(ram, left + 1)]
    from_right = [load(ram, right), load(ram, right + 1)]
    store(ram, left, *from_right)
    store(ram, right, *from_left)
    return words()


@reference
def mem_increment(counter: int, *, ram: Ram) -> tuple[int, ...]:
    """A counter in memory, one more; its new value."""
    store(ram, counter, load(ram, counter) + 1)
    return words(load(ram, counter))


@reference
def mem_add_to(amount: int, account: int, *, ram: Ram) -> tuple[int, ...]:
    """An amount added to a word of memory."""
    store(ram, account, load(ram, account) + amount)
    return words()


@reference
def mem_clear5(start: int, *, ram: Ram) -> tuple[int, ...]:
    """Five words set to 0."""
    store(ram, start, 0, 0, 0, 0, 0)
    return words()


@reference
def mem_sum4(start: int, *, ram: Ram) -> tuple[int, ...]:
    """Sum of four words in a row."""
    return words(sum(load(ram, start + k) for k in range(4)))


@reference
def mem_dot2(left: int, right: int, *, ram: Ram) -> tuple[int, ...]:
    """Inner product of two vectors of two in memory."""
    return words(sum(load(ram, left + k) * load(ram, right + k) for k in range(2)))


@reference
def mem_equal2(left: int, right: int, *, ram: Ram) -> tuple[int, ...]:
    """Are two pairs of words in memory the same?"""
    return words(all(load(ram, left + k) == load(ram, right + k) for k in range(2)))


@reference
def mem_lookup8(table: int, index: int, *, ram: Ram) -> tuple[int, ...]:
    """An entry of a table of eight; the index counts modulo 8."""
    return words(load(ram, table + index % 8))


@reference
def mem_load_field(record: int, *, ram: Ram) -> tuple[int, ...]:
    """The members at offsets 1 and 3 of a record."""
    return words(load(ram, record + 1), load(ram, record + 3))


@reference
def mem_follow(pointer: int, *, ram: Ram) -> tuple[int, ...]:
    """The word behind the pointer in a word of memory, one further."""
    return words(load(ram, load(ram, pointer) + 1))


@reference
def mem_push(stack_pointer: int, word: int, *, ram: Ram) -> tuple[int, ...]:
    """A word put on a stack whose length is its first word."""
    length = load(ram, stack_pointer)
    store(ram, stack_pointer + 1 + length, word)
    store(ram, stack_pointer, length + 1)
    return words()


@reference
def mem_axpy2(scale: int, source: int, target: int, *, ram: Ram) -> tuple[int, ...]:
    """target += scale*source for vectors of two, one word after the other."""
    for k in range(2):
        store(ram, target + k, load(ram, target + k) + scale * load(ram, source + k))
    return words()


@reference
def mem_reverse3(start: int, *, ram: Ram) -> tuple[int, ...]:
    """Three words in reverse order."""
    store(ram, start, *[load(ram, start + k) for k in (2, 1, 0)])
    return words()


@reference
def mem_ext_mul(left: int, right: int, target: int, *, ram: Ram) -> tuple[int, ...]:
    """Product of two extension-field elements in memory, stored."""
    product = extension_product(load_extension(ram, left), load_extension(ram, right))
    store(ram, target, *reversed(product))
    return words()


@reference
def mem_ext_dot2(left: int, right: int, *, ram: Ram) -> tuple[int, ...]:
    """Inner product of two vectors of two extension-field elements."""
    pairs = [(load_extension(ram, left + k), load_extension(ram, right + k)) for k in (0, 3)]
    return words(*(sum(column) for column in zip(*(extension_product(*pair) for pair in pairs), strict=True)))


@reference
def mem_mixed_dot3(elements: int, scalars: int, *, ram: Ram) -> tuple[int, ...]:
    """Three extension-field elements, each times a base-field word, added."""
    vectors = [load_extension(ram, elements + 3 * k) for k in range(3)]
    weights = [load(ram, scalars + k) for k in range(3)]
    return words(*(dot(column, weights) for column in zip(*vectors, strict=True)))


@reference
def mem_fill8(value: int, start: int, *, ram: Ram) -> tuple[int, ...]:
    """Eight words set to a value, the last first."""
    store(ram, start, *[value] * 8)
    return words()


@reference
def mem_poly_eval(coefficients: int, x: int, *, ram: Ram) -> tuple[int, ...]:
    """A polynomial of degree five at x; its six coefficients lie in memory, the constant one first."""
    return words(polynomial([load(ram, coefficients + k) for k in range(6)], x))


@reference
def mem_sum_some(start: int, length: int, *, ram: Ram) -> tuple[int, ...]:
    """Sum of up to fifteen words; the length counts modulo 16."""
    return words(sum(load(ram, start + k) for k in range(length % 16)))


@reference
def mem_read_down2(cursor: int, *, ram: Ram) -> tuple[int, ...]:
    """Two words from the cursor downwards, and the cursor behind them."""
    return words(load(ram, cursor), load(ram, cursor - 1), cursor - 2)


@reference
def mem_append2(cursor: int, first: int, second: int, *, ram: Ram) -> tuple[int, ...]:
    """Two words written at the cursor, and the cursor behind them."""
    store(ram, cursor, first, second)
    return words(cursor + 2)


@reference
def mem_publish(record: int, *, ram: Ram, output: Words) -> tuple[int, ...]:
    """Two words of memory and their sum, written to the public output."""
    low, high = load(ram, record), load(ram, record + 1)
    output += words(low, high, low + high)
    return words()


@reference
def mem_store_input(target: int, *, ram: Ram, public: Words) -> tuple[int, ...]:
    """Three words of the public input, stored; the first one at the highest address."""
    first, second, third = take(public), take(public), take(public)
    store(ram, target, third, second, first)
    return words()


# encoding


@reference
def pack_u16_pair(high: int, low: int) -> tuple[int, ...]:
    """The lower halves of two words as one word."""
    return words(high % 2**16 * 2**16 + low % 2**16)


@reference
def unpack_u16_pair(word: int) -> tuple[int, ...]:
    """The halves of a word."""
    return words(*divmod(word, 2**16))


@reference
def swap_u16_halves(word: int) -> tuple[int, ...]:
    """A word with its halves exchanged."""
    return words(rotated(word, 16))


@reference
def pack_bytes(b3: int, b2: int, b1: int, b0: int) -> tuple[int, ...]:
    """Four bytes as one word, the first one highest; they are not checked."""
    return words(2**24 * b3 + 2**16 * b2 + 2**8 * b1 + b0)


@reference
def unpack_bytes(word: int) -> tuple[int, ...]:
    """The four bytes of a word, the highest first."""
    return words(*word.to_bytes(4, "big"))


@reference
def reverse_bytes(word: int) -> tuple[int, ...]:
    """A word with its four bytes in reverse order."""
    return words(int.from_bytes(word.to_bytes(4, "little"), "big"))


@reference
def pack_rgb565(red: int, green: int, blue: int) -> tuple[int, ...]:
    """A colour of three bytes in sixteen bits."""
    return words(red % 256 // 8 * 2048 + green % 256 // 4 * 32 + blue % 256 // 8)


@reference
def pack_date(year: int, month: int, day: int) -> tuple[int, ...]:
    """A date as one word: day in five bits, month in four, year above."""
    return words((year << 9) + (month << 5) + day)


@reference
def unpack_date(date: int) -> tuple[int, ...]:
    """Year, month and day of a packed date."""
    return words(date >> 9, date >> 5 & 15, date & 31)


@reference
def decimal_digits3(number: int) -> tuple[int, ...]:
    """The last three decimal digits of a number."""
    return words(*(int(digit) for digit in f"{number:03}"[-3:]))


@reference
def bcd_byte(number: int) -> tuple[int, ...]:
    """The last two decimal digits in four bits each."""
    return words(int(f"{number:02}"[-2:], 16))


@reference
def zigzag_decode(code: int) -> tuple[int, ...]:
    """0, 1, 2, 3, 4 as 0, -1, 1, -2, 2."""
    return words(-(code + 1) // 2 if code % 2 else code // 2)


@reference
def join_limbs(high: int, low: int) -> tuple[int, ...]:
    """high*2^32 + low in the field."""
    return words((high << 32) + low)


@reference
def join_canonical(high: int, low: int) -> tuple[int, ...]:
    """high*2^32 + low, which must be below p."""
    must((high << 32) + low < P)
    return words((high << 32) + low)


@reference
def limbs_of_u16(word: int) -> tuple[int, ...]:
    """Any word as four limbs of sixteen bits, the highest first."""
    return words(*(word >> shift & 0xFFFF for shift in (48, 32, 16, 0)))


@reference
def tagged_pointer(pointer: int, tag: int) -> tuple[int, ...]:
    """A pointer with a tag of three bits below it."""
    return words(pointer << 3 | tag % 8)


@reference
def varint_length(number: int) -> tuple[int, ...]:
    """How many bytes of seven bits a number takes."""
    return words(max(1, -(-number.bit_length() // 7)))


@reference
def reveal_pair(first: int, second: int, *, output: Words) -> tuple[int, ...]:
    """Two words published under tag 7."""
    output += [7, second, first]
    return words()


@reference
def seal_note(owner: int, amount: int, *, output: Words) -> tuple[int, ...]:
    """The digest of an owner and an amount published under tag 3."""
    output += reversed(digest_of(3, 0, 0, 0, 0, 0, 0, 0, amount, owner))
    return words()


# rounds


@reference
def sbox7(x: int) -> tuple[int, ...]:
    """x^7, a usual S-box, by single products."""
    return words(pow(x, 7, P))


@reference
def mimc_round(x: int, key: int, constant: int) -> tuple[int, ...]:
    """(x + key + constant)^3."""
    return words(pow(x + key + constant, 3, P))


@reference
def mimc_feistel_round(left: int, right: int, constant: int) -> tuple[int, ...]:
    """A Feistel round with a cube."""
    return words(right + pow(left + constant, 3, P), left)


@reference
def poseidon_external_layer4(x0: int, x1: int, x2: int, x3: int) -> tuple[int, ...]:
    """Each word plus the sum of all four."""
    return words(2 * x0 + x1 + x2 + x3, x0 + 2 * x1 + x2 + x3, x0 + x1 + 2 * x2 + x3, x0 + x1 + x2 + 2 * x3)


@reference
def poseidon_internal_layer3(x0: int, x1: int, x2: int) -> tuple[int, ...]:
    """Each word times 2, 3 or 5, plus the sum of all three."""
    return words(3 * x0 + x1 + x2, x0 + 4 * x1 + x2, x0 + x1 + 6 * x2)


@reference
def poseidon_partial_round3(x0: int, x1: int, x2: int) -> tuple[int, ...]:
    """A constant and an S-box on the first word, then the internal layer."""
    s = pow(x0 + 1234567, 7, P)
    return words(2 * s + x1 + x2, s + 3 * x1 + x2, s + x1 + 5 * x2)


@reference
def poseidon_full_round2(x0: int, x1: int, k0: int, k1: int) -> tuple[int, ...]:
    """Constants, S-boxes and the matrix 2 1, 1 2."""
    s0, s1 = pow(x0 + k0, 7, P), pow(x1 + k1, 7, P)
    return words(2 * s0 + s1, s0 + 2 * s1)


@reference
def mds_matrix2(x0: int, x1: int) -> tuple[int, ...]:
    """The matrix 7 23, 8 26 times two words, its entries as sums."""
    return words(7 * x0 + 23 * x1, 8 * x0 + 26 * x1)


@reference
def xorshift32(state: int) -> tuple[int, ...]:
    """A step of Marsaglia's generator: 13 left, 17 right, 5 left."""
    state ^= state << 13 & U32 - 1
    state ^= state >> 17
    state ^= state << 5 & U32 - 1
    return words(state)


@reference
def lcg_next(state: int) -> tuple[int, ...]:
    """A step of a linear congruential generator."""
    return words((1664525 * state + 1013904223) % U32)


@reference
def fnv1a_step(state: int, byte: int) -> tuple[int, ...]:
    """A byte taken into an FNV-1a hash of 32 bits."""
    return words((state ^ byte % 256) * 0x01000193 % U32)


@reference
def sha256_choose(e: int, f: int, g: int) -> tuple[int, ...]:
    """Bits of f where e has ones, of g where it has zeros."""
    return words(word_of_bits([bit_of(f if bit_of(e, k) else g, k) for k in range(32)]))


@reference
def sha256_majority(a: int, b: int, c: int) -> tuple[int, ...]:
    """Each bit as most of three words have it."""
    return words(word_of_bits([bit_of(a, k) + bit_of(b, k) + bit_of(c, k) >= 2 for k in range(32)]))


@reference
def sha256_small_sigma0(word: int) -> tuple[int, ...]:
    """Rotations to the right by 7 and 18 and a shift by 3."""
    return words(rotated(word, 25) ^ rotated(word, 14) ^ word // 8)


@reference
def chi_row3(a: int, b: int, c: int) -> tuple[int, ...]:
    """The non-linear step of a Keccak-like permutation on three words."""
    return words(a ^ (~b & c), b ^ (~c & a), c ^ (~a & b))


@reference
def arx_quarter(a: int, b: int, d: int) -> tuple[int, ...]:
    """The first quarter of a ChaCha round: add, xor, rotate by 16."""
    return words((a + b) % U32, rotated(d ^ (a + b) % U32, 16))


@reference
def double_square_map(x: int) -> tuple[int, ...]:
    """Two steps of x^2 + 1."""
    return words((x * x + 1) ** 2 + 1)


# statistics


@reference
def mean4(a: int, b: int, c: int, d: int) -> tuple[int, ...]:
    """Mean of four field elements."""
    return words((a + b + c + d) * inverse(4))


@reference
def sum_of_squares4(a: int, b: int, c: int, d: int) -> tuple[int, ...]:
    """Sum of four squares."""
    return words(sum(value * value for value in (a, b, c, d)))


@reference
def variance_numerator3(a: int, b: int, c: int) -> tuple[int, ...]:
    """n times the sum of squares less the square of the sum, for three."""
    return words((a - b) ** 2 + (b - c) ** 2 + (a - c) ** 2)


@reference
def covariance_numerator2(x0: int, x1: int, y0: int, y1: int) -> tuple[int, ...]:
    """n times the sum of products less the product of the sums, for two pairs."""
    return words((x0 - x1) * (y0 - y1))


@reference
def weighted_mean2(a: int, weight_a: int, b: int, weight_b: int) -> tuple[int, ...]:
    """Mean of two elements by weights; fails where those add up to 0."""
    return words(dot((a, b), (weight_a, weight_b)) * inverse(weight_a + weight_b))


@reference
def median3(a: int, b: int, c: int) -> tuple[int, ...]:
    """The middle one of three words, without a branch."""
    return words(sorted((a, b, c))[1])


@reference
def range2(a: int, b: int) -> tuple[int, ...]:
    """The larger word less the smaller one."""
    return words(max(a, b) - min(a, b))


@reference
def midrange(smallest: int, largest: int) -> tuple[int, ...]:
    """Half the sum of two words, rounded down; fails where the sum overflows."""
    must(smallest + largest < U32)
    return words((smallest + largest) // 2)


@reference
def running_total(count: int, total: int, squares: int, value: int) -> tuple[int, ...]:
    """Count, sum and sum of squares with one more value."""
    return words(count + 1, total + value, squares + value**2)


@reference
def moving_average(average: int, value: int) -> tuple[int, ...]:
    """Seven eighths of the average and an eighth of the value, each rounded down."""
    return words(average - average // 8 + value // 8)


@reference
def percentage(part: int, whole: int) -> tuple[int, ...]:
    """Hundred times a part of a whole, rounded down; the part counts modulo 2^16."""
    return words(part % 65536 * 100 // whole)


@reference
def third_moment2(a: int, b: int, center: int) -> tuple[int, ...]:
    """Sum of the cubes of two distances from a center."""
    return words(pow(a - center, 3, P) + pow(b - center, 3, P))


@reference
def squared_error3(x0: int, x1: int, x2: int, y0: int, y1: int, y2: int) -> tuple[int, ...]:
    """Sum of squared differences of two vectors of three."""
    return words((x0 - y0) ** 2 + (x1 - y1) ** 2 + (x2 - y2) ** 2)


@reference
def count_above(threshold: int, a: int, b: int, c: int) -> tuple[int, ...]:
    """How many of three words are above a threshold?"""
    return words(sum(value > threshold for value in (a, b, c)))
