"""The command line on stores: looking, checking, converting, keeping in order, and mistakes."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from cli_helpers import (
    TIMEOUT_S,
    Said,
    damaged,
    flip,
    inside,
    journal_of,
    kept,
    lines_of,
    made,
    outside,
    running,
    tree,
)
from ostinato import BuildResult, archive, jsonl
from ostinato.replay import Proportional
from ostinato.store import Extra, Keep, Store
from ostinato.store import check as checking
from ostinato.store.fs import REAL
from store_helpers import contents, filled, many

# --- info, show, sample -------------------------------------------------------------------------------------


def test_info_of_a_store_says_what_info_of_a_file_says_and_how_the_store_is(tmp_path: Path) -> None:
    folder = made(tmp_path)
    archive.save(tmp_path / "same.rkyv", many(50))
    of_store, of_file = (
        inside("info", folder, "--json").json,
        inside("info", tmp_path / "same.rkyv", "--json").json,
    )
    for name in ("file", "size_bytes"):
        of_file.pop(name)
    assert {name: of_store[name] for name in of_file} == of_file
    health = of_store["health"]
    figures = {
        n: health[n] for n in ("records", "unsealed", "segments", "journals", "dead", "torn", "damaged")
    }
    assert figures == {
        "records": 50, "unsealed": 25, "segments": 1, "journals": 1, "dead": 1, "torn": 0, "damaged": 0,
    }  # fmt: skip
    assert (health["unsealed_share"], health["problems"]) == (0.5, [])


def test_info_tells_a_writer_at_work_from_one_that_has_gone(tmp_path: Path) -> None:
    folder = made(tmp_path)
    with Store.open(folder) as store, store.writer({"host": "three"}):
        writers = inside("info", folder, "--json").json["health"]["writers"]
    assert [(w["journal"], w["alive"], w["context"]["host"]) for w in writers] == [
        (2, False, "two"),
        (3, True, "three"),
    ]


def test_info_for_a_person_names_writers_and_damage_with_its_place(tmp_path: Path) -> None:
    folder = damaged(tmp_path)
    said = inside("info", folder)
    assert (said.code, said.err, "host=two" in said.out) == (0, "", True)
    assert f"{journal_of(folder)}: crc mismatch - at byte " in said.out


def test_info_says_which_extra_columns_there_are(tmp_path: Path) -> None:
    folder = made(tmp_path, extras={"score": Extra("f4", 0.0)})
    assert inside("info", folder, "--json").json["extras"] == {"score": "float32"}
    assert "score float32" in inside("info", folder).out


def test_a_context_never_commands_the_terminal(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        filled(store, many(2), host="\x1b[31mred\x07")
    said = inside("info", tmp_path / "s")
    assert (said.code, "\x1b" in said.out, "\\x1b[31mred" in said.out) == (0, False, True)


def test_show_of_a_store_is_show_of_its_records(tmp_path: Path) -> None:
    folder = made(tmp_path)
    archive.save(tmp_path / "same.rkyv", many(50))
    assert inside("show", folder, "--json").json == inside("show", tmp_path / "same.rkyv", "--json").json
    assert len(inside("show", folder, "--json").json) == 5


def test_show_of_one_program_names_records_by_their_ids(tmp_path: Path) -> None:
    folder = made(tmp_path)
    best = min(
        (r.clock_cycles, i)
        for i, r in kept(folder).items()
        if r.tir_hash == bytes([1]) * 32 and r.valid and r.clock_cycles is not None
    )
    assert f"record {best[1]}" in inside("show", folder, "--program", "01", "--top", "1").out


def test_sample_of_a_store_draws_what_its_buffer_draws(tmp_path: Path) -> None:
    folder = made(tmp_path)
    with Store.open(folder) as store:
        batch = store.replay(50, sampler=Proportional(alpha=0.6, beta=0.4), seed=3).sample(20)
    said = inside("sample", folder, "-n", 20, "--sampler", "proportional", "--seed", 3, "--json").json
    assert [r["record"] for r in said] == batch.ids.tolist()
    assert [r["result"] for r in said] == [kept(folder)[i].to_dict() for i in batch.ids.tolist()]


def test_an_empty_store_is_shown_as_empty(tmp_path: Path) -> None:
    Store.open(tmp_path / "s").close()
    assert inside("info", tmp_path / "s", "--json").json["records"] == 0
    assert inside("show", tmp_path / "s", "--json").json == []
    assert inside("sample", tmp_path / "s", "--json").json == []
    assert inside("tail", tmp_path / "s", "--json").out == ""
    assert [inside(verb, tmp_path / "s").code for verb in ("info", "show", "sample", "check")] == [0, 0, 0, 0]


# --- check --------------------------------------------------------------------------------------------------


def test_check_of_a_whole_store_counts_and_changes_nothing(tmp_path: Path) -> None:
    folder = made(tmp_path)
    before = tree(folder)
    said = inside("check", folder, "--json")
    assert (said.code, said.json["verdict"], said.json["records"], said.json["problems"]) == (
        0,
        "whole",
        50,
        [],
    )
    assert inside("check", folder) == Said(0, f"{folder}: whole, 50 build results\n", "")
    assert inside("check", folder, "--repair").code == 0
    assert tree(folder) == before


def test_check_tells_of_a_torn_tail_which_is_no_damage(tmp_path: Path) -> None:
    folder = made(tmp_path)
    data = journal_of(folder).read_bytes()
    journal_of(folder).write_bytes(data[:-5])
    said = inside("check", folder)
    assert (said.code, "49 build results" in said.out, "1 torn tails" in said.err) == (0, True, True)
    assert inside("check", folder, "--json").json["torn"] == 1


def test_check_names_the_damaged_journal_the_place_and_what_repair_would_do(tmp_path: Path) -> None:
    folder = damaged(tmp_path)
    before = tree(folder)
    said = inside("check", folder)
    assert (said.code, said.out) == (3, "")
    first, *rest = said.err.splitlines()
    assert first.startswith(f"damaged: {journal_of(folder)}: crc mismatch - at byte ")
    assert rest[0] == f"`ostinato check --repair {folder}` would, deleting nothing:"
    assert rest[1].strip().startswith("seal what can be read of journal 000002 and put it aside")
    assert tree(folder) == before


def test_check_says_the_same_as_json(tmp_path: Path) -> None:
    said = inside("check", damaged(tmp_path), "--json")
    assert (said.code, said.json["verdict"], said.json["ok"], said.json["repaired"]) == (
        3,
        "damaged",
        False,
        False,
    )
    assert (len(said.json["problems"]), len(said.json["repair_would"])) == (1, 1)


def test_repair_puts_a_damaged_journal_aside_and_says_what_was_lost(tmp_path: Path) -> None:
    folder = damaged(tmp_path)
    raw = journal_of(folder).read_bytes()
    before = kept(folder)
    said = inside("check", folder, "--repair")
    assert (said.code, said.out) == (0, f"{folder}: whole again, 49 build results\n")
    assert "put aside: 000002.journal: " in said.err
    assert "\n1 build results or frames were lost\n" in said.err
    assert (folder / "aside" / "000002.journal").read_bytes() == raw
    assert (kept(folder), len(before)) == (before, 49)
    assert inside("check", folder, "--json").json["ok"] is True


def test_repair_as_json_says_what_it_did(tmp_path: Path) -> None:
    said = inside("check", damaged(tmp_path), "--repair", "--json")
    data = said.json
    assert (said.code, data["verdict"], data["repaired"], data["lost"], len(data["aside"])) == (
        0,
        "whole",
        True,
        1,
        1,
    )


def test_repair_names_what_it_put_aside_this_time_alone(tmp_path: Path) -> None:
    folder = damaged(tmp_path)
    (folder / "aside").mkdir()
    (folder / "aside" / "zzz").write_bytes(b"of old")
    said = inside("check", folder, "--repair", "--json")
    assert [text.split(":")[0] for text in said.json["aside"]] == ["000002.journal"]


def test_repair_of_a_damaged_segment_leaves_out_the_records_that_are_hit(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        filled(store, many(2000))
        store.seal()
    path = tmp_path / "s" / "segments" / "000001" / "records.rkyv"
    flip(path, 100)
    before = path.read_bytes()
    said = inside("check", tmp_path / "s")
    assert (said.code, str(path) in said.err, "write segment 000001 anew" in said.err) == (3, True, True)
    done = inside("check", tmp_path / "s", "--repair", "--json")
    assert (done.code, done.json["records"] + done.json["lost"]) == (0, 2000)
    assert 0 < done.json["lost"] < 300
    assert (tmp_path / "s" / "aside" / "000001" / "records.rkyv").read_bytes() == before
    assert set(kept(tmp_path / "s").values()) <= set(many(2000))


@pytest.mark.parametrize("how", ["flipped", "missing"])
def test_repair_puts_the_copy_in_the_place_of_a_bad_manifest(how: str, tmp_path: Path) -> None:
    folder = made(tmp_path)
    before = kept(folder)
    if how == "flipped":
        flip(folder / "MANIFEST", 30)
    else:
        (folder / "MANIFEST").unlink()
    said = inside("check", folder)
    assert (said.code, f"damaged: {folder / 'MANIFEST'}: " in said.err) == (3, True)
    assert "MANIFEST.copy in its place" in said.err
    assert inside("check", folder, "--repair").code == 0
    assert kept(folder) == before


def test_what_cannot_be_repaired_is_damage_without_a_traceback(tmp_path: Path) -> None:
    folder = made(tmp_path)
    for name in ("MANIFEST", "MANIFEST.copy"):
        flip(folder / name, 30)
    before = tree(folder)
    said = inside("check", folder, "--repair")
    assert (said.code, "MANIFEST" in said.err, tree(folder) == before) == (3, True, True)


def test_a_store_that_is_compacted_while_it_is_checked_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path)
    look, calls = checking._check_segments, []

    def late(*arguments: Any) -> None:
        if not calls:
            with Store.open(folder) as store:
                store.compact(Keep(newest=5))
        calls.append(arguments)
        look(*arguments)

    monkeypatch.setattr(checking, "_check_segments", late)
    assert inside("check", folder) == Said(0, f"{folder}: whole, 5 build results\n", "")
    assert len(calls) == 2


def test_files_are_not_repaired(tmp_path: Path) -> None:
    archive.save(tmp_path / "a.rkyv", many(3))
    said = inside("check", tmp_path / "a.rkyv", "--repair")
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("verb", ["info", "show", "sample", "tail", "seal", "compact", "append"])
def test_a_damaged_manifest_is_exit_code_3_and_names_the_command_that_helps(
    verb: str, tmp_path: Path
) -> None:
    folder = made(tmp_path)
    flip(folder / "MANIFEST", 30)
    said = inside(verb, folder)
    assert (said.code, said.out, "Traceback" in said.err) == (3, "", False)
    assert f"`ostinato check {folder}`" in said.err


# --- convert ------------------------------------------------------------------------------------------------

FORMS = {"rkyv": "x.rkyv", "jsonl": "x.jsonl", "store": "x"}


def form_of(folder: Path, form: str, records: list[BuildResult]) -> Path:
    """These records in a form."""
    path = folder / FORMS[form]
    if form == "store":
        with Store.open(path) as store:
            filled(store, records)
    elif form == "rkyv":
        archive.save(path, records)
    else:
        path.write_bytes(lines_of(records))
    return path


def read_form(path: Path, form: str) -> list[BuildResult]:
    if form == "store":
        return list(kept(path).values())
    if form == "rkyv":
        return archive.read(path).to_list()
    with path.open("rb") as file:
        return list(jsonl.read(file))


@pytest.mark.parametrize("target", FORMS)
@pytest.mark.parametrize("source", FORMS)
def test_convert_goes_from_every_form_to_every_form(source: str, target: str, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    given = form_of(tmp_path, source, many(40))
    said = inside("convert", given, tmp_path / "to" / FORMS[target], "--json")
    assert (said.code, said.json["records"], said.json["skipped"]) == (0, 40, 0)
    assert read_form(tmp_path / "to" / FORMS[target], target) == many(40)
    assert read_form(given, source) == many(40)


def test_a_form_that_the_name_does_not_say_is_said(tmp_path: Path) -> None:
    form_of(tmp_path, "jsonl", many(4))
    assert inside("convert", tmp_path / "x.jsonl", tmp_path / "odd.name", "--to", "store").code == 0
    assert inside("convert", tmp_path / "odd.name", tmp_path / "plain", "--to", "rkyv").code == 0
    assert inside("convert", tmp_path / "plain", tmp_path / "y.jsonl", "--from", "rkyv").code == 0
    assert read_form(tmp_path / "y.jsonl", "jsonl") == many(4)


@pytest.mark.parametrize(
    "arguments",
    [
        ["x.rkyv", "other"],  # a folder of other things
        ["x.rkyv", "plain"],  # a file without an ending
        ["x.rkyv", "odd.name"],
        ["x.rkyv", "x", "--to", "jsonl"],
        ["other", "y.rkyv"],
        ["x", "y.rkyv", "--from", "jsonl"],
        ["x.rkyv", "y.rkyv", "--best", "3"],
        ["x", "y.jsonl", "--best", "3"],
        ["x", "x"],
    ],
)
def test_a_conversion_that_cannot_be_meant_is_exit_code_2_and_changes_nothing(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form_of(tmp_path, "rkyv", many(4))
    form_of(tmp_path, "store", many(4))
    (tmp_path / "plain").write_bytes(b"old")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thing").write_bytes(b"old")
    before = tree(tmp_path)
    monkeypatch.chdir(tmp_path)
    said = inside("convert", *arguments)
    assert (said.code, said.out, "Traceback" in said.err, said.err != "") == (2, "", False, True)
    assert tree(tmp_path) == before


def test_a_store_that_is_there_grows(tmp_path: Path) -> None:
    form_of(tmp_path, "rkyv", many(4))
    for _ in range(2):
        assert inside("convert", tmp_path / "x.rkyv", tmp_path / "s").code == 0
    assert list(kept(tmp_path / "s").values()) == many(4) * 2


def test_a_store_is_merged_into_a_store_once(tmp_path: Path) -> None:
    folder = made(tmp_path)
    for expected in (50, 0):
        assert inside("convert", folder, tmp_path / "t", "--json").json["records"] == expected
    assert sorted(kept(tmp_path / "t").values(), key=lambda r: r.timestamp) == many(50)


def test_a_bad_line_is_named_and_nothing_goes_into_the_store(tmp_path: Path) -> None:
    good = lines_of(many(3))
    (tmp_path / "x.jsonl").write_bytes(good + b"{}\n" + good)
    said = inside("convert", tmp_path / "x.jsonl", tmp_path / "s")
    assert (said.code, "x.jsonl: missing field - at line 4, `tir_hash`" in said.err) == (3, True)
    assert kept(tmp_path / "s") == {}
    said = inside("convert", tmp_path / "x.jsonl", tmp_path / "s", "--skip-bad", "--json")
    assert (said.code, said.json["records"], said.json["skipped"], len(kept(tmp_path / "s"))) == (0, 6, 1, 6)


@pytest.mark.parametrize("target", ["y.rkyv", "y.jsonl", "y"])
def test_a_damaged_store_is_converted_only_if_it_may_be_less(target: str, tmp_path: Path) -> None:
    folder = damaged(tmp_path)
    said = inside("convert", folder, tmp_path / target)
    assert (said.code, "crc mismatch" in said.err, (tmp_path / target).exists()) == (3, True, False)
    said = inside("convert", folder, tmp_path / target, "--skip-bad", "--json")
    assert (said.code, said.json["records"], said.json["skipped"]) == (0, 49, 1)


def test_damage_that_is_met_on_the_way_leaves_the_old_file(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        filled(store, many(2000))
        store.seal()
    flip(tmp_path / "s" / "segments" / "000001" / "records.rkyv", 100)  # text: looked at when it is copied
    (tmp_path / "y.jsonl").write_bytes(b"old")
    said = inside("convert", tmp_path / "s", tmp_path / "y.jsonl")
    assert (said.code, (tmp_path / "y.jsonl").read_bytes()) == (3, b"old")
    said = inside("convert", tmp_path / "s", tmp_path / "y.jsonl", "--skip-bad", "--json")
    assert (said.code, said.json["records"] + said.json["skipped"]) == (0, 2000)
    assert 0 < said.json["skipped"] < 300


def test_the_best_of_a_store_are_what_export_gives(tmp_path: Path) -> None:
    folder = made(tmp_path)
    with Store.open(folder) as store:
        store.export(tmp_path / "expected.rkyv", best=7)
    said = inside("convert", folder, tmp_path / "best.rkyv", "--best", 7, "--json")
    assert (said.code, said.json["records"]) == (0, 7)
    assert (tmp_path / "best.rkyv").read_bytes() == (tmp_path / "expected.rkyv").read_bytes()
    assert (
        inside("convert", folder, tmp_path / "b.rkyv", "--best-per-program", 1, "--json").json["records"] == 5
    )


def test_extra_columns_stay_between_stores_and_are_told_where_they_cannot(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s", extras={"score": "f4"}) as store, store.writer() as writer:
        writer.extend(many(3), {"score": [0.5, 1.5, 2.5]})
    assert inside("convert", tmp_path / "s", tmp_path / "t").code == 0
    with Store.open(tmp_path / "t") as store:
        assert store.results().extras["score"].tolist() == [0.5, 1.5, 2.5]
    said = inside("convert", tmp_path / "s", tmp_path / "y.rkyv")
    assert (said.code, "extra columns score" in said.err) == (0, True)


# --- seal, compact, merge -----------------------------------------------------------------------------------


def test_seal_says_what_it_did(tmp_path: Path) -> None:
    folder = made(tmp_path)
    before = kept(folder)
    said = inside("seal", folder, "--json")
    figures = {name: said.json[name] for name in ("store", "journals", "records", "segments", "damaged")}
    assert (said.code, figures) == (
        0,
        {"store": str(folder), "journals": 1, "records": 25, "segments": 1, "damaged": 0},
    )
    assert (kept(folder), [p.name for p in (folder / "journals").iterdir()]) == (before, [])
    assert inside("seal", folder) == Said(0, "", f"{folder}: nothing to do\n")


def test_seal_leaves_journals_that_are_being_written(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store, store.writer() as writer:
        writer.extend(many(3))
        assert inside("seal", tmp_path / "s", "--json").json["records"] == 0
        writer.extend(many(3))
    assert inside("seal", tmp_path / "s", "--json").json["records"] == 6


@pytest.mark.parametrize("verb", ["seal", "compact", "merge", "check"])
def test_somebody_else_who_seals_is_exit_code_1_in_one_line(verb: str, tmp_path: Path) -> None:
    folder, other = damaged(tmp_path), made(tmp_path, name="other")
    more = {"merge": [other], "check": ["--repair"]}.get(verb, [])
    fd = REAL.open(str(folder / "LOCK"))
    assert REAL.lock(fd)
    before = tree(folder)
    try:
        said = inside(verb, folder, *more, "--wait", 0)
    finally:
        REAL.close(fd)
    assert (said.code, said.out, said.err.count("\n")) == (1, "", 1)
    assert ("another process is sealing" in said.err, tree(folder)) == (True, before)


def test_seal_waits_as_long_as_it_is_told(tmp_path: Path) -> None:
    folder = made(tmp_path)
    fd = REAL.open(str(folder / "LOCK"))
    assert REAL.lock(fd)
    with running("seal", folder, "--wait", TIMEOUT_S, "--json") as process:
        time.sleep(1.0)  # long enough, most times, that it waits
        assert process.poll() is None
        REAL.close(fd)
        out, _ = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, json.loads(out)["records"]) == (0, 25)


@pytest.mark.parametrize(
    ("arguments", "keep"),
    [
        (["--newest", "7"], Keep(newest=7)),
        (["--best-per-program", "2"], Keep(best_per_program=2)),
        (["--newest", "5", "--best-per-program", "1"], Keep(newest=5, best_per_program=1)),
        (["--max-age", "0"], Keep(max_age_s=0)),
        ([], None),
    ],
)
def test_compact_keeps_what_the_policy_keeps(arguments: list[str], keep: Keep | None, tmp_path: Path) -> None:
    folder = made(tmp_path)
    shutil.copytree(folder, tmp_path / "same")
    with Store.open(tmp_path / "same") as store:
        removed = store.compact(keep).removed
        expected = contents(store)
    said = inside("compact", folder, *arguments, "--json")
    assert (said.code, said.json["removed"], kept(folder)) == (0, removed, expected)
    assert len(expected) == 50 - removed


def test_compact_tells_how_many_were_removed(tmp_path: Path) -> None:
    said = inside("compact", made(tmp_path), "--newest", 7)
    assert (said.code, said.out, "43 build results removed" in said.err) == (0, "", True)


@pytest.mark.parametrize("arguments", [["--newest", "-1"], ["--newest", "x"], ["--max-age", "1.5"]])
def test_a_policy_that_is_none_is_exit_code_2_and_removes_nothing(
    arguments: list[str], tmp_path: Path
) -> None:
    folder = made(tmp_path)
    before = tree(folder)
    assert (inside("compact", folder, *arguments).code, tree(folder) == before) == (2, True)


def test_merge_brings_stores_together_once(tmp_path: Path) -> None:
    a, b = made(tmp_path, 30, name="a"), made(tmp_path, 20, name="b")
    said = inside("merge", tmp_path / "all", a, b, "--json")
    assert (said.code, said.json["records"], [d["records"] for d in said.json["from"]]) == (0, 50, [30, 20])
    assert inside("merge", tmp_path / "all", a, b, "--json").json["records"] == 0
    with Store.open(a) as store:
        filled(store, many(4, 90))
    assert inside("merge", tmp_path / "all", a, b, "--json").json["records"] == 4
    assert sorted(kept(tmp_path / "all").values(), key=repr) == sorted(
        many(30) + many(20) + many(4, 90), key=repr
    )


def test_merge_keeps_contexts_and_the_columns_of_the_first(tmp_path: Path) -> None:
    extras = {"score": Extra("f4", default=0.25)}
    with Store.open(tmp_path / "a", extras=extras) as store, store.writer({"host": "h"}) as writer:
        writer.extend(many(2), {"score": 0.5})
    made(tmp_path, 2, name="b")
    assert inside("merge", tmp_path / "all", tmp_path / "a", tmp_path / "b").code == 0
    with Store.open(tmp_path / "all") as store:
        records = store.results()
        assert sorted(records.extras["score"].tolist()) == [0.25, 0.25, 0.5, 0.5]
        assert sorted(records.context(i)["host"] for i in range(4)) == ["h", "h", "one", "two"]
    said = inside("merge", tmp_path / "b", tmp_path / "a")
    assert (said.code, "its columns score are left out" in said.err) == (0, True)


def test_merge_of_a_damaged_store_brings_the_rest_and_is_exit_code_3(tmp_path: Path) -> None:
    folder = damaged(tmp_path)
    said = inside("merge", tmp_path / "all", folder)
    assert (said.code, f"damaged: {journal_of(folder)}: crc mismatch" in said.err) == (3, True)
    assert len(kept(tmp_path / "all")) == 49


def test_a_store_is_not_merged_with_itself(tmp_path: Path) -> None:
    folder = made(tmp_path)
    shutil.copytree(folder, tmp_path / "copy")
    for other in (folder, tmp_path / "copy"):
        said = inside("merge", folder, other)
        assert (said.code, said.err.count("\n"), len(kept(folder))) == (2, 1, 50)


# --- what all share -----------------------------------------------------------------------------------------

VERBS = [["append"], ["tail"], ["seal"], ["compact"], ["info"], ["check"], ["show"], ["sample"]]
VERBS += [["merge", "into"], ["verify-copy", "whole"], ["verify-copy"]]


@pytest.mark.parametrize("what", ["a folder", "nothing", "a file"])
@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_what_is_no_store_is_exit_code_2_without_a_traceback(
    verb: list[str], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, 2, name="whole")
    if what == "a folder":
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "thing").write_bytes(b"mine")
    elif what == "a file":
        (tmp_path / "x").write_bytes(b"mine")
    monkeypatch.chdir(tmp_path)
    arguments = [*verb, "x"] + (["whole"] if verb == ["verify-copy"] else [])
    said = inside(*arguments)
    if what == "nothing" and verb == ["append"]:
        assert (said.code, Path("x").is_dir()) == (0, True)  # it makes one
    elif what == "a file" and verb[0] in ("info", "check", "show", "sample"):
        assert said.code == 3  # a file may be an archive, and this is a damaged one
    else:
        assert (said.code, said.out, "Traceback" in said.err, "x" in said.err) == (2, "", False, True)
    assert [p.read_bytes() for p in (Path("x/thing"), Path("x")) if p.is_file()] in ([b"mine"], [])
    assert not Path("into").exists()


@pytest.mark.parametrize("verb", ["tail", "seal", "compact", "append"])
def test_a_mistake_about_a_store_is_one_line(verb: str, tmp_path: Path) -> None:
    (tmp_path / "thing").write_bytes(b"mine")
    said = outside(verb, tmp_path)
    assert (said.code, said.out, said.err.count("\n"), said.err.startswith("error: ")) == (2, "", 1, True)


def test_a_mistake_is_json_where_json_was_asked_for(tmp_path: Path) -> None:
    said = inside("seal", tmp_path / "nothing", "--json")
    assert (said.code, said.json) == (2, {"error": f"error: {tmp_path / 'nothing'} is not there"})


def test_a_store_of_a_newer_version_is_refused_in_one_line(tmp_path: Path) -> None:
    from ostinato.store import layout

    folder = made(tmp_path, 2)
    for name in ("MANIFEST", "MANIFEST.copy"):
        (folder / name).write_bytes(layout.signed({"ostinato_store": 2}))
    said = inside("info", folder)
    assert (said.code, said.out, said.err.count("\n"), "newer" in said.err) == (1, "", 1, True)


@pytest.mark.parametrize("verb", ["info", "check", "show", "sample", "convert"])
def test_a_journal_is_not_taken_for_an_archive_of_its_last_frame(verb: str, tmp_path: Path) -> None:
    folder = made(tmp_path)
    more = [tmp_path / "x.jsonl", "--from", "rkyv"] if verb == "convert" else []
    said = inside(verb, journal_of(folder), *more)
    assert (said.code, said.out, "give the store's folder" in said.err) == (2, "", True)


def test_a_segment_is_an_archive(tmp_path: Path) -> None:
    path = made(tmp_path) / "segments" / "000001" / "records.rkyv"
    assert inside("info", path, "--json").json["records"] == 25
    assert inside("check", path, "--json").json["verdict"] in ("canonical", "accepted")


@pytest.mark.slow
def test_warm_leaves_nothing_to_compile_for_a_store(tmp_path: Path) -> None:
    program = """
import logging, pathlib, sys
logging.getLogger("ostinato").setLevel(logging.ERROR)
from ostinato.cli.warm import exercise
exercise()
from numba.core import event
seen = []
class Listener(event.Listener):
    def on_start(self, event): seen.append(str(event.data["dispatcher"]))
    def on_end(self, event): pass
event.register("numba:compile", Listener())
from ostinato.data import triton_attempts
from ostinato.replay import Oldest, Proportional
from ostinato.store import Keep, Store
store = Store.open(sys.argv[1])
with store.writer() as writer:
    ids = writer.extend(triton_attempts())  # mapped
with store.writer() as writer:
    for result in triton_attempts()[:50]: writer.append(result)
journal = pathlib.Path(sys.argv[1], "journals", "000002.journal")
raw = bytearray(journal.read_bytes()); raw[3000] ^= 1; journal.write_bytes(raw)
buffer = store.replay(10_000, sampler=Proportional(), remover=Oldest(), seed=0)
for _ in range(2):
    batch = buffer.sample(64)
    buffer.update_priorities(batch.ids, batch.reward)
    batch.padded()
    store.amend(int(ids[3]), store.get(int(ids[3])), reason="x")
    store.seal()
    buffer.refresh()
list(store.results()[:10])
store.compact(Keep(newest=100))
store.check()
print(seen)
"""
    said = outside(tmp_path / "s", program=program)
    assert (said.code, said.out) == (0, "[]\n"), said.err
