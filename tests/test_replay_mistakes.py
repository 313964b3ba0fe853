"""A mistake is said clearly, costs no record that is right, and leaves a buffer that works."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ostinato import BuildResult, EmptyBufferError, OstinatoError, ReplayBuffer, Results, UsageError
from ostinato.replay import Draw, Greedy, Oldest, PerProgram, Proportional, RankBased, Table, Window
from ostinato.replay.groups import Forest
from ostinato.replay.ranks import Ranking
from ostinato.replay.trees import OrderTree, SumTree


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
def test_a_push_whose_reward_fails_is_the_one_that_raises_and_takes_nothing_in(reward: Any) -> None:
    buffer = ReplayBuffer(10, reward=reward)
    ids = [buffer.push(record(t)) for t in (0, 1, 2)]
    with pytest.raises((UsageError, KeyError), match=r"three|at `reward`"):
        buffer.push(record(3))
    ids += [buffer.push(record(t)) for t in (4, 5)]
    assert (ids, [r.timestamp for r in buffer.sample(10)]) == ([0, 1, 2, 3, 4], [0, 1, 2, 4, 5])
    buffer.check()


def test_a_reward_of_ones_own_gives_pushes_the_priorities_that_extend_gives() -> None:
    one, many = (ReplayBuffer(10, reward=lambda results: results.timestamp * 2.0) for _ in range(2))
    for t in range(6):
        one.push(record(t))
    many.extend([record(t) for t in range(6)])
    assert one.priorities(range(6)).tolist() == many.priorities(range(6)).tolist() == [0, 2, 4, 6, 8, 10]


@pytest.mark.parametrize("reward", [nan_at_three, raises_at_three])
def test_a_reward_that_fails_for_one_of_many_takes_none_in(reward: Any) -> None:
    buffer = ReplayBuffer(10, reward=reward)
    with pytest.raises((UsageError, KeyError)):
        buffer.extend([record(t) for t in range(6)])
    assert (len(buffer), buffer.stats().pushed) == (0, 0)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_a_buffer_that_was_interrupted_halfway_says_so_instead_of_mixing_records(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = ReplayBuffer(4)
    buffer.extend([record(t) for t in range(4)])
    with monkeypatch.context() as patch:
        patch.setattr(Table, "take_in", lambda *_: (_ for _ in ()).throw(error()))
        with pytest.raises(error):
            buffer.extend([record(9)], priorities=[9.0])
    for use in (
        buffer.sample,
        buffer.priorities,
        lambda _: buffer.save("x"),
        lambda _: buffer.push(record(1)),
    ):
        with pytest.raises(OstinatoError, match="load a state, or make the buffer anew"):
            use(1)
    buffer.load_state_dict(ReplayBuffer(4).state_dict())
    buffer.push(record(1))
    assert len(buffer) == 1


def test_a_tree_that_was_interrupted_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    for sampler in (Proportional(), RankBased(), Greedy(), PerProgram(), Window(Proportional(), within=5)):
        buffer = ReplayBuffer(200, sampler=sampler, seed=1)
        plain = ReplayBuffer(200, sampler=sampler, seed=1)
        for one in (buffer, plain):
            one.extend([record(t) for t in range(100)])
            one.sample(1)
            one.extend([record(t) for t in range(100, 103)])
        with monkeypatch.context() as patch:
            for cls, name in ((SumTree, "_set"), (Ranking, "_set"), (OrderTree, "_set"), (Forest, "_put")):
                patch.setattr(cls, name, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
            if not isinstance(sampler, Greedy):  # which sorts when it is asked for so many
                with pytest.raises(KeyboardInterrupt):
                    buffer.sampler.draw(50, np.random.default_rng(0))
        buffer.check()
        drawn = buffer.sample(2000).ids if not isinstance(sampler, Greedy) else buffer.sample(103).ids
        assert set(drawn.tolist()) == set(range(103)), sampler


def test_slots_that_a_foreign_sampler_makes_up_are_refused() -> None:
    class Foreign:
        def __init__(self, slots: list[int]) -> None:
            self.slots = slots

        def attach(self, table: Any, scope: Any = None) -> Any:
            return self

        def changed(self, slots: Any) -> None: ...

        def draw(self, n: int | None, rng: Any) -> Draw:
            slots = np.array(self.slots)[::-1]  # a view that does not lie side by side
            return Draw(slots, np.ones(len(slots)), np.ones(len(slots), np.float32))

    right = ReplayBuffer(4, sampler=Foreign([0, 2, 1]))
    right.extend([record(t) for t in range(4)])
    assert right.sample(3).ids.tolist() == [1, 2, 0]
    for wrong in ([4], [-1], [0, 2**40]):
        buffer = ReplayBuffer(4, sampler=Foreign(wrong))
        buffer.extend([record(t) for t in range(4)])
        with pytest.raises(UsageError, match="slots"):
            buffer.sample(1)
        assert buffer.state_dict()["times_sampled"].tolist() == [0] * 4


@pytest.mark.parametrize(
    "values", [np.ma.array([5.0], mask=[True]), np.ma.masked, ["3"], [True, None], [np.datetime64(3, "s")]]
)
def test_what_is_masked_or_no_number_is_no_priority(values: Any) -> None:
    buffer = ReplayBuffer(4)
    buffer.push(record(0))
    with pytest.raises(UsageError, match="- at `priorities`"):
        buffer.update_priorities([0], values)


def test_a_reward_that_gives_masked_costs_is_refused() -> None:
    unmeasured = BuildResult.from_dict(record(0).to_dict() | {"clock_cycles": None})
    with pytest.raises(UsageError, match="an unmeasured cost is no number - at `reward`"):
        ReplayBuffer(4, reward=lambda r: r.clock_cycles.astype(float)).extend([unmeasured])


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"sampler": Proportional}, "sampler"),
        ({"sampler": "uniform"}, "sampler"),
        ({"remover": Oldest}, "remover"),
        ({"reward": None}, "reward"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"vocabulary": ["add"]}, "vocabulary"),
    ],
)
def test_settings_that_are_none_are_refused_by_name(settings: Any, place: str) -> None:
    with pytest.raises(UsageError, match=f"- at `{place}`"):
        ReplayBuffer(4, **settings)


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
    with pytest.raises(UsageError, match="scale the priorities"):
        buffer.sample(1)


def test_nothing_to_draw_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(EmptyBufferError, match="push build results first"):
        ReplayBuffer(4, sampler=Proportional()).sample(1)


def test_results_of_no_records_change_nothing() -> None:
    buffer = ReplayBuffer(4)
    ids = buffer.extend(Results.concat([]))
    assert (ids.tolist(), len(buffer), buffer.update_priorities([], [])) == ([], 0, 0)
