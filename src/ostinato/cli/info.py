"""ostinato info: what is in a file or a store, and how the store is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table
from rich.text import Text

from ostinato.cli.common import (
    File,
    Json,
    as_given,
    busy,
    make_table,
    number,
    open_store,
    out,
    percent,
    plot_lines,
    print_json,
    printable,
    quiet,
    read_archive,
)
from ostinato.store.health import Health
from ostinato.summary import Summary, summarize

_WRITERS = 20  # that are shown to a person


def info(file: File, json: Json = False) -> None:
    """What is in FILE: counts, validity, fallback, improvement, cycle reduction, versions, programs.

    Of a store also how it is: writers alive and dead, the share that is not sealed, what is torn, damaged or corrected, programs whose
    baseline has changed, sizes.
    """
    if file.is_dir():
        _info_of_store(file, json)
        return
    summary = summarize(read_archive(file))
    size = file.stat().st_size
    if json:
        print_json({"file": str(file), "size_bytes": size, **summary.to_dict()})
        return
    render(file, size, summary)


def _info_of_store(folder: Path, json: bool) -> None:
    with open_store(folder) as store, quiet(), busy("reading"):
        summary = summarize(store.results())
        health = store.health()
        columns = {name: str(extra.kind) for name, extra in store.extras.items()}
    said = {**health.to_dict(), "problems": [as_given(p, folder) for p in health.problems]}
    if json:
        about = {"file": str(folder), "size_bytes": health.bytes, "store_id": store.store_id}
        print_json({**about, **summary.to_dict(), "extras": columns, "health": said})
        return
    render(folder, health.bytes, summary)
    render_health(health, columns, said["problems"])


def render_health(health: Health, columns: dict[str, str], problems: list[str]) -> None:
    """How a store is, for a person."""
    table = Table.grid(padding=(0, 2))
    drift = "not known: the catalog cannot be read"
    if health.drift is not None:
        names = [printable(d.name) if d.name else d.tir_hash[:8] for d in health.drift]
        more = f" ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})" if names else ""
        drift = f"{number(len(names))} programs whose baseline has changed{more}"
    rows = [
        (
            "writers",
            f"{number(health.alive)} alive, {number(health.dead)} gone whose journals are not sealed",
        ),
        ("not sealed", f"{number(health.unsealed)}, {percent(health.unsealed_share)}"),
        ("files", f"{number(health.segments)} segments, {number(health.journals)} journals"),
        ("newest", f"{number(health.lag_s)} s ago"),
        (
            "lost",
            f"{number(health.torn)} torn tails, {number(health.damaged)} damaged frames or records, "
            f"{number(health.repeated)} repeated frames",
        ),
        ("corrected", number(health.amended)),
        ("drift", drift),
        ("put aside", f"{number(health.aside)} files"),
    ]
    if columns:
        rows.append(("extra columns", ", ".join(f"{name} {kind}" for name, kind in columns.items())))
    rows += [("problem", printable(problem)) for problem in problems]
    for name, value in rows:
        table.add_row(Text(name, style="dim"), Text(value))
    out.print(table)
    if health.writers:
        heads = ("journal", "", "build results", "bytes", "opened", "context")
        listed = make_table(*heads, text=("", "opened"))
        for writer in health.writers[:_WRITERS]:
            context = ", ".join(f"{key}={value}" for key, value in writer.context.items())
            who = (f"{writer.journal:06d}", "alive" if writer.alive else "gone")
            what = (number(writer.records), number(writer.bytes), _time(writer.opened), printable(context))
            listed.add_row(*map(Text, (*who, *what)))
        out.print(listed)
        if len(health.writers) > _WRITERS:
            out.print(f"and {number(len(health.writers) - _WRITERS)} more")


def render(file: Path, size: int, summary: Summary) -> None:
    """The same numbers for a person."""
    total = summary.total
    table = Table.grid(padding=(0, 2))
    best = [p for p in summary.programs if p.best_cycles is not None]
    before = sum(p.compiler_cycles for p in best)
    after = sum(min(p.best_cycles or 0, p.compiler_cycles) for p in best)
    versions = list(summary.versions)
    rows = [
        ("file", f"{file} ({number(size)} bytes)"),
        ("build results", f"{number(total.records)} with {number(summary.instructions)} instructions"),
        (
            "valid",
            f"{number(total.valid)} of {number(total.candidates)} candidates, {percent(total.validity)}",
        ),
        ("improved", f"{number(total.improved)}, {percent(total.improvement)} of the valid"),
        ("fallback", f"{number(total.fallbacks)}, {percent(total.fallback_rate)} of all"),
        ("median reduction", f"{percent(total.median_reduction)} of the baseline's cycles, of the valid"),
        (
            "programs",
            f"{number(len(summary.programs))}; cycles of all together {number(before)} -> {number(after)}",
        ),
        ("model versions", f"{len(versions)}, {versions[0]} to {versions[-1]}" if versions else "-"),
        ("time", f"{_time(summary.oldest)} to {_time(summary.newest)}"),
    ]
    for name, value in rows:
        table.add_row(Text(name, style="dim"), Text(value))
    out.print(table)
    chart = plot_versions(summary)
    if chart:
        out.print(Text.from_ansi(chart))


def plot_versions(summary: Summary) -> str:
    """Validity and improvement over model versions, as text."""
    rates = summary.versions.values()
    return plot_lines(
        "percent of candidates, by model version",
        list(summary.versions),
        {
            "valid": [r.validity for r in rates],
            "improved": [r.improved / r.candidates if r.candidates else None for r in rates],
        },
    )


def _time(stamp: int | None) -> str:
    if stamp is None:
        return "-"
    try:
        return datetime.fromtimestamp(stamp, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):  # a u64 reaches beyond the calendar
        return f"{stamp} s"
