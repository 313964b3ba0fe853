"""What the tests of the catalog share: a small catalog with a row of every kind, and children that use it."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ostinato.store.catalog import Catalog

HASHES = [bytes([i]) * 32 for i in range(1, 9)]
U64 = 2**64
IDS = np.array([5, 3, 3, 2**63 - 1, 0, 7 << 24])
CONTEXTS = [
    (1, {"toolchain": "1.0", "host": "a"}, 100),
    (2, {"toolchain": "1.1", "host": "a"}, 200),
    (9, {"toolchain": "1.1", "host": "é"}, 300),
]


def fill(catalog: Catalog) -> None:
    """A few rows of every kind."""
    catalog.put_contexts(CONTEXTS)
    put = catalog.programs.put
    put(HASHES[0], tir=b"tir 0", name="fib", at=1)
    put(HASHES[0], baseline=["push 1", "add"], cycles=U64 - 1, toolchain="1.0", at=2)
    put(HASHES[0], baseline=["push 1"], cycles=7, toolchain="1.1", at=3)
    put(HASHES[1], tir=b"", cycles=0, at=4)
    catalog.record_finetune(
        record_ids=IDS, config={"lr": 0.5}, metrics={"loss": None}, base_version=None, new_version=1, at=5
    )
    catalog.record_finetune(
        record_ids=[], config={}, metrics={"loss": 1}, base_version=1, new_version=None, at=6
    )
    catalog.put_version(0, parent=None, finetune=None, path=None, metrics={}, at=7)
    catalog.put_version(1, parent=0, finetune=1, path="model/1.pt", metrics={"win rate": 0.25}, at=8)
    catalog.metadata.set("a", {"b": [1, 2.5, None, True, "é"]})
    catalog.metadata.set("note", "text")


READS: dict[str, Callable[[Catalog], Any]] = {
    "contexts": lambda c: list(c.contexts().values()),
    "journals": lambda c: c.journals_where(),
    "journals where": lambda c: c.journals_where(toolchain="1.1", host="a"),
    "programs": lambda c: list(c.programs),
    "program": lambda c: c.programs.get(HASHES[0]),
    "history": lambda c: c.programs.history(HASHES[0]),
    "drift": lambda c: c.programs.drift(),
    "versions": lambda c: c.versions(),
    "version": lambda c: c.version(1),
    "finetunes": lambda c: c.finetunes(),
    "finetune records": lambda c: c.finetune_records(1).tolist(),
    "finetunes of": lambda c: c.finetunes_of(3),
    "metadata": lambda c: c.metadata.items(),
    "metadatum": lambda c: c.metadata.get("a"),
}


def answers(catalog: Catalog) -> dict[str, Any]:
    """What the catalog says to each question."""
    return {name: read(catalog) for name, read in READS.items()}


def child(program: str, *args: object, **options: Any) -> subprocess.Popen[str]:
    """A Python of its own that runs this program."""
    command = [sys.executable, "-c", program, *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


def forked(function: Callable[[], object], *, as_nobody: bool = False) -> str:
    """What the function returns, or raises, in a forked child: its repr, or the type and text of the error."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if as_nobody and os.getuid() == 0:  # whom no permission holds
                os.setgid(65534)
                os.setuid(65534)
            words = repr(function())
        except Exception as error:
            words = "".join(traceback.format_exception_only(error)).strip()
        os.write(writer, words.encode())
        os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as file:
        words = file.read()
    assert os.waitpid(pid, 0)[1] == 0
    return words


def reachable_by_nobody(folder: Path) -> None:
    """Let everybody read the folder, and nobody write."""
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)
