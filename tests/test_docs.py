"""What the documents say is run."""

from __future__ import annotations

import doctest
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from ostinato import BuildResult, archive

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FORMAT = (ROOT / "FORMAT.md").read_text(encoding="utf-8")


def run_examples(text: str, name: str, names: dict[str, object]) -> doctest.TestResults:
    test = doctest.DocTestParser().get_doctest(text, names, name, name, 0)
    return doctest.DocTestRunner().run(test, clear_globs=False)


def test_the_readme_says_what_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```pycon\n(.*?)```", README, re.DOTALL)
    result = run_examples("\n".join(blocks), "README.md", {})
    assert (len(blocks), result.failed, result.attempted >= 12) == (2, 0, True)


def test_the_readme_shows_what_check_says_of_a_cut_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_examples("".join(re.findall(r"```pycon\n(.*?)```", README, re.DOTALL)[:1]), "README.md", {})
    Path("cut.rkyv").write_bytes(Path("replay.rkyv").read_bytes()[:500_000])
    shown = re.search(r"```console\n\$ (ostinato check cut.rkyv)\n(.*?)\n```", README, re.DOTALL)
    assert shown is not None
    command = [sys.executable, "-c", "from ostinato.cli import main; main()", *shown[1].split()[1:]]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr.splitlines()[0]) == (3, shown[2])


def test_every_command_the_readme_names_exists() -> None:
    from typer.main import get_command

    from ostinato.cli.app import app

    named = set(re.findall(r"^\$ ostinato ([\w-]+)", README, re.MULTILINE))
    assert named <= set(get_command(app).commands)  # type: ignore[attr-defined]
    assert len(named) >= 5


def test_the_worked_example_of_the_format_is_what_is_written() -> None:
    block = re.search(r"## A worked example.*?```text\n(.*?)```", FORMAT, re.DOTALL)
    assert block is not None
    expected = bytearray()
    for line in block[1].splitlines():
        place, said = line.split(":", 1)
        assert int(place, 16) == len(expected)
        said = re.split(r"\s{3,}", said.strip())[0]
        repeated = re.fullmatch(r"(\w\w) × (\d+)", said)
        expected += bytes.fromhex(repeated[1]) * int(repeated[2]) if repeated else bytes.fromhex(said)
    record = BuildResult(
        tir_hash=b"\xaa" * 32,
        generated_tasm=["add", "sponge_init"],
        valid=True,
        clock_cycles=7,
        compiler_cycles=9,
        fallback_used=False,
        timestamp=5,
        model_version=2,
    )
    assert archive.dumps([record]) == bytes(expected)


@pytest.mark.parametrize(
    "module",
    [
        "ostinato.result",
        "ostinato.results",
        "ostinato.vocabulary",
        "ostinato.triton.machine",
        "ostinato.triton.tip5",
        "ostinato.tir.poseidon2",
        "ostinato.tir.text",
        "ostinato.tir.builder",
        "ostinato.tir.corpus",
        "ostinato.tir.lowering",
    ],
)
def test_examples_in_docstrings_say_what_happens(module: str) -> None:
    result = doctest.testmod(__import__(module, fromlist=["_"]))
    assert (result.failed, result.attempted > 0) == (0, True)


def test_every_folder_and_module_is_in_the_architecture() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    source = ROOT / "src" / "ostinato"
    names = {p.name + ("/" if p.is_dir() else "") for p in source.iterdir() if not p.name.startswith("_")}
    names |= {f"{p.name}/" for p in ROOT.iterdir() if p.name in {"tests", "benchmarks", ".ci"}}
    names |= {
        p.stem
        for part in ("archive", "replay", "store", "triton", "tir", "judge", "online", "targets", "report")
        for p in (source / part).glob("[a-z]*.py")
    }
    names = {n for n in names - {"py.typed"} if n == "vocabulary_kernels.py" or not n.endswith("_kernels")}
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


def test_the_readme_quotes_the_committed_benchmark() -> None:
    core = runpy.run_path(str(ROOT / "benchmarks" / "core.py"))
    figures = json.loads((ROOT / "benchmarks" / "results" / "core.json").read_text())
    assert core["readme"](figures) in README
    assert core["table"](figures) in (ROOT / "benchmarks" / "results" / "core.md").read_text()


def test_the_readme_links_to_files_that_exist() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert len(links) >= 3


def test_nothing_names_a_place_of_one_machine() -> None:
    folders = [ROOT / name for name in ("src", "tests", "benchmarks")]
    texts = [p for folder in folders for p in folder.rglob("*") if p.suffix in {".py", ".md"}]
    texts += [*ROOT.glob("*.md"), ROOT / "pyproject.toml", ROOT / "Makefile"]
    ours = [p for p in texts if p != Path(__file__)]
    words = ("/" + "work/", "../" + "shared", "/" + "root/")
    assert [str(p) for p in ours if any(word in p.read_text(encoding="utf-8") for word in words)] == []
    assert len(ours) > 50
