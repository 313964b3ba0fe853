"""A writer of stores by hand: every byte can be made other than it should be.

Rule of this file: written from the format's description alone, as `slow_store_reader`, whose layouts it uses.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import slow_reader
from slow_store_reader import (
    AMENDMENT,
    FIELDS,
    HEAD,
    INDEX_BITS,
    MAGIC,
    RECORDS,
    Context,
    Extras,
    Record,
    file_name,
    npy,
    pad8,
    row_struct,
    signed,
    sums_of,
)


@dataclass
class Frame:
    """A frame to be written; what is None is made right."""

    payload: bytes
    count: int = 1
    kind: int = RECORDS
    index: int | None = None
    mark: int | None = None
    size: int | None = None
    crc: int | None = None

    def bytes_at(self, position: int, salt: int, index: int) -> bytes:
        head = struct.pack(
            "<QIII",
            salt ^ position if self.mark is None else self.mark,
            len(self.payload) if self.size is None else self.size,
            self.count,
            (index if self.index is None else self.index) | self.kind << INDEX_BITS,
        )
        crc = zlib.crc32(head + self.payload) if self.crc is None else self.crc
        return head + struct.pack("<I", crc) + self.payload


@dataclass
class Journal:
    """A journal to be written: frames, and raw bytes between them; what is None is made right."""

    number: int
    frames: list[Frame | bytes] = field(default_factory=list)
    context: Any = field(default_factory=dict)
    opened: float = 1_700_000_000
    salt: int = 0x0123_4567_89AB_CDEF
    name: str | None = None
    version: int = 1
    said_number: int | None = None
    store_id: str | None = None
    extra_size: int | None = None
    context_bytes: bytes | None = None


@dataclass
class Segment:
    """A segment to be written: its records with ids and extras, the context of each journal.

    `files` stand in place of those that are made, None for a missing one, and are summed like them;
    `about` stands in place of fields of segment.json. One that is not `named` is not in MANIFEST.
    """

    number: int
    records: list[tuple[int, Record, dict[str, Any]]] = field(default_factory=list)
    contexts: dict[int, Context] = field(default_factory=dict)
    amendments: list[dict[str, Any]] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=lambda: {"torn": 0, "damaged": 0, "repeated": 0})
    files: dict[str, bytes | None] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    named: bool = True


@dataclass
class Written:
    """The manifest, and for each journal's file name where its parts begin and how long they are."""

    manifest: dict[str, Any]
    parts: dict[str, list[tuple[int, int]]] = field(default_factory=dict)


def records_frame(
    records: list[Record], rows: list[dict[str, Any]] | None = None, extras: Extras = (), **about: Any
) -> Frame:
    """A frame of records and their extra columns."""
    row = row_struct(extras)
    payload = slow_reader.write(records)
    for values in rows or []:
        payload += row.pack(*(values[name] for name, _, _ in extras))
    return Frame(payload.ljust(pad8(len(payload)), b"\0"), **{"count": len(records)} | about)


def amendment_frame(record: int, at: float, reason: str, result: Record, **about: Any) -> Frame:
    """A frame that amends a record."""
    value = {"id": record, "at": at, "reason": reason, "result": {name: result[name] for name in FIELDS}}
    payload = json.dumps(value, ensure_ascii=False).encode("utf-8")
    return Frame(payload.ljust(pad8(len(payload)), b" "), **{"kind": AMENDMENT} | about)


def sealed_amendment(
    record: int,
    at: float,
    reason: str,
    amendment: int,
    before: Record | None,
    after: Record,
    folded: bool,
) -> dict[str, Any]:
    """A line of amendments.jsonl."""
    return {
        "id": record,
        "at": at,
        "reason": reason,
        "amendment": amendment,
        "before": before,
        "after": after,
        "folded": folded,
    }


def write_store(
    path: str | Path,
    journals: Iterable[Journal] = (),
    segments: Iterable[Segment] = (),
    extras: Extras = (),
    store_id: str = "00112233445566778899aabbccddeeff",
    retired: list[list[int]] | None = None,
    **manifest: Any,
) -> Written:
    """Make a store's folder; without `retired`, the journals of the named segments are."""
    path, segments = Path(path), list(segments)
    for folder in ("journals", "segments", "aside"):
        (path / folder).mkdir(parents=True)
    (path / "LOCK").touch()
    if retired is None:
        sealed = {number for segment in segments if segment.named for number in segment.contexts}
        retired = _ranges(sealed)
    entries = []
    for segment in segments:
        size = _write_segment(path / "segments", segment, extras, store_id)
        name = file_name(segment.number)
        if segment.named:
            entries.append({"name": name, "records": len(segment.records), "bytes": size})
    about = {
        "ostinato_store": 1,
        "store_id": store_id,
        "created": 1_700_000_000,
        "generation": 1 + len(entries),
        "extras": [list(extra) for extra in extras],
        "segments": entries,
        "next_segment": 1 + max((segment.number for segment in segments), default=0),
        "retired": retired,
        "merged": {},
    } | manifest
    for name in ("MANIFEST.copy", "MANIFEST"):
        (path / name).write_bytes(signed(about))
    written = Written(about)
    for journal in journals:
        data, parts = journal_bytes(journal, store_id, extras)
        name = f"{file_name(journal.number)}.journal" if journal.name is None else journal.name
        (path / "journals" / name).write_bytes(data)
        written.parts[name] = parts
    return written


def journal_bytes(
    journal: Journal, store_id: str, extras: Extras = ()
) -> tuple[bytes, list[tuple[int, int]]]:
    """A journal's file, and where its parts begin and how long they are."""
    context = journal.context_bytes
    if context is None:
        value = {"context": journal.context, "opened": journal.opened}
        context = json.dumps(value, ensure_ascii=False).encode("utf-8")
        context = context.ljust(pad8(len(context)), b" ")
    head = HEAD.pack(
        MAGIC,
        journal.version,
        len(context),
        zlib.crc32(context),
        row_struct(extras).size if journal.extra_size is None else journal.extra_size,
        journal.number if journal.said_number is None else journal.said_number,
        journal.salt,
        bytes.fromhex(store_id if journal.store_id is None else journal.store_id),
        0,
    )[:-4]
    head += struct.pack("<I", zlib.crc32(head))
    data = head + head + context
    parts, index = [], 0
    for frame in journal.frames:
        raw = frame if isinstance(frame, bytes) else frame.bytes_at(len(data), journal.salt, index)
        if isinstance(frame, Frame):
            index = (index if frame.index is None else frame.index) + frame.count
        parts.append((len(data), len(raw)))
        data += raw
    return data, parts


def _write_segment(folder: Path, segment: Segment, extras: Extras, store_id: str) -> int:
    """Make a segment's folder; the bytes of all its files."""
    contexts: list[Context] = []
    for context in segment.contexts.values():
        if context not in contexts:
            contexts.append(context)
    pairs = [[number, contexts.index(context)] for number, context in sorted(segment.contexts.items())]
    count = len(segment.records)
    made: dict[str, bytes | None] = {
        "records.rkyv": slow_reader.write([record for _, record, _ in segment.records]),
        "ids.npy": npy("<i8", (count,), [number for number, _, _ in segment.records]),
    }
    for name, dtype, _ in extras:
        made[f"extra-{name}.npy"] = npy(dtype, (count,), [values[name] for _, _, values in segment.records])
    made["journals.npy"] = npy("<i8", (len(pairs), 2), [value for pair in pairs for value in pair])
    made["contexts.json"] = json.dumps(contexts, ensure_ascii=False).encode("utf-8")
    lines = [json.dumps(amendment, ensure_ascii=False) + "\n" for amendment in segment.amendments]
    made["amendments.jsonl"] = "".join(lines).encode("utf-8") if lines else None
    files = {name: data for name, data in (made | segment.files).items() if data is not None}
    blocks = [value for data in files.values() for value in sums_of(data)]
    sums = npy("<u4", (len(blocks),), blocks)
    about = {
        "ostinato_segment": 1,
        "store_id": store_id,
        "name": file_name(segment.number),
        "records": count,
        "files": [[name, len(data)] for name, data in files.items()],
        "dropped": segment.dropped,
        "sums_crc32": zlib.crc32(sums),
    } | segment.about
    files |= {"sums.npy": sums, "segment.json": signed(about)}
    (folder / file_name(segment.number)).mkdir()
    for name, data in files.items():
        (folder / file_name(segment.number) / name).write_bytes(data)
    return sum(map(len, files.values()))


def _ranges(numbers: Iterable[int]) -> list[list[int]]:
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and ranges[-1][1] + 1 == number:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges
