"""A fork waits until no other thread is within a call to SQLite.

SQLite notes the locks of a process in that process's memory. A child that is forked in the middle of another thread's
call inherits the note, and would believe in locks that it does not have.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator


class _Forks:
    """Lets a fork wait until no other thread is within a call."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls: dict[int, int] = {}  # thread -> calls it is within
        self._forks = 0  # that wait, so that no more calls begin

    @contextlib.contextmanager
    def held_off(self) -> Iterator[None]:
        """No other thread forks meanwhile."""
        me = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: not self._forks or me in self._calls)
            self._calls[me] = self._calls.get(me, 0) + 1
        try:
            yield
        finally:
            with self._changed:
                left = self._calls.pop(me, 1) - 1
                if left:
                    self._calls[me] = left
                self._changed.notify_all()

    def before(self) -> None:
        """Wait, and let nobody begin."""
        self._changed.acquire()
        self._forks += 1
        self._changed.wait_for(lambda: not self._calls.keys() - {threading.get_ident()})

    def after_in_parent(self) -> None:
        """Let them begin again."""
        self._forks -= 1
        self._changed.notify_all()
        self._changed.release()

    def after_in_child(self) -> None:
        """Begin anew: the other threads are not here."""
        self._changed, self._calls, self._forks = threading.Condition(), {}, 0


FORKS = _Forks()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=FORKS.before,
        after_in_parent=FORKS.after_in_parent,
        after_in_child=FORKS.after_in_child,
    )
