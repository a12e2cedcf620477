"""Checkpoints' files written by a process of their own, from the slot where the state lies.

torch.save puts a file together here, all but the tensors' bytes: a few hundred bytes for each. The
process (scribe.py) copies those from shared memory, hashes and syncs. Nothing is pickled through a
pipe: torch's own writer process pickles every tensor, and once it has died every later save fails.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import Tensor
from torch.distributed.checkpoint.filesystem import (
    DEFAULT_SUFFIX,
    FileSystemWriter,
    _StorageInfo,
)
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner, WriteItem
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future
from torch.serialization import skip_data

from steadytrain.errors import CheckpointError
from steadytrain.slots import Slot
from steadytrain.train import scribe
from steadytrain.train.hashed import HashedFiles

PATIENCE_SECONDS = 600.0
"""Of silence; a sign of life comes with every 32 MB, and a disk may stall for minutes. A guess."""

SEAL_SECONDS = 10.0
"""To wait for a seal. One whose header does not fit never comes."""

END_SECONDS = 2.0

MOST_DEATHS = 2
"""In a row; then this process writes by itself, since something kills every other one."""


class Writer:
    """The owner's end of the process, which is started when needed and anew when it has died.

    One thread at a time.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._line: Connection | None = None
        self._num_deaths = 0

    @property
    def pid(self) -> int | None:
        """Of the process, None while there is none."""
        return None if self._process is None else self._process.pid

    def is_ready(self) -> bool:
        """Whether it can be asked; starts the process if there is none."""
        if self._process is not None and self._process.poll() is not None:
            self._end()  # between two saves: nothing was lost
        if self._process is None and self._num_deaths < MOST_DEATHS:
            with contextlib.suppress(OSError):  # no memory or no pid left for it
                self._start()
        return self._process is not None

    def write(
        self,
        path: Path,
        slot: Path,
        pieces: Sequence[tuple[int, int, int]],
        words: bytes,
        *,
        sealed: Sequence[tuple[int, int]] = (),
    ) -> tuple[int, str, bytes]:
        """Write and sync a file; its size and xxh3-128, and what the slot's seal would be now.

        Args:
            pieces: so many bytes of `words`, then from where and how many bytes of the slot.
                What is left of the words comes last.
            sealed: what of the slot its seal is of, as (begin, length).

        Raises:
            OSError: what the disk said.
            CheckpointError: the process died or fell silent.
        """
        request = {"path": str(path), "slot": str(slot), "pieces": pieces, "sealed": sealed}
        told = self._ask(request, words)
        return told["size"], told["digest"], bytes.fromhex(told["seal"])

    def close(self) -> None:
        """End the process; another would be started for another save."""
        self._end()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            command = [
                sys.executable,
                "-P",
                scribe.__file__,
                str(theirs.fileno()),
                str(os.getpid()),
            ]
            # This thread's mask is the process's: no signal comes before it is deaf to it.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, scribe.UNHEARD)
            try:
                self._process = subprocess.Popen(
                    command,
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,  # a supervisor would wait for the end of its output
                    stderr=subprocess.DEVNULL,
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            self._line = Connection(ours.detach())

    def _ask(self, request: dict[str, Any], words: bytes) -> dict[str, Any]:
        assert self._line is not None
        answer = b""
        try:
            self._line.send_bytes(json.dumps(request).encode())
            self._line.send_bytes(words)
            while not answer:
                if not self._line.poll(PATIENCE_SECONDS):
                    raise TimeoutError(f"was silent for {PATIENCE_SECONDS:.0f} s")
                answer = self._line.recv_bytes()
        except (EOFError, OSError) as error:
            raise self._failure(error) from error
        self._num_deaths = 0
        told: dict[str, Any] = json.loads(answer)
        if "errno" in told:
            raise OSError(told["errno"], told["words"], told["path"])
        return told

    def _failure(self, error: BaseException) -> CheckpointError:
        process = self._process
        assert process is not None
        self._num_deaths += 1
        how = str(error)
        if not isinstance(error, TimeoutError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
            code = process.returncode
            how = f"was killed by signal {-code}" if code and code < 0 else f"ended with {code}"
        self._end()
        after = "the next save starts another"
        if self._num_deaths >= MOST_DEATHS:
            after = "from now on this process writes by itself, which slows training more"
        return CheckpointError(f"the process that writes checkpoints {how}; {after}")

    def _end(self) -> None:
        if self._line is not None:
            self._line.close()
        if self._process is not None:
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                # One that the disk holds goes when the disk lets it; it writes nothing more then.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(END_SECONDS)
        self._line = self._process = None


class SlotStorage(FileSystemWriter):
    """How DCP writes a state that lies in a slot: by the writer's process.

    Args:
        slot: leased until the save has ended.
        files: is told size and hash of what was written.
    """

    def __init__(self, path: Path, slot: Slot, writer: Writer, files: HashedFiles) -> None:
        super().__init__(path)
        self.fs = files
        self._files = files
        self._slot = slot
        self._writer = writer

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """One file for all that the plan gives this rank, as DCP's own writer does."""
        name = f"{plan.storage_data.prefix}0{DEFAULT_SUFFIX}"
        pieces = _Pieces(self._slot)
        results = [_add(pieces, item, planner, name) for item in plan.items]
        if results:
            sealed = _wait_for_seal(self._slot)
            size, digest, seal = self._writer.write(
                Path(self.path) / name,
                self._slot.path,
                pieces.listed,
                bytes(pieces.words),
                sealed=sealed,
            )
            if sealed and seal != self._slot.proof:
                raise CheckpointError(
                    "the state changed in shared memory while it was written: a bit has flipped"
                )
            self._files.written[name] = size, digest
        future: Future[list[WriteResult]] = Future()
        future.set_result(results)
        return future


def _wait_for_seal(slot: Slot) -> tuple[tuple[int, int], ...]:
    """What the seal is of; nothing where there is none: the file's hash stands alone then."""
    end = time.monotonic() + SEAL_SECONDS
    while not slot.is_sealed and time.monotonic() < end:
        time.sleep(0.002)  # another thread is at it, as fast as memory
    return slot.stretches if slot.is_sealed else ()


class _Pieces:
    """A file that torch.save writes into, with stretches of a slot where tensors' bytes belong."""

    def __init__(self, slot: Slot) -> None:
        self.words = bytearray()
        self.listed: list[tuple[int, int, int]] = []
        self._num_listed = 0
        self._position = 0
        self._memory = torch.frombuffer(slot.memory, dtype=torch.uint8)
        self._tensor: Tensor | None = None

    def save(self, tensor: Tensor) -> None:
        self._tensor = tensor
        with skip_data():
            torch.save(tensor, cast(IO[bytes], self))

    def write(self, data: Any) -> int:
        with memoryview(data) as view:
            self.words += view
            self._position += view.nbytes
            return view.nbytes

    def seek(self, count: int, whence: int) -> int:
        """torch leaves room here for a tensor's bytes."""
        assert whence == os.SEEK_CUR
        assert self._tensor is not None
        storage = self._tensor.untyped_storage()
        assert storage.nbytes() == count
        begin = storage.data_ptr() - self._memory.data_ptr()
        if 0 <= begin <= self._memory.numel() - count:
            self.listed.append((len(self.words) - self._num_listed, begin, count))
            self._num_listed = len(self.words)
            self._position += count
        else:  # a random state, which lies in the header of the slot and not as a tensor
            self.write(self._tensor.contiguous().view(-1).view(torch.uint8).numpy())
        return self._position

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """Nothing waits."""


def _add(pieces: _Pieces, item: WriteItem, planner: SavePlanner, name: str) -> WriteResult:
    begin = pieces.tell()
    tensor = planner.resolve_data(item)
    assert isinstance(tensor, Tensor)
    tensor = tensor.detach()
    if tensor.untyped_storage().nbytes() != tensor.nbytes:
        tensor = tensor.clone()
    pieces.save(tensor)
    length = pieces.tell() - begin
    return WriteResult(
        index=item.index, size_in_bytes=length, storage_data=_StorageInfo(name, begin, length)
    )
