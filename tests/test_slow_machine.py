"""The plain-Python machine agrees with the real one, so that it may judge the fast one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import slow_machine

GOLDEN = Path(__file__).parent / "golden" / "triton"


def goldens() -> list[dict[str, Any]]:
    """The programs that the real triton-vm 2.0.0 has judged."""
    with gzip.open(GOLDEN / "golden.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def differences(golden: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """field: (found, expected), of the fields that the golden has."""
    return {name: (found[name], value) for name, value in golden["result"].items() if found[name] != value}


@pytest.mark.slow
def test_every_golden_program_ends_as_on_the_real_machine() -> None:
    counted = 0
    for golden in goldens():
        if golden["cat"] == "syntax" or golden["result"]["error"] == "ParseError":
            continue
        golden["result"].pop("dominant_table", None)
        inputs = {
            name: golden[name] for name in ("public", "secret", "digests", "ram", "stack", "max_cycles")
        }
        found = slow_machine.run(golden["code"], **inputs)
        assert differences(golden, found) == {}, golden["id"]
        counted += 1
    assert counted == 2891


def test_the_vectors_of_the_hash_hold() -> None:
    lines = (GOLDEN / "tip5_vectors.jsonl").read_text().splitlines()
    for vector in map(json.loads, lines):
        ((kind, words),) = vector["in"].items()
        state = words if kind == "perm" else [*words, *[1] * 6]
        assert list(slow_machine.permuted(tuple(state))[0])[: len(vector["out"])] == vector["out"]
    assert len(lines) == 100
