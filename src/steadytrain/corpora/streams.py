"""Files as blocks of bytes and as lines, plain or compressed, told by content: gzip, Zstandard,
bzip2, xz. A torn end is named after everything before it was given."""

import bz2
import importlib
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

BLOCK_BYTES = 1 << 20
PACKED_BYTES = 1 << 15  # at once: newline-only text unpacks to a thousand times as much
LONGEST_LINE = 1 << 27
"""A line beyond 128 MiB is left out: no document is so long, and memory is not without end."""

SKIPPABLE = tuple(bytes([0x50 + low]) + b"\x2a\x4d\x18" for low in range(16))


class TornError(Exception):
    """The compressed data end early or are damaged; says where. Never leaves this package."""


class MissingError(Exception):
    """A library is not installed; says what to install. Never leaves this package."""


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


@dataclass(slots=True)
class Stream:
    """One file, read once, from its beginning.

    Attributes:
        at: how much of the file as it is stored has been read. [bytes]
    """

    path: Path
    at: int = 0

    def blocks(self) -> Iterator[bytes]:
        """The content, unpacked.

        Raises:
            OSError: the file cannot be read.
            TornError: compressed data end early; whatever came before has been given.
            MissingError: no library for Zstandard.
        """
        with open(self.path, "rb") as file:
            head = file.read(6)
            file.seek(0)
            packing = packing_of(head)
            size = BLOCK_BYTES if packing is None else PACKED_BYTES
            stored = self._stored(file, size)
            yield from stored if packing is None else unpacked(stored, packing)

    def lines(self) -> Iterator[bytes | None]:
        """Lines without their newline; None for one that is longer than LONGEST_LINE."""
        begun: list[bytes] = []
        length, is_too_long = 0, False
        for block in self.blocks():
            first, *more = block.split(b"\n")
            begun.append(first)
            length += len(first)
            if length > LONGEST_LINE:
                begun, is_too_long = [], True
            if more:
                yield None if is_too_long else b"".join(begun)
                yield from more[:-1]
                begun, length, is_too_long = [more[-1]], len(more[-1]), False
        if length:
            yield None if is_too_long else b"".join(begun)

    def _stored(self, file: Any, size: int) -> Iterator[bytes]:
        while block := file.read(size):
            self.at += len(block)
            yield block


@dataclass(frozen=True, slots=True)
class Packing:
    """A compression: what unpacks one frame, and how it complains."""

    make: Callable[[], _Unpacker]
    error: type[Exception]


def packing_of(head: bytes) -> Packing | None:
    """The compression of a file with this beginning, None where there is none.

    Raises:
        MissingError: no library for Zstandard.
    """
    if head.startswith(b"\x1f\x8b"):
        return Packing(lambda: zlib.decompressobj(wbits=31), zlib.error)
    if head.startswith((b"\x28\xb5\x2f\xfd", *SKIPPABLE)):
        return _zstandard()
    if head.startswith(b"BZh"):
        return Packing(bz2.BZ2Decompressor, OSError)
    if head.startswith(b"\xfd7zXZ\x00"):
        return Packing(lzma.LZMADecompressor, lzma.LZMAError)
    return None


def unpacked(stored: Iterator[bytes], packing: Packing) -> Iterator[bytes]:
    """The content of compressed blocks; frames that follow each other are one content.

    Raises:
        TornError: see `Stream.blocks`.
    """
    unpacker, is_fresh, at = packing.make(), True, 0
    for block in stored:
        at += len(block)
        while block:
            if is_fresh and not block.strip(b"\0"):
                break  # padding behind a frame
            try:
                content = unpacker.decompress(block)
            except packing.error as e:
                raise TornError(f"is damaged before byte {at} ({e})") from e
            is_fresh, block = False, b""
            if content:
                yield content
            if unpacker.eof:
                block, unpacker, is_fresh = unpacker.unused_data, packing.make(), True
    if not is_fresh:
        raise TornError(f"ends too early, at byte {at}, inside compressed data")


def _zstandard() -> Packing:
    try:
        own = importlib.import_module("compression.zstd")  # Python 3.14 and later
        options = {own.DecompressionParameter.window_log_max: 31}
        return Packing(lambda: own.ZstdDecompressor(options=options), own.ZstdError)
    except ModuleNotFoundError:
        pass
    try:
        other = importlib.import_module("zstandard")
    except ModuleNotFoundError as e:
        raise MissingError(
            "is compressed with Zstandard, and neither Python 3.14's compression.zstd nor the "
            "package zstandard is here, so it was not read. Write: pip install zstandard"
        ) from e
    whole = other.ZstdDecompressor(max_window_size=1 << 31)
    return Packing(lambda: whole.decompressobj(), other.ZstdError)
