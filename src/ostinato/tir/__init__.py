"""What is asked: TIR programs, what they mean, what an ordinary compiler makes of them, and the hash that names them."""

from ostinato.tir.builder import Builder
from ostinato.tir.checking import check
from ostinato.tir.corpus import FAMILIES, HELD_OUT, TRAINING, corpus, family
from ostinato.tir.encoding import cid, from_bytes, to_bytes
from ostinato.tir.interpreter import Comparison, Result, interpret
from ostinato.tir.lowering import lower
from ostinato.tir.operations import OPERATIONS, Operation
from ostinato.tir.poseidon2 import poseidon2
from ostinato.tir.program import TYPES, Op, Program, Subroutine, Value
from ostinato.tir.text import format, parse, parse_many

__all__ = [
    "FAMILIES",
    "HELD_OUT",
    "OPERATIONS",
    "TRAINING",
    "TYPES",
    "Builder",
    "Comparison",
    "Op",
    "Operation",
    "Program",
    "Result",
    "Subroutine",
    "Value",
    "check",
    "cid",
    "corpus",
    "family",
    "format",
    "from_bytes",
    "interpret",
    "lower",
    "parse",
    "parse_many",
    "poseidon2",
    "to_bytes",
]
