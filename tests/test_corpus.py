"""The corpus: every function against its plain-Python reference, its size, and the split into families."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import numpy as np
import pytest

from corpus_references import REFERENCES
from ostinato import UsageError, judge, tir, triton
from ostinato.judge import Function, Input
from ostinato.judge.drawing import draw
from ostinato.judge.references import arguments_of, job_of

P = 2**64 - 2**32 + 1
CORPUS = tir.corpus()


@cache
def function_of(name: str) -> Function:
    return judge.of_tir(CORPUS[name])


def by_reference(name: str, given: Input) -> tuple[Any, ...]:
    """(results, RAM that is not 0, output, what was read), or ("fails",)."""
    reference = REFERENCES[name]
    every: dict[str, Any] = {
        "ram": dict(given.ram),
        "secret": list(given.secret),
        "public": list(given.public),
        "digests": [list(digest) for digest in given.digests],
        "output": [],
    }
    wanted = {key: value for key, value in every.items() if key in inspect.signature(reference).parameters}
    try:
        results = reference(*given.arguments, **wanted)
    except (AssertionError, IndexError):
        return ("fails",)
    ram = {address: word for address, word in every["ram"].items() if word}
    used = len(given.public) - len(every["public"]), len(given.secret) - len(every["secret"]), len(given.digests) - len(every["digests"])  # fmt: skip
    return results, ram, tuple(every["output"]), used


def by_tir(name: str, given: Input) -> tuple[Any, ...]:
    left = tir.interpret(CORPUS[name], **arguments_of(given))
    if left.error is not None:
        return ("fails",)
    assert left.stack[: len(given.below)] == given.below
    ram = {address: word for address, word in left.ram.items() if word}
    return (
        left.stack[len(given.below) :],
        ram,
        left.output,
        (left.public_used, left.secret_used, left.digests_used),
    )


def by_lowering(name: str, given: Input) -> tuple[Any, ...]:
    left = triton.run(job_of(function_of(name).baseline), **arguments_of(given))
    if not left.ok:
        return ("fails",)
    ram = {address: word for address, word in left.ram.items() if word}
    used = len(given.public) - left.public_left, len(given.secret) - left.secret_left, len(given.digests) - left.digests_left  # fmt: skip
    return tuple(left.final_stack[::-1][16 + len(given.below) :]), ram, left.output, used


@pytest.mark.parametrize("name", CORPUS)
def test_a_function_does_what_its_reference_does(name: str) -> None:
    rng = np.random.default_rng(7)
    passed = 0
    for given, _ in draw(function_of(name).reference, 40, rng):
        expected = by_reference(name, given)
        assert by_tir(name, given) == expected
        assert by_lowering(name, given) == expected
        passed += expected != ("fails",)
    assert passed > 0


def test_each_function_is_described_named_typed_and_of_a_size() -> None:
    assert len(CORPUS) >= 60
    assert set(CORPUS) == set(REFERENCES)
    for name, program in CORPUS.items():
        assert program.description.endswith((".", "?")), name
        assert len({value.name for value in program.arguments}) == len(program.arguments), name
        assert 5 <= sum(not line.endswith(":") for line in tir.lower(program)) <= 80, name


def test_no_two_functions_ask_the_same() -> None:
    assert len({tir.cid(program) for program in CORPUS.values()}) == len(CORPUS)


def test_the_families_are_split_once_and_for_all() -> None:
    assert set(tir.TRAINING) & set(tir.HELD_OUT) == set()
    assert set(tir.TRAINING) | set(tir.HELD_OUT) == set(tir.FAMILIES)
    assert sum(len(tir.family(name)) for name in tir.FAMILIES) == len(CORPUS)
    assert min(len(tir.family(name)) for name in tir.FAMILIES) >= 5
    assert list(tir.corpus(("field",))) == [program.name for program in tir.family("field")]
    with pytest.raises(UsageError, match="expected a family"):
        tir.family("nothing")


def test_texts_of_the_corpus_come_back() -> None:
    for program in CORPUS.values():
        assert tir.parse(tir.format(program)) == program
        assert tir.to_bytes(tir.from_bytes(tir.to_bytes(program))) == tir.to_bytes(program)


@pytest.mark.slow
def test_every_baseline_passes_the_judge() -> None:
    for name in CORPUS:
        own = judge.Judge(function_of(name), tests=16)
        assert own.judge([own.function.baseline], confirm="none")[0].clock_cycles == own.baseline_cycles
