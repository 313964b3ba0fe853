"""ostinato programs: what there is to be compiled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ostinato.cli.common import Json, make_table, number, out, print_json, printable, read_text
from ostinato.errors import UsageError

if TYPE_CHECKING:
    from ostinato.judge import Function

ProgramsFile = Annotated[
    Path | None,
    typer.Option(
        "--programs",
        metavar="FILE",
        exists=True,
        readable=True,
        help="A programs file (.json) or a TIR text (.tir); else the 32 programs of the real build results and the corpus.",
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
    """The functions of a programs file or a TIR text, or those that come along.

    Raises:
        DamageError: it is no programs file. UsageError: it is no TIR.
    """
    from ostinato import data, judge, tir

    if file is not None and file.suffix == ".tir":
        return [judge.of_tir(program) for program in tir.parse_many(read_text(file))]
    if file is not None:
        return judge.load_programs(file)
    known = judge.load_programs(data.programs_path())
    return [*known, *(judge.of_tir(program) for program in tir.corpus().values())]


def function_of(program: str, file: Path | None, field: str) -> Function:
    """The function of this name; or, where it is the path of a TIR text, the one in it.

    Raises:
        UsageError: there is none of this name, or the text holds several.
    """
    path = Path(program)
    if file is not None or path.suffix != ".tir":
        return find(functions_of(file), program, field)
    found = functions_of(path)
    if len(found) != 1:
        names = ", ".join(function.name for function in found[:8])
        raise UsageError(f"expected one function in {path}, got {len(found)}: name one of {names} and give the file with --programs", field)  # fmt: skip
    return found[0]


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
