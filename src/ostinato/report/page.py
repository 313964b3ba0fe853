"""The page: one file that asks for nothing, from anywhere, and in which only its own scripts can run.

Rule of this file: a policy in the page names its scripts by their hashes and forbids all else, so that what was not escaped could not run either.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING

from ostinato.files import replace_file
from ostinato.report.plots import figures, plotly
from ostinato.report.sections import headline, sections
from ostinato.report.snapshot import Snapshot
from ostinato.report.words import text

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# first in the page, so that a test, or a person, sees on <html> what went wrong later
_WATCH = """
const failed = (said) => { document.documentElement.dataset.error = String(said); };
window.onerror = failed;
window.onunhandledrejection = (event) => failed(event.reason);
document.addEventListener("securitypolicyviolation", (event) => failed(`${event.violatedDirective}: ${event.blockedURI}`));
"""


def write(given: Snapshot, path: str | os.PathLike[str]) -> None:
    """The page of a snapshot, to a file, whole or not at all. Cost: about a second; 5 MB, nearly all of it plotly.js.

    Raises:
        UsageError: plotly is not installed.
    """
    _, offline = plotly()
    made = page(given, figures(given), offline.get_plotlyjs())
    with replace_file(path) as file:
        file.write(made.encode("utf-8", errors="replace"))


def page(given: Snapshot, plots: Mapping[str, Figure], plotly_js: str) -> str:
    """As HTML. plots: by the id of their place."""
    scripts = [_WATCH, plotly_js, _own("page.js")]
    parts = list(sections(given, {name: figure.layout.height for name, figure in plots.items()}))
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title, _ in parts)
    body = "".join(f'<section id="{name}"><h2>{title}</h2>{said}</section>\n' for name, title, said in parts)
    data = "".join(f'<script type="application/json" id="{name}-data">{_in_script(figure.to_json())}</script>\n' for name, figure in plots.items())  # fmt: skip
    allowed = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    policy = f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"
    first, *rest = (f"<script>{script}</script>" for script in scripts)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(given.folder)} - ostinato report</title>
{first}
<style>{_own("page.css")}</style>
</head>
<body>
<main>
<p class="kicker">ostinato report</p>
<h1>{text(given.folder)}</h1>
<nav>{links}</nav>
{headline(given)}
{body}<footer>Made by ostinato report. Rates are over attempts as builders counted them; intervals are over programs.</footer>
</main>
{data}{"".join(rest)}
</body>
</html>
"""


def _own(name: str) -> str:
    return resources.files("ostinato.report").joinpath(name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _in_script(json: str) -> str:
    # an end tag in a text of the data would end the element
    return json.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
