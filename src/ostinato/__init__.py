"""Ostinato: experience replay for learned compilers.

This file is the public API: names from the modules below, nothing else. Importing it loads numpy, not
numba, typer, rich or sqlite3; the replay buffer and the store are loaded when they are first asked for, so that a
process that only appends does not wait for the one, nor one that only samples for the other.
"""

import importlib
import typing

from ostinato.errors import (
    DamageError,
    EmptyBufferError,
    OstinatoError,
    RateLimitError,
    UsageError,
    VersionError,
)
from ostinato.result import BuildResult
from ostinato.results import Results
from ostinato.rewards import reward
from ostinato.vocabulary import Vocabulary

if typing.TYPE_CHECKING:
    from ostinato import archive, judge, replay, store, tir, triton
    from ostinato.replay import Batch, ReplayBuffer
    from ostinato.store import Store

__all__ = [
    "Batch",
    "BuildResult",
    "DamageError",
    "EmptyBufferError",
    "OstinatoError",
    "RateLimitError",
    "ReplayBuffer",
    "Results",
    "Store",
    "UsageError",
    "VersionError",
    "Vocabulary",
    "archive",
    "judge",
    "replay",
    "reward",
    "store",
    "tir",
    "triton",
]

__version__ = "0.1.0"

_LATER = {"Batch": "replay", "ReplayBuffer": "replay", "Store": "store"}


def __getattr__(name: str) -> object:
    if name in ("archive", "judge", "replay", "store", "tir", "triton"):
        return importlib.import_module(f"ostinato.{name}")
    if name in _LATER:
        found: object = getattr(importlib.import_module(f"ostinato.{_LATER[name]}"), name)
        return found
    raise AttributeError(f"module 'ostinato' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
