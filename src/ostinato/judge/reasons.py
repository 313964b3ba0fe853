"""Why a candidate is rejected: numbers for kernels and columns, names for people."""

from __future__ import annotations

from enum import IntEnum


class Reason(IntEnum):
    """The first thing that is wrong with a candidate; VALID if nothing is.

    VALID: it does what the reference does on all tests. PARSE: it is no program. CRASH: the machine stops with an
    error where the reference does not; NO_CRASH: the other way round. HALT: it stops the machine instead of
    returning. STACK, MEMORY, OUTPUT, INPUTS, SPONGE: what it leaves differs; for INPUTS, how much of the public input, the
    secret input or the digests. SLOW: it takes more cycles than it may. SIZE: it needs more memory than it may.
    """

    VALID = 0
    PARSE = 1
    CRASH = 2
    NO_CRASH = 3
    HALT = 4
    STACK = 5
    MEMORY = 6
    OUTPUT = 7
    INPUTS = 8
    SPONGE = 9
    SLOW = 10
    SIZE = 11


# plain ints, which kernels compile to constants
VALID, PARSE, CRASH, NO_CRASH, HALT, STACK, MEMORY, OUTPUT, INPUTS, SPONGE, SLOW, FITS_NOT = map(int, Reason)

WORDS = {
    Reason.VALID: "valid",
    Reason.PARSE: "no program",
    Reason.CRASH: "crash",
    Reason.NO_CRASH: "no crash where the reference has one",
    Reason.HALT: "halts instead of returning",
    Reason.STACK: "wrong stack",
    Reason.MEMORY: "wrong memory",
    Reason.OUTPUT: "wrong output",
    Reason.INPUTS: "another number of inputs taken",
    Reason.SPONGE: "wrong sponge",
    Reason.SLOW: "too slow",
    Reason.SIZE: "too much memory",
}
