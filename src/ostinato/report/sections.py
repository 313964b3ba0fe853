"""The sections of the page, as HTML, in the order a person wants them.

Rule of this file: pure; whatever comes from data goes through `words.text` or `words.code`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from ostinato.report.plots import VIEWS
from ostinato.report.progress import Program
from ostinato.report.snapshot import Checkpoint, Snapshot
from ostinato.report.words import (
    NOTHING,
    code,
    duration,
    moment,
    number,
    percent,
    signed,
    size,
    text,
)

Heights = Mapping[str, int]  # in pixels, of the plots that there are

_OPEN = 6  # programs whose code is unfolded


def sections(given: Snapshot, drawn: Heights) -> Iterator[tuple[str, str, str]]:
    """(id, title, HTML) of each."""
    yield "goals", "Where it stands", _goals(given)
    yield "progress", "Best so far", _progress(drawn)
    yield "found", "What was found", _found(given)
    yield "versions", "Programs and model versions", _versions(drawn)
    yield "failures", "Why candidates failed", _failures(drawn)
    yield "draws", "Stored and drawn", _draws(given, drawn)
    yield "rules", "Rules learned", _rules(given)
    yield "guard", "Regression guard", _guard(given, drawn)
    yield "health", "Data health", _health(given)


def headline(given: Snapshot) -> str:
    """What a run came to, in one line and six numbers."""
    own, figures = given.metrics, given.metrics["figures"]
    began, ended = given.progress.began, given.progress.ended
    span = None if began is None or ended is None else ended - began
    cards = [
        (f"{number(own['baseline_cycles'])} → {number(own['best_cycles'])}", "cycles, as the compiler writes them and now"),
        (percent(figures["geometric_mean"]["value"]), "cycles saved, geometric mean over programs"),
        (f"{number(own['improved_programs'])} of {number(own['programs'])}", "programs improved"),
        (number(own["attempts"]), "attempts"),
        (percent(figures["validity"]["value"]), "of attempts valid"),
        (duration(span), f"from {moment(began)}"),
    ]  # fmt: skip
    return '<div class="cards">' + "".join(f"<div><b>{a}</b><span>{b}</span></div>" for a, b in cards) + "</div>"  # fmt: skip


def _between(estimate: dict[str, Any]) -> str:
    value, low, high = (estimate[name] for name in ("value", "low", "high"))
    return percent(value) if low is None else f"{percent(value)}, between {percent(low)} and {percent(high)}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """heads: a name with "|" and a class behind it. rows: cells as HTML."""
    names, _, classes = zip(*(head.partition("|") for head in heads), strict=True)
    top = "".join(f'<th class="{c}">{n}</th>' for n, c in zip(names, classes, strict=True))
    body = "".join("<tr>" + "".join(f'<td class="{c}">{cell}</td>' for cell, c in zip(row, classes, strict=True)) + "</tr>" for row in rows)  # fmt: skip
    top = f"<thead><tr>{top}</tr></thead>" if any(names) else ""
    return f'<div class="wide"><table>{top}<tbody>{body}</tbody></table></div>'


def plot(name: str, drawn: Heights, otherwise: str) -> str:
    """Where a plot is drawn, or words where there is none."""
    if name not in drawn:
        return f'<p class="soft">{otherwise}</p>'
    return f'<div class="plot" id="{name}" style="height:{drawn[name]}px"></div>'  # nothing moves when it is drawn


def _goals(given: Snapshot) -> str:
    phase, own = given.metrics["phase"], given.metrics["figures"]
    said = (
        f"Phase A, be correct: until there are 100 valid results; now there are {number(phase['results'])}."
        if phase["name"] == "A"
        else f"Phase B, save cycles: there are {number(phase['results'])} valid results that are no fallbacks."
    )
    rows = []
    for goal in phase["goals"]:
        in_ms = goal["name"].endswith(", ms")
        shown, wanted = ((NOTHING if x is None else f"{x:,.1f} ms") if in_ms else percent(x) for x in (goal["measured"], goal["goal"]))  # fmt: skip
        measured, bound = goal["measured"], goal["goal"]
        met = None if measured is None else measured <= bound if goal["at_most"] else measured >= bound
        rows.append((text(goal["name"]), f"{'≤' if goal['at_most'] else '≥'} {wanted}", shown, _mark(met)))
    active = "none, edits alone or nothing learned yet" if given.active is None else f"version {given.active}"
    working = f"{duration(given.seconds_proposing)} of proposing and {duration(given.seconds_judging)} of judging, all builders together"
    more = [
        ("cycles saved, geometric mean", _between(own["geometric_mean"])),
        ("attempts valid", _between(own["validity"])),
        ("policy at work", active),
        ("builders' time", working),
        ("proposed twice", f"{percent(given.metrics['duplicate_rate'])} of proposals"),
        ("median proposal latency", NOTHING if own["proposal_ms"] is None else f"{own['proposal_ms']:,.1f} ms a beam"),
    ]  # fmt: skip
    facts = table(("|", "|"), [(f'<span class="soft">{a}</span>', b) for a, b in more])
    goals = table(("target", "goal|num", "measured|num", "|"), rows)
    said += " Ranges are 95 % bootstrap intervals over programs."
    return f'<p>{said}</p><div class="pair">{goals}{facts}</div>'


def _mark(met: bool | None) -> str:
    if met is None:
        return '<span class="mark soft">not measured</span>'
    return f'<span class="mark {"good" if met else "bad"}">{"✓ met" if met else "✗ not met"}</span>'


def _progress(drawn: Heights) -> str:
    if "plot-time" not in drawn:
        return '<p class="soft">Nothing has been tried yet.</p>'
    return (
        '<p>Cycles of all programs together, with the best code known at that time.</p><div class="pair">'
        f"{plot('plot-time', drawn, '')}{plot('plot-attempts', drawn, '')}</div>"
        "<p>And a line for each program; coloured by family where several programs share one.</p>"
        f"{plot('plot-programs', drawn, '')}"
    )


def _found(given: Snapshot) -> str:
    better = [one for one in given.programs if one.after < one.before]
    same = [one for one in given.programs if one.after >= one.before]
    better.sort(key=lambda one: (one.left, -one.before, one.name))
    said = (
        "<p>These are the builders' verdicts. "
        f"<code>ostinato best {text(given.folder)}</code> judges the code again on other inputs before it prints it.</p>"
    )
    if not better:
        said += '<p class="soft">No better code has been found yet.</p>'
    shown = "".join(_program(one, k < _OPEN) for k, one in enumerate(better))
    said += f'<div class="programs">{shown}</div>'
    if same:
        names = "".join(f"<li>{text(one.name)} <span class='soft'>{number(one.before)}</span></li>" for one in same)  # fmt: skip
        said += f'<details><summary>{number(len(same))} programs without a gain, and their cycles</summary><ul class="names">{names}</ul></details>'
    return said


def _program(one: Program, unfolded: bool) -> str:
    gain = f"{number(one.before)} → <b>{number(one.after)}</b> cycles, {percent(1 - one.left, 0)} saved"
    tried = f"{number(one.attempts)} attempts, {percent(one.validity)} of them valid, {percent(one.fallback_rate)} of beams fell back"
    return (
        f"<details{' open' if unfolded else ''}><summary><b>{text(one.name)}</b><span class='num'>{gain}</span></summary>"
        f"<p class='soft'>{tried}</p>{_diff(one.baseline, one.best)}</details>"
    )


def _diff(before: Sequence[str], after: Sequence[str]) -> str:
    """Side by side, a row for an instruction."""
    rows = []
    for _, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        same = before[a:b] == after[c:d]
        for k in range(max(b - a, d - c)):
            left = text(before[a + k]) if a + k < b else ""
            right = text(after[c + k]) if c + k < d else ""
            if not same:
                left, right = left and f"<del>{left}</del>", right and f"<ins>{right}</ins>"
            rows.append(f"<tr><td>{left}</td><td>{right}</td></tr>")
    if not after:  # code of no cycles
        rows[0] = rows[0].replace("<td></td>", '<td class="soft">(nothing)</td>')
    head = "<thead><tr><th>as the compiler writes it</th><th>best found</th></tr></thead>"
    return f'<div class="wide"><table class="diff code">{head}<tbody>{"".join(rows)}</tbody></table></div>'


def _versions(drawn: Heights) -> str:
    if "plot-versions" not in drawn:
        return '<p class="soft">Nothing has been tried yet.</p>'
    buttons = "".join(f'<button type="button" aria-pressed="{str(k == 0).lower()}">{name}</button>' for k, (name, _, _) in enumerate(VIEWS))  # fmt: skip
    return (
        "<p>What each model version made of each program, by family. Cycles saved: by the best code that this version found itself. "
        "Version 0 has learned nothing; where a version did not try a program, there is a gap; of many versions, neighbours share a column.</p>"
        f'<div class="switch" data-plot="plot-versions">{buttons}</div><div class="tall">{plot("plot-versions", drawn, "")}</div>'
    )


def _failures(drawn: Heights) -> str:
    return (
        "<p>Shares of the failed candidates that were kept: one of a beam in ten, so a thinned sample, not all attempts.</p>"
        + plot("plot-failures", drawn, "No failed candidate has been kept yet.")
    )


def _draws(given: Snapshot, drawn: Heights) -> str:
    own = given.draws
    if own is None:
        return '<p class="soft">There is nothing to draw from yet.</p>'
    return (
        f"<p>What the store holds ({number(own.stored)} records) beside what a replay buffer draws from it: {number(own.drawn)} draws, "
        f"{number(own.distinct)} different records, by the learner's sampler, <code>{text(own.sampler)}</code>, with seed {own.seed}. "
        "Drawn now, for this page, with the priorities that records begin with: past draws, and priorities that the learner has changed, are not kept.</p>"
        f'<div class="pair">{plot("plot-ages", drawn, "")}{plot("plot-priorities", drawn, "")}</div>'
    )


def _rules(given: Snapshot) -> str:
    if not given.rules:
        return '<p class="soft">No policy that has learned rules is at work.</p>'
    shown = f", of which these {number(len(given.rules))} come first" if len(given.rules) < given.rules_known else ""  # fmt: skip
    rows = []
    for rule in given.rules:
        names = sorted(rule["seen"], key=lambda name: (-rule["seen"][name], name))
        where = ", ".join(text(name) for name in names[:2])
        where += f' <span class="soft" title="{text(", ".join(names[2:40]))}">+{len(names) - 2}</span>' if len(names) > 2 else ""  # fmt: skip
        varies = f"any {text(', '.join(rule['varies']))}" if rule["varies"] else "yes"
        rows.append(
            (
                number(rule["saved"]),
                varies if rule["general"] else '<span class="soft">no</span>',
                f"{number(rule['successes'])} / {number(rule['failures'])}"
                if rule["successes"] + rule["failures"]
                else NOTHING,
                where or NOTHING,
                code(rule["before"]),
                code(rule["after"]),
            )
        )
    heads = ("saves|num", "general", "right / wrong|num", "seen in", "before|code", "after|code")
    return (
        f"<p>The policy at work, version {given.active}, knows {number(given.rules_known)} rules, {number(given.rules_general)} of them right "
        f"wherever they stand{shown}. Those that are general, and seen most often, come first.</p>{table(heads, rows)}"
    )


def _guard(given: Snapshot, drawn: Heights) -> str:
    if not given.checkpoints:
        return (
            '<p class="soft">The learner has made no checkpoint yet, or random edits were at work alone.</p>'
        )
    heads = ("version|num", "parent|num", "", "records|num", "rules|num", "validity|num", "gain|num", "what the guard said|reason", "when")  # fmt: skip
    rows = [_checkpoint(one) for one in reversed(given.checkpoints)]
    rejected = sum(one.activated is False for one in given.checkpoints)
    return (
        f"<p>{number(len(given.checkpoints))} checkpoints, {number(rejected)} of them rejected. Each was compared with the policy before it on programs "
        "that nothing is learned from: validity may fall by two points at most, and from phase B on cycles must not be significantly worse.</p>"
        f"{plot('plot-guard', drawn, '')}{table(heads, rows)}"
    )


def _checkpoint(one: Checkpoint) -> tuple[str, ...]:
    state = "active" if one.active else "" if one.activated else "rejected"
    kind = {"active": "good", "rejected": "bad"}.get(state, "")
    return (
        str(one.version), number(one.parent), f'<span class="mark {kind}">{state}</span>', number(one.records), number(one.rules),
        percent(one.validity), signed(one.gain), text(one.reason), moment(one.recorded_at),
    )  # fmt: skip


def _health(given: Snapshot) -> str:
    own = given.health
    if own is None:
        return '<p class="soft">There is no store yet.</p>'
    lost = own.torn + own.damaged
    conflicts = f"{number(own.conflicts)} or more" if own.conflicts >= 1000 else number(own.conflicts)
    rows = [
        ("records kept", f"{number(own.records)}, {size(own.bytes)}; {number(given.metrics['records'])} were counted in all"),
        ("of them invalid, fallbacks", f"{percent(own.invalid)}, {percent(own.fallback)}; of what is kept, which is no fair sample of attempts"),
        ("files", f"{number(own.segments)} segments, {number(own.journals)} journals; {number(own.unsealed)} records are not sealed"),
        ("oldest, newest", f"{moment(own.oldest)}, {moment(own.newest)}"),
        ("lost", f'<span class="{"bad" if lost else ""}">{number(own.torn)} torn tails, {number(own.damaged)} damaged frames or records</span>; {number(own.repeated)} repeated frames'),
        ("verdicts that contradict each other", conflicts),
        ("corrected, put aside", f"{number(own.amended)} records, {number(own.aside)} files"),
    ]  # fmt: skip
    said = f"<p>What finding the records shows; <code>ostinato check {text(given.folder)}/store</code> reads every byte.</p>"
    said += table(("|", "|"), [(f'<span class="soft">{a}</span>', b) for a, b in rows])
    said += "".join(f'<p class="problem">{text(one)}</p>' for one in given.problems)
    if own.contexts:
        writers = [
            (f"{one['journal']:06}", "alive" if one["alive"] else "gone", number(one["records"]), text(", ".join(f"{k}={v}" for k, v in one["context"].items())))
            for one in own.contexts[:40]
        ]  # fmt: skip
        said += "<p>Writers whose journals are not sealed:</p>"
        said += table(("journal|num", "", "records|num", "context"), writers)
    return said
