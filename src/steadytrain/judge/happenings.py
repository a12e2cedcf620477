"""What may move the panel, heard from the updates: turns of the learning rate, shares, texts."""

import math
from typing import Literal

import msgspec

from steadytrain.events import StepRecord
from steadytrain.judge.looks import HAPPENINGS, Happening, Kind, Looks, Swing, Tally, add, merged

BLOCK = 8
BLOCKS = 4
"""Updates counted together, and how many such are compared with what is usual: 1, 2 or 4."""

SURE = 5.3
"""Signed root of the likelihood ratio from which a count is another: 1e-7 by chance, and there are
about 10 such looks in 100 updates. [standard deviations]"""

LIKELY = 2.0
"""The same for the other shares once one has changed: they add up to one, so some did."""

SHARE_FACTOR = 1.25
"""A share that changed by less moves a loss by less than jitter: in the lab .34 -> .06 moved it by
.3 nats, which is .2 for each unit of ln(share). Source: LOG.md 2026-11-27."""

LR_FACTOR = 1.1
"""A turn of the learning rate is heard from a tenth on."""

LEAST_BAD = 3
"""Sequences of a domain that are corrupt or hold text of the panel; fewer are no source."""

PRIOR = 200
"""Clean sequences that each domain is taken to have had, so that the first found are judged."""


def note_step(looks: Looks, record: StepRecord, domains: tuple[str, ...]) -> Looks:
    """What one more update tells. Updates that were held back taught the model nothing."""
    if not record.committed:
        return looks
    found: list[Happening] = []
    swing, turned = _follow(looks.swing, record.step, record.lr)
    happenings = looks.happenings
    if turned is not None:
        found.append(turned)
    elif swing.turned and happenings:
        happenings = _prolong(happenings, swing)
    block = add(looks.block, record)
    looks = msgspec.structs.replace(
        looks,
        swing=swing,
        happenings=happenings,
        stretch=add(looks.stretch, record),
        block=block,
        num_steps=looks.num_steps + (record.seconds is not None),
        step_seconds=looks.step_seconds + (record.seconds or 0.0),
    )
    if block.steps >= BLOCK:
        looks, more = _close_block(looks, domains)
        found += more
    return note(looks, found)


def note(looks: Looks, found: list[Happening]) -> Looks:
    """With these happenings, oldest first."""
    if not found:
        return looks
    return msgspec.structs.replace(
        looks,
        happenings=(*looks.happenings, *found)[-HAPPENINGS:],
        num_happenings=looks.num_happenings + len(found),
    )


def root(few: int, of_few: int, usual: int, of_usual: int) -> float:
    """Signed root of the likelihood ratio that a share is what it was.

    >>> round(root(3, 64, 34, 100), 1)
    -4.8
    """
    whole, every = few + usual, of_few + of_usual
    if not of_few or not of_usual or not 0 < whole < every:
        return 0.0
    ratio = 0.0
    for seen, share in (
        (few, of_few * whole / every),
        (of_few - few, of_few * (every - whole) / every),
        (usual, of_usual * whole / every),
        (of_usual - usual, of_usual * (every - whole) / every),
    ):
        ratio += seen * math.log(seen / share) if seen else 0.0
    rose = few * of_usual >= usual * of_few
    return math.copysign(math.sqrt(max(0.0, 2.0 * ratio)), 1.0 if rose else -1.0)


def _follow(swing: Swing, step: int, lr: float | None) -> tuple[Swing, Happening | None]:
    """The learning rate one update on, and whether it turned."""
    if lr is None or not math.isfinite(lr) or lr < 0:
        return swing, None
    here = (step, lr)
    low, high = swing.low or here, swing.high or here
    if swing.turned != "up" and lr > low[1] * LR_FACTOR:
        news = None if swing.is_first and not swing.turned else _turn("lr up", low, here)
        return Swing(low=low, high=here, turned="up", is_first=False), news
    if swing.turned != "down" and lr < high[1] / LR_FACTOR:
        return (
            Swing(low=here, high=high, turned="down", is_first=False),
            _turn("lr down", high, here),
        )
    # A warm-up rises from the first update on.
    is_first = swing.is_first and (swing.low is None or lr > swing.low[1])
    # Of equal rates the newest: a plateau ends where the rate leaves it.
    low = here if lr <= low[1] else low
    high = here if lr >= high[1] else high
    return msgspec.structs.replace(swing, low=low, high=high, is_first=is_first), None


def _turn(kind: Kind, since: tuple[int, float], now: tuple[int, float]) -> Happening:
    return Happening(kind=kind, step=since[0], until=now[0], before=since[1], after=now[1])


def _prolong(happenings: tuple[Happening, ...], swing: Swing) -> tuple[Happening, ...]:
    """The newest turn of the rate goes on: to where, and how far."""
    kind = f"lr {swing.turned}"
    now = swing.high if swing.turned == "up" else swing.low
    assert now is not None
    for at in range(len(happenings) - 1, -1, -1):
        one = happenings[at]
        if not one.kind.startswith("lr "):
            continue
        is_further = now[1] > one.after if swing.turned == "up" else now[1] < one.after
        if one.kind != kind or not is_further:
            return happenings
        longer = msgspec.structs.replace(one, until=now[0], after=now[1])
        return (*happenings[:at], longer, *happenings[at + 1 :])
    return happenings


def _close_block(looks: Looks, domains: tuple[str, ...]) -> tuple[Looks, list[Happening]]:
    """Eight more updates: are the shares and the texts as usual?"""
    blocks = (*looks.blocks, looks.block)[-BLOCKS:]
    windows = [merged(blocks[-count:]) for count in (1, 2, 4) if count <= len(blocks)]
    found, usual = _shares(looks.usual, looks.ever, windows, domains)
    texts: list[Happening] = []
    ill = looks.ill
    for kind in ("corrupt", "leaked"):
        more, ill = _texts(kind, looks.ever, windows, domains, ill)
        texts += more
    past = blocks[:-1] if len(blocks) == BLOCKS else ()
    clean = not any(one in {name for name, _ in ill} for one in ("corrupt", "leaked"))
    ever = merged((looks.ever, past[0])) if past and clean else looks.ever
    looks = msgspec.structs.replace(
        looks, block=Tally(), blocks=blocks, usual=usual, ever=ever, ill=ill
    )
    return looks, found + texts


def _shares(
    usual: Tally, ever: Tally, windows: list[Tally], domains: tuple[str, ...]
) -> tuple[list[Happening], Tally]:
    """Domains whose share of the sequences is another than before; the new usual."""
    for window in windows:
        # A window that reaches back over the last change is a mixture of two mixtures.
        if not usual.steps or not sum(window.sequences) or window.first < usual.first:
            break
        of_few, of_usual = sum(window.sequences), sum(usual.sequences)
        far = [
            root(few, of_few, many, of_usual)
            for few, many in zip(window.sequences, usual.sequences, strict=True)
        ]
        sure = any(abs(one) >= SURE and _has_moved(at, usual, window) for at, one in enumerate(far))
        found = [
            Happening(
                kind="share up" if far[at] > 0 else "share down", step=window.first - 1,
                until=window.last, domain=name, before=usual.share(at), after=window.share(at),
            )
            for at, name in enumerate(domains)
            if sure and abs(far[at]) >= LIKELY and _has_moved(at, usual, window)
        ]  # fmt: skip
        if found:
            return found, window
    return [], merged((usual, windows[0]))


def _has_moved(at: int, usual: Tally, window: Tally) -> bool:
    """Whether a share moved by enough to be felt."""
    low, high = sorted((usual.share(at), window.share(at)))
    return high >= low * SHARE_FACTOR and high > low


def _texts(
    kind: Literal["corrupt", "leaked"] | str,
    ever: Tally,
    windows: list[Tally],
    domains: tuple[str, ...],
    ill: tuple[tuple[str, int], ...],
) -> tuple[list[Happening], tuple[tuple[str, int], ...]]:
    """Domains with far more corrupt sequences than ever, or with text of the panel."""
    found = []
    for at, name in enumerate(domains):
        usual = getattr(ever, kind)
        base = (usual[at] if len(usual) > at else 0, PRIOR)
        if len(ever.sequences) > at:
            base = (base[0], base[1] + ever.sequences[at])
        is_ill = (kind, at) in ill
        for window in windows:
            counts = getattr(window, kind)
            few = counts[at] if len(counts) > at else 0
            far = root(few, window.sequences[at], *base) if few else 0.0
            if not is_ill and few >= LEAST_BAD and far >= SURE:
                is_ill = True
                ill = (*ill, (kind, at))
                found.append(
                    Happening(
                        kind="corrupt" if kind == "corrupt" else "leaked", step=window.first - 1,
                        until=window.last, domain=name, before=base[0] / base[1],
                        after=few / window.sequences[at],
                    )
                )  # fmt: skip
        last = windows[-1]
        counts = getattr(last, kind)
        few = counts[at] if len(counts) > at else 0
        is_over = last.steps >= BLOCK * BLOCKS and few / max(1, last.sequences[at]) <= (
            2 * (base[0] + 1) / base[1]
        )
        if is_ill and is_over:
            ill = tuple(one for one in ill if one != (kind, at))
    return found, ill
