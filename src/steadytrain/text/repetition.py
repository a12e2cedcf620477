"""Text that repeats itself: exactly, with small changes, or after a long while."""

import re

import numpy as np
from numpy.typing import NDArray

from steadytrain.text.verdict import Verdict, corrupt

REPEATED_SHARE = 0.85
"""Share of the grams that stood earlier. Clean lockfiles and tables reach 0.8 (docs/lint.md)."""

EXACT = 0.9
"""Share of the characters equal to those one period before."""

MAYBE = 0.25
"""Share of repeated grams from which a closer look is worth its time: copies with one character in
sixty changed have 0.38 at the tenth percentile, clean code has 0.31 at the ninetieth."""

GRAM = 24
"""Characters of a gram in the closer look; 32 bytes in the first."""

KEPT = 8
"""One gram of so many, chosen by its hash, is looked at in texts above 4 kB."""

SAMPLE = 12_000
RUN = 200
COPIES = 6
"""A part of a text repeats itself when it holds so many copies, and PART_SIZE characters."""

PART_SIZE = 400
PART_SHARE = 0.25

_LETTERS = re.compile("[A-Za-z]{2,}|[\u0400-\u04ff\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]")
_DIGITS = str.maketrans("123456789", "000000000")
_PLACE_BITS = np.uint64(20)
_BYTE_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_STAMP = re.compile(r"\W{0,3}\d{2,4}[-:/.]\d\d[-:/.]\d\d")
_RUN = re.compile(r"(\S)\1{63,}")


def find(text: str, raw: bytes, limit: float = REPEATED_SHARE) -> Verdict | None:
    """How a text repeats itself; None for a text that does not.

    Args:
        limit: share of repeated grams that is too much.
    """
    if len(raw) < 64 or repeated_share(raw) < MAYBE:
        return None
    body = text.strip()
    found = _run(text, body)
    if found is not None:
        return found
    if not _LETTERS.search(body):
        return None  # rulers and columns of numbers repeat by nature
    if _is_table(body):
        return None
    sample = _sample(body)
    repeated, period = _repeats(sample)
    if repeated >= 0.3 and period and len(sample) >= 2 * period:
        same = float((sample[period:] == sample[:-period]).mean())
        if same >= EXACT and (len(sample) >= 2.5 * period or same >= 0.98):
            return corrupt(
                "repetition", 0.95, ((0, len(text)),),
                f"{same:.0%} repeats with a period of {period} characters",
            )  # fmt: skip
    if repeated >= limit and not _is_record(body):
        return corrupt(
            "repetition", 0.9, ((0, len(text)),),
            f"{repeated:.0%} of the text stands earlier in it already",
        )  # fmt: skip
    if len(body) > SAMPLE:
        _, period = _repeats(
            np.frombuffer(body[: 5 * SAMPLE].encode("utf-32-le", "replace"), "<u4")
        )
    return _part(text, period)


def share(text: str) -> float:
    """Share of the grams that stood earlier, as `find` compares it with its limit."""
    body = text.strip()
    raw = body.encode("utf-8", "replace")
    if len(raw) < 64 or repeated_share(raw) < MAYBE or not _LETTERS.search(body):
        return 0.0
    if _is_table(body) or _is_record(body):
        return 0.0
    return _repeats(_sample(body))[0]


def repeated_share(raw: bytes) -> float:
    """Share of the 32-byte grams that stood earlier in the text; digits count as equal."""
    points = np.frombuffer(raw.translate(_BYTE_DIGITS), dtype=np.uint8)
    steps = 8 if len(points) >= 256 else 4 if len(points) >= 96 else 2
    last = len(points) - 4 * steps + 1
    if last < 2:
        return 0.0
    places = None
    if last > 1024:
        # Three bytes choose the place: the same in every copy. Modulo 256 by design.
        chosen = points[:-2] * np.uint8(31) + points[1:-1] * np.uint8(151) ^ points[2:] * np.uint8(
            59
        )
        places = np.flatnonzero(chosen[:last] < 256 // KEPT)
    if places is None or len(places) < last // (4 * KEPT):
        places = np.arange(last)  # a short period may have no place that is chosen
    grams = np.ndarray((len(points) - 3,), "<u4", points, strides=(1,))
    marks = grams[places] * np.uint32(0x9E3779B1)
    for step in range(1, steps):
        marks = (marks ^ (marks >> np.uint32(15))) * np.uint32(0x85EBCA6B) + grams[
            places + 4 * step
        ]
    marks.sort()
    return float(np.count_nonzero(marks[1:] == marks[:-1])) / len(marks)


def _run(text: str, body: str) -> Verdict | None:
    """One character in a row."""
    longest = max(_RUN.finditer(text), key=lambda one: one.end() - one.start(), default=None)
    if longest is None:
        return None
    size = longest.end() - longest.start()
    ruled = longest.group(1) in "-=_*#~.+"
    if size < max(RUN, 0.3 * len(body)) and size < 5 * RUN:
        return None
    if ruled and size < max(4 * RUN, 0.5 * len(body)) and size < max(RUN, 0.95 * len(body)):
        return None
    return corrupt("repetition", 0.95, (longest.span(),), f"one character {size} times in a row")


def _part(text: str, period: int) -> Verdict | None:
    """A part of a text that is copies of one line or paragraph, with its place."""
    if len(text) < PART_SIZE or not 8 <= period <= len(text) // COPIES:
        return None
    points = np.frombuffer(text.encode("utf-32-le", "replace"), "<u4")
    different = np.flatnonzero(points[period:] != points[:-period])
    edges = np.concatenate(([-1], different, [len(points) - period]))
    widest = int(np.diff(edges).argmax())
    first, stop = int(edges[widest]) + 1, int(edges[widest + 1]) + period
    size = stop - first
    if size < max(PART_SIZE, COPIES * period, PART_SHARE * len(text)):
        return None
    if not _LETTERS.search(text[first : first + period]):
        return None
    return corrupt(
        "repetition", 0.9, ((first, stop),),
        f"{size // period} copies of the same {period} characters in a row",
    )  # fmt: skip


def _sample(body: str) -> NDArray[np.uint32]:
    text = body[:SAMPLE].translate(_DIGITS)
    return np.frombuffer(text.encode("utf-32-le", "replace"), dtype=np.uint32)


def _repeats(sample: NDArray[np.uint32]) -> tuple[float, int]:
    """Share of the grams that stood earlier, and their commonest distance from there."""
    marks = _marks(sample)
    # The place in the low bits: one sort puts equal grams beside each other, in their order.
    keys = np.sort(marks << _PLACE_BITS | np.arange(len(marks), dtype=np.uint64))
    same = keys[1:] >> _PLACE_BITS == keys[:-1] >> _PLACE_BITS
    gaps = ((keys[1:] - keys[:-1])[same]).astype(np.int64)
    if not len(gaps):
        return 0.0, 0
    return len(gaps) / len(marks), int(np.bincount(gaps).argmax())


def _marks(sample: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """A hash of the GRAM characters from each place on."""
    size = min(GRAM, max(4, len(sample) // 8))
    total = sample.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    width = 1
    while width < size:
        step = min(width, size - width)  # the last step overlaps
        total = (total[:-step] ^ (total[:-step] >> np.uint64(29))) * np.uint64(1_000_003) + total[
            step:
        ]
        width += step
    return total


def _is_table(body: str) -> bool:
    """Rows of one form with different cells."""
    lines = [line for line in body.splitlines() if line.strip()]
    if len(lines) < 4 or len(set(lines)) < 0.7 * len(lines):
        return False
    forms = {line.translate(_DIGITS) for line in lines}
    if len(forms) >= 0.7 * len(lines):
        return sum(line.count("|") >= 2 or line.count("\t") >= 2 for line in lines) >= 0.6 * len(
            lines
        )
    return sum(map(_is_row, lines)) >= 0.6 * len(lines)


def _is_record(body: str) -> bool:
    """Lines of a log: each begins with its own time or number, and no two are equal."""
    lines = [line for line in body.splitlines() if line.strip()]
    if len(lines) < 4 or len(set(lines)) < 0.9 * len(lines):
        return False
    return sum(bool(_STAMP.match(line)) for line in lines) >= 0.7 * len(lines)


def _is_row(line: str) -> bool:
    if max(line.count("|"), line.count("\t")) < 2 and line.count(",") < 3:
        return False
    return sum(map(str.isdigit, line)) >= 0.2 * len(line)
