"""Kinds of characters, counted in arrays: what one pass over a text can tell."""

import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

(
    ASCII, CONTROL, SPACE, HAN, RARE_HAN, KANA, HALF_KANA, HANGUL, LATIN, CYRILLIC, OTHER_LETTER,
    MARK, SYMBOL, REPLACED, NOTHING,
) = range(15)  # fmt: skip
"""HAN is everyday Chinese, simplified (GB2312 level 1) or traditional (Big5 level 1); RARE_HAN any
other ideograph; NOTHING is private, unassigned, a surrogate or a noncharacter."""

NUM_KINDS = 15


@cache
def kinds() -> NDArray[np.uint8]:
    """Kind of each code point of the basic plane."""
    return np.array([_kind(point) for point in range(0x10000)], dtype=np.uint8)


def points_of(text: str) -> NDArray[np.uint32]:
    """Code points of a text, lone surrogates included."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def kinds_of(points: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Kind of each character. Beyond the basic plane: ideographs are rare, the rest are symbols."""
    found = kinds()[np.minimum(points, 0xFFFF)]
    beyond = points > 0xFFFF
    if beyond.any():
        is_han = (points >= 0x20000) & (points < 0x30000)
        is_private = points >= 0xE0000
        found = np.where(beyond, np.where(is_han, RARE_HAN, SYMBOL), found)
        found = np.where(is_private, NOTHING, found)
    return found.astype(np.uint8)


def count(kinds_of_text: NDArray[np.uint8]) -> Ints:
    """How many characters of each kind."""
    return np.bincount(kinds_of_text, minlength=NUM_KINDS)


def is_common_han(char: str) -> bool:
    """Whether a character is everyday Chinese."""
    simplified = char.encode("gb2312", "replace")
    if b"\xb0" <= simplified < b"\xd8" and len(simplified) == 2:
        return True
    traditional = char.encode("big5", "replace")
    return b"\xa4" <= traditional < b"\xc9" and len(traditional) == 2


def _kind(point: int) -> int:
    char = chr(point)
    if point < 0x80:
        return CONTROL if point in _CONTROLS else ASCII
    if point < 0xA0:
        return CONTROL
    if point == 0xFFFD:
        return REPLACED
    if 0x3400 <= point < 0xA000 or 0xF900 <= point < 0xFB00:
        return HAN if 0x4E00 <= point < 0xA000 and is_common_han(char) else RARE_HAN
    if 0x3040 <= point < 0x3100:
        return KANA
    if 0xFF61 <= point < 0xFFA0:
        return HALF_KANA
    if 0x2010 <= point < 0x2028 or 0x2030 <= point < 0x205F:
        return MARK  # dashes, quotation marks, ellipses: in every language
    if 0x3000 <= point < 0x3040 or 0xFF00 <= point < 0xFF61:
        return MARK
    if 0xAC00 <= point < 0xD7B0 or 0x1100 <= point < 0x1200:
        return HANGUL
    category = unicodedata.category(char)
    if category in ("Co", "Cn", "Cs"):
        return NOTHING
    if category.startswith("Z"):
        return SPACE
    if category.startswith(("L", "M")):
        if point < 0x250 or 0x1E00 <= point < 0x1F00:
            return LATIN
        return CYRILLIC if 0x400 <= point < 0x530 else OTHER_LETTER
    return SYMBOL


_CONTROLS = frozenset(range(32)) - {9, 10, 12, 13} | {127}
