"""Logs of protobuf messages: the framing that W&B and SwanLab share, and the fields of a message.

A log begins with 7 bytes: 4 letters, a magic number (uint16), a version (uint8). Counted from the
first of them it is cut into blocks of 32 KiB; a block holds chunks, and no chunk crosses its end:

    crc (uint32) | size (uint16) | kind (uint8) | data        little-endian

A record is one FULL chunk, or FIRST, any number of MIDDLE, LAST. What is left of a block and has no
room for a head is zero. The crc is zlib's, over kind and data (in LevelDB itself: crc32c, masked).
A message is a row of fields: key (number * 8 + wire type) as a varint, then its content.

Source: leveldb/doc/log_format.md; swanlab 0.10.3, sdk/internal/core_python/store, where it says
that it follows W&B; files of wandb 0.31.0; protobuf.dev/programming-guides/encoding.

Traps: a live file may end anywhere, and one that a crash left may end in zeros, which look like a
chunk of no bytes with the right crc. proto3 does not write a field that is 0.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from steadytrain.errors import LogError

BLOCK_BYTES = 32768
SIGNATURE_BYTES = 6
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4

_SEEDS = (0, *(zlib.crc32(bytes([kind])) for kind in (FULL, FIRST, MIDDLE, LAST)))
_HEAD = struct.Struct("<IHB")
_KINDS = re.compile(rb"[\x01-\x04]")
_NAMED_GAPS = 3


class GarbledError(ValueError):
    """These bytes are no protobuf message."""


@dataclass(kw_only=True, slots=True)
class Log:
    """One file of records; knows afterwards which bytes belonged to none.

    Attributes:
        tool: who writes such files, for the messages.
        signature: letters and magic number.
        versions: those that can be read.
        version: that of the file, once its head is read.
        gaps: first byte and end of what is no record.
        torn: where the record begins that the end of the file cuts off.
    """

    path: Path
    tool: str
    signature: bytes
    versions: tuple[int, ...]
    version: int | None = None
    gaps: list[tuple[int, int]] = field(default_factory=list)
    torn: int | None = None
    _parts: list[bytes] = field(default_factory=list)
    _begun: int = 0

    def records(self) -> Iterator[bytes]:
        """The whole records, in order.

        Raises:
            LogError: the file cannot be read, or it is of another tool or version.
        """
        try:
            with self.path.open("rb") as file:
                yield from self._records(file)
        except OSError as e:
            raise LogError(
                f"{self.path} cannot be read ({e.strerror or e}), so its curves are missing. "
                "Name a file that this user may read."
            ) from e

    def remarks(self) -> list[str]:
        said = [f"bytes {a} to {b - 1} hold no record; skipped" for a, b in self.gaps[:_NAMED_GAPS]]
        if others := self.gaps[_NAMED_GAPS:]:
            lost = sum(end - begin for begin, end in others)
            said.append(f"{lost} bytes at {len(others)} more places hold no record; skipped")
        if self.torn is not None:
            said.append(
                f"the file ends inside the record that begins at byte {self.torn}: "
                "it is still being written, or was cut off"
            )
        return said

    def _records(self, file: BinaryIO) -> Iterator[bytes]:
        base, at, block = 0, SIGNATURE_BYTES + 1, file.read(BLOCK_BYTES)
        self._admit(block)
        while True:
            final = len(block) < BLOCK_BYTES  # what a live file gains now is for the next look
            while len(block) - at >= _HEAD.size:
                crc, size, kind = _HEAD.unpack_from(block, at)
                end = at + _HEAD.size + size
                data = block[at + _HEAD.size : end]
                if not _is_whole(crc, size, kind, data):
                    after = _next_chunk(block, at + 1)
                    if final and after == len(block) < end:
                        break
                    self._drop_parts(base + at)
                    self._lose(base + at, base + after)
                    at = after
                elif kind == FULL and not self._parts:
                    yield data
                    at = end
                else:
                    yield from self._join(kind, data, base + at, base + end)
                    at = end
            if final:
                break
            base, at, block = base + BLOCK_BYTES, 0, file.read(BLOCK_BYTES)
        if self._parts or at < len(block):
            self.torn = self._begun if self._parts else base + at

    def _admit(self, block: bytes) -> None:
        if not block.startswith(self.signature) or len(block) <= SIGNATURE_BYTES:
            raise LogError(
                f"{self.path} does not begin as the files of {self.tool} do, so nothing in it can "
                f"be read. Name a file that {self.tool} wrote, whole from its first byte."
            )
        self.version = block[SIGNATURE_BYTES]
        if self.version not in self.versions:
            known = " and ".join(map(str, self.versions))
            raise LogError(
                f"{self.path} is written in version {self.version} of its format; only {known} can "
                f"be read, so its curves are missing. Export them from {self.tool} as CSV."
            )

    def _join(self, kind: int, data: bytes, begin: int, end: int) -> list[bytes]:
        """The record that this chunk completes, if it does."""
        if kind in (FULL, FIRST):
            self._drop_parts(begin)
            if kind == FULL:
                return [data]
            self._parts, self._begun = [data], begin
        elif not self._parts:
            self._lose(begin, end)
        else:
            self._parts.append(data)
            if kind == LAST:
                whole, self._parts = b"".join(self._parts), []
                return [whole]
        return []

    def _drop_parts(self, end: int) -> None:
        if self._parts:
            self._lose(self._begun, end)
            self._parts = []

    def _lose(self, begin: int, end: int) -> None:
        if self.gaps and self.gaps[-1][1] == begin:
            begin = self.gaps.pop()[0]
        self.gaps.append((begin, end))


def _next_chunk(block: bytes, at: int) -> int:
    """Where the next whole chunk begins; a wrong size would hide all that follow in the block."""
    for found in _KINDS.finditer(block, at + _HEAD.size - 1):
        begin = found.end()
        crc, size, kind = _HEAD.unpack_from(block, begin - _HEAD.size)
        if _is_whole(crc, size, kind, block[begin : begin + size]):
            return begin - _HEAD.size
    return len(block)


def _is_whole(crc: int, size: int, kind: int, data: bytes) -> bool:
    return len(data) == size and 0 < kind <= LAST and zlib.crc32(data, _SEEDS[kind]) == crc


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Key and content of each field. Of a varint the content is its bytes, for `number`.

    Raises:
        GarbledError: it is no message; the fields before that have been given.

    >>> list(fields(bytes.fromhex("0896 01 12 02 6869")))
    [(8, b'\\x96\\x01'), (18, b'hi')]
    """
    at, stop = 0, len(message)
    while at < stop:
        key, begin = message[at], at + 1
        if key >= 0x80:
            key, begin = _varint(message, at)
        wire, at = key & 7, begin
        if wire == 2:
            size, begin = message[at] if at < stop else 0x80, at + 1
            if size >= 0x80:  # most numbers are one byte, and a call costs more than they do
                size, begin = _varint(message, at)
            at = begin + size
        elif wire == 0:
            _, at = _varint(message, at)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise GarbledError(f"wire type {wire}")
        if at > stop:
            raise GarbledError("a field ends behind its message")
        yield key, message[begin:at]


def number(varint: bytes) -> int:
    """The int64 in the content of a varint field.

    >>> number(b"\\x96\\x01"), number(b"\\xff" * 9 + b"\\x01")
    (150, -1)
    """
    value = 0
    for octet in reversed(varint):
        value = value << 7 | octet & 0x7F
    value &= 0xFFFF_FFFF_FFFF_FFFF
    return value - (1 << 64) if value >> 63 else value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number that begins at `at`, unsigned, and where it ends."""
    value = shift = 0
    for octet in message[at : at + 10]:
        value |= (octet & 0x7F) << shift
        shift += 7
        if octet < 0x80:
            return value, at + shift // 7
    raise GarbledError("a number without an end")
