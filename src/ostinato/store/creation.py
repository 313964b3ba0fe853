"""Making a store: of several who try at once, one does."""

from __future__ import annotations

import contextlib
import os
import secrets
import time

from ostinato.errors import DamageError, UsageError
from ostinato.store import layout, upkeep
from ostinato.store.fs import FileSystem
from ostinato.store.manifest import Extras, Manifest, read_manifest

_CREATE_WAIT_S = 30.0


def create_store(fs: FileSystem, root: str, extras: Extras) -> Manifest:
    """Make a store; of several who try at once, one does."""
    _make_folder(fs, root)
    ours = {layout.LOCK, layout.MANIFEST, layout.MANIFEST_COPY, layout.JOURNALS, layout.SEGMENTS}
    there = fs.names(root)
    others = [n for n in there if n not in ours and not n.startswith(f".{layout.MANIFEST}.")]
    if others:
        with contextlib.suppress(FileNotFoundError):  # made meanwhile, by somebody who uses it already
            return read_manifest(fs, root)
    if layout.JOURNALS in there and (layout.ASIDE in others or layout.CATALOG in others):
        raise headless(root)
    if others:
        raise UsageError(f"{root} is no store, and holds other things ({others[0]} ...)", "path")
    with upkeep.locked(fs, root, _CREATE_WAIT_S):
        with contextlib.suppress(FileNotFoundError):
            return read_manifest(fs, root)
        folders = [os.path.join(root, name) for name in (layout.JOURNALS, layout.SEGMENTS)]
        for path in folders:
            with contextlib.suppress(FileExistsError):
                fs.mkdir(path)
            if fs.names(path):
                raise headless(root)
        new = Manifest(store_id=secrets.token_bytes(16), created=int(time.time()), extras=extras)
        try:
            upkeep.replace_manifest(fs, root, new)
        except OSError:
            # names that could not be synced may go with the power even if a later sync succeeds: who tries again makes them
            # anew. A folder that somebody uses already is not empty, and all stays
            with contextlib.suppress(OSError):
                for path in folders:
                    fs.rmdir(path)
                for name in (layout.MANIFEST, layout.MANIFEST_COPY):
                    fs.unlink(os.path.join(root, name))
            raise
        return new


def _make_folder(fs: FileSystem, root: str) -> None:
    """Have the folder, on the disk."""
    above = os.path.dirname(root)
    try:
        fs.mkdir(root)
    except FileExistsError:
        pass
    except FileNotFoundError:
        os.makedirs(above, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            fs.mkdir(root)
    try:
        fs.sync_folder(above)
    except OSError:
        with contextlib.suppress(OSError):  # the same: to be made anew
            fs.rmdir(root)
        raise


def headless(root: str) -> DamageError:
    return DamageError(
        "MANIFEST is missing; `ostinato check --repair` makes it anew from what is there", source=root
    )
