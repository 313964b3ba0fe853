"""The seed's own five tests by behaviour, and what its buffer wrote, byte for byte."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from ostinato import BuildResult, ReplayBuffer, Results, UsageError, archive, jsonl
from ostinato.replay import LowestPriority, Oldest

GOLDEN = Path(__file__).parent / "golden" / "archives"
EVICTIONS = [("evict_cap8_of40", 8), ("evict_cap64_of500", 64)]
WAYS = ["push", "extend", "mixture", "queries"]


def golden(name: str) -> list[BuildResult]:
    with (GOLDEN / f"{name}.jsonl").open("rb") as file:
        return list(jsonl.read(file))


def made(
    clock_cycles: int | None = 5, *, valid: bool = True, fallback_used: bool = False, timestamp: int = 0
) -> BuildResult:
    return BuildResult(
        tir_hash=bytes(32),
        generated_tasm=["push 1"],
        valid=valid,
        clock_cycles=clock_cycles,
        compiler_cycles=10,
        fallback_used=fallback_used,
        timestamp=timestamp,
        model_version=1,
    )


def seed_buffer(capacity: int) -> ReplayBuffer:
    return ReplayBuffer(capacity, remover=LowestPriority(ties="newest"))


def saved(buffer: ReplayBuffer, folder: Path, **how: str) -> bytes:
    path = folder / "saved.rkyv"
    buffer.save(path, **how)
    return path.read_bytes()


def feed(buffer: ReplayBuffer, results: list[BuildResult], way: str) -> None:
    """The same records in the same order, each way that there is to give them."""
    if way == "extend":
        buffer.extend(Results.concat(results))
        return
    rest = iter(results)
    for turn, result in enumerate(rest):
        if way == "mixture" and turn % 3 == 1:
            buffer.extend([result, *itertools.islice(rest, turn % 7)])
        else:
            buffer.push(result)
        if way == "queries" and turn % 2:
            buffer.sample(3)
            buffer.get(int(buffer.ids()[0]))
            buffer.valid_count()


# --- the seed's five tests ----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(itertools.permutations([10, 9, 8, 7, 6]))[::7])
def test_of_five_pushed_into_three_the_best_three_are_kept(order: tuple[int, ...], tmp_path: Path) -> None:
    buffer = seed_buffer(3)
    for clock in order:
        buffer.push(made(clock))
    assert saved(buffer, tmp_path) == (GOLDEN / "seed_capacity3_of5.rkyv").read_bytes()


def test_capacity_is_never_exceeded() -> None:
    buffer = seed_buffer(3)
    lengths = []
    for clock in range(10, 5, -1):
        buffer.push(made(clock))
        lengths.append(len(buffer))
    assert lengths == [1, 2, 3, 3, 3]


def test_sample_gives_the_highest_priority_first_and_the_invalid_last() -> None:
    buffer = seed_buffer(10)
    for result in golden("seed_priority_ordering"):
        buffer.push(result)
    assert [r.clock_cycles for r in buffer.sample(3)] == [5, 10, None]


def test_sample_takes_the_first_of_that_order() -> None:
    buffer = seed_buffer(10)
    for result in golden("seed_priority_ordering"):
        buffer.push(result)
    assert [r.clock_cycles for r in buffer.sample(1)] == [5]


@pytest.mark.parametrize("name", ["seed_priority_ordering", "seed_roundtrip3"])
def test_by_age_the_saved_file_is_the_one_the_seed_wrote(name: str, tmp_path: Path) -> None:
    buffer = seed_buffer(10)
    buffer.extend(golden(name))
    assert saved(buffer, tmp_path, order="age") == (GOLDEN / f"{name}.rkyv").read_bytes()


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    buffer = seed_buffer(10)
    buffer.extend(golden("seed_roundtrip3"))
    buffer.save(tmp_path / "replay.rkyv", order="age")
    loaded = ReplayBuffer.load(10, tmp_path / "replay.rkyv")
    assert list(loaded) == golden("seed_roundtrip3")


def test_the_file_the_seed_wrote_is_loaded() -> None:
    assert list(ReplayBuffer.load(10, GOLDEN / "seed_roundtrip3.rkyv")) == golden("seed_roundtrip3")


def test_valid_count_counts_what_is_valid_and_no_fallback() -> None:
    buffer = seed_buffer(10)
    buffer.push(made())
    buffer.push(made(valid=False, clock_cycles=None))
    buffer.push(made(fallback_used=True))
    buffer.push(made(valid=False, fallback_used=True))
    buffer.push(made(7))
    assert buffer.valid_count() == 2


def test_valid_count_follows_what_is_removed() -> None:
    buffer = ReplayBuffer(2, remover=Oldest())
    buffer.extend([made(), made(), made(valid=False), made(fallback_used=True)])
    assert buffer.valid_count() == 0


def test_a_missing_file_loads_as_an_empty_buffer(tmp_path: Path) -> None:
    assert ReplayBuffer.load(10, tmp_path / "nowhere" / "replay.rkyv").is_empty() is True


# --- evictions, to the byte ---------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("name", "capacity"), EVICTIONS)
def test_pushing_the_golden_input_and_saving_gives_the_golden_file(
    name: str, capacity: int, way: str, tmp_path: Path
) -> None:
    buffer = seed_buffer(capacity)
    feed(buffer, golden(f"{name}.input"), way)
    assert saved(buffer, tmp_path) == (GOLDEN / f"{name}.rkyv").read_bytes()


@pytest.mark.parametrize(("name", "capacity"), EVICTIONS)
def test_loading_the_seeds_file_and_saving_it_changes_no_byte(
    name: str, capacity: int, tmp_path: Path
) -> None:
    buffer = ReplayBuffer.load(capacity, GOLDEN / f"{name}.rkyv", remover=LowestPriority(ties="newest"))
    assert saved(buffer, tmp_path) == (GOLDEN / f"{name}.rkyv").read_bytes()


@pytest.mark.parametrize(("name", "capacity"), EVICTIONS)
def test_loading_the_whole_input_into_the_capacity_evicts_as_pushing_does(
    name: str, capacity: int, tmp_path: Path
) -> None:
    archive.save(tmp_path / "all.rkyv", golden(f"{name}.input"))
    buffer = ReplayBuffer.load(capacity, tmp_path / "all.rkyv", remover=LowestPriority(ties="newest"))
    assert saved(buffer, tmp_path) == (GOLDEN / f"{name}.rkyv").read_bytes()


def test_a_capacity_of_zero_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="`capacity`"):
        ReplayBuffer(0)


def test_an_empty_buffer_saves_the_empty_archive(tmp_path: Path) -> None:
    assert saved(seed_buffer(3), tmp_path) == (GOLDEN / "empty.rkyv").read_bytes()


# --- ties ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_with_ties_newest_the_first_of_equals_stay_and_keep_their_order(way: str, tmp_path: Path) -> None:
    buffer = seed_buffer(4)
    feed(buffer, [made(7, timestamp=t) for t in range(20)], way)
    buffer.save(tmp_path / "replay.rkyv")
    assert archive.read(tmp_path / "replay.rkyv").timestamp.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("way", WAYS)
def test_with_ties_oldest_the_last_of_equals_stay_and_keep_their_order(way: str, tmp_path: Path) -> None:
    buffer = ReplayBuffer(4)
    feed(buffer, [made(7, timestamp=t) for t in range(20)], way)
    buffer.save(tmp_path / "replay.rkyv")
    assert archive.read(tmp_path / "replay.rkyv").timestamp.tolist() == [16, 17, 18, 19]


def test_a_better_record_pushes_out_the_newest_of_the_worst(tmp_path: Path) -> None:
    buffer = seed_buffer(4)
    feed(buffer, [made(7, timestamp=t) for t in range(6)] + [made(6, timestamp=6)], "push")
    buffer.save(tmp_path / "replay.rkyv")
    assert archive.read(tmp_path / "replay.rkyv").timestamp.tolist() == [6, 0, 1, 2]


def test_equals_that_survive_an_eviction_are_saved_in_order_of_arrival(tmp_path: Path) -> None:
    buffer = seed_buffer(6)
    clocks = [7, 9, 5, 7, 9, 5, 10, 7, 5, 9]
    feed(buffer, [made(clock, timestamp=t) for t, clock in enumerate(clocks)], "push")
    buffer.save(tmp_path / "replay.rkyv")
    assert archive.read(tmp_path / "replay.rkyv").timestamp.tolist() == [2, 5, 8, 0, 3, 7]


@pytest.mark.parametrize("seed", range(8))
def test_the_seeds_rule_is_push_then_sort_then_cut(seed: int, tmp_path: Path) -> None:
    """As the seed does it: append, and when too long, stable sort by descending priority and truncate."""
    from ostinato import reward

    chance = random.Random(seed)
    kept: list[BuildResult] = []
    buffer = seed_buffer(7)
    for t in range(200):
        result = made(chance.choice([4, 6, 10]), valid=chance.random() < 0.7, timestamp=t)
        kept.append(result)
        if len(kept) > 7:
            kept.sort(key=reward, reverse=True)
            kept.pop()
        buffer.push(result)
    buffer.save(tmp_path / "replay.rkyv")
    assert archive.read(tmp_path / "replay.rkyv").to_list() == kept


# --- where and how it is saved ------------------------------------------------------------------------------


def test_the_default_path_is_tridents_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    buffer = seed_buffer(3)
    buffer.push(made())
    buffer.save()
    assert (tmp_path / "model" / "general" / "v2" / "replay.rkyv").stat().st_size == 112


def test_load_without_a_path_reads_what_save_without_a_path_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    buffer = seed_buffer(3)
    buffer.push(made(9))
    buffer.save()
    assert list(ReplayBuffer.load(3)) == [made(9)]


def test_load_without_a_path_is_empty_where_there_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(ReplayBuffer.load(3)) == 0


@pytest.mark.parametrize(
    ("order", "clocks"), [("age", [9, 5, 10, 5, 7]), ("priority", [5, 5, 7, 9, 10])], ids=["age", "priority"]
)
def test_save_writes_in_the_order_asked_for(order: str, clocks: list[int], tmp_path: Path) -> None:
    buffer = seed_buffer(5)
    buffer.extend([made(clock) for clock in (9, 5, 10, 5, 7)])
    buffer.save(tmp_path / "replay.rkyv", order=order)
    assert archive.read(tmp_path / "replay.rkyv").clock_cycles.tolist() == clocks


def test_an_unknown_order_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`order`"):
        seed_buffer(3).save(tmp_path / "replay.rkyv", order="size")


def test_an_unknown_order_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`order`"):
        seed_buffer(3).save(tmp_path / "folder" / "replay.rkyv", order="size")
    assert list(tmp_path.iterdir()) == []


def test_a_sliding_window_saves_by_age(tmp_path: Path) -> None:
    buffer = ReplayBuffer(3, remover=Oldest())
    buffer.extend([made(clock) for clock in (5, 9, 10, 6)])
    buffer.save(tmp_path / "replay.rkyv")
    assert archive.read(tmp_path / "replay.rkyv").clock_cycles.tolist() == [9, 10, 6]


def test_a_sliding_window_goes_on_removing_in_the_same_order_when_loaded(tmp_path: Path) -> None:
    buffer = ReplayBuffer(3, remover=Oldest())
    buffer.extend([made(clock) for clock in (5, 9, 10, 6)])
    buffer.save(tmp_path / "replay.rkyv")
    loaded = ReplayBuffer.load(3, tmp_path / "replay.rkyv", remover=Oldest())
    loaded.push(made(8))
    assert [r.clock_cycles for r in loaded] == [10, 6, 8]


def test_saving_by_priority_follows_what_the_learner_set(tmp_path: Path) -> None:
    buffer = seed_buffer(3)
    ids = buffer.extend([made(clock) for clock in (5, 6, 7)])
    buffer.update_priorities(ids, [1.0, 3.0, 2.0])
    buffer.save(tmp_path / "replay.rkyv")
    assert archive.read(tmp_path / "replay.rkyv").clock_cycles.tolist() == [6, 7, 5]
