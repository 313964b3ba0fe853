"""Another compiler than Triton's: addition chains, in one file. `python examples/addition_chains.py`

A program is a number n. Code makes x**n of x: `mul` multiplies the last power by x, `sq` squares it, each costs 1. The baseline multiplies
n - 1 times. Everything that `ostinato.online` asks of a compiler is the class below; it learns rules like `mul; mul -> ..` by itself.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ostinato import Vocabulary
from ostinato.online import Builder, Example, Features, Judged, RulePolicy, Task


def power(words: Sequence[str]) -> int:
    """The n of x**n that these make of x."""
    n = 1
    for word in words:
        n = 2 * n if word == "sq" else n + 1
    return n


class AdditionChains:
    """A target: programs, a judge, and what edits need to know of code."""

    name = "addition chains"
    failures = ("valid", "wrong")

    def __init__(self, numbers: Sequence[int]) -> None:
        self.vocabulary = Vocabulary(["mul", "sq"])
        self.features = Features.plain([0, 1])  # two kinds of words, no stack
        self.programs = [
            Task(f"x**{n}", hashlib.sha256(str(n).encode()).digest(), ("mul",) * (n - 1), n - 1, "power")
            for n in numbers
        ]

    def judge(
        self, program: int, tokens: NDArray[np.int32], offsets: NDArray[np.int64], confirm: str = "best"
    ) -> Judged:
        """Is it x**n, and how many operations does it take?"""
        wanted = self.programs[program].compiler_cycles + 1
        lists = [tokens[a:b].tolist() for a, b in itertools.pairwise(offsets)]
        valid = np.array([power([("mul", "sq")[t] for t in one]) == wanted for one in lists], np.bool_)
        return Judged(valid, np.where(valid, np.diff(offsets), 0), (~valid).astype(np.uint8))

    def alphabet(self, program: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """What edits put in, and how often."""
        return np.array([0, 1], np.int32), np.array([1.0, 1.0])

    def check_rule(self, before: Sequence[str], after: Sequence[str]) -> int | None:
        """Both are linear in n: who agrees on two numbers agrees everywhere."""

        def line(words: Sequence[str]) -> tuple[int, int]:
            a, b = 1, 0
            for word in words:
                a, b = (2 * a, 2 * b) if word == "sq" else (a, b + 1)
            return a, b

        return len(before) - len(after) if line(before) == line(after) else None


def main(beams: int = 60) -> dict[str, int]:
    """Search, learn, and say what was found."""
    target = AdditionChains([7, 12, 15, 23, 31, 48])
    policy = RulePolicy(target)
    builder = Builder(target, policy, beam=256)
    for _ in range(beams):
        beam = builder.beam()
        task = target.programs[beam.program]

        def words(code: Sequence[int]) -> tuple[str, ...]:
            return tuple(target.vocabulary.word(token) for token in code)

        policy.learn(
            [
                Example(task.name, words(one.parent), words(one.code), one.parent_cycles, one.cycles)
                for one in beam.steps
            ]
        )
    found = {task.name: builder.pool.best(i)[1] for i, task in enumerate(target.programs)}
    for task in target.programs:
        print(f"{task.name}: {task.compiler_cycles} operations, {found[task.name]} now")
    for rule in list(policy.rules)[:8]:
        print(rule)
    return found


if __name__ == "__main__":
    main()
