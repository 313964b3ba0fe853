"""Shaping: priorities from rewards and errors, as functions on columns. Beside the seed's `ostinato.reward`.

Rule of this file: results are the same on every machine, as the draws that follow from them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from ostinato.errors import UsageError


def td_priority(
    errors: npt.ArrayLike, *, epsilon: float = 1e-6, clip: float | None = None
) -> NDArray[np.float64]:
    """|error| + epsilon, float64[n]: proportional prioritization (Schaul et al. 2016, section 3.3).

    Args:
        errors: float[n], temporal-difference errors, losses, or whatever tells surprise.
        epsilon: >= 0, so that what fits today can be drawn again; 0 takes it out for good.
        clip: the largest |error| that counts; None is all.
    Raises:
        UsageError: an error is NaN or infinite, or an argument is negative. Cost: O(n).
    """
    values = np.abs(_finite(errors, "errors"))
    for name, value in (("epsilon", epsilon), ("clip", 0.0 if clip is None else clip)):
        if not 0 <= value < np.inf:
            raise UsageError(f"expected a finite number >= 0, got {value!r}", name)
    return (values if clip is None else np.minimum(values, clip)) + epsilon


def scale_free_priority(rewards: npt.ArrayLike, times_sampled: npt.ArrayLike) -> NDArray[np.float64]:
    """sigmoid((r - median) / MAD) / (1 + times sampled), float64[n]: ShinkaEvolve's parent weight, for any scale.

    MAD is the median absolute deviation from the median; where it is 0 (over half of the rewards are equal) the mean
    absolute deviation stands in for it, and where that is 0 too, every sigmoid is 1/2.

    Args:
        rewards: float[n]. times_sampled: int[n], >= 0, such as `batch.times_sampled`.
    Raises:
        UsageError: a reward is NaN or infinite, a count is negative, or there are not as many. Cost: O(n).
    """
    from ostinato.replay import sum_tree_kernels as kernels

    values = _finite(rewards, "rewards")
    counts = _finite(times_sampled, "times_sampled")
    if counts.shape != values.shape:
        raise UsageError(f"expected {len(values)} counts, got {len(counts)}", "times_sampled")
    if (counts < 0).any():
        raise UsageError(f"expected numbers >= 0, got {counts.min():g}", "times_sampled")
    if not len(values):
        return values
    if np.abs(values).max() > 1e300:
        # so that no sum or difference is beyond float64; quotients stay as they are
        values = values * 2.0**-40
    away = values - np.median(values)
    scale = float(np.median(np.abs(away))) or float(np.mean(np.abs(away)))
    out = np.empty(len(values))
    with np.errstate(over="ignore"):
        kernels.sigmoids(away / scale if scale else np.zeros(len(values)), out)
    return out / (1.0 + counts)


def _finite(values: npt.ArrayLike, name: str) -> NDArray[np.float64]:
    if np.ma.is_masked(values):
        raise UsageError("expected no masked values: an unmeasured cost is no number", name)
    array = np.atleast_1d(np.asarray(values))
    if array.ndim != 1 or array.dtype.kind not in "fiu":
        raise UsageError(f"expected numbers of one dimension, got {array.dtype} of {array.ndim}", name)
    if not np.isfinite(array).all():
        first = int(np.argmin(np.isfinite(array)))
        raise UsageError(f"expected finite numbers, got {array[first]}", f"{name}[{first}]")
    return array.astype(np.float64)
