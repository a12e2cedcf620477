"""Recent states kept in host memory, for a rollback that needs no disk."""

import threading
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from steadytrain.errors import SettingError
from steadytrain.train.state import TrainingState, is_of_optimizer, layout, local

Buffers = dict[str, Tensor]


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

    def _give_up(self) -> Buffers | None:
        """Hand the memory back; None if somebody holds a lease."""
        with self._lock:
            if self._leases:
                return None
            buffers, self._tensors = self._tensors, None
            return buffers


class Snapshots:
    """The last `keep` states. Memory is allocated as slots are first filled, then reused.

    Args:
        state: where they are taken from and put back.
        keep: states held, each as large as weights and moments together.

    Raises:
        SettingError: keep < 1.
    """

    def __init__(self, state: TrainingState, *, keep: int) -> None:
        if keep < 1:
            raise SettingError(
                f"keep={keep} holds no state, so every rollback would have to read the disk. "
                "Write keep=1 or more; 8 snapshots 10 steps apart reach 80 steps back."
            )
        self._state = state
        self._keep = keep
        self._held: list[Snapshot] = []
        self._spare: list[Buffers] = []

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
    def take(self, step: int, draw: int) -> Snapshot:
        """Copy the live state; on a GPU the copy is only begun, in the current stream's order.

        States at or after `step` are dropped: they are of a branch that was left.
        """
        self.drop_after(step - 1)
        live = self._state.tensors()
        buffers = self._memory()
        for name, tensor in live.items():
            if name not in buffers or not _fits(buffers[name], tensor):
                buffers[name] = _host_like(tensor)
        tensors = {name: buffers[name] for name in live}
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
            leaves=self._state.leaves(),
            rng=self._state.rng(),
            optimizer_is_empty=self._state.optimizer_is_empty,
            arrived=arrived,
        )
        self._held.append(snapshot)
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

    def drop_after(self, step: int) -> None:
        """Forget the states after `step`; a leased one lives until its lease ends."""
        for snapshot in [one for one in self._held if one.step > step]:
            self._forget(snapshot)

    def drop(self, snapshot: Snapshot) -> None:
        """Forget one state."""
        self._forget(snapshot)

    def _memory(self) -> Buffers:
        """Buffers to write into: spare ones, the oldest state's, or none yet."""
        for snapshot in [one for one in self._held if not one.is_leased]:
            if len(self._held) < self._keep:
                break
            self._forget(snapshot)
        # Leases may have made one slot more than `keep`; the surplus is freed here.
        buffers = self._spare.pop() if self._spare else {}
        del self._spare[max(0, self._keep - len(self._held) - 1) :]
        return buffers

    def _forget(self, snapshot: Snapshot) -> None:
        self._held.remove(snapshot)
        buffers = snapshot._give_up()
        if buffers is not None:
            self._spare.append(buffers)


def _copy(to: Buffers, source: Buffers) -> None:
    """Into `to`, tensor by tensor of the same name; one call, since launching costs too."""
    assert to.keys() == source.keys(), f"{min(to.keys() ^ source.keys())} is on one side only"
    torch._foreach_copy_(
        [local(tensor) for tensor in to.values()],
        [local(source[name]) for name in to],
        non_blocking=True,
    )


def _fits(buffer: Tensor, tensor: Tensor) -> bool:
    held, wanted = local(buffer), local(tensor)
    return (
        held.shape == wanted.shape
        and held.dtype == wanted.dtype
        and held.stride() == wanted.stride()
        and held.is_pinned() == wanted.is_cuda
    )


def _host_like(tensor: Tensor) -> Tensor:
    """Host memory for this rank's part; pinned for a GPU, so that a copy is not waited for."""
    part = local(tensor)
    buffer = torch.empty_like(part, device="cpu", pin_memory=part.is_cuda)
    if isinstance(tensor, DTensor):
        # Not from_local(), which would move the buffer to the mesh's device.
        return DTensor(buffer, tensor._spec, requires_grad=False)  # type: ignore[no-untyped-call]
    return buffer
