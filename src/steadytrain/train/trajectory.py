"""Where the run is, and every way back: snapshots in memory, checkpoints on disk, the branch."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import msgspec
import torch.distributed as dist

from steadytrain.errors import CheckpointError, JournalError
from steadytrain.events import (
    CheckpointRefused,
    CheckpointSaved,
    Event,
    Remedy,
    RestoreVerified,
    RunBranched,
    StepRecord,
)
from steadytrain.train.branches import Origin, Parent
from steadytrain.train.checkpoints import CheckpointRef, Checkpoints
from steadytrain.train.feed import Feed
from steadytrain.train.memory import Memory
from steadytrain.train.ranks import Ranks
from steadytrain.train.recorder import Flight, Recorder
from steadytrain.train.restores import Restores
from steadytrain.train.snapshots import Snapshot, Snapshots
from steadytrain.train.state import TrainingState, digest_rng
from steadytrain.train.track import Expected

MOST_TRIES = 3
"""States of each sort that are restored and compared before the least unlike one is taken. Each
costs a load and a forward pass. Source: guess."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Way:
    """One way back.

    Attributes:
        load: restores the state; gives its step and the position in the data order.
        refuse: is told why the state is not gone back to.
        follower: the update after it, as this rank's recorder holds it.
        checkpoint, attempt: its name, and the life that saved it; None for a snapshot.
        parent: the other run that it belongs to, as rank 0 has read it; its files may vanish.
        is_ours: whether it is of this very run.
    """

    kind: str
    load: Callable[[], tuple[int, int]]
    refuse: Callable[[str], None]
    follower: Flight | None = None
    checkpoint: str | None = None
    attempt: int | None = None
    parent: Parent | None = None
    is_ours: bool = True


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
        restores: Restores,
    ) -> None:
        self.step = 0
        self.attempt = 0
        self.memory: Memory | None = None
        self._branched: RunBranched | None = None
        self.recorder = Recorder()
        self.snapshots = Snapshots(state, keep=snapshots)
        self._checkpoints = Checkpoints(
            home / "checkpoints", state, keep=keep, group=_writers_group(ranks)
        )
        self._feed = feed
        self._ranks = ranks
        self._restores = restores
        self._snapshot_every = snapshot_every
        self._checkpoint_every = checkpoint_every

    def begin(self, *, is_branch: bool = False) -> None:
        """Keep the state that this life begins with; of a new run on disk as well."""
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
            blocked = time.monotonic() - began
            self._checkpoints.save(snapshot, self.attempt, {}, blocked_seconds=blocked)

    def _take(self) -> Snapshot:
        snapshot = self.snapshots.take(self.step, self._feed.draw)
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
            ways = chain(self._ways_in_memory(step, followers, leases), self._ways_on_disk(step))
            way = self._take_first_sound(ways)
        # The updates between the state and `step` are made again, and recorded again.
        self.recorder.forget_after(self.step)
        if way is None:
            raise CheckpointError(
                f"no snapshot or checkpoint at or before step {step} is left, so the run cannot "
                "return there. Keep more: snapshots=8, keep=5 reach further back."
            )
        return way.kind, way.checkpoint

    def restore_newest(self, at_or_before: int) -> str | None:
        """Restore the newest sound checkpoint on the present branch; its name, None without one."""
        way = self._take_first_sound(self._ways_on_disk(at_or_before))
        return way.checkpoint if way is not None else None

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
        way = self._take_first_sound(self._ways_of_parent(home, at_or_before, adopt, reason))
        self._branched = self._ranks.tell(self._branched)
        if way is None or self._branched is None:
            raise CheckpointError(
                f"no checkpoint of {home} can be branched from: {self._ranks.tell(reason)[0]}."
            )
        return self._branched

    def _take_first_sound(self, ways: Iterator[_Way]) -> _Way | None:
        """Restore the first state that is as it was recorded.

        If none is, the run goes on from the newest of those that differ in the fewest things. Every
        checkpoint has verified to the byte and every snapshot was taken apart, so what they all
        differ in lies around them (another version, schedule or data order), and an older one
        would lose work and cure nothing. To stop would leave a run dead at night that a person can
        still look at in the morning: the advice that follows is loud.
        """
        tried: list[tuple[_Way, RestoreVerified]] = []
        for way in ways:
            try:
                found = self._load_and_verify(way)
            except CheckpointError as error:
                if way.is_ours:
                    raise
                way.refuse(str(error))  # deleted meanwhile, or torn: an older one is there
                continue
            if not found.differences:
                self._tell(found)
                return way
            tried.append((way, found))
            self._tell(found)
            way.refuse("; ".join(found.differences))
        if not tried:
            return None
        way, found = min(tried, key=lambda one: len(one[1].differences))
        if way is not tried[-1][0]:
            self._load(way)
        self._tell(msgspec.structs.replace(found, taken=True))
        return way

    def _load_and_verify(self, way: _Way) -> RestoreVerified:
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
        return self._restores.verify(
            expected,
            attempt=self.attempt + 1,
            source=way.checkpoint or way.kind,
            rng=rng,
            flight=way.follower,
        )

    def _load(self, way: _Way) -> None:
        self.step, draw = way.load()
        self._feed.seek(draw)

    def _ways_in_memory(
        self, step: int, followers: Mapping[int, Flight], leases: contextlib.ExitStack
    ) -> Iterator[_Way]:
        for snapshot in self.snapshots.at_or_before(step)[:MOST_TRIES]:
            # A refused one may still be the best there is.
            leases.enter_context(snapshot.lease())
            yield _Way(
                kind="snapshot",
                load=partial(self._load_snapshot, snapshot),
                refuse=partial(self._refuse_snapshot, snapshot),
                follower=followers.get(snapshot.step),
            )

    def _ways_on_disk(self, at_or_before: int) -> Iterator[_Way]:
        self.finish_saving()
        passed_over: set[str] = set()
        for _ in range(MOST_TRIES):
            ref = self._find(at_or_before, passed_over)
            if ref is None:
                return
            yield _Way(
                kind="checkpoint",
                load=partial(self._load_checkpoint, ref),
                refuse=partial(self._refuse_checkpoint, ref),
                checkpoint=ref.path.name,
                attempt=ref.attempt,
            )

    def _ways_of_parent(
        self,
        home: Path,
        at_or_before: int | None,
        adopt: Callable[[tuple[Remedy, ...]], None],
        reason: list[str],
    ) -> Iterator[_Way]:
        """Its healthy checkpoints, newest first. Rank 0 alone reads its journal."""
        parent: Parent | None = None
        origins: list[Origin] = []
        failure: str | None = None
        if self.memory is not None:
            try:
                parent = Parent(home, domains=self._feed.domains)
                origins = parent.origins(at_or_before)
            except (CheckpointError, JournalError) as error:
                failure = str(error)
        failure, origins = self._ranks.tell((failure, origins))
        reason.append(failure or "none is known to be healthy yet, or all were deleted")
        for origin in origins:
            yield _Way(
                kind="checkpoint",
                load=partial(self._load_origin, origin, adopt),
                refuse=partial(self._refuse_origin, origin, reason),
                checkpoint=origin.ref.path.name,
                attempt=origin.ref.attempt,
                parent=parent,
                is_ours=False,
            )

    def _load_origin(
        self, origin: Origin, adopt: Callable[[tuple[Remedy, ...]], None]
    ) -> tuple[int, int]:
        adopt(origin.branched.remedies)
        step, draw = self._load_checkpoint(origin.ref)
        self._branched = msgspec.structs.replace(origin.branched, draw=draw)
        return step, draw

    def _refuse_origin(self, origin: Origin, reasons: list[str], reason: str) -> None:
        reasons[0] = reason
        self._tell(CheckpointRefused(path=str(origin.ref.path), reason=reason))

    def _find(self, at_or_before: int, passed_over: set[str]) -> CheckpointRef | None:
        """The newest checkpoint that verifies and lies on the present branch, as rank 0 sees it.

        It and those that do not verify are passed over the next time.
        """
        ref: CheckpointRef | None = None
        memory = self.memory
        if memory is not None:
            ref, refused = self._checkpoints.newest_valid(
                lambda one: (
                    one.path.name not in passed_over
                    and memory.allows(at_or_before, one.attempt, one.step)
                )
            )
            for event in refused:
                memory.tell(event)
            passed_over.update(Path(event.path).name for event in refused)
            passed_over.update([ref.path.name] if ref is not None else [])
        found: CheckpointRef | None = self._ranks.tell(ref)
        return found

    def _load_snapshot(self, snapshot: Snapshot) -> tuple[int, int]:
        self.snapshots.restore(snapshot)
        return snapshot.step, snapshot.draw

    def _load_checkpoint(self, ref: CheckpointRef) -> tuple[int, int]:
        manifest = self._checkpoints.restore(ref.path)
        return int(manifest["step"]), int(manifest["draw"])

    def _refuse_snapshot(self, snapshot: Snapshot, reason: str) -> None:
        self.snapshots.drop(snapshot)

    def _refuse_checkpoint(self, ref: CheckpointRef, reason: str) -> None:
        self._tell(CheckpointRefused(path=f"checkpoints/{ref.path.name}", reason=reason))

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
