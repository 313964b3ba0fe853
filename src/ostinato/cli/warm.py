"""ostinato warm: compile ahead of time."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ostinato import archive, judge, triton
from ostinato.archive import layout
from ostinato.archive.places import STEP, Buffers
from ostinato.cli.common import err
from ostinato.replay import (
    ByOutcome,
    Dedupe,
    Greedy,
    KeepBest,
    LowestPriority,
    MappedBuffer,
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
from ostinato.replay.runs import Runs
from ostinato.result import BuildResult
from ostinato.results import Results
from ostinato.store import Store


def warm() -> None:
    """Compile the kernels now (once, some seconds for each part), so that no later command has to wait for it."""
    logging.getLogger("ostinato").setLevel(logging.ERROR)  # it would say the same after two seconds
    exercise(lambda part: err.print(f"compiling kernels, once: {part} ..."))


def exercise(say: Callable[[str], None] = lambda part: None) -> None:
    """Call every kernel with the types it will be called with; say before each part which one it is."""
    say("archives and buffers")
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
    say("samplers and removers")
    _exercise_others(results)
    say("records in files")
    _exercise_mapped(results)
    say("the machine and the judge")
    _exercise_machine()
    say("the search")
    _exercise_search()
    say("the store")
    with tempfile.TemporaryDirectory(prefix="ostinato-warm-") as folder:
        _exercise_store(Path(folder) / "store", record, results)


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


def _exercise_machine() -> None:
    """What runs programs, counts their tables, and hashes."""
    many = "push 0 write_mem 1 pop 1 " + "".join(
        f"push {k} push {k} write_mem 1 split pop 2 " for k in range(70)
    )
    triton.run(f"push 1 {many} halt", ram={0: 1}).heights  # noqa: B018
    triton.Tip5.permutation(range(16))
    triton.Tip5.hash10(range(10))
    judge.judge(judge.of_tasm("warm", ["addi 1"], ["field"]), [["push 1", "add"]], tests=2, confirm="none")


def _exercise_search() -> None:
    """What proposes candidates, leaves out repeats, ranks them and applies rules."""
    from ostinato import data, online, targets

    functions = judge.load_programs(data.programs_path())[:3]
    target = targets.TritonTarget(functions)
    policy = online.RulePolicy(target)
    builder = online.Builder(target, policy, beam=256)
    ids = target.vocabulary.word
    for turn in range(6):
        beam = builder.beam(turn % 3)
        name = target.programs[beam.program].name
        policy.learn(
            [
                online.Example(
                    name,
                    tuple(map(ids, one.parent)),
                    tuple(map(ids, one.code)),
                    one.parent_cycles,
                    one.cycles,
                )
                for one in beam.steps
            ]
        )


def _exercise_mapped(results: Results) -> None:
    """What a buffer over a store's files calls."""
    buffers = Buffers()
    laid = []
    for _ in range(2):
        raw = archive.dumps(results)
        data = np.zeros(len(raw) // 8 + 1, np.uint64).view(np.uint8)[: len(raw)]
        data[:] = np.frombuffer(raw, np.uint8)
        first = (len(raw) - layout.ROOT_BYTES - layout.ENTRY_BYTES * len(results)) >> 3
        laid.append((buffers.add(data) << 32) + first + STEP * np.arange(len(results)))
    ids = np.arange(len(results))
    for remover, room in ((Oldest(), 60), (Oldest(), 20), (LowestPriority(), 20)):
        buffer = MappedBuffer(room, buffers, sampler=Proportional(), remover=remover, seed=0)
        for turn in range(2):
            buffer.take_in(100 * turn + ids, laid[0])
        drawn = buffer.sample(2).ids
        buffer.update_priorities(np.concatenate([drawn, buffer.ids()[-1:]]), np.ones(3))
        buffer.remove(drawn[:1])
        buffer.amend(buffer.ids()[:1], laid[1][:1])
        buffer.relocate([0], np.concatenate([ids, 100 + ids]), np.concatenate([laid[1], laid[1]]))
        buffer.sample(2)
    runs = Runs()
    for k in range(1100):  # more than there is room for
        runs.append(np.array([k]), np.array([2 * k]), np.array([k]), np.array([k]))


def _exercise_store(folder: Path, record: BuildResult, results: Results) -> None:
    """What reads journals, damage in them included, and segments; what seals, follows, corrects and compares."""
    store = Store.open(folder)
    with store.writer() as writer:
        ids = writer.extend(results)
        for _ in range(3):
            writer.append(record)
        journal = folder / "journals" / f"{writer.journal:06d}.journal"
    raw = bytearray(journal.read_bytes())
    raw[-200] ^= 1  # in the second last frame, so that the last one is looked for
    journal.write_bytes(raw)
    buffer = store.replay(100, sampler=Proportional(), remover=Oldest(), seed=0)
    for _ in range(2):  # unsealed, then sealed
        list(store.results()[-2:])
        store.results().tokens(buffer.vocabulary)
        buffer.sample(2)
        store.amend(int(ids[0]), record, reason="warm", at=0)
        store.seal()
        buffer.refresh()
        store.check()
    archive.dumps(store.results())
    store.close()
