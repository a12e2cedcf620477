"""Where the run is, and every way back: snapshots in memory, checkpoints on disk, the branch."""

import time
from pathlib import Path

import torch.distributed as dist

from steadytrain.errors import CheckpointError
from steadytrain.events import CheckpointRefused, CheckpointSaved
from steadytrain.train.checkpoints import CheckpointRef, Checkpoints
from steadytrain.train.feed import Feed
from steadytrain.train.memory import Memory
from steadytrain.train.ranks import Ranks
from steadytrain.train.recorder import Recorder
from steadytrain.train.snapshots import Snapshots
from steadytrain.train.state import TrainingState


class Trajectory:
    """The run's position and what can be gone back to. Every rank holds one and moves alike.

    Args:
        snapshot_every, snapshots: steps between states kept in memory, and how many.
        checkpoint_every, keep: steps between checkpoints on disk, and how many.

    Attributes:
        step: updates made on the present branch.
        attempt: number of the present life.
        memory: of rank 0; None elsewhere, where nothing is written or decided.
    """

    def __init__(
        self,
        home: Path,
        state: TrainingState,
        feed: Feed,
        ranks: Ranks,
        *,
        snapshot_every: int,
        snapshots: int,
        checkpoint_every: int,
        keep: int,
    ) -> None:
        self.step = 0
        self.attempt = 0
        self.memory: Memory | None = None
        self.recorder = Recorder()
        self.snapshots = Snapshots(state, keep=snapshots)
        self._checkpoints = Checkpoints(
            home / "checkpoints", state, keep=keep, group=_writers_group(ranks)
        )
        self._feed = feed
        self._ranks = ranks
        self._snapshot_every = snapshot_every
        self._checkpoint_every = checkpoint_every

    def begin(self) -> None:
        """Keep the state that this life begins with; of a new run on disk as well."""
        snapshot = self.snapshots.take(self.step, self._feed.draw)
        if self.step == 0:
            self._checkpoints.save(snapshot, self.attempt, {}, blocked_seconds=0.0)

    def keep(self, *, is_last: bool) -> None:
        """Snapshot and checkpoint by the step's number, so that every rank does the same."""
        takes_checkpoint = self.step % self._checkpoint_every == 0 or is_last
        if self.step % self._snapshot_every and not takes_checkpoint:
            return
        began = time.monotonic()
        snapshot = self.snapshots.take(self.step, self._feed.draw)
        if takes_checkpoint:
            blocked = time.monotonic() - began
            self._checkpoints.save(snapshot, self.attempt, {}, blocked_seconds=blocked)

    def return_to(self, step: int) -> tuple[str, str | None]:
        """Restore the newest state at or before a step; what came later is abandoned.

        Returns:
            what it came from ("snapshot" or "checkpoint"), and the checkpoint's name.

        Raises:
            CheckpointError: nothing so old is left.
        """
        self.snapshots.drop_after(step)
        self.recorder.forget_after(step)
        snapshot = self.snapshots.newest_at_or_before(step)
        if snapshot is not None:
            self.snapshots.restore(snapshot)
            self.step = snapshot.step
            self._feed.seek(snapshot.draw)
            return "snapshot", None
        self.finish_saving()
        ref = self.restore_newest(step)
        if ref is None:
            raise CheckpointError(
                f"no snapshot or checkpoint at or before step {step} is left, so the run cannot "
                "return there. Keep more: snapshots=8, keep=5 reach further back."
            )
        return "checkpoint", ref.path.name

    def restore_newest(self, at_or_before: int) -> CheckpointRef | None:
        """Restore the newest checkpoint that verifies and lies on the present branch."""
        ref: CheckpointRef | None = None
        refused: list[CheckpointRefused] = []
        memory = self.memory
        if memory is not None:
            ref, refused = self._checkpoints.newest_valid(
                lambda one: memory.allows(at_or_before, one.attempt, one.step)
            )
            for one in refused:
                memory.tell(one)
        ref = self._ranks.tell(ref)
        if ref is None:
            return None
        manifest = self._checkpoints.restore(ref.path)
        self.step = int(manifest["step"])
        self._feed.seek(int(manifest["draw"]))
        return ref

    def oldest_state(self) -> int | None:
        """Step of the oldest state on the present branch that is kept; rank 0 may ask."""
        assert self.memory is not None
        refs = [ref.step for ref in self._checkpoints.candidates() if self._is_on_branch(ref)]
        return min([*self.snapshots.steps, *refs], default=None)

    def note_checkpoints(self) -> None:
        """Put finished saves on record; every rank may call it, rank 0 alone writes."""
        saved = self._checkpoints.poll()
        if self.memory is None:
            return
        for event in saved:
            self.memory.tell(event)
            if isinstance(event, CheckpointSaved):
                self.memory.save_state()
                self._checkpoints.prune(self.memory.state.healthy_until, allowed=self._is_on_branch)

    def _is_on_branch(self, ref: CheckpointRef) -> bool:
        assert self.memory is not None
        return self.memory.history.is_on_branch(ref.attempt, ref.step)

    def finish_saving(self) -> None:
        """Wait until everything is on disk, and put it on record."""
        self._checkpoints.wait()
        self.note_checkpoints()


def _writers_group(ranks: Ranks) -> dist.ProcessGroup | None:
    """A group of its own for the thread that writes checkpoints, apart from the training's."""
    return dist.new_group(backend="gloo") if ranks.world > 1 else None
