"""ostinato merge: other stores' build results into one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ostinato.cli import EXIT_DAMAGED
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
    quiet,
)
from ostinato.store import Store
from ostinato.store.transfer import Merged


def merge(
    into: Annotated[
        Path, typer.Argument(metavar="INTO", help="The store that grows; a new one if it is not there.")
    ],
    sources: Annotated[list[Path], typer.Argument(metavar="FROM...", help="Stores, which stay as they are.")],
    wait: Wait = 10.0,
    json: Json = False,
) -> None:
    """Bring all build results of the stores FROM into INTO, with new ids, each store in one step.

    Merged again, only what is new there comes. Exit code 3 if something there cannot be read: the rest has come.
    """
    others = [(path, open_store(path)) for path in sources]
    store = into_store(into, others[0][1])
    done: list[dict[str, Any]] = []
    for path, other in others:
        merged = bring(store, into, other, path, wait)
        with quiet():
            problems = [as_given(problem, path) for problem in problems_of(other)]
        done.append(
            {
                "store": str(path),
                "records": merged.records,
                "damaged": merged.damaged,
                "problems": problems,
            }
        )
        lost = f", {number(merged.damaged)} more cannot be read" if merged.damaged else ""
        _say(f"{into}: {number(merged.records)} build results from {path}{lost}")
        for problem in problems:
            _say(f"damaged: {problem}")
    if json:
        print_json({"into": str(into), "records": sum(d["records"] for d in done), "from": done})
    if any(d["damaged"] or d["problems"] for d in done):
        raise typer.Exit(EXIT_DAMAGED)


def _say(text: str) -> None:
    err.print(text, soft_wrap=True, markup=False)


def into_store(into: Path, first: Store) -> Store:
    """The store that grows; a new one gets the extra columns of the first that comes."""
    if is_store(into):
        return open_store(into)
    store = Store.open(into, extras=first.extras)
    _say(f"{into}: a new store")
    return store


def bring(store: Store, into: Path, other: Store, path: Path, wait: float) -> Merged:
    """Merge another store; columns that cannot come with it are told."""
    unknown = [name for name in other.extras if name not in store.extras]
    if unknown:
        _say(f"{path}: its columns {', '.join(unknown)} are left out: {into} has none of that name")
    with busy(f"merging {path}"), quiet():
        return store.merge(other, wait_s=wait)
