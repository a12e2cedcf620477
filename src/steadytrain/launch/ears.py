"""Signals that ask the supervisor for the end."""

import signal
import threading
from types import FrameType

from steadytrain.deaths import REQUEUE

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
"""What torch's agent takes over at each start, so what has to be taken back; and the signal that
Slurm's `--signal` sends most often."""

PREEMPTIONS = (signal.SIGTERM, signal.SIGUSR1)
"""The machine is wanted for something else: save, leave, and ask to be started again."""


class Ears:
    """Hears the signals that ask for the end; one that was ignored (nohup) stays ignored."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self._before = {one: signal.getsignal(one) or signal.SIG_DFL for one in SIGNALS}

    def __enter__(self) -> "Ears":
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        for one, before in self._before.items():
            _set_handler(one, before)

    def listen(self) -> None:
        for one, before in self._before.items():
            is_ours = before is not signal.SIG_IGN and one is not signal.SIGQUIT
            _set_handler(one, self._hear if is_ours else before)

    def status(self) -> int:
        """Exit status that answers the first signal."""
        signum = self.heard[0] if self.heard else signal.SIGTERM
        return REQUEUE if signum in PREEMPTIONS else 128 + signum

    def _hear(self, signum: int, frame: FrameType | None) -> None:
        self.heard.append(signum)


def _set_handler(one: signal.Signals, action: "signal._HANDLER") -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(one, action)
