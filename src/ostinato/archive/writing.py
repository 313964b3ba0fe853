"""Results -> bytes, exactly as rkyv 0.8 writes them.

Everything is made as a stream of chunks in the file's order (instruction lists, entries, root), so that a
file larger than memory would like can be written, and compared, with little of it.
"""

from __future__ import annotations

import io
import os
import struct
import weakref
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from ostinato.archive import layout
from ostinato.errors import UsageError
from ostinato.files import replace_file
from ostinato.result import BuildResult
from ostinato.results import COLUMNS, Results
from ostinato.text import ListText, Text, TokenText
from ostinato.vocabulary import Vocabulary

Chunk = bytes | memoryview
_OUTSIDE = struct.Struct("<Ii")
_FORMS: weakref.WeakKeyDictionary[Vocabulary, tuple[NDArray[np.uint64], int]] = weakref.WeakKeyDictionary()
_CHUNK = 1024  # results encoded at once: what they need stays in the second-level cache


def dumps(results: Results | Iterable[BuildResult]) -> bytes:
    """The archive of these results, byte for byte what `rkyv::to_bytes` makes of them in Rust.

    Raises:
        UsageError: 2 GiB or more, or a string of 2**30 bytes or more; use a store.
        DamageError: the results are of an archive opened without validation, and it is damaged.

    Cost: about 1 us a record of 30 instructions from columns, 10 us from BuildResults (without numba).
    """
    out = io.BytesIO()  # its getvalue copies nothing
    for chunk in encode(_as_results(results)):
        out.write(chunk)
    return out.getvalue()


def save(path: str | os.PathLike[str], results: Results | Iterable[BuildResult]) -> None:
    """Write the archive of these results to a file, whole or not at all.

    It is written beside, synced, renamed, and the folder synced: a kill or a power loss at any moment
    leaves the old file or the new one, and readers that have the old one mapped keep it.

    Raises:
        UsageError, DamageError: as `dumps`. OSError: as the system says; the old file is untouched.

    Cost: as `dumps`, with a bounded amount of memory beside 8 bytes a record.
    """
    whole = _as_results(results)
    with replace_file(path) as file:
        for chunk in encode(whole):
            file.write(chunk)


class ArchiveWriter:
    """Makes an archive of results that come in parts: `add` for each part, then `finish`.

    Both give the bytes to append to the file. Holds 96 bytes a record until the end.
    """

    def __init__(self) -> None:
        self._size = 0
        self._count = 0
        self._entries: list[NDArray[np.void]] = []

    def add(self, results: Results) -> Chunk:
        """The bytes of these results' instruction lists."""
        chunk, positions = encode_lists(results.generated_tasm, self._size)
        self._size += len(chunk)
        entries = entries_of(results, positions)
        self._entries.append(entries)
        self._count += len(entries)
        entries_at = self._size + -self._size % layout.ENTRY_ALIGN
        if entries_at + self._count * layout.ENTRY_BYTES + layout.ROOT_BYTES >= layout.ARCHIVE_END:
            raise UsageError(
                "an archive holds less than 2 GiB; keep this many results in a store",
                "results",
            )
        return chunk

    def finish(self) -> Iterator[Chunk]:
        """The bytes of the entries and the root."""
        at = self._size + -self._size % layout.ENTRY_ALIGN
        yield bytes(at - self._size)
        first = at
        for entries in self._entries:
            n = len(entries)
            fields = first + layout.ENTRY_BYTES * np.arange(n, dtype=np.int64) + layout.LIST_FIELD
            positions = entries["list_offset"].astype(np.int64) + 2**31
            entries["list_offset"] = positions - fields
            yield entries.view(np.uint8).data
            first += n * layout.ENTRY_BYTES
        yield layout.ROOT.pack(-self._count * layout.ENTRY_BYTES, self._count)


def entries_of(results: Results, positions: NDArray[np.int64]) -> NDArray[np.void]:
    """The entries of these results, whose lists are at these positions in the file.

    `list_offset` is the position - 2**31 for now: an entry's own place is known when all lists are written.
    """
    entries = np.zeros(len(results), layout.ENTRY)
    for name in COLUMNS:
        entries[name] = results._rows[name]
    entries["clock_cycles"][~results.measured] = 0  # whatever a file had there
    entries["list_count"] = results.instruction_counts
    entries["list_offset"] = (positions - 2**31).astype(np.int32)
    return entries


def encode(results: Results) -> Iterator[Chunk]:
    """The archive's bytes in chunks, in order."""
    writer = ArchiveWriter()
    for first in range(0, len(results), _CHUNK):
        yield writer.add(results[first : first + _CHUNK])
    yield from writer.finish()


def _as_results(results: Results | Iterable[BuildResult]) -> Results:
    return results if isinstance(results, Results) else Results.concat([results])


def encode_lists(text: Text, base: int) -> tuple[Chunk, NDArray[np.int64]]:
    """(bytes, list positions in the file) of some instruction lists that begin at `base`, a multiple of 4."""
    if isinstance(text, ListText):
        return _encode_strings(text, base)
    return _encode_tokens(text, base) if isinstance(text, TokenText) else _encode_spans(text, base)


def _encode_spans(text: Text, base: int) -> tuple[Chunk, NDArray[np.int64]]:
    """The same for text in any form."""
    from ostinato.archive import archive_kernels as kernels

    buffer, starts, lengths = text.spans(0, len(text))
    outside, longest = kernels.measure(lengths)
    if longest >= layout.STRING_END:
        raise _too_long(longest)
    if len(buffer) < layout.INLINE_BYTES:  # the kernel reads eight bytes at a time
        buffer = np.concatenate([buffer, np.zeros(layout.INLINE_BYTES, np.uint8)])
    records = layout.STRING_BYTES * len(starts)
    out = np.empty(outside + records + 3 * len(text) + kernels.SLACK, np.uint8)
    positions = np.empty(len(text), np.int64)
    counts = np.ascontiguousarray(text.counts, np.int64)
    used = kernels.encode(buffer, starts, lengths, counts, base, out, positions)
    return memoryview(out[:used].data), positions


def _encode_tokens(text: TokenText, base: int) -> tuple[Chunk, NDArray[np.int64]]:
    """The same for ids of a vocabulary, which knows each word's record."""
    from ostinato.archive import archive_kernels as kernels

    forms, longest = _forms(text.vocabulary)
    if longest >= layout.STRING_END:
        return _encode_spans(text, base)
    buffer, ends = text.vocabulary.spans()
    tokens = np.ascontiguousarray(text.flat())
    counts = np.ascontiguousarray(text.counts, np.int64)
    outside = kernels.measure_tokens(tokens, forms)
    out = np.empty(outside + layout.STRING_BYTES * len(tokens) + 3 * len(counts) + kernels.SLACK, np.uint8)
    positions = np.empty(len(counts), np.int64)
    used = kernels.encode_tokens(tokens, counts, buffer, ends, forms, base, out, positions)
    return memoryview(out[:used].data), positions


def _forms(vocabulary: Vocabulary) -> tuple[NDArray[np.uint64], int]:
    """(uint64[words], bytes of the longest): each word's string record, made once; of a word over 8 bytes its packed length."""
    from ostinato.archive import archive_kernels as kernels

    forms, longest = _FORMS.get(vocabulary, (np.empty(0, np.uint64), 0))
    known, count = len(forms), len(vocabulary)
    if known < count:
        data, ends = vocabulary.spans()
        if len(data) < layout.INLINE_BYTES:  # the kernel reads eight bytes at a time
            data = np.concatenate([data, np.zeros(layout.INLINE_BYTES, np.uint8)])
        more = np.empty(count, np.uint64)
        more[:known] = forms
        kernels.token_forms(data, ends, known, more)
        forms, longest = more, max(longest, int(np.diff(ends[known : count + 1]).max()))
        _FORMS[vocabulary] = forms, longest
    return forms, longest


def _encode_strings(text: ListText, base: int) -> tuple[bytes, NDArray[np.int64]]:
    """The same for Python strings, without kernels: for writers that live too briefly to load them."""
    out = bytearray()
    positions: list[int] = []
    known: dict[str, bytes] = {}  # records of short strings, most of which come again and again
    for lines in text:
        records: list[bytes | tuple[int, int]] = []
        for word in lines:
            short = known.get(word)
            if short is None:
                raw = word.encode()
                if len(raw) > layout.INLINE_BYTES:
                    if len(raw) >= layout.STRING_END:
                        raise _too_long(len(raw))
                    records.append((layout.pack_length(len(raw)), len(out)))
                    out += raw
                    continue
                short = known[word] = raw.ljust(layout.STRING_BYTES, b"\xff")
            records.append(short)
        out += bytes(-len(out) % layout.LIST_ALIGN)
        positions.append(base + len(out))
        for record in records:
            out += record if isinstance(record, bytes) else _OUTSIDE.pack(record[0], record[1] - len(out))
    return bytes(out), np.array(positions, np.int64)


def _too_long(size: int) -> UsageError:
    return UsageError(f"expected strings under 2**30 bytes, got one of {size}", "generated_tasm")
