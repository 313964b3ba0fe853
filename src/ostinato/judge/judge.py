"""Is a candidate right, and what does it cost?

Rule of this file: nobody is called right who has not passed every test; who would be a new best must pass a thousand more.
A verdict says on what evidence it stands.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ostinato.arguments import integer
from ostinato.errors import UsageError
from ostinato.goldilocks import P
from ostinato.judge import identity
from ostinato.judge.code import Candidate, Code, TokenTable, code_for
from ostinato.judge.covering import Coverage, tests_for
from ostinato.judge.drawing import draw
from ostinato.judge.functions import Function
from ostinato.judge.inputs import Expected, Input
from ostinato.judge.reasons import WORDS, Reason
from ostinato.judge.references import arguments_of, job_of
from ostinato.judge.suite import Found, Suite
from ostinato.triton.machine import Outcome, run
from ostinato.triton.machine_layout import ERRORS
from ostinato.triton.program import Program
from ostinato.vocabulary import Vocabulary

TESTS = 48
FURTHER = 1000
UNIFORM = 16  # of the further inputs, those whose every word is drawn from the whole field
_EXHAUSTED = 8  # Booleans whose every combination is tried
_SLACK = 1000  # cycles that a candidate may take beyond ten times the baseline's

Confirm = Literal["best", "all", "none"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """On what a verdict "valid" stands.

    Attributes:
        inputs: on so many it agreed with the reference.
        kind: "tests": no more than that. "exhaustive": all arguments are Booleans, and these were all combinations.
            "identity": both are polynomials, compared at random points of the field.
        degree: for "identity" a bound of the degree. log2_error: log2 of the chance, over the points, that the two
            agree on them and differ elsewhere; None for the others, which have no such bound.
    """

    inputs: int
    kind: Literal["tests", "exhaustive", "identity"] = "tests"
    degree: int | None = None
    log2_error: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge says of one candidate.

    Attributes:
        valid; reason: the first thing that is wrong. clock_cycles: the largest over the tests, None if invalid.
        error: the machine's kind of error, or the parser's message. given: the input that shows what is wrong.
        evidence: what "valid" stands on.
    """

    valid: bool
    reason: Reason
    clock_cycles: int | None = None
    error: str | None = None
    given: Input | None = None
    evidence: Evidence | None = None

    def __str__(self) -> str:
        if self.valid:
            return f"valid, {self.clock_cycles:,} cycles"
        return WORDS[self.reason] + (f": {self.error}" if self.error else "")


class Verdicts(Sequence[Verdict]):
    """Verdicts on candidates, in their order, as columns and one by one.

    Attributes:
        valid: bool[n]. reason: u8[n], numbers of `Reason`. clock_cycles: i64[n], masked where invalid.
        unexercised: comparisons and branches of the reference, (site, kind, outcome), that no test takes that way.
    """

    def __init__(self, judge: Judge, code: Code, found: Found, evidence: dict[int, Evidence]) -> None:
        self.reason = found.reasons
        self.valid = found.reasons == Reason.VALID
        self.clock_cycles = np.ma.masked_array(found.cycles, ~self.valid)
        for column in (self.reason, self.valid, found.cycles):
            column.setflags(write=False)
        self.unexercised = judge.coverage.missing
        self._code, self._found, self._evidence = code, found, evidence
        self._tests = judge._tests  # which only grow: a test keeps its number
        self._passed = len(judge._tests)

    def __len__(self) -> int:
        return len(self.reason)

    def __getitem__(self, i: int) -> Verdict:  # type: ignore[override]
        i = range(len(self))[i]
        if self.valid[i]:
            evidence = self._evidence.get(i, Evidence(self._passed))
            return Verdict(True, Reason.VALID, int(self._found.cycles[i]), evidence=evidence)
        reason = Reason(int(self.reason[i]))
        error = self._code.errors.get(i)
        if reason == Reason.CRASH:
            error = ERRORS[int(self._found.errors[i])] or "InstructionPointerOverflow"
        given = self._tests[int(self._found.tests[i])][0] if reason > Reason.PARSE else None
        return Verdict(False, reason, error=error, given=given)

    def __iter__(self) -> Iterator[Verdict]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"Verdicts({int(self.valid.sum())} of {len(self)} valid)"


class Judge:
    """A judge of one program. Inputs that told candidates from the reference are tried first from then on.

    Args:
        program: what is judged. seed: of the test inputs.
        tests: how many are drawn; those that came with the function are tried as well, unless `own` is False.
        counterexamples: inputs from an earlier judge of this program, tried before all others.
        max_cycles: after so many a candidate is too slow; else ten times the baseline's and a thousand.
    Raises:
        UsageError: the baseline does not do what the reference does, on which input; or the reference does not end.

    Cost: some tens of ms, for drawing tests and running the reference. Safe to use from several threads, which take turns.
    """

    def __init__(
        self,
        program: Function,
        *,
        seed: int = 0,
        tests: int = TESTS,
        own: bool = True,
        counterexamples: Sequence[Input] = (),
        max_cycles: int | None = None,
    ) -> None:
        self.function = program
        self.seed = integer(seed, "seed", 0, 2**63)
        reference = self.function.reference
        count = integer(tests, "tests", 0, 2**20)
        drawn, self.coverage = tests_for(reference, self.seed, count) if count else ([], Coverage([], {}, []))
        given = [*counterexamples, *(self.function.tests if own else ()), *drawn]
        if not given:
            raise UsageError("expected tests, drawn or with the function, got none", "tests")
        self._lock = threading.Lock()
        self._tests = [(one, reference.run(one)) for one in given]
        self._suite = Suite(self._tests)
        self._kept: dict[Input, None] = dict.fromkeys(counterexamples)
        baseline = code_for([self.function.baseline])
        self._limit = 10_000_000
        found = self._suite.run(baseline, self._limit)
        if found.reasons[0] != Reason.VALID:
            verdict = Verdicts(self, baseline, found, {})[0]
            raise UsageError(
                f"the baseline of `{self.function.name}` is wrong: {verdict}, for {verdict.given}", "program"
            )
        self.baseline_cycles = int(found.cycles[0])
        self.best_cycles = self.baseline_cycles
        limit = 10 * self.baseline_cycles + _SLACK
        self._limit = limit if max_cycles is None else integer(max_cycles, "max_cycles", 1, 2**62)
        self._tables: dict[int, TokenTable] = {}

    @property
    def counterexamples(self) -> list[Input]:
        """Inputs that told a candidate from the reference, the oldest first; give them to the next judge."""
        return list(self._kept)

    @property
    def inputs(self) -> list[Input]:
        """The tests, as drawn."""
        return [given for given, _ in self._tests]

    @cached_property
    def _further(self) -> Suite:
        """More inputs, for whoever would be a new best: drawn like the tests, and some from the whole field."""
        rng = np.random.default_rng([self.seed, 1])
        reference = self.function.reference
        drawn = draw(reference, FURTHER, rng)
        more = [uniform(one, rng) for one, _ in drawn[:UNIFORM]] if self._all_field else []
        more += _combinations([*(one for one, _ in drawn), *more], self.function.types)
        return Suite([*drawn, *((one, reference.run(one)) for one in more)])

    @property
    def _all_field(self) -> bool:
        return all(kind in ("field", "any") for kind in self.function.types)

    def judge(self, candidates: Sequence[Candidate], *, confirm: Confirm = "best") -> Verdicts:
        """Judge candidates, each a list of lines, a text or a `triton.Program`.

        Args:
            confirm: who must pass a thousand further inputs. "best": those that pass the tests in fewer cycles than
                the best so far. "all": all that pass. "none".
        Raises:
            UsageError: a candidate is no such thing. What is no program gets a verdict.

        Cost: 0.1 to 0.3 us a run of a candidate on a test, and 0.1 us for a line; once, 0.1 to 0.5 s to draw further inputs.
        """
        return self.judge_code(code_for(candidates), confirm=confirm)

    def judge_tokens(
        self,
        tokens: NDArray[np.int32],
        offsets: NDArray[np.int64],
        vocabulary: Vocabulary,
        *,
        confirm: Confirm = "best",
    ) -> Verdicts:
        """The same for candidates tokens[offsets[i] : offsets[i + 1]], ids of a vocabulary.

        Raises:
            UsageError: an id is none of the vocabulary's, or the offsets do not rise.
        """
        table = self._tables.get(id(vocabulary))
        if table is None:  # it keeps the vocabulary alive, so that the id stays its own
            table = self._tables[id(vocabulary)] = TokenTable(vocabulary)
        return self.judge_code(table.code(tokens, offsets), confirm=confirm)

    def judge_code(self, code: Code, *, confirm: Confirm = "best") -> Verdicts:
        """The same for candidates that are code already."""
        if confirm not in ("best", "all", "none"):
            raise UsageError(f"expected best, all or none, got {confirm!r}", "confirm")
        with self._lock:
            found = self._suite.run(code, self._limit)
            for i in code.errors:
                found.reasons[i], found.tests[i] = Reason.PARSE, -1
            self._keep(np.unique(found.tests[found.reasons > Reason.PARSE]).tolist())
            evidence: dict[int, Evidence] = {}
            if confirm != "none":
                self._confirm(code, found, evidence, confirm)
            return Verdicts(self, code, found, evidence)

    def _keep(self, told: Sequence[int]) -> None:
        """Remember the tests that told, and try them first from now on."""
        for k in told:
            self._kept.setdefault(self._tests[k][0])
            self._suite.to_front(k)

    def _confirm(self, code: Code, found: Found, evidence: dict[int, Evidence], confirm: Confirm) -> None:
        passed = np.flatnonzero(found.reasons == Reason.VALID)
        for i in passed[np.argsort(found.cycles[passed], kind="stable")].tolist():
            if confirm == "best" and found.cycles[i] >= self.best_cycles:
                break
            one = code.take(np.array([i]))
            again = self._further.run(one, self._limit)
            if again.reasons[0] != Reason.VALID:
                found.reasons[i], found.errors[i] = again.reasons[0], again.errors[0]
                found.tests[i] = self._adopt(int(again.tests[0]))
                continue
            found.cycles[i] = max(found.cycles[i], again.cycles[0])
            evidence[i] = self._evidence(code.tokens(i))
            self.best_cycles = min(self.best_cycles, int(found.cycles[i]))

    def _adopt(self, k: int) -> int:
        """A further input that told becomes a test, the first one; its number."""
        given = self._further.given(k)
        order = self._suite.order
        new = len(self._tests)
        self._tests.append((given, self.function.reference.run(given)))
        self._suite = Suite(self._tests)
        self._suite.order[:] = [new, *order.tolist()]
        self._kept.setdefault(given)
        return new

    @cached_property
    def _degree(self) -> int | None:
        """A bound of the reference's degree; None where it is no polynomial of field words."""
        if not self._all_field:
            return None
        steps = self.function.reference.steps()
        return None if steps is None else identity.degree_of(steps, self._depth)

    @property
    def _depth(self) -> int:
        return len(self.inputs[-1].below) + len(self.function.types)

    def _evidence(self, tokens: list[tuple[int, int]]) -> Evidence:
        inputs = len(self._suite) + len(self._further)
        if self._degree is not None:
            own = identity.degree_of(identity.steps_of_tokens(tokens), self._depth)
            if own is not None:
                degree = max(own, self._degree)
                return Evidence(inputs, "identity", degree, identity.log2_error(degree, UNIFORM))
        types = self.function.types
        if _few_booleans(types) and identity.keeps_to(tokens, len(types)):
            return Evidence(inputs, "exhaustive")
        return Evidence(inputs)

    def outcomes(self, candidate: Candidate, given: Input) -> tuple[Expected, Outcome]:
        """What the reference leaves for an input, and what the candidate does: for looking at a difference.

        The outcome is that of the whole job, with two cycles for `call` and `halt` and one for `return`.

        Raises:
            ParseError: the candidate is no block.
        """
        return self.function.reference.run(given), run_block(candidate, given, max_cycles=self._limit + 3)


def judge(
    program: Function,
    candidates: Sequence[Candidate],
    *,
    seed: int = 0,
    tests: int = TESTS,
    confirm: Confirm = "best",
    counterexamples: Sequence[Input] = (),
    max_cycles: int | None = None,
) -> Verdicts:
    """Judge candidates for a program: are they right, and what do they cost?

    Whoever judges more than once for a program makes a `Judge`, which draws its tests once and learns from what it sees.

    Args and errors: those of `Judge` and `Judge.judge`.
    """
    own = Judge(program, seed=seed, tests=tests, counterexamples=counterexamples, max_cycles=max_cycles)
    return own.judge(candidates, confirm=confirm)


def run_block(candidate: Candidate, given: Input, *, max_cycles: int) -> Outcome:
    """Run a block as the judge does, on the machine that counts everything: `call`, `halt`, the block, `return`.

    Raises:
        ParseError: the candidate is no block.
    """
    if isinstance(candidate, str):
        lines = candidate.splitlines()
    else:
        lines = str(candidate).splitlines() if isinstance(candidate, Program) else list(candidate)
    return run(job_of(lines), **arguments_of(given), max_cycles=max_cycles)


def uniform(given: Input, rng: np.random.Generator) -> Input:
    """The same input with every word of the stack drawn from the whole field."""

    def words(count: int) -> tuple[int, ...]:
        return tuple(rng.integers(0, P, count, dtype=np.uint64).tolist())

    return replace(given, arguments=words(len(given.arguments)), below=words(len(given.below)))


def _few_booleans(types: Sequence[str]) -> bool:
    """Are there arguments, all Booleans, so few that every combination is tried?"""
    return 0 < len(types) <= _EXHAUSTED and all(kind == "bool" for kind in types)


def _combinations(given: Sequence[Input], types: Sequence[str]) -> list[Input]:
    """An input for every combination of arguments, where all are Booleans and few."""
    if not _few_booleans(types):
        return []
    return [
        replace(given[k % len(given)], arguments=bits)
        for k, bits in enumerate(product((0, 1), repeat=len(types)))
    ]
