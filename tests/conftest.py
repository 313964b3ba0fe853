"""One environment for all tests, whatever terminal and locale they are started from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ostinato.store import Store
from store_helpers import opened

for name in (
    "FORCE_COLOR",
    "NO_COLOR",
    "COLUMNS",
    "LINES",
    "PYTHONIOENCODING",
    "LC_ALL",
    "PYTHONUTF8",
    "TTY_COMPATIBLE",
):
    os.environ.pop(name, None)
os.environ.update(LC_ALL="C.UTF-8", PYTHONUTF8="1", TERM="xterm")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store, open."""
    with opened(tmp_path) as store:
        yield store
