"""All that the store does to its own files, one method for each thing it asks of the system.

Rule of this file: a primitive is one system call and the refusals that belong to it, without memory of its
own; what is made of several (`read`, `write`, `remove_folder`) calls the primitives of `self`. So a twin that
overrides the primitives (`ostinato.testing.FaultyFileSystem`) can let each step of everything fail.

Paths are str. No link is followed where a path ends: a folder that somebody else prepared must not lead us to
files elsewhere. Errors of the system (OSError) pass through unchanged. POSIX only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import secrets
import stat
import sys

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import UsageError

Bytes = bytes | bytearray | memoryview  # what can be written; a memoryview lies side by side
_PLAIN = os.O_CLOEXEC | os.O_NOFOLLOW


class FileSystem:
    """The primitives, on the real file system. It holds nothing: `REAL` serves everybody, in any thread.

    Cost: that of the system call, unless a method says more.
    """

    # One file

    def create(self, path: str) -> int:
        """A descriptor, to read and write, of a new and empty file.

        Raises:
            FileExistsError: there is something of that name, be it a link that leads nowhere.
        """
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _PLAIN, 0o666)

    def open(self, path: str) -> int:
        """A descriptor, to read, of a regular file.

        Raises:
            UsageError: it is a link, a folder, a pipe, a device. FileNotFoundError: it is not there.
        """
        try:
            # without waiting, since a pipe would wait for its writer
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | _PLAIN)
        except OSError:
            with contextlib.suppress(OSError):
                _refuse_irregular(path, os.lstat(path).st_mode)
            raise
        try:
            _refuse_irregular(path, os.fstat(fd).st_mode)
        except UsageError:
            os.close(fd)
            raise
        return fd

    def close(self, fd: int) -> None:
        """Give the descriptor back, and with it its lock."""
        os.close(fd)

    def write_at(self, fd: int, data: Bytes, offset: int) -> int:
        """Write at `offset` and say how many bytes were written: 1 or more, perhaps not all (`write_all`)."""
        return os.pwrite(fd, data, offset)

    def read_at(self, fd: int, size: int, offset: int) -> bytes:
        """At most `size` bytes from `offset`; none at the end of the file, perhaps fewer before it."""
        return os.pread(fd, size, offset)

    def size(self, fd: int) -> int:
        """The file's size in bytes."""
        return os.fstat(fd).st_size

    def map(self, fd: int, size: int) -> NDArray[np.uint8]:
        """The file's first `size` bytes, mapped: u8[size], read-only, valid after `close` and `unlink`.

        It keeps no descriptor, but the open file: do not map one that holds a lock, which would stay as long as the map.

        Raises:
            ValueError: the file is shorter. Should it be truncated later, touching what is gone kills the process;
            so files of the store are never truncated.
        """
        if size == 0:  # the system maps no empty range
            empty = np.empty(0, np.uint8)
            empty.flags.writeable = False
            return empty
        if sys.version_info >= (3, 13):
            return np.frombuffer(mmap.mmap(fd, size, access=mmap.ACCESS_READ, trackfd=False), np.uint8)
        return _mapped(fd, size)

    def sync(self, fd: int) -> None:
        """Return when the file's bytes and size are on the disk; its name is `sync_folder`'s.

        An error means that bytes since the last success may be lost for good, even if a later call succeeds: the
        system forgets that it could not write them. Write them anew, elsewhere.
        """
        if sys.platform == "darwin":
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # there fsync leaves them in the disk's own memory
        else:
            os.fdatasync(fd)

    def lock(self, fd: int, *, shared: bool = False) -> bool:
        """Take the file's lock without waiting; False if somebody holds it, in whichever process.

        It is the open file's (flock): a second descriptor of this process is somebody else, a forked child's copy
        is not. It ends with `close`, or with the last process that has the descriptor.
        """
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    # Names

    def status(self, path: str) -> os.stat_result:
        """What stands under this name; of a link, the link."""
        return os.lstat(path)

    def names(self, path: str) -> list[str]:
        """What is in a folder, sorted.

        Raises:
            UsageError: it is a link. NotADirectoryError, FileNotFoundError: it is no folder.
        """
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _PLAIN)
        except OSError:  # not the same one on every system
            with contextlib.suppress(OSError):
                _refuse_link(path, os.lstat(path).st_mode)
            raise
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def replace(self, source: str, target: str) -> None:
        """Give a file or a folder another name; whoever looks sees the old target or the new one."""
        os.replace(source, target)

    def unlink(self, path: str) -> None:
        """Remove a name; the file lives on while it is open or mapped."""
        os.unlink(path)

    def mkdir(self, path: str) -> None:
        """Make a folder. Raises FileExistsError if there is anything of that name."""
        os.mkdir(path)

    def rmdir(self, path: str) -> None:
        """Remove an empty folder."""
        os.rmdir(path)

    def sync_folder(self, path: str) -> None:
        """Return when all that was created, renamed or removed in this folder is on the disk."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    # Made of these

    def remove_folder(self, path: str) -> None:
        """Remove a folder of plain files; anything else in it stays, and the folder with it (OSError).

        A kill on the way leaves a folder with fewer files, which can be removed again. Cost: O(files).
        """
        for name in self.names(path):
            file = os.path.join(path, name)
            if stat.S_ISREG(self.status(file).st_mode):
                self.unlink(file)
        self.rmdir(path)

    def read(self, path: str, limit_bytes: int) -> bytes:
        """A whole file; if it is growing, what it was when it was opened.

        Raises:
            UsageError: as `open`, or it is larger than `limit_bytes`.
        """
        fd = self.open(path)
        try:
            size = self.size(fd)
            if size > limit_bytes:
                raise UsageError(
                    f"{path} has {size:,} bytes, more than the {limit_bytes:,} it may have", "path"
                )
            return read_all(self, fd, size)
        finally:
            self.close(fd)

    def write(self, path: str, data: Bytes) -> None:
        """Put a file under this name, whole: returned = it survives power loss; an error = see below.

        Whatever happens, on the way or to the power, the name has the old file or the new one. After an error it
        nearly always has the old one; if syncing the folder failed it has the new one, which power loss may undo. A kill
        leaves a file `.NAME.*.tmp` beside it.
        """
        folder, name = os.path.split(path)
        beside = os.path.join(folder, f".{name}.{secrets.token_hex(8)}.tmp")
        fd = self.create(beside)
        try:
            try:
                write_all(self, fd, data, 0)
                self.sync(fd)
            finally:
                self.close(fd)
            self.replace(beside, path)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                self.unlink(beside)
            raise
        self.sync_folder(folder or ".")  # a rename alone may not survive power loss


REAL = FileSystem()


def write_all(fs: FileSystem, fd: int, data: Bytes, offset: int) -> None:
    """Write all of `data` at `offset`, in as many calls as the system wants.

    After an error some of it may be written.
    """
    rest = memoryview(data)
    if not rest.nbytes:
        return
    rest = rest.cast("B")
    while rest:
        count = fs.write_at(fd, rest, offset)
        if count == 0:  # would go on for ever
            raise OSError(errno.EIO, "the system writes nothing and gives no reason")
        rest = rest[count:]
        offset += count


def read_all(fs: FileSystem, fd: int, size: int) -> bytes:
    """The file's first `size` bytes, in as many calls as the system wants; fewer only if the file has fewer."""
    parts: list[bytes] = []
    done = 0
    while done < size and (part := fs.read_at(fd, size - done, done)):
        parts.append(part)
        done += len(part)
    return b"".join(parts)


def _mapped(fd: int, size: int) -> NDArray[np.uint8]:
    """What mmap does, without a copy of the descriptor: before Python 3.13 it keeps one, so that a store of a thousand journals
    would need a thousand.
    """
    import ctypes
    import weakref

    if os.fstat(fd).st_size < size:
        raise ValueError("mmap length is greater than file size")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
    if address == ctypes.c_void_p(-1).value:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    block = (ctypes.c_uint8 * size).from_address(address)
    # the array keeps the block, and views keep the array; at exit somebody may still look
    weakref.finalize(block, libc.munmap, address, size).atexit = False
    array: NDArray[np.uint8] = np.frombuffer(memoryview(block), np.uint8)
    array.flags.writeable = False
    return array


def _refuse_link(path: str, mode: int) -> None:
    if stat.S_ISLNK(mode):
        raise UsageError(f"{path} is a symbolic link, which is not followed here", "path")


def _refuse_irregular(path: str, mode: int) -> None:
    _refuse_link(path, mode)
    if not stat.S_ISREG(mode):
        raise UsageError(f"{path} is not a regular file", "path")
