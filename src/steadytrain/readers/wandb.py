"""W&B files (`run-<id>.wandb`): what a run logged, as its own process wrote it down first.

Every run has one, below `wandb/run-...` or `wandb/offline-run-...`; no account is needed to read
it. It is a log of records (see `protobuf`; its head is ":W&B", 0xBEE1, version 0). Of a Record,

    2 history   1 item, 2 step { 1 num }         what one `wandb.log` gave
    12 metric   1 name, 2 glob, 4 step metric    `define_metric`
    17 run      1 id, 8 display name, 17 start time

are read. An item is 1 key or 2 nested key (repeated) and 16 value as JSON; besides that or instead
of it, 5 integer or 6 number (`x_history_value_encoding`). Tags are joined by dots, as in the
exports of W&B.

Source: wandb 0.31.0, wandb/proto/wandb_internal_pb2, sdk/interface/history_value, and its files.

Traps: JSON here has NaN, Infinity and -Infinity as bare words. Items come in random order. Pictures
and histograms are nested dicts too, known by their `_type`. The step counts calls of `log` unless
the script passes one, so an update number is often a metric of its own. A call with a step that
has passed is dropped by W&B before it reaches the file. The file of a live run lags: it grows by
whole blocks, 32 KiB or about 100 rows of one scalar. What W&B measures of the machine is no history
and is left out.
"""

import json
import math
import struct
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from steadytrain.errors import LogError
from steadytrain.readers.protobuf import GarbledError, Log, fields, number
from steadytrain.readers.runs import LoggedRun, Series

SIGNATURE = b":W&B\xe1\xbe"
VERSION = 0

_VALUE_JSON = b"\x82\x01"
_LENGTHS = (b"none", *(bytes([size]) for size in range(0x80)))
"""The first byte of a text that says its own length, by the bytes of both."""

_WORDS = {b'"NaN"': math.nan, b'"Infinity"': math.inf, b'"-Infinity"': -math.inf}
_OWN = frozenset(("_step", "_timestamp", "_runtime"))
_SHOWN_CHARACTERS = 40
_DEEPEST = 30  # a file made to overflow the stack ends here


@dataclass(frozen=True, slots=True)
class WandB:
    """Files of W&B, online or offline: one run each."""

    format: str = "W&B"

    def recognizes(self, path: Path, head: bytes) -> bool:
        return head.startswith(SIGNATURE)

    def read(self, path: Path) -> list[LoggedRun]:
        log = Log(path=path, tool="W&B", signature=SIGNATURE, versions=(VERSION,))
        run = _Run()
        for record in log.records():
            run.add(record)
        series = run.series()
        if not series:
            has = "; ".join(
                (f"{run.num_rows} rows of history and no number in them", *log.remarks())
            )
            raise LogError(
                f"{path} has {has}; there is no curve to read. "
                "A live run writes 32 KiB at a time: look again later, or name another file."
            )
        return [
            LoggedRun(
                name=run.title() or path.stem,
                format=self.format,
                source=path,
                series=series,
                remarks=(*log.remarks(), *run.remarks()),
                order=run.began,
            )
        ]


@dataclass(slots=True)
class _Column:
    """One tag: its points, and how many of its values were no numbers."""

    tag: str
    steps: "array[int]" = field(default_factory=lambda: array("q"))
    values: "array[float]" = field(default_factory=lambda: array("d"))
    num_odd: int = 0
    first_odd: str = ""

    def note(self, text: bytes) -> None:
        self.first_odd = self.first_odd or text[:_SHOWN_CHARACTERS].decode("utf-8", "replace")
        self.num_odd += 1


_Points = list[tuple[_Column, float]]


@dataclass(slots=True)
class _Run:
    """What the records of one file say.

    Attributes:
        began: when the process started [s], as text that sorts.
    """

    num_rows: int = 0
    began: str = ""
    _id: str = ""
    _display_name: str = ""
    _columns: dict[str, _Column] = field(default_factory=dict)
    _known: dict[bytes, _Column] = field(default_factory=dict)
    _media: set[str] = field(default_factory=set)
    _axes: dict[str, str] = field(default_factory=dict)
    _last_step: int = -1
    _num_unnumbered: int = 0
    _num_garbled: int = 0

    def add(self, record: bytes) -> None:
        try:
            for key, content in fields(record):
                if key == 0x12:
                    self._add_row(content)
                elif key == 0x8A:
                    self._introduce(content)
                elif key == 0x62:
                    self._define(content)
        except GarbledError:
            self._num_garbled += 1

    def title(self) -> str:
        """Display name and id: two runs may share a name, and a resumed one keeps its id."""
        if self._display_name and self._id not in ("", self._display_name):
            return f"{self._display_name} ({self._id})"
        return self._id or self._display_name

    def series(self) -> dict[str, Series]:
        return {
            column.tag: Series(
                steps=np.array(column.steps, dtype=np.int64),
                values=np.array(column.values, dtype=np.float64),
            )
            for column in self._curves()
        }

    def remarks(self) -> list[str]:
        said = []
        if self._num_garbled:
            said.append(f"{self._num_garbled} records are no messages of W&B; skipped")
        if self._num_unnumbered:
            said.append(f"{self._num_unnumbered} rows carry no step; each is numbered as the next")
        for axis in dict.fromkeys(self._axes.values()):
            names = ", ".join(f"'{name}'" for name, over in self._axes.items() if over == axis)
            said.append(f"W&B draws {names} over '{axis}'; the steps here are its own")
        for column in self._curves():
            if column.num_odd:
                values = "value" if column.num_odd == 1 else "values"
                said.append(
                    f"{column.num_odd} {values} of '{column.tag}' left out: no number, "
                    f"first {column.first_odd}"
                )
        return said

    def _curves(self) -> list[_Column]:
        media = tuple(f"{name}." for name in self._media)
        return [
            column
            for tag, column in self._columns.items()
            if column.values and tag not in _OWN and not tag.startswith(media)
        ]

    def _introduce(self, run: bytes) -> None:
        for key, content in fields(run):
            if key == 0x0A:
                self._id = content.decode("utf-8", "replace")
            elif key == 0x42:
                self._display_name = content.decode("utf-8", "replace")
            elif key == 0x8A:
                time = {part: number(content) for part, content in fields(content)}
                self.began = f"{time.get(0x08, 0):012d}.{time.get(0x10, 0):09d}"

    def _define(self, metric: bytes) -> None:
        found = {key: content.decode("utf-8", "replace") for key, content in fields(metric)}
        name = found.get(0x0A) or found.get(0x12)
        if name and found.get(0x22):
            self._axes[name] = found[0x22]

    def _add_row(self, row: bytes) -> None:
        points: _Points = []
        step = None
        for key, content in fields(row):
            if key == 0x0A:
                head, _, text = content.rpartition(_VALUE_JSON)
                column = self._known.get(head)
                # One byte of length stands in front of the text, or this was no head.
                if column is None or len(text) > 0x80 or text[:1] != _LENGTHS[len(text)]:
                    points += self._parsed(content)
                    continue
                try:
                    points.append((column, float(text[1:])))
                except ValueError:
                    points += self._spelled(column, text[1:])
            elif key == 0x12:
                step = dict(fields(content)).get(0x08, b"\0")
        self._place(points, None if step is None else number(step))

    def _place(self, points: _Points, step: int | None) -> None:
        if step is None:
            own = (value for column, value in points if column.tag == "_step")
            step = next((int(value) for value in own if abs(value) < 2**53), None)
        if step is None:
            step = self._last_step + 1
            self._num_unnumbered += 1
        self.num_rows += 1
        self._last_step = step
        for column, value in points:
            column.steps.append(step)
            column.values.append(value)

    def _parsed(self, item: bytes) -> _Points:
        """The points of an item that was not met before, or is not short and plain."""
        found: dict[int, bytes] = {}
        names: list[str] = []
        for key, content in fields(item):
            if key in (0x0A, 0x12):
                names.append(content.decode("utf-8", "replace"))
            else:
                found[key] = content
        column = self._column(".".join(names))
        if names[1:] and names[-1] == "_type":
            self._media.add(".".join(names[:-1]))
        if (text := found.get(0x82)) is not None:
            head, _, tail = item.rpartition(_VALUE_JSON)
            if names and len(found) == 1 and tail[1:] == text:
                self._known[head] = column
            return self._spelled(column, text)
        if 0x31 in found:
            return [(column, struct.unpack("<d", found[0x31])[0])]
        if 0x28 in found:
            zigzag = number(found[0x28]) & 0xFFFF_FFFF_FFFF_FFFF
            return [(column, float(zigzag >> 1 ^ -(zigzag & 1)))]
        column.note(next(iter(found.values()), b"nothing"))
        return []

    def _spelled(self, column: _Column, text: bytes) -> _Points:
        """The points in a value that is perhaps no bare number."""
        if (word := _WORDS.get(text)) is not None:
            return [(column, word)]
        try:
            return [(column, float(text))]
        except ValueError:
            column.note(text)
        if text[:1] != b"{":
            return []
        try:
            return self._unfolded(column.tag, json.loads(text), 0)
        except (ValueError, OverflowError, RecursionError):
            return []

    def _unfolded(self, tag: str, value: Any, depth: int) -> _Points:
        """The points of a dict in one piece, as clients before nested keys wrote it."""
        if isinstance(value, int | float) and not isinstance(value, bool):
            return [(self._column(tag), float(value))]
        if not isinstance(value, dict) or "_type" in value or depth > _DEEPEST:
            return []
        parts = [self._unfolded(f"{tag}.{name}", one, depth + 1) for name, one in value.items()]
        return [point for part in parts for point in part]

    def _column(self, tag: str) -> _Column:
        return self._columns.setdefault(tag, _Column(tag))
