"""The learner at work: it follows the store, and when enough is new it learns, keeps a checkpoint with what it learned from, and
puts it to work.

Rule of this file: a checkpoint is there before the note that its records were read; killed in between, it learns them once more.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

import numpy as np

from ostinato.errors import EmptyBufferError, UsageError
from ostinato.online.folder import Folder
from ostinato.online.guard import Decision, decide, evaluate
from ostinato.online.phases import PHASE_B
from ostinato.online.policies import Example
from ostinato.online.rule_policy import RulePolicy
from ostinato.online.target import Numbers, Target
from ostinato.online.working import MakeTarget, looked_after
from ostinato.replay import Batch, Proportional, Sampler
from ostinato.store import Records, Store

TRIGGER, TRIGGER_S = 50, 86_400.0  # new results, or so long with at least one
HISTORY = 0.1  # of what is new, as many from history
CAPACITY = 1_000_000
_LOOKED_AT = 4096  # records whose parents one finetune looks up
_EXAMPLES = 96  # better children that it learns from
_POLL_S = 0.5
_NICE = 5  # where there are more processes than cores, builders come first: a better policy now and then is soon enough

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Study:
    """What a learner is told: the run's folder, when to learn (new results, or seconds with at least one), the share of history, and
    how it is drawn. held_out: makes the target whose programs the guard compares policies on; nothing is learned from it."""

    path: str
    seed: int = 0
    trigger: int = TRIGGER
    trigger_s: float = TRIGGER_S
    history: float = HISTORY
    sampler: Sampler | None = None
    held_out: MakeTarget | None = None


def study(make_target: MakeTarget, told: Study) -> None:
    """A learner process: works until it is killed or its parent has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICE)
    with Folder(told.path).store() as store:
        learner = Learner(make_target(), store, told)
        while looked_after():
            if not learner.turn(time.time()):
                time.sleep(_POLL_S)


class Learner:
    """Trains a RulePolicy from a store.

    Args:
        target: checks rules. store: what is learned from, and whose catalog keeps lineage. told: see `Study`.
    """

    def __init__(self, target: Target, store: Store, told: Study) -> None:
        self._target, self._store, self._told = target, store, told
        self.folder = Folder(told.path)
        self._active = self.folder.active()
        self.policy = RulePolicy(target)
        self._go_back()
        self._cursor = self.folder.seen()
        self._last = time.time()
        self._numbers = Numbers(target.programs)
        sampler = Proportional() if told.sampler is None else told.sampler
        self._held_out = None if told.held_out is None else told.held_out()
        self._history = store.replay(CAPACITY, sampler=sampler, seed=told.seed)

    def turn(self, now: float) -> int | None:
        """Learn, if that is due; the new version, or None. The guard decides whether it is put to work."""
        records = self._store.results(self._cursor)
        due = len(records) >= self._told.trigger or (
            len(records) > 0 and now - self._last >= self._told.trigger_s
        )
        if not due:
            return None
        self._last = now
        if self.folder.active() != self._active:  # somebody rolled it back
            self._active = self.folder.active()
            self._go_back()
        old = self._drawn(records)
        examples = self._examples(records)
        before = len(self.policy.rules)
        self.policy.gather(self.folder.observations())
        self.policy.learn(examples)
        if old is not None:
            self._again(old)
        version = 1 + max([0, *self.folder.versions(), *(v.version for v in self._store.catalog.versions())])
        self.policy.version = version
        self.policy.save(self.folder.checkpoint(version))
        ids = np.concatenate([records.ids, [] if old is None else old.ids]).astype(np.int64)
        decision, reduction = self._decide(version)
        metrics = {
            "rules": len(self.policy.rules),
            "new_rules": len(self.policy.rules) - before,
            "examples": len(examples),
            "activated": decision.activate,
            "guard": decision.reason,
            "validity": decision.validity[1],
            "gain": decision.gain,
            "held_out_reduction": reduction,
        }
        number = self._store.catalog.record_finetune(
            record_ids=ids,
            config={"history": self._told.history, "trigger": self._told.trigger},
            metrics=metrics,
            base_version=self._active,
            new_version=version,
            at=int(now),
        )
        path = str(self.folder.checkpoint(version).relative_to(self.folder.path))
        self._store.catalog.put_version(version, parent=self._active, finetune=number, path=path, metrics=metrics, at=int(now))  # fmt: skip
        if decision.activate:
            self.folder.activate(version)
            self._active = version
        else:
            self._go_back()
        self._cursor = records.cursor
        self.folder.note_seen(records.cursor)
        self.folder.forget_policies(
            {v.version for v in self._store.catalog.versions() if v.metrics.get("activated")}
        )
        return version

    def _go_back(self) -> None:
        """To the active policy as it is kept, or to one that has learned nothing. What was found out of rules is kept."""
        if self._active is None:
            self.policy = RulePolicy(self._target)
        else:
            self.policy.load(self.folder.checkpoint(self._active))

    def _decide(self, version: int) -> tuple[Decision, float | None]:
        """Compare the new checkpoint with the active one on the held-out programs; the new one's reduction there."""
        if self._held_out is None:
            return Decision(True, "there are no held-out programs", (None, None)), None
        found = []
        for one in (self._active, version):
            policy = RulePolicy(self._held_out)
            if one is not None:
                policy.load(self.folder.checkpoint(one))
            found.append(evaluate(policy, self._held_out, seed=self._told.seed))
        phase_b = self._history.valid_count() >= PHASE_B
        return decide(*found, phase_b=phase_b, seed=self._told.seed), found[1].reduction

    def _drawn(self, records: Records) -> Batch | None:
        """A tenth as many from history, before what is new joins it."""
        wanted = int(self._told.history * len(records))
        try:
            drawn = self._history.sample(wanted) if wanted and len(self._history) else None
        except EmptyBufferError:
            drawn = None
        self._history.refresh()
        return drawn

    def _examples(self, records: Records) -> list[Example]:
        """Better children with their parents, those that save most first."""
        found: dict[tuple[Words, Words], Example] = {}
        parents = records.extras["parent"]
        cycles = np.ma.filled(records.clock_cycles, 0)
        programs = self._numbers.of(records.tir_hash)
        usable = np.flatnonzero(records.valid & ~records.fallback_used & (programs >= 0))
        for i in usable[-_LOOKED_AT:].tolist():
            one = self._example(
                int(programs[i]), tuple(records.generated_tasm[i]), int(cycles[i]), int(parents[i])
            )
            if one is not None:
                found.setdefault((one.before, one.after), one)
        best = sorted(found.values(), key=lambda one: one.cycles_after - one.cycles_before)
        return best[:_EXAMPLES]

    def _example(self, program: int, after: Words, cycles: int, parent: int) -> Example | None:
        if program < 0:
            return None
        task = self._target.programs[program]
        if parent < 0:
            before, cost = task.baseline, task.compiler_cycles
        else:
            try:
                record = self._store.get(parent)
            except UsageError:  # it has left the store meanwhile
                return None
            before, cost = tuple(record.generated_tasm), record.clock_cycles or 0
        known = self._target.vocabulary
        if cost <= cycles or not all(word in known for word in (*before, *after)):
            return None
        return Example(task.name, before, after, cost, cycles)

    def _again(self, old: Batch) -> None:
        """History: what still teaches something keeps its priority, what taught nothing loses half of it."""
        before = len(self.policy.rules)
        priorities = np.asarray(old.priority, np.float64).copy()
        programs = self._numbers.of(np.asarray(old.tir_hash))
        for i in range(len(old)):
            record = old[i]
            if not record.valid or record.fallback_used or record.clock_cycles is None:
                continue
            parent = int(old.extras["parent"][i])
            one = self._example(int(programs[i]), tuple(record.generated_tasm), record.clock_cycles, parent)
            if one is not None:
                self.policy.learn([one])
            if len(self.policy.rules) == before:
                priorities[i] /= 2
            before = len(self.policy.rules)
        self._history.update_priorities(old.ids, priorities)
