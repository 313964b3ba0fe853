"""Window over model versions: what it lets every sampler draw, what it weighs, and what a move of it costs."""

from __future__ import annotations

import dataclasses
import tracemalloc
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from draw_helpers import drawn, misfit
from ostinato import EmptyBufferError, ReplayBuffer, Results, UsageError, Vocabulary
from ostinato.replay import (
    ByOutcome,
    Draw,
    Fifo,
    Fresh,
    Greedy,
    Lifo,
    Mixture,
    Oldest,
    PerProgram,
    Proportional,
    RankBased,
    Scope,
    Table,
    Uniform,
    Window,
)

BY_CHANCE = [
    Uniform(),
    Proportional(0.6),
    Proportional(1.0, stratified=False),
    RankBased(0.7),
    PerProgram(),
    PerProgram(Proportional(0.6), 0.5),
    ByOutcome(valid=0.5, invalid=0.5),
    ByOutcome(valid=0.5, invalid=0.5, inner=Proportional(0.6)),
    Mixture({Proportional(1.0): 0.5, Uniform(): 0.5}),
]
DISTINCT = [Uniform(replace=False), Proportional(replace=False)]
ORDERED = [Greedy(), Fifo(), Lifo()]
CERTAIN = [*ORDERED, Fresh()]
EVERY = BY_CHANCE + DISTINCT + CERTAIN


def records(versions: Any, first: int = 0) -> Results:
    """Records of these versions; their ids, from `first` on, decide the rest: 7 programs, every third invalid."""
    count = len(versions)
    ids = np.arange(first, first + count)
    hashes = np.zeros((count, 32), np.uint8)
    hashes[:, 0] = ids % 7
    return Results.from_columns(
        tir_hash=hashes,
        tokens=np.zeros(count, np.int32),
        offsets=np.arange(count + 1),
        vocabulary=Vocabulary(["add"]),
        valid=ids % 3 > 0,
        clock_cycles=np.full(count, 10, np.uint64),
        compiler_cycles=np.full(count, 10, np.uint64),
        fallback_used=np.zeros(count, bool),
        timestamp=ids.astype(np.uint64),
        model_version=np.asarray(versions).astype(np.uint32),
    )


class World:
    """A buffer, and the version of each id that was ever given."""

    def __init__(self, rule: Window, capacity: int = 5000, **other: Any) -> None:
        self.rule = rule
        self.buffer = ReplayBuffer(capacity, sampler=rule, **{"seed": 11, **other})
        self.version_of: list[int] = []
        self.at = rule.version

    def push(self, versions: Any, priorities: Any = None) -> list[int]:
        first = len(self.version_of)
        self.version_of += np.asarray(versions).tolist()
        if priorities is None:
            priorities = np.random.default_rng(first).choice([0.25, 0.5, 1.0, 3.0], len(versions))
        ids: list[int] = self.buffer.extend(records(versions, first), priorities).tolist()
        return ids

    def move(self, version: int | None) -> None:
        self.buffer.sampler.version = version
        self.at = version

    def factors(self) -> dict[int, float]:
        """decay**d of each id inside."""
        ids = self.buffer.ids().tolist()
        versions = [self.version_of[i] for i in ids]
        at = max(versions, default=0) if self.at is None else self.at
        return {
            i: self.rule.decay ** abs(v - at)
            for i, v in zip(ids, versions, strict=True)
            if abs(v - at) <= self.rule.within
        }

    def priorities(self) -> dict[int, float]:
        ids = self.buffer.ids()
        return dict(zip(ids.tolist(), self.buffer.priorities(ids).tolist(), strict=True))

    def shares(self) -> dict[int, float]:
        return {i: share for i, share in self._shares(self.rule.inner).items() if share > 0}

    def _shares(self, inner: Any) -> dict[int, float]:
        """P(i) of each id inside, for an even number of draws."""
        factor, priority = self.factors(), self.priorities()
        match inner:
            case Mixture():
                found = dict.fromkeys(factor, 0.0)
                for part, fraction in inner.parts:
                    for i, share in self._shares(part).items():
                        found[i] += fraction * share
                return found
            case Uniform():
                return normed(factor)
            case Proportional():
                return normed({i: f * leaf(priority[i], inner) for i, f in factor.items()})
            case RankBased():  # equal keys share what their ranks have
                order = sorted(factor, key=lambda i: -priority[i] * factor[i])
                shared: dict[float, list[float]] = {}
                for rank, i in enumerate(order, 1):
                    shared.setdefault(priority[i] * factor[i], []).append(rank**-inner.alpha)
                return normed({i: float(np.mean(shared[priority[i] * factor[i]])) for i in order})
            case PerProgram() | ByOutcome():
                groups: dict[int, dict[int, float]] = {}
                for i, f in factor.items():
                    group = i % 7 if isinstance(inner, PerProgram) else int(i % 3 > 0)
                    groups.setdefault(group, {})[i] = f * leaf(priority[i], inner.inner)
                drawable = {g: sum(value > 0 for value in leaves.values()) for g, leaves in groups.items()}
                power = getattr(inner, "power", 0.0)
                weight = normed({g: count**power if count else 0.0 for g, count in drawable.items()})
                shares = {g: normed(leaves) for g, leaves in groups.items()}
                return {i: weight[g] * share for g, group in shares.items() for i, share in group.items()}
        raise AssertionError(inner)

    def order(self) -> list[int]:
        """The ids inside, as a sampler without chance gives them."""
        factor, priority = self.factors(), self.priorities()
        keys = {
            Greedy: lambda i: (-priority[i] * factor[i], i),
            Fifo: lambda i: i,
            Lifo: lambda i: -i,
            Fresh: lambda i: i,
        }
        return sorted(factor, key=keys[type(self.rule.inner)])


def leaf(priority: float, inner: Any) -> float:
    if isinstance(inner, Uniform):
        return 1.0
    return float(priority**inner.alpha) if priority > 0 else 0.0


def normed(values: dict[int, float]) -> dict[int, float]:
    total = sum(values.values())
    return {key: value / total if total else 0.0 for key, value in values.items()}


def assert_probabilities(world: World, n: int = 200) -> None:
    batch, shares = world.buffer.sample(n), world.shares()
    expected = [shares.get(i, 0.0) for i in batch.ids.tolist()]
    assert batch.probability.tolist() == pytest.approx(expected, rel=1e-11)


def spread(inner: Any, within: int = 3, count: int = 400, **other: Any) -> World:
    """Records of the versions 0 .. 19, mixed; no two priorities alike, so that ranks are told apart."""
    world = World(Window(inner, within, **other))
    rng = np.random.default_rng(1)
    world.push(rng.integers(0, 20, count), 0.1 + rng.permutation(count) / count)
    return world


def settled(inner: Any, within: int = 3, **other: Any) -> World:
    """1,500 records in 20 versions, drawn from once: from here, few changes at a time are no rebuild."""
    world = spread(inner, within, 1500, **other)
    world.buffer.sample(8)
    return world


# --- inside alone -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", EVERY, ids=repr)
@pytest.mark.parametrize(("within", "inside"), [(0, {19}), (1, {18, 19}), (3, {16, 17, 18, 19})])
def test_only_versions_within_so_many_of_the_newest_are_drawn(
    inner: Any, within: int, inside: set[int]
) -> None:
    world = spread(inner, within)
    drawn_versions = [set(world.buffer.sample(200).model_version.tolist()) for _ in range(3)]
    assert set().union(*drawn_versions) == inside


@pytest.mark.parametrize("inner", EVERY, ids=repr)
@pytest.mark.parametrize(
    ("version", "within", "inside"),
    [(10, 0, {10}), (10, 2, {8, 9, 10, 11, 12}), (0, 1, {0, 1}), (21, 3, {18, 19})],
)
def test_only_versions_within_so_many_of_a_given_one_are_drawn(
    inner: Any, version: int, within: int, inside: set[int]
) -> None:
    world = spread(inner, within, version=version)
    drawn_versions = [set(world.buffer.sample(300).model_version.tolist()) for _ in range(3)]
    assert set().union(*drawn_versions) == inside


@pytest.mark.parametrize("inner", [Uniform(), Greedy(), RankBased()], ids=repr)
def test_the_ends_of_a_version_are_no_ends_of_the_window(inner: Any) -> None:
    world = World(Window(inner, 2**32 - 1))
    world.push([0, 2**32 - 1, 2**31], [1.0, 1.0, 1.0])
    assert set(world.buffer.sample(200).ids.tolist()) == {0, 1, 2}


@pytest.mark.parametrize("version", [0, 2**32 - 1])
def test_a_window_at_the_end_of_all_versions_holds_that_end(version: int) -> None:
    world = World(Window(Uniform(), 1, version=version))
    world.push([0, 1, 2, 2**31, 2**32 - 2, 2**32 - 1])
    expected = {0: {0, 1}, 2**32 - 1: {2**32 - 2, 2**32 - 1}}[version]
    assert set(world.buffer.sample(200).model_version.tolist()) == expected


@pytest.mark.parametrize("inner", ORDERED, ids=repr)
@pytest.mark.parametrize("n", [1, 7, 40, 1000])
def test_samplers_without_chance_give_the_first_inside(inner: Any, n: int) -> None:
    world = spread(inner, 2)
    assert world.buffer.sample(n).ids.tolist() == world.order()[:n]


@pytest.mark.parametrize("inner", DISTINCT, ids=repr)
def test_drawing_all_without_replacement_gives_each_record_inside_once(inner: Any) -> None:
    world = spread(inner, 2)
    assert sorted(world.buffer.sample(1000).ids.tolist()) == sorted(world.factors())


@pytest.mark.parametrize("inner", BY_CHANCE, ids=repr)
@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_draws_follow_the_distribution_inside(inner: Any, decay: float) -> None:
    world = spread(inner, decay=decay)
    assert_probabilities(world)
    assert misfit(drawn(world.buffer, 60, 500), world.shares()) < 1


def test_a_window_that_holds_everything_draws_as_the_sampler_alone() -> None:
    world, alone = spread(Proportional(), 20), ReplayBuffer(5000, sampler=Proportional(), seed=11)
    ids = world.buffer.ids()
    alone.extend(records(world.version_of), world.buffer.priorities(ids))
    assert drawn(world.buffer, 5, 64).tolist() == drawn(alone, 5, 64).tolist()


# --- the decay ----------------------------------------------------------------------------------------------


def test_a_record_d_versions_older_counts_decay_to_the_d() -> None:
    world = World(Window(Uniform(), 2, decay=0.5))
    world.push([1, 2, 3, 4])
    batch = world.buffer.sample(700)
    assert dict(zip(batch.ids.tolist(), batch.probability.tolist(), strict=True)) == {
        1: 1 / 7,
        2: 2 / 7,
        3: 4 / 7,
    }


def test_a_record_d_versions_newer_than_a_given_one_counts_decay_to_the_d() -> None:
    world = World(Window(Uniform(), 1, version=3, decay=0.5))
    world.push([1, 2, 3, 4, 5])
    batch = world.buffer.sample(400)
    assert dict(zip(batch.ids.tolist(), batch.probability.tolist(), strict=True)) == {
        1: 1 / 4,
        2: 1 / 2,
        3: 1 / 4,
    }


def test_the_decay_multiplies_a_probability_and_not_a_priority_for_samplers_by_chance() -> None:
    world = World(Window(Proportional(2.0), 1, decay=0.5))
    world.push([1, 2], [2.0, 1.0])
    batch = world.buffer.sample(300)
    assert set(zip(batch.ids.tolist(), batch.probability.tolist(), strict=True)) == {(0, 2 / 3), (1, 1 / 3)}


def test_the_decay_multiplies_the_priority_that_greedy_orders_by() -> None:
    world = World(Window(Greedy(), 3, decay=0.5))
    world.push([1, 2, 3, 4, 4], [4.0, 1.0, 2.0, 0.75, 0.0])
    assert world.buffer.sample(5).ids.tolist() == [2, 3, 0, 1, 4]


def test_of_equal_decayed_priorities_greedy_gives_the_oldest_first() -> None:
    world = World(Window(Greedy(), 3, decay=0.5))
    world.push([4, 3, 2, 1], [1.0, 2.0, 4.0, 8.0])
    world.push([4], [1.0])
    assert world.buffer.sample(5).ids.tolist() == [0, 1, 2, 3, 4]


def test_the_decay_does_not_change_the_order_of_age() -> None:
    worlds = [spread(inner, decay=0.25) for inner in (Fifo(), Lifo())]
    assert [world.buffer.sample(50).ids.tolist() for world in worlds] == [w.order()[:50] for w in worlds]


def test_the_decay_of_a_program_is_within_it_alone() -> None:
    world = World(Window(PerProgram(), 1, decay=0.5))
    world.push([1] * 7 + [2] * 4)  # the programs 0 .. 3 have a record of each version, 4 .. 6 an old one
    batch = world.buffer.sample(700)
    expected = {i: 1 / 7 * (2 / 3 if i >= 7 else 1 / 3 if i < 4 else 1) for i in range(11)}
    assert batch.probability.tolist() == pytest.approx([expected[i] for i in batch.ids.tolist()])


def test_uniform_without_replacement_draws_first_by_the_decay() -> None:
    world = World(Window(Uniform(replace=False), 2, decay=0.5))
    world.push([1, 2, 3, 3])
    firsts = np.array([world.buffer.sample(2).ids[0] for _ in range(4000)])
    assert misfit(firsts, {0: 1 / 11, 1: 2 / 11, 2: 4 / 11, 3: 4 / 11}) < 1


def test_proportional_without_replacement_draws_successively_by_the_decay() -> None:
    world = World(Window(Proportional(1.0, replace=False), 1, decay=0.5))
    world.push([1, 2, 2, 0], [2.0, 1.0, 2.0, 9.0])
    leaves = {0: 1.0, 1: 1.0, 2: 2.0}
    pairs = {
        10 * a + b: leaves[a] / 4 * leaves[b] / (4 - leaves[a]) for a in leaves for b in leaves if a != b
    }
    both = [world.buffer.sample(2).ids for _ in range(4000)]
    assert misfit(np.array([10 * a + b for a, b in both]), pairs) < 1


@pytest.mark.parametrize("inner", [Uniform(), Proportional(0.6), RankBased(), PerProgram()], ids=repr)
def test_a_decay_goes_on_over_thousands_of_versions(inner: Any) -> None:
    world = World(Window(inner, 3, decay=0.01), 60, remover=Oldest())
    rng = np.random.default_rng(2)
    for version in range(0, 3000, 2):
        world.push([version, version + 1], 0.1 + rng.permutation(2) / 7 + version % 89 / 89**2)
        if version % 50 == 0:
            assert_probabilities(world, 20)
    assert_probabilities(world)


@pytest.mark.parametrize("inner", [Uniform(), Proportional(0.6), RankBased()], ids=repr)
def test_a_leap_of_the_newest_version_over_a_billion_leaves_what_is_near_it(inner: Any) -> None:
    world = spread(inner, decay=0.5)
    world.buffer.sample(8)
    world.push([10**9, 10**9 + 2], [0.9876, 0.8765])
    assert_probabilities(world)
    assert set(world.buffer.sample(50).ids.tolist()) == {400, 401}


# --- weights ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [1.0, 0.5])
@pytest.mark.parametrize(
    "inner",
    [
        Proportional(0.6, 0.7),
        RankBased(0.7, 0.7),
        PerProgram(beta=0.7),
        ByOutcome(valid=0.5, invalid=0.5, beta=0.7),
        Mixture({Proportional(): 0.5, Uniform(): 0.5}, beta=0.7),
    ],
    ids=lambda inner: type(inner).__name__,
)
def test_weights_are_relative_to_the_number_inside(inner: Any, decay: float) -> None:
    world = spread(inner, decay=decay)
    batch, shares = world.buffer.sample(100), world.shares()
    raw = np.array([(len(shares) * shares[i]) ** -0.7 for i in batch.ids.tolist()])
    assert batch.weight.tolist() == pytest.approx((raw / raw.max()).tolist(), rel=1e-6)


@pytest.mark.parametrize("inner", [Proportional(0.6, 0.7), RankBased(0.7, 0.7)], ids=repr)
def test_the_largest_weight_is_of_a_record_inside(inner: Any) -> None:
    world = settled(dataclasses.replace(inner, normalize="largest"), decay=0.5)
    for turn in range(5):
        world.push([20 + turn], [0.03 + turn / 1000])
        batch, shares = world.buffer.sample(100), world.shares()
        raw = np.array([(shares[i] / min(shares.values())) ** -0.7 for i in batch.ids.tolist()])
        assert batch.weight.tolist() == pytest.approx(raw.tolist(), rel=1e-6)


def test_all_of_a_window_without_replacement_weighs_the_same() -> None:
    world = World(Window(Proportional(1.0, 1.0, replace=False), 0))
    world.push([1] * 50 + [2] * 10, np.arange(1, 61))
    assert world.buffer.sample(10).weight.tolist() == [1.0] * 10


@pytest.mark.parametrize("inner", [Uniform(), Uniform(replace=False)], ids=repr)
def test_weights_of_uniform_are_one_even_with_a_decay(inner: Any) -> None:
    assert spread(inner, decay=0.5).buffer.sample(30).weight.tolist() == [1.0] * 30


@pytest.mark.parametrize("inner", CERTAIN, ids=repr)
def test_probability_and_weight_are_one_without_chance(inner: Any) -> None:
    batch = spread(inner, decay=0.5).buffer.sample(10)
    assert (batch.probability.tolist(), batch.weight.tolist()) == ([1.0] * 10, [1.0] * 10)


def test_the_priority_in_a_batch_is_the_records_own() -> None:
    world = spread(Greedy(), decay=0.5)
    batch = world.buffer.sample(30)
    assert batch.priority.tolist() == [world.priorities()[i] for i in batch.ids.tolist()]


# --- moving -------------------------------------------------------------------------------------------------


def moves(world: World, *, rng: np.random.Generator, set_it: bool) -> None:
    """Twenty moves of one version, few changes with each, and a draw after each."""
    for turn in range(20):
        if set_it:
            world.move(4 + turn % 13)
        else:
            world.push([20 + turn] * 15, 0.1 + rng.permutation(15) / 15 + turn / 10_000)
        world.buffer.remove(rng.choice(world.buffer.ids(), 10))
        live = rng.choice(world.buffer.ids(), 20, replace=False)
        world.buffer.update_priorities(live, 0.1 + rng.permutation(20) / 20 + (turn + 1) / 1000)
        world.buffer.sample(8)


@pytest.mark.parametrize("set_it", [False, True], ids=["newest", "set"])
@pytest.mark.parametrize("decay", [1.0, 0.5])
@pytest.mark.parametrize("inner", [i for i in BY_CHANCE if not isinstance(i, RankBased)], ids=repr)
def test_draws_follow_moves_updates_and_removals(inner: Any, decay: float, set_it: bool) -> None:
    world = settled(inner, version=10 if set_it else None, decay=decay)
    moves(world, rng=np.random.default_rng(3), set_it=set_it)
    assert_probabilities(world)
    assert misfit(drawn(world.buffer, 60, 500), world.shares()) < 1


@pytest.mark.parametrize("set_it", [False, True], ids=["newest", "set"])
@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_ranks_follow_moves_updates_and_removals(decay: float, set_it: bool) -> None:
    world = settled(RankBased(), version=10 if set_it else None, decay=decay)
    rng = np.random.default_rng(3)
    moves(world, rng=rng, set_it=set_it)
    for some in np.array_split(world.buffer.ids(), 40):  # no two keys alike
        world.buffer.update_priorities(some, 0.1 + rng.permutation(len(some)) / 50 + some / 1e6)
        world.buffer.sample(1)
    assert_probabilities(world)
    assert misfit(drawn(world.buffer, 60, 500), world.shares()) < 1


@pytest.mark.parametrize("set_it", [False, True], ids=["newest", "set"])
@pytest.mark.parametrize("decay", [1.0, 0.5])
@pytest.mark.parametrize("inner", ORDERED, ids=repr)
def test_an_order_follows_moves_updates_and_removals(inner: Any, decay: float, set_it: bool) -> None:
    world = settled(inner, version=10 if set_it else None, decay=decay)
    moves(world, rng=np.random.default_rng(3), set_it=set_it)
    got = [world.buffer.sample(n).ids.tolist() for n in (1, 9, 100, 5000)]
    assert got == [world.order()[:n] for n in (1, 9, 100, 5000)]


@pytest.mark.parametrize("set_it", [False, True], ids=["newest", "set"])
@pytest.mark.parametrize("inner", DISTINCT, ids=repr)
def test_sets_without_replacement_follow_moves_updates_and_removals(inner: Any, set_it: bool) -> None:
    world = settled(inner, version=10 if set_it else None, decay=0.5)
    moves(world, rng=np.random.default_rng(3), set_it=set_it)
    got = [sorted(world.buffer.sample(5000).ids.tolist()) for _ in range(2)]
    assert got == [sorted(world.factors())] * 2


@pytest.mark.parametrize("inner", EVERY, ids=repr)
def test_a_window_that_moves_away_and_back_draws_what_it_drew(inner: Any) -> None:
    world = spread(inner, 1, version=5)
    inside = [set(world.buffer.sample(200).model_version.tolist())]
    for version in (12, 5):
        world.move(version)
        if isinstance(inner, Fresh):
            world.buffer.sampler.inner.cursor = 0
        inside.append(set(world.buffer.sample(200).model_version.tolist()))
    assert inside == [{4, 5, 6}, {11, 12, 13}, {4, 5, 6}]


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_a_window_that_is_given_a_version_and_then_none_is_at_the_newest_again(decay: float) -> None:
    world = settled(Proportional(0.6), decay=decay)
    for version in (7, None, 19, None, 0, None):
        world.move(version)
        assert_probabilities(world)


def test_a_window_with_no_version_moves_back_when_the_newest_leave() -> None:
    world = settled(Proportional(0.6), decay=0.5)
    for newest in (19, 18, 17, 16):
        world.buffer.remove([i for i in world.priorities() if world.version_of[i] == newest])
        assert_probabilities(world)
        assert max(world.buffer.sample(200).model_version) == newest - 1


def test_a_version_that_comes_back_counts_by_the_version_that_was_set_meanwhile() -> None:
    world = World(Window(Uniform(), 2, decay=0.5))
    (gone,) = world.push([7])
    world.push([3, 4, 5])
    world.buffer.sample(1)
    world.buffer.remove([gone])
    world.buffer.sample(1)  # the newest is 5
    world.move(5)
    world.push([7])
    assert_probabilities(world)


def test_versions_before_the_window_enter_it_when_they_come_late() -> None:
    world = settled(Proportional(1.0), decay=0.5)
    for late in (18, 16, 17, 19, 3):
        world.push([late] * 5, [0.5] * 5)
        assert_probabilities(world)


@pytest.mark.parametrize("inner", [Uniform(), Proportional(0.6), PerProgram(), Greedy()], ids=repr)
def test_thousands_of_versions_come_and_go(inner: Any) -> None:
    world = World(Window(inner, 40, decay=0.9), 1500, remover=Oldest())
    rng = np.random.default_rng(4)
    for first in range(0, 6000, 60):  # versions are numbered anew when most of them are gone
        world.push(np.arange(first, first + 60), rng.uniform(0.1, 2, 60))
        world.buffer.sample(1)
    if isinstance(inner, Greedy):
        assert world.buffer.sample(30).ids.tolist() == world.order()[:30]
    else:
        assert_probabilities(world)


@pytest.mark.parametrize("inner", [Uniform(), Proportional(0.6), RankBased(), PerProgram()], ids=repr)
def test_a_window_follows_a_table_that_grows(inner: Any) -> None:
    world = World(Window(inner, 2, decay=0.5))
    for version in range(8):
        world.push(
            [version] * 500, 0.1 + np.random.default_rng(version).permutation(500) / 499 + version / 7919
        )
        world.buffer.sample(1)
    assert_probabilities(world)


@pytest.mark.parametrize("inner", EVERY, ids=repr)
def test_a_buffer_of_capacity_one_gives_its_record_if_it_is_inside(inner: Any) -> None:
    world = World(Window(inner, 1), 1, remover=Oldest())
    got = []
    for version in (3, 9, 4, 4):
        world.push([version] * 3)
        got.append(set(world.buffer.sample(2).ids.tolist()))
    assert got == [{2}, {5}, {8}, {11}]


@pytest.mark.parametrize(
    "inner", [Proportional(0.6), Uniform(), PerProgram(Proportional(0.6), 0.5)], ids=repr
)
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_any_course_of_changes_leaves_the_distribution_of_the_model(inner: Any, data: st.DataObject) -> None:
    decay = data.draw(st.sampled_from([1.0, 0.5, 1e-3]))
    version = data.draw(st.none() | st.integers(0, 8))
    rule = Window(inner, data.draw(st.integers(0, 3)), version=version, decay=decay)
    world = World(rule, data.draw(st.sampled_from([3, 30, 2000])))
    if world.buffer.capacity == 2000:
        world.push(np.arange(1100) % 5, np.full(1100, 0.5))
    weights = st.sampled_from([0.0, 0.25, 1.0, 3.0])
    for _ in range(data.draw(st.integers(1, 8))):
        pushed = data.draw(st.lists(st.tuples(st.integers(0, 8), weights), max_size=8))
        if pushed:
            world.push([v for v, _ in pushed], [w for _, w in pushed])
        some = data.draw(st.lists(st.integers(0, max(0, len(world.version_of) - 1)), max_size=8))
        if data.draw(st.booleans()):
            world.buffer.remove(np.array(some, np.int64))
        else:
            world.buffer.update_priorities(np.array(some, np.int64), [data.draw(weights) for _ in some])
        if data.draw(st.booleans()):
            world.move(data.draw(st.none() | st.integers(0, 8)))
        if world.shares():
            assert_probabilities(world, 30)
        else:
            with pytest.raises(EmptyBufferError):
                world.buffer.sample(1)


# --- outside ------------------------------------------------------------------------------------------------


def test_records_outside_stay_in_the_buffer_for_metrics() -> None:
    world = spread(Greedy(), 1)
    before = records(world.version_of)
    world.buffer.sample(10)
    valid = sum(i % 3 > 0 for i in range(400))
    assert (len(world.buffer), world.buffer.valid_count()) == (400, valid)
    assert list(world.buffer) == list(before)


def test_records_outside_keep_their_priorities_and_take_new_ones() -> None:
    world = settled(Proportional(1.0), 0)
    outside = [i for i in range(1500) if world.version_of[i] == 5]
    world.buffer.update_priorities(outside, np.full(len(outside), 7.0))
    world.buffer.sample(10)
    assert world.buffer.priorities(outside).tolist() == [7.0] * len(outside)


def test_priorities_given_outside_count_once_the_window_comes() -> None:
    world = settled(Proportional(1.0), 0)
    outside = [i for i in range(1500) if world.version_of[i] == 5]
    world.buffer.update_priorities(outside, np.arange(len(outside)))
    world.buffer.sample(10)
    world.move(5)
    assert_probabilities(world)


def test_a_full_buffer_removes_by_its_own_rule_and_not_by_the_window() -> None:
    world = World(Window(Uniform(), 0), 3)
    world.push([1, 2, 3, 4], [5.0, 6.0, 1.0, 7.0])
    assert world.buffer.ids().tolist() == [0, 1, 3]


# --- nothing inside -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", BY_CHANCE + DISTINCT, ids=repr)
def test_an_empty_window_is_an_error_for_samplers_by_chance(inner: Any) -> None:
    world = spread(inner, version=100)
    with pytest.raises(EmptyBufferError):
        world.buffer.sample(1)


@pytest.mark.parametrize("inner", CERTAIN, ids=repr)
def test_an_empty_window_gives_an_empty_batch_without_chance(inner: Any) -> None:
    assert len(spread(inner, version=100).buffer.sample(3)) == 0


@pytest.mark.parametrize("inner", [Proportional(), PerProgram(Proportional())], ids=repr)
def test_no_priority_inside_is_an_error(inner: Any) -> None:
    world = World(Window(inner, 0))
    world.push([1, 1, 2, 2], [1.0, 1.0, 0.0, 0.0])
    with pytest.raises(EmptyBufferError):
        world.buffer.sample(1)


@pytest.mark.parametrize("inner", EVERY, ids=repr)
def test_a_window_over_an_emptied_buffer_fills_again(inner: Any) -> None:
    world = spread(inner, 1)
    world.buffer.sample(2)
    world.buffer.remove(world.buffer.ids())
    if inner not in CERTAIN:
        with pytest.raises(EmptyBufferError):
            world.buffer.sample(2)
    world.push([18, 19, 19, 3], [1.0] * 4)
    assert set(world.buffer.sample(50).ids.tolist()) == {400, 401, 402}


# --- new results in a window ---------------------------------------------------------------------------------


def test_fresh_gives_the_new_records_inside_once() -> None:
    world = World(Window(Fresh(), 1))
    world.push([1, 2, 3, 2])
    first = world.buffer.sample().ids.tolist()
    world.push([3, 1, 3])
    assert (first, world.buffer.sample().ids.tolist()) == ([1, 2, 3], [4, 6])


def test_all_that_is_new_inside_and_a_part_of_history_inside() -> None:
    world = World(Window(Mixture({Fresh(): "all", Uniform(): 0.5}), 1))
    world.push([1] * 20 + [2] * 10 + [3] * 10)
    ids = world.buffer.sample().ids.tolist()
    assert (len(ids), set(ids)) == (30, set(range(20, 40)))


# --- what a move costs --------------------------------------------------------------------------------------


class Counting:
    """A sampler that counts the slots that it is told of, and leaves all else to another."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def attach(self, table: Table, scope: Scope | None = None) -> CountingIndex:
        return CountingIndex(self.inner.attach(table, scope))


class CountingIndex:
    def __init__(self, index: Any) -> None:
        self.index = index
        self.told = 0

    def changed(self, slots: NDArray[np.int64]) -> None:
        self.told += len(slots)
        self.index.changed(slots)

    def draw(self, n: int | None, rng: np.random.Generator) -> Draw:
        found: Draw = self.index.draw(n, rng)
        return found


def large(**window: Any) -> World:
    """40,000 records, 200 of each version from 0 to 199."""
    world = World(Window(Counting(Proportional()), 5, **window), 50_000)
    world.push(np.repeat(np.arange(200), 200), np.ones(40_000))
    world.buffer.sample(16)
    world.buffer.sampler.inner.told = 0
    return world


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_a_new_version_tells_the_sampler_of_what_enters_or_leaves_alone(decay: float) -> None:
    world = large(decay=decay)
    world.push([200] * 50, np.ones(50))
    world.buffer.sample(16)
    assert world.buffer.sampler.inner.told <= 50 + 50 + 200  # came, are told as entering too, and left


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_a_hundred_new_versions_tell_the_sampler_of_each_record_that_enters_or_leaves_once(
    decay: float,
) -> None:
    world = large(decay=decay)
    for version in range(200, 300):
        world.push([version] * 2, np.ones(2))
        world.buffer.sample(16)
    # six versions of 200 leave; each that comes is told of when it comes, enters and leaves
    assert world.buffer.sampler.inner.told <= 6 * 200 + 100 * (2 + 2 + 2)


@pytest.mark.parametrize(("step", "moved"), [(1, 400), (3, 1200), (11, 4400), (50, 4400)])
def test_a_version_that_is_set_tells_the_sampler_of_what_enters_or_leaves_alone(
    step: int, moved: int
) -> None:
    world = large(version=100)
    world.move(100 + step)
    world.buffer.sample(16)
    assert world.buffer.sampler.inner.told == moved


def test_a_version_that_is_set_with_a_decay_tells_the_sampler_of_what_is_inside_alone() -> None:
    world = large(version=100, decay=0.5)
    world.move(101)
    world.buffer.sample(16)
    assert world.buffer.sampler.inner.told <= 12 * 200


@pytest.mark.parametrize("version", [None, 100])
def test_draws_without_a_move_tell_the_sampler_of_nothing(version: int | None) -> None:
    world = large(version=version, decay=0.5)
    for _ in range(20):
        world.buffer.sample(16)
    assert world.buffer.sampler.inner.told == 0


def test_records_that_come_outside_the_window_are_told_of_once() -> None:
    world = large(version=100)
    for _ in range(10):
        world.push([150] * 3, np.ones(3))
        world.buffer.sample(16)
    assert world.buffer.sampler.inner.told == 30


def test_late_updates_take_no_memory_while_nobody_draws() -> None:
    world = World(Window(Uniform(), 1), 2, remover=Oldest())
    world.push([1, 2, 3])
    world.buffer.sample(1)
    gone, ones = np.array([0]), np.ones(1)
    tracemalloc.start()
    try:
        for _ in range(100):
            world.buffer.update_priorities(gone, ones)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(2000):
            world.buffer.update_priorities(gone, ones)
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()


# --- state --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", EVERY, ids=repr)
def test_a_restored_window_goes_on_with_the_same_draws(inner: Any) -> None:
    world = settled(inner, decay=0.5)
    other = ReplayBuffer(5000, sampler=world.rule, seed=99)
    for version in (20, 21, 22):
        world.push([version] * 20)
        world.buffer.sample(8)
    other.load_state_dict(world.buffer.state_dict())
    courses = []
    for buffer in (world.buffer, other):
        course = [buffer.sample(32).ids.tolist()]
        buffer.extend(records([23] * 30, 1560), np.full(30, 0.75))
        courses.append([*course, buffer.sample(32).ids.tolist(), buffer.sample(32).ids.tolist()])
    assert courses[0] == courses[1]


def test_a_restored_window_is_at_the_version_that_was_set() -> None:
    world = settled(Uniform(), 0)
    other = ReplayBuffer(5000, sampler=world.rule, seed=99)
    world.move(7)
    other.load_state_dict(world.buffer.state_dict())
    assert set(other.sample(50).model_version.tolist()) == {7}


# --- mistakes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", [Uniform, None, "uniform", 3], ids=repr)
def test_an_inner_that_is_no_sampler_is_refused(inner: Any) -> None:
    with pytest.raises(UsageError, match="`inner`"):
        Window(inner, 1)


@pytest.mark.parametrize("value", [-1, 1.0, "1", True, 2**32, float("nan")], ids=repr)
@pytest.mark.parametrize("name", ["within", "version"])
def test_a_number_of_versions_that_is_none_is_refused(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"`{name}`"):
        Window(Uniform(), **{"within": 1, name: value})


@pytest.mark.parametrize("decay", [0, 0.0, -0.5, 1.1, float("nan"), float("inf"), "1", None, True], ids=repr)
def test_a_decay_outside_zero_to_one_is_refused(decay: Any) -> None:
    with pytest.raises(UsageError, match="`decay`"):
        Window(Uniform(), 1, decay=decay)


@pytest.mark.parametrize(
    "rule", [Window(Window(Uniform(), 1), 2), Window(Mixture({Window(Uniform(), 1): 1.0}), 2)], ids=repr
)
def test_a_window_in_a_window_is_refused(rule: Window) -> None:
    with pytest.raises(UsageError, match="window in a window"):
        ReplayBuffer(5, sampler=rule)
