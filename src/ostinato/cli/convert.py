"""ostinato convert: from one form of file to another."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from ostinato import archive, jsonl
from ostinato.cli.common import Json, err, number, print_json, progress
from ostinato.errors import DamageError, UsageError
from ostinato.files import open_regular, replace_file
from ostinato.result import BuildResult
from ostinato.results import Results

_PART = 4096


class Form(StrEnum):
    """The forms of file a command can name."""

    rkyv = "rkyv"
    jsonl = "jsonl"


def convert(
    source: Annotated[
        Path,
        typer.Argument(metavar="IN", help="The file to read.", exists=True, dir_okay=False, readable=True),
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write; an old one is replaced.")],
    from_: Annotated[Form | None, typer.Option("--from", help="Form of IN; else its ending says.")] = None,
    to: Annotated[Form | None, typer.Option("--to", help="Form of OUT; else its ending says.")] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out lines that are no build results, and count them.")
    ] = False,
    json: Json = False,
) -> None:
    """Convert between archives (.rkyv) and JSON lines (.jsonl); OUT is written whole or not at all.

    Lines are streamed; an archive is read into memory first.
    """
    source_form, target_form = from_ or _form(source, "--from"), to or _form(target, "--to")
    if target.is_dir():
        raise UsageError(f"{target} is a folder", "OUT")
    skipped: list[str] = []

    def skip(damage: DamageError) -> None:
        skipped.append(str(damage))
        if len(skipped) <= 10:
            err.print(f"left out: {damage}", soft_wrap=True, markup=False)

    with progress() as bar:
        if source_form is Form.rkyv:
            results = archive.read(source)
            parts: Iterator[Results] = (results[i : i + _PART] for i in range(0, len(results), _PART))
            count = _write(target, target_form, bar.track(parts, total=-(-len(results) // _PART)))
        else:
            with open_regular(source) as (raw, size), io.BufferedReader(raw) as file:
                task = bar.add_task("converting", total=size)
                lines = jsonl.read(file, skip=skip if skip_bad else None, source=str(source))
                seen = _advance(_parts(lines), file, lambda at: bar.update(task, completed=at))
                count = _write(target, target_form, seen)
    if json:
        print_json({"out": str(target), "records": count, "skipped": len(skipped)})
    else:
        lost = f", left out {number(len(skipped))} lines" if skipped else ""
        err.print(f"{target}: {number(count)} build results{lost}", soft_wrap=True, markup=False)


def _form(path: Path, option: str) -> Form:
    ending = path.suffix.lower()
    if ending == ".rkyv":
        return Form.rkyv
    if ending in (".jsonl", ".ndjson"):
        return Form.jsonl
    raise UsageError(f"the ending of {path} is neither .rkyv nor .jsonl: say its form", option)


def _parts(records: Iterator[BuildResult]) -> Iterator[Results]:
    while part := list(islice(records, _PART)):
        yield Results.concat([part])


def _advance(parts: Iterator[Results], file: BinaryIO, done: Callable[[int], None]) -> Iterator[Results]:
    for part in parts:
        done(file.tell())
        yield part


def _write(target: Path, form: Form, parts: Iterable[Results]) -> int:
    count = 0
    writer = archive.ArchiveWriter()
    with replace_file(target) as file:
        for part in parts:
            count += len(part)
            if form is Form.rkyv:
                file.write(writer.add(part))
            else:
                file.writelines(map(jsonl.dump, part))
        if form is Form.rkyv:
            for chunk in writer.finish():
                file.write(chunk)
    return count
