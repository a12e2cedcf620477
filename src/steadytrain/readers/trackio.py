"""trackio: its SQLite database, one a project, and the JSON lines that wait to be put into it.

The database, `<project>.db`, has a row for each `trackio.log`:

    metrics(id, run_id, timestamp, run_name, step, metrics)        metrics: {"loss": 2.5, ...}

`inbox/<writer>/<number>.jsonl` is written instead where the folder is on NFS. The dashboard moves
it into the database later:

    {"v": 1, "kind": "metric", "run": ..., "run_id": ..., "step": 10, "timestamp": ...,
     "metrics": {...}}

Nested names are joined by '/'. Texts, tables, pictures and histograms are no numbers.

Source: trackio 0.43.0, sqlite_storage.py, fragments.py, utils.py (serialize_values).

Traps: NaN and infinity are the texts "NaN", "Infinity" and "-Infinity". The JSON is a blob in a
column of text. Before 0.24 there was no `run_id`. A second run of the same name is a run of its
own, unless resumed, so a piece of the id stands behind the name. What trackio measures of the
machine has no step and is left out.
"""

import json
import math
from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from steadytrain.readers import jsons, sqlite
from steadytrain.readers.jsons import DEEPEST, Lost
from steadytrain.readers.runs import LoggedRun, Series
from steadytrain.readers.sqlite import Database, text, titled

Logged = tuple[int, dict[str, Any]]
"""A step and what was logged at it."""

_HAS = frozenset(("run_name", "step", "metrics"))
_KINDS = ("metric", "system_metric", "alert")
_MADE_OF = frozenset(("v", "kind", "project", "run"))
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_DECODER = msgspec.json.Decoder()
_INSTEAD = "Log a number with trackio.log first."


@dataclass(frozen=True, slots=True)
class Trackio:
    """The runs of a project."""

    format: str = "trackio"

    def recognizes(self, path: Path, head: bytes) -> bool:
        if head.startswith(sqlite.SIGNATURE):
            return sqlite.has_columns(path, "metrics", wanted=_HAS)
        lines = head.split(b"\n")[:-1][: jsons.SNIFFED_ROWS]
        return bool(lines) and all(_record(line) is not None for line in lines)

    def read(self, path: Path) -> list[LoggedRun]:
        try:
            with path.open("rb") as file:
                is_database = file.read(len(sqlite.SIGNATURE)) == sqlite.SIGNATURE
            if not is_database:
                return self._inbox(path)
        except OSError as error:
            raise jsons.unopened(path, error) from error
        return sqlite.consult(path, lambda database: self._runs(path, database))

    def _inbox(self, path: Path) -> list[LoggedRun]:
        book = _Book()
        with path.open("rb") as file:
            for line, block in jsons.blocks(file, 1):
                _add_lines(book, line, block)
        return self._found(path, book, book.lost.remarks("line", "torn or not of trackio"))

    def _runs(self, path: Path, database: Database) -> list[LoggedRun]:
        columns = database.columns("metrics")
        if not columns >= _HAS:
            instead = "Name the <project>.db in the folder of trackio."
            raise jsons.no_curve(path, "no table 'metrics' as trackio makes it", instead)
        run_id = "run_id" if "run_id" in columns else "''"
        timestamp = "timestamp" if "timestamp" in columns else "''"
        wanted = f"{run_id}, run_name, {timestamp}, step, metrics"
        book = _Book()
        for rows in database.slices("metrics", wanted):
            _add_rows(book, path.stem, rows)
        lost = book.lost.remarks("row", "torn or without a whole step, left out", "row")
        return self._found(path, book, [*database.remarks, *lost])

    def _found(self, path: Path, book: "_Book", remarks: list[str]) -> list[LoggedRun]:
        runs = [
            LoggedRun(
                name=run.title(),
                format=self.format,
                source=path,
                series=series,
                remarks=(*remarks, *run.remarks),
                order=run.began,
            )
            for run in book.runs.values()
            if (series := run.series())
        ]
        if not runs:
            has = "; ".join(("no number in the metrics of a run", *remarks))
            raise jsons.no_curve(path, has, _INSTEAD)
        return runs


@dataclass(slots=True)
class _Run:
    """One run so far. Columns are packed: a list of Python numbers takes four times as much."""

    project: str
    name: str
    run_id: str
    began: str
    next_step: int = 0
    remarks: list[str] = field(default_factory=list)
    points: dict[str, tuple["array[int]", "array[float]"]] = field(
        default_factory=lambda: defaultdict(lambda: (array("q"), array("d")))
    )

    def title(self) -> str:
        # Where trackio has no id it writes the name in its place.
        is_alone = self.run_id not in ("", self.name)
        return titled(self.name, self.run_id) if is_alone else f"{self.project}/{self.name}"

    def add(self, logged: Iterable[Logged], prefix: str = "") -> None:
        """Rows in the order of their making, together as long as their names are the same."""
        for _, group in groupby(logged, key=lambda one: tuple(one[1])):
            steps, rows = zip(*group, strict=True)
            columns = zip(*map(dict.values, rows), strict=True)
            for name, column in zip(rows[0], columns, strict=True):
                self._add_column(prefix + name, steps, column)

    def series(self) -> dict[str, Series]:
        return {
            tag: Series(steps=np.frombuffer(steps, np.int64), values=np.frombuffer(values))
            for tag, (steps, values) in self.points.items()
        }

    def _add_column(self, tag: str, steps: Sequence[int], column: Sequence[Any]) -> None:
        kinds = set(map(type, column))
        if kinds == {float}:
            self.points[tag][0].extend(steps)
            self.points[tag][1].extend(column)
        elif kinds == {dict}:
            nested = [
                (step, one) for step, one in zip(steps, column, strict=True) if "_type" not in one
            ]
            if tag.count("/") < DEEPEST:
                self.add(nested, f"{tag}/")
        elif dict in kinds:
            for step, one in zip(steps, column, strict=True):
                self._add_column(tag, (step,), (one,))
        else:
            for step, one in zip(steps, column, strict=True):
                value = _number(one)
                if value is not None:
                    self.points[tag][0].append(step)
                    self.points[tag][1].append(value)


@dataclass(slots=True)
class _Book:
    """The runs so far, by id and name as they are written, and what could not be used."""

    runs: dict[tuple[object, object], _Run] = field(default_factory=dict)
    lost: Lost = field(default_factory=Lost)

    def run(self, project: object, run_id: object, name: object, *, began: object) -> _Run:
        if (run_id, name) not in self.runs:
            texts = _text(project), _text(name), _text(run_id), _text(began)
            self.runs[run_id, name] = _Run(*texts)
        return self.runs[run_id, name]


def _add_rows(book: _Book, project: str, rows: list[sqlite.Row]) -> None:
    """Rows of the table; those of one run stay in order, whichever came between them."""
    logged: dict[tuple[object, object], list[Logged]] = defaultdict(list)
    cells = _decoded([row[-1] for row in rows])
    for (rowid, run_id, name, began, step, _), metrics in zip(rows, cells, strict=True):
        if type(step) is int and type(metrics) is dict:
            if (run_id, name) not in logged:
                book.run(project, run_id, name, began=began)
            logged[run_id, name].append((step, metrics))
        else:
            book.lost.note(rowid)
    for key, one in logged.items():
        book.runs[key].add(one)


def _add_lines(book: _Book, number: int, block: bytes) -> None:
    lines = block.split(b"\n")
    for at, line in enumerate(lines, number):
        record = _record(line)
        if record is not None and record["kind"] == "metric":
            _add_record(book, at, record)
        elif line.strip() and record is None:
            book.lost.note(at)


def _add_record(book: _Book, line: int, record: dict[str, Any]) -> None:
    step, metrics = record.get("step"), record.get("metrics")
    if type(metrics) is not dict or not (step is None or _is_step(step)):
        book.lost.note(line)
        return
    run_id, name = _text(record.get("run_id")), _text(record["run"])
    run = book.run(record["project"], run_id, name, began=record.get("timestamp"))
    if step is None:
        # trackio goes on from the largest step it knows of; we know but this file.
        step = run.next_step
        run.remarks = ["rows without a step are counted from this file's largest"]
    run.next_step = max(run.next_step, min(step + 1, 2**63 - 1))
    run.add([(step, metrics)])


def _record(line: bytes) -> dict[str, Any] | None:
    record = _slowly(line)
    is_ours = type(record) is dict and record.keys() >= _MADE_OF and record["kind"] in _KINDS
    return record if is_ours else None


def _is_step(step: object) -> bool:
    return type(step) is int and abs(step) < 2**63


def _text(name: object) -> str:
    return name if isinstance(name, str) else text(name)


def _number(value: object) -> float | None:
    if type(value) is float or type(value) is int:
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    return _WORDS.get(value) if type(value) is str else None


def _decoded(cells: list[Any]) -> list[Any]:
    """What each cell of JSON holds; None where it is none."""
    try:
        found = _DECODER.decode(b"[" + b",".join(cells) + b"]")
    except (TypeError, ValueError, msgspec.DecodeError, RecursionError):
        return [_slowly(cell) for cell in cells]
    return found if len(found) == len(cells) else [_slowly(cell) for cell in cells]


def _slowly(cell: object) -> Any:
    """The same for one cell; Python's own decoder takes a bare NaN too, as older trackios wrote."""
    for decode in (_DECODER.decode, json.loads):
        try:
            return decode(cell) if isinstance(cell, bytes) else None
        except (ValueError, RecursionError, msgspec.DecodeError):
            continue
    return None
