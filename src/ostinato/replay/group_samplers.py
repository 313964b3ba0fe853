"""Samplers that choose a group of records first: PerProgram and ByOutcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ostinato.errors import EmptyBufferError, UsageError
from ostinato.replay.groups import OUTCOMES, PROGRAM, Forest
from ostinato.replay.samplers import (
    Beta,
    Draw,
    Proportional,
    SamplerIndex,
    Uniform,
    beta_at,
    check_beta,
    check_fraction,
    drawable,
    importance,
    split,
)
from ostinato.replay.state import State
from ostinato.replay.table import Table
from ostinato.replay.trees import Numbers, Scope, Slots


@dataclass(frozen=True, slots=True)
class PerProgram:
    """A program first, then one of its records by the inner rule: no program floods the batch.

    P(i) = P(program of i) * P(i among its records), with P(program) ~ (its drawable records)**power. Programs are
    drawn from n equal shares, so that with power 0 each of G programs comes n / G times, to within two.

    Args:
        inner: Uniform() or Proportional(alpha), with replacement; draws within a program are independent.
        power: 0 gives all programs the same; 1 gives each its number of records.
        beta: exponent of the importance weights (N * P(i))**-beta, as in Proportional, divided by the batch's
            largest; None is the inner rule's, 0 for Uniform: then nothing undoes the balance.

    Cost: O(n log N). Memory: about 50 bytes a record and 200 a program.
    """

    inner: Uniform | Proportional = field(default_factory=Uniform)
    power: float = 0.0
    beta: Beta | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "power", check_fraction(self.power, "power"))
        object.__setattr__(self, "beta", _inner_beta(self.inner, self.beta))

    def attach(self, table: Table, scope: Scope | None = None) -> SamplerIndex:
        return _PerProgramIndex(table, self, scope)


@dataclass(frozen=True, slots=True)
class ByOutcome:
    """Quotas: these fractions of each batch, which add up to 1, are records of these outcomes.

    Args:
        invalid: not valid. fallback: valid, the compiler's output used. improved: valid, no fallback, and fewer
            clock_cycles than compiler_cycles. valid: the other valid ones.
        inner: Uniform() or Proportional(alpha), with replacement, among the records of an outcome.
        beta: as in PerProgram.

    Counts are exact to within one record (largest remainders). The quota of an outcome that has no drawable
    record goes to the others in proportion. Cost: O(n log N). Memory: about 50 bytes a record.
    """

    valid: float = 0.0
    invalid: float = 0.0
    fallback: float = 0.0
    improved: float = 0.0
    inner: Uniform | Proportional = field(default_factory=Uniform)
    beta: Beta | None = None

    def __post_init__(self) -> None:
        total = sum(check_fraction(getattr(self, name), name) for name in OUTCOMES)
        if abs(total - 1) > 1e-9:
            raise UsageError(f"expected fractions that add up to 1, got {total:g}", "ByOutcome")
        object.__setattr__(self, "beta", _inner_beta(self.inner, self.beta))

    def attach(self, table: Table, scope: Scope | None = None) -> SamplerIndex:
        return _ByOutcomeIndex(table, self, scope)


def _inner_beta(inner: Uniform | Proportional, beta: Beta | None) -> Beta:
    if not isinstance(inner, (Uniform, Proportional)) or not inner.replace:
        raise UsageError(
            f"expected Uniform() or Proportional(), with replacement, got {inner!r} (a window goes outside: "
            "Window(PerProgram(), within=5))",
            "inner",
        )
    if isinstance(inner, Proportional) and inner.normalize != "batch":
        raise UsageError("weights are normalized by the batch here, not by the largest", "inner.normalize")
    if beta is not None:
        return check_beta(beta)
    return inner.beta if isinstance(inner, Proportional) else 0.0


class _GroupIndex:
    def __init__(self, table: Table, forest: Forest, beta: Beta, scope: Scope | None) -> None:
        self._table = table
        self._beta = beta
        self._scope = scope
        self.forest = forest

    def changed(self, slots: Slots) -> None:
        self.forest.changed(slots)

    def state(self) -> State:
        """The order of records in their groups."""
        return self.forest.state()

    def restore(self, state: State) -> None:
        """Go on from there."""
        self.forest.restore(state)

    def _draw(
        self, slots: Slots, probability: Numbers, beta: float, expected: Callable[[Slots], Numbers]
    ) -> Draw:
        count = self._table.count if self._scope is None else self._scope.count
        weight, scale = importance(count * probability, beta)
        return Draw(slots, probability, weight, expected, scale)


class _PerProgramIndex(_GroupIndex):
    def __init__(self, table: Table, settings: PerProgram, scope: Scope | None) -> None:
        alpha = settings.inner.alpha if isinstance(settings.inner, Proportional) else None
        forest = Forest(table, PROGRAM, alpha, settings.power, scope)
        super().__init__(table, forest, settings.beta or 0.0, scope)

    def draw(self, n: int | None, rng: np.random.Generator) -> Draw:
        n = drawable(n, self._table)
        beta = beta_at(self._beta, self._table)
        forest = self.forest
        total = forest.total()
        if not total > 0:
            raise EmptyBufferError("no program has a record that can be drawn")
        groups = forest.choose(rng.random(n))
        slots, shares = forest.find(groups, rng.random(n))

        def expected(some: Slots) -> Numbers:
            here = forest.weight(forest.group_of(some)) > 0
            out = np.zeros(len(some))
            out[here] = n * forest.weight(forest.group_of(some[here])) / total * forest.shares(some[here])
            return out

        return self._draw(slots, forest.weight(groups) / total * shares, beta, expected)


class _ByOutcomeIndex(_GroupIndex):
    def __init__(self, table: Table, settings: ByOutcome, scope: Scope | None) -> None:
        alpha = settings.inner.alpha if isinstance(settings.inner, Proportional) else None
        super().__init__(table, Forest(table, None, alpha, 0.0, scope), settings.beta or 0.0, scope)
        self._quotas = np.array([getattr(settings, name) for name in OUTCOMES])

    def draw(self, n: int | None, rng: np.random.Generator) -> Draw:
        n = drawable(n, self._table)
        beta = beta_at(self._beta, self._table)
        forest = self.forest
        forest.refresh()
        outcomes = np.arange(len(OUTCOMES))
        quotas = np.where(forest.weight(outcomes) > 0, self._quotas, 0.0)
        if not quotas.sum() > 0:
            wanted = ", ".join(name for name, q in zip(OUTCOMES, self._quotas, strict=True) if q > 0)
            raise EmptyBufferError(f"none of {self._table.count} records that can be drawn is {wanted}")
        counts = split(n, quotas / quotas.sum())
        groups = np.repeat(outcomes, counts)
        slots, shares = forest.find(groups, rng.random(n))

        def expected(some: Slots) -> Numbers:
            of = forest.group_of(some)
            out = np.zeros(len(some))
            here = forest.weight(of) > 0
            out[here] = counts[of[here]] * forest.shares(some[here])
            return out

        return self._draw(slots, (counts / n)[groups] * shares, beta, expected)
