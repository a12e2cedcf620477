"""A rank's states in shared memory: tensors over the memory of slots, sealed beside training.

Slots are used in a ring. A copy into the next one begins only when all earlier ones are sealed, and
ranks meet in a collective in between, so none is more than one state ahead of another: of three
slots, one at least is sealed on every rank with the same state, whenever any of them is killed.
"""

import json
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from steadytrain.errors import CheckpointError
from steadytrain.slots import ALIGN, COPIES, NO_COPIES, Folder, Slot, round_up
from steadytrain.train.found import Found, find_whole, refuse_foreign, view
from steadytrain.train.state import layout, local

Buffers = dict[str, Tensor]
Lie = tuple[torch.Size, tuple[int, ...], torch.dtype]
"""Shape, stride, dtype of this rank's part."""

FEWEST = 3
"""Slots a rank needs, see above."""

PINNED, ARRIVING = 2, 2
"""States a rank more, where hosts keep copies of each other's: its own that the neighbour has and
that it is getting, and a rank of the other neighbour's, the last whole one and the next."""

HEADER_SLACK = 64 * 1024
"""Of the header, beyond its table of tensors: random states are 10 KB, in base 16 twice that."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """What is sealed along with the tensors.

    Attributes:
        leaves, rng: as `TrainingState` gives them.
        arrived: the copy from a GPU has ended when this has.
    """

    attempt: int
    step: int
    draw: int
    leaves: dict[str, Any]
    rng: dict[str, Tensor]
    optimizer_is_empty: bool
    arrived: torch.cuda.Event | None


@dataclass(eq=False, kw_only=True, slots=True)
class Place:
    """Memory for one state: plain, or a slot's.

    Attributes:
        buffers: host tensors under the names of the live ones.
        sequence: of the state in it; the lowest is overwritten first.
        table: of a slot, how its header describes what is in it.
        lies: of a slot, how each live tensor that the buffers were made for lies in memory.
    """

    buffers: Buffers
    slot: Slot | None = None
    sequence: int = -1
    table: str = ""
    lies: dict[str, Lie] = field(default_factory=dict)
    is_pinned: bool = False


class Mapped:
    """The slots of a rank: made, found again, sealed by a thread, given back.

    Args:
        keep: states that shall fit.
        say: is told in one sentence why states lie in plain memory from here on.
    """

    def __init__(
        self, folder: Folder, *, keep: int, say: Callable[[str], None] | None = None
    ) -> None:
        self._copies = PINNED if os.environ.get(COPIES) else 0
        self.most = max(keep, FEWEST) + self._copies
        self._folder = folder
        self._say = say or _say_on_stderr
        self._sequence = 0
        self._size = 0
        self._is_closed = False
        self._changed = threading.Condition()
        self._jobs: deque[tuple[Place, Contents, int]] = deque()
        self._thread: threading.Thread | None = None

    def find(self) -> tuple[list[Found], list[Place], list[str]]:
        """What earlier lives left: sealed states, newest first; all memory; what is refused."""
        found: list[tuple[int, Found]] = []
        places: list[Place] = []
        refused: list[str] = []
        for path in self._folder.mine():
            try:
                slot = Slot.open(path)
            except (CheckpointError, OSError) as error:
                refused.append(f"{path.name}: {error}")
                path.unlink(missing_ok=True)
                continue
            place = Place(buffers={}, slot=slot)
            places.append(place)
            try:
                header = slot.header()
                refuse_foreign(header, self._folder.identity)
            except CheckpointError as error:
                if slot.is_sealed:
                    refused.append(f"{path.name}: {error}")
                continue
            place.table = json.dumps(header["tensors"])
            # One without a seal was being written when its writer was killed.
            if slot.is_sealed:
                place.sequence = int(header["sequence"])
                found.append((place.sequence, Found(slot, header)))
        whole, worlds = find_whole(self._folder)
        for world in worlds:
            refused.append(f"states of {world} ranks, this run has {self._folder.world}")
        found += [(-1, one) for one in whole]
        found.sort(key=lambda one: (one[1].key, one[0]), reverse=True)
        self._sequence = max([self._sequence, *(one + 1 for one, _ in found)])
        return [one for _, one in found], places, refused

    def make_fit(self, place: Place, live: Mapping[str, Tensor]) -> bool:
        """Whether a slot has room for exactly these tensors; of an earlier life's, map it."""
        lies = {name: _lie(tensor) for name, tensor in live.items()}
        is_on_gpu = any(one.is_cuda for one in live.values())
        if place.lies:
            return place.lies == lies and bool(place.table) and place.is_pinned == is_on_gpu
        table, num_bytes = _table(live)
        slot = place.slot
        assert slot is not None
        # The header was not inspected; as it says what this state says, it need not be.
        is_same = place.table == json.dumps(table) and list(table) == list(live)
        if not is_same or len(slot.memory) < slot.payload + num_bytes:
            return False
        return self._fill(place, live, table)

    def place(self, live: Mapping[str, Tensor], leaves: Mapping[str, Any]) -> Place | None:
        """A new slot for such a state; None, and said, if there is no room for one."""
        table, num_bytes = _table(live)
        encoded = json.dumps(table)
        header_bytes = len(encoded) + 4 * len(json.dumps(leaves)) + HEADER_SLACK
        try:
            self._insist_on_room(header_bytes + num_bytes)
            slot = Slot.create(
                self._folder.new_path(), header_bytes=header_bytes, payload_bytes=num_bytes
            )
        except OSError as error:
            self.give_up(error.strerror or str(error))
            return None
        place = Place(buffers={}, slot=slot, table=encoded)
        return place if self._fill(place, live, table) else None

    def _fill(
        self, place: Place, live: Mapping[str, Tensor], table: Mapping[str, list[Any]]
    ) -> bool:
        slot = place.slot
        assert slot is not None
        for name, tensor in live.items():
            _, dtype, shape, stride, at = table[name]
            part = view(slot, getattr(torch, dtype), shape, stride, at)
            place.buffers[name] = _as(tensor, part)
        place.lies = {name: _lie(tensor) for name, tensor in live.items()}
        if any(one.is_cuda for one in live.values()):
            place.is_pinned = _pin(slot)
            if not place.is_pinned:
                self.give_up("CUDA cannot pin it, so a copy would make the GPU wait")
                return False
        return True

    def settle(self) -> None:
        """Wait until every state handed over is sealed; a copy may begin then."""
        with self._changed:
            self._changed.wait_for(lambda: not self._jobs)

    def seal(self, place: Place, contents: Contents) -> None:
        """Begin to seal what was copied, or is being copied, and return."""
        with self._changed:
            place.sequence = self._sequence
            self._sequence += 1
            self._jobs.append((place, contents, place.sequence))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="seals", daemon=True)
                self._thread.start()

    def forget(self) -> None:
        """Remove what an earlier run of this home has left."""
        self._folder.remove_mine()

    def remove_others(self) -> None:
        """Remove what other numbers of ranks have left. One rank of each host."""
        self._folder.remove_others()

    def give_up(self, why: str) -> None:
        """No more slots: what is held goes on as plain memory, without a name."""
        self._is_closed = True
        self.settle()
        self._folder.remove_mine()
        self._say(
            f"states do not lie in shared memory ({why}), so a killed process goes back to its "
            "last checkpoint and not to its last snapshot. Write a smaller snapshots=, mount a "
            "larger /dev/shm, or name another folder in STEADYTRAIN_SHM."
        )

    def close(self, *, has_ended: bool) -> None:
        """Finish sealing; give the memory back if nothing is left to go back to."""
        self.settle()
        if has_ended:
            self._is_closed = True
            self._folder.leave()

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def _insist_on_room(self, num_bytes: int) -> None:
        if num_bytes <= self._size:
            return
        here = int(os.environ.get("LOCAL_WORLD_SIZE", self._folder.world))
        if self._copies:
            self._insist_on_room_for_copies(num_bytes, here)
        why = self._folder.lacks_room(num_bytes * self.most, sharing=here)
        if why is not None:
            raise OSError(0, why)
        self._size = num_bytes

    def _insist_on_room_for_copies(self, num_bytes: int, here: int) -> None:
        """Go without them, and say so to a person and to the supervisor, if they do not fit."""
        why = self._folder.lacks_room(num_bytes * (self.most + ARRIVING), sharing=here)
        if why is None:
            return
        self.most, self._copies = self.most - PINNED, 0
        (self._folder.path / NO_COPIES).write_text(why)
        self._say(
            f"this host takes no part in copies of states ({why}), so when a host is lost the run "
            "goes back to its last checkpoint. Write a smaller snapshots=, mount a larger "
            "/dev/shm, or leave out --neighbour-copies."
        )

    def _work(self) -> None:
        """The thread: until nothing is left to seal."""
        while True:
            with self._changed:
                if not self._jobs:
                    self._thread = None
                    return
                place, contents, sequence = self._jobs[0]
            try:
                self._seal(place, contents, sequence)
            finally:
                with self._changed:
                    self._jobs.popleft()
                    self._changed.notify_all()

    def _seal(self, place: Place, contents: Contents, sequence: int) -> None:
        assert place.slot is not None
        if contents.arrived is not None:
            contents.arrived.synchronize()
        words = {
            **self._folder.identity,
            "sequence": sequence,
            "attempt": contents.attempt,
            "step": contents.step,
            "draw": contents.draw,
            "optimizer_is_empty": contents.optimizer_is_empty,
            "leaves": contents.leaves,
            "rng": {name: one.numpy().tobytes().hex() for name, one in contents.rng.items()},
        }
        header = f'{json.dumps(words, allow_nan=False)[:-1]}, "tensors": {place.table}}}'.encode()
        if len(header) <= place.slot.header_room:
            place.slot.seal(header)
        else:
            place.table = ""  # it fits no state any more, so the next one gets a larger slot


def take_free(places: list[Place]) -> Place | None:
    """Out of a list, the first whose memory no other process reads now."""
    for at, place in enumerate(places):
        if place.slot is None or not place.slot.is_held:
            return places.pop(at)
    return None


def give_back(place: Place) -> None:
    """Let go of a slot's memory and name."""
    if place.slot is None:
        return
    if place.is_pinned:
        _unpin(place.slot)
    place.slot.remove()
    place.slot, place.buffers, place.lies = None, {}, {}  # the last that map the memory


def _lie(tensor: Tensor) -> Lie:
    part = local(tensor)
    return part.shape, part.stride(), part.dtype


def _table(live: Mapping[str, Tensor]) -> tuple[dict[str, list[Any]], int]:
    """Name -> shape over all ranks, dtype, this rank's shape and stride, place; bytes in all."""
    shapes = layout(live)
    table: dict[str, list[Any]] = {}
    end = 0
    for name, tensor in live.items():
        part = torch.empty_like(local(tensor), device="meta")  # dense, whatever the live one is
        begin = round_up(end, ALIGN)
        end = begin + part.numel() * part.itemsize
        dtype = str(part.dtype).removeprefix("torch.")
        shape, stride = list(part.shape), list(part.stride())
        table[name] = [list(shapes[name][0]), dtype, shape, stride, begin]
    return table, end


def _as(tensor: Tensor, part: Tensor) -> Tensor:
    if isinstance(tensor, DTensor):
        # Not from_local(), which would move the buffer to the mesh's device.
        return DTensor(part, tensor._spec, requires_grad=False)  # type: ignore[no-untyped-call]
    return part


def _pin(slot: Slot) -> bool:
    """Tell CUDA to keep the pages in place, so that copies into them run by themselves."""
    cudart = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    at = torch.frombuffer(slot.memory, dtype=torch.uint8).data_ptr()
    return int(cudart.cudaHostRegister(at, len(slot.memory), 0)) == 0


def _unpin(slot: Slot) -> None:
    cudart = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    cudart.cudaHostUnregister(torch.frombuffer(slot.memory, dtype=torch.uint8).data_ptr())


def _say_on_stderr(words: str) -> None:
    print(f"steadytrain: {words}", file=sys.stderr, flush=True)
