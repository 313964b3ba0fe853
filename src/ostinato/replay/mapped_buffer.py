"""MappedBuffer: a replay buffer over records that stay in a store's files.

Whoever holds the store tells the buffer what came (`take_in`), where records lie after sealing (`relocate`), and
which were corrected (`amend`); all else is a ReplayBuffer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from ostinato.archive.places import Buffers, DamagedPlaces
from ostinato.archive.writing import ArchiveWriter
from ostinato.errors import UsageError
from ostinato.files import replace_file
from ostinato.replay import state as states
from ostinato.replay.arguments import check_priorities, numbers
from ostinato.replay.batch import Batch
from ostinato.replay.buffer import ReplayBuffer
from ostinato.replay.dedupe import Dedupe
from ostinato.replay.limiter import RateLimiter
from ostinato.replay.mapped import MappedTable, read_whole
from ostinato.replay.mixtures import state_of
from ostinato.replay.removers import OldestIndex, Remover
from ostinato.replay.samplers import Draw, Sampler
from ostinato.replay.state import State
from ostinato.replay.stats import STORE_CAUSES
from ostinato.replay.table import DamagedSlots, Table
from ostinato.replay.trees import Slots
from ostinato.result import BuildResult
from ostinato.results import Results
from ostinato.rewards import Reward
from ostinato.rewards import reward as seed_reward
from ostinato.text import CHUNK, TokenText
from ostinato.vocabulary import Vocabulary

Ints = NDArray[np.int64]
Extras = dict[str, NDArray[Any]]
_KEPT = (
    "_table", "_sampler", "_fresh", "_remover", "_by_time", "_dedupe", "_rng", "_sampled", "_updated", "_late",
    "_forced", "_newest", "_removed_by", "_halfway", "damaged",
)  # fmt: skip


class MappedBuffer(ReplayBuffer):
    """The `capacity` records most worth learning from, read where they lie; more than memory holds.

    All ids, in and out, are the store's: `batch.ids`, `update_priorities`, `remove`, `get`, `priorities`, `ids()`, `in`.
    Inside, records have arrival numbers; "oldest first" is in the order of arrival, and a `Fresh` cursor is such a number.
    Token ids are given to words as they are drawn; a vocabulary that raises does so then.

    Args:
        capacity: records at most, >= 1.
        buffers: the mapped files. Whoever drops one from it has told `relocate` before.
        sampler, remover, reward, seed, vocabulary, max_age_s, max_times_sampled: as for ReplayBuffer. A reward of your own
            that reads instructions has them copied; the seed's does not.
        extras_of: (ids int64[n], places int64[n]) to arrays of n: what `batch.extras` gives. Called at each draw; raises
            DamagedPlaces for records that shall leave.
        capacity_bytes, dedupe, limiter: not here; see the errors.

    Attributes:
        damaged: records that could not be read: not taken in, or let go when they were drawn.
        looked_at: how many of those that the last `take_in` was given it got to, if it did not end.

    Memory, anonymous: 20.2 bytes a record, those of the sampler and the remover (Proportional 10.3, Oldest none), and 32
    to 64 a run of records that follow each other in a file; up to 21 more a record once records leave otherwise than the
    oldest first. Fields and text are in the page cache.

    A forked child has a buffer of its own, of the same files, with the same random numbers to come: as ReplayBuffer.

    Raises:
        UsageError: an argument is not what it should be.
    """

    _causes = STORE_CAUSES
    _remedy = "make the buffer anew; a state can be loaded into that one"
    _upto = 0
    _table: MappedTable

    def __init__(
        self,
        capacity: int,
        buffers: Buffers,
        *,
        sampler: Sampler | None = None,
        remover: Remover | None = None,
        reward: Reward = seed_reward,
        seed: int | None = None,
        vocabulary: Vocabulary | None = None,
        max_age_s: int | None = None,
        max_times_sampled: int | None = None,
        extras_of: Callable[[Ints, Ints], Extras] | None = None,
        capacity_bytes: int | None = None,
        dedupe: Dedupe | None = None,
        limiter: RateLimiter | None = None,
    ) -> None:
        if not isinstance(buffers, Buffers):
            raise UsageError(f"expected archive.places.Buffers, got {type(buffers).__name__}", "buffers")
        if capacity_bytes is not None:
            raise UsageError("records take no memory of their own here: limit their number", "capacity_bytes")
        if dedupe is not None:
            raise UsageError("a store keeps every attempt, and merging would change records", "dedupe")
        if limiter is not None:
            raise UsageError("who appends to the store does not wait for who draws from it", "limiter")
        self._buffers = buffers
        self._extras_of = extras_of
        self.damaged = self.looked_at = 0
        super().__init__(
            capacity, sampler=sampler, remover=remover, reward=reward, seed=seed, vocabulary=vocabulary,
            max_age_s=max_age_s, max_times_sampled=max_times_sampled,
        )  # fmt: skip

    def _new_table(self) -> Table:
        return MappedTable(self.capacity, self._words, self._buffers)

    # --- what the store tells -------------------------------------------------------------------------------

    def take_in(self, store_ids: npt.ArrayLike, places: npt.ArrayLike) -> int:
        """Take in records of the store, in the order in which they came; returns how many could be read.

        Args:
            store_ids: int64[m], none of which was ever here. places: int64[m].
        Raises:
            UsageError: the reward gives no finite numbers >= 0; the parts of 16,384 records before are taken in.

        Those that cannot be read are left out, and counted as `damaged`. Where more come at once than the capacity, and the
        remover is Oldest, only the last are looked at: the others have come and gone.
        Cost: about 50 ns a record with Oldest, of which 40 read its fields from the page cache; O(log N) with others.
        """
        with self._lock:
            self._check_whole()
            record_ids, at = _pairs(store_ids, places)
            skipped = self._skippable(len(at))
            self.looked_at = 0
            self._table.make_room(len(at))
            taken = (
                self._take_in_anew(record_ids, at, skipped)
                if skipped
                else self._take_in_parts(record_ids, at)
            )
            self._drop_hurt()
            return taken

    def _skippable(self, m: int) -> int:
        # with a limit of age, what is skipped could be the newest
        oldest_leaves = isinstance(self._remover, OldestIndex) and self._table.in_turn
        return max(0, m - self.capacity) if oldest_leaves and self._max_age_s is None else 0

    def _take_in_parts(self, record_ids: Ints, places: Ints) -> int:
        taken = 0
        for part in _parts(len(places)):
            self._upto = min(part.stop, len(places))
            taken += self._take_in_part(record_ids[part], places[part])
            self.looked_at = self._upto
        return taken

    def _take_in_anew(self, record_ids: Ints, places: Ints, skipped: int) -> int:
        """More come than fit: all that are here come to leave, and so do as many of the new."""
        remover, table = self._remover, self._table
        assert isinstance(remover, OldestIndex)
        self._halfway = True
        before = table.count
        self.looked_at = skipped
        table.begin_anew(skipped)
        first = table.next_id
        failure: Exception | None = None
        for part in _parts(self.capacity):
            names, at = np.array(record_ids[skipped:][part]), np.array(places[skipped:][part])
            try:
                results, good = self._read(at)
                priorities = self._priorities(results, names[good])
            except Exception as error:  # the reward's; those before stay
                failure = error
                break
            self.damaged += int(np.count_nonzero(~good))
            table.fill(results._rows, names[good], at[good], priorities)
            self.looked_at = skipped + part.stop
        taken = table.next_id - first
        remover.begin(first, table.end_anew(taken))
        self._sampler.changed(np.arange(max(before, taken)))
        self._halfway = False
        if failure is not None:
            raise failure
        return skipped + taken

    def _take_in_part(self, record_ids: Ints, places: Ints) -> int:
        # copies: kernels would be compiled once more for arrays that cannot be written, such as a mapped file's
        record_ids, places = np.array(record_ids), np.array(places)
        results, good = self._read(places)
        if not good.all():
            self.damaged += int(np.count_nonzero(~good))
            record_ids, places = record_ids[good], places[good]
        if len(places):
            first = self._table.next_id
            priorities = self._priorities(results, record_ids)
            self._put(results, record_ids, places, np.arange(first, first + len(places)), priorities)
            self._keep_limits()
        return len(places)

    def _read(self, places: Ints) -> tuple[Results, NDArray[np.bool_]]:
        """Those that can be read, with text if somebody else's reward may ask for it."""
        if self._reward is not seed_reward:
            return read_whole(self._buffers, places)
        rows, good = self._buffers.readable_rows(places)
        return _without_text(rows, self._words), good

    def _priorities(self, results: Results, record_ids: Ints) -> NDArray[np.float64]:
        if self._reward is seed_reward:
            return self._rewards(results, record_ids)
        given = numbers(self._reward(results), "reward")
        check_priorities(given, record_ids, "reward")
        return given

    def _put(
        self,
        results: Results,
        record_ids: Ints,
        places: Ints,
        ids: Ints,
        priorities: NDArray[np.float64],
    ) -> None:
        """Records have come; an interrupt within makes the buffer unusable, as in ReplayBuffer."""
        table = self._table
        self._halfway = True
        if self._max_age_s is not None:
            self._newest = max(self._newest, int(results.timestamp.max()))
        table.make_room(len(ids))
        slots, removed = self._remover.place(results, priorities, ids)
        changed = table.put(results._rows, record_ids, places, ids, slots, removed)
        self._sampler.changed(changed)
        self._moved_beside(changed, remover=False)
        table.next_id = max(table.next_id, int(ids[-1]) + 1)
        self.looked_at = self._upto
        self._halfway = False

    def relocate(self, old: Iterable[int], store_ids: npt.ArrayLike, places: npt.ArrayLike) -> int:
        """Buffers are to be left: records lie at these places now, and those that are in them without a place have left
        the store, and leave the buffer (`stats().removed_by["store"]`). Returns how many left.

        Args:
            old: numbers of buffers. store_ids, places: int64[n]; ids that are not here, or not in those, do not matter.

        Cost: O(log n) for each record that was in those buffers, O(runs).
        """
        with self._lock:
            self._check_whole()
            record_ids, at = _pairs(store_ids, places)
            self._halfway = True
            gone = self._table.relocate(np.fromiter(old, np.int64), record_ids, at)
            self._halfway = False
            self._remove(gone, "store")
            self._drop_hurt()
            return len(gone)

    def amend(self, store_ids: npt.ArrayLike, places: npt.ArrayLike) -> int:
        """These records have another content now, at these places: their priorities are made anew by the reward.

        Returns how many are here; of an id given twice the last counts. One that cannot be read leaves. O(runs + n log N).

        Raises:
            UsageError: the reward gives no finite numbers >= 0; nothing is changed.
        """
        with self._lock:
            self._check_whole()
            record_ids, at = _pairs(store_ids, places)
            last = len(at) - 1 - np.unique(record_ids[::-1], return_index=True)[1]
            slots = self._table.slots_of(record_ids[last])
            last, slots = last[slots >= 0], slots[slots >= 0]
            arrivals = self._table.ids[slots]
            results, good = self._read(at[last])
            priorities = self._priorities(results, record_ids[last[good]])
            if len(results):
                self._amend(slots[good], at[last[good]], results, priorities)
            self._drop(arrivals[~good])
            self._keep_limits()
            self._drop_hurt()
            return len(slots)

    def _amend(self, slots: Slots, places: Ints, results: Results, priorities: NDArray[np.float64]) -> None:
        self._halfway = True
        if self._max_age_s is not None:
            self._newest = max(self._newest, int(results.timestamp.max()))
        self._table.amend(slots, places)
        self._table.priority[slots] = priorities
        self._sampler.changed(slots)
        self._remover.changed(slots)
        self._moved_beside(slots)
        self._halfway = False

    # --- what cannot be read --------------------------------------------------------------------------------

    def _drop(self, arrivals: npt.ArrayLike) -> None:
        """Let records go that cannot be read."""
        slots = np.unique(self._table.find(np.asarray(arrivals, np.int64)))
        slots = slots[slots >= 0]
        self.damaged += len(slots)
        self._remove(slots, "damage")

    def _drop_hurt(self) -> None:
        """The same of those that were found so in passing; letting one go can find others."""
        while self._table.hurt:
            hurt, self._table.hurt = self._table.hurt, []
            self._drop(hurt)

    def _part(
        self, n: int | None, rng: np.random.Generator, *, further: bool = False
    ) -> tuple[Draw, Batch] | None:
        while True:  # each time there is at least one record less
            cursors = self._cursors()
            try:
                return super()._part(n, rng, further=further)
            except DamagedSlots as damage:
                self._rewind(cursors)
                self._drop(self._table.ids[damage.slots])

    # --- handing out ----------------------------------------------------------------------------------------

    def sample(self, n: int | None = None, *, rng: np.random.Generator | None = None) -> Batch:
        """Draw n records; see `ReplayBuffer.sample`.

        Where some of the drawn cannot be read, those leave the buffer, are counted as `damaged`, and all is drawn again.
        Cost: that of reading n records where they lie, beside; a page fault for each that is not in memory.
        """
        with self._lock:
            batch = super().sample(n, rng=rng)
            self._drop_hurt()
            return batch

    def _batch(self, draw: Draw) -> Batch:
        extras: Extras = {}
        if self._extras_of is not None:  # before anything is counted: they may be damaged
            try:
                extras = self._extras_of(self._table.record_ids(draw.slots), self._table.places(draw.slots))
            except DamagedPlaces as damage:
                raise DamagedSlots(damage.cause, draw.slots[damage.bad]) from damage
        gathered = self._table.gather(draw.slots, sampled=True)
        self._remover.sampled(draw.slots)
        return self._make_batch(gathered, draw.probability, draw.weight, (), extras)

    def ids(self) -> Ints:
        """int64[len]: the store's ids of all records, in the order in which they arrived. O(N log N)."""
        with self._lock:
            self._check_whole()
            return self._table.record_ids(self._ordered("age"))

    def results(self, order: Any = "age") -> Results:
        """A copy of all records that can be read; see `ReplayBuffer.results`. Others leave, counted as `damaged`."""
        with self._lock:
            while True:
                try:
                    return super().results(order)
                except DamagedSlots as damage:
                    self._drop(self._table.ids[damage.slots])

    def get(self, identity: int) -> BuildResult:
        """The build result with this id.

        Raises:
            UsageError: it is not here, or no more. DamageError: it cannot be read.
        """
        return super().get(identity)

    # --- what is the store's to do --------------------------------------------------------------------------

    def push(self, result: BuildResult) -> NoReturn:
        """Raises UsageError: append to the store."""
        raise UsageError("append to the store with a writer: this buffer follows it", "result")

    def extend(
        self, results: Results | Iterable[BuildResult], priorities: npt.ArrayLike | None = None
    ) -> NoReturn:
        """Raises UsageError: append to the store."""
        raise UsageError("append to the store with a writer: this buffer follows it", "results")

    @classmethod
    def load(cls, *arguments: Any, **more: Any) -> NoReturn:
        """Raises UsageError: open the store, or read an archive into a ReplayBuffer."""
        raise UsageError("open a store, or load an archive into a ReplayBuffer", "path")

    # --- keeping --------------------------------------------------------------------------------------------

    def _write(self, target: Path, slots: Slots) -> None:
        """An archive of the records that can be read; a part of them is in memory at a time."""
        hurt: list[Ints] = []
        with replace_file(target) as file:
            writer = ArchiveWriter()
            for bounds in _parts(len(slots)):
                part = slots[bounds]
                results, good = read_whole(self._buffers, self._table.places(part))
                hurt.append(self._table.ids[part[~good]])
                for begin in range(0, len(results), 1024):
                    file.write(writer.add(results[begin : begin + 1024]))
            for chunk in writer.finish():
                file.write(chunk)
        self._drop(np.concatenate([np.empty(0, np.int64), *hurt]))

    def _describe(self) -> dict[str, Any]:
        return {**super()._describe(), "records": "stay in a store"}

    def state_dict(self) -> State:
        """What the learner added to the records, as named arrays; the records themselves are the store's.

        Ids, arrivals, priorities and times sampled of all records, by slot; counts; the random state; what the sampler and the
        remover know beside (a cursor, a window, the order of groups); the vocabulary's words. O(N).
        """
        with self._lock:
            while True:
                self._check_whole()
                out = self._state_dict()
                if not self._table.hurt:
                    return out
                self._drop_hurt()

    def _state_dict(self) -> State:
        table = self._table
        n = table.count
        data, ends = self._words.spans()
        counts = [
                self._sampled, self._updated, self._late, self._forced_total(), self._newest, table.next_id,
                table.draws, self.damaged, *self._removed_by.values(), *table.counters.tolist(),
            ]  # fmt: skip
        out: State = {
            "settings": states.text(self._describe()),
            "random": states.text(self._rng.bit_generator.state),
            "counts": np.array(counts, np.uint64),
            "ids": table.ids[:n].copy(),
            "record_ids": table.record_ids(np.arange(n)),
            "priority": table.priority[:n].copy(),
            "times_sampled": table.times_sampled[:n].copy(),
            "words": data[: int(ends[-1])].copy(),
            "word_ends": ends.copy(),
        }
        for prefix, index in (("sampler", self._sampler), ("remover", self._remover)):
            out |= {f"{prefix}.{name}": array for name, array in state_of(index).items()}
        return out

    def load_state_dict(self, state: State) -> None:
        """Go on where `state_dict` was called, with the records that are here now: have those of the store taken in before.

        - Records that are in the state and here get back their slots, arrivals, priorities and times sampled. If all
          are, and no others, draws go on just as they would have; the words get their token ids back too.
        - Records of the state that are not here any more leave (`removed_by["store"]`), each counted as a late update. Draws
          go on with the same random numbers from what is left.
        - Records that are here and not in the state come after those, in the order of their arrival, with the priorities
          and times sampled they have here; the remover may let others go for them.
        - Counts, the random state, cursors and windows are the state's. Orders of records within groups too,
          unless records left or were corrected: then they are made anew.

        Raises:
            UsageError: it had another capacity, sampler or remover, or those had other settings. DamageError: the state is
                none. The buffer is as it was.

        Cost: O(N log N), and reads all fields.
        """
        with self._lock:
            self._check_whole()
            reader = states.Reader(state)
            self._check_settings(reader)
            restored = states.mapped(reader, self.capacity)
            generator = states.generator(reader, self._rng)
            kept = {name: getattr(self, name) for name in _KEPT}
            self._removed_by = self._removed_by.copy()
            try:
                self._become(restored, state)
                self._rng = generator
            except BaseException:
                for name, value in kept.items():
                    setattr(self, name, value)
                raise

    def _become(self, restored: states.Mapped, state: State) -> None:
        before = self._table
        found = before.slots_of(restored.record_ids)
        places = np.full(len(found), -1, np.int64)
        places[found >= 0] = before.places(found[found >= 0])
        places[found < 0] = self._places_of(restored.record_ids[found < 0])
        gone = np.flatnonzero(places < 0)
        others = np.setdiff1d(np.arange(before.count), found)
        others = others[np.argsort(before.ids[others])]

        counts = restored.counts
        self._attach()
        table = self._table
        table.become(
            restored.arrivals, restored.record_ids, places, restored.priority, restored.times_sampled,
            counts[5], np.array(counts[14:], np.int64),
        )  # fmt: skip
        table.draws = counts[6]
        self._restore_indexes(state)
        if self.vocabulary.unknown == "raise":
            self.vocabulary.ids(restored.words)
        self._moved_beside(np.arange(table.count))
        self._sampled, self._updated, self._late, self._forced, self._newest = counts[:5]
        self.damaged = counts[7]
        self._removed_by = dict(zip(self._causes[1:], counts[8:14], strict=True))
        self._late += len(gone)
        self._remove(gone, "store")
        self._put_again(before, others)
        self._drop_hurt()
        self._words.ids(restored.words)  # last: a state that is refused adds no word

    def _places_of(self, record_ids: Ints) -> Ints:
        """Where records are that a state has and this buffer not; -1 of those that are nowhere."""
        return np.full(len(record_ids), -1, np.int64)

    def _put_again(self, before: MappedTable, slots: Slots) -> None:
        """Records that the state does not know come after those that it does."""
        table = self._table
        for bounds in _parts(len(slots)):
            part = slots[bounds]
            places = before.places(part)
            results, good = self._read(places)
            part = part[good]
            self.damaged += int(np.count_nonzero(~good))
            if not len(part):
                continue
            ids = np.arange(table.next_id, table.next_id + len(part))
            self._put(results, before.record_ids(part), places[good], ids, before.priority[part])
            at = table.find(ids)
            table.times_sampled[at[at >= 0]] = before.times_sampled[part[at >= 0]]
            self._remover.sampled(at[at >= 0])
            self._keep_limits()


def _pairs(store_ids: npt.ArrayLike, places: npt.ArrayLike) -> tuple[Ints, Ints]:
    """Both as int64[n].

    Raises:
        UsageError: they are not, or not as many.
    """
    out = []
    for name, given in (("store_ids", store_ids), ("places", places)):
        array = np.asarray(given)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise UsageError(f"expected int64[n], got {array.dtype} of {array.ndim} dimensions", name)
        out.append(np.ascontiguousarray(array, np.int64))
    if len(out[0]) != len(out[1]):
        raise UsageError(f"expected {len(out[0])} places, got {len(out[1])}", "places")
    return out[0], out[1]


def _parts(n: int) -> Iterator[slice]:
    return (slice(first, min(first + CHUNK, n)) for first in range(0, n, CHUNK))


def _without_text(rows: NDArray[np.void], words: Vocabulary) -> Results:
    """Results of which nobody asks the instructions."""
    none = np.zeros(len(rows), np.int64)
    return Results(rows, TokenText(np.empty(0, np.int32), none, none, words))
