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
from benchmarks import (
    attempts,
    contenders,
    core,
    hours,
    learn,
    learning,
    loop,
    machine,
    records,
    replay,
    replay_learning,
    store,
    store_child,
)
from benchmarks.reference import Replay

from ostinato import Results, archive
from ostinato.store import Store

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
MODULES = {
    "core": core, "hours": hours, "learn": learn, "learning": learning, "loop": loop, "machine": machine, "replay": replay,
    "replay_learning": replay_learning, "store": store,
}  # fmt: skip
TAKEN = [name for name in MODULES if (RESULTS / f"{name}.json").exists()]
QUOTED = ("core", "learn", "learning", "loop", "machine", "replay", "replay_learning", "store")
TINY = store.Size(
    chunks=1, times=2, rounds=1, few=1, writers=2, written=1024, records=4096, journals=2, memory=(2048, 8192),
    segment_mib=1, many=8192, draws=5,
)  # fmt: skip


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


@pytest.mark.parametrize("name", TAKEN)
def test_the_committed_table_is_what_the_committed_figures_give(name: str) -> None:
    module: ModuleType = MODULES[name]
    text = (RESULTS / f"{name}.md").read_text(encoding="utf-8") if figures(name) else ""
    assert text.split("\n\n", 1)[1] == module.table(figures(name))


@pytest.mark.parametrize("name", QUOTED)
def test_the_readme_quotes_the_committed_figures(name: str) -> None:
    module: ModuleType = MODULES[name]
    assert module.readme(figures(name)) in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_names_the_machine_that_every_figure_is_from() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in TAKEN if str(figures(name)["machine"]) not in text] == []


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


# --- the store ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured() -> dict[str, object]:
    """What a run gives at a size that says nothing of speed, as it comes back from its file."""
    return dict(json.loads(json.dumps(store.run(TINY, say=lambda _: None))))


@pytest.mark.slow
def test_a_tiny_run_measures_every_goal(measured: dict[str, object]) -> None:
    without = {goal.what for goal in store.goals(measured) if goal.met is None}
    absent = {what for what in without if "LMDB" in what or "anonymous memory" in what}
    assert without == absent
    if "lmdb" in sys.modules and Path("/proc/self/status").exists():
        assert without == set()


@pytest.mark.slow
def test_every_record_of_many_writers_is_found_again(measured: dict[str, object]) -> None:
    writers = measured["writers"]
    # one writer and two, in a turn that counts and one that does not, one by one and four times as many in columns
    assert (writers["lost"], writers["kept"]) == (0, 3 * 2 * 5 * TINY.written)  # type: ignore[index]


@pytest.mark.slow
def test_a_writer_starts_without_numba(measured: dict[str, object]) -> None:
    assert measured["start"]["numba"] is False  # type: ignore[index]
    assert "| numba is not loaded |" in store.table(measured)


@pytest.mark.slow
def test_the_table_and_the_readme_are_made_of_a_tiny_run(measured: dict[str, object]) -> None:
    said = store.table(measured)
    assert said.count("\n| ") > 30
    assert "draw and update" not in store.readme(measured)
    assert f"{TINY.records:,} records on disk are open" in store.readme(measured)


def changed(path: str, value: object) -> dict[str, object]:
    """The committed figures of the store, one of them another one."""
    out = figures("store")
    at: object = out
    *before, last = path.split("/")
    for key in before:
        at = at[key]  # type: ignore[index]
    at[last] = value  # type: ignore[index]
    return out


@pytest.mark.parametrize(
    ("path", "good", "bad", "what"),
    [
        ("append/Ostinato", [2.5e9], [1.0], "append one, beside LMDB"),
        ("extend/Ostinato", [4e12], [1.0], "append 1,024 at once, beside LMDB"),
        ("writers/lost", 0, 1, "records that many writers lost"),
        ("writers/ones/all", [1e9], [1.0], "8 processes beside one, one by one"),
        ("start/import_s", [0.1], [0.1001], "import of the writer on top of numpy"),
        ("open/warm", [0.15], [0.1501], "open 1,000,000 sealed records, draw the first batch"),
        ("open/sqlite", [1e3], [1e-3], "the same, beside SQLite reading all columns"),
        ("unsealed/open_s", [1.0], [1.01], "open 1,000,000 records in journals, appended one by one"),
        ("refresh/nothing_s", [50e-6], [51e-6], "refresh with nothing new, 8 journals"),
        ("refresh/columns_s", [2e-3], [2.1e-3], "refresh with 1,024 new in columns"),
        ("tidy/seal", [200e6], [199e6], "seal records that were appended one by one"),
        ("memory/seal/3000000/peak", 64 << 20, 65 << 20, "anonymous memory while 3,000,000 are sealed"),
        ("large/opened", 32.0, 32.1, "anonymous memory a record of 10,000,000, opened"),
    ],
)
def test_a_goal_of_the_store_is_judged_by_its_figure(path: str, good: object, bad: object, what: str) -> None:
    verdicts = [
        {goal.what: goal.verdict for goal in store.goals(changed(path, value))}[what] for value in (good, bad)
    ]
    assert verdicts == ["reached", "**missed**"]


def test_without_lmdb_nothing_is_claimed_of_it() -> None:
    alone = figures("store")
    alone["missing"] = {"LMDB": "ImportError: none"}
    for how in ("append", "extend"):
        alone[how] = {name: rates for name, rates in alone[how].items() if "LMDB" not in name}  # type: ignore[attr-defined]
    verdicts = {goal.what: goal.verdict for goal in store.goals(alone)}
    assert verdicts["append one, beside LMDB"] == "not measured"
    assert "\nLMDB is left out: ImportError: none\n" in store.table(alone)
    assert "LMDB" not in store.readme(alone)


def test_memory_that_the_system_does_not_tell_is_not_measured() -> None:
    said = store.table(changed("memory/seal/3000000/peak", None))
    assert "| anonymous memory while 3,000,000 are sealed | ≤ 64 MiB | – | not measured |" in said


def test_a_run_without_room_for_the_large_store_says_so() -> None:
    without = changed("large", {})
    assert {g.verdict for g in store.goals(without) if "a record of 10,000,000" in g.what} == {"not measured"}
    assert "a buffer over" not in store.table(without)


def test_all_contenders_are_given_the_same_records(tmp_path: Path) -> None:
    ready = attempts.given(2048, 1)
    for k, columns in enumerate(ready.columns):
        assert list(Results.from_columns(**columns)) == ready.records[1024 * k : 1024 * (k + 1)]
    assert [archive.loads(data)[0] for data in ready.archives[:50]] == ready.records[:50]
    path = tmp_path / "records.sqlite"
    store_child.build(str(path), "2048", "database")
    read = contenders.read_columns(path)
    text = read["text"].tobytes().decode()
    bounds = read["offsets"].tolist()
    texts = [text[a:b] for a, b in pairwise(bounds)]
    assert texts == ["\n".join(record.generated_tasm) for record in ready.records]
    cycles = [c if m else None for c, m in zip(read["clock_cycles"].tolist(), read["measured"], strict=True)]
    assert cycles == [record.clock_cycles for record in ready.records]
    assert read["timestamp"].tolist() == [record.timestamp for record in ready.records]


@pytest.mark.parametrize("how", ["append", "extend"])
@pytest.mark.parametrize("name", contenders.CONTENDERS)
def test_every_contender_keeps_all_it_is_given(name: str, how: str, tmp_path: Path) -> None:
    if name.startswith("LMDB"):
        pytest.importorskip("lmdb")
    ready = attempts.given(2048, 3)
    contender = contenders.CONTENDERS[name](tmp_path)
    if how == "append":
        contender.append(ready)
    else:
        contender.extend(ready, 3)
    assert contender.close() == (2048 if how == "append" else 3 * 2048)


def test_a_contender_that_loses_records_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders.Log, "close", lambda _: 1023)
    with pytest.raises(AssertionError, match="bare log kept 1023 of 1024"):
        store._turn("bare log", "append", attempts.given(1024, 1), 1)


@pytest.mark.parametrize("how", ["ones", "columns", "sealed"])
def test_the_stores_that_are_opened_hold_the_attempts(how: str, tmp_path: Path) -> None:
    store_child.build(str(tmp_path / "store"), "3000", how)
    expected = list(Results.from_columns(**attempts.Attempts().columns(0, 3000)))
    opened = Store.open(tmp_path / "store")
    assert list(opened.results()) == expected
    assert bool(opened.health().segments) == (how == "sealed")
