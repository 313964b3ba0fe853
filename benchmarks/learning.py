"""Is learning real? What a trained policy makes of programs of families that nothing was learned from, beside random edits.

Each seed trains a policy of its own on the training families. Then every policy searches for every held-out program from nothing but the
compiler's code, each program by itself, with the same seeds and the same beams. What is compared is judged candidates, not time.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import machine
from benchmarks.simulated import Remembering, Trained, in_children, straight, train, warm
from ostinato import tir
from ostinato.online import Builder, EditPolicy, Policy, RulePolicy
from ostinato.online.ranking import Ranking
from ostinato.online.statistics import geometric_mean_reduction, interval
from ostinato.targets import TritonTarget

SEEDS = 5
TRAINING = 200_000  # judged candidates of each training
EVERY = 2  # of the straight-line held-out functions of each family
FIRST, FIRST_BEAMS, LATER, LATER_BEAMS = 50, 20, 250, 36
MARKS = (250, 500, 1000, 2000, 5000, 10_000)
GOAL = 5  # times fewer
BASE, OURS = "random edits", "trained"
POLICIES = {
    BASE: "`EditPolicy`, which learns nothing",
    OURS: "`RulePolicy` as its training left it",
    "untrained": "`RulePolicy` that has seen nothing before this program",
    "trained, no ranking": "as trained, but the model that ranks proposals starts anew",
    "trained, no rules": "as trained, but no candidate is made by a rule",
}


def run(say: Callable[[str], None] = print, quick: bool = False) -> dict[str, Any]:
    """All figures, as numbers."""
    seeds, attempts, every = (2, 1500, 20) if quick else (SEEDS, TRAINING, EVERY)
    first, later = (10, 2) if quick else (FIRST_BEAMS, LATER_BEAMS)
    held_out = straight(tir.HELD_OUT, every)
    beams = [FIRST] * first + [LATER] * later
    out: dict[str, Any] = {
        "machine": machine(),
        "programs": len(held_out),
        "held_out": len(straight(tir.HELD_OUT)),
        "baseline_cycles": sum(len(function.baseline) for function in held_out),
        "training_programs": len(straight(tir.TRAINING, every if quick else 1)),
        "grid": np.cumsum(beams).tolist(),
        "beams": [[FIRST, first], [LATER, later]],
    }
    with tempfile.TemporaryDirectory() as folder:
        trained = _trainings(
            straight(tir.TRAINING, every if quick else 1), Path(folder), seeds, attempts, say
        )
        out["trainings"] = [{**asdict(one), "checkpoint": None} for one in trained]
        target = TritonTarget(held_out)
        say(f"learning: inputs for {len(held_out)} held-out programs")
        warm(target)
        out |= _searched(target, [one.checkpoint for one in trained], beams, say)
    return out


def _trainings(
    functions: list[Any], folder: Path, seeds: int, attempts: int, say: Callable[[str], None]
) -> list[Trained]:
    say(f"learning: inputs for {len(functions)} training programs")
    target = Remembering(functions)
    warm(target)
    found: dict[int, Trained] = {}

    def work(seed: int) -> Trained:
        return train(target, folder / str(seed), seed=seed, attempts=attempts)

    for seed, one in in_children(work, seeds):
        found[seed] = one
        say(f"learning: seed {seed} trained on {one.attempts:,} candidates, {one.rules} rules, reduction {one.reduction:.3f}")  # fmt: skip
    return [found[seed] for seed in range(seeds)]


def policy(kind: str, target: TritonTarget, checkpoint: Path | None) -> Policy:
    """One of `POLICIES`."""
    if kind == BASE:
        return EditPolicy(target)
    own = RulePolicy(target, rules=0.0) if kind == "trained, no rules" else RulePolicy(target)
    if kind != "untrained" and checkpoint is not None:
        own.load(checkpoint)
    if kind == "trained, no ranking":
        own.ranking = Ranking(target.features)
    return own


def _searched(
    target: TritonTarget, checkpoints: list[Path | None], beams: list[int], say: Callable[[str], None]
) -> dict[str, Any]:
    """Curves: of each policy and seed the reduction after at most so many attempts a program."""
    jobs = [(kind, seed) for seed in range(len(checkpoints)) for kind in POLICIES]
    ready = [policy(kind, target, checkpoints[seed]) for kind, seed in jobs]
    programs = len(target.programs)
    grid = np.cumsum(beams)
    best = np.zeros((len(jobs), programs, len(beams)), np.int64)
    seconds = np.zeros(len(jobs))

    def work(i: int) -> tuple[list[int], float]:
        job, program = divmod(i, programs)
        return search(target, ready[job], program, jobs[job][1], beams)

    done = np.zeros(len(jobs), np.int64)
    for i, (cycles, taken) in in_children(work, len(jobs) * programs):
        job, program = divmod(i, programs)
        best[job, program] = cycles
        seconds[job] += taken
        done[job] += 1
        if done[job] == programs:
            kind, seed = jobs[job]
            say(f"learning: seed {seed}, {kind}: {_reduction(target, best[job, :, -1]):.3f} after {grid[-1]:,}, {seconds[job]:.0f} s")  # fmt: skip
    curves: dict[str, list[list[float]]] = {kind: [] for kind in POLICIES}
    taken_by: dict[str, list[float]] = {kind: [] for kind in POLICIES}
    for job, (kind, _) in enumerate(jobs):
        curves[kind].append([_reduction(target, best[job, :, k]) for k in range(len(beams))])
        taken_by[kind].append(float(seconds[job]) / programs)
    return {"curves": curves, "seconds_a_program": taken_by}


def _reduction(target: TritonTarget, best: Any) -> float:
    before = [task.compiler_cycles for task in target.programs]
    return float(geometric_mean_reduction(before, best).value or 0.0)


def search(
    target: TritonTarget, policy: Policy, program: int, seed: int, beams: list[int]
) -> tuple[list[int], float]:
    """The best cycles after each beam, and the seconds that all took; candidates that a filter leaves out are not made up for."""
    builder = Builder(target, policy, seed=seed * 1000 + program)
    begin = time.perf_counter()
    cycles = []
    for count in beams:
        builder.beam(program, count)
        cycles.append(builder.pool.best(program)[1])
    return cycles, time.perf_counter() - begin


def needed(figures: dict[str, Any], attempts: int, seed: int | None = None) -> int | None:
    """Attempts after which the trained policy is as good as random edits after so many, by the mean over seeds or for one seed; the next
    end of a beam, None if it never is."""
    grid = figures["grid"]
    curves = [
        np.array(figures["curves"][kind] if seed is None else [figures["curves"][kind][seed]]).mean(0)
        for kind in (BASE, OURS)
    ]
    reached = np.flatnonzero(curves[1] >= curves[0][grid.index(attempts)])
    return int(grid[reached[0]]) if len(reached) else None


def marks(figures: dict[str, Any]) -> list[int]:
    """Those of `MARKS` that were reached."""
    return [mark for mark in MARKS if mark in figures["grid"]]


def met(figures: dict[str, Any]) -> list[bool]:
    """At each mark: a fifth, or less?"""
    found = [(mark, needed(figures, mark)) for mark in marks(figures)]
    return [need is not None and GOAL * need <= mark for mark, need in found]


def _percent(values: list[float]) -> str:
    low, high = interval(values)
    return f"{np.mean(values):.1%} ({low:.1%} to {high:.1%})"


def table(figures: dict[str, Any]) -> str:
    """The page."""
    at = marks(figures)
    grid = figures["grid"]
    trainings = figures["trainings"]
    (first, few), (later, many) = figures["beams"]
    rows = [
        f"| {kind} | " + " | ".join(_percent([curve[grid.index(mark)] for curve in figures["curves"][kind]]) for mark in at) + f" | {np.mean(figures['seconds_a_program'][kind]):.2f} s |"
        for kind in POLICIES
    ]  # fmt: skip
    lines = [
        f"{figures['programs']} of the {figures['held_out']} straight-line functions of {len(tir.HELD_OUT)} held-out families ({', '.join(tir.HELD_OUT)}), the first of each family and every",
        f"second after it: {figures['baseline_cycles']} cycles as the compiler writes them. {len(trainings)} seeds, each with a training of its own on {figures['training_programs']} functions of the other",
        f"families: {np.mean([one['attempts'] for one in trainings]):,.0f} candidates, one builder and a learner in turns, no guard; {np.mean([one['rules'] for one in trainings]):.0f} rules, of which {np.mean([one['general'] for one in trainings]):.0f} hold in general, from {np.mean([one['versions'] for one in trainings]):.0f} finetunes; {_percent([one['reduction'] for one in trainings])} saved there.",
        f"{figures['machine']}.",
        "",
        "Reduction after at most so many judged candidates a program (a geometric mean over programs, one cycle added on both sides; mean over",
        "seeds with the 95 % bootstrap interval):",
        "",
        "| policy | " + " | ".join(f"{mark:,}" for mark in at) + " | time a program |",
        "|---|" + "---|" * (len(at) + 1),
        *rows,
        "",
        *(f"- {kind}: {what}." for kind, what in POLICIES.items()),
        "",
        f"Beams: {few} of {first}, then {many} of {later}, the same for all. `RulePolicy` makes more proposals than are judged and ranks them; what is not judged does",
        "not count as an attempt, but takes the time that the last column says. It goes on learning while it searches, from this program alone.",
        "",
        f"| random edits after | save | trained is there after | of that | by seed | a {_ORDINAL[GOAL]} or less |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for mark, reached in zip(at, met(figures), strict=True):
        saved = float(np.mean([curve[grid.index(mark)] for curve in figures["curves"][BASE]]))
        one = needed(figures, mark)
        by_seed = [needed(figures, mark, seed) for seed in range(len(trainings))]
        said = ", ".join("never" if n is None else f"1/{mark / n:.1f}" for n in by_seed)
        lines.append(
            f"| {mark:,} | {saved:.1%} | {'never' if one is None else f'{one:,}'} | {'–' if one is None else f'1/{mark / one:.1f}'} | {said} | {'met' if reached else '**missed**'} |"
        )
    return "\n".join([*lines, ""])


_ORDINAL = {5: "fifth"}


def readme(figures: dict[str, Any]) -> str:
    """What the README quotes."""
    found = [(mark, needed(figures, mark)) for mark in marks(figures)]
    said = ", ".join(f"{mark:,} by {'no number' if need is None else f'{need:,}'}" for mark, need in found)
    return (
        f"On {figures['programs']} programs of families that it never saw, the trained policy matches random edits' attempts with fewer: "
        f"{said} ({len(figures['trainings'])} seeds; [figures](benchmarks/results/learning.md))."
    )
