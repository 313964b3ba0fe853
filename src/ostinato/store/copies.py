"""Is a folder a whole copy of a store? Each record is looked for by its id and compared.

Rule of this file: it only reads. The store's files are opened before the copy's, so that what is appended meanwhile does not count.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.archive.places import DamagedPlaces
from ostinato.errors import DamageError
from ostinato.results import COLUMNS, Results, packed_rows
from ostinato.store import check as checking
from ostinato.store import layout
from ostinato.store.cursor import Cursor
from ostinato.store.fs import FileSystem
from ostinato.store.segment import Part
from ostinato.store.upkeep import Progress
from ostinato.store.view import View

_CHUNK = 1 << 14

Mask = NDArray[np.bool_]


@dataclass(slots=True, kw_only=True)
class CopyReport:
    """What comparing found.

    Attributes:
        records: that the store has, as far as they were looked for. same: of them, those that the copy has just so.
        missing, different: ids of those that the copy does not have, or has otherwise; ranges [first, last], rising.
        newer: how many were appended or corrected after the copy was made, by writers that are still at work.
        unreadable: how many of the store's own records cannot be read, and so cannot be compared.
        problems: what else is not as in the store, in words. store_problems: what is wrong with the store itself.
        copy: what a check of the copy says.
    """

    records: int = 0
    same: int = 0
    missing: list[tuple[int, int]] = field(default_factory=list)
    different: list[tuple[int, int]] = field(default_factory=list)
    newer: int = 0
    unreadable: int = 0
    problems: list[str] = field(default_factory=list)
    store_problems: list[str] = field(default_factory=list)
    copy: checking.Report = field(default_factory=checking.Report)

    @property
    def whole(self) -> bool:
        """Is it a whole copy, and nothing wrong with either?"""
        return not (self.lacking or self.damaged)

    @property
    def lacking(self) -> bool:
        """Is anything missing, or not the same?"""
        return bool(self.missing or self.different or self.problems)

    @property
    def damaged(self) -> bool:
        """Is the copy damaged, or the store, so that not all could be compared?"""
        return bool(self.copy.problems or self.store_problems or self.unreadable)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**dataclasses.asdict(self), "copy": self.copy.to_dict(), "whole": self.whole}


def verify_copy(
    fs: FileSystem,
    root: str,
    copy_root: str,
    *,
    until: Cursor | None = None,
    progress: Progress | None = None,
) -> CopyReport:
    """Compare a copy with its store, and check it.

    Args:
        until: only what this cursor has seen must be in the copy, all of it; None: everything, save what the store's living
            writers have appended to their journals since.
        progress: called with (done, in all): bytes of the copy, then records.
    Raises:
        DamageError: the store itself cannot be read. OSError: as the system says.

    Cost: 2 us a record, and reading every byte of the copy. Memory: 24 bytes a record of the copy.
    """
    view = View(fs, root)
    view.refresh()
    report = CopyReport(copy=checking.check(fs, copy_root, progress))
    try:
        other = View(fs, copy_root)
        if other.manifest.store_id != view.manifest.store_id:
            report.problems.append("it is another store, no copy of this one")
            return report
        other.refresh()
    except (DamageError, FileNotFoundError) as error:
        if str(error) not in report.copy.problems and not report.copy.problems:
            report.copy.problems.append(str(error))
        report.problems.append("it cannot be opened, so nothing could be compared")
        return report
    _Comparison(view, other, until, report).run(progress)
    return report


class _Comparison:
    def __init__(self, view: View, other: View, until: Cursor | None, report: CopyReport) -> None:
        self.view, self.other, self.until, self.report = view, other, until, report
        parts = list(other.parts())
        none = np.empty(0, np.int64)
        ids = np.concatenate([none, *(part.ids for part in parts)])
        places = np.concatenate([none, *(part.places for part in parts)])
        order = np.argsort(ids, kind="stable")
        self.ids, self.places = ids[order], places[order]
        theirs = other.effective()
        # what a correction that the copy cannot have yet has changed
        self.changed = np.array(
            sorted(
                identity
                for identity, (amendment, _) in view.effective().items()
                if (identity not in theirs or theirs[identity][0] != amendment)
                and self.excused(np.array([amendment.amendment], np.int64)).all()
            ),
            np.int64,
        )
        self.contexts: set[int] = set()
        self.missing: list[NDArray[np.int64]] = []
        self.different: list[NDArray[np.int64]] = []

    def excused(self, ids: NDArray[np.int64]) -> Mask:
        """bool[n]: which need not be in the copy, for being newer than it."""
        if self.until is not None:
            return ~self.until.seen(ids)
        out = np.zeros(len(ids), np.bool_)
        numbers = ids >> layout.INDEX_BITS
        for number in np.unique(numbers).tolist():
            ours, theirs = self.view.journals.get(number), self.other.journals.get(number)
            # a journal that the copy does not have at all may be lost: only what it has a part of can be older
            if ours is not None and not ours.closed and theirs is not None and theirs.head is not None:
                here = numbers == number
                out[here] = ids[here] >= (number << layout.INDEX_BITS) + theirs.index
        return out

    def run(self, progress: Progress | None) -> None:
        report, view = self.report, self.view
        parts = list(view.parts())
        total, done = sum(len(part.ids) for part in parts), 0
        for part in parts:
            for first in range(0, len(part.ids), _CHUNK):
                some = Part(part.ids[first : first + _CHUNK], part.places[first : first + _CHUNK])
                self.compare(some)
                done += len(some.ids)
                if progress is not None:
                    progress(done, total)
        report.missing, report.different = _ranges(self.missing), _ranges(self.different)
        report.unreadable += sum(segment.damaged for segment in view.segments.values())
        report.store_problems = view.problems()
        # blocks that were met only now
        report.copy.problems += [p for p in self.other.problems() if p not in report.copy.problems]

    def compare(self, part: Part) -> None:
        """Look for these records in the copy."""
        report, ids = self.report, part.ids
        if self.until is not None:
            wanted = self.until.seen(ids)
            report.newer += int((~wanted).sum())
            ids, part = ids[wanted], Part(ids[wanted], part.places[wanted])
        if not len(ids):
            return
        report.records += len(ids)
        k = np.minimum(np.searchsorted(self.ids, ids), max(len(self.ids) - 1, 0))
        there = self.ids[k] == ids if len(self.ids) else np.zeros(len(ids), np.bool_)
        absent = ids[~there]
        if len(absent):
            newer = self.excused(absent)
            report.newer += int(newer.sum())
            self.missing.append(absent[~newer])
        changed = np.isin(ids, self.changed)
        report.newer += int((there & changed).sum())
        here = there & ~changed
        ids, places, theirs = ids[here], part.places[here], self.places[k[here]]
        good = _readable(self.view, places)
        report.unreadable += int((~good).sum())
        ids, places, theirs = ids[good], places[good], theirs[good]
        good = _readable(self.other, theirs)
        self.missing.append(ids[~good])  # there, but damaged
        ids, places, theirs = ids[good], places[good], theirs[good]
        same = _same(self.view.buffers.results(places), self.other.buffers.results(theirs))
        same &= self.same_extras(ids)
        report.same += int(same.sum())
        self.different.append(ids[~same])
        self.compare_contexts(ids)

    def same_extras(self, ids: NDArray[np.int64]) -> Mask:
        """bool[n]: are the extra columns the same, nan included?"""
        ours, wrong = self.view.extras(ids)
        theirs, bad = self.other.extras(ids)
        same: Mask = np.asarray(bad == wrong)
        for name, column in ours.items():
            bits = f"u{column.dtype.itemsize}"
            if name not in theirs or theirs[name].dtype != column.dtype:
                return np.zeros(len(ids), np.bool_)
            a, b = (np.ascontiguousarray(c).view(bits) for c in (column, theirs[name]))
            same &= a == b
        return same

    def compare_contexts(self, ids: NDArray[np.int64]) -> None:
        """The contexts of these records' writers, each once."""
        for number in np.unique(ids >> layout.INDEX_BITS).tolist():
            if number not in self.contexts:
                self.contexts.add(number)
                if self.view.context_of(number) != self.other.context_of(number):
                    self.report.problems.append(f"the context of journal {number:06d} is another one")


def _readable(view: View, places: NDArray[np.int64]) -> Mask:
    """bool[n]: which records can be read, text included."""
    good = np.ones(len(places), np.bool_)
    while good.any():
        at = np.flatnonzero(good)
        try:
            results = view.buffers.results(places[at])
            results.generated_tasm.spans(0, len(at))
            return good
        except DamagedPlaces as damage:
            good[at[damage.bad]] = False
    return good


def _same(ours: Results, theirs: Results) -> Mask:
    """bool[n]: which results are the same."""
    a, b = packed_rows(ours), packed_rows(theirs)
    same = np.ones(len(a), np.bool_)
    for name in COLUMNS:
        equal = a[name] == b[name]
        same &= equal.all(axis=1) if equal.ndim == 2 else equal
    same &= np.asarray(ours.instruction_counts) == np.asarray(theirs.instruction_counts)
    if same.all() and _same_text(ours, theirs):
        return same
    for i in np.flatnonzero(same).tolist():
        same[i] = ours.generated_tasm[i] == theirs.generated_tasm[i]
    return same


def _same_text(ours: Results, theirs: Results) -> bool:
    """Is all the text the same? Only for lists of the same lengths."""
    (a, starts, lengths), (b, others, sizes) = (
        results.generated_tasm.spans(0, len(results)) for results in (ours, theirs)
    )
    if not (np.array_equal(starts, others) and np.array_equal(lengths, sizes)):
        return False
    end = int(starts[-1]) + int(lengths[-1]) if len(starts) else 0  # end to end
    return bool(np.array_equal(a[:end], b[:end]))


def _ranges(parts: Iterable[NDArray[np.int64]]) -> list[tuple[int, int]]:
    """[first, last] of stretches of ids."""
    ids = np.unique(np.concatenate([np.empty(0, np.int64), *parts]))
    if not len(ids):
        return []
    breaks = np.flatnonzero(np.diff(ids) != 1)
    first = np.concatenate([[0], breaks + 1])
    last = np.concatenate([breaks, [len(ids) - 1]])
    return [(int(a), int(b)) for a, b in zip(ids[first], ids[last], strict=True)]
