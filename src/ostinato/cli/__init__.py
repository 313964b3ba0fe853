"""The command line: a file per verb. Data goes to standard output, words about it to standard error."""

from __future__ import annotations

import sys

__all__ = ["main"]

EXIT_FAILED, EXIT_USAGE, EXIT_DAMAGED = 1, 2, 3


def main() -> None:
    """The `ostinato` command. Exit codes: 0 ok, 1 failed, 2 usage, 3 damaged."""
    from ostinato.cli.app import app
    from ostinato.errors import DamageError, OstinatoError, UsageError

    try:
        app()
    except BrokenPipeError:
        # whoever read our output has gone (`| head`); nothing is wrong, and nothing more can be said there
        sys.stderr.close()
        sys.exit(0)
    except DamageError as error:
        _say(f"damaged: {error}", EXIT_DAMAGED)
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


def _say(text: str, code: int) -> None:
    print(text, file=sys.stderr)
    sys.exit(code)
