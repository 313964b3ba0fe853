"""ostinato demo: builders append real build results to a store, one is killed; a buffer replays them, is saved and compared."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from ostinato import archive
from ostinato.cli.common import Json, busy, code, make_table, number, out, percent, print_json, progress
from ostinato.cli.info import plot_versions
from ostinato.data import program_names, triton_attempts
from ostinato.errors import OstinatoError
from ostinato.replay import Batch, Oldest, Proportional, ReplayBuffer
from ostinato.results import Columns, Results
from ostinato.rewards import reward
from ostinato.store import Store
from ostinato.summary import Program, Summary, summarize

CAPACITY = 10_000  # stage 3's buffer: the newest 10,000 results,
TRIGGER = 50  # and a micro-finetune after every 50 new ones
BATCH = 64
BUILDERS = 3
KILLED_AFTER = 2000  # results that the first builder appends before it is killed
_BUILDER = "import sys; from ostinato.cli.demo import build; build(sys.argv[1], int(sys.argv[2]))"


def demo(
    out_path: Annotated[
        Path | None,
        typer.Option("--out", help="Where to save the buffer; else in a new temporary folder."),
    ] = None,
    json: Json = False,
) -> None:
    """Three builders append 20,997 real build results to a store, one is killed; replay them, learn, save, and prove nothing
    changed.
    """
    folder = Path(tempfile.mkdtemp(prefix="ostinato-demo-")) if out_path is None else out_path.parent
    store = Store.open(tempfile.mkdtemp(prefix="store-", dir=folder))
    with busy(f"{BUILDERS} builders append, one gets kill -9"):
        kept = fill(store)
    began = time.perf_counter()
    results = in_order(store)
    summary = summarize(results)
    if not json:
        out.print(
            f"{number(len(results))} build results of {len(summary.programs)} programs, made by a search in "
            f"{len(summary.versions)} model versions, judged by the real Triton VM"
        )
        out.print(
            f"appended to a store by {BUILDERS} processes at once, one by one, in {kept['seconds']:.1f} s; one of them got kill -9 "
            f"after {number(KILLED_AFTER)} and another took its place: {number(kept['lost'])} of "
            f"{number(kept['acknowledged'])} acknowledged lost, {number(kept['twice'])} twice",
            soft_wrap=True,
        )
    # beta 1: the learner's means are to be right, so weights correct in full
    buffer = ReplayBuffer(CAPACITY, sampler=Proportional(beta=1.0), remover=Oldest(), seed=0)
    learner = Surprise()
    batches = 0
    with progress() as bar:
        for first in bar.track(range(0, len(results), TRIGGER), description="replaying"):
            buffer.extend(results[first : first + TRIGGER])
            batch = buffer.sample(BATCH)
            buffer.update_priorities(batch.ids, learner.learn(batch))
            batches += 1
    held = buffer.results()
    learning = Surprise().error(held), learner.error(held)
    path = out_path or folder / "replay.rkyv"
    proof = save_and_compare(buffer, path)
    if json:
        print_json(
            {
                **summary.to_dict(),
                "batches": batches,
                "valid_in_buffer": buffer.valid_count(),
                "untrained_error": learning[0],
                "trained_error": learning[1],
                "store": store.path,
                **kept,
                **proof,
            }
        )
        return
    stats = buffer.stats()
    out.print(
        f"replayed in {time.perf_counter() - began:.1f} s: {buffer}, {number(buffer.valid_count())} of them valid; "
        f"{number(batches)} batches of {BATCH} drawn, {number(stats.updated)} priorities updated"
    )
    untrained, trained = learning
    out.print(
        "a table of each program's expected reward, learned from them, is wrong on the buffer's records by "
        f"{trained:.3f} (mean square), {untrained:.3f} untrained\n"
    )
    out.print(Text.from_ansi(plot_versions(summary)))
    out.print(versions_table(summary))
    out.print()
    out.print(programs_table(summary.programs, results))
    out.print(
        f"\nsaved {number(proof['size_bytes'])} bytes, loaded again: {number(proof['compared'])} of "
        f"{number(len(buffer))} build results equal, the bytes equal, the file canonical"
    )
    out.print(
        f"\nnext:  ostinato info {store.path}\n       ostinato show {path} --top 5\n"
        f"       ostinato sample {path} --sampler proportional",
        soft_wrap=True,
    )


def build(path: str, number_of: int) -> None:
    """What a builder process does: go on where the last one of its number stopped, and say what was kept."""
    store = Store.open(path, create=False)
    mine = {"builder": str(number_of)}
    records = store.results()
    done = sum(records.context(i) == mine for i in range(len(records)))
    with store.writer(context=mine) as writer:
        for result in triton_attempts()[number_of + BUILDERS * done :: BUILDERS]:
            writer.append(result)
            print("kept", flush=True)


def fill(store: Store) -> dict[str, Any]:
    """Let the builders work, kill one, and count what is there.

    Raises:
        OstinatoError: a builder failed.
    """

    def start(number_of: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", _BUILDER, store.path, str(number_of)]
        return subprocess.Popen(command, stdout=subprocess.PIPE)

    began = time.perf_counter()
    builders = [start(k) for k in range(BUILDERS)]
    acknowledged = 0
    first = builders[0].stdout
    assert first is not None
    while acknowledged < KILLED_AFTER and first.readline():
        acknowledged += 1
    builders[0].kill()
    acknowledged += first.read().count(b"\n")  # what it had said before it died
    first.close()
    builders[0].wait()
    builders[0] = start(0)
    for builder in builders:
        said, _ = builder.communicate()
        acknowledged += said.count(b"\n")
        if builder.returncode:
            raise OstinatoError(f"a builder ended with exit code {builder.returncode}")
    seconds = time.perf_counter() - began
    store.seal()
    there = in_order(store).to_list()
    wanted = triton_attempts().to_list()
    return {
        "builders": BUILDERS,
        "killed": 1,
        "acknowledged": acknowledged,
        "lost": len(set(wanted) - set(there)),
        "twice": len(there) - len(set(there)),
        "seconds": seconds,
    }


def in_order(store: Store) -> Results:
    """All records of a store by timestamp."""
    records = store.results()
    return records[np.argsort(records.timestamp, kind="stable")]


class Surprise:
    """The smallest learner there is: each program's expected reward, its error as the new priority."""

    def __init__(self, rate: float = 0.05) -> None:
        self.rate = rate
        self.expected: dict[bytes, float] = {}

    def _errors(self, records: Columns) -> NDArray[np.float64]:
        known = [self.expected.get(row.tobytes(), 0.0) for row in records.tir_hash]
        return np.asarray(reward(records) - np.array(known))

    def learn(self, batch: Batch) -> NDArray[np.float64]:
        """Move each drawn program's expectation; returns |reward - expectation| before that, float64[B]."""
        errors = self._errors(batch)
        steps = self.rate * batch.weight * errors
        for row, step in zip(batch.tir_hash, steps.tolist(), strict=True):
            program = row.tobytes()
            self.expected[program] = self.expected.get(program, 0.0) + step
        return np.asarray(np.abs(errors) + 1e-3)  # never 0: what fits today may not tomorrow

    def error(self, records: Columns) -> float:
        """Mean square error over records."""
        return float(np.mean(self._errors(records) ** 2))


def save_and_compare(buffer: ReplayBuffer, path: Path) -> dict[str, Any]:
    """Save, load, and compare record by record and byte by byte.

    Raises:
        OstinatoError: anything differs.
    """
    buffer.save(path)
    saved = path.read_bytes()
    again = ReplayBuffer.load(buffer.capacity, path, remover=Oldest(), seed=0)
    compared = sum(a == b for a, b in zip(buffer, again, strict=True))
    same = compared == len(buffer) == len(again) and archive.dumps(again.results()) == saved
    if not same or archive.deviation(saved) is not None:
        raise OstinatoError(f"what was loaded from {path} is not what was saved")
    return {"path": str(path), "size_bytes": len(saved), "compared": compared}


def versions_table(summary: Summary) -> Table:
    """Every fifth model version's rates."""
    table = make_table("model version", "attempts", "valid", "improved", "fallback")
    for version, r in summary.versions.items():
        if version == 1 or version % 5 == 0:
            better = r.improved / r.candidates if r.candidates else None
            cells = (version, r.candidates, percent(r.validity), percent(better), percent(r.fallback_rate))
            table.add_row(*map(str, cells))
    return table


def programs_table(programs: list[Program], results: Results) -> Table:
    """The twelve programs whose best result saves most."""
    names = program_names()
    table = make_table("program", "baseline", "best", "saved", "", "best code", text=("program", ""))
    named = [p for p in programs if p.tir_hash in names and p.best is not None]
    for p in sorted(named, key=lambda p: -(p.reduction or 0.0))[:12]:
        best = code(results.generated_tasm[p.best], beside=64) if p.best is not None else ""
        saved = p.reduction or 0.0
        bar = "█" * round(10 * saved)
        cells = (names[p.tir_hash], number(p.compiler_cycles), number(p.best_cycles), percent(saved), bar)
        table.add_row(*map(Text, (*cells, best)))
    return table
