"""Who can say what is right and what it costs, for `ostinato.online`: Triton VM."""

from ostinato.targets.best import Best, best, judged_again
from ostinato.targets.triton import TritonTarget, functions_in, held_out, is_straight, keep, load

__all__ = [
    "Best",
    "TritonTarget",
    "best",
    "functions_in",
    "held_out",
    "is_straight",
    "judged_again",
    "keep",
    "load",
]
