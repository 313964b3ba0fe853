"""What a run has come to, from its records alone.

Rule of this file: rates are over attempts as builders counted them, not over the records that were kept; what was not measured is None.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import DamageError, UsageError
from ostinato.files import read_file, replace_file
from ostinato.online.phases import Phase, phase_of
from ostinato.online.statistics import (
    Estimate,
    geometric_mean_reduction,
    median_reduction,
    quantile_ms,
    rate,
)
from ostinato.online.tallies import BEAMS, COUNTS, FALLBACKS, NONE, RESULTS, Tallies
from ostinato.online.target import Numbers, Task
from ostinato.store import Cursor, Records

_FORMAT = 1
_FILE_END = 1 << 28  # bytes of a file of metrics
_ATTEMPTS, _VALID, _BETTER, _DUPLICATES, _PROPOSAL_US, _JUDGE_US = range(len(COUNTS))


@dataclass(frozen=True, slots=True)
class Find:
    """Better code for a program than any before, and the attempts of all programs until then."""

    program: str
    before: int
    after: int
    code: tuple[str, ...]
    timestamp: int
    model_version: int
    attempts: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Rates and reductions with their intervals, for all versions or for some (`first` to `last`).

    Attributes:
        attempts, valid, better, duplicates, beams, fallbacks: counts. better: valid ones that cost less than the baseline.
        validity: of attempts. improvement: better ones of valid. fallback: of beams. duplicate: of proposals.
        geometric_mean, median: the cycles saved over programs with the best code found; for a version, of the programs that it found code for.
        proposal_ms, proposal_p90_ms: of a beam, median and 90th percentile, at most 10 % too high.
    """

    first: int | None
    last: int | None
    attempts: int
    valid: int
    better: int
    duplicates: int
    beams: int
    fallbacks: int
    validity: Estimate
    improvement: Estimate
    fallback: Estimate
    duplicate: Estimate
    geometric_mean: Estimate
    median: Estimate
    proposal_ms: float | None
    proposal_p90_ms: float | None


class Metrics:
    """Counts and bests; `take` adds records.

    Args:
        tasks: the programs; records of others are passed over.
    Attributes:
        tallies: by version and program. records: taken in. cursor: up to where, None before the first.
        finds: better code as it came. best: cycles and instructions of the best valid result by program.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = list(tasks)
        self._numbers = Numbers(self.tasks)
        self.tallies = Tallies(len(self.tasks))
        self.records = 0
        self.cursor: Cursor | None = None
        self.finds: list[Find] = []
        self.best = {task.name: (task.compiler_cycles, task.baseline) for task in self.tasks}

    def take(self, records: Records) -> list[Find]:
        """Count records; returns the finds among them, in order of time. Cost: about 0.3 us a record, some us a find."""
        self.cursor = records.cursor
        programs = self._numbers.of(records.tir_hash)
        before = self.attempts
        known = programs >= 0
        if not known.all():
            records, programs = records[known], programs[known]
        self.records += len(records)
        self.tallies.take(records, programs)
        order = np.argsort(records.timestamp, kind="stable")
        spent = np.empty(len(records), np.int64)
        spent[order] = before + np.cumsum(records.extras["attempts"][order].astype(np.int64))
        found = []
        costs = np.ma.getdata(
            records.clock_cycles
        )  # once: the masked column is made anew each time it is asked for
        for i in self._better(records, programs, order).tolist():
            name = self.tasks[int(programs[i])].name
            cycles, code = int(costs[i]), tuple(records.generated_tasm[i])
            find = Find(
                name, self.best[name][0], cycles, code, int(records.timestamp[i]), int(records.model_version[i]), int(spent[i])
            )  # fmt: skip
            self.best[name] = cycles, code
            found.append(find)
        self.finds += found
        return found

    def _better(
        self, records: Records, programs: NDArray[np.int64], order: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Places of records that are better than all before, in that order."""
        best = np.array([self.best[task.name][0] for task in self.tasks], np.int64)
        measured = records.valid & ~records.fallback_used & ~np.ma.getmaskarray(records.clock_cycles)
        cycles = np.minimum(np.ma.filled(records.clock_cycles, 0), NONE).astype(np.int64)
        order = order[measured[order]]
        order = order[cycles[order] < best[programs[order]]]
        chosen = [np.zeros(0, np.int64)]
        for program in np.unique(programs[order]).tolist():
            own = np.flatnonzero(programs[order] == program)
            least = np.minimum.accumulate(np.append(best[program], cycles[order[own]]))
            chosen.append(own[least[1:] < least[:-1]])
        return order[np.sort(np.concatenate(chosen))]

    def _sum(self, column: int) -> int:
        return int(self.tallies.counts[:, :, column].sum())

    @property
    def attempts(self) -> int:
        """Candidates that were judged."""
        return self._sum(_ATTEMPTS)

    @property
    def valid(self) -> int:
        """Attempts that were right."""
        return self._sum(_VALID)

    @property
    def seconds_proposing(self) -> float:
        """Of all builders together."""
        return self._sum(_PROPOSAL_US) / 1e6

    @property
    def seconds_judging(self) -> float:
        """Of all builders together."""
        return self._sum(_JUDGE_US) / 1e6

    @property
    def validity(self) -> float | None:
        """Of attempts, those that were right."""
        return _share(self.valid, self.attempts)

    @property
    def fallback_rate(self) -> float | None:
        """Of beams, those without a valid candidate."""
        return _share(self._sum(FALLBACKS), self._sum(BEAMS))

    @property
    def duplicate_rate(self) -> float | None:
        """Of proposals, those that were not judged again."""
        duplicates = self._sum(_DUPLICATES)
        return _share(duplicates, self.attempts + duplicates)

    @property
    def improved(self) -> int:
        """Programs with better code than the baseline."""
        return sum(self.best[task.name][0] < task.compiler_cycles for task in self.tasks)

    @property
    def cycles(self) -> tuple[int, int]:
        """(of the baselines, of the best), summed over programs."""
        return sum(task.compiler_cycles for task in self.tasks), sum(
            self.best[task.name][0] for task in self.tasks
        )

    @property
    def reduction(self) -> float | None:
        """The geometric mean over programs of what is saved, with one cycle added on both sides, so that code of no cycles counts."""
        return geometric_mean_reduction(*self._costs()).value

    def _costs(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        before = np.array([task.compiler_cycles for task in self.tasks], np.float64)
        return before, np.array([self.best[task.name][0] for task in self.tasks], np.float64)

    def figures(self) -> Figures:
        """Of the whole run. Cost: some ms."""
        tallies = self.tallies
        first, last = (int(tallies.first[0]), int(tallies.last[-1])) if len(tallies) else (None, None)
        counts, latency = tallies.counts.sum(axis=0), tallies.latency.sum(axis=0)
        return _figures(first, last, counts, latency, *self._costs())

    def by_version(self) -> list[Figures]:
        """Of each version, or neighbouring versions. Cost: some ms each."""
        tallies = self.tallies
        before, _ = self._costs()
        rows = []
        for k in range(len(tallies)):
            found = tallies.best[k] < NONE
            after = np.minimum(tallies.best[k][found], before[found])
            span = int(tallies.first[k]), int(tallies.last[k])
            rows.append(_figures(*span, tallies.counts[k], tallies.latency[k], before[found], after))
        return rows

    def by_program(self) -> list[dict[str, Any]]:
        """Of each program over all versions: counts, rates, cycles before and after."""
        counts = self.tallies.counts.sum(axis=0)
        return [
            {
                "name": task.name,
                "family": task.family,
                "attempts": int(row[_ATTEMPTS]),
                "validity": _share(row[_VALID], row[_ATTEMPTS]),
                "improvement_rate": _share(row[_BETTER], row[_VALID]),
                "fallback_rate": _share(row[FALLBACKS], row[BEAMS]),
                "duplicate_rate": _share(row[_DUPLICATES], row[_ATTEMPTS] + row[_DUPLICATES]),
                "compiler_cycles": task.compiler_cycles,
                "clock_cycles": self.best[task.name][0],
            }
            for task, row in zip(self.tasks, counts, strict=True)
        ]

    def phase(self) -> Phase:
        """Stage 3's phase, and its targets."""
        own = self.figures()
        counts = self.tallies.counts.sum(axis=0)
        gate = rate(counts[:, _VALID], counts[:, _ATTEMPTS], level=0.9)
        return phase_of(
            int(counts[:, RESULTS].sum()),
            validity=own.validity.value,
            validity_low=gate.low,
            improvement=own.improvement.value,
            reduction=own.median.value,
            latency_ms=own.proposal_p90_ms,
            fallback=own.fallback.value,
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the few figures that a line shows."""
        before, after = self.cycles
        return {
            "attempts": self.attempts,
            "validity": self.validity,
            "fallback_rate": self.fallback_rate,
            "duplicate_rate": self.duplicate_rate,
            "records": self.records,
            "improved_programs": self.improved,
            "programs": len(self.tasks),
            "baseline_cycles": before,
            "best_cycles": after,
            "geometric_mean_reduction": self.reduction,
        }

    def in_full(self) -> dict[str, Any]:
        """For JSON: everything, by version and by program, with intervals. Cost: some ms a version."""
        return {
            **self.as_dict(),
            "phase": asdict(self.phase()),
            "figures": asdict(self.figures()),
            "versions": [asdict(one) for one in self.by_version()],
            "by_program": self.by_program(),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """As JSON, whole or not at all."""
        data = {
            "metrics": _FORMAT,
            "cursor": None if self.cursor is None else self.cursor.to_json(),
            "programs": [task.tir_hash.hex() for task in self.tasks],
            "records": self.records,
            "best": [list(self.best[task.name]) for task in self.tasks],
            "finds": [[find.before, find.after, find.code, find.timestamp, find.model_version, find.attempts, find.program] for find in self.finds],
            "tallies": self.tallies.as_dict(),
        }  # fmt: skip
        with replace_file(path) as file:
            file.write(json.dumps(data, separators=(",", ":")).encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str], tasks: Sequence[Task]) -> Metrics:
        """What `save` wrote, of these programs.

        Raises:
            FileNotFoundError: it never did. DamageError: it is no such file.
        """
        out = cls(tasks)
        try:
            data = json.loads(read_file(path, _FILE_END).tobytes())
            if data["metrics"] != _FORMAT:
                raise ValueError(f"expected format {_FORMAT}")
            places = {bytes.fromhex(one): i for i, one in enumerate(data["programs"])}
            programs = np.array([places.get(task.tir_hash, -1) for task in out.tasks], np.int64)
            out.tallies = Tallies.from_dict(data["tallies"], len(data["programs"])).chosen(programs)
            out.records = int(data["records"])
            for task, place in zip(out.tasks, programs.tolist(), strict=True):
                if place >= 0:
                    cycles, code = data["best"][place]
                    out.best[task.name] = int(cycles), tuple(map(str, code))
            names = {task.name for task in out.tasks}
            for before, after, code, timestamp, version, attempts, program in data["finds"]:
                if program in names:
                    out.finds.append(Find(program, int(before), int(after), tuple(map(str, code)), int(timestamp), int(version), int(attempts)))  # fmt: skip
            out.cursor = None if data["cursor"] is None else Cursor.from_json(data["cursor"])
        except (
            ValueError,
            KeyError,
            TypeError,
            IndexError,
            OverflowError,
            RecursionError,
            UsageError,
        ) as error:
            raise DamageError(f"expected a run's metrics: {error!r:.200}", source=os.fspath(path)) from None
        return out


def _share(part: int, whole: int) -> float | None:
    return int(part) / int(whole) if whole else None


def _figures(
    first: int | None, last: int | None, counts: NDArray[np.int64], latency: NDArray[np.int64],
    before: NDArray[np.float64], after: NDArray[np.float64],
) -> Figures:  # fmt: skip
    """Of counts i64[programs, WIDTH] and the costs of some programs."""
    attempts, valid, better, duplicates, beams, fallbacks = (
        counts[:, k] for k in (_ATTEMPTS, _VALID, _BETTER, _DUPLICATES, BEAMS, FALLBACKS)
    )
    return Figures(
        first=first,
        last=last,
        attempts=int(attempts.sum()),
        valid=int(valid.sum()),
        better=int(better.sum()),
        duplicates=int(duplicates.sum()),
        beams=int(beams.sum()),
        fallbacks=int(fallbacks.sum()),
        validity=rate(valid, attempts),
        improvement=rate(better, valid),
        fallback=rate(fallbacks, beams),
        duplicate=rate(duplicates, attempts + duplicates),
        geometric_mean=geometric_mean_reduction(before, after),
        median=median_reduction(before, after),
        proposal_ms=quantile_ms(latency, 0.5),
        proposal_p90_ms=quantile_ms(latency, 0.9),
    )
