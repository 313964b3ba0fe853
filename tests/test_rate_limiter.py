"""RateLimiter: who is too far ahead waits, is woken when it may go on, and is told what is missing when it may not."""

from __future__ import annotations

import pickle
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from ostinato import (
    BuildResult,
    DamageError,
    EmptyBufferError,
    RateLimitError,
    ReplayBuffer,
    UsageError,
    archive,
)
from ostinato.replay import Dedupe, Fifo, Fresh, Greedy, Mixture, Oldest, Proportional, RateLimiter, Uniform
from record_helpers import record

PATIENCE_S = 30  # only so that a failing test ends
INFINITE = float("inf")


def many(count: int) -> list[BuildResult]:
    return [record(timestamp=i) for i in range(count)]


def limited(limiter: RateLimiter, **other: Any) -> ReplayBuffer:
    other = {"capacity": 1000, "sampler": Uniform(), "seed": 1, **other}
    return ReplayBuffer(limiter=limiter, **other)


def at_once(per_insert: float, min_size: int = 1, tolerance: float = INFINITE, **other: Any) -> ReplayBuffer:
    """A buffer whose calls do not wait."""
    return limited(RateLimiter(per_insert, min_size, tolerance, timeout_s=0), **other)


def allowed(call: Callable[[], Any]) -> bool:
    try:
        call()
    except RateLimitError:
        return False
    return True


# --- the rule -----------------------------------------------------------------------------------------------


@given(
    per_insert=st.sampled_from([0.25, 0.5, 1.0, 3.0, 8.0]),
    min_size=st.integers(1, 6),
    tolerance=st.sampled_from([4.0, 10.0, 16.5, INFINITE]),
    calls=st.lists(st.tuples(st.sampled_from(["push", "draw", "extend"]), st.integers(1, 4)), max_size=60),
)
@settings(max_examples=120, deadline=None)
def test_calls_are_allowed_by_the_rule_of_the_docstring(
    per_insert: float, min_size: int, tolerance: float, calls: list[tuple[str, int]]
) -> None:
    buffer = at_once(per_insert, min_size, tolerance)
    inserted = sampled = 0
    for kind, n in calls:
        ahead = per_insert * (inserted - min_size) - sampled
        if kind == "draw":
            if n > 2 * tolerance:
                continue
            expected = inserted >= min_size and ahead - n >= -tolerance
            assert allowed(lambda n=n: buffer.sample(n)) == expected
            sampled += n * expected
            continue
        m = 1 if kind == "push" else n
        if per_insert * m > 2 * tolerance or inserted < min_size < inserted + m:
            continue  # what can never be, and what the docstring leaves open
        expected = inserted + m <= min_size or ahead + per_insert * m <= tolerance
        new = many(m)
        assert (
            allowed(lambda kind=kind, new=new: buffer.push(new[0]) if kind == "push" else buffer.extend(new))
            == expected
        )
        inserted += m * expected
    assert (buffer.stats().pushed, buffer.stats().sampled) == (inserted, sampled)


@pytest.mark.parametrize("per_insert", [0.5, 1.0, 2.0, 7.0])
def test_over_time_so_many_are_drawn_for_each_that_comes(per_insert: float) -> None:
    """Whoever may go first does, as far as it may, turn by turn."""
    buffer = at_once(per_insert, 5, 20.0)
    for _ in range(400):
        while allowed(lambda: buffer.push(record())):
            pass
        while allowed(lambda: buffer.sample(3)):
            pass
        if buffer.stats().pushed > 900:
            break
    stats = buffer.stats()
    assert abs(stats.sampled - per_insert * (stats.pushed - 5)) <= 20.0


@pytest.mark.parametrize("min_size", [1, 2, 50])
def test_nothing_is_drawn_before_there_are_enough(min_size: int) -> None:
    buffer = at_once(4.0, min_size)
    for _ in range(min_size - 1):
        buffer.push(record())
    before = allowed(lambda: buffer.sample(1))
    buffer.push(record())
    assert (before, allowed(lambda: buffer.sample(1))) == (False, True)


@pytest.mark.parametrize("min_size", [1, 2, 50])
def test_records_come_freely_until_there_are_enough(min_size: int) -> None:
    buffer = at_once(1000.0, min_size, 500.0)
    assert [allowed(lambda: buffer.push(record())) for _ in range(min_size + 1)] == [True] * min_size + [
        False
    ]


def test_without_a_tolerance_only_the_size_counts() -> None:
    buffer = at_once(1.0, 2)
    buffer.extend(many(2))
    assert [len(buffer.sample(100)) for _ in range(20)] == [100] * 20


def test_removed_records_count_as_missing_again() -> None:
    buffer = at_once(1.0, 3)
    ids = buffer.extend(many(3))
    buffer.remove(ids[:1])
    with pytest.raises(RateLimitError, match="1 more records of the 3"):
        buffer.sample(1)


def test_records_that_a_full_buffer_pushed_out_count_as_inserted() -> None:
    buffer = at_once(1.0, 1, 3.0, capacity=2, remover=Oldest())
    accepted = [allowed(lambda: buffer.push(record())) for _ in range(6)]
    assert accepted == [True] * 4 + [False] * 2


def test_a_repeat_that_is_merged_counts_as_inserted() -> None:
    buffer = at_once(1.0, 1, 3.0, dedupe=Dedupe())
    assert [allowed(lambda: buffer.push(record())) for _ in range(6)] == [True] * 4 + [False] * 2


def test_a_record_drawn_twice_in_a_batch_counts_twice() -> None:
    buffer = at_once(1.0, 1, 3.0)
    buffer.push(record())
    assert [allowed(lambda: buffer.sample(2)) for _ in range(3)] == [True, False, False]


def test_of_a_batch_that_is_shorter_than_asked_for_only_what_came_counts() -> None:
    buffer = at_once(1.0, 1, 3.0, sampler=Greedy())
    buffer.push(record())
    assert [len(buffer.sample(2)) for _ in range(2)] == [1, 1]


def test_a_sampler_that_knows_its_number_counts_what_it_gave() -> None:
    buffer = at_once(1.0, 1, 3.0, sampler=Fresh())
    buffer.extend(many(4))
    buffer.sample()
    assert [allowed(lambda: buffer.push(record())) for _ in range(5)] == [True] * 4 + [False]


def test_a_batch_that_is_larger_than_the_tolerance_ever_allows_is_a_mistake() -> None:
    buffer = at_once(1.0, 1, 4.0)
    buffer.extend(many(4))
    with pytest.raises(UsageError, match=r"tolerance of 4\.5, not 4 - at `n`"):
        buffer.sample(9)


def test_a_batch_of_twice_the_tolerance_can_be_drawn() -> None:
    buffer = at_once(1.0, 1, 4.0)
    buffer.extend(many(5))
    assert len(buffer.sample(8)) == 8


def test_more_records_than_the_tolerance_ever_allows_are_a_mistake() -> None:
    buffer = at_once(2.0, 1, 4.0)
    buffer.push(record())
    with pytest.raises(UsageError, match="4 at most - at `results`"):
        buffer.extend(many(5))


def test_a_generator_of_records_is_waited_with_as_one() -> None:
    buffer = at_once(1.0, 1, 4.0)
    buffer.push(record())
    assert [allowed(lambda: buffer.extend(one for one in many(3))) for _ in range(2)] == [True, False]


# --- a call that failed has done nothing --------------------------------------------------------------------


def facts(buffer: ReplayBuffer) -> Any:
    state = buffer.state_dict()
    return {name: array.tolist() for name, array in state.items()}, buffer.stats()


@pytest.mark.parametrize(
    "call",
    [
        lambda buffer: buffer.push(record()),
        lambda buffer: buffer.extend(many(2)),
        lambda buffer: buffer.extend(many(2), [1.0, 2.0]),
    ],
    ids=["push", "extend", "extend with priorities"],
)
def test_a_refused_record_changes_nothing(call: Callable[[ReplayBuffer], Any]) -> None:
    buffer = at_once(1.0, 1, 3.0)
    buffer.extend(many(4))
    before = facts(buffer)
    with pytest.raises(RateLimitError):
        call(buffer)
    assert facts(buffer) == before


@pytest.mark.parametrize(
    "sampler", [Uniform(), Proportional(), Fresh(), Mixture({Fifo(): 0.5, Uniform(): 0.5})], ids=repr
)
def test_a_refused_draw_changes_nothing(sampler: Any) -> None:
    buffer = at_once(1.0, 3, 3.0, sampler=sampler)
    buffer.extend(many(2))
    before = facts(buffer)
    with pytest.raises(RateLimitError):
        buffer.sample(1)
    assert facts(buffer) == before


def test_a_draw_that_found_nothing_is_not_counted() -> None:
    buffer = at_once(1.0, 1, 3.0, sampler=Proportional())
    ids = buffer.extend(many(1), [0.0])
    for _ in range(10):
        with pytest.raises(EmptyBufferError):
            buffer.sample(2)
    buffer.update_priorities(ids, [1.0])
    assert len(buffer.sample(3)) == 3


@pytest.mark.parametrize("bad", [[np.nan] * 3, [1.0, 2.0], [-1.0] * 3])
def test_records_with_bad_priorities_are_not_counted(bad: list[float]) -> None:
    buffer = at_once(1.0, 1, 3.0)
    for _ in range(5):
        with pytest.raises(UsageError):
            buffer.extend(many(3), bad)
    assert buffer.state_dict()["limiter"].tolist() == [0, 0]


def test_a_record_that_is_none_is_not_counted() -> None:
    buffer = at_once(1.0, 1, 3.0)
    with pytest.raises(UsageError):
        buffer.push("record")  # type: ignore[arg-type]
    assert buffer.state_dict()["limiter"].tolist() == [0, 0]


def test_a_damaged_archive_is_not_counted() -> None:
    word = "DAMAGED instruction, long enough"
    raw = bytearray(archive.dumps([record(generated_tasm=[word])] * 3))
    raw[raw.index(b"DAMAGED")] = 255
    buffer = at_once(1.0, 1, 3.0)
    with pytest.raises(DamageError):
        buffer.extend(archive.loads(bytes(raw), validate=False))
    assert buffer.state_dict()["limiter"].tolist() == [0, 0]


# --- what the error says ------------------------------------------------------------------------------------


def message(call: Callable[[], Any]) -> str:
    with pytest.raises(RateLimitError) as caught:
        call()
    return str(caught.value)


def test_a_draw_too_early_says_how_many_records_are_missing() -> None:
    buffer = at_once(1.0, 10)
    buffer.extend(many(3))
    assert (
        message(lambda: buffer.sample(1)) == "waited 0 s for 7 more records of the 10 before the first draw"
    )


@pytest.mark.parametrize(("per_insert", "n"), [(1.0, 6), (0.5, 6), (2.5, 6), (4.0, 1)])
def test_as_many_records_as_the_error_of_a_draw_says_are_enough_and_one_less_is_not(
    per_insert: float, n: int
) -> None:
    buffer = at_once(per_insert, 1, 8.0)
    buffer.push(record())
    while allowed(lambda: buffer.sample(n)):
        pass
    missing = int(re.search(r"for (\d+) more records pushed", message(lambda: buffer.sample(n)))[1])
    for _ in range(missing - 1):
        buffer.push(record())
    before = allowed(lambda: buffer.sample(n))
    buffer.push(record())
    assert (before, allowed(lambda: buffer.sample(n))) == (False, True)


@pytest.mark.parametrize(("per_insert", "m"), [(1.0, 3), (2.5, 1), (3.0, 2), (0.25, 4)])
def test_as_many_draws_as_the_error_of_a_push_says_are_enough_and_one_less_is_not(
    per_insert: float, m: int
) -> None:
    buffer = at_once(per_insert, 1, 8.0)
    buffer.push(record())
    while allowed(lambda: buffer.extend(many(m))):
        pass
    missing = int(re.search(r"for (\d+) more records drawn", message(lambda: buffer.extend(many(m))))[1])
    for _ in range(missing - 1):
        buffer.sample(1)
    before = allowed(lambda: buffer.extend(many(m)))
    buffer.sample(1)
    assert (before, allowed(lambda: buffer.extend(many(m)))) == (False, True)


def test_the_error_says_how_many_came_and_were_drawn() -> None:
    buffer = at_once(2.0, 1, 4.0)
    buffer.extend(many(3))
    buffer.sample(2)
    buffer.sample(6)
    assert re.search(r"\b3 came and 8 were drawn, at 2 draws for each", message(lambda: buffer.sample(1)))


def test_the_error_says_how_long_was_waited() -> None:
    buffer = limited(RateLimiter(1.0, 5, timeout_s=0.01))
    assert message(lambda: buffer.sample(1)).startswith("waited 0.01 s for 5 more records")


def test_the_error_goes_from_process_to_process() -> None:
    buffer = at_once(1.0, 5)
    with pytest.raises(RateLimitError) as caught:
        buffer.sample(1)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


# --- settings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"samples_per_insert": 0}, "samples_per_insert"),
        ({"samples_per_insert": -1.0}, "samples_per_insert"),
        ({"samples_per_insert": float("nan")}, "samples_per_insert"),
        ({"samples_per_insert": INFINITE}, "samples_per_insert"),
        ({"samples_per_insert": "2"}, "samples_per_insert"),
        ({"samples_per_insert": True}, "samples_per_insert"),
        ({"min_size": 0}, "min_size"),
        ({"min_size": 1.5}, "min_size"),
        ({"min_size": True}, "min_size"),
        ({"tolerance": 0}, "tolerance"),
        ({"tolerance": float("nan")}, "tolerance"),
        ({"timeout_s": -1}, "timeout_s"),
        ({"timeout_s": None}, "timeout_s"),
        ({"timeout_s": float("nan")}, "timeout_s"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(settings: dict[str, Any], place: str) -> None:
    with pytest.raises(UsageError, match=f"- at `{place}`"):
        RateLimiter(**{"samples_per_insert": 1.0, **settings})


@pytest.mark.parametrize("limiter", [RateLimiter, 4.0, {"samples_per_insert": 4.0}])
def test_what_is_no_limiter_is_refused(limiter: Any) -> None:
    with pytest.raises(UsageError, match="- at `limiter`"):
        ReplayBuffer(4, limiter=limiter)


def test_numbers_of_numpy_are_numbers() -> None:
    limiter = RateLimiter(np.float32(2.0), np.int64(3), np.float64(8.0), np.int32(0))
    buffer = limited(limiter)
    buffer.extend(many(3))
    assert len(buffer.sample(8)) == 8


@pytest.mark.parametrize("timeout_s", [1e12, INFINITE])
def test_a_timeout_longer_than_the_system_counts_is_a_long_one(timeout_s: float) -> None:
    buffer = limited(RateLimiter(1.0, 1, timeout_s=timeout_s))
    sampler = in_thread(lambda: buffer.sample(1))
    until_waiting(buffer)
    buffer.push(record())
    assert len(sampler()) == 1


# --- threads ------------------------------------------------------------------------------------------------


def in_thread(call: Callable[[], Any]) -> Callable[[], Any]:
    """Start it; what is returned waits for its end and gives its result, or raises its error."""
    ended: list[tuple[bool, Any]] = []

    def run() -> None:
        try:
            ended.append((True, call()))
        except BaseException as error:
            ended.append((False, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def result() -> Any:
        thread.join(PATIENCE_S)
        assert ended, "the call has not returned"
        good, value = ended[0]
        if not good:
            raise value
        return value

    return result


def until_waiting(buffer: ReplayBuffer, count: int = 1) -> None:
    """Come back when so many threads wait for the limiter."""
    end = time.monotonic() + PATIENCE_S
    while len(buffer._balanced._waiters) < count:  # the list of threading.Condition
        assert time.monotonic() < end, "nobody waits"
        time.sleep(0.001)


def patient(per_insert: float, min_size: int = 1, tolerance: float = INFINITE, **other: Any) -> ReplayBuffer:
    """A buffer whose calls wait as long as it takes."""
    return limited(RateLimiter(per_insert, min_size, tolerance, timeout_s=PATIENCE_S), **other)


def test_a_waiting_draw_goes_on_when_enough_have_come() -> None:
    buffer = patient(1.0, 3)
    drawn = in_thread(lambda: buffer.sample(5))
    until_waiting(buffer)
    buffer.extend(many(3))
    assert len(drawn()) == 5


def test_a_waiting_draw_goes_on_when_single_pushes_are_enough() -> None:
    buffer = patient(1.0, 3)
    drawn = in_thread(lambda: buffer.sample(5))
    until_waiting(buffer)
    for one in many(3):
        buffer.push(one)
    assert sorted(set(drawn().ids.tolist())) <= [0, 1, 2]


def test_a_waiting_push_goes_on_when_enough_were_drawn() -> None:
    buffer = patient(1.0, 1, 4.0)
    buffer.extend(many(5))
    pushed = in_thread(lambda: buffer.push(record()))
    until_waiting(buffer)
    buffer.sample(1)
    assert pushed() == 5


def test_a_waiting_extend_goes_on_when_enough_were_drawn() -> None:
    buffer = patient(1.0, 1, 4.0)
    buffer.extend(many(5))
    extended = in_thread(lambda: buffer.extend(many(4)))
    until_waiting(buffer)
    buffer.sample(2)
    buffer.sample(2)
    assert extended().tolist() == [5, 6, 7, 8]


def test_a_waiting_extend_takes_the_ids_that_come_when_its_turn_comes() -> None:
    """While it waits, another record takes the id that it would have had."""
    buffer = patient(1.0, 1, 4.0)
    buffer.extend(many(3))  # ahead is 2
    extended = in_thread(lambda: buffer.extend([record(timestamp=100 + i) for i in range(4)]))
    until_waiting(buffer)
    first = buffer.push(record(timestamp=50))
    buffer.sample(3)
    ids = extended().tolist()
    stamps = [buffer.get(i).timestamp for i in [first, *ids]]
    assert (first, ids, stamps) == (3, [4, 5, 6, 7], [50, 100, 101, 102, 103])


def test_a_waiting_draw_does_not_hinder_queries_and_updates() -> None:
    buffer = patient(1.0, 5)
    buffer.extend(many(3))
    drawn = in_thread(lambda: buffer.sample(2))
    until_waiting(buffer)
    answers = (
        len(buffer),
        buffer.update_priorities([0], [9.0]),
        buffer.priorities([0]).tolist(),
        buffer.remove([2]),
    )
    buffer.extend(many(3))
    drawn()
    assert answers == (3, 1, [9.0], 1)


def test_a_waiting_push_does_not_hinder_one_that_may_go_on() -> None:
    """A builder that waits holds up no other buffer, and no reader of its own."""
    buffer = patient(1.0, 1, 1.0)
    buffer.extend(many(1))
    buffer.push(record())
    pushed = in_thread(lambda: buffer.push(record()))
    until_waiting(buffer)
    seen = len(list(buffer)), len(buffer.results()), buffer.stats().pushed
    buffer.sample(1)
    pushed()
    assert seen == (2, 2, 2)


def test_a_waiting_push_is_not_counted_before_its_turn() -> None:
    buffer = patient(1.0, 1, 4.0)
    buffer.extend(many(5))
    pushed = in_thread(lambda: buffer.push(record()))
    until_waiting(buffer)
    before = buffer.stats().pushed, len(buffer)
    buffer.sample(4)
    pushed()
    assert (before, buffer.stats().pushed, len(buffer)) == ((5, 5), 6, 6)


def test_all_who_wait_are_served_when_there_is_enough_for_all() -> None:
    buffer = patient(1.0, 1, 8.0)
    calls = [in_thread(lambda: buffer.sample(2)) for _ in range(4)]
    until_waiting(buffer, 4)
    buffer.push(record())
    assert [len(call()) for call in calls] == [2] * 4


def test_of_those_who_wait_only_as_many_are_served_as_may_be() -> None:
    buffer = limited(RateLimiter(1.0, 1, 4.0, timeout_s=1.0))
    calls = [in_thread(lambda: buffer.sample(2)) for _ in range(4)]
    until_waiting(buffer, 4)
    buffer.push(record())
    ended = []
    for call in calls:
        try:
            ended.append(len(call()))
        except RateLimitError:
            ended.append(0)
    assert (sorted(ended), buffer.stats().sampled) == ([0, 0, 2, 2], 4)


def test_a_draw_that_waited_in_vain_leaves_no_waiter_behind() -> None:
    buffer = limited(RateLimiter(1.0, 2, timeout_s=0.05))
    with pytest.raises(RateLimitError):
        buffer.sample(1)
    assert len(buffer._balanced._waiters) == 0


@pytest.mark.parametrize("max_times_sampled", [None, 3])
def test_builders_and_learners_keep_in_step(max_times_sampled: int | None) -> None:
    """Three push, two draw, all as fast as they can; afterwards the counts are what the limiter allows."""
    buffer = patient(2.0, 4, 12.0, max_times_sampled=max_times_sampled, sampler=Uniform(), capacity=64)
    builders = [in_thread(lambda: [buffer.push(one) for one in many(60)]) for _ in range(3)]
    # ahead ends at 2 * (180 - 4) - drawn, and must let the last push in and the last draw too
    learners = [in_thread(lambda: sum(len(buffer.sample(2)) for _ in range(85))) for _ in range(2)]
    pushed = sorted(identity for call in builders for identity in call())
    drawn = sum(call() for call in learners)
    stats = buffer.stats()
    assert (pushed, stats.pushed, stats.sampled) == (list(range(180)), 180, drawn)
    assert abs(2.0 * (180 - 4) - drawn) <= 12.0


def test_a_builder_may_push_into_its_archive_while_another_waits(tmp_path: Any) -> None:
    """Waiting is for the buffer alone: what writes records to disk goes on."""
    buffer = patient(1.0, 1, 1.0)
    buffer.extend(many(1))
    buffer.push(record())
    waiting = in_thread(lambda: buffer.push(record()))
    until_waiting(buffer)
    archive.save(tmp_path / "written.rkyv", many(5))
    buffer.save(tmp_path / "replay.rkyv")
    buffer.save_state(tmp_path / "state.npz")
    written = [len(archive.read(tmp_path / name)) for name in ("written.rkyv", "replay.rkyv")]
    buffer.sample(1)
    waiting()
    assert written == [5, 2]


def test_a_push_that_waits_is_woken_when_a_state_is_loaded_in_which_it_may_go_on() -> None:
    free, buffer = (patient(1.0, 1, 2.0) for _ in range(2))
    free.push(record())
    buffer.extend(many(1))
    buffer.extend(many(2))
    in_thread(lambda: buffer.push(record()))
    until_waiting(buffer)
    buffer.load_state_dict(free.state_dict())
    end = time.monotonic() + 3
    while len(buffer._balanced._waiters) and time.monotonic() < end:
        time.sleep(0.001)
    assert len(buffer._balanced._waiters) == 0


def test_a_push_that_waited_while_a_state_was_loaded_has_an_id_of_its_own() -> None:
    free, buffer = (limited(RateLimiter(1.0, 1, 2.0, timeout_s=1.0)) for _ in range(2))
    free.push(record(timestamp=70))
    buffer.extend(many(1))
    buffer.extend(many(2))
    pushed = in_thread(lambda: buffer.push(record(timestamp=80)))
    until_waiting(buffer)
    buffer.load_state_dict(free.state_dict())
    identity = pushed()
    assert (identity, buffer.ids().tolist(), [r.timestamp for r in buffer]) == (1, [0, 1], [70, 80])
