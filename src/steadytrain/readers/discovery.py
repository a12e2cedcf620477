"""Files, folders and patterns -> runs: each file is asked what it is, pieces of one run are joined.

A format is told by content, never by name, so a folder may hold several tools' logs, and files that
are no logs are passed by. A folder that several attempts of one run wrote gives one run.
"""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from steadytrain import journal
from steadytrain.errors import LogError
from steadytrain.readers.consoles import CONSOLES
from steadytrain.readers.csvs import Csv
from steadytrain.readers.journals import RunJournal
from steadytrain.readers.jsons import JsonLines, TrainerState
from steadytrain.readers.mlflow import MLflowFiles, MLflowSQLite
from steadytrain.readers.runs import LoggedRun, Reader, Series
from steadytrain.readers.swanlab import SwanLab
from steadytrain.readers.tensorboard import TensorBoard
from steadytrain.readers.trackio import Trackio
from steadytrain.readers.wandb import WandB

HEAD_BYTES = 64 * 1024
PASSED_BY = frozenset({"node_modules", "__pycache__", ".git", ".venv"})

READERS: tuple[Reader, ...] = (
    TensorBoard(),
    WandB(),
    SwanLab(),
    MLflowSQLite(),
    Trackio(),
    RunJournal(),
    TrainerState(),
    JsonLines(),
    MLflowFiles(),
    *CONSOLES[:-1],
    Csv(),
    CONSOLES[-1],
)
"""In the order in which they are asked: magic numbers, then names of keys, then shapes of lines."""

WHOLE = frozenset({TrainerState().format})
"""Formats whose every file repeats the log from its beginning: the longest one is the run."""

BY_NAME = frozenset({TrainerState().format, MLflowFiles().format})
"""Formats whose pieces lie in several folders; of all others, only files of one folder join."""

FORMATS = (
    "TensorBoard event files, W&B offline files (.wandb), MLflow (files, SQLite), trackio, "
    "SwanLab, trainer_state.json, Megatron, torchtitan, nanotron, DeepSpeed and llm.c logs, CSV, "
    "JSON Lines, journals of steadytrain"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Discovery:
    """What was found: runs with scalars, and (file, reason) of logs that could not be used."""

    runs: tuple[LoggedRun, ...]
    refused: tuple[tuple[Path, str], ...]


def discover(paths: Sequence[str]) -> Discovery:
    """All runs in these files, folders and patterns.

    Raises:
        LogError: a path does not exist, or nothing in them is the log of a run.
    """
    pieces: list[LoggedRun] = []
    refused: list[tuple[Path, str]] = []
    count = 0
    for path in _files(paths):
        count += 1
        try:
            reader = recognize(path)
            if reader is not None:
                pieces += [one for one in reader.read(path) if one.series]
        except (LogError, OSError) as error:
            refused.append((path, str(error)))
    if not pieces and len(refused) == 1:
        raise LogError(refused[0][1])
    if not pieces:
        raise LogError(_nothing(paths, count, refused))
    return Discovery(runs=_join(pieces), refused=tuple(refused))


def recognize(path: Path) -> Reader | None:
    """The reader of this file, None where it is no log."""
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        return None
    return next((reader for reader in READERS if reader.recognizes(path, head)), None)


def _files(paths: Sequence[str]) -> Iterator[Path]:
    for given in paths:
        path = Path(given)
        found = (
            [path]
            if path.exists()
            else [Path(one) for one in sorted(glob.glob(given, recursive=True))]
        )
        if not found:
            raise LogError(
                f"{given} does not exist and matches nothing, so there is nothing to analyze. "
                "Give a log file, a folder of logs, or a pattern in quotes: 'runs/*/metrics.csv'."
            )
        for one in found:
            yield from _walk(one)


def _walk(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, names, files in os.walk(path):
        # A run of ours keeps evidence and checkpoints beside its journal; the journal says it all.
        own = [name for name in names if name == journal.FOLDER and journal.writers(Path(folder))]
        names[:] = own or sorted(name for name in names if name not in PASSED_BY)
        for name in [] if own else sorted(files):
            yield Path(folder) / name


def _nothing(paths: Sequence[str], count: int, refused: list[tuple[Path, str]]) -> str:
    where = ", ".join(paths)
    if not count:
        return (
            f"{where} is empty: there is no log in it. Give the folder that your logger writes to."
        )
    if refused:
        return f"No log in {where} can be used; the first one: {refused[0][1]}"
    return (
        f"Nothing in {where} looks like a training log ({count} files were looked at), so there is "
        f"nothing to analyze. Known are: {FORMATS}."
    )


def _join(pieces: Iterable[LoggedRun]) -> tuple[LoggedRun, ...]:
    """One run of all pieces that have one name, in their order."""
    groups: dict[tuple[str, str, str], list[LoggedRun]] = {}
    for piece in pieces:
        folder = "" if piece.format in BY_NAME else str(piece.source.parent)
        groups.setdefault((piece.format, piece.name, folder), []).append(piece)
    runs = [_joined(sorted(group, key=lambda one: one.order)) for group in groups.values()]
    return _told_apart(runs)


def _joined(pieces: list[LoggedRun]) -> LoggedRun:
    if len(pieces) == 1:
        return pieces[0]
    first = pieces[0]
    remarks = dict.fromkeys(remark for piece in pieces for remark in piece.remarks)
    if first.format in WHOLE:
        longest = max(pieces, key=lambda one: max(len(s.steps) for s in one.series.values()))
        series = longest.series
    else:
        tags = dict.fromkeys(tag for piece in pieces for tag in piece.series)
        series = {
            tag: _end_to_end([one.series[tag] for one in pieces if tag in one.series])
            for tag in tags
        }
    return LoggedRun(
        name=first.name, format=first.format, source=first.source, series=series,
        remarks=tuple(remarks), order=first.order,
    )  # fmt: skip


def _end_to_end(series: list[Series]) -> Series:
    return Series(
        steps=np.concatenate([one.steps for one in series]),
        values=np.concatenate([one.values for one in series]),
    )


def _told_apart(runs: list[LoggedRun]) -> tuple[LoggedRun, ...]:
    """Runs of one name get the folder before it."""
    names = [run.name for run in runs]
    return tuple(
        run if names.count(run.name) == 1 else _renamed(run, f"{run.source.parent.name}/{run.name}")
        for run in runs
    )


def _renamed(run: LoggedRun, name: str) -> LoggedRun:
    return LoggedRun(
        name=name, format=run.format, source=run.source, series=run.series, remarks=run.remarks,
        order=run.order,
    )  # fmt: skip
