"""One thread pushes while four sample and update: every call is whole."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from mapped_helpers import mapped
from ostinato import BuildResult, EmptyBufferError, ReplayBuffer, Vocabulary, reward
from ostinato.replay import Batch, Greedy, LowestPriority, Oldest, Proportional, Uniform

# from Python 3.12 on, forking a process with threads warns
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

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


# Forks


def said_by_child(act: Callable[[], object]) -> str:
    """What this gives in a forked child, or the type of its error and what it says; "hung" if nothing for long."""
    out, said = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(said, repr(act()).encode())
        except BaseException as error:
            os.write(said, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(said)
    end = time.monotonic() + 60
    while not os.waitpid(pid, os.WNOHANG)[0]:
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "hung"
        time.sleep(0.005)
    with os.fdopen(out, encoding="utf-8") as file:
        return file.read()


@contextlib.contextmanager
def within_a_call(buffer: ReplayBuffer) -> Iterator[None]:
    """Another thread is in the middle of a call, as far as its lock says."""
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with buffer._lock:
            inside.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    try:
        yield
    finally:
        done.set()
        thread.join()


def both_kinds() -> list[ReplayBuffer]:
    plain = ReplayBuffer(700, sampler=Uniform(), seed=1)
    plain.extend(RECORDS[:50])
    return [plain, mapped(RECORDS[:50], sampler=Uniform(), seed=1)[0]]


CALLS: dict[str, Callable[[ReplayBuffer], object]] = {
    "sample": lambda buffer: buffer.sample(4),
    "ids": lambda buffer: buffer.ids(),
    "get": lambda buffer: buffer.get(int(buffer.ids()[0])),
    "update_priorities": lambda buffer: buffer.update_priorities([0], [1.0]),
    "remove": lambda buffer: buffer.remove([0]),
    "stats": lambda buffer: buffer.stats(),
    "results": lambda buffer: buffer.results(),
    "state_dict": lambda buffer: buffer.state_dict(),
}


@pytest.mark.parametrize("kind", [0, 1], ids=["in memory", "mapped"])
@pytest.mark.parametrize("call", CALLS)
def test_a_child_that_was_forked_while_another_thread_was_within_a_call_says_so(call: str, kind: int) -> None:
    buffer = both_kinds()[kind]
    buffer.sample(4)
    with within_a_call(buffer):
        said = said_by_child(lambda: CALLS[call](buffer))
    assert said.startswith("OstinatoError: ")
    assert "forked in the middle of one" in said
    CALLS[call](buffer)  # here nothing has happened


@pytest.mark.parametrize("kind", [0, 1], ids=["in memory", "mapped"])
def test_a_child_that_was_forked_between_calls_has_a_buffer_of_its_own(kind: int) -> None:
    buffer = both_kinds()[kind]
    buffer.sample(4)
    drawn = [said_by_child(lambda: buffer.sample(4).ids.tolist()) for _ in range(2)]
    assert drawn == [str(buffer.sample(4).ids.tolist())] * 2  # with the same random numbers


def test_a_child_whose_buffer_was_in_use_goes_on_from_a_state() -> None:
    buffer = both_kinds()[0]
    state = buffer.state_dict()

    def go_on() -> list[int]:
        buffer.load_state_dict(state)
        return buffer.sample(4).ids.tolist()

    with within_a_call(buffer):
        said = said_by_child(go_on)
    assert said == str(buffer.sample(4).ids.tolist())


def test_a_fork_within_a_call_of_ones_own_leaves_the_child_its_lock() -> None:
    said: list[str] = []

    def forks(results: Any) -> Any:
        said.append(said_by_child(lambda: (len(buffer), buffer._lock.acquire(blocking=False))))
        return np.ones(len(results))

    buffer = ReplayBuffer(10, reward=forks)
    buffer.extend(RECORDS[:3])
    assert (said, len(buffer)) == (["(0, True)"], 3)
