"""The replay buffer beside the libraries that people use today, at the same work, in one run on one machine.

A library is a process of its own; all of one size are alive at once and one works at a time, in turns, so that what
slows the machine slows all. Every figure keeps what each round gave; tables show medians, and from the least to the
most. What the operations are: `peers.py`, `turns.py`. Ostinato's own samplers and removers: `rules.py`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import machine
from benchmarks.peers import ADAPTERS, IMPORTS
from benchmarks.turns import Child

OURS = "ostinato"
SIZES = (10_000, 100_000, 1_000_000)
ALONE = 10_000_000
OPERATIONS = {
    "add": "add one at a time, records/s",
    "extend": "add 1,024 at once, records/s",
    "draw": "draw 256 with weights, batches/s",
    "update": "update 256 priorities, batches/s",
    "loop": "draw 256, update 256, add 256, batches/s",
}
OWN = {
    "add_made": "add one at a time, making the BuildResult too, records/s",
    "draw_dense": "draw 256 and pad the tokens to 64, batches/s",
    "update_call": "update 256 priorities, the call alone, batches/s",
}
GOALS = (  # of DESIGN, at the largest size that all hold: operation, how many times, of whom
    ("draw", 3.0, None),
    ("update", 3.0, None),
    ("loop", 5.0, None),
    ("add", 10.0, "cpprb"),
    ("extend", 1.0, "cpprb"),
)
MOST_GROWTH = 3.0  # a draw from ALONE records, in draws from the smallest size
MOST_COLD_S = 1.5
Say = Callable[[str], None]


def run(
    sizes: tuple[int, ...] = SIZES,
    *,
    alone: int = ALONE,
    rules: int = 1_000_000,
    rounds: int = 7,
    seconds: float = 0.3,
    say: Say = print,
) -> dict[str, Any]:
    """All figures, as plain numbers: rates are a second, one for each round."""
    out: dict[str, Any] = {
        "machine": machine(), "sizes": list(sizes), "alone": alone, "rounds": rounds, "seconds": seconds,
        "versions": {}, "missing": {}, "rates": {}, "bytes_a_record": {},
    }  # fmt: skip
    libraries = list(ADAPTERS)
    for size in sizes:
        _rounds(out, [(library, size) for library in libraries if library not in out["missing"]], say)
    # the largest beside the smallest, so that their ratio is of one time
    out["growth"] = {
        "rates": {},
        "bytes_a_record": {},
        "versions": {},
        "missing": {},
        "rounds": rounds,
        "seconds": seconds,
    }
    _rounds(out["growth"], [(OURS, sizes[0]), (OURS, alone)], say)
    libraries = [library for library in libraries if library not in out["missing"]]
    out |= {"import_s": _processes(libraries, _import_s, min(rounds, 5), "importing", say)}
    out |= {"cold_s": _processes(libraries, _cold_s, min(rounds, 5), "a cold start of", say)}
    say(f"samplers and removers at {rules:,}")
    command = [sys.executable, "-m", "benchmarks.rules", str(rules), str(rounds), str(seconds)]
    out["rules"] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return out


def _rounds(out: dict[str, Any], who: list[tuple[str, int]], say: Say) -> None:
    """Every operation of every library, in turns; the first round does not count."""
    children: list[tuple[Child, str]] = []
    try:
        for library, size in who:
            say(f"filling {library} with {size:,}")
            child = Child(library, size)
            if "missing" in child.ready:
                out["missing"][library] = child.ready["missing"]
                say(f"  left out: {child.ready['missing']}")
                child.close()
                continue
            children.append((child, str(size)))
            out["versions"][library] = child.ready["version"]
            out["bytes_a_record"].setdefault(library, {})[str(size)] = child.ready["bytes_a_record"]
            out["rates"].setdefault(library, {})[str(size)] = {}
        for turn in range(out["rounds"] + 1):
            say(f"round {turn} of {out['rounds']}")
            for operation in (*OPERATIONS, *OWN):
                for child, size_key in children:
                    rate = child.rate(operation, out["seconds"] if turn else out["seconds"] / 4)
                    if rate is not None and turn:
                        out["rates"][child.library][size_key].setdefault(operation, []).append(rate)
    finally:
        for child, _ in children:
            child.close()


def _processes(
    libraries: list[str], work: Callable[[str], float], rounds: int, what: str, say: Say
) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {library: [] for library in libraries}
    for turn in range(rounds + 1):  # the first fills caches: of the disk, of bytecode, of kernels
        say(f"{what} each, {turn} of {rounds}")
        for library in libraries:
            spent = work(library)
            if turn:
                taken[library].append(spent)
    return taken


def _import_s(library: str) -> float:
    code = f"import time\nbegan = time.perf_counter()\n{IMPORTS[library]}\nprint(time.perf_counter() - began)"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return float(said.split()[-1])


def _cold_s(library: str) -> float:
    """From the start of a process to its first batch."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.turns", "--cold", library]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


# --- what is said of the figures ----------------------------------------------------------------------------


def _median(rates: list[float]) -> float:
    return statistics.median(rates)


def _short(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    return f"{value / 1e3:.1f} k" if value >= 1e4 else f"{value:,.0f}"


def _spread(rates: list[float] | None) -> str:
    """`median (least–most)`."""
    return f"{_short(_median(rates))} ({_short(min(rates))}–{_short(max(rates))})" if rates else "–"


def _seconds(taken: list[float]) -> str:
    return f"{_median(taken):.2f} ({min(taken):.2f}–{max(taken):.2f})"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |\n"


def _head(*cells: str) -> str:
    return _row(*cells) + "|" + "---|" * len(cells) + "\n"


def goals(f: dict[str, Any]) -> list[dict[str, Any]]:
    """What was to be reached: {"what", "goal", "reached", "of", "met"}; ratios of medians."""
    size = str(f["sizes"][-1])
    rates = f["rates"]
    out = []
    for operation, goal, rival in GOALS:
        # uniform replay and a loop that updates nothing are no rivals
        others = {
            name: _median(by_size[size][operation])
            for name, by_size in rates.items()
            if name != OURS and "update" in by_size[size] and "numpy" not in name and rival in {None, name}
        }
        what = OPERATIONS[operation].rsplit(",", 1)[0]
        if not others:
            out.append({"what": what, "goal": goal, "reached": None, "of": rival or "no peer", "met": None})
            continue
        best = max(others, key=lambda name: others[name])
        reached = _median(rates[OURS][size][operation]) / others[best]
        out.append({"what": what, "goal": goal, "reached": reached, "of": best, "met": reached >= goal})
    growth = f["growth"]["rates"][OURS]
    small, large = (_median(growth[str(n)]["draw"]) for n in (f["sizes"][0], f["alone"]))
    what = f"a draw from {f['alone']:,} in draws from {f['sizes'][0]:,}, at most"
    out.append(
        {
            "what": what,
            "goal": MOST_GROWTH,
            "reached": small / large,
            "of": OURS,
            "met": small / large <= MOST_GROWTH,
        }
    )
    return out


def _verdict(goal: dict[str, Any]) -> str:
    return "not measured" if goal["met"] is None else "reached" if goal["met"] else "**missed**"


def _times(reached: float | None) -> str:
    return "–" if reached is None else f"{reached:.1f} x" if reached < 100 else f"{reached:.0f} x"


def table(f: dict[str, Any]) -> str:
    """The figures as Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in f["versions"].items() if version)
    out = (
        f"{f['machine']}. {versions}.\nMedians of {f['rounds']} rounds of {f['seconds']} s each, in turns, and from the "
        "least to the most. The record: a 32-byte hash, seven scalar columns, a priority, 4 to 64 token ids (34 on "
        "average), padded to 64 in the peers. Buffers are full; k is a thousand, M a million.\n"
    )
    out += "".join(f"\n{name} is left out: {why}\n" for name, why in f["missing"].items())
    out += f"\n## Goals, at {f['sizes'][-1]:,} records\n\n" + _head("what", "goal", "reached", "of", "")
    for goal in goals(f):
        out += _row(goal["what"], f"{goal['goal']:g} x", _times(goal["reached"]), goal["of"], _verdict(goal))
    for size in f["sizes"]:
        out += f"\n## {size:,} records\n\n" + _sized(f, str(size))
    out += f"\n## {f['alone']:,} records, Ostinato alone, in turns with {f['sizes'][0]:,}\n\n"
    growth = f["growth"]["rates"][OURS]
    keys = [str(f["sizes"][0]), str(f["alone"])]
    out += _head("what", *(f"{int(key):,}" for key in keys))
    for operation, what in (OPERATIONS | OWN).items():
        out += _row(what, *(_spread(growth[key].get(operation)) for key in keys))
    out += _row("bytes a record", *(f"{f['growth']['bytes_a_record'][OURS][key]:,.0f}" for key in keys))
    return out + _starts(f) + _rules(f["rules"]) + NOTES


def _sized(f: dict[str, Any], size: str) -> str:
    out = _head("", *(what.rsplit(",", 1)[0] for what in OPERATIONS.values()), "bytes a record")
    for name, by_size in f["rates"].items():
        if size not in by_size:
            continue
        cells = [_spread(by_size[size].get(operation)) for operation in OPERATIONS]
        out += _row(name, *cells, f"{f['bytes_a_record'][name][size]:,.0f}")
    ours = f["rates"][OURS][size]
    return out + "".join(f"\nOstinato, {what}: {_spread(ours[name])}\n" for name, what in OWN.items())


def _starts(f: dict[str, Any]) -> str:
    out = "\n## Starting, seconds\n\n" + _head("", "import", "start of a process to its first batch")
    for name, taken in f["import_s"].items():
        out += _row(name, _seconds(taken), _seconds(f["cold_s"][name]))
    reached = _median(f["cold_s"][OURS]) <= MOST_COLD_S
    return (
        out
        + f"\nGoal of {MOST_COLD_S} s for Ostinato: {'reached' if reached else '**missed**'}. Kernels are cached.\n"
    )


def _rules(rules: dict[str, Any]) -> str:
    out = ""
    titles = {
        "samplers": ("draw", "Proportional()", "draw 256, us", "after updates: draw, update, add 256, us"),
        "removers": ("extend", "Oldest()", "add 1,024, us", "draw, update, add 256, us"),
    }
    for kind, (operation, base, first, second) in titles.items():
        out += f"\n## {kind.capitalize()}, at {rules['records']:,} records\n\n"
        out += _head("", first, f"in those of `{base}`", second, f"in those of `{base}`")
        for name, taken in rules[kind].items():
            cells = []
            for column in (operation, "loop"):
                mine, theirs = taken[column], rules[kind][base][column]
                ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
                cells += [
                    f"{_median(mine) * 1e6:,.0f}",
                    f"{_median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})",
                ]
            out += _row(f"`{name}`", *cells)
        if kind == "samplers":
            out += _over(rules["samplers"])
    return out


def _over(samplers: dict[str, Any]) -> str:
    """Goals of the samplers' draws: twice Proportional's, PerProgram's three times."""
    base = samplers["Proportional()"]["draw"]
    over = []
    for name, taken in samplers.items():
        ratio = _median([a / b for a, b in zip(taken["draw"], base, strict=True)])
        if ratio > (3 if name.startswith("PerProgram") else 2):
            over.append(f"`{name}` {ratio:.1f} x")
    said = "reached by all" if not over else "**missed** by " + ", ".join(over)
    return f"\nGoal, a draw at most 2 x that of `Proportional()`, of PerProgram 3 x: {said}.\n"


NOTES = """
## How to read this

- A library gets numpy columns; making its own type of a chunk (TensorDict, a ReplayBuffer to move from, Results) is in
  the time. For one at a time the record is there already in the library's type (a BuildResult, a dict, a Batch, a
  TensorDict), except where "making the BuildResult too" is said.
- What Ostinato puts off is in the time: after each 1,024 single adds, each chunk and each update its tree is brought
  up to date, except where "the call alone" is said; in the loop the next draw does it.
- Ostinato gathers a batch's tokens ragged, the peers padded; padding is a line of its own. Rates of the loop are without.
- cpprb and the reference are given priorities, Ostinato computes its reward, tianshou and torchrl give new records the
  highest priority so far. Before the clock starts all records' priorities are of one exponential distribution.
- stable-baselines3 is uniform and has no batched add: the floor, no rival. Its record is one observation of bytes, its
  loop a draw and 256 single adds. The reference, `benchmarks/reference.py`, is no rival either.
- torch works with one thread. Its wheels and torchrl's may not fit each other; then torchrl's kernels are compiled here,
  with -O3, from the sources in its wheel (`benchmarks/build_torchrl.py`).
- Bytes a record: resident memory of a full buffer, less that of the process before; at the small sizes what a library
  allocates once weighs most.
"""


def readme(f: dict[str, Any]) -> str:
    """The few figures that the README shows, as Markdown."""
    size = str(f["sizes"][-1])
    shown = [name for name in f["rates"] if size in f["rates"][name]]
    out = _head(f"{int(size):,} records", *shown)
    for operation, what in OPERATIONS.items():
        cells = [f["rates"][name][size].get(operation) for name in shown]
        out += _row(what, *(_short(_median(rates)) if rates else "–" for rates in cells))
    out += _row("bytes a record", *(f"{f['bytes_a_record'][name][size]:,.0f}" for name in shown))
    said = [
        f"{goal['what']} {_times(goal['reached'])} ({goal['of']})"
        for goal in goals(f)
        if goal["met"] is not None and goal["of"] != OURS
    ]
    growth = goals(f)[-1]
    beside = f" Beside the best of them: {', '.join(said)}." if said else ""
    return (
        f"{out}\nMedians, prioritized (stable-baselines3: uniform).{beside} A draw from "
        f"{f['alone']:,} takes {_times(growth['reached'])} as long as one from {f['sizes'][0]:,} "
        "([figures](benchmarks/results/replay.md)).\n"
    )


def plot(f: dict[str, Any], path: Path) -> None:
    """One small picture for each operation, libraries side by side over sizes."""
    from benchmarks.picture import draw

    draw(f, OPERATIONS, path)
