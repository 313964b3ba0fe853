"""Everything that a report says of a run, as plain numbers and texts.

Rule of this file: nothing here knows of pages or plots, and nothing in the run's folder is changed. What was not measured is None.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ostinato import targets
from ostinato.errors import DamageError
from ostinato.online import Folder, RulePolicy, Target
from ostinato.online.loop import known_metrics
from ostinato.report.draws import Draws, draws_of
from ostinato.report.progress import Program, Progress, programs_of, progress_of
from ostinato.report.versions import Versions, versions_of
from ostinato.store import Records, Store
from ostinato.store.health import Health as StoreHealth

RULES = 200  # that are shown


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A policy that the learner made. records: that it learned from. validity, reduction: on held-out programs; gain: against the
    policy before, in log cycles."""

    version: int
    parent: int | None
    active: bool
    activated: bool | None
    records: int | None
    rules: int | None
    new_rules: int | None
    reason: str
    validity: float | None
    gain: float | None
    reduction: float | None
    recorded_at: int


@dataclass(frozen=True, slots=True)
class Health:
    """How the store is. invalid, fallback: shares of the records that are kept, not of attempts. conflicts: pairs of records that are
    equal but not in their verdict, of the newest million records, at most 1,000 are counted. contexts: of writers whose journals are not sealed."""

    records: int
    bytes: int
    segments: int
    journals: int
    unsealed: int
    oldest: int | None
    newest: int | None
    torn: int
    damaged: int
    repeated: int
    amended: int
    aside: int
    invalid: float | None
    fallback: float | None
    conflicts: int
    contexts: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run at one moment.

    Attributes:
        folder: as it was given. target: its name. active: the policy at work. problems: what could not be read, in words.
        metrics: as `Metrics.in_full`. seconds_proposing, seconds_judging: of all builders together.
        progress, programs, versions: best code over time, by program, by model version.
        draws: what the store holds beside what a replay buffer draws; None where nothing can be drawn.
        rules: the first 200 of `rules_known`, of which `rules_general` hold wherever they stand. checkpoints: of the learner.
        health: of the store; None before there is one.
    """

    folder: str
    target: str
    active: int | None
    problems: list[str]
    metrics: dict[str, Any]
    seconds_proposing: float
    seconds_judging: float
    progress: Progress
    programs: list[Program]
    versions: Versions
    draws: Draws | None
    rules: list[dict[str, Any]]
    rules_known: int
    rules_general: int
    checkpoints: list[Checkpoint]
    health: Health | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def snapshot(folder: str | os.PathLike[str]) -> Snapshot:
    """Of the folder of a run, which may be at work.

    Raises:
        DamageError: its programs or its store cannot be read; damaged policies and notes are told in `problems`.
        FileNotFoundError: it is no run's folder.
    Cost: some us a record, some ms a model version and a program.
    """
    own = Folder(folder)
    target = targets.load(os.fspath(folder))
    problems: list[str] = []
    active = None
    with _told(problems):
        active = own.active()
    metrics = known_metrics(own, target.programs)
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(own.store()) if (own.path / "store").is_dir() else None
        records = None if store is None else store.results()
        if store is not None:
            metrics.take(store.results(metrics.cursor))
        draws = health = None
        checkpoints: list[Checkpoint] = []
        if store is not None and records is not None:
            draws, conflicts = draws_of(store, records)
            found = store.health()
            health = _health(found, records, conflicts)
            problems += found.problems
            with _told(problems):
                checkpoints = _checkpoints(store, active)
        rules = _rules(own, target, active, problems)
        progress = progress_of(metrics, None if records is None else records.timestamp)
        return Snapshot(
            folder=os.fspath(folder),
            target=target.name,
            active=active,
            problems=problems,
            metrics=metrics.in_full(),
            seconds_proposing=metrics.seconds_proposing,
            seconds_judging=metrics.seconds_judging,
            progress=progress,
            programs=programs_of(metrics, progress.began),
            versions=versions_of(metrics, target.failures),
            draws=draws,
            rules=rules[:RULES],
            rules_known=len(rules),
            rules_general=sum(rule["general"] for rule in rules),
            checkpoints=checkpoints,
            health=health,
        )


@contextlib.contextmanager
def _told(problems: list[str]) -> Iterator[None]:
    """What cannot be read becomes a problem that the report tells."""
    try:
        yield
    except (DamageError, OSError) as error:
        problems.append(str(error))


def _rules(folder: Folder, target: Target, active: int | None, problems: list[str]) -> list[dict[str, Any]]:
    """Of the active policy, those that hold everywhere and were seen most first."""
    if active is None:
        return []
    policy = RulePolicy(target)
    with _told(problems):
        policy.load(folder.checkpoint(active))
    found = sorted(policy.rules, key=lambda rule: (-rule.general, -sum(rule.seen.values()), -rule.saved))
    return [rule.as_dict() for rule in found]


def _checkpoints(store: Store, active: int | None) -> list[Checkpoint]:
    steps = {step.number: step for step in store.catalog.finetunes()}
    found = []
    for item in store.catalog.versions():
        said, step = item.metrics, None if item.finetune is None else steps.get(item.finetune)
        found.append(
            Checkpoint(
                version=item.version,
                parent=item.parent,
                active=item.version == active,
                activated=said.get("activated"),
                records=None if step is None else step.records,
                rules=said.get("rules"),
                new_rules=said.get("new_rules"),
                reason=str(said.get("guard", "")),
                validity=_number(said.get("validity")),
                gain=_number(said.get("gain")),
                reduction=_number(said.get("held_out_reduction")),
                recorded_at=item.recorded_at,
            )
        )
    return found


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _health(health: StoreHealth, records: Records, conflicts: int) -> Health:
    n = len(records)
    same = (
        "records", "bytes", "segments", "journals", "unsealed", "oldest", "newest", "torn", "damaged", "repeated", "amended", "aside",
    )  # fmt: skip
    return Health(
        **{name: getattr(health, name) for name in same},
        invalid=float((~records.valid).sum() / n) if n else None,
        fallback=float(records.fallback_used.sum() / n) if n else None,
        conflicts=conflicts,
        contexts=[
            {"journal": one.journal, "alive": one.alive, "records": one.records, "context": dict(one.context)}
            for one in health.writers
        ],
    )
