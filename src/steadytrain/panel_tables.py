"""A look at the panel as text for a terminal, and as JSON."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from steadytrain.events import PanelRecord
from steadytrain.panel_words import (
    HEADS,
    change_words,
    drawn_words,
    figure,
    interval_words,
    percent,
    remarks,
    story_words,
    title_words,
)
from steadytrain.perplexity import Reading, View, series
from steadytrain.sayings import say
from steadytrain.stats.paired import Change, Interval
from steadytrain.stories import Story
from steadytrain.widths import padded, width

LAST = 8
"""Looks that the table by step shows."""

SHOWN = 1e-4
"""Losses are shown so finely. [nats/token]"""


def shown(found: View, lang: str, *, said: Sequence[str] = ()) -> str:
    """A view as text for a terminal."""
    lines = [title_words(found, lang)]
    drawn = found.looks.panel(found.record.version)
    if drawn is not None:
        lines.append(drawn_words(drawn, lang))
    lines += ["", *_numbers(found, lang)]
    if found.against is not None or found.before is not None:
        lines += ["", *_changes(found, lang)]
    if len(found.past) > 1:
        lines += ["", *_by_step(found, lang)]
    stories = story_words(found.looks, lang)
    sentences = [*said, *remarks(found, lang)]
    lines += [*([""] if stories else []), *stories]
    return "\n".join([*lines, *([""] if sentences else []), *sentences])


def plain(found: View) -> dict[str, Any]:
    """A view as JSON can hold it; None where a number is not finite, and `state` says so."""
    looks, record = found.looks, found.record
    drawn = looks.panel(record.version)
    return {
        "run": looks.run,
        "step": record.step,
        "attempt": record.attempt,
        "why": record.why,
        "version": record.version,
        "panel": drawn.digest if drawn else None,
        "against": found.against.step if found.against else None,
        "before": found.before.step if found.before else None,
        "domains": [_plain_reading(one) for one in found.readings],
        "looks": [one.step for one in found.past],
        "given_up": looks.given_up,
        "remarks": list(remarks(found, "en")),
        "trends": [_plain_story(one) for one in looks.stories],
        "advice": looks.advice,
        "record": _plain_record(record),
    }


def _plain_story(one: Story) -> dict[str, Any]:
    ended = None if one.ended is None else msgspec.to_builtins(one.ended)
    return {"state": one.state, "said": msgspec.to_builtins(one.said), "ended": ended}


def _plain_reading(one: Reading) -> dict[str, Any]:
    return {
        "domain": one.node.name,
        "leaf": one.node.is_leaf,
        "state": one.state,
        "micro": _plain_interval(one.interval),
        "macro": _plain_interval(one.macro),
        "bits_per_byte": _number(one.bits),
        "bits_low": _number(one.bits_low),
        "bits_high": _number(one.bits_high),
        "training": _plain_interval(one.training),
        "since": _plain_change(one.since),
        "last": _plain_change(one.last),
        "jitter": one.jitter,
        "knows_jitter": one.knows_jitter,
        "needed": one.interval.needed() if one.interval else None,
    }


def _plain_interval(found: Interval | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "loss": _number(found.loss),
        "error": _number(found.error),
        "perplexity": _number(found.perplexity),
        "low": _number(found.perplexity_low),
        "high": _number(found.perplexity_high),
        "sequences": found.sequences,
    }


def _plain_change(moved: Change | None) -> dict[str, Any] | None:
    if moved is None:
        return None
    return {
        "nats": _number(moved.mean),
        "error": _number(moved.error),
        "low": _number(moved.low),
        "high": _number(moved.high),
        "percent": _number(100 * moved.share),
        "told": moved.is_told,
        "would_find_nats": _number(moved.detectable),
        "needed_for_2_percent": moved.needed(0.02),
        "limited_by_jitter": moved.is_limited_by_jitter,
    }


def _plain_record(record: PanelRecord) -> dict[str, Any]:
    return {
        "nll": [_number(one) for one in record.nll],
        "tokens": list(record.tokens),
        "bytes": list(record.bytes),
        "losses": [[_number(one) for one in losses] for losses in record.losses],
        "seconds": record.seconds,
    }


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _numbers(found: View, lang: str) -> list[str]:
    words = HEADS[lang]
    heads = ("domain", "sequences", "loss", "perplexity", "interval", "bits", "training")
    rows = [[words[name] for name in heads]]
    for one in found.readings:
        name = f"{'  ' * one.node.depth}{one.node.label}"
        if one.interval is None:
            rows.append([name, "0", *[words["gap"]] * 4, _loss(one.training)])
            continue
        rows.append(
            [
                name,
                str(one.interval.sequences),
                f"{one.interval.loss:.4f}",
                figure(one.interval.perplexity, lang),
                interval_words(one.interval, lang),
                words["gap"] if one.bits is None else f"{one.bits:.4f}",
                _loss(one.training),
            ]
        )
        if one.macro is not None and disagrees(one):
            rows.append(
                [
                    f"{'  ' * one.node.depth}  ({words['macro']})",
                    "",
                    f"{one.macro.loss:.4f}",
                    figure(one.macro.perplexity, lang),
                    interval_words(one.macro, lang),
                    "",
                    "",
                ]
            )
    if not any(one.training for one in found.readings):
        rows = [row[:-1] for row in rows]
    return table(rows)


def _changes(found: View, lang: str) -> list[str]:
    """Changes against two looks; one column where they are the same."""
    words = HEADS[lang]
    heads = [words["domain"]]
    is_two = found.against is not None and found.against != found.before
    if found.against is not None and is_two:
        is_run = bool(found.past)
        name = (
            words["since"].format(step=found.against.step)
            if is_run
            else say(found.against.why, lang)
        )
        heads.append(name)
    if found.before is not None:
        heads += [words["before"].format(step=found.before.step), words["finds"], words["jitter"]]
    rows = [heads]
    for one in found.readings:
        if one.interval is None:
            continue
        row = [f"{'  ' * one.node.depth}{one.node.label}"]
        if is_two:
            row.append(change_words(one.since, lang))
        if found.before is not None:
            finds = percent(one.last.detectable)[1:] if one.last else ""
            size = percent(one.jitter)[1:] if one.knows_jitter else "?"
            row += [change_words(one.last, lang), finds, size]
        rows.append(row)
    return table(rows)


def _by_step(found: View, lang: str) -> list[str]:
    words, shown_ = HEADS[lang], found.past[-LAST:]
    rows = [[words["looks"], *[str(one.step) for one in shown_]]]
    for one in found.readings:
        if one.interval is not None:
            values = series(found, one.node)[-LAST:]
            rows.append(
                [
                    f"{'  ' * one.node.depth}{one.node.label}",
                    *[
                        figure(there.perplexity, lang) if there else words["gap"]
                        for there in values
                    ],
                ]
            )
    return table(rows)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns lined up, the first to the left and the others to the right."""
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        first = padded(row[0], widths[0])
        rest = [
            " " * (most - width(cell)) + cell
            for most, cell in zip(widths[1:], row[1:], strict=True)
        ]
        lines.append("  ".join([first, *rest]).rstrip())
    return lines


def disagrees(one: Reading) -> bool:
    """Whether the macro average is another number than the micro average, as they are shown."""
    if one.interval is None or one.macro is None:
        return False
    return not abs(one.interval.loss - one.macro.loss) < SHOWN / 2


def _loss(found: Interval | None) -> str:
    return "-" if found is None else f"{found.loss:.4f}"
