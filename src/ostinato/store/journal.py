"""Journals: a writer's own append-only file. Head twice, context, then frames: mark | length | count | first | crc | payload.

Rule of this file: pure, bytes in and bytes or arrays out. A torn tail is counted; damage before the tail is isolated:
the bad frame alone is skipped, with its place and cause, and everything else is read.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import DamageError, UsageError, VersionError
from ostinato.result import BuildResult, plain
from ostinato.store import layout
from ostinato.store.layout import CRC, HEAD, HEAD_BYTES

_FRAMES = 4096  # looked at by one call of the kernel
_PATIENCE = 8  # times the size of a file that is read in search of frames
_SPENT = -2  # as kernels.find_frame says it
Context = dict[str, str]


class Head(NamedTuple):
    """What a journal's head says; `context_crc` and `context_bytes` are of the JSON that follows it."""

    context_bytes: int
    context_crc: int
    extras_bytes: int
    number: int
    salt: int
    store_id: bytes

    @property
    def start(self) -> int:
        """Where the first frame begins."""
        return layout.CONTEXT_AT + self.context_bytes


SkipKind = Literal["torn", "damage", "repeated"]


class Skip(NamedTuple):
    """Bytes that were passed over."""

    kind: SkipKind
    position: int
    size: int
    cause: str


class Amendment(NamedTuple):
    """A corrected verdict: `result` in place of the record `id`; `amendment` is its own id."""

    amendment: int
    id: int
    at: int
    reason: str
    result: BuildResult


@dataclass(slots=True)
class Frames:
    """Good frames of kind records: int64 columns of one length, in the file's order."""

    first: NDArray[np.int64]  # index of the first record
    count: NDArray[np.int64]
    entries: NDArray[np.int64]  # where its first entry stands

    @classmethod
    def empty(cls) -> Frames:
        """None."""
        return cls(*(np.empty(0, np.int64) for _ in range(3)))


@dataclass(slots=True)
class Scanned:
    """What a scan found, and where the next one goes on."""

    frames: Frames
    amendments: list[Amendment]
    skipped: list[Skip]
    at: int
    index: int


def check_context(context: Mapping[str, str] | None) -> Context:
    """A context as it is kept.

    Raises:
        UsageError: a key or a value is no str, or it is over 1 MiB.
    """
    if context is not None and not isinstance(context, Mapping):
        raise UsageError(f"expected names and values, got {type(context).__name__}", "context")
    out: Context = {}
    for key, value in (context or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise UsageError(f"expected str, got {value!r:.60}", f"context[{plain(key)}]")
        out[key] = value
    try:
        size = len(json.dumps(out, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        raise UsageError("expected text without lone surrogates", "context") from None
    if size > layout.CONTEXT_END - 1024:
        raise UsageError(f"expected less than 1 MiB, got {size:,} bytes", "context")
    return out


def encode_head(
    *, number: int, salt: int, store_id: bytes, extras_bytes: int, context: Context, opened: int
) -> bytes:
    """All that stands before the first frame."""
    text = json.dumps({"context": context, "opened": opened}, ensure_ascii=False).encode()
    text += b" " * (-len(text) & 7)
    body = HEAD.pack(
        layout.MAGIC, layout.VERSION, len(text), zlib.crc32(text), extras_bytes, number, salt, store_id
    )
    head = body + CRC.pack(zlib.crc32(body))
    return head + head + text


def parse_head(data: bytes, source: str) -> Head | None:
    """The head of a file that begins with these bytes; None if they are too few (its writer was stopped at once).

    Raises:
        DamageError: both copies are damaged. VersionError: of a newer version.
    """
    if len(data) < layout.CONTEXT_AT:
        return None
    for at in (0, HEAD_BYTES):
        body = data[at : at + HEAD.size]
        if CRC.unpack_from(data, at + HEAD.size)[0] != zlib.crc32(body):
            continue
        magic, version, size, crc, extras_bytes, number, salt, store_id = HEAD.unpack(body)
        if magic != layout.MAGIC or version < 1:
            continue
        if version > layout.VERSION:
            raise VersionError(
                f"{source} is of version {version}; this Ostinato reads version {layout.VERSION}: use a newer one"
            )
        if size <= layout.CONTEXT_END and not size & 7 and number < layout.JOURNAL_END:
            return Head(size, crc, extras_bytes, number, salt, store_id)
    raise DamageError("both heads are damaged", offset=0, source=source)


def head_is_damaged(data: bytes) -> bool:
    """Is one of the two copies not like the other?"""
    return data[:HEAD_BYTES] != data[HEAD_BYTES : 2 * HEAD_BYTES]


def parse_context(head: Head, data: bytes) -> tuple[Context, int] | None:
    """(context, when it was opened), or None if it is damaged."""
    text = data[layout.CONTEXT_AT : layout.CONTEXT_AT + head.context_bytes]
    if len(text) != head.context_bytes or zlib.crc32(text) != head.context_crc:
        return None
    try:
        value = json.loads(text)
        opened = value["opened"]
        if type(opened) is not int or opened < 0:
            return None
        return check_context(value["context"]), opened
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return None


def encode_amendment(identity: int, at: int, reason: str, result: BuildResult) -> bytes:
    """The payload of an amendment.

    Raises:
        UsageError: it is over 256 MiB.
    """
    value = {"id": identity, "at": at, "reason": reason, "result": result.to_dict()}
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) & 7)
    if len(text) > layout.AMENDMENT_END:  # sealed, it must fit into a line
        raise UsageError(
            f"expected a correction of at most {layout.AMENDMENT_END:,} bytes as JSON, got {len(text):,}",
            "result",
        )
    return text


def parse_amendment(payload: bytes, amendment: int) -> Amendment:
    """The inverse.

    Raises:
        ValueError: it is none.
    """
    if len(payload) > layout.AMENDMENT_END:
        raise ValueError(f"no amendment: {len(payload):,} bytes")
    try:
        value = json.loads(payload.decode())
        identity, at, reason = value["id"], value["at"], value["reason"]
        right = type(identity) is int and 0 <= identity < 2**63 and type(at) is int and 0 <= at < 2**64
        if not right or not isinstance(reason, str):
            raise ValueError("`id`, `at` or `reason`")
        reason.encode()  # half of a surrogate pair could not be sealed
        return Amendment(amendment, identity, at, reason, BuildResult.from_dict(value["result"]))
    except (TypeError, KeyError, RecursionError, ValueError) as error:
        raise ValueError(f"no amendment: {error}") from None


def scan(data: NDArray[np.uint8], head: Head, *, at: int, index: int, closed: bool) -> Scanned:
    """The frames from `at` on.

    Args:
        data: the file's bytes from its beginning, at a multiple of 8 in memory.
        at, index: where the last scan stopped: `head.start` and 0 at first.
        closed: is there no writer any more? If there is one, a bad tail is left for the next scan.

    Cost: 0.2 us a frame and 0.5 us a KiB. Work and memory are bounded by the size of the file, whatever it holds: when
    _PATIENCE times its bytes have been read behind marks that are none, the rest is damage.
    """
    from ostinato.store import journal_kernels as kernels

    parts: list[NDArray[np.int64]] = []
    amendments: list[Amendment] = []
    skipped: list[Skip] = []
    salt = np.uint64(head.salt)
    frames = np.empty((_FRAMES, 6), np.int64)
    size = len(data)
    budget = _PATIENCE * size + (1 << 20)
    while at < size:
        found, stop, index, wrong = kernels.scan_frames(data, at, salt, head.extras_bytes, index, frames)
        if found:
            good = frames[:found].copy()
            for row in good[good[:, kernels.KIND] == layout.AMENDMENT].tolist():
                payload = data[row[kernels.ENTRIES] : row[kernels.END]].tobytes()
                own = head.number << layout.INDEX_BITS | row[kernels.FIRST]
                try:
                    amendments.append(parse_amendment(payload, own))
                except ValueError as error:
                    place = row[kernels.POSITION]
                    skipped.append(Skip("damage", place, row[kernels.END] - place, str(error)))
            parts.append(good[good[:, kernels.KIND] == layout.RECORDS])
        at = stop
        if wrong == kernels.GOOD or at >= size:
            continue
        # from `at` on, so that what was read in vain there is counted too
        following, budget = kernels.find_frame(data, at, salt, head.extras_bytes, index, budget)
        if following == _SPENT:
            skipped.append(Skip("damage", at, size - at, "too many false frames: the rest was not looked at"))
            at = size
            break
        if following >= 0:
            kind: SkipKind = "repeated" if wrong == kernels.REPEATED else "damage"
            skipped.append(Skip(kind, at, following - at, _CAUSES[wrong]))
            at = following
            continue
        if closed:
            last: SkipKind = "damage" if wrong >= kernels.BAD_CRC else "torn"
            if wrong == kernels.REPEATED:
                last = "repeated"
            skipped.append(Skip(last, at, size - at, _CAUSES[wrong]))
            at = size
        break
    rows = np.concatenate(parts) if parts else np.empty((0, 6), np.int64)
    columns = (np.ascontiguousarray(rows[:, k]) for k in (kernels.FIRST, kernels.COUNT, kernels.ENTRIES))
    return Scanned(Frames(*columns), amendments, skipped, at, index)


# in the order of the kernel's GOOD, SHORT, NO_MARK, ...
_CAUSES = (
    "",
    "cut short",
    "no frame begins here",
    "a frame reaches beyond the end of the file",
    "crc mismatch",
    "a frame is not what its head says",
    "records that were read already",
    "the frame's archive is damaged",
)
