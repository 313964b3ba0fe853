"""How things are measured here: medians of several runs, memory of a child process, the machine named."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def seconds(
    work: Callable[[], object], runs: int = 7, *, before: Callable[[], object] | None = None
) -> float:
    """Median wall time of `work` over some runs, after one that does not count."""
    times = []
    for run in range(runs + 1):
        if before is not None:
            before()
        began = time.perf_counter()
        work()
        if run:
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def alternating(*works: Callable[[], object], runs: int = 7) -> list[float]:
    """Median wall times of several works, run in turns, so that what slows the machine slows all."""
    times: list[list[float]] = [[] for _ in works]
    for run in range(runs + 1):
        for work, taken in zip(works, times, strict=True):
            began = time.perf_counter()
            work()
            if run:
                taken.append(time.perf_counter() - began)
    return [statistics.median(taken) for taken in times]


def rss_bytes() -> int:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def in_child(module: str, *arguments: str) -> str:
    """What `python -m module arguments` prints: for memory, which is not given back within a process."""
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def machine() -> str:
    """One line on what this ran on."""
    import numba
    import numpy

    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, numpy {numpy.__version__}, numba {numba.__version__}"
    )
