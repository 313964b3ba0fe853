"""Writing segments: an archive and its sibling arrays, in one pass, with memory for one chunk."""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.archive import layout as archive_layout
from ostinato.archive.places import BLOCK_BYTES
from ostinato.archive.writing import encode_lists, entries_of
from ostinato.errors import DamageError, UsageError
from ostinato.results import Results
from ostinato.store import layout
from ostinato.store.fs import FileSystem, write_all
from ostinato.store.journal import Context
from ostinato.store.manifest import Extras

_BUFFER_BYTES = 1 << 20
NPY_BYTES = 128  # of a header, so that it can be written last
_ENTRIES = 16_384  # of them, when their offsets are settled
CONTEXTS_END = 1 << 26  # bytes of contexts.json; journals whose contexts are more share no segment


class SummedFile:
    """A file that is written from its beginning to its end, and the CRC-32 of each of its blocks.

    `head` bytes at its beginning are given at the end.
    """

    def __init__(self, fs: FileSystem, path: str, head: int = 0) -> None:
        self._fs = fs
        self._fd = fs.create(path)
        self._first: bytearray | None = bytearray(head) if head else None
        self._pending = bytearray()
        self._at = 0  # of what is pending
        self.sums: list[int] = []
        self.size = head

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append."""
        view = memoryview(data).cast("B")
        self.size += len(view)
        if self._first is not None and len(self._first) < BLOCK_BYTES:
            fits = BLOCK_BYTES - len(self._first)
            self._first += view[:fits]
            view = view[fits:]
            if not self._at and len(self._first) == BLOCK_BYTES:
                self._at = BLOCK_BYTES
                self.sums.append(0)
        self._pending += view
        if len(self._pending) >= _BUFFER_BYTES:
            self._flush(len(self._pending) // BLOCK_BYTES * BLOCK_BYTES)

    def _flush(self, size: int) -> None:
        with memoryview(self._pending)[:size] as part:
            self.sums += [zlib.crc32(part[at : at + BLOCK_BYTES]) for at in range(0, size, BLOCK_BYTES)]
            write_all(self._fs, self._fd, part, self._at)
        self._at += size
        del self._pending[:size]

    def finish(self, head: bytes = b"") -> None:
        """Write what is left, sync, close."""
        if self._first is not None:
            self._first[: len(head)] = head
            if self.sums:
                self.sums[0] = zlib.crc32(self._first)
            else:
                self.sums.append(zlib.crc32(self._first))
            write_all(self._fs, self._fd, self._first, 0)
        if self._pending:
            self._flush(len(self._pending))
        self._fs.sync(self._fd)
        self.close()

    def close(self) -> None:
        """Give the descriptor back."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._fs.close(fd)


def npy_head(kind: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """128 bytes that stand before an array's items in a file of npy 1.0."""
    text = repr({"descr": kind.str, "fortran_order": False, "shape": shape})
    body = text.encode().ljust(NPY_BYTES - 11) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body


def npy(array: NDArray[Any]) -> bytes:
    """A file of npy 1.0."""
    return npy_head(array.dtype, array.shape) + np.ascontiguousarray(array).tobytes()


class SegmentFull(Exception):  # noqa: N818
    """What was to be added belongs into the next segment, or, if this one is empty, into more than one; nothing was written."""


class SegmentWriter:
    """Writes a segment's folder, under a name of its own until `finish`.

    Holds one chunk, 4 bytes for each block of 4,096, and the contexts that differ.
    """

    def __init__(
        self, fs: FileSystem, folder: str, extras: Extras, max_bytes: int, contexts: Mapping[int, Context]
    ) -> None:
        """`contexts`: of the journals whose records will come."""
        self._fs, self._folder, self._extras = fs, folder, extras
        self._max_bytes = max_bytes
        self._contexts = contexts
        self._known: dict[str, int] = {}  # context -> its number
        self._context_bytes = len("[]\n")
        fs.mkdir(folder)
        self._names: dict[str, SummedFile] = {}
        self._spool = -1
        self._spool_path = os.path.join(folder, "entries.tmp")
        try:
            self._records = self._file("records.rkyv")
            self._ids = self._file("ids.npy", NPY_BYTES)
            self._columns = {name: self._file(f"extra-{name}.npy", NPY_BYTES) for name in extras}
            self._spool = fs.create(self._spool_path)
        except BaseException:
            self.close()
            with contextlib.suppress(OSError):
                fs.remove_folder(folder)
            raise
        self._spooled = 0
        self.records = 0
        self.journals: dict[int, int] = {}  # journal -> the number of its context

    def _file(self, name: str, head: int = 0) -> SummedFile:
        self._names[name] = SummedFile(self._fs, os.path.join(self._folder, name), head)
        return self._names[name]

    def add(self, results: Results, ids: NDArray[np.int64], extras: Mapping[str, NDArray[Any]]) -> None:
        """Append records, whose ids are above all before.

        Raises:
            SegmentFull: begin another. UsageError: they do not fit into any. DamageError: their text is damaged.
        """
        lists, positions = encode_lists(results.generated_tasm, self._records.size)
        n = len(results)
        size = self._records.size + len(lists) + archive_layout.ENTRY_BYTES * (self.records + n) + 16
        if (self.records or n > 1) and size > self._max_bytes:
            raise SegmentFull
        if size >= archive_layout.ARCHIVE_END:
            raise UsageError("an archive holds less than 2 GiB", "results")
        journals, known, context_bytes = self._with_contexts(np.unique(ids >> layout.INDEX_BITS).tolist())
        if (self.records or n > 1) and context_bytes > CONTEXTS_END:
            raise SegmentFull
        entries = entries_of(results, positions)
        self.journals |= journals
        self._known |= known
        self._context_bytes = context_bytes
        self._records.write(lists)
        raw = entries.view(np.uint8).data
        write_all(self._fs, self._spool, raw, self._spooled)
        self._spooled += len(raw)
        self._ids.write(np.ascontiguousarray(ids, "<i8").view(np.uint8).data)
        for name, extra in self._extras.items():
            self._columns[name].write(np.ascontiguousarray(extras[name], extra.kind).view(np.uint8).data)
        self.records += n

    def _with_contexts(self, journals: list[int]) -> tuple[dict[int, int], dict[str, int], int]:
        """(journals, contexts) that come with these journals, numbered, and the bytes that contexts.json would have then."""
        numbers: dict[int, int] = {}
        known: dict[str, int] = {}
        size = self._context_bytes
        for journal in journals:
            if journal in self.journals:
                continue
            text = json.dumps(self._contexts.get(journal, {}), sort_keys=True, ensure_ascii=False)
            if text not in self._known and text not in known:
                known[text] = len(self._known) + len(known)
                size += len(text.encode()) + len(",\n")
            numbers[journal] = self._known[text] if text in self._known else known[text]
        return numbers, known, size

    def finish(
        self,
        *,
        name: str,
        store_id: bytes,
        amendments: Iterable[bytes],
        dropped: Mapping[str, int],
    ) -> int:
        """Complete the folder and sync it; returns the bytes of its files."""
        self._write_entries()
        kind = np.dtype("<i8")
        self._records.finish()
        self._ids.finish(npy_head(kind, (self.records,)))
        for column, extra in self._extras.items():
            self._columns[column].finish(npy_head(extra.kind, (self.records,)))
        pairs = sorted(self.journals.items())
        self._whole("journals.npy", npy(np.array(pairs, kind).reshape(-1, 2)))
        self._whole("contexts.json", b"[" + ",\n".join(self._known).encode() + b"]\n")
        lines = b"".join(amendments)
        if lines:
            self._whole("amendments.jsonl", lines)
        sums = npy(np.array([s for file in self._names.values() for s in file.sums], "<u4"))
        self._write("sums.npy", sums)
        info = {
            "ostinato_segment": layout.VERSION,
            "store_id": store_id.hex(),
            "name": name,
            "records": self.records,
            "files": [[file, summed.size] for file, summed in self._names.items()],
            "dropped": dict(dropped),
            "sums_crc32": zlib.crc32(sums),
        }
        signed = layout.signed(info)
        self._write("segment.json", signed)
        self._fs.sync_folder(self._folder)
        return sum(summed.size for summed in self._names.values()) + len(sums) + len(signed)

    def _write_entries(self) -> None:
        """The entries from the spool, whose offsets depend on where they stand, and the root."""
        fs, records = self._fs, self._records
        records.write(bytes(-records.size % archive_layout.ENTRY_ALIGN))
        for at in range(0, self._spooled, _ENTRIES * archive_layout.ENTRY_BYTES):
            want = min(_ENTRIES * archive_layout.ENTRY_BYTES, self._spooled - at)
            raw = bytearray()
            while len(raw) < want:
                part = fs.read_at(self._spool, want - len(raw), at + len(raw))
                if not part:
                    raise DamageError("the spool was cut short while it was written", source=self._spool_path)
                raw += part
            entries = np.frombuffer(raw, archive_layout.ENTRY)
            fields = records.size + archive_layout.LIST_FIELD
            places = fields + archive_layout.ENTRY_BYTES * np.arange(len(entries), dtype=np.int64)
            entries["list_offset"] = entries["list_offset"].astype(np.int64) + 2**31 - places
            records.write(raw)
        records.write(archive_layout.ROOT.pack(-self._spooled, self.records))
        fs.close(self._spool)
        self._spool = -1
        fs.unlink(self._spool_path)

    def _whole(self, name: str, data: bytes) -> None:
        file = self._file(name)
        file.write(data)
        file.finish()

    def _write(self, name: str, data: bytes) -> None:
        fd = self._fs.create(os.path.join(self._folder, name))
        try:
            write_all(self._fs, fd, data, 0)
            self._fs.sync(fd)
        finally:
            self._fs.close(fd)

    def close(self) -> None:
        """Give all descriptors back; what is written stays, to be removed."""
        for file in self._names.values():
            file.close()
        if self._spool >= 0:
            self._fs.close(self._spool)
            self._spool = -1
