"""All that is known about an incident when it is diagnosed, and sentences about it."""

import math

import msgspec

from steadytrain.events import BatchExamined, ExaminedSequence

HIGHER = 0.10
"""A batch whose loss is 10 % over another's is called higher. Source: the median real spike is
+14 %, and the noise between two batches of the lab is 3 %."""

LR_TOLERANCE = 1.05
"""A learning rate that is used differs from its plan by rounding at most. Source: guess."""


AT_CAP = 0.05
"""Share of the tokens whose largest logit is at the largest of all, from which a soft cap of the
model is saturated. Source: guess; without a cap it is below a thousandth in the lab."""

LR_JUMP = 2.5
"""No schedule raises the learning rate so much from one step to the next after the second step of
a warm-up, which doubles it. What lowers it does no harm."""


class Unlike(msgspec.Struct, frozen=True, kw_only=True):
    """How replicas of the state differ.

    Attributes:
        step: of the state that was compared. agreed: of the newest on which all agreed.
        copies: replicas of each part.
        suspects: ranks that hold something else than most, or all that differ where no majority is.
        is_named: whether a majority says who it is.
        has_twins: whether any two are alike.
        parts: "weights", "moments".
    """

    step: int
    agreed: int | None
    copies: int
    suspects: tuple[int, ...]
    is_named: bool
    has_twins: bool
    parts: tuple[str, ...]

    @property
    def onset(self) -> int:
        """First step that may be affected."""
        return max(1, self.step if self.agreed is None else self.agreed + 1)


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the questions are asked about.

    Attributes:
        directions, signals: of the incident's alarms.
        lr_ratio: the learning rate used over the one planned, where farthest from 1 around the
            onset, and its step.
        lr_jump: the learning rate over that of the step before, around the onset, at its largest.
        changed_settings: of the optimizer: name -> (what it was, what it became).
        layer_ratios: group of layers -> its gradient norm at its highest since the onset, over its
            median before.
        mixture: the domain whose share of the tokens moved most since the onset: its name, the
            share before and after; None if no share moved beyond its noise.
        has_recovered: the newest points are inside their bands again.
        landed: whether any affected update landed.
        loss_is_finite: the total loss stayed finite.
        examined: what the training side found, None if it could not look.
        unlike: how replicas of the state differ, None where they do not.
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
    lr_jump: float | None = None
    changed_settings: dict[str, tuple[float, float]] = {}
    layer_ratios: dict[str, float] = {}
    mixture: tuple[str, float, float] | None = None
    unlike: Unlike | None = None


def is_lr_off(evidence: Evidence) -> bool:
    """Whether a learning rate was used that nobody planned, or that jumped."""
    ratio, jump = evidence.lr_ratio, evidence.lr_jump
    if jump is not None and jump > LR_JUMP:
        return True
    return ratio is not None and not 1 / LR_TOLERANCE <= ratio <= LR_TOLERANCE


def is_higher(one: float | None, other: float | None) -> bool:
    """Whether a loss is clearly above another; False if one of them is not known."""
    if one is None or other is None:
        return False
    return not math.isfinite(one) or one > other * (1 + HIGHER)


def is_text_to_blame(seen: BatchExamined | None) -> bool:
    """Whether corrupt text stands in the affected steps."""
    return seen is not None and seen.defect is not None and bool(seen.flagged)


def was_remade(seen: BatchExamined | None) -> bool:
    """Whether the steps were made again, and came out as recorded."""
    return seen is not None and seen.remade_steps is not None and seen.differs_at is None


def corrupt(sequences: list[ExaminedSequence]) -> list[ExaminedSequence]:
    return [one for one in sequences if one.verdict == "corrupt"]


def direction_words(evidence: Evidence) -> tuple[str, ...]:
    return (f"{', '.join(evidence.signals)}: {', '.join(evidence.directions)}",)


def text_words(seen: BatchExamined | None) -> tuple[str, ...]:
    if seen is None:
        return ()
    if seen.defect is None:
        return (f"none of {seen.scanned} sequences read is corrupt",) if seen.scanned else ()
    return (f"some sequences are corrupt: {seen.defect}",)


def where_words(seen: BatchExamined) -> tuple[str, ...]:
    """In which files the corrupt sequences stand, and whether they are one text again and again."""
    words = []
    if seen.sources:
        files = ", ".join(f"{name} ({count})" for name, count in seen.sources)
        words.append(f"most of them stand in {files}")
    if seen.alike > 2:
        words.append(f"{seen.alike} of them are nearly the same text")
    return tuple(words)


def data_words(seen: BatchExamined) -> tuple[str, ...]:
    if seen.suspect_before is None or seen.control_before is None:
        return ()
    return (
        f"under the weights of step {seen.before_step} the suspect batch has loss "
        f"{seen.suspect_before:.3f}, another batch {seen.control_before:.3f}",
    )


def state_words(seen: BatchExamined | None) -> tuple[str, ...]:
    if seen is None or seen.control_now is None or seen.control_before is None:
        return ()
    return (
        f"a batch from before the onset has loss {seen.control_now:.3f} under the present "
        f"weights, {seen.control_before:.3f} under those of step {seen.before_step}",
    )


def remade_words(seen: BatchExamined | None) -> tuple[str, ...]:
    """What making the steps again showed."""
    if seen is None or seen.remade_steps is None:
        return ()
    if seen.differs_at is None:
        return (
            f"the steps since {seen.before_step}, made again from the same state and data, came "
            "out as recorded: no memory and no link changed anything",
        )
    return (
        f"the steps since {seen.before_step}, made again from the same state and data, have "
        f"another {seen.differs_in} from step {seen.differs_at} on",
    )


def logit_words(seen: BatchExamined | None) -> tuple[str, ...]:
    """How large the output logits are, and what a soft cap on them would cost."""
    if seen is None or seen.logit_max is None:
        return ()
    capped = ", ".join(f"at {cap:g} {loss:.3f}" for cap, loss in seen.capped_loss)
    if seen.control_now is not None:
        capped = f"{capped}, without one {seen.control_now:.3f}"
    words = [
        f"the largest output logit of a batch from before the onset is {seen.logit_max:.3g}; with "
        f"a soft cap its loss would be {capped}"
    ]
    if seen.logits_at_cap is not None and seen.logits_at_cap > AT_CAP:
        words.append(
            f"{seen.logits_at_cap:.0%} of its tokens have their largest logit at that height: a "
            "soft cap of the model is saturated, and passes no gradient back"
        )
    return tuple(words)


def unlike_words(unlike: Unlike) -> tuple[str, ...]:
    """Which replicas hold other bits than the rest, and when none did."""
    parts, ranks = ", ".join(unlike.parts), ", ".join(map(str, unlike.suspects))
    if unlike.is_named:
        who = (
            f"after update {unlike.step} rank {ranks} holds other bits than the rest of "
            f"{unlike.copies} replicas: {parts}"
        )
    elif unlike.copies == 2:
        who = (
            f"after update {unlike.step} ranks {ranks} hold different bits ({parts}), and two "
            "replicas cannot tell which is wrong"
        )
    else:
        who = (
            f"after update {unlike.step} ranks {ranks} hold different bits ({parts}), and no "
            "majority says which are wrong"
        )
    if unlike.agreed is None:
        return (who,)
    return (who, f"after update {unlike.agreed} all replicas were alike")


def unlike_tensor_words(seen: BatchExamined | None) -> tuple[str, ...]:
    """Which tensors differ, and whether they did again when the updates were made again."""
    if seen is None:
        return ()
    words = []
    if seen.unlike:
        kinds = ", ".join(f"{name} ({count})" for name, count in seen.unlike_kinds.items())
        words.append(f"tensors that differ: {kinds}; one is {seen.unlike[0].part}")
    if seen.remade_alike is True:
        words.append(f"made again, the steps since {seen.before_step} came out alike everywhere")
    elif seen.remade_alike is False:
        words.append(f"made again, the steps since {seen.before_step} came out different again")
    return tuple(words)
