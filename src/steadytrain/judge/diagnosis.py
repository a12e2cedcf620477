"""Evidence -> ranked causes, each with what speaks for it, what against, and what would refute it.

What can be proved is asked first (`damage.py`: an optimizer cannot have made this change), then
what was measured directly, then what is likely.
"""

from steadytrain.causes import (
    BAD_TEXT,
    HARD_BATCH,
    INSTABILITY,
    LOGIT_GROWTH,
    MIXTURE,
    NOT_KNOWN,
    REPEATED_DATA,
    SHALLOW_GRADIENTS,
)
from steadytrain.events import Cause
from steadytrain.judge.evidence import (
    Evidence,
    corrupt,
    data_words,
    direction_words,
    is_higher,
    logit_words,
    remade_words,
    state_words,
    text_words,
    was_remade,
    where_words,
)

REPEATED = 0.4
"""Share of repeated sequences over that of the steps before, from which it is no accident."""

OUTBREAK = 4.0
"""Factor of a shallow group's gradient norm over its median, and over the factor of the deep ones,
that is an outbreak. Source: guess; GLM-130B shows factors above 10 in the embedding alone."""

SHALLOW = ("embedding", "shallow")


def diagnose(evidence: Evidence, damage: tuple[Cause, ...]) -> tuple[Cause, ...]:
    """Causes, most credible first; "not known" when the evidence does not carry more.

    Args:
        damage: what the questions of `damage.py` found.
    """
    asked = (
        *damage,
        _bad_text(evidence),
        _repeated_data(evidence),
        _shallow_gradients(evidence),
        _logit_growth(evidence),
        _mixture(evidence),
        _hard_batch(evidence),
        _instability(evidence),
    )
    found = [cause for cause in asked if cause is not None]
    found.sort(key=lambda cause: -cause.confidence)  # stable: ties keep the order of the questions
    if not found or found[0].confidence < 0.5:
        found.insert(0, _not_known(evidence))
    return tuple(found)


def _bad_text(evidence: Evidence) -> Cause | None:
    seen = evidence.examined
    if seen is None or seen.defect is None or not seen.flagged:
        return None
    suspects = [one for one in seen.sequences if one.role == "suspect"]
    controls = [one for one in seen.sequences if one.role == "control"]
    bad_suspects, bad_controls = corrupt(suspects), corrupt(controls)
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
            *where_words(seen),
            *data_words(seen),
        ),
        against=state_words(seen) if is_higher(seen.control_now, seen.control_before) else (),
        refuted_by="the same sequences being harmless to read: clean text behind the verdicts",
    )


def _repeated_data(evidence: Evidence) -> Cause | None:
    seen = evidence.examined
    if seen is None or seen.repeated is None:
        return None
    before = seen.repeated_before or 0.0
    if seen.repeated < before + REPEATED:
        return None
    return Cause(
        name=REPEATED_DATA,
        confidence=0.94,
        evidence=(
            f"{seen.repeated:.0%} of the sequences since step {evidence.onset} came in the 32 "
            f"steps before already; of those of the steps before the onset {before:.0%} did",
            *direction_words(evidence),
        ),
        against=text_words(seen),
        refuted_by="a data order that repeats its sequences on purpose",
    )


def _shallow_gradients(evidence: Evidence) -> Cause | None:
    ratios = evidence.layer_ratios
    name = max(SHALLOW, key=lambda one: ratios.get(one, 0.0))
    others = [value for one, value in ratios.items() if one not in SHALLOW]
    top = ratios.get(name, 0.0)
    if top < OUTBREAK or not others or top < OUTBREAK * max(others):
        return None
    seen = evidence.examined
    # Where the same steps come out otherwise, it was no outbreak of the model's own.
    confidence = 0.5 if seen is not None and seen.differs_in else 0.9
    return Cause(
        name=SHALLOW_GRADIENTS,
        confidence=confidence,
        evidence=(
            f"the gradient of the {name} layers grew to {top:.3g} times its usual norm, that of "
            f"the others to {max(others):.3g} times at most",
            *remade_words(seen),
        ),
        against=text_words(seen),
        refuted_by="gradients that grow in the deep layers by as much",
    )


def _logit_growth(evidence: Evidence) -> Cause | None:
    if not {"logsumexp", "attention logit"} & set(evidence.signals):
        return None
    name = "logsumexp" if "logsumexp" in evidence.signals else "attention logit"
    return Cause(
        name=LOGIT_GROWTH,
        confidence=0.85,
        evidence=(
            f"the {name} left its band upward, and nothing in the loss holds it back without a "
            "z-loss" if name == "logsumexp" else f"the {name} left its band upward",
            *logit_words(evidence.examined),
            *direction_words(evidence),
            *remade_words(evidence.examined),
        ),
        against=text_words(evidence.examined),
        refuted_by="logits that stay where they are while the loss rises",
    )  # fmt: skip


def _mixture(evidence: Evidence) -> Cause | None:
    if evidence.mixture is None:
        return None
    name, before, after = evidence.mixture
    is_inside_domains = any(signal.startswith("loss:") for signal in evidence.signals)
    return Cause(
        name=MIXTURE,
        confidence=0.6 if is_inside_domains else 0.8,
        evidence=(
            f"the share of {name} in the tokens moved from {before:.0%} to {after:.0%} at about "
            f"step {evidence.onset}",
            *direction_words(evidence),
        ),
        against=text_words(evidence.examined),
        refuted_by="the losses of single domains leaving their bands as well",
    )


def _hard_batch(evidence: Evidence) -> Cause | None:
    seen = evidence.examined
    if seen is None or not is_higher(seen.suspect_before, seen.control_before):
        return None
    if is_higher(seen.control_now, seen.control_before):
        return None
    return Cause(
        name=HARD_BATCH,
        confidence=0.7,
        evidence=(*data_words(seen), *(remade_words(seen) if was_remade(seen) else ())),
        against=("no text of it is flagged as corrupt",) if seen.defect is None else (),
        refuted_by="a normal loss of the same batch under earlier weights",
    )


def _instability(evidence: Evidence) -> Cause | None:
    seen = evidence.examined
    if "rise" not in evidence.directions or evidence.has_recovered:
        return None
    measured = seen is not None and is_higher(seen.control_now, seen.control_before)
    if not measured and not any(name.startswith("loss") for name in evidence.signals):
        return None  # a gradient norm or an update size alone has harmed nobody yet
    words = [*direction_words(evidence), *state_words(seen)]
    is_step_too_long = seen is not None and is_higher(seen.full_rate, seen.half_rate)
    if is_step_too_long:
        assert seen is not None
        words.append(
            f"after the step of the onset another batch has loss {seen.full_rate:.3f}; with half "
            f"the learning rate it would have {seen.half_rate:.3f}"
        )
    return Cause(
        name=INSTABILITY,
        confidence=0.8 if is_step_too_long else 0.75 if measured else 0.5,
        evidence=(*words, *(remade_words(seen) if was_remade(seen) else ())),
        against=("the loss of another batch was not compared",) if not measured else (),
        refuted_by="the loss of other batches being normal under the present weights",
    )


def _not_known(evidence: Evidence) -> Cause:
    seen = evidence.examined
    looked = "no evidence could be gathered" if seen is None else "no rule's evidence was found"
    return Cause(
        name=NOT_KNOWN,
        confidence=0.5,
        evidence=(looked, *direction_words(evidence), *remade_words(seen)),
        against=text_words(seen),
        refuted_by="more evidence",
    )
