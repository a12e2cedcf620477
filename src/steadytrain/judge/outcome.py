"""After a remedy: cured, not cured, worse; after how many steps, by which looks at the panel."""

import math
from typing import Literal

import msgspec

from steadytrain.events import Alarm, Outcome, PanelRecord
from steadytrain.judge.state import Case, State, Tried
from steadytrain.stats.paired import change

Result = Literal["cured", "not cured", "worse"]


class Verification(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a remedy counts as having held.

    Attributes:
        good_steps: judged, committed updates in a row with every signal in its band. [steps]
        worse_factor: a total loss beyond the incident's own peak by this factor is worse.
        panel_sigmas, panel_slack: the panel is harmed when a domain's mean loss is above that of
            the last healthy look by more than so many standard errors of the paired change, and by
            more than so much. [nats/token]
        panel_least: fewer sequences of a domain are too few to tell.

    Source: good_steps 16: twice the longest lead of a gradient norm over a spike, and half of the
    verification window that healing within tens of steps needs (BLOOM 176B); a later relapse opens
    an incident of its own that remembers this one. worse_factor: guess. panel_slack: twice the
    jitter of the lab's model between two looks, 0.012 nats.
    """

    good_steps: int = 16
    worse_factor: float = 1.1
    panel_sigmas: float = 4.0
    panel_slack: float = 0.025
    panel_least: int = 20

    def read(
        self, *, good_steps: int, alarmed: bool, loss: float | None, peak: float | None
    ) -> Result | None:
        """The outcome as far as it is known; None while it is too early to tell."""
        if alarmed:
            is_worse = loss is not None and peak is not None and loss > peak * self.worse_factor
            return "worse" if is_worse else "not cured"
        return "cured" if good_steps >= self.good_steps else None

    def harmed(self, before: PanelRecord, now: PanelRecord) -> tuple[tuple[int, float, float], ...]:
        """Domains of the panel that are worse than before: (index, loss before, loss now)."""
        found = []
        for at, (old, new) in enumerate(zip(before.losses, now.losses, strict=True)):
            if len(old) != len(new) or len(old) < self.panel_least:
                continue
            moved = change(old, new)
            limit = max(self.panel_slack, self.panel_sigmas * moved.error)
            # Not "> limit": a panel that is not finite is harmed.
            if not moved.mean <= limit:
                found.append((at, math.fsum(old) / len(old), math.fsum(new) / len(new)))
        return tuple(found)


def outcome_of(
    state: State,
    case: Case,
    result: Result,
    *,
    alarms: tuple[Alarm, ...],
    panel: tuple[PanelRecord, PanelRecord] | None,
) -> Outcome:
    """What came of the case's remedy, with before and after in numbers."""
    assert case.remedy is not None
    return Outcome(
        incident=case.id,
        remedy=case.remedy,
        step=state.step,
        result=result,
        steps=case.good_steps,
        why=_outcome_words(result, case.good_steps, alarms, has_panel=panel is not None),
        loss_before=case.level,
        loss_peak=case.peak,
        loss_after=case.good_sum / case.good_steps if case.good_steps else None,
        panel_before=_means(panel[0]) if panel else (),
        panel_after=_means(panel[1]) if panel else (),
    )


def panel_before(state: State, case: Case) -> PanelRecord | None:
    """The newest look that is older than the incident."""
    looks = (state.panel_now, state.panel)
    return next((one for one in looks if one is not None and one.step < case.onset), None)


def _means(look: PanelRecord) -> tuple[float, ...]:
    return tuple(
        nll / tokens if tokens else math.nan
        for nll, tokens in zip(look.nll, look.tokens, strict=True)
    )


def finite(loss: float) -> float | None:
    """The loss, None if it is not finite."""
    return loss if math.isfinite(loss) else None


def settled(history: tuple[Tried, ...], remedy: str, result: str) -> tuple[Tried, ...]:
    """The history with what came of a remedy."""
    return tuple(
        msgspec.structs.replace(one, result=result) if one.remedy == remedy else one
        for one in history
    )


def _outcome_words(result: str, good: int, alarms: tuple[Alarm, ...], *, has_panel: bool) -> str:
    if result == "cured":
        words = f"{good} committed steps after it with every signal in its band"
        return f"{words}, and no domain of the panel worse than before it" if has_panel else words
    names = ", ".join(f"{alarm.signal} {alarm.direction}" for alarm in alarms)
    return f"after {good} good steps again: {names}"
