"""Counts by model version and program, of bounded size.

Rule of this file: when there are too many versions, neighbouring ones are counted as one; no count is lost.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.online.statistics import BINS, bins_of
from ostinato.store import Records

# what is counted of a beam; the names of the records' columns
COUNTS = ("attempts", "valid_attempts", "better_attempts", "duplicates", "proposal_us", "judge_us")
BEAMS, FALLBACKS, RESULTS, FAILURES = (len(COUNTS) + i for i in range(4))
WIDTH = len(COUNTS) + 4
ROWS = 128
_ALONE = 32  # of the newest versions, those that are not joined
KINDS = 64  # of failures
NONE = np.iinfo(np.int64).max  # cycles of a program for which a version has found nothing


class Tallies:
    """Arrays with a row for a version, or for versions first..last.

    Attributes:
        first, last: i64[rows], rising. counts: i64[rows, programs, WIDTH], in the order of COUNTS, then beams, beams that fell back,
            valid results, kept failures. best: i64[rows, programs] cycles, NONE where nothing was found.
        failures: i64[rows, KINDS], of the failed candidates that were kept, which are a sample. latency: i64[rows, BINS] of beams.

    Memory: at most 128 rows, 90 bytes a program in each.
    """

    def __init__(self, programs: int) -> None:
        self.first, self.last = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.counts = np.zeros((0, programs, WIDTH), np.int64)
        self.best = np.zeros((0, programs), np.int64)
        self.failures = np.zeros((0, KINDS), np.int64)
        self.latency = np.zeros((0, BINS), np.int64)

    def __len__(self) -> int:
        return len(self.first)

    def take(self, records: Records, programs: NDArray[np.int64]) -> None:
        """Add records, of programs i64[n] >= 0. Cost: about 0.1 us a record."""
        if not len(records):
            return
        rows = self._rows_of(records.model_version.astype(np.int64))
        extras = records.extras
        beams = extras["attempts"] > 0
        found = records.valid & ~records.fallback_used
        failed = ~records.valid
        flat = self.counts.reshape(-1, WIDTH)
        cells = rows * self.counts.shape[1] + programs
        for k, name in enumerate(COUNTS):
            np.add.at(flat[:, k], cells[beams], extras[name][beams].astype(np.int64))
        for k, which in (
            (BEAMS, beams),
            (FALLBACKS, beams & records.fallback_used),
            (RESULTS, found),
            (FAILURES, failed),
        ):
            flat[:, k] += np.bincount(cells[which], minlength=len(flat))
        measured = found & ~np.ma.getmaskarray(records.clock_cycles)
        cycles = np.minimum(np.ma.filled(records.clock_cycles, 0)[measured], NONE).astype(np.int64)
        np.minimum.at(self.best.reshape(-1), cells[measured], cycles)
        kinds = np.minimum(extras["failure"][failed].astype(np.int64), KINDS - 1)
        np.add.at(self.failures, (rows[failed], kinds), 1)
        np.add.at(self.latency, (rows[beams], bins_of(extras["proposal_us"][beams].astype(np.int64))), 1)
        self._join()

    def _rows_of(self, versions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row of each version; rows are made for those that have none."""
        there = np.unique(versions)
        place = np.searchsorted(self.first, there, side="right") - 1
        new = there[(place < 0) | (self.last[place] < there)] if len(self) else there
        if len(new):
            at = np.searchsorted(self.first, new)
            self.first, self.last = np.insert(self.first, at, new), np.insert(self.last, at, new)
            self.counts = np.insert(self.counts, at, 0, axis=0)
            self.failures = np.insert(self.failures, at, 0, axis=0)
            self.latency = np.insert(self.latency, at, 0, axis=0)
            self.best = np.insert(self.best, at, NONE, axis=0)
        return np.searchsorted(self.first, versions, side="right") - 1

    def _join(self) -> None:
        """Two neighbours become one, but of the newest, until there are few enough."""
        while len(self) > ROWS:
            old = len(self) - _ALONE
            starts = np.concatenate([np.arange(0, old, 2), np.arange(old, len(self))])
            ends = np.append(starts[1:], len(self)) - 1
            self.counts = np.add.reduceat(self.counts, starts, axis=0)
            self.failures = np.add.reduceat(self.failures, starts, axis=0)
            self.latency = np.add.reduceat(self.latency, starts, axis=0)
            self.best = np.minimum.reduceat(self.best, starts, axis=0)
            self.first, self.last = self.first[starts], self.last[ends]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            name: getattr(self, name).tolist()
            for name in ("first", "last", "counts", "best", "failures", "latency")
        }

    @classmethod
    def from_dict(cls, data: Any, programs: int) -> Tallies:
        """What `as_dict` gave. Raises: ValueError, KeyError, TypeError: it is no such thing."""
        out = cls(programs)
        rows = len(data["first"])
        shapes = {
            "first": (rows,),
            "last": (rows,),
            "counts": (rows, programs, WIDTH),
            "best": (rows, programs),
        }
        shapes |= {"failures": (rows, KINDS), "latency": (rows, BINS)}
        for name, shape in shapes.items():
            array = np.array(data[name], np.int64).reshape(shape)
            if (array < 0).any():
                raise ValueError(f"expected counts in `{name}`")
            setattr(out, name, array)
        if rows > ROWS or (out.first[1:] <= out.last[:-1]).any() or (out.last < out.first).any():
            raise ValueError("expected rising versions")
        return out

    def chosen(self, programs: NDArray[np.int64]) -> Tallies:
        """The same of other programs: column k is the column programs[k] of this one, or empty for -1."""
        out = Tallies(len(programs))
        out.first, out.last, out.failures, out.latency = self.first, self.last, self.failures, self.latency
        there = programs >= 0
        out.counts = np.zeros((len(self), len(programs), WIDTH), np.int64)
        out.best = np.full((len(self), len(programs)), NONE, np.int64)
        out.counts[:, there], out.best[:, there] = (
            self.counts[:, programs[there]],
            self.best[:, programs[there]],
        )
        return out
