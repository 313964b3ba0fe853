"""Is a store whole? And if not: put aside what is damaged, so that the rest goes on.

Rule of this file: nothing is deleted that may be the only one of its kind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from ostinato import archive
from ostinato.errors import DamageError, UsageError
from ostinato.store import layout, manifest, upkeep
from ostinato.store.compact import compact
from ostinato.store.forks import FORKS
from ostinato.store.fs import FileSystem
from ostinato.store.manifest import Manifest, SegmentEntry
from ostinato.store.seal import seal
from ostinato.store.segment import Segment
from ostinato.store.view import View, check_folder

_TRIES = 8  # to check a store that is being sealed all the time
_PAUSE_S = 0.05


@dataclass(slots=True, kw_only=True)
class Report:
    """What a check found, and a repair did.

    Attributes:
        records: that can be read. torn: tails that were cut short, which is no damage.
        problems: what is wrong, in words that name the file; empty if nothing is.
        aside: what was put into the folder `aside`, and why. lost: records that are known to be gone.
        lost_amendments: corrections that stood in segments that were put aside, as far as they can be counted.
    """

    records: int = 0
    torn: int = 0
    problems: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)
    lost: int = 0
    lost_amendments: int = 0

    @property
    def ok(self) -> bool:
        """Is nothing wrong?"""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**dataclasses.asdict(self), "ok": self.ok}


def check(fs: FileSystem, root: str, progress: upkeep.Progress | None = None) -> Report:
    """What `Store.check` gives.

    Raises:
        VersionError: of a newer version. OSError: as the system says.
    """
    for _ in range(_TRIES):
        before = _manifest_bytes(fs, root)
        report = _check(fs, root, progress)
        # whoever seals removes files that we are about to read, and has segments that MANIFEST does not name yet
        if report.ok or (not _somebody_seals(fs, root) and _manifest_bytes(fs, root) == before):
            break
        time.sleep(_PAUSE_S)
    return report


def _manifest_bytes(fs: FileSystem, root: str) -> bytes | None:
    with contextlib.suppress(OSError, UsageError):
        return fs.read(os.path.join(root, layout.MANIFEST), manifest.MANIFEST_END)
    return None


def _somebody_seals(fs: FileSystem, root: str) -> bool:
    with contextlib.suppress(OSError, UsageError), FORKS.held_off():
        fd = fs.open(os.path.join(root, layout.LOCK))
        try:
            return not fs.lock(fd, shared=True)
        finally:
            fs.close(fd)
    return False


def _check(fs: FileSystem, root: str, progress: upkeep.Progress | None) -> Report:
    report = Report()
    try:
        check_folder(fs, root)
        view = View(fs, root)
        live = view.manifest
        _check_segments(fs, root, live, report, progress)
        report.problems += [
            f"{layout.segment_path(root, name)}: its records are nowhere else, and MANIFEST does not name it (copied while in use?)"
            for name in upkeep.unnamed_segments(fs, root, live)
            if not upkeep.is_elsewhere(fs, root, live, name)
        ]
        if not report.problems:
            view.refresh(thorough=True)
            report.records = sum(s.records - s.damaged for s in view.segments.values())
        else:  # journals alone: a segment is in the way of the rest
            view = View(fs, root, chosen=_all_journals(fs, root))
            with contextlib.suppress(DamageError):
                view.refresh(thorough=True)
        report.records += sum(journal.records for journal in view.journals.values())
        report.problems += [p for p in view.problems() if p not in report.problems]
        skips = [skip for journal in view.journals.values() for skip in journal.skipped]
        report.torn = sum(skip.kind == "torn" for skip in skips)
    except DamageError as error:
        report.problems.append(str(error))
    except FileNotFoundError as error:
        report.problems.append(f"{error.filename}: it is missing")
    report.problems += _check_copy(fs, root)
    report.problems += _check_catalog(fs, root)
    return report


def _all_journals(fs: FileSystem, root: str) -> set[int]:
    names = fs.names(os.path.join(root, layout.JOURNALS))
    return {number for number in map(layout.journal_number, names) if number}


def _check_segments(
    fs: FileSystem, root: str, live: Manifest, report: Report, progress: upkeep.Progress | None
) -> None:
    from ostinato.archive.places import Buffers

    total, done = sum(entry.bytes for entry in live.segments), 0
    for entry in live.segments:
        buffers = Buffers()
        try:
            segment = Segment(fs, root, entry.name, live.store_id)
            segment.open(buffers, live.extras)
            report.problems += segment.check(buffers)
            if segment.damaged:
                report.lost += segment.damaged
                report.problems += [p for p in segment.problems if p not in report.problems]
            elif not report.problems:
                archive.loads(
                    buffers.data(segment.number)
                )  # what the sums say of bytes, rkyv says of their meaning
        except (DamageError, UsageError) as error:
            report.problems.append(str(error))
        except FileNotFoundError as error:
            report.problems.append(
                f"{error.filename}: it is missing, though MANIFEST names segment {entry.name}"
            )
        done += entry.bytes
        if progress is not None:
            progress(done, total)


def _check_copy(fs: FileSystem, root: str) -> list[str]:
    """MANIFEST.copy must be readable; for a moment, and after a crash, it may be newer than MANIFEST."""
    path = os.path.join(root, layout.MANIFEST_COPY)
    try:
        manifest.loads(fs.read(path, manifest.MANIFEST_END), path)
    except FileNotFoundError:
        return [f"{path}: it is missing; the next seal, or `repair`, makes it anew"]
    except (DamageError, UsageError) as error:
        return [str(error)]
    return []


def _is_there(fs: FileSystem, path: str) -> bool:
    try:
        fs.status(path)
    except FileNotFoundError:
        return False
    return True


def _check_catalog(fs: FileSystem, root: str) -> list[str]:
    path = os.path.join(root, layout.CATALOG)
    if not _is_there(fs, path):
        return []
    from ostinato.store.catalog import Catalog

    try:
        with Catalog(path, read_only=True) as catalog:
            return catalog.check()
    except (DamageError, OSError) as error:
        return [str(error)]


# --- repair -------------------------------------------------------------------------------------------------


def repair(fs: FileSystem, root: str, *, wait_s: float = 10.0) -> Report:
    """Make a store whole again; what is taken out is put into `aside`, never deleted. Then check it.

    1. In the place of a MANIFEST that is damaged or missing comes its copy.
    2. Segments that cannot be read leave MANIFEST, and journals that are there still come in their place; those with damaged
       blocks are written anew without those records. Segments that MANIFEST does not name come into it, if
       their records are nowhere else.
    3. Journals whose heads are both damaged, or that are another store's, are put aside; of others what can be read is
       sealed, and those with damage are put aside.
    4. Of a damaged catalog all rows that are right go into a new one; contexts are copied from the files again.

    Raises:
        OstinatoError: another process seals. OSError: as the system says.
    """
    done = Report()
    with upkeep.locked(fs, root, wait_s):
        live = _sound_manifest(fs, root, done)
        _sound_copy(fs, root, live, done)
        _drop_segments(fs, root, live, done)
        _adopt_segments(fs, root)
        _drop_journals(fs, root, done)
    before = set(_names(fs, root, layout.ASIDE))
    sealed = seal(fs, root, wait_s=wait_s)
    sealed += compact(fs, root, None, now=0, wait_s=wait_s, scrub=True)
    done.lost += sealed.damaged
    for name in sorted(set(_names(fs, root, layout.ASIDE)) - before):
        done.aside.append(f"{name}: damaged in parts; what could be read is sealed")
    _repair_catalog(fs, root, done)
    after = check(fs, root)
    return Report(
        records=after.records,
        torn=after.torn + sealed.torn,
        problems=after.problems,
        aside=done.aside,
        lost=done.lost,
        lost_amendments=done.lost_amendments,
    )


def _names(fs: FileSystem, root: str, folder: str) -> list[str]:
    try:
        return fs.names(os.path.join(root, folder))
    except FileNotFoundError:
        return []


def _sound_manifest(fs: FileSystem, root: str, done: Report) -> Manifest:
    """MANIFEST, or its copy in its place."""
    path, copy = (os.path.join(root, name) for name in (layout.MANIFEST, layout.MANIFEST_COPY))
    try:
        return manifest.read_manifest(fs, root)
    except DamageError as error:
        why = error.cause
    except FileNotFoundError:
        why = "missing"
    try:
        live = manifest.loads(fs.read(copy, manifest.MANIFEST_END), copy)
    except (DamageError, FileNotFoundError) as error:
        raise DamageError(
            f"{why}, and so is its copy ({error}): segments and journals are readable one by one, archives with "
            "`ostinato check`",
            source=path,
        ) from None
    if why != "missing":
        upkeep.put_aside(fs, root, path)
        done.aside.append(f"{layout.MANIFEST}: {why}; its copy is in its place")
    for name in (layout.JOURNALS, layout.SEGMENTS):
        with contextlib.suppress(FileExistsError):
            fs.mkdir(os.path.join(root, name))
    fs.write(path, live.dumps())
    return live


def _sound_copy(fs: FileSystem, root: str, live: Manifest, done: Report) -> None:
    """A copy of MANIFEST in the place of one that is damaged or missing."""
    path = os.path.join(root, layout.MANIFEST_COPY)
    if not _check_copy(fs, root):
        return
    if _is_there(fs, path):
        upkeep.put_aside(fs, root, path)
        done.aside.append(f"{layout.MANIFEST_COPY}: damaged; made anew")
    fs.write(path, live.dumps())


def _drop_segments(fs: FileSystem, root: str, live: Manifest, done: Report) -> None:
    """Take segments out of MANIFEST that cannot be opened; what is damaged in parts, compacting writes anew."""
    from ostinato.archive.places import Buffers

    alive: list[SegmentEntry] = []
    dropped: list[SegmentEntry] = []
    for entry in live.segments:
        try:
            segment = Segment(fs, root, entry.name, live.store_id)
            segment.open(Buffers(), live.extras)
            if segment.records != entry.records:
                raise DamageError(f"has {segment.records} records, MANIFEST says {entry.records}")
            alive.append(entry)
        except (DamageError, UsageError, FileNotFoundError) as error:
            dropped.append(entry)
            done.aside.append(f"segment {entry.name} with {entry.records} records: {error}")
            done.lost += entry.records
            done.lost_amendments += _lines_of(fs, layout.segment_path(root, entry.name))
    if not dropped:
        return
    # a journal that is there still, of a segment that is not, has its records: it counts again
    kept = _journals_of(fs, root, live, alive)
    back = [n for n in _all_journals(fs, root) if live.is_retired(n) and n not in kept]
    new = dataclasses.replace(
        live,
        generation=live.generation + 1,
        segments=tuple(alive),
        retired=manifest.remove_numbers(live.retired, back),
    )
    upkeep.replace_manifest(fs, root, new)
    for name in [entry.name for entry in dropped] + upkeep.unnamed_segments(fs, root, live):
        with contextlib.suppress(FileNotFoundError):
            upkeep.put_aside(fs, root, layout.segment_path(root, name))


def _lines_of(fs: FileSystem, folder: str) -> int:
    """How many lines of amendments a segment has that cannot be opened."""
    count = at = 0
    with contextlib.suppress(OSError, UsageError):
        fd = fs.open(os.path.join(folder, "amendments.jsonl"))
        try:
            while part := fs.read_at(fd, 1 << 20, at):
                count += part.count(b"\n")
                at += len(part)
        finally:
            fs.close(fd)
    return count


def _adopt_segments(fs: FileSystem, root: str) -> None:
    """Name segments in MANIFEST that it does not name, though their records are nowhere else: it was copied before them."""
    from ostinato.archive.places import Buffers

    live = manifest.read_manifest(fs, root)
    there = _all_journals(fs, root)
    for name in upkeep.unnamed_segments(fs, root, live):
        path = layout.segment_path(root, name)
        try:
            segment = Segment(fs, root, name, live.store_id)
            segment.open(Buffers(), live.extras)
            size = sum(fs.status(os.path.join(path, file)).st_size for file in fs.names(path))
        except (DamageError, UsageError, FileNotFoundError):
            continue
        numbers = segment.contexts_by_journal().keys()
        if any(n in there or live.is_retired(n) for n in numbers):
            continue  # it, or a part of it, is elsewhere
        live = dataclasses.replace(
            live,
            generation=live.generation + 1,
            segments=(*live.segments, SegmentEntry(name, segment.records, size)),
            next_segment=max(live.next_segment, int(name) + 1),
            retired=manifest.add_ranges(live.retired, numbers),
        )
        upkeep.replace_manifest(fs, root, live)


def _journals_of(fs: FileSystem, root: str, live: Manifest, entries: list[SegmentEntry]) -> set[int]:
    """The journals whose records are in these segments."""
    found: set[int] = set()
    for entry in entries:
        found |= Segment(fs, root, entry.name, live.store_id).contexts_by_journal().keys()
    return found


def _drop_journals(fs: FileSystem, root: str, done: Report) -> None:
    """Put journals aside that are not ours, or whose heads are both damaged."""
    view = View(fs, root, chosen=_all_journals(fs, root))
    view.refresh(thorough=True)
    for journal in view.journals.values():
        if journal.ignored:
            upkeep.put_aside(fs, root, journal.path)
            done.aside.append("; ".join(journal.problems))


def _repair_catalog(fs: FileSystem, root: str, done: Report) -> None:
    path = os.path.join(root, layout.CATALOG)
    if not _is_there(fs, path) or not _check_catalog(fs, root):
        return
    from ostinato.store.catalog import SIDE_FILES, Catalog

    beside = os.path.join(root, f".{layout.CATALOG}.{secrets.token_hex(8)}.tmp")

    def swap() -> None:
        for suffix in ("", *SIDE_FILES):
            with contextlib.suppress(FileNotFoundError):
                upkeep.put_aside(fs, root, path + suffix)
        fs.replace(beside, path)
        fs.sync_folder(root)

    with Catalog(path) as catalog:
        kept, lost = catalog.salvage(beside, swap=swap)
    done.aside.append(f"{layout.CATALOG}: damaged; {kept} rows kept, {lost} lost")
    view = View(fs, root)
    view.refresh()
    with Catalog(path) as catalog:
        catalog.rebuild_contexts(view.contexts())
