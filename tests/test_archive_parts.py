"""Large archives are checked in parts by several threads: the verdict must be that of one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ostinato import DamageError, archive
from ostinato.archive import reading

GOLDEN = Path(__file__).parent / "golden" / "archives" / "rand_1000.rkyv"


def verdict(data: bytes) -> str:
    try:
        return f"{len(archive.loads(data))} records"
    except DamageError as error:
        return str(error)


def mutants(count: int) -> list[bytes]:
    """The golden with a few entries or strings changed, most of them in the middle, where parts meet."""
    rng = random.Random(7)
    golden = GOLDEN.read_bytes()
    entries = len(golden) - 8 - 96 * 1000
    out = []
    for _ in range(count):
        data = bytearray(golden)
        for _ in range(rng.choice([1, 1, 2, 3])):
            record = rng.choice([0, 499, 500, 501, 999, rng.randrange(1000)])
            if rng.random() < 0.8:
                at = entries + 96 * record + rng.choice([32, 33, 34, 35, 36, 37, 39, 40, 48, 72])
            else:
                at = rng.randrange(entries)
            data[at] = rng.choice([0, 1, 2, 0x7F, 0x80, 0xFF, data[at] ^ 8])
        out.append(bytes(data))
    return out


def test_parts_find_what_one_pass_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    data = mutants(600)
    whole = [verdict(d) for d in data]
    monkeypatch.setattr(reading.os, "cpu_count", lambda: 8)
    monkeypatch.setattr(reading, "_PART", 10)
    assert [verdict(d) for d in data] == whole
    accepted = whole.count("1000 records")
    assert 50 < accepted < 550
