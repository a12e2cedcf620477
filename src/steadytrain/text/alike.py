"""Which texts are nearly the same? Groups of near-duplicates among a few hundred texts."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SHINGLE = 8
"""Bytes in a row that are compared: a few words' worth in any script. Source: near-duplicate
filters of pre-training corpora use 5 to 13 characters or words (Lee et al. 2021)."""

HASHES = 32
SHARED = 0.5
"""Texts belong together when so many of their least hashes agree: an estimate of the share of
shingles that they have in common (MinHash, Broder 1997), right within 0.09."""

_NUMBERS = np.arange(1, HASHES + 1, dtype=np.uint64)
_FACTORS = _NUMBERS * np.uint64(0x9E3779B97F4A7C15) | np.uint64(1)
_MASKS = _NUMBERS * np.uint64(0xBF58476D1CE4E5B9)
"""Weyl sequences: multiples of the constants of splitmix64, which look random enough to hash by."""


def groups(texts: Sequence[str]) -> list[list[int]]:
    """Indexes of texts that are nearly the same, the largest group first; alone ones left out.

    >>> groups(["one and the same line", "another text altogether", "one and the same line!"])
    [[0, 2]]
    """
    if not texts:
        return []
    marks = np.stack([_least(text) for text in texts])
    leader = list(range(len(texts)))
    for at in range(len(texts)):
        shared = (marks[at + 1 :] == marks[at]).mean(axis=1)
        for other in (np.flatnonzero(shared >= SHARED) + at + 1).tolist():
            _join(leader, at, other)
    found: dict[int, list[int]] = {}
    for at in range(len(texts)):
        found.setdefault(_head(leader, at), []).append(at)
    return sorted((one for one in found.values() if len(one) > 1), key=len, reverse=True)


def _least(text: str) -> NDArray[np.uint64]:
    """The least hash of the text's shingles under each of HASHES functions."""
    raw = np.frombuffer(text.encode("utf-8", "replace").ljust(SHINGLE, b"\0"), np.uint8)
    shingles = np.zeros(len(raw) - SHINGLE + 1, dtype=np.uint64)
    for at in range(SHINGLE):
        shingles = (shingles << np.uint64(8)) | raw[at : at + len(shingles)].astype(np.uint64)
    shingles = np.unique(shingles)
    hashed = (shingles[:, None] ^ _MASKS) * _FACTORS
    least: NDArray[np.uint64] = (hashed ^ (hashed >> np.uint64(29))).min(axis=0)
    return least


def _head(leader: list[int], at: int) -> int:
    while leader[at] != at:
        leader[at] = leader[leader[at]]
        at = leader[at]
    return at


def _join(leader: list[int], one: int, other: int) -> None:
    leader[_head(leader, other)] = _head(leader, one)
