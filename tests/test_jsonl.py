"""JSON lines: what is written, what is read back, what is refused and where."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato import BuildResult, DamageError, UsageError, jsonl
from record_helpers import complaint, few, more, record, record_lists

LINE = jsonl.dump(record())


def read(data: bytes, **options: Any) -> list[BuildResult]:
    return list(jsonl.read(io.BytesIO(data), **options))


def swapped(name: str, literal: bytes) -> bytes:
    """The plain line with another JSON literal as the value of a field."""
    old = json.dumps(record().to_dict()[name], separators=(",", ":")).encode()
    key = b'"%s":' % name.encode()
    assert LINE.count(key + old) == 1
    return LINE.replace(key + old, key + literal)


def damage_of(data: bytes, **options: Any) -> DamageError:
    with pytest.raises(DamageError) as caught:
        read(data, **options)
    return caught.value


# Round trip


@more
@given(record_lists)
def test_what_is_dumped_is_read_back(given_records: list[BuildResult]):
    assert read(b"".join(map(jsonl.dump, given_records))) == given_records


@few
@given(record_lists)
def test_a_record_is_one_line(given_records: list[BuildResult]):
    assert [jsonl.dump(r).count(b"\n") for r in given_records] == [1] * len(given_records)


def test_a_line_has_the_fields_in_order_and_no_spaces():
    assert LINE == (
        b'{"tir_hash":"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",'
        b'"generated_tasm":["push 1","add"],"valid":true,"clock_cycles":5,"compiler_cycles":10,'
        b'"fallback_used":false,"timestamp":1700000000,"model_version":3}\n'
    )


def test_only_what_must_be_escaped_is():
    line = jsonl.dump(record(generated_tasm=['é"\\\x00\b\f\n\r\t\x1f\x7f\u2028/']))
    assert '["é\\"\\\\\\u0000\\b\\f\\n\\r\\t\\u001f\x7f\u2028/"]'.encode() in line


def test_an_unmeasured_cost_is_null():
    assert b'"clock_cycles":null,' in jsonl.dump(record(clock_cycles=None))


def test_parse_undoes_dump():
    assert jsonl.parse(LINE) == record()


# What is passed over


@pytest.mark.parametrize("data", [b"", b"\n", b"\n\n\n", b"  \n\t\n\r\n", b" "])
def test_empty_lines_are_no_records(data: bytes):
    assert read(data) == []


def test_empty_lines_are_passed_over():
    assert read(b"\n" + LINE + b"\r\n \n" + LINE + b"\n") == [record()] * 2


def test_the_last_line_needs_no_newline():
    assert read(LINE + LINE.rstrip()) == [record()] * 2


def test_lines_may_end_as_on_windows():
    assert read(LINE.replace(b"\n", b"\r\n") * 2) == [record()] * 2


def test_spaces_and_another_order_are_fine():
    loose = json.dumps(dict(reversed(record().to_dict().items())), indent=None).encode()
    assert read(b"  " + loose + b"  \n") == [record()]


# What is refused

FIELDS = ", ".join(record().to_dict())
U64_INT = "expected an int in [0, 2**64), got"
BAD: dict[str, tuple[bytes, str]] = {
    "not closed": (LINE[:30] + b"\n", "no JSON: Invalid control character at, column 31"),
    "not closed, at the end": (LINE[:30], "no JSON: Unterminated string starting at, column 13"),
    "no JSON": (b"tir_hash\n", "no JSON: Expecting value, column 1"),
    "two on a line": (LINE.rstrip() + LINE, f"no JSON: Extra data, column {len(LINE)}"),
    "null": (b"null\n", f"expected an object with the fields {FIELDS}, got None"),
    "list": (b"[1,2]\n", f"expected an object with the fields {FIELDS}, got [1, 2]"),
    "string": (b'"a"\n', f"expected an object with the fields {FIELDS}, got 'a'"),
    "number": (b"17\n", f"expected an object with the fields {FIELDS}, got 17"),
    "bare NaN": (b"NaN\n", f"expected an object with the fields {FIELDS}, got nan"),
    "empty object": (b"{}\n", "missing field - at `tir_hash`"),
    "missing": (LINE.replace(b'"valid":true,', b""), "missing field - at `valid`"),
    "unknown": (LINE.replace(b"{", b'{"reward":1,'), f"unknown field (known: {FIELDS}) - at `reward`"),
    "another case": (LINE.replace(b'"valid"', b'"Valid"'), "missing field - at `valid`"),
    "twice": (LINE.replace(b"{", b'{"valid":true,'), "a field stands twice - at `valid`"),
    "unknown twice": (LINE.replace(b"{", b'{"x":1,"x":1,'), "a field stands twice - at `x`"),
    "short hash": (swapped("tir_hash", b'"00"'), "expected 64 hex digits, got '00' - at `tir_hash`"),
    "hash of bytes": (swapped("tir_hash", b"[0]"), "expected 64 hex digits, got [0] - at `tir_hash`"),
    "tasm is text": (
        swapped("generated_tasm", b'"add"'),
        "expected a list of str, got 'add' - at `generated_tasm`",
    ),
    "tasm is null": (
        swapped("generated_tasm", b"null"),
        "expected a list of str, got None - at `generated_tasm`",
    ),
    "tasm of ints": (swapped("generated_tasm", b'["a",1]'), "expected a str, got 1 - at `generated_tasm[1]`"),
    "surrogate": (
        swapped("generated_tasm", b'["\\ud800"]'),
        r"expected text without lone surrogates, got '\ud800' - at `generated_tasm[0]`",
    ),
    "valid is 1": (swapped("valid", b"1"), "expected a bool, got 1 - at `valid`"),
    "valid is text": (swapped("valid", b'"true"'), "expected a bool, got 'true' - at `valid`"),
    "fallback is null": (swapped("fallback_used", b"null"), "expected a bool, got None - at `fallback_used`"),
    "clock is true": (swapped("clock_cycles", b"true"), f"{U64_INT} True - at `clock_cycles`"),
    "clock is a float": (swapped("clock_cycles", b"5.0"), f"{U64_INT} 5.0 - at `clock_cycles`"),
    "clock is 5e0": (swapped("clock_cycles", b"5e0"), f"{U64_INT} 5.0 - at `clock_cycles`"),
    "clock is negative": (swapped("clock_cycles", b"-1"), f"{U64_INT} -1 - at `clock_cycles`"),
    "compiler is null": (swapped("compiler_cycles", b"null"), f"{U64_INT} None - at `compiler_cycles`"),
    "compiler is 2**64": (
        swapped("compiler_cycles", b"18446744073709551616"),
        f"{U64_INT} 18446744073709551616 - at `compiler_cycles`",
    ),
    "time is NaN": (swapped("timestamp", b"NaN"), f"{U64_INT} nan - at `timestamp`"),
    "time is Infinity": (swapped("timestamp", b"Infinity"), f"{U64_INT} inf - at `timestamp`"),
    "time is -Infinity": (swapped("timestamp", b"-Infinity"), f"{U64_INT} -inf - at `timestamp`"),
    "time overflows": (swapped("timestamp", b"1e999"), f"{U64_INT} inf - at `timestamp`"),
    "time is a list": (swapped("timestamp", b"[]"), f"{U64_INT} [] - at `timestamp`"),
    "version is 2**32": (
        swapped("model_version", b"4294967296"),
        "expected an int in [0, 2**32), got 4294967296 - at `model_version`",
    ),
    "bad UTF-8": (LINE.replace(b"add", b"a\xffd"), f"invalid UTF-8 in column {LINE.index(b'add') + 2}"),
    "cut UTF-8": ("é".encode()[:1] + b"\n", "invalid UTF-8 in column 1"),
    "deep list": (swapped("generated_tasm", b"[" * 100_000 + b"]" * 100_000), "nested too deeply"),
    "deep object": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
    "deep and open": (b"[" * 100_000, "nested too deeply"),
}
every_bad = pytest.mark.parametrize(("bad", "cause"), BAD.values(), ids=BAD.keys())


@every_bad
def test_a_bad_line_says_what_is_wrong_where(bad: bytes, cause: str):
    what, _, where = cause.partition(" - at ")
    error = damage_of(LINE + b"\n" + bad)
    assert (error.line, error.cause, error.field) == (3, what, where.strip("`") or None)


@every_bad
def test_a_bad_line_that_is_skipped_costs_nothing_else(bad: bytes, cause: str):
    skipped: list[DamageError] = []
    closed = bad if bad.endswith(b"\n") else bad + b"\n"
    kept = read(LINE + closed + LINE + closed + LINE, skip=skipped.append)
    assert (kept, [error.line for error in skipped]) == ([record()] * 3, [2, 4])


@pytest.mark.parametrize(
    "bad", [LINE.replace(b"}", b",}"), swapped("model_version", b"03"), swapped("valid", b"True")]
)
def test_what_json_does_not_allow_is_damage(bad: bytes):
    error = damage_of(LINE + bad)
    assert (error.line, error.cause[:8]) == (2, "no JSON:")


def test_a_value_cannot_pass_for_the_name_of_a_field():
    error = damage_of(swapped("valid", b'" - at `timestamp`"'))
    assert (error.cause, error.field) == ("expected a bool, got ' - at `timestamp`'", "valid")


def test_parse_says_the_same_as_a_usage_error():
    assert complaint(UsageError, jsonl.parse, swapped("valid", b"1")) == "expected a bool, got 1 - at `valid`"


def test_the_message_names_file_field_and_line():
    message = str(damage_of(LINE + swapped("valid", b"1"), source="some.jsonl"))
    assert message == "some.jsonl: expected a bool, got 1 - at line 2, `valid`"


def test_the_records_before_a_bad_line_are_given():
    lines = jsonl.read(io.BytesIO(LINE + LINE + b"{}\n"))
    assert [next(lines), next(lines)] == [record()] * 2


def test_what_skip_raises_ends_the_reading():
    def stop(error: DamageError) -> None:
        raise KeyError(error.line)

    with pytest.raises(KeyError, match="2"):
        read(LINE + b"{}\n" + LINE, skip=stop)


@pytest.mark.parametrize("literal", [b"1" * 5000, b"-" + b"1" * 5000])
def test_an_int_of_thousands_of_digits_is_damage(literal: bytes):
    assert damage_of(LINE + swapped("timestamp", literal)).line == 2


def test_an_int_of_hundreds_of_digits_is_damage_at_its_field():
    error = damage_of(swapped("timestamp", b"1" * 400))
    assert (error.cause, error.field) == (
        f"{U64_INT} an int of {int('1' * 400).bit_length()} bits",
        "timestamp",
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32-le"])
def test_a_file_that_is_not_in_utf_8_is_damage(encoding: str):
    assert damage_of(LINE.decode().strip().encode(encoding)).line == 1


@pytest.mark.parametrize("key", [b"\\ud800", b"\\udfffx"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_message_is_always_text_that_can_be_written(key: bytes, times: int):
    message = str(damage_of(LINE.replace(b"{", b"{" + b'"%s":1,' % key * times)))
    assert message.encode().decode() == message


def test_a_message_carries_no_control_characters_of_the_file():
    message = str(damage_of(LINE.replace(b"{", b'{"\\u001b[31mred\\n":1,')))
    assert message.isprintable()


def test_a_message_is_not_as_long_as_the_line():
    assert len(str(damage_of(LINE.replace(b"{", b'{"%s":1,' % (b"k" * 100_000))))) < 1000


# Whatever bytes come


@more
@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_bytes_raise_anything_but_damage(data: bytes):
    skipped: list[DamageError] = []
    kept = read(LINE + data + b"\n" + LINE, skip=skipped.append)
    assert (kept[0], kept[-1], all(isinstance(e, DamageError) for e in skipped)) == (record(), record(), True)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@more
@given(st.sampled_from(sorted(record().to_dict())), values)
def test_a_value_of_any_kind_is_taken_whole_or_refused_at_its_field(name: str, value: Any):
    line = json.dumps({**record().to_dict(), name: value}).encode()
    skipped: list[DamageError] = []
    kept = read(line, skip=skipped.append)
    taken = [r.to_dict()[name] for r in kept]
    fields = [str(error.field).partition("[")[0] for error in skipped]
    assert (taken, fields) in [([value], []), ([], [name])]


@more
@given(st.integers(0, len(LINE) - 2), st.binary(max_size=2).filter(lambda other: b"\n" not in other))
def test_a_line_with_a_few_other_bytes_is_a_record_or_damage(place: int, other: bytes):
    skipped: list[DamageError] = []
    kept = read(LINE[:place] + other + LINE[place + 1 :], skip=skipped.append)
    assert len(kept) + len(skipped) == 1


# Long lines


@pytest.mark.parametrize("excess", [1, 2, 100, len(LINE), 3 * len(LINE)])
def test_a_line_that_is_too_long_is_one_damaged_line(monkeypatch: pytest.MonkeyPatch, excess: int):
    monkeypatch.setattr(jsonl, "LINE_END", len(LINE) + 1)
    long = LINE[:-1] + b" " * excess + b"\n"
    skipped: list[DamageError] = []
    kept = read(LINE + long + LINE, skip=skipped.append)
    assert (kept, [e.line for e in skipped]) == ([record()] * 2, [2])


def test_a_line_that_is_too_long_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jsonl, "LINE_END", 1000)
    assert str(damage_of(LINE + b"x" * 2000)) == "1,000 bytes or more - at line 2"


@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize("size", range(len(LINE) + 1, 4 * len(LINE), 97))
def test_a_long_last_line_is_counted_once(monkeypatch: pytest.MonkeyPatch, size: int, end: bytes):
    monkeypatch.setattr(jsonl, "LINE_END", len(LINE) + 1)
    skipped: list[DamageError] = []
    read(LINE + b"x" * size + end, skip=skipped.append)
    assert [e.line for e in skipped] == [2]


def test_line_numbers_go_on_after_a_long_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jsonl, "LINE_END", len(LINE) + 1)
    skipped: list[DamageError] = []
    read(b"x" * 5000 + b"\n" + LINE + b"{}\n", skip=skipped.append)
    assert [e.line for e in skipped] == [1, 3]


def test_a_line_just_short_enough_is_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jsonl, "LINE_END", len(LINE) + 1)
    assert read(LINE * 3) == [record()] * 3
