"""PerProgram: a program first, then one of its records, against a model that looks at everything."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from draw_helpers import drawn, misfit
from ostinato import EmptyBufferError, ReplayBuffer, Results, UsageError, Vocabulary
from ostinato.replay import Fifo, Greedy, LinearSchedule, Oldest, PerProgram, Proportional, Uniform

INNERS = [Uniform(), Proportional(0.0), Proportional(0.6), Proportional(1.0, stratified=False)]
POWERS = [0.0, 0.5, 1.0]
RULES = [PerProgram(inner, power) for inner in INNERS for power in POWERS]
FEW = [PerProgram(), PerProgram(Proportional(0.6), 0.5), PerProgram(Proportional(1.0), 1.0)]


def records(programs: Any) -> Results:
    """One of each of these programs; they differ in their last bytes alone."""
    programs = np.asarray(programs, np.int64)
    count = len(programs)
    hashes = np.zeros((count, 32), np.uint8)
    hashes[:, 30], hashes[:, 31] = programs // 256, programs % 256
    return Results.from_columns(
        tir_hash=hashes,
        tokens=np.zeros(count, np.int32),
        offsets=np.arange(count + 1),
        vocabulary=Vocabulary(["add"]),
        valid=np.ones(count, bool),
        clock_cycles=np.full(count, 5, np.uint64),
        compiler_cycles=np.full(count, 10, np.uint64),
        fallback_used=np.zeros(count, bool),
        timestamp=np.arange(count, dtype=np.uint64),
        model_version=np.ones(count, np.uint32),
    )


class World:
    """A buffer, and which program each id that was ever given is of."""

    def __init__(self, rule: PerProgram, capacity: int = 5000, **other: Any) -> None:
        self.rule = rule
        self.buffer = ReplayBuffer(capacity, sampler=rule, **{"seed": 11, **other})
        self.program_of: list[int] = []

    def push(self, programs: Any, priorities: Any) -> None:
        self.program_of += np.asarray(programs).tolist()
        self.buffer.extend(records(programs), priorities)

    def programs(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array(self.program_of, np.int64)[ids]

    def shares(self) -> dict[int, float]:
        """P(i) = P(program of i) * P(i among its records), of each id, by the words of the docstring."""
        inner = self.rule.inner
        leaf_of: dict[int, dict[int, float]] = {}
        ids = self.buffer.ids()
        for i, priority in zip(ids.tolist(), self.buffer.priorities(ids).tolist(), strict=True):
            if isinstance(inner, Uniform):
                leaf_of.setdefault(self.program_of[i], {})[i] = 1.0
            elif priority > 0:
                leaf_of.setdefault(self.program_of[i], {})[i] = priority**inner.alpha
        all_programs = sum(len(leaves) ** self.rule.power for leaves in leaf_of.values())
        return {
            i: len(leaves) ** self.rule.power / all_programs * leaf / sum(leaves.values())
            for leaves in leaf_of.values()
            for i, leaf in leaves.items()
        }


def crowd(rule: PerProgram, seed: int = 1, **other: Any) -> World:
    """27 programs of 1, 2, 3, ... records, mixed, with some priorities of zero."""
    rng = np.random.default_rng(seed)
    world = World(rule, **other)
    programs = rng.permutation(np.repeat(np.arange(27), np.arange(1, 28)))
    priorities = rng.uniform(0.05, 3, len(programs))
    priorities[rng.random(len(programs)) < 0.1] = 0
    world.push(programs, priorities)
    return world


def settled(rule: PerProgram, seed: int = 2) -> World:
    """1,500 records in 100 programs, drawn from once: from here, few changes at a time are no rebuild."""
    rng = np.random.default_rng(seed)
    world = World(rule)
    world.push(np.minimum(rng.geometric(0.04, 1500), 100) - 1, rng.uniform(0.05, 3, 1500))
    world.buffer.sample(10)
    return world


def assert_probabilities(world: World, n: int = 400) -> None:
    batch, shares = world.buffer.sample(n), world.shares()
    expected = [shares.get(i, 0.0) for i in batch.ids.tolist()]
    assert batch.probability.tolist() == pytest.approx(expected, rel=1e-12)


# --- what is drawn ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_probability_is_the_programs_share_times_the_records(rule: PerProgram) -> None:
    assert_probabilities(crowd(rule), 2000)


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_draws_follow_the_probabilities(rule: PerProgram) -> None:
    world = crowd(rule)
    assert misfit(drawn(world.buffer, 100, 512), world.shares()) < 1


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_single_draws_follow_the_probabilities(rule: PerProgram) -> None:
    world = World(rule)
    world.push([0, 0, 0, 1, 1, 2], [1, 2, 3, 1, 0, 0.5])
    assert misfit(drawn(world.buffer, 2000, 1), world.shares()) < 1


@pytest.mark.parametrize("rule", FEW, ids=repr)
def test_draws_follow_updates(rule: PerProgram) -> None:
    world, rng = settled(rule), np.random.default_rng(3)
    for _ in range(40):
        ids = rng.integers(0, 1500, 50)
        world.buffer.update_priorities(ids, rng.choice([0.0, 0.1, 1.0, 4.0], 50))
        world.buffer.sample(1)
    assert_probabilities(world)
    assert misfit(drawn(world.buffer, 60, 1024), world.shares()) < 1


@pytest.mark.parametrize("rule", FEW, ids=repr)
def test_draws_follow_removals(rule: PerProgram) -> None:
    world, rng = settled(rule), np.random.default_rng(4)
    for _ in range(25):
        world.buffer.remove(rng.choice(world.buffer.ids(), 40, replace=False))
        world.buffer.sample(1)
    assert_probabilities(world)
    assert misfit(drawn(world.buffer, 60, 1024), world.shares()) < 1


@pytest.mark.parametrize("rule", FEW, ids=repr)
def test_draws_follow_records_that_come(rule: PerProgram) -> None:
    world, rng = settled(rule), np.random.default_rng(5)
    for _ in range(40):
        world.push(rng.choice([0, 3, 50, 101, 102, 300], 30), rng.uniform(0, 3, 30))
        world.buffer.sample(1)
    assert_probabilities(world)
    assert misfit(drawn(world.buffer, 60, 1024), world.shares()) < 1


@pytest.mark.parametrize("rule", FEW, ids=repr)
def test_draws_follow_programs_that_come_and_go_for_long(rule: PerProgram) -> None:
    world, rng = World(rule, 1500, remover=Oldest()), np.random.default_rng(6)
    for turn in range(300):  # in the end 12,000 programs came, and 1,500 at most are here
        world.push(40 * turn + rng.integers(0, 40, 60), rng.uniform(0.05, 3, 60))
        world.buffer.sample(1)
    world.buffer.check()
    assert_probabilities(world)
    assert misfit(drawn(world.buffer, 60, 1024), world.shares()) < 1


def test_one_noisy_program_cannot_flood_the_batch() -> None:
    world = World(PerProgram())
    world.push([0] * 4000 + list(range(1, 10)), np.ones(4009))
    counts = np.bincount(world.programs(world.buffer.sample(1000).ids), minlength=10)
    assert counts.tolist() == [100] * 10


def test_a_program_that_becomes_noisy_does_not_flood_the_batch() -> None:
    world = World(PerProgram())
    world.push(np.arange(10), np.ones(10))
    world.buffer.sample(1)
    for _ in range(100):
        world.push([7] * 40, np.full(40, 100.0))
        world.buffer.sample(1)
    counts = np.bincount(world.programs(world.buffer.sample(1000).ids), minlength=10)
    assert counts.tolist() == [100] * 10


@pytest.mark.parametrize(("programs", "n"), [(5, 7), (3, 2), (7, 30), (10, 64)])
def test_each_of_g_programs_comes_n_over_g_times_to_within_two(programs: int, n: int) -> None:
    world = World(PerProgram())
    world.push(np.arange(programs), np.ones(programs))
    counts = np.array([np.bincount(world.buffer.sample(n).ids, minlength=programs) for _ in range(300)])
    assert np.abs(counts - n / programs).max() < 2


@pytest.mark.parametrize(("programs", "n"), [(1, 9), (5, 5), (5, 100), (8, 64)])
def test_each_of_g_programs_comes_as_often_where_g_divides_n(programs: int, n: int) -> None:
    world = World(PerProgram())
    world.push(np.arange(programs), np.ones(programs))
    counts = [np.bincount(world.buffer.sample(n).ids, minlength=programs).tolist() for _ in range(50)]
    assert counts == [[n // programs] * programs] * 50


def test_with_power_one_and_uniform_inside_every_record_is_as_likely() -> None:
    world = crowd(PerProgram(power=1.0))
    count = len(world.buffer)
    batch = world.buffer.sample(100)
    assert batch.probability.tolist() == pytest.approx([1 / count] * 100, rel=1e-12)


def test_records_of_priority_zero_do_not_count_in_their_programs_size() -> None:
    world = World(PerProgram(Proportional(1.0), power=1.0))
    world.push([0] * 4 + [1] * 2, [1.0, 0.0, 0.0, 0.0, 1.0, 1.0])
    batch = world.buffer.sample(300)
    assert batch.probability.tolist() == pytest.approx([1 / 3] * 300, rel=1e-12)


def test_records_of_priority_zero_count_for_uniform() -> None:
    world = World(PerProgram())
    world.push([0, 0, 1], [0.0, 0.0, 0.0])
    shares = {0: 1 / 4, 1: 1 / 4, 2: 1 / 2}
    batch = world.buffer.sample(100)
    assert batch.probability.tolist() == [shares[i] for i in batch.ids.tolist()]


def test_a_program_of_which_no_record_has_a_priority_is_not_drawn() -> None:
    world = World(PerProgram(Proportional(1.0)))
    world.push([0, 0, 1, 1, 2], [0.0, 0.0, 1.0, 0.0, 1.0])
    assert set(world.buffer.sample(200).ids.tolist()) == {2, 4}


def test_a_program_is_drawn_again_when_one_of_its_records_gets_a_priority() -> None:
    world = settled(PerProgram(Proportional(1.0)))
    mine = np.flatnonzero(world.programs(np.arange(1500)) == 5)
    world.buffer.update_priorities(mine, np.zeros(len(mine)))
    world.buffer.sample(1)
    world.buffer.update_priorities(mine[3:4], [0.001])
    ids = world.buffer.sample(1000).ids
    assert set(ids[world.programs(ids) == 5].tolist()) == {int(mine[3])}


def test_a_program_whose_last_record_leaves_is_no_longer_drawn() -> None:
    world = settled(PerProgram())
    world.buffer.remove(np.flatnonzero(world.programs(np.arange(1500)) == 5))
    programs = len({*world.programs(world.buffer.ids()).tolist()})
    batch = world.buffer.sample(programs)
    assert sorted(world.programs(batch.ids).tolist()) == sorted(
        {*world.programs(world.buffer.ids()).tolist()}
    )


def test_a_program_that_left_comes_back() -> None:
    world = settled(PerProgram())
    world.buffer.remove(np.flatnonzero(world.programs(np.arange(1500)) == 5))
    world.buffer.sample(1)
    world.push([5], [1.0])
    programs = len({*world.programs(world.buffer.ids()).tolist()})
    assert (world.buffer.sample(programs).ids == 1500).sum() == 1


def test_programs_that_differ_in_any_one_byte_are_different_programs() -> None:
    hashes = [bytes(k) + b"\1" + bytes(31 - k) for k in range(32)]
    one = records([0])[0]
    buffer = ReplayBuffer(100, sampler=PerProgram(), seed=1)
    buffer.extend([type(one)(**{**_fields(one), "tir_hash": tir_hash}) for tir_hash in hashes for _ in "ab"])
    assert sorted((buffer.sample(32).ids // 2).tolist()) == list(range(32))


def _fields(result: Any) -> dict[str, Any]:
    names = "tir_hash generated_tasm valid clock_cycles compiler_cycles fallback_used timestamp model_version"
    return {name: getattr(result, name) for name in names.split()}


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_buffer_of_capacity_one_gives_its_record(rule: PerProgram) -> None:
    world = World(rule, 1, remover=Oldest())
    for k in range(5):
        world.push([k % 2], [1.0])
        batch = world.buffer.sample(3)
        assert (batch.ids.tolist(), batch.probability.tolist()) == ([k] * 3, [1.0] * 3)


@pytest.mark.parametrize("capacity", [2, 3, 7, 8, 9, 64, 65])
@pytest.mark.parametrize("rule", FEW, ids=repr)
def test_small_buffers_draw_by_the_probabilities_while_records_leave(rule: PerProgram, capacity: int) -> None:
    world, rng = World(rule, capacity), np.random.default_rng(capacity)
    for _ in range(30):
        width = int(rng.integers(1, 6))
        world.push(rng.integers(0, 5, width), rng.uniform(0.1, 2, width))
        assert_probabilities(world, 20)
    world.buffer.check()


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_any_course_of_changes_leaves_the_probabilities_of_the_model(data: st.DataObject) -> None:
    rule = data.draw(st.sampled_from(RULES))
    world = World(rule, data.draw(st.sampled_from([3, 20, 2000])))
    if world.buffer.capacity == 2000:
        world.push(np.arange(1100) % 37, np.full(1100, 0.5))
        world.buffer.sample(1)
    weights = st.sampled_from([0.0, 0.25, 1.0, 3.0])
    for _ in range(data.draw(st.integers(1, 6))):
        pushed = data.draw(st.lists(st.tuples(st.integers(0, 6), weights), max_size=12))
        if pushed:
            world.push([p for p, _ in pushed], [w for _, w in pushed])
        ever = len(world.program_of)
        some = data.draw(st.lists(st.integers(0, max(0, ever - 1)), max_size=8))
        if data.draw(st.booleans()):
            world.buffer.remove(np.array(some, np.int64))
        else:
            new = [data.draw(weights) for _ in some]
            world.buffer.update_priorities(np.array(some, np.int64), new)
        if world.shares():
            assert_probabilities(world, 50)
    world.buffer.check()


# --- weights ------------------------------------------------------------------------------------------------


def weights_of(world: World, beta: float, batch: Any) -> list[float]:
    raw = (len(world.buffer) * batch.probability) ** -beta
    return [float(w) for w in raw / raw.max()]


@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_weights_are_by_the_rules_own_beta(beta: float) -> None:
    world = crowd(PerProgram(Proportional(0.6, 0.7), beta=beta))
    batch = world.buffer.sample(200)
    assert batch.weight.tolist() == pytest.approx(weights_of(world, beta, batch), rel=1e-6)


def test_weights_are_by_the_inner_rules_beta_where_there_is_no_own() -> None:
    world = crowd(PerProgram(Proportional(0.6, 0.7)))
    batch = world.buffer.sample(200)
    assert batch.weight.tolist() == pytest.approx(weights_of(world, 0.7, batch), rel=1e-6)


def test_weights_are_one_with_uniform_inside() -> None:
    assert crowd(PerProgram()).buffer.sample(50).weight.tolist() == [1.0] * 50


def test_a_scheduled_beta_moves_with_the_batches() -> None:
    world = crowd(PerProgram(beta=LinearSchedule(0.0, 1.0, 4)))
    for beta in (0.0, 0.25, 0.5, 0.75, 1.0, 1.0):
        batch = world.buffer.sample(60)
        assert batch.weight.tolist() == pytest.approx(weights_of(world, beta, batch), rel=1e-6)


def test_weights_with_beta_one_undo_the_balance() -> None:
    world = World(PerProgram(beta=1.0))
    world.push(np.repeat([0, 1, 2], [10, 40, 150]), np.ones(200))
    batch = world.buffer.sample(60_000)
    weights = batch.weight.astype(np.float64)
    assert (weights * batch.ids).sum() / weights.sum() == pytest.approx(99.5, rel=0.02)


# --- chance and state ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", FEW, ids=repr)
def test_the_same_seed_and_calls_give_the_same_batches(rule: PerProgram) -> None:
    courses = []
    for _ in range(2):
        world, rng, course = settled(rule), np.random.default_rng(9), []
        for _ in range(20):
            world.push(rng.integers(0, 200, 20), rng.uniform(0, 2, 20))
            world.buffer.remove(rng.choice(world.buffer.ids(), 5))
            course.append(world.buffer.sample(32).ids.tolist())
        courses.append(course)
    assert courses[0] == courses[1]


def both(world: World) -> list[ReplayBuffer]:
    """The world's buffer, and one that was restored from its state."""
    restored = ReplayBuffer(world.buffer.capacity, sampler=world.rule, seed=99)
    restored.load_state_dict(world.buffer.state_dict())
    return [world.buffer, restored]


@pytest.mark.parametrize("rule", FEW, ids=repr)
def test_a_restored_buffer_goes_on_with_the_same_draws(rule: PerProgram) -> None:
    world = settled(rule)
    world.buffer.remove(np.arange(0, 80, 2))
    one, other = (drawn(buffer, 10, 64).tolist() for buffer in both(world))
    assert one == other


@pytest.mark.parametrize("rule", FEW, ids=repr)
def test_a_restored_buffer_that_took_records_in_draws_by_the_probabilities(rule: PerProgram) -> None:
    world = settled(rule)
    world.buffer = both(world)[1]
    world.buffer.remove(np.arange(100))
    world.push(np.arange(50), np.ones(50))
    batch, shares = world.buffer.sample(400), world.shares()
    expected = [shares.get(i, 0.0) for i in batch.ids.tolist()]
    assert batch.probability.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("rule", FEW, ids=repr)
def test_a_restored_buffer_that_took_records_in_holds_its_invariants(rule: PerProgram) -> None:
    world = settled(rule)
    world.buffer = both(world)[1]
    world.push(np.arange(50), np.ones(50))
    world.buffer.check()


def test_a_restored_buffer_goes_on_with_the_same_draws_when_its_table_grows() -> None:
    world = World(PerProgram())
    world.push(np.arange(1100) % 30, np.ones(1100))
    world.push(np.arange(300) % 30, np.ones(300))
    world.buffer.sample(1)
    world.buffer.remove(np.arange(0, 80, 2))
    courses = []
    for buffer in both(world):
        course = [buffer.sample(64).ids.tolist()]
        buffer.extend(records(np.arange(100)), np.ones(100))
        courses.append([*course, buffer.sample(64).ids.tolist()])
    assert courses[0] == courses[1]


def churn(buffer: ReplayBuffer, turn: int) -> list[int]:
    """Twenty records leave, as many of a few programs come, and a draw."""
    buffer.remove(buffer.ids()[turn :: len(buffer) // 20][:20])
    buffer.extend(records(300 + (7 * turn + np.arange(20)) % 90), np.ones(20))
    drawn: list[int] = buffer.sample(64).ids.tolist()
    return drawn


def test_a_restored_buffer_goes_on_with_the_same_draws_while_programs_grow() -> None:
    world = World(PerProgram(), 4000)
    world.push(np.arange(4000) % 400, np.ones(4000))
    for turn in range(40):
        churn(world.buffer, turn)
    courses = [
        [buffer.sample(64).ids.tolist(), *(churn(buffer, turn) for turn in range(40, 260))]
        for buffer in both(world)
    ]
    assert courses[0] == courses[1]


# --- mistakes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", FEW, ids=repr)
def test_an_empty_buffer_is_an_error(rule: PerProgram) -> None:
    with pytest.raises(EmptyBufferError):
        World(rule).buffer.sample(1)


def test_no_drawable_record_is_an_error() -> None:
    world = World(PerProgram(Proportional()))
    world.push([0, 1], [0.0, 0.0])
    with pytest.raises(EmptyBufferError):
        world.buffer.sample(1)


def test_a_buffer_that_became_empty_is_an_error() -> None:
    world = settled(PerProgram())
    world.buffer.remove(world.buffer.ids())
    with pytest.raises(EmptyBufferError):
        world.buffer.sample(1)


@pytest.mark.parametrize(
    "inner", [Greedy(), Fifo(), Uniform(replace=False), Proportional(replace=False), Uniform, None], ids=repr
)
def test_other_inner_rules_are_refused(inner: Any) -> None:
    with pytest.raises(UsageError, match="`inner`"):
        PerProgram(inner)


@pytest.mark.parametrize("power", [-0.1, 1.1, float("nan"), float("inf"), "1", True, None], ids=repr)
def test_a_power_that_is_no_number_from_zero_to_one_is_refused(power: Any) -> None:
    with pytest.raises(UsageError, match="`power`"):
        PerProgram(power=power)


@pytest.mark.parametrize("beta", [-0.1, 1.1, float("nan"), "1", True], ids=repr)
def test_a_beta_that_is_no_number_from_zero_to_one_is_refused(beta: Any) -> None:
    with pytest.raises(UsageError, match="`beta`"):
        PerProgram(beta=beta)
