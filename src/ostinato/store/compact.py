"""Compacting: segments are written anew with what a policy keeps, corrections folded in, small ones as one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ostinato.archive.places import DamagedPlaces
from ostinato.store import layout
from ostinato.store.amendments import SealedAmendment
from ostinato.store.fs import FileSystem
from ostinato.store.journal import Context
from ostinato.store.manifest import SegmentEntry, read_manifest
from ostinato.store.output import SEGMENT_BYTES, Output
from ostinato.store.retention import Keep, Kept
from ostinato.store.seal import seal
from ostinato.store.segment import Part, Segment
from ostinato.store.upkeep import KINDS, Progress, Sealed, clean, discard, locked, put_aside, replace_manifest
from ostinato.store.view import View

Rows = Iterator[tuple[NDArray[np.int64], NDArray[np.void]]]  # ids and fields of some records


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
    amended = np.array(_to_fold(view), np.int64)
    groups: list[list[SegmentEntry]] = []
    changes: list[bool] = []
    size = 0.0
    for entry in view.manifest.segments:
        segment = view.segments[entry.name]
        share = _share(view, segment, kept)
        changed = share < 1 or entry.name in hurt or bool((segment.find(amended) >= 0).any())
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
        rows, good = view.buffers.readable_rows(places)
        yield ids[good], rows


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
    output = Output(fs, root, live, max_bytes, contexts)
    damaged = sum(segment.damaged for segment in segments)
    try:
        output.copy(view, Part(ids[order], places[order]))
        told = [sealed for segment in segments for sealed in segment.amendments]
        if not len(ids):  # nothing is left here of which they could tell
            told = [sealed for sealed in told if _elsewhere(view, segments, sealed.amendment.id)]
        if damaged:
            counts["damaged"] += damaged
        entries = output.finish(_amendment_lines(view, told, output), counts)
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
        folded=sum(output.has(sealed.amendment.id) and not sealed.folded for sealed in told),
        damaged=damaged + output.damaged,
        aside=aside,
        bytes=sum(entry.bytes for entry in entries),
    )


def _amendment_lines(view: View, told: list[SealedAmendment], output: Output) -> Iterator[bytes]:
    """Lines of amendments.jsonl for amendments that were sealed, some of which are folded in now."""
    for sealed in told:
        here = output.has(sealed.amendment.id)
        was = sealed.before
        if here and not sealed.folded and was is None:  # it was sealed before the record
            was = view.as_appended(sealed.amendment.id)
        yield SealedAmendment(sealed.amendment, was, sealed.folded or here).dump()


def _elsewhere(view: View, segments: list[Segment], identity: int) -> bool:
    """Is this record in another segment than these, or in a journal that is not sealed yet?"""
    there = view.original(identity) is not None or not view.manifest.is_retired(identity >> layout.INDEX_BITS)
    return there and not any(s.find(np.array([identity]))[0] >= 0 for s in segments)
