"""Writes docs/instructions.md from the table of instructions: `python docs/make_instructions.py`. A test says when it is due."""

from __future__ import annotations

from pathlib import Path

from ostinato.triton import INSTRUCTIONS, Instruction

PAGE = Path(__file__).parent / "instructions.md"

GROUPS = {
    "The stack": "push pop divine dup swap pick place",
    "Where to go on": "halt nop skiz call return recurse recurse_or_return assert assert_vector",
    "The field": "add addi mul invert eq",
    "The extension field": "xx_add xx_mul x_invert xb_mul xx_dot_step xb_dot_step",
    "Words below 2**32": "split lt and xor log_2_floor pow div_mod pop_count",
    "Memory and input": "read_mem write_mem read_io write_io",
    "Hashing": "hash merkle_step merkle_step_mem sponge_init sponge_absorb sponge_absorb_mem sponge_squeeze",
}

HEAD = """# The instructions of Triton VM 2.0

<!-- made by make_instructions.py from ostinato.triton.INSTRUCTIONS; change that -->

Words are elements of the field with p = 2**64 - 2**32 + 1 elements. In the pictures the right end is the top of the stack
(st0), `_` is whatever lies below, R[p] is a word of RAM, which is 0 where nothing was written. Digests (five words) and
elements of the extension field (three, modulo x**3 - x + 1) have their word 0 on top. The stack never holds fewer than
sixteen words: an instruction that would leave fewer fails with `OpStackError.TooShallow`, before anything else is
looked at; at the start there are eleven zeros above the program's digest. **Each instruction takes one cycle**; an instruction
that fails has changed nothing and takes none.

`n` is an argument from 1 to 5, `i` one from 0 to 15. Instructions with an argument take two words of the program, others one.
Rows: how many an instruction adds to the RAM table (R), the hash table (H) and which entries to the U32 table (U).
"""

TAIL = """
## The text

Instructions, labels (`name:`) and arguments with white space between; `// to the end of the line` (never empty) and
`/* anywhere */` are comments. Labels begin with a letter or `_` and go on with letters, digits, `_` and `-`; each is defined
once and is no instruction. `push` and `addi` take integers between -p and p. `break`, `hint name: Type = stack[0..3]` and
`error_id 42` behind an assertion change nothing but what people see. `ostinato.triton.parse` refuses everything else
and says where:

```pycon
>>> from ostinato.triton import parse, run
>>> parse("push 1 pick 16")
Traceback (most recent call last):
ostinato.triton.parsing.ParseError: line 1, column 13: expected a register, 0 to 15, got `16`
>>> run("push 2 push 3 add write_io 1 halt")
Outcome(ok, 5 cycles, output=[5])

```

## What a proof costs

A run fills nine tables. A proof's cost follows the **padded height**: the tallest table's height, rounded up to a power of two.

| table | rows |
|---|---|
| program | the program's words + 1, rounded up to a multiple of 10 |
| processor, jump_stack | one a cycle |
| op_stack | for each instruction, by how many words the stack grew or shrank |
| ram | one for each word read or written |
| hash | 6 for each ten words of the program, and those in the tables above |
| cascade | one for each different 16-bit piece that Tip5 looks up, the program's own hash included |
| lookup | 256 |
| u32 | for each different entry 1 + the bits of the larger operand (for `pow`, of the exponent) |

So a short run's cost is set by how long the program is, not by how long it runs: some 30 words of code look up more than 256
pieces, and double the padded height.

```pycon
>>> outcome = run("push 5 push 3 " + "nop " * 40 + "halt")
>>> outcome.cycles, outcome.padded_height, outcome.dominant_table
(43, 512, 'Cascade')

```
"""


def page() -> str:
    """The page as it should be."""
    rows = {row.name: row for row in INSTRUCTIONS}
    parts = [HEAD]
    for title, names in GROUPS.items():
        lines = [
            f"\n## {title}\n",
            "| instruction | opcode | before | after | what it does | fails with | rows |",
        ]
        lines += ["|---|---|---|---|---|---|---|", *(line(rows.pop(name)) for name in names.split())]
        parts.append("\n".join(lines) + "\n")
    assert not rows, rows
    return "".join([*parts, TAIL])


def line(row: Instruction) -> str:
    """A row of a table."""
    argument = {None: "", "word": " a", "count": " n", "register": " i", "label": " label"}[row.argument]
    rows = [f"R {row.ram_rows}" + (" n" if row.argument == "count" else "")] if row.ram_rows else []
    rows += [f"H {row.hash_rows}"] if row.hash_rows else []
    rows += [f"U {', '.join(row.u32)}"] if row.u32 else []
    cells = (
        f"`{row.name}{argument}`", str(row.opcode), f"`{row.before}`", f"`{row.after}`", row.meaning,
        ", ".join(f"`{error}`" for error in row.errors), "; ".join(rows),
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
