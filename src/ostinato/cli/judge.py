"""ostinato judge: is a candidate what a program asks for, and does it cost less?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ostinato.cli.common import Json, busy, make_table, number, out, percent, print_json, printable, read_text
from ostinato.cli.programs import ProgramsFile, function_of

if TYPE_CHECKING:
    from ostinato.judge import Expected, Input, Judge, Verdict

_SHOWN = 12  # rows of a comparison


def judge(
    program: Annotated[
        str,
        typer.Argument(
            metavar="PROGRAM", help="A TIR text (.tir), or the name of a program; see `ostinato programs`."
        ),
    ],
    candidate: Annotated[
        Path, typer.Argument(metavar="CANDIDATE.tasm", exists=True, readable=True, help="A block of TASM.")
    ],
    file: ProgramsFile = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the test inputs.")] = 0,
    tests: Annotated[int, typer.Option(min=1, max=100_000, help="How many inputs are drawn.")] = 48,
    json: Json = False,
) -> None:
    """Is CANDIDATE right for PROGRAM on all test inputs, and a thousand more, and what does it cost?

    Shows the first difference side by side. Exit code 1 if the candidate is not valid.
    """
    from ostinato.judge import Judge

    function = function_of(program, file, "PROGRAM")
    text = read_text(candidate)
    with busy("judging"):
        own = Judge(function, seed=seed, tests=tests)
        verdict = own.judge([text], confirm="all")[0]
    if json:
        print_json(as_dict(own, text, verdict))
    else:
        _say(own, text, verdict)
    if not verdict.valid:
        raise typer.Exit(1)


def heights(own: Judge, text: str) -> tuple[int | None, int | None]:
    """The padded heights of the baseline and the candidate, each the largest over some tests."""
    from ostinato.judge import run_block

    def largest(code: object) -> int | None:
        given = own.inputs[:8]
        found = [run_block(code, one, max_cycles=10_000_000).padded_height for one in given]  # type: ignore[arg-type]
        return max((height for height in found if height is not None), default=None)

    return largest(own.function.baseline), largest(text)


def as_dict(own: Judge, text: str, verdict: Verdict) -> dict[str, object]:
    """A verdict, for JSON."""
    from ostinato.judge.functions import input_dict

    before, after = heights(own, text) if verdict.valid else (None, None)
    evidence = verdict.evidence
    return {
        "program": own.function.name,
        "valid": verdict.valid,
        "reason": verdict.reason.name.lower(),
        "error": verdict.error,
        "clock_cycles": verdict.clock_cycles,
        "compiler_cycles": own.baseline_cycles,
        "padded_height": after,
        "compiler_padded_height": before,
        "inputs": None if evidence is None else evidence.inputs,
        "evidence": None if evidence is None else evidence.kind,
        "log2_error": None if evidence is None else evidence.log2_error,
        "input": None if verdict.given is None else input_dict(verdict.given),
        "unexercised": [[list(site), kind, outcome] for site, kind, outcome in own.coverage.missing],
    }


def _say(own: Judge, text: str, verdict: Verdict) -> None:
    if verdict.valid:
        cycles, baseline = verdict.clock_cycles or 0, own.baseline_cycles
        saved = percent((baseline - cycles) / baseline if baseline else None)
        out.print(f"valid: {number(cycles)} cycles, the baseline takes {number(baseline)} ({saved} saved)")
        before, after = heights(own, text)
        out.print(
            f"padded height of a program that calls it: {number(after)}, the baseline's {number(before)}"
        )
        out.print(_evidence(verdict))
    else:
        out.print(f"not valid: {printable(str(verdict))}", markup=False, soft_wrap=True)
        if verdict.given is not None:
            _difference(own, text, verdict.given)
    for site, kind, outcome in own.coverage.missing:
        out.print(f"never exercised: {kind} at {'.'.join(map(str, site))} being {outcome}", markup=False)


def _evidence(verdict: Verdict) -> str:
    evidence = verdict.evidence
    assert evidence is not None
    words = f"it agrees with the reference on {number(evidence.inputs)} inputs"
    if evidence.kind == "identity" and evidence.log2_error is not None:
        return (
            f"{words}; both are polynomials of degree {evidence.degree} at most, and differ anywhere with a chance "
            f"below 2**{evidence.log2_error:.0f}"
        )
    return f"{words}, which are all there are" if evidence.kind == "exhaustive" else words


def _difference(own: Judge, text: str, given: Input) -> None:
    """The input that tells, and what each side left, side by side."""
    from ostinato.judge.references import left_by

    expected, outcome = own.outcomes(text, given)
    types = own.function.types
    words = ", ".join(f"{word} ({kind})" for word, kind in zip(given.arguments, types, strict=False))
    out.print(f"for the arguments {words or '(none)'}", markup=False, soft_wrap=True)
    table = make_table("", "reference", "candidate", text=("", "reference"))
    for name, right, wrong in rows_of(expected, left_by(outcome, given, frozenset())):
        mark = "" if right == wrong else "bold"
        table.add_row(Text(name, style=mark), Text(right, style=mark), Text(wrong, style=mark))
    out.print(table)


def rows_of(right: Expected, wrong: Expected) -> list[tuple[str, str, str]]:
    """What each side left: (what, the reference's, the candidate's)."""
    if right.error or wrong.error:
        return [("ends", right.error or "returns", wrong.error or "returns")]
    left, other = right.stack[::-1], wrong.stack[::-1]
    addresses = sorted({*right.ram, *wrong.ram})
    words = [(f"R[{a}]", str(right.ram.get(a, 0)), str(wrong.ram.get(a, 0))) for a in addresses]
    rows = [
        ("words on the stack", str(len(left)), str(len(other))),
        *(
            (f"st{k}", _word(left, k), _word(other, k))
            for k in range(min(_SHOWN, max(len(left), len(other))))
        ),
        *[row for row in words if row[1] != row[2]][:_SHOWN],
        ("output", " ".join(map(str, right.output)), " ".join(map(str, wrong.output))),
        ("inputs taken", _taken(right), _taken(wrong)),
    ]
    if right.sponge != wrong.sponge:
        rows.append(("sponge", str(right.sponge)[:40], str(wrong.sponge)[:40]))
    return [row for row in rows if row[1] or row[2]]


def _word(stack: Sequence[int], k: int) -> str:
    return str(stack[k]) if k < len(stack) else "-"


def _taken(side: Expected) -> str:
    return f"{side.public_used} {side.secret_used} {side.digests_used}"
