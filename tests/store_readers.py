"""The real store and the slow reader, asked for the same things in the same form."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ostinato.errors import DamageError, OstinatoError
from ostinato.store import Store
from slow_store_reader import FIELDS, Refused, SlowStore, read_store


@dataclass
class Read:
    """A store as a reader sees it; `refused` is what it says if it cannot be read at all.

    `records`: by id, the eight fields, extras and context. `amendments`: their seven fields.
    `skipped`: (file, position, size, kind), of journals. `damaged`: records of segments that were left out.
    """

    refused: str = ""
    records: dict[int, dict[str, Any]] = field(default_factory=dict)
    amendments: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[tuple[str, int, int, str]] = field(default_factory=list)
    damaged: int = 0


def slow(path: Path) -> Read:
    """By the slow reader."""
    try:
        found: SlowStore = read_store(path)
    except Refused as refused:
        return Read(refused=str(refused))
    return Read(
        records={n: {k: r[k] for k in _RECORD} for n, r in sorted(found.records.items())},
        amendments=sorted(
            ({k: a[k] for k in _AMENDMENT} for a in found.amendments), key=lambda a: a["amendment"]
        ),
        skipped=sorted(skip for skip in found.skipped if skip[0].startswith("journals/")),
        damaged=sum(found.left_out.values()),
    )


def real(path: Path) -> Read:
    """By `Store`."""
    try:
        with Store.open(path, create=False) as store:
            return _real(store)
    except (OstinatoError, OSError) as error:
        return Read(refused=str(error) or repr(error))


def agreed(path: Path) -> Read:
    """What both say, which is the same."""
    ours, theirs = real(path), slow(path)
    assert bool(ours.refused) == bool(theirs.refused), (ours.refused, theirs.refused)
    if ours.refused:
        # which of a segment's files is to blame may be seen otherwise
        named = "/".join(theirs.refused.split(":")[0].split("/")[:2])
        assert named in ours.refused, (ours.refused, theirs.refused)
        return theirs
    assert list(ours.records) == list(theirs.records)
    # as text, in which a NaN is a NaN
    for number, record in theirs.records.items():
        assert repr(ours.records[number]) == repr(record)
    assert ours.amendments == theirs.amendments
    assert ours.skipped == theirs.skipped
    assert ours.damaged == theirs.damaged
    return theirs


_RECORD = (*FIELDS, "extras", "context")
_AMENDMENT = ("id", "at", "reason", "amendment", "before", "after", "folded")


def _real(store: Store) -> Read:
    results = store.results()
    read = Read(damaged=results.damaged)
    order = results.ids.argsort()
    for i in order.tolist():
        try:
            fields = results[i].to_dict()
        except DamageError:  # its text is read only now
            read.damaged += 1
            continue
        extras = {name: column[i].item() for name, column in results.extras.items()}
        read.records[int(results.ids[i])] = fields | {"extras": extras, "context": results.context(i)}
    seen = {}
    for sealed in store.amendments():
        about = sealed.amendment
        # one that was sealed in one segment and folded in another is one all the same
        seen[about.amendment] = {
            "id": about.id,
            "at": about.at,
            "reason": about.reason,
            "amendment": about.amendment,
            "before": None if sealed.before is None else sealed.before.to_dict(),
            "after": about.result.to_dict(),
            "folded": sealed.folded,
        }
    read.amendments = [seen[number] for number in sorted(seen)]
    view = store._view
    assert view is not None
    read.damaged += sum(segment.damaged for segment in view.segments.values())
    for number, journal in view.journals.items():
        for skip in journal.skipped:
            kind = "repeated" if skip.cause.startswith("records that were read") else skip.kind
            read.skipped.append((f"journals/{number:06d}.journal", skip.position, skip.size, kind))
    read.skipped.sort()
    return read
