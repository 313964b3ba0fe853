"""Draws without replacement: every order against all orders written out, the weights' estimator, the tree afterwards."""

from __future__ import annotations

import itertools
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from draw_helpers import chi_square_limit
from ostinato import EmptyBufferError, ReplayBuffer, Results
from ostinato.replay import Oldest, Proportional, Uniform, Window
from record_helpers import from_list, more, record

VERSIONS = from_list([record(model_version=v) for v in range(10)])
# alpha, priorities and how many of them are drawn, small enough to write all orders out
CASES = [
    pytest.param(1.0, [1.0, 2.0], 1, id="1 of 2"),
    pytest.param(1.0, [1.0, 2.0], 2, id="2 of 2"),
    pytest.param(1.0, [1.0, 2.0, 5.0], 2, id="2 of 3"),
    pytest.param(0.6, [1.0, 0.0, 2.0, 5.0], 2, id="2 of 3 and a zero"),
    pytest.param(1.0, [4.0, 1.0, 1.0, 0.5], 3, id="3 of 4, one large"),
    pytest.param(0.5, [0.3, 0.1, 4.0, 1.0], 4, id="4 of 4"),
    pytest.param(0.0, [3.0, 0.1, 4.0, 0.0, 1.0], 3, id="3 of 4, alpha 0"),
    pytest.param(1.0, [1.0, 2.0, 3.0, 4.0, 5.0], 3, id="3 of 5"),
    pytest.param(2.0, [0.0, 1.0, 0.5, 1.5, 0.0], 9, id="9 of 3"),
]


def copies(count: int, version: int = 0) -> Results:
    return VERSIONS[np.full(count, version, np.int64)]


def filled(priorities: Any, sampler: Any, **other: Any) -> ReplayBuffer:
    buffer = ReplayBuffer(**{"capacity": len(priorities), "seed": 21, "sampler": sampler, **other})
    buffer.extend(copies(len(priorities)), priorities)
    return buffer


def orders(shares: list[float], n: int) -> dict[tuple[int, ...], float]:
    """All ways to draw n one after the other, each in proportion to its share among what is left."""
    drawable = [i for i, share in enumerate(shares) if share > 0]
    out: dict[tuple[int, ...], float] = {}
    for order in itertools.permutations(drawable, min(n, len(drawable))):
        left, chance = sum(shares), 1.0
        for i in order:
            chance *= shares[i] / left
            left -= shares[i]
        out[order] = chance
    return out


def powers(priorities: list[float], alpha: float) -> list[float]:
    return [p**alpha if p > 0 else 0.0 for p in priorities]


def fits(batches: list[tuple[int, ...]], expected: dict[tuple[int, ...], float]) -> bool:
    """Could these batches be drawn with these probabilities? What cannot come has not come."""
    counts = dict.fromkeys(expected, 0)
    for batch in batches:
        counts[batch] += 1
    if len(expected) == 1:
        return True
    ideal = {order: len(batches) * chance for order, chance in expected.items()}
    assert min(ideal.values()) > 5, "too few batches to judge by"
    found = sum((counts[order] - ideal[order]) ** 2 / ideal[order] for order in ideal)
    return found < chi_square_limit(len(ideal) - 1)


def drawn(buffer: ReplayBuffer, n: int, times: int) -> list[tuple[int, ...]]:
    return [tuple(buffer.sample(n).ids.tolist()) for _ in range(times)]


def as_sets(expected: dict[tuple[int, ...], float]) -> dict[tuple[int, ...], float]:
    out: dict[tuple[int, ...], float] = {}
    for order, chance in expected.items():
        out[tuple(sorted(order))] = out.get(tuple(sorted(order)), 0.0) + chance
    return out


class Frugal(np.random.Generator):
    """A generator that has no memory for a million numbers at once."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(1))

    def random(self, size: Any = None, *args: Any, **kwargs: Any) -> Any:
        if size is not None and size >= 10**6:
            raise MemoryError(f"{size} numbers")
        return super().random(size, *args, **kwargs)


# --- Uniform: every set as likely ---------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "n"), [(2, 1), (3, 2), (5, 1), (5, 2), (5, 4), (6, 3), (9, 2), (13, 2)])
def test_every_set_of_n_records_is_equally_likely(size: int, n: int) -> None:
    batches = drawn(filled(np.zeros(size), Uniform(replace=False)), n, 1500)
    sets = list(itertools.combinations(range(size), n))
    assert fits([tuple(sorted(batch)) for batch in batches], dict.fromkeys(sets, 1 / len(sets)))


@pytest.mark.parametrize("n", [1, 10, 249, 250, 251, 999, 1000])
def test_a_uniform_batch_has_no_record_twice(n: int) -> None:
    ids = filled(np.zeros(1000), Uniform(replace=False)).sample(n).ids
    assert len(set(ids.tolist())) == len(ids) == n


@pytest.mark.parametrize("n", [20, 240, 260, 700])
def test_a_uniform_draw_of_many_takes_each_record_as_often(n: int) -> None:
    buffer = filled(np.zeros(1000), Uniform(replace=False))
    times = 40_000 // n
    ids = np.concatenate([buffer.sample(n).ids for _ in range(times)])
    counts = np.bincount(ids, minlength=1000)
    # within a batch the counts are negatively correlated: the variance is that of n of 1000, by so much smaller
    mean, left_out = times * n / 1000, 1 - n / 1000
    assert ((counts - mean) ** 2).sum() / (mean * left_out) * 999 / 1000 < chi_square_limit(999)


@pytest.mark.parametrize("n", [5, 6, 100, 10**9])
def test_a_uniform_draw_of_more_than_there_is_gives_all(n: int) -> None:
    assert sorted(filled(np.zeros(5), Uniform(replace=False)).sample(n).ids.tolist()) == list(range(5))


@pytest.mark.parametrize("n", [3, 60, 100])
def test_a_uniform_batch_has_probabilities_one_in_all_and_weights_one(n: int) -> None:
    batch = filled(np.zeros(80), Uniform(replace=False)).sample(n)
    assert set(zip(batch.probability.tolist(), batch.weight.tolist(), strict=True)) == {(1 / 80, 1.0)}


def test_uniform_sets_after_removals_and_pushes_are_as_likely() -> None:
    buffer = filled(np.zeros(6), Uniform(replace=False), remover=Oldest())
    buffer.extend(copies(3), np.zeros(3))
    buffer.remove([4, 7])
    sets = list(itertools.combinations([3, 5, 6, 8], 2))
    batches = [tuple(sorted(batch)) for batch in drawn(buffer, 2, 2000)]
    assert fits(batches, dict.fromkeys(sets, 1 / 6))


def test_a_uniform_draw_in_a_window_gives_every_set_inside_as_often() -> None:
    buffer = ReplayBuffer(20, sampler=Window(Uniform(replace=False), within=0), seed=2)
    buffer.extend(copies(4, 1), np.zeros(4))
    buffer.extend(copies(5, 2), np.zeros(5))
    sets = list(itertools.combinations(range(4, 9), 3))
    batches = [tuple(sorted(batch)) for batch in drawn(buffer, 3, 2000)]
    assert fits(batches, dict.fromkeys(sets, 1 / 10))


# --- Proportional: every order of successive draws ------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "priorities", "n"), CASES)
def test_orders_come_as_often_as_successive_draws_give_them(
    alpha: float, priorities: list[float], n: int
) -> None:
    batches = drawn(filled(priorities, Proportional(alpha, replace=False)), n, 5000)
    assert fits(batches, orders(powers(priorities, alpha), n))


def test_orders_after_updates_removals_and_pushes_are_those_of_what_is_left() -> None:
    buffer = filled([9.0, 9.0, 1.0, 2.0, 3.0], Proportional(1.0, replace=False), remover=Oldest())
    buffer.sample(3)
    buffer.extend(copies(2), [4.0, 0.5])  # pushes 0 and 1 out
    buffer.sample(2)
    buffer.update_priorities([2, 5], [5.0, 0.0])
    buffer.remove([3])
    shares = [0.0, 0.0, 5.0, 0.0, 3.0, 0.0, 0.5]
    assert fits(drawn(buffer, 2, 5000), orders(shares, 2))


def test_orders_between_which_priorities_change_are_those_of_the_moment() -> None:
    buffer = filled([1.0, 1.0, 1.0], Proportional(1.0, replace=False))
    batches = []
    for turn in range(6000):
        buffer.update_priorities([turn % 2], [(4.0, 0.25)[turn // 2 % 2]])
        ids = buffer.sample(2).ids.tolist()
        if turn % 4 == 3:  # now 0 has 0.25 and 1 has 0.25
            batches.append(tuple(ids))
    assert fits(batches, orders([0.25, 0.25, 1.0], 2))


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_orders_in_a_window_are_those_of_the_records_inside(decay: float) -> None:
    buffer = ReplayBuffer(9, sampler=Window(Proportional(1.0, replace=False), within=1, decay=decay), seed=3)
    for version in (1, 2, 3):
        buffer.extend(copies(2, version), [1.0, 3.0])
    shares = [0.0, 0.0, decay, 3 * decay, 1.0, 3.0]
    assert fits(drawn(buffer, 2, 5000), orders(shares, 2))


def test_orders_after_a_window_has_moved_are_those_of_the_records_inside() -> None:
    buffer = ReplayBuffer(9, sampler=Window(Proportional(1.0, replace=False), within=0, version=1), seed=3)
    for version in (1, 2):
        buffer.extend(copies(3, version), [1.0, 2.0, 4.0])
    buffer.sample(2)
    buffer.sampler.version = 2  # type: ignore[attr-defined]
    assert fits(drawn(buffer, 2, 5000), orders([0.0, 0.0, 0.0, 1.0, 2.0, 4.0], 2))


def test_uniform_in_a_window_with_a_decay_draws_by_it_successively() -> None:
    buffer = ReplayBuffer(9, sampler=Window(Uniform(replace=False), within=2, decay=0.5), seed=4)
    for version in (3, 4, 4, 5):
        buffer.extend(copies(1, version), [0.0])
    assert fits(drawn(buffer, 3, 5000), orders([0.25, 0.5, 0.5, 1.0], 3))


@pytest.mark.parametrize("n", [1, 30, 400, 900, 5000])
def test_a_batch_has_no_record_twice(n: int) -> None:
    priorities = 10.0 ** np.random.default_rng(1).uniform(-6, 6, 1000)
    ids = filled(priorities, Proportional(1.0, replace=False)).sample(n).ids
    assert len(set(ids.tolist())) == len(ids) == min(n, 1000)


@pytest.mark.parametrize("n", [1, 5, 6, 7, 100])
@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_zero_priorities_are_never_drawn(alpha: float, n: int) -> None:
    priorities = np.zeros(500)
    priorities[[3, 77, 78, 200, 201, 499]] = [1e-9, 1.0, 2.0, 1e9, 0.5, 1e-3]
    buffer = filled(priorities, Proportional(alpha, replace=False))
    ids = np.concatenate([buffer.sample(n).ids for _ in range(200)])
    assert set(ids.tolist()) <= {3, 77, 78, 200, 201, 499}


@pytest.mark.parametrize("n", [6, 7, 499, 5000])
def test_more_than_there_is_gives_all_that_can_be_drawn(n: int) -> None:
    priorities = np.zeros(500)
    priorities[[3, 77, 78, 200, 201, 499]] = [1e-9, 1.0, 2.0, 1e9, 0.5, 1e-3]
    batch = filled(priorities, Proportional(1.0, replace=False)).sample(n)
    assert sorted(batch.ids.tolist()) == [3, 77, 78, 200, 201, 499]


@pytest.mark.parametrize("sampler", [Uniform(replace=False), Proportional(replace=False)], ids=repr)
def test_far_more_than_there_is_takes_no_memory_for_what_is_not_there(sampler: Any) -> None:
    buffer = filled(np.ones(5), sampler)
    assert sorted(buffer.sample(2**31 - 1, rng=Frugal()).ids.tolist()) == list(range(5))


@pytest.mark.parametrize("spread", [1e-300, 1e-30, 1e-3])
def test_a_tiny_priority_is_drawn_when_it_alone_is_left(spread: float) -> None:
    batch = filled([1.0, spread, 1.0, 1.0], Proportional(1.0, replace=False)).sample(4)
    assert batch.ids.tolist()[3] == 1


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_probability_is_that_of_one_draw_from_all(alpha: float) -> None:
    priorities = np.random.default_rng(2).uniform(0.1, 3, 100)
    batch = filled(priorities, Proportional(alpha, replace=False)).sample(60)
    shares = priorities**alpha / (priorities**alpha).sum()
    assert batch.probability.tolist() == pytest.approx(shares[batch.ids].tolist(), rel=1e-12)


def test_stratified_says_nothing_without_replacement() -> None:
    priorities = np.random.default_rng(3).random(50)
    plain, stratified = (
        filled(priorities, Proportional(replace=False, stratified=flag)).sample(20) for flag in (False, True)
    )
    assert plain.ids.tolist() == stratified.ids.tolist()


@pytest.mark.parametrize("sampler", [Uniform(replace=False), Proportional(replace=False)], ids=repr)
def test_an_empty_buffer_has_nothing_to_draw(sampler: Any) -> None:
    with pytest.raises(EmptyBufferError, match="empty"):
        ReplayBuffer(5, sampler=sampler).sample(1)


def test_zeros_alone_are_nothing_to_draw() -> None:
    with pytest.raises(EmptyBufferError, match=r"priority\*\*alpha is 0 for all 3 records"):
        filled(np.zeros(3), Proportional(replace=False)).sample(1)


@pytest.mark.parametrize("sampler", [Uniform(replace=False), Proportional(1.0, replace=False)], ids=repr)
def test_drawn_once_everything_comes_once(sampler: Any) -> None:
    buffer = filled(np.arange(1.0, 101.0), sampler, max_times_sampled=1)
    ids = np.concatenate([buffer.sample(30).ids for _ in range(4)])
    assert (sorted(ids.tolist()), len(buffer)) == (list(range(100)), 0)


def test_drawn_once_the_order_of_all_batches_is_that_of_successive_draws() -> None:
    lives = []
    for seed in range(1200):
        buffer = filled([1.0, 2.0, 5.0], Proportional(1.0, replace=False), max_times_sampled=1, seed=seed)
        lives.append((*buffer.sample(1).ids.tolist(), *buffer.sample(2).ids.tolist()))
    assert fits(lives, orders([1.0, 2.0, 5.0], 3))


# --- weights ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("priorities", [[1.0, 2.0, 3.0, 4.0], [0.01, 0.1, 1.0, 10.0, 5.0], [1.0] * 6])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_one_over_the_inclusion_estimates_every_sum_without_bias(priorities: list[float], n: int) -> None:
    buffer = filled(priorities, Proportional(1.0, beta=1.0, replace=False))
    rng = np.random.default_rng(5)
    times = 4000
    # one estimate a draw for the number of each record, which is 1: all sums are made of these
    estimates = np.zeros((times, len(priorities)))
    for k in range(times):
        draw = buffer.sampler.draw(n, rng)
        assert draw.expected is not None
        estimates[k, draw.slots] = 1 / draw.expected(draw.slots)
    error = estimates.std(0) / times**0.5
    assert (np.abs(estimates.mean(0) - 1) < 4.5 * error).tolist() == [True] * len(priorities)


@pytest.mark.parametrize("n", [400, 1500])
def test_weights_with_beta_1_correct_sums_of_a_large_batch(n: int) -> None:
    rng = np.random.default_rng(6)
    priorities = rng.uniform(0.2, 3, 2000)
    values = priorities + rng.random(2000)  # what is drawn often is large, too
    buffer = filled(priorities, Proportional(1.0, beta=1.0, replace=False))
    means = []
    for _ in range(60):
        batch = buffer.sample(n)
        means.append(np.average(values[batch.ids], weights=batch.weight.astype(np.float64)))
    assert np.mean(means) == pytest.approx(values.mean(), rel=0.015)


@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_weights_are_inclusions_to_the_minus_beta_over_the_batchs_largest(beta: float) -> None:
    priorities = np.random.default_rng(7).uniform(0.01, 3, 100)
    buffer = filled(priorities, Proportional(1.0, beta=beta, replace=False))
    draw = buffer.sampler.draw(40, np.random.default_rng(8))
    assert draw.expected is not None
    raw = draw.expected(draw.slots) ** -beta
    assert draw.weight.tolist() == pytest.approx((raw / raw.max()).tolist(), rel=2e-7)


@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_weights_by_the_largest_are_over_that_of_the_least_likely_record(beta: float) -> None:
    priorities = np.random.default_rng(7).uniform(0.01, 3, 100)
    priorities[17] = 1e-4
    buffer = filled(priorities, Proportional(1.0, beta=beta, replace=False, normalize="largest"))
    draw = buffer.sampler.draw(40, np.random.default_rng(8))
    assert draw.expected is not None
    raw, largest = draw.expected(draw.slots) ** -beta, draw.expected(np.array([17])) ** -beta
    assert draw.weight.tolist() == pytest.approx((raw / largest).tolist(), rel=2e-7)


def test_inclusions_are_one_minus_exp_of_a_common_time() -> None:
    priorities = np.random.default_rng(9).uniform(0.01, 3, 100)
    buffer = filled(priorities, Proportional(0.5, replace=False))
    draw = buffer.sampler.draw(30, np.random.default_rng(8))
    assert draw.expected is not None
    times = -np.log1p(-draw.expected(np.arange(100))) / priorities**0.5
    assert times.tolist() == pytest.approx([times[0]] * 100, rel=1e-9)


@pytest.mark.parametrize("n", [1, 3, 10])
def test_the_time_is_that_of_the_clock_after_the_last(n: int) -> None:
    rates = np.random.default_rng(10).uniform(0.1, 3, 12)
    buffer = filled(rates, Proportional(1.0, replace=False))
    rng = np.random.default_rng(11)
    drawn_times = []
    for _ in range(2000):
        draw = buffer.sampler.draw(n, rng)
        assert draw.expected is not None
        drawn_times.append(-np.log1p(-draw.expected(np.array([0]))[0]) / rates[0])
    clocks = np.sort(np.random.default_rng(12).exponential(1 / rates, (40_000, 12)), 1)[:, n]
    tenths = np.quantile(clocks, np.arange(1, 10) / 10)
    counts = np.bincount(np.searchsorted(tenths, drawn_times), minlength=10)
    # the tenths themselves are drawn, a twentieth as uncertain as the counts
    assert float(((counts - 200) ** 2 / 200).sum()) / 1.05 < chi_square_limit(9)


@pytest.mark.parametrize("n", [6, 7, 1000])
@pytest.mark.parametrize("normalize", ["batch", "largest"])
def test_when_all_are_drawn_each_weighs_the_same(n: int, normalize: Any) -> None:
    sampler = Proportional(1.0, beta=1.0, replace=False, normalize=normalize)
    batch = filled([1.0, 1e-6, 5.0, 0.0, 3.0, 1e6, 2.0], sampler).sample(n)
    assert batch.weight.tolist() == [1.0] * 6


@pytest.mark.parametrize("normalize", ["batch", "largest"])
def test_equal_priorities_weigh_the_same(normalize: Any) -> None:
    sampler = Proportional(beta=1.0, replace=False, normalize=normalize)
    assert filled([0.3] * 50, sampler).sample(20).weight.tolist() == [1.0] * 20


def test_what_is_drawn_for_sure_and_what_by_chance_differ_in_weight_by_the_inclusion() -> None:
    # the large one is in every batch; of a hundred small ones a tenth is, so that each stands for ten
    sampler = Proportional(1.0, beta=1.0, replace=False)
    buffer = filled([1.0] * 100 + [1e9], sampler)
    ratios = []
    for _ in range(400):
        batch = buffer.sample(11)
        ratios.append(batch.weight[batch.ids < 100][0] / batch.weight[batch.ids == 100][0])
    assert np.mean(ratios) == pytest.approx(10, rel=0.06)


# --- the tree is whole again ----------------------------------------------------------------------------------


class Failing(np.random.Generator):
    """A generator that is interrupted in one of its calls."""

    def __init__(self, at: int, error: BaseException) -> None:
        super().__init__(np.random.PCG64(1))
        self.left, self.error = at, error

    def random(self, *args: Any, **kwargs: Any) -> Any:
        if not self.left:
            raise self.error
        self.left -= 1
        return super().random(*args, **kwargs)


def leaves(buffer: ReplayBuffer) -> NDArray[np.float64]:
    tree = buffer.sampler.tree  # type: ignore[attr-defined]
    return np.array([*tree.leaves(np.arange(len(buffer))), tree.total()])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 64, 97, 1000])
def test_after_a_draw_the_tree_is_what_it_was_to_the_last_bit(size: int) -> None:
    buffer = filled(np.random.default_rng(size).random(size) + 0.01, Proportional(replace=False))
    before = leaves(buffer)
    for n in (1, size // 2 + 1, size, 2 * size):
        buffer.sample(n)
    buffer.check()
    assert leaves(buffer).tolist() == before.tolist()


@pytest.mark.parametrize("at", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), RuntimeError("no numbers")], ids=repr)
def test_after_an_interrupted_draw_the_tree_is_what_it_was_to_the_last_bit(
    at: int, error: BaseException
) -> None:
    priorities = 10.0 ** np.random.default_rng(13).uniform(-6, 6, 100)  # so that many calls are needed
    buffer = filled(priorities, Proportional(1.0, replace=False))
    before = leaves(buffer)
    with pytest.raises(type(error)):
        buffer.sample(60, rng=Failing(at, error))
    buffer.check()
    assert leaves(buffer).tolist() == before.tolist()


def test_an_interrupted_draw_counts_nothing() -> None:
    buffer = filled(np.arange(1.0, 101.0), Proportional(1.0, replace=False))
    before = buffer.stats()
    with pytest.raises(KeyboardInterrupt):
        buffer.sample(60, rng=Failing(2, KeyboardInterrupt()))
    assert buffer.stats() == before


def test_after_an_interrupted_draw_the_next_is_by_the_same_probabilities() -> None:
    buffer = filled([1.0, 2.0, 5.0], Proportional(1.0, replace=False))
    batches = []
    for _ in range(2500):
        with pytest.raises(RuntimeError):
            buffer.sample(3, rng=Failing(1, RuntimeError()))
        batches += drawn(buffer, 2, 1)
    assert fits(batches, orders([1.0, 2.0, 5.0], 2))


@more
@given(
    priorities=st.lists(st.sampled_from([0.0, 1e-9, 0.25, 1.0, 3.0, 1e9]), min_size=1, max_size=90),
    n=st.integers(1, 100),
    alpha=st.sampled_from([0.0, 0.6, 1.0]),
    normalize=st.sampled_from(["batch", "largest"]),
    seed=st.integers(0, 1000),
)
def test_any_draw_is_of_distinct_drawable_records_with_weights_in_0_to_1_and_leaves_the_tree_whole(
    priorities: list[float], n: int, alpha: float, normalize: Any, seed: int
) -> None:
    drawable = {i for i, p in enumerate(priorities) if p > 0}
    if not drawable:
        return
    buffer = filled(priorities, Proportional(alpha, 1.0, replace=False, normalize=normalize), seed=seed)
    batch = buffer.sample(n)
    buffer.check()
    ids, weight = batch.ids.tolist(), batch.weight
    assert set(ids) <= drawable
    assert len(set(ids)) == len(ids) == min(n, len(drawable))
    assert ((weight > 0) & (weight <= 1)).tolist() == [True] * len(ids)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("sampler", [Uniform(replace=False), Proportional(replace=False)], ids=repr)
def test_the_same_seed_and_calls_give_the_same_batches(sampler: Any, seed: int) -> None:
    one, other = (filled(np.arange(1.0, 301.0), sampler, seed=seed) for _ in range(2))
    sizes = [3, 80, 1, 200, 400]
    assert [one.sample(n).ids.tolist() for n in sizes] == [other.sample(n).ids.tolist() for n in sizes]
