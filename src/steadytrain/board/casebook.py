"""The incidents of a report: a table of them, and the story of each with its evidence."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steadytrain.board.blocks import Block, Cell, Heading, Item, Items, Quote, Table, Text, Tone
from steadytrain.board.page import WORDS
from steadytrain.board.record import Record
from steadytrain.board.remedies import remedy_table
from steadytrain.events import (
    Alarm,
    BatchExamined,
    Cause,
    Diagnosis,
    Event,
    Incident,
    Outcome,
    Remedy,
    RemedyDone,
)
from steadytrain.phrases import cause_words, phrase, plan_words
from steadytrain.sayings import say, translated
from steadytrain.wording import sentence


def opened(record: Record) -> list[Incident]:
    """The incidents, oldest first."""
    return [one for one in record.of(Incident) if one.change == "opened"]


def incident_table(record: Record, lang: str) -> Block:
    """A row for each incident."""
    words = WORDS[lang]
    incidents = opened(record)
    if not incidents:
        return Text(words["quiet"])
    heads = ("step", "signals", "cause", "remedy", "outcome")
    rows: list[list[Cell | str]] = [["#", *(words[name] for name in heads)]]
    for number, one in enumerate(incidents, start=1):
        found = next((e for e in record.of(Diagnosis) if e.incident == one.id), None)
        cause = found.causes[0] if found is not None else None
        plans = [e.plan for e in record.of(Remedy) if e.incident == one.id]
        outcomes = [e.result for e in record.of(Outcome) if e.incident == one.id]
        result = outcomes[-1] if outcomes else ""
        rows.append(
            [
                Cell(str(number), anchor=one.id),
                str(one.step),
                ", ".join(phrase(name, lang) for name in one.signals),
                f"{cause_words(cause, lang)}, {cause.confidence:.0%}" if cause else "",
                "; ".join(plan_words(plan, lang) for plan in plans),
                Cell(phrase(result, lang), "good" if result == "cured" else "bad"),
            ]
        )
    return Table(rows)


def story(record: Record, incident: Incident, lang: str) -> list[Block]:
    """What happened, in order; what was done; the evidence."""
    items: list[Item] = []
    examined: list[BatchExamined] = []
    for event in _own(record.events, incident):
        if isinstance(event, BatchExamined):
            examined.append(event)
            continue
        said = sentence(event, lang=lang)
        if said is not None:
            causes = translated(event, lang).causes if isinstance(event, Diagnosis) else ()
            items.append(Item(said, more=[_cause(one, lang) for one in causes]))
    blocks: list[Block] = [Heading(2, incident.id, incident.id), Items(items)]
    blocks += remedy_table(record.events, incident.id, record.began.domains, lang)
    for one in examined:
        blocks += _evidence(record.home, one, lang)
    return blocks


def _own(events: Sequence[Event], incident: Incident) -> list[Event]:
    found: list[Event] = []
    remedies: set[str] = set()
    for event in events:
        is_own = getattr(event, "incident", None) == incident.id
        is_own |= isinstance(event, Incident) and event.id == incident.id
        is_own |= isinstance(event, RemedyDone) and event.remedy in remedies
        is_own |= (
            isinstance(event, Alarm)
            and event.attempt == incident.attempt
            and incident.onset <= event.step <= incident.step + 3
        )
        if is_own:
            found.append(event)
        if is_own and isinstance(event, Remedy):
            remedies.add(event.id)
    return found


def _cause(cause: Cause, lang: str) -> Item:
    more = [Item(one, "good") for one in cause.evidence]
    more += [Item(one, "bad") for one in cause.against]
    if cause.refuted_by:
        more.append(Item(f"{WORDS[lang]['refuted']}: {cause.refuted_by}"))
    return Item(f"{cause_words(cause, lang)}, {cause.confidence:.0%}", more=more)


def _evidence(home: Path, seen: BatchExamined, lang: str) -> list[Block]:
    words = WORDS[lang]
    numbers = (
        (words["suspect"], seen.suspect_before, seen.suspect_now),
        (words["control"], seen.control_before, seen.control_now),
    )
    rows = [["", words["before"].format(step=seen.before_step), words["now"]]]
    rows += [[name, _number(before), _number(now)] for name, before, now in numbers]
    quotes = [_sequence(one, lang) for one in _texts(home, seen)]
    return [Heading(3, words["evidence"]), Table(rows, has_numbers=True), *quotes]


def _texts(home: Path, seen: BatchExamined) -> list[dict[str, Any]]:
    """The examined sequences; none where their file is gone or damaged."""
    try:
        found = json.loads((home / seen.path).read_text(encoding="utf-8")) if seen.path else []
    except (OSError, ValueError):
        return []
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _sequence(one: dict[str, Any], lang: str) -> Quote:
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
    tone: Tone = "bad" if one["verdict"] == "corrupt" else "plain"
    return Quote(head, one["text"], one["source"], tone)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
