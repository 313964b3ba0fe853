"""What to learn from: the replay buffer, its samplers and its removers."""

from ostinato.replay.batch import Batch
from ostinato.replay.buffer import DEFAULT_PATH, ReplayBuffer, Stats
from ostinato.replay.removers import LowestPriority, Oldest, Remover
from ostinato.replay.samplers import Greedy, Proportional, Sampler, Uniform

__all__ = [
    "DEFAULT_PATH",
    "Batch",
    "Greedy",
    "LowestPriority",
    "Oldest",
    "Proportional",
    "Remover",
    "ReplayBuffer",
    "Sampler",
    "Stats",
    "Uniform",
]
