"""StoreBuffer: a replay buffer that follows a store."""

from __future__ import annotations

import contextlib
import ctypes
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ostinato.archive.places import DamagedPlaces
from ostinato.errors import DamageError, UsageError
from ostinato.replay import MappedBuffer
from ostinato.replay.mapped import MappedTable
from ostinato.replay.state import Reader, State
from ostinato.replay.trees import Slots
from ostinato.store.cursor import Cursor
from ostinato.store.records import unseen
from ostinato.store.segment import Part
from ostinato.store.view import Change, View

_CURSOR = "store_cursor"
_MANY = 1 << 18  # records, from which it pays to give memory back


class StoreBuffer(MappedBuffer):
    """The records of a store most worth learning from, where they lie; made by `Store.replay`.

    `refresh` takes in what came since. Records come in the order of their timestamps (of equals, of their ids), those of
    one refresh among themselves, so that a buffer that is opened when all is written draws the same whether it is
    sealed or not. See MappedBuffer for all else.
    """

    _view: View

    def __init__(self, view: View, capacity: int, **settings: Any) -> None:
        extras = (lambda ids, _: _extras(view, ids)) if view.manifest.extras else None
        super().__init__(capacity, view.buffers, extras_of=extras, **settings)
        self._view = view
        self._waiting: list[Change] = []
        self._told: Cursor | None = None  # what a state that is being loaded had been told of
        self.refresh()

    def refresh(self) -> int:
        """Take in what has been appended, sealed, amended and removed since; returns how many records came.

        Raises:
            DamageError: the store cannot be read; names the file. OSError: as the system says.
            UsageError: the reward gives no finite numbers >= 0; or whatever it raises. What was not taken in then
                is taken in by the next call.

        Cost: with nothing new a stat for each journal that has a writer; else about 0.15 us a record, 1 us one that
        was appended alone.
        """
        with self._lock:
            view = self._view
            # nothing in between where an interrupt could come: the view tells of each change once
            self._waiting.append(view.refresh())
            came = sum(len(part.ids) for part in self._waiting[-1].added)
            while self._waiting:  # more than one if the last call was interrupted
                self._follow(self._waiting[0])
                del self._waiting[0]
            if came > _MANY:
                _give_back()
            return came

    def _follow(self, change: Change) -> None:
        none = np.empty(0, np.int64)
        if change.left:
            moved = change.moved
            self.relocate(
                change.left,
                np.concatenate([none, *(part.ids for part in moved)]),
                np.concatenate([none, *(part.places for part in moved)]),
            )
            self._view.buffers.drop(change.left)
            change.left, change.moved = [], []
        while change.amended:
            self.amend(*change.amended[0])
            del change.amended[0]
        if change.added:
            self._take_in_order(change)

    def _take_in_order(self, change: Change) -> None:
        parts = change.added
        if len(parts) == 1:
            ids, places = parts[0]
        else:
            ids = _joined([part.ids for part in parts])
            places = _joined([part.places for part in parts])
        stamps = self._view.buffers.timestamps(places)
        rising = bool((stamps[1:] >= stamps[:-1]).all()) and bool((ids[1:] > ids[:-1]).all())
        if not rising:
            order = np.lexsort((ids, stamps))
            ids, places = ids[order], places[order]
        del stamps
        self.looked_at = 0
        try:
            change.added = []
            self.take_in(ids, places)
        except BaseException:
            # a reward that raises, or an interrupt: the rest is for the next time
            done = self.looked_at
            change.added = [Part(ids[done:], places[done:])]
            raise

    def __reduce__(self) -> NoReturn:
        raise UsageError("a buffer cannot be pickled: give the store, and call `replay` there", "buffer")

    # --- states ---------------------------------------------------------------------------------------------

    def state_dict(self) -> State:
        """As MappedBuffer, and which records it has been told of: those that come later are taken in when it is loaded."""
        with self._lock:
            ranges = self._view.cursor.ranges()
            return {**super().state_dict(), _CURSOR: np.array(ranges, np.int64).reshape(-1, 2)}

    def load_state_dict(self, state: State) -> None:
        """Go on where `state_dict` was called, in whichever process, be records sealed or not by now.

        - Refreshes first. Records of the state get back their slots, arrivals, priorities and times sampled, be they here or,
          because the whole store is larger than the buffer, only in the store. If nothing was removed and nothing has come,
          draws go on just as they would have.
        - Records of the state that have left the store leave, each counted as a late update.
        - Records that had come and gone before the state was taken stay away; those that came after it are taken in as by
          `refresh`.
        - Counts, the random state, cursors and windows are the state's.

        Raises:
            UsageError: it had another capacity, sampler or remover, or those had other settings. DamageError: the state is
                none, or the store cannot be read. The buffer is as it was, refreshed.

        Cost: O(N log N), and reads all fields.
        """
        with self._lock:
            self.refresh()
            self._told = _cursor_of(state)
            try:
                super().load_state_dict(state)
            finally:
                self._told = None

    def _places_of(self, record_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        out = super()._places_of(record_ids)
        if self._told is None or not len(out):
            return out
        for part in self._view.parts():  # the ids of each rise
            k = np.minimum(np.searchsorted(part.ids, record_ids), len(part.ids) - 1)
            here = part.ids[k] == record_ids if len(part.ids) else np.zeros(len(record_ids), np.bool_)
            out[here] = part.places[k[here]]
        return out

    def _put_again(self, before: MappedTable, slots: Slots) -> None:
        if self._told is None:
            super()._put_again(before, slots)
            return
        new = [part for part in (unseen(p, self._told) for p in self._view.parts()) if part is not None]
        if new:
            self._take_in_order(Change(added=new))


def _extras(view: View, ids: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """The extra columns of these records.

    Raises:
        DamagedPlaces: some cannot be read.
    """
    columns, bad = view.extras(ids)
    if bad.any():
        raise DamagedPlaces(f"the extra columns of {int(bad.sum())} records cannot be read", bad)
    return columns


def _cursor_of(state: State) -> Cursor | None:
    """What the buffer of a state had been told of; None if the state does not say.

    Raises:
        DamageError: it says nonsense.
    """
    if _CURSOR not in state:
        return None
    ranges = Reader(state).take(_CURSOR, np.int64, None, 2)
    try:
        return Cursor.of([(a, b) for a, b in ranges.tolist()])
    except UsageError as error:
        raise DamageError(error.cause, field=_CURSOR) from None


def _give_back() -> None:
    """Have the allocator give back what was let go: glibc keeps up to 64 MB, 6 bytes a record of 10,000,000."""
    with contextlib.suppress(AttributeError, OSError):  # another allocator
        ctypes.CDLL(None).malloc_trim(0)


def _joined(arrays: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """One after the other, in memory that goes back to the system when it is let go: the allocator would keep it."""
    from ostinato.kernels import aligned

    out: NDArray[np.int64] = aligned(sum(map(len, arrays)), np.int64)
    return np.concatenate(arrays, out=out)
