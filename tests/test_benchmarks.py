"""What the benchmarks say of their figures, and that the reference they compare with is right."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from benchmarks import core, records, replay
from benchmarks.reference import Replay

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
MODULES = {"core": core, "replay": replay}


def figures(name: str) -> dict[str, object]:
    return dict(json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")))


def invented(rate: float = 1000.0) -> dict[str, object]:
    """Figures of three libraries at two sizes: ours does everything four times as often as cpprb."""
    operations = [*replay.OPERATIONS, *replay.OWN]
    ours = {name: [4 * rate, 5 * rate, 3 * rate] for name in operations}
    rates = {
        "ostinato": {"10": ours, "20": ours},
        "cpprb": {n: {name: [rate] * 3 for name in replay.OPERATIONS} for n in ("10", "20")},
        "stable-baselines3": {
            n: {name: [9 * rate] * 3 for name in ("add", "draw", "loop")} for n in ("10", "20")
        },
    }
    bytes_a_record = {name: {"10": 300.0, "20": 300.0} for name in rates}
    rules = {
        "records": 20,
        "samplers": {
            "Proportional()": {"draw": [1e-4] * 3, "loop": [5e-4] * 3},
            "Slow()": {"draw": [3e-4] * 3, "loop": [9e-4] * 3},
        },
        "removers": {"Oldest()": {"extend": [1e-3] * 3, "loop": [5e-4] * 3}},
    }
    grown = {
        "rates": {"ostinato": {"10": ours, "90": ours}},
        "bytes_a_record": {"ostinato": {"10": 300.0, "90": 300.0}},
    }
    starts = {name: [1.0, 2.0, 3.0] for name in rates}
    return {
        "machine": "a machine", "sizes": [10, 20], "alone": 90, "rounds": 3, "seconds": 0.3,
        "versions": dict.fromkeys(rates, "1"), "missing": {"tianshou": "ImportError: none"}, "rates": rates,
        "bytes_a_record": bytes_a_record, "growth": grown, "import_s": starts, "cold_s": starts, "rules": rules,
    }  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_the_committed_table_is_what_the_committed_figures_give(name: str) -> None:
    module: ModuleType = MODULES[name]
    text = (RESULTS / f"{name}.md").read_text(encoding="utf-8") if figures(name) else ""
    assert text.split("\n\n", 1)[1] == module.table(figures(name))


@pytest.mark.parametrize("name", MODULES)
def test_the_readme_quotes_the_committed_figures(name: str) -> None:
    module: ModuleType = MODULES[name]
    assert module.readme(figures(name)) in (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_goal_that_is_missed_is_called_so() -> None:
    said = replay.table(invented())
    assert [goal["met"] for goal in replay.goals(invented())] == [True, True, False, False, True, True]
    assert "| add one at a time | 10 x | 4.0 x | cpprb | **missed** |" in said
    assert "PerProgram 3 x: **missed** by `Slow()` 3.0 x." in said
    assert "add one at a time 4.0 x (cpprb)" in replay.readme(invented())


def test_a_library_that_is_missing_is_named_with_its_reason() -> None:
    assert "\ntianshou is left out: ImportError: none\n" in replay.table(invented())


def test_a_comparison_without_any_peer_claims_nothing() -> None:
    alone = invented()
    alone["rates"] = {"ostinato": alone["rates"]["ostinato"]}  # type: ignore[index]
    assert {goal["met"] for goal in replay.goals(alone)[:5]} == {None}
    assert "no peer" not in replay.readme(alone)


def test_the_uniform_floor_is_no_rival() -> None:
    assert {goal["of"] for goal in replay.goals(invented())[:5]} == {"cpprb"}


def test_an_absent_library_is_a_note_and_no_error() -> None:
    code = (
        "import sys; sys.modules['cpprb'] = None\n"
        "from benchmarks import turns\n"
        "turns._serve('cpprb', 10, print)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert re.match(r"\{'missing': '(ModuleNotFoundError|ImportError): ", said)


def test_the_reference_draws_by_its_stated_distribution() -> None:
    columns = {"value": np.arange(13)}
    buffer = Replay(13, columns, alpha=0.6, seed=0)
    buffer.extend(columns, np.ones(13))
    priorities = np.arange(13) / 3.0  # the first is never drawn
    buffer.update(np.arange(13), priorities)
    n, batches = 64, 500
    drawn = np.concatenate([buffer.draw(n)[1] for _ in range(batches)])
    expected = priorities**0.6 / (priorities**0.6).sum() * n * batches
    counts = np.bincount(drawn, minlength=13)
    assert counts[0] == 0
    chi_square = ((counts - expected)[1:] ** 2 / expected[1:]).sum()
    assert chi_square < 26.2  # 11 degrees of freedom, 0.6 %; strata only lower it


def test_the_reference_gives_the_weights_of_schaul_et_al() -> None:
    columns = {"value": np.arange(8)}
    buffer = Replay(8, columns, alpha=1.0, seed=1)
    buffer.extend(columns, np.arange(1.0, 9.0))
    rows, slots, weights = buffer.draw(256, beta=0.5)
    probability = (slots + 1) / 36
    expected = (8 * probability) ** -0.5
    np.testing.assert_allclose(weights, expected / expected.max(), rtol=1e-12)
    assert (rows["value"] == slots).all()


@pytest.mark.parametrize("capacity", [1, 2, 3, 7, 8])
def test_the_reference_is_a_ring_whose_root_is_the_sum_of_its_leaves(capacity: int) -> None:
    buffer = Replay(capacity, {"value": np.zeros(1, np.int64)}, alpha=1.0)
    for k in range(20):
        buffer.add({"value": k}, float(k))
    assert sorted(buffer.columns["value"].tolist()) == list(range(20 - capacity, 20))
    assert buffer.levels[-1][0] == sum(range(20 - capacity, 20))
    assert set(buffer.draw(100)[1].tolist()) <= set(range(capacity))


def test_records_made_distinct_stay_distinct_over_chunks() -> None:
    chunk = records.cut(records.make(64), 32)[0]
    seen = set()
    for first in (0, 32, 64):
        made = records.distinct(chunk, first)
        bounds = made["offsets"]
        seen |= {made["flat"][a:b].tobytes() for a, b in pairwise(bounds)}
    assert len(seen) == 96


def test_padded_and_ragged_tokens_are_the_same_tokens() -> None:
    for columns in (records.make(100), records.cut(records.make(100), 25)[3]):
        mask = np.arange(records.LONGEST) < columns["length"][:, None]
        assert (columns["tokens"][mask] == columns["flat"]).all()
        assert (np.diff(columns["offsets"]) == columns["length"]).all()
