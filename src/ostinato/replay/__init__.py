"""What to learn from: the replay buffer, its samplers, its removers and its limits."""

from ostinato.replay.batch import Batch
from ostinato.replay.buffer import DEFAULT_PATH, ReplayBuffer
from ostinato.replay.dedupe import Dedupe
from ostinato.replay.group_samplers import ByOutcome, PerProgram
from ostinato.replay.limiter import RateLimiter
from ostinato.replay.mapped_buffer import MappedBuffer
from ostinato.replay.mixtures import Fresh, Mixture, Window
from ostinato.replay.removers import (
    KeepBest,
    LeastUseful,
    LowestPriority,
    Oldest,
    Remover,
    RemoverIndex,
    Reservoir,
)
from ostinato.replay.samplers import (
    Draw,
    Fifo,
    Greedy,
    Lifo,
    LinearSchedule,
    Proportional,
    RankBased,
    Sampler,
    SamplerIndex,
    Uniform,
)
from ostinato.replay.shaping import scale_free_priority, td_priority
from ostinato.replay.stats import Stats
from ostinato.replay.table import Table
from ostinato.replay.trees import Scope

__all__ = [
    "DEFAULT_PATH",
    "Batch",
    "ByOutcome",
    "Dedupe",
    "Draw",
    "Fifo",
    "Fresh",
    "Greedy",
    "KeepBest",
    "LeastUseful",
    "Lifo",
    "LinearSchedule",
    "LowestPriority",
    "MappedBuffer",
    "Mixture",
    "Oldest",
    "PerProgram",
    "Proportional",
    "RankBased",
    "RateLimiter",
    "Remover",
    "RemoverIndex",
    "ReplayBuffer",
    "Reservoir",
    "Sampler",
    "SamplerIndex",
    "Scope",
    "Stats",
    "Table",
    "Uniform",
    "Window",
    "scale_free_priority",
    "td_priority",
]
