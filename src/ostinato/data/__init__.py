"""Real build results that come with the package; NOTES.md beside this file says how they were made."""

from __future__ import annotations

import gzip
import json
from importlib import resources
from pathlib import Path

from ostinato import archive
from ostinato.results import Results

__all__ = ["program_names", "programs_path", "triton_attempts"]


def triton_attempts() -> Results:
    """20,997 attempts at 48 programs in order of time, judged by the real Triton VM. Cost: 40 ms."""
    packed = resources.files(__name__).joinpath("triton_attempts.rkyv.gz").read_bytes()
    return archive.loads(gzip.decompress(packed))


def program_names() -> dict[str, str]:
    """Names of 32 of the 48 programs by `tir_hash` in hex."""
    text = resources.files(__name__).joinpath("triton_programs.json").read_text(encoding="utf-8")
    return {program["tir_hash"]: program["name"] for program in json.loads(text)}


def programs_path() -> Path:
    """The programs file of those 32: baselines, argument types and the tests they were judged by (`judge.load_programs`)."""
    return Path(__file__).parent / "triton_programs.json"
