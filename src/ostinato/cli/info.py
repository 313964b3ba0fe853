"""ostinato info: what is in a file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table
from rich.text import Text

from ostinato import archive
from ostinato.cli.common import File, Json, number, out, percent, plot_lines, print_json
from ostinato.summary import Summary, summarize


def info(file: File, json: Json = False) -> None:
    """What is in FILE: counts, validity, fallback, improvement, cycle reduction, versions, programs."""
    summary = summarize(archive.read(file))
    size = file.stat().st_size
    if json:
        print_json({"file": str(file), "size_bytes": size, **summary.to_dict()})
        return
    render(file, size, summary)


def render(file: Path, size: int, summary: Summary) -> None:
    """The same numbers for a person."""
    total = summary.total
    table = Table.grid(padding=(0, 2))
    best = [p for p in summary.programs if p.best_cycles is not None]
    before = sum(p.compiler_cycles for p in best)
    after = sum(min(p.best_cycles or 0, p.compiler_cycles) for p in best)
    versions = list(summary.versions)
    rows = [
        ("file", f"{file} ({number(size)} bytes)"),
        ("build results", f"{number(total.records)} with {number(summary.instructions)} instructions"),
        (
            "valid",
            f"{number(total.valid)} of {number(total.candidates)} candidates, {percent(total.validity)}",
        ),
        ("improved", f"{number(total.improved)}, {percent(total.improvement)} of the valid"),
        ("fallback", f"{number(total.fallbacks)}, {percent(total.fallback_rate)} of all"),
        ("median reduction", f"{percent(total.median_reduction)} of the baseline's cycles, of the valid"),
        (
            "programs",
            f"{number(len(summary.programs))}; cycles of all together {number(before)} -> {number(after)}",
        ),
        ("model versions", f"{len(versions)}, {versions[0]} to {versions[-1]}" if versions else "-"),
        ("time", f"{_time(summary.oldest)} to {_time(summary.newest)}"),
    ]
    for name, value in rows:
        table.add_row(Text(name, style="dim"), Text(value))
    out.print(table)
    chart = plot_versions(summary)
    if chart:
        out.print(Text.from_ansi(chart))


def plot_versions(summary: Summary) -> str:
    """Validity and improvement over model versions, as text."""
    rates = summary.versions.values()
    return plot_lines(
        "percent of candidates, by model version",
        list(summary.versions),
        {
            "valid": [r.validity for r in rates],
            "improved": [r.improved / r.candidates if r.candidates else None for r in rates],
        },
    )


def _time(stamp: int | None) -> str:
    if stamp is None:
        return "-"
    try:
        return datetime.fromtimestamp(stamp, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):  # a u64 reaches beyond the calendar
        return f"{stamp} s"
