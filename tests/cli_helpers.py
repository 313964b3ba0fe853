"""What the tests of the command line share: the command in this process and in others, stores whole and damaged."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ostinato import BuildResult, jsonl
from ostinato.cli import main
from ostinato.store import Store
from ostinato.store.fs import FileSystem
from store_helpers import contents, filled, many

COMMAND = [sys.executable, "-c", "from ostinato.cli import main; main()"]
TIMEOUT_S = 60.0  # nothing takes that long; the machine may be busy


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


def inside(*arguments: object, feed: bytes = b"") -> Said:
    """The command in this process, from `main` on."""
    old = sys.argv, sys.stdin, sys.stdout, sys.stderr
    streams = [io.TextIOWrapper(io.BytesIO(text), encoding="utf-8") for text in (feed, b"", b"")]
    sys.argv = ["ostinato", *map(str, arguments)]
    sys.stdin, sys.stdout, sys.stderr = streams
    try:
        main()
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0
    finally:
        sys.argv, sys.stdin, sys.stdout, sys.stderr = old
    for stream in streams:
        stream.flush()
    out, err = (stream.buffer.getvalue().decode() for stream in streams[1:])  # type: ignore[attr-defined]
    return Said(code, out, err)


def outside(*arguments: object, feed: bytes = b"", program: str | None = None) -> Said:
    """The command in a process of its own; `program` is what that runs instead of `main` alone."""
    command = [*COMMAND[:2], program] if program else COMMAND
    said = subprocess.run(
        [*command, *map(str, arguments)], input=feed, capture_output=True, check=False, timeout=TIMEOUT_S
    )
    return Said(said.returncode, said.stdout.decode(), said.stderr.decode())


def shell(script: str, *arguments: object) -> Said:
    """A line of shell; `ostinato` in it is the command, "$1" and so on are the arguments."""
    begin = f'set -o pipefail; ostinato() {{ "{COMMAND[0]}" -c "{COMMAND[2]}" "$@"; }}; '
    said = subprocess.run(
        ["bash", "-c", begin + script, "bash", *map(str, arguments)],
        capture_output=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    return Said(said.returncode, said.stdout.decode(), said.stderr.decode())


@contextmanager
def running(*arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """The command, with pipes; it is dead when the block is left."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        preexec_fn=_interruptible,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _interruptible() -> None:
    """Ctrl-C ends the command even where whoever runs the tests in the background has it ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ask(process: subprocess.Popen[bytes], line: bytes) -> bytes:
    """Feed a line and read one."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line)
    return process.stdout.readline()


def lines_of(records: list[BuildResult]) -> bytes:
    return b"".join(map(jsonl.dump, records))


def made(folder: Path, n: int = 50, *, name: str = "store", **settings: Any) -> Path:
    """A store of n records, half of them sealed; its folder."""
    with Store.open(folder / name, **settings) as store:
        filled(store, many(n // 2), host="one")
        store.seal()
        filled(store, many(n - n // 2, n // 2), host="two", one_by_one=True)
    return folder / name


def kept(folder: Path) -> dict[int, BuildResult]:
    with Store.open(folder, create=False) as store:
        return contents(store)


def tree(folder: Path) -> dict[str, bytes]:
    """All files, by name; but not SQLite's own, which change when they are read."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and "catalog" not in p.name]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def journal_of(folder: Path, number: int = 2) -> Path:
    return folder / "journals" / f"{number:06d}.journal"


def damaged(folder: Path) -> Path:
    """A store one of whose frames, not the last, is damaged; its folder."""
    path = made(folder)
    flip(journal_of(path), journal_of(path).stat().st_size // 2)
    return path


def cursor_in(said: Said) -> str:
    """The cursor that `tail` has told."""
    word, text = said.err.splitlines()[-1].split(" ", 1)
    assert word == "cursor"
    return text


def refuse(error: int) -> Callable[..., Any]:
    """A primitive of the file system that the system refuses."""

    def call(self: FileSystem, path: str, *_: object) -> Any:
        raise OSError(error, os.strerror(error), path)

    return call
