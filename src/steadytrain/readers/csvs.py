"""Tables of numbers as text: CSV and its relatives, whoever wrote them.

One row a line, cells parted by commas, tabs, semicolons or spaces; names in the first row, or no
names at all. There is no standard that holds (RFC 4180 comes closest), so everything is judged by
content. Rows that known tools write:

    epoch,loss,step                                     Lightning's CSVLogger (metrics.csv)
    Step,run - loss,run - loss__MIN,run - loss__MAX     W&B, "export CSV" of a panel
    Wall time,Step,Value                                TensorBoard, "download CSV" of a scalar

Source: lightning.fabric.loggers.csv_logs; tensorboard.plugins.scalar; what the W&B page exports.

Traps: Lightning writes different keys on different rows, so most cells may be empty, and an empty
cell is not a NaN. A resumed script writes its header again, sometimes with other columns. A last
line without an end may have lost digits ("12" of "1250"), so it is never believed.
"""

import csv
import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steadytrain.readers import jsons
from steadytrain.readers.jsons import BOM, Lost, is_whole, step_name
from steadytrain.readers.runs import LoggedRun, Series

Number = TypeVar("Number", np.int64, np.float64)
DELIMITERS = (",", "\t", ";", " ")
INSTEAD = "A table begins with a line like 'step,loss', then '1,10.8', each line with an end."
HEAD_BYTES = 2**20
SNIFFED_ROWS = 50
MILLISECONDS_SINCE_1970 = 1e12
"""More than this in a first column of three: a line of MLflow, `time value step`."""

GAP_BITS = 0x7FF8_0000_0000_6A70
GAP = float(np.int64(GAP_BITS).view(np.float64))
"""An empty cell: a NaN of its own, told from a logged NaN by its bits, so that no mask is kept."""


@dataclass(frozen=True, slots=True)
class Csv:
    """A table in a text file: CSV, TSV, columns parted by spaces."""

    format: str = "CSV"

    def recognizes(self, path: Path, head: bytes) -> bool:
        layout = _layout(head)
        return layout is not None and (len(layout.names) > 1 or path.suffix.lower() == ".csv")

    def read(self, path: Path) -> list[LoggedRun]:
        try:
            with path.open("rb") as file:
                layout = _layout(file.read(HEAD_BYTES))
                if layout is None:
                    raise jsons.no_curve(path, "no row of numbers", INSTEAD)
                file.seek(layout.begins)
                sheet = _Sheet(layout)
                for line, block in jsons.blocks(file, layout.lines + 1):
                    sheet.add(line, block)
        except OSError as error:
            raise jsons.unopened(path, error) from error
        series = sheet.series()
        if not series:
            has = "; ".join(("no numbers beside its steps", *sheet.remarks()))
            raise jsons.no_curve(path, has, INSTEAD)
        run = LoggedRun(
            name=str(path), format=self.format, source=path, series=series, remarks=sheet.remarks()
        )
        return [run]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layout:
    """How a table is written, and where its rows begin [bytes and lines before them]."""

    delimiter: str
    names: tuple[str, ...]
    is_named: bool
    begins: int
    lines: int


@dataclass(slots=True)
class _Table:
    """The rows under one header. Columns are kept in pieces, one of each block."""

    names: tuple[str, ...]
    is_named: bool
    columns: list[list[NDArray[np.float64]]] = field(init=False)
    odd: dict[str, Lost] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.columns = [[] for _ in self.names]

    def add(self, columns: Iterable[ArrayLike]) -> None:
        for pieces, column in zip(self.columns, columns, strict=False):
            pieces.append(np.array(column, dtype=np.float64))

    def series(self) -> dict[str, Series]:
        if not self.columns[0]:
            return {}
        at = self._step_column()
        if at is None:
            self.remarks.append("no column names or counts the steps; the row number is used")
            numbers = np.arange(1.0, sum(map(len, self.columns[0])) + 1)
        else:
            numbers = self._taken(at)
        stepped = is_whole(numbers)
        steps = numbers[stepped].astype(np.int64)
        lost = Lost(len(numbers) - len(steps), int(np.argmin(stepped)) + 1)
        self.remarks += lost.remarks("row", "without a whole number as its step left out", "row")
        found = {}
        for column, name in enumerate(self.names):
            values = _kept(self._taken(column), stepped) if column != at else np.empty(0)
            there = values.view(np.int64) != GAP_BITS
            if there.any():
                found[name] = Series(steps=_kept(steps, there), values=_kept(values, there))
            elif column != at and name in self.odd:
                self.odd.pop(name)
                self.remarks.append(f"column '{name}' holds no numbers and is left out")
        return found

    def _step_column(self) -> int | None:
        if not self.is_named:
            first = self._joined(0)
            is_step = len(self.names) > 1 and is_whole(first[np.isfinite(first)]).all()
            return 0 if is_step else None
        names = list(self.names)
        while (name := step_name(tuple(names))) is not None:
            if is_whole(self._joined(at := self.names.index(name))).any():
                return at
            names.remove(name)
        for at, name in enumerate(self.names):
            if len(self.names) > 1 and jsons.counts_up(self._joined(at)):
                self.remarks.append(f"column '{name}' counts up and is taken as the step")
                return at
        return None

    def _joined(self, column: int) -> NDArray[np.float64]:
        pieces = self.columns[column]
        if len(pieces) > 1:
            pieces[:] = [np.concatenate(pieces)]
        return pieces[0]

    def _taken(self, column: int) -> NDArray[np.float64]:
        """A column, for the last time: its memory is the taker's."""
        joined = self._joined(column)
        self.columns[column] = []
        return joined


class _Sheet:
    """All rows of a file: one table, and another after each new header."""

    def __init__(self, layout: _Layout) -> None:
        self._delimiter = layout.delimiter
        self._tables = [_Table(layout.names, layout.is_named)]
        self._remarks: list[str] = []
        self._rows, self._headers = Lost(), Lost()
        if not layout.is_named:
            self._remarks.append("no header: the first column is the step, the second the loss")

    def add(self, line: int, block: bytes) -> None:
        if not block.endswith(b"\n"):
            self._remarks.append(f"the last line ({line}) has no end and is left out")
            return
        if self._delimiter == ";" and b"," in block:
            self._remarks.append("a comma in a number is read as its decimal point")
        rows = _fast_rows(block, self._delimiter, len(self._tables[-1].names))
        if rows is None:
            self._add_slowly(line, block)
        else:
            self._tables[-1].add(rows.T)

    def series(self) -> dict[str, Series]:
        found: dict[str, Series] = {}
        for table in self._tables:
            for name, one in table.series().items():
                found[name] = _chained(found[name], one) if name in found else one
        return found

    def remarks(self) -> tuple[str, ...]:
        said = list(self._remarks)
        said += self._headers.remarks("header", "more among the rows")
        said += self._rows.remarks("row", "with too few or too many cells left out")
        for table in self._tables:
            said += table.remarks
            for name, cells in table.odd.items():
                are = "is no number" if cells.count == 1 else "are no numbers"
                first = f"'{cells.text[:40]}', line"
                said += cells.remarks("cell", f"of '{name}' {are}", first)
        return tuple(dict.fromkeys(said))

    def _add_slowly(self, line: int, block: bytes) -> None:
        rows: dict[int, list[str]] = {}
        for number, text in enumerate(_decoded(block).split("\n"), line):
            if not text.strip():
                continue
            names = self._tables[-1].names
            cells = _cells(text, self._delimiter)
            if _is_header(cells, names, self._delimiter):
                self._add_cells(rows)
                self._add_header(number, cells)
                rows = {}
            elif _fits(cells, len(names)):
                rows[number] = cells[: len(names)]
            else:
                self._rows.note(number)
        self._add_cells(rows)

    def _add_cells(self, rows: dict[int, list[str]]) -> None:
        columns = enumerate(zip(*rows.values(), strict=True))
        self._tables[-1].add([self._values(at, column, rows) for at, column in columns])

    def _values(self, at: int, cells: tuple[str, ...], lines: Iterable[int]) -> list[float]:
        if "_" not in "".join(cells):
            with suppress(ValueError):
                return list(map(float, cells))
        return [self._value(at, cell, line) for cell, line in zip(cells, lines, strict=True)]

    def _add_header(self, line: int, cells: list[str]) -> None:
        self._headers.note(line)
        if (names := _names(cells)) != self._tables[-1].names:
            self._remarks.append(f"other columns begin at line {line}")
            self._tables.append(_Table(names, True))

    def _value(self, column: int, cell: str, line: int) -> float:
        value = _number(cell, self._delimiter)
        if value is None and cell:
            table = self._tables[-1]
            table.odd.setdefault(table.names[column], Lost()).note(line, cell)
        return GAP if value is None else value


def _kept(values: NDArray[Number], mask: NDArray[np.bool_]) -> NDArray[Number]:
    """The values under a mask, and not a copy of them where the mask hides nothing."""
    return values if mask.all() else values[mask]


def _chained(first: Series, then: Series) -> Series:
    return Series(
        steps=np.concatenate([first.steps, then.steps]),
        values=np.concatenate([first.values, then.values]),
    )


def _is_header(cells: list[str], names: tuple[str, ...], delimiter: str) -> bool:
    is_text = any(cells) and all(_number(cell, delimiter) is None for cell in cells)
    return is_text and (step_name(tuple(cells)) is not None or _names(cells) == names)


def _layout(head: bytes) -> _Layout | None:
    """How this table is written; None when it is no table."""
    text = _decoded(head[: head.rfind(b"\n") + 1])
    lines = text.split("\n")[:-1]
    first = next((at for at, line in enumerate(lines) if line.strip() and line[0] != "#"), None)
    if first is None or "\0" in text or text.lstrip()[:1] in ("{", "[", "<"):
        return None
    found: list[tuple[float, str, list[str], int]] = []
    for delimiter in DELIMITERS:
        rows = [_cells(line, delimiter) for line in lines[first : first + SNIFFED_ROWS]]
        above = _cells(lines[first - 1].lstrip("# "), delimiter) if first else []
        # np.savetxt writes the names as a comment.
        if not _is_named(rows[0]) and _is_named(above) and len(above) == len(rows[0]):
            rows = [above, *rows]
        begins = first + (_is_named(rows[0]) and rows[0] is not above)
        if (share := _share_of_numbers(rows, delimiter)) is not None:
            found.append((share, delimiter, rows[0], begins))
    if not found:
        return None
    _, delimiter, row, begins = max(found, key=lambda one: one[0])
    is_named = _is_named(row)
    made_up = ["step", "loss"] if len(row) > 1 else ["loss"]
    after = head.split(b"\n", begins)[-1]
    return _Layout(
        delimiter=delimiter,
        names=_names(row if is_named else made_up + [""] * (len(row) - 2)),
        is_named=is_named,
        begins=len(head) - len(after) if begins else len(BOM) * head.startswith(BOM),
        lines=begins,
    )


def _share_of_numbers(rows: list[list[str]], delimiter: str) -> float | None:
    """How much of this table is numbers, if it is one at all."""
    names, width = rows[0], len(rows[0])
    is_named = _is_named(names)
    rows = [*takewhile(lambda row: step_name(tuple(row)) is None, rows[is_named:])]
    rows = [row for row in rows if any(row)]
    full = [row for row in rows if _fits(row, width)]
    cells = [cell for row in full for cell in row[:width] if cell]
    numbers = sum(_number(cell, delimiter) is not None for cell in cells)
    if not numbers or 2 * len(full) < len(rows):
        return None
    share = numbers / len(cells)
    if delimiter != " ":
        return share if share >= 0.5 or (is_named and step_name(tuple(names)) is not None) else None
    is_prose = share < 1 or width < 2
    if is_prose or (not is_named and width == 3 and float(names[0]) > MILLISECONDS_SINCE_1970):
        return None
    return share


def _fast_rows(block: bytes, delimiter: str, width: int) -> NDArray[np.float64] | None:
    """The rows of a block; None when a cell in it needs a closer look."""
    block = _plain(block, delimiter)
    mark = delimiter.encode()
    raw = np.frombuffer(block, dtype=np.uint8)
    ends = np.flatnonzero((raw == mark[0]) | (raw == ord("\n")))
    is_last = np.arange(1, len(ends) + 1) % width == 0
    if b'"' in block or len(ends) % width or not np.array_equal(raw[ends] == ord("\n"), is_last):
        return None
    empty = np.diff(ends, prepend=-1) == 1
    if empty.any():
        if width == 1:
            return None
        block = b"\n" + block
        for start, end in ((mark, mark), (mark, mark), (b"\n", mark), (mark, b"\n")):
            block = block.replace(start + end, start + b"nan" + end)
        block = block[1:]
    try:
        with warnings.catch_warnings():
            # numpy < 2.3 warns where later ones raise; a short result cannot be reshaped.
            warnings.simplefilter("error", DeprecationWarning)
            values = np.fromstring(block.replace(b"\n", mark).decode("ascii"), sep=delimiter)
            values = values.reshape(len(ends))
    except (ValueError, DeprecationWarning):
        return None
    values[empty] = GAP
    return values.reshape(-1, width)


def _plain(block: bytes, delimiter: str) -> bytes:
    """A block with one byte between two cells and without quotes, where these can go safely."""
    mark = delimiter.encode()
    block = block.replace(b"\r\n", b"\n")
    if delimiter == " ":
        block = block.replace(b"\t", b" ")
        while b"  " in block:
            block = block.replace(b"  ", b" ")
        block = block.replace(b"\n ", b"\n").replace(b" \n", b"\n").removeprefix(b" ")
    if delimiter == ";":
        block = block.replace(b",", b".")
    if b'"' in block:
        for end in (mark, b"\n"):
            block = block.replace(b'"' + end, end).replace(end + b'"', end)
        block = block.removeprefix(b'"')
    return block


def _decoded(block: bytes) -> str:
    return block.removeprefix(BOM).decode("utf-8", errors="replace")


def _cells(line: str, delimiter: str) -> list[str]:
    line = line.replace("\t", " ").strip() if delimiter == " " else line.rstrip("\r")
    if '"' not in line:
        cells = line.split(delimiter if delimiter != " " else None)
        return [cell.strip() for cell in cells]
    try:
        cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        return []
    return [cell.strip() for cell in cells]


def _fits(cells: list[str], width: int) -> bool:
    """Whether there is a cell for each column, and at most empty ones behind."""
    return len(cells) >= width and not any(cells[width:])


def _number(cell: str, delimiter: str) -> float | None:
    try:
        value = float(cell.replace(",", ".") if delimiter == ";" else cell)
    except ValueError:
        return None
    return None if "_" in cell else value


def _is_named(cells: list[str]) -> bool:
    is_text = any(cells) and all(_number(cell, ",") is None for cell in cells)
    return is_text or step_name(tuple(cells)) is not None


def _names(cells: list[str]) -> tuple[str, ...]:
    names: list[str] = []
    for number, cell in enumerate(cells, 1):
        name = cell or f"column {number}"
        names.append(name if name not in names else f"{name} (column {number})")
    return tuple(names)
