"""store.replay beside an ordinary ReplayBuffer with the same records; following, extras, states in other processes."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from ostinato import (
    BuildResult,
    DamageError,
    EmptyBufferError,
    ReplayBuffer,
    Results,
    UsageError,
    Vocabulary,
    reward,
)
from ostinato.replay import (
    Batch,
    ByOutcome,
    Fifo,
    Fresh,
    Greedy,
    KeepBest,
    LeastUseful,
    Lifo,
    LowestPriority,
    Mixture,
    Oldest,
    PerProgram,
    Proportional,
    RankBased,
    Reservoir,
    Uniform,
    Window,
)
from ostinato.store import Extra, Keep, Store
from ostinato.store.following import StoreBuffer
from record_helpers import complaint
from store_helpers import contents, filled, made, many, opened

SAMPLERS: dict[str, Callable[[], Any]] = {
    "uniform": Uniform,
    "proportional": lambda: Proportional(alpha=0.6),
    "rank": RankBased,
    "greedy": Greedy,
    "fifo": Fifo,
    "lifo": Lifo,
    "fresh": Fresh,
    "window": lambda: Window(Uniform(), 20),
    "per program": lambda: PerProgram(Proportional()),
    "by outcome": lambda: ByOutcome(valid=0.25, invalid=0.25, fallback=0.25, improved=0.25),
    "mixture": lambda: Mixture({Proportional(): 0.5, Fresh(): 0.5}),
}
REMOVERS: dict[str, Callable[[], Any]] = {
    "oldest": Oldest,
    "lowest priority": LowestPriority,
    "least useful": LeastUseful,
    "keep best": lambda: KeepBest(Oldest(), per_program=2),
    "reservoir": lambda: Reservoir(seed=3),
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path) as store:
        yield store


def shuffled(n: int, seed: int = 1) -> list[BuildResult]:
    """Records whose timestamps neither rise nor differ all."""
    rng = np.random.default_rng(seed)
    return [made(int(k), timestamp=1_700_000_000 + int(k) // 3) for k in rng.permutation(n)]


class Twin:
    """A store's buffer and an ordinary one that is given the same records in the order that the docstring says."""

    def __init__(self, store: Store, capacity: int, sampler: str, remover: str, **settings: Any) -> None:
        self.store = store
        self.plain = ReplayBuffer(
            capacity, sampler=SAMPLERS[sampler](), remover=REMOVERS[remover](), seed=5, **settings
        )
        self.names: list[int] = []  # of the ordinary buffer's ids
        self.mapped = store.replay(
            capacity, sampler=SAMPLERS[sampler](), remover=REMOVERS[remover](), seed=5, **settings
        )
        self.seen: set[int] = set()
        self._feed()

    def refresh(self) -> None:
        came = self.mapped.refresh()
        assert came == self._feed()

    def _feed(self) -> int:
        records = self.store.results()
        new = sorted(
            ((r.timestamp, int(i), r) for i, r in zip(records.ids, records, strict=True)),
            key=lambda item: item[:2],
        )
        new = [item for item in new if item[1] not in self.seen]
        self.plain.extend([r for _, _, r in new])
        self.names += [i for _, i, _ in new]
        self.seen |= {i for _, i, _ in new}
        return len(new)

    def same(self) -> None:
        names = np.array(self.names, np.int64)
        assert_array_equal(self.mapped.ids(), names[self.plain.ids()])
        assert list(self.mapped) == list(self.plain)
        self.mapped.check()

    def draw(self, n: int = 16) -> None:
        try:
            plain = self.plain.sample(n)
        except EmptyBufferError:
            with pytest.raises(EmptyBufferError):
                self.mapped.sample(n)
            return
        mapped = self.mapped.sample(n)
        names = np.array(self.names, np.int64)
        assert_array_equal(mapped.ids, names[plain.ids])
        for column in (
            "weight",
            "probability",
            "priority",
            "times_sampled",
            "timestamp",
            "valid",
            "tir_hash",
        ):
            assert_array_equal(getattr(mapped, column), getattr(plain, column))
        assert words(mapped) == words(plain)
        new = np.linspace(0.1, 2.0, len(plain.ids))
        assert self.plain.update_priorities(plain.ids, new) == self.mapped.update_priorities(mapped.ids, new)


def words(batch: Batch) -> list[tuple[str, ...]]:
    return [batch[i].generated_tasm for i in range(len(batch.ids))]


@pytest.mark.parametrize("remover", REMOVERS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_it_draws_what_an_ordinary_buffer_draws(store: Store, sampler: str, remover: str):
    records = shuffled(90)
    filled(store, records[:20])
    filled(store, records[20:40], one_by_one=True)
    twin = Twin(store, 50, sampler, remover)
    twin.same()
    twin.draw()
    with store.writer() as writer:
        writer.extend(records[40:60])
        twin.refresh()
        twin.draw()
        writer.extend(records[60:70])
        filled(store, records[70:80])
        twin.refresh()
    twin.draw()
    store.seal()
    twin.refresh()
    twin.draw()
    filled(store, records[80:])
    store.compact()
    twin.refresh()
    for _ in range(3):
        twin.draw()
    twin.same()


@pytest.mark.parametrize("limits", [{"max_age_s": 12}, {"max_times_sampled": 2}])
def test_the_same_within_limits(store: Store, limits: dict[str, Any]):
    records = shuffled(60)
    filled(store, records[:30])
    twin = Twin(store, 50, "uniform", "oldest", **limits)
    for k in range(30, 60, 10):
        twin.draw()
        filled(store, records[k : k + 10])
        store.seal()
        twin.refresh()
        twin.same()


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("capacity", [40, 1000])
def test_a_sealed_store_draws_what_an_unsealed_one_draws(tmp_path: Path, sampler: str, capacity: int):
    drawn: list[list[list[int]]] = []
    for k, act in enumerate(
        [lambda s: None, lambda s: s.seal(), lambda s: s.seal(max_bytes=4096), lambda s: s.compact()]
    ):
        store = opened(tmp_path, str(k))
        for first in range(0, 90, 30):
            filled(store, shuffled(90)[first : first + 30], one_by_one=first == 30)
        act(store)
        buffer = store.replay(capacity, sampler=SAMPLERS[sampler](), remover=Oldest(), seed=5)
        drawn.append([buffer.sample(8).ids.tolist() for _ in range(4)])
    assert drawn[0] == drawn[1] == drawn[2] == drawn[3]


def test_records_come_in_the_order_of_their_timestamps_and_ids(store: Store):
    a = filled(store, [made(0, timestamp=t) for t in (5, 3, 3)])
    b = filled(store, [made(0, timestamp=t) for t in (3, 9, 1)])
    buffer = store.replay(10)
    assert buffer.ids().tolist() == [b[2], a[1], a[2], b[0], a[0], b[1]]


def test_a_reward_of_ones_own_gives_the_priorities(store: Store):
    def longest(results: Results) -> Any:
        return np.array([len(" ".join(r.generated_tasm)) for r in results], float)

    ids = filled(store, many(10))
    buffer = store.replay(100, reward=longest)
    store.seal()
    buffer.refresh()
    assert buffer.priorities(ids).tolist() == [len(" ".join(r.generated_tasm)) for r in many(10)]
    ids += filled(store, many(3, 10))
    buffer.refresh()
    assert_array_equal(buffer.priorities(ids[10:]), longest(Results.concat([many(3, 10)])))


def test_without_one_the_priority_is_the_seeds_reward(store: Store):
    ids = filled(store, many(10))
    assert_array_equal(store.replay(100).priorities(ids), [reward(r) for r in many(10)])


# Following


def test_refresh_says_how_many_came(store: Store):
    buffer = store.replay(100)
    assert buffer.refresh() == 0
    filled(store, many(5))
    other = Store.open(store.path)
    with other.writer() as writer:
        writer.append(made(5))
        assert [buffer.refresh(), buffer.refresh()] == [6, 0]
        writer.append(made(6))
        assert [buffer.refresh(), len(buffer)] == [1, 7]


APPEND = """
import sys
sys.path[:0] = sys.argv[2:]
from store_helpers import many, filled
from ostinato.store import Store
print(filled(Store.open(sys.argv[1]), many(7)))
"""
TESTS = str(Path(__file__).parent)


@pytest.mark.parametrize("step", ["take_in", "amend", "relocate"])
def test_a_refresh_that_is_interrupted_as_a_step_begins_is_ended_by_the_next_one(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: str
):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    ids = filled(store, many(300))
    buffer = store.replay(1000, sampler=Uniform(), remover=Oldest(), seed=0)
    store.seal()
    store.amend(ids[1], made(1, valid=True, clock_cycles=5), reason="measured anew")
    filled(store, many(20))
    with monkeypatch.context() as patch:
        patch.setattr(StoreBuffer, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            buffer.refresh()
    assert buffer.refresh() == 0
    buffer.check()
    assert sorted(buffer.ids().tolist()) == store.results().ids.tolist()
    assert buffer.stats().pushed == 320
    assert buffer.get(ids[1]) == store.get(ids[1]) == made(1, valid=True, clock_cycles=5)


def test_refresh_takes_in_what_another_process_appended(store: Store):
    buffer = store.replay(100)
    done = subprocess.run(
        [sys.executable, "-c", APPEND, store.path, TESTS], check=True, capture_output=True, text=True
    )
    assert buffer.refresh() == 7
    assert buffer.ids().tolist() == json.loads(done.stdout)
    assert list(buffer) == many(7)


@pytest.mark.parametrize("remover", REMOVERS)
def test_ids_and_what_the_learner_said_stay_when_records_are_sealed_and_compacted(store: Store, remover: str):
    ids = filled(store, many(20), one_by_one=True) + filled(store, many(20, 20))
    buffer = store.replay(100, remover=REMOVERS[remover]())
    said = np.arange(1, 41) / 7
    buffer.update_priorities(ids, said)
    for act in (store.seal, store.compact, lambda: filled(store, many(5, 40)), lambda: store.compact()):
        act()
        buffer.refresh()
        assert buffer.ids().tolist()[:40] == ids
        assert_array_equal(buffer.priorities(ids), said)
        assert [buffer.get(i) for i in ids] == many(40)
        buffer.check()


def test_records_that_a_policy_removed_leave(store: Store):
    ids = filled(store, many(20))
    buffer = store.replay(100)
    store.compact(Keep(newest=5))
    assert (buffer.refresh(), buffer.ids().tolist(), buffer.stats().removed_by["store"]) == (0, ids[15:], 15)
    assert buffer.update_priorities(ids[:2], [1.0, 1.0]) == 0
    assert buffer.stats().late_updates == 2
    buffer.check()


def test_without_a_refresh_it_goes_on_with_what_it_has(store: Store):
    ids = filled(store, many(20))
    buffer = store.replay(100, sampler=Uniform(), seed=1)
    store.compact(Keep(newest=1))
    store.close()
    batch = buffer.sample(64)
    assert set(batch.ids.tolist()) <= set(ids)
    assert [batch[i] for i in range(64)] == [made(ids.index(i)) for i in batch.ids.tolist()]


def test_a_batch_outlives_its_store_and_its_buffer(store: Store):
    filled(store, many(20))
    buffer = store.replay(100, sampler=Fifo())
    batch = buffer.sample(20)
    store.compact(Keep(newest=0))
    buffer.refresh()
    store.close()
    del buffer
    gc.collect()
    assert [batch[i] for i in range(20)] == many(20)


def test_of_a_store_larger_than_the_buffer_the_latest_are_taken_in(store: Store):
    ids = filled(store, many(2500)) + filled(store, many(100, 2500), one_by_one=True)
    buffer = store.replay(500, remover=Oldest())
    assert buffer.ids().tolist() == ids[-500:]
    ids += filled(store, many(700, 2600))
    assert (buffer.refresh(), buffer.ids().tolist()) == (700, ids[-500:])
    buffer.check()


def test_a_store_may_have_many_buffers(store: Store):
    filled(store, many(10))
    a, b = store.replay(100, seed=1), store.replay(5, seed=1, remover=Oldest())
    filled(store, many(10, 10))
    store.seal()
    assert (a.refresh(), len(a), len(b)) == (10, 20, 5)
    assert (b.refresh(), list(b)) == (10, many(5, 15))


def test_a_learner_samples_while_others_append_and_seal(store: Store):
    buffer = store.replay(2000, sampler=Proportional(), remover=Oldest(), seed=1)
    filled(store, many(50))
    buffer.refresh()
    errors: list[BaseException] = []
    done = threading.Event()

    def work(act: Callable[[], Any]) -> None:
        try:
            while not done.is_set():
                act()
        except BaseException as error:
            errors.append(error)
            done.set()

    def learn() -> None:
        batch = buffer.sample(16)
        assert all(batch[i].timestamp == batch.timestamp[i] for i in range(16))
        buffer.update_priorities(batch.ids, np.full(16, 0.5))

    writer = store.writer()
    acts = [
        lambda: writer.append(made(50 + writer.appended)),
        lambda: store.seal(wait_s=10),
        lambda: store.compact(wait_s=10),
        lambda: buffer.refresh(),
        learn,
    ]
    threads = [threading.Thread(target=work, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    done.wait(1.0)
    done.set()
    for thread in threads:
        thread.join()
    writer.close()
    assert errors == []
    buffer.refresh()
    assert {int(i): buffer.get(int(i)) for i in buffer.ids()} == dict(list(contents(store).items())[-2000:])
    buffer.check()


# Extra columns


def test_a_batch_carries_the_extra_columns(tmp_path: Path):
    store = opened(tmp_path, extras={"logp": Extra("f4", float("nan")), "parent": Extra("i8", -1)})
    buffer = store.replay(1000, sampler=Uniform(), seed=1)
    logp: dict[int, float] = {}
    for k, act in enumerate((lambda: None, store.seal, store.compact, lambda: None)):
        with store.writer() as writer:
            ids = writer.extend(many(20, 20 * k), {"logp": np.arange(20) / 8 + k}).tolist()
            logp |= {i: n / 8 + k for n, i in enumerate(ids)}
            logp[writer.append(made(0))] = float("nan")
        act()
        buffer.refresh()
        batch = buffer.sample(50)
        assert {n: (c.dtype.str, c.shape) for n, c in batch.extras.items()} == {
            "logp": ("<f4", (50,)),
            "parent": ("<i8", (50,)),
        }
        assert_array_equal(batch.extras["logp"], np.array([logp[i] for i in batch.ids.tolist()], "f4"))
        assert_array_equal(batch.extras["parent"], np.full(50, -1))


def test_a_store_without_extra_columns_gives_none(store: Store):
    filled(store, many(3))
    assert dict(store.replay(10).sample(2).extras) == {}


# States

GO_ON = """
import json, sys
sys.path[:0] = sys.argv[3:]
from ostinato.store import Store
from test_store_replay import buffer_of, draws
buffer = buffer_of(Store.open(sys.argv[1]), sys.argv[2])
buffer.load_state(sys.argv[1] + ".state.npz")
print(json.dumps(draws(buffer)))
"""


def buffer_of(store: Store, sampler: str) -> Any:
    return store.replay(60, sampler=SAMPLERS[sampler](), remover=Oldest(), seed=5)


def draws(buffer: Any) -> list[Any]:
    out: list[Any] = []
    for _ in range(4):
        batch = buffer.sample(8)
        buffer.update_priorities(batch.ids, 1 / (1 + np.arange(len(batch.ids))))
        out.append([batch.ids.tolist(), batch.times_sampled.tolist(), batch.tokens.tolist()])
    return out


def worked(store: Store, sampler: str) -> Any:
    """A buffer that has let records go, and been drawn from; its state is saved."""
    filled(store, shuffled(40))
    buffer = buffer_of(store, sampler)
    draws(buffer)
    filled(store, shuffled(40, 2))
    buffer.refresh()
    draws(buffer)
    buffer.save_state(store.path + ".state.npz")
    return buffer


def test_a_state_goes_on_in_another_process_with_the_same_draws(store: Store):
    buffer = worked(store, "mixture")
    store.compact()
    done = subprocess.run(
        [sys.executable, "-c", GO_ON, store.path, "mixture", TESTS],
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout) == draws(buffer)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("act", ["close", "seal", "compact"])
def test_a_state_goes_on_whether_records_were_sealed_or_not(store: Store, sampler: str, act: str):
    buffer = worked(store, sampler)
    getattr(store, act)()
    again = buffer_of(Store.open(store.path), sampler)
    again.load_state(store.path + ".state.npz")
    assert again.ids().tolist() == buffer.ids().tolist()
    again.check()
    assert draws(again) == draws(buffer)
    filled(store, shuffled(7, 3))
    assert again.refresh() == buffer.refresh() == 7
    assert draws(again) == draws(buffer)


def test_what_came_after_a_state_is_taken_in_as_by_a_refresh(store: Store):
    buffer = worked(store, "per program")
    filled(store, shuffled(30, 3))  # older ones among them
    store.seal()
    buffer.refresh()
    again = buffer_of(Store.open(store.path), "per program")
    again.load_state(store.path + ".state.npz")
    assert again.ids().tolist() == buffer.ids().tolist()
    assert draws(again) == draws(buffer)


def test_records_of_a_state_that_were_removed_leave_and_are_counted(store: Store):
    ids = filled(store, many(20))
    buffer = buffer_of(store, "uniform")
    buffer.save_state(store.path + ".state.npz")
    store.compact(Keep(newest=5))
    again = buffer_of(Store.open(store.path), "uniform")
    again.load_state(store.path + ".state.npz")
    assert again.ids().tolist() == ids[15:]
    assert (again.stats().removed_by["store"], again.stats().late_updates) == (15, 15)
    again.check()


@pytest.mark.parametrize(
    "ranges",
    [np.array([[5, 2]]), np.array([[-1, 2]]), np.zeros((2, 3), int), np.zeros(2, int), np.zeros((1, 2))],
)
def test_a_state_that_was_told_nonsense_is_refused_and_changes_nothing(store: Store, ranges: Any):
    ids = filled(store, many(5))
    buffer = buffer_of(store, "uniform")
    state = {**buffer.state_dict(), "store_cursor": ranges}
    buffer.update_priorities(ids[:1], [9.0])
    assert "store_cursor" in complaint(DamageError, buffer.load_state_dict, state)
    assert (buffer.ids().tolist(), buffer.priorities(ids[:1]).tolist()) == (ids, [9.0])


def test_records_that_came_after_a_state_was_saved_come_after_it(store: Store):
    ids = filled(store, many(10))
    buffer = buffer_of(store, "uniform")
    buffer.update_priorities(ids, np.arange(1, 11))
    buffer.save_state(store.path + ".state.npz")
    ids += filled(store, many(5, 10))
    again = buffer_of(Store.open(store.path), "uniform")
    again.load_state(store.path + ".state.npz")
    assert again.ids().tolist() == ids
    assert_array_equal(again.priorities(ids[:10]), np.arange(1, 11))
    assert_array_equal(again.priorities(ids[10:]), [reward(r) for r in many(5, 10)])
    ids += filled(store, many(2, 15))
    assert (again.refresh(), again.ids().tolist()) == (2, ids)


# Refusals


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"capacity": 0}, "capacity"),
        ({"capacity": "many"}, "capacity"),
        ({"sampler": Uniform}, "sampler"),
        ({"remover": "oldest"}, "remover"),
        ({"max_age_s": -1}, "max_age_s"),
        ({"max_times_sampled": 0}, "max_times_sampled"),
        ({"seed": "x"}, "seed"),
        ({"vocabulary": ["add"]}, "vocabulary"),
    ],
)
def test_a_setting_that_is_none_is_refused(store: Store, settings: Any, where: str):
    arguments = {"capacity": 10, **settings}
    assert f"`{where}`" in complaint(UsageError, store.replay, **arguments)


@pytest.mark.parametrize("act", [lambda b: b.push(made(0)), lambda b: b.extend(many(2))])
def test_records_are_appended_to_the_store_not_to_the_buffer(store: Store, act: Any):
    assert "store" in complaint(UsageError, act, store.replay(10))


def test_a_vocabulary_of_ones_own_gives_the_tokens(store: Store):
    filled(store, [made(0, generated_tasm=["add", "mul", "add"])])
    vocabulary = Vocabulary(["mul", "add"])
    batch = store.replay(10, vocabulary=vocabulary).sample(1)
    assert batch.tokens.tolist() == list(vocabulary.ids(["add", "mul", "add"]))


def test_it_says_what_it_is(store: Store):
    filled(store, many(3))
    assert "3 of 10" in repr(store.replay(10))
