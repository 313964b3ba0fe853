"""ReplayBuffer against a slow model in plain Python, and each promise of its docstrings by itself."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ostinato import (
    BuildResult,
    DamageError,
    EmptyBufferError,
    ReplayBuffer,
    Results,
    UsageError,
    Vocabulary,
    archive,
    reward,
)
from ostinato.replay import Greedy, LowestPriority, Oldest, Proportional, Uniform

WORDS = ["add", "mul", "push 1", "push 18446744069414584320", "swap 3", "", "dup 0", "ä→𝄞"]


def made(clock_cycles: int | None = 5, **other: Any) -> BuildResult:
    fields: dict[str, Any] = {
        "tir_hash": bytes(32),
        "generated_tasm": ["push 1"],
        "valid": True,
        "compiler_cycles": 10,
        "fallback_used": False,
        "timestamp": 0,
        "model_version": 1,
    }
    return BuildResult(clock_cycles=clock_cycles, **{**fields, **other})


def many(count: int) -> list[BuildResult]:
    return [made(i % 11, timestamp=i, generated_tasm=WORDS[: i % 5]) for i in range(count)]


def state(buffer: ReplayBuffer) -> tuple[list[int], list[float], list[BuildResult]]:
    ids = buffer.ids()
    return ids.tolist(), buffer.priorities(ids).tolist(), list(buffer)


results = st.builds(
    made,
    st.sampled_from([None, 3, 5, 10, 12]),
    tir_hash=st.sampled_from([bytes(32), bytes(range(32)), b"\xff" * 32]),
    generated_tasm=st.lists(st.sampled_from(WORDS), max_size=6),
    valid=st.sampled_from([True, True, False]),
    compiler_cycles=st.sampled_from([0, 10, 2**64 - 1]),
    fallback_used=st.sampled_from([False, False, True]),
    timestamp=st.integers(0, 2**64 - 1),
    model_version=st.sampled_from([0, 7, 2**32 - 1]),
)
priorities = st.sampled_from([0.0, 0.5, 1.0, 1.0, 2.0, 3.25, 1e-9, 1e9])


class Model:
    """What the buffer promises, by a dict that is searched from end to end each time."""

    def __init__(self, capacity: int, remover: LowestPriority | Oldest) -> None:
        self.capacity = capacity
        self.remover = remover
        self.records: dict[int, BuildResult] = {}
        self.priority: dict[int, float] = {}
        self.next_id = self.late = self.updated = 0

    def push(self, result: BuildResult, priority: float | None = None) -> int:
        identity = self.next_id
        self.next_id += 1
        self.records[identity] = result
        self.priority[identity] = reward(result) if priority is None else priority
        if len(self.records) > self.capacity:
            self.remove(self.leaving())
        return identity

    def leaving(self) -> int:
        if isinstance(self.remover, Oldest):
            return min(self.records)
        sign = 1 if self.remover.ties == "oldest" else -1
        return min(self.records, key=lambda i: (self.priority[i], sign * i))

    def remove(self, identity: int) -> None:
        del self.records[identity], self.priority[identity]

    def update(self, ids: list[int], given: list[float]) -> int:
        here = [(i, p) for i, p in zip(ids, given, strict=True) if i in self.records]
        self.priority.update(here)
        self.late += len(ids) - len(here)
        self.updated += len(here)
        return len(here)

    def by_age(self) -> list[int]:
        return sorted(self.records)

    def by_priority(self) -> list[int]:
        return sorted(self.records, key=lambda i: (-self.priority[i], i))

    def saved(self) -> list[BuildResult]:
        order = self.by_age() if isinstance(self.remover, Oldest) else self.by_priority()
        return [self.records[i] for i in order]


class BufferMachine(RuleBasedStateMachine):
    @initialize(
        capacity=st.sampled_from([1, 2, 3, 7, 8, 9, 64, 65]),
        remover=st.sampled_from([LowestPriority("oldest"), LowestPriority("newest"), Oldest()]),
        sampler=st.sampled_from(
            [
                Greedy(),
                Uniform(),
                Proportional(),
                Proportional(alpha=1.0, beta=1.0, stratified=False),
                Proportional(alpha=0.0),
            ]
        ),
    )
    def start(self, capacity: int, remover: LowestPriority | Oldest, sampler: Any) -> None:
        self.sampler = sampler
        self.buffer = ReplayBuffer(capacity, sampler=sampler, remover=remover, seed=1)
        self.model = Model(capacity, remover)
        self.waiting = False  # pushes that no query has yet made the buffer take in

    def same_ids(self, got: np.ndarray, expected: list[int]) -> None:
        assert got.dtype == np.int64
        assert got.tolist() == expected

    # --- taking in

    @rule(result=results)
    def push(self, result: BuildResult) -> None:
        assert self.buffer.push(result) == self.model.push(result)
        self.waiting = True

    @rule(given=st.lists(results, max_size=20), as_results=st.booleans())
    def extend(self, given: list[BuildResult], as_results: bool) -> None:
        ids = self.buffer.extend(Results.concat(given) if as_results else given)
        self.waiting = False
        self.same_ids(ids, [self.model.push(result) for result in given])

    @rule(given=st.lists(st.tuples(results, priorities), max_size=100))
    def extend_with_priorities(self, given: list[tuple[BuildResult, float]]) -> None:
        ids = self.buffer.extend([r for r, _ in given], [p for _, p in given])
        self.waiting = False
        self.same_ids(ids, [self.model.push(*one) for one in given])

    @rule(given=st.lists(results, max_size=4), repeats=st.integers(20, 70))
    def extend_with_far_more_than_fit(self, given: list[BuildResult], repeats: int) -> None:
        ids = self.buffer.extend(Results.concat(given * repeats))
        self.waiting = False
        self.same_ids(ids, [self.model.push(result) for result in given * repeats])

    @rule(data=st.data())
    def update(self, data: st.DataObject) -> None:
        end = self.model.next_id
        ids = data.draw(st.lists(st.integers(-3, end + 3), max_size=12))
        if self.model.records:
            live = st.sampled_from(self.model.by_age())
            ids += data.draw(st.lists(live, max_size=12))
        given = data.draw(st.lists(priorities, min_size=len(ids), max_size=len(ids)))
        got = self.buffer.update_priorities(ids, given)
        self.waiting = False
        assert got == self.model.update(ids, given)

    @rule(factor=st.sampled_from([0.0, 1.0, 0.5]))
    def update_all(self, factor: float) -> None:
        ids = self.model.by_age()
        given = [factor * self.model.priority[i] for i in ids]
        assert self.buffer.update_priorities(ids, given) == self.model.update(ids, given)
        self.waiting = False

    # --- asking

    @rule(back=st.integers(-2, 80))
    def ask_for_one(self, back: int) -> None:
        identity = self.model.next_id - back
        self.waiting = False
        assert (identity in self.buffer) == (identity in self.model.records)
        if identity in self.model.records:
            assert self.buffer.get(identity) == self.model.records[identity]
        else:
            with pytest.raises(UsageError, match=f"record {identity} "):
                self.buffer.get(identity)

    @rule(n=st.integers(0, 150))
    def sample(self, n: int) -> None:
        model = self.model
        positive = [p for p in model.priority.values() if p > 0]
        self.waiting = False
        if n and not isinstance(self.sampler, Greedy):
            drawable = bool(positive if isinstance(self.sampler, Proportional) else model.records)
            if not drawable:
                with pytest.raises(EmptyBufferError):
                    self.buffer.sample(n)
                return
        batch = self.buffer.sample(n)
        ids = batch.ids.tolist()
        if isinstance(self.sampler, Greedy):
            assert ids == model.by_priority()[:n]
            expected = [1.0] * len(ids)
        elif isinstance(self.sampler, Uniform):
            assert len(ids) == n
            expected = [1 / max(1, len(model.records))] * n  # n may be 0 where there are none
        else:
            assert len(ids) == n
            alpha = self.sampler.alpha
            total = sum(p**alpha for p in positive)
            assert all(model.priority[i] > 0 for i in ids)
            expected = [model.priority[i] ** alpha / total for i in ids]
        np.testing.assert_allclose(batch.probability, expected, rtol=1e-12)
        assert list(batch) == [model.records[i] for i in ids]
        assert batch.priority.tolist() == [model.priority[i] for i in ids]

    @rule(order=st.sampled_from(["age", "priority"]))
    def results(self, order: Any) -> None:
        model = self.model
        ids = model.by_age() if order == "age" else model.by_priority()
        self.waiting = False
        assert self.buffer.results(order).to_list() == [model.records[i] for i in ids]

    @rule()
    def save_and_load(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "replay.rkyv"
            self.buffer.save(path)
            self.waiting = False
            assert archive.read(path).to_list() == self.model.saved()
            self.buffer = ReplayBuffer.load(
                self.model.capacity, path, sampler=self.sampler, remover=self.model.remover, seed=1
            )
        model = Model(self.model.capacity, self.model.remover)
        for result in self.model.saved():
            model.push(result)
        self.model = model

    # --- always

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.buffer) == len(self.model.records)
        assert self.buffer.is_empty() == (not self.model.records)

    @precondition(lambda self: not self.waiting)
    @invariant()
    def everything_agrees(self) -> None:
        self.compare()

    def teardown(self) -> None:
        if hasattr(self, "model"):
            self.compare()

    def compare(self) -> None:
        model, buffer = self.model, self.buffer
        ids = model.by_age()
        buffer.check()
        for index in (buffer._sampler, buffer._remover):
            if hasattr(index, "tree"):
                index.tree.check()
        self.same_ids(buffer.ids(), ids)
        assert buffer.priorities(ids).tolist() == [model.priority[i] for i in ids]
        assert list(buffer) == [model.records[i] for i in ids]
        assert buffer.valid_count() == sum(r.valid and not r.fallback_used for r in model.records.values())
        stats = buffer.stats()
        counted = (stats.pushed, stats.removed, stats.updated, stats.late_updates)
        assert counted == (model.next_id, model.next_id - len(ids), model.updated, model.late)


BufferMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=25, deadline=None)


class TestBufferAgainstTheModel(BufferMachine.TestCase):
    pass


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("capacity", [0, -1, 2**31, True, 2.0, "3", None])
def test_a_capacity_that_is_none_is_refused(capacity: Any) -> None:
    with pytest.raises(UsageError, match="`capacity`"):
        ReplayBuffer(capacity)


def test_a_numpy_int_is_a_capacity() -> None:
    assert ReplayBuffer(np.int64(3)).capacity == 3


@pytest.mark.parametrize("result", [None, 1, "push 1", {}, [made()]], ids=repr)
def test_push_refuses_what_is_no_build_result(result: Any) -> None:
    with pytest.raises(UsageError, match=r"BuildResult.*`result`"):
        ReplayBuffer(3).push(result)


@pytest.mark.parametrize("given", [[1], ["push 1"], [made(), None]], ids=repr)
def test_extend_refuses_what_are_no_build_results(given: Any) -> None:
    with pytest.raises(UsageError, match="BuildResult"):
        ReplayBuffer(3).extend(given)


@pytest.mark.parametrize("bad", [math.nan, -1.0, math.inf, -math.inf, -5e-324])
def test_a_bad_priority_names_its_record(bad: float) -> None:
    buffer = ReplayBuffer(5)
    buffer.extend(many(5))
    with pytest.raises(UsageError, match=r"for record 3 - at `priorities`"):
        buffer.update_priorities([1, 3, 2], [1.0, bad, 2.0])


@pytest.mark.parametrize("bad", [math.nan, -1.0, math.inf])
def test_a_bad_priority_sets_none_of_them(bad: float) -> None:
    buffer = ReplayBuffer(5)
    buffer.extend(many(5))
    before = state(buffer)
    with pytest.raises(UsageError):
        buffer.update_priorities([1, 3, 2], [9.0, bad, 9.0])
    assert state(buffer) == before


@pytest.mark.parametrize("bad", [math.nan, -1.0, math.inf])
def test_extend_with_a_bad_priority_takes_nothing_in(bad: float) -> None:
    buffer = ReplayBuffer(5)
    buffer.extend(many(5))
    before = state(buffer), buffer.stats()
    with pytest.raises(UsageError, match=r"for record 6 - at `priorities`"):
        buffer.extend(many(3), [9.0, bad, 9.0])
    assert (state(buffer), buffer.stats()) == before


@pytest.mark.parametrize("given", [[], [1.0], [1.0, 2.0, 3.0], [[1.0, 2.0]]])
def test_as_many_priorities_as_ids_are_wanted(given: Any) -> None:
    buffer = ReplayBuffer(5)
    buffer.extend(many(5))
    with pytest.raises(UsageError, match="expected 2 priorities"):
        buffer.update_priorities([0, 1], given)


@pytest.mark.parametrize("given", [[], [1.0], [1.0, 2.0, 3.0], 1.0])
def test_as_many_priorities_as_records_are_wanted(given: Any) -> None:
    with pytest.raises(UsageError, match="expected 2 priorities"):
        ReplayBuffer(5).extend(many(2), given)


@pytest.mark.parametrize("ids", [[0.0], ["0"], [True], [[0]], [None], [2**70]], ids=repr)
@pytest.mark.parametrize("ask", ["priorities", "update_priorities"])
def test_ids_that_are_no_ints_are_refused(ids: Any, ask: str) -> None:
    buffer = ReplayBuffer(5)
    buffer.extend(many(5))
    arguments = (ids,) if ask == "priorities" else (ids, [1.0])
    with pytest.raises(UsageError, match="`ids`"):
        getattr(buffer, ask)(*arguments)


def test_priorities_that_are_no_numbers_are_refused() -> None:
    buffer = ReplayBuffer(5)
    buffer.extend(many(5))
    with pytest.raises(ValueError):
        buffer.update_priorities([0], ["high"])


@pytest.mark.parametrize("n", [-1, 1.0, True, "1", None])
def test_sample_refuses_what_is_no_count(n: Any) -> None:
    with pytest.raises(UsageError, match="`n`"):
        ReplayBuffer(3).sample(n)


def test_get_of_a_record_that_never_was_is_refused() -> None:
    with pytest.raises(UsageError, match="no record 0 in the buffer"):
        ReplayBuffer(3).get(0)


def test_get_of_a_record_that_has_gone_is_refused() -> None:
    buffer = ReplayBuffer(1, remover=Oldest())
    buffer.extend(many(2))
    with pytest.raises(UsageError, match="no record 0 in the buffer"):
        buffer.get(0)


@pytest.mark.parametrize("identity", ["0", None, 0.0, (0,)])
def test_what_is_no_int_is_never_contained(identity: Any) -> None:
    buffer = ReplayBuffer(1)
    buffer.push(made())
    assert (identity in buffer) is False


# --- reward -------------------------------------------------------------------------------------------------


def test_a_custom_reward_gives_the_first_priorities() -> None:
    buffer = ReplayBuffer(9, reward=lambda columns: columns.timestamp.astype(np.float64))
    ids = buffer.extend(many(5))
    assert buffer.priorities(ids).tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_custom_reward_gives_a_single_push_its_priority() -> None:
    buffer = ReplayBuffer(9, reward=lambda columns: columns.timestamp.astype(np.float64))
    identity = buffer.push(made(timestamp=42))
    assert buffer.priorities(identity).tolist() == [42.0]


def test_a_batch_has_the_custom_reward_whatever_the_learner_set() -> None:
    buffer = ReplayBuffer(9, reward=lambda columns: columns.timestamp.astype(np.float64))
    buffer.update_priorities(buffer.extend(many(3)), [5.0, 6.0, 4.0])
    assert buffer.sample(3).reward.tolist() == [1.0, 0.0, 2.0]


def test_given_priorities_go_before_the_reward() -> None:
    buffer = ReplayBuffer(9)
    ids = buffer.extend(many(2), [7.0, 8.0])
    assert buffer.priorities(ids).tolist() == [7.0, 8.0]


def test_a_reward_of_nan_names_the_record() -> None:
    buffer = ReplayBuffer(9, reward=lambda columns: np.where(columns.timestamp == 3, np.nan, 1.0))
    with pytest.raises(UsageError, match="got nan for record 3"):
        buffer.extend(many(5))


def test_extend_with_a_reward_of_nan_takes_nothing_in() -> None:
    buffer = ReplayBuffer(9, reward=lambda columns: np.where(columns.timestamp == 3, np.nan, 1.0))
    buffer.extend(many(3))
    before = state(buffer), buffer.stats()
    with pytest.raises(UsageError):
        buffer.extend(many(5))
    assert (state(buffer), buffer.stats()) == before


def test_a_reward_of_the_wrong_length_is_refused() -> None:
    buffer = ReplayBuffer(9, reward=lambda columns: np.ones(1))
    with pytest.raises(UsageError, match="expected 2 priorities"):
        buffer.extend(many(2))


# --- updates ------------------------------------------------------------------------------------------------


def test_an_update_for_a_record_that_has_gone_is_counted() -> None:
    buffer = ReplayBuffer(1, remover=Oldest())
    buffer.extend(many(2))
    buffer.update_priorities([0], [9.0])
    assert buffer.stats().late_updates == 1


def test_an_update_for_a_record_that_has_gone_does_not_touch_who_has_its_slot() -> None:
    buffer = ReplayBuffer(1, remover=Oldest())
    buffer.extend(many(2), [1.0, 2.0])
    buffer.update_priorities([0], [9.0])
    assert buffer.priorities([0, 1]).tolist() == [pytest.approx(math.nan, nan_ok=True), 2.0]


def test_an_update_says_how_many_were_still_here() -> None:
    buffer = ReplayBuffer(2, remover=Oldest())
    buffer.extend(many(4))
    assert buffer.update_priorities([0, 3, 1, 2, 9, -1], [1.0] * 6) == 2


def test_of_an_id_given_twice_the_last_priority_counts() -> None:
    buffer = ReplayBuffer(2)
    buffer.extend(many(2))
    buffer.update_priorities([1, 0, 1], [5.0, 6.0, 7.0])
    assert buffer.priorities([0, 1]).tolist() == [6.0, 7.0]


def test_ids_go_on_rising_past_what_is_removed_at_once() -> None:
    buffer = ReplayBuffer(1)
    buffer.extend(many(3), [3.0, 1.0, 2.0])
    assert buffer.push(made()) == 3


# --- batches ------------------------------------------------------------------------------------------------


@pytest.fixture
def ragged() -> ReplayBuffer:
    """Three records of 2, 0 and 3 instructions; drawn in this order."""
    buffer = ReplayBuffer(8)
    lists = [["add", "mul"], [], ["mul", "push 1", "add"]]
    unlike = [(True, False), (True, True), (False, False)]
    buffer.extend(
        [
            made(
                None if i == 1 else 2**64 - 1 - i,
                tir_hash=bytes([i]) * 32,
                generated_tasm=lists[i],
                valid=unlike[i][0],
                fallback_used=unlike[i][1],
                compiler_cycles=2**63 + i,
                timestamp=2**63 - i,
                model_version=2**32 - 1 - i,
            )
            for i in range(3)
        ],
        [3.0, 2.0, 1.0],
    )
    return buffer


@pytest.mark.parametrize(
    ("name", "dtype", "expected"),
    [
        ("ids", np.int64, [0, 1, 2]),
        ("tokens", np.int32, [0, 1, 1, 2, 0]),
        ("offsets", np.int64, [0, 2, 2, 5]),
        ("priority", np.float64, [3.0, 2.0, 1.0]),
        ("probability", np.float64, [1.0, 1.0, 1.0]),
        ("weight", np.float32, [1.0, 1.0, 1.0]),
        ("reward", np.float64, [1.0, 0.01, 0.001]),
        ("tir_hash", np.uint8, [[0] * 32, [1] * 32, [2] * 32]),
        ("valid", np.bool_, [True, True, False]),
        ("measured", np.bool_, [True, False, True]),
        ("clock_cycles", np.uint64, [2**64 - 1, None, 2**64 - 3]),
        ("compiler_cycles", np.uint64, [2**63, 2**63 + 1, 2**63 + 2]),
        ("fallback_used", np.bool_, [False, True, False]),
        ("timestamp", np.uint64, [2**63, 2**63 - 1, 2**63 - 2]),
        ("model_version", np.uint32, [2**32 - 1, 2**32 - 2, 2**32 - 3]),
    ],
)
def test_a_batch_has_every_column(ragged: ReplayBuffer, name: str, dtype: Any, expected: list[Any]) -> None:
    column = getattr(ragged.sample(3), name)
    assert (column.dtype, column.tolist()) == (dtype, expected)


@pytest.mark.parametrize(
    "name",
    [
        "ids",
        "tokens",
        "offsets",
        "priority",
        "probability",
        "weight",
        "reward",
        "tir_hash",
        "valid",
        "measured",
        "compiler_cycles",
        "clock_cycles",
        "fallback_used",
        "timestamp",
        "model_version",
        "instruction_counts",
    ],
)
def test_a_batch_column_is_read_only(ragged: ReplayBuffer, name: str) -> None:
    assert getattr(ragged.sample(3), name).flags.writeable is False


def test_a_batch_counts_its_instructions(ragged: ReplayBuffer) -> None:
    assert ragged.sample(3).instruction_counts.tolist() == [2, 0, 3]


def test_a_batch_has_a_length(ragged: ReplayBuffer) -> None:
    assert len(ragged.sample(2)) == 2


def test_a_batch_decodes_its_instructions(ragged: ReplayBuffer) -> None:
    assert list(ragged.sample(3).generated_tasm) == [("add", "mul"), (), ("mul", "push 1", "add")]


@pytest.mark.parametrize("i", [0, 1, 2, -1, -3])
def test_a_batch_gives_one_record_by_its_place(ragged: ReplayBuffer, i: int) -> None:
    assert ragged.sample(3)[i] == list(ragged)[i]


@pytest.mark.parametrize("i", [3, -4])
def test_a_batch_has_no_record_past_its_end(ragged: ReplayBuffer, i: int) -> None:
    with pytest.raises(IndexError):
        ragged.sample(3)[i]


@pytest.mark.parametrize("part", [slice(1), slice(1, 9), slice(None, None, -1), slice(2, 1)], ids=str)
def test_a_slice_of_a_batch_is_results(ragged: ReplayBuffer, part: slice) -> None:
    assert ragged.sample(3)[part] == Results.concat(list(ragged)[part])


def test_a_mask_picks_from_a_batch(ragged: ReplayBuffer) -> None:
    batch = ragged.sample(3)
    assert batch[np.array([True, False, True])].to_list() == [batch[0], batch[2]]


def test_a_batch_is_padded_to_its_longest(ragged: ReplayBuffer) -> None:
    tokens, _ = ragged.sample(3).padded()
    assert tokens.tolist() == [[0, 1, 0], [0, 0, 0], [1, 2, 0]]


def test_the_mask_is_true_on_tokens(ragged: ReplayBuffer) -> None:
    _, mask = ragged.sample(3).padded()
    assert mask.tolist() == [[True, True, False], [False] * 3, [True] * 3]


def test_a_batch_is_padded_with_what_is_asked_for(ragged: ReplayBuffer) -> None:
    tokens, _ = ragged.sample(3).padded(4, pad=-1)
    assert tokens.tolist() == [[0, 1, -1, -1], [-1] * 4, [1, 2, 0, -1]]


def test_longer_records_are_cut(ragged: ReplayBuffer) -> None:
    tokens, mask = ragged.sample(3).padded(1, pad=-1)
    assert (tokens.tolist(), mask.tolist()) == ([[0], [-1], [1]], [[True], [False], [True]])


def test_a_length_of_zero_pads_to_nothing(ragged: ReplayBuffer) -> None:
    assert ragged.sample(3).padded(0)[0].shape == (3, 0)


def test_padded_is_int32_and_bool(ragged: ReplayBuffer) -> None:
    tokens, mask = ragged.sample(3).padded()
    assert (tokens.dtype, mask.dtype) == (np.int32, np.bool_)


@pytest.mark.parametrize(
    ("arguments", "place"), [((-1,), "length"), ((3, 2**31), "pad"), ((3, -(2**31) - 1), "pad")]
)
def test_padded_refuses_what_cannot_be(ragged: ReplayBuffer, arguments: Any, place: str) -> None:
    with pytest.raises(UsageError, match=f"`{place}`"):
        ragged.sample(3).padded(*arguments)


def test_an_empty_batch_has_all_its_parts() -> None:
    batch = ReplayBuffer(3).sample(0)
    parts = (batch.ids, batch.tokens, batch.offsets, batch.priority, batch.reward, batch.padded()[0])
    assert [part.tolist() for part in parts] == [[], [], [0], [], [], []]


@pytest.mark.parametrize("remover", [LowestPriority(), Oldest()], ids=repr)
def test_a_batch_does_not_change_when_the_buffer_does(remover: Any) -> None:
    buffer = ReplayBuffer(16, remover=remover, sampler=Uniform(), seed=3)
    buffer.extend(many(16), np.linspace(0.1, 1, 16))
    batch = buffer.sample(64)
    columns = [getattr(batch, name) for name in ("ids", "tokens", "offsets", "priority", "timestamp")]
    before = [column.tolist() for column in columns], list(batch)
    for turn in range(50):
        other = [made(1, generated_tasm=[f"other {turn}"] * 40, timestamp=10**9) for _ in range(20)]
        buffer.extend(other, [5.0 + turn] * 20)
    assert ([column.tolist() for column in columns], list(batch)) == before


def test_records_that_were_handed_out_do_not_change_when_the_buffer_does() -> None:
    buffer = ReplayBuffer(4, remover=Oldest())
    buffer.extend(many(4))
    whole = buffer.results()
    for turn in range(50):
        buffer.extend([made(generated_tasm=[f"other {turn}"] * 40)] * 5)
    assert whole.to_list() == many(4)


# --- vocabularies -------------------------------------------------------------------------------------------


def test_the_own_vocabulary_grows_in_order_of_appearance() -> None:
    buffer = ReplayBuffer(4)
    buffer.push(made(generated_tasm=["mul", "add", "mul"]))
    assert (buffer.sample(1).tokens.tolist(), list(buffer.vocabulary)) == ([0, 1, 0], ["mul", "add"])


def test_tokens_are_ids_of_the_vocabulary_that_was_passed_in() -> None:
    vocabulary = Vocabulary(["nop", "add"])
    buffer = ReplayBuffer(4, vocabulary=vocabulary)
    buffer.push(made(generated_tasm=["mul", "add"]))
    assert (buffer.sample(1).tokens.tolist(), list(vocabulary)) == ([2, 1], ["nop", "add", "mul"])


def test_two_buffers_may_share_a_vocabulary() -> None:
    vocabulary = Vocabulary()
    first, second = ReplayBuffer(4, vocabulary=vocabulary), ReplayBuffer(4, vocabulary=vocabulary)
    first.push(made(generated_tasm=["mul", "add"]))
    first.check()
    second.push(made(generated_tasm=["add", "mul"]))
    assert second.sample(1).tokens.tolist() == [1, 0]


def test_results_of_another_vocabulary_get_the_buffers_ids() -> None:
    theirs = Vocabulary(["x", "y", "z"])
    buffer = ReplayBuffer(4)
    buffer.push(made(generated_tasm=["z"]))
    other = ReplayBuffer(4, vocabulary=theirs)
    other.push(made(generated_tasm=["x", "z", "y", "x"]))
    buffer.extend(other.results())
    assert buffer.sample(2)[1].generated_tasm == ("x", "z", "y", "x")


def strict() -> ReplayBuffer:
    return ReplayBuffer(4, vocabulary=Vocabulary(["add", "mul"], unknown="raise"))


def test_a_vocabulary_that_raises_gives_its_ids_for_known_words() -> None:
    buffer = strict()
    buffer.push(made(generated_tasm=["mul", "add"]))
    assert buffer.sample(1).tokens.tolist() == [1, 0]


def test_push_refuses_an_unknown_word_when_the_vocabulary_raises() -> None:
    with pytest.raises(UsageError, match="'xor'"):
        strict().push(made(generated_tasm=["mul", "xor"]))


def test_a_refused_push_loses_nothing_and_takes_no_id() -> None:
    buffer = strict()
    buffer.push(made(generated_tasm=["mul"]))
    with pytest.raises(UsageError):
        buffer.push(made(generated_tasm=["xor"]))
    buffer.push(made(generated_tasm=["add"]))
    assert [(i, buffer.get(i).generated_tasm) for i in buffer.ids()] == [(0, ("mul",)), (1, ("add",))]


@pytest.mark.parametrize("as_results", [False, True])
def test_extend_takes_nothing_in_when_one_word_is_unknown(as_results: bool) -> None:
    buffer = strict()
    buffer.push(made(generated_tasm=["mul"]))
    before = state(buffer), buffer.stats()
    given = [made(generated_tasm=["add"]), made(generated_tasm=["xor"])]
    with pytest.raises(UsageError, match="'xor'"):
        buffer.extend(archive.loads(archive.dumps(given)) if as_results else given)
    assert (state(buffer), buffer.stats()) == before


def unknowing() -> ReplayBuffer:
    return ReplayBuffer(4, vocabulary=Vocabulary(["<unknown>", "add", "mul"], unknown=0))


def test_an_unknown_word_gets_the_id_that_was_asked_for() -> None:
    buffer = unknowing()
    buffer.push(made(generated_tasm=["mul", "xor", "add", "pow"]))
    assert buffer.sample(1).tokens.tolist() == [2, 0, 1, 0]


def test_words_first_seen_after_a_draw_get_their_ids_too() -> None:
    buffer = unknowing()
    buffer.push(made(generated_tasm=["xor"]))
    buffer.sample(1)
    buffer.push(made(9, generated_tasm=["pow", "mul"]))
    assert buffer.sample(2).tokens.tolist() == [0, 0, 2]


def test_the_text_of_unknown_words_survives() -> None:
    buffer = unknowing()
    identity = buffer.push(made(generated_tasm=["mul", "xor"]))
    assert buffer.get(identity).generated_tasm == ("mul", "xor")


def test_the_text_of_unknown_words_survives_in_a_batch() -> None:
    buffer = unknowing()
    buffer.push(made(generated_tasm=["mul", "xor"]))
    assert buffer.sample(1)[0].generated_tasm == ("mul", "xor")


def test_the_text_of_unknown_words_is_saved(tmp_path: Path) -> None:
    buffer = unknowing()
    buffer.push(made(generated_tasm=["mul", "xor"]))
    buffer.save(tmp_path / "replay.rkyv")
    assert archive.read(tmp_path / "replay.rkyv")[0].generated_tasm == ("mul", "xor")


def test_the_given_vocabulary_does_not_grow_by_unknown_words() -> None:
    buffer = unknowing()
    buffer.push(made(generated_tasm=["mul", "xor"]))
    buffer.sample(1)
    assert list(buffer.vocabulary) == ["<unknown>", "add", "mul"]


# --- damage -------------------------------------------------------------------------------------------------


def damaged(count: int) -> Results:
    """An archive whose last record's instruction is no UTF-8, opened without looking."""
    good = [
        made(timestamp=i, generated_tasm=["an instruction of more than eight bytes"]) for i in range(count)
    ]
    last = made(timestamp=count, generated_tasm=["DAMAGED instruction, long enough"])
    raw = bytearray(archive.dumps([*good, last]))
    place = raw.index(b"DAMAGED")
    raw[place : place + 1] = b"\xff"
    return archive.loads(bytes(raw), validate=False)


@pytest.mark.parametrize("remover", [LowestPriority(), Oldest()], ids=repr)
@pytest.mark.parametrize("count", [3, 20_000], ids=["few", "more than a chunk"])
def test_a_damaged_archive_leaves_the_records_as_they_were(count: int, remover: Any) -> None:
    buffer = ReplayBuffer(5, remover=remover)
    buffer.extend(many(4))
    before = state(buffer)
    with pytest.raises(DamageError, match="UTF-8"):
        buffer.extend(damaged(count))
    assert state(buffer) == before


@pytest.mark.parametrize("count", [3, 20_000], ids=["few", "more than a chunk"])
def test_a_damaged_archive_leaves_a_buffer_that_works(count: int) -> None:
    buffer = ReplayBuffer(5)
    buffer.extend(many(4))
    with pytest.raises(DamageError):
        buffer.extend(damaged(count))
    ids = buffer.extend([made(0)], [9.0])
    buffer.check()
    assert buffer.sample(1).ids.tolist() == ids.tolist()


def test_a_damaged_archive_is_not_counted_as_pushed() -> None:
    buffer = ReplayBuffer(5)
    buffer.extend(many(4))
    with pytest.raises(DamageError):
        buffer.extend(damaged(3))
    assert (buffer.stats().pushed, buffer.stats().removed) == (4, 0)


def test_loading_a_damaged_file_is_refused(tmp_path: Path) -> None:
    raw = bytearray(archive.dumps([made()]))
    raw[-4] ^= 0xFF
    (tmp_path / "replay.rkyv").write_bytes(raw)
    with pytest.raises(DamageError, match=r"replay\.rkyv"):
        ReplayBuffer.load(3, tmp_path / "replay.rkyv")


# --- the rest -----------------------------------------------------------------------------------------------


def test_iteration_goes_over_the_records_as_they_were_when_it_began() -> None:
    buffer = ReplayBuffer(3, remover=Oldest())
    buffer.extend(many(3))
    walk = iter(buffer)
    buffer.extend([made(generated_tasm=["new"])] * 3)
    assert list(walk) == many(3)


def test_a_batch_can_be_pushed_again() -> None:
    buffer, other = ReplayBuffer(9), ReplayBuffer(9)
    buffer.extend(many(5))
    other.extend(buffer.sample(5))
    assert list(other) == list(buffer.sample(5))


def test_many_single_pushes_wait_and_are_all_taken_in() -> None:
    buffer = ReplayBuffer(10_000)
    for result in many(5000):
        buffer.push(result)
    assert list(buffer) == many(5000)


def test_stats_count_what_was_sampled() -> None:
    buffer = ReplayBuffer(9)
    buffer.extend(many(5))
    buffer.sample(2)
    buffer.sample(9)
    assert buffer.stats().sampled == 7


def test_a_buffer_says_how_full_it_is() -> None:
    buffer = ReplayBuffer(2000)
    buffer.extend(many(3))
    assert repr(buffer) == "ReplayBuffer(3 of 2,000 build results)"
