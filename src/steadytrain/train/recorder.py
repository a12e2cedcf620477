"""Flight recorder: the last updates of this rank: which draws, with which loss, at which rate."""

from collections import deque
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Flight:
    """One update of this rank.

    Attributes:
        draws, domains, losses: per sequence: position, domain index, mean loss. [nats/token]
        digests: CRC-32 of each sequence's tokens: equal ones are repeats, but for 1 in 2^32.
        defects: what is wrong with the text of each sequence, if it was read.
        lr: learning rate that the optimizer used.
        grad_norm: over all ranks, before clipping.
    """

    step: int
    draws: np.ndarray
    domains: np.ndarray
    losses: np.ndarray
    digests: np.ndarray
    defects: tuple[str | None, ...]
    lr: float
    grad_norm: float
    committed: bool


class Recorder:
    """Keeps the last `keep` updates; what a rollback abandons is forgotten."""

    def __init__(self, *, keep: int = 128) -> None:
        self._flights: deque[Flight] = deque(maxlen=keep)

    def add(self, flight: Flight) -> None:
        self._flights.append(flight)

    def forget_after(self, step: int) -> None:
        kept = [flight for flight in self._flights if flight.step <= step]
        self._flights.clear()
        self._flights.extend(kept)

    def between(self, first: int, last: int) -> list[Flight]:
        """Updates with first <= step <= last, oldest first."""
        return [flight for flight in self._flights if first <= flight.step <= last]
