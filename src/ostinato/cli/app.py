"""The typer application: every verb, and what they share."""

from __future__ import annotations

from typing import Annotated

import typer

from ostinato import __version__
from ostinato.cli import check, convert, demo, info, sample, show, warm

app = typer.Typer(
    name="ostinato",
    help="Experience replay for learned compilers: look at, check, sample and convert build results.\n\n"
    "FILE is an archive as Trident keeps it (replay.rkyv). Exit codes: 0 ok, 1 failed, 2 usage, 3 damaged.",
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


app.command("info")(info.info)
app.command("check")(check.check)
app.command("show")(show.show)
app.command("sample")(sample.sample)
app.command("convert")(convert.convert)
app.command("demo")(demo.demo)
app.command("warm")(warm.warm)
