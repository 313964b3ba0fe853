"""The corpus: functions that a provable-computing developer would recognise, by family, as an ordinary compiler emits them.

Rule of this file: the split into training and held-out families is made once, here, so that figures about unseen programs mean the
same everywhere.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

from ostinato.errors import UsageError
from ostinato.tir.program import Program
from ostinato.tir.text import parse_many

TRAINING = ("bits", "comparison", "encoding", "field", "hashing", "memory", "polynomial", "selection", "u32")
HELD_OUT = ("extension", "linear_algebra", "range_check", "rounds", "statistics")
FAMILIES = tuple(sorted(TRAINING + HELD_OUT))


def family(name: str) -> tuple[Program, ...]:
    """The functions of a family. Cost: some ms, once.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in FAMILIES:
        raise UsageError(f"expected a family, one of {', '.join(FAMILIES)}, got {name!r:.40}", "name")
    return _family(name)


@cache
def _family(name: str) -> tuple[Program, ...]:
    text = resources.files("ostinato.tir").joinpath("functions", f"{name}.tir").read_text(encoding="utf-8")
    return tuple(parse_many(text))


def corpus(families: tuple[str, ...] = FAMILIES) -> dict[str, Program]:
    """The functions of these families by name, in the order of the families.

    Raises:
        UsageError: there is no such family.

    >>> from ostinato.tir import HELD_OUT, TRAINING
    >>> len(corpus(TRAINING)) > len(corpus(HELD_OUT)) > 10
    True
    """
    return {program.name: program for name in families for program in family(name)}
