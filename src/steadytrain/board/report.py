"""A run's report as one HTML file that opens without a network, in English or Chinese."""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from steadytrain import journal
from steadytrain.board.charts import Flag, Line, chart
from steadytrain.board.page import PAGE, WORDS
from steadytrain.board.perplexity import panel_section
from steadytrain.board.persons import persons_section
from steadytrain.board.remedies import remedy_table
from steadytrain.board.series import Run, collect
from steadytrain.errors import JournalError
from steadytrain.events import (
    Alarm,
    AttemptBegan,
    BatchExamined,
    CheckpointSaved,
    Diagnosis,
    Event,
    Incident,
    Outcome,
    Remedy,
    RemedyDone,
    RunBegan,
    RunEnded,
    StepRecord,
)
from steadytrain.phrases import cause_words, phrase, plan_words
from steadytrain.sayings import say, translated
from steadytrain.wording import sentence


def write_report(home: Path, out: Path | None = None, *, lang: str = "en") -> Path:
    """Write the report of a run, finished or not; returns the file.

    Raises:
        JournalError: the home holds no run.
    """
    home = Path(home)
    events = journal.load(home, "rank0")
    began = next((event for event in events if isinstance(event, RunBegan)), None)
    if began is None:
        raise JournalError(
            f"{home} holds no journal of a run, so there is nothing to report. "
            "Give the folder that the run was started with, such as runs/r1."
        )
    path = out or home / "report.html"
    path.write_text(_page(home, events, began, lang), encoding="utf-8")
    return path


def _page(home: Path, events: Sequence[Event], began: RunBegan, lang: str) -> str:
    words = WORDS[lang]
    run = collect(events, began.domains)
    incidents = [one for one in events if isinstance(one, Incident) and one.change == "opened"]
    parts = [
        f"<h1>{escape(began.run)}</h1>",
        f'<p class="verdict">{escape(_verdict(events, incidents, words))}</p>',
        _facts(events, began, run, lang),
        f"<h2>{words['incidents']}</h2>",
        _incident_table(events, incidents, lang),
        f"<h2>{words['curves']}</h2>",
        *_curves(run, began, incidents, words),
        f"<h2>{words['panel']}</h2>",
        *panel_section(events, words, lang),
        persons_section(home, events, lang),
        *[_story(home, events, one, began, lang) for one in incidents],
        f"<h2>{words['processes']}</h2>",
        _processes(home, events, lang),
    ]
    return (
        PAGE.replace("LANG", lang)
        .replace("TITLE", escape(began.run))
        .replace("BODY", "\n".join(parts))
    )


def _verdict(events: Sequence[Event], incidents: list[Incident], words: dict[str, str]) -> str:
    cured = {one.incident for one in events if isinstance(one, Outcome) and one.result == "cured"}
    ended = any(isinstance(one, RunEnded) for one in events)
    newest = max((one.step for one in events if isinstance(one, StepRecord)), default=0)
    state = words["ended"] if ended else words["going"]
    return words["verdict"].format(state=state, step=newest, count=len(incidents), cured=len(cured))


def _facts(events: Sequence[Event], began: RunBegan, run: Run, lang: str) -> str:
    words = WORDS[lang]
    attempts = [one for one in events if isinstance(one, AttemptBegan)]
    saved = [one for one in events if isinstance(one, CheckpointSaved)]
    rows = {
        words["domains"]: ", ".join(began.domains),
        words["parameters"]: f"{began.parameters:,}",
        words["steps"]: f"{int(run.steps.max(initial=0)):,} / {began.steps or '?'}",
        words["redone"]: f"{int((~run.kept).sum()):,}",
        words["held"]: f"{int((~run.committed).sum()):,}",
        words["attempts"]: ", ".join(
            f"{one.attempt} {phrase(one.cause, lang)}" for one in attempts
        ),
        words["checkpoints"]: f"{len(saved)}",
        words["versions"]: ", ".join(f"{k} {v}" for k, v in began.versions.items()),
    }
    cells = "".join(f"<dt>{k}</dt><dd>{escape(str(v))}</dd>" for k, v in rows.items())
    return f"<dl>{cells}</dl>"


def _incident_table(events: Sequence[Event], incidents: list[Incident], lang: str) -> str:
    words = WORDS[lang]
    if not incidents:
        return f"<p>{words['quiet']}</p>"
    rows = []
    for number, one in enumerate(incidents, start=1):
        cause = next(
            (e.causes[0] for e in events if isinstance(e, Diagnosis) and e.incident == one.id), None
        )
        remedies = [e for e in events if isinstance(e, Remedy) and e.incident == one.id]
        outcomes = [e for e in events if isinstance(e, Outcome) and e.incident == one.id]
        result = outcomes[-1].result if outcomes else ""
        cells = (
            f'<a href="#{escape(one.id)}">{number}</a>',
            str(one.step),
            escape(", ".join(phrase(name, lang) for name in one.signals)),
            escape(f"{cause_words(cause, lang)}, {cause.confidence:.0%}" if cause else ""),
            escape("; ".join(plan_words(remedy.plan, lang) for remedy in remedies)),
            f'<b class="{"good" if result == "cured" else "bad"}">{phrase(result, lang)}</b>',
        )
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    heads = (
        "#",
        words["step"],
        words["signals"],
        words["cause"],
        words["remedy"],
        words["outcome"],
    )
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


def _curves(
    run: Run, began: RunBegan, incidents: list[Incident], words: dict[str, str]
) -> list[str]:
    if not run.steps.size:
        return [f"<p>{words['empty']}</p>"]
    flags = [
        Flag(x=one.onset, label=str(number), anchor=one.id)
        for number, one in enumerate(incidents, start=1)
    ]
    strange = ~run.committed | ~np.isfinite(run.series["loss"]) | _infinite(run.series["grad_norm"])
    alarms = np.unique(run.steps[strange]).astype(np.float64)
    last = float(run.steps.max())

    def draw(title: str, names: Sequence[tuple[str, str]], *, log: bool = False) -> str:
        lines = []
        for index, (name, label) in enumerate(names):
            values = run.series[name]
            if np.isnan(values).all():
                continue
            lines += _branches(run, values, label, index)
        return chart(title, lines, flags=flags, alarms=alarms, log=log, last_step=last)

    found = [draw(words["loss"], [(f"loss:{name}", name) for name in began.domains])]
    found += [draw(f"{words['loss']}: {name}", [(f"loss:{name}", name)]) for name in began.domains]
    found += [
        draw(words["grad"], [("grad_norm", "")], log=True),
        draw(words["lr"], [("lr", words["used"]), ("lr_planned", words["planned"])], log=True),
        draw(words["update"], [("update", "")], log=True),
        draw(words["speed"], [("tokens/s", "")]),
    ]
    return ['<div class="charts">', *found, "</div>", f'<p class="small">{words["legend"]}</p>']


def _branches(run: Run, values: Any, label: str, colour: int) -> list[Line]:
    """The surviving curve, and each abandoned stretch as a faint one."""
    lines = []
    given_up = np.flatnonzero(~run.kept)
    for stretch in np.split(given_up, np.flatnonzero(np.diff(given_up) > 1) + 1):
        if stretch.size:
            lines.append(
                Line(
                    name="",
                    x=run.steps[stretch].astype(float),
                    y=values[stretch],
                    colour=colour,
                    faint=True,
                )
            )
    order = np.argsort(run.steps[run.kept], kind="stable")
    x = run.steps[run.kept][order].astype(float)
    return [*lines, Line(name=label, x=x, y=values[run.kept][order], colour=colour)]


def _story(
    home: Path, events: Sequence[Event], incident: Incident, began: RunBegan, lang: str
) -> str:
    parts = [f'<section id="{escape(incident.id)}"><h2>{escape(incident.id)}</h2><ol>']
    examined: list[BatchExamined] = []
    remedies: set[str] = set()
    for event in events:
        is_own = getattr(event, "incident", None) == incident.id
        is_own = is_own or (isinstance(event, Incident) and event.id == incident.id)
        is_own = is_own or (isinstance(event, RemedyDone) and event.remedy in remedies)
        is_own = is_own or (
            isinstance(event, Alarm)
            and event.attempt == incident.attempt
            and incident.onset <= event.step <= incident.step + 3
        )
        if not is_own:
            continue
        if isinstance(event, BatchExamined):
            examined.append(event)
            continue
        if isinstance(event, Remedy):
            remedies.add(event.id)
        words_now = sentence(event, lang=lang)
        if words_now is None:
            continue
        parts.append(f"<li>{escape(words_now)}")
        if isinstance(event, Diagnosis):
            parts.append(_causes(event, lang))
        parts.append("</li>")
    parts.append("</ol>")
    parts.append(remedy_table(events, incident.id, began.domains, lang))
    parts += [_evidence(home, one, began, lang) for one in examined]
    return "".join([*parts, "</section>"])


def _causes(diagnosis: Diagnosis, lang: str) -> str:
    words = WORDS[lang]
    rows = []
    for cause in translated(diagnosis, lang).causes:
        support = "".join(f'<li class="for">{escape(one)}</li>' for one in cause.evidence)
        against = "".join(f'<li class="against">{escape(one)}</li>' for one in cause.against)
        refuted = (
            f"<p>{words['refuted']}: {escape(cause.refuted_by)}</p>" if cause.refuted_by else ""
        )
        rows.append(
            f"<div class='cause'><b>{escape(cause_words(cause, lang))}, {cause.confidence:.0%}</b>"
            f"<ul>{support}{against}</ul>{refuted}</div>"
        )
    return "".join(rows)


def _evidence(home: Path, seen: BatchExamined, began: RunBegan, lang: str) -> str:
    words = WORDS[lang]
    numbers = [
        (words["suspect"], seen.suspect_before, seen.suspect_now),
        (words["control"], seen.control_before, seen.control_now),
    ]
    rows = "".join(
        f"<tr><td>{name}</td><td>{_number(before)}</td><td>{_number(now)}</td></tr>"
        for name, before, now in numbers
    )
    head = (
        f"<th></th><th>{words['before'].format(step=seen.before_step)}</th><th>{words['now']}</th>"
    )
    table = f'<table class="numbers"><tr>{head}</tr>{rows}</table>'
    texts = "".join(_sequence(one, lang) for one in _texts(home, seen))
    return f"<h3>{words['evidence']}</h3>{table}<div class='texts'>{texts}</div>"


def _texts(home: Path, seen: BatchExamined) -> list[dict[str, Any]]:
    path = home / seen.path if seen.path else None
    if path is None or not path.exists():
        return []
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _sequence(one: dict[str, Any], lang: str) -> str:
    words = WORDS[lang]
    head = words["sequence"].format(
        role=words[one["role"]],
        draw=one["draw"],
        domain=one["domain"],
        step=one["step"],
        loss=one["loss"],
        z=one["z"],
        verdict=phrase(one.get("defect") or one["verdict"], lang),
        evidence=say(one["evidence"], lang),
    )
    kind = "corrupt" if one["verdict"] == "corrupt" else "clean"
    return (
        f"<figure class='{kind}'><figcaption>{escape(head)}<br><small>{escape(one['source'])}"
        f"</small></figcaption><pre>{visible(one['text'])}</pre></figure>"
    )


def visible(text: str) -> str:
    """Text from training data as harmless HTML: markup escaped, invisible characters shown."""
    shown = []
    for char in text:
        if char == "\n":
            shown.append("<i>&#x23ce;</i>\n")
        elif char == "\t":
            shown.append("<i>&#x2192;</i>\t")
        elif not char.isprintable() or char == "\ufffd":
            shown.append(f"<i>\\u{ord(char):04x}</i>")
        else:
            shown.append(escape(char))
    return "".join(shown)


def _processes(home: Path, events: Sequence[Event], lang: str) -> str:
    told = []
    if journal.files(home, "supervisor"):
        told += [(line.at, line.event) for line in journal.lines(home, "supervisor")]
    kinds = ("CheckpointRefused", "CheckpointFailed", "AttemptBegan", "JudgingEnded")
    told += [
        (line.at, line.event)
        for line in journal.lines(home, "rank0")
        if type(line.event).__name__ in kinds
    ]
    rows = [
        f"<li>{escape(words)}</li>"
        for _, event in sorted(told, key=lambda pair: pair[0])
        if (words := sentence(event, lang=lang)) is not None
    ]
    return f"<ol>{''.join(rows)}</ol>" if rows else f"<p>{WORDS[lang]['no_exits']}</p>"


def _infinite(values: Any) -> Any:
    return np.isinf(values)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
