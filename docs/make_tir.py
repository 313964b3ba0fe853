"""Writes docs/tir.md from the table of operations and the corpus: `python docs/make_tir.py`. A test says when it is due."""

from __future__ import annotations

from pathlib import Path

from ostinato.tir import FAMILIES, HELD_OUT, OPERATIONS, Operation, family
from ostinato.tir.operations import RANGES

PAGE = Path(__file__).parent / "tir.md"

HEAD = '''# TIR: what is asked of a compiler

<!-- made by make_tir.py from ostinato.tir.OPERATIONS and the corpus; change those -->

TIR is the stack language from which Trident's compiler makes code for Triton VM. Here a TIR program is what one asks a compiler, learned or
ordinary, to make code for: its **interpreter** says what is right, its **lowering** is the baseline to beat, its **content hash** is the
`tir_hash` of build results.

```pycon
>>> from ostinato import tir, judge
>>> program = tir.parse("""
... fn distance(a: field, b: field) -> (d: field)
...     // The square of the difference.
...     dup 1
...     dup 1
...     sub
...     dup 2
...     dup 2
...     sub
...     mul
...     swap 2
...     pop 2
... end
... """)
>>> tir.interpret(program, stack=[7, 4]).stack
(9,)
>>> tir.lower(program)[:5]
('dup 1', 'dup 1', 'push -1', 'mul', 'add')
>>> tir.cid(program).hex()[:16]
'DIGEST'
>>> print(judge.judge(judge.of_tir(program), ["push -1 mul add dup 0 mul"])[0])
valid, 5 cycles

```

## The text

A text holds functions, one operation a line. Arguments are on the stack, the last on top; a function takes exactly its arguments and
leaves exactly its results. The first comment says what it is for. Types are those of the [judge](judge.md): field, u32, bool, address,
positive, any.

```text
fn scaled(x: field, times: u32) -> (y: field)
    // x doubled, as often as the lowest two bits of `times` say.
    push 3
    and
    loop again          // the counter is on top, and is counted down
        swap 1
        call twice
        swap 1
    end
    pop 1
end

sub twice 1 -> 1        // belongs to the function above; takes one word and leaves one
    push 2
    mul
end
```

`if .. else .. end` and `if_only .. end` take a condition; `loop .. end` runs its body until the counter on top is 0; `asm +1 .. end` holds
instructions of the machine and says how many words more they leave; `proof_block HASH .. end` runs its body. What is wrong is refused with its line:

```pycon
>>> tir.parse("fn f(a: field) -> (b: field)\\n    add\\nend")
Traceback (most recent call last):
ostinato.errors.UsageError: `add` takes 2 words, there are 1 - at `f, line 2`

```

In Python, `tir.Builder` makes programs; `str(program)` is their text, `tir.to_bytes` their canonical bytes
([FORMAT.md](../FORMAT.md), "TIR programs").

On the command line a text is judged as it is: `ostinato judge distance.tir candidate.tasm`.

## The operations

The right end is the top of the stack; `3*x` is three words, `n*x` as many as n says. Numbers are Trident's. Extension elements, digests and
what is hashed have their word 0 on top; R[p] is a word of RAM. n and w are 1 to 5, i is a place in the stack, t any word.

| | operation | before | after | what it does | lowered to |
|---|---|---|---|---|---|
'''


def page() -> str:
    """The page as it should be."""
    from ostinato import tir

    example = "fn f(a: field, b: field) -> (d: field)\ndup 1\ndup 1\nsub\ndup 2\ndup 2\nsub\nmul\nswap 2\npop 2\nend"
    head = HEAD.replace("DIGEST", tir.cid(tir.parse(example)).hex()[:16])
    return head + "\n".join(line(row) for row in OPERATIONS) + "\n" + corpus()


def line(row: Operation) -> str:
    """A row of the table."""
    letters = " ".join(letter for letter, _ in row.arguments)
    lowered = "; ".join(row.lowering) or ("its lines" if row.name == "asm" else "nothing")
    assert all(kind in RANGES for _, kind in row.arguments)
    cells = (
        str(row.number), f"`{row.name}{' ' + letters if letters else ''}`", f"`{row.before}`" if row.before else "",
        f"`{row.after}`" if row.after else "", row.meaning, f"`{lowered}`" if row.lowering else lowered,
    )  # fmt: skip
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def corpus() -> str:
    """The families and their functions."""
    total = sum(len(family(name)) for name in FAMILIES)
    rows = [
        f"| {name}{' (held out)' if name in HELD_OUT else ''} | {', '.join(program.name for program in family(name))} |"
        for name in FAMILIES
    ]
    return (
        f"""
## The corpus

{total} functions in {len(FAMILIES)} families come with the package, as an ordinary compiler emits them, each compared with a reference in plain Python by the
tests. Families are split once into those to learn from and those held out (`tir.TRAINING`, `tir.HELD_OUT`), so that figures about unseen
programs mean the same everywhere. `ostinato programs NAME` shows one.

| family | functions |
|---|---|
"""
        + "\n".join(rows)
        + "\n"
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
