"""Numbers as a person reads them, and texts as HTML.

Rule of this file: all that comes from data goes through `text` before it is part of a page, through `in_plot` before it is part of a plot.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from datetime import UTC, datetime

NOTHING = "–"


def text(value: object) -> str:
    """As text in a page or an attribute, where nothing in it is markup."""
    return html.escape(_visible(str(value)))


def in_plot(value: object) -> str:
    """As text in a plot: plotly reads tags and a few entities, but knows none for quotes."""
    return html.escape(_visible(str(value)), quote=False)


def _visible(value: str) -> str:
    """What cannot be seen is shown as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)


def number(value: float | None) -> str:
    """With separators."""
    return NOTHING if value is None else f"{value:,.0f}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share."""
    return NOTHING if share is None else f"{100 * share:.{digits}f} %"


def signed(value: float | None) -> str:
    """A small number with its sign."""
    return NOTHING if value is None else f"{value:+.3f}"


def duration(seconds: float | None) -> str:
    """In the unit that fits."""
    if seconds is None:
        return NOTHING
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.0f} s"


def size(count: int) -> str:
    """Bytes."""
    return f"{count / 1e6:,.1f} MB" if count >= 100_000 else f"{count / 1e3:,.1f} kB"


def moment(stamp: int | None) -> str:
    """A timestamp."""
    if stamp is None:
        return NOTHING
    try:
        return datetime.fromtimestamp(stamp, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):  # a u64 reaches beyond the calendar
        return f"{stamp} s"


def span(first: int, last: int) -> str:
    """Versions."""
    return str(first) if first == last else f"{first}–{last}"


def code(lines: Iterable[str]) -> str:
    """Instructions on one line."""
    return text("; ".join(lines)) or "(nothing)"
