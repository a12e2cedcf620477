"""Candidate remedies tried from the last healthy state, a few updates each; the run is put back.

What a trial shows is short: that a remedy holds over a dozen updates, not that it holds for good.
The verification after the remedy stays what it is.
"""

import time
from collections.abc import Callable, Iterable

import torch

from steadytrain.actions import Plan, roll_back_step
from steadytrain.events import Remedy, Trial, TrialDone, TrialWanted
from steadytrain.train.feed import Feed
from steadytrain.train.hands import Orders, Settings
from steadytrain.train.ranks import Ranks
from steadytrain.train.recorder import Flight, Recorder
from steadytrain.train.reruns import Dial, Reruns
from steadytrain.train.snapshots import Snapshot, Snapshots

MOST_UPDATES = 40
"""A candidate whose snapshot lies so far back that it needs more is not tried. Source: guess."""


class Trials:
    """Tries plans. Every method: every rank, same order; the run is left as it was found.

    Args:
        dial: sets the optimizer's hyperparameters for a step under given settings.
        release: puts the user's own learning rate back, where no schedule is known.
        loss: of one recorded update's sequences on this rank, under the present weights.
    """

    def __init__(
        self,
        *,
        reruns: Reruns,
        feed: Feed,
        recorder: Recorder,
        snapshots: Snapshots,
        ranks: Ranks,
        dial: Callable[[int, Settings], Dial],
        release: Callable[[], float],
        loss: Callable[[Flight], float],
    ) -> None:
        self._reruns = reruns
        self._feed = feed
        self._recorder = recorder
        self._snapshots = snapshots
        self._ranks = ranks
        self._dial = dial
        self._release = release
        self._loss = loss

    def try_out(
        self,
        wanted: TrialWanted,
        *,
        remedies: Iterable[Remedy],
        attempt: int,
        step: int,
        beat: Callable[[], None],
    ) -> TrialDone:
        """Make some updates with each candidate.

        Args:
            remedies: in force.
            step: last update that was made.
            beat: called before each update, to show that the trial moves.
        """
        began = time.monotonic()
        healthy = self._recorder.between(wanted.onset - 8, wanted.onset - 1)
        in_force = list(remedies)
        draw, exclusions = self._feed.draw, Orders(in_force).exclusions()
        trials: list[Trial] = []
        before: float | None = None
        with self._reruns.kept():
            try:
                for plan in wanted.candidates:
                    orders = Orders([*in_force, _as_remedy(wanted, plan)])
                    start = self._start(plan, wanted.onset, orders, wanted.updates)
                    if start is None:
                        continue
                    with start.lease():
                        self._reruns.restore(start)
                        if before is None and healthy:
                            before = self._mean(self._loss(healthy[-1]))
                        trials.append(
                            self._try(plan, start, orders, wanted, healthy[-1:], beat=beat)
                        )
            finally:
                self._feed.seek(draw)
                self._feed.leave_out(exclusions)
        return TrialDone(
            incident=wanted.incident,
            attempt=attempt,
            step=step,
            trials=tuple(trials),
            control_before=before,
            seconds=time.monotonic() - began,
        )

    def _start(
        self, plan: tuple[Plan, ...], onset: int, orders: Orders, updates: int
    ) -> Snapshot | None:
        """The state that a candidate begins from; None if none is held that is near enough."""
        back = roll_back_step(plan)
        start = self._snapshots.newest_at_or_before(onset - 1 if back is None else back)
        if start is None or onset - 1 - start.step + updates > MOST_UPDATES:
            return None
        return start

    def _try(
        self,
        plan: tuple[Plan, ...],
        start: Snapshot,
        orders: Orders,
        wanted: TrialWanted,
        control: list[Flight],
        *,
        beat: Callable[[], None],
    ) -> Trial:
        self._feed.leave_out(orders.exclusions())
        self._feed.seek(start.draw)
        losses, norms = [], []
        for step in range(start.step + 1, wanted.onset + wanted.updates):
            beat()
            draws = self._feed.share(self._feed.step_draws(step))
            dial = self._dial(step, orders.at(step))
            loss_B, norm = self._reruns.make(step, draws, dial)
            self._release()
            if step >= wanted.onset:
                losses.append(self._mean(float(loss_B.mean())))
                norms.append(norm)
        return Trial(
            plan=plan,
            losses=tuple(losses),
            control=self._mean(self._loss(control[0])) if control else None,
            grad_norm=max(norms, default=None),
        )

    def _mean(self, loss: float) -> float:
        """Over all ranks, which hold as many sequences each."""
        whole = torch.tensor([loss], dtype=torch.float64, device=self._feed.device)
        self._ranks.add_up(whole)
        return float(whole) / self._ranks.world


def _as_remedy(wanted: TrialWanted, plan: tuple[Plan, ...]) -> Remedy:
    return Remedy(
        id="trial", incident=wanted.incident, step=wanted.step, due=wanted.due, rung=0,
        cause="", plan=plan, why="",
    )  # fmt: skip
