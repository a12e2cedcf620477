"""Bytes written as letters: base64, hex, uuencode, escapes."""

import math
import re
from collections import Counter
from collections.abc import Iterator

from steadytrain.text.verdict import Verdict, corrupt, unusual

Spans = list[tuple[int, int]]

ENCODED_SHARE = 0.5
"""Share of the text. Lockfiles reach 0.45 with their checksums."""

LONG = 2000
"""Characters in a row that are encoded, from which a part of a text counts; an inlined picture or
key is shorter in most documents."""

HINTED = 0.18
"""Share of capitals and digits among the visible characters below which nothing is looked for; half
a text of base64 has 0.28, of hex 0.31."""

_CAPITALS_AND_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_HEXISH = b"0123456789abcdefABCDEFxX,:; \t\r\n\\"
"""A text that is hex to a fifth and English for the rest has 0.54 of these characters."""

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{40,}={0,2}(?:\s+[A-Za-z0-9+/]{20,}={0,2})*")
_HEX = re.compile(r"(?:(?:0x|\\x)?[0-9a-fA-F]{2}[ ,:;]{0,2}\s?){20,}|(?:[0-9a-fA-F]{8,}[ :]+){4,}")
_UU = re.compile(r"(?:^M[\x20-\x60]{60}$\n?){3,}", re.M)
_BASE32 = re.compile(r"[A-Z2-7]{40,}={0,6}(?:\s+[A-Z2-7]{20,}={0,6})*")
_BASE85 = re.compile(r"[0-9A-Za-z!#$%&()*+;<=>?@^_`{|}~-]{100,}")
_ASCII85 = re.compile(r"[!-u]{60,}(?:\n[!-u]{1,200})*")
_DUMP = re.compile(
    r"(?:^[0-9A-Fa-f]{4,16}:?[ \t]+(?:[0-9A-Fa-f]{2,8}[ \t]+){4,16}(?:[^\n]{0,20})$\n?){3,}", re.M
)
_ESCAPES = (
    ("\\", re.compile(r"(?:\\[0-3][0-7]{2}[^\\\n]{0,6}\n?){6,}"), "octal escapes"),
    ("\\u", re.compile(r"(?:\\u[0-9a-fA-F]{4}[^\\\n]{0,8}\n?){6,}"), "Unicode escapes"),
    ("%", re.compile(r"(?:%[0-9A-Fa-f]{2}[A-Za-z0-9._~/-]{0,3}){6,}"), "percent escapes"),
    ("=", re.compile(r"(?:=[0-9A-F]{2}){6,}(?:=?\s*(?:=[0-9A-F]{2})+)*"), "quoted-printable"),
    ("&#", re.compile(r"(?:&#x?[0-9a-fA-F]{2,6};\s?){6,}"), "character references"),
)
_CALL = re.compile(r"[a-z]{5,}\(|function|return|\)\{")
_CHECKSUM = re.compile(
    r"(?:sha\d+|md5|integrity|digest|hash|checksum|rev|commit)[\W_\d]{0,8}$", re.I
)


def find(text: str, raw: bytes, limit: float = ENCODED_SHARE) -> Verdict | None:
    """What is encoded in a text; None for a text that is not.

    Args:
        limit: share of encoded characters that is too much.
    """
    for name, spans in _encodings(text, raw):
        found = _judge(text, spans, name, limit)
        if found is not None:
            return found
    return None


def share(text: str, raw: bytes) -> float:
    """Largest share of the text that is encoded in one way, as `find` does; 0 for listings."""
    largest = 0.0
    for _, spans in _encodings(text, raw):
        if not _is_listing(text, spans):
            largest = max(largest, sum(stop - first for first, stop in spans) / len(text))
    return largest


def _encodings(text: str, raw: bytes) -> Iterator[tuple[str, Spans]]:
    """Where a text is encoded in each way that is worth looking for."""
    for mark, pattern, name in _ESCAPES:
        if text.count(mark) * 3 >= 0.25 * len(text):
            yield name, [match.span() for match in pattern.finditer(text)]
    if len(raw) - len(raw.translate(None, _CAPITALS_AND_DIGITS)) < HINTED * len(text):
        return
    if text.count("\nM") >= 2:
        yield "uuencoded lines", [match.span() for match in _UU.finditer(text)]
    if len(raw.translate(None, _HEXISH)) <= 0.5 * len(raw):
        yield "dumps of bytes", [match.span() for match in _DUMP.finditer(text)]
        yield "hex", [match.span() for match in _HEX.finditer(text) if _is_hex(match.group())]
        yield "hex of text", [(0, len(text))] if _is_only_hex(text) else []
    yield "base64", [match.span() for match in _BASE64.finditer(text) if _is_random(match.group())]
    yield "base32", [match.span() for match in _BASE32.finditer(text) if _is_base32(match.group())]
    yield "base85", _base85(text)


def _is_only_hex(text: str) -> bool:
    """Hex and nothing else, whose bytes are text: it has hardly a letter among its digits."""
    digits = re.sub(r"0[xX]|\\x|[\s,:;]", "", text[:4000])
    if len(digits) < 200 or not re.fullmatch("[0-9a-fA-F]+", digits):
        return False
    raw = bytes.fromhex(digits[: len(digits) // 2 * 2])
    words = sum(65 <= byte < 123 for byte in raw)
    printable = sum(32 <= byte < 127 or byte in b"\t\r\n" for byte in raw)
    return words >= 0.4 * len(raw) and printable >= 0.9 * len(raw)


def _is_base32(run: str) -> bool:
    counts = Counter(re.sub(r"[\s=]+", "", run)[:600])
    return len(counts) >= 24 and sum(counts[digit] for digit in "234567") >= 0.05 * sum(
        counts.values()
    )


def _base85(text: str) -> Spans:
    """Base85: long runs of almost every printable character, without a word among them."""
    runs = [match for match in _BASE85.finditer(text) if _is_base85(match.group())]
    if not runs and len(text) >= 200 and text.count(" ") <= 0.005 * len(text):
        runs = [match for match in _ASCII85.finditer(text) if _is_base85(match.group())]
    return [match.span() for match in runs]


def _is_base85(run: str) -> bool:
    sample = run[:800]
    counts = Counter(sample)
    symbols = sum(count for char, count in counts.items() if not char.isalnum())
    if len(counts) < min(55, 0.45 * len(sample)) or not 0.08 <= symbols / len(sample) <= 0.6:
        return False
    bits = -sum(n / len(sample) * math.log2(n / len(sample)) for n in counts.values())
    return bits >= 4.8 and max(counts.values()) <= 0.12 * len(sample) and not _CALL.search(sample)


def _judge(text: str, spans: Spans, name: str, limit: float) -> Verdict | None:
    covered = sum(stop - first for first, stop in spans)
    longest = max((stop - first for first, stop in spans), default=0)
    if covered < max(40, limit * len(text)) and (longest < LONG or covered < 0.2 * len(text)):
        return None
    words = f"{covered} of {len(text)} characters are {name}"
    if name != "dumps of bytes" and _is_listing(text, spans):
        return unusual(f"{words}, each beside a name: checksums", tuple(spans))
    return corrupt("encoded", 0.9, tuple(spans), words)


def _is_listing(text: str, spans: Spans) -> bool:
    """Checksums of files, keys of packages, constants of a program: short runs with names."""
    short = [span for span in spans if span[1] - span[0] <= 200]
    if len(short) < max(2, 0.9 * len(spans)):
        return False
    beside = 0
    for first, stop in short:
        line = (
            text[text.rfind("\n", 0, first) + 1 : first] + text[stop : stop + 80].partition("\n")[0]
        )
        beside += bool(re.search(r"[A-Za-z]{3,}", line) or _CHECKSUM.search(text[:first][-24:]))
    return beside >= 0.7 * len(short)


def _is_hex(run: str) -> bool:
    # A table of decimal numbers has no letter among its digits.
    letters = sum(char in "abcdefABCDEF" for char in run)
    digits = sum(char.isdigit() for char in run)
    least = 0.02 if letters + digits == len(run) else 0.08
    return letters >= least * (letters + digits) and digits >= 0.3 * (letters + digits)


def _is_random(run: str) -> bool:
    sample = re.sub(r"\s+", "", run)[:400]
    kinds = (str.islower, str.isupper, str.isdigit)
    if not all(sum(map(test, sample)) >= 0.03 * len(sample) for test in kinds):
        return False
    counts = Counter(sample)
    bits = -sum(n / len(sample) * math.log2(n / len(sample)) for n in counts.values())
    turns = sum(a.islower() != b.islower() for a, b in zip(sample, sample[1:], strict=False))
    return bits > 4.0 and turns >= 0.25 * len(sample)
