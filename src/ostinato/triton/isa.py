"""The 46 instructions of Triton VM 2.0, one row each.

Rule of this file: what is true of an instruction is said here and nowhere else. The parser takes names and
arguments from here, the machine its opcodes and depths, the page docs/instructions.md its pictures.

Pictures: the right end is the top of the stack, `_` is whatever lies below. st0 is the top. Digests and elements
of the extension field have their word 0 on top: `d4 .. d0`, `x2 x1 x0`. R[p] is a word of RAM.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MIN_DEPTH = 16  # the stack never holds fewer words
COUNTS = range(1, 6)
REGISTERS = range(16)
RATE = 10  # words that a sponge absorbs or squeezes at once
DIGEST = 5  # words of a digest

Kind = Literal["word", "count", "register", "label"]


@dataclass(frozen=True, slots=True)
class Instruction:
    """A row of the table.

    Attributes:
        name: as it is written. opcode: the word that stands for it.
        argument: what follows the name, or None: "word" any field element, "count" 1 to 5, "register" 0 to 15,
            "label" (in the words of a program its address).
        before, after: the stack before and after. meaning: in a few words.
        delta: words that the stack grows by; where the argument is a count, for each of them.
        errors: what can go wrong besides a stack that is too shallow, in the order of the checks.
        ram_rows: rows in the RAM table, where the argument is a count, for each of them. hash_rows: in the
            hash table. u32: the entries it makes in the U32 table.
    """

    name: str
    opcode: int
    argument: Kind | None
    before: str
    after: str
    meaning: str
    delta: int = 0
    errors: tuple[str, ...] = ()
    ram_rows: int = 0
    hash_rows: int = 0
    u32: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Words that it takes in a program: 1, or 2 with an argument."""
        return 1 if self.argument is None else 2

    def depth_change(self, argument: int = 1) -> int:
        """Words that the stack grows by, negative where it shrinks."""
        return self.delta * argument if self.argument == "count" else self.delta

    def reach(self, argument: int = 1) -> int:
        """Words of the stack that it looks at, from the top."""
        if self.name == "recurse_or_return":
            return 7  # st5 and st6
        if self.argument == "register":
            return argument + 1
        count, first, between = 0, "", False
        for word in self.before.split()[1:]:
            if word == "..":  # x9 .. x0, v(n-1) .. v0: those between, and the last
                between = True
                continue
            count += _index(first, argument) - _index(word, argument) if between else 1
            first, between = word, False
        return count


def _index(word: str, argument: int) -> int:
    """The index of a word in a picture: 9 of x9, argument - 1 of v(n-1)."""
    index = word.lstrip("abcdefghijklmopqrstuvwxyz").strip("()")
    return argument if index == "n" else argument - 1 if index == "n-1" else int(index)


_U32 = "OpStackError.FailedU32Conversion"
_PERMUTATION = 6  # rows of the hash table: the input and five rounds

# fmt: off
INSTRUCTIONS: tuple[Instruction, ...] = (
    Instruction("halt", 0, None, "_", "_", "stops the machine; the run has succeeded"),
    Instruction("push", 1, "word", "_", "_ a", "pushes the argument", 1),
    Instruction("skiz", 2, None, "_ a", "_", "skips the next instruction if a is 0", -1, ("InstructionPointerOverflow",)),
    Instruction("pop", 3, "count", "_ xn .. x1", "_", "drops n words", -1),
    Instruction("split", 4, None, "_ a", "_ hi lo", "a = 2**32 hi + lo, both below 2**32", 1, u32=("split(lo, hi)",)),
    Instruction("lt", 6, None, "_ b a", "_ (a < b)", "1 if a < b, else 0; both below 2**32", -1, (_U32,), u32=("lt(a, b)",)),
    Instruction("nop", 8, None, "_", "_", "does nothing"),
    Instruction("divine", 9, "count", "_", "_ s1 .. sn", "takes n words of the secret input", 1, ("EmptySecretInput",)),
    Instruction("assert", 10, None, "_ a", "_", "fails unless a is 1", -1, ("AssertionFailed",)),
    Instruction("write_mem", 11, "count", "_ v(n-1) .. v0 p", "_ (p+n)", "R[p+k] = vk", -1, ram_rows=1),
    Instruction("log_2_floor", 12, None, "_ a", "_ floor(log2 a)", "of an a below 2**32", 0, (_U32, "LogarithmOfZero"), u32=("log_2_floor(a, 0)",)),
    Instruction("and", 14, None, "_ b a", "_ (a and b)", "bitwise; both below 2**32", -1, (_U32,), u32=("and(a, b)",)),
    Instruction("return", 16, None, "_", "_", "jumps to the address behind the last call, and forgets that call", 0, ("JumpStackIsEmpty",)),
    Instruction("pick", 17, "register", "_ si .. s0", "_ .. s0 si", "moves st(i) to the top"),
    Instruction("hash", 18, None, "_ x9 .. x0", "_ d4 .. d0", "Tip5 of ten words", -5, hash_rows=_PERMUTATION),
    Instruction("write_io", 19, "count", "_ xn .. x1", "_", "writes n words to the public output, x1 first", -1),
    Instruction("div_mod", 20, None, "_ d n", "_ q r", "n = q d + r with r < d; both below 2**32", 0, (_U32, "DivisionByZero"), u32=("lt(r, d)", "split(n, q)")),
    Instruction("xor", 22, None, "_ b a", "_ (a xor b)", "bitwise; both below 2**32", -1, (_U32,), u32=("and(a, b)",)),
    Instruction("recurse", 24, None, "_", "_", "jumps to where the last call jumped to", 0, ("JumpStackIsEmpty",)),
    Instruction("place", 25, "register", "_ .. s1 s0", "_ s0 .. s1", "moves the top down, so that it becomes st(i)"),
    Instruction("assert_vector", 26, None, "_ y4 .. y0 x4 .. x0", "_ y4 .. y0", "fails unless every xk is yk", -5, ("VectorAssertionFailed",)),
    Instruction("pop_count", 28, None, "_ a", "_ (bits set in a)", "of an a below 2**32", 0, (_U32,), u32=("pop_count(a, 0)",)),
    Instruction("pow", 30, None, "_ e b", "_ b**e", "e below 2**32; 0**0 is 1", -1, (_U32,), u32=("pow(b, e)",)),
    Instruction("recurse_or_return", 32, None, "_", "_", "return if st5 is st6, else recurse", 0, ("JumpStackIsEmpty",)),
    Instruction("dup", 33, "register", "_ si .. s0", "_ si .. s0 si", "pushes a copy of st(i)", 1),
    Instruction("sponge_absorb", 34, None, "_ x9 .. x0", "_", "overwrites the sponge's first ten words with x0 .. x9 and permutes", -10, ("SpongeNotInitialized",), hash_rows=_PERMUTATION),
    Instruction("merkle_step", 36, None, "_ i d4 .. d0", "_ (i div 2) e4 .. e0", "e = hash(d, s) if i is even, else hash(s, d); s is the next secret digest", 0, (_U32, "EmptySecretDigestInput"), hash_rows=_PERMUTATION, u32=("split(i, i div 2)",)),
    Instruction("sponge_init", 40, None, "_", "_", "makes the sponge sixteen zeros", hash_rows=1),
    Instruction("swap", 41, "register", "_ si .. s0", "_ s0 .. si", "exchanges st0 and st(i)"),
    Instruction("add", 42, None, "_ b a", "_ (a + b)", "in the field", -1),
    Instruction("merkle_step_mem", 44, None, "_ p _ i d4 .. d0", "_ (p+5) _ (i div 2) e4 .. e0", "as merkle_step, with the sibling R[p] .. R[p+4]; p is st7", 0, (_U32,), 5, _PERMUTATION, ("split(i, i div 2)",)),
    Instruction("sponge_absorb_mem", 48, None, "_ y4 .. y1 p", "_ R[p+3] .. R[p] (p+10)", "absorbs R[p] .. R[p+9]; what was st1 to st4 is lost", 0, ("SpongeNotInitialized",), 10, _PERMUTATION),
    Instruction("call", 49, "label", "_", "_", "jumps to the label, and remembers the address behind the call"),
    Instruction("mul", 50, None, "_ b a", "_ (a b)", "in the field", -1),
    Instruction("sponge_squeeze", 56, None, "_", "_ x9 .. x0", "pushes the sponge's first ten words, then permutes", 10, ("SpongeNotInitialized",), hash_rows=_PERMUTATION),
    Instruction("read_mem", 57, "count", "_ p", "_ R[p] .. R[p-n+1] (p-n)", "reads n words, downwards", 1, ram_rows=1),
    Instruction("eq", 58, None, "_ b a", "_ (a = b)", "1 if they are equal, else 0", -1),
    Instruction("invert", 64, None, "_ a", "_ 1/a", "in the field", 0, ("InverseOfZero",)),
    Instruction("addi", 65, "word", "_ a", "_ (a + argument)", "in the field"),
    Instruction("xx_add", 66, None, "_ y2 y1 y0 x2 x1 x0", "_ z2 z1 z0", "z = x + y in the extension field", -3),
    Instruction("x_invert", 72, None, "_ x2 x1 x0", "_ z2 z1 z0", "z = 1/x in the extension field", 0, ("InverseOfZero",)),
    Instruction("read_io", 73, "count", "_", "_ x1 .. xn", "takes n words of the public input", 1, ("EmptyPublicInput",)),
    Instruction("xx_mul", 74, None, "_ y2 y1 y0 x2 x1 x0", "_ z2 z1 z0", "z = x y in the extension field", -3),
    Instruction("xx_dot_step", 80, None, "_ a2 a1 a0 q p", "_ b2 b1 b0 (q+3) (p+3)", "b = a + X[p] X[q], X[p] = (R[p], R[p+1], R[p+2])", ram_rows=6),
    Instruction("xb_mul", 82, None, "_ x2 x1 x0 a", "_ z2 z1 z0", "z = a x, a scalar times an element of the extension field", -1),
    Instruction("xb_dot_step", 88, None, "_ a2 a1 a0 q p", "_ b2 b1 b0 (q+3) (p+1)", "b = a + R[p] X[q], X[q] = (R[q], R[q+1], R[q+2])", ram_rows=4),
)
# fmt: on

BY_NAME = {row.name: row for row in INSTRUCTIONS}
BY_OPCODE = {row.opcode: row for row in INSTRUCTIONS}
