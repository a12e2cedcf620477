"""How long each rank has been silent, and how long it may be.

Pure: it is told what the boards say and how much time went by, and has no clock of its own.
"""

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, field

from steadytrain.errors import SettingError
from steadytrain.progress import Beat

ONCE_A_STEP = ("data", "forward", "sync", "backward", "step", "snapshot")
"""Phases that every step passes through and that are alike each time. The others come now and then,
and one of them may be much longer than the last: an evaluation, a checkpoint on a disk that is
busy, in phase "loop" whatever the user's own code does between two steps, and in phase "peers" a
replica waits for another one, which its own supervisor ends first if it hangs."""

MAX_GAP_SECONDS = 1.0
"""Time that one look may add. A supervisor that was stopped itself, with its container or its
laptop, must not take its own sleep for the ranks' silence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How long a rank may be silent before it counts as hung.

    limit = max(floor_seconds, factor * longest silence seen in that phase)

    That is for what is known. In the first `warm_steps` steps of a start (compilation, first
    allocations) and in phases that not every step has, the floor is `factor` times as high. Before
    its first beat a rank has `starting_seconds` in which it neither computes nor reads nor writes:
    to tokenize a corpus for an hour is no hang. After "finished" it has all the time it wants.

    Source: starting 600 s: torchrun's own limit for a start (rendezvous join timeout); factor 10:
    twice nvidia-resiliency-ext's 5, since a false kill costs more than a longer hang; warm_steps 5:
    its warm-up; floor 60 s: a guess.
    """

    floor_seconds: float = 60.0
    starting_seconds: float = 600.0
    factor: float = 10.0
    warm_steps: int = 5

    def __post_init__(self) -> None:
        if not self.floor_seconds > 0.0:
            raise SettingError(
                f"floor_seconds={self.floor_seconds} would call every rank hung at once. "
                "Write floor_seconds=60 if unsure."
            )


@dataclass(kw_only=True, slots=True)
class Rank:
    """What is known of one rank in this start.

    Attributes:
        beat: the newest, None before the first.
        seconds: how long ago that was, or the start.
        first_step: the first step that it reported.
        has_ended: its process has exited; it has nothing more to say.
    """

    number: int
    beat: Beat | None = None
    seconds: float = 0.0
    first_step: int | None = None
    has_ended: bool = False

    @property
    def phase(self) -> str:
        return "starting" if self.beat is None else self.beat.phase

    @property
    def step(self) -> int | None:
        return None if self.beat is None else self.beat.step


@dataclass(kw_only=True, slots=True)
class Silence:
    """Follows the ranks of a host; what it learned about phases outlives a restart."""

    limits: Limits
    ranks: list[Rank] = field(default_factory=list)
    _longest: dict[str, float] = field(default_factory=dict)
    _longest_warm: dict[str, float] = field(default_factory=dict)

    def begin(self, num_ranks: int) -> None:
        """A new start: nobody has said anything yet."""
        self.ranks = [Rank(number=number) for number in range(num_ranks)]

    def look(
        self,
        beats: Sequence[Beat | None],
        *,
        gap_seconds: float,
        ended: Container[int] = (),
        active: Container[int] = (),
    ) -> None:
        """Take in what the boards say now, `gap_seconds` after the last look.

        Args:
            ended: ranks whose process has exited.
            active: ranks that used the processor or a file since the last look.
        """
        for rank, beat in zip(self.ranks, beats, strict=True):
            rank.has_ended = rank.number in ended
            silent = rank.seconds + min(gap_seconds, MAX_GAP_SECONDS)
            if rank.phase == "starting" and rank.number in active:
                silent = 0.0
            if beat is None or (rank.beat is not None and beat.beats == rank.beat.beats):
                rank.seconds = silent
                continue
            self._learn(rank, silent)
            rank.beat, rank.seconds = beat, 0.0
            if rank.first_step is None:
                rank.first_step = beat.step

    def hung(self) -> list[Rank]:
        """Ranks that may hold up the others, once one is silent for too long; the likeliest first.

        A rank over its limit is not hung while one that is not ahead of it may still be busy:
        it waits for that one. So a slow checkpoint of rank 0 gets nobody killed. Of several that
        are equally far, each waiting for the other or not, their stacks tell (stacks.py).
        """
        over = [rank for rank in self.ranks if rank.seconds > self.limit(rank)]
        busy = [
            _step_of(rank)
            for rank in self.ranks
            if rank not in over and not math.isinf(self.limit(rank))
        ]
        stuck = [rank for rank in over if all(_step_of(rank) < step for step in busy)]
        return sorted(stuck, key=lambda rank: (_step_of(rank), -rank.seconds))

    def slowest(self) -> Rank:
        """The rank that is furthest behind, and among those the most silent."""
        return min(self.ranks, key=lambda rank: (_step_of(rank), -rank.seconds))

    def limit(self, rank: Rank) -> float:
        """How long this rank may be silent in its present phase. [seconds]"""
        phase, limits = rank.phase, self.limits
        if phase == "finished" or rank.has_ended:
            return math.inf
        if phase == "starting":
            return limits.starting_seconds
        known = self._longest.get(phase, 0.0)
        if self._is_warm(rank) or phase not in ONCE_A_STEP:
            known = max(known, self._longest_warm.get(phase, 0.0), limits.floor_seconds)
        return max(limits.floor_seconds, limits.factor * known)

    def _learn(self, rank: Rank, silent: float) -> None:
        if rank.beat is None or rank.phase == "starting":
            return
        table = self._longest_warm if self._is_warm(rank) else self._longest
        table[rank.phase] = max(silent, table.get(rank.phase, 0.0))

    def _is_warm(self, rank: Rank) -> bool:
        if rank.step is None or rank.first_step is None:
            return True
        return rank.step < rank.first_step + self.limits.warm_steps


def _step_of(rank: Rank) -> int:
    return -1 if rank.step is None else rank.step
