"""What a store says of itself: writers, lag, what is torn or damaged, drift, contexts, the catalog."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crash_helpers import child
from ostinato.store import Keep, Store
from store_helpers import NOW, contents, filled, journals, made, many, opened, segments


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path) as store:
        yield store


def journal(store: Store, number: int) -> Path:
    return Path(store.path, "journals", f"{number:06d}.journal")


def test_an_empty_store_is_well(store: Store):
    health = store.health(now=NOW)
    assert (health.records, health.bytes, health.oldest, health.newest, health.lag_s) == (
        0,
        0,
        None,
        None,
        None,
    )
    assert (health.alive, health.dead, health.writers, health.drift, health.problems) == (0, 0, [], [], [])
    assert health.unsealed_share is None


def test_writers_are_alive_until_they_close_and_dead_until_they_are_sealed(store: Store):
    a, b = store.writer({"host": "a"}), store.writer({"host": "b"})
    a.extend(many(3))
    b.append(made(3))
    first = store.health(now=NOW)
    b.close()
    second = store.health(now=NOW)
    store.seal()
    third = store.health(now=NOW)
    assert [(h.alive, h.dead, h.journals, h.segments) for h in (first, second, third)] == [
        (2, 0, 2, 0),
        (1, 1, 2, 0),
        (1, 0, 1, 1),
    ]
    assert [(w.journal, w.alive, w.records, w.context) for w in second.writers] == [
        (1, True, 3, {"host": "a"}),
        (2, False, 1, {"host": "b"}),
    ]
    assert [w.bytes for w in second.writers] == [journal(store, 1).stat().st_size, second.writers[1].bytes]
    a.close()


def write_and_wait(path: str) -> None:
    from crash_helpers import acknowledge

    writer = Store.open(path).writer({"role": "child"})
    writer.append(made(0))
    acknowledge(writer.journal)
    sys.stdin.read()
    import time

    time.sleep(60)


def test_a_writer_that_was_killed_is_dead_though_its_number_may_live(store: Store):
    with child(write_and_wait, store.path) as writer:
        writer.acknowledged()
        alive = store.health()
        writer.kill()
        dead = store.health()
    assert [(h.alive, h.dead, h.records, h.torn) for h in (alive, dead)] == [(1, 0, 1, 0), (0, 1, 1, 0)]
    assert dead.writers[0].context == {"role": "child"}


def test_the_unsealed_share_is_that_of_the_records(store: Store):
    filled(store, many(6))
    assert store.health().unsealed_share == 1.0
    store.seal()
    filled(store, many(2, 6))
    health = store.health()
    assert (health.records, health.unsealed, health.unsealed_share) == (8, 2, 0.25)


def test_oldest_newest_and_lag_are_of_the_records(store: Store):
    filled(store, [made(0, timestamp=t) for t in (NOW, NOW - 50, NOW + 10)])
    store.seal()
    filled(store, [made(0, timestamp=NOW + 3)])
    health = store.health(now=NOW + 100)
    assert (health.oldest, health.newest, health.lag_s) == (NOW - 50, NOW + 10, 90)
    assert store.health(now=NOW).lag_s == 0  # another clock is ahead


def test_bytes_are_those_of_the_files(store: Store):
    filled(store, many(20))
    store.seal()
    filled(store, many(20, 20))
    sizes = [
        p.stat().st_size for name in segments(store) for p in Path(store.path, "segments", name).iterdir()
    ]
    assert store.health().bytes == sum(sizes) + journal(store, 2).stat().st_size


def test_a_torn_tail_is_counted_and_stays_counted_when_it_is_sealed(store: Store):
    filled(store, many(5), one_by_one=True)
    raw = journal(store, 1).read_bytes()
    journal(store, 1).write_bytes(raw[:-9])
    health = store.health()
    assert (health.records, health.torn, health.damaged, health.dead) == (4, 1, 0, 1)
    assert store.seal().torn == 1
    assert (store.health().torn, store.health().records) == (1, 4)
    store.compact()
    assert store.health().torn == 1


def test_a_damaged_frame_is_counted_reported_with_its_place_and_put_aside(store: Store):
    filled(store, many(5), one_by_one=True)
    raw = bytearray(journal(store, 1).read_bytes())
    raw[len(raw) // 2] ^= 1
    journal(store, 1).write_bytes(raw)
    health = store.health()
    assert (health.records, health.torn, health.damaged, health.aside) == (4, 0, 1, 0)
    assert len(health.problems) == 1
    assert "000001.journal" in health.problems[0]
    assert "byte" in health.problems[0]
    store.seal()
    health = store.health()
    assert (health.records, health.damaged, health.aside, journals(store)) == (4, 1, 1, [])
    assert Path(store.path, "aside", "000001.journal").read_bytes() == raw


def test_frames_that_stand_twice_are_counted_and_read_once(store: Store):
    ids = filled(store, many(3), one_by_one=True)
    raw = journal(store, 1).read_bytes()
    context, salt = int.from_bytes(raw[12:16], "little"), int.from_bytes(raw[32:40], "little")
    import struct
    import zlib

    at = 128 + context
    size = 24 + int.from_bytes(raw[at + 8 : at + 12], "little")
    head = struct.pack("<Q", salt ^ len(raw)) + raw[at + 8 : at + 20]
    payload = raw[at + 24 : at + size]
    again = head + struct.pack("<I", zlib.crc32(payload, zlib.crc32(head))) + payload
    journal(store, 1).write_bytes(raw + again)
    health = store.health()
    assert (health.records, health.repeated, health.torn, health.damaged) == (3, 1, 0, 0)
    assert health.problems == []
    assert contents(store) == dict(zip(ids, many(3), strict=True))
    store.seal()
    assert store.health().repeated == 1


def test_amended_records_are_counted_once_each(store: Store):
    ids = filled(store, many(5))
    for k in (0, 0, 1):
        store.amend(ids[k], made(k, valid=False), reason="again")
    assert store.health().amended == 2
    store.compact()
    assert store.health().amended == 2
    store.compact(Keep(newest=4))
    assert store.health().amended == 1


def test_drift_is_a_baseline_that_another_toolchain_makes_otherwise(store: Store):
    a, b = bytes([1]) * 32, bytes([2]) * 32
    for tir_hash in (a, b):
        store.programs.put(tir_hash, name="fib", baseline=["push 1"], cycles=9, toolchain="1.0", at=1)
    assert store.health().drift == []
    store.programs.put(a, baseline=["push 2"], cycles=7, toolchain="1.1", at=2)
    store.programs.put(b, baseline=["push 2"], cycles=9, toolchain="1.1", at=2)
    (drift,) = store.health().drift or []
    assert (drift.tir_hash, drift.name, drift.cycles) == (a.hex(), "fib", [9, 7])


def test_a_catalog_that_cannot_be_read_is_a_problem_not_an_error(store: Store):
    filled(store, many(3))
    store.programs.put(bytes(32), name="fib", at=1)
    store.close()
    Path(store.path, "catalog.sqlite").write_bytes(b"nonsense" * 1000)
    health = store.health()
    assert (health.records, health.drift, len(health.problems)) == (3, None, 1)
    assert "catalog.sqlite" in health.problems[0]


def test_health_is_json(store: Store):
    filled(store, many(3), host="a")
    store.programs.put(bytes(32), name="fib", baseline=["push 1"], cycles=9, toolchain="1.0", at=1)
    store.programs.put(bytes(32), baseline=["push 2"], cycles=7, toolchain="1.1", at=2)
    health = store.health(now=NOW)
    value = json.loads(json.dumps(health.to_dict()))
    assert (value["records"], value["unsealed_share"], value["writers"][0]["context"]) == (
        3,
        1.0,
        {"host": "a"},
    )


def test_health_of_a_store_that_nobody_may_change_does_not_change_it(store: Store):
    filled(store, many(3))
    before = sorted(os.listdir(store.path))
    store.health()
    assert sorted(os.listdir(store.path)) == before


# Contexts


def test_journals_are_found_by_their_contexts(store: Store):
    filled(store, many(1), host="a", toolchain="1.0")
    filled(store, many(1), host="a", toolchain="1.1")
    store.seal()
    filled(store, many(1), host="b", toolchain="1.1")
    with store.writer({"host": "a"}):
        found = [
            store.journals_where(host="a"),
            store.journals_where(toolchain="1.1"),
            store.journals_where(host="a", toolchain="1.1"),
            store.journals_where(host="c"),
            store.journals_where(other="a"),
            store.journals_where(),
        ]
    assert found == [[1, 2, 4], [2, 3], [2], [], [], [1, 2, 3, 4]]


def test_the_same_without_a_catalog_and_with_a_damaged_one(store: Store):
    filled(store, many(1), host="a")
    store.seal()
    store.close()
    os.unlink(Path(store.path, "catalog.sqlite"))
    assert store.journals_where(host="a") == [1]
    Path(store.path, "catalog.sqlite").write_bytes(b"nonsense" * 1000)
    assert store.journals_where(host="a") == [1]


def test_sealing_notes_contexts_in_the_catalog(store: Store):
    ids = filled(store, many(1), host="a")
    store.seal()
    assert {n: item.context for n, item in store.catalog.contexts().items()} == {ids[0] >> 24: {"host": "a"}}
    assert store.catalog.journals_where(host="a") == [ids[0] >> 24]


def test_a_catalog_that_is_gone_comes_again_from_the_files(store: Store):
    for host in "abc":
        filled(store, many(1), host=host)
        store.seal()
    store.close()
    os.unlink(Path(store.path, "catalog.sqlite"))
    filled(store, many(1), host="d")
    store.seal()
    assert [store.catalog.journals_where(host=host) for host in "abcd"] == [[1], [2], [3], [4]]


def test_a_catalog_that_cannot_be_written_harms_no_sealing(store: Store):
    ids = filled(store, many(3))
    store.close()
    os.mkdir(Path(store.path, "catalog.sqlite"))
    assert store.seal().records == 3
    assert list(contents(store)) == ids


QUIET = """
import sys
from ostinato.store import Keep, Store
health = Store.open(sys.argv[1]).health()
print(health.records, "sqlite3" in sys.modules)
"""


def test_health_of_a_store_without_a_catalog_loads_no_sqlite(store: Store):
    filled(store, many(3))
    done = subprocess.run(
        [sys.executable, "-c", QUIET, store.path], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["3", "False"]


def check_of(store: Store) -> Any:
    return store.check()


def test_a_store_that_is_well_has_nothing_to_check(store: Store):
    filled(store, many(30), one_by_one=True)
    store.seal()
    filled(store, many(30, 30))
    assert check_of(store).problems == []


def test_damage_of_a_segment_that_is_no_longer_live_is_no_problem_any_more(store: Store):
    filled(store, [made(k, generated_tasm=[f"{k} " * 500]) for k in range(200)])
    store.seal()
    [file] = Path(store.path, "segments", "000001").glob("*.rkyv")
    raw = bytearray(file.read_bytes())
    raw[len(raw) * 3 // 4] ^= 1  # in the text of one that is kept
    file.write_bytes(raw)
    assert store.results().damaged > 0
    assert any("damaged blocks" in problem for problem in store.health().problems)
    assert store.compact(Keep(newest=100)).aside == 1  # whoever reads the store meanwhile has it open
    assert (store.health().problems, store.results().damaged) == ([], 0)
