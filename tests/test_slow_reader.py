"""The slow reader itself against every archive that the real crate wrote or judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slow_reader import Refused, read, write

GOLDEN = Path(__file__).parent / "golden"
ARCHIVES = sorted((GOLDEN / "archives").glob("*.rkyv"))
VERDICTS = json.loads((GOLDEN / "bad" / "verdicts.json").read_text(encoding="utf-8"))


def records_of(archive: Path) -> list[dict[str, object]]:
    lines = archive.with_suffix(".jsonl").read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def judge(data: bytes) -> tuple[str, str | None]:
    try:
        read(data)
    except Refused as refused:
        return "error", refused.cause
    return "ok", None


def test_there_are_51_goldens_and_64_judged_archives():
    assert (len(ARCHIVES), len(VERDICTS)) == (51, 64)


def test_of_the_judged_archives_16_are_accepted():
    assert sum(verdict["verdict"] == "ok" for verdict in VERDICTS.values()) == 16


def test_every_judged_archive_has_its_file():
    files = {path.stem for path in (GOLDEN / "bad").glob("*.rkyv")}
    assert files == set(VERDICTS)


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.stem)
def test_reading_a_golden_gives_the_records_it_was_written_from(archive: Path):
    assert read(archive.read_bytes()) == records_of(archive)


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.stem)
def test_writing_the_records_of_a_golden_gives_its_bytes(archive: Path):
    assert write(records_of(archive)) == archive.read_bytes()


@pytest.mark.parametrize("case", sorted(VERDICTS))
def test_a_judged_archive_gets_the_verdict_and_the_cause_of_the_real_crate(case: str):
    expected = (VERDICTS[case]["verdict"], VERDICTS[case].get("cause"))
    assert judge((GOLDEN / "bad" / f"{case}.rkyv").read_bytes()) == expected


@pytest.mark.parametrize("case", sorted(VERDICTS))
def test_a_judged_archive_has_the_size_it_was_judged_with(case: str):
    assert (GOLDEN / "bad" / f"{case}.rkyv").stat().st_size == VERDICTS[case]["size"]


def test_a_file_of_zeros_reads_as_empty_only_when_its_length_is_a_multiple_of_eight():
    accepted = [size for size in range(33) if judge(bytes(size))[0] == "ok"]
    assert accepted == [8, 16, 24, 32]
