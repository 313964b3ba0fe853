"""The loop: builders, a learner and a store as processes that are really killed; what is kept, learned and shown."""

from __future__ import annotations

import functools
import os
import runpy
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cli_helpers import inside, running
from online_helpers import NAMES, functions, run_folder
from ostinato import DamageError, online, targets
from ostinato.judge import Judge, save_programs
from ostinato.online import Folder, Learner, Metrics, Study, Work, Worker
from ostinato.store import Store

TIMEOUT_S = 120


def moments(folder: Path, **options: object) -> Iterator[online.Moment]:
    given = {"builders": 1, "beam": 512, "trigger": 10, "every_s": 0.2, **options}
    return online.learn(functools.partial(targets.load, str(folder)), str(folder), **given)  # type: ignore[arg-type]


def worker(folder: Path, *, policy: str = "rules", seed: int = 1, beam: int = 256) -> tuple[Worker, Store]:
    store = Folder(folder).store(create=True)
    work = Work(str(folder), policy, 0, seed, beam)
    return Worker(targets.load(str(folder)), store, store.writer(), work), store


def test_programs_of_a_run_are_kept_with_it(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    again = targets.functions_in(folder)
    assert [(one.name, one.tir_hash, one.baseline, one.types, one.tests) for one in again] == [
        (one.name, one.tir_hash, one.baseline, one.types, one.tests) for one in functions()
    ]
    save_programs(tmp_path / "again.json", again)
    assert (tmp_path / "again.json").read_bytes() == (folder / "programs.json").read_bytes()


def test_what_a_beam_came_to_is_in_its_record(tmp_path: Path) -> None:
    own, store = worker(run_folder(tmp_path))
    for _ in range(12):
        own.turn()
    records = store.results()
    beams = records.extras["attempts"] > 0
    assert int(beams.sum()) == 12
    assert int(records.extras["attempts"].sum()) == own.attempts
    assert (records.extras["valid_attempts"] <= records.extras["attempts"]).all()
    fallbacks = beams & records.fallback_used
    assert (records.extras["valid_attempts"][fallbacks] == 0).all()
    assert (records.extras["valid_attempts"][beams & ~records.fallback_used] > 0).all()
    assert not records.fallback_used[~beams].any()
    assert (records.extras["failure"][~records.valid] > 0).all()


def test_each_valid_record_is_valid_and_priced_and_its_parent_is_there(tmp_path: Path) -> None:
    own, store = worker(run_folder(tmp_path))
    for _ in range(40):
        own.turn()
    records = store.results()
    ids = set(records.ids.tolist())
    by_hash = {function.tir_hash: Judge(function, seed=99) for function in functions()}
    found = np.flatnonzero(records.valid & ~records.fallback_used)
    assert len(found) > 10
    for i in found.tolist():
        judge = by_hash[records.tir_hash[i].tobytes()]
        verdict = judge.judge([list(records.generated_tasm[i])], confirm="none")[0]
        assert (verdict.valid, verdict.clock_cycles) == (True, int(records.clock_cycles[i]))
    parents = set(records.extras["parent"].tolist()) - {-1}
    assert parents
    assert parents <= ids


def test_a_beam_without_a_valid_candidate_is_a_fallback(tmp_path: Path) -> None:
    own, store = worker(run_folder(tmp_path), beam=1, policy="edits")
    for _ in range(30):
        own.turn()
    records = store.results()
    assert records.fallback_used.any()
    baselines = {function.tir_hash: function.baseline for function in functions()}
    for i in np.flatnonzero(records.fallback_used).tolist():
        assert tuple(records.generated_tasm[i]) == baselines[records.tir_hash[i].tobytes()]
        assert records.clock_cycles[i] == records.compiler_cycles[i]


def test_what_others_found_becomes_a_parent(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    own, store = worker(folder)
    for _ in range(40):
        own.turn()
    best = Metrics(targets.load(str(folder)).programs)
    best.take(store.results())
    other, _ = worker(folder, seed=5)
    for i, task in enumerate(other._target.programs):
        assert other._builder.pool.best(i)[1] == best.best[task.name][0]


def test_the_same_seed_and_store_give_the_same_attempts(tmp_path: Path) -> None:
    kept = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        own, store = worker(run_folder(tmp_path / name), policy="edits")
        for _ in range(8):
            own.turn()
        records = store.results()
        kept.append([tuple(lines) for lines in records.generated_tasm])
    assert kept[0] == kept[1]


def test_the_learner_learns_when_enough_is_new_and_says_from_what(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    own, store = worker(folder)
    learner = Learner(targets.load(str(folder)), store, Study(str(folder), trigger=1000, trigger_s=100.0))
    assert learner.turn(time.time()) is None
    while len(store.results()) < 60:
        own.turn()
    assert learner.turn(time.time()) is None  # neither enough, nor long enough
    version = learner.turn(time.time() + 101.0)
    assert version == 1
    assert Folder(folder).active() == 1
    ids = store.results().ids
    (finetune,) = store.catalog.finetunes()
    assert set(ids.tolist()) <= set(store.catalog.finetune_records(finetune.number).tolist())
    known = store.catalog.version(1)
    assert known is not None
    assert (known.finetune, known.path) == (finetune.number, "policies/000001.json")
    assert known.metrics["rules"] == len(learner.policy.rules) > 0
    assert learner.turn(time.time() + 300.0) is None  # nothing is new
    again = Learner(targets.load(str(folder)), store, Study(str(folder), trigger=1))
    assert again.turn(time.time()) is None  # what was read before a restart is not read again
    own._take_policy()
    own.turn()
    assert store.results().model_version[-1] == 1


class Sabotaged(online.RulePolicy):
    """Proposes code that is never right: every candidate loses its last words."""

    def propose(self, parents, count, rng):  # type: ignore[no-untyped-def]
        made = super().propose(parents, count, rng)
        made.tokens[:] = made.tokens[0]
        return made


def test_the_guard_rejects_a_sabotaged_policy_and_lets_a_better_one_through(tmp_path: Path) -> None:
    held_out = targets.held_out(str(run_folder(tmp_path)))
    assert len(held_out.programs) > 8
    plain = online.evaluate(online.RulePolicy(held_out), held_out)
    bad = online.evaluate(Sabotaged(held_out), held_out)
    decision = online.decide(plain, bad, phase_b=False)
    assert not decision.activate
    assert "validity falls from" in decision.reason
    assert online.decide(bad, plain, phase_b=True).activate
    assert online.decide(plain, plain, phase_b=True).activate


def test_the_guard_looks_at_cycles_in_phase_b_alone() -> None:
    many = np.full(20, 100)
    good = online.Evaluation(many, many // 2, np.linspace(0.4, 0.6, 20))
    worse = online.Evaluation(many, many // 2, np.linspace(0.1, 0.3, 20))
    assert online.decide(good, worse, phase_b=False).activate
    decision = online.decide(good, worse, phase_b=True)
    assert (decision.activate, "it saves less" in decision.reason) == (False, True)
    assert decision.high is not None
    assert decision.high < 0
    nothing = online.Evaluation(many * 0, many * 0, np.zeros(20))
    assert online.decide(nothing, good, phase_b=True).validity == (None, 0.5)


def test_a_rejected_policy_is_kept_and_named_and_the_active_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_folder(tmp_path)
    own, store = worker(folder)
    make = functools.partial(targets.held_out, str(folder))
    learner = Learner(targets.load(str(folder)), store, Study(str(folder), trigger=20, held_out=make))
    for activate in (True, False):
        said = online.Decision(activate, "said so", (0.5, 0.5))
        monkeypatch.setattr("ostinato.online.learner.decide", lambda *_, said=said, **__: said)
        first = len(store.results())
        while len(store.results()) < first + 30:
            own.turn()
        assert learner.turn(time.time()) is not None
    assert (Folder(folder).active(), Folder(folder).versions()) == (1, [1, 2])
    assert learner.policy.version == 1
    rows = inside("policies", folder, "--json").json
    assert [(row["version"], row["active"], row["activated"]) for row in rows] == [
        (1, True, True),
        (2, False, False),
    ]
    assert "rejected" in inside("policies", folder).out
    assert inside("rollback", folder).code == 2
    assert inside("rollback", folder, 9).code == 2
    assert inside("rollback", folder, 2, "--json").json == {"active": 2, "before": 1}
    learner.turn(time.time())
    while learner.turn(time.time()) is None:
        own.turn()
    assert store.catalog.version(3).parent == 2  # type: ignore[union-attr] - it learns on from what is at work
    assert inside("rollback", folder, "--json").json == {"active": 1, "before": 2}


def test_history_comes_with_what_is_new(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    own, store = worker(folder)
    learner = Learner(targets.load(str(folder)), store, Study(str(folder), trigger=30, history=0.5))
    for _ in range(2):
        first = len(store.results())
        while len(store.results()) < first + 40:
            own.turn()
        assert learner.turn(time.time()) is not None
    one, two = store.catalog.finetunes()
    drawn = set(store.catalog.finetune_records(two.number).tolist())
    assert drawn & set(store.catalog.finetune_records(one.number).tolist())


def test_a_run_learns_ends_after_its_attempts_and_goes_on(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    last = list(moments(folder, attempts=30_000))[-1]
    assert last.metrics.attempts >= 30_000
    assert last.metrics.improved == len(NAMES)
    assert last.restarted == 0
    before = last.metrics.attempts
    again = list(moments(folder, attempts=2_000))[-1]
    assert again.metrics.attempts >= before + 2_000
    with Folder(folder).store() as store:
        rows = targets.best(store.results(), functions(), seed=17)
    assert [row.clock_cycles for row in rows] == [again.metrics.best[row.name][0] for row in rows]
    assert sum(row.clock_cycles for row in rows) <= 14


@pytest.mark.slow
def test_killed_processes_lose_nothing_and_come_back(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    killed = 0
    seen: set[int] = set()
    run = moments(folder, builders=2, seconds=60.0)
    for moment in run:
        children = _children(os.getpid())
        if moment.metrics.records and killed < 3 and children:
            with Folder(folder).store() as store:
                seen |= set(store.results().ids.tolist())
            os.kill(children[killed % len(children)], signal.SIGKILL)
            killed += 1
        if killed == 3 and moment.restarted == 3 and moment.active is not None:
            break
    run.close()  # type: ignore[attr-defined]
    assert killed == 3
    assert _children(os.getpid()) == []
    with Folder(folder).store() as store:
        assert seen <= set(store.results().ids.tolist())
        assert store.check().problems == []
    assert Folder(folder).versions()


def test_builders_leave_when_nobody_looks_after_them(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with running("learn", folder, "--builders", 1, "--json") as process:
        assert process.stdout is not None
        process.stdout.readline()
        children = _children(process.pid)
        process.kill()
        process.wait()
    assert children
    for child in children:
        deadline = time.monotonic() + TIMEOUT_S
        while Path(f"/proc/{child}").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _children(parent: int) -> list[int]:
    """Builders and learners: spawned by this process, without multiprocessing's own tracker."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            stat = (entry / "stat").read_text().rsplit(")", 1)[1].split() if entry.name.isdigit() else None
            line = (entry / "cmdline").read_bytes() if stat else b""
        except OSError:
            continue
        if stat and int(stat[1]) == parent and stat[0] != "Z" and b"spawn_main" in line:
            found.append(int(entry.name))
    return sorted(found)


def test_ctrl_c_ends_a_run_and_keeps_everything(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with running("learn", folder, "--builders", 1, "--json") as process:
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, words = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, words) == (0, b"")
    assert rest.splitlines()[-1].endswith(b'"done":true}')
    with Folder(folder).store() as store:
        assert store.check().problems == []


def test_the_command_line_learns_shows_and_uses_what_it_learned(tmp_path: Path) -> None:
    programs = tmp_path / "some.json"
    save_programs(programs, functions())
    folder = tmp_path / "run"
    said = inside("learn", folder, "--programs", programs, "--attempts", 20_000, "--builders", 1, "--quiet")
    assert (said.code, said.err) == (0, "")
    assert "cycles as the compiler writes them" in said.out
    rows = inside("best", folder, "--json").json
    assert [row["name"] for row in rows] == [one.name for one in functions()]
    for row, function in zip(rows, functions(), strict=True):
        assert row["compiler_cycles"] == len(function.baseline)
        assert (
            Judge(function).judge([row["generated_tasm"]], confirm="all")[0].clock_cycles
            == row["clock_cycles"]
        )
        assert row["inputs"] > 1000
    assert "field_sub: 3 cycles, 4 fewer than the compiler's 7" in inside("best", folder, "field_sub").out
    assert inside("best", folder, "nothing").code == 2
    found = inside("rules", folder, "--json").json
    assert all(isinstance(rule["before"], list) for rule in found)
    assert inside("learn", folder, "--programs", programs, "--attempts", 1).code == 2
    block = tmp_path / "block.tasm"
    block.write_text("// a - b\ndup 1\ndup 1\npush -1\nmul\nadd\nswap 2\npop 2\n")
    better = inside("optimize", block, "--types", "f,f", "--run", folder, "--seconds", 4, "--json")
    assert (better.code, better.json["clock_cycles"]) == (0, 3)
    block.write_text("add\n")
    none = inside("optimize", block, "--types", "f,f", "--seconds", 0.2)
    assert (none.code, none.out) == (1, "")
    assert "nothing better than 1 cycles was found" in none.err


def test_both_sides_of_a_rule_are_shown_however_long_they_are(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    Folder(folder).store(create=True).close()
    policy = online.RulePolicy(targets.load(str(folder)))
    long = tuple(f"swap {15 - i % 4}" for i in range(16))
    policy.rules.add(online.Rule(long, ("mul", "add"), 6, True, seen={"sum5": 1}))
    policy.rules.add(online.Rule(("swap 1", "swap 1"), (), 2, True, seen={"sum5": 1}))
    policy.save(Folder(folder).checkpoint(1))
    Folder(folder).activate(1)
    said = inside("rules", folder).out
    assert said.count("swap") == 16 + 2
    assert all(words in said for words in ("mul; add", "(nothing)", "after"))


def test_a_function_in_tir_is_learned_too(tmp_path: Path) -> None:
    source = tmp_path / "mine.tir"
    source.write_text("fn f(a: field) -> (b: field)\n// A double.\ndup 0\ndup 1\nadd\nswap 1\npop 1\nend\nfn g(a: bool) -> (b: bool)\nif_only\nend\npush 1\nend\n")  # fmt: skip
    folder = tmp_path / "run"
    said = inside("learn", folder, "--programs", source, "--attempts", 3000, "--builders", 1, "--json")
    assert said.code == 0
    assert "straight-line code is searched for: g" in said.err
    assert inside("best", folder, "--json").json[0]["clock_cycles"] == 2


@pytest.mark.parametrize("verb", ["best", "rules"])
def test_a_folder_that_is_no_run_is_a_usage_error(tmp_path: Path, verb: str) -> None:
    said = inside(verb, tmp_path)
    assert (said.code, "is no run of `ostinato learn`" in said.err) == (2, True)
    (tmp_path / "x").touch()
    assert "holds something else" in inside("learn", tmp_path, "--attempts", 1).err


def test_a_damaged_note_of_the_active_policy_is_damage_and_builders_go_on(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    own, _ = worker(folder)
    (folder / "policies" / "active").write_bytes(b"\xff")
    with pytest.raises(DamageError, match="expected the number of a policy"):
        Folder(folder).active()
    own._take_policy()
    Folder(folder).activate(7)  # whose file is not there
    own._take_policy()
    own.turn()
    assert own.version == 0


def test_metrics_of_nothing_are_none() -> None:
    metrics = Metrics(())
    assert (metrics.validity, metrics.fallback_rate, metrics.duplicate_rate, metrics.reduction) == (None,) * 4


def test_another_compiler_is_a_target_in_a_hundred_lines(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(__file__).parent.parent / "examples" / "addition_chains.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 100
    found = runpy.run_path(str(path))["main"]()
    assert found["x**12"] == 4
    assert sum(found.values()) <= 36
    assert "sq" in capsys.readouterr().out
