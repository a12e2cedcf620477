"""Who computes which sequences of an update, when replicas come and go between two of them.

An update has the same sequences however many replicas are there: n of them share it out, and each
micro-batch weighs as much as it has sequences. So a replica that dies makes updates slower and
changes nothing else; where a run's samples are is known from the number of its updates.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Piece(NamedTuple):
    """A micro-batch: its draws, and the weight of its mean loss on this rank.

    A piece of weight 0 is there because every rank of a group must compute equally often.
    """

    draws: tuple[int, ...]
    weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """One rank's part of an update.

    Attributes:
        place, replicas: of this replica among those that take part.
        rank, world: of this rank in its replica.
    """

    place: int
    replicas: int
    rank: int = 0
    world: int = 1

    def pieces(self, draws: Sequence[int], batch_size: int) -> Iterator[Piece]:
        """This rank's micro-batches of an update that has these draws over all replicas.

        The weights make the mean over all ranks of weight * mean loss the mean over the sequences.

        >>> share = Share(place=1, replicas=2)
        >>> list(share.pieces(range(10, 15), 2))
        [Piece(draws=(11, 13), weight=0.8), Piece(draws=(10,), weight=0.0)]
        """
        shares = self.replicas * self.world
        mine = tuple(draws[self.place * self.world + self.rank :: shares])
        most = -(-len(draws) // shares)  # what the first rank has
        for first in range(0, most, batch_size):
            some = mine[first : first + batch_size]
            yield Piece(some or tuple(draws[:1]), shares * len(some) / len(draws))
