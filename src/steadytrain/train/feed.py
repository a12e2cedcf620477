"""A data order that can rewind and skip: batches as a pure function of position and exclusions.

A draw is an absolute position in the data order. Skipping leaves draws out and renumbers none, so
"draw 81,234" names the same sequence in every attempt and a second resume stays exact. Wrappers
around a stateful sampler replay the bad batch, or shift everything behind it.
"""

import math
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from steadytrain import ramps
from steadytrain.errors import FeedError, SettingError
from steadytrain.ramps import Ramp
from steadytrain.ranges import Ranges, contains, merge, overlaps

# B sequences, T positions.


class Sequence(Protocol):
    """One training sequence: tokens [T + 1] (inputs and their targets), domain index, source."""

    @property
    def tokens(self) -> np.ndarray: ...
    @property
    def domain(self) -> int: ...
    @property
    def source(self) -> str: ...
    @property
    def num_bytes(self) -> int: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """One document of a packed sequence. A sequence that has `segments` is credited by them.

    Attributes:
        begin: index of its first token in the sequence; it ends where the next one begins.
        domain, source, num_bytes: of the document's part that stands here.
    """

    begin: int
    domain: int
    source: str
    num_bytes: int


class DataOrder(Protocol):
    """A deterministic order of sequences without an end: what a user brings.

    `block(draw)` must be a pure function of `draw`; `text(draw)` is what an examiner reads.
    """

    @property
    def domains(self) -> tuple[str, ...]: ...
    def block(self, draw: int) -> Sequence: ...
    def text(self, draw: int) -> str: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What one rank computes on at once.

    Attributes:
        tokens_BT, targets_BT: inputs and what follows them.
        counted_BT: False where a target is padding.
        domain_B, bytes_B: domain index and bytes of original text of each sequence.
        segment_BT: which segment each target belongs to; None where no sequence is packed.
        domain_BS, bytes_BS: of each segment, of no bytes where a sequence has fewer.
        draws, domains, digests: absolute positions, domain indexes and CRC-32 of the tokens, on the
            host, in the order of B.
    """

    tokens_BT: Tensor
    targets_BT: Tensor
    counted_BT: Tensor
    domain_B: Tensor
    bytes_B: Tensor
    segment_BT: Tensor | None
    domain_BS: Tensor | None
    bytes_BS: Tensor | None
    draws: tuple[int, ...]
    domains: tuple[int, ...]
    digests: tuple[int, ...]


def digest(tokens: np.ndarray) -> int:
    """CRC-32 of a sequence's tokens: 3 GB/s, so 3 us for 4,096 tokens of two bytes."""
    return zlib.crc32(np.ascontiguousarray(tokens).view(np.uint8).data)


class Exclusion(NamedTuple):
    """Draws that the steps after `from_step`, up to `until`, do not use."""

    from_step: int
    ranges: Ranges
    until: float = math.inf


class Feed:
    """Walks a data order, all ranks in step: rank r of w takes every w-th draw of an update.

    Args:
        order: the data order.
        batch_size: sequences of one micro-batch on one rank.
        accumulate: micro-batches of one update, or a batch ramp as pairs (after step, number):
            ((0, 1), (500, 2)) is one for each of the first 500 updates and two from there on.
        sequences: of one update over all ranks, in the place of `accumulate`: a number or a ramp.
            `batch_size` is then the largest micro-batch, and what is used divides an update
            evenly, however many ranks there are. A run whose number of ranks changes needs this.
        left_out: draws that no step uses, such as those of a skip list
            (`steadytrain.corpora.draws_left_out`). Every attempt of a run needs the same.

    Raises:
        SettingError: a size below 1, or a ramp that leaves a step without a size.
        FeedError: so many sequences cannot be shared by so many ranks.

    Source: batch ramps in steps, GPT-3 (appendix B) and PaLM (section 5).
    """

    def __init__(
        self,
        order: DataOrder,
        *,
        batch_size: int,
        accumulate: int | Iterable[tuple[int, int]] = 1,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
        sequences: int | Iterable[tuple[int, int]] | None = None,
        left_out: Iterable[tuple[int, int]] = (),
    ) -> None:
        if batch_size < 1 or (isinstance(accumulate, int) and accumulate < 1):
            raise SettingError(
                f"batch_size={batch_size}, accumulate={accumulate} make an empty update. "
                "Write Feed(order, batch_size=32) or more."
            )
        self.order = order
        if sequences is None:
            self.batch_size = batch_size
            self._accumulate = ramps.checked(_pairs(accumulate), name="accumulate")
        else:
            whole = ramps.checked(_pairs(sequences), name="sequences")
            self.batch_size, self._accumulate = _divide(whole, batch_size, accumulate, world)
        self.draw = 0
        self._rank = rank
        self._world = world
        self._device = torch.device(device)
        self._left_out = merge(left_out)
        self._excluded: list[Exclusion] = []
        self._merged: tuple[Ranges, Ranges] = ((), self._left_out)

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(self.order.domains)

    @property
    def part(self) -> tuple[int, int]:
        """Which part of a batch this rank reads, of how many."""
        return self._rank, self._world

    @property
    def device(self) -> torch.device:
        """Where batches are put."""
        return self._device

    @property
    def ramp(self) -> Ramp:
        """Sequences of an update over all ranks, as pairs (after step, sequences)."""
        whole = self.batch_size * self._world
        return tuple((after, number * whole) for after, number in self._accumulate)

    def accumulate(self, step: int) -> int:
        """Micro-batches of update `step`."""
        return ramps.value_at(self._accumulate, step)

    def draws_per_step(self, step: int) -> int:
        """Sequences of update `step` over all ranks."""
        return self.batch_size * self.accumulate(step) * self._world

    def leave_out(self, exclusions: Iterable[Exclusion | tuple[int, Ranges]]) -> None:
        """Replace what remedies exclude."""
        given = [Exclusion(*one) for one in exclusions]
        self._excluded = [one._replace(ranges=merge(one.ranges)) for one in given]

    def excluded(self, step: int) -> Ranges:
        """Draws that step `step` must not use."""
        active = tuple(
            drawn
            for one in self._excluded
            if one.from_step < step <= one.until
            for drawn in one.ranges
        )
        if self._merged[0] != active:  # a skip list is long: merge it once, not every step
            self._merged = (active, merge([*self._left_out, *active]))
        return self._merged[1]

    def seek(self, draw: int) -> None:
        """Go on from this absolute position."""
        if draw < 0:
            raise FeedError(f"draw {draw} is before the data's beginning. Seek 0 or later.")
        self.draw = draw

    def step_draws(self, step: int) -> tuple[int, ...]:
        """The draws of update `step` over all ranks from the present position; moves past them."""
        excluded = self.excluded(step)
        number = self.draws_per_step(step)
        end = self.draw + number
        if not overlaps(excluded, self.draw, end):
            draws = tuple(range(self.draw, end))
        else:
            draws = self._pick(excluded, number)
        self.draw = draws[-1] + 1
        return draws

    def share(self, draws: tuple[int, ...]) -> tuple[int, ...]:
        """This rank's draws of an update."""
        return draws[self._rank :: self._world]

    def micro_batches(self, draws: tuple[int, ...]) -> Iterator[Batch]:
        """This rank's share of an update, one micro-batch at a time."""
        mine = self.share(draws)
        for first in range(0, len(mine), self.batch_size):
            yield self.batch(mine[first : first + self.batch_size])

    def batch(self, draws: tuple[int, ...]) -> Batch:
        """These very sequences, padded to the longest."""
        blocks = [self.order.block(draw) for draw in draws]
        length = max(len(block.tokens) for block in blocks) - 1
        tokens = np.zeros((len(blocks), length + 1), dtype=np.int64)
        counted = np.zeros((len(blocks), length), dtype=bool)
        for row, block in enumerate(blocks):
            tokens[row, : len(block.tokens)] = block.tokens
            counted[row, : len(block.tokens) - 1] = True
        whole = self._to_device(torch.from_numpy(tokens))
        packed = [self._to_device(torch.from_numpy(one)) for one in _segments(blocks, length)]
        domains = tuple(block.domain for block in blocks)
        return Batch(
            tokens_BT=whole[:, :-1],
            targets_BT=whole[:, 1:],
            counted_BT=self._to_device(torch.from_numpy(counted)),
            domain_B=self._to_device(torch.tensor(domains)),
            bytes_B=self._to_device(torch.tensor([block.num_bytes for block in blocks])),
            segment_BT=packed[0] if packed else None,
            domain_BS=packed[1] if packed else None,
            bytes_BS=packed[2] if packed else None,
            draws=draws,
            domains=domains,
            digests=tuple(digest(block.tokens) for block in blocks),
        )

    def _pick(self, excluded: Ranges, number: int) -> tuple[int, ...]:
        picked: list[int] = []
        draw = self.draw
        while len(picked) < number:
            if not contains(excluded, draw):
                picked.append(draw)
            draw += 1
        return tuple(picked)

    def _to_device(self, tensor: Tensor) -> Tensor:
        if self._device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)


def _pairs(given: int | Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(0, given)] if isinstance(given, int) else list(given)


def _divide(
    whole: Ramp, most: int, accumulate: int | Iterable[tuple[int, int]], world: int
) -> tuple[int, Ramp]:
    """Micro-batch of a rank, and how many of them make an update.

    >>> _divide(((0, 12),), 8, 1, 2)
    (6, ((0, 1),))
    """
    if accumulate != 1:
        raise SettingError(
            f"accumulate={accumulate} says how many micro-batches make an update, and sequences= "
            "says it too. Leave accumulate out."
        )
    for _, number in whole:
        if number % world:
            raise FeedError(
                f"{number} sequences cannot be shared evenly by {world} ranks, so some gradients "
                f"would count for more. Write a multiple of {world}, best of every number of ranks "
                "that the run may go on with: 96 suits 2, 3, 4, 6 and 8."
            )
    parts = [number // world for _, number in whole]
    common = math.gcd(*parts)
    size = max(one for one in range(1, min(most, common) + 1) if common % one == 0)
    return size, tuple((after, number // world // size) for after, number in whole)


def _segments(blocks: list[Sequence], length: int) -> tuple[np.ndarray, ...]:
    """Segment of each target [B, T], domain and bytes of each segment [B, S]; nothing to split."""
    parts = [tuple(getattr(block, "segments", ())) for block in blocks]
    most = max(map(len, parts))
    if most < 2:
        return ()
    segment_BT = np.zeros((len(blocks), length), dtype=np.int64)
    domain_BS = np.zeros((len(blocks), most), dtype=np.int64)
    bytes_BS = np.zeros((len(blocks), most), dtype=np.int64)
    for row, (block, mine) in enumerate(zip(blocks, parts, strict=True)):
        domain_BS[row, 0], bytes_BS[row, 0] = block.domain, block.num_bytes
        for number, part in enumerate(mine):
            # The first token of a document is a target of the position before it.
            segment_BT[row, max(0, part.begin - 1) :] = number
            domain_BS[row, number], bytes_BS[row, number] = part.domain, part.num_bytes
    return segment_BT, domain_BS, bytes_BS
