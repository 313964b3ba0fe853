"""Stored verdicts, judged again: what was wrongly called valid or invalid, or has another price.

Rule of this file: nothing is written; whoever wants a store corrected takes the findings from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ostinato.judge.functions import Function
from ostinato.judge.judge import TESTS, Judge, Verdict
from ostinato.result import BuildResult
from ostinato.results import Results, grouped, program_keys

What = Literal["wrongly valid", "wrongly invalid", "mispriced"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A record that says something else than the judge.

    Attributes:
        record: its number in the results. what: which way it is wrong. program: its name.
        stored: the record. verdict: what the judge says. compiler_cycles: what the baseline costs.
    """

    record: int
    what: What
    program: str
    stored: BuildResult
    verdict: Verdict
    compiler_cycles: int

    @property
    def corrected(self) -> BuildResult:
        """The record as it should be."""
        return replace(
            self.stored,
            valid=self.verdict.valid,
            clock_cycles=self.verdict.clock_cycles,
            compiler_cycles=self.compiler_cycles,
        )


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it.

    Attributes:
        checked: records of known programs. unknown: records of others, which nobody can judge here.
        programs: how many were judged. findings: in the order of the records.
    """

    checked: int
    unknown: int
    programs: int
    findings: tuple[Finding, ...]

    def count(self, what: What) -> int:
        """How many findings are of this kind."""
        return sum(finding.what == what for finding in self.findings)


def reverify(
    results: Results,
    functions: Iterable[Function],
    *,
    seed: int = 0,
    tests: int = TESTS,
    strict: bool = True,
    on_progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Judge every record of a known program again.

    Args:
        results: records; those whose `tir_hash` none of the functions has are counted, not judged.
        tests: inputs that are drawn for each program. strict: with drawn inputs, and a thousand further ones for whatever passes;
            False: with the inputs that came with the functions alone, as whoever made the records had them.
        on_progress: called with (records done, records in all) after each program.

    Cost: as `Judge`; about 100,000 records a second with tests alone, 3,000 valid ones a second when strict.
    """
    known = {function.tir_hash: function for function in functions}
    findings: list[Finding] = []
    checked = programs = done = 0
    for key, members in grouped(program_keys(results.tir_hash)):
        function = known.get(key.tobytes())
        if function is not None:
            judge = Judge(function, seed=seed, tests=tests if strict else 0)
            findings += _compare(judge, results, members.tolist(), strict)
            checked += len(members)
            programs += 1
        done += len(members)
        if on_progress is not None:
            on_progress(done, len(results))
    findings.sort(key=lambda finding: finding.record)
    return Report(checked, len(results) - checked, programs, tuple(findings))


def _compare(judge: Judge, results: Results, members: Sequence[int], strict: bool) -> list[Finding]:
    codes = [results.generated_tasm[i] for i in members]
    verdicts = judge.judge(codes, confirm="all" if strict else "none")
    valid, cycles = results.valid[members], np.ma.filled(results.clock_cycles[members], 0)
    measured = ~np.ma.getmaskarray(results.clock_cycles)[members]
    priced = results.compiler_cycles[members] == judge.baseline_cycles
    same = (valid == verdicts.valid) & priced & (measured == verdicts.valid)
    same &= ~verdicts.valid | (cycles == np.ma.filled(verdicts.clock_cycles, 0))
    out = []
    for k in np.flatnonzero(~same).tolist():
        stored, verdict = results[members[k]], verdicts[k]
        what: What = "mispriced"
        if stored.valid != verdict.valid:
            what = "wrongly valid" if stored.valid else "wrongly invalid"
        name = judge.function.name
        out.append(Finding(members[k], what, name, stored, verdict, judge.baseline_cycles))
    return out
