"""Results: columns, indexing and joining against plain lists of BuildResults."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato import BuildResult, Results, UsageError, Vocabulary
from record_helpers import (
    U64,
    WAYS,
    columns_of,
    complaint,
    every_way,
    few,
    from_archive,
    from_columns,
    from_list,
    record,
    record_lists,
)

Way = Callable[[Sequence[BuildResult]], Results]

FIVE = [
    record(timestamp=0, generated_tasm=["push 1", "a word of more than eight bytes"]),
    record(timestamp=1, clock_cycles=None, valid=False, generated_tasm=[]),
    record(timestamp=2, clock_cycles=U64 - 1, generated_tasm=["add"], tir_hash=b"\xff" * 32),
    record(timestamp=3, fallback_used=True, generated_tasm=["push 1", "push 1"]),
    record(timestamp=4, compiler_cycles=0, model_version=2**32 - 1, generated_tasm=["é", ""]),
]

# name, dtype, what it is of a record
NUMBERS: list[tuple[str, Any, Callable[[BuildResult], Any]]] = [
    ("valid", np.bool_, lambda r: r.valid),
    ("measured", np.bool_, lambda r: r.clock_cycles is not None),
    ("compiler_cycles", np.uint64, lambda r: r.compiler_cycles),
    ("fallback_used", np.bool_, lambda r: r.fallback_used),
    ("timestamp", np.uint64, lambda r: r.timestamp),
    ("model_version", np.uint32, lambda r: r.model_version),
]
every_number = pytest.mark.parametrize(("name", "dtype", "of"), NUMBERS, ids=[n for n, _, _ in NUMBERS])
COLUMNS = ["tir_hash", "instruction_counts", "clock_cycles", *(name for name, _, _ in NUMBERS)]


# Columns


@every_way
@every_number
@few
@given(given_records=record_lists)
def test_a_column_is_what_the_records_have(
    results_of: Way, name: str, dtype: Any, of: Callable[..., Any], given_records: list[BuildResult]
):
    column = getattr(results_of(given_records), name)
    assert (column.dtype, column.tolist()) == (np.dtype(dtype), [of(r) for r in given_records])


@every_way
@few
@given(given_records=record_lists)
def test_the_hashes_are_rows_of_32_bytes(results_of: Way, given_records: list[BuildResult]):
    column = results_of(given_records).tir_hash
    assert (column.shape, column.dtype, column.tobytes()) == (
        (len(given_records), 32),
        np.uint8,
        b"".join(r.tir_hash for r in given_records),
    )


@every_way
@few
@given(given_records=record_lists)
def test_clock_cycles_are_masked_where_there_are_none(results_of: Way, given_records: list[BuildResult]):
    column = results_of(given_records).clock_cycles
    assert (column.dtype, column.tolist()) == (np.uint64, [r.clock_cycles for r in given_records])


@every_way
@few
@given(given_records=record_lists)
def test_instruction_counts_are_the_lengths_of_the_lists(results_of: Way, given_records: list[BuildResult]):
    counts = results_of(given_records).instruction_counts
    assert counts.tolist() == [len(r.generated_tasm) for r in given_records]


@every_way
@few
@given(given_records=record_lists)
def test_the_instructions_are_those_of_the_records(results_of: Way, given_records: list[BuildResult]):
    assert list(results_of(given_records).generated_tasm) == [r.generated_tasm for r in given_records]


@every_way
@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_is_read_only(results_of: Way, name: str):
    assert not getattr(results_of(FIVE), name).flags.writeable


@every_way
def test_a_masked_cost_cannot_be_set(results_of: Way):
    with pytest.raises(ValueError, match="read-only"):
        results_of(FIVE).clock_cycles[1] = 7


@every_way
def test_masking_a_cost_in_one_view_leaves_the_results_alone(results_of: Way):
    results = results_of(FIVE)
    results.clock_cycles[0] = np.ma.masked
    assert results[0] == FIVE[0]


def test_the_columns_of_from_columns_do_not_follow_their_source():
    columns = columns_of(FIVE)
    results = Results.from_columns(**columns)
    columns["tokens"][:] = 0
    columns["offsets"][1:-1] = 0
    columns["timestamp"][:] = 0
    assert results.to_list() == FIVE


# One by one


@every_way
@few
@given(given_records=record_lists)
def test_iteration_gives_the_records(results_of: Way, given_records: list[BuildResult]):
    assert list(results_of(given_records)) == given_records


@every_way
@few
@given(given_records=record_lists)
def test_each_index_gives_its_record(results_of: Way, given_records: list[BuildResult]):
    results = results_of(given_records)
    n = len(given_records)
    assert [results[i] for i in range(-n, n)] == given_records + given_records


@every_way
def test_iteration_crosses_its_chunks(results_of: Way):
    many = [record(timestamp=i, generated_tasm=[str(i)] * (i % 3)) for i in range(4100)]
    assert list(results_of(many)) == many


@every_way
def test_what_comes_out_has_plain_types(results_of: Way):
    kinds = [type(value) for value in results_of(FIVE)[0].to_dict().values()]
    assert kinds == [str, list, bool, int, int, bool, int, int]


@every_way
def test_what_iteration_gives_has_plain_types(results_of: Way):
    one = next(iter(results_of(FIVE)))
    kinds = [type(getattr(one, name)) for name in one.to_dict()]
    assert kinds == [bytes, tuple, bool, int, int, bool, int, int]


@every_way
@pytest.mark.parametrize("index", [5, -6, 2**40])
def test_an_index_out_of_range_is_an_index_error(results_of: Way, index: int):
    assert complaint(IndexError, results_of(FIVE).__getitem__, index) == f"result {index} of 5"


@every_way
def test_a_numpy_int_is_an_index(results_of: Way):
    assert results_of(FIVE)[np.int64(-2)] == FIVE[-2]


@every_way
@pytest.mark.parametrize("index", [1.0, True, None, "1", np.zeros((1, 1), int), [0.5], np.array(1)])
def test_what_is_no_index_is_a_usage_error(results_of: Way, index: Any):
    message = complaint(UsageError, results_of(FIVE).__getitem__, index)
    assert message.startswith("expected an int, a slice or ints or bools of one dimension, got ")


# Many at once

edges = st.none() | st.integers(-10, 10)
slices = st.builds(slice, edges, edges, st.none() | st.integers(-3, 3).filter(bool))


@every_way
@few
@given(part=slices)
def test_a_slice_is_the_slice_of_the_list(results_of: Way, part: slice):
    assert results_of(FIVE)[part].to_list() == FIVE[part]


@every_way
@few
@given(first=slices, second=slices)
def test_a_slice_of_a_slice_is_one_too(results_of: Way, first: slice, second: slice):
    assert results_of(FIVE)[first][second].to_list() == FIVE[first][second]


@every_way
@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int64, "list"])
@few
@given(index=st.lists(st.integers(-5, 4), max_size=7))
def test_ints_pick_as_from_the_list(results_of: Way, dtype: Any, index: list[int]):
    picked = results_of(FIVE)[index if dtype == "list" else np.array(index, dtype)]
    assert picked.to_list() == [FIVE[i] for i in index]


@every_way
@pytest.mark.parametrize("dtype", [np.uint8, np.uint64])
def test_unsigned_ints_pick_too(results_of: Way, dtype: Any):
    assert results_of(FIVE)[np.array([4, 0, 4], dtype)].to_list() == [FIVE[4], FIVE[0], FIVE[4]]


@every_way
def test_small_negative_ints_pick_from_many(results_of: Way):
    many = [record(timestamp=i, generated_tasm=[str(i)]) for i in range(300)]
    picked = results_of(many)[np.array([-1, -128, 127], np.int8)]
    assert picked.to_list() == [many[-1], many[-128], many[127]]


@every_way
@pytest.mark.parametrize("kind", [list, np.array])
@few
@given(index=st.lists(st.booleans(), min_size=5, max_size=5))
def test_bools_keep_as_from_the_list(results_of: Way, kind: Any, index: list[bool]):
    kept = results_of(FIVE)[kind(index)]
    assert kept.to_list() == [r for r, keep in zip(FIVE, index, strict=True) if keep]


@every_way
@few
@given(first=st.lists(st.integers(-5, 4), min_size=1, max_size=7), data=st.data())
def test_ints_of_ints_pick_as_from_the_list(results_of: Way, first: list[int], data: st.DataObject):
    second = data.draw(st.lists(st.integers(-len(first), len(first) - 1), max_size=5))
    picked = results_of(FIVE)[np.array(first)][np.array(second, np.int64)]
    assert picked.to_list() == [[FIVE[i] for i in first][j] for j in second]


@every_way
@pytest.mark.parametrize("index", [[5], [0, -6], [2**40]])
def test_an_int_out_of_range_among_many_is_an_index_error(results_of: Way, index: list[int]):
    with pytest.raises(IndexError):
        results_of(FIVE)[index]


@every_way
@pytest.mark.parametrize("count", [1, 4, 6])
def test_bools_of_another_length_are_refused(results_of: Way, count: int):
    message = complaint(UsageError, results_of(FIVE).__getitem__, [True] * count)
    assert message == f"expected bool[5], got bool[{count}]"


@every_way
def test_a_part_is_read_only(results_of: Way):
    assert not results_of(FIVE)[[0, 1]].timestamp.flags.writeable


def test_a_slice_copies_no_column():
    results = from_list(FIVE)
    assert np.shares_memory(results[1:].timestamp, results.timestamp)


# The instructions as a sequence


@every_way
def test_text_has_a_length(results_of: Way):
    assert len(results_of(FIVE).generated_tasm) == 5


@every_way
@pytest.mark.parametrize("i", range(-5, 5))
def test_text_of_one_result_is_a_tuple(results_of: Way, i: int):
    assert results_of(FIVE).generated_tasm[i] == FIVE[i].generated_tasm


@every_way
@pytest.mark.parametrize("i", [5, -6])
def test_text_ends_where_the_results_end(results_of: Way, i: int):
    with pytest.raises(IndexError):
        results_of(FIVE).generated_tasm[i]


@every_way
@few
@given(part=slices)
def test_a_slice_of_text_is_the_slice_of_the_lists(results_of: Way, part: slice):
    assert list(results_of(FIVE).generated_tasm[part]) == [r.generated_tasm for r in FIVE][part]


@every_way
def test_text_goes_backwards(results_of: Way):
    assert list(reversed(results_of(FIVE).generated_tasm)) == [r.generated_tasm for r in reversed(FIVE)]


@every_way
def test_text_finds_a_list(results_of: Way):
    assert results_of(FIVE).generated_tasm.index(("add",)) == 2


@every_way
def test_text_counts_a_list(results_of: Way):
    assert results_of(FIVE + FIVE).generated_tasm.count(("add",)) == 2


@every_way
def test_text_has_no_list_that_is_not_there(results_of: Way):
    assert ("add", "add") not in results_of(FIVE).generated_tasm


# Joining

parts = st.lists(st.tuples(st.sampled_from(["one by one", *WAYS]), record_lists), max_size=5)


def _joined(pieces: list[tuple[str, list[BuildResult]]]) -> Results:
    given_parts: list[Any] = []
    for way, given_records in pieces:
        given_parts += given_records if way == "one by one" else [WAYS[way](given_records)]
    return Results.concat(given_parts)


@few
@given(parts)
def test_concat_puts_any_mixture_in_order(pieces: list[tuple[str, list[BuildResult]]]):
    assert _joined(pieces).to_list() == [r for _, given_records in pieces for r in given_records]


@few
@given(parts, record_lists)
def test_concat_of_a_concat_is_in_order_too(
    pieces: list[tuple[str, list[BuildResult]]], last: list[BuildResult]
):
    twice = Results.concat([_joined(pieces), iter(last)])
    assert twice.to_list() == [r for _, given_records in pieces for r in given_records] + last


@pytest.mark.parametrize("pieces", [[], [[]], [[], []], [from_archive([]), from_columns([])]])
def test_concat_of_nothing_is_empty(pieces: list[Any]):
    assert Results.concat(pieces).to_list() == []


def test_concat_takes_generators():
    assert Results.concat(r for r in FIVE).to_list() == FIVE


@every_way
def test_concat_of_parts_of_one_archive_puts_it_together_again(results_of: Way):
    results = results_of(FIVE)
    assert Results.concat([results[3:], results[[1, 0]], results[2]]).to_list() == [
        FIVE[3],
        FIVE[4],
        FIVE[1],
        FIVE[0],
        FIVE[2],
    ]


@every_way
def test_the_columns_of_a_concat_are_read_only(results_of: Way):
    joined = Results.concat([results_of(FIVE), FIVE[0]])
    assert [name for name in COLUMNS if getattr(joined, name).flags.writeable] == []


@pytest.mark.parametrize("wrong", [None, "add", {"tir_hash": ""}])
def test_concat_names_what_is_no_record(wrong: Any):
    message = complaint(UsageError, Results.concat, [[FIVE[0], wrong]])
    assert message == f"expected BuildResults, got {type(wrong).__name__} - at `results[1]`"


# Equality


@pytest.mark.parametrize("first", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("second", WAYS.values(), ids=WAYS.keys())
def test_results_are_equal_however_they_are_kept(first: Way, second: Way):
    assert first(FIVE) == second(FIVE)


@every_way
def test_one_other_record_makes_other_results(results_of: Way):
    assert results_of(FIVE) != results_of([*FIVE[:-1], FIVE[0]])


@every_way
def test_fewer_records_make_other_results(results_of: Way):
    assert results_of(FIVE) != results_of(FIVE[:-1])


def test_results_are_not_a_list():
    assert from_list(FIVE) != FIVE


def test_results_have_no_hash():
    with pytest.raises(TypeError, match="unhashable"):
        hash(from_list(FIVE))


def test_the_repr_says_how_many():
    assert repr(from_list(FIVE * 400)) == "Results(2,000 build results)"


# Tokens


@every_way
@few
@given(given_records=record_lists)
def test_tokens_are_the_words(results_of: Way, given_records: list[BuildResult]):
    vocabulary = Vocabulary(["halt"])
    flat, offsets = results_of(given_records).tokens(vocabulary)
    read = [
        tuple(vocabulary.word(t) for t in flat[a:b].tolist()) for a, b in itertools.pairwise(offsets.tolist())
    ]
    assert read == [r.generated_tasm for r in given_records]


@every_way
@pytest.mark.parametrize("given_records", [[], FIVE], ids=["none", "five"])
def test_tokens_are_int32_and_offsets_int64(results_of: Way, given_records: list[BuildResult]):
    flat, offsets = results_of(given_records).tokens(Vocabulary())
    assert (flat.dtype, offsets.dtype, len(offsets)) == (np.int32, np.int64, len(given_records) + 1)


@every_way
def test_tokens_of_a_part_are_those_of_its_records(results_of: Way):
    vocabulary = Vocabulary(["push 1", "a word of more than eight bytes", "add", "é", ""])
    flat, offsets = results_of(FIVE)[[3, 1, 0]].tokens(vocabulary)
    assert (flat.tolist(), offsets.tolist()) == ([0, 0, 0, 1], [0, 2, 2, 4])


@pytest.mark.parametrize("part", [slice(None), slice(1, 4), slice(None, None, -1), np.array([3, 0])])
def test_tokens_in_the_own_vocabulary_are_those_of_the_part(part: Any):
    columns = columns_of(FIVE)
    flat, _ = Results.from_columns(**columns)[part].tokens(columns["vocabulary"])
    assert flat.tolist() == from_list(FIVE)[part].tokens(columns["vocabulary"])[0].tolist()


@pytest.mark.parametrize("array", [0, 1], ids=["flat", "offsets"])
def test_nobody_changes_results_through_their_tokens(array: int):
    columns = columns_of(FIVE)
    results = Results.from_columns(**columns)
    given_away = results.tokens(columns["vocabulary"])[array]
    if given_away.flags.writeable:  # a copy may be written to, a view may not
        given_away[:] = 0
    assert results.to_list() == FIVE


# From columns


def _with(**changes: Any) -> Callable[[], Results]:
    return lambda: Results.from_columns(**{**columns_of(FIVE), **changes})


TOKENS_OF_FIVE = 7
WRONG: list[tuple[str, Any, str]] = [
    ("tir_hash", np.zeros((5, 31), np.uint8), "expected uint8[n, 32], got uint8[5, 31]"),
    ("tir_hash", np.zeros(160, np.uint8), "expected uint8[n, 32], got uint8[160]"),
    ("tir_hash", np.zeros((5, 32), np.int64), "expected uint8[n, 32], got int64[5, 32]"),
    ("tir_hash", [bytes(32)] * 5, "expected uint8[n, 32], got |S32[5]"),
    ("tokens", np.zeros(TOKENS_OF_FIVE), "expected int[k], got float64[7]"),
    ("tokens", np.zeros(TOKENS_OF_FIVE, bool), "expected int[k], got bool[7]"),
    ("tokens", np.zeros((7, 1), int), "expected int[k], got int64[7, 1]"),
    ("tokens", [0, 1, 2, 3, 4, 5, 0], "expected ints in [0, 5), got 0 to 5"),
    ("tokens", [0, 1, 2, 3, 4, -1, 0], "expected ints in [0, 5), got -1 to 4"),
    ("tokens", [0, 1, 2, 3, 4, 2**32, 0], "expected ints in [0, 5), got 0 to 4294967296"),
    ("tokens", [0] * 6, "expected ints in [0, 7), got 0 to 7"),
    ("offsets", [0, 2, 2, 3, 5], "expected int[6], got int64[5]"),
    ("offsets", [], "expected int[6], got int64[0]"),
    ("offsets", [1, 2, 2, 3, 5, 7], "expected offsets rising from 0 to 7"),
    ("offsets", [0, 2, 2, 3, 5, 6], "expected offsets rising from 0 to 7"),
    ("offsets", [0, 3, 2, 3, 5, 7], "expected offsets rising from 0 to 7"),
    ("offsets", [0, 2, 2, 3, 5, 8], "expected ints in [0, 8), got 0 to 8"),
    ("offsets", [0, -1, 2, 3, 5, 7], "expected ints in [0, 8), got -1 to 7"),
    ("offsets", np.array([0, 2, 2, 3, 5, 7.0]), "expected int[6], got float64[6]"),
    ("valid", [1] * 5, "expected bool[5], got int64[5]"),
    ("valid", [True] * 4, "expected bool[5], got bool[4]"),
    ("valid", True, "expected bool[5], got bool[]"),
    ("fallback_used", [0] * 5, "expected bool[5], got int64[5]"),
    ("fallback_used", [[True] * 5], "expected bool[5], got bool[1, 5]"),
    ("clock_cycles", [1, 2, 3, 4, -1], "expected ints in [0, 18446744073709551616), got -1 to 4"),
    ("clock_cycles", [1, 2, 3, 4], "expected int[5], got int64[4]"),
    ("clock_cycles", [1, 2, None, 4, 5], "expected int[5], got object[5]"),
    ("clock_cycles", np.zeros(5), "expected int[5], got float64[5]"),
    ("compiler_cycles", [1, 2, 3, 4, -1], "expected ints in [0, 18446744073709551616), got -1 to 4"),
    ("compiler_cycles", [True] * 5, "expected int[5], got bool[5]"),
    ("compiler_cycles", 7, "expected int[5], got int64[]"),
    ("compiler_cycles", [2**64] * 5, "expected int[5], got object[5]"),
    ("timestamp", [1.5] * 5, "expected int[5], got float64[5]"),
    ("timestamp", [-1] * 5, "expected ints in [0, 18446744073709551616), got -1 to -1"),
    ("model_version", [0, 0, 0, 0, 2**32], "expected ints in [0, 4294967296), got 0 to 4294967296"),
    ("model_version", [-1] * 5, "expected ints in [0, 4294967296), got -1 to -1"),
    ("model_version", ["1"] * 5, "expected int[5], got <U1[5]"),
]
# the field that is named: too few tokens show in the offsets
PLACE = [("offsets" if message.endswith("7), got 0 to 7") else name) for name, _, message in WRONG]


@pytest.mark.parametrize(
    ("name", "value", "message", "place"),
    [(*wrong, place) for wrong, place in zip(WRONG, PLACE, strict=True)],
    ids=[f"{name}-{i}" for i, (name, _, _) in enumerate(WRONG)],
)
def test_a_column_that_does_not_fit_is_named(name: str, value: Any, message: str, place: str):
    assert complaint(UsageError, _with(**{name: value})) == f"{message} - at `{place}`"


@pytest.mark.parametrize("name", ["tir_hash", "tokens", "valid", "timestamp"])
def test_a_ragged_column_is_a_usage_error_that_names_it(name: str):
    assert complaint(UsageError, _with(**{name: [[1], [1, 2], [], [3], [4]]})).endswith(f" - at `{name}`")


def test_columns_may_be_lists():
    columns = {
        name: column if name in ("vocabulary", "tir_hash", "clock_cycles") else column.tolist()
        for name, column in columns_of(FIVE).items()
    }
    assert Results.from_columns(**columns).to_list() == FIVE


def test_columns_of_nothing_may_be_empty_lists():
    columns: dict[str, Any] = {name: [] for name in columns_of([])}
    columns |= {"tir_hash": np.zeros((0, 32), np.uint8), "offsets": [0], "vocabulary": Vocabulary()}
    assert Results.from_columns(**columns).to_list() == []


def test_costs_without_a_mask_are_all_measured():
    assert _with(clock_cycles=np.arange(5, dtype=np.uint64))().measured.all()


def test_what_stands_under_a_mask_does_not_matter():
    clocks = np.ma.MaskedArray([-1, 2, 3, 4, 5], mask=[True, False, False, False, False])
    assert _with(clock_cycles=clocks)().clock_cycles.tolist() == [None, 2, 3, 4, 5]


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.uint64])
def test_numbers_may_be_of_any_int_type(dtype: Any):
    assert _with(timestamp=np.arange(5).astype(dtype))().timestamp.tolist() == [0, 1, 2, 3, 4]


def test_the_largest_numbers_are_kept_exactly():
    assert _with(compiler_cycles=np.full(5, U64 - 1, np.uint64))()[4].compiler_cycles == U64 - 1


def test_columns_may_have_strides():
    columns = columns_of(FIVE)
    stretched = {
        name: np.repeat(columns[name], 2, axis=0)[::2]
        for name in ("tir_hash", "tokens", "offsets", "valid", "timestamp")
    }
    assert Results.from_columns(**{**columns, **stretched}).to_list() == FIVE


def test_words_that_come_later_change_nothing():
    columns = columns_of(FIVE)
    results = Results.from_columns(**columns)
    columns["vocabulary"].ids([f"word {i}" for i in range(5000)])
    assert results.to_list() == FIVE
