"""`make bench`: runs everything, prints it, and writes benchmarks/results/."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import core

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    print("measuring, about two minutes ...", flush=True)
    figures = core.run()
    text = core.table(figures)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "core.json").write_text(json.dumps(figures, indent=1) + "\n")
    (RESULTS / "core.md").write_text("# Archive and buffer\n\n" + text)
    print(text + "\nFor the README:\n\n" + core.readme(figures))


main()
