"""ostinato programs: what there is to be compiled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ostinato.cli.common import Json, make_table, number, out, print_json, printable
from ostinato.errors import UsageError

if TYPE_CHECKING:
    from ostinato.judge import Function

ProgramsFile = Annotated[
    Path | None,
    typer.Option(
        "--programs",
        metavar="FILE.json",
        exists=True,
        readable=True,
        help="A programs file; else the 32 programs of the real build results.",
    ),
]


def programs(
    name: Annotated[
        str | None, typer.Argument(help="One of them, with what the compiler makes of it.")
    ] = None,
    file: ProgramsFile = None,
    json: Json = False,
) -> None:
    """The programs that the judge knows: arguments, what the compiler's code costs, what they are for.

    With NAME: that one's code.
    """
    known = functions_of(file)
    if name is not None:
        _one(known, name, json)
        return
    rows = [_row(function) for function in known]
    if json:
        print_json(rows)
        return
    table = make_table(
        "name", "arguments", "instructions", "description", text=("name", "arguments", "description")
    )
    for function in known:
        cells = (
            function.name,
            " ".join(function.types),
            number(len(function.baseline)),
            function.description,
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))
    out.print(table)


def functions_of(file: Path | None) -> list[Function]:
    """The functions of a programs file, or of the one that comes along.

    Raises:
        DamageError: it is no programs file.
    """
    from ostinato import data, judge

    return judge.load_programs(data.programs_path() if file is None else file)


def _row(function: Function) -> dict[str, object]:
    return {
        "name": function.name,
        "types": list(function.types),
        "results": function.results,
        "tir_hash": function.tir_hash.hex(),
        "description": function.description,
        "baseline": list(function.baseline),
    }


def find(known: list[Function], name: str, field: str) -> Function:
    """The function of this name.

    Raises:
        UsageError: there is none; names some that are like it.
    """
    for function in known:
        if function.name == name:
            return function
    near = [function.name for function in known if name.lower() in function.name.lower()]
    hint = f"there are {', '.join(near[:5])}" if near else "`ostinato programs` lists them"
    raise UsageError(f"no program {name!r}; {hint}", field)


def _one(known: list[Function], name: str, json: bool) -> None:
    from ostinato.judge import Judge

    found = find(known, name, "NAME")
    cycles = Judge(found).baseline_cycles
    if json:
        print_json(_row(found) | {"compiler_cycles": cycles})
        return
    out.print(printable(found.description), markup=False, soft_wrap=True)
    out.print(f"tir_hash {found.tir_hash.hex()}, {number(cycles)} cycles as the compiler writes it\n")
    for line in found.baseline:
        out.print(f"    {printable(line)}", markup=False, soft_wrap=True)
