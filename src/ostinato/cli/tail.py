"""ostinato tail: a store's build results as JSON lines, the last ones, or what came since, or what comes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ostinato.cli.common import Folder, Json, busy, err, json_line, open_store, write_lines
from ostinato.errors import UsageError
from ostinato.files import read_file, replace_file
from ostinato.store import Cursor, Records, Store
from ostinato.store.fs import REAL
from ostinato.store.view import View

_LAST = 10
_BATCH = 1024
_CURSOR_END = 1 << 28  # bytes of a cursor's file

Line = dict[str, Any]


def tail(
    folder: Folder,
    n: Annotated[
        int | None,
        typer.Option(
            "-n",
            min=0,
            metavar="N",
            help="The N latest by timestamp; else 10, or all where it is said since when.",
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    since: Annotated[
        str | None,
        typer.Option(metavar="CURSOR", help="Only what this cursor has not seen; '[]' has seen nothing."),
    ] = None,
    cursor_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Go on where this file says, from the beginning if it is not there, and keep the cursor in it.",
        ),
    ] = None,
    ids: Annotated[bool, typer.Option("--ids", help="With each record's `id`.")] = False,
    context: Annotated[bool, typer.Option("--context", help="With its writer's `context`.")] = False,
    poll: Annotated[float, typer.Option(min=0.001, metavar="S", help="Seconds between two looks.")] = 0.1,
    timeout: Annotated[
        float | None,
        typer.Option(min=0.0, metavar="S", help="With --follow: end when nothing has come for so long."),
    ] = None,
    json: Json = False,
) -> None:
    """Print build results of STORE as JSON lines, which `append` takes: the eight fields, and the extra columns.

    The last line on standard error is the cursor, where to go on another time with --since; with --cursor-file it is kept there, after
    each batch that was printed: killed in between, the next call prints that batch again, and leaves nothing out.
    """
    del json  # it is JSON anyway
    with open_store(folder) as store:
        teller = _Teller(store, ids, context, cursor_file)
        start = _start(since, cursor_file)
        wanted = n if n is not None or since is not None or cursor_file is not None else _LAST
        teller.tell(*_now(store, start, wanted, teller))
        if follow:
            try:
                for part in store.follow(teller.cursor, poll_s=poll, timeout_s=timeout):
                    teller.tell(teller.lines(part), part.cursor)
            except KeyboardInterrupt:
                pass  # the usual end of following
        if cursor_file is None:
            err.print(f"cursor {teller.cursor.to_json()}", soft_wrap=True, markup=False)


def _start(since: str | None, cursor_file: Path | None) -> Cursor:
    if since is not None:
        return Cursor.from_json(since)
    if cursor_file is None:
        return Cursor()
    try:
        text = read_file(cursor_file, _CURSOR_END).tobytes().decode()
    except FileNotFoundError:
        return Cursor()
    except UnicodeDecodeError:
        raise UsageError(f"{cursor_file} holds no cursor") from None
    try:
        return Cursor.from_json(text)
    except UsageError as error:
        raise UsageError(f"{cursor_file} holds no cursor: {error.cause}") from None


def _now(store: Store, start: Cursor, wanted: int | None, teller: _Teller) -> tuple[Iterable[Line], Cursor]:
    """What is there already, and the cursor after it; without a bound it is told at once, part by part."""
    # all that a reader had seen before is told of by the parts below; with it a cursor stays short
    view = View(REAL, store.path)
    view.refresh()
    seen = start.union(view.cursor.ranges())
    if wanted == 0:
        return (), seen
    if wanted is not None:
        with busy("reading"):
            lines, cursor = _latest(store, start, wanted, teller)
        return lines, cursor.union(seen.ranges())
    cursor = start
    for part in store.parts(since=start):
        cursor = part.cursor
        teller.tell(teller.lines(part), cursor)
    return (), cursor.union(seen.ranges())


def _latest(store: Store, start: Cursor, wanted: int, teller: _Teller) -> tuple[list[Line], Cursor]:
    """The so many with the latest timestamps, of equals those with the highest ids, in this order."""
    best: list[tuple[int, int, Records, int]] = []
    cursor = start
    for part in store.parts(since=start):
        cursor = part.cursor
        order = np.lexsort((part.ids, part.timestamp))[-wanted:]
        best += [(int(part.timestamp[i]), int(part.ids[i]), part, int(i)) for i in order]
        best = sorted(best, key=lambda one: one[:2])[-wanted:]
    return [teller.line(part, i) for _, _, part, i in best], cursor


class _Teller:
    """Prints records, and keeps the cursor."""

    def __init__(self, store: Store, ids: bool, context: bool, cursor_file: Path | None) -> None:
        self._extras = list(store.extras)
        self._ids, self._context, self._cursor_file = ids, context, cursor_file
        self.cursor = Cursor()
        for name, wanted in (("id", ids), ("context", context)):
            if wanted and name in self._extras:
                raise UsageError(f"the store has an extra column `{name}`, which would stand there twice")

    def lines(self, part: Records) -> Iterator[Line]:
        """A part's records, as they are printed."""
        return (self.line(part, i) for i in range(len(part)))

    def line(self, part: Records, i: int) -> Line:
        """One of them."""
        line: Line = {"id": int(part.ids[i])} if self._ids else {}
        line |= part[i].to_dict()
        for name in self._extras:
            line[name] = _plain(part.extras[name][i].item())
        if self._context:
            line["context"] = part.context(i)
        return line

    def tell(self, lines: Iterable[Line], cursor: Cursor) -> None:
        """Print them; then the cursor counts."""
        waiting: list[bytes] = []
        for line in lines:
            waiting.append(json_line(line))
            if len(waiting) == _BATCH:
                write_lines(waiting)
                waiting.clear()
        if waiting:
            write_lines(waiting)
        self.cursor = cursor
        if self._cursor_file is not None:
            with replace_file(self._cursor_file) as file:
                file.write(cursor.to_json().encode() + b"\n")


def _plain(value: Any) -> Any:
    """A number for JSON, which has no others than finite ones."""
    return repr(value) if isinstance(value, float) and not np.isfinite(value) else value
