"""The seed's reward, to the last bit of float64."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato import BuildResult, ReplayBuffer, reward
from record_helpers import U64, every_way, from_list, more, record, record_lists, records, u64s


def bits(value: float) -> bytes:
    return struct.pack(">d", value)


def expected(one: BuildResult) -> float:
    """The rule in plain Python: Rust rounds both integers to float64 before it divides."""
    if not one.valid:
        return 0.001
    if one.fallback_used:
        return 0.01
    if one.compiler_cycles == 0:
        return 1.0
    clock = one.compiler_cycles if one.clock_cycles is None else one.clock_cycles
    saving = one.compiler_cycles - clock if clock < one.compiler_cycles else 0
    return 1.0 + float(saving) / float(one.compiler_cycles)


CASES: list[tuple[dict[str, Any], float]] = [
    ({"valid": False}, 0.001),
    ({"valid": False, "fallback_used": True}, 0.001),
    ({"valid": False, "compiler_cycles": 0}, 0.001),
    ({"fallback_used": True}, 0.01),
    ({"fallback_used": True, "compiler_cycles": 0}, 0.01),
    ({"clock_cycles": 5, "compiler_cycles": 0}, 1.0),
    ({"clock_cycles": 0, "compiler_cycles": 0}, 1.0),
    ({"clock_cycles": None, "compiler_cycles": 0}, 1.0),
    ({"clock_cycles": 5, "compiler_cycles": 10}, 1.5),
    ({"clock_cycles": 10, "compiler_cycles": 10}, 1.0),
    ({"clock_cycles": 11, "compiler_cycles": 10}, 1.0),
    ({"clock_cycles": U64 - 1, "compiler_cycles": 1}, 1.0),
    ({"clock_cycles": None, "compiler_cycles": 10}, 1.0),
    ({"clock_cycles": None, "compiler_cycles": U64 - 1}, 1.0),
    ({"clock_cycles": 0, "compiler_cycles": 1}, 2.0),
    ({"clock_cycles": 0, "compiler_cycles": U64 - 1}, 2.0),
    ({"clock_cycles": U64 - 2, "compiler_cycles": U64 - 1}, 1.0),
    ({"clock_cycles": U64 - 1, "compiler_cycles": U64 - 1}, 1.0),
    ({"clock_cycles": 7, "compiler_cycles": 10}, 1.3),
    # the saving 2**53 + 1 rounds to 2**53 before it is divided
    ({"clock_cycles": 0, "compiler_cycles": 2**53 + 1}, 2.0),
    ({"clock_cycles": 2**53, "compiler_cycles": 2**54}, 1.5),
    # divided exactly and rounded once it would be 0x1.e66cfe8c43cb0p+0
    (
        {"clock_cycles": 1164115433906158532, "compiler_cycles": 11652879636272361973},
        float.fromhex("0x1.e66cfe8c43cb1p+0"),
    ),
]
every_case = pytest.mark.parametrize(("changes", "value"), CASES, ids=range(len(CASES)))


@every_case
def test_the_reward_of_one_is_the_seeds(changes: dict[str, Any], value: float):
    assert bits(reward(record(**changes))) == bits(value)


@every_way
@every_case
def test_the_reward_of_many_is_the_seeds(results_of: Any, changes: dict[str, Any], value: float):
    assert bits(reward(results_of([record(**changes)]))[0]) == bits(value)


def test_the_last_case_tells_rounding_first_from_rounding_last():
    clock, compiler = CASES[-1][0].values()
    assert 1.0 + (compiler - clock) / compiler != CASES[-1][1]


@more
@given(records)
def test_the_reward_of_one_follows_the_rule(one: BuildResult):
    assert bits(reward(one)) == bits(expected(one))


@every_way
@more
@given(given_records=record_lists)
def test_the_reward_of_many_follows_the_rule(results_of: Any, given_records: list[BuildResult]):
    assert [bits(x) for x in reward(results_of(given_records))] == [bits(expected(r)) for r in given_records]


@more
@given(st.lists(st.tuples(st.none() | u64s, u64s), max_size=50))
def test_the_reward_of_valid_candidates_follows_the_rule(pairs: list[tuple[int | None, int]]):
    given_records = [record(clock_cycles=clock, compiler_cycles=compiler) for clock, compiler in pairs]
    assert [bits(x) for x in reward(from_list(given_records))] == [bits(expected(r)) for r in given_records]


@pytest.mark.parametrize("near", [2**52, 2**53, 2**54, 2**62, 2**63, 2**64 - 4100])
def test_the_reward_follows_the_rule_where_floats_get_coarse(near: int):
    given_records = [record(clock_cycles=k, compiler_cycles=near + k) for k in range(2, 4098)]
    assert reward(from_list(given_records)).tolist() == [expected(r) for r in given_records]


@more
@given(record_lists)
def test_a_reward_is_between_its_least_and_two(given_records: list[BuildResult]):
    out = reward(from_list(given_records))
    assert ((out >= 0.001) & (out <= 2.0)).all()


def test_the_reward_of_one_is_a_float():
    assert type(reward(record())) is float


def test_the_reward_of_none_is_empty():
    out = reward(from_list([]))
    assert (out.dtype, out.shape) == (np.float64, (0,))


def test_the_reward_of_a_part_is_the_part_of_the_reward():
    results = from_list([record(clock_cycles=k) for k in range(10)])
    assert reward(results[::-3]).tolist() == reward(results)[::-3].tolist()


def test_the_reward_of_a_batch_is_that_of_its_records():
    buffer = ReplayBuffer(8)
    buffer.extend([record(clock_cycles=k, valid=k != 3) for k in range(6)])
    batch = buffer.sample(6)
    assert reward(batch).tolist() == [expected(r) for r in batch]
