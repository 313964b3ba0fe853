"""A run that goes on for long: its files stay within a budget, its memory does not grow, and nothing that counts is lost.

`OSTINATO_LONG=1 pytest tests/test_online_keeping.py` runs two of these for two hours each.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from online_helpers import functions, run_folder
from ostinato import BuildResult, online, targets
from ostinato.online import Folder, Learner, Metrics, Rule, RuleBook, Study, Work, Worker, keeping
from ostinato.online.rule_policy import RulePolicy
from ostinato.online.working import newest

SOAK_S = 7200.0 if os.environ.get("OSTINATO_LONG") == "1" else 25.0


def test_records_leave_when_a_run_is_too_large_and_the_best_of_each_program_stays(tmp_path: Path) -> None:
    folder = Folder(run_folder(tmp_path))
    target = targets.load(str(folder.path))
    rng = np.random.default_rng(1)
    budget = 1_000_000
    with folder.store(create=True) as store:
        best = {}
        for part in range(20):
            with store.writer(rotate_bytes=keeping.rotate_bytes(budget, 1)) as writer:
                for i in range(1000):
                    task = target.programs[i % 4]
                    cycles = int(rng.integers(10, 1000))
                    best[task.tir_hash] = min(best.get(task.tir_hash, 1000), cycles)
                    writer.append(
                        BuildResult(tir_hash=task.tir_hash, generated_tasm=["add", f"push {i}"], valid=True, clock_cycles=cycles,
                                    compiler_cycles=1000, fallback_used=False, timestamp=part * 1000 + i, model_version=1),
                        {"attempts": 1},
                    )  # fmt: skip
        assert keeping.is_full(folder, budget)
        before = len(store)
        ids = set(store.results().ids.tolist())
        keeping.shrink(str(folder.path), budget)
        records = store.results()
        assert 1024 < len(records) < before / 2
        assert set(records.ids.tolist()) <= ids
        assert records.timestamp.max() == 19_999
        for task in target.programs:
            own = (records.tir_hash == np.frombuffer(task.tir_hash, np.uint8)).all(axis=1)
            assert records.clock_cycles[own].min() == best[task.tir_hash]
        assert folder.size_bytes() < budget / 2
        assert not keeping.is_full(folder, budget)
        assert store.check().problems == []


def test_what_was_counted_stays_counted_when_its_records_have_left(tmp_path: Path) -> None:
    path = run_folder(tmp_path)
    budget = 4_000_000
    make = functools.partial(targets.load, str(path))
    run = functools.partial(online.learn, make, str(path), builders=1, beam=16, policy="edits")
    most = 0
    kept = []
    for moment in run(seconds=SOAK_S, disk_bytes=budget, every_s=0.2, keep_s=0.5):
        most = max(most, Folder(path).store_bytes())
        kept.append(moment.metrics.attempts)
    assert kept == sorted(kept)
    assert most < budget
    (last,) = run(attempts=1, every_s=60.0)
    assert last.metrics.attempts > kept[-1]
    fresh = Metrics(targets.load(str(path)).programs)
    with Folder(path).store() as store:
        fresh.take(store.results())
    assert fresh.attempts < last.metrics.attempts  # records have left
    assert fresh.cycles == last.metrics.cycles  # the best have not


def test_a_builder_waits_until_room_is_made(tmp_path: Path) -> None:
    folder = Folder(run_folder(tmp_path))
    (folder.path / "large").write_bytes(bytes(1_000_000))
    room = keeping.Room(folder, 1_000_000)
    room._looked = 0.0
    timer = threading.Timer(0.3, (folder.path / "large").unlink)
    timer.start()
    room.wait()
    timer.join()
    assert not (folder.path / "large").exists()


def test_a_builder_goes_on_where_no_room_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "_PATIENCE_S", 0.2)
    waits: list[float] = []
    monkeypatch.setattr(keeping.time, "sleep", waits.append)
    folder = Folder(run_folder(tmp_path))
    (folder.path / "large").write_bytes(bytes(1_000_000))
    room = keeping.Room(folder, 1_000_000)
    for turn in range(3):
        room._looked = 0.0
        room.wait()
        waited, waits[:] = len(waits), []
        assert (waited > 0) == (turn == 0)  # and then no more
    (folder.path / "large").unlink()
    room._looked = 0.0
    room.wait()
    (folder.path / "large").write_bytes(bytes(1_000_000))
    room._looked = 0.0
    room.wait()
    assert waits


def test_a_learner_passes_over_records_whose_parents_have_left(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    own = worker(folder)
    learner = Learner(targets.load(str(folder)), own._store, Study(str(folder), trigger=1))
    task = own._target.programs[0]
    one = BuildResult(
        tir_hash=task.tir_hash, generated_tasm=["add"], valid=True, clock_cycles=1, compiler_cycles=task.compiler_cycles,
        fallback_used=False, timestamp=1, model_version=0,
    )  # fmt: skip
    own._writer.append(one, {"parent": 12345 << 24})
    assert learner.turn(time.time()) == 1
    assert len(learner.policy.rules) == 0


def test_a_rule_book_that_is_full_forgets_what_was_of_least_use() -> None:
    target = targets.TritonTarget(functions())
    book = RuleBook(target, most=8)
    useful = [book.add(Rule((f"push {i}", "pop 1"), (), 2, True, seen={"p": 3})) for i in range(4)]
    for i in range(40):
        book.add(Rule(("add", f"push {i}"), ("mul",), 1, False, seen={"p": 1}))
    assert len(book) <= 8
    assert all((rule.before, rule.after) in book for rule in useful)
    assert (("add", "push 39"), ("mul",)) in book  # the last one has its chance
    assert (("add", "push 0"), ("mul",)) not in book


def test_checkpoints_that_are_neither_new_nor_activated_are_deleted(tmp_path: Path) -> None:
    folder = Folder(run_folder(tmp_path))
    folder.store(create=True).close()
    for version in range(1, 60):
        folder.checkpoint(version).write_text("{}")
    folder.activate(3)
    folder.forget_policies({1, 2, 3, *range(10, 30)})
    assert folder.versions() == [3, *range(14, 30), *range(44, 60)]


def test_the_newest_of_each_group_are_taken_in_their_order() -> None:
    groups = np.array([2, 1, 2, 2, 1, 0])
    assert newest(groups, np.arange(6) * 10, 2).tolist() == [10, 20, 30, 40, 50]
    assert newest(groups[:0], np.arange(0), 2).tolist() == []


def worker(folder: Path) -> Worker:
    store = Folder(folder).store(create=True)
    return Worker(targets.load(str(folder)), store, store.writer(), Work(str(folder), "rules", 0, 1, 256))


def test_what_builders_observe_reaches_the_next_checkpoint(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    own = worker(folder)
    learner = Learner(targets.load(str(folder)), own._store, Study(str(folder), trigger=20))
    versions: list[int] = []
    while len(versions) < 3:
        own.turn()
        version = learner.turn(time.time())
        if version is not None:
            versions.append(version)
            own._noted = 0.0
            own._look()
    policy = RulePolicy(targets.load(str(folder)))
    policy.load(Folder(folder).checkpoint(versions[-1]))
    assert policy.ranking.taught > 0
    tried = [rule for rule in policy.rules if rule.successes + rule.failures]
    assert tried
    own_counts = own._policy.observed  # type: ignore[attr-defined]
    for rule in tried:
        known = own_counts.get((rule.before, rule.after), (0, 0))
        assert (rule.successes <= known[0]) & (rule.failures <= known[1])


def test_observations_that_are_damaged_are_passed_over(tmp_path: Path) -> None:
    folder = Folder(run_folder(tmp_path))
    folder.store(create=True).close()
    target = targets.load(str(folder.path))
    policy = RulePolicy(target)
    rule = policy.rules.add(Rule(("push 1", "mul"), (), 2, True))
    good = {**policy.observations(), "rules": [[["push 1", "mul"], [], 7, 2]]}
    folder.note_observations(5, good)
    folder.note_observations(9, good)
    bad = [
        {},
        [],
        3,
        None,
        {**good, "rules": [[1, 2]]},
        {**good, "edits": [[1.0], [2.0]]},
        {**good, "ranking": {"places": [10**9]}},
    ]
    for i, one in enumerate(bad):
        folder.note_observations(20 + i, one)  # type: ignore[arg-type]
    (folder.path / "observations" / "0000000040.json").write_bytes(b"\xff{")
    policy.gather(folder.observations())
    assert (rule.successes, rule.failures) == (14, 4)
    for i in range(100):
        folder.note_observations(100 + i, good)
    assert len(folder.observations()) == 64


def _rss_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc to read memory from")
def test_builder_and_learner_do_not_grow(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    budget = 50_000_000
    target = targets.load(str(folder))
    spawn = multiprocessing.get_context("spawn")
    store = Folder(folder).store(create=True)
    with store, store.writer(rotate_bytes=keeping.rotate_bytes(budget, 1)) as writer:
        own = Worker(target, store, writer, Work(str(folder), "rules", 0, 1, 256))
        learner = Learner(targets.load(str(folder)), store, Study(str(folder), trigger=50))
        begin = time.monotonic()
        sizes = []
        while time.monotonic() - begin < SOAK_S or len(sizes) < 6:
            for _ in range(60):
                own.turn()
            learner.turn(time.time())
            sizes.append(_rss_bytes())
            if keeping.is_full(Folder(folder), budget):  # as a run does
                process = spawn.Process(target=keeping.shrink, args=(str(folder), budget))
                process.start()
                process.join()
    half = sizes[len(sizes) // 2 :]
    assert half[-1] - half[0] < 40e6, [size >> 20 for size in sizes]
