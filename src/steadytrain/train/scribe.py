"""Writes files for a training process, which has no share in the work: no lock, no thread, no copy.

Run as `python scribe.py SOCKET OWNER`; asked over the socket to put a file together from words that
it is sent and from stretches of a slot in shared memory. It ends when its owner does, however that
ends: in the same process group, deaf to what a terminal or a scheduler sends to all, and asking
between any two stretches whether there still is somebody to write for.

This file imports nothing of steadytrain and no torch, so that it starts in a few hundredths of a
second and holds a few megabytes.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, BinaryIO

import xxhash

AHEAD_BYTES = 32 * 2**20
"""Handed to the disk at a time while more is written, so that the sync at the end is short."""

READ_BYTES = 2**20
"""Read from shared memory at a time: what is hashed and written next is still in the cache."""

IDLE_SECONDS = 2.0
"""Between two looks whether the owner lives: a forked child of it may hold the socket open."""

UNHEARD = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
"""What terminals and schedulers send to every process of a run; the owner decides what follows."""


class Sink:
    """A file written from its beginning to its end, hashed from the memory that it comes from."""

    def __init__(self, file: BinaryIO) -> None:
        self.num_bytes = 0
        self._file = file
        self._hash = xxhash.xxh3_128()
        self._handed_over = self._earlier = 0

    def write(self, raw: memoryview) -> bool:
        """Whether the disk was handed something."""
        # Hashed first: a bit that flips afterwards is one that the hash accuses.
        self._hash.update(raw)
        self._file.write(raw)
        self.num_bytes += len(raw)
        if self.num_bytes - self._handed_over < AHEAD_BYTES:
            return False
        self.hand_over()
        return True

    def digest(self) -> str:
        return self._hash.hexdigest()

    def fileno(self) -> int:
        # Asked for by a sync, which concerns what is still in the buffer too.
        self._file.flush()
        return self._file.fileno()

    def hand_over(self) -> None:
        """Let the disk begin; pages that it has written leave the cache, which training needs."""
        begin = self._earlier  # what was handed over last time is written by now, and can go
        os.posix_fadvise(self.fileno(), begin, self.num_bytes - begin, os.POSIX_FADV_DONTNEED)
        self._earlier, self._handed_over = self._handed_over, self.num_bytes


def serve(line: Connection, owner: int) -> None:
    """Answer requests until the owner is gone."""

    def beat() -> None:
        if os.getppid() != owner:
            raise EOFError
        line.send_bytes(b"")  # the end of a socket that nobody holds raises

    while True:
        while not line.poll(IDLE_SECONDS):
            if os.getppid() != owner:
                return
        request = json.loads(line.recv_bytes())
        words = line.recv_bytes()
        try:
            answer = _write(request, words, beat)
        except OSError as error:
            if isinstance(error, BrokenPipeError | ConnectionError):
                return
            answer = {"errno": error.errno, "words": error.strerror, "path": error.filename}
        line.send_bytes(json.dumps(answer).encode())


def _write(request: dict[str, Any], words: bytes, beat: Callable[[], None]) -> dict[str, Any]:
    """The file, synced: in turn so many of the words, then a stretch of the slot."""
    source = os.open(request["slot"], os.O_RDONLY | os.O_CLOEXEC)
    try:
        with open(request["path"], "wb") as file, memoryview(words) as view:
            sink, at = Sink(file), 0
            for count, begin, length in request["pieces"]:
                sink.write(view[at : at + count])
                at += count
                for raw in _stretch(source, begin, length):
                    if sink.write(raw):
                        beat()
            sink.write(view[at:])
            sink.hand_over()
            seal = _digest(source, request["sealed"], beat)  # while the disk writes
            os.fsync(sink.fileno())
            return {"size": sink.num_bytes, "digest": sink.digest(), "seal": seal}
    finally:
        os.close(source)


def _digest(source: int, stretches: list[list[int]], beat: Callable[[], None]) -> str:
    """xxh3-128 over stretches of the slot."""
    hasher = xxhash.xxh3_128()
    for begin, length in stretches:
        for number, raw in enumerate(_stretch(source, begin, length)):
            hasher.update(raw)
            if number % 1024 == 0:
                beat()
    return hasher.hexdigest()


def _stretch(source: int, begin: int, length: int) -> Iterator[memoryview]:
    # Read, not mapped: a page fault for every 4 KB costs more than a copy that stays in the cache,
    # and a slot that is cut short is an error and not the end of this process.
    buffer = memoryview(bytearray(min(READ_BYTES, length)))
    end = begin + length
    while begin < end:
        count = os.preadv(source, [buffer[: end - begin]], begin)
        if count == 0:
            raise OSError(5, "shared memory ends before the state does")  # EIO
        yield buffer[:count]
        begin += count


if __name__ == "__main__":
    for unwanted in UNHEARD:
        signal.signal(unwanted, signal.SIG_IGN)
    try:
        serve(Connection(int(sys.argv[1])), int(sys.argv[2]))
    except (EOFError, BrokenPipeError, ConnectionError):
        sys.exit(0)  # the owner is gone
