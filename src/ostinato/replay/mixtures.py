"""Samplers made of others: a mixture, what is new, and a window over model versions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import UsageError
from ostinato.replay.groups import MODEL_VERSION, Members
from ostinato.replay.samplers import (
    Beta,
    Draw,
    Sampler,
    SamplerIndex,
    beta_at,
    certain,
    check_beta,
    check_fraction,
    few_enough,
    importance,
    known,
    split,
)
from ostinato.replay.state import Reader, State
from ostinato.replay.table import Table
from ostinato.replay.trees import Numbers, Scope, Slots, Waiting

_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Fresh:
    """The records from the cursor on, oldest first, each once: a draw moves the cursor behind the last it gave.

    Args:
        cursor: the first id that is new to the learner, >= 0.

    `sample()` without a number gives all of them, `sample(n)` at most n. Probability and weight are 1. The
    cursor is part of the buffer's state, and `buffer.sampler.cursor`. Cost: O(ids passed), O(N log N) at most.
    """

    cursor: int = 0

    def __post_init__(self) -> None:
        _check_cursor(self.cursor)

    def attach(self, table: Table, scope: Scope | None = None) -> SamplerIndex:
        return FreshIndex(table, int(self.cursor), scope)


class FreshIndex:
    """`Fresh` at work; `cursor` may be set."""

    def __init__(self, table: Table, cursor: int, scope: Scope | None) -> None:
        self._table = table
        self._scope = scope
        self._cursor = cursor

    @property
    def cursor(self) -> int:
        """The first id that is new. Setting it raises UsageError if it is no int >= 0."""
        return self._cursor

    @cursor.setter
    def cursor(self, cursor: int) -> None:
        _check_cursor(cursor)
        self._cursor = int(cursor)

    def changed(self, slots: Slots) -> None:
        pass

    def draw(self, n: int | None, rng: np.random.Generator) -> Draw:
        table = self._table
        given: list[Slots] = []
        missing = table.count if n is None else n
        if table.next_id - self.cursor > 4 * table.count + _CHUNK:  # most of those ids are gone
            ids = np.sort(table.ids[: table.count])
            ids = ids[ids >= self.cursor]
            slots = self._inside(table.find(ids))
            places = np.flatnonzero(slots >= 0)[:missing]
            self._cursor = int(ids[places[-1]]) + 1 if len(places) == missing > 0 else table.next_id
            return certain(slots[places])
        while self.cursor < table.next_id and missing > 0:
            ids = np.arange(self.cursor, min(self.cursor + _CHUNK, table.next_id))
            slots = self._inside(table.find(ids))
            places = np.flatnonzero(slots >= 0)[:missing]
            given.append(slots[places])
            missing -= len(places)
            self._cursor = int(ids[places[-1] if missing == 0 else -1]) + 1
        return certain(np.concatenate(given) if given else np.empty(0, np.int64))

    def _inside(self, slots: Slots) -> Slots:
        """-1 for those that are not in the scope."""
        if self._scope is not None:
            slots[self._scope.factor[slots] <= 0] = -1
        return slots

    def state(self) -> State:
        """The cursor."""
        return {"cursor": np.array(self.cursor)}

    def restore(self, state: State) -> None:
        """Go on from there."""
        reader = Reader(state)
        cursor = int(reader.take("cursor", np.int64))
        reader.require(cursor >= 0, "cursor", f"expected an id, got {cursor}")
        self._cursor = cursor


@dataclass(frozen=True, init=False, slots=True)
class Mixture:
    """Several samplers in one batch: `Mixture({Proportional(): 0.75, Fifo(): 0.25})`.

    Args:
        parts: each sampler's fraction of the batch; they add up to 1, and are exact to within one record
            (largest remainders). Or "all" for a sampler that knows its own number: then the others' fractions
            are of that number (above 1 is more than as many), and `sample()` needs none: `sample(n)` gives n at
            most. `Mixture({Fresh(): "all", Proportional(): 0.1})` is all new results and a tenth as many from all.
        beta: exponent of the importance weights (N * P(i))**-beta, with P(i) the expected share of a record in this
            batch over all parts, whichever part drew it; divided by the batch's largest. What a part gives without
            chance (Greedy, Fifo, Lifo, Fresh) is expected once if it is among this batch's, else never.

    `probability` is that P(i). A part that has nothing to draw raises EmptyBufferError, as it would alone; Fresh
    gives nothing. Cost: that of the parts, and of each part's probability of the others' records.
    """

    parts: tuple[tuple[Sampler, float | Literal["all"]], ...]
    beta: Beta

    def __init__(
        self,
        parts: Mapping[Sampler, float | Literal["all"]] | Iterable[tuple[Sampler, float | Literal["all"]]],
        beta: Beta = 0.4,
    ) -> None:
        pairs = tuple(parts.items() if isinstance(parts, Mapping) else parts)
        if not pairs:
            raise UsageError("expected at least one part", "parts")
        some_all = any(fraction == "all" for _, fraction in pairs)
        for sampler, fraction in pairs:
            if isinstance(sampler, type) or not hasattr(sampler, "attach"):
                raise UsageError(f"expected a sampler such as Uniform(), got {sampler!r}", "parts")
            if fraction != "all":
                check_fraction(fraction, "parts", 1e6 if some_all else 1.0)
        total = sum(fraction for _, fraction in pairs if not isinstance(fraction, str))
        if not some_all and abs(total - 1) > 1e-9:
            hint = (
                " (of equal samplers a dict keeps the last: give pairs)" if isinstance(parts, Mapping) else ""
            )
            raise UsageError(f"expected fractions that add up to 1, got {total:g}{hint}", "parts")
        object.__setattr__(self, "parts", pairs)
        object.__setattr__(self, "beta", check_beta(beta))

    def attach(self, table: Table, scope: Scope | None = None) -> SamplerIndex:
        return MixtureIndex(table, self, scope)


class MixtureIndex:
    """`Mixture` at work; `parts` are its samplers'."""

    def __init__(self, table: Table, settings: Mixture, scope: Scope | None) -> None:
        self._table = table
        self._scope = scope
        self._beta = settings.beta
        self.parts = tuple(
            sampler.attach(table) if scope is None else sampler.attach(table, scope)
            for sampler, _ in settings.parts
        )
        self._fractions = [fraction for _, fraction in settings.parts]

    def changed(self, slots: Slots) -> None:
        for part in self.parts:
            part.changed(slots)

    def draw(self, n: int | None, rng: np.random.Generator) -> Draw:
        beta = beta_at(self._beta, self._table)
        draws = self._draws(n, rng)
        slots = np.concatenate([np.empty(0, np.int64), *(draw.slots for draw in draws)])
        n = len(slots)
        if not n:
            return certain(slots)

        def expected(some: Slots) -> Numbers:
            total = np.zeros(len(some))
            for draw in draws:
                if draw.expected is None:
                    raise UsageError("expected parts whose draws say how often a record is expected", "parts")
                total += draw.expected(some)
            return total

        probability = expected(slots) / n
        count = self._table.count if self._scope is None else self._scope.count
        weight, scale = importance(count * probability, beta)
        return Draw(slots, probability, weight, expected, scale)

    def _draws(self, n: int | None, rng: np.random.Generator) -> list[Draw]:
        fractions = np.array([0.0 if isinstance(f, str) else f for f in self._fractions])
        whole = [f == "all" for f in self._fractions]
        draws: dict[int, Draw] = {}
        if not any(whole):
            counts = split(few_enough(known(n)), fractions)
        else:
            # so many that with the others' fractions of it the batch is no larger than n
            most = None if n is None else max(1, int(n / (1 + fractions.sum()) + 1e-9))
            given = 0
            for k in np.flatnonzero(whole).tolist():
                limit = None if most is None else most - given
                if limit != 0:
                    draws[k] = self.parts[k].draw(limit, rng)
                    given += len(draws[k].slots)
            counts = np.floor(given * fractions + 0.5).astype(np.int64)
            if n is not None and given > n:
                raise UsageError(
                    f"expected parts that give what they are asked for at most, got {given} of {n}", "parts"
                )
            if n is not None:
                while given + counts.sum() > n:
                    counts[np.argmax(counts)] -= 1
        for k in np.flatnonzero(counts).tolist():
            draws[k] = self.parts[k].draw(int(counts[k]), rng)
        return [draws[k] for k in sorted(draws)]

    def state(self) -> State:
        """That of every part, as `0.name`, `1.name`, ..."""
        return {
            f"{k}.{name}": value
            for k, part in enumerate(self.parts)
            for name, value in state_of(part).items()
        }

    def restore(self, state: State) -> None:
        """Go on from there."""
        for k, part in enumerate(self.parts):
            restore(part, under(state, f"{k}."))


@dataclass(frozen=True, slots=True)
class Window:
    """Only records whose model_version is near: `Window(Proportional(), within=5)`.

    Args:
        inner: any sampler.
        within: a record is in the window if its version is at most this many from the reference, >= 0.
        version: the reference; None is the newest version in the buffer, at each draw.
        decay: in (0, 1]: a record d versions from the reference counts decay**d: for samplers by chance its
            weight is multiplied by it, for Greedy and RankBased its priority.

    Records outside stay in the buffer and are not drawn. N in the importance weights is the number of records
    inside. Moving the window costs O(log N) for each record that enters or leaves; with a set version and a decay, for
    each record inside. Memory: 20 bytes a record and those of a sampler with a tree.
    """

    inner: Sampler
    within: int
    version: int | None = None
    decay: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.inner, type) or not hasattr(self.inner, "attach"):
            raise UsageError(f"expected a sampler such as Uniform(), got {self.inner!r}", "inner")
        for name in ("within", "version"):
            value = getattr(self, name)
            if name == "within" or value is not None:
                _check_version(value, name)
        if check_fraction(self.decay, "decay") == 0:
            raise UsageError("expected a number in (0, 1], got 0", "decay")

    def attach(self, table: Table, scope: Scope | None = None) -> SamplerIndex:
        if scope is not None:
            raise UsageError("a window in a window: use one, with the smaller `within`", "inner")
        return WindowIndex(table, self)


class WindowIndex:
    """`Window` at work; `version` may be set, which moves it. It is the inner sampler's scope."""

    def __init__(self, table: Table, settings: Window) -> None:
        self._table = table
        self._settings = settings
        self._version = settings.version
        self.factor = np.empty(0)
        self.count = 0
        self._versions = Members(table, MODEL_VERSION)
        self._factors = np.empty(0)  # of each version's group
        self._at: int | None = None  # the reference that the factors are for
        self._seen: int | None = settings.version  # the version that was asked for then
        self._base: int | None = None  # the version whose factor is 1, where the reference moves
        self._waiting = Waiting(table)
        self.inner = settings.inner.attach(table, self)

    @property
    def version(self) -> int | None:
        """The reference; None is the newest. Setting it moves the window, and raises UsageError if it is no version."""
        return self._version

    @version.setter
    def version(self, version: int | None) -> None:
        if version is not None:
            _check_version(version, "version")
        self._version = version

    def changed(self, slots: Slots) -> None:
        self._waiting.add(slots)
        self.inner.changed(slots)

    def _distances(self, versions: NDArray[np.int64], at: int) -> NDArray[np.int64]:
        """How far from the reference; -1 where out of the window."""
        away = np.abs(versions - at)
        return np.where(away <= self._settings.within, away, -1)

    def _new_factors(self, versions: NDArray[np.int64], at: int) -> Numbers:
        """Factors of these versions. Relative to a base that stays, so that a move changes none inside."""
        inside = self._distances(versions, at) >= 0
        if self._settings.decay == 1:
            return inside.astype(np.float64)
        if self.version is not None:
            powers = np.abs(versions - at)
        else:
            # far from the base, factors would leave what float64 holds
            limit = max(1.0, 200 / -np.log2(self._settings.decay))
            if self._base is None or not 0 <= at - self._base <= limit:
                self._base = at
            powers = self._base - versions
        out = np.zeros(len(versions))
        # by multiplication alone, the same on every machine
        out[inside] = [_whole_power(self._settings.decay, int(k)) for k in powers[inside]]
        return out

    def _refresh(self) -> None:
        try:
            self._catch_up()
        except BaseException:  # an interrupt, or no memory: all anew at the next use
            self._forget()
            raise

    def _forget(self) -> None:
        self._versions = Members(self._table, MODEL_VERSION)
        self._factors, self._at = np.empty(0), None
        everything = np.arange(self._table.count)
        self._waiting.become(everything)
        self.inner.changed(everything)

    def _catch_up(self) -> None:
        table, versions = self._table, self._versions
        if not self._waiting and self._at is not None and self.version == self._seen:
            return  # nothing can have moved
        if self.version != self._seen:
            self._seen, self._base, self._at = self.version, None, None
        if len(self.factor) < table.room:
            self.factor = np.concatenate([self.factor, np.zeros(table.room - len(self.factor))])
        slots = self._waiting.slots()
        self._waiting.clear()
        if len(slots):
            versions.set(slots)
            groups = len(versions.numbering)
            if groups > 1024 and groups > 4 * np.count_nonzero(versions.size[:groups]):
                versions.rebuild()
                self._at, self._factors = None, np.empty(0)
        numbers = versions.numbering.keys.view("<u4")[:, 0].astype(np.int64)
        alive = np.flatnonzero(versions.size[: len(numbers)] > 0)
        if not len(alive):
            self.factor[:] = 0.0
            self.count = 0
            return
        at = int(numbers[alive].max()) if self.version is None else self.version
        if at != self._at or len(numbers) != len(self._factors):
            new = self._new_factors(numbers, at)
            old = np.concatenate([self._factors, np.full(len(numbers) - len(self._factors), np.nan)])
            moved = alive[(new != old)[alive]]
            self._factors, self._at = new, at
            entered = versions.of(moved)
            self.factor[entered] = new[versions.group_of[entered]]
            self.inner.changed(entered)
        group = versions.group_of[slots]
        self.factor[slots] = np.where(group >= 0, self._factors[group], 0.0)
        self.count = int(versions.size[alive][self._factors[alive] > 0].sum())

    def draw(self, n: int | None, rng: np.random.Generator) -> Draw:
        self._refresh()
        return self.inner.draw(n, rng)

    def check(self) -> None:
        """State every invariant; for tests."""
        self._refresh()
        self._versions.check()
        count = self._table.count
        assert self.count == np.count_nonzero(self.factor[:count])
        assert not self.factor[count:].any()

    def state(self) -> State:
        """Where the window is, and the inner sampler's state."""
        self._refresh()
        inner = {f"inner.{name}": value for name, value in state_of(self.inner).items()}
        own = [-1 if v is None else v for v in (self.version, self._base)]
        return {"window": np.array(own, np.int64), **inner}

    def restore(self, state: State) -> None:
        """Go on from there."""
        reader = Reader(state)
        own = reader.take("window", np.int64, 2).tolist()
        reader.require(all(-1 <= v < 2**32 for v in own), "window", f"expected model versions, got {own}")
        self._version, self._base = (None if v < 0 else v for v in own)
        self._seen = self._version
        self._forget()
        restore(self.inner, under(state, "inner."))


def all_inside(index: Any) -> Iterator[Any]:
    """An index, and those that it is made of."""
    yield index
    for inner in (*getattr(index, "parts", ()), getattr(index, "inner", None)):
        if inner is not None:
            yield from all_inside(inner)


def _check_cursor(value: Any) -> None:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise UsageError(f"expected an int in [0, 2**63), got {value!r}", "cursor")


def _check_version(value: Any, name: str) -> None:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not 0 <= value < 2**32:
        raise UsageError(f"expected an int in [0, 2**32), got {value!r}", name)


def _whole_power(x: float, k: int) -> float:
    """x**k by squaring; k may be negative."""
    out = 1.0
    square = x if k >= 0 else 1 / x
    k = abs(k)
    while k:
        if k & 1:
            out *= square
        square *= square
        k >>= 1
    return out


def state_of(index: Any) -> State:
    """What an index says of its state, if it has one."""
    found: State = index.state() if hasattr(index, "state") else {}
    return found


def restore(index: Any, state: State) -> None:
    """Give an index its state back, if it has one."""
    if hasattr(index, "restore"):
        index.restore(state)


def under(state: State, prefix: str) -> State:
    """The entries whose names begin so, without it."""
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
