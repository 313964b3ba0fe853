"""What a buffer costs, also after many more pushes than it holds."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato import ReplayBuffer, Results, Vocabulary
from ostinato.replay import Greedy, LowestPriority, Oldest, Proportional, Remover, Uniform

CAPACITY = 20_000
REMOVERS = [LowestPriority("oldest"), LowestPriority("newest"), Oldest()]
WORDS = Vocabulary([f"push {i}" for i in range(500)])


def records(count: int, lengths: Any) -> Results:
    offsets = np.zeros(count + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return Results.from_columns(
        tir_hash=np.zeros((count, 32), np.uint8),
        tokens=np.arange(offsets[-1]) % len(WORDS),
        offsets=offsets,
        vocabulary=WORDS,
        valid=np.ones(count, bool),
        clock_cycles=np.full(count, 5, np.uint64),
        compiler_cycles=np.full(count, 10, np.uint64),
        fallback_used=np.zeros(count, bool),
        timestamp=np.arange(count, dtype=np.uint64),
        model_version=np.ones(count, np.uint32),
    )


def allowed(buffer: ReplayBuffer) -> int:
    return 160 * len(buffer) + 4 * int(buffer.results().instruction_counts.sum())


def index_bytes(buffer: ReplayBuffer) -> int:
    """Of both trees, which `nbytes` leaves aside."""
    trees = [index.tree for index in (buffer._sampler, buffer._remover) if hasattr(index, "tree")]
    return sum(getattr(tree, "_nodes", getattr(tree, "_best", np.empty(0))).nbytes for tree in trees)


def churn(buffer: ReplayBuffer, times: int, width: int) -> None:
    """Push `times` capacities in batches whose lists are short, long, mixed and short again, 30 on average."""
    rng = np.random.default_rng(1)
    shapes = [(1, 60), (30, 31), (20, 41), (5, 56), (0, 61)]
    for turn in range(times * buffer.capacity // width):
        low, high = shapes[turn % len(shapes)]
        buffer.extend(records(width, rng.integers(low, high, width)), rng.random(width) + turn / 100)


@pytest.mark.parametrize("width", [2000, 16_384], ids=["small batches", "a chunk at once"])
@pytest.mark.parametrize("remover", REMOVERS, ids=repr)
def test_a_full_buffer_stays_within_its_bytes_a_record(remover: Any, width: int) -> None:
    buffer = ReplayBuffer(CAPACITY, remover=remover, sampler=Proportional())
    churn(buffer, 24, width)
    buffer.sample(64)
    assert buffer.nbytes + index_bytes(buffer) <= allowed(buffer)


@pytest.mark.parametrize("remover", REMOVERS, ids=repr)
def test_a_buffer_that_was_just_filled_stays_within_its_bytes_a_record(remover: Any) -> None:
    buffer = ReplayBuffer(CAPACITY, remover=remover, sampler=Proportional())
    buffer.extend(records(CAPACITY, np.random.default_rng(2).integers(0, 61, CAPACITY)))
    buffer.sample(64)
    assert buffer.nbytes + index_bytes(buffer) <= allowed(buffer)


@pytest.mark.parametrize("remover", REMOVERS, ids=repr)
def test_a_full_buffer_grows_no_more(remover: Any) -> None:
    buffer = ReplayBuffer(CAPACITY, remover=remover)
    churn(buffer, 6, 1000)
    before = buffer.nbytes
    churn(buffer, 24, 1000)
    assert buffer.nbytes <= 1.15 * before  # the arena grows by an eighth at a time


@pytest.mark.parametrize("remover", REMOVERS, ids=repr)
def test_tokens_of_removed_records_are_reclaimed(remover: Any) -> None:
    buffer = ReplayBuffer(1000, remover=remover)
    for turn in range(100):
        buffer.extend(records(1000, np.full(1000, 30)), np.full(1000, float(turn)))
    tokens = 4 * 31 * 1000
    assert buffer._table._arena.nbytes <= 1.3 * tokens


def test_records_removed_at_once_cost_no_tokens() -> None:
    buffer = ReplayBuffer(1000)
    buffer.extend(records(1000, np.full(1000, 30)), np.ones(1000))
    before = buffer.nbytes
    for _ in range(50):
        buffer.extend(records(1000, np.full(1000, 60)), np.zeros(1000))
    assert buffer.nbytes == before


def test_single_pushes_reclaim_too() -> None:
    buffer = ReplayBuffer(500, remover=Oldest())
    given = records(1000, np.full(1000, 30)).to_list()
    for _ in range(20):
        for result in given:
            buffer.push(result)
    assert buffer._table._arena.nbytes <= max(1.3 * 4 * 31 * 500, 4 * 4096)


@pytest.mark.parametrize("sampler", [Greedy(), Uniform(), Proportional()], ids=repr)
@pytest.mark.parametrize("act", ["late updates", "records removed at once"])
def test_what_changes_nothing_leaves_nothing_behind(act: str, sampler: Any) -> None:
    buffer = ReplayBuffer(1000, sampler=sampler)
    buffer.extend(records(2000, np.full(2000, 3)), np.full(2000, 2.0))
    buffer.sample(1)  # both indexes are up to date
    one = records(1, [3])

    def repeat(times: int) -> None:
        for _ in range(times):
            if act == "late updates":
                buffer.update_priorities([0], [1.0])
            else:
                buffer.extend(one, [1.0])

    repeat(100)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        repeat(2000)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 20_000


GROWTH = """
import numpy as np
from test_memory import records
from ostinato import ReplayBuffer
from ostinato.replay import LowestPriority, Oldest, Proportional

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

rng = np.random.default_rng(1)
parts = [records(10_000, rng.integers(*shape, 10_000)) for shape in ((1, 60), (30, 31), (20, 41), (0, 61))]
buffer = ReplayBuffer(50_000, remover={remover!r}, sampler=Proportional())
marks = []
for turn in range(200):
    buffer.extend(parts[turn % 4], rng.random(10_000) + turn / 100)
    if turn in (39, 199):
        buffer.sample(256)
        marks.append(resident())
print(buffer.stats().pushed, marks[1] / marks[0])
"""


@pytest.mark.parametrize("remover", [LowestPriority(), Oldest()], ids=repr)
def test_two_million_pushes_at_capacity_do_not_make_the_process_grow(remover: Any) -> None:
    child = subprocess.run(
        [sys.executable, "-c", GROWTH.format(remover=remover)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    pushed, growth = child.stdout.split()
    assert (pushed, float(growth) < 1.1) == ("2000000", True)


@pytest.mark.parametrize("remover", [LowestPriority(), Oldest()])
def test_the_arena_shrinks_when_lists_become_shorter_for_good(remover: Remover) -> None:
    vocabulary = Vocabulary(["add"])
    buffer = ReplayBuffer(5_000, remover=remover)
    for length, times in ((200, 2), (2, 40)):
        chunk = Results.from_columns(
            tir_hash=np.zeros((5_000, 32), np.uint8),
            tokens=np.zeros(5_000 * length, np.int32),
            offsets=np.arange(5_001) * length,
            vocabulary=vocabulary,
            valid=np.ones(5_000, np.bool_),
            clock_cycles=np.full(5_000, 5),
            compiler_cycles=np.full(5_000, 10),
            fallback_used=np.zeros(5_000, np.bool_),
            timestamp=np.arange(5_000),
            model_version=np.zeros(5_000, np.int64),
        )
        for _ in range(times):
            buffer.extend(chunk)
    buffer.check()
    assert buffer.nbytes / 5_000 <= 160 + 4 * 2
