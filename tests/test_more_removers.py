"""Oldest, LeastUseful and Reservoir: what stays under every kind of call, and with what probability."""

from __future__ import annotations

import itertools
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from draw_helpers import held
from ostinato import ReplayBuffer, Results, UsageError
from ostinato.replay import Greedy, LeastUseful, LowestPriority, Oldest, Reservoir, Uniform
from record_helpers import complaint
from test_keep_best import RESERVOIR, Pair, drive, leaving_order, made, scripts
from test_samplers import chi_square, chi_square_limit

REMOVERS = [Oldest(), LeastUseful(), Reservoir(3), LowestPriority()]
every_remover = pytest.mark.parametrize("remover", REMOVERS, ids=repr)
SEEDS = 2000


# --- against the model --------------------------------------------------------------------------------------


@every_remover
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 20), scripts)
def test_any_calls_leave_whom_the_model_leaves(remover: Any, capacity: int, script: list[Any]) -> None:
    drive(Pair(capacity, remover, reservoir=RESERVOIR), script)


@every_remover
@pytest.mark.parametrize("capacity", [1, 2, 7, 8, 9, 64, 65])
def test_a_long_run_of_mixed_calls_leaves_whom_the_model_leaves(remover: Any, capacity: int) -> None:
    rng = np.random.default_rng(capacity)
    pair = Pair(capacity, remover, reservoir=RESERVOIR)
    while pair.model.next_id + 2 * capacity < len(RESERVOIR):
        width = int(rng.integers(0, 2 * capacity + 1))
        pair.extend([made(timestamp=i) for i in range(width)], (rng.integers(0, 4, width) / 4).tolist())
        pair.push(made(timestamp=500))
        pair.sample(int(rng.integers(1, capacity + 1)))
        some = rng.integers(0, pair.model.next_id, 5)
        pair.update(some.tolist(), (rng.integers(0, 4, 5) / 4).tolist())
        if rng.random() < 0.5:
            pair.remove(rng.integers(0, pair.model.next_id, 3).tolist())
        pair.look()
    pair.compare()


@pytest.mark.parametrize("remover", [Oldest(), LeastUseful(), LowestPriority()], ids=repr)
def test_a_thousand_records_and_many_draws_leave_whom_the_model_leaves(remover: Any) -> None:
    pair = Pair(1000, remover)
    rng = np.random.default_rng(5)
    pair.extend([made(timestamp=i) for i in range(1000)], rng.random(1000).tolist())
    for turn in range(12):
        pair.sample(300)
        width = (1, 20, 200)[turn % 3]
        pair.extend([made(timestamp=turn)] * width, rng.random(width).tolist())
        pair.remove(rng.choice(pair.model.next_id, 40).tolist())
    pair.compare()


@every_remover
def test_single_pushes_leave_whom_one_extend_leaves(remover: Any) -> None:
    given = [made(i % 5, i % 7, timestamp=i) for i in range(300)]
    pushed, extended = (ReplayBuffer(37, remover=remover) for _ in range(2))
    for result in given:
        pushed.push(result)
    extended.extend(given)
    assert list(pushed) == list(extended)


@every_remover
def test_places_that_became_free_are_filled_before_anything_leaves(remover: Any) -> None:
    buffer = ReplayBuffer(10, remover=remover)
    buffer.extend([made()] * 10)
    buffer.remove([0, 3, 9])
    buffer.extend([made()] * 3)
    assert held(buffer) == [1, 2, 4, 5, 6, 7, 8, 10, 11, 12]


@every_remover
def test_an_emptied_buffer_starts_afresh(remover: Any) -> None:
    buffer = ReplayBuffer(10, remover=remover)
    buffer.remove(buffer.extend([made()] * 10))
    buffer.extend([made()] * 10)
    assert held(buffer) == list(range(10, 20))


# --- Oldest -------------------------------------------------------------------------------------------------


def test_the_oldest_leaves_across_a_wide_gap_of_ids() -> None:
    buffer = ReplayBuffer(1000, remover=Oldest())
    buffer.extend([made()] * 1000)
    buffer.remove(np.arange(1, 999))
    buffer.extend([made()] * 1000)
    assert held(buffer) == list(range(1000, 2000))


def test_the_oldest_is_the_one_that_came_first_not_the_one_with_the_lowest_timestamp() -> None:
    buffer = ReplayBuffer(2, remover=Oldest())
    buffer.extend([made(timestamp=t) for t in (9, 1, 5)])
    assert held(buffer) == [1, 2]


# --- LeastUseful --------------------------------------------------------------------------------------------


def test_the_record_drawn_most_often_leaves() -> None:
    buffer = ReplayBuffer(3, remover=LeastUseful(), sampler=Greedy())
    buffer.extend([made()] * 3, [1.0, 3.0, 2.0])
    buffer.sample(1)
    buffer.sample(2)
    buffer.push(made())
    assert held(buffer) == [0, 2, 3]


def test_of_records_drawn_equally_often_the_oldest_leaves() -> None:
    buffer = ReplayBuffer(3, remover=LeastUseful(), sampler=Greedy())
    buffer.extend([made()] * 3)
    buffer.sample(3)
    buffer.push(made())
    assert held(buffer) == [1, 2, 3]


def test_records_never_drawn_leave_as_from_a_sliding_window() -> None:
    buffer = ReplayBuffer(5, remover=LeastUseful())
    buffer.extend([made()] * 23)
    assert held(buffer) == [18, 19, 20, 21, 22]


def test_every_draw_of_a_batch_counts() -> None:
    buffer = ReplayBuffer(2, remover=LeastUseful(), sampler=Uniform(), seed=0)
    buffer.extend([made()] * 2)
    batch = buffer.sample(101)  # an odd number: one of them more often
    buffer.push(made())
    assert held(buffer) == [int(np.argmin(np.bincount(batch.ids))), 2]


def test_a_newcomer_in_the_place_of_a_record_drawn_often_has_not_been_drawn() -> None:
    buffer = ReplayBuffer(2, remover=LeastUseful(), sampler=Greedy())
    buffer.extend([made()] * 2, [2.0, 1.0])
    buffer.sample(1)
    buffer.extend([made()], [0.0])
    buffer.sample(1)
    buffer.extend([made()], [0.0])
    assert held(buffer) == [2, 3]


def test_a_priority_does_not_matter_to_how_often_a_record_was_drawn() -> None:
    buffer = ReplayBuffer(2, remover=LeastUseful(), sampler=Greedy())
    ids = buffer.extend([made()] * 2, [2.0, 1.0])
    buffer.sample(1)
    buffer.update_priorities(ids, [1e9, 0.0])
    buffer.push(made())
    assert held(buffer) == [1, 2]


# --- Reservoir ----------------------------------------------------------------------------------------------


def reservoirs(pushed: int, capacity: int, seeds: int = SEEDS) -> NDArray[np.bool_]:
    """bool[seeds, pushed]: who stayed."""
    stayed = np.zeros((seeds, pushed), bool)
    given = Results.concat([[made()] * pushed])
    for seed in range(seeds):
        buffer = ReplayBuffer(capacity, remover=Reservoir(seed))
        buffer.extend(given)
        stayed[seed, buffer.ids()] = True
    return stayed


@pytest.mark.parametrize(("pushed", "capacity"), [(40, 10), (40, 1), (12, 11), (90, 45)])
def test_every_record_stays_in_a_reservoir_equally_often(pushed: int, capacity: int) -> None:
    stayed = reservoirs(pushed, capacity)
    share = capacity / pushed
    expected = SEEDS * share
    # a sample of fixed size without replacement: counts vary less than independent ones, and sum up
    found = float(((stayed.sum(0) - expected) ** 2).sum() / expected / (1 - share)) * (pushed - 1) / pushed
    assert found < chi_square_limit(pushed - 1)


def test_every_set_of_records_stays_in_a_reservoir_equally_often() -> None:
    sets = {members: n for n, members in enumerate(itertools.combinations(range(7), 3))}
    found = np.array([sets[tuple(np.flatnonzero(row).tolist())] for row in reservoirs(7, 3)])
    assert chi_square(found, np.full(35, SEEDS / 35)) < chi_square_limit(34)


def test_one_reservoir_holds_as_many_of_each_time() -> None:
    pushed, capacity, bins = 100_000, 10_000, 50
    buffer = ReplayBuffer(capacity, remover=Reservoir(11))
    for _ in range(10):
        buffer.extend([made()] * (pushed // 10))
    found = chi_square(buffer.ids() // (pushed // bins), np.full(bins, capacity / bins))
    assert found / (1 - capacity / pushed) < chi_square_limit(bins - 1)


def test_one_reservoir_is_no_regular_pattern() -> None:
    buffer = ReplayBuffer(1000, remover=Reservoir(0))
    buffer.extend([made()] * 16_000)
    for modulus in (2, 3, 8, 32):
        found = chi_square(buffer.ids() % modulus, np.full(modulus, 1000 / modulus))
        assert found < chi_square_limit(modulus - 1)


def test_a_smaller_reservoir_holds_a_part_of_a_larger_one() -> None:
    order = leaving_order(9, 60)
    for capacity in (1, 7, 30, 59):
        buffer = ReplayBuffer(capacity, remover=Reservoir(9))
        for _ in range(60):
            buffer.push(made())
        assert held(buffer) == sorted(order[60 - capacity :])


def test_one_seed_gives_one_reservoir_and_another_seed_another() -> None:
    stayed = [tuple(np.flatnonzero(row).tolist()) for row in reservoirs(40, 10, seeds=50)]
    again = ReplayBuffer(10, remover=Reservoir(0))
    again.extend([made()] * 40)
    assert (tuple(held(again)), len(set(stayed))) == (stayed[0], 50)


def test_neither_draws_nor_priorities_matter_to_a_reservoir() -> None:
    plain, busy = (ReplayBuffer(10, remover=Reservoir(4), sampler=Greedy()) for _ in range(2))
    for turn in range(20):
        plain.extend([made()] * 5)
        ids = busy.extend([made()] * 5, np.full(5, float(turn % 3)))
        busy.sample(4)
        busy.update_priorities(ids, np.full(5, 1.0 / (turn + 1)))
    assert held(busy) == held(plain)


@pytest.mark.parametrize("seed", [-1, 0.5, True, None, "1"])
def test_the_seed_of_a_reservoir_is_an_integer_from_0(seed: Any) -> None:
    assert complaint(UsageError, Reservoir, seed).endswith("at `seed`")


def test_the_seed_of_a_reservoir_may_be_large() -> None:
    buffer = ReplayBuffer(3, remover=Reservoir(2**200 + 1))
    buffer.extend([made()] * 30)
    assert len(buffer) == 3


# --- kept in files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("remover", [LeastUseful(), Reservoir()], ids=repr)
def test_a_file_of_these_is_in_order_of_age(remover: Any) -> None:
    assert remover.save_order == "age"
