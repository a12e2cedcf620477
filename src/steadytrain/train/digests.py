"""A 64-bit digest of the raw bits of many tensors, on their device, without waiting for it.

digest = sum_r mix(key_r + sum of row r) + sum_c mix(key_c + sum of column c)   modulo 2^64

over 64-bit words in rows of `COLUMNS`, with fixed random keys and a mix that is one-to-one.
A flipped bit changes one row and one column, and values that changed places two of either: a chance
of 2^-64 lets them pass. What does pass is a change that leaves every row and every column with the
sum that it had, such as the signs of all float64 of a tensor. Whole numbers wrap and add up to the
same in any order, so every kernel and every device comes to the same bits.

Two passes over the memory: sums are what every device does at the speed of its memory, and
mixing each word would be ten times slower on a CPU. It guards against accidents, not attacks.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from steadytrain.train.state import local

COLUMNS = 256
SMALL = 1 << 16
"""Tensors below so many bytes are laid side by side first: launching costs more than copying."""

_SEED = 0x51EAD7
_ODD = (0x9E3779B97F4A7C15 - 2**64, 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)
"""Of splitmix64 (Steele et al. 2014), whose mix this is, with shifts by halves."""

_LOW = 0xFFFFFFFF


class Digests:
    """Keeps keys and room for small tensors on the device: fresh memory costs more than sums."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._keys = _random(COLUMNS, device)
        self._room = torch.zeros(0, dtype=torch.uint8, device=device)

    @torch.no_grad()
    def of(self, tensors: Iterable[Tensor]) -> Tensor:
        """Digest of these tensors' local parts in this order, an int64 scalar on the device."""
        rows: list[Tensor] = []
        columns: list[Tensor] = []
        small: list[Tensor] = []
        for tensor in tensors:
            flat = local(tensor).detach().reshape(-1)
            words, rest = _as_words(flat)
            small += rest
            if words is not None:
                self._add(words, rows, columns)
        if small:
            self._add(self._side_by_side(small), rows, columns)
        if not rows:
            return torch.zeros((), dtype=torch.int64, device=self._device)
        sums = torch.cat([*rows, *columns])
        if len(self._keys) < len(sums):
            self._keys = _random(len(sums), self._device)
        return _mixed(sums + self._keys[: len(sums)]).sum()

    def _add(self, words: Tensor, rows: list[Tensor], columns: list[Tensor]) -> None:
        whole = words[: words.numel() // COLUMNS * COLUMNS].view(-1, COLUMNS)
        if len(whole):
            rows.append(whole.sum(1))
            columns.append(whole.sum(0))
        left = words[whole.numel() :]
        if left.numel():
            rows.append(left.sum().view(1))
            columns.append(left)

    def _side_by_side(self, parts: list[Tensor]) -> Tensor:
        """Bytes of small tensors in one row of words, with zeros at the end."""
        size = sum(map(len, parts))
        words = -(-size // 8)
        if len(self._room) < 8 * words:
            self._room = torch.zeros(8 * words, dtype=torch.uint8, device=self._device)
        room = self._room[: 8 * words]
        torch.cat([part.to(self._device, non_blocking=True) for part in parts], out=room[:size])
        room[size:] = 0
        return room.view(torch.int64)


def halves(digest: Tensor) -> Tensor:
    """A digest as two float64, which hold 32 bits each exactly."""
    return torch.stack((digest & _LOW, (digest >> 32) & _LOW)).double()


def spell(low: float, high: float) -> str:
    """Two halves as 16 hexadecimal digits."""
    return f"{int(high):08x}{int(low):08x}"


def _as_words(flat: Tensor) -> tuple[Tensor | None, list[Tensor]]:
    """A large tensor as 64-bit words, and what is left of it as bytes."""
    size = flat.element_size()
    together = max(1, 8 // size)
    is_aligned = flat.storage_offset() * size % 8 == 0
    is_large = flat.numel() * size >= SMALL and is_aligned
    whole = flat.numel() // together * together if is_large else 0
    rest = [flat[whole:].view(torch.uint8)] if whole < flat.numel() else []
    return flat[:whole].view(torch.int64) if whole else None, rest


def _mixed(sums: Tensor) -> Tensor:
    """Each number to another, in place: those that differ in one bit differ in many."""
    for odd in _ODD:
        sums.mul_(odd)
        sums.bitwise_xor_((sums >> 32).bitwise_and_(_LOW))  # >> keeps the sign
    return sums.mul_(_ODD[0])


def _random(count: int, device: torch.device) -> Tensor:
    chance = torch.Generator().manual_seed(_SEED)
    return torch.randint(-(2**63), 2**63 - 1, (count,), generator=chance).to(device)
