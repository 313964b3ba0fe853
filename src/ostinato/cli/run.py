"""ostinato run: a program on the Triton VM."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ostinato.cli.common import Json, err, number, out, print_json, printable, read_text
from ostinato.errors import UsageError
from ostinato.goldilocks import P

if TYPE_CHECKING:
    from ostinato.triton import Outcome, Program

_SHOWN = 16  # words of the stack that a trace shows


def run(
    file: Annotated[str, typer.Argument(metavar="FILE.tasm", help="A program; - for standard input.")],
    public: Annotated[str, typer.Option(help="Public input: words, with commas between.")] = "",
    secret: Annotated[str, typer.Option(help="Secret input, for `divine`.")] = "",
    digests: Annotated[str, typer.Option(help="Secret digests, five words each.")] = "",
    stack: Annotated[str, typer.Option(help="Words put on the stack before, the last on top.")] = "",
    ram: Annotated[str, typer.Option(help="RAM: address=word, with commas between.")] = "",
    max_cycles: Annotated[int, typer.Option(min=0, help="Stop after so many cycles.")] = 10_000_000,
    trace: Annotated[
        bool, typer.Option("--trace", help="Show each instruction and the stack before it.")
    ] = False,
    json: Json = False,
) -> None:
    """Run a program on the Triton VM: its output, what it leaves, its cycles and the heights of the nine tables.

    Exit code 1 if the machine stops with an error.
    """
    from ostinato import triton

    text = sys.stdin.read() if file == "-" else read_text(Path(file))
    program = triton.parse(text)
    given = _words(digests, "--digests")
    if len(given) % 5:
        raise UsageError(f"expected five words for each digest, got {len(given)}", "--digests")
    inputs: dict[str, Any] = {
        "public": _words(public, "--public"),
        "secret": _words(secret, "--secret"),
        "digests": [given[i : i + 5] for i in range(0, len(given), 5)],
        "stack": _words(stack, "--stack"),
        "ram": _ram(ram),
    }
    if trace:
        outcome = _trace(program, inputs, max_cycles, json)
    else:
        outcome = triton.run(program, **inputs, max_cycles=max_cycles)
    if json:
        print_json(outcome.to_dict())
    else:
        _say(outcome)
    if not outcome.ok:
        raise typer.Exit(1)


def _words(text: str, name: str) -> list[int]:
    parts = [part for part in re.split(r"[\s,]+", text.strip()) if part]
    return [_word(part, name) for part in parts]


def _word(text: str, name: str) -> int:
    if not re.fullmatch(r"-?(\d{1,20}|0[xX][0-9a-fA-F]{1,16})", text):
        raise UsageError(f"expected a word, got {text!r:.40}", name)
    value = int(text, 0) if "x" in text.lower() else int(text)
    if not -P < value < P:
        raise UsageError(f"expected a word between -p and p, got {text}", name)
    return value % P


def _ram(text: str) -> dict[int, int]:
    words = {}
    for part in filter(None, re.split(r"[\s,]+", text.strip())):
        address, sign, word = part.partition("=")
        if not sign:
            raise UsageError(f"expected address=word, got {part!r:.40}", "--ram")
        words[_word(address, "--ram")] = _word(word, "--ram")
    return words


def _trace(program: Program, inputs: dict[str, Any], max_cycles: int, json: bool) -> Outcome:
    from ostinato import triton

    for step in triton.trace(program, **inputs, max_cycles=max_cycles):
        if step.outcome is not None:
            return step.outcome
        if json:
            print_json(
                {
                    "cycle": step.cycle,
                    "ip": step.ip,
                    "instruction": step.instruction,
                    "stack": list(step.stack),
                }
            )
            continue
        words = " ".join(map(str, reversed(step.stack[:_SHOWN])))
        more = "… " if len(step.stack) > _SHOWN else ""
        out.print(
            f"{step.cycle:>6} {step.ip:>5}  {step.instruction:<22} {more}{words}",
            soft_wrap=True,
            markup=False,
        )
    raise AssertionError("a trace ends with an outcome")


def _say(outcome: Outcome) -> None:
    if outcome.output:
        out.print("output  " + " ".join(map(str, outcome.output)), soft_wrap=True)
    out.print(
        "stack   " + " ".join(map(str, outcome.final_stack[:_SHOWN])) + "   (top first)", soft_wrap=True
    )
    if outcome.ram:
        shown = list(outcome.ram.items())[:_SHOWN]
        more = " …" if len(outcome.ram) > _SHOWN else ""
        out.print(
            "ram     " + " ".join(f"{address}={word}" for address, word in shown) + more, soft_wrap=True
        )
    heights = outcome.heights
    if heights is not None:
        out.print(f"cycles  {number(outcome.cycles)}")
        out.print(
            "tables  " + ", ".join(f"{name} {number(rows)}" for name, rows in heights.items()), soft_wrap=True
        )
        out.print(f"padded  {number(outcome.padded_height)} ({outcome.dominant_table} is the tallest)")
    else:
        err.print(
            printable(
                f"{outcome.error} at word {outcome.ip}, after {number(outcome.cycles)} cycles: {outcome.error_message}"
            ),
            markup=False,
            soft_wrap=True,
        )
