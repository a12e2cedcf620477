"""A run that begins from a checkpoint of another one while that one goes on: a decay branch.

The other run's home is read and never written. What its journal knows decides: the checkpoint lies
on the branch that survived, and the judge has called the run healthy beyond it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from steadytrain import journal
from steadytrain.actions import (
    AskPerson,
    Cancel,
    ExcludeRank,
    LeaveHost,
    Plan,
    ResetMoments,
    RollBack,
    SkipDraws,
    SkipUpdate,
)
from steadytrain.errors import CheckpointError, SettingError
from steadytrain.events import Remedy, RunBranched
from steadytrain.replaying import recall, recipe_of
from steadytrain.train.checkpoints import checkpoints_in
from steadytrain.train.hands import Orders
from steadytrain.train.memory import History
from steadytrain.train.ranks import Ranks
from steadytrain.train.retention import CheckpointRef

PASSING = (RollBack, SkipUpdate, AskPerson, ExcludeRank, LeaveHost)
"""Actions that hold for a moment, or for the machines of one run only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """A checkpoint to begin from, and what will be on record of it; its draw is not known yet."""

    ref: CheckpointRef
    branched: RunBranched


class Parent:
    """Another run as its journal tells it, up to this moment.

    Args:
        domains: of the run that branches off, which must be the parent's; None: not compared.

    Raises:
        CheckpointError: the home holds no run, or one of another data order.
        JournalError: its journal cannot be read.
    """

    def __init__(self, home: Path, *, domains: Sequence[str] | None = None) -> None:
        self._home = Path(home)
        self.history = History()
        past = journal.load(self._home, "rank0")
        for event in past:
            self.history.note(event)
        begun = self.history.begun
        if begun is None:
            raise CheckpointError(
                f"{home} holds no run to branch from. Write branch_from= with the home of a run "
                "that has saved a checkpoint"
            )
        if domains is not None and tuple(domains) != begun.domains:
            raise CheckpointError(
                f"{home} reads the domains {begun.domains}, this run reads {tuple(domains)}: a "
                "branch goes on in its parent's data order, or what was left out there would be "
                "other text here. Give it the same order"
            )
        self._run = begun.run
        self.healthy_until = 0
        for _, _, state in recall(recipe_of(past), past, from_saved_state=True):
            self.healthy_until = state.healthy_until

    def origins(self, at_or_before: int | None = None) -> list[Origin]:
        """Healthy checkpoints on the surviving branch, newest first."""
        last = self.healthy_until
        if at_or_before is not None:
            last = min(last, at_or_before)
        refs = [
            ref
            for ref in checkpoints_in(self._home / "checkpoints")
            if ref.step <= last
            and self.history.track.knows(ref.step)
            and self.history.is_on_branch(ref.attempt, ref.step)
        ]
        refs.sort(key=lambda ref: (ref.step, ref.attempt), reverse=True)
        return [Origin(ref=ref, branched=self._branched(ref)) for ref in refs]

    def _branched(self, ref: CheckpointRef) -> RunBranched:
        own = self.history.remedies
        before = self.history.branched
        given = [*before.remedies, *own] if before is not None else own
        orders = Orders(given)
        expected = self.history.track.expected(ref.step, reset_after=orders.zeroed_after(ref.step))
        return RunBranched(
            run=self._run,
            home=str(self._home),
            step=ref.step,
            draw=expected.draw or 0,
            checkpoint=ref.path.name,
            updates=expected.updates,
            remedies=inherited(orders, ref.step, run=self._run),
        )


def inherited(orders: Orders, step: int, *, run: str) -> tuple[Remedy, ...]:
    """What of another run's remedies holds in a branch that begins after `step`.

    Draws that are left out are left out here too, those found later as well: bad text is bad on
    every branch. Of the other settings, those that were in force at that step.
    """
    kept: dict[str, list[Plan]] = {}
    for remedy, action in orders.standing():
        if _is_inherited(action, step):
            kept.setdefault(remedy, []).append(_renamed(action, run))
    return tuple(
        msgspec.structs.replace(orders.remedies[id], id=f"{run}:{id}", plan=tuple(plan))
        for id, plan in kept.items()
    )


def branch_step(
    parent: str | Path,
    *,
    home: str | Path,
    at_or_before: int | None = None,
    ranks: Ranks | None = None,
) -> int:
    """The step after which a branch begins, so that its schedule can be written.

    Of a home that holds the branch already, where it began; else the newest healthy checkpoint of
    the parent. Every rank.

    Raises:
        SettingError: the parent has no healthy checkpoint yet.
    """
    ranks = ranks or Ranks()
    found: int | None = None
    if ranks.rank == 0:
        history = History()
        for event in journal.load(Path(home), "rank0"):
            history.note(event)
        if history.branched is not None:
            found = history.branched.step
        else:
            origins = Parent(Path(parent)).origins(at_or_before)
            found = origins[0].branched.step if origins else None
    found = ranks.tell(found)
    if found is None:
        raise SettingError(
            f"{parent} has no checkpoint that is known to be healthy yet, so nothing can branch "
            "off. Wait until it has trained on for a while after one, or save them more often."
        )
    return found


def _is_inherited(action: Plan, step: int) -> bool:
    if isinstance(action, PASSING):
        return False
    if isinstance(action, SkipDraws):
        return True
    if isinstance(action, ResetMoments):
        return action.from_step == step  # an earlier one is in the state already
    return action.from_step <= step


def _renamed(action: Plan, run: str) -> Plan:
    if isinstance(action, Cancel):
        return msgspec.structs.replace(action, remedy=f"{run}:{action.remedy}")
    return action
