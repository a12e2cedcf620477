"""Facts of the processes around a run, as the supervisor sees them."""

from steadytrain.events.kinds import Fact


class WorkersStarted(Fact, frozen=True):
    """The supervisor started all ranks. `generation` counts starts from 0."""

    generation: int
    pids: tuple[int, ...]
    step: int | None = None


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
