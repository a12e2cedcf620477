"""Where a case stands: its evidence, the place of its next remedy, what was tried there."""

import math

import msgspec

from steadytrain.actions import (
    AskPerson,
    BeginDecay,
    Cancel,
    ClipAttention,
    ExcludeRank,
    LimitUpdates,
    Plan,
    RollBack,
    ScaleEpsilon,
    ScaleLearningRate,
    ScaleShallowGradients,
    SetClipping,
    SetZLoss,
    SkipDraws,
    roll_back_step,
)
from steadytrain.causes import INSTABILITY, LOGIT_GROWTH, SHALLOW_GRADIENTS
from steadytrain.events import BatchExamined, Proposal, Remedy, TrialDone, TrialWanted
from steadytrain.judge.evidence import Evidence, is_higher
from steadytrain.judge.rung import Place, Rung
from steadytrain.judge.seen import farness, layer_ratios, lr_jump, mixture_of
from steadytrain.judge.state import LAG, Case, State, Tried
from steadytrain.ramps import value_at
from steadytrain.ranges import Ranges, merge, overlaps

STATE_CAUSES = (INSTABILITY, SHALLOW_GRADIENTS, LOGIT_GROWTH)
"""Causes in the model's own state: they come back when a remedy wears off."""

SETTINGS = (
    BeginDecay, ClipAttention, ExcludeRank, LimitUpdates, ScaleEpsilon, ScaleLearningRate,
    ScaleShallowGradients, SetClipping, SetZLoss,
)  # fmt: skip
"""Actions that hold on and can be cancelled."""


def evidence_of(state: State, case: Case, examined: BatchExamined | None) -> Evidence:
    """All that is known about a case."""
    around = [seen for seen in state.recent if seen.step >= case.onset - 2]
    ratios = [(seen.lr_ratio, seen.step) for seen in around if seen.lr_ratio is not None]
    ratio, ratio_step = max(ratios, key=lambda one: farness(one[0]), default=(None, None))
    settled = [seen for seen in state.recent if seen.step < case.onset]
    return Evidence(
        onset=case.onset,
        step=state.step,
        directions=case.directions,
        signals=case.signals,
        domains=state.domains,
        lr_ratio=ratio,
        lr_step=ratio_step,
        has_recovered=_has_recovered(state),
        landed=_landed(state, case.onset),
        loss_is_finite=all(math.isfinite(seen.loss) for seen in around),
        examined=examined,
        lr_jump=lr_jump(around),
        changed_settings=state.changed_settings,
        layer_ratios=layer_ratios(state.layers, settled, around[2:]),
        mixture=mixture_of(state.domains, settled, around[2:], sizes=state.sizes),
        unlike=case.unlike,
    )


def place_of(state: State, case: Case, cause: str, *, relapse: int, cool_down: int) -> Place:
    """Where and when the case's next remedy is chosen.

    Args:
        relapse, cool_down: how near an earlier case must lie for its remedies to count here; the
            second for causes in the model's own state. [steps]
    """
    examined = state.examined
    flagged: Ranges = examined.flagged if examined else ()
    landed = [seen for seen in state.recent if seen.committed]
    hit = [seen.step for seen in landed if overlaps(flagged, seen.draw, seen.draw_end)]
    window = _window(state, case)
    reach = cool_down if cause in STATE_CAUSES else relapse
    same = [
        one
        for one in state.history
        if one.cause == cause and _is_here(one, case, window, reach=reach)
    ]
    mine = [one for one in state.history if one.incident == case.id]
    suspects = case.unlike.suspects if case.unlike is not None else ()
    return Place(
        cause=cause,
        # A trial may have taken a later rung than the next: what is milder was passed over.
        rung=max([len(same), *(one.rung + 1 for one in same)]),
        tries=len(mine),
        onset=case.onset,
        due=state.step + LAG,
        first_flagged=hit[0] if hit else None,
        flagged=flagged,
        window=window,
        landed=_landed(state, case.onset),
        recovered=_has_recovered(state),
        is_felt=any(not name.startswith(("text:", "repeats")) for name in case.signals),
        is_harmed="rise" in case.directions
        and any(name.startswith(("loss", "panel:")) for name in case.signals),
        is_step_too_long=examined is not None and is_higher(examined.full_rate, examined.half_rate),
        has_attention="attention logit" in case.signals,
        unlike_ranks=examined.unlike_ranks if examined else (),
        unlike=case.unlike,
        times_named=max((state.named.count(rank) for rank in suspects), default=0),
        epsilon_factor=_epsilon_factor(state, examined),
        rollbacks=state.num_rollbacks,
        steps_lost=state.steps_lost,
        # What did not cure is cancelled by the next rung, and its factor with it.
        lr_left=math.prod(one.lr_factor for one in mine if one.result in ("pending", "cured")),
        steps=state.steps,
        draws_per_step=value_at(state.sizes, state.step + LAG),
        can=state.can,
    )


def offer(state: State, case: Case, place: Place, at: int, rung: Rung) -> Proposal:
    """The rung as it is proposed, tried or carried out; `at`: how many rungs after the next."""
    return Proposal(
        id=f"remedy-{state.num_remedies}", incident=case.id, step=state.step,
        rung=place.rung + at, cause=place.cause, plan=in_place_of(state, case, rung.plan),
        why=rung.why,
    )  # fmt: skip


def remedy_of(offered: Proposal, step: int) -> Remedy:
    """What is carried out of what was proposed."""
    return Remedy(
        id=offered.id, incident=offered.incident, step=step, due=step + LAG, rung=offered.rung,
        cause=offered.cause, plan=offered.plan, why=offered.why,
    )  # fmt: skip


def trial_of(state: State, case: Case, updates: int) -> TrialWanted:
    """The trial of the state's candidates."""
    return TrialWanted(
        incident=case.id, step=state.step, due=state.step + LAG, onset=case.onset,
        candidates=tuple(one.plan for one in state.candidates), updates=updates,
    )  # fmt: skip


def best_of(candidates: tuple[Proposal, ...], done: TrialDone, level: float | None) -> Proposal:
    """The mildest candidate that worked in a trial; the strongest if none did.

    Args:
        level: mean loss of the calm steps before the onset, None where there were none.
    """
    if not done.trials:
        return candidates[0]  # no state near enough was held
    by_plan = {one.plan: one for one in done.trials}
    for candidate in candidates:
        if (trial := by_plan.get(candidate.plan)) is None:
            continue
        losses = (*trial.losses, trial.control if trial.control is not None else 0.0)
        worst = max(losses, key=lambda one: one if math.isfinite(one) else math.inf)
        before = level if level is not None else done.control_before
        if not is_higher(worst, before) and not is_higher(trial.control, done.control_before):
            why = f"{candidate.why}; the mildest of {len(done.trials)} that worked in a trial"
            return msgspec.structs.replace(candidate, why=why)
    last = candidates[-1]
    why = f"{last.why}; none of {len(done.trials)} worked in a trial, this is the strongest"
    return msgspec.structs.replace(last, why=why)


def tried_of(state: State, case: Case, offered: Proposal, result: str) -> Tried:
    """The entry of the run's history for a remedy."""
    begins = [action.from_step for action in offered.plan if isinstance(action, SETTINGS)]
    factors = [one.factor for one in offered.plan if isinstance(one, ScaleLearningRate)]
    return Tried(
        incident=case.id,
        remedy=offered.id,
        cause=offered.cause,
        rung=offered.rung,
        onset=case.onset,
        result=result,
        window=_window(state, case),
        left_out=merge(
            one for act in offered.plan if isinstance(act, SkipDraws) for one in act.ranges
        ),
        began=min(begins, default=None),
        lr_factor=math.prod(factors),
    )


def in_place_of(state: State, case: Case, plan: tuple[Plan, ...]) -> tuple[Plan, ...]:
    """The plan in place of what was tried before in this case: a higher rung holds all of a
    lower one that it needs. What made things worse is undone from before it was done. Nothing goes
    back to before the run began: a branch has none of its parent's earlier states."""
    back = roll_back_step(plan)
    if back is not None and back < state.begin:
        plan = _from(plan, back, state.begin)
    mine = [one for one in state.history if one.incident == case.id and one.began is not None]
    replaced = [one for one in mine if one.result in ("not cured", "worse")]
    if not replaced or any(isinstance(action, AskPerson) for action in plan):
        return plan
    back = roll_back_step(plan)
    began = [one.began for one in replaced if one.result == "worse" and one.began is not None]
    if began and (back is None or min(began) < back):
        before = max(min(began), state.begin)
        plan = (RollBack(to_step=before), *plan) if back is None else _from(plan, back, before)
        back = before
    from_step = back if back is not None else state.step + LAG - 1
    # Only settings are taken back: what was left out may have been part of the trouble.
    out = merge(one for tried in replaced for one in tried.left_out)
    return (
        *plan,
        *((SkipDraws(ranges=out, from_step=from_step),) if out else ()),
        *(Cancel(remedy=one.remedy, from_step=from_step) for one in replaced),
    )


def _from(plan: tuple[Plan, ...], back: int, step: int) -> tuple[Plan, ...]:
    """A plan that returns to `back`, with another step in its place."""
    return tuple(
        msgspec.structs.replace(action, to_step=step)
        if isinstance(action, RollBack)
        else msgspec.structs.replace(action, from_step=step)
        if getattr(action, "from_step", None) == back
        else action
        for action in plan
    )


def _window(state: State, case: Case) -> Ranges:
    """Draws of the affected steps, and of those that run while a remedy is on its way."""
    affected = [seen for seen in state.recent if seen.step >= case.onset]
    if not affected:
        return ()
    first = affected[-1].step + 1
    ahead = sum(value_at(state.sizes, step) for step in range(first, first + LAG))
    return ((affected[0].draw, affected[-1].draw_end + ahead),)


def _is_here(tried: Tried, case: Case, window: Ranges, *, reach: int) -> bool:
    """Whether a remedy was tried at this place: in this case, near it, or on the same data."""
    if tried.incident == case.id or abs(tried.onset - case.onset) <= reach:
        return True
    return any(overlaps(tried.window, first, end) for first, end in window)


def _has_recovered(state: State) -> bool:
    return bool(state.recent) and state.recent[-1].in_band


def _landed(state: State, onset: int) -> bool:
    """Whether an update that looks affected changed the weights."""
    affected = (seen for seen in state.recent if seen.step >= onset)
    return any(seen.committed and not seen.in_band for seen in affected)


def _epsilon_factor(state: State, examined: BatchExamined | None) -> float | None:
    """What brings Adam's epsilon below all but the smallest gradients; None where it is."""
    epsilon = state.optimizer.get("eps")
    if examined is None or examined.harmless_epsilon is None or not epsilon:
        return None
    factor = examined.harmless_epsilon / epsilon
    return factor if factor < 1.0 else None
