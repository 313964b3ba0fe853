"""ostinato warm: compile ahead of time."""

from __future__ import annotations

import logging

import numpy as np

from ostinato import archive
from ostinato.cli.common import err
from ostinato.replay import (
    ByOutcome,
    Dedupe,
    Greedy,
    KeepBest,
    LowestPriority,
    Oldest,
    PerProgram,
    Proportional,
    RankBased,
    Remover,
    ReplayBuffer,
    Sampler,
    Window,
    scale_free_priority,
)
from ostinato.result import BuildResult
from ostinato.results import Results


def warm() -> None:
    """Compile the kernels now (about ten seconds, once), so that no later command has to wait for it."""
    logging.getLogger("ostinato").setLevel(logging.ERROR)  # it would say the same after two seconds
    err.print("compiling kernels, once ...")
    exercise()


def exercise() -> None:
    """Call every kernel with the types it will be called with."""
    record = BuildResult(
        tir_hash=bytes(32),
        generated_tasm=["push 1", "sponge_squeeze"],
        valid=True,
        clock_cycles=1,
        compiler_cycles=2,
        fallback_used=False,
        timestamp=0,
        model_version=0,
    )
    results = archive.loads(archive.dumps([record] * 40))
    archive.deviation(archive.dumps(results))
    list(results)
    for remover in (LowestPriority(), Oldest()):
        for sampler in (Greedy(), Proportional()):
            buffer = ReplayBuffer(20, sampler=sampler, remover=remover, seed=0)
            ids = buffer.extend(results)
            buffer.push(record)
            buffer.sample(1)
            buffer.update_priorities(ids[-1:], [2.0])
            buffer.sample(1)
            buffer.push(record)
            archive.dumps(Results.concat([buffer.results(), results]))
            for _ in range(4):
                buffer.extend(Results.concat([results] * 100))
    # a change of few priorities in a larger buffer takes another way than building anew
    buffer = ReplayBuffer(2000, sampler=Proportional(), remover=LowestPriority(), seed=0)
    ids = buffer.extend(Results.concat([results] * 50))
    for _ in range(2):
        buffer.sample(1)
        buffer.update_priorities(ids[:1], [2.0])
        buffer.push(record)
    greedy = ReplayBuffer(2000, sampler=Greedy())
    greedy.extend(Results.concat([results] * 50))
    greedy.sample(1)
    _exercise_others(results)


def _exercise_others(results: Results) -> None:
    """What the samplers and removers call that not every buffer needs."""
    many = Results.concat([results] * 50)
    samplers: tuple[Sampler, ...] = (
        Proportional(replace=False, normalize="largest"),
        RankBased(normalize="largest"),
        PerProgram(Proportional()),
        ByOutcome(improved=1.0),
        Window(PerProgram(), within=1),
    )
    for sampler in samplers:
        remover: Remover = KeepBest(LowestPriority())
        buffer = ReplayBuffer(1500, sampler=sampler, remover=remover, seed=0)
        ids = buffer.extend(many)
        buffer.sample(2)
        buffer.update_priorities(buffer.ids()[:1], [2.0])
        buffer.extend(results)
        buffer.remove(ids[-1:])
        buffer.sample(2)
        draw = buffer.sampler.draw(2, np.random.default_rng(0))
        if draw.expected is not None:
            draw.expected(draw.slots)
    merging = ReplayBuffer(100, dedupe=Dedupe())
    for _ in range(2):
        merging.extend(results)
    merging.sample(1).padded()
    scale_free_priority([1.0, 2.0], [0, 1])
