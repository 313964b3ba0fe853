"""Stage 3's two phases and their targets: first be right, then be better. The figures are those of the Trident compiler's design.

Rule of this file: a target is met, not met, or not measured; nothing else follows from it here.
"""

from __future__ import annotations

from dataclasses import dataclass

PHASE_B = 100  # valid results that are no fallback, from which on cycles count, too


@dataclass(frozen=True, slots=True)
class Goal:
    """A target: `measured` is to be at least (or, where `at_most`, at most) `goal`; met is None where nothing was measured."""

    name: str
    goal: float
    at_most: bool
    measured: float | None

    @property
    def met(self) -> bool | None:
        """Is it?"""
        if self.measured is None:
            return None
        return self.measured <= self.goal if self.at_most else self.measured >= self.goal


@dataclass(frozen=True, slots=True)
class Phase:
    """name: "A" or "B". results: valid ones that are no fallback. goals: of the phase."""

    name: str
    results: int
    goals: tuple[Goal, ...]


def phase_of(
    results: int,
    *,
    validity: float | None,
    validity_low: float | None,
    improvement: float | None,
    reduction: float | None,
    latency_ms: float | None,
    fallback: float | None,
) -> Phase:
    """The phase after so many valid results that are no fallback, with its targets.

    Args:
        validity: of attempts; validity_low: the lower bound of its 90 % bootstrap interval. improvement: of valid attempts.
        reduction: of cycles, the median over programs. latency_ms: the 90th percentile of proposing. fallback: of beams.
    """
    if results < PHASE_B:
        gate = Goal("validity, lower bound of the 90 % interval", 0.70, False, validity_low)
        return Phase("A", results, (gate,))
    return Phase(
        "B",
        results,
        (
            Goal("validity", 0.95, False, validity),
            Goal("improvement, of valid attempts", 0.60, False, improvement),
            Goal("median cycle reduction", 0.10, False, reduction),
            Goal("proposal latency, 90th percentile, ms", 200.0, True, latency_ms),
            Goal("fallback, of beams", 0.05, True, fallback),
        ),
    )
