"""The checkpoints of one replica, for the day on which all replicas die."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch.distributed as dist

from steadytrain.errors import CheckpointError
from steadytrain.events import CheckpointRefused, CheckpointSaved
from steadytrain.train.checkpoints import Checkpoints
from steadytrain.train.memory import Memory
from steadytrain.train.ranks import Ranks
from steadytrain.train.snapshots import Snapshots
from steadytrain.train.state import TrainingState


class Restored(NamedTuple):
    """What a checkpoint was of; `batches` is what torchft had counted."""

    name: str
    step: int
    draw: int
    batches: int


class Keeping:
    """Saves a replica's state beside training, and finds it again. Every rank, same order.

    Args:
        every, keep: steps between checkpoints, and how many are left.
        memory: of rank 0; gives None elsewhere.
    """

    def __init__(
        self,
        home: Path,
        state: TrainingState,
        ranks: Ranks,
        *,
        every: int,
        keep: int,
        memory: Callable[[], Memory | None],
    ) -> None:
        group = dist.new_group(backend="gloo") if ranks.world > 1 else None
        self._checkpoints = Checkpoints(home / "checkpoints", state, keep=keep, group=group)
        self._snapshots = Snapshots(state, keep=2)
        self._ranks = ranks
        self._every = every
        self._memory = memory

    def is_due(self, step: int) -> bool:
        return step % self._every == 0

    def save(self, step: int, draw: int, *, attempt: int, batches: int) -> None:
        """Begin to write the state after `step`.

        Args:
            batches: what torchft has counted.
        """
        began = time.monotonic()
        snapshot = self._snapshots.take(step, draw, attempt=attempt)
        blocked = time.monotonic() - began
        self._checkpoints.save(snapshot, attempt, {"batches": batches}, blocked_seconds=blocked)

    def restore(self) -> Restored | None:
        """Load the newest checkpoint that verifies on all ranks; None without one.

        Raises:
            CheckpointError: it is of another model.
        """
        for path in self._candidates():
            try:
                manifest = self._checkpoints.vouch(path)
            except CheckpointError as error:
                if (memory := self._memory()) is not None:
                    memory.tell(
                        CheckpointRefused(path=f"checkpoints/{path.name}", reason=str(error))
                    )
                continue
            self._checkpoints.insist_on_model(path, manifest)
            self._checkpoints.load(path, manifest)
            return Restored(
                name=path.name,
                step=manifest["step"],
                draw=manifest["draw"],
                batches=manifest["extra"]["batches"],
            )
        return None

    def note(self) -> None:
        """Put finished saves on record, and delete what is surplus."""
        saved = self._checkpoints.poll()
        memory = self._memory()
        if memory is None:
            return
        for event in saved:
            memory.tell(event)
            if isinstance(event, CheckpointSaved):
                memory.save_state()
                refused = memory.history.trust.is_refused
                self._checkpoints.prune(memory.state.healthy_until, refused=refused)

    def finish(self) -> None:
        """Wait until everything is on disk, and put it on record."""
        self._checkpoints.wait()
        self.note()

    def _candidates(self) -> Iterator[Path]:
        """Newest first, as rank 0 sees them."""
        found = [one.path for one in self._checkpoints.candidates()]
        yield from self._ranks.tell(found)
