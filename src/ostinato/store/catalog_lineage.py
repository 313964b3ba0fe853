"""What fed what: model versions, and the finetunes that made them, with the ids of the records they learned from.

Rule of this file: rows are added, never changed. A finetune's ids are kept as given, in their order, in parts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from ostinato.errors import DamageError, UsageError
from ostinato.result import U32_END
from ostinato.store.catalog_database import Database
from ostinato.store.catalog_rows import (
    FINETUNE_RECORDS,
    FINETUNES,
    MODEL_VERSIONS,
    checked_int,
    checked_text,
    from_json,
    to_json,
)
from ostinato.store.catalog_session import Session

PART = 1 << 16  # ids in one row
IDS_END = 1 << 24  # ids in one finetune

_ID = np.dtype("<i8")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """A model's checkpoint: which one it came from, by which finetune, where it is, and how good."""

    version: int
    parent: int | None
    finetune: int | None
    path: str | None
    metrics: dict[str, Any]
    recorded_at: int = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetune:
    """A training step: how many records it learned from (`lost`: ids that a repair could not keep), how, and what came of it."""

    number: int
    records: int
    lost: int
    config: dict[str, Any]
    metrics: dict[str, Any]
    base_version: int | None
    new_version: int | None
    recorded_at: int


class Lineage(Database):
    """Model versions and finetunes. Costs are per call; see Database."""

    def put_version(
        self,
        version: int,
        *,
        parent: int | None,
        finetune: int | None,
        path: str | None,
        metrics: Mapping[str, Any],
        at: int,
    ) -> None:
        """Keep what is known of a model version; the same again changes nothing, not even `at`.

        Raises:
            UsageError: an argument is wrong, or that version is kept already and is another.
        """
        item = ModelVersion(
            version=checked_int(version, "version", U32_END),
            parent=_optional(parent, "parent", U32_END),
            finetune=_optional(finetune, "finetune"),
            path=None if path is None else checked_text(path, "path"),
            metrics=json.loads(_object(metrics, "metrics")),  # as it will be read
            recorded_at=checked_int(at, "at"),
        )
        with self.writing() as session:
            kept = session.row(MODEL_VERSIONS, (item.version,), version_of)
            if kept is None:
                session.insert(MODEL_VERSIONS, _cells(item))
            elif kept != item:
                raise UsageError(
                    f"model version {item.version} is kept already, with other values", "version"
                )

    def version(self, version: int) -> ModelVersion | None:
        """What is known of a model version, or None.

        Raises:
            DamageError: its row is damaged.
        """
        with self.reading() as session:
            return session.row(MODEL_VERSIONS, (checked_int(version, "version", U32_END),), version_of)

    def versions(self) -> list[ModelVersion]:
        """All model versions, rising; damaged ones are left out (`left_out`)."""
        with self.reading() as session:
            return list(session.rows(MODEL_VERSIONS, version_of))

    def record_finetune(
        self,
        *,
        record_ids: npt.ArrayLike,
        config: Mapping[str, Any],
        metrics: Mapping[str, Any],
        base_version: int | None,
        new_version: int | None,
        at: int,
    ) -> int:
        """Keep a training step and give it a number, from 1, never one that was used before.

        Args:
            record_ids: int64[n], n < 2**24, as the step drew them: in order, repeated where repeated.
            config, metrics: JSON objects; None for what was not measured.
        Raises:
            UsageError: an argument is wrong; nothing is kept.

        Cost: 8 bytes an id.
        """
        ids = _checked_ids(record_ids)
        cells = [
            _object(config, "config"),
            _object(metrics, "metrics"),
            _optional(base_version, "base_version", U32_END),
            _optional(new_version, "new_version", U32_END),
            checked_int(at, "at"),
        ]
        with self.writing() as session:
            # what else speaks of a finetune counts too: its own row may have been lost
            number = session.next_number(
                ("finetunes", "number"), ("finetune_records", "finetune"), ("model_versions", "finetune")
            )
            session.insert(FINETUNES, (number, len(ids), 0, *cells))
            for part in range(0, len(ids), PART):
                some = ids[part : part + PART]
                key = (number, part // PART, int(some.min()), int(some.max()))
                session.insert(FINETUNE_RECORDS, (*key, some.tobytes()))
        return number

    def finetunes(self) -> list[Finetune]:
        """All finetunes, rising; damaged ones are left out (`left_out`)."""
        with self.reading() as session:
            return list(session.rows(FINETUNES, finetune_of))

    def finetune_records(self, number: int) -> NDArray[np.int64]:
        """int64[n]: the ids that a finetune learned from, as they were recorded (read-only).

        Raises:
            UsageError: there is no such finetune. DamageError: it is damaged, or some of its ids are.
        """
        number = checked_int(number, "number")
        with self.reading() as session:
            finetune = session.row(FINETUNES, (number,), finetune_of)
            if finetune is None:
                raise UsageError(f"there is no finetune {number}", "number")
            parts = [session.there(FINETUNE_RECORDS, key, part_of) for key in _parts(session, number)]
        ids = np.concatenate([np.empty(0, _ID), *(ids for _, ids in parts)])
        if len(ids) + finetune.lost != finetune.records:
            raise DamageError(_count(finetune, len(ids)), source=self.path)
        ids.flags.writeable = False
        return ids

    def finetunes_of(self, record_id: int) -> list[int]:
        """The numbers of the finetunes that learned from a record, rising; damaged ids are left out (`left_out`).

        Cost: O(all ids / 65,536), and 0.2 ms for each 65,536 ids in whose range the record lies.
        """
        record_id = checked_int(record_id, "record_id")
        sql = "SELECT finetune, part FROM finetune_records WHERE lowest <= ? AND highest >= ? ORDER BY finetune, part"
        with self.reading() as session:
            keys = session.rising(sql, record_id, record_id)
            parts = session.rows(FINETUNE_RECORDS, part_of, keys)
            return sorted({number for number, ids in parts if (ids == record_id).any()})


def _optional(value: Any, name: str, end: int | None = None) -> int | None:
    if value is None:
        return None
    return checked_int(value, name) if end is None else checked_int(value, name, end)


def _object(value: Any, name: str) -> str:
    if not isinstance(value, Mapping):
        raise UsageError("expected a mapping", name)
    return to_json(value, name)


def _checked_ids(record_ids: npt.ArrayLike) -> NDArray[np.int64]:
    array = np.asarray(record_ids)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise UsageError(f"expected int64[n], got {array.dtype}{list(array.shape)}", "record_ids")
    if len(array) >= IDS_END:
        raise UsageError(f"expected fewer than {IDS_END:,} ids, got {len(array):,}", "record_ids")
    if array.size and not 0 <= int(array.min()) <= int(array.max()) < 1 << 63:
        raise UsageError("expected ids in [0, 2**63)", "record_ids")
    return array.astype(_ID)


def _cells(item: ModelVersion) -> tuple[Any, ...]:
    return (
        item.version,
        item.parent,
        item.finetune,
        item.path,
        to_json(item.metrics, "metrics"),
        item.recorded_at,
    )


def version_of(cells: tuple[Any, ...]) -> ModelVersion:
    """A checked row's model version. Raises DamageError if a number is out of range or the metrics no JSON."""
    version, parent, finetune, path, _, at = cells
    if not all(0 <= number < U32_END for number in (version, parent or 0)) or (finetune or 0) < 0 or at < 0:
        raise MODEL_VERSIONS.damage(cells, "a number is out of range")
    metrics = from_json(MODEL_VERSIONS, cells, "metrics", dict)
    return ModelVersion(
        version=version, parent=parent, finetune=finetune, path=path, metrics=metrics, recorded_at=at
    )


def finetune_of(cells: tuple[Any, ...]) -> Finetune:
    """A checked row's finetune. Raises DamageError like `version_of`."""
    number, records, lost, _, _, base, new, at = cells
    if not 0 <= lost <= records < IDS_END or min(number, at) < 0:
        raise FINETUNES.damage(cells, "a number is out of range")
    if not all(0 <= (version or 0) < U32_END for version in (base, new)):
        raise FINETUNES.damage(cells, "a version is out of range")
    return Finetune(
        number=number,
        records=records,
        lost=lost,
        config=from_json(FINETUNES, cells, "config", dict),
        metrics=from_json(FINETUNES, cells, "metrics", dict),
        base_version=base,
        new_version=new,
        recorded_at=at,
    )


def part_of(cells: tuple[Any, ...]) -> tuple[int, NDArray[np.int64]]:
    """A checked row's finetune and ids, int64[1 .. 65,536]. Raises DamageError if they are not what the row says of them."""
    finetune, _, lowest, highest, data = cells
    if not 0 < len(data) <= PART * 8 or len(data) % 8:
        raise FINETUNE_RECORDS.damage(cells, f"{len(data)} bytes of ids")
    ids = np.frombuffer(data, _ID)
    if (int(ids.min()), int(ids.max())) != (lowest, highest) or lowest < 0:
        raise FINETUNE_RECORDS.damage(cells, "ids out of range")
    return finetune, ids


def _parts(session: Session, number: int) -> list[tuple[Any, ...]]:
    sql = "SELECT finetune, part FROM finetune_records WHERE finetune = ? ORDER BY part LIMIT ?"
    return list(session.rising(sql, number, IDS_END // PART + 1))


def _count(finetune: Finetune, found: int) -> str:
    return f"row {FINETUNES.row((finetune.number,))}: {found:,} of {finetune.records - finetune.lost:,} record ids are here"


def check_parts(session: Session) -> Iterator[str]:
    """What is wrong between finetunes and their ids, in words."""
    found = _found(session)
    for finetune in session.rows(FINETUNES, finetune_of):
        count = found.pop(finetune.number, 0)
        if count + finetune.lost != finetune.records:
            yield f"{session.path}: {_count(finetune, count)}"
    for number, count in found.items():
        yield f"{session.path}: row {FINETUNES.row((number,))}: missing, but {count:,} of its record ids are here"


def settle(session: Session, counts: Counter[str]) -> None:
    """After rows were lost: finetunes say how many ids went with them, and ids without their finetune go too."""
    found = _found(session)
    for finetune in list(session.rows(FINETUNES, finetune_of)):
        count = found.pop(finetune.number, 0)
        if count < finetune.records - finetune.lost:
            cells = session.row(FINETUNES, (finetune.number,), list) or []
            cells[tuple(FINETUNES.columns).index("lost")] = finetune.records - count
            session.insert(FINETUNES, cells)
    for number in found:
        gone = session.execute("DELETE FROM finetune_records WHERE finetune = ?", number)
        counts.update(kept=-gone, lost=gone)


def _found(session: Session) -> Counter[int]:
    """How many ids of each finetune are here."""
    found: Counter[int] = Counter()
    for number, ids in session.rows(FINETUNE_RECORDS, part_of):
        found[number] += len(ids)
    return found
