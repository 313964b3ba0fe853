"""The tree of errors; each says who can mend it.

    OstinatoError
    ├── UsageError        yours: an argument or a call that cannot work (also a ValueError)
    ├── DamageError       the data's: bytes that are not what they should be, with the place
    ├── VersionError      the data's, and good: written by a newer Ostinato
    ├── EmptyBufferError  nothing to draw from yet
    └── RateLimitError    a rate limiter's patience ended

Errors of the operating system (a missing file, no space, no permission) pass through unchanged.
"""

from __future__ import annotations


class OstinatoError(Exception):
    """Base of every error this package raises by itself."""


class UsageError(OstinatoError, ValueError):
    """An argument is of the wrong type or out of range; the message ends with where: "- at `field`".

    Attributes:
        cause: what is wrong. field: where, or None where the cause says it.
    """

    def __init__(self, cause: str, field: str | None = None) -> None:
        self.cause = cause
        self.field = field
        super().__init__(cause if field is None else f"{cause} - at `{field}`")

    def __reduce__(self) -> tuple[type[UsageError], tuple[str, str | None]]:
        return UsageError, (self.cause, self.field)


class EmptyBufferError(OstinatoError):
    """A draw was asked for, but no record can be drawn: push some first."""


class VersionError(OstinatoError):
    """Written by a newer Ostinato, in a version of a format that this one does not know: nothing is read or changed."""


class RateLimitError(OstinatoError):
    """A call waited for a rate limiter as long as it may, and has done nothing; the message says what is missing."""


class DamageError(OstinatoError):
    """Bytes or text that cannot be read as what they claim to be.

    Attributes:
        cause: what is wrong, in the words of the format's own checker where it has one.
        offset: byte offset from the start of the data, or None where it is a line that is wrong.
        record: number of the build result, from 0, or None where it is none of them.
        field: name of its field, or None.
        line: line number, from 1, in a text file, or None.
        source: the file, where it is known.
    """

    def __init__(
        self,
        cause: str,
        *,
        offset: int | None = None,
        record: int | None = None,
        field: str | None = None,
        line: int | None = None,
        source: str | None = None,
    ) -> None:
        self.cause = cause
        self.offset = offset
        self.record = record
        self.field = field
        self.line = line
        self.source = source
        super().__init__(self._message())

    def _message(self) -> str:
        place = [f"byte {self.offset}"] if self.offset is not None else []
        if self.line is not None:
            place.append(f"line {self.line}")
        if self.record is not None:
            place.append(f"record {self.record}")
        if self.field is not None:
            place.append(f"`{self.field}`")
        text = self.cause + (f" - at {', '.join(place)}" if place else "")
        return f"{self.source}: {text}" if self.source else text

    def at(self, source: str) -> DamageError:
        """The same error, naming the file it was found in."""
        return DamageError(
            self.cause,
            offset=self.offset,
            record=self.record,
            field=self.field,
            line=self.line,
            source=source,
        )
