"""ostinato seal: journals that nobody writes become segments."""

from __future__ import annotations

from ostinato.cli.common import Folder, Json, Wait, bar_of, open_store, quiet, say_sealed


def seal(folder: Folder, wait: Wait = 0.0, json: Json = False) -> None:
    """Make segments of all journals of STORE that no writer holds any more: archives that Trident opens.

    Others may append and read meanwhile. Exit code 1 if another process seals, and goes on for longer than --wait.
    """
    with open_store(folder) as store, quiet(), bar_of("sealing") as bar:
        done = store.seal(wait_s=wait, progress=bar)
    say_sealed(folder, done, json)
