"""What several verbs need: their arguments, consoles, progress bars, and how a number is shown."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="An archive, such as replay.rkyv.", exists=True, dir_okay=False, readable=True
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output instead of text.")]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def print_json(data: Any) -> None:
    """One JSON document on standard output."""
    json.dump(data, sys.stdout, ensure_ascii=False, indent=None, separators=(",", ":"))
    sys.stdout.write("\n")
    sys.stdout.flush()


def progress() -> Progress:
    """A progress bar on standard error; shows nothing where that is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )


def percent(share: float | None) -> str:
    """A share as text; "-" where there is none."""
    return "-" if share is None else f"{100 * share:.1f} %"


def number(value: int | None) -> str:
    """A number with separators; "-" where there is none."""
    return "-" if value is None else f"{value:,}"


def plot_lines(title: str, x: list[int], lines: dict[str, list[float | None]], *, height: int = 14) -> str:
    """A terminal plot of one or two lines of shares, in percent, over x, as text; empty for under two points."""
    if len(x) < 2:
        return ""
    import plotille

    figure = plotille.Figure()
    figure.width = max(20, min(out.width, 100) - 24)  # what the axes and their numbers leave
    figure.height = height
    figure.color_mode = "names"
    figure.with_colors = out.is_terminal
    figure.set_x_limits(min_=min(x), max_=max(x))
    figure.set_y_limits(min_=0)
    figure.x_label, figure.y_label = "", "%"
    figure.x_ticks_fkt = lambda low, high: f"{low:.0f}"
    figure.y_ticks_fkt = lambda low, high: f"{low:.0f}"
    for (name, values), color, mark in zip(lines.items(), ("cyan", "magenta"), (None, "o"), strict=False):
        points = [(a, 100 * b) for a, b in zip(x, values, strict=True) if b is not None]
        if points:
            figure.plot([a for a, _ in points], [b for _, b in points], label=name, lc=color, marker=mark)
    return f"{title}\n{figure.show(legend=True)}\n"
