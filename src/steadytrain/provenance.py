"""32 bytes for every sequence that was trained on: which step used it, and with which loss.

    RUN/provenance/rank<r>.bin   records of `RECORD`, one after the other, in the order of the steps

Appended by each rank for itself, never rewritten: a step that a restart or a rollback made again
stands there again, with its attempt. 3 million sequences are 96 MB. Text and source follow from the
draw alone, since a data order is a pure function of it.
"""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RECORD = np.dtype(
    [
        ("draw", "<i8"),
        ("step", "<u4"),
        ("attempt", "<u4"),
        ("loss", "<f4"),
        ("digest", "<u4"),
        ("domain", "<u2"),
        ("rank", "<u2"),
        ("defect", "u1"),
        ("committed", "u1"),
        ("spare", "<u2"),
    ]
)
"""loss: mean over the sequence's tokens [nats]; digest: CRC-32 of the tokens; defect: index into
DEFECTS; committed: whether the update landed."""

LEAKED = "panel"
"""It holds text of the fixed panel."""

DEFECTS = (
    "", "blank", "garbled", "encoded", "repetition", "markup", "wrong_domain", LEAKED,
)  # fmt: skip
"""What was wrong with the text; the first for clean or not read. Only ever added to."""

assert RECORD.itemsize == 32

FOLDER = "provenance"


class Ledger:
    """Appends one rank's records. The only writer of its file."""

    def __init__(self, home: Path, rank: int) -> None:
        path = home / FOLDER / f"rank{rank}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._rank = rank
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115  # closed by `close`
        size = os.fstat(self._file.fileno()).st_size
        # A kill in the middle of a write leaves a part of a record.
        self._file.truncate(size - size % RECORD.itemsize)
        self._file.seek(0, os.SEEK_END)

    def add(
        self,
        *,
        attempt: int,
        step: int,
        committed: bool,
        draws: NDArray[np.int64],
        domains: NDArray[np.int64],
        losses: NDArray[np.float32],
        digests: NDArray[np.uint32],
        defects: Sequence[str | None],
    ) -> None:
        """The sequences of one update of this rank.

        Raises:
            OSError: the disk does not take them; the file is left as it was.
        """
        rows = np.zeros(len(draws), dtype=RECORD)
        rows["draw"], rows["domain"], rows["loss"] = draws, domains, losses
        rows["digest"], rows["step"], rows["attempt"] = digests, step, attempt
        rows["rank"], rows["committed"] = self._rank, committed
        if defects:
            rows["defect"] = [DEFECTS.index(one or "") for one in defects]
        end = self._file.tell()
        try:
            if self._file.write(rows.tobytes()) < rows.nbytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            self._file.truncate(end)
            raise

    def close(self) -> None:
        self._file.close()


def read(home: Path, first_step: int, last_step: int) -> NDArray[np.void]:
    """The sequences of these steps on all ranks, as they were made last, ordered by step and draw.

    Raises:
        FileNotFoundError: the run kept no such records.
    """
    paths = sorted((Path(home) / FOLDER).glob("rank*.bin"))
    if not paths:
        raise FileNotFoundError(Path(home) / FOLDER)
    parts = [_part(path, first_step, last_step) for path in paths]
    rows = np.concatenate(parts)
    newest = {step: rows["attempt"][rows["step"] == step].max() for step in np.unique(rows["step"])}
    kept = [rows[(rows["step"] == step) & (rows["attempt"] == one)] for step, one in newest.items()]
    rows = np.concatenate(kept) if kept else rows
    return rows[np.lexsort((rows["draw"], rows["step"]))]


def _part(path: Path, first_step: int, last_step: int) -> NDArray[np.void]:
    whole = path.stat().st_size // RECORD.itemsize
    if not whole:
        return np.zeros(0, dtype=RECORD)
    rows = np.memmap(path, dtype=RECORD, mode="r", shape=(whole,))
    return np.array(rows[(rows["step"] >= first_step) & (rows["step"] <= last_step)])
