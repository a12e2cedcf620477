"""Text that repeats itself: exactly, with small changes, or after a long while."""

import re
import zlib

import numpy as np
from numpy.typing import NDArray

from steadytrain.text.verdict import Verdict, corrupt

COMPRESSED = 0.3
"""Compressed to a larger share than this, a text does not repeat itself as a whole. Clean
tables and lockfiles are above 0.1; what repeats a paragraph ten times is below."""

SHORT = 0.55
"""The same for texts of a few hundred bytes, which never compress well."""

EXACT = 0.9
REPEATED_SHARE = 0.85
GRAM = 24
SAMPLE = 12_000
RUN = 200

_LETTERS = re.compile("[A-Za-z]{2,}|[\u0400-\u04ff\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]")
_DIGITS = str.maketrans("123456789", "000000000")
_STAMP = re.compile(r"\W{0,3}\d{2,4}[-:/.]\d\d[-:/.]\d\d")
_RUN = re.compile(r"(\S)\1{63,}")


def find(text: str, raw: bytes) -> Verdict | None:
    """How a text repeats itself; None for a text that does not."""
    body = text.strip()
    if len(raw) < 64:
        return None
    share = len(zlib.compress(raw, 1)) / len(raw)
    if share > (COMPRESSED if len(raw) > 2000 else SHORT):
        return _run(text, body) if _has_ruler(raw) else None
    found = _run(text, body)
    if found is not None:
        return found
    if not _LETTERS.search(body) or _is_table(body):
        return None  # rulers, tables and columns of numbers repeat by nature
    sample = np.frombuffer(body.translate(_DIGITS)[:SAMPLE].encode("utf-32-le", "replace"), "<u4")
    repeated, period = _repeats(sample)
    if repeated >= 0.5 and period and len(sample) >= 2.5 * period:
        same = float((sample[period:] == sample[:-period]).mean())
        if same >= EXACT:
            return corrupt(
                "repetition", 0.95, ((0, len(text)),),
                f"{same:.0%} repeats with a period of {period} characters",
            )  # fmt: skip
    if repeated < REPEATED_SHARE or _is_record(body):
        return None
    return corrupt(
        "repetition", 0.9, ((0, len(text)),),
        f"{repeated:.0%} of the text stands earlier in it already",
    )  # fmt: skip


def _run(text: str, body: str) -> Verdict | None:
    """One character in a row."""
    longest = max(_RUN.finditer(text), key=lambda one: one.end() - one.start(), default=None)
    if longest is None:
        return None
    size = longest.end() - longest.start()
    ruled = longest.group(1) in "-=_*#~.+"
    if size < max(RUN, 0.3 * len(body)) and size < 5 * RUN:
        return None
    if ruled and size < max(4 * RUN, 0.5 * len(body)):
        return None
    return corrupt("repetition", 0.95, (longest.span(),), f"one character {size} times in a row")


def _repeats(sample: NDArray[np.uint32]) -> tuple[float, int]:
    """Share of the grams that stood earlier, and their commonest distance from there."""
    marks = _marks(sample)
    order = np.argsort(marks, kind="stable")
    same = marks[order][1:] == marks[order][:-1]
    gaps = (order[1:] - order[:-1])[same]
    if not len(gaps):
        return 0.0, 0
    return len(gaps) / len(marks), int(np.bincount(gaps).argmax())


def _marks(sample: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """A hash of the GRAM characters from each place on."""
    size = min(GRAM, max(4, len(sample) // 8))
    total = np.zeros(len(sample) - size + 1, dtype=np.uint64)
    for at in range(size):
        total = total * np.uint64(1_000_003) + sample[at : at + len(total)].astype(np.uint64)
    return total


def _is_table(body: str) -> bool:
    """Rows of one form with different cells."""
    lines = [line for line in body.splitlines() if line.strip()]
    if len(lines) < 4 or len(set(lines)) < 0.7 * len(lines):
        return False
    return sum(map(_is_row, lines)) >= 0.6 * len(lines)


def _is_record(body: str) -> bool:
    """Lines of a log: each begins with its own time or number, and no two are equal."""
    lines = [line for line in body.splitlines() if line.strip()]
    if len(lines) < 4 or len(set(lines)) < 0.9 * len(lines):
        return False
    return sum(bool(_STAMP.match(line)) for line in lines) >= 0.7 * len(lines)


def _is_row(line: str) -> bool:
    if line.count("|") >= 2 or line.count("\t") >= 2:
        return True
    return line.count(",") >= 3 and sum(map(str.isdigit, line)) >= 0.25 * len(line)


def _has_ruler(raw: bytes) -> bool:
    """Whether one visible byte makes up so much that it may stand in a row."""
    counts = np.bincount(np.frombuffer(raw, np.uint8), minlength=256)
    counts[[9, 10, 13, 32]] = 0
    most = int(counts.max())
    return most >= 5 * RUN or most >= 0.3 * len(raw)
