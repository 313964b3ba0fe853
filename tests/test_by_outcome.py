"""ByOutcome: quotas in the batch, counted in each batch, and within an outcome a model's distribution."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from draw_helpers import drawn, misfit
from ostinato import BuildResult, EmptyBufferError, ReplayBuffer, UsageError
from ostinato.replay import ByOutcome, Dedupe, Fifo, Greedy, LinearSchedule, Oldest, Proportional, Uniform

INVALID, FALLBACK, VALID, IMPROVED = KINDS = ("invalid", "fallback", "valid", "improved")
INNERS = [Uniform(), Proportional(0.0), Proportional(0.6), Proportional(1.0, stratified=False)]
QUARTERS = {"valid": 0.25, "invalid": 0.125, "fallback": 0.125, "improved": 0.5}
FEW = [ByOutcome(**QUARTERS), ByOutcome(**QUARTERS, inner=Proportional(0.6))]


def record(
    kind: str = VALID, *, clock_cycles: int | None = None, program: int = 0, **other: Any
) -> BuildResult:
    """One of this outcome; a valid one is unmeasured, or as costly as the compiler's own, or costlier."""
    costs = {INVALID: 5, FALLBACK: 10, VALID: (None, 10, 11)[program % 3], IMPROVED: 9}
    return BuildResult(
        tir_hash=program.to_bytes(32, "little"),
        generated_tasm=["add"],
        valid=kind != INVALID,
        clock_cycles=costs[kind] if clock_cycles is None else clock_cycles,
        compiler_cycles=10,
        fallback_used=kind == FALLBACK,
        timestamp=program,
        model_version=1,
        **other,
    )


class World:
    """A buffer, and the outcome of each id that was ever given."""

    def __init__(self, rule: ByOutcome, capacity: int = 5000, **other: Any) -> None:
        self.rule = rule
        self.buffer = ReplayBuffer(capacity, sampler=rule, **{"seed": 11, **other})
        self.kind_of: list[str] = []

    def push(self, kinds: Any, priorities: Any) -> None:
        kinds = [str(kind) for kind in kinds]
        first = len(self.kind_of)
        self.kind_of += kinds
        self.buffer.extend([record(kind, program=first + k) for k, kind in enumerate(kinds)], priorities)

    def counts(self, ids: NDArray[np.int64]) -> dict[str, int]:
        kinds = [self.kind_of[i] for i in ids.tolist()]
        return {kind: kinds.count(kind) for kind in KINDS}

    def leaves(self) -> dict[str, dict[int, float]]:
        """Of each outcome that can be drawn, its drawable records with what they are drawn by."""
        inner, found = self.rule.inner, {kind: {} for kind in KINDS}  # type: dict[str, dict[int, float]]
        ids = self.buffer.ids()
        for i, priority in zip(ids.tolist(), self.buffer.priorities(ids).tolist(), strict=True):
            leaf = 1.0 if isinstance(inner, Uniform) else priority**inner.alpha if priority > 0 else 0.0
            if leaf > 0:
                found[self.kind_of[i]][i] = leaf
        return {kind: leaves for kind, leaves in found.items() if leaves and getattr(self.rule, kind) > 0}

    def shares(self, counts: dict[str, int]) -> dict[int, float]:
        """P(i) of each id in a batch with so many of each outcome."""
        n = sum(counts.values())
        return {
            i: counts[kind] / n * leaf / sum(leaves.values())
            for kind, leaves in self.leaves().items()
            for i, leaf in leaves.items()
        }


def mixed(rule: ByOutcome, count: int = 600, seed: int = 1, **other: Any) -> World:
    """Many invalid, few improved, and some priorities of zero."""
    rng = np.random.default_rng(seed)
    world = World(rule, **other)
    world.push(rng.choice(KINDS, count, p=[0.6, 0.2, 0.15, 0.05]), rng.choice([0.0, 0.2, 1.0, 2.5], count))
    return world


def settled(rule: ByOutcome) -> World:
    """1,500 records, drawn from once: from here, few changes at a time are no rebuild."""
    world = mixed(rule, 1500)
    world.buffer.sample(8)
    return world


def quotas(world: World, n: int) -> dict[str, float]:
    """n in proportion to the fractions of the outcomes that can be drawn."""
    here = {kind: getattr(world.rule, kind) for kind in world.leaves()}
    return {kind: n * here.get(kind, 0.0) / sum(here.values()) for kind in KINDS}


def assert_quotas_and_probabilities(world: World, n: int) -> None:
    batch = world.buffer.sample(n)
    counts, wanted = world.counts(batch.ids), quotas(world, n)
    assert all(abs(counts[kind] - wanted[kind]) < 1 for kind in KINDS), (counts, wanted)
    shares = world.shares(counts)
    expected = [shares.get(i, 0.0) for i in batch.ids.tolist()]
    assert batch.probability.tolist() == pytest.approx(expected, rel=1e-12)


# --- quotas -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", INNERS, ids=repr)
@pytest.mark.parametrize("n", [8, 64, 1000])
def test_every_batch_has_exactly_its_quotas(inner: Any, n: int) -> None:
    world = mixed(ByOutcome(**QUARTERS, inner=inner))
    counts = [world.counts(world.buffer.sample(n).ids) for _ in range(20)]
    assert counts == [{kind: n * QUARTERS[kind] for kind in KINDS}] * 20


@pytest.mark.parametrize("kind", KINDS)
def test_one_outcome_alone_fills_the_batch(kind: str) -> None:
    world = mixed(ByOutcome(**{kind: 1.0}))
    assert world.counts(world.buffer.sample(30).ids)[kind] == 30


def test_what_rounding_leaves_goes_to_the_largest_remainders() -> None:
    world = mixed(ByOutcome(invalid=0.5, fallback=0.3, valid=0.2))
    batches = {n: world.counts(world.buffer.sample(n).ids) for n in (7, 3, 9)}
    counts = {n: (batch[INVALID], batch[FALLBACK], batch[VALID]) for n, batch in batches.items()}
    assert counts == {7: (4, 2, 1), 3: (1, 1, 1), 9: (4, 3, 2)}


@pytest.mark.parametrize("n", [1, 2, 3, 5, 10, 97, 101, 1000])
@pytest.mark.parametrize("parts", [(0.1, 0.2, 0.3, 0.4), (0.01, 0.33, 0.33, 0.33), (1 / 3, 1 / 3, 1 / 3, 0)])
def test_quotas_are_exact_to_within_one_record(parts: tuple[float, ...], n: int) -> None:
    world = mixed(ByOutcome(**dict(zip(KINDS, parts, strict=True))))
    for _ in range(3):
        assert_quotas_and_probabilities(world, n)


def test_an_outcome_without_a_quota_is_never_drawn() -> None:
    world = mixed(ByOutcome(valid=0.5, fallback=0.5))
    counts = [world.counts(world.buffer.sample(n).ids) for n in range(1, 40)]
    assert {(batch[INVALID], batch[IMPROVED]) for batch in counts} == {(0, 0)}


def test_a_single_draw_is_of_the_outcome_with_the_largest_quota() -> None:
    world = mixed(ByOutcome(**QUARTERS))
    assert world.counts(drawn(world.buffer, 50, 1))[IMPROVED] == 50


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"valid": False, "clock_cycles": 5}, INVALID),
        ({"valid": False, "clock_cycles": None}, INVALID),
        ({"valid": False, "fallback_used": True}, INVALID),
        ({"fallback_used": True}, FALLBACK),
        ({"fallback_used": True, "clock_cycles": 5}, FALLBACK),
        ({"clock_cycles": 11}, VALID),
        ({"clock_cycles": 10}, VALID),
        ({"clock_cycles": None}, VALID),
        ({"clock_cycles": 0, "compiler_cycles": 0}, VALID),
        ({"clock_cycles": 2**64 - 1, "compiler_cycles": 2**64 - 1}, VALID),
        ({"clock_cycles": 9}, IMPROVED),
        ({"clock_cycles": 0}, IMPROVED),
        ({"clock_cycles": 2**63, "compiler_cycles": 2**64 - 1}, IMPROVED),
        ({"clock_cycles": 2**64 - 2, "compiler_cycles": 2**64 - 1}, IMPROVED),
        ({"clock_cycles": 2, "compiler_cycles": 2**63}, IMPROVED),
    ],
    ids=str,
)
def test_a_record_is_of_one_outcome(fields: dict[str, Any], kind: str) -> None:
    plain = {
        "tir_hash": bytes(32),
        "generated_tasm": ["add"],
        "valid": True,
        "clock_cycles": 10,
        "compiler_cycles": 10,
        "fallback_used": False,
        "timestamp": 0,
        "model_version": 0,
    }
    drawable = []
    for quota in KINDS:
        buffer = ReplayBuffer(3, sampler=ByOutcome(**{quota: 1.0}))
        buffer.push(BuildResult(**{**plain, **fields}))
        try:
            buffer.sample(1)
        except EmptyBufferError:
            continue
        drawable.append(quota)
    assert drawable == [kind]


# --- an outcome with no record ------------------------------------------------------------------------------


def test_the_quota_of_an_outcome_with_no_record_goes_to_the_others_in_proportion() -> None:
    world = World(ByOutcome(improved=0.5, valid=0.3, invalid=0.2))
    world.push([VALID] * 7 + [INVALID] * 20 + [FALLBACK] * 5, np.ones(32))
    counts = world.counts(world.buffer.sample(100).ids)
    assert counts == {INVALID: 40, FALLBACK: 0, VALID: 60, IMPROVED: 0}


def test_an_outcome_whose_records_have_no_priority_gives_its_quota_away() -> None:
    world = World(ByOutcome(improved=0.5, valid=0.3, invalid=0.2, inner=Proportional()))
    world.push([IMPROVED] * 3 + [VALID] * 7 + [INVALID] * 20, [0.0] * 3 + [1.0] * 27)
    assert world.counts(world.buffer.sample(100).ids) == {INVALID: 40, FALLBACK: 0, VALID: 60, IMPROVED: 0}


def test_records_without_priority_keep_their_outcomes_quota_with_uniform() -> None:
    world = World(ByOutcome(improved=0.5, valid=0.5))
    world.push([IMPROVED, VALID], [0.0, 0.0])
    assert world.counts(world.buffer.sample(10).ids)[IMPROVED] == 5


def test_an_outcome_takes_its_quota_back_when_a_record_comes() -> None:
    world = World(ByOutcome(improved=0.5, invalid=0.5))
    world.push([INVALID] * 1100, np.ones(1100))
    before = world.counts(world.buffer.sample(10).ids)[IMPROVED]
    world.push([IMPROVED], [1.0])
    assert (before, world.counts(world.buffer.sample(10).ids)[IMPROVED]) == (0, 5)


def test_an_outcome_gives_its_quota_away_when_its_last_record_leaves() -> None:
    world = settled(FEW[0])
    world.buffer.remove([i for i, kind in enumerate(world.kind_of) if kind == IMPROVED])
    assert world.counts(world.buffer.sample(40).ids) == {INVALID: 10, FALLBACK: 10, VALID: 20, IMPROVED: 0}


def test_an_outcome_gives_its_quota_away_when_its_last_priority_becomes_zero() -> None:
    world = settled(FEW[1])
    improved = [i for i, kind in enumerate(world.kind_of) if kind == IMPROVED]
    world.buffer.update_priorities(improved, np.zeros(len(improved)))
    assert world.counts(world.buffer.sample(40).ids) == {INVALID: 10, FALLBACK: 10, VALID: 20, IMPROVED: 0}


def test_no_record_of_a_wanted_outcome_is_an_error_that_names_it() -> None:
    world = World(ByOutcome(improved=0.5, fallback=0.5))
    world.push([VALID, INVALID], [1.0, 1.0])
    with pytest.raises(EmptyBufferError, match="fallback, improved"):
        world.buffer.sample(1)


def test_no_priority_in_a_wanted_outcome_is_an_error() -> None:
    world = World(ByOutcome(improved=1.0, inner=Proportional()))
    world.push([IMPROVED, INVALID], [0.0, 1.0])
    with pytest.raises(EmptyBufferError):
        world.buffer.sample(1)


@pytest.mark.parametrize("rule", FEW, ids=repr)
def test_an_empty_buffer_is_an_error(rule: ByOutcome) -> None:
    with pytest.raises(EmptyBufferError):
        World(rule).buffer.sample(1)


# --- within an outcome --------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", INNERS, ids=repr)
def test_probability_is_the_outcomes_count_times_the_records_share(inner: Any) -> None:
    world = mixed(ByOutcome(**QUARTERS, inner=inner))
    for n in (1, 13, 800):
        assert_quotas_and_probabilities(world, n)


@pytest.mark.parametrize("inner", INNERS, ids=repr)
def test_draws_follow_the_probabilities(inner: Any) -> None:
    world = mixed(ByOutcome(**QUARTERS, inner=inner))
    shares = world.shares({kind: int(8 * QUARTERS[kind]) for kind in KINDS})
    assert misfit(drawn(world.buffer, 200, 512), shares) < 1


@pytest.mark.parametrize("rule", FEW, ids=repr)
def test_draws_follow_updates_removals_and_records_that_come(rule: ByOutcome) -> None:
    world, rng = settled(rule), np.random.default_rng(3)
    for _ in range(60):
        world.buffer.update_priorities(
            rng.integers(0, len(world.kind_of), 30), rng.choice([0.0, 0.1, 3.0], 30)
        )
        world.push(rng.choice(KINDS, 15), rng.uniform(0.05, 3, 15))
        world.buffer.remove(rng.choice(world.buffer.ids(), 20))
        world.buffer.sample(1)
    world.buffer.check()
    assert_quotas_and_probabilities(world, 800)
    shares = world.shares({kind: int(8 * QUARTERS[kind]) for kind in KINDS})
    assert misfit(drawn(world.buffer, 200, 1024), shares) < 1


@pytest.mark.parametrize("rule", FEW, ids=repr)
def test_draws_follow_a_full_buffer_whose_records_change_outcome_slot_by_slot(rule: ByOutcome) -> None:
    rng = np.random.default_rng(4)
    world = mixed(rule, 1500, capacity=1500, remover=Oldest())
    for _ in range(60):
        world.push(rng.choice(KINDS, 50, p=[0.05, 0.1, 0.25, 0.6]), rng.uniform(0.05, 3, 50))
        world.buffer.sample(1)
    world.buffer.check()
    assert_quotas_and_probabilities(world, 800)
    shares = world.shares({kind: int(8 * QUARTERS[kind]) for kind in KINDS})
    assert misfit(drawn(world.buffer, 200, 1024), shares) < 1


def test_a_record_whose_first_cost_comes_with_a_repeat_is_improved_from_then_on() -> None:
    buffer = ReplayBuffer(10, sampler=ByOutcome(improved=1.0), dedupe=Dedupe())
    buffer.extend([record(clock_cycles=None, program=0), record(clock_cycles=20, program=1)])
    with pytest.raises(EmptyBufferError):
        buffer.sample(1)
    buffer.extend([record(clock_cycles=5, program=0)])
    assert buffer.sample(4).ids.tolist() == [0] * 4


def test_a_merge_that_changes_an_outcome_leaves_the_invariants() -> None:
    buffer = ReplayBuffer(10, sampler=FEW[0], dedupe=Dedupe())
    buffer.extend([record(clock_cycles=None, program=0)])
    buffer.sample(1)
    buffer.extend([record(clock_cycles=5, program=0)])
    buffer.check()


@pytest.mark.parametrize("rule", FEW, ids=repr)
def test_a_buffer_of_capacity_one_gives_its_record_whatever_its_outcome(rule: ByOutcome) -> None:
    world = World(rule, 1, remover=Oldest())
    for k, kind in enumerate([*KINDS, VALID, INVALID]):
        world.push([kind], [1.0])
        batch = world.buffer.sample(3)
        assert (batch.ids.tolist(), batch.probability.tolist()) == ([k] * 3, [1.0] * 3)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_any_course_of_changes_leaves_the_quotas_and_probabilities_of_the_model(data: st.DataObject) -> None:
    world = World(data.draw(st.sampled_from(FEW)), data.draw(st.sampled_from([2, 20, 2000])))
    if world.buffer.capacity == 2000:
        world.push([INVALID] * 1100, np.full(1100, 0.5))
        world.buffer.sample(1)
    weights = st.sampled_from([0.0, 0.25, 1.0, 3.0])
    for _ in range(data.draw(st.integers(1, 6))):
        pushed = data.draw(st.lists(st.tuples(st.sampled_from(KINDS), weights), max_size=12))
        if pushed:
            world.push([kind for kind, _ in pushed], [weight for _, weight in pushed])
        some = data.draw(st.lists(st.integers(0, max(0, len(world.kind_of) - 1)), max_size=8))
        if data.draw(st.booleans()):
            world.buffer.remove(np.array(some, np.int64))
        else:
            world.buffer.update_priorities(np.array(some, np.int64), [data.draw(weights) for _ in some])
        if world.leaves():
            assert_quotas_and_probabilities(world, data.draw(st.integers(1, 40)))
    world.buffer.check()


# --- weights ------------------------------------------------------------------------------------------------


def weights_of(world: World, beta: float, batch: Any) -> list[float]:
    raw = (len(world.buffer) * batch.probability) ** -beta
    return [float(w) for w in raw / raw.max()]


@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_weights_are_by_the_rules_own_beta(beta: float) -> None:
    world = mixed(ByOutcome(**QUARTERS, inner=Proportional(0.6, 0.7), beta=beta))
    batch = world.buffer.sample(200)
    assert batch.weight.tolist() == pytest.approx(weights_of(world, beta, batch), rel=1e-6)


def test_weights_are_by_the_inner_rules_beta_where_there_is_no_own() -> None:
    world = mixed(ByOutcome(**QUARTERS, inner=Proportional(0.6, 0.7)))
    batch = world.buffer.sample(200)
    assert batch.weight.tolist() == pytest.approx(weights_of(world, 0.7, batch), rel=1e-6)


def test_weights_are_one_with_uniform_inside() -> None:
    assert mixed(ByOutcome(**QUARTERS)).buffer.sample(50).weight.tolist() == [1.0] * 50


def test_a_scheduled_beta_moves_with_the_batches() -> None:
    world = mixed(ByOutcome(**QUARTERS, beta=LinearSchedule(0.0, 1.0, 4)))
    for beta in (0.0, 0.25, 0.5, 0.75, 1.0, 1.0):
        batch = world.buffer.sample(64)
        assert batch.weight.tolist() == pytest.approx(weights_of(world, beta, batch), rel=1e-6)


def test_weights_with_beta_one_undo_the_quotas() -> None:
    world = World(ByOutcome(**QUARTERS, beta=1.0))
    world.push(np.repeat(KINDS, [120, 40, 30, 10]), np.ones(200))
    batch = world.buffer.sample(60_000)
    weights = batch.weight.astype(np.float64)
    assert (weights * batch.ids).sum() / weights.sum() == pytest.approx(99.5, rel=0.02)


# --- state --------------------------------------------------------------------------------------------------


def restored(world: World) -> ReplayBuffer:
    buffer = ReplayBuffer(world.buffer.capacity, sampler=world.rule, seed=99)
    buffer.load_state_dict(world.buffer.state_dict())
    return buffer


@pytest.mark.parametrize("rule", FEW, ids=repr)
def test_a_restored_buffer_goes_on_with_the_same_draws(rule: ByOutcome) -> None:
    world = settled(rule)
    world.buffer.remove(np.arange(0, 80, 2))
    world.buffer.sample(1)
    other = restored(world)
    assert drawn(other, 10, 64).tolist() == drawn(world.buffer, 10, 64).tolist()


@pytest.mark.parametrize("rule", FEW, ids=repr)
def test_a_restored_buffer_that_took_records_in_draws_by_the_quotas(rule: ByOutcome) -> None:
    world = settled(rule)
    world.buffer = restored(world)
    world.buffer.remove(np.arange(100))
    world.push([IMPROVED] * 50, np.ones(50))
    assert_quotas_and_probabilities(world, 400)


# --- mistakes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fractions",
    [
        {},
        {"valid": 0.5},
        {"valid": 0.5, "invalid": 0.4999},
        {"valid": 0.7, "invalid": 0.7},
        {"valid": 0.0},
    ],
    ids=str,
)
def test_fractions_that_do_not_add_up_to_one_are_refused(fractions: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="add up to 1"):
        ByOutcome(**fractions)


@pytest.mark.parametrize("fraction", [-0.5, 1.5, float("nan"), float("inf"), "1", None, True], ids=repr)
@pytest.mark.parametrize("kind", KINDS)
def test_a_fraction_that_is_no_number_from_zero_to_one_is_refused(kind: str, fraction: Any) -> None:
    with pytest.raises(UsageError, match=f"`{kind}`"):
        ByOutcome(**{kind: fraction})


@pytest.mark.parametrize(
    "inner", [Greedy(), Fifo(), Uniform(replace=False), Proportional(replace=False), Uniform, None], ids=repr
)
def test_other_inner_rules_are_refused(inner: Any) -> None:
    with pytest.raises(UsageError, match="`inner`"):
        ByOutcome(valid=1.0, inner=inner)


@pytest.mark.parametrize("beta", [-0.1, 1.1, float("nan"), "1", True], ids=repr)
def test_a_beta_that_is_no_number_from_zero_to_one_is_refused(beta: Any) -> None:
    with pytest.raises(UsageError, match="`beta`"):
        ByOutcome(valid=1.0, beta=beta)
