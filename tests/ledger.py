"""What was promised, kept apart from the store, and compared with it: `Ledger.check`."""

from __future__ import annotations

import contextlib
import signal
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import numpy as np

import store_children as children
from nest import Chick
from ostinato import BuildResult
from ostinato.store import Records, Store
from ostinato.store.health import Health

Name = tuple[int, int]  # which writer's, and which of its records


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """What hangs fails here."""

    def late(_: int, __: FrameType | None) -> None:
        raise AssertionError(f"it hangs: more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    rest, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, rest)
        signal.signal(signal.SIGALRM, before)


def names_of(records: Records) -> list[Name]:
    """Whose each record is, and its number, as its hash tells."""
    halves = np.ascontiguousarray(records.tir_hash).view("<u8")
    return [(int(who), int(k)) for who, k in halves[:, :2]]


class Ledger:
    """What writers and amenders have begun, and what they have said is done.

    Attributes:
        promised: id -> whose. removable: records with an even number may be gone, since something compacts.
    """

    def __init__(self, *, removable: bool = False) -> None:
        self.promised: dict[int, Name] = {}
        self.removable = removable
        self._begun: dict[int, int] = defaultdict(int)
        self._versions: dict[int, int] = {}  # amended id -> the last version that is done
        self._tried: dict[int, set[int]] = defaultdict(set)
        self._writers: list[tuple[int, Chick, int]] = []
        self._amenders: list[tuple[Chick, int]] = []
        self._known: dict[int, Name] = {}  # what was found right and cannot change but by an amendment

    # --- what was promised

    def watch(self, who: int, writer: Chick) -> Chick:
        """Believe what this writer says from now on."""
        self._writers.append((who, writer, 0))
        return writer

    def watch_amender(self, amender: Chick) -> Chick:
        """The same."""
        self._amenders.append((amender, 0))
        return amender

    def note(self, who: int, first: int, ids: list[int]) -> None:
        """We have appended these ourselves."""
        self._begun[who] = max(self._begun[who], first + len(ids))
        for j, identity in enumerate(ids):
            assert self.promised.setdefault(identity, (who, first + j)) == (who, first + j), (
                "an id given twice"
            )

    def note_one(self, identity: int, name: Name) -> None:
        """One that came from elsewhere."""
        self.promised[identity] = name
        self._begun[name[0]] = max(self._begun[name[0]], name[1] + 1)

    def heard(self) -> list[Name]:
        """All that was promised, so far."""
        self.listen()
        return list(self.promised.values())

    def listen(self) -> None:
        """Hear what was said since."""
        for number, (who, writer, heard) in enumerate(self._writers):
            lines = writer.lines
            for line in lines[heard:]:
                kind, *numbers = line.split()
                if kind == "b":
                    self._begun[who] = max(self._begun[who], int(numbers[0]))
                elif kind == "a":
                    first, *runs = map(int, numbers)
                    ids = [i for a, n in zip(runs[::2], runs[1::2], strict=True) for i in range(a, a + n)]
                    self.note(who, first, ids)
            self._writers[number] = (who, writer, len(lines))
        for number, (amender, heard) in enumerate(self._amenders):
            lines = amender.lines
            for line in lines[heard:]:
                kind, *numbers = line.split()
                if kind == "b":
                    self._tried[int(numbers[0])].add(int(numbers[1]))
                elif kind == "a":
                    self._versions[int(numbers[0])] = int(numbers[1])
            self._amenders[number] = (amender, len(lines))

    # --- what is there

    def check(self, path: str | Path) -> set[int]:
        """Open the store: all that was promised is there, once, and right, and nothing else; its ids."""
        self.listen()
        promised, versions = dict(self.promised), dict(self._versions)
        with within(60), Store.open(path, create=False) as store:
            records = store.results()
        self.listen()  # what has begun meanwhile may be there
        assert records.damaged == 0
        ids = records.ids.tolist()
        names = names_of(records)
        assert len(set(ids)) == len(ids), "an id is there twice"
        assert len(set(names)) == len(names), "a record is there twice"
        found = dict(zip(ids, names, strict=True))
        lost = {i: name for i, name in promised.items() if i not in found and not self._may_go(name)}
        assert not lost, f"{len(lost)} promised records are lost: {list(lost.items())[:5]}"
        wrong = {i: name for i, name in promised.items() if found.get(i, name) != name}
        assert not wrong, f"other records stand under their ids: {list(wrong.items())[:5]}"
        made_up = [name for name in names if name[1] >= self._begun[name[0]]]
        assert not made_up, f"records that nobody has appended: {made_up[:5]}"
        assert records.extras["label"].tolist() == [children.label(*name) for name in names]
        for j, (identity, name) in enumerate(zip(ids, names, strict=True)):
            # reading is slow: what was right an hour ago is looked at now and then
            if (
                self._known.get(identity) != name
                or identity in self._tried
                or (identity + len(ids)) % 16 == 0
            ):
                self._check_one(identity, name, records[j], versions.get(identity))
        self._known = found
        if not self.removable:
            self._check_order(found)
        return set(ids)

    def _may_go(self, name: Name) -> bool:
        return self.removable and name[1] % 2 == 0

    def _check_one(self, identity: int, name: Name, result: BuildResult, version: int | None) -> None:
        allowed = [children.corrected(*name, v) for v in self._tried[identity] if v >= (version or 0)]
        if version is None:
            allowed.append(children.made(*name))
        assert result in allowed, f"record {identity} of {name} is wrong: {result}, after version {version}"

    def _check_order(self, found: dict[int, Name]) -> None:
        """Of each writer a beginning of what it has appended, under rising ids."""
        by_writer: dict[int, list[int]] = defaultdict(list)
        for _, (who, k) in sorted(found.items()):
            by_writer[who].append(k)
        for who, numbers in by_writer.items():
            assert numbers == list(range(len(numbers))), f"writer {who} has a gap"

    @property
    def amended(self) -> int:
        """How many records are known to be corrected."""
        return len(self._versions)

    def check_merged(self, path: str | Path, others: list[Ledger]) -> dict[int, int]:
        """`check` of a store into which others were merged: how many records of each writer are there."""
        names = [name for other in others for name in other.heard()]
        with within(60), Store.open(path, create=False) as store:
            found = names_of(store.results())
            ids = store.results().ids.tolist()
        whose = {who for who, _ in names}
        counts: dict[int, int] = defaultdict(int)
        for identity, name in zip(ids, found, strict=True):
            counts[name[0]] += 1
            if name[0] in whose:  # its id is a new one
                self.note_one(identity, name)
        missing = set(names) - set(found)
        assert not missing, f"{len(missing)} records were not merged: {sorted(missing)[:5]}"
        self.check(path)
        return counts

    def check_health(self, path: str | Path, *, alive: set[int], dead: set[int] = frozenset()) -> Health:  # type: ignore[assignment]
        """The store says that these writers are alive, of those that have a journal, and these are not."""
        with within(60), Store.open(path, create=False) as store:
            health = store.health()
        assert health.problems == []
        assert (health.damaged, health.repeated) == (0, 0)
        said = {int(w.context["who"]) for w in health.writers if w.alive and "who" in w.context}
        assert said == alive
        assert {int(w.context["who"]) for w in health.writers if not w.alive and "who" in w.context} >= dead
        return health


def go_on(ledger: Ledger, path: str | Path, who: int, *, seal: bool = True) -> None:
    """A new writer appends, and the store is sealed, at once: nobody waits for who has died."""
    with within(30), Store.open(path, create=False) as store:
        first = sum(name[0] == who for name in ledger.promised.values())
        with store.writer({"who": str(who)}) as writer:
            ledger.note(
                who, first, [writer.append(children.made(who, first), {"label": children.label(who, first)})]
            )
        if seal:
            store.seal(wait_s=0)
