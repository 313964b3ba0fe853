"""A buffer's state as named arrays, and those as a file: npz, stored, without pickle.

Rule of this file: a file is hostile until every length in it has been checked against the bytes that are there.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import math
import os
import zipfile
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import DamageError
from ostinato.files import open_regular, replace_file
from ostinato.replay.table import Gathered
from ostinato.results import FALLBACK_AT, MEASURED_AT, RECORD, VALID_AT

State = dict[str, NDArray[Any]]


def write(path: str | os.PathLike[str], state: State) -> None:
    """Arrays to a file, whole or not at all."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as file:
        np.savez(cast("Any", file), **cast("Any", state))


def read(path: str | os.PathLike[str]) -> State:
    """Arrays from a file that `write`, or numpy.savez, wrote.

    Raises:
        DamageError: it is none, is cut short, is compressed, or holds Python objects.
        OSError: as the system says.
    """
    source = os.fspath(path)
    try:
        with open_regular(path) as (file, size), zipfile.ZipFile(cast("Any", file)) as archive:
            members = archive.infolist()
            for info in members:
                stored = info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size
                if not stored or info.file_size > size:
                    raise ValueError(f"{info.filename} is compressed, or longer than the file")
            if sum(info.file_size for info in members) > size:
                raise ValueError("its members are longer than the file: they share their bytes")
            return {info.filename.removesuffix(".npy"): _array(archive, info) for info in members}
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError, KeyError) as error:
        if isinstance(error, DamageError):
            raise
        raise DamageError(f"no saved state: {error}", source=source) from None


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    data = archive.read(info)
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"{info.filename} is of an unknown version")
    try:
        shape, fortran, dtype = read_header(stream)
    except Exception as error:  # numpy's reader lets through whatever Python's parser raises
        raise ValueError(f"{info.filename} has no header: {type(error).__name__}") from None
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"{info.filename} has a shape of {shape}")
    if dtype.hasobject or (fortran and len(shape) > 1):
        raise ValueError(f"{info.filename} holds objects, or is not in C order")
    count = 1
    for length in shape:
        count *= length
    if len(data) - stream.tell() != count * dtype.itemsize:
        raise ValueError(f"{info.filename} claims {count} items of {dtype}, its bytes are others")
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape).copy()


def text(value: Any) -> NDArray[np.uint8]:
    """JSON as an array."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8).copy()


def value(array: NDArray[np.uint8]) -> Any:
    """What `text` was given."""
    return json.loads(array.tobytes())


def settings_of(settings: Any) -> Any:
    """Settings as JSON: what must be equal for the same state to give the same draws."""
    if isinstance(settings, (tuple, list)):
        return [settings_of(part) for part in settings]
    if dataclasses.is_dataclass(settings):
        values = {f.name: settings_of(getattr(settings, f.name)) for f in dataclasses.fields(settings)}
        return {type(settings).__name__: values}
    if isinstance(settings, (np.integer, np.floating)):
        return settings.item()
    if isinstance(settings, float) and not math.isfinite(settings):
        return repr(settings)
    if settings is None or isinstance(settings, (bool, int, float, str)):
        return settings
    return getattr(settings, "__name__", type(settings).__name__)


class Reader:
    """Takes arrays out of a state, each with the kind and shape it must have.

    Raises:
        DamageError: one is missing or is not what it should be.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def take(self, name: str, dtype: Any, *shape: int | None) -> NDArray[Any]:
        """The array of this name; a length of None is any."""
        found = self._state.get(name)
        kind = np.dtype(dtype)
        if not isinstance(found, np.ndarray) or found.dtype != kind or found.ndim != len(shape):
            what = "nothing" if found is None else f"{getattr(found, 'dtype', type(found).__name__)}"
            raise DamageError(f"expected {kind} of {len(shape)} dimensions, got {what}", field=name)
        if any(want is not None and want != has for want, has in zip(shape, found.shape, strict=True)):
            raise DamageError(f"expected a shape of {list(shape)}, got {list(found.shape)}", field=name)
        return np.ascontiguousarray(found).reshape(found.shape)

    def require(self, condition: Any, name: str, cause: str) -> None:
        """Refuse the state unless the condition holds."""
        if not bool(condition):
            raise DamageError(cause, field=name)


class Records(NamedTuple):
    """What a state says of the records and the counts, checked."""

    gathered: Gathered
    words: list[str]
    counts: list[int]
    conflicts: NDArray[np.int64]
    merged: tuple[NDArray[Any], ...]
    limiter: list[int]


def described(reader: Reader) -> Any:
    """The settings of the buffer that the state is of."""
    found = _json(reader, "settings")
    reader.require(isinstance(found, dict), "settings", f"expected names and values, got {found!r:.50}")
    return found


def generator(reader: Reader, like: np.random.Generator) -> np.random.Generator:
    """The random numbers that come next; of the kind of `like`."""
    bits = type(like.bit_generator)()
    try:
        bits.state = _json(reader, "random")
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise DamageError(f"no random state: {error}", field="random") from None
    return np.random.Generator(bits)


def records(reader: Reader, capacity: int, *, merges: bool) -> Records:
    """All records of a state.

    Raises:
        DamageError: something is missing, or does not fit the rest.
    """
    ids, counts = _ids_and_counts(reader, capacity, 21, newest=6, next_id=7)
    n = len(ids)
    raw = reader.take("rows", np.uint8, n, RECORD.itemsize)
    reader.require(
        (raw[:, [VALID_AT, MEASURED_AT, FALLBACK_AT]] <= 1).all(), "rows", "a flag is neither 0 nor 1"
    )
    words = words_of(reader)
    offsets, tokens = reader.take("offsets", np.int64, n + 1), reader.take("tokens", np.int32, None)
    rising = offsets[0] == 0 and (np.diff(offsets) >= 0).all() and offsets[-1] == len(tokens)
    reader.require(rising, "offsets", f"expected offsets rising from 0 to {len(tokens)}")
    reader.require(np.diff(offsets).max(initial=0) < 2**28, "offsets", "a list of 2**28 instructions or more")
    inside = len(tokens) == 0 or 0 <= tokens.min() <= tokens.max() < len(words)
    reader.require(inside, "tokens", f"expected ids of the {len(words)} words")
    priority, times = _uses(reader, n)
    kinds = {"times_seen": np.int32, "lowest": np.uint64, "highest": np.uint64} if merges else {}
    merged = tuple(reader.take(name, kind, n) for name, kind in kinds.items())
    reader.require(not merges or n == 0 or merged[0].min() >= 1, "times_seen", "expected numbers >= 1")
    limiter = reader.take("limiter", np.int64, 2).tolist() if described(reader).get("limiter") else []
    reader.require(all(0 <= count <= 2**62 for count in limiter), "limiter", "a count is out of range")
    rows = raw.reshape(-1).view(RECORD)
    gathered = Gathered(rows, tokens, offsets, ids, priority, times)
    conflicts = reader.take("conflicts", np.int64, None, 2)
    return Records(gathered, words, [int(c) for c in counts], conflicts, merged, limiter)


class Mapped(NamedTuple):
    """What a state says of records that stay where they lie, checked."""

    arrivals: NDArray[np.int64]
    record_ids: NDArray[np.int64]
    priority: NDArray[np.float64]
    times_sampled: NDArray[np.int32]
    words: list[str]
    counts: list[int]


def mapped(reader: Reader, capacity: int) -> Mapped:
    """All records of a mapped buffer's state.

    Raises:
        DamageError: something is missing, or does not fit the rest.
    """
    arrivals, counts = _ids_and_counts(reader, capacity, 22, newest=4, next_id=5)
    n = len(arrivals)
    record_ids = reader.take("record_ids", np.int64, n)
    reader.require(len(np.unique(record_ids)) == n, "record_ids", "ids are not distinct")
    return Mapped(arrivals, record_ids, *_uses(reader, n), words_of(reader), [int(c) for c in counts])


def _ids_and_counts(
    reader: Reader, capacity: int, size: int, *, newest: int, next_id: int
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """The ids and the counts, of which `newest` is a timestamp, and ids are below `next_id`."""
    ids = reader.take("ids", np.int64, None)
    n = len(ids)
    counts = reader.take("counts", np.uint64, size)
    in_range = (np.delete(counts, newest) <= 2**62).all()
    reader.require(in_range and n <= capacity, "counts", "a count is out of range")
    distinct = len(np.unique(ids)) == n
    inside = n == 0 or 0 <= ids.min() <= ids.max() < int(counts[next_id])
    reader.require(distinct and inside, "ids", "ids are not distinct")
    return ids, counts


def _uses(reader: Reader, n: int) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Priorities and times sampled."""
    priority, times = reader.take("priority", np.float64, n), reader.take("times_sampled", np.int32, n)
    reader.require(
        (np.isfinite(priority) & (priority >= 0)).all(), "priority", "expected finite numbers >= 0"
    )
    reader.require((times >= 0).all(), "times_sampled", "expected numbers >= 0")
    return priority, times


def words_of(reader: Reader) -> list[str]:
    """The vocabulary's words, in order of their ids."""
    data, ends = reader.take("words", np.uint8, None), reader.take("word_ends", np.int64, None)
    rising = len(ends) and ends[0] == 0 and (np.diff(ends) >= 0).all() and ends[-1] == len(data)
    reader.require(rising, "word_ends", f"expected ends rising from 0 to {len(data)}")
    try:
        blob, bounds = data.tobytes(), ends.tolist()
        return [blob[a:b].decode() for a, b in itertools.pairwise(bounds)]
    except UnicodeDecodeError as error:
        raise DamageError(f"invalid UTF-8: {error}", field="words") from None


def _json(reader: Reader, name: str) -> Any:
    try:
        return value(reader.take(name, np.uint8, None))
    except (ValueError, RecursionError) as error:
        if isinstance(error, DamageError):
            raise
        raise DamageError(f"no JSON: {error}", field=name) from None
