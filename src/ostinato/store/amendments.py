"""Corrections, as segments keep them: the history stays, with what a record was before."""

from __future__ import annotations

import json

from ostinato.result import BuildResult
from ostinato.store import layout
from ostinato.store.journal import Amendment


class SealedAmendment:
    """A line of amendments.jsonl: an amendment, what the record was before (None: unknown), and is it folded in?"""

    __slots__ = ("amendment", "before", "folded")

    def __init__(self, amendment: Amendment, before: BuildResult | None, folded: bool) -> None:
        self.amendment, self.before, self.folded = amendment, before, folded

    def dump(self) -> bytes:
        """The line; without `before` if it were longer than any that is read."""
        line = self._dump(self.before)
        return line if len(line) <= layout.LINES_END else self._dump(None)

    def _dump(self, before: BuildResult | None) -> bytes:
        a = self.amendment
        value = {
            "id": a.id,
            "at": a.at,
            "reason": a.reason,
            "amendment": a.amendment,
            "before": None if before is None else before.to_dict(),
            "after": a.result.to_dict(),
            "folded": self.folded,
        }
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> SealedAmendment:
        """The inverse.

        Raises:
            ValueError, TypeError, KeyError: it is none.
        """
        value = json.loads(line.decode())
        numbers = [value[name] for name in ("amendment", "id", "at")]
        if not all(type(n) is int and 0 <= n < 2**63 for n in numbers[:2]) or not (
            type(numbers[2]) is int and 0 <= numbers[2] < 2**64
        ):
            raise ValueError("`amendment`, `id` or `at`")
        if not isinstance(value["reason"], str) or not isinstance(value["folded"], bool):
            raise ValueError("`reason` or `folded`")
        value["reason"].encode()  # half of a surrogate pair could not be written again
        before = value["before"]
        return cls(
            Amendment(
                numbers[0], numbers[1], numbers[2], value["reason"], BuildResult.from_dict(value["after"])
            ),
            None if before is None else BuildResult.from_dict(before),
            value["folded"],
        )
