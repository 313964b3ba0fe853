"""Is replay real? The loop with what its learner draws from history in four ways, everything else the same.

A builder and a learner in turns, in one process, with a clock of their own: runs of one seed have the same number of judged candidates and
are alike up to the first draw. Differences are paired by seed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.measure import machine
from benchmarks.simulated import Remembering, in_children, straight, train, warm
from ostinato import tir
from ostinato.online import RulePolicy, evaluate
from ostinato.online.builder import BEAM
from ostinato.online.learner import HISTORY, TRIGGER
from ostinato.online.statistics import interval
from ostinato.replay import Lifo, Proportional, Uniform
from ostinato.targets import TritonTarget

SEEDS = 5
ATTEMPTS = 100_000
TRAINED_ON, HELD_OUT = 3, 2  # every so manyth straight-line function of each family
# of each regime: the new results that a turn waits for, candidates in a beam; the second has more better children a turn than a turn
# learns from, as a learner has that is slower than its builders
REGIMES = ((TRIGGER, BEAM), (250, 256))
OURS = "prioritized"
WAYS: dict[str, dict[str, Any]] = {
    OURS: {"sampler": Proportional()},
    "uniform": {"sampler": Uniform()},
    "newest only": {"sampler": Lifo()},
    "none": {"history": 0.0},
}
WHAT = {
    OURS: "`Proportional()`, the default; what taught nothing loses half of its priority",
    "uniform": "`Uniform()`",
    "newest only": "`Lifo()`: of history the newest, which the last turn has seen already",
    "none": "no history at all",
}
# of each measure: what it is called, and how a value and a difference are written
MEASURES = {
    "cycles": ("cycles of the training programs", "{:.1f}", "{:+.1f}"),
    "reduction": ("saved on them", "{:.2%}", "{:+.2%}"),
    "rules": ("rules", "{:.1f}", "{:+.1f}"),
    "held_out": ("saved on held-out programs", "{:.2%}", "{:+.2%}"),
}


def run(say: Callable[[str], None] = print, quick: bool = False) -> dict[str, Any]:
    """All figures, as numbers."""
    seeds, attempts, fewer = (2, 1500, 16) if quick else (SEEDS, ATTEMPTS, 1)
    regimes = ((TRIGGER, BEAM), (10, 64)) if quick else REGIMES
    target = Remembering(straight(tir.TRAINING, TRAINED_ON * fewer))
    held_out = TritonTarget(straight(tir.HELD_OUT, HELD_OUT * fewer))
    say(f"replay_learning: inputs for {len(target.programs)} and {len(held_out.programs)} programs")
    warm(target)
    warm(held_out)
    jobs = [(*regime, way, seed) for regime in regimes for way in WAYS for seed in range(seeds)]

    def work(i: int) -> tuple[dict[str, float], dict[Any, int | None]]:
        trigger, beam, way, seed = jobs[i]
        told = {"trigger": trigger, "beam": beam, **WAYS[way]}
        with tempfile.TemporaryDirectory() as folder:
            row = _one(target, held_out, Path(folder), seed, attempts, told)
        return row, target.said

    runs: dict[str, dict[str, list[dict[str, float]]]] = {
        str(trigger): {way: [{}] * seeds for way in WAYS} for trigger, _ in regimes
    }
    for i, (row, said) in in_children(work, len(jobs)):
        trigger, _, way, seed = jobs[i]
        runs[str(trigger)][way][seed] = row
        target.said |= said  # whoever is forked next need not check that again
        say(
            f"replay_learning: a turn every {trigger} results, {way}, seed {seed}: {row['cycles']} cycles, {row['rules']} rules, "
            f"held out {row['held_out']:.3f}"
        )
    return {
        "machine": machine(),
        "programs": len(target.programs),
        "held_out": len(held_out.programs),
        "baseline_cycles": sum(task.compiler_cycles for task in target.programs),
        "attempts": attempts,
        "beams": {str(trigger): beam for trigger, beam in regimes},
        "runs": runs,
    }


def _one(
    target: TritonTarget, held_out: TritonTarget, folder: Path, seed: int, attempts: int, told: dict[str, Any]
) -> dict[str, float]:
    trained = train(target, folder, seed=seed, attempts=attempts, **told)
    policy = RulePolicy(held_out)
    if trained.checkpoint is not None:
        policy.load(trained.checkpoint)
    found = evaluate(policy, held_out, seed=seed)
    return {
        "cycles": trained.cycles[1],
        "reduction": trained.reduction,
        "rules": trained.rules,
        "held_out": found.reduction or 0.0,
        "versions": trained.versions,
        "records": trained.records,
        "attempts": trained.attempts,
    }


class Difference(NamedTuple):
    """What the default has more than another way, paired by seed: the mean, and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float
    same: bool  # for each seed, to the last bit

    @property
    def significant(self) -> bool:
        """Does the interval leave out 0?"""
        return self.low > 0 or self.high < 0

    def scaled(self, by: float) -> Difference:
        """In another unit."""
        return Difference(by * self.mean, by * self.low, by * self.high, self.same)

    def said(self, form: str) -> str:
        """In words."""
        if self.same:
            return "the same"
        text = f"{form.format(self.mean)} ({form.format(self.low)} to {form.format(self.high)})"
        return text if self.significant else f"{text}, not significant"


def difference(figures: dict[str, Any], trigger: str, way: str, measure: str) -> Difference:
    """Of one measure."""
    own = figures["runs"][trigger]
    values = [a[measure] - b[measure] for a, b in zip(own[OURS], own[way], strict=True)]
    return Difference(float(np.mean(values)), *interval(values), same=not any(values))


def table(figures: dict[str, Any]) -> str:
    """The page."""
    seeds = len(next(iter(figures["runs"].values()))[OURS])
    lines = [
        f"{figures['programs']} functions of the training families, {figures['baseline_cycles']} cycles as the compiler writes them; a builder and a learner in turns until {figures['attempts']:,} candidates",
        f"are judged. A turn takes all new results, learns from the 96 better children among them that save most, and from a tenth ({HISTORY:g}) as many",
        f"results from history. Then the last policy searches for {figures['held_out']} functions of held-out families, twice 256 candidates each, as the regression guard",
        f"does. {seeds} seeds; a seed gives the same run again. {figures['machine']}.",
        "",
        *(f"- {way}: {what}." for way, what in WHAT.items()),
        "",
    ]
    for trigger in figures["runs"]:
        lines += _regime(figures, trigger)
    return "\n".join(lines)


def _regime(figures: dict[str, Any], trigger: str) -> list[str]:
    own = figures["runs"][trigger]
    names = " | ".join(name for name, _, _ in MEASURES.values())
    rule = "|---|" + "---|" * len(MEASURES)
    default = ", the defaults" if int(trigger) == TRIGGER else ""
    turns, records = (np.mean([row[name] for row in own[OURS]]) for name in ("versions", "records"))
    values, compared = [], []
    for way in WAYS:
        means = [form.format(np.mean([row[name] for row in own[way]])) for name, (_, form, _) in MEASURES.items()]  # fmt: skip
        values.append(f"| {way} | {' | '.join(means)} |")
        if way != OURS:
            said = [difference(figures, trigger, way, name).said(form) for name, (_, _, form) in MEASURES.items()]  # fmt: skip
            compared.append(f"| {way} | {' | '.join(said)} |")
    return [
        f"## A turn every {trigger} new results, beams of up to {figures['beams'][trigger]:,}{default}",
        "",
        f"{turns:.1f} turns a run, {records:,.0f} records. Means over seeds:",
        "",
        f"| history | {names} |",
        rule,
        *values,
        "",
        "What prioritized has more, paired by seed (95 % bootstrap interval):",
        "",
        f"| than | {names} |",
        rule,
        *compared,
        "",
    ]


def readme(figures: dict[str, Any]) -> str:
    """What the README quotes."""
    own = next(iter(figures["runs"].values()))
    parts = []
    for trigger in figures["runs"]:
        found = {way: difference(figures, trigger, way, "held_out") for way in WAYS if way != OURS}
        if all(one.same for one in found.values()):
            said = "no difference at all"
        else:
            said = ", ".join(f"beside {way} {one.scaled(100).said('{:+.1f}')}" for way, one in found.items())
        parts.append(f"at a turn every {trigger} results {said}")
    return (
        f"Prioritized replay in the loop, in points that the policy saves on held-out programs ({len(own[OURS])} seeds, {figures['attempts']:,} candidates): "
        f"{'; '.join(parts)} ([figures](benchmarks/results/replay_learning.md))."
    )
