"""The hash that names programs, against Trident's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from blake3 import blake3

from ostinato import UsageError
from ostinato.data import programs_path
from ostinato.goldilocks import P
from ostinato.tir import poseidon2
from ostinato.tir.poseidon2 import CONSTANTS

VECTORS = Path(__file__).parent / "golden" / "trident" / "poseidon2_vectors.txt"


def test_every_vector_holds() -> None:
    lines = VECTORS.read_text().splitlines()
    for line in lines:
        given, expected = line.split(" ")
        assert poseidon2(bytes.fromhex(given)).hex() == expected
    assert len(lines) == 50


def test_the_constants_are_made_as_defined() -> None:
    made = [
        int.from_bytes(blake3(f"Poseidon2-Goldilocks-t8-RF8-RP22-{r}-{e}".encode()).digest()[:8], "little")
        % P
        for r in range(30)
        for e in range(1 if 4 <= r < 26 else 8)
    ]
    assert list(CONSTANTS) == made


def test_the_real_programs_are_named_by_it() -> None:
    for program in json.loads(programs_path().read_text()):
        assert poseidon2("\n".join(program["baseline"]).encode()).hex() == program["tir_hash"]


def test_bytes_of_every_kind_are_hashed_and_text_is_not() -> None:
    assert poseidon2(bytearray(b"ab")) == poseidon2(memoryview(b"ab")) == poseidon2(b"ab")
    with pytest.raises(UsageError, match="expected bytes, got str - at `data`"):
        poseidon2("ab")  # type: ignore[arg-type]
