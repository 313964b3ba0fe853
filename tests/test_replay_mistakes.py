"""A mistake is said clearly, costs no record that is right, and leaves a buffer that works."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ostinato import BuildResult, EmptyBufferError, ReplayBuffer, Results, UsageError
from ostinato.replay import Proportional


def record(timestamp: int) -> BuildResult:
    return BuildResult(
        tir_hash=bytes(32),
        generated_tasm=["add"],
        valid=True,
        clock_cycles=1,
        compiler_cycles=2,
        fallback_used=False,
        timestamp=timestamp,
        model_version=0,
    )


def nan_at_three(results: Any) -> Any:
    return np.where(results.timestamp == 3, np.nan, 1.0)


def raises_at_three(results: Any) -> Any:
    if (results.timestamp == 3).any():
        raise KeyError("three")
    return np.ones(len(results))


@pytest.mark.parametrize("reward", [nan_at_three, raises_at_three])
def test_a_reward_that_fails_for_one_pushed_record_leaves_out_that_one(reward: Any) -> None:
    buffer = ReplayBuffer(10, reward=reward)
    ids = [buffer.push(record(t)) for t in range(6)]
    with pytest.raises(UsageError, match="the reward failed for record 3, which is left out"):
        buffer.valid_count()
    assert [i for i in ids if i in buffer] == [0, 1, 2, 4, 5]
    assert [r.timestamp for r in buffer.sample(10)] == [0, 1, 2, 4, 5]
    buffer.check()


@pytest.mark.parametrize("reward", [nan_at_three, raises_at_three])
def test_a_reward_that_fails_for_one_of_many_takes_none_in(reward: Any) -> None:
    buffer = ReplayBuffer(10, reward=reward)
    with pytest.raises((UsageError, KeyError)):
        buffer.extend([record(t) for t in range(6)])
    assert (len(buffer), buffer.stats().pushed) == (0, 0)


def test_pushes_go_on_after_a_reward_failed_beyond_what_waits() -> None:
    buffer = ReplayBuffer(4, reward=nan_at_three)
    failures = 0
    for t in [3, *range(10, 9_000)]:
        try:
            buffer.push(record(t))
        except UsageError:
            failures += 1
    assert (failures, buffer.stats().pushed, len(buffer.ids())) == (1, 8_991, 4)


@pytest.mark.parametrize("identity", [1.7, True, "1", None, 2**70, -1, np.float64(1), 99])
def test_what_is_no_id_of_a_record_is_not_in_the_buffer(identity: Any) -> None:
    buffer = ReplayBuffer(4)
    buffer.extend([record(0), record(1)])
    assert identity not in buffer
    with pytest.raises(UsageError, match="- at `identity`"):
        buffer.get(identity)


@pytest.mark.parametrize("priorities", [["x"], [1j], [None, 2], "high", [[1.0]]])
def test_priorities_that_are_no_numbers_are_refused(priorities: Any) -> None:
    buffer = ReplayBuffer(4)
    buffer.push(record(0))
    with pytest.raises(UsageError, match="- at `priorities`"):
        buffer.update_priorities([0], priorities)
    assert buffer.priorities([0]).tolist() == [1.5]


def test_one_id_and_one_priority_need_no_lists() -> None:
    buffer = ReplayBuffer(4)
    buffer.push(record(0))
    assert (buffer.update_priorities(0, 7), buffer.priorities(0).tolist()) == (1, [7.0])


@pytest.mark.parametrize("wrong", [5, [5], None, [None]])
def test_what_is_no_build_result_is_refused(wrong: Any) -> None:
    with pytest.raises(UsageError, match="expected"):
        ReplayBuffer(4).extend(wrong)


def test_a_result_drawn_often_from_an_archive_is_pushed_as_often() -> None:
    from ostinato import archive

    results = archive.loads(archive.dumps([record(0)]))
    buffer = ReplayBuffer(100)
    buffer.extend(results[[0] * 100])
    assert list(buffer) == [record(0)] * 100


def test_a_rewards_own_array_is_not_frozen() -> None:
    own = np.ones(1)
    buffer = ReplayBuffer(1, reward=lambda results: own)
    buffer.push(record(0))
    shown = buffer.sample(1).reward
    own[0] = 2.0
    assert (own.flags.writeable, shown.flags.writeable) == (True, False)


def test_priorities_whose_sum_is_beyond_float64_are_said_to_be_too_large() -> None:
    buffer = ReplayBuffer(4, sampler=Proportional(alpha=1.0))
    buffer.extend([record(0)] * 4, priorities=[1e308] * 4)
    with pytest.raises(UsageError, match="scale them down"):
        buffer.sample(1)


def test_nothing_to_draw_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(EmptyBufferError, match="push build results first"):
        ReplayBuffer(4, sampler=Proportional()).sample(1)


def test_results_of_no_records_change_nothing() -> None:
    buffer = ReplayBuffer(4)
    ids = buffer.extend(Results.concat([]))
    assert (ids.tolist(), len(buffer), buffer.update_priorities([], [])) == ([], 0, 0)
