"""A snapshot's numbers as plotly figures, by name.

Rule of this file: a figure that has nothing to show is left out. Words from data are escaped, since plotly reads some markup in them.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from ostinato.errors import UsageError
from ostinato.report.draws import Histogram
from ostinato.report.progress import Program
from ostinato.report.snapshot import Snapshot
from ostinato.report.versions import Grid
from ostinato.report.words import duration, in_plot, number, percent, span

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

BLUE, GREEN, RED, AMBER, GREY = "#3b82f6", "#10b981", "#ef4444", "#f59e0b", "#94a3b8"
COLORS = (
    BLUE, AMBER, GREEN, RED, "#8b5cf6", "#14b8a6", "#ec4899", "#84cc16", "#f97316", "#06b6d4", "#a855f7", "#eab308",
)  # fmt: skip
_FAMILIES = 8  # that have a colour of their own
_GRID = "rgba(128,128,128,0.22)"
_UNITS = ((86_400, "days"), (3_600, "hours"), (60, "minutes"), (1, "seconds"))
_ROW_PX = 17

# the heat map's views, in order: name, what is said where a cell is pointed at, colour
VIEWS = (
    ("cycles saved", "of the cycles saved", "16,185,129"),
    ("fallback rate", "of beams fell back", "245,158,11"),
    ("invalid rate", "of attempts invalid", "239,68,68"),
)


def plotly() -> Any:
    """The modules of plotly.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import plotly.graph_objects as objects
        from plotly import offline
    except ImportError:
        raise UsageError('a report needs plotly: pip install "ostinato[report]"') from None
    return objects, offline


def figures(given: Snapshot) -> dict[str, Figure]:
    """Those that have something to show, by the id of their place in the page. Cost: some ms a figure."""
    made = {
        "plot-time": _cycles(given, by_time=True),
        "plot-attempts": _cycles(given, by_time=False),
        "plot-programs": _programs(given),
        "plot-versions": _heat(given),
        "plot-failures": _failures(given),
        "plot-ages": given.draws and _histogram(given.draws.ages, "age, {}, before the newest record", time=True),
        "plot-priorities": given.draws and _histogram(given.draws.priorities, "priority", time=False),
        "plot-guard": _guard(given),
    }  # fmt: skip
    return {name: figure for name, figure in made.items() if figure}


def _figure(traces: list[Any], **layout: Any) -> Figure:
    """As all look; the page's script gives text its colour, which follows light and dark."""
    objects, _ = plotly()
    axis = {"gridcolor": _GRID, "zeroline": False, "linecolor": _GRID, "automargin": True}
    own = {name: {**axis, **layout.pop(name, {})} for name in ("xaxis", "yaxis")}
    base = {
        "template": "none",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 56, "r": 16, "t": 12, "b": 48},
        "height": 340,
        "colorway": COLORS,
        "hoverlabel": {"align": "left"},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    }
    return objects.Figure(traces, {**base, **own, **layout})


def _unit(seconds: float) -> tuple[int, str]:
    """(seconds in it, name) of the largest unit of which there are two."""
    return next((unit for unit in _UNITS if seconds >= 2 * unit[0]), _UNITS[-1])


def _cycles(given: Snapshot, *, by_time: bool) -> Figure | None:
    """Cycles of all programs together."""
    own = given.progress
    if own.began is None:
        return None
    scale, unit = _unit(own.seconds[-1])
    x = [t / scale for t in own.seconds] if by_time else [max(a, _start(own.attempts)) for a in own.attempts]
    words = [f"{number(c)} cycles<br>after {duration(t)}, {number(a)} attempts" for c, t, a in zip(own.cycles, own.seconds, own.attempts, strict=True)]  # fmt: skip
    line = {
        "type": "scatter", "x": x, "y": own.cycles, "text": words, "hovertemplate": "%{text}<extra></extra>",
        "mode": "lines", "line": {"shape": "hv", "color": BLUE, "width": 2.5}, "fill": "tozeroy",
        "fillcolor": "rgba(59,130,246,0.12)",
    }  # fmt: skip
    axis = (
        {"title": {"text": f"time, {unit}"}, "rangemode": "tozero"} if by_time else _attempts_axis("attempts")
    )
    return _figure(
        [line],
        xaxis=axis,
        yaxis={"title": {"text": "cycles, all programs"}, "rangemode": "tozero"},
        showlegend=False,
        height=300,
    )


def _programs(given: Snapshot) -> Figure | None:
    """A line for each program, in one trace for each family, so that hundreds are drawn at once."""
    own = given.progress
    if own.began is None or not given.programs:
        return None
    sizes: dict[str, int] = {}
    for one in given.programs:
        sizes[one.family] = sizes.get(one.family, 0) + bool(one.path)
    large = sorted(sizes, key=lambda name: (-sizes[name], name))[:_FAMILIES]
    named = large if len(sizes) <= _FAMILIES else [name for name in large if sizes[name] > 1]
    groups: dict[str, list[Program]] = {}
    for one in given.programs:
        groups.setdefault(one.family if one.family in named else "", []).append(one)
    traces = []
    for name, color in [*zip(named, COLORS, strict=False), ("", GREY)]:
        if name in groups:
            label = in_plot(name) if name else "others" if named else "programs"
            traces.append(_lines(groups[name], _start(own.attempts), own.attempts[-1], label, color))
    return _figure(
        traces,
        xaxis=_attempts_axis("attempts, all programs"),
        yaxis={
            "title": {"text": "cycles left, of the baseline"},
            "tickformat": ".0%",
            "range": [-0.02, 1.04],
        },
        showlegend=len(traces) > 1,
        height=460,
    )


def _attempts_axis(title: str) -> dict[str, Any]:
    """Logarithmic, since most is found early."""
    return {"title": {"text": f"{title}, logarithmic"}, "type": "log", "dtick": 1, "exponentformat": "SI"}


def _start(attempts: list[int]) -> int:
    """Where a logarithmic axis of attempts begins: the power of ten below the first find."""
    first = next((a for a in attempts if a > 0), 1)
    return int(10 ** math.floor(math.log10(first)))


def _lines(programs: list[Program], start: int, end: int, label: str, color: str) -> dict[str, Any]:
    x: list[int | None] = []
    y: list[float | None] = []
    words: list[str] = []
    for one in programs:
        points = [
            (0, one.before),
            *((attempts, cycles) for _, attempts, cycles in one.path),
            (end, one.after),
        ]
        for attempts, cycles in points:
            x.append(max(attempts, start))
            y.append(round(cycles / one.before, 4) if one.before else 1.0)
            words.append(f"{in_plot(one.name)}: {number(cycles)} of {number(one.before)} cycles<br>{number(attempts)} attempts")  # fmt: skip
        x.append(None)
        y.append(None)
        words.append("")
    return {
        "type": "scatter", "x": x, "y": y, "text": words, "hovertemplate": "%{text}<extra></extra>", "mode": "lines",
        "name": label, "line": {"shape": "hv", "width": 1.5, "color": color}, "opacity": 0.75, "connectgaps": False,
    }  # fmt: skip


def _heat(given: Snapshot) -> Figure | None:
    own = given.versions
    if not own.spans or not own.programs:
        return None
    columns = [span(*one) for one in own.spans]
    # rows by number, since two programs may have one name
    rows = list(range(len(own.programs)))
    grids: tuple[Grid, ...] = (own.reduction, own.fallback, own.invalid)
    traces: list[dict[str, Any]] = []
    for (name, said, rgb), grid in zip(VIEWS, grids, strict=True):
        words = [
            [
                f"{in_plot(program)}<br>version {column}<br>" + ("not tried" if x is None else f"{percent(x)} {said}")
                for column, x in zip(columns, row, strict=True)
            ]
            for program, row in zip(own.programs, grid, strict=True)
        ]  # fmt: skip
        traces.append(
            {
                "type": "heatmap", "x": columns, "y": rows, "z": grid, "zmin": 0, "zmax": 1, "name": name, "text": words,
                "hovertemplate": "%{text}<extra></extra>", "visible": not traces, "xgap": 1, "ygap": 1,
                "colorscale": [[0, f"rgba({rgb},0.14)"], [1, f"rgba({rgb},1)"]],
                "colorbar": {"tickformat": ".0%", "thickness": 10, "len": 200, "lenmode": "pixels", "y": 1, "yanchor": "top", "outlinewidth": 0},
            }
        )  # fmt: skip
    return _figure(
        traces,
        xaxis={"type": "category", "side": "top", "title": {"text": "model version"}, "showgrid": False},
        yaxis={
            "tickmode": "array", "tickvals": rows, "ticktext": [in_plot(one) for one in own.programs], "autorange": "reversed",
            "showgrid": False, "tickfont": {"size": 11},
        },
        height=110 + _ROW_PX * len(rows),
        margin={"l": 56, "r": 16, "t": 60, "b": 16},
    )  # fmt: skip


def _failures(given: Snapshot) -> Figure | None:
    own = given.versions
    if not own.kinds:
        return None
    columns = [span(*one) for one in own.spans]
    totals = [sum(counts) for counts in zip(*own.failed, strict=True)]
    order = sorted(range(len(own.kinds)), key=lambda k: -sum(own.failed[k]))
    traces = []
    for k, color in zip(order, [*COLORS] * 6, strict=False):
        shares = [n / total if total else None for n, total in zip(own.failed[k], totals, strict=True)]
        words = [f"{in_plot(own.kinds[k])}: {number(n)} of {number(total)} kept" for n, total in zip(own.failed[k], totals, strict=True)]  # fmt: skip
        traces.append(
            {
                "type": "bar", "x": columns, "y": shares, "name": in_plot(own.kinds[k].replace("_", " ")), "text": words,
                "textposition": "none", "hovertemplate": "version %{x}<br>%{text}<extra></extra>", "marker": {"color": color},
            }
        )  # fmt: skip
    return _figure(
        traces,
        barmode="stack",
        bargap=0.15,
        xaxis={"type": "category", "title": {"text": "model version"}, "showgrid": False},
        yaxis={"title": {"text": "share of failures kept"}, "tickformat": ".0%", "range": [0, 1]},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        showlegend=True,
    )


def _histogram(given: Histogram, title: str, *, time: bool) -> Figure:
    scale, unit = _unit(given.edges[-1]) if time else (1, "")
    edges = [edge / scale for edge in given.edges]
    middles = [(a + b) / 2 for a, b in itertools.pairwise(edges)]
    width = edges[1] - edges[0]
    digits = 0 if width >= 10 else 2
    bins = [f"{a:,.{digits}f} to {b:,.{digits}f} {unit}" for a, b in itertools.pairwise(edges)]
    traces = [
        {
            "type": "bar", "x": middles, "y": shares, "name": name, "customdata": bins,
            "hovertemplate": "%{customdata}<br>%{y:.1%} of what is " + name + "<extra></extra>",
            "marker": {"color": color},
        }
        for name, shares, color in (("stored", given.stored, GREY), ("drawn", given.drawn, BLUE))
    ]  # fmt: skip
    return _figure(
        traces,
        barmode="group",
        bargap=0.1,
        xaxis={"title": {"text": title.format(unit)}, "showgrid": False},
        yaxis={"title": {"text": "share of records"}, "tickformat": ".0%", "rangemode": "tozero"},
        showlegend=True,
        height=300,
    )


def _guard(given: Snapshot) -> Figure | None:
    if not given.checkpoints:
        return None
    kept = [one for one in given.checkpoints if one.activated is not False]
    rejected = [one for one in given.checkpoints if one.activated is False]
    traces = []
    for field, axis, color, label in (("validity", "y", BLUE, "validity"), ("gain", "y2", AMBER, "gain")):
        for some, symbol, mode, state in ((kept, "circle", "lines+markers", "put to work"), (rejected, "x", "markers", "rejected")):  # fmt: skip
            if some:
                values = [getattr(one, field) for one in some]
                words = [f"version {one.version}, {state}<br>{in_plot(one.reason)}" for one in some]
                traces.append(
                    {
                        "type": "scatter", "x": [one.version for one in some], "y": values, "yaxis": axis, "mode": mode, "text": words,
                        "name": label if some is kept else f"{label}, rejected", "hovertemplate": "%{text}<extra></extra>",
                        "marker": {"symbol": symbol, "size": 7 if some is kept else 11, "color": color if some is kept else RED},
                        "line": {"color": color, "width": 1.5},
                    }
                )  # fmt: skip
    return _figure(
        traces,
        xaxis={"title": {"text": "model version"}, "tickformat": "d", "showgrid": False, "anchor": "y2"},
        yaxis={"title": {"text": "validity, held-out programs"}, "tickformat": ".1%", "domain": [0.54, 1]},
        yaxis2={
            "title": {"text": "gain, log cycles"}, "domain": [0, 0.46], "gridcolor": _GRID, "zeroline": True, "zerolinecolor": GREY,
            "automargin": True,
        },
        showlegend=True,
        height=460,
    )  # fmt: skip
