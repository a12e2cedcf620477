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
    """The supervisor's regular look at the slowest rank.

    Attributes:
        copied_step, copied_seconds: the newest state that each host's neighbour has a copy of, and
            how old it is; None where hosts keep no copies, or have none yet.
    """

    generation: int
    rank: int
    step: int | None
    phase: str
    silent_seconds: float
    copied_step: int | None = None
    copied_seconds: float | None = None


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


class CopiesLacking(Fact, frozen=True):
    """A host's states could not be copied into its neighbour's memory.

    Attributes:
        why: the same is told once of a start.
    """

    generation: int
    host: str
    why: str


class StatesBrought(Fact, frozen=True):
    """Before a start on other hosts than the one before, states in memory went to its ranks.

    Attributes:
        step: after which they are; None: none is there that every rank can have.
        ranks, hosts: whose state was not at its place, and the host that it came from, in turn.
        bytes: over the network.
        why: what failed, or why there is none.
    """

    generation: int
    step: int | None
    ranks: tuple[int, ...] = ()
    hosts: tuple[str, ...] = ()
    bytes: int = 0
    seconds: float = 0.0
    why: str | None = None
