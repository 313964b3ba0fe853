"""Pictures of what each sampler draws and what each remover keeps, from the build results in the package.

Needs matplotlib, which Ostinato itself does not: `pip install matplotlib`, then `python docs/pictures/draws.py`.
Writes samplers.png and removers.png beside this file; the same data and seeds give the same pictures.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray
from PIL import Image

from ostinato import ReplayBuffer
from ostinato.data import triton_attempts
from ostinato.replay import (
    ByOutcome,
    Fifo,
    Fresh,
    Greedy,
    KeepBest,
    LeastUseful,
    Lifo,
    LowestPriority,
    Mixture,
    Oldest,
    PerProgram,
    Proportional,
    RankBased,
    Remover,
    Reservoir,
    Sampler,
    Uniform,
    Window,
)

HERE = Path(__file__).parent
DRAWN, CAPACITY, NEW = 400, 2_000, 20_600  # records a batch; records kept; the first id that is new to Fresh
GREY, ORANGE, BLUE, INK = "#c9ced6", "#e8590c", "#1c4fd6", "#20242c"
LEFT = 0.16  # of a panel
INVALID, FALLBACK = (-0.46, -0.20), (-0.14, -0.06)  # bands below the savings

SAMPLERS: list[tuple[Sampler, str, str]] = [
    (Greedy(), "Greedy()", "the best, again and again"),
    (Fifo(), "Fifo()", "the oldest first"),
    (Lifo(), "Lifo()", "the newest first"),
    (Uniform(), "Uniform()", "every record alike, so mostly invalid"),
    (Proportional(), "Proportional()", "by reward: seldom what is worth little"),
    (RankBased(), "RankBased()", "by place in the order, whatever the scale"),
    (PerProgram(Proportional()), "PerProgram(Proportional())", "all programs alike"),
    (
        ByOutcome(improved=0.5, valid=0.2, fallback=0.2, invalid=0.1),
        "ByOutcome(improved=.5, ...)",
        "quotas: valid=.2, fallback=.2, invalid=.1",
    ),
    (Window(Proportional(), within=5), "Window(Proportional(), within=5)", "the six newest model versions"),
    (
        Window(Proportional(), within=40, decay=0.9),
        "Window(..., within=40, decay=.9)",
        "a tenth less with each version",
    ),
    (
        Mixture({Fresh(NEW): "all", Proportional(): 0.1}),
        'Mixture({Fresh(): "all", ...: .1})',
        "all that is new, a tenth from history",
    ),
]

REMOVERS: list[tuple[Remover, int, str, str]] = [
    (LowestPriority(), 0, "LowestPriority()", "the highest rewards: programs are lost"),
    (Oldest(), 0, "Oldest()", "the newest, and nothing else"),
    (Reservoir(), 0, "Reservoir()", "a fair sample of all that came"),
    (LeastUseful(), 0, "LeastUseful()", "what the sampler passed over"),
    (KeepBest(Oldest(), per_program=8), 8, "KeepBest(Oldest(), 8)", "the newest, and the best of each"),
    (
        KeepBest(LowestPriority(), per_program=8),
        8,
        "KeepBest(LowestPriority(), 8)",
        "the highest rewards, and the best of each",
    ),
]


@dataclass(frozen=True)
class Places:
    """Where each record stands: x and y float64[N], program int64[N], how many programs, what is good bool[N]."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    program: NDArray[np.int64]
    programs: int
    valid: NDArray[np.bool_]
    cycles: NDArray[np.float64]  # NaN where it cannot be a program's best


def places() -> Places:
    """Of every build result in the package, in order of time: its id is its number."""
    results = triton_attempts()
    jitter = np.random.default_rng(0).random(len(results))
    saved = 1 - results.clock_cycles.filled(0) / results.compiler_cycles
    y = np.maximum(saved, 0) + 0.012 * (jitter - 0.5)
    for band, which in ((FALLBACK, results.fallback_used), (INVALID, ~results.valid)):
        y[which] = band[0] + (band[1] - band[0]) * jitter[which]
    _, program = np.unique(results.tir_hash, axis=0, return_inverse=True)
    programs = int(program.max()) + 1
    # the programs with the most valid results stand at the bottom
    good = results.valid & ~results.fallback_used
    order = np.argsort(-np.bincount(program, good, programs), kind="stable")
    place = np.empty(programs, np.int64)
    place[order] = np.arange(programs)
    cycles = np.where(good, results.clock_cycles.filled(0), np.nan)
    return Places(
        np.arange(len(results)) / 1000, y, place[program.reshape(-1)], programs, results.valid, cycles
    )


def drawn_by(sampler: Sampler) -> NDArray[np.int64]:
    """The ids of one batch from a buffer that holds everything."""
    results = triton_attempts()
    buffer = ReplayBuffer(len(results), sampler=sampler, seed=0)
    buffer.extend(results)
    return buffer.sample(None if isinstance(sampler, Mixture) else DRAWN).ids


def kept_by(remover: Remover) -> NDArray[np.int64]:
    """The ids that are left of everything, 256 having been drawn after each model version."""
    results = triton_attempts()
    buffer = ReplayBuffer(CAPACITY, sampler=Proportional(), remover=remover, seed=0)
    for version in np.unique(results.model_version):
        buffer.extend(results[results.model_version == version])
        buffer.sample(256)
    return buffer.ids()


def best(at: Places, ids: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Of these ids, the k of each program with the fewest cycles, of equals the oldest."""
    ids = ids[~np.isnan(at.cycles[ids])]
    ids = ids[np.lexsort((ids, at.cycles[ids], at.program[ids]))]
    first = np.searchsorted(at.program[ids], at.program[ids])
    return ids[np.arange(len(ids)) - first < k]


def panel(cell: SubFigure, at: Places, ids: NDArray[np.int64], k: int, title: str, says: str) -> None:
    """One rule: on the left each record by age and saving, on the right how many of each program."""
    points, bars = cell.subplots(1, 2, width_ratios=[5, 1])
    cell.subplots_adjust(left=LEFT, right=0.95, bottom=0.13, top=0.76, wspace=0.05)
    points.scatter(at.x, at.y, s=0.9, c=GREY, linewidths=0, rasterized=True)
    points.scatter(at.x[ids], at.y[ids], s=6, c=ORANGE, linewidths=0, alpha=0.8)
    if k:
        guarded = best(at, ids, k)
        points.scatter(at.x[guarded], at.y[guarded], s=6, c=BLUE, linewidths=0)
    axes_of(points)
    counts = np.bincount(at.program[ids], minlength=at.programs)
    bars.barh(np.arange(at.programs), counts, height=0.75, color=ORANGE)
    bars.set(ylim=(-1, at.programs), yticks=[], xlim=(0, max(counts.max(), 1.6 * counts.mean())))
    bars.set_xticks([0, counts.max()])
    bars.tick_params(length=2, pad=2)
    plain(bars)
    valid, programs = at.valid[ids].mean(), np.count_nonzero(counts)
    cell.text(LEFT, 0.925, title, family="monospace", size=9, weight="bold", color=INK)
    cell.text(LEFT, 0.865, says, size=8, color=INK)
    numbers = f"{valid:.0%} valid · {programs} of {at.programs} programs"
    cell.text(LEFT, 0.805, numbers, size=8, color="#6a7180")


def axes_of(points: Axes) -> None:
    """Ages to the right, savings up, the two bands below."""
    points.set(xlim=(-0.3, 21.3), ylim=(-0.49, 1.04))
    points.set_yticks([np.mean(INVALID), np.mean(FALLBACK), 0, 0.5, 1])
    points.set_yticklabels(["invalid", "fallback", "0 %", "50 %", "100 %"])
    points.set_xticks([0, 5, 10, 15, 20])
    points.set_xticklabels(["0", "5k", "10k", "15k", "20k"])
    points.tick_params(length=2, pad=2)
    plain(points)


def plain(axes: Axes) -> None:
    """No box."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#9aa1ad")


def legend(cell: SubFigure, rows: Sequence[tuple[str, str, str]]) -> None:
    """How to read a panel."""
    cell.text(LEFT, 0.925, "How to read it", size=9, weight="bold", color=INK)
    y = 0.84
    for mark, color, text in rows:
        cell.text(LEFT, y, mark, color=color, size=9, va="top", family="DejaVu Sans Mono")
        cell.text(LEFT + 0.07, y, text, color=INK, size=8, va="top", linespacing=1.35)
        y -= 0.07 + 0.06 * (1 + text.count("\n"))


def save(figure: Figure, name: str) -> None:
    """As a picture of 64 colours, which is a third of the size."""
    memory = io.BytesIO()
    figure.savefig(memory, dpi=125)
    with Image.open(memory) as image:
        image.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(HERE / name, optimize=True)
    print(f"{name}: {(HERE / name).stat().st_size // 1000} kB")


def main() -> None:
    """Both pictures."""
    mpl.rcParams.update({"font.size": 7.5, "axes.linewidth": 0.6})
    at = places()
    everything = f"{len(at.x):,} attempts at {at.programs} programs"
    bars = ("▬", ORANGE, "bars: how many of each program,\nthe most often solved at the bottom")
    right = ("→", INK, "attempt number: old to new")
    up = ("↑", INK, "cycles saved against the compiler;\nbelow: fallbacks, invalid attempts")

    figure = plt.figure(figsize=(14, 9.6))
    cells = figure.subfigures(3, 4).flat
    for cell, (sampler, title, says) in zip(cells, SAMPLERS, strict=False):
        panel(cell, at, drawn_by(sampler), 0, title, says)
    new = len(at.x) - NEW
    said = f"one batch: {DRAWN} draws\n(Mixture: {new} new ones and {round(new / 10)})"
    legend(figure.subfigs[-1], [("●", GREY, everything), ("●", ORANGE, said), bars, right, up])
    save(figure, "samplers.png")

    figure = plt.figure(figsize=(11, 7.0))
    body, foot = figure.subfigures(2, 1, height_ratios=[20, 1])
    cells = body.subfigures(2, 3).flat
    for cell, (remover, k, title, says) in zip(cells, REMOVERS, strict=True):
        panel(cell, at, kept_by(remover), k, title, says)
    for x, color, text in (
        (0.053, GREY, everything),
        (0.30, ORANGE, f"the {CAPACITY:,} that are left"),
        (0.50, BLUE, "of them, the 8 best of each program, which KeepBest protects"),
    ):
        foot.text(x, 0.5, "●", color=color, size=9)
        foot.text(x + 0.018, 0.5, text, color=INK, size=8)
    save(figure, "removers.png")


if __name__ == "__main__":
    main()
