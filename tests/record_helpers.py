"""What the tests of records share: one plain record, strategies, the golden files, errors as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from ostinato import BuildResult, Results, Vocabulary, archive

GOLDEN = Path(__file__).parent / "golden" / "archives"
GOLDEN_JSONL = sorted(GOLDEN.glob("*.jsonl"))
U64 = 2**64
U32 = 2**32

# kernels compile on first call, so that no single example can be held to a deadline
few = settings(max_examples=20, deadline=None)
more = settings(max_examples=80, deadline=None)

PLAIN: dict[str, Any] = {
    "tir_hash": bytes(range(32)),
    "generated_tasm": ("push 1", "add"),
    "valid": True,
    "clock_cycles": 5,
    "compiler_cycles": 10,
    "fallback_used": False,
    "timestamp": 1_700_000_000,
    "model_version": 3,
}


def record(**changes: Any) -> BuildResult:
    return BuildResult(**{**PLAIN, **changes})


def complaint(error: type[Exception], function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """The message of the error that this call raises."""
    with pytest.raises(error) as caught:
        function(*args, **kwargs)
    return str(caught.value)


def golden_lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
words = (
    st.sampled_from(["", "add", "push 1", "x_invert", "push 18446744069414584320", "é", "\0", "a\nb"]) | texts
)
u64s = (
    st.sampled_from([0, 1, 2, 2**53, 2**53 + 1, 2**63, U64 - 1])
    | st.integers(0, 100)
    | st.integers(0, U64 - 1)
)
hashes = st.sampled_from([bytes(32), bytes(31) + b"\1", b"\xff" * 32]) | st.binary(min_size=32, max_size=32)
records = st.builds(
    BuildResult,
    tir_hash=hashes,
    generated_tasm=st.lists(words, max_size=5),
    valid=st.booleans(),
    clock_cycles=st.none() | u64s,
    compiler_cycles=u64s,
    fallback_used=st.booleans(),
    timestamp=u64s,
    model_version=st.integers(0, 3) | st.integers(0, U32 - 1),
)
record_lists = st.lists(records, max_size=8)


def from_list(given: Sequence[BuildResult]) -> Results:
    return Results.concat([given])


def from_archive(given: Sequence[BuildResult]) -> Results:
    return archive.loads(archive.dumps(given))


def columns_of(given: Sequence[BuildResult], vocabulary: Vocabulary | None = None) -> dict[str, Any]:
    """The arguments of Results.from_columns that say the same as these records."""
    vocabulary = Vocabulary() if vocabulary is None else vocabulary
    ends = np.cumsum([0] + [len(r.generated_tasm) for r in given])
    return {
        "tir_hash": np.frombuffer(b"".join(r.tir_hash for r in given), np.uint8).reshape(-1, 32),
        "tokens": np.array(vocabulary.ids([w for r in given for w in r.generated_tasm]), np.int32),
        "offsets": ends,
        "vocabulary": vocabulary,
        "valid": np.array([r.valid for r in given], bool),
        "clock_cycles": np.ma.MaskedArray(
            np.array([r.clock_cycles or 0 for r in given], np.uint64),
            mask=np.array([r.clock_cycles is None for r in given], bool),
        ),
        "compiler_cycles": np.array([r.compiler_cycles for r in given], np.uint64),
        "fallback_used": np.array([r.fallback_used for r in given], bool),
        "timestamp": np.array([r.timestamp for r in given], np.uint64),
        "model_version": np.array([r.model_version for r in given], np.uint32),
    }


def from_columns(given: Sequence[BuildResult]) -> Results:
    return Results.from_columns(**columns_of(given))


WAYS: dict[str, Callable[[Sequence[BuildResult]], Results]] = {
    "list": from_list,
    "archive": from_archive,
    "columns": from_columns,
}
every_way = pytest.mark.parametrize("results_of", WAYS.values(), ids=WAYS.keys())
