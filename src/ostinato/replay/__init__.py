"""What to learn from: the replay buffer, its samplers and its removers."""

from ostinato.replay.batch import Batch
from ostinato.replay.buffer import DEFAULT_PATH, ReplayBuffer, Stats
from ostinato.replay.removers import LowestPriority, Oldest, Remover, RemoverIndex
from ostinato.replay.samplers import Draw, Greedy, Proportional, Sampler, SamplerIndex, Uniform
from ostinato.replay.table import Table

__all__ = [
    "DEFAULT_PATH",
    "Batch",
    "Draw",
    "Greedy",
    "LowestPriority",
    "Oldest",
    "Proportional",
    "Remover",
    "RemoverIndex",
    "ReplayBuffer",
    "Sampler",
    "SamplerIndex",
    "Stats",
    "Table",
    "Uniform",
]
