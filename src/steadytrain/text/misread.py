"""Text whose bytes were read in another encoding than they were written in, and the way back."""

import re

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
    RARE_HAN,
    REPLACED,
    SYMBOL,
    count,
    kinds_of,
    points_of,
)
from steadytrain.text.verdict import Verdict, corrupt

SAMPLE = 2048
"""Characters that are tried in each encoding."""

CODECS = (
    "cp1252", "latin-1", "gb18030", "big5", "shift_jis", "euc_kr", "cp1251", "koi8_r", "mac_roman",
    "cp437", "cp1250",
)  # fmt: skip
"""Encodings in which UTF-8 is read by mistake. Source: ftfy's list, and the Chinese, Japanese and
Korean ones that it leaves out."""
LEGACY = ("gb18030", "big5", "shift_jis", "euc_kr", "cp1251")
"""Encodings whose text is read as latin-1 or cp1252 by mistake."""
LONG_WORDS = 40
"""Ideographs, or Cyrillic letters, whose statistics tell how they were read."""
FREQUENT = "\u043e\u0435\u0430\u0438\u043d\u0442"
FREQUENT_SHARE = 0.3
"""Share of six letters in Russian is 0.45, in Bulgarian, Serbian and Ukrainian 0.4."""
CYRILLIC_CODECS = ("cp1251", "koi8_r", "cp866", "iso8859_5", "mac_cyrillic")
TRACES = 3
_TRACES = ("\u00e2\u20ac", "\u00e2\u0080", "\u00c3", "\u9225")
"""First characters of quotation marks and accented letters read as cp1252, latin-1 and GBK."""
_QUOTES_AS_GBK = re.compile("\u9225[\u4e00-\u9fff\ufffd]?")
_MISREAD = re.compile(
    "(?:[\u00c2\u00c3\u00c4\u00c5\u00d0\u00d1][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d"
    "\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]"
    "|\u00e2[\u0080-\u009f\u20ac][\u0080-\u00bf\u0153\u0161\u02dc\u2122\u0153\ufffd]?"
    "|[\u00e3-\u00ef][\u0080-\u00bf\u2013-\u203a\u0152-\u0192\u02c6\u02dc\u20ac\u2122]{2})"
)
_UPPER_CONTROLS = re.compile("[\x80-\x9f]")
_IDEOGRAPHS = re.compile("[\u4e00-\u9fff]+")
_RUSSIAN = re.compile("[\u0400-\u04ff]")


def has_traces(text: str) -> bool:
    """Whether what misread quotation marks and accents begin with stands there a few times."""
    return any(text.count(trace) >= TRACES for trace in _TRACES)


def utf8(text: str, numbers: NDArray[np.int64]) -> Verdict | None:
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
                f"{len(hits)} groups are UTF-8 read as cp1252 or latin-1", again(text),
            )  # fmt: skip
    if numbers[RARE_HAN] + numbers[HALF_KANA] + numbers[CYRILLIC] + numbers[SYMBOL] + numbers[
        LATIN
    ] + numbers[HANGUL] < max(4, 0.1 * odd):
        return None
    quotes = tuple(match.span() for match in _QUOTES_AS_GBK.finditer(text))
    if len(quotes) >= TRACES and 2 * len(quotes) >= 0.7 * odd:
        return corrupt(
            "garbled",
            0.9,
            quotes,
            f"{len(quotes)} quotation marks are UTF-8 read as GBK",
            again(text),
        )
    if odd < 0.03 * len(text):
        return None
    back = again(text)
    if back is None:
        return None
    return corrupt(
        "garbled", 0.97, ((0, len(text)),), f"read back it is text: {back.strip()[:24]!r}", back
    )


def again(text: str) -> str | None:
    """The text whose UTF-8 was read in one of CODECS; None if none fits."""
    sample = text[:SAMPLE]
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


def legacy_as_latin(text: str, numbers: NDArray[np.int64]) -> Verdict | None:
    """Chinese, Japanese, Korean or Cyrillic bytes read as latin-1 or cp1252."""
    odd = int(numbers[LATIN] + numbers[SYMBOL])
    visible = len(text) - len(re.findall(r"\s", text[:SAMPLE])) if len(text) < SAMPLE else None
    visible = visible or len(text)
    if odd < 8 or odd < 0.3 * visible:
        return None
    sample = text[:SAMPLE]
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


def korean_as_gbk(text: str, numbers: NDArray[np.int64]) -> Verdict | None:
    """Korean read as GBK: everyday ideographs, but only those of the first half of the table.

    Hangul lies at B0 to C8 in EUC-KR; ideographs of Chinese text lie there in GBK to 60 %.
    """
    han = int(numbers[HAN] + numbers[RARE_HAN])
    if han < LONG_WORDS or numbers[KANA] or numbers[HANGUL] > han:
        return None
    sample = "".join(_IDEOGRAPHS.findall(text[:600]))
    leads = np.frombuffer(sample.encode("gb2312", "ignore"), dtype=np.uint8)[::2]
    if (
        len(leads) < LONG_WORDS
        or len(set(sample)) < LONG_WORDS // 2
        or (leads <= 0xC8).mean() < 0.97
    ):
        return None
    again = text.encode("gb18030", "replace").decode("euc_kr", "replace")
    return corrupt(
        "garbled",
        0.9,
        ((0, len(text)),),
        f"read as EUC-KR it is Korean: {again.strip()[:24]!r}",
        again,
    )


def wrong_cyrillic(text: str, numbers: NDArray[np.int64]) -> Verdict | None:
    """Cyrillic read in another Cyrillic encoding: letters still, but not the frequent ones."""
    if numbers[CYRILLIC] < LONG_WORDS or (own := _frequent(text)) >= FREQUENT_SHARE:
        return None
    for codec in CYRILLIC_CODECS:
        raw = text.encode(codec, "ignore")
        for right in CYRILLIC_CODECS:
            again = raw.decode(right, "ignore")
            found = count(kinds_of(points_of(again)))
            if found[CYRILLIC] >= 0.9 * numbers[CYRILLIC] and _frequent(again) >= max(
                0.33, 1.4 * own
            ):
                return corrupt(
                    "garbled", 0.9, ((0, len(text)),),
                    f"it is {right} read as {codec}: {again.strip()[:24]!r}", again,
                )  # fmt: skip
    return None


def _frequent(text: str) -> float:
    letters = _RUSSIAN.findall(text[:2000].lower())
    return sum(letter in FREQUENT for letter in letters) / max(1, len(letters))


def _is_inside_word(text: str, at: int) -> bool:
    return at > 0 and text[at - 1].isalpha()
