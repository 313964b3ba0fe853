"""The 54 operations of TIR, one row each: numbers, names, stack effects, and what an ordinary compiler makes of them.

Rule of this file: what is true of an operation is said here and nowhere else. The reader of texts, the checker, the canonical
bytes, the lowering and the page docs/tir.md take it from here; what an operation does is in `interpreter`.

Pictures: the right end is the top of the stack; `3*x` is three words, `n*x` as many as the argument n says. Names and numbers are
Trident's; where its table leaves something open (an order, a range), it is settled here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# word: any field element. count: 1 to 5. depth: 0 to 15. below: 1 to 15. assertion: 1 or 5. fields: 0 to 16. sealed: 0 to 9
Kind = Literal["word", "count", "depth", "below", "assertion", "fields", "sealed"]
RANGES: dict[Kind, Sequence[int]] = {
    "word": range(2**64 - 2**32 + 1),
    "count": range(1, 6),
    "depth": range(16),
    "below": range(1, 16),
    "assertion": (1, 5),
    "fields": range(17),
    "sealed": range(10),
}

Structure = Literal["none", "label", "text", "asm", "body", "branches", "function"]

_MANY = re.compile(r"(\d+|[niw])\*\w")


@dataclass(frozen=True, slots=True)
class Operation:
    """A row of the table.

    Attributes:
        number, name: Trident's number, and the name in texts. arguments: (letter, kind) of each.
        before, after: the stack before and after. meaning: in a few words, with what makes it fail.
        lowering: the TASM lines that the ordinary compiler writes, with the arguments' letters in braces; what is between
            brackets stands for a rule that `lowering` knows.
        structure: what else belongs to it: a label, a text, lines of TASM, one body, two, or a whole function.
    """

    number: int
    name: str
    arguments: tuple[tuple[str, Kind], ...]
    before: str
    after: str
    meaning: str
    lowering: tuple[str, ...]
    structure: Structure = "none"

    def effect(self, arguments: Sequence[int]) -> tuple[int, int]:
        """(words taken, words left) with these arguments."""
        if self.name == "assert" and arguments[0] == 1:
            return 1, 0
        named = {letter: value for (letter, _), value in zip(self.arguments, arguments, strict=True)}
        return _words(self.before, named), _words(self.after, named)


def _words(picture: str, named: dict[str, int]) -> int:
    count = 0
    for word in picture.split():
        many = _MANY.fullmatch(word)
        letter = many[1] if many else "1"
        count += named[letter] if letter in named else int(letter)
    return count


def _row(
    number: int, name: str, before: str, after: str, meaning: str, *lowering: str, structure: Structure = "none", **arguments: Kind
) -> Operation:  # fmt: skip
    return Operation(number, name, tuple(arguments.items()), before, after, meaning, lowering, structure)


_U32 = "both below 2**32"

# fmt: off
OPERATIONS: tuple[Operation, ...] = (
    _row(0, "call", "", "", "runs a subroutine, which takes and leaves what it declares", "call [label]", structure="label"),
    _row(1, "return", "", "", "ends the function; stands at its end alone", "[return]"),
    _row(2, "halt", "", "", "stops the machine; nothing stands behind it", "halt"),
    _row(3, "if", "c", "", "runs the first body if c is not 0, else the second; both change the depth alike",
         "push 1", "swap 1", "skiz", "call [then: pop 1, first body, push 0]", "skiz", "call [else: second body]", structure="branches"),
    _row(4, "if_only", "c", "", "runs the body, which keeps the depth, if c is not 0", "skiz", "call [body]", structure="body"),
    _row(5, "loop", "k", "0", "while the top is not 0: takes 1 from it and runs the body, which keeps the depth",
         "call [dup 0, push 0, eq, skiz, return, addi -1, body, recurse]", structure="body"),
    _row(6, "fn_start", "", "", "begins a function; in a text: `fn` or `sub`", "[label]", structure="function"),
    _row(7, "fn_end", "", "", "ends it; in a text: `end`", "[return]", structure="function"),
    _row(8, "entry", "", "", "runs a subroutine, then stops the machine", "call [label]", "halt", structure="label"),
    _row(9, "comment", "", "", "for people", structure="text"),
    _row(10, "asm", "", "", "instructions of the machine, without jumps; says how many words more or less they leave", "[lines]", structure="asm"),
    _row(11, "push", "", "a", "a constant", "push {a}", a="word"),
    _row(12, "pop", "n*x", "", "drops n words", "pop {n}", n="count"),
    _row(13, "dup", "x i*y", "x i*y x", "copies the word i below the top", "dup {i}", i="depth"),
    _row(14, "swap", "y i*x", "x i*y", "exchanges the top with the word i below it", "swap {i}", i="below"),
    _row(15, "add", "a b", "a+b", "in the field", "add"),
    _row(16, "sub", "a b", "a-b", "in the field", "push -1", "mul", "add"),
    _row(17, "mul", "a b", "a*b", "in the field", "mul"),
    _row(18, "neg", "a", "-a", "in the field", "push -1", "mul"),
    _row(19, "invert", "a", "1/a", "in the field; fails for 0", "invert"),
    _row(20, "eq", "a b", "a=b", "1 if they are equal, else 0", "eq"),
    _row(21, "lt", "a b", "a<b", f"1 if a is below b, else 0; {_U32}", "swap 1", "lt"),
    _row(22, "and", "a b", "a&b", f"bitwise; {_U32}", "and"),
    _row(23, "or", "a b", "a|b", f"bitwise; {_U32}", "dup 1", "dup 1", "and", "push -1", "mul", "add", "add"),
    _row(24, "xor", "a b", "a^b", f"bitwise; {_U32}", "xor"),
    _row(25, "pop_count", "a", "bits", "the bits set in a, which is below 2**32", "pop_count"),
    _row(26, "split", "a", "hi lo", "a = 2**32 hi + lo, each below 2**32", "split"),
    _row(27, "div_mod", "n d", "q r", f"n = q d + r with r < d; {_U32}; fails for d = 0", "swap 1", "div_mod"),
    _row(28, "shl", "x n", "x<<n", "x times 2 to the n in the field, if that is below 2**32, else fails; n is below 2**32",
         "push 2", "pow", "mul", "dup 0", "split", "pop 1", "push 0", "eq", "assert"),
    _row(29, "shr", "x n", "x>>n", "x divided by 2 to the n in the field, without the remainder; both are below 2**32, and n",
         "push 2", "pow", "swap 1", "div_mod", "pop 1"),
    _row(30, "log2", "a", "log2(a)", "rounded down; a is below 2**32; fails for 0", "log_2_floor"),
    _row(31, "pow", "b e", "b**e", "in the field; e is below 2**32; 0**0 is 1", "swap 1", "pow"),
    _row(32, "read_io", "", "n*x", "takes n words of the public input; fails if there are fewer", "read_io {n}", n="count"),
    _row(33, "write_io", "n*x", "", "writes n words to the public output, the top first", "write_io {n}", n="count"),
    _row(34, "read_mem", "p", "n*x p-n", "R[p], then R[p-1], .., R[p-n+1], the last nearest to the top", "read_mem {n}", n="count"),
    _row(35, "write_mem", "n*x p", "p+n", "the word nearest to p becomes R[p], the next R[p+1], ..", "write_mem {n}", n="count"),
    _row(36, "assert", "5*y 5*x", "5*y", "n = 1: takes one word, which must be 1; n = 5: five words must equal the next five",
         "[n = 1: assert; n = 5: assert_vector]", n="assertion"),
    _row(37, "hash", "10*x", "5*d", "Tip5 of ten words, the top first", "hash"),
    _row(38, "reveal", "n*x", "", "writes the tag and n words to the public output, the top first", "push {t}", "write_io 1", "[n times: write_io 1]", t="word", n="fields"),
    _row(39, "seal", "n*x", "", "writes the digest of the tag, 9 - n zeros and n words to the public output", "[9 - n times: push 0]", "push {t}", "hash", "write_io 5", t="word", n="sealed"),
    _row(40, "ram_read", "p", "w*x", "as read_mem, without the address behind", "read_mem {w}", "pop 1", w="count"),
    _row(41, "ram_write", "p w*x", "", "the top becomes R[p], the next R[p+1], ..", "pick {w}", "write_mem {w}", "pop 1", w="count"),
    _row(42, "hint", "", "n*x", "takes n words of the secret input; fails if there are fewer", "divine {n}", n="count"),
    _row(43, "sponge_init", "", "", "makes the sponge sixteen zeros", "sponge_init"),
    _row(44, "sponge_absorb", "10*x", "", "absorbs ten words, the top first; fails without a sponge", "sponge_absorb"),
    _row(45, "sponge_squeeze", "", "10*x", "ten words of the sponge; fails without one", "sponge_squeeze"),
    _row(46, "sponge_load", "4*y p", "4*x p+10", "absorbs R[p] .. R[p+9]; the four words below p become R[p+3] .. R[p]; fails without a sponge", "sponge_absorb_mem"),
    _row(47, "merkle_step", "i 5*d", "i/2 5*e", "one level up, with the next secret digest; fails if there is none, or i is not below 2**32", "merkle_step"),
    _row(48, "merkle_load", "p x i 5*d", "p+5 x i/2 5*e", "the same with the digest R[p] .. R[p+4]", "merkle_step_mem"),
    _row(49, "ext_mul", "3*y 3*x", "3*z", "the product in the extension field", "xx_mul"),
    _row(50, "ext_invert", "3*x", "3*z", "1/x in the extension field; fails for 0", "x_invert"),
    _row(51, "fold_ext", "3*a q p", "3*b q+3 p+3", "b = a + X[p] X[q], where X[p] is R[p] .. R[p+2]", "xx_dot_step"),
    _row(52, "fold_base", "3*a q p", "3*b q+3 p+1", "b = a + R[p] X[q]", "xb_dot_step"),
    _row(53, "proof_block", "", "", "its body, marked with a hash of 32 bytes", "[body]", structure="body"),
)
# fmt: on

BY_NAME = {row.name: row for row in OPERATIONS}
