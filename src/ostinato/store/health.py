"""How a store is: who writes, what is not sealed, what was lost or corrected."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ostinato.store import layout
from ostinato.store.fs import FileSystem
from ostinato.store.journal import Context
from ostinato.store.view import View


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterHealth:
    """A journal that is not sealed: has it a writer still, and what is in it?"""

    journal: int
    alive: bool
    records: int
    bytes: int
    opened: int | None
    context: Context


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A program whose baseline is not what it was: another toolchain compiles it otherwise."""

    tir_hash: str
    name: str | None
    cycles: list[int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """A store as it is now.

    Attributes:
        records: that can be read. unsealed: of them, those in journals. segments, journals: files.
        bytes: of segments and journals. oldest, newest: timestamps, Unix seconds, None in an empty store.
        lag_s: seconds since `newest`; None in an empty store.
        alive, dead: journals with a writer, and without one that are not sealed yet.
        writers: one of each.
        torn: tails that were cut short. damaged: records or frames that cannot be read. repeated: frames whose records were
            there already. amended: records with a correction. These count what sealing passed over too.
        aside: what was put aside.
        drift: programs whose baseline has changed; None if there is no catalog, or it cannot be read.
        problems: what is wrong, in words; empty if nothing is.
    """

    records: int
    unsealed: int
    segments: int
    journals: int
    bytes: int
    oldest: int | None
    newest: int | None
    lag_s: int | None
    alive: int
    dead: int
    torn: int
    damaged: int
    repeated: int
    amended: int
    aside: int
    writers: list[WriterHealth]
    drift: list[Drift] | None
    problems: list[str]

    @property
    def unsealed_share(self) -> float | None:
        """Of the records; None in an empty store."""
        return self.unsealed / self.records if self.records else None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "unsealed_share": self.unsealed_share}


def health(
    fs: FileSystem, root: str, view: View, now: int, drift: list[Drift] | None, problems: list[str]
) -> Health:
    """What `Store.health` gives, of a view that was just refreshed thoroughly."""
    journals = [journal for journal in view.journals.values() if not journal.ignored]
    segments = [view.segments[entry.name] for entry in view.manifest.segments]
    skips = [skip for journal in journals for skip in journal.skipped]
    torn = sum(skip.kind == "torn" for skip in skips)
    repeated = sum(skip.kind == "repeated" for skip in skips)
    damaged = len(skips) - torn - repeated
    for segment in segments:
        torn += segment.dropped.get("torn", 0)
        repeated += segment.dropped.get("repeated", 0)
        damaged += segment.dropped.get("damaged", 0) + segment.damaged
    unsealed = sum(journal.records for journal in journals)
    oldest, newest = _range(view)
    alive = [not journal.closed and journal.size >= layout.CONTEXT_AT for journal in journals]
    return Health(
        records=unsealed + sum(segment.records - segment.damaged for segment in segments),
        unsealed=unsealed,
        segments=len(segments),
        journals=len(journals),
        bytes=sum(entry.bytes for entry in view.manifest.segments) + sum(j.size for j in journals),
        oldest=oldest,
        newest=newest,
        lag_s=None if newest is None else max(0, now - newest),
        alive=sum(alive),
        dead=len(alive) - sum(alive),
        torn=torn,
        damaged=damaged,
        repeated=repeated,
        amended=sum(view.original(identity) is not None for identity in view.effective()),
        aside=_count(fs, os.path.join(root, layout.ASIDE)),
        writers=[
            WriterHealth(
                journal=journal.number,
                alive=lives,
                records=journal.records,
                bytes=journal.size,
                opened=journal.opened,
                context=journal.context,
            )
            for journal, lives in zip(journals, alive, strict=True)
        ],
        drift=drift,
        problems=view.problems() + problems,
    )


def _range(view: View) -> tuple[int | None, int | None]:
    lows: list[int] = []
    highs: list[int] = []
    for part in view.parts():
        for first in range(0, len(part.places), 1 << 16):
            places = part.places[first : first + (1 << 16)]
            rows, _ = view.buffers.readable_rows(places)
            if len(rows):
                lows.append(int(np.min(rows["timestamp"])))
                highs.append(int(np.max(rows["timestamp"])))
    return (min(lows), max(highs)) if lows else (None, None)


def _count(fs: FileSystem, folder: str) -> int:
    try:
        return len(fs.names(folder))
    except FileNotFoundError:
        return 0
