"""Carry out what is due: gather evidence, act on a remedy, look at the panel, try candidates.

Every rank holds the same orders and obeys them before the same update. What was done is told to
rank 0's memory after it was done.
"""

import time
from collections.abc import Callable, Sequence

from steadytrain.actions import LeaveHost, roll_back_step
from steadytrain.deaths import REQUEUE
from steadytrain.events import (
    AttemptBegan,
    Event,
    Incident,
    PanelWanted,
    Remedy,
    RemedyDone,
    TrialWanted,
)
from steadytrain.progress import Beacon
from steadytrain.train.examiner import Examiner
from steadytrain.train.feed import Feed
from steadytrain.train.hands import Orders
from steadytrain.train.looks import Looks
from steadytrain.train.memory import Order
from steadytrain.train.ranks import Ranks
from steadytrain.train.trajectory import Trajectory
from steadytrain.train.trials import Trials

AFTER_THE_SUSPECT_SECONDS = 2.0
"""A supervisor looks for ended ranks several times a second."""


class Deeds:
    """What rank 0's judge asked for, done by all ranks together.

    Args:
        drop_update: throws the update under way out, so that the iterator draws it again.

    Attributes:
        orders: remedies in force.
        pending: what is to be done before a later update.
    """

    def __init__(
        self,
        trajectory: Trajectory,
        *,
        feed: Feed,
        examiner: Examiner,
        looks: Looks,
        trials: Trials,
        ranks: Ranks,
        beacon: Beacon,
        drop_update: Callable[[], None],
    ) -> None:
        self.orders = Orders()
        self.pending: list[Order] = []
        self._at = trajectory
        self._feed = feed
        self._examiner = examiner
        self._looks = looks
        self._trials = trials
        self._ranks = ranks
        self._beacon = beacon
        self._drop_update = drop_update

    def adopt(self, remedies: Sequence[Remedy]) -> None:
        """Let the remedies of earlier lives hold again."""
        self.orders = Orders(remedies)
        self._feed.leave_out(self.orders.exclusions())

    def resume(self, pending: Sequence[Order], *, attempt: int) -> None:
        """After a restore: what was decided in `attempt` and not done is still due.

        A rollback is what a restart has just done: no later state was allowed.
        """
        for order in pending:
            back = roll_back_step(order.plan) if isinstance(order, Remedy) else None
            if not isinstance(order, Remedy) or back is None:
                self.pending.append(order)
                continue
            self.tell(
                RemedyDone(
                    remedy=order.id,
                    attempt=attempt,
                    step=back,
                    restored_step=self._at.step,
                    source="restart",
                )
            )

    def hear(self, called: Sequence[Order]) -> None:
        """Learn on all ranks what rank 0 decided. Every rank, same order; rare."""
        self.pending += self._ranks.tell(list(called))

    def obey(self, number: int, *, draws: Sequence[int], first_draw: int) -> None:
        """Carry out what is due before update `number`, which holds these draws."""
        due = [order for order in self.pending if due_step(order) <= number]
        self.pending = [order for order in self.pending if due_step(order) > number]
        for order in due:
            match order:
                case Incident():
                    self._beacon.beat("examine", self._at.step)
                    found = self._examiner.examine(order, attempt=self._at.attempt, step=number - 1)
                    self.tell(found)
                case Remedy():
                    self._carry_out(order, number, draws=draws, first_draw=first_draw)
                case PanelWanted():
                    self._looks.look_again(
                        number - 1, why=order.why or order.incident or "schedule"
                    )
                case TrialWanted():
                    self._try_out(order, number - 1)

    def _try_out(self, wanted: TrialWanted, step: int) -> None:
        done = self._trials.try_out(
            wanted,
            remedies=self.orders.remedies.values(),
            attempt=self._at.attempt,
            step=step,
            beat=lambda: self._beacon.beat("examine", step),
        )
        self.tell(done)

    def _carry_out(
        self, remedy: Remedy, number: int, *, draws: Sequence[int], first_draw: int
    ) -> None:
        began = time.monotonic()
        objective = self.orders.at(number).objective
        self.orders.install(remedy)
        self._feed.leave_out(self.orders.exclusions())
        back = roll_back_step(remedy.plan)
        at = self._at
        if back is None:
            self.tell(RemedyDone(remedy=remedy.id, attempt=at.attempt, step=number - 1))
            is_same = objective == self.orders.at(number).objective
            self._leave_host(remedy)
            if draws and not (is_same and self._would_draw(number, first_draw) == tuple(draws)):
                self._drop_update()
                self._feed.seek(first_draw)
            return
        self._beacon.beat("restore", at.step)
        self._drop_update()
        source, checkpoint = at.return_to(back)
        self._looks.forget_after(back)
        self.pending = [one for one in self.pending if not _is_given_up(one, back)]
        self.tell(
            RemedyDone(
                remedy=remedy.id,
                attempt=at.attempt,
                step=back,
                restored_step=at.step,
                source=source,
                seconds=time.monotonic() - began,
            )
        )
        at.attempt += 1
        self.tell(
            AttemptBegan(
                attempt=at.attempt,
                step=at.step,
                draw=self._feed.draw,
                cause="rollback",
                remedy=remedy.id,
                checkpoint=checkpoint,
            )
        )
        self._leave_host(remedy)

    def _leave_host(self, remedy: Remedy) -> None:
        """End every rank, if the remedy asks for that: to be started elsewhere.

        The rank whose hardware is suspect ends first, so that it is its host that is left where
        each host has a supervisor of its own.
        """
        for action in remedy.plan:
            if isinstance(action, LeaveHost):
                self._at.save_now()
                if self._ranks.rank != action.rank:
                    time.sleep(AFTER_THE_SUSPECT_SECONDS)
                raise SystemExit(REQUEUE)

    def _would_draw(self, number: int, first_draw: int) -> tuple[int, ...]:
        """The draws that update `number` has under the orders as they are now."""
        here = self._feed.draw
        self._feed.seek(first_draw)
        draws = self._feed.step_draws(number)
        self._feed.seek(here)
        return draws

    def tell(self, event: Event) -> None:
        """Put a fact or deed on record; rank 0 alone has a record."""
        if self._at.memory is not None:
            self._at.memory.tell(event)


def due_step(order: Order) -> int:
    """The update before which an order is carried out."""
    if isinstance(order, Incident):
        assert order.examine_at is not None
        return order.examine_at
    return order.due


def _is_given_up(order: Order, back: int) -> bool:
    """Whether a look was planned on what a rollback to `back` abandons; it is planned anew."""
    return isinstance(order, PanelWanted) and order.incident is None and order.step > back
