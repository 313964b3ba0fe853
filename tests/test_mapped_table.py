"""Where the records of a mapped buffer lie: runs, slots taken in turn, and what it all costs."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from mapped_helpers import STEP, Shelf, made, named
from ostinato import ReplayBuffer, UsageError, Vocabulary
from ostinato.replay import MappedBuffer, Oldest, Proportional
from ostinato.replay.mapped import MappedTable
from ostinato.replay.runs import Runs
from ostinato.replay.table import DamagedSlots
from ostinato.results import RECORD

few = settings(max_examples=60, deadline=None)
NONE = np.empty(0, np.int64)


def runs_of(pieces: list[tuple[int, int, int]], skip: int = 0) -> tuple[Runs, Any, Any, Any]:
    """Runs of (how many, first record id, first place) pieces, with `skip` arrivals left out between them."""
    arrivals, names, places = [], [], []
    at = 0
    for n, name, place in pieces:
        arrivals.append(at + np.arange(n))
        names.append(name + np.arange(n))
        places.append(place + STEP * np.arange(n))
        at += n + skip
    runs = Runs()
    whole = tuple(np.concatenate([NONE, *parts]) for parts in (arrivals, names, places))
    runs.append(*whole, whole[0])
    return runs, *whole


# --- runs


def test_records_that_follow_each_other_are_one_run() -> None:
    runs, *_ = runs_of([(500, 7, 1000), (500, 507, 1000 + 500 * STEP)])
    assert runs.used == 1


@pytest.mark.parametrize(
    "second",
    [(5, 6, 1000 + 5 * STEP), (5, 5, 1000), (5, 4, 1000 + 5 * STEP)],
    ids=["a gap in the ids", "another place", "an id twice"],
)
def test_what_does_not_follow_begins_a_run(second: tuple[int, int, int]) -> None:
    runs, *_ = runs_of([(5, 0, 1000), second])
    assert runs.used == 2


pieces = st.lists(st.tuples(st.integers(1, 4), st.just(0), st.integers(0, 50)), min_size=1, max_size=30).map(
    lambda made: [(n, 100 * k * (-1) ** k + 10_000, place) for k, (n, _, place) in enumerate(made)]
)


@few
@given(pieces, st.integers(0, 3))
def test_runs_say_what_was_put_in_both_ways(given: list[tuple[int, int, int]], skip: int) -> None:
    runs, arrivals, names, places = runs_of(given, skip)
    runs.check()
    found = runs.locate(arrivals)
    assert (found[0].tolist(), found[1].tolist()) == (names.tolist(), places.tolist())
    assert runs.arrivals_of(names).tolist() == arrivals.tolist()


@few
@given(pieces, st.data())
def test_moved_records_lie_where_they_were_moved_to_and_no_others(given: Any, data: st.DataObject) -> None:
    runs, arrivals, names, places = runs_of(given)
    moved = np.array(
        sorted(data.draw(st.sets(st.sampled_from(arrivals.tolist()), max_size=len(arrivals)))), np.int64
    )
    targets = 10**6 + STEP * np.arange(len(moved))
    runs.move(moved, targets)
    runs.check()
    places[np.searchsorted(arrivals, moved)] = targets
    found = runs.locate(arrivals)
    assert (found[0].tolist(), found[1].tolist()) == (names.tolist(), places.tolist())
    assert runs.arrivals_of(names).tolist() == arrivals.tolist()


def test_records_moved_back_together_are_one_run_again() -> None:
    runs, arrivals, *_ = runs_of([(1, k, 1000 * k) for k in range(50)])
    before = runs.used
    runs.move(arrivals, 5000 + STEP * arrivals, np.ones(before, np.bool_))
    assert (before, runs.used) == (50, 1)


def test_runs_that_are_left_are_forgotten() -> None:
    runs, *_ = runs_of([(5, 0, 1 << 32), (5, 100, 2 << 32)])
    runs.move(np.array([3]), np.array([7 << 32]), runs.inside(np.array([1])))
    assert runs.locate(np.array([3, 5]))[1].tolist() == [7 << 32, 2 << 32]
    assert runs.used == 2


def test_the_arrivals_of_some_runs_are_handed_out_in_order() -> None:
    runs, *_ = runs_of([(2, 0, 0), (3, 50, 9000), (1, 99, 77)])
    parts = list(runs.expand(np.array([True, False, True])))
    assert np.concatenate(parts).tolist() == [0, 1, 5]


def test_a_record_that_no_run_has_is_not_found() -> None:
    runs, *_ = runs_of([(5, 10, 0), (5, 30, 9000)])
    assert runs.arrivals_of(np.array([9, 15, 29, 35])).tolist() == [-1, -1, -1, -1]


def test_runs_of_records_that_left_make_room_for_others() -> None:
    runs = Runs()
    for turn in range(400):
        arrivals = np.arange(turn * 100, turn * 100 + 100)
        living = np.arange(max(0, turn * 100 - 500), turn * 100 + 100)
        runs.append(arrivals, 3 * arrivals, 5 * arrivals, living)
        found = runs.locate(living)
        assert (found[0] == 3 * living).all()
        assert (found[1] == 5 * living).all()
        assert (runs.arrivals_of(3 * living[:7]) == living[:7]).all()
    assert len(runs.first) <= 2048


def test_an_arrival_that_no_run_has_lies_nowhere() -> None:
    runs, *_ = runs_of([(2, 10, 0), (2, 30, 9000)], skip=3)
    found = runs.locate(np.array([2, 4, 7, -1]))
    assert (found[0].tolist(), found[1].tolist()) == ([-1] * 4, [-1] * 4)


# --- slots in turn


def plain(capacity: int, **settings: Any) -> ReplayBuffer:
    return ReplayBuffer(capacity, seed=0, **settings)


def test_a_buffer_whose_oldest_leaves_keeps_no_index() -> None:
    buffer = plain(10, remover=Oldest())
    for k in range(7):
        buffer.extend([made(k + j) for j in range(k)])
        buffer.check()
    assert len(buffer._table._index) == 0


def test_a_buffer_that_is_not_full_keeps_no_index() -> None:
    buffer = plain(10)
    buffer.extend([made(k) for k in range(10)])
    buffer.check()
    assert len(buffer._table._index) == 0


def test_the_first_record_out_of_turn_makes_an_index() -> None:
    buffer = plain(10)
    buffer.extend([made(k) for k in range(40)])
    buffer.check()
    assert len(buffer._table._index) > 0


@pytest.mark.parametrize(("removed", "indexed"), [([9], False), ([8, 9], False), ([0], True), ([8], True)])
def test_only_a_hole_that_another_fills_ends_the_turn(removed: list[int], indexed: bool) -> None:
    buffer = plain(20, remover=Oldest())
    buffer.extend([made(k) for k in range(10)])
    buffer.remove(removed)
    buffer.check()
    assert (len(buffer._table._index) > 0) == indexed
    buffer.extend([made(k) for k in range(30)])
    buffer.check()
    assert buffer.ids().tolist() == list(range(20, 40))


def test_ids_that_were_never_given_are_not_found_in_turn() -> None:
    buffer = plain(7, remover=Oldest())
    buffer.extend([made(k) for k in range(12)])
    wanted = [-1, -(2**63), 0, 4, 12, 12 + 7, 2**63 - 1, 11]
    assert np.isnan(buffer.priorities(wanted)).tolist() == [True] * 7 + [False]


# --- the table


def table_of(n: int, capacity: int) -> tuple[MappedTable, Shelf]:
    shelf = Shelf()
    buffer = MappedBuffer(capacity, shelf.buffers, remover=Oldest(), seed=0)
    buffer.take_in(named(0, n), shelf.lay([made(k) for k in range(n)]))
    return buffer._table, shelf


def test_the_fields_of_slots_are_those_of_an_ordinary_table() -> None:
    table, _ = table_of(25, 20)
    other = plain(20, remover=Oldest())
    other.extend([made(k) for k in range(25)])
    ordinary = other._table
    slots = np.arange(20)
    assert (table.rows_at(slots) == ordinary.rows_at(slots)).all()
    for name in RECORD.names or ():
        assert (table.column_at(name, slots) == ordinary.column_at(name, slots)).all()


def test_parts_of_rows_say_which_slots_hold_nothing() -> None:
    table, _ = table_of(5, 20)
    (part,) = table.row_parts(np.array([4, 9, 0]))
    assert part.places.tolist() == [0, 2, 1]
    assert part.end == 2


def test_a_slot_that_is_not_in_use_is_refused() -> None:
    table, _ = table_of(5, 20)
    with pytest.raises(UsageError):
        table.gather(np.array([5]))


def test_fields_that_cannot_be_read_are_zeros_and_noted() -> None:
    table, shelf = table_of(5, 20)
    shelf.damage_fields(table.places(np.array([3]))[0])
    rows = table.rows_at(np.arange(5))
    assert (bytes(rows[3].tobytes()), table.hurt) == (bytes(64), [3])


def test_a_record_that_cannot_be_read_is_named_and_nothing_is_counted() -> None:
    table, shelf = table_of(5, 20)
    shelf.damage_text(table.places(np.array([3]))[0])
    with pytest.raises(DamagedSlots) as caught:
        table.gather(np.array([1, 3, 3, 2]), sampled=True)
    assert caught.value.slots.tolist() == [3, 3]
    assert table.times_sampled[:5].tolist() == [0] * 5


# --- what it costs


def resident_bytes(buffer: MappedBuffer) -> int:
    """Of all arrays that are touched: in the sums of a tree, the leaves' part is not."""
    tree = buffer._sampler.tree  # type: ignore[attr-defined]
    return buffer.nbytes + tree._nodes.nbytes + tree._sums.nbytes - 8 * int(tree._levels[1])


def filled(n: int, remover: Any) -> MappedBuffer:
    shelf = Shelf()
    places = shelf.lay([made(k) for k in range(50_000)])
    buffer = MappedBuffer(n, shelf.buffers, sampler=Proportional(), remover=remover, seed=0)
    for first in range(0, n, len(places)):
        buffer.take_in(named(first, len(places)), places)
    buffer.sample(256)
    return buffer


def test_two_million_records_take_32_bytes_each() -> None:
    buffer = filled(2_000_000, Oldest())
    assert (len(buffer), resident_bytes(buffer) / len(buffer) <= 32) == (2_000_000, True)


def test_a_full_buffer_that_goes_on_takes_no_more() -> None:
    buffer = filled(200_000, Oldest())
    before = resident_bytes(buffer)
    shelf = Shelf()
    shelf.buffers = buffer._buffers
    places = shelf.lay([made(k) for k in range(10_000)])
    for turn in range(40):
        buffer.take_in(named(10_000 * turn, 10_000, journal=2), places)
    buffer.sample(256)
    buffer.check()
    assert resident_bytes(buffer) <= before + 40 * 1024


def test_an_ordinary_buffer_whose_oldest_leaves_saves_the_index() -> None:
    buffer = ReplayBuffer(4096, remover=Oldest(), vocabulary=Vocabulary())
    buffer.extend([made(k, generated_tasm=[]) for k in range(8192)])
    tokens = 4 * 4 * 4096  # a block of four cells each
    assert buffer.nbytes <= tokens + (64 + 8 + 8 + 8 + 4) * 4096 + 8 * 4096
