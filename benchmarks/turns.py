"""A library at work in a process of its own, which does something when it is told and is silent otherwise.

`python -m benchmarks.turns LIBRARY CAPACITY` fills a buffer, says how many bytes a record takes, and then answers
each line `OPERATION SECONDS` with how many a second it did. `python -m benchmarks.turns --cold LIBRARY` says when the
first batch is drawn. All lines are JSON; what libraries print goes to standard error.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np

from benchmarks import records
from benchmarks.measure import rss_bytes
from benchmarks.peers import ADAPTERS, BATCH, PACKAGES, Adapter, Ostinato, Prioritized

POOL = 65_536  # distinct records that come round and round
CHUNK = 1024
Work = tuple[Callable[[], object], int]  # what one turn does, and how many that counts


class Child:
    """A library's process, seen from the one that gives turns."""

    def __init__(self, library: str, capacity: int) -> None:
        self.library = library
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.turns", library, str(capacity)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.ready: dict[str, Any] = self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return dict(json.loads(line))
        assert self._process.stderr is not None
        last = (self._process.stderr.read().strip().splitlines() or [f"exit code {self._process.wait()}"])[-1]
        return {"missing": last}

    def rate(self, operation: str, seconds: float) -> float | None:
        """How many a second; None if the library cannot."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{operation} {seconds}\n")
        self._process.stdin.flush()
        answer = self._answer()
        if "missing" in answer:
            raise RuntimeError(f"{self.library}, {operation}: {answer['missing']}")
        rate: float | None = answer["rate"]
        return rate

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.communicate(timeout=60)  # it ends with its input
        self._process.kill()
        self._process.wait()


def fill(adapter: Adapter, chunks: list[records.Columns]) -> None:
    """Records until it is full, then a priority for each from one distribution, whatever the library gave them."""
    left = adapter.capacity
    for chunk in cycle(chunks):
        size = min(left, CHUNK)
        adapter.extend(chunk if size == CHUNK else records.cut(chunk, size)[0])
        left -= size
        if not left:
            break
    if isinstance(adapter, Prioritized):
        priorities = np.random.default_rng(1).exponential(size=adapter.capacity)
        ids = adapter.living(np.arange(adapter.capacity))
        for start in range(0, adapter.capacity, CHUNK):
            adapter.update(ids[start : start + CHUNK], priorities[start : start + CHUNK])
        adapter.settle()
        adapter.sample()


def works(
    adapter: Adapter, pool: records.Columns, chunks: list[records.Columns]
) -> dict[str, Callable[[], Work]]:
    """What each operation does, prepared when it is asked for."""
    some = chunks[0]
    small = cycle(records.cut(pool, BATCH))
    large = cycle(chunks)
    rng = np.random.default_rng(2)
    fresh = cycle([rng.exponential(size=BATCH) for _ in range(64)])

    def add() -> Work:
        ready = adapter.singles(some)

        def work() -> None:
            for record in ready:
                adapter.add(record)
            adapter.settle()

        return work, len(ready)

    def extend() -> Work:
        def work() -> None:
            adapter.extend(next(large))
            adapter.settle()

        return work, CHUNK

    def update(settle: bool = True) -> Work:
        places = rng.integers(0, adapter.capacity, 512 * BATCH)
        living = adapter.living(places)
        ids = cycle([living[k : k + BATCH] for k in range(0, len(places), BATCH)])

        def work() -> None:
            adapter.update(next(ids), next(fresh))
            if settle:
                adapter.settle()

        return work, 1

    def loop() -> Work:
        def work() -> None:
            adapter.update(adapter.ids(adapter.sample()), next(fresh))
            adapter.extend(next(small))

        return work, 1

    def uniform_loop() -> Work:
        ready = adapter.singles(next(small))

        def work() -> None:
            adapter.sample()
            for record in ready:
                adapter.add(record)

        return work, 1

    out: dict[str, Callable[[], Work]] = {"add": add, "draw": lambda: (adapter.sample, 1)}
    if isinstance(adapter, Prioritized):
        out |= {"extend": extend, "update": update, "loop": loop}
    else:
        out |= {"loop": uniform_loop}
    if isinstance(adapter, Ostinato):
        out["update_call"] = lambda: update(settle=False)
        out["draw_dense"] = lambda: (adapter.dense, 1)
        out["add_made"] = lambda: _made(adapter, some)
    return out


def _made(adapter: Ostinato, some: records.Columns) -> Work:
    ready = adapter.fields(some)

    def work() -> None:
        for fields in ready:
            adapter.add_made(fields)
        adapter.settle()

    return work, len(ready)


def measure(work: Callable[[], object], counts: int, seconds: float) -> float:
    """How many a second, over at least so many seconds and one turn; one turn before does not count."""
    work()
    turns = 0
    began = time.perf_counter()
    while True:
        work()
        turns += 1
        taken = time.perf_counter() - began
        if taken >= seconds:
            return turns * counts / taken


def _serve(library: str, capacity: int, say: Callable[[dict[str, Any]], None]) -> None:
    pool = records.make(POOL)
    chunks = records.cut(pool, CHUNK)
    try:
        warm = ADAPTERS[library](2 * CHUNK, chunks[0])
    except (ImportError, RuntimeError) as error:  # RuntimeError: torchrl without its kernels
        say({"missing": f"{type(error).__name__}: {error}".splitlines()[0]})
        return
    fill(warm, chunks[:4])
    gc.collect()
    before = rss_bytes()
    adapter = ADAPTERS[library](capacity, chunks[0])
    fill(adapter, chunks)
    gc.collect()
    version = importlib.metadata.version(PACKAGES[library]) if library in PACKAGES else ""
    say({"bytes_a_record": (rss_bytes() - before) / capacity, "version": version})
    all_works = works(adapter, pool, chunks)
    for line in sys.stdin:
        operation, seconds = line.split()
        prepare = all_works.get(operation)
        gc.collect()
        say({"rate": None if prepare is None else measure(*prepare(), float(seconds))})


def _cold(library: str) -> None:
    """From nothing to a batch: 1,024 records as columns, then a draw."""
    chunk = records.make(CHUNK)
    adapter = ADAPTERS[library](10_000, chunk)
    if isinstance(adapter, Prioritized):
        adapter.extend(chunk)
    else:
        for record in adapter.singles(chunk):
            adapter.add(record)
    adapter.sample()


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer

    def say(answer: dict[str, Any]) -> None:
        out.write(json.dumps(answer) + "\n")
        out.flush()

    if sys.argv[1] == "--cold":
        _cold(sys.argv[2])
        say({"drawn": True})
        os._exit(0)  # the time to end is not the time to begin
    _serve(sys.argv[1], int(sys.argv[2]), say)


if __name__ == "__main__":
    main()
