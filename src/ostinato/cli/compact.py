"""ostinato compact: a store's segments anew, with what a policy keeps."""

from __future__ import annotations

from typing import Annotated

import typer

from ostinato.cli.common import Folder, Json, Wait, bar_of, open_store, quiet, say_sealed
from ostinato.store import Keep


def compact(
    folder: Folder,
    newest: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Keep the N with the latest timestamps.")
    ] = None,
    best_per_program: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="K", help="Keep of each program the K valid ones with the fewest cycles."
        ),
    ] = None,
    max_age: Annotated[
        int | None, typer.Option(min=0, metavar="S", help="Keep those of the last S seconds.")
    ] = None,
    wait: Wait = 0.0,
    json: Json = False,
) -> None:
    """Seal STORE, then write its segments anew: what was corrected, small ones as one, and only what is to be kept.

    A build result stays if any of the rules says so; without a rule all stay. What goes is gone for good. Those in journals that
    are being written stay.
    """
    rules = (newest, best_per_program, max_age)
    keep = None
    if any(rule is not None for rule in rules):
        keep = Keep(newest=newest, best_per_program=best_per_program, max_age_s=max_age)
    with open_store(folder) as store, quiet(), bar_of("compacting") as bar:
        done = store.compact(keep, wait_s=wait, progress=bar)
    say_sealed(folder, done, json)
