"""The rungs of each cause: plans from mild to strong, each with one sentence why."""

import msgspec

from steadytrain.actions import (
    FOR_GOOD,
    BeginDecay,
    ClipAttention,
    ExcludeRank,
    LeaveHost,
    LimitUpdates,
    ResetMoments,
    RollBack,
    ScaleEpsilon,
    ScaleLearningRate,
    ScaleShallowGradients,
    SetClipping,
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
from steadytrain.judge.evidence import Unlike
from steadytrain.judge.rung import Place, Rung, ask, watch
from steadytrain.ranges import Ranges, merge


class Doses(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of each remedy; `rungs` gives the remedies of a place, mildest first.

    Attributes:
        margin: steps kept away from the onset when the state, not the data, is suspect.
        further: how much further back the second rollback goes. [steps]
        ahead: steps left out beyond the affected ones, where a window of those did not help;
            `ahead_share` of the run where that is more.
        lr_factor, hold_steps, rewarm_steps: a lowered learning rate is held, then re-warmed;
            `hold_share` and `rewarm_share` of the run where that is longer.
        shallow_alpha, relax_steps: gradients of the embedding and lowest blocks.
        z_loss, max_z_loss: coefficients when they are switched on.
        leave_after: times that its replicas name a rank before its host is left.
        attention_thresholds: largest attention logit that is let be, first and then.
        epsilon_factor: of Adam's epsilon where nothing better was measured.

    Source: PaLM (100 steps back, 200 to 500 batches skipped; here the affected window, then a wider
    one); lr 0.5: IDEFICS, BLOOM 104B; shallow alpha 0.1, relaxed over 500 steps: GLM-130B; z-loss
    1e-4: PaLM; max-z 2e-4: Baichuan 2; QK-clip 100: Kimi K2; leave_after: the
    ends on a host that its hardware is named for (`RestartPolicy`); the rest: LOG.md 2026-11-27.
    """

    margin: int = 2
    further: int = 24
    ahead: int = 8
    ahead_share: float = 0.002
    lr_factor: float = 0.5
    hold_steps: int = 8
    hold_share: float = 0.002
    rewarm_steps: int = 32
    rewarm_share: float = 0.01
    epsilon_factor: float = 0.1
    shallow_alpha: float = 0.1
    relax_steps: int = 200
    z_loss: float = 1e-4
    max_z_loss: float = 2e-4
    attention_thresholds: tuple[float, float] = (100.0, 30.0)
    leave_after: int = 2

    def rungs(self, place: Place) -> tuple[Rung, ...]:
        """Every remedy for this place, whether it can be carried out here or not."""
        if place.unlike is not None:
            return self._for_unlike_replicas(place, place.unlike)
        if place.cause == BAD_TEXT:
            return (*self._for_bad_text(place), *self._for_instability(place)[2:])
        if place.cause == OVERFLOW:
            return self._for_overflow(place)
        if place.cause == LEARNING_RATE:
            return (*self._for_learning_rate(place), *self._for_instability(place)[2:])
        if place.cause in (CORRUPTED_WEIGHTS, CORRUPTED_MOMENTS, OPTIMIZER_STATE, EPSILON):
            return self._for_broken_state(place)
        if place.cause == CORRUPTED_GRADIENT:
            return self._for_corrupted_gradient(place)
        if place.cause == REPEATED_DATA:
            return self._for_repeated_data(place)
        if place.cause == HARD_BATCH:
            return (watch("the batch was hard, not broken; the model is left alone"),)
        if place.cause == MIXTURE:
            return (watch("another mixture is no illness; the losses of its domains are watched"),)
        if place.cause == SHALLOW_GRADIENTS:
            shallow = self._for_shallow_gradients(place)
            return (*shallow, *self._for_instability(place)) if shallow[0].plan else shallow
        if place.cause == LOGIT_GROWTH:
            return self._for_logit_growth(place)
        if place.cause == NOT_KNOWN and (place.recovered or not place.is_harmed):
            return (watch("no harm is seen that a remedy could undo"),)
        return self._for_instability(place)

    def _for_bad_text(self, place: Place) -> tuple[Rung, ...]:
        start = place.onset if place.first_flagged is None else place.first_flagged
        back = self._before(start, self.margin)
        skip = SkipDraws(ranges=place.flagged, from_step=place.due - 1)
        if place.first_flagged is None:
            first = Rung(
                plan=(skip,),
                why="no affected update landed, so leaving the corrupt sequences out is enough",
            )
        elif not place.is_felt:
            first = Rung(
                plan=(skip,),
                why="nothing but the text is odd so far: leave the rest of it out, keep the model",
            )
        else:
            first = Rung(
                plan=(
                    RollBack(to_step=start - 1),
                    SkipDraws(ranges=place.flagged, from_step=start - 1),
                ),
                why="return to the state before the corrupt sequences and leave them out",
            )
        whole = merge(place.flagged + place.window)
        second = Rung(
            plan=(RollBack(to_step=back), SkipDraws(ranges=whole, from_step=back)),
            why="the corrupt sequences alone were not all: leave out the whole affected window",
        )
        return (first, second)

    def _for_overflow(self, place: Place) -> tuple[Rung, ...]:
        rungs = self._for_instability(place)
        if place.landed:
            return rungs
        skipped = Rung(
            plan=(SkipUpdate(step=place.onset),),
            why="the update with the non-finite value did not land; nothing else is wrong",
        )
        return (skipped, *rungs[1:])

    def _for_learning_rate(self, place: Place) -> tuple[Rung, ...]:
        return tuple(
            Rung(
                plan=(RollBack(to_step=back), self._lower_lr(place, back, again)),
                why="return to the state before the wrong learning rate, and re-warm from half of "
                "the plan",
            )
            for again in range(2)
            for back in (self._before(place.onset, self.margin + again * self.further),)
        )

    def _for_broken_state(self, place: Place) -> tuple[Rung, ...]:
        near = self._before(place.onset, self.margin)
        far = self._before(place.onset, self.margin + self.further)
        why = "return to the state before it was damaged"
        rungs = [Rung(plan=(RollBack(to_step=back),), why=why) for back in (near, far)]
        if place.cause in (OPTIMIZER_STATE, CORRUPTED_MOMENTS):
            rungs.append(
                Rung(
                    plan=(
                        RollBack(to_step=far),
                        ResetMoments(from_step=far),
                        self._lower_lr(place, far, 1),
                    ),
                    why="the moments are wrong in earlier states too: begin them anew and re-warm",
                )
            )
        asked = ask("the state stays broken after two rollbacks: suspect the hardware")
        return (*rungs, asked)

    def _for_unlike_replicas(self, place: Place, unlike: Unlike) -> tuple[Rung, ...]:
        if unlike.copies > 2 and not unlike.has_twins:
            return (ask("no two ranks hold the same weights, which no single fault does"),)
        # No margin: the state after that update was alike to the bit on all replicas.
        back = self._before(unlike.step, 0) if unlike.agreed is None else unlike.agreed
        home = RollBack(to_step=back)
        can_leave = place.can is None or "LeaveHost" in place.can
        if unlike.is_named and place.times_named >= self.leave_after and can_leave:
            rank = unlike.suspects[0]
            why = f"rank {rank} was named by its replicas {place.times_named} times: leave its host"
            return (Rung(plan=(home, LeaveHost(rank=rank)), why=why),)
        return (
            Rung(plan=(home,), why="return to the last state on which all replicas agreed"),
            Rung(
                plan=(RollBack(to_step=max(0, back - self.further)),),
                why="the replicas came apart again: return to an earlier state",
            ),
            ask("the replicas come apart again after two rollbacks: suspect the hardware"),
        )

    def _for_corrupted_gradient(self, place: Place) -> tuple[Rung, ...]:
        back = self._before(place.onset, self.margin)
        far = self._before(place.onset, self.margin + self.further)
        skipped = "the update with the wrong gradient did not land; nothing else is wrong"
        rungs = [] if place.landed else [Rung(plan=(SkipUpdate(step=place.onset),), why=skipped)]
        why = "return to the state before the wrong gradient"
        rungs.append(Rung(plan=(RollBack(to_step=back),), why=why))
        if len(place.unlike_ranks) == 1:
            rank = place.unlike_ranks[0]
            rungs.append(
                Rung(
                    plan=(RollBack(to_step=back), ExcludeRank(rank=rank, from_step=back)),
                    why=f"the gradient of rank {rank} is wrong again: leave it out of the average",
                )
            )
        elif place.landed:
            # The second remedy returns, also where the first one held an update back.
            rungs.append(Rung(plan=(RollBack(to_step=far),), why=f"{why}, from further back"))
        return (*rungs, ask("gradients stay wrong after a rollback: suspect the hardware"))

    def _for_repeated_data(self, place: Place) -> tuple[Rung, ...]:
        rungs = [
            Rung(
                plan=(RollBack(to_step=back), SkipDraws(ranges=window, from_step=back)),
                why="return to before the repeated data and leave it out",
            )
            for back in (self._before(place.onset, self.margin),)
            for window in (place.window, self._wider(place))
        ]
        return (*rungs, ask("the data order goes on repeating itself"))

    def _for_shallow_gradients(self, place: Place) -> tuple[Rung, ...]:
        if place.recovered and not place.is_harmed:
            return (watch("the gradients are in their band again, and no loss was harmed"),)
        if not place.landed:
            damp = self._damp(place.due - 1)
            return (
                Rung(
                    plan=(damp,),
                    why="no affected update landed: damp the shallow layers' gradients from now on",
                ),
            )
        back = self._before(place.onset, self.margin)
        return (
            Rung(
                plan=(RollBack(to_step=back), self._damp(back)),
                why="return to before the outbreak and damp the shallow layers' gradients",
            ),
            Rung(
                plan=(
                    RollBack(to_step=back),
                    msgspec.structs.replace(self._damp(back), hold_steps=FOR_GOOD),
                ),
                why="it broke out again when the damping wore off: keep the gradients damped",
            ),
        )

    def _for_logit_growth(self, place: Place) -> tuple[Rung, ...]:
        now = place.due - 1
        if place.has_attention:
            why = "the attention's logits grow: scale the query and key weights of those heads"
            clipped = (
                Rung(plan=(ClipAttention(from_step=now, threshold=threshold),), why=why)
                for threshold in self.attention_thresholds
            )
            return (*clipped, *self._for_instability(place))
        if place.is_harmed:
            return self._for_instability(place)
        why = "the loss is well, only the logits grow: hold them with a z-loss"
        rungs = [
            Rung(plan=(SetZLoss(coefficient=self.z_loss * factor, from_step=now),), why=why)
            for factor in (1, 10)
        ]
        largest = Rung(
            plan=(SetZLoss(coefficient=10 * self.max_z_loss, from_step=now, form="max"),),
            why="the logits grow on under a z-loss: hold the largest of them itself",
        )
        watched = watch("the logits grow on, and no loss is harmed: it is watched")
        return (*rungs, largest, watched)

    def _for_instability(self, place: Place) -> tuple[Rung, ...]:
        back = self._before(place.onset, self.margin)
        near = SkipDraws(ranges=place.window, from_step=back)
        wide = SkipDraws(ranges=self._wider(place), from_step=back)
        home = RollBack(to_step=back)
        lower, lower_still = (self._lower_lr(place, back, again) for again in range(2))
        for_good = msgspec.structs.replace(lower, hold_steps=FOR_GOOD)
        first = Rung(plan=(home, near), why="return to before the onset and skip its data")
        if place.is_step_too_long:
            first = Rung(
                plan=(home, lower),
                why="the step was too long for the model: return to before it, and lower the "
                "learning rate",
            )
        held = (SetClipping(method="spikes", from_step=back), self._damp(back))
        kept_small = (
            LimitUpdates(from_step=back),
            ScaleEpsilon(factor=place.epsilon_factor or self.epsilon_factor, from_step=back),
            SetZLoss(coefficient=self.z_loss, from_step=back),
        )
        return (
            first,
            Rung(
                plan=(home, wide, lower),
                why="the same place broke again without its data, so it is the state: lower the "
                "learning rate as well",
            ),
            Rung(
                plan=(home, wide, lower, *held),
                why="a lower learning rate did not hold: cut gradients far beyond their history "
                "and damp those of the shallow layers",
            ),
            Rung(
                plan=(home, wide, lower_still, *held, *kept_small, ResetMoments(from_step=back)),
                why="still unstable: begin the moments anew, keep every update and epsilon small, "
                "and hold the logits with a z-loss",
            ),
            Rung(
                plan=(home, wide, *held, *kept_small, for_good),
                why="it breaks whenever the learning rate comes back: it stays at half the plan",
            ),
            Rung(
                plan=(home, wide, BeginDecay(from_step=back)),
                why="nothing held at this learning rate: begin the decay now",
            ),
            ask("every remedy for an unstable run was tried at this place"),
        )

    def _damp(self, from_step: int) -> ScaleShallowGradients:
        return ScaleShallowGradients(
            alpha=self.shallow_alpha,
            from_step=from_step,
            hold_steps=self.hold_steps,
            relax_steps=self.relax_steps,
        )

    def _lower_lr(self, place: Place, from_step: int, again: int) -> ScaleLearningRate:
        return ScaleLearningRate(
            factor=self.lr_factor ** (1 + again),
            from_step=from_step,
            hold_steps=_longer(self.hold_steps, self.hold_share, place) * 4**again,
            rewarm_steps=_longer(self.rewarm_steps, self.rewarm_share, place) * 4**again,
        )

    def _wider(self, place: Place) -> Ranges:
        """The affected draws, and as many steps before and after as the run's length suggests."""
        if not place.window:
            return ()
        before = self.margin * place.draws_per_step
        after = _longer(self.ahead, self.ahead_share, place) * place.draws_per_step
        return ((max(0, place.window[0][0] - before), place.window[-1][1] + after),)

    def _before(self, onset: int, steps: int) -> int:
        return max(0, onset - 1 - steps)


def _longer(steps: int, share: float, place: Place) -> int:
    """A number of steps, or that share of the run if it is more."""
    return max(steps, round(share * (place.steps or 0)))
