"""Hypothesis strategies that make build results as nasty as the type allows."""

from __future__ import annotations

from hypothesis import strategies as st

from ostinato.result import HASH_BYTES, U32_END, U64_END, BuildResult
from ostinato.results import Results

_U64 = st.one_of(st.integers(0, 20), st.integers(0, U64_END - 1), st.just(U64_END - 1))


def instructions() -> st.SearchStrategy[str]:
    """Any text an instruction can be, around all lengths at which an archive changes form."""
    real = st.sampled_from(
        ["add", "push 1", "swap 15", "abcdefgh", "sponge_init", "push 18446744069414584320"]
    )
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    long = st.builds(
        lambda c, n: c * n, st.sampled_from("aé日😀\0"), st.sampled_from([7, 8, 9, 63, 64, 65, 256])
    )
    return st.one_of(real, text, long)


def build_results(*, programs: int = 4, max_instructions: int = 8) -> st.SearchStrategy[BuildResult]:
    """Build results of a few programs, every field over its whole range."""
    hashes = [bytes([i]) * HASH_BYTES for i in range(programs)]
    return st.builds(
        BuildResult,
        tir_hash=st.one_of(st.sampled_from(hashes), st.binary(min_size=HASH_BYTES, max_size=HASH_BYTES)),
        generated_tasm=st.lists(instructions(), max_size=max_instructions),
        valid=st.booleans(),
        clock_cycles=st.one_of(st.none(), _U64),
        compiler_cycles=_U64,
        fallback_used=st.booleans(),
        timestamp=_U64,
        model_version=st.one_of(st.integers(0, 5), st.integers(0, U32_END - 1)),
    )


def results(*, max_size: int = 20) -> st.SearchStrategy[Results]:
    """Results of any build results."""
    return st.lists(build_results(), max_size=max_size).map(lambda records: Results.concat([records]))
