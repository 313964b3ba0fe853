"""Runs of few programs, for the tests of online learning."""

from __future__ import annotations

from pathlib import Path

from ostinato import targets
from ostinato.data import programs_path
from ostinato.judge import Function, load_programs

NAMES = ("field_sub", "sum5", "rotate3", "is_nonzero")


def functions() -> list[Function]:
    """Those of `NAMES`."""
    return [function for function in load_programs(programs_path()) if function.name in NAMES]


def run_folder(tmp_path: Path) -> Path:
    """The folder of a run of these that has not begun."""
    folder = tmp_path / "run"
    folder.mkdir()
    targets.keep(functions(), folder)
    return folder
