"""A buffer over records that stay where they lie: the draws of an ordinary one, and what only a store can do to it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mapped_helpers import Ints, Shelf, made, mapped, named, seen
from ostinato import (
    DamageError,
    EmptyBufferError,
    ReplayBuffer,
    Results,
    UsageError,
    Vocabulary,
    archive,
    reward,
)
from ostinato.archive import places_kernels
from ostinato.replay import (
    ByOutcome,
    Dedupe,
    Fifo,
    Fresh,
    Greedy,
    KeepBest,
    LeastUseful,
    Lifo,
    LowestPriority,
    MappedBuffer,
    Mixture,
    Oldest,
    PerProgram,
    Proportional,
    RankBased,
    RateLimiter,
    Reservoir,
    Uniform,
    Window,
    mapped_kernels,
    runs_kernels,
)
from record_helpers import complaint

SAMPLERS = [
    Uniform(),
    Uniform(replace=False),
    Proportional(),
    Proportional(replace=False, normalize="largest"),
    Greedy(),
    Fifo(),
    Lifo(),
    RankBased(),
    PerProgram(Proportional(), power=0.5),
    ByOutcome(improved=0.5, invalid=0.5),
    Window(Proportional(), within=3, decay=0.9),
    Window(PerProgram(), within=3),
    Mixture({Proportional(): 0.5, Fifo(): 0.5}),
    Mixture({Fresh(): "all", PerProgram(): 0.5}),
]
REMOVERS = [
    Oldest(),
    LowestPriority(),
    LowestPriority("newest"),
    LeastUseful(),
    Reservoir(3),
    KeepBest(Oldest()),
    KeepBest(LowestPriority()),
]
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
every_remover = pytest.mark.parametrize("remover", REMOVERS, ids=repr)
LIMITS: list[dict[str, Any]] = [{}, {"max_times_sampled": 3}, {"max_age_s": 60}]
every_limit = pytest.mark.parametrize("limits", LIMITS, ids=["none", "times", "age"])


class Pair:
    """A mapped buffer and an ordinary one, given the same records; the ordinary one's id i is the other's names[i]."""

    def __init__(self, capacity: int, **settings: Any) -> None:
        self.shelf = Shelf()
        self.mapped = MappedBuffer(capacity, self.shelf.buffers, seed=5, **settings)
        self.plain = ReplayBuffer(capacity, seed=5, **settings)
        self.names = np.empty(0, np.int64)
        self.records: list[Any] = []

    def come(self, n: int, *, apart: bool = False) -> None:
        """More records, in an archive or each in its own, of one of three journals."""
        at = len(self.records)
        new = [made(at + k) for k in range(n)]
        names = named(at, n, journal=3 - at % 3)
        self.mapped.take_in(names, (self.shelf.lay_one_by_one if apart else self.shelf.lay)(new))
        self.plain.extend(new)
        self.records += new
        self.names = np.concatenate([self.names, names])

    def draw(self, n: int) -> tuple[dict[str, Any], dict[str, Any]]:
        ours, theirs = self.mapped.sample(n), self.plain.sample(n)
        self.update(theirs.ids, 1 + (7 * theirs.ids % 11) / 5)
        return seen(ours), seen(theirs, self.names)

    def update(self, ids: Ints, priorities: Any) -> None:
        assert self.mapped.update_priorities(self.names[ids], priorities) == self.plain.update_priorities(
            ids, priorities
        )

    def same(self) -> bool:
        self.mapped.check()
        everything = np.arange(len(self.names))
        assert self.mapped.ids().tolist() == self.names[self.plain.ids()].tolist()
        assert self.mapped.results() == self.plain.results()
        assert self.mapped.results("priority") == self.plain.results("priority")
        np.testing.assert_array_equal(self.mapped.priorities(self.names), self.plain.priorities(everything))
        assert self.mapped.valid_count() == self.plain.valid_count()
        ours, theirs = self.mapped.stats(), self.plain.stats()
        assert {**ours.removed_by} == {**theirs.removed_by, "store": 0, "damage": 0}
        for name in ("pushed", "removed", "sampled", "batches", "updated", "late_updates", "forced"):
            assert getattr(ours, name) == getattr(theirs, name), name
        for name in ("age_at_removal", "times_sampled_at_removal", "never_sampled"):
            assert getattr(ours, name) == getattr(theirs, name), name
        return True


# --- the draws of an ordinary buffer


def drive(pair: Pair) -> None:
    for n, apart in ((20, False), (15, True), (5, False), (40, False), (9, True)):
        pair.come(n, apart=apart)
        for size in (8, 3):
            ours, theirs = pair.draw(size)
            assert ours == theirs
    held = pair.plain.ids()
    assert pair.mapped.remove(pair.names[held[[2, 0, 5]]]) == pair.plain.remove(held[[2, 0, 5]])
    pair.come(12)
    ours, theirs = pair.draw(16)
    assert ours == theirs
    assert pair.same()


@every_remover
@every_sampler
def test_it_draws_what_an_ordinary_buffer_draws(sampler: Any, remover: Any) -> None:
    drive(Pair(30, sampler=sampler, remover=remover))


@every_limit
@every_remover
def test_it_draws_the_same_within_limits(remover: Any, limits: dict[str, Any]) -> None:
    drive(Pair(50, sampler=Proportional(), remover=remover, **limits))


def test_it_draws_the_same_by_a_reward_that_reads_instructions() -> None:
    def by_length(results: Any) -> Any:
        return np.array([len(lines) for lines in results.generated_tasm], np.float64)

    drive(Pair(30, sampler=Proportional(), remover=LowestPriority(), reward=by_length))


def test_many_parts_are_taken_in_as_one() -> None:
    pair = Pair(40_000, sampler=Proportional(), remover=Oldest())
    pair.come(36_000)
    ours, theirs = pair.draw(64)
    assert ours == theirs
    pair.come(20_000)
    ours, theirs = pair.draw(64)
    assert ours == theirs
    assert pair.same()


def test_of_more_than_fit_the_last_are_here_and_all_are_counted() -> None:
    pair = Pair(16, sampler=Fifo(), remover=Oldest())
    pair.come(10)
    pair.draw(4)
    for n in (55, 16, 17, 40, 3):
        pair.come(n)
        ours, theirs = pair.draw(5)
        assert ours == theirs
        assert pair.same()
    assert pair.mapped._table.in_turn


def test_of_more_than_fit_those_that_can_be_read_are_here() -> None:
    shelf = Shelf()
    buffer = MappedBuffer(20, shelf.buffers, sampler=Proportional(), remover=Oldest(), seed=1)
    records = [made(k) for k in range(50)]
    places = shelf.lay(records)
    for k in (3, 35, 44):
        shelf.damage_fields(places[k])
    assert (buffer.take_in(named(0, 50), places), buffer.damaged) == (48, 2)
    buffer.check()
    kept = [k for k in range(30, 50) if k not in (35, 44)]
    assert list(buffer) == [records[k] for k in kept]
    assert buffer._table.in_turn
    buffer.sample(9)
    buffer.take_in(named(50, 30), shelf.lay([made(k) for k in range(50, 80)]))
    buffer.sample(9)
    buffer.check()
    assert buffer.ids().tolist() == named(60, 20).tolist()


def test_of_more_than_fit_those_before_a_refused_reward_are_here() -> None:
    def refusing(results: Any) -> Any:
        return np.where(results.timestamp == 39_000, np.nan, 1.0)

    shelf = Shelf()
    buffer = MappedBuffer(30_000, shelf.buffers, remover=Oldest(), reward=refusing)
    places = shelf.lay([made(k, generated_tasm=[]) for k in range(40_000)])
    with pytest.raises(UsageError):
        buffer.take_in(named(0, 40_000), places)
    buffer.check()
    assert buffer.ids().tolist() == named(10_000, 16_384).tolist()
    buffer.take_in(named(0, 30, 2), places[:30])
    buffer.check()
    assert len(buffer) == 16_414


@pytest.mark.parametrize("remover", [LowestPriority(), KeepBest(Oldest()), Reservoir(1)], ids=repr)
def test_with_other_removers_more_than_fit_are_all_looked_at(remover: Any) -> None:
    pair = Pair(16, sampler=Proportional(), remover=remover)
    pair.come(100)
    ours, theirs = pair.draw(5)
    assert ours == theirs
    assert pair.same()


def test_its_tokens_are_the_words_in_its_vocabulary() -> None:
    vocabulary = Vocabulary(["add"])
    buffer, _ = mapped([made(k) for k in range(6)], vocabulary=vocabulary, sampler=Fifo())
    batch = buffer.sample(6)
    words = [vocabulary.word(t) for t in batch.tokens.tolist()]
    assert words == [w for k in range(6) for w in made(k).generated_tasm]


def test_a_vocabulary_that_maps_unknown_words_keeps_the_text() -> None:
    vocabulary = Vocabulary(["?", "add"], unknown=0)
    buffer, _ = mapped([made(k) for k in range(3)], vocabulary=vocabulary, sampler=Fifo())
    batch = buffer.sample(3)
    assert batch.tokens.tolist() == [0, 0, 1, 0, 1, 0]
    assert list(batch) == [made(k) for k in range(3)]


# --- ids are the store's


def test_everything_speaks_the_ids_of_the_store() -> None:
    buffer, _ = mapped([made(k) for k in range(5)])
    names = named(0, 5)
    assert buffer.ids().tolist() == names.tolist()
    assert (int(names[3]) in buffer, 3 in buffer) == (True, False)
    assert buffer.get(int(names[3])) == made(3)
    assert buffer.update_priorities(names[3:4], [9.0]) == 1
    assert buffer.priorities([names[3], 3])[0] == 9
    assert np.isnan(buffer.priorities([3])[0])
    assert buffer.remove([names[3], 3]) == 1
    assert buffer.conflicts().tolist() == []
    assert list(buffer) == [made(k) for k in (0, 1, 2, 4)]


def test_updates_are_found_whether_they_were_drawn_lately_or_not() -> None:
    buffer, shelf = mapped([made(k) for k in range(3000)], 7000, sampler=Proportional())
    buffer.take_in(named(0, 3000, 2)[::-1], shelf.lay([made(k) for k in range(3000)]))
    drawn = buffer.sample(2000).ids
    everything = np.concatenate([drawn, named(0, 3000), named(0, 3000, 2), [5]])
    priorities = np.arange(len(everything), dtype=np.float64)
    assert buffer.update_priorities(everything, priorities) == len(everything) - 1
    assert buffer.priorities(everything[2000:-1]).tolist() == priorities[2000:-1].tolist()
    assert buffer.stats().late_updates == 1


@pytest.mark.parametrize("wrong", [np.nan, -1.0, np.inf])
def test_a_priority_that_is_none_is_refused_and_names_the_record(wrong: float) -> None:
    buffer, _ = mapped([made(k) for k in range(3)])
    message = complaint(UsageError, buffer.update_priorities, named(0, 2), [1.0, wrong])
    assert f"for record {named(1, 1)[0]}" in message
    assert buffer.priorities(named(0, 1)).tolist() == [reward(made(0))]


@pytest.mark.parametrize("given", [([1.5], [1]), ([1, 2], [1]), ([[1]], [[1]])])
def test_ids_and_places_that_do_not_fit_are_refused(given: Any) -> None:
    buffer, _ = mapped([])
    with pytest.raises(UsageError):
        buffer.take_in(*given)


def test_what_is_the_stores_to_do_is_refused() -> None:
    buffer, _ = mapped([])
    for call in (lambda: buffer.push(made(1)), lambda: buffer.extend([made(1)])):
        assert "append to the store with a writer" in complaint(UsageError, call)
    with pytest.raises(UsageError):
        MappedBuffer.load(10)


@pytest.mark.parametrize(
    "setting", [{"capacity_bytes": 1000}, {"dedupe": Dedupe()}, {"limiter": RateLimiter(1.0)}], ids=str
)
def test_settings_that_are_not_for_it_are_refused_by_name(setting: dict[str, Any]) -> None:
    message = complaint(UsageError, MappedBuffer, 10, Shelf().buffers, **setting)
    assert message.endswith(f"- at `{next(iter(setting))}`")


def test_a_batch_of_none_has_no_records() -> None:
    buffer, _ = mapped([made(k) for k in range(3)])
    batch = buffer.sample(0)
    assert (len(batch), batch.ids.dtype, batch.tokens.tolist()) == (0, np.int64, [])


def test_an_empty_buffer_says_so() -> None:
    buffer, _ = mapped([], sampler=Uniform())
    assert (len(buffer), repr(buffer)) == (0, "MappedBuffer(0 of 100 build results)")
    with pytest.raises(EmptyBufferError):
        buffer.sample(1)


@pytest.mark.parametrize("capacity", [50, 10])
def test_arrays_of_a_mapped_file_compile_no_kernel_again(capacity: int) -> None:
    def signatures() -> list[int]:
        return [
            len(kernel.signatures)  # type: ignore[attr-defined]
            for module in (runs_kernels, mapped_kernels, places_kernels)
            for kernel in vars(module).values()
            if hasattr(kernel, "signatures")
        ]

    shelf = Shelf()
    places = shelf.lay([made(k) for k in range(20)])
    known: list[list[int]] = []
    for journal, writeable in ((1, True), (2, False)):
        names = named(0, 20, journal)
        names.flags.writeable = places.flags.writeable = writeable
        buffer = MappedBuffer(capacity, shelf.buffers, remover=Oldest())
        buffer.take_in(names, places)
        buffer.amend(names[-2:], places[-2:])
        buffer.relocate([0], names, places)
        buffer.update_priorities(names[-2:], [1.0, 2.0])
        buffer.sample(2)
        known.append(signatures())
    assert known[0] == known[1]


# --- extra columns


def test_a_batch_carries_the_extra_columns_of_its_records() -> None:
    asked: list[Any] = []

    def extras_of(ids: Ints, places: Ints) -> dict[str, Any]:
        asked.append((ids.tolist(), places.tolist()))
        return {"half": (ids / 2).astype(np.float32)}

    shelf = Shelf()
    buffer = MappedBuffer(9, shelf.buffers, seed=1, sampler=Uniform(), extras_of=extras_of)
    places = shelf.lay([made(k) for k in range(9)])
    buffer.take_in(named(0, 9), places)
    batch = buffer.sample(4)
    assert batch.extras["half"].tolist() == (batch.ids / 2).astype(np.float32).tolist()
    assert asked == [(batch.ids.tolist(), places[batch.ids - named(0, 1)[0]].tolist())]
    assert not batch.extras["half"].flags.writeable


def test_extra_columns_of_a_batch_in_parts_are_whole() -> None:
    shelf = Shelf()
    buffer = MappedBuffer(
        3,
        shelf.buffers,
        seed=1,
        sampler=Uniform(),
        max_times_sampled=2,
        extras_of=lambda ids, _: {"same": ids.copy()},
    )
    buffer.take_in(named(0, 3), shelf.lay([made(k) for k in range(3)]))
    batch = buffer.sample(6)
    assert len(batch) == 6
    assert (batch.extras["same"] == batch.ids).all()


def test_a_batch_of_an_ordinary_buffer_has_no_extra_columns() -> None:
    buffer = ReplayBuffer(3)
    buffer.extend([made(1)])
    assert buffer.sample(1).extras == {}


# --- sealing


@every_remover
@every_sampler
def test_draws_do_not_depend_on_where_records_lie(sampler: Any, remover: Any) -> None:
    pair = Pair(30, sampler=sampler, remover=remover)
    pair.come(12)
    pair.come(7, apart=True)
    pair.come(20)
    pair.draw(5)
    old = [number for number in pair.shelf.bytes if number != 0]
    kept = np.argsort(pair.names)  # as a segment has them
    places = pair.shelf.lay([pair.records[k] for k in kept])
    assert pair.mapped.relocate(old, pair.names[kept], places) == 0
    pair.shelf.buffers.drop(old)
    for _ in range(3):
        ours, theirs = pair.draw(9)
        assert ours == theirs
    assert pair.same()


def test_single_records_that_were_sealed_lie_in_one_run() -> None:
    pair = Pair(100)
    pair.come(30, apart=True)
    before = pair.mapped._table.runs.used
    pair.mapped.relocate(range(30), pair.names, pair.shelf.lay(pair.records))
    assert (before, pair.mapped._table.runs.used) == (30, 1)


@every_remover
@every_sampler
def test_records_that_left_the_store_leave_the_buffer(sampler: Any, remover: Any) -> None:
    pair = Pair(30, sampler=sampler, remover=remover)
    pair.come(20)
    pair.come(20)
    pair.draw(5)
    kept = np.array([k for k in range(20, 40) if k % 3])
    gone = np.array([k for k in range(20, 40) if not k % 3])
    here = int((~np.isnan(pair.plain.priorities(gone))).sum())
    moved = pair.mapped.relocate([1], pair.names[kept], pair.shelf.lay([pair.records[k] for k in kept]))
    pair.shelf.buffers.drop([1])
    pair.plain.remove(gone)
    assert (moved, pair.mapped.stats().removed_by["store"]) == (here, here)
    ours, theirs = pair.draw(9)
    assert ours == theirs
    pair.mapped.check()
    assert pair.mapped.results() == pair.plain.results()


def test_what_lies_in_other_buffers_stays_there() -> None:
    pair = Pair(100)
    pair.come(5)
    pair.come(5)
    everything = pair.shelf.lay(pair.records)
    pair.mapped.relocate([0], pair.names, everything)
    places = pair.mapped._table.places(np.arange(10))
    assert (places[:5].tolist(), set((places[5:] >> 32).tolist())) == (everything[:5].tolist(), {1})


def test_buffers_in_which_nothing_lies_can_be_left() -> None:
    pair = Pair(100)
    pair.come(5)
    assert pair.mapped.relocate([7, 8], [], []) == 0
    assert pair.same()


# --- corrections


@every_remover
@every_sampler
def test_a_corrected_record_is_drawn_by_what_it_is_now(sampler: Any, remover: Any) -> None:
    pair = Pair(30, sampler=sampler, remover=remover)
    pair.come(30)
    pair.draw(5)
    changed = np.array([3, 17, 4])
    new = [made(50 + k, generated_tasm=["corrected"]) for k in range(3)]
    assert pair.mapped.amend(pair.names[changed], pair.shelf.lay(new)) == 3
    buffer = pair.mapped
    buffer.check()
    assert [buffer.get(int(pair.names[k])) for k in changed] == new
    assert buffer.priorities(pair.names[changed]).tolist() == [reward(r) for r in new]
    for record in buffer.sample(30):
        assert record in [*new, *pair.records]
    buffer.check()


def test_a_correction_keeps_a_records_neighbours_and_counts() -> None:
    buffer, shelf = mapped([made(k) for k in range(10)], sampler=Fifo())
    buffer.sample(10)
    new = made(99)
    buffer.amend(named(4, 1), shelf.lay([new]))
    batch = buffer.sample(10)
    assert list(batch) == [new if k == 4 else made(k) for k in range(10)]
    assert batch.times_sampled.tolist() == [2] * 10


def test_of_two_corrections_of_a_record_the_last_counts() -> None:
    buffer, shelf = mapped([made(k) for k in range(3)])
    places = shelf.lay([made(50), made(51)])
    assert buffer.amend([named(1, 1)[0]] * 2, places) == 1
    assert buffer.get(int(named(1, 1)[0])) == made(51)


def test_corrections_of_records_that_are_gone_change_nothing() -> None:
    buffer, shelf = mapped([made(k) for k in range(3)])
    assert buffer.amend(named(7, 2), shelf.lay([made(50), made(51)])) == 0
    assert list(buffer) == [made(k) for k in range(3)]


def test_a_correction_that_cannot_be_read_takes_the_record_away() -> None:
    buffer, shelf = mapped([made(k) for k in range(3)])
    places = shelf.lay([made(50), made(51)])
    shelf.damage_fields(places[1])
    buffer.amend(named(1, 2), places)
    buffer.check()
    assert (list(buffer), buffer.damaged) == ([made(0), made(50)], 1)


def test_a_correction_that_the_reward_refuses_changes_nothing() -> None:
    buffer, shelf = mapped(
        [made(k) for k in range(3)], reward=lambda r: np.where(r.timestamp > 50, np.nan, 1.0)
    )
    with pytest.raises(UsageError):
        buffer.amend(named(1, 1), shelf.lay([made(51)]))
    buffer.check()
    assert list(buffer) == [made(k) for k in range(3)]


# --- damage


@pytest.mark.parametrize("rewarded", [None, lambda results: np.ones(len(results))], ids=["seed", "own"])
def test_what_cannot_be_read_is_not_taken_in(rewarded: Callable[..., Any] | None) -> None:
    shelf = Shelf()
    more = {} if rewarded is None else {"reward": rewarded}
    buffer = MappedBuffer(10, shelf.buffers, sampler=Fifo(), **more)
    places = shelf.lay([made(k) for k in range(6)])
    shelf.damage_fields(places[0])
    shelf.damage_fields(places[4])
    places[2] = 99 << 32
    assert buffer.take_in(named(0, 6), places) == 3
    buffer.check()
    assert (list(buffer), buffer.damaged) == ([made(k) for k in (1, 3, 5)], 3)


def test_a_reward_of_ones_own_never_sees_text_that_cannot_be_read() -> None:
    shelf = Shelf()
    buffer = MappedBuffer(
        9, shelf.buffers, reward=lambda r: np.array([len(x) for x in r.generated_tasm], np.float64)
    )
    places = shelf.lay([made(k) for k in range(6)])
    shelf.damage_text(places[2])
    assert (buffer.take_in(named(0, 6), places), buffer.damaged) == (5, 1)


@pytest.mark.parametrize("kind", ["fields", "text"])
@every_sampler
def test_a_draw_that_hits_damage_goes_on_without_it(sampler: Any, kind: str) -> None:
    buffer, shelf = mapped([made(k) for k in range(40)], sampler=sampler, seed=2)
    places = buffer._table.places(np.arange(40))
    bad = [1, 2, 5, 8, 20, 21, 39]
    for k in bad:
        (shelf.damage_fields if kind == "fields" else shelf.damage_text)(places[k])
    for _ in range(20):
        batch = buffer.sample(20)
        assert set((batch.ids - named(0, 1)[0]).tolist()).isdisjoint(bad)
        list(batch)
    buffer.check()
    assert buffer.damaged == buffer.stats().removed_by["damage"] == 40 - len(buffer) > 0


@pytest.mark.parametrize("remover", REMOVERS, ids=repr)
def test_records_found_damaged_by_a_remover_leave(remover: Any) -> None:
    buffer, shelf = mapped([made(k) for k in range(30)], 30, remover=remover, sampler=PerProgram())
    for place in buffer._table.places(np.arange(0, 30, 4)):
        shelf.damage_fields(place)
    buffer.remove(named(0, 30)[buffer._table.ids[:30] % 3 == 0])
    for k in range(3):
        buffer.take_in(named(30 + 9 * k, 9), shelf.lay([made(30 + 9 * k + j) for j in range(9)]))
        buffer.sample(30)
    buffer.check()
    assert len(list(buffer)) == len(buffer)


def test_when_nothing_can_be_read_the_buffer_is_empty() -> None:
    buffer, shelf = mapped([made(k) for k in range(10)], sampler=Proportional())
    shelf.buffers.drop([0])
    with pytest.raises(EmptyBufferError):
        buffer.sample(4)
    assert (len(buffer), buffer.damaged) == (0, 10)


def test_what_is_new_is_given_though_some_of_it_is_damaged() -> None:
    buffer, shelf = mapped([made(k) for k in range(10)], sampler=Fresh())
    shelf.damage_text(buffer._table.places(np.array([4]))[0])
    assert (buffer.sample().ids - named(0, 1)[0]).tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert len(buffer.sample()) == 0


def test_damage_within_a_limited_batch_costs_no_other_record() -> None:
    buffer, shelf = mapped([made(k) for k in range(10)], sampler=Uniform(), seed=3, max_times_sampled=1)
    shelf.damage_text(buffer._table.places(np.array([4]))[0])
    ids = buffer.sample(10).ids - named(0, 1)[0]
    assert sorted(ids.tolist()) == [0, 1, 2, 3, 5, 6, 7, 8, 9]


def test_all_records_at_once_are_those_that_can_be_read() -> None:
    buffer, shelf = mapped([made(k) for k in range(10)])
    shelf.damage_text(buffer._table.places(np.array([4]))[0])
    assert list(buffer) == [made(k) for k in range(10) if k != 4]
    assert buffer.damaged == 1


def test_a_single_damaged_record_is_an_error_to_whoever_asks_for_it() -> None:
    buffer, shelf = mapped([made(k) for k in range(3)])
    shelf.damage_fields(buffer._table.places(np.array([1]))[0])
    with pytest.raises(DamageError):
        buffer.get(int(named(1, 1)[0]))


# --- saving


@pytest.mark.parametrize("order", ["age", "priority"])
def test_a_saved_archive_holds_the_records(tmp_path: Path, order: Any) -> None:
    pair = Pair(3000, remover=Oldest())
    pair.come(4000)
    pair.mapped.save(tmp_path / "ours.rkyv", order=order)
    pair.plain.save(tmp_path / "theirs.rkyv", order=order)
    assert (tmp_path / "ours.rkyv").read_bytes() == (tmp_path / "theirs.rkyv").read_bytes()


def test_a_saved_archive_leaves_out_what_cannot_be_read(tmp_path: Path) -> None:
    buffer, shelf = mapped([made(k) for k in range(10)])
    places = buffer._table.places(np.array([4, 6]))
    shelf.damage_text(places[0])
    shelf.damage_fields(places[1])
    buffer.save(tmp_path / "saved.rkyv", order="age")
    assert archive.read(tmp_path / "saved.rkyv") == Results.concat(
        [[made(k) for k in range(10) if k not in (4, 6)]]
    )
    assert (len(buffer), buffer.damaged) == (8, 2)


def worked(pair: Pair) -> None:
    pair.come(20)
    pair.draw(5)
    pair.come(20, apart=True)
    pair.draw(6)
    held = pair.plain.ids()
    for buffer, ids in ((pair.mapped, pair.names[held[3:5]]), (pair.plain, held[3:5])):
        buffer.remove(ids)
    pair.come(10)
    pair.draw(6)


def reopened(pair: Pair, **settings: Any) -> MappedBuffer:
    """Another buffer of the records that the first holds, sealed in another order."""
    ids = np.sort(pair.mapped.ids())
    place = {int(name): k for k, name in enumerate(pair.names)}
    other = MappedBuffer(pair.mapped.capacity, pair.shelf.buffers, seed=77, **settings)
    other.take_in(ids, pair.shelf.lay([pair.records[place[int(name)]] for name in ids]))
    return other


@every_limit
@every_remover
@every_sampler
def test_a_loaded_state_goes_on_with_the_same_draws(
    sampler: Any, remover: Any, limits: dict[str, Any]
) -> None:
    rules = {"sampler": sampler, "remover": remover, **limits}
    pair = Pair(30, **rules)
    worked(pair)
    state = pair.mapped.state_dict()
    other = reopened(pair, **rules)
    other.load_state_dict(state)
    other.check()
    assert other.stats() == pair.mapped.stats()
    pair.mapped = other
    for _ in range(3):
        ours, theirs = pair.draw(7)
        assert ours == theirs
        pair.come(4)
    assert pair.same()


def test_a_loaded_state_gives_words_their_tokens_back() -> None:
    pair = Pair(30, sampler=Lifo())
    worked(pair)
    before = pair.mapped.sample(9)
    other = reopened(pair, sampler=Lifo())
    other.load_state_dict(pair.mapped.state_dict())
    assert other.sample(9).tokens.tolist() == before.tokens.tolist()


@every_remover
@every_sampler
def test_records_of_a_state_that_are_gone_leave_and_others_come_after(sampler: Any, remover: Any) -> None:
    shelf = Shelf()
    rules: dict[str, Any] = {"sampler": sampler, "remover": remover}
    old = MappedBuffer(30, shelf.buffers, seed=1, **rules)
    records = [made(k) for k in range(30)]
    old.take_in(named(0, 20), shelf.lay(records[:20]))
    old.update_priorities(named(0, 20), np.arange(20) + 0.5)
    old.sample(8)
    state = old.state_dict()
    times = dict(zip(state["record_ids"].tolist(), state["times_sampled"].tolist(), strict=True))

    new = MappedBuffer(30, shelf.buffers, seed=9, **rules)
    here = [k for k in range(30) if k % 4]
    new.take_in(named(0, 30)[here], shelf.lay([records[k] for k in here]))
    first = new.priorities(named(20, 10))
    new.load_state_dict(state)
    new.check()
    assert sorted(new.ids().tolist()) == named(0, 30)[here].tolist()
    known = [k for k in here if k < 20]
    assert new.priorities(named(0, 20)[known]).tolist() == [k + 0.5 for k in known]
    np.testing.assert_array_equal(new.priorities(named(20, 10)), first)
    now = new.state_dict()
    assert {
        i: t for i, t in zip(now["record_ids"].tolist(), now["times_sampled"].tolist(), strict=True) if t
    } == {i: t for i, t in times.items() if t and (i - (1 << 24)) % 4}
    stats = new.stats()
    assert (stats.removed_by["store"], stats.late_updates, stats.removed_by["damage"]) == (5, 5, 0)
    assert stats.pushed == stats.removed + len(new)
    for _ in range(5):
        assert all(record in records for record in new.sample(9))
    new.check()


def test_a_state_goes_through_a_file(tmp_path: Path) -> None:
    pair = Pair(30, sampler=Proportional())
    worked(pair)
    pair.mapped.save_state(tmp_path / "state.npz")
    other = reopened(pair, sampler=Proportional())
    other.load_state(tmp_path / "state.npz")
    pair.mapped = other
    ours, theirs = pair.draw(9)
    assert ours == theirs


def test_a_state_of_an_ordinary_buffer_is_refused_and_the_other_way_round() -> None:
    pair = Pair(30)
    worked(pair)
    for buffer, state in (
        (pair.mapped, pair.plain.state_dict()),
        (pair.plain, pair.mapped.state_dict()),
    ):
        assert "records=" in complaint(UsageError, buffer.load_state_dict, state)


@pytest.mark.parametrize(
    "name", ["ids", "record_ids", "priority", "times_sampled", "counts", "words", "random"]
)
def test_a_state_that_lacks_something_is_refused_and_changes_nothing(name: str) -> None:
    pair = Pair(30, sampler=Proportional())
    worked(pair)
    state = pair.mapped.state_dict()
    del state[name]
    with pytest.raises(DamageError):
        pair.mapped.load_state_dict(state)
    ours, theirs = pair.draw(9)
    assert ours == theirs


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ids", np.zeros(30, np.int64)),
        ("record_ids", np.zeros(30, np.int64)),
        ("priority", np.full(30, np.nan)),
        ("times_sampled", np.full(30, -1, np.int32)),
        ("ids", np.arange(30) + 10**6),
    ],
)
def test_a_state_with_nonsense_in_it_is_refused_and_changes_nothing(name: str, value: Any) -> None:
    pair = Pair(30, sampler=PerProgram())
    worked(pair)
    pair.come(30)
    state = pair.mapped.state_dict()
    with pytest.raises(DamageError):
        pair.mapped.load_state_dict({**state, name: value})
    with pytest.raises(DamageError):
        pair.mapped.load_state_dict({**state, "sampler.group_of": np.zeros(3, np.float32)})
    ours, theirs = pair.draw(9)
    assert ours == theirs


# --- threads


def test_threads_may_take_in_draw_update_and_relocate_at_once() -> None:
    shelf = Shelf()
    buffer = MappedBuffer(500, shelf.buffers, sampler=Proportional(), remover=Oldest(), seed=1)
    records = [made(k) for k in range(100)]
    laid = [(named(100 * k, 100), shelf.lay(records)) for k in range(40)]
    buffer.take_in(*laid[0])
    errors: list[BaseException] = []

    def run(work: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=guarded)
        thread.start()
        return thread

    def come() -> None:
        for ids, places in laid[1:]:
            buffer.take_in(ids, places)

    def learn() -> None:
        for _ in range(60):
            batch = buffer.sample(32)
            assert list(batch) == [records[(i - (1 << 24)) % 100] for i in batch.ids.tolist()]
            buffer.update_priorities(batch.ids, np.ones(32))

    def seal() -> None:
        for k in range(20):
            buffer.relocate([k], laid[k][0], laid[k + 20][1])

    for thread in [run(come), run(learn), run(learn), run(seal)]:
        thread.join()
    buffer.check()
    assert errors == []


# --- all at random, beside a model


class Machine(RuleBasedStateMachine):
    """The model knows each record's content, priority, times drawn, and whether it can be read."""

    def __init__(self) -> None:
        super().__init__()
        self.here: dict[int, list[Any]] = {}  # record, priority, times drawn, in order of arrival
        self.damaged: set[int] = set()
        self.lost = self.next = self.clock = 0

    @initialize(
        capacity=st.integers(1, 40),
        remover=st.sampled_from([Oldest(), LowestPriority(), LowestPriority("newest")]),
        sampler=st.sampled_from(
            [Greedy(), Fifo(), Proportional(), PerProgram(), RankBased(), Uniform(replace=False)]
        ),
    )
    def start(self, capacity: int, remover: Any, sampler: Any) -> None:
        self.shelf = Shelf()
        self.capacity, self.rules = capacity, {"sampler": sampler, "remover": remover}
        self.buffer = MappedBuffer(capacity, self.shelf.buffers, seed=1, **self.rules)

    def new_records(self, n: int) -> list[Any]:
        self.clock += n
        return [made(7 * (self.clock - k)) for k in range(n)]

    def admit(self, name: int, held: list[Any]) -> None:
        self.here[name] = held
        if len(self.here) <= self.capacity:
            return
        leaves = next(iter(self.here))
        remover = self.rules["remover"]
        if isinstance(remover, LowestPriority):
            lowest = min(h[1] for h in self.here.values())
            equal = [i for i, h in self.here.items() if h[1] == lowest]
            leaves = equal[0] if remover.ties == "oldest" else equal[-1]
        del self.here[leaves]

    @rule(n=st.integers(0, 60), apart=st.booleans(), backwards=st.booleans(), bad=st.booleans())
    def records_come(self, n: int, apart: bool, backwards: bool, bad: bool) -> None:
        new = self.new_records(n)
        names = named(self.next, n, journal=1 + self.next % 3)
        places = (self.shelf.lay_one_by_one if apart else self.shelf.lay)(new) if n else named(0, 0)
        if backwards:
            names, places, new = names[::-1], places[::-1], new[::-1]
        unread = n // 2 if bad and n else None
        if unread is not None:
            self.shelf.damage_fields(places[unread])
        self.next += n
        before = self.buffer.damaged
        self.buffer.take_in(names, places)
        looked_at = 0
        if isinstance(self.rules["remover"], Oldest) and self.buffer._table.in_turn:
            looked_at = max(0, n - self.capacity)  # those before have come and gone
            if looked_at:
                self.here.clear()
        for k in range(looked_at, n):
            if k != unread:
                self.admit(int(names[k]), [new[k], reward(new[k]), 0])
        self.damaged &= self.here.keys()
        assert self.buffer.damaged - before == (unread is not None and unread >= looked_at)
        self.lost = self.buffer.damaged

    @precondition(lambda self: self.here)
    @rule(data=st.data(), n=st.integers(1, 9))
    def priorities_are_updated(self, data: st.DataObject, n: int) -> None:
        names = data.draw(st.lists(st.sampled_from([*self.here, 5]), min_size=1, max_size=n))
        given = data.draw(st.lists(st.integers(1, 4), min_size=len(names), max_size=len(names)))
        self.buffer.update_priorities(names, given)
        for name, priority in zip(names, given, strict=True):
            if name in self.here:
                self.here[name][1] = float(priority)

    @precondition(lambda self: self.here)
    @rule(data=st.data())
    def records_are_removed(self, data: st.DataObject) -> None:
        names = data.draw(st.sets(st.sampled_from(list(self.here)), max_size=4))
        assert self.buffer.remove(np.array(sorted(names), np.int64)) == len(names)
        for name in names:
            del self.here[name]
        self.damaged -= names

    @precondition(lambda self: self.here)
    @rule(data=st.data(), text=st.booleans())
    def a_record_is_damaged(self, data: st.DataObject, text: bool) -> None:
        # fields that were read already would be others to who numbers groups by them
        text |= isinstance(self.rules["sampler"], PerProgram)
        name = data.draw(st.sampled_from(list(self.here)))
        place = self.buffer._table.places(self.buffer._table.slots_of(np.array([name])))[0]
        (self.shelf.damage_text if text else self.shelf.damage_fields)(place)
        self.damaged.add(name)

    def forget_what_left(self) -> None:
        """Of those that cannot be read, any that the buffer has met are gone; no others are."""
        left = {name for name in self.here if name not in self.buffer}
        assert left <= self.damaged
        for name in left:
            del self.here[name]
        self.damaged -= left
        self.lost += len(left)
        assert self.buffer.damaged == self.lost

    @rule(n=st.integers(1, 30))
    def a_batch_is_drawn(self, n: int) -> None:
        readable = self.here.keys() - self.damaged
        try:
            batch = self.buffer.sample(n)
        except EmptyBufferError:
            assert not readable
            self.forget_what_left()
            return
        ids = batch.ids.tolist()
        assert set(ids) <= readable
        self.forget_what_left()
        sampler = self.rules["sampler"]
        if isinstance(sampler, Greedy):
            order = sorted(self.here, key=lambda i: -self.here[i][1])
            assert ids == [i for i in order if i in readable][: len(ids)]
        for name in ids:
            self.here[name][2] += 1
        assert list(batch) == [self.here[i][0] for i in ids]
        assert batch.priority.tolist() == [self.here[i][1] for i in ids]
        assert batch.times_sampled.tolist() == [self.here[i][2] for i in ids]

    @rule(data=st.data(), in_order=st.booleans())
    def some_buffers_are_sealed(self, data: st.DataObject, in_order: bool) -> None:
        numbers = sorted(self.shelf.bytes)
        if not numbers:
            return
        old = data.draw(st.sets(st.sampled_from(numbers)))
        table = self.buffer._table
        names = list(self.here)
        places = table.places(table.slots_of(np.array(names, np.int64)))
        inside = [i for i, place in zip(names, places.tolist(), strict=True) if place >> 32 in old]
        gone = data.draw(st.sets(st.sampled_from(inside), max_size=3)) if inside else set()
        kept = [i for i in inside if i not in gone and i not in self.damaged]
        kept = sorted(kept) if in_order else kept
        laid = self.shelf.lay([self.here[i][0] for i in kept]) if kept else named(0, 0)
        assert self.buffer.relocate(old, np.array(kept, np.int64), laid) == len(inside) - len(kept)
        self.shelf.buffers.drop(old)
        for number in old:
            del self.shelf.bytes[number]
        for name in set(inside) - set(kept):
            del self.here[name]
            self.damaged.discard(name)

    @precondition(lambda self: self.here)
    @rule(data=st.data())
    def records_are_corrected(self, data: st.DataObject) -> None:
        names = data.draw(st.lists(st.sampled_from([*self.here, 5]), min_size=1, max_size=4))
        new = self.new_records(len(names))
        self.buffer.amend(names, self.shelf.lay(new))
        for name, record in zip(names, new, strict=True):
            if name in self.here:
                self.here[name][:2] = [record, reward(record)]
                self.damaged.discard(name)

    @rule()
    def the_state_is_saved_and_loaded(self) -> None:
        state = self.buffer.state_dict()
        self.forget_what_left()
        table = self.buffer._table
        names = np.array(sorted(self.here), np.int64)
        other = MappedBuffer(self.capacity, self.shelf.buffers, seed=2, **self.rules)
        other.take_in(names, table.places(table.slots_of(names)))
        hurt = [i for i in names.tolist() if i not in other]
        assert set(hurt) <= self.damaged
        other.load_state_dict(state)
        for name in hurt:
            del self.here[name]
        self.damaged -= set(hurt)
        self.buffer = other
        self.lost = self.buffer.damaged

    @invariant()
    def the_buffer_is_the_model(self) -> None:
        if not hasattr(self, "buffer"):
            return
        self.buffer.check()
        self.forget_what_left()
        assert self.buffer.ids().tolist() == list(self.here)
        assert self.buffer.priorities(list(self.here) or named(0, 0)).tolist() == [
            h[1] for h in self.here.values()
        ]
        stats = self.buffer.stats()
        assert stats.pushed == stats.removed + len(self.here)

    def teardown(self) -> None:
        if hasattr(self, "buffer"):
            records = list(self.buffer)
            self.forget_what_left()
            assert records == [h[0] for h in self.here.values()]


class TestMappedBuffers(Machine.TestCase):
    settings = settings(max_examples=120, stateful_step_count=25, deadline=None)
