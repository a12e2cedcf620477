"""SwanLab files: what a run logged, as its own process wrote it down.

Every run has one in its folder below `swanlog/`, in every mode: `run-<id>.swanlab` since 0.8,
`backup.swanlab` before. It is a log of records (see `protobuf`; its head is ":SWL", 0xE1D6). In
version 2 a record is a protobuf Record, of which

    10 start    4 name, 10 id, 12 started at
    13 scalar   1 key, 2 step, 4 timestamp, 5 value { 1 number (double) }

are read; in version 1 a line of JSON:

    {"model_type": "Scalar", "data": {"key": "loss", "step": 3, "metric": {"data": 2.5, ...}, ...}}

Source: swanlab 0.10.3, proto/swanlab/record, metric/data and run, sdk/internal/core_python/store;
swanlab 0.7.20, proto/v0.py, data/modules/line.

Traps: a step or a number that is 0 is not written (proto3). Version 1 spells NaN "NaN" and both
infinities "INF". The step counts calls of `log` unless the script passes one; a second value of a
tag at the same step is dropped by SwanLab. The machine's own measurements are scalars whose keys
begin with `__swanlab__.` and count steps of their own: they are left out. The file of a live run
lags: it grows by 8 KiB, and is empty before the first of them.
"""

import re
import struct
from array import array
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from steadytrain.errors import LogError
from steadytrain.readers.protobuf import GarbledError, Log, fields, number
from steadytrain.readers.runs import LoggedRun, Series

SIGNATURE = b":SWL\xd6\xe1"
JSON_VERSION, PROTOBUF_VERSION = 1, 2
MACHINE = b"__swanlab__."

_NUMBER = rb"[\x80-\xff]{0,9}[\x00-\x7f]"
_TIME = rb"[\x00-\x7f]\x08%b(?:\x10%b)?" % (_NUMBER, _NUMBER)
_BEFORE_KEY = re.compile(rb"\x08%b\x12%b\x6a[\x00-\x7f]\x0a([\x00-\x7f])" % (_NUMBER, _TIME))
_BEHIND_KEY = re.compile(
    rb"(?:\x10(%b))?\x18\x01\x22%b\x2a(?:\x09\x09(.{8})|\x00)" % (_NUMBER, _TIME), re.DOTALL
)
"""A short scalar as SwanLab writes it: there are too many of them to cut each into its fields."""

_DOUBLE = struct.Struct("<d")
_ZERO = bytes(8)
_WORDS = {"NaN": np.nan, "INF": np.inf}
_Points = tuple["array[int]", "array[float]"]


@dataclass(frozen=True, slots=True)
class SwanLab:
    """Files of SwanLab: one run each."""

    format: str = "SwanLab"

    def recognizes(self, path: Path, head: bytes) -> bool:
        return head.startswith(SIGNATURE)

    def read(self, path: Path) -> list[LoggedRun]:
        versions = (JSON_VERSION, PROTOBUF_VERSION)
        log = Log(path=path, tool="SwanLab", signature=SIGNATURE, versions=versions)
        run = _Run()
        for record in log.records():
            if log.version == JSON_VERSION:
                run.add_json(record)
            else:
                run.add(record)
        series = run.series()
        if not series:
            has = "; ".join(("no scalar but the machine's own", *log.remarks()))
            raise LogError(
                f"{path} has {has}; there is no curve to read. "
                "A live run writes 8 KiB at a time: look again later, or name another file."
            )
        return [
            LoggedRun(
                name=run.title() or path.parent.name,
                format=self.format,
                source=path,
                series=series,
                remarks=(*log.remarks(), *run.remarks()),
                order=run.began,
            )
        ]


def _points() -> _Points:
    return array("q"), array("d")


@dataclass(slots=True)
class _Run:
    """What the records of one file say.

    Attributes:
        began: when the process started, as text that sorts.
    """

    began: str = ""
    _id: str = ""
    _name: str = ""
    _tags: defaultdict[bytes, _Points] = field(default_factory=lambda: defaultdict(_points))
    _num_garbled: int = 0
    _num_signless: int = 0

    def add(self, record: bytes) -> None:
        """A record of version 2."""
        head = _BEFORE_KEY.match(record)
        if head is not None:
            end = head.end() + head[1][0]
            tail = _BEHIND_KEY.fullmatch(record, end)
            if tail is not None:
                step, value = tail.groups()
                steps, values = self._tags[record[head.end() : end]]
                steps.append(number(step) if step else 0)
                values.append(_DOUBLE.unpack(value or _ZERO)[0])
                return
        try:
            for key, content in fields(record):
                if key == 0x6A:
                    self._add_scalar(content)
                elif key == 0x52:
                    self._introduce(content)
        except GarbledError:
            self._num_garbled += 1

    def add_json(self, record: bytes) -> None:
        """A record of version 1."""
        try:
            line = msgspec.json.decode(record, type=_Line)
            self._add_line(line.model_type, line.data)
        except (msgspec.DecodeError, KeyError, TypeError, ValueError, OverflowError):
            self._num_garbled += 1

    def title(self) -> str:
        """Name and id: two runs may share a name, and a resumed one keeps its id."""
        if self._name and self._id not in ("", self._name):
            return f"{self._name} ({self._id})"
        return self._id or self._name

    def series(self) -> dict[str, Series]:
        return {
            tag.decode("utf-8", "replace"): Series(
                steps=np.array(steps, dtype=np.int64), values=np.array(values, dtype=np.float64)
            )
            for tag, (steps, values) in self._tags.items()
            if not tag.startswith(MACHINE)
        }

    def remarks(self) -> list[str]:
        said = []
        if self._num_garbled:
            said.append(f"{self._num_garbled} records are no messages of SwanLab; skipped")
        if self._num_signless:
            said.append(
                f"'INF' stands for both infinities; read as +inf, {self._num_signless} times"
            )
        return said

    def _add_scalar(self, scalar: bytes) -> None:
        found = dict(fields(scalar))
        if 0x2A in found:
            value = dict(fields(found[0x2A])).get(0x09, _ZERO)
            steps, values = self._tags[found.get(0x0A, b"")]
            steps.append(number(found.get(0x10, b"\0")))
            values.append(_DOUBLE.unpack(value)[0])

    def _introduce(self, start: bytes) -> None:
        found = dict(fields(start))
        self._name = found.get(0x22, b"").decode("utf-8", "replace")
        self._id = found.get(0x52, b"").decode("utf-8", "replace")
        time = {key: number(content) for key, content in fields(found.get(0x62, b""))}
        self.began = f"{time.get(0x08, 0):012d}.{time.get(0x10, 0):09d}"

    def _add_line(self, kind: str, data: dict[str, Any]) -> None:
        if kind == "Scalar":
            value, step = data["metric"]["data"], int(data["step"])
            as_float = float(_WORDS.get(value, value))
            steps, values = self._tags[str(data["key"]).encode()]
            steps.append(step)
            values.append(as_float)
            self._num_signless += value == "INF"
        elif kind == "Experiment":
            self._name, self._id = str(data["name"]), str(data["id"])
        elif kind == "Header":
            self.began = str(data["create_time"])


class _Line(msgspec.Struct):
    """A record of version 1."""

    model_type: str
    data: dict[str, Any]
