"""Slots: files in shared memory that hold a rank's state and outlive the process that wrote it.

    /dev/shm/steadytrain-<hash of the home>/
        r0of2-5.slot          rank 0 of 2; 5: a number that no other file of that rank has
        copies/               the same, of a neighbour host's ranks

    magic, length of the header, place of the payload, seal      40 bytes
    header: JSON                                                 what the payload is, and whose
    payload: tensors, each at a multiple of 64 bytes

The seal is the xxh3-128 of every other byte of the file, gaps included. It is broken before the
first byte is changed and written after the last one, so a process that is killed in the middle of a
copy leaves a file without one, and any flipped bit makes another. A file is allocated to its end
before it is mapped: writing to a page that shared memory cannot hold would kill the process.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import mmap
import os
import re
import stat
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import xxhash

from steadytrain.errors import CheckpointError

FOLDER = "STEADYTRAIN_SHM"
"""Environment: another folder than /dev/shm, used without a supervisor too; "off" for none."""

COPIES = "STEADYTRAIN_COPIES"
"""Environment of a rank: hosts keep copies of each other's states."""

NO_COPIES = "no-copies"
"""A file in the folder: why there is no room for them on this host."""

SHARED_MEMORY = "/dev/shm"
PREFIX = "steadytrain-"

MAGIC = b"STSLOT01"
HEAD = struct.Struct("<8sQQ16s")
SEAL_AT = HEAD.size - 16
UNSEALED = bytes(16)

PAGE = 4096
ALIGN = 64
"""Of a tensor: a cache line, and what any vector instruction asks for."""

MARGIN = 0.1
"""Share of the folder's room that is left to others: data loaders pass their batches through it,
and die of a bus error when it is full. Source: guess."""

CHUNK_BYTES = 4 * 2**20

NAME = re.compile(r"r(\d+)of(\d+)-(\d+)\.slot")


def is_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether states shall lie in shared memory: under a supervisor, or where a person asks."""
    asked = environ.get(FOLDER)
    if asked is not None:
        return asked.lower() not in ("off", "no", "0", "")
    return "STEADYTRAIN_GENERATION" in environ


def folder_of(home: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of a run's slots on this host, whether or not it exists."""
    asked = environ.get(FOLDER, "")
    root = asked if asked and is_wanted(environ) else SHARED_MEMORY
    digest = hashlib.blake2b(str(_place(home)).encode(), digest_size=12).hexdigest()
    return Path(root) / f"{PREFIX}{digest}"


class Folder:
    """A run's folder in shared memory, as one rank uses it.

    Args:
        fingerprint: of the model.

    Attributes:
        identity: what a slot must be of to be used.

    Raises:
        OSError: it cannot be made, or belongs to another account.
    """

    def __init__(self, path: Path, *, home: Path, rank: int, world: int, fingerprint: str) -> None:
        self.path = path
        self.rank, self.world = rank, world
        self.identity = {
            "format": 1,
            "home": str(_place(home)),
            "rank": rank,
            "world": world,
            "fingerprint": fingerprint,
        }
        make_private(path)

    def mine(self) -> list[Path]:
        """This rank's files, of this number of ranks."""
        return [path for path, rank, world in named(self.path) if (rank, world) == self._key]

    def of_others(self) -> list[tuple[Path, int, int]]:
        """Files of another number of ranks, with their rank and that number."""
        return sorted(one for one in named(self.path) if one[2] != self.world)

    def remove_mine(self) -> None:
        """Give the memory of this rank's slots back."""
        for path in self.mine():
            path.unlink(missing_ok=True)

    def leave(self) -> None:
        """The same at the end of the run; the last rank to leave removes the folder."""
        self.remove_mine()
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def remove_others(self) -> None:
        """Remove what belongs to another number of ranks. One rank of each host."""
        for path, _, _ in self.of_others():
            path.unlink(missing_ok=True)

    def lacks_room(self, num_bytes: int, *, sharing: int) -> str | None:
        """Why slots of so many bytes a rank do not fit beside what others need; None if they do.

        Args:
            sharing: ranks on this host, which all ask at the same time.
        """
        own = 0
        for path in self.path.iterdir():
            with contextlib.suppress(FileNotFoundError):
                own += path.stat().st_blocks * 512
        return lacks_room(self.path, num_bytes * sharing, own=own)

    def new_path(self) -> Path:
        return new_path(self.path, self.rank, self.world)

    @property
    def _key(self) -> tuple[int, int]:
        return self.rank, self.world


class Slot:
    """One file, mapped. What the memory holds is valid while `is_sealed`, and proven by `inspect`.

    Attributes:
        memory: the whole file.
        payload: where the tensors begin.
    """

    def __init__(self, path: Path, memory: mmap.mmap, payload: int) -> None:
        self.path = path
        self.memory = memory
        self.payload = payload

    @classmethod
    def create(cls, path: Path, *, header_bytes: int, payload_bytes: int) -> "Slot":
        """A new file, allocated to its end.

        Raises:
            OSError: no room; nothing is left behind then.
        """
        payload = round_up(HEAD.size + header_bytes, PAGE)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            # Not ftruncate: a hole in shared memory that cannot be filled later is a SIGBUS.
            os.posix_fallocate(file, 0, payload + max(payload_bytes, 1))
            memory = mmap.mmap(file, 0)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(file)
        memory[: HEAD.size] = HEAD.pack(MAGIC, 0, payload, UNSEALED)
        return cls(path, memory, payload)

    @classmethod
    def open(cls, path: Path) -> "Slot":
        """An earlier process's file; what is in it, `inspect` tells.

        Raises:
            CheckpointError: it is no slot.
            OSError: it cannot be opened.
        """
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            size = os.fstat(file).st_size
            if size < PAGE:
                raise CheckpointError(f"it has {size} bytes, fewer than any slot")
            memory = mmap.mmap(file, size)
        finally:
            os.close(file)
        magic, _, payload, _ = HEAD.unpack_from(memory)
        if magic != MAGIC or payload % PAGE or not PAGE <= payload < size:
            raise CheckpointError("its first bytes are damaged, or it is no slot")
        return cls(path, memory, payload)

    @property
    def is_sealed(self) -> bool:
        """Whether somebody finished writing; not whether it is still as it was written."""
        return self.proof != UNSEALED

    @property
    def proof(self) -> bytes:
        """xxh3-128 of all `stretches` in turn, if it `is_sealed`."""
        return self.memory[SEAL_AT : HEAD.size]

    @property
    def stretches(self) -> tuple[tuple[int, int], ...]:
        """What the seal is of, as (begin, length)."""
        return (0, SEAL_AT), (HEAD.size, len(self.memory) - HEAD.size)

    @property
    def header_room(self) -> int:
        return self.payload - HEAD.size

    def break_seal(self) -> None:
        """Before the first byte is changed."""
        self.memory[SEAL_AT : HEAD.size] = UNSEALED

    def seal(self, header: bytes) -> None:
        """Write the header and, over everything, the seal. Nobody may write meanwhile."""
        assert len(header) <= self.header_room
        self.memory[HEAD.size : self.payload] = header.ljust(self.header_room, b"\0")
        self.memory[: HEAD.size] = HEAD.pack(MAGIC, len(header), self.payload, UNSEALED)
        self.memory[SEAL_AT : HEAD.size] = self._digest()

    def header(self) -> dict[str, Any]:
        """What it says of itself; not to be trusted before `inspect`.

        Raises:
            CheckpointError: it cannot be read.
        """
        length = HEAD.unpack_from(self.memory)[1]
        if length > self.header_room:
            raise CheckpointError("the length of its header is damaged")
        try:
            header = json.loads(self.memory[HEAD.size : HEAD.size + length])
            key(header)
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise CheckpointError("its header is damaged") from error
        assert isinstance(header, dict)
        return header

    def inspect(self) -> None:
        """Read every byte and compare with the seal.

        Raises:
            CheckpointError: it is not as it was written.
        """
        if self.proof != self._digest():
            raise CheckpointError("its seal does not match its bytes, so some bit has changed")

    @property
    def is_held(self) -> bool:
        """Whether another process wants it left as it is, see `hold`."""
        with contextlib.suppress(FileNotFoundError), _locked(self.path, fcntl.LOCK_EX) as file:
            return file is None
        return False

    def remove(self) -> None:
        """Give its name back; the memory lives as long as something maps it."""
        self.path.unlink(missing_ok=True)

    def _digest(self) -> bytes:
        hasher = xxhash.xxh3_128()
        with memoryview(self.memory) as view:
            hasher.update(view[:SEAL_AT])
            for begin in range(HEAD.size, len(view), CHUNK_BYTES):
                hasher.update(view[begin : begin + CHUNK_BYTES])
        return as_seal(hasher.digest())


def as_seal(digest: bytes) -> bytes:
    """All zeros mean "not sealed"; one state in 2^128 is sealed with another word."""
    return digest if digest != UNSEALED else b"\1" * 16


def named(folder: Path) -> list[tuple[Path, int, int]]:
    """Every slot of a folder, with its rank and number of ranks as the name says."""
    try:
        found = [(path, NAME.fullmatch(path.name)) for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    return [(path, int(name[1]), int(name[2])) for path, name in found if name]


def lacks_room(folder: Path, needed: int, *, own: int = 0) -> str | None:
    """Why so many bytes do not fit beside what others need; None if they do.

    Args:
        own: bytes there that will be used again.
    """
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize + own
    left = int(MARGIN * room.f_blocks * room.f_frsize)
    if needed + left <= free:
        return None
    return (
        f"{folder.parent} has {_size(free)} free, {_size(needed)} are needed and "
        f"{_size(left)} are left to others"
    )


def new_path(folder: Path, rank: int, world: int) -> Path:
    """A name that no slot of this rank has."""
    numbers = [_number(path) for path, *of in named(folder) if of == [rank, world]]
    return folder / f"r{rank}of{world}-{max(numbers, default=-1) + 1}.slot"


def make_private(folder: Path) -> None:
    """Make a folder that this account alone can read.

    Raises:
        OSError: it cannot be made, or belongs to another account.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(errno.EPERM, "it belongs to another account", str(folder))


@contextlib.contextmanager
def hold(path: Path) -> Iterator[bool]:
    """Keep a slot's writer from using it again meanwhile; whether that could be had.

    A lock of the kernel's, so it ends with the process that took it, however that ends.

    Raises:
        FileNotFoundError: it is gone.
    """
    with _locked(path, fcntl.LOCK_SH) as file:
        yield file is not None


@contextlib.contextmanager
def _locked(path: Path, how: int) -> Iterator[int | None]:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        yield None
        return
    except OSError:  # a folder named by STEADYTRAIN_SHM whose file system knows no locks
        pass
    try:
        yield file
    finally:
        os.close(file)


def key(header: dict[str, Any]) -> tuple[int, int, int]:
    """Attempt, step and draw of a state: what all ranks must hold alike."""
    return int(header["attempt"]), int(header["step"]), int(header["draw"])


def round_up(number: int, to: int) -> int:
    return -(-number // to) * to


def _number(path: Path) -> int:
    name = NAME.fullmatch(path.name)
    assert name is not None
    return int(name[3])


def _place(home: Path) -> Path:
    return Path(os.path.realpath(home))


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e7 else f"{num_bytes / 1e6:.2f} MB"
