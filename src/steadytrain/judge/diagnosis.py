"""Evidence -> ranked causes, each with what speaks for it, what against, and what would refute it.

The order of the questions matters: what can be proved is asked first (an optimizer cannot have made
this change), then what was measured directly (the learning rate used), then what is likely.
"""

import math

import msgspec

from steadytrain.causes import (
    BAD_TEXT,
    CORRUPTED_WEIGHTS,
    HARD_BATCH,
    INSTABILITY,
    LEARNING_RATE,
    NOT_KNOWN,
    OPTIMIZER_STATE,
    OVERFLOW,
)
from steadytrain.events import BatchExamined, Cause, ExaminedSequence

LR_TOLERANCE = 1.05
"""A learning rate that is used differs from its plan by rounding at most. Source: guess."""

HIGHER = 0.10
"""A batch whose loss is 10 % over another's is called higher. Source: the median real spike is
+14 %, and the noise between two batches of the lab is 3 %."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known about an incident when it is diagnosed.

    Attributes:
        directions, signals: of its alarms.
        lr_ratio: the learning rate used over the one planned, where farthest from 1 around the
            onset, and its step.
        has_recovered: the newest points are inside their bands again.
        landed: whether any affected update landed.
        loss_is_finite: the total loss stayed finite.
        examined: what the training side found, None if it could not look.
    """

    onset: int
    step: int
    directions: tuple[str, ...]
    signals: tuple[str, ...]
    domains: tuple[str, ...]
    lr_ratio: float | None
    lr_step: int | None
    has_recovered: bool
    landed: bool
    loss_is_finite: bool
    examined: BatchExamined | None


def diagnose(evidence: Evidence) -> tuple[Cause, ...]:
    """Causes, most credible first; "not known" when the evidence does not carry more."""
    asked = (
        _optimizer_state(evidence),
        _corrupted_weights(evidence),
        _learning_rate(evidence),
        _overflow(evidence),
        _bad_text(evidence),
        _hard_batch(evidence),
        _instability(evidence),
    )
    found = [cause for cause in asked if cause is not None]
    found.sort(key=lambda cause: -cause.confidence)  # stable: ties keep the order of the questions
    if not found or found[0].confidence < 0.5:
        found.insert(0, _not_known(evidence))
    return tuple(found)


def _optimizer_state(evidence: Evidence) -> Cause | None:
    seen = evidence.examined
    if seen is None or seen.moment_excess is None or seen.moments_lost is None:
        return None
    if seen.moment_excess <= 1.0 or seen.moments_lost < 0.01:
        return None
    return Cause(
        name=OPTIMIZER_STATE,
        confidence=0.97,
        evidence=(
            f"{seen.moments_lost:.0%} of the optimizer's second moments fell further since step "
            f"{seen.before_step} than their decay allows, up to {seen.moment_excess:.3g} times: "
            "no update does that",
            *_direction_words(evidence),
        ),
        against=_text_words(seen),
        refuted_by="a change of beta2 or a deliberate reset of the optimizer since that step",
    )


def _corrupted_weights(evidence: Evidence) -> Cause | None:
    seen = evidence.examined
    if seen is None:
        return None
    reasons = []
    if seen.weight_excess is not None and seen.weight_excess > 1.0:
        reasons.append(
            f"a weight moved {seen.weight_excess:.3g} times as far since step {seen.before_step} "
            "as the optimizer could have moved it"
        )
    if seen.nonfinite_weights:
        reasons.append(f"{seen.nonfinite_weights} weights are not finite")
    if not reasons:
        return None
    confidence = 0.98
    if _lr_is_off(evidence) or (seen.moment_excess or 0.0) > 1.0:
        confidence = 0.6  # a wrong learning rate or wrong moments can throw weights far, too
    elif seen.weight_excess is None or seen.weight_excess <= 1.0:
        confidence = 0.75
    return Cause(
        name=CORRUPTED_WEIGHTS,
        confidence=confidence,
        evidence=(*reasons, *_state_words(seen)),
        against=_text_words(seen),
        refuted_by="an edit of the weights by the training script itself since that step",
    )


def _learning_rate(evidence: Evidence) -> Cause | None:
    if not _lr_is_off(evidence):
        return None
    return Cause(
        name=LEARNING_RATE,
        confidence=0.96,
        evidence=(
            f"the optimizer used {evidence.lr_ratio:.3g} times the planned learning rate at step "
            f"{evidence.lr_step}",
            *_direction_words(evidence),
        ),
        against=_text_words(evidence.examined) if evidence.examined else (),
        refuted_by="a learning rate that equals its plan at every step from the onset on",
    )


def _overflow(evidence: Evidence) -> Cause | None:
    if "not finite" not in evidence.directions:
        return None
    seen = evidence.examined
    weights_are_fine = seen is None or not seen.nonfinite_weights
    what = "the loss was finite" if evidence.loss_is_finite else "the loss was not finite either"
    return Cause(
        name=OVERFLOW,
        confidence=0.9 if weights_are_fine else 0.4,
        evidence=(
            f"the gradient norm or the loss was not finite at step {evidence.onset}; {what}",
            "the update did not land" if not evidence.landed else "an affected update landed",
        ),
        against=(*_text_words(seen),) if seen else (),
        refuted_by="the same step giving a non-finite value again from the same state and data",
    )


def _bad_text(evidence: Evidence) -> Cause | None:
    seen = evidence.examined
    if seen is None or seen.defect is None or not seen.flagged:
        return None
    suspects = [one for one in seen.sequences if one.role == "suspect"]
    controls = [one for one in seen.sequences if one.role == "control"]
    bad_suspects, bad_controls = _corrupt(suspects), _corrupt(controls)
    if not bad_suspects:
        return None
    count = sum(end - first for first, end in seen.flagged)
    domain = evidence.domains[seen.flagged_domains[0]] if seen.flagged_domains else None
    worst = bad_suspects[0]
    confidence = 0.95
    if len(bad_controls) > len(controls) / 2:
        confidence = 0.5
    if len(bad_suspects) < max(1, len(suspects) // 4):
        confidence -= 0.15
    return Cause(
        name=BAD_TEXT,
        domain=domain,
        defect=seen.defect,
        confidence=confidence,
        evidence=(
            f"{len(bad_suspects)} of {len(suspects)} suspect sequences are corrupt, "
            f"{len(bad_controls)} of {len(controls)} controls",
            f"{count} corrupt sequences among {seen.scanned} read around the onset and ahead",
            f"draw {worst.draw}, {worst.source}: {worst.evidence}",
            *_data_words(seen),
        ),
        against=_state_against(seen),
        refuted_by="the same sequences being harmless to read: clean text behind the verdicts",
    )


def _hard_batch(evidence: Evidence) -> Cause | None:
    seen = evidence.examined
    if seen is None or not _higher(seen.suspect_before, seen.control_before):
        return None
    if _higher(seen.control_now, seen.control_before):
        return None
    return Cause(
        name=HARD_BATCH,
        confidence=0.7,
        evidence=_data_words(seen),
        against=("no text of it is flagged as corrupt",) if seen.defect is None else (),
        refuted_by="a normal loss of the same batch under earlier weights",
    )


def _instability(evidence: Evidence) -> Cause | None:
    seen = evidence.examined
    if "rise" not in evidence.directions or evidence.has_recovered:
        return None
    measured = seen is not None and _higher(seen.control_now, seen.control_before)
    if not measured and not any(name.startswith("loss") for name in evidence.signals):
        return None  # a gradient norm or an update size alone has harmed nobody yet
    return Cause(
        name=INSTABILITY,
        confidence=0.75 if measured else 0.5,
        evidence=(*_direction_words(evidence), *(_state_words(seen) if seen else ())),
        against=("the loss of another batch was not compared",) if not measured else (),
        refuted_by="the loss of other batches being normal under the present weights",
    )


def _not_known(evidence: Evidence) -> Cause:
    seen = evidence.examined
    looked = "no evidence could be gathered" if seen is None else "no rule's evidence was found"
    return Cause(
        name=NOT_KNOWN,
        confidence=0.5,
        evidence=(looked, *_direction_words(evidence)),
        against=_text_words(seen) if seen else (),
        refuted_by="more evidence",
    )


def _lr_is_off(evidence: Evidence) -> bool:
    ratio = evidence.lr_ratio
    if ratio is None:
        return False
    return not (math.isfinite(ratio) and 1 / LR_TOLERANCE <= ratio <= LR_TOLERANCE)


def _higher(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return False
    return not math.isfinite(one) or one > other * (1 + HIGHER)


def _corrupt(sequences: list[ExaminedSequence]) -> list[ExaminedSequence]:
    return [one for one in sequences if one.verdict == "corrupt"]


def _direction_words(evidence: Evidence) -> tuple[str, ...]:
    return (f"{', '.join(evidence.signals)}: {', '.join(evidence.directions)}",)


def _text_words(seen: BatchExamined) -> tuple[str, ...]:
    if seen.defect is None:
        return (f"none of {seen.scanned} sequences read is corrupt",) if seen.scanned else ()
    return (f"some sequences are corrupt: {seen.defect}",)


def _data_words(seen: BatchExamined) -> tuple[str, ...]:
    if seen.suspect_before is None or seen.control_before is None:
        return ()
    return (
        f"under the weights of step {seen.before_step} the suspect batch has loss "
        f"{seen.suspect_before:.3f}, another batch {seen.control_before:.3f}",
    )


def _state_words(seen: BatchExamined) -> tuple[str, ...]:
    if seen.control_now is None or seen.control_before is None:
        return ()
    return (
        f"a batch from before the onset has loss {seen.control_now:.3f} under the present "
        f"weights, {seen.control_before:.3f} under those of step {seen.before_step}",
    )


def _state_against(seen: BatchExamined) -> tuple[str, ...]:
    return _state_words(seen) if _higher(seen.control_now, seen.control_before) else ()
