"""The report's section on the fixed panel: curves with bands, numbers, changes, what they tell."""

import math
from collections.abc import Sequence

import numpy as np

from steadytrain.board.blocks import Block, Item, Items, Pictures, Table, Text
from steadytrain.board.charts import Line, chart
from steadytrain.events import AttemptBegan, Event, PanelRecord, RunBegan, RunEnded
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
from steadytrain.stats.forecast import Curve
from steadytrain.stats.student import two_sided
from steadytrain.stories import Story, story_lines

LAST = 8
"""Looks in the table that stands for the curves."""

AHEAD = 0.2
"""Steps that are foretold, as a share of those that were made. Source: guess."""

MOST_CURVES = 8
"""Domains in one chart; of more, the nodes above them are drawn."""


def panel_section(events: Sequence[Event], words: dict[str, str], lang: str) -> list[Block]:
    """Curves with bands and forecast, numbers, changes, stories; one sentence without a panel."""
    looks = gather(events)
    if not looks.records:
        return [Text(words["no_panel"])]
    found = view(looks)
    drawn = looks.panel(found.record.version)
    said = [title_words(found, lang), *([drawn_words(drawn, lang)] if drawn else [])]
    mark = "\uff1b" if lang == "zh" else "; "
    foretold = _foretold(found, _last_step(events))
    lines = [*_curves(found), *foretold]
    parts: list[Block] = [
        Text(mark.join(said), "small"),
        Pictures([chart(words["perplexity"], lines, log=True)], _by_step(found, lang)),
        *([Text(words["foretold"], "small")] if foretold else []),
        _numbers(found, lang),
    ]
    if found.against is not None or found.before is not None:
        parts.append(_changes(found, lang))
    if looks.stories:
        parts.append(Items([_story(one, lang) for one in looks.stories]))
    return [*parts, *[Text(one, "note") for one in remarks(found, lang)]]


def _story(story: Story, lang: str) -> Item:
    first, *more = story_lines(story, lang=lang)
    return Item(first, more=[Item(one) for one in more])


def _last_step(events: Sequence[Event]) -> int | None:
    """The last one that the run will make, as far as is known: 0 if it has ended."""
    steps, has_ended = None, False
    for event in events:
        match event:
            case RunBegan():
                steps = event.steps
            case RunEnded():
                has_ended = True
            case AttemptBegan():
                has_ended = False
    return 0 if has_ended else steps


def _foretold(found: View, end: int | None) -> list[Line]:
    """Where the domains' curves lead, no further than to `end`, with the 95 % band of one look."""
    drawn = [one for one in _drawn(found) if one.node.is_leaf]
    places = [one.node.leaves[0] for one in drawn]
    past = [look for look in found.past if all(_is_fit(look, place) for place in places)]
    if not past or not places:
        return []
    steps = [look.step for look in past]
    losses = [[look.nll[place] / look.tokens[place] for place in places] for look in past]
    line = Curve().fit(steps, losses)
    if line is None:
        return []
    last = steps[-1]
    most = last + round(AHEAD * last) if end is None else min(end, last + round(AHEAD * last))
    if most <= last:
        return []
    ahead = [last + round(part * (most - last)) for part in (0.0, 0.25, 0.5, 0.75, 1.0)]
    forecasts = [line.at(step) for step in ahead]
    lines = []
    for at in range(len(places)):
        middle = np.array([one.loss[at] for one in forecasts])
        half = np.array([two_sided(round(one.freedom[at])) * one.error[at] for one in forecasts])
        lines.append(
            Line(
                name="", x=np.array(ahead, dtype=np.float64), y=np.exp(middle), colour=at,
                faint=True, band=(np.exp(middle - half), np.exp(middle + half)),
            )
        )  # fmt: skip
    return lines


def _is_fit(look: PanelRecord, place: int) -> bool:
    return bool(look.tokens[place]) and math.isfinite(look.nll[place])


def _by_step(found: View, lang: str) -> Table:
    """The curve as numbers: the newest looks."""
    heads = HEADS[lang]
    last = found.past[-LAST:]
    rows: list[list[str]] = [[heads["looks"], *(str(one.step) for one in last)]]
    for one in found.readings:
        if one.interval is not None:
            values = series(found, one.node)[-LAST:]
            rows.append(
                [
                    _name(one),
                    *(
                        figure(there.perplexity, lang) if there else heads["gap"]
                        for there in values
                    ),
                ]
            )
    return Table(rows, has_numbers=True)


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


def _numbers(found: View, lang: str) -> Table:
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
    return Table(rows, has_numbers=True)


def _changes(found: View, lang: str) -> Table:
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
    return Table(rows, has_numbers=True)


def _name(one: Reading) -> str:
    return "\u2003" * one.node.depth + one.node.label
