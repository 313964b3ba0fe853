"""What the tests of draws share: many draws, and whether they follow a distribution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ostinato import ReplayBuffer


def chi_square_limit(freedom: int) -> float:
    """Above this once in 100,000 tests, by Wilson and Hilferty 1931 (z = 4.265)."""
    ninth = 2 / (9 * freedom)
    return float(freedom * (1 - ninth + 4.265 * ninth**0.5) ** 3)


def misfit(ids: NDArray[np.int64], shares: dict[int, float]) -> float:
    """Chi-square of these draws over what it exceeds once in 100,000 tests."""
    assert set(ids.tolist()) <= shares.keys()
    expected = np.array(list(shares.values())) * len(ids)
    places = {identity: place for place, identity in enumerate(shares)}
    counts = np.bincount([places[i] for i in ids.tolist()], minlength=len(expected))
    small = expected < 5  # cells too small for the approximation count as one
    expected = np.append(expected[~small], expected[small].sum())
    counts = np.append(counts[~small], counts[small].sum())[expected > 0]
    expected = expected[expected > 0]
    return float(((counts - expected) ** 2 / expected).sum() / chi_square_limit(max(1, len(expected) - 1)))


def drawn(buffer: ReplayBuffer, batches: int, n: int) -> NDArray[np.int64]:
    return np.concatenate([buffer.sample(n).ids for _ in range(batches)])


def held(buffer: ReplayBuffer) -> list[int]:
    """The ids of all that are here, oldest first."""
    return buffer.ids().tolist()
