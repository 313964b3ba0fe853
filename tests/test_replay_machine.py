"""ReplayBuffer with every rule and limit, driven at random beside a slow model in plain Python."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ostinato import BuildResult, EmptyBufferError, ReplayBuffer, reward
from ostinato.replay import (
    Batch,
    ByOutcome,
    Dedupe,
    Fifo,
    Fresh,
    Greedy,
    KeepBest,
    LeastUseful,
    Lifo,
    LowestPriority,
    Mixture,
    Oldest,
    PerProgram,
    Proportional,
    RankBased,
    Uniform,
    Window,
)
from test_state_files import in_child

# from Python 3.12 on, forking a process with threads (numpy's) warns
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

WORDS = ["add", "mul", "push 1"]
OUTCOMES = ("valid", "invalid", "fallback", "improved")
BYTES_A_RECORD, BYTES_A_WORD = 116, 4


@dataclass
class Held:
    """A record as the model holds it."""

    identity: int
    result: BuildResult
    priority: float
    drawn: int = 0
    seen: int = 1
    lowest: int | None = None
    highest: int | None = None

    def measure(self, cycles: int | None) -> None:
        if cycles is not None:
            self.lowest = cycles if self.lowest is None else min(self.lowest, cycles)
            self.highest = cycles if self.highest is None else max(self.highest, cycles)

    @property
    def outcome(self) -> str:
        r = self.result
        if not r.valid:
            return "invalid"
        if r.fallback_used:
            return "fallback"
        return "improved" if r.clock_cycles is not None and r.clock_cycles < r.compiler_cycles else "valid"


@dataclass
class Rules:
    capacity: int
    sampler: Any
    remover: Any
    dedupe: Dedupe | None = None
    capacity_bytes: int | None = None
    max_age_s: int | None = None
    max_times_sampled: int | None = None


class Model:
    """What the docstrings promise, by looking at everything each time."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.here: dict[int, Held] = {}
        self.next_id = self.newest = self.cursor = 0
        self.merged = self.conflicted = self.forced = self.sampled = self.batches = self.updated = (
            self.late
        ) = 0
        self.conflicts: list[tuple[int, int]] = []
        self.causes: Counter[str] = Counter()
        self.left: list[tuple[int, int]] = []  # of each that left: records pushed after it, times drawn

    # --- coming

    def take_in(self, results: list[BuildResult], priorities: list[float] | None = None) -> list[int]:
        """One call of `extend`, or a push."""
        ids = [self.next_id + k for k in range(len(results))]
        given = [reward(r) for r in results] if priorities is None else priorities
        new = [Held(i, r, float(p)) for i, r, p in zip(ids, results, given, strict=True)]
        for held in new:
            held.measure(held.result.clock_cycles)
        placed = [(held, []) for held in new] if self.rules.dedupe is None else self.merge(new)
        for held, _ in placed:
            self.here[held.identity] = held
            if len(self.here) > self.rules.capacity:
                self.leave(self.first_to_leave(), "capacity", held.identity)
        for held, twins in placed:
            for twin in twins:
                self.merge_into(held, twin)
        self.next_id += len(results)
        self.newest = max([self.newest, *(r.timestamp for r in results)])
        if results:
            self.keep_limits()
        return ids

    def merge(self, new: list[Held]) -> list[tuple[Held, list[Held]]]:
        """Merge repeats of what is here; what is left, each with its own repeats."""
        at_hand = list(self.here.values())
        fresh: dict[int, tuple[Held, list[Held]]] = {}
        for held in new:
            equal = [h for h in at_hand if self.key(h.result) == self.key(held.result)]
            same = [h for h in equal if h.result.valid == held.result.valid]
            if same:
                self.merged += 1
                if same[0].identity in fresh:
                    fresh[same[0].identity][1].append(held)
                else:
                    self.merge_into(same[0], held)
                continue
            if equal:
                self.conflicts.append((equal[0].identity, held.identity))
                self.conflicted += 1
            at_hand.append(held)
            fresh[held.identity] = held, []
        return list(fresh.values())

    def merge_into(self, held: Held, repeat: Held) -> None:
        held.seen += 1
        held.measure(repeat.result.clock_cycles)
        old, new = held.result, repeat.result
        cycles = new.clock_cycles if old.clock_cycles is None else old.clock_cycles
        held.result = replace(old, timestamp=max(old.timestamp, new.timestamp), clock_cycles=cycles)

    def key(self, result: BuildResult) -> Any:
        assert self.rules.dedupe is not None
        return [getattr(result, name) for name in self.rules.dedupe.key]

    # --- leaving

    def protected(self) -> set[int]:
        remover = self.rules.remover
        if not isinstance(remover, KeepBest):
            return set()
        programs: dict[bytes, list[Held]] = {}
        for held in self.here.values():
            programs.setdefault(held.result.tir_hash, []).append(held)
        out = {held.identity for listed in programs.values() if len(listed) == 1 for held in listed}
        for listed in programs.values():
            good = [h for h in listed if h.result.valid and not h.result.fallback_used]
            good = sorted(
                (h for h in good if h.result.clock_cycles is not None),
                key=lambda h: (h.result.clock_cycles, h.identity),
            )
            out |= {h.identity for h in good[: remover.per_program]}
        return out

    def first_to_leave(self) -> int:
        remover, protected = self.rules.remover, self.protected()
        free = [h for h in self.here.values() if h.identity not in protected]
        if not free:
            self.forced += 1
            return min(self.here)
        inner = remover.inner if isinstance(remover, KeepBest) else remover
        keys: dict[type, Callable[[Held], Any]] = {
            Oldest: lambda h: h.identity,
            LeastUseful: lambda h: (-h.drawn, h.identity),
            LowestPriority: lambda h: (h.priority, h.identity if inner.ties == "oldest" else -h.identity),
        }
        return min(free, key=keys[type(inner)]).identity

    def leave(self, identity: int, cause: str, newest: int) -> None:
        held = self.here.pop(identity)
        self.causes[cause] += 1
        self.left.append((newest - identity, held.drawn))

    def bytes(self) -> int:
        return sum(BYTES_A_RECORD + BYTES_A_WORD * len(h.result.generated_tasm) for h in self.here.values())

    def keep_limits(self) -> None:
        rules, last = self.rules, self.next_id - 1
        if rules.max_age_s is not None:
            for held in list(self.here.values()):
                if held.result.timestamp + rules.max_age_s < self.newest:
                    self.leave(held.identity, "max_age", last)
        while rules.capacity_bytes is not None and self.bytes() > rules.capacity_bytes:
            self.leave(self.first_to_leave(), "capacity_bytes", last)

    def remove(self, ids: list[int]) -> int:
        found = set(ids) & set(self.here)
        for identity in found:
            self.leave(identity, "request", self.next_id - 1)
        return len(found)

    def update(self, ids: list[int], given: list[float]) -> int:
        found = 0
        for identity, priority in zip(ids, given, strict=True):
            if identity in self.here:
                self.here[identity].priority = priority
                found += 1
        self.updated += found
        self.late += len(ids) - found
        return found

    # --- drawing

    def ordered(self, key: Callable[[Held], Any]) -> list[int]:
        return [h.identity for h in sorted(self.here.values(), key=key)]

    def probabilities(self) -> dict[int, float] | None:
        """Of each record in one draw, for the samplers by chance; None for those without."""
        sampler, held = self.rules.sampler, list(self.here.values())
        if isinstance(sampler, Window):
            newest = max((h.result.model_version for h in held), default=0)
            held = [h for h in held if newest - h.result.model_version <= sampler.within]
            sampler = sampler.inner
        if isinstance(sampler, Uniform):
            return {h.identity: 1 / len(held) for h in held}
        if isinstance(sampler, Proportional):
            return shares(held, sampler)
        if isinstance(sampler, PerProgram):
            programs: dict[bytes, list[Held]] = {}
            for h in held:
                programs.setdefault(h.result.tir_hash, []).append(h)
            inside = [shares(listed, sampler.inner) for listed in programs.values()]
            weights = [len(found) ** sampler.power for found in inside if found]
            return {
                i: len(found) ** sampler.power / sum(weights) * p
                for found in inside
                for i, p in found.items()
            }
        return None

    def count_draw(self, batch: Batch) -> None:
        for identity in batch.ids.tolist():
            self.here[identity].drawn += 1
        self.sampled += len(batch)
        self.batches += 1

    def wear_out(self) -> None:
        most = self.rules.max_times_sampled
        for held in list(self.here.values()):
            if most is not None and held.drawn >= most:
                self.leave(held.identity, "max_times_sampled", self.next_id - 1)


def shares(held: list[Held], inner: Uniform | Proportional) -> dict[int, float]:
    if isinstance(inner, Uniform):
        return {h.identity: 1 / len(held) for h in held}
    powers = {h.identity: h.priority**inner.alpha for h in held if h.priority > 0}
    return {i: p / sum(powers.values()) for i, p in powers.items()}


results = st.builds(
    BuildResult,
    tir_hash=st.sampled_from([bytes([k]) * 32 for k in range(4)]),
    generated_tasm=st.lists(st.sampled_from(WORDS), max_size=2),
    valid=st.sampled_from([True, True, False]),
    clock_cycles=st.sampled_from([None, 3, 5, 5, 10, 12]),
    compiler_cycles=st.just(10),
    fallback_used=st.sampled_from([False, False, False, True]),
    timestamp=st.integers(0, 25),
    model_version=st.integers(0, 3),
)
priorities = st.sampled_from([0.0, 0.5, 1.0, 1.0, 2.0, 3.25, 1e-9, 1e9])
removers = st.sampled_from([LowestPriority(), LowestPriority("newest"), Oldest(), LeastUseful()])
keepers = st.sampled_from(
    [
        KeepBest(LowestPriority()),
        KeepBest(Oldest(), per_program=2),
        KeepBest(LeastUseful()),
        KeepBest(LowestPriority("newest")),
    ]
)
capacities = st.sampled_from([2, 3, 7, 9, 16])
limits = st.fixed_dictionaries(
    {},
    optional={
        "capacity_bytes": st.sampled_from([400, 900]),
        "max_age_s": st.sampled_from([0, 6, 15]),
        "max_times_sampled": st.sampled_from([1, 3]),
    },
)
plain_samplers = st.sampled_from(
    [
        Greedy(),
        Fifo(),
        Lifo(),
        Uniform(),
        Uniform(replace=False),
        Proportional(),
        Proportional(alpha=1.0, beta=1.0, stratified=False),
        Proportional(replace=False),
        RankBased(),
        Fresh(),
    ]
)
group_samplers = st.sampled_from(
    [
        PerProgram(),
        PerProgram(Proportional(), power=0.5),
        ByOutcome(valid=0.25, invalid=0.25, fallback=0.25, improved=0.25),
        ByOutcome(valid=0.6, improved=0.4, inner=Proportional()),
        Window(Uniform(), within=1),
        Window(Proportional(), within=1),
        Window(PerProgram(), within=1),
        Mixture({Fresh(): "all", Uniform(): 0.5}),
    ]
)


class Machine(RuleBasedStateMachine):
    """The rules; each machine below says with which settings it begins."""

    def begin(self, rules: Rules, eager: bool) -> None:
        self.rules = rules
        self.eager = eager  # look at everything after each step, or only when a rule says so
        self.waiting = False  # pushes that no query has yet made the buffer take in
        self.buffer = self.made()
        self.model = Model(rules)

    def made(self, seed: int = 1) -> ReplayBuffer:
        fields = {name: getattr(self.rules, name) for name in Rules.__dataclass_fields__}
        return ReplayBuffer(seed=seed, **fields)

    # --- what is done

    @rule(result=results)
    def push(self, result: BuildResult) -> None:
        assert [self.buffer.push(result)] == self.model.take_in([result])
        self.waiting = True

    @rule(given=st.lists(results, max_size=12))
    def extend(self, given: list[BuildResult]) -> None:
        assert self.buffer.extend(given).tolist() == self.model.take_in(given)
        self.waiting = False

    @rule(given=st.lists(st.tuples(results, priorities), max_size=30))
    def extend_with_priorities(self, given: list[tuple[BuildResult, float]]) -> None:
        new, chosen = [r for r, _ in given], [p for _, p in given]
        assert self.buffer.extend(new, chosen).tolist() == self.model.take_in(new, chosen)
        self.waiting = False

    @rule(data=st.data())
    def update(self, data: st.DataObject) -> None:
        ids = data.draw(st.lists(self.some_ids(), max_size=12))
        given = data.draw(st.lists(priorities, min_size=len(ids), max_size=len(ids)))
        assert self.buffer.update_priorities(ids, given) == self.model.update(ids, given)
        self.waiting = False

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        ids = data.draw(st.lists(self.some_ids(), max_size=5))
        assert self.buffer.remove(ids) == self.model.remove(ids)
        self.waiting = False

    def some_ids(self) -> st.SearchStrategy[int]:
        anywhere = st.integers(-2, self.model.next_id + 2)
        return st.sampled_from(sorted(self.model.here)) | anywhere if self.model.here else anywhere

    @rule(as_file=st.booleans())
    def save_and_load_the_state(self, as_file: bool) -> None:
        restored = self.made(seed=2)
        if as_file:
            with tempfile.TemporaryDirectory() as folder:
                self.buffer.save_state(Path(folder) / "state.npz")
                restored.load_state(Path(folder) / "state.npz")
        else:
            restored.load_state_dict(self.buffer.state_dict())
        self.buffer = restored
        self.waiting = False

    # --- what is drawn

    @rule(n=st.integers(1, 20))
    def sample(self, n: int) -> None:
        model, sampler = self.model, self.rules.sampler
        self.waiting = False
        if self.nothing_to_draw():
            with pytest.raises(EmptyBufferError):
                self.buffer.sample(n)
            return
        before = set(model.here)
        batch = self.buffer.sample(n)
        ids = batch.ids.tolist()
        assert set(ids) <= before
        if self.rules.max_times_sampled is None:
            self.right_draw(sampler, n, batch)
        else:
            self.right_number(n, batch)
        if isinstance(sampler, Fresh) and ids:
            model.cursor = ids[-1] + 1
        model.count_draw(batch)
        held = [model.here[i] for i in ids]
        assert list(batch) == [h.result for h in held]
        assert batch.priority.tolist() == [h.priority for h in held]
        assert batch.times_sampled.tolist() == [h.drawn for h in held]
        assert batch.times_seen.tolist() == [h.seen for h in held]
        assert batch.lowest_cycles.tolist() == [h.lowest for h in held]
        assert batch.highest_cycles.tolist() == [h.highest for h in held]
        model.wear_out()

    def nothing_to_draw(self) -> bool:
        sampler, model = self.rules.sampler, self.model
        if isinstance(sampler, (Greedy, Fifo, Lifo, Fresh, Mixture)):
            return False
        if isinstance(sampler, ByOutcome):
            return not self.quotas()
        chances = model.probabilities()
        return not model.here if chances is None else not chances

    def quotas(self) -> dict[str, float]:
        """Of the outcomes that have something to draw."""
        sampler = self.rules.sampler
        found = {
            h.outcome
            for h in self.model.here.values()
            if isinstance(sampler.inner, Uniform) or h.priority > 0
        }
        wanted = {name: getattr(sampler, name) for name in OUTCOMES if name in found}
        total = sum(wanted.values())
        return {name: q / total for name, q in wanted.items() if q > 0}

    def right_draw(self, sampler: Any, n: int, batch: Batch) -> None:
        model, ids, probability = self.model, batch.ids.tolist(), batch.probability.tolist()
        orders: dict[type, Callable[[Held], Any]] = {
            Greedy: lambda h: (-h.priority, h.identity),
            Fifo: lambda h: h.identity,
            Lifo: lambda h: -h.identity,
        }
        if type(sampler) in orders:
            assert ids == model.ordered(orders[type(sampler)])[:n]
            assert probability == [1.0] * len(ids)
        elif isinstance(sampler, Fresh):
            assert ids == [i for i in sorted(model.here) if i >= model.cursor][:n]
        elif isinstance(sampler, RankBased):
            self.right_ranks(sampler, n, batch)
        elif isinstance(sampler, ByOutcome):
            self.right_quotas(sampler, n, batch)
        elif isinstance(sampler, Mixture):
            self.right_mixture(n, ids)
        else:
            chances = model.probabilities()
            assert chances is not None
            unique = getattr(sampler, "replace", True) is False
            assert len(ids) == (min(n, len(chances)) if unique else n)
            assert len(set(ids)) == len(ids) or not unique
            assert set(ids) <= set(chances)
            np.testing.assert_allclose(probability, [chances[i] for i in ids], rtol=1e-11)
            if isinstance(sampler, Proportional) and sampler.replace:
                relative = (len(model.here) * batch.probability) ** -sampler.beta
                np.testing.assert_allclose(batch.weight, relative / relative.max(), rtol=1e-5)

    def right_ranks(self, sampler: RankBased, n: int, batch: Batch) -> None:
        """Equal priorities share what their ranks have."""
        falling = sorted((h.priority for h in self.model.here.values()), reverse=True)
        share = np.array([(rank + 1) ** -sampler.alpha for rank in range(len(falling))])
        shared = {p: share[np.array(falling) == p].mean() / share.sum() for p in set(falling)}
        assert len(batch) == n
        np.testing.assert_allclose(
            batch.probability, [shared[p] for p in batch.priority.tolist()], rtol=1e-11
        )

    def right_quotas(self, sampler: ByOutcome, n: int, batch: Batch) -> None:
        quotas = self.quotas()
        counts = Counter(self.model.here[i].outcome for i in batch.ids.tolist())
        assert counts.total() == n
        assert all(abs(counts[name] - n * quotas.get(name, 0.0)) < 1 for name in OUTCOMES)
        for identity, probability in zip(batch.ids.tolist(), batch.probability.tolist(), strict=True):
            outcome = self.model.here[identity].outcome
            among = shares([h for h in self.model.here.values() if h.outcome == outcome], sampler.inner)
            assert probability == pytest.approx(counts[outcome] / n * among[identity], rel=1e-11)

    def right_mixture(self, n: int, ids: list[int]) -> None:
        """All that is new, and half as many from all; n at most."""
        new = [i for i in sorted(self.model.here) if i >= self.model.cursor]
        given = min(len(new), max(1, int(n / 1.5 + 1e-9)))
        assert ids[:given] == new[:given]
        assert given <= len(ids) <= min(n, given + (given + 1) // 2)
        if given:
            self.model.cursor = new[given - 1] + 1

    def right_number(self, n: int, batch: Batch) -> None:
        """With a limit to the draws of a record: as many as asked for, or all that may still be."""
        model, sampler, most = self.model, self.rules.sampler, self.rules.max_times_sampled
        assert most is not None
        drawn = Counter(batch.ids.tolist())
        assert all(model.here[i].drawn + times <= most for i, times in drawn.items())
        chances = model.probabilities()
        drawable = set(model.here) if chances is None else set(chances)
        by_chance = isinstance(sampler, (Uniform, Proportional, RankBased, PerProgram)) and getattr(
            sampler, "replace", True
        )
        if isinstance(sampler, (Greedy, Fifo, Lifo)) or (
            by_chance is False and isinstance(sampler, (Uniform, Proportional))
        ):
            assert len(batch) == min(n, len(drawable))
        elif by_chance:
            assert len(batch) == min(n, sum(most - model.here[i].drawn for i in drawable))

    # --- what is seen

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.buffer) == len(self.model.here)

    @precondition(lambda self: self.eager and not self.waiting)
    @invariant()
    def everything_agrees_after_each_step(self) -> None:
        self.compare()

    @rule()
    def look(self) -> None:
        self.compare()
        self.waiting = False

    def teardown(self) -> None:
        if hasattr(self, "model"):
            self.compare()
            self.compare_state()

    def compare(self) -> None:
        model, buffer = self.model, self.buffer
        buffer.check()
        ids = sorted(model.here)
        held = [model.here[i] for i in ids]
        assert buffer.ids().tolist() == ids
        assert buffer.priorities(ids).tolist() == [h.priority for h in held]
        assert list(buffer) == [h.result for h in held]
        assert buffer.conflicts().tolist() == [list(pair) for pair in model.conflicts]
        stats = buffer.stats()
        gone = len(model.left)
        causes = ("capacity", "capacity_bytes", "max_age", "max_times_sampled", "request")
        assert stats.removed_by == {cause: model.causes[cause] for cause in causes}
        assert (stats.pushed, stats.removed, stats.forced) == (model.next_id, gone, model.forced)
        assert (stats.inserted, stats.merged) == (model.next_id - model.merged, model.merged)
        assert stats.conflicts == model.conflicted
        assert (stats.sampled, stats.batches) == (model.sampled, model.batches)
        assert (stats.updated, stats.late_updates) == (model.updated, model.late)
        assert stats.never_sampled == sum(not drawn for _, drawn in model.left)
        if model.causes.keys() == {"capacity"}:  # for the others, see the test below
            assert stats.age_at_removal == pytest.approx(sum(a for a, _ in model.left) / gone)
        assert stats.times_sampled_at_removal == (
            pytest.approx(sum(d for _, d in model.left) / gone) if gone else None
        )

    @rule()
    def compare_state(self) -> None:
        state = self.buffer.state_dict()
        self.waiting = False
        times = dict(zip(state["ids"].tolist(), state["times_sampled"].tolist(), strict=True))
        assert times == {h.identity: h.drawn for h in self.model.here.values()}


class PlainMachine(Machine):
    @initialize(
        capacity=capacities, sampler=plain_samplers, remover=removers, limits=limits, eager=st.booleans()
    )
    def start(self, capacity: int, sampler: Any, remover: Any, limits: dict[str, int], eager: bool) -> None:
        self.begin(Rules(capacity, sampler, remover, **limits), eager)


class GroupMachine(Machine):
    @initialize(capacity=capacities, sampler=group_samplers, remover=removers, eager=st.booleans())
    def start(self, capacity: int, sampler: Any, remover: Any, eager: bool) -> None:
        self.begin(Rules(capacity, sampler, remover), eager)


class KeepBestMachine(Machine):
    @initialize(
        capacity=capacities, sampler=plain_samplers, remover=keepers, limits=limits, eager=st.booleans()
    )
    def start(self, capacity: int, sampler: Any, remover: Any, limits: dict[str, int], eager: bool) -> None:
        self.begin(Rules(capacity, sampler, remover, **limits), eager)


class DedupeMachine(Machine):
    @initialize(
        capacity=capacities,
        sampler=plain_samplers,
        remover=removers,
        limits=limits,
        key=st.sampled_from([("tir_hash", "generated_tasm"), ("tir_hash",), ("generated_tasm",)]),
        eager=st.booleans(),
    )
    def start(
        self, capacity: int, sampler: Any, remover: Any, limits: dict[str, int], key: Any, eager: bool
    ) -> None:
        self.begin(Rules(capacity, sampler, remover, dedupe=Dedupe(key), **limits), eager)


class KeepBestDedupeMachine(Machine):
    @initialize(capacity=capacities, sampler=plain_samplers, remover=keepers, eager=st.booleans())
    def start(self, capacity: int, sampler: Any, remover: Any, eager: bool) -> None:
        self.begin(Rules(capacity, sampler, remover, dedupe=Dedupe()), eager)


# --- one by one ---------------------------------------------------------------------------------------------


def made(program: int = 0, **other: Any) -> BuildResult:
    fields: dict[str, Any] = {
        "tir_hash": bytes([program]) * 32,
        "generated_tasm": ["add"],
        "valid": True,
        "clock_cycles": 5,
        "compiler_cycles": 10,
        "fallback_used": False,
        "timestamp": 0,
        "model_version": 0,
    }
    return BuildResult(**{**fields, **other})


def test_a_record_after_which_none_was_pushed_is_removed_at_age_zero() -> None:
    buffer = ReplayBuffer(4)
    buffer.remove(buffer.extend([made()]))
    assert buffer.stats().age_at_removal == 0


def test_a_record_that_was_pushed_out_by_the_next_is_removed_at_age_one() -> None:
    buffer = ReplayBuffer(1, remover=Oldest())
    buffer.extend([made(), made()])
    assert buffer.stats().age_at_removal == 1


def test_the_best_result_is_kept_when_it_was_measured_by_a_repeat() -> None:
    buffer = ReplayBuffer(3, remover=KeepBest(Oldest()), dedupe=Dedupe())
    buffer.extend(
        [made(generated_tasm=["add"], clock_cycles=None), made(generated_tasm=["mul"], clock_cycles=9)]
    )
    buffer.extend([made(generated_tasm=["add"], clock_cycles=2)])
    buffer.extend([made(generated_tasm=[f"push {k}"], clock_cycles=50) for k in range(3)])
    assert min(r.clock_cycles for r in buffer) == 2


def test_a_record_pushed_right_after_a_state_was_loaded_can_be_drawn() -> None:
    old, new = (ReplayBuffer(9, sampler=PerProgram(), seed=1) for _ in range(2))
    old.push(made(1))
    new.load_state_dict(old.state_dict())
    new.push(made(2))
    assert set(new.sample(8).ids.tolist()) == {0, 1}


def test_times_sampled_counts_the_whole_batch_where_it_took_several_draws() -> None:
    buffer = ReplayBuffer(2, sampler=Proportional(), max_times_sampled=3, seed=1)
    buffer.extend([made(), made()], [0.001, 0.01])
    batch = buffer.sample(5)
    drawn = Counter(batch.ids.tolist())
    assert batch.times_sampled.tolist() == [drawn[i] for i in batch.ids.tolist()]


def test_a_capacity_in_bytes_leaves_each_program_its_last_record() -> None:
    buffer = ReplayBuffer(9, remover=KeepBest(Oldest()), capacity_bytes=3 * (BYTES_A_RECORD + BYTES_A_WORD))
    buffer.extend([made(program, valid=False) for program in (0, 0, 0, 0, 1, 1, 1)])
    assert {r.tir_hash[0] for r in buffer} == {0, 1}


def test_of_protected_records_the_oldest_goes_whatever_the_ties() -> None:
    buffer = ReplayBuffer(9, remover=KeepBest(LowestPriority("newest")))
    buffer.extend([made(program) for program in range(10)])
    assert buffer.ids().tolist() == list(range(1, 10))


def test_of_protected_records_the_oldest_goes() -> None:
    def left() -> str:
        buffer = ReplayBuffer(9, remover=KeepBest(Oldest()))
        buffer.extend([made(program) for program in range(10)])
        return str(buffer.ids().tolist())

    assert in_child(left, patience_s=30) == str(list(range(1, 10)))


# --- the machines -------------------------------------------------------------------------------------------


few = settings(max_examples=100, stateful_step_count=20, deadline=None)
PlainMachine.TestCase.settings = GroupMachine.TestCase.settings = DedupeMachine.TestCase.settings = few


class TestPlainBuffers(PlainMachine.TestCase):
    pass


class TestBuffersWithGroups(GroupMachine.TestCase):
    pass


class TestBuffersThatMergeRepeats(DedupeMachine.TestCase):
    pass


@pytest.mark.parametrize("machine", [KeepBestMachine, KeepBestDedupeMachine])
def test_buffers_that_keep_the_best_agree_with_the_model(machine: type[Machine]) -> None:
    def run() -> str:
        try:
            run_state_machine_as_test(
                machine, settings=settings(few, database=None, report_multiple_bugs=False)
            )
        except BaseException as error:
            return "\n".join([repr(error), *getattr(error, "__notes__", [])])
        return "agrees"

    assert in_child(run, patience_s=30, room_bytes=2 << 30) == "agrees"
