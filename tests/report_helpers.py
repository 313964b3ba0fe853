"""What the tests of the report share: runs that are written instead of waited for, and a browser that really opens the page."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato import BuildResult, targets
from ostinato.judge import Function, of_tasm
from ostinato.online import Folder

NOW = 1_700_000_000
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_TIMEOUT_S = 120
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}

ADDING = ["dup 1", "dup 1", "add", "swap 2", "pop 2"]  # a + b, as nobody would write it


def adding(*names: str) -> list[Function]:
    """A function for each name, all with the same baseline of five cycles."""
    return [of_tasm(name, ADDING, ["f", "f"], tir_hash=bytes([1 + k // 250, k % 250]) * 16) for k, name in enumerate(names)]  # fmt: skip


def run_of(folder: Path, functions: list[Function]) -> Path:
    """The folder of a run that has not begun."""
    folder.mkdir(parents=True)
    targets.keep(functions, folder)
    return folder


def beams(
    folder: Path, functions: list[Function], count: int, *, versions: int = 3, seed: int = 0, context: str = "0",
    code: tuple[str, ...] = ("add",),
) -> None:  # fmt: skip
    """So many beams of a run, of versions one after the other: falling cycles, some fallbacks, failures of all kinds."""
    rng = np.random.default_rng(seed)
    records, extras = [], []
    for k in range(count):
        function = functions[int(rng.integers(len(functions)))]
        base, kind = len(function.baseline), int(rng.integers(10))
        attempts = int(rng.integers(1, 4096))
        valid = 0 if kind == 0 else int(rng.integers(1, attempts + 1))
        cycles = base if kind == 0 else int(rng.integers(max(1, base - k * base // count), base + 1))
        shared = {"tir_hash": function.tir_hash, "compiler_cycles": base, "timestamp": NOW + k, "model_version": k * versions // count}  # fmt: skip
        lines = function.baseline if cycles >= base else code
        records.append(BuildResult(generated_tasm=list(lines), valid=True, clock_cycles=cycles, fallback_used=kind == 0, **shared))  # fmt: skip
        extras.append({"attempts": attempts, "valid_attempts": valid, "better_attempts": valid // 2, "duplicates": attempts // 9, "proposal_us": 1000 + k, "judge_us": 500})  # fmt: skip
        if kind == 1:
            records.append(BuildResult(generated_tasm=["pop 1"], valid=False, clock_cycles=None, fallback_used=False, **shared))  # fmt: skip
            extras.append({"failure": int(rng.integers(1, 6))})
    names = {name for one in extras for name in one}
    with (
        Folder(folder).store(create=True) as store,
        store.writer(context={"builder": context, "policy": "rules"}) as writer,
    ):
        writer.extend(records, {name: [one.get(name, 0) for one in extras] for name in names})


def checkpoint(folder: Path, version: int, *, activated: bool = True, reason: str = "it is as good") -> None:
    """A policy that the guard has seen; its file is whatever stands there."""
    metrics = {"rules": 3 * version, "new_rules": 3, "activated": activated, "guard": reason, "validity": 0.1 + version / 1000, "gain": 0.01 * version, "held_out_reduction": 0.2}  # fmt: skip
    with Folder(folder).store() as store:
        ids = store.results().ids[:5]
        number = store.catalog.record_finetune(record_ids=ids, config={}, metrics=metrics, base_version=version - 1 or None, new_version=version, at=NOW)  # fmt: skip
        store.catalog.put_version(version, parent=version - 1 or None, finetune=number, path=None, metrics=metrics, at=NOW)  # fmt: skip


@dataclass
class Element:
    """name, attributes, text: as in the document. inside: of its descendants, name and class."""

    name: str
    attributes: dict[str, str]
    text: str = ""
    inside: list[tuple[str, str]] = field(default_factory=list)


class Document(HTMLParser):
    """A page's elements, in order; text of scripts and styles is none of the page's."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        for around in self._open:
            around.inside.append((tag, element.attributes.get("class", "")))
        self.elements.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        while self._open and tag in [one.name for one in self._open]:
            if self._open.pop().name == tag:
                break

    def handle_data(self, data: str) -> None:
        hidden = self._open and self._open[-1].name in ("script", "style")
        for around in self._open:
            if not hidden or around is self._open[-1]:
                around.text += data

    def named(self, name: str) -> list[Element]:
        return [one for one in self.elements if one.name == name]

    @property
    def plots(self) -> dict[str, Element]:
        return {one.attributes["id"]: one for one in self.elements if one.attributes.get("class", "").split()[:1] == ["plot"]}  # fmt: skip


def browser() -> str:
    """A browser's path; without one the test is skipped, but not where everything must be tested."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        reason = (
            "no browser: install chromium (Debian, Ubuntu: apt-get install chromium) to see the page drawn"
        )
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def opened(page: Path, folder: Path) -> Document:
    """The document that a browser makes of a page from a file, once its scripts have run, without a network."""
    command = [
        browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={folder / 'browser'}",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--no-first-run", "--disable-background-networking", "--window-size=1280,1000",
        "--virtual-time-budget=20000", "--dump-dom", page.resolve().as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=True, timeout=_TIMEOUT_S)
    return Document(done.stdout.decode())
