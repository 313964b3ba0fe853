"""BuildResult: eight checked fields, and its JSON form."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from ostinato import BuildResult, UsageError, jsonl
from record_helpers import GOLDEN_JSONL, PLAIN, U32, U64, complaint, golden_lines, more, record, records

FIELDS = (
    "tir_hash",
    "generated_tasm",
    "valid",
    "clock_cycles",
    "compiler_cycles",
    "fallback_used",
    "timestamp",
    "model_version",
)
INTS = [("clock_cycles", 64), ("compiler_cycles", 64), ("timestamp", 64), ("model_version", 32)]
BOOLS = ["valid", "fallback_used"]


# Construction


def test_the_fields_stand_in_the_order_of_the_seed():
    assert tuple(field.name for field in dataclasses.fields(BuildResult)) == FIELDS


def test_what_is_given_is_what_is_kept():
    assert {name: getattr(record(), name) for name in FIELDS} == PLAIN


def test_fields_are_given_by_name_only():
    with pytest.raises(TypeError, match="positional"):
        BuildResult(*PLAIN.values())  # type: ignore[misc]


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_must_be_given(name: str):
    with pytest.raises(TypeError, match=name):
        BuildResult(**{key: value for key, value in PLAIN.items() if key != name})


def test_a_ninth_field_is_refused():
    with pytest.raises(TypeError, match="priority"):
        record(priority=1.0)


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_cannot_be_set(name: str):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record(), name, PLAIN[name])


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_cannot_be_deleted(name: str):
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(record(), name)


def test_a_record_has_slots_and_no_dict():
    assert not hasattr(record(), "__dict__")


# Integers


@pytest.mark.parametrize(("name", "bits"), INTS)
@pytest.mark.parametrize("above", [False, True])
def test_the_ends_of_a_range_are_inside(name: str, bits: int, above: bool):
    value = 2**bits - 1 if above else 0
    assert getattr(record(**{name: value}), name) == value


@pytest.mark.parametrize(("name", "bits"), INTS)
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (-1, "-1"),
        (-(2**64), "-18446744073709551616"),
        (1.0, "1.0"),
        (float("nan"), "nan"),
        ("1", "'1'"),
        (b"1", "b'1'"),
        ([1], "[1]"),
        (True, "True"),
        (False, "False"),
        (np.True_, "np.True_"),
        (np.float64(1.0), "np.float64(1.0)"),
        (np.int64(-1), "np.int64(-1)"),
        (np.array(1), "array(1)"),
    ],
)
def test_what_is_no_int_in_range_is_refused(name: str, bits: int, value: Any, shown: str):
    message = f"expected an int in [0, 2**{bits}), got {shown} - at `{name}`"
    assert complaint(UsageError, record, **{name: value}) == message


@pytest.mark.parametrize(("name", "bits"), INTS)
def test_the_first_int_out_of_range_is_refused(name: str, bits: int):
    message = f"expected an int in [0, 2**{bits}), got {2**bits} - at `{name}`"
    assert complaint(UsageError, record, **{name: 2**bits}) == message


def test_an_int_of_thousands_of_digits_is_refused_like_any_other():
    message = complaint(UsageError, record, timestamp=10**5000)
    assert re.fullmatch(r"expected an int in \[0, 2\*\*64\), got .* - at `timestamp`", message)


def test_a_usage_error_is_a_value_error():
    assert complaint(ValueError, record, timestamp=-1) == complaint(UsageError, record, timestamp=-1)


def test_clock_cycles_may_be_none():
    assert record(clock_cycles=None).clock_cycles is None


@pytest.mark.parametrize("name", ["compiler_cycles", "timestamp", "model_version"])
def test_no_other_number_may_be_none(name: str):
    assert f"got None - at `{name}`" in complaint(UsageError, record, **{name: None})


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.uint32, np.int64, np.uint64])
@pytest.mark.parametrize(("name", "_bits"), INTS)
def test_a_numpy_int_becomes_an_int(name: str, _bits: int, kind: type):
    kept = getattr(record(**{name: kind(7)}), name)
    assert (type(kept), kept) == (int, 7)


def test_the_largest_numpy_int_is_kept_exactly():
    assert record(timestamp=np.uint64(U64 - 1)).timestamp == U64 - 1


def test_a_u32_in_a_u64_is_measured_by_its_field():
    assert "[0, 2**32), got np.uint64(4294967296)" in complaint(
        UsageError, record, model_version=np.uint64(U32)
    )


# Booleans


@pytest.mark.parametrize("name", BOOLS)
@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (1, "1"), (None, "None"), ("True", "'True'"), (np.int64(1), "np.int64(1)"), (1.0, "1.0")],
)
def test_what_is_no_bool_is_refused(name: str, value: Any, shown: str):
    assert complaint(UsageError, record, **{name: value}) == f"expected a bool, got {shown} - at `{name}`"


@pytest.mark.parametrize("name", BOOLS)
@pytest.mark.parametrize("value", [False, True])
def test_a_numpy_bool_becomes_a_bool(name: str, value: bool):
    assert getattr(record(**{name: np.bool_(value)}), name) is value


# The hash

DIGEST = bytes(range(100, 132))


class _Bytes(bytes):
    pass


@pytest.mark.parametrize(
    "given_hash",
    [
        DIGEST,
        _Bytes(DIGEST),
        bytearray(DIGEST),
        memoryview(DIGEST),
        memoryview(bytes(x for b in DIGEST for x in (b, 0)))[::2],
        np.frombuffer(DIGEST, np.uint8),
        np.repeat(np.frombuffer(DIGEST, np.uint8), 2)[::2],
    ],
    ids=["bytes", "subclass", "bytearray", "memoryview", "strided view", "uint8 array", "strided array"],
)
def test_a_hash_of_any_kind_becomes_bytes(given_hash: Any):
    kept = record(tir_hash=given_hash).tir_hash
    assert (type(kept), kept) == (bytes, DIGEST)


def test_a_hash_does_not_follow_its_source():
    source = bytearray(DIGEST)
    kept = record(tir_hash=source)
    source[0] ^= 255
    assert kept.tir_hash == DIGEST


@pytest.mark.parametrize("size", [0, 31, 33, 64])
@pytest.mark.parametrize(
    "kind", [bytes, bytearray, lambda n: memoryview(bytes(n)), lambda n: np.zeros(n, np.uint8)]
)
def test_a_hash_of_another_size_is_refused(kind: Any, size: int):
    assert (
        complaint(UsageError, record, tir_hash=kind(size)) == f"expected 32 bytes, got {size} - at `tir_hash`"
    )


@pytest.mark.parametrize(
    ("value", "shown"), [("0" * 32, repr("0" * 32)), (None, "None"), (32, "32"), (5.0, "5.0")]
)
def test_what_is_no_bytes_is_no_hash(value: Any, shown: str):
    assert complaint(UsageError, record, tir_hash=value) == f"expected 32 bytes, got {shown} - at `tir_hash`"


@pytest.mark.parametrize(
    "value",
    [[0] * 32, np.zeros(32, np.int8), np.zeros(4, np.uint64), np.zeros((4, 8), np.uint8)],
    ids=["list", "int8", "uint64", "two dimensions"],
)
def test_an_array_of_another_form_is_no_hash(value: Any):
    message = complaint(UsageError, record, tir_hash=value)
    assert re.fullmatch(r"(?s)expected 32 bytes, got .* - at `tir_hash`", message)


def test_a_long_wrong_value_is_shown_shortened():
    message = complaint(UsageError, record, tir_hash="x" * 10_000)
    assert message == f"expected 32 bytes, got '{'x' * 20}'... of length 10000 - at `tir_hash`"


# Instructions


@pytest.mark.parametrize("kind", [list, tuple])
def test_instructions_become_a_tuple(kind: type):
    assert record(generated_tasm=kind(["push 1", "add"])).generated_tasm == ("push 1", "add")


def test_instructions_do_not_follow_their_source():
    source = ["push 1"]
    kept = record(generated_tasm=source)
    source.append("add")
    assert kept.generated_tasm == ("push 1",)


@pytest.mark.parametrize("text", ["", "\0", "é", "\n", "指令", "\U0001f3bc", "\ufeff", "\uffff"])
def test_any_text_is_an_instruction(text: str):
    assert record(generated_tasm=[text]).generated_tasm == (text,)


def test_a_numpy_string_becomes_a_str():
    assert type(record(generated_tasm=[np.str_("add")]).generated_tasm[0]) is str


@pytest.mark.parametrize(
    ("value", "shown"),
    [("push 1", "'push 1'"), (None, "None"), ({"a"}, "{'a'}"), (b"a", "b'a'"), ({"a": 1}, "{'a': 1}")],
)
def test_what_is_no_list_is_refused(value: Any, shown: str):
    message = f"expected a list of str, got {shown} - at `generated_tasm`"
    assert complaint(UsageError, record, generated_tasm=value) == message


@pytest.mark.parametrize(("value", "shown"), [(1, "1"), (None, "None"), (b"add", "b'add'"), (["a"], "['a']")])
def test_an_instruction_that_is_no_str_is_named(value: Any, shown: str):
    message = f"expected a str, got {shown} - at `generated_tasm[2]`"
    assert complaint(UsageError, record, generated_tasm=["a", "b", value]) == message


@pytest.mark.parametrize(
    ("text", "shown"), [("\ud800", r"'\ud800'"), ("a\udfff", r"'a\udfff'"), ("\udc80é", r"'\udc80\xe9'")]
)
def test_a_lone_surrogate_is_refused(text: str, shown: str):
    message = f"expected text without lone surrogates, got {shown} - at `generated_tasm[1]`"
    assert complaint(UsageError, record, generated_tasm=["add", text]) == message


# Equality, hash, repr, copies

OTHERS: dict[str, Any] = {
    "tir_hash": bytes(32),
    "generated_tasm": ("push 1",),
    "valid": False,
    "clock_cycles": None,
    "compiler_cycles": 11,
    "fallback_used": True,
    "timestamp": 0,
    "model_version": 4,
}


def test_equal_fields_make_equal_records():
    assert record(generated_tasm=["push 1", "add"], clock_cycles=np.uint8(5)) == record()


@pytest.mark.parametrize("name", FIELDS)
def test_one_other_field_makes_another_record(name: str):
    assert record(**{name: OTHERS[name]}) != record()


def test_an_unmeasured_cost_is_not_zero():
    assert record(clock_cycles=None) != record(clock_cycles=0)


def test_equal_records_have_equal_hashes():
    assert len({record(), record(tir_hash=bytearray(PLAIN["tir_hash"]))}) == 1


def test_a_record_is_not_equal_to_its_dict():
    assert record() != record().to_dict()


def test_the_repr_is_read_with_ease():
    assert repr(record()) == (
        "BuildResult(tir_hash=00010203…1e1f, generated_tasm=('push 1', 'add'), valid=True, clock_cycles=5, "
        "compiler_cycles=10, fallback_used=False, timestamp=1700000000, model_version=3)"
    )


def test_the_repr_counts_what_it_leaves_out():
    shown = repr(record(generated_tasm=["a", "b", "c", "d", "e"]))
    assert "generated_tasm=('a', 'b', 'c', … 2 more)," in shown


def test_the_repr_shows_four_instructions_whole():
    assert "generated_tasm=('a', 'b', 'c', 'd')," in repr(record(generated_tasm=["a", "b", "c", "d"]))


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_gives_the_record_back(protocol: int):
    assert pickle.loads(pickle.dumps(record(), protocol)) == record()


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_is_equal(copied: Any):
    assert copied(record()) == record()


def test_replace_checks_like_construction():
    assert complaint(UsageError, dataclasses.replace, record(), timestamp=-1).endswith(
        "got -1 - at `timestamp`"
    )


# The JSON form


def test_to_dict_gives_what_json_has():
    assert record(clock_cycles=None).to_dict() == {
        "tir_hash": "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "generated_tasm": ["push 1", "add"],
        "valid": True,
        "clock_cycles": None,
        "compiler_cycles": 10,
        "fallback_used": False,
        "timestamp": 1_700_000_000,
        "model_version": 3,
    }


def test_to_dict_keeps_the_order_of_the_fields():
    assert tuple(record().to_dict()) == FIELDS


@more
@given(records)
def test_from_dict_undoes_to_dict(one: BuildResult):
    assert BuildResult.from_dict(json.loads(json.dumps(one.to_dict()))) == one


def test_from_dict_takes_the_fields_in_any_order():
    assert BuildResult.from_dict(dict(reversed(record().to_dict().items()))) == record()


def test_from_dict_takes_upper_case_digits():
    assert (
        BuildResult.from_dict({**record().to_dict(), "tir_hash": PLAIN["tir_hash"].hex().upper()}) == record()
    )


def test_from_dict_leaves_what_it_is_given_alone():
    data = record().to_dict()
    BuildResult.from_dict(data)
    assert data == record().to_dict()


@pytest.mark.parametrize("name", FIELDS)
def test_a_missing_field_is_named(name: str):
    data = record().to_dict()
    del data[name]
    assert complaint(UsageError, BuildResult.from_dict, data) == f"missing field - at `{name}`"


def test_an_unknown_field_is_named():
    message = complaint(UsageError, BuildResult.from_dict, {**record().to_dict(), "reward": 1})
    assert message == f"unknown field (known: {', '.join(FIELDS)}) - at `reward`"


@pytest.mark.parametrize("value", [None, [], "x", 5, [("tir_hash", "00")]])
def test_what_is_no_object_is_refused(value: Any):
    message = complaint(UsageError, BuildResult.from_dict, value)
    assert message == f"expected an object with the fields {', '.join(FIELDS)}, got {value!r}"


@pytest.mark.parametrize(
    "digits",
    [
        "",
        "0" * 63,
        "0" * 65,
        "g" * 64,
        "0_" * 32,
        "00 " * 21 + "0",
        "0x" + "0" * 62,
        "٣" * 64,
        bytes(32),
        None,
        0,
    ],
)
def test_a_hash_that_is_not_64_hex_digits_is_refused(digits: Any):
    message = complaint(UsageError, BuildResult.from_dict, {**record().to_dict(), "tir_hash": digits})
    assert re.fullmatch(r"expected 64 hex digits, got .* - at `tir_hash`", message)


@pytest.mark.parametrize("path", GOLDEN_JSONL, ids=lambda path: path.name)
def test_every_golden_line_comes_back_to_the_byte(path: Path):
    lines = golden_lines(path)
    assert [jsonl.dump(BuildResult.from_dict(json.loads(line))) for line in lines] == lines


@pytest.mark.parametrize("path", GOLDEN_JSONL, ids=lambda path: path.name)
def test_every_golden_object_comes_back_as_it_was(path: Path):
    objects = [json.loads(line) for line in golden_lines(path)]
    assert [BuildResult.from_dict(data).to_dict() for data in objects] == objects


def test_there_are_golden_lines_to_test():
    assert sum(len(golden_lines(path)) for path in GOLDEN_JSONL) > 1000
