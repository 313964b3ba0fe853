"""The machine as one kernel over words.

Rule of this file: an instruction that fails has changed nothing; nothing is read or written outside the arrays,
whatever the program does. What does not fit stops the kernel with a NEED status, before the instruction; the
caller makes room and calls again, or does not.

Notation: `sp` is the number of words on the stack, st0 = stack[sp - 1]. Programs are by instruction, not by word: `ops`
u8[n] opcodes, `needs` i8[n] words that the instruction takes off the stack in net, `args` u64[n], for a call the index of
its target. RAM is two open-addressing tables: what was given, which is never written, and what the program wrote, in
which a slot counts if its stamp is the run's, so that clearing costs nothing.
"""

from typing import Any

import numpy as np

from ostinato.goldilocks_kernels import (
    EPSILON,
    HALF,
    ONE,
    ZERO,
    P,
    add,
    inverse,
    mul,
    power,
    x_inverse,
    x_mul,
)
from ostinato.kernels import I64, U8, U64, get, kernel, put, threaded_kernel
from ostinato.triton.isa import BY_NAME
from ostinato.triton.machine_layout import (
    COUNTED,
    CYCLES,
    DELTA,
    DETAIL,
    DIGESTS,
    DIGESTS_END,
    ERRORS,
    FIRST,
    GIVEN_FIRST,
    GIVEN_MASK,
    HASH_ROWS,
    HASH_ROWS_OF,
    IP,
    JUMPS,
    LAST,
    LIMIT,
    NEED_JUMPS,
    NEED_OUTPUT,
    NEED_RAM,
    NEED_STACK,
    NEED_U32,
    OP_STACK_ROWS,
    OUTPUT,
    PUBLIC,
    PUBLIC_END,
    RAM_ROWS,
    RAM_ROWS_OF,
    RUNNING,
    SALT,
    SECRET,
    SECRET_END,
    SP,
    SPONGE,
    STAMP,
    U32_COUNT,
    U32_KINDS,
    U32_ROWS,
    WRITTEN,
)
from ostinato.triton.tip5_kernels import permute

_OPCODE = {name: row.opcode for name, row in BY_NAME.items()}
ADD, ADDI, AND, ASSERT = _OPCODE["add"], _OPCODE["addi"], _OPCODE["and"], _OPCODE["assert"]
ASSERT_VECTOR, CALL, DIVINE, DIV_MOD = (_OPCODE[n] for n in ("assert_vector", "call", "divine", "div_mod"))
DUP, EQ, HALT, HASH, INVERT = (_OPCODE[n] for n in ("dup", "eq", "halt", "hash", "invert"))
LOG_2_FLOOR, LT, MERKLE_STEP = (_OPCODE[n] for n in ("log_2_floor", "lt", "merkle_step"))
MERKLE_STEP_MEM, MUL, NOP, PICK = (_OPCODE[n] for n in ("merkle_step_mem", "mul", "nop", "pick"))
PLACE, POP, POP_COUNT, POW, PUSH = (_OPCODE[n] for n in ("place", "pop", "pop_count", "pow", "push"))
READ_IO, READ_MEM, RECURSE = (_OPCODE[n] for n in ("read_io", "read_mem", "recurse"))
RECURSE_OR_RETURN, RETURN, SKIZ, SPLIT = (
    _OPCODE[n] for n in ("recurse_or_return", "return", "skiz", "split")
)
SPONGE_ABSORB, SPONGE_ABSORB_MEM = _OPCODE["sponge_absorb"], _OPCODE["sponge_absorb_mem"]
SPONGE_INIT, SPONGE_SQUEEZE, SWAP = (_OPCODE[n] for n in ("sponge_init", "sponge_squeeze", "swap"))
WRITE_IO, WRITE_MEM, XOR, X_INVERT = (_OPCODE[n] for n in ("write_io", "write_mem", "xor", "x_invert"))
XB_DOT_STEP, XB_MUL, XX_ADD = (_OPCODE[n] for n in ("xb_dot_step", "xb_mul", "xx_add"))
XX_DOT_STEP, XX_MUL = _OPCODE["xx_dot_step"], _OPCODE["xx_mul"]

_ERROR = {name: number for number, name in enumerate(ERRORS)}
HALTED, TOO_SHALLOW, NOT_U32 = (
    _ERROR[n] for n in ("", "OpStackError.TooShallow", "OpStackError.FailedU32Conversion")
)
IP_OVERFLOW, NO_JUMPS, NOT_ONE = (
    _ERROR[n] for n in ("InstructionPointerOverflow", "JumpStackIsEmpty", "AssertionFailed")
)
NOT_EQUAL, BY_ZERO, NO_INVERSE = (
    _ERROR[n] for n in ("VectorAssertionFailed", "DivisionByZero", "InverseOfZero")
)
NO_LOG, NO_PUBLIC, NO_SECRET = (
    _ERROR[n] for n in ("LogarithmOfZero", "EmptyPublicInput", "EmptySecretInput")
)
NO_DIGEST, NO_SPONGE, CYCLE_LIMIT = (
    _ERROR[n] for n in ("EmptySecretDigestInput", "SpongeNotInitialized", "CycleLimit")
)

U32_SPLIT, U32_LT, U32_AND, U32_LOG, U32_POP_COUNT, U32_POW = range(len(U32_KINDS))

_TOP = np.int64(16)  # words that are always there
_ROOM = 10  # words that one instruction pushes at most
_MIX_A, _MIX_B = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_FIVE, _NEXT = np.uint64(5), np.uint64(10)
_M1, _M2, _M4 = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333), np.uint64(0x0F0F0F0F0F0F0F0F)
_BYTES, _TOP_BYTE = np.uint64(0x0101010101010101), np.uint64(56)


@kernel
def slot_of(address: Any, salt: Any) -> Any:
    """Where the search for an address begins, before the mask. Salted, so that no program can make all collide."""
    mixed = (address + np.uint64(salt)) * _MIX_A
    mixed = (mixed ^ (mixed >> HALF)) * _MIX_B
    return np.int64((mixed >> HALF) & EPSILON)


@kernel
def given_word(keys: U64, values: U64, used: U8, first: Any, mask: Any, salt: Any, address: Any) -> Any:
    """The word that was given at an address, or 0. The table is [first, first + mask]; it has an empty slot."""
    if mask < 0:
        return ZERO
    at = slot_of(address, salt) & mask
    while get(used, first + at):
        if get(keys, first + at) == address:
            return get(values, first + at)
        at = (at + 1) & mask
    return ZERO


@kernel
def give(keys: U64, values: U64, used: U8, first: Any, mask: Any, salt: Any, address: Any, word: Any) -> None:
    """Put a word into the table of what is given."""
    at = slot_of(address, salt) & mask
    while get(used, first + at) and get(keys, first + at) != address:
        at = (at + 1) & mask
    put(used, first + at, np.uint8(1))
    put(keys, first + at, address)
    put(values, first + at, word)


@threaded_kernel
def give_all(keys: U64, values: U64, used: U8, first: Any, mask: Any, salt: Any, pairs: U64) -> None:
    """Put each row (address, word) of pairs[n, 2] there."""
    for i in range(len(pairs)):
        give(keys, values, used, first, mask, salt, pairs[i, 0], pairs[i, 1])


@kernel
def read(ram: U64, stamps: I64, given: U64, given_values: U64, used: U8, state: I64, address: Any) -> Any:
    """R[address]. `ram` is u64[slots, 2], flat: address, word."""
    if get(state, WRITTEN):
        mask = len(stamps) - 1
        at = slot_of(address, get(state, SALT)) & mask
        while get(stamps, at) == get(state, STAMP):
            if get(ram, 2 * at) == address:
                return get(ram, 2 * at + 1)
            at = (at + 1) & mask
    return given_word(
        given, given_values, used, get(state, GIVEN_FIRST), get(state, GIVEN_MASK), get(state, SALT), address
    )


@kernel
def write(ram: U64, stamps: I64, state: I64, address: Any, word: Any) -> None:
    """R[address] := word. The caller has seen that there is room."""
    mask = len(stamps) - 1
    at = slot_of(address, get(state, SALT)) & mask
    while get(stamps, at) == get(state, STAMP):
        if get(ram, 2 * at) == address:
            put(ram, 2 * at + 1, word)
            return
        at = (at + 1) & mask
    put(stamps, at, get(state, STAMP))
    put(ram, 2 * at, address)
    put(ram, 2 * at + 1, word)
    put(state, WRITTEN, get(state, WRITTEN) + 1)


@threaded_kernel
def move_ram(ram: U64, stamps: I64, larger: U64, larger_stamps: I64, state: I64) -> None:
    """Into a larger table; the larger one's stamps are 0, which no run's stamp is."""
    put(state, WRITTEN, 0)
    for at in range(len(stamps)):
        if get(stamps, at) == get(state, STAMP):
            write(larger, larger_stamps, state, get(ram, 2 * at), get(ram, 2 * at + 1))


@kernel
def _after(address: Any, count: Any) -> Any:
    """address + count (mod p), of a small count."""
    return add(address, np.uint64(count))


@kernel
def _before(address: Any, count: Any) -> Any:
    words = np.uint64(count)
    return address - words if address >= words else address + (P - words)


@kernel
def pop_count(word: Any) -> Any:
    """Bits that are set."""
    word -= (word >> ONE) & _M1
    word = (word & _M2) + ((word >> np.uint64(2)) & _M2)
    word = (word + (word >> np.uint64(4))) & _M4
    return (word * _BYTES) >> _TOP_BYTE


@kernel
def bit_length(word: Any) -> Any:
    """Bits up to the highest that is set, i64."""
    length = 0
    while word != ZERO:
        word >>= ONE
        length += 1
    return length


@kernel
def _u32(entries: U64, counts: I64, kind: Any, a: Any, b: Any) -> None:
    """An entry of the U32 table, unless it is there. `entries` is u64[slots, 3], flat: kind + 1 or 0, a, b."""
    mask = len(entries) // 3 - 1
    at = slot_of(a * _MIX_B + b * _MIX_A + np.uint64(kind), get(counts, SALT)) & mask
    while get(entries, 3 * at) != ZERO:
        same = get(entries, 3 * at) == np.uint64(kind + 1)
        if same and get(entries, 3 * at + 1) == a and get(entries, 3 * at + 2) == b:
            return
        at = (at + 1) & mask
    put(entries, 3 * at, np.uint64(kind + 1))
    put(entries, 3 * at + 1, a)
    put(entries, 3 * at + 2, b)
    dominant = b if kind == U32_POW or b > a else a
    put(counts, U32_COUNT, get(counts, U32_COUNT) + 1)
    put(counts, U32_ROWS, get(counts, U32_ROWS) + 1 + bit_length(dominant))


@threaded_kernel
def move_u32(entries: U64, larger: U64, counts: I64) -> None:
    """Into a larger, empty table."""
    put(counts, U32_COUNT, 0)
    put(counts, U32_ROWS, 0)
    for at in range(len(entries) // 3):
        if get(entries, 3 * at) != ZERO:
            kind = np.int64(get(entries, 3 * at)) - 1
            _u32(larger, counts, kind, get(entries, 3 * at + 1), get(entries, 3 * at + 2))


@threaded_kernel
def execute(
    ops: U8,
    needs: Any,
    args: U64,
    stack: U64,
    jumps: I64,
    ram: U64,
    stamps: I64,
    given: U64,
    given_values: U64,
    used: U8,
    sponge: U64,
    public: U64,
    secret: U64,
    digests: U64,
    output: U64,
    state: I64,
    detail: U64,
    cascade: Any,
    entries: Any,
) -> Any:
    """Run from state[IP] until something ends it; returns a status: an index into ERRORS, or a NEED.

    The program is instructions state[FIRST] .. state[LAST]; addresses in it count from state[FIRST]. `jumps` is i64[n, 2], flat:
    return address, target. `digests` is u64[n, 5], flat. state[DETAIL] and `detail` say more about an error. With
    `cascade` u8[65536] and `entries` (see _u32) rows of the tables are counted; pass None to both, or to none.
    """
    first = get(state, FIRST)
    count = get(state, LAST) - first
    ip, sp, jp = get(state, IP), get(state, SP), get(state, JUMPS)
    cycles, limit = get(state, CYCLES), get(state, LIMIT)
    status = RUNNING
    room = len(stack) - _ROOM
    # a table is full at half; one instruction writes at most five words
    ram_room = len(stamps) // 2 - 5
    while True:
        if cycles >= limit:
            status = CYCLE_LIMIT
            break
        if ip >= count:
            status = IP_OVERFLOW
            break
        op = np.int64(get(ops, first + ip))
        if sp - get(needs, first + ip) < _TOP:
            status = TOO_SHALLOW
            break
        if sp > room:
            status = NEED_STACK
            break
        if entries is not None and get(state, U32_COUNT) + 2 > len(entries) // 6:
            status = NEED_U32
            break
        size = 1  # instructions to go on by
        top = sp - 1
        if op == PUSH:
            put(stack, sp, get(args, first + ip))
            sp += 1
        elif op == DUP:
            put(stack, sp, get(stack, top - np.int64(get(args, first + ip))))
            sp += 1
        elif op == SWAP:
            other = top - np.int64(get(args, first + ip))
            word = get(stack, other)
            put(stack, other, get(stack, top))
            put(stack, top, word)
        elif op == PICK:
            at = top - np.int64(get(args, first + ip))
            word = get(stack, at)
            while at < top:
                put(stack, at, get(stack, at + 1))
                at += 1
            put(stack, top, word)
        elif op == PLACE:
            to = top - np.int64(get(args, first + ip))
            word = get(stack, top)
            at = top
            while at > to:
                put(stack, at, get(stack, at - 1))
                at -= 1
            put(stack, to, word)
        elif op == POP:
            sp -= np.int64(get(args, first + ip))
        elif op == ADD:
            put(stack, top - 1, add(get(stack, top - 1), get(stack, top)))
            sp -= 1
        elif op == ADDI:
            put(stack, top, add(get(stack, top), get(args, first + ip)))
        elif op == MUL:
            put(stack, top - 1, mul(get(stack, top - 1), get(stack, top)))
            sp -= 1
        elif op == EQ:
            same = get(stack, top - 1) == get(stack, top)
            put(stack, top - 1, ONE if same else ZERO)
            sp -= 1
        elif op == SKIZ:
            if get(stack, top) == ZERO:
                if ip + 1 >= count:
                    status = IP_OVERFLOW
                    break
                size = 2
            sp -= 1
        elif op == CALL:
            if 2 * jp + 2 > len(jumps):
                status = NEED_JUMPS
                break
            target = np.int64(get(args, first + ip))
            put(jumps, 2 * jp, ip + 1)
            put(jumps, 2 * jp + 1, target)
            jp += 1
            size = target - ip
        elif op == RETURN:
            if jp == 0:
                status = NO_JUMPS
                break
            jp -= 1
            size = get(jumps, 2 * jp) - ip
        elif op == RECURSE:
            if jp == 0:
                status = NO_JUMPS
                break
            size = get(jumps, 2 * jp - 1) - ip
        elif op == RECURSE_OR_RETURN:
            if jp == 0:
                status = NO_JUMPS
                break
            if get(stack, top - 5) == get(stack, top - 6):
                jp -= 1
                size = get(jumps, 2 * jp) - ip
            else:
                size = get(jumps, 2 * jp - 1) - ip
        elif op == ASSERT:
            if get(stack, top) != ONE:
                put(detail, 0, get(stack, top))
                status = NOT_ONE
                break
            sp -= 1
        elif op == SPLIT:
            word = get(stack, top)
            put(stack, top, word >> HALF)
            put(stack, sp, word & EPSILON)
            sp += 1
            if entries is not None:
                _u32(entries, state, U32_SPLIT, word & EPSILON, word >> HALF)
        elif op in (LT, AND, XOR):
            a, b = get(stack, top), get(stack, top - 1)
            if a > EPSILON or b > EPSILON:
                put(detail, 0, a if a > EPSILON else b)
                status = NOT_U32
                break
            if op == LT:
                put(stack, top - 1, ONE if a < b else ZERO)
            elif op == AND:
                put(stack, top - 1, a & b)
            else:
                put(stack, top - 1, a ^ b)
            sp -= 1
            if entries is not None:
                _u32(entries, state, U32_LT if op == LT else U32_AND, a, b)
        elif op == DIV_MOD:
            a, b = get(stack, top), get(stack, top - 1)
            if a > EPSILON or b > EPSILON:
                put(detail, 0, a if a > EPSILON else b)
                status = NOT_U32
                break
            if b == ZERO:
                status = BY_ZERO
                break
            put(stack, top - 1, a // b)
            put(stack, top, a % b)
            if entries is not None:
                _u32(entries, state, U32_LT, a % b, b)
                _u32(entries, state, U32_SPLIT, a, a // b)
        elif op == POW:
            exponent = get(stack, top - 1)
            if exponent > EPSILON:
                put(detail, 0, exponent)
                status = NOT_U32
                break
            base = get(stack, top)
            put(stack, top - 1, power(base, exponent))
            sp -= 1
            if entries is not None:
                _u32(entries, state, U32_POW, base, exponent)
        elif op in (LOG_2_FLOOR, POP_COUNT):
            word = get(stack, top)
            if word > EPSILON:
                put(detail, 0, word)
                status = NOT_U32
                break
            if op == POP_COUNT:
                put(stack, top, pop_count(word))
            elif word == ZERO:
                status = NO_LOG
                break
            else:
                put(stack, top, np.uint64(bit_length(word) - 1))
            if entries is not None:
                _u32(entries, state, U32_POP_COUNT if op == POP_COUNT else U32_LOG, word, ZERO)
        elif op == READ_MEM:
            words = np.int64(get(args, first + ip))
            pointer = get(stack, top)
            for k in range(words):
                address = _before(pointer, k)
                put(stack, top + k, read(ram, stamps, given, given_values, used, state, address))
            put(stack, top + words, _before(pointer, words))
            sp += words
        elif op == WRITE_MEM:
            if get(state, WRITTEN) > ram_room:
                status = NEED_RAM
                break
            words = np.int64(get(args, first + ip))
            pointer = get(stack, top)
            for k in range(words):
                write(ram, stamps, state, _after(pointer, k), get(stack, top - 1 - k))
            put(stack, top - words, _after(pointer, words))
            sp -= words
        elif op == INVERT:
            if get(stack, top) == ZERO:
                status = NO_INVERSE
                break
            put(stack, top, inverse(get(stack, top)))
        elif op == HALT:
            cycles += 1
            ip += 1
            status = HALTED
            break
        elif op == NOP:
            pass
        elif op in (READ_IO, DIVINE):
            words = np.int64(get(args, first + ip))
            queue, behind = (PUBLIC, PUBLIC_END) if op == READ_IO else (SECRET, SECRET_END)
            at = get(state, queue)
            if at + words > get(state, behind):
                put(state, DETAIL, get(state, behind) - at)
                status = NO_PUBLIC if op == READ_IO else NO_SECRET
                break
            for k in range(words):
                put(stack, sp + k, get(public, at + k) if op == READ_IO else get(secret, at + k))
            put(state, queue, at + words)
            sp += words
        elif op == WRITE_IO:
            words = np.int64(get(args, first + ip))
            at = get(state, OUTPUT)
            if at + words > len(output):
                status = NEED_OUTPUT
                break
            for k in range(words):
                put(output, at + k, get(stack, top - k))
            put(state, OUTPUT, at + words)
            sp -= words
        elif op == XX_ADD:
            for k in range(3):
                put(stack, top - 3 - k, add(get(stack, top - k), get(stack, top - 3 - k)))
            sp -= 3
        elif op == XX_MUL:
            c0, c1, c2 = x_mul(
                get(stack, top), get(stack, top - 1), get(stack, top - 2),
                get(stack, top - 3), get(stack, top - 4), get(stack, top - 5),
            )  # fmt: skip
            put(stack, top - 3, c0)
            put(stack, top - 4, c1)
            put(stack, top - 5, c2)
            sp -= 3
        elif op == XB_MUL:
            scalar = get(stack, top)
            for k in range(1, 4):
                put(stack, top - k, mul(scalar, get(stack, top - k)))
            sp -= 1
        elif op == X_INVERT:
            a0, a1, a2 = get(stack, top), get(stack, top - 1), get(stack, top - 2)
            if (a0 | a1 | a2) == ZERO:
                status = NO_INVERSE
                break
            c0, c1, c2 = x_inverse(a0, a1, a2)
            put(stack, top, c0)
            put(stack, top - 1, c1)
            put(stack, top - 2, c2)
        elif op in (XX_DOT_STEP, XB_DOT_STEP):
            right, left = get(stack, top), get(stack, top - 1)
            l0 = read(ram, stamps, given, given_values, used, state, left)
            l1 = read(ram, stamps, given, given_values, used, state, _after(left, 1))
            l2 = read(ram, stamps, given, given_values, used, state, _after(left, 2))
            r0 = read(ram, stamps, given, given_values, used, state, right)
            if op == XX_DOT_STEP:
                r1 = read(ram, stamps, given, given_values, used, state, _after(right, 1))
                r2 = read(ram, stamps, given, given_values, used, state, _after(right, 2))
                c0, c1, c2 = x_mul(l0, l1, l2, r0, r1, r2)
                put(stack, top, _after(right, 3))
            else:
                c0, c1, c2 = mul(l0, r0), mul(l1, r0), mul(l2, r0)
                put(stack, top, _after(right, 1))
            put(stack, top - 1, _after(left, 3))
            put(stack, top - 2, add(get(stack, top - 2), c0))
            put(stack, top - 3, add(get(stack, top - 3), c1))
            put(stack, top - 4, add(get(stack, top - 4), c2))
        elif op == ASSERT_VECTOR:
            k = 0
            while k < 5 and get(stack, top - k) == get(stack, top - 5 - k):
                k += 1
            if k < 5:
                put(state, DETAIL, k)
                put(detail, 0, get(stack, top - k))
                put(detail, 1, get(stack, top - 5 - k))
                status = NOT_EQUAL
                break
            sp -= 5
        elif op == HASH:
            block = np.ones(16, np.uint64)
            for k in range(10):
                put(block, k, get(stack, top - k))
            permute(block, cascade)
            for k in range(5):
                put(stack, top - 5 - k, get(block, k))
            sp -= 5
        elif op in (MERKLE_STEP, MERKLE_STEP_MEM):
            index = get(stack, top - 5)
            if index > EPSILON:
                put(detail, 0, index)
                status = NOT_U32
                break
            block = np.ones(16, np.uint64)
            own, other = (0, 5) if index & ONE == ZERO else (5, 0)
            if op == MERKLE_STEP:
                at = get(state, DIGESTS)
                if at >= get(state, DIGESTS_END):
                    status = NO_DIGEST
                    break
                for k in range(5):
                    put(block, other + k, get(digests, 5 * at + k))
                put(state, DIGESTS, at + 1)
            else:
                pointer = get(stack, top - 7)
                for k in range(5):
                    address = _after(pointer, k)
                    put(block, other + k, read(ram, stamps, given, given_values, used, state, address))
                put(stack, top - 7, add(pointer, _FIVE))
            for k in range(5):
                put(block, own + k, get(stack, top - k))
            permute(block, cascade)
            for k in range(5):
                put(stack, top - k, get(block, k))
            put(stack, top - 5, index >> ONE)
            if entries is not None:
                _u32(entries, state, U32_SPLIT, index, index >> ONE)
        elif op == SPONGE_INIT:
            for k in range(16):
                put(sponge, k, ZERO)
            put(state, SPONGE, 1)
        elif op in (SPONGE_ABSORB, SPONGE_ABSORB_MEM, SPONGE_SQUEEZE):
            if not get(state, SPONGE):
                status = NO_SPONGE
                break
            if op == SPONGE_ABSORB:
                for k in range(10):
                    put(sponge, k, get(stack, top - k))
                sp -= 10
            elif op == SPONGE_ABSORB_MEM:
                pointer = get(stack, top)
                for k in range(10):
                    address = _after(pointer, k)
                    put(sponge, k, read(ram, stamps, given, given_values, used, state, address))
                put(stack, top, add(pointer, _NEXT))
                for k in range(4):
                    put(stack, top - 1 - k, get(sponge, k))
            else:
                for k in range(10):
                    put(stack, sp + k, get(sponge, 9 - k))
                sp += 10
            permute(sponge, cascade)
        else:
            status = IP_OVERFLOW  # no such opcode; the assembler makes none
            break
        cycles += 1
        ip += size
        if entries is not None:
            argument = np.int64(get(args, first + ip - size))
            words = argument if COUNTED[op] else np.int64(1)
            put(state, OP_STACK_ROWS, get(state, OP_STACK_ROWS) + abs(DELTA[op] * words))
            put(state, RAM_ROWS, get(state, RAM_ROWS) + RAM_ROWS_OF[op] * words)
            put(state, HASH_ROWS, get(state, HASH_ROWS) + HASH_ROWS_OF[op])
    put(state, IP, ip)
    put(state, SP, sp)
    put(state, JUMPS, jp)
    put(state, CYCLES, cycles)
    return status
