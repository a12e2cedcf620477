"""MLflow: its folder of files (`mlruns`) and its SQLite database (`mlflow.db`).

Files: `<experiment>/<run id>/metrics/<key>`, a line for each logged value. A key with a '/' is a
folder and a file. `meta.yaml` beside `metrics` holds the run's name.

    1700000000000 2.5 10                    time in ms, value, step
    1700000000000 2.5 10 data 5f1a          the same, of a named dataset and its digest
    1700000000000 2.5                       MLflow before 1.0; the step is 0

SQLite: metrics(key, value, timestamp, step, is_nan, run_uuid), runs(run_uuid, name, ...).

Source: mlflow 3.17.2, store/tracking/file_store.py, sqlalchemy_store.py, dbmodels/models.py.

Traps: SQL has no NaN: it is a 0 with `is_nan`, and the infinities are the largest numbers of
float64. Names of runs need not differ, so a piece of the id stands behind them. The same value at
the same step and time is stored once by SQLite, and twice in files. Metrics of models, four
columns, repeat those of runs and are not read.
"""

import re
import sys
import warnings
from array import array
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steadytrain.readers import jsons, sqlite
from steadytrain.readers.jsons import Lost
from steadytrain.readers.runs import LoggedRun, Series
from steadytrain.readers.sqlite import Database, Row, text, titled

EARLIEST_MS, LATEST_MS = 10**12, 10**14
"""A time in ms lies between these, from 2001 to 5138; seconds and microseconds do not."""

_Point = tuple[int, float]

_NAMES = re.compile(rb"^run_name:[ \t]*(\S.*?)[ \t\r]*$", re.MULTILINE)
_FIELDS = np.dtype([("time", np.int64), ("value", np.float64), ("step", np.int64)])
_HAS = frozenset(("key", "value", "step", "is_nan", "run_uuid"))
_EXPECTED = "A line is '1700000000000 2.5 10': time in ms, value, step."
_LARGEST = sys.float_info.max


@dataclass(frozen=True, slots=True)
class MLflowFiles:
    """One metric of a run, in a file of its own."""

    format: str = "MLflow files"

    def recognizes(self, path: Path, head: bytes) -> bool:
        lines = head.split(b"\n")[:-1][: jsons.SNIFFED_ROWS]
        if not lines or any(_point(line) is None for line in lines):
            return False
        rows = [line.split() for line in lines]
        is_usual = all(len(row) > 2 and EARLIEST_MS < int(row[0]) < LATEST_MS for row in rows)
        return is_usual or (_home(path).parent / "meta.yaml").is_file()

    def read(self, path: Path) -> list[LoggedRun]:
        pieces: list[NDArray[np.void]] = []
        lost = Lost()
        try:
            with path.open("rb") as file:
                for line, block in jsons.blocks(file, 1):
                    pieces.append(_rows(block, line, lost))
        except OSError as error:
            raise jsons.unopened(path, error) from error
        rows = np.concatenate(pieces) if pieces else np.empty(0, _FIELDS)
        if not len(rows):
            raise jsons.no_curve(path, "no line of a metric of MLflow", _EXPECTED)
        home = _home(path)
        series = Series(steps=rows["step"].copy(), values=rows["value"].copy())
        run = LoggedRun(
            name=_run_name(home.parent),
            format=self.format,
            source=path,
            series={path.absolute().relative_to(home).as_posix(): series},
            remarks=tuple(lost.remarks("line", "torn or not 'time value step', left out")),
        )
        return [run]


@dataclass(frozen=True, slots=True)
class MLflowSQLite:
    """The database of a tracking server, or of `sqlite:///mlflow.db`: many runs."""

    format: str = "MLflow SQLite"

    def recognizes(self, path: Path, head: bytes) -> bool:
        return head.startswith(sqlite.SIGNATURE) and sqlite.has_columns(
            path, "metrics", wanted=_HAS
        )

    def read(self, path: Path) -> list[LoggedRun]:
        return sqlite.consult(path, lambda database: self._runs(path, database))

    def _runs(self, path: Path, database: Database) -> list[LoggedRun]:
        if not database.columns("metrics") >= _HAS:
            instead = "Name the database of an MLflow of 1.0 or later."
            raise jsons.no_curve(path, "no table 'metrics' as MLflow makes it", instead)
        log = _Log()
        for rows in database.slices("metrics", "run_uuid, key, step, value, is_nan"):
            log.add(rows)
        if not log.pairs:
            has = "; ".join(("no metric in its table 'metrics'", *database.remarks))
            raise jsons.no_curve(path, has, "Log one with mlflow.log_metric first.")
        names = _names(database)
        remarks = (*database.remarks, *log.lost.remarks("row", "without a number left out", "row"))
        return [
            LoggedRun(
                name=titled(names.get(run, ""), run),
                format=self.format,
                source=path,
                series=series,
                remarks=remarks,
            )
            for run, series in log.series().items()
        ]


class _Numbers(dict[tuple[object, object], int]):
    """A number for each pair of run and key, given when it is first asked for."""

    def __missing__(self, pair: tuple[object, object]) -> int:
        if not all(isinstance(one, bytes) for one in pair):
            raise TypeError("a run and a key are texts")
        self[pair] = len(self)
        return self[pair]


@dataclass(slots=True)
class _Log:
    """The table so far, in columns; runs and keys as numbers."""

    numbers: _Numbers = field(default_factory=_Numbers)
    pairs: "array[int]" = field(default_factory=lambda: array("q"))
    steps: "array[int]" = field(default_factory=lambda: array("q"))
    values: "array[float]" = field(default_factory=lambda: array("d"))
    nans: "array[int]" = field(default_factory=lambda: array("b"))
    lost: Lost = field(default_factory=Lost)

    def add(self, rows: list[Row]) -> None:
        _, runs, keys, steps, values, nans = zip(*rows, strict=True)
        try:
            pairs = array("q", map(self.numbers.__getitem__, zip(runs, keys, strict=True)))
            columns = array("q", steps), array("d", values), array("b", nans)
        except (TypeError, OverflowError):
            # SQLite keeps any kind of value in any column.
            if len(rows) == 1:
                self.lost.note(rows[0][0])
            else:
                for row in rows:
                    self.add([row])
            return
        self.pairs += pairs
        self.steps += columns[0]
        self.values += columns[1]
        self.nans += columns[2]

    def series(self) -> dict[str, dict[str, Series]]:
        """Run -> key -> what was logged."""
        pairs = np.frombuffer(self.pairs, np.int64)
        order = np.argsort(pairs, kind="stable")
        ends = np.cumsum(np.bincount(pairs))
        steps, values = np.frombuffer(self.steps, np.int64)[order], _floats(self)[order]
        found: dict[str, dict[str, Series]] = {}
        for (run, key), begin, end in zip(self.numbers, (0, *ends), ends, strict=False):
            if begin < end:  # else it had a number, and no row that was sound
                one = Series(steps=steps[begin:end], values=values[begin:end])
                found.setdefault(text(run), {})[text(key)] = one
        return found


def _floats(log: _Log) -> NDArray[np.float64]:
    values = np.frombuffer(log.values).copy()
    values[np.abs(values) >= _LARGEST] *= np.inf
    values[np.frombuffer(log.nans, np.int8) != 0] = np.nan
    return values


def _names(database: Database) -> dict[str, str]:
    """Run -> its name, which MLflow kept in a tag until 1.30."""
    found: dict[str, str] = {}
    if database.columns("tags") >= {"key", "value", "run_uuid"}:
        tags = database.slices("tags", "run_uuid, value, key = 'mlflow.runName'")
        found |= {text(run): text(name) for rows in tags for _, run, name, wanted in rows if wanted}
    if database.columns("runs") >= {"run_uuid", "name"}:
        runs = database.slices("runs", "run_uuid, name")
        found |= {text(run): text(name) for rows in runs for _, run, name in rows if name}
    return found


def _home(path: Path) -> Path:
    """The folder `metrics` that this file is below; its own folder if there is none."""
    # A key may hold "metrics/" itself, so that beside a meta.yaml comes first.
    folders = [folder for folder in path.absolute().parents if folder.name == "metrics"]
    of_run = [folder for folder in folders if (folder.parent / "meta.yaml").is_file()]
    return (of_run or folders or [path.absolute().parent])[0]


def _run_name(folder: Path) -> str:
    name = None
    with suppress(OSError):
        name = _NAMES.search((folder / "meta.yaml").read_bytes())
    return titled(_unquoted(text(name[1])), folder.name) if name else folder.name


def _unquoted(name: str) -> str:
    """A YAML text of one line; its rarer escapes are left as they are."""
    if len(name) > 1 and name[0] == name[-1] == "'":
        return name[1:-1].replace("''", "'")
    if len(name) > 1 and name[0] == name[-1] == '"':
        return name[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return "" if name == "null" else name


def _rows(block: bytes, line: int, lost: Lost) -> NDArray[np.void]:
    """The rows of a block of whole lines; a last line without an end may have lost digits."""
    if not block.endswith(b"\n"):
        lost.note(line)
        return np.empty(0, _FIELDS)
    with suppress(ValueError, Warning), warnings.catch_warnings():
        warnings.simplefilter("error")
        lines = block.decode("ascii").split("\n")
        return np.loadtxt(lines, _FIELDS, comments=None, ndmin=1)
    return _closer(block.split(b"\n")[:-1], line, lost)


def _closer(lines: Iterable[bytes], number: int, lost: Lost) -> NDArray[np.void]:
    found = []
    for at, line in enumerate(lines, number):
        point = _point(line)
        if point is not None:
            found.append((0, point[1], point[0]))
        elif line.strip():
            lost.note(at)
    return np.array(found, _FIELDS)


def _point(line: bytes) -> _Point | None:
    """The step and value of a line; None when it is torn, or two torn ones run together."""
    cells = line.split()
    if len(cells) not in (2, 3, 5) or (len(cells) == 5 and _point(b"0 %b %b" % (*cells[3:],))):
        return None
    try:
        step = int(cells[2]) if len(cells) > 2 else 0
        is_sound = int(cells[0]) >= 0 and abs(step) < 2**63
        return (step, float(cells[1])) if is_sound else None
    except ValueError:
        return None
