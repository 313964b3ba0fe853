"""ostinato convert: from one form to another: archives, JSON lines, stores."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.progress import Progress

from ostinato import archive, jsonl
from ostinato.cli.append import open_or_make, parser
from ostinato.cli.common import (
    Json,
    Wait,
    as_given,
    busy,
    err,
    is_store,
    number,
    open_store,
    print_json,
    problems_of,
    progress,
    quiet,
    read_archive,
)
from ostinato.cli.merge import bring, into_store
from ostinato.errors import DamageError, UsageError
from ostinato.files import open_regular, replace_file
from ostinato.result import BuildResult
from ostinato.results import Results
from ostinato.store import Store

_PART = 4096
_SHOWN = 10  # bad lines that are told one by one

T = TypeVar("T")


class Form(StrEnum):
    """The forms that a command can name."""

    rkyv = "rkyv"
    jsonl = "jsonl"
    store = "store"


def convert(
    source: Annotated[
        Path,
        typer.Argument(metavar="IN", help="The file or store to read.", exists=True, readable=True),
    ],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="The file to write; an old one is replaced. Or a store, which grows."
        ),
    ],
    from_: Annotated[Form | None, typer.Option("--from", help="Form of IN; else its ending says.")] = None,
    to: Annotated[Form | None, typer.Option("--to", help="Form of OUT; else its ending says.")] = None,
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad", help="Leave out what is no build result, or cannot be read, and count it."
        ),
    ] = False,
    best: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="A store into an archive: the N of the highest priority, highest first."
        ),
    ] = None,
    best_per_program: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="K", help="The same: of each program the K valid ones with the fewest cycles."
        ),
    ] = None,
    wait: Wait = 10.0,
    json: Json = False,
) -> None:
    """Convert between archives (.rkyv), JSON lines (.jsonl) and stores (folders; without an ending).

    A file is written whole or not at all. Into a store build results are appended, and from a store they are merged, once. --from and
    --to say a form that the name does not.
    """
    job = _Job(skip_bad, wait)
    source_form, target_form = from_ or _form(source, "--from"), to or _form(target, "--to")
    if source_form is Form.store:
        store = open_store(source)
    elif source.is_dir():
        raise UsageError(f"{source} is a folder, no file", "--from")
    if target_form is not Form.store and target.is_dir():
        raise UsageError(f"{target} is a folder", "OUT")
    wants_best = best is not None or best_per_program is not None
    if wants_best and (source_form, target_form) != (Form.store, Form.rkyv):
        raise UsageError("only from a store into an archive", "--best")
    if source_form is Form.store:
        if target_form is Form.store:
            count = job.merge(store, source, target)
        elif wants_best:
            job.look_at(store, source)
            with busy("choosing"), quiet():
                count = store.export(target, best=best, best_per_program=best_per_program)
        else:
            count = job.from_store(store, source, target, target_form)
    elif source_form is Form.rkyv:
        count = job.from_archive(source, target, target_form)
    else:
        count = job.from_lines(source, target, target_form)
    if json:
        print_json({"out": str(target), "records": count, "skipped": job.skipped})
    else:
        lost = f", left out {number(job.skipped)} {job.what}" if job.skipped else ""
        err.print(f"{target}: {number(count)} build results{lost}", soft_wrap=True, markup=False)


def _form(path: Path, option: str) -> Form:
    if is_store(path):
        return Form.store
    ending = path.suffix.lower()
    if ending == ".rkyv":
        return Form.rkyv
    if ending in (".jsonl", ".ndjson"):
        return Form.jsonl
    if path.is_dir() or (not ending and not path.exists()):
        return Form.store
    raise UsageError(
        f"the ending of {path} is neither .rkyv nor .jsonl: say its form (rkyv, jsonl or store)", option
    )


class _Job:
    """One conversion.

    Attributes:
        skipped: lines, or build results and frames of a store, that were left out. what: which of these.
    """

    def __init__(self, skip_bad: bool, wait: float) -> None:
        self.skip_bad, self.wait = skip_bad, wait
        self.skipped = 0
        self.what = "lines"

    def merge(self, store: Store, source: Path, target: Path) -> int:
        """From a store into a store: ids are new, contexts and columns stay."""
        self.look_at(store, source)
        merged = bring(into_store(target, store), target, store, source, self.wait)
        if merged.damaged:
            self._left_out(merged.damaged, "; all others have come")
        return merged.records

    def from_store(self, store: Store, source: Path, target: Path, form: Form) -> int:
        """From a store into a file, in the order of the store."""
        self.look_at(store, source)
        if store.extras:
            err.print(
                f"left out: the extra columns {', '.join(store.extras)}, which files do not hold "
                "(`ostinato tail --since '[]'` prints them)",
                soft_wrap=True,
                markup=False,
            )

        def parts() -> Iterator[Results]:
            for part in store.parts(size=_PART):
                if part.damaged:
                    self._left_out(part.damaged)
                yield part

        with progress() as bar, quiet():
            return _write(target, form, bar.track(parts(), total=-(-len(store) // _PART)))

    def look_at(self, store: Store, source: Path) -> None:
        """Refuse a store in which something is damaged, unless that is to be left out."""
        with quiet():
            problems = problems_of(store)
        for problem in problems:
            if not self.skip_bad:
                raise DamageError(f"{as_given(problem, source)}\n--skip-bad leaves out what cannot be read")
            err.print(f"left out: {as_given(problem, source)}", soft_wrap=True, markup=False)
        self.what = "frames or build results"
        self.skipped += len(problems)

    def _left_out(self, count: int, rest: str = ", --skip-bad leaves them out") -> None:
        if not self.skip_bad:
            what = f"{number(count)} build results cannot be read"
            raise DamageError(f"{what}: `ostinato check` says where{rest}")
        self.skipped += count

    def from_archive(self, source: Path, target: Path, form: Form) -> int:
        """From an archive."""
        results = read_archive(source)
        parts: Iterator[Results] = (results[i : i + _PART] for i in range(0, len(results), _PART))
        with progress() as bar:
            tracked = bar.track(parts, total=-(-len(results) // _PART))
            if form is not Form.store:
                return _write(target, form, tracked)
            with open_or_make(target) as store, store.writer({"imported_from": source.name}) as writer:
                return sum(len(writer.extend(part)) for part in tracked)

    def from_lines(self, source: Path, target: Path, form: Form) -> int:
        """From JSON lines."""
        with progress() as bar:
            if form is not Form.store:
                return _write(target, form, _parts(self._lines(source, jsonl.parse, bar, "converting")))
            with open_or_make(target) as store:
                of = parser(store.extras)
                # what is appended cannot be taken back: first see that all lines are good
                if not self.skip_bad:
                    for _ in self._lines(source, of, bar, "looking"):
                        pass
                count = 0
                with store.writer({"imported_from": source.name}) as writer:
                    for result, extras in self._lines(source, of, bar, "converting"):
                        writer.append(result, extras)
                        count += 1
                return count

    def _lines(self, source: Path, of: Callable[[bytes], T], bar: Progress, what: str) -> Iterator[T]:
        with open_regular(source) as (raw, size), io.BufferedReader(raw) as file:
            task = bar.add_task(what, total=size)
            skip = self._skip if self.skip_bad else None
            for line, parsed in jsonl.numbered(file, of, skip=skip, source=str(source)):
                if not line % _PART:
                    bar.update(task, completed=file.tell())
                yield parsed
            bar.update(task, completed=size)

    def _skip(self, damage: DamageError) -> None:
        self.skipped += 1
        if self.skipped <= _SHOWN:
            err.print(f"left out: {damage}", soft_wrap=True, markup=False)


def _parts(records: Iterator[BuildResult]) -> Iterator[Results]:
    while part := list(islice(records, _PART)):
        yield Results.concat([part])


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
