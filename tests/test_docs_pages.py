"""The pages of docs/ are run: their python blocks in order, and each `# ->` against what was printed."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from ostinato import replay

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
CHOOSING = (DOCS / "samplers-and-removers.md").read_text(encoding="utf-8")
NOT_CHOSEN = {"Batch", "DEFAULT_PATH", "Draw", "Remover", "RemoverIndex", "Sampler", "SamplerIndex", "Scope"}
NOT_CHOSEN |= {
    "MappedBuffer",
    "Stats",
    "Table",
}  # what a buffer is made of and gives, not what is chosen for it


def blocks_of(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def anchors_of(text: str) -> set[str]:
    without_code = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", without_code, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_python_block_prints_what_the_page_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks_of(page.read_text(encoding="utf-8")):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block, page.name, "exec"), names)
        assert printed.getvalue().splitlines() == re.findall(r"# -> (.+)$", block, re.MULTILINE), block


def test_the_page_of_choices_is_run_and_has_outputs_to_compare() -> None:
    blocks = blocks_of(CHOOSING)
    assert len(blocks) >= 15
    assert sum(block.count("# -> ") for block in blocks) >= 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!http)([^)]+)\)", text)
    inside = {link[1:] for link in links if link.startswith("#")}
    files = [link.split("#")[0] for link in links if not link.startswith("#")]
    assert inside - anchors_of(text) == set()
    assert [link for link in files if not (page.parent / link).exists()] == []


def test_every_rule_that_can_be_chosen_is_on_the_page() -> None:
    words = set(re.findall(r"\w+", CHOOSING))
    assert set(replay.__all__) - NOT_CHOSEN - words == set()


def test_every_line_of_the_tables_of_choices_can_be_written() -> None:
    lines = re.findall(r"^\| .+? \| (.+) \|$", CHOOSING.split("## The data")[0], re.MULTILINE)
    written = [code for line in lines for code in re.findall(r"`(.+?)`", line)]
    for code in written:
        # a rule as it stands, or arguments of the buffer
        if code[0].isupper():
            rule = eval(code, dict(vars(replay)))
            settings = {"remover" if hasattr(rule, "save_order") else "sampler": rule}
        else:
            settings = eval(f"dict({code})", dict(vars(replay)))
        replay.ReplayBuffer(10, **settings)
    assert len(written) >= 18


def test_pictures_are_small_and_made_by_the_script_beside_them() -> None:
    script = (DOCS / "pictures" / "draws.py").read_text(encoding="utf-8")
    pictures = sorted((DOCS / "pictures").glob("*.png"))
    assert [p.name for p in pictures if f'"{p.name}"' not in script] == []
    assert [p.name for p in pictures if p.stat().st_size > 300_000] == []
    assert len(pictures) == 2


def test_nothing_in_the_docs_names_a_place_of_one_machine() -> None:
    words = ("/" + "work/", "../" + "shared", "/" + "root/", "/" + "tmp/")
    texts = [*PAGES, *DOCS.rglob("*.py")]
    assert [p.name for p in texts if any(word in p.read_text(encoding="utf-8") for word in words)] == []
