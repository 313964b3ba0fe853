"""How fast is the loop? Judged candidates a second with all that is around the judge, beside the judge alone on the same candidates.

Two builders and a learner as processes, as in `ostinato learn`; and, to see where the time goes, a builder and a learner in turns in one process
over a real store. Calls are timed around, each without those inside it that are timed as well.
"""

from __future__ import annotations

import functools
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import machine
from benchmarks.simulated import in_children, warm
from ostinato import online, targets
from ostinato.data import programs_path
from ostinato.judge import load_programs
from ostinato.online import Folder, Learner, RulePolicy, Study, Work, Worker
from ostinato.online.filter import Filter
from ostinato.store import Store, Writer
from ostinato.store.following import StoreBuffer
from ostinato.targets import TritonTarget

SECONDS, LEARN_S = 60, 40
SKIPPED_S = 15  # of the run with two builders: starting, and drawing the judges' inputs
GOAL = 0.3
NOTED = ".beams"  # files of what a process has judged
# whose calls are timed, and as what
TIMED: tuple[tuple[Any, str, str], ...] = (
    (RulePolicy, "propose", "proposing"),
    (Filter, "new", "filter"),
    (TritonTarget, "judge", "judging"),
    (RulePolicy, "observe", "observing"),
    (Writer, "append", "store: appending"),
    (Store, "results", "store: reading"),
    (Store, "get", "store: reading"),
    (Worker, "_take", "taking over what others found"),
    (Worker, "_take_policy", "taking over a policy"),
    (Folder, "note_observations", "noting observations"),
    (StoreBuffer, "refresh", "buffer: following the store"),
    (StoreBuffer, "sample", "buffer: drawing"),
    (StoreBuffer, "update_priorities", "buffer: update_priorities"),
    (RulePolicy, "gather", "learner: gathering observations"),
    (RulePolicy, "learn", "learner: learning"),
    (TritonTarget, "check_rule", "learner: checking rules"),
    (RulePolicy, "save", "learner: checkpoint"),
    (Learner, "_decide", "learner: guard"),
    (Learner, "turn", "learner: the rest"),
    (Worker, "turn", "builder: the rest"),
)
Beam = tuple[int, NDArray[np.int32], NDArray[np.int64]]


class Times:
    """Seconds by name, of calls without the timed calls inside them. The guard's own search is all its own."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._inside: list[float] = []  # seconds of timed calls inside each call that is going on
        self._whole: str | None = None

    def wrap(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """The function, timed."""

        @functools.wraps(function)
        def timed(*args: Any, **options: Any) -> Any:
            if self._whole is not None:
                return function(*args, **options)
            if name == "learner: guard":
                self._whole = name
            self._inside.append(0.0)
            begin = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                taken = time.perf_counter() - begin
                self._whole = None
                self.seconds[name] += taken - self._inside.pop()
                self.calls[name] += 1
                if self._inside:
                    self._inside[-1] += taken

        return timed


@contextmanager
def timing(times: Times) -> Iterator[None]:
    """`TIMED`, timed."""
    with ExitStack() as stack:
        for owner, method, name in TIMED:
            function = getattr(owner, method)
            stack.callback(setattr, owner, method, function)
            setattr(owner, method, times.wrap(function, name))
        yield


class Recording(TritonTarget):
    """Keeps all that it was asked to judge."""

    def __init__(self, functions: Any) -> None:
        super().__init__(functions)
        self.beams: list[Beam] = []

    def judge(self, program: int, tokens: Any, offsets: Any, confirm: Any = "best") -> Any:
        """As `Target.judge`."""
        self.beams.append((program, tokens.copy(), offsets.copy()))
        return super().judge(program, tokens, offsets, confirm)


class Noting(TritonTarget):
    """Writes all that it was asked to judge, and when, into a file of its process, since builders are killed in the end."""

    def __init__(self, functions: Any, folder: Path) -> None:
        super().__init__(functions)
        self._path = folder / f"{os.getpid()}{NOTED}"

    def judge(self, program: int, tokens: Any, offsets: Any, confirm: Any = "best") -> Any:
        """As `Target.judge`."""
        with self._path.open("ab") as file:
            for array in (np.array([time.time(), program]), tokens, offsets):
                np.save(file, array)
        return super().judge(program, tokens, offsets, confirm)


def noting(folder: str) -> Noting:
    """The target of a run's folder, for its processes."""
    return Noting(targets.functions_in(folder), Path(folder))


def noted(path: Path) -> Iterator[tuple[float, Beam]]:
    """(when, what) was judged, but for what was being written in the end."""
    with path.open("rb") as file:
        while True:
            try:
                when, program = np.load(file).tolist()
                yield when, (int(program), np.load(file), np.load(file))
            except (EOFError, ValueError):
                return


def run(say: Callable[[str], None] = print, quick: bool = False) -> dict[str, Any]:
    """All figures, as numbers."""
    seconds, learn_s, skipped_s = (3.0, 6.0, 2.0) if quick else (SECONDS, LEARN_S, SKIPPED_S)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "one").mkdir()
        (path / "two").mkdir()
        functions = load_programs(programs_path())[:: 8 if quick else 1]
        for name in ("one", "two"):
            targets.keep(functions, path / name)
        say(f"loop: {learn_s:.0f} s with two builders")
        two = _two(path / "two", learn_s, skipped_s)
        say("loop: the judge alone on the same candidates")
        two |= _two_alone(path / "two", functions, two["from"])
        say("loop: inputs")
        target, held_out = Recording(functions), targets.held_out(str(path / "one"))
        warm(target)
        warm(held_out)
        say(f"loop: {seconds:.0f} s in one process")
        one = _one(path / "one", target, held_out, seconds)
        say("loop: the judge alone")
        alone = _alone(target.functions, target.beams)
    return {"machine": machine(), "programs": len(functions), "one": one, "two": two, "alone": alone}


def _one(folder: Path, target: Recording, held_out: TritonTarget, seconds: float) -> dict[str, Any]:
    """A builder and a learner in turns; the learner has a third of the time, as one of three processes has."""
    target.beams.clear()
    times = Times()
    own = Folder(folder)
    with own.store(create=True) as store, store.writer() as writer:
        worker = Worker(target, store, writer, Work(str(folder), "rules", 0, 0))
        learner = Learner(target, store, Study(str(folder), held_out=lambda: held_out))
        building = learning = 0.0
        versions = 0
        with timing(times):
            while building + learning < seconds:
                begin = time.perf_counter()
                worker.turn()
                building += time.perf_counter() - begin
                if learning <= building / 2:
                    begin = time.perf_counter()
                    versions += learner.turn(time.time()) is not None
                    learning += time.perf_counter() - begin
        records = len(store)
    return {
        "seconds": building + learning,
        "building_s": building,
        "learning_s": learning,
        "attempts": worker.attempts,
        "records": records,
        "versions": versions,
        "by": dict(times.seconds),
        "calls": dict(times.calls),
    }


def _two(folder: Path, seconds: float, skipped_s: float) -> dict[str, Any]:
    """Two builders and a learner as processes, from a moment on."""
    load, held_out = (functools.partial(one, str(folder)) for one in (noting, targets.held_out))
    first: tuple[float, int, float] | None = None
    begin = time.time()
    for moment in online.learn(load, str(folder), seconds=seconds, held_out=held_out):
        own = moment.metrics
        last = moment.seconds, own.attempts, own.seconds_judging
        if first is None and moment.seconds >= skipped_s:
            first = last
    assert first is not None, "it ended before it began"
    return {
        "seconds": last[0] - first[0],
        "attempts": last[1] - first[1],
        "judging_s": last[2] - first[2],
        "skipped_s": first[0],
        "from": begin + first[0],
    }


def _two_alone(folder: Path, functions: Any, since: float) -> dict[str, Any]:
    """Each builder's candidates in their order, by a process for each at once: those from a time on count, what came before is judged as well."""
    paths = sorted(folder.glob(f"*{NOTED}"), key=lambda path: path.stat().st_size)[
        -2:
    ]  # the learner judges nothing
    target = TritonTarget(functions)
    warm(target)

    def work(i: int) -> tuple[int, float]:
        attempts, seconds = 0, 0.0
        for when, (program, tokens, offsets) in noted(paths[i]):
            begin = time.perf_counter()
            target.judge(program, tokens, offsets)
            if when >= since:
                seconds += time.perf_counter() - begin
                attempts += len(offsets) - 1
        return attempts, seconds

    found = [one for _, one in in_children(work, len(paths))]
    return {"alone_attempts": sum(n for n, _ in found), "alone_s": max(seconds for _, seconds in found)}


def _alone(functions: Any, beams: list[Beam]) -> dict[str, Any]:
    """The same candidates in the same order, by judges that have seen nothing."""
    target = TritonTarget(functions)
    warm(target)

    def work(_: int) -> float:
        begin = time.perf_counter()
        for program, tokens, offsets in beams:
            target.judge(program, tokens, offsets)
        return time.perf_counter() - begin

    attempts = sum(len(offsets) - 1 for _, _, offsets in beams)
    (one,) = [taken for _, taken in in_children(work, 1, 1)]
    return {"attempts": attempts, "one_s": one}


class Rates(NamedTuple):
    """Judged candidates a second."""

    one: float
    one_alone: float
    two: float
    two_alone: float


def rates(figures: dict[str, Any]) -> Rates:
    """In the loop, and by the judge alone."""
    one, two, alone = figures["one"], figures["two"], figures["alone"]
    return Rates(
        one["attempts"] / one["seconds"],
        alone["attempts"] / alone["one_s"],
        two["attempts"] / two["seconds"],
        two["alone_attempts"] / two["alone_s"],
    )


def table(figures: dict[str, Any]) -> str:
    """The page."""
    found = rates(figures)
    one, two = figures["one"], figures["two"]
    whole = one["seconds"]
    rows = [
        ("one process, builder and learner in turns", found.one, found.one_alone),
        ("two builders and a learner on two cores", found.two, found.two_alone),
    ]
    by = dict(sorted(one["by"].items(), key=lambda item: -item[1]))
    by["not timed"] = max(0.0, whole - sum(by.values()))
    shares = [
        f"| {name} | {taken / whole:.1%} | {one['calls'].get(name, 0):,} |" for name, taken in by.items()
    ]
    return "\n".join(
        [
            f"The {figures['programs']} programs of the real build results, `RulePolicy`, the guard on held-out programs. {figures['machine']}.",
            "",
            "| judged candidates a second | in the loop | the judge alone, on the same candidates | the loop's part | goal, 30 % |",
            "|---|---|---|---|---|",
            *(f"| {name} | {ours:,.0f} | {alone:,.0f} | {ours / alone:.0%} | {'met' if ours >= GOAL * alone else '**missed**'} |" for name, ours, alone in rows),
            "",
            f"The judge alone is given the same candidates again in their order, all inputs drawn before: {figures['alone']['attempts']:,} in one process, {two['alone_attempts']:,} in two at once, each",
            f"a builder's. In one process the learner has a third of the time, as one of three processes has. With two builders {two['seconds']:.0f} s count, from {two['skipped_s']:.0f} s after the",
            f"start; of their time {two['judging_s'] / (2 * two['seconds']):.0%} is in the judge.",
            "",
            f"Where the time of the one process goes, {whole:.0f} s in which {one['attempts']:,} candidates, {one['records']:,} records and {one['versions']} policies are made:",
            f"**the store {share(figures, 'store'):.1%}, the buffer {share(figures, 'buffer'):.1%}**.",
            "",
            "| what | of the time | calls |",
            "|---|---|---|",
            *shares,
            "",
        ]
    )  # fmt: skip


def share(figures: dict[str, Any], part: str) -> float:
    """Of the one process's time: "store" or "buffer"."""
    taken = [seconds for name, seconds in figures["one"]["by"].items() if name.startswith(f"{part}:")]
    return float(sum(taken) / figures["one"]["seconds"])


def readme(figures: dict[str, Any]) -> str:
    """What the README quotes."""
    found = rates(figures)
    return (
        f"Two builders and a learner judge {found.two:,.0f} candidates a second on two cores, {found.two / found.two_alone:.0%} of what the judge does alone; "
        f"the store takes {share(figures, 'store'):.1%} of the loop's time, the buffer {share(figures, 'buffer'):.1%} "
        "([figures](benchmarks/results/loop.md))."
    )
