"""What happened, line by line, in words and with a tone."""

from typing import Any

from steadytrain.board.watched import Watched
from steadytrain.events import (
    Alarm,
    CheckpointFailed,
    CheckpointRefused,
    CopiesLacking,
    Event,
    GiveUp,
    HostGone,
    Incident,
    JudgingEnded,
    MirrorFailed,
    Outcome,
    PersonSaid,
    ProcessExited,
    Proposal,
    Remedy,
    RemedyDone,
    Restart,
    RestoreVerified,
    StatesBrought,
    Trend,
    TrialDone,
    TrialWanted,
)
from steadytrain.news import Noted
from steadytrain.wording import sentence

MOST_LINES = 400
"""Lines of the feed that a page gets at first; all of them stand in the journal."""


def line(number: int, noted: Noted, lang: str) -> dict[str, Any] | None:
    """One event in words; None for what nobody needs to hear."""
    event = noted.event
    words = sentence(event, lang=lang)
    if words is None:
        return None
    step = getattr(event, "step", None)
    return {
        "n": number,
        "at": noted.at,
        "kind": type(event).__name__,
        "step": step,
        "tone": tone(event),
        "words": _without_step(words, step, lang),
        "incident": incident_of(event),
    }


def lines(one: Watched, lang: str, *, since: int = 0) -> list[dict[str, Any]]:
    """The newest lines after event number `since`, oldest first."""
    found: list[dict[str, Any]] = []
    for number in range(len(one.events) - 1, since - 1, -1):
        told = line(number, one.events[number], lang)
        if told is not None:
            found.append(told)
            if len(found) == MOST_LINES:
                break
    return sorted(found, key=lambda told: (told["at"], told["n"]))


def tone(event: Event) -> str:
    """good, bad, warn, act, person or plain: how a line and a mark look."""
    match event:
        case Outcome(result="cured") | RestoreVerified(differences=()):
            return "good"
        case Incident(change="closed", reason="cured"):
            return "good"
        case Outcome() | GiveUp() | JudgingEnded() | ProcessExited() | CheckpointRefused():
            return "bad"
        case HostGone(why="silent" | "distrusted"):
            return "bad"
        case Incident(change="closed"):
            return "plain"
        case Incident() | Alarm() | CheckpointFailed() | MirrorFailed() | RestoreVerified():
            return "warn"
        case Remedy() | RemedyDone() | Restart() | TrialDone() | TrialWanted() | Proposal():
            return "act"
        case PersonSaid():
            return "person"
        case Trend(is_expected=False) | CopiesLacking() | StatesBrought(step=None):
            return "warn"
        case StatesBrought():
            return "act"
    return "plain"


def incident_of(event: Event) -> str | None:
    if isinstance(event, Incident):
        return event.id
    found: str | None = getattr(event, "incident", None)
    return found


def _without_step(words: str, step: int | None, lang: str) -> str:
    """The step has a column of its own."""
    opening = f"\u7b2c {step} \u6b65\uff1a" if lang == "zh" else f"step {step}: "
    return words.removeprefix(opening)
