"""Ostinato: experience replay for learned compilers.

This file is the public API: names from the modules below, nothing else. Importing it loads numpy, not
numba, typer or rich.
"""

from ostinato import archive
from ostinato.errors import DamageError, EmptyBufferError, OstinatoError, UsageError
from ostinato.result import BuildResult
from ostinato.results import Results
from ostinato.reward import reward
from ostinato.vocabulary import Vocabulary

__version__ = "0.1.0"
