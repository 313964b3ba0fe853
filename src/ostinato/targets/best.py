"""The best code of each program, judged again before anybody sees it.

Rule of this file: what a store says is valid is a proposal here; who does not pass is left out, and the next best is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ostinato.judge import Function, Judge
from ostinato.results import Results

_TRIED = 8  # of the cheapest for each program


@dataclass(frozen=True, slots=True)
class Best:
    """Code for a program: the baseline where nothing better is known.

    Attributes:
        types: of the arguments; for words outside of these it may be wrong. inputs: on so many it agreed with the reference.
    """

    name: str
    compiler_cycles: int
    clock_cycles: int
    generated_tasm: tuple[str, ...]
    types: tuple[str, ...]
    inputs: int


def best(
    results: Results,
    functions: Sequence[Function],
    *,
    seed: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Best]:
    """For each function the cheapest code in the results that is right on a judge's inputs and a thousand further ones.

    Cost: 0.2 to 0.6 s a function.
    """
    cycles = np.ma.filled(results.clock_cycles, 0)
    usable = np.flatnonzero(results.valid & ~results.fallback_used)
    usable = usable[np.argsort(cycles[usable], kind="stable")].tolist()
    by_hash: dict[bytes, dict[tuple[str, ...], int]] = {function.tir_hash: {} for function in functions}
    for i in usable:
        own = by_hash.get(results.tir_hash[i].tobytes())
        if own is not None and len(own) < _TRIED:
            own.setdefault(tuple(results.generated_tasm[i]), int(cycles[i]))
    rows = []
    for k, function in enumerate(functions):
        candidates = [(cost, lines) for lines, cost in by_hash[function.tir_hash].items()]
        rows.append(judged_again(function, candidates, seed))
        if on_progress is not None:
            on_progress(k + 1, len(functions))
    return rows


def judged_again(function: Function, candidates: Sequence[tuple[int, tuple[str, ...]]], seed: int) -> Best:
    """The first of these (cycles, lines), the cheapest first, that is right and better than the baseline."""
    judge = Judge(function, seed=seed)
    for _, lines in candidates:
        verdict = judge.judge([list(lines)], confirm="all")[0]
        if (
            verdict.valid
            and verdict.clock_cycles is not None
            and verdict.clock_cycles < judge.baseline_cycles
        ):
            inputs = 0 if verdict.evidence is None else verdict.evidence.inputs
            return Best(
                function.name, judge.baseline_cycles, verdict.clock_cycles, lines, function.types, inputs
            )
    return Best(
        function.name, judge.baseline_cycles, judge.baseline_cycles, function.baseline, function.types, len(judge.inputs)
    )  # fmt: skip
