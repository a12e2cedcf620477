"""Where every thread of this rank stands, when asked: so a hang can be explained after the kill."""

import faulthandler
import signal
from pathlib import Path


class Stands:
    """SIGUSR2 writes every thread's stack to HOME/stacks/rank<r>.txt, until `close`."""

    def __init__(self, home: Path, rank: int) -> None:
        path = home / "stacks" / f"rank{rank}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "w")  # noqa: SIM115  # stays open: a signal handler writes to it
        faulthandler.register(signal.SIGUSR2, file=self._file, all_threads=True)

    def close(self) -> None:
        faulthandler.unregister(signal.SIGUSR2)
        self._file.close()
