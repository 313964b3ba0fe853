"""Files written whole or not at all, and files read with a bound.

Rule of this file: a reader of the old file, also through mmap, is never disturbed; new bytes go beside it
and take its name when they are on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import UsageError

try:
    import fcntl
except ImportError:  # not POSIX: left-over files of a killed save are not cleaned up
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def replace_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file to write; on leaving without an error it is on the disk under `path`, else it is gone.

    A kill at any moment leaves the old file or the new one, whole, and at most one left-over file
    `.NAME.*.tmp`, which the next call for the same path removes. Links are followed; the old file's
    permissions are kept.

    Raises:
        UsageError: `path` is a pipe or a device. OSError: as the system says.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if target.exists() and not target.is_file():
        raise UsageError(f"{os.fspath(path)} is not a regular file", "path")
    _remove_leftovers(target)
    try:
        beside, descriptor = _create_beside(target)
    except OSError as error:
        error.filename = os.fspath(path)  # not the name of a file that nobody has heard of
        raise
    try:
        with open(descriptor, "w+b") as file:
            with contextlib.suppress(FileNotFoundError):
                os.chmod(beside, stat.S_IMODE(target.stat().st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(beside, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        raise
    _sync_folder(target.parent)


def _prefix(target: Path) -> str:
    # a name has 255 bytes at most, and ours needs 22 more than the target's
    return "." + target.name.encode(errors="surrogateescape")[:200].decode(errors="ignore") + "."


def _create_beside(target: Path) -> tuple[Path, int]:
    """(path, descriptor) of a new file in the target's folder, locked as long as we live."""
    while True:
        beside = target.with_name(f"{_prefix(target)}{secrets.token_hex(8)}.tmp")
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
        if fcntl is None:
            return beside, descriptor
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # another process may have taken it for a left-over before it was locked
        with contextlib.suppress(FileNotFoundError):
            if os.stat(beside).st_ino == os.fstat(descriptor).st_ino:
                return beside, descriptor
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    # a rename alone may not survive power loss
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_leftovers(target: Path) -> None:
    if fcntl is None:
        return
    ours = re.compile(re.escape(_prefix(target)) + "[0-9a-f]{16}[.]tmp")
    with contextlib.suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            if ours.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError), open(entry.path, "rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its writer lives
                    os.unlink(entry.path)


@contextlib.contextmanager
def open_regular(path: str | os.PathLike[str]) -> Iterator[tuple[io.FileIO, int]]:
    """(unbuffered file, size in bytes) of a regular file, for reading.

    Raises:
        UsageError: it is no regular file (a device or a pipe may never end, nor a pipe even open).
    """
    flags = (
        os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    )
    descriptor = os.open(path, flags)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{os.fspath(path)} is not a regular file", "path")
        with io.FileIO(descriptor, "rb", closefd=False) as file:
            yield file, status.st_size
    finally:
        os.close(descriptor)


def read_file(path: str | os.PathLike[str], limit_bytes: int) -> NDArray[np.uint8]:
    """A regular file's bytes in memory of our own, beginning at a multiple of 16.

    Raises:
        UsageError: not a regular file, or larger than `limit_bytes`.
    """
    with open_regular(path) as (file, size):
        if size > limit_bytes:
            raise UsageError(
                f"{os.fspath(path)} has {size:,} bytes; files over {limit_bytes:,} are not read into memory "
                "(archive.open maps them)",
                "path",
            )
        data = np.empty(size, np.uint8)
        view = data.data
        done = 0
        while done < size:
            count = file.readinto(view[done:])
            if not count:  # somebody truncated it meanwhile: what is left is judged by the format's checker
                return data[:done]
            done += count
        return data
