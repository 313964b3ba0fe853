"""Policies: from parents to candidates.

Rule of this file: a policy has no clock and no files of its own; the same generator and the same past give the same
proposals.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import DamageError
from ostinato.files import replace_file
from ostinato.online.edits import AGAIN, WEIGHTS, Children, Family, Grammar, Parents, children, plain_grammar
from ostinato.online.target import Judged, Target


@dataclass(frozen=True, slots=True)
class Proposals:
    """tokens i32[n], offsets i64[candidates + 1], parent i64[candidates], rule i64[candidates]: which rule alone made it, or -1;
    how i64[candidates]: which edits, as bits."""

    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    parent: NDArray[np.int64]
    rule: NDArray[np.int64]
    how: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.parent)

    def code(self, i: int) -> tuple[int, ...]:
        """The words of one."""
        return tuple(self.tokens[self.offsets[i] : self.offsets[i + 1]].tolist())

    def take(self, chosen: NDArray[np.bool_]) -> Proposals:
        """Some of them, in order."""
        from ostinato.online.edits_kernels import take

        out = np.empty(len(self.tokens), np.int32)
        starts, index = np.zeros(len(self) + 1, np.int64), np.zeros(len(self), np.int64)
        count = take(self.tokens, self.offsets, chosen, out, starts, index)
        index = index[:count]
        return Proposals(
            out[: starts[count]], starts[: count + 1], self.parent[index], self.rule[index], self.how[index]
        )


def joined(parts: Sequence[Proposals]) -> Proposals:
    """One after the other."""
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    columns = [
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("tokens", "parent", "rule", "how")
    ]
    return Proposals(columns[0], offsets, *columns[1:])


@dataclass(frozen=True, slots=True)
class Example:
    """Verified code of a program and what it was made from, in words, with their cycles."""

    program: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    cycles_before: int
    cycles_after: int


class Policy(Protocol):
    """Who proposes. version: rises by one whenever `learn` has changed something."""

    version: int

    def propose(self, parents: Parents, count: int, rng: np.random.Generator) -> Proposals:
        """About so many candidates."""
        ...

    def observe(self, parents: Parents, proposals: Proposals, judged: Judged, cycles: int) -> None:
        """What became of proposals from these parents, where `cycles` was the best before."""
        ...

    def learn(self, examples: Sequence[Example]) -> None:
        """From verified results."""
        ...

    def save(self, path: str | Path) -> None:
        """As JSON."""
        ...

    def load(self, path: str | Path) -> None:
        """What `save` wrote. Raises: DamageError."""
        ...


class EditPolicy:
    """Random edits from a fixed distribution: the untrained floor.

    Args:
        target: whose words. weights: of the edits, in the order of edits.WEIGHTS. again: chance of one more edit.
    """

    version = 0

    def __init__(self, target: Target, *, weights: Sequence[float] = WEIGHTS, again: float = AGAIN) -> None:
        self._target = target
        self._family = Family.of(target.features)
        self._weights = np.array(weights, np.float64) / sum(weights)
        self._again = again
        self._grammars: dict[int, Grammar] = {}

    def propose(self, parents: Parents, count: int, rng: np.random.Generator) -> Proposals:
        """At most so many. Cost: about 0.3 us a candidate."""
        if parents.program not in self._grammars:
            self._grammars[parents.program] = plain_grammar(self._target, parents.program)
        made = children(
            parents,
            count,
            _seed(rng),
            self._grammars[parents.program],
            self._family,
            self._weights,
            self._again,
        )
        return without_rule(made)

    def observe(self, parents: Parents, proposals: Proposals, judged: Judged, cycles: int) -> None:
        """Nothing."""

    def learn(self, examples: Sequence[Example]) -> None:
        """Nothing."""

    def save(self, path: str | Path) -> None:
        """As JSON."""
        write_json(path, {"policy": "edits", "weights": self._weights.tolist(), "again": self._again})

    def load(self, path: str | Path) -> None:
        """What `save` wrote."""
        data = read_json(path, "edits")
        try:
            weights, again = np.array(data["weights"], np.float64), float(data["again"])
        except (KeyError, TypeError, ValueError) as error:
            raise DamageError(f"expected a policy: {error!r:.200}", source=str(path)) from None
        if weights.shape != self._weights.shape or not (weights >= 0).all() or not 0 <= again < 1:
            raise DamageError("expected a weight for each edit", field="weights", source=str(path))
        self._weights, self._again = weights, again


def without_rule(made: Children | Proposals) -> Proposals:
    """Children that no rule made, or not one alone."""
    return Proposals(
        made.tokens, made.offsets, made.parent, np.full(len(made.parent), -1, np.int64), made.how
    )


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(0, 2**63))


def write_json(path: str | Path, data: dict[str, Any]) -> None:
    """Whole or not at all."""
    with replace_file(path) as file:
        file.write(json.dumps(data, indent=1).encode())


def read_json(path: str | Path, policy: str) -> dict[str, Any]:
    """Raises: DamageError: it is no policy of this kind."""
    try:
        data = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise DamageError(f"no JSON: {error}", source=str(path)) from None
    if not isinstance(data, dict) or data.get("policy") != policy:
        raise DamageError(f"expected a policy {policy!r}", field="policy", source=str(path))
    return data
