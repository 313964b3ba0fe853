"""Vocabulary: instruction strings <-> stable int32 ids.

Layout: all words' UTF-8 bytes lie end to end in one buffer, `_ends[i]` is where word i ends, and an
open-addressing table maps a keyed SipHash of the bytes to the id: about 45 bytes a word, no Python object.
Ids are given in order of first appearance, so the same data gives the same ids everywhere.
"""

from __future__ import annotations

import copy
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import DamageError, UsageError

if TYPE_CHECKING:
    from ostinato.results import Results

_CACHE_WORDS = 1 << 16  # words remembered as Python str; the cache is dropped when it is full
_RECENT_WORDS = 16_384  # words remembered beside the table, 384 KiB
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_UNESCAPES = {"\\": "\\", "n": "\n", "r": "\r"}


def spans_of(words: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int32]]:
    """(buffer, starts, lengths): the words' UTF-8 end to end.

    Raises:
        UsageError: a word is no str, or has a lone surrogate.
    """
    try:
        encoded = [word.encode() for word in words]
    except (UnicodeEncodeError, AttributeError):
        raise UsageError("expected str without lone surrogates", "words") from None
    lengths = np.fromiter(map(len, encoded), np.int32, len(encoded))
    starts = np.zeros(len(encoded), np.int64)
    np.cumsum(lengths[:-1], out=starts[1:])
    return np.frombuffer(b"".join(encoded), np.uint8), starts, lengths


class Vocabulary:
    """Words (instruction strings) with ids 0, 1, 2, ... that never change; words are never removed.

    Args:
        words: the first words, in order of their ids; repeats are refused.
        unknown: what an unknown word is when tokens are asked for: "add" gives it the next id, "raise"
            raises UsageError, an int is the id it gets (such as that of a word "<unknown>").

    Cost: O(bytes) to look up; about 45 bytes of memory a word. Not safe for writers in two threads.

    >>> vocabulary = Vocabulary(["push 1", "add"])
    >>> vocabulary.id("add"), vocabulary.word(0), len(vocabulary)
    (1, 'push 1', 2)
    """

    def __init__(self, words: Iterable[str] = (), *, unknown: Literal["add", "raise"] | int = "add") -> None:
        is_id = isinstance(unknown, (int, np.integer)) and not isinstance(unknown, bool)
        if unknown not in ("add", "raise") and not (is_id and 0 <= int(unknown) < 2**31):
            raise UsageError(
                f"expected 'add', 'raise' or an id in [0, 2**31), got {unknown!r}",
                "unknown",
            )
        self.unknown = unknown
        # keyed, so that nobody can choose words that collide; ids do not depend on the key
        self._key = np.frombuffer(secrets.token_bytes(16), np.uint64)
        self._count = 0
        self._ends = np.zeros(1, np.int64)
        self._bytes = np.zeros(0, np.uint8)
        self._table = np.zeros(16, np.uint64)
        self._recent = np.zeros((_RECENT_WORDS, 3), np.uint64)
        self._cache: dict[str, int] = {}
        if isinstance(words, str):
            raise UsageError("expected a list of str, got one str", "words")
        listed = list(words)
        ids = self._intern_words(listed, add=True)
        if len(self) != len(listed):
            first = int(np.flatnonzero(ids != np.arange(len(ids)))[0])
            raise UsageError(f"expected each word once, got {listed[first]!r} again", f"words[{first}]")

    @classmethod
    def from_results(cls, results: Results) -> Vocabulary:
        """All words of these results, in order of first appearance."""
        vocabulary = cls()
        results.tokens(vocabulary)
        return vocabulary

    def __len__(self) -> int:
        return self._count

    def __contains__(self, word: object) -> bool:
        try:
            return isinstance(word, str) and bool(self._intern_words([word], add=False)[0] >= 0)
        except UsageError:  # a lone surrogate is no text
            return False

    def __copy__(self) -> Vocabulary:
        return copy.deepcopy(self)  # two that share a table would overwrite each other's words

    def __iter__(self) -> Iterator[str]:
        return (self.word(i) for i in range(len(self)))

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} words, unknown={self.unknown!r})"

    def word(self, token: int) -> str:
        """The word of an id.

        Raises:
            UsageError: no word has this id.
        """
        if not isinstance(token, (int, np.integer)) or not 0 <= token < self._count:
            raise UsageError(f"expected an id in [0, {self._count}), got {token}", "token")
        return self._bytes[self._ends[token] : self._ends[token + 1]].tobytes().decode()

    def id(self, word: str) -> int:
        """The id of a word; an unknown one is treated as `unknown` says."""
        return self.ids((word,))[0]

    def ids(self, words: Sequence[str]) -> list[int]:
        """The ids of words, in order; unknown ones are treated as `unknown` says, all or (raising) none."""
        try:
            return list(map(self._cache.__getitem__, words))
        except KeyError:
            pass
        if self.unknown == "add":
            found: list[int] = self._intern_words(words, add=True).tolist()
        else:
            missing = -1 if self.unknown == "raise" else int(self.unknown)
            found = self._intern_words(words, add=False, missing=missing).tolist()
            if missing < 0 and -1 in found:
                raise self._unknown_word(words[found.index(-1)])
        if len(self._cache) + len(words) > _CACHE_WORDS:
            self._cache.clear()
        if self.unknown in ("add", "raise"):
            self._cache.update(zip(words, found, strict=True))
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one word a line, in order of ids, UTF-8; backslash, CR and LF are written \\\\, \\r and \\n.

        Written beside and renamed: a kill leaves the old file or the new one.
        """
        from ostinato.files import replace_file

        table = str.maketrans(_ESCAPES)
        with replace_file(path) as file:
            for word in self:
                file.write(f"{word.translate(table)}\n".encode())

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, unknown: Literal["add", "raise"] | int = "add"
    ) -> Vocabulary:
        """Read what `save` wrote.

        Raises:
            DamageError: not UTF-8, an unknown escape, a word twice, or no newline at the end.
        """
        source = os.fspath(path)
        try:
            lines = Path(path).read_bytes().decode().split("\n")
        except UnicodeDecodeError as error:
            raise DamageError("invalid UTF-8", offset=error.start, source=source) from None
        if lines.pop() != "":
            raise DamageError("no newline after the last word", line=len(lines) + 1, source=source)
        words = [_unescape(line, number, source) for number, line in enumerate(lines, 1)]
        seen: dict[str, int] = {}
        for number, word in enumerate(words, 1):
            if seen.setdefault(word, number) != number:
                raise DamageError(f"{word!r} stands already on line {seen[word]}", line=number, source=source)
        return cls(words, unknown=unknown)

    # The bulk seam, for texts: words as spans of one buffer.

    def tokens_of_spans(
        self, buffer: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        """Ids, int32[n], of the words buffer[starts[i] : starts[i] + lengths[i]] (in bounds, UTF-8).

        Cost: about 20 ns a word. Unknown words are treated as `unknown` says.
        """
        if self.unknown == "add":
            return self._intern_spans(buffer, starts, lengths, add=True, missing=-1)
        missing = -1 if self.unknown == "raise" else int(self.unknown)
        ids = self._intern_spans(buffer, starts, lengths, add=False, missing=missing)
        if missing < 0 and len(ids) and ids.min() < 0:
            first = int(np.argmin(ids))
            raw = buffer[starts[first] : starts[first] + lengths[first]]
            raise self._unknown_word(raw.tobytes().decode())
        return ids

    def spans(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """(bytes, ends): word i is bytes[ends[i] : ends[i + 1]]; views that growth replaces."""
        return self._bytes, self._ends[: self._count + 1]

    @staticmethod
    def _unknown_word(word: str) -> UsageError:
        return UsageError(f"{word!r} is not in the vocabulary", "generated_tasm")

    def _intern_words(self, words: Sequence[str], *, add: bool, missing: int = -1) -> NDArray[np.int32]:
        return self._intern_spans(*spans_of(words), add=add, missing=missing)

    def _intern_spans(
        self,
        buffer: NDArray[np.uint8],
        starts: NDArray[np.int64],
        lengths: NDArray[np.int32],
        *,
        add: bool,
        missing: int,
    ) -> NDArray[np.int32]:
        ids = np.empty(len(starts), np.int32)
        if not len(starts):
            return ids
        from ostinato import vocabulary_kernels as kernels

        if len(buffer) < 8:  # the kernel reads eight bytes at a time
            buffer = np.concatenate([buffer, np.zeros(8, np.uint8)])
        done = 0
        while True:
            done, self._count, short = kernels.intern(
                buffer,
                starts,
                lengths,
                ids,
                done,
                self._bytes,
                self._ends,
                self._table,
                self._key,
                self._count,
                add,
                missing,
                self._recent,
            )
            if done == len(starts):
                return ids
            self._grow(short)

    def _grow(self, short: int) -> None:
        """Make room: `short` bytes more for the word that did not fit, or more words (short = 0)."""
        from ostinato import vocabulary_kernels as kernels

        if short:
            used = int(self._ends[self._count])
            room = len(self._bytes)
            larger = np.zeros(max(room + short, room + room // 4, 1024), np.uint8)
            larger[:used] = self._bytes[:used]
            self._bytes = larger
            return
        ends = np.zeros(max(16, len(self._ends) * 5 // 4) + 1, np.int64)
        ends[: self._count + 1] = self._ends[: self._count + 1]
        self._ends = ends
        size = 16
        while size < 2 * len(ends):
            size *= 2
        if size != len(self._table):
            self._table = kernels.rebuild(self._bytes, ends, self._count, self._key, size)


def _unescape(line: str, number: int, source: str) -> str:
    if "\\" not in line:
        return line
    out: list[str] = []
    rest = iter(line)
    for character in rest:
        if character == "\\":
            escaped = next(rest, "")
            if escaped not in _UNESCAPES:
                raise DamageError("unknown escape \\" + escaped, line=number, source=source)
            out.append(_UNESCAPES[escaped])
        else:
            out.append(character)
    return "".join(out)
