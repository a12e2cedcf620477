"""Sums over sequences from which a mean and its error are read; they merge by addition.

Parts of a sample, such as those of several ranks or files, add up to what the whole would have
given. The scatter is kept about its own centre, not as a plain sum of squares: a difference of two
large numbers is how variances become negative.
"""

import math
from collections.abc import Sequence

import msgspec


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over sequences i of a mean loss x_i and a length w_i.

    Attributes:
        sequences, tokens, nll: n, sum of w_i, sum of w_i x_i.
        weight: sum of w_i^2.
        centre, scatter: of x_i, weighted by w_i^2: the mean, and the sum of squares about it.

    Source: merging of scatters, Chan, Golub and LeVeque 1979.
    """

    sequences: int = 0
    tokens: float = 0.0
    nll: float = 0.0
    weight: float = 0.0
    centre: float = 0.0
    scatter: float = 0.0

    def __add__(self, other: "Sample") -> "Sample":
        weight = self.weight + other.weight
        if not self.weight or not other.weight:
            return other if not self.weight else self
        apart = other.centre - self.centre
        return Sample(
            sequences=self.sequences + other.sequences,
            tokens=self.tokens + other.tokens,
            nll=self.nll + other.nll,
            weight=weight,
            centre=self.centre + apart * other.weight / weight,
            scatter=self.scatter
            + other.scatter
            + apart * apart * self.weight * other.weight / weight,
        )

    @property
    def mean(self) -> float | None:
        """sum of w_i x_i / sum of w_i; None for nothing: a gap, not a zero. [nats/token]"""
        return self.nll / self.tokens if self.tokens else None

    @property
    def spread(self) -> float:
        """Standard deviation over sequences, of the ratio estimator; infinite below two of them.

        spread^2 = sum (n w_i / sum w)^2 (x_i - mean)^2 / (n - 1)
        """
        mean = self.mean
        if self.sequences < 2 or mean is None:
            return math.inf
        off = self.centre - mean
        about_mean = self.scatter + self.weight * off * off
        return math.sqrt(about_mean / (self.sequences - 1)) * self.sequences / self.tokens

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return self.spread / math.sqrt(self.sequences) if self.sequences else math.inf


def sample(values: Sequence[float], lengths: Sequence[float] | None = None) -> Sample:
    """The sums of some sequences; equal lengths if none are given. NaN stays NaN.

    Raises:
        ValueError: not as many lengths as values.
    """
    if not values:
        return Sample()
    weights = [1.0] * len(values) if lengths is None else [float(length) for length in lengths]
    squares = [weight * weight for weight in weights]
    weight = math.fsum(squares)
    centre = math.fsum(w * x for w, x in zip(squares, values, strict=True)) / weight
    return Sample(
        sequences=len(values),
        tokens=math.fsum(weights),
        nll=math.fsum(w * x for w, x in zip(weights, values, strict=True)),
        weight=weight,
        centre=centre,
        scatter=math.fsum(w * (x - centre) ** 2 for w, x in zip(squares, values, strict=True)),
    )
