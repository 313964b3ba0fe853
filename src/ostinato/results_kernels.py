"""Columns into rows in one pass: what `Results.from_columns` does when kernels are loaded anyway."""

from typing import Any

from ostinato.kernels import I32, I64, U8, U64, copy, get, kernel, load_u64, put, store_u64
from ostinato.results import (
    BASELINE_AT,
    CLOCK_AT,
    FALLBACK_AT,
    MEASURED_AT,
    ROW_BYTES,
    TIMESTAMP_AT,
    VALID_AT,
    VERSION_AT,
)


@kernel
def pack(
    hashes: U8,
    tokens: I32,
    offsets: I64,
    words: Any,
    valid: U8,
    fallback_used: U8,
    clock_cycles: U64,
    masked: U8,
    compiler_cycles: U64,
    timestamp: U64,
    model_version: U8,
    rows: U8,
) -> Any:
    """Fill zeroed rows; False where offsets do not rise from 0 to len(tokens), or a token is no id.

    `masked` has no places where every cost is measured. model_version: the bytes of a uint32[n].
    """
    n = len(valid)
    if get(offsets, 0) != 0 or get(offsets, n) != len(tokens):
        return False
    falls = False
    for i in range(n):
        falls |= get(offsets, i) > get(offsets, i + 1)
    lowest, highest = 0, -1
    for k in range(len(tokens)):
        lowest, highest = min(lowest, get(tokens, k)), max(highest, get(tokens, k))
    if falls or lowest < 0 or highest >= words:
        return False
    for i in range(n):
        at = i * ROW_BYTES
        copy(rows, at, hashes, 32 * i, 32)
        measured = len(masked) == 0 or get(masked, i) == 0
        if measured:
            store_u64(rows, at + CLOCK_AT, load_u64(clock_cycles, i))
        store_u64(rows, at + BASELINE_AT, load_u64(compiler_cycles, i))
        store_u64(rows, at + TIMESTAMP_AT, load_u64(timestamp, i))
        copy(rows, at + VERSION_AT, model_version, 4 * i, 4)
        put(rows, at + VALID_AT, 1 if get(valid, i) else 0)  # a bool made of other bytes may be 2
        put(rows, at + MEASURED_AT, 1 if measured else 0)
        put(rows, at + FALLBACK_AT, 1 if get(fallback_used, i) else 0)
    return True
