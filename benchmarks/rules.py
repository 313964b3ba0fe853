"""Ostinato's own rules at one size in one process, in turns: what each sampler and each remover costs.

A rule is judged by ratios to `Proportional()` or `Oldest()`, taken within a round, so that a slow moment of the
machine touches both. "after updates" is the learner's loop: draw 256, update their priorities, add 256; there a
sampler pays for what changed since its last draw (RankBased above all).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np

from benchmarks import records
from benchmarks.peers import BATCH
from ostinato import ReplayBuffer, Results, Vocabulary
from ostinato.replay import (
    ByOutcome,
    Dedupe,
    Fifo,
    Greedy,
    KeepBest,
    LeastUseful,
    Lifo,
    LowestPriority,
    Mixture,
    Oldest,
    PerProgram,
    Proportional,
    RankBased,
    Reservoir,
    Uniform,
    Window,
)

SAMPLERS: dict[str, Any] = {
    "Proportional()": Proportional(),
    "Proportional(stratified=False)": Proportional(stratified=False),
    'Proportional(normalize="largest")': Proportional(normalize="largest"),
    "Proportional(replace=False)": Proportional(replace=False),
    "RankBased()": RankBased(),
    "Uniform()": Uniform(),
    "Uniform(replace=False)": Uniform(replace=False),
    "Greedy()": Greedy(),
    "Fifo()": Fifo(),
    "Lifo()": Lifo(),
    "PerProgram(Uniform())": PerProgram(Uniform()),
    "PerProgram(Proportional())": PerProgram(Proportional()),
    "ByOutcome(.25, .25, .25, .25)": ByOutcome(valid=0.25, invalid=0.25, fallback=0.25, improved=0.25),
    "Mixture({Proportional(): .75, Uniform(): .25})": Mixture({Proportional(): 0.75, Uniform(): 0.25}),
    "Window(Proportional(), half of all)": Window(Proportional(), within=1000),
}
REMOVERS: dict[str, Any] = {
    "Oldest()": {"remover": Oldest()},
    "LowestPriority()": {"remover": LowestPriority()},
    "LeastUseful()": {"remover": LeastUseful()},
    "Reservoir()": {"remover": Reservoir()},
    "KeepBest(Oldest())": {"remover": KeepBest(Oldest())},
    "Oldest(), Dedupe()": {"remover": Oldest(), "dedupe": Dedupe()},
}
FILL = 16_384
CHUNK = 1024


class Feed:
    """Records without end, no two alike; made while no clock runs."""

    def __init__(self) -> None:
        self._vocabulary = Vocabulary(records.words())
        pool = records.make(4 * FILL)
        self._chunks = {size: cycle(records.cut(pool, size)) for size in (FILL, CHUNK, BATCH)}
        self._rng = np.random.default_rng(3)
        self._made = 0

    def columns(self, size: int) -> tuple[records.Columns, np.ndarray]:
        """Columns, and priorities for them."""
        self._made += size
        return records.distinct(next(self._chunks[size]), self._made), self._rng.exponential(size=size)

    def results(self, columns: records.Columns) -> Results:
        """The columns as Results."""
        named = {name: columns[name] for name in records.RAGGED if name != "flat"}
        return Results.from_columns(**named, tokens=columns["flat"], vocabulary=self._vocabulary)

    def full(self, capacity: int, **rules: Any) -> ReplayBuffer:
        """A full buffer, its model versions rising from 0 to 1999."""
        buffer = ReplayBuffer(capacity, seed=0, **rules)
        for first in range(0, capacity, FILL):
            columns, priorities = self.columns(FILL)
            columns["model_version"] = ((first + np.arange(FILL)) * 2000 // (capacity + FILL)).astype(
                np.uint32
            )
            buffer.extend(self.results(columns), priorities)
        return buffer


def _timed(work: Callable[[], float], seconds: float) -> float:
    """Seconds a turn; `work` says how long its own took."""
    work()
    spent, turns = 0.0, 0
    while spent < seconds or turns < 3:
        spent += work()
        turns += 1
    return spent / turns


def _draw(buffer: ReplayBuffer) -> float:
    began = time.perf_counter()
    buffer.sample(BATCH)
    return time.perf_counter() - began


def _loop(buffer: ReplayBuffer, feed: Feed) -> float:
    columns, priorities = feed.columns(BATCH)
    columns["model_version"] = np.full(BATCH, 1999, np.uint32)
    began = time.perf_counter()
    batch = buffer.sample(BATCH)
    buffer.update_priorities(batch.ids, priorities)
    buffer.extend(feed.results(columns), priorities)
    return time.perf_counter() - began


def _extend(buffer: ReplayBuffer, feed: Feed) -> float:
    columns, priorities = feed.columns(CHUNK)
    began = time.perf_counter()
    buffer.extend(feed.results(columns), priorities)
    return time.perf_counter() - began


def run(n: int, rounds: int, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """{"samplers": {name: {"draw": seconds a draw, one a round; "loop": ...}}, "removers": {..., "extend", "loop"}}."""
    feed = Feed()
    out: dict[str, Any] = {"records": n, "samplers": {}, "removers": {}}
    for kind, rules, first in (("samplers", SAMPLERS, "draw"), ("removers", REMOVERS, "extend")):
        buffers = {}
        for name, rule in rules.items():
            say(f"filling {n:,} for {name}")
            given = (
                {"sampler": rule, "remover": Oldest()}
                if kind == "samplers"
                else {"sampler": Proportional(), **rule}
            )
            buffers[name] = feed.full(n, **given)
            out[kind][name] = {first: [], "loop": []}
        # all draws before any loop: what a round measures first must not change what the next one starts from
        for operation in (first, "loop"):
            for turn in range(rounds + 1):
                say(f"{kind}, {operation}, round {turn} of {rounds}")
                for name, buffer in buffers.items():
                    work = {
                        "draw": lambda b=buffer: _draw(b),
                        "extend": lambda b=buffer: _extend(b, feed),
                        "loop": lambda b=buffer: _loop(b, feed),
                    }[operation]
                    taken = _timed(work, seconds if turn else seconds / 4)  # the first round does not count
                    if turn:
                        out[kind][name][operation].append(taken)
        buffers.clear()
    return out


if __name__ == "__main__":
    figures = run(
        int(sys.argv[1]),
        int(sys.argv[2]),
        float(sys.argv[3]),
        lambda text: print(text, file=sys.stderr, flush=True),
    )
    print(json.dumps(figures))
