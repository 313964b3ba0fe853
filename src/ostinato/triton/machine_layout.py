"""Where the machine's kernel and its callers keep what they share: the slots of `state`, what a status means, and the table
of instructions as arrays by opcode."""

from __future__ import annotations

import numpy as np

from ostinato.triton.isa import BY_OPCODE

COUNTED = np.zeros(256, np.bool_)  # is the argument a count of words? Then what follows is for each of them
DELTA, RAM_ROWS_OF, HASH_ROWS_OF = (np.zeros(256, np.int64) for _ in range(3))
for _row in BY_OPCODE.values():
    COUNTED[_row.opcode] = _row.argument == "count"
    DELTA[_row.opcode] = _row.delta
    RAM_ROWS_OF[_row.opcode], HASH_ROWS_OF[_row.opcode] = _row.ram_rows, _row.hash_rows

# what ends a run; an index here is a status. "" is `halt`, the last two are this machine's own
ERRORS = (
    "",
    "InstructionPointerOverflow",
    "OpStackError.TooShallow",
    "OpStackError.FailedU32Conversion",
    "JumpStackIsEmpty",
    "AssertionFailed",
    "VectorAssertionFailed",
    "InverseOfZero",
    "DivisionByZero",
    "LogarithmOfZero",
    "EmptyPublicInput",
    "EmptySecretInput",
    "EmptySecretDigestInput",
    "SpongeNotInitialized",
    "CycleLimit",
    "MemoryLimit",
)

RUNNING = -1
# not enough room in an array: nothing has happened, make it larger and go on
NEED_STACK, NEED_JUMPS, NEED_RAM, NEED_OUTPUT, NEED_U32 = -2, -3, -4, -5, -6

# entries of the U32 table
U32_KINDS = ("split", "lt", "and", "log_2_floor", "pop_count", "pow")

# slots of `state`, i64
(
    IP,  # the next instruction, from FIRST on
    SP,  # words on the stack
    JUMPS,  # entries of the jump stack
    CYCLES,
    LIMIT,  # cycles after which a run ends
    FIRST,  # the program's first instruction in the arrays
    LAST,  # one behind its last
    PUBLIC,  # the next word of the public input
    PUBLIC_END,
    SECRET,
    SECRET_END,
    DIGESTS,
    DIGESTS_END,
    OUTPUT,  # words written
    SPONGE,  # is there one?
    WRITTEN,  # addresses written
    STAMP,  # of this run, above 0
    SALT,  # of the tables
    GIVEN_FIRST,  # the first slot of the table of given words
    GIVEN_MASK,  # its slots - 1, or -1 if there is none
    DETAIL,  # more about an error: words that were left, the place of a difference
    OP_STACK_ROWS,  # counted only when recorded, as what follows
    RAM_ROWS,
    HASH_ROWS,
    U32_COUNT,
    U32_ROWS,
    STATE_SLOTS,  # how many there are
) = range(27)
