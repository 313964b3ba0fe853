"""`append` and `tail`: real pipes, other languages, kills, two at once; in-process for the rest."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli_helpers import (
    TIMEOUT_S,
    ask,
    cursor_in,
    inside,
    kept,
    lines_of,
    made,
    outside,
    refuse,
    running,
    shell,
    tree,
)
from ostinato import BuildResult, jsonl
from ostinato.store import Cursor, Extra, Store
from ostinato.store.fs import FileSystem
from record_helpers import record
from store_helpers import filled, many

# --- append -------------------------------------------------------------------------------------------------


def test_append_keeps_lines_and_acknowledges_them_with_their_ids(tmp_path: Path) -> None:
    said = inside("append", tmp_path / "s", "--ack", feed=lines_of(many(20)))
    assert (said.code, said.err.splitlines()[-1]) == (0, f"{tmp_path / 's'}: 20 build results appended")
    assert kept(tmp_path / "s") == dict(zip(map(int, said.out.split()), many(20), strict=True))


def test_append_as_json_gives_a_line_for_each_line_and_the_sum(tmp_path: Path) -> None:
    feed = lines_of(many(1)) + b"\n[]\n" + lines_of(many(1))
    said = inside("append", tmp_path / "s", "--ack", "--skip-bad", "--json", feed=feed)
    first, bad, second, total = said.lines
    assert (said.code, first["line"], second["line"], [first["id"], second["id"]]) == (
        0,
        1,
        4,
        sorted(kept(tmp_path / "s")),
    )
    assert (bad["line"], "at line 3" in bad["error"]) == (3, True)
    assert total == {"store": str(tmp_path / "s"), "records": 2, "skipped": 1}


def test_append_without_ack_prints_no_data(tmp_path: Path) -> None:
    assert inside("append", tmp_path / "s", feed=lines_of(many(2))).out == ""
    said = inside("append", tmp_path / "s", "--json", feed=lines_of(many(2)))
    assert said.json == {"store": str(tmp_path / "s"), "records": 2, "skipped": 0}


def test_append_keeps_its_context(tmp_path: Path) -> None:
    arguments = ["--context", "host=a", "--context", "flags=-O3=x"]
    assert inside("append", tmp_path / "s", *arguments, feed=lines_of(many(1))).code == 0
    with Store.open(tmp_path / "s") as store:
        assert store.results().context(0) == {"host": "a", "flags": "-O3=x"}


@pytest.mark.parametrize("context", [["host"], ["=x"], ["a=1", "a=2"]])
def test_a_context_that_is_none_is_exit_code_2_and_makes_nothing(context: list[str], tmp_path: Path) -> None:
    options = [word for pair in context for word in ("--context", pair)]
    said = inside("append", tmp_path / "s", *options, feed=lines_of(many(1)))
    assert (said.code, said.err.count("\n"), (tmp_path / "s").exists()) == (2, 1, False)


def test_append_stops_at_a_bad_line_and_keeps_what_stands_before(tmp_path: Path) -> None:
    feed = lines_of(many(3)) + b"{\n" + lines_of(many(3))
    said = inside("append", tmp_path / "s", "--ack", feed=feed)
    assert (said.code, len(said.out.split()), list(kept(tmp_path / "s").values())) == (3, 3, many(3))
    told = [line for line in said.err.splitlines() if line.startswith("damaged: standard input: no JSON")]
    assert (len(told), "at line 4" in told[0]) == (1, True)
    assert said.err.splitlines()[-1].endswith("3 build results appended before it")


def test_a_bad_line_as_json_says_which_line_and_how_many_came_before(tmp_path: Path) -> None:
    feed = lines_of(many(3)) + lines_of(many(1)).replace(b'"valid":false', b'"valid":0')
    said = inside("append", tmp_path / "s", "--json", feed=feed)
    assert (said.code, said.json["line"], said.json["records"]) == (3, 4, 3)
    assert "expected a bool, got 0 - at line 4, `valid`" in said.json["error"]


def test_append_leaves_out_bad_lines_when_told_and_counts_them(tmp_path: Path) -> None:
    feed = b"nonsense\n" + lines_of(many(2)) + b"{}\n"
    said = inside("append", tmp_path / "s", "--ack", "--skip-bad", feed=feed)
    assert (said.code, len(kept(tmp_path / "s"))) == (0, 2)
    assert [word == "-" for word in said.out.split()] == [True, False, False, True]
    assert "2 build results appended, left out 2 lines" in said.err


def test_append_tells_of_a_few_bad_lines_and_counts_all(tmp_path: Path) -> None:
    said = inside("append", tmp_path / "s", "--skip-bad", feed=b"x\n" * 100)
    assert (said.code, said.err.count("left out: "), "left out 100 lines" in said.err) == (0, 10, True)


def test_append_takes_the_columns_that_the_store_declares(tmp_path: Path) -> None:
    extras = {"score": "f4", "parent": Extra("i8", default=-1)}
    Store.open(tmp_path / "s", extras=extras).close()
    plain = record().to_dict()
    values = [{"score": 0.5, "parent": 7}, {"score": "nan"}, {"score": "-inf"}, {"score": None, "parent": 2}]
    feed = b"".join(json.dumps({**plain, **v}).encode() + b"\n" for v in values)
    assert inside("append", tmp_path / "s", feed=feed).code == 0
    with Store.open(tmp_path / "s") as store:
        found = store.results().extras
    assert [str(x) for x in found["score"].tolist()] == ["0.5", "nan", "-inf", "nan"]
    assert found["parent"].tolist() == [7, -1, -1, 2]


@pytest.mark.parametrize(
    "more", [{}, {"score": "x"}, {"score": 1, "parent": 0.5}, {"score": [1]}, {"score": 1, "other": 1}, {"score": 1, "parent": 2**70}]
)  # fmt: skip
def test_columns_that_do_not_fit_make_a_bad_line(more: dict[str, Any], tmp_path: Path) -> None:
    Store.open(tmp_path / "s", extras={"score": "f4", "parent": Extra("i8", default=-1)}).close()
    said = inside("append", tmp_path / "s", feed=json.dumps({**record().to_dict(), **more}).encode())
    assert (said.code, "at line 1" in said.err, "Traceback" in said.err) == (3, True, False)
    assert kept(tmp_path / "s") == {}


@pytest.mark.parametrize("durability", ["system", "group", "each"])
def test_append_keeps_lines_whatever_the_durability(durability: str, tmp_path: Path) -> None:
    said = inside("append", tmp_path / "s", "--durability", durability, feed=lines_of(many(5)))
    assert (said.code, list(kept(tmp_path / "s").values())) == (0, many(5))


def test_append_syncs_each_line_before_it_acknowledges_when_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(FileSystem, "sync", lambda self, fd: synced.append(fd))
    Store.open(tmp_path / "s").close()
    synced.clear()
    inside("append", tmp_path / "s", feed=lines_of(many(5)))
    assert synced == []
    inside("append", tmp_path / "s", "--durability", "each", feed=lines_of(many(5)))
    assert len(synced) == 5


def test_append_makes_a_store_and_says_so_unless_it_must_not(tmp_path: Path) -> None:
    said = inside("append", tmp_path / "s", "--no-create", feed=lines_of(many(1)))
    assert (said.code, said.err, (tmp_path / "s").exists()) == (
        2,
        f"error: {tmp_path / 's'} is not there\n",
        False,
    )
    assert f"{tmp_path / 's'}: a new store" in inside("append", tmp_path / "s", feed=lines_of(many(1))).err
    assert "a new store" not in inside("append", tmp_path / "s", "--no-create", feed=lines_of(many(1))).err
    assert len(kept(tmp_path / "s")) == 2


def test_append_leaves_a_folder_of_other_things_alone(tmp_path: Path) -> None:
    (tmp_path / "thing").write_bytes(b"mine")
    said = inside("append", tmp_path, feed=lines_of(many(1)))
    assert (said.code, said.err.count("\n"), [p.name for p in tmp_path.iterdir()]) == (2, 1, ["thing"])


def test_append_takes_no_numba(tmp_path: Path) -> None:
    program = """
import sys
from ostinato.cli import main
try:
    main()
finally:
    print([name for name in ("numba", "llvmlite", "sqlite3") if name in sys.modules], file=sys.stderr)
"""
    said = outside("append", tmp_path / "s", "--ack", feed=lines_of(many(3)), program=program)
    assert (said.code, said.err.splitlines()[-1]) == (0, "[]")


def test_append_is_fed_by_another_language(tmp_path: Path) -> None:
    script = r"""
    seq 1 200 | awk '{ printf "{\"tir_hash\":\"%064x\",\"generated_tasm\":[\"push %d\",\"add\"],\"valid\":true," \
        "\"clock_cycles\":%d,\"compiler_cycles\":300,\"fallback_used\":false,\"timestamp\":%d,\"model_version\":1}\n", \
        $1 % 7, $1, $1, 1000 + $1 }' | ostinato append "$1" --context language=awk --ack | wc -l
    """
    said = shell(script, tmp_path / "s")
    assert (said.code, said.out.strip()) == (0, "200")
    found = list(kept(tmp_path / "s").values())
    assert [(r.generated_tasm, r.clock_cycles) for r in found] == [
        ((f"push {k}", "add"), k) for k in range(1, 201)
    ]


def test_an_acknowledgement_comes_before_the_next_line_is_given(tmp_path: Path) -> None:
    with running("append", tmp_path / "s", "--ack") as process:
        ids = [int(ask(process, jsonl.dump(r))) for r in many(5)]
        assert sorted(kept(tmp_path / "s")) == ids  # while it waits for more


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    with running("append", tmp_path / "s", "--ack") as process:
        ids = [int(ask(process, jsonl.dump(r))) for r in many(30)]
        assert process.stdin is not None
        process.stdin.write(lines_of(many(500)))
        process.send_signal(signal.SIGKILL)
        process.wait(TIMEOUT_S)
    found = kept(tmp_path / "s")
    assert [found[i] for i in ids] == many(30)
    assert inside("check", tmp_path / "s").code == 0
    assert inside("append", tmp_path / "s", feed=lines_of(many(1))).code == 0  # the dead are in nobody's way


def test_two_appends_at_once_lose_nothing(tmp_path: Path) -> None:
    script = """
    head -c 1000000000 "$2" | ostinato append "$1" -c who=a & first=$!
    ostinato append "$1" -c who=b < "$2"; second=$?
    wait $first && exit $second
    """
    (tmp_path / "lines").write_bytes(lines_of(many(2000)))
    assert shell(script, tmp_path / "s", tmp_path / "lines").code == 0
    with Store.open(tmp_path / "s") as store:
        records = store.results()
        by_writer: dict[str, list[BuildResult]] = {"a": [], "b": []}
        for i, result in enumerate(records):
            by_writer[records.context(i)["who"]].append(result)
    assert by_writer == {"a": many(2000), "b": many(2000)}


def test_whoever_reads_acknowledgements_may_not_leave_unnoticed(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(lines_of(many(20_000)))
    said = shell('ostinato append "$1" --ack < "$2" | head -n 1', tmp_path / "s", tmp_path / "lines")
    assert (said.code, "has gone" in said.err, "Traceback" in said.err) == (1, True, False)
    assert f"{len(kept(tmp_path / 's')):,} build results appended before that" in said.err


def test_a_full_disk_is_one_line_and_says_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(tmp_path / "s").close()
    calls = []

    def write_at(self: FileSystem, fd: int, data: bytes, offset: int) -> int:
        calls.append(offset)
        if len(calls) > 3:  # the head, and two frames
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.pwrite(fd, data, offset)

    monkeypatch.setattr(FileSystem, "write_at", write_at)
    said = inside("append", tmp_path / "s", feed=lines_of(many(5)))
    assert (said.code, "error: No space left on device\n" in said.err, "Traceback" in said.err) == (
        1,
        True,
        False,
    )
    assert "2 build results appended before that" in said.err
    assert list(kept(tmp_path / "s").values()) == many(2)


@pytest.mark.parametrize("verb", ["append", "seal", "compact"])
def test_a_read_only_store_is_exit_code_1_in_one_line(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path)
    before = tree(folder)
    for name in ("create", "mkdir", "unlink"):
        monkeypatch.setattr(FileSystem, name, refuse(errno.EROFS))
    said = inside(verb, folder, feed=lines_of(many(1)))
    assert (said.code, said.out, said.err.count("\n"), "Read-only file system" in said.err) == (
        1,
        "",
        1,
        True,
    )
    assert tree(folder) == before


@pytest.mark.parametrize("verb", ["info", "check", "show", "sample", "tail"])
def test_a_read_only_store_is_read(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(tmp_path)
    for name in ("create", "mkdir", "unlink", "replace"):
        monkeypatch.setattr(FileSystem, name, refuse(errno.EROFS))
    assert inside(verb, folder).code == 0


def test_standard_input_that_is_closed_is_a_mistake_in_one_line(tmp_path: Path) -> None:
    said = shell('ostinato append "$1" <&-', tmp_path / "s")
    assert (said.code, said.err, (tmp_path / "s").exists()) == (2, "error: standard input is closed\n", False)


# --- tail ---------------------------------------------------------------------------------------------------


def test_tail_gives_the_latest_records_as_lines_that_append_takes(tmp_path: Path) -> None:
    folder = made(tmp_path)
    said = inside("tail", folder)
    assert (said.code, said.out.encode()) == (0, lines_of(many(10, 40)))
    assert inside("tail", folder, "-n", 3, "--json").out.encode() == lines_of(many(3, 47))
    assert inside("tail", folder, "-n", 0).out == ""
    assert inside("tail", folder, "-n", 500).out.encode() == lines_of(many(50))


def test_the_latest_are_so_by_timestamp_whoever_wrote_them(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store, store.writer() as slow:
        filled(store, many(10, 10))
        slow.extend(many(10, 100))  # in the older journal
    assert inside("tail", tmp_path / "s", "-n", 12).out.encode() == lines_of(many(2, 18) + many(10, 100))


def test_tail_goes_on_after_a_cursor_also_when_all_is_sealed_since(tmp_path: Path) -> None:
    folder = made(tmp_path)
    cursor = cursor_in(inside("tail", folder, "-n", 0))
    assert inside("tail", folder, "--since", cursor).out == ""
    with Store.open(folder) as store:
        filled(store, many(15, 50))
        store.seal()
        store.compact()
    said = inside("tail", folder, "--since", cursor)
    assert said.out.encode() == lines_of(many(15, 50))
    assert inside("tail", folder, "--since", cursor_in(said)).out == ""
    assert inside("tail", folder, "--since", cursor, "-n", 2).out.encode() == lines_of(many(2, 63))


def test_tail_since_nothing_gives_everything(tmp_path: Path) -> None:
    assert inside("tail", made(tmp_path), "--since", "[]").out.encode() == lines_of(many(50))


def test_a_cursor_file_is_where_tail_goes_on(tmp_path: Path) -> None:
    folder, file = made(tmp_path), tmp_path / "cursor"
    said = inside("tail", folder, "--cursor-file", file)
    assert (said.out.encode(), said.err) == (lines_of(many(50)), "")
    with Store.open(folder) as store:
        filled(store, many(5, 50))
        store.seal()
    assert inside("tail", folder, "--cursor-file", file).out.encode() == lines_of(many(5, 50))
    assert inside("tail", folder, "--cursor-file", file).out == ""
    assert Cursor.from_json(file.read_text()).seen(Store.open(folder).results().ids).all()


@pytest.mark.parametrize("arguments", [["--since", "[]"], ["-n", "3"], ["-n", "0"]])
def test_a_cursor_stays_short_where_there_were_many_journals(arguments: list[str], tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        for k in range(30):
            filled(store, many(2, 2 * k))
        store.seal()
    assert len(json.loads(cursor_in(inside("tail", tmp_path / "s", *arguments)))) == 1


@pytest.mark.parametrize("arguments", [["--since", "nonsense"], ["--since", "[[5,1]]"], ["--cursor-file", "bad"], ["-n", "-1"]])  # fmt: skip
def test_a_cursor_that_is_none_is_exit_code_2(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path)
    (tmp_path / "bad").write_bytes(b"\xff{")
    monkeypatch.chdir(tmp_path)
    said = inside("tail", folder, *arguments)
    assert (said.code, said.out, "Traceback" in said.err) == (2, "", False)
    assert (tmp_path / "bad").read_bytes() == b"\xff{"


def test_tail_gives_ids_contexts_and_columns(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s", extras={"score": "f4"}) as store, store.writer({"host": "h"}) as writer:
        ids = writer.extend(many(3), {"score": [0.5, float("nan"), float("inf")]})
    said = inside("tail", tmp_path / "s", "--ids", "--context").lines
    assert [line["id"] for line in said] == ids.tolist()
    assert [line["score"] for line in said] == [0.5, "nan", "inf"]
    assert [line["context"] for line in said] == [{"host": "h"}] * 3


def test_what_tail_gives_append_takes(tmp_path: Path) -> None:
    extras = {"score": "f4", "seen": "?", "parent": "u8"}
    values = {"score": [0.1, float("nan"), -1e30], "seen": [True, False, True], "parent": [0, 5, 2**64 - 1]}
    with Store.open(tmp_path / "a", extras=extras) as store, store.writer() as writer:
        writer.extend(many(3), {k: np.array(v, extras[k]) for k, v in values.items()})
        given = store.results().extras
    Store.open(tmp_path / "b", extras=extras).close()
    assert (
        shell('ostinato tail "$1" --since "[]" | ostinato append "$2"', tmp_path / "a", tmp_path / "b").code
        == 0
    )
    assert list(kept(tmp_path / "b").values()) == many(3)
    with Store.open(tmp_path / "b") as store:
        found = store.results().extras
    assert {k: v.tobytes() for k, v in found.items()} == {k: v.tobytes() for k, v in given.items()}


def test_whoever_reads_tail_may_leave_early(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        filled(store, many(20_000))
    said = shell('ostinato tail "$1" --since "[]" | head -n 1', tmp_path / "s")
    assert (said.code, said.err, said.out.encode()) == (0, "", lines_of(many(1)))


def test_tail_follows_what_comes_until_it_is_stopped(tmp_path: Path) -> None:
    folder = made(tmp_path)
    with running("tail", folder, "--follow", "-n", "1", "--poll", "0.01") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        with Store.open(folder) as store:
            for first in (50, 60):
                filled(store, many(10, first))
                lines += [process.stdout.readline() for _ in range(10)]
                store.seal()
        process.send_signal(signal.SIGINT)
        rest, words = process.communicate(timeout=TIMEOUT_S)
    assert b"".join(lines) == lines_of(many(21, 49))
    assert (process.returncode, rest, words.startswith(b"cursor [[")) == (0, b"", True)


def test_following_ends_when_nothing_comes_for_long_enough(tmp_path: Path) -> None:
    folder = made(tmp_path)
    said = inside("tail", folder, "-f", "-n", 2, "--timeout", 0, "--cursor-file", tmp_path / "c")
    assert (said.code, said.out.encode()) == (0, lines_of(many(2, 48)))
    assert Cursor.from_json((tmp_path / "c").read_text()).seen(Store.open(folder).results().ids).all()
