"""Parents: for each program its baseline, its best, and valid variants that cost little more.

Rule of this file: bounded, and chosen by the generator that is given. Where a variant was found does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ostinato.online.edits import Parents
from ostinato.online.target import Target

SLACK = 2  # cycles over the best that a variant may cost
KEPT = 128  # variants of one cost
_SHARES = (0.6, 0.25, 0.15)  # of parents, by cycles over the best

Code = tuple[int, ...]


class Pool:
    """Valid code by program and cost.

    Args:
        target: whose programs. rng: decides which variant goes where there are too many.
    """

    def __init__(
        self, target: Target, rng: np.random.Generator, *, slack: int = SLACK, kept: int = KEPT
    ) -> None:
        self._target, self._rng, self._slack, self._kept = target, rng, slack, kept
        self._levels: list[dict[int, list[Code]]] = []
        self._known: list[dict[Code, int]] = []  # cycles
        self.baselines: list[Code] = []
        self._ends: list[tuple[int, int]] = []
        for task in target.programs:
            code = tuple(target.vocabulary.ids(task.baseline))
            change = target.features.change
            self.baselines.append(code)
            self._ends.append((task.depth, task.depth + int(sum(change[t] for t in code))))
            self._levels.append({task.compiler_cycles: [code]})
            self._known.append({code: task.compiler_cycles})

    def best(self, program: int) -> tuple[Code, int]:
        """The best code and its cycles; of equals the first."""
        cycles = min(self._levels[program])
        return self._levels[program][cycles][0], cycles

    def cheapest(self, program: int, count: int) -> list[tuple[int, Code]]:
        """(cycles, code) of so many, the cheapest first, of equals the first."""
        levels = self._levels[program]
        return [(cycles, code) for cycles in sorted(levels) for code in levels[cycles]][:count]

    def cycles(self, program: int, code: Code) -> int:
        """Of code that is kept."""
        return self._known[program][code]

    def variants(self, program: int) -> int:
        """How many are kept."""
        return sum(map(len, self._levels[program].values()))

    def add(self, program: int, tokens: Sequence[int], cycles: int) -> bool:
        """Valid code of this cost; was it new, and good enough to be kept? Cost: O(len)."""
        code = tuple(tokens)
        levels, known = self._levels[program], self._known[program]
        best = min(levels)
        if cycles > best + self._slack or code in known:
            return False
        level = levels.setdefault(cycles, [])
        if len(level) >= self._kept:
            place = int(self._rng.integers(1, len(level)))  # the first one of a cost stays
            known.pop(level[place], None)
            level[place] = code
        else:
            level.append(code)
        known[code] = cycles
        if cycles < best:
            for late in [c for c in levels if c > cycles + self._slack]:
                for old in levels.pop(late):
                    known.pop(old, None)
        return True

    def choose(self, program: int, count: int, rng: np.random.Generator) -> Parents:
        """At most so many parents, the best among them."""
        levels = self._levels[program]
        best = min(levels)
        chosen = [levels[best][0]]
        for extra, share in zip(range(self._slack + 1), _SHARES, strict=False):
            level = levels.get(best + extra, [])
            wanted = min(len(level), max(1, round(share * count)))
            if wanted:
                chosen += [level[i] for i in rng.choice(len(level), wanted, replace=False)]
        chosen = list(dict.fromkeys(chosen))[:count]
        first, last = self._ends[program]
        tokens = np.array([t for code in chosen for t in code], np.int32)
        starts = np.concatenate([[0], np.cumsum([len(code) for code in chosen])]).astype(np.int64)
        limit = max(*(len(code) for code in chosen), best + self._slack)
        return Parents(program, tokens, starts, limit, first, last)
