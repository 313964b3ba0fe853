"""The report: its numbers are the run's, its page needs nothing and is really drawn, and nothing in it is more than text."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from cli_helpers import inside
from ostinato import online, report, targets
from ostinato.online import Folder, Metrics
from ostinato.report.plots import figures
from ostinato.report.versions import COLUMNS
from record_helpers import complaint
from report_helpers import NOW, Document, adding, beams, checkpoint, opened, run_of

NAMES = ("add_one", "add_two", "mul_one", "mul_two", "xor")
ALL = {
    "plot-time", "plot-attempts", "plot-programs", "plot-versions", "plot-failures", "plot-ages", "plot-priorities", "plot-guard",
}  # fmt: skip
HOSTILE = (
    "<script>document.documentElement.dataset.hacked='1'</script>",
    "</script><script>document.documentElement.dataset.hacked='2'</script>",
    "\"'><img src=x onerror=\"document.documentElement.dataset.hacked='3'\">",
    "<a href=\"javascript:document.documentElement.dataset.hacked='4'\">%{x}</a>&lt;b&gt;&amp;",
)


def made(tmp_path: Path, *, count: int = 200, versions: int = 3) -> Path:
    functions = adding(*NAMES)
    folder = run_of(tmp_path / "run", functions)
    beams(folder, functions, count, versions=versions)
    checkpoint(folder, 1)
    checkpoint(folder, 2, activated=False, reason="validity falls from 11.0% to 3.0%")
    return folder


def page_of(folder: Path) -> str:
    report.write(report.snapshot(folder), folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


def without_scripts(page: str) -> str:
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


# The numbers


def test_the_numbers_are_the_metrics_of_the_run(tmp_path: Path) -> None:
    folder = made(tmp_path)
    metrics = Metrics(targets.load(str(folder)).programs)
    with Folder(folder).store() as store:
        records = store.results()
    metrics.take(records)
    found = report.snapshot(folder)
    assert found.metrics == metrics.in_full()
    assert (found.seconds_proposing, found.seconds_judging) == (metrics.seconds_proposing, metrics.seconds_judging)  # fmt: skip
    assert {one.name: (one.before, one.after, one.best) for one in found.programs} == {
        task.name: (task.compiler_cycles, *metrics.best[task.name]) for task in metrics.tasks
    }
    before, after = metrics.cycles
    progress = found.progress
    assert (progress.cycles[0], progress.cycles[-1]) == (before, after)
    assert (progress.attempts[0], progress.attempts[-1]) == (0, metrics.attempts)
    assert (progress.began, progress.ended) == (NOW, NOW + 199)
    assert progress.seconds[-1] == 199
    for line in (progress.seconds, progress.attempts, [-cycles for cycles in progress.cycles]):
        assert line == sorted(line)
    assert found.health is not None
    assert found.health.records == len(records)
    assert found.health.invalid == pytest.approx(float((~records.valid).mean()))
    assert found.health.fallback == pytest.approx(float(records.fallback_used.mean()))


def test_a_line_of_a_program_ends_at_its_best(tmp_path: Path) -> None:
    found = report.snapshot(made(tmp_path))
    for one in found.programs:
        cycles = [one.before, *(cycles for _, _, cycles in one.path)]
        assert cycles == sorted(set(cycles), reverse=True)
        assert cycles[-1] == one.after


def test_cells_are_what_a_version_made_of_a_program(tmp_path: Path) -> None:
    folder = made(tmp_path)
    found = report.snapshot(folder).versions
    with Folder(folder).store() as store:
        records = store.results()
    by_name = {task.name: task for task in targets.load(str(folder)).programs}
    assert found.spans == [(0, 0), (1, 1), (2, 2)]
    assert sorted(found.programs) == sorted(NAMES)
    for row, name in enumerate(found.programs):
        for column, (version, _) in enumerate(found.spans):
            own = [
                i for i in range(len(records))
                if records.tir_hash[i].tobytes() == by_name[name].tir_hash and records.model_version[i] == version
            ]  # fmt: skip
            tried = [i for i in own if records.extras["attempts"][i]]
            cycles = [records[i].clock_cycles for i in tried if not records.fallback_used[i]]
            attempts = sum(int(records.extras["attempts"][i]) for i in tried)
            valid = sum(int(records.extras["valid_attempts"][i]) for i in tried)
            assert found.reduction[row][column] == pytest.approx(1 - min([5, *cycles]) / 5, abs=1e-4)
            assert found.invalid[row][column] == pytest.approx(1 - valid / attempts, abs=1e-4)
            assert found.fallback[row][column] == pytest.approx(sum(bool(records.fallback_used[i]) for i in tried) / len(tried), abs=1e-4)  # fmt: skip
    failed = [int(k) for k in records.extras["failure"][~records.valid]]
    names = targets.TritonTarget.failures
    assert {kind: sum(counts) for kind, counts in zip(found.kinds, found.failed, strict=True)} == {names[k]: failed.count(k) for k in set(failed)}  # fmt: skip


def test_many_versions_share_few_columns_and_none_is_lost(tmp_path: Path) -> None:
    found = report.snapshot(made(tmp_path, count=600, versions=97)).versions
    assert len(found.spans) == COLUMNS
    assert [version for first, last in found.spans for version in range(first, last + 1)] == list(range(97))


def test_what_no_version_tried_is_none(tmp_path: Path) -> None:
    functions = adding("tried", "not_tried")
    folder = run_of(tmp_path / "run", functions)
    beams(folder, functions[:1], 5, versions=1)
    found = report.snapshot(folder).versions
    row = found.programs.index("not_tried")
    assert (found.reduction[row], found.fallback[row], found.invalid[row]) == ([None], [None], [None])


def test_a_draw_is_the_same_each_time_and_its_shares_add_up(tmp_path: Path) -> None:
    folder = made(tmp_path)
    one, two = (report.snapshot(folder).draws for _ in range(2))
    assert one == two
    assert one is not None
    for histogram in (one.ages, one.priorities):
        assert sum(histogram.stored) == pytest.approx(1)
        assert sum(histogram.drawn) == pytest.approx(1)
    assert (one.ages.edges[0], one.ages.edges[-1]) == (0.0, 199.0)
    assert one.distinct <= one.stored


def test_checkpoints_and_contexts_are_told(tmp_path: Path) -> None:
    found = report.snapshot(made(tmp_path))
    assert [(one.version, one.parent, one.activated, one.records) for one in found.checkpoints] == [
        (1, None, True, 5),
        (2, 1, False, 5),
    ]
    assert found.health is not None
    assert [one["context"] for one in found.health.contexts] == [{"builder": "0", "policy": "rules"}]


def test_records_that_have_left_stay_in_the_numbers(tmp_path: Path) -> None:
    folder = made(tmp_path)
    before = report.snapshot(folder)
    metrics = Metrics(targets.load(str(folder)).programs)
    with Folder(folder).store() as store:
        metrics.take(store.results())
        metrics.save(Folder(folder).metrics)
    beams(folder, adding(*NAMES), 50, versions=4, seed=9)
    after = report.snapshot(folder)
    assert after.metrics["attempts"] > before.metrics["attempts"]
    assert after.progress.cycles[: len(before.progress.cycles) - 1] == before.progress.cycles[:-1]


def test_a_report_changes_nothing_in_the_folder_of_a_run(tmp_path: Path) -> None:
    folder = made(tmp_path)
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "catalog" not in path.name}  # fmt: skip
    report.snapshot(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "catalog" not in path.name} == files  # fmt: skip


def test_a_damaged_policy_is_told_and_the_rest_is_shown(tmp_path: Path) -> None:
    folder = made(tmp_path)
    Folder(folder).activate(2)  # whose file is not there
    found = report.snapshot(folder)
    assert (found.active, found.rules, len(found.problems)) == (2, [], 1)
    Folder(folder).checkpoint(2).write_bytes(b"{")
    assert "000002.json" in report.snapshot(folder).problems[0]
    (folder / "policies" / "active").write_bytes(b"\xff")
    assert "expected the number of a policy" in without_scripts(page_of(folder))


# The page, without a browser


def test_a_page_asks_for_nothing_from_anywhere(tmp_path: Path) -> None:
    page = page_of(made(tmp_path))
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert len(re.findall(r"'sha256-", policy[1])) == 3
    rest = without_scripts(page)
    assert not re.search(r"(src|href|action|srcset)\s*=\s*[\"']?(https?:)?//", rest)
    assert "@import" not in rest
    assert "url(" not in rest
    own = re.findall(r"<script(?: [^>]*)?>(.*?)</script>", page, flags=re.DOTALL)
    assert [script[:40] for script in own if len(script) < 1_000_000 and re.search(r"https?://|import\b", script)] == []  # fmt: skip
    for element in Document(page).elements:
        assert element.attributes.get("src", "") == ""
        assert element.attributes.get("href", "#").startswith("#")


def test_every_plot_has_its_place_and_its_data(tmp_path: Path) -> None:
    document = Document(page_of(made(tmp_path)))
    assert set(document.plots) == ALL
    data = {one.attributes["id"]: json.loads(one.text) for one in document.named("script") if one.attributes.get("type")}  # fmt: skip
    assert set(data) == {f"{name}-data" for name in ALL}


def test_figures_show_the_numbers_of_the_snapshot(tmp_path: Path) -> None:
    found = report.snapshot(made(tmp_path))
    made_of = figures(found)
    assert list(made_of["plot-time"].data[0].y) == found.progress.cycles
    assert [[*map(list, trace.z)] for trace in made_of["plot-versions"].data] == [found.versions.reduction, found.versions.fallback, found.versions.invalid]  # fmt: skip
    assert [trace.visible for trace in made_of["plot-versions"].data] == [True, False, False]
    for column in range(len(found.versions.spans)):
        assert sum(trace.y[column] or 0 for trace in made_of["plot-failures"].data) == pytest.approx(1)
    rejected = [trace for trace in made_of["plot-guard"].data if trace.marker.symbol == "x"]
    assert [list(trace.x) for trace in rejected] == [[2], [2]]


def test_what_was_found_stands_side_by_side(tmp_path: Path) -> None:
    functions = adding("sum")
    folder = run_of(tmp_path / "run", functions)
    beams(folder, functions, 60, code=("dup 1", "add"))
    rest = without_scripts(page_of(folder))
    assert "<tr><td>dup 1</td><td>dup 1</td></tr>" in rest
    assert rest.count("<del>") == 3
    assert "<ins>" not in rest
    assert "ostinato best" in rest


@pytest.mark.parametrize("store", [False, True])
def test_a_run_that_has_tried_nothing_has_a_page(tmp_path: Path, store: bool) -> None:
    folder = run_of(tmp_path / "run", adding("one"))
    if store:
        Folder(folder).store(create=True).close()
    found = report.snapshot(folder)
    assert (found.progress.began, found.draws, found.rules, found.checkpoints) == (None, None, [], [])
    assert (found.health is not None) == store
    document = Document(page_of(folder))
    assert document.plots == {}
    assert "Nothing has been tried yet." in document.named("main")[0].text


def test_a_run_of_random_edits_has_a_page(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", adding("one", "two"))
    with Folder(folder).store(create=True) as store, store.writer() as writer:
        own = online.Worker(
            targets.load(str(folder)), store, writer, online.Work(str(folder), "edits", 0, 1, 256)
        )
        for _ in range(6):
            own.turn()
    document = Document(page_of(folder))
    assert {"plot-time", "plot-programs", "plot-versions", "plot-ages"} <= set(document.plots)
    assert "plot-guard" not in document.plots
    assert "random edits were at work alone" in document.named("main")[0].text


@pytest.mark.slow
def test_a_page_of_a_large_run_is_small(tmp_path: Path) -> None:
    from plotly.offline import get_plotlyjs

    functions = adding(*(f"family{k % 14}_{k}" for k in range(234)))
    folder = run_of(tmp_path / "run", functions)
    beams(folder, functions, 20_000, versions=300)
    page = page_of(folder)
    assert len(page.encode()) - len(get_plotlyjs().encode()) < 10_000_000
    assert set(Document(page).plots) == ALL - {"plot-guard"}


# The page, in a browser


def assert_drawn(document: Document, plots: set[str]) -> None:
    html = document.named("html")[0].attributes
    assert html.get("data-error") is None
    assert html.get("data-drawn") == str(len(plots))
    assert set(document.plots) == plots
    for name, plot in document.plots.items():
        assert ("svg", "main-svg") in plot.inside, name
        marks = {"plot-versions": "hm", "plot-failures": "point", "plot-ages": "point", "plot-priorities": "point"}  # fmt: skip
        shape = marks.get(name, "trace scatter")
        assert any(shape in kind for _, kind in plot.inside), name


@pytest.mark.slow
def test_every_plot_is_drawn_in_a_browser(tmp_path: Path) -> None:
    folder = made(tmp_path)
    page_of(folder)
    assert_drawn(opened(folder / "report.html", tmp_path), ALL)


@pytest.mark.slow
def test_a_page_of_nothing_runs_in_a_browser(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", adding("one"))
    page_of(folder)
    assert_drawn(opened(folder / "report.html", tmp_path), set())


@pytest.mark.slow
def test_an_error_in_a_script_would_be_seen(tmp_path: Path) -> None:
    folder = made(tmp_path)
    broken = page_of(folder).replace('id="plot-ages-data">{', 'id="plot-ages-data">{{', 1)
    (folder / "report.html").write_text(broken, encoding="utf-8")
    document = opened(folder / "report.html", tmp_path)
    assert "SyntaxError" in document.named("html")[0].attributes["data-error"]


@pytest.mark.slow
def test_a_script_that_is_not_the_pages_own_does_not_run(tmp_path: Path) -> None:
    folder = made(tmp_path)
    script = (
        "<script>document.documentElement.dataset.hacked = 'x'</script><img src='http://example.org/x.png'>"
    )
    with_more = page_of(folder).replace("<nav>", f"{script}<nav>", 1)
    (folder / "report.html").write_text(with_more, encoding="utf-8")
    html = opened(folder / "report.html", tmp_path).named("html")[0].attributes
    assert "data-hacked" not in html
    assert "script-src" in html["data-error"] or "img-src" in html["data-error"]


@pytest.mark.slow
def test_buttons_choose_what_the_heat_map_shows(tmp_path: Path) -> None:
    folder = made(tmp_path)
    script = """<script>setTimeout(() => {
      document.querySelectorAll(".switch button")[2].click();
      document.documentElement.dataset.shown = document.getElementById("plot-versions").data.map((one) => one.visible);
    }, 5000)</script></body>"""
    page = re.sub("<meta http-equiv[^>]*>", "", page_of(folder)).replace("</body>", script, 1)
    (folder / "report.html").write_text(page, encoding="utf-8")
    document = opened(folder / "report.html", tmp_path)
    assert document.named("html")[0].attributes["data-shown"] == "false,false,true"
    assert [one.attributes["aria-pressed"] for one in document.named("button")] == ["false", "false", "true"]
    assert_drawn(document, ALL)


@pytest.mark.slow
def test_hostile_names_and_code_stay_text(tmp_path: Path) -> None:
    functions = adding(*HOSTILE)
    folder = run_of(tmp_path / "run", functions)
    beams(folder, functions, 300, context=HOSTILE[1], code=HOSTILE)
    checkpoint(folder, 1, reason=HOSTILE[1])
    checkpoint(folder, 2, activated=False, reason=HOSTILE[2])
    rule: dict[str, Any] = {"before": ["dup 1"], "after": [], "saved": 1, "general": True, "varies": [], "seen": dict.fromkeys(HOSTILE, 2), "successes": 1, "failures": 0}  # fmt: skip
    policy = online.RulePolicy(targets.load(str(folder)))
    policy.rules.add(online.Rule.from_dict(rule))
    policy.save(Folder(folder).checkpoint(1))
    Folder(folder).activate(1)
    found = report.snapshot(folder)
    assert [one["seen"] for one in found.rules] == [rule["seen"]]
    report.write(found, folder / "report.html")
    document = opened(folder / "report.html", tmp_path)
    html = document.named("html")[0].attributes
    assert [name for name in html if name.startswith("data-hacked")] == []
    assert_drawn(document, ALL)
    assert (document.named("img"), document.named("iframe")) == ([], [])
    assert len([one for one in document.named("script") if not one.attributes.get("type")]) == 3
    assert all(one.attributes["href"].startswith("#") for one in document.named("a"))
    by_id = {one.attributes.get("id"): one for one in document.elements}
    for name in HOSTILE:
        for place in ("found", "plot-versions"):
            assert name in by_id[place].text, place
    assert HOSTILE[1] in by_id["rules"].text
    assert HOSTILE[1] in by_id["guard"].text
    assert HOSTILE[1] in by_id["health"].text


# The command


def test_the_command_writes_a_page_and_names_it(tmp_path: Path) -> None:
    folder = made(tmp_path)
    said = inside("report", folder)
    assert (said.code, said.out, said.err) == (0, f"{folder / 'report.html'}\n", "")
    other = tmp_path / "other.html"
    assert inside("report", folder, "--output", other).out == f"{other}\n"
    assert other.read_bytes() == (folder / "report.html").read_bytes()


def test_json_is_the_snapshot_and_no_page(tmp_path: Path) -> None:
    folder = made(tmp_path)
    said = inside("report", folder, "--json")
    assert (said.code, said.json) == (0, json.loads(json.dumps(report.snapshot(folder).as_dict())))
    assert not (folder / "report.html").exists()
    assert inside("report", folder, "--json", "--output", tmp_path / "x").code == 2


def test_a_folder_that_is_no_run_is_a_usage_error(tmp_path: Path) -> None:
    said = inside("report", tmp_path)
    assert (said.code, "is no run of `ostinato learn`" in said.err) == (2, True)


def test_programs_that_are_damaged_are_damage(tmp_path: Path) -> None:
    folder = made(tmp_path)
    (folder / "programs.json").write_text("{", encoding="utf-8")
    assert inside("report", folder).code == 3


def test_without_plotly_there_are_words_and_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path)
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    said = inside("report", folder)
    assert (said.code, said.out) == (2, "")
    assert 'pip install "ostinato[report]"' in said.err
    assert inside("report", folder, "--json").code == 0
    assert "plotly" in complaint(ValueError, report.write, report.snapshot(folder), tmp_path / "x")


def test_a_run_ends_with_the_path_of_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    said = inside("learn", folder, "--attempts", 600, "--builders", 1)
    assert (said.code, f"{folder / 'report.html'} shows the whole run" in said.out) == (0, True)
    assert set(Document((folder / "report.html").read_text(encoding="utf-8")).plots) >= {"plot-time"}
    (folder / "report.html").unlink()
    quiet = inside("learn", folder, "--attempts", 600, "--builders", 1, "--quiet")
    assert (quiet.code, quiet.err, (folder / "report.html").exists()) == (0, "", False)
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    without = inside("learn", folder, "--attempts", 600, "--builders", 1)
    assert (without.code, 'pip install "ostinato[report]"' in without.err) == (0, True)
    assert "goes on" in without.out
