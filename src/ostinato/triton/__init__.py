"""Triton VM 2.0: its instructions, its assembler, its hash, and the machine, exact and fast.

Importing it loads numpy alone; the kernels are loaded at the first run.
"""

from ostinato.triton.isa import BY_NAME, INSTRUCTIONS, Instruction
from ostinato.triton.machine import TABLES, Outcome, Step, run, trace
from ostinato.triton.machine_layout import ERRORS
from ostinato.triton.parsing import ParseError, format, parse
from ostinato.triton.program import Program
from ostinato.triton.tip5 import Tip5

__all__ = [
    "BY_NAME",
    "ERRORS",
    "INSTRUCTIONS",
    "TABLES",
    "Instruction",
    "Outcome",
    "ParseError",
    "Program",
    "Step",
    "Tip5",
    "format",
    "parse",
    "run",
    "trace",
]
