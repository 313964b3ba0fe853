"""Which records are drawn: exactly on boundaries, and in distribution."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from draw_helpers import chi_square_limit
from ostinato import BuildResult, EmptyBufferError, ReplayBuffer, Results, UsageError, Vocabulary
from ostinato.replay import Greedy, LowestPriority, Oldest, Proportional, Uniform
from ostinato.replay.table import Table
from ostinato.replay.trees import OrderTree, SumTree

SIZES = [1, 2, 3, 5, 7, 8, 9, 13, 31, 61, 63, 64, 65, 127, 511, 512, 513, 4095, 4096, 4097]
SAMPLERS = [Greedy(), Uniform(), Proportional(), Proportional(stratified=False)]


def records(count: int) -> Results:
    return Results.from_columns(
        tir_hash=np.zeros((count, 32), np.uint8),
        tokens=np.zeros(count, np.int32),
        offsets=np.arange(count + 1),
        vocabulary=Vocabulary(["push 1"]),
        valid=np.ones(count, bool),
        clock_cycles=np.full(count, 5, np.uint64),
        compiler_cycles=np.full(count, 10, np.uint64),
        fallback_used=np.zeros(count, bool),
        timestamp=np.arange(count, dtype=np.uint64),
        model_version=np.ones(count, np.uint32),
    )


def filled(priorities: Any, sampler: Any, **other: Any) -> ReplayBuffer:
    other = {"capacity": len(priorities), "seed": 11, **other}
    buffer = ReplayBuffer(sampler=sampler, **other)
    buffer.extend(records(len(priorities)), priorities)
    return buffer


def table_of(priorities: Any) -> Table:
    """A full table of these priorities, for the trees alone."""
    table = Table(len(priorities), Vocabulary())
    table.make_room(len(priorities))
    table.priority[:] = priorities
    table.ids[:] = np.arange(len(priorities))
    table.count = len(priorities)
    return table


def chi_square(drawn: NDArray[np.int64], expected: NDArray[np.float64]) -> float:
    """Of counts of 0 .. len(expected) - 1 against expected counts, all of them positive."""
    counts = np.bincount(drawn, minlength=len(expected))
    assert len(counts) == len(expected)
    return float(((counts - expected) ** 2 / expected).sum())


# --- the sum tree, exactly ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_each_cumulative_sum_begins_the_next_share(size: int) -> None:
    leaves = np.random.default_rng(size).integers(0, 4, size).astype(np.float64)
    leaves[-1] += 1
    starts = np.cumsum(leaves) - leaves  # whole numbers: every sum is exact
    drawable = np.flatnonzero(leaves)
    slots, _ = SumTree(table_of(leaves), 1.0).find(starts[drawable])
    assert slots.tolist() == drawable.tolist()


@pytest.mark.parametrize("size", SIZES)
def test_just_below_each_cumulative_sum_is_the_share_before(size: int) -> None:
    leaves = np.random.default_rng(size).integers(0, 4, size).astype(np.float64)
    leaves[-1] += 1
    ends = np.cumsum(leaves)
    drawable = np.flatnonzero(leaves)
    slots, _ = SumTree(table_of(leaves), 1.0).find(np.nextafter(ends[drawable], 0))
    assert slots.tolist() == drawable.tolist()


@pytest.mark.parametrize("size", SIZES)
def test_zero_finds_the_first_record_that_has_a_share(size: int) -> None:
    leaves = np.ones(size)
    leaves[: size // 2] = 0
    assert SumTree(table_of(leaves), 1.0).find(np.zeros(1))[0].tolist() == [size // 2]


@pytest.mark.parametrize("size", SIZES)
def test_just_below_the_total_finds_the_last_record_that_has_a_share(size: int) -> None:
    leaves = np.random.default_rng(size).random(size) + 0.1
    leaves[size // 2 + 1 :] = 0
    tree = SumTree(table_of(leaves), 1.0)
    assert tree.find(np.array([np.nextafter(tree.total(), 0)]))[0].tolist() == [size // 2]


@pytest.mark.parametrize("size", SIZES)
def test_the_total_of_whole_numbers_is_exact(size: int) -> None:
    leaves = np.random.default_rng(size).integers(0, 9, size).astype(np.float64)
    assert SumTree(table_of(leaves), 1.0).total() == leaves.sum()


@pytest.mark.parametrize("size", SIZES)
def test_find_gives_the_leaf_with_its_slot(size: int) -> None:
    leaves = np.random.default_rng(size).random(size) + 0.1
    tree = SumTree(table_of(leaves), 1.0)
    slots, found = tree.find(np.random.default_rng(1).random(100) * tree.total())
    assert found.tolist() == leaves[slots].tolist()


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.one_of(st.just(0.0), st.floats(5e-324, 1e300), st.sampled_from([0.1, 1e-300, 1.0])),
        min_size=1,
        max_size=150,
    ),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=20),
)
def test_a_record_of_priority_zero_is_never_found(leaves: list[float], shares: list[float]) -> None:
    tree = SumTree(table_of(leaves), 1.0)
    total = tree.total()
    if total == 0:
        return
    ends = np.cumsum(leaves)
    numbers = np.concatenate([np.array(shares) * total, ends, np.nextafter(ends, 0)])
    slots, _ = tree.find(np.minimum(numbers, np.nextafter(total, 0)))
    assert 0.0 not in [leaves[slot] for slot in slots]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stratified", [True, False])
def test_the_only_positive_one_among_zeros_is_always_drawn(size: int, stratified: bool) -> None:
    priorities = np.zeros(size)
    priorities[size // 3] = 1e-3
    batch = filled(priorities, Proportional(stratified=stratified)).sample(50)
    assert set(batch.ids.tolist()) == {size // 3}


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_records_of_priority_zero_are_never_drawn(alpha: float) -> None:
    priorities = np.random.default_rng(2).integers(0, 2, 1000).astype(np.float64)
    batch = filled(priorities, Proportional(alpha=alpha)).sample(20_000)
    assert batch.priority.min() == 1.0


def test_a_record_set_to_zero_is_drawn_no_more() -> None:
    buffer = filled(np.ones(500), Proportional())
    buffer.sample(10)
    buffer.update_priorities(np.arange(499), np.zeros(499))
    assert set(buffer.sample(100).ids.tolist()) == {499}


@pytest.mark.parametrize("size", [65, 1000, 4097, 50_000])
def test_after_a_million_changes_the_root_is_the_sum_of_the_leaves(size: int) -> None:
    rng = np.random.default_rng(size)
    buffer = filled(rng.random(size), Proportional(alpha=1.0))
    tree = buffer._sampler.tree
    widths = itertools.cycle([1, 3, 200, 20_000, 7])  # one by one, in parts, and all anew
    done = 0
    while done < 1_000_000:
        width = next(widths)
        first = buffer.stats().pushed - size
        buffer.update_priorities(
            rng.integers(first, first + size, width), 10.0 ** rng.uniform(-12, 12, width)
        )
        tree.total()
        done += width
    leaves = buffer.priorities(buffer.ids())
    assert tree.total() == pytest.approx(leaves.sum(), rel=1e-12, abs=0)


@pytest.mark.parametrize("remover", [LowestPriority(), LowestPriority("newest"), Oldest()], ids=repr)
@pytest.mark.parametrize("size", [65, 1000, 4097])
def test_trees_hold_after_pushes_and_updates_of_every_size(size: int, remover: Any) -> None:
    rng = np.random.default_rng(size)
    buffer = filled(rng.random(size), Proportional(), remover=remover)
    for width in [1, 5, size // 20, 1, size, 3, 2 * size, 2, size // 10] * 3:
        buffer.extend(records(width), rng.choice([0.0, 0.5, 1.0, 2.0], width))
        ids = rng.choice(buffer.ids(), max(1, width // 2))
        buffer.update_priorities(ids, rng.choice([0.0, 0.25, 1.0, 3.0], len(ids)))
        for index in (buffer._sampler, buffer._remover):
            if hasattr(index, "tree"):
                index.tree.check()
    buffer.check()
    leaves = buffer.priorities(buffer.ids()) ** 0.6
    assert buffer._sampler.tree.total() == pytest.approx(leaves.sum(), rel=1e-12, abs=0)


# --- distributions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 7, 64, 65, 1000])
def test_uniform_draws_each_record_as_often(size: int) -> None:
    batch = filled(np.zeros(size), Uniform()).sample(200 * size)
    assert chi_square(batch.ids, np.full(size, 200.0)) < chi_square_limit(size - 1)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("size", [2, 9, 64, 513])
def test_plain_proportional_draws_by_the_power_of_the_priority(size: int, alpha: float) -> None:
    priorities = np.random.default_rng(size).uniform(0.05, 2, size)
    batch = filled(priorities, Proportional(alpha=alpha, stratified=False)).sample(300 * size)
    shares = priorities**alpha / (priorities**alpha).sum()
    assert chi_square(batch.ids, 300 * size * shares) < chi_square_limit(size - 1)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("size", [2, 9, 64, 513])
def test_stratified_proportional_draws_by_the_power_of_the_priority(size: int, alpha: float) -> None:
    priorities = np.random.default_rng(size).uniform(0.05, 2, size)
    buffer = filled(priorities, Proportional(alpha=alpha))
    drawn = np.concatenate([buffer.sample(16).ids for _ in range(20 * size)])
    shares = priorities**alpha / (priorities**alpha).sum()
    # strata only lessen the spread, so the limit for independent draws holds
    assert chi_square(drawn, len(drawn) * shares) < chi_square_limit(size - 1)


@pytest.mark.parametrize("stratified", [True, False])
def test_draws_follow_updated_priorities(stratified: bool) -> None:
    buffer = filled(np.ones(1000), Proportional(alpha=1.0, stratified=stratified))
    buffer.sample(1)
    new = np.random.default_rng(5).uniform(0.05, 4, 1000)
    for part in np.array_split(np.arange(1000), 40):
        buffer.update_priorities(part, new[part])
        buffer.sample(1)
    assert chi_square(buffer.sample(200_000).ids, 200_000 * new / new.sum()) < chi_square_limit(999)


@pytest.mark.parametrize("remover", [LowestPriority(), Oldest()], ids=repr)
@pytest.mark.parametrize("sampler", [Uniform(), Proportional(1.0, stratified=False)], ids=repr)
def test_draws_follow_removals_at_capacity(remover: Any, sampler: Any) -> None:
    rng = np.random.default_rng(6)
    buffer = filled(rng.uniform(0.05, 4, 300), sampler, remover=remover)
    for _ in range(100):
        buffer.extend(records(7), rng.uniform(0.05, 4, 7))
        buffer.sample(1)
    ids = buffer.ids()
    shares = buffer.priorities(ids) if isinstance(sampler, Proportional) else np.ones(len(ids))
    drawn = np.searchsorted(ids, buffer.sample(100_000).ids)
    assert chi_square(drawn, 100_000 * shares / shares.sum()) < chi_square_limit(299)


@pytest.mark.parametrize("n", [1, 2, 7, 64, 1000])
def test_each_stratum_gets_one_draw(n: int) -> None:
    buffer = filled(np.ones(n), Proportional(alpha=1.0))  # as many records as strata, all alike
    assert np.sort(buffer.sample(n).ids).tolist() == list(range(n))


def test_strata_are_of_equal_mass() -> None:
    priorities = np.random.default_rng(7).uniform(0.1, 3, 200)
    buffer = filled(priorities, Proportional(alpha=1.0))
    ids = buffer.sample(37).ids  # in order of strata; slots are ids in a buffer filled once
    ends = np.cumsum(priorities)
    width = ends[-1] / 37
    begins = (ends - priorities)[ids]
    inside = (begins < width * np.arange(1, 38)) & (ends[ids] >= width * np.arange(37))
    assert inside.tolist() == [True] * 37


def test_a_record_with_half_the_mass_gets_half_the_strata() -> None:
    buffer = filled([1.0] * 10 + [10.0], Proportional(alpha=1.0))
    assert (buffer.sample(100).ids == 10).sum() == 50


# --- probability and weight ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stratified", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_probability_is_the_records_share(alpha: float, stratified: bool) -> None:
    priorities = np.random.default_rng(8).uniform(0.01, 3, 100)
    batch = filled(priorities, Proportional(alpha=alpha, stratified=stratified)).sample(50)
    shares = priorities**alpha / (priorities**alpha).sum()
    assert batch.probability.tolist() == pytest.approx(shares[batch.ids].tolist(), rel=1e-13)


def test_probability_of_dyadic_priorities_is_exact() -> None:
    batch = filled([1.0, 2.0, 1.0, 4.0], Proportional(alpha=1.0)).sample(64)
    assert batch.probability.tolist() == (np.array([1, 2, 1, 4])[batch.ids] / 8).tolist()


@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_weight_is_the_inverse_share_over_the_largest_of_the_batch(beta: float) -> None:
    priorities = np.random.default_rng(9).uniform(0.01, 3, 100)
    batch = filled(priorities, Proportional(alpha=0.6, beta=beta)).sample(40)
    raw = (100 * batch.probability) ** -beta
    assert batch.weight.tolist() == (raw / raw.max()).astype(np.float32).tolist()


def test_weights_correct_the_mean() -> None:
    priorities = np.random.default_rng(10).uniform(0.1, 3, 50)
    batch = filled(priorities, Proportional(alpha=1.0, beta=1.0)).sample(100_000)
    values = batch.ids.astype(np.float64)
    weights = batch.weight.astype(np.float64)
    assert (weights * values).sum() / weights.sum() == pytest.approx(24.5, rel=0.01)


def test_uniform_draws_have_equal_probabilities_and_weights() -> None:
    batch = filled(np.ones(8), Uniform()).sample(3)
    assert (batch.probability.tolist(), batch.weight.tolist()) == ([1 / 8] * 3, [1.0] * 3)


# --- greedy -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("levels", [1, 3, 1000])
def test_greedy_is_by_descending_priority_then_id(size: int, levels: int) -> None:
    rng = np.random.default_rng(size)
    priorities = rng.integers(0, levels, 2 * size) / 4
    buffer = filled(priorities, Greedy(), capacity=size, remover=Oldest())
    order = sorted(range(size, 2 * size), key=lambda i: (-priorities[i], i))
    sizes = [1, 2, size // 8 - 1, size // 8, size // 8 + 1, size // 2, size, size + 1]
    got = [buffer.sample(n).ids.tolist() for n in sizes if n > 0]
    assert got == [order[:n] for n in sizes if n > 0]


@pytest.mark.parametrize("size", [100, 1000, 4097])
def test_greedy_follows_updates_and_removals_of_every_size(size: int) -> None:
    rng = np.random.default_rng(size)
    buffer = filled(rng.integers(0, 5, size) / 4, Greedy())
    got, expected = [], []
    for width in [1, 2, size // 20, 1, size, 3] * 5:
        ids = rng.choice(buffer.ids(), width)
        buffer.update_priorities(ids, rng.integers(0, 5, width) / 4)
        buffer.extend(records(width), rng.integers(0, 5, width) / 4)
        live = buffer.ids()
        n = max(1, size // 9)
        got.append(buffer.sample(n).ids.tolist())
        expected.append(live[np.lexsort((live, -buffer.priorities(live)))][:n].tolist())
    assert got == expected


@pytest.mark.parametrize("size", [1, 8, 65, 4097])
def test_an_order_tree_gives_the_first_of_any_signs(size: int) -> None:
    table = table_of(np.random.default_rng(size).integers(0, 4, size) / 2)
    got, expected = [], []
    for sign_priority, sign_id in itertools.product([1, -1], repeat=2):
        order = sorted(range(size), key=lambda i: (sign_priority * table.priority[i], sign_id * i))
        for n in {1, size // 9, size}:
            got.append(OrderTree(table, sign_priority, sign_id).first(n).tolist())
            expected.append(order[:n])
    assert got == expected


def test_greedy_gives_all_there_are_when_asked_for_more() -> None:
    assert len(filled(np.ones(5), Greedy()).sample(10**12)) == 5


def test_greedy_gives_an_empty_batch_of_an_empty_buffer() -> None:
    assert len(ReplayBuffer(5).sample(3)) == 0


def test_greedy_also_draws_records_of_priority_zero() -> None:
    assert filled([0.0, 1.0, 0.0], Greedy()).sample(3).ids.tolist() == [1, 0, 2]


# --- nothing to draw ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", SAMPLERS[1:], ids=repr)
def test_drawing_by_chance_from_an_empty_buffer_is_an_error(sampler: Any) -> None:
    with pytest.raises(EmptyBufferError, match="empty"):
        ReplayBuffer(5, sampler=sampler).sample(1)


@pytest.mark.parametrize("stratified", [True, False])
def test_proportional_with_no_positive_priority_is_an_error(stratified: bool) -> None:
    with pytest.raises(EmptyBufferError, match=r"priority\*\*alpha is 0 for all 20"):
        filled(np.zeros(20), Proportional(stratified=stratified)).sample(1)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_no_draws_from_an_empty_buffer_are_an_empty_batch(sampler: Any) -> None:
    assert len(ReplayBuffer(5, sampler=sampler).sample(0)) == 0


def test_priorities_whose_sum_is_beyond_float64_are_refused() -> None:
    with pytest.raises(UsageError, match="scale the priorities"):
        filled([1e308, 1e308], Proportional(alpha=1.0)).sample(1)


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({"alpha": -0.1}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"alpha": float("inf")}, "alpha"),
        ({"beta": -0.1}, "beta"),
        ({"beta": 1.1}, "beta"),
        ({"beta": float("nan")}, "beta"),
    ],
    ids=str,
)
def test_proportional_refuses_exponents_out_of_range(arguments: Any, place: str) -> None:
    with pytest.raises(UsageError, match=f"`{place}`"):
        Proportional(**arguments)


# --- chance -------------------------------------------------------------------------------------------------


def digest(sampler: Any) -> str:
    """Of all that a fixed course of pushes, updates and draws gives."""
    rng = np.random.default_rng(12)
    words = [f"word {i}" for i in range(50)]
    buffer = ReplayBuffer(700, sampler=sampler, seed=13)
    out = hashlib.sha256()
    for turn in range(12):
        for i in range(turn * 20):
            tasm = [words[k] for k in rng.integers(0, 50, 4)]
            buffer.push(
                BuildResult(
                    tir_hash=bytes([i]) * 32,
                    generated_tasm=tasm,
                    valid=bool(i % 3),
                    clock_cycles=int(rng.integers(1, 100)),
                    compiler_cycles=100,
                    fallback_used=False,
                    timestamp=i,
                    model_version=turn,
                )
            )
        if not buffer.is_empty():
            batch = buffer.sample(64)
            for name in ("ids", "tokens", "offsets", "priority", "probability", "weight", "timestamp"):
                out.update(getattr(batch, name).tobytes())
            buffer.update_priorities(batch.ids, rng.random(len(batch)))
    return out.hexdigest()


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_the_same_data_seed_and_calls_give_the_same_batches_in_another_process(sampler: Any) -> None:
    code = (
        "from test_samplers import digest\n"
        "from ostinato.replay import Greedy, Proportional, Uniform\n"
        f"print(digest({sampler!r}))"
    )
    child = subprocess.run(
        [sys.executable, "-c", code],
        cwd=os.path.dirname(__file__),
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout.strip() == digest(sampler)


@pytest.mark.parametrize("sampler", SAMPLERS[1:], ids=repr)
def test_another_seed_gives_other_batches(sampler: Any) -> None:
    draws = [filled(np.ones(1000), sampler, seed=seed).sample(50).ids.tolist() for seed in (1, 2)]
    assert draws[0] != draws[1]


@pytest.mark.parametrize("sampler", SAMPLERS[1:], ids=repr)
def test_a_generator_that_is_passed_in_decides_the_draw(sampler: Any) -> None:
    first, second = (
        filled(np.ones(1000), sampler, seed=seed).sample(50, rng=np.random.default_rng(3)).ids.tolist()
        for seed in (1, 2)
    )
    assert first == second


@pytest.mark.parametrize("sampler", SAMPLERS[1:], ids=repr)
def test_a_generator_that_is_passed_in_leaves_the_buffers_own_as_it_was(sampler: Any) -> None:
    disturbed, plain = filled(np.ones(1000), sampler), filled(np.ones(1000), sampler)
    disturbed.sample(50, rng=np.random.default_rng(3))
    assert disturbed.sample(50).ids.tolist() == plain.sample(50).ids.tolist()


@settings(deadline=None)
@given(
    x=st.floats(1e-300, 1e300, allow_subnormal=False),
    exponent=st.one_of(st.floats(-1, 1), st.sampled_from([0.0, 0.5, 0.6, 1.0, -0.4])),
)
def test_the_power_is_right_to_a_part_in_ten_to_the_thirteen(x: float, exponent: float) -> None:
    from ostinato.replay.sum_tree_kernels import power

    assert power(x, exponent) == pytest.approx(x**exponent, rel=1e-13)


@pytest.mark.parametrize(
    ("x", "exponent", "expected"),
    [
        (3.0, 0.0, "0x1.0000000000000p+0"),
        (5e-324, 1.0, "0x0.0000000000001p-1022"),
        (1.75, 1.0, "0x1.c000000000000p+0"),
        (1e308, 2.0, "inf"),
        (1e-308, 2.0, "0x0.0p+0"),
    ],
)
def test_the_power_at_its_edges(x: float, exponent: float, expected: str) -> None:
    from ostinato.replay.sum_tree_kernels import power

    assert power(x, exponent).hex() == expected


def test_priorities_too_small_to_be_divided_are_refused() -> None:
    with pytest.raises(UsageError, match="scale the priorities"):
        filled([5e-324, 5e-324], Proportional(alpha=1.0)).sample(4)


@pytest.mark.parametrize("sampler", [Uniform(), Proportional()], ids=repr)
@pytest.mark.parametrize("n", [2**31, 2**63, 2**80])
def test_more_draws_than_memory_holds_are_refused(sampler: Any, n: int) -> None:
    with pytest.raises(UsageError, match="- at `n`"):
        filled(np.ones(5), sampler).sample(n)


def test_powers_are_the_same_on_every_machine() -> None:
    from ostinato.replay.sum_tree_kernels import power

    got = [
        power(x, e).hex()
        for x, e in ((1.75, 0.6), (0.001, 0.6), (1.5, -0.4), (123456.789, 0.7), (2.0, 1 / 3))
    ]
    assert got == [
        "0x1.6625f19bf8025p+0",
        "0x1.03ab3d12bc2c4p-6",
        "0x1.b3584b1e45f0cp-1",
        "0x1.ca1c5b1478413p+11",
        "0x1.428a2f98d728bp+0",
    ]
