"""Bytes written as letters: base64, hex, uuencode, escapes."""

import math
import re
from collections import Counter

from steadytrain.text.verdict import Verdict, corrupt, unusual

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
    ("%", re.compile(r"(?:%[0-9A-Fa-f]{2}|[A-Za-z0-9._~-]{0,2}){12,}"), "percent escapes"),
    ("=", re.compile(r"(?:=[0-9A-F]{2}){6,}(?:=?\s*(?:=[0-9A-F]{2})+)*"), "quoted-printable"),
    ("&#", re.compile(r"(?:&#x?[0-9a-fA-F]{2,6};\s?){6,}"), "character references"),
)
_CALL = re.compile(r"[a-z]{5,}\(|function|return|\)\{")
_CHECKSUM = re.compile(
    r"(?:sha\d+|md5|integrity|digest|hash|checksum|rev|commit)[\W_\d]{0,8}$", re.I
)


def find(text: str, raw: bytes) -> Verdict | None:
    """What is encoded in a text; None for a text that is not."""
    for mark, pattern, name in _ESCAPES:
        if text.count(mark) * 3 >= 0.25 * len(text):
            found = _judge(text, [match.span() for match in pattern.finditer(text)], name)
            if found is not None:
                return found
    if len(raw) - len(raw.translate(None, _CAPITALS_AND_DIGITS)) < HINTED * len(text):
        return None
    if text.count("\nM") >= 2 and _UU.search(text):
        found = _judge(text, [match.span() for match in _UU.finditer(text)], "uuencoded lines")
        if found is not None:
            return found
    found = _hexes(text) if len(raw.translate(None, _HEXISH)) <= 0.5 * len(raw) else None
    if found is not None:
        return found
    runs = [match.span() for match in _BASE64.finditer(text) if _is_random(match.group())]
    found = _judge(text, runs, "base64")
    if found is not None:
        return found
    runs = [match.span() for match in _BASE32.finditer(text) if _is_base32(match.group())]
    return _judge(text, runs, "base32") or _base85(text)


def _hexes(text: str) -> Verdict | None:
    dumps = [match.span() for match in _DUMP.finditer(text)]
    if sum(stop - first for first, stop in dumps) >= max(200, ENCODED_SHARE * len(text)):
        return corrupt("encoded", 0.9, tuple(dumps), f"{len(dumps)} parts are dumps of bytes in hex")
    hexes = [match.span() for match in _HEX.finditer(text) if _is_hex(match.group())]
    return _judge(text, hexes, "hex") or _only_hex(text)


def _only_hex(text: str) -> Verdict | None:
    """Hex and nothing else, whose bytes are text: it has hardly a letter among its digits."""
    digits = re.sub(r"0[xX]|\\x|[\s,:;]", "", text[:4000])
    if len(digits) < 200 or not re.fullmatch("[0-9a-fA-F]+", digits):
        return None
    raw = bytes.fromhex(digits[: len(digits) // 2 * 2])
    words = sum(65 <= byte < 123 for byte in raw)
    if words < 0.4 * len(raw) or sum(32 <= byte < 127 or byte in b"\t\r\n" for byte in raw) < 0.9 * len(raw):
        return None
    return corrupt("encoded", 0.9, ((0, len(text)),), f"it is hex of text: {raw[:24]!r}")


def _is_base32(run: str) -> bool:
    counts = Counter(re.sub(r"[\s=]+", "", run)[:600])
    return len(counts) >= 24 and sum(counts[digit] for digit in "234567") >= 0.05 * sum(counts.values())


def _base85(text: str) -> Verdict | None:
    """Base85: long runs of almost every printable character, without a word among them."""
    runs = [match for match in _BASE85.finditer(text) if _is_base85(match.group())]
    if not runs and len(text) >= 200 and text.count(" ") <= 0.005 * len(text):
        runs = [match for match in _ASCII85.finditer(text) if _is_base85(match.group())]
    return _judge(text, [match.span() for match in runs], "base85")


def _is_base85(run: str) -> bool:
    sample = run[:800]
    counts = Counter(sample)
    symbols = sum(count for char, count in counts.items() if not char.isalnum())
    if len(counts) < min(55, 0.45 * len(sample)) or not 0.08 <= symbols / len(sample) <= 0.6:
        return False
    bits = -sum(n / len(sample) * math.log2(n / len(sample)) for n in counts.values())
    return bits >= 4.8 and max(counts.values()) <= 0.12 * len(sample) and not _CALL.search(sample)


def _judge(text: str, spans: list[tuple[int, int]], name: str) -> Verdict | None:
    covered = sum(stop - first for first, stop in spans)
    longest = max((stop - first for first, stop in spans), default=0)
    if covered < max(40, ENCODED_SHARE * len(text)) and (
        longest < LONG or covered < 0.2 * len(text)
    ):
        return None
    words = f"{covered} of {len(text)} characters are {name}"
    if _is_listing(text, spans):
        return unusual(f"{words}, each beside a name: checksums", tuple(spans))
    return corrupt("encoded", 0.9, tuple(spans), words)


def _is_listing(text: str, spans: list[tuple[int, int]]) -> bool:
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
