"""Learning from nothing: how far `ostinato learn` comes in a minute on the 32 programs of the real build results and on the corpus, and
in ten minutes.

Each seed is a run of its own with two builders and a learner, in a new folder, with nothing shipped and nothing carried over. What it calls best
is judged again by `ostinato best` on other inputs, and then on many more.

The minute's figures stand at the top of learn.json, the other parts under their names; each part is taken by itself and leaves the others as
they are.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import machine
from benchmarks.simulated import in_children
from ostinato import tir
from ostinato.data import programs_path
from ostinato.judge import Function, load_programs, of_tir
from ostinato.judge.code import code_for
from ostinato.judge.drawing import draw
from ostinato.judge.suite import Suite
from ostinato.online.statistics import geometric_mean_reduction, interval
from ostinato.targets import is_straight

SEEDS, SECONDS, INPUTS = 5, 60, 10_000
LONG_SEEDS, LONG_SECONDS = 2, 600
GOAL = 170  # cycles after a minute
MARKS = (10, 20, 30, 60, 120, 300, 600)
EARLIER = 188  # what the search came to that made the real build results, in 13,913 attempts
_MAX_CYCLES = 100_000
_FEW = 12  # functions of the corpus, in a quick run

COMMAND = [sys.executable, "-c", "from ostinato.cli import main; main()"]
Say = Callable[[str], None]


def minute(say: Say = print, quick: bool = False, seeds: int | None = None) -> dict[str, Any]:
    """The 32 programs after a minute."""
    return _part("learn", load_programs(programs_path()), None, SEEDS, SECONDS, say, quick, seeds)


def corpus(say: Say = print, quick: bool = False, seeds: int | None = None) -> dict[str, Any]:
    """The corpus after a minute."""
    functions = [of_tir(program) for program in tir.corpus().values()]
    functions = [function for function in functions if is_straight(function)]
    if not quick:
        return _part("learn/corpus", functions, "corpus", SEEDS, SECONDS, say, quick, seeds)
    few = functions[:: len(functions) // _FEW]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "few.tir"
        path.write_text("\n\n".join(str(function.reference.program) for function in few), encoding="utf-8")  # type: ignore[attr-defined]
        return _part("learn/corpus", few, str(path), SEEDS, SECONDS, say, quick, seeds)


def long(say: Say = print, quick: bool = False, seeds: int | None = None) -> dict[str, Any]:
    """The 32 programs after ten minutes."""
    return _part(
        "learn/long", load_programs(programs_path()), None, LONG_SEEDS, LONG_SECONDS, say, quick, seeds
    )


PARTS = {"minute": minute, "corpus": corpus, "long": long}


def merged(before: dict[str, Any], part: str, figures: dict[str, Any]) -> dict[str, Any]:
    """All figures, where one part is new."""
    if part != "minute":
        return before | {part: figures}
    return figures | {name: before[name] for name in PARTS if name in before}


def _part(
    name: str,
    functions: list[Function],
    programs: str | None,
    usual: int,
    seconds: float,
    say: Say,
    quick: bool,
    seeds: int | None,
) -> dict[str, Any]:
    usual, seconds, inputs = (1, 8, 200) if quick else (usual, seconds, INPUTS)
    runs: list[dict[str, Any]] = []
    best: dict[str, set[tuple[str, ...]]] = {function.name: set() for function in functions}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(usual if seeds is None else seeds):
            say(f"{name}: seed {seed}, {seconds} s")
            one, rows = _run(Path(folder) / str(seed), programs, seed, seconds)
            runs.append(one)
            say(f"{name}: seed {seed}, {one['cycles']} cycles, judged again")
            for row in rows:
                if row["clock_cycles"] < row["compiler_cycles"]:
                    best[row["name"]].add(tuple(row["generated_tasm"]))
    say(f"{name}: every best on {inputs:,} inputs")
    tried, failed = _checked([one for one in functions if best[one.name]], best, inputs)
    return {
        "machine": machine(),
        "seconds": seconds,
        "inputs": inputs,
        "runs": runs,
        "programs": len(functions),
        "baseline_cycles": sum(len(function.baseline) for function in functions),
        "tried": tried,
        "failed": failed,
    }


def _run(
    path: Path, programs: str | None, seed: int, seconds: float
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    options = ["learn", path, "--seconds", seconds, "--builders", 2, "--seed", seed, "--json"]
    options += [] if programs is None else ["--programs", programs]
    lines = _said(*options).splitlines()
    moments = [json.loads(line) for line in lines]
    rows = json.loads(_said("best", path, "--json"))
    before, after = ([row[name] for row in rows] for name in ("compiler_cycles", "clock_cycles"))
    found = {
        "seed": seed,
        "marks": cycles_after(moments, MARKS, seconds),
        "cycles": sum(after),
        "reduction": geometric_mean_reduction(before, after).value,
        "improved": sum(new < old for new, old in zip(after, before, strict=True)),
        "attempts": moments[-1]["attempts"],
        "validity": moments[-1]["validity"],
    }  # fmt: skip
    return found, rows


def cycles_after(moments: list[dict[str, Any]], marks: Sequence[int], seconds: float) -> dict[str, int]:
    """The cycles of all bests after so many seconds, for each mark that the run came to; the keys as JSON has them."""
    return {
        str(mark): min(one["best_cycles"] for one in moments if one["seconds"] <= mark + 1)
        for mark in marks
        if mark <= seconds
    }


def _said(*options: object) -> str:
    command = [*COMMAND, *map(str, options)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _checked(
    functions: list[Function], best: dict[str, set[tuple[str, ...]]], inputs: int
) -> tuple[int, int]:
    """(different bests, those that failed) on so many further inputs each."""

    def work(i: int) -> tuple[int, int]:
        function = functions[i]
        suite = Suite(draw(function.reference, inputs, np.random.default_rng(2026)))
        code = code_for([list(lines) for lines in sorted(best[function.name])])
        reasons = suite.run(code, _MAX_CYCLES).reasons
        return len(reasons), int((reasons > 0).sum())

    found = [counts for _, counts in in_children(work, len(functions))]
    return sum(tried for tried, _ in found), sum(failed for _, failed in found)


def table(figures: dict[str, Any]) -> str:
    """The page."""
    out = _minute_table(figures) if "runs" in figures else []
    for part, what in (("corpus", "straight-line functions of the corpus"), ("long", "programs")):
        if part in figures:
            out += _other_table(figures[part], what)
    return "\n".join(out)


def _rows(runs: list[dict[str, Any]], saved: bool = False) -> list[str]:
    marks = list(runs[0]["marks"])
    heads = [
        "seed",
        *(f"cycles after {mark} s" for mark in marks),
        "judged again",
        *(["saved"] if saved else []),
        "attempts",
        "valid",
    ]
    rows = [
        [
            str(one["seed"]),
            *(str(one["marks"][mark]) for mark in marks),
            str(one["cycles"]),
            *([f"{one['reduction']:.1%}"] if saved else []),
            f"{one['attempts']:,}",
            "–" if one["validity"] is None else f"{one['validity']:.1%}",
        ]
        for one in runs
    ]
    return [
        f"| {' | '.join(heads)} |",
        "|" + "---|" * len(heads),
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _minute_table(figures: dict[str, Any]) -> list[str]:
    found = [one["cycles"] for one in figures["runs"]]
    low, high = interval(found)
    met = "met" if max(found) <= GOAL else "**missed**"
    return [
        f"In {figures['seconds']} seconds: 32 programs, {figures['baseline_cycles']} cycles as the compiler writes them; two builders and a learner; {figures['machine']}.",
        "The time includes starting the processes and drawing the judges' inputs.",
        "",
        *_rows(figures["runs"]),
        "",
        f"Mean {np.mean(found):.1f} cycles (95 % bootstrap interval {low:.1f} to {high:.1f}); the goal, {GOAL} after a minute, is {met}. The search that made the real",
        f"build results came to {EARLIER}, one or two of whose bests are wrong in general.",
        "",
        f"{figures['tried']} different bests on {figures['inputs']:,} further inputs each: {figures['failed']} failed. Gains are for the declared types of the arguments:",
        "`bool_or`, `select` and the u32 functions may be wrong for other words.",
        "",
    ]  # fmt: skip


def _other_table(figures: dict[str, Any], what: str) -> list[str]:
    cycles, saved = ([one[name] for one in figures["runs"]] for name in ("cycles", "reduction"))
    low, high = interval(cycles)
    least, most = interval(saved)
    return [
        f"## {figures['programs']} {what}, {figures['seconds']} seconds",
        "",
        f"{figures['baseline_cycles']} cycles as the compiler writes them; {figures['machine']}.",
        "",
        *_rows(figures["runs"], saved=True),
        "",
        f"Mean {np.mean(cycles):.1f} cycles (95 % bootstrap interval {low:.1f} to {high:.1f}), {np.mean(saved):.1%} saved ({least:.1%} to {most:.1%}; a geometric mean over programs, one cycle",
        f"added on both sides), {np.mean([one['improved'] for one in figures['runs']]):.0f} programs improved.",
        f"{figures['tried']} different bests on {figures['inputs']:,} further inputs each: {figures['failed']} failed.",
        "",
    ]  # fmt: skip


def readme(figures: dict[str, Any]) -> str:
    """What the README quotes."""
    if "runs" not in figures:
        return ""
    found = [one["cycles"] for one in figures["runs"]]
    low, high = interval(found)
    more = ""
    others = {name: figures[name] for name in ("long", "corpus") if name in figures}
    if "long" in others:
        part = others["long"]
        more += f"; in {part['seconds'] / 60:.0f} minutes {np.mean([one['cycles'] for one in part['runs']]):.0f} ({len(part['runs'])} seeds)"
    if "corpus" in others:
        part = others["corpus"]
        after, saved = (np.mean([one[name] for one in part["runs"]]) for name in ("cycles", "reduction"))
        more += f". The {part['baseline_cycles']:,} cycles of {part['programs']} functions of the corpus become {after:,.0f} in {part['seconds']} seconds, {saved:.0%} less by geometric mean ({len(part['runs'])} seeds)"
    tried, failed = (sum(part[name] for part in (figures, *others.values())) for name in ("tried", "failed"))
    return (
        f"In {figures['seconds']} seconds on two cores, from nothing, the {figures['baseline_cycles']} cycles of the 32 programs become {np.mean(found):.0f} ({len(found)} seeds, "
        f"95 % interval {low:.0f} to {high:.0f}){more}. {failed} of {tried:,} bests fail on {figures['inputs']:,} further inputs "
        "([figures](benchmarks/results/learn.md))."
    )
