"""Summaries against a slow count over plain records, on made and on real data."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato import BuildResult, Results
from ostinato.data import program_names, triton_attempts
from ostinato.summary import Program, improved, summarize
from record_helpers import every_way, few, from_list, record, records

REAL = triton_attempts()
REAL_RECORDS = REAL.to_list()
REAL_SUMMARY = summarize(REAL)

groups = st.lists(records, max_size=12)


def slow_rates(given_records: list[BuildResult]) -> dict[str, Any]:
    candidates = [r for r in given_records if not r.fallback_used]
    valid = [r for r in candidates if r.valid]
    better = [r for r in valid if r.clock_cycles is not None and r.clock_cycles < r.compiler_cycles]
    reductions = [
        1 - float(r.clock_cycles) / float(r.compiler_cycles)
        for r in valid
        if r.clock_cycles is not None and r.compiler_cycles > 0
    ]
    fallbacks = len(given_records) - len(candidates)
    return {
        "records": len(given_records),
        "candidates": len(candidates),
        "valid": len(valid),
        "improved": len(better),
        "fallbacks": fallbacks,
        "validity": len(valid) / len(candidates) if candidates else None,
        "improvement": len(better) / len(valid) if valid else None,
        "fallback_rate": fallbacks / len(given_records) if given_records else None,
        "median_reduction": statistics.median(reductions) if reductions else None,
    }


def slow_programs(given_records: list[BuildResult]) -> list[dict[str, Any]]:
    """One program after the other, in order of first appearance."""
    out = []
    for name in dict.fromkeys(r.tir_hash for r in given_records):
        mine = [i for i, r in enumerate(given_records) if r.tir_hash == name]
        scored = [i for i in mine if given_records[i].valid and given_records[i].clock_cycles is not None]
        best = min(scored, key=lambda i: (given_records[i].clock_cycles, i)) if scored else None
        out.append(
            {
                "tir_hash": name.hex(),
                "attempts": len(mine),
                "compiler_cycles": given_records[mine[-1]].compiler_cycles,
                "best": best,
                "best_cycles": None if best is None else given_records[best].clock_cycles,
            }
        )
    return out


def near(rates: dict[str, Any]) -> dict[str, Any]:
    """The same, its median to be compared within rounding."""
    median = rates["median_reduction"]
    return {**rates, "median_reduction": median if median is None else pytest.approx(median, rel=1e-12)}


# Made records


@every_way
@few
@given(given_records=groups)
def test_the_total_is_that_of_a_slow_count(results_of: Any, given_records: list[BuildResult]):
    assert asdict(summarize(results_of(given_records)).total) == near(slow_rates(given_records))


@every_way
@few
@given(given_records=groups)
def test_each_version_is_that_of_a_slow_count(results_of: Any, given_records: list[BuildResult]):
    versions = sorted({r.model_version for r in given_records})
    found = summarize(results_of(given_records)).versions
    assert {v: asdict(rates) for v, rates in found.items()} == {
        v: near(slow_rates([r for r in given_records if r.model_version == v])) for v in versions
    }


@few
@given(groups)
def test_versions_are_in_order(given_records: list[BuildResult]):
    found = list(summarize(from_list(given_records)).versions)
    assert found == sorted(found)


@every_way
@few
@given(given_records=groups)
def test_each_program_is_that_of_a_slow_search(results_of: Any, given_records: list[BuildResult]):
    found = summarize(results_of(given_records)).programs
    assert [asdict(program) for program in found] == slow_programs(given_records)


@every_way
@few
@given(given_records=groups)
def test_instructions_and_times_are_those_of_the_records(results_of: Any, given_records: list[BuildResult]):
    found = summarize(results_of(given_records))
    stamps = [r.timestamp for r in given_records]
    assert (found.instructions, found.oldest, found.newest) == (
        sum(len(r.generated_tasm) for r in given_records),
        min(stamps, default=None),
        max(stamps, default=None),
    )


@few
@given(groups)
def test_improved_marks_the_valid_candidates_that_cost_less(given_records: list[BuildResult]):
    marks = [
        r.valid and not r.fallback_used and r.clock_cycles is not None and r.clock_cycles < r.compiler_cycles
        for r in given_records
    ]
    assert improved(from_list(given_records)).tolist() == marks


@few
@given(groups)
def test_a_summary_is_json(given_records: list[BuildResult]):
    data = summarize(from_list(given_records)).to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data


# Small cases


def test_of_nothing_every_count_is_zero_and_every_rate_none():
    total = asdict(summarize(from_list([])).total)
    assert total == dict.fromkeys(
        ["records", "candidates", "valid", "improved", "fallbacks"], 0
    ) | dict.fromkeys(["validity", "improvement", "fallback_rate", "median_reduction"])


def test_of_nothing_there_are_no_versions_programs_or_times():
    found = summarize(Results.concat([]))
    assert (found.instructions, found.oldest, found.newest, found.versions, found.programs) == (
        0,
        None,
        None,
        {},
        [],
    )


def test_fallbacks_alone_have_no_validity():
    total = summarize(from_list([record(fallback_used=True)])).total
    assert (total.validity, total.improvement, total.median_reduction, total.fallback_rate) == (
        None,
        None,
        None,
        1.0,
    )


def test_failures_alone_have_no_improvement():
    total = summarize(from_list([record(valid=False)])).total
    assert (total.validity, total.improvement, total.median_reduction) == (0.0, None, None)


def test_valid_but_unmeasured_results_have_no_reduction():
    total = summarize(from_list([record(clock_cycles=None)])).total
    assert (total.validity, total.improvement, total.median_reduction) == (1.0, 0.0, None)


def test_a_baseline_of_zero_has_no_reduction():
    total = summarize(from_list([record(compiler_cycles=0)])).total
    assert (total.valid, total.median_reduction) == (1, None)


def test_of_equal_costs_the_first_is_best():
    costs = [7, 5, 5, 6]
    assert summarize(from_list([record(clock_cycles=c) for c in costs])).programs[0].best == 1


def test_an_invalid_result_is_never_best():
    given_records = [record(clock_cycles=1, valid=False), record(clock_cycles=9)]
    assert summarize(from_list(given_records)).programs[0].best_cycles == 9


def test_the_baseline_in_force_is_the_last():
    given_records = [record(compiler_cycles=c) for c in (10, 30, 20)]
    assert summarize(from_list(given_records)).programs[0].compiler_cycles == 20


def _program(compiler_cycles: int, best_cycles: int | None) -> Program:
    return Program(
        tir_hash="00", attempts=1, compiler_cycles=compiler_cycles, best=0, best_cycles=best_cycles
    )


@pytest.mark.parametrize(
    ("compiler", "best", "reduction"),
    [(10, 5, 0.5), (10, 10, 0.0), (10, 20, -1.0), (10, 0, 1.0), (0, 5, None), (10, None, None)],
)
def test_a_reduction_is_the_share_saved(compiler: int, best: int | None, reduction: float | None):
    assert _program(compiler, best).reduction == reduction


def test_the_dict_of_a_summary_has_a_row_per_version_and_program():
    given_records = [record(model_version=v, tir_hash=bytes([p]) * 32) for v, p in [(1, 0), (2, 0), (2, 1)]]
    data = summarize(from_list(given_records)).to_dict()
    assert (
        [(row["model_version"], row["records"]) for row in data["versions"]],
        [(row["tir_hash"][:2], row["attempts"], row["reduction"]) for row in data["programs"]],
    ) == ([(1, 1), (2, 2)], [("00", 2, 0.5), ("01", 1, 0.5)])


# Real data


def test_the_real_total_is_that_of_a_slow_count():
    assert asdict(REAL_SUMMARY.total) == near(slow_rates(REAL_RECORDS))


def test_the_real_versions_are_those_of_a_slow_count():
    by_version: dict[int, list[BuildResult]] = {}
    for r in REAL_RECORDS:
        by_version.setdefault(r.model_version, []).append(r)
    found = {v: asdict(rates) for v, rates in REAL_SUMMARY.versions.items()}
    assert found == {v: near(slow_rates(by_version[v])) for v in sorted(by_version)}


def test_the_real_programs_are_those_of_a_slow_search():
    assert [asdict(program) for program in REAL_SUMMARY.programs] == slow_programs(REAL_RECORDS)


def test_the_real_counts_are_those_of_the_notes():
    total = REAL_SUMMARY.total
    assert (total.records, total.candidates, total.fallbacks, total.valid, total.improved) == (
        20_997,
        20_424,
        573,
        4_030,
        3_436,
    )


def test_the_real_rates_are_those_of_the_notes():
    total = REAL_SUMMARY.total
    assert (f"{total.validity:.1%}", f"{total.improved / total.candidates:.1%}") == ("19.7%", "16.8%")


def test_the_real_versions_are_forty_generations():
    assert list(REAL_SUMMARY.versions) == list(range(1, 41))


def test_the_sum_of_the_best_falls_as_the_notes_say():
    programs = REAL_SUMMARY.programs
    assert (
        len(programs),
        sum(p.compiler_cycles for p in programs),
        sum(p.best_cycles for p in programs if p.best_cycles is not None),
    ) == (48, 622, 337)


def test_the_real_attempts_add_up():
    counts = Counter(r.tir_hash.hex() for r in REAL_RECORDS)
    assert {p.tir_hash: p.attempts for p in REAL_SUMMARY.programs} == counts


def test_real_time_is_a_sequence_number():
    assert np.array_equal(REAL.timestamp, 1_790_000_000 + np.arange(20_997, dtype=np.uint64))


def test_a_real_fallback_is_valid_and_costs_what_the_baseline_costs():
    fallbacks = [r for r in REAL_RECORDS if r.fallback_used]
    assert [r for r in fallbacks if not r.valid or r.clock_cycles != r.compiler_cycles] == []


def test_a_real_result_is_measured_if_and_only_if_it_is_valid():
    assert np.array_equal(REAL.measured, REAL.valid)


def test_the_named_programs_are_among_the_real_ones():
    names = program_names()
    assert (len(names), names.keys() - {p.tir_hash for p in REAL_SUMMARY.programs}) == (32, set())


def test_a_summary_of_a_part_is_that_of_its_records():
    part = summarize(REAL[::7])
    assert (asdict(part.total), [asdict(p) for p in part.programs]) == (
        near(slow_rates(REAL_RECORDS[::7])),
        slow_programs(REAL_RECORDS[::7]),
    )


def test_a_summary_is_a_snapshot():
    with pytest.raises(AttributeError):
        REAL_SUMMARY.instructions = 0  # type: ignore[misc]


def test_two_summaries_of_the_same_are_equal():
    assert summarize(REAL) == REAL_SUMMARY
