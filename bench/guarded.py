"""What a guarded run did, in the same figures that a plain loop is measured by. From its journal.

Used by bench/cures.py, bench/remedies.py and bench/quiet.py.
"""

import math
import statistics
from pathlib import Path
from typing import Any

from steadytrain import journal
from steadytrain.actions import AskPerson, SkipDraws
from steadytrain.events import (
    Advice,
    Diagnosis,
    Incident,
    JudgingEnded,
    Outcome,
    PanelRecord,
    Remedy,
    RemedyDone,
    RunEnded,
    StepRecord,
)
from steadytrain.ranges import merge, size

SHARED = ("reached", "made", "landed", "acts", "left_out", "is_finite", "nll")
"""Figures that a plain loop has as well: see `policies.Ran`."""


def figures(home: Path, *, since: int = 0) -> dict[str, Any]:
    """What became of a run after step `since`."""
    events = journal.load(home, "rank0")
    made, reached = 0, since
    kept: dict[int, bool] = {}
    for event in events:
        match event:
            case StepRecord() if event.step > since:
                made += 1
                kept[event.step] = event.committed
                reached = event.step
            case RemedyDone(restored_step=int() as restored):
                kept = {step: landed for step, landed in kept.items() if step <= restored}
                reached = restored
    looks = [one for one in events if isinstance(one, PanelRecord)]
    has_ended = any(isinstance(one, RunEnded) for one in events)
    nll = None
    if has_ended and looks:
        pairs = zip(looks[-1].nll, looks[-1].tokens, strict=True)
        nll = [loss / tokens for loss, tokens in pairs]
    remedies = [one for one in events if isinstance(one, Remedy)]
    plans = [action for one in remedies for action in one.plan]
    skipped = [pair for one in plans if isinstance(one, SkipDraws) for pair in one.ranges]
    seconds = [one.seconds for one in events if isinstance(one, StepRecord) and one.seconds]
    return {
        "reached": reached,
        "made": made,
        "landed": sum(kept.values()),
        "acts": sum(isinstance(one, RemedyDone) for one in events),
        "left_out": size(merge(skipped)),
        "is_finite": nll is not None and all(map(math.isfinite, nll)),
        "nll": nll,
        "persons": sum(isinstance(one, AskPerson) for one in plans),
        "held": sum(isinstance(one, StepRecord) and not one.committed for one in events),
        "incidents": sum(isinstance(one, Incident) and one.change == "opened" for one in events),
        "causes": [one.causes[0].name for one in events if isinstance(one, Diagnosis)],
        "outcomes": [one.result for one in events if isinstance(one, Outcome)],
        "plans": [[type(action).__name__ for action in one.plan] for one in remedies],
        "seconds": statistics.median(seconds) if seconds else None,
        "advice": [one.topic for one in events if isinstance(one, Advice)],
        "unguarded": any(isinstance(one, JudgingEnded) for one in events),
    }
