"""Copies of a run's state, for its pages: in the mirror, and on ranks that hold the same."""

from typing import Any

from steadytrain.board.watched import Watched
from steadytrain.events import ReplicasCompared
from steadytrain.options import LANGS
from steadytrain.sayings import say


def mirror(one: Watched) -> dict[str, Any] | None:
    """The newest checkpoint in the mirror, failures since and why; None where nothing is told."""
    sent, failed = one.vitals.mirrored, one.vitals.mirror_failed
    if sent is None and failed is None:
        return None
    return {
        "step": sent.step if sent is not None else None,
        "at": one.vitals.mirrored_at,
        "failed": one.vitals.mirror_failed_in_a_row,
        "why": {lang: say(failed.reason, lang) for lang in LANGS} if failed is not None else None,
    }


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
