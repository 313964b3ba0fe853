"""The folder of a run: its store, its policies, which of them is active, and how far the learner has read.

Rule of this file: files are replaced whole, so that a kill at any moment leaves the old or the new.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from ostinato.errors import DamageError
from ostinato.files import replace_file
from ostinato.store import Cursor, Extra, Store

# beside each record: the id of what it was made from, or -1; why it failed (a place in `Target.failures`); and, on the one record
# that a beam always gives, what the beam came to
COLUMNS = {
    "parent": Extra("i8", default=-1),
    "failure": Extra("u1", default=0),
    "attempts": Extra("u4", default=0),
    "valid_attempts": Extra("u4", default=0),
    "duplicates": Extra("u4", default=0),
    "proposal_us": Extra("u4", default=0),
    "judge_us": Extra("u4", default=0),
}

_POLICY = re.compile(r"([0-9]{6})\.json")


class Folder:
    """DIR/store, DIR/policies/NNNNNN.json, DIR/policies/active, DIR/policies/learner.json."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.policies = self.path / "policies"

    def store(self, *, create: bool = False) -> Store:
        """The store of attempts.

        Raises: as `Store.open`.
        """
        if create:
            self.policies.mkdir(parents=True, exist_ok=True)
            return Store.open(self.path / "store", extras=COLUMNS)
        return Store.open(self.path / "store", create=False)

    def checkpoint(self, version: int) -> Path:
        """Where a policy is kept."""
        return self.policies / f"{version:06}.json"

    def versions(self) -> list[int]:
        """Those that are kept, rising."""
        if not self.policies.is_dir():
            return []
        names = (_POLICY.fullmatch(entry.name) for entry in self.policies.iterdir())
        return sorted(int(name[1]) for name in names if name)

    def active(self) -> int | None:
        """The version that is at work, or None where there is none yet.

        Raises:
            DamageError: the file says something else.
        """
        path = self.policies / "active"
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except UnicodeDecodeError:
            text = ""
        if not re.fullmatch(r"[0-9]{1,9}\n", text):
            raise DamageError("expected the number of a policy", source=str(path))
        return int(text)

    def activate(self, version: int) -> None:
        """From now on builders use this one."""
        with replace_file(self.policies / "active") as file:
            file.write(f"{version}\n".encode())

    def seen(self) -> Cursor | None:
        """How far the learner has read; None where it has not begun, or its note is damaged, and it begins again."""
        try:
            return Cursor.from_json(json.loads((self.policies / "learner.json").read_bytes())["cursor"])
        except (OSError, ValueError, KeyError, TypeError, DamageError):
            return None

    def note_seen(self, cursor: Cursor) -> None:
        """The learner has read so far."""
        with replace_file(self.policies / "learner.json") as file:
            file.write(json.dumps({"cursor": cursor.to_json()}).encode())
