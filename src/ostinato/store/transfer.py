"""Into a store and out of it: Trident's archives, JSON lines, other stores."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ostinato.archive.places import DamagedPlaces
from ostinato.archive.writing import ArchiveWriter
from ostinato.errors import OstinatoError, UsageError
from ostinato.files import replace_file
from ostinato.rewards import reward
from ostinato.store import layout
from ostinato.store.cursor import Cursor
from ostinato.store.fs import FileSystem
from ostinato.store.journal import Context
from ostinato.store.manifest import Manifest, add_ranges, read_manifest
from ostinato.store.output import SEGMENT_BYTES, Output
from ostinato.store.retention import best_ids
from ostinato.store.segment import Part
from ostinato.store.upkeep import KINDS, check_there, clean, locked, replace_manifest
from ostinato.store.view import View

if TYPE_CHECKING:
    from ostinato.store.program_rows import Program
    from ostinato.store.programs import Programs

_CHUNK = 1 << 16
_STEP = 1024


def rows_in_parts(view: View) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.void]]]:
    """(ids, places, rows) of all records that can be read, some at a time."""
    for part in view.parts():
        for first in range(0, len(part.ids), _CHUNK):
            ids, places = part.ids[first : first + _CHUNK], part.places[first : first + _CHUNK]
            rows, good = view.buffers.readable_rows(places)
            yield ids[good], places[good], rows


def export(
    view: View, path: str | os.PathLike[str], *, best: int | None, best_per_program: int | None
) -> int:
    """Write an archive that Trident opens; see `Store.export`. Memory: 24 bytes a record of the store."""
    for name, value in (("best", best), ("best_per_program", best_per_program)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise UsageError(f"expected an int >= 0, got {value!r}", name)
    champions = None
    if best_per_program is not None:
        champions = best_ids(best_per_program, lambda: ((i, rows) for i, _, rows in rows_in_parts(view)))
    ids, places, priorities = [], [], []
    for some, at, rows in rows_in_parts(view):
        priority = _rewards(rows)
        if champions is not None:
            here = np.isin(some, champions, assume_unique=True)
        else:
            here = np.ones(len(some), np.bool_)
        ids.append(some[here])
        places.append(at[here])
        priorities.append(priority[here])
    none = np.empty(0, np.int64)
    identity, where = np.concatenate([none, *ids]), np.concatenate([none, *places])
    order = np.lexsort((identity, -np.concatenate([np.empty(0), *priorities])))[:best]
    where = where[order]
    written = 0
    with replace_file(path) as file:
        writer = ArchiveWriter()
        for first in range(0, len(where), _STEP):
            some = where[first : first + _STEP]
            while len(some):
                try:
                    file.write(writer.add(view.buffers.results(some)))
                    written += len(some)
                    break
                except DamagedPlaces as damage:
                    some = some[~damage.bad]
        for chunk in writer.finish():
            file.write(chunk)
    return written


def _rewards(rows: NDArray[np.void]) -> NDArray[np.float64]:
    from ostinato.results import Results
    from ostinato.text import TokenText
    from ostinato.vocabulary import Vocabulary

    none = np.zeros(len(rows), np.int64)
    return reward(Results(rows, TokenText(np.empty(0, np.int32), none, none, Vocabulary())))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What merging brought.

    Attributes:
        records: that came. damaged: that could not be read. journals: whose numbers the new ids begin with.
        left_out: extra columns of the other store that this one does not have, and so did not take.
        problems: why programs did not come, in words.
    """

    records: int = 0
    damaged: int = 0
    journals: tuple[int, ...] = ()
    left_out: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def merge(fs: FileSystem, root: str, other: View, *, wait_s: float, max_bytes: int = SEGMENT_BYTES) -> Merged:
    """Bring another store's records, with new ids, in one step; see `Store.merge`."""
    with locked(fs, root, wait_s):
        clean(fs, root)
        live = read_manifest(fs, root)
        check_there(fs, root, live)
        if other.manifest.store_id == live.store_id:
            raise UsageError("it is the same store, or a copy of it", "other")
        theirs, ours = other.manifest.extras, live.extras
        for name, extra in ours.items():
            if name not in theirs and extra.default is None:
                raise UsageError(
                    "the other store has no such column, and there is no default", f"extras[{name}]"
                )
        since = Cursor.of(live.merged.get(other.manifest.store_id.hex(), ()))
        groups = _by_context(other, since)
        if not groups:
            return Merged()
        numbers = _reserve(fs, root, live, len(groups))
        # should the power go before MANIFEST is replaced, they tell that what is written is a left-over
        fs.sync_folder(os.path.join(root, layout.JOURNALS))
        live = read_manifest(fs, root)
        contexts = {n: context for n, (context, _) in zip(numbers, groups, strict=True)}
        output = Output(fs, root, live, max_bytes, contexts)
        try:
            for number, (_, parts) in zip(numbers, groups, strict=True):
                _copy(other, output, number, parts, ours)
            entries = output.finish([], dict.fromkeys(KINDS, 0))
        except BaseException:
            output.abandon()
            raise
        merged = dict(live.merged)
        merged[other.manifest.store_id.hex()] = tuple(since.union(other.cursor.ranges()).ranges())
        replace_manifest(
            fs,
            root,
            dataclasses.replace(
                live,
                generation=live.generation + 1,
                segments=live.segments + entries,
                next_segment=output.next_segment,
                retired=add_ranges(live.retired, numbers),
                merged=merged,
            ),
        )
        # not where it failed: as long as they are there, what was written is known for a left-over
        for number in numbers:
            _unlink(fs, layout.journal_path(root, number))
        return Merged(
            records=output.records,
            damaged=output.damaged,
            journals=tuple(numbers),
            left_out=tuple(name for name in theirs if name not in ours),
        )


def _by_context(other: View, since: Cursor) -> list[tuple[Context, list[Part]]]:
    """What is new in the other store, together what was written in one context, at most as much as a journal has ids."""
    groups: dict[str, list[tuple[Context, list[Part]]]] = {}
    for part in other.parts():
        here = ~since.seen(part.ids)
        ids, places = part.ids[here], part.places[here]
        if not len(ids):
            continue
        numbers = ids >> layout.INDEX_BITS
        edges = np.concatenate([[0], np.flatnonzero(np.diff(numbers)) + 1, [len(ids)]])
        for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            context = other.context_of(int(numbers[begin]))
            known = groups.setdefault(repr(sorted(context.items())), [])
            if not known or sum(len(p.ids) for p in known[-1][1]) + end - begin > layout.INDEX_END:
                known.append((context, []))
            known[-1][1].append(Part(ids[begin:end], places[begin:end]))
    return [group for known in groups.values() for group in known]


def _reserve(fs: FileSystem, root: str, live: Manifest, count: int) -> list[int]:
    """Journal numbers that nobody else uses: those of empty files. To be called under the lock.

    Nobody needs to hold them: a writer takes no name that is there, readers pass over empty files, and who seals, and so could
    retire their numbers, waits for the lock.
    """
    known = map(layout.journal_number, fs.names(os.path.join(root, layout.JOURNALS)))
    number = max([live.last_retired, *known])
    numbers: list[int] = []
    while len(numbers) < count:
        number += 1
        if number >= layout.JOURNAL_END:
            raise OstinatoError("no journal numbers are left")
        with contextlib.suppress(FileExistsError):  # a writer's
            fs.close(fs.create(layout.journal_path(root, number)))
            numbers.append(number)
    return numbers


def _unlink(fs: FileSystem, path: str) -> None:
    with contextlib.suppress(OSError):
        fs.unlink(path)


def _copy(
    other: View,
    output: Output,
    number: int,
    parts: list[Part],
    ours: Mapping[str, Any],
) -> None:
    new = number << layout.INDEX_BITS
    for part in parts:
        for first in range(0, len(part.ids), _STEP):
            ids, places = part.ids[first : first + _STEP], part.places[first : first + _STEP]
            extras: dict[str, NDArray[Any]] = {}
            if ours:
                given, bad = other.extras(ids)
                if bad.any():
                    output.damaged += int(bad.sum())
                    ids, places = ids[~bad], places[~bad]
                    given = {name: column[~bad] for name, column in given.items()}
                for name, extra in ours.items():
                    value = given.get(name, np.full(len(ids), extra.default))
                    extras[name] = extra.value(value, f"extras[{name}]")
            own = np.arange(new, new + len(ids))
            output.write(other, own, places, extras)
            new += len(ids)


def merge_programs(theirs: Programs, ours: Programs) -> Iterator[str]:
    """Bring programs with the baselines that are not here yet; what does not come, in words."""

    def said(row: Program) -> tuple[object, ...]:
        return row.baseline, row.cycles, row.toolchain, row.recorded_at

    for program in theirs:
        known = {said(row) for row in ours.history(program.tir_hash)}
        for row in theirs.history(program.tir_hash) or [program]:
            if said(row) in known:
                continue
            try:
                ours.put(
                    row.tir_hash,
                    tir=row.tir,
                    name=row.name,
                    baseline=row.baseline,
                    cycles=row.cycles,
                    toolchain=row.toolchain,
                    at=row.recorded_at,
                )
            except UsageError as error:
                yield f"program {row.tir_hash.hex()}: {error}"
