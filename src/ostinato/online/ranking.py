"""Which candidates are worth a judgement: a model that learns from every verdict, of any program.

Rule of this file: it orders candidates and never says that one is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import DamageError
from ostinato.online.edits import Parents
from ostinato.online.policies import Proposals
from ostinato.online.target import Features

FEATURES = 1 << 13  # as in the kernel
_OWN = 256  # programs of which the model knows something of their own


class Ranking:
    """A logistic model of "is it valid" over features of what a child changes.

    Memory: 128 KiB, and as
    much for each program of late; what it knows of programs one by one is not saved."""

    def __init__(self, features: Features) -> None:
        self._features = features
        self._weights, self._squares = np.zeros(FEATURES), np.zeros(FEATURES)
        self._own: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
        self._weights[1280 + 128] = -3.0  # few are right
        self.taught = 0

    def chances(self, parents: Parents, made: Proposals) -> NDArray[np.float64]:
        """f64[n]: how likely each is valid. Cost: about 1 us a candidate."""
        return self._run(parents, made, np.zeros(len(made)), False)

    def learn(self, parents: Parents, made: Proposals, valid: NDArray[np.bool_]) -> None:
        """From verdicts. Cost: about 1 us a candidate."""
        self.taught += len(made)
        self._run(parents, made, valid.astype(np.float64), True)

    def _run(
        self, parents: Parents, made: Proposals, labels: NDArray[np.float64], learn: bool
    ) -> NDArray[np.float64]:
        from ostinato.online.rank_kernels import score

        out = np.zeros(len(made))
        own = self._features
        score(
            made.tokens, made.offsets, made.parent, parents.tokens, parents.starts, parents.first, own.need, own.change,
            own.kind, own.skips, own.wired, own.source, self._weights, self._squares, *self._of(parents.program),
            labels, learn, out,
        )  # fmt: skip
        return out

    def _of(self, program: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if program not in self._own:
            if len(self._own) >= _OWN:
                del self._own[next(iter(self._own))]
            self._own[program] = np.zeros(FEATURES), np.zeros(FEATURES)
        return self._own[program]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: weights that are not zero, by place."""
        places = np.flatnonzero(self._squares)
        return {
            "taught": self.taught,
            "places": places.tolist(),
            "weights": self._weights[places].tolist(),
            "squares": self._squares[places].tolist(),
        }

    def restore(self, data: Any) -> None:
        """What `as_dict` gave. Raises: DamageError."""
        try:
            places = np.array(data["places"], np.int64)
            weights, squares = (np.array(data[name], np.float64) for name in ("weights", "squares"))
            if not (np.isfinite(weights).all() and np.isfinite(squares).all() and (squares >= 0).all()):
                raise ValueError("weights are numbers, squares are not negative")
            self._weights[places], self._squares[places] = weights, squares
            self.taught = int(data["taught"])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DamageError(f"expected a ranking: {error}", field="ranking") from None

    @classmethod
    def mean(cls, features: Features, many: Sequence[Ranking]) -> Ranking:
        """One for several that learned apart: each weight their mean by how much each has learned of it."""
        out = cls(features)
        evidence = np.array([one._squares for one in many])
        total = evidence.sum(0)
        known = total > 0
        out._weights[known] = (evidence * [one._weights for one in many]).sum(0)[known] / total[known]
        out._squares = evidence.max(0)  # as sure as the surest, so that it goes on learning as fast
        out.taught = sum(one.taught for one in many)
        return out
