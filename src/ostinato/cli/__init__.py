"""The command line: a file per verb. Data goes to standard output, words about it to standard error."""

from __future__ import annotations

import io
import json
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ostinato.errors import DamageError

__all__ = ["main"]

EXIT_FAILED, EXIT_USAGE, EXIT_DAMAGED = 1, 2, 3


def main() -> None:
    """The `ostinato` command. Exit codes: 0 ok, 1 failed, 2 usage, 3 damaged."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an ASCII terminal shows what it cannot write as escapes
            stream.reconfigure(errors="backslashreplace")
    from ostinato.cli.app import app
    from ostinato.errors import DamageError, OstinatoError, UsageError

    try:
        app()
    except BrokenPipeError:
        _leave_quietly()
    except SystemExit as leaving:
        if isinstance(leaving.__context__, BrokenPipeError):  # typer makes this a failure
            _leave_quietly()
        raise
    except DamageError as error:
        details: dict[str, object] = {"cause": error.cause, "offset": error.offset, "line": error.line}
        _say(f"damaged: {error}{_hint(error)}", EXIT_DAMAGED, details)
    except UsageError as error:
        _say(f"error: {error}", EXIT_USAGE)
    except OstinatoError as error:
        _say(f"error: {error}", EXIT_FAILED)
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        _say(f"error: {name}{error.strerror or error}", EXIT_FAILED)
    except MemoryError:
        _say("error: not enough memory", EXIT_FAILED)
    except KeyboardInterrupt:
        _say("stopped", 130)


def _leave_quietly() -> None:
    """Whoever read our output has gone (`| head`); nothing is wrong, and nothing more can be said there."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(0)


def _hint(error: DamageError) -> str:
    """What to do about a file that is something else."""
    if error.source is None or error.line is not None:
        return ""
    store = _store_around(error.source)
    if store:
        return f"\n`ostinato check {store}` says what is wrong, and what `--repair` would do."
    try:
        with open(error.source, "rb") as file:
            first = file.read(1)
    except OSError:
        return ""
    if not first:
        return "\nThe file is empty; an archive of no build results has 8 bytes."
    looks_like_json = first == b"{" or error.source.endswith((".jsonl", ".ndjson"))
    return (
        "\nThis looks like JSON lines: `ostinato convert` makes an archive of it." if looks_like_json else ""
    )


def _store_around(source: str) -> str | None:
    """The store's folder that a file stands in, or is."""
    for folder in (source, *[os.path.normpath(os.path.join(source, *[".."] * k)) for k in (1, 2, 3)]):
        names = ("journals", "segments")
        if all(os.path.isdir(os.path.join(folder, name)) for name in names):
            return folder
    return None


def _say(text: str, code: int, details: dict[str, object] | None = None) -> None:
    if "--json" in sys.argv[1:]:
        print(json.dumps({"error": text, **(details or {})}))
    print(text, file=sys.stderr)
    sys.exit(code)
