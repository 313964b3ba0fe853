"""Processes are killed with SIGKILL at random moments, in whatever they do to a store; it opens, and nothing promised is lost.

`make test` kills as many as stand first in KILLS, `OSTINATO_LONG=1 pytest tests/test_store_kills.py` as many as stand
second, some minutes. OSTINATO_SEED chooses other moments.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import store_children as children
from ledger import Ledger, go_on, names_of, within
from nest import Chick, Nest, nest
from ostinato import archive
from ostinato.replay import Oldest, Proportional
from ostinato.store import Keep, Store

LONG = os.environ.get("OSTINATO_LONG") == "1"
SEED = int(os.environ.get("OSTINATO_SEED", "20240229"))
DURABILITIES = ["system", "group", "each"]
# what is done, and how many are killed in it: (in `make test`, in the long mode)
KILLS = {
    "creating": (3, 30),
    "appending": (6, 36),  # for each durability
    "sealing": (6, 45),
    "compacting": (6, 36),
    "compacting with Keep": (6, 36),
    "merging": (6, 42),
    "amending": (4, 40),
    "saving": (4, 40),
    "everything at once": (10, 60),
}


@pytest.fixture(scope="module")
def brood(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nest]:
    with nest(tmp_path_factory.mktemp("nest")) as made:
        yield made


@pytest.fixture(autouse=True)
def _nothing_hangs() -> Iterator[None]:
    with within(1800 if LONG else 240):
        yield


class Scene:
    """One test: a store, a ledger, random moments, and how many may still be killed."""

    def __init__(
        self, brood: Nest, folder: Path, what: str, also: str = "", *, removable: bool = False
    ) -> None:
        self.path = str(folder / "store")
        Store.open(self.path, extras=children.EXTRAS).close()
        self.rng = random.Random(f"{SEED} {what} {also}")
        self.ledger = Ledger(removable=removable)
        self.left = KILLS[what][LONG]
        self._brood = brood
        self._who = 1  # the next writer's name

    def start(self, what: Callable[..., object], *arguments: object) -> Chick:
        return self._brood.start(what, *arguments)

    def writer(
        self, limit: int, *, path: str | None = None, ledger: Ledger | None = None, **settings: object
    ) -> tuple[int, Chick]:
        """A new writer, and its name."""
        who, self._who = self._who, self._who + 1
        settings.setdefault("rotate_bytes", self.rng.choice([4096, 16384, 1 << 20]))
        seed = self.rng.randrange(1 << 30)
        chick = self.start(children.append, path or self.path, who, limit, seed, settings)
        return who, (ledger or self.ledger).watch(who, chick)

    def kill(self, chick: Chick, within_s: float) -> list[str]:
        """Kill a child at some moment of the next so many seconds."""
        self.left -= 1
        return chick.kill(self.rng.uniform(0, within_s))

    def fill(self, who: int, n: int, *, path: str | None = None, ledger: Ledger | None = None) -> list[int]:
        """Append n records here, without anybody being killed; their ids."""
        with Store.open(path or self.path) as store, store.writer({"who": str(who)}) as writer:
            labels = [children.label(who, k) for k in range(n)]
            ids = writer.extend([children.made(who, k) for k in range(n)], {"label": labels}).tolist()
        (ledger or self.ledger).note(who, 0, ids)
        return ids


def test_thirty_are_killed_always_and_three_hundred_in_the_long_mode() -> None:
    always, in_long_mode = (sum(n * (3 if what == "appending" else 1) for what, n in (
        (what, pair[k]) for what, pair in KILLS.items())) for k in (0, 1))  # fmt: skip
    assert always >= 30
    assert in_long_mode >= 300


def test_a_ledger_notices_what_is_lost_twice_or_wrong(tmp_path: Path, brood: Nest) -> None:
    scene = Scene(brood, tmp_path, "appending")
    ids = scene.fill(1, 5)
    assert scene.ledger.check(scene.path) == set(ids)
    scene.ledger.promised[99] = (1, 99)
    with pytest.raises(AssertionError, match="1 promised records are lost"):
        scene.ledger.check(scene.path)
    del scene.ledger.promised[99]
    scene.fill(1, 5, ledger=Ledger())
    with pytest.raises(AssertionError, match="a record is there twice"):
        scene.ledger.check(scene.path)


def test_whoever_is_killed_while_creating_a_store_leaves_one_or_a_folder_in_which_one_can_be_made(
    tmp_path: Path, brood: Nest
) -> None:
    scene = Scene(brood, tmp_path, "creating")
    while scene.left > 0:
        folder = tmp_path / f"stores-{scene.left}"
        folder.mkdir()
        creator = scene.start(children.create, str(folder))
        creator.says(1)
        made = dict(line.split() for line in scene.kill(creator, 0.2)[1:])
        for name in os.listdir(folder):
            with within(20), Store.open(folder / name, extras=children.EXTRAS) as store:
                assert store.store_id == made.get(name, store.store_id)
                assert len(store) == 0
            scene.fill(1, 3, path=str(folder / name), ledger=(ledger := Ledger()))
            assert len(ledger.check(folder / name)) == 3
        assert set(made) <= set(os.listdir(folder))


@pytest.mark.parametrize("durability", DURABILITIES)
def test_whoever_is_killed_while_appending_loses_nothing_that_was_acknowledged(
    durability: str, tmp_path: Path, brood: Nest
) -> None:
    scene = Scene(brood, tmp_path, "appending", durability)
    ledger = scene.ledger
    while scene.left > 0:
        limit = 60 if durability == "each" else 600
        (_, first), (_, second), (c, third) = (
            scene.writer(limit, durability=durability, interval_ms=5) for _ in range(3)
        )
        first.says(1)
        scene.kill(first, 0.05)
        scene.kill(second, 0.05)
        ledger.check(scene.path)  # while the third goes on
        third.until(lambda lines: lines[-1:] == ["idle"])
        health = ledger.check_health(scene.path, alive={c})
        assert health.alive == 1
        assert health.torn <= 2
        go_on(ledger, scene.path, who=0)
        ledger.check_health(scene.path, alive={c})
        scene.kill(third, 0.0)
        ledger.check_health(scene.path, alive=set(), dead={c})
        ledger.check(scene.path)
        go_on(ledger, scene.path, who=0)
        ledger.check(scene.path)
    with Store.open(scene.path) as store:
        assert store.health().unsealed == 0
    assert len(ledger.promised) > 0


def test_whoever_is_killed_while_sealing_leaves_every_record_there_once(tmp_path: Path, brood: Nest) -> None:
    scene = Scene(brood, tmp_path, "sealing")
    ledger = scene.ledger
    while scene.left > 0:
        writers = [scene.writer(700, rotate_bytes=4096) for _ in range(2)]
        sealer = scene.start(children.seal, scene.path, scene.rng.choice([4096, 20_000, 1 << 20]), 0.0)
        sealer.says(1)
        scene.kill(sealer, 0.3)
        ledger.check(scene.path)
        go_on(ledger, scene.path, who=0)  # LOCK has died with its holder
        for _, writer in writers:
            scene.kill(writer, 0.01)
        ledger.check_health(scene.path, alive=set())
        ledger.check(scene.path)
    go_on(ledger, scene.path, who=0)
    everything = ledger.check(scene.path)
    with Store.open(scene.path) as store:
        health = store.health()
        assert (health.unsealed, health.records, health.journals) == (0, len(everything), 0)
        assert store.check().problems == []


@pytest.mark.parametrize("keeping", [False, True], ids=["all", "keep"])
def test_whoever_is_killed_while_compacting_removes_nothing_that_should_stay(
    keeping: bool, tmp_path: Path, brood: Nest
) -> None:
    scene = Scene(brood, tmp_path, "compacting with Keep" if keeping else "compacting", removable=keeping)
    ledger = scene.ledger
    filler = 1000
    while scene.left > 0:
        for _ in range(3):  # small segments, so that there is something to do
            filler += 1
            scene.fill(filler, 100)
            with Store.open(scene.path) as store:
                store.seal(max_bytes=8192)
        _, writer = scene.writer(1500, rotate_bytes=4096)
        size = scene.rng.choice([8192, 1 << 16, 1 << 22])
        compactor = scene.start(children.compact, scene.path, keeping, size, 0.0)
        compactor.says(1)
        scene.kill(compactor, 0.4)
        ledger.check(scene.path)
        go_on(ledger, scene.path, who=0)
        scene.kill(writer, 0.01)
        ledger.check_health(scene.path, alive=set())
        ledger.check(scene.path)
    with Store.open(scene.path) as store:
        store.compact(Keep(**children.KEEP) if keeping else None, now=children.NOW)
        assert len(store.health().problems) == 0
        numbers = [k for _, k in names_of(store.results())]
    ledger.check(scene.path)
    assert any(k % 2 for k in numbers)
    assert any(k % 2 == 0 for k in numbers) is not keeping


def test_whoever_is_killed_while_merging_has_brought_all_of_a_store_or_nothing(
    tmp_path: Path, brood: Nest
) -> None:
    scene = Scene(brood, tmp_path, "merging")
    turn = 0
    while scene.left > 0:
        turn += 1
        scene.path = str(tmp_path / f"store-{turn}")
        still, growing = (str(tmp_path / f"{name}-{turn}") for name in ("still", "growing"))
        for path in (scene.path, still, growing):
            Store.open(path, extras=children.EXTRAS).close()
        ours, theirs, moving = Ledger(), Ledger(), Ledger()
        scene.fill(1001, 150, path=still, ledger=theirs)
        scene.fill(1002, 150, path=still, ledger=theirs)
        _, writer = scene.writer(1500, ledger=ours)
        _, other_writer = scene.writer(1500, path=growing, ledger=moving)
        merger = scene.start(children.merge, scene.path, [still, growing])
        merger.says(1)
        scene.kill(merger, 0.5)
        assert _merged(scene.path, {1001, 1002}) in ([], sorted(theirs.promised.values()))
        scene.kill(other_writer, 0.02)
        scene.kill(writer, 0.02)
        with within(60), Store.open(scene.path) as store, Store.open(still) as a, Store.open(growing) as b:
            store.merge(a, wait_s=0)
            store.merge(b, wait_s=0)
            assert store.merge(a).records == store.merge(b).records == 0
        everything = ours.check_merged(scene.path, [theirs, moving])
        assert everything[1001] == everything[1002] == 150
        theirs.check(still)
        moving.check(growing)


def _merged(path: str, whose: set[int]) -> list[tuple[int, int]]:
    with Store.open(path) as store:
        return sorted(name for name in names_of(store.results()) if name[0] in whose)


def test_whoever_is_killed_while_amending_or_folding_leaves_the_last_acknowledged_verdict(
    tmp_path: Path, brood: Nest
) -> None:
    scene = Scene(brood, tmp_path, "amending")
    ledger = scene.ledger
    ids = scene.fill(1001, 20)
    with Store.open(scene.path) as store:
        store.seal()
    ids += scene.fill(1002, 20)
    targets = [[i, *ledger.promised[i]] for i in ids]
    version = 1
    while scene.left > 0:
        amender = ledger.watch_amender(
            scene.start(children.amend, scene.path, targets, version, scene.rng.randrange(1 << 30))
        )
        folder = _folder(scene)
        amender.says(10)
        first, second = scene.rng.sample([amender, folder], 2)
        scene.kill(first, 0.3)
        ledger.check(scene.path)
        scene.kill(second, 0.05)
        ledger.check(scene.path)
        go_on(ledger, scene.path, who=0, seal=scene.rng.random() < 0.5)
        version += 1000
    with within(60), Store.open(scene.path) as store:
        store.compact(max_bytes=1 << 22)
        history = store.amendments()
        assert len({sealed.amendment.amendment for sealed in history}) == len(history)
        assert len(history) >= ledger.amended > 0
        assert all(
            sealed.before == children.made(*ledger.promised[sealed.amendment.id]) for sealed in history
        )
    ledger.check(scene.path)


def _folder(scene: Scene) -> Chick:
    """Somebody who folds amendments in."""
    if scene.rng.random() < 0.5:
        return scene.start(children.seal, scene.path, 1 << 20, 0.0)
    return scene.start(children.compact, scene.path, False, 1 << 20, 0.0)


def test_whoever_is_killed_while_saving_or_exporting_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, brood: Nest
) -> None:
    scene = Scene(brood, tmp_path, "saving")
    ids = scene.fill(1001, 400)
    state, exported = str(tmp_path / "state"), str(tmp_path / "replay.rkyv")
    saves = exports = 0
    while scene.left > 0:
        saver = scene.start(children.save, scene.path, state)
        exporter = scene.start(children.export, scene.path, exported)
        saver.says(1)
        said, told = scene.kill(saver, 0.15), scene.kill(exporter, 0.15)
        saves += sum(line.startswith("a") for line in said)
        exports += sum(line.startswith("a") for line in told)
        if Path(state).exists():
            with within(60), Store.open(scene.path) as store:
                buffer = store.replay(1 << 20, sampler=Proportional(), remover=Oldest(), seed=1)
                buffer.load_state(state)
                priorities = set(buffer.priorities(buffer.ids()).tolist())
            begun = {float(line.split()[1]) for line in said if line.startswith("b")}
            done = [float(line.split()[1]) for line in said if line.startswith("a")]
            assert len(priorities) == 1
            assert priorities <= {p for p in begun if p >= max(done, default=0)} or not done
        else:
            assert saves == 0
        if exports or Path(exported).exists():
            assert sorted(r.tir_hash for r in archive.read(exported)) == sorted(
                children.made(1001, k).tir_hash for k in range(400)
            )
        left_over = [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]
        assert len(left_over) <= 2  # one each, which the next one removes
        assert scene.ledger.check(scene.path) == set(ids)
    if LONG:
        assert saves > 0
        assert exports > 0


class _Follower:
    """A reader that is killed now and then, and goes on where it was."""

    def __init__(self, scene: Scene) -> None:
        self._scene, self._cursor = scene, "[]"
        self.seen: list[int] = []
        self.begin()

    def begin(self) -> None:
        self.chick = self._scene.start(children.follow, self._scene.path, self._cursor)

    def take(self) -> None:
        """Believe what it has said."""
        for line in self.chick.lines:
            if line.startswith("f"):
                _, self._cursor, *ids = line.split()
                self.seen += map(int, ids)


def test_with_many_writers_readers_and_sealers_anybody_may_die_at_any_moment(
    tmp_path: Path, brood: Nest
) -> None:
    scene = Scene(brood, tmp_path, "everything at once")
    ledger, rng = scene.ledger, scene.rng
    ids = scene.fill(1001, 50)
    targets = [[i, *ledger.promised[i]] for i in ids]
    stop = str(tmp_path / "stop")
    version = 1

    def another(role: str) -> Chick:
        nonlocal version
        match role:
            case "sealer":
                return scene.start(children.seal, scene.path, rng.choice([4096, 1 << 16]), 0.01)
            case "compactor":
                return scene.start(children.compact, scene.path, False, 1 << 20, 0.02)
            case "amender":
                version += 1000
                return ledger.watch_amender(
                    scene.start(children.amend, scene.path, targets, version, rng.randrange(1 << 30))
                )
            case "buffer":
                return scene.start(children.replay, scene.path, stop)
            case "exporter":
                return scene.start(children.export, scene.path, str(tmp_path / "replay.rkyv"))
            case _:
                return scene.writer(300, durability=rng.choice(DURABILITIES[:2]))[1]

    roles = ["writer 1", "writer 2", "writer 3", "sealer", "compactor", "amender", "buffer", "exporter"]
    alive = {role: another(role) for role in roles}
    patient = another("buffer")  # one that sees it all
    follower = _Follower(scene)
    patient.says(2)
    while scene.left > 0:
        role = rng.choice([*roles, "follower"])
        if role == "follower":
            scene.kill(follower.chick, 0.1)
            follower.take()
            follower.begin()
        else:
            scene.kill(alive[role], 0.1)
            alive[role] = another(role)
        ledger.check(scene.path)
        for chick in (*alive.values(), follower.chick, patient):
            chick.is_well()
    for role in ["writer 1", "writer 2", "writer 3", "sealer", "compactor", "amender", "exporter"]:
        alive[role].kill()
    everything = ledger.check(scene.path)
    ledger.check_health(scene.path, alive=set())
    Path(stop).touch()
    assert patient.finish()[-1] == f"r {len(everything)}"
    assert alive["buffer"].finish()[-1] == f"r {len(everything)}"
    known = len(follower.seen)
    follower.chick.until(
        lambda lines: known + sum(len(s.split()) - 2 for s in lines if s[0] == "f") >= len(everything)
    )
    follower.chick.kill(0.05)
    follower.take()
    assert len(follower.seen) == len(everything)
    assert set(follower.seen) == everything
    go_on(ledger, scene.path, who=0)
    ledger.check(scene.path)
