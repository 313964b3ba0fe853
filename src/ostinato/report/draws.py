"""What a store holds beside what a replay buffer draws from it: ages and priorities.

Rule of this file: a fixed seed; the draw is made now, with the priorities that records begin with, since those of the learner, which
change, are not kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import EmptyBufferError
from ostinato.online.learner import CAPACITY
from ostinato.replay import Proportional
from ostinato.store import Records, Store

SEED, DRAWN = 0, 8192
_BINS = 24


@dataclass(frozen=True, slots=True)
class Histogram:
    """edges: bins + 1, rising. stored, drawn: the share of records in each bin."""

    edges: list[float]
    stored: list[float]
    drawn: list[float]


@dataclass(frozen=True, slots=True)
class Draws:
    """Of `stored` records, `drawn` draws by the learner's sampler, with `seed`. distinct: records among them.

    Attributes:
        ages: seconds before the newest record. priorities: as records come, by the reward.
    """

    sampler: str
    seed: int
    stored: int
    drawn: int
    distinct: int
    ages: Histogram
    priorities: Histogram


def draws_of(store: Store, records: Records) -> tuple[Draws | None, int]:
    """(what is drawn, None where nothing can be; conflicts among the records). Cost: about a us a record."""
    buffer = store.replay(CAPACITY, sampler=Proportional(), seed=SEED)
    conflicts = len(buffer.conflicts())
    try:
        batch = buffer.sample(DRAWN) if len(buffer) else None
    except EmptyBufferError:
        batch = None
    priorities = buffer.priorities(records.ids)
    here = np.isfinite(priorities)
    if batch is None or not here.any():
        return None, conflicts
    newest = int(records.timestamp.max())
    stamps = records.timestamp[here].astype(np.float64), batch.timestamp.astype(np.float64)
    ages = [np.maximum(newest - one, 0.0) for one in stamps]
    return Draws(
        "Proportional()",
        SEED,
        int(here.sum()),
        len(batch),
        len(np.unique(batch.ids)),
        _histogram(ages[0], ages[1]),
        _histogram(priorities[here], np.asarray(batch.priority, np.float64)),
    ), conflicts


def _histogram(stored: NDArray[np.float64], drawn: NDArray[np.float64]) -> Histogram:
    """Over the range of what is stored; what was appended since joins the last bin."""
    low, high = float(stored.min()), float(stored.max())
    edges = np.linspace(low, high if high > low else low + 1.0, _BINS + 1)
    shares = []
    for values in (stored, drawn):
        counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
        shares.append((counts / max(1, len(values))).tolist())
    return Histogram(edges.tolist(), *shares)
