"""Stats: what a replay buffer has done so far."""

from __future__ import annotations

from dataclasses import dataclass

CAUSES = ("capacity", "capacity_bytes", "max_age", "max_times_sampled", "request")
STORE_CAUSES = (*CAUSES, "store", "damage")


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts of records since the buffer was made; pushed = merged + removed + those that are here.

    Attributes:
        pushed: came. inserted: of them, those that were not merged into another.
        merged: repeats. conflicts: repeats with another verdict, which are inserted.
        removed: left. removed_by: the same by cause: "capacity", "capacity_bytes", "max_age",
            "max_times_sampled", "request" (`buffer.remove`); of records in a store also "store" (they left it, or
            were no more there when a state was loaded) and "damage".
        forced: of those removed for lack of room, those that KeepBest protects, because nothing else was left.
        sampled: drawn, in all batches together. batches: drawn.
        updated: priorities set. late_updates: priority updates for ids that were gone, ignored.
        age_at_removal: how many records were pushed after one before it left, mean; None if none left.
        times_sampled_at_removal: how often one had been drawn when it left, mean; None if none left.
        never_sampled: left without having been drawn once.
    """

    pushed: int
    inserted: int
    merged: int
    conflicts: int
    removed: int
    removed_by: dict[str, int]
    forced: int
    sampled: int
    batches: int
    updated: int
    late_updates: int
    age_at_removal: float | None
    times_sampled_at_removal: float | None
    never_sampled: int
