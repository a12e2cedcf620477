"""Facts of the processes around a run, as the supervisor sees them."""

from typing import Literal

from steadytrain.events.kinds import Fact


class WorkersStarted(Fact, frozen=True):
    """The supervisor started all ranks. `generation` counts starts from 0.

    Attributes:
        hosts: on which host each rank runs, where there are several.
    """

    generation: int
    pids: tuple[int, ...]
    step: int | None = None
    hosts: tuple[str, ...] = ()


class ProcessExited(Fact, frozen=True):
    """A rank ended, or stopped moving and was killed.

    Attributes:
        signal: name of the signal that ended it ("SIGKILL"), None if it exited.
        hung: it was alive but made no progress for `silent_seconds`, in `phase`.
        step: last step that it reported; None if it never reported one.
        error: its last words; of a hang, where it was.
    """

    generation: int
    rank: int
    pid: int
    code: int | None = None
    signal: str | None = None
    hung: bool = False
    phase: str | None = None
    silent_seconds: float | None = None
    step: int | None = None
    error: str | None = None


class WorkersFinished(Fact, frozen=True):
    """Every rank exited with status 0."""

    generation: int


class Heartbeat(Fact, frozen=True):
    """The supervisor's regular look at the slowest rank."""

    generation: int
    rank: int
    step: int | None
    phase: str
    silent_seconds: float


class Straggler(Fact, frozen=True):
    """A rank needs longer for its own work than the others, who wait for it in every step.

    Attributes:
        seconds, others_seconds: own work of a step, without waiting for others: this rank's, and
            the median of the others'. Between the steps `first` (excluded) and `step`.
    """

    generation: int
    rank: int
    first: int
    step: int
    seconds: float
    others_seconds: float


class HostGone(Fact, frozen=True):
    """A host takes no part any more, and its ranks do not either.

    Attributes:
        ranks: those that ran on it.
        why: "silent": it died or was cut off; "left": it was asked to leave, or could not go on;
            "distrusted": a rank of its own asked to be started elsewhere (exit status 75).
    """

    generation: int
    host: str
    ranks: tuple[int, ...]
    why: Literal["silent", "left", "distrusted"]
    silent_seconds: float | None = None
    step: int | None = None


class HostsWaiting(Fact, frozen=True):
    """Hosts have come while the run goes on, and there is room for them."""

    generation: int
    hosts: tuple[str, ...]
    step: int | None = None
