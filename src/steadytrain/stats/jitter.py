"""How far a model's panel loss jumps from look to look about its smooth trend.

Two checkpoints a few steps apart differ by a shift that all sequences of a domain share: the last
updates pulled the weights a little to one side. It is 0.009 to 0.017 nats on a small model at a
constant rate, no number of sequences averages it out, and an error without it calls a calm model
changed.
"""

import math
import statistics
from collections.abc import Sequence

LEAST_LOOKS, MOST_LOOKS = 8, 20
"""Looks that the estimate rests on, the last ones. Source: LOG.md."""

FLOOR = 0.003
"""No run is taken to be calmer than this. [nats/token] Source: LOG.md."""

MAD_TO_SIGMA = 1.4826


def jitter(steps: Sequence[float], losses: Sequence[float]) -> float | None:
    """Standard deviation of a look about the trend; None below eight finite looks. [nats/token]

    Each look is compared with the straight line between its neighbours,

        r_i = y_i - (a y_{i-1} + b y_{i+1}), a + b = 1 by the distance to them,
        e_i = r_i / sqrt(1 + a^2 + b^2),

    along log(1 + step), where loss curves are straighter; the jitter is 1.4826 times the median of
    |e_i|. A trend cancels out, at uneven steps too; the median lets one jump of the level pass
    without widening it, such as a change of the mixture. A part of it is the scatter of single
    sequences, which the error of a change counts as well: on the safe side.

    Args:
        steps: rising, no two alike.

    Source: pseudo-residuals, Gasser, Sroka and Jennen-Steinmetz 1986; MAD scale, Hampel 1974.

    >>> jitter(range(10), [2.0] * 10)
    0.003
    """
    good = [
        (math.log1p(step), loss)
        for step, loss in zip(steps, losses, strict=True)
        if math.isfinite(loss)
    ][-MOST_LOOKS:]
    if len(good) < LEAST_LOOKS:
        return None
    sizes = []
    for (x0, y0), (x1, y1), (x2, y2) in zip(good, good[1:], good[2:], strict=False):
        a = (x2 - x1) / (x2 - x0)
        b = 1 - a
        sizes.append(abs(y1 - a * y0 - b * y2) / math.sqrt(1 + a * a + b * b))
    return max(FLOOR, MAD_TO_SIGMA * statistics.median(sizes))
