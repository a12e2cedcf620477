"""The steps of a journal as arrays: for pictures and analysis of long runs.

A million steps as Python objects take seconds to make and gigabytes to hold. Here each line is read
for a few numbers only, some thousand lines at a time; a long file is read by several processes at
once. They are plain interpreters that answer on a pipe: a fork would copy a training process, and
multiprocessing's spawn would run the caller's script again.
"""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from steadytrain import codec, journal
from steadytrain.events import RunBegan, StepRecord

Floats = NDArray[np.float64]
_STEP, _BEGAN = codec.mark_of(StepRecord), codec.mark_of(RunBegan)

PIECE_BYTES = 32 << 20
"""A process reads at least so much: a quarter of a second, about what it costs to start one."""

MOST_PROCESSES = 16
NUM_PLAIN = 6
_READER = "import sys; from steadytrain import columns; columns.answer(*sys.argv[1:])"


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """The steps of a run in the order of the journal: they repeat after a restart or a rollback.

    Attributes:
        domains: names, D of them.
        step: int64 of shape (N,).
        loss, grad_norm, update, lr, seconds: float64 of shape (N,); NaN where it was NaN, or is
            absent.
        nll, tokens: float64 of shape (N, D): sums per domain.
    """

    domains: tuple[str, ...]
    step: NDArray[np.int64]
    loss: Floats
    grad_norm: Floats
    update: Floats
    lr: Floats
    seconds: Floats
    nll: Floats
    tokens: Floats


class _Step(msgspec.Struct, gc=False):
    """What is read of a StepRecord."""

    step: int
    loss: float
    nll: tuple[float, ...]
    tokens: tuple[int, ...]
    grad_norm: float | None = None
    update: float | None = None
    lr: float | None = None
    seconds: float | None = None


_steps = msgspec.json.Decoder(_Step)


def read(home: Path, writer: str = "rank0") -> Columns:
    """The steps that a writer left.

    Raises:
        JournalError: a line that is not the last of its file cannot be read.
    """
    return read_files(journal.files(home, writer))


def read_files(paths: Iterable[Path], domains: tuple[str, ...] = ()) -> Columns:
    """The steps in these files of one writer, in their order.

    Args:
        domains: their names, until a line of the files says them.
    """
    pieces = [(path, part) for path in paths for part in _parts(path)]
    tables = []
    for said, table in _read_pieces(pieces):
        domains = domains or said
        tables.append(table)
    width = len(domains)
    whole = np.concatenate([_widened(one, width) for one in tables or [_table([])]])
    step, loss, grad_norm, update, lr, seconds = whole[:, :NUM_PLAIN].T
    return Columns(
        domains=domains, step=step.astype(np.int64), loss=loss, grad_norm=grad_norm,
        update=update, lr=lr, seconds=seconds, nll=whole[:, NUM_PLAIN : NUM_PLAIN + width],
        tokens=whole[:, NUM_PLAIN + width :],
    )  # fmt: skip


def answer(path: str, first: str, stop: str) -> None:
    """Read one part of a file and write it to the standard output; the work of a process."""
    domains, table = _read_piece(Path(path), (int(first), int(stop)))
    sys.stdout.buffer.write(json.dumps(domains).encode() + b"\n")
    np.save(sys.stdout.buffer, table)


def _parts(path: Path) -> list[tuple[int, int]]:
    """The bytes of a file in pieces that end with a line."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            num = max(1, min(_num_cores(), MOST_PROCESSES, size // PIECE_BYTES))
            cuts = [0]
            for at in range(1, num):
                file.seek(at * (size // num))
                file.readline()
                cuts.append(file.tell())
    except OSError:
        return [(0, sys.maxsize)]  # the reader says what is wrong with it
    return list(zip(cuts, [*cuts[1:], size], strict=True))


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read_pieces(
    pieces: Sequence[tuple[Path, tuple[int, int]]],
) -> Iterable[tuple[tuple[str, ...], Floats]]:
    """Domains that each piece says, and its table, in order; this process reads the first."""
    large = [at for at, (_, (first, stop)) in enumerate(pieces) if stop - first >= PIECE_BYTES]
    asked = {at: _ask(*pieces[at]) for at in large[1:MOST_PROCESSES]}
    try:
        for at, (path, part) in enumerate(pieces):
            process = asked.get(at)
            told = _told(process) if process is not None else None
            # What a process could not do is done here, where an error can be raised.
            yield told if told is not None else _read_piece(path, part)
    finally:
        for process in asked.values():
            if process is not None:
                process.kill()
                with process:
                    pass  # waits for its end and closes its pipe


def _ask(path: Path, part: tuple[int, int]) -> "subprocess.Popen[bytes] | None":
    if not sys.executable:
        return None
    command = [sys.executable, "-c", _READER, str(path), *map(str, part)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    try:
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return None


def _told(process: "subprocess.Popen[bytes]") -> tuple[tuple[str, ...], Floats] | None:
    out, _ = process.communicate()
    if process.returncode:
        return None
    head, _, body = out.partition(b"\n")
    return tuple(json.loads(head)), np.load(io.BytesIO(body))


def _read_piece(path: Path, part: tuple[int, int]) -> tuple[tuple[str, ...], Floats]:
    domains: tuple[str, ...] = ()
    tables = []
    for lines in journal.whole_lines(path, part):
        began = [line for line in lines if codec.is_of(line, _BEGAN)]
        for event in journal.decode_lines(path, began):
            domains = domains or (event.domains if isinstance(event, RunBegan) else ())
        tables.append(_table(_decode(path, [line for line in lines if codec.is_of(line, _STEP)])))
    width = max(((one.shape[1] - NUM_PLAIN) // 2 for one in tables), default=0)
    return domains, np.concatenate([_widened(one, width) for one in tables] or [_table([])])


def _decode(path: Path, lines: list[bytes]) -> list[Any]:
    """A `_Step` of each line; a whole StepRecord, with the same names, where a number is odd."""
    mark, decode = codec.NONFINITE_MARK, _steps.decode
    odd = {at for at, line in enumerate(lines) if mark in line}
    try:
        if not odd:
            return list(map(decode, lines))
        return [codec.decode(raw) if at in odd else decode(raw) for at, raw in enumerate(lines)]
    except (msgspec.DecodeError, ValueError):
        # It says which line of the file is to blame.
        journal.decode_lines(path, lines)
        raise


def _table(rows: list[Any]) -> Floats:
    """Of shape (rows, 6 + 2 D): step, the plain numbers, nll and tokens of the domains."""
    width = max((len(row.nll) for row in rows), default=0)
    found = np.empty((len(rows), NUM_PLAIN + 2 * width))
    for at, name in enumerate(("step", "loss")):
        found[:, at] = np.fromiter(map(attrgetter(name), rows), np.float64, len(rows))
    for at, name in enumerate(("grad_norm", "update", "lr", "seconds"), start=2):
        values = map(attrgetter(name), rows)
        # As float64, numpy makes NaN of None.
        found[:, at] = np.array(list(values), dtype=np.float64)
    found[:, NUM_PLAIN : NUM_PLAIN + width] = _sums([row.nll for row in rows], width)
    found[:, NUM_PLAIN + width :] = _sums([row.tokens for row in rows], width)
    return found


def _sums(rows: list[tuple[float, ...]], width: int) -> Floats:
    if any(len(row) != width for row in rows):
        rows = [(*row, *[0.0] * width)[:width] for row in rows]
    flat = chain.from_iterable(rows)
    return np.fromiter(flat, np.float64, len(rows) * width).reshape(len(rows), width)


def _widened(table: Floats, width: int) -> Floats:
    """The same with room for so many domains; what has no name is left out."""
    had = (table.shape[1] - NUM_PLAIN) // 2
    if had == width:
        return table
    found = np.zeros((len(table), NUM_PLAIN + 2 * width))
    found[:, :NUM_PLAIN] = table[:, :NUM_PLAIN]
    kept = min(had, width)
    for at, source in ((NUM_PLAIN, NUM_PLAIN), (NUM_PLAIN + width, NUM_PLAIN + had)):
        found[:, at : at + kept] = table[:, source : source + kept]
    return found
