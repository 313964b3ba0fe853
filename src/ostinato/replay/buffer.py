"""ReplayBuffer: a bounded, indexed view of build results, from which the trainer samples."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from ostinato import archive
from ostinato.arguments import integer, optional_integer
from ostinato.errors import DamageError, EmptyBufferError, OstinatoError, RateLimitError, UsageError
from ostinato.replay import state as states
from ostinato.replay.arguments import check_count, check_priorities, numbers, refuse_priority
from ostinato.replay.batch import Batch
from ostinato.replay.dedupe import Dedupe, DedupeIndex
from ostinato.replay.limiter import Balance, RateLimiter
from ostinato.replay.mixtures import FreshIndex, all_inside, restore, state_of, under
from ostinato.replay.removers import LowestPriority, Remover, RemoverIndex
from ostinato.replay.samplers import Draw, Greedy, Sampler, SamplerIndex
from ostinato.replay.state import State
from ostinato.replay.stats import CAUSES, Stats
from ostinato.replay.table import (
    GONE,
    GONE_AGE,
    GONE_NEVER,
    GONE_TIMES,
    RECORD_BYTES,
    Gathered,
    Table,
    seed_rewards,
)
from ostinato.replay.trees import OrderTree, Slots
from ostinato.result import BuildResult
from ostinato.results import RECORD, Results, packed_rows
from ostinato.rewards import Reward
from ostinato.rewards import reward as seed_reward
from ostinato.text import CHUNK, TokenText
from ostinato.vocabulary import Vocabulary

DEFAULT_PATH = Path("model/general/v2/replay.rkyv")  # where Trident keeps it
_PENDING = 4096  # single pushes taken in at once
_CONFLICTS = 1000  # pairs remembered
_NO_TOKENS = np.empty(0, np.int32)


class ReplayBuffer:
    """The `capacity` build results most worth learning from; see `push`, `sample`, `update_priorities`.

    Args:
        capacity: records at most, >= 1.
        sampler: which records are drawn; None is `Greedy()`, the highest priority first.
        remover: which record leaves when it is full; None is `LowestPriority()`.
        reward: a record's first priority: columns in, float64[n] out, finite and >= 0.
        seed: of the sampler's random numbers; the same data, calls and seed give the same batches.
        vocabulary: for the tokens of batches; None grows one of the buffer's own.
        capacity_bytes: bytes at most, >= 116, counting 116 a record and 4 an instruction; the remover says who leaves.
        max_age_s: how much older than the newest timestamp that came a record may be, in seconds.
        max_times_sampled: a record leaves when it was drawn so often.
        dedupe: merge repeats; None stores them.
        limiter: keeps drawing and pushing in step (min_size within the capacity); None lets both run free.

    The limits of bytes and age hold after each call. Threads: many may push, sample and update; every call is
    whole, under one lock. A forked child has a buffer of its own, with the same random numbers to come, so that workers draw
    the same: give each a seed, or `rng` at each draw. If another thread was within a call when it was forked, calls there
    raise OstinatoError.
    Memory, when full: about 110 bytes a record (85 with `Oldest`) and 4 an instruction, up to 40 bytes a record (or a tenth of
        all tokens, where lists are longer than 130) for tokens of removed records, 45 a distinct instruction,
        and what samplers and removers say of theirs.

    Raises:
        UsageError: capacity < 1, or another argument is not what it should be.
    """

    _causes: tuple[str, ...] = CAUSES
    _remedy = "load a state, or make the buffer anew"

    def __init__(
        self,
        capacity: int,
        *,
        sampler: Sampler | None = None,
        remover: Remover | None = None,
        reward: Reward = seed_reward,
        seed: int | None = None,
        vocabulary: Vocabulary | None = None,
        capacity_bytes: int | None = None,
        max_age_s: int | None = None,
        max_times_sampled: int | None = None,
        dedupe: Dedupe | None = None,
        limiter: RateLimiter | None = None,
    ) -> None:
        self.capacity = integer(capacity, "capacity", 1, 2**31)
        if vocabulary is not None and not isinstance(vocabulary, Vocabulary):
            raise UsageError(f"expected a Vocabulary, got {type(vocabulary).__name__}", "vocabulary")
        self.vocabulary = Vocabulary() if vocabulary is None else vocabulary
        # a vocabulary that maps or refuses unknown words would lose text: then words are kept beside it
        self._words = self.vocabulary if self.vocabulary.unknown == "add" else Vocabulary()
        self._to_tokens = _NO_TOKENS
        for name, rule, example in (("sampler", sampler, "Uniform()"), ("remover", remover, "Oldest()")):
            if rule is not None and (isinstance(rule, type) or not hasattr(rule, "attach")):
                shown = f"{rule.__name__} without ()" if isinstance(rule, type) else repr(rule)
                raise UsageError(f"expected a {name} such as {example}, got {shown}", name)
        for name, given, kind in (("dedupe", dedupe, Dedupe), ("limiter", limiter, RateLimiter)):
            if given is not None and not isinstance(given, kind):
                raise UsageError(f"expected a {kind.__name__}, got {given!r}", name)
        if limiter is not None and limiter.min_size > self.capacity:
            raise UsageError(
                f"{limiter.min_size} records never fit into a capacity of {self.capacity}", "limiter.min_size"
            )
        if not callable(reward):
            raise UsageError(f"expected a function of columns, got {reward!r}", "reward")
        self._reward = reward
        self._sampler_settings: Sampler = Greedy() if sampler is None else sampler
        self._remover_settings: Remover = LowestPriority() if remover is None else remover
        self._dedupe_settings = dedupe
        self._capacity_bytes = optional_integer(capacity_bytes, "capacity_bytes", RECORD_BYTES)
        self._max_age_s = optional_integer(max_age_s, "max_age_s", 0)
        self._max_times_sampled = optional_integer(max_times_sampled, "max_times_sampled", 1)
        # where a call's outcome depends on the records that are here, nothing is put off
        self._may_wait = dedupe is None and capacity_bytes is None and max_age_s is None
        self._rng = np.random.default_rng(None if seed is None else integer(seed, "seed", 0, None))
        self._lock = threading.RLock()
        self._balanced = threading.Condition(self._lock)
        self._balance = None if limiter is None else Balance(limiter)
        self._pending: list[tuple[BuildResult, float | None]] = []
        self._halfway = False
        self._sampled = self._updated = self._late = self._merged = self._forced = 0
        self._conflicts: list[tuple[int, int]] = []
        self._conflict_count = 0
        self._newest = 0
        self._removed_by = dict.fromkeys(self._causes[1:], 0)
        self._attach()
        _BUFFERS.add(self)

    def _after_fork(self) -> None:
        """In a forked child: if another thread had the lock, nobody knows how far that has come, or ever gives it back."""
        if self._lock.acquire(blocking=False):  # nobody had it, or we have it ourselves, and keep it
            self._lock.release()
        else:
            self._halfway = True
            self._lock = threading.RLock()
        self._balanced = threading.Condition(self._lock)  # those who waited are not here

    def _new_table(self) -> Table:
        return Table(self.capacity, self._words, merges=self._dedupe_settings is not None)

    def _attach(self) -> None:
        """A new table, and indexes for it."""
        table = self._table = self._new_table()
        self._sampler: SamplerIndex = self._sampler_settings.attach(table)
        self._fresh = [index for index in all_inside(self._sampler) if isinstance(index, FreshIndex)]
        self._remover: RemoverIndex = self._remover_settings.attach(table)
        self._by_time = None
        if self._max_age_s is not None:
            self._by_time = OrderTree(
                table, 1, 1, lambda slots: table.column_at("timestamp", slots).astype(np.float64)
            )
        self._dedupe = None if self._dedupe_settings is None else DedupeIndex(table, self._dedupe_settings)

    @property
    def sampler(self) -> SamplerIndex:
        """The sampler at work: `buffer.sampler.cursor` of Fresh, `.version` of Window, `.parts` of Mixture.

        Set them while no other thread draws. `load_state_dict` makes another.
        """
        return self._sampler

    # --- taking in ------------------------------------------------------------------------------------------

    def push(self, result: BuildResult) -> int:
        """Take in one build result; returns its id.

        Raises:
            UsageError: it is none; its reward is no finite number >= 0; or a word is unknown and the
                vocabulary raises. RateLimitError: too little was drawn meanwhile. Nothing is taken in.

        Cost: about 3 us amortised, O(log N); the work is done for many at once, before the next draw or query.
        A reward of your own is called at once, which costs what it costs and about 15 us more.
        """
        if not isinstance(result, BuildResult):
            raise UsageError(f"expected a BuildResult, got {type(result).__name__}", "result")
        with self._lock:
            if self.vocabulary.unknown == "raise":
                self.vocabulary.ids(result.generated_tasm)
            self._check_whole()
            if not self._may_wait:
                return int(self.extend([result])[0])
            priority = None
            if self._reward is not seed_reward:
                priority = float(self._rewards(Results.concat([result]), np.array([self._table.next_id]))[0])
            if self._balance is not None:
                self._wait_to_insert(1)
            table = self._table  # after the wait: another may have been loaded meanwhile
            self._pending.append((result, priority))
            identity = table.next_id
            table.next_id += 1
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
            UsageError: a priority is not; or a word is unknown and the vocabulary raises.
            RateLimitError: too little was drawn meanwhile. DamageError: text is damaged.
            Nothing is taken in then; of more than 16,384 records, those before the part with the damage are.

        The id of a repeat that was merged is gone at once. Cost: 0.15 to 0.8 us a record of 30 instructions, O(log N).
        """
        whole = results if isinstance(results, Results) else Results.concat([results])
        with self._lock:
            self._flush()
            if self._balance is not None:
                self._check_extend(whole, priorities)
                self._wait_to_insert(len(whole))
                self._flush()
            first = self._table.next_id
            ids = np.arange(first, first + len(whole))
            given = self._check_extend(whole, priorities)
            start = 0  # of the part that is being taken in
            try:
                for start in range(0, len(whole), CHUNK):
                    part = slice(start, start + CHUNK)
                    one = len(whole) <= CHUNK
                    self._take_in(whole if one else whole[part], ids[part], given[part])
            except (DamageError, UsageError):  # found before the part was taken in
                if self._balance is not None:
                    self._balance.inserted -= len(whole) - start
                    self._balanced.notify_all()
                raise
            return ids

    def _check_extend(self, whole: Results, priorities: npt.ArrayLike | None) -> NDArray[np.float64]:
        """The priorities of records to come, or an error."""
        if priorities is None and self._reward is seed_reward:
            given = seed_rewards(whole)
        else:
            first = self._table.next_id
            ids = np.arange(first, first + len(whole))
            given = self._rewards(whole, ids) if priorities is None else numbers(priorities, "priorities")
            check_priorities(given, ids, "priorities")
        if self.vocabulary.unknown == "raise":
            whole.tokens(self.vocabulary)
        return given

    def remove(self, ids: npt.ArrayLike) -> int:
        """Remove these records; returns how many were still here. O(log N) each."""
        with self._lock:
            self._flush()
            slots = np.unique(self._table.slots_of(self._ids(ids)))
            slots = slots[slots >= 0]
            self._remove(slots, "request")
            return len(slots)

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
            given = numbers(priorities, "priorities")
            check_count(given, wanted, "priorities")
            changed, wrong = self._table.set_priorities(wanted, given)
            if wrong >= 0:
                refuse_priority(given[wrong], wanted[wrong], "priorities")
            self._sampler.changed(changed)
            self._remover.changed(changed)
            self._updated += len(changed)
            self._late += len(wanted) - len(changed)
            return len(changed)

    # --- handing out ----------------------------------------------------------------------------------------

    def sample(self, n: int | None = None, *, rng: np.random.Generator | None = None) -> Batch:
        """Draw n records by the buffer's sampler.

        Args:
            n: how many, >= 0. Samplers without replacement or chance give all there are when that is fewer. None:
                as many as the sampler itself says (`Fresh`, or a `Mixture` with "all").
            rng: random numbers to use instead of the buffer's own.
        Raises:
            EmptyBufferError: there is nothing to draw (samplers without chance give an empty batch then).
            RateLimitError: too few records came meanwhile.

        With `max_times_sampled`, draws of a record beyond that are drawn again from the rest; the batch is shorter when
        nothing is left. Cost: O(n log N), and copies the n records.
        """
        if n is not None and (not isinstance(n, (int, np.integer)) or isinstance(n, bool) or n < 0):
            raise UsageError(f"expected an int >= 0, got {n!r}", "n")
        if rng is not None and not isinstance(rng, np.random.Generator):
            raise UsageError(f"expected a numpy Generator, got {type(rng).__name__}", "rng")
        with self._lock:
            self._flush()
            if self._balance is not None:
                self._wait_to_sample(n)
            random = self._rng if rng is None else rng
            cursors = self._cursors()
            try:
                if n == 0:
                    none = np.empty(0, np.int64)
                    batch = self._batch(Draw(none, np.empty(0), np.empty(0, np.float32)))
                elif self._max_times_sampled is None:
                    part = self._part(n, random)
                    assert part is not None
                    batch = part[1]
                else:
                    batch = self._sample_limited(n, random)
            except BaseException:
                self._rewind(cursors)
                raise
            self._table.draws += int(n != 0)
            self._sampled += len(batch)
            if self._balance is not None:
                self._balance.sampled += len(batch)
                self._balanced.notify_all()
            return batch

    def _cursors(self) -> list[int]:
        return [index.cursor for index in self._fresh]

    def _rewind(self, cursors: list[int]) -> None:
        """What nobody was given is still new."""
        for index, cursor in zip(self._fresh, cursors, strict=True):
            index.cursor = cursor

    def _part(
        self, n: int | None, rng: np.random.Generator, *, further: bool = False
    ) -> tuple[Draw, Batch] | None:
        """One draw of the sampler, and the batch of those that may still be drawn.

        None where it is a further part of a batch and the sampler has nothing to give.
        """
        try:
            draw = self._sampler.draw(n, rng)
        except (EmptyBufferError, UsageError):
            if further:
                return None  # nothing that is left can be drawn; the next call says why
            raise
        most = self._max_times_sampled
        if most is None:
            return draw, self._batch(draw)
        order = np.argsort(draw.slots, kind="stable")
        drawn = draw.slots[order]
        turn = np.empty(len(drawn), np.int64)  # the how-manieth of its record each draw is
        turn[order] = np.arange(len(drawn)) - np.searchsorted(drawn, drawn)
        kept = self._table.times_sampled[draw.slots] + turn < most
        return draw, self._batch(
            Draw(draw.slots[kept], draw.probability[kept], draw.weight[kept], draw.expected)
        )

    def _batch(self, draw: Draw) -> Batch:
        """Gather what was drawn, and count it."""
        table = self._table
        slots = draw.slots
        gathered = table.gather(slots, sampled=True)
        merged: tuple[NDArray[Any], ...] = ()
        if self._dedupe is not None:
            merged = table.times_seen[slots], table.lowest[slots], table.highest[slots]
        self._remover.sampled(slots)
        return self._make_batch(gathered, draw.probability, draw.weight, merged)

    def _make_batch(
        self,
        gathered: Gathered,
        probability: NDArray[np.float64],
        weight: NDArray[np.float32],
        merged: tuple[NDArray[Any], ...] = (),
        extras: dict[str, NDArray[Any]] | None = None,
    ) -> Batch:
        tokens = self._in_vocabulary(gathered.tokens)
        return Batch(
            gathered, self._words, tokens=tokens, probability=probability, weight=weight, reward=self._reward,
            merged=merged, extras=extras,
        )  # fmt: skip

    def _sample_limited(self, n: int | None, rng: np.random.Generator) -> Batch:
        """Draw until n are together, no record more often than it may; those that are worn out leave."""
        assert self._max_times_sampled is not None
        table, most = self._table, self._max_times_sampled
        parts: list[Batch] = []
        scales: list[float] = []
        missing = n
        while True:
            part = self._part(missing, rng, further=bool(parts))
            if part is None:
                break
            draw, batch = part
            parts.append(batch)
            scales.append(draw.scale)
            left = np.unique(draw.slots)
            self._remove(left[table.times_sampled[left] >= most], "max_times_sampled")
            if missing is None or len(draw.slots) < missing:
                break
            missing -= len(batch)
            if not missing:
                break
        if len(parts) == 1:
            return parts[0]
        gathered = Gathered.concat([part._gathered for part in parts])
        _, which = np.unique(gathered.ids, return_inverse=True)
        times = np.zeros(len(which), np.int32)
        np.maximum.at(times, which, gathered.times_sampled)  # with the draws of the later parts
        gathered = gathered._replace(times_sampled=times[which])
        merged = tuple(np.concatenate(columns) for columns in zip(*[p._merged for p in parts], strict=True))
        extras = {name: np.concatenate([part.extras[name] for part in parts]) for name in parts[0].extras}
        probability = np.concatenate([part.probability for part in parts])
        # each draw's weights were divided by their own largest; now all by the largest of those
        weights = [part.weight * (scale / max(scales)) for part, scale in zip(parts, scales, strict=True)]
        return self._make_batch(
            gathered, probability, np.concatenate(weights).astype(np.float32), merged, extras
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
            rows, stored, offsets, *_ = self._table.gather(self._ordered(order))
            return Results(rows, TokenText.ragged(stored, offsets, self._words))

    def __iter__(self) -> Iterator[BuildResult]:
        """All records as they are now, oldest first."""
        return iter(self.results())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self):,} of {self.capacity:,} build results)"

    def conflicts(self) -> NDArray[np.int64]:
        """int64[n, 2]: ids of records that are equal but not in their verdict, the earlier first; the last 1,000."""
        with self._lock:
            self._flush()
            return np.array(self._conflicts, np.int64).reshape(-1, 2)

    def stats(self) -> Stats:
        """Counts since the buffer was made."""
        with self._lock:
            self._flush()
            table = self._table
            gone = int(table.counters[GONE])
            by_capacity = gone - sum(self._removed_by.values())
            return Stats(
                pushed=table.next_id,
                inserted=table.next_id - self._merged,
                merged=self._merged,
                conflicts=self._conflict_count,
                removed=gone,
                removed_by={"capacity": by_capacity, **self._removed_by},
                forced=self._forced + getattr(self._remover, "forced", 0),
                sampled=self._sampled,
                batches=table.draws,
                updated=self._updated,
                late_updates=self._late,
                age_at_removal=int(table.counters[GONE_AGE]) / gone if gone else None,
                times_sampled_at_removal=int(table.counters[GONE_TIMES]) / gone if gone else None,
                never_sampled=int(table.counters[GONE_NEVER]),
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
            self._write(target, slots)

    def _write(self, target: Path, slots: Slots) -> None:
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
        **limits: Any,
    ) -> ReplayBuffer:
        """A buffer of the records in an archive, pushed in the file's order; a missing file gives an empty one.

        Args:
            path: None is Trident's, `model/general/v2/replay.rkyv`.
            sampler, remover, reward, seed, vocabulary, and the limits: as for ReplayBuffer. Priorities are
                computed anew. To a limiter, what is loaded counts towards its min_size alone.
        Raises:
            DamageError: rkyv would refuse the file. OSError: as the system says.
        """
        buffer = cls(
            capacity,
            sampler=sampler,
            remover=remover,
            reward=reward,
            seed=seed,
            vocabulary=vocabulary,
            **limits,
        )
        try:
            results = archive.read(DEFAULT_PATH if path is None else path)
        except FileNotFoundError:
            return buffer
        balance, buffer._balance = buffer._balance, None
        buffer.extend(results)
        if balance is not None:
            balance.inserted = min(len(results), balance.settings.min_size)
        buffer._balance = balance
        return buffer

    def state_dict(self) -> State:
        """Everything as named arrays, for numpy.savez or torch.save; who loads it goes on with the same draws.

        Records, priorities, times sampled, ids, counts, the random state, the sampler's own state (cursor, window,
        ...) and the limiter's. Cost: O(N log N), a copy of all records.
        """
        with self._lock:
            self._flush()
            table = self._table
            gathered = table.gather(np.arange(table.count))
            data, ends = self._words.spans()
            counts = [
                self._sampled, self._updated, self._late, self._merged, self._forced_total(),
                self._conflict_count, self._newest, table.next_id, table.draws,
                *self._removed_by.values(), *table.counters.tolist(),
            ]  # fmt: skip
            out: State = {
                "settings": states.text(self._describe()),
                "random": states.text(self._rng.bit_generator.state),
                "counts": np.array(counts, np.uint64),
                "rows": gathered.rows.view(np.uint8).reshape(-1, RECORD.itemsize),
                "tokens": gathered.tokens,
                "offsets": gathered.offsets,
                "ids": gathered.ids,
                "priority": gathered.priority,
                "times_sampled": gathered.times_sampled,
                "words": data[: int(ends[-1])].copy(),
                "word_ends": ends.copy(),
                "conflicts": np.array(self._conflicts, np.int64).reshape(-1, 2),
            }
            if self._dedupe is not None:
                for name in ("times_seen", "lowest", "highest"):
                    out[name] = getattr(table, name)[: table.count].copy()
            if self._balance is not None:
                out["limiter"] = np.array([self._balance.inserted, self._balance.sampled])
            for prefix, index in (("sampler", self._sampler), ("remover", self._remover)):
                out |= {f"{prefix}.{name}": array for name, array in state_of(index).items()}
            return out

    def load_state_dict(self, state: State) -> None:
        """Become the buffer that `state_dict` was called on; what is here is forgotten.

        Raises:
            UsageError: it had another capacity, sampler, remover or other limits, or those had other settings.
            DamageError: the state is none.
                The buffer is as it was.

        Cost: O(N log N).
        """
        with self._lock:
            reader = states.Reader(state)
            self._check_settings(reader)
            restored = states.records(reader, self.capacity, merges=self._dedupe is not None)
            generator = states.generator(reader, self._rng)
            kept = self._table, self._sampler, self._fresh, self._remover, self._by_time, self._dedupe
            try:
                self._attach()
                self._restore(restored, state)
            except BaseException:
                self._table, self._sampler, self._fresh, self._remover, self._by_time, self._dedupe = kept
                raise
            self._pending, self._halfway = [], False
            self._rng = generator
            (
                self._sampled, self._updated, self._late, self._merged, self._forced, self._conflict_count,
                self._newest,
            ) = restored.counts[:7]  # fmt: skip
            self._removed_by = dict(zip(CAUSES[1:], restored.counts[9:13], strict=True))
            self._conflicts = [(int(a), int(b)) for a, b in restored.conflicts]
            if self._balance is not None:
                self._balance.inserted, self._balance.sampled = restored.limiter
            self._balanced.notify_all()

    def _check_settings(self, reader: states.Reader) -> None:
        theirs, ours = states.described(reader), self._describe()
        if theirs != ours:
            other = [k for k in {**ours, **theirs} if theirs.get(k) != ours.get(k)]
            raise UsageError(
                f"the state is of a buffer with {', '.join(f'{k}={theirs.get(k)}' for k in other)}; this has "
                f"{', '.join(f'{k}={ours.get(k)}' for k in other)}",
                "state",
            )

    def _restore(self, restored: states.Records, state: State) -> None:
        table = self._table
        counters = np.array(restored.counts[13:], np.int64)
        table.restore(restored.gathered, restored.counts[7], counters, restored.merged)
        table.draws = restored.counts[8]
        everything = np.arange(table.count)
        self._restore_indexes(state)
        # last: a state that is refused adds no word
        if self.vocabulary.unknown == "raise":
            self.vocabulary.ids(restored.words)
        table.rename(np.array(self._words.ids(restored.words), np.int32), self._words)
        self._moved_beside(everything)

    def _restore_indexes(self, state: State) -> None:
        """The sampler and the remover go on from a state; the table has been restored already."""
        self._sampler.changed(np.arange(self._table.count))
        for name, index in (("sampler", self._sampler), ("remover", self._remover)):
            try:
                restore(index, under(state, f"{name}."))
            except DamageError as error:
                raise DamageError(error.cause, field=f"{name}.{error.field}") from None

    def _describe(self) -> dict[str, Any]:
        """What must be the same for a state to fit."""
        return {
            "capacity": self.capacity,
            "sampler": states.settings_of(self._sampler_settings),
            "remover": states.settings_of(self._remover_settings),
            "capacity_bytes": self._capacity_bytes,
            "max_age_s": self._max_age_s,
            "max_times_sampled": self._max_times_sampled,
            "dedupe": states.settings_of(self._dedupe_settings),
            "limiter": None if self._balance is None else states.settings_of(self._balance.settings),
        }

    def save_state(self, path: str | os.PathLike[str]) -> None:
        """Write `state_dict()` to an npz file, whole or not at all; a kill leaves the old one or the new one.

        Raises:
            OSError: as the system says; the old file is untouched.
        """
        states.write(path, self.state_dict())

    def load_state(self, path: str | os.PathLike[str]) -> None:
        """Go on from what `save_state` wrote; see `load_state_dict`.

        Raises:
            DamageError: it is no such file, or damaged. OSError: as the system says. UsageError: see there.
        """
        try:
            self.load_state_dict(states.read(path))
        except DamageError as error:
            raise DamageError(error.cause, field=error.field, source=os.fspath(path)) from None

    def check(self) -> None:
        """State every invariant of the table and the indexes; for tests."""
        with self._lock:
            self._flush()
            self._table.check()
            for index in (*all_inside(self._sampler), self._remover, self._by_time, self._dedupe):
                for checked in (
                    index,
                    *(getattr(index, name, None) for name in ("tree", "forest", "ranking")),
                ):
                    if hasattr(checked, "check"):
                        checked.check()

    # --- inside ---------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Take in the single pushes that wait.

        Raises:
            OstinatoError: an earlier call was interrupted halfway.
        """
        self._check_whole()
        if not self._pending:
            return
        results = Results.concat([[result for result, _ in self._pending]])
        next_id = self._table.next_id
        ids = np.arange(next_id - len(self._pending), next_id)
        if self._reward is seed_reward:
            priorities = seed_rewards(results)
        else:  # it has been asked for each already
            priorities = np.array([priority for _, priority in self._pending], np.float64)
        self._take_in(results, ids, priorities)

    def _check_whole(self) -> None:
        if self._halfway:
            raise OstinatoError(
                "a call was interrupted while it took records in (or this process was forked in the middle of one): "
                f"{self._remedy}"
            )

    def _take_in(self, results: Results, ids: NDArray[np.int64], priorities: NDArray[np.float64]) -> None:
        if not len(ids):
            return
        table = self._table
        # first: damaged text is found before anything changes
        tokens, offsets = table.translate(results.generated_tasm)
        # an interrupt, or no memory, between these would pair ids with the wrong records
        self._halfway = True
        if self._max_age_s is not None:
            self._newest = max(self._newest, int(results.timestamp.max()))
        if self._dedupe is None:
            self._place(results, tokens, offsets, ids, priorities)
        else:
            self._merge_and_place(self._dedupe, results, tokens, offsets, ids, priorities)
        table.next_id = max(table.next_id, int(ids[-1]) + 1)
        self._pending = []  # those that waited are what came, if any did
        self._halfway = False
        self._keep_limits()

    def _place(
        self,
        results: Results,
        tokens: NDArray[np.int32],
        offsets: NDArray[np.int64],
        ids: NDArray[np.int64],
        priorities: NDArray[np.float64],
    ) -> None:
        table = self._table
        table.make_room(len(ids))
        slots, removed = self._remover.place(results, priorities, ids)
        changed = table.take_in(results, tokens, offsets, ids, slots, removed)
        self._sampler.changed(changed)
        self._moved_beside(changed, remover=False)

    def _merge_and_place(
        self,
        dedupe: DedupeIndex,
        results: Results,
        tokens: NDArray[np.int32],
        offsets: NDArray[np.int64],
        ids: NDArray[np.int64],
        priorities: NDArray[np.float64],
    ) -> None:
        table = self._table
        rows = packed_rows(results)
        into, against = dedupe.match(results, tokens, offsets)
        fresh = np.flatnonzero(into == -1)
        for k in fresh[against[fresh] != -1].tolist():
            other = table.ids[against[k]] if against[k] >= 0 else ids[-2 - against[k]]
            self._conflicts.append((int(other), int(ids[k])))
            self._conflict_count += 1
        del self._conflicts[:-_CONFLICTS]
        known = np.flatnonzero(into >= 0)
        self._merge(into[known], rows[known])
        twins = np.flatnonzero(into < -1)
        self._merged += len(known) + len(twins)
        if len(fresh):
            first = results if len(fresh) == len(ids) else results[fresh]
            if first is not results:
                tokens, offsets = table.translate(first.generated_tasm)
            self._place(first, tokens, offsets, ids[fresh], priorities[fresh])
        if len(twins):
            slots = table.find(ids[-2 - into[twins]])
            here = slots >= 0
            self._merge(slots[here], rows[twins[here]])

    def _merge(self, slots: Slots, rows: NDArray[np.void]) -> None:
        measured = self._table.merge(slots, rows)
        if self._by_time is not None:
            self._by_time.changed(slots)
        if len(measured):  # now they have a cost, and perhaps another outcome
            self._sampler.changed(measured)
            self._remover.moved(measured)

    def _moved_beside(self, slots: Slots, *, remover: bool = True) -> None:
        """Tell all but the sampler that slots have other records; the remover itself placed those that came."""
        if remover:
            self._remover.moved(slots)
        if self._by_time is not None:
            self._by_time.changed(slots)
        if self._dedupe is not None:
            self._dedupe.moved(slots)

    def _remove(self, slots: Slots, cause: str) -> None:
        if not len(slots):
            return
        self._halfway = True
        if cause == "capacity_bytes" and hasattr(self._remover, "protected"):
            self._forced += int(self._remover.protected(slots).sum())
        changed = self._table.take_out(slots)
        self._sampler.changed(changed)
        self._moved_beside(changed)
        self._removed_by[cause] += len(slots)
        self._halfway = False

    def _keep_limits(self) -> None:
        """Remove what is too old or too much."""
        table = self._table
        if self._by_time is not None and self._max_age_s is not None:
            n = 64
            oldest = max(0, self._newest - self._max_age_s)  # that may stay
            while True:
                slots = self._by_time.first(n)
                stamps = table.column_at("timestamp", slots)
                # the order is that of float64, in which large timestamps may be equal that are not
                if len(slots) < n or float(stamps[-1]) > float(oldest):
                    break
                n *= 4
            self._remove(slots[stamps < np.uint64(oldest)], "max_age")
        if self._capacity_bytes is not None:
            while (over := table.record_bytes - self._capacity_bytes) > 0:
                slots = self._remover.first(1 + over // RECORD_BYTES)
                freed = np.cumsum(RECORD_BYTES + 4 * table.token_counts(slots))
                self._remove(slots[: int(np.searchsorted(freed, over)) + 1], "capacity_bytes")

    def _forced_total(self) -> int:
        return self._forced + int(getattr(self._remover, "forced", 0))

    # --- waiting for the limiter ----------------------------------------------------------------------------

    def _wait_to_insert(self, m: int) -> None:
        assert self._balance is not None
        balance = self._balance
        self._wait(lambda: balance.insert_lacks(m))
        balance.inserted += m
        self._balanced.notify_all()

    def _wait_to_sample(self, n: int | None) -> None:
        assert self._balance is not None
        balance = self._balance
        self._wait(lambda: balance.sample_lacks(1 if n is None else n, len(self)))
        self._flush()

    def _wait(self, lacks: Callable[[], str]) -> None:
        assert self._balance is not None
        timeout_s = self._balance.settings.timeout_s
        if not lacks() or self._balanced.wait_for(lambda: not lacks(), min(timeout_s, threading.TIMEOUT_MAX)):
            return
        raise RateLimitError(f"waited {timeout_s:g} s for {lacks()}")

    def _rewards(self, results: Results, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        if self._reward is seed_reward:
            return seed_rewards(results)
        rewards = numbers(self._reward(results), "reward")
        check_priorities(rewards, ids, "reward")
        return rewards

    def _find(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        self._flush()
        return self._table.slots_of(ids)

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
        words = self._words
        if words is self.vocabulary:
            return stored
        known = len(self._to_tokens)
        if known < len(words):
            new = self.vocabulary.ids([words.word(i) for i in range(known, len(words))])
            self._to_tokens = np.concatenate([self._to_tokens, np.array(new, np.int32)])
        return self._to_tokens[stored]


_BUFFERS: weakref.WeakSet[ReplayBuffer] = weakref.WeakSet()


def _forked() -> None:
    for buffer in list(_BUFFERS):
        buffer._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
