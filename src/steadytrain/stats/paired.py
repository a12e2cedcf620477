"""A fixed panel of sequences: its perplexity with an interval, its change, and what n can do.

The unit of sampling is the sequence, not the token: tokens of one sequence are correlated, and
standard errors over tokens are 1.6 to 2.2 times too narrow at 96 tokens (measured), about 3.6 times
at 512 (llama.cpp #270).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from steadytrain.stats.samples import Sample, sample
from steadytrain.stats.student import two_sided
from steadytrain.stats.sums import DomainSums

Z_95 = 1.959964
"""Two-sided 95 % point of the normal distribution."""

POWER = 2.801585
"""Z_95 and the one-sided 80 % point together: a change of so many standard errors is found in four
cases of five, at one false alarm in twenty. Source: Cohen 1988."""

CLOSE = 0.05
"""An interval wider than +-5 % of perplexity is called too weak to tell. Source: LOG.md."""

FLOOR_SEQUENCES = 30
"""Fewer sequences than this give no trustworthy spread. Source: rule of thumb, Cochran 1977."""

MOST_LOSS = 709.0  # exp of more is no float


def perplexity(loss: float) -> float:
    """exp(loss); infinite where no float can hold it, NaN for NaN."""
    return math.inf if loss > MOST_LOSS else math.exp(loss)


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """Mean loss of n sequences with its standard error. [nats/token]

    Attributes:
        spread: standard deviation of a sequence, as it counts for the error.
        degrees: of freedom of the error.
    """

    loss: float
    error: float
    sequences: int
    spread: float
    degrees: int

    @property
    def half(self) -> float:
        """Half of the 95 % interval of the loss. [nats/token]"""
        return two_sided(self.degrees) * self.error

    @property
    def perplexity(self) -> float:
        return perplexity(self.loss)

    @property
    def perplexity_low(self) -> float:
        """Lower end; the interval is symmetric in the loss, so it is not in the perplexity."""
        return perplexity(self.loss - self.half)

    @property
    def perplexity_high(self) -> float:
        return perplexity(self.loss + self.half)

    @property
    def tells(self) -> float:
        """The share of perplexity that the upper half of the interval is: 0.05 is +5 %."""
        return _grown(self.half)

    @property
    def is_too_weak(self) -> bool:
        """Whether the interval is wider than +5 %, or rests on fewer than 30 sequences."""
        return self.sequences < FLOOR_SEQUENCES or not self.tells <= CLOSE

    def needed(self, share: float = CLOSE) -> int | None:
        """Sequences of this spread whose interval is +-`share` of perplexity.

        n = (t s / ln(1 + share))^2, where t depends on n; None where the spread is not known.
        """
        if not math.isfinite(self.spread):
            return None
        count = math.ceil((Z_95 * self.spread / math.log1p(share)) ** 2)
        for _ in range(3):  # t of some degrees too few asks for more, and settles at once
            degrees = max(2, count - 1)
            count = math.ceil((two_sided(degrees) * self.spread / math.log1p(share)) ** 2)
        return max(FLOOR_SEQUENCES, count)


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
    return interval_of(sample(losses, tokens))


def interval_of(sums: Sample) -> Interval:
    """The same from sums that were merged from parts; they hold a sequence at least."""
    mean = sums.mean
    assert mean is not None
    return Interval(
        loss=mean,
        error=sums.error,
        sequences=sums.sequences,
        spread=sums.spread,
        degrees=sums.sequences - 1,
    )


def window_interval(sums: DomainSums) -> Interval | None:
    """Mean training loss of a domain over some steps; None where it had no tokens: a gap.

    spread^2 = (squares - n mean^2) / (n - 1), as if all sequences were of one length, since a
    step's record keeps sums only. Neighbours of one document are taken as independent.
    """
    mean = sums.loss
    if mean is None or not sums.sequences:
        return None
    count = sums.sequences
    spread = math.inf
    if count > 1:
        spread = math.sqrt(max(0.0, sums.squares - count * mean * mean) / (count - 1))
    return Interval(
        loss=mean,
        error=spread / math.sqrt(count),
        sequences=count,
        spread=spread,
        degrees=count - 1,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Mean change of the same sequences between two looks. [nats/token]

    Attributes:
        error: standard error of the mean over sequences.
        spread: standard deviation of a sequence's change, as it counts for the error.
        degrees: of freedom of the error.
        jitter: standard deviation of one look about the trend, common to all of its sequences: no
            number of sequences averages it out. It is in both looks.
    """

    mean: float
    error: float
    sequences: int
    spread: float
    degrees: int
    jitter: float = 0.0

    @property
    def whole_error(self) -> float:
        """sqrt(error^2 + 2 jitter^2): what a change of the model must stand out from."""
        return math.sqrt(self.error**2 + 2 * self.jitter**2)

    @property
    def half(self) -> float:
        """Half of the 95 % interval, the jitter of both looks in it."""
        return math.hypot(two_sided(self.degrees) * self.error, Z_95 * math.sqrt(2) * self.jitter)

    @property
    def low(self) -> float:
        return self.mean - self.half

    @property
    def high(self) -> float:
        return self.mean + self.half

    @property
    def share(self) -> float:
        """Change of the perplexity as a share of it: 0.05 is +5 %."""
        return _grown(self.mean)

    @property
    def is_told(self) -> bool:
        """Whether zero lies outside of the interval."""
        return self.low > 0 or self.high < 0

    @property
    def detectable(self) -> float:
        """The smallest change that would be found in four cases of five: 2.80 whole errors."""
        return POWER * self.whole_error

    def needed(self, share: float) -> int | None:
        """Sequences that would find a change of `share` of perplexity in four cases of five.

        n = spread^2 / ((ln(1 + share) / 2.80)^2 - 2 jitter^2); None where the jitter alone hides
        it, whatever n is.
        """
        room = (math.log1p(share) / POWER) ** 2 - 2 * self.jitter**2
        if room <= 0 or not math.isfinite(self.spread):
            return None
        return max(2, math.ceil(self.spread**2 / room))

    @property
    def worthwhile(self) -> float:
        """Sequences beyond which more of them hardly help: spread^2 / jitter^2.

        There the error over sequences is half of the jitter's share of the variance, and all the
        sequences in the world would narrow the interval by 18 %.
        """
        return self.spread**2 / self.jitter**2 if self.jitter > 0 else math.inf

    @property
    def is_limited_by_jitter(self) -> bool:
        return self.sequences > self.worthwhile


def change(
    before: Sequence[float],
    after: Sequence[float],
    *,
    tokens: Sequence[int] | None = None,
    jitter: float = 0.0,
) -> Change:
    """Paired change: mean and spread of the differences, sequence by sequence.

    Most of a panel's spread is between its sequences and is the same in both looks, so the paired
    error is several times smaller than that of two unpaired means. Unequal lengths weigh as in
    `interval`, so that the mean is the change of the token-weighted loss.

    Args:
        tokens: counted tokens of each sequence; equal lengths if None.
        jitter: see `steadytrain.stats.jitter`.

    >>> change([1.0, 2.0, 3.0], [1.1, 2.1, 3.1]).mean
    0.10000000000000009
    """
    moves = [new - old for old, new in zip(before, after, strict=True)]
    sums = sample(moves, tokens)
    mean = sums.mean
    assert mean is not None
    return Change(
        mean=mean,
        error=sums.error,
        sequences=sums.sequences,
        spread=sums.spread,
        degrees=sums.sequences - 1,
        jitter=jitter,
    )


def _grown(nats: float) -> float:
    """What a difference of losses is as a share of perplexity."""
    return math.inf if nats > MOST_LOSS else math.expm1(nats)
