"""RankBased against a plain ranking: probabilities, ties, zeros, draws after every kind of change, strata."""

from __future__ import annotations

import itertools
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from draw_helpers import chi_square_limit
from ostinato import EmptyBufferError, ReplayBuffer, Results, UsageError
from ostinato.replay import LowestPriority, Oldest, RankBased, Window
from record_helpers import from_list, more, record

VERSIONS = from_list([record(model_version=v) for v in range(50)])
SIZES = [1, 2, 3, 7, 8, 61, 64, 191, 192, 193, 256, 257, 385, 1000]  # blocks of the ranking hold up to 256
ALPHAS = [0.0, 0.5, 0.7, 1.0, 2.0]


def copies(count: int, version: int = 0) -> Results:
    return VERSIONS[np.full(count, version, np.int64)]


def filled(priorities: Any, sampler: Any, **other: Any) -> ReplayBuffer:
    buffer = ReplayBuffer(**{"capacity": len(priorities), "seed": 31, "sampler": sampler, **other})
    buffer.extend(copies(len(priorities)), priorities)
    return buffer


def ranked(priorities: dict[int, float], alpha: float) -> dict[int, float]:
    """Each id's probability, by sorting; for priorities that all differ."""
    assert len(set(priorities.values())) == len(priorities)
    order = sorted(priorities, key=lambda i: -priorities[i])
    total = sum(rank**-alpha for rank in range(1, len(order) + 1))
    return {i: rank**-alpha / total for rank, i in enumerate(order, 1)}


def levels(priorities: dict[int, float], alpha: float) -> dict[float, list[float]]:
    """For each priority the probabilities of its records: each the mean of all the ranks that they share."""
    order = sorted(priorities.values(), reverse=True)
    total = sum(rank**-alpha for rank in range(1, len(order) + 1))
    out: dict[float, list[float]] = {}
    for rank, priority in enumerate(order, 1):
        out.setdefault(priority, []).append(rank**-alpha / total)
    return {priority: [sum(shares) / len(shares)] * len(shares) for priority, shares in out.items()}


def now(buffer: ReplayBuffer) -> dict[int, float]:
    ids = buffer.ids()
    return dict(zip(ids.tolist(), buffer.priorities(ids).tolist(), strict=True))


def fits(ids: NDArray[np.int64], expected: dict[int, float]) -> bool:
    """Could these be independent draws with these probabilities, or more even ones? None else has come."""
    known = np.array(sorted(expected))
    assert np.isin(ids, known).all()
    ideal = len(ids) * np.array([expected[i] for i in known.tolist()])
    few = ideal < 5  # together they are one bin
    counts = np.bincount(np.searchsorted(known, ids), minlength=len(known))
    bins = [(c, e) for c, e in zip(counts[~few].tolist(), ideal[~few].tolist(), strict=True)]
    if few.any() and ideal[few].sum() >= 5:
        bins.append((int(counts[few].sum()), float(ideal[few].sum())))
    assert len(bins) > 1, "nothing to judge by"
    return sum((c - e) ** 2 / e for c, e in bins) < chi_square_limit(len(bins) - 1)


def probabilities(buffer: ReplayBuffer) -> dict[int, float]:
    """Of every record that one large batch has, by id."""
    batch = buffer.sample(20 * len(buffer) + 200)
    return dict(zip(batch.ids.tolist(), batch.probability.tolist(), strict=True))


# --- probabilities ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stratified", [True, False])
def test_probability_is_that_of_the_rank(size: int, alpha: float, stratified: bool) -> None:
    priorities = np.random.default_rng(size).permutation(size) / 8
    batch = filled(priorities, RankBased(alpha, stratified=stratified)).sample(500)
    expected = ranked(dict(enumerate(priorities.tolist())), alpha)
    assert batch.probability.tolist() == pytest.approx([expected[i] for i in batch.ids.tolist()], rel=1e-12)


def test_three_records_worked_out_by_hand() -> None:
    # ranks 2, 3, 1: shares 1/2, 1/3, 1 of 11/6
    got = probabilities(filled([5.0, 0.001, 1e30], RankBased(1.0)))
    assert got == pytest.approx({0: 3 / 11, 1: 2 / 11, 2: 6 / 11}, rel=1e-14)


def test_only_the_order_of_priorities_counts() -> None:
    tame, wild = [1.0, 2.0, 3.0, 4.0], [1e-300, 2.0, np.nextafter(2, 3), 1e300]
    one, other = (filled(p, RankBased()).sample(50) for p in (tame, wild))
    assert (one.ids.tolist(), one.probability.tolist()) == (other.ids.tolist(), other.probability.tolist())


@pytest.mark.parametrize("size", [2, 9, 64, 700])
def test_alpha_0_is_uniform(size: int) -> None:
    batch = filled(np.arange(size) / 4, RankBased(0.0)).sample(100 * size)
    assert set(batch.probability.tolist()) == {1 / size}
    assert fits(batch.ids, dict.fromkeys(range(size), 1 / size))


def test_one_record_has_probability_one() -> None:
    batch = filled([0.0], RankBased(2.0)).sample(3)
    assert (batch.ids.tolist(), batch.probability.tolist()) == ([0] * 3, [1.0] * 3)


@more
@given(
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0]), min_size=1, max_size=40),
    st.sampled_from(ALPHAS),
    st.booleans(),
)
def test_equal_priorities_share_what_their_ranks_have(
    priorities: list[float], alpha: float, stratified: bool
) -> None:
    buffer = filled(priorities, RankBased(alpha, stratified=stratified))
    draw = buffer.sampler.draw(10, np.random.default_rng(1))
    assert draw.expected is not None
    of_all = draw.expected(np.arange(len(priorities))) / 10
    for priority, shares in levels(dict(enumerate(priorities)), alpha).items():
        got = sorted(of_all[np.array(priorities) == priority].tolist(), reverse=True)
        assert got == pytest.approx(shares, rel=1e-12)


@pytest.mark.parametrize("alpha", [0.7, 1.0])
def test_records_of_one_priority_are_drawn_alike(alpha: float) -> None:
    batch = filled(np.ones(700), RankBased(alpha, stratified=False)).sample(50_000)
    assert batch.probability.tolist() == pytest.approx([1 / 700] * 50_000)
    assert fits(batch.ids, dict.fromkeys(range(700), 1 / 700))


@pytest.mark.parametrize("alpha", [3.0, 40.0])
def test_ties_so_deep_that_their_ranks_add_nothing_have_a_probability(alpha: float) -> None:
    priorities = np.concatenate([np.arange(500.0, 0.0, -1.0), np.zeros(300)])
    buffer = filled(priorities, RankBased(alpha))
    of_all = buffer.sampler.draw(1, np.random.default_rng(0)).expected(np.arange(800))
    last = np.arange(501.0, 801.0) ** -alpha
    assert of_all[500] >= last[-1] / 2
    assert of_all[500] <= last[0]
    assert len(set(of_all[500:].tolist())) == 1


@pytest.mark.parametrize("size", [20, 600])
def test_draws_of_tied_levels_are_as_likely_as_their_ranks_together(size: int) -> None:
    priorities = np.random.default_rng(2).integers(0, 4, size) / 4
    batch = filled(priorities, RankBased(0.7, stratified=False)).sample(20_000)
    shares = {int(4 * p): sum(s) for p, s in levels(dict(enumerate(priorities.tolist())), 0.7).items()}
    assert fits((4 * batch.priority).astype(np.int64), shares)


@pytest.mark.parametrize("zeros", [1, 5, 63])
def test_records_of_priority_zero_have_the_last_ranks_and_are_drawn(zeros: int) -> None:
    priorities = np.concatenate([np.zeros(zeros), np.arange(1.0, 65.0 - zeros)])
    got = probabilities(filled(priorities, RankBased(0.5)))
    total = sum(rank**-0.5 for rank in range(1, 65))
    last = sum(rank**-0.5 / total for rank in range(65 - zeros, 65)) / zeros
    assert [got[i] for i in range(zeros)] == pytest.approx([last] * zeros)


def test_zeros_of_either_sign_are_the_same_and_last() -> None:
    got = probabilities(filled([-0.0, 5e-324, 0.0, -0.0], RankBased(1.0)))
    assert got[1] == max(got.values()) == pytest.approx(12 / 25)
    assert got[0] == got[2] == got[3]


def test_zeros_alone_are_drawn() -> None:
    assert set(filled(np.zeros(4), RankBased()).sample(200).ids.tolist()) == {0, 1, 2, 3}


# --- draws --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("size", [2, 9, 64, 513])
@pytest.mark.parametrize("stratified", [True, False])
def test_draws_are_as_likely_as_the_rank_says(size: int, alpha: float, stratified: bool) -> None:
    priorities = np.random.default_rng(size).permutation(size) / 8
    buffer = filled(priorities, RankBased(alpha, stratified=stratified))
    ids = np.concatenate([buffer.sample(64).ids for _ in range(3 * size + 40)])
    # strata only lessen the spread, so the limit for independent draws holds
    assert fits(ids, ranked(dict(enumerate(priorities.tolist())), alpha))


@pytest.mark.parametrize("remover", [Oldest(), LowestPriority()], ids=repr)
@pytest.mark.parametrize("capacity", [3, 64, 700])
def test_draws_after_updates_removals_and_pushes_follow_the_new_ranks(capacity: int, remover: Any) -> None:
    rng = np.random.default_rng(capacity)
    odd = itertools.count(1, 2)

    def other_priorities(count: int) -> list[float]:
        # each odd number once, times a power of two: all different
        return [float(next(odd)) * 2.0 ** int(rng.integers(-40, 40)) for _ in range(count)]

    buffer = filled(other_priorities(capacity), RankBased(0.7, stratified=False), remover=remover)
    for width in [1, 2, capacity // 20 + 1, capacity // 3 + 1, 2 * capacity, 1, 5] * 4:
        buffer.extend(copies(width), other_priorities(width))
        buffer.sample(3)
        ids = np.unique(rng.choice(buffer.ids(), width))
        buffer.update_priorities(ids, other_priorities(len(ids)))
        buffer.sample(3)
        buffer.remove(rng.choice(buffer.ids(), min(width, len(buffer) // 3)))
        buffer.sample(1)
    buffer.check()
    assert fits(buffer.sample(20_000).ids, ranked(now(buffer), 0.7))


def test_probabilities_follow_every_single_update() -> None:
    rng = np.random.default_rng(3)
    buffer = filled(np.arange(100.0), RankBased(1.0))
    got, expected = [], []
    for turn in range(300):
        buffer.update_priorities([int(rng.integers(100))], [float(rng.integers(200)) + (turn + 1) / 1024])
        batch = buffer.sample(4)
        model = ranked(now(buffer), 1.0)
        got += batch.probability.tolist()
        expected += [model[i] for i in batch.ids.tolist()]
    assert got == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("where", ["all over", "to the top", "to the bottom", "into the middle"])
def test_ranks_are_exact_after_many_small_updates(where: str) -> None:
    rng = np.random.default_rng(8)
    priorities = rng.permutation(5000) + 1.0
    buffer = filled(priorities, RankBased(1.0))
    for turn in range(60):
        buffer.sample(1)
        ids = rng.choice(5000, 250, replace=False)
        unused = rng.permutation(250) / 512 + 1 / 1024 + turn
        new = {
            "all over": rng.integers(1, 5000, 250) + (turn * 250 + np.arange(250)) / 2**15 + 2**-20,
            "to the top": 10_000 + unused,
            "to the bottom": 1 / (10_000 + unused),
            "into the middle": 2500 + unused / 128,
        }[where]
        buffer.update_priorities(ids, new)
        priorities[ids] = new
    draw = buffer.sampler.draw(1, rng)
    expected = ranked(dict(enumerate(priorities.tolist())), 1.0)
    assert draw.expected is not None
    assert draw.expected(np.arange(5000)).tolist() == pytest.approx([expected[i] for i in range(5000)])


def test_the_first_becomes_the_last() -> None:
    buffer = filled([3.0, 2.0, 1.0], RankBased(1.0))
    buffer.sample(1)
    buffer.update_priorities([0], [0.5])
    assert probabilities(buffer) == pytest.approx({0: 2 / 11, 1: 6 / 11, 2: 3 / 11})


def test_a_removed_record_gives_its_rank_to_the_next() -> None:
    buffer = filled([3.0, 2.0, 1.0, 0.5], RankBased(1.0))
    buffer.sample(1)
    buffer.remove([1])
    assert probabilities(buffer) == pytest.approx({0: 6 / 11, 2: 3 / 11, 3: 2 / 11})


def test_a_single_push_has_its_rank_at_once() -> None:
    buffer = ReplayBuffer(5, sampler=RankBased(1.0), reward=lambda results: results.timestamp * 1.0, seed=1)
    for timestamp in (5, 9):
        buffer.push(record(timestamp=timestamp))
    buffer.sample(1)
    buffer.push(record(timestamp=7))
    assert probabilities(buffer) == pytest.approx({0: 2 / 11, 1: 6 / 11, 2: 3 / 11})


changes = st.one_of(
    st.tuples(st.just("extend"), st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), max_size=8)),
    st.tuples(st.just("remove"), st.lists(st.integers(0, 40), max_size=5)),
    st.tuples(
        st.just("update"),
        st.lists(st.tuples(st.integers(0, 40), st.sampled_from([0.0, 0.5, 1.0, 2.0])), max_size=8),
    ),
    st.tuples(st.just("sample"), st.integers(1, 5)),
)


@more
@given(st.integers(1, 12), st.sampled_from([0.0, 0.7, 1.0]), st.lists(changes, max_size=15))
def test_after_any_changes_a_batchs_probabilities_are_those_of_ranks_of_its_priorities(
    capacity: int, alpha: float, course: list[tuple[str, Any]]
) -> None:
    buffer = ReplayBuffer(capacity, sampler=RankBased(alpha), remover=Oldest(), seed=1)
    for act, what in [*course, ("sample", 30)]:
        if act == "extend":
            buffer.extend(copies(len(what)), what)
        elif act == "remove":
            buffer.remove(np.array(what, np.int64))
        elif act == "update":
            buffer.update_priorities(np.array([i for i, _ in what], np.int64), [p for _, p in what])
        elif len(buffer):
            batch = buffer.sample(what)
            shared = levels(now(buffer), alpha)
            pairs = zip(batch.priority.tolist(), batch.probability.tolist(), strict=True)
            assert all(min(abs(share / p - 1) for share in shared[level]) < 1e-12 for level, p in pairs)
            one_each = dict(zip(batch.ids.tolist(), batch.probability.tolist(), strict=True))
            assert [one_each[i] for i in batch.ids.tolist()] == batch.probability.tolist()
            buffer.check()


def test_drawn_once_every_record_comes_once() -> None:
    buffer = filled(np.arange(30.0), RankBased(), max_times_sampled=1)
    ids = np.concatenate([buffer.sample(n).ids for n in (10, 5, 40)])
    assert (sorted(ids.tolist()), len(buffer)) == (list(range(30)), 0)


# --- strata -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 7, 64, 1000])
def test_each_stratum_gets_one_draw(n: int) -> None:
    ids = filled(np.arange(float(n)), RankBased(0.0)).sample(n).ids  # as many records as strata, all alike
    assert np.sort(ids).tolist() == list(range(n))


@pytest.mark.parametrize("n", [2, 5, 37, 256])
@pytest.mark.parametrize("alpha", [0.3, 0.7, 1.5])
def test_strata_are_of_equal_mass(n: int, alpha: float) -> None:
    priorities = np.random.default_rng(4).permutation(200) / 8
    ids = filled(priorities, RankBased(alpha)).sample(n).ids
    shares = np.arange(1, 201) ** -alpha
    ends = np.cumsum(shares / shares.sum())
    ranks = np.argsort(np.argsort(-priorities))[ids]  # from 0
    begins = np.concatenate([[0.0], ends])[ranks]
    # some order of the strata, each reached by the record that it got
    k = np.arange(n)
    inside = (begins < (k + 1) / n + 1e-12) & (ends[ranks] > k / n - 1e-12)
    assert inside.tolist() == [True] * n


def test_a_record_with_half_the_mass_gets_half_the_strata() -> None:
    buffer = filled([1.0, 3.0, 2.0], RankBased(1.0))  # the first rank has 6 / 11
    assert (buffer.sample(1100).ids == 1).sum() == 600


def test_plain_draws_are_independent() -> None:
    buffer = filled([1.0, 3.0, 2.0], RankBased(1.0, stratified=False))
    ids = np.array([buffer.sample(2).ids for _ in range(4000)])
    one = ranked({0: 1.0, 1: 3.0, 2: 2.0}, 1.0)
    pairs = {3 * a + b: one[a] * one[b] for a in one for b in one}
    assert fits(3 * ids[:, 0] + ids[:, 1], pairs)


def test_strata_lessen_the_spread_of_counts() -> None:
    spreads = []
    for stratified in (True, False):
        buffer = filled(np.arange(10.0), RankBased(0.7, stratified=stratified))
        counts = [np.bincount(buffer.sample(50).ids, minlength=10) for _ in range(200)]
        spreads.append(float(np.var(counts, axis=0).sum()))
    assert spreads[0] < spreads[1] / 4


# --- windows ------------------------------------------------------------------------------------------------


def windowed(within: int, decay: float = 1.0, version: int | None = None) -> ReplayBuffer:
    """Ten records of each of the versions 1 to 8, all with other priorities."""
    sampler = Window(RankBased(0.7, stratified=False), within=within, decay=decay, version=version)
    buffer = ReplayBuffer(100, sampler=sampler, seed=32)
    priorities = np.random.default_rng(5).permutation(80) + 1.0
    for version_of, part in enumerate(np.split(priorities, 8), 1):
        buffer.extend(copies(10, version_of), part)
    return buffer


def inside(buffer: ReplayBuffer, first: int, last: int) -> dict[int, float]:
    return {i: p for i, p in now(buffer).items() if first <= buffer.get(i).model_version <= last}


@pytest.mark.parametrize("within", [0, 1, 3, 50])
def test_in_a_window_ranks_are_among_those_inside(within: int) -> None:
    buffer = windowed(within)
    batch = buffer.sample(20_000)
    expected = ranked(inside(buffer, 8 - within, 8), 0.7)
    assert batch.probability.tolist() == pytest.approx([expected[i] for i in batch.ids.tolist()], rel=1e-12)
    assert fits(batch.ids, expected)


@pytest.mark.parametrize("moves", [[2], [8, 2], [1, 3, 5, 7, 4], [5, 5, 6]])
def test_after_a_window_has_moved_ranks_are_among_those_inside(moves: list[int]) -> None:
    buffer = windowed(1, version=1)
    for version in moves:
        buffer.sample(2)
        buffer.sampler.version = version  # type: ignore[attr-defined]
    last = moves[-1]
    assert fits(buffer.sample(20_000).ids, ranked(inside(buffer, last - 1, last + 1), 0.7))


def test_a_window_moves_with_the_newest_version() -> None:
    buffer = windowed(1)
    buffer.sample(1)
    buffer.extend(copies(3, 10), [0.5, 99.0, 3.25])  # nothing is of version 9
    assert probabilities(buffer) == pytest.approx(ranked({80: 0.5, 81: 99.0, 82: 3.25}, 0.7))


def test_when_the_newest_version_is_removed_the_window_moves_back() -> None:
    buffer = windowed(0)
    buffer.sample(1)
    buffer.remove(np.arange(70, 80))
    assert fits(buffer.sample(20_000).ids, ranked(inside(buffer, 7, 7), 0.7))


def test_updates_outside_a_window_count_when_it_comes_back() -> None:
    buffer = windowed(0, version=3)
    buffer.sample(1)
    buffer.sampler.version = 6  # type: ignore[attr-defined]
    buffer.sample(1)
    buffer.update_priorities(np.arange(20, 30), np.random.default_rng(6).permutation(10) + 0.5)
    buffer.sample(1)
    buffer.sampler.version = 3  # type: ignore[attr-defined]
    assert fits(buffer.sample(20_000).ids, ranked(inside(buffer, 3, 3), 0.7))


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_a_windows_decay_is_of_the_priority(decay: float) -> None:
    buffer = windowed(3, decay)
    decayed = {i: p * decay ** (8 - buffer.get(i).model_version) for i, p in inside(buffer, 5, 8).items()}
    batch = buffer.sample(20_000)
    shared = levels({i: round(p, 9) for i, p in decayed.items()}, 0.7)
    for i, p in zip(batch.ids.tolist(), batch.probability.tolist(), strict=True):
        assert min(abs(share / p - 1) for share in shared[round(decayed[i], 9)]) < 1e-12


def test_zeros_in_a_window_have_the_last_ranks() -> None:
    buffer = windowed(0)
    buffer.update_priorities(np.arange(71, 80), np.zeros(9))
    got = probabilities(buffer)
    assert (max(got, key=lambda i: got[i]), sorted(got)) == (70, list(range(70, 80)))


def test_a_window_without_a_record_has_nothing_to_draw() -> None:
    with pytest.raises(EmptyBufferError, match="window"):
        windowed(0, version=40).sample(1)


# --- edges --------------------------------------------------------------------------------------------------


def test_an_empty_buffer_has_nothing_to_draw() -> None:
    with pytest.raises(EmptyBufferError, match="empty"):
        ReplayBuffer(5, sampler=RankBased()).sample(1)


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({"alpha": -0.1}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"alpha": float("inf")}, "alpha"),
        ({"alpha": "1"}, "alpha"),
        ({"beta": 1.01}, "beta"),
        ({"beta": float("nan")}, "beta"),
        ({"stratified": 1}, "stratified"),
        ({"normalize": "mean"}, "normalize"),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(arguments: Any, place: str) -> None:
    with pytest.raises(UsageError, match=f"- at `{place}`"):
        RankBased(**arguments)


@pytest.mark.parametrize("n", [2**31, 2**63])
def test_more_draws_than_memory_holds_are_refused(n: int) -> None:
    with pytest.raises(UsageError, match="- at `n`"):
        filled(np.ones(5), RankBased()).sample(n)


def test_the_same_seed_and_calls_give_the_same_batches() -> None:
    def life() -> list[int]:
        rng = np.random.default_rng(7)
        buffer = filled(rng.integers(0, 9, 900) / 8, RankBased(), remover=Oldest())
        out = []
        for width in (1, 30, 500, 3, 900):
            buffer.extend(copies(width), rng.integers(0, 9, width) / 8)
            batch = buffer.sample(100)
            buffer.update_priorities(batch.ids, rng.integers(0, 9, 100) / 8)
            out += batch.ids.tolist()
        return out

    assert life() == life()
