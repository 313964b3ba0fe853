"""The record of the comparison, as plain numpy columns: what every library is given.

The record: a 32-byte hash, seven scalar columns, a priority, and 4 to 64 token ids. Twice: padded to 64 tokens,
which the peers store, and ragged, which Ostinato stores. Neither form is made while a clock runs.

Rule of this file: numpy alone, so that a child measures its own library's import and no other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LONGEST = 64
WORDS = 2000
PROGRAMS = 1000
SCALARS = (
    "length",
    "valid",
    "fallback_used",
    "clock_cycles",
    "compiler_cycles",
    "timestamp",
    "model_version",
)
DENSE = ("tokens", "tir_hash", *SCALARS)
RAGGED = ("tir_hash", "flat", "offsets", *SCALARS[1:])

Columns = dict[str, NDArray[Any]]


def words() -> list[str]:
    """The instructions that token ids stand for."""
    return [f"push {k}" for k in range(WORDS)]


def make(n: int, seed: int = 0) -> Columns:
    """n records: DENSE, and `flat` and `offsets`, the same tokens one record after the other."""
    rng = np.random.default_rng(seed)
    length = rng.integers(4, LONGEST + 1, n).astype(np.int32)
    tokens = rng.integers(0, WORDS, (n, LONGEST)).astype(np.int32)
    mask = np.arange(LONGEST) < length[:, None]
    tokens[~mask] = 0
    valid = rng.random(n) < 0.7
    return {
        "tokens": tokens,
        "flat": tokens[mask],
        "offsets": np.concatenate([[0], np.cumsum(length)]).astype(np.int64),
        "tir_hash": rng.integers(0, 256, (PROGRAMS, 32), np.uint8)[rng.integers(0, PROGRAMS, n)],
        "priority": rng.exponential(size=n),
        "length": length,
        "valid": valid,
        "fallback_used": valid & (rng.random(n) < 0.3),
        "clock_cycles": rng.integers(1, 100_000, n).astype(np.uint64),
        "compiler_cycles": rng.integers(1, 100_000, n).astype(np.uint64),
        "timestamp": (1_700_000_000 + np.arange(n)).astype(np.uint64),
        "model_version": (np.arange(n) * 2000 // n).astype(np.uint32),
    }


def cut(columns: Columns, size: int) -> list[Columns]:
    """The records in chunks of `size`; copies, as from a builder, not one large array that a cache knows."""
    count = len(columns["length"]) // size
    return [_part(columns, k * size, (k + 1) * size) for k in range(count)]


def _part(columns: Columns, start: int, stop: int) -> Columns:
    offsets = columns["offsets"]
    part = {name: columns[name][start:stop].copy() for name in (*DENSE, "priority")}
    part["flat"] = columns["flat"][offsets[start] : offsets[stop]].copy()
    part["offsets"] = offsets[start : stop + 1] - offsets[start]
    return part


def distinct(columns: Columns, first: int) -> Columns:
    """The same records, ragged, their first tokens counting from `first` on: no two alike, however many are made."""
    flat = columns["flat"].copy()
    number = first + np.arange(len(columns["length"]))
    for place in range(4):
        flat[columns["offsets"][:-1] + place] = number % WORDS
        number //= WORDS
    return {**columns, "flat": flat}
