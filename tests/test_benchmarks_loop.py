"""What the benchmarks of the loop say of their figures, and that a loop in turns is determined by its seed."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import __main__ as command
from benchmarks import hours, learn, learning, loop, replay_learning, simulated

from ostinato import tir
from ostinato.online import EditPolicy
from ostinato.targets import TritonTarget, is_straight

ROOT = Path(__file__).parent.parent
Figures = dict[str, Any]


def quiet(_: str) -> None:
    """Progress that nobody reads."""


def as_read(figures: Figures) -> Figures:
    """As they come back from their file."""
    return dict(json.loads(json.dumps(figures)))


# --- forked processes, and a loop in turns ------------------------------------------------------------------------------------


def test_each_forked_process_gives_its_answer_once() -> None:
    found = dict(simulated.in_children(lambda i: (i * i, os.getpid()), 7, processes=3))
    assert {i: value for i, (value, _) in found.items()} == {i: i * i for i in range(7)}
    assert len({pid for _, pid in found.values()} - {os.getpid()}) == 7


def test_what_fails_in_a_forked_process_is_told() -> None:
    def work(i: int) -> int:
        return 1 // (i - 1)

    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        list(simulated.in_children(work, 3))


def test_a_forked_process_that_is_gone_is_told() -> None:
    with pytest.raises(RuntimeError, match="without an answer"):
        list(simulated.in_children(lambda _: os._exit(1), 1))


TRAIN = """
import sys, pathlib
from benchmarks import simulated
from ostinato import tir
target = simulated.Remembering(simulated.straight(tir.TRAINING, 40))
simulated.warm(target)
found = simulated.train(target, pathlib.Path(sys.argv[1]), seed=3, attempts=2000, beam=128, trigger=10)
print(found.versions, found.rules, found.attempts, found.records, found.cycles)
"""


@pytest.mark.slow
def test_a_loop_in_turns_is_determined_by_its_seed(tmp_path: Path) -> None:
    said, kept = [], []
    for name in ("1", "2"):
        path = tmp_path / name
        said.append(
            subprocess.run(
                [sys.executable, "-c", TRAIN, str(path)], cwd=ROOT, check=True, capture_output=True, text=True,
                env={**os.environ, "PYTHONHASHSEED": name},
            ).stdout
        )  # fmt: skip
        kept.append([one.read_bytes() for one in sorted((path / "policies").glob("0*.json"))])
    assert said[0] == said[1]
    assert kept[0] == kept[1]
    assert len(kept[0]) > 2


def test_all_that_is_searched_for_is_straight_and_none_is_in_both_splits() -> None:
    training, held_out = simulated.straight(tir.TRAINING), simulated.straight(tir.HELD_OUT)
    assert all(map(is_straight, [*training, *held_out]))
    assert not {one.tir_hash for one in training} & {one.tir_hash for one in held_out}
    some = {one.tir_hash for one in simulated.straight(tir.HELD_OUT, 2)}
    assert some < {one.tir_hash for one in held_out}


# --- learning -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learned() -> Figures:
    """A quick run, as it comes back from its file."""
    return as_read(learning.run(quiet, quick=True))


@pytest.mark.slow
def test_all_policies_search_all_programs_with_the_same_beams(learned: Figures) -> None:
    assert set(learned["curves"]) == set(learning.POLICIES)
    for curves in learned["curves"].values():
        assert np.shape(curves) == (len(learned["trainings"]), len(learned["grid"]))
        assert (np.diff(curves, axis=1) >= 0).all()
    assert all(one["attempts"] > 0 and one["rules"] > 0 for one in learned["trainings"])


@pytest.mark.slow
def test_the_page_of_learning_is_made_of_a_quick_run(learned: Figures) -> None:
    said = learning.table(learned)
    assert all(f"\n| {kind} | " in said for kind in learning.POLICIES)
    assert said.count("met |") + said.count("**missed** |") == len(learning.marks(learned))
    assert f"On {learned['programs']} programs" in learning.readme(learned)


def test_the_same_seed_searches_the_same_way() -> None:
    target = TritonTarget(simulated.straight(("range_check",), 5))
    found = [learning.search(target, EditPolicy(target), 1, 7, [50, 50, 100])[0] for _ in range(2)]
    assert found[0] == found[1]


def curves(ours: list[list[float]], base: list[list[float]]) -> Figures:
    return {"grid": [50, 100, 250, 500], "curves": {learning.OURS: ours, learning.BASE: base}}


def test_what_is_needed_is_the_first_end_of_a_beam_that_is_as_good_on_the_mean() -> None:
    found = curves([[0.0, 0.3, 0.3, 0.3], [0.2, 0.2, 0.2, 0.5]], [[0.0, 0.0, 0.1, 0.5], [0.0, 0.1, 0.1, 0.4]])
    assert learning.needed(found, 250) == 50  # a mean of 0.1 beside 0.1
    assert learning.needed(found, 250, 0) == 100
    assert learning.needed(found, 500) is None
    assert learning.met(found) == [True, False]
    found["curves"][learning.OURS] = [[0.0, 0.3, 0.3, 0.3]] * 2
    assert learning.met(found) == [False, False]


# --- replay in the loop -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def replayed() -> Figures:
    """A quick run."""
    return as_read(replay_learning.run(quiet, quick=True))


@pytest.mark.slow
def test_all_ways_have_the_same_number_of_attempts_and_one_page(replayed: Figures) -> None:
    for runs in replayed["runs"].values():
        assert set(runs) == set(replay_learning.WAYS)
        rows = [row for seeds in runs.values() for row in seeds]
        assert all(row["attempts"] >= replayed["attempts"] and row["versions"] > 0 for row in rows)
    said = replay_learning.table(replayed)
    assert said.count("\n| none | ") == 2 * len(replayed["runs"])
    assert "Prioritized replay in the loop" in replay_learning.readme(replayed)


def paired(ours: list[float], other: list[float]) -> replay_learning.Difference:
    runs = {replay_learning.OURS: [{"rules": x} for x in ours], "none": [{"rules": x} for x in other]}
    return replay_learning.difference({"runs": {"50": runs}}, "50", "none", "rules")


def test_a_difference_whose_interval_has_0_in_it_is_called_not_significant() -> None:
    form = "{:+.1f}"
    assert paired([1.0, 5.0, 3.0], [2.0, 3.0, 4.0]).said(form).endswith(", not significant")
    assert paired([4.0, 5.0, 6.0], [3.0, 4.0, 5.0]).said(form) == "+1.0 (+1.0 to +1.0)"
    assert paired([4.0, 5.0], [5.0, 6.0]).significant
    assert paired([4.0, 5.0], [4.0, 5.0]).said(form) == "the same"


# --- the loop's speed ---------------------------------------------------------------------------------------------------------


def test_a_call_is_timed_without_those_inside_it() -> None:
    times = loop.Times()
    inner = times.wrap(lambda: sum(range(1000)), "inner")
    outer = times.wrap(lambda: [inner() for _ in range(5)], "outer")
    begin = time.perf_counter()
    outer()
    whole = time.perf_counter() - begin
    assert dict(times.calls) == {"outer": 1, "inner": 5}
    assert min(times.seconds.values()) > 0
    assert sum(times.seconds.values()) <= whole


def test_what_the_guard_does_is_the_guards() -> None:
    times = loop.Times()
    inner = times.wrap(lambda: None, "judging")
    times.wrap(inner, "learner: guard")()
    inner()
    assert dict(times.calls) == {"learner: guard": 1, "judging": 1}


def test_nothing_stays_timed() -> None:
    before = [getattr(owner, method) for owner, method, _ in loop.TIMED]
    with loop.timing(loop.Times()):
        assert all(
            getattr(owner, method) != one for (owner, method, _), one in zip(loop.TIMED, before, strict=True)
        )
    assert [getattr(owner, method) for owner, method, _ in loop.TIMED] == before


@pytest.mark.slow
def test_the_judge_alone_is_given_the_candidates_of_the_loop() -> None:
    found = as_read(loop.run(quiet, quick=True))
    assert found["alone"]["attempts"] == found["one"]["attempts"] > 0
    assert sum(found["one"]["by"].values()) <= found["one"]["seconds"]
    assert found["one"]["calls"]["store: appending"] == found["one"]["records"] > 0
    assert 0 < loop.share(found, "store") < 1
    assert "| judging | " in loop.table(found)
    assert "of the loop's time" in loop.readme(found)


# --- learning from nothing ----------------------------------------------------------------------------------------------------


def test_a_part_that_is_taken_anew_leaves_the_others() -> None:
    minute, corpus, other = {"runs": 1}, {"runs": 2}, {"runs": 3}
    all_parts = learn.merged(
        learn.merged(learn.merged({}, "corpus", corpus), "minute", minute), "long", other
    )
    assert all_parts == {"runs": 1, "corpus": corpus, "long": other}
    assert learn.merged(all_parts, "minute", {"runs": 4}) == {"runs": 4, "corpus": corpus, "long": other}
    assert learn.merged(all_parts, "long", {"runs": 5}) == {"runs": 1, "corpus": corpus, "long": {"runs": 5}}


@pytest.mark.slow
@pytest.mark.parametrize("part", ["minute", "corpus"])  # ten minutes are the minute for longer
def test_each_part_of_learning_from_nothing_runs_and_is_written(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "say", quiet)
    committed = json.loads((ROOT / "benchmarks" / "results" / "learn.json").read_text(encoding="utf-8"))
    (tmp_path / "learn.json").write_text(json.dumps(committed))
    command._learn(tmp_path, part, True, None)
    written = json.loads((tmp_path / "learn.json").read_text(encoding="utf-8"))
    found = written if part == "minute" else written[part]
    assert (len(found["runs"]), found["failed"], found["inputs"]) == (1, 0, 200)
    assert (tmp_path / "learn.md").read_text(encoding="utf-8").split("\n\n", 1)[1] == learn.table(written)
    kept = copy.deepcopy(written)
    for name in set(found) if part == "minute" else {part}:
        kept.pop(name)
    assert kept == {name: value for name, value in committed.items() if name in kept}


# --- hours --------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc to read memory from")
def test_each_process_of_a_long_run_is_measured() -> None:
    found = as_read(hours.run(quiet, quick=True))
    last = found["samples"][-1]["memory_bytes"]
    assert tuple(last) == hours.ROLES
    assert min(last.values()) > 10e6  # what Python and numpy take
    assert 0 < found["cycles"] <= 384
    assert found["attempts"] > 0
    assert "| minutes | whole run | builder 1 | builder 2 | learner | files |" in hours.table(found)


def test_growth_is_the_slope_of_the_second_half() -> None:
    samples = [
        {"seconds": 60 * k, "disk_bytes": 1, "memory_bytes": {"learner": 9e8 if k < 30 else 5e8 + 1e6 * k}}
        for k in range(1, 61)
    ]
    slope = hours.growth(samples, "learner")
    assert slope is not None
    assert abs(slope - 60) < 1e-6
    assert hours.growth(samples, "builder 1") is None
