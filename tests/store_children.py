"""What the killed processes of test_store_kills.py do, and the process that forks them.

Each function runs until it is killed, or says its last line and ends. A line is said when what it tells has been done:
"b ..." before an append, "a ..." after it. No pytest and no hypothesis here: what is killed is what a user runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from crash_helpers import acknowledge
from ostinato import BuildResult
from ostinato.replay import Oldest, Proportional
from ostinato.store import Cursor, Keep, Store, Writer

LIFE_S = 300  # nobody lives longer, even if whoever should kill it has died
OLD, YOUNG = 1_000_000, 2_000_000  # timestamps of records with an even and an odd number
KEEP, NOW = {"max_age_s": YOUNG // 2}, YOUNG + YOUNG // 2  # the young ones stay
EXTRAS = {"label": "i8"}
AMENDED_CYCLES = 1_000_000


def made(who: int, k: int) -> BuildResult:
    """The k-th record of a writer: every field tells which it is."""
    mixed = who * 31 + k * 7
    return BuildResult(
        tir_hash=(who.to_bytes(8, "little") + k.to_bytes(8, "little")) * 2,
        generated_tasm=[f"push {mixed % 997}", f"call f{who}_{k}", *["add"] * (mixed % 13)],
        valid=mixed % 5 != 0,
        clock_cycles=None if mixed % 7 == 0 else mixed % 90,
        compiler_cycles=100 + k,
        fallback_used=mixed % 11 == 0,
        timestamp=(OLD if k % 2 == 0 else YOUNG) + k,
        model_version=who,
    )


def corrected(who: int, k: int, version: int) -> BuildResult:
    """The same record after a correction."""
    fields = made(who, k).to_dict()
    return BuildResult.from_dict(fields | {"valid": True, "clock_cycles": AMENDED_CYCLES + version})


def label(who: int, k: int) -> int:
    """What stands beside it in the extra column."""
    return who << 32 | k


def runs(ids: list[int]) -> list[int]:
    """Ids as (first, how many), flat."""
    out: list[int] = []
    for identity in ids:
        if out and out[-2] + out[-1] == identity:
            out[-1] += 1
        else:
            out += [identity, 1]
    return out


# --- writers ------------------------------------------------------------------------------------------------


def append_some(writer: Writer, who: int, first: int, n: int, one: bool) -> None:
    """Append n records of a writer by `append` or `extend`, and say so."""
    acknowledge(f"b {first + n}")
    if one:
        ids = [writer.append(made(who, k), {"label": label(who, k)}) for k in range(first, first + n)]
    else:
        labels = np.array([label(who, k) for k in range(first, first + n)], np.int64)
        ids = writer.extend([made(who, k) for k in range(first, first + n)], {"label": labels}).tolist()
    acknowledge(f"a {first} {' '.join(map(str, runs(ids)))}")


def append(path: str, who: int, limit: int, seed: int, settings: dict[str, Any]) -> None:
    """Append up to `limit` records, some one by one and some in lists, say "idle", and wait for the end."""
    rng = random.Random(seed)
    store = Store.open(path)
    writer = store.writer({"who": str(who)}, **settings)
    acknowledge("ready")
    k = 0
    while k < limit:
        n = rng.choice([1, 1, 1, 2, 7, 40])
        if rng.random() < 0.05:
            n = 1300  # more than one frame
        if n == 1 or rng.random() < 0.5:
            for _ in range(min(n, 40)):
                append_some(writer, who, k, 1, True)
                k += 1
        else:
            append_some(writer, who, k, n, False)
            k += n
    acknowledge("idle")
    time.sleep(LIFE_S)


def append_and_end(path: str, who: int, n: int, settings: dict[str, Any]) -> None:
    """Append n records, close the writer."""
    with Store.open(path).writer({"who": str(who)}, **settings) as writer:
        for first in range(0, n, 50):
            append_some(writer, who, first, min(50, n - first), first % 100 == 0)


def append_short_lived(path: str, who: int, writers: int) -> None:
    """Many writers of one record each."""
    store = Store.open(path)
    for k in range(writers):
        with store.writer({"who": str(who)}) as writer:
            append_some(writer, who, k, 1, True)


def create_and_append(path: str, who: int, at: float) -> None:
    """Make the store, or find that it was made, at a moment that is the same for several; append one."""
    time.sleep(max(0.0, at - time.time()))
    store = Store.open(path, extras=EXTRAS)
    with store.writer({"who": str(who)}) as writer:
        append_some(writer, who, 0, 1, True)
    store.seal(wait_s=20)
    acknowledge(f"id {store.store_id}")


def create(folder: str) -> None:
    """Make one store after the other."""
    acknowledge("ready")
    for count in range(1_000_000):
        store = Store.open(os.path.join(folder, str(count)), extras=EXTRAS)
        acknowledge(f"{count} {store.store_id}")


def amend(path: str, targets: list[list[int]], first: int, seed: int) -> None:
    """Amend records (id, who, k) at random, with rising versions."""
    rng = random.Random(seed)
    store = Store.open(path)
    acknowledge("ready")
    for version in range(first, first + 100_000):
        identity, who, k = rng.choice(targets)
        acknowledge(f"b {identity} {version}")
        store.amend(identity, corrected(who, k, version), reason=f"version {version}", at=version)
        acknowledge(f"a {identity} {version}")


# --- who keeps order ----------------------------------------------------------------------------------------


def patiently(act: Callable[[], object], pause_s: float) -> None:
    """Do something again and again, and say how often it was done."""
    for count in range(1_000_000):
        act()
        acknowledge(count)
        time.sleep(pause_s)


def seal(path: str, max_bytes: int, pause_s: float) -> None:
    """Seal for ever."""
    store = Store.open(path)
    acknowledge("ready")
    patiently(lambda: store.seal(max_bytes=max_bytes, wait_s=60), pause_s)


def compact(path: str, keeping: bool, max_bytes: int, pause_s: float) -> None:
    """Compact for ever."""
    store, keep = Store.open(path), Keep(**KEEP) if keeping else None
    acknowledge("ready")
    patiently(lambda: store.compact(keep, now=NOW, max_bytes=max_bytes, wait_s=60), pause_s)


def merge(path: str, others: list[str]) -> None:
    """Merge other stores for ever."""
    store = Store.open(path)
    acknowledge("ready")

    def act() -> None:
        for other in others:
            with Store.open(other) as theirs:
                store.merge(theirs, wait_s=60)

    patiently(act, 0.0)


def seal_once(path: str, at: float) -> None:
    """Seal at a moment that is the same for several."""
    store = Store.open(path)
    time.sleep(max(0.0, at - time.time()))
    done = store.seal(wait_s=60)
    acknowledge(f"{done.journals} {done.records}")


# --- readers ------------------------------------------------------------------------------------------------


def right(result: BuildResult) -> bool:
    """Is it a record that somebody appended, or a correction of one?"""
    who, k = (int.from_bytes(result.tir_hash[at : at + 8], "little") for at in (0, 8))
    if result == made(who, k):
        return True
    cycles = result.clock_cycles or 0
    return cycles >= AMENDED_CYCLES and result == corrected(who, k, cycles - AMENDED_CYCLES)


def follow(path: str, since: str) -> None:
    """Say what comes: "f CURSOR ID ID ..."."""
    store = Store.open(path)
    acknowledge("ready")
    for records in store.follow(since=Cursor.from_json(since), poll_s=0.002):
        wrong = [int(i) for i, r in zip(records.ids, records, strict=True) if not right(r)]
        assert not wrong, f"wrong records {wrong}"
        assert not records.damaged, f"{records.damaged} damaged records"
        acknowledge(f"f {records.cursor.to_json()} {' '.join(map(str, records.ids.tolist()))}")


def replay(path: str, stop: str) -> None:
    """Refresh a buffer and draw from it, until the file `stop` is there; then say how many records it has."""
    buffer = Store.open(path).replay(1 << 20, sampler=Proportional(), remover=Oldest(), seed=1)
    acknowledge("ready")
    before: set[int] = set(buffer.ids().tolist())
    while True:
        last = os.path.exists(stop)
        came = buffer.refresh()
        ids = buffer.ids().tolist()
        now = set(ids)
        assert len(now) == len(ids), "an id stands twice"
        assert before <= now, f"gone: {sorted(before - now)[:5]}"
        assert came == len(now) - len(before), f"{came} came, and {len(now) - len(before)} more are there"
        assert not buffer.damaged, f"{buffer.damaged} damaged"
        before = now
        if len(buffer):
            batch = buffer.sample(8)
            wrong = [int(i) for j, i in enumerate(batch.ids) if not right(batch[j])]
            assert not wrong, f"wrong records {wrong}"
        acknowledge(f"r {len(ids)}")
        if last:
            buffer.check()
            return


def save(path: str, state: str) -> None:
    """Save a buffer's state for ever, each time with other priorities: all the same, and rising."""
    buffer = Store.open(path).replay(1 << 20, sampler=Proportional(), remover=Oldest(), seed=1)
    acknowledge("ready")
    for count in range(1, 1_000_000):
        buffer.refresh()
        ids = buffer.ids()
        buffer.update_priorities(ids, np.full(len(ids), float(count)))
        acknowledge(f"b {count}")
        buffer.save_state(state)
        acknowledge(f"a {count} {len(ids)}")


def export(path: str, archive: str) -> None:
    """Export for ever."""
    store = Store.open(path)
    acknowledge("ready")
    for count in range(1, 1_000_000):
        acknowledge(f"b {count}")
        acknowledge(f"a {count} {store.export(archive)}")


# --- forks --------------------------------------------------------------------------------------------------


def fork_while_writing(path: str, who: int, n: int) -> None:
    """Parent and forked child append through one writer object; then both wait, and the parent says whose journals are whose."""
    writer = Store.open(path).writer({"who": str(who)})
    append_some(writer, who, 0, n, True)
    pipe_out, pipe_in = os.pipe()
    if os.fork() == 0:
        append_some(writer, who + 1, 0, n, True)
        os.write(pipe_in, b"%d" % writer.journal)
        time.sleep(LIFE_S)
        os._exit(0)
    theirs = int(os.read(pipe_out, 100))
    append_some(writer, who, n, n, True)
    acknowledge(f"journals {writer.journal} {theirs}")
    time.sleep(LIFE_S)


def fork_while_sealing(path: str) -> None:
    """Another thread seals, and does not come to its end; a forked child lives on without doing anything."""
    begun = threading.Event()

    def forever(done: int, whole: int) -> None:
        begun.set()
        time.sleep(LIFE_S)

    store = Store.open(path)
    threading.Thread(target=lambda: store.seal(progress=forever), daemon=True).start()
    begun.wait()
    child = os.fork()
    if child == 0:
        time.sleep(LIFE_S)
        os._exit(0)
    acknowledge(f"child {child}")
    time.sleep(LIFE_S)


# --- who forks them -----------------------------------------------------------------------------------------


def warm_up() -> None:
    """Load what the children need, so that each is there at once."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder, "store"), extras=EXTRAS)
        with store.writer() as writer:
            ids = writer.extend([made(1, k) for k in range(3)], {"label": [1, 2, 3]})
        store.replay(10).refresh()
        store.amend(int(ids[0]), corrected(1, 0, 1), reason="warm")
        store.seal()
        store.compact(Keep(**KEEP), now=NOW)
        buffer = store.replay(10)
        buffer.sample(1)
        buffer.update_priorities(buffer.ids(), np.ones(len(buffer)))
        buffer.save_state(os.path.join(folder, "state"))
        store.export(os.path.join(folder, "archive"))
        other = Store.open(Path(folder, "other"), extras=EXTRAS)
        other.merge(store)
        store.close()
        other.close()


def nest() -> None:
    """Read commands, a line of JSON each, and obey: start a child, kill it, wait for it. The children die with us."""
    warm_up()
    alive: dict[int, int | None] = {}  # its status, once it has ended and was waited for
    try:
        print(json.dumps("warm"), flush=True)
        for line in sys.stdin:
            command, *arguments = json.loads(line)
            if command == "start":
                pid = _start(*arguments)
                alive[pid] = None
                answer: int | None = pid
            else:
                pid, patience_s = arguments
                if command != "wait" and alive[pid] is None:  # not reaped, so the number is still its own
                    with contextlib.suppress(ProcessLookupError):
                        (os.kill if command == "kill alone" else os.killpg)(pid, signal.SIGKILL)
                answer = _wait(pid, patience_s) if alive[pid] is None else alive[pid]
                if command != "kill alone" and alive[pid] is None and answer is not None:
                    os.waitpid(pid, 0)
                    alive[pid] = answer
            print(json.dumps(answer), flush=True)
    finally:
        for pid in [pid for pid, status in alive.items() if status is None]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


def _start(name: str, arguments: list[Any], says: str, errors: str) -> int:
    pid = os.fork()
    if pid:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the child does it too: who is first?
            os.setpgid(pid, pid)
        return pid
    code = 1
    try:
        os.setpgid(0, 0)
        signal.alarm(LIFE_S)
        for target, path, how in (
            (0, os.devnull, os.O_RDONLY),
            (1, says, os.O_WRONLY | os.O_CREAT | os.O_APPEND),
            (2, errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        ):
            fd = os.open(path, how, 0o600)
            os.dup2(fd, target)
            os.close(fd)
        globals()[name](*arguments)
        code = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _wait(pid: int, patience_s: float) -> int | None:
    """The code with which it has ended, the signal's number below 0; None: it has not. It is not reaped."""
    end = time.monotonic() + patience_s
    while True:
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is not None:
            return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        if time.monotonic() > end:
            return None
        time.sleep(0.001)
