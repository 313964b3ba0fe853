"""Triton VM as a target of online learning.

Rule of this file: no special case for a program. What edits put in follows from the table of instructions, and from the
effects and the constants that a program's baseline has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ostinato import tir
from ostinato.errors import UsageError
from ostinato.files import replace_file
from ostinato.goldilocks import P
from ostinato.judge import Function, Judge, Reason, Reference, load_programs, of_tasm, of_tir, save_programs
from ostinato.judge.code import Code, assemble, code_for, token_of
from ostinato.judge.drawing import draw
from ostinato.judge.references import TirReference
from ostinato.judge.suite import Suite
from ostinato.online.target import Confirm, Features, Judged, Task
from ostinato.triton.isa import BY_NAME, BY_OPCODE, COUNTS, INSTRUCTIONS, REGISTERS, Instruction
from ostinato.triton.machine import code_of
from ostinato.triton.parsing import ParseError
from ostinato.vocabulary import Vocabulary

_LEAVES = ("halt", "call", "return", "recurse", "recurse_or_return")  # no straight line goes on behind these
_EFFECTS = (("read_io",), ("write_io",), ("divine",), ("sponge",), ("merkle",), ("mem", "dot_step"))
_COMMON = (0, 1, P - 1, 2, 2**32)
_DERIVED = 48  # constants of a program, made of its own
_OWN, _FAR = 4.0, 0.25  # weight of a constant that the baseline has, and of one made of those
_RULE_CYCLES = 10_000
_GUARDED = 3  # functions of each held-out family that policies are compared on
_COMPARES = frozenset(
    [
        "eq",
        "lt",
        "and",
        "xor",
        "div_mod",
        "pow",
        "pop_count",
        "log_2_floor",
        "merkle_step",
        "merkle_step_mem",
        "skiz",
        "assert",
        "assert_vector",
        "invert",
        "split",
    ]
)
_RULE_TESTS = (2, 48)  # few first: most rules are plainly wrong


class TritonTarget:
    """The functions of a programs file, each with a judge that is made when it is first needed.

    Args:
        functions: what to search for. seed: of the judges' inputs.

    Cost: some ms; a judge 0.1 s, and 0.1 to 0.5 s when something is first better than the baseline.
    """

    name = "triton"
    failures = tuple(reason.name.lower() for reason in Reason)

    def __init__(self, functions: Sequence[Function], seed: int = 0) -> None:
        self.functions = list(functions)
        self.seed = seed
        self._judges: dict[int, Judge] = {}
        self._code = [assemble(list(function.baseline)) for function in functions]
        self._constants = [_constants(code) for code in self._code]
        constants = sorted(set().union(set(_COMMON), *self._constants))
        self.vocabulary = Vocabulary(_words(constants), unknown="add")
        for function in functions:  # a baseline may have words of its own
            self.vocabulary.ids(function.baseline)
        tokens = [token_of(word) or (BY_NAME["halt"].opcode, 0) for word in self.vocabulary]
        self._ops = np.array([opcode for opcode, _ in tokens], np.uint8)
        self._args = np.array([argument for _, argument in tokens], np.uint64)
        self.features = _features(tokens)
        self.programs = [self._task(i) for i in range(len(self.functions))]

    def _task(self, i: int) -> Task:
        function = self.functions[i]
        depth = max(len(function.types), _reach(self._code[i]))
        # straight-line code takes a cycle an instruction; a judge says better where it jumps
        return Task(
            function.name,
            function.tir_hash,
            function.baseline,
            len(self._code[i]),
            _family(function.name),
            depth,
        )

    def judge_of(self, program: int) -> Judge:
        """The judge of a program."""
        if program not in self._judges:
            self._judges[program] = Judge(self.functions[program], seed=self.seed)
        return self._judges[program]

    def judge(
        self, program: int, tokens: NDArray[np.int32], offsets: NDArray[np.int64], confirm: Confirm = "best"
    ) -> Judged:
        """As `Target.judge`. Cost: about 0.5 us for a candidate that fails, 10 us and more for one that is valid."""
        found = self.judge_of(program).judge_code(self._assembled(tokens, offsets), confirm=confirm)
        return Judged(found.valid, found.clock_cycles.filled(0), found.reason)

    def _assembled(self, tokens: NDArray[np.int32], offsets: NDArray[np.int64]) -> Code:
        from ostinato.targets.triton_kernels import place

        starts = offsets + 2 * np.arange(len(offsets))
        ops, args = np.empty(starts[-1], np.uint8), np.empty(starts[-1], np.uint64)
        place(
            tokens,
            offsets,
            self._ops,
            self._args,
            BY_NAME["return"].opcode,
            BY_NAME["halt"].opcode,
            ops,
            args,
        )
        return Code(*code_of(ops, args), starts, {})

    def alphabet(self, program: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """As `Target.alphabet`: instructions alike, arguments alike within each; effects only as the baseline has them."""
        own = {argument for _, argument in self._code[program]}
        names = " ".join(BY_OPCODE[opcode].name for opcode, _ in self._code[program])
        banned = [part for parts in _EFFECTS if not any(part in names for part in parts) for part in parts]
        rows = [row for row in INSTRUCTIONS if row.name not in _LEAVES and row.name not in ("nop",)]
        rows = [row for row in rows if not any(part in row.name for part in banned)]
        tokens, weights = [], []
        for row in rows:
            arguments = list(_arguments(row, self._constants[program]))
            share = np.array([_OWN if a in own or a in _COMMON else _FAR for a in arguments])
            if row.argument != "word":
                share[:] = 1.0
            tokens += self.vocabulary.ids([_line(row, a) for a in arguments])
            weights += (share / share.sum()).tolist()
        return np.array(tokens, np.int32), np.array(weights)

    def check_rule(self, before: Sequence[str], after: Sequence[str]) -> int | None:
        """As `Target.check_rule`: both as blocks of their own, with as many arguments of any value as they reach.

        Cost: 2 ms if it is plainly wrong, else 10 ms; 50 ms where it compares words.
        """
        try:
            code = code_for([list(before), list(after)])
            depth = max(_reach(assemble(list(side))) for side in (before, after))
            block = of_tasm("rule", list(before), ["any"] * depth, tir_hash=bytes(32))
            reference = block.reference
            if code.errors or not self._same(code, reference, _RULE_TESTS[0]):
                return None
            if not _COMPARES.isdisjoint(reference.operations()):  # drawn inputs may take one way only
                if not Judge(block, seed=self.seed).judge([list(after)], confirm="none").valid[0]:
                    return None
            elif not self._same(code, reference, _RULE_TESTS[1]):
                return None
        except (ParseError, UsageError):
            return None
        return len(code.tokens(0)) - len(code.tokens(1))

    def _same(self, code: Code, reference: Reference, tests: int) -> bool:
        """Are both candidates right on so many inputs?"""
        suite = Suite(draw(reference, tests, np.random.default_rng(self.seed)))
        return not suite.run(code, _RULE_CYCLES).reasons.any()


def is_straight(function: Function) -> bool:
    """Is its baseline a straight line of instructions? Nothing else is searched for."""
    return all(token_of(line) is not None for line in function.baseline)


def keep(functions: Sequence[Function], folder: str | Path) -> None:
    """Write what is searched for into a run's folder, so that `load` finds it: `programs.json`, and `programs.tir` for those in TIR."""
    in_tir = [one.reference.program for one in functions if isinstance(one.reference, TirReference)]
    others = [one for one in functions if not isinstance(one.reference, TirReference)]
    save_programs(Path(folder) / "programs.json", others)
    with replace_file(Path(folder) / "programs.tir") as file:
        file.write("\n\n".join(map(str, in_tir)).encode())


def functions_in(folder: str | Path) -> list[Function]:
    """What `keep` wrote.

    Raises:
        DamageError: it is damaged. FileNotFoundError: there is nothing.
    """
    found = load_programs(Path(folder) / "programs.json")
    text = (Path(folder) / "programs.tir").read_text(encoding="utf-8")
    return found + [of_tir(program) for program in tir.parse_many(text)]


def held_out(folder: str) -> TritonTarget:
    """Straight-line functions of the corpus's held-out families, spread over them, without those of a run: for its guard."""
    own = {function.tir_hash for function in functions_in(folder)}
    chosen: list[Function] = []
    for family in tir.HELD_OUT:
        functions = [of_tir(program) for program in tir.family(family)]
        usable = [one for one in functions if is_straight(one) and one.tir_hash not in own]
        chosen += usable[:: max(1, len(usable) // _GUARDED)][:_GUARDED]
    return TritonTarget(chosen)


def load(folder: str) -> TritonTarget:
    """The target of a run's folder."""
    return TritonTarget(functions_in(folder))


def _arguments(row: Instruction, constants: Sequence[int]) -> Sequence[int | None]:
    if row.argument == "word":
        return [c for c in constants if row.name == "push" or c != 0]
    if row.argument == "register":
        return [r for r in REGISTERS if r or row.name == "dup"]
    return list(COUNTS) if row.argument == "count" else [None]


def _line(row: Instruction, argument: int | None) -> str:
    if argument is None:
        return row.name
    return f"{row.name} {-1 if argument == P - 1 else argument}"


def _words(constants: Sequence[int]) -> Iterator[str]:
    for row in INSTRUCTIONS:
        if row.argument != "label":
            yield from (_line(row, argument) for argument in _arguments(row, constants))


def _family(name: str) -> str:
    return name.split("_", maxsplit=1)[0].rstrip("0123456789")


def _constants(code: Sequence[tuple[int, int]]) -> list[int]:
    """The words that code pushes or adds, and what one operation makes of them."""
    own = list(dict.fromkeys([*(a for op, a in code if BY_OPCODE[op].argument == "word"), *_COMMON]))
    made = [f(a) for a in own for f in (lambda a: -a, lambda a: pow(a, P - 2, P) if a else 0)]
    made += [f(a, b) for a in own for b in own for f in (int.__add__, int.__sub__, int.__mul__)]
    pows = [1 << a for a in own if a < 64]
    counts = [len({op for op, _ in code}), len(code)]
    small = [*range(1, max(counts) + 1)]
    return list(dict.fromkeys([*own, *small[:16], *(m % P for m in made + pows)]))[: len(own) + 16 + _DERIVED]


def _features(tokens: Sequence[tuple[int, int]]) -> Features:
    rows = [(BY_OPCODE[opcode], argument) for opcode, argument in tokens]
    return Features(
        kind=np.array([opcode for opcode, _ in tokens], np.int32),
        change=np.array([row.depth_change(argument) for row, argument in rows], np.int32),
        need=np.array([row.reach(argument) for row, argument in rows], np.int32),
        register=np.array(
            [argument if row.argument == "register" else -1 for row, argument in rows], np.int32
        ),
        skips=np.array([row.name == "skiz" for row, _ in rows], np.int32),
        wired=np.array([_sources(row.name, argument) is not None for row, argument in rows], np.int32),
        source=_padded([_sources(row.name, argument) or [] for row, argument in rows]),
    )


def _sources(name: str, n: int) -> list[int] | None:
    """For each word that a stack instruction leaves, the top first, which it was; None for all others."""
    if name == "dup":
        return [n, *range(n + 1)]
    if name == "swap":
        return [n, *range(1, n), 0] if n else [0]
    if name == "pick":
        return [n, *range(n)]
    if name == "place":
        return [*range(1, n + 1), 0]
    return [] if name == "pop" else None


def _padded(lists: Sequence[Sequence[int]]) -> NDArray[np.int32]:
    out = np.zeros((len(lists), len(REGISTERS) + 1), np.int32)
    for i, own in enumerate(lists):
        out[i, : len(own)] = own
    return out.reshape(-1)


def _reach(code: Sequence[tuple[int, int]]) -> int:
    """Words of the stack that a straight line touches."""
    depth = reach = 0
    for opcode, argument in code:
        row = BY_OPCODE[opcode]
        reach = max(reach, row.reach(argument) - depth)
        depth += row.depth_change(argument)
    return reach
