"""Records: build results of a store, with their ids, extra columns and where to go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ostinato.result import BuildResult
from ostinato.results import Results
from ostinato.store import layout
from ostinato.store.cursor import Cursor
from ostinato.store.journal import Context
from ostinato.store.segment import Part
from ostinato.store.view import View
from ostinato.text import read_only


class Records(Results):
    """Results of a store: a slice, or some of them by number or mask, are Records too. Beside what Results have:

    Attributes:
        ids: int64[n].
        extras: an array [n] for each extra column that the store declares.
        cursor: what has been read with these, whether they are all here or were cut; `store.results(since=cursor)` goes on.
        damaged: how many more there should be, which cannot be read.

    They stay as they are, whatever becomes of the store.
    """

    def __init__(
        self,
        results: Results,
        ids: NDArray[np.int64],
        extras: dict[str, NDArray[Any]],
        cursor: Cursor,
        contexts: Mapping[int, Context],
        damaged: int = 0,
    ) -> None:
        super().__init__(results._rows, results._text)
        self.ids = read_only(ids)
        self.extras = {name: read_only(column) for name, column in extras.items()}
        self.cursor = cursor
        self.damaged = damaged
        self._contexts = contexts

    def context(self, i: int) -> Context:
        """The context of the writer that appended record i: target, versions, host and so on."""
        return dict(self._contexts[int(self.ids[i]) >> layout.INDEX_BITS])

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> BuildResult: ...
    @overload
    def __getitem__(self, index: slice | NDArray[Any] | Sequence[int] | Sequence[bool]) -> Records: ...
    def __getitem__(self, index: Any) -> BuildResult | Records:
        found = super().__getitem__(index)
        if isinstance(found, BuildResult):
            return found
        if not isinstance(index, slice):
            index = np.asarray(index, None if len(index) else np.int64)
        extras = {name: column[index] for name, column in self.extras.items()}
        return Records(found, self.ids[index], extras, self.cursor, self._contexts, self.damaged)

    def __repr__(self) -> str:
        return f"Records({len(self):,} build results)"


def records_of(view: View, parts: list[Part], cursor: Cursor) -> Records:
    """The records of these parts, as they are now; those that cannot be read are left out and counted."""
    none = np.empty(0, np.int64)
    ids = np.concatenate([none, *(part.ids for part in parts)])
    places = np.concatenate([none, *(part.places for part in parts)])
    extras, bad = view.extras(ids)
    # the text too, which is read later: a record is whole, or it is not here
    bad |= ~view.buffers.readable(places)
    good = ~bad
    results, there = view.buffers.readable_results(places[good] if bad.any() else places)
    good[good] = there
    damaged = len(good) - len(results)
    if damaged:
        ids, extras = ids[good], {name: column[good] for name, column in extras.items()}
    numbers = ids >> layout.INDEX_BITS
    writers = set(numbers[np.flatnonzero(np.diff(numbers, prepend=-1))].tolist())
    return Records(results, ids, extras, cursor, {n: view.context_of(n) for n in writers}, damaged)


def unseen(part: Part, since: Cursor) -> Part | None:
    """Those of a part that the cursor has not seen."""
    if not len(part.ids):
        return None
    if since.has_none(int(part.ids[0]), int(part.ids[-1]) + 1):
        return part
    here = ~since.seen(part.ids)
    return Part(part.ids[here], part.places[here]) if here.any() else None
