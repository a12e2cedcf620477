"""Does a restored state do what the journal says that it did? Asked after every restore.

Silent restore bugs have cost real runs: OPT-175B went on with other betas, IDEFICS warmed its
learning rate up again and trained on unrestored weights because of a stray file, OLMo lost its step
counter. So what is compared comes from the journal and the flight recorder, never from the restored
state itself.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from steadytrain.events import RestoreVerified, StepRecord
from steadytrain.train.feed import Feed
from steadytrain.train.hands import Dials, Orders, turn
from steadytrain.train.losses import sequence_sums, token_losses
from steadytrain.train.ranks import Ranks
from steadytrain.train.recorder import Flight
from steadytrain.train.reruns import SAME, SAME_ON_GPU
from steadytrain.train.soundness import unsound
from steadytrain.train.state import TrainingState, digest_rng, local
from steadytrain.train.track import REHEARSAL, Expected

SAME_ELSEWHERE = 1e-4
"""Relative difference of a loss up to which a restart counts as exact: another machine, number of
threads or version of a library may compute. What an unrestored tensor does is larger.
Source: guess."""

SAME_RATE = 1e-9
"""The same for learning rates, which pass through a division by a remedy's factor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Forward:
    """A forward pass over this rank's share of an update, on the device.

    Attributes:
        losses: mean of each sequence. [nats/token]
        nll, tokens: sums.
    """

    losses: Tensor
    nll: Tensor
    tokens: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class _Moving:
    """What a forward pass in training moves on."""

    rng: dict[str, Tensor]
    buffers: dict[str, Tensor]


@dataclass(kw_only=True, slots=True)
class _Notes:
    """What one rank found."""

    checked: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    def add(self, what: str, difference: str | None) -> None:
        self.checked.append(what)
        if difference is not None:
            self.differences.append(difference)


class Restores:
    """Compares the live state with what is on record. Every method: every rank, same order.

    Args:
        orders: remedies in force, looked up each time.
        apart_after: the last update before replicas of the state came apart, if they have: what
            later ones gave says nothing of the state before them.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        state: TrainingState,
        feed: Feed,
        dials: Dials,
        ranks: Ranks,
        *,
        orders: Callable[[], Orders],
        apart_after: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._state = state
        self._feed = feed
        self._dials = dials
        self._ranks = ranks
        self._orders = orders
        self._apart_after = apart_after
        self._same = SAME.get(next(model.parameters()).device.type, SAME_ON_GPU)
        self._eve: _Moving | None = None
        self._rehearsed: Forward | None = None
        self._has_rehearsed = False

    def zeroed_after(self, step: int) -> int | None:
        """The update after which moments were set to zero last, as of the state after `step`."""
        return self._orders().zeroed_after(step)

    def mark(self) -> None:
        """Before the first forward pass of an update: keep what a forward pass moves on."""
        self._eve = self._moving()

    def put_back(self) -> None:
        """The update under way is thrown out: made again it draws the same random numbers."""
        if self._eve is not None:
            self._move_back(self._eve)

    def rehearse(self, draws: Sequence[int]) -> None:
        """Once a life, before an update lands: our own forward pass of what the loop has passed.

        A loop may compute under autocast, with arguments of its own, or with random numbers drawn
        in between. Then our losses are not the loop's, and would accuse every sound state.
        """
        if self._has_rehearsed or self._eve is None:
            return
        self._has_rehearsed = True
        with self._untouched():
            self._state.load_rng(self._eve.rng)
            self._rehearsed = self._forward(draws)

    def compare_rehearsal(self, flight: Flight, record: StepRecord) -> RestoreVerified | None:
        """When the update's numbers have arrived: whether the rehearsal gave the same."""
        if self._rehearsed is None:
            return None
        ours, self._rehearsed = self._rehearsed, None
        found = self._ranks.gather((_count_unlike(ours, flight, self._same), _sums(ours)))
        unlike = sum(count for count, _ in found)
        words = (
            f"called with a batch's tokens alone, the model gives other losses than the training "
            f"loop for {unlike} of its sequences, so no loss can tell anything about a state"
        )
        return RestoreVerified(
            attempt=record.attempt,
            step=record.step - 1,
            source=REHEARSAL,
            checked=("loss",),
            differences=(words,) if unlike else (),
            loss=_mean([sums for _, sums in found]),
            recorded_loss=record.loss,
        )

    def verify(
        self,
        expected: Expected,
        *,
        attempt: int,
        source: str,
        rng: str | None,
        flight: Flight | None,
    ) -> RestoreVerified:
        """Compare the live state with what is on record; the run is left as it was found.

        Args:
            rng: digest of this rank's random state when the state was taken, None if not known.
            flight: update `expected.step` + 1 as this rank made it from this very state, None after
                a restart.
        """
        mine = _Notes()
        mine.differences += unsound(self._state)
        self._compare_rng(expected, rng, mine)
        self._compare_draw(expected, mine)
        self._compare_optimizer(expected, mine)
        sums = self._compare_losses(expected, flight, mine)
        found = self._ranks.gather((mine.checked, mine.differences, sums))
        loss = _mean([part[2] for part in found]) if sums is not None else None
        recorded = expected.follower.loss if loss is not None and expected.follower else None
        differences = _merge([part[1] for part in found])
        if flight is None and loss is not None and not _is_close(loss, recorded, SAME_ELSEWHERE):
            differences += (
                f"the batch of update {expected.step + 1} has loss {loss:.6g}, "
                f"on record is {recorded:.6g}",
            )
        return RestoreVerified(
            attempt=attempt,
            step=expected.step,
            source=source,
            checked=tuple(dict.fromkeys(found[0][0])),
            differences=differences,
            loss=loss,
            recorded_loss=recorded,
        )

    def _compare_rng(self, expected: Expected, rng: str | None, mine: _Notes) -> None:
        if rng is None:
            return
        now = digest_rng(self._state.rng())
        mine.add(
            "rng",
            None if now == rng else f"the random state is {now}, when it was taken it was {rng}",
        )

    def _compare_draw(self, expected: Expected, mine: _Notes) -> None:
        if expected.draw is None:
            return
        now = self._feed.draw
        mine.add(
            "draw",
            None
            if now == expected.draw
            else f"the data goes on at draw {now}, update {expected.step} ended at {expected.draw}",
        )

    def _compare_optimizer(self, expected: Expected, mine: _Notes) -> None:
        groups = self._optimizer.param_groups
        # As numbers: a rate that is a tensor is filled in place.
        held = [
            {key: float(group[key]) for key in ("lr", "eps") if key in group} for group in groups
        ]
        settings = self._orders().at(expected.step + 1)
        made = expected.made
        if made is not None and made.lr is not None and made.lr_planned is not None:
            now = float(groups[0]["lr"])
            was = self._dials.left(
                made.lr, planned=made.lr_planned, settings=self._orders().at(expected.step)
            )
            mine.add(
                "lr",
                None
                if math.isclose(now, was, rel_tol=SAME_RATE)
                else f"the learning rate is {now:.6g}, update {expected.step} left {was:.6g}",
            )
        planned = self._dials.rates(expected.step + 1, settings)
        self._dials.set(expected.step + 1, settings)
        for number, (group, rate) in enumerate(zip(groups, planned, strict=True)):
            now = float(group["lr"])
            if not math.isclose(now, rate, rel_tol=SAME_RATE):
                mine.differences.append(
                    f"the learning rate of group {number} is {now:.6g} for update "
                    f"{expected.step + 1}, planned is {rate:.6g}"
                )
        used = self._dials.used(settings)
        for name, was in expected.settings.items():
            if name not in used:
                continue
            what = "epsilon" if name == "eps" else "betas"
            words = "epsilon" if name == "eps" else name
            same = used[name] == was
            mine.add(what, None if same else f"{words} is {used[name]:g}, on record is {was:g}")
        for group, values in zip(groups, held, strict=True):
            for key, value in values.items():
                turn(group, key, value)
        self._compare_updates(expected, mine)

    @torch.no_grad()
    def _compare_updates(self, expected: Expected, mine: _Notes) -> None:
        counters = [
            torch.as_tensor(state["step"])
            for state in self._optimizer.state.values()
            if "step" in state
        ]
        if expected.updates is None or (not counters and self._optimizer.state):
            return  # no record of every update, or an optimizer that does not count
        # The most: a parameter that had no gradient in some update counts less.
        now = max((float(local(one)) for one in counters), default=0.0)
        mine.add(
            "step count",
            None
            if now == expected.updates
            else f"the optimizer has counted {now:g} updates, {expected.updates} are on record",
        )

    def _compare_losses(
        self, expected: Expected, flight: Flight | None, mine: _Notes
    ) -> tuple[float, float] | None:
        """Forward pass of the next update's batch; sums of nll and tokens, None if not possible."""
        follower = expected.follower
        if not expected.loss_tells or follower is None:
            return None
        apart = self._apart_after()
        if apart is not None and expected.step >= apart:
            return None
        if flight is not None:
            draws = tuple(flight.draws.tolist())
        else:
            here = self._feed.draw
            self._feed.seek(follower.draw)
            draws = self._feed.share(self._feed.step_draws(expected.step + 1))
            end = self._feed.draw
            self._feed.seek(here)
            if end != follower.draw_end:
                return None  # what is left out now is not what was left out then
        with self._untouched():
            found = self._forward(draws)
        unlike = _count_unlike(found, flight, self._same) if flight is not None else 0
        mine.add(
            "loss",
            None
            if not unlike
            else f"{unlike} sequences of update {expected.step + 1} have another loss than then",
        )
        return _sums(found)

    @torch.no_grad()
    def _forward(self, draws: Sequence[int]) -> Forward:
        size, losses, nll, tokens = self._feed.batch_size, [], [], []
        for first in range(0, len(draws), size):
            batch = self._feed.batch(tuple(draws[first : first + size]))
            nll_BT, _ = token_losses(self._model(batch.tokens_BT), batch.targets_BT)
            nll_B, tokens_B = sequence_sums(nll_BT, batch.counted_BT)
            losses.append(nll_B / tokens_B.clamp(min=1))
            nll.append(nll_B.double().sum())
            tokens.append(tokens_B.sum())
        return Forward(
            losses=torch.cat(losses), nll=torch.stack(nll).sum(), tokens=torch.stack(tokens).sum()
        )

    @contextlib.contextmanager
    def _untouched(self) -> Iterator[None]:
        """Random state and buffers as they are now are put back at the end."""
        now = self._moving()
        try:
            yield
        finally:
            self._move_back(now)

    def _moving(self) -> _Moving:
        buffers = {name: one.detach().clone() for name, one in self._state.buffers().items()}
        return _Moving(rng=self._state.rng(), buffers=buffers)

    @torch.no_grad()
    def _move_back(self, then: _Moving) -> None:
        for name, one in self._state.buffers().items():
            one.copy_(then.buffers[name])
        self._state.load_rng(then.rng)


def _count_unlike(ours: Forward, flight: Flight, same: float) -> int:
    now = ours.losses.float().cpu().numpy()
    is_same = np.isclose(now, flight.losses, rtol=same, atol=0.0, equal_nan=True)
    return int((~is_same).sum())


def _sums(forward: Forward) -> tuple[float, float]:
    return float(forward.nll), float(forward.tokens)


def _mean(sums: Sequence[tuple[float, float]]) -> float:
    return sum(nll for nll, _ in sums) / max(1.0, sum(tokens for _, tokens in sums))


def _is_close(now: float, was: float | None, same: float) -> bool:
    if was is None or (math.isnan(now) and math.isnan(was)):
        return True
    return math.isclose(now, was, rel_tol=same)


def _merge(parts: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Each sentence once; with the rank where not all ranks say it."""
    merged = []
    for rank, part in enumerate(parts):
        for words in part:
            if all(words in other for other in parts):
                merged += [words] if rank == 0 else []
            else:
                merged.append(f"rank {rank}: {words}")
    return tuple(merged)
