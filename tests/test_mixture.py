"""Mixture and Fresh: exact fractions in each batch, the cursor, and the probabilities of the union."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from draw_helpers import drawn, misfit
from ostinato import EmptyBufferError, ReplayBuffer, Results, UsageError, Vocabulary
from ostinato.replay import (
    ByOutcome,
    Fifo,
    Fresh,
    Greedy,
    Lifo,
    LinearSchedule,
    Mixture,
    Oldest,
    PerProgram,
    Proportional,
    RankBased,
    Uniform,
    Window,
)
from record_helpers import from_list, record

STAGE_3 = Mixture({Fresh(): "all", Proportional(0.6): 0.1})
BY_CHANCE = [
    Uniform(),
    Proportional(0.6),
    Proportional(1.0, stratified=False),
    RankBased(0.7),
    PerProgram(),
    ByOutcome(valid=0.5, invalid=0.5),
]
CERTAIN = [Greedy(), Fifo(), Lifo(), Fresh()]


def records(count: int, first: int = 0, versions: Any = None) -> Results:
    """Records whose ids, where they start at `first`, decide the rest: 7 programs, every third invalid."""
    ids = np.arange(first, first + count)
    hashes = np.zeros((count, 32), np.uint8)
    hashes[:, 0] = ids % 7
    return Results.from_columns(
        tir_hash=hashes,
        tokens=np.zeros(count, np.int32),
        offsets=np.arange(count + 1),
        vocabulary=Vocabulary(["add"]),
        valid=ids % 3 > 0,
        clock_cycles=np.full(count, 10, np.uint64),
        compiler_cycles=np.full(count, 10, np.uint64),
        fallback_used=np.zeros(count, bool),
        timestamp=ids.astype(np.uint64),
        model_version=(ids % 5 if versions is None else np.asarray(versions)).astype(np.uint32),
    )


def push(buffer: ReplayBuffer, count: int, priorities: Any = None, **other: Any) -> list[int]:
    first = buffer.stats().pushed
    if priorities is None:  # all different, so that ranks are told apart
        priorities = 0.05 + np.random.default_rng(first).permutation(count) / 50 + first % 97 / 10_000
    ids: list[int] = buffer.extend(records(count, first, **other), priorities).tolist()
    return ids


def filled(sampler: Any, count: int = 300, **other: Any) -> ReplayBuffer:
    buffer = ReplayBuffer(sampler=sampler, **{"capacity": 5000, "seed": 11, **other})
    push(buffer, count)
    return buffer


# --- the model ----------------------------------------------------------------------------------------------


def expected_of(sampler: Any, n: int, buffer: ReplayBuffer, fresh: list[int]) -> dict[int, float]:
    """How often each id is to be expected among n of this sampler's, or for the certain ones: is drawn."""
    ids = buffer.ids().tolist()
    priority = dict(zip(ids, buffer.priorities(ids).tolist(), strict=True))
    match sampler:
        case Uniform():
            shares = dict.fromkeys(ids, 1 / len(ids))
        case Proportional():
            total = sum(p**sampler.alpha for p in priority.values() if p > 0)
            shares = {i: p**sampler.alpha / total for i, p in priority.items() if p > 0}
        case RankBased():
            order = sorted(ids, key=lambda i: -priority[i])
            total = sum(rank**-sampler.alpha for rank in range(1, len(ids) + 1))
            shares = {i: rank**-sampler.alpha / total for rank, i in enumerate(order, 1)}
        case PerProgram():  # uniform in both steps
            programs = [i % 7 for i in ids]
            shares = {i: 1 / len(set(programs)) / programs.count(i % 7) for i in ids}
        case ByOutcome():  # half and half, uniform
            invalid = sum(i % 3 == 0 for i in ids)
            halves = {True: invalid, False: len(ids) - invalid}
            counts = {True: -(-n // 2), False: n // 2}  # of equal remainders, `invalid` comes first
            if n == 0:
                return {}
            shares = {i: counts[i % 3 == 0] / n / halves[i % 3 == 0] for i in ids}
        case Greedy():
            return dict.fromkeys(sorted(ids, key=lambda i: (-priority[i], i))[:n], 1.0)
        case Fifo():
            return dict.fromkeys(sorted(ids)[:n], 1.0)
        case Lifo():
            return dict.fromkeys(sorted(ids)[::-1][:n], 1.0)
        case Fresh():
            return dict.fromkeys(fresh[:n], 1.0)
        case _:
            raise AssertionError(sampler)
    return {i: n * share for i, share in shares.items()}


def union(parts: Any, buffer: ReplayBuffer, fresh: list[int]) -> dict[int, float]:
    """The sum over parts of (sampler, n), as shares of the batch they make."""
    each = [expected_of(sampler, n, buffer, fresh) for sampler, n in parts]
    size = sum(sum(part.values()) for part in each)
    found: dict[int, float] = {}
    for part in each:
        for i, expected in part.items():
            found[i] = found.get(i, 0.0) + expected / size
    return found


def assert_probabilities_and_weights(batch: Any, shares: dict[int, float], count: int, beta: float) -> None:
    expected = np.array([shares.get(i, 0.0) for i in batch.ids.tolist()])
    assert batch.probability.tolist() == pytest.approx(expected.tolist(), rel=1e-11)
    raw = (count * expected) ** -beta
    assert batch.weight.tolist() == pytest.approx((raw / raw.max()).tolist(), rel=1e-6)


# --- fractions ----------------------------------------------------------------------------------------------


def by_version(fractions: Any) -> Mixture:
    """Parts that can be told apart in the batch: part k draws from version k alone."""
    return Mixture([(Window(Uniform(), 0, version=k), f) for k, f in enumerate(fractions)])


def counts_of(buffer: ReplayBuffer, n: int) -> list[int]:
    counted: list[int] = np.bincount(buffer.sample(n).model_version, minlength=5).tolist()
    return counted


def test_every_batch_has_exactly_its_fractions() -> None:
    buffer = filled(by_version([0.5, 0.25, 0.125, 0.125]))
    assert [counts_of(buffer, 64) for _ in range(50)] == [[32, 16, 8, 8, 0]] * 50


def test_what_rounding_leaves_goes_to_the_largest_remainders() -> None:
    buffer = filled(by_version([0.5, 0.3, 0.2]))
    assert {n: counts_of(buffer, n)[:3] for n in (1, 3, 7, 9)} == {
        1: [1, 0, 0],
        3: [1, 1, 1],
        7: [4, 2, 1],
        9: [4, 3, 2],
    }


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=5).filter(any), st.integers(1, 200))
@settings(deadline=None, max_examples=60)
def test_fractions_are_exact_to_within_one_record(shares: list[int], n: int) -> None:
    fractions = [share / sum(shares) for share in shares]
    counts = counts_of(filled(by_version(fractions), 50), n)
    assert sum(counts) == n
    assert [k for k, f in enumerate(fractions) if abs(counts[k] - n * f) >= 1] == []


def test_a_part_with_a_fraction_of_zero_is_never_drawn_and_may_be_empty() -> None:
    buffer = filled(Mixture({Uniform(): 1.0, Window(Uniform(), 0, version=99): 0.0}))
    assert [len(buffer.sample(n)) for n in (1, 7, 100)] == [1, 7, 100]


def test_the_same_sampler_may_be_two_parts() -> None:
    buffer = filled(Mixture([(Uniform(), 0.5), (Uniform(), 0.5)]))
    assert buffer.sample(9).probability.tolist() == pytest.approx([1 / 300] * 9)


def test_one_part_alone_draws_as_the_sampler_itself() -> None:
    mixture, alone = (filled(sampler) for sampler in (Mixture({Proportional(): 1.0}), Proportional()))
    assert drawn(mixture, 5, 64).tolist() == drawn(alone, 5, 64).tolist()


# --- probabilities ------------------------------------------------------------------------------------------

PAIRS = [(a, b) for k, a in enumerate(BY_CHANCE + CERTAIN) for b in (BY_CHANCE + CERTAIN)[k + 1 :]]


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=lambda sampler: type(sampler).__name__)
def test_probability_is_the_expected_share_over_both_parts_whichever_drew(one: Any, other: Any) -> None:
    buffer = filled(Mixture({one: 0.75, other: 0.25}, beta=0.6))
    shares = union([(one, 48), (other, 16)], buffer, list(range(300)))
    assert_probabilities_and_weights(buffer.sample(64), shares, 300, 0.6)


@pytest.mark.parametrize("n", [1, 2, 7, 33])
def test_probability_is_of_the_counts_of_this_batch(n: int) -> None:
    buffer = filled(Mixture({Proportional(1.0): 0.6, Uniform(): 0.4}, beta=1.0))
    counts = {1: (1, 0), 2: (1, 1), 7: (4, 3), 33: (20, 13)}[n]
    shares = union([(Proportional(1.0), counts[0]), (Uniform(), counts[1])], buffer, [])
    assert_probabilities_and_weights(buffer.sample(n), shares, 300, 1.0)


def test_draws_of_the_union_follow_its_probabilities() -> None:
    parts = {
        Proportional(1.0, stratified=False): 0.5,
        RankBased(1.0, stratified=False): 0.25,
        Uniform(): 0.25,
    }
    buffer = filled(Mixture(parts), 100)
    shares = union([(sampler, int(4 * f)) for sampler, f in parts.items()], buffer, [])
    assert misfit(drawn(buffer, 100, 1000), shares) < 1


@pytest.mark.parametrize("k", range(len(BY_CHANCE)))
def test_draws_of_two_parts_follow_their_probabilities(k: int) -> None:
    one, other = BY_CHANCE[k - 1], BY_CHANCE[k]
    buffer = filled(Mixture({one: 0.5, other: 0.5}), 100)
    assert misfit(drawn(buffer, 60, 1000), union([(one, 50), (other, 50)], buffer, [])) < 1


def test_draws_follow_updates_removals_and_records_that_come() -> None:
    parts = {Proportional(1.0): 0.5, RankBased(): 0.25, PerProgram(): 0.25}
    buffer, rng = filled(Mixture(parts), 1500), np.random.default_rng(3)
    buffer.sample(8)
    for turn in range(30):  # few at a time, so that the parts' trees are changed and not built anew
        ids = rng.choice(buffer.ids(), 30, replace=False)
        buffer.update_priorities(ids, 0.05 + rng.permutation(30) / 30 + turn / 1000)
        buffer.remove(rng.choice(buffer.ids(), 20))
        push(buffer, 15, 0.055 + rng.permutation(15) / 30 + turn / 1000)
        buffer.sample(8)
    live = buffer.ids()
    buffer.update_priorities(live, rng.permutation(len(live)) / 400 + 0.1)  # no two alike
    shares = union([(Proportional(1.0), 500), (RankBased(), 250), (PerProgram(), 250)], buffer, [])
    assert_probabilities_and_weights(buffer.sample(1000), shares, len(live), 0.4)
    assert misfit(drawn(buffer, 60, 1000), shares) < 1


def test_a_record_that_both_parts_are_sure_of_is_expected_twice() -> None:
    buffer = filled(Mixture({Fifo(): 0.5, Greedy(): 0.5}, beta=1.0), 0)
    push(buffer, 4, [9.0, 1.0, 2.0, 3.0])
    batch = buffer.sample(4)
    assert sorted(
        zip(batch.ids.tolist(), batch.probability.tolist(), batch.weight.tolist(), strict=True)
    ) == [
        (0, 0.5, 0.5),
        (0, 0.5, 0.5),
        (1, 0.25, 1.0),
        (3, 0.25, 1.0),
    ]


def test_uniform_without_replacement_is_expected_once_at_most() -> None:
    buffer = filled(Mixture({Uniform(replace=False): 0.5, Proportional(1.0): 0.5}, beta=1.0), 10)
    batch = buffer.sample(40)  # 10 of the one, 20 of the other
    priorities = buffer.priorities(np.arange(10))
    shares = (1 + 20 * priorities / priorities.sum()) / 30
    assert len(batch) == 30
    assert_probabilities_and_weights(batch, dict(enumerate(shares.tolist())), 10, 1.0)


def test_proportional_without_replacement_gives_distinct_records_in_a_mixture() -> None:
    buffer = filled(Mixture({Proportional(replace=False): 0.5, Fifo(): 0.5}))
    counts = np.bincount(buffer.sample(200).ids, minlength=300)
    assert (counts[:100].min(), counts[:100].max(), counts[100:].max(), counts.sum()) == (1, 2, 1, 200)


def test_weights_with_beta_one_undo_the_mixture() -> None:
    buffer = filled(Mixture({Proportional(1.0): 0.5, RankBased(): 0.25, Uniform(): 0.25}, beta=1.0), 200)
    batch = buffer.sample(60_000)
    weights = batch.weight.astype(np.float64)
    assert (weights * batch.ids).sum() / weights.sum() == pytest.approx(99.5, rel=0.02)


def test_the_parts_own_beta_does_not_count() -> None:
    buffer = filled(Mixture({Proportional(1.0, 1.0): 0.5, Uniform(): 0.5}, beta=0.0))
    assert buffer.sample(20).weight.tolist() == [1.0] * 20


def test_a_scheduled_beta_moves_with_the_batches() -> None:
    parts = {Proportional(1.0): 0.5, Uniform(): 0.5}
    buffer = filled(Mixture(parts, beta=LinearSchedule(0.0, 1.0, 4)))
    shares = union([(Proportional(1.0), 1), (Uniform(), 1)], buffer, [])
    for beta in (0.0, 0.25, 0.5, 0.75, 1.0, 1.0):
        assert_probabilities_and_weights(buffer.sample(30), shares, 300, beta)


def test_records_of_priority_zero_are_expected_of_the_parts_that_draw_them_alone() -> None:
    buffer = filled(Mixture({Proportional(1.0): 0.5, Uniform(): 0.5}), 0)
    push(buffer, 4, [0.0, 1.0, 0.0, 1.0])
    batch = buffer.sample(200)
    assert batch.probability.tolist() == [{0: 1 / 8, 1: 3 / 8}[i % 2] for i in batch.ids.tolist()]


def test_a_buffer_of_capacity_one_gives_its_record_from_every_part() -> None:
    buffer = filled(
        Mixture({Proportional(): 0.5, Fifo(): 0.25, Uniform(): 0.25}), 5, capacity=1, remover=Oldest()
    )
    batch = buffer.sample(8)  # Fifo has one record to give
    assert (batch.ids.tolist(), batch.probability.tolist()) == ([4] * 7, [1.0] * 7)


# --- parts in parts -----------------------------------------------------------------------------------------


def test_a_mixture_in_a_mixture_has_the_products_of_the_fractions() -> None:
    inner = by_version([0.5, 0.5])
    buffer = filled(
        Mixture({inner: 0.5, Window(Uniform(), 0, version=2): 0.25, Window(Fifo(), 0, version=3): 0.25})
    )
    assert [counts_of(buffer, 64) for _ in range(10)] == [[16, 16, 16, 16, 0]] * 10


def test_a_mixture_in_a_mixture_has_the_probabilities_of_its_parts() -> None:
    inner = Mixture({Proportional(1.0): 0.5, Greedy(): 0.5}, beta=1.0)
    buffer = filled(Mixture({inner: 0.5, RankBased(): 0.5}, beta=0.3))
    shares = union([(Proportional(1.0), 16), (Greedy(), 16), (RankBased(), 32)], buffer, [])
    assert_probabilities_and_weights(buffer.sample(64), shares, 300, 0.3)


def test_a_window_in_a_mixture_does_not_expect_what_is_outside() -> None:
    buffer = filled(Mixture({Window(Uniform(), 0, version=2): 0.5, Uniform(): 0.5}, beta=1.0))
    shares = {i: 0.5 / 300 + (0.5 / 60 if i % 5 == 2 else 0.0) for i in range(300)}
    assert_probabilities_and_weights(buffer.sample(100), shares, 300, 1.0)
    assert misfit(drawn(buffer, 60, 1000), shares) < 1


def test_a_mixture_in_a_window_draws_what_is_inside() -> None:
    buffer = filled(Window(Mixture({Proportional(1.0): 0.5, Uniform(): 0.5}, beta=1.0), 0, version=2))
    inside = np.arange(2, 300, 5)
    priorities = buffer.priorities(inside)
    shares = dict(
        zip(inside.tolist(), (0.5 * priorities / priorities.sum() + 0.5 / 60).tolist(), strict=True)
    )
    assert_probabilities_and_weights(buffer.sample(100), shares, 60, 1.0)
    assert misfit(drawn(buffer, 60, 1000), shares) < 1


# --- all new results, and a tenth as many of history ---------------------------------------------------------


def test_all_new_results_come_once_and_a_tenth_as_many_from_history() -> None:
    buffer = filled(STAGE_3, 1000)
    buffer.sample()
    new = push(buffer, 200)
    counts = np.bincount(buffer.sample().ids, minlength=1200)
    assert (counts[new].min(), counts.sum()) == (1, 220)


def test_the_first_batch_is_of_everything() -> None:
    batch = filled(STAGE_3, 1000).sample()
    assert (len(batch), set(batch.ids.tolist())) == (1100, set(range(1000)))


def test_history_is_drawn_from_old_and_new_alike() -> None:
    buffer = filled(Mixture({Fresh(): "all", Uniform(): 1.0}), 400)
    buffer.sample()
    history = []
    for _ in range(100):
        new = set(push(buffer, 4))
        ids = buffer.sample().ids.tolist()
        assert len(ids) == 8
        for i in new:
            ids.remove(i)
        history += ids
    assert 100 < sum(i < 200 for i in history) < 200  # 400 draws, from 400 to 800 records: 139 expected


def test_the_weights_of_new_results_and_history_are_of_both() -> None:
    buffer = filled(Mixture({Fresh(): "all", Proportional(0.6): 0.1}, beta=0.7), 1000)
    buffer.sample()
    new = push(buffer, 200)
    shares = union([(Fresh(), 200), (Proportional(0.6), 20)], buffer, new)
    assert_probabilities_and_weights(buffer.sample(), shares, 1200, 0.7)


@pytest.mark.parametrize(("new", "history"), [(1, 0), (4, 0), (6, 1), (14, 1), (16, 2), (100, 10), (107, 11)])
def test_a_tenth_is_exact_to_within_one_record(new: int, history: int) -> None:
    buffer = filled(STAGE_3, 100)
    buffer.sample()
    push(buffer, new)
    assert len(buffer.sample()) == new + history


def test_several_fractions_are_each_of_the_number_of_new_results() -> None:
    parts = {Fresh(): "all", Window(Uniform(), 0, version=8): 0.5, Window(Uniform(), 0, version=9): 0.25}
    buffer = filled(Mixture(parts), 0)
    push(buffer, 10, versions=[8] * 5 + [9] * 5)
    buffer.sample()
    push(buffer, 40, versions=[7] * 40)
    assert np.bincount(buffer.sample().model_version).tolist() == [0] * 7 + [40, 20, 10]


def test_nothing_new_gives_an_empty_batch() -> None:
    buffer = filled(STAGE_3)
    buffer.sample()
    assert (len(buffer.sample()), len(buffer.sample(50))) == (0, 0)


def test_an_empty_buffer_gives_an_empty_batch_of_all_that_is_new() -> None:
    assert len(ReplayBuffer(10, sampler=STAGE_3).sample()) == 0


def test_the_cursor_moves_behind_what_was_given() -> None:
    buffer = filled(STAGE_3)
    cursors = [buffer.sampler.parts[0].cursor]
    for _ in range(3):
        buffer.sample()
        cursors.append(buffer.sampler.parts[0].cursor)
        push(buffer, 7)
    assert cursors == [0, 300, 307, 314]


def test_a_cursor_to_begin_with_leaves_out_what_is_older() -> None:
    buffer = filled(Mixture({Fresh(250): "all"}))
    assert buffer.sample().ids.tolist() == list(range(250, 300))


def test_a_cursor_that_is_set_back_gives_records_again() -> None:
    buffer = filled(Mixture({Fresh(): "all"}))
    buffer.sample()
    buffer.sampler.parts[0].cursor = 290
    assert buffer.sample().ids.tolist() == list(range(290, 300))


def test_new_results_that_left_before_they_were_seen_are_passed_over() -> None:
    buffer = filled(Mixture({Fresh(): "all", Uniform(): 0.5}), 20)
    buffer.remove([0, 3, 19])
    batch = buffer.sample()
    assert (len(batch), batch.ids[:17].tolist()) == (26, [1, 2, *range(4, 19)])  # 8.5 of history


def test_a_full_buffer_that_turned_over_gives_what_is_left_of_the_new() -> None:
    buffer = filled(Mixture({Fresh(): "all"}), 50, capacity=30, remover=Oldest())
    buffer.sample(5)
    push(buffer, 100)
    assert buffer.sample().ids.tolist() == list(range(120, 150))


@pytest.mark.parametrize("history", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("n", [2, 3, 5, 10, 11, 12, 55, 110, 111, 1000])
def test_batches_of_at_most_n_go_through_all_new_results_once(n: int, history: float) -> None:
    buffer = filled(Mixture({Fresh(): "all", Window(Uniform(), 0, version=9): history}), 0)
    push(buffer, 1, versions=[9])
    buffer.sampler.parts[0].cursor = 1
    push(buffer, 300)
    batches = [buffer.sample(n) for _ in range(300)]
    new = [i for batch in batches for i in batch.ids.tolist() if i > 0]
    assert (max(map(len, batches)) <= n, new) == (True, list(range(1, 301)))


@pytest.mark.parametrize(("n", "new"), [(110, 100), (11, 10), (220, 200)])
def test_a_batch_of_n_is_full_where_n_holds_the_new_and_their_tenth(n: int, new: int) -> None:
    buffer = filled(STAGE_3)
    ids = buffer.sample(n).ids.tolist()
    assert (len(ids), buffer.sampler.parts[0].cursor) == (n, new)


def test_two_parts_that_know_their_own_number_each_give_all() -> None:
    parts = [(Fresh(), "all"), (Window(Fresh(), 0, version=2), "all"), (Lifo(), 0.5)]
    buffer = filled(Mixture(parts, beta=1.0), 10)  # 10 new, 2 of them of version 2, 6 of the newest
    batch = buffer.sample()
    expected = {i: (1 + (i % 5 == 2) + (i >= 4)) / 18 for i in range(10)}
    assert sorted(batch.ids.tolist()) == sorted([*range(10), 2, 7, *range(4, 10)])
    assert_probabilities_and_weights(batch, expected, 10, 1.0)


def test_a_draw_that_fails_leaves_the_cursor_where_it_was() -> None:
    buffer = filled(STAGE_3, 0)
    ids = push(buffer, 20, np.zeros(20))
    with pytest.raises(EmptyBufferError):
        buffer.sample()
    buffer.update_priorities(ids, np.ones(20))
    assert buffer.sampler.parts[0].cursor == 0


def test_a_fraction_of_fresh_gives_what_there_is() -> None:
    buffer = filled(Mixture({Fresh(): 0.5, Window(Uniform(), 0, version=2): 0.5}), 30)
    sizes = [(len(buffer.sample(40)), buffer.sampler.parts[0].cursor) for _ in range(3)]
    assert sizes == [(40, 20), (30, 30), (20, 30)]


def test_a_restored_buffer_goes_on_from_the_cursor() -> None:
    buffer, other = filled(STAGE_3), ReplayBuffer(5000, sampler=STAGE_3)
    buffer.sample(110)
    push(buffer, 50)
    other.load_state_dict(buffer.state_dict())
    assert other.sample().ids.tolist() == buffer.sample().ids.tolist()


def test_a_nested_cursor_is_restored() -> None:
    rule = Mixture({Mixture({Fresh(): "all", Uniform(): 0.5}): "all", Window(Fresh(), 1, version=2): 0.25})
    buffer, other = filled(rule), ReplayBuffer(5000, sampler=rule)
    buffer.sample(100)
    push(buffer, 50)
    other.load_state_dict(buffer.state_dict())
    assert [other.sample(40).ids.tolist() for _ in "abc"] == [buffer.sample(40).ids.tolist() for _ in "abc"]


def test_a_mixture_gives_no_record_more_often_than_it_may() -> None:
    buffer = filled(Mixture({Proportional(): 0.5, Uniform(): 0.5}), 50, max_times_sampled=3)
    counts = np.bincount(np.concatenate([buffer.sample(50).ids for _ in range(3)]), minlength=50)
    assert (counts.tolist(), len(buffer)) == ([3] * 50, 0)


# --- nothing to draw ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", BY_CHANCE, ids=repr)
def test_a_part_that_has_nothing_to_draw_raises_as_it_would_alone(part: Any) -> None:
    buffer = filled(Mixture({Window(part, 0, version=99): 0.5, Uniform(): 0.5}))
    with pytest.raises(EmptyBufferError):
        buffer.sample(4)


@pytest.mark.parametrize("part", CERTAIN, ids=repr)
def test_parts_without_chance_give_an_empty_batch_of_an_empty_buffer(part: Any) -> None:
    assert len(ReplayBuffer(10, sampler=Mixture({part: 1.0})).sample(3)) == 0


@pytest.mark.parametrize("part", BY_CHANCE, ids=repr)
def test_a_part_by_chance_of_an_empty_buffer_is_an_error(part: Any) -> None:
    with pytest.raises(EmptyBufferError):
        ReplayBuffer(10, sampler=Mixture({part: 1.0})).sample(3)


# --- mistakes -----------------------------------------------------------------------------------------------


def test_fractions_alone_need_a_number() -> None:
    with pytest.raises(UsageError, match="`n`"):
        filled(Mixture({Fresh(): 0.5, Uniform(): 0.5})).sample()


@pytest.mark.parametrize("part", [Uniform(), Proportional(), Greedy(), Fifo(), RankBased()], ids=repr)
def test_all_of_a_sampler_that_does_not_know_its_number_is_an_error(part: Any) -> None:
    with pytest.raises(UsageError, match="`n`"):
        filled(Mixture({part: "all"})).sample()


@pytest.mark.parametrize("fractions", [(0.5, 0.4), (0.5, 0.6), (0.0, 0.0), (1.0, 1.0), (1e-9, 0.5)], ids=str)
def test_fractions_that_do_not_add_up_to_one_are_refused(fractions: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="add up to 1"):
        Mixture({Uniform(): fractions[0], Greedy(): fractions[1]})


@pytest.mark.parametrize(
    "fraction", [-0.5, float("nan"), float("inf"), "some", "", None, True, 1j, [1.0]], ids=repr
)
@pytest.mark.parametrize("other", [{}, {Fresh(): "all"}], ids=str)
def test_a_fraction_that_is_no_number_from_zero_to_one_is_refused(fraction: Any, other: Any) -> None:
    with pytest.raises(UsageError, match="`parts`"):
        Mixture({Uniform(): fraction, **other})


def test_a_fraction_above_one_is_refused_where_nothing_is_all() -> None:
    with pytest.raises(UsageError, match="`parts`"):
        Mixture({Uniform(): 1.5})


def test_beside_all_twice_as_many_may_come_from_history() -> None:
    buffer = ReplayBuffer(1000, sampler=Mixture([(Fresh(), "all"), (Uniform(), 2.0)]), seed=1)
    buffer.extend(from_list([record()] * 30))
    assert len(buffer.sample()) == 90


def test_a_batch_of_one_gives_what_is_new() -> None:
    buffer = ReplayBuffer(1000, sampler=Mixture([(Fresh(), "all"), (Uniform(), 0.1)]), seed=1)
    buffer.extend(from_list([record()] * 3))
    assert [buffer.sample(1).ids.tolist() for _ in range(3)] == [[0], [1], [2]]


@pytest.mark.parametrize("parts", [{}, [], ()], ids=repr)
def test_no_parts_are_refused(parts: Any) -> None:
    with pytest.raises(UsageError, match="`parts`"):
        Mixture(parts)


@pytest.mark.parametrize("part", [Uniform, None, "uniform", 3], ids=repr)
def test_a_part_that_is_no_sampler_is_refused(part: Any) -> None:
    with pytest.raises(UsageError, match="`parts`"):
        Mixture({part: 1.0})


@pytest.mark.parametrize("beta", [-0.1, 1.1, float("nan"), "1", None], ids=repr)
def test_a_beta_that_is_no_number_from_zero_to_one_is_refused(beta: Any) -> None:
    with pytest.raises(UsageError, match="`beta`"):
        Mixture({Uniform(): 1.0}, beta=beta)


@pytest.mark.parametrize("cursor", [-1, 1.0, "0", None, True], ids=repr)
def test_a_cursor_that_is_no_id_is_refused(cursor: Any) -> None:
    with pytest.raises(UsageError, match="`cursor`"):
        Fresh(cursor)
