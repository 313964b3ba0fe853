"""A store on a file system that fails, at every call in turn, and that loses its power, at every change in turn.

After each fault the folder is opened on the real file system, and must hold all that was promised, nothing twice and
nothing wrong; and go on. In `make test` the power is lost at each change; of the other kinds of faults, and of calls that
change nothing, it takes a part. With OSTINATO_LONG=1 each call meets each kind of fault, each error number,
and many random losses.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato import BuildResult, OstinatoError
from ostinato.store import Keep, Store, Writer
from ostinato.store.fs import REAL, FileSystem
from ostinato.testing import FaultyFileSystem, PowerLoss
from ostinato.testing.faults import MUTATING
from store_helpers import NOW, many, opened
from store_helpers import made as made_before

LONG = bool(os.environ.get("OSTINATO_LONG"))
ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES)
GROWING = {"create", "write_at", "mkdir"}  # what a full disk refuses
EXTRAS = {"score": "<f4"}
LOSSES = 20 if LONG else 1  # random ones at each call


def made(k: int) -> BuildResult:
    """The k-th record, known by its timestamp; every third one is long."""
    words = [f"push {k}", "add", "an instruction longer than eight bytes"]
    return made_before(k, generated_tasm=words if k % 3 else words * 40)


def score_of(k: int) -> float:
    return k / 8


@dataclass
class Ledger:
    """What was asked of a store, and what it has promised.

    tried: every record that may be there, by number. kept: ids that a call has returned, with the number.
    safe: those that survive power loss. verdicts: what an amended record may be, the last one promised if `settled`.
    brought: numbers of the other store's records. gone: ids that a policy may have removed.
    """

    tried: set[int] = field(default_factory=set)
    kept: dict[int, int] = field(default_factory=dict)
    safe: set[int] = field(default_factory=set)
    verdicts: dict[int, list[BuildResult]] = field(default_factory=dict)
    settled: dict[int, BuildResult] = field(default_factory=dict)
    settled_safe: dict[int, BuildResult] = field(default_factory=dict)
    brought: set[int] = field(default_factory=set)
    merged: bool = False
    gone: set[int] = field(default_factory=set)
    next: int = 0

    def copy(self) -> Ledger:
        return Ledger(
            set(self.tried), dict(self.kept), set(self.safe), {k: list(v) for k, v in self.verdicts.items()},
            dict(self.settled), dict(self.settled_safe), set(self.brought), self.merged, set(self.gone), self.next,
        )  # fmt: skip

    def numbers(self, n: int) -> list[int]:
        """Of records that nobody has seen yet; they may be there from now on."""
        new = list(range(self.next, self.next + n))
        self.next += n
        self.tried.update(new)
        return new

    def all_is_safe(self, but: Iterable[int] = ()) -> None:
        self.safe |= self.kept.keys() - set(but)
        self.settled_safe |= self.settled


class World:
    """A store under faults, and what it has promised so far."""

    def __init__(self, folder: Path, fs: FileSystem, ledger: Ledger) -> None:
        self.folder, self.fs, self.ledger = folder, fs, ledger
        self.said: list[str] = []
        self._store: Store | None = None
        self._writers: dict[str, Writer] = {}
        self._pending: dict[str, list[int]] = {}

    @property
    def store(self) -> Store:
        if self._store is None:
            self._store = opened(self.folder, extras=EXTRAS, fs=self.fs)
        return self._store

    def writer(self, durability: Any, **settings: Any) -> Writer:
        if durability not in self._writers:
            self._writers[durability] = self.store.writer(
                {"kind": durability}, durability=durability, **settings
            )
        return self._writers[durability]

    def append(self, durability: str = "system", **settings: Any) -> None:
        (k,) = self.ledger.numbers(1)
        identity = self.writer(durability, **settings).append(made(k), {"score": score_of(k)})
        self._returned(durability, [identity], [k])

    def extend(self, n: int, durability: str = "system", **settings: Any) -> None:
        numbers = self.ledger.numbers(n)
        writer = self.writer(durability, **settings)
        ids = writer.extend([made(k) for k in numbers], {"score": [score_of(k) for k in numbers]})
        self._returned(durability, ids.tolist(), numbers)

    def _returned(self, durability: str, ids: list[int], numbers: list[int]) -> None:
        assert not self.ledger.kept.keys() & set(ids), "an id was given twice"
        self.ledger.kept.update(zip(ids, numbers, strict=True))
        if durability == "each":
            self.ledger.safe.update(ids)
        else:
            self._pending.setdefault(durability, []).extend(ids)

    def sync(self, durability: str = "system") -> None:
        # an error has said that what was appended since the last time may go with the power
        pending = self._pending.pop(durability, [])
        self.writer(durability).sync()
        self.ledger.safe.update(pending)

    def close(self, durability: str) -> None:
        pending = self._pending.pop(durability, [])
        writer = self._writers.pop(durability, None)
        if writer is not None:
            writer.close()
            if durability == "group":  # else nothing is synced that was not promised
                self.ledger.safe.update(pending)

    def amend(self, identity: int) -> None:
        ledger = self.ledger
        before = ledger.verdicts.setdefault(identity, [made(ledger.kept[identity])])
        after = made_before(
            ledger.kept[identity], compiler_cycles=1000 + len(before), generated_tasm=["halt"]
        )
        before.append(after)
        self.store.amend(identity, after, reason="measured again", at=NOW + len(before))
        ledger.settled[identity] = after

    def seal(self) -> None:
        self.store.seal()
        self._is_sealed()

    def compact(self, keep: Keep | None = None) -> None:
        if keep is not None:  # from now on they may go
            self.ledger.gone |= set(sorted(self.ledger.kept)[: -(keep.newest or 0)])
        self.store.compact(keep)
        self._is_sealed()

    def _is_sealed(self) -> None:
        # but what is in journals that have a writer
        self.ledger.all_is_safe(i for pending in self._pending.values() for i in pending)

    def merge(self) -> None:
        with Store.open(self.folder / "other", create=False) as other:
            merged = self.store.merge(other)
        self.ledger.merged = True
        assert merged.records in (0, len(self.ledger.brought))


def turns(calls: int, step: int) -> range:
    """Numbers of calls: each `step`-th, beginning somewhere; in long mode, and of few, all."""
    return range(1, calls + 1) if LONG or calls < 30 else range(1 + calls % step, calls + 1, step)


class Unsynced(FileSystem):
    """The real file system, without the waiting: what looks at a store after a fault needs no promise."""

    def sync(self, fd: int) -> None:
        pass

    def sync_folder(self, path: str) -> None:
        pass


UNSYNCED = Unsynced()
Step = Callable[[World], object]
STEPS: dict[str, list[Step]] = {
    "create": [lambda w: w.store, World.append, World.sync],
    "append": [World.append, World.append, World.sync, World.append, World.sync, lambda w: w.close("system")],
    "append_each": [lambda w: w.append("each"), lambda w: w.append("each"), lambda w: w.close("each")],
    # its thread comes too late, so that the calls are the same each time
    "append_group": [
        lambda w: w.append("group", interval_ms=1e8),
        lambda w: w.append("group"),
        lambda w: w.close("group"),
        lambda w: w.append("group", interval_ms=1e8),
        lambda w: w.close("group"),
    ],
    "extend": [
        lambda w: w.extend(1500),
        World.sync,
        lambda w: w.extend(3, "each"),
        lambda w: w.extend(2, "each"),
    ],
    "rotate": [
        *[lambda w: w.append("system", rotate_bytes=4096)] * 6,
        World.sync,
        World.append,
        *[lambda w: w.append("each", rotate_bytes=4096)] * 4,
    ],
    "amend": [lambda w: w.amend(min(w.ledger.kept)), lambda w: w.amend(max(w.ledger.kept)), World.seal],
    "seal": [World.append, World.seal, lambda w: w.close("system"), World.seal, World.seal],
    "compact": [World.compact, World.append, World.compact],
    "compact_keep": [
        lambda w: w.compact(Keep(newest=10)),
        World.append,
        lambda w: w.compact(Keep(newest=10)),
    ],
    "merge": [World.merge, World.append, World.merge],
}
every_scenario = pytest.mark.parametrize("name", STEPS)


# --- the stores that they begin with ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ledger]:
    """A store with segments, journals, and corrections in both; and another one beside it."""
    folder = tmp_path_factory.mktemp("template")
    world = World(folder, REAL, Ledger())
    for _ in range(2):
        world.extend(6)
        world.close("system")
        world.amend(min(world.ledger.kept))
        world.seal()
    for _ in range(2):
        world.append()
        world.extend(5)
        world.close("system")
    world.amend(min(world.ledger.kept) + 1)
    world.amend(max(world.ledger.kept))
    world.ledger.all_is_safe()
    world.ledger.brought = set(range(5000, 5010))
    with opened(folder, "other", extras=EXTRAS) as other:
        for part in (range(5000, 5006), range(5006, 5010)):
            with other.writer({"from": "elsewhere"}) as writer:
                writer.extend([made(k) for k in part], {"score": [score_of(k) for k in part]})
            if part.start == 5000:
                other.seal()
    for left in (folder / "store").glob("catalog*"):  # SQLite goes its own ways
        left.unlink()
    with opened(folder) as store:
        look(store, world.ledger, power=False)
        assert (len(store.amendments()), store.health().segments, store.health().journals) == (4, 2, 4)
    return folder, world.ledger


@pytest.fixture(autouse=True)
def _without_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite does not write through the file system that fails; its damage is tested with the catalog."""
    monkeypatch.setattr(Store, "_note_contexts", lambda _: None)


Fresh = Callable[[str], tuple[Path, Ledger]]


@pytest.fixture
def fresh(tmp_path: Path, template: tuple[Path, Ledger]) -> Iterator[Fresh]:
    """A folder as a scenario begins with, again and again."""
    count = 0

    def make(name: str) -> tuple[Path, Ledger]:
        nonlocal count
        count += 1
        folder = tmp_path / str(count)
        if name == "create":
            folder.mkdir()
            return folder, Ledger()
        shutil.copytree(template[0], folder, ignore=shutil.ignore_patterns(*["other"] * (name != "merge")))
        return folder, template[1].copy()

    yield make
    shutil.rmtree(tmp_path)


def run(world: World, steps: list[Step], *, mend: bool) -> None:
    """All steps; one that fails is tried again when the fault is gone, at once or at the end, and must then succeed."""
    again: list[Step] = []
    for step in steps:
        try:
            step(world)
        except (OSError, OstinatoError) as error:
            world.said.append(f"{type(error).__name__}: {error}")
            again.append(step)
            if mend:
                world.fs.mend()  # type: ignore[attr-defined]
                again.pop()
                step(world)
    world.fs.mend()  # type: ignore[attr-defined]
    for step in again:
        step(world)


def calls_of(fresh: Fresh, name: str, *, every: bool = False) -> int:
    """How many calls the scenario makes where nothing fails: those that change something, or all."""
    folder, ledger = fresh(name)
    fs = FaultyFileSystem(folder)
    world = World(folder, fs, ledger)
    run(world, STEPS[name], mend=True)
    assert world.said == []
    verify(folder, ledger, power=False)
    return len(fs.log) if every else fs.calls


# --- what must be true ------------------------------------------------------------------------------------------


def verify(folder: Path, ledger: Ledger, *, power: bool) -> None:
    """Somebody else opens the store, finds all that was promised and nothing that was not asked for, twice over."""
    with opened(folder, extras=EXTRAS, fs=UNSYNCED) as store:
        look(store, ledger, power=power)
        report = store.check()
        assert power or report.problems == []  # power loss may leave holes in what was not synced
        assert all("journals" in problem for problem in report.problems)
        (k,) = ledger.numbers(1)
        with store.writer(durability="each") as writer:
            writer.append(made(k), {"score": score_of(k)})
        store.seal()
        store.compact()
        look(store, ledger, power=power)
        if report.problems:
            store.repair()
    with opened(folder, extras=EXTRAS, fs=UNSYNCED) as store:
        look(store, ledger, power=power)
        assert store.check().problems == []
    assert not [path for path in folder.rglob("*.tmp") if "other" not in path.parts]
    assert bool(list(folder.glob("store/aside/*"))) == bool(report.problems)


def look(store: Store, ledger: Ledger, *, power: bool) -> None:
    records = store.results()
    assert records.damaged == 0
    ids = records.ids.tolist()
    numbers = [int(stamp) - NOW for stamp in records.timestamp]
    assert len(set(ids)) == len(ids) == len(store)
    assert len(set(numbers)) == len(numbers), "a record is there twice"
    brought = set(numbers) & ledger.brought
    assert brought in (set(), ledger.brought), "a merge brought a part"
    assert not ledger.merged or brought
    assert set(numbers) - brought <= ledger.tried
    found = dict(zip(ids, zip(numbers, records, records.extras["score"].tolist(), strict=True), strict=True))
    promised = ledger.safe if power else ledger.kept.keys()
    assert promised - ledger.gone <= found.keys(), "a record is lost"
    settled = ledger.settled_safe if power else ledger.settled
    for identity, (k, record, score) in found.items():
        assert k == ledger.kept.get(identity, k), "another record"
        assert score == score_of(k)
        verdicts = ledger.verdicts.get(identity, [made(k)])
        since = verdicts.index(settled[identity]) if identity in settled else 0
        assert record in verdicts[since:], "the record is not what was appended, or corrected"


def test_a_record_that_is_missing_or_wrong_or_there_twice_is_noticed(fresh: Fresh) -> None:
    folder, ledger = fresh("append")
    with opened(folder) as store:
        look(store, ledger, power=False)
        missing, wrong, twice = ledger.copy(), ledger.copy(), ledger.copy()
        missing.kept[7 << 24] = missing.numbers(1)[0]
        wrong.verdicts[max(wrong.kept) - 1] = [made(99)]
        for changed, words in ((missing, "lost"), (wrong, "not what")):
            with pytest.raises(AssertionError, match=words):
                look(store, changed, power=False)
        twice.next = 0
        World(folder, REAL, twice).append()
        with pytest.raises(AssertionError, match="twice"):
            look(store, twice, power=False)


# --- power ------------------------------------------------------------------------------------------------------


@every_scenario
@pytest.mark.parametrize("keep", ["none", "random", "all"])
def test_power_lost_at_any_change_leaves_all_that_was_synced(fresh: Fresh, name: str, keep: Any) -> None:
    for number in turns(calls_of(fresh, name), {"none": 1, "random": 3, "all": 6}[keep]):
        for luck in range(LOSSES if keep == "random" else 1):
            folder, ledger = fresh(name)
            fs = FaultyFileSystem(folder, rng=np.random.default_rng([number, luck]))
            fs.fail_at(number, "crash", keep=keep)
            with pytest.raises(PowerLoss):
                run(World(folder, fs, ledger), STEPS[name], mend=True)
            verify(folder, ledger, power=keep != "all")


@every_scenario
def test_power_lost_at_the_end_leaves_all_that_was_synced(fresh: Fresh, name: str) -> None:
    for luck in range(10 if LONG else 3):
        folder, ledger = fresh(name)
        fs = FaultyFileSystem(folder, rng=np.random.default_rng(luck))
        run(World(folder, fs, ledger), STEPS[name], mend=True)
        fs.crash(keep="none" if luck == 0 else "random")
        verify(folder, ledger, power=True)


# --- errors -----------------------------------------------------------------------------------------------------


def error_numbers(number: int) -> tuple[int, ...]:
    return ERRORS if LONG else (ERRORS[number % len(ERRORS)],)


@every_scenario
def test_one_change_that_fails_loses_nothing_and_is_said(fresh: Fresh, name: str) -> None:
    numbers, silent = turns(calls_of(fresh, name), 3), 0
    for number in numbers:
        for error in error_numbers(number):
            folder, ledger = fresh(name)
            fs = FaultyFileSystem(folder)
            fs.fail_at(number, error)
            world = World(folder, fs, ledger)
            run(world, STEPS[name], mend=True)
            failed = [call for call in fs.log if call.mutating][number - 1]
            # clearing up may fail: what is left is cleared up the next time, as `verify` sees
            assert world.said or failed.name in ("unlink", "rmdir"), failed
            silent += not world.said
            verify(folder, ledger, power=False)
    assert silent < len(numbers) / 2


@every_scenario
def test_one_call_of_any_kind_that_fails_loses_nothing(fresh: Fresh, name: str) -> None:
    for number in turns(calls_of(fresh, name, every=True), 16):
        folder, ledger = fresh(name)
        fs = FaultyFileSystem(folder)
        fs.fail_at(number, error_numbers(number)[0], every=True)
        run(World(folder, fs, ledger), STEPS[name], mend=True)
        assert len(fs.log) >= number
        verify(folder, ledger, power=False)


@every_scenario
def test_a_write_or_a_read_cut_short_is_gone_on_with(fresh: Fresh, name: str) -> None:
    for number in turns(calls_of(fresh, name, every=True), 16):
        folder, ledger = fresh(name)
        fs = FaultyFileSystem(folder)
        fs.fail_at(number, "short", every=True)
        world = World(folder, fs, ledger)
        run(world, STEPS[name], mend=True)
        assert world.said == []
        verify(folder, ledger, power=False)


@every_scenario
def test_a_write_cut_short_and_then_refused_loses_nothing(fresh: Fresh, name: str) -> None:
    tried = 0
    for number in turns(calls_of(fresh, name), 3):
        folder, ledger = fresh(name)
        fs = FaultyFileSystem(folder)
        fs.fail_at(number, "short")
        fs.fail_at(number + 1, errno.ENOSPC)
        world = World(folder, fs, ledger)
        run(world, STEPS[name], mend=True)
        log = [call for call in fs.log if call.mutating]
        tried += bool(log[number - 1].name == log[number].name == "write_at") if len(log) > number else 0
        verify(folder, ledger, power=False)
    assert tried


@every_scenario
@pytest.mark.parametrize("full", [True, False], ids=["full_disk", "gone_disk"])
def test_when_all_fails_from_a_call_on_nothing_is_lost_and_all_goes_on_afterwards(
    fresh: Fresh, name: str, full: bool
) -> None:
    numbers, said = turns(calls_of(fresh, name), 6), 0
    for number in numbers:
        for error in (errno.ENOSPC,) if full else error_numbers(number):
            folder, ledger = fresh(name)
            fs = FaultyFileSystem(folder)
            fs.fail_from(number, error, only=GROWING if full else MUTATING)
            world = World(folder, fs, ledger)
            run(world, STEPS[name], mend=False)
            said += bool(world.said)
            verify(folder, ledger, power=False)
    assert said >= len(numbers) / 2


@every_scenario
def test_an_error_and_then_a_loss_of_power_leave_what_was_promised(fresh: Fresh, name: str) -> None:
    for number in turns(calls_of(fresh, name), 3):
        for luck in range(LOSSES):
            folder, ledger = fresh(name)
            fs = FaultyFileSystem(folder, rng=np.random.default_rng([number, luck]))
            fs.fail_at(number, errno.EIO)
            run(World(folder, fs, ledger), STEPS[name], mend=True)
            fs.crash(keep="random")
            verify(folder, ledger, power=True)


# --- particular ones --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES])
def test_a_store_that_cannot_be_written_can_be_read(fresh: Fresh, error: int) -> None:
    folder, ledger = fresh("append")
    fs = FaultyFileSystem(folder)
    fs.fail_from(1, error)
    with opened(folder, create=False, fs=fs) as store:
        look(store, ledger, power=False)
        assert len(store.replay(100).sample(8)) == 8
        assert store.check().problems == []
        assert store.health().records == len(ledger.kept)
        assert sum(len(part) for part in store.parts(size=5)) == len(ledger.kept)
        assert len(store.amendments()) == 4
        for change in (
            store.writer,
            store.seal,
            store.compact,
            lambda: store.amend(max(ledger.kept), made(max(ledger.kept.values())), reason=""),
        ):
            with pytest.raises(OSError, match=os.strerror(error)):
                change()
    assert fs.calls == 4  # each tried once to change something


def test_a_torn_frame_is_counted_and_nothing_else_is_lost(fresh: Fresh) -> None:
    folder, ledger = fresh("append")
    fs = FaultyFileSystem(folder)
    world = World(folder, fs, ledger)
    world.append()
    fs.fail_at(fs.calls + 1, "short")
    fs.fail_at(fs.calls + 2, errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        world.append()
    world.append()
    world.close("system")
    with opened(folder) as store:
        look(store, ledger, power=False)
        health = store.health()
        assert (health.torn, health.damaged, health.records) == (1, 0, len(ledger.kept))
        sealed = store.seal()
        assert (sealed.torn, sealed.damaged, sealed.aside) == (1, 0, 0)
        assert store.health().torn == 1


def test_a_group_sync_that_failed_is_told_by_the_next_append(fresh: Fresh) -> None:
    fs = FaultyFileSystem(folder := fresh("append")[0])
    fs.fail_from(1, errno.EIO, only={"sync"})
    with opened(folder, fs=fs) as store:
        writer = store.writer(durability="group", interval_ms=1)
        try:
            with pytest.raises(OSError, match="Input/output"):  # noqa: PT012 - it comes when it comes
                for k in range(100_000):
                    writer.append(made(k), {"score": 0})
            fs.mend()
            writer.append(made(0), {"score": 0})
            writer.sync()
        finally:
            writer.close()


def test_records_appended_before_a_sync_that_failed_are_still_there(fresh: Fresh) -> None:
    folder, ledger = fresh("append")
    fs = FaultyFileSystem(folder)
    world = World(folder, fs, ledger)
    world.append()
    fs.fail_from(1, errno.EIO, only={"sync"})
    with pytest.raises(OSError, match="Input/output"):
        world.sync()
    fs.mend()
    world.append()
    world.sync()
    verify(folder, ledger, power=False)
    with opened(folder) as store:
        assert len(store) == len(ledger.kept) + 1


def test_the_store_counts_what_it_was_filled_with(fresh: Fresh) -> None:
    folder, ledger = fresh("append")
    with opened(folder) as store:
        assert len(store) == len(ledger.kept) == len(many(24))


@pytest.mark.parametrize("sealed", [False, True])
def test_an_id_that_power_loss_took_is_never_used_again(tmp_path: Path, sealed: bool) -> None:
    folder = tmp_path / "store"
    Store.open(folder).close()
    fs = FaultyFileSystem(str(tmp_path))
    writer = Store.open(folder, fs=fs).writer()
    lost = writer.append(made(0))
    fs.crash(keep="none")
    store = Store.open(folder)
    assert len(store) == 0
    if sealed:
        store.seal()
        assert os.listdir(folder / "journals") == []
    with store.writer() as writer:
        assert writer.append(made(1)) > lost
