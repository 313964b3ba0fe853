"""`verify-copy`: is a folder a whole copy of a store, also of one that is in use?"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli_helpers import (
    Said,
    ask,
    cursor_in,
    flip,
    inside,
    journal_of,
    kept,
    lines_of,
    made,
    running,
)
from ostinato import BuildResult, jsonl
from ostinato.store import Store
from record_helpers import record
from store_helpers import contents, filled, many


@pytest.fixture
def copied(tmp_path: Path) -> tuple[Path, Path]:
    """A store and its copy."""
    folder = made(tmp_path)
    return folder, Path(shutil.copytree(folder, tmp_path / "copy"))


def test_a_whole_copy_is_one_whatever_is_sealed_or_removed(copied: tuple[Path, Path]) -> None:
    folder, copy = copied
    expected = f"{copy}: a whole copy of {folder}; 50 of 50 build results are the same\n"
    assert inside("verify-copy", folder, copy) == Said(0, expected, "")
    assert inside("seal", folder).code == 0
    assert inside("verify-copy", folder, copy) == Said(0, expected, "")
    assert inside("verify-copy", copy, folder).code == 0
    assert inside("compact", folder, "--newest", 5).code == 0  # the copy has more, which is no fault
    said = inside("verify-copy", folder, copy, "--json")
    assert (said.code, said.json["verdict"], said.json["whole"], said.json["same"]) == (0, "whole", True, 5)


def test_what_is_missing_is_named(copied: tuple[Path, Path]) -> None:
    folder, copy = copied
    with Store.open(folder) as store:
        ids = filled(store, many(3, 50))
    said = inside("verify-copy", folder, copy, "--json")
    assert (said.code, said.json["verdict"], said.json["missing"]) == (1, "incomplete", [[ids[0], ids[-1]]])
    words = inside("verify-copy", folder, copy)
    assert (words.code, f"ids {ids[0]} to {ids[-1]} (journal 000003)" in words.out) == (1, True)
    assert f"{copy}: not a whole copy of {folder}; 50 of 53 build results are the same" in words.out


def test_a_journal_cut_short_between_two_frames_is_missing_records(copied: tuple[Path, Path]) -> None:
    folder, copy = copied
    with Store.open(folder) as store:
        last = max(contents(store))
        ids = [i for i in sorted(contents(store)) if i >> 24 == 2]
    data = journal_of(copy).read_bytes()
    for size in range(len(data) - 8, 0, -8):  # until the last record is gone, and nothing is torn
        journal_of(copy).write_bytes(data[:size])
        with Store.open(copy) as store:
            health = store.health()
        if health.torn == 0 and health.records == 49:
            break
    assert inside("check", copy).code == 0
    assert inside("verify-copy", folder, copy, "--json").json["missing"] == [[last, last]]
    assert last == ids[-1]


def test_what_was_corrected_since_is_different(copied: tuple[Path, Path]) -> None:
    folder, copy = copied
    with Store.open(folder) as store:
        identity = sorted(contents(store))[3]
        store.amend(identity, replace(store.get(identity), compiler_cycles=61), reason="test")
    said = inside("verify-copy", folder, copy, "--json")
    assert (said.code, said.json["different"], said.json["missing"]) == (1, [[identity, identity]], [])
    assert inside("seal", folder).code == 0
    assert inside("verify-copy", folder, copy, "--json").json["different"] == [[identity, identity]]
    shutil.rmtree(copy)
    shutil.copytree(folder, copy)
    assert inside("verify-copy", folder, copy).code == 0


Same = tuple[Path, Path]


@pytest.fixture
def twins(tmp_path: Path) -> Same:
    """Two folders of one store, with nothing in them yet."""
    Store.open(tmp_path / "a", extras={"score": "f4"}).close()
    return tmp_path / "a", Path(shutil.copytree(tmp_path / "a", tmp_path / "b"))


def put(folder: Path, records: list[BuildResult], score: float = 0.0, **context: str) -> None:
    with Store.open(folder) as store, store.writer(context) as writer:
        writer.extend(records, {"score": score})


@pytest.mark.parametrize(
    "changes",
    [
        {"generated_tasm": ["push 2", "add"]},
        {"generated_tasm": ["push 1"]},
        {"generated_tasm": ["push 1a", "dd"]},
        {"clock_cycles": None},
        {"clock_cycles": 6},
        {"compiler_cycles": 11},
        {"tir_hash": bytes(32)},
        {"valid": False},
        {"fallback_used": True},
        {"timestamp": 5},
        {"model_version": 4},
    ],
    ids=str,
)
def test_a_record_that_differs_in_any_field_is_named(changes: dict[str, Any], twins: Same) -> None:
    put(twins[0], [record(), record(), record()])
    put(twins[1], [record(), record(**changes), record()])
    said = inside("verify-copy", *twins, "--json")
    second = (1 << 24) + 1
    assert (said.code, said.json["different"], said.json["same"]) == (1, [[second, second]], 2)


def test_extra_columns_and_contexts_are_compared(twins: Same) -> None:
    put(twins[0], many(3), float("nan"), host="x")
    put(twins[1], many(3), float("nan"), host="x")
    assert inside("verify-copy", *twins).code == 0
    put(twins[0], many(3), 1.0)
    put(twins[1], many(3), 2.0)
    first = 2 << 24
    assert inside("verify-copy", *twins, "--json").json["different"] == [[first, first + 2]]


def test_another_context_is_named(twins: Same) -> None:
    put(twins[0], many(3), host="x")
    put(twins[1], many(3), host="y")
    said = inside("verify-copy", *twins)
    assert (said.code, "the context of journal 000001 is another one" in said.out) == (1, True)


@pytest.mark.parametrize("file", ["journals/000002.journal", "segments/000001/records.rkyv", "segments/000001/segment.json", "MANIFEST"])  # fmt: skip
@pytest.mark.parametrize("how", ["flipped", "gone"])
def test_damage_of_the_copy_is_named_and_the_exit_code_is_3(
    how: str, file: str, copied: tuple[Path, Path]
) -> None:
    folder, copy = copied
    path = copy / file
    if how == "flipped":
        flip(path, path.stat().st_size // 2)
    else:
        path.unlink()
    said = inside("verify-copy", folder, copy)
    if file.startswith("journals") and how == "gone":  # a copy cannot know of a journal that it does not have
        assert (said.code, "missing: 25 build results" in said.out) == (1, True)
    else:
        assert (said.code, str(path) in said.out, "Traceback" in said.err) == (3, True, False)


def test_damage_of_the_store_itself_is_told(copied: tuple[Path, Path]) -> None:
    folder, copy = copied
    flip(journal_of(folder), journal_of(folder).stat().st_size // 2)
    said = inside("verify-copy", folder, copy)
    assert (said.code, "damaged in the store itself" in said.out, str(journal_of(folder)) in said.out) == (
        3,
        True,
        True,
    )


def test_another_store_is_no_copy(tmp_path: Path) -> None:
    said = inside("verify-copy", made(tmp_path), made(tmp_path, name="other"))
    assert (said.code, "it is another store" in said.out) == (1, True)


def test_what_a_writer_at_work_has_appended_since_is_newer_and_no_fault(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store, store.writer() as writer:
        writer.extend(many(10))
        shutil.copytree(tmp_path / "s", tmp_path / "copy")
        writer.extend(many(5, 10))
        writer.append(made_last := record())
        said = inside("verify-copy", tmp_path / "s", tmp_path / "copy", "--json")
        assert (said.code, said.json["same"], said.json["newer"], said.json["missing"]) == (0, 10, 6, [])
        assert "6 build results" in inside("verify-copy", tmp_path / "s", tmp_path / "copy").err
        # the whole journal of a writer at work is not newer, but lost
        journal_of(tmp_path / "copy", 1).unlink()
        said = inside("verify-copy", tmp_path / "s", tmp_path / "copy", "--json")
        assert (said.code, said.json["missing"]) == (1, [[1 << 24, (1 << 24) + 15]])
    assert made_last in kept(tmp_path / "s").values()


def test_what_a_writer_at_work_has_corrected_since_is_newer_and_no_fault(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store, store.writer() as writer:
        ids = writer.extend(many(10)).tolist()
        before = cursor_in(inside("tail", tmp_path / "s", "-n", 0))
        shutil.copytree(tmp_path / "s", tmp_path / "copy")
        writer.amend(ids[3], 1, "test", replace(store.get(ids[3]), compiler_cycles=61))
        for more in ([], ["--until", before]):
            said = inside("verify-copy", tmp_path / "s", tmp_path / "copy", *more, "--json")
            assert (said.code, said.json["same"], said.json["newer"]) == (0, 9, 1)
        after = cursor_in(inside("tail", tmp_path / "s", "-n", 0))
        said = inside("verify-copy", tmp_path / "s", tmp_path / "copy", "--until", after, "--json")
        assert (said.code, said.json["different"]) == (1, [[ids[3], ids[3]]])


def test_a_cursor_says_what_a_copy_must_have(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store, store.writer() as writer:
        writer.extend(many(10))
        before = cursor_in(inside("tail", tmp_path / "s", "-n", 0))
        shutil.copytree(tmp_path / "s", tmp_path / "copy")
        writer.extend(many(5, 10))
        filled(store, many(5, 20))
        after = cursor_in(inside("tail", tmp_path / "s", "-n", 0))
        said = inside("verify-copy", tmp_path / "s", tmp_path / "copy", "--until", before, "--json")
        assert (said.code, said.json["same"], said.json["newer"]) == (0, 10, 10)
        said = inside("verify-copy", tmp_path / "s", tmp_path / "copy", "--until", after, "--json")
        missing = [[(1 << 24) + 10, (1 << 24) + 14], [2 << 24, (2 << 24) + 4]]
        assert (said.code, said.json["missing"], said.json["newer"]) == (1, missing, 0)


def test_a_copy_that_is_made_and_verified_while_a_process_appends_is_whole(tmp_path: Path) -> None:
    with running("append", tmp_path / "s", "--ack") as process:
        for result in many(20):
            assert ask(process, jsonl.dump(result))
        shutil.copytree(tmp_path / "s", tmp_path / "copy")
        assert process.stdin is not None
        process.stdin.write(lines_of(many(1000, 20)))  # it goes on while we look
        said = inside("verify-copy", tmp_path / "s", tmp_path / "copy", "--json")
    assert (said.code, said.json["verdict"], said.json["same"]) == (0, "whole", 20)
