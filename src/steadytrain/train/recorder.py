"""Flight recorder: the last updates of this rank: which draws, with which loss, at which rate."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

REPEATS = 32
"""A sequence that came so few steps ago comes again by accident in a small corpus only; the share
before says how small it is. [steps] Source: guess."""


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
        self._flights: deque[Flight] = deque()
        self._keep = keep
        self._last_seen: dict[int, int] = {}  # digest -> the step in which it stood last
        self._rng: dict[int, str] = {}

    def add(self, flight: Flight) -> None:
        self._flights.append(flight)
        self._last_seen.update(dict.fromkeys(flight.digests.tolist(), flight.step))
        if len(self._flights) > self._keep:
            oldest = self._flights.popleft()
            for digest in oldest.digests.tolist():
                if self._last_seen.get(digest) == oldest.step:
                    del self._last_seen[digest]

    def note_rng(self, step: int, digest: str, *, oldest: int) -> None:
        """Remember the random state that was kept after `step`, and those since `oldest`."""
        self._rng = {at: one for at, one in self._rng.items() if oldest <= at < step}
        self._rng[step] = digest

    def rng(self, step: int) -> str | None:
        """Digest of the random state that was kept after `step`; None if none was."""
        return self._rng.get(step)

    def forget_after(self, step: int) -> None:
        kept = [flight for flight in self._flights if flight.step <= step]
        self._flights.clear()
        self._last_seen.clear()
        for flight in kept:
            self.add(flight)

    def count_repeats(self, step: int, digests: Sequence[int]) -> int:
        """How many of these sequences of `step` stood in the steps before it, or twice in it."""
        first = step - REPEATS
        fresh = {one for one in digests if self._last_seen.get(one, first - 1) < first}
        return len(digests) - len(fresh)

    def between(self, first: int, last: int) -> list[Flight]:
        """Updates with first <= step <= last, oldest first."""
        return [flight for flight in self._flights if first <= flight.step <= last]
