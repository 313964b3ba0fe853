"""Child processes that are killed: started, listened to, killed at some moment, and never left behind.

def appender(folder: str, count: int) -> None:      # in a module that a child can import
    for i in range(count):
        ...
        acknowledge(i)

with child(appender, str(folder), 1000) as c:
    c.acknowledged(10)                              # ten lines at least have come
    lines = c.kill(after_s=rng.uniform(0, 0.05))    # SIGKILL; all that it had said, whole lines
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

TIMEOUT_S = 60.0  # nothing takes that long; the machine may be busy
TESTS = Path(__file__).parent


def acknowledge(what: object = "") -> None:
    """In the child: say one line, now. What was said before a kill has been done before it."""
    os.write(1, f"{what}\n".encode())  # one call, so that a kill leaves all of the line or none


class Child:
    """A running child; made by `child`.

    Attributes:
        lines: the whole lines that it has said so far.
    """

    def __init__(self, command: list[str], errors: IO[bytes]) -> None:
        self.lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        self._errors = errors  # a file, since a pipe that nobody reads would stop the child
        paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,  # a group of its own: what it starts is killed with it
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def errors(self) -> str:
        """What it has written to its standard error."""
        file = self._errors.fileno()
        # its place in the file is the child's too, and stays where it is
        return os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")

    def acknowledged(self, count: int = 1, timeout_s: float = TIMEOUT_S) -> list[str]:
        """Wait until it has said `count` lines in all; the lines so far.

        Raises AssertionError, with its errors, if it ends before or takes too long.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self.lines) >= count, timeout_s)
            if len(self.lines) < count:
                why = "ended" if self._ended else f"took more than {timeout_s} s"
                raise AssertionError(f"child {why} after {len(self.lines)} of {count} lines\n{self.errors}")
            return list(self.lines)

    def kill(self, after_s: float = 0.0, timeout_s: float = TIMEOUT_S) -> list[str]:
        """Kill it, and what it has started, with SIGKILL; all lines that it had said. Again: nothing more happens."""
        time.sleep(after_s)
        if self._process.returncode is None:  # not waited for yet, so the number is still its own
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout_s)
        self._join(timeout_s)
        return list(self.lines)

    def finish(self, timeout_s: float = TIMEOUT_S) -> list[str]:
        """Let it come to its end, which must be a good one; all lines."""
        self._join(timeout_s)
        code = self._process.wait(timeout_s)
        assert code == 0, f"child ended with {code}\n{self.errors}"
        return list(self.lines)

    def _join(self, timeout_s: float) -> None:
        self._listener.join(timeout_s)
        assert not self._listener.is_alive(), f"child still speaks after {timeout_s} s\n{self.errors}"

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            for line in pipe:
                if line.endswith(b"\n"):  # half a line acknowledges nothing
                    with self._changed:
                        self.lines.append(line[:-1].decode())
                        self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


@contextlib.contextmanager
def child(what: Callable[..., object] | Path | str, *args: object) -> Iterator[Child]:
    """Run something in a Python process of its own; it is dead when the block is left.

    Args:
        what: a function at the top of a module in `tests` (args: what JSON can hold), the path of a script, or code
            (args: as text in sys.argv).
    """
    if isinstance(what, Path):
        command = [str(what), *map(str, args)]
    elif isinstance(what, str):
        command = ["-c", what, *map(str, args)]
    else:
        call = f"import json, sys, {what.__module__} as m; m.{what.__qualname__}(*json.loads(sys.argv[1]))"
        command = ["-c", call, json.dumps(args)]
    with tempfile.TemporaryFile() as errors:
        started = Child([sys.executable, *command], errors)
        try:
            yield started
        finally:
            started.kill()
