"""Diagnosis -> the next remedy, mildest first, within a budget."""

import msgspec

from steadytrain.actions import (
    AskPerson,
    BeginDecay,
    Plan,
    RollBack,
    ScaleEpsilon,
    ScaleLearningRate,
    ScaleShallowGradients,
    SetZLoss,
    SkipDraws,
    SkipUpdate,
)
from steadytrain.causes import (
    BAD_TEXT,
    CORRUPTED_GRADIENT,
    CORRUPTED_MOMENTS,
    CORRUPTED_WEIGHTS,
    EPSILON,
    HARD_BATCH,
    LEARNING_RATE,
    LOGIT_GROWTH,
    MIXTURE,
    NOT_KNOWN,
    OPTIMIZER_STATE,
    OVERFLOW,
    REPEATED_DATA,
    SHALLOW_GRADIENTS,
)
from steadytrain.ranges import Ranges, merge


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where and when a remedy is chosen.

    Attributes:
        rung: how many remedies this cause has had in this incident.
        onset: first affected step.
        due: the step before which the remedy will be carried out.
        first_flagged: first committed step that used a flagged draw; None if none landed.
        flagged: draws whose text is corrupt.
        window: draws of all steps from the onset to `due`.
        landed: whether an affected update landed.
        recovered: the newest points are inside their bands again.
        is_felt: a loss, norm or update moved; not only the text was read to be corrupt.
        is_harmed: a loss is up, not only a gradient norm or an update size.
        rollbacks: how many this run has had.
    """

    cause: str
    rung: int
    onset: int
    due: int
    first_flagged: int | None
    flagged: Ranges
    window: Ranges
    landed: bool
    recovered: bool
    is_harmed: bool
    rollbacks: int
    is_felt: bool = True


class Ladder(msgspec.Struct, frozen=True, kw_only=True):
    """Which remedy next. A choice is (plan, one sentence why); an empty plan means: only watch.

    Attributes:
        margin: steps kept away from the onset when the state, not the data, is suspect.
        further: how much further back the second rollback goes. [steps]
        lr_factor, hold_steps, rewarm_steps: a lowered learning rate is held, then re-warmed.
        epsilon_factor: Adam's epsilon is multiplied by this.
        shallow_alpha, relax_steps: gradients of the embedding and lowest block.
        z_loss: coefficient when it is switched on.
        max_rollbacks: of a run, then a person is asked.

    Source: PaLM (about 100 steps back, 200 to 500 batches skipped; here the affected window, since
    the evidence names it); lr 0.5: IDEFICS and BLOOM 104B halved it; shallow alpha 0.1: GLM-130B;
    z-loss 1e-4: PaLM; epsilon lower: "A Theory on Adam Instability"; margin, further, hold,
    rewarm: guesses for short runs, see LOG.md 2026-11-24.
    """

    margin: int = 2
    further: int = 24
    lr_factor: float = 0.5
    hold_steps: int = 8
    rewarm_steps: int = 32
    epsilon_factor: float = 0.1
    shallow_alpha: float = 0.1
    relax_steps: int = 200
    z_loss: float = 1e-4
    max_rollbacks: int = 24

    def choose(self, place: Place) -> tuple[tuple[Plan, ...], str]:
        if place.rollbacks >= self.max_rollbacks and (place.landed or not place.recovered):
            return self._ask(f"the run has rolled back {place.rollbacks} times, its whole budget")
        if place.cause == BAD_TEXT:
            return self._for_bad_text(place)
        if place.cause == OVERFLOW:
            return self._for_overflow(place)
        if place.cause == LEARNING_RATE:
            return self._for_learning_rate(place)
        if place.cause in (CORRUPTED_WEIGHTS, CORRUPTED_MOMENTS, OPTIMIZER_STATE, EPSILON):
            return self._for_broken_state(place)
        if place.cause == CORRUPTED_GRADIENT:
            return self._for_corrupted_gradient(place)
        if place.cause == REPEATED_DATA:
            return self._for_repeated_data(place)
        if place.cause == HARD_BATCH:
            return (), "the batch was hard, not broken; the model is left alone"
        if place.cause == MIXTURE:
            return (), "another mixture is no illness; the losses of its domains are watched"
        if place.cause == SHALLOW_GRADIENTS:
            return self._for_shallow_gradients(place)
        if place.cause == LOGIT_GROWTH:
            return self._for_logit_growth(place)
        if place.cause == NOT_KNOWN and (place.recovered or not place.is_harmed):
            return (), "no harm is seen that a remedy could undo"
        return self._for_instability(place)

    def _for_bad_text(self, place: Place) -> tuple[tuple[Plan, ...], str]:
        if place.rung == 0 and place.first_flagged is None:
            return (
                (SkipDraws(ranges=place.flagged, from_step=place.due - 1),),
                "no affected update landed, so leaving the corrupt sequences out is enough",
            )
        if place.rung == 0 and not place.is_felt:
            return (
                (SkipDraws(ranges=place.flagged, from_step=place.due - 1),),
                "nothing but the text is odd so far: leave the rest of it out, keep the model",
            )
        start = place.onset if place.first_flagged is None else place.first_flagged
        if place.rung == 0:
            return (
                (
                    RollBack(to_step=start - 1),
                    SkipDraws(ranges=place.flagged, from_step=start - 1),
                ),
                "return to the state before the corrupt sequences and leave them out",
            )
        if place.rung == 1:
            back = self._before(start, self.margin)
            return (
                (
                    RollBack(to_step=back),
                    SkipDraws(ranges=merge(place.flagged + place.window), from_step=back),
                ),
                "the corrupt sequences alone were not all: leave out the whole affected window",
            )
        return self._for_instability(place)

    def _for_overflow(self, place: Place) -> tuple[tuple[Plan, ...], str]:
        if place.rung == 0 and not place.landed:
            return (
                (SkipUpdate(step=place.onset),),
                "the update with the non-finite value did not land; nothing else is wrong",
            )
        return self._for_instability(place)

    def _for_learning_rate(self, place: Place) -> tuple[tuple[Plan, ...], str]:
        if place.rung > 1:
            return self._for_instability(place)
        back = self._before(place.onset, self.margin + place.rung * self.further)
        return (
            (RollBack(to_step=back), self._lower_lr(back, place.rung)),
            "return to the state before the wrong learning rate, and re-warm from half of the plan",
        )

    def _for_broken_state(self, place: Place) -> tuple[tuple[Plan, ...], str]:
        if place.rung > 1:
            return self._ask("the state stays broken after two rollbacks: suspect the hardware")
        back = self._before(place.onset, self.margin + place.rung * self.further)
        return (RollBack(to_step=back),), "return to the state before it was damaged"

    def _for_corrupted_gradient(self, place: Place) -> tuple[tuple[Plan, ...], str]:
        if place.rung == 0 and not place.landed:
            return (
                (SkipUpdate(step=place.onset),),
                "the update with the wrong gradient did not land; nothing else is wrong",
            )
        if place.rung > 1:
            return self._ask("gradients stay wrong after a rollback: suspect the hardware")
        back = self._before(place.onset, self.margin)
        return (RollBack(to_step=back),), "return to the state before the wrong gradient"

    def _for_repeated_data(self, place: Place) -> tuple[tuple[Plan, ...], str]:
        if place.rung > 1:
            return self._ask("the data order goes on repeating itself")
        back = self._before(place.onset, self.margin)
        return (
            (RollBack(to_step=back), SkipDraws(ranges=place.window, from_step=back)),
            "return to before the repeated data and leave it out",
        )

    def _for_shallow_gradients(self, place: Place) -> tuple[tuple[Plan, ...], str]:
        if place.rung > 0:
            return self._for_instability(msgspec.structs.replace(place, rung=place.rung - 1))
        from_step = place.due - 1 if not place.landed else self._before(place.onset, self.margin)
        damp = ScaleShallowGradients(
            alpha=self.shallow_alpha, from_step=from_step, hold_steps=self.hold_steps,
            relax_steps=self.relax_steps,
        )  # fmt: skip
        if not place.landed:
            return (
                damp,
            ), "no affected update landed: damp the shallow layers' gradients from now on"
        return (
            (RollBack(to_step=from_step), damp),
            "return to before the outbreak and damp the shallow layers' gradients",
        )

    def _for_logit_growth(self, place: Place) -> tuple[tuple[Plan, ...], str]:
        if place.is_harmed:
            return self._for_instability(place)
        if place.rung > 1:
            return (), "the logits grow on under a z-loss, and no loss is harmed: it is watched"
        coefficient = self.z_loss * 10**place.rung
        return (
            (SetZLoss(coefficient=coefficient, from_step=place.due - 1),),
            "the loss is well, only the logits grow: hold them with a z-loss",
        )

    def _for_instability(self, place: Place) -> tuple[tuple[Plan, ...], str]:
        back = self._before(place.onset, self.margin)
        skip = SkipDraws(ranges=place.window, from_step=back)
        lower = self._lower_lr(back, 0)
        shallow = ScaleShallowGradients(
            alpha=self.shallow_alpha,
            from_step=back,
            hold_steps=self.hold_steps,
            relax_steps=self.relax_steps,
        )
        rungs: tuple[tuple[tuple[Plan, ...], str], ...] = (
            ((RollBack(to_step=back), skip), "return to before the onset and skip its data"),
            (
                (RollBack(to_step=back), skip, lower),
                "the same place broke again without its data, so it is the state: lower the "
                "learning rate as well",
            ),
            (
                (RollBack(to_step=back), skip, lower, shallow),
                "a lower learning rate did not hold: damp the shallow layers' gradients",
            ),
            (
                (
                    RollBack(to_step=back),
                    skip,
                    lower,
                    shallow,
                    ScaleEpsilon(factor=self.epsilon_factor, from_step=back),
                    SetZLoss(coefficient=self.z_loss, from_step=back),
                ),
                "still unstable: lower Adam's epsilon and hold the logits with a z-loss",
            ),
            (
                (RollBack(to_step=back), skip, BeginDecay(from_step=back)),
                "nothing held at this learning rate: begin the decay now",
            ),
        )
        if place.rung >= len(rungs):
            return self._ask("every remedy for an unstable run was tried at this place")
        return rungs[place.rung]

    def _lower_lr(self, from_step: int, again: int) -> ScaleLearningRate:
        return ScaleLearningRate(
            factor=self.lr_factor ** (1 + again),
            from_step=from_step,
            hold_steps=self.hold_steps,
            rewarm_steps=self.rewarm_steps,
        )

    def _before(self, onset: int, steps: int) -> int:
        return max(0, onset - 1 - steps)

    def _ask(self, why: str) -> tuple[tuple[Plan, ...], str]:
        return (AskPerson(question=f"{why}. Look at the incident's evidence and decide."),), why
