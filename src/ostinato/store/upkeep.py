"""What sealing, compacting, merging and repairing share: one at a time, and nothing deleted that may be the only one.

Rule of this file: the manifest is replaced when all that it names is on the disk, and what it does not name any more is deleted
when that is on the disk too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ostinato.archive.places import Buffers
from ostinato.errors import DamageError, OstinatoError, UsageError
from ostinato.store import layout
from ostinato.store.forks import FORKS
from ostinato.store.fs import FileSystem
from ostinato.store.locks import give_back, keep
from ostinato.store.manifest import Manifest, in_ranges, read_manifest
from ostinato.store.segment import Segment
from ostinato.store.view import View

_TRIES = 6  # for the lock, at least, a few ms apart: `check` has it for a moment
_LEFTOVER = re.compile(r"\..*\.tmp")
KINDS = ("torn", "damaged", "repeated")

Progress = Callable[[int, int], None]  # (bytes done, bytes in all)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What sealing or compacting did.

    Attributes:
        journals: sealed. records: written to segments. segments: written.
        removed: records that the retention policy did not keep. folded: amendments that are in the records now.
        torn, damaged, repeated: tails, frames or records, and frames with records that were there already, that were passed over.
        aside: files and folders put aside because something in them is damaged.
        bytes: of what was written.
    """

    journals: int = 0
    records: int = 0
    segments: int = 0
    removed: int = 0
    folded: int = 0
    torn: int = 0
    damaged: int = 0
    repeated: int = 0
    aside: int = 0
    bytes: int = 0

    def __add__(self, other: Sealed) -> Sealed:
        return Sealed(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in dataclasses.fields(self)}
        )


@contextlib.contextmanager
def locked(fs: FileSystem, root: str, wait_s: float) -> Iterator[None]:
    """Hold the store's LOCK, which dies with us.

    Raises:
        OstinatoError: another process holds it longer than we may wait.
    """
    path = os.path.join(root, layout.LOCK)
    end = time.monotonic() + wait_s
    tries = _TRIES
    with FORKS.held_off():
        try:
            fd = fs.open(path)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                fs.close(fs.create(path))
            fd = fs.open(path)
        keep(fd)
    try:
        while not fs.lock(fd):
            tries -= 1
            if tries <= 0 and time.monotonic() >= end:
                raise OstinatoError(f"{root}: another process is sealing or compacting this store")
            time.sleep(0.002 if wait_s < 0.1 else 0.01)
        yield
    finally:
        give_back(fs, fd)


def replace_manifest(fs: FileSystem, root: str, new: Manifest) -> None:
    """Put a new manifest in the place of the old one, when all that it names is on the disk.

    The copy first: whichever of the two is read, what it names is there.
    """
    data = new.dumps()
    fs.write(os.path.join(root, layout.MANIFEST_COPY), data)
    fs.write(os.path.join(root, layout.MANIFEST), data)


def discard(fs: FileSystem, path: str) -> None:
    """Remove a segment's folder that is not needed any more; half of it never bears its name."""
    folder, name = os.path.split(path)
    beside = os.path.join(folder, f".{name}.{secrets.token_hex(8)}.tmp")
    with contextlib.suppress(FileNotFoundError):
        fs.replace(path, beside)
        fs.sync_folder(folder)  # else power loss may take its files and give the name back
        fs.remove_folder(beside)


def put_aside(fs: FileSystem, root: str, path: str) -> int:
    """Move a file or a folder into `aside`, under a name that is free; returns 1."""
    folder = os.path.join(root, layout.ASIDE)
    with contextlib.suppress(FileExistsError):
        fs.mkdir(folder)
    name = os.path.basename(path)
    taken = set(fs.names(folder))
    new = name
    count = 1
    while new in taken:
        count += 1
        new = f"{name}.{count}"
    fs.replace(path, os.path.join(folder, new))
    for changed in (folder, os.path.dirname(path)):  # a move counts when both are on the disk
        fs.sync_folder(changed)
    return 1


def clean(fs: FileSystem, root: str) -> int:
    """Remove what a crash left and what is certainly elsewhere; returns how many. To be called under the lock.

    What MANIFEST does not name goes only if what it holds is there in another form: journals that are in segments, segments
    whose journals are there or in other segments. A segment that may be the only one of its kind (of a store that was
    copied while in use) is put aside, and so is what is damaged: where damage was met, what is there in another form may be
    less. And where something is missing that MANIFEST names, nothing is touched.

    Cost: reads the segments that are left.
    """
    live = read_manifest(fs, root)
    removed = _remove_leftovers(fs, root)
    numbers = [n for n in map(layout.journal_number, fs.names(os.path.join(root, layout.JOURNALS))) if n]
    retired = [layout.journal_path(root, n) for n in numbers if live.is_retired(n)]
    unnamed = unnamed_segments(fs, root, live)
    if not (retired or unnamed) or _missing_segment(fs, root, live) is not None:
        return removed
    # whoever replaced MANIFEST may have died, or been told of an error, before that was on the disk
    replace_manifest(fs, root, live)
    for path in retired:
        with contextlib.suppress(OSError):
            # whoever sealed it says so: what is wrong with it by now may be what a loss of power took
            if in_ranges(live.damaged, layout.journal_number(os.path.basename(path))):
                put_aside(fs, root, path)
            else:
                fs.unlink(path)
            removed += 1
    for name in unnamed:
        path = layout.segment_path(root, name)
        if is_elsewhere(fs, root, live, name) and not _is_damaged_segment(fs, root, live, name):
            discard(fs, path)
        else:
            put_aside(fs, root, path)
        removed += 1
    return removed


def _is_damaged_segment(fs: FileSystem, root: str, live: Manifest, name: str) -> bool:
    """Is there a block, or a file, of a segment that is not as it was written? All was synced before it had its name."""
    try:
        buffers = Buffers()
        segment = Segment(fs, root, name, live.store_id)
        segment.open(buffers, live.extras)
        return bool(segment.check(buffers))
    except (DamageError, UsageError, FileNotFoundError):
        return True


def is_elsewhere(fs: FileSystem, root: str, live: Manifest, name: str) -> bool:
    """Are the records of this segment, which MANIFEST does not name, in journals or in other segments?"""
    try:
        numbers = Segment(fs, root, name, live.store_id).contexts_by_journal()
    except (DamageError, FileNotFoundError):
        return False
    there = set(map(layout.journal_number, fs.names(os.path.join(root, layout.JOURNALS))))
    return all(number in there or live.is_retired(number) for number in numbers)


def _remove_leftovers(fs: FileSystem, root: str) -> int:
    """Remove what bears a name that nothing complete bears."""
    removed = 0
    segments = os.path.join(root, layout.SEGMENTS)
    for folder, remove in ((root, fs.unlink), (segments, fs.remove_folder)):
        for name in fs.names(folder):
            if _LEFTOVER.fullmatch(name):
                with contextlib.suppress(OSError):
                    remove(os.path.join(folder, name))
                    removed += 1
    return removed


def unnamed_segments(fs: FileSystem, root: str, live: Manifest) -> list[str]:
    """Names of segments that are there and that MANIFEST does not name."""
    named = {entry.name for entry in live.segments}
    names = fs.names(os.path.join(root, layout.SEGMENTS))
    return [name for name in names if name not in named and layout.SEGMENT_NAME.fullmatch(name)]


def check_there(fs: FileSystem, root: str, live: Manifest) -> None:
    """Refuse a store in which a segment is missing, before anything is added to it.

    Raises:
        DamageError: one is; names it.
    """
    name = _missing_segment(fs, root, live)
    if name is not None:
        raise DamageError(
            "it is missing, though the store names it (copied while in use?)",
            source=layout.segment_path(root, name),
        )


def _missing_segment(fs: FileSystem, root: str, live: Manifest) -> str | None:
    """The first segment that MANIFEST names and that is not there."""
    for entry in live.segments:
        try:
            fs.status(os.path.join(layout.segment_path(root, entry.name), "segment.json"))
        except (FileNotFoundError, NotADirectoryError):
            return entry.name
    return None


def damaged_of(view: View) -> int:
    """Records and frames known to be damaged."""
    skips = [skip for journal in view.journals.values() for skip in journal.skipped]
    frames = sum(skip.kind == "damage" for skip in skips)
    return frames + sum(segment.damaged for segment in view.segments.values())
