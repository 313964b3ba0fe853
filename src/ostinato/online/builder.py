"""The builder's core: choose a program, make a beam of candidates, judge it, count.

Rule of this file: no files, no processes; the clock measures, and decides nothing. A caller writes what a beam says.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from ostinato.online.filter import Filter
from ostinato.online.policies import Policy, Proposals
from ostinato.online.pool import Code, Pool
from ostinato.online.target import Judged, Target

BEAM = 4096
_FIRST = 256  # candidates of a program's first beam, doubled by each that gains nothing
PARENTS = 24
_ADDED = 24  # variants that a beam may put into the pool
_SAMPLE = 4  # failures that a beam tells of
_LOOKED_AT, _STEPS = 64, 3  # better children that are looked at, and told of
_MEMORY = 0.97  # what a beam's past counts after the next
_ELSEWHERE = 0.1  # of the weight of an own program, that of another builder's


@dataclass(frozen=True, slots=True)
class Found:
    """Valid code, its cycles, and the code and cycles it was made from."""

    code: Code
    cycles: int
    parent: Code
    parent_cycles: int


@dataclass(frozen=True, slots=True)
class Beam:
    """What became of a beam.

    Attributes:
        program: its number. best: the best valid candidate, None if none was. improved: was it better than any before?
        steps: valid candidates that are better than their parents, those that differ least from them.
        attempts, valid, better, duplicates: candidates that were judged, that were valid, of these that cost less than the baseline,
            that were not judged again.
        failures: candidates by place in `Target.failures`. sample: some that failed, (code, parent, failure).
    """

    program: int
    best: Found | None
    improved: bool
    steps: tuple[Found, ...]
    attempts: int
    valid: int
    better: int
    duplicates: int
    failures: tuple[int, ...]
    sample: tuple[tuple[Code, Code, int], ...]


@dataclass
class _Progress:
    """Of one program: beams in a row without a gain, and gains and efforts that fade."""

    stalls: int = 0
    gains: float = 1.0
    efforts: float = 1.0


class Builder:
    """Makes beams.

    Args:
        target, policy: who judges, who proposes. seed: of all that is drawn. beam: candidates at once.
        pool: where parents come from and variants go. share: (which, of how many) builders this one is: each has its own programs,
            which it chooses ten times as often as others', so that not all make the same attempts.
    """

    def __init__(
        self,
        target: Target,
        policy: Policy,
        *,
        seed: int = 0,
        beam: int = BEAM,
        pool: Pool | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.target, self.policy, self.beam_size = target, policy, beam
        self.rng = np.random.default_rng(seed)
        self.pool = Pool(target, self.rng) if pool is None else pool
        self.filter = Filter()
        self._progress = [_Progress() for _ in target.programs]
        which, builders = share
        self._own = np.where(np.arange(len(target.programs)) % builders == which, 1.0, _ELSEWHERE)
        self.judging_s = 0.0  # of the last beam

    def choose(self) -> int:
        """A program: by what was gained of late for the effort, and each now and then."""
        left = np.array([self.pool.best(i)[1] for i in range(len(self._progress))], np.float64)
        if not left.any():
            return int(self.rng.integers(len(left)))
        rates = np.array([p.gains / p.efforts for p in self._progress])
        drawn = rates * self.rng.gamma(1.0, 1.0, len(rates)) + 0.02 * self.rng.gamma(1.0, 1.0, len(rates))
        return int(np.argmax(np.where(left > 0, drawn * np.sqrt(left) * self._own, -1.0)))

    def beam(self, program: int | None = None, count: int | None = None) -> Beam:
        """One beam for a program, or for one that is chosen. Cost: some ms."""
        if program is None:
            program = self.choose()
        parents = replace(self.pool.choose(program, PARENTS, self.rng), tried=self.filter)
        before = self.pool.best(program)[1]
        made = self.policy.propose(parents, self._size(program) if count is None else count, self.rng)
        proposed = len(made)
        made = made.take(self.filter.new(program, made.tokens, made.offsets))
        begin = time.perf_counter()
        judged = self.target.judge(program, made.tokens, made.offsets)
        self.judging_s = time.perf_counter() - begin
        self.policy.observe(parents, made, judged, before)
        lists = [tuple(one) for one in parents.lists]
        steps = tuple(self._steps(program, judged, made, lists))
        best = self._keep(program, judged, before, made, lists)
        gain = max(0, before - best.cycles) if best else 0
        own = self._progress[program]
        own.stalls = 0 if gain else own.stalls + 1
        own.gains, own.efforts = own.gains * _MEMORY + gain, own.efforts * _MEMORY + 1.0
        failed = np.flatnonzero(~judged.valid)
        chosen = self.rng.choice(failed, min(_SAMPLE, len(failed)), replace=False) if len(failed) else failed
        return Beam(
            program=program,
            best=best,
            improved=gain > 0,
            steps=steps,
            attempts=len(made),
            valid=int(judged.valid.sum()),
            better=int(
                (judged.valid & (judged.cycles < self.target.programs[program].compiler_cycles)).sum()
            ),
            duplicates=proposed - len(made),
            failures=tuple(np.bincount(judged.failure, minlength=len(self.target.failures)).tolist()),
            sample=tuple(
                (made.code(i), lists[made.parent[i]], int(judged.failure[i])) for i in chosen.tolist()
            ),
        )

    def _size(self, program: int) -> int:
        """Small while it gains, since better parents are worth more than more candidates."""
        return min(self.beam_size, _FIRST << min(self._progress[program].stalls, 16))

    def _steps(self, program: int, judged: Judged, made: Proposals, lists: list[Code]) -> list[Found]:
        passed = np.flatnonzero(judged.valid)
        costs = np.array([self.pool.cycles(program, code) for code in lists])[made.parent[passed]]
        passed, costs = passed[judged.cycles[passed] < costs], costs[judged.cycles[passed] < costs]
        if not len(passed):
            return []
        some = self.rng.permutation(len(passed))[:_LOOKED_AT]
        found = [
            Found(made.code(i), int(judged.cycles[i]), lists[made.parent[i]], int(cost))
            for i, cost in zip(passed[some].tolist(), costs[some], strict=True)
        ]
        return sorted(found, key=lambda one: _distance(one.parent, one.code))[:_STEPS]

    def _keep(
        self, program: int, judged: Judged, before: int, made: Proposals, lists: list[Code]
    ) -> Found | None:
        passed = np.flatnonzero(judged.valid)
        if not len(passed):
            return None
        passed = passed[self.rng.permutation(len(passed))]
        passed = passed[np.argsort(judged.cycles[passed], kind="stable")]
        first = int(passed[0])
        parent = lists[made.parent[first]]
        cost = self.pool.cycles(program, parent)  # before it may have left the pool
        for i in passed[:_ADDED].tolist():
            self.pool.add(program, made.code(i), int(judged.cycles[i]))
        return Found(made.code(first), int(judged.cycles[first]), parent, cost)


def _distance(one: Code, other: Code) -> int:
    """Words between the first and the last difference."""
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    end = 0
    while end < min(len(one), len(other)) - start and one[-1 - end] == other[-1 - end]:
        end += 1
    return len(one) + len(other) - 2 * (start + end)
