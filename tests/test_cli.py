"""The command line as a person uses it: real processes for what a shell sees, in-process for the rest."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ostinato import BuildResult, Store, archive, jsonl
from ostinato.cli.app import app
from ostinato.data import triton_attempts
from ostinato.replay import (
    Fifo,
    Greedy,
    Lifo,
    PerProgram,
    Proportional,
    RankBased,
    ReplayBuffer,
    Uniform,
)

GOLDEN = Path(__file__).parent / "golden"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def ostinato(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-c", "from ostinato.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of 3,000 real build results."""
    path = tmp_path_factory.mktemp("real") / "real.rkyv"
    archive.save(path, triton_attempts()[:3000])
    return path


def data(*arguments: str) -> object:
    """What a command prints with --json."""
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_help_names_every_command() -> None:
    said = ostinato("--help")
    assert said.returncode == 0
    assert [c for c in COMMANDS if c not in said.stdout] == []


COMMANDS = [
    "append",
    "check",
    "compact",
    "convert",
    "demo",
    "info",
    "merge",
    "sample",
    "seal",
    "show",
    "tail",
]
COMMANDS = sorted([*COMMANDS, "judge", "programs", "reverify", "run", "verify-copy", "warm"])
COMMANDS = sorted([*COMMANDS, "best", "learn", "optimize", "policies", "report", "rollback", "rules"])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert (result.exit_code, "Usage" in result.output) == (0, True)


def test_info_counts_what_is_there(real: Path) -> None:
    said = data("info", str(real))
    results = archive.read(real)
    fallback = int(results.fallback_used.sum())
    expected = {
        "records": 3000,
        "fallbacks": fallback,
        "candidates": 3000 - fallback,
        "valid": int((results.valid & ~results.fallback_used).sum()),
        "size_bytes": real.stat().st_size,
        "instructions": sum(len(r.generated_tasm) for r in results),
    }
    assert {name: said[name] for name in expected} == expected  # type: ignore[index]


def test_info_draws_a_chart_for_a_person(real: Path) -> None:
    result = CliRunner().invoke(app, ["info", str(real)])
    assert (result.exit_code, "3,000" in result.output, "model version" in result.output) == (0, True, True)


def test_info_of_an_empty_archive_has_no_rates(tmp_path: Path) -> None:
    archive.save(tmp_path / "e.rkyv", [])
    said = data("info", str(tmp_path / "e.rkyv"))
    assert (said["records"], said["validity"]) == (0, None)  # type: ignore[index]
    assert CliRunner().invoke(app, ["info", str(tmp_path / "e.rkyv")]).exit_code == 0


def test_info_takes_numbers_beyond_the_calendar(tmp_path: Path) -> None:
    archive.save(tmp_path / "m.rkyv", archive.read(GOLDEN / "archives" / "all_max.rkyv"))
    result = CliRunner().invoke(app, ["info", str(tmp_path / "m.rkyv")])
    assert (result.exit_code, "18446744073709551615" in result.output) == (0, True)


def test_check_tells_canonical_accepted_and_damaged_apart() -> None:
    verdicts = json.loads((GOLDEN / "bad" / "verdicts.json").read_text())
    expected = {"ok": {"canonical", "accepted"}, "error": {"damaged"}}
    wrong = []
    for name, case in verdicts.items():
        result = CliRunner().invoke(app, ["check", str(GOLDEN / "bad" / f"{name}.rkyv"), "--json"])
        verdict = json.loads(result.stdout)["verdict"]
        if verdict not in expected[case["verdict"]] or result.exit_code != (3 if verdict == "damaged" else 0):
            wrong.append((name, verdict, result.exit_code))
    assert (wrong, len(verdicts)) == ([], 64)


@pytest.mark.parametrize("name", ["gap_padding_nonzero", "root_len_0", "trailing_8_zero", "prefix_8"])
def test_check_reports_what_no_writer_makes(name: str) -> None:
    result = CliRunner().invoke(app, ["check", str(GOLDEN / "bad" / f"{name}.rkyv")])
    assert (result.exit_code, "not canonical" in result.output) == (0, True)


def test_check_says_where_damage_is(real: Path, tmp_path: Path) -> None:
    bytes_ = bytearray(real.read_bytes())
    bytes_[-8 - 96 * 10 + 40] = 9
    (tmp_path / "bad.rkyv").write_bytes(bytes_)
    said = ostinato("check", "bad.rkyv", cwd=tmp_path)
    place = f"byte {len(bytes_) - 8 - 96 * 10 + 40}, record 2990, `valid`"
    assert (said.returncode, place in said.stderr) == (3, True)


@pytest.mark.parametrize("command", ["info", "show", "sample"])
def test_a_damaged_file_is_exit_code_3_without_a_traceback(command: str, tmp_path: Path) -> None:
    (tmp_path / "bad.rkyv").write_bytes(b"\xff" * 64)
    said = ostinato(command, "bad.rkyv", cwd=tmp_path)
    assert (said.returncode, said.stdout, said.stderr.startswith("damaged: bad.rkyv: ")) == (3, "", True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["info"],
        ["info", "missing.rkyv"],
        ["info", "."],
        ["nonsense"],
        ["sample", "FILE", "-n", "0"],
        ["sample", "FILE", "--sampler", "best"],
        ["sample", "FILE", "--sampler", "proportional", "--alpha", "-1"],
        ["show", "FILE", "--program", "zz"],
        ["convert", "FILE", "out.txt"],
        ["convert", "FILE"],
    ],
)
def test_a_mistake_is_exit_code_2_without_a_traceback(
    arguments: list[str], real: Path, tmp_path: Path
) -> None:
    said = ostinato(*[str(real) if a == "FILE" else a for a in arguments], cwd=tmp_path)
    assert (said.returncode, "Traceback" in said.stderr, said.stderr != "") == (2, False, True)


def test_a_folder_that_is_not_there_is_exit_code_1(real: Path, tmp_path: Path) -> None:
    said = ostinato("convert", str(real), str(tmp_path / "no" / "x.jsonl"))
    assert (said.returncode, "Traceback" in said.stderr, "no/" in said.stderr) == (1, False, True)


def test_a_reader_that_leaves_early_is_no_error(real: Path) -> None:
    command = f'"{sys.executable}" -c "from ostinato.cli import main; main()" sample "{real}" -n 2000 --json | head -c 10'
    script = f"set -o pipefail; {command}"
    said = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (said.stderr, len(said.stdout), said.returncode) == ("", 10, 0)


def test_show_gives_the_best_of_each_program(real: Path) -> None:
    results = archive.read(real)
    best: dict[str, int] = {}
    for r in results:
        if r.valid and r.clock_cycles is not None:
            name = r.tir_hash.hex()
            best[name] = min(best.get(name, r.clock_cycles), r.clock_cycles)
    said = data("show", str(real), "--top", "100")
    assert {p["tir_hash"]: p["clock_cycles"] for p in said if p["clock_cycles"] is not None} == best  # type: ignore[union-attr]


def test_show_of_one_program_gives_its_results_cheapest_first(real: Path) -> None:
    name = archive.read(real)[0].tir_hash.hex()
    said = data("show", str(real), "--program", name[:8].upper(), "--top", "5")
    cycles = [r["clock_cycles"] for r in said]  # type: ignore[union-attr]
    assert (cycles, {r["tir_hash"] for r in said}) == (sorted(cycles), {name})  # type: ignore[union-attr]


def test_sample_draws_what_the_buffer_draws(real: Path) -> None:
    buffer = ReplayBuffer(3000, sampler=Proportional(alpha=1.0, beta=0.5), seed=7)
    buffer.extend(archive.read(real))
    batch = buffer.sample(20)
    said = data(
        *("sample", str(real), "-n", "20", "--sampler", "proportional"),
        *("--alpha", "1", "--beta", "0.5", "--seed", "7"),
    )
    assert [r["record"] for r in said] == batch.ids.tolist()  # type: ignore[union-attr]
    assert [r["result"] for r in said] == [r.to_dict() for r in batch]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "sampler"),
    [
        ("greedy", Greedy()),
        ("rank-based", RankBased(0.6, 0.4)),
        ("per-program", PerProgram(Proportional(0.6, 0.4))),
        ("uniform", Uniform()),
        ("fifo", Fifo()),
        ("lifo", Lifo()),
    ],
)
def test_every_sampler_that_a_command_names_draws_what_the_buffer_draws(
    name: str, sampler: Any, real: Path
) -> None:
    buffer = ReplayBuffer(3000, sampler=sampler, seed=2)
    buffer.extend(archive.read(real))
    said = data("sample", str(real), "-n", "9", "--sampler", name, "--seed", "2")
    assert [r["record"] for r in said] == buffer.sample(9).ids.tolist()  # type: ignore[union-attr]


def test_sample_of_an_empty_archive_is_empty_or_says_so(tmp_path: Path) -> None:
    archive.save(tmp_path / "e.rkyv", [])
    assert data("sample", str(tmp_path / "e.rkyv")) == []
    said = ostinato("sample", "e.rkyv", "--sampler", "uniform", cwd=tmp_path)
    assert (said.returncode, "empty" in said.stderr) == (1, True)


@pytest.mark.parametrize("name", ["rand_1000", "ctrl_and_escapes", "utf8_long", "empty", "all_max"])
def test_convert_goes_both_ways_to_the_byte(name: str, tmp_path: Path) -> None:
    golden, lines, again = GOLDEN / "archives" / f"{name}.rkyv", tmp_path / "x.jsonl", tmp_path / "y.rkyv"
    assert CliRunner().invoke(app, ["convert", str(golden), str(lines)]).exit_code == 0
    assert CliRunner().invoke(app, ["convert", str(lines), str(again)]).exit_code == 0
    assert lines.read_bytes() == golden.with_suffix(".jsonl").read_bytes()
    assert again.read_bytes() == golden.read_bytes()


def test_convert_makes_an_accepted_file_canonical(tmp_path: Path) -> None:
    source, target = GOLDEN / "bad" / "handmade_two_ool_gap_ok.rkyv", tmp_path / "x.rkyv"
    assert CliRunner().invoke(app, ["convert", str(source), str(target)]).exit_code == 0
    assert archive.deviation(target.read_bytes()) is None
    assert archive.read(target) == archive.read(source)


def test_convert_stops_at_a_bad_line_and_leaves_the_old_file(real: Path, tmp_path: Path) -> None:
    good = jsonl.dump(archive.read(real)[0])
    (tmp_path / "x.jsonl").write_bytes(good + good.replace(b'"valid":false', b'"valid":0') + good)
    (tmp_path / "y.rkyv").write_bytes(b"old")
    said = ostinato("convert", "x.jsonl", "y.rkyv", cwd=tmp_path)
    line = "damaged: x.jsonl: expected a bool, got 0 - at line 2, `valid`\n"
    assert (said.returncode, said.stderr) == (3, line)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.jsonl", "y.rkyv"]
    assert (tmp_path / "y.rkyv").read_bytes() == b"old"


def test_convert_skips_bad_lines_when_told_and_counts_them(real: Path, tmp_path: Path) -> None:
    good = jsonl.dump(archive.read(real)[0])
    (tmp_path / "x.jsonl").write_bytes(good + b"{\n" + good + b"[]\n")
    said = data("convert", str(tmp_path / "x.jsonl"), str(tmp_path / "y.rkyv"), "--skip-bad")
    assert (said["records"], said["skipped"]) == (2, 2)  # type: ignore[index]
    assert len(archive.read(tmp_path / "y.rkyv")) == 2


def test_convert_takes_forms_that_endings_do_not_say(real: Path, tmp_path: Path) -> None:
    arguments = ["convert", str(real), str(tmp_path / "x"), "--to", "jsonl"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    with (tmp_path / "x").open("rb") as file:
        assert sum(1 for _ in jsonl.read(file)) == 3000


def test_the_demo_proves_that_nothing_changed(tmp_path: Path) -> None:
    said = data("demo", "--out", str(tmp_path / "replay.rkyv"))
    figures = {name: said[name] for name in ("records", "compared", "batches")}  # type: ignore[index]
    assert figures == {"records": 20_997, "compared": 10_000, "batches": 420}
    assert said["trained_error"] < said["untrained_error"]  # type: ignore[index]
    kept = {name: said[name] for name in ("killed", "lost", "twice")}  # type: ignore[index]
    assert kept == {"killed": 1, "lost": 0, "twice": 0}
    assert len(Store.open(said["store"], create=False)) == 20_997  # type: ignore[index]
    assert len(archive.open(tmp_path / "replay.rkyv")) == 10_000


def test_the_demo_tells_a_person_what_to_type_next(tmp_path: Path) -> None:
    said = ostinato("demo", "--out", str(tmp_path / "replay.rkyv"))
    assert (said.returncode, said.stderr) == (0, "")
    assert f"       ostinato show {tmp_path / 'replay.rkyv'}" in said.stdout


def test_completion_works() -> None:
    import os

    environment = {
        **os.environ,
        "_OSTINATO_COMPLETE": "complete_bash",
        "COMP_WORDS": "ostinato ",
        "COMP_CWORD": "1",
    }
    program = "import sys; sys.argv[0] = 'ostinato'; from ostinato.cli import main; main()"
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment
    )
    assert sorted(said.stdout.split()) == COMMANDS


def test_warm_leaves_nothing_to_compile_for_a_buffer() -> None:
    program = """
import logging
from ostinato.cli.warm import exercise
exercise()
from numba.core import event
seen = []
class Listener(event.Listener):
    def on_start(self, event): seen.append(event)
    def on_end(self, event): pass
event.register("numba:compile", Listener())
from ostinato import ReplayBuffer, archive
from ostinato.data import triton_attempts
from ostinato.replay import Proportional, LowestPriority, Oldest, Uniform, Greedy
results = triton_attempts()
for remover in (LowestPriority(), LowestPriority("newest"), Oldest()):
    for sampler in (Proportional(), Uniform(), Greedy()):
        buffer = ReplayBuffer(5000, sampler=sampler, remover=remover)
        ids = buffer.extend(results)
        for result in results[:10]: buffer.push(result)
        batch = buffer.sample(16)
        buffer.update_priorities(batch.ids, batch.reward)
        buffer.sample(16)
        archive.loads(archive.dumps(buffer.results()))
print(len(seen))
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout == "0\n"


def test_records_of_every_kind_survive_a_round_trip_through_the_commands(tmp_path: Path) -> None:
    odd = BuildResult(
        tir_hash=bytes(range(32)),
        generated_tasm=["", "\n", "\u2028", "a" * 300, '"quoted"'],
        valid=False,
        clock_cycles=None,
        compiler_cycles=0,
        fallback_used=True,
        timestamp=2**64 - 1,
        model_version=2**32 - 1,
    )
    archive.save(tmp_path / "a.rkyv", [odd])
    for source, target in (("a.rkyv", "b.jsonl"), ("b.jsonl", "c.jsonl"), ("c.jsonl", "d.rkyv")):
        arguments = ["convert", str(tmp_path / source), str(tmp_path / target)]
        assert CliRunner().invoke(app, arguments).exit_code == 0
    assert archive.read(tmp_path / "d.rkyv").to_list() == [odd]


def hostile() -> BuildResult:
    """Instructions that would command a terminal and break a table."""
    return BuildResult(
        tir_hash=bytes(32),
        generated_tasm=["\x1b[31mRED\x1b]0;pwn\x07", "a\nb\x1b[2J", "é😀"],
        valid=True,
        clock_cycles=1,
        compiler_cycles=2,
        fallback_used=False,
        timestamp=0,
        model_version=1,
    )


@pytest.mark.parametrize("arguments", [["show"], ["show", "--program", "00"], ["sample"], ["info"]])
def test_text_from_a_file_never_commands_the_terminal(arguments: list[str], tmp_path: Path) -> None:
    archive.save(tmp_path / "h.rkyv", [hostile()] * 3)
    said = ostinato(arguments[0], "h.rkyv", *arguments[1:], cwd=tmp_path)
    assert (said.returncode, "\x1b" in said.stdout, "\x07" in said.stdout) == (0, False, False)


@pytest.mark.parametrize(
    "arguments", [["info"], ["show"], ["sample"], ["sample", "--json"], ["show", "--json"]]
)
def test_a_terminal_of_ascii_alone_is_no_error(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.save(tmp_path / "h.rkyv", [hostile()] * 3)
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    said = ostinato(arguments[0], "h.rkyv", *arguments[1:], cwd=tmp_path)
    assert (said.returncode, said.stderr, said.stdout.isascii()) == (0, "", True)


@pytest.mark.parametrize("width", ["20", "40", "80"])
@pytest.mark.parametrize("command", ["info", "show", "sample"])
def test_a_narrow_terminal_is_no_error(
    command: str, width: str, real: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    said = ostinato(command, str(real))
    assert (said.returncode, said.stderr) == (0, "")


def test_json_says_what_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "bad.rkyv").write_bytes(b"\xff" * 64)
    said = ostinato("info", "bad.rkyv", "--json", cwd=tmp_path)
    assert (said.returncode, json.loads(said.stdout)["offset"]) == (3, 56)


@pytest.mark.parametrize(
    ("content", "hint"), [(b"", "The file is empty"), (b'{"tir_hash":"00"}\n', "This looks like JSON lines")]
)
def test_a_file_that_is_something_else_is_named(content: bytes, hint: str, tmp_path: Path) -> None:
    (tmp_path / "x.rkyv").write_bytes(content)
    said = ostinato("info", "x.rkyv", cwd=tmp_path)
    assert (said.returncode, hint in said.stderr) == (3, True)


def test_standard_output_that_is_closed_is_no_traceback(real: Path) -> None:
    command = f'"{sys.executable}" -c "from ostinato.cli import main; main()" info "{real}" >&-'
    said = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in said.stderr
