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


class Regime(NamedTuple):
    """How a run goes: the new results that a turn waits for, candidates in a beam, and whether it is rolled back half-way."""

    trigger: int
    beam: int
    rolled_back: bool = False


REGIMES = {
    "defaults": Regime(TRIGGER, BEAM),
    # more better children a turn than a turn learns from, as a learner has that is slower than its builders
    "busy": Regime(250, 256),
    # half-way the first policy is put to work again, as after a bad one: what was learned since is in the records alone
    "rolled back": Regime(TRIGGER, BEAM, True),
}
# of each regime: what its heading says besides its numbers, and the README
SAID = {
    "defaults": (", the defaults", "at a turn every {trigger} results"),
    "busy": ("", "at a turn every {trigger} results"),
    "rolled back": (
        ", rolled back to the first policy half-way",
        "where the policy is rolled back to its first version half-way",
    ),
}
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
    regimes = {**REGIMES, "busy": Regime(10, 64)} if quick else REGIMES
    target = Remembering(straight(tir.TRAINING, TRAINED_ON * fewer))
    held_out = TritonTarget(straight(tir.HELD_OUT, HELD_OUT * fewer))
    say(f"replay_learning: inputs for {len(target.programs)} and {len(held_out.programs)} programs")
    warm(target)
    warm(held_out)
    jobs = [(name, way, seed) for name in regimes for way in WAYS for seed in range(seeds)]

    def work(i: int) -> tuple[dict[str, float], dict[Any, int | None]]:
        name, way, seed = jobs[i]
        own = regimes[name]
        at = attempts // 2 if own.rolled_back else None
        told = {"trigger": own.trigger, "beam": own.beam, "roll_back_at": at, **WAYS[way]}
        with tempfile.TemporaryDirectory() as folder:
            row = _one(target, held_out, Path(folder), seed, attempts, told)
        return row, target.said

    runs: dict[str, dict[str, list[dict[str, float]]]] = {
        name: {way: [{}] * seeds for way in WAYS} for name in regimes
    }
    for i, (row, said) in in_children(work, len(jobs)):
        name, way, seed = jobs[i]
        runs[name][way][seed] = row
        target.said |= said  # whoever is forked next need not check that again
        say(
            f"replay_learning: {name}, {way}, seed {seed}: {row['cycles']} cycles, {row['rules']} rules, "
            f"held out {row['held_out']:.3f}"
        )
    return {
        "machine": machine(),
        "programs": len(target.programs),
        "held_out": len(held_out.programs),
        "baseline_cycles": sum(task.compiler_cycles for task in target.programs),
        "attempts": attempts,
        "regimes": {name: {"trigger": one.trigger, "beam": one.beam} for name, one in regimes.items()},
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


def difference(figures: dict[str, Any], regime: str, way: str, measure: str) -> Difference:
    """Of one measure."""
    own = figures["runs"][regime]
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
    for regime in figures["runs"]:
        lines += _regime(figures, regime)
    return "\n".join(lines)


def _regime(figures: dict[str, Any], regime: str) -> list[str]:
    own, told = figures["runs"][regime], figures["regimes"][regime]
    names = " | ".join(name for name, _, _ in MEASURES.values())
    rule = "|---|" + "---|" * len(MEASURES)
    turns, records = (np.mean([row[name] for row in own[OURS]]) for name in ("versions", "records"))
    values, compared = [], []
    for way in WAYS:
        means = [form.format(np.mean([row[name] for row in own[way]])) for name, (_, form, _) in MEASURES.items()]  # fmt: skip
        values.append(f"| {way} | {' | '.join(means)} |")
        if way != OURS:
            said = [difference(figures, regime, way, name).said(form) for name, (_, _, form) in MEASURES.items()]  # fmt: skip
            compared.append(f"| {way} | {' | '.join(said)} |")
    return [
        f"## A turn every {told['trigger']} new results, beams of up to {told['beam']:,}{SAID[regime][0]}",
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
    for regime in figures["runs"]:
        found = {way: difference(figures, regime, way, "held_out") for way in WAYS if way != OURS}
        if all(one.same for one in found.values()):
            said = "no difference at all"
        else:
            said = ", ".join(f"beside {way} {one.scaled(100).said('{:+.1f}')}" for way, one in found.items())
        parts.append(f"{SAID[regime][1].format(**figures['regimes'][regime])} {said}")
    return (
        f"Prioritized replay in the loop, in points that the policy saves on held-out programs ({len(own[OURS])} seeds, {figures['attempts']:,} candidates): "
        f"{'; '.join(parts)} ([figures](benchmarks/results/replay_learning.md))."
    )
