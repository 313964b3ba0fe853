"""A second, slow and obvious reading of the store format, to hold the real one against.

Rule of this file: written from the format's description alone, with `struct`, `json` and plain integers.
It shares nothing with the package, not even a constant, and prefers clarity to speed everywhere.
Records are dicts in the form of `slow_reader` (`tir_hash` in hex). It reads a store at rest: every journal
is taken to be closed, so that a bad tail is torn or damage. The writer by hand is in `slow_store_writer`.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import slow_reader

Record = dict[str, Any]
Context = dict[str, str]
Extras = list[list[Any]]  # [name, dtype, default or None], as MANIFEST has them

HEAD = struct.Struct("<8sIIIIQQ16s4xI".replace(" ", ""))
FRAME = struct.Struct("<QIIII")  # mark, bytes of the payload, count, index and kind, CRC-32
MAGIC = b"OSTJRNL\n"
HEAD_SIZE, CONTEXT_AT, FRAME_SIZE, BLOCK = 64, 128, 24, 4096
MAX_CONTEXT, NPY_DATA_AT, ENTRY_SIZE = 2**20, 128, 96
ROOT = struct.Struct("<iI")  # of an archive: the distance to its entries, and their count
INDEX_BITS = 24
RECORDS, AMENDMENT = 0, 1
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
AMENDMENT_KEYS = {"id", "at", "reason", "result"}
SEALED_AMENDMENT_KEYS = {"id", "at", "reason", "amendment", "before", "after", "folded"}
# a bool, an integer or a float of at most 8 bytes, by the codes of struct
CODES = {
    "|b1": "?",
    "|i1": "b",
    "<i2": "h",
    "<i4": "i",
    "<i8": "q",
    "|u1": "B",
    "<u2": "H",
    "<u4": "I",
    "<u8": "Q",
    "<f2": "e",
    "<f4": "f",
    "<f8": "d",
}


class Refused(Exception):  # noqa: N818 - a verdict, and nobody's error
    """The store cannot be read at all; the file that is to blame, and why."""


class Newer(Refused):
    """Something in the store is of a version that this reader does not know."""


class Bad(ValueError):  # noqa: N818 - a verdict, and nobody's error
    """A part of the store is not what the description says; the reason in words."""


class Repeated(Bad):
    """A frame would be good if its records had not been there before."""


@dataclass
class SlowStore:
    """What a store holds.

    `records`: by id, the eight fields as amended, and `extras`, `context`, `file`.
    `amendments`: `id`, `at`, `reason`, `amendment` (its own id), `before`, `after`, `folded`, `file`.
    `skipped`: file, position, size and "torn", "damage" or "repeated".
    `left_out`: by segment, how many of its records lie in damaged blocks.
    `problems`: what is to be reported, though everything else can be read.
    """

    manifest: dict[str, Any]
    records: dict[int, Record] = field(default_factory=dict)
    amendments: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[tuple[str, int, int, str]] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read_store(path: str | Path) -> SlowStore:
    """Everything that the folder holds, or Refused."""
    return _Reader(Path(path)).store


def pad8(n: int) -> int:
    """`n` rounded up to a multiple of 8."""
    return (n + 7) // 8 * 8


def file_name(number: int) -> str:
    """A journal's or segment's number as names have it: six digits or more."""
    return f"{number:06d}"


def record_id(journal: int, index: int) -> int:
    """The id of the record with this index in this journal."""
    return journal << INDEX_BITS | index


# text


def read_json(data: bytes) -> Any:
    """What strict UTF-8 JSON says: no NaN, no name twice in an object, no half of a surrogate pair."""
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_object)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise Bad(f"no JSON: {error}") from None
    return value


def read_signed(data: bytes) -> dict[str, Any]:
    """The object of a text that ends in the line of its own CRC-32."""
    match = re.fullmatch(rb"(.*\n)crc32 ([0-9a-fA-F]{8})\n", data, re.DOTALL)
    if match is None:
        raise Bad("does not end in a line of its CRC-32")
    if zlib.crc32(match[1]) != int(match[2], 16):
        raise Bad("the CRC-32 is not that of the text")
    return _need_object(read_json(match[1]))


def signed(value: Any) -> bytes:
    """JSON, LF, and the line of its CRC-32."""
    text = json.dumps(value, ensure_ascii=False).encode("utf-8") + b"\n"
    return text + f"crc32 {zlib.crc32(text):08x}\n".encode()


def _no_constant(text: str) -> Any:
    raise Bad(f"{text} is no JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise Bad("a name stands twice in an object")
    return dict(pairs)


def _need_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Bad("is no object")
    return value


def _is_int(value: Any, bits: int = 64) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**bits


def _is_seconds(value: Any) -> bool:
    return _is_int(value)


def _is_context(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def check_record(value: Any) -> Record:
    """The eight fields as in JSON lines, or Bad."""
    if not isinstance(value, dict) or set(value) != set(FIELDS):
        raise Bad("a record has the eight fields and no others")
    good = (
        isinstance(value["tir_hash"], str)
        and re.fullmatch(r"[0-9a-fA-F]{64}", value["tir_hash"]) is not None
        and isinstance(value["generated_tasm"], list)
        and all(isinstance(text, str) for text in value["generated_tasm"])
        and isinstance(value["valid"], bool)
        and (value["clock_cycles"] is None or _is_int(value["clock_cycles"]))
        and _is_int(value["compiler_cycles"])
        and isinstance(value["fallback_used"], bool)
        and _is_int(value["timestamp"])
        and _is_int(value["model_version"], 32)
    )
    if not good:
        raise Bad("a field of a record has a value that is not its own")
    record = {name: value[name] for name in FIELDS}
    record["tir_hash"] = record["tir_hash"].lower()
    return record


# numbers


def row_struct(extras: Extras) -> struct.Struct:
    """A row of the extra columns: one after the other, unaligned."""
    return struct.Struct("<" + "".join(CODES[dtype] for _, dtype, _ in extras))


def read_npy(data: bytes, dtype: str, dimensions: int) -> tuple[tuple[int, ...], list[Any]]:
    """Shape and values, flat, of an npy file of version 1.0, or Bad."""
    if data[:8] != b"\x93NUMPY\x01\x00" or len(data) < 10:
        raise Bad("is no npy file of version 1.0")
    begin = 10 + int.from_bytes(data[8:10], "little")
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes in damaged text
            header = ast.literal_eval(data[10:begin].decode("latin-1").strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise Bad("the npy header cannot be read") from None
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise Bad("the npy header has other fields")
    if begin != NPY_DATA_AT or begin > len(data):
        raise Bad("the npy data are not at 128")
    shape = header["shape"]
    if header["descr"] != dtype or header["fortran_order"] is not False:
        raise Bad(f"the npy file is not {dtype} in C order")
    if not isinstance(shape, tuple) or len(shape) != dimensions or not all(map(_is_int, shape)):
        raise Bad(f"the npy file has not {dimensions} dimensions")
    size = 1
    for length in shape:
        size *= length
    if len(data) - begin != size * struct.calcsize("<" + CODES[dtype]):
        raise Bad("the npy file is not as long as its shape says")
    return shape, list(struct.unpack_from(f"<{size}{CODES[dtype]}", data, begin))


def npy(dtype: str, shape: tuple[int, ...], values: list[Any]) -> bytes:
    """An npy file of version 1.0, the data at 128."""
    header = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    header = header.ljust(NPY_DATA_AT - 11) + "\n"
    data = struct.pack(f"<{len(values)}{CODES[dtype]}", *values)
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode("latin-1") + data


def sums_of(data: bytes) -> list[int]:
    """The CRC-32 of each 4,096 bytes; the last block is short."""
    return [zlib.crc32(data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)]


# reading


class _Reader:
    """Reads a folder once: MANIFEST, the segments it names, the journals that are not retired."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = SlowStore(self.manifest())
        self.extras: Extras = self.store.manifest["extras"]
        self.row = row_struct(self.extras)
        self.originals: dict[int, Record] = {}  # by id, the fields before amendments are applied
        for entry in self.store.manifest["segments"]:
            _Segment(self, entry).read()
        for number, file in self.journal_files():
            self.journal(number, file)
        self.amend()

    def problem(self, file: str, text: str) -> None:
        self.store.problems.append(f"{file}: {text}")

    def skip(self, file: str, position: int, size: int, kind: str) -> None:
        self.store.skipped.append((file, position, size, kind))

    def manifest(self) -> dict[str, Any]:
        try:
            manifest = read_signed(read_plain(self.path / "MANIFEST"))
        except FileNotFoundError:
            raise Refused("no MANIFEST") from None
        except (OSError, Bad) as bad:
            raise Refused(f"MANIFEST: {bad}") from None
        version = manifest.get("ostinato_store")
        if not _is_int(version) or version == 0:
            raise Refused("MANIFEST: no version")
        if version > 1:
            raise Newer(f"MANIFEST: version {version}")
        _check_manifest(manifest)
        return manifest

    def is_retired(self, journal: int) -> bool:
        return any(first <= journal <= last for first, last in self.store.manifest["retired"])

    def add(self, number: int, record: Record) -> None:
        if number in self.store.records:
            raise Refused(f"{record['file']}: record {number} is in {self.store.records[number]['file']} too")
        self.store.records[number] = record
        self.add_original(number, record)

    def add_original(self, number: int, record: Record) -> None:
        if "tir_hash" in record:
            self.originals[number] = {name: record[name] for name in FIELDS}

    def amend(self) -> None:
        """Put each record's last amendment, by `at` and then by the amendment's own id, in its place."""
        for amendment in self.store.amendments:
            if amendment["file"].startswith("journals/"):
                amendment["before"] = self.original(amendment["id"])
        last = {}
        for amendment in sorted(self.store.amendments, key=lambda each: (each["at"], each["amendment"])):
            last[amendment["id"]] = amendment
        for number, amendment in last.items():
            if number in self.store.records and not amendment["folded"]:
                self.store.records[number].update(amendment["after"])
        for number, record in list(self.store.records.items()):
            if "tir_hash" not in record:
                left_out = self.store.left_out
                left_out[record["file"]] = left_out.get(record["file"], 0) + 1
                del self.store.records[number]

    def original(self, number: int) -> Record | None:
        """A record as it was appended; None if it is not there, or that is not known any more."""
        sealed = [
            amendment
            for amendment in self.store.amendments
            if amendment["id"] == number and amendment["file"].startswith("segments/")
        ]
        for amendment in sealed:
            if amendment["before"] is not None:
                before: Record = amendment["before"]
                return before
        return None if any(amendment["folded"] for amendment in sealed) else self.originals.get(number)

    def add_amendment(self, amendment: dict[str, Any]) -> None:
        for other in self.store.amendments:
            if other["amendment"] == amendment["amendment"]:
                # sealed in one segment, folded into another: it is one amendment all the same
                if any(other[key] != amendment[key] for key in ("id", "at", "reason", "after")):
                    self.problem(amendment["file"], f"amendment {amendment['amendment']} differs elsewhere")
                return
        self.store.amendments.append(amendment)

    # journals

    def journal_files(self) -> Iterator[tuple[int, Path]]:
        folder = self.path / "journals"
        found = []
        if folder.is_symlink() or not folder.is_dir():
            raise Refused("journals: is no folder")
        for file in folder.iterdir():
            match = re.fullmatch(r"([0-9]{6,})\.journal", file.name, re.ASCII)
            number = int(match[1]) if match else 0
            if not 1 <= number < 2**39 or file.name != file_name(number) + ".journal":
                continue  # other files do not count
            if not self.is_retired(number):
                found.append((number, file))
        return iter(sorted(found))

    def journal(self, number: int, file: Path) -> None:
        name = f"journals/{file.name}"
        if file.is_symlink() or not file.is_file():
            self.problem(name, "is no file")
            return
        data = file.read_bytes()
        if len(data) < CONTEXT_AT:
            if data:  # its writer was stopped at once
                self.skip(name, 0, len(data), "torn")
            return
        heads = [_head(data, 0), _head(data, HEAD_SIZE)]
        head = heads[0] or heads[1]
        if head is None:
            self.problem(name, "both heads are damaged")
            return
        version, context_size, context_crc, extra_size, said_number, salt, store_id = head
        if version > 1:
            raise Newer(f"{name}: version {version}")
        if store_id.hex() != self.store.manifest["store_id"]:
            self.problem(name, f"is of store {store_id.hex()}")
            return
        if said_number != number:
            self.problem(name, f"is journal {said_number}")
            return
        if extra_size != self.row.size:
            self.problem(name, f"has {extra_size} bytes of extra columns a record, not {self.row.size}")
            return
        first = CONTEXT_AT + context_size
        if len(data) < first:
            self.skip(name, 0, len(data), "torn")
            return
        if None in heads:
            self.problem(name, f"head {1 + heads.index(None)} is damaged")
        context = self.context(name, data[CONTEXT_AT:first], context_crc)
        self.frames(name, data, first, salt, number, context)

    def context(self, name: str, data: bytes, crc: int) -> Context:
        try:
            if zlib.crc32(data) != crc:
                raise Bad("the CRC-32 is wrong")
            value = _need_object(read_json(data))
            if not _is_seconds(value.get("opened")):
                raise Bad("has no time")
            if not _is_context(value.get("context")):
                raise Bad("is no object of strings")
        except Bad as bad:
            self.problem(name, f"the context: {bad}")
            return {}
        context: Context = value["context"]
        return context

    def frames(self, name: str, data: bytes, first: int, salt: int, number: int, context: Context) -> None:
        at, index = first, 0
        lost: int | None = None  # where what is passed over begins
        repeats = False
        while at < len(data):
            try:
                end, begin, count, kind, payload = self.frame(data, at, salt, index)
            except Bad as bad:
                if lost is None:
                    lost, repeats = at, isinstance(bad, Repeated)
                at += 8
                continue
            if lost is not None:
                self.skip(name, lost, at - lost, "repeated" if repeats else "damage")
                lost = None
            if kind == AMENDMENT:
                self.amendment(name, at, end - at, record_id(number, begin), payload)
            else:
                for i, (record, extras) in enumerate(self.read_records(payload, count)):
                    origin = {"extras": extras, "context": context, "file": name}
                    self.add(record_id(number, begin + i), record | origin)
            at, index = end, begin + count
        if lost is not None:
            whole = "damage" if _is_whole_frame(data, lost, salt) else "torn"
            self.skip(name, lost, len(data) - lost, "repeated" if repeats else whole)

    def amendment(self, name: str, at: int, size: int, own: int, payload: bytes) -> None:
        try:
            content = _read_amendment(payload)
        except Bad:
            self.skip(name, at, size, "damage")
            return
        self.add_amendment(content | {"amendment": own, "before": None, "folded": False, "file": name})

    def frame(self, data: bytes, at: int, salt: int, lowest: int) -> tuple[int, int, int, int, bytes]:
        """The good frame at this position: its end, first index, count, kind and payload; or Bad."""
        if at + FRAME_SIZE > len(data):
            raise Bad("the file ends")
        mark, size, count, index_and_kind, crc = FRAME.unpack_from(data, at)
        index, kind = index_and_kind & (1 << INDEX_BITS) - 1, index_and_kind >> INDEX_BITS
        end = at + FRAME_SIZE + size
        payload = data[at + FRAME_SIZE : end]
        if mark != salt ^ at:
            raise Bad("the mark is wrong")
        if size % 8 or end > len(data):
            raise Bad("the length is wrong")
        if kind not in (RECORDS, AMENDMENT):
            raise Bad("the kind is wrong")
        if count < 1 or (kind == AMENDMENT and count != 1) or index + count > 1 << INDEX_BITS:
            raise Bad("the count is wrong")
        if zlib.crc32(data[at : at + 20] + payload) != crc:
            raise Bad("the CRC-32 is wrong")
        if index < lowest:
            raise Repeated("the index does not rise")
        if kind == RECORDS:
            self.read_records(payload, count)
        return end, index, count, kind, payload

    def read_records(self, payload: bytes, count: int) -> list[tuple[Record, dict[str, Any]]]:
        archive_size = len(payload) - pad8(count * self.row.size)
        if archive_size < 0 or archive_size % 8:
            raise Bad("no room for the rows")
        records = read_archive(payload[:archive_size], count)
        rows = [self.row.unpack_from(payload, archive_size + i * self.row.size) for i in range(count)]
        names = [name for name, _, _ in self.extras]
        return [
            (record, dict(zip(names, row, strict=True))) for record, row in zip(records, rows, strict=True)
        ]


def read_archive(data: bytes, count: int) -> list[Record]:
    """Exactly `count` records, whose entries stand directly before the root; or Bad."""
    try:
        records = slow_reader.read(data)
    except slow_reader.Refused as refused:
        raise Bad(refused.cause) from None
    if len(records) != count:
        raise Bad("the archive holds another count of records")
    if ROOT.unpack_from(data, len(data) - ROOT.size)[0] != -ENTRY_SIZE * count:
        raise Bad("the entries do not stand directly before the root")
    return records


class _Segment:
    """Reads one segment's folder: all that does not lie in damaged blocks; or Refused."""

    def __init__(self, reader: _Reader, entry: dict[str, Any]) -> None:
        self.reader, self.named = reader, entry
        self.name = f"segments/{entry['name']}"
        self.folder = reader.path / "segments" / entry["name"]
        self.count: int = entry["records"]
        self.files: dict[str, bytes] = {}
        self.damaged: dict[str, set[int]] = {}  # by file, its damaged blocks
        self.lost: set[int] = set()  # places of records that are left out

    def refuse(self, file: str, why: str) -> Refused:
        return Refused(f"{self.name}/{file}: {why}")

    def plain(self, file: str) -> bytes:
        try:
            return read_plain(self.folder / file)
        except OSError as error:
            raise self.refuse(file, _words(error)) from None

    def read(self) -> None:
        self.open_files(self.about())
        ids = self.column("ids.npy", "<i8")
        columns = {name: self.column(f"extra-{name}.npy", dtype) for name, dtype, _ in self.reader.extras}
        records = self.records()
        contexts = self.contexts()
        without = self.lost_of("ids.npy", 8)
        known = [number for i, number in enumerate(ids) if i not in without]
        if any(after <= before for before, after in itertools.pairwise(known)):
            raise self.refuse("ids.npy", "the ids do not rise")
        for i, number in enumerate(ids):
            if i not in without:  # its fields may be whole where an extra column is not
                self.reader.add_original(number, records[i])
            if i in self.lost:
                continue
            extras = {column: values[i] for column, values in columns.items()}
            context = contexts.get(number >> INDEX_BITS, {})
            # a record of which only the text is lost is without its fields: it may have been amended
            self.reader.add(number, records[i] | {"extras": extras, "context": context, "file": self.name})
        if self.lost:
            self.reader.store.left_out[self.name] = len(self.lost)
        self.amendments()

    def about(self) -> dict[str, Any]:
        try:
            about = read_signed(self.plain("segment.json"))
            version = about.get("ostinato_segment")
            if not _is_int(version) or version == 0:
                raise Bad("no version")
            if version > 1:
                raise Newer(f"{self.name}/segment.json: version {version}")
            _check_segment(about)
            if about["store_id"] != self.reader.store.manifest["store_id"]:
                raise Bad(f"is of store {about['store_id']}")
            if about["name"] != self.named["name"]:
                raise Bad(f"is segment {about['name']}")
            if about["records"] != self.count:
                raise Bad(f"holds {about['records']} records, not {self.count} as in MANIFEST")
            columns = [f"extra-{name}.npy" for name, _, _ in self.reader.extras]
            expected = ["records.rkyv", "ids.npy", *columns, "journals.npy", "contexts.json"]
            if [name for name, _ in about["files"]] not in (expected, [*expected, "amendments.jsonl"]):
                raise Bad("names other files")
        except Bad as bad:
            raise self.refuse("segment.json", str(bad)) from None
        return about

    def open_files(self, about: dict[str, Any]) -> None:
        """Read all files, and hold all blocks against their sums."""
        data = self.plain("sums.npy")
        if zlib.crc32(data) != about["sums_crc32"]:
            raise self.refuse("sums.npy", "the CRC-32 is not that in segment.json")
        try:
            sums = read_npy(data, "<u4", 1)[1]
        except Bad as bad:
            raise self.refuse("sums.npy", str(bad)) from None
        if len(sums) != sum((size + BLOCK - 1) // BLOCK for _, size in about["files"]):
            raise self.refuse("sums.npy", "has another count of blocks than the files")
        for name, size in about["files"]:
            self.files[name] = self.plain(name)
            if len(self.files[name]) != size:
                raise self.refuse(name, f"has {len(self.files[name])} bytes, not {size}")
            self.damaged[name] = set()
            for block, crc in enumerate(sums_of(self.files[name])):
                if crc != sums.pop(0):
                    begin = block * BLOCK
                    self.damaged[name].add(block)
                    self.reader.skip(f"{self.name}/{name}", begin, min(BLOCK, size - begin), "damage")

    def is_good(self, name: str, begin: int, size: int) -> bool:
        """Does none of these bytes lie in a damaged block?"""
        last = begin + size - 1
        return size == 0 or not any(
            block in self.damaged[name] for block in range(begin // BLOCK, last // BLOCK + 1)
        )

    def whole(self, name: str) -> bytes:
        if self.damaged[name]:
            raise self.refuse(name, "is damaged")
        return self.files[name]

    def lost_of(self, name: str, width: int) -> set[int]:
        """The places whose numbers in this npy file lie in damaged blocks."""
        return {i for i in range(self.count) if not self.is_good(name, NPY_DATA_AT + width * i, width)}

    def column(self, name: str, dtype: str) -> list[Any]:
        """A number for each record; those in damaged blocks mean nothing, and are lost."""
        data, width = self.files[name], struct.calcsize("<" + CODES[dtype])
        if len(data) != NPY_DATA_AT + width * self.count:
            raise self.refuse(name, "is not as long as the count of records says")
        if self.is_good(name, 0, NPY_DATA_AT):
            try:
                shape, _ = read_npy(data, dtype, 1)
            except Bad as bad:
                raise self.refuse(name, str(bad)) from None
            if shape != (self.count,):
                raise self.refuse(name, f"has {shape[0]} values, not {self.count}")
        self.lost |= self.lost_of(name, width)
        return list(struct.unpack_from(f"<{self.count}{CODES[dtype]}", data, NPY_DATA_AT))

    def records(self) -> list[Record]:
        """A record for each place, entry by entry; those that are lost are empty."""
        try:
            return self.entries(self.files["records.rkyv"])
        except Bad as bad:
            raise self.refuse("records.rkyv", str(bad)) from None

    def entries(self, data: bytes) -> list[Record]:
        root_at = len(data) - ROOT.size
        entries_at = root_at - ENTRY_SIZE * self.count
        if entries_at < 0 or entries_at % 8:
            raise Bad("is not as long as the count of records says")
        root = ROOT.unpack_from(data, root_at)
        if self.is_good("records.rkyv", root_at, ROOT.size) and root != (
            -ENTRY_SIZE * self.count,
            self.count,
        ):
            raise Bad("the root is another")
        records: list[Record] = []
        low = 0
        for i in range(self.count):
            at = entries_at + ENTRY_SIZE * i
            record: Record = {}
            if not self.is_good("records.rkyv", at, ENTRY_SIZE):
                self.lost.add(i)
            else:
                distance, length = struct.unpack_from("<iI", data, at + 32)
                list_at = at + 32 + distance
                if list_at < low or list_at + 8 * length > entries_at:
                    raise Bad(f"the list of entry {i} is not in its order")
                low = list_at + 8 * length
                record = self.entry(data, at, list_at, low)
            records.append(record)
        return records

    def entry(self, data: bytes, at: int, list_at: int, list_end: int) -> Record:
        """The record, read as the only one of an archive; empty if its text is damaged, or it would be refused."""
        if not self.is_good("records.rkyv", list_at, list_end - list_at):
            return {}
        first = list_at  # where what the record needs begins
        for place in range(list_at, list_end, 8):
            if data[place] & 0xC0 == 0x80:
                packed, distance = struct.unpack_from("<Ii", data, place)
                begin, length = place + distance, (packed & 0x3F) | (packed & ~0xFF) >> 2
                if 0 <= begin <= begin + length <= list_at:
                    if not self.is_good("records.rkyv", begin, length):
                        return {}
                    first = min(first, begin)
        first -= first % 8
        before = data[first:list_end] + bytes(-list_end % 8)
        entry = bytearray(data[at : at + ENTRY_SIZE])
        struct.pack_into("<i", entry, 32, list_at - first - (len(before) + 32))
        try:
            return read_archive(before + bytes(entry) + ROOT.pack(-ENTRY_SIZE, 1), 1)[0]
        except Bad:
            return {}

    def contexts(self) -> dict[int, Context]:
        """The context of each journal."""
        try:
            (_, two), flat = read_npy(self.whole("journals.npy"), "<i8", 2)
            if two != 2:
                raise Bad("has not two columns")
            journals = flat[::2]
            if any(after <= before for before, after in itertools.pairwise(journals)):
                raise Bad("does not rise")
            if any(not 1 <= journal < 2**39 for journal in journals):
                raise Bad("has a number that no journal has")
        except Bad as bad:
            raise self.refuse("journals.npy", str(bad)) from None
        try:
            text = self.whole("contexts.json")
            if len(text) > min(1 << 26, 16 + (len(journals) << 20)):
                raise Bad("is larger than it may be")
            known = read_json(text)
            if not isinstance(known, list) or not all(map(_is_context, known)):
                raise Bad("is no list of objects of strings")
        except Bad as bad:
            raise self.refuse("contexts.json", str(bad)) from None
        numbered = zip(journals, flat[1::2], strict=True)
        return {journal: known[k] if 0 <= k < len(known) else {} for journal, k in numbered}

    def amendments(self) -> None:
        file = "amendments.jsonl"
        if file not in self.files:
            return
        lines = self.whole(file).split(b"\n")
        if lines.pop():
            raise self.refuse(file, "does not end in LF")
        for i, line in enumerate(lines):
            try:
                amendment = _read_sealed_amendment(line)
            except Bad as bad:
                raise self.refuse(file, f"line {1 + i}: {bad}") from None
            self.reader.add_amendment(amendment | {"file": self.name})


def read_plain(file: Path) -> bytes:
    """The bytes of a file that is one, and no link."""
    if file.is_symlink() or file.parent.is_symlink():
        raise OSError("is a link")
    return file.read_bytes()


def _words(error: Exception) -> str:
    return "cannot be opened" if isinstance(error, OSError) else str(error)


def _head(data: bytes, at: int) -> tuple[int, int, int, int, int, int, bytes] | None:
    """What the head at this position says, or None if it is damaged; the four zeros are not looked at."""
    magic, version, context_size, *rest, crc = HEAD.unpack_from(data, at)
    if magic != MAGIC or crc != zlib.crc32(data[at : at + HEAD_SIZE - 4]) or version < 1:
        return None
    if version == 1 and (context_size % 8 or context_size > MAX_CONTEXT):
        return None
    return (version, context_size, *rest)


def _is_whole_frame(data: bytes, at: int, salt: int) -> bool:
    """Does what is passed over begin with a frame that is all there?"""
    if at + FRAME_SIZE > len(data):
        return False
    mark, size, _, _, _ = FRAME.unpack_from(data, at)
    return mark == salt ^ at and at + FRAME_SIZE + size <= len(data)


def _read_amendment(payload: bytes) -> dict[str, Any]:
    value = read_json(payload)
    if not isinstance(value, dict) or not set(value) >= AMENDMENT_KEYS:
        raise Bad("an amendment has id, at, reason and result")
    amendment = {"id": value["id"], "at": value["at"], "reason": value["reason"]}
    _check_amendment(amendment)
    return amendment | {"after": check_record(value["result"])}


def _read_sealed_amendment(line: bytes) -> dict[str, Any]:
    value = _need_object(read_json(line))
    if not set(value) >= SEALED_AMENDMENT_KEYS:
        raise Bad("a sealed amendment has seven fields")
    _check_amendment(value)
    if not _is_int(value["amendment"], 63) or not isinstance(value["folded"], bool):
        raise Bad("a field of an amendment has a value that is not its own")
    before = None if value["before"] is None else check_record(value["before"])
    return value | {"before": before, "after": check_record(value["after"])}


def _check_amendment(value: dict[str, Any]) -> None:
    if not _is_int(value["id"], 63) or not _is_seconds(value["at"]) or not isinstance(value["reason"], str):
        raise Bad("a field of an amendment has a value that is not its own")


def _check_manifest(manifest: dict[str, Any]) -> None:
    def need(good: bool, what: str) -> None:
        if not good:
            raise Refused(f"MANIFEST: {what}")

    store_id = manifest.get("store_id")
    need(isinstance(store_id, str) and re.fullmatch(r"[0-9a-f]{32}", store_id) is not None, "store_id")
    need(_is_seconds(manifest.get("created")), "created")
    need(_is_int(manifest.get("generation")), "generation")
    need(_is_int(manifest.get("next_segment")), "next_segment")
    extras, segments = manifest.get("extras"), manifest.get("segments")
    need(isinstance(extras, list) and all(map(_is_extra, extras)), "extras")
    need(len({name for name, _, _ in extras}) == len(extras), "an extra column stands twice")
    need(isinstance(segments, list) and all(map(_is_segment_entry, segments)), "segments")
    need(len({entry["name"] for entry in segments}) == len(segments), "a segment stands twice")
    need(all(int(entry["name"]) < manifest["next_segment"] for entry in segments), "next_segment is taken")
    retired = manifest.get("retired")
    need(_is_ranges(retired) and all(1 <= first <= last < 2**39 for first, last in retired), "retired")
    need(all(before[1] + 1 < after[0] for before, after in itertools.pairwise(retired)), "retired")
    merged = manifest.get("merged")
    need(isinstance(merged, dict), "merged")
    need(
        all(re.fullmatch(r"[0-9a-f]{32}", name) and _is_ranges(ids) for name, ids in merged.items()), "merged"
    )


def _is_extra(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and isinstance(value[0], str)
        and value[0].isascii()
        and value[0].isidentifier()
        and len(value[0]) <= 64
        and isinstance(value[1], str)
        and value[1] in CODES
        and (value[2] in (None, "nan", "inf", "-inf") or isinstance(value[2], int | float))
    )


def _is_segment_entry(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"name", "records", "bytes"}
        and isinstance(value["name"], str)
        and re.fullmatch(r"[0-9]{6,}", value["name"], re.ASCII) is not None
        and _is_int(value["records"])
        and _is_int(value["bytes"])
    )


def _is_ranges(value: Any) -> bool:
    return (
        isinstance(value, list)
        and all(
            isinstance(pair, list) and len(pair) == 2 and all(map(_is_int, pair)) and pair[0] <= pair[1]
            for pair in value
        )
        and all(before[1] < after[0] for before, after in itertools.pairwise(value))
    )


def _check_segment(about: dict[str, Any]) -> None:
    files = about.get("files")
    good = (
        isinstance(about.get("store_id"), str)
        and isinstance(about.get("name"), str)
        and _is_int(about.get("records"))
        and isinstance(files, list)
        and all(
            isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) and _is_int(pair[1])
            for pair in files
        )
        and isinstance(about.get("dropped"), dict)
        and set(about["dropped"]) == {"torn", "damaged", "repeated"}
        and all(map(_is_int, about["dropped"].values()))
        and _is_int(about.get("sums_crc32"), 32)
    )
    if not good:
        raise Bad("a field is missing or has a value that is not its own")
