"""Results: many build results as columns.

Rule of this file: columns are read-only numpy views of one structured array, whoever owns it (an archive's
mapped bytes, a replay buffer, plain memory); instructions stay in the form they came in (text.py).
Unmeasured costs are masked, never a number.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from ostinato.errors import UsageError
from ostinato.result import HASH_BYTES, BuildResult, unchecked
from ostinato.text import ListText, Text, TokenText
from ostinato.vocabulary import Vocabulary

# One record in memory, instructions aside: one cache line.
RECORD = np.dtype(
    {
        "names": [
            "tir_hash",
            "clock_cycles",
            "compiler_cycles",
            "timestamp",
            "model_version",
            "valid",
            "measured",
            "fallback_used",
        ],
        "formats": [("u1", HASH_BYTES), "<u8", "<u8", "<u8", "<u4", "?", "?", "?"],
        "offsets": [0, 32, 40, 48, 56, 60, 61, 62],
        "itemsize": 64,
    }
)
COLUMNS = (
    "tir_hash",
    "valid",
    "measured",
    "clock_cycles",
    "compiler_cycles",
    "fallback_used",
    "timestamp",
    "model_version",
)

# where kernels find the fields in a row's bytes
ROW_BYTES = RECORD.itemsize
CLOCK_AT, BASELINE_AT, TIMESTAMP_AT, VERSION_AT, VALID_AT, MEASURED_AT, FALLBACK_AT = (
    int(RECORD.fields[name][1])  # type: ignore[index]
    for name in RECORD.names[1:]  # type: ignore[index]
)

_EXACT = tuple(np.dtype(kind) for kind in ("u1", "<i4", "<i8", "?", "?", "<u8", "<u8", "<u8", "<u4"))
_NOT_MASKED = np.empty(0, np.bool_)


class Columns:
    """The columns that `Results` and `replay.Batch` share: read-only views of length n.

    Made by the package, not by hand. Cost of every column: O(1), no copy (`clock_cycles`: a mask of n bytes).
    """

    def __init__(self, rows: NDArray[np.void], text: Text) -> None:
        self._rows = rows.view()
        self._rows.flags.writeable = False
        self._text = text

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def tir_hash(self) -> NDArray[np.uint8]:
        """uint8[n, 32]: the programs' hashes."""
        return self._rows["tir_hash"]

    @property
    def generated_tasm(self) -> Text:
        """A sequence of n tuples of str, decoded when asked for."""
        return self._text

    @property
    def instruction_counts(self) -> NDArray[np.int64] | NDArray[np.uint32]:
        """int[n]: how many instructions each result has."""
        return self._text.counts

    @property
    def valid(self) -> NDArray[np.bool_]:
        """bool[n]."""
        return self._rows["valid"]

    @property
    def measured(self) -> NDArray[np.bool_]:
        """bool[n]: is there a `clock_cycles`?"""
        return self._rows["measured"]

    @property
    def clock_cycles(self) -> np.ma.MaskedArray[Any, np.dtype[np.uint64]]:
        """Masked uint64[n], clock cycles; masked where unmeasured."""
        return np.ma.MaskedArray(self._rows["clock_cycles"], mask=~self.measured)

    @property
    def compiler_cycles(self) -> NDArray[np.uint64]:
        """uint64[n], clock cycles."""
        return self._rows["compiler_cycles"]

    @property
    def fallback_used(self) -> NDArray[np.bool_]:
        """bool[n]."""
        return self._rows["fallback_used"]

    @property
    def timestamp(self) -> NDArray[np.uint64]:
        """uint64[n], Unix seconds."""
        return self._rows["timestamp"]

    @property
    def model_version(self) -> NDArray[np.uint32]:
        """uint32[n]."""
        return self._rows["model_version"]

    def _one(self, i: int) -> BuildResult:
        return unchecked(*_fields(self._rows[i], self._text.lines(i)))


class Results(Columns):
    """Many build results: columns plus ragged instruction lists; a sequence of BuildResults.

    `results[i]` is a BuildResult; `results[a:b]` and `results[array of ints or bools]` are Results.
    Slices copy nothing; arrays copy 64 to 96 bytes a record and no text.

    >>> from ostinato import BuildResult
    >>> one = BuildResult(tir_hash=bytes(32), generated_tasm=["push 1"], valid=True, clock_cycles=None,
    ...                   compiler_cycles=10, fallback_used=False, timestamp=0, model_version=1)
    >>> Results.concat([one, one]).clock_cycles.mean() is np.ma.masked
    True
    """

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> BuildResult: ...
    @overload
    def __getitem__(self, index: slice | NDArray[Any] | Sequence[int] | Sequence[bool]) -> Results: ...
    def __getitem__(self, index: Any) -> BuildResult | Results:
        if isinstance(index, (int, np.integer)) and not isinstance(index, bool):
            if not -len(self) <= index < len(self):
                raise IndexError(f"result {index} of {len(self)}")
            return self._one(range(len(self))[index])
        if not isinstance(index, slice):
            index = _index_array(index, len(self))
        return Results(self._rows[index], self._text.take(index))

    def __iter__(self) -> Iterator[BuildResult]:
        names = [name for name in COLUMNS if name != "tir_hash"]
        for first in range(0, len(self), 4096):
            part = self._rows[first : first + 4096]
            hashes = np.ascontiguousarray(part["tir_hash"]).tobytes()
            columns = [part[name].tolist() for name in names]
            text = iter(self._text.take(slice(first, first + len(part))))
            for i, (valid, measured, clock, compiler, fallback, stamp, version) in enumerate(
                zip(*columns, strict=True)
            ):
                yield unchecked(
                    hashes[HASH_BYTES * i : HASH_BYTES * (i + 1)],
                    next(text),
                    bool(valid),
                    clock if measured else None,
                    compiler,
                    bool(fallback),
                    stamp,
                    version,
                )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Results):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Results({len(self):,} build results)"

    def to_list(self) -> list[BuildResult]:
        """All as BuildResults. Cost: about 5 us each."""
        return list(self)

    def tokens(self, vocabulary: Vocabulary) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Instructions as ids: (flat int32[k], offsets int64[n + 1]); result i has flat[offsets[i]:offsets[i+1]].

        Unknown words are treated as the vocabulary's `unknown` says (added, refused, or given one id).
        Cost: about 35 ns an instruction.

        Raises:
            UsageError: a word is unknown and the vocabulary raises on that.
            DamageError: an archive opened without validation is damaged.
        """
        offsets = np.zeros(len(self) + 1, np.int64)
        np.cumsum(self._text.counts, out=offsets[1:])
        return self._text.tokens(vocabulary), offsets

    @classmethod
    def concat(cls, parts: Iterable[Results | BuildResult | Iterable[BuildResult]]) -> Results:
        """One Results of many, in order: each part a Results, a BuildResult, or an iterable of them.

        Cost: 64 bytes a record and 4 an instruction (none for BuildResults, whose strings are shared).
        """
        if isinstance(parts, BuildResult):
            raise UsageError("expected a list of Results or BuildResults, got one BuildResult", "parts")
        whole: list[Results] = []
        single: list[BuildResult] = []
        for part in parts:
            if isinstance(part, BuildResult):
                single.append(part)
            elif isinstance(part, Iterable):
                if single:
                    whole.append(cls._from_list(single))
                    single = []
                whole.append(part if isinstance(part, Results) else cls._from_list(list(part)))
            else:
                raise UsageError(f"expected Results or BuildResults, got {type(part).__name__}", "parts")
        if single or not whole:
            whole.append(cls._from_list(single))
        if len(whole) == 1:
            return whole[0]
        rows = np.zeros(sum(map(len, whole)), RECORD)
        done = 0
        for results in whole:
            part_rows = rows[done : done + len(results)]
            for name in COLUMNS:
                part_rows[name] = results._rows[name]
            done += len(results)
        return cls(rows, _concat_texts([results._text for results in whole]))

    @classmethod
    def _from_list(cls, records: list[BuildResult]) -> Results:
        for i, record in enumerate(records):
            if not isinstance(record, BuildResult):
                raise UsageError(f"expected BuildResults, got {type(record).__name__}", f"results[{i}]")
        return cls(rows_of(records), ListText([record.generated_tasm for record in records]))

    @classmethod
    def from_columns(
        cls,
        *,
        tir_hash: npt.ArrayLike,
        tokens: npt.ArrayLike,
        offsets: npt.ArrayLike,
        vocabulary: Vocabulary,
        valid: npt.ArrayLike,
        clock_cycles: npt.ArrayLike,
        compiler_cycles: npt.ArrayLike,
        fallback_used: npt.ArrayLike,
        timestamp: npt.ArrayLike,
        model_version: npt.ArrayLike,
    ) -> Results:
        """Results of n records from columns, the fast way in for whoever has arrays already.

        Args:
            tir_hash: uint8[n, 32].
            tokens: int[k], ids in `vocabulary`, of all results one after the other.
            offsets: int[n + 1], from 0 up to k: result i has tokens[offsets[i] : offsets[i + 1]].
            valid, fallback_used: bool[n].
            clock_cycles: uint64[n], a masked array where some are unmeasured.
            compiler_cycles, timestamp: uint64[n]. model_version: uint32[n].
        Raises:
            UsageError: a shape, a dtype, an offset or an id does not fit, or a number is negative.
        """
        if not isinstance(vocabulary, Vocabulary):
            raise UsageError(f"expected a Vocabulary, got {type(vocabulary).__name__}", "vocabulary")
        if "ostinato.kernels" in sys.modules:  # else loading them would cost more than they save
            packed = _pack(
                (tir_hash, tokens, offsets, valid, fallback_used, clock_cycles, compiler_cycles, timestamp,
                 model_version), len(vocabulary),
            )  # fmt: skip
            if packed is not None:
                return cls(packed[0], TokenText.ragged(*packed[1:], vocabulary))
        hashes = _array(tir_hash, "tir_hash")
        if hashes.dtype != np.uint8 or hashes.ndim != 2 or hashes.shape[1] != HASH_BYTES:
            raise UsageError(f"expected uint8[n, 32], got {_form(hashes)}", "tir_hash")
        n = len(hashes)
        flat = _integers(tokens, "tokens", None, len(vocabulary)).astype(np.int32)
        bounds = _integers(offsets, "offsets", n + 1, len(flat) + 1).astype(np.int64)
        if bounds[0] != 0 or bounds[-1] != len(flat) or (np.diff(bounds) < 0).any():
            raise UsageError(f"expected offsets rising from 0 to {len(flat)}", "offsets")
        rows = np.zeros(n, RECORD)
        rows["tir_hash"] = hashes
        for name, column in (("valid", valid), ("fallback_used", fallback_used)):
            flags = _array(column, name)
            flags = flags.astype(np.bool_) if flags.shape == (0,) else flags
            if flags.dtype != np.bool_ or flags.shape != (n,):
                raise UsageError(f"expected bool[{n}], got {_form(flags)}", name)
            rows[name] = flags.view(np.uint8) != 0  # a bool made of other bytes may be 2
        clocks: Any = clock_cycles
        rows["measured"] = True
        if np.ma.isMaskedArray(clocks):
            mask = np.ma.getmaskarray(clocks)
            if mask.shape == (n,):
                rows["measured"] = ~mask
            clocks = np.where(mask, 0, clocks.data)
        rows["clock_cycles"] = _integers(clocks, "clock_cycles", n, 2**64)
        rows["compiler_cycles"] = _integers(compiler_cycles, "compiler_cycles", n, 2**64)
        rows["timestamp"] = _integers(timestamp, "timestamp", n, 2**64)
        rows["model_version"] = _integers(model_version, "model_version", n, 2**32)
        return cls(rows, TokenText.ragged(flat, bounds, vocabulary))


def _pack(columns: tuple[Any, ...], words: int) -> tuple[Any, Any, Any] | None:
    """(rows, tokens, offsets) of columns that are arrays of just the types that rows have, and right; else None.

    None leaves it to the caller to convert them, or to say what is wrong.
    """
    clocks = columns[5]
    masked: Any = _NOT_MASKED
    if type(clocks) is np.ma.MaskedArray:
        mask = np.ma.getmask(clocks)
        masked = _NOT_MASKED if mask is np.ma.nomask else mask
        columns = (*columns[:5], clocks.data, *columns[6:])
    for column, kind in zip(columns, _EXACT, strict=True):
        if type(column) is not np.ndarray or column.dtype != kind or not column.flags.c_contiguous:
            return None
    hashes, tokens, offsets, *rest = columns
    if hashes.ndim != 2 or tokens.ndim != 1:
        return None
    n = len(hashes)
    shapes = [offsets.shape, *(column.shape for column in rest)]
    fits = hashes.shape[1] == HASH_BYTES and shapes == [(n + 1,)] + [(n,)] * 6
    if not fits or masked.shape not in ((0,), (n,)):
        return None
    from ostinato import results_kernels as kernels

    rows = np.zeros(n, RECORD)
    tokens, offsets = tokens.copy(), offsets.copy()
    valid, fallback_used, clock_cycles, compiler_cycles, timestamp, model_version = rest
    right = kernels.pack(
        hashes, tokens, offsets, words, valid.view(np.uint8), fallback_used.view(np.uint8), clock_cycles,
        np.ascontiguousarray(masked).view(np.uint8), compiler_cycles, timestamp, model_version.view(np.uint8),
        rows.view(np.uint8),
    )  # fmt: skip
    return (rows, tokens, offsets) if right else None


def program_keys(tir_hash: NDArray[np.uint8]) -> NDArray[np.void]:
    """Hashes u8[n, 32] as V32[n]: one item each, which can be compared and sorted."""
    return np.ascontiguousarray(tir_hash).view("V32").reshape(-1)


def grouped(keys: NDArray[Any]) -> Iterator[tuple[Any, NDArray[np.int64]]]:
    """Each different key, in order, with the places where it stands, in order. Cost: O(n log n)."""
    distinct, which = np.unique(keys, return_inverse=True)
    order = np.argsort(which, kind="stable")
    bounds = np.searchsorted(which[order], np.arange(len(distinct) + 1))
    for i, key in enumerate(distinct):
        yield key, order[bounds[i] : bounds[i + 1]]


def packed_rows(results: Results) -> NDArray[np.void]:
    """The fields as RECORD[n], contiguous; copied where they are an archive's or every second one's."""
    if results._rows.dtype == RECORD and results._rows.flags.c_contiguous:
        return results._rows
    rows = np.zeros(len(results), RECORD)
    for name in COLUMNS:
        rows[name] = results._rows[name]
    return rows


def rows_of(records: Sequence[BuildResult]) -> NDArray[np.void]:
    """The records' fields, instructions aside, as RECORD[n]. Cost: about 2 us each."""
    n = len(records)
    rows = np.zeros(n, RECORD)
    rows["tir_hash"] = np.frombuffer(b"".join([r.tir_hash for r in records]), np.uint8).reshape(n, HASH_BYTES)
    rows["valid"] = [r.valid for r in records]
    clocks = [r.clock_cycles for r in records]
    rows["measured"] = [c is not None for c in clocks]
    rows["clock_cycles"] = np.array([c or 0 for c in clocks], np.uint64)
    rows["compiler_cycles"] = np.array([r.compiler_cycles for r in records], np.uint64)
    rows["fallback_used"] = [r.fallback_used for r in records]
    rows["timestamp"] = np.array([r.timestamp for r in records], np.uint64)
    rows["model_version"] = [r.model_version for r in records]
    return rows


def _fields(row: np.void, lines: tuple[str, ...]) -> tuple[Any, ...]:
    return (
        row["tir_hash"].tobytes(),
        lines,
        bool(row["valid"]),
        int(row["clock_cycles"]) if row["measured"] else None,
        int(row["compiler_cycles"]),
        bool(row["fallback_used"]),
        int(row["timestamp"]),
        int(row["model_version"]),
    )


def _concat_texts(texts: list[Text]) -> Text:
    if all(isinstance(text, ListText) for text in texts):
        return ListText([lines for text in texts for lines in text])
    vocabulary = Vocabulary()
    tokens = np.concatenate([text.tokens(vocabulary) for text in texts])
    counts = np.concatenate([text.counts.astype(np.int64) for text in texts])
    starts = np.zeros(len(counts), np.int64)
    np.cumsum(counts[:-1], out=starts[1:])
    return TokenText(tokens, starts, counts, vocabulary)


def _index_array(index: Any, n: int) -> NDArray[Any]:
    if isinstance(index, tuple):
        raise UsageError(f"expected one index, got {len(index)} (Results have one dimension)", "index")
    array = _array(index, "index")
    if array.size == 0 and array.dtype != np.bool_:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iub":
        raise UsageError(f"expected an int, a slice or ints or bools of one dimension, got {_form(array)}")
    if array.dtype == np.bool_ and len(array) != n:
        raise UsageError(f"expected bool[{n}], got bool[{len(array)}]")
    return array


def _array(values: npt.ArrayLike, name: str) -> NDArray[Any]:
    if np.ma.is_masked(values):
        raise UsageError("expected no masked values", name)
    try:
        return np.asarray(values)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"expected an array ({error})", name) from None


def _form(array: NDArray[Any]) -> str:
    return f"{array.dtype}[{', '.join(map(str, array.shape))}]"


def _integers(values: npt.ArrayLike, name: str, length: int | None, end: int) -> NDArray[Any]:
    array = _array(values, name)
    if array.size == 0 and array.ndim == 1:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu" or array.ndim != 1 or length not in (None, len(array)):
        raise UsageError(
            f"expected int[{'k' if length is None else length}], got {_form(array)}",
            name,
        )
    signed = array.dtype.kind == "i"
    bits = 8 * array.itemsize - signed
    if not len(array):
        return array
    if signed and end <= 2**bits:
        # one pass: what is negative is large when read as unsigned
        outside = int(array.view(array.dtype.str.replace("i", "u")).max()) >= end
    else:
        outside = (signed and int(array.min()) < 0) or (end < 2**bits and int(array.max()) >= end)
    if outside:
        raise UsageError(
            f"expected ints in [0, {end}), got {int(array.min())} to {int(array.max())}",
            name,
        )
    return array
