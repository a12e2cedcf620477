"""Between two lives of the training process: what the time went on, from the lines around it."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from steadytrain.events import (
    AttemptBegan,
    Event,
    GiveUp,
    ProcessExited,
    Restart,
    WorkersFinished,
    WorkersStarted,
)

Absence = Literal["detection", "startup", "waits", "idle"]

ENDING = (GiveUp, ProcessExited, Restart, WorkersFinished)
TELLING = (*ENDING, AttemptBegan, WorkersStarted)
"""Events that say what a time without training is for; those after which there is no life."""

MOST_SILENT = 120.0
"""A supervisor that lives says something every 30 s. What is longer than this is nobody's: the
clock jumped, the machine slept, or the supervisor was gone. [seconds]"""


@dataclass(frozen=True, slots=True)
class Mark:
    """An event that says what a time is for, and the wall clock of its line."""

    at: float
    event: Event


def absence(
    begin: float,
    end: float,
    marks: Sequence[Mark],
    beats: Sequence[float],
    *,
    is_start: bool = False,
) -> Iterator[tuple[Absence, float]]:
    """(what for, seconds) of the stretches of [begin, end]; together they are its length.

    Args:
        marks, beats: of all processes, by their clock; `beats` say only that a supervisor lived.
        is_start: there was no life before.
    """
    if end <= begin:
        return
    first = bisect_right(marks, begin, key=lambda one: one.at)
    last = bisect_left(marks, end, key=lambda one: one.at)
    inside = marks[first:last]
    state: Absence = "startup" if is_start else _before(inside[0].event if inside else None)
    wait = 0.0
    here = begin
    for mark in inside:
        yield from _stretch(here, mark.at, state, wait, beats)
        here, (state, wait) = mark.at, _after(mark.event)
    yield from _stretch(here, end, state, wait, beats)


def _before(event: Event | None) -> Absence:
    """What the time before the first mark was for: was a death waited for, or a start?"""
    return "detection" if isinstance(event, ProcessExited | Restart | GiveUp) else "idle"


def _after(event: Event) -> tuple[Absence, float]:
    match event:
        case Restart():
            return "startup", max(0.0, event.wait_seconds)
        case GiveUp() | WorkersFinished():
            return "idle", 0.0
        case _:
            return "startup", 0.0


def _stretch(
    begin: float, end: float, state: Absence, wait: float, beats: Sequence[float]
) -> Iterator[tuple[Absence, float]]:
    waited = min(wait, end - begin)
    yield "waits", waited
    begin += waited
    if state == "idle":
        yield "idle", end - begin
        return
    known = begin
    for at in [*beats[bisect_right(beats, begin) : bisect_left(beats, end)], end]:
        told = min(at - known, MOST_SILENT)
        yield state, told
        yield "idle", at - known - told
        known = at
