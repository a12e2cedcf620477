"""A fixed panel of sequences: its perplexity with an honest interval, and when n is too small.

The unit of sampling is the sequence, not the token: tokens of one sequence are correlated, and
standard errors over tokens are 1.6 to 2.2 times too narrow at 96 tokens (measured), about 3.6 times
at 512 (llama.cpp #270).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z_95 = 1.959964
"""Two-sided 95 % point of the normal distribution."""

TOO_WIDE = math.log(1.05)
"""An interval wider than +-5 % of perplexity is called too weak to tell. Source: LOG.md."""

FLOOR_SEQUENCES = 30
"""Fewer sequences than this give no trustworthy spread. Source: rule of thumb, Cochran 1977."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """Mean loss of n sequences with its standard error. [nats/token]"""

    loss: float
    error: float
    sequences: int
    spread: float

    @property
    def perplexity(self) -> float:
        return math.exp(self.loss)

    @property
    def perplexity_low(self) -> float:
        return math.exp(self.loss - Z_95 * self.error)

    @property
    def perplexity_high(self) -> float:
        return math.exp(self.loss + Z_95 * self.error)

    @property
    def is_too_weak(self) -> bool:
        """True when the interval is wider than +-5 % or rests on fewer than 30 sequences."""
        return self.sequences < FLOOR_SEQUENCES or Z_95 * self.error > TOO_WIDE

    @property
    def sequences_needed(self) -> int:
        """Sequences for +-5 % at this spread."""
        if not math.isfinite(self.spread):
            return FLOOR_SEQUENCES
        return max(FLOOR_SEQUENCES, math.ceil((Z_95 * self.spread / TOO_WIDE) ** 2))


def interval(losses: Sequence[float], tokens: Sequence[int] | None = None) -> Interval:
    """Perplexity of a panel: token-weighted mean loss, standard error over sequences.

    mean = sum(tokens_i * loss_i) / sum(tokens_i);
    spread^2 = sum w_i^2 (loss_i - mean)^2 / (n - 1), w_i = tokens_i / mean tokens;
    error = spread / sqrt(n). The ratio estimator; with equal lengths the usual s / sqrt(n).

    Args:
        losses: mean loss of each sequence [nats/token], not empty.
        tokens: counted tokens of each; equal lengths if None.

    Source: ratio estimator, Cochran 1977. A bootstrap over sequences agreed within 3 % at n = 200.
    """
    count = len(losses)
    lengths = [1.0] * count if tokens is None else [float(length) for length in tokens]
    whole = sum(lengths)
    mean = math.fsum(w * x for w, x in zip(lengths, losses, strict=True)) / whole
    if count < 2:
        return Interval(loss=mean, error=math.inf, sequences=count, spread=math.inf)
    squares = math.fsum(
        (w * count / whole) ** 2 * (x - mean) ** 2 for w, x in zip(lengths, losses, strict=True)
    )
    spread = math.sqrt(squares / (count - 1))
    return Interval(loss=mean, error=spread / math.sqrt(count), sequences=count, spread=spread)


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Mean change of the same sequences between two looks, with its standard error. [nats/token]"""

    mean: float
    error: float


def change(before: Sequence[float], after: Sequence[float]) -> Change:
    """Paired change: mean and spread of the differences, sequence by sequence.

    Most of a panel's spread is between its sequences and is the same in both looks, so the paired
    error is several times smaller than that of two unpaired means.

    >>> change([1.0, 2.0, 3.0], [1.1, 2.1, 3.1]).mean
    0.10000000000000009
    """
    moves = [new - old for old, new in zip(before, after, strict=True)]
    count = len(moves)
    mean = math.fsum(moves) / count
    if count < 2:
        return Change(mean=mean, error=math.inf)
    spread = math.sqrt(math.fsum((one - mean) ** 2 for one in moves) / (count - 1))
    return Change(mean=mean, error=spread / math.sqrt(count))
