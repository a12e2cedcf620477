"""Facts that were gathered because an incident asked for them."""

from typing import Literal

import msgspec

from steadytrain.actions import Plan
from steadytrain.events.kinds import Fact
from steadytrain.events.replicas import UnlikeReplicas


class ExaminedSequence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One sequence of a suspect step, or a control beside it.

    Attributes:
        z: robust distance of its loss from the other sequences of its domain.
        verdict, defect: what the text lint says ("corrupt", "garbled").
        source: where it came from, as the feed tells it.
    """

    draw: int
    step: int
    domain: int
    loss: float
    z: float
    verdict: str
    role: Literal["suspect", "control"] = "suspect"
    defect: str | None = None
    evidence: str = ""
    source: str = ""


class BatchExamined(Fact, frozen=True):
    """The evidence that an incident asked for.

    Attributes:
        sequences: suspects and controls with their text verdicts.
        flagged: draws whose text is corrupt, around the onset and ahead of it.
        defect: the commonest defect among them; `alike`: the most of them that are nearly the same
            text; `sources`: the files with the most of them.
        scanned: how many draws were read to find them.
        domains: domain index of each flagged range.
        suspect_now, suspect_before, control_now, control_before: loss of the suspect step's batch,
            and of one before the onset, under the present weights and those of `before_step`.
        before_step: step of the healthy state compared with; None if none was held.
        weight_excess: largest change of any single weight since then over the largest that the
            optimizer could have made; above 1 no optimizer did it.
        moment_excess: largest factor by which a second moment fell below what its decay allows;
            above 1 no optimizer did it.
        moments_lost: share of the second moments that fell impossibly.
        moments_flipped: moments that are larger than clipped gradients can make them, or fell
            impossibly where hardly any other did.
        below_epsilon: share of the weights whose gradients are smaller than Adam's epsilon.
        harmless_epsilon: an epsilon that is below a tenth of all but 1 % of the gradients.
        logit_max: the largest logit of a healthy batch under the present weights.
        capped_loss: (cap, loss of that batch with its logits softly capped there).
        logits_at_cap: share of its tokens whose largest logit is within 1 % of the largest of all.
        repeated, repeated_before: share of the affected sequences that came in the 32 steps before
            already, and of those of the steps before the onset.
        remade_steps, differs_at, differs_in: steps made again from `before_step`, the first of them
            that came out otherwise, and in what: "loss" (another state) or "gradient norm".
        weights_differ, moments_differ: numbers of the present state that differ from the remade.
        norm_again, full_rate, half_rate: the onset's step made again: its gradient norm, and the
            loss of the control batch after it, and after it with half the learning rate.
        unlike_ranks: ranks that gave another gradient the second time, or than the others.
        copies: replicas of each part of the state, which were compared; None if they were not.
        unlike: tensors that are not the same on all replicas, some of them; unlike_kinds: how many
            are "weights", and how many of the optimizer's are of which name.
        remade_alike: whether the replicas were the same after the steps were made again.
        nonfinite_weights: number of weights that are not finite.
        path, digest: the file with the texts, and its hash.
    """

    incident: str
    attempt: int
    step: int
    sequences: tuple[ExaminedSequence, ...] = ()
    flagged: tuple[tuple[int, int], ...] = ()
    flagged_domains: tuple[int, ...] = ()
    defect: str | None = None
    alike: int = 0
    sources: tuple[tuple[str, int], ...] = ()
    scanned: int = 0
    suspect_now: float | None = None
    suspect_before: float | None = None
    control_now: float | None = None
    control_before: float | None = None
    before_step: int | None = None
    weight_excess: float | None = None
    moment_excess: float | None = None
    moments_lost: float | None = None
    moments_flipped: int = 0
    below_epsilon: float | None = None
    repeated: float | None = None
    repeated_before: float | None = None
    remade_steps: int | None = None
    differs_at: int | None = None
    differs_in: Literal["loss", "gradient norm"] | None = None
    weights_differ: int = 0
    moments_differ: int = 0
    norm_again: float | None = None
    full_rate: float | None = None
    half_rate: float | None = None
    unlike_ranks: tuple[int, ...] = ()
    copies: int | None = None
    unlike: tuple[UnlikeReplicas, ...] = ()
    unlike_kinds: dict[str, int] = {}
    remade_alike: bool | None = None
    nonfinite_weights: int = 0
    harmless_epsilon: float | None = None
    logit_max: float | None = None
    capped_loss: tuple[tuple[float, float], ...] = ()
    logits_at_cap: float | None = None
    seconds: float | None = None
    path: str | None = None
    digest: str | None = None


class Trial(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of one candidate in a trial.

    Attributes:
        losses: of the updates made, over all ranks. [nats/token]
        control: loss of the control batch at the end. [nats/token]
        grad_norm: the largest.
    """

    plan: tuple[Plan, ...]
    losses: tuple[float, ...]
    control: float | None = None
    grad_norm: float | None = None


class TrialDone(Fact, frozen=True):
    """Candidate remedies were tried for a few updates each; the run was put back to the bit.

    Attributes:
        control_before: loss of the control batch in the healthy state. [nats/token]
    """

    incident: str
    attempt: int
    step: int
    trials: tuple[Trial, ...]
    control_before: float | None = None
    seconds: float | None = None
