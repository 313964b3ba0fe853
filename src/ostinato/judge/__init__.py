"""What is true: is a candidate what a program asks for, on what evidence, and what does it cost?

Importing it loads numpy alone; the kernels are loaded at the first judgement.
"""

from ostinato.judge.covering import Coverage
from ostinato.judge.functions import Function, load_programs, of_tasm, of_tir, save_programs
from ostinato.judge.inputs import Event, Expected, Input, Reference
from ostinato.judge.judge import Evidence, Judge, Verdict, Verdicts, judge, run_block
from ostinato.judge.reasons import Reason
from ostinato.judge.reverification import Finding, Report, reverify

__all__ = [
    "Coverage",
    "Event",
    "Evidence",
    "Expected",
    "Finding",
    "Function",
    "Input",
    "Judge",
    "Reason",
    "Reference",
    "Report",
    "Verdict",
    "Verdicts",
    "judge",
    "load_programs",
    "of_tasm",
    "of_tir",
    "reverify",
    "run_block",
    "save_programs",
]
