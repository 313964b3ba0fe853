"""Ostinato: experience replay for learned compilers.

This file is the public API: names from the modules below, nothing else. Importing it loads numpy, not
numba, typer or rich.
"""

from ostinato import archive, replay
from ostinato.errors import DamageError, EmptyBufferError, OstinatoError, RateLimitError, UsageError
from ostinato.replay import Batch, ReplayBuffer
from ostinato.result import BuildResult
from ostinato.results import Results
from ostinato.rewards import reward
from ostinato.vocabulary import Vocabulary

__all__ = [
    "Batch",
    "BuildResult",
    "DamageError",
    "EmptyBufferError",
    "OstinatoError",
    "RateLimitError",
    "ReplayBuffer",
    "Results",
    "UsageError",
    "Vocabulary",
    "archive",
    "replay",
    "reward",
]

__version__ = "0.1.0"
