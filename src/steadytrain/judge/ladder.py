"""Diagnosis -> the next remedy, mildest first, within a budget.

What the training side cannot carry out is left out of a cause's rungs. The rung to take is the
number of remedies that this cause has had at this place; where the rungs or a budget end, a person
is asked.
"""

import msgspec

from steadytrain.actions import AskPerson, Plan, RollBack, ScaleLearningRate, ability
from steadytrain.judge.rung import Place, Rung, ask
from steadytrain.judge.rungs import Doses


class Ladder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which remedy next.

    Attributes:
        max_rollbacks, max_tries: of a run, and of an incident; then a person is asked.
        max_lost: share of the run's updates that may be made again because of rollbacks.
        least_lr: the learning rate is not lowered below this share of the plan.

    Source: guesses. Marin 32B lost 5 % of its steps to recoveries; five times that is no training.
    """

    doses: Doses = Doses()
    max_rollbacks: int = 24
    max_tries: int = 8
    max_lost: float = 0.25
    least_lr: float = 1 / 16

    def choose(self, place: Place) -> Rung:
        """The remedy for this place."""
        spent = self._spent(place)
        if spent is not None:
            return ask(spent)
        rungs = self.rungs(place)
        return rungs[min(place.rung, len(rungs) - 1)]

    def candidates(self, place: Place, most: int) -> tuple[Rung, ...]:
        """The remedy for this place and those after it that a trial can tell apart."""
        if self._spent(place) is not None:
            return ()
        later = self.rungs(place)[place.rung : place.rung + most]
        return tuple(one for one in later if one.plan and not isinstance(one.plan[0], AskPerson))

    def rungs(self, place: Place) -> tuple[Rung, ...]:
        """Every remedy for this place, mildest first; the last one watches or asks a person."""
        found = [self._possible(rung, place) for rung in self.doses.rungs(place)]
        kept: list[Rung] = []
        for rung in found:
            if rung is not None and all(rung.plan != one.plan for one in kept):
                kept.append(rung)
        return tuple(kept)

    def _spent(self, place: Place) -> str | None:
        """The budget that is used up, in words; None while none is. What costs nothing is free."""
        if place.recovered and not place.landed:
            return None
        if place.rollbacks >= self.max_rollbacks:
            return f"the run has rolled back {place.rollbacks} times, its whole budget"
        if place.tries >= self.max_tries:
            return f"this incident has had {place.tries} remedies, its whole budget"
        if place.steps is not None and place.steps_lost > self.max_lost * place.steps:
            return f"{place.steps_lost} of {place.steps} updates were made again, the whole budget"
        return None

    def _possible(self, rung: Rung, place: Place) -> Rung | None:
        """The rung without what cannot be done here; None if nothing but a rollback is left."""
        allowed: list[Plan] = []
        missing: list[str] = []
        for action in rung.plan:
            name = ability(action)
            if place.can is not None and name not in (*place.can, "AskPerson"):
                missing.append(name)
            elif isinstance(action, ScaleLearningRate) and place.lr_left <= self.least_lr:
                missing.append(f"{name} below {self.least_lr:.3g} of the plan")
            else:
                allowed.append(action)
        if not missing:
            return rung
        if all(isinstance(action, RollBack) for action in allowed):
            return None
        why = f"{rung.why} (not possible here: {', '.join(missing)})"
        return Rung(plan=tuple(allowed), why=why)
