"""Random edits: what a program's code may be made of, and batches of children.

Rule of this file: nothing learns here. A `Grammar` says from which words edits choose; whoever learns makes another.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ostinato.online.filter import BATCH, Filter
from ostinato.online.target import Features, Target

SLOTS = 256  # as in the kernel
REGISTERS = 16

# of DELETE, INSERT, REPLACE, ARGUMENT, MOVE, EXCHANGE, WINDOW, CLOSE, TAKE, FRAGMENT, CROSS, SCRATCH, PAIR
WEIGHTS = (5, 4, 8, 10, 8, 5, 22, 8, 8, 0, 5, 10, 5)
AGAIN = 0.45
TURNS = 2  # edits that are tried for a child that is wanted


@dataclass(frozen=True, slots=True)
class Family:
    """What all programs of a target share: siblings, and words that differ in their argument."""

    features: Features
    sibling: NDArray[np.int32]

    @classmethod
    def of(cls, features: Features) -> Family:
        """Cost: O(words)."""
        by = {
            (int(k), int(r)): i
            for i, (k, r) in enumerate(zip(features.kind, features.register, strict=True))
            if r >= 0
        }
        sibling = np.full((len(features.kind), REGISTERS), -1, np.int32)
        for i, (kind, register) in enumerate(zip(features.kind, features.register, strict=True)):
            if register >= 0:
                sibling[i] = [by.get((int(kind), r), -1) for r in range(REGISTERS)]
        return cls(features, sibling.reshape(-1))


@dataclass(frozen=True, slots=True)
class Grammar:
    """From which words edits of a program choose.

    Attributes:
        tables i32[1 + kinds, SLOTS], flat: words, as often as they shall come, by the kind of the word before (row 0: none);
            in each row those that need little of the stack first.
        fitting i64[1 + kinds, depths], flat: how many of a row a depth allows, from 0 to one that allows all.
        like_starts i64[words + 1], like: for each word those that differ from it in the argument.
        mend_starts, mend: those of them that also change the depth otherwise.
        fragments, fragment_starts: pieces that are put in whole.
    """

    tables: NDArray[np.int32]
    fitting: NDArray[np.int64]
    like_starts: NDArray[np.int64]
    like: NDArray[np.int32]
    mend_starts: NDArray[np.int64]
    mend: NDArray[np.int32]
    fragments: NDArray[np.int32]
    fragment_starts: NDArray[np.int64]


def spread(tokens: NDArray[np.int32], weights: NDArray[np.float64], slots: int = SLOTS) -> NDArray[np.int32]:
    """i32[slots]: each word about as often as its weight says."""
    ends = np.cumsum(weights) / weights.sum()
    places = (np.arange(slots) + 0.5) / slots
    return tokens[np.minimum(np.searchsorted(ends, places), len(tokens) - 1)].astype(np.int32)


def plain_grammar(target: Target, program: int) -> Grammar:
    """Words as `Target.alphabet` weighs them, whatever stands before. Cost: some ms."""
    tokens, weights = target.alphabet(program)
    kind, change, need = target.features.kind, target.features.change, target.features.need
    groups: dict[int, list[int]] = {}
    for token in tokens.tolist():
        groups.setdefault(int(kind[token]), []).append(token)
    like = [[t for t in groups.get(int(kind[i]), ()) if t != i] for i in range(len(kind))]
    mend = [[t for t in own if change[t] != change[i]] for i, own in enumerate(like)]
    tables, fitting = _sorted(np.tile(spread(tokens, weights), 2 + int(kind.max())), need)
    return Grammar(
        tables, fitting, _starts(like), _flat(like), _starts(mend), _flat(mend), _flat([]), _starts([])
    )


def taught_grammar(
    plain: Grammar, target: Target, tables: NDArray[np.int32], fragments: Sequence[Sequence[int]]
) -> Grammar:
    """A program's grammar with other tables, and with fragments."""
    tables, fitting = _sorted(tables, target.features.need)
    return replace(
        plain, tables=tables, fitting=fitting, fragments=_flat(fragments), fragment_starts=_starts(fragments)
    )


def _sorted(
    tables: NDArray[np.int32], need: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Tables whose rows begin with what needs little of the stack, and how many of a row each depth allows."""
    rows = tables.reshape(-1, SLOTS)
    rows = np.take_along_axis(rows, np.argsort(need[rows], axis=1, kind="stable"), 1)
    fitting = [(need[rows] <= depth).sum(1) for depth in range(int(need.max()) + 1)]
    return np.ascontiguousarray(rows, np.int32).reshape(-1), np.array(fitting, np.int64).T.reshape(-1)


def _starts(lists: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum([len(one) for one in lists])]).astype(np.int64)


def _flat(lists: Sequence[Sequence[int]]) -> NDArray[np.int32]:
    return np.array([token for one in lists for token in one], np.int32)


@dataclass(frozen=True)
class Parents:
    """Candidates to start from, lists of token ids end to end, and what is known of their program.

    Attributes:
        program: its number. tokens i32[n], starts i64[parents + 1]. limit: words that a child may have.
        first, last: the depth of the stack before and after.
        tried: what was judged already; None: nothing.
    """

    program: int
    tokens: NDArray[np.int32]
    starts: NDArray[np.int64]
    limit: int
    first: int
    last: int
    tried: Filter | None = None

    def __len__(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def lists(self) -> list[list[int]]:
        """The same as lists."""
        ends = self.starts.tolist()
        return [self.tokens[a:b].tolist() for a, b in itertools.pairwise(ends)]


@dataclass(frozen=True, slots=True)
class Children:
    """tokens i32[n], offsets i64[children + 1], parent i64[children], how i64[children]: bit k is set where edit k was made."""

    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    parent: NDArray[np.int64]
    how: NDArray[np.int64]


def children(
    parents: Parents,
    count: int,
    seed: int,
    grammar: Grammar,
    family: Family,
    weights: NDArray[np.float64],
    again: float = AGAIN,
    batch: Filter | None = None,
) -> Children:
    """At most so many children, each once, none that was tried or that `batch` knows, which gets to know them; the same for the same
    seed. Cost: about 0.3 us a child."""
    from ostinato.online.edits_kernels import propose

    batch = Filter(BATCH) if batch is None else batch
    out = np.empty(count * max(1, parents.limit), np.int32)
    offsets = np.zeros(count + 1, np.int64)
    parent, how = np.zeros(count, np.int64), np.zeros(count, np.int64)
    own = family.features
    made = propose(
        parents.tokens, parents.starts, count, TURNS * count, seed, weights, again, parents.limit, parents.first,
        parents.last, grammar.tables, grammar.fitting, own.kind, own.change, own.need, own.register, own.skips, family.sibling,
        grammar.like_starts, grammar.like, grammar.mend_starts, grammar.mend, grammar.fragments,
        grammar.fragment_starts, parents.program, (parents.tried or batch).table, batch.table, out, offsets, parent, how,
    )  # fmt: skip
    return Children(out[: offsets[made]], offsets[: made + 1], parent[:made], how[:made])
