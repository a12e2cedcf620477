"""How a life of a run begins: afresh, where an earlier one stopped, or from another run's state."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steadytrain.actions import roll_back_step
from steadytrain.errors import CheckpointError, SettingError
from steadytrain.events import AttemptBegan, Remedy, RunBranched
from steadytrain.train.deeds import Deeds
from steadytrain.train.feed import Feed
from steadytrain.train.memory import Order
from steadytrain.train.ranks import Ranks
from steadytrain.train.reruns import repeats_exactly
from steadytrain.train.trajectory import Trajectory

BranchFrom = str | Path | tuple[str | Path, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Past:
    """What all ranks need to know of the earlier lives."""

    attempt: int
    branched: RunBranched | None
    remedies: Sequence[Remedy]
    has_ended: bool
    pending: Sequence[Order]
    world: int | None


def begin_life(
    trajectory: Trajectory,
    deeds: Deeds,
    feed: Feed,
    ranks: Ranks,
    *,
    steps: int,
    branch_from: BranchFrom | None,
) -> bool:
    """Restore what there is, put it on record; every rank, as rank 0's journal says.

    Returns:
        whether the run has ended already.

    Raises:
        CheckpointError: the home holds another run; what shall be branched from cannot be; a
            rollback was decided and no state so old is left.
        SettingError: the run would end before it branches off.
    """
    at = trajectory
    past = _tell_past(trajectory, ranks)
    own = past.remedies
    inherited = past.branched.remedies if past.branched is not None else ()
    deeds.adopt((*inherited, *own))
    at.attempt = past.attempt
    checkpoint = at.restore_newest(steps) if past.attempt else None
    if checkpoint is None:
        _insist_on_return(past.pending)
    parent = _parent_of(past, branch_from)
    is_branch = checkpoint is None and parent is not None
    if checkpoint is None and parent is not None:
        branched = at.branch_off(*parent, adopt=lambda theirs: deeds.adopt((*theirs, *own)))
        if branched.step >= steps:
            raise SettingError(
                f"steps={steps} ends before the branch begins, after step {branched.step}: steps "
                f"are counted on from the parent's. Write steps={branched.step + steps}."
            )
        deeds.tell(branched)
        checkpoint = branched.checkpoint
    at.attempt += 1
    deeds.resume(past.pending, attempt=past.attempt)
    deeds.tell(
        AttemptBegan(
            attempt=at.attempt,
            step=at.step,
            draw=feed.draw,
            cause="restart" if past.attempt else "start",
            checkpoint=checkpoint,
            world=ranks.world if past.world not in (None, ranks.world) else None,
            exact=repeats_exactly(feed.device),
        )
    )
    at.begin(is_branch=is_branch)
    return past.has_ended and at.step >= steps


def _tell_past(trajectory: Trajectory, ranks: Ranks) -> _Past:
    past: _Past | None = None
    if trajectory.memory is not None:
        history = trajectory.memory.history
        past = _Past(
            attempt=history.attempt,
            branched=history.branched,
            remedies=history.remedies,
            has_ended=history.has_ended,
            pending=trajectory.memory.pending(),
            world=history.begun.world if history.begun is not None else None,
        )
    told: Any = ranks.tell(past)
    assert isinstance(told, _Past)
    return told


def _insist_on_return(pending: Sequence[Order]) -> None:
    """Refuse to begin at step 0 what was to go back to a later one."""
    for order in pending:
        if isinstance(order, Remedy) and (back := roll_back_step(order.plan)):
            raise CheckpointError(
                f"{order.id} returns to step {back}, and no checkpoint so old is left that "
                "verifies: to begin at step 0 would throw the run away. Put one back into the "
                "run's checkpoints folder, or begin a branch from an older copy (branch_from=)."
            )


def _parent_of(past: _Past, branch_from: BranchFrom | None) -> tuple[Path, int | None] | None:
    """Home and newest step to branch from; as on record, if the run has branched off already."""
    if past.branched is not None:
        return Path(past.branched.home), past.branched.step
    if branch_from is None:
        return None
    if past.attempt:
        raise CheckpointError(
            "the home holds a run that began by itself, so it cannot branch off another one any "
            "more. Write home= with a new folder."
        )
    if isinstance(branch_from, tuple):
        return Path(branch_from[0]), branch_from[1]
    return Path(branch_from), None
