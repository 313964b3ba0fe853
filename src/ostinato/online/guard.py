"""The regression guard: is a new policy good enough to be put to work?

Rule of this file: both policies get the same programs, the same seeds and the same number of candidates; who decides says why, with numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ostinato.online.builder import Builder
from ostinato.online.policies import Policy
from ostinato.online.statistics import interval
from ostinato.online.target import Target

MAY_FALL = 0.02  # of validity (stage 3's figure)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a policy made of programs that nothing is learned from.

    Attributes:
        attempts, valid: i64[programs]. gains: f64[programs], log(baseline + 1) - log(best + 1) in cycles.
    """

    attempts: NDArray[np.int64]
    valid: NDArray[np.int64]
    gains: NDArray[np.float64]

    @property
    def validity(self) -> float | None:
        """Of all attempts; None if there were none."""
        total = int(self.attempts.sum())
        return int(self.valid.sum()) / total if total else None

    @property
    def reduction(self) -> float | None:
        """Of cycles, the geometric mean over programs with one cycle added on both sides; None without programs."""
        return 1.0 - math.exp(-float(self.gains.mean())) if len(self.gains) else None


@dataclass(frozen=True, slots=True)
class Decision:
    """activate: put the candidate to work? reason: in words. validity: (active's, candidate's). gain: the candidate's mean gain less the
    active's, with its bootstrap interval `low` to `high`; None where nothing was compared."""

    activate: bool
    reason: str
    validity: tuple[float | None, float | None]
    gain: float | None = None
    low: float | None = None
    high: float | None = None


def evaluate(policy: Policy, target: Target, *, beams: int = 2, beam: int = 256, seed: int = 0) -> Evaluation:
    """Let a policy, which must be its own copy, search for every program of a target. Cost: some ms a beam."""
    builder = Builder(target, policy, seed=seed, beam=beam)
    rows = []
    for i, task in enumerate(target.programs):
        made = [builder.beam(i) for _ in range(beams)]
        best = builder.pool.best(i)[1]
        gain = np.log1p(task.compiler_cycles) - np.log1p(best)
        rows.append((sum(one.attempts for one in made), sum(one.valid for one in made), gain))
    attempts, valid, gains = zip(*rows, strict=True) if rows else ((), (), ())
    return Evaluation(np.array(attempts, np.int64), np.array(valid, np.int64), np.array(gains, np.float64))


def decide(active: Evaluation, candidate: Evaluation, *, phase_b: bool, seed: int = 0) -> Decision:
    """Activate unless validity falls by more than two points or, in phase B, cycles are significantly worse (paired bootstrap over
    programs, 95 %)."""
    old, new = active.validity, candidate.validity
    if old is None or new is None or not len(active.gains):
        return Decision(True, "there was nothing to compare", (old, new))
    differences = candidate.gains - active.gains
    low, high = interval(differences, seed)
    found = float(differences.mean()), low, high
    if new < old - MAY_FALL:
        return Decision(False, f"validity falls from {old:.1%} to {new:.1%}", (old, new), *found)
    if phase_b and high < 0:
        return Decision(False, f"it saves less: {found[0]:+.3f} [{low:+.3f}, {high:+.3f}] in log cycles", (old, new), *found)  # fmt: skip
    return Decision(True, f"validity {old:.1%} -> {new:.1%}, gain {found[0]:+.3f} [{low:+.3f}, {high:+.3f}]", (old, new), *found)  # fmt: skip
