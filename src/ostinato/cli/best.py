"""ostinato best and optimize: code that is better than the compiler's, judged again before it is shown."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ostinato.cli.common import Json, bar_of, err, number, out, print_json, printable, read_text
from ostinato.cli.learn import Run, need_run
from ostinato.errors import UsageError

if TYPE_CHECKING:
    from ostinato.judge import Function
    from ostinato.targets import Best

_TRIED = 8  # of what a search found, the cheapest first
_SEED = 1_000_003  # of the judge who looks again: other inputs than those of the run


def best(
    folder: Run,
    program: Annotated[str | None, typer.Argument(metavar="[PROGRAM]", help="One program.")] = None,
    json: Json = False,
) -> None:
    """The best code of each program, judged once more on other inputs than the run's, ready to use.

    With --json: a list of name, compiler_cycles, clock_cycles, generated_tasm, types (of the arguments: it may be wrong for other
    words) and inputs (how many it agreed on); the baseline where nothing better is known.
    """
    from ostinato import online, targets
    from ostinato.cli.programs import find

    need_run(folder)
    functions = targets.functions_in(folder)
    if program is not None:
        functions = [find(functions, program, "PROGRAM")]
    with online.Folder(folder).store() as store, bar_of("judging") as on_progress:
        rows = targets.best(store.results(), functions, seed=_SEED, on_progress=on_progress)
    if json:
        print_json([_as_dict(row) for row in rows])
        return
    for row in rows:
        saved = row.compiler_cycles - row.clock_cycles
        words = f"{row.name}: {number(row.clock_cycles)} cycles, {number(saved)} fewer than the compiler's {number(row.compiler_cycles)}" if saved else f"{row.name}: {number(row.compiler_cycles)} cycles, nothing better is known"  # fmt: skip
        domain = f" ({', '.join(row.types)})" if row.types else ""
        out.print(
            f"// {printable(words)}; agrees on {number(row.inputs)} inputs{domain}",
            markup=False,
            soft_wrap=True,
        )
        for line in row.generated_tasm:
            out.print(printable(line), markup=False, soft_wrap=True)
        out.print()


def _as_dict(row: Best) -> dict[str, object]:
    return {
        "name": row.name,
        "compiler_cycles": row.compiler_cycles,
        "clock_cycles": row.clock_cycles,
        "generated_tasm": list(row.generated_tasm),
        "types": list(row.types),
        "inputs": row.inputs,
    }


def optimize(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, readable=True, help="A straight-line block: TIR (.tir) or TASM (.tasm).")],
    types: Annotated[str, typer.Option(metavar="f,u,..", help="Types of a TASM block's arguments, the last on top: f field, u u32, b bool, m address, p positive.")] = "",
    run: Annotated[Path | None, typer.Option(metavar="DIR", help="A run whose policy is used; else one that has learned nothing.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to search.")] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn.")] = 0,
    json: Json = False,
) -> None:  # fmt: skip
    """Search for better code for a block of your own, and print it if there is some.

    Exit code 1 if there is none.
    """
    from ostinato import online, targets

    function = _function(file, types)
    if not targets.is_straight(function):
        raise UsageError("expected a straight line of instructions", "FILE")
    target = targets.TritonTarget([function])
    policy = online.RulePolicy(target)
    if run is not None:
        need_run(run)
        active = online.Folder(run).active()
        if active is not None:
            policy.adopt(online.Folder(run).checkpoint(active))
    builder = online.Builder(target, policy, seed=seed, beam=1024)
    end = time.monotonic() + seconds
    with bar_of("searching") as on_progress:
        while time.monotonic() < end and builder.pool.best(0)[1]:
            builder.beam(0)
            on_progress(int(10 * (seconds - end + time.monotonic())), int(10 * seconds))
    found_code = [
        (cycles, tuple(map(target.vocabulary.word, code)))
        for cycles, code in builder.pool.cheapest(0, _TRIED)
    ]
    row = targets.judged_again(function, found_code, _SEED)
    found = row.clock_cycles < row.compiler_cycles
    if json:
        print_json(_as_dict(row))
    elif found:
        err.print(
            f"{number(row.clock_cycles)} cycles instead of {number(row.compiler_cycles)}, on {number(row.inputs)} inputs the same"
        )
        for line in row.generated_tasm:
            out.print(printable(line), markup=False, soft_wrap=True)
    else:
        err.print(f"nothing better than {number(row.compiler_cycles)} cycles was found")
    if not found:
        raise typer.Exit(1)


def _function(file: Path, types: str) -> Function:
    from ostinato import judge
    from ostinato.cli.programs import function_of

    if file.suffix == ".tir":
        return function_of(str(file), None, "FILE")
    kinds = [kind.strip() for kind in types.split(",") if kind.strip()]
    lines = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    return judge.of_tasm(file.stem, [line for line in lines if not line.startswith("//")], kinds)
