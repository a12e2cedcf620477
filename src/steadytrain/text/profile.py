"""Byte n-gram profiles of domains: which domain does a text sound like?"""

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

ORDER = 4
"""Bytes of context and target together. Source: byte 4-grams told zh, en and code apart on 98 % of
clean documents, where language identification cannot tell English from code."""

BUCKETS = 1 << 18
"""Counters; a 2 MB domain fills about a third of them. Source: guess."""

ESCAPE = 0.5
"""Pseudo-count of the shorter context at each level."""


class Profile:
    """Hashed counts of byte 1-grams to 4-grams, interpolated from short to long."""

    def __init__(self, counts: NDArray[np.float32], contexts: NDArray[np.float32]) -> None:
        self._counts = counts
        self._contexts = contexts

    @classmethod
    def learn(cls, texts: Iterable[str]) -> "Profile":
        """The profile of a sample of texts; 100 kB tell domains apart."""
        counts = np.zeros((ORDER, BUCKETS), dtype=np.float32)
        contexts = np.zeros((ORDER, BUCKETS), dtype=np.float32)
        for text in texts:
            grams, heads = _hashes(text)
            for level in range(ORDER):
                np.add.at(counts[level], grams[level], 1.0)
                np.add.at(contexts[level], heads[level], 1.0)
        return cls(counts, contexts)

    def surprise(self, text: str) -> float:
        """Mean bits per byte that the text costs; 8 for an empty one."""
        grams, heads = _hashes(text)
        if not grams[0].size:
            return 8.0
        likely = np.full(grams[0].size, 1 / 256, dtype=np.float64)
        for level in range(ORDER):
            seen = self._contexts[level][heads[level]]
            likely = (self._counts[level][grams[level]] + ESCAPE * likely) / (seen + ESCAPE)
        return float(-np.log2(likely).mean())


def nearest(text: str, profiles: Mapping[str, Profile]) -> tuple[str, float]:
    """The domain that the text sounds like, and its lead over the second best. [bits per byte]

    Raises:
        ValueError: no profiles.
    """
    ranked = sorted((profile.surprise(text), name) for name, profile in profiles.items())
    lead = ranked[1][0] - ranked[0][0] if len(ranked) > 1 else math.inf
    return ranked[0][1], lead


def _hashes(text: str) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """Buckets of each position's n-grams and of their contexts, for n = 1 to ORDER."""
    data = np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8).astype(np.uint64)
    body = data[ORDER - 1 :]
    grams, heads = [], []
    context = np.zeros(body.size, dtype=np.uint64)
    for level in range(ORDER):
        if level:
            earlier = data[ORDER - 1 - level : data.size - level] if body.size else body
            context = context * np.uint64(1_000_003) + earlier + np.uint64(level)
        mixed = (context ^ (body * np.uint64(0x9E3779B1))) * np.uint64(0x9E3779B97F4A7C15)
        grams.append((mixed >> np.uint64(46)).astype(np.int64))
        alone = context * np.uint64(0x9E3779B97F4A7C15)
        heads.append((alone >> np.uint64(46)).astype(np.int64))
    return grams, heads
