"""Free metadata: a key, a JSON value."""

from __future__ import annotations

from typing import Any

from ostinato.store.catalog_database import Database
from ostinato.store.catalog_rows import METADATA, checked_text, from_json, to_json


class Metadata:
    """Key -> JSON value, reachable as `catalog.metadata`. Costs are per call; see Database for what else calls raise."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set(self, key: str, value: Any) -> None:
        """Keep a value instead of the one that `key` had.

        Raises:
            UsageError: JSON cannot say it, or it has 16 MiB or more.
        """
        cells = (checked_text(key, "key"), to_json(value, "value"))
        with self._database.writing() as session:
            session.insert(METADATA, cells)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, made of dict, list, str, int, float, bool and None; or `default`.

        Raises:
            DamageError: its row is damaged.
        """
        with self._database.reading() as session:
            item = session.row(METADATA, (checked_text(key, "key"),), item_of)
            return default if item is None else item[1]

    def items(self) -> list[tuple[str, Any]]:
        """All keys and values, by key; damaged ones are left out (`catalog.left_out`)."""
        with self._database.reading() as session:
            return list(session.rows(METADATA, item_of))

    def delete(self, key: str) -> bool:
        """Forget a key; was there one?"""
        with self._database.writing() as session:
            return session.execute("DELETE FROM metadata WHERE key = ?", checked_text(key, "key")) > 0


def item_of(cells: tuple[Any, ...]) -> tuple[str, Any]:
    """A checked row's key and value. Raises DamageError if it is no JSON."""
    return cells[0], from_json(METADATA, cells, "value", object)
