"""Importance weights against plain formulas, beta's schedules, draws on boundaries, the sums, priorities refused."""

from __future__ import annotations

import itertools
import math
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from ostinato import ReplayBuffer, Results, UsageError
from ostinato.replay import (
    Batch,
    ByOutcome,
    Fifo,
    Fresh,
    Greedy,
    LinearSchedule,
    LowestPriority,
    Mixture,
    Oldest,
    PerProgram,
    Proportional,
    RankBased,
    Uniform,
    Window,
)
from record_helpers import complaint, few, from_list, more, record

PROGRAMS = 5
ONES = from_list([record(tir_hash=bytes([k]) * 32, model_version=k) for k in range(PROGRAMS)])
SIZES = [1, 2, 3, 7, 8, 9, 13, 64, 97, 512, 521, 1024]  # primes, powers of two, beside 8
BETAS = [0.0, 0.4, 1.0]
TOP = float(np.nextafter(1, 0))
MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645  # of PCG64: O'Neill 2014


def copies(count: int, first: int = 0) -> Results:
    """Records of programs, and of model versions, 0 .. 4 in turn."""
    return ONES[np.arange(first, first + count) % PROGRAMS]


def filled(priorities: Any, sampler: Any, **other: Any) -> ReplayBuffer:
    buffer = ReplayBuffer(**{"capacity": len(priorities), "seed": 41, "sampler": sampler, **other})
    buffer.extend(copies(len(priorities)), priorities)
    return buffer


def now(buffer: ReplayBuffer) -> dict[int, float]:
    ids = buffer.ids()
    return dict(zip(ids.tolist(), buffer.priorities(ids).tolist(), strict=True))


def shares(values: dict[int, float], alpha: float) -> dict[int, float]:
    """Each drawable id's probability, by value**alpha."""
    powers = {i: v**alpha for i, v in values.items() if v > 0}
    total = math.fsum(powers.values())
    return {i: power / total for i, power in powers.items()}


def by_rank(values: dict[int, float], alpha: float) -> dict[int, float]:
    """Each id's probability by its rank; for priorities that all differ."""
    order = sorted(values, key=lambda i: -values[i])
    total = math.fsum(rank**-alpha for rank in range(1, len(order) + 1))
    return {i: rank**-alpha / total for rank, i in enumerate(order, 1)}


def weights(
    batch: Batch, probability: dict[int, float], beta: float, count: int, normalize: str = "batch"
) -> list[float]:
    """(N * P(i))**-beta over the largest of the batch, or over the largest that any record could have."""
    raw = [(count * probability[i]) ** -beta for i in batch.ids.tolist()]
    over = raw if normalize == "batch" else [(count * p) ** -beta for p in probability.values()]
    return [weight / max(over) for weight in raw]


def close(expected: list[float]) -> Any:
    return pytest.approx(expected, rel=2e-7, abs=1e-37)  # what float32 tells apart


normalizing = pytest.mark.parametrize("normalize", ["batch", "largest"])


# --- formulas -----------------------------------------------------------------------------------------------


@normalizing
@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("stratified", [True, False])
def test_proportional_weights_are_those_of_the_formula(
    stratified: bool, alpha: float, beta: float, normalize: Any
) -> None:
    priorities = np.random.default_rng(1).uniform(0.001, 3, 300)
    priorities[::7] = 0
    buffer = filled(priorities, Proportional(alpha, beta, stratified, normalize=normalize))
    batch = buffer.sample(40)
    assert batch.weight.tolist() == close(weights(batch, shares(now(buffer), alpha), beta, 300, normalize))


@normalizing
@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("alpha", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("stratified", [True, False])
def test_rank_based_weights_are_those_of_the_formula(
    stratified: bool, alpha: float, beta: float, normalize: Any
) -> None:
    priorities = np.random.default_rng(2).permutation(300) / 8
    buffer = filled(priorities, RankBased(alpha, beta, stratified, normalize=normalize))
    batch = buffer.sample(40)
    assert batch.weight.tolist() == close(weights(batch, by_rank(now(buffer), alpha), beta, 300, normalize))


@pytest.mark.parametrize("sampler", [Proportional(1.0, 1.0), RankBased(1.0, 1.0)], ids=repr)
def test_weights_worked_out_by_hand(sampler: Any) -> None:
    # probabilities 6/11, 3/11, 2/11 of both samplers: weights 1/6, 1/3, 1/2 over the largest
    batch = filled([6.0, 3.0, 2.0], sampler).sample(110)
    known = np.array([1 / 3, 2 / 3, 1.0])
    assert batch.weight.tolist() == close(known[batch.ids].tolist())


def test_by_the_largest_a_batch_of_frequent_records_weighs_less_than_one() -> None:
    batch = filled([1000.0, 1.0], Proportional(1.0, 1.0, normalize="largest")).sample(1, rng=constant(0.5))
    assert (batch.ids.tolist(), batch.weight.tolist()) == ([0], close([0.001]))


def test_by_the_batch_the_largest_weight_is_one() -> None:
    batch = filled([1000.0, 1.0], Proportional(1.0, 1.0)).sample(1, rng=constant(0.5))
    assert (batch.ids.tolist(), batch.weight.tolist()) == ([0], [1.0])


@pytest.mark.parametrize("sampler", [Proportional, RankBased])
def test_by_the_largest_a_record_weighs_the_same_in_every_batch(sampler: Any) -> None:
    buffer = filled(np.random.default_rng(3).random(50), sampler(normalize="largest"))
    seen: dict[int, set[float]] = {}
    for n in (1, 2, 5, 30, 200):
        batch = buffer.sample(n)
        for i, weight in zip(batch.ids.tolist(), batch.weight.tolist(), strict=True):
            seen.setdefault(i, set()).add(weight)
    assert [len(one) for one in seen.values()] == [1] * len(seen)


def test_by_the_largest_a_record_of_priority_zero_does_not_count() -> None:
    batch = filled([4.0, 0.0, 1.0], Proportional(1.0, 1.0, normalize="largest")).sample(5)
    assert {*batch.weight.tolist()} == {0.25, 1.0}


def test_by_the_largest_of_rank_based_a_record_of_priority_zero_counts() -> None:
    batch = filled([4.0, 0.0], RankBased(1.0, 1.0, normalize="largest")).sample(1, rng=constant(0.1))
    assert (batch.ids.tolist(), batch.weight.tolist()) == ([0], [0.5])


@normalizing
@pytest.mark.parametrize("sampler", [Proportional, RankBased])
def test_weights_of_one_record_are_one(sampler: Any, normalize: Any) -> None:
    assert filled([0.3], sampler(normalize=normalize)).sample(3).weight.tolist() == [1.0] * 3


@pytest.mark.parametrize("sampler", [Proportional, RankBased])
def test_weights_are_float32_and_read_only(sampler: Any) -> None:
    weight = filled(np.ones(5), sampler()).sample(3).weight
    assert (weight.dtype, weight.flags.writeable) == (np.float32, False)


def test_with_max_times_sampled_the_weights_of_a_batch_have_one_scale() -> None:
    sampler = Proportional(1.0, 1.0, stratified=False)
    buffer = filled([97.0, 1.0, 1.0, 1.0], sampler, max_times_sampled=1)
    batch = buffer.sample(2, rng=constant(0.0))
    assert batch.probability.tolist() == pytest.approx([0.97, 1 / 3])
    # N is 4 for the first; whether it is 4 or 3 for the second, the first weighs 0.34 or 0.26 of it
    assert batch.weight[1] == 1
    assert 0.25 < batch.weight[0] < 0.35


changes = st.one_of(
    st.tuples(st.just("extend"), st.lists(st.sampled_from([0.0, 1e-9, 0.5, 1.0, 64.0]), max_size=9)),
    st.tuples(st.just("remove"), st.lists(st.integers(0, 40), max_size=5)),
    st.tuples(
        st.just("update"),
        st.lists(st.tuples(st.integers(0, 40), st.sampled_from([0.0, 1e-9, 0.5, 2.0])), max_size=8),
    ),
    st.tuples(st.just("sample"), st.integers(1, 5)),
)


@normalizing
@more
@given(st.integers(1, 40), st.sampled_from([0.0, 0.6, 1.0]), st.lists(changes, max_size=15))
def test_after_any_changes_weights_are_those_of_the_formula(
    normalize: Any, capacity: int, alpha: float, course: list[tuple[str, Any]]
) -> None:
    sampler = Proportional(alpha, 0.7, normalize=normalize)
    buffer = ReplayBuffer(capacity, sampler=sampler, remover=Oldest(), seed=1)
    for act, what in [*course, ("sample", 9)]:
        if act == "extend":
            buffer.extend(copies(len(what)), what)
        elif act == "remove":
            buffer.remove(np.array(what, np.int64))
        elif act == "update":
            buffer.update_priorities(np.array([i for i, _ in what], np.int64), [p for _, p in what])
        elif any(now(buffer).values()):
            batch = buffer.sample(what)
            expected = shares(now(buffer), alpha)
            assert batch.weight.tolist() == close(weights(batch, expected, 0.7, len(buffer), normalize))


@normalizing
def test_after_updates_of_many_sizes_the_largest_weight_is_that_of_the_least_record(normalize: Any) -> None:
    rng = np.random.default_rng(4)
    buffer = filled(rng.random(3000), Proportional(1.0, 0.5, normalize=normalize), remover=LowestPriority())
    for width in [1, 2, 100, 187, 188, 1500, 3, 6000] * 2:
        ids = rng.choice(buffer.ids(), width)
        buffer.update_priorities(ids, 10.0 ** rng.uniform(-9, 1, width))
        batch = buffer.sample(5)
        buffer.extend(copies(width // 3), 10.0 ** rng.uniform(-9, 1, width // 3))
        batch = buffer.sample(20)
        expected = weights(batch, shares(now(buffer), 1.0), 0.5, 3000, normalize)
        assert batch.weight.tolist() == close(expected)
    buffer.check()


@normalizing
@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_in_a_window_weights_are_those_of_the_records_inside(decay: float, normalize: Any) -> None:
    priorities = np.random.default_rng(5).uniform(0.01, 3, 200)
    inner = Proportional(1.0, 0.7, normalize=normalize)
    buffer = filled(priorities, Window(inner, within=2, version=4, decay=decay))
    for version in (4, 1, 3):
        buffer.sampler.version = version  # type: ignore[attr-defined]
        batch = buffer.sample(30)
        away = {i: abs(i % PROGRAMS - version) for i in range(200)}
        inside = shares({i: priorities[i] * decay**d for i, d in away.items() if d <= 2}, 1.0)
        assert batch.weight.tolist() == close(weights(batch, inside, 0.7, len(inside), normalize))


@normalizing
def test_in_a_window_rank_based_weights_are_those_of_the_ranks_inside(normalize: Any) -> None:
    priorities = np.random.default_rng(5).permutation(200) / 4
    buffer = filled(priorities, Window(RankBased(1.0, 0.7, normalize=normalize), within=1, version=3))
    batch = buffer.sample(30)
    inside = by_rank({i: priorities[i] for i in range(200) if i % PROGRAMS >= 2}, 1.0)
    assert batch.weight.tolist() == close(weights(batch, inside, 0.7, len(inside), normalize))


def per_program(values: dict[int, float], programs: list[int], power: float) -> dict[int, float]:
    """P(program) ~ (its drawable records)**power, then by value within it."""
    members: dict[int, dict[int, float]] = {}
    for i, value in values.items():
        if value > 0:
            members.setdefault(programs[i], {})[i] = value
    total = math.fsum(len(one) ** power for one in members.values())
    return {
        i: len(one) ** power / total * value / math.fsum(one.values())
        for one in members.values()
        for i, value in one.items()
    }


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("inner", [Uniform(), Proportional(1.0), Proportional(0.5)], ids=repr)
def test_per_program_probabilities_and_weights_are_those_of_the_formula(
    inner: Any, beta: float, power: float
) -> None:
    rng = np.random.default_rng(6)
    programs = rng.choice(PROGRAMS, 200, p=[0.6, 0.2, 0.1, 0.06, 0.04])
    priorities = rng.uniform(0.01, 3, 200) * (rng.random(200) < 0.8)
    buffer = ReplayBuffer(200, sampler=PerProgram(inner, power, beta), seed=42)
    buffer.extend(ONES[programs], priorities)
    alpha = getattr(inner, "alpha", None)
    values = {i: 1.0 if alpha is None else p**alpha * (p > 0) for i, p in enumerate(priorities.tolist())}
    expected = per_program(values, programs.tolist(), power)
    batch = buffer.sample(60)
    assert batch.probability.tolist() == pytest.approx([expected[i] for i in batch.ids.tolist()], rel=1e-12)
    assert batch.weight.tolist() == close(weights(batch, expected, beta, 200))


def test_per_program_without_a_beta_takes_the_inner_ones() -> None:
    priorities = np.random.default_rng(7).uniform(0.1, 3, 101)
    batches = [
        filled(priorities, PerProgram(inner, beta=beta)).sample(30).weight.tolist()
        for inner, beta in [(Proportional(beta=0.9), None), (Proportional(beta=0.1), 0.9)]
    ]
    assert batches[0] == batches[1]


def test_per_program_over_uniform_has_weights_of_one() -> None:
    assert filled(np.ones(101), PerProgram()).sample(30).weight.tolist() == [1.0] * 30


def test_by_outcome_probabilities_and_weights_are_those_of_the_quotas() -> None:
    rng = np.random.default_rng(8)
    valid = rng.random(90) < 0.7
    priorities = rng.uniform(0.1, 3, 90)
    buffer = ReplayBuffer(
        90, sampler=ByOutcome(improved=0.75, invalid=0.25, inner=Proportional(1.0), beta=0.6)
    )
    buffer.extend(from_list([record(valid=bool(v)) for v in valid]), priorities)  # 5 of 10 cycles: improved
    batch = buffer.sample(40)
    expected = {
        i: quota * share
        for quota, kind in ((0.75, True), (0.25, False))
        for i, share in shares({i: priorities[i] for i in range(90) if valid[i] == kind}, 1.0).items()
    }
    assert batch.probability.tolist() == pytest.approx([expected[i] for i in batch.ids.tolist()], rel=1e-12)
    assert batch.weight.tolist() == close(weights(batch, expected, 0.6, 90))


@pytest.mark.parametrize("beta", BETAS)
def test_mixture_probabilities_and_weights_are_those_of_all_parts_together(beta: float) -> None:
    priorities = np.random.default_rng(9).permutation(100) + 1.0
    parts = {Proportional(1.0): 0.5, RankBased(0.7): 0.25, Uniform(): 0.15, Greedy(): 0.1}
    buffer = filled(priorities, Mixture(parts, beta))
    batch = buffer.sample(40)
    one, two = shares(now(buffer), 1.0), by_rank(now(buffer), 0.7)
    best = set(np.argsort(-priorities)[:4].tolist())
    expected = {i: 0.5 * one[i] + 0.25 * two[i] + 0.15 / 100 + (i in best) / 40 for i in range(100)}
    assert batch.probability.tolist() == pytest.approx([expected[i] for i in batch.ids.tolist()], rel=1e-12)
    assert batch.weight.tolist() == close(weights(batch, expected, beta, 100))


@pytest.mark.parametrize(
    "sampler",
    [
        Proportional(1.0, 1.0),
        Proportional(0.6, 1.0, stratified=False),
        RankBased(0.7, 1.0),
        RankBased(0.7, 1.0, stratified=False),
        PerProgram(Proportional(1.0), beta=1.0),
        PerProgram(Uniform(), 0.5, beta=1.0),
        Mixture({Proportional(1.0): 0.5, Uniform(): 0.5}, 1.0),
    ],
    ids=repr,
)
def test_weights_with_beta_1_correct_means(sampler: Any) -> None:
    rng = np.random.default_rng(10)
    priorities = rng.uniform(0.2, 3, 203)
    values = priorities + np.arange(203) % PROGRAMS  # what is drawn often is large, too
    batch = filled(priorities, sampler).sample(100_000)
    mean = np.average(values[batch.ids], weights=batch.weight.astype(np.float64))
    assert mean == pytest.approx(values.mean(), rel=0.01)


# --- schedules ----------------------------------------------------------------------------------------------


def scheduled(beta: Any) -> list[Any]:
    return [
        Proportional(1.0, beta),
        Proportional(1.0, beta, stratified=False, normalize="largest"),
        Proportional(1.0, beta, replace=False),
        RankBased(1.0, beta),
        PerProgram(Proportional(1.0), beta=beta),
        PerProgram(Proportional(1.0, beta)),
        ByOutcome(improved=1.0, inner=Proportional(1.0), beta=beta),
        Mixture({Proportional(1.0): 1.0}, beta),
        Window(Proportional(1.0, beta), within=9),
        Mixture({PerProgram(Uniform(), 1.0): 0.5, Proportional(1.0): 0.5}, beta),
    ]


KINDS = range(len(scheduled(0.5)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_schedule_gives_the_weights_of_its_beta_at_each_draw(kind: int) -> None:
    priorities = np.random.default_rng(11).uniform(0.1, 3, 60)
    betas = [0.0, 0.3, 1.0, 0.5]
    moving = filled(priorities, scheduled(lambda draws: betas[draws])[kind])
    fixed = [filled(priorities, scheduled(beta)[kind]) for beta in betas]
    got = [moving.sample(20).weight.tolist() for _ in betas]
    # each one's draws are those of its turn
    expected = [[buffer.sample(20) for _ in betas][k].weight.tolist() for k, buffer in enumerate(fixed)]
    assert got == expected


def test_a_schedule_is_asked_once_a_batch_for_the_batches_so_far() -> None:
    asked: list[int] = []

    def beta(draws: int) -> float:
        asked.append(draws)
        return 0.4

    buffer = filled(np.ones(5), Proportional(beta=beta))
    for n in (1, 3, 200, 2):
        buffer.sample(n)
    assert asked == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf, None, "0.4", True, [0.4]], ids=repr)
def test_a_schedule_that_gives_no_number_in_0_to_1_is_a_mistake_at_beta(kind: int, value: Any) -> None:
    buffer = filled(np.ones(5), scheduled(lambda _: value)[kind])
    said = complaint(UsageError, buffer.sample, 3)
    assert said == f"expected a number in [0, 1], got {value!r} - at `beta`"


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_schedules_mistake_nothing_is_counted_and_the_next_draw_works(kind: int) -> None:
    values = iter([math.nan, 0.5])
    buffer = filled(np.ones(20), scheduled(lambda _: next(values))[kind])
    before = buffer.stats()
    with pytest.raises(UsageError):
        buffer.sample(5)
    assert buffer.stats() == before
    assert len(buffer.sample(5)) == 5
    buffer.check()


def test_a_schedules_mistake_loses_no_fresh_record() -> None:
    values = iter([math.nan, 0.5])
    parts: Any = {Fresh(): "all", Proportional(): 0.5}
    buffer = filled(np.ones(6), Mixture(parts, lambda _: next(values)))
    with pytest.raises(UsageError):
        buffer.sample()
    assert buffer.sample().ids.tolist()[:6] == [0, 1, 2, 3, 4, 5]


def test_a_schedule_goes_on_in_a_restored_buffer() -> None:
    priorities = np.random.default_rng(12).uniform(0.1, 3, 60)
    one, other = (filled(priorities, Proportional(beta=LinearSchedule(0.0, 1.0, 5))) for _ in range(2))
    for _ in range(3):
        one.sample(20)
    other.load_state_dict(one.state_dict())
    assert [one.sample(20).weight.tolist() for _ in range(4)] == [
        other.sample(20).weight.tolist() for _ in range(4)
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf, "0.4", True], ids=repr)
def test_a_beta_that_is_no_number_in_0_to_1_is_refused_when_the_sampler_is_made(
    kind: int, value: Any
) -> None:
    said = complaint(UsageError, lambda: scheduled(value)[kind])
    assert said == f"expected a number in [0, 1], got {value!r} - at `beta`"


@pytest.mark.parametrize("value", [0, 1, np.float64(0.5), np.float32(0.25)], ids=repr)
def test_a_beta_of_any_kind_of_float_will_do(value: Any) -> None:
    priorities = np.random.default_rng(11).uniform(0.1, 3, 60)
    one, other, third = (
        filled(priorities, Proportional(beta=beta)).sample(20).weight.tolist()
        for beta in (value, float(value), lambda _: value)
    )
    assert one == other == third


@pytest.mark.parametrize(
    ("draws", "expected"), [(0, 0.4), (1, 0.46), (5, 0.7), (9, 0.94), (10, 1.0), (11, 1.0), (10**9, 1.0)]
)
def test_a_linear_schedule_moves_evenly_and_then_stays(draws: int, expected: float) -> None:
    assert LinearSchedule(0.4, 1.0, 10)(draws) == pytest.approx(expected, rel=1e-14)


def test_a_linear_schedule_may_fall() -> None:
    assert [LinearSchedule(1.0, 0.0, 4)(k) for k in range(6)] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]


@few
@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 10**6), st.integers(0, 2 * 10**6))
def test_a_linear_schedule_never_leaves_what_beta_may_be(
    start: float, end: float, draws: int, k: int
) -> None:
    assert 0 <= LinearSchedule(start, end, draws)(k) <= 1


def test_a_linear_schedule_moves_with_the_batches_of_the_buffer() -> None:
    priorities = np.random.default_rng(12).uniform(0.1, 3, 60)
    buffer = filled(priorities, Proportional(1.0, LinearSchedule(0.0, 1.0, 4)))
    for beta in (0.0, 0.25, 0.5, 0.75, 1.0, 1.0):
        batch = buffer.sample(20)
        assert batch.weight.tolist() == close(weights(batch, shares(now(buffer), 1.0), beta, 60))


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ((-0.1, 1.0, 10), "start"),
        ((math.nan, 1.0, 10), "start"),
        ((0.4, 1.1, 10), "end"),
        ((0.4, "1", 10), "end"),
        ((0.4, 1.0, 0), "draws"),
        ((0.4, 1.0, -5), "draws"),
        ((0.4, 1.0, 1.5), "draws"),
        ((0.4, 1.0, True), "draws"),
    ],
    ids=str,
)
def test_a_linear_schedule_refuses_what_is_out_of_range(arguments: Any, place: str) -> None:
    with pytest.raises(UsageError, match=f"- at `{place}`"):
        LinearSchedule(*arguments)


# --- draws on boundaries --------------------------------------------------------------------------------------


def constant(number: float) -> np.random.Generator:
    """A generator that gives this number for ever: PCG64 in a state that its step leads to itself."""
    bits = np.random.PCG64()
    at = int(number * 2**53) << 11
    bits.state = {**bits.state, "state": {"state": at, "inc": at * (1 - MULTIPLIER) % 2**128}}
    return np.random.Generator(bits)


EDGES = [0.0, 2.0**-53, 0.5, TOP]
CHANCES = [
    Uniform(),
    Proportional(1.0, 1.0),
    Proportional(1.0, 1.0, stratified=False, normalize="largest"),
    RankBased(0.7, 1.0),
    RankBased(0.7, 1.0, stratified=False, normalize="largest"),
    PerProgram(Uniform(), beta=1.0),
    PerProgram(Proportional(1.0), 0.5, beta=1.0),
    ByOutcome(improved=1.0, inner=Proportional(1.0), beta=1.0),
    Mixture({Proportional(1.0): 0.5, RankBased(): 0.3, PerProgram(): 0.2}, 1.0),
    Window(Proportional(1.0, 1.0), within=9, decay=0.5),
]
by_priority = pytest.mark.parametrize(
    "sampler",
    [
        Proportional(1.0, 1.0),
        Proportional(0.6, 0.4, stratified=False),
        Proportional(1.0, replace=False),
        PerProgram(Proportional(1.0)),
        ByOutcome(improved=1.0, inner=Proportional(1.0)),
        Window(Proportional(1.0), within=9, decay=0.9),
    ],
    ids=repr,
)


@pytest.mark.parametrize("number", EDGES)
def test_the_generator_of_these_tests_gives_one_number(number: float) -> None:
    assert constant(number).random(3).tolist() == [number] * 3


@pytest.mark.parametrize("number", EDGES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sampler", CHANCES, ids=repr)
def test_whatever_the_number_a_record_that_is_here_is_drawn(sampler: Any, size: int, number: float) -> None:
    rng = np.random.default_rng(size)
    buffer = filled(rng.random(size) + 0.1, sampler, remover=Oldest())
    buffer.extend(copies(size // 2), rng.random(size // 2) + 0.1)
    for n in (1, 2, 7, 256):
        batch = buffer.sample(n, rng=constant(number))
        assert len(batch) == n
        assert np.isin(batch.ids, buffer.ids()).all()
        assert ((batch.probability > 0) & (batch.probability <= 1 + 1e-12)).all()
        assert ((batch.weight > 0) & (batch.weight <= 1)).all()


@by_priority
@pytest.mark.parametrize("number", EDGES[1:])  # successive draws need numbers that are not all zero
@pytest.mark.parametrize("size", SIZES)
def test_whatever_the_number_a_zero_priority_record_is_never_drawn(
    size: int, number: float, sampler: Any
) -> None:
    priorities = np.random.default_rng(size).uniform(1e-6, 1, size)
    priorities[: size // 3] = 0  # at both ends, where the boundaries are
    priorities[size - size // 3 :] = 0
    buffer = filled(priorities, sampler)
    got = np.concatenate([buffer.sample(n, rng=constant(number)).ids for n in (1, 2, 7, 100)])
    assert (priorities[got] > 0).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sampler", [Proportional(1.0, stratified=False), Uniform()], ids=repr)
def test_the_lowest_and_the_highest_number_draw_the_first_and_the_last_record(
    size: int, sampler: Any
) -> None:
    buffer = filled(np.random.default_rng(size).random(size) + 0.1, sampler)
    assert [buffer.sample(1, rng=constant(u)).ids[0] for u in (0.0, TOP)] == [0, size - 1]


@pytest.mark.parametrize("size", SIZES)
def test_the_lowest_and_the_highest_number_draw_the_first_and_the_last_rank(size: int) -> None:
    buffer = filled(np.random.default_rng(size).permutation(size) / 4, RankBased(0.7, stratified=False))
    drawn = [float(buffer.sample(1, rng=constant(u)).priority[0]) for u in (0.0, TOP)]
    assert drawn == [(size - 1) / 4, 0.0]


@pytest.mark.parametrize("size", [2, 8, 61, 64, 512])
@pytest.mark.parametrize("number", EDGES)
def test_strata_of_equal_records_hold_on_their_boundaries(size: int, number: float) -> None:
    if number == TOP:
        # as k + TOP is rounded, a number may be the next stratum's first
        number = 1 - 2.0**-40
    ids = filled(np.ones(size), Proportional(1.0)).sample(size, rng=constant(number)).ids
    assert ids.tolist() == list(range(size))


@pytest.mark.parametrize("number", EDGES)
@pytest.mark.parametrize("spread", [1e-300, 1e-20, 1e-16, 1e20, 1e300])
@pytest.mark.parametrize(
    "sampler", [Proportional(1.0, 0.4), Proportional(1.0, 0.4, stratified=False)], ids=repr
)
def test_priorities_far_apart_draw_what_has_a_share_in_float64(
    sampler: Any, spread: float, number: float
) -> None:
    batch = filled([0.0, 1.0, spread, 0.0, 1.0, spread, 0.0], sampler).sample(64, rng=constant(number))
    assert set(batch.ids.tolist()) <= {1, 2, 4, 5}
    assert np.isfinite(batch.weight).all()


@pytest.mark.parametrize("least", [1e-310, 1e-320, 5e-324])
@normalizing
def test_weights_are_numbers_when_a_record_with_hardly_a_share_is_drawn(least: float, normalize: Any) -> None:
    sampler = Proportional(1.0, beta=1.0, normalize=normalize)
    batch = filled([least, 1.0], sampler).sample(2, rng=constant(0.0))
    assert batch.ids.tolist()[0] == 0
    assert ((batch.weight >= 0) & (batch.weight <= 1)).tolist() == [True] * 2


@pytest.mark.parametrize("n", [2, 256])
@pytest.mark.parametrize("alpha", [100.0, 2000.0])
def test_rank_based_strata_give_the_last_number_to_the_rank_in_whose_share_it_is(
    alpha: float, n: int
) -> None:
    # ranks from 2 on have 2**-100 of the sum, far less than float64 leaves below 1
    batch = filled([1.0, 3.0, 2.0], RankBased(alpha, 1.0)).sample(n, rng=constant(TOP))
    assert batch.ids.tolist() == [1] * n


# --- sums ---------------------------------------------------------------------------------------------------


def total_and_leaves(buffer: ReplayBuffer, alpha: float) -> tuple[float, float]:
    total = buffer.sampler.tree.total()  # type: ignore[attr-defined]
    return total, math.fsum(p**alpha for p in now(buffer).values() if p > 0)


@pytest.mark.parametrize("alpha", [1.0, 0.6])
@pytest.mark.parametrize("capacity", [1, 2, 3, 7, 64, 97, 1024, 8191])
def test_after_a_million_pushes_updates_and_removals_the_root_is_the_sum_of_the_leaves(
    capacity: int, alpha: float
) -> None:
    rng = np.random.default_rng(capacity)
    remover = Oldest() if capacity % 2 else LowestPriority()
    buffer = filled(np.ones(capacity), Proportional(alpha), remover=remover)
    many = copies(2000)
    widths = itertools.cycle([1, capacity // 20 + 1, 2000, 3, 20_000, capacity // 10 + 1, 400])
    done = 0
    while done < 1_000_000:
        width = next(widths)
        ids = rng.choice(buffer.ids(), width)
        new = 10.0 ** rng.uniform(-12, 12, width) * (rng.random(width) < 0.9)
        buffer.update_priorities(ids, new)
        buffer.sampler.tree.total()  # type: ignore[attr-defined]
        gone = buffer.remove(ids[: capacity // 7])
        buffer.sampler.tree.total()  # type: ignore[attr-defined]
        pushed = max(1, min(width // 4, 2000))
        buffer.extend(many[:pushed], 10.0 ** rng.uniform(-12, 12, pushed))
        buffer.sampler.tree.total()  # type: ignore[attr-defined]
        done += width + gone + pushed
    total, leaves = total_and_leaves(buffer, alpha)
    assert total == pytest.approx(leaves, rel=1e-12, abs=0)


@pytest.mark.parametrize("capacity", [1, 2, 3, 97, 1024])
def test_after_large_priorities_have_gone_the_root_is_the_sum_of_small_ones(capacity: int) -> None:
    buffer = filled(np.full(capacity, 1e300), Proportional(1.0))
    for k in range(capacity):  # one at a time: differences would keep an error of 1e284
        buffer.update_priorities([k], [1e-9 * (k + 1)])
        buffer.sample(1)
    total, leaves = total_and_leaves(buffer, 1.0)
    assert total == pytest.approx(leaves, rel=1e-12, abs=0)


@pytest.mark.parametrize("capacity", [1, 2, 3, 97, 1024])
def test_after_random_operations_probabilities_per_program_add_up_to_one(capacity: int) -> None:
    rng = np.random.default_rng(capacity)
    buffer = filled(np.ones(capacity), PerProgram(Proportional(1.0), 0.5), remover=Oldest())
    for width in [1, 3, 50, 2000, capacity // 20 + 1] * 40:
        new = 10.0 ** rng.uniform(-12, 12, width) * (rng.random(width) < 0.9)
        buffer.update_priorities(rng.choice(buffer.ids(), width), new)
        buffer.extend(copies(width % 300 + 1, int(rng.integers(5))), rng.uniform(1, 2, width % 300 + 1))
        buffer.sample(1)
    buffer.check()
    draw = buffer.sampler.draw(1, rng)
    assert draw.expected is not None
    assert math.fsum(draw.expected(np.arange(len(buffer)))) == pytest.approx(1, rel=1e-12)


def test_after_random_operations_and_moves_the_root_is_the_sum_of_a_window() -> None:
    rng = np.random.default_rng(13)
    buffer = filled(np.ones(500), Window(Proportional(1.0), within=1, version=2), remover=Oldest())
    index: Any = buffer.sampler
    for width in [1, 3, 50, 2000] * 100:
        index.version = int(rng.integers(PROGRAMS))
        buffer.update_priorities(rng.choice(buffer.ids(), width), 10.0 ** rng.uniform(-12, 12, width))
        buffer.extend(copies(width % 30, int(rng.integers(5))), rng.uniform(1, 2, width % 30))
        buffer.sample(1)
    inside = [p for i, p in now(buffer).items() if abs(buffer.get(i).model_version - index.version) <= 1]
    assert index.inner.tree.total() == pytest.approx(math.fsum(inside), rel=1e-12, abs=0)


# --- priorities that are refused -------------------------------------------------------------------------------

BAD = [math.nan, -1.0, -5e-324, math.inf, -math.inf]
refused = pytest.mark.parametrize("bad", BAD, ids=str)


def snapshot(buffer: ReplayBuffer) -> tuple[Any, ...]:
    return now(buffer), buffer.stats()


def with_bad(bad: float, count: int, at: int) -> NDArray[np.float64]:
    priorities = np.ones(count)
    priorities[at] = bad
    return priorities


@refused
@pytest.mark.parametrize("at", [0, 4, 9])
def test_a_bad_update_is_refused_by_the_name_of_its_record(bad: float, at: int) -> None:
    buffer = filled(np.ones(20), Proportional(), remover=Oldest(), capacity=15)
    ids = np.array([19, 7, 12, 6, 18, 5, 11, 9, 10, 8])
    said = complaint(UsageError, buffer.update_priorities, ids, with_bad(bad, 10, at))
    assert said == f"expected a finite number >= 0, got {bad} for record {ids[at]} - at `priorities`"


@refused
def test_a_bad_update_of_a_record_that_is_gone_is_refused_too(bad: float) -> None:
    buffer = filled(np.ones(20), Proportional(), remover=Oldest(), capacity=15)
    said = complaint(UsageError, buffer.update_priorities, [2, 17], [bad, 1.0])
    assert "for record 2 " in said


@refused
def test_a_bad_priority_of_a_new_record_is_refused_by_the_id_it_would_have_had(bad: float) -> None:
    buffer = filled(np.ones(20), Proportional())
    said = complaint(UsageError, buffer.extend, copies(5), with_bad(bad, 5, 3))
    assert said == f"expected a finite number >= 0, got {bad} for record 23 - at `priorities`"


@refused
def test_a_bad_reward_is_refused_by_the_id_its_record_would_have_had(bad: float) -> None:
    buffer = ReplayBuffer(9, reward=lambda results: np.where(results.timestamp == 7, bad, 1.0))
    buffer.push(record(timestamp=1))
    said = complaint(UsageError, buffer.push, record(timestamp=7))
    assert said == f"expected a finite number >= 0, got {bad} for record 1 - at `reward`"


@refused
@pytest.mark.parametrize("sampler", [Greedy(), Fifo(), *CHANCES], ids=repr)
def test_a_refused_priority_changes_nothing(sampler: Any, bad: float) -> None:
    buffer = filled(np.arange(1.0, 21.0), sampler)
    other = filled(np.arange(1.0, 21.0), sampler)
    before = snapshot(buffer)
    complaint(UsageError, buffer.update_priorities, np.arange(10), with_bad(bad, 10, 5))
    complaint(UsageError, buffer.extend, copies(10), with_bad(bad, 10, 5))
    assert snapshot(buffer) == before
    assert buffer.sample(10).ids.tolist() == other.sample(10).ids.tolist()
    buffer.check()


@pytest.mark.parametrize("priority", [0.0, -0.0, 5e-324, np.finfo(np.float64).max])
def test_every_finite_number_from_zero_on_is_a_priority(priority: float) -> None:
    buffer = filled([1.0, 2.0], Greedy())
    buffer.update_priorities([1], [priority])
    assert buffer.priorities([0, 1]).tolist() == [1.0, priority]
