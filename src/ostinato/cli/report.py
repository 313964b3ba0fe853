"""ostinato report: a run as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ostinato.cli.common import Json, as_given, busy, err, out, print_json, printable, quiet
from ostinato.cli.learn import Run, need_run
from ostinato.errors import OstinatoError, UsageError


def report(
    folder: Run,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where the page goes; else DIR/report.html.")] = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Write a run as one HTML page that needs no network: what was found, how, by which policy, and how sound the data is.

    Needs plotly: pip install "ostinato[report]". With --json: the numbers of the page, and no page.
    """
    from ostinato import report as reports

    need_run(folder)
    if json and output is not None:
        raise UsageError("--json writes no page", "--output")
    with quiet(), busy("reading"):
        found = reports.snapshot(folder)
    found.problems[:] = [as_given(problem, folder) for problem in found.problems]
    if json:
        print_json(found.as_dict())
        return
    path = folder / "report.html" if output is None else output
    reports.write(found, path)
    out.print(printable(str(path)), markup=False, soft_wrap=True)


def written(folder: Path) -> Path | None:
    """The page of a run that has just ended; None, and why on standard error, if there is none: a run does not fail of its report."""
    from ostinato import report as reports

    path = folder / "report.html"
    try:
        with quiet(), busy("writing the report"):
            reports.write(reports.snapshot(folder), path)
    except (OstinatoError, OSError) as error:
        err.print(printable(f"no report: {error}"), markup=False, soft_wrap=True)
        return None
    return path
