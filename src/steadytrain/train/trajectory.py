"""Where the run is, what it keeps of its way, and how it returns."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import msgspec
import torch.distributed as dist

from steadytrain.errors import CheckpointError
from steadytrain.events import (
    CheckpointSaved,
    Event,
    Remedy,
    RestoreVerified,
    RunBranched,
    StepRecord,
)
from steadytrain.slots import Folder, folder_of, is_wanted
from steadytrain.train.checkpoints import Checkpoints
from steadytrain.train.feed import Feed
from steadytrain.train.mapped import Mapped
from steadytrain.train.memory import Memory
from steadytrain.train.mirror import Mirror
from steadytrain.train.ranks import Ranks
from steadytrain.train.recorder import Flight, Recorder
from steadytrain.train.restores import Restores
from steadytrain.train.retention import CheckpointRef
from steadytrain.train.snapshots import Snapshot, Snapshots
from steadytrain.train.state import TrainingState, digest_rng
from steadytrain.train.track import Expected
from steadytrain.train.ways import Way, Ways


class Trajectory:
    """The run's position and what can be gone back to. Every rank holds one and moves alike.

    Args:
        snapshot_every, snapshots: steps between states kept in memory, and how many.
        checkpoint_every, keep: steps between checkpoints on disk, and how many.
        mirror: of every rank; rank 0's does the work.

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
        restores: Restores,
        mirror: Mirror | None = None,
    ) -> None:
        self.step = 0
        self.attempt = 0
        self.memory: Memory | None = None
        self.recorder = Recorder()
        mapped = _slots(home, state, ranks, keep=snapshots)
        self.snapshots = Snapshots(state, keep=snapshots, mapped=mapped)
        self._checkpoints = Checkpoints(
            home / "checkpoints", state, keep=keep, group=_writers_group(ranks)
        )
        self._ways = Ways(
            self.snapshots,
            self._checkpoints,
            feed,
            ranks,
            memory=lambda: self.memory,
            mirror=mirror,
        )
        self._feed = feed
        self._ranks = ranks
        self._restores = restores
        self._mirror = mirror
        self._snapshot_every = snapshot_every
        self._checkpoint_every = checkpoint_every
        self._saved = 0, 0
        self._num_mirrored = 0

    def begin(self, *, is_branch: bool = False) -> None:
        """Keep the state that this life begins with; of a new run on disk as well."""
        self._ways.survivors.let_go()
        if self.attempt == 1:
            self.snapshots.forget_found()
        if int(os.environ.get("LOCAL_RANK", self._ranks.rank)) == 0:
            self.snapshots.remove_others()
        snapshot = self._take()
        if self.step == 0 or is_branch:
            self._checkpoints.save(snapshot, self.attempt, {}, blocked_seconds=0.0)
        if is_branch:
            self.finish_saving()  # from here on the parent may delete what it likes

    def keep(self, *, is_last: bool) -> None:
        """Snapshot and checkpoint by the step's number, so that every rank does the same."""
        takes_checkpoint = self.step % self._checkpoint_every == 0 or is_last
        if self.step % self._snapshot_every and not takes_checkpoint:
            return
        began = time.monotonic()
        snapshot = self._take()
        if takes_checkpoint:
            self._saved = self.attempt, self.step
            blocked = time.monotonic() - began
            self._checkpoints.save(snapshot, self.attempt, {}, blocked_seconds=blocked)

    def save_now(self) -> None:
        """Make the present state durable, if it is not; returns when it is. Every rank."""
        self.finish_saving()  # or this checkpoint might be skipped
        if self._saved != (self.attempt, self.step):
            self.keep(is_last=True)
        self.finish_saving()

    def _take(self) -> Snapshot:
        snapshot = self.snapshots.take(self.step, self._feed.draw, attempt=self.attempt)
        oldest = self.snapshots.oldest
        assert oldest is not None
        self.recorder.note_rng(self.step, digest_rng(snapshot.rng), oldest=oldest.step)
        return snapshot

    def return_to(self, step: int) -> tuple[str, str | None]:
        """Restore the newest sound state at or before a step; what came later is abandoned.

        Returns:
            what it came from ("snapshot" or "checkpoint"), and the checkpoint's name.

        Raises:
            CheckpointError: nothing so old is left.
        """
        followers = {flight.step - 1: flight for flight in self.recorder.between(1, step + 1)}
        self.snapshots.drop_after(step)
        self.recorder.forget_after(step)
        with contextlib.ExitStack() as leases:
            ways = self._ways.in_memory(step, followers, leases)
            way = self._take_first_sound(chain(ways, self._kept(step)))
        # The updates between the state and `step` are made again, and recorded again.
        self.recorder.forget_after(self.step)
        if way is None:
            raise CheckpointError(
                f"no snapshot or checkpoint at or before step {step} is left, so the run cannot "
                "return there. Keep more: snapshots=8, keep=5 reach further back."
            )
        return way.kind, way.checkpoint

    def restore_newest(self, at_or_before: int) -> str | None:
        """Restore the newest sound state that earlier lives left on the present branch.

        Returns:
            "shared memory", or the checkpoint's name; None without one.
        """
        self._ways.look()
        way = self._take_first_sound(self._kept(at_or_before, shared=True))
        return (way.checkpoint or way.kind) if way is not None else None

    def branch_off(
        self, home: Path, at_or_before: int | None, *, adopt: Callable[[tuple[Remedy, ...]], None]
    ) -> RunBranched:
        """Restore the newest sound and healthy checkpoint of another run, which may be running.

        Args:
            adopt: lets remedies hold that were in force there.

        Raises:
            CheckpointError: there is no such run or checkpoint, or it is of another model.
        """
        reason: list[str] = []
        way = self._take_first_sound(self._ways.of_parent(home, at_or_before, adopt, reason))
        branched: RunBranched | None = self._ranks.tell(self._ways.branched)
        if way is None or branched is None:
            raise CheckpointError(
                f"no checkpoint of {home} can be branched from: {self._ranks.tell(reason)[0]}."
            )
        return branched

    def _kept(self, at_or_before: int, *, shared: bool = False) -> Iterator[Way]:
        self.finish_saving()
        yield from self._ways.kept(at_or_before, shared=shared)

    def _take_first_sound(self, ways: Iterator[Way]) -> Way | None:
        """Restore the first state that is as it was recorded.

        If none is, the run goes on from the newest of those that differ in the fewest things. Every
        checkpoint has verified to the byte and every snapshot was taken apart, so what they all
        differ in lies around them (another version, schedule or data order), and an older one
        would lose work and cure nothing. To stop would leave a run dead at night that a person can
        still look at in the morning: the advice that follows is loud.
        """
        tried: list[tuple[Way, RestoreVerified]] = []
        failure: CheckpointError | None = None
        for way in ways:
            try:
                found = self._load_and_verify(way)
            except CheckpointError as error:
                way.refuse(str(error))  # deleted meanwhile, or unreadable: an older one is there
                failure = error if way.is_ours else failure
                continue
            if not found.differences:
                self._tell(found)
                return way
            tried.append((way, found))
            self._tell(found)
            way.refuse("; ".join(found.differences))
        if not tried:
            if failure is not None:
                raise failure  # not step 0: what lies there may be mended
            return None
        way, found = min(tried, key=lambda one: len(one[1].differences))
        if way is not tried[-1][0]:
            self._load(way)
        self._tell(msgspec.structs.replace(found, taken=True))
        return way

    def _load_and_verify(self, way: Way) -> RestoreVerified:
        self._load(way)
        expected: Expected | None = None
        if self.memory is not None:
            history = way.parent.history if way.parent is not None else self.memory.history
            expected = history.track.expected(
                self.step, attempt=way.attempt, reset_after=self._restores.zeroed_after(self.step)
            )
        expected = self._ranks.tell(expected)
        assert expected is not None
        rng = self.recorder.rng(self.step)
        if way.attempt is not None:
            is_mine = len(expected.rng) == self._ranks.world
            rng = expected.rng[self._ranks.rank] if is_mine else None
        if way.key is not None:
            rng = self._ways.survivors.rng(way.key)
        return self._restores.verify(
            expected,
            attempt=self.attempt + 1,
            source=way.checkpoint or way.kind,
            rng=rng,
            flight=way.follower,
        )

    def _load(self, way: Way) -> None:
        self.step, draw = way.load()
        self._feed.seek(draw)

    def _tell(self, event: Event) -> None:
        if self.memory is not None:
            self.memory.tell(event)

    def note_update(self, flight: Flight, record: StepRecord) -> None:
        """Put an update on record, when its numbers have arrived."""
        self.recorder.add(flight)
        self._tell(record)
        rehearsal = self._restores.compare_rehearsal(flight, record)
        if rehearsal is not None:
            self._tell(rehearsal)

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
                self._look_after(event, self.memory)
        if self._mirror is not None:
            for told in self._mirror.poll():
                self.memory.tell(told)
            if self.memory.history.num_binding != self._num_mirrored:
                self._num_mirrored = self.memory.history.num_binding
                self._mirror.bring_journal()

    def _look_after(self, saved: CheckpointSaved, memory: Memory) -> None:
        """Copy a durable checkpoint up, and delete what is too many."""
        healthy_until, refused = memory.state.healthy_until, memory.history.trust.is_refused
        in_use: set[str] = set()
        if self._mirror is not None:
            self._mirror.begin(
                saved, healthy_until=healthy_until, allowed=self._is_on_branch, refused=refused
            )
            in_use = self._mirror.in_use()
        self._checkpoints.prune(
            healthy_until, allowed=self._is_on_branch, refused=refused, in_use=in_use
        )

    def _is_on_branch(self, ref: CheckpointRef) -> bool:
        assert self.memory is not None
        return self.memory.history.is_on_branch(ref.attempt, ref.step)

    def close(self, *, has_ended: bool) -> None:
        """Leave shared memory: with all states for the next life, or with none after the end."""
        self._checkpoints.close()
        self.snapshots.close(has_ended=has_ended)

    def finish_saving(self) -> None:
        """Wait until everything is on disk, and put it on record."""
        self._checkpoints.wait()
        self.note_checkpoints()

    def finish_mirroring(self) -> None:
        """Wait until the mirror has the last checkpoint and all of the journal, or has failed."""
        if self._mirror is not None:
            self._mirror.finish()
            self.note_checkpoints()


def _writers_group(ranks: Ranks) -> dist.ProcessGroup | None:
    """A group of its own for the thread that writes checkpoints, apart from the training's."""
    return dist.new_group(backend="gloo") if ranks.world > 1 else None


def _slots(home: Path, state: TrainingState, ranks: Ranks, *, keep: int) -> Mapped | None:
    """This rank's states in shared memory; None where they are not wanted or cannot be."""
    if not is_wanted():
        return None
    try:
        folder = Folder(
            folder_of(home),
            home=home,
            rank=ranks.rank,
            world=ranks.world,
            fingerprint=state.fingerprint(),
        )
    except OSError as error:
        print(
            f"steadytrain: {folder_of(home)} cannot be used ({error.strerror}), so a killed "
            "process goes back to its last checkpoint. Name a folder in STEADYTRAIN_SHM.",
            file=sys.stderr,
            flush=True,
        )
        return None
    return Mapped(folder, keep=keep)
