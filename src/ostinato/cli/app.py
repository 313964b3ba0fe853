"""The typer application: every verb, and what they share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated

import typer

from ostinato import __version__
from ostinato.cli import (
    append,
    best,
    check,
    compact,
    convert,
    demo,
    info,
    judge,
    learn,
    merge,
    programs,
    report,
    reverify,
    run,
    sample,
    seal,
    show,
    tail,
    verify_copy,
    warm,
)

app = typer.Typer(
    name="ostinato",
    help="Experience replay for learned compilers: keep, look at, check, sample and convert build results.\n\n"
    "FILE is an archive as Trident keeps it (replay.rkyv), or a store's folder; STORE is a store's folder. "
    "Data goes to standard output, words to standard error. Exit codes: 0 ok, 1 failed, 2 usage, 3 damaged.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"ostinato {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


def _add(name: str, verb: Callable[..., None]) -> None:
    """A verb; the lines of a paragraph of its docstring are one, so that the terminal breaks them."""
    paragraphs = inspect.cleandoc(verb.__doc__ or "").split("\n\n")
    app.command(name, help="\n\n".join(" ".join(p.split()) for p in paragraphs))(verb)


_VERBS: dict[str, Callable[..., None]] = {
    "info": info.info,
    "check": check.check,
    "show": show.show,
    "sample": sample.sample,
    "convert": convert.convert,
    "append": append.append,
    "tail": tail.tail,
    "seal": seal.seal,
    "compact": compact.compact,
    "merge": merge.merge,
    "verify-copy": verify_copy.verify_copy,
    "run": run.run,
    "judge": judge.judge,
    "reverify": reverify.reverify,
    "programs": programs.programs,
    "learn": learn.learn,
    "rules": learn.rules,
    "policies": learn.policies,
    "rollback": learn.rollback,
    "report": report.report,
    "best": best.best,
    "optimize": best.optimize,
    "demo": demo.demo,
    "warm": warm.warm,
}
for _name, _verb in _VERBS.items():
    _add(_name, _verb)
