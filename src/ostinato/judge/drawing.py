"""Test inputs, drawn: structured ones first, then mixtures; RAM filled around every address in use.

Rule of this file: arguments stay in the domain of their types, and the same generator gives the same inputs everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ostinato.goldilocks import P
from ostinato.judge.inputs import BELOW, Expected, Input, Reference

U32 = 2**32
EDGES = (0, 1, 2, 3, P - 1, P - 2, U32 - 1, U32, U32 + 1, 2**63, 2**31, P - U32, 255, 256, 65535)
U32_EDGES = (0, 1, 2, 3, 2**31, 2**31 - 1, 2**31 + 1, U32 - 1, U32 - 2, 4, 7, 8, 255, 256, 65535, 65536)

_FILLED = 64  # addresses from 0 on
_AROUND_ARGUMENT, _AROUND_USE = 16, 8
_LEFT_OVER = 4  # inputs beyond those that are read
_MOST_READ = 4096
_SHORT = 16  # one input in so many has one word less than is read
_EMPTY = {"EmptyPublicInput": "public", "EmptySecretInput": "secret", "EmptySecretDigestInput": "digests"}

Rng = np.random.Generator


def fits(kind: str, word: int) -> bool:
    """Is a word in the domain of a type?"""
    return fit(kind, word) == word


def fit(kind: str, word: int) -> int:
    """A word of the domain that looks like this one."""
    if kind == "u32":
        return word % U32
    if kind == "bool":
        return word % 2
    if kind == "positive":
        return word % U32 or 1
    return word % P


def draw(reference: Reference, count: int, rng: Rng) -> list[tuple[Input, Expected]]:
    """So many inputs for a reference, with what it leaves of them.

    Cost: some runs of the reference each, so that RAM is filled where it looks and inputs are as long as it reads.
    """
    fixed = structured(reference.types)
    sponge = any("sponge" in name for name in reference.operations())
    out: list[tuple[Input, Expected]] = []
    for k in range(count):
        if k < len(fixed) and k < (2 * count + 2) // 3:
            arguments = _addressed(fixed[k], reference.types, "apart", rng)
        else:
            arguments = mixed(reference.types, rng)
        out.append(complete(reference, arguments, k, rng, sponge))
    return out


def structured(types: Sequence[str]) -> list[tuple[int, ...]]:
    """Arguments with a plan, without repeats: all alike, in order, at the edges, one that differs from the others."""
    n = len(types)
    plans = [[0] * n, [1] * n, list(range(2, 2 + n)), list(range(1 + n, 1, -1)), [5] * n, [P - 1] * n]
    plans += [[U32 - 1] * n, [U32] * n]
    for i in range(n):
        plans += [[0] * i + [1] + [0] * (n - 1 - i), [7] * i + [8] + [7] * (n - 1 - i)]
    for i in range(n - 1):
        plans.append([11 + 13 * k if k != i + 1 else 11 + 13 * i for k in range(n)])
    for edge in EDGES + U32_EDGES:
        plans += [[edge] * n, [edge if k % 2 else k + 2 for k in range(n)]]
    fitted = (tuple(fit(kind, word) for kind, word in zip(types, plan, strict=True)) for plan in plans)
    return list(dict.fromkeys(fitted))


def mixed(types: Sequence[str], rng: Rng) -> tuple[int, ...]:
    """Arguments drawn one by one: small, at an edge, from everywhere, or like one that was drawn before."""
    words: list[int] = []
    for kind in types:
        word = any_word(kind, rng)
        if words and kind != "address" and _number(rng, 5) == 0:
            word = words[_number(rng, len(words))] + (0, 0, 1, P - 1)[_number(rng, 4)]
        words.append(fit(kind, word))
    layout = ("apart", "apart", "adjacent", "equal", "zero", "end", "middle")[_number(rng, 7)]
    return _addressed(words, types, layout, rng)


def any_word(kind: str, rng: Rng) -> int:
    """A word of a type."""
    narrow = kind in ("u32", "positive") or (kind == "any" and _number(rng, 2) == 0)
    choice = _number(rng, 4)
    if choice == 0:
        return fit(kind, _number(rng, 20))
    if choice == 1:
        edges = U32_EDGES if narrow else EDGES
        return fit(kind, edges[_number(rng, len(edges))])
    return fit(kind, _number(rng, U32 if narrow else P))


def _number(rng: Rng, end: int) -> int:
    return int(rng.integers(0, end, dtype=np.uint64))


def _addressed(words: Sequence[int], types: Sequence[str], layout: str, rng: Rng) -> tuple[int, ...]:
    """The same, with addresses apart, side by side, equal, or at an end of the memory."""
    out, base, seen = list(words), 100 + _number(rng, 100_000), 0
    step = {"apart": 1000, "adjacent": 1 + _number(rng, 3), "equal": 0}.get(layout, 40)
    base = {"zero": _number(rng, 4), "end": P - 1 - _number(rng, 20), "middle": U32 - 3}.get(layout, base)
    for i, kind in enumerate(types):
        if kind == "address":
            out[i] = (base + seen * step) % P
            seen += 1
    return tuple(out)


def complete(
    reference: Reference, arguments: tuple[int, ...], k: int, rng: Rng, sponge: bool
) -> tuple[Input, Expected]:
    """An input with these arguments: words below, RAM and inputs as the reference needs them, some left over."""
    given = Input(
        arguments=arguments,
        below=tuple(_ram_words(0, BELOW, rng)),
        public=_words(_LEFT_OVER, rng),
        secret=_words(_LEFT_OVER, rng),
        digests=tuple(_words(5, rng) for _ in range(2)),
        sponge=_words(16, rng) if sponge and k % 2 else None,
    )
    style = k % 4
    wanted = [*range(_FILLED)]
    for word, kind in zip(arguments, reference.types, strict=True):
        if kind == "address":
            wanted += [(word + d) % P for d in range(-_AROUND_ARGUMENT, _AROUND_ARGUMENT + 1)]
    given, expected = _filled(reference, given, wanted, style, rng)
    if expected.error == "OpStackError.FailedU32Conversion" and expected.touched and k % 8:
        given = replace(given, ram={address: word % U32 for address, word in given.ram.items()})
        given, expected = _filled(reference, given, [], 1, rng)
    trimmed, less = _trimmed(given, expected, k, rng)
    return trimmed, reference.run(trimmed) if less else expected  # what is left over changes nothing


def _words(count: int, rng: Rng) -> tuple[int, ...]:
    return tuple(_ram_words(0, count, rng))


def _filled(
    reference: Reference, given: Input, wanted: Sequence[int], style: int, rng: Rng
) -> tuple[Input, Expected]:
    """Fill RAM and lengthen inputs until the reference finds a word wherever it looks."""
    ram = dict(given.ram)
    pending = wanted
    while True:
        fresh = [address for address in dict.fromkeys(pending) if address not in ram]
        ram.update(zip(fresh, _ram_words(style, len(fresh), rng), strict=True))
        given = replace(given, ram=ram)
        expected = reference.run(given)
        around = (t + d for t in sorted(expected.touched) for d in range(-_AROUND_USE, _AROUND_USE + 1))
        pending = [address % P for address in around if address % P not in ram]
        short = _EMPTY.get(expected.error or "")
        if short is not None and len(getattr(given, short)) < _MOST_READ:
            count = len(getattr(given, short)) + 1
            more = tuple(_words(5, rng) for _ in range(count)) if short == "digests" else _words(count, rng)
            given = replace(given, **{short: getattr(given, short) + more})
        elif not pending or len(ram) > _MOST_READ:
            return given, expected
        ram = dict(ram)


def _ram_words(style: int, count: int, rng: Rng) -> list[int]:
    """Words for RAM: of all kinds, u32s, small ones, or mostly equal ones."""
    drawn = rng.integers(0, P, count, dtype=np.uint64).tolist()
    if style == 1:
        return [word % U32 for word in drawn]
    if style == 2:
        return [word % 16 for word in drawn]
    if style == 3:
        return [(7, 7, 8, 1)[word % 4] for word in drawn]
    edges = EDGES + U32_EDGES
    return [(word, word % U32, word % 20, edges[word % 31])[(word >> 16) % 4] for word in drawn]


def _trimmed(given: Input, expected: Expected, k: int, rng: Rng) -> tuple[Input, bool]:
    """Inputs as long as they are read, and some words more; now and then one less, and whether that is so."""
    extra = _number(rng, _LEFT_OVER + 1)
    if k % _SHORT == _SHORT - 1:
        extra = -1
    used = {"public": expected.public_used, "secret": expected.secret_used, "digests": expected.digests_used}
    cut = {
        name: getattr(given, name)[: max(0, count + extra) if count else extra + 1]
        for name, count in used.items()
    }
    return replace(given, **cut), extra < 0 and any(used.values())
