"""ostinato reverify: stored verdicts, judged again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ostinato.cli.common import (
    File,
    Json,
    bar_of,
    code,
    err,
    make_table,
    number,
    open_store,
    out,
    print_json,
    printable,
    read,
)
from ostinato.cli.programs import ProgramsFile, functions_of
from ostinato.errors import OstinatoError, UsageError
from ostinato.store import Records

if TYPE_CHECKING:
    from ostinato.judge import Finding, Function

_KINDS = ("wrongly valid", "wrongly invalid", "mispriced")


def reverify(
    file: File,
    programs: ProgramsFile = None,
    own_tests: Annotated[
        bool,
        typer.Option(
            "--own-tests",
            help="Only with the tests of the programs file, as whoever made the results had them.",
        ),
    ] = False,
    amend: Annotated[
        bool, typer.Option("--amend", help="Write the corrected verdicts into the store.")
    ] = False,
    top: Annotated[int, typer.Option(min=1, help="How many findings to show.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of the test inputs.")] = 0,
    json: Json = False,
) -> None:
    """Run every stored result of a known program again, and say which were wrongly called valid or invalid, or mispriced.

    Each finding comes with an input that shows it. Exit code 1 if there are any, and they were not amended.
    """
    from ostinato import judge

    if amend and not file.is_dir():
        raise UsageError("an archive never changes: --amend is for stores", "--amend")
    results = read(file)
    functions = functions_of(programs)
    if file.is_dir():
        functions += _stored(file, {function.tir_hash for function in functions})
    with bar_of("judging") as on_progress:
        report = judge.reverify(results, functions, seed=seed, strict=not own_tests, on_progress=on_progress)
    ids = results.ids.tolist() if isinstance(results, Records) else list(range(len(results)))
    if amend and report.findings:
        with open_store(file) as store:
            fixes = [(ids[finding.record], finding.corrected) for finding in report.findings]
            store.amend_many(fixes, reason="reverify")
    counts = {kind.replace(" ", "_"): report.count(kind) for kind in _KINDS}  # type: ignore[arg-type]
    if json:
        print_json(
            {
                "checked": report.checked, "unknown": report.unknown, "programs": report.programs, **counts,
                "amended": len(report.findings) if amend else 0,
                "findings": [_as_dict(finding, ids[finding.record]) for finding in report.findings],
            }
        )  # fmt: skip
    else:
        words = ", ".join(f"{number(report.count(kind))} {kind}" for kind in _KINDS)  # type: ignore[arg-type]
        out.print(
            f"{number(report.checked)} build results of {number(report.programs)} programs judged again: {words}"
        )
        if report.unknown:
            err.print(
                f"{number(report.unknown)} build results are of programs that are not known here",
                soft_wrap=True,
            )
        if report.findings:
            _table(report.findings[:top], ids)
        if amend:
            err.print(
                f"{number(len(report.findings))} corrections written to {file}", soft_wrap=True, markup=False
            )
    if report.findings and not amend:
        raise typer.Exit(1)


def _stored(path: Path, known: set[bytes]) -> list[Function]:
    """Functions whose TIR the store keeps, with the baseline that it keeps, if any; words about those that cannot be read."""
    from ostinato import tir
    from ostinato.judge import of_tir

    found = []
    with open_store(path) as store:
        for program in store.programs:
            if program.tir is None or program.tir_hash in known:
                continue
            try:
                read_back = tir.from_bytes(program.tir, program.name or "program")
            except OstinatoError as error:
                err.print(f"the TIR of {program.tir_hash.hex()} is not read: {printable(str(error))}", markup=False, soft_wrap=True)  # fmt: skip
                continue
            function = of_tir(read_back)
            if function.tir_hash != program.tir_hash:
                err.print(f"the TIR of {program.tir_hash.hex()} has another hash", soft_wrap=True)
                continue
            found.append(
                function if program.baseline is None else replace(function, baseline=program.baseline)
            )
    return found


def _as_dict(finding: Finding, identity: int) -> dict[str, object]:
    from ostinato.judge.functions import input_dict

    verdict = finding.verdict
    return {
        "id": identity,
        "program": finding.program,
        "what": finding.what,
        "stored_valid": finding.stored.valid,
        "stored_cycles": finding.stored.clock_cycles,
        "valid": verdict.valid,
        "clock_cycles": verdict.clock_cycles,
        "compiler_cycles": finding.compiler_cycles,
        "reason": verdict.reason.name.lower(),
        "error": verdict.error,
        "generated_tasm": list(finding.stored.generated_tasm),
        "input": None if verdict.given is None else input_dict(verdict.given),
    }


def _table(findings: tuple[Finding, ...], ids: list[int]) -> None:
    table = make_table(
        "record",
        "program",
        "what",
        "stored",
        "judged",
        "shown by",
        "instructions",
        text=("program", "what", "judged", "shown by"),
    )
    for finding in findings:
        stored = number(finding.stored.clock_cycles)
        given = finding.verdict.given
        arguments = "" if given is None else " ".join(_short(word) for word in given.arguments)
        cells = (
            number(ids[finding.record]), finding.program, finding.what, stored, str(finding.verdict), arguments,
            code(finding.stored.generated_tasm),
        )  # fmt: skip
        table.add_row(*(Text(printable(cell)) for cell in cells))
    out.print(table)


def _short(word: int) -> str:
    text = str(word)
    return text if len(text) <= 7 else f"{text[:3]}…{text[-2:]}"
