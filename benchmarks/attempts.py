"""The real build results that come with the package, repeated: what the store and its rivals are given.

48 programs' 20,997 attempts (`ostinato.data.triton_attempts`), one after the other as often as needed; timestamps rise, a
second for each 8 records. Nothing here is made while a clock runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ostinato import BuildResult, Results, Vocabulary, archive
from ostinato.data import triton_attempts

CHUNK = 1024
BEGAN = 1_700_000_000
SCALARS = ("valid", "clock_cycles", "compiler_cycles", "fallback_used", "timestamp", "model_version")

Columns = dict[str, Any]
Row = tuple[Any, ...]


class Attempts:
    """The attempts as columns with token ids; `columns(first, n)` are n of them from number `first` on."""

    def __init__(self) -> None:
        self.vocabulary = Vocabulary()
        self.results = triton_attempts()
        self.tokens, self.offsets = self.results.tokens(self.vocabulary)

    @property
    def instructions(self) -> float:
        """On average."""
        return float(self.results.instruction_counts.mean())

    def columns(self, first: int, n: int) -> Columns:
        """What `Results.from_columns` takes; copies, as from a builder."""
        number = np.arange(first, first + n)
        which = number % len(self.results)
        counts = np.diff(self.offsets)[which]
        bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        inside = np.arange(bounds[-1]) - np.repeat(bounds[:-1], counts)
        out: Columns = {name: getattr(self.results, name)[which] for name in ("tir_hash", *SCALARS)}
        out["timestamp"] = (BEGAN + number // 8).astype(np.uint64)
        out["tokens"] = self.tokens[np.repeat(self.offsets[which], counts) + inside]
        return {**out, "offsets": bounds, "vocabulary": self.vocabulary}

    def chunks(self, n: int, size: int = CHUNK) -> Iterator[Results]:
        """n records as Results of `size` each."""
        for first in range(0, n, size):
            yield Results.from_columns(**self.columns(first, min(size, n - first)))


class Given(NamedTuple):
    """The same records in every contender's form: records, columns of chunks, archives' bytes, rows of a database, keys."""

    records: list[BuildResult]
    columns: list[Columns]
    archives: list[bytes]
    rows: list[Row]
    keys: list[bytes]


def given(n: int, times: int) -> Given:
    """n records, a multiple of 1,024, and keys for so many times as many."""
    attempts = Attempts()
    whole = Results.from_columns(**attempts.columns(0, n))
    records = whole.to_list()
    return Given(
        records=records,
        columns=[attempts.columns(first, CHUNK) for first in range(0, n, CHUNK)],
        archives=[archive.dumps([record]) for record in records],
        rows=[row_of(record) for record in records],
        keys=[number.to_bytes(8, "big") for number in range(n * times)],
    )


def row_of(record: BuildResult) -> Row:
    """As SQLite is given it: instructions as one text."""
    return (
        record.tir_hash,
        "\n".join(record.generated_tasm),
        record.valid,
        record.clock_cycles,
        record.compiler_cycles,
        record.fallback_used,
        record.timestamp,
        record.model_version,
    )
