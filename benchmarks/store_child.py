"""What the store's benchmark does in a process of its own: `python -m benchmarks.store_child VERB ...` prints JSON.

A process of its own for what must begin fresh (opening), for memory, and for many writers at once.
"""

from __future__ import annotations

import gc
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCH = 256
MIB = 1 << 20


def main() -> None:
    verb, *arguments = sys.argv[1:]
    answer = VERBS[verb](*arguments)
    if answer is not None:
        say(answer)


def say(answer: dict[str, Any]) -> None:
    """One line of JSON."""
    print(json.dumps(answer), flush=True)


# --- making stores ------------------------------------------------------------------------------------------


def build(path: str, count: str, how: str) -> None:
    """A store of so many records; how: "columns" or "ones" in journals, "sealed" in segments, "database" in SQLite.

    Sealed a million at a time, so that there is never much more on the disk than what stays.
    """
    from benchmarks.attempts import Attempts, row_of
    from benchmarks.contenders import INSERT, TABLE, connect
    from ostinato.store import Store

    attempts, n, size = Attempts(), int(count), 1 << 14
    if how == "database":
        connection = connect(Path(path))
        connection.execute(TABLE)
        for results in attempts.chunks(n, size):
            connection.execute("BEGIN")
            connection.executemany(INSERT, map(row_of, results))
            connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return
    store = Store.open(path)
    writer = store.writer()
    waiting = 0
    for results in attempts.chunks(n, size):
        if how == "ones":
            for record in results:
                writer.append(record)
            continue
        writer.extend(results)
        waiting += len(results)
        if how == "sealed" and waiting >= 1 << 20:
            writer.close()
            store.seal()
            writer, waiting = store.writer(), 0
    writer.close()
    if how == "sealed":
        store.seal()


# --- opening ------------------------------------------------------------------------------------------------


def buffer_of(path: str, capacity: int) -> Any:
    """The buffer that all is measured with."""
    from ostinato.replay import Oldest, Proportional
    from ostinato.store import Store

    return Store.open(path).replay(capacity, sampler=Proportional(), remover=Oldest(), seed=0)


def warm_up() -> None:
    """Everything once, small: from now on all kernels are there."""
    from benchmarks.attempts import Attempts
    from ostinato.store import Keep, Store

    folder = tempfile.mkdtemp(prefix="ostinato-bench-")
    store = Store.open(folder + "/store")
    for results in Attempts().chunks(4096):
        with store.writer() as writer:
            writer.extend(results)
            writer.append(results[0])
        learn(buffer_of(store.path, 10_000), 3)
        store.results()
        store.seal()
    store.compact(Keep(newest=3000))
    learn(buffer_of(store.path, 1000), 3)
    shutil.rmtree(folder)
    gc.collect()


def learn(buffer: Any, times: int) -> None:
    """Draw and update."""
    import numpy as np

    priorities = np.random.default_rng(0).exponential(size=(16, BATCH))
    for k in range(times):
        batch = buffer.sample(BATCH)
        buffer.update_priorities(batch.ids, priorities[k % 16])


def first_batch(path: str, count: str, start: str) -> dict[str, float]:
    """Seconds to open a store and draw a batch; start: "warm" when all kernels are loaded, "cold" after the imports alone,
    kernels being read from numba's cache on the way."""
    began = time.perf_counter()
    import ostinato.kernels
    import ostinato.replay
    import ostinato.store  # noqa: F401

    imported = time.perf_counter() - began
    if start == "warm":
        warm_up()
    began = time.perf_counter()
    buffer = buffer_of(path, int(count))
    batch = buffer.sample(BATCH)
    taken = time.perf_counter() - began
    assert (len(buffer), len(batch.ids)) == (int(count), BATCH)
    return {"open_s": taken, "import_s": imported}


def database(path: str, count: str) -> dict[str, float]:
    """Seconds to read all columns of a SQLite database."""
    from benchmarks.contenders import read_columns

    began = time.perf_counter()
    columns = read_columns(Path(path))
    taken = time.perf_counter() - began
    assert len(columns["timestamp"]) == int(count)
    return {"read_s": taken}


def unsealed(path: str, count: str) -> dict[str, float]:
    """Seconds to open and count records in journals, then to have all of them as Results."""
    from ostinato.store import Store

    warm_up()
    began = time.perf_counter()
    store = Store.open(path)
    assert len(store) == int(count)
    opened = time.perf_counter()
    results = store.results()
    assert len(results) == int(count)
    return {"open_s": opened - began, "results_s": time.perf_counter() - opened}


def refresh(journals: str, rounds: str) -> dict[str, list[float]]:
    """Seconds of a refresh with nothing new, and with 1,024 records from all writers, in columns and one by one."""
    from benchmarks.attempts import CHUNK, Attempts
    from ostinato.store import Store

    warm_up()
    folder = tempfile.mkdtemp(prefix="ostinato-bench-")
    store = Store.open(folder + "/store")
    writers = [store.writer() for _ in range(int(journals))]
    share = CHUNK // len(writers)
    some = list(Attempts().chunks(share * len(writers), share))
    ones = [results.to_list() for results in some]

    def columns() -> None:
        for writer, results in zip(writers, some, strict=True):
            writer.extend(results)

    def singles() -> None:
        for writer, records in zip(writers, ones, strict=True):
            for record in records:
                writer.append(record)

    columns()
    buffer = buffer_of(store.path, 1 << 20)
    time.sleep(2.5)  # a folder that changed a moment ago is listed again each time
    out: dict[str, list[float]] = {"nothing_s": [], "columns_s": [], "ones_s": []}
    for _ in range(int(rounds)):
        buffer.refresh()
        turns = 1000
        began = time.perf_counter()
        for _ in range(turns):
            buffer.refresh()
        out["nothing_s"].append((time.perf_counter() - began) / turns)
        for name, append in (("columns_s", columns), ("ones_s", singles)):
            taken = []
            for _ in range(20):
                append()
                began = time.perf_counter()
                came = buffer.refresh()
                taken.append(time.perf_counter() - began)
                assert came == share * len(writers)
            out[name].append(sorted(taken)[len(taken) // 2])
    for writer in writers:
        writer.close()
    shutil.rmtree(folder)
    return out


# --- sealing ------------------------------------------------------------------------------------------------


def tidy(path: str, verb: str, count: str, segment_mib: str) -> dict[str, Any]:
    """Seal, or compact so that nine of ten records stay: seconds, bytes, and anonymous memory before it."""
    from ostinato.store import Keep, Store

    warm_up()
    store = Store.open(path)
    settings = {"max_bytes": int(segment_mib) * MIB}
    before = anonymous_bytes()
    began = time.perf_counter()
    if verb == "seal":
        done = store.seal(**settings)
    else:
        done = store.compact(Keep(newest=int(count) * 9 // 10), **settings)
    taken = time.perf_counter() - began
    return {"s": taken, "bytes": done.bytes, "segments": done.segments, "before": before}


def anonymous_bytes(process: int | str = "self") -> int:
    """Resident memory that no file backs; 0 where the system does not say, or the process is gone."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    found = [line.split() for line in status.splitlines() if line.startswith("RssAnon")]
    return int(found[0][1]) * 1024 if found else 0


# --- larger than memory -------------------------------------------------------------------------------------


def large(path: str, count: str, draws: str) -> dict[str, float | None]:
    """A buffer over a large sealed store: anonymous bytes a record after opening and after learning, seconds, draws/s."""
    warm_up()
    before = anonymous_bytes()
    began = time.perf_counter()
    buffer = buffer_of(path, int(count))
    buffer.sample(BATCH)
    opened = time.perf_counter() - began
    gc.collect()
    out: dict[str, float | None] = {"open_s": opened, "opened": (anonymous_bytes() - before) / int(count)}
    began = time.perf_counter()
    learn(buffer, int(draws))
    out["learn_s"] = (time.perf_counter() - began) / int(draws)
    gc.collect()
    out["learned"] = (anonymous_bytes() - before) / int(count)
    if not before:  # the system does not say
        out["opened"] = out["learned"] = None
    return out


# --- writers ------------------------------------------------------------------------------------------------


def write(count: str) -> None:
    """A writer that waits: for each line `ones PATH` or `columns PATH` it opens a writer there, answers, and at the next line
    appends; then it says when it began and ended."""
    from benchmarks.attempts import CHUNK, Attempts
    from ostinato import Results
    from ostinato.store import Store

    attempts, n = Attempts(), int(count)
    columns = [attempts.columns(first, CHUNK) for first in range(0, 20 * CHUNK, CHUNK)]
    records = [record for some in columns for record in Results.from_columns(**some)]
    say({"ready": True})
    for line in sys.stdin:
        how, path = line.split(maxsplit=1)
        with Store.open(path.strip()).writer() as writer:
            say({"open": True})
            sys.stdin.readline()
            began = time.monotonic()
            if how == "ones":
                for k in range(n):
                    writer.append(records[k % len(records)])
            else:
                for k in range(n // CHUNK):
                    writer.extend(Results.from_columns(**columns[k % len(columns)]))
            say({"began": began, "ended": time.monotonic(), "appended": writer.appended})


def light() -> dict[str, Any]:
    """What a short-lived compiler process pays: the import on top of numpy, then a store opened and one record appended."""
    import numpy  # noqa: F401

    began = time.perf_counter()
    from ostinato import BuildResult
    from ostinato.store import Store

    imported = time.perf_counter() - began
    record = BuildResult(
        tir_hash=bytes(32),
        generated_tasm=["push 1"],
        valid=True,
        clock_cycles=1,
        compiler_cycles=2,
        fallback_used=False,
        timestamp=0,
        model_version=0,
    )
    folder = tempfile.mkdtemp(prefix="ostinato-bench-")
    began = time.perf_counter()
    with Store.open(folder + "/store").writer() as writer:
        writer.append(record)
        appended = time.perf_counter() - began
    shutil.rmtree(folder)
    return {"import_s": imported, "append_s": appended, "numba": "numba" in sys.modules}


VERBS: dict[str, Callable[..., dict[str, Any] | None]] = {
    "build": build,
    "database": database,
    "first_batch": first_batch,
    "large": large,
    "light": light,
    "refresh": refresh,
    "tidy": tidy,
    "unsealed": unsealed,
    "write": write,
}

if __name__ == "__main__":
    main()
