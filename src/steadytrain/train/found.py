"""States in shared memory that an earlier life has left, of this rank or of another one."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from steadytrain.errors import CheckpointError
from steadytrain.slots import Folder, Slot, key
from steadytrain.train.state import Layout


class Found:
    """A state that an earlier life has left.

    Attributes:
        is_mine: of this rank; else of another, which held the same tensors, with other random
            states.
    """

    def __init__(self, slot: Slot, header: dict[str, Any], *, is_mine: bool = True) -> None:
        self._slot = slot
        self._header = header
        self.key = key(header)
        self.is_mine = is_mine

    @property
    def step(self) -> int:
        return self.key[1]

    @property
    def draw(self) -> int:
        return self.key[2]

    @property
    def leaves(self) -> dict[str, Any]:
        leaves: dict[str, Any] = self._header["leaves"]
        return leaves

    @property
    def optimizer_is_empty(self) -> bool:
        return bool(self._header["optimizer_is_empty"])

    @property
    def is_whole(self) -> bool:
        """Whether this rank's part of each tensor was all of it."""
        return all(whole == part for whole, _, part, *_ in self._header["tensors"].values())

    @property
    def rng(self) -> dict[str, Tensor]:
        words: dict[str, str] = self._header["rng"]
        return {
            name: torch.frombuffer(bytearray.fromhex(one), dtype=torch.uint8)
            for name, one in words.items()
        }

    @property
    def layout(self) -> Layout:
        """Shapes over all ranks."""
        return {
            name: (tuple(shape), getattr(torch, dtype))
            for name, (shape, dtype, *_) in self._header["tensors"].items()
        }

    def inspect(self) -> None:
        """Read every byte.

        Raises:
            CheckpointError: it is not as it was written.
        """
        self._slot.inspect()

    def parts(self) -> dict[str, Tensor]:
        """This rank's part of every tensor, where it lies."""
        return {
            name: view(self._slot, getattr(torch, dtype), shape, stride, at)
            for name, (_, dtype, shape, stride, at) in self._header["tensors"].items()
        }


def find_whole(folder: Folder) -> tuple[list[Found], list[int]]:
    """Of other numbers of ranks: states that no rank held a part of; the numbers of the rest.

    Under DistributedDataParallel every rank holds all, so a rank may take what another one of the
    same host held. Where random states differ, its own number's are the better ones.
    """
    found: dict[tuple[int, int, int], Found] = {}
    of_parts: set[int] = set()
    for path, rank, world in folder.of_others():
        try:
            slot = Slot.open(path)
            header = slot.header()
            refuse_foreign(header, {**folder.identity, "rank": rank, "world": world})
        except (CheckpointError, OSError):
            of_parts.add(world)
            continue
        one = Found(slot, header, is_mine=rank == folder.rank)
        if not one.is_whole:
            of_parts.add(world)
        elif slot.is_sealed and (one.is_mine or one.key not in found):
            found[one.key] = one
    return list(found.values()), sorted(of_parts)


def refuse_foreign(header: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Insist that a state is what it must be.

    Raises:
        CheckpointError: it is of something else.
    """
    words = {
        "format": "another version of steadytrain",
        "home": "another home",
        "rank": "another rank",
        "world": "another number of ranks",
        "fingerprint": "another model",
    }
    for name, mine in identity.items():
        if header.get(name) != mine:
            raise CheckpointError(f"it is of {words[name]}: {header.get(name)}, not {mine}")


def view(slot: Slot, dtype: torch.dtype, shape: list[int], stride: list[int], begin: int) -> Tensor:
    """A tensor of a slot, where it lies."""
    count = 1
    for one in shape:
        count *= one
    if count == 0:
        return torch.empty_strided(shape, stride, dtype=dtype)
    flat = torch.frombuffer(slot.memory, dtype=dtype, count=count, offset=slot.payload + begin)
    return flat.as_strided(shape, stride)
