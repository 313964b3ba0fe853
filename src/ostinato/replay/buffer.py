"""ReplayBuffer: a bounded, indexed view of build results, from which the trainer samples."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from ostinato import archive
from ostinato.errors import OstinatoError, UsageError
from ostinato.replay.batch import Batch
from ostinato.replay.removers import LowestPriority, Remover
from ostinato.replay.samplers import Draw, Greedy, Sampler
from ostinato.replay.table import Table
from ostinato.result import BuildResult
from ostinato.results import Results
from ostinato.rewards import Reward
from ostinato.rewards import reward as seed_reward
from ostinato.text import CHUNK, TokenText
from ostinato.vocabulary import Vocabulary

DEFAULT_PATH = Path("model/general/v2/replay.rkyv")  # where Trident keeps it
_PENDING = 4096  # single pushes taken in at once


@dataclass(frozen=True, slots=True)
class Stats:
    """What a buffer has done so far, in records."""

    pushed: int
    removed: int
    sampled: int
    updated: int
    late_updates: int  # priority updates for ids that were gone, ignored


class ReplayBuffer:
    """The `capacity` build results most worth learning from; see `push`, `sample`, `update_priorities`.

    Args:
        capacity: records at most, >= 1.
        sampler: which records are drawn; None is `Greedy()`, the highest priority first.
        remover: which record leaves when it is full; None is `LowestPriority()`.
        reward: a record's first priority: columns in, float64[n] out, finite and >= 0.
        seed: of the sampler's random numbers; the same data, calls and seed give the same batches.
        vocabulary: for the tokens of batches; None grows one of the buffer's own.

    Threads: one may push while many sample and update; every call is whole, under one lock.
    Memory, when full: about 120 bytes a record and 4 an instruction, up to 40 bytes a record (or a tenth of
        all tokens, where lists are longer than 130) for tokens of removed records, 45 a distinct instruction.

    Raises:
        UsageError: capacity < 1, or another argument is not what it should be.
    """

    def __init__(
        self,
        capacity: int,
        *,
        sampler: Sampler | None = None,
        remover: Remover | None = None,
        reward: Reward = seed_reward,
        seed: int | None = None,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        is_int = isinstance(capacity, (int, np.integer)) and not isinstance(capacity, bool)
        if not is_int or not 1 <= capacity < 2**31:
            raise UsageError(f"expected an int in [1, 2**31), got {capacity!r}", "capacity")
        self.capacity = int(capacity)
        if vocabulary is not None and not isinstance(vocabulary, Vocabulary):
            raise UsageError(f"expected a Vocabulary, got {type(vocabulary).__name__}", "vocabulary")
        self.vocabulary = Vocabulary() if vocabulary is None else vocabulary
        # a vocabulary that maps or refuses unknown words would lose text: then words are kept beside it
        words = self.vocabulary if self.vocabulary.unknown == "add" else Vocabulary()
        self._table = Table(self.capacity, words)
        self._to_tokens = np.empty(0, np.int32)
        self._remover_settings: Remover = LowestPriority() if remover is None else remover
        for name, rule, example in (("sampler", sampler, "Uniform()"), ("remover", remover, "Oldest()")):
            if rule is not None and (isinstance(rule, type) or not hasattr(rule, "attach")):
                shown = f"{rule.__name__} without ()" if isinstance(rule, type) else repr(rule)
                raise UsageError(f"expected a {name} such as {example}, got {shown}", name)
        if not callable(reward):
            raise UsageError(f"expected a function of columns, got {reward!r}", "reward")
        self._sampler = (Greedy() if sampler is None else sampler).attach(self._table)
        self._remover = self._remover_settings.attach(self._table)
        self._reward = reward
        is_seed = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool) and seed >= 0
        if seed is not None and not is_seed:
            raise UsageError(f"expected an int >= 0 or None, got {seed!r}", "seed")
        self._rng = np.random.default_rng(seed)
        self._lock = threading.RLock()
        self._pending: list[BuildResult] = []
        self._pending_priorities: list[float] = []
        self._halfway = False
        self._next_id = 0
        self._sampled = self._updated = self._late = 0

    # --- taking in ------------------------------------------------------------------------------------------

    def push(self, result: BuildResult) -> int:
        """Take in one build result; returns its id.

        Raises:
            UsageError: it is none; its reward is no finite number >= 0; or a word is unknown and the
                vocabulary raises. Nothing is taken in.

        Cost: about 4 us amortised, O(log N); the work is done for many at once, before the next draw or query.
        A reward of your own is called at once, which costs what it costs and about 15 us more.
        """
        if not isinstance(result, BuildResult):
            raise UsageError(f"expected a BuildResult, got {type(result).__name__}", "result")
        with self._lock:
            if self.vocabulary.unknown == "raise":
                self.vocabulary.ids(result.generated_tasm)
            self._check_whole()
            identity = self._next_id
            if self._reward is not seed_reward:
                rewards = self._rewards(Results.concat([result]), np.array([identity]))
                self._pending_priorities.append(float(rewards[0]))
            self._pending.append(result)
            self._next_id += 1
            if len(self._pending) >= _PENDING:
                self._flush()
            return identity

    def extend(
        self, results: Results | Iterable[BuildResult], priorities: npt.ArrayLike | None = None
    ) -> NDArray[np.int64]:
        """Take in many, in order; returns their ids, int64[n], also of those that did not stay.

        Args:
            priorities: float64[n], finite and >= 0; None asks the reward.
        Raises:
            UsageError: a priority is not; or a word is unknown and the vocabulary raises. Nothing is taken in.

        Cost: 1 to 2 us a record of 30 instructions, O(log N).
        """
        whole = results if isinstance(results, Results) else Results.concat([results])
        with self._lock:
            self._flush()
            first = self._next_id
            ids = np.arange(first, first + len(whole))
            if priorities is None:
                given = self._rewards(whole, ids)
            else:
                given = _numbers(priorities, "priorities")
                _check_priorities(given, ids, "priorities")
            if self.vocabulary.unknown == "raise":
                whole.tokens(self.vocabulary)
            for start in range(0, len(whole), CHUNK):
                part = slice(start, start + CHUNK)
                self._take_in(whole[part], ids[part], given[part])
                self._next_id += len(ids[part])
            return ids

    def update_priorities(self, ids: npt.ArrayLike, priorities: npt.ArrayLike) -> int:
        """Give records new priorities; returns how many ids were still here. Of one given twice, the last counts.

        Ids that are gone are counted (`stats().late_updates`) and ignored: ids are never reused.

        Raises:
            UsageError: not as many priorities as ids, or one that is NaN, negative or infinite; none is set.

        Cost: O(log N) each.
        """
        with self._lock:
            self._flush()
            wanted = self._ids(ids)
            given = _numbers(priorities, "priorities")
            _check_priorities(given, wanted, "priorities")
            slots = self._table.find(wanted)
            here = slots >= 0
            changed = slots[here]
            self._table.priority[changed] = given[here]
            self._sampler.changed(changed)
            self._remover.changed(changed)
            self._updated += len(changed)
            self._late += len(slots) - len(changed)
            return len(changed)

    # --- handing out ----------------------------------------------------------------------------------------

    def sample(self, n: int, *, rng: np.random.Generator | None = None) -> Batch:
        """Draw n records by the buffer's sampler.

        Args:
            n: how many, >= 0. `Greedy` gives all there are when that is fewer; others draw with replacement.
            rng: random numbers to use instead of the buffer's own.
        Raises:
            EmptyBufferError: there is nothing to draw (`Greedy` gives an empty batch then).

        Cost: O(n log N), and copies the n records.
        """
        if not isinstance(n, (int, np.integer)) or isinstance(n, bool) or n < 0:
            raise UsageError(f"expected an int >= 0, got {n!r}", "n")
        if rng is not None and not isinstance(rng, np.random.Generator):
            raise UsageError(f"expected a numpy Generator, got {type(rng).__name__}", "rng")
        with self._lock:
            self._flush()
            table = self._table
            if n == 0:
                draw = Draw(np.empty(0, np.int64), np.empty(0), np.empty(0, np.float32))
            else:
                draw = self._sampler.draw(int(n), self._rng if rng is None else rng)
            self._sampled += len(draw.slots)
            rows, stored, offsets = table.gather(draw.slots)
            return Batch(
                rows,
                stored,
                offsets,
                table.words,
                ids=table.ids[draw.slots],
                tokens=self._in_vocabulary(stored),
                priority=table.priority[draw.slots],
                probability=draw.probability,
                weight=draw.weight,
                reward=self._reward,
            )

    def get(self, identity: int) -> BuildResult:
        """The build result with this id.

        Raises:
            UsageError: it is not here, or no more.
        """
        with self._lock:
            if identity not in self:
                raise UsageError(f"no record {identity!r} in the buffer", "identity")
            return self._table.view(self._find(np.array([identity], np.int64)))[0]

    def priorities(self, ids: npt.ArrayLike) -> NDArray[np.float64]:
        """float64[n]: the records' priorities now; NaN where the record is gone."""
        with self._lock:
            slots = self._find(self._ids(ids))
            here = slots >= 0
            out = np.full(len(slots), np.nan)
            out[here] = self._table.priority[slots[here]]
            return out

    def __contains__(self, identity: object) -> bool:
        is_int = isinstance(identity, (int, np.integer)) and not isinstance(identity, bool)
        if not is_int or not 0 <= identity < 2**63:  # type: ignore[operator]
            return False
        with self._lock:
            return bool(self._find(np.array([identity], np.int64))[0] >= 0)

    def __len__(self) -> int:
        with self._lock:
            return min(self.capacity, self._table.count + len(self._pending))

    def is_empty(self) -> bool:
        """Is there no record? O(1)."""
        return len(self) == 0

    def valid_count(self) -> int:
        """Records that are valid and no fallback. O(1)."""
        with self._lock:
            self._flush()
            return self._table.valid_count

    def ids(self) -> NDArray[np.int64]:
        """int64[len]: the ids of all records, oldest first. O(N log N)."""
        with self._lock:
            self._flush()
            return np.sort(self._table.ids[: self._table.count])

    def results(self, order: Literal["priority", "age"] = "age") -> Results:
        """A copy of all records: highest priority first (of equals the oldest), or oldest first. O(N log N)."""
        with self._lock:
            self._flush()
            rows, stored, offsets = self._table.gather(self._ordered(order))
            return Results(rows, TokenText(stored, offsets[:-1], np.diff(offsets), self._table.words))

    def __iter__(self) -> Iterator[BuildResult]:
        """All records as they are now, oldest first."""
        return iter(self.results())

    def __repr__(self) -> str:
        return f"ReplayBuffer({len(self):,} of {self.capacity:,} build results)"

    def stats(self) -> Stats:
        """Counts since the buffer was made."""
        with self._lock:
            self._flush()
            return Stats(
                pushed=self._next_id,
                removed=self._next_id - self._table.count,
                sampled=self._sampled,
                updated=self._updated,
                late_updates=self._late,
            )

    @property
    def nbytes(self) -> int:
        """Bytes allocated for records and tokens, the vocabulary and the indexes aside."""
        with self._lock:
            self._flush()
            return self._table.nbytes

    # --- keeping --------------------------------------------------------------------------------------------

    def save(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        order: Literal["priority", "age"] | None = None,
    ) -> None:
        """Write all records to an archive, whole or not at all (`archive.save`); folders are made.

        Args:
            path: None is Trident's, `model/general/v2/replay.rkyv`.
            order: "priority" is highest first, of equals the oldest, so that Trident's `sample`, which takes
                the first n, takes the best; "age" is oldest first. None is what the remover needs to go on
                as before: age for `Oldest`, else priority.
        Raises:
            UsageError: over 2 GiB. OSError: as the system says; the old file is untouched.

        Other threads wait until the file is on the disk.
        """
        with self._lock:
            self._flush()
            slots = self._ordered(self._remover_settings.save_order if order is None else order)
            target = DEFAULT_PATH if path is None else Path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            archive.save(target, self._table.view(slots))

    @classmethod
    def load(
        cls,
        capacity: int,
        path: str | os.PathLike[str] | None = None,
        *,
        sampler: Sampler | None = None,
        remover: Remover | None = None,
        reward: Reward = seed_reward,
        seed: int | None = None,
        vocabulary: Vocabulary | None = None,
    ) -> ReplayBuffer:
        """A buffer of the records in an archive, pushed in the file's order; a missing file gives an empty one.

        Args:
            path: None is Trident's, `model/general/v2/replay.rkyv`.
            sampler, remover, reward, seed, vocabulary: as for ReplayBuffer. Priorities are computed anew.
        Raises:
            DamageError: rkyv would refuse the file. OSError: as the system says.
        """
        buffer = cls(
            capacity, sampler=sampler, remover=remover, reward=reward, seed=seed, vocabulary=vocabulary
        )
        try:
            results = archive.read(DEFAULT_PATH if path is None else path)
        except FileNotFoundError:
            return buffer
        buffer.extend(results)
        return buffer

    def check(self) -> None:
        """State every invariant of the table; for tests."""
        with self._lock:
            self._flush()
            self._table.check()

    # --- inside ---------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Take in the single pushes that wait.

        Raises:
            OstinatoError: an earlier call was interrupted halfway.
        """
        self._check_whole()
        if not self._pending:
            return
        results = Results.concat(self._pending)
        ids = np.arange(self._next_id - len(self._pending), self._next_id)
        # a reward of the user's own has been asked for each already
        own = self._pending_priorities
        self._take_in(results, ids, np.array(own) if own else seed_reward(results))
        self._pending = []
        self._pending_priorities = []

    def _check_whole(self) -> None:
        if self._halfway:
            raise OstinatoError("a call was interrupted while it took records in: load the buffer again")

    def _take_in(self, results: Results, ids: NDArray[np.int64], priorities: NDArray[np.float64]) -> None:
        if not len(ids):
            return
        table = self._table
        tokens = table.translate(
            results.generated_tasm
        )  # first: damaged text is found before anything changes
        self._halfway = (
            True  # an interrupt, or no memory, between these would pair ids with the wrong records
        )
        table.make_room(len(ids))
        slots, removed = self._remover.place(results, priorities, ids)
        self._sampler.changed(table.take_in(results, tokens, ids, slots, removed))
        self._halfway = False

    def _rewards(self, results: Results, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        rewards = _numbers(self._reward(results), "reward")
        _check_priorities(rewards, ids, "reward")
        return rewards

    def _find(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        self._flush()
        return self._table.find(ids)

    def _ids(self, ids: npt.ArrayLike) -> NDArray[np.int64]:
        array = np.atleast_1d(np.asarray(ids))
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise UsageError(f"expected int64[n], got {array.dtype} of {array.ndim} dimensions", "ids")
        return array.astype(np.int64)

    def _ordered(self, order: str) -> NDArray[np.int64]:
        table = self._table
        ids, priority = table.ids[: table.count], table.priority[: table.count]
        if order == "age":
            return np.argsort(ids)
        if order == "priority":
            return np.lexsort((ids, -priority))
        raise UsageError(f"expected 'priority' or 'age', got {order!r}", "order")

    def _in_vocabulary(self, stored: NDArray[np.int32]) -> NDArray[np.int32]:
        words = self._table.words
        if words is self.vocabulary:
            return stored
        known = len(self._to_tokens)
        if known < len(words):
            new = self.vocabulary.ids([words.word(i) for i in range(known, len(words))])
            self._to_tokens = np.concatenate([self._to_tokens, np.array(new, np.int32)])
        return self._to_tokens[stored]


def _numbers(values: npt.ArrayLike, name: str) -> NDArray[np.float64]:
    if np.ma.is_masked(values):
        raise UsageError("expected no masked values: an unmeasured cost is no number", name)
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"got {array.dtype}")
        return np.atleast_1d(array.astype(np.float64))
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"expected numbers ({error})", name) from None


def _check_priorities(priorities: NDArray[np.float64], ids: NDArray[np.int64], name: str) -> None:
    if priorities.shape != ids.shape:
        raise UsageError(f"expected {len(ids)} priorities, got {list(priorities.shape)}", name)
    good = np.isfinite(priorities) & (priorities >= 0)
    if not good.all():
        first = int(np.argmin(good))
        raise UsageError(
            f"expected a finite number >= 0, got {priorities[first]} for record {ids[first]}", name
        )
