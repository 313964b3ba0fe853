"""ostinato judge, reverify and programs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cli_helpers import inside
from ostinato import BuildResult, archive, tir
from ostinato.data import programs_path
from ostinato.judge import load_programs
from ostinato.store import Store

FIELD_SUB = next(function for function in load_programs(programs_path()) if function.name == "field_sub")


def candidate(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "c.tasm"
    path.write_text(text)
    return path


def test_a_right_candidate_is_priced_beside_the_baseline(tmp_path: Path) -> None:
    path = candidate(tmp_path, "push -1 mul add")
    said = inside("judge", "field_sub", path)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("valid: 3 cycles, the baseline takes 7 (57.1 % saved)\n")
    assert (
        "both are polynomials of degree 1 at most, and differ anywhere with a chance below 2**-1024"
        in said.out
    )
    found = inside("judge", "field_sub", path, "--json").json
    chosen = {name: found[name] for name in ("valid", "clock_cycles", "compiler_cycles", "evidence", "input")}
    assert chosen == {
        "valid": True,
        "clock_cycles": 3,
        "compiler_cycles": 7,
        "evidence": "identity",
        "input": None,
    }
    assert (found["padded_height"], found["compiler_padded_height"]) == (256, 256)


def test_a_wrong_candidate_is_shown_beside_the_reference(tmp_path: Path) -> None:
    path = candidate(tmp_path, "swap 1 push -1 mul add")
    said = inside("judge", "field_sub", path)
    assert said.code == 1
    assert said.out.startswith("not valid: wrong stack\nfor the arguments ")
    assert "st0 " in said.out
    found = inside("judge", "field_sub", path, "--json")
    assert (found.code, found.json["reason"], found.json["padded_height"]) == (1, "stack", None)
    assert len(found.json["input"]["args"]) == 2


def test_a_candidate_that_crashes_or_is_none_says_so(tmp_path: Path) -> None:
    assert "crash: EmptySecretInput" in inside("judge", "field_sub", candidate(tmp_path, "divine 1")).out
    said = inside("judge", "field_sub", candidate(tmp_path, "sub"))
    assert (said.code, "no program: line 1, column 1: expected an instruction" in said.out) == (1, True)


def test_a_program_that_there_is_not_is_a_usage_error(tmp_path: Path) -> None:
    said = inside("judge", "field_su", candidate(tmp_path, "nop"))
    assert (said.code, said.err) == (2, "error: no program 'field_su'; there are field_sub - at `PROGRAM`\n")


def test_programs_are_listed_and_shown() -> None:
    listed = inside("programs", "--json").json
    assert (len(listed), listed[2]["name"], listed[2]["types"]) == (
        32 + len(tir.corpus()),
        "field_sub",
        ["field", "field"],
    )
    assert "field_sub" in inside("programs").out
    shown = inside("programs", "field_sub")
    assert (shown.code, "7 cycles as the compiler writes it" in shown.out) == (0, True)
    assert inside("programs", "field_sub", "--json").json["compiler_cycles"] == 7
    assert inside("programs", "--programs", programs_path(), "--json").json == listed[:32]
    assert inside("programs", "nothing").code == 2


def made(lines: list[str], cycles: int | None) -> BuildResult:
    return BuildResult(
        tir_hash=FIELD_SUB.tir_hash,
        generated_tasm=lines,
        valid=cycles is not None,
        clock_cycles=cycles,
        compiler_cycles=7,
        fallback_used=False,
        timestamp=1,
        model_version=1,
    )


RIGHT, DEAR = made(["push -1", "mul", "add"], 3), made(["push -1", "mul", "add"], 4)
FALSE, MISSED = made(["add"], 1), made(["push -1", "mul", "add"], None)
UNKNOWN = replace(RIGHT, tir_hash=bytes(32))


def test_an_archive_is_judged_again(tmp_path: Path) -> None:
    path = tmp_path / "a.rkyv"
    archive.save(path, [RIGHT, FALSE, DEAR, MISSED, UNKNOWN])
    said = inside("reverify", path)
    assert said.code == 1
    assert said.out.startswith(
        "4 build results of 1 programs judged again: 1 wrongly valid, 1 wrongly invalid, 1 mispriced\n"
    )
    assert said.err == "1 build results are of programs that are not known here\n"
    found = inside("reverify", path, "--json").json
    assert [(one["id"], one["what"], one["clock_cycles"]) for one in found["findings"]] == [
        (1, "wrongly valid", None),
        (2, "mispriced", 3),
        (3, "wrongly invalid", 3),
    ]
    assert inside("reverify", path, "--amend").code == 2


def test_a_store_is_judged_again_and_corrected(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with Store.open(path) as store, store.writer() as writer:
        writer.extend([RIGHT, FALSE, DEAR])
    said = inside("reverify", path, "--amend", "--own-tests")
    assert (said.code, said.err) == (0, f"2 corrections written to {path}\n")
    with Store.open(path) as store:
        assert list(store.results()) == [RIGHT, replace(FALSE, valid=False, clock_cycles=None), RIGHT]
        assert len(store.amendments()) == 2
    again = inside("reverify", path)
    assert (again.code, "0 wrongly valid, 0 wrongly invalid, 0 mispriced" in again.out) == (0, True)


@pytest.mark.parametrize("verb", ["judge", "reverify", "programs"])
def test_a_damaged_programs_file_is_damage(tmp_path: Path, verb: str) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    archive.save(tmp_path / "a.rkyv", [RIGHT])
    arguments = {
        "judge": ["field_sub", candidate(tmp_path, "nop")],
        "reverify": [tmp_path / "a.rkyv"],
        "programs": [],
    }
    said = inside(verb, *arguments[verb], "--programs", bad)
    assert (said.code, said.err.startswith(f"damaged: {bad}: expected a list of programs")) == (3, True)


TIR = """fn difference(a: field, b: field) -> (d: field)
    // a less b, as it is written.
    dup 1
    dup 1
    sub
    swap 2
    pop 2
end
"""


def test_a_candidate_is_judged_for_a_function_in_tir(tmp_path: Path) -> None:
    source, path = tmp_path / "mine.tir", candidate(tmp_path, "push -1 mul add")
    source.write_text(TIR)
    said = inside("judge", source, path)
    assert (said.code, said.out.startswith("valid: 3 cycles, the baseline takes 7")) == (0, True)
    wrong = tmp_path / "wrong.tasm"
    wrong.write_text("add")
    assert inside("judge", source, wrong).code == 1
    source.write_text(TIR + TIR.replace("difference", "other"))
    said = inside("judge", source, path)
    assert (said.code, "expected one function" in said.err) == (2, True)
    assert inside("judge", "other", path, "--programs", source).code == 0
    source.write_text(TIR.replace("sub", "sob"))
    said = inside("judge", source, path)
    assert (said.code, "line 5, column 5: expected an operation" in said.err) == (2, True)


def test_results_of_a_program_whose_tir_the_store_keeps_are_judged_again(tmp_path: Path) -> None:
    path, program = tmp_path / "store", tir.parse(TIR)
    name = tir.cid(program)
    with Store.open(path) as store:
        store.programs.put(name, tir=tir.to_bytes(program), name="difference", at=1)
        store.programs.put(bytes(32), tir=b"\xffno", at=1)
        store.programs.put(bytes([1]) * 32, tir=tir.to_bytes(program), at=1)
        with store.writer() as writer:
            writer.extend([replace(RIGHT, tir_hash=name), replace(FALSE, tir_hash=name)])
    found = inside("reverify", path, "--json")
    assert (found.code, found.json["checked"], found.json["wrongly_valid"]) == (1, 2, 1)
    assert found.json["findings"][0]["program"] == "difference"
    assert found.err.count("is not read") == 1
    assert found.err.count("has another hash") == 1
