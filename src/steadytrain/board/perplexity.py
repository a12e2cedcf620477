"""The report's section on the fixed panel: curves with bands, numbers, changes, what they tell."""

from collections.abc import Sequence
from html import escape

import numpy as np

from steadytrain.board.charts import Line, chart
from steadytrain.events import Event
from steadytrain.panel_words import (
    HEADS,
    change_words,
    drawn_words,
    figure,
    interval_words,
    percent,
    remarks,
    title_words,
)
from steadytrain.perplexity import Reading, View, gather, series, view, view_of
from steadytrain.sayings import say
from steadytrain.stories import Story, story_lines

MOST_CURVES = 8
"""Domains in one chart; of more, the nodes above them are drawn."""


def panel_section(events: Sequence[Event], words: dict[str, str], lang: str) -> list[str]:
    """Paragraphs of HTML; one sentence for a run without a panel."""
    looks = gather(events)
    if not looks.records:
        return [f"<p>{words['no_panel']}</p>"]
    found = view(looks)
    drawn = looks.panel(found.record.version)
    said = [title_words(found, lang), *([drawn_words(drawn, lang)] if drawn else [])]
    mark = "\uff1b" if lang == "zh" else "; "
    parts = [
        f'<p class="small">{escape(mark.join(said))}</p>',
        chart(words["perplexity"], _curves(found), log=True),
        _numbers(found, lang),
    ]
    if found.against is not None or found.before is not None:
        parts.append(_changes(found, lang))
    if looks.stories:
        parts.append("<ol>" + "".join(_story(one, lang) for one in looks.stories) + "</ol>")
    if looks.advice:
        parts.append(f'<p class="small">{escape(say(looks.advice, lang))}</p>')
    return [*parts, *[f'<p class="note">{escape(one)}</p>' for one in remarks(found, lang)]]


def _story(story: Story, lang: str) -> str:
    first, *more = story_lines(story, lang=lang)
    rest = "".join(f'<br><span class="small">{escape(one)}</span>' for one in more)
    return f"<li>{escape(first)}{rest}</li>"


def _curves(found: View) -> list[Line]:
    """Perplexity over steps with its interval; looks at an older version are faint."""
    lines = []
    for number in sorted({one.version for one in found.looks.records}):
        past = found.looks.version(number)
        is_present = number == found.record.version
        there = found if is_present else view_of(found.looks, past[-1], None)
        for colour, one in enumerate(_drawn(there)):
            lines += _line(there, one, colour, faint=not is_present)
    return lines


def _drawn(found: View) -> list[Reading]:
    """The domains, or the nodes nearest to the top where there are too many."""
    leaves = [one for one in found.readings if one.node.is_leaf and one.interval is not None]
    if len(leaves) <= MOST_CURVES:
        return leaves
    return [one for one in found.readings if one.node.depth <= 1 and one.interval is not None]


def _line(found: View, one: Reading, colour: int, *, faint: bool) -> list[Line]:
    known = [
        (look.step, there)
        for look, there in zip(found.past, series(found, one.node), strict=True)
        if there is not None and np.isfinite(there.perplexity_high) and np.isfinite(there.loss)
    ]
    if not known:
        return []
    return [
        Line(
            name="" if faint else one.node.label,
            x=np.array([step for step, _ in known], dtype=np.float64),
            y=np.array([there.perplexity for _, there in known]),
            colour=colour,
            faint=faint,
            band=(
                np.array([there.perplexity_low for _, there in known]),
                np.array([there.perplexity_high for _, there in known]),
            ),
        )
    ]


def _numbers(found: View, lang: str) -> str:
    heads = HEADS[lang]
    names = ("domain", "sequences", "loss", "perplexity", "interval", "macro", "bits", "training")
    rows = [[heads[name] for name in names]]
    for one in found.readings:
        trained = f"{one.training.loss:.4f}" if one.training else heads["gap"]
        if one.interval is None:
            rows.append([_name(one), "0", *[heads["gap"]] * 5, trained])
            continue
        rows.append(
            [
                _name(one),
                str(one.interval.sequences),
                f"{one.interval.loss:.4f}",
                figure(one.interval.perplexity, lang),
                interval_words(one.interval, lang),
                figure(one.macro.perplexity, lang) if one.macro else "",
                f"{one.bits:.4f}" if one.bits is not None else heads["gap"],
                trained,
            ]
        )
    return _table(rows)


def _changes(found: View, lang: str) -> str:
    heads = HEADS[lang]
    rows = [[heads["domain"]]]
    if found.against is not None:
        rows[0].append(heads["since"].format(step=found.against.step))
    if found.before is not None:
        rows[0] += [heads["before"].format(step=found.before.step), heads["finds"], heads["jitter"]]
    for one in found.readings:
        if one.interval is None:
            continue
        row = [_name(one)]
        if found.against is not None:
            row.append(change_words(one.since, lang))
        if found.before is not None:
            finds = percent(one.last.detectable)[1:] if one.last else ""
            size = percent(one.jitter)[1:] if one.knows_jitter else "?"
            row += [change_words(one.last, lang), finds, size]
        rows.append(row)
    return _table(rows)


def _name(one: Reading) -> str:
    return "\u2003" * one.node.depth + one.node.label


def _table(rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:]
    )
    return f'<div class="wide"><table class="numbers"><tr>{head}</tr>{body}</table></div>'
