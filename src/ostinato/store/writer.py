"""Writer: appends build results to a journal of its own.

Rules of this file: no lock that another writer could wait for; no numba, so that a compiler process that lives for a moment pays
nothing; bytes that somebody may have read are never written again: after any error the journal is left as it
is, and the next append begins another.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import struct
import threading
import time
import weakref
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NoReturn

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from ostinato.archive import layout as archive_layout
from ostinato.archive.writing import dumps
from ostinato.arguments import integer
from ostinato.errors import OstinatoError, UsageError
from ostinato.result import BuildResult
from ostinato.results import Results
from ostinato.store import journal, layout
from ostinato.store.forks import FORKS
from ostinato.store.fs import FileSystem, write_all
from ostinato.store.manifest import Extras, Manifest, extras_dtype
from ostinato.store.sizes import check_sizes

ROTATE_BYTES = 64 << 20
_CHUNK = 1024  # records of a frame
_CHUNK_BYTES = 8 << 20  # of a frame, unless one record is larger
_KNOWN = 1 << 16  # words remembered in their 8-byte form
_ENTRY = struct.Struct("<32siIB7xB7xQQB7xQI4x")
_OUTSIDE = struct.Struct("<Ii")
_ROOT = struct.pack("<iI", -archive_layout.ENTRY_BYTES, 1)
_HEAD, _CRC = layout.FRAME, layout.CRC
_LARGEST = (
    layout.FILE_END - layout.CONTEXT_AT - layout.CONTEXT_END - layout.FRAME_BYTES
)  # payload, and one more
_LOOK_S = 1.0  # so often the thread that syncs looks whether the writer is still there

Durability = Literal["system", "group", "each"]


class Writer:
    """Appends to a store; made by `Store.writer`. `with` closes it.

    `append` and `extend` returned: the records survive the death of any process. `sync` returned: all that this writer appended
    survives power loss. Many threads may use one writer, but writers of their own do not wait for each other.

    After a fork the child goes on in a journal of its own. Cost: a record of 15 instructions about 7 us one by one, 0.5 us in
    columns.

    Attributes:
        appended: records so far.
    """

    def __init__(
        self,
        fs: FileSystem,
        root: str,
        manifest: Manifest,
        read_manifest: Any,
        *,
        context: Mapping[str, str] | None = None,
        durability: Durability = "system",
        interval_ms: float = 50.0,
        rotate_bytes: int = ROTATE_BYTES,
    ) -> None:
        if durability not in ("system", "group", "each"):
            raise UsageError(f"expected 'system', 'group' or 'each', got {durability!r}", "durability")
        is_number = isinstance(interval_ms, (int, float, np.integer, np.floating))
        if not is_number or isinstance(interval_ms, bool) or not 0 < interval_ms < 1e9:
            raise UsageError(f"expected a number of milliseconds above 0, got {interval_ms!r}", "interval_ms")
        rotate_bytes = integer(rotate_bytes, "rotate_bytes", 1 << 12, layout.FILE_END)
        self._fs = fs
        self._root = root
        self._store_id = manifest.store_id
        self._extras: Extras = manifest.extras
        self._row = extras_dtype(manifest.extras)
        self._read_manifest = read_manifest
        self._context = journal.check_context(context)
        self._durability = durability
        self._interval_s = float(interval_ms) / 1000
        self._rotate_bytes = rotate_bytes
        self._known: dict[str, bytes] = {}
        self._closed = False
        self.appended = 0
        self._fresh()
        with self._lock:
            self._open()
        _WRITERS.add(self)

    def _fresh(self) -> None:
        """No journal yet, as in the beginning and in a forked child."""
        self._lock = threading.RLock()
        self._fd = -1
        self._number = self._at = self._index = self._salt = 0
        self._unsynced: list[int] = []  # journals that were left before they were synced
        self._folder_synced = False
        self._dirty = self._busy = False
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._failed: BaseException | None = None

    # --- what is asked of it --------------------------------------------------------------------------------

    def append(self, result: BuildResult, extras: Mapping[str, Any] | None = None) -> int:
        """Keep one build result; returns its id.

        Args:
            extras: values of the extra columns that the store declares.
        Raises:
            UsageError: no BuildResult, an extra column is missing, unknown or does not fit, or the writer is closed.
            OSError: as the system says (no space, say). Nothing is appended then, unless it was the sync of durability "each"
                that failed: the record is there then, and may be lost with the power. With durability "group": or a sync
                since the last call failed; once.
        """
        if not isinstance(result, BuildResult):
            raise UsageError(f"expected a BuildResult, got {type(result).__name__}", "result")
        payload = self._encode(result)
        if extras or self._extras:
            payload += _padded(self._extra_rows(extras, 1).tobytes())
        with self._lock:
            if self._failed is not None:
                self._tell()
            identity = self._write(payload, 1)
            self.appended += 1
            if self._durability != "system":
                self._keep_promise()
            return identity

    def extend(
        self,
        results: Results | Iterable[BuildResult],
        extras: Mapping[str, npt.ArrayLike] | None = None,
    ) -> NDArray[np.int64]:
        """Keep many, in order, about 1,024 to a frame; returns their ids, int64[n].

        Args:
            extras: an array of n, or one value for all, for each extra column.
        Raises:
            UsageError: as `append`, or a record takes 2 GiB; nothing is appended then. OSError: as the system says; the
                frames before the one that failed are appended.
        """
        whole = results if isinstance(results, Results) else Results.concat([results])
        rows = self._extra_rows(extras, len(whole)) if extras or self._extras else None
        check_sizes(whole.generated_tasm, _LARGEST - len(_padded(bytes(self._row.itemsize))))
        ids = np.empty(len(whole), np.int64)
        with self._lock:
            self._check_open()
            self._tell()
            for first, end, lists in _frames(whole, 0, len(whole)):
                payload = lists if rows is None else lists + _padded(rows[first:end].tobytes())
                identity = self._write(payload, end - first)
                ids[first:end] = np.arange(identity, identity + end - first)
                self.appended += end - first
            if self._durability != "system" and len(whole):
                self._keep_promise()
        return ids

    def sync(self) -> None:
        """Return when all that was appended so far survives power loss.

        Raises:
            OSError: the system could not write it: what was appended since the last sync may be lost with the power (not with
                the process).
        """
        with self._lock:
            self._check_open()
            self._check_alone()
            self._tell()
            self._sync()

    def close(self) -> None:
        """Leave the journal to whoever seals. Nothing is synced that was not promised.

        Raises:
            OSError: with durability "group", as `sync`; it is closed all the same.
        """
        with self._lock:
            if self._closed:
                return
            self._check_alone()
            try:
                self._tell()
                if self._durability == "group" and (self._dirty or self._unsynced):
                    self._sync()
            finally:
                self._closed = True
                self._wake.set()
                self._leave()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def __reduce__(self) -> NoReturn:
        raise UsageError(
            "a writer cannot be pickled: give the store, and let each process have a writer", "writer"
        )

    def __enter__(self) -> Writer:
        self._check_open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # nobody is there to be told of an error, whatever it is
        fd, self._fd = getattr(self, "_fd", -1), -1
        promised = not getattr(self, "_closed", True) and self._durability == "group"
        if fd >= 0 and promised and self._dirty:
            with contextlib.suppress(BaseException):
                self._fs.sync(fd)
        if fd >= 0:
            with contextlib.suppress(BaseException):
                self._fs.close(fd)
        if promised:
            with contextlib.suppress(BaseException):
                self._sync_left()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"journal {self._number:06d}"
        return f"Writer({state}, {self.appended:,} appended)"

    @property
    def journal(self) -> int:
        """The number of the journal it writes now; 0 between two."""
        return self._number if self._fd >= 0 else 0

    def amend(self, identity: int, at: int, reason: str, result: BuildResult) -> int:
        """Put a correction beside a record; returns the correction's own id. See `Store.amend`."""
        with self._lock:
            self._tell()
            own = self._write(journal.encode_amendment(identity, at, reason, result), 1, layout.AMENDMENT)
            if self._durability != "system":
                self._keep_promise()
            return own

    # --- frames ---------------------------------------------------------------------------------------------

    def _write(self, payload: bytes, count: int, kind: int = layout.RECORDS) -> int:
        """Append a frame; returns the id of its first record."""
        self._check_alone()
        self._busy = True
        try:
            return self._write_alone(payload, count, kind)
        finally:
            self._busy = False

    def _check_alone(self) -> None:
        # the lock lets in its own thread: from a signal handler, say, in the middle of an append
        if self._busy:
            raise OstinatoError(
                "the writer is in the middle of an append or a sync (called from a signal handler?)"
            )

    def _write_alone(self, payload: bytes, count: int, kind: int) -> int:
        size = layout.FRAME_BYTES + len(payload)
        if self._fd < 0 or self._at + size > self._rotate_bytes or self._index + count > layout.INDEX_END:
            self._check_open()
            self._begin(size)
        at, first = self._at, self._index
        head = _HEAD.pack(self._salt ^ at, len(payload), count, first | kind << layout.INDEX_BITS)
        data = b"".join((head, _CRC.pack(zlib.crc32(payload, zlib.crc32(head))), payload))
        try:
            written = self._fs.write_at(self._fd, data, at)
            if written != size:
                write_all(self._fs, self._fd, memoryview(data)[written:], at + written)
            self._at = at + size
            self._index = first + count
        except BaseException:
            # nobody knows how much of it stands there, and it may have been read: go on elsewhere
            self._leave()
            raise
        self._dirty = True
        return self._number << layout.INDEX_BITS | first

    def _begin(self, size: int) -> None:
        """Have a journal with room for a frame of this size."""
        if size >= _LARGEST + layout.FRAME_BYTES:
            raise UsageError("expected results of less than 2 GiB", "results")
        if self._fd >= 0 and self._at > self._start:  # else it is empty: the frame alone is larger
            self._leave()
        if self._fd < 0:
            self._open()

    def _leave(self) -> None:
        """Close the journal; whoever seals may have it."""
        with FORKS.held_off():  # as in `_open`
            fd, self._fd = self._fd, -1
            if fd < 0:
                return
            if self._dirty:
                self._unsynced.append(self._number)
            with contextlib.suppress(OSError):
                self._fs.close(fd)

    def _open(self) -> None:
        """Begin a journal of a number that was never used."""
        fs = self._fs
        folder = os.path.join(self._root, layout.JOURNALS)
        manifest: Manifest = self._read_manifest()
        known = map(layout.journal_number, fs.names(folder))
        number = max([manifest.last_retired, *known]) + 1
        while number < layout.JOURNAL_END:
            with FORKS.held_off():  # a child that does not know of the descriptor would keep the lock
                if self._take(number):
                    return
            number += 1
        raise OstinatoError("no journal numbers are left")

    def _take(self, number: int) -> bool:
        """Begin the journal of this number; False: it is somebody else's."""
        fs = self._fs
        path = layout.journal_path(self._root, number)
        try:
            fd = fs.create(path)
        except FileExistsError:
            return False
        mine = False
        try:
            # between these two, somebody who seals may take it for a journal without a writer
            mine = fs.lock(fd) and is_at(fd, path) and not self._read_manifest().is_retired(number)
            if mine:
                salt = secrets.randbits(64)
                head = journal.encode_head(
                    number=number,
                    salt=salt,
                    store_id=self._store_id,
                    extras_bytes=self._row.itemsize,
                    context=self._context,
                    opened=int(time.time()),
                )
                write_all(fs, fd, head, 0)
                # else power loss could take the name, and its number be used again for other records
                fs.sync_folder(os.path.dirname(path))
        except BaseException:
            with contextlib.suppress(OSError):
                if mine:  # it is ours, and empty
                    fs.unlink(path)
            with contextlib.suppress(OSError):
                fs.close(fd)
            raise
        if not mine:
            fs.close(fd)
            return False
        self._fd, self._number, self._salt = fd, number, salt
        self._at = self._start = len(head)
        self._index = 0
        return True

    def _encode(self, result: BuildResult) -> bytes:
        """The archive of one record, as `archive.dumps` makes it."""
        words = result.generated_tasm
        known = self._known
        try:
            forms = [known[word] for word in words]
        except KeyError:
            forms = self._learn(words)
        records = b"".join(forms)
        count = len(words)
        text = b""
        if len(records) != 8 * count:  # some stand outside
            text, records = _outside(forms)
        list_at = len(text)
        gap = -(list_at + len(records)) & 7
        entry_at = list_at + len(records) + gap
        clock = result.clock_cycles
        entry = _ENTRY.pack(
            result.tir_hash,
            list_at - entry_at - 32,
            count,
            result.valid,
            clock is not None,
            clock or 0,
            result.compiler_cycles,
            result.fallback_used,
            result.timestamp,
            result.model_version,
        )
        return b"".join((text, records, b"\0\0\0\0"[:gap], entry, _ROOT))

    def _learn(self, words: tuple[str, ...]) -> list[bytes]:
        known = self._known
        if len(known) + len(words) > _KNOWN:
            known.clear()
        out = []
        for word in words:
            raw = word.encode()
            if len(raw) <= archive_layout.INLINE_BYTES:
                raw = raw.ljust(archive_layout.STRING_BYTES, b"\xff")
            elif len(raw) >= archive_layout.STRING_END:
                raise UsageError(
                    f"expected strings under 2**30 bytes, got one of {len(raw)}", "generated_tasm"
                )
            if len(raw) <= 256:
                known[word] = raw
            out.append(raw)
        return out

    def _extra_rows(self, extras: Mapping[str, Any] | None, n: int) -> NDArray[np.void]:
        given = dict(extras or {})
        rows = np.zeros(n, self._row)
        for name, extra in self._extras.items():
            value = given.pop(name, extra.default)
            if value is None:
                raise UsageError("missing: the store declares it without a default", f"extras[{name}]")
            array = extra.value(value, f"extras[{name}]")
            if array.shape not in ((), (n,)):
                raise UsageError(f"expected {extra.kind}[{n}], got {list(array.shape)}", f"extras[{name}]")
            rows[name] = array
        if given:
            known = ", ".join(self._extras) or "none"
            raise UsageError(f"unknown column (declared: {known})", f"extras[{next(iter(given))}]")
        return rows

    # --- power ----------------------------------------------------------------------------------------------

    def _keep_promise(self) -> None:
        if self._durability == "each":
            self._sync()
            return
        if self._thread is None:
            arguments = (weakref.ref(self), self._wake, self._interval_s)
            self._thread = threading.Thread(
                target=_sync_in_groups, args=arguments, name="ostinato-sync", daemon=True
            )
            self._thread.start()

    def _sync_a_group(self) -> bool:
        """What the thread does now and then; False: it is not needed any more."""
        with self._lock:
            if self._closed or self._thread is not threading.current_thread():
                return False
            try:
                if (self._dirty or self._unsynced) and not self._busy:
                    self._sync()
            except BaseException as error:  # told by what is called next
                self._failed = error
            return True

    def _tell(self) -> None:
        """Raise what went wrong in the background, once: what was appended before may be lost with the power."""
        error, self._failed = self._failed, None
        if error is not None:
            raise error

    def _sync(self) -> None:
        self._busy = True  # what were appended meanwhile would count as synced, and a file be closed under it
        try:
            self._sync_alone()
        finally:
            self._busy = False

    def _sync_alone(self) -> None:
        fs = self._fs
        try:
            self._sync_left()
            if self._fd >= 0 and self._dirty:
                fs.sync(self._fd)
                self._dirty = False
            if not self._folder_synced:
                # whoever made the store may have died before
                fs.sync_folder(self._root)
                self._folder_synced = True
        except OSError:
            # pages that could not be written are forgotten by the system: what comes now goes elsewhere
            self._dirty = False
            self._leave()
            self._unsynced.clear()
            raise

    def _sync_left(self) -> None:
        """Sync journals that were left before they were synced."""
        while self._unsynced:
            path = layout.journal_path(self._root, self._unsynced[-1])
            # the kernel tells a new descriptor of an error that nobody was told
            with contextlib.suppress(FileNotFoundError):  # sealed meanwhile, and synced by that
                fd = self._fs.open(path)
                try:
                    self._fs.sync(fd)
                finally:
                    self._fs.close(fd)
            self._unsynced.pop()

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the writer is closed", "writer")

    def _after_fork(self) -> None:
        fd = self._fd
        self._fresh()
        if fd >= 0:
            # the parent keeps its lock, which would outlive it in our copy
            with contextlib.suppress(OSError):
                os.close(fd)


def _sync_in_groups(writer: weakref.ref[Writer], wake: threading.Event, interval_s: float) -> None:
    """Sync what was appended, again and again, as long as somebody has the writer."""
    while True:
        left = interval_s
        while left > 0:
            # in short steps: nobody wakes us when the writer is dropped
            if wake.wait(min(left, _LOOK_S)) or writer() is None:
                return
            left -= _LOOK_S
        alive = writer()
        if alive is None or not alive._sync_a_group():
            return
        del alive


def _padded(raw: bytes) -> bytes:
    return raw + bytes(-len(raw) & 7)


def _outside(forms: list[bytes]) -> tuple[bytes, bytes]:
    """(strings of over 8 bytes, up to a multiple of 4; the records) of a list that begins after them."""
    text = b"".join([form for form in forms if len(form) > archive_layout.INLINE_BYTES])
    list_at = len(text) + (-len(text) & 3)
    records = []
    at = 0
    for j, form in enumerate(forms):
        size = len(form)
        if size > archive_layout.INLINE_BYTES:
            packed = (size & 0x3F) | 0x80 | (size & ~0x3F) << 2
            records.append(_OUTSIDE.pack(packed, at - list_at - 8 * j))
            at += size
        else:
            records.append(form)
    return text + bytes(list_at - len(text)), b"".join(records)


def _frames(results: Results, begin: int, stop: int) -> Iterator[tuple[int, int, bytes]]:
    """(first, end, archive) of frames: of 1,024 records, or of fewer where they are long."""
    for first in range(begin, stop, _CHUNK):
        end = min(first + _CHUNK, stop)
        half = (first + end) // 2
        large = end - first > 1 and 8 * int(np.sum(results.instruction_counts[first:end])) > _CHUNK_BYTES
        if not large:
            try:
                payload = dumps(results[first:end])
                large = end - first > 1 and len(payload) > _CHUNK_BYTES
            except UsageError:  # 2 GiB or more
                if end - first == 1:
                    raise
                large = True
        if large:
            yield from _frames(results, first, half)
            yield from _frames(results, half, end)
        else:
            yield first, end, payload


def is_at(fd: int, path: str) -> bool:
    """Is this file still the one of that name?"""
    try:
        there, here = os.lstat(path), os.fstat(fd)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


_WRITERS: weakref.WeakSet[Writer] = weakref.WeakSet()


def _forked() -> None:
    for writer in list(_WRITERS):
        writer._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
