"""Batch: what a draw gives the learner."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import UsageError
from ostinato.replay.table import Gathered
from ostinato.result import BuildResult
from ostinato.results import Columns, Results
from ostinato.rewards import Reward
from ostinato.text import Text, TokenText, read_only
from ostinato.vocabulary import Vocabulary


class Batch(Columns):
    """B drawn records as read-only arrays: the columns of Results, and

    Attributes:
        ids: int64[B], for `update_priorities`.
        tokens: int32[k], all instructions' ids in the buffer's vocabulary, one record after the other.
        offsets: int64[B + 1]: record i has tokens[offsets[i] : offsets[i + 1]].
        priority: float64[B], at the time of the draw.
        probability: float64[B], of being drawn in one draw.
        weight: float32[B], importance weight.
        times_sampled: int32[B], how often each was drawn so far, this batch included.
        times_seen: int32[B], how often each came, 1 unless the buffer merges repeats.
        lowest_cycles, highest_cycles: masked uint64[B], clock cycles: the range over those times; masked where never
            measured.
        extras: dict of arrays, the store's extra columns of these records; empty unless the records are in a store.

    A copy of what was drawn: later pushes and updates do not change it. `batch[i]` is a BuildResult,
    a slice or an array of numbers gives Results.
    """

    def __init__(
        self,
        gathered: Gathered,
        words: Vocabulary,
        *,
        tokens: NDArray[np.int32],
        probability: NDArray[np.float64],
        weight: NDArray[np.float32],
        reward: Reward,
        merged: tuple[NDArray[Any], ...] = (),
        extras: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        rows, _, offsets, ids, priority, times = gathered
        self._gathered = gathered
        self._words = words
        self._rows = rows
        self.ids = ids
        self.tokens = tokens
        self.offsets = offsets
        self.priority = priority
        self.probability = probability
        self.weight = weight
        self.times_sampled = times
        self._merged = merged
        self._reward = reward
        self.extras = {name: read_only(column) for name, column in (extras or {}).items()}
        for array in (rows, ids, tokens, offsets, priority, probability, weight, times):
            array.setflags(write=False)

    @functools.cached_property
    def _text(self) -> Text:  # type: ignore[override]
        """Made when first asked for: who trains on token ids never does."""
        return TokenText.ragged(self._gathered.tokens, self.offsets, self._words)

    @property
    def times_seen(self) -> NDArray[np.int32]:
        """int32[B]."""
        return read_only(self._merged[0] if self._merged else np.ones(len(self), np.int32))

    @property
    def lowest_cycles(self) -> np.ma.MaskedArray[Any, np.dtype[np.uint64]]:
        """Masked uint64[B], clock cycles."""
        return self._range(1)

    @property
    def highest_cycles(self) -> np.ma.MaskedArray[Any, np.dtype[np.uint64]]:
        """Masked uint64[B], clock cycles."""
        return self._range(2)

    def _range(self, which: int) -> np.ma.MaskedArray[Any, np.dtype[np.uint64]]:
        if not self._merged:
            return self.clock_cycles
        return np.ma.MaskedArray(self._merged[which], mask=~self.measured)

    @property
    def reward(self) -> NDArray[np.float64]:
        """float64[B]: the buffer's reward of each record, computed when asked for."""
        return read_only(np.asarray(self._reward(self), np.float64))

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> BuildResult: ...
    @overload
    def __getitem__(self, index: slice | NDArray[Any] | Sequence[int] | Sequence[bool]) -> Results: ...
    def __getitem__(self, index: Any) -> BuildResult | Results:
        found: BuildResult | Results = Results(self._rows, self._text)[index]
        return found

    def __iter__(self) -> Iterator[BuildResult]:
        return map(self._one, range(len(self)))

    def __repr__(self) -> str:
        return f"Batch({len(self)} records, {len(self.tokens)} tokens)"

    def padded(self, length: int | None = None, pad: int = 0) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """(tokens int32[B, length], mask bool[B, length]): rows filled up with `pad`, the mask True on tokens.

        Args:
            length: columns; longer records are cut. None: the longest record's.
            pad: what stands where the mask is False.
        Raises:
            UsageError: length < 0, or pad is no int32.
        """
        if length is None:
            length = int(np.diff(self.offsets).max(initial=0))
        for name, value, low in (("length", length, 0), ("pad", pad, -(2**31))):
            if (
                not isinstance(value, (int, np.integer))
                or isinstance(value, bool)
                or not low <= value < 2**31
            ):
                raise UsageError(f"expected an int in [{low}, 2**31), got {value!r}", name)
        from ostinato.replay import table_kernels as kernels

        out = np.full((len(self), length), pad, np.int32)
        mask = np.zeros((len(self), length), np.bool_)
        kernels.pad(self.tokens, self.offsets, out, mask.view(np.uint8))
        return out, mask
