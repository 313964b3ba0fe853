"""Sealing and compacting: journals become segments, segments become fewer; one process at a time.

Rules of this file: the manifest is replaced when all that it names is on the disk, and nothing is deleted before that is on the
disk too; so a crash at any point leaves a store with nothing lost and nothing twice. Memory: a chunk of records, and
8 to 16 bytes for each record of one segment.
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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.archive.places import DamagedPlaces
from ostinato.errors import DamageError, OstinatoError, UsageError
from ostinato.result import BuildResult
from ostinato.results import Results
from ostinato.store import layout
from ostinato.store.catalog_forks import FORKS
from ostinato.store.fs import FileSystem
from ostinato.store.journal import Amendment, Context
from ostinato.store.locks import give_back, keep
from ostinato.store.manifest import Manifest, SegmentEntry, add_ranges, read_manifest
from ostinato.store.retention import Keep, Kept
from ostinato.store.segment import Part, SealedAmendment, Segment, SegmentFull, SegmentWriter
from ostinato.store.view import View

SEGMENT_BYTES = 1 << 30
_CHUNK = 1024
_EMPTY = 256  # journals retired at once, since each takes a descriptor
_WORDS, _TEXT = 1 << 20, 8 << 20  # instructions and bytes, about, of a chunk
_LEFTOVER = re.compile(r"\..*\.tmp")
KINDS = ("torn", "damaged", "repeated")

Rows = Iterator[tuple[NDArray[np.int64], NDArray[np.void]]]  # ids and fields of some records
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
            if time.monotonic() >= end:
                raise OstinatoError(f"{root}: another process is sealing or compacting this store")
            time.sleep(0.01)
        yield
    finally:
        give_back(fs, fd)


# --- sealing ------------------------------------------------------------------------------------------------


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
    with locked(fs, root, wait_s), contextlib.ExitStack() as held:
        clean(fs, root)
        waiting, empty = _closed(fs, root, held)
        if waiting or empty:
            # a journal whose name goes with the power must not leave a segment of its number, which is then taken again
            fs.sync_folder(os.path.join(root, layout.JOURNALS))
        total = sum(size for _, size in waiting)
        written = 0
        while waiting:
            chosen: list[int] = []
            size = 0
            while waiting and (not chosen or size + waiting[0][1] <= max_bytes):
                number, more = waiting.pop(0)
                chosen.append(number)
                size += more
            done += _seal_some(fs, root, chosen, max_bytes)
            written += size
            if progress is not None:
                progress(written, total)
        if empty:
            _retire(fs, root, empty)
    return done


def check_size(max_bytes: int) -> None:
    """Refuse a size that no segment can have."""
    if not isinstance(max_bytes, int) or not 1 << 12 <= max_bytes <= layout.FILE_END - (64 << 20):
        raise UsageError(f"expected an int in [4096, 2**31 - 2**26], got {max_bytes!r}", "max_bytes")


def _closed(fs: FileSystem, root: str, held: contextlib.ExitStack) -> tuple[list[tuple[int, int]], list[int]]:
    """(number, size) of the journals that no writer holds, in order; and the numbers of some that are empty.

    Of those the locks are held: whoever made one and has no lock yet must not begin to write.
    """
    live = read_manifest(fs, root)
    out: list[tuple[int, int]] = []
    empty: list[int] = []
    for name in fs.names(os.path.join(root, layout.JOURNALS)):
        number = layout.journal_number(name)
        if not number or live.is_retired(number):
            continue
        path = os.path.join(root, layout.JOURNALS, name)
        with contextlib.suppress(FileNotFoundError, UsageError), FORKS.held_off():
            fd = fs.open(path)
            keep(fd)
            with contextlib.ExitStack() as closing:
                closing.callback(give_back, fs, fd)
                if not _lock_patiently(fs, fd):
                    continue
                size = fs.size(fd)
                if size:
                    out.append((number, size))
                elif len(empty) < _EMPTY:
                    empty.append(number)
                    held.enter_context(closing.pop_all())
    return sorted(out), empty


def _retire(fs: FileSystem, root: str, empty: list[int]) -> None:
    """Give up the numbers of empty journals: ids that power loss took with their records are not used again."""
    live = read_manifest(fs, root)
    retired = add_ranges(live.retired, empty)
    replace_manifest(fs, root, dataclasses.replace(live, generation=live.generation + 1, retired=retired))
    for number in empty:
        with contextlib.suppress(FileNotFoundError):
            fs.unlink(layout.journal_path(root, number))


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
    repeated = sum(skip.cause.startswith("records that were read") for skip in skips)
    counts = dict.fromkeys(KINDS, 0)
    counts["torn"] = sum(skip.kind == "torn" for skip in skips)
    counts["damaged"] = len(skips) - counts["torn"] - repeated
    counts["repeated"] = repeated
    numbers = [journal.number for journal in sealing]
    retired = add_ranges(live.retired, numbers)
    output = Output(fs, root, live, max_bytes)
    contexts = {journal.number: journal.context for journal in sealing}
    try:
        own = [amendment for journal in sealing for amendment in journal.amendments]
        for journal in sealing:
            # not those that were sealed before the record: then nobody would know what it was
            part = view.overlaid(journal.part(journal.frames), own) if journal.records else None
            output.copy(view, part)
        lines, folded = _amendment_lines(fs, root, view, own, output.ids)
        entries = output.finish(contexts, lines, counts)
    except BaseException:
        output.abandon()
        raise
    replace_manifest(
        fs,
        root,
        dataclasses.replace(
            live,
            generation=live.generation + 1,
            segments=live.segments + entries,
            next_segment=output.next_segment,
            retired=retired,
        ),
    )
    aside = 0
    for journal in sealing:
        # where a head or the context is damaged too: what is said there may be the only one
        if journal.problems or any(skip.kind == "damage" for skip in journal.skipped):
            aside += put_aside(fs, root, journal.path)
        else:
            with contextlib.suppress(FileNotFoundError):
                fs.unlink(journal.path)
    return Sealed(
        journals=len(sealing),
        records=output.records,
        segments=len(entries),
        folded=folded,
        torn=counts["torn"],
        damaged=counts["damaged"] + output.damaged,
        repeated=counts["repeated"],
        aside=aside,
        bytes=sum(entry.bytes for entry in entries),
    )


def _amendment_lines(
    fs: FileSystem, root: str, view: View, own: list[Amendment], written: Callable[[int], bool]
) -> tuple[list[bytes], int]:
    """Lines of amendments.jsonl for amendments that are sealed now, and how many are folded in."""
    lines, folded = [], 0
    originals = _Originals(fs, root, view)
    for amendment in sorted(own, key=lambda a: a.amendment):
        here = written(amendment.id)
        folded += here
        lines.append(SealedAmendment(amendment, originals.of(amendment.id), here).dump())
    return lines, folded


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


def _text_bytes(view: View, places: NDArray[np.int64]) -> int:
    """About how many bytes the lists of these records take: from the first list to the last one in each file."""
    numbers = places >> np.int64(32)
    alike = bool((numbers == numbers[0]).all())
    total = 0
    for number in [int(numbers[0])] if alike else np.unique(numbers).tolist():
        entries = (places[numbers == number] & 0xFFFFFFFF) << 3
        data = view.buffers.data(number)
        lists = [
            at + int(data[at + 32 : at + 36].view("<i4")[0])
            for at in (int(entries.min()), int(entries.max()))
        ]
        total += abs(lists[1] - lists[0])
    return total


class Output:
    """Segments being written, one after the other."""

    def __init__(self, fs: FileSystem, root: str, live: Manifest, max_bytes: int) -> None:
        self._fs, self._root, self._live, self._max_bytes = fs, root, live, max_bytes
        self._done: list[tuple[SegmentWriter, str, str]] = []
        self._current: SegmentWriter | None = None
        self.next_segment = live.next_segment
        self.records = self.damaged = 0
        self._written: list[NDArray[np.int64]] = []

    def copy(self, view: View, part: Part | None) -> None:
        """Write the records of a part, whose ids rise; damaged ones are passed over and counted."""
        if part is None:
            return
        for first in range(0, len(part.ids), _CHUNK):
            ids, places = part.ids[first : first + _CHUNK], part.places[first : first + _CHUNK]
            extras, bad = view.extras(ids)
            if bad.any():
                self.damaged += int(bad.sum())
                ids, places = ids[~bad], places[~bad]
                extras = {name: column[~bad] for name, column in extras.items()}
            self.write(view, ids, places, extras)

    def write(
        self,
        view: View,
        ids: NDArray[np.int64],
        places: NDArray[np.int64],
        extras: dict[str, NDArray[Any]],
    ) -> None:
        """Write some records under these ids, which rise; damaged ones are passed over and counted."""
        if not len(ids):
            return
        try:
            results = view.buffers.results(places)
            half = len(ids) // 2
            large = int(np.sum(results.instruction_counts)) > _WORDS or _text_bytes(view, places) > _TEXT
            if half and large:
                for part in (slice(None, half), slice(half, None)):
                    some = {name: column[part] for name, column in extras.items()}
                    self.write(view, ids[part], places[part], some)
                return
            self._add(results, ids, extras)
        except DamagedPlaces as damage:
            good = ~damage.bad
            self.damaged += int(damage.bad.sum())
            if good.any():
                some = {name: column[good] for name, column in extras.items()}
                self.write(view, ids[good], places[good], some)

    def _add(self, results: Results, ids: NDArray[np.int64], extras: dict[str, NDArray[Any]]) -> None:
        if self._current is None:
            self._begin()
        assert self._current is not None
        try:
            self._current.add(results, ids, extras)
        except SegmentFull:
            half = len(ids) // 2
            parts = [slice(None, half), slice(half, None)]
            if self._current.records:
                self._begin()
                parts = [slice(None)]
            for part in parts:
                self._add(results[part], ids[part], {name: column[part] for name, column in extras.items()})
            return
        self.records += len(ids)
        self._written.append(ids.copy())

    def _begin(self) -> None:
        fs = self._fs
        name = f"{self.next_segment:06d}"
        beside = layout.segment_path(self._root, f".{name}.{secrets.token_hex(8)}.tmp")
        self._current = SegmentWriter(fs, beside, self._live.extras, self._max_bytes)
        self._done.append((self._current, name, beside))
        self.next_segment += 1

    def ids(self, identity: int) -> bool:
        """Was this record written?"""
        for ids in self._written:
            k = int(np.searchsorted(ids, identity))
            if k < len(ids) and ids[k] == identity:
                return True
        return False

    def finish(
        self,
        contexts: dict[int, Context],
        amendments: list[bytes],
        dropped: dict[str, int],
    ) -> tuple[SegmentEntry, ...]:
        """Complete all folders and give them their names; the last one bears what is said of all."""
        fs = self._fs
        if not self._done and amendments:
            self._begin()
        dropped = {**dropped, "damaged": dropped.get("damaged", 0) + self.damaged}
        entries = []
        for k, (writer, name, beside) in enumerate(self._done):
            last = k == len(self._done) - 1
            size = writer.finish(
                name=name,
                store_id=self._live.store_id,
                contexts=contexts,
                amendments=amendments if last else (),
                dropped=dropped if last else dict.fromkeys(KINDS, 0),
            )
            fs.replace(beside, layout.segment_path(self._root, name))
            entries.append(SegmentEntry(name, writer.records, size))
        if entries:
            fs.sync_folder(os.path.join(self._root, layout.SEGMENTS))
        return tuple(entries)

    def abandon(self) -> None:
        """Remove what was written, as far as that goes; what is left is a left-over."""
        for writer, name, beside in self._done:
            with contextlib.suppress(OSError, UsageError):
                writer.close()
            for path in (beside, layout.segment_path(self._root, name)):
                with contextlib.suppress(OSError, UsageError):
                    self._fs.remove_folder(path)


# --- compacting ---------------------------------------------------------------------------------------------


def compact(
    fs: FileSystem,
    root: str,
    keep: Keep | None,
    *,
    now: int,
    max_bytes: int = SEGMENT_BYTES,
    wait_s: float = 0.0,
    progress: Progress | None = None,
    scrub: bool = False,
) -> Sealed:
    """Seal, then write segments anew without what the policy does not keep, with amendments folded in; see
    `Store.compact`. `scrub`: read every byte, to find damage that nobody has met yet."""
    done = seal(fs, root, max_bytes=max_bytes, wait_s=wait_s)
    with locked(fs, root, wait_s):
        clean(fs, root)
        view = View(fs, root, chosen=())
        view.refresh()
        for segment in view.segments.values():
            segment.open(view.buffers, view.manifest.extras)
        kept = None if keep is None else Kept(keep, now, lambda: _all_rows(view))
        hurt = {
            name
            for name, segment in view.segments.items()
            if segment.damaged or (scrub and segment.check(view.buffers))
        }
        groups = _groups(view, kept, max_bytes, hurt)
        total = sum(entry.bytes for group in groups for entry in group)
        written = 0
        for group in groups:
            done += _compact_some(fs, root, view, [entry.name for entry in group], kept, max_bytes, hurt)
            written += sum(entry.bytes for entry in group)
            if progress is not None:
                progress(written, total)
    return done


def _all_rows(view: View) -> Rows:
    for segment in view.segments.values():
        yield from _rows_of(view, segment)


def _groups(view: View, kept: Kept | None, max_bytes: int, hurt: set[str]) -> list[list[SegmentEntry]]:
    """Neighbouring segments that become one: small ones together, and those in which something changes."""
    amended = _to_fold(view)
    groups: list[list[SegmentEntry]] = []
    changes: list[bool] = []
    size = 0.0
    for entry in view.manifest.segments:
        segment = view.segments[entry.name]
        share = _share(view, segment, kept)
        changed = share < 1 or entry.name in hurt or any(_holds(segment, i) for i in amended)
        after = entry.bytes * share
        if not changed and after >= max_bytes / 2:
            size = max_bytes  # it stays as it is, and those around it stay apart
            continue
        if not groups or size + after > max_bytes:
            groups.append([])
            changes.append(False)
            size = 0.0
        groups[-1].append(entry)
        changes[-1] |= changed
        size += after
    return [group for group, changed in zip(groups, changes, strict=True) if changed or len(group) > 1]


def _to_fold(view: View) -> list[int]:
    """The amended records that are not yet what they should be.

    Where a correction is in another segment than its record, its line does not learn that it was folded in: so look.
    """
    out = []
    for identity, (amendment, folded) in view.effective(settled=True).items():
        place = None if folded else view.original(identity)
        if place is None:
            continue
        try:
            same = view.buffers.results(np.array([place], np.int64))[0] == amendment.result
        except DamagedPlaces:
            same = False
        if not same:
            out.append(identity)
    return out


def _holds(segment: Segment, identity: int) -> bool:
    return bool((segment.ids == identity).any())


def _share(view: View, segment: Segment, kept: Kept | None) -> float:
    """The share of a segment's records that stay."""
    if kept is None or not len(segment.ids):
        return 1.0
    stays = sum(int(kept.of(ids, rows).sum()) for ids, rows in _rows_of(view, segment))
    return stays / len(segment.ids)


def _rows_of(view: View, segment: Segment) -> Rows:
    part = view.overlaid(segment.part())
    for first in range(0, len(part.ids), 1 << 16):
        ids, places = part.ids[first : first + (1 << 16)], part.places[first : first + (1 << 16)]
        try:
            yield ids, view.buffers.rows(places)
        except DamagedPlaces as damage:
            yield ids[~damage.bad], view.buffers.rows(places[~damage.bad])


def _compact_some(
    fs: FileSystem,
    root: str,
    view: View,
    names: list[str],
    kept: Kept | None,
    max_bytes: int,
    hurt: set[str],
) -> Sealed:
    live = read_manifest(fs, root)
    segments = [view.segments[name] for name in names]
    counts = dict.fromkeys(KINDS, 0)
    contexts: dict[int, Context] = {}
    for segment in segments:
        for kind, n in segment.dropped.items():
            counts[kind] = counts.get(kind, 0) + n
        contexts |= segment.contexts_by_journal()
    parts = [view.overlaid(segment.part()) for segment in segments]
    ids = np.concatenate([part.ids for part in parts])
    places = np.concatenate([part.places for part in parts])
    before = len(ids)
    if kept is not None:
        good = [some[kept.of(some, rows)] for segment in segments for some, rows in _rows_of(view, segment)]
        stay = np.isin(ids, np.concatenate([ids[:0], *good]), assume_unique=True)
        ids, places = ids[stay], places[stay]
    order = np.argsort(ids)
    output = Output(fs, root, live, max_bytes)
    damaged = sum(segment.damaged for segment in segments)
    try:
        output.copy(view, Part(ids[order], places[order]))
        lines, folded = [], 0
        for segment in segments:
            for sealed in segment.amendments:
                if not len(ids) and not _elsewhere(view, segments, sealed.amendment.id):
                    continue  # nothing is left of which it could tell
                here = output.ids(sealed.amendment.id)
                folded += here and not sealed.folded
                was = sealed.before
                if here and not sealed.folded and was is None:  # it was sealed before the record
                    was = view.as_appended(sealed.amendment.id)
                lines.append(SealedAmendment(sealed.amendment, was, sealed.folded or here).dump())
        if damaged:
            counts["damaged"] += damaged
        entries = output.finish(contexts, lines, counts)
    except BaseException:
        output.abandon()
        raise
    first = [entry.name for entry in live.segments].index(names[0])
    rest = [entry for entry in live.segments if entry.name not in names]
    replace_manifest(
        fs,
        root,
        dataclasses.replace(
            live,
            generation=live.generation + 1,
            segments=(*rest[:first], *entries, *rest[first:]),
            next_segment=output.next_segment,
        ),
    )
    aside = 0
    for segment in segments:
        path = layout.segment_path(root, segment.name)
        # damage may have been found while it was copied
        if segment.name in hurt or segment.problems or segment.hurt(view.buffers):
            aside += put_aside(fs, root, path)
        else:
            discard(fs, path)
    return Sealed(
        records=output.records,
        segments=len(entries),
        removed=before - len(ids),
        folded=folded,
        damaged=damaged + output.damaged,
        aside=aside,
        bytes=sum(entry.bytes for entry in entries),
    )


def _elsewhere(view: View, segments: list[Segment], identity: int) -> bool:
    """Is this record in another segment than these, or in a journal that is not sealed yet?"""
    there = view.original(identity) is not None or not view.manifest.is_retired(identity >> layout.INDEX_BITS)
    return there and not any(_holds(s, identity) for s in segments)


# --- what both need -----------------------------------------------------------------------------------------


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
    copied while in use) is put aside; and where something is missing that MANIFEST names, nothing is touched.
    """
    live = read_manifest(fs, root)
    removed = _remove_leftovers(fs, root)
    numbers = [n for n in map(layout.journal_number, fs.names(os.path.join(root, layout.JOURNALS))) if n]
    retired = [layout.journal_path(root, n) for n in numbers if live.is_retired(n)]
    unnamed = unnamed_segments(fs, root, live)
    if not (retired or unnamed) or not all(_is_there(fs, root, entry.name) for entry in live.segments):
        return removed
    # whoever replaced MANIFEST may have died, or been told of an error, before that was on the disk
    replace_manifest(fs, root, live)
    for path in retired:
        with contextlib.suppress(OSError):
            fs.unlink(path)
            removed += 1
    for name in unnamed:
        path = layout.segment_path(root, name)
        if is_elsewhere(fs, root, live, name):
            discard(fs, path)
        else:
            put_aside(fs, root, path)
        removed += 1
    return removed


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


def _is_there(fs: FileSystem, root: str, name: str) -> bool:
    try:
        fs.status(os.path.join(layout.segment_path(root, name), "segment.json"))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def damaged_of(view: View) -> int:
    """Records and frames known to be damaged."""
    skips = [skip for journal in view.journals.values() for skip in journal.skipped]
    frames = sum(skip.kind == "damage" for skip in skips)
    return frames + sum(segment.damaged for segment in view.segments.values())
