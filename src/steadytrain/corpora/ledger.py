"""The folder of a lint: verdicts, skip list, what could not be read, and how far it has come.

    verdicts.jsonl   a line per document, as `lint --json` prints it
    skips.jsonl      a line per corrupt document; `SkipList` reads it
    unread.jsonl     a line per part that could not be read, or that was read with a remark
    inputs.jsonl     the files, their sizes and times: a changed corpus is refused, not mixed
    progress.json    how far the three are right; replaced whole

After a kill, the lines behind what progress.json vouches for are cut off and made again, so the
files end up byte for byte as those of a lint that nobody disturbed.
"""

import fcntl
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from steadytrain import durable
from steadytrain.corpora.inputs import Input
from steadytrain.corpora.judging import Judged, Position
from steadytrain.corpora.skips import PROGRESS, SKIPS
from steadytrain.corpora.tally import Tally
from steadytrain.errors import CorpusError

INPUTS = "inputs.jsonl"
WRITTEN = ("verdicts.jsonl", SKIPS, "unread.jsonl")
SAVED_EVERY = 2.0  # seconds; guess: what a kill costs at the most, against two syncs of a disk


class Progress(msgspec.Struct, kw_only=True):
    """What progress.json holds. `sizes`: bytes of each written file that are right."""

    v: int = 1
    done: bool = False
    settings: dict[str, Any]
    input: int = 0
    pieces: int = 0
    sizes: dict[str, int] = {}
    tally: Tally


@dataclass(slots=True)
class Ledger:
    """One folder, written by one process."""

    folder: Path
    progress: Progress
    _files: dict[str, BinaryIO] = field(default_factory=dict)
    _lock: BinaryIO | None = None
    _saved_at: float = 0.0

    @classmethod
    def open(cls, folder: Path, settings: dict[str, Any], inputs: Sequence[Input]) -> "Ledger":
        """A new folder, or one to go on with.

        Raises:
            CorpusError: it cannot be written, another process writes it, or it was begun with
                other settings or inputs.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / PROGRESS).exists():
                strangers = [one for one in (*WRITTEN, INPUTS) if (folder / one).exists()]
                if strangers and strangers != [INPUTS]:
                    raise CorpusError(
                        f"{folder} holds {strangers[0]} and no {PROGRESS}; it would be written "
                        f"over. Write another --out."
                    )
                durable.write(folder / INPUTS, _listed(inputs))
                durable.write(
                    folder / PROGRESS,
                    msgspec.json.encode(Progress(settings=settings, tally=Tally())),
                )
            ledger = cls(folder, _load(folder / PROGRESS))
            try:
                ledger._take_lock()
                ledger._compare(settings, inputs)
                ledger._go_on()
            except (CorpusError, OSError):
                ledger.close()
                raise
        except OSError as e:
            raise CorpusError(
                f"--out {folder} cannot be written ({e.strerror}), so no verdict would be kept. "
                f"Write a folder that this user may write."
            ) from e
        return ledger

    @property
    def position(self) -> Position:
        return Position(self.progress.input, self.progress.pieces)

    def add(self, judged: Judged, end: Position) -> None:
        """Write a chunk's lines; now and then, vouch for them."""
        contents = (judged.verdicts, judged.skips, judged.unread)
        for name, content in zip(WRITTEN, contents, strict=True):
            self._files[name].write(content)
            self.progress.sizes[name] += len(content)
        self.progress.input, self.progress.pieces = end.input, end.pieces
        self.progress.tally.merge(judged.tally)
        if time.monotonic() - self._saved_at > SAVED_EVERY:
            self.save()

    def save(self) -> None:
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        durable.write(self.folder / PROGRESS, msgspec.json.encode(self.progress))
        self._saved_at = time.monotonic()

    def close(self) -> None:
        for file in (*self._files.values(), self._lock):
            if file is not None:
                file.close()

    def _take_lock(self) -> None:
        self._lock = (self.folder / INPUTS).open("rb")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise CorpusError(
                f"another lint is writing to {self.folder}; two would spoil it. "
                f"Wait for it, or write another --out."
            ) from e

    def _compare(self, settings: dict[str, Any], inputs: Sequence[Input]) -> None:
        instead = "Write another --out, or delete this one to lint all of it again."
        before = self.progress.settings
        for name, value in settings.items():
            if before.get(name) != value:
                raise CorpusError(
                    f"{self.folder} was begun with {name} {_said(before.get(name))}, and now it is "
                    f"{_said(value)}; its lines would be of two kinds. {instead}"
                )
        known = (self.folder / INPUTS).read_bytes()
        now = _listed(inputs)
        if known != now:
            raise CorpusError(
                f"{_difference(known, now)} since {self.folder} was begun; verdicts of two corpora "
                f"would be mixed. {instead}"
            )

    def _go_on(self) -> None:
        """Cut off what nobody vouches for."""
        for name in WRITTEN:
            path = self.folder / name
            right = self.progress.sizes.setdefault(name, 0)
            if right > (path.stat().st_size if path.exists() else 0):
                raise CorpusError(
                    f"{path} is shorter than {PROGRESS} says: lines were lost. "
                    f"Write another --out, or delete this one to lint all of it again."
                )
            file = path.open("ab")
            self._files[name] = file
            file.truncate(right)


def _load(path: Path) -> Progress:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Progress)
    except msgspec.DecodeError as e:
        raise CorpusError(
            f"{path} is no progress of a lint ({e}), so it is unknown where to go on. "
            f"Write another --out, or delete this one to lint all of it again."
        ) from e


def _listed(inputs: Sequence[Input]) -> bytes:
    lines = (
        msgspec.json.encode({"name": one.name, "size": one.size, "changed": one.changed})
        for one in inputs
    )
    return b"".join(line + b"\n" for line in lines)


def _difference(known: bytes, now: bytes) -> str:
    """The first thing that is not as it was, in words."""
    before, after = (
        {one["name"]: one for one in map(msgspec.json.decode, listed.splitlines())}
        for listed in (known, now)
    )
    for name, one in before.items():
        if name not in after:
            return f"{name} has gone"
        if after[name] != one:
            return f"{name} has changed"
    new = [name for name in after if name not in before]
    return f"{new[0]} has come" if new else "the order of the files has changed"


def _said(value: Any) -> str:
    return "none" if value is None else repr(value)
