"""One thread pushes while four sample and update: every call is whole."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from ostinato import BuildResult, EmptyBufferError, ReplayBuffer, Vocabulary, reward
from ostinato.replay import Batch, Greedy, LowestPriority, Oldest, Proportional, Uniform

SAMPLERS = 4
DRAWS = 200
STREAM = 4000


def made(identity: int) -> BuildResult:
    """The record that is pushed as number `identity`: every field tells which it is."""
    return BuildResult(
        tir_hash=identity.to_bytes(8, "little") * 4,
        generated_tasm=[f"push {identity % 997}", f"call f{identity}", *["add"] * (identity % 13)],
        valid=identity % 5 != 0,
        clock_cycles=None if identity % 7 == 0 else identity % 90,
        compiler_cycles=100,
        fallback_used=identity % 11 == 0,
        timestamp=identity,
        model_version=identity % 2**32,
    )


RECORDS = [made(i) for i in range(STREAM)]


def write(buffer: ReplayBuffer) -> None:
    """Push the stream: some one by one, some in lists."""
    first = 0
    while first < STREAM:
        for i in range(first, min(first + 17, STREAM)):
            buffer.push(RECORDS[i])
        buffer.extend(RECORDS[first + 17 : first + 40])
        first += 40


def wrong_in(batch: Batch, buffer: ReplayBuffer) -> list[str]:
    """What in a batch does not fit together."""
    ids = batch.ids.tolist()
    tokens = [batch.tokens[a:b] for a, b in zip(batch.offsets[:-1], batch.offsets[1:], strict=True)]
    wrong = [f"record {i}" for k, i in enumerate(ids) if batch[k] != RECORDS[i]]
    wrong += [f"timestamp of {i}" for k, i in enumerate(ids) if batch.timestamp[k] != i]
    wrong += [
        f"tokens of {i}"
        for k, i in enumerate(ids)
        if tuple(map(buffer.vocabulary.word, tokens[k].tolist())) != RECORDS[i].generated_tasm
    ]
    if batch.reward.tolist() != [reward(RECORDS[i]) for i in ids]:
        wrong.append("reward")
    return wrong


def run(buffer: ReplayBuffer, read: Callable[[int], list[str]]) -> list[Any]:
    """The writer and the readers together; returns what went wrong in any."""
    wrong: list[Any] = []
    start = threading.Barrier(SAMPLERS + 1)

    def guarded(work: Callable[[], Any]) -> None:
        try:
            start.wait()
            wrong.extend(work() or [])
        except BaseException as error:  # a thread's error would be lost
            wrong.append(error)

    works: list[Callable[[], Any]] = [partial(write, buffer), *(partial(read, k) for k in range(SAMPLERS))]
    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


class Reader:
    """Samples, updates and asks, as a learner does."""

    def __init__(self, buffer: ReplayBuffer, *, learn: bool) -> None:
        self.buffer, self.learn = buffer, learn

    def __call__(self, number: int) -> list[str]:
        buffer = self.buffer
        wrong: list[str] = []
        rng = np.random.default_rng(number)
        for turn in range(DRAWS):
            try:
                batch = buffer.sample(1 + turn % 24, rng=rng if number % 2 else None)
            except EmptyBufferError:  # the writer has not begun
                continue
            wrong += wrong_in(batch, buffer)
            new = rng.random(len(batch)) + 0.01 if self.learn else batch.priority
            buffer.update_priorities(batch.ids, new)
            if turn % 50 == 10 * number:
                buffer.check()
                wrong += [f"iterated {r.timestamp}" for r in buffer if r != RECORDS[r.timestamp]]
                wrong += [] if buffer.valid_count() <= len(buffer) <= 700 else ["counts"]
        return wrong


def trees_of(buffer: ReplayBuffer) -> list[Any]:
    return [index.tree for index in (buffer._sampler, buffer._remover) if hasattr(index, "tree")]


@pytest.fixture(params=[Greedy(), Uniform(), Proportional()], ids=repr)
def sampler(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=[LowestPriority(), Oldest()], ids=repr)
def remover(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(autouse=True)
def _switch_often() -> Iterator[None]:
    """Let threads interrupt each other a hundred times as often as usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(usual)


def test_every_batch_is_whole_while_another_thread_pushes(sampler: Any, remover: Any) -> None:
    buffer = ReplayBuffer(700, sampler=sampler, remover=remover, seed=1)
    assert run(buffer, Reader(buffer, learn=True)) == []


def test_every_batch_is_whole_with_a_vocabulary_that_was_passed_in() -> None:
    buffer = ReplayBuffer(700, sampler=Uniform(), seed=1, vocabulary=Vocabulary(["<unknown>", "add"]))
    assert run(buffer, Reader(buffer, learn=True)) == []


def test_every_invariant_holds_when_the_threads_are_done(remover: Any) -> None:
    buffer = ReplayBuffer(700, sampler=Proportional(), remover=remover, seed=1)
    wrong = run(buffer, Reader(buffer, learn=True))
    buffer.check()
    for tree in trees_of(buffer):
        tree.check()
    assert (wrong, len(buffer), buffer.stats().pushed) == ([], 700, STREAM)


def test_the_records_are_those_of_a_run_in_one_thread(sampler: Any, remover: Any) -> None:
    """Readers give back the priorities that they drew, so that only a fault can change what stays."""
    buffer = ReplayBuffer(700, sampler=sampler, remover=remover, seed=1)
    alone = ReplayBuffer(700, sampler=sampler, remover=remover, seed=1)
    wrong = run(buffer, Reader(buffer, learn=False))
    write(alone)
    assert (wrong, buffer.ids().tolist(), list(buffer)) == ([], alone.ids().tolist(), list(alone))


def test_a_sliding_window_keeps_the_newest_whatever_the_learners_set() -> None:
    buffer = ReplayBuffer(700, sampler=Proportional(), remover=Oldest(), seed=1)
    wrong = run(buffer, Reader(buffer, learn=True))
    assert (wrong, list(buffer)) == ([], RECORDS[-700:])


def test_every_update_is_counted_once() -> None:
    buffer = ReplayBuffer(700, sampler=Proportional(), remover=Oldest(), seed=1)
    run(buffer, Reader(buffer, learn=True))
    stats = buffer.stats()
    assert stats.updated + stats.late_updates == stats.sampled
