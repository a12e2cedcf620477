"""Which rank the others wait for in every step, told from the boards. Pure, without a clock.

The ranks of a data-parallel run make their steps together, so the length of a step tells nothing
about a rank. What tells is its own work: the seconds before its first collective (`progress.OWN`).
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from steadytrain.events import Straggler
from steadytrain.progress import Beat


@dataclass(kw_only=True, slots=True)
class Pace:
    """Says once in each start that a rank is slow.

    A rank is slow when its own work of a step takes `factor` times the median of the others', and
    makes each step longer by `share` of it, in two windows of `steps` steps in a row.

    Source: factor 2: dlrover's node check (slower than twice the median); the first `warm_steps`
    are left out as in `silence.Limits`; the others are guesses.
    """

    factor: float = 2.0
    share: float = 0.1
    steps: int = 20
    warm_steps: int = 5
    _generation: int = 0
    _begin: list[Beat] = field(default_factory=list)
    _first: list[int] = field(default_factory=list)
    _slow: set[int] = field(default_factory=set)
    _told: set[int] = field(default_factory=set)

    def begin(self, generation: int) -> None:
        """A new start: another host or process may be slow now."""
        self._generation = generation
        self._begin, self._first, self._slow, self._told = [], [], set(), set()

    def look(self, beats: Sequence[Beat | None]) -> list[Straggler]:
        """What the boards say now."""
        now = [beat for beat in beats if beat is not None and beat.step is not None]
        if len(now) < max(2, len(beats)):
            return []
        steps = [beat.step or 0 for beat in now]
        if not self._first:
            self._first = steps
        if min(step - first for step, first in zip(steps, self._first, strict=True)) < (
            self.warm_steps
        ):
            return []
        if not self._begin or any(a.pid != b.pid for a, b in zip(now, self._begin, strict=True)):
            self._begin = now
            return []
        made = [
            after - (before.step or 0) for after, before in zip(steps, self._begin, strict=True)
        ]
        if min(made) < 0:  # a rollback
            self._begin = now
            return []
        if min(made) < self.steps:
            return []
        return self._compare(now, made)

    def _compare(self, now: list[Beat], made: list[int]) -> list[Straggler]:
        before, self._begin = self._begin, now
        own = [
            (b.own_seconds - a.own_seconds) / steps
            for a, b, steps in zip(before, now, made, strict=True)
        ]
        step_seconds = max(b.clock - a.clock for a, b in zip(before, now, strict=True)) / min(made)
        found, slow = [], set()
        for rank, seconds in enumerate(own):
            others = statistics.median(one for at, one in enumerate(own) if at != rank)
            if seconds < self.factor * others or seconds - others < self.share * step_seconds:
                continue
            slow.add(rank)
            if rank in self._slow and rank not in self._told:
                self._told.add(rank)
                found.append(
                    Straggler(
                        generation=self._generation,
                        rank=rank,
                        first=before[rank].step or 0,
                        step=now[rank].step or 0,
                        seconds=round(seconds, 4),
                        others_seconds=round(others, 4),
                    )
                )
        self._slow = slow
        return found
