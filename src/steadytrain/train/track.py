"""What a state must look like, by the journal alone: the other side of every restore check."""

from dataclasses import dataclass, field

from steadytrain.events import (
    AttemptBegan,
    CheckpointSaved,
    Event,
    OptimizerSettings,
    RestoreVerified,
    RunBranched,
    StepRecord,
)
from steadytrain.train.updates import Made, Updates

REHEARSAL = "rehearsal"
"""Source of the comparison that each life begins with: a forward pass of this package against the
training loop's own. Only where they agree can a loss tell anything about a restored state."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What the state after `step` must look like. What is not on record is None or empty.

    Attributes:
        draw: position in the data order.
        updates: committed updates since the optimizer's moments were zero.
        made: update `step`.
        settings: beta1, beta2, eps, without what remedies asked for.
        rng: digest of each rank's random state when the state was taken.
        follower: update `step` + 1 as it was made from this very state.
        loss_tells: whether a forward pass of this package gives what the training loop gives.
    """

    step: int
    draw: int | None = None
    updates: int | None = None
    made: Made | None = None
    settings: dict[str, float] = field(default_factory=dict)
    rng: tuple[str, ...] = ()
    follower: Made | None = None
    loss_tells: bool = False


class Track:
    """The present branch of a run as its journal tells it: fed with every event, oldest first."""

    def __init__(self) -> None:
        self._made = Updates()
        self._kept = 0  # records after it, but for the very next, are of an abandoned branch
        self._settings: dict[int, dict[str, float]] = {}
        self._rng: dict[tuple[int, int], tuple[str, ...]] = {}
        self._begin = 0
        self._begin_draw: int | None = 0
        self._begin_updates: int | None = 0
        self._loss_tells = False

    def note(self, event: Event) -> None:
        match event:
            case StepRecord():
                self._kept = max(self._kept, event.step)
                self._made[event.step] = Made(
                    draw=event.draw,
                    draw_end=event.draw_end,
                    committed=event.committed,
                    loss=event.loss,
                    lr=event.lr,
                    lr_planned=event.lr_planned,
                )
            case OptimizerSettings():
                self._settings[event.step] = event.settings
            case AttemptBegan():
                # Each life tells its settings afresh; those of later steps were another life's.
                self._settings = {k: v for k, v in self._settings.items() if k <= event.step}
            case CheckpointSaved() if event.rng:
                self._rng[event.attempt, event.step] = event.rng
            case RunBranched():
                self._begin, self._begin_draw = event.step, event.draw
                self._begin_updates = event.updates
            case RestoreVerified() if event.source == REHEARSAL:
                self._loss_tells = not event.differences

    def abandon(self, back: int) -> None:
        """A rollback gives up what came after update `back`.

        The record of the next update stays: it was made from the state that is gone back to.
        """
        self._made.cut(back + 1)
        self._settings = {step: one for step, one in self._settings.items() if step <= back}
        self._kept = min(self._kept, back)

    def knows(self, step: int) -> bool:
        """Whether the update that led to this state is on record.

        A state without it would leave a hole in the record and in the judge's memory for ever: the
        process died after the checkpoint was durable and before the update's numbers were read.
        """
        return step == self._begin or (step <= self._kept and self._made.get(step) is not None)

    def expected(
        self,
        step: int,
        *,
        attempt: int | None = None,
        reset_after: int | None = None,
        rng: tuple[str, ...] = (),
    ) -> Expected:
        """Everything on record about the state after `step`.

        Args:
            attempt: that saved it as a checkpoint; None for a state in memory.
            reset_after: the moments were set to zero after this update, None if they never were.
            rng: digest of each rank's random state, where the journal does not hold it.
        """
        made = self._made.get(step)
        draw = made.draw_end if made is not None else None
        if step == self._begin:
            draw = self._begin_draw
        if attempt is not None:
            rng = self._rng.get((attempt, step), ())
        return Expected(
            step=step,
            draw=draw,
            updates=self._updates(step, reset_after),
            made=made,
            settings=self._settings_at(step),
            rng=rng,
            follower=self._made.get(step + 1),
            loss_tells=self._loss_tells,
        )

    def _updates(self, step: int, reset_after: int | None) -> int | None:
        begin, count = self._begin, self._begin_updates
        if reset_after is not None:
            begin, count = reset_after, 0
        landed = self._made.landed(begin, step)
        return None if count is None or landed is None else count + landed

    def _settings_at(self, step: int) -> dict[str, float]:
        """As of the last update in the state; those that the run began with, before the first."""
        told = [at for at in self._settings if at <= step] or sorted(self._settings)[:1]
        return self._settings[max(told)] if told else {}
