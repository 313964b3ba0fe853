"""A journal as far as one reader has read it."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from ostinato.archive.places import STEP, Buffers
from ostinato.errors import DamageError
from ostinato.store import journal as journals
from ostinato.store import layout
from ostinato.store.forks import FORKS
from ostinato.store.fs import FileSystem, read_all
from ostinato.store.journal import Amendment, Context, Skip
from ostinato.store.manifest import Manifest, extras_dtype
from ostinato.store.segment import Part

MAPPED = 1 << 16  # bytes; smaller journals are read into memory, which costs less than a mapping
_LOOKS = 3  # more, before a lock that cannot be had is a writer's


class OpenJournal:
    """A journal as far as it has been read."""

    def __init__(self, number: int, path: str) -> None:
        self.number = number
        self.path = path
        self.head: journals.Head | None = None
        self.context: Context = {}
        self.opened: int | None = None
        self.buffer = -1
        self.size = 0  # of what has been looked at
        self.at = self.index = 0
        self.closed = False
        self.ignored = False  # not ours, or both heads are damaged
        self.problems: list[str] = []
        self.skipped: list[Skip] = []
        self.amendments: list[Amendment] = []
        self.parts: list[journals.Frames] = []
        self.records = 0
        self.halfway = False  # read on, but whoever asked has not noted it yet

    @property
    def frames(self) -> journals.Frames:
        """All good frames so far."""
        if not self.parts:
            return journals.Frames.empty()
        if len(self.parts) > 1:
            whole = [
                np.concatenate([getattr(p, n) for p in self.parts]) for n in ("first", "count", "entries")
            ]
            self.parts = [journals.Frames(*whole)]
        return self.parts[0]

    def part(self, frames: journals.Frames, buffer: int | None = None) -> Part:
        """The records of these frames; `buffer`: where they lie, if not yet where the journal is known to."""
        counts = frames.count
        n = int(counts.sum())
        base = np.int64(self.number << layout.INDEX_BITS)
        here = np.int64(self.buffer if buffer is None else buffer) << np.int64(32)
        if n == len(counts):
            return Part(frames.first + base, frames.entries // 8 + here)
        inside = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
        return Part(
            np.repeat(frames.first, counts) + inside + base,
            np.repeat(frames.entries // 8, counts) + STEP * inside + here,
        )

    def read_on(self, fs: FileSystem, buffers: Buffers, manifest: Manifest, *, patient: bool) -> Part | None:
        """Read on; returns the new records. `patient`: who has its lock may be about to seal it, and no writer.

        What raises leaves all as it was. Else it is `halfway` until the caller has noted what came.
        """
        closed = False  # believed when all is read: who is closed is not looked at again
        data = None
        with FORKS.held_off():  # a child that is forked now would keep the lock
            fd = fs.open(self.path)
            try:
                size = fs.size(fd)
                if size:  # before, its writer may not hold its lock yet
                    closed = fs.lock(fd, shared=True)
                    for _ in range(_LOOKS if patient else 0):
                        if closed:
                            break
                        time.sleep(0.0005)
                        closed = fs.lock(fd, shared=True)
                    size = fs.size(fd)  # what came before it was closed
                if size >= layout.FILE_END:
                    self.problems.append(f"{self.path}: no journal: it has 2 GiB or more")
                    self.ignored = True
                    return None
                if size < MAPPED:
                    data = aligned_bytes(read_all(fs, fd, size))
                    size = len(data)
            finally:
                fs.close(fd)
        if data is None:
            # of a file opened anew: a mapping keeps the open file, and with it the lock
            fd = fs.open(self.path)
            try:
                data = fs.map(fd, size)
            finally:
                fs.close(fd)
        if self.head is None and not self._read_head(manifest, data, closed):
            self.size, self.closed = size, closed
            return None
        assert self.head is not None
        scanned = journals.scan(data, self.head, at=self.at, index=self.index, closed=closed)
        part, buffer = None, self.buffer
        records = int(scanned.frames.count.sum())
        if records:
            if buffer < 0:
                buffer = buffers.add(data, name=self.path)
            else:
                buffers.replace(buffer, data)
            part = self.part(scanned.frames, buffer)
        # all is computed: what raises before this is looked at again, and what comes after cannot
        self.halfway = True
        self.buffer = buffer
        self.size, self.closed = size, closed
        self.at, self.index = scanned.at, scanned.index
        self.skipped += scanned.skipped
        self.amendments += scanned.amendments
        if records:
            self.parts.append(scanned.frames)
            self.records += records
        return part

    def _read_head(self, manifest: Manifest, data: NDArray[np.uint8], closed: bool) -> bool:
        raw = data[: layout.CONTEXT_AT + layout.CONTEXT_END].tobytes()
        try:
            head = journals.parse_head(raw, self.path)
        except DamageError as error:
            self.problems.append(str(error))
            self.ignored = True
            return False
        if head is None or len(data) < head.start:
            if closed and len(data):
                self.skipped.append(Skip("torn", 0, len(data), "its writer was stopped at once"))
            return False
        if head.number != self.number or head.store_id != manifest.store_id:
            self.problems.append(f"{self.path}: it is of another store, or another journal's copy")
            self.ignored = True
            return False
        if head.extras_bytes != extras_dtype(manifest.extras).itemsize:
            self.problems.append(f"{self.path}: its extra columns are not the store's")
            self.ignored = True
            return False
        if journals.head_is_damaged(raw):
            self.problems.append(f"{self.path}: one of the two heads is damaged")
        context = journals.parse_context(head, raw)
        if context is None:
            self.problems.append(f"{self.path}: the context is damaged")
        else:
            self.context, self.opened = context
        self.head, self.at = head, head.start
        return True


def aligned_bytes(data: bytes) -> NDArray[np.uint8]:
    """Bytes in memory of our own that begins at a multiple of 8."""
    out = np.empty(len(data) // 8 + 1, np.uint64).view(np.uint8)[: len(data)]
    out[:] = np.frombuffer(data, np.uint8)
    out.flags.writeable = False
    return out
