"""Every 32 bytes in a row of a text as one number: what is shared shows, wherever it stands."""

import numpy as np
from numpy.typing import NDArray

SIZE = 32
"""Bytes of a shingle: six English words or eleven Chinese characters; what is shared by accident is
mostly shorter. Source: bench/leaks.py; decontamination uses 8 to 13 words (GPT-3: 13)."""

_FOLDED = bytes(range(256)).lower()
_SPACE = bytes(range(33))
_FACTORS = np.array(
    [0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93], np.uint64
)
"""Odd constants of splitmix64 and its kin."""


def folded(text: str) -> bytes:
    """The text without white space and case, so that other line breaks make no other text.

    >>> folded("One\\n  line")
    b'oneline'
    """
    return text.encode("utf-8", "replace").translate(_FOLDED, _SPACE)


def shingles(raw: bytes) -> NDArray[np.uint64]:
    """A hash of each SIZE bytes in a row, the same on every machine; none of a shorter text.

    Four words of eight bytes, each times a constant, mixed so that the upper bits are even.
    """
    count = len(raw) - SIZE + 1
    if count < 1:
        return np.zeros(0, np.uint64)
    words = np.ndarray((len(raw) - 7,), np.dtype("<u8"), raw, strides=(1,)).astype(np.uint64)
    mixed: NDArray[np.uint64] = words[:count] * _FACTORS[0]
    part = np.empty_like(mixed)
    for at, factor in enumerate(_FACTORS[1:], 1):
        mixed += np.multiply(words[8 * at : 8 * at + count], factor, out=part)
    mixed ^= np.right_shift(mixed, np.uint64(29), out=part)
    mixed *= _FACTORS[0]
    mixed ^= np.right_shift(mixed, np.uint64(32), out=part)
    return mixed
