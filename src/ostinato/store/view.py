"""View: the files of a store as one reader has them open, and what is new in them.

Rule of this file: it only reads. A file that goes away while it is looked for means that the manifest has changed: look again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.archive.places import STEP, Buffers, DamagedPlaces
from ostinato.archive.writing import dumps
from ostinato.errors import DamageError, OstinatoError, UsageError
from ostinato.result import BuildResult
from ostinato.store import layout
from ostinato.store.cursor import Cursor
from ostinato.store.fs import FileSystem
from ostinato.store.journal import Amendment, Context
from ostinato.store.manifest import Manifest, extras_dtype, read_manifest
from ostinato.store.open_journal import OpenJournal, aligned_bytes
from ostinato.store.segment import Part, Segment

_LOG = logging.getLogger("ostinato")
_TRIES = 1000
_SETTLED_S = 2.0  # after so long a folder's time of change tells of every change
_LOW = layout.INDEX_END - 1
_SHOWN = 100  # damaged places of a journal that are told one by one


@dataclass(slots=True)
class Change:
    """What a refresh found.

    Attributes:
        added: records that were not there before, in the order of the files.
        left: numbers of the buffers whose files are gone; drop them when their records have moved.
        moved: where records that were there before are now, of those whose file is gone.
        amended: records that were there before and have another content now.
    """

    added: list[Part] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    moved: list[Part] = field(default_factory=list)
    amended: list[Part] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.added or self.left or self.amended)


class View:
    """A store's files, opened by one reader; `refresh` says what is new.

    Attributes:
        manifest: as it was at the last refresh. cursor: what has been told of so far.
        segments, journals: those that are open, by name and number.
        buffers: where their records' places lead.
    """

    def __init__(self, fs: FileSystem, root: str, chosen: Collection[int] | None = None) -> None:
        """`chosen`: look at these journals alone, and at no segment's records; None: at everything."""
        self._fs, self._root, self._chosen = fs, root, chosen
        self._folder = os.path.join(root, layout.JOURNALS)
        self._manifest_path = os.path.join(root, layout.MANIFEST)
        self._manifest_stamp: tuple[int, ...] = ()
        self._folder_stamp: tuple[int, ...] = ()
        self.buffers = Buffers()
        self.cursor = Cursor()
        self.segments: dict[str, Segment] = {}
        self.journals: dict[int, OpenJournal] = {}
        self._growing: list[OpenJournal] = []
        self._overlay: dict[int, int] = {}  # amended record -> place
        self._sorted: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None  # the same; None: to be made
        self._overlaid: dict[int, Amendment] = {}  # amended record -> what stands at that place
        self._laid: list[int] = []  # buffers of such places
        self._lying: set[int] = set()  # records whose readers may look for them there
        self._told: dict[int, Amendment] = {}  # amended record -> the amendment that was told of last
        self._unsaid: set[int] = set()  # amended records that are to be told of
        # what folding replaced, as of a generation
        self._befores: tuple[int, dict[int, BuildResult | None]] = (-1, {})
        self._said: set[str] = set()
        self._unlaid = False  # is there an amendment of a record that has not been seen yet?
        self._amendments_came = False  # since they were applied; a segment may hold nothing else
        self._looked = True  # at a file, since problems were reported
        self._halfway = False  # an interrupt came while the manifest was followed
        self._untold = Change()  # found by a refresh that failed, and told by the next
        self.manifest = read_manifest(self._fs, self._root)
        self._manifest_stamp = ()  # it is looked at again by the first refresh

    # --- what is new ----------------------------------------------------------------------------------------

    @property
    def is_halfway(self) -> bool:
        """Was a look interrupted between two steps of noting what it found? Then another view is needed."""
        return self._halfway or any(journal.halfway for journal in self._growing)

    def refresh(self, *, thorough: bool = False) -> Change:
        """Take in what has changed since the last time. With nothing new: a stat for each journal that has a writer.

        Args:
            thorough: look again at journals that have not grown too: their writer may have died.

        Raises:
            DamageError: MANIFEST or a segment cannot be read; names the file. OSError: as the system says.
        """
        if self.is_halfway:
            raise OstinatoError(f"{self._root}: a look at the store was interrupted: open it anew")
        change = self._untold
        for attempt in range(_TRIES):
            if attempt > 8:
                time.sleep(min(0.001 * attempt, 0.05))  # somebody seals without a pause
            stamp = _stamp(self._fs.status(self._manifest_path))
            try:
                if stamp != self._manifest_stamp:
                    self._looked = True
                    self._follow_manifest(change)
                    self._folder_stamp = ()
                self._follow_folder()
                self._read_journals(change, thorough)
            except FileNotFoundError as error:
                if _stamp(self._fs.status(self._manifest_path)) == stamp:
                    raise _missing(error) from None
                continue
            # what is deleted is deleted after the manifest was replaced: if it was not, nothing was missed
            if _stamp(self._fs.status(self._manifest_path)) == stamp:
                self._manifest_stamp = stamp
                break
        else:
            raise OstinatoError(f"{self._root}: the store changes faster than it can be read")
        _settle(change)
        self._apply_amendments(change)
        if self._looked:
            self._report()
        self._untold, self._amendments_came, self._looked = Change(), False, False
        return change

    def _follow_manifest(self, change: Change) -> None:
        """Open segments that are new, and leave what is no longer live."""
        now = read_manifest(self._fs, self._root)
        if now.store_id != self.manifest.store_id:
            raise OstinatoError(f"{self._root}: another store stands there now; open it anew")
        names = {entry.name for entry in now.segments}
        opened: dict[str, Segment] = {}
        try:
            self._open_segments(now, opened)
        except BaseException:
            self.buffers.drop(segment.number for segment in opened.values() if segment.number >= 0)
            raise
        added, moved = [], []
        cursor = self.cursor
        for segment in opened.values():
            ids, places = segment.part()
            if not len(ids):
                continue
            if cursor.has_none(int(ids[0]), int(ids[-1]) + 1):
                added.append(Part(ids, places))
            else:
                seen = cursor.seen(ids)
                moved.append(Part(ids[seen], places[seen]))
                if not seen.all():
                    added.append(Part(ids[~seen], places[~seen]))
            cursor = cursor.union(stretches(ids))
        gone = [name for name in self.segments if name not in names]
        retired = [number for number in self.journals if now.is_retired(number)]
        left = [self.segments[name].number for name in gone] + [self.journals[n].buffer for n in retired]
        # whoever was sealed is seen whole
        shift = layout.INDEX_BITS
        cursor = cursor.union(((a << shift), ((b + 1) << shift)) for a, b in now.retired)
        # all is computed: what raises before this is looked at again, and what comes after cannot
        self._halfway = True
        self.segments |= opened
        for name in gone:
            del self.segments[name]
        for number in retired:
            del self.journals[number]
        self._growing = [journal for journal in self._growing if journal.number in self.journals]
        self._amendments_came |= any(segment.amendments for segment in opened.values()) or bool(
            gone or retired
        )
        change.added += added
        change.moved += moved
        change.left += [number for number in left if number >= 0]
        self.cursor = cursor
        self.manifest = now
        self._halfway = False

    def _open_segments(self, now: Manifest, opened: dict[str, Segment]) -> None:
        """Those that are new, all or none of them to be believed."""
        for entry in now.segments:
            if entry.name not in self.segments:
                segment = opened[entry.name] = Segment(self._fs, self._root, entry.name, now.store_id)
                if self._chosen is None:
                    segment.open(self.buffers, now.extras)
                if opened[entry.name].records != entry.records:
                    raise DamageError(
                        f"MANIFEST says {entry.records} records, segment.json {opened[entry.name].records}",
                        source=layout.segment_path(self._root, entry.name),
                    )
        for name, segment in opened.items():
            if not all(map(now.is_retired, segment.journals())):
                raise DamageError(
                    "it holds records of a journal that MANIFEST does not have as retired",
                    source=layout.segment_path(self._root, name),
                )

    def _follow_folder(self) -> None:
        """Find journals that are new."""
        status = self._fs.status(self._folder)
        stamp = _stamp(status)
        if stamp == self._folder_stamp:
            return
        settled = time.time() - status.st_mtime > _SETTLED_S
        for name in self._fs.names(self._folder):
            number = layout.journal_number(name)
            if not number or number in self.journals or self.manifest.is_retired(number):
                continue
            if self._chosen is not None and number not in self._chosen:
                continue
            path = os.path.join(self._folder, name)
            self.journals[number] = opened = OpenJournal(number, path)
            self._growing.append(opened)
        self._growing.sort(key=lambda journal: journal.number)
        self._folder_stamp = stamp if settled else ()

    def _read_journals(self, change: Change, thorough: bool) -> None:
        seen: list[tuple[int, int]] = []
        try:
            for journal in self._growing:
                try:
                    size = os.lstat(journal.path).st_size
                    if size == journal.size and size and not thorough:
                        continue
                    self._looked = True
                    before = journal.index
                    corrections = len(journal.amendments)
                    part = journal.read_on(self._fs, self.buffers, self.manifest, patient=thorough)
                    self._amendments_came |= len(journal.amendments) > corrections
                except UsageError as error:  # a link, a pipe
                    journal.problems.append(str(error))
                    journal.ignored = True
                    continue
                except FileNotFoundError:
                    if journal.records:
                        raise
                    # given up by its writer before it held anything, or sealed meanwhile
                    journal.ignored = True
                    del self.journals[journal.number]
                    continue
                if part is not None:
                    change.added.append(part)
                if journal.index > before:
                    base = journal.number << layout.INDEX_BITS
                    seen.append((base + before, base + journal.index))
                journal.halfway = False
        finally:  # what is in `change` is told of
            if seen:
                self.cursor = self.cursor.union(seen)
            if any(j.closed or j.ignored for j in self._growing):
                self._growing = [j for j in self._growing if j.halfway or not (j.closed or j.ignored)]

    # --- amendments -----------------------------------------------------------------------------------------

    def effective(self, *, settled: bool = False) -> dict[int, tuple[Amendment, bool]]:
        """For each amended record the amendment that counts, and is it folded into the record already?

        `settled`: without those in journals that have a writer.
        """
        latest: dict[int, tuple[Amendment, bool]] = {}
        for amendment, folded in self._all_amendments(settled):
            known = latest.get(amendment.id)
            if known is None or (amendment.at, amendment.amendment) >= (known[0].at, known[0].amendment):
                latest[amendment.id] = (amendment, folded)
        return latest

    def _all_amendments(self, settled: bool = False) -> Iterator[tuple[Amendment, bool]]:
        for segment in self.segments.values():
            for sealed in segment.amendments:
                yield sealed.amendment, sealed.folded
        for journal in self.journals.values():
            if journal.closed or not settled:
                for amendment in journal.amendments:
                    yield amendment, False

    def _apply_amendments(self, change: Change) -> None:
        if self._amendments_came or (self._unlaid and change.added):
            self._follow_amendments(change)
        elif self._overlay:
            self._overlay_change(change)

    def _overlay_change(self, change: Change) -> None:
        ids, places = self._overlay_arrays()
        change.added = [overlaid(part, ids, places) for part in change.added]
        change.moved = [overlaid(part, ids, places) for part in change.moved]

    def _follow_amendments(self, change: Change) -> None:
        """Amendments came, or records or amendments were sealed: O(amendments)."""
        latest = self.effective()
        wanted = {identity: amendment for identity, (amendment, folded) in latest.items() if not folded}
        # sealed or compacted before we have looked: the record's content has changed all the same
        told = {identity: amendment for identity, (amendment, _) in latest.items()}
        missed = [i for i, (a, folded) in latest.items() if folded and self._told.get(i) != a]
        self._unsaid.update(missed)
        self._told = told
        new = [a for identity, a in wanted.items() if self._overlaid.get(identity) != a]
        if self._chosen is None:
            here = [a for a in new if self.original(a.id) is not None]
            self._unlaid, new = len(here) < len(new), here
        self._unsaid.update(a.id for a in new)
        self._lay(new)
        self._sorted = None
        for identity in [identity for identity in self._overlay if identity not in wanted]:
            del self._overlay[identity]
            self._overlaid.pop(identity, None)
        if change.left and self._chosen is None:
            self._lay_anew(change)
        if self._overlay:
            self._overlay_change(change)
        fresh = np.array(sorted(self._unsaid), np.int64)
        for part in change.added:  # those are told of already
            fresh = fresh[~np.isin(fresh, part.ids)]
        found = [(i, place) for i in fresh.tolist() if (place := self.find(i)) is not None]
        if found:
            change.amended.append(Part(*np.array(found, np.int64).T.copy()))
        self._unsaid = set()

    def _lay(self, amendments: list[Amendment]) -> None:
        """Have these results in a buffer, and their records there."""
        if not amendments:
            return
        data = np.frombuffer(dumps([a.result for a in amendments]), np.uint8)
        number = self.buffers.add(aligned_bytes(data.tobytes()), name="amendments")
        self._laid.append(number)
        at = len(data) - 8 - 96 * len(amendments)
        for k, amendment in enumerate(amendments):
            self._overlay[amendment.id] = number << 32 | (at // 8 + STEP * k)
            self._overlaid[amendment.id] = amendment
        self._sorted = None
        self._lying |= {a.id for a in amendments}

    def _lay_anew(self, change: Change) -> None:
        """Files are gone: leave the amendments' buffers too. Else a record that lies there would outlive its file."""
        change.left += [number for number in self._laid if number not in change.left]
        self._laid = []
        here = [a for identity, a in self._overlaid.items() if self.original(identity) is not None]
        self._overlaid, self._overlay, self._sorted = {}, {}, None
        self._lay(here)
        now = [(i, place) for i in sorted(self._lying) if (place := self.find(i)) is not None]
        if now:
            change.moved.append(Part(*np.array(now, np.int64).T.copy()))
        self._lying = {a.id for a in here}

    def _overlay_arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(ids, rising; places): made when the overlay has changed, and not at each refresh."""
        if self._sorted is None:
            ids = np.array(sorted(self._overlay), np.int64)
            self._sorted = ids, np.array([self._overlay[i] for i in ids.tolist()], np.int64)
        return self._sorted

    def overlaid(self, part: Part, only: Collection[Amendment] | None = None) -> Part:
        """The part, with amended records at the places of what they are now; `only` where one of these amendments counts."""
        ids, places = self._overlay_arrays()
        if only is not None:
            wanted = {amendment.id for amendment in only if self._overlaid.get(amendment.id) == amendment}
            here = np.isin(ids, np.array(sorted(wanted), np.int64))
            ids, places = ids[here], places[here]
        return overlaid(part, ids, places)

    # --- looking up -----------------------------------------------------------------------------------------

    def parts(self) -> Iterator[Part]:
        """All records, in the order of the files: segments as MANIFEST names them, then journals by number."""
        overlay, places = self._overlay_arrays()
        for entry in self.manifest.segments:
            yield overlaid(self.segments[entry.name].part(), overlay, places)
        for number in sorted(self.journals):
            journal = self.journals[number]
            if journal.records:
                yield overlaid(journal.part(journal.frames), overlay, places)

    def original(self, identity: int) -> int | None:
        """The place of a record as it was appended; None if it is not here."""
        number = identity >> layout.INDEX_BITS
        journal = self.journals.get(number)
        if journal is not None and journal.records:
            frames = journal.frames
            index = identity & _LOW
            k = int(np.searchsorted(frames.first, index, side="right")) - 1
            if k >= 0 and index < int(frames.first[k] + frames.count[k]):
                return journal.buffer << 32 | (
                    int(frames.entries[k]) // 8 + STEP * (index - int(frames.first[k]))
                )
            return None
        for segment in self.segments.values():
            found = segment.find(np.array([identity], np.int64))
            if found[0] >= 0:
                return int(segment.place(found)[0])
        return None

    def as_appended(self, identity: int) -> BuildResult | None:
        """The record as it was appended; None if that is not known (it is not here, damaged, or was folded without a history)."""
        generation, befores = self._befores
        if generation != self.manifest.generation:
            befores = {}
            for segment in self.segments.values():
                for sealed in segment.amendments:
                    # whoever knew what it was before says so; the record itself may be corrected by now
                    known = sealed.before is not None or sealed.folded
                    if known and befores.get(sealed.amendment.id) is None:
                        befores[sealed.amendment.id] = sealed.before
            self._befores = self.manifest.generation, befores
        if identity in befores:  # what stands there is what it was corrected to
            return befores[identity]
        place = self.original(identity)
        if place is not None:
            with contextlib.suppress(DamagedPlaces):
                return self.buffers.results(np.array([place], np.int64))[0]
        return None

    def find(self, identity: int) -> int | None:
        """The place of a record as it is now; None if it is not here."""
        place = self.original(identity)
        return None if place is None else self._overlay.get(identity, place)

    def context_of(self, journal: int) -> Context:
        """The context of a journal's records."""
        opened = self.journals.get(journal)
        if opened is not None:
            return opened.context
        for segment in self.segments.values():
            found = segment.context_of(journal)
            if found is not None:
                return found
        return {}

    def contexts(self) -> list[tuple[int, Context, int]]:
        """(journal, context, opened) of every journal; 0 where it is not known any more when it was opened."""
        out = [
            (journal, context, 0)
            for segment in self.segments.values()
            for journal, context in segment.contexts_by_journal().items()
        ]
        return out + [
            (j.number, j.context, j.opened or 0) for j in self.journals.values() if j.head is not None
        ]

    def extras(self, ids: NDArray[np.int64]) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_]]:
        """The extra columns of these records, an array [n] for each; and of which records they cannot be read."""
        kind = extras_dtype(self.manifest.extras)
        out = {name: np.zeros(len(ids), kind[name]) for name in self.manifest.extras}
        bad = np.zeros(len(ids), np.bool_)
        if not out:
            return out, bad
        numbers = ids >> layout.INDEX_BITS
        missing = np.ones(len(ids), np.bool_)
        for number in np.unique(numbers).tolist():
            journal = self.journals.get(number)
            if journal is None or not journal.records:
                continue
            here = np.flatnonzero(numbers == number)
            rows = self._journal_extras(journal, ids[here] & _LOW, kind)
            for name, column in out.items():
                column[here] = rows[name]
            missing[here] = False
        for segment in self.segments.values():
            if not missing.any():
                break
            left = np.flatnonzero(missing)
            k = segment.find(ids[left])
            found = k >= 0
            columns, wrong = segment.extras(k[found])
            for name, values in columns.items():
                out[name][left[found]] = values
            bad[left[found]] = wrong
            missing[left[found]] = False
        return out, bad | missing

    def _journal_extras(
        self, journal: OpenJournal, indexes: NDArray[np.int64], kind: np.dtype[np.void]
    ) -> NDArray[np.void]:
        frames = journal.frames
        k = np.searchsorted(frames.first, indexes, side="right") - 1
        # the rows stand behind the archive's root of 8 bytes
        at = frames.entries[k] + 96 * frames.count[k] + 8 + kind.itemsize * (indexes - frames.first[k])
        data = self.buffers.data(journal.buffer)
        raw = data[at[:, None] + np.arange(kind.itemsize)]
        return np.ascontiguousarray(raw).view(kind).reshape(-1)

    # --- what is wrong --------------------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """What is wrong with the files, in words, damage of single frames included; torn tails are not."""
        out = [problem for segment in self.segments.values() for problem in segment.problems]
        for journal in self.journals.values():
            out += journal.problems
            damage = [skip for skip in journal.skipped if skip.kind == "damage"]
            out += [
                f"{journal.path}: {skip.cause} - at byte {skip.position}, {skip.size} bytes passed over"
                for skip in damage[:_SHOWN]
            ]
            if len(damage) > _SHOWN:
                out.append(f"{journal.path}: more damage, {len(damage):,} places in all")
        for name, blocks in self.buffers.damaged_blocks().items():
            out.append(f"{name}: damaged blocks of 4096 bytes: {', '.join(map(str, blocks[:8]))}")
        return out

    def _report(self) -> None:
        for problem in self.problems():
            if problem not in self._said:
                self._said.add(problem)
                _LOG.warning("%s", problem)


def _settle(change: Change) -> None:
    """What came or moved in more than one look: only where it is now counts, and not at all what is gone again."""
    if not change.left:
        return
    gone = np.array(change.left, np.int64)
    change.moved = [_outside(part, gone) for part in change.moved]
    ids = np.concatenate([np.empty(0, np.int64), *(part.ids for part in change.moved)])
    places = np.concatenate([np.empty(0, np.int64), *(part.places for part in change.moved)])
    order = np.argsort(ids)
    ids, places = ids[order], places[order]
    added = []
    for part in change.added:
        stays = _outside(part, gone)
        if len(stays.ids) == len(part.ids):
            added.append(part)
            continue
        found = np.isin(ids, part.ids[~np.isin(part.ids, stays.ids)])
        added.append(
            Part(np.concatenate([stays.ids, ids[found]]), np.concatenate([stays.places, places[found]]))
        )
    change.added = [part for part in added if len(part.ids)]


def _outside(part: Part, numbers: NDArray[np.int64]) -> Part:
    """The records of a part that do not lie in these buffers."""
    here = ~np.isin(part.places >> np.int64(32), numbers)
    return part if here.all() else Part(part.ids[here], part.places[here])


def overlaid(part: Part, ids: NDArray[np.int64], places: NDArray[np.int64]) -> Part:
    """The part, with these records (ids rise) at other places."""
    if not len(ids) or not len(part.ids):
        return part
    k = np.minimum(np.searchsorted(ids, part.ids), len(ids) - 1)
    here = ids[k] == part.ids
    return Part(part.ids, np.where(here, places[k], part.places)) if here.any() else part


def stretches(ids: NDArray[np.int64]) -> list[tuple[int, int]]:
    """[start, end) of rising ids, a few: one for each journal, up to its last record here."""
    numbers = ids >> layout.INDEX_BITS
    last = np.flatnonzero(np.concatenate([numbers[1:] != numbers[:-1], [True]]))
    first = np.concatenate([[0], last[:-1] + 1])
    return list(zip(ids[first].tolist(), (ids[last] + 1).tolist(), strict=True))


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size


def _missing(error: FileNotFoundError) -> DamageError:
    return DamageError(
        "it is missing, though the store names it (copied while in use?)", source=str(error.filename)
    )


def check_folder(fs: FileSystem, root: str) -> None:
    """Refuse a store whose folders are links.

    Raises:
        DamageError: one is no folder. OSError: as the system says.
    """
    for name in (layout.JOURNALS, layout.SEGMENTS):
        path = os.path.join(root, name)
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISDIR(fs.status(path).st_mode):
                raise DamageError("expected a folder, no link and nothing else", source=path)
