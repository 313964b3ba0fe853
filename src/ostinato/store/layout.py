"""Where each byte of a store stands: the one place that writers and readers share. FORMAT.md says it in words."""

from __future__ import annotations

import json
import os
import re
import struct
import zlib
from typing import Any

from ostinato.errors import DamageError, VersionError

VERSION = 1

MANIFEST, MANIFEST_COPY, LOCK, CATALOG = "MANIFEST", "MANIFEST.copy", "LOCK", "catalog.sqlite"
JOURNALS, SEGMENTS, ASIDE = "journals", "segments", "aside"
JOURNAL_NAME = re.compile(r"([0-9]{6,18})\.journal")
SEGMENT_NAME = re.compile(r"([0-9]{6,18})")

INDEX_BITS = 24  # id = journal number << 24 | index
INDEX_END = 1 << INDEX_BITS
JOURNAL_END = (1 << (63 - INDEX_BITS)) - 1  # so that what comes after the last id is an int64 too
FILE_END = 1 << 31  # a journal, and an archive, stay below

MAGIC = b"OSTJRNL\n"
# magic, version, bytes of the context, its CRC, bytes of extras a record, number, salt, store id; then the CRC
HEAD = struct.Struct("<8sIIIIQQ16s4x")
HEAD_BYTES = HEAD.size + 4
CONTEXT_AT = 2 * HEAD_BYTES
CONTEXT_END = 1 << 20  # bytes of a context

# mark, bytes of the payload, count, first index | kind << 24; then the CRC
FRAME = struct.Struct("<QIII")
FRAME_BYTES = FRAME.size + 4
RECORDS, AMENDMENT = 0, 1  # kinds of frames
AMENDMENT_END = 1 << 28  # bytes of an amendment's payload
LINES_END = 1 << 30  # bytes of amendments.jsonl

CRC = struct.Struct("<I")


def pad8(size: int) -> int:
    """The size, rounded up to a multiple of 8."""
    return size + (-size & 7)


def journal_path(root: str, number: int) -> str:
    """Where a journal stands."""
    return os.path.join(root, JOURNALS, f"{number:06d}.journal")


def journal_number(name: str) -> int:
    """The number of a journal of this file name; 0 if no journal is called so."""
    match = JOURNAL_NAME.fullmatch(name)
    number = int(match[1]) if match else 0
    return number if number < JOURNAL_END and name == f"{number:06d}.journal" else 0


def segment_path(root: str, name: str) -> str:
    """Where a segment's folder stands."""
    return os.path.join(root, SEGMENTS, name)


def signed(value: Any) -> bytes:
    """JSON that people can read, then a line with its CRC: the form of MANIFEST and segment.json."""
    text = json.dumps(value, indent=1, ensure_ascii=True).encode() + b"\n"
    return text + b"crc32 %08x\n" % zlib.crc32(text)


def unsigned(data: bytes, source: str, version_field: str) -> dict[str, Any]:
    """What `signed` was given.

    Raises:
        DamageError: another CRC, or no such form. VersionError: of a newer version.
    """
    text, mark, rest = data.rpartition(b"crc32 ")
    if not mark or rest != b"%08x\n" % zlib.crc32(text):
        raise DamageError("crc mismatch: cut short or changed", source=source)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamageError(f"no JSON: {error}", source=source) from None
    version = value.get(version_field) if isinstance(value, dict) else None
    if type(version) is not int or version < 1:
        raise DamageError(f"expected an object with a version `{version_field}`", source=source)
    if version > VERSION:
        raise VersionError(
            f"{source} is of version {version}; this Ostinato reads version {VERSION}: use a newer one"
        )
    assert isinstance(value, dict)
    return value
