"""A process that forks children which have all they need loaded, so that hundreds of them can be killed in a minute.

    with nest(folder) as n:
        chick = n.start(store_children.append, path, ...)
        chick.says(10)                      # ten lines have come
        chick.kill(after_s=0.01)            # SIGKILL; returns when it is dead, with all that it had said

What a child says goes to a file by one write a line: after a kill the line is there, or not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TIMEOUT_S = 60.0  # nothing takes that long; the machine may be busy
TESTS = Path(__file__).parent


class Chick:
    """A child of the nest; made by `Nest.start`."""

    def __init__(self, owner: Nest, name: str, pid: int, said: Path, errors: Path) -> None:
        self._nest, self._pid, self._said, self._errors = owner, pid, said, errors
        self.name = name

    @property
    def lines(self) -> list[str]:
        """All whole lines that it has said so far."""
        text = self._said.read_text() if self._said.exists() else ""
        return text[: text.rfind("\n") + 1].splitlines()

    def says(self, count: int = 1, timeout_s: float = TIMEOUT_S) -> list[str]:
        """Wait until it has said so many lines in all; all of them."""
        return self.until(lambda lines: len(lines) >= count, timeout_s)

    def until(self, good: Callable[[list[str]], bool], timeout_s: float = TIMEOUT_S) -> list[str]:
        """Wait until what it has said is what we wait for.

        Raises AssertionError, with its errors, if it failed or takes too long.
        """
        end = time.monotonic() + timeout_s
        while True:
            late = time.monotonic() > end
            lines = self.lines
            if good(lines):
                return lines
            assert not late, f"{self.name} took more than {timeout_s} s, and said {lines[-3:]}"
            self.is_well()
            time.sleep(0.002)

    def is_well(self) -> None:
        """Raise AssertionError if it has failed."""
        errors = self._errors.read_text() if self._errors.exists() else ""
        assert "Traceback" not in errors, f"{self.name} failed:\n{errors}"

    def kill(self, after_s: float = 0.0, *, alone: bool = False) -> list[str]:
        """Kill it with SIGKILL, and wait until it is dead; all that it had said. It must not have failed before.

        What it has forked dies with it, unless it dies `alone`.
        """
        time.sleep(after_s)
        status = self._nest.ask("kill alone" if alone else "kill", self._pid, TIMEOUT_S)
        self.is_well()
        assert status == -signal.SIGKILL, f"{self.name} was not killed: {status}"
        return self.lines

    def finish(self, timeout_s: float = TIMEOUT_S) -> list[str]:
        """Let it come to its end, which must be a good one; all lines."""
        status = self._nest.ask("wait", self._pid, timeout_s)
        assert status is not None, f"{self.name} took more than {timeout_s} s, and said {self.lines[-3:]}"
        self.is_well()
        assert status == 0, f"{self.name} ended with {status}"
        return self.lines


class Nest:
    """The process that forks them; made by `nest`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        # threads of libraries do not live on in who is forked
        environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", "import store_children; store_children.nest()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        self._pending = b""
        self._answer(2 * TIMEOUT_S)  # kernels may have to be compiled

    def start(self, what: Callable[..., object], *arguments: Any) -> Chick:
        """Run a function of store_children in a process of its own."""
        self._count += 1
        name = f"{what.__name__}-{self._count}"
        said, errors = self._folder / f"{name}.said", self._folder / f"{name}.errors"
        pid = self.ask("start", what.__name__, arguments, str(said), str(errors))
        return Chick(self, name, pid, said, errors)

    def ask(self, *command: Any) -> Any:
        """Its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()
        return self._answer(2 * TIMEOUT_S)

    def _answer(self, timeout_s: float) -> Any:
        assert self.process.stdout is not None
        end = time.monotonic() + timeout_s
        while b"\n" not in self._pending:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the nest does not answer"
            part = os.read(self.process.stdout.fileno(), 1 << 16)
            assert part, "the nest is gone"
            self._pending += part
        line, _, self._pending = self._pending.partition(b"\n")
        return json.loads(line)

    def close(self) -> None:
        """End it, and all children with it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(TIMEOUT_S)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


@contextlib.contextmanager
def nest(folder: Path) -> Iterator[Nest]:
    """A nest whose children are dead when the block is left; what they say is kept in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Nest(folder)
    try:
        yield made
    finally:
        made.close()
