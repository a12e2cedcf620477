"""Plans as data: what hands can be asked to do.

A setting with `from_step` holds for every update after that step, on the branch that it was given
on; `hold_steps` says for how many, None for good. An action is a pure description: carried out
twice, or in another life of the run, it gives the same update.
"""

from typing import Literal

import msgspec

LOWEST_THIRD = 1 / 3

FOR_GOOD = 10**9
"""`hold_steps` of what must name them: more than any run has."""

Clipping = Literal["zclip", "adagc", "spikes"]


class Action(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="do", tag=True
):
    """One thing that hands can do."""


class SkipUpdate(Action, frozen=True):
    """Let the update of `step` not land. The gate has done so already when this is written."""

    step: int


class RollBack(Action, frozen=True):
    """Return to the state after `to_step`; everything later is another branch."""

    to_step: int


class SkipDraws(Action, frozen=True):
    """Leave these draws out of the data order in every step after `from_step`."""

    ranges: tuple[tuple[int, int], ...]
    from_step: int


class ScaleLearningRate(Action, frozen=True):
    """Multiply the learning rate by `factor`, then re-warm linearly to the schedule."""

    factor: float
    from_step: int
    hold_steps: int
    rewarm_steps: int


class ScaleEpsilon(Action, frozen=True):
    """Multiply Adam's epsilon by `factor`.

    Source: "A Theory on Adam Instability" (Molybog et al. 2023): where gradients shrink to epsilon,
    updates lose their direction; lower it.
    """

    factor: float
    from_step: int


class ScaleShallowGradients(Action, frozen=True):
    """Multiply gradients of the embedding by `alpha`, of deeper layers by less; relax to 1.

    Of n blocks, block i < reach * n is multiplied by alpha ** (1 - (i + 0.5) / (reach * n)); with
    reach 0 the embedding alone is.

    Source: embedding gradient shrink of GLM-130B (alpha 0.1, relaxed to 1 over 500 steps).
    """

    alpha: float
    from_step: int
    hold_steps: int
    relax_steps: int
    reach: float = LOWEST_THIRD


class SetZLoss(Action, frozen=True):
    """Add coefficient * logsumexp^2 to each token's loss ("max": the largest logit instead).

    After `hold_steps` it relaxes linearly to the run's own coefficient over `relax_steps`.

    Source: PaLM (1e-4, logsumexp); Baichuan 2 (2e-4, largest logit).
    """

    coefficient: float
    from_step: int
    form: Literal["logsumexp", "max"] = "logsumexp"
    hold_steps: int | None = None
    relax_steps: int = 0


class SetClipping(Action, frozen=True):
    """Clip gradients by a running threshold, beside the run's own limit.

    "zclip": the global norm by its running mean and variance; "adagc": each tensor's by its own
    running norm; "spikes": each element by the second moment.

    Source: ZClip (Kumar et al. 2025), AdaGC (Wang et al. 2025), SPAM (Huang et al. 2025).
    """

    method: Clipping
    from_step: int
    hold_steps: int | None = None


class ResetMoments(Action, frozen=True):
    """Set the optimizer's moments and step counters to zero once, before update `from_step` + 1.

    Source: SPAM (Huang et al. 2025), with a re-warm of the learning rate.
    """

    from_step: int


class LimitUpdates(Action, frozen=True):
    """Divide each tensor's update by its gradients' size over their expected one, if that is > 1.

    Source: update clipping of AdaFactor, as in StableAdamW (Wortsman et al. 2023).
    """

    from_step: int
    hold_steps: int | None = None


class ClipAttention(Action, frozen=True):
    """Scale the query and key weights of heads whose largest logit is beyond `threshold`.

    Source: QK-clip, Kimi K2 (threshold 100).
    """

    from_step: int
    threshold: float = 100.0
    hold_steps: int | None = None


class ExcludeRank(Action, frozen=True):
    """Leave one rank's gradient out of the average."""

    rank: int
    from_step: int


class LeaveHost(Action, frozen=True):
    """Save, and end every rank as exit status 75 asks for: start again on another host. The rank
    whose hardware is suspect ends first."""

    rank: int


class BeginDecay(Action, frozen=True):
    """Begin the schedule's decay phase now."""

    from_step: int


class Cancel(Action, frozen=True):
    """End the settings of an earlier remedy after `from_step`."""

    remedy: str
    from_step: int


class AskPerson(Action, frozen=True):
    """Nothing automatic is left, or allowed: a person has to decide."""

    question: str


Plan = (
    SkipUpdate
    | RollBack
    | SkipDraws
    | ScaleLearningRate
    | ScaleEpsilon
    | ScaleShallowGradients
    | SetZLoss
    | SetClipping
    | ResetMoments
    | LimitUpdates
    | ClipAttention
    | ExcludeRank
    | LeaveHost
    | BeginDecay
    | Cancel
    | AskPerson
)


def roll_back_step(plan: tuple[Plan, ...]) -> int | None:
    """The last step that a plan keeps; None if it does not roll back."""
    for action in plan:
        if isinstance(action, RollBack):
            return action.to_step
    return None


SPIKES = "SetClipping:spikes"
"""SetClipping by each element's second moment, which not every optimizer keeps."""


def ability(action: Action) -> str:
    """The name under which a run says that it can carry this out."""
    if isinstance(action, SetClipping) and action.method == "spikes":
        return SPIKES
    return type(action).__name__


def begun_now(plan: tuple[Plan, ...], from_step: int) -> tuple[Plan, ...]:
    """A plan that was made earlier: without a roll-back, its settings begin after `from_step`."""
    if roll_back_step(plan) is not None:
        return plan
    return tuple(
        msgspec.structs.replace(action, from_step=max(action.from_step, from_step))
        if not isinstance(action, SkipUpdate | RollBack | LeaveHost | AskPerson)
        else action
        for action in plan
    )
