"""What is wrong with this text? A verdict with its evidence, for documents and for short windows.

Stages: one pass over character classes settles most clean text; what looks odd there is read more
closely. The first class that matches, in the order of `_QUESTIONS`, names the verdict. Web-quality
filters cannot do this: Gopher's rejects every clean Chinese and code document.
"""

import math
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from steadytrain.text.profile import Profile, nearest


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a text is.

    Attributes:
        verdict: "clean", "unusual" (odd, never called corrupt) or "corrupt".
        kind: of a corrupt text: blank, garbled, encoded, repetition, markup, wrong_domain.
        confidence: 0 to 1.
        offsets: [start, end) spans of characters where it shows.
        evidence: one sentence with the measured number.
        repair: the text as it probably was, where that can be told.
    """

    verdict: str
    kind: str | None = None
    confidence: float = 1.0
    offsets: tuple[tuple[int, int], ...] = ()
    evidence: str = ""
    repair: str | None = None


CLEAN = Verdict(verdict="clean")

BLANK_CHARS = 16
BLANK_SHARE = 0.02
"""Fewer visible characters than either: blank. Source: facts, text rules."""

REPLACED_SHARE = 0.05
"""Share of U+FFFD that is garbled; a cut character at an edge makes one."""

CONTROL_SHARE = 0.03
RARE_HAN_SHARE = 0.20
"""Share of Chinese characters outside the common set (GB2312 level 1, Big5 level 1). Clean text
has under 4 %; text read in the wrong encoding is soup of rare ones."""

REPEATED_SHARE = 0.55
PERIOD_LIMIT = 400
ENCODED_SHARE = 0.5
TAG_SHARE = 0.4
FOREIGN_HAN_SHARE = 0.5
WINDOW_HAN = 12

_LETTERS = re.compile(r"[A-Za-z]{2,}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{48,}={0,2}")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}[ :,]?){24,}")
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,300}>|<!--.*?-->", re.S)
_CP1252 = re.compile(
    "[\u00c2\u00c3][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc"
    "\u2013-\u203a\u20ac\u2122]|\u00e2[\u0080-\u009f\u20ac][\u0080-\u00bf\u0153\u0161\u02dc\u2122]"
    "|[\u00e4-\u00e9][\u0080-\u00bf\u2018-\u203a\u0152-\u0192\u20ac\u2122]{2}"
)
_MARKS = ("\u951f\u65a4\u62f7", "\u70eb\u70eb\u70eb", "\u5c6f\u5c6f\u5c6f")
"""What a decoder leaves of replaced or uninitialised bytes when they are read as GBK."""


def lint(
    text: str, *, domain: str | None = None, profiles: Mapping[str, Profile] | None = None
) -> Verdict:
    """Say what is wrong with a text.

    Args:
        domain: what it should be; the part before "/" decides which script is expected.
        profiles: of the run's own domains, for `wrong_domain` beyond the script.
    """
    if not text:
        return _corrupt("blank", 1.0, ((0, 0),), "the text is empty")
    top = domain.split("/")[0] if domain else None
    for question in (_blank, _garbled, _encoded, _repeated):
        found = question(text)
        if found is not None:
            return found
    return _markup(text, top) or _wrong_script(text, top) or _unlike(text, domain, profiles)


def _blank(text: str) -> Verdict | None:
    visible = sum(map(len, text.split()))
    if len(text) < 8 or visible >= max(BLANK_CHARS, BLANK_SHARE * len(text)):
        return None
    newlines = text.count("\n")
    what = "newlines" if newlines >= 0.4 * (len(text) - visible) else "white space"
    return _corrupt(
        "blank", 0.99, ((0, len(text)),), f"{visible} of {len(text)} characters are visible: {what}"
    )


def _garbled(text: str) -> Verdict | None:
    if text.isascii():
        return _binary(text)
    inner = text.strip("\ufffd")
    replaced = inner.count("\ufffd")
    if replaced >= max(3, REPLACED_SHARE * len(text)):
        return _corrupt(
            "garbled",
            0.98,
            _spans(text, "\ufffd+"),
            f"{replaced} of {len(text)} characters could not be decoded (U+FFFD)",
        )
    for mark in _MARKS:
        count = text.count(mark)
        if count * len(mark) >= max(6, 0.05 * len(text)):
            return _corrupt(
                "garbled", 0.98, _spans(text, mark), f"{mark} stands there {count} times"
            )
    return _misread_latin(text) or _misread_cjk(text) or _rare_han(text) or _binary(text)


def _binary(text: str) -> Verdict | None:
    control = sum(1 for char in text if char < " " and char not in "\t\n\r\f") + sum(
        1 for char in text if "\x7f" <= char <= "\x9f"
    )
    if control < max(3, CONTROL_SHARE * len(text)):
        return None
    return _corrupt(
        "garbled",
        0.95,
        _spans(text, "[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]+"),
        f"{control} of {len(text)} characters are control characters",
    )


def _misread_latin(text: str) -> Verdict | None:
    """UTF-8 read as cp1252 or latin-1."""
    hits = _CP1252.findall(text)
    odd = sum(1 for char in text if char > "\x7f")
    if len(hits) < 2 or sum(map(len, hits)) < 0.5 * odd:
        return None
    return _corrupt(
        "garbled",
        0.95,
        tuple(match.span() for match in _CP1252.finditer(text)),
        f"{len(hits)} groups are UTF-8 read as cp1252",
        _redecode(text, ("cp1252", "latin-1")),
    )


def _misread_cjk(text: str) -> Verdict | None:
    """UTF-8 read as GBK, Big5 or Shift-JIS: it decodes back to far commoner characters."""
    han = [char for char in text if "\u4e00" <= char <= "\u9fff"]
    if len(han) < 4:
        return None
    for codec in ("gb18030", "big5", "shift_jis"):
        raw = text.encode(codec, "replace")
        again = raw.decode("utf-8", "ignore")
        gained = [char for char in again if "\u4e00" <= char <= "\u9fff"]
        kept = len(again.encode()) / max(1, len(raw))
        if len(gained) >= 4 and kept >= 0.6 and _common(gained) > _common(han) + 0.2:
            return _corrupt(
                "garbled",
                0.97,
                ((0, len(text)),),
                f"read back through {codec} it is text: {again[:24]!r}",
                again,
            )
    return None


def _rare_han(text: str) -> Verdict | None:
    han = [char for char in text if "\u3400" <= char <= "\u9fff"]
    other = sum(
        1 for char in text if char > "\x7f" and unicodedata.category(char) in ("Co", "Cn", "Cs")
    )
    if other >= max(3, CONTROL_SHARE * len(text)):
        return _corrupt(
            "garbled", 0.9, ((0, len(text)),), f"{other} characters are unassigned or private"
        )
    if len(han) < WINDOW_HAN or len(han) < 0.05 * len(text):
        return None
    rare = 1 - _common(han)
    if rare < RARE_HAN_SHARE:
        return None
    return _corrupt(
        "garbled", 0.9, ((0, len(text)),), f"{rare:.0%} of the Chinese characters are rare ones"
    )


def _common(han: list[str]) -> float:
    """Share of everyday characters, simplified or traditional, whichever is larger."""
    simplified = sum(1 for char in han if b"\xb0" <= char.encode("gb2312", "replace") < b"\xd8")
    traditional = sum(1 for char in han if b"\xa4" <= char.encode("big5", "replace") < b"\xc9")
    return max(simplified, traditional) / max(1, len(han))


def _redecode(text: str, codecs: tuple[str, ...]) -> str | None:
    for codec in codecs:
        try:
            return text.encode(codec).decode("utf-8")
        except UnicodeError:
            continue
    return None


def _encoded(text: str) -> Verdict | None:
    for name, pattern in (("base64", _BASE64), ("hex", _HEX)):
        spans = [
            match.span()
            for match in pattern.finditer(text)
            if name == "hex" or _looks_random(match.group())
        ]
        covered = sum(end - start for start, end in spans)
        if covered >= max(48, ENCODED_SHARE * len(text)):
            return _corrupt(
                "encoded", 0.9, tuple(spans), f"{covered} of {len(text)} characters are {name}"
            )
    return None


def _looks_random(run: str) -> bool:
    kinds = sum(any(test(char) for char in run) for test in (str.islower, str.isupper, str.isdigit))
    counts = Counter(run)
    bits = -sum(n / len(run) * math.log2(n / len(run)) for n in counts.values())
    return kinds == 3 and bits > 4.0


def _repeated(text: str) -> Verdict | None:
    body = text.strip()
    if len(body) < 64 or len(set(body)) > len(body) * 0.45:
        return None
    raw = body.encode()
    if len(zlib.compress(raw, 6)) > 0.45 * len(raw) + 20:
        return None
    run = max((len(match.group()) for match in re.finditer(r"(\S)\1+", body)), default=0)
    if run >= max(200, 0.3 * len(body)):
        return _corrupt(
            "repetition", 0.95, ((0, len(text)),), f"one character {run} times in a row"
        )
    if not _LETTERS.search(body) and not re.search("[\u4e00-\u9fff]", body):
        return None  # rulers and tables of numbers repeat by nature
    for period in range(1, min(PERIOD_LIMIT, len(body) // 3) + 1):
        same = sum(map(str.__eq__, body, body[period:]))
        if same >= 0.9 * (len(body) - period):
            return _corrupt(
                "repetition",
                0.9,
                ((0, len(text)),),
                f"{same / (len(body) - period):.0%} repeats with a period of {period} characters",
            )
    return None


def _markup(text: str, top: str | None) -> Verdict | None:
    if top == "code" or len(text) < 200:
        return None
    spans = tuple(match.span() for match in _TAG.finditer(text))
    covered = sum(end - start for start, end in spans)
    if covered < TAG_SHARE * len(text) or len(spans) < 8:
        return None
    return _corrupt("markup", 0.85, spans, f"{covered / len(text):.0%} of the text is tags")


def _wrong_script(text: str, top: str | None) -> Verdict | None:
    if top not in ("en", "code", "zh"):
        return None
    visible = max(1, sum(map(len, text.split())))
    han = sum(1 for char in text if "\u4e00" <= char <= "\u9fff")
    if top != "zh":
        if han >= max(WINDOW_HAN, FOREIGN_HAN_SHARE * visible):
            return _corrupt(
                "wrong_domain",
                0.9,
                ((0, len(text)),),
                f"{han / visible:.0%} of a text of {top} is Chinese characters",
            )
        return None
    if han == 0 and len(text) >= 1000 and text.isascii():
        return _corrupt(
            "wrong_domain",
            0.8,
            ((0, len(text)),),
            f"no Chinese character in {len(text)} characters",
        )
    return None


def _unlike(text: str, domain: str | None, profiles: Mapping[str, Profile] | None) -> Verdict:
    if not profiles or domain is None or domain not in profiles or len(text.encode()) < 400:
        return CLEAN
    name, _ = nearest(text, profiles)
    lead = profiles[domain].surprise(text) - profiles[name].surprise(text)
    if name != domain and lead >= 0.6:
        return _corrupt(
            "wrong_domain",
            0.7,
            ((0, len(text)),),
            f"it sounds like {name}, by {lead:.2f} bits per byte",
        )
    return CLEAN


def _corrupt(
    kind: str,
    confidence: float,
    offsets: tuple[tuple[int, int], ...],
    evidence: str,
    repair: str | None = None,
) -> Verdict:
    return Verdict(
        verdict="corrupt",
        kind=kind,
        confidence=confidence,
        offsets=offsets,
        evidence=evidence,
        repair=repair,
    )


def _spans(text: str, pattern: str) -> tuple[tuple[int, int], ...]:
    return tuple(match.span() for match in re.finditer(pattern, text))
