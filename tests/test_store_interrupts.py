"""What an interrupt, a signal handler or a reward that raises leaves behind: nothing lost, nothing twice."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato import DamageError, OstinatoError, ReplayBuffer, UsageError
from ostinato.replay import Oldest, Uniform
from ostinato.store import Store, output
from ostinato.store.fs import REAL
from ostinato.store.open_journal import OpenJournal
from ostinato.store.view import View
from store_helpers import contents, made, many, opened


def test_an_append_from_a_signal_handler_in_the_middle_of_an_append_is_refused(tmp_path: Path):
    store = opened(tmp_path)
    kept: dict[int, Any] = {}
    refused = []
    with store.writer() as writer:

        def handler(number: int, frame: types.FrameType | None) -> None:
            try:
                kept[writer.append(made(1))] = made(1)
            except OstinatoError:
                refused.append(number)

        before = signal.signal(signal.SIGALRM, handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
            for _ in range(20_000):
                identity = writer.append(made(0))
                assert identity not in kept
                kept[identity] = made(0)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    assert contents(store) == kept
    assert store.health().damaged == 0


class Grumpy:
    """A reward that raises once, at its n-th call."""

    def __init__(self, call: int, error: BaseException) -> None:
        self.calls, self.call, self.error = 0, call, error

    def __call__(self, results: Any) -> np.ndarray:
        self.calls += 1
        if self.calls == self.call:
            raise self.error
        return np.ones(len(results))


@pytest.mark.parametrize("capacity", [100_000, 20_000])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), UsageError("no")], ids=["interrupt", "error"])
def test_a_refresh_that_does_not_end_is_ended_by_the_next_one(
    tmp_path: Path, capacity: int, error: BaseException
):
    store = opened(tmp_path)
    records = many(8)
    with store.writer() as writer:
        writer.extend(records)
    reward = Grumpy(3, error)
    buffer = store.replay(capacity, sampler=Uniform(), remover=Oldest(), reward=reward, seed=0)
    with store.writer() as writer:
        ids = writer.extend(records * 5000)
    if isinstance(error, KeyboardInterrupt) and capacity < len(ids):
        with pytest.raises(KeyboardInterrupt):
            buffer.refresh()
        with pytest.raises(OstinatoError, match="interrupted"):  # never half a buffer that looks whole
            buffer.refresh()
        return
    with pytest.raises(type(error)):
        buffer.refresh()
    assert buffer.refresh() == 0
    assert len(buffer) == min(capacity, 8 + len(ids))
    buffer.check()
    assert set(buffer.ids().tolist()) <= {*store.results().ids.tolist()}
    assert buffer.stats().pushed == 8 + len(ids)


def test_a_look_that_fails_before_it_is_noted_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = opened(tmp_path)
    with store.writer() as writer:
        writer.extend(many(500))
        assert len(store) == 500
        writer.extend(many(1000))
        part = OpenJournal.part

        def interrupted(*arguments: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(OpenJournal, "part", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.results()
        monkeypatch.setattr(OpenJournal, "part", part)
        assert len(store) == len(store.results()) == 1500


def test_the_history_knows_what_was_appended_after_compacting_elsewhere(tmp_path: Path):
    store = opened(tmp_path)
    with store.writer() as writer:
        identity = writer.append(made(0))
        writer.extend(many(2000))
    store.seal()
    first = made(0)
    for cycles, reason in ((111, "one"), (222, "two")):
        store.amend(identity, dataclasses.replace(first, clock_cycles=cycles, valid=True), reason=reason)
        store.seal()
        store.compact(max_bytes=81_920)
    assert [sealed.before for sealed in store.amendments()] == [first, first]


def test_a_segment_that_nothing_names_keeps_its_place(tmp_path: Path):
    store = opened(tmp_path / "a")
    folder = Path(store.path)
    with store.writer() as writer:
        writer.append(made(0))
    store.seal()
    manifest = (folder / "MANIFEST").read_bytes()
    with store.writer() as writer:
        writer.append(made(1))
    store.seal()
    store.compact()
    (folder / "MANIFEST").write_bytes(manifest)  # as in a copy that was made while in use
    there = {p.name for p in (folder / "segments").iterdir()}
    assert len(there) == 1
    other = opened(tmp_path / "b")
    with other.writer() as writer:
        writer.append(made(2))
    # whether it works or not, what was there stays there, or is put aside
    with contextlib.suppress(OstinatoError, OSError):
        Store.open(folder).merge(other)
    left = {p.name for p in (folder / "segments").iterdir()} | {p.name for p in folder.glob("aside/*")}
    assert there <= left


def test_more_journals_than_a_process_may_have_descriptors_are_read_and_sealed(tmp_path: Path):
    program = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
from ostinato import Store
from store_helpers import many
store = Store.open(sys.argv[1])
for k in range(120):
    with store.writer() as writer:
        writer.extend(many(600))
print(len(store), len(store.results()), store.seal().records, len(store))
"""
    command = [sys.executable, "-c", program, str(tmp_path / "store")]
    said = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    assert (said.stderr, said.stdout) == ("", "72000 72000 72000 72000\n")


def test_a_writer_that_is_dropped_can_be_sealed(tmp_path: Path):
    store = opened(tmp_path)
    for durability in ("system", "group", "each"):
        store.writer(durability=durability, interval_ms=5).append(made(0))
    gc.collect()
    for _ in range(200):  # the thread that syncs may look at it just now
        if store.health().alive == 0:
            break
        threading.Event().wait(0.01)
    assert store.seal().records == 3


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are counted as Linux shows them")
def test_calls_that_fail_leak_no_descriptor(tmp_path: Path):
    store = opened(tmp_path)
    with store.writer() as writer:
        writer.append(made(0))
    store.seal()
    shutil.move(Path(store.path) / "segments" / "000001", tmp_path / "elsewhere")
    with store.writer() as writer:
        writer.append(made(1))
    store.close()

    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    for _ in range(3):
        with pytest.raises(DamageError):
            len(store)
    before = count()
    for _ in range(20):
        with pytest.raises(DamageError):
            len(store)
    assert count() <= before


def test_a_buffer_that_is_forked_in_the_middle_of_a_call_says_so_and_does_not_wait_for_ever(tmp_path: Path):
    buffer = ReplayBuffer(100, sampler=Uniform(), seed=0)
    buffer.extend(many(10))
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with buffer._lock:
            held.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    child = os.fork()
    if not child:
        try:
            buffer.sample(1)
        except OstinatoError as error:
            os._exit(0 if "forked" in str(error) else 3)
        os._exit(4)
    done.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    assert len(buffer.sample(2)) == 2
    child = os.fork()  # between two calls: the child's is a buffer of its own
    if not child:
        os._exit(0 if len(buffer.sample(2)) == 2 else 3)
    assert os.waitpid(child, 0)[1] == 0


def test_records_of_long_words_are_appended_in_frames_of_a_few_megabytes(tmp_path: Path):
    store = opened(tmp_path)
    records = [made(k, generated_tasm=[f"{k:03d}" + "x" * 100_000]) for k in range(300)]
    with store.writer() as writer:
        ids = writer.extend(records)
    assert contents(store) == dict(zip(ids.tolist(), records, strict=True))
    view = View(REAL, store.path)
    view.refresh()
    counts = view.journals[1].frames.count.tolist()
    assert sum(counts) == 300
    assert max(counts) <= 80


def test_corrections_beyond_what_one_segment_holds_go_into_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(output, "_LINES", 4000)
    store = opened(tmp_path)
    with store.writer() as writer:
        ids = writer.extend(many(30)).tolist()
    right = [dataclasses.replace(made(k), valid=True, clock_cycles=1) for k in range(30)]
    store.amend_many(zip(ids, right, strict=True), reason="because")
    sealed = store.seal()
    assert (sealed.records, sealed.folded) == (30, 30)
    assert sealed.segments > 3
    assert contents(opened(tmp_path)) == dict(zip(ids, right, strict=True))
    assert len(store.amendments()) == 30
    store.compact()
    assert (len(store.amendments()), contents(opened(tmp_path))) == (30, dict(zip(ids, right, strict=True)))


def test_a_pickled_store_is_its_folder_and_what_writes_or_follows_it_is_not_pickled(tmp_path: Path):
    store = opened(tmp_path)
    with store.writer() as writer:
        writer.append(made(0))
        for one in (writer, store.replay(10)):
            with pytest.raises(UsageError, match="give the store"):
                copy.deepcopy(one)
    assert len(copy.deepcopy(Store.open(store.path))) == 1
    with pytest.raises(UsageError, match="closed"), writer:
        pass
    with pytest.raises(UsageError, match="host"):
        store.journals_where(host=1)  # type: ignore[arg-type]


def test_a_store_whose_look_was_interrupted_between_two_steps_looks_anew(tmp_path: Path):
    store = opened(tmp_path)
    with store.writer() as writer:
        writer.extend(many(5))
        assert len(store) == 5
        assert store._view is not None
        store._view.journals[1].halfway = True  # as an interrupt there leaves it
        writer.extend(many(3))
        assert (len(store), len(store.results())) == (8, 8)
