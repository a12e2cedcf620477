"""When to look at the panel next: early, within a budget, and more often around what happens."""

import msgspec

from steadytrain.judge.looks import Happening, Looks

EARLY = (100, 200, 400)
"""Updates after a run began; then by the budget. Source: design of the panel, with a look at 0."""

BUDGET = 0.005
"""Of the time of the updates that looks may take. Source: design of the panel, <= 0.5 %."""

USUAL, LEAST, MOST = 500, 25, 2000
"""Steps between looks: while no times are known; and the closest and the widest. Source: 500 as in
the design; closer than 25 a look sees hardly more than jitter, in 2,000 a bump comes and goes."""

EXTRA = (1, 2, 4)
"""Looks after something happened, in multiples of the first distance: a bump of unknown length is
caught with few looks if they are twice as far apart each time."""

NEAREST = 10
"""Steps from what happened to the first extra look, at least."""

_WORDS = {
    "lr up": "the learning rate rose",
    "lr down": "the learning rate fell",
    "share up": "shares of the tokens changed",
    "share down": "shares of the tokens changed",
    "corrupt": "texts were corrupt",
    "leaked": "text of the panel was read",
    "restored": "a state was restored that is not as on record",
    "remedy": "a remedy was carried out",
}


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A look before step `due`, and why."""

    due: int
    why: str


def distance(looks: Looks) -> int:
    """Steps from one planned look to the next."""
    if looks.every is not None:
        return looks.every
    if not looks.num_timed or not looks.num_steps or not looks.step_seconds:
        return USUAL
    look = looks.look_seconds / looks.num_timed
    step = looks.step_seconds / looks.num_steps
    return min(max(round(look / step / BUDGET), LEAST), MOST)


def extras(looks: Looks, found: tuple[Happening, ...], step: int, lag: int) -> Looks:
    """With the looks that news ask for. None where the grid is close enough, or a rate goes on
    turning little by little: that is what the grid is for."""
    apart = distance(looks)
    first = max(NEAREST, apart // 8)
    if not found or apart < 2 * first or not looks.has_panel:
        return looks
    why = _WORDS[found[0].kind]
    wanted = tuple((step + lag + first * times, why) for times in EXTRA if first * times < apart)
    return msgspec.structs.replace(looks, extra=_merge(looks.extra, wanted, first))


def want(looks: Looks, *, begin: int, step: int, last: int | None, lag: int) -> Wanted | None:
    """The look that has to be asked for at this step, if any. The last step is looked at anyway."""
    if not looks.has_panel or (last is not None and step + lag > last):
        return None
    newest = looks.marks[-1].step if looks.marks else begin
    if looks.asked is not None and newest < looks.asked - 1 and step <= looks.asked + lag:
        return None  # asked for already; if it was lost with a life, it is asked for again
    due, why = step + lag, ""
    for at, reason in looks.extra:
        if at <= due and newest < at - NEAREST // 2:
            why = reason
    if not why and looks.every is None and newest < due - 1:
        early = [begin + one for one in EARLY]
        is_early = any(newest < one < due for one in early)
        if is_early or (newest >= early[-1] and due - 1 - newest >= distance(looks)):
            why = "schedule"
    return Wanted(due=due, why=why) if why else None


def asked(looks: Looks, due: int) -> Looks:
    """After a look was asked for."""
    left = tuple(one for one in looks.extra if one[0] > due)
    return msgspec.structs.replace(looks, asked=due, extra=left)


def _merge(
    old: tuple[tuple[int, str], ...], new: tuple[tuple[int, str], ...], apart: int
) -> tuple[tuple[int, str], ...]:
    """Both, no two closer than `apart`."""
    kept: list[tuple[int, str]] = []
    for one in sorted((*old, *new)):
        if not kept or one[0] - kept[-1][0] >= apart:
            kept.append(one)
    return tuple(kept)
