"""Locks die with the process that took them, also if it has forked: a child gives its copies back.

A file's lock (flock) belongs to the open file, of which a forked child has a copy: it would hold what its parent, or another
thread of it, held at that moment, for as long as it lives. So locks that are held for a moment are taken and given back
within `FORKS.held_off()`, when nobody forks; those that are held for longer are kept here. A writer has its own way.
"""

from __future__ import annotations

import contextlib
import os

from ostinato.store.forks import FORKS
from ostinato.store.fs import FileSystem

_KEPT: set[int] = set()


def keep(fd: int) -> None:
    """Note a descriptor that has a lock, or will have; within `FORKS.held_off()` since it was opened."""
    _KEPT.add(fd)


def give_back(fs: FileSystem, fd: int) -> None:
    """Close it, and end its lock; in a forked child it is closed already, and its number may be another file's."""
    with FORKS.held_off():
        if fd in _KEPT:
            _KEPT.discard(fd)
            fs.close(fd)


def _forked() -> None:
    for fd in _KEPT:
        with contextlib.suppress(OSError):
            os.close(fd)
    _KEPT.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
