"""ostinato append: JSON lines from standard input into a store, so that any language can feed it."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from ostinato import jsonl
from ostinato.cli import EXIT_DAMAGED, EXIT_FAILED
from ostinato.cli.common import (
    Folder,
    Json,
    err,
    json_line,
    need_store,
    number,
    print_json,
    progress,
    write_lines,
)
from ostinato.errors import DamageError, UsageError
from ostinato.result import BuildResult
from ostinato.store import Extra, Store

_SHOWN = 10  # bad lines that are told one by one
_STEP = 1024

Parsed = tuple[BuildResult, dict[str, Any]]


class Durability(StrEnum):
    """When what was appended survives power loss."""

    system = "system"
    group = "group"
    each = "each"


def append(
    folder: Folder,
    context: Annotated[
        list[str] | None,
        typer.Option(
            "--context",
            "-c",
            metavar="KEY=VALUE",
            help="What is the same for all of them (target, host, worker ...); may be given often.",
        ),
    ] = None,
    durability: Annotated[
        Durability,
        typer.Option(
            help="When they survive power loss: when the system writes them, --interval-ms later, or at once. "
            "Whichever: what was acknowledged survives kill -9."
        ),
    ] = Durability.system,
    interval_ms: Annotated[float, typer.Option(help="Milliseconds between two syncs of `group`.")] = 50.0,
    ack: Annotated[
        bool,
        typer.Option(
            "--ack", help='Print the id of each record when it is kept, a line each ("-" for one left out).'
        ),
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out lines that are no build results, and count them.")
    ] = False,
    create: Annotated[
        bool, typer.Option("--create/--no-create", help="Make the store if it is not there.")
    ] = True,
    json: Json = False,
) -> None:
    """Append build results from standard input to STORE, one JSON object of the eight fields a line.

    Many may append at once. A store's extra columns stand in the line beside the eight fields; of numbers that are not finite,
    "nan", "inf" and "-inf" (or null for nan). At a bad line it stops, with exit code 3: what stands before it is kept.
    """
    if sys.stdin is None:
        raise UsageError("standard input is closed")
    named = _context(context or [])
    store = open_or_make(folder, create)
    source = sys.stdin.buffer
    if source.isatty():
        err.print("JSON lines, please; Ctrl-D ends", markup=False)
    told = _Told(ack, json, folder)

    def skip(damage: DamageError) -> None:
        told.skipped(damage)

    with (
        store,
        store.writer(named, durability=durability.value, interval_ms=interval_ms) as writer,
        _watched(source) as step,
    ):
        of = parser(store.extras)
        try:
            lines = jsonl.numbered(source, of, skip=skip if skip_bad else None, source="standard input")
            for line, (result, extras) in lines:
                told.kept(line, writer.append(result, extras))
                if not told.records % _STEP:
                    step()
        except DamageError as damage:
            told.stopped(damage)
            raise typer.Exit(EXIT_DAMAGED) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            err.print("error: whoever read the acknowledgements has gone", markup=False)
            told.end(failed=True)
            raise typer.Exit(EXIT_FAILED) from None
        except (OSError, KeyboardInterrupt):
            told.end(failed=True)
            raise
    told.end()


class _Told:
    """What is said: an acknowledgement for each line, and the sum."""

    def __init__(self, ack: bool, json: bool, folder: Path) -> None:
        self._ack, self._json, self._folder = ack, json, folder
        self.records = self.left_out = 0

    def kept(self, line: int, identity: int) -> None:
        self.records += 1
        if self._ack:
            write_lines(
                [json_line({"line": line, "id": identity}) if self._json else b"%d\n" % identity],
            )

    def skipped(self, damage: DamageError) -> None:
        self.left_out += 1
        if self._ack:
            said = json_line({"line": damage.line, "error": str(damage)}) if self._json else b"-\n"
            write_lines([said])
        if self.left_out <= _SHOWN:
            err.print(f"left out: {damage}", soft_wrap=True, markup=False)

    def stopped(self, damage: DamageError) -> None:
        if self._json:
            print_json(
                {
                    "error": str(damage),
                    "cause": damage.cause,
                    "line": damage.line,
                    "records": self.records,
                    "skipped": self.left_out,
                }
            )
        err.print(f"damaged: {damage}", soft_wrap=True, markup=False)
        self._sum("before it")

    def end(self, *, failed: bool = False) -> None:
        if self._json and not failed:
            print_json({"store": str(self._folder), "records": self.records, "skipped": self.left_out})
        else:
            self._sum("before that" if failed else "")

    def _sum(self, when: str) -> None:
        lost = f", left out {number(self.left_out)} lines" if self.left_out else ""
        text = f"{self._folder}: {number(self.records)} build results appended{lost} {when}".rstrip()
        err.print(text, soft_wrap=True, markup=False)


def open_or_make(folder: Path, create: bool = True) -> Store:
    """The store in this folder; if there is none, a new one, which is told."""
    if not create:
        need_store(folder)
    new = not folder.exists()
    store = Store.open(folder, create=create)
    if new:
        err.print(f"{folder}: a new store", soft_wrap=True, markup=False)
    return store


def _context(pairs: list[str]) -> dict[str, str]:
    out: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"expected KEY=VALUE, got {pair!r}", "--context")
        if key in out:
            raise UsageError(f"{key!r} stands twice", "--context")
        out[key] = value
    return out


def parser(extras: dict[str, Extra]) -> Callable[[bytes], Parsed]:
    """What makes of a line a build result and its extra columns; raises UsageError."""
    if not extras:
        return lambda line: (jsonl.parse(line), {})

    def parse(line: bytes) -> Parsed:
        data = jsonl.load(line)
        if not isinstance(data, dict):
            return BuildResult.from_dict(data), {}
        values = {}
        for name, extra in extras.items():
            if name in data:
                values[name] = _value(extra, data.pop(name), name)
            elif extra.default is None:
                raise UsageError("missing column: the store declares it without a default", name)
        return BuildResult.from_dict(data), values

    return parse


def _value(extra: Extra, given: Any, name: str) -> Any:
    if extra.kind.kind == "f" and (given is None or given in ("nan", "inf", "-inf")):
        given = float("nan" if given is None else given)
    if not isinstance(given, (bool, int, float)):
        raise UsageError(f"expected a number that fits {extra.kind}", name)
    return extra.value(given, name)


@contextmanager
def _watched(source: BinaryIO) -> Iterator[Callable[[], None]]:
    """A progress bar, where it is known how much there is."""
    try:
        status = os.fstat(source.fileno())
    except (OSError, ValueError):  # no file: a test's own input
        status = None
    if status is None or not stat.S_ISREG(status.st_mode) or not err.is_terminal:
        yield lambda: None
        return
    with progress() as bar:
        task = bar.add_task("appending", total=status.st_size)
        yield lambda: bar.update(task, completed=source.tell())
