"""Questions about what broke the state or the machine: what can be proved, or was measured.

An optimizer cannot have made such a change; a setting is not what the run began with; the same
steps made again came out otherwise.
"""

from steadytrain.causes import (
    CORRUPTED_GRADIENT,
    CORRUPTED_MOMENTS,
    CORRUPTED_WEIGHTS,
    EPSILON,
    LEARNING_RATE,
    OPTIMIZER_STATE,
    OVERFLOW,
)
from steadytrain.events import Cause
from steadytrain.judge.evidence import (
    LR_JUMP,
    Evidence,
    direction_words,
    is_lr_off,
    is_text_to_blame,
    remade_words,
    state_words,
    text_words,
    unlike_tensor_words,
    unlike_words,
)

CORRUPTED = (CORRUPTED_WEIGHTS, CORRUPTED_MOMENTS, CORRUPTED_GRADIENT)

RESET_SHARE = 0.01
"""Share of the second moments from which a loss of them is no accident of a few bits."""


def ask(evidence: Evidence) -> tuple[Cause, ...]:
    """Every cause of this kind that the evidence speaks for."""
    asked = (
        _unlike_replicas(evidence),
        _settings(evidence),
        _optimizer_state(evidence),
        _corrupted_moments(evidence),
        _corrupted_weights(evidence),
        _learning_rate(evidence),
        _corrupted_gradient(evidence),
        _overflow(evidence),
    )
    found = tuple(cause for cause in asked if cause is not None)
    if evidence.unlike is None:
        return found
    # Another loss or gradient of that rank follows from what it holds.
    return (found[0], *(cause for cause in found[1:] if cause.name not in CORRUPTED))


def _unlike_replicas(evidence: Evidence) -> Cause | None:
    unlike, seen = evidence.unlike, evidence.examined
    if unlike is None:
        return None
    kinds = set(seen.unlike_kinds) if seen is not None and seen.unlike_kinds else set(unlike.parts)
    if kinds == {"weights"}:
        name = CORRUPTED_WEIGHTS
    elif {"exp_avg", "exp_avg_sq"} <= kinds:
        name = CORRUPTED_GRADIENT  # a wrong gradient is in both moments, a flipped moment in one
    else:
        name = CORRUPTED_MOMENTS
    is_gone = seen is not None and seen.copies is not None and not seen.unlike
    gone = ("when the tensors were compared one by one, all replicas were alike again",)
    came_out_otherwise = remade_words(seen) if seen is not None and seen.differs_in else ()
    return Cause(
        name=name,
        confidence=0.99 if unlike.has_twins or unlike.copies == 2 else 0.6,
        evidence=(*unlike_words(unlike), *unlike_tensor_words(seen), *came_out_otherwise),
        against=(*(gone if is_gone else ()), *text_words(seen)),
        refuted_by="a training script that makes the ranks different on purpose",
    )


def _settings(evidence: Evidence) -> Cause | None:
    changed = evidence.changed_settings
    if not changed:
        return None
    words = tuple(
        f"{name} of the optimizer was {before:g} when the run began and is {after:g} since about "
        f"step {evidence.onset}; no remedy asked for it"
        for name, (before, after) in changed.items()
    )
    below = evidence.examined.below_epsilon if evidence.examined else None
    if "eps" in changed and below is not None:
        words = (*words, f"{below:.0%} of the weights have gradients smaller than epsilon now")
    return Cause(
        name=EPSILON if set(changed) == {"eps"} else OPTIMIZER_STATE,
        confidence=0.97,
        evidence=words,
        against=text_words(evidence.examined),
        refuted_by="a change of these settings that somebody made on purpose",
    )


def _optimizer_state(evidence: Evidence) -> Cause | None:
    seen = evidence.examined
    if seen is None or seen.moment_excess is None or seen.moments_lost is None:
        return None
    if seen.moment_excess <= 1.0 or seen.moments_lost < RESET_SHARE:
        return None
    return Cause(
        name=OPTIMIZER_STATE,
        confidence=0.97,
        evidence=(
            f"{seen.moments_lost:.0%} of the optimizer's second moments fell further since step "
            f"{seen.before_step} than their decay allows, up to {seen.moment_excess:.3g} times: "
            "no update does that",
            *direction_words(evidence),
            *remade_words(seen),
        ),
        against=text_words(seen),
        refuted_by="a change of beta2 or a deliberate reset of the optimizer since that step",
    )


def _corrupted_moments(evidence: Evidence) -> Cause | None:
    seen = evidence.examined
    if seen is None or not seen.moments_flipped or (seen.moments_lost or 0.0) >= RESET_SHARE:
        return None
    return Cause(
        name=CORRUPTED_MOMENTS,
        confidence=0.96,
        evidence=(
            f"{seen.moments_flipped} moments of the optimizer have values that clipped gradients "
            f"cannot have given them since step {seen.before_step}",
            *remade_words(seen),
            *state_words(seen),
        ),
        against=text_words(seen),
        refuted_by="an edit of the optimizer's state by the training script itself",
    )


def _corrupted_weights(evidence: Evidence) -> Cause | None:
    seen = evidence.examined
    if seen is None:
        return None
    reasons = []
    is_impossible = (seen.weight_excess or 0.0) > 1.0
    if is_impossible:
        reasons.append(
            f"a weight moved {seen.weight_excess:.3g} times as far since step {seen.before_step} "
            "as the optimizer could have moved it"
        )
    if seen.nonfinite_weights:
        reasons.append(f"{seen.nonfinite_weights} weights are not finite")
    # Another loss from the same state and data: something wrote into the state between two steps.
    differs = seen.differs_in == "loss" or (seen.differs_at is None and seen.weights_differ > 0)
    if not reasons and not differs:
        return None
    confidence = 0.98 if is_impossible else 0.75 if reasons else 0.7
    if is_lr_off(evidence) or (seen.moment_excess or 0.0) > 1.0 or evidence.changed_settings:
        confidence = 0.6  # a wrong learning rate or wrong moments can throw weights far, too
    elif seen.moments_flipped or seen.differs_in == "gradient norm":
        confidence = 0.6
    return Cause(
        name=CORRUPTED_WEIGHTS,
        confidence=confidence,
        evidence=(*reasons, *remade_words(seen), *state_words(seen)),
        against=text_words(seen),
        refuted_by="an edit of the weights by the training script itself since that step",
    )


def _learning_rate(evidence: Evidence) -> Cause | None:
    if not is_lr_off(evidence):
        return None
    seen = evidence.examined
    words = []
    if evidence.lr_ratio is not None and evidence.lr_ratio != 1.0:
        words.append(
            f"the optimizer used {evidence.lr_ratio:.3g} times the planned learning rate at step "
            f"{evidence.lr_step}"
        )
    if evidence.lr_jump is not None and evidence.lr_jump > LR_JUMP:
        words.append(
            f"the learning rate moved by a factor of {evidence.lr_jump:.3g} from one step to the "
            "next"
        )
    if seen is not None and seen.full_rate is not None and seen.half_rate is not None:
        words.append(
            f"after the step of the onset another batch has loss {seen.full_rate:.3f}; with half "
            f"the learning rate it would have {seen.half_rate:.3f}"
        )
    return Cause(
        name=LEARNING_RATE,
        confidence=0.96,
        evidence=(*words, *direction_words(evidence)),
        against=text_words(seen),
        refuted_by="a learning rate that equals its plan at every step from the onset on",
    )


def _corrupted_gradient(evidence: Evidence) -> Cause | None:
    seen = evidence.examined
    if seen is None or is_text_to_blame(seen):
        return None
    if seen.differs_in != "gradient norm" and not seen.unlike_ranks:
        return None
    words = list(remade_words(seen)) if seen.differs_in == "gradient norm" else []
    if seen.norm_again is not None and seen.differs_in == "gradient norm":
        words.append(
            f"made again, the gradient norm of step {evidence.onset} is {seen.norm_again:.3g}"
        )
    if seen.unlike_ranks:
        ranks = ", ".join(map(str, seen.unlike_ranks))
        words.append(
            f"asked for the gradient of one batch twice, rank {ranks} gave another answer than "
            "before, or than the other ranks"
        )
    return Cause(
        name=CORRUPTED_GRADIENT,
        confidence=0.95 if seen.unlike_ranks or "not finite" not in evidence.directions else 0.8,
        evidence=tuple(words),
        against=text_words(seen),
        refuted_by="a kernel that is known to give other results each time",
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
        against=(*text_words(seen), *remade_words(seen)),
        refuted_by="the same step giving a non-finite value again from the same state and data",
    )
