"""What a reader's view does with what happens to the files under it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato import BuildResult, DamageError, OstinatoError, reward
from ostinato.store import Keep, Store
from ostinato.store.fs import REAL, FileSystem
from ostinato.store.open_journal import OpenJournal
from ostinato.store.view import View
from store_helpers import contents, filled, made, many, opened


def better(k: int) -> BuildResult:
    """The k-th record, corrected."""
    return made(k, valid=True, clock_cycles=3, fallback_used=False)


# --- corrections ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", ["", "s", "c", "sc", "ssc", "cc"])
def test_a_correction_of_a_sealed_record_is_seen_whatever_is_sealed_and_compacted(
    steps: str, tmp_path: Path
) -> None:
    with opened(tmp_path) as store, opened(tmp_path) as reader:
        ids = filled(store, many(5))
        store.seal()
        assert reader.get(ids[2]) == made(2)
        store.amend(ids[2], better(2), reason="measured anew")
        for step in steps:
            store.seal() if step == "s" else store.compact()
        expected = dict(zip(ids, [made(0), made(1), better(2), made(3), made(4)], strict=True))
        assert contents(reader) == contents(store) == expected
        with Store.open(store.path) as other:
            assert contents(other) == expected


@pytest.mark.parametrize("steps", ["s", "c", "sc"])
def test_a_buffer_gives_a_new_priority_to_what_was_corrected_and_folded_between_two_looks(
    steps: str, tmp_path: Path
) -> None:
    with opened(tmp_path) as store:
        ids = filled(store, many(5))
        buffer = store.replay(10)
        store.amend(ids[3], better(3), reason="measured anew")
        for step in steps:
            store.seal() if step == "s" else store.compact()
        assert buffer.refresh() == 0
        assert buffer.get(ids[3]) == better(3)
        assert buffer.priorities(ids).tolist() == [reward(r) for r in [*many(3), better(3), made(4)]]


def test_the_history_says_what_a_record_was_when_it_was_appended_however_often_it_was_corrected(
    tmp_path: Path,
) -> None:
    with opened(tmp_path) as store:
        ids = filled(store, many(3))
        for at in range(4):
            store.amend(ids[1], made(1, clock_cycles=50 - at), reason=f"look {at}", at=at)
            if at % 2:
                store.compact()
        assert [sealed.before for sealed in store.amendments()] == [made(1)] * 4
        store.compact()
        assert [sealed.before for sealed in store.amendments()] == [made(1)] * 4
        assert store.get(ids[1]) == made(1, clock_cycles=47)


def test_the_history_is_kept_of_a_correction_that_is_sealed_before_the_record(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        with store.writer() as writer:
            identity = writer.append(made(1))
            store.amend(identity, better(1), reason="measured anew")
            assert store.seal().records == 0
            assert store.get(identity) == better(1)
        for put_in_order in (store.seal, store.compact, store.compact):
            put_in_order()
            assert [sealed.before for sealed in store.amendments()] in ([made(1)], [None])
            assert store.get(identity) == better(1)
        assert [(sealed.before, sealed.folded) for sealed in store.amendments()] == [(made(1), True)]


# --- files that go away ---------------------------------------------------------------------------------


def test_extra_columns_are_read_though_the_segment_was_compacted_under_the_reader(tmp_path: Path) -> None:
    with opened(tmp_path, extras={"label": "i8"}) as store:
        for first in (0, 5):
            with store.writer() as writer:
                writer.extend(many(5, first), {"label": np.arange(first, first + 5)})
            store.seal()
        buffer = store.replay(20)
        store.compact()
        assert not Path(store.path, "segments", "000001").exists()
        batch = buffer.sample(50)
        label = {int(i): k for k, i in enumerate(buffer.ids())}
        assert batch.extras["label"].tolist() == [label[int(i)] for i in batch.ids]


class SealsMeanwhile(FileSystem):
    """Does something when a reader has just read a journal."""

    def __init__(self) -> None:
        self.then: Callable[[], object] | None = None
        self._read: set[int] = set()

    def lock(self, fd: int, *, shared: bool = False) -> bool:
        if shared:
            self._read.add(fd)
        return super().lock(fd, shared=shared)

    def close(self, fd: int) -> None:
        super().close(fd)
        if fd in self._read and self.then is not None:
            self._read.discard(fd)
            then, self.then = self.then, None
            then()


@pytest.mark.parametrize("keep", [None, Keep(newest=5)], ids=["all", "keep"])
@pytest.mark.parametrize("how", ["results", "buffer", "follow"])
def test_records_that_are_sealed_while_they_are_read_come_once_and_can_be_read(
    how: str, keep: Keep | None, tmp_path: Path
) -> None:
    fs = SealsMeanwhile()
    with opened(tmp_path) as store, opened(tmp_path, fs=fs) as reader:
        cursor, buffer = reader.results().cursor, reader.replay(100)
        following = reader.follow(timeout_s=0, poll_s=0.001)
        ids = filled(store, many(10))
        fs.then = lambda: store.compact(keep)
        match how:
            case "results":
                records = reader.results(since=cursor)
                found = list(zip(records.ids.tolist(), records, strict=True))
            case "buffer":
                assert buffer.refresh() == (5 if keep else 10)
                buffer.check()
                found = [(int(i), buffer.get(int(i))) for i in buffer.ids()]
            case _:
                found = [(int(i), r) for part in following for i, r in zip(part.ids, part, strict=True)]
        assert fs.then is None  # it happened
        assert found == list(zip(ids, many(10), strict=True))[5 if keep else 0 :]


def test_health_knows_a_dead_writer_though_somebody_who_seals_looks_at_its_journal(tmp_path: Path) -> None:
    class Busy(FileSystem):
        """The lock is somebody else's the first time."""

        asked = 0

        def lock(self, fd: int, *, shared: bool = False) -> bool:
            self.asked += shared
            return super().lock(fd, shared=shared) and not (shared and self.asked == 1)

    with opened(tmp_path) as store, opened(tmp_path, fs=Busy()) as reader, store.writer() as writer:
        filled(store, many(3))
        writer.append(made(9))
        health = reader.health()
        assert (health.alive, health.dead) == (1, 1)
        assert [(w.alive, w.records) for w in health.writers] == [(True, 1), (False, 3)]


def test_a_journal_that_could_not_be_read_is_read_at_the_next_look(tmp_path: Path) -> None:
    class Fails(FileSystem):
        failing = False

        def read_at(self, fd: int, size: int, offset: int) -> bytes:
            if self.failing and size > 600:
                self.failing = False
                raise OSError(5, "for a moment")
            return super().read_at(fd, size, offset)

    fs = Fails()
    with opened(tmp_path) as store, opened(tmp_path, fs=fs) as reader:
        assert len(reader) == 0
        filled(store, many(30))
        fs.failing = True
        with pytest.raises(OSError, match="for a moment"):
            len(reader)
        assert not fs.failing
        assert list(reader.results()) == many(30)


# --- what goes wrong in between -------------------------------------------------------------------------


def test_segments_that_were_opened_before_one_that_fails_are_let_go(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for _ in range(2):
            filled(store, many(3))
            store.seal()
        folders = sorted(Path(store.path, "segments").iterdir())
        assert len(folders) == 2
        view = View(REAL, store.path)
        folders[1].rename(tmp_path / "elsewhere")
        for _ in range(2):
            with pytest.raises(DamageError):
                view.refresh()
            assert not view.buffers._now.held
        (tmp_path / "elsewhere").rename(folders[1])
        assert sum(len(part.ids) for part in view.refresh().added) == 6
        assert view.buffers._now.held


def test_a_correction_that_an_interrupt_came_upon_is_told_by_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with opened(tmp_path) as store:
        ids = filled(store, many(3))
        view = View(REAL, store.path)
        view.refresh()
        for folded in (False, True):
            store.amend(ids[1], made(1, clock_cycles=5 + folded), reason="measured anew")
            if folded:
                store.compact()
            with monkeypatch.context() as patch:
                patch.setattr(View, "find", interrupted)
                with pytest.raises(KeyboardInterrupt):
                    view.refresh()
            told = [part.ids.tolist() for part in view.refresh().amended]
            assert told == [[ids[1]]]
            assert not view.refresh()


def test_a_journal_that_was_read_but_not_noted_makes_the_view_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_on = OpenJournal.read_on

    def interrupted(self: OpenJournal, *arguments: Any, **settings: Any) -> None:
        read_on(self, *arguments, **settings)
        raise KeyboardInterrupt

    with opened(tmp_path) as store:
        filled(store, many(3))  # closed: it would not be looked at again
        view = View(REAL, store.path)
        monkeypatch.setattr(OpenJournal, "read_on", interrupted)
        with pytest.raises(KeyboardInterrupt):
            view.refresh()
        monkeypatch.setattr(OpenJournal, "read_on", read_on)
        for _ in range(2):
            with pytest.raises(OstinatoError, match="interrupted"):
                view.refresh()


# --- what a look costs ----------------------------------------------------------------------------------


def test_a_look_that_finds_nothing_new_does_not_go_through_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    problems = View.problems

    def counted(self: View) -> list[str]:
        asked.append(self)
        return problems(self)

    monkeypatch.setattr(View, "problems", counted)
    with opened(tmp_path) as store, store.writer() as writer:
        view = View(REAL, store.path)
        for _ in range(3):
            writer.append(made(0))
            before = len(asked)
            assert view.refresh()
            assert len(asked) == before + 1
            assert not view.refresh()
            assert len(asked) == before + 1


@pytest.mark.parametrize("act", ["unsealed", "seal", "compact"])
def test_records_that_come_do_not_have_all_corrections_gone_through_again(
    act: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    with opened(tmp_path) as store:
        ids = filled(store, many(3))
        store.seal()
        store.amend(ids[1], made(1, clock_cycles=5), reason="measured anew")
        if act != "unsealed":
            getattr(store, act)()
        view = View(REAL, store.path)
        view.refresh()
        effective = View.effective
        arrays = view._overlay_arrays()
        monkeypatch.setattr(View, "effective", lambda self, **s: asked.append("") or effective(self, **s))
        with store.writer() as writer:
            for _ in range(3):
                writer.append(made(0))
                assert view.refresh().added
        assert not asked
        assert view._overlay_arrays()[0] is arrays[0]
        store.amend(ids[2], made(2, clock_cycles=6), reason="measured anew")
        assert [part.ids.tolist() for part in view.refresh().amended] == [[ids[2]]]
        assert asked
