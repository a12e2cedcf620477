"""Why a rank ended, read from its exit status, its signal and its last words.

`name_sort` looks the words up in one table; the words are those that Python, torch, CUDA, NCCL,
gloo and Linux print. What it cannot name stays unnamed: to start again is the answer then.

Exit statuses that say what to do next, for a rank's script as for the supervisor itself:

    75  start this again, on another host if you can (EX_TEMPFAIL of sysexits.h)
    93  do not start this again (as nvidia-resiliency-ext's ft_launcher)
"""

import re
from typing import Literal

from steadytrain.events import ProcessExited

REQUEUE = 75
DO_NOT_REQUEUE = 93

Sort = Literal[
    "requeue", "stop", "hang", "device memory", "host memory", "shared memory", "hardware", "disk",
    "peer", "network", "user", "loader", "outside", "unknown",
]  # fmt: skip

SORTS: dict[Sort, str] = {
    "requeue": "it asked to be started elsewhere",
    "stop": "it asked not to be started again",
    "hang": "it did not move",
    "device memory": "the device's memory ran out",
    "host memory": "the host's memory ran out",
    "shared memory": "shared memory ran out (/dev/shm)",
    "hardware": "the hardware reported a fault",
    "disk": "a disk refused to work",
    "peer": "another rank was gone",
    "network": "ranks could not reach each other",
    "user": "the script, its arguments or its environment are wrong",
    "loader": "a process that loads data ended",
    "outside": "somebody ended it from outside",
    "unknown": "the cause is not known",
}

_PATTERNS: tuple[tuple[Sort, str], ...] = (
    # The first that matches counts: what is special stands before what is general.
    ("shared memory", r"insufficient shared memory|killed by signal: Bus error|/dev/shm.*No space"),
    ("hardware", r"uncorrectable|\bECC\b|\bXid\b|fallen off the bus|hardware error|\bNVLink\b"),
    ("hardware", r"no CUDA-capable device|CUDA driver initialization failed|unspecified launch"),
    ("hardware", r"devices are busy or unavailable|system not yet initialized|HIP error: .*hang"),
    ("hardware", r"illegal instruction|CUBLAS_STATUS_EXECUTION_FAILED|Machine check"),
    ("device memory", r"(CUDA|HIP|XPU|MPS).{0,20}out of memory|OutOfMemoryError"),
    ("device memory", r"STATUS_ALLOC_FAILED"),
    ("host memory", r"^MemoryError|can't allocate memory|Cannot allocate memory|std::bad_alloc"),
    ("host memory", r"the kernel's out-of-memory killer"),
    ("disk", r"No space left on device|Disk quota exceeded|Read-only file system|File too large"),
    ("disk", r"Stale file handle|Input/output error|Transport endpoint is not connected"),
    ("loader", r"DataLoader worker .*(exited unexpectedly|killed by signal)"),
    ("peer", r"Connection (closed|reset) by peer|Broken pipe|remote process exited"),
    ("peer", r"ncclRemoteError|Application timeout caused pair closure|Socket closed"),
    ("network", r"\bNCCL\b|ncclSystemError|ncclInternalError|DistBackendError|DistNetworkError"),
    ("network", r"DistStoreError|\bgloo\b|Connection refused|Network is unreachable|IBV_WC"),
    ("network", r"Name or service not known|Timed out waiting|Watchdog caught collective"),
    ("user", r"^(\w+\.)*(SettingError|FeedError)\b"),
    ("user", r"^(SyntaxError|IndentationError|TabError|ModuleNotFoundError)\b"),
    ("user", r"^(ImportError|NameError)\b"),
    ("user", r"error: (unrecognized arguments|the following arguments|argument |invalid choice)"),
    ("user", r"can't open file|^\S*python\S*: No module named"),
)  # fmt: skip
_TABLE = tuple((sort, re.compile(pattern)) for sort, pattern in _PATTERNS)

_FROM_OUTSIDE = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1")


def name_sort(death: ProcessExited) -> Sort:
    """The sort of end that this was.

    >>> full = "OSError: [Errno 28] No space left on device: 'runs/r1/x'"
    >>> name_sort(ProcessExited(generation=0, rank=1, pid=7, code=1, error=full))
    'disk'
    """
    if death.hung:
        return "hang"
    if death.code == REQUEUE:
        return "requeue"
    if death.code == DO_NOT_REQUEUE:
        return "stop"
    if death.error is not None:
        for sort, pattern in _TABLE:
            if pattern.search(death.error):
                return sort
    return "outside" if death.signal in _FROM_OUTSIDE else "unknown"


def is_victim(death: ProcessExited) -> bool:
    """Whether it ended because another rank did, so that the other one is to be asked."""
    return name_sort(death) == "peer"
