"""A file system that fails when it is told to, and a power loss that leaves what a real one may leave.

    fs = FaultyFileSystem(folder)
    fs.fail_at(7, errno.ENOSPC)      # or "short", or "crash"
    ...                              # whatever does its files through fs
    fs.crash(keep="random")          # the folder now holds what may be there when the power is back

It works on a real folder, so that anything else can look at the files, and remembers what was not synced.

What a power loss may do, as POSIX leaves it open:
    - Bytes written to a file since its last `sync` are there or not, each sector of 512 bytes for itself, as it
      was after any one of its writes. The file's size is any it had since, or a multiple of 512 on the way; what
      lies within it and was not written is zeros.
    - Names created, renamed or removed since the last `sync_folder` are as before or as after, each change for
      itself; but of two that touch the same name the second is not there without the first. A synced file under a name
      that was not synced is gone. A rename is there wholly or not; between two folders it waits for both of them.
    - What a `sync` that failed was to keep counts as not synced for ever, also when a later one succeeds: Linux
      marks such pages clean ("fsyncgate"). The file's size is then kept, and the bytes may be zeros.
    - Nothing else: what was synced is whole; locks are gone; files that others wrote (SQLite, other processes,
      what was there before) are as they are, and come back if their removal was not synced.
`keep` says how much is lost: "none" of what was not synced is kept, a "random" part, or "all", which is what a kill
of the process leaves.

Not modelled: disks that lie about a sync, decay of what was synced, foreign bytes in a file that grew, sectors torn
in themselves, times and permissions, links. Nothing is really synced, which makes tests fast.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import UsageError
from ostinato.store.fs import Bytes, FileSystem
from ostinato.testing.disk import Disk, File, Folder, Keep, Luck, Node, Place, walk

Fault: TypeAlias = int | Literal["short", "crash"]

MUTATING = frozenset({"create", "write_at", "sync", "sync_folder", "replace", "unlink", "mkdir", "rmdir"})


class PowerLoss(BaseException):
    """The power is gone, and with it the process: nothing may catch this but the test, hence no Exception."""


class Call(NamedTuple):
    """One call of a primitive: its name, the path it is about, the bytes it was asked to move."""

    name: str
    path: str
    size: int

    @property
    def mutating(self) -> bool:
        """Does it change what is on the disk?"""
        return self.name in MUTATING


class FaultyFileSystem(FileSystem):
    """The file system of one folder and what is in it, with faults; safe to use from many threads.

    Calls are numbered from 1: those that change something (`MUTATING`), or all of them where `every` is said. So
    run once, look at `calls`, and run again with a fault at each in turn.

    Attributes:
        log: every call so far, failed ones too.
        calls: how many of them change something.
    """

    def __init__(self, root: str | os.PathLike[str], *, rng: np.random.Generator | None = None) -> None:
        self.log: list[Call] = []
        self.calls = 0
        self._root = os.path.abspath(root)
        self._rng = np.random.default_rng(0) if rng is None else rng
        self._disk = Disk()
        self._faults: list[_Fault] = []
        self._opened: dict[int, tuple[str, File]] = {}
        self._lost = False
        self._mutex = threading.RLock()

    # Faults

    def fail_at(self, call_number: int, error: Fault, *, every: bool = False, keep: Keep = "random") -> None:
        """Let one call fail.

        Args:
            call_number: which, from 1, counted since the file system was made.
            error: an errno, which it raises, having done nothing. "short": it reads or writes half of what it should
                (calls that move no bytes just work). "crash": the power is lost during the call, `keep` is kept.
        """
        self._faults.append(_Fault(call_number, call_number, error, every=every, keep=keep))

    def fail_from(
        self, call_number: int, error: int, *, every: bool = False, only: Collection[str] | None = None
    ) -> None:
        """Let every call fail from this one on, as on a full disk, until `mend`.

        Args:
            call_number, error: as in `fail_at`.
            only: names of primitives; a full disk still lets files be removed.
        """
        self._faults.append(_Fault(call_number, None, error, every=every, only=only))

    def mend(self) -> None:
        """No more faults than there have been."""
        self._faults.clear()

    def crash(self, rng: np.random.Generator | None = None, keep: Keep = "random") -> None:
        """Lose the power: the folder becomes what may then be there, and every call from now on raises PowerLoss.

        Descriptors are closed. Maps stay valid: files that change are made anew. Use another FileSystem then.

        Cost: O(bytes not synced + files in the folder).
        """
        with self._mutex:
            self._check_power()
            self._lost = True
            for fd in self._opened:
                with contextlib.suppress(OSError):
                    fcntl.flock(fd, fcntl.LOCK_UN)  # closing is not enough: a map may keep a copy
                    os.close(fd)
            self._opened.clear()
            if keep == "all":
                return
            self._adopt_all(self._disk.root, self._root)
            visible = dict(walk(self._disk.root.visible, "visible"))
            luck = Luck(keep, self._rng if rng is None else rng)
            self._disk.settle(luck)
            self._rewrite(visible, dict(walk(self._disk.root.durable, "durable")), luck)

    # The primitives

    def create(self, path: str) -> int:
        with self._calling("create", path):
            fd = super().create(path)
            file = File(bytearray())
            self._opened[fd] = path, file
            self._disk.change({self._place(path): file})
            return fd

    def open(self, path: str) -> int:
        with self._calling("open", path):
            fd = super().open(path)
            file = self._node(path)
            assert isinstance(file, File)
            self._opened[fd] = path, file
            return fd

    def close(self, fd: int) -> None:
        with self._mutex:
            # clearing up is no sign of life, and the number may be somebody else's by now
            if self._lost:
                return
            path, _ = self._file(fd)
            del self._opened[fd]
            os.close(fd)  # also where it fails: the system gives the descriptor back all the same
            with self._calling("close", path, by_descriptor=True):
                pass

    def write_at(self, fd: int, data: Bytes, offset: int) -> int:
        data = memoryview(data).tobytes()
        path, file = self._file(fd)
        with self._calling("write_at", path, len(data), by_descriptor=True) as fault:
            count = super().write_at(fd, _half(data) if fault == "short" else data, offset)
            file.write(offset, data[:count])
            return count

    def read_at(self, fd: int, size: int, offset: int) -> bytes:
        with self._calling("read_at", self._file(fd)[0], size, by_descriptor=True) as fault:
            data = super().read_at(fd, size, offset)
            return _half(data) if fault == "short" else data

    def size(self, fd: int) -> int:
        with self._calling("size", self._file(fd)[0], by_descriptor=True):
            return super().size(fd)

    def map(self, fd: int, size: int) -> NDArray[np.uint8]:
        with self._calling("map", self._file(fd)[0], size, by_descriptor=True):
            return super().map(fd, size)

    def sync(self, fd: int) -> None:
        with self._mutex:
            path, file = self._file(fd)
            try:
                with self._calling("sync", path, by_descriptor=True) as fault:
                    if fault != "crash":
                        file.sync()
            except OSError:
                file.fail_to_sync()
                raise

    def lock(self, fd: int, *, shared: bool = False) -> bool:
        with self._calling("lock", self._file(fd)[0], by_descriptor=True):
            return super().lock(fd, shared=shared)

    def status(self, path: str) -> os.stat_result:
        with self._calling("status", path):
            return super().status(path)

    def names(self, path: str) -> list[str]:
        with self._calling("names", path):
            return super().names(path)

    def replace(self, source: str, target: str) -> None:
        with self._calling("replace", target):
            node, old = self._node(source), self._node(target)
            self._remember(old, target)
            super().replace(source, target)
            if node is None:
                raise UsageError(f"{source} is neither a file nor a folder: not modelled here", "source")
            if node is not old:
                self._disk.change({self._place(source): None, self._place(target): node})

    def unlink(self, path: str) -> None:
        with self._calling("unlink", path):
            node = self._node(path)
            self._remember(node, path)
            super().unlink(path)
            if node is not None:  # a link: it was never there
                self._disk.change({self._place(path): None})

    def mkdir(self, path: str) -> None:
        with self._calling("mkdir", path):
            super().mkdir(path)
            self._disk.change({self._place(path): Folder()})

    def rmdir(self, path: str) -> None:
        with self._calling("rmdir", path):
            self._node(path)
            super().rmdir(path)
            self._disk.change({self._place(path): None})

    def sync_folder(self, path: str) -> None:
        with self._mutex:
            folder = self._node(path)
            try:
                with self._calling("sync_folder", path) as fault:
                    if not isinstance(folder, Folder):
                        super().sync_folder(path)  # which says why not
                    elif fault != "crash":
                        self._disk.sync(folder)
            except OSError:
                if isinstance(folder, Folder):
                    self._disk.fail_to_sync(folder)
                raise

    # Calls

    def _check_power(self) -> None:
        if self._lost:
            raise PowerLoss(f"the power was lost after {len(self.log)} calls")

    @contextlib.contextmanager
    def _calling(
        self, name: str, path: str, size: int = 0, *, by_descriptor: bool = False
    ) -> Iterator[Literal["short", "crash"] | None]:
        """Around a call: counts it, and lets it fail if its turn has come."""
        with self._mutex:
            self._check_power()
            call = Call(name, path, size)
            self.log.append(call)
            self.calls += call.mutating
            fault = next(
                (fault for fault in self._faults if fault.hits(call, self.calls, len(self.log))), None
            )
            if fault is None:
                yield None
            elif isinstance(fault.error, int):
                # as the system does it: who gave a descriptor is not told a name
                raise OSError(fault.error, os.strerror(fault.error), *([] if by_descriptor else [path]))
            elif fault.error == "short":
                yield "short"
            else:
                try:
                    yield "crash"
                finally:  # whatever the call would have said
                    self.crash(keep=fault.keep)
                    raise PowerLoss(f"the power was lost during call {len(self.log)}, {name} of {path}")

    def _file(self, fd: int) -> tuple[str, File]:
        with self._mutex:
            self._check_power()
            if fd not in self._opened:
                raise OSError(errno.EBADF, f"{os.strerror(errno.EBADF)}: not one of this file system")
            return self._opened[fd]

    # Names and their nodes

    def _parts(self, path: str) -> list[str]:
        inside = os.path.relpath(os.path.abspath(path), self._root)
        parts = [] if inside == "." else inside.split(os.sep)
        if parts[:1] == [".."]:
            raise UsageError(f"{path} is outside of {self._root}", "path")
        return parts

    def _node(self, path: str) -> Node | None:
        """What stands there; None if nothing does, or nothing that is modelled."""
        node: Node | None = self._disk.root
        real = self._root
        for name in self._parts(path):
            if not isinstance(node, Folder):
                return None
            real = os.path.join(real, name)
            node = self._adopt(node, name, real)
        return node

    def _place(self, path: str) -> Place:
        folder = self._node(os.path.dirname(os.path.abspath(path)))
        if not isinstance(folder, Folder):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return folder, os.path.basename(path)

    def _adopt(self, folder: Folder, name: str, real: str) -> Node | None:
        """The node of a name; one that somebody else made is taken for synced."""
        if name not in folder.visible:
            try:
                mode = os.lstat(real).st_mode
            except OSError:
                return None
            node = Folder() if stat.S_ISDIR(mode) else File() if stat.S_ISREG(mode) else None
            if node is not None:
                folder.visible[name] = folder.durable[name] = node
        return folder.visible.get(name)

    def _adopt_all(self, folder: Folder, real: str) -> None:
        names = sorted(os.listdir(real))
        for gone in folder.visible.keys() - set(names):  # others removed it
            del folder.visible[gone]
            folder.durable.pop(gone, None)
        for name in names:
            node = self._adopt(folder, name, os.path.join(real, name))
            if isinstance(node, Folder):
                self._adopt_all(node, os.path.join(real, name))

    def _remember(self, node: Node | None, path: str) -> None:
        """Keep the bytes of a file that loses its name, for the case that it gets it back."""
        if isinstance(node, File) and node.durable is None:
            with open(path, "rb") as file:
                node.durable = bytearray(file.read())
                node.size = len(node.durable)

    # After the loss

    def _rewrite(self, visible: dict[str, Node], durable: dict[str, Node], luck: Luck) -> None:
        """Make the folder hold `durable`, in new files where anything is different."""
        contents: dict[str, bytes] = {}
        for path, node in durable.items():
            if isinstance(node, File):
                if visible.get(path) is not node:
                    old = next((old for old, other in visible.items() if other is node), None)
                    if old is not None:
                        self._remember(node, os.path.join(self._root, old))
                elif not node.is_unsynced:
                    continue
                contents[path] = node.surviving(luck)
        for path, node in visible.items():
            real = os.path.join(self._root, path)
            if isinstance(node, File) and (durable.get(path) is not node or path in contents):
                os.unlink(real)
        for path, node in visible.items():
            real = os.path.join(self._root, path)
            if isinstance(node, Folder) and not isinstance(durable.get(path), Folder) and os.path.isdir(real):
                shutil.rmtree(real)
        for path, node in durable.items():
            if isinstance(node, Folder):
                os.makedirs(os.path.join(self._root, path), exist_ok=True)
        for path, data in contents.items():
            with open(os.path.join(self._root, path), "xb") as file:
                file.write(data)


@dataclass(frozen=True)
class _Fault:
    first: int
    last: int | None
    error: Fault
    every: bool = False
    keep: Keep = "none"
    only: Collection[str] | None = None

    def hits(self, call: Call, mutating: int, all_calls: int) -> bool:
        if not (self.every or call.mutating) or (self.only is not None and call.name not in self.only):
            return False
        number = all_calls if self.every else mutating
        return self.first <= number and (self.last is None or number <= self.last)


def _half(data: bytes) -> bytes:
    return data[: (len(data) + 1) // 2]  # a write of one byte cannot be short
