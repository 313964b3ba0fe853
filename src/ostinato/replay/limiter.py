"""RateLimiter: how many records are drawn for each one that comes in (Reverb's term and rule).

Rule of this file: counts alone, no clock and no lock; the buffer does the waiting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ostinato.errors import UsageError


@dataclass(frozen=True, slots=True)
class RateLimiter:
    """Keeps the learner and the builders in step: whoever is too far ahead waits.

    With `ahead` = samples_per_insert * (records inserted - min_size) - records sampled:
    drawing n waits while the buffer has fewer than min_size records or ahead - n < -tolerance; inserting m
    waits while ahead + samples_per_insert * m > tolerance, once min_size were inserted.

    Args:
        samples_per_insert: > 0, records drawn for each that comes in, over time.
        min_size: records needed before the first draw, >= 1.
        tolerance: > 0, in records drawn: at least half a batch, or that batch could never be drawn. Infinite:
            only min_size counts.
        timeout_s: how long a call waits, >= 0, before it raises RateLimitError, which says what is missing. 0 does
            not wait.

    A call that had to wait and failed has done nothing. The waiting is the buffer's: a store's writers append
    whether anybody waits or not.
    """

    samples_per_insert: float
    min_size: int = 1
    tolerance: float = float("inf")
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        for name, zero in (("samples_per_insert", False), ("tolerance", False), ("timeout_s", True)):
            value: Any = getattr(self, name)
            is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
            if not is_number or not (value > 0 or (zero and value == 0)):
                raise UsageError(f"expected a number {'>= 0' if zero else '> 0'}, got {value!r}", name)
        if self.samples_per_insert == float("inf"):
            raise UsageError("expected a finite number", "samples_per_insert")
        size: Any = self.min_size
        if not isinstance(size, (int, np.integer)) or isinstance(size, bool) or size < 1:
            raise UsageError(f"expected an int >= 1, got {size!r}", "min_size")


class Balance:
    """A limiter's counts for one buffer."""

    def __init__(self, settings: RateLimiter) -> None:
        self.settings = settings
        self.inserted = 0
        self.sampled = 0

    @property
    def ahead(self) -> float:
        """Records that might be drawn already and were not."""
        return self.settings.samples_per_insert * (self.inserted - self.settings.min_size) - self.sampled

    def sample_lacks(self, n: int, size: int) -> str:
        """What is missing before n records can be drawn from `size`; empty if nothing.

        Raises:
            UsageError: they never can.
        """
        limiter = self.settings
        if n > 2 * limiter.tolerance:
            raise UsageError(
                f"{n} draws at once need a tolerance of {n / 2:g}, not {limiter.tolerance:g}", "n"
            )
        if size < limiter.min_size:
            return f"{limiter.min_size - size} more records of the {limiter.min_size} before the first draw"
        short = n - self.ahead - limiter.tolerance
        if short > 0:
            more = int(np.ceil(short / limiter.samples_per_insert))
            return (
                f"{more} more records pushed: {self.inserted} came and {self.sampled} were drawn, at "
                f"{limiter.samples_per_insert:g} draws for each"
            )
        return ""

    def insert_lacks(self, m: int) -> str:
        """What is missing before m records can come in; empty if nothing.

        Raises:
            UsageError: they never can.
        """
        limiter = self.settings
        beyond = m - max(0, min(m, limiter.min_size - self.inserted))  # the first min_size are always let in
        if limiter.samples_per_insert * beyond > 2 * limiter.tolerance:
            most = int(2 * limiter.tolerance / limiter.samples_per_insert)
            raise UsageError(
                f"{m} records at once are too many for this tolerance: {most} at most", "results"
            )
        short = self.ahead + limiter.samples_per_insert * m - limiter.tolerance
        if beyond and short > 0:
            return (
                f"{int(np.ceil(short))} more records drawn: {self.inserted} came and {self.sampled} were drawn, at "
                f"{limiter.samples_per_insert:g} draws for each"
            )
        return ""
