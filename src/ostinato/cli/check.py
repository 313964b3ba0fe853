"""ostinato check: is a file whole?"""

from __future__ import annotations

import typer

from ostinato import archive
from ostinato.archive import layout
from ostinato.cli import EXIT_DAMAGED
from ostinato.cli.common import File, Json, err, number, out, print_json
from ostinato.errors import DamageError
from ostinato.files import read_file


def check(file: File, json: Json = False) -> None:
    """Is FILE canonical (what a writer makes), merely accepted (readers take it, no writer makes it), or damaged?

    Exit code 3 when it is damaged.
    """
    data = read_file(file, layout.READ_END)
    try:
        results = archive.loads(data)
        difference = archive.deviation(data)
    except DamageError as error:
        if json:
            where = {"offset": error.offset, "record": error.record, "field": error.field}
            print_json({"file": str(file), "verdict": "damaged", "cause": error.cause, **where})
        else:
            err.print(f"{file}: damaged: {error}", soft_wrap=True, markup=False)
            err.print(
                "Trident refuses it too. Take the last good copy, or write the file again.", markup=False
            )
        raise typer.Exit(EXIT_DAMAGED) from None
    verdict = "canonical" if difference is None else "accepted"
    if json:
        offset = None if difference is None else difference.offset
        print_json(
            {
                "file": str(file),
                "verdict": verdict,
                "records": len(results),
                "size_bytes": len(data),
                "first_difference": offset,
                "canonical_size_bytes": len(data) if difference is None else difference.canonical_size,
            }
        )
        return
    if difference is None:
        out.print(f"{file}: canonical, {number(len(results))} build results", soft_wrap=True, markup=False)
        return
    out.print(
        f"{file}: accepted, {number(len(results))} build results, but not canonical: {difference}",
        soft_wrap=True,
        markup=False,
    )
    out.print(
        "Are build results missing? `ostinato convert` writes what is read in canonical form.", markup=False
    )
