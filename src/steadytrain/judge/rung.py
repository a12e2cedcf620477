"""What a rung is, and the place that it is chosen for."""

import msgspec

from steadytrain.actions import AskPerson, Plan
from steadytrain.judge.evidence import Unlike
from steadytrain.ranges import Ranges


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where and when a remedy is chosen.

    Attributes:
        rung: how many remedies this cause has had at this place.
        tries: how many remedies this incident has had.
        onset: first affected step.
        due: the step before which the remedy will be carried out.
        flagged, first_flagged: draws whose text is corrupt; the first committed step with one.
        window: draws of all steps from the onset to `due`.
        landed, recovered: an affected update landed; the newest points are in their bands again.
        is_felt: a loss, norm or update moved; not only the text was read to be corrupt.
        is_harmed: a loss is up, not only a gradient norm or an update size.
        is_step_too_long: with half the rate the onset's step would have done no harm.
        has_attention: the logits that grew are the attention's.
        unlike_ranks: ranks whose gradients are not as they should be; `world`: of how many.
        unlike: how replicas of the state differ, None where they do not.
        times_named: how often the rank that is named now has been named in this run.
        epsilon_factor: what keeps Adam's epsilon from dominating; None where it does not.
        rollbacks, steps_lost: of this run: rollbacks, and updates made again.
        lr_left: the product of this incident's factors on the learning rate.
        steps, draws_per_step: of the whole run (None if not known), and of an update.
        can: actions that the training side can carry out; None: every one.
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
    is_step_too_long: bool = False
    has_attention: bool = False
    unlike_ranks: tuple[int, ...] = ()
    unlike: Unlike | None = None
    times_named: int = 0
    epsilon_factor: float | None = None
    tries: int = 0
    steps_lost: int = 0
    lr_left: float = 1.0
    steps: int | None = None
    draws_per_step: int = 1
    can: tuple[str, ...] | None = None


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """A plan and one sentence why; an empty plan means: only watch."""

    plan: tuple[Plan, ...]
    why: str


def watch(why: str) -> Rung:
    """Do nothing but look."""
    return Rung(plan=(), why=why)


def ask(why: str) -> Rung:
    """Leave it to a person."""
    question = f"{why}. Look at the incident's evidence and decide."
    return Rung(plan=(AskPerson(question=question),), why=why)
