"""Metrics against plain Python that counts one record after another; what is saved; phases and their targets."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato import BuildResult, DamageError
from ostinato.online import Folder, Metrics, Task
from ostinato.online.phases import phase_of
from ostinato.online.statistics import bins_of, interval, median_reduction, quantile_ms, rate
from ostinato.online.tallies import KINDS, ROWS
from ostinato.store import Records, Store

TASKS = [Task(f"p{i}", bytes([i, *[0] * 30, i]), ("add",) * (i + 3), i + 3, "p") for i in range(7)]


def some_records(store: Store, seed: int, count: int = 400, versions: int = 5) -> Records:
    rng = np.random.default_rng(seed)
    before = store.results().cursor
    with store.writer() as writer:
        for _ in range(count):
            task = TASKS[rng.integers(0, 6)]  # nobody tries the last one
            kind = rng.integers(0, 10)
            valid, fallback = bool(kind < 8), bool(kind == 7)
            tir_hash = task.tir_hash if rng.integers(0, 20) else bytes(31) + b"\xff"  # of no program
            extras: dict[str, int] = {}
            if valid and rng.integers(0, 3):
                attempts = int(rng.integers(1, 500))
                right = 0 if fallback else int(rng.integers(1, attempts + 1))
                extras = {
                    "attempts": attempts, "valid_attempts": right, "better_attempts": right // 2, "duplicates": int(rng.integers(0, 99)),
                    "proposal_us": int(10 ** rng.uniform(0, 7)), "judge_us": int(rng.integers(0, 10_000)),
                }  # fmt: skip
            if not valid:
                extras["failure"] = int(rng.integers(1, 9))
            writer.append(
                BuildResult(
                    tir_hash=tir_hash, generated_tasm=[f"push {rng.integers(0, 99)}"], valid=valid,
                    clock_cycles=int(rng.integers(0, 10)) if valid else None, compiler_cycles=task.compiler_cycles,
                    fallback_used=fallback, timestamp=int(rng.integers(100, 130)), model_version=int(rng.integers(0, versions)),
                ),
                extras,
            )  # fmt: skip
    return store.results(before)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Folder(tmp_path / "run").store(create=True)


def slow(parts: list[Records]) -> dict[str, Any]:
    """The same, one record after another."""
    names = {task.tir_hash: task for task in TASKS}
    best = {task.name: task.compiler_cycles for task in TASKS}
    out: dict[str, Any] = {
        "by": defaultdict(lambda: defaultdict(int)),
        "finds": [],
        "failures": defaultdict(int),
        "latencies": [],
    }
    total = 0
    for records in parts:
        rows = sorted(range(len(records)), key=lambda i: int(records.timestamp[i]))
        for i in rows:
            one, extras = records[i], {name: int(records.extras[name][i]) for name in records.extras}
            if one.tir_hash not in names:
                continue
            name = names[one.tir_hash].name
            cell = out["by"][one.model_version, name]
            total += extras["attempts"]
            if extras["attempts"]:
                for key in (
                    "attempts",
                    "valid_attempts",
                    "better_attempts",
                    "duplicates",
                    "proposal_us",
                    "judge_us",
                ):
                    cell[key] += extras[key]
                cell["beams"] += 1
                cell["fallbacks"] += one.fallback_used
                out["latencies"].append(extras["proposal_us"])
            if not one.valid:
                out["failures"][one.model_version, extras["failure"]] += 1
            elif not one.fallback_used and one.clock_cycles is not None:
                cell["results"] += 1
                cell["best"] = min(cell.get("best", 10**9), one.clock_cycles)
                if one.clock_cycles < best[name]:
                    out["finds"].append(
                        (
                            name,
                            best[name],
                            one.clock_cycles,
                            one.generated_tasm,
                            one.timestamp,
                            one.model_version,
                            total,
                        )
                    )
                    best[name] = one.clock_cycles
    return out | {"best": best}


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_what_plain_python_counts(store: Store, seed: int) -> None:
    parts = [some_records(store, 10 * seed + k) for k in range(3)]
    metrics = Metrics(TASKS)
    finds = [find for part in parts for find in metrics.take(part)]
    told = slow(parts)
    assert [
        (f.program, f.before, f.after, f.code, f.timestamp, f.model_version, f.attempts) for f in finds
    ] == told["finds"]
    assert {name: cycles for name, (cycles, _) in metrics.best.items()} == told["best"]

    def total(key: str) -> int:
        return sum(cell[key] for cell in told["by"].values())

    assert (metrics.attempts, metrics.valid) == (total("attempts"), total("valid_attempts"))
    assert metrics.validity == total("valid_attempts") / total("attempts")
    assert metrics.fallback_rate == total("fallbacks") / total("beams")
    assert metrics.duplicate_rate == total("duplicates") / (total("attempts") + total("duplicates"))
    assert metrics.seconds_judging == pytest.approx(total("judge_us") / 1e6)
    own = metrics.figures()
    assert own.improvement.value == total("better_attempts") / total("valid_attempts")
    assert own.validity.low is not None
    assert own.validity.low <= (own.validity.value or 0) <= (own.validity.high or 0)
    p90 = sorted(told["latencies"])[math.ceil(0.9 * len(told["latencies"])) - 1] / 1000
    assert p90 <= (own.proposal_p90_ms or 0) <= 1.11 * p90
    logs = [math.log((told["best"][task.name] + 1) / (task.compiler_cycles + 1)) for task in TASKS]
    assert metrics.reduction == pytest.approx(1 - math.exp(sum(logs) / len(logs)))
    for row in metrics.by_version():
        cells = [cell for (version, _), cell in told["by"].items() if version == row.first]
        assert row.first == row.last
        assert row.attempts == sum(cell["attempts"] for cell in cells)
        assert row.fallbacks == sum(cell["fallbacks"] for cell in cells)
        costs = [
            (TASKS[int(name[1])].compiler_cycles, cell["best"])
            for (version, name), cell in told["by"].items()
            if version == row.first and "best" in cell
        ]
        saved = [1 - min(after, before) / before for before, after in costs]
        assert row.median.value == pytest.approx(float(np.median(saved)))
    kinds = metrics.tallies.failures
    assert {
        (int(metrics.tallies.first[i]), k): int(kinds[i, k]) for i, k in np.argwhere(kinds).tolist()
    } == told["failures"]
    rows = metrics.by_program()
    assert [row["attempts"] for row in rows] == [
        sum(c["attempts"] for (_, n), c in told["by"].items() if n == t.name) for t in TASKS
    ]
    assert rows[-1]["validity"] is None


def test_records_in_parts_are_counted_as_all_at_once(store: Store) -> None:
    some_records(store, 1)
    records = store.results()
    whole, parts = Metrics(TASKS), Metrics(TASKS)
    whole.take(records)
    order = np.argsort(records.timestamp, kind="stable")
    for some in np.array_split(order, 7):
        parts.take(records[some])
    assert parts.in_full() == whole.in_full()
    assert parts.finds == whole.finds


def test_many_versions_are_joined_and_no_count_is_lost(store: Store) -> None:
    metrics = Metrics(TASKS)
    attempts = 0
    for k in range(6):
        part = some_records(store, k, versions=1000)
        known = ~(part.tir_hash[:, 31] == 255)
        attempts += int(part.extras["attempts"][known].sum())
        metrics.take(part)
        tallies = metrics.tallies
        assert len(tallies) <= ROWS
        assert (tallies.first <= tallies.last).all()
        assert (tallies.last[:-1] < tallies.first[1:]).all()
        assert metrics.attempts == attempts
    assert metrics.tallies.last[-1] == store.results().model_version.max()
    everything = metrics.tallies.best.min(axis=0)
    assert [min(int(b), t.compiler_cycles) for b, t in zip(everything, TASKS, strict=True)] == [
        metrics.best[t.name][0] for t in TASKS
    ]


def test_saved_metrics_go_on_where_they_were(store: Store, tmp_path: Path) -> None:
    some_records(store, 3)
    metrics = Metrics(TASKS)
    metrics.take(store.results())
    metrics.save(tmp_path / "m.json")
    again = Metrics.load(tmp_path / "m.json", TASKS)
    assert (again.in_full(), again.finds, again.best, again.cursor) == (
        metrics.in_full(),
        metrics.finds,
        metrics.best,
        metrics.cursor,
    )
    some_records(store, 4)
    for one in (metrics, again):
        one.take(store.results(one.cursor))
    assert again.in_full() == metrics.in_full()
    fewer = Metrics.load(tmp_path / "m.json", [TASKS[4], TASKS[6], TASKS[1]])
    assert [row["attempts"] for row in fewer.by_program()] == [
        Metrics.load(tmp_path / "m.json", TASKS).by_program()[i]["attempts"] for i in (4, 6, 1)
    ]
    assert {find.program for find in fewer.finds} <= {"p4", "p1"}


def test_a_file_that_is_none_of_metrics_is_damage(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    with pytest.raises(FileNotFoundError):
        Metrics.load(path, TASKS)
    some_records(store, 3)
    metrics = Metrics(TASKS)
    metrics.take(store.results())
    metrics.save(path)
    good = json.loads(path.read_bytes())
    bad: list[Any] = [
        [],
        {},
        {**good, "metrics": 2},
        {**good, "cursor": "x"},
        {**good, "best": []},
        {**good, "finds": [[1]]},
    ]
    for name, value in [
        ("first", [5, 1, 2, 3, 4]),
        ("counts", [1]),
        ("best", [[-1]]),
        ("latency", [[0.5]]),
        ("failures", "x"),
    ]:
        bad.append({**good, "tallies": {**good["tallies"], name: value}})
    for one in bad:
        path.write_text(json.dumps(one))
        with pytest.raises(DamageError, match="expected a run's metrics"):
            Metrics.load(path, TASKS)
    for text in (b"", b"\xff", b"[" * 100_000):
        path.write_bytes(text)
        with pytest.raises(DamageError):
            Metrics.load(path, TASKS)


def test_what_was_not_measured_is_none() -> None:
    for tasks in ([], TASKS):
        metrics = Metrics(tasks)
        own = metrics.figures()
        assert (
            own.validity.value,
            own.improvement.low,
            own.fallback.value,
            own.proposal_p90_ms,
            own.first,
        ) == (None,) * 5
        assert (metrics.validity, metrics.fallback_rate, metrics.duplicate_rate) == (None, None, None)
        assert metrics.phase().goals[0].met is None
        assert metrics.by_version() == []
        json.dumps(metrics.in_full())
    assert Metrics([]).reduction is None
    assert Metrics(TASKS).reduction == 0.0


def test_targets_are_met_on_their_bound_and_not_beyond_it() -> None:
    good = {
        "validity": 0.95,
        "validity_low": 0.7,
        "improvement": 0.6,
        "reduction": 0.1,
        "latency_ms": 200.0,
        "fallback": 0.05,
    }
    bad = {
        "validity": 0.949,
        "validity_low": 0.699,
        "improvement": 0.599,
        "reduction": 0.099,
        "latency_ms": 200.1,
        "fallback": 0.051,
    }
    for results, name, goals in ((99, "A", 1), (100, "B", 5)):
        for given, met in ((good, True), (bad, False), (dict.fromkeys(good), None)):
            phase = phase_of(results, **given)  # type: ignore[arg-type]
            assert (phase.name, [goal.met for goal in phase.goals]) == (name, [met] * goals)


def test_bins_are_a_tenth_wide_and_hold_all_latencies() -> None:
    given = np.array([0, 1, 2, 999, 1000, 10**6, 10**12])
    for microseconds, place in zip(given.tolist(), bins_of(given).tolist(), strict=True):
        counts = np.bincount([place], minlength=216)
        found = quantile_ms(counts, 0.9)
        assert found is not None
        if microseconds <= 10**9:
            assert microseconds / 1000 <= found <= 1.11 * max(1, microseconds) / 1000
    assert KINDS >= 64


def test_intervals_hold_the_mean_and_shrink_with_more_programs() -> None:
    rng = np.random.default_rng(1)
    few, many = rng.normal(5, 1, 10), rng.normal(5, 1, 1000)
    for values in (few, many):
        low, high = interval(values)
        assert low < values.mean() < high
    assert np.diff(interval(many))[0] < np.diff(interval(few))[0] / 3
    assert rate([1, 0, 3], [2, 0, 6]).value == 0.5
    assert rate([0], [0]).value is None
    assert median_reduction([0, 10, 20], [0, 5, 20]).value == 0.25


def test_cycles_beyond_what_is_counted_are_no_gain(store: Store) -> None:
    with store.writer() as writer:
        writer.append(
            BuildResult(
                tir_hash=TASKS[0].tir_hash, generated_tasm=["add"], valid=True, clock_cycles=2**64 - 1, compiler_cycles=3,
                fallback_used=False, timestamp=1, model_version=0,
            ),
            {"attempts": 1, "valid_attempts": 1},
        )  # fmt: skip
    metrics = Metrics(TASKS)
    assert metrics.take(store.results()) == []
    assert metrics.by_version()[0].geometric_mean.value is None
