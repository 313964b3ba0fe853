"""Priorities from errors and rewards, against the formulas written out in plain Python."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from ostinato import ReplayBuffer, UsageError
from ostinato.replay import scale_free_priority, td_priority
from record_helpers import complaint, more, record

numbers = st.floats(-1e6, 1e6)
tied = st.sampled_from([0.0, 0.0, 0.0, 1.0, -2.5])
counts = st.integers(0, 1000)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def scale_free(rewards: list[float], times: list[int]) -> list[float]:
    median = statistics.median(rewards)
    away = [abs(r - median) for r in rewards]
    scale = statistics.median(away) or statistics.fmean(away)
    return [
        sigmoid((r - median) / scale if scale else 0.0) / (1 + n) for r, n in zip(rewards, times, strict=True)
    ]


# --- td_priority --------------------------------------------------------------------------------------------


@more
@given(st.lists(st.floats(-1e300, 1e300), max_size=20), st.floats(0, 10), st.none() | st.floats(0, 100))
def test_a_td_priority_is_the_size_of_the_error_and_a_little(
    errors: list[float], epsilon: float, clip: float | None
) -> None:
    expected = [min(abs(e), math.inf if clip is None else clip) + epsilon for e in errors]
    assert td_priority(errors, epsilon=epsilon, clip=clip).tolist() == expected


def test_an_error_of_0_keeps_a_positive_priority() -> None:
    assert td_priority([0.0, -0.0]).tolist() == [1e-6, 1e-6]


def test_with_an_epsilon_of_0_an_error_of_0_takes_a_record_out() -> None:
    assert td_priority([0, 2], epsilon=0).tolist() == [0.0, 2.0]


def test_what_is_clipped_still_gets_the_epsilon() -> None:
    assert td_priority([5.0, -5.0, 0.5], epsilon=0.25, clip=1.0).tolist() == [1.25, 1.25, 0.75]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int8, np.int64, np.uint8])
def test_td_priorities_are_float64_of_any_kind_of_errors(kind: Any) -> None:
    found = td_priority(np.array([1, 3], kind), epsilon=0.5)
    assert (found.dtype, found.tolist()) == (np.float64, [1.5, 3.5])


@pytest.mark.parametrize("least", [np.int8, np.int16, np.int32, np.int64])
def test_the_smallest_integer_has_a_size(least: Any) -> None:
    assert td_priority(np.array([np.iinfo(least).min], least), epsilon=0).tolist() == [
        -float(np.iinfo(least).min)
    ]


def test_the_errors_are_left_as_they_were() -> None:
    errors = np.array([-1.0, 2.0])
    td_priority(errors, clip=1.0)
    assert errors.tolist() == [-1.0, 2.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_error_that_is_no_finite_number_is_refused_with_its_place(bad: float) -> None:
    assert complaint(UsageError, td_priority, [1.0, 2.0, bad]) == (
        f"expected finite numbers, got {bad} - at `errors[2]`"
    )


@pytest.mark.parametrize("name", ["epsilon", "clip"])
@pytest.mark.parametrize("bad", [-1.0, -1e-300, math.nan, math.inf])
def test_a_negative_or_endless_setting_is_refused(name: str, bad: float) -> None:
    assert complaint(UsageError, td_priority, [1.0], **{name: bad}).endswith(f"at `{name}`")


# --- scale_free_priority ------------------------------------------------------------------------------------


@more
@given(st.lists(st.tuples(numbers | tied, counts), min_size=1, max_size=30))
def test_a_scale_free_priority_is_what_the_formula_says(rows: list[tuple[float, int]]) -> None:
    rewards, times = [r for r, _ in rows], [n for _, n in rows]
    found = scale_free_priority(rewards, times)
    np.testing.assert_allclose(found, scale_free(rewards, times), rtol=1e-9, atol=1e-300)


@more
@given(st.lists(st.tuples(tied, counts), min_size=1, max_size=12))
def test_with_many_equal_rewards_the_mean_deviation_stands_in(rows: list[tuple[float, int]]) -> None:
    rewards, times = [r for r, _ in rows], [n for _, n in rows]
    np.testing.assert_allclose(scale_free_priority(rewards, times), scale_free(rewards, times), rtol=1e-12)


def test_where_the_mad_is_0_the_scale_is_the_mean_deviation() -> None:
    expected = [0.5, 0.5, 0.5, sigmoid(4.0)]  # away from the median by 0, 0, 0, 8: 2 in the mean
    np.testing.assert_allclose(scale_free_priority([1, 1, 1, 9], [0] * 4), expected, rtol=1e-14)


def test_equal_rewards_are_told_apart_by_their_draws_alone() -> None:
    assert scale_free_priority([7.0] * 3, [0, 1, 3]).tolist() == [0.5, 0.25, 0.125]


def test_one_reward_is_its_own_median() -> None:
    assert scale_free_priority([123.0], [4]).tolist() == [0.1]


@pytest.mark.parametrize("scale", [1e-300, 1e-10, 1.0, 1e10, 1e300])
def test_the_scale_of_the_rewards_does_not_matter(scale: float) -> None:
    rewards, times = np.array([1.0, 2.0, 4.0, 7.0, 3.0]), np.arange(5)
    np.testing.assert_allclose(
        scale_free_priority(scale * rewards, times), scale_free_priority(rewards, times), rtol=1e-9
    )


@pytest.mark.parametrize("rewards", [[1.5e308] * 2, [1.5e308, 1.7e308], [-1.5e308, 1.5e308]], ids=str)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_largest_rewards_have_priorities_too(rewards: list[float]) -> None:
    expected = [0.5, 0.5] if rewards[0] == rewards[1] else [sigmoid(-1.0), sigmoid(1.0)]
    np.testing.assert_allclose(scale_free_priority(rewards, [0, 0]), expected, rtol=1e-9)


@more
@given(st.lists(numbers, min_size=1, max_size=20))
def test_a_higher_reward_has_no_lower_priority(rewards: list[float]) -> None:
    found = scale_free_priority(sorted(rewards), [0] * len(rewards))
    assert (np.diff(found) >= 0).all()


@more
@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=20))
def test_scale_free_priorities_are_ones_that_a_buffer_takes(rewards: list[float]) -> None:
    found = scale_free_priority(rewards, [3] * len(rewards))
    assert ((found >= 0) & (found <= 0.25)).all()


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint64, np.float64])
def test_counts_may_be_of_any_kind(kind: Any) -> None:
    assert scale_free_priority([1.0, 1.0], np.array([0, 3], kind)).tolist() == [0.5, 0.125]


def test_a_count_beyond_int32_counts() -> None:
    assert scale_free_priority([1.0], np.array([2**40], np.uint64)).tolist() == [0.5 / (1 + 2**40)]


def test_rewards_and_counts_are_left_as_they_were() -> None:
    rewards, times = np.array([3.0, 1.0]), np.array([1, 2])
    scale_free_priority(rewards, times)
    assert (rewards.tolist(), times.tolist()) == ([3.0, 1.0], [1, 2])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_no_finite_number_is_refused_with_its_place(bad: float) -> None:
    assert complaint(UsageError, scale_free_priority, [1.0, bad], [0, 0]) == (
        f"expected finite numbers, got {bad} - at `rewards[1]`"
    )


@pytest.mark.parametrize("times", [[0], [0, 0, 0], []], ids=str)
def test_there_are_as_many_counts_as_rewards(times: list[int]) -> None:
    assert complaint(UsageError, scale_free_priority, [1.0, 2.0], times).endswith("at `times_sampled`")


def test_a_negative_count_is_refused() -> None:
    message = "expected numbers >= 0, got -1 - at `times_sampled`"
    assert complaint(UsageError, scale_free_priority, [1.0, 2.0], [0, -1]) == message


def test_a_count_that_is_no_number_is_refused() -> None:
    assert complaint(UsageError, scale_free_priority, [1.0], [math.nan]).endswith("at `times_sampled[0]`")


# --- both ---------------------------------------------------------------------------------------------------

BOTH: list[Callable[[Any], Any]] = [td_priority, lambda rewards: scale_free_priority(rewards, [0, 0])]
both = pytest.mark.parametrize("shape", BOTH, ids=["td", "scale free"])


@both
@pytest.mark.parametrize(
    "column",
    [[[1.0, 2.0]], ["1", "2"], [None, 1.0], [True, False], np.ma.masked_equal([1, 2], 2), [1j, 2.0]],
    ids=repr,
)
def test_what_is_no_column_of_numbers_is_refused(shape: Callable[[Any], Any], column: Any) -> None:
    assert "expected n" in complaint(UsageError, shape, column)


@pytest.mark.parametrize("empty", [[], np.empty(0), np.empty(0, np.int64)], ids=repr)
def test_an_empty_column_gives_an_empty_one(empty: Any) -> None:
    found = [td_priority(empty), scale_free_priority(empty, empty)]
    assert [(f.dtype, f.shape) for f in found] == [(np.float64, (0,))] * 2


def test_a_batch_can_be_shaped_and_given_back() -> None:
    buffer = ReplayBuffer(10)
    buffer.extend([record(clock_cycles=c) for c in (1, 5, 9)])
    batch = buffer.sample(3)
    buffer.update_priorities(batch.ids, scale_free_priority(batch.reward, batch.times_sampled))
    expected = scale_free(batch.reward.tolist(), [1, 1, 1])
    np.testing.assert_allclose(buffer.priorities(batch.ids), expected, rtol=1e-12)
