"""Which records leave: long random streams with many ties, against models that look at everything."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ostinato import BuildResult, ReplayBuffer, Results, UsageError, Vocabulary
from ostinato.replay import LowestPriority, Oldest

CAPACITIES = [1, 2, 7, 8, 9, 63, 64, 65, 257, 1000]
REMOVERS = [LowestPriority("oldest"), LowestPriority("newest"), Oldest()]
STREAM = 4000


def records(count: int, first: int = 0) -> Results:
    """Results whose timestamps are the ids that they will get."""
    return Results.from_columns(
        tir_hash=np.zeros((count, 32), np.uint8),
        tokens=np.arange(first, first + count) % 3,
        offsets=np.arange(count + 1),
        vocabulary=Vocabulary(["push 1", "add", "mul"]),
        valid=np.ones(count, bool),
        clock_cycles=np.full(count, 5, np.uint64),
        compiler_cycles=np.full(count, 10, np.uint64),
        fallback_used=np.zeros(count, bool),
        timestamp=np.arange(first, first + count, dtype=np.uint64),
        model_version=np.ones(count, np.uint32),
    )


def stream(seed: int, levels: int = 5, count: int = STREAM) -> NDArray[np.float64]:
    return np.random.default_rng(seed).integers(0, levels, count) / 4


def survivors(priorities: NDArray[np.float64], capacity: int, remover: Any) -> list[int]:
    """Places in the stream of what is left, by a heap of what would leave first."""
    if isinstance(remover, Oldest):
        return list(range(max(0, len(priorities) - capacity), len(priorities)))
    sign = 1 if remover.ties == "oldest" else -1
    heap: list[tuple[float, int]] = []
    for i, priority in enumerate(priorities.tolist()):
        heapq.heappush(heap, (priority, sign * i))
        if len(heap) > capacity:
            heapq.heappop(heap)
    return sorted(abs(i) for _, i in heap)


def by_timestamp(columns: Any) -> NDArray[np.float64]:
    return stream(3)[columns.timestamp.astype(np.int64)]


@pytest.mark.parametrize("levels", [1, 2, 5, 10**6])
@pytest.mark.parametrize("remover", REMOVERS, ids=repr)
@pytest.mark.parametrize("capacity", CAPACITIES)
def test_a_stream_leaves_whom_the_model_leaves(capacity: int, remover: Any, levels: int) -> None:
    priorities = stream(capacity, levels)
    buffer = ReplayBuffer(capacity, remover=remover)
    for first in range(0, STREAM, 37):
        part = priorities[first : first + 37]
        buffer.extend(records(len(part), first), part)
    assert buffer.ids().tolist() == survivors(priorities, capacity, remover)


@pytest.mark.parametrize("remover", REMOVERS, ids=repr)
@pytest.mark.parametrize("capacity", CAPACITIES)
def test_one_batch_larger_than_the_capacity_leaves_whom_the_model_leaves(capacity: int, remover: Any) -> None:
    priorities = stream(1)
    buffer = ReplayBuffer(capacity, remover=remover)
    buffer.extend(records(STREAM), priorities)
    buffer.check()
    assert buffer.ids().tolist() == survivors(priorities, capacity, remover)


@pytest.mark.parametrize("remover", REMOVERS, ids=repr)
def test_a_batch_of_several_chunks_leaves_whom_the_model_leaves(remover: Any) -> None:
    priorities = stream(2, 1000, 50_000)
    buffer = ReplayBuffer(300, remover=remover)
    buffer.extend(records(50_000), priorities)
    buffer.check()
    assert buffer.ids().tolist() == survivors(priorities, 300, remover)


@pytest.mark.parametrize("remover", REMOVERS, ids=repr)
@pytest.mark.parametrize("capacity", [1, 8, 65, 1000])
def test_single_pushes_leave_whom_one_extend_leaves(capacity: int, remover: Any) -> None:
    whole = records(STREAM)
    pushed = ReplayBuffer(capacity, remover=remover, reward=by_timestamp)
    extended = ReplayBuffer(capacity, remover=remover, reward=by_timestamp)
    for result in whole:
        pushed.push(result)
    extended.extend(whole)
    assert pushed.ids().tolist() == extended.ids().tolist()


@pytest.mark.parametrize("remover", REMOVERS, ids=repr)
@pytest.mark.parametrize("capacity", [1, 8, 65, 1000])
def test_batches_of_any_size_hold_the_records_with_their_ids(capacity: int, remover: Any) -> None:
    rng = np.random.default_rng(capacity)
    buffer = ReplayBuffer(capacity, remover=remover, reward=by_timestamp)
    first = 0
    while first < STREAM:
        width = min(int(rng.choice([1, 2, 30, capacity, 3 * capacity])), STREAM - first)
        buffer.extend(records(width, first))
        first += width
    expected: list[BuildResult] = [records(STREAM)[int(i)] for i in buffer.ids()]
    assert [buffer.get(int(i)) for i in buffer.ids()] == expected


@pytest.mark.parametrize("remover", REMOVERS, ids=repr)
def test_those_that_leave_are_gone_and_those_that_stay_are_here(remover: Any) -> None:
    buffer = ReplayBuffer(65, remover=remover)
    ids = buffer.extend(records(STREAM), stream(4))
    stay = set(buffer.ids().tolist())
    assert [i for i in ids.tolist() if i in buffer] == sorted(stay)


@pytest.mark.parametrize("remover", REMOVERS, ids=repr)
def test_a_removed_records_priority_is_nan(remover: Any) -> None:
    buffer = ReplayBuffer(65, remover=remover)
    ids = buffer.extend(records(STREAM), stream(4))
    gone = np.setdiff1d(ids, buffer.ids())
    assert np.isnan(buffer.priorities(gone)).sum() == STREAM - 65


@pytest.mark.parametrize("ties", ["oldest", "newest"])
def test_a_record_that_is_removed_at_once_has_an_id_that_is_gone(ties: Any) -> None:
    buffer = ReplayBuffer(3, remover=LowestPriority(ties))
    buffer.extend(records(3), [2.0, 2.0, 2.0])
    identity = int(buffer.extend(records(1, 3), [1.0])[0])
    assert (identity, identity in buffer, buffer.ids().tolist()) == (3, False, [0, 1, 2])


def test_an_equal_newcomer_is_refused_when_the_newest_leaves() -> None:
    buffer = ReplayBuffer(3, remover=LowestPriority("newest"))
    buffer.extend(records(4), [2.0] * 4)
    assert buffer.ids().tolist() == [0, 1, 2]


def test_an_equal_newcomer_pushes_out_the_oldest_when_the_oldest_leaves() -> None:
    buffer = ReplayBuffer(3, remover=LowestPriority("oldest"))
    buffer.extend(records(4), [2.0] * 4)
    assert buffer.ids().tolist() == [1, 2, 3]


def test_the_lowest_priority_follows_updates() -> None:
    rng = np.random.default_rng(5)
    buffer = ReplayBuffer(500)
    model: dict[int, float] = {}
    for turn in range(60):
        width = int(rng.choice([1, 3, 20, 200, 700]))
        new = rng.integers(0, 6, width) / 4
        ids = buffer.extend(records(width, 0), new)
        for identity, priority in zip(ids.tolist(), new.tolist(), strict=True):
            model[identity] = priority
            if len(model) > 500:
                del model[min(model, key=lambda i: (model[i], i))]
        live = rng.choice(np.array(sorted(model)), 1 + 7 * (turn % 30))
        again = rng.integers(0, 6, len(live)) / 4
        buffer.update_priorities(live, again)
        model.update(zip(live.tolist(), again.tolist(), strict=True))
    assert buffer.ids().tolist() == sorted(model)


def test_a_sliding_window_does_not_care_for_priorities() -> None:
    buffer = ReplayBuffer(100, remover=Oldest())
    ids = buffer.extend(records(100), np.arange(100, 0, -1.0))
    buffer.update_priorities(ids, np.zeros(100))
    buffer.extend(records(250, 100), stream(6)[:250])
    assert buffer.ids().tolist() == list(range(250, 350))


@pytest.mark.parametrize("ties", ["first", "", None, 1])
def test_ties_are_oldest_or_newest(ties: Any) -> None:
    with pytest.raises(UsageError, match="`ties`"):
        LowestPriority(ties)


@pytest.mark.parametrize(
    ("remover", "order"),
    [(LowestPriority(), "priority"), (LowestPriority("newest"), "priority"), (Oldest(), "age")],
)
def test_a_remover_names_the_order_that_keeps_what_it_would_keep(remover: Any, order: str) -> None:
    assert remover.save_order == order
