"""Records of a TFRecord file, found without a loop over them, and their CRCs.

A file is a chain of records: uint64 size, masked CRC of the size, `size` bytes, masked CRC of them;
little-endian (TensorFlow, core/lib/io/record_writer.h). A size has zero bytes above it, so the
starts of runs of zeros, where the CRC fits, are the heads of records; each must begin where the one
before it ends.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]
Octets = NDArray[np.uint8]
Crcs = NDArray[np.uint32]

CHUNK = 1 << 20  # bytes read at once: what is made of them should stay near the cache
HEAD = 12  # bytes of size and its CRC
_FRAME = 16  # these and the CRC behind the record
SMALL = 2048  # larger records are parsed field by field


@dataclass(slots=True)
class Chain:
    """Finds the records; knows afterwards which bytes belong to none.

    Attributes:
        gaps: first byte and end of what is no record.
        torn: where the record begins that the end of the file cuts off.
    """

    num_records: int = 0
    end: int = 0
    gaps: list[tuple[int, int]] = field(default_factory=list)
    torn: int | None = None

    def stretches(self, file: BinaryIO) -> Iterator[tuple[int, bytes, Ints, Ints]]:
        """Pieces of the file: where one begins, its bytes, the heads of whole records, sizes."""
        self.end = os.fstat(file.fileno()).st_size  # what a live file gains is for the next look
        base, have, needed = 0, b"", 0
        while True:
            unread = self.end - base - len(have)
            fresh = file.read(min(unread, max(CHUNK, needed - len(have))))
            have += fresh
            final = not fresh or base + len(have) >= self.end
            heads, sizes, used, needed = self._link(have, base, final=final)
            self.num_records += len(heads)
            yield base, have, heads, sizes
            if final:
                return
            base, have = base + used, have[used:]

    def _link(self, have: bytes, base: int, *, final: bool) -> tuple[Ints, Ints, int, int]:
        """Heads and sizes of whole records, bytes used up, bytes that the next record needs."""
        heads, sizes = _heads(have)
        ends = heads + sizes + _FRAME
        breaks = np.append(np.flatnonzero(ends[:-1] != heads[1:]), len(heads) - 1)
        kept: list[Ints] = []
        at, needed, first = 0, 0, int(np.searchsorted(heads, 0))
        while first < len(heads):
            self._skip(base + at, base + int(heads[first]))
            last = int(breaks[np.searchsorted(breaks, first)])
            end = int(ends[last])
            whole = end <= len(have)
            overlapped = last + 1 < len(heads) and heads[last + 1] < end
            if overlapped and (whole or final) and not is_intact(have[heads[last] + HEAD : end]):
                kept.append(np.arange(first, last))  # its size is right, but not all of it is there
                at, first = int(heads[last]), last + 1
                continue
            kept.append(np.arange(first, last + whole))
            at, first = (end if whole else int(heads[last])), int(np.searchsorted(heads, end))
            needed = 0 if whole else end - at
        at = self._leave(at, len(have), base, needed, final=final)
        chosen = np.concatenate(kept) if kept else np.arange(0)
        return heads[chosen], sizes[chosen], at, needed

    def _leave(self, at: int, length: int, base: int, needed: int, *, final: bool) -> int:
        """Where the next piece begins, when the last record found ends at `at`."""
        if needed or length - at < HEAD:
            if final and at < length:
                self.torn = base + at
            return at
        stop = length if final else length - HEAD + 1
        self._skip(base + at, base + stop)
        return stop

    def _skip(self, begin: int, end: int) -> None:
        if begin == end:
            return
        if self.gaps and self.gaps[-1][1] == begin:
            begin = self.gaps.pop()[0]
        self.gaps.append((begin, end))

    def remarks(self) -> list[str]:
        said = [f"bytes {a} to {b - 1} hold no record; skipped" for a, b in self.gaps[:3]]
        if len(self.gaps) > 3:
            lost = sum(b - a for a, b in self.gaps[3:])
            said.append(f"{lost} bytes at {len(self.gaps) - 3} more places hold no record; skipped")
        if self.torn is not None:
            said.append(f"the file ends inside the record that begins at byte {self.torn}")
        return said


def _heads(have: bytes) -> tuple[Ints, Ints]:
    """Where a size stands whose CRC fits, and the size.

    The zeros above a size of 1 to 4 bytes begin right behind it: only there is a CRC computed.
    """
    octets = np.frombuffer(have, np.uint8)
    if len(octets) < HEAD:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    zero = octets == 0
    pairs = zero[:-1] & zero[1:]
    runs = np.flatnonzero((pairs[:-2] & pairs[2:])[1:] > zero[:-4]) + 1
    found: list[tuple[Ints, Ints]] = []
    for width in (1, 2, 3, 4):
        at = np.clip(runs - width, 0, len(have) - HEAD)
        sizes = gather(have, at, 8).view("<u8")
        fits = _size_crcs(sizes) == gather(have, at + 8, 4).view("<u4")
        fits &= (sizes < 1 << 32) & (at == runs - width)
        found.append((at[fits], sizes[fits].astype(np.int64)))
        runs = runs[~fits]
    heads = np.concatenate([at for at, _ in found])
    order = np.argsort(heads, kind="stable")
    return heads[order], np.concatenate([sizes for _, sizes in found])[order]


def gather(have: bytes, at: Ints, width: int) -> NDArray[np.void]:
    """`width` bytes from each place; void, because no other type may lie at odd addresses."""
    places = max(len(have) - width + 1, 0)
    return np.ndarray((places,), f"V{width}", buffer=have, strides=(1,))[at]


@cache
def crc_tables() -> Crcs:
    """CRC-32C (Castagnoli, RFC 3720 B.4) of each byte, followed by 0, 1, ... zero bytes.

    A CRC is linear: that of a record is the exclusive or of what each byte gives at its distance
    from the end. Hence all records of a shape are summed column by column.
    """
    tables = np.empty((SMALL, 256), np.uint32)
    tables[0] = np.arange(256)
    for _ in range(8):
        tables[0] = (tables[0] >> 1) ^ (tables[0] & 1) * np.uint32(0x82F6_3B78)
    for i in range(1, SMALL):
        tables[i] = (tables[i - 1] >> 8) ^ tables[0][tables[i - 1] & 0xFF]
    return tables


def remainder(octets: Octets) -> int:
    """CRC without the last inversion."""
    tables = crc_tables()
    state = 0xFFFF_FFFF
    for begin in range(0, len(octets), SMALL):
        block = octets[begin : begin + SMALL].copy()
        held = np.array([state], "<u4").view(np.uint8)[: len(block)]
        block[: len(held)] ^= held
        sums = tables[np.arange(len(block) - 1, -1, -1), block]
        state = int(np.bitwise_xor.reduce(sums)) ^ (state >> 8 * len(held))
    return state


def mask_crcs(crcs: Crcs) -> Crcs:
    """As they are stored: turned by 15 bits and shifted, so that a CRC of a CRC means something."""
    turned = (crcs >> 15) | (crcs << 17)
    turned += np.uint32(0xA282_EAD8)
    return turned.astype(np.uint32, copy=False)


def is_intact(record: bytes) -> bool:
    """Whether bytes match the CRC behind them."""
    crc = np.array([remainder(np.frombuffer(record[:-4], np.uint8))], np.uint32)
    return int(mask_crcs(~crc)[0]) == int.from_bytes(record[-4:], "little")


@cache
def _crcs_of_short_sizes() -> Crcs:
    return _crcs_of_sizes(np.arange(1 << 16, dtype=np.uint64))


def _size_crcs(sizes: Words) -> Crcs:
    """Masked CRC of each size below 2**32, written as uint64."""
    crcs: Crcs = _crcs_of_short_sizes()[sizes & np.uint64(0xFFFF)]
    large = np.flatnonzero(sizes >> np.uint64(16))
    crcs[large] = _crcs_of_sizes(sizes[large])
    return crcs


def _crcs_of_sizes(sizes: Words) -> Crcs:
    crcs = np.full(len(sizes), remainder(np.zeros(8, np.uint8)), np.uint32)
    for i in range(4):
        crcs ^= crc_tables()[7 - i][(sizes >> np.uint64(8 * i)) & np.uint64(0xFF)]
    return mask_crcs(~crcs)
