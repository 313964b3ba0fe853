"""Keeping a run within its disk budget: records leave, the best of each program and the newest stay; builders wait for that.

Rule of this file: what the records that leave have counted is in the run's metrics before they leave; and nothing leaves that is the
best that is known of a program.
"""

from __future__ import annotations

import signal
import time

from ostinato.errors import OstinatoError
from ostinato.online.folder import Folder
from ostinato.store import Keep
from ostinato.store.writer import ROTATE_BYTES

DISK_BYTES = 2_000_000_000
_FULL = 0.5  # of the budget: then records leave
_CROWDED = 0.55  # then builders wait; journals are sealed and segments written anew before the old files go, which may take as much again
_AFTER = 0.25  # and what stays
_PATIENCE_S = 30.0  # that a builder waits
_LOOKS_S = 0.2
_BEST = 16  # of each program
_NEWEST = 1024  # and at least so many, which a learner may not have read


def rotate_bytes(disk_bytes: int, builders: int) -> int:
    """When a builder leaves its journal for a new one: records leave journals only once these are left."""
    return max(1 << 16, min(ROTATE_BYTES, int(_AFTER * disk_bytes) // (2 * builders)))


def is_full(folder: Folder, disk_bytes: int) -> bool:
    """Is it time to `shrink`? Cost: a look at each file's size."""
    return folder.size_bytes() > _FULL * disk_bytes


class Room:
    """A builder's part: it waits while its run takes too much.

    If no room is made, since what must stay is too much for the budget, it goes on after half a minute, and waits again only once there
    has been room."""

    def __init__(self, folder: Folder, disk_bytes: int) -> None:
        self._folder, self._most = folder, _CROWDED * disk_bytes
        self._looked = time.monotonic()
        self._patient = True

    def wait(self) -> None:
        """Until there is room. Cost: nothing, but for a look at each file's size five times a second."""
        begin = time.monotonic()
        if begin - self._looked < _LOOKS_S:
            return
        while (crowded := self._crowded()) and self._patient:
            self._patient = time.monotonic() - begin < _PATIENCE_S
            time.sleep(0.05)
        self._patient |= not crowded
        self._looked = time.monotonic()

    def _crowded(self) -> bool:
        return self._folder.size_bytes() > self._most


def shrink(path: str, disk_bytes: int) -> None:
    """A process: seal what nobody writes, and keep so many of the newest records that a quarter of the budget is left in use, and
    of each program the best sixteen. If somebody else seals or compacts, it leaves that to them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it ends it
    folder = Folder(path)
    with folder.store() as store:
        records = len(store)
        if not records:
            return
        each = folder.store_bytes() / records
        newest = max(_NEWEST, int(_AFTER * disk_bytes / each))
        try:
            store.compact(Keep(newest=newest, best_per_program=_BEST))
        except OstinatoError:
            return
