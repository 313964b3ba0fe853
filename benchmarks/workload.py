"""Realistic build results in any number, from a seed.

Lengths, instructions and fields are drawn from the 1,000 random records of a golden archive (30 instructions
on average, a third of them longer than 8 bytes, 2,508 distinct words, 484 bytes a record in a file).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ostinato import Results, Vocabulary, archive

TEMPLATE = Path(__file__).parent.parent / "tests" / "golden" / "archives" / "rand_1000.rkyv"


def realistic(n: int, seed: int = 0, programs: int = 1000) -> Results:
    """n build results as columns; `programs` distinct hashes."""
    rng = np.random.default_rng(seed)
    template = archive.read(TEMPLATE)
    vocabulary = Vocabulary()
    words, offsets = template.tokens(vocabulary)
    counts = rng.choice(np.diff(offsets), n)
    bounds = np.zeros(n + 1, np.int64)
    np.cumsum(counts, out=bounds[1:])
    hashes = rng.integers(0, 256, (programs, 32), np.uint8)
    like = rng.integers(0, len(template), n)
    return Results.from_columns(
        tir_hash=hashes[rng.integers(0, programs, n)],
        tokens=rng.choice(words, bounds[-1]),
        offsets=bounds,
        vocabulary=vocabulary,
        valid=template.valid[like],
        clock_cycles=template.clock_cycles[like],
        compiler_cycles=rng.integers(1, 100_000, n).astype(np.uint64),
        fallback_used=template.fallback_used[like],
        timestamp=1_700_000_000 + np.arange(n),
        model_version=np.arange(n) * 2000 // n,
    )
