"""An hour and a half of `ostinato learn`: does the memory of its processes grow, is the disk budget held, and what is found late?

A real run of the 32 programs, two builders and a learner, with a small disk budget so that records leave many times. Each process's
memory, without the files that it maps, is read from /proc once a minute.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.learn import COMMAND, cycles_after
from benchmarks.measure import machine
from ostinato.online.folder import Folder

SECONDS, DISK_GB, EVERY_S = 5400, 0.1, 60
ROLES = ("whole run", "builder 1", "builder 2", "learner")  # in the order in which they start
MARKS = (60, 600, 1800, 3600, 5400)

Say = Callable[[str], None]


def run(say: Say = print, quick: bool = False) -> dict[str, Any]:
    """The figures."""
    seconds, every = (12, 2) if quick else (SECONDS, EVERY_S)
    samples: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        path, said = Path(temporary) / "run", Path(temporary) / "said"
        options = ["learn", str(path), "--seconds", str(seconds), "--disk-gb", str(DISK_GB), "--json"]
        with said.open("wb") as out, subprocess.Popen([*COMMAND, *options], stdout=out) as process:
            begin = time.monotonic()
            while process.poll() is None:
                time.sleep(min(every, 1.0))
                after = every * (len(samples) + 1)
                if after < seconds and time.monotonic() - begin >= after:
                    sample = {"seconds": after, "disk_bytes": Folder(path).size_bytes()}
                    samples.append(sample | {"memory_bytes": _memory(process.pid)})
                    say(f"hours: {samples[-1]}")
        if process.returncode:
            raise RuntimeError(f"the run ended with {process.returncode}")
        moments = [json.loads(line) for line in said.read_text(encoding="utf-8").splitlines()]
    return {
        "machine": machine(),
        "seconds": seconds,
        "disk_gb": DISK_GB,
        "samples": samples,
        "marks": cycles_after(moments, MARKS, seconds),
        "cycles": moments[-1]["best_cycles"],
        "attempts": moments[-1]["attempts"],
    }


def _memory(pid: int) -> dict[str, int]:
    """Resident bytes that are no file's, by role; processes that come and go to make room are left out."""
    pids = [pid, *(one for one in _children(pid) if b"resource_tracker" not in _read(one, "cmdline"))]
    found = [
        (role, _read(one, "status").partition(b"RssAnon:")[2].split())
        for role, one in zip(ROLES, pids, strict=False)
    ]
    return {role: int(fields[0]) * 1024 for role, fields in found if fields}


def _children(pid: int) -> list[int]:
    """In the order of their starts."""
    fields = [
        (int(one.name), _read(int(one.name), "stat").rsplit(b")", 1)[-1].split())
        for one in Path("/proc").glob("[0-9]*")
    ]
    return [
        child
        for _, child in sorted((int(one[19]), child) for child, one in fields if one and int(one[1]) == pid)
    ]


def _read(pid: int, name: str) -> bytes:
    try:
        return (Path("/proc") / str(pid) / name).read_bytes()
    except OSError:
        return b""


def growth(samples: list[dict[str, Any]], role: str) -> float | None:
    """MB an hour in the second half: the slope of a line laid through it. None with fewer than three samples."""
    half = [one for one in samples[len(samples) // 2 :] if role in one["memory_bytes"]]
    if len(half) < 3:
        return None
    hours = [one["seconds"] / 3600 for one in half]
    return float(np.polyfit(hours, [one["memory_bytes"][role] / 1e6 for one in half], 1)[0])


def table(figures: dict[str, Any]) -> str:
    """The page."""
    samples = figures["samples"]
    shown = samples[:: max(1, len(samples) // 12)]
    if shown[-1] is not samples[-1]:
        shown.append(samples[-1])
    rows = [
        [
            f"{one['seconds'] / 60:.0f}",
            *(_mb(one["memory_bytes"].get(role)) for role in ROLES),
            _mb(one["disk_bytes"]),
        ]
        for one in shown
    ]
    heads = ["minutes", *ROLES, "files"]
    slopes = [growth(samples, role) for role in ROLES]
    most = max(one["disk_bytes"] for one in samples) / 1e6
    marks = ", ".join(
        f"{cycles} after {int(mark) / 60:.0f} minutes" for mark, cycles in figures["marks"].items()
    )
    return "\n".join(
        [
            f"`ostinato learn --seconds {figures['seconds']} --disk-gb {figures['disk_gb']}`: the 32 programs, two builders and a learner; {figures['machine']}.",
            "Memory of each process, without the files that it maps, and the size of the run's folder, in MB:",
            "",
            f"| {' | '.join(heads)} |",
            "|" + "---|" * len(heads),
            *(f"| {' | '.join(row)} |" for row in rows),
            f"| an hour, in the second half | {' | '.join('–' if one is None else f'{one:+.1f}' for one in slopes)} | |",
            "",
            f"The files were {most:.0f} MB at most, of {figures['disk_gb'] * 1000:.0f} MB allowed. {figures['attempts']:,} candidates were judged;",
            f"the cycles of all programs together: {marks or figures['cycles']}.",
            "",
        ]
    )  # fmt: skip


def _mb(size: int | None) -> str:
    return "–" if size is None else f"{size / 1e6:.0f}"


def readme(figures: dict[str, Any]) -> str:
    """Nothing: the README does not quote it."""
    return ""
