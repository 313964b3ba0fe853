"""The comparison as a picture: small multiples, one an operation, on logarithmic axes."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

# Okabe and Ito's colours, which the colour-blind tell apart; ours is the dark one
COLOURS = {
    "ostinato": "#000000",
    "cpprb": "#D55E00",
    "tianshou": "#0072B2",
    "torchrl": "#009E73",
    "stable-baselines3": "#E69F00",
    "numpy, 50 lines": "#999999",
}


def draw(f: dict[str, Any], operations: dict[str, str], path: Path) -> None:
    """Write a PNG: lines are medians, bands from the least to the most."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure, axes = pyplot.subplots(2, 3, figsize=(10.5, 6.2), sharex=True, layout="constrained")
    panels = list(axes.flat)
    for axis, (operation, title) in zip(panels, operations.items(), strict=False):
        for name, by_size in f["rates"].items():
            points = [(int(n), rates[operation]) for n, rates in by_size.items() if operation in rates]
            if name == "ostinato":
                alone = f["growth"]["rates"][name][str(f["alone"])]
                points.append((f["alone"], alone[operation]))
            if not points:
                continue
            sizes = [n for n, _ in points]
            ours = name == "ostinato"
            axis.plot(
                sizes, [statistics.median(rates) for _, rates in points], color=COLOURS[name], label=name,
                linewidth=2.4 if ours else 1.4, marker="o", markersize=5 if ours else 3.5, zorder=3 if ours else 2,
            )  # fmt: skip
            low, high = [min(rates) for _, rates in points], [max(rates) for _, rates in points]
            axis.fill_between(sizes, low, high, color=COLOURS[name], alpha=0.15, linewidth=0)
        what, unit = title.rsplit(", ", 1)
        axis.set_title(what, fontsize=10, loc="left")
        axis.set_ylabel(unit, fontsize=9)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        axis.grid(which="major", color="#e6e6e6", linewidth=0.8)
        axis.tick_params(labelsize=8, labelbottom=True)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
        axis.set_xlabel("records in the buffer", fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    panels[-1].axis("off")
    panels[-1].legend(
        handles, labels, loc="center left", frameon=False, fontsize=10, title="higher is better"
    )
    figure.savefig(path, dpi=150, metadata={"Software": None})
    pyplot.close(figure)


def _short(value: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"
