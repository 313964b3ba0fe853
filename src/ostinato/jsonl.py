"""Build results as JSON lines: one object of the eight fields a line, UTF-8, `tir_hash` in hex.

The same text as serde_json writes: fields in their order, no spaces, only what must be escaped is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from ostinato.errors import DamageError, UsageError
from ostinato.result import BuildResult

LINE_END = 1 << 26  # bytes; a longer line is refused before it is read whole


def dump(result: BuildResult) -> bytes:
    """One line, newline included."""
    return json.dumps(result.to_dict(), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def parse(line: bytes) -> BuildResult:
    """The build result of one line.

    Raises:
        UsageError: it is none; says what is wrong and at which field.
    """
    try:
        return BuildResult.from_dict(json.loads(line, object_pairs_hook=_unique))
    except UnicodeDecodeError as error:
        raise UsageError(f"invalid UTF-8 in column {error.start + 1}") from None
    except json.JSONDecodeError as error:
        raise UsageError(f"no JSON: {error.msg}, column {error.colno}") from None
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
    for number, line in enumerate(_lines(file), 1):
        try:
            if len(line) >= LINE_END:
                raise UsageError(f"longer than {LINE_END:,} bytes")
            if line.strip():
                yield parse(line)
        except UsageError as error:
            cause, _, field = str(error).partition(" - at `")
            damage = DamageError(cause, line=number, field=field.rstrip("`") or None, source=source)
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
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"a field stands twice - at `{twice}`")
    return out
