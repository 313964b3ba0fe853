"""`make bench`: runs everything, prints it, and writes benchmarks/results/.

`python -m benchmarks core` runs one of them, `learn/corpus` a part of one; each is written as soon as it is done. `--quick` is small,
for trying it out, and writes into a temporary folder instead.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from benchmarks import core, hours, learn, learning, loop, machine, replay, replay_learning, store

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [*BENCHMARKS, *(f"learn/{part}" for part in learn.PARTS)]
    parser.add_argument("what", nargs="*", help=f"{', '.join(names)}; all but hours when none is named")
    parser.add_argument("--quick", action="store_true", help="small and few, into a temporary folder")
    parser.add_argument("--seeds", type=int, help="of learn and its parts, instead of 5, or 2 of ten minutes")
    arguments = parser.parse_args()
    unknown = set(arguments.what) - set(names)
    if unknown:
        parser.error(f"expected some of {', '.join(names)}, got {', '.join(sorted(unknown))}")
    if arguments.seeds is not None and arguments.seeds < 1:
        parser.error("expected a seed or more")
    folder = Path(tempfile.mkdtemp(prefix="ostinato-bench-")) if arguments.quick else RESULTS
    folder.mkdir(exist_ok=True)
    for name in arguments.what or [name for name, one in BENCHMARKS.items() if one.usual]:
        one, _, part = name.partition("/")
        if one == "learn":
            for each in [part] if part else learn.PARTS:
                _learn(folder, each, arguments.quick, arguments.seeds)
        else:
            _write(folder, name, BENCHMARKS[name].run(arguments.quick))
    print(f"written to {folder}")


_began = time.monotonic()


def say(text: str) -> None:
    """Progress, with the seconds since the start."""
    print(f"[{time.monotonic() - _began:5.0f} s] {text}", flush=True)


def _core(quick: bool) -> dict[str, Any]:
    say("core: archive and buffer, about two minutes")
    return core.run(20_000, 2_000) if quick else core.run()


def _hours(quick: bool) -> dict[str, Any]:
    say("hours: memory and files of a long run" + ("" if quick else ", an hour and a half"))
    return hours.run(say, quick)


_LEARN_LASTS = {"minute": "seven minutes", "corpus": "a quarter of an hour", "long": "21 minutes"}


def _learn(folder: Path, part: str, quick: bool, seeds: int | None) -> None:
    """One part; the others stay as they are."""
    say(f"learn/{part}" + ("" if quick or seeds else f": about {_LEARN_LASTS[part]}"))
    path = folder / "learn.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    _write(folder, "learn", learn.merged(before, part, learn.PARTS[part](say, quick, seeds)))


def _learning(quick: bool) -> dict[str, Any]:
    say("learning: trained policies on programs never seen" + ("" if quick else ", about 15 minutes"))
    return learning.run(say, quick)


def _loop(quick: bool) -> dict[str, Any]:
    say("loop: the loop's speed" + ("" if quick else ", about three minutes"))
    return loop.run(say, quick)


def _machine(quick: bool) -> dict[str, Any]:
    say("machine: about two minutes")
    return machine.run(say, quick)


def _replay(quick: bool) -> dict[str, Any]:
    say("replay: beside the peers" + ("" if quick else ", about half an hour"))
    if quick:
        return replay.run((2_000, 20_000), alone=100_000, rules=20_000, rounds=2, seconds=0.02, say=say)
    return replay.run(say=say)


def _replay_learning(quick: bool) -> dict[str, Any]:
    say("replay_learning: replay in the loop" + ("" if quick else ", about 12 minutes"))
    return replay_learning.run(say, quick)


def _store(quick: bool) -> dict[str, Any]:
    say("store: beside LMDB and SQLite" + ("" if quick else ", about four minutes"))
    return store.run(store.QUICK if quick else store.FULL, say=say)


def _write(folder: Path, name: str, figures: dict[str, Any]) -> None:
    module, title = BENCHMARKS[name].module, BENCHMARKS[name].title
    text = module.table(figures)
    (folder / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")
    (folder / f"{name}.md").write_text(f"# {title}\n\n{text}")
    print(text + "\nFor the README:\n\n" + module.readme(figures))
    if name == "replay":
        try:
            replay.plot(figures, folder / "replay.png")
        except ImportError as error:
            say(f"no picture: {error}")


class Benchmark(NamedTuple):
    """A benchmark: its module, which makes a table of figures, what that is called, and how it is run (quick?); usual: is it run when
    none is named?"""

    module: ModuleType
    title: str
    run: Callable[[bool], dict[str, Any]]
    usual: bool = True


BENCHMARKS = {
    "core": Benchmark(core, "Archive and buffer", _core),
    "hours": Benchmark(hours, "Hours of learning", _hours, usual=False),
    "learn": Benchmark(learn, "Learning from nothing", lambda quick: learn.minute(say, quick)),
    "learning": Benchmark(learning, "Programs that were never learned from", _learning),
    "loop": Benchmark(loop, "The speed of the loop", _loop),
    "machine": Benchmark(machine, "The Triton VM machine and the judge", _machine),
    "store": Benchmark(store, "The store beside LMDB and SQLite", _store),
    "replay": Benchmark(replay, "The replay buffer beside its peers", _replay),
    "replay_learning": Benchmark(replay_learning, "Replay in the loop", _replay_learning),
}


if __name__ == "__main__":
    main()
