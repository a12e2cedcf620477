"""Steps made again from an earlier state, to tell data, optimizer and hardware apart.

The same state, data, learning rate and random numbers give the same loss, gradient norm and
weights. Where they do not, something else was at work: memory, a link, a kernel, or a hand from
outside. What does come out the same has its cause in the data or in the optimization itself. The
run is put back to the bit: weights, moments, hyperparameters, random states, gradients.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from steadytrain.train.feed import Feed
from steadytrain.train.hands import Settings
from steadytrain.train.losses import (
    ZLoss,
    add_z_loss,
    largest_logits,
    mean_loss,
    sequence_sums,
    token_losses,
    z_losses,
)
from steadytrain.train.recorder import Flight
from steadytrain.train.snapshots import Snapshot, Snapshots
from steadytrain.train.state import TrainingState, local
from steadytrain.train.update import Update

MOST_STEPS = 24
"""More steps are not made again: what a snapshot every 10 steps needs, twice. Source: guess."""

SAME = {"cpu": 1e-6}
SAME_ON_GPU = 1e-3
"""Relative difference up to which two numbers count as the same. A CPU repeats itself to the bit.
Source: 100 M parameters on an H200, TF32, kernels that add up in any order: a first step made again
had the same loss and a gradient norm within 1e-7, after 24 of them 6e-6 and 6e-5 (LOG.md
2026-11-28)."""

Answer = tuple[float, ...]
"""Of one batch: the loss of each sequence, and the L2 norm of each gradient that arrives."""


_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
"""A user's hooks count updates and average weights: they must not hear of steps made again. torch
has no public way to hold them back (2.6 to 2.13)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dial:
    """What the hands did at a step, apart from the learning rate used.

    Attributes:
        settings: what remedies asked for.
        z_loss: coefficients, the run's own among them.
    """

    settings: Settings
    z_loss: ZLoss


@dataclass(frozen=True, kw_only=True, slots=True)
class Remade:
    """What came of making steps again.

    Attributes:
        steps: how many were made.
        differs_at: the first step whose loss or gradient norm came out otherwise; None if all are
            as recorded.
        differs_in: "loss" (the state was another), "gradient norm" (the gradient was).
        weights_differ, moments_differ: numbers of the present state that differ from the remade.
        norm: gradient norm of the onset's step as it came out now.
        full_rate, half_rate: loss of a control batch after the onset's step, and after the same
            step with half the learning rate.
        alike: whether replicas of the state were the same after it.
    """

    steps: int
    differs_at: int | None
    differs_in: str | None
    weights_differ: int
    moments_differ: int
    norm: float | None
    full_rate: float | None
    half_rate: float | None
    alike: bool


class Reruns:
    """Makes steps again. Every method: every rank, same order; the run is left as it was found.

    Args:
        update: how the run's own updates are made.
        dial: sets the optimizer's hyperparameters for a step and says what else was in force.
    """

    def __init__(
        self,
        model: nn.Module,
        state: TrainingState,
        optimizer: torch.optim.Optimizer,
        feed: Feed,
        update: Update,
        *,
        dial: Callable[[int, float], Dial],
    ) -> None:
        self._model = model
        self._state = state
        self._optimizer = optimizer
        self._feed = feed
        self._update = update
        self._dial = dial
        self._same = SAME.get(next(model.parameters()).device.type, SAME_ON_GPU)
        self._parameters = [p for p in model.parameters() if p.requires_grad]

    def warm_up(self, step: int) -> None:
        """Before the first update of a life, let DDP choose its buckets.

        It groups gradients anew after its first backward pass, in the order of their arrival, and
        where three ranks or more are added up a sum rounds by its place in a bucket: without this
        pass, whose gradients are thrown away, the first update after a restart would differ in the
        last bits from the one that an unbroken run makes there.
        """
        is_exact = not isinstance(self._model, DistributedDataParallel) or (
            dist.get_world_size(self._model.process_group) < 3
        )
        if is_exact:
            return
        here = self._feed.draw
        draws = self._feed.share(self._feed.step_draws(step + 1))[: self._feed.batch_size]
        self._feed.seek(here)
        with self.kept():
            objective, _ = self._pass(tuple(draws), ZLoss())
            objective.backward()  # type: ignore[no-untyped-call]
            self._optimizer.zero_grad(set_to_none=True)

    def remake(
        self,
        before: Snapshot,
        flights: Sequence[Flight],
        *,
        onset: int,
        control: Callable[[], float],
        alike: Callable[[], bool] = lambda: True,
    ) -> Remade | None:
        """Make the steps of `flights` again from the state before them, and compare.

        Args:
            flights: every step since the snapshot, the present one last.
            control: loss of a healthy batch under the weights as they are when it is called.
            alike: the same of whether replicas hold the same.
        """
        steps = [flight.step for flight in flights]
        if (
            not steps
            or len(steps) > MOST_STEPS
            or steps != list(range(before.step + 1, before.step + 1 + len(steps)))
        ):
            return None
        differs_at, differs_in, norm = None, None, None
        full_rate = half_rate = None
        with self.kept() as present, before.lease():
            self.restore(before)
            for flight in flights:
                eve = self._take(flight.step) if flight.step == onset else None
                unlike, now = self._step(flight, flight.lr)
                if differs_at is None and unlike is not None:
                    differs_at, differs_in = flight.step, unlike
                if flight.step == onset:
                    norm, full_rate = now, control()
                    assert eve is not None
                    after = self._take(flight.step)
                    self.restore(eve)
                    self._step(flight, 0.5 * flight.lr)
                    half_rate = control()
                    self.restore(after)
            weights, moments = self._differences(present)
            are_alike = alike()
        return Remade(
            steps=len(steps) + 1, differs_at=differs_at, differs_in=differs_in,
            weights_differ=weights, moments_differ=moments, norm=norm,
            full_rate=full_rate, half_rate=half_rate, alike=are_alike,
        )  # fmt: skip

    def twice(self, draws: tuple[int, ...]) -> tuple[Answer, Answer]:
        """This rank's own losses and gradients of a batch, computed twice without the other ranks.

        A healthy machine gives the same twice, and the same as the others for the same draws: see
        `merge_reruns`.
        """
        with self.kept(), self._alone():
            first, second = self._answer(draws), self._answer(draws)
        return first, second

    def make(
        self, step: int, draws: Sequence[int], dial: Dial, *, committed: bool | None = None
    ) -> tuple[Tensor, float]:
        """Update `step` on these draws of this rank: the loss of each, and the gradient norm.

        Args:
            committed: whether it lands; None: if the gradient is finite.
        """
        losses = []
        self._update.prepare(dial.settings)
        for first in range(0, len(draws), self._feed.batch_size):
            part = tuple(draws[first : first + self._feed.batch_size])
            losses.append(self._backward(part, dial.z_loss, self._feed.accumulate(step)))
        norms = self._update.measure(dial.settings)
        lands = torch.isfinite(norms.total) if committed is None else torch.tensor(committed)
        commit = lands.to(norms.total.device).float()
        self._update.land(norms, dial.settings, commit)
        self._update.finish(dial.settings, commit)
        self._optimizer.zero_grad(set_to_none=True)
        return torch.cat(losses).float().cpu(), float(norms.total)

    def _step(self, flight: Flight, lr: float) -> tuple[str | None, float]:
        """One update as it was made; what differs from the record, and the gradient norm."""
        dial = self._dial(flight.step, lr)
        losses, norm = self.make(
            flight.step, flight.draws.tolist(), dial, committed=flight.committed
        )
        found = losses.numpy()
        if not np.allclose(found, flight.losses, rtol=self._same, atol=0.0, equal_nan=True):
            return "loss", norm
        same = np.isclose(norm, flight.grad_norm, rtol=self._same, atol=0.0, equal_nan=True)
        return None if same else "gradient norm", norm

    def _backward(self, draws: tuple[int, ...], z_loss: ZLoss, accumulate: int) -> Tensor:
        objective, losses = self._pass(draws, z_loss)
        (objective / accumulate).backward()  # type: ignore[no-untyped-call]
        return losses

    def _pass(self, draws: tuple[int, ...], z_loss: ZLoss) -> tuple[Tensor, Tensor]:
        """Objective of a micro-batch, and the mean loss of each of its sequences."""
        batch = self._feed.batch(draws)
        logits_BTV = self._model(batch.tokens_BT)
        nll_BT, lse_BT = token_losses(logits_BTV, batch.targets_BT)
        nll_B, tokens_B = sequence_sums(nll_BT, batch.counted_BT)
        objective = add_z_loss(
            mean_loss(nll_BT, batch.counted_BT),
            batch.counted_BT,
            z_loss,
            z_BT=z_losses(lse_BT),
            largest_BT=largest_logits(logits_BTV) if z_loss.largest else None,
        )
        return objective, (nll_B / tokens_B.clamp(min=1)).detach()

    def _answer(self, draws: tuple[int, ...]) -> Answer:
        """Losses and gradients as this rank computes them, before any rank's are added up."""
        found: list[float] = []
        for first in range(0, len(draws), self._feed.batch_size):
            part = draws[first : first + self._feed.batch_size]
            objective, losses = self._pass(part, ZLoss())
            arrived = _watch_leaves(objective)
            objective.backward()  # type: ignore[no-untyped-call]
            found += [*losses.double().tolist(), *(float(norm) for norm in arrived.values())]
        self._optimizer.zero_grad(set_to_none=True)
        return tuple(found)

    @contextlib.contextmanager
    def kept(self) -> Iterator[Snapshot]:
        """The state as it is now, put back at the end with the gradients under way."""
        grads = [parameter.grad for parameter in self._parameters]
        for parameter in self._parameters:
            parameter.grad = None
        present = self._take(0)
        hooks = {name: getattr(self._optimizer, name, None) for name in _HOOKS}
        for name in hooks:
            setattr(self._optimizer, name, OrderedDict())
        try:
            with self._update.aside():
                yield present
        finally:
            for name, hook in hooks.items():
                setattr(self._optimizer, name, hook)
            self.restore(present)
            for parameter, grad in zip(self._parameters, grads, strict=True):
                parameter.grad = grad

    def _alone(self) -> contextlib.AbstractContextManager[Any]:
        """Without the other ranks' gradients, where the wrapper can do that."""
        no_sync = getattr(self._model, "no_sync", None)
        return no_sync() if no_sync is not None else contextlib.nullcontext()

    def _take(self, step: int) -> Snapshot:
        return Snapshots(self._state, keep=1, pinned=False).take(step, self._feed.draw)

    def restore(self, snapshot: Snapshot) -> None:
        """Put a state in place of the present one, for as long as that is kept."""
        Snapshots(self._state, keep=1).restore(snapshot)

    @torch.no_grad()
    def _differences(self, present: Snapshot) -> tuple[int, int]:
        """How many weights and moments of the present state differ from the state now held."""
        weights = moments = 0
        for name, tensor in self._state.tensors().items():
            held = present.tensors.get(name)
            if held is None:
                continue
            now, was = local(tensor).float(), local(held).to(local(tensor).device).float()
            scale = now.square().mean().sqrt() if now.numel() else now.new_zeros(())
            same = torch.isclose(now, was, rtol=10 * self._same, atol=0.0, equal_nan=True)
            # Rounding of small numbers beside large ones of the same tensor is no news.
            near = (now - was).abs() <= self._same * torch.nan_to_num(scale, posinf=0.0)
            count = int((~(same | near)).sum())
            if name.startswith("model."):
                weights += count
            elif name.endswith((".exp_avg", ".exp_avg_sq")):
                moments += count
        return weights, moments


def repeats_exactly(device: torch.device) -> bool:
    """Whether the same numbers come out to the bit when a step is made again on this device.

    A GPU's kernels may add up in any order, unless torch was told to use none that do.
    """
    is_bound = torch.are_deterministic_algorithms_enabled()
    warns_only = torch.is_deterministic_algorithms_warn_only_enabled()
    return device.type == "cpu" or (is_bound and not warns_only)


def merge_reruns(parts: Sequence[dict[str, Any]], *, exact: bool) -> dict[str, Any]:
    """What all ranks found: the earliest difference, and ranks whose gradients are not right.

    Args:
        exact: the ranks' devices repeat themselves to the bit; else within SAME_ON_GPU.
    """
    if not parts[0]:
        return {}
    found = {key: value for key, value in parts[0].items() if key != "twice"}
    first = min(
        (part for part in parts if part["differs_at"] is not None),
        key=lambda part: (part["differs_at"], part["differs_in"] != "loss"),
        default=None,
    )
    if first is not None:
        found |= {key: first[key] for key in ("differs_at", "differs_in")}
    for key in ("weights_differ", "moments_differ"):
        found[key] = sum(part[key] for part in parts)
    twins = [part["twice"] for part in parts]
    same = 0.0 if exact else SAME_ON_GPU
    likes = [[_are_alike(one, other, same) for other, _ in twins] for one, _ in twins]
    usual = max(likes, key=sum)
    count = sum(usual)
    unlike = [rank for rank, (one, other) in enumerate(twins) if not _are_alike(one, other, same)]
    if not unlike and count > len(twins) / 2:
        unlike = [rank for rank, is_usual in enumerate(usual) if not is_usual]
    elif not unlike and count < len(twins):
        unlike = list(range(len(twins)))  # two that disagree: one of them
    return found | {"unlike_ranks": tuple(unlike)}


def _are_alike(one: Answer, other: Answer, same: float) -> bool:
    """Equal within `same`, of each number or, where gradients all but cancel, of a middling one."""
    if len(one) != len(other):
        return False
    mine, theirs = np.array(one), np.array(other)
    middling = float(np.median(np.abs(np.nan_to_num(mine)))) if len(one) else 0.0
    return np.allclose(mine, theirs, rtol=same, atol=0.1 * same * middling, equal_nan=True)


def _watch_leaves(objective: Tensor) -> dict[int, Tensor]:
    """Fills itself, in the backward pass to come, with the norm of each parameter's gradient.

    Asked of the graph, since FSDP2 hands out parts of the sum over all ranks only.
    """
    arrived: dict[int, Tensor] = {}
    seen, waiting = set(), [objective.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            arrived[len(arrived)] = torch.empty(0)
            node.register_prehook(partial(_note_arrival, arrived, len(arrived) - 1))
        waiting += [following for following, _ in node.next_functions]
    return arrived


def _note_arrival(arrived: dict[int, Tensor], index: int, grads: tuple[Tensor, ...]) -> None:
    arrived[index] = torch.linalg.vector_norm(grads[0].detach(), dtype=torch.float64)
