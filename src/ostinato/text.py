"""The instructions of many build results: ragged lists of strings, in three forms behind one seam.

    ListText     Python strings, as BuildResults hold them
    TokenText    int32 ids of a vocabulary, as the replay buffer holds them
    ArchiveText  string records in an archive's bytes (ostinato.archive.reading)

Everything that works on many at once asks for spans: (buffer u8, starts i64[k], lengths i32[k]), the k
instructions of some results one after the other, each a slice of the buffer.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import DamageError
from ostinato.vocabulary import Vocabulary, spans_of

Spans = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int32]]
Index = slice | NDArray[Any]

CHUNK = 16_384  # results handled at once: bounds what bulk work allocates beside its result
_TOKENS_CHUNK = 1024  # their spans stay in the second-level cache


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A view that cannot be written through."""
    view = array.view()
    view.flags.writeable = False
    return view


def decode(raw: bytes) -> str:
    """UTF-8 as text.

    Raises:
        DamageError: it is none: the mapped file was changed after it was validated.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise DamageError("invalid UTF-8: the file was changed while it was open") from error


class Text(Sequence[tuple[str, ...]], abc.ABC):
    """A sequence of instruction lists; `text[i]` is a tuple of str, `text[a:b]` a Text."""

    counts: NDArray[np.int64] | NDArray[np.uint32]  # instructions of each result

    def __len__(self) -> int:
        return len(self.counts)

    @overload
    def __getitem__(self, index: int) -> tuple[str, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> Text: ...
    def __getitem__(self, index: int | slice) -> tuple[str, ...] | Text:
        if isinstance(index, slice):
            return self.take(index)
        return self.lines(range(len(self))[index])

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        for first in range(0, len(self), CHUNK):
            yield from self._decode(first, min(first + CHUNK, len(self)))

    @abc.abstractmethod
    def take(self, index: Index) -> Text:
        """The lists at a slice or an integer or boolean array."""

    @abc.abstractmethod
    def lines(self, i: int) -> tuple[str, ...]:
        """The instructions of result i, 0 <= i < len."""

    @abc.abstractmethod
    def spans(self, first: int, end: int) -> Spans:
        """The instructions of results first .. end-1 as slices of one buffer.

        Raises:
            DamageError: (archives opened without validation) they are not what they claim to be.
        """

    def offsets(self) -> NDArray[np.int64]:
        """int64[n + 1]: where each list begins when all lie one after the other."""
        out = np.zeros(len(self) + 1, np.int64)
        np.cumsum(self.counts, out=out[1:])
        return out

    def tokens(self, vocabulary: Vocabulary) -> NDArray[np.int32]:
        """All instructions' ids, int32[sum(counts)]."""
        flat = np.empty(int(self.counts.sum()), np.int32)
        done = 0
        for first in range(0, len(self), _TOKENS_CHUNK):
            part = vocabulary.tokens_of_spans(*self.spans(first, min(first + _TOKENS_CHUNK, len(self))))
            flat[done : done + len(part)] = part
            done += len(part)
        return flat

    def _decode(self, first: int, end: int) -> Iterator[tuple[str, ...]]:
        buffer, starts, lengths = self.spans(first, end)
        data = buffer.data
        known: dict[bytes, str] = {}
        words = []
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            raw = bytes(data[start : start + length])
            word = known.get(raw)
            if word is None:
                word = known[raw] = decode(raw)
            words.append(word)
        done = 0
        for count in self.counts[first:end].tolist():
            yield tuple(words[done : done + count])
            done += count


class ListText(Text):
    """Instruction lists as BuildResults hold them; needs no kernels."""

    def __init__(self, lists: list[tuple[str, ...]]) -> None:
        self._lists = lists
        self.counts = read_only(np.fromiter(map(len, lists), np.int64, len(lists)))

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        return iter(self._lists)

    def take(self, index: Index) -> ListText:
        if isinstance(index, slice):
            return ListText(self._lists[index])
        return ListText([self._lists[i] for i in np.arange(len(self))[index].tolist()])

    def lines(self, i: int) -> tuple[str, ...]:
        return self._lists[i]

    def spans(self, first: int, end: int) -> Spans:
        return spans_of([word for lines in self._lists[first:end] for word in lines])

    def tokens(self, vocabulary: Vocabulary) -> NDArray[np.int32]:
        return np.array(vocabulary.ids([word for lines in self._lists for word in lines]), np.int32)


class TokenText(Text):
    """Instruction lists as ids: list i is tokens[starts[i] : starts[i] + counts[i]].

    The caller has checked that every list lies inside `tokens` and every id inside the vocabulary.
    """

    def __init__(
        self,
        tokens: NDArray[np.int32],
        starts: NDArray[np.int64],
        counts: NDArray[np.int64] | NDArray[np.uint32],
        vocabulary: Vocabulary,
    ) -> None:
        self._tokens = tokens
        self._starts = starts
        self.counts = read_only(counts)
        self.vocabulary = vocabulary
        # where the lists are one after the other, all of `tokens`
        self._offsets: NDArray[np.int64] | None = None

    @classmethod
    def ragged(
        cls, tokens: NDArray[np.int32], offsets: NDArray[np.int64], vocabulary: Vocabulary
    ) -> TokenText:
        """List i is tokens[offsets[i] : offsets[i + 1]]; offsets rise from 0 to len(tokens)."""
        text = cls(tokens, offsets[:-1], offsets[1:] - offsets[:-1], vocabulary)
        text._offsets = offsets
        return text

    def offsets(self) -> NDArray[np.int64]:
        return super().offsets() if self._offsets is None else self._offsets

    def take(self, index: Index) -> TokenText:
        return TokenText(self._tokens, self._starts[index], self.counts[index], self.vocabulary)

    def lines(self, i: int) -> tuple[str, ...]:
        start = int(self._starts[i])
        word = self.vocabulary.word
        return tuple(word(t) for t in self._tokens[start : start + int(self.counts[i])].tolist())

    def flat(self, first: int = 0, end: int | None = None) -> NDArray[np.int32]:
        """The ids, int32, of lists first .. end-1, one after the other."""
        if self._offsets is not None and first == 0 and end is None:
            return self._tokens
        starts = self._starts[first:end]
        counts = self.counts[first:end].astype(np.int64)
        ends = np.cumsum(counts)
        total = int(ends[-1]) if len(ends) else 0
        if total == 0:
            return np.empty(0, np.int32)
        if np.array_equal(starts[1:], starts[:-1] + counts[:-1]):
            return self._tokens[int(starts[0]) : int(starts[0]) + total]
        # position of each token: its list's start plus its place in the list
        places = np.arange(total) + np.repeat(starts - (ends - counts), counts)
        gathered: NDArray[np.int32] = self._tokens[places]
        return gathered

    def spans(self, first: int, end: int) -> Spans:
        buffer, ends = self.vocabulary.spans()
        ids = self.flat(first, end)
        starts = ends[ids]
        return buffer, starts, (ends[ids + 1] - starts).astype(np.int32)

    def tokens(self, vocabulary: Vocabulary) -> NDArray[np.int32]:
        if vocabulary is self.vocabulary:
            return self.flat().copy()
        return super().tokens(vocabulary)
