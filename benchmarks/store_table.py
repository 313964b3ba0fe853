"""What the store's benchmark comes to: goals, and figures as Markdown. Pure: from the figures of `store.run` alone."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

OURS = "Ostinato"
MIB = 1 << 20


@dataclass(frozen=True)
class Goal:
    """A goal, what was reached (None: not measured), and in which words."""

    what: str
    goal: float
    reached: float | None
    unit: str = "x"
    least: bool = True  # at least so much; False: at most

    @property
    def met(self) -> bool | None:
        """None where nothing was measured."""
        if self.reached is None:
            return None
        return self.reached >= self.goal if self.least else self.reached <= self.goal

    @property
    def verdict(self) -> str:
        """In a word."""
        return "not measured" if self.met is None else "reached" if self.met else "**missed**"


def goals(f: dict[str, Any]) -> list[Goal]:
    """What the store is to reach."""
    size = f["size"]
    n, opened, large = size["records"], f["open"], f["large"]
    writers = f["writers"]
    most = size["memory"][1]
    anonymous = {verb: _mebibytes(f["memory"][verb][str(most)]["peak"]) for verb in ("seal", "compact")}
    eight = size["writers"]
    return [
        Goal("append one, beside LMDB", 2.5, _beside(f["append"], "LMDB")),
        Goal("append 1,024 at once, beside LMDB", 4, _beside(f["extend"], "LMDB")),
        Goal(f"{eight} processes beside one, one by one", 1, _ratio(writers["ones"]["all"], writers["ones"]["one"])),
        Goal(f"{eight} processes beside one, in columns", 1, _ratio(writers["columns"]["all"], writers["columns"]["one"])),
        Goal("records that many writers lost", 0, writers["lost"], "", least=False),
        Goal("import of the writer on top of numpy", 100, 1e3 * _median(f["start"]["import_s"]), "ms", least=False),
        Goal(f"open {n:,} sealed records, draw the first batch", 150, 1e3 * _median(opened["warm"]), "ms", least=False),
        Goal("the same, beside SQLite reading all columns", 20, _median(opened["sqlite"]) / _median(opened["warm"])),
        Goal(f"open {n:,} records in journals, appended one by one", 1, n / _median(f["unsealed"]["open_s"]) / 1e6, "M records/s"),
        Goal(f"refresh with nothing new, {size['journals']} journals", 50, 1e6 * _median(f["refresh"]["nothing_s"]), "us", least=False),
        Goal("refresh with 1,024 new in columns", 2, 1e3 * _median(f["refresh"]["columns_s"]), "ms", least=False),
        Goal("refresh with 1,024 new, one by one", 2, 1e3 * _median(f["refresh"]["ones_s"]), "ms", least=False),
        Goal("seal records that were appended one by one", 200, _median(f["tidy"]["seal"]) / 1e6, "MB/s"),
        *(
            Goal(f"anonymous memory while {most:,} are {word}", 64, anonymous[verb], "MiB", least=False)
            for verb, word in (("seal", "sealed"), ("compact", "compacted"))
        ),
        *(
            Goal(f"anonymous memory a record of {size['many']:,}, {when}", 32, large.get(key), "bytes", least=False)
            for key, when in (("opened", "opened"), ("learned", f"after {size['draws']:,} draws and updates"))
        ),
    ]  # fmt: skip


def table(f: dict[str, Any]) -> str:
    """The figures as Markdown."""
    size = f["size"]
    versions = ", ".join(f"{name} {version}" for name, version in f["versions"].items())
    out = (
        f"{f['machine']}. {versions}.\nMedians of {size['rounds']} rounds, {size['few']} of what takes seconds, in turns, and "
        f"from the least to the most. The records: real attempts, {f['instructions']:.1f} instructions on average, "
        f"{f['archive_bytes']:.0f} bytes each as an archive of one.\n"
    )
    out += "".join(f"\n{name} is left out: {why}\n" for name, why in f["missing"].items())
    out += "\n## Goals\n\n" + _head("what", "goal", "reached", "")
    for goal in goals(f):
        sign = "≥" if goal.least else "≤"
        cells = [_amount(number, goal.unit) for number in (goal.goal, goal.reached)]
        out += _row(goal.what, f"{sign} {cells[0]}", cells[1], goal.verdict)
    out += "\n## Appending, records/s\n\n"
    out += _head("", "one by one", f"{OURS} in these", "1,024 at once", f"{OURS} in these")
    for name, rates in f["append"].items():
        bulk = f["extend"][name]
        ratios = [_amount(_beside(f[how], name), "x") for how in ("append", "extend")]
        out += _row(name, _spread(rates), ratios[0], _spread(bulk), ratios[1])
    writers = f["writers"]
    out += "\n## Processes at once, records/s\n\n" + _head("", "one by one", "1,024 at once")
    for who, title in (("one", "one writer"), ("all", f"{size['writers']} writers together")):
        out += _row(title, _spread(writers["ones"][who]), _spread(writers["columns"][who]))
    out += f"\n{writers['kept']:,} records were appended and found again, {writers['lost']:,} lost.\n"
    return out + _times(f) + NOTES


def _times(f: dict[str, Any]) -> str:
    size, start, opened, large = f["size"], f["start"], f["open"], f["large"]
    n = size["records"]
    rows = [
        ("import of the writer on top of numpy", _spread(start["import_s"], 1e3, "ms"), f"numba is {'' if start['numba'] else 'not '}loaded"),
        ("a new store, a writer, the first append", _spread(start["append_s"], 1e3, "ms"), ""),
        (f"open {n:,} sealed records, draw 256", _spread(opened["warm"], 1e3, "ms"), "imports done, kernels loaded"),
        ("the same in a fresh process", _spread(opened["cold"], 1e3, "ms"), f"kernels read from numba's cache; imports, {_median(opened['import']) * 1e3:,.0f} ms, not counted"),
        ("SQLite: read the same columns into numpy", _spread(opened["sqlite"], 1e3, "ms"), "all eight, instructions as one text with offsets"),
        (f"open {n:,} records in journals, a frame each", _spread(f["unsealed"]["open_s"], 1e3, "ms"), f"{n / _median(f['unsealed']['open_s']):,.0f} records/s"),
        ("then `results()` of all of them", _spread(f["unsealed"]["results_s"], 1e3, "ms"), f"{n / _median(f['unsealed']['results_s']):,.0f} records/s"),
        (f"refresh with nothing new, {size['journals']} journals", _spread(f["refresh"]["nothing_s"], 1e6, "us"), ""),
        ("refresh with 1,024 new in columns", _spread(f["refresh"]["columns_s"], 1e3, "ms"), f"from {size['journals']} writers"),
        ("refresh with 1,024 new, one by one", _spread(f["refresh"]["ones_s"], 1e3, "ms"), f"from {size['journals']} writers"),
        (f"seal {n:,} records, a frame each", _spread(f["tidy"]["seal"], 1e-6, "MB/s"), "bytes of the segments; synced"),
        ("compact it so that 9 of 10 stay", _spread(f["tidy"]["compact"], 1e-6, "MB/s"), "the same"),
    ]  # fmt: skip
    for verb, word in (("seal", "sealed"), ("compact", "compacted")):
        found = f["memory"][verb]
        rows += [
            (
                f"anonymous memory while {int(count):,} are {word}",
                _amount(_mebibytes(of["peak"]), "MiB"),
                f"{of['segments']} segments, at most {size['segment_mib']} MiB each",
            )
            for count, of in found.items()
        ]
    if large:
        rows += [
            (f"a buffer over {size['many']:,} records, opened and drawn from", f"{large['open_s'] * 1e3:,.0f} ms", f"{large['file_bytes'] / 1e9:.1f} GB on disk; Proportional, Oldest"),
            ("anonymous memory a record", _amount(large["opened"], "bytes"), f"{_amount(large['learned'], 'bytes')} after {size['draws']:,} draws and updates"),
            ("draw 256 and update them", f"{1 / large['learn_s']:,.0f} a second", "from the first on, pages and blocks being read for the first time"),
        ]  # fmt: skip
    body = "".join(_row(*row) for row in rows)
    return "\n## Opening, following, sealing\n\n" + _head("what", "figure", "") + body


NOTES = """
## How to read this

- All promise the same: what was appended when the call returns survives kill -9 of the process, not the loss of power.
- LMDB and the log are given the bytes of an archive ready-made, SQLite its columns; Ostinato is given a BuildResult, or numpy
  columns with token ids, of which it makes Results and bytes in its time. One by one, LMDB and SQLite have a transaction each.
- LMDB gets rising keys and is told so. "writemap and putmulti" writes through its mapping without a system call and
  puts 1,024 in one call.
- Each turn has a new folder; its time begins when all is open. Files are in the page cache.
- Megabytes are 10^6 bytes. Anonymous memory is what no file backs, above what the process had before; for sealing the most
  that another process saw, looking each millisecond.
"""


def readme(f: dict[str, Any]) -> str:
    """The few figures that the README shows, as Markdown."""
    names = [name for name in (OURS, "LMDB", "SQLite") if name in f["append"]]
    opened = f["open"]
    n = f["size"]["records"]
    out = _head("kill -9 loses nothing", *names)
    out += _row("append one, records/s", *(_short(_median(f["append"][name])) for name in names))
    out += _row("append 1,024 at once, records/s", *(_short(_median(f["extend"][name])) for name in names))
    large = f["large"]
    beyond = (
        f" A buffer over {f['size']['many']:,} on disk takes {large['learned']:.0f} bytes of memory a record."
        if large and large["learned"]
        else ""
    )
    return (
        f"{out}\n{n:,} records on disk are open, and the first batch drawn, after {_median(opened['warm']) * 1e3:,.0f} ms (SQLite "
        f"reads the same columns in {_median(opened['sqlite']):.1f} s).{beyond} "
        "([Figures](benchmarks/results/store.md).)\n"
    )


def _head(*cells: str) -> str:
    return _row(*cells) + "|" + "---|" * len(cells) + "\n"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |\n"


def _median(values: list[float]) -> float:
    return statistics.median(values)


def _ratio(ours: list[float], theirs: list[float]) -> float:
    """The ratio of the medians."""
    return _median(ours) / _median(theirs)


def _beside(rates: dict[str, list[float]], name: str) -> float | None:
    return _ratio(rates[OURS], rates[name]) if name in rates else None


def _short(value: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.2f}{unit}" if value < 10 * size else f"{value / size:,.0f}{unit}"
    return f"{value:,.0f}"


def _spread(values: list[float], scale: float = 1.0, unit: str = "") -> str:
    low, middle, high = (scale * value for value in (min(values), _median(values), max(values)))
    if unit:
        shown = [f"{value:,.0f}" if value >= 100 else f"{value:.2f}" for value in (middle, low, high)]
        return f"{shown[0]} {unit} ({shown[1]}–{shown[2]})"
    return f"{_short(middle)} ({_short(low)}–{_short(high)})"


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    whole = value >= 100 or value == int(value)
    number = f"{value:,.0f}" if whole else f"{value:.1f}" if value >= 1 else f"{value:.2f}"
    return f"{number} {unit}".rstrip()


def _mebibytes(size: float | None) -> float | None:
    return None if size is None else size / MIB
