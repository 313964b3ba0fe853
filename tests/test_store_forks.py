"""Many at once: forked children, threads, processes that start at the same moment. Each writes into a journal of its own.

OSTINATO_LONG=1: more records, and more turns of what depends on the moment.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import store_children as children
from ledger import Ledger, go_on, names_of, within
from nest import Nest, nest
from ostinato.errors import OstinatoError
from ostinato.store import Store, Writer
from ostinato.store.fs import FileSystem

# from Python 3.12 on, forking a process with threads warns
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

LONG = os.environ.get("OSTINATO_LONG") == "1"


@pytest.fixture(scope="module")
def brood(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nest]:
    with nest(tmp_path_factory.mktemp("nest")) as made:
        yield made


@pytest.fixture(autouse=True)
def _nothing_hangs() -> Iterator[None]:
    with within(240):
        yield


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = str(tmp_path / "store")
    Store.open(path, extras=children.EXTRAS).close()
    return path


def forked(act: Callable[[], None]) -> int:
    """Do this in a forked child, which then lives on; its number. It has done it when this returns."""
    out, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            act()
            os.write(done, b"y")
            time.sleep(children.LIFE_S)
        finally:
            os._exit(1)
    os.close(done)
    with os.fdopen(out, "rb") as file:
        assert file.read(1) == b"y", "the forked child has failed"
    return pid


def ended(pid: int) -> None:
    os.kill(pid, 9)
    os.waitpid(pid, 0)


def eventually(true: Callable[[], bool], patience_s: float = 30) -> None:
    end = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def alive(path: str) -> dict[int, bool]:
    """Which journals have a writer, as the store says."""
    with Store.open(path, create=False) as store:
        return {writer.journal: writer.alive for writer in store.health().writers}


def append(writer: Writer, who: int, first: int, n: int = 1) -> list[int]:
    return [
        writer.append(children.made(who, k), {"label": children.label(who, k)})
        for k in range(first, first + n)
    ]


# --- forks ----------------------------------------------------------------------------------------------


def test_a_forked_child_goes_on_in_a_journal_of_its_own_and_its_parent_in_the_old_one(path: str) -> None:
    ledger = Ledger()
    with Store.open(path) as store, store.writer() as writer:
        ledger.note(1, 0, append(writer, 1, 0, 10))
        mine = writer.journal
        pid = forked(lambda: ledger.note(2, 0, append(writer, 2, 0, 10)))
        try:
            ledger.note(1, 10, append(writer, 1, 10, 10))
            assert writer.journal == mine
            names = names_of(store.results())
            assert sorted(names) == [(who, k) for who, n in ((1, 20), (2, 10)) for k in range(n)]
            whose = {int(i) >> 24: who for i, (who, _) in zip(store.results().ids, names, strict=True)}
            assert whose == {mine: 1, mine + 1: 2}
            assert alive(path) == {mine: True, mine + 1: True}
        finally:
            ended(pid)
        assert alive(path) == {mine: True, mine + 1: False}


def test_a_parent_that_dies_counts_as_dead_though_its_child_lives(path: str, brood: Nest) -> None:
    ledger = Ledger()
    parent = ledger.watch(1, brood.start(children.fork_while_writing, path, 1, 20))
    said = parent.until(lambda lines: any(line.startswith("journals") for line in lines))
    _, ours, theirs = next(line for line in said if line.startswith("journals")).split()
    assert alive(path) == {int(ours): True, int(theirs): True}
    parent.kill(alone=True)
    assert alive(path) == {int(ours): False, int(theirs): True}
    with within(30), Store.open(path) as store:
        assert store.seal(wait_s=0).journals == 1
        assert len(store) == 60
    parent.kill()
    eventually(lambda: alive(path) == {int(theirs): False})  # nobody waits for a child's child


def test_a_child_that_was_forked_while_another_thread_seals_does_not_hold_the_lock(path: str) -> None:
    with Store.open(path) as store:
        with store.writer() as writer:
            append(writer, 1, 0, 10)
        pids: list[int] = []

        def fork(done: int, whole: int) -> None:
            other = threading.Thread(target=lambda: pids.append(forked(lambda: None)))
            other.start()
            other.join()

        assert store.seal(progress=fork).records == 10
        try:
            assert len(pids) == 1
            with store.writer() as writer:
                append(writer, 1, 10, 10)
            assert store.seal(wait_s=0).records == 10
        finally:
            for pid in pids:
                ended(pid)


def test_a_lock_dies_with_who_seals_though_a_forked_child_lives(path: str, brood: Nest) -> None:
    with Store.open(path) as store:
        with store.writer() as writer:
            append(writer, 1, 0, 10)
        sealer = brood.start(children.fork_while_sealing, path)
        sealer.says(1)
        with pytest.raises(OstinatoError, match="another process is sealing"):
            store.seal(wait_s=0)
        sealer.kill(alone=True)
        store.seal(wait_s=0)
        assert len(store) == 10


class ForksWhenLocked(FileSystem):
    """Another thread forks at the moment when a lock was taken for the first time, or as soon as it may."""

    def __init__(self, *, shared: bool) -> None:
        self._shared = shared
        self._threads: list[threading.Thread] = []
        self._pids: list[int] = []

    def lock(self, fd: int, *, shared: bool = False) -> bool:
        got = super().lock(fd, shared=shared)
        if got and shared is self._shared and not self._threads:
            self._threads.append(threading.Thread(target=lambda: self._pids.append(forked(lambda: None))))
            self._threads[0].start()
            self._threads[0].join(0.1)
        return got

    def child(self) -> int:
        """The forked child's number."""
        self._threads[0].join()
        return self._pids[0]


def test_a_child_that_was_forked_while_another_thread_reads_keeps_nobody_from_sealing(path: str) -> None:
    fs = ForksWhenLocked(shared=True)
    with Store.open(path, fs=fs) as reader, Store.open(path) as store:
        with store.writer() as writer:
            append(writer, 1, 0, 10)
        assert len(reader) == 10
        pid = fs.child()
        try:
            assert store.seal().records == 10
        finally:
            ended(pid)


def test_a_child_that_was_forked_while_another_thread_begins_a_journal_does_not_keep_it_alive(
    path: str,
) -> None:
    fs = ForksWhenLocked(shared=False)
    with Store.open(path, fs=fs) as store:
        writer = store.writer()
        pid = fs.child()
        journal = writer.journal
        append(writer, 1, 0)
        try:
            # as a death would: no unlocking, the descriptor is just gone
            os.close(writer._fd)
            writer._fd = -1
            assert alive(path) == {journal: False}
        finally:
            ended(pid)


def test_a_forked_child_of_a_writer_that_syncs_in_groups_syncs_by_itself(path: str) -> None:
    class Counts(FileSystem):
        synced: list[int]

        def sync(self, fd: int) -> None:
            super().sync(fd)
            synced.append(os.getpid())

    synced: list[int] = []
    with Store.open(path, fs=Counts()) as store, store.writer(durability="group", interval_ms=1) as writer:
        append(writer, 1, 0)

        def act() -> None:
            append(writer, 2, 0)
            while os.getpid() not in synced:
                time.sleep(0.001)

        ended(forked(act))
        assert sorted(names_of(store.results())) == [(1, 0), (2, 0)]


# --- threads --------------------------------------------------------------------------------------------


def in_threads(n: int, act: Callable[[int], None]) -> None:
    failed: list[BaseException] = []

    def run(i: int) -> None:
        try:
            act(i)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


@pytest.mark.parametrize("durability", ["system", "group"])
def test_threads_that_share_a_writer_lose_nothing(durability: str, path: str) -> None:
    ledger, lock = Ledger(), threading.Lock()
    with (
        Store.open(path) as store,
        store.writer(durability=durability, interval_ms=1, rotate_bytes=16384) as writer,  # type: ignore[arg-type]
    ):

        def act(i: int) -> None:
            for k in range(0, 600, 3):
                ids = append(writer, i, k, 2)
                labels = [children.label(i, k + 2)]
                ids += writer.extend([children.made(i, k + 2)], {"label": labels}).tolist()
                with lock:
                    ledger.note(i, k, ids)

        in_threads(4, act)
        assert writer.appended == 2400
    assert len(ledger.check(path)) == 2400


def test_threads_with_writers_of_their_own_lose_nothing_while_others_read_and_seal(path: str) -> None:
    ledger, lock, ready = Ledger(), threading.Lock(), threading.Event()
    with Store.open(path) as store:

        def act(i: int) -> None:
            if i == 0:
                before = 0
                while not ready.is_set():
                    assert len(store) >= before
                    before = len(store)
                return
            if i == 1:
                while not ready.is_set():
                    store.seal(wait_s=60)
                return
            with store.writer({"who": str(i)}, rotate_bytes=4096) as writer:
                for k in range(400):
                    ids = append(writer, i, k)
                    with lock:
                        ledger.note(i, k, ids)
            with lock:
                finished.append(i)
                if len(finished) == 3:
                    ready.set()

        finished: list[int] = []
        in_threads(5, act)
        assert len(store) == 1200
    assert len(ledger.check(path)) == 1200


# --- processes ------------------------------------------------------------------------------------------


def test_eight_writer_processes_at_once_lose_nothing(path: str, brood: Nest) -> None:
    ledger, n = Ledger(), 4000 if LONG else 1000
    writers = [
        ledger.watch(who, brood.start(children.append_and_end, path, who, n, {"rotate_bytes": 1 << 16}))
        for who in range(8)
    ]
    for writer in writers:
        writer.finish()
    assert len(ledger.check(path)) == 8 * n
    go_on(ledger, path, who=8)
    assert len(ledger.check(path)) == 8 * n + 1


@pytest.mark.parametrize("turn", range(20 if LONG else 3))
def test_processes_that_create_the_same_store_at_once_have_one_store(
    turn: int, tmp_path: Path, brood: Nest
) -> None:
    path, ledger = str(tmp_path / "a" / "new" / "store"), Ledger()
    at = time.time() + 0.05
    makers = [ledger.watch(who, brood.start(children.create_and_append, path, who, at)) for who in range(4)]
    said = [maker.finish()[-1] for maker in makers]
    assert len(set(said)) == 1
    assert len(ledger.check(path)) == 4


@pytest.mark.parametrize("turn", range(20 if LONG else 3))
def test_processes_that_seal_at_once_seal_each_journal_once(turn: int, path: str, brood: Nest) -> None:
    ledger = Ledger()
    for who in range(10):
        with Store.open(path) as store, store.writer({"who": str(who)}) as writer:
            ledger.note(who, 0, append(writer, who, 0, 20))
    at = time.time() + 0.05
    sealers = [brood.start(children.seal_once, path, at) for _ in range(3)]
    sealed = [[int(number) for number in sealer.finish()[-1].split()] for sealer in sealers]
    assert [sum(column) for column in zip(*sealed, strict=True)] == [10, 200]
    assert len(ledger.check(path)) == 200
    with Store.open(path) as store:
        assert (store.health().journals, store.health().unsealed) == (0, 0)


def test_two_hundred_short_lived_writers_leave_a_store_that_one_seal_puts_in_order(
    path: str, brood: Nest
) -> None:
    ledger = Ledger()
    children_of = [
        ledger.watch(who, brood.start(children.append_short_lived, path, who, 5)) for who in range(40)
    ]
    for child in children_of:
        child.finish()
    assert len(ledger.check(path)) == 200
    with Store.open(path) as store:
        health = store.health()
        assert (health.dead, health.alive, health.unsealed) == (200, 0, 200)
        sealed = store.seal()
        assert (sealed.journals, sealed.records, sealed.segments) == (200, 200, 1)
        assert store.health().journals == 0
    assert len(ledger.check(path)) == 200


def test_two_hundred_processes_that_append_one_record_each_lose_nothing(path: str, brood: Nest) -> None:
    ledger = Ledger()
    for first in range(0, 200, 20):  # twenty at a time
        some = [
            ledger.watch(who, brood.start(children.append_short_lived, path, who, 1))
            for who in range(first, first + 20)
        ]
        for child in some:
            child.finish()
    assert len(ledger.check(path)) == 200
    with Store.open(path) as store:
        assert store.seal().journals == 200
    assert len(ledger.check(path)) == 200


def test_somebody_who_opens_a_store_while_it_is_made_and_used_finds_it(tmp_path: Path) -> None:
    """Between two looks of the second the first has made the store, and something that is not there at first."""
    path = str(tmp_path / "store")

    class Late(FileSystem):
        """Finds no MANIFEST the first time; then somebody makes the store."""

        late = True

        def open(self, name: str) -> int:
            if self.late and name.endswith("MANIFEST"):
                self.late = False
                with Store.open(path) as store:
                    store.catalog.metadata.set("made", 1)
                raise FileNotFoundError(2, "not yet", name)
            return super().open(name)

    with Store.open(path, fs=Late()) as found, Store.open(path, create=False) as first:
        assert found.store_id == first.store_id
