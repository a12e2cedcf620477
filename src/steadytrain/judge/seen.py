"""What is remembered of the last steps one by one, and what a stretch of them tells."""

import math
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from steadytrain.events import StepRecord
from steadytrain.ramps import Ramp, value_at
from steadytrain.signals import lr_ratio

MIXTURE_BEFORE = 32
MIXTURE_AFTER = 8
MIXTURE_MOVED = 0.15
"""A share of the tokens that moved by so much against the 32 steps before, and by 6 standard
errors, was changed; 8 steps are enough to tell. Source: guess; random draws of 32
sequences move a share by 0.08."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of one judged step."""

    step: int
    draw: int
    draw_end: int
    loss: float
    committed: bool
    lr_ratio: float | None
    in_band: bool
    lr: float | None = None
    layer_norms: tuple[float, ...] = ()
    tokens: tuple[int, ...] = ()
    sequences: tuple[int, ...] = ()
    corrupt: tuple[int, ...] = ()
    repeated: int = 0


def remember(record: StepRecord, *, in_band: bool) -> Seen:
    """What is kept of a step."""
    return Seen(
        step=record.step,
        draw=record.draw,
        draw_end=record.draw_end,
        loss=record.loss,
        committed=record.committed,
        lr_ratio=lr_ratio(record),
        in_band=in_band,
        lr=record.lr,
        layer_norms=record.layer_norms,
        tokens=record.tokens,
        sequences=record.sequences,
        corrupt=record.corrupt,
        repeated=record.repeated,
    )


def calm_level(recent: Sequence[Seen], onset: int) -> float | None:
    """Mean loss of the last calm steps before an onset; None where there were none."""
    calm = [seen.loss for seen in recent if seen.step < onset and seen.in_band][-8:]
    return math.fsum(calm) / len(calm) if calm else None


def corrupt_rate(recent: Sequence[Seen], domain: int) -> float:
    """Share of a domain's sequences that are corrupt as a rule; half a one where none was seen."""
    calm = [seen for seen in recent if seen.in_band and len(seen.corrupt) > domain]
    bad = sum(seen.corrupt[domain] for seen in calm)
    return (bad + 0.5) / (sum(seen.sequences[domain] for seen in calm) + 50.0)


def repeated_rate(recent: Sequence[Seen]) -> float:
    """Share of the sequences that stood in the steps before, as a rule."""
    calm = [seen for seen in recent if seen.in_band]
    return (sum(seen.repeated for seen in calm) + 0.5) / (
        sum(sum(seen.sequences) for seen in calm) + 50.0
    )


def lr_jump(around: list[Seen]) -> float | None:
    """The largest factor from the learning rate of one step to that of the next."""
    rates = [seen.lr for seen in around if seen.lr]
    return max((after / before for before, after in pairwise(rates)), default=None)


def layer_ratios(
    names: tuple[str, ...], settled: list[Seen], affected: list[Seen]
) -> dict[str, float]:
    """How far each group's gradient norm rose over its median in the steps before."""
    found = {}
    for at, name in enumerate(names):
        before = sorted(one.layer_norms[at] for one in settled if len(one.layer_norms) > at)
        after = [one.layer_norms[at] for one in affected if len(one.layer_norms) > at]
        if len(before) >= 8 and after and before[len(before) // 2] > 0:
            found[name] = max(after) / before[len(before) // 2]
    return found


def mixture_of(
    domains: tuple[str, ...], settled: list[Seen], affected: list[Seen], *, sizes: Ramp
) -> tuple[str, float, float] | None:
    """The domain whose share of the tokens moved most: name, before, after; None if none did.

    Args:
        sizes: draws of an update, as (after step, draws).
    """
    before = [_shares(seen) for seen in settled[-MIXTURE_BEFORE:] if sum(seen.tokens)]
    # Draws that a remedy left out change the shares of a step as well: that is no news.
    whole = [seen for seen in affected if seen.draw_end - seen.draw <= value_at(sizes, seen.step)]
    after = [_shares(seen) for seen in whole if sum(seen.tokens)]
    if len(before) < MIXTURE_BEFORE // 2 or not after:
        return None
    found = None
    columns = (zip(*before, strict=False), zip(*after, strict=False))
    for name, old, new in zip(domains, *columns, strict=False):
        usual, now = sum(old) / len(old), sum(new) / len(new)
        moved = abs(now - usual)
        if moved < MIXTURE_MOVED or (found is not None and moved <= abs(found[2] - found[1])):
            continue
        spread = math.sqrt(sum((one - usual) ** 2 for one in old) / len(old) / len(new))
        if moved >= 6.0 * spread:
            found = name, usual, now
    return found


def _shares(seen: Seen) -> list[float]:
    total = sum(seen.tokens)
    return [one / total for one in seen.tokens]


def farness(ratio: float | None) -> float:
    """How far a ratio is from 1; -1 for none."""
    if ratio is None:
        return -1.0
    if not math.isfinite(ratio) or ratio <= 0:
        return math.inf
    return abs(math.log(ratio))
