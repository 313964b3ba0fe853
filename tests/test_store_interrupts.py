"""What an interrupt, a signal handler or a reward that raises leaves behind: nothing lost, nothing twice."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato import OstinatoError, UsageError
from ostinato.replay import Oldest, Uniform
from ostinato.store import Store
from ostinato.store.open_journal import OpenJournal
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
