"""Whole numbers that change at planned steps: a batch ramp, as a pure function of the step."""

from collections.abc import Sequence

from steadytrain.errors import SettingError

Ramp = tuple[tuple[int, int], ...]
"""Pairs (after step, value): from update `after + 1` on the value holds, until the next pair."""


def value_at(ramp: Ramp, step: int) -> int:
    """The value at update `step`, counted from 1.

    >>> [value_at(((0, 1), (500, 2)), step) for step in (1, 500, 501)]
    [1, 1, 2]
    """
    return next(value for after, value in reversed(ramp) if after < step)


def total_before(ramp: Ramp, step: int) -> int:
    """Sum of the values of all updates before `step`.

    >>> total_before(((0, 1), (500, 2)), 503)
    504
    """
    ends = [after for after, _ in ramp[1:]] + [step - 1]
    return sum(
        value * max(0, min(end, step - 1) - after)
        for (after, value), end in zip(ramp, ends, strict=True)
    )


def checked(ramp: Sequence[tuple[int, int]], *, name: str) -> Ramp:
    """The same pairs as a tuple.

    Raises:
        SettingError: a step has no value (the first pair must begin at 0, steps must rise), or one
            below 1.
    """
    pairs = tuple((int(after), int(value)) for after, value in ramp)
    afters = [after for after, _ in pairs]
    if not pairs or afters[0] != 0 or afters != sorted(set(afters)):
        raise SettingError(
            f"{name}={tuple(ramp)} does not say what every step uses: the first pair must begin "
            f"after step 0, and each later one after a later step. Write {name}=((0, 1), (500, 2)) "
            "for 1 until step 500 and 2 from there on."
        )
    if min(value for _, value in pairs) < 1:
        raise SettingError(
            f"{name}={pairs} makes an empty update. Write 1 or more for each, such as "
            f"{name}=((0, 1), (500, 2))."
        )
    return pairs
