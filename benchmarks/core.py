"""The archive and the buffer at 1,000,000 realistic records, side by side with what people use today.

Rivals: JSON lines with the standard library (the form of TVM's and OpenEvolve's databases) and SQLite (WAL), at
100,000 records each because they are slow, ratios per record; one numpy pass over the same bytes as the floor.
"""

from __future__ import annotations

import gc
import io
import json
import mmap
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import alternating, in_child, machine, rss_bytes, seconds
from benchmarks.workload import realistic
from ostinato import ReplayBuffer, Vocabulary, archive, jsonl
from ostinato.replay import LowestPriority, Oldest, Proportional

N = 1_000_000
FEW = 100_000


def run(n: int = N, few: int = FEW) -> dict[str, Any]:
    """All figures, as numbers."""
    out: dict[str, Any] = {"machine": machine(), "records": n, "rival_records": few}
    results = realistic(n)
    out["instructions"] = int(results.instruction_counts.sum())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "big.rkyv"
        archive.save(path, results)
        out["file_bytes"] = path.stat().st_size
        out |= _reading(path, out["instructions"])
        small = results[:few]
        out["dumps_s"] = seconds(lambda: archive.dumps(results), 7, before=gc.collect)
        out["save_s"] = seconds(lambda: archive.save(path, results), 3)
        out |= _rivals(Path(folder), small)
        other = Path(folder) / "other.rkyv"
        archive.save(other, realistic(n, seed=1))
        out |= _buffer(results, archive.open(other), small)
        for remover in ("LowestPriority", "Oldest"):
            out[f"memory_{remover}"] = json.loads(in_child("benchmarks.core", "memory", str(n), remover))
        out["memory_open_bytes_a_record"] = float(in_child("benchmarks.core", "opened", str(path))) / n
    return out


def _reading(path: Path, instructions: int) -> dict[str, Any]:
    def numpy_pass() -> int:
        with open(path, "rb") as file:
            return int(np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint64).sum())

    floor, whole = alternating(numpy_pass, lambda: archive.open(path))
    return {
        "numpy_pass_s": floor,
        "open_validate_s": whole,
        "open_validate_bound_s": 2 * floor + 3e-9 * instructions,
        "open_s": seconds(lambda: archive.open(path, validate=False)),
    }


def _rivals(folder: Path, results: Any) -> dict[str, Any]:
    """Reading everything into columns, and writing it, per record."""
    records = results.to_list()
    lines = b"".join(map(jsonl.dump, records))
    (folder / "r.rkyv").write_bytes(archive.dumps(results))

    path = folder / "r.rkyv"

    def read_tokens() -> None:
        """Every column and every instruction, as arrays."""
        read = archive.open(path)
        read.tokens(Vocabulary())
        read.compiler_cycles.sum()

    def read_json() -> None:
        rows = [json.loads(line) for line in io.BytesIO(lines)]
        np.array([row["compiler_cycles"] for row in rows], np.uint64)

    def write_json() -> bytes:
        return b"".join(json.dumps(record.to_dict()).encode() + b"\n" for record in records)

    rows = [(r.tir_hash, "\n".join(r.generated_tasm), *list(r.to_dict().values())[2:]) for r in records]
    database = folder / "r.sqlite"

    def write_sqlite() -> None:
        database.unlink(missing_ok=True)
        with sqlite3.connect(database) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("CREATE TABLE r (a BLOB, b TEXT, c INT, d INT, e INT, f INT, g INT, h INT)")
            connection.executemany("INSERT INTO r VALUES (?,?,?,?,?,?,?,?)", rows)
        connection.close()

    def read_sqlite() -> None:
        connection = sqlite3.connect(database)
        columns = list(zip(*connection.execute("SELECT * FROM r"), strict=True))
        np.array(columns[4], np.int64)
        connection.close()

    return {
        "write_json_s": seconds(write_json, 3),
        "write_sqlite_s": seconds(write_sqlite, 3),
        "write_archive_s": seconds(lambda: archive.dumps(results), 3),
        "save_archive_s": seconds(lambda: archive.save(path, results), 3),
        "read_json_s": seconds(read_json, 3),
        "read_sqlite_s": seconds(read_sqlite, 3),
        "read_tokens_s": seconds(read_tokens, 3),
        "read_records_s": seconds(lambda: list(archive.open(path)), 3),
    }


def _buffer(results: Any, other: Any, few: Any) -> dict[str, Any]:
    out: dict[str, Any] = {}
    singles = few.to_list()
    for remover in (LowestPriority(), Oldest()):
        name = type(remover).__name__
        buffer = ReplayBuffer(len(results), sampler=Proportional(), remover=remover, seed=0)
        buffer.extend(results)
        out[f"extend_columns_{name}"] = len(results) / seconds(lambda b=buffer: b.extend(results), 5)
        out[f"extend_archive_{name}"] = len(other) / seconds(lambda b=buffer: b.extend(other), 5)

        # the hardest case: every record is worth more than some that is there, so all push another out
        rising = iter(np.random.default_rng(0).random((4, len(other))) + np.arange(4)[:, None])
        work = lambda b=buffer, p=rising: b.extend(other, priorities=next(p))  # noqa: E731
        out[f"extend_replacing_{name}"] = len(other) / seconds(work, 3)

        def push(buffer: ReplayBuffer = buffer) -> None:
            for record in singles:
                buffer.push(record)
            buffer.valid_count()  # what was put off is done here

        out[f"push_{name}"] = len(singles) / seconds(push, 5)
        batch = buffer.sample(256)
        out[f"sample_256_{name}"] = 1 / seconds(lambda b=buffer: b.sample(256), 1000)
        priorities = np.random.default_rng(0).random(256)
        update = seconds(lambda b=buffer, x=batch, p=priorities: b.update_priorities(x.ids, p), 1000)
        out[f"update_256_{name}"] = 1 / update
    return out


def memory(n: int, remover: str) -> dict[str, float]:
    """Bytes a record beside 4 an instruction: when full, and after as many again."""
    remove = {"LowestPriority": LowestPriority(), "Oldest": Oldest()}[remover]
    warm = ReplayBuffer(500, sampler=Proportional(), remover=remove)
    warm.extend(realistic(2000))
    warm.sample(1)
    chunk = realistic(10_000)
    tokens = 4 * int(chunk.instruction_counts.sum()) / len(chunk)
    gc.collect()
    before = rss_bytes()
    buffer = ReplayBuffer(n, sampler=Proportional(), remover=remove)
    out = {}
    for label, times in (("full", n // len(chunk)), ("later", 3 * n // len(chunk))):
        for _ in range(times):
            buffer.extend(chunk)
            buffer.sample(1)
        out[label] = (rss_bytes() - before) / n - tokens
    return out


def opened(path: str) -> int:
    """Resident bytes that opening takes, before pages are touched."""
    archive.loads(archive.dumps([]))
    before = rss_bytes()
    results = archive.open(path, validate=False)
    return rss_bytes() - before if len(results) else 0


def table(f: dict[str, Any]) -> str:
    """The figures as Markdown."""
    n = f["records"]
    rows = [
        ("open and check 1,000,000 records", f"{f['open_validate_s'] / f['numpy_pass_s']:.1f} x one numpy pass over the file ({f['open_validate_s'] * 1e3:.0f} ms; bound {f['open_validate_bound_s'] * 1e3:.0f} ms)"),
        ("open without checking", f"{f['open_s'] * 1e3:.2f} ms, {f['memory_open_bytes_a_record']:.2f} bytes a record resident"),
        ("read all as columns and token ids, against JSON lines as dicts", f"{f['read_json_s'] / f['read_tokens_s']:,.0f} x faster"),
        ("the same, against SQLite as rows", f"{f['read_sqlite_s'] / f['read_tokens_s']:,.1f} x faster"),
        ("read all as BuildResults, against JSON lines as dicts", f"{f['read_json_s'] / f['read_records_s']:,.1f} x"),
        ("the same, against SQLite as rows", f"{f['read_sqlite_s'] / f['read_records_s']:,.2f} x"),
        ("`archive.dumps` from columns, against JSON lines from records", f"{f['write_json_s'] / f['write_archive_s']:.0f} x faster"),
        ("`archive.save` from columns, synced, against SQLite (WAL) from rows", f"{f['write_sqlite_s'] / f['save_archive_s']:.1f} x faster"),
        ("`archive.dumps` from columns", f"{n / f['dumps_s'] / 1e6:.2f} M records/s"),
        ("`archive.save` from columns, synced", f"{n / f['save_s'] / 1e6:.2f} M records/s"),
    ]  # fmt: skip
    for name in ("LowestPriority", "Oldest"):
        rows += [
            (f"`extend` a full buffer from columns, {name}", f"{f[f'extend_columns_{name}']:,.0f} records/s"),
            (
                f"`extend` a full buffer from an archive, {name}",
                f"{f[f'extend_archive_{name}']:,.0f} records/s",
            ),
            (
                f"the same, random priorities, each pushing out another, {name}",
                f"{f[f'extend_replacing_{name}']:,.0f} records/s",
            ),
            (f"`push` one at a time, full buffer, {name}", f"{f[f'push_{name}']:,.0f} records/s"),
            (f"draw 256, all columns gathered, {name}", f"{f[f'sample_256_{name}']:,.0f} batches/s"),
            (f"update 256 priorities, {name}", f"{f[f'update_256_{name}']:,.0f} batches/s"),
            (
                f"memory a record beside 4 bytes an instruction, {name}",
                f"{f[f'memory_{name}']['full']:.0f} bytes when full, {f[f'memory_{name}']['later']:.0f} after 3 times as many more",
            ),
        ]
    body = "\n".join(f"| {what} | {value} |" for what, value in rows)
    return (
        f"{n:,} records, {f['instructions'] / n:.1f} instructions each, {f['file_bytes'] / 1e6:.0f} MB in a file; "
        f"rivals at {f['rival_records']:,}. {f['machine']}. Medians.\n\n| what | figure |\n|---|---|\n{body}\n"
    )


def readme(f: dict[str, Any]) -> str:
    """The few figures that the README shows, as Markdown."""

    def times(rival: str, ours: str) -> str:
        return f"{f[rival] / f[ours]:.1f} x"

    few = f["rival_records"]
    return (
        f"| {few:,} records of {f['instructions'] / f['records']:.0f} instructions | than JSON lines | than SQLite (WAL) |\n"
        "|---|---|---|\n"
        f"| read all as columns and token ids: faster by | {times('read_json_s', 'read_tokens_s')}"
        f" | {times('read_sqlite_s', 'read_tokens_s')} |\n"
        f"| write all from columns (SQLite against a synced save): faster by | {times('write_json_s', 'write_archive_s')}"
        f" | {times('write_sqlite_s', 'save_archive_s')} |\n\n"
        f"A full buffer of {f['records']:,} takes in {f['extend_columns_LowestPriority'] / 1e6:.1f} M records/s as columns, "
        f"{f['push_LowestPriority'] / 1e6:.2f} M/s one at a time, and draws and gathers "
        f"{f['sample_256_LowestPriority']:,.0f} prioritized batches of 256 a second "
        "([figures](benchmarks/results/core.md)).\n"
    )


if __name__ == "__main__":
    if sys.argv[1] == "memory":
        print(json.dumps(memory(int(sys.argv[2]), sys.argv[3])))
    else:
        print(opened(sys.argv[2]))
