"""Files of a buffer's state: whole or not at all, and whatever a file holds, an error at worst."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import os
import random
import resource
import signal
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from ostinato import DamageError, OstinatoError, ReplayBuffer, UsageError, archive
from ostinato.replay import Fresh, Oldest, RateLimiter, Uniform
from test_state import CAPACITY, LIMITS, REMOVERS, SAMPLERS, busy, facts, knows_its_number, result, same, work

# Children only load and draw, with what is compiled already; from Python 3.12 on, forking a process with threads warns.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

PATIENCE_S = 5  # only so that a failing test ends
ROOM_BYTES = 300 << 20  # for what a file of a few kilobytes may need
KINDS: dict[str, dict[str, Any]] = {
    "mixture": {"sampler": "mixture of all that is fresh", **LIMITS["all"]},
    "window on programs": {"sampler": "window on programs"},
    "outcomes": {"sampler": "by outcome proportional"},
    "fresh": {"sampler": "fresh"},
    "proportional": {"sampler": "proportional"},
}


@functools.cache
def state_of(kind: str) -> dict[str, Any]:
    return busy(**KINDS[kind]).state_dict()


def npz(state: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **state)
    return file.getvalue()


@functools.cache
def saved(kind: str) -> bytes:
    return npz(state_of(kind))


def made(kind: str) -> ReplayBuffer:
    settings = {"remover": "lowest priority", **KINDS[kind]}
    rules = {"sampler": SAMPLERS[settings.pop("sampler")], "remover": REMOVERS[settings.pop("remover")]}
    return ReplayBuffer(CAPACITY, **rules, **settings)


def use(buffer: ReplayBuffer, kind: str) -> None:
    """Everything that could trip over what a file said. Errors of the package's own are right here."""
    sampler = SAMPLERS[KINDS[kind]["sampler"]]
    buffer.check()
    rng = np.random.default_rng(1)
    with contextlib.suppress(OstinatoError):
        buffer.sample(5)
    with contextlib.suppress(OstinatoError):
        buffer.extend([result(rng, 20) for _ in range(CAPACITY)])
    for n in (None, 7) if knows_its_number(sampler) else (1, 7):
        with contextlib.suppress(OstinatoError):
            batch = buffer.sample(n)
            buffer.update_priorities(batch.ids, np.ones(len(batch)))
    buffer.remove(buffer.ids()[::2])
    list(buffer)
    buffer.state_dict()
    buffer.stats()


def fate(path: Path, kind: str) -> str:
    """What becomes of a buffer of this kind that loads a file: "refused" or "accepted", or what went wrong."""
    buffer = made(kind)
    buffer.extend([result(np.random.default_rng(1), 0) for _ in range(3)])
    before = buffer.state_dict()
    try:
        buffer.load_state(path)
    except (DamageError, UsageError, OSError):
        return "refused" if same(buffer.state_dict(), before) else "refused, and the buffer is another"
    except BaseException as error:
        return f"load: {type(error).__name__}"
    try:
        use(buffer, kind)
    except BaseException as error:
        return f"use: {type(error).__name__}"
    return "accepted"


def in_child(act: Callable[[], str], *, patience_s: int = PATIENCE_S, room_bytes: int = ROOM_BYTES) -> str:
    """What act returns in a forked process that has little memory and time, or how that ended."""
    inbox, outbox = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            signal.alarm(patience_s)
            held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (held + room_bytes, held + room_bytes))
            os.write(outbox, act().encode())
        os._exit(0)
    os.close(outbox)
    with open(inbox, "rb") as file:
        said = file.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return said or f"ended by {signal.Signals(-status).name if status < 0 else 'nothing said'}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.npz"


def fate_of(data: bytes, path: Path, kind: str = "proportional") -> str:
    use(made(kind), kind)  # compiles what the child will run
    path.write_bytes(data)
    return in_child(lambda: fate(path, kind))


# --- what is not damaged comes back -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_buffer_from_a_file_goes_on_with_the_same_draws(path: Path, kind: str) -> None:
    sampler = SAMPLERS[KINDS[kind]["sampler"]]
    buffer, restored = busy(**KINDS[kind]), made(kind)
    buffer.save_state(path)
    restored.load_state(path)
    assert work(restored, sampler, range(10, 15)) == work(buffer, sampler, range(10, 15))


@pytest.mark.parametrize("kind", KINDS)
def test_an_undamaged_file_is_accepted(path: Path, kind: str) -> None:
    assert fate_of(saved(kind), path, kind) == "accepted"


def test_an_empty_buffers_file_is_accepted(path: Path) -> None:
    restored = ReplayBuffer(4)
    ReplayBuffer(4).save_state(path)
    restored.load_state(path)
    assert len(restored) == 0


def test_numpy_reads_the_file_without_pickle(path: Path) -> None:
    buffer = busy("fresh")
    buffer.save_state(path)
    with np.load(path, allow_pickle=False) as loaded:
        assert same(dict(loaded), buffer.state_dict())


def test_the_same_state_is_the_same_file(path: Path) -> None:
    files = []
    for _ in range(2):
        busy("mixture").save_state(path)
        files.append(path.read_bytes())
    assert files[0] == files[1]


def test_a_file_replaces_the_one_before(path: Path) -> None:
    for kind in ("fresh", "proportional"):
        busy(**KINDS[kind]).save_state(path)
    restored = made("proportional")
    restored.load_state(path)
    assert facts(restored) == facts(busy(**KINDS["proportional"]))


def test_saving_leaves_nothing_beside_the_file(path: Path) -> None:
    busy("fresh").save_state(path)
    assert os.listdir(path.parent) == ["state.npz"]


def test_a_name_without_npz_is_kept_as_it_is(tmp_path: Path) -> None:
    busy("fresh").save_state(tmp_path / "state")
    assert os.listdir(tmp_path) == ["state"]


# --- whole or not at all ------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0, 1, 1000, 5000])
def test_a_full_disk_is_an_os_error_that_leaves_the_old_file_alone(path: Path, limit: int) -> None:
    path.write_bytes(b"old")
    buffer = busy("mixture", **LIMITS["all"])

    def save() -> str:
        # Python ignores the signal that goes with it, so that writing fails as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            buffer.save_state(path)
        except OSError as error:
            return type(error).__name__
        return "saved"

    assert (in_child(save), os.listdir(path.parent), path.read_bytes()) == ("OSError", ["state.npz"], b"old")


def test_a_save_killed_at_any_moment_leaves_the_old_file_or_the_new_one(path: Path) -> None:
    buffers = [busy("proportional"), busy("proportional", "oldest")]
    written = []
    for buffer in buffers:
        buffer.save_state(path)
        written.append(path.read_bytes())
    rng = random.Random(20)
    seen, leftovers = set(), 0
    for turn in range(60):
        kill_while_saving(path, buffers, after=1 + turn % 3, delay_s=rng.uniform(0, 0.004))
        seen.add(written.index(path.read_bytes()))  # a ValueError here: neither the one nor the other
        leftovers += len(os.listdir(path.parent)) > 1
    buffers[0].save_state(path)
    # were there no left-overs, the kills would have fallen between the saves and shown nothing
    assert (seen, leftovers > 0, os.listdir(path.parent)) == ({0, 1}, True, ["state.npz"])


def kill_while_saving(path: Path, buffers: list[ReplayBuffer], *, after: int, delay_s: float) -> None:
    """Fork a process that saves one after the other for ever, and kill it so long after so many were saved."""
    inbox, outbox = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            for buffer in itertools.cycle(buffers):
                buffer.save_state(path)
                os.write(outbox, b".")
        os._exit(0)
    for _ in range(after):
        os.read(inbox, 1)
    time.sleep(delay_s)
    os.kill(pid, signal.SIGKILL)
    os.close(inbox)
    os.close(outbox)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


# --- what is no file ----------------------------------------------------------------------------------------


def test_a_missing_file_is_the_systems_error(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ReplayBuffer(4).load_state(path)


def test_a_folder_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        ReplayBuffer(4).load_state(tmp_path)


def test_a_folder_is_not_written_over(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        ReplayBuffer(4).save_state(tmp_path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert in_child(lambda: fate(tmp_path / "pipe", "proportional")) == "refused"


def test_a_device_is_refused() -> None:
    with pytest.raises((DamageError, UsageError), match="not a regular file"):
        ReplayBuffer(4).load_state("/dev/zero")


NOT_ONE: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "two letters": lambda: b"PK",
    "text": lambda: b"records, all of them\n" * 100,
    "zeros": lambda: bytes(10_000),
    "an archive of records": lambda: archive.dumps([result(np.random.default_rng(1), 1)] * 50),
    "one array": lambda: npy_of(np.arange(10)),
    "an empty zip file": lambda: b"PK\5\6" + bytes(18),
    "a zip file of text": lambda: zip_of({"settings.npy": b"hello"}),
    "a zip file of nothing": lambda: zip_of({"settings.npy": b""}),
    "arrays of something else": lambda: npz({"weights": np.ones((3, 4))}),
    "compressed": lambda: deflated(state_of("proportional")),
    "state before junk": lambda: saved("proportional") + b"x" * 70_000,
}


def npy_of(array: Any, **how: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **how)
    return file.getvalue()


def zip_of(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        for name, data in members.items():
            written.writestr(name, data)
    return file.getvalue()


def deflated(state: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **state)
    return file.getvalue()


@pytest.mark.parametrize("what", NOT_ONE)
def test_what_is_no_saved_state_is_damage(path: Path, what: str) -> None:
    path.write_bytes(NOT_ONE[what]())
    with pytest.raises(DamageError):
        made("proportional").load_state(path)


@pytest.mark.parametrize("what", ["text", "arrays of something else"])
def test_the_error_names_the_file(path: Path, what: str) -> None:
    path.write_bytes(NOT_ONE[what]())
    with pytest.raises(DamageError, match=r"state\.npz: "):
        made("proportional").load_state(path)


# --- damaged files ------------------------------------------------------------------------------------------


def test_every_file_that_was_cut_short_is_refused(path: Path) -> None:
    data = saved("fresh")
    lengths = [*range(0, len(data), 211), *range(len(data) - 60, len(data))]
    accepted = []
    for length in lengths:
        path.write_bytes(data[:length])
        try:
            made("fresh").load_state(path)
        except DamageError:
            continue
        accepted.append(length)
    assert accepted == []


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), kind=st.sampled_from(["fresh", "mixture"])
)
def test_a_flipped_bit_is_refused_or_means_nothing(path: Path, place: float, bit: int, kind: str) -> None:
    data = bytearray(saved(kind))
    data[int(place * len(data))] ^= 1 << bit
    path.write_bytes(data)
    buffer = made(kind)
    with contextlib.suppress(DamageError, UsageError, OSError):
        buffer.load_state(path)
        assert same(buffer.state_dict() | {"counts": 0}, state_of(kind) | {"counts": 0})


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    name=st.sampled_from(sorted(state_of("proportional"))),
    value=st.sampled_from([0, 1, 2, 127, 128, 254, 255]),
)
def test_a_changed_byte_of_an_array_is_refused_or_gives_a_buffer_that_works(
    path: Path, data: st.DataObject, name: str, value: int
) -> None:
    """The checksums are right: this is malice, not decay."""
    state = {key: array.copy() for key, array in state_of("proportional").items()}
    raw = state[name].reshape(-1).view(np.uint8)
    if len(raw):
        raw[data.draw(st.integers(0, len(raw) - 1))] = value
    path.write_bytes(npz(state))
    assert fate(path, "proportional") in ("refused", "accepted")


# --- hostile values -----------------------------------------------------------------------------------------


def put(place: Any, value: Any) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        array = array.copy()
        array[place] = value
        return array

    return change


def text(data: bytes) -> Callable[[Any], Any]:
    return lambda array: np.frombuffer(data, np.uint8)


def replaced(old: bytes, new: bytes) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        assert old in array.tobytes()
        return np.frombuffer(array.tobytes().replace(old, new, 1), np.uint8)

    return change


HOSTILE: list[tuple[str, str, Callable[[Any], Any]]] = [
    ("proportional", "counts", put(0, 2**64 - 1)),
    ("proportional", "counts", put(7, 0)),
    ("proportional", "ids", put(0, -1)),
    ("proportional", "ids", put(0, 2**63 - 1)),
    ("proportional", "ids", lambda ids: np.repeat(ids[:1], len(ids))),
    ("proportional", "offsets", put(0, -5)),
    ("proportional", "offsets", put(1, -5)),
    ("proportional", "offsets", put(-1, 2**62)),
    ("proportional", "offsets", put(3, 2**62)),
    ("proportional", "offsets", lambda offsets: offsets[::-1].copy()),
    ("proportional", "tokens", put(0, -1)),
    ("proportional", "tokens", put(0, 2**31 - 1)),
    ("proportional", "words", put(0, 255)),
    ("proportional", "word_ends", put(1, -1)),
    ("proportional", "word_ends", put(-1, 2**62)),
    ("proportional", "word_ends", lambda ends: ends[:0]),
    ("proportional", "rows", put((0, slice(60, 63)), 2)),
    ("proportional", "priority", put(0, np.nan)),
    ("proportional", "priority", put(0, -1.0)),
    ("proportional", "priority", put(0, np.inf)),
    ("proportional", "times_sampled", put(0, -1)),
    ("proportional", "settings", text(b"")),
    ("proportional", "settings", text(b"{")),
    ("proportional", "settings", text(b"\xff\xfe\x00")),
    ("proportional", "settings", text(b"[" * 100_000)),
    ("proportional", "settings", text(b"9" * 100_000)),
    ("proportional", "settings", text(b"null")),
    ("proportional", "random", text(b"null")),
    ("proportional", "random", text(b"[]")),
    ("proportional", "random", text(b"{}")),
    ("proportional", "random", text(b"[" * 100_000)),
    ("proportional", "random", text(b'{"bit_generator": "PCG64"}')),
    ("proportional", "random", text(b'{"bit_generator": "PCG64", "state": []}')),
    ("proportional", "random", text(b'{"bit_generator": "PCG64", "state": {"state": -1, "inc": 1}}')),
    ("proportional", "random", replaced(b'"PCG64"', b'"MT19937"')),
    ("proportional", "random", replaced(b'"PCG64"', b'["PCG64"]')),
    ("proportional", "random", replaced(b'"has_uint32": 0', b'"has_uint32": 1e400')),
    ("proportional", "random", replaced(b'"has_uint32": 0', b'"has_uint32": "no"')),
    ("proportional", "random", replaced(b'"inc": ', b'"inc": 999999999999999999999999999999999999999999')),
    ("mixture", "limiter", put(0, -1)),
    ("mixture", "limiter", put(1, -(2**62))),
    ("mixture", "times_seen", put(0, 0)),
    ("mixture", "times_seen", put(0, -1)),
    ("outcomes", "sampler.group_of", put(0, -1)),
    ("outcomes", "sampler.group_of", put(0, 4)),
    ("outcomes", "sampler.group_of", put(0, 2**31 - 1)),
    ("outcomes", "sampler.group_of", lambda groups: (groups + 1) % 4),
    ("outcomes", "sampler.group_of", lambda groups: groups[:-1]),
    ("outcomes", "sampler.group_of", lambda groups: np.concatenate([groups, groups])),
    ("outcomes", "sampler.place", lambda places: places[:-1]),
    ("window on programs", "sampler.inner.group_of", put(0, -1)),
    ("window on programs", "sampler.inner.group_of", put(0, 2**31 - 1)),
    ("window on programs", "sampler.inner.group_of", put(0, 100)),
    ("window on programs", "sampler.inner.keys", lambda keys: keys[:1]),
    ("window on programs", "sampler.inner.keys", lambda keys: keys[:0]),
    ("window on programs", "sampler.inner.keys", lambda keys: keys[::-1].copy()),
    ("window on programs", "sampler.inner.keys", lambda keys: keys[[0] * len(keys)]),
    ("window on programs", "sampler.inner.keys", lambda keys: keys[:, :5]),
    ("window on programs", "sampler.window", lambda window: window[:1]),
    ("fresh", "sampler.cursor", put((), -(2**63))),
    ("fresh", "sampler.cursor", lambda cursor: np.array([1, 2])),
]
HOSTILE_IDS = [f"{kind}, {name}, {k}" for k, (kind, name, _) in enumerate(HOSTILE)]


@pytest.mark.parametrize(("kind", "name", "change"), HOSTILE, ids=HOSTILE_IDS)
def test_a_value_that_cannot_be_is_refused(
    path: Path, kind: str, name: str, change: Callable[[Any], Any]
) -> None:
    state = state_of(kind)
    assert fate_of(npz({**state, name: change(state[name])}), path, kind) == "refused"


ODD: list[tuple[str, str, Callable[[Any], Any]]] = [
    ("proportional", "priority", put(slice(None), 1e308)),
    ("proportional", "priority", put(slice(None), 5e-324)),
    ("proportional", "priority", put(slice(None), 0.0)),
    ("proportional", "times_sampled", put(slice(None), 2**31 - 1)),
    ("proportional", "counts", put(slice(8, None), 2**63 - 1)),
    ("proportional", "counts", put(7, 2**63 - 1)),
    ("proportional", "conflicts", lambda conflicts: np.full((5000, 2), -1)),
    ("proportional", "rows", put((slice(None), slice(0, 60)), 255)),
    ("mixture", "lowest", put(slice(None), 2**64 - 1)),
    ("mixture", "limiter", put(slice(None), 2**63 - 1)),
    ("mixture", "times_seen", put(slice(None), 2**31 - 1)),
    ("window on programs", "sampler.window", put(1, 2**62)),
    ("outcomes", "sampler.place", put(0, -1)),
    ("outcomes", "sampler.place", put(slice(None), 0)),
    ("window on programs", "sampler.window", put(0, 2**62)),
    ("fresh", "sampler.cursor", put((), -1)),
    ("fresh", "sampler.cursor", put((), 2**62)),
]
ODD_IDS = [f"{kind}, {name}, {k}" for k, (kind, name, _) in enumerate(ODD)]


@pytest.mark.parametrize(("kind", "name", "change"), ODD, ids=ODD_IDS)
def test_a_value_that_is_odd_is_refused_or_gives_a_buffer_that_works(
    path: Path, kind: str, name: str, change: Callable[[Any], Any]
) -> None:
    state = state_of(kind)
    assert fate_of(npz({**state, name: change(state[name])}), path, kind) in ("refused", "accepted")


@pytest.mark.parametrize(
    "rules", [{"sampler": Fresh()}, {"sampler": Uniform(), "remover": Oldest()}], ids=["fresh", "oldest"]
)
def test_ids_that_are_far_apart_make_no_call_endless(path: Path, rules: dict[str, Any]) -> None:
    buffer, restored = (ReplayBuffer(4, **rules) for _ in range(2))
    given = [result(np.random.default_rng(1), 0) for _ in range(4)]
    buffer.extend(given)
    buffer.sample(2)
    state = buffer.state_dict()
    state["ids"][-1], state["counts"][7] = 2**62, 2**62 + 1
    path.write_bytes(npz(state))

    def go_on() -> str:
        try:
            restored.load_state(path)
        except DamageError:
            return "ended"
        restored.remove([0, 1, 2])
        restored.extend(given)
        restored.sample(4)
        return "ended"

    assert in_child(go_on) == "ended"


# --- hostile containers -------------------------------------------------------------------------------------


def test_pickled_objects_are_refused_and_nothing_of_them_runs(path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(path.parent / "sprung"),)

    objects = np.array([Trap()], object)
    path.write_bytes(zip_of({"ids.npy": npy_of(objects, allow_pickle=True)}))
    assert (in_child(lambda: fate(path, "proportional")), os.listdir(path.parent)) == (
        "refused",
        ["state.npz"],
    )


def with_header(
    header: bytes, data: bytes = bytes(64), *, version: bytes = b"\1\0", length: int | None = None
) -> bytes:
    size = len(header) if length is None else length
    return b"\x93NUMPY" + version + struct.pack("<H" if version == b"\1\0" else "<I", size) + header + data


def with_shape(shape: str, descr: str = "'<i8'", fortran: str = "False") -> bytes:
    return with_header(f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}}}\n".encode())


HEADERS: dict[str, bytes] = {
    "huge": with_shape("(1099511627776,)"),
    "huge in two": with_shape("(4611686018427387904, 4)"),
    "a number no machine has": with_shape(f"({10**30},)"),
    "none of more than any machine has": with_header(
        f"{{'descr': '<i8', 'fortran_order': False, 'shape': (0, {10**30})}}\n".encode(), b""
    ),
    "none of too many": with_header(
        f"{{'descr': '<i8', 'fortran_order': False, 'shape': (0, {2**62}, {2**62})}}\n".encode(), b""
    ),
    "negative": with_shape("(-8,)"),
    "negative twice": with_shape("(-2, -4)"),
    "negative and unknown": with_shape("(-1, -8)"),
    "a flag": with_shape("(True, 8)"),
    "a fraction": with_shape("(8.0,)"),
    "a word": with_shape("'x'"),
    "a list": with_shape("[8]"),
    "no tuple": with_shape("8"),
    "many dimensions": with_shape("(" + "1, " * 100 + "8)"),
    "too short": with_shape("(9,)"),
    "too long": with_shape("(7,)"),
    "objects": with_shape("(8,)", "'|O'"),
    "objects inside": with_shape("(8,)", "[('a', '|O')]"),
    "no size": with_shape("(8,)", "'|V0'"),
    "no letters": with_shape("(8,)", "'|S0'"),
    "no type": with_shape("(8,)", "'nothing'"),
    "no type at all": with_shape("(8,)", "()"),
    "a pair of nothing": with_shape("(8,)", "((), ())"),
    "no fields": with_shape("(8,)", "[]"),
    "half a field": with_shape("(8,)", "[('a',)]"),
    "a number as a type": with_shape("(8,)", "5"),
    "fields of huge arrays": with_shape("(1,)", "[('a', '<i8', (1099511627776,))]"),
    "columns first": with_shape("(2, 4)", fortran="True"),
    "order unknown": with_shape("(8,)", fortran="'maybe'"),
    "empty": with_header(b""),
    "no dictionary": with_header(b"[1, 2]"),
    "a dictionary of nothing": with_header(b"{}"),
    "a list as a key": with_header(b"{[]: 1}"),
    "a set of lists": with_header(b"{[], []}"),
    "never closed": with_header(b"{'descr': ("),
    "a string never closed": with_header(b"{'descr': '"),
    "three quotes never closed": with_header(b"{'descr': '''"),
    "strangely indented": with_header(b"  {\n 'descr':\n1}\n  2\n 3"),
    "code": with_header(b"__import__('os').mkdir('sprung')"),
    "deep": with_header(b"[" * 5000),
    "deep to its end": with_header(b"(" * 90 + b")" * 90),
    "many signs": with_header(b"-" * 9000 + b"1"),
    "no text": with_header(b"\xff\0\xff\0" * 20),
    "a zero inside": with_header(b"{'descr': '\0'}"),
    "longer than the file": with_header(b"{}", length=60_000),
    "of four gigabytes": with_header(b"{}", version=b"\2\0", length=2**32 - 1),
    "of the third version": with_header(b"{}", version=b"\3\0"),
    "of the ninth version": with_header(b"{}", version=b"\t\t"),
    "cut in the magic": b"\x93NUM",
    "cut in the length": b"\x93NUMPY\1\0\5",
}


@pytest.mark.parametrize("what", HEADERS)
def test_an_array_with_a_hostile_header_is_refused(path: Path, what: str) -> None:
    path.write_bytes(zip_of({"ids.npy": HEADERS[what]}))
    assert in_child(lambda: fate(path, "proportional")) == "refused"


def directory_of(data: bytes) -> int:
    """Where the first entry of a zip file's directory begins."""
    return data.index(b"PK\1\2")


def lying(data: bytes, place: int, value: bytes) -> bytes:
    """With other bytes in the first entry of the directory."""
    at = directory_of(data) + place
    return data[:at] + value + data[at + len(value) :]


SMALL = zip_of({"ids.npy": npy_of(np.arange(8))})
ZIP64 = struct.pack("<HHQQ", 1, 16, 2**62, 2**62)


def with_zip64(data: bytes) -> bytes:
    """The same, with sizes of 2**62 in the directory."""
    at = directory_of(data)
    name_length = struct.unpack_from("<H", data, at + 28)[0]
    end = at + 46 + name_length
    entry = bytearray(data[at:end])
    entry[20:28] = b"\xff" * 8
    entry[30:32] = struct.pack("<H", len(ZIP64))
    tail = bytearray(data[end:])
    size = struct.unpack_from("<I", tail, 12)[0]
    tail[12:16] = struct.pack("<I", size + len(ZIP64))
    return data[:at] + bytes(entry) + ZIP64 + bytes(tail)


LIES: dict[str, Callable[[], bytes]] = {
    "longer than the file": lambda: lying(SMALL, 24, struct.pack("<I", 2**31)),
    "taking two gigabytes of it": lambda: lying(SMALL, 20, struct.pack("<I", 2**31 - 1)),
    "taking and giving four": lambda: lying(SMALL, 20, b"\xfe\xff\xff\xff" * 2),
    "of more than any machine has": lambda: with_zip64(SMALL),
    "beginning past the end": lambda: lying(SMALL, 42, struct.pack("<I", 2**31)),
    "encrypted": lambda: lying(SMALL, 8, b"\1\0"),
    "of an unknown method": lambda: lying(SMALL, 10, b"\x63\0"),
    "of a method that needs a library": lambda: lying(SMALL, 10, b"\x0e\0"),
    "of another version": lambda: lying(SMALL, 6, b"\xff\0"),
    "of another checksum": lambda: lying(SMALL, 16, b"\1\2\3\4"),
    "with a name longer than the file": lambda: lying(SMALL, 28, b"\xff\xff"),
    "with a name that is no text": lambda: lying(lying(SMALL, 8, b"\0\x08"), 46, b"\xff\xfe"),
    "with a path for a name": lambda: zip_of({"../../ids.npy": npy_of(np.arange(8))}),
}


@pytest.mark.parametrize("what", LIES)
def test_a_member_that_lies_is_refused(path: Path, what: str) -> None:
    path.write_bytes(LIES[what]())
    assert in_child(lambda: fate(path, "proportional")) == "refused"


def test_a_small_file_that_unpacks_to_much_is_refused_without_unpacking(path: Path) -> None:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        file.open("ids.npy", "w") as member,
    ):
        member.write(with_shape("(40000000,)")[:-64])
        for _ in range(320):
            member.write(bytes(1_000_000))
    assert path.stat().st_size < 2_000_000
    assert in_child(lambda: fate(path, "proportional")) == "refused"


def overlapping(count: int, size: int) -> bytes:
    """A zip file of `count` members that all are the same bytes of the file."""
    whole = zip_of({"ids.npy": npy_of(np.zeros(size, np.uint8))})
    at = directory_of(whole)
    entry = whole[at : whole.index(b"PK\5\6")]
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, count * len(entry), at, 0)
    return whole[:at] + entry * count + end


def test_members_that_share_their_bytes_are_refused_before_all_are_read(path: Path) -> None:
    path.write_bytes(overlapping(60_000, 10_000_000))
    assert in_child(lambda: fate(path, "proportional")) == "refused"


def test_a_state_with_a_member_twice_is_refused_or_works(path: Path) -> None:
    data = io.BytesIO(saved("proportional"))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(data, "a") as file:
        file.writestr("ids.npy", npy_of(np.arange(100, 100 + len(state_of("proportional")["ids"]))))
    assert fate_of(data.getvalue(), path) in ("refused", "accepted")


def test_a_limiters_counts_are_not_taken_from_a_state_without_them(path: Path) -> None:
    limited = ReplayBuffer(4, limiter=RateLimiter(1.0))
    state = limited.state_dict()
    del state["limiter"]
    path.write_bytes(npz(state))
    with pytest.raises(DamageError, match="`limiter`"):
        limited.load_state(path)
