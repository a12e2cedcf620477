"""Copies of a run's state, for its pages: in the mirror, and on ranks that hold the same."""

from typing import Any

from steadytrain.board.watched import Watched
from steadytrain.events import CheckpointMirrored, MirrorFailed, ReplicasCompared
from steadytrain.sayings import say


def mirror(one: Watched) -> dict[str, Any] | None:
    """The newest checkpoint in the mirror, failures since and why; None where nothing is told."""
    found: dict[str, Any] = {"step": None, "at": None, "failed": 0, "why": None}
    heard = list(one.of(CheckpointMirrored, MirrorFailed))
    for noted, event in heard:
        match event:
            case CheckpointMirrored():
                found = {"step": event.step, "at": noted.at, "failed": 0, "why": None}
            case MirrorFailed():
                found["failed"] += 1
                found["why"] = {lang: say(event.reason, lang) for lang in ("en", "zh")}
    return found if heard else None


def replicas(one: Watched, lang: str) -> dict[str, Any] | None:
    """The newest comparison of replicas, and on which ranks what was not the same."""
    heard = list(one.of(ReplicasCompared))
    if not heard:
        return None
    noted, newest = heard[-1]
    unlike = [(event.step, part.part, part.ranks) for _, event in heard for part in event.unlike]
    return {
        "step": newest.step,
        "at": noted.at,
        "copies": newest.copies,
        "compared": len(heard),
        "unlike": [
            {"step": step, "part": say(part, lang), "ranks": list(ranks)}
            for step, part, ranks in unlike[-8:]
        ],
    }
