"""Saving: whole or not at all, harming no reader, leaving nothing behind."""

from __future__ import annotations

import contextlib
import errno
import mmap
import multiprocessing
import os
import random
import resource
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ostinato import BuildResult, Results, UsageError, archive
from ostinato.files import replace_file
from test_slow_reader import ARCHIVES, records_of

# Children only save; the one lock that forking could copy in a bad state is numba's, and nothing compiles then.
# From Python 3.12 on, forking a process with threads (numpy's) warns.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

FORK = multiprocessing.get_context("fork")
BY_NAME = {path.stem: path for path in ARCHIVES}
ROUNDS = 100
PATIENCE_S = 60  # only so that a failing test ends


def golden(name: str) -> bytes:
    return BY_NAME[name].read_bytes()


def build_results(name: str) -> list[BuildResult]:
    return [BuildResult.from_dict(record) for record in records_of(BY_NAME[name])]


def folder(path: Path) -> dict[str, bytes]:
    return {found.name: found.read_bytes() for found in path.iterdir()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A path in a folder of its own, where nothing is yet."""
    return tmp_path / "replay.rkyv"


# Round trips.


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_saving_a_golden_gives_its_bytes_and_nothing_beside_them(path: Path, name: str):
    archive.save(path, build_results(name))
    assert folder(path.parent) == {"replay.rkyv": golden(name)}


@pytest.mark.parametrize("read", [archive.open, archive.read], ids=["open", "read"])
@pytest.mark.parametrize("name", ["empty", "rand_1000", "utf8_long"])
def test_what_was_saved_reads_back(path: Path, name: str, read: Callable[[Path], Results]):
    archive.save(path, build_results(name))
    assert read(path).to_list() == build_results(name)


def test_saving_an_opened_archive_onto_itself_changes_nothing(path: Path):
    path.write_bytes(golden("rand_1000"))
    archive.save(path, archive.open(path))
    assert path.read_bytes() == golden("rand_1000")


def test_saving_half_of_an_opened_archive_onto_itself_keeps_that_half(path: Path):
    path.write_bytes(golden("rand_1000"))
    archive.save(path, archive.open(path)[500:])
    assert archive.read(path).to_list() == build_results("rand_1000")[500:]


def test_saving_takes_a_generator(path: Path):
    archive.save(path, (result for result in build_results("seed_roundtrip3")))
    assert path.read_bytes() == golden("seed_roundtrip3")


def test_a_relative_path_without_a_folder_is_fine(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(path.parent)
    archive.save("replay.rkyv", [])
    assert folder(path.parent) == {"replay.rkyv": bytes(8)}


def test_a_name_need_not_be_ascii(path: Path):
    strange = path.with_name("wieder holt ünd [glob]*.rkyv")
    archive.save(strange, build_results("one"))
    assert folder(path.parent) == {strange.name: golden("one")}


# Readers.


def test_saving_onto_a_mapped_file_leaves_its_reader_the_old_results(path: Path):
    archive.save(path, build_results("rand_1000"))
    opened = archive.open(path)
    archive.save(path, [])
    assert opened.to_list() == build_results("rand_1000")


def test_saving_onto_a_mapped_file_of_somebody_else_leaves_the_old_bytes(path: Path):
    path.write_bytes(golden("rand_1000"))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        archive.save(path, build_results("one"))
        assert bytes(mapped) == golden("rand_1000")


def test_saving_onto_a_mapped_file_shows_new_readers_the_new_results(path: Path):
    archive.save(path, build_results("rand_1000"))
    kept = archive.open(path)
    archive.save(path, build_results("one"))
    assert (len(kept), archive.open(path).to_list()) == (1000, build_results("one"))


def test_results_that_were_read_do_not_notice_a_rewrite_in_place(path: Path):
    path.write_bytes(golden("rand_1000"))
    results = archive.read(path)
    path.write_bytes(b"")
    assert archive.dumps(results) == golden("rand_1000")


# What the path was before.


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o755])
def test_permissions_of_the_old_file_are_kept(path: Path, mode: int):
    path.write_bytes(b"old")
    path.chmod(mode)
    archive.save(path, build_results("one"))
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_has_the_permissions_of_any_new_file(path: Path):
    (path.parent / "plain").touch()
    archive.save(path, build_results("one"))
    assert path.stat().st_mode == (path.parent / "plain").stat().st_mode


def test_a_link_is_kept_and_what_it_leads_to_is_replaced(path: Path):
    (path.parent / "far").mkdir()
    target = path.parent / "far" / "target.rkyv"
    target.write_bytes(b"old")
    path.symlink_to(Path("far") / "target.rkyv")
    archive.save(path, build_results("one"))
    assert (path.is_symlink(), folder(target.parent)) == (True, {"target.rkyv": golden("one")})


def test_a_link_to_nothing_yet_makes_its_target(path: Path):
    path.symlink_to("target.rkyv")
    archive.save(path, build_results("one"))
    assert (path.is_symlink(), (path.parent / "target.rkyv").read_bytes()) == (True, golden("one"))


def test_another_name_of_the_old_file_keeps_the_old_bytes(path: Path):
    path.write_bytes(b"old")
    os.link(path, path.parent / "other")
    archive.save(path, build_results("one"))
    assert folder(path.parent) == {"replay.rkyv": golden("one"), "other": b"old"}


# Saves that fail.


def test_a_missing_folder_is_a_file_not_found_error_and_is_not_made(path: Path):
    with pytest.raises(FileNotFoundError):
        archive.save(path.parent / "none" / "replay.rkyv", build_results("one"))
    assert folder(path.parent) == {}


def test_a_folder_in_the_files_place_is_an_os_error_and_nothing_is_left(path: Path):
    path.mkdir()
    with pytest.raises(OSError) as caught:
        archive.save(path, build_results("one"))
    left = sorted(found.name for found in path.parent.rglob("*"))
    assert (caught.value.errno, left) == (errno.EISDIR, ["replay.rkyv"])


def test_a_pipe_in_the_files_place_is_refused_and_kept(path: Path):
    os.mkfifo(path)
    with pytest.raises((OSError, UsageError)):
        archive.save(path, build_results("one"))
    assert stat.S_ISFIFO(path.stat().st_mode)


def failing_halfway() -> Iterator[BuildResult]:
    yield from build_results("seed_roundtrip3")
    raise RuntimeError("no more")


def test_a_generator_that_fails_halfway_leaves_the_old_file_alone(path: Path):
    path.write_bytes(golden("one"))
    with pytest.raises(RuntimeError, match="no more"):
        archive.save(path, failing_halfway())
    assert folder(path.parent) == {"replay.rkyv": golden("one")}


def test_something_that_is_no_build_result_leaves_the_old_file_alone(path: Path):
    path.write_bytes(golden("one"))
    with pytest.raises(UsageError, match=r"results\[3\]"):
        archive.save(path, [*build_results("seed_roundtrip3"), {"valid": True}])  # type: ignore[list-item]
    assert folder(path.parent) == {"replay.rkyv": golden("one")}


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_while_writing_leaves_the_old_file_alone(path: Path, error: type[BaseException]):
    path.write_bytes(golden("one"))

    def write_half() -> None:
        with replace_file(path) as file:
            file.write(bytes(100_000))
            raise error

    with pytest.raises(error):
        write_half()
    assert folder(path.parent) == {"replay.rkyv": golden("one")}


@pytest.mark.parametrize("limit", [0, 1, 4096, 262_144])
def test_a_full_disk_is_an_os_error_that_leaves_the_old_file_alone(path: Path, limit: int):
    path.write_bytes(golden("one"))
    results = archive.loads(golden("rand_1000"))
    archive.dumps(results)

    def save() -> int:
        # Python ignores the signal that goes with it, so that writing fails as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            archive.save(path, results)
        except OSError as error:
            return error.errno or -1
        return 0

    assert (in_child(save), folder(path.parent)) == (errno.EFBIG, {"replay.rkyv": golden("one")})


def in_child(act: Callable[[], int]) -> int:
    """The exit code, below 256, that a forked process ended with: act's result, or 255 if it raised."""
    pid = os.fork()
    if pid == 0:
        code = 255
        with contextlib.suppress(BaseException):
            code = act()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# What is left of killed saves, and what belongs to running ones.


def killed_while_saving(path: Path) -> None:
    """Leave what a save leaves when it is killed after writing half."""

    def half() -> int:
        with replace_file(path) as file:
            file.write(golden("rand_1000")[:200_000])
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    assert in_child(half) == -signal.SIGKILL


def test_a_save_killed_halfway_leaves_the_old_file_and_one_leftover(path: Path):
    path.write_bytes(golden("one"))
    killed_while_saving(path)
    left = folder(path.parent)
    assert (left.pop("replay.rkyv"), list(left.values())) == (golden("one"), [golden("rand_1000")[:200_000]])


def test_the_next_save_removes_what_killed_ones_left(path: Path):
    for i in range(3):
        # under another name first, because each save tidies up before it begins
        killed_while_saving(path.with_name(f"other{i}"))
        (left,) = path.parent.glob(f".other{i}.*")
        left.rename(left.with_name(left.name.replace(f"other{i}", path.name)))
    before = len(folder(path.parent))
    archive.save(path, build_results("one"))
    assert (before, folder(path.parent)) == (3, {"replay.rkyv": golden("one")})


def test_the_next_save_through_a_link_removes_what_was_left_beside_its_target(path: Path):
    (path.parent / "far").mkdir()
    path.symlink_to(Path("far") / "target.rkyv")
    killed_while_saving(path)
    archive.save(path, build_results("one"))
    assert folder(path.parent / "far") == {"target.rkyv": golden("one")}


def test_what_a_killed_save_of_another_file_left_is_not_touched(path: Path):
    killed_while_saving(path.with_name("other.rkyv"))
    archive.save(path, build_results("one"))
    assert sorted(folder(path.parent).values()) == sorted([golden("one"), golden("rand_1000")[:200_000]])


def test_files_with_other_names_are_not_touched(path: Path):
    names = [".replay.rkyv.swp", "replay.rkyv.tmp", ".replay.rkyv", "replay.rkyv~", ".replay.rkyv.tmp"]
    for name in names:
        (path.parent / name).write_bytes(b"mine")
    archive.save(path, build_results("one"))
    assert folder(path.parent) == {**dict.fromkeys(names, b"mine"), "replay.rkyv": golden("one")}


def test_a_file_of_ours_that_only_looks_like_a_leftover_is_not_touched(path: Path):
    mine = path.with_name(".replay.rkyv.before the experiment.tmp")
    mine.write_bytes(b"mine")
    archive.save(path, build_results("one"))
    assert mine.exists()


def test_a_save_in_a_running_process_is_not_disturbed_by_another(path: Path):
    with replace_file(path) as file:
        file.write(golden("rand_1000"))
        file.flush()
        saved = in_child(lambda: archive.save(path, build_results("one")) or 0)
        between = path.read_bytes()
    assert (saved, between, folder(path.parent)) == (0, golden("one"), {"replay.rkyv": golden("rand_1000")})


def test_a_save_is_not_disturbed_by_another_in_the_same_process(path: Path):
    with replace_file(path) as file:
        file.write(golden("rand_1000"))
        archive.save(path, build_results("one"))
    assert folder(path.parent) == {"replay.rkyv": golden("rand_1000")}


def test_processes_that_save_to_one_path_all_the_time_do_not_disturb_each_other(path: Path):
    results = Results.concat(build_results("one"))

    def save_often() -> None:
        for _ in range(150):
            archive.save(path, results)

    processes = [FORK.Process(target=save_often) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE_S)
    assert ([p.exitcode for p in processes], folder(path.parent)) == ([0] * 4, {path.name: golden("one")})


# Killed at a random moment, a hundred times.


def test_a_save_killed_at_any_moment_leaves_the_old_archive_or_the_new_one(path: Path):
    whole = archive.loads(golden("rand_1000"))
    held = [Results.concat([whole, whole[::-1]]), whole[:700]]
    written = [archive.dumps(results) for results in held]  # compiles everything the children run
    path.write_bytes(written[0])
    rng = random.Random(20)
    killed, seen, leftovers = 0, [], []
    for _ in range(ROUNDS):
        killed += kill_while_saving(path, held, delay_s=rng.uniform(0, 0.02))
        seen.append(written.index(path.read_bytes()))  # a ValueError here: neither the one nor the other
        leftovers.append(len(folder(path.parent)) - 1)
    archive.save(path, held[1])
    # a killed save leaves one file at most, and the next that begins removes it; were there hardly any,
    # the kills would have fallen between the saves and shown nothing
    share = "a good share" if sum(leftovers) >= ROUNDS // 10 else f"{sum(leftovers)} kills hit a save"
    assert (killed, set(seen), max(leftovers), share, folder(path.parent)) == (
        ROUNDS,
        {0, 1},
        1,
        "a good share",
        {path.name: written[1]},
    )


def kill_while_saving(path: Path, held: list[Results], *, delay_s: float) -> bool:
    """Fork a process that saves one after the other for ever, and kill it; True if the kill ended it."""
    inbox, outbox = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.write(outbox, b"!")
            while True:
                for results in held:
                    archive.save(path, results)
        os._exit(1)
    os.close(outbox)
    os.read(inbox, 1)
    os.close(inbox)
    time.sleep(delay_s)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_a_save_of_columns_is_the_golden_whatever_was_there(path: Path):
    path.write_bytes(np.arange(100_000, dtype=np.uint32).tobytes())
    archive.save(path, archive.loads(golden("seed_roundtrip3")))
    assert folder(path.parent) == {path.name: golden("seed_roundtrip3")}
