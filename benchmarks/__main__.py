"""`make bench`: runs everything, prints it, and writes benchmarks/results/.

`python -m benchmarks core`, `learn`, `machine`, `replay` or `store` runs one of the five; `--quick` is small, for trying it out, and writes into a
temporary folder instead.
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

from benchmarks import core, learn, machine, replay, store

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="*", help="core, learn, machine, store, replay; all when none is named")
    parser.add_argument("--quick", action="store_true", help="small and few, into a temporary folder")
    arguments = parser.parse_args()
    unknown = set(arguments.what) - set(BENCHMARKS)
    if unknown:
        parser.error(f"expected core, learn, machine, store or replay, got {', '.join(sorted(unknown))}")
    folder = Path(tempfile.mkdtemp(prefix="ostinato-bench-")) if arguments.quick else RESULTS
    folder.mkdir(exist_ok=True)
    for name in arguments.what or BENCHMARKS:
        _write(folder, name, BENCHMARKS[name].run(arguments.quick))
    print(f"written to {folder}")


_began = time.monotonic()


def say(text: str) -> None:
    """Progress, with the seconds since the start."""
    print(f"[{time.monotonic() - _began:5.0f} s] {text}", flush=True)


def _core(quick: bool) -> dict[str, Any]:
    say("core: archive and buffer, about two minutes")
    return core.run(20_000, 2_000) if quick else core.run()


def _learn(quick: bool) -> dict[str, Any]:
    say("learn: " + ("" if quick else "about nine minutes"))
    return learn.run(say, quick)


def _machine(quick: bool) -> dict[str, Any]:
    say("machine: about two minutes")
    return machine.run(say, quick)


def _replay(quick: bool) -> dict[str, Any]:
    say("replay: beside the peers" + ("" if quick else ", about half an hour"))
    if quick:
        return replay.run((2_000, 20_000), alone=100_000, rules=20_000, rounds=2, seconds=0.02, say=say)
    return replay.run(say=say)


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
    """A benchmark: its module, which makes a table of figures, what that is called, and how it is run (quick?)."""

    module: ModuleType
    title: str
    run: Callable[[bool], dict[str, Any]]


BENCHMARKS = {
    "core": Benchmark(core, "Archive and buffer", _core),
    "learn": Benchmark(learn, "Learning from nothing", _learn),
    "machine": Benchmark(machine, "The Triton VM machine and the judge", _machine),
    "store": Benchmark(store, "The store beside LMDB and SQLite", _store),
    "replay": Benchmark(replay, "The replay buffer beside its peers", _replay),
}


if __name__ == "__main__":
    main()
