"""Is the model better than counting how often each token occurs?

A curve that was wrong from the first update on has nothing to be compared with; text has.
"""

import math
from collections.abc import Sequence

import msgspec

from steadytrain.events import Advice
from steadytrain.judge.looks import Looks, Whole

LITTLE = 0.95
"""Of the unigram entropy, on the mean of the domains: who costs more knows little else. Source: the
lab's model after 200 updates, three seeds: .73 to .75 at 16 times its best rate, .98 to 1.00 at 64
times, 1.04 to 1.07 at 250 times (docs/panel.md)."""

PATIENCE = 2
"""Looks in a row. One follows a rollback, or the last update of a warm-up."""


def compare_with_counting(
    looks: Looks, now: Whole, present: Sequence[int]
) -> tuple[Looks, tuple[Advice, ...]]:
    """Say once, after two looks at a rate that does not rise, that next to nothing was learned."""
    known = [(now.means[at], looks.unigram[at]) for at in present if len(looks.unigram) > at]
    shares = [cost / least for cost, least in known if least]
    if not shares or _rises(looks):
        return looks, ()
    share = math.fsum(shares) / len(shares)
    count = looks.no_better + 1 if share >= LITTLE else 0
    looks = msgspec.structs.replace(looks, no_better=count)
    if count != PATIENCE:
        return looks, ()
    return looks, (_advice(now.step, share, len(shares)),)


def _rises(looks: Looks) -> bool:
    """Whether the learning rate is higher than at the look before."""
    rates = [mark.since.lr for mark in looks.marks[-2:]]
    return len(rates) == 2 and None not in rates and rates[1] > 1.001 * rates[0]  # type: ignore[operator]


def _advice(step: int, share: float, domains: int) -> Advice:
    return Advice(
        topic="unigram",
        text=f"At step {step} the panel costs {share:.0%} of what it costs to know how often each "
        f"token occurs (mean of {domains} domains), and the learning rate rises no more. The model "
        "has learned little else. Look at what is so from the first update on: a learning rate far "
        "too high, targets that do not belong to their tokens, a mask that hides the context, "
        "weights without a gradient. Nothing later in the run heals the first of them: start again "
        "with a quarter of the rate.",
    )
