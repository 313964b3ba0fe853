"""One adapter a library: the same records, the same operations, each in that library's own quickest documented way.

Rules of this file:
- A library is imported by its adapter alone, in a process of its own (`benchmarks.replay` starts them).
- Chunks are numpy columns as in `records.py`; what a library needs to take them in (a TensorDict, a ReplayBuffer to
  move from, Results) is made while the clock runs. For adding one at a time the record is there in the library's own
  type (BuildResult, dict, Batch, TensorDict), and the clock runs for the call alone.
- alpha 0.6, beta 0.4 everywhere; torch works with one thread, because two processes share the machine's cores.
- What a library puts off is done before the clock stops (`settle`).
"""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.records import DENSE, LONGEST, RAGGED, Columns, words

ALPHA, BETA = 0.6, 0.4
BATCH = 256


class Adapter(abc.ABC):
    """A buffer for `capacity` records, and what is done to it."""

    name = ""

    def __init__(self, capacity: int, chunk: Columns) -> None:
        self.capacity = capacity

    @abc.abstractmethod
    def singles(self, chunk: Columns) -> list[Any]:
        """The chunk's records, each in the library's own type."""

    @abc.abstractmethod
    def add(self, record: Any) -> None:
        """One record."""

    @abc.abstractmethod
    def extend(self, chunk: Columns) -> None:
        """Many, as columns."""

    @abc.abstractmethod
    def sample(self) -> Any:
        """A batch: all columns gathered, with importance weights."""

    def settle(self) -> None:
        """Do what was put off."""
        return


class Prioritized(Adapter):
    """A buffer with priorities."""

    @abc.abstractmethod
    def ids(self, batch: Any) -> Any:
        """What `update` calls the records of a sample."""

    @abc.abstractmethod
    def update(self, ids: Any, priorities: NDArray[np.float64]) -> Any:
        """Give records new priorities."""

    def living(self, places: NDArray[np.int64]) -> Any:
        """What `update` calls the records at these places, 0 <= place < capacity."""
        return places


class Ostinato(Prioritized):
    """`ReplayBuffer` as it comes. Tokens ragged; `dense` pads what was drawn. Priorities: the buffer's reward."""

    name = "ostinato"

    def __init__(self, capacity: int, chunk: Columns) -> None:
        from ostinato import BuildResult, ReplayBuffer, Results, Vocabulary
        from ostinato.replay import Oldest, Proportional

        super().__init__(capacity, chunk)
        self._results, self._build_result = Results, BuildResult
        self._vocabulary = Vocabulary(words())
        sampler = Proportional(alpha=ALPHA, beta=BETA)
        self.buffer = ReplayBuffer(
            capacity, sampler=sampler, remover=Oldest(), seed=0, vocabulary=self._vocabulary
        )

    def columns(self, chunk: Columns) -> Any:
        """The chunk as Results."""
        named = {name: chunk[name] for name in RAGGED if name != "flat"}
        return self._results.from_columns(**named, tokens=chunk["flat"], vocabulary=self._vocabulary)

    def singles(self, chunk: Columns) -> list[Any]:
        return list(self.columns(chunk))

    def fields(self, chunk: Columns) -> list[dict[str, Any]]:
        """The chunk's records as arguments of BuildResult, for what making one costs."""
        names = ("tir_hash", "generated_tasm", "valid", "clock_cycles", "compiler_cycles", "fallback_used")
        names += ("timestamp", "model_version")
        return [{name: getattr(record, name) for name in names} for record in self.singles(chunk)]

    def add(self, record: Any) -> None:
        self.buffer.push(record)

    def add_made(self, fields: dict[str, Any]) -> None:
        """Make a BuildResult, and add it."""
        self.buffer.push(self._build_result(**fields))

    def extend(self, chunk: Columns) -> None:
        self.buffer.extend(self.columns(chunk))

    def sample(self) -> Any:
        return self.buffer.sample(BATCH)

    def dense(self) -> Any:
        """A draw, with its tokens padded to what the peers store, and the mask."""
        batch = self.buffer.sample(BATCH)
        return batch, batch.padded(LONGEST)

    def ids(self, batch: Any) -> Any:
        return batch.ids

    def update(self, ids: Any, priorities: NDArray[np.float64]) -> Any:
        self.buffer.update_priorities(ids, priorities)

    def living(self, places: NDArray[np.int64]) -> Any:
        return self.buffer.ids()[places]

    def settle(self) -> None:
        self.buffer.valid_count()  # what was pushed is taken in
        self.buffer.sampler.tree.refresh()  # type: ignore[attr-defined]  # what changed is in the tree


class Cpprb(Prioritized):
    """`PrioritizedReplayBuffer`, a field a column, priorities given."""

    name = "cpprb"

    def __init__(self, capacity: int, chunk: Columns) -> None:
        import cpprb

        super().__init__(capacity, chunk)
        fields = {k: {"shape": chunk[k].shape[1:] or 1, "dtype": chunk[k].dtype} for k in DENSE}
        self.buffer = cpprb.PrioritizedReplayBuffer(capacity, fields, alpha=ALPHA)

    def singles(self, chunk: Columns) -> list[Any]:
        return [
            {**{k: chunk[k][i] for k in DENSE}, "priorities": 1.0 + i % 7}
            for i in range(len(chunk["length"]))
        ]

    def add(self, record: Any) -> None:
        self.buffer.add(**record)

    def extend(self, chunk: Columns) -> None:
        self.buffer.add(**{k: chunk[k] for k in DENSE}, priorities=chunk["priority"])

    def sample(self) -> Any:
        return self.buffer.sample(BATCH, beta=BETA)

    def ids(self, batch: Any) -> Any:
        return batch["indexes"]

    def update(self, ids: Any, priorities: NDArray[np.float64]) -> Any:
        self.buffer.update_priorities(ids, priorities)


class Tianshou(Prioritized):
    """`PrioritizedReplayBuffer`. tokens are `obs`, the hash `act`, a priority `rew`, the flags `terminated` and
    `truncated`, the rest `info`; no `obs_next`. New records have the highest priority so far: it takes no other.
    """

    name = "tianshou"

    def __init__(self, capacity: int, chunk: Columns) -> None:
        from tianshou.data import Batch, PrioritizedReplayBuffer, ReplayBuffer

        super().__init__(capacity, chunk)
        self._batch, self._source = Batch, ReplayBuffer
        self.buffer = PrioritizedReplayBuffer(capacity, ALPHA, BETA)

    def _made(self, chunk: Columns) -> Any:
        rest = ("length", "clock_cycles", "compiler_cycles", "timestamp", "model_version")
        return self._batch(
            obs=chunk["tokens"],
            act=chunk["tir_hash"],
            rew=chunk["priority"],
            terminated=chunk["valid"],
            truncated=chunk["fallback_used"],
            done=chunk["valid"],  # fallback_used implies valid
            info=self._batch({name: chunk[name] for name in rest}),
        )

    def singles(self, chunk: Columns) -> list[Any]:
        whole = self._made(chunk)
        whole.pop("done")  # `add` makes it
        return [whole[i] for i in range(len(whole))]

    def add(self, record: Any) -> None:
        self.buffer.add(record)

    def extend(self, chunk: Columns) -> None:
        n = len(chunk["length"])
        source = self._source(n)
        source.set_batch(self._made(chunk))
        source._size = n  # as ReplayBuffer.from_data does, which takes no `info`
        self.buffer.update(source)

    def sample(self) -> Any:
        return self.buffer.sample(BATCH)

    def ids(self, batch: Any) -> Any:
        return batch[1]

    def update(self, ids: Any, priorities: NDArray[np.float64]) -> Any:
        self.buffer.update_weight(ids, priorities)


class TorchRL(Prioritized):
    """`ReplayBuffer` with `LazyTensorStorage` and `PrioritizedSampler`: quicker here than
    TensorDictPrioritizedReplayBuffer. New records have the highest priority so far.
    """

    name = "torchrl"

    def __init__(self, capacity: int, chunk: Columns) -> None:
        import torch
        from tensordict import TensorDict
        from torchrl.data import LazyTensorStorage, ReplayBuffer
        from torchrl.data.replay_buffers.samplers import PrioritizedSampler

        super().__init__(capacity, chunk)
        torch.set_num_threads(1)
        self._torch, self._dict = torch, TensorDict
        self.buffer = ReplayBuffer(
            storage=LazyTensorStorage(capacity),
            sampler=PrioritizedSampler(capacity, alpha=ALPHA, beta=BETA),
            collate_fn=lambda rows: rows,
            batch_size=BATCH,
        )

    def _made(self, chunk: Columns) -> Any:
        signed = {"u8": np.int64, "u4": np.int32}  # torch indexes no unsigned numbers of these sizes
        columns = {k: chunk[k].view(signed.get(chunk[k].dtype.str[1:], chunk[k].dtype)) for k in DENSE}
        tensors = {k: self._torch.from_numpy(column) for k, column in columns.items()}
        return self._dict(tensors, batch_size=[len(chunk["length"])])

    def singles(self, chunk: Columns) -> list[Any]:
        whole = self._made(chunk)
        return [whole[i] for i in range(len(whole))]

    def add(self, record: Any) -> None:
        self.buffer.add(record)

    def extend(self, chunk: Columns) -> None:
        self.buffer.extend(self._made(chunk))

    def sample(self) -> Any:
        return self.buffer.sample(return_info=True)

    def ids(self, batch: Any) -> Any:
        return batch[1]["index"]

    def living(self, places: NDArray[np.int64]) -> Any:
        return self._torch.from_numpy(places)

    def update(self, ids: Any, priorities: NDArray[np.float64]) -> Any:
        self.buffer.update_priority(ids, self._torch.from_numpy(priorities.astype(np.float32)))


class StableBaselines3(Adapter):
    """`ReplayBuffer`, uniform: the floor. It takes one observation, so a record is one, of bytes; one at a time."""

    name = "stable-baselines3"

    def __init__(self, capacity: int, chunk: Columns) -> None:
        import torch
        from gymnasium import spaces
        from stable_baselines3.common.buffers import ReplayBuffer

        super().__init__(capacity, chunk)
        torch.set_num_threads(1)
        size = sum(chunk[k][0].nbytes for k in DENSE)
        self.buffer = ReplayBuffer(
            capacity,
            spaces.Box(0, 255, (size,), np.uint8),
            spaces.Box(-1, 1, (1,), np.float32),
            device="cpu",
            optimize_memory_usage=True,
            handle_timeout_termination=False,
        )
        self._rest = (np.zeros((1, 1), np.float32), np.zeros(1, np.float32), np.zeros(1, np.float32), [{}])

    def singles(self, chunk: Columns) -> list[Any]:
        n = len(chunk["length"])
        whole = np.concatenate([chunk[k].reshape(n, -1).view(np.uint8) for k in DENSE], axis=1)
        return [whole[i : i + 1] for i in range(n)]

    def add(self, record: Any) -> None:
        self.buffer.add(record, record, *self._rest)

    def extend(self, chunk: Columns) -> None:
        for record in self.singles(chunk):
            self.add(record)

    def sample(self) -> Any:
        return self.buffer.sample(BATCH)


class Numpy(Prioritized):
    """`reference.py`, fifty lines."""

    name = "numpy, 50 lines"

    def __init__(self, capacity: int, chunk: Columns) -> None:
        from benchmarks.reference import Replay

        super().__init__(capacity, chunk)
        self.buffer = Replay(capacity, {k: chunk[k] for k in DENSE}, ALPHA)

    def singles(self, chunk: Columns) -> list[Any]:
        return [{k: chunk[k][i] for k in DENSE} for i in range(len(chunk["length"]))]

    def add(self, record: Any) -> None:
        self.buffer.add(record, 1.0)

    def extend(self, chunk: Columns) -> None:
        self.buffer.extend(chunk, chunk["priority"])

    def sample(self) -> Any:
        return self.buffer.draw(BATCH, BETA)

    def ids(self, batch: Any) -> Any:
        return batch[1]

    def update(self, ids: Any, priorities: NDArray[np.float64]) -> Any:
        self.buffer.update(ids, priorities)


ADAPTERS: dict[str, type[Adapter]] = {
    adapter.name: adapter for adapter in (Ostinato, Cpprb, Tianshou, TorchRL, StableBaselines3, Numpy)
}
PACKAGES = {name: name for name in ("ostinato", "cpprb", "tianshou", "torchrl", "stable-baselines3")}
IMPORTS = {
    "ostinato": "from ostinato import ReplayBuffer, Results\nfrom ostinato.replay import Oldest, Proportional",
    "cpprb": "from cpprb import PrioritizedReplayBuffer",
    "tianshou": "from tianshou.data import PrioritizedReplayBuffer",
    "torchrl": "from torchrl.data import LazyTensorStorage, ReplayBuffer\n"
    "from torchrl.data.replay_buffers.samplers import PrioritizedSampler",
    "stable-baselines3": "from stable_baselines3.common.buffers import ReplayBuffer",
    "numpy, 50 lines": "import numpy",
}
