"""Tokens to instructions, for the judge."""

from typing import Any

import numpy as np

from ostinato.kernels import I32, I64, U8, U64, get, put, threaded_kernel


@threaded_kernel
def place(
    tokens: I32, offsets: I64, of_ops: U8, of_args: U64, leave: Any, halt: Any, ops: U8, args: U64
) -> None:
    """Candidates' instructions, each followed by `return` and `halt`."""
    at = 0
    for i in range(len(offsets) - 1):
        for k in range(get(offsets, i), get(offsets, i + 1)):
            token = np.int64(get(tokens, k))
            put(ops, at, get(of_ops, token))
            put(args, at, get(of_args, token))
            at += 1
        put(ops, at, np.uint8(leave))
        put(ops, at + 1, np.uint8(halt))
        put(args, at, np.uint64(0))
        put(args, at + 1, np.uint64(0))
        at += 2
