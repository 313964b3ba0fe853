"""Fifo, Lifo and Greedy against models that sort everything: what they give, what stays, queue and stack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from ostinato import ReplayBuffer, Results, UsageError
from ostinato.replay import Batch, Fifo, Greedy, Lifo, LowestPriority, Oldest, Window
from record_helpers import few, from_list, more, record

ONE = from_list([record()])
SIZES = [1, 2, 3, 7, 8, 9, 64, 65, 97, 1000, 1024]
Key = Callable[[int, float], Any]  # what a sampler sorts by: of id and priority
ORDERS: list[tuple[Any, Key]] = [
    (Fifo(), lambda i, _: i),
    (Lifo(), lambda i, _: -i),
    (Greedy(), lambda i, priority: (-priority, i)),
]
every_order = pytest.mark.parametrize(("sampler", "key"), ORDERS, ids=["Fifo", "Lifo", "Greedy"])
every_sampler = pytest.mark.parametrize("sampler", [s for s, _ in ORDERS], ids=repr)


def copies(count: int) -> Results:
    return ONE[np.zeros(count, np.int64)]


def filled(priorities: Any, sampler: Any, **other: Any) -> ReplayBuffer:
    buffer = ReplayBuffer(**{"capacity": max(1, len(priorities)), "sampler": sampler, **other})
    buffer.extend(copies(len(priorities)), priorities)
    return buffer


class Model:
    """Records as id -> [priority, times sampled], every question answered by sorting all of them."""

    def __init__(self, key: Key, capacity: int, remover: Any, most: int | None) -> None:
        self.key, self.capacity, self.remover, self.most = key, capacity, remover, most
        self.records: dict[int, list[Any]] = {}
        self.pushed = 0

    def extend(self, priorities: list[float]) -> None:
        for priority in priorities:
            self.records[self.pushed] = [priority, 0]
            self.pushed += 1
            if len(self.records) > self.capacity:
                by_age = isinstance(self.remover, Oldest)
                del self.records[min(self.records, key=lambda i: (0 if by_age else self.records[i][0], i))]

    def remove(self, ids: list[int]) -> None:
        for i in ids:
            self.records.pop(i, None)

    def update(self, ids: list[int], priorities: list[float]) -> None:
        for i, priority in zip(ids, priorities, strict=True):
            if i in self.records:
                self.records[i][0] = priority

    def sample(self, n: int) -> list[int]:
        drawn = sorted(self.records, key=lambda i: self.key(i, self.records[i][0]))[:n]
        for i in drawn:
            self.records[i][1] += 1
            if self.records[i][1] == self.most:
                del self.records[i]
        return drawn


# --- one draw -----------------------------------------------------------------------------------------------


@every_order
@pytest.mark.parametrize("size", SIZES)
def test_the_first_n_come_in_order_for_every_n(size: int, sampler: Any, key: Key) -> None:
    priorities = np.random.default_rng(size).integers(0, 5, size) / 4
    buffer = filled(priorities, sampler)
    order = sorted(range(size), key=lambda i: key(i, priorities[i]))
    sizes = sorted({1, 2, size // 9, size // 8, size // 8 + 1, size // 2, size - 1, size} - {0})
    assert [buffer.sample(n).ids.tolist() for n in sizes] == [order[:n] for n in sizes]


@every_sampler
@pytest.mark.parametrize("n", [6, 7, 1000, 2**31, 10**15])
def test_more_than_there_is_gives_all(sampler: Any, n: int) -> None:
    assert sorted(filled(np.ones(5), sampler).sample(n).ids.tolist()) == list(range(5))


@every_sampler
def test_none_of_some_is_an_empty_batch(sampler: Any) -> None:
    assert filled(np.ones(5), sampler).sample(0).ids.tolist() == []


@every_sampler
@pytest.mark.parametrize("n", [0, 1, 100])
def test_an_empty_buffer_gives_an_empty_batch(sampler: Any, n: int) -> None:
    assert len(ReplayBuffer(5, sampler=sampler).sample(n)) == 0


@every_sampler
def test_a_number_is_needed(sampler: Any) -> None:
    with pytest.raises(UsageError, match="- at `n`"):
        filled(np.ones(5), sampler).sample()


@every_sampler
@pytest.mark.parametrize("n", [3, 90])
def test_probability_and_weight_are_one(sampler: Any, n: int) -> None:
    batch = filled(np.arange(1.0, 101.0), sampler).sample(n)
    assert (batch.probability.tolist(), batch.weight.tolist()) == ([1.0] * n, [1.0] * n)


@every_sampler
@pytest.mark.parametrize("n", [3, 90])
def test_drawing_changes_nothing_for_the_next_draw(sampler: Any, n: int) -> None:
    buffer = filled(np.random.default_rng(1).random(100), sampler)
    assert buffer.sample(n).ids.tolist() == buffer.sample(n).ids.tolist()


@every_sampler
def test_no_random_number_is_used(sampler: Any) -> None:
    rng = np.random.default_rng(4)
    filled(np.ones(100), sampler).sample(50, rng=rng)
    assert rng.random() == np.random.default_rng(4).random()


@every_sampler
def test_single_pushes_are_seen_at_once(sampler: Any) -> None:
    buffer = ReplayBuffer(10, sampler=sampler)
    got = []
    for _ in range(4):
        buffer.push(record())
        got.append(sorted(buffer.sample(10).ids.tolist()))
    assert got == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]


@pytest.mark.parametrize("n", [2, 30])
@pytest.mark.parametrize("size", [30, 300])
def test_greedy_takes_zero_of_either_sign_for_the_same(size: int, n: int) -> None:
    priorities = np.where(np.arange(size) % 2, 0.0, -0.0)
    assert filled(priorities, Greedy()).sample(n).ids.tolist() == list(range(n))


@pytest.mark.parametrize("n", [3, 300])
def test_greedy_tells_neighbouring_floats_apart(n: int) -> None:
    priorities = np.ones(300)
    priorities[[17, 250, 8]] = 5e-324, np.nextafter(1, 2), np.nextafter(1, 0)
    order = [250, *(i for i in range(300) if i not in (17, 250, 8)), 8, 17]
    assert filled(priorities, Greedy()).sample(n).ids.tolist() == order[:n]


# --- after changes ------------------------------------------------------------------------------------------


@every_order
@pytest.mark.parametrize("n", [4, 200])
def test_records_that_were_removed_come_no_more(sampler: Any, key: Key, n: int) -> None:
    priorities = np.random.default_rng(2).integers(0, 5, 300) / 4
    buffer = filled(priorities, sampler)
    order = sorted(range(300), key=lambda i: key(i, priorities[i]))
    buffer.sample(n)
    buffer.remove(order[:50] + order[60:250:3])
    left = [i for i in order if i in buffer]
    assert buffer.sample(n).ids.tolist() == left[:n]


@every_sampler
def test_when_all_are_removed_nothing_comes(sampler: Any) -> None:
    buffer = filled(np.ones(20), sampler)
    buffer.remove(buffer.ids())
    assert len(buffer.sample(5)) == 0


@pytest.mark.parametrize(("sampler", "order"), [(Fifo(), range(200)), (Lifo(), range(199, -1, -1))], ids=repr)
@pytest.mark.parametrize("n", [5, 150])
def test_an_order_by_age_does_not_care_for_updates(sampler: Any, order: range, n: int) -> None:
    buffer = filled(np.ones(200), sampler)
    buffer.sample(n)
    buffer.update_priorities(np.arange(200), np.random.default_rng(3).permutation(200) / 8)
    assert buffer.sample(n).ids.tolist() == list(order)[:n]


@pytest.mark.parametrize("n", [5, 150])
def test_greedy_follows_updates(n: int) -> None:
    buffer = filled(np.ones(200), Greedy())
    buffer.sample(n)
    new = np.random.default_rng(3).integers(0, 9, 200) / 8
    for part in np.array_split(np.random.default_rng(4).permutation(200), 30):
        buffer.update_priorities(part, new[part])
        buffer.sample(1)
    assert buffer.sample(n).ids.tolist() == sorted(range(200), key=lambda i: (-new[i], i))[:n]


@every_order
@pytest.mark.parametrize("most", [None, 1, 2, 3])
@pytest.mark.parametrize("remover", [Oldest(), LowestPriority()], ids=repr)
def test_a_long_life_is_that_of_the_model(sampler: Any, key: Key, remover: Any, most: int | None) -> None:
    rng = np.random.default_rng(5)
    buffer = ReplayBuffer(257, sampler=sampler, remover=remover, max_times_sampled=most)
    model = Model(key, 257, remover, most)
    got, expected = [], []
    for turn in range(150):
        new = rng.integers(0, 6, int(rng.choice([0, 1, 5, 40, 300], p=[0.1, 0.3, 0.3, 0.25, 0.05]))) / 4
        buffer.extend(copies(len(new)), new)
        model.extend(new.tolist())
        ids = rng.integers(0, max(1, model.pushed), turn % 23)  # some are gone, some come twice
        again = rng.integers(0, 6, len(ids)) / 4
        buffer.update_priorities(ids, again)
        model.update(ids.tolist(), again.tolist())
        gone = rng.integers(0, max(1, model.pushed), turn % 5)
        buffer.remove(gone)
        model.remove(gone.tolist())
        n = int(rng.choice([1, 3, 20, 100, 400], p=[0.3, 0.3, 0.2, 0.15, 0.05]))
        got.append(buffer.sample(n).ids.tolist())
        expected.append(model.sample(n))
    assert (got, buffer.ids().tolist()) == (expected, sorted(model.records))


quarters = st.integers(0, 3).map(lambda k: k / 4)
steps = st.one_of(
    st.tuples(st.just("extend"), st.lists(quarters, max_size=6)),
    st.tuples(st.just("sample"), st.integers(0, 9)),
    st.tuples(st.just("remove"), st.lists(st.integers(0, 30), max_size=3)),
    st.tuples(st.just("update"), st.lists(st.tuples(st.integers(0, 30), quarters), max_size=4)),
)


@every_order
@more
@given(
    capacity=st.integers(1, 9),
    remover=st.sampled_from([Oldest(), LowestPriority()]),
    most=st.sampled_from([None, 1, 2]),
    course=st.lists(steps, max_size=20),
)
def test_any_short_life_is_that_of_the_model(
    sampler: Any, key: Key, capacity: int, remover: Any, most: int | None, course: list[tuple[str, Any]]
) -> None:
    buffer = ReplayBuffer(capacity, sampler=sampler, remover=remover, max_times_sampled=most)
    model = Model(key, capacity, remover, most)
    got, expected = [], []
    for act, what in course:
        if act == "extend":
            buffer.extend(copies(len(what)), what)
            model.extend(what)
        elif act == "sample":
            got.append(buffer.sample(what).ids.tolist())
            expected.append(model.sample(what))
        elif act == "remove":
            buffer.remove(np.array(what, np.int64))
            model.remove(what)
        else:
            ids, priorities = [i for i, _ in what], [p for _, p in what]
            buffer.update_priorities(np.array(ids, np.int64), priorities)
            model.update(ids, priorities)
    buffer.check()
    assert (got, buffer.ids().tolist()) == (expected, sorted(model.records))


# --- a queue, a stack, a heap: drawn once ---------------------------------------------------------------------


def drained(buffer: ReplayBuffer, n: int) -> list[Batch]:
    """Batches of n until one is empty."""
    batches: list[Batch] = []
    while not batches or len(batches[-1]):
        batches.append(buffer.sample(n))
    return batches[:-1]


@every_order
@pytest.mark.parametrize("n", [1, 7, 100, 1001])
def test_drawn_once_everything_comes_once_in_order(sampler: Any, key: Key, n: int) -> None:
    priorities = np.random.default_rng(6).integers(0, 50, 1000) / 4
    batches = drained(filled(priorities, sampler, max_times_sampled=1), n)
    order = sorted(range(1000), key=lambda i: key(i, priorities[i]))
    assert [i for batch in batches for i in batch.ids.tolist()] == order


@every_sampler
@pytest.mark.parametrize("n", [1, 7, 100, 1001])
def test_drawn_once_only_the_last_batch_is_short(sampler: Any, n: int) -> None:
    sizes = [len(batch) for batch in drained(filled(np.ones(1000), sampler, max_times_sampled=1), n)]
    assert sizes == [n] * (1000 // n) + [1000 % n] * (1000 % n > 0)


@pytest.mark.parametrize(("sampler", "expected"), [(Fifo(), [0, 1, 2, 3]), (Lifo(), [1, 3, 2, 0])], ids=repr)
def test_pushes_and_pops_may_alternate(sampler: Any, expected: list[int]) -> None:
    buffer = ReplayBuffer(10, sampler=sampler, max_times_sampled=1)
    got = []
    for step in ["push", "push", "pop", "push", "push", "pop", "pop", "pop"]:
        if step == "push":
            buffer.push(record())
        else:
            got += buffer.sample(1).ids.tolist()
    assert got == expected


@every_sampler
def test_what_was_drawn_out_is_counted(sampler: Any) -> None:
    buffer = filled(np.ones(50), sampler, max_times_sampled=1)
    buffer.sample(20)
    stats = buffer.stats()
    assert (stats.removed_by["max_times_sampled"], stats.sampled, len(buffer)) == (20, 20, 30)


@every_sampler
def test_a_batch_says_that_it_was_the_first_time(sampler: Any) -> None:
    batch = filled(np.ones(50), sampler, max_times_sampled=1).sample(20)
    assert batch.times_sampled.tolist() == [1] * 20


@every_sampler
@pytest.mark.parametrize("most", [2, 3])
def test_a_record_comes_as_often_as_it_may(sampler: Any, most: int) -> None:
    batches = drained(filled(np.arange(1.0, 41.0), sampler, max_times_sampled=most), 7)
    drawn = np.concatenate([batch.ids for batch in batches])
    assert np.bincount(drawn).tolist() == [most] * 40


def test_a_full_queue_of_a_sliding_window_loses_its_head() -> None:
    buffer = filled(np.ones(8), Fifo(), capacity=5, remover=Oldest(), max_times_sampled=1)
    assert buffer.sample(10).ids.tolist() == [3, 4, 5, 6, 7]


def test_an_emptied_queue_takes_in_again() -> None:
    buffer = filled(np.ones(5), Fifo(), max_times_sampled=1)
    buffer.sample(5)
    buffer.extend(copies(3), np.ones(3))
    assert buffer.sample(5).ids.tolist() == [5, 6, 7]


# --- in a window of model versions ----------------------------------------------------------------------------


@every_order
@few
@given(
    versions=st.lists(st.integers(0, 6), min_size=1, max_size=40),
    within=st.integers(0, 3),
    decay=st.sampled_from([1.0, 0.5]),
    n=st.integers(1, 50),
    data=st.data(),
)
def test_in_a_window_the_order_is_that_of_those_inside(
    sampler: Any, key: Key, versions: list[int], within: int, decay: float, n: int, data: st.DataObject
) -> None:
    priorities = data.draw(st.lists(quarters, min_size=len(versions), max_size=len(versions)))
    buffer = ReplayBuffer(50, sampler=Window(sampler, within=within, decay=decay))
    buffer.extend(from_list([record(model_version=v) for v in versions]), priorities)
    away = [max(versions) - v for v in versions]
    inside = [i for i, d in enumerate(away) if d <= within]
    order = sorted(inside, key=lambda i: key(i, priorities[i] * decay ** away[i]))
    assert buffer.sample(n).ids.tolist() == order[:n]
