"""Files hashed on their way to the disk: the hash is of the memory, not of the file read again."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from torch.distributed.checkpoint.filesystem import FileSystem

from steadytrain.train.scribe import Sink


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

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sink = Sink(file)

    @property
    def num_bytes(self) -> int:
        return self._sink.num_bytes

    def write(self, data: Any) -> int:
        with memoryview(data) as view, view.cast("B") as raw:
            self._sink.write(raw)
            return len(raw)

    def digest(self) -> str:
        return self._sink.digest()

    def tell(self) -> int:
        return self._sink.num_bytes

    def flush(self) -> None:
        self._file.flush()

    def fileno(self) -> int:
        return self._sink.fileno()

    def close(self) -> None:
        self._file.close()

    def writable(self) -> bool:
        return True
