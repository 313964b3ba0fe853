"""Tip5 against its vectors, its constants against their definition."""

from __future__ import annotations

import json

import numpy as np
import pytest

import slow_machine
from ostinato import UsageError
from ostinato.goldilocks import P
from ostinato.triton import Tip5, tip5_tables
from test_slow_machine import GOLDEN


def test_the_vectors_hold() -> None:
    for vector in map(json.loads, (GOLDEN / "tip5_vectors.jsonl").read_text().splitlines()):
        ((kind, words),) = vector["in"].items()
        found = Tip5.permutation(words) if kind == "perm" else Tip5.hash10(words)
        assert list(found) == vector["out"]


def test_the_constants_are_made_as_defined() -> None:
    assert list(tip5_tables.LOOKUP) == slow_machine.LOOKUP
    assert list(tip5_tables.MDS) == slow_machine.MDS
    assert list(tip5_tables.ROUND_CONSTANTS) == slow_machine.CONSTANTS


def test_the_constants_are_those_of_the_real_hash() -> None:
    real = json.loads((GOLDEN / "tip5_params.json").read_text())
    assert list(tip5_tables.LOOKUP) == real["lookup"]
    assert list(tip5_tables.MDS) == real["mds_first_column"]
    assert list(tip5_tables.ROUND_CONSTANTS) == real["round_constants"]


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 25])
def test_words_of_any_number_are_absorbed_with_a_one_behind(count: int) -> None:
    words = [7 * k + P - 3 for k in range(count)]
    words = [word % P for word in words]
    padded = [*words, 1] + [0] * (-(count + 1) % 10)
    state = (0,) * 16
    for i in range(0, len(padded), 10):
        state, _ = slow_machine.permuted((*padded[i : i + 10], *state[10:]))
    assert Tip5.hash_varlen(words) == state[:5]


def test_random_states_are_permuted_as_by_the_plain_hash() -> None:
    states = np.random.default_rng(0).integers(0, P, (50, 16), dtype=np.uint64)
    for state in states:
        assert Tip5.permutation(state) == slow_machine.permuted(tuple(state.tolist()))[0]


def test_a_pair_is_ten_words() -> None:
    assert Tip5.hash_pair(range(5), range(5, 10)) == Tip5.hash10(range(10))


def test_a_state_that_is_given_is_not_changed() -> None:
    state = np.zeros(16, np.uint64)
    Tip5.permutation(state)
    assert state.tolist() == [0] * 16


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([0] * 9, "expected 10 words, got 9 - at `words`"),
        ([P] + [0] * 9, f"expected ints in [0, p), got {P} - at `words`"),
        (
            [1.5] * 10,
            "expected ints in [0, p), got [1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5] - at `words`",
        ),
        (7, "expected ints in [0, p), got 7 - at `words`"),
    ],
)
def test_what_are_no_words_is_refused(words: object, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        Tip5.hash10(words)  # type: ignore[arg-type]
    assert str(caught.value) == complaint
