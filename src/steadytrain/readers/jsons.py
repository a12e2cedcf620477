"""JSON as trackers and scripts write it: one object a line, an array of objects, trainer_state.

    {"step": 1, "loss": 10.8, "optim": {"lr": 3e-4}}      a line; nested names are joined by '/'
    [{"step": 1, "loss": 10.8}, ...]                      the same rows as one array
    {"global_step": 500, "log_history": [{...}, ...]}     Hugging Face, trainer_state.json

Source: jsonlines.org; transformers/trainer_callback.py (TrainerState) and trainer.py.

Traps: JSON has no NaN. Python writes the bare token NaN, which strict decoders refuse; others
write "NaN", {"float": "nan"} or null. The last may as well mean "not measured", so it is counted
and left out. A crash leaves half a line, and the resumed run may go on behind it.
"""

import json
import math
import re
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from steadytrain.errors import LogError
from steadytrain.readers.runs import LoggedRun, Series

# fmt: off
STEP_NAMES = (
    "step", "global_step", "iteration", "iter", "trainer/global_step", "_step", "steps", "updates",
)
# fmt: on
"""What tools call the update number, in the order of trust; upper and lower case are one."""

BOM = b"\xef\xbb\xbf"
BLOCK_BYTES = 4 * 2**20
LONGEST_LINE_BYTES = 64 * 2**20
SNIFFED_ROWS = 20
WORDS = frozenset(sign + word for sign in ("", "+", "-") for word in ("nan", "inf", "infinity"))

Row = dict[str, Any]
_DECODER = msgspec.json.Decoder()
ONE_A_LINE = 'Write one object a line, like {"step": 1, "loss": 10.8}.'
FILTERED = (
    "'loss' is the mean since the last log, and transformers puts a mean in the place of NaN "
    "and infinite losses unless logging_nan_inf_filter is off"
)
JOURNAL_BEGINS = re.compile(rb'\{"v":\d+,"seq":')
"""Our own journal is for another reader."""

BARE_WORD = re.compile(rb"([:,\[]\s*)(NaN|-?Infinity)(?=\s*[,}\]])")
"""Python's NaN and infinity. Within a text, quotes around them break the line, which is seen."""

DEEPEST = 30
"""Names are joined so far down. A file made to overflow the stack ends here."""

FEW_ROWS = 8
"""Fewer than this with the same names are added one by one."""


@dataclass(frozen=True, slots=True)
class JsonLines:
    """One JSON object a line, or one array of objects."""

    format: str = "JSON Lines"

    def recognizes(self, path: Path, head: bytes) -> bool:
        text = head.removeprefix(BOM).lstrip()
        if text.startswith(b"["):
            found = list(islice(_elements(text.decode("utf-8", "replace"), 1), SNIFFED_ROWS))
        elif text.startswith(b"{") and not JOURNAL_BEGINS.match(text):
            lines = [line for line in text.split(b"\n")[: SNIFFED_ROWS + 1] if line.strip()]
            found = [_decoded(line) for line in lines]
            found = [] if found.count(None) * 2 > len(found) else found
        else:
            return False
        rows = [row for row in found if isinstance(row, dict)]
        if any("log_history" in row or {"kind", "v", "seq"} <= row.keys() for row in rows):
            return False
        return _are_scalars(rows)

    def read(self, path: Path) -> list[LoggedRun]:
        try:
            with path.open("rb") as file:
                is_array = file.read(1024).removeprefix(BOM).lstrip().startswith(b"[")
                file.seek(0)
                book = _Book(noun="row" if is_array else "line")
                if is_array:
                    _add_rows(book, file.read())
                else:
                    for line, block in blocks(file, 1):
                        _add_lines(book, line, block.removeprefix(BOM) if line == 1 else block)
        except OSError as error:
            raise unopened(path, error) from error
        series = book.series()
        if not series:
            raise no_curve(path, "no object with a number beside its step", ONE_A_LINE)
        run = LoggedRun(
            name=str(path), format=self.format, source=path, series=series, remarks=book.remarks()
        )
        return [run]


@dataclass(frozen=True, slots=True)
class TrainerState:
    """The log that the Trainer of transformers keeps inside its checkpoints.

    `log_history` is a list of objects: step, epoch and what was logged then. Each checkpoint holds
    all of it from the first step on, so a later file repeats an earlier one.
    """

    format: str = "Hugging Face trainer_state"

    def recognizes(self, path: Path, head: bytes) -> bool:
        text = head.removeprefix(BOM).lstrip()
        return text.startswith(b"{") and b'"log_history"' in text and b'"global_step"' in text

    def read(self, path: Path) -> list[LoggedRun]:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise unopened(path, error) from error
        book = _Book(noun="row")
        _add_rows(book, data)
        series = book.series()
        if not series:
            instead = "Name that of a later checkpoint, and set logging_steps."
            raise no_curve(path, "no row with a number in its log_history", instead)
        reached = re.search(rb'"global_step":\s*(\d{1,12})', data)
        folder = path.parent
        run = LoggedRun(
            name=str(folder.parent if folder.name.startswith("checkpoint-") else folder),
            format=self.format,
            source=path,
            series=series,
            remarks=(FILTERED, *book.remarks()),
            order=f"{int(reached[1]) if reached else 0:012d}",
        )
        return [run]


@lru_cache(maxsize=1024)
def step_name(names: tuple[str, ...]) -> str | None:
    """Which of these names holds the update number, if any is known to."""
    known = {name.strip().lower(): name for name in reversed(names)}
    for wanted in STEP_NAMES:
        if wanted in known:
            return known[wanted]
    return next((name for low, name in known.items() if low.endswith("/global_step")), None)


def counts_up(values: NDArray[np.float64]) -> bool:
    """Whether these are whole numbers, each above the one before: a step without a name."""
    return len(values) > 1 and bool(is_whole(values).all() and (np.diff(values) > 0).all())


def is_whole(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    # 2**53: above it, float64 does not hold every whole number.
    return np.asarray((np.abs(values) <= 2**53) & (np.floor(values) == values))


def blocks(file: BinaryIO, line: int) -> Iterator[tuple[int, bytes]]:
    """Whole lines, some megabytes at a time, with the number of the first.

    A last line without an end comes alone, and is the only block that does not end in a newline.
    """
    rest = b""
    while chunk := file.read(BLOCK_BYTES):
        whole, newline, tail = chunk.rpartition(b"\n")
        if newline:
            block = rest + whole + newline
            yield line, block
            line, rest = line + block.count(b"\n"), tail
        elif len(rest) < LONGEST_LINE_BYTES:
            rest += chunk
        else:
            raise no_curve(file.name, f"no end of line {line} in {len(rest)} bytes", ONE_A_LINE)
    if rest:
        yield line, rest


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


@dataclass(slots=True)
class Lost:
    """What could not be used: how often, where first, and what stood there."""

    count: int = 0
    line: int = 0
    text: str = ""

    def note(self, line: int, text: str = "") -> None:
        if not self.count:
            self.line, self.text = line, text
        self.count += 1

    def remarks(self, noun: str, what: str, place: str = "line") -> list[str]:
        """Nothing, or "3 rows without a step left out (first: line 17)"."""
        said = f"{counted(self.count, noun)} {what} (first: {place} {self.line})"
        return [said] if self.count else []


def unopened(path: Path, error: OSError) -> LogError:
    why = f"{path} cannot be read ({error.strerror or error}), so its curves are missing."
    return LogError(f"{why} Name a file that this user may read.")


def no_curve(path: Path | str, has: str, instead: str) -> LogError:
    return LogError(f"{path} has {has}, so there is no curve to read. {instead}")


# The steps and values of one tag, packed: a list of Python numbers takes four times the memory.
_Points = tuple["array[int]", "array[float]"]


class _Book:
    """What was read so far: rows with a step, and rows without, numbered by their line."""

    def __init__(self, noun: str) -> None:
        self._noun = noun
        self.stepped: dict[str, _Points] = defaultdict(lambda: (array("q"), array("d")))
        self.loose: dict[str, _Points] = defaultdict(lambda: (array("q"), array("d")))
        self._loose_rows, self.dropped = Lost(), Lost()
        self._nulls: dict[str, int] = {}
        self.said: list[str] = []

    def add(self, rows: list[Row], line: int) -> None:
        """Rows that follow each other and have the same names."""
        name = step_name(tuple(rows[0]))
        if len(rows) < FEW_ROWS or name is None or not self._add_columns(rows, name):
            for number, row in enumerate(rows, line):
                step = _whole(row[name]) if name is not None else None
                if step is None:
                    self._loose_rows.note(number)
                    self._add_points(self.loose, row, number)
                else:
                    self._add_points(self.stepped, row, step, but=name)

    def series(self) -> dict[str, Series]:
        if self.stepped:
            self.said += self._loose_rows.remarks(self._noun, "without a step left out", self._noun)
            return _series(self.stepped)
        found, rows = _series(self.loose), self._loose_rows.count
        for tag, one in found.items():
            if len(found) > 1 and len(one.steps) == rows and counts_up(one.values):
                self.said.append(f"'{tag}' counts up and is taken as the step")
                return _stepped_by(found, tag)
        self.said.append(f"no name holds the step; the number of the {self._noun} is used")
        return found

    def remarks(self) -> tuple[str, ...]:
        said = self.said + self.dropped.remarks(
            self._noun, "torn or no JSON object, left out", self._noun
        )
        if self._nulls:
            listed = ", ".join(f"'{tag}' ({count})" for tag, count in self._nulls.items())
            said.append(f"null left out, which some tools write for NaN: {listed}")
        return tuple(said)

    def _add_columns(self, rows: list[Row], name: str) -> bool:
        """Add many rows at once; False, and nothing is added, when one needs a closer look."""
        columns = dict(zip(rows[0], zip(*map(dict.values, rows), strict=True), strict=True))
        try:
            steps = array("q", columns.pop(name))
        except (OverflowError, TypeError):
            return False
        for tag, column in columns.items():
            kinds = set(map(type, column))
            if kinds <= {float, int}:
                self.stepped[tag][0].extend(steps)
                self.stepped[tag][1].extend(map(_float, column) if int in kinds else column)
            else:
                for step, value in zip(steps, column, strict=True):
                    self._add_points(self.stepped, {tag: value}, step)
        return True

    def _add_points(
        self, there: dict[str, _Points], row: Row, step: int, *, but: str | None = None
    ) -> None:
        for name, value in row.items():
            if name == but or type(value) is bool:
                continue
            number = value if type(value) in (float, int) else _spelled(value)
            if number is not None:
                there[name][0].append(step)
                there[name][1].append(_float(number))
            elif value is None:
                self._nulls[name] = self._nulls.get(name, 0) + 1
            elif type(value) is dict and name.count("/") < DEEPEST:
                nested = {f"{name}/{inner}": one for inner, one in value.items()}
                self._add_points(there, nested, step)


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _spelled(value: Any) -> float | None:
    """NaN and infinity, in the two ways that strict JSON allows."""
    word = value.get("float") if type(value) is dict and len(value) == 1 else value
    return float(word) if type(word) is str and word.lower() in WORDS else None


def _series(logged: dict[str, _Points]) -> dict[str, Series]:
    return {
        tag: Series(steps=np.frombuffer(steps, np.int64), values=np.frombuffer(values))
        for tag, (steps, values) in logged.items()
    }


def _stepped_by(found: dict[str, Series], tag: str) -> dict[str, Series]:
    """The same points, with the values of one tag in place of the row numbers."""
    rows, steps = found[tag].steps, found[tag].values.astype(np.int64)
    return {
        name: Series(steps=steps[np.searchsorted(rows, one.steps)], values=one.values)
        for name, one in found.items()
        if name != tag
    }


def _whole(value: Any) -> int | None:
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and abs(value) < 2**63 else None


def _add_lines(book: _Book, line: int, block: bytes) -> None:
    rows = _decoded(block, _DECODER.decode_lines) or []
    if len(rows) != block.count(b"\n"):
        rows = _decoded(BARE_WORD.sub(rb'\1"\2"', block), _DECODER.decode_lines) or []
    if len(rows) != block.count(b"\n"):
        rows = [_decoded(text) if text.strip() else {} for text in block.split(b"\n")]
    _add_grouped(book, rows, line)


def _add_grouped(book: _Book, rows: list[Any], line: int) -> None:
    for _, group in groupby(rows, key=lambda row: tuple(row) if type(row) is dict else None):
        same = list(group)
        if same[0] and type(same[0]) is dict:
            book.add(same, line)
        elif same[0] != {}:
            for number in range(line, line + len(same)):
                book.dropped.note(number)
        line += len(same)


def _add_rows(book: _Book, data: bytes) -> None:
    """The rows of an array, or of `log_history`; of a torn file, those before the tear."""
    whole = _decoded(data)
    rows = whole.get("log_history") if isinstance(whole, dict) else whole
    if not isinstance(rows, list):
        text = data.decode("utf-8", errors="replace")
        begins = re.search(r'"log_history"\s*:\s*\[|^\ufeff?\s*\[', text)
        rows = list(_elements(text, begins.end())) if begins else []
        book.said.append(f"the file is torn after {counted(len(rows), 'row')}; the rest is lost")
    _add_grouped(book, rows, 1)


def _elements(text: str, begin: int) -> Iterator[Any]:
    """The whole elements of an array that may be torn."""
    at, decode = begin, json.JSONDecoder().raw_decode
    while True:
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        try:
            element, at = decode(text, at)
        except (ValueError, RecursionError):
            return
        # A number at the very end may have lost digits.
        if at < len(text) or isinstance(element, dict):
            yield element


def _decoded(text: bytes, *decoders: Callable[[bytes], Any]) -> Any:
    """What this text holds; None when it is not JSON, with or without NaN and Infinity."""
    for decode in decoders or (_DECODER.decode, json.loads):
        try:
            return decode(text)
        except (msgspec.DecodeError, ValueError, RecursionError):
            continue
    return None


def _are_scalars(rows: list[Row]) -> bool:
    """Whether these are logged numbers, not a data set and not settings."""
    book = _Book("row")
    _add_grouped(book, rows, 1)
    numbers = sum(len(steps) for steps, _ in book.loose.values())
    texts = sum(type(value) is str for row in rows for value in row.values())
    return bool(book.stepped) or (len(rows) > 1 and numbers > texts)
