"""The states of a run in one host's memory, as its supervisor finds them: its ranks' and copies.

    /dev/shm/steadytrain-<hash of the home>/
        r0of2-5.slot          of a rank of this host, or brought for one
        copies/r1of2-0.slot   of a rank of a neighbour host
        copies/r1of2.new      one that is arriving, or that did not arrive whole

Ranks write the former and the supervisor the latter. A copy gets its name when it is whole.
"""

import contextlib
import mmap
import os
import struct
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec
import xxhash

from steadytrain.errors import CheckpointError
from steadytrain.slots import (
    HEAD,
    MAGIC,
    NO_COPIES,
    SEAL_AT,
    UNSEALED,
    as_seal,
    lacks_room,
    make_private,
    named,
    new_path,
)

COPIES = "copies"

Key = tuple[int, int, int]
"""Attempt, step, draw: the same state on every rank."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """One sealed state, of one rank.

    Attributes:
        is_whole: it holds all of every tensor and not a part, as under DistributedDataParallel.
        size: of its file. [bytes]
        seal: xxh3-128 of the file without the seal, in hex.
        is_copy: it is kept for another host.
    """

    rank: int
    world: int
    key: Key
    is_whole: bool
    size: int
    seal: str
    name: str
    is_copy: bool


class _Header(msgspec.Struct):
    """What of a slot's header is of interest here."""

    rank: int
    world: int
    attempt: int
    step: int
    draw: int
    tensors: dict[str, tuple[list[int], str, list[int], list[int], int]]


class Stock:
    """What lies in the folder of a run.

    Args:
        folder: as `slots.folder_of` names it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[Path, tuple[bytes, State]] = {}

    def own(self) -> list[State]:
        """Of this host's ranks, of now or of earlier."""
        return self._states(self.folder, is_copy=False)

    def copies(self) -> list[State]:
        """Kept for others."""
        return self._states(self.folder / COPIES, is_copy=True)

    def path(self, state: State) -> Path:
        return (self.folder / COPIES if state.is_copy else self.folder) / state.name

    def why_no_room(self) -> str | None:
        """Why this host's ranks found no room for copies; None if they did not say so."""
        with contextlib.suppress(OSError):
            return (self.folder / NO_COPIES).read_text()
        return None

    def forget_no_room(self) -> None:
        """Before ranks start, which will look again."""
        (self.folder / NO_COPIES).unlink(missing_ok=True)

    def move_in(self, state: State) -> None:
        """A copy becomes a state of a rank of this host."""
        os.rename(self.path(state), new_path(self.folder, state.rank, state.world))

    def expect(self, rank: int, world: int, size: int, *, safe: Key | None) -> "Arrival":
        """Memory for a state that is coming, where possible that of an older copy.

        Args:
            safe: is kept, whatever comes; else the newest of that rank.

        Raises:
            CheckpointError: there is no room.
            OSError: there is none after all.
        """
        make_private(self.folder)
        make_private(self.folder / COPIES)
        fresh = self.folder / COPIES / f"r{rank}of{world}.new"
        if not fresh.exists():
            old = self._dispensable(rank, world, safe)
            if old is not None:
                os.rename(self.path(old), fresh)
        if fresh.exists() and fresh.stat().st_size != size:
            fresh.unlink()
        if not fresh.exists():
            why = lacks_room(self.folder, size)
            if why is not None:
                raise CheckpointError(why)
        return Arrival(fresh, size)

    def keep_copy(self, arrival: "Arrival", rank: int, world: int) -> None:
        """What came whole is a copy for another host."""
        os.rename(arrival.path, new_path(self.folder / COPIES, rank, world))

    def keep_own(self, arrival: "Arrival", rank: int, world: int) -> None:
        """What came whole is for a rank of this host."""
        os.rename(arrival.path, new_path(self.folder, rank, world))

    def tidy(self, world: int, *, mine: Collection[int], wards: Collection[int]) -> None:
        """Remove what no rank of this host has any more, and what is kept for nobody."""
        for path, rank, of in named(self.folder):
            if of == world and rank not in mine:
                path.unlink(missing_ok=True)
        for path, rank, of in named(self.folder / COPIES):
            if of != world or rank not in wards:
                path.unlink(missing_ok=True)

    def _dispensable(self, rank: int, world: int, safe: Key | None) -> State | None:
        found = sorted(
            (one for one in self.copies() if (one.rank, one.world) == (rank, world)),
            key=lambda one: one.key,
        )
        kept = safe if any(one.key == safe for one in found) else found[-1].key if found else None
        return next((one for one in found if one.key != kept), None)

    def _states(self, folder: Path, *, is_copy: bool) -> list[State]:
        found = [self._read(path, is_copy=is_copy) for path, _, _ in named(folder)]
        return [one for one in found if one is not None]

    def _read(self, path: Path, *, is_copy: bool) -> State | None:
        """None: it is being written, or is no state."""
        try:
            with open(path, "rb") as file:
                head = file.read(HEAD.size)
                known = self._known.get(path)
                if known is not None and known[0] == head:
                    return known[1]
                magic, length, _, seal = HEAD.unpack(head)
                if magic != MAGIC or seal == UNSEALED:
                    return None
                header = msgspec.json.decode(file.read(length), type=_Header)
                size = os.fstat(file.fileno()).st_size
                file.seek(0)
                if file.read(HEAD.size) != head:  # its writer has begun meanwhile
                    return None
        except (OSError, ValueError, msgspec.DecodeError, struct.error):
            return None
        state = State(
            rank=header.rank,
            world=header.world,
            key=(header.attempt, header.step, header.draw),
            is_whole=all(whole == part for whole, _, part, *_ in header.tensors.values()),
            size=size,
            seal=seal.hex(),
            name=path.name,
            is_copy=is_copy,
        )
        self._known[path] = head, state
        return state


class Arrival:
    """A file that a state is received into: without a seal until all of it is as it was sent.

    Raises:
        OSError: no room.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, size)
            self._memory = mmap.mmap(file, size)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(file)
        self._memory[SEAL_AT : HEAD.size] = UNSEALED
        self._hasher = xxhash.xxh3_128()

    def parts(self, step: int) -> Iterator[memoryview]:
        """Its memory in turn, all but the seal, each part at most `step` bytes; each is hashed when
        the next is asked for. [memoryview]"""
        with memoryview(self._memory) as view:
            for begin, end in stretches(len(view), step):
                with view[begin:end] as part:
                    yield part
                    self._hasher.update(part)

    def seal(self, seal: bytes) -> bool:
        """Whether what has come is what was sent; it counts from here on then."""
        if as_seal(self._hasher.digest()) != seal:
            return False
        self._memory[SEAL_AT : HEAD.size] = seal
        return True

    def close(self) -> None:
        """Let go of the memory; what an error under way still holds of it goes with the error."""
        with contextlib.suppress(BufferError):
            self._memory.close()


def stretches(size: int, step: int) -> list[tuple[int, int]]:
    """(begin, end) of all that a slot's seal is of, in turn.

    >>> stretches(100, 32)
    [(0, 24), (40, 72), (72, 100)]
    """
    found = [(0, SEAL_AT)]
    found += [(at, min(at + step, size)) for at in range(HEAD.size, size, step)]
    return found
