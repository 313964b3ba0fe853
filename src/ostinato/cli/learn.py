"""ostinato learn: builders and a learner at work on programs, until somebody or the clock ends it."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from ostinato.cli.common import (
    Json,
    code,
    err,
    json_line,
    make_table,
    number,
    out,
    percent,
    print_json,
    printable,
)
from ostinato.errors import UsageError

if TYPE_CHECKING:
    from ostinato.judge import Function
    from ostinato.online import Moment, Verdict
    from ostinato.online.metrics import Metrics

_SHOWN, _VERDICTS = 12, 4  # finds and verdicts in the live view
_QUIET_S = 10.0  # between two lines where nobody watches

Run = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run of `ostinato learn`.")]


def learn(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="A folder for the run; one that is there goes on.")
    ] = Path("learned"),
    programs: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="A programs file (.json), a TIR text (.tir), `corpus`, or `training` for its training families; else the 32 programs of the real build results. A run keeps its programs.",
        ),
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="End after so long.")] = None,
    attempts: Annotated[int | None, typer.Option(min=1, help="End after so many candidates.")] = None,
    builders: Annotated[int, typer.Option(min=1, max=256, help="Processes that make attempts.")] = 2,
    policy: Annotated[
        Literal["rules", "edits"], typer.Option(help="One that learns, or random edits alone.")
    ] = "rules",
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn.")] = 0,
    disk_gb: Annotated[
        float,
        typer.Option(
            min=0.1,
            help="GB that the run's files may take. When half of it is full, old records leave; the best of each program stay.",
        ),
    ] = 2.0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing until the end.")] = False,
    json: Json = False,
) -> None:
    """Learn to make better code: builders try, the machine judges, a learner makes rules of what was right.

    Every attempt that is kept is in DIR/store. Ctrl-C ends it, and nothing is lost: the same command goes on. With --json: a
    line a second, the last one with `"done": true`.
    """
    from ostinato import online, targets

    _prepare(folder, programs)
    moments = online.learn(
        functools.partial(targets.load, str(folder)),
        str(folder),
        policy=policy,
        builders=builders,
        seconds=seconds,
        attempts=attempts,
        seed=seed,
        held_out=functools.partial(targets.held_out, str(folder)),
        disk_bytes=int(disk_gb * 1e9),
    )
    last = _watch(moments, json, quiet)
    if last is None:
        return
    if json:
        out.file.write(json_line(_as_dict(last) | {"done": True}).decode())
        return
    _end(folder, last.metrics, with_report=not quiet)


def _prepare(folder: Path, programs: str | None) -> None:
    """The run's programs, kept in its folder; a run that is there has its own."""
    from ostinato import targets

    there = (folder / "programs.json").exists()
    if there and programs is not None:
        raise UsageError(
            f"the run in {folder} has its programs already; leave the option out to go on", "--programs"
        )
    if there:
        return
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} holds something else", "DIR")
    functions = _functions(programs)
    straight = [function for function in functions if targets.is_straight(function)]
    if len(straight) < len(functions):
        names = ", ".join(one.name for one in functions if one not in straight)
        err.print(
            f"left out, since only straight-line code is searched for: {names}", markup=False, soft_wrap=True
        )
    if not straight:
        raise UsageError("expected programs that are straight-line", "--programs")
    folder.mkdir(parents=True, exist_ok=True)
    targets.keep(straight, folder)


def _functions(programs: str | None) -> list[Function]:
    from ostinato import data, judge, tir
    from ostinato.cli.programs import functions_of

    if programs is None:
        return judge.load_programs(data.programs_path())
    if programs in ("corpus", "training"):
        families = tir.FAMILIES if programs == "corpus" else tir.TRAINING
        return [judge.of_tir(program) for program in tir.corpus(families).values()]
    path = Path(programs)
    if not path.is_file():
        raise UsageError(f"there is no file {path}", "--programs")
    return functions_of(path)


def _watch(moments: Iterator[Moment], json: bool, quiet: bool) -> Moment | None:
    """Show moments as they come; the last one, None if it was stopped before the first."""
    last = None
    told = -_QUIET_S
    verdicts: list[Verdict] = []
    live = (
        Live(console=err, refresh_per_second=4, transient=True)
        if err.is_terminal and not (json or quiet)
        else None
    )
    try:
        if live:
            live.start()
            live.update(Text("starting builders ..."))
        for moment in moments:
            last = moment
            verdicts = [*verdicts, *moment.verdicts][-_VERDICTS:]
            if json:
                out.file.write(json_line(_as_dict(moment)).decode())
                out.file.flush()
            elif live:
                live.update(_view(moment, verdicts))
            elif not quiet and moment.seconds - told >= _QUIET_S:
                told = moment.seconds
                err.print(_line(moment), markup=False, soft_wrap=True)
    except KeyboardInterrupt:
        pass
    finally:
        if live:
            live.stop()
        moments.close()  # type: ignore[attr-defined]
    return last


def _line(moment: Moment) -> str:
    metrics = moment.metrics
    before, after = metrics.cycles
    return (
        f"{moment.seconds:.0f} s: {number(metrics.attempts)} attempts, {percent(metrics.validity)} valid, "
        f"{metrics.improved} of {len(metrics.tasks)} programs improved, {number(before)} cycles are {number(after)} now "
        f"({percent(metrics.reduction)} less, geometric mean; {percent(moment.held_out_reduction)} on held-out programs in few attempts), "
        f"policy {'none' if moment.active is None else moment.active}"
    )


def _view(moment: Moment, verdicts: Sequence[Verdict]) -> Group:
    metrics = moment.metrics
    rate = (metrics.attempts - moment.attempts_before) / moment.seconds if moment.seconds else 0
    lines = [
        Text(_line(moment)),
        Text(f"{rate:,.0f} attempts/s, {percent(metrics.fallback_rate)} of beams without a valid candidate, {percent(metrics.duplicate_rate)} proposed twice; {number(metrics.records)} records, {moment.store_bytes / 1e6:,.1f} MB"),
    ]  # fmt: skip
    lines += [
        Text(
            f"policy {one.version} {'goes to work' if one.activated else 'is rejected'}: {printable(one.reason)}"
        )
        for one in verdicts
    ]
    if moment.restarted:
        lines.append(Text(f"{moment.restarted} processes ended and were started again"))
    table = make_table("program", "before", "now", "code", text=("program",))
    width = max(20, shutil.get_terminal_size().columns - 45)
    for find in metrics.finds[-_SHOWN:][::-1]:
        table.add_row(
            printable(find.program), number(find.before), number(find.after), Text(code(find.code)[:width])
        )
    return Group(*lines, table)


def _as_dict(moment: Moment) -> dict[str, Any]:
    return {
        "seconds": round(moment.seconds, 3),
        **moment.metrics.as_dict(),
        "active": moment.active,
        "held_out_reduction": moment.held_out_reduction,
        "restarted": moment.restarted,
        "store_bytes": moment.store_bytes,
        "verdicts": [
            {
                "version": one.version,
                "activated": one.activated,
                "guard": one.reason,
                "held_out_reduction": one.reduction,
            }
            for one in moment.verdicts
        ],
        "finds": [
            {
                "program": find.program,
                "before": find.before,
                "after": find.after,
                "generated_tasm": list(find.code),
            }
            for find in moment.finds
        ],
    }


def _end(folder: Path, metrics: Metrics, *, with_report: bool) -> None:
    """What was found, and what to type next."""
    before, after = metrics.cycles
    table = make_table("program", "compiler", "found", "code", text=("program",))
    for task in metrics.tasks:
        cycles, lines = metrics.best[task.name]
        if cycles < task.compiler_cycles:
            table.add_row(
                printable(task.name), number(task.compiler_cycles), number(cycles), Text(code(lines))
            )
    out.print(table)
    out.print(
        f"{number(before)} cycles as the compiler writes them, {number(after)} now; {number(metrics.attempts)} attempts, "
        f"{percent(metrics.validity)} of them valid"
    )
    if with_report:
        from ostinato.cli.report import written

        page = written(folder)
        if page is not None:
            out.print(f"{page} shows the whole run in a browser,", markup=False, soft_wrap=True)
    out.print(
        f"`ostinato best {folder}` judges them again and prints them, `ostinato rules {folder}` says what was learned,"
    )
    out.print(f"`ostinato learn {folder}` goes on, `ostinato info {folder / 'store'}` looks at the records.")


def rules(
    folder: Run, top: Annotated[int, typer.Option(min=1, help="How many to show.")] = 40, json: Json = False
) -> None:
    """What the active policy of a run has learned: before, after, cycles saved, where it was seen, how often it was right."""
    from ostinato import online, targets

    own = online.Folder(folder)
    need_run(folder)
    active = own.active()
    found = []
    if active is not None:
        policy = online.RulePolicy(targets.load(str(folder)))
        policy.load(own.checkpoint(active))
        found = sorted(policy.rules, key=lambda rule: (-rule.general, -sum(rule.seen.values()), -rule.saved))
    if json:
        print_json([rule.as_dict() for rule in found])
        return
    table = make_table(
        "saves",
        "general",
        "right",
        "seen in",
        "before",
        "after",
        text=("general", "right", "seen in"),
        wraps=("before",),
    )
    for rule in found[:top]:
        names = sorted(rule.seen)
        where = ", ".join(names[:2]) + (f" +{len(names) - 2}" if len(names) > 2 else "")
        tried = rule.successes + rule.failures
        varies = f"any {', '.join(rule.varies)}" if rule.varies else "yes"
        table.add_row(
            number(rule.saved),
            varies if rule.general else "no",
            f"{number(rule.successes)} of {number(tried)}" if tried else "-",
            where,
            Text(code(rule.before)),
            Text(code(rule.after) or "(nothing)"),
        )
    out.print(table)
    out.print(
        f"{number(len(found))} rules, {number(sum(rule.general for rule in found))} of them right wherever they stand"
    )


def rollback(
    folder: Run,
    version: Annotated[int | None, typer.Argument(metavar="[VERSION]", help="One that was kept; else the one that was at work before.")] = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Put an earlier policy of a run to work again; builders take it over within a second or two.

    Without VERSION: the last one that the guard let through before the one that is active.
    """
    from ostinato import online

    need_run(folder)
    own = online.Folder(folder)
    active = own.active()
    with own.store() as store:
        kept = {item.version: bool(item.metrics.get("activated")) for item in store.catalog.versions()}
    there = own.versions()
    if version is None:
        before = [one for one in there if kept.get(one) and (active is None or one < active)]
        if not before:
            raise UsageError("there is no policy before the active one", "VERSION")
        version = before[-1]
    if version not in there:
        raise UsageError(
            f"there is no policy {version}; there are {', '.join(map(str, there)) or 'none'}", "VERSION"
        )
    own.activate(version)
    if json:
        print_json({"active": version, "before": active})
    else:
        out.print(f"policy {version} is at work, instead of {active}")


def policies(folder: Run, json: Json = False) -> None:
    """The policies of a run: from how many records each learned, how many rules it has, and what the guard said of it."""
    from ostinato import online

    need_run(folder)
    own = online.Folder(folder)
    active = own.active()
    with own.store() as store:
        steps = {step.number: step for step in store.catalog.finetunes()}
        rows = [
            {
                "version": item.version,
                "parent": item.parent,
                "active": item.version == active,
                "records": steps[item.finetune].records if item.finetune in steps else None,
                **{
                    name: item.metrics.get(name)
                    for name in ("rules", "new_rules", "activated", "guard", "validity", "gain")
                },
                "recorded_at": item.recorded_at,
            }
            for item in store.catalog.versions()
        ]
    if json:
        print_json(rows)
        return
    table = make_table("version", "parent", "records", "rules", "", "what the guard said", text=("",))
    for row in rows:
        state = "active" if row["active"] else "" if row["activated"] else "rejected"
        cells = [number(row[name]) for name in ("version", "parent", "records", "rules")]
        table.add_row(*cells, state, printable(str(row["guard"])))
    out.print(table)


def need_run(folder: Path) -> None:
    """Raises: UsageError: the folder is no run of `ostinato learn`."""
    if not (folder / "programs.json").exists():
        raise UsageError(f"{folder} is no run of `ostinato learn`", "DIR")
