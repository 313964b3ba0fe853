"""Learning from nothing on the 32 programs of the real build results: how far `ostinato learn` comes in a minute.

Each seed is a run of its own with two builders and a learner, in a new folder, with nothing shipped and nothing carried over. What it calls best
is judged again by `ostinato best` on other inputs, and then on ten thousand more.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import machine
from ostinato.data import programs_path
from ostinato.judge import load_programs
from ostinato.judge.code import code_for
from ostinato.judge.drawing import draw
from ostinato.judge.suite import Suite
from ostinato.online.statistics import interval

SEEDS, SECONDS, INPUTS = 5, 60, 10_000
GOAL = 170  # cycles after a minute
MARKS = (10, 20, 30, 60)
EARLIER = 188  # what the search came to that made the real build results, in 13,913 attempts

COMMAND = [sys.executable, "-c", "from ostinato.cli import main; main()"]


def run(say: Callable[[str], None] = print, quick: bool = False) -> dict[str, Any]:
    """All figures, as numbers."""
    seeds, seconds, inputs = (1, 8, 200) if quick else (SEEDS, SECONDS, INPUTS)
    functions = load_programs(programs_path())
    out: dict[str, Any] = {"machine": machine(), "seconds": seconds, "inputs": inputs, "runs": []}
    best: dict[str, set[tuple[str, ...]]] = {function.name: set() for function in functions}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            say(f"learn: seed {seed}, {seconds} s")
            path = Path(folder) / str(seed)
            one, rows = _run(path, seed, seconds)
            out["runs"].append(one)
            for row in rows:
                if row["clock_cycles"] < row["compiler_cycles"]:
                    best[row["name"]].add(tuple(row["generated_tasm"]))
    say(f"learn: every best on {inputs:,} inputs")
    tried = failed = 0
    for function in functions:
        if best[function.name]:
            suite = Suite(draw(function.reference, inputs, np.random.default_rng(2026)))
            reasons = suite.run(
                code_for([list(lines) for lines in sorted(best[function.name])]), 100_000
            ).reasons
            tried, failed = tried + len(reasons), failed + int((reasons > 0).sum())
    out |= {
        "baseline_cycles": sum(len(function.baseline) for function in functions),
        "tried": tried,
        "failed": failed,
    }
    return out


def _run(path: Path, seed: int, seconds: float) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    options = ["learn", path, "--seconds", seconds, "--builders", 2, "--seed", seed, "--json"]
    said = subprocess.run([*COMMAND, *map(str, options)], check=True, capture_output=True, text=True)
    lines = [json.loads(line) for line in said.stdout.splitlines()]
    rows = json.loads(subprocess.run([*COMMAND, "best", str(path), "--json"], check=True, capture_output=True, text=True).stdout)  # fmt: skip
    marks = {str(mark): min(line["best_cycles"] for line in lines if line["seconds"] <= mark + 1) for mark in MARKS if mark <= seconds}  # fmt: skip
    one = {
        "seed": seed,
        "marks": marks,
        "cycles": sum(row["clock_cycles"] for row in rows),
        "attempts": lines[-1]["attempts"],
        "validity": lines[-1]["validity"],
    }
    return one, rows


def table(figures: dict[str, Any]) -> str:
    """The page."""
    runs = figures["runs"]
    marks = list(runs[0]["marks"])
    rows = [
        f"| {one['seed']} | "
        + " | ".join(str(one["marks"][mark]) for mark in marks)
        + f" | {one['cycles']} | {one['attempts']:,} | {one['validity']:.1%} |"
        for one in runs
    ]
    found = [one["cycles"] for one in runs]
    low, high = interval(found)
    met = "met" if max(found) <= GOAL else "**missed**"
    return "\n".join(
        [
            f"In {figures['seconds']} seconds: 32 programs, {figures['baseline_cycles']} cycles as the compiler writes them; two builders and a learner; {figures['machine']}.",
            "The time includes starting the processes and drawing the judges' inputs.",
            "",
            "| seed | " + " | ".join(f"cycles after {mark} s" for mark in marks) + " | judged again | attempts | valid |",
            "|---|" + "---|" * (len(marks) + 3),
            *rows,
            "",
            f"Mean {np.mean(found):.1f} cycles (95 % bootstrap interval {low:.1f} to {high:.1f}); the goal, {GOAL} after a minute, is {met}. The search that made the real",
            f"build results came to {EARLIER}, one or two of whose bests are wrong in general.",
            "",
            f"{figures['tried']} different bests on {figures['inputs']:,} further inputs each: {figures['failed']} failed. Gains are for the declared types of the arguments:",
            "`bool_or`, `select` and the u32 functions may be wrong for other words.",
            "",
        ]
    )  # fmt: skip


def readme(figures: dict[str, Any]) -> str:
    """What the README quotes."""
    found = [one["cycles"] for one in figures["runs"]]
    low, high = interval(found)
    return (
        f"In {figures['seconds']} seconds on two cores, from nothing, the {figures['baseline_cycles']} cycles of the 32 programs become {np.mean(found):.0f} ({len(found)} seeds, "
        f"95 % interval {low:.0f} to {high:.0f}); {figures['failed']} of {figures['tried']} bests fail on {figures['inputs']:,} further inputs. {figures['machine']}; "
        "[all figures](benchmarks/results/learn.md)."
    )
