"""ostinato run: programs on the machine, from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli_helpers import inside
from ostinato.triton import run

PRODUCT = "read_io 2 mul write_io 1 halt"


@pytest.fixture
def product(tmp_path: Path) -> Path:
    path = tmp_path / "product.tasm"
    path.write_text(PRODUCT)
    return path


def test_a_program_says_what_it_leaves_and_costs(product: Path) -> None:
    said = inside("run", product, "--public", "6,7")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[0] == "output  42"
    assert "cycles  4\n" in said.out
    assert "padded  256 (Lookup is the tallest)\n" in said.out


def test_json_is_what_an_outcome_holds(product: Path) -> None:
    said = inside("run", product, "--public", "0x6 -7", "--json")
    assert said.json == run(PRODUCT, public=[6, 2**64 - 2**32 + 1 - 7]).to_dict()


def test_every_input_reaches_the_program() -> None:
    text = b"divine 1 read_mem 1 pop 1 write_io 2 push 0 push 5 push 4 push 3 push 2 push 1 merkle_step write_io 5 halt"
    said = inside(
        "run",
        "-",
        "--secret",
        "9",
        "--stack",
        "8",
        "--ram",
        "9=4,1=2",
        "--digests",
        "5,4,3,2,1",
        "--json",
        feed=text,
    )
    outcome = run(text.decode(), secret=[9], stack=[8], ram={9: 4, 1: 2}, digests=[[5, 4, 3, 2, 1]])
    assert (said.code, said.json["output"]) == (0, list(outcome.output))
    assert said.json["output"][:2] == [4, 8]


def test_a_trace_is_a_line_an_instruction(product: Path) -> None:
    said = inside("run", product, "--public", "6,7", "--trace")
    assert [line.split()[2] for line in said.out.splitlines()[:4]] == ["read_io", "mul", "write_io", "halt"]
    lines = inside("run", product, "--public", "6,7", "--trace", "--json").lines
    assert [line["instruction"] for line in lines[:4]] == ["read_io 2", "mul", "write_io 1", "halt"]
    assert lines[1]["stack"][:2] == [7, 6]
    assert lines[4]["output"] == [42]


def test_a_run_that_fails_says_why_and_where(product: Path) -> None:
    said = inside("run", product, "--public", "6")
    assert said.code == 1
    assert said.err == (
        "EmptyPublicInput at word 0, after 0 cycles: public input buffer is empty after 1 reads\n"
    )


def test_a_run_that_does_not_end_is_stopped() -> None:
    said = inside("run", "-", "--max-cycles", "100", feed=b"call a a: recurse")
    assert (said.code, said.err.startswith("CycleLimit at word 2, after 100 cycles")) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--public", "x"], "error: expected a word, got 'x' - at `--public`\n"),
        (["--stack", "9" * 20], f"error: expected a word between -p and p, got {'9' * 20} - at `--stack`\n"),
        (["--digests", "1,2"], "error: expected five words for each digest, got 2 - at `--digests`\n"),
        (["--ram", "5"], "error: expected address=word, got '5' - at `--ram`\n"),
    ],
)
def test_a_wrong_input_is_a_usage_error(product: Path, arguments: list[str], complaint: str) -> None:
    said = inside("run", product, *arguments)
    assert (said.code, said.err) == (2, complaint)


def test_text_that_is_no_program_is_a_usage_error_with_its_place(tmp_path: Path) -> None:
    said = inside("run", "-", feed=b"nop\npick 16")
    assert (said.code, said.err) == (2, "error: line 2, column 6: expected a register, 0 to 15, got `16`\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert inside("run", tmp_path / "binary").code == 2
    assert inside("run", tmp_path / "missing").code == 1
