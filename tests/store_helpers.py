"""What the tests of the store share: records that differ in all that matters, small stores, what stands in the files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import slow_store_reader
from ostinato import BuildResult
from ostinato.store import Store
from ostinato.store.fs import FileSystem

NOW = 1_700_000_000


def made(k: int, **changes: Any) -> BuildResult:
    """The k-th of many records that differ in all that samplers, removers and policies look at."""
    fields: dict[str, Any] = {
        "tir_hash": bytes([k % 5]) * 32,
        "generated_tasm": [f"push {k}", "add", "an instruction longer than eight bytes"][: 1 + k % 3],
        "valid": k % 7 != 0,
        "clock_cycles": None if k % 4 == 0 else 1 + k * 37 % 100,
        "compiler_cycles": 60,
        "fallback_used": k % 9 == 0,
        "timestamp": NOW + k,
        "model_version": k // 10,
    }
    return BuildResult(**{**fields, **changes})


def many(n: int, first: int = 0) -> list[BuildResult]:
    return [made(k) for k in range(first, first + n)]


class Quick(FileSystem):
    """Syncs nothing: where no power is lost, tests need not wait for the disk."""

    def sync(self, fd: int) -> None:
        pass

    def sync_folder(self, path: str) -> None:
        pass


QUICK = Quick()


def opened(folder: Path, name: str = "store", fs: FileSystem = QUICK, **settings: Any) -> Store:
    return Store.open(folder / name, fs=fs, **settings)


def filled(
    store: Store, records: Iterable[BuildResult], *, one_by_one: bool = False, **context: str
) -> list[int]:
    """The records appended by a writer that is closed afterwards; their ids."""
    with store.writer(context) as writer:
        if one_by_one:
            return [writer.append(r) for r in records]
        return [int(i) for i in writer.extend(list(records))]


def contents(store: Store) -> dict[int, BuildResult]:
    """All that the store says it has, by id; each id stands once."""
    records = store.results()
    found = dict(zip(records.ids.tolist(), records, strict=True))
    assert len(found) == len(records) == len(store)
    assert records.damaged == 0
    return found


def afresh(store: Store) -> dict[int, BuildResult]:
    """The same, as somebody else sees it who opens the store now."""
    with Store.open(store.path, create=False, fs=QUICK) as other:
        return contents(other)


def journals(store: Store) -> list[str]:
    return sorted(path.name for path in Path(store.path, "journals").iterdir())


def segments(store: Store) -> list[str]:
    return sorted(path.name for path in Path(store.path, "segments").iterdir())


def ids_of(records: Sequence[Any] | Any) -> list[int]:
    return [int(i) for i in np.asarray(records.ids)]


def as_written(store: Store, *, whole: bool = True) -> dict[int, BuildResult]:
    """The same, by the slow reader, which is written from FORMAT.md alone; it finds nothing wrong, if the store is whole."""
    slow = slow_store_reader.read_store(store.path)
    assert not whole or (slow.problems, slow.skipped) == ([], [])
    assert slow.left_out == {}
    names = [field.name for field in dataclasses.fields(BuildResult)]
    return {i: BuildResult.from_dict({n: r[n] for n in names}) for i, r in slow.records.items()}
