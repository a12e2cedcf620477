"""Text that was decoded wrongly, or was no text: what is left of it, and what it was."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from steadytrain.text import misread
from steadytrain.text.characters import (
    CONTROL,
    CYRILLIC,
    HALF_KANA,
    HAN,
    HANGUL,
    KANA,
    LATIN,
    NOTHING,
    OTHER_LETTER,
    RARE_HAN,
    REPLACED,
    SYMBOL,
    count,
    kinds_of,
    points_of,
)
from steadytrain.text.verdict import Verdict, corrupt

REPLACED_SHARE = 0.01
"""Share of U+FFFD that is garbled, from three on; a cut character at an edge makes one."""

CONTROL_SHARE = 0.01
NOTHING_SHARE = 0.02
RARE_HAN_SHARE = 0.20
"""Share of the ideographs outside the everyday set. Clean Chinese has under 4 %; text read in the
wrong encoding is soup of rare ones."""

DISTINCT = 6
WINDOW_HAN = 12
MARK_SHARE = 0.06
PART_CONTROLS = 12
"""Control characters in a piece; scripts for editors and terminals hold a few."""

DAMAGED_SHARE = 0.1
DAMAGED_RUN = 300
"""A part of a document counts when it is so large a share of it, or so many characters long."""

PART = 256
SMALL_PART = 96
"""Characters of the pieces in which damage is looked for, in long and in short documents."""


_MARKS = re.compile("\u951f\u65a4\u62f7|\u70eb{3,}|\u5c6f{3,}|\u951f\u65a4|\u65a4\u62f7")
"""What a decoder leaves of replaced or uninitialised bytes when they are read as GBK."""

CUTS = 3
_BESIDE = "[^\x00-\x7f\\s\ufffd\u201c\u201d\u2018\u2019\u300a-\u300f\uff08\uff09]"
_CUT = re.compile(f"(?<={_BESIDE})(\ufffd{{1,4}})(?={_BESIDE})")
"""U+FFFD within a word or a sentence, not quoted by a text about it."""


QUESTION_SHARE = 0.15
"""Share of the visible characters that are question marks in rows of three or more."""

QUESTIONS = 24


_MARK_STARTS = ("\u951f\u65a4", "\u65a4\u62f7", "\u70eb\u70eb\u70eb", "\u5c6f\u5c6f\u5c6f")

_ODD_KINDS = np.array(
    [REPLACED, CONTROL, NOTHING, HALF_KANA, RARE_HAN, LATIN, SYMBOL, CYRILLIC, OTHER_LETTER, HANGUL]
)


class Limits(NamedTuple):
    """Garbled from here on: shares of U+FFFD and of rare ideographs, control characters."""

    replaced: float = REPLACED_SHARE
    rare_han: float = RARE_HAN_SHARE
    controls: int = 3


DEFAULTS = Limits()


def find(text: str, raw: bytes, limits: Limits = DEFAULTS) -> Verdict | None:
    """What is garbled in a text; None for a text that is not."""
    if text.isascii():
        control = len(raw) - len(raw.translate(None, _ASCII_CONTROLS))
        return _controls_in_ascii(text, control) if control else _question_marks(text)
    points = points_of(text)
    kinds = kinds_of(points)
    numbers = count(kinds)
    if not _is_suspicious(numbers, len(text)) and not misread.has_traces(text):
        return misread.korean_as_gbk(text, numbers)
    found = _whole(text, kinds, numbers, limits) or misread.korean_as_gbk(text, numbers)
    return found or (_parts(text, kinds, numbers, limits) if len(text) >= 4 * SMALL_PART else None)


def _is_suspicious(numbers: NDArray[np.int64], size: int) -> bool:
    """Whether anything is there that a closer look could call garbled."""
    ideographs = numbers[HAN] + numbers[RARE_HAN]
    odd = numbers[LATIN] + numbers[SYMBOL] + numbers[CYRILLIC] + numbers[OTHER_LETTER]
    return bool(
        numbers[REPLACED] >= 3
        or numbers[CONTROL] >= 2
        or numbers[NOTHING] >= 2
        or numbers[HALF_KANA] >= 4
        or numbers[RARE_HAN] >= max(3, 0.05 * ideographs)
        or odd >= max(4, 0.004 * size)
        or (numbers[HANGUL] and ideographs >= 4)
        or numbers[CYRILLIC] >= misread.LONG_WORDS
    )


def _whole(
    text: str, kinds: NDArray[np.uint8], numbers: NDArray[np.int64], limits: Limits
) -> Verdict | None:
    return (
        _replaced(text, numbers, limits.replaced)
        or _cut(text, numbers)
        or _marks(text)
        or _controls(text, numbers, limits.controls)
        or misread.utf8(text, numbers)
        or misread.legacy_as_latin(text, numbers)
        or _nothing(text, kinds, numbers)
        or _rare_han(text, numbers, limits.rare_han)
        or misread.wrong_cyrillic(text, numbers)
    )


def _parts(
    text: str, kinds: NDArray[np.uint8], all_numbers: NDArray[np.int64], limits: Limits
) -> Verdict | None:
    """Damage in a part of a long text, with its place."""
    found: list[tuple[int, int, Verdict]] = []
    limits = limits._replace(controls=PART_CONTROLS)
    size = PART if len(text) > 4 * PART else SMALL_PART
    for first in range(0, len(text), size):
        piece, part = text[first : first + size], kinds[first : first + size]
        numbers = count(part)
        if len(piece) < 64 or not _stands_out(numbers, all_numbers, len(piece) / len(text)):
            continue
        seen = _whole(piece, part, numbers, limits)
        if seen is not None:
            found.append((first, first + len(piece), seen))
    damaged = sum(stop - first for first, stop, _ in found)
    longest = max((stop - first for first, stop in _joined(found)), default=0)
    if damaged < DAMAGED_SHARE * len(text) and longest < max(DAMAGED_RUN, 3 * size):
        return None
    if damaged < 0.05 * len(text) and longest < 8 * PART:
        return None
    worst = found[0][2]
    return corrupt(
        "garbled", min(0.95, worst.confidence), tuple(_joined(found)),
        f"{damaged / len(text):.0%} of the text is garbled; there, {worst.evidence}", None,
    )  # fmt: skip


def _stands_out(numbers: NDArray[np.int64], all_numbers: NDArray[np.int64], share: float) -> bool:
    """Whether a piece has more of an odd kind of characters than the text as a whole."""
    return bool((numbers[_ODD_KINDS] >= np.maximum(3, 1.4 * share * all_numbers[_ODD_KINDS])).any())


def _joined(found: list[tuple[int, int, Verdict]]) -> Iterator[tuple[int, int]]:
    begin = end = -1
    for first, stop, _ in found:
        if first != end:
            if end > begin:
                yield begin, end
            begin = first
        end = stop
    if end > begin:
        yield begin, end


def _replaced(text: str, numbers: NDArray[np.int64], limit: float) -> Verdict | None:
    # A character cut at an edge leaves one or a few there.
    inner = text[4:-4].count("\ufffd") if numbers[REPLACED] else 0
    if inner < max(3, limit * len(text)):
        return None
    return corrupt(
        "garbled", 0.98, _spans(text, "\ufffd+"),
        f"{inner} of {len(text)} characters could not be decoded (U+FFFD)",
    )  # fmt: skip


def _cut(text: str, numbers: NDArray[np.int64]) -> Verdict | None:
    """Characters cut where bytes were decoded in chunks."""
    if numbers[REPLACED] < CUTS:
        return None
    spans = tuple(match.span(1) for match in _CUT.finditer(text))
    if len(spans) < CUTS:
        return None
    return corrupt(
        "garbled", 0.8, spans, f"{len(spans)} characters were cut in the middle of words (U+FFFD)"
    )


def _marks(text: str) -> Verdict | None:
    if not any(mark in text for mark in _MARK_STARTS):
        return None
    spans = tuple(match.span() for match in _MARKS.finditer(text))
    covered = sum(stop - first for first, stop in spans)
    odd = len(text) - len(text.encode("ascii", "ignore"))
    # A page about garbled text shows some; where it happened, hardly anything else is left.
    if covered < max(6, MARK_SHARE * len(text)) and covered < max(9, 0.6 * odd):
        return None
    return corrupt(
        "garbled", 0.98, spans,
        f"{len(spans)} places hold what is left of bytes that were no text, read as GBK",
    )  # fmt: skip


def _controls(text: str, numbers: NDArray[np.int64], least: int) -> Verdict | None:
    if numbers[CONTROL] < max(least, CONTROL_SHARE * len(text)):
        return None
    return corrupt(
        "garbled", 0.95, _spans(text, "[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]+"),
        f"{numbers[CONTROL]} of {len(text)} characters are control characters", misread.again(text),
    )  # fmt: skip


def _controls_in_ascii(text: str, control: int) -> Verdict | None:
    """ASCII with control characters."""
    if control < max(3, CONTROL_SHARE * len(text)):
        return None
    return corrupt(
        "garbled", 0.95, _spans(text, "[\x00-\x08\x0b\x0e-\x1f\x7f]+"),
        f"{control} of {len(text)} characters are control characters",
    )  # fmt: skip


def shares(text: str) -> tuple[float, float]:
    """Share of U+FFFD and of rare ideographs, as they are compared with their limits."""
    if text.isascii():
        return 0.0, 0.0
    numbers = count(kinds_of(points_of(text)))
    ideographs = int(numbers[HAN] + numbers[RARE_HAN])
    rare = int(numbers[RARE_HAN]) / ideographs if ideographs >= WINDOW_HAN else 0.0
    return text[4:-4].count("\ufffd") / len(text), rare


def noise(text: str, raw: bytes) -> Verdict | None:
    """Printable ASCII without words: random bytes that happened to decode."""
    if not text.isascii():
        return None
    sample = raw[:4000]
    symbols = len(sample.translate(None, _ALPHANUMERIC))
    if len(text) < 64 or symbols < 0.25 * len(sample):
        return None
    letters = sum(map(len, _WORDS.findall(text[:4000])))
    spaces, lines = sample.count(b" "), sample.count(b"\n")
    if letters > 0.3 * len(sample) or spaces > 0.04 * len(sample) or lines > 0.01 * len(sample):
        return None
    if len(set(sample)) < 0.6 * min(95, len(sample)):
        return None
    return corrupt(
        "garbled", 0.8, ((0, len(text)),),
        f"{symbols / len(sample):.0%} of the text are symbols, {letters / len(sample):.0%} words",
    )  # fmt: skip


def _nothing(text: str, kinds: NDArray[np.uint8], numbers: NDArray[np.int64]) -> Verdict | None:
    if numbers[NOTHING] < max(5, NOTHING_SHARE * len(text)):
        return None
    first, last = np.flatnonzero(kinds == NOTHING)[[0, -1]]
    return corrupt(
        "garbled", 0.9, ((int(first), int(last) + 1),),
        f"{numbers[NOTHING]} characters are unassigned or private",
    )  # fmt: skip


def _rare_han(text: str, numbers: NDArray[np.int64], limit: float) -> Verdict | None:
    ideographs = int(numbers[HAN] + numbers[RARE_HAN])
    # Japanese writes ideographs of its own among its kana, Korean old texts among Hangul.
    native = int(numbers[KANA] + numbers[HANGUL])
    if ideographs < WINDOW_HAN or ideographs < 0.05 * len(text) or native > 0.1 * ideographs:
        return None
    rare = int(numbers[RARE_HAN]) / ideographs
    if rare < limit:
        return None
    points = points_of(text)
    if len(set(points[kinds_of(points) == RARE_HAN].tolist())) < min(DISTINCT, 0.2 * ideographs):
        return None  # a name, a variant: the same few again and again
    return corrupt(
        "garbled", 0.9, ((0, len(text)),), f"{rare:.0%} of the Chinese characters are rare ones"
    )


def _question_marks(text: str) -> Verdict | None:
    """What is left where characters did not fit into an encoding."""
    if text.count("???") < QUESTIONS // 6:
        return None
    spans = tuple(match.span() for match in _QUESTIONS.finditer(text))
    covered = sum(stop - first for first, stop in spans)
    if covered < max(QUESTIONS, QUESTION_SHARE * len(_SPACES.sub("", text))):
        return None
    return corrupt(
        "garbled", 0.9, spans,
        f"{covered} of {len(text)} characters became question marks",
    )  # fmt: skip


def _spans(text: str, pattern: str) -> tuple[tuple[int, int], ...]:
    return tuple(match.span() for match in re.finditer(pattern, text))


_QUESTIONS = re.compile(r"\?{3,}")
_SPACES = re.compile(r"\s+")
_WORDS = re.compile(r"[A-Za-z]{3,}")
_ASCII_CONTROLS = bytes((*range(9), 11, *range(14, 32), 127))
_ALPHANUMERIC = bytes(point for point in range(128) if chr(point).isalnum() or point in b" \t\r\n")
