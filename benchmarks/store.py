"""The store beside LMDB (no sync) and SQLite (WAL, synchronous NORMAL), in one run on one machine, in turns.

Everything happens in the folder for temporary files (TMPDIR), which should be a disk: about 4 GB are there for a while.
Contenders: `contenders.py`; the records: `attempts.py`; what runs in processes of its own: `store_child.py`; what is
said of the figures: `store_table.py`.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.attempts import CHUNK, Attempts, Given, given
from benchmarks.contenders import CONTENDERS
from benchmarks.measure import in_child, machine
from benchmarks.store_child import anonymous_bytes
from benchmarks.store_table import goals, readme, table

__all__ = ["FULL", "QUICK", "Size", "goals", "readme", "run", "table"]

CHILD = "benchmarks.store_child"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Size:
    """How much of everything; `few` are the rounds of what takes seconds."""

    chunks: int = 20  # of 1,024: appended one by one in a turn
    times: int = 10  # as often in a turn of 1,024 at once
    rounds: int = 7
    few: int = 3
    writers: int = 8
    written: int = 100 * CHUNK  # by each of them, one by one; four times as many in columns
    records: int = 1_000_000
    journals: int = 8
    memory: tuple[int, int] = (300_000, 3_000_000)
    segment_mib: int = 64  # for memory: both stores have several
    many: int = 10_000_000
    draws: int = 2000


FULL = Size()
QUICK = Size(
    chunks=1, times=2, rounds=2, few=1, writers=2, written=2 * CHUNK, records=20_000, journals=2,
    memory=(10_000, 40_000), segment_mib=2, many=50_000, draws=50,
)  # fmt: skip


def run(size: Size = FULL, *, say: Say = print) -> dict[str, Any]:
    """All figures, as plain numbers; each round's."""
    out: dict[str, Any] = {
        "machine": machine(), "size": asdict(size), "instructions": Attempts().instructions,
        "versions": {"SQLite": sqlite3.sqlite_version}, "missing": {},
    }  # fmt: skip
    out["size"]["memory"] = list(size.memory)
    try:
        import lmdb  # noqa: F401

        out["versions"]["LMDB"] = importlib.metadata.version("lmdb")
    except ImportError as error:
        out["missing"]["LMDB"] = f"{type(error).__name__}: {error}"
    say("appending")
    out |= _appending(size, [n for n in CONTENDERS if not (n.startswith("LMDB") and out["missing"])])
    say("a writer's start")
    starts = [_child("light") for _ in range(size.rounds)]
    out["start"] = {name: [start[name] for start in starts] for name in ("import_s", "append_s")}
    out["start"]["numba"] = any(start["numba"] for start in starts)
    say(f"{size.writers} writers at once")
    out["writers"] = _writers(size)
    with _folder() as folder:
        out |= _opening(folder, size, say)
        say(f"refresh with {size.journals} journals")
        out["refresh"] = _child("refresh", size.journals, size.rounds)
        out["memory"] = _memory(folder, size, say)
        out["large"] = _large(folder, size, say)
    return out


# --- appending ----------------------------------------------------------------------------------------------


def _appending(size: Size, names: list[str]) -> dict[str, Any]:
    """Records a second of each contender, one by one and 1,024 at once, a new folder for each turn."""
    ready = given(size.chunks * CHUNK, size.times)
    out: dict[str, Any] = {
        "archive_bytes": statistics.mean(map(len, ready.archives)),
        "append": {name: [] for name in names},
        "extend": {name: [] for name in names},
    }
    for turn in range(size.rounds + 1):
        for how, rates in (("append", out["append"]), ("extend", out["extend"])):
            for name in names:
                rate = _turn(name, how, ready, size.times)
                if turn:  # the first does not count
                    rates[name].append(rate)
    return out


def _turn(name: str, how: str, ready: Given, times: int) -> float:
    with _folder() as folder:
        contender = CONTENDERS[name](folder)
        gc.collect()
        began = time.perf_counter()
        if how == "append":
            contender.append(ready)
        else:
            contender.extend(ready, times)
        taken = time.perf_counter() - began
        count = len(ready.records) * (1 if how == "append" else times)
        kept = contender.close()
        if kept != count:
            raise AssertionError(f"{name} kept {kept} of {count}")
        return count / taken


def _writers(size: Size) -> dict[str, Any]:
    """Records a second of one writer and of several processes together, in turns, and how many were lost."""
    out: dict[str, Any] = {"lost": 0, "kept": 0}
    for how, count in (("ones", size.written), ("columns", 4 * size.written)):
        rates: dict[str, list[float]] = {"one": [], "all": []}
        with _children(size.writers, "write", count) as children:
            for turn in range(size.few + 1):
                for who, some in (("one", children[:1]), ("all", children)):
                    rate, kept, lost = _write(some, how)
                    out["kept"] += kept
                    out["lost"] += lost
                    if turn:
                        rates[who].append(rate)
        out[how] = rates
    return out


def _write(children: list[subprocess.Popen[str]], how: str) -> tuple[float, int, int]:
    """(records a second, records that are there, records that are not)."""
    from ostinato.store import Store

    with _folder() as folder:
        path = folder / "store"
        Store.open(path)
        for child in children:
            _ask(child, f"{how} {path}")
        for child in children:
            _send(child, "go")
        told = [_hear(child) for child in children]
        appended = sum(one["appended"] for one in told)
        ids = Store.open(path).results().ids
        kept = len(np.unique(ids))
        if kept != len(ids):
            raise AssertionError("records stand there twice")
        taken = max(one["ended"] for one in told) - min(one["began"] for one in told)
        return appended / taken, kept, appended - kept


# --- opening, sealing ---------------------------------------------------------------------------------------


def _opening(folder: Path, size: Size, say: Say) -> dict[str, Any]:
    n = size.records
    say(f"building stores of {n:,}")
    ones, sealed, base = (folder / name for name in ("ones", "sealed", "records.sqlite"))
    _child("build", ones, n, "ones")
    _child("build", sealed, n, "sealed")
    _child("build", base, n, "database")
    out: dict[str, Any] = {
        "open": {name: [] for name in ("warm", "cold", "import", "sqlite")},
        "unsealed": {"open_s": [], "results_s": []},
        "tidy": {"seal": [], "compact": []},
    }
    say("opening")
    for turn in range(size.rounds + 1):
        warm, cold = (_child("first_batch", sealed, n, start) for start in ("warm", "cold"))
        if turn:
            out["open"]["warm"].append(warm["open_s"])
            out["open"]["cold"].append(cold["open_s"])
            out["open"]["import"].append(cold["import_s"])
        if turn < size.few:
            out["open"]["sqlite"].append(_child("database", base, n)["read_s"])
            for name, taken in _child("unsealed", ones, n).items():
                out["unsealed"][name].append(taken)
    base.unlink()
    say("sealing and compacting")
    for _ in range(size.few):
        copy = folder / "copy"
        shutil.copytree(ones, copy)
        for verb in ("seal", "compact"):
            done = _child("tidy", copy, verb, n, 1024)
            out["tidy"][verb].append(done["bytes"] / done["s"])
        shutil.rmtree(copy)
    shutil.rmtree(ones)
    shutil.rmtree(sealed)
    return out


def _memory(folder: Path, size: Size, say: Say) -> dict[str, Any]:
    """The most anonymous memory that sealing and compacting take beside what is there before, of a small and a large store."""
    out: dict[str, Any] = {"seal": {}, "compact": {}}
    for n in size.memory:
        say(f"memory while a store of {n:,} is sealed and compacted")
        path = folder / "memory"
        _child("build", path, n, "columns")
        for verb in ("seal", "compact"):
            done, peak = _watched("tidy", path, verb, n, size.segment_mib)
            out[verb][str(n)] = {
                "peak": peak - done["before"] if peak else None,
                "segments": done["segments"],
            }
        shutil.rmtree(path)
    return out


def _large(folder: Path, size: Size, say: Say) -> dict[str, Any]:
    """A buffer over many records; {} where the disk has no room."""
    free = shutil.disk_usage(folder).free
    if free < 800 * size.many:
        say(f"left out: {size.many:,} records, since the disk has {free / 1e9:.0f} GB free")
        return {}
    say(f"building a store of {size.many:,}")
    path = folder / "large"
    _child("build", path, size.many, "sealed")
    say("a buffer over all of it")
    out = _child("large", path, size.many, size.draws)
    bytes_ = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    shutil.rmtree(path)
    return {**out, "file_bytes": bytes_}


# --- processes ----------------------------------------------------------------------------------------------


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ostinato-bench-") as folder:
        yield Path(folder)


def _child(verb: str, *arguments: object) -> Any:
    said = in_child(CHILD, verb, *map(str, arguments))
    return json.loads(said) if said else None


def _popen(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", CHILD, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _watched(*arguments: object) -> tuple[Any, int]:
    """What a child says, and the most anonymous memory it had, looked at from outside each millisecond."""
    child = _popen(*arguments)
    peak = 0
    while child.poll() is None:
        peak = max(peak, anonymous_bytes(child.pid))
        time.sleep(0.001)
    said = child.communicate()[0]
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, child.args, said)
    return json.loads(said), peak


@contextmanager
def _children(count: int, *arguments: object) -> Iterator[list[subprocess.Popen[str]]]:
    children = [_popen(*arguments) for _ in range(count)]
    try:
        for child in children:
            _hear(child)
        yield children
    finally:
        for child in children:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.close()
            child.wait()
            child.stdout.close()


def _send(child: subprocess.Popen[str], line: str) -> None:
    assert child.stdin is not None
    child.stdin.write(line + "\n")
    child.stdin.flush()


def _hear(child: subprocess.Popen[str]) -> Any:
    assert child.stdout is not None
    return json.loads(child.stdout.readline())


def _ask(child: subprocess.Popen[str], line: str) -> Any:
    _send(child, line)
    return _hear(child)
