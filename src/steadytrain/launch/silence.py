"""How long each rank has been silent, and how long it may be.

Pure: it is told what the boards say and how much time went by, and has no clock of its own.
"""

import math
from collections.abc import Container, Iterable, Sequence
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """How a rank looks from its host.

    Attributes:
        beat: the newest, None before the first.
        seconds: how long ago that was, or the start.
        is_over: it has been silent for longer than it may be.
        may_be_busy: it may still be at work: others may be waiting for it.
    """

    number: int
    beat: Beat | None = None
    seconds: float = 0.0
    is_over: bool = False
    may_be_busy: bool = True

    @property
    def phase(self) -> str:
        return "starting" if self.beat is None else self.beat.phase

    @property
    def step(self) -> int | None:
        return None if self.beat is None else self.beat.step


def find_hung(seen: Sequence[Seen]) -> list[Seen]:
    """Ranks that may hold up the others, once one is silent for too long; the likeliest first.

    A rank over its limit is not hung while one that is not ahead of it may still be busy:
    it waits for that one. So a slow checkpoint of rank 0 gets nobody killed. Of several that
    are equally far, each waiting for the other or not, their stacks tell (stacks.py).
    """
    busy = [_step_of(one) for one in seen if one.may_be_busy]
    stuck = [one for one in seen if one.is_over and all(_step_of(one) < step for step in busy)]
    return sorted(stuck, key=_likeliest)


def find_slowest(seen: Sequence[Seen]) -> Seen:
    """The rank that is furthest behind, and among those the most silent."""
    return min(seen, key=_likeliest)


@dataclass(kw_only=True, slots=True)
class Silence:
    """Follows the ranks of a host; what it learned about phases outlives a restart."""

    limits: Limits
    ranks: list[Rank] = field(default_factory=list)
    _longest: dict[str, float] = field(default_factory=dict)
    _longest_warm: dict[str, float] = field(default_factory=dict)

    def begin(self, numbers: Iterable[int]) -> None:
        """A new start of the ranks of these numbers: nobody has said anything yet."""
        self.ranks = [Rank(number=number) for number in numbers]

    def rank(self, number: int) -> Rank:
        """What is known of this rank."""
        return next(one for one in self.ranks if one.number == number)

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

    def seen(self) -> list[Seen]:
        """How each rank looks from here, now."""
        return [self._seen(rank) for rank in self.ranks]

    def hung(self) -> list[Seen]:
        """Those of this host's ranks that may hold up the others; see `find_hung`."""
        return find_hung(self.seen())

    def _seen(self, rank: Rank) -> Seen:
        limit = self.limit(rank)
        is_over = rank.seconds > limit
        return Seen(
            number=rank.number,
            beat=rank.beat,
            seconds=rank.seconds,
            is_over=is_over,
            may_be_busy=not is_over and not math.isinf(limit),
        )

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


def _likeliest(view: Seen) -> tuple[int, float]:
    return _step_of(view), -view.seconds


def _step_of(view: Seen) -> int:
    return -1 if view.step is None else view.step
