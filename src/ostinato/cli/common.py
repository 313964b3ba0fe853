"""What several verbs need: their arguments, consoles, progress bars, and how a number is shown."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ostinato import archive
from ostinato.errors import DamageError, UsageError
from ostinato.results import Results
from ostinato.store import Store

if TYPE_CHECKING:
    from ostinato.store.upkeep import Sealed

File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="An archive, such as replay.rkyv, or a store's folder.",
        exists=True,
        readable=True,
    ),
]
Folder = Annotated[Path, typer.Argument(metavar="STORE", help="A store's folder.")]
Wait = Annotated[
    float,
    typer.Option(
        "--wait", min=0.0, metavar="S", help="How many seconds to wait for another process that seals."
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


def is_store(path: Path) -> bool:
    """Is it a store's folder, be it damaged?"""
    manifests = any((path / name).is_file() for name in ("MANIFEST", "MANIFEST.copy"))
    return manifests or all((path / name).is_dir() for name in ("journals", "segments"))


def need_store(path: Path) -> None:
    """Refuse what is no store's folder.

    Raises:
        UsageError: it is none; says what it is.
    """
    if not path.is_dir():
        what = "is a file, no store's folder" if path.exists() else "is not there"
        raise UsageError(f"{path} {what}")
    if not is_store(path):
        raise UsageError(f"{path} is no store: it has no MANIFEST")


def open_store(path: Path) -> Store:
    """The store in this folder, which is there already.

    Raises:
        UsageError: there is none. DamageError: it cannot be read.
    """
    need_store(path)
    try:
        return Store.open(path, create=False)
    except FileNotFoundError as error:
        raise DamageError("it is missing", source=str(error.filename)) from None


def read_archive(file: Path) -> Results:
    """The build results of an archive.

    Raises:
        UsageError: it is a store's journal, which would pass for an archive of its last frame.
    """
    refuse_journal(file)
    return archive.read(file)


def refuse_journal(file: Path) -> None:
    """Refuse a store's journal where a file is expected; its end looks like an archive."""
    if file.is_file():
        with file.open("rb") as opened:
            if opened.read(7) == b"OSTJRNL":
                raise UsageError(f"{file} is a journal of a store: give the store's folder")


def read(file: Path) -> Results:
    """The build results of an archive or a store; those of a store are `Records`.

    What cannot be read in a store is left out, and told on standard error.
    """
    if not file.is_dir():
        return read_archive(file)
    with open_store(file) as store, busy("reading"):
        return store.results()


def read_text(path: Path) -> str:
    """What a file of text says.

    Raises:
        UsageError: it is no UTF-8. OSError: as the system says.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no text") from None


def problems_of(store: Store) -> list[str]:
    """What is wrong with a store's files, as far as finding its records shows."""
    from ostinato.store.fs import REAL
    from ostinato.store.view import View

    view = View(REAL, store.path)
    view.refresh()
    return view.problems()


def json_line(data: Any) -> bytes:
    """A line of JSON: UTF-8, or ASCII where a terminal reads, which other characters could command."""
    text = json.dumps(data, ensure_ascii=_is_terminal(), separators=(",", ":"))
    return text.encode() + b"\n"


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def write_lines(lines: Iterable[bytes]) -> None:
    """Lines on standard output, there when this returns."""
    if sys.stdout is None:
        raise UsageError("standard output is closed")
    sys.stdout.flush()
    sys.stdout.buffer.write(b"".join(lines))
    sys.stdout.buffer.flush()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of the library, by who says the same in its own words."""
    logger = logging.getLogger("ostinato")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def as_given(text: str, given: Path) -> str:
    """A message of a store, with its folder named as the user did."""
    return text.replace(f"{os.path.realpath(given)}{os.sep}", f"{given}{os.sep}")


@contextlib.contextmanager
def busy(what: str) -> Iterator[None]:
    """A sign of life on standard error, for what cannot say how far it is."""
    if not err.is_terminal:
        yield
        return
    with err.status(what):
        yield


@contextlib.contextmanager
def bar_of(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar as something to be called with (done, in all)."""
    with progress() as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def say_sealed(path: Path, done: Sealed, json_wanted: bool) -> None:
    """What sealing or compacting did."""
    if json_wanted:
        import dataclasses

        print_json({"store": str(path), **dataclasses.asdict(done)})
        return
    words = [f"{number(done.records)} build results written to {number(done.segments)} segments"]
    words += [f"{number(done.journals)} journals sealed"] if done.journals else []
    words += [f"{number(done.removed)} build results removed"] if done.removed else []
    words += [f"{number(done.folded)} corrections folded in"] if done.folded else []
    words += [f"{number(done.torn)} torn tails dropped"] if done.torn else []
    words += [f"{number(done.repeated)} repeated frames passed over"] if done.repeated else []
    words += [f"{number(done.damaged)} damaged frames or records left out"] if done.damaged else []
    words += [f"{number(done.aside)} files put into {path / 'aside'}"] if done.aside else []
    nothing = not (done.records or done.journals or done.removed)
    err.print(f"{path}: {'nothing to do' if nothing else ', '.join(words)}", soft_wrap=True, markup=False)


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


def make_table(*columns: str, text: Collection[str] = (), wraps: Collection[str] = ()) -> Table:
    """A plain table: numbers to the right, the `text` columns, those that wrap, and the last, which always wraps, to the left."""
    table = Table(box=None, header_style="dim")
    for name in columns:
        if name in wraps or name == columns[-1]:
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="left" if name in text else "right", no_wrap=True)
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
