"""The faults that a plan can name: what each does, from where, and what a run must make of it."""

from dataclasses import dataclass
from typing import Literal

from steadytrain.errors import SettingError
from steadytrain.progress import Phase

Where = Literal["outside", "inside", "numbers"]
"""outside: by this command alone, the run is told nothing. inside: by the rank itself, at a word on
its progress board. numbers: the same, and a tensor or a text is touched."""

Ends = Literal["restart", "hang", "unharmed", "again", "given up", "healed"]
ENDS: dict[Ends, str] = {
    "restart": "the rank's death is noticed, all ranks start again",
    "hang": "the rank is found hung and named, all ranks start again",
    "unharmed": "nothing is killed",
    "again": "the supervisor leaves or is gone; the same command goes on when it is given again",
    "given up": "exit status 93: do not start this again",
    "healed": "the judge sees it, and the run ends sound with a loss like the undisturbed one's",
}
"""What a run must make of a fault. All but the last two must end bit-equal to the run without."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One kind of fault.

    Attributes:
        does: what is done, in words.
        phase: where a rank is broken if the plan does not say; None: at any moment.
        seconds: how long it lasts if the plan does not say, where it lasts. [seconds]
        tells: the event that must be on record, if any.
        times: how often it comes back in a run, None for every life.
        updates: how many it goes on for, where it takes so many to be noticed.
        ranks: the fewest for which it means something.
        blames: whether the struck rank must be the one that is named.
        everywhere: it is done in every rank.
        sabotage: its name among the lab's faults, if it is one.
    """

    name: str
    does: str
    where: Where
    ends: Ends
    phase: Phase | None = None
    seconds: float | None = None
    tells: str | None = None
    times: int | None = 1
    updates: int = 0
    ranks: int = 1
    blames: bool = True
    everywhere: bool = False
    sabotage: str | None = None


def _outside(name: str, does: str, ends: Ends, **more: object) -> Kind:
    return Kind(name=name, does=does, where="outside", ends=ends, **more)  # type: ignore[arg-type]


def _inside(name: str, does: str, ends: Ends, phase: Phase = "forward", **more: object) -> Kind:
    return Kind(name=name, does=does, where="inside", ends=ends, phase=phase, **more)  # type: ignore[arg-type]


def _numbers(
    name: str, does: str, sabotage: str | None = None, *, everywhere: bool = False
) -> Kind:
    return Kind(
        name=name,
        does=does,
        where="numbers",
        ends="healed",
        phase="forward",
        everywhere=everywhere,
        sabotage=sabotage,
    )


SLOW_UPDATES = 40
"""How many updates a slow rank is slow: two windows of `launch.pace.Pace`, which tell it from one
busy moment."""

SIGNALS = {"sigkill": "SIGKILL", "sigterm": "SIGTERM", "sigint": "SIGINT", "sigstop": "SIGSTOP"}

DAMAGES = (
    "flip-payload", "flip-manifest", "flip-slot", "truncate", "delete-shard", "leftovers",
)  # fmt: skip
"""Done to what is stored while all ranks stand still; then one of them is killed."""

_ALL = (
    _outside("sigkill", "SIGKILL to a rank", "restart"),
    _outside("sigterm", "SIGTERM to a rank", "restart"),
    _outside("sigint", "SIGINT to a rank", "restart"),
    _outside("sigstop", "SIGSTOP to a rank", "hang"),
    _inside("segfault", "a rank reads address 0", "restart"),
    _inside("abort", "a rank calls abort()", "restart"),
    _inside("exception", "a rank raises an error", "restart"),
    _inside("async-exception", "another thread raises an error in a rank's main thread", "restart"),
    _inside("exit", "a rank ends with status 3", "restart"),
    _inside("out-of-memory", "a rank finds no more memory (RLIMIT_AS)", "restart"),
    _inside("gil", "a rank holds the GIL for ever, in a regular expression", "hang"),
    _inside("sleep", "a rank sleeps in a loop, its other threads live", "hang"),
    _inside("lock", "a rank waits for a lock that it holds", "hang"),
    _inside("loader", "a rank's next batch never comes", "hang", phase="data"),
    _inside("disconnect", "a rank's connections are cut", "restart", ranks=2, blames=False),
    _inside("desync", "a rank leaves a collective out", "restart", ranks=2, blames=False),
    _inside("hardware", "a rank's last words name the hardware, twice", "again", times=2),
    _inside("crash-loop", "a rank raises the same error in every life", "given up", times=None),
    _inside("slow-rank", "a rank sleeps in each forward pass of 40 updates", "unharmed",
            seconds=0.3, updates=SLOW_UPDATES),
    _inside("slow-first", "a rank's first step is slow", "unharmed", seconds=4.0),
    _inside("slow-checkpoint", "a checkpoint is slow", "unharmed", phase="checkpoint", seconds=4.0),
    _inside("slow-evaluation", "a look at the panel is slow", "unharmed", phase="panel",
            seconds=4.0),
    _inside("stall", "a rank stands still, shorter than its limit", "unharmed", seconds=1.0),
    _inside("clock-jump", "a rank's wall clock jumps by an hour", "unharmed", seconds=3600.0),
    _outside("kill-supervisor", "SIGKILL to the supervisor", "again"),
    _outside("kill-all", "SIGKILL to every process of the run at once", "again"),
    _outside("kill-parent", "SIGKILL to the parent that ranks are forked from", "unharmed"),
    _outside("kill-writer", "SIGKILL to the process that writes checkpoints", "unharmed"),
    _outside("preempt", "SIGTERM to the supervisor", "again"),
    _outside("pause-supervisor", "the supervisor is stopped for a while", "unharmed", seconds=5.0),
    _outside("pause-all", "the whole run is stopped for a while", "unharmed", seconds=5.0),
    _outside("disk-full", "no file may grow past half a checkpoint (RLIMIT_FSIZE)", "unharmed",
             seconds=4.0, tells="CheckpointFailed"),
    _outside("disk-gone", "the folder of checkpoints cannot be written", "unharmed", seconds=4.0,
             tells="CheckpointFailed"),
    _outside("flip-payload", "a bit flips in the newest checkpoint's largest file", "restart",
             tells="CheckpointRefused"),
    _outside("flip-manifest", "a bit flips in the newest checkpoint's manifest", "restart",
             tells="CheckpointRefused"),
    _outside("flip-slot", "a bit flips in a rank's newest state in shared memory", "restart",
             tells="CheckpointRefused"),
    _outside("truncate", "the newest checkpoint's largest file is cut short", "restart",
             tells="CheckpointRefused"),
    _outside("delete-shard", "a file of the newest checkpoint is missing", "restart",
             tells="CheckpointRefused"),
    _outside("leftovers", "a later checkpoint was never finished", "restart",
             tells="CheckpointRefused"),
    _numbers("nan-gradient", "a gradient of a rank is NaN or infinite", "gradient"),
    _numbers("corrupt-weights", "bits flip in a rank's weights", "weights"),
    _numbers("corrupt-moments", "bits flip in a rank's first moments", "moments"),
    _numbers("stale-moments", "a rank's optimizer state is lost", "adam-reset"),
    _numbers("learning-rate", "the learning rate is 40 times too high for two updates",
             "learning-rate", everywhere=True),
    _numbers("betas", "the optimizer's betas change", "betas", everywhere=True),
    _numbers("noisy-rank", "a rank adds noise to its gradient for six updates", "rank"),
    _numbers("bad-text", "the letters of four batches are shuffled", everywhere=True),
)  # fmt: skip

KINDS = {kind.name: kind for kind in _ALL}

CHECKLISTS: dict[str, dict[str, str]] = {
    "lm-resiliency": {
        "tensor_corruption": "corrupt-weights, corrupt-moments, nan-gradient",
        "stale_state": "stale-moments",
        "drop": "not here: what a batch holds is the Session's own count, so none can be dropped",
        "duplicate": "not here: see `steadytrain demo --faults repeated-batch`",
        "reorder": "bad-text",
        "config_drift": "learning-rate, betas",
        "delay": "slow-rank, slow-first, slow-checkpoint, slow-evaluation",
        "hang": "sigstop, gil, sleep, lock, loader",
        "timeout": "stall, pause-supervisor, pause-all",
        "exception": "exception, async-exception, crash-loop",
        "resource_exhaustion": "out-of-memory, disk-full",
        "process_termination": "sigkill, kill-all, kill-supervisor, kill-parent, kill-writer",
        "resource_unavailable": "hardware",
        "checkpoint_corruption": "flip-payload, flip-manifest, flip-slot",
        "checkpoint_truncation": "truncate",
        "checkpoint_missing": "delete-shard, leftovers",
        "io_error": "disk-gone",
        "payload_corruption": "noisy-rank",
        "collective_desync": "desync",
        "message_drop": "disconnect",
        "network_partition": "not here: several hosts are needed; disconnect is its like on one",
    },
    "nvidia-resiliency-ext": {
        "GPU_ERROR": "not here: no GPU was at hand to prove it; hardware says the same in words",
        "GPU_SLEEP": "not here: no GPU was at hand to prove it; sleep is its like on the host",
        "WORKLOAD_EXC": "exception",
        "ASYNC_EXC": "async-exception",
        "SIGNAL_EXC": "sigterm, preempt",
        "OS_ABORT": "abort",
        "LOCK_GIL": "gil",
        "SEGFAULT": "segfault",
        "SIGINT": "sigint",
        "SIGKILL": "sigkill",
        "SIGTERM": "sigterm",
        "SIGSTOP": "sigstop",
    },
}
"""The faults of two published injectors, and ours that have the same effect."""


def kind_of(name: str) -> Kind:
    """The kind of this name.

    Raises:
        SettingError: there is none.
    """
    if name not in KINDS:
        raise SettingError(
            f"{name!r} is no kind of fault, so nothing would be broken. Choose from: "
            f"{', '.join(KINDS)}; `steadytrain chaos --list` says what each does."
        )
    return KINDS[name]
