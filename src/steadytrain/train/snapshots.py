"""Recent states kept in host memory, for a rollback that needs no disk.

Where `mapped` is given they lie in shared memory and outlive the process.
"""

import threading
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from steadytrain.errors import CheckpointError, SettingError
from steadytrain.slots import Slot
from steadytrain.train.found import Found
from steadytrain.train.mapped import Buffers, Contents, Mapped, Place, give_back, take_free
from steadytrain.train.state import TrainingState, is_of_optimizer, layout, local


class Lease:
    """Keeps a snapshot from being overwritten until released. Releasing twice is harmless."""

    def __init__(self, snapshot: "Snapshot") -> None:
        self._snapshot = snapshot
        snapshot._hold(self)

    def release(self) -> None:
        """Any thread may call this."""
        self._snapshot._let_go(self)

    def __enter__(self) -> "Snapshot":
        return self._snapshot

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class Snapshot:
    """The state after `step`, in host memory. Valid until a later `take` overwrites it.

    Attributes:
        step, draw: the last update in it, and the position in the data order after it.
        leaves, rng: as `TrainingState` gives them.
        optimizer_is_empty: taken before the optimizer's first step.
    """

    def __init__(
        self,
        *,
        step: int,
        draw: int,
        tensors: Buffers,
        place: Place,
        leaves: dict[str, Any],
        rng: dict[str, Tensor],
        optimizer_is_empty: bool,
        arrived: torch.cuda.Event | None,
    ) -> None:
        self.step = step
        self.draw = draw
        self.leaves = leaves
        self.rng = rng
        self.optimizer_is_empty = optimizer_is_empty
        self._tensors: Buffers | None = tensors
        self._place = place
        self._arrived = arrived
        self._leases: set[Lease] = set()
        self._lock = threading.Lock()

    @property
    def tensors(self) -> Buffers:
        """Host copies under the names of the live tensors; waits until they have arrived."""
        assert self._tensors is not None, "the snapshot was overwritten; take a lease to keep it"
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._tensors

    @property
    def slot(self) -> Slot | None:
        """Where in shared memory it lies; None in plain memory."""
        return self._place.slot

    @property
    def is_leased(self) -> bool:
        return bool(self._leases)

    def lease(self) -> Lease:
        """Keep it from now on until released; also usable as `with snapshot.lease():`."""
        return Lease(self)

    def _hold(self, lease: Lease) -> None:
        with self._lock:
            assert self._tensors is not None, "the snapshot was overwritten before it was leased"
            self._leases.add(lease)

    def _let_go(self, lease: Lease) -> None:
        with self._lock:
            self._leases.discard(lease)

    def _give_up(self) -> Place | None:
        """Hand the memory back; None if somebody holds a lease."""
        with self._lock:
            if self._leases:
                return None
            self._tensors = None
            return self._place


class Snapshots:
    """The last `keep` states. Memory is allocated as slots are first filled, then reused.

    Args:
        state: where they are taken from and put back.
        keep: states held, each as large as weights and moments together.
        mapped: slots in shared memory; three at least, if `keep` is less.
        pinned: of a GPU's states, in memory that its copies need not wait for. Pinning costs 1 s a
            GB, and torch gives pinned memory back to itself only: not for a state that is held for
            a moment.

    Raises:
        SettingError: keep < 1.
    """

    def __init__(
        self,
        state: TrainingState,
        *,
        keep: int,
        mapped: Mapped | None = None,
        pinned: bool = True,
    ) -> None:
        if keep < 1:
            raise SettingError(
                f"keep={keep} holds no state, so every rollback would have to read the disk. "
                "Write keep=1 or more; 8 snapshots 10 steps apart reach 80 steps back."
            )
        self._state = state
        self._keep = keep
        self._mapped = mapped
        self._pinned = pinned
        self._held: list[Snapshot] = []
        self._spare: list[Place] = []

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps of the states held, oldest first."""
        return tuple(snapshot.step for snapshot in self._held)

    @property
    def oldest(self) -> Snapshot | None:
        return self._held[0] if self._held else None

    def at_or_before(self, step: int) -> list[Snapshot]:
        """The states to go back to if everything after `step` is to be undone, newest first."""
        return [snapshot for snapshot in reversed(self._held) if snapshot.step <= step]

    def newest_at_or_before(self, step: int) -> Snapshot | None:
        """The state to go back to if everything after `step` is to be undone."""
        earlier = self.at_or_before(step)
        return earlier[0] if earlier else None

    @torch.no_grad()
    def take(self, step: int, draw: int, *, attempt: int = 0) -> Snapshot:
        """Copy the live state; on a GPU the copy is only begun, in the current stream's order.

        States at or after `step` are dropped: they are of a branch that was left.
        """
        self.drop_after(step - 1)
        live = self._state.tensors()
        leaves = self._state.leaves()
        place = self._memory(live, leaves)
        if place.slot is not None:
            place.slot.break_seal()
        tensors = {name: place.buffers[name] for name in live}
        _copy(tensors, live)
        arrived = None
        device = next((one.device for one in live.values() if one.is_cuda), None)
        if device is not None:
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record(torch.cuda.current_stream(device))
        snapshot = Snapshot(
            step=step,
            draw=draw,
            tensors=tensors,
            place=place,
            leaves=leaves,
            rng=self._state.rng(),
            optimizer_is_empty=self._state.optimizer_is_empty,
            arrived=arrived,
        )
        self._held.append(snapshot)
        if place.slot is not None and self._mapped is not None:
            contents = Contents(
                attempt=attempt,
                step=step,
                draw=draw,
                leaves=leaves,
                rng=snapshot.rng,
                optimizer_is_empty=snapshot.optimizer_is_empty,
                arrived=arrived,
            )
            self._mapped.seal(place, contents)
        return snapshot

    @torch.no_grad()
    def restore(self, snapshot: Snapshot) -> None:
        """Put a state back in place: parameters and optimizer stay the objects that they are."""
        tensors = snapshot.tensors
        if snapshot.optimizer_is_empty:
            self._state.clear_optimizer_state()
        moments = {name: one for name, one in tensors.items() if is_of_optimizer(name)}
        self._state.make_optimizer_state(layout(moments))
        _copy(self._state.tensors(), tensors)
        self._state.load_leaves(snapshot.leaves)
        self._state.load_rng(snapshot.rng)

    def find(self) -> tuple[list[Found], list[str]]:
        """States that an earlier life left in shared memory, newest first; and what is refused.

        Their memory is used again, the oldest first.
        """
        if self._mapped is None:
            return [], []
        found, places, refused = self._mapped.find()
        self._spare += places
        return found, refused

    def why_not(self, found: Found) -> str | None:
        """Why this rank cannot restore a state from shared memory; None if it can. Reads all of it.

        Nothing is changed. The optimizer's state is compared when it has been made anew.
        """
        try:
            found.inspect()
        except CheckpointError as error:
            return str(error)
        saved, live = found.parts(), self._state.tensors()
        for name in sorted(saved.keys() | live.keys()):
            if is_of_optimizer(name):
                continue
            if name not in saved or name not in live:
                return f"{name} is only {'here' if name in live else 'in it'}"
            here = local(live[name].detach())
            if (saved[name].shape, saved[name].dtype) != (here.shape, here.dtype):
                return f"{name} is {_describe(saved[name])} in it and {_describe(here)} here"
        groups, now = found.leaves["groups"], self._state.leaves()["groups"]
        if len(groups) != len(now):
            return f"it has {len(groups)} parameter groups, this optimizer has {len(now)}"
        return None

    @torch.no_grad()
    def restore_found(self, found: Found) -> None:
        """Put back a state from shared memory that `why_not` has nothing against.

        Raises:
            CheckpointError: the optimizer trains something else; the live state is to be restored
                from elsewhere then.
        """
        saved = found.parts()
        if found.optimizer_is_empty:
            self._state.clear_optimizer_state()
        self._state.make_optimizer_state(
            {name: one for name, one in found.layout.items() if is_of_optimizer(name)}
        )
        live = self._state.tensors()
        for name, part in saved.items():
            if name not in live or local(live[name]).shape != part.shape:
                raise CheckpointError(f"{name} in shared memory has no place in this optimizer")
        _copy(live, saved)
        self._state.load_leaves(found.leaves)
        if found.is_mine:
            self._state.load_rng(found.rng)

    def forget_found(self) -> None:
        """What an earlier run of this home left in shared memory is not of this one."""
        if self._mapped is not None:
            self._mapped.forget()

    def remove_others(self) -> None:
        """What another number of ranks left in shared memory. One rank of each host."""
        if self._mapped is not None:
            self._mapped.remove_others()

    def close(self, *, has_ended: bool) -> None:
        """Finish sealing; if the run has ended, give shared memory back."""
        if self._mapped is not None:
            self._mapped.close(has_ended=has_ended)

    def drop_after(self, step: int) -> None:
        """Forget the states after `step`; a leased one lives until its lease ends."""
        for snapshot in [one for one in self._held if one.step > step]:
            self._forget(snapshot)

    def drop(self, snapshot: Snapshot) -> None:
        """Forget one state."""
        self._forget(snapshot)

    def _memory(self, live: Buffers, leaves: dict[str, Any]) -> Place:
        """Where to write: spare memory, the oldest state's, or new."""
        for snapshot in [one for one in self._held if not one.is_leased]:
            if len(self._held) < self._keep:
                break
            self._forget(snapshot)
        place = self._slot(live, leaves) if self._mapped is not None else None
        if place is None:
            place = self._spare.pop() if self._spare else Place(buffers={})
            for name, tensor in live.items():
                pin = self._pinned and tensor.is_cuda
                if name not in place.buffers or not _fits(place.buffers[name], tensor, pin):
                    place.buffers[name] = _host_like(tensor, pin)
        # Leases may have made one more than there shall be; the surplus is freed here.
        most = self._keep if self._mapped is None else self._mapped.most
        while self._spare and len(self._held) + 1 + len(self._spare) > most:
            surplus = take_free(self._spare)
            if surplus is None:
                break
            give_back(surplus)
        return place

    def _slot(self, live: Buffers, leaves: dict[str, Any]) -> Place | None:
        """A slot that was sealed longest ago, or a new one; None: it must be plain memory."""
        mapped = self._mapped
        assert mapped is not None
        mapped.settle()
        self._spare.sort(key=lambda place: place.sequence)
        place = None
        num_slots = len(self._held) + len(self._spare)
        if num_slots >= mapped.most:
            place = take_free(self._spare)
            if place is None:
                return None  # all are leased: this one state does not outlive the process
            if place.slot is None or not mapped.make_fit(place, live):
                give_back(place)
                place = None
        if place is None and not mapped.is_closed:
            place = mapped.place(live, leaves)
        if mapped.is_closed:
            self._mapped = None
            for one in [*self._spare, *(snapshot._place for snapshot in self._held)]:
                one.slot = None  # its memory is plain from here on
            return None
        return place

    def _forget(self, snapshot: Snapshot) -> None:
        self._held.remove(snapshot)
        place = snapshot._give_up()
        if place is not None:
            self._spare.append(place)


def _copy(to: Buffers, source: Buffers) -> None:
    """Into `to`, tensor by tensor of the same name; one call, since launching costs too."""
    assert to.keys() == source.keys(), f"{min(to.keys() ^ source.keys())} is on one side only"
    torch._foreach_copy_(
        [local(tensor) for tensor in to.values()],
        [local(source[name]) for name in to],
        non_blocking=True,
    )


def _fits(buffer: Tensor, tensor: Tensor, pin: bool) -> bool:
    held, wanted = local(buffer), local(tensor)
    return (
        held.shape == wanted.shape
        and held.dtype == wanted.dtype
        and held.stride() == wanted.stride()
        and held.is_pinned() == pin
    )


def _describe(part: Tensor) -> str:
    return f"{list(part.shape)} of {str(part.dtype).removeprefix('torch.')}"


def _host_like(tensor: Tensor, pin: bool) -> Tensor:
    """Host memory for this rank's part."""
    part = local(tensor)
    buffer = torch.empty_like(part, device="cpu", pin_memory=pin)
    if isinstance(tensor, DTensor):
        # Not from_local(), which would move the buffer to the mesh's device.
        return DTensor(buffer, tensor._spec, requires_grad=False)  # type: ignore[no-untyped-call]
    return buffer
