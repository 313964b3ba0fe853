"""What a disk has, and what of it a power loss leaves: the model behind `FaultyFileSystem`.

Rule of this file: pure, without files of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

Keep: TypeAlias = Literal["none", "random", "all"]

SECTOR = 512


class Luck:
    """What a power loss lets through: each thing with the same probability, drawn for this loss."""

    def __init__(self, keep: Keep, rng: np.random.Generator) -> None:
        self._rng = rng
        self._share = {"none": 0.0, "random": rng.random(), "all": 1.0}[keep]

    def kept(self) -> bool:
        return bool(self._rng.random() < self._share)

    def between(self, low: int, high: int) -> int:
        """One of low .. high."""
        if self.kept() or low == high:
            return high
        return int(self._rng.integers(low, high)) if self._share else low


@dataclass
class Write:
    offset: int
    data: bytes
    state: Literal["pending", "synced", "failed"] = "pending"

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


@dataclass(eq=False)
class File:
    """A file's bytes on the disk, and the writes since, in order.

    durable: None for a file that others made, while it has a name: what the real one holds.
    size: in bytes, as on the disk. sizes: those it had since, in order.
    """

    durable: bytearray | None = None
    size: int = 0
    sizes: list[int] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)

    @property
    def is_unsynced(self) -> bool:
        return bool(self.writes or self.sizes)

    def write(self, offset: int, data: bytes) -> None:
        if data:
            self.writes.append(Write(offset, data))
            self.sizes.append(max(offset + len(data), self.sizes[-1] if self.sizes else self.size))

    def sync(self) -> None:
        for write in self.writes:
            if write.state == "pending":
                write.state = "synced"
        if self.sizes:
            self.size = self.sizes[-1]
            self.sizes.clear()
        while self.writes and self.writes[0].state == "synced":
            assert self.durable is not None
            _put(self.durable, self.writes.pop(0), 0, self.size)

    def fail_to_sync(self) -> None:
        for write in self.writes:
            if write.state == "pending":
                write.state = "failed"

    def surviving(self, luck: Luck) -> bytes:
        """The bytes after a power loss."""
        # a size between two writes has room for whole sectors
        sizes = [self.size, *self.sizes]
        sizes = sorted({*sizes, *range(sizes[0] // SECTOR * SECTOR + SECTOR, sizes[-1], SECTOR)})
        size = sizes[luck.between(0, len(sizes) - 1)]
        out = bytearray(self.durable or b"")
        sectors: dict[int, list[Write]] = {}
        for write in self.writes:
            for sector in range(write.offset // SECTOR, (write.end - 1) // SECTOR + 1):
                sectors.setdefault(sector, []).append(write)
        for sector, writes in sectors.items():
            # a sector is written as a whole, so it is as it was after one of its writes
            synced = max((i + 1 for i, write in enumerate(writes) if write.state == "synced"), default=0)
            for write in writes[: luck.between(synced, len(writes))]:
                if write.state != "failed" or luck.kept():
                    _put(out, write, sector * SECTOR, (sector + 1) * SECTOR)
        return bytes(out[:size].ljust(size, b"\0"))


def _put(out: bytearray, write: Write, start: int, end: int) -> None:
    """Apply the part of a write that lies within start .. end."""
    start, end = max(start, write.offset), min(end, write.end)
    out.extend(bytes(max(0, end - len(out))))
    out[start:end] = write.data[start - write.offset : end - write.offset]


@dataclass(eq=False)
class Folder:
    """What a folder holds: as everybody sees it, and as it is on the disk."""

    visible: dict[str, Node] = field(default_factory=dict)
    durable: dict[str, Node] = field(default_factory=dict)


Node: TypeAlias = File | Folder
Place: TypeAlias = tuple[Folder, str]


@dataclass(eq=False)
class Change:
    """Names that changed together: what stands there now, and which folders are still to be synced."""

    nodes: dict[Place, Node | None]
    waiting: set[Folder]
    failed: bool = False


@dataclass
class Disk:
    """The tree of names, and its changes that are not on the disk."""

    root: Folder = field(default_factory=Folder)
    changes: list[Change] = field(default_factory=list)

    def change(self, nodes: dict[Place, Node | None]) -> None:
        for place, node in nodes.items():
            _set(place[0].visible, place[1], node)
        self.changes.append(Change(nodes, {folder for folder, _ in nodes}))

    def sync(self, folder: Folder) -> None:
        for change in self.changes:
            change.waiting.discard(folder)
        done: dict[Change, None] = {}
        places: set[Place] = set()
        for change in reversed(self.changes):
            # an older change of the same name cannot come after this one, so it is on the disk too
            if (not change.waiting and not change.failed) or not places.isdisjoint(change.nodes):
                done[change] = None
                places |= change.nodes.keys()
        for change in reversed(done):
            self._keep(change)
        self.changes = [change for change in self.changes if change not in done]

    def fail_to_sync(self, folder: Folder) -> None:
        for change in self.changes:
            change.failed |= folder in change.waiting

    def settle(self, luck: Luck) -> None:
        """After a power loss: some of the changes are on the disk, the others have never been."""
        lost: set[Place] = set()
        for change in self.changes:
            if lost.isdisjoint(change.nodes) and luck.kept():
                self._keep(change)
            else:
                lost |= change.nodes.keys()
        self.changes.clear()

    @staticmethod
    def _keep(change: Change) -> None:
        for (folder, name), node in change.nodes.items():
            _set(folder.durable, name, node)


def _set(names: dict[str, Node], name: str, node: Node | None) -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


def walk(
    names: dict[str, Node], view: Literal["visible", "durable"], prefix: str = ""
) -> Iterator[tuple[str, Node]]:
    """(path, node) of all that is in a folder, folders before what is in them."""
    for name, node in names.items():
        yield prefix + name, node
        if isinstance(node, Folder):
            yield from walk(getattr(node, view), view, f"{prefix}{name}{os.sep}")
