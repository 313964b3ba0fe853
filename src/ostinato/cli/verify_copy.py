"""ostinato verify-copy: is a folder a whole copy of a store?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ostinato.cli import EXIT_DAMAGED, EXIT_FAILED
from ostinato.cli.common import (
    Folder,
    Json,
    as_given,
    bar_of,
    err,
    need_store,
    number,
    out,
    print_json,
    quiet,
)
from ostinato.store import Cursor
from ostinato.store.copies import CopyReport
from ostinato.store.copies import verify_copy as compare
from ostinato.store.fs import REAL

_SHOWN = 10  # stretches of ids that are named one by one


def verify_copy(
    folder: Folder,
    copy: Annotated[Path, typer.Argument(metavar="COPY", help="The folder that should be a copy of it.")],
    until: Annotated[
        str | None,
        typer.Option(
            metavar="CURSOR",
            help="All that this cursor has seen must be in COPY, and nothing else (`tail -n 0` gives one before you copy).",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Is every build result of STORE in COPY, under the same id and with the same content? And is COPY whole, as `check` sees it?

    STORE may be in use: what its living writers have appended after COPY was made is counted as newer, and no fault; all else that is
    missing is named. Exit codes: 0 a whole copy, 1 something is missing or different, 3 damaged.
    """
    cursor = None if until is None else Cursor.from_json(until)
    need_store(folder)
    need_store(copy)
    with quiet(), bar_of("comparing") as bar:
        report = compare(REAL, os.path.realpath(folder), os.path.realpath(copy), until=cursor, progress=bar)
    for name in ("problems", "store_problems"):
        setattr(report, name, [_named(p, folder, copy) for p in getattr(report, name)])
    report.copy.problems = [_named(p, folder, copy) for p in report.copy.problems]
    if json:
        print_json(
            {"store": str(folder), "copy_path": str(copy), "verdict": _verdict(report), **report.to_dict()}
        )
    else:
        _render(folder, copy, report)
    if report.damaged:
        raise typer.Exit(EXIT_DAMAGED)
    if report.lacking:
        raise typer.Exit(EXIT_FAILED)


def _verdict(report: CopyReport) -> str:
    return "damaged" if report.damaged else "incomplete" if report.lacking else "whole"


def _named(problem: str, folder: Path, copy: Path) -> str:
    return as_given(as_given(problem, copy), folder)


def _render(folder: Path, copy: Path, report: CopyReport) -> None:
    def say(text: str) -> None:
        out.print(text, soft_wrap=True, markup=False)

    verdict = {
        "whole": f"a whole copy of {folder}",
        "incomplete": f"not a whole copy of {folder}",
        "damaged": f"cannot be said to be a whole copy of {folder}: damaged",
    }[_verdict(report)]
    say(f"{copy}: {verdict}; {number(report.same)} of {number(report.records)} build results are the same")
    for what, ranges in (("missing", report.missing), ("different", report.different)):
        if ranges:
            total = sum(last - first + 1 for first, last in ranges)
            say(f"{what}: {number(total)} build results")
            for first, last in ranges[:_SHOWN]:
                ids = f"{first}" if first == last else f"{first} to {last}"
                say(f"    ids {ids} (journal {first >> 24:06d})")
            if len(ranges) > _SHOWN:
                say(f"    and {number(len(ranges) - _SHOWN)} more stretches; --json names them all")
    for problem in report.problems:
        say(f"{copy}: {problem}")
    for problem in report.copy.problems:
        say(f"damaged: {problem}")
    for problem in report.store_problems:
        say(f"damaged in the store itself: {problem}")
    if report.unreadable:
        say(f"{number(report.unreadable)} build results of {folder} itself cannot be read, nor compared")
    if report.newer:
        err.print(
            f"{number(report.newer)} build results of {folder} are newer than the copy",
            soft_wrap=True,
            markup=False,
        )
    if report.copy.torn:
        err.print(
            f"{copy}: {number(report.copy.torn)} journals have torn tails", soft_wrap=True, markup=False
        )
