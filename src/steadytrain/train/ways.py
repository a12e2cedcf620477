"""Every way back to a state: snapshots, shared memory, checkpoints, their mirror, another run's."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from steadytrain.errors import CheckpointError, JournalError
from steadytrain.events import CheckpointRefused, Event, Remedy, RunBranched
from steadytrain.train.branches import Origin, Parent
from steadytrain.train.checkpoints import Checkpoints
from steadytrain.train.feed import Feed
from steadytrain.train.memory import Memory
from steadytrain.train.mirror import Mirror
from steadytrain.train.ranks import Ranks
from steadytrain.train.recorder import Flight
from steadytrain.train.retention import CheckpointRef
from steadytrain.train.snapshots import Snapshot, Snapshots
from steadytrain.train.survivors import Key, Survivors

SHARED = "shared memory"
"""What a state that outlived its process is restored from, in the record."""

MOST_TRIES = 3
"""States of each sort that are restored and compared before the least unlike one is taken. Each
costs a load and a forward pass. Source: guess."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """One way back.

    Attributes:
        load: restores the state; gives its step and the position in the data order.
        refuse: is told why the state is not gone back to.
        follower: the update after it, as this rank's recorder holds it.
        checkpoint, attempt: its name, and the life that saved it; None for a snapshot.
        key: of a state in shared memory.
        parent: the other run that it belongs to, as rank 0 has read it; its files may vanish.
        is_ours: whether it is of this very run.
    """

    kind: str
    load: Callable[[], tuple[int, int]]
    refuse: Callable[[str], None]
    follower: Flight | None = None
    checkpoint: str | None = None
    attempt: int | None = None
    key: Key | None = None
    parent: Parent | None = None
    is_ours: bool = True


class Ways:
    """What can be gone back to, the best first. Every rank walks alike, as rank 0 chooses.

    Args:
        memory: of rank 0; gives None elsewhere.
        mirror: of every rank; rank 0's does the work.

    Attributes:
        branched: how the state of another run that was loaded last is put on record.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        checkpoints: Checkpoints,
        feed: Feed,
        ranks: Ranks,
        *,
        memory: Callable[[], Memory | None],
        mirror: Mirror | None = None,
    ) -> None:
        self.branched: RunBranched | None = None
        self.survivors = Survivors(snapshots, ranks)
        self._snapshots = snapshots
        self._checkpoints = checkpoints
        self._feed = feed
        self._ranks = ranks
        self._memory = memory
        self._mirror = mirror

    def look(self) -> None:
        """Find what earlier lives left in shared memory, and put on record what is refused."""
        for words in self.survivors.look():
            self._tell(CheckpointRefused(path=SHARED, reason=words))

    def in_memory(
        self, step: int, followers: Mapping[int, Flight], leases: contextlib.ExitStack
    ) -> Iterator[Way]:
        for snapshot in self._snapshots.at_or_before(step)[:MOST_TRIES]:
            # A refused one may still be the best there is.
            leases.enter_context(snapshot.lease())
            yield Way(
                kind="snapshot",
                load=partial(self._load_snapshot, snapshot),
                refuse=partial(self._refuse_snapshot, snapshot),
                follower=followers.get(snapshot.step),
            )

    def kept(self, at_or_before: int, *, shared: bool = False) -> Iterator[Way]:
        """Checkpoints, and states in `shared` memory, that verify on all ranks.

        The newest first: by attempt, then by step, and those that led to the same death last. Where
        none is left that verifies, what the mirror holds.
        """
        passed_over: set[str] = set()
        sound: set[str] = set()
        offered = 0
        while offered < MOST_TRIES * (1 + shared):
            choice = self._newest(at_or_before, passed_over, sound, shared=shared)
            if choice is None:
                return
            if isinstance(choice, CheckpointRef):
                passed_over.add(choice.path.name)
                way = self._way_on_disk(choice)
            else:
                self.survivors.pass_over(choice)
                way = self._way_in_shared_memory(choice)
            if way is not None:
                sound.add(way.checkpoint or "")
                offered += 1
                yield way

    def _newest(
        self, at_or_before: int, passed_over: set[str], sound: set[str], *, shared: bool
    ) -> CheckpointRef | Key | None:
        """What rank 0 chooses, on all ranks; of equals the one that is in memory."""
        choice: CheckpointRef | Key | None = None
        memory = self._memory()
        if memory is not None:
            states: list[tuple[int, int, bool, CheckpointRef | Key]] = [
                (ref.attempt, ref.step, False, ref)
                for ref in self._checkpoints.candidates()
                if ref.path.name not in passed_over
            ]
            states += [(key[0], key[1], True, key) for key in self.survivors.left if shared]
            states = [one for one in states if memory.allows(at_or_before, one[0], one[1])]
            states.sort(key=lambda one: (_trust(memory, one[1]), *one[:3]))
            choice = states[-1][3] if states else None
        told: CheckpointRef | Key | None = self._ranks.tell(choice)
        return told or self._fetch(at_or_before, sound)

    def _fetch(self, at_or_before: int, sound: set[str]) -> CheckpointRef | None:
        """From the mirror: what is not here, or was damaged here."""
        mirror, memory = self._mirror, self._memory()
        if mirror is None:
            return None

        def fetch() -> CheckpointRef | None:
            assert memory is not None

            def is_wanted(ref: CheckpointRef) -> bool:
                is_news = ref.path.name not in sound
                return is_news and memory.allows(at_or_before, ref.attempt, ref.step)

            try:
                return mirror.fetch(self._checkpoints.folder, is_wanted)
            except CheckpointError:
                if sound:
                    return None  # there is something to go on from
                raise

        return mirror.fetch_together(fetch if memory is not None else None, self._ranks)

    def _way_on_disk(self, ref: CheckpointRef) -> Way | None:
        try:
            manifest = self._checkpoints.vouch(ref.path)
        except CheckpointError as error:
            self._refuse_checkpoint(ref, str(error))
            return None
        self._checkpoints.insist_on_model(ref.path, manifest)
        return Way(
            kind="checkpoint",
            load=partial(self._load_vouched, ref, manifest),
            refuse=partial(self._refuse_checkpoint, ref),
            checkpoint=ref.path.name,
            attempt=ref.attempt,
        )

    def _way_in_shared_memory(self, key: Key) -> Way | None:
        where = f"{SHARED}, step {key[1]}"
        refuse = partial(self._refuse_shared, where)
        why = self.survivors.vouch(key)
        if why is not None:
            refuse(why)
            return None
        return Way(
            kind=SHARED,
            load=partial(self.survivors.restore, key),
            refuse=refuse,
            attempt=key[0],
            key=key,
        )

    def of_parent(
        self,
        home: Path,
        at_or_before: int | None,
        adopt: Callable[[tuple[Remedy, ...]], None],
        reason: list[str],
    ) -> Iterator[Way]:
        """Its healthy checkpoints, newest first. Rank 0 alone reads its journal."""
        parent: Parent | None = None
        origins: list[Origin] = []
        failure: str | None = None
        if self._memory() is not None:
            try:
                parent = Parent(home, domains=self._feed.domains)
                origins = parent.origins(at_or_before)
            except (CheckpointError, JournalError) as error:
                failure = str(error)
        failure, origins = self._ranks.tell((failure, origins))
        reason.append(failure or "none is known to be healthy yet, or all were deleted")
        for origin in origins:
            yield Way(
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
        self.branched = msgspec.structs.replace(origin.branched, draw=draw)
        return step, draw

    def _refuse_origin(self, origin: Origin, reasons: list[str], reason: str) -> None:
        reasons[0] = reason
        self._tell(CheckpointRefused(path=str(origin.ref.path), reason=reason))

    def _load_snapshot(self, snapshot: Snapshot) -> tuple[int, int]:
        self._snapshots.restore(snapshot)
        return snapshot.step, snapshot.draw

    def _load_checkpoint(self, ref: CheckpointRef) -> tuple[int, int]:
        manifest = self._checkpoints.restore(ref.path)
        return int(manifest["step"]), int(manifest["draw"])

    def _load_vouched(self, ref: CheckpointRef, manifest: Mapping[str, Any]) -> tuple[int, int]:
        self._checkpoints.load(ref.path, manifest)
        return int(manifest["step"]), int(manifest["draw"])

    def _refuse_shared(self, where: str, reason: str) -> None:
        self._tell(CheckpointRefused(path=where, reason=reason))

    def _refuse_snapshot(self, snapshot: Snapshot, reason: str) -> None:
        self._snapshots.drop(snapshot)

    def _refuse_checkpoint(self, ref: CheckpointRef, reason: str) -> None:
        self._tell(CheckpointRefused(path=f"checkpoints/{ref.path.name}", reason=reason))

    def _tell(self, event: Event) -> None:
        memory = self._memory()
        if memory is not None:
            memory.tell(event)


def _trust(memory: Memory, step: int) -> int:
    """2: as good as any; 1, 0: what lives that went on from there, or from there on, died of alike.

    The newest state is loaded once more often than never: if two lives end at the same update, the
    next begins from a state that the judge calls healthy and that is older than theirs.
    """
    ceiling = memory.history.lives.ceiling()
    if ceiling is None or step <= min(ceiling, memory.state.healthy_until):
        return 2
    return 1 if step <= ceiling else 0
