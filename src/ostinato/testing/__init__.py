"""For your tests: Hypothesis strategies. Needs hypothesis (`pip install ostinato[testing]`)."""

from ostinato.testing.strategies import build_results, instructions, results

__all__ = ["build_results", "instructions", "results"]
