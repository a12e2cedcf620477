"""States that an earlier life has left in shared memory, as all ranks see them together."""

from steadytrain.errors import CheckpointError
from steadytrain.train.found import Found
from steadytrain.train.ranks import Ranks
from steadytrain.train.snapshots import Snapshots
from steadytrain.train.state import digest_rng

Key = tuple[int, int, int]
"""Attempt, step, draw: the same state on every rank."""


class Survivors:
    """Every method: every rank, same order."""

    def __init__(self, snapshots: Snapshots, ranks: Ranks) -> None:
        self._snapshots = snapshots
        self._ranks = ranks
        self._mine: dict[Key, Found] = {}
        self._common: list[Key] = []

    def look(self) -> list[str]:
        """Find what was sealed on every rank; returns why files were refused, each once."""
        found, refused = self._snapshots.find()
        # The newest first: of two with one key the later copy counts.
        self._mine = {one.key: one for one in reversed(found)}
        parts = self._ranks.gather((list(self._mine), refused))
        self._common = [key for key in parts[0][0] if all(key in keys for keys, _ in parts)]
        words = [
            (f"rank {rank}: {one}" if self._ranks.world > 1 else one)
            for rank, (_, part) in enumerate(parts)
            for one in part
        ]
        return list(dict.fromkeys(words))

    @property
    def left(self) -> list[Key]:
        """Those that were sealed on every rank and not passed over."""
        return self._common

    def vouch(self, key: Key) -> str | None:
        """Why a state cannot be restored, None if it can: every rank reads all of its own part."""
        parts = self._ranks.gather(self._snapshots.why_not(self._mine[key]))
        for rank, why in enumerate(parts):
            if why is not None:
                return f"rank {rank}: {why}" if self._ranks.world > 1 else str(why)
        return None

    def restore(self, key: Key) -> tuple[int, int]:
        """Put a state back; its step, and the position in the data order after it.

        Raises:
            CheckpointError: on all ranks, if any of them could not; the live state is to be
                restored from elsewhere then.
        """
        failure: str | None = None
        found = self._mine[key]
        try:
            self._snapshots.restore_found(found)
        except CheckpointError as error:
            failure = str(error)
        for one in self._ranks.gather(failure):
            if one is not None:
                raise CheckpointError(one)
        return found.step, found.draw

    def rng(self, key: Key) -> str | None:
        """Digest of this rank's random state when the state was taken; None of another rank's."""
        found = self._mine[key]
        return digest_rng(found.rng) if found.is_mine else None

    def pass_over(self, key: Key) -> None:
        """Do not offer a state again."""
        self._common = [one for one in self._common if one != key]

    def let_go(self) -> None:
        """A life has begun: the memory may be written again."""
        self._mine, self._common = {}, []
