"""Text that was decoded wrongly, or was no text: what is left of it, and what it was."""

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

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
DAMAGED_SHARE = 0.1
DAMAGED_RUN = 300
"""A part of a document counts when it is so large a share of it, or so many characters long."""

PART = 256
SMALL_PART = 96
"""Characters of the pieces in which damage is looked for, in long and in short documents."""

CODECS = (
    "cp1252", "latin-1", "gb18030", "big5", "shift_jis", "euc_kr", "cp1251", "koi8_r", "mac_roman",
    "cp437", "cp1250",
)  # fmt: skip
"""Encodings in which UTF-8 is read by mistake. Source: ftfy's list, and the Chinese, Japanese and
Korean ones that it leaves out."""

LEGACY = ("gb18030", "big5", "shift_jis", "euc_kr", "cp1251")
"""Encodings whose text is read as latin-1 or cp1252 by mistake."""

_MARKS = re.compile("\u951f\u65a4\u62f7|\u70eb{3,}|\u5c6f{3,}|\u951f\u65a4|\u65a4\u62f7")
"""What a decoder leaves of replaced or uninitialised bytes when they are read as GBK."""

CUTS = 3
_BESIDE = "[^\x00-\x7f\\s\ufffd\u201c\u201d\u2018\u2019\u300a-\u300f\uff08\uff09]"
_CUT = re.compile(f"(?<={_BESIDE})(\ufffd{{1,4}})(?={_BESIDE})")
"""U+FFFD within a word or a sentence, not quoted by a text about it."""


QUESTION_SHARE = 0.15
"""Share of the visible characters that are question marks in rows of three or more."""

QUESTIONS = 24
LONG_WORDS = 40
"""Ideographs, or Cyrillic letters, whose statistics tell how they were read."""

FREQUENT = "\u043e\u0435\u0430\u0438\u043d\u0442"
FREQUENT_SHARE = 0.3
"""Share of six letters in Russian is 0.45, in Bulgarian, Serbian and Ukrainian 0.4."""

CYRILLIC_CODECS = ("cp1251", "koi8_r", "cp866", "iso8859_5", "mac_cyrillic")

_MARK_STARTS = ("\u951f\u65a4", "\u65a4\u62f7", "\u70eb\u70eb\u70eb", "\u5c6f\u5c6f\u5c6f")
TRACES = 3
_TRACES = ("\u00e2\u20ac", "\u00e2\u0080", "\u00c3", "\u9225")
"""First characters of quotation marks and accented letters read as cp1252, latin-1 and GBK."""

_ODD_KINDS = np.array(
    [REPLACED, CONTROL, NOTHING, HALF_KANA, RARE_HAN, LATIN, SYMBOL, CYRILLIC, OTHER_LETTER, HANGUL]
)
_QUOTES_AS_GBK = re.compile("\u9225[\u4e00-\u9fff\ufffd]?")
_MISREAD = re.compile(
    "(?:[\u00c2\u00c3\u00c4\u00c5\u00d0\u00d1][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d"
    "\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]"
    "|\u00e2[\u0080-\u009f\u20ac][\u0080-\u00bf\u0153\u0161\u02dc\u2122\u0153\ufffd]?"
    "|[\u00e3-\u00ef][\u0080-\u00bf\u2013-\u203a\u0152-\u0192\u02c6\u02dc\u20ac\u2122]{2})"
)


def find(text: str, raw: bytes) -> Verdict | None:
    """What is garbled in a text; None for a text that is not."""
    if text.isascii():
        control = len(raw) - len(raw.translate(None, _ASCII_CONTROLS))
        return _controls_in_ascii(text, control) if control else _question_marks(text)
    points = points_of(text)
    kinds = kinds_of(points)
    numbers = count(kinds)
    if not _is_suspicious(numbers, len(text)) and not any(
        text.count(trace) >= TRACES for trace in _TRACES
    ):
        return _half_the_table(text, numbers)
    found = _whole(text, kinds, numbers) or _half_the_table(text, numbers)
    return found or (_parts(text, kinds, numbers) if len(text) >= 4 * SMALL_PART else None)


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
        or numbers[CYRILLIC] >= LONG_WORDS
    )


def _whole(text: str, kinds: NDArray[np.uint8], numbers: NDArray[np.int64]) -> Verdict | None:
    return (
        _replaced(text, numbers)
        or _cut(text, numbers)
        or _marks(text)
        or _controls(text, numbers)
        or _misread(text, numbers)
        or _read_as_latin(text, numbers)
        or _nothing(text, kinds, numbers)
        or _rare_han(text, numbers)
        or _wrong_cyrillic(text, numbers)
    )


def _parts(text: str, kinds: NDArray[np.uint8], all_numbers: NDArray[np.int64]) -> Verdict | None:
    """Damage in a part of a long text, with its place."""
    found: list[tuple[int, int, Verdict]] = []
    size = PART if len(text) > 4 * PART else SMALL_PART
    for first in range(0, len(text), size):
        piece, part = text[first : first + size], kinds[first : first + size]
        numbers = count(part)
        if len(piece) < 64 or not _stands_out(numbers, all_numbers, len(piece) / len(text)):
            continue
        seen = _whole(piece, part, numbers)
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


def _stands_out(
    numbers: NDArray[np.int64], all_numbers: NDArray[np.int64], share: float
) -> bool:
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


def _replaced(text: str, numbers: NDArray[np.int64]) -> Verdict | None:
    # A character cut at an edge leaves one or a few there.
    inner = text[4:-4].count("\ufffd") if numbers[REPLACED] else 0
    if inner < max(3, REPLACED_SHARE * len(text)):
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


def _controls(text: str, numbers: NDArray[np.int64]) -> Verdict | None:
    if numbers[CONTROL] < max(3, CONTROL_SHARE * len(text)):
        return None
    again = _again(text)
    return corrupt(
        "garbled", 0.95, _spans(text, "[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]+"),
        f"{numbers[CONTROL]} of {len(text)} characters are control characters", again,
    )  # fmt: skip


def _controls_in_ascii(text: str, control: int) -> Verdict | None:
    """ASCII with control characters."""
    if control < max(3, CONTROL_SHARE * len(text)):
        return None
    return corrupt(
        "garbled", 0.95, _spans(text, "[\x00-\x08\x0b\x0e-\x1f\x7f]+"),
        f"{control} of {len(text)} characters are control characters",
    )  # fmt: skip


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


def _misread(text: str, numbers: NDArray[np.int64]) -> Verdict | None:
    """UTF-8 read in another encoding: its bytes are valid UTF-8 once more."""
    hits = list(_MISREAD.finditer(text))
    inside = [match for match in hits if _is_inside_word(text, match.start())]
    covered = sum(match.end() - match.start() for match in hits)
    odd = len(text) - len(text.encode("ascii", "ignore"))
    beside = sum(match.end() < len(text) and text[match.end()].isalpha() for match in hits)
    few = len(hits) >= 3 and covered >= 0.8 * odd and 2 * (len(inside) + beside) >= len(hits)
    if few or (len(hits) >= 2 and covered >= 0.5 * odd and covered >= 0.01 * len(text)):
        is_dense = covered >= 0.2 * len(text)
        if is_dense or 2 * len(inside) >= len(hits):
            return corrupt(
                "garbled", 0.95, tuple(match.span() for match in hits),
                f"{len(hits)} groups are UTF-8 read as cp1252 or latin-1", _again(text),
            )  # fmt: skip
    if numbers[RARE_HAN] + numbers[HALF_KANA] + numbers[CYRILLIC] + numbers[SYMBOL] + numbers[
        LATIN
    ] + numbers[HANGUL] < max(4, 0.1 * odd):
        return None
    quotes = tuple(match.span() for match in _QUOTES_AS_GBK.finditer(text))
    if len(quotes) >= TRACES and 2 * len(quotes) >= 0.7 * odd:
        return corrupt(
            "garbled", 0.9, quotes, f"{len(quotes)} quotation marks are UTF-8 read as GBK", _again(text)
        )
    if odd < 0.03 * len(text):
        return None
    again = _again(text)
    if again is None:
        return None
    return corrupt(
        "garbled", 0.97, ((0, len(text)),), f"read back it is text: {again.strip()[:24]!r}", again
    )


def _again(text: str) -> str | None:
    """The text whose UTF-8 was read in one of CODECS; None if none fits."""
    sample = text[: 8 * PART]
    odd = len(sample) - len(sample.encode("ascii", "ignore"))
    if odd < 4:
        return None
    for codec in CODECS:
        lost = 0
        try:
            raw = sample.encode(codec)
        except UnicodeError:
            raw = sample.encode(codec, "ignore")
            lost = odd - (len(raw.decode(codec, "ignore")) - (len(sample) - odd))
        if lost > 0.2 * odd:
            continue
        again = raw.decode("utf-8", "replace")
        bad = again.count("\ufffd")
        gained = len(again) - len(again.encode("ascii", "ignore")) - bad
        # A byte is lost here and there in the wrong reading; real text falls apart.
        if gained >= 2 and bad <= 0.2 * gained and gained < 0.85 * odd and _is_plain(again):
            whole = text.encode(codec, "ignore").decode("utf-8", "replace")
            return whole.replace("\ufffd", "")
    return None


def _is_plain(text: str) -> bool:
    """Whether the characters are of kinds that text is made of."""
    numbers = count(kinds_of(points_of(text)))
    strange = numbers[RARE_HAN] + numbers[NOTHING] + numbers[CONTROL] + numbers[HALF_KANA]
    odd = len(text) - len(text.encode("ascii", "ignore"))
    return bool(strange <= 0.15 * max(1, odd))


def _read_as_latin(text: str, numbers: NDArray[np.int64]) -> Verdict | None:
    """Chinese, Japanese, Korean or Cyrillic bytes read as latin-1 or cp1252."""
    odd = int(numbers[LATIN] + numbers[SYMBOL])
    visible = len(text) - len(re.findall(r"\s", text[: 8 * PART])) if len(text) < 8 * PART else None
    visible = visible or len(text)
    if odd < 8 or odd < 0.3 * visible:
        return None
    sample = text[: 8 * PART]
    unfit = len(sample) - len(sample.encode("cp1252", "ignore"))
    if unfit - len(_UPPER_CONTROLS.findall(sample)) > 0.05 * odd:
        return None  # Vietnamese, Polish and others have Latin letters of their own
    for codec in LEGACY:
        again = sample.encode("cp1252", "ignore").decode(codec, "replace")
        found = count(kinds_of(points_of(again)))
        letters = found[HAN] + found[KANA] + found[HANGUL] + found[CYRILLIC]
        rest = found[RARE_HAN] + found[REPLACED] + found[NOTHING] + found[LATIN] + found[HALF_KANA]
        if letters >= 4 and letters >= 8 * rest:
            whole = text.encode("cp1252", "ignore").decode(codec, "replace")
            return corrupt(
                "garbled", 0.93, ((0, len(text)),),
                f"read as {codec} it is text: {again.strip()[:24]!r}", whole,
            )  # fmt: skip
    return None


def _nothing(text: str, kinds: NDArray[np.uint8], numbers: NDArray[np.int64]) -> Verdict | None:
    if numbers[NOTHING] < max(5, NOTHING_SHARE * len(text)):
        return None
    first, last = np.flatnonzero(kinds == NOTHING)[[0, -1]]
    return corrupt(
        "garbled", 0.9, ((int(first), int(last) + 1),),
        f"{numbers[NOTHING]} characters are unassigned or private",
    )  # fmt: skip


def _rare_han(text: str, numbers: NDArray[np.int64]) -> Verdict | None:
    ideographs = int(numbers[HAN] + numbers[RARE_HAN])
    # Japanese writes ideographs of its own among its kana, Korean old texts among Hangul.
    native = int(numbers[KANA] + numbers[HANGUL])
    if ideographs < WINDOW_HAN or ideographs < 0.05 * len(text) or native > 0.1 * ideographs:
        return None
    rare = int(numbers[RARE_HAN]) / ideographs
    if rare < RARE_HAN_SHARE:
        return None
    points = points_of(text)
    if len(set(points[kinds_of(points) == RARE_HAN].tolist())) < min(DISTINCT, 0.2 * ideographs):
        return None  # a name, a variant: the same few again and again
    return corrupt(
        "garbled", 0.9, ((0, len(text)),), f"{rare:.0%} of the Chinese characters are rare ones"
    )


def _half_the_table(text: str, numbers: NDArray[np.int64]) -> Verdict | None:
    """Korean read as GBK: everyday ideographs, but only those of the first half of the table.

    Hangul lies at B0 to C8 in EUC-KR; ideographs of Chinese text lie there in GBK to 60 %.
    """
    han = int(numbers[HAN] + numbers[RARE_HAN])
    if han < LONG_WORDS or numbers[KANA] or numbers[HANGUL] > han:
        return None
    sample = "".join(_IDEOGRAPHS.findall(text[:600]))
    leads = np.frombuffer(sample.encode("gb2312", "ignore"), dtype=np.uint8)[::2]
    if len(leads) < LONG_WORDS or len(set(sample)) < LONG_WORDS // 2 or (leads <= 0xC8).mean() < 0.97:
        return None
    again = text.encode("gb18030", "replace").decode("euc_kr", "replace")
    return corrupt(
        "garbled", 0.9, ((0, len(text)),), f"read as EUC-KR it is Korean: {again.strip()[:24]!r}", again
    )


def _wrong_cyrillic(text: str, numbers: NDArray[np.int64]) -> Verdict | None:
    """Cyrillic read in another Cyrillic encoding: letters still, but not the frequent ones."""
    if numbers[CYRILLIC] < LONG_WORDS or (own := _frequent(text)) >= FREQUENT_SHARE:
        return None
    for codec in CYRILLIC_CODECS:
        raw = text.encode(codec, "ignore")
        for right in CYRILLIC_CODECS:
            again = raw.decode(right, "ignore")
            found = count(kinds_of(points_of(again)))
            if found[CYRILLIC] >= 0.9 * numbers[CYRILLIC] and _frequent(again) >= max(0.33, 1.4 * own):
                return corrupt(
                    "garbled", 0.9, ((0, len(text)),),
                    f"it is {right} read as {codec}: {again.strip()[:24]!r}", again,
                )  # fmt: skip
    return None


def _frequent(text: str) -> float:
    letters = _RUSSIAN.findall(text[:2000].lower())
    return sum(letter in FREQUENT for letter in letters) / max(1, len(letters))


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


def _is_inside_word(text: str, at: int) -> bool:
    return at > 0 and text[at - 1].isalpha()


def _spans(text: str, pattern: str) -> tuple[tuple[int, int], ...]:
    return tuple(match.span() for match in re.finditer(pattern, text))


_UPPER_CONTROLS = re.compile("[\x80-\x9f]")
_IDEOGRAPHS = re.compile("[\u4e00-\u9fff]+")
_RUSSIAN = re.compile("[\u0400-\u04ff]")
_QUESTIONS = re.compile(r"\?{3,}")
_SPACES = re.compile(r"\s+")
_WORDS = re.compile(r"[A-Za-z]{3,}")
_ASCII_CONTROLS = bytes((*range(9), 11, *range(14, 32), 127))
_ALPHANUMERIC = bytes(point for point in range(128) if chr(point).isalnum() or point in b" \t\r\n")
