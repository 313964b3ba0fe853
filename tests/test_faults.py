"""The file system that fails: as the real one without faults, and after a power loss what was promised, no more."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crash_helpers import acknowledge, child
from ostinato import UsageError
from ostinato.store.fs import REAL, FileSystem, write_all
from ostinato.testing import FaultyFileSystem, PowerLoss
from ostinato.testing.disk import SECTOR, Keep
from ostinato.testing.faults import MUTATING

OLD, NEW = b"the old bytes" * 100, b"what is new, and longer" * 100
LOSSES = 200  # losses: enough for each way that one can go


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def fs(tmp_path: Path) -> FaultyFileSystem:
    return FaultyFileSystem(tmp_path)


@pytest.fixture(params=["real", "faulty"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> FileSystem:
    return REAL if request.param == "real" else FaultyFileSystem(tmp_path)


def at(folder: Path, name: str) -> str:
    return str(folder / name)


def put(fs: FileSystem, path: str, data: bytes, *, sync: bool = False) -> None:
    """A new file, its name not synced, its bytes if wanted."""
    fd = fs.create(path)
    write_all(fs, fd, data, 0)
    if sync:
        fs.sync(fd)
    fs.close(fd)


def tree(folder: Path) -> dict[str, bytes | None]:
    """All that is in a folder: bytes of files, None for folders."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


def losses(tmp_path: Path, act: Callable[[FaultyFileSystem, Path], object], count: int = LOSSES):
    """What is there after each of many random power losses, and the folder before them."""
    for seed in range(count):
        folder = tmp_path / f"{seed:03}"
        folder.mkdir()
        fs = FaultyFileSystem(folder)
        act(fs, folder)
        fs.crash(rng(seed), "random")
        yield tree(folder)


# Without faults, both file systems do the same


def test_what_is_written_is_read(both: FileSystem, tmp_path: Path):
    fd = both.create(at(tmp_path, "a"))
    write_all(both, fd, b"0123", 0)
    write_all(both, fd, b"ab", 2)
    assert (both.read_at(fd, 10, 1), both.size(fd), both.read(at(tmp_path, "a"), 4)) == (b"1ab", 4, b"01ab")


def test_a_file_is_created_once(both: FileSystem, tmp_path: Path):
    both.close(both.create(at(tmp_path, "a")))
    with pytest.raises(FileExistsError):
        both.create(at(tmp_path, "a"))


def test_a_link_that_leads_nowhere_is_not_created_through(both: FileSystem, tmp_path: Path):
    (tmp_path / "a").symlink_to("b")
    with pytest.raises(FileExistsError):
        both.create(at(tmp_path, "a"))
    assert not (tmp_path / "b").exists()


def test_a_link_is_not_opened(both: FileSystem, tmp_path: Path):
    (tmp_path / "b").write_bytes(b"secret")
    (tmp_path / "a").symlink_to("b")
    with pytest.raises(UsageError, match="a is a symbolic link, which is not followed"):
        both.open(at(tmp_path, "a"))


def test_a_pipe_is_not_waited_for(both: FileSystem, tmp_path: Path):
    os.mkfifo(tmp_path / "a")
    with pytest.raises(UsageError, match="a is not a regular file"):
        both.open(at(tmp_path, "a"))


def test_a_folder_is_not_opened_as_a_file(both: FileSystem, tmp_path: Path):
    with pytest.raises(UsageError, match="not a regular file"):
        both.open(str(tmp_path))


def test_a_file_that_is_not_there_is_said_to_be_missing(both: FileSystem, tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        both.open(at(tmp_path, "a"))


def test_opening_what_is_refused_leaves_no_descriptor(both: FileSystem, tmp_path: Path):
    os.mkfifo(tmp_path / "a")
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with pytest.raises(UsageError):
            both.open(at(tmp_path, "a"))
    assert os.listdir("/proc/self/fd") == before


def test_an_opened_file_cannot_be_written(both: FileSystem, tmp_path: Path):
    put(both, at(tmp_path, "a"), OLD)
    with pytest.raises(OSError, match="Bad file descriptor"):
        both.write_at(both.open(at(tmp_path, "a")), b"x", 0)


def test_a_file_over_its_limit_is_not_read(both: FileSystem, tmp_path: Path):
    put(both, at(tmp_path, "a"), bytes(1001))
    with pytest.raises(UsageError, match="a has 1,001 bytes, more than the 1,000 it may have"):
        both.read(at(tmp_path, "a"), 1000)


def test_a_map_is_read_only_and_outlives_the_name(both: FileSystem, tmp_path: Path):
    put(both, at(tmp_path, "a"), OLD)
    fd = both.open(at(tmp_path, "a"))
    mapped = both.map(fd, len(OLD) - 1)
    both.close(fd)
    both.unlink(at(tmp_path, "a"))
    assert (mapped.tobytes(), mapped.dtype, mapped.flags.writeable) == (OLD[:-1], np.uint8, False)


def test_nothing_is_mapped_as_an_empty_array(both: FileSystem, tmp_path: Path):
    mapped = both.map(both.create(at(tmp_path, "a")), 0)
    assert (mapped.shape, mapped.dtype, mapped.flags.writeable) == ((0,), np.uint8, False)


def test_more_than_there_is_cannot_be_mapped(both: FileSystem, tmp_path: Path):
    with pytest.raises(ValueError, match="length"):
        both.map(both.create(at(tmp_path, "a")), 1)


def test_names_are_sorted(both: FileSystem, tmp_path: Path):
    for name in ["b", ".c", "a"]:
        put(both, at(tmp_path, name), b"")
    assert both.names(str(tmp_path)) == [".c", "a", "b"]


def test_a_linked_folder_is_not_listed(both: FileSystem, tmp_path: Path):
    (tmp_path / "a").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="symbolic link"):
        both.names(at(tmp_path, "a"))


def test_a_file_has_no_names(both: FileSystem, tmp_path: Path):
    put(both, at(tmp_path, "a"), b"")
    with pytest.raises(NotADirectoryError):
        both.names(at(tmp_path, "a"))


def test_the_status_of_a_link_is_its_own(both: FileSystem, tmp_path: Path):
    (tmp_path / "a").symlink_to("nowhere")
    assert stat.S_ISLNK(both.status(at(tmp_path, "a")).st_mode)


def test_a_folder_is_made_once(both: FileSystem, tmp_path: Path):
    both.mkdir(at(tmp_path, "a"))
    with pytest.raises(FileExistsError):
        both.mkdir(at(tmp_path, "a"))


def test_a_folder_is_removed_with_its_files(both: FileSystem, tmp_path: Path):
    both.mkdir(at(tmp_path, "a"))
    for name in ["x", ".y"]:
        put(both, at(tmp_path, f"a/{name}"), OLD)
    both.remove_folder(at(tmp_path, "a"))
    assert tree(tmp_path) == {}


def test_removing_a_folder_follows_no_link(both: FileSystem, tmp_path: Path):
    for name in ["a", "b"]:
        both.mkdir(at(tmp_path, name))
        put(both, at(tmp_path, f"{name}/x"), OLD)
    (tmp_path / "a/link").symlink_to(tmp_path / "b")
    with pytest.raises(OSError, match="not empty"):
        both.remove_folder(at(tmp_path, "a"))
    with pytest.raises(UsageError, match="symbolic link"):
        both.remove_folder(at(tmp_path, "a/link"))
    assert (tmp_path / "b/x").read_bytes() == OLD


def test_a_lock_keeps_others_out_until_it_is_closed(both: FileSystem, tmp_path: Path):
    fds = [both.create(at(tmp_path, "a")), both.open(at(tmp_path, "a"))]
    first, second = both.lock(fds[0]), both.lock(fds[1])
    both.close(fds[0])
    assert (first, second, both.lock(fds[1])) == (True, False, True)


def test_a_shared_lock_is_shared(both: FileSystem, tmp_path: Path):
    put(both, at(tmp_path, "a"), b"")
    fds = [both.open(at(tmp_path, "a")) for _ in range(3)]
    assert [both.lock(fds[0], shared=True), both.lock(fds[1], shared=True), both.lock(fds[2])] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("old", [None, OLD])
@pytest.mark.parametrize(
    "data", [b"", NEW, bytearray(NEW), memoryview(NEW)], ids=lambda data: type(data).__name__
)
def test_write_puts_the_whole_file_and_leaves_nothing_beside_it(
    both: FileSystem, tmp_path: Path, old: bytes | None, data: bytes
):
    if old is not None:
        put(both, at(tmp_path, "a"), old)
    both.write(at(tmp_path, "a"), data)
    assert tree(tmp_path) == {"a": bytes(data)}


def test_write_all_takes_what_lies_side_by_side(both: FileSystem, tmp_path: Path):
    fd = both.create(at(tmp_path, "a"))
    write_all(both, fd, memoryview(np.arange(3, dtype="<u4")), 0)
    write_all(both, fd, memoryview(np.empty(0, "<u4")), 12)
    assert both.read(at(tmp_path, "a"), 100) == np.arange(3, dtype="<u4").tobytes()


def test_write_works_in_the_folder_where_we_are(
    both: FileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    both.write("a", NEW)
    assert tree(tmp_path) == {"a": NEW}


# What a power loss keeps


@pytest.mark.parametrize("keep", ["none", "random", "all"])
def test_what_was_there_before_comes_back_unchanged(fs: FaultyFileSystem, tmp_path: Path, keep: Keep):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a").write_bytes(OLD)
    (tmp_path / "link").symlink_to("d/a")
    before, inode = tree(tmp_path), (tmp_path / "d/a").stat().st_ino
    fs.read(at(tmp_path, "d/a"), len(OLD))
    fs.crash(rng(), keep)
    assert (tree(tmp_path), (tmp_path / "d/a").stat().st_ino) == (before, inode)


def test_what_was_synced_survives_every_loss(tmp_path: Path):
    def act(fs: FaultyFileSystem, folder: Path) -> None:
        put(fs, at(folder, "a"), NEW, sync=True)
        fs.sync_folder(str(folder))

    after = list(losses(tmp_path, act))
    assert after == [{"a": NEW}] * len(after)


def test_a_synced_file_whose_name_was_not_synced_may_vanish(tmp_path: Path):
    after = list(losses(tmp_path, lambda fs, folder: put(fs, at(folder, "a"), NEW, sync=True)))
    assert {len(files) for files in after} == {0, 1}
    assert {files["a"] for files in after if files} == {NEW}


def _unsynced_bytes(fs: FaultyFileSystem, folder: Path) -> None:
    fd = fs.create(at(folder, "a"))
    write_all(fs, fd, b"o" * 2000, 0)
    fs.sync(fd)
    fs.sync_folder(str(folder))
    write_all(fs, fd, b"n" * 3000, 1000)


def test_bytes_that_were_not_synced_may_vanish(fs: FaultyFileSystem, tmp_path: Path):
    _unsynced_bytes(fs, tmp_path)
    fs.crash(keep="none")
    assert tree(tmp_path) == {"a": b"o" * 2000}


def test_bytes_that_were_not_synced_may_all_be_there(fs: FaultyFileSystem, tmp_path: Path):
    _unsynced_bytes(fs, tmp_path)
    fs.crash(keep="all")
    assert tree(tmp_path) == {"a": b"o" * 1000 + b"n" * 3000}


def test_bytes_that_were_not_synced_are_there_sector_by_sector(tmp_path: Path):
    seen, sizes = set(), set()
    for files in losses(tmp_path, _unsynced_bytes):
        data = files["a"]
        assert data is not None
        sizes.add(len(data))
        for start in range(0, len(data), SECTOR):
            part = data[start : start + SECTOR]
            old = (b"o" * 2000).ljust(4000, b"\0")[start : start + len(part)]
            new = (b"o" * 1000 + b"n" * 3000)[start : start + len(part)]
            assert part in {old, new}
            seen.add((start, part == new))
    # the first sector was not written; each of the others was lost at times and kept at times, as were the sizes
    assert (len(seen), min(sizes), max(sizes), len(sizes)) == (1 + 7 * 2, 2000, 4000, 6)


def test_a_sector_is_as_it_was_after_one_of_its_writes(tmp_path: Path):
    def act(fs: FaultyFileSystem, folder: Path) -> None:
        _unsynced_bytes(fs, folder)
        fd = fs.open(at(folder, "a"))
        fs.sync(fd)  # through another descriptor
        fd = fs.create(at(folder, "b"))
        for i in range(4):
            write_all(fs, fd, b"%d" % i, i)
        fs.sync_folder(str(folder))

    seen = {files["b"] for files in losses(tmp_path, act)}
    whole = {b"0123"[:n].ljust(size, b"\0") for size in range(5) for n in range(size + 1)}
    assert seen == whole


def test_a_file_is_synced_through_any_descriptor(fs: FaultyFileSystem, tmp_path: Path):
    put(fs, at(tmp_path, "a"), NEW)
    fs.sync_folder(str(tmp_path))
    fs.sync(fs.open(at(tmp_path, "a")))
    fs.crash(keep="none")
    assert tree(tmp_path) == {"a": NEW}


def test_a_rename_that_was_not_synced_may_be_undone(tmp_path: Path):
    def act(fs: FaultyFileSystem, folder: Path) -> None:
        (folder / "a").write_bytes(OLD)
        put(fs, at(folder, "b"), NEW, sync=True)
        fs.sync_folder(str(folder))
        fs.replace(at(folder, "b"), at(folder, "a"))

    after = list(losses(tmp_path, act))
    assert [after.count({"a": OLD, "b": NEW}) > 0, after.count({"a": NEW}) > 0] == [True, True]
    assert after.count({"a": OLD, "b": NEW}) + after.count({"a": NEW}) == len(after)


def test_a_file_that_was_renamed_and_not_synced_may_be_empty_or_torn(tmp_path: Path):
    def act(fs: FaultyFileSystem, folder: Path) -> None:
        put(fs, at(folder, "b"), NEW)
        fs.replace(at(folder, "b"), at(folder, "a"))
        fs.sync_folder(str(folder))

    seen = {files["a"] for files in losses(tmp_path, act)}
    assert {b"", NEW, bytes(len(NEW))} <= seen
    assert len(seen) > 20


def test_a_rename_between_folders_waits_for_both(tmp_path: Path):
    def moved(synced: list[str]) -> dict[str, bytes | None]:
        folder = tmp_path / "-".join(["root", *synced])
        for name in ["x", "y"]:
            (folder / name).mkdir(parents=True)
        (folder / "x/a").write_bytes(OLD)
        fs = FaultyFileSystem(folder)
        fs.replace(at(folder, "x/a"), at(folder, "y/a"))
        for name in synced:
            fs.sync_folder(at(folder, name))
        fs.crash(keep="none")
        return {path: data for path, data in tree(folder).items() if data is not None}

    assert [moved([]), moved(["x"]), moved(["y"]), moved(["x", "y"])] == [{"x/a": OLD}] * 3 + [{"y/a": OLD}]


def test_a_synced_change_of_a_name_keeps_the_change_before_it(fs: FaultyFileSystem, tmp_path: Path):
    for name in ["x", "y"]:
        (tmp_path / name).mkdir()
    (tmp_path / "x/a").write_bytes(OLD)
    fs.replace(at(tmp_path, "x/a"), at(tmp_path, "y/a"))
    fs.replace(at(tmp_path, "y/a"), at(tmp_path, "y/b"))
    fs.sync_folder(at(tmp_path, "y"))
    fs.crash(keep="none")
    assert tree(tmp_path) == {"x": None, "y": None, "y/b": OLD}


def test_the_second_change_of_a_name_is_not_there_without_the_first(tmp_path: Path):
    def act(fs: FaultyFileSystem, folder: Path) -> None:
        put(fs, at(folder, "a"), b"1", sync=True)
        fs.replace(at(folder, "a"), at(folder, "b"))
        put(fs, at(folder, "a"), b"2", sync=True)

    seen = {tuple(files.items()) for files in losses(tmp_path, act)}
    assert seen == {(), (("a", b"1"),), (("b", b"1"),), (("a", b"2"), ("b", b"1"))}


@pytest.mark.parametrize(("synced", "after"), [(False, {"a": OLD}), (True, {})])
def test_a_file_of_others_comes_back_if_its_removal_was_not_synced(
    fs: FaultyFileSystem, tmp_path: Path, synced: bool, after: dict[str, bytes]
):
    (tmp_path / "a").write_bytes(OLD)
    fs.unlink(at(tmp_path, "a"))
    if synced:
        fs.sync_folder(str(tmp_path))
    fs.crash(keep="none")
    assert tree(tmp_path) == after


def test_a_folder_that_was_not_synced_into_its_parent_vanishes_with_what_is_in_it(
    fs: FaultyFileSystem, tmp_path: Path
):
    fs.mkdir(at(tmp_path, "d"))
    put(fs, at(tmp_path, "d/a"), NEW, sync=True)
    fs.sync_folder(at(tmp_path, "d"))
    fs.crash(keep="none")
    assert tree(tmp_path) == {}


def test_a_folder_that_was_renamed_and_not_synced_lacks_its_files(fs: FaultyFileSystem, tmp_path: Path):
    fs.mkdir(at(tmp_path, "d"))
    put(fs, at(tmp_path, "d/a"), NEW, sync=True)
    fs.replace(at(tmp_path, "d"), at(tmp_path, "e"))
    fs.sync_folder(str(tmp_path))
    fs.crash(keep="none")
    assert tree(tmp_path) == {"e": None}


def test_a_folder_whose_removal_was_not_synced_comes_back_whole(fs: FaultyFileSystem, tmp_path: Path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a").write_bytes(OLD)
    fs.remove_folder(at(tmp_path, "d"))
    fs.crash(keep="none")
    assert tree(tmp_path) == {"d": None, "d/a": OLD}


def test_a_folder_goes_back_to_its_old_name_with_the_files_of_others(fs: FaultyFileSystem, tmp_path: Path):
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/e/a").write_bytes(OLD)
    fs.replace(at(tmp_path, "d"), at(tmp_path, "f"))
    fs.crash(keep="none")
    assert tree(tmp_path) == {"d": None, "d/e": None, "d/e/a": OLD}


def test_files_of_others_beside_ours_are_left_alone(fs: FaultyFileSystem, tmp_path: Path):
    put(fs, at(tmp_path, "ours"), NEW, sync=True)
    fs.sync_folder(str(tmp_path))
    (tmp_path / "theirs").write_bytes(OLD)
    fs.crash(keep="none")
    assert tree(tmp_path) == {"ours": NEW, "theirs": OLD}


def test_a_map_stays_as_it_was_when_the_power_went(fs: FaultyFileSystem, tmp_path: Path):
    put(fs, at(tmp_path, "a"), NEW)
    mapped = fs.map(fs.open(at(tmp_path, "a")), len(NEW))
    fs.crash(keep="none")
    assert (mapped.tobytes(), tree(tmp_path)) == (NEW, {})


def test_locks_and_descriptors_are_gone_after_a_loss(fs: FaultyFileSystem, tmp_path: Path):
    (tmp_path / "a").write_bytes(OLD)
    before = os.listdir("/proc/self/fd")
    fd = fs.open(at(tmp_path, "a"))
    mapped = fs.map(fd, 10)  # which keeps a copy of the descriptor
    assert fs.lock(fd)
    fs.crash(keep="none")
    again = REAL.open(at(tmp_path, "a"))
    assert REAL.lock(again)
    REAL.close(again)
    del mapped
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize(
    "primitive", sorted(MUTATING | {"open", "size", "map", "read_at", "lock", "names", "status"})
)
def test_after_a_loss_every_call_says_so(fs: FaultyFileSystem, tmp_path: Path, primitive: str):
    put(fs, at(tmp_path, "a"), NEW)
    fd = fs.open(at(tmp_path, "a"))
    fs.crash()
    arguments: dict[str, tuple[object, ...]] = {
        **dict.fromkeys(["size", "sync", "lock"], (fd,)),
        "map": (fd, 1),
        "read_at": (fd, 1, 0),
        "write_at": (fd, b"x", 0),
        "replace": (at(tmp_path, "a"), at(tmp_path, "b")),
    }
    with pytest.raises(PowerLoss):
        getattr(fs, primitive)(*arguments.get(primitive, (at(tmp_path, "a"),)))


def test_closing_after_a_loss_touches_no_descriptor_of_others(fs: FaultyFileSystem, tmp_path: Path):
    fd = fs.create(at(tmp_path, "a"))
    fs.crash()
    theirs = os.open(tmp_path, os.O_RDONLY)
    fs.close(fd)
    os.fstat(theirs)
    assert theirs == fd
    os.close(theirs)


def test_no_handler_of_errors_catches_a_power_loss():
    assert not issubclass(PowerLoss, Exception)


def test_the_same_losses_happen_again(tmp_path: Path):
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    assert list(losses(tmp_path / "1", _unsynced_bytes, 20)) == list(
        losses(tmp_path / "2", _unsynced_bytes, 20)
    )


# A sync that failed


def test_what_a_failed_sync_was_to_keep_is_not_kept_by_a_later_one(fs: FaultyFileSystem, tmp_path: Path):
    fd = fs.create(at(tmp_path, "a"))
    fs.sync_folder(str(tmp_path))
    write_all(fs, fd, b"lost", 0)
    fs.fail_at(fs.calls + 1, errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        fs.sync(fd)
    write_all(fs, fd, b"kept", 1000)
    fs.sync(fd)
    visible = fs.read(at(tmp_path, "a"), 2000)
    fs.crash(keep="none")
    assert (visible[:4], tree(tmp_path)) == (b"lost", {"a": bytes(1000) + b"kept"})


def test_what_is_written_anew_after_a_failed_sync_is_kept(fs: FaultyFileSystem, tmp_path: Path):
    fd = fs.create(at(tmp_path, "a"))
    fs.sync_folder(str(tmp_path))
    fs.fail_at(fs.calls + 2, errno.EIO)
    write_all(fs, fd, b"lost", 0)
    with pytest.raises(OSError, match="Input/output"):
        fs.sync(fd)
    write_all(fs, fd, b"kept", 0)
    fs.sync(fd)
    fs.crash(keep="none")
    assert tree(tmp_path) == {"a": b"kept"}


def test_bytes_of_a_failed_sync_never_cover_later_ones(tmp_path: Path):
    def act(fs: FaultyFileSystem, folder: Path) -> None:
        fd = fs.create(at(folder, "a"))
        fs.sync_folder(str(folder))
        write_all(fs, fd, b"doubtful", 0)
        fs.fail_at(fs.calls + 1, errno.EIO)
        with pytest.raises(OSError, match="Input/output"):
            fs.sync(fd)
        write_all(fs, fd, b"SURE", 2)
        fs.sync(fd)

    seen = {files["a"] for files in losses(tmp_path, act)}
    assert seen == {b"\0\0SURE\0\0", b"doSUREul"}


def test_names_of_a_failed_sync_are_not_kept_by_a_later_one(fs: FaultyFileSystem, tmp_path: Path):
    put(fs, at(tmp_path, "a"), NEW, sync=True)
    fs.fail_at(fs.calls + 1, errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        fs.sync_folder(str(tmp_path))
    put(fs, at(tmp_path, "b"), NEW, sync=True)
    fs.sync_folder(str(tmp_path))
    fs.crash(keep="none")
    assert tree(tmp_path) == {"b": NEW}


# Faults


def test_calls_are_counted_and_listed(fs: FaultyFileSystem, tmp_path: Path):
    put(fs, at(tmp_path, "a"), b"four", sync=True)
    fs.read(at(tmp_path, "a"), 10)
    a = at(tmp_path, "a")
    writing = [("create", a, 0), ("write_at", a, 4), ("sync", a, 0), ("close", a, 0)]
    reading = [("open", a, 0), ("size", a, 0), ("read_at", a, 4), ("close", a, 0)]
    assert ([tuple(call) for call in fs.log], fs.calls) == ([*writing, *reading], 3)
    assert [call.name for call in fs.log if call.mutating] == ["create", "write_at", "sync"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES])
def test_a_call_fails_once_with_the_error_of_the_system(fs: FaultyFileSystem, tmp_path: Path, code: int):
    fs.fail_at(2, code)
    fs.mkdir(at(tmp_path, "a"))
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        fs.mkdir(at(tmp_path, "b"))
    fs.mkdir(at(tmp_path, "c"))
    assert (caught.value.errno, caught.value.filename) == (code, at(tmp_path, "b"))
    assert fs.names(str(tmp_path)) == ["a", "c"]


def test_reading_calls_fail_too_where_every_call_is_counted(fs: FaultyFileSystem, tmp_path: Path):
    put(fs, at(tmp_path, "a"), OLD)
    fs.fail_at(len(fs.log) + 3, errno.EIO, every=True)
    with pytest.raises(OSError, match="Input/output"):
        fs.read(at(tmp_path, "a"), 10_000)
    assert fs.log[-2].name == "read_at"


def test_a_short_write_is_half_of_it(fs: FaultyFileSystem, tmp_path: Path):
    fd = fs.create(at(tmp_path, "a"))
    fs.fail_at(2, "short")
    assert (fs.write_at(fd, b"12345", 0), fs.size(fd)) == (3, 3)


def test_short_writes_are_looped(fs: FaultyFileSystem, tmp_path: Path):
    for call in range(1, 8):
        fs.fail_at(call, "short")
    put(fs, at(tmp_path, "a"), NEW)
    sizes = [call.size for call in fs.log if call.name == "write_at"]
    assert (fs.read(at(tmp_path, "a"), 10_000), sizes) == (NEW, [2300, 1150, 575, 287, 143, 71, 35])


def test_short_reads_are_looped(fs: FaultyFileSystem, tmp_path: Path):
    put(fs, at(tmp_path, "a"), NEW)
    for call in range(20):
        fs.fail_at(call, "short", every=True)
    assert fs.read(at(tmp_path, "a"), 10_000) == NEW
    assert [call.name for call in fs.log].count("read_at") > 5


def test_a_full_disk_is_full_until_it_is_mended(fs: FaultyFileSystem, tmp_path: Path):
    fs.fail_from(1, errno.ENOSPC)
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            fs.mkdir(at(tmp_path, "a"))
    fs.mend()
    fs.mkdir(at(tmp_path, "a"))
    assert tree(tmp_path) == {"a": None}


def test_a_full_disk_lets_files_be_removed(fs: FaultyFileSystem, tmp_path: Path):
    put(fs, at(tmp_path, "a"), OLD)
    fs.fail_from(1, errno.ENOSPC, only={"create", "write_at", "sync", "mkdir"})
    with pytest.raises(OSError, match="No space left"):
        fs.mkdir(at(tmp_path, "b"))
    fs.unlink(at(tmp_path, "a"))
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("keep", ["none", "all"])
def test_the_power_goes_during_a_call(fs: FaultyFileSystem, tmp_path: Path, keep: Keep):
    fs.fail_at(3, "crash", keep=keep)
    with pytest.raises(PowerLoss, match=r"during call 3, sync of .*a$"):
        put(fs, at(tmp_path, "a"), NEW, sync=True)
    assert tree(tmp_path) == ({} if keep == "none" else {"a": NEW})


def test_a_sync_during_which_the_power_goes_has_synced_nothing(fs: FaultyFileSystem, tmp_path: Path):
    fd = fs.create(at(tmp_path, "a"))
    fs.sync_folder(str(tmp_path))
    write_all(fs, fd, NEW, 0)
    fs.fail_at(fs.calls + 1, "crash", keep="none")
    with pytest.raises(PowerLoss):
        fs.sync(fd)
    assert tree(tmp_path) == {"a": b""}


def test_the_power_goes_during_a_call_that_would_have_failed(fs: FaultyFileSystem, tmp_path: Path):
    fs.fail_at(1, "crash")
    with pytest.raises(PowerLoss):
        fs.unlink(at(tmp_path, "a"))


def test_paths_that_lead_outside_are_refused(fs: FaultyFileSystem, tmp_path: Path):
    with pytest.raises(UsageError, match="is outside of"):
        fs.replace(at(tmp_path, "a"), at(tmp_path, "../a"))


def test_a_descriptor_of_another_file_system_is_refused(fs: FaultyFileSystem, tmp_path: Path):
    fd = REAL.create(at(tmp_path, "a"))
    with pytest.raises(OSError, match="not one of this file system"):
        fs.sync(fd)
    REAL.close(fd)


# write(): the old file or the new one, whatever happens


def test_writing_a_file_takes_five_calls(fs: FaultyFileSystem, tmp_path: Path):
    fs.write(at(tmp_path, "a"), NEW)
    assert [call.name for call in fs.log if call.mutating] == [
        "create",
        "write_at",
        "sync",
        "replace",
        "sync_folder",
    ]


def test_a_written_file_survives_every_loss(tmp_path: Path):
    after = list(losses(tmp_path, lambda fs, folder: fs.write(at(folder, "a"), NEW)))
    assert after == [{"a": NEW}] * LOSSES


@pytest.mark.parametrize("old", [None, OLD], ids=["nothing", "old"])
@pytest.mark.parametrize("call", range(1, 6))
def test_a_loss_during_a_write_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, call: int, old: bytes | None
):
    seen = set()
    for seed in range(50):
        folder = tmp_path / f"{seed}"
        folder.mkdir()
        if old is not None:
            (folder / "a").write_bytes(old)
        fs = FaultyFileSystem(folder, rng=rng(seed))
        fs.fail_at(call, "crash")
        with pytest.raises(PowerLoss):
            fs.write(at(folder, "a"), NEW)
        files = tree(folder)
        assert len(files.keys() - {"a"}) <= 1  # the new file under its first name, whatever is in it
        seen.add(files.get("a"))
    assert seen == ({old, NEW} if call >= 4 else {old})


@pytest.mark.parametrize("old", [None, OLD], ids=["nothing", "old"])
@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("call", range(1, 6))
def test_a_failed_write_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, call: int, lasting: bool, fault: int, old: bytes | None
):
    def act(fs: FaultyFileSystem, folder: Path) -> None:
        if old is not None:
            (folder / "a").write_bytes(old)
        (fs.fail_from if lasting else fs.fail_at)(call, fault)
        with pytest.raises(OSError, match=os.strerror(fault)):
            fs.write(at(folder, "a"), NEW)
        files = tree(folder)
        leftovers = [name for name in files if name != "a"]
        assert files.get("a") == (NEW if call == 5 else old)
        # what cannot even be removed stays
        assert len(leftovers) == (1 if lasting and 1 < call < 5 else 0)
        assert [name[:3] + name[-4:] for name in leftovers] == [".a..tmp"] * len(leftovers)

    seen = {files.get("a") for files in losses(tmp_path, act, 20)}
    assert seen == ({old, NEW} if call == 5 else {old})


@pytest.mark.parametrize("call", range(1, 11))
def test_a_failed_call_of_any_kind_is_told_by_write(tmp_path: Path, call: int):
    fs = FaultyFileSystem(tmp_path)
    fs.fail_at(call, errno.EIO, every=True)
    if call <= 6:
        with pytest.raises(OSError, match="Input/output"):
            fs.write(at(tmp_path, "a"), NEW)
    else:
        fs.write(at(tmp_path, "a"), NEW)
    assert tree(tmp_path).keys() <= {"a"}


def test_a_short_write_makes_no_short_file(fs: FaultyFileSystem, tmp_path: Path):
    fs.fail_at(2, "short")
    fs.write(at(tmp_path, "a"), NEW)
    fs.crash(keep="none")
    assert tree(tmp_path) == {"a": NEW}


def test_a_write_cut_short_by_a_full_disk_leaves_nothing(fs: FaultyFileSystem, tmp_path: Path):
    fs.fail_at(2, "short")
    fs.fail_at(3, errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        fs.write(at(tmp_path, "a"), NEW)
    assert tree(tmp_path) == {}


def test_a_system_that_writes_nothing_is_not_asked_for_ever(tmp_path: Path):
    class Stubborn(FileSystem):
        def write_at(self, fd: int, data: bytes | bytearray | memoryview, offset: int) -> int:
            return 0

    with pytest.raises(OSError, match="writes nothing"):
        Stubborn().write(at(tmp_path, "a"), NEW)
    assert tree(tmp_path) == {}


# Against a model: what each name and each file has been since its last sync


class Model:
    """Files are [bytes, ...]: all that they have been since they were synced; names are [file or None, ...] likewise."""

    def __init__(self) -> None:
        self.names: dict[str, list[list[bytes] | None]] = {}

    def now(self, name: str) -> list[bytes] | None:
        return self.names.setdefault(name, [None])[-1]

    def set(self, name: str, file: list[bytes] | None) -> None:
        self.names.setdefault(name, [None]).append(file)

    def sync_folder(self, folder: str) -> None:
        for name, files in self.names.items():
            if os.path.dirname(name) == folder:
                del files[:-1]

    def synced(self) -> dict[str, bytes]:
        return {name: files[0][0] for name, files in self.names.items() if files[0] is not None}

    def visible(self) -> dict[str, bytes]:
        return {name: files[-1][-1] for name, files in self.names.items() if files[-1] is not None}

    def may_be(self, name: str, data: bytes | None) -> bool:
        return any(_between(file, data) for file in self.names.get(name, [None]))


def _between(file: list[bytes] | None, data: bytes | None) -> bool:
    """Is each sector what it was at some time, and the size within those of the file?"""
    if file is None or data is None:
        return file is data is None
    return len(file[0]) <= len(data) <= len(file[-1]) and all(
        any(part == old[i : i + len(part)].ljust(len(part), b"\0") for old in file)
        for i in range(0, len(data), SECTOR)
        for part in [data[i : i + SECTOR]]
    )


NAMES = st.sampled_from(["a", "b", "c", "d/a", "d/b"])
OPERATIONS = st.one_of(
    st.tuples(st.just("create"), NAMES),
    st.tuples(
        st.just("write"), NAMES, st.integers(0, 1500), st.sampled_from([1, 10, 512, 1300]), st.booleans()
    ),
    st.tuples(st.just("sync"), NAMES, st.booleans()),
    st.tuples(st.just("replace"), NAMES, NAMES),
    st.tuples(st.just("unlink"), NAMES),
    st.tuples(st.just("sync_folder"), st.sampled_from(["", "d"])),
)


def _apply(
    fs: FaultyFileSystem, folder: Path, model: Model, open_files: dict[str, int], number: int, op
) -> None:
    verb, name, *rest = op
    path, file = at(folder, name), model.now(name)
    if verb == "create" and file is None:
        open_files[name] = fs.create(path)
        model.set(name, [b""])
    elif verb == "write" and file is not None:
        offset, size, short = rest
        data = bytes([number % 255 + 1]) * size
        if short:
            fs.fail_at(fs.calls + 1, "short")
            data = data[: (size + 1) // 2]
        assert fs.write_at(open_files[name], bytes([number % 255 + 1]) * size, offset) == len(data)
        file.append(file[-1][:offset].ljust(offset, b"\0") + data + file[-1][offset + len(data) :])
    elif verb == "sync" and file is not None:
        if rest[0]:
            fs.sync(open_files[name])
        else:
            fs.sync(fd := fs.open(path))
            fs.close(fd)
        del file[:-1]
    elif verb == "replace" and file is not None and name != rest[0]:
        # between folders a rename is one change of two: only within one folder is it this simple
        if os.path.dirname(name) == os.path.dirname(rest[0]):
            fs.replace(path, at(folder, rest[0]))
            model.set(name, None)
            model.set(rest[0], file)
            open_files[rest[0]] = open_files.pop(name)
    elif verb == "unlink" and file is not None:
        fs.unlink(path)
        model.set(name, None)
    elif verb == "sync_folder":
        fs.sync_folder(path)
        model.sync_folder(name)


@settings(deadline=None, max_examples=150)
@given(
    operations=st.lists(OPERATIONS, max_size=30),
    keep=st.sampled_from(["none", "random", "all"]),
    seed=st.integers(0, 9),
)
def test_a_loss_leaves_what_a_plain_model_says(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple], keep: Keep, seed: int
):
    folder = tmp_path_factory.mktemp("loss")
    (folder / "d").mkdir()
    fs, model, open_files = FaultyFileSystem(folder), Model(), {}
    for number, op in enumerate(operations):
        _apply(fs, folder, model, open_files, number, op)
    fs.crash(rng(seed), keep)
    after = {name: data for name, data in tree(folder).items() if data is not None}
    if keep == "random":
        assert [name for name in {*after, *model.names} if not model.may_be(name, after.get(name))] == []
    else:
        assert after == (model.synced() if keep == "none" else model.visible())


# Children that are killed


def appender(path: str, count: int) -> None:
    """What a child does here: each number is in the file before it is acknowledged."""
    fd = REAL.create(path)
    for i in range(count):
        write_all(REAL, fd, b"%08d" % i, 8 * i)
        acknowledge(i)


def test_a_killed_child_has_done_what_it_acknowledged(tmp_path: Path):
    path = at(tmp_path, "a")
    with child(appender, path, 10**7) as c:
        c.acknowledged(5)
        lines = c.kill(after_s=0.01)
    data = REAL.read(path, 10**9)
    assert lines == [str(i) for i in range(len(lines))]
    assert len(lines) >= 5
    assert 0 <= len(data) // 8 - len(lines) <= 1


def test_a_child_comes_to_its_end(tmp_path: Path):
    with child(appender, at(tmp_path, "a"), 3) as c:
        assert c.finish() == ["0", "1", "2"]


def test_a_script_gets_its_arguments(tmp_path: Path):
    (tmp_path / "script.py").write_text("import sys; print(sys.argv[1:])")
    with child(tmp_path / "script.py", 1, "two") as c:
        assert c.finish() == ["['1', 'two']"]


def test_half_a_line_acknowledges_nothing():
    with child("import sys, time; print('one'); print('tw', end='', flush=True); time.sleep(60)") as c:
        c.acknowledged()
        assert c.kill(after_s=0.05) == ["one"]


def test_a_child_that_fails_is_heard():
    with child("print('one', flush=True); raise SystemExit('bad luck')") as c:
        with pytest.raises(AssertionError, match=r"child ended after 1 of 2 lines\nbad luck"):
            c.acknowledged(2)
        with pytest.raises(AssertionError, match="child ended with 1\nbad luck"):
            c.finish()


def test_a_child_that_says_nothing_is_not_waited_for():
    begun = time.monotonic()
    with child("import time; time.sleep(60)") as c, pytest.raises(AssertionError, match="took more than"):
        c.acknowledged(timeout_s=0.1)
    assert time.monotonic() - begun < 30


def test_a_child_dies_with_the_test_and_takes_its_own_with_it():
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
    pids: list[str] = []

    def fails() -> None:
        with child(code) as c:
            pids.extend([str(c.pid), *c.acknowledged()])
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert len(pids) == 2
    shown = subprocess.run(["ps", "-o", "stat=", "-p", ",".join(pids)], capture_output=True, text=True)
    assert [line for line in shown.stdout.split() if not line.startswith("Z")] == []
