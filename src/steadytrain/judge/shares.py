"""What the changes of the mixture so far say about the next one."""

from collections.abc import Sequence

from steadytrain.events import Advice
from steadytrain.judge.looks import Effect
from steadytrain.stats.mixing import Step, law, slope

FACTOR = 2.0
"""The change of a share that is spoken of."""


def mixing_advice(effects: Sequence[Effect], domains: Sequence[str], step: int) -> Advice | None:
    """What twice a domain's share would do to its loss; None where no sign is known yet."""
    said = []
    for at, name in enumerate(domains):
        mine = [one for one in effects if one.domain == at]
        words = _words(name, mine)
        if words is not None:
            said.append(words)
    if not said:
        return None
    longest = max(one.updates for one in effects)
    return Advice(
        topic="mixing",
        text=f"By step {step}, what a share of the tokens is worth, {longest} updates after a "
        f"change at most and against each domain's own curve: {'; '.join(said)}. Where one share "
        "rises, others fall: add up both.",
    )


def _words(name: str, mine: Sequence[Effect]) -> str | None:
    steps = [
        Step(before=one.before, after=one.after, moved=one.moved, error=one.error) for one in mine
    ]
    found = slope(steps)
    if found is None or not found.is_sure:
        return None
    moved, error = found.moved(FACTOR)
    changes = (
        "1 change, so its sign and order of size"
        if found.changes == 1
        else (f"{found.changes} changes")
    )
    words = (
        f"{name}: d loss / d ln(share) {found.slope:+.3f} +-{found.error:.3f} ({changes}), twice "
        f"the share {moved:+.3f} +-{error:.3f} nats"
    )
    fitted = law(steps)
    if fitted is None:
        return words
    now = steps[-1].after
    wanted = min(1.0, FACTOR * now)
    gain = fitted.moved(wanted) - fitted.moved(now)
    return f"{words}, by the mixing law from {now:.0%} to {wanted:.0%} {gain:+.3f} nats"
