"""Sealing: journals that no writer holds become segments; one process at a time.

Rules of this file: the manifest is replaced when all that it names is on the disk, and nothing is deleted before that is on the
disk too; so a crash at any point leaves a store with nothing lost and nothing twice. Memory: a chunk of records,
8 bytes for each record of one segment, and the amendments of the journals that are sealed at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator

from ostinato.errors import UsageError
from ostinato.result import BuildResult
from ostinato.store import layout
from ostinato.store.amendments import SealedAmendment
from ostinato.store.forks import FORKS
from ostinato.store.fs import FileSystem
from ostinato.store.journal import Amendment
from ostinato.store.locks import give_back, keep
from ostinato.store.manifest import Manifest, add_ranges, in_ranges, read_manifest
from ostinato.store.open_journal import MAPPED
from ostinato.store.output import SEGMENT_BYTES, Output, check_size
from ostinato.store.upkeep import KINDS, Progress, Sealed, clean, locked, put_aside, replace_manifest
from ostinato.store.view import View

_READ = 64 << 20  # bytes of journals that are read into memory at once
_EMPTY = 128  # journals retired at once, since each takes a descriptor


def seal(
    fs: FileSystem,
    root: str,
    *,
    max_bytes: int = SEGMENT_BYTES,
    wait_s: float = 0.0,
    progress: Progress | None = None,
) -> Sealed:
    """Make segments of all journals that no writer holds; see `Store.seal`."""
    check_size(max_bytes)
    done = Sealed()
    with locked(fs, root, wait_s):
        clean(fs, root)
        waiting, empty = _closed(fs, root)
        if waiting or empty:
            # a journal whose name goes with the power must not leave a segment of its number, which is then taken again
            fs.sync_folder(os.path.join(root, layout.JOURNALS))
        total = sum(size for _, size in waiting)
        written = 0
        while waiting:
            chosen, size = _some(waiting, max_bytes)
            done += _seal_some(fs, root, chosen, max_bytes)
            written += size
            if progress is not None:
                progress(written, total)
        for first in range(0, len(empty), _EMPTY):
            _retire(fs, root, empty[first : first + _EMPTY])
    return done


def _closed(fs: FileSystem, root: str) -> tuple[list[tuple[int, int]], list[int]]:
    """(number, size) of the journals that no writer holds, in order; and the numbers of those that are empty."""
    live = read_manifest(fs, root)
    out: list[tuple[int, int]] = []
    empty: list[int] = []
    for name in fs.names(os.path.join(root, layout.JOURNALS)):
        number = layout.journal_number(name)
        if not number or live.is_retired(number):
            continue
        with contextlib.ExitStack() as closing:
            size = _size_if_closed(fs, os.path.join(root, layout.JOURNALS, name), closing)
        if size:
            out.append((number, size))
        elif size == 0:
            empty.append(number)
    return sorted(out), sorted(empty)


def _size_if_closed(fs: FileSystem, path: str, held: contextlib.ExitStack) -> int | None:
    """A journal's size, its lock being held for as long as `held`; None if a writer has it, or it is none."""
    with contextlib.suppress(FileNotFoundError, UsageError), FORKS.held_off():
        fd = fs.open(path)
        keep(fd)
        held.callback(give_back, fs, fd)
        if _lock_patiently(fs, fd):
            return fs.size(fd)
    return None


def _retire(fs: FileSystem, root: str, some: list[int]) -> None:
    """Give up the numbers of empty journals: ids that power loss took with their records are not used again.

    The locks are held meanwhile: whoever made one and has no lock yet must not begin to write.
    """
    with contextlib.ExitStack() as held:
        # looked at before, a moment ago
        empty = [n for n in some if _size_if_closed(fs, layout.journal_path(root, n), held) == 0]
        if not empty:
            return
        live = read_manifest(fs, root)
        retired = add_ranges(live.retired, empty)
        replace_manifest(fs, root, dataclasses.replace(live, generation=live.generation + 1, retired=retired))
        for number in empty:
            with contextlib.suppress(FileNotFoundError):
                fs.unlink(layout.journal_path(root, number))


def _some(waiting: list[tuple[int, int]], max_bytes: int) -> tuple[list[int], int]:
    """Take the first journals, as many as are sealed at once: (their numbers, their bytes)."""
    chosen: list[int] = []
    size = read = 0
    while waiting:
        number, more = waiting[0]
        read += more if more < MAPPED else 0
        if chosen and (size + more > max_bytes or read > _READ):
            break
        del waiting[0]
        chosen.append(number)
        size += more
    return chosen, size


def _lock_patiently(fs: FileSystem, fd: int) -> bool:
    """Take a journal's lock unless a writer has it; a reader may have it for a moment."""
    for _ in range(5):
        if fs.lock(fd):
            return True
        time.sleep(0.002)
    return False


def _seal_some(fs: FileSystem, root: str, chosen: list[int], max_bytes: int) -> Sealed:
    view = View(fs, root, chosen=set(chosen))
    view.refresh(thorough=True)
    sealing = [view.journals[n] for n in chosen if n in view.journals]
    sealing = [journal for journal in sealing if journal.closed and not journal.ignored]
    if not sealing:
        return Sealed()
    live = view.manifest
    skips = [skip for journal in sealing for skip in journal.skipped]
    repeated = sum(skip.kind == "repeated" for skip in skips)
    counts = dict.fromkeys(KINDS, 0)
    counts["torn"] = sum(skip.kind == "torn" for skip in skips)
    counts["damaged"] = len(skips) - counts["torn"] - repeated
    counts["repeated"] = repeated
    numbers = [journal.number for journal in sealing]
    retired = add_ranges(live.retired, numbers)
    output = Output(fs, root, live, max_bytes, {journal.number: journal.context for journal in sealing})
    try:
        own = [amendment for journal in sealing for amendment in journal.amendments]
        for journal in sealing:
            # not those that were sealed before the record: then nobody would know what it was
            part = view.overlaid(journal.part(journal.frames), own) if journal.records else None
            output.copy(view, part)
        entries = output.finish(_amendment_lines(fs, root, view, own, output.has), counts)
    except BaseException:
        output.abandon()
        raise
    # where a head or the context is damaged too: what is said there may be the only one
    hurt = {j.number for j in sealing if j.problems or any(skip.kind != "torn" for skip in j.skipped)}
    replace_manifest(
        fs,
        root,
        dataclasses.replace(
            live,
            generation=live.generation + 1,
            damaged=add_ranges((), hurt.union(_still_damaged(fs, root, live))),
            segments=live.segments + entries,
            next_segment=output.next_segment,
            retired=retired,
        ),
    )
    aside = 0
    for journal in sealing:
        if journal.number in hurt:
            aside += put_aside(fs, root, journal.path)
        else:
            with contextlib.suppress(FileNotFoundError):
                fs.unlink(journal.path)
    return Sealed(
        journals=len(sealing),
        records=output.records,
        segments=len(entries),
        folded=sum(output.has(amendment.id) for amendment in own),
        torn=counts["torn"],
        damaged=counts["damaged"] + output.damaged,
        repeated=counts["repeated"],
        aside=aside,
        bytes=sum(entry.bytes for entry in entries),
    )


def _still_damaged(fs: FileSystem, root: str, live: Manifest) -> list[int]:
    """Journals that should have been put aside, and could not be."""
    numbers = map(layout.journal_number, fs.names(os.path.join(root, layout.JOURNALS)))
    return [n for n in numbers if n and in_ranges(live.damaged, n)]


def _amendment_lines(
    fs: FileSystem, root: str, view: View, own: list[Amendment], written: Callable[[int], bool]
) -> Iterator[bytes]:
    """Lines of amendments.jsonl for amendments that are sealed now."""
    originals = _Originals(fs, root, view)
    for amendment in sorted(own, key=lambda a: a.amendment):
        yield SealedAmendment(amendment, originals.of(amendment.id), written(amendment.id)).dump()


class _Originals:
    """Records as they were appended, also those in segments, which are opened when one is asked for."""

    def __init__(self, fs: FileSystem, root: str, view: View) -> None:
        self._fs, self._root, self._view = fs, root, view

    def of(self, identity: int) -> BuildResult | None:
        """The record; None if that is not known."""
        view = self._view
        number = identity >> layout.INDEX_BITS
        for segment in view.segments.values():
            if segment.number < 0 and segment.context_of(number) is not None:
                segment.open(view.buffers, view.manifest.extras)
        return view.as_appended(identity)
