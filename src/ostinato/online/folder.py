"""The folder of a run: its store, its policies, which of them is active, and how far the learner has read.

Rule of this file: files are replaced whole, so that a kill at any moment leaves the old or the new.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

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
    "better_attempts": Extra("u4", default=0),
    "duplicates": Extra("u4", default=0),
    "proposal_us": Extra("u4", default=0),
    "judge_us": Extra("u4", default=0),
}

OBSERVERS = 64  # builders whose observations are kept
KEPT_POLICIES = 16  # checkpoints beside the active one, and as many that were activated

_POLICY = re.compile(r"([0-9]{6})\.json")


class Folder:
    """DIR/store, DIR/policies/NNNNNN.json, DIR/policies/active, DIR/policies/learner.json, DIR/observations/JOURNAL.json,
    DIR/metrics.json."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.policies = self.path / "policies"
        self.metrics = self.path / "metrics.json"
        self._observations = self.path / "observations"

    def store(self, *, create: bool = False) -> Store:
        """The store of attempts.

        Raises: as `Store.open`.
        """
        if create:
            self.policies.mkdir(parents=True, exist_ok=True)
            self._observations.mkdir(exist_ok=True)
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

    def forget_policies(self, activated: Collection[int]) -> None:
        """Delete checkpoints but the newest, the newest of those that were activated, and the active one."""
        there = self.versions()
        kept = {
            *there[-KEPT_POLICIES:],
            *[one for one in there if one in activated][-KEPT_POLICIES:],
            self.active(),
        }
        for version in there:
            if version not in kept:
                self.checkpoint(version).unlink(missing_ok=True)

    def note_observations(self, journal: int, observations: dict[str, Any]) -> None:
        """What a builder has observed since it began; `journal` is its first one, whose number is never given again."""
        with replace_file(self._observations / f"{journal:010}.json") as file:
            file.write(json.dumps(observations).encode())

    def observations(self) -> list[Any]:
        """Of each builder, the latest of them last; what is no JSON is passed over, the oldest beyond `OBSERVERS` are deleted."""
        paths = sorted(self._observations.glob("*.json"))
        for path in paths[:-OBSERVERS]:
            path.unlink(missing_ok=True)
        found = []
        for path in paths[-OBSERVERS:]:
            try:
                found.append(json.loads(path.read_bytes()))
            except (OSError, ValueError):
                continue
        return found

    def size_bytes(self) -> int:
        """Of all files of the run. Cost: some us a file."""
        return _size_of(self.path)

    def store_bytes(self) -> int:
        """Of the files of its store."""
        return _size_of(self.path / "store")

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


def _size_of(path: Path) -> int:
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:  # it has gone meanwhile
                continue
    return total
