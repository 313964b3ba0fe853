"""A buffer's state: what loads it goes on with the same draws, what does not fit is refused and changes nothing."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ostinato import BuildResult, DamageError, EmptyBufferError, ReplayBuffer, UsageError, Vocabulary
from ostinato.replay import (
    ByOutcome,
    Dedupe,
    Fifo,
    Fresh,
    Greedy,
    KeepBest,
    LeastUseful,
    Lifo,
    LinearSchedule,
    LowestPriority,
    Mixture,
    Oldest,
    PerProgram,
    Proportional,
    RankBased,
    RateLimiter,
    Reservoir,
    Uniform,
    Window,
)

SAMPLERS: dict[str, Any] = {
    "greedy": Greedy(),
    "uniform": Uniform(),
    "uniform without replacement": Uniform(replace=False),
    "fifo": Fifo(),
    "lifo": Lifo(),
    "proportional": Proportional(),
    "proportional plain": Proportional(alpha=1.0, stratified=False, normalize="largest"),
    "proportional without replacement": Proportional(replace=False),
    "proportional scheduled": Proportional(beta=LinearSchedule(0.1, 1.0, 40)),
    "rank based": RankBased(),
    "rank based scheduled": RankBased(beta=LinearSchedule(0.1, 1.0, 40), normalize="largest"),
    "per program": PerProgram(),
    "per program proportional": PerProgram(Proportional(), power=0.5),
    "by outcome": ByOutcome(valid=0.4, invalid=0.2, fallback=0.1, improved=0.3),
    "by outcome proportional": ByOutcome(valid=0.5, improved=0.5, inner=Proportional()),
    "fresh": Fresh(),
    "mixture": Mixture({Proportional(): 0.5, Uniform(): 0.25, Fifo(): 0.25}),
    "mixture of all that is fresh": Mixture({Fresh(): "all", Proportional(): 0.1, PerProgram(): 0.2}),
    "window": Window(Proportional(), within=2),
    "window with a decay": Window(Uniform(), within=3, decay=0.7),
    "window on ranks": Window(RankBased(), within=3, decay=0.9),
    "window on programs": Window(PerProgram(Proportional()), within=2, decay=0.5),
    "window at a version": Window(Greedy(), within=2, version=3),
    "mixture of windows": Mixture({Window(PerProgram(), within=1): 0.5, RankBased(): 0.5}),
}
REMOVERS: dict[str, Any] = {
    "lowest priority": LowestPriority(),
    "lowest priority, newest": LowestPriority("newest"),
    "oldest": Oldest(),
    "least useful": LeastUseful(),
    "reservoir": Reservoir(seed=5),
    "keep best, lowest": KeepBest(LowestPriority(), per_program=2),
    "keep best, oldest": KeepBest(Oldest()),
    "keep best, least useful": KeepBest(LeastUseful(), per_program=3),
    "keep best, reservoir": KeepBest(Reservoir(seed=2)),
}
LIMITS: dict[str, dict[str, Any]] = {
    "dedupe": {"dedupe": Dedupe()},
    "dedupe by program": {"dedupe": Dedupe(key=("tir_hash",))},
    "bytes": {"capacity_bytes": 4000},
    "age": {"max_age_s": 60},
    "times sampled": {"max_times_sampled": 2},
    "limiter": {"limiter": RateLimiter(4.0, min_size=3, tolerance=1000.0, timeout_s=0)},
    "all": {
        "dedupe": Dedupe(),
        "capacity_bytes": 4500,
        "max_age_s": 90,
        "max_times_sampled": 3,
        "limiter": RateLimiter(1.0, min_size=2, tolerance=60.0, timeout_s=0),
    },
}
SOME_SAMPLERS = [
    "proportional",
    "rank based",
    "per program proportional",
    "mixture of all that is fresh",
    "window",
]
SOME_REMOVERS = ["lowest priority", "oldest", "keep best, lowest", "keep best, least useful"]
WORDS = ["add", "mul", "push 1", "swap 3", "dup 0"]
CAPACITY = 37

every_sampler = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS.keys())
every_remover = pytest.mark.parametrize("remover", REMOVERS.values(), ids=REMOVERS.keys())
every_limit = pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS.keys())


def result(rng: np.random.Generator, step: int, kinds: int = 7) -> BuildResult:
    """Of few programs and lists, so that repeats come; of every outcome; newer in every step."""
    return BuildResult(
        tir_hash=bytes([int(rng.integers(kinds))]) * 32,
        generated_tasm=[WORDS[int(rng.integers(5))] for _ in range(int(rng.integers(3)))],
        valid=bool(rng.random() < 0.7),
        clock_cycles=None if rng.random() < 0.2 else int(rng.integers(1, 20)),
        compiler_cycles=10,
        fallback_used=bool(rng.random() < 0.2),
        timestamp=10 * step + int(rng.integers(10)),
        model_version=step // 3,
    )


def drawn(buffer: ReplayBuffer, n: int | None) -> Any:
    """All that a batch says, or that there was nothing."""
    try:
        batch = buffer.sample(n)
    except EmptyBufferError:
        return "empty"
    columns = ("ids", "tokens", "offsets", "priority", "probability", "weight", "times_sampled", "times_seen")
    ranges = batch.lowest_cycles.tolist(), batch.highest_cycles.tolist()
    return *(getattr(batch, name).tolist() for name in columns), *ranges, list(batch)


def knows_its_number(sampler: Any) -> bool:
    return isinstance(sampler, Fresh) or any(
        fraction == "all" for _, fraction in getattr(sampler, "parts", ())
    )


def work(buffer: ReplayBuffer, sampler: Any, steps: range, width: int = 9) -> list[Any]:
    """Push, draw, update and remove, as the step's number says; returns everything the buffer answered."""
    said: list[Any] = []
    for step in steps:
        rng = np.random.default_rng(step)
        given = [result(rng, step) for _ in range(int(rng.integers(1, width)))]
        if step % 4 == 0:
            said.append([buffer.push(one) for one in given])
        else:
            said.append(buffer.extend(given, rng.integers(0, 5, len(given)) / 4).tolist())
        said.append(
            drawn(buffer, None if step % 3 and knows_its_number(sampler) else int(rng.integers(1, 12)))
        )
        ids = buffer.ids()
        if len(ids):
            some = rng.choice(ids, 1 + len(ids) // 3)
            said.append(buffer.update_priorities(some, rng.integers(0, 6, len(some)) / 4))
        if step % 5 == 0:
            said.append(buffer.remove(rng.integers(0, int(ids[-1]) + 2 if len(ids) else 2, 3)))
    return [*said, facts(buffer)]


def facts(buffer: ReplayBuffer) -> Any:
    ids = buffer.ids()
    answers = buffer.priorities(ids).tolist(), list(buffer), buffer.stats(), buffer.conflicts().tolist()
    return ids.tolist(), *answers, buffer.valid_count()


def same(state: dict[str, Any], other: dict[str, Any]) -> bool:
    return state.keys() == other.keys() and all(np.array_equal(state[k], other[k]) for k in state)


def work_of_both(
    make: Callable[[int], ReplayBuffer], sampler: Any, *, before: int = 9, after: int = 5
) -> Any:
    """What a buffer and one that loaded its state answer from then on."""
    buffer, restored = make(1), make(2)
    work(buffer, sampler, range(before))
    restored.load_state_dict(buffer.state_dict())
    steps = range(before, before + after)
    return work(restored, sampler, steps), work(buffer, sampler, steps)


# --- the same draws -----------------------------------------------------------------------------------------


@every_remover
@every_sampler
def test_a_restored_buffer_goes_on_with_the_same_draws(sampler: Any, remover: Any) -> None:
    restored, original = work_of_both(
        lambda seed: ReplayBuffer(CAPACITY, sampler=sampler, remover=remover, seed=seed), sampler
    )
    assert restored == original


@every_limit
@pytest.mark.parametrize("remover", SOME_REMOVERS)
@pytest.mark.parametrize("sampler", SOME_SAMPLERS)
def test_a_restored_buffer_with_limits_goes_on_with_the_same_draws(
    sampler: str, remover: str, limits: dict[str, Any]
) -> None:
    rules = {"sampler": SAMPLERS[sampler], "remover": REMOVERS[remover]}
    restored, original = work_of_both(
        lambda seed: ReplayBuffer(CAPACITY, seed=seed, **rules, **limits), SAMPLERS[sampler]
    )
    assert restored == original


@every_sampler
def test_a_restored_buffer_with_room_to_grow_goes_on_with_the_same_draws(sampler: Any) -> None:
    """The old buffer's arrays have doubled, the new one's are as large as they must be."""
    old, new = (ReplayBuffer(100_000, sampler=sampler, seed=seed) for seed in (1, 2))
    rng = np.random.default_rng(7)
    for step in range(5):
        given = [result(rng, step, kinds=120) for _ in range(300)]
        ids = old.extend(given, rng.random(300))
        drawn(old, 20)
        old.update_priorities(ids[::7], rng.random(len(ids[::7])))
        old.remove(ids[::11])
    new.load_state_dict(old.state_dict())
    steps = range(5, 7)
    assert work(new, sampler, steps, width=400) == work(old, sampler, steps, width=400)
    new.check()


@every_sampler
def test_a_buffer_restored_before_its_first_record_goes_on_with_the_same_draws(sampler: Any) -> None:
    restored, original = work_of_both(
        lambda seed: ReplayBuffer(5, sampler=sampler, seed=seed), sampler, before=0
    )
    assert restored == original


@every_sampler
def test_a_buffer_restored_when_all_records_have_left_goes_on_with_the_same_draws(sampler: Any) -> None:
    old, new = (ReplayBuffer(CAPACITY, sampler=sampler, seed=seed) for seed in (1, 2))
    work(old, sampler, range(8))
    old.remove(old.ids())
    new.load_state_dict(old.state_dict())
    assert work(new, sampler, range(8, 11)) == work(old, sampler, range(8, 11))


@every_sampler
def test_a_buffer_restored_after_every_step_draws_as_one_that_never_was(sampler: Any) -> None:
    plain = ReplayBuffer(CAPACITY, sampler=sampler, seed=1)
    carried = ReplayBuffer(CAPACITY, sampler=sampler, seed=1)
    for step in range(7):
        expected = work(plain, sampler, range(step, step + 1))
        fresh = ReplayBuffer(CAPACITY, sampler=sampler, seed=99)
        fresh.load_state_dict(carried.state_dict())
        carried = fresh
        assert work(carried, sampler, range(step, step + 1)) == expected


@every_sampler
def test_every_invariant_holds_after_a_restore_and_what_follows(sampler: Any) -> None:
    old, new = (ReplayBuffer(CAPACITY, sampler=sampler, seed=seed) for seed in (1, 2))
    work(old, sampler, range(9))
    new.load_state_dict(old.state_dict())
    new.check()
    rng = np.random.default_rng(1)
    new.extend([result(rng, 9) for _ in range(20)])
    new.check()


@every_sampler
def test_asking_for_the_state_changes_no_draw(sampler: Any) -> None:
    asked, plain = (ReplayBuffer(CAPACITY, sampler=sampler, seed=1) for _ in range(2))
    for step in range(7):
        asked.state_dict()
        steps = range(step, step + 1)
        assert work(asked, sampler, steps) == work(plain, sampler, steps)


@every_sampler
def test_what_was_in_the_buffer_before_is_forgotten(sampler: Any) -> None:
    old, used = (ReplayBuffer(CAPACITY, sampler=sampler, seed=seed) for seed in (1, 2))
    work(old, sampler, range(9))
    work(used, sampler, range(20, 34))
    used.load_state_dict(old.state_dict())
    ours, theirs = work(used, sampler, range(9, 15)), work(old, sampler, range(9, 15))
    # words that were there before have kept their numbers
    assert [without_tokens(said) for said in ours] == [without_tokens(said) for said in theirs]


def without_tokens(said: Any) -> Any:
    return (said[0], *said[2:]) if isinstance(said, tuple) and len(said) == 11 else said


def test_single_pushes_that_wait_are_in_the_state() -> None:
    old, new = ReplayBuffer(9, seed=1), ReplayBuffer(9, seed=2)
    rng = np.random.default_rng(1)
    pushed = [result(rng, step) for step in range(5)]
    for one in pushed:
        old.push(one)
    new.load_state_dict(old.state_dict())
    assert list(new) == pushed


def test_single_pushes_that_wait_when_a_state_is_loaded_are_forgotten() -> None:
    old, new = ReplayBuffer(9, seed=1), ReplayBuffer(9, seed=2)
    new.push(result(np.random.default_rng(1), 1))
    new.load_state_dict(old.state_dict())
    assert (list(new), new.stats().pushed) == ([], 0)


def test_ids_are_not_used_again_after_a_restore() -> None:
    old, new = (ReplayBuffer(4, remover=Oldest()) for _ in range(2))
    rng = np.random.default_rng(1)
    old.extend([result(rng, 0) for _ in range(9)])
    old.remove([8, 7, 6, 5])
    new.load_state_dict(old.state_dict())
    assert new.push(result(rng, 1)) == 9


def test_an_update_that_was_late_before_is_late_after() -> None:
    old, new = (ReplayBuffer(4, remover=Oldest()) for _ in range(2))
    rng = np.random.default_rng(1)
    old.extend([result(rng, 0) for _ in range(9)])
    new.load_state_dict(old.state_dict())
    assert (new.update_priorities([0, 4, 5], [1.0, 2.0, 3.0]), new.stats().late_updates) == (1, 2)


def test_the_cursor_of_fresh_is_restored() -> None:
    old, new = (ReplayBuffer(20, sampler=Fresh()) for _ in range(2))
    rng = np.random.default_rng(1)
    old.extend([result(rng, 0) for _ in range(9)])
    old.sample(4)
    new.load_state_dict(old.state_dict())
    assert new.sample().ids.tolist() == [4, 5, 6, 7, 8]


def test_a_cursor_that_was_set_by_hand_is_restored() -> None:
    old, new = (ReplayBuffer(20, sampler=Fresh()) for _ in range(2))
    rng = np.random.default_rng(1)
    old.extend([result(rng, 0) for _ in range(9)])
    old.sampler.cursor = 7
    new.load_state_dict(old.state_dict())
    assert (new.sampler.cursor, new.sample().ids.tolist()) == (7, [7, 8])


def test_a_window_that_was_moved_is_restored_where_it_was() -> None:
    old, new = (ReplayBuffer(60, sampler=Window(Greedy(), within=0)) for _ in range(2))
    rng = np.random.default_rng(1)
    old.extend([result(rng, step) for step in range(30)])
    old.sampler.version = 4
    new.load_state_dict(old.state_dict())
    assert (new.sampler.version, set(new.sample(9).model_version.tolist())) == (4, {4})


def test_the_counts_of_the_limiter_are_restored() -> None:
    limiter = RateLimiter(1.0, min_size=1, tolerance=4.0, timeout_s=0)
    old, new = (ReplayBuffer(60, sampler=Uniform(), limiter=limiter, seed=1) for _ in range(2))
    rng = np.random.default_rng(1)
    old.extend([result(rng, 0) for _ in range(5)])  # ahead is 4, the most there may be
    new.load_state_dict(old.state_dict())
    with pytest.raises(Exception, match="1 more records drawn"):
        new.push(result(rng, 1))


def test_the_words_of_a_vocabulary_that_maps_unknown_ones_are_restored() -> None:
    old, new = (ReplayBuffer(9, vocabulary=Vocabulary(["<unknown>", "add"], unknown=0)) for _ in range(2))
    rng = np.random.default_rng(4)
    given = [result(rng, 0) for _ in range(8)]
    old.extend(given)
    new.load_state_dict(old.state_dict())
    assert (list(new), new.sample(8).tokens.tolist()) == (given, old.sample(8).tokens.tolist())


def test_timestamps_of_the_largest_number_are_restored_under_a_limit_of_age() -> None:
    old, new = (ReplayBuffer(9, max_age_s=5) for _ in range(2))
    newest = BuildResult.from_dict(result(np.random.default_rng(1), 1).to_dict() | {"timestamp": 2**64 - 1})
    old.push(newest)
    new.load_state_dict(old.state_dict())
    assert list(new) == [newest]


# --- what a state is ----------------------------------------------------------------------------------------


def busy(sampler: str = "mixture", remover: str = "lowest priority", **limits: Any) -> ReplayBuffer:
    buffer = ReplayBuffer(CAPACITY, sampler=SAMPLERS[sampler], remover=REMOVERS[remover], seed=1, **limits)
    work(buffer, SAMPLERS[sampler], range(10))
    return buffer


@every_sampler
def test_a_state_holds_arrays_and_no_python_objects(sampler: Any) -> None:
    buffer = ReplayBuffer(CAPACITY, sampler=sampler)
    work(buffer, sampler, range(6))
    kinds = {(type(array), array.dtype.hasobject) for array in buffer.state_dict().values()}
    assert kinds == {(np.ndarray, False)}


def test_a_state_goes_through_numpys_own_file_without_pickle() -> None:
    mixture = SAMPLERS["mixture"]
    buffer, restored = busy(**LIMITS["all"]), ReplayBuffer(CAPACITY, sampler=mixture, **LIMITS["all"])
    file = io.BytesIO()
    np.savez(file, **buffer.state_dict())
    file.seek(0)
    with np.load(file, allow_pickle=False) as loaded:
        restored.load_state_dict(dict(loaded))
    assert work(restored, mixture, range(10, 15)) == work(buffer, mixture, range(10, 15))


def test_a_state_does_not_change_when_the_buffer_does() -> None:
    buffer = busy("per program proportional", "keep best, lowest", dedupe=Dedupe())
    state = buffer.state_dict()
    before = {name: array.copy() for name, array in state.items()}
    work(buffer, SAMPLERS["per program proportional"], range(10, 20))
    assert same(state, before)


def test_a_buffer_does_not_change_when_the_state_that_it_loaded_does() -> None:
    state = busy("per program proportional", "keep best, lowest", dedupe=Dedupe()).state_dict()
    restored, untouched = (
        ReplayBuffer(
            CAPACITY, sampler=SAMPLERS["per program proportional"], remover=REMOVERS["keep best, lowest"],
            dedupe=Dedupe(),
        )
        for _ in range(2)
    )  # fmt: skip
    untouched.load_state_dict({name: array.copy() for name, array in state.items()})
    restored.load_state_dict(state)
    for array in state.values():
        array[...] = 0
    steps = range(10, 16)
    sampler = SAMPLERS["per program proportional"]
    assert work(restored, sampler, steps) == work(untouched, sampler, steps)


# --- refused, and nothing changes ---------------------------------------------------------------------------


OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "capacity": ({}, {"capacity": CAPACITY + 1}),
    "sampler": ({"sampler": Uniform()}, {"sampler": Proportional()}),
    "inner sampler": ({"sampler": Window(Uniform(), 2)}, {"sampler": Window(Proportional(), 2)}),
    "parts": ({"sampler": Mixture({Uniform(): 0.5, Fifo(): 0.5})}, {"sampler": Mixture({Uniform(): 1.0})}),
    "order of parts": (
        {"sampler": Mixture({Uniform(): 0.5, Fresh(): 0.5})},
        {"sampler": Mixture({Fresh(): 0.5, Uniform(): 0.5})},
    ),
    "remover": ({"remover": Oldest()}, {"remover": LowestPriority()}),
    "inner remover": ({"remover": KeepBest(Oldest())}, {"remover": KeepBest(LowestPriority())}),
    "protection": ({"remover": KeepBest(Oldest())}, {"remover": Oldest()}),
    "bytes": ({"capacity_bytes": 10_000}, {"capacity_bytes": 10_001}),
    "no bytes": ({"capacity_bytes": 10_000}, {}),
    "age": ({"max_age_s": 10}, {"max_age_s": 11}),
    "times sampled": ({"max_times_sampled": 3}, {"max_times_sampled": 4}),
    "dedupe": ({"dedupe": Dedupe()}, {}),
    "no dedupe": ({}, {"dedupe": Dedupe()}),
    "key": ({"dedupe": Dedupe()}, {"dedupe": Dedupe(("tir_hash",))}),
    "limiter": ({"limiter": RateLimiter(2.0)}, {}),
    "no limiter": ({}, {"limiter": RateLimiter(2.0)}),
}
# A sampler is its settings, so that another number makes another sampler.
OTHER_NUMBERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "alpha": ({"sampler": Proportional(0.6)}, {"sampler": Proportional(0.7)}),
    "replacement": ({"sampler": Uniform()}, {"sampler": Uniform(replace=False)}),
    "power": ({"sampler": PerProgram()}, {"sampler": PerProgram(power=1.0)}),
    "within": ({"sampler": Window(Uniform(), 2)}, {"sampler": Window(Uniform(), 3)}),
    "decay": ({"sampler": Window(Uniform(), 2)}, {"sampler": Window(Uniform(), 2, decay=0.5)}),
    "quotas": ({"sampler": ByOutcome(valid=1.0)}, {"sampler": ByOutcome(invalid=1.0)}),
    "fractions": (
        {"sampler": Mixture({Uniform(): 0.5, Fifo(): 0.5})},
        {"sampler": Mixture({Uniform(): 0.9, Fifo(): 0.1})},
    ),
    "ties": ({"remover": LowestPriority()}, {"remover": LowestPriority("newest")}),
    "random numbers of the reservoir": ({"remover": Reservoir(1)}, {"remover": Reservoir(2)}),
    "per program": ({"remover": KeepBest(Oldest(), 1)}, {"remover": KeepBest(Oldest(), 2)}),
    "rate": ({"limiter": RateLimiter(2.0)}, {"limiter": RateLimiter(3.0)}),
}


def pair(settings: tuple[dict[str, Any], dict[str, Any]]) -> tuple[ReplayBuffer, ReplayBuffer]:
    ours, theirs = (ReplayBuffer(**{"capacity": CAPACITY, "seed": 3, **given}) for given in settings)
    for buffer in (ours, theirs):
        rng = np.random.default_rng(1)
        buffer.extend([result(rng, step) for step in range(20)])
        buffer.sample(3)
    return ours, theirs


@pytest.mark.parametrize("settings", OTHERS.values(), ids=OTHERS.keys())
def test_a_state_of_a_buffer_with_other_settings_is_refused(settings: Any) -> None:
    ours, theirs = pair(settings)
    with pytest.raises(UsageError, match="- at `state`"):
        ours.load_state_dict(theirs.state_dict())


@pytest.mark.parametrize("settings", OTHER_NUMBERS.values(), ids=OTHER_NUMBERS.keys())
def test_a_state_of_a_buffer_with_other_numbers_in_its_settings_is_refused(settings: Any) -> None:
    ours, theirs = pair(settings)
    with pytest.raises(UsageError, match="- at `state`"):
        ours.load_state_dict(theirs.state_dict())


@pytest.mark.parametrize("settings", OTHERS.values(), ids=OTHERS.keys())
def test_a_state_that_does_not_fit_leaves_the_buffer_as_it_was(settings: Any) -> None:
    ours, theirs = pair(settings)
    before, rest = ours.state_dict(), facts(ours)
    with pytest.raises(UsageError):
        ours.load_state_dict(theirs.state_dict())
    assert (same(ours.state_dict(), before), facts(ours)) == (True, rest)


def test_the_refusal_says_both_settings() -> None:
    with pytest.raises(UsageError, match=r"37.*38"):
        ReplayBuffer(38).load_state_dict(ReplayBuffer(37).state_dict())


def test_no_arrays_at_all_are_no_state() -> None:
    with pytest.raises(DamageError, match="`settings`"):
        ReplayBuffer(4).load_state_dict({})


# Each of these has arrays that those before it have not.
DAMAGED: dict[str, dict[str, Any]] = {
    "mixture": {"sampler": "mixture of all that is fresh", **LIMITS["all"]},
    "window on programs": {"sampler": "window on programs"},
    "outcomes": {"sampler": "by outcome"},
    "fresh": {"sampler": "fresh"},
}
STATES = {kind: busy(**settings).state_dict() for kind, settings in DAMAGED.items()}
KIND_OF = {name: kind for kind in reversed(STATES) for name in STATES[kind]}


def swapped(array: np.ndarray[Any, Any]) -> Any:
    return array.astype(array.dtype.newbyteorder(">")) if array.itemsize > 1 else array.view("i1")


WAYS: dict[str, Callable[[Any], Any]] = {
    "missing": lambda array: None,
    "floats": lambda array: array.astype(np.float32),
    "narrower": lambda array: array.astype(np.int16),
    "of another byte order or sign": swapped,
    "strings": lambda array: np.full(array.shape, "x"),
    "objects": lambda array: array.astype(object),
    "of one dimension more": lambda array: array[..., None],
    "longer": lambda array: np.concatenate([np.atleast_1d(array), np.atleast_1d(array)]),
    "a list": lambda array: array.tolist(),
}


@pytest.mark.parametrize(
    ("name", "way"),
    [(name, way) for name in KIND_OF for way in WAYS if (name, way) != ("conflicts", "longer")],
)
def test_an_array_that_is_not_what_it_should_be_is_damage(name: str, way: str) -> None:
    state = dict(STATES[KIND_OF[name]])
    state[name] = WAYS[way](state[name])
    if state[name] is None:
        del state[name]
    buffer = unused(KIND_OF[name])
    with pytest.raises(DamageError):
        buffer.load_state_dict(state)


def unused(kind: str) -> ReplayBuffer:
    settings = {"remover": "lowest priority", **DAMAGED[kind]}
    rules = {"sampler": SAMPLERS[settings.pop("sampler")], "remover": REMOVERS[settings.pop("remover")]}
    return ReplayBuffer(CAPACITY, **rules, **settings)


@pytest.mark.parametrize("name", KIND_OF)
def test_a_state_without_one_of_its_arrays_leaves_the_buffer_as_it_was(name: str) -> None:
    kind = KIND_OF[name]
    buffer = busy(**DAMAGED[kind])
    before = buffer.state_dict()
    with pytest.raises((DamageError, KeyError)):  # which of them is the test above's
        buffer.load_state_dict({key: array for key, array in STATES[kind].items() if key != name})
    assert same(buffer.state_dict(), before)


def test_a_state_that_is_refused_late_leaves_the_vocabulary_as_it_was() -> None:
    other = ReplayBuffer(4, sampler=Fresh())
    other.push(
        BuildResult.from_dict(result(np.random.default_rng(1), 1).to_dict() | {"generated_tasm": ["new"]})
    )
    state = other.state_dict() | {"sampler.cursor": np.array("x")}
    buffer = ReplayBuffer(4, sampler=Fresh())
    with pytest.raises((DamageError, ValueError)):
        buffer.load_state_dict(state)
    assert list(buffer.vocabulary) == []
