"""Build results as JSON lines: one object of the eight fields a line, UTF-8, `tir_hash` in hex.

The same text as serde_json writes: fields in their order, no spaces, only what must be escaped is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, TypeVar

from ostinato.errors import DamageError, UsageError
from ostinato.result import BuildResult, plain

LINE_END = 1 << 26  # bytes; a longer line is refused before it is read whole

T = TypeVar("T")


def dump(result: BuildResult) -> bytes:
    """One line, newline included."""
    return json.dumps(result.to_dict(), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def parse(line: bytes) -> BuildResult:
    """The build result of one line.

    Raises:
        UsageError: it is none; says what is wrong and at which field.
    """
    return BuildResult.from_dict(load(line))


def load(line: bytes) -> Any:
    """What JSON stands in a line.

    Raises:
        UsageError: none, or a field stands twice; says what is wrong.
    """
    try:
        # str, not bytes: json would guess UTF-16 and UTF-32 too
        return json.loads(line.decode(), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise UsageError(f"invalid UTF-8 in column {error.start + 1}") from None
    except json.JSONDecodeError as error:
        raise UsageError(f"no JSON: {error.msg}, column {error.colno}") from None
    except UsageError:
        raise
    except ValueError:  # Python refuses to read ints of thousands of digits
        raise UsageError("no JSON that can be read: a number of too many digits") from None
    except RecursionError:
        raise UsageError("nested too deeply") from None


def read(
    file: BinaryIO, *, skip: Callable[[DamageError], None] | None = None, source: str | None = None
) -> Iterator[BuildResult]:
    """The build results of a file, line by line; empty lines are passed over.

    Args:
        skip: called with what is wrong with a line, which is then left out; None raises it.
    Raises:
        DamageError: a line is no build result; says which line and field.
    """
    return (result for _, result in numbered(file, parse, skip=skip, source=source))


def numbered(
    file: BinaryIO,
    of: Callable[[bytes], T],
    *,
    skip: Callable[[DamageError], None] | None = None,
    source: str | None = None,
) -> Iterator[tuple[int, T]]:
    """`read`, with the number of each line (from 1), and with another `parse`."""
    for number, line in enumerate(_lines(file), 1):
        try:
            if len(line) >= LINE_END:
                raise UsageError(f"{LINE_END:,} bytes or more")
            if line.strip():
                yield number, of(line)
        except UsageError as error:
            damage = DamageError(error.cause, line=number, field=error.field, source=source)
            if skip is None:
                raise damage from None
            skip(damage)


def _lines(file: BinaryIO) -> Iterable[bytes]:
    while line := file.readline(LINE_END):
        yield line
        while len(line) >= LINE_END and not line.endswith(b"\n"):  # pass over the rest of it
            line = file.readline(LINE_END)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise UsageError("a field stands twice", plain(twice))
    return out
