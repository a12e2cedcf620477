"""Console logs: what trainers print, line by line, between whatever else is printed.

    iteration      100/  500000 | ... | lm loss: 7.12E+00 | grad norm: 1.2 |      Megatron-LM
    step: 10  loss:  9.3  grad_norm: 1.2  memory: 1.2GiB(3%)  tps: 7,000          torchtitan
    iteration: 10 / 500 | consumed_tokens: 2.62M | lm_loss: 9.1 | lr: 0.0003      nanotron
    steps: 10 loss: 9.3 iter time (s): 0.5 samples/sec: 32.0                      DeepSpeed
    step=10, skipped=0, lr=[0.0001], mom=[(0.9, 0.95)]                            DeepSpeed
    s:250 trl:5.01 lr:0.0006 norm:0.41                                            llm.c, main.log
    step   1/100 | loss 10.99 (+nanz)| norm 2.3 (+nanz)| lr 1.0e-04 | 980 ms      llm.c
    iter 10: loss 9.3, time 12ms, mfu 3%                                          nanoGPT

Source: Megatron-LM training.py (training_log), torchtitan components/metrics.py, nanotron
trainer.py, DeepSpeed runtime/engine.py, llm.c train_gpt2.cu and llmc/logger.h, nanoGPT train.py.

Traps: Megatron leaves the loss out of a line when it was NaN or the iteration was skipped: that is
a NaN here, not a gap. Several ranks may print the same line, or tear it where they print at once.
"""

import math
import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from steadytrain.errors import LogError
from steadytrain.readers.runs import LoggedRun, Reader, Series

BLOCK_BYTES = 4 * 2**20
SNIFFED = 3
"""Records that a file without a telling shape must show before it counts as a log."""

Fields = list[tuple[bytes, bytes]]
Parse = Callable[[bytes], Fields]

_NUMBER = rb"[-+]?(?:\d[\d,]*\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf(?:inity)?)"
_COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
_VALUE = re.compile(rb"\s*(" + _NUMBER + rb")\s*([KMBGT])?", re.IGNORECASE)
_FACTORS = {b"k": 1e3, b"m": 1e6, b"b": 1e9, b"g": 1e9, b"t": 1e12}
_BARRED = re.compile(rb"([A-Za-z][^|:]*?)\s*:\s*([^|]+)")
_SPACED = re.compile(rb"([A-Za-z_]\w*):\s*(" + _NUMBER + rb")", re.IGNORECASE)
_NAMED = re.compile(
    rb"([A-Za-z_][\w./-]*(?: loss| norm| rate)?)['\"]?\s*[:= ]\s*(" + _NUMBER + rb")(?![\w.])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Console:
    """A shape of lines.

    Attributes:
        record: finds the step of a line that is a record, in its first group.
        parse: the named numbers of such a line.
        shape: more that the lines of a file of this format must show, in its first 64 KiB.
        needed: a tag that is NaN in each line that leaves it out.
        sniffed: records that must be seen before a file counts as this.
    """

    format: str
    record: re.Pattern[bytes]
    parse: Parse
    needed: bytes | None = None
    sniffed: int = 1

    def recognizes(self, path: Path, head: bytes) -> bool:
        if b"\x00" in head:
            return False
        lines = _COLOUR.sub(b"", head).replace(b"\r", b"\n").split(b"\n")[:-1] or [head]
        steps = {
            match[1]
            for line in lines
            for match in [self.record.search(line)]
            if match is not None
            and any(b"loss" in name or name in _LLMC for name, _ in self.parse(line))
        }
        return len(steps) >= self.sniffed

    def read(self, path: Path) -> list[LoggedRun]:
        """The records of the file, in their order.

        Raises:
            LogError: it holds no record.
        """
        book = _Book()
        for line in _lines(path):
            match = self.record.search(line)
            if match is not None:
                book.add(int(match[1]), self.parse(line))
        if not book.count:
            raise LogError(
                f"{path} holds no line of {self.format} with a step and a loss, so there is "
                "nothing to watch. Give the log of the rank that prints the loss."
            )
        remarks = () if not book.torn else (f"{book.torn} torn records left out",)
        return [
            LoggedRun(
                name=path.stem, format=self.format, source=path,
                series=book.series(self.needed), remarks=remarks, order=path.name,
            )
        ]  # fmt: skip


@dataclass(slots=True)
class _Book:
    """Records so far: per tag, the steps and values."""

    points: "dict[bytes, tuple[array[int], array[float]]]" = field(default_factory=dict)
    steps: "array[int]" = field(default_factory=lambda: array("q"))
    last: tuple[int, Fields] | None = None
    count: int = 0
    torn: int = 0

    def add(self, step: int, fields: Fields) -> None:
        # The same line again is another rank's.
        if (step, fields) == self.last:
            return
        self.last = (step, fields)
        found = False
        for name, text in fields:
            value = _number(text)
            if value is None:
                continue
            found = True
            steps, values = self.points.setdefault(name, (array("q"), array("d")))
            steps.append(step)
            values.append(value)
        self.torn += not found
        self.count += found
        if found:
            self.steps.append(step)

    def series(self, needed: bytes | None) -> dict[str, Series]:
        return {
            name.decode("utf-8", "replace"): self._filled(*pair)
            if name == needed
            else Series(steps=np.array(pair[0], np.int64), values=np.array(pair[1], np.float64))
            for name, pair in self.points.items()
        }

    def _filled(self, steps: "array[int]", values: "array[float]") -> Series:
        """Every record's step, NaN where the value was left out."""
        every = np.array(self.steps, np.int64)
        filled = np.full(len(every), math.nan)
        at = 0
        for step, value in zip(steps, values, strict=True):
            while every[at] != step:
                at += 1
            filled[at] = value
            at += 1
        return Series(steps=every, values=filled)


def _lines(path: Path) -> Iterator[bytes]:
    """Lines without colours; a progress bar's carriage return ends one as well."""
    rest = b""
    with open(path, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            whole = rest + block
            if b"\x1b" in whole:
                whole = _COLOUR.sub(b"", whole)
            if b"\r" in whole:
                whole = whole.replace(b"\r", b"\n")
            lines = whole.split(b"\n")
            rest = lines.pop()
            yield from lines
    if rest:
        yield rest


def _number(text: bytes) -> float | None:
    match = _VALUE.match(text)
    if match is None:
        return None
    factor = _FACTORS.get((match[2] or b"").lower(), 1.0)
    try:
        return float(match[1].replace(b",", b"")) * factor
    except ValueError:
        return None


def _barred(line: bytes) -> Fields:
    """`key: value | key: value |`, after the first bar."""
    return _BARRED.findall(line.partition(b"|")[2])


def _spaced(line: bytes) -> Fields:
    """`key: value  key: value`."""
    return [pair for pair in _SPACED.findall(line) if pair[0] != b"step"]


def _deepspeed(line: bytes) -> Fields:
    timer = re.search(rb"loss: (\S+) iter time \(s\): (\S+) samples/sec: (\S+)", line)
    if timer is not None:
        return [(b"loss", timer[1]), (b"seconds", timer[2]), (b"samples/sec", timer[3])]
    found = {name: re.search(shape, line) for name, shape in _DEEPSPEED.items()}
    return [(name, match[1]) for name, match in found.items() if match is not None]


def _llmc(line: bytes) -> Fields:
    if b"|" not in line:
        return re.findall(rb"(trl|tel|eval|lr|norm):(\S+)", line)
    return re.findall(rb"\|\s*(loss|norm|lr)\s+(\S+)", line)


def _named(line: bytes) -> Fields:
    """`key: value`, `key=value`, `key value`, each once."""
    found = {name.strip(): value for name, value in _NAMED.findall(line)}
    return [pair for pair in found.items() if not _STEP_NAME.fullmatch(pair[0])]


_DEEPSPEED = {b"lr": rb"lr=\[([^\],]+)", b"skipped": rb"skipped=(\d+)"}
_LLMC = (b"trl", b"tel", b"eval")
_STEP_NAME = re.compile(
    rb"(?:global[_ ]?)?(?:steps?|iter(?:ation)?|it|batch|update)", re.IGNORECASE
)

CONSOLES: tuple[Reader, ...] = (
    Console("Megatron-LM", re.compile(rb"iteration\s+(\d+)/\s*\d+ \|"), _barred, needed=b"lm loss"),
    Console("nanotron", re.compile(rb"iteration: (\d+) / \d+ \|"), _barred, needed=b"lm_loss"),
    Console(
        "torchtitan", re.compile(rb"step:\s*(\d+)\s+loss:\s+\S+\s+(?:grad_norm|memory):"), _spaced
    ),
    Console(
        "DeepSpeed",
        re.compile(rb"(?:steps: (?=\d+ loss: )|step=(?=\d+, skipped=))(\d+)"),
        _deepspeed,
    ),
    Console(
        "llm.c",
        re.compile(rb"^(?:s:(?=\d+ (?:trl|tel|eval):)|step\s+(?=\d+/\d+ \| ))(\d+)"),
        _llmc,
    ),
    Console(
        "console",
        re.compile(
            rb"(?:^|[\s,{\[(|])['\"]?(?:global[_ ]?)?(?:step|iter(?:ation)?|it|batch|update)s?"
            rb"['\"]?\s*[:=#\s]\s*\[?(\d+)(?![\w.]).*?loss['\"]?(?:/\w+)?\s*[:= ]\s*[-+\dni]",
            re.IGNORECASE,
        ),
        _named,
        sniffed=SNIFFED,
    ),
)
"""In the order in which they are asked; the last one takes any line with a step and a loss."""
