"""ostinato check: is a file, or a store, whole?"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from ostinato import archive
from ostinato.archive import layout
from ostinato.cli import EXIT_DAMAGED
from ostinato.cli.common import (
    File,
    Json,
    Wait,
    as_given,
    bar_of,
    busy,
    err,
    need_store,
    number,
    out,
    print_json,
    quiet,
    refuse_journal,
)
from ostinato.errors import DamageError, UsageError
from ostinato.files import read_file
from ostinato.store.check import Report
from ostinato.store.check import check as check_store
from ostinato.store.check import repair as repair_store
from ostinato.store.fs import REAL


def check(
    file: File,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="A store: put aside what is damaged, so that the rest goes on. Deletes nothing.",
        ),
    ] = False,
    wait: Wait = 10.0,
    json: Json = False,
) -> None:
    """Is FILE canonical (what a writer makes), merely accepted (readers take it, no writer makes it), or damaged?

    Of a store every byte is read. A tail that a killed writer left is no damage, and told. Exit code 3 when something is damaged.
    """
    if file.is_dir():
        need_store(file)
        _check_store(file, repair, wait, json)
    elif repair:
        raise UsageError("only stores can be repaired: take the last good copy of a file", "--repair")
    else:
        refuse_journal(file)
        _check_file(file, json)


# --- a store ------------------------------------------------------------------------------------------------


def _check_store(folder: Path, repair: bool, wait: float, json: bool) -> None:
    root = os.path.realpath(folder)
    with quiet():
        with bar_of("checking") as bar:
            report = check_store(REAL, root, bar)
        repaired = repair and not report.ok
        if repaired:
            with busy("repairing"):
                report = repair_store(REAL, root, wait_s=wait)
    advice = _advice(report, root)
    for name in ("problems", "aside"):
        setattr(report, name, [as_given(text, folder) for text in getattr(report, name)])
    if json:
        verdict = "whole" if report.ok else "damaged"
        data = {"file": str(folder), "verdict": verdict, "repaired": repaired, **report.to_dict()}
        print_json({**data, "repair_would": advice})
    else:
        _render(folder, report, repaired, advice)
    if not report.ok:
        raise typer.Exit(EXIT_DAMAGED)


def _render(folder: Path, report: Report, repaired: bool, advice: list[str]) -> None:
    def say(text: str) -> None:
        err.print(text, soft_wrap=True, markup=False)

    for problem in report.problems:
        say(f"damaged: {problem}")
    if repaired:
        for text in report.aside:
            say(f"put aside: {text}")
        lost = "no build results are known to be lost"
        say(f"{number(report.lost)} build results or frames were lost" if report.lost else lost)
        if report.lost_amendments:
            say(f"{number(report.lost_amendments)} corrections were in segments that were put aside")
    elif report.problems:
        say(f"`ostinato check --repair {folder}` would, deleting nothing:")
        for text in advice:
            say(f"    {text}")
    if report.torn:
        say(f"{number(report.torn)} torn tails, of writers that were killed; what they acknowledged is there")
    if report.ok:
        how = "whole again" if repaired else "whole"
        out.print(f"{folder}: {how}, {number(report.records)} build results", soft_wrap=True, markup=False)


# what stands where in a store, and what a repair does about it
_REMEDIES = (
    (
        re.compile(r"MANIFEST\b(?!\.copy)"),
        "put MANIFEST aside, and MANIFEST.copy in its place; if that is damaged too, nothing can be done here",
    ),
    (re.compile(r"MANIFEST\.copy"), "make MANIFEST.copy anew"),
    (
        re.compile(r"segments/(\d+)"),
        "write segment {0} anew with all records that can be read, and put the old one aside; if it cannot be opened at all, "
        "put it aside",
    ),
    (
        re.compile(r"journals/(\d+)"),
        "seal what can be read of journal {0} and put it aside, as soon as it has no writer",
    ),
    (re.compile(r"catalog\.sqlite"), "put the catalog aside, and all rows that are right into a new one"),
)


def _advice(report: Report, root: str) -> list[str]:
    """What a repair would do about these problems, each once."""
    out: dict[str, None] = {}
    for problem in report.problems:
        inside = problem.replace(f"{root}{os.sep}", "")
        for where, remedy in _REMEDIES:
            match = where.match(inside)
            if match:
                out[remedy.format(*match.groups())] = None
    return list(out)


# --- a file -------------------------------------------------------------------------------------------------


def _check_file(file: Path, json: bool) -> None:
    data = read_file(file, layout.READ_END)
    try:
        results = archive.loads(data)
        difference = archive.deviation(data)
    except DamageError as error:
        if json:
            where: dict[str, Any] = {"offset": error.offset, "record": error.record, "field": error.field}
            print_json({"file": str(file), "verdict": "damaged", "cause": error.cause, **where})
        else:
            err.print(f"{file}: damaged: {error}", soft_wrap=True, markup=False)
            err.print(
                "Trident refuses it too. Take the last good copy, or write the file again.", markup=False
            )
        raise typer.Exit(EXIT_DAMAGED) from None
    verdict = "canonical" if difference is None else "accepted"
    if json:
        offset = None if difference is None else difference.offset
        print_json(
            {
                "file": str(file),
                "verdict": verdict,
                "records": len(results),
                "size_bytes": len(data),
                "first_difference": offset,
                "canonical_size_bytes": len(data) if difference is None else difference.canonical_size,
            }
        )
        return
    if difference is None:
        out.print(f"{file}: canonical, {number(len(results))} build results", soft_wrap=True, markup=False)
        return
    out.print(
        f"{file}: accepted, {number(len(results))} build results, but not canonical: {difference}",
        soft_wrap=True,
        markup=False,
    )
    out.print(
        "Are build results missing? `ostinato convert` writes what is read in canonical form.", markup=False
    )
