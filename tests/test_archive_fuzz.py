"""Mutated and random archives: accepted, refused and read as the slow reader does it."""

from __future__ import annotations

import collections
import random
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import slow_reader
from ostinato import BuildResult, DamageError, Results, Vocabulary, archive
from test_slow_reader import ARCHIVES

SMALL = [path.read_bytes() for path in ARCHIVES if path.stat().st_size <= 4096]
ROUNDS = 2000  # mutants of each kind
CAUSES = ("subtree pointer", "unaligned", "String representation", "invalid UTF-8", "bool", "invalid discr")
LENGTHS = [*range(18), *range(63, 66), *range(255, 258)]
STEPS = [1, 2, 3, 4, 7, 8, 9, 12, 16, 32, 64, 95, 96, 97, 104, 256]
WORDS = [0, 1, 2, 8, 9, 0x80, 0x88, 0x89, 0xBF, 0x180, 2**16, 2**31 - 1, 2**31, 2**32 - 8, 2**32 - 1]
BYTES = [0, 1, 2, 8, 0x41, 0x7F, 0x80, 0x88, 0x89, 0xBF, 0xC0, 0xC3, 0xE0, 0xED, 0xF0, 0xF4, 0xF5, 0xFE, 0xFF]
TEXTS = ["a", "\0", "push 1", "é", "€", "𝕊", "\U0010ffff", "\ud7ff", "\ue000", "\x7f\x80", "߿ࠀ", "�"]

quick = settings(max_examples=300, deadline=None, derandomize=True)


# Random archives.


def fitted(text: str, size: int) -> str:
    """`text` repeated and cut to `size` bytes of UTF-8, filled up where a character does not fit."""
    raw = (text * size).encode()[:size].decode(errors="ignore")
    return raw + "z" * (size - len(raw.encode()))


def random_record(rng: random.Random) -> dict[str, Any]:
    words = [fitted(rng.choice(TEXTS), rng.choice(LENGTHS)) for _ in range(rng.choice([0, 1, 2, 3, 9]))]
    u64 = [0, 1, 255, 2**32, 2**63, 2**64 - 1, rng.getrandbits(64)]
    return {
        "tir_hash": rng.randbytes(32).hex(),
        "generated_tasm": words,
        "valid": rng.random() < 0.5,
        "clock_cycles": rng.choice([None, *u64]),
        "compiler_cycles": rng.choice(u64),
        "fallback_used": rng.random() < 0.5,
        "timestamp": rng.choice(u64),
        "model_version": rng.choice([0, 1, 2**31, 2**32 - 1]),
    }


def random_archive(rng: random.Random) -> bytes:
    return slow_reader.write([random_record(rng) for _ in range(rng.choice([0, 1, 2, 3, 6]))])


def any_archive(rng: random.Random) -> bytes:
    return rng.choice(SMALL) if rng.random() < 0.5 else random_archive(rng)


# Mutations: each takes an archive and gives a file near it.


def flip_bits(data: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.choice([1, 1, 2, 5])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def set_bytes(data: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.choice([1, 1, 2, 5])):
        data[rng.randrange(len(data))] = rng.choice(BYTES)
    return bytes(data)


def set_words(data: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.choice([1, 2])):
        at = rng.randrange(0, len(data), 4)
        old = int.from_bytes(data[at : at + 4], "little")
        step = rng.choice(STEPS)
        data[at : at + 4] = (rng.choice([*WORDS, old + step, old - step]) % 2**32).to_bytes(4, "little")
    return bytes(data)


def cut(data: bytearray, rng: random.Random) -> bytes:
    step = rng.choice([1, 4, 8])
    size = rng.randrange(0, len(data) + 1, step)
    return bytes(data[:size] if rng.random() < 0.5 else data[size:])


def insert(data: bytearray, rng: random.Random) -> bytes:
    at = rng.randrange(0, len(data) + 1, rng.choice([1, 4, 8]))
    extra = rng.choice([bytes, rng.randbytes])(rng.choice([1, 4, 8, 16, 96]))
    return bytes(data[:at]) + extra + bytes(data[at:])


def duplicate(data: bytearray, rng: random.Random) -> bytes:
    unit = rng.choice([1, 4, 8])
    start = rng.randrange(0, len(data), unit)
    piece = data[start : start + rng.choice([unit, 8, 16, 96])]
    at = rng.randrange(0, len(data) + 1, unit)
    return bytes(data[:at] + piece + data[at + (len(piece) if rng.random() < 0.5 else 0) :])


def remove(data: bytearray, rng: random.Random) -> bytes:
    start = rng.randrange(0, len(data), rng.choice([1, 4, 8]))
    return bytes(data[:start] + data[start + rng.choice([1, 4, 8, 96]) :])


def append_zeros(data: bytearray, rng: random.Random) -> bytes:
    return bytes(data) + bytes(rng.randrange(1, 33))


def change_a_field(data: bytearray, rng: random.Random) -> bytes:
    """Change offsets, counts, lengths, flags and text where they stand, often to what is nearly right."""
    for _ in range(rng.choice([1, 1, 1, 2])):
        fields = places(bytes(data))
        at, form = rng.choice(fields)
        (old,) = struct.unpack_from("<" + form, data, at)
        if form == "B":
            new = rng.choice(BYTES)
        else:
            near = [old + rng.choice(STEPS), old - rng.choice(STEPS)]
            new = rng.choice(
                [*near, *near, rng.choice(WORDS), old + 2 * rng.randrange(-len(data), len(data))]
            )
        data[at : at + struct.calcsize(form)] = (new % 256 ** struct.calcsize(form)).to_bytes(
            struct.calcsize(form), "little"
        )
    return bytes(data)


def swap_lists(data: bytearray, rng: random.Random) -> bytes:
    """Let one entry claim the list of another, or two swap theirs."""
    root = len(data) - 8
    first, count = struct.unpack_from("<iI", data, root)
    if count < 2 or root + first < 0 or root + first + 96 * count > len(data):
        return bytes(data)
    one, other = rng.sample(range(count), 2)
    at, there = root + first + 96 * one + 32, root + first + 96 * other + 32
    offsets = [struct.unpack_from("<i", data, field)[0] for field in (at, there)]
    struct.pack_into("<i", data, at, offsets[1] + there - at)
    if rng.random() < 0.5:
        struct.pack_into("<i", data, there, offsets[0] + at - there)
    return bytes(data)


def places(data: bytes) -> list[tuple[int, str]]:
    """Where an archive's fields that can be wrong stand, as far as they lie inside: (position, struct form)."""
    root = len(data) - 8
    offset, count = struct.unpack_from("<iI", data, root)
    found = [(root, "i"), (root + 4, "I")]
    for i in range(min(count, 8)):
        entry = root + offset + 96 * i
        if not 0 <= entry <= len(data) - 96:
            break
        found += [(entry + 32, "i"), (entry + 36, "I"), *((entry + b, "B") for b in (40, 48, 72))]
        list_offset, strings = struct.unpack_from("<iI", data, entry + 32)
        for j in range(min(strings, 8)):
            record = entry + 32 + list_offset + 8 * j
            if not 0 <= record <= len(data) - 8:
                break
            found += [(record, "B"), (record, "I"), (record + 4, "i"), (record + j % 8, "B")]
            begin = record + struct.unpack_from("<i", data, record + 4)[0]
            if data[record] & 0xC0 == 0x80 and 0 <= begin < len(data) - 9:
                found += [(begin, "B"), (begin + 8, "B")]
    return found


MUTATIONS: list[Callable[[bytearray, random.Random], bytes]] = [
    flip_bits,
    set_bytes,
    set_words,
    cut,
    insert,
    duplicate,
    remove,
    append_zeros,
    change_a_field,
    change_a_field,
    swap_lists,
]


def mutants(mutation: Callable[[bytearray, random.Random], bytes], count: int) -> list[bytes]:
    rng = random.Random(f"{mutation.__name__} 1")
    return [mutation(bytearray(any_archive(rng)), rng) for _ in range(count)]


def slow(data: bytes) -> list[dict[str, Any]] | str:
    try:
        return slow_reader.read(data)
    except slow_reader.Refused as refused:
        return refused.cause


def fast(data: bytes) -> list[dict[str, Any]] | str:
    try:
        return [result.to_dict() for result in archive.loads(data)]
    except DamageError as error:
        return error.cause


def first_disagreement(files: list[bytes]) -> tuple[str, object, object] | None:
    """(file in hex, the slow reader's answer, ours) of the smallest file on which they differ."""
    differing = [(data.hex(), slow(data), fast(data)) for data in files if slow(data) != fast(data)]
    return min(differing, key=lambda found: len(found[0]), default=None)


# Mutants.


@pytest.mark.parametrize("mutation", dict.fromkeys(MUTATIONS), ids=lambda mutation: mutation.__name__)
def test_mutants_are_judged_and_read_as_the_slow_reader_does(
    mutation: Callable[[bytearray, random.Random], bytes],
):
    assert first_disagreement(mutants(mutation, ROUNDS)) is None


def test_mutants_of_mutants_are_judged_and_read_as_the_slow_reader_does():
    rng = random.Random(2)
    files = []
    for _ in range(2 * ROUNDS):
        data = any_archive(rng)
        for mutation in rng.choices(MUTATIONS, k=rng.choice([2, 3])):
            data = mutation(bytearray(data), rng) if len(data) >= 8 else data
        files.append(data)
    assert first_disagreement(files) is None


def test_the_mutants_are_refused_for_every_cause_there_is_and_often_accepted():
    seen: collections.Counter[str] = collections.Counter()
    for mutation in dict.fromkeys(MUTATIONS):
        for data in mutants(mutation, 500):
            answer = slow(data)
            seen[next(c for c in CAUSES if answer.startswith(c)) if isinstance(answer, str) else "ok"] += 1
    rare = {cause for cause in (*CAUSES, "ok") if seen[cause] < 10}
    assert (rare, seen["ok"] > 1000) == (set(), True)


@pytest.mark.parametrize("name", ["rand_1000", "many_instr_5000", "strlen_70000", "evict_cap64_of500"])
def test_field_mutants_of_large_goldens_are_judged_as_the_slow_reader_does(name: str):
    data = next(path for path in ARCHIVES if path.stem == name).read_bytes()
    rng = random.Random(name)
    assert first_disagreement([change_a_field(bytearray(data), rng) for _ in range(12)]) is None


def test_accepted_mutants_deviate_exactly_when_a_writer_would_write_something_else():
    accepted = [m for mutation in MUTATIONS for m in mutants(mutation, 200) if not isinstance(slow(m), str)]
    canonical = [slow_reader.write(slow_reader.read(data)) == data for data in accepted]
    assert [archive.deviation(data) is None for data in accepted] == canonical


def test_what_is_read_from_accepted_mutants_is_written_as_the_slow_writer_does():
    accepted = [m for mutation in MUTATIONS for m in mutants(mutation, 200) if not isinstance(slow(m), str)]
    written = [archive.dumps(archive.loads(data)) for data in accepted]
    assert written == [slow_reader.write(slow_reader.read(data)) for data in accepted]


def unvalidated(data: bytes, use: Callable[[Results], object]) -> str:
    """Any other exception than a DamageError fails the test by itself."""
    try:
        use(archive.loads(data, validate=False))
    except DamageError:
        return "damage"
    return "fine"


USES: dict[str, Callable[[Results], object]] = {
    "iterating": list,
    "dumps": archive.dumps,
}


@pytest.mark.parametrize("use", USES)
def test_mutants_read_without_validation_work_or_are_damage(use: str):
    files = [data for mutation in MUTATIONS for data in mutants(mutation, 300)]
    assert {unvalidated(data, USES[use]) for data in files} == {"fine", "damage"}


def test_tokens_of_mutants_that_claim_little_work_or_are_damage_without_validation():
    files = [data for mutation in (flip_bits, set_bytes, cut, swap_lists) for data in mutants(mutation, 300)]
    small = [data for data in files if claimed(data) < 10**6]
    outcomes = [unvalidated(data, lambda results: results.tokens(Vocabulary())) for data in small]
    assert (len(small) > 900, set(outcomes)) == (True, {"fine", "damage"})


def claimed(data: bytes) -> int:
    try:
        return int(archive.loads(data, validate=False).instruction_counts.sum())
    except DamageError:
        return 0


def test_accepted_mutants_have_the_same_records_without_validation():
    accepted = [m for mutation in MUTATIONS for m in mutants(mutation, 200) if not isinstance(slow(m), str)]
    without = [[r.to_dict() for r in archive.loads(data, validate=False)] for data in accepted]
    assert without == [slow_reader.read(data) for data in accepted]


# Round trips.

words = st.one_of(
    st.builds(fitted, st.sampled_from(TEXTS), st.sampled_from(LENGTHS)),
    st.text(max_size=20),
    st.text(alphabet="\0aé€𝕊", min_size=2, max_size=9),
)
u64 = st.integers(0, 2**64 - 1)
records = st.fixed_dictionaries(
    {
        "tir_hash": st.binary(min_size=32, max_size=32).map(bytes.hex),
        "generated_tasm": st.lists(words, max_size=6),
        "valid": st.booleans(),
        "clock_cycles": st.none() | u64,
        "compiler_cycles": u64,
        "fallback_used": st.booleans(),
        "timestamp": u64,
        "model_version": st.integers(0, 2**32 - 1),
    }
)
lists_of_records = st.lists(records, max_size=5)


def made(dicts: list[dict[str, Any]]) -> list[BuildResult]:
    return [BuildResult.from_dict(record) for record in dicts]


@given(lists_of_records)
@quick
def test_dumps_writes_what_the_slow_writer_writes(given_records: list[dict[str, Any]]):
    assert archive.dumps(made(given_records)) == slow_reader.write(given_records)


@given(lists_of_records)
@quick
def test_dumps_of_tokens_writes_what_the_slow_writer_writes(given_records: list[dict[str, Any]]):
    parts = [
        Results.concat(made(given_records)),
        archive.loads(slow_reader.write([])),
    ]  # a mix becomes tokens
    assert archive.dumps(Results.concat(parts)) == slow_reader.write(given_records)


@given(lists_of_records)
@quick
def test_dumps_of_an_archive_writes_what_the_slow_writer_writes(given_records: list[dict[str, Any]]):
    data = slow_reader.write(given_records)
    assert archive.dumps(archive.loads(data)) == data


@given(lists_of_records)
@quick
def test_loads_inverts_dumps(given_records: list[dict[str, Any]]):
    results = made(given_records)
    assert archive.loads(archive.dumps(results)).to_list() == results


@given(lists_of_records, st.data())
@quick
def test_any_selection_of_an_archive_is_written_as_the_slow_writer_writes_it(
    given_records: list[dict[str, Any]], data: st.DataObject
):
    last = len(given_records) - 1
    picks = data.draw(st.lists(st.integers(0, last), max_size=6) if last >= 0 else st.just([]))
    loaded = archive.loads(slow_reader.write(given_records))
    assert archive.dumps(loaded[picks]) == slow_reader.write([given_records[i] for i in picks])


@given(lists_of_records, st.randoms(use_true_random=False), st.sampled_from(MUTATIONS))
@quick
def test_a_mutated_round_trip_is_judged_as_the_slow_reader_does(
    given_records: list[dict[str, Any]],
    rng: random.Random,
    mutation: Callable[[bytearray, random.Random], bytes],
):
    data = mutation(bytearray(slow_reader.write(given_records)), rng)
    assert fast(data) == slow(data)


@given(st.binary(max_size=300).map(lambda head: head + struct.pack("<iI", -96, 1)))
@quick
def test_random_bytes_before_a_plausible_root_are_judged_as_the_slow_reader_does(data: bytes):
    assert fast(data) == slow(data)


@given(st.text(max_size=12).map(str.encode), st.binary(max_size=4), st.text(max_size=12).map(str.encode))
@quick
def test_text_with_a_few_random_bytes_in_it_is_judged_as_the_slow_reader_does(
    head: bytes, middle: bytes, tail: bytes
):
    text = head + middle + tail
    record = {**random_record(random.Random(0)), "generated_tasm": ["x" * len(text)]}
    data = slow_reader.write([record]).replace(b"x" * len(text), text, 1) if text else b""
    assert fast(data) == slow(data)


@pytest.mark.parametrize("lead", [bytes([b]) for b in range(0xC0, 0x100)], ids=bytes.hex)
@pytest.mark.parametrize("shift", [0, 7])
def test_utf8_is_as_strict_as_pythons_for_every_two_bytes_that_follow_a_lead_byte(lead: bytes, shift: int):
    edges = [0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xE0, 0xFF]
    record = {**random_record(random.Random(0)), "generated_tasm": ["x" * (shift + 12)]}
    archived = slow_reader.write([record])
    files = []
    for second in edges:
        for third in edges:
            text = b"x" * shift + lead + bytes([second, third, 0x80])
            files.append(archived.replace(b"x" * (shift + 12), text.ljust(shift + 12, b"y")))
            files.append(
                archived.replace(b"x" * (shift + 12), text.rjust(shift + 12, b"y"))
            )  # cut at the end
    assert first_disagreement(files) is None
