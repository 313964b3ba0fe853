"""Archives against what the real crate wrote and judged, and against files made to do harm."""

from __future__ import annotations

import errno
import itertools
import json
import mmap
import multiprocessing
import os
import resource
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import slow_reader
from ostinato import BuildResult, DamageError, Results, UsageError, Vocabulary, archive
from test_slow_reader import ARCHIVES, GOLDEN, VERDICTS, judge, records_of

BAD = sorted((GOLDEN / "bad").glob("*.rkyv"))
BY_NAME = {path.stem: path for path in (*ARCHIVES, *BAD)}
# from Python 3.12 on, forking a process with threads (numpy's) warns; nothing compiles in the children
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

FORK = multiprocessing.get_context("fork")
MIB = 2**20
LITTLE_MEMORY = 8 * MIB  # what refusing a hostile file of some KiB may take, with room for Python itself

each_golden = pytest.mark.parametrize("path", ARCHIVES, ids=lambda path: path.stem)
each_bad = pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
each_archive = pytest.mark.parametrize("path", [*ARCHIVES, *BAD], ids=lambda path: path.stem)


def golden(name: str) -> bytes:
    return BY_NAME[name].read_bytes()


def build_results(path: Path) -> list[BuildResult]:
    return [BuildResult.from_dict(record) for record in records_of(path)]


def dicts(results: Results) -> list[dict[str, object]]:
    return [result.to_dict() for result in results]


def from_columns(results: Results) -> Results:
    """The same results held as columns and tokens, none of the archive's bytes."""
    vocabulary = Vocabulary()
    tokens, offsets = results.tokens(vocabulary)
    return Results.from_columns(
        tir_hash=results.tir_hash.copy(),
        tokens=tokens,
        offsets=offsets,
        vocabulary=vocabulary,
        valid=results.valid.copy(),
        clock_cycles=results.clock_cycles.copy(),
        compiler_cycles=results.compiler_cycles.copy(),
        fallback_used=results.fallback_used.copy(),
        timestamp=results.timestamp.copy(),
        model_version=results.model_version.copy(),
    )


def refusal(act: Callable[[], object]) -> DamageError:
    with pytest.raises(DamageError) as caught:
        act()
    return caught.value


def patched(data: bytes, at: int, form: str, *values: int) -> bytes:
    out = bytearray(data)
    struct.pack_into("<" + form, out, at, *values)
    return bytes(out)


# What the real crate wrote.


def test_there_are_51_goldens_and_64_judged_archives():
    assert (len(ARCHIVES), len(BAD)) == (51, 64)


@each_golden
def test_dumps_of_build_results_is_the_golden(path: Path):
    assert archive.dumps(build_results(path)) == path.read_bytes()


@each_golden
def test_dumps_of_what_was_loaded_is_the_golden(path: Path):
    assert archive.dumps(archive.loads(path.read_bytes())) == path.read_bytes()


@each_golden
def test_dumps_of_columns_and_tokens_is_the_golden(path: Path):
    assert archive.dumps(from_columns(archive.loads(path.read_bytes()))) == path.read_bytes()


@each_golden
def test_dumps_of_results_put_together_from_parts_is_the_golden(path: Path):
    loaded = archive.loads(path.read_bytes())
    half = len(loaded) // 2
    parts = Results.concat([loaded[:half], build_results(path)[half:]])
    assert archive.dumps(parts) == path.read_bytes()


@each_golden
def test_dumps_of_a_generator_is_the_golden(path: Path):
    assert archive.dumps(result for result in build_results(path)) == path.read_bytes()


@each_golden
def test_an_archive_writer_fed_one_result_at_a_time_makes_the_golden(path: Path):
    loaded, writer = archive.loads(path.read_bytes()), archive.ArchiveWriter()
    chunks = [bytes(writer.add(loaded[i : i + 1])) for i in range(len(loaded))]
    assert b"".join([*chunks, *map(bytes, writer.finish())]) == path.read_bytes()


@each_golden
def test_loads_gives_the_records_that_were_written(path: Path):
    assert dicts(archive.loads(path.read_bytes())) == records_of(path)


@each_golden
def test_loads_gives_build_results_equal_to_those_made_by_hand(path: Path):
    assert archive.loads(path.read_bytes()).to_list() == build_results(path)


@each_golden
def test_indexing_gives_the_same_records_as_iterating(path: Path):
    loaded = archive.loads(path.read_bytes())
    assert [loaded[i].to_dict() for i in range(len(loaded))] == records_of(path)


@each_golden
def test_loads_without_validation_gives_a_golden_the_same_records(path: Path):
    assert dicts(archive.loads(path.read_bytes(), validate=False)) == records_of(path)


@each_golden
def test_dumps_of_a_golden_loaded_without_validation_is_the_golden(path: Path):
    assert archive.dumps(archive.loads(path.read_bytes(), validate=False)) == path.read_bytes()


@each_golden
def test_a_golden_reversed_and_reversed_again_is_itself(path: Path):
    loaded = archive.loads(path.read_bytes())
    order = np.arange(len(loaded))[::-1]
    assert archive.dumps(loaded[order][order]) == path.read_bytes()


def test_a_result_selected_many_times_is_written_as_often():
    loaded = archive.loads(golden("many_instr_5000"))
    picks = [0] * 5 * len(loaded)
    assert archive.dumps(loaded[picks]) == archive.dumps([loaded[i] for i in picks])


def test_a_result_selected_many_times_iterates_as_often():
    loaded = archive.loads(golden("many_instr_5000"))
    assert loaded[[0] * 5].to_list() == [loaded[0]] * 5


def test_columns_loaded_from_an_archive_are_read_only():
    loaded = archive.loads(bytearray(golden("seed_roundtrip3")))
    columns = [loaded.tir_hash, loaded.valid, loaded.compiler_cycles, loaded.timestamp, loaded.model_version]
    assert [column.flags.writeable for column in columns] == [False] * 5


# What the real crate judged.


@each_bad
def test_verdict_and_cause_are_the_real_crates(path: Path):
    verdict = VERDICTS[path.stem]
    try:
        archive.loads(path.read_bytes())
        actual: tuple[str, str | None] = ("ok", None)
    except DamageError as error:
        actual = ("error", error.cause)
    assert actual == (verdict["verdict"], verdict.get("cause"))


@each_bad
def test_an_accepted_archive_has_the_records_that_the_slow_reader_finds(path: Path):
    data = path.read_bytes()
    expected = slow_reader.read(data) if judge(data)[0] == "ok" else None
    try:
        actual = dicts(archive.loads(data))
    except DamageError:
        actual = None
    assert actual == expected


def test_48_judged_archives_are_refused_each_with_a_byte_offset_inside_the_file():
    refused = [path for path in BAD if VERDICTS[path.stem]["verdict"] == "error"]
    errors = [(path, refusal(lambda p=path: archive.loads(p.read_bytes()))) for path in refused]
    inside = [e.offset is not None and 0 <= e.offset < p.stat().st_size for p, e in errors]
    assert inside == [True] * 48


# The place that is wrong in distinct_field_bytes: strings at 0, their list at 12, the entry at 32, the root
# at 128 (FORMAT.md shows every byte).
PLACES = {
    "root_len_2": (128, None, None),
    "root_ptr_i32min": (128, None, None),
    "prefix_4": (132, None, None),
    "tasm_ptr_past_end": (64, 0, "generated_tasm"),
    "tasm_ptr_plus1": (64, 0, "generated_tasm"),
    "tasm_ptr_zero": (64, 0, "generated_tasm"),
    "str_inline_bad_utf8": (12, 0, "generated_tasm[0]"),
    "str_inline_first_80": (12, 0, "generated_tasm[0]"),
    "str_ool_bad_utf8_f5": (20, 0, "generated_tasm[1]"),
    "str_ool_len_0": (20, 0, "generated_tasm[1]"),
    "str_ool_ptr_before_start": (20, 0, "generated_tasm[1]"),
    "valid_255": (72, 0, "valid"),
    "fallback_255": (104, 0, "fallback_used"),
    "two_entries_same_list": (None, 1, "generated_tasm"),
    "two_entries_swapped_lists": (None, 1, "generated_tasm"),
}


@pytest.mark.parametrize("case", sorted(PLACES))
def test_an_error_names_the_byte_the_record_and_the_field(case: str):
    error = refusal(lambda: archive.loads(golden(case)))
    offset, record, field = PLACES[case]
    at = error.offset if offset is not None else None
    assert (at, error.record, error.field) == (offset, record, field)


def test_a_bad_discriminant_is_reported_at_the_clock_cycles_of_its_record():
    error = refusal(lambda: archive.loads(patched(golden("distinct_field_bytes"), 80, "B", 2)))
    expected = ("invalid discriminant '2' for enum 'ArchivedOption'", 80, 0, "clock_cycles")
    assert (error.cause, error.offset, error.record, error.field) == expected


def test_the_message_of_an_error_holds_cause_byte_record_and_field():
    error = refusal(lambda: archive.loads(golden("valid_255")))
    expected = "bool set to invalid byte 255, expected either 0 or 1 - at byte 72, record 0, `valid`"
    assert str(error) == expected


@pytest.mark.parametrize("record", [0, 1, 999])
def test_an_error_in_a_late_record_names_that_record(record: int):
    data = golden("rand_1000")
    entries = len(data) - 8 - 96 * 1000
    error = refusal(lambda: archive.loads(patched(data, entries + 96 * record + 40, "B", 7)))
    assert (error.record, error.offset) == (record, entries + 96 * record + 40)


def test_every_cut_of_an_archive_is_judged_as_the_slow_reader_judges_it():
    data = golden("distinct_field_bytes")
    expected = [judge(data[:size]) for size in range(len(data) + 1)]
    assert [verdict_of(data[:size]) for size in range(len(data) + 1)] == expected


def verdict_of(data: bytes) -> tuple[str, str | None]:
    try:
        archive.loads(data)
    except DamageError as error:
        return "error", error.cause
    return "ok", None


# Canonical or not.


@each_archive
def test_deviation_is_none_exactly_for_what_a_writer_would_write(path: Path):
    data = path.read_bytes()
    if judge(data)[0] == "error":
        canonical, actual = "refused", "refused"
        with pytest.raises(DamageError):
            archive.deviation(data)
    else:
        canonical = slow_reader.write(slow_reader.read(data)) == data
        actual = archive.deviation(data) is None
    assert actual == canonical


@each_archive
def test_a_deviation_says_the_first_byte_that_differs_and_both_sizes(path: Path):
    data = path.read_bytes()
    if judge(data)[0] == "error":
        data = golden("distinct_field_bytes") + bytes(8)
    made = slow_reader.write(slow_reader.read(data))
    found = archive.deviation(data)
    pairs = enumerate(itertools.zip_longest(data, made))
    expected = next(((i, len(data), len(made)) for i, (a, b) in pairs if a != b), None)
    assert (found and (found.offset, found.size, found.canonical_size)) == expected


def test_13_of_the_accepted_judged_archives_are_not_canonical():
    accepted = [path.read_bytes() for path in BAD if VERDICTS[path.stem]["verdict"] == "ok"]
    assert sum(archive.deviation(data) is not None for data in accepted) == 13


# Buffers.


def as_mmap(data: bytes) -> mmap.mmap:
    mapped = mmap.mmap(-1, len(data))
    mapped[:] = data
    return mapped


BUFFERS = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "memoryview of a bytearray": lambda data: memoryview(bytearray(data)),
    "numpy array": lambda data: np.frombuffer(data, np.uint8),
    "writable numpy array": lambda data: np.frombuffer(data, np.uint8).copy(),
    "mmap": as_mmap,
}


@pytest.mark.parametrize("kind", BUFFERS)
@pytest.mark.parametrize("name", ["rand_1000", "empty", "distinct_field_bytes"])
def test_loads_reads_every_kind_of_buffer(name: str, kind: str):
    assert dicts(archive.loads(BUFFERS[kind](golden(name)))) == records_of(BY_NAME[name])


@pytest.mark.parametrize("shift", range(1, 8))
def test_loads_reads_bytes_at_any_address(shift: int):
    data = golden("seed_roundtrip3")
    slid = memoryview(bytes(shift) + data)[shift:]
    assert archive.dumps(archive.loads(slid)) == data


@pytest.mark.parametrize("shift", range(1, 8))
def test_bytes_at_any_address_are_refused_with_the_same_cause(shift: int):
    data = golden("prefix_4")
    slid = memoryview(bytes(shift) + data)[shift:]
    assert refusal(lambda: archive.loads(slid)).cause == VERDICTS["prefix_4"]["cause"]


def test_loads_of_a_writable_array_leaves_it_writable():
    data = np.frombuffer(golden("one"), np.uint8).copy()
    archive.loads(data)
    assert data.flags.writeable


def test_an_aligned_buffer_is_not_copied():
    data = np.zeros(len(golden("one")) // 8, np.uint64)
    data.view(np.uint8)[:] = np.frombuffer(golden("one"), np.uint8)
    assert np.shares_memory(archive.loads(data.view(np.uint8)).timestamp, data)


def test_results_keep_their_buffer_alive():
    loaded = archive.loads(bytearray(golden("rand_1000")))
    for _ in range(3):
        bytearray(len(golden("rand_1000")))
    assert archive.dumps(loaded) == golden("rand_1000")


# Without validation: late, but never wrong in kind.


def outcome(act: Callable[[], object]) -> str:
    """Any other exception than a DamageError fails the test by itself."""
    try:
        act()
    except DamageError:
        return "damage"
    return "fine"


def all_uses(data: bytes) -> dict[str, str]:
    try:
        results = archive.loads(data, validate=False)
    except DamageError:
        return {"loads": "damage"}
    return {
        "iterating": outcome(lambda: list(results)),
        "indexing": outcome(lambda: [results[i] for i in range(len(results))]),
        "tokens": outcome(lambda: results.tokens(Vocabulary())),
        "dumps": outcome(lambda: archive.dumps(results)),
    }


def mutants(name: str, count: int) -> list[bytes]:
    """A golden with one to three bytes changed; the last third is where entries and root stand."""
    data, rng = golden(name), np.random.default_rng(len(name))
    out = []
    for _ in range(count):
        changed = bytearray(data)
        for _ in range(rng.integers(1, 4)):
            changed[rng.integers(len(data))] = int(rng.choice([0, 1, 2, 0x7F, 0x80, 0xBF, 0xC3, 0xFF]))
        out.append(bytes(changed))
    return out


@each_bad
def test_a_bad_archive_read_without_validation_works_or_is_damage(path: Path):
    assert set(all_uses(path.read_bytes()).values()) <= {"damage", "fine"}


@each_bad
def test_without_validation_a_bad_archive_is_never_written_on_as_a_bad_archive(path: Path):
    try:
        written = archive.dumps(archive.loads(path.read_bytes(), validate=False))
    except DamageError:
        written = slow_reader.write([])
    assert judge(written) == ("ok", None)


@pytest.mark.parametrize("name", ["distinct_field_bytes", "utf8_long", "empty_tasm_between", "strlen_300"])
def test_mutants_read_without_validation_work_or_are_damage(name: str):
    uses = [all_uses(data) for data in mutants(name, 150)]
    assert {kind for use in uses for kind in use.values()} == {"damage", "fine"}


@pytest.mark.parametrize("name", ["distinct_field_bytes", "utf8_long", "empty_tasm_between", "strlen_300"])
def test_without_validation_mutants_that_validation_accepts_have_the_same_records(name: str):
    accepted = [data for data in mutants(name, 150) if verdict_of(data)[0] == "ok"]
    without = [dicts(archive.loads(data, validate=False)) for data in accepted]
    assert (len(without) > 0, without) == (True, [slow_reader.read(data) for data in accepted])


def test_iterating_without_validation_names_the_record_also_beyond_the_first_chunk():
    data, record = many_records(5000), 4999
    entries = len(data) - 8 - 96 * 5000
    hostile = patched(data, entries + 96 * record + 32, "i", 2**31 - 1)
    error = refusal(lambda: list(archive.loads(hostile, validate=False)))
    assert (error.record, error.offset) == (record, entries + 96 * record + 32)


def test_dumps_without_validation_names_the_record_also_beyond_the_first_chunk():
    data, record = many_records(5000), 4999
    entries = len(data) - 8 - 96 * 5000
    hostile = patched(data, entries + 96 * record + 32, "i", 2**31 - 1)
    error = refusal(lambda: archive.dumps(archive.loads(hostile, validate=False)))
    assert (error.record, error.offset) == (record, entries + 96 * record + 32)


def many_records(count: int) -> bytes:
    return archive.dumps(build_results(BY_NAME["one"]) * count)


# Files.


@pytest.fixture(params=[archive.open, archive.read], ids=["open", "read"])
def reader(request: pytest.FixtureRequest) -> Callable[[object], Results]:
    return request.param


@each_golden
def test_a_file_reads_as_its_bytes_do(path: Path, reader: Callable[[object], Results]):
    assert dicts(reader(path)) == records_of(path)


def test_a_path_may_be_a_string(reader: Callable[[object], Results]):
    assert dicts(reader(str(BY_NAME["one"]))) == records_of(BY_NAME["one"])


def test_opening_without_validation_reads_the_same_records():
    path = BY_NAME["rand_1000"]
    assert dicts(archive.open(path, validate=False)) == records_of(path)


def test_an_empty_file_is_refused_as_too_short(tmp_path: Path, reader: Callable[[object], Results]):
    path = tmp_path / "empty.rkyv"
    path.touch()
    error = refusal(lambda: reader(path))
    assert (error.cause, error.source) == (judge(b"")[1], str(path))


def test_a_refused_file_is_named_first_in_the_message(reader: Callable[[object], Results]):
    path = BY_NAME["valid_255"]
    assert str(refusal(lambda: reader(path))).startswith(f"{path}: bool set to invalid byte 255")


def test_a_missing_file_is_a_file_not_found_error(tmp_path: Path, reader: Callable[[object], Results]):
    with pytest.raises(FileNotFoundError) as caught:
        reader(tmp_path / "none.rkyv")
    assert caught.value.filename in (tmp_path / "none.rkyv", str(tmp_path / "none.rkyv"))


def test_a_folder_is_an_os_error(tmp_path: Path, reader: Callable[[object], Results]):
    with pytest.raises(OSError) as caught:
        reader(tmp_path)
    assert caught.value.errno == errno.EISDIR


def test_a_device_is_a_usage_error_that_names_it(reader: Callable[[object], Results]):
    with pytest.raises(UsageError) as caught:
        reader(os.devnull)
    assert str(caught.value).startswith(os.devnull)


def test_a_pipe_without_a_writer_is_a_usage_error_and_no_hang(
    tmp_path: Path, reader: Callable[[object], Results]
):
    pipe = tmp_path / "pipe.rkyv"
    os.mkfifo(pipe)
    assert in_child(lambda: reader(pipe)) == "UsageError"


def in_child(act: Callable[[], object], memory: int | None = None, patience_s: float = 10) -> str:
    """What came of a call in a forked process: "fine", an exception's name, or that it died or hung."""
    inbox, outbox = FORK.Pipe(duplex=False)

    def child() -> None:
        if memory is not None:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
        try:
            act()
            outbox.send("fine")
        except BaseException as error:
            outbox.send(type(error).__name__)
        os._exit(0)

    process = FORK.Process(target=child)
    process.start()
    outbox.close()
    try:
        if not inbox.poll(patience_s):
            return "hung"
        return inbox.recv()
    except EOFError:
        return "died"
    finally:
        process.kill()
        process.join()
        inbox.close()


# Limits of the writer, made small.


def one_with(*words: str) -> list[BuildResult]:
    return [BuildResult.from_dict({**records_of(BY_NAME["one"])[0], "generated_tasm": list(words)})]


FORMS = {
    "build results": lambda results: results,
    "tokens": lambda results: from_columns(Results.concat(results)),
    "archive": lambda results: archive.loads(slow_reader.write([r.to_dict() for r in results])),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_string_as_long_as_the_limit_is_a_usage_error(form: str, monkeypatch: pytest.MonkeyPatch):
    results = FORMS[form](one_with("é" * 500))
    monkeypatch.setattr(archive.writing.layout, "STRING_END", 1000)
    with pytest.raises(UsageError, match="1000 - at `generated_tasm`"):
        archive.dumps(results)


@pytest.mark.parametrize("form", FORMS)
def test_a_string_one_byte_below_the_limit_is_written(form: str, monkeypatch: pytest.MonkeyPatch):
    results = one_with("é" * 499 + "e")
    held = FORMS[form](results)
    monkeypatch.setattr(archive.writing.layout, "STRING_END", 1000)
    assert archive.dumps(held) == slow_reader.write([r.to_dict() for r in results])


@pytest.mark.parametrize("form", FORMS)
def test_an_archive_as_large_as_the_limit_is_a_usage_error_that_names_a_store(
    form: str, monkeypatch: pytest.MonkeyPatch
):
    results = build_results(BY_NAME["seed_roundtrip3"])
    held = FORMS[form](results)
    monkeypatch.setattr(archive.writing.layout, "ARCHIVE_END", len(golden("seed_roundtrip3")))
    with pytest.raises(UsageError, match="store"):
        archive.dumps(held)


@pytest.mark.parametrize("form", FORMS)
def test_an_archive_one_byte_below_the_limit_is_written(form: str, monkeypatch: pytest.MonkeyPatch):
    held = FORMS[form](build_results(BY_NAME["seed_roundtrip3"]))
    monkeypatch.setattr(archive.writing.layout, "ARCHIVE_END", len(golden("seed_roundtrip3")) + 1)
    assert archive.dumps(held) == golden("seed_roundtrip3")


def test_a_save_over_the_limit_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "replay.rkyv"
    archive.save(path, [])
    monkeypatch.setattr(archive.writing.layout, "ARCHIVE_END", 1000)
    with pytest.raises(UsageError):
        archive.save(path, archive.loads(golden("rand_1000")))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"replay.rkyv": bytes(8)}


# Hostile sizes: what a file claims is never allocated.


def entry(position: int, list_at: int, count: int) -> bytes:
    out = bytearray(96)
    struct.pack_into("<iI", out, 32, list_at - (position + 32), count)
    return bytes(out)


def sharing(entries: int, list_bytes: bytes, *, lists_at: int, records: int) -> bytes:
    """An archive whose entries all claim the `records` string records at `lists_at` of `list_bytes`."""
    first = len(list_bytes)
    assert first % 8 == 0
    body = b"".join(entry(first + 96 * i, lists_at, records) for i in range(entries))
    return list_bytes + body + struct.pack("<iI", -96 * entries, entries)


def far_records(count: int, text: bytes) -> bytes:
    """A text and then `count` string records that all point at it."""
    out = bytearray(text)
    length = len(text)
    packed = (length & 0x3F) | 0x80 | ((length & ~0x3F) << 2)
    for i in range(count):
        out += struct.pack("<Ii", packed, -(length + 8 * i))
    return bytes(out)


HOSTILE = {
    "a root that claims 2**32 - 1 entries": struct.pack("<iI", 0, 2**32 - 1),
    "a root far in front that claims 2**32 - 1 entries": bytes(800) + struct.pack("<iI", -800, 2**32 - 1),
    "a list that claims 2**32 - 1 strings": sharing(1, b"", lists_at=0, records=2**32 - 1),
    "a thousand lists of 2**32 - 1 strings": sharing(1000, b"", lists_at=0, records=2**32 - 1),
    "a thousand entries that share one list": sharing(1000, b"\xff" * 8 * 50_000, lists_at=0, records=50_000),
    "a string that claims 2**30 - 1 bytes": sharing(
        1, struct.pack("<Ii", 0xFFFFFFBF, 0), lists_at=0, records=1
    ),
    "a thousand strings that share their bytes": sharing(
        1, far_records(1000, b"a" * 100_000), lists_at=100_000, records=1000
    ),
    "ten thousand strings that share their bytes": sharing(
        1, far_records(10_000, b"a" * 400_000), lists_at=400_000, records=10_000
    ),
}
USES: dict[str, Callable[[bytes], object]] = {
    "loads": archive.loads,
    "iterating": lambda data: list(archive.loads(data, validate=False)),
    "indexing": lambda data: archive.loads(data, validate=False)[0],
    "text": lambda data: archive.loads(data, validate=False).generated_tasm[0],
    "tokens": lambda data: archive.loads(data, validate=False).tokens(Vocabulary()),
    "dumps": lambda data: archive.dumps(archive.loads(data, validate=False)),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused_with_the_slow_readers_words(case: str):
    assert refusal(lambda: archive.loads(HOSTILE[case])).cause == judge(HOSTILE[case])[1]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_fine_or_damage_in_a_process_with_little_memory(case: str, use: str):
    outcome_of_child = in_child(lambda: USES[use](HOSTILE[case]), memory=512 * MIB)
    assert outcome_of_child in ("fine", "DamageError")


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("case", HOSTILE)
def test_nothing_is_allocated_on_the_strength_of_a_claim(case: str, use: str):
    data = HOSTILE[case]
    outcome_of_child = in_child(lambda: check_peak(USES[use], data))
    assert outcome_of_child == "fine"


def check_peak(act: Callable[[bytes], object], data: bytes) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (4096 * MIB, 4096 * MIB))  # should it allocate after all
    tracemalloc.start()
    outcome(lambda: act(data))
    peak = tracemalloc.get_traced_memory()[1]
    if peak > LITTLE_MEMORY + 4 * len(data):
        raise MemoryError(f"{peak} bytes for a file of {len(data)}")


# The JSON form beside the goldens is part of what they prove.


@each_golden
def test_the_records_of_a_golden_survive_their_json_form(path: Path):
    lines = [json.dumps(result.to_dict()) for result in archive.loads(path.read_bytes())]
    assert [json.loads(line) for line in lines] == records_of(path)
