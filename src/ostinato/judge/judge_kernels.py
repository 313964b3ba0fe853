"""Candidates against tests, as one kernel.

Rule of this file: a candidate is run as if called, on a machine of its own for each test, and compared with what the
reference left; it is rejected at its first difference. No Python between two runs.

A candidate's code is its instructions, then `return`, then `halt`; it begins with one entry on the jump stack, which leads
to that `halt`. So whatever falls off the end returns, and only who comes to that very `halt` has returned from the call.
"""

from typing import Any

import numpy as np

from ostinato.judge.reasons import (
    CRASH,
    FITS_NOT,
    HALT,
    INPUTS,
    MEMORY,
    NO_CRASH,
    OUTPUT,
    SLOW,
    SPONGE,
    STACK,
    VALID,
)
from ostinato.kernels import I64, U8, U64, get, kernel, put, threaded_kernel
from ostinato.triton import machine_layout as layout
from ostinato.triton.machine_kernels import execute, given_word, read

_HALTED = 0
_CYCLE_LIMIT = layout.ERRORS.index("CycleLimit")
_OVERFLOW = layout.ERRORS.index("InstructionPointerOverflow")
CYCLES, LIMIT, IP, SP, JUMPS = layout.CYCLES, layout.LIMIT, layout.IP, layout.SP, layout.JUMPS
FIRST, LAST, STAMP, WRITTEN = layout.FIRST, layout.LAST, layout.STAMP, layout.WRITTEN
PUBLIC, PUBLIC_END, SECRET, SECRET_END = layout.PUBLIC, layout.PUBLIC_END, layout.SECRET, layout.SECRET_END
DIGESTS, DIGESTS_END, WRITTEN_OUT = layout.DIGESTS, layout.DIGESTS_END, layout.OUTPUT
SPONGE_FLAG, GIVEN_FIRST, GIVEN_MASK, SALT = layout.SPONGE, layout.GIVEN_FIRST, layout.GIVEN_MASK, layout.SALT

# columns of `tests`, i64[n, TEST_COLUMNS]; *_AT and *_END are places in the words that the column before names
(
    STACK_AT, STACK_END,
    PUBLIC_AT, PUBLIC_STOP,
    SECRET_AT, SECRET_STOP,
    DIGESTS_AT, DIGESTS_STOP,
    HAS_SPONGE,
    RAM_FIRST, RAM_MASK,
    # what the reference left
    FAILS,
    LEFT_AT, LEFT_END,  # stack, all of it
    FINAL_FIRST, FINAL_MASK,  # RAM
    WRITES_AT, WRITES_END,  # the addresses it wrote
    OUTPUT_AT, OUTPUT_END,
    PUBLIC_LEFT, SECRET_LEFT, DIGESTS_LEFT,  # the next that would be read
    LEAVES_SPONGE,
    TEST_COLUMNS,
) = range(25)  # fmt: skip


@threaded_kernel
def judge_all(
    ops: U8,
    needs: Any,
    args: U64,
    starts: I64,
    order: I64,
    tests: I64,
    words: U64,
    digests: U64,
    sponges: U64,
    keys: U64,
    values: U64,
    used: U8,
    writes: U64,
    stack: U64,
    jumps: I64,
    ram: U64,
    stamps: I64,
    output: U64,
    state: I64,
    limit: Any,
    reasons: U8,
    failed: I64,
    errors: I64,
    cycles: I64,
) -> None:
    """reasons[i], failed[i] (the test, or -1), errors[i] (a machine's status) and cycles[i] (the largest over the tests) of
    candidate i: instructions starts[i] .. starts[i + 1], the last two `return` and `halt`. Tests are tried in `order`.

    `words` holds stacks, inputs and outputs; `sponges` is u64[2 n, 16], flat: given, left; keys, values and used are the
    tables of RAM, of what is given and of what the reference left; `writes` is u64[n, 2], flat: address and word.
    """
    sponge = np.zeros(16, np.uint64)
    detail = np.zeros(2, np.uint64)
    for i in range(len(starts) - 1):
        first, last = get(starts, i), get(starts, i + 1)
        reason, at, error, most = VALID, -1, 0, 0
        for turn in range(len(order)):
            test = get(order, turn)
            _begin(tests, test, words, sponges, stack, jumps, sponge, state, first, last, limit)
            status = execute(
                ops, needs, args, stack, jumps, ram, stamps, keys, values, used, sponge, words, words, digests,
                output, state, detail, None, None,
            )  # fmt: skip
            reason = _difference(
                tests, test, words, sponges, keys, values, used, writes, stack, ram, stamps, sponge, output, state,
                status, last - first,
            )  # fmt: skip
            if reason != VALID:
                at, error = test, status
                break
            if not get(tests, TEST_COLUMNS * test + FAILS):
                most = max(most, get(state, CYCLES) - 2)
        put(reasons, i, np.uint8(reason))
        put(failed, i, at)
        put(errors, i, error)
        put(cycles, i, most)


@kernel
def _begin(
    tests: I64, test: Any, words: U64, sponges: U64, stack: U64, jumps: I64, sponge: U64, state: I64,
    first: Any, last: Any, limit: Any,
) -> None:  # fmt: skip
    row = TEST_COLUMNS * test
    begin, end = get(tests, row + STACK_AT), get(tests, row + STACK_END)
    for k in range(end - begin):
        put(stack, k, get(words, begin + k))
    put(jumps, 0, last - first - 1)
    put(jumps, 1, 0)
    put(state, IP, 0)
    put(state, SP, end - begin)
    put(state, JUMPS, 1)
    put(state, CYCLES, 0)
    put(state, LIMIT, limit)
    put(state, FIRST, first)
    put(state, LAST, last)
    put(state, PUBLIC, get(tests, row + PUBLIC_AT))
    put(state, PUBLIC_END, get(tests, row + PUBLIC_STOP))
    put(state, SECRET, get(tests, row + SECRET_AT))
    put(state, SECRET_END, get(tests, row + SECRET_STOP))
    put(state, DIGESTS, get(tests, row + DIGESTS_AT))
    put(state, DIGESTS_END, get(tests, row + DIGESTS_STOP))
    put(state, WRITTEN_OUT, 0)
    put(state, SPONGE_FLAG, get(tests, row + HAS_SPONGE))
    put(state, WRITTEN, 0)
    put(state, STAMP, get(state, STAMP) + 1)
    put(state, GIVEN_FIRST, get(tests, row + RAM_FIRST))
    put(state, GIVEN_MASK, get(tests, row + RAM_MASK))
    if get(tests, row + HAS_SPONGE):
        for k in range(16):
            put(sponge, k, get(sponges, 32 * test + k))


@kernel
def _difference(
    tests: I64, test: Any, words: U64, sponges: U64, keys: U64, values: U64, used: U8, writes: U64, stack: U64,
    ram: U64, stamps: I64, sponge: U64, output: U64, state: I64, status: Any, size: Any,
) -> Any:  # fmt: skip
    """The first way in which a run differs from the reference's, or VALID."""
    row = TEST_COLUMNS * test
    if status == _CYCLE_LIMIT:
        return SLOW
    if status < 0:
        return FITS_NOT
    if status != _HALTED:
        return VALID if get(tests, row + FAILS) else CRASH
    if get(state, IP) != size:
        return HALT
    if get(state, JUMPS) != 0:  # it jumped over its `return`: out of the program, had nothing stood behind it
        return VALID if get(tests, row + FAILS) else CRASH
    if get(tests, row + FAILS):
        return NO_CRASH
    begin, end = get(tests, row + LEFT_AT), get(tests, row + LEFT_END)
    if get(state, SP) != end - begin:
        return STACK
    for k in range(end - begin):
        if get(stack, k) != get(words, begin + k):
            return STACK
    begin, end = get(tests, row + OUTPUT_AT), get(tests, row + OUTPUT_END)
    if get(state, WRITTEN_OUT) != end - begin:
        return OUTPUT
    for k in range(end - begin):
        if get(output, k) != get(words, begin + k):
            return OUTPUT
    for at in range(get(tests, row + WRITES_AT), get(tests, row + WRITES_END)):
        word = read(ram, stamps, keys, values, used, state, get(writes, 2 * at))
        if word != get(writes, 2 * at + 1):
            return MEMORY
    if get(state, WRITTEN):
        for at in range(len(stamps)):
            if get(stamps, at) == get(state, STAMP):
                word = given_word(
                    keys, values, used, get(tests, row + FINAL_FIRST), get(tests, row + FINAL_MASK),
                    get(state, SALT), get(ram, 2 * at),
                )  # fmt: skip
                if word != get(ram, 2 * at + 1):
                    return MEMORY
    public, secret = get(tests, row + PUBLIC_LEFT), get(tests, row + SECRET_LEFT)
    if get(state, PUBLIC) != public or get(state, SECRET) != secret:
        return INPUTS
    if get(state, DIGESTS) != get(tests, row + DIGESTS_LEFT):
        return INPUTS
    if get(state, SPONGE_FLAG) != get(tests, row + LEAVES_SPONGE):
        return SPONGE
    if get(state, SPONGE_FLAG):
        for k in range(16):
            if get(sponge, k) != get(sponges, 32 * test + 16 + k):
                return SPONGE
    return VALID
