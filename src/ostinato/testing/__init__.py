"""For your tests: Hypothesis strategies, and a file system that fails and loses power when it is told to.

Needs hypothesis (`pip install ostinato[testing]`).
"""

from ostinato.testing.faults import FaultyFileSystem, PowerLoss
from ostinato.testing.strategies import build_results, instructions, results

__all__ = ["FaultyFileSystem", "PowerLoss", "build_results", "instructions", "results"]
