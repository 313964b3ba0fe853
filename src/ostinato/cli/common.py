"""What several verbs need: their arguments, consoles, progress bars, and how a number is shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="An archive, such as replay.rkyv.", exists=True, dir_okay=False, readable=True
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output instead of text.")]

_PIPE_WIDTH = 160  # for tables that go to a file or a pipe


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # main() knows what to do


out = _Console(highlight=False, width=None if sys.stdout and sys.stdout.isatty() else _PIPE_WIDTH)
err = _Console(stderr=True, highlight=False)


def print_json(data: Any) -> None:
    """One JSON document on standard output."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(data, ensure_ascii=not utf8, separators=(",", ":"))
    sys.stdout.write(text + "\n")
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


def make_table(*columns: str, text: Collection[str] = ()) -> Table:
    """A plain table: numbers to the right, the `text` columns and the last, which alone wraps, to the left."""
    table = Table(box=None, header_style="dim")
    for name in columns[:-1]:
        table.add_column(name, justify="left" if name in text else "right", no_wrap=True)
    table.add_column(columns[-1], overflow="fold")
    return table


def printable(text: str) -> str:
    """Text from a file as a terminal may see it: control characters, which could command it, as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def code(instructions: Iterable[str], beside: int = 0) -> str:
    """Instructions on one line; cut to what the terminal leaves where `beside` says how much is taken."""
    line = "; ".join(map(printable, instructions))
    room = max(16, out.width - beside) if beside else len(line)
    return line if len(line) <= room else f"{line[: room - 1]}…"


def percent(share: float | None) -> str:
    """A share as text; "-" where there is none."""
    return "-" if share is None else f"{100 * share:.1f} %"


def number(value: int | None) -> str:
    """A number with separators; "-" where there is none."""
    return "-" if value is None else f"{value:,}"


def plot_lines(title: str, x: list[int], lines: dict[str, list[float | None]], *, height: int = 14) -> str:
    """A terminal plot of one or two lines of shares, in percent, over x, as text; empty for under two points."""
    if len(x) < 2 or max(x) > 999_999:  # the axis has room for six digits
        return ""
    import plotille

    figure = plotille.Figure()
    figure.width = max(20, min(out.width, 100) - 24)  # what the axes and their numbers leave
    figure.height = height
    figure.color_mode = "names"
    figure.with_colors = out.is_terminal
    figure.set_x_limits(min_=min(x), max_=max(x))
    shares = [value for values in lines.values() for value in values if value is not None]
    figure.set_y_limits(min_=0, max_=min(100, 110 * max(shares, default=1) or 1))
    step = (max(x) - min(x)) / 8
    figure.x_label, figure.y_label = "", "%"
    figure.x_ticks_fkt = lambda low, high: f"{low:.0f}" if step >= 1 else f"{low:.2f}"
    figure.y_ticks_fkt = lambda low, high: f"{low:.0f}"
    for (name, values), color, mark in zip(lines.items(), ("cyan", "magenta"), (None, "o"), strict=False):
        points = [(a, 100 * b) for a, b in zip(x, values, strict=True) if b is not None]
        if points:
            figure.plot([a for a, _ in points], [b for _, b in points], label=name, lc=color, marker=mark)
    return f"{title}\n{figure.show(legend=True)}\n"
