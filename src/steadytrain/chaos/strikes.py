"""What was done, written down before it is done: whoever does it, and however it ends.

    TRIAL/faults.json             what is planned, for the ranks to read
    TRIAL/strikes/0-1.json        fault 0 fell for the first time

A strike's file is made exclusively, so of several ranks or lives that could do it one does.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from steadytrain.chaos.plan import Planned

FOLDER = "STEADYTRAIN_CHAOS"
"""Environment: a trial's folder. Every process of the trial carries it, so that none is missed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Strike:
    """A fault that fell.

    Attributes:
        clock: CLOCK_MONOTONIC of this host. [seconds]
        step: updates made; None if nobody knows.
        pid: of the struck rank; None if no rank was struck.
    """

    index: int
    clock: float
    step: int | None = None
    pid: int | None = None


class Strikes:
    """The strikes of a trial.

    >>> import tempfile
    >>> strikes = Strikes(Path(tempfile.mkdtemp()))
    >>> strikes.claim(0, times=1, step=7, pid=99), strikes.claim(0, times=1, step=7, pid=99)
    (True, False)
    >>> [one.step for one in strikes.read()]
    [7]
    """

    def __init__(self, trial: Path) -> None:
        self._folder = trial / "strikes"
        self._folder.mkdir(parents=True, exist_ok=True)

    def claim(self, index: int, *, times: int | None, step: int | None, pid: int | None) -> bool:
        """Whether the caller shall do it; it is on record then."""
        number = sum(1 for _ in self._folder.glob(f"{index}-*.json")) + 1
        if times is not None and number > times:
            return False
        strike = Strike(index=index, clock=time.monotonic(), step=step, pid=pid)
        try:
            with open(self._folder / f"{index}-{number}.json", "x") as file:
                file.write(json.dumps(asdict(strike)))
        except FileExistsError:
            return False
        return True

    def read(self) -> tuple[Strike, ...]:
        """All of them, in the order in which they fell."""
        found = [Strike(**json.loads(path.read_text())) for path in self._folder.glob("*.json")]
        return tuple(sorted(found, key=lambda one: one.clock))


def save(faults: tuple[Planned, ...], trial: Path) -> None:
    """Write what is planned into a trial's folder."""
    trial.mkdir(parents=True, exist_ok=True)
    (trial / "faults.json").write_bytes(msgspec.json.encode(faults))


def load(trial: Path) -> tuple[Planned, ...]:
    """What `save` wrote."""
    return msgspec.json.decode((trial / "faults.json").read_bytes(), type=tuple[Planned, ...])
