"""Files hashed on their way to the disk: the hash is of the memory, not of the file read again."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xxhash
from torch.distributed.checkpoint.filesystem import FileSystem

AHEAD_BYTES = 32 * 2**20
"""Handed to the disk at a time while more is written, so that the sync at the end is short."""


class HashedFiles(FileSystem):
    """How DCP writes files, with size and xxh3-128 of each kept.

    Attributes:
        written: name -> size, hash.
    """

    def __init__(self) -> None:
        self.written: dict[str, tuple[int, str]] = {}

    @contextmanager
    def create_stream(self, path: str | os.PathLike[str], mode: str) -> Generator[Any, None, None]:
        if mode != "wb":
            with super().create_stream(path, mode) as plain:
                yield plain
            return
        with open(path, "wb") as file:
            stream = _Stream(file)
            yield stream
            self.written[Path(path).name] = stream.num_bytes, stream.digest()

    def rename(self, path: str | os.PathLike[str], new_path: str | os.PathLike[str]) -> None:
        super().rename(path, new_path)
        self.written[Path(new_path).name] = self.written.pop(Path(path).name)


class _Stream:
    """What DCP and torch.save ask of a file that they write from its beginning to its end."""

    def __init__(self, file: Any) -> None:
        self.num_bytes = 0
        self._file = file
        self._hash = xxhash.xxh3_128()
        self._handed_over = self._earlier = 0

    def write(self, data: Any) -> int:
        with memoryview(data) as view, view.cast("B") as raw:
            # Hashed first: a bit that flips afterwards is one that the hash accuses.
            self._hash.update(raw)
            self._file.write(raw)
            self.num_bytes += len(raw)
            written = len(raw)
        if self.num_bytes - self._handed_over >= AHEAD_BYTES:
            self._hand_over()
        return written

    def digest(self) -> str:
        return self._hash.hexdigest()

    def tell(self) -> int:
        return self.num_bytes

    def flush(self) -> None:
        self._file.flush()

    def fileno(self) -> int:
        # Asked for by a sync, which concerns what is still in the buffer too.
        self._file.flush()
        number: int = self._file.fileno()
        return number

    def close(self) -> None:
        self._file.close()

    def writable(self) -> bool:
        return True

    def _hand_over(self) -> None:
        """Let the disk begin; pages that it has written leave the cache, which training needs."""
        self._file.flush()
        begin = self._earlier  # what was handed over last time is written by now, and can go
        os.posix_fadvise(self._file.fileno(), begin, self.num_bytes - begin, os.POSIX_FADV_DONTNEED)
        self._earlier, self._handed_over = self._handed_over, self.num_bytes
