"""The copy of a run in an object store, as it lies there. Any fsspec file system will do.

    s3://bucket/run/
        run.json                          whose copy this is, and which life of the run writes it
        journal/rank0.1.jsonl/0-81234-... a stretch of the journal, with its hash in the name
        checkpoints/a0001-s00000100/      as on the disk; manifest.json comes last

Object stores do not rename, so what makes a checkpoint complete is its manifest. Errors are those
of the file system, of whatever class they are.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import xxhash
from fsspec.callbacks import Callback
from fsspec.implementations.local import LocalFileSystem

from steadytrain import durable, journal
from steadytrain.errors import SettingError
from steadytrain.train.manifest import MANIFEST
from steadytrain.train.retention import CheckpointRef, refs_of

RUN, JOURNAL, CHECKPOINTS = "run.json", journal.FOLDER, "checkpoints"

PROBE = "probe"
"""Written and removed before a run begins: a store that takes nothing is told at once."""

BUCKETS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci", "obs", "tos", "cos"}
"""Stores without folders, where fsspec's makedirs would make a bucket of a misspelt name."""

COPY_BYTES = 4 * 2**20
"""Read at a time where this file copies itself; each is a sign of life. Source: manifest.py."""

_PASSWORD = re.compile(r"://[^/@:]*:([^/@]+)@")


class Store:
    """A folder of an object store.

    Attributes:
        url: as people may read it, without a password.
        moved: grows with everything that goes up or comes down: a sign of life.

    Raises:
        SettingError: nothing here can reach such a URL.
    """

    def __init__(self, url: str) -> None:
        self._passwords = _PASSWORD.findall(url)
        self.url = self.blot(url)
        self.moved = 0
        try:
            self._system, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise SettingError(
                f"mirror={self.url!r} cannot be reached ({self.blot(str(error))}), so nothing "
                "would be copied. Install what it names (pip install s3fs, gcsfs or adlfs), or "
                'write another URL, as mirror="s3://bucket/run".'
            ) from error
        spoken = self._system.protocol
        names = {spoken} if isinstance(spoken, str) else set(spoken)
        self._has_folders = not names & BUCKETS

    def blot(self, text: str) -> str:
        """A text without the password of the URL."""
        for one in self._passwords:
            text = text.replace(one, "***")
        return text

    def prove_writable(self) -> None:
        """Write an object and remove it."""
        self.put_bytes(b"whether it can be written", PROBE)
        self._system.rm_file(self._at(PROBE))

    def remove_checkpoint(self, name: str) -> None:
        """Its manifest first: half of one is none."""
        folder = self._at(f"{CHECKPOINTS}/{name}")
        self._system.rm_file(f"{folder}/{MANIFEST}")
        self._system.rm(folder, recursive=True)

    def put_stretch(self, file: str, begin: int, body: bytes) -> None:
        """Bytes of a file of the journal, from `begin` on."""
        name = f"{begin}-{begin + len(body)}-{xxhash.xxh3_128_hexdigest(body)}"
        self.put_bytes(body, f"{JOURNAL}/{file}/{name}")

    def read_stretch(self, file: str, begin: int, end: int, digest: str) -> bytes:
        """The same back, as it is now."""
        raw: bytes = self._system.cat_file(self._at(f"{JOURNAL}/{file}/{begin}-{end}-{digest}"))
        self.moved += 1
        return raw

    def put(self, path: Path, name: str) -> int:
        """Copy a file up; its size."""
        size = path.stat().st_size
        self._make_folder(name)
        if isinstance(self._system, LocalFileSystem):
            with open(path, "rb") as source, self._system.open(self._at(name), "wb") as target:
                self._copy(source, target)
        else:
            self._system.put_file(str(path), self._at(name), callback=_Moves(self))
        self._insist_on_size(name, size)
        return size

    def put_bytes(self, body: bytes, name: str) -> None:
        """Write an object, whole or not at all."""
        self._make_folder(name)
        if isinstance(self._system, LocalFileSystem):  # where half a file can stay behind
            durable.write(Path(self._at(name)), body)
        else:
            self._system.pipe_file(self._at(name), body)
        self._insist_on_size(name, len(body))

    def get(self, name: str, path: Path) -> None:
        """Copy an object down, and put it on the disk."""
        if isinstance(self._system, LocalFileSystem):
            with self._system.open(self._at(name), "rb") as source, open(path, "wb") as target:
                self._copy(source, target)
        else:
            self._system.get_file(self._at(name), str(path), callback=_Moves(self))
        with open(path, "rb") as file:
            os.fsync(file.fileno())

    def refs(self) -> list[CheckpointRef]:
        """What is complete there, newest first."""
        ends = f"/{MANIFEST}"
        paths = (path.removesuffix(ends) for path in self._list(CHECKPOINTS) if path.endswith(ends))
        return refs_of([Path(path) for path in paths])

    def read_run(self) -> dict[str, Any] | None:
        """Whose copy this is; None: nobody's yet."""
        self._system.invalidate_cache()
        if not self._system.exists(self._at(RUN)):
            return None
        found: dict[str, Any] = json.loads(self._system.cat_file(self._at(RUN)))
        return found

    def pieces(self) -> dict[str, list[tuple[int, int, str]]]:
        """Of each file of the journal, oldest first: begin, end and hash of what is there."""
        found: dict[str, list[tuple[int, int, str]]] = {}
        for path in self._list(JOURNAL):
            folder, _, name = path.rpartition("/")
            begin, end, digest = name.split("-")
            piece = int(begin), int(end), digest
            found.setdefault(folder.rpartition("/")[2], []).append(piece)
        names = sorted(found, key=lambda name: int(name.split(".")[1]))
        return {name: sorted(found[name]) for name in names}

    def _make_folder(self, name: str) -> None:
        if self._has_folders:
            self._system.makedirs(self._at(name).rpartition("/")[0], exist_ok=True)

    def _copy(self, source: BinaryIO, target: BinaryIO) -> None:
        """What fsspec copies from disk to disk it copies in one go, and says nothing meanwhile."""
        while block := source.read(COPY_BYTES):
            target.write(block)
            self.moved += 1

    def _insist_on_size(self, name: str, size: int) -> None:
        self.moved += 1
        self._system.invalidate_cache()
        found = self._system.info(self._at(name))["size"]
        if found != size:
            raise OSError(f"{found} of {size} bytes of {name} arrived")

    def _list(self, name: str) -> Iterator[str]:
        self._system.invalidate_cache()
        if self._system.exists(self._at(name)):
            found = self._system.find(self._at(name))
            yield from (path for path in found if not path.rpartition("/")[2].startswith("."))

    def _at(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"


class _Moves(Callback):  # type: ignore[misc]
    """Counts what goes by."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    def relative_update(self, inc: int = 1) -> None:
        self._store.moved += 1

    def absolute_update(self, value: int) -> None:
        self._store.moved += 1
