"""ostinato show: the best per program."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import typer
from rich.text import Text

from ostinato.cli.common import (
    File,
    Json,
    code,
    make_table,
    number,
    out,
    percent,
    print_json,
    printable,
    read,
)
from ostinato.errors import UsageError
from ostinato.results import Results
from ostinato.store import Records
from ostinato.summary import Program, summarize


def show(
    file: File,
    program: Annotated[
        str | None,
        typer.Option(
            metavar="HEX", help="Only the program whose hash begins like this, and its best results."
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many to show.")] = 20,
    json: Json = False,
) -> None:
    """The best valid result of each program, the largest saving first: baseline, best, the instructions.

    With --program: the best N valid results of that program, one below the other.
    """
    results = read(file)
    programs = summarize(results).programs
    if program is not None:
        _one_program(results, _find(programs, program), top, json)
        return
    programs = sorted(programs, key=lambda p: (-(p.reduction or 0.0), p.tir_hash))[:top]
    if json:
        print_json([_as_dict(p, results) for p in programs])
        return
    table = make_table("program", "baseline", "best", "saved", "instructions", text=("program",))
    for p in programs:
        best = "" if p.best is None else code(results.generated_tasm[p.best])
        if p.best is not None and results.fallback_used[p.best]:
            best = f"(the compiler's own) {best}"
        cells = (p.tir_hash[:8], number(p.compiler_cycles), number(p.best_cycles), percent(p.reduction), best)
        table.add_row(*map(Text, cells))
    out.print(table)


def _as_dict(p: Program, results: Results) -> dict[str, object]:
    return {
        "tir_hash": p.tir_hash,
        "attempts": p.attempts,
        "compiler_cycles": p.compiler_cycles,
        "clock_cycles": p.best_cycles,
        "reduction": p.reduction,
        "generated_tasm": None if p.best is None else list(results.generated_tasm[p.best]),
    }


def _find(programs: list[Program], prefix: str) -> Program:
    if not programs:
        raise UsageError("there are no programs in this file", "--program")
    found = [p for p in programs if p.tir_hash.startswith(prefix.lower())]
    if len(found) == 1:
        return found[0]
    what = "no program begins" if not found else f"{len(found)} programs begin"
    known = [p.tir_hash[:8] for p in found or programs]
    more = ", ..." if len(known) > 5 else ""
    raise UsageError(f"{what} with {prefix!r}; there are {', '.join(known[:5])}{more}", "--program")


def _one_program(results: Results, p: Program, top: int, json: bool) -> None:
    same = (results.tir_hash == np.frombuffer(bytes.fromhex(p.tir_hash), np.uint8)).all(axis=1)
    chosen = np.flatnonzero(same & results.valid & results.measured)
    chosen = chosen[np.argsort(results.clock_cycles.data[chosen], kind="stable")][:top]
    if json:
        print_json([results[int(i)].to_dict() for i in chosen])
        return
    out.print(
        f"program {p.tir_hash}: {number(p.attempts)} attempts, baseline {number(p.compiler_cycles)} cycles"
    )
    ids = results.ids if isinstance(results, Records) else np.arange(len(results))
    for i in chosen.tolist():
        result = results[i]
        kind = "fallback" if result.fallback_used else f"model version {result.model_version}"
        out.print(f"\n{number(result.clock_cycles)} cycles, {kind}, record {int(ids[i])}")
        for line in result.generated_tasm:
            out.print(f"    {printable(line)}", markup=False, soft_wrap=True)
    if not len(chosen):
        out.print("no valid result")
