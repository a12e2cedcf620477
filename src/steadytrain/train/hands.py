"""Carry out a remedy: standing orders, and settings as a pure function of the step.

Nothing about remedies lives in a checkpoint. The journal names every remedy; installing them in
order gives the same settings at every step, in every life of the run.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import torch
from torch import Tensor

from steadytrain.actions import (
    BeginDecay,
    Cancel,
    ClipAttention,
    Clipping,
    ExcludeRank,
    LimitUpdates,
    Plan,
    ResetMoments,
    ScaleEpsilon,
    ScaleLearningRate,
    ScaleShallowGradients,
    SetClipping,
    SetZLoss,
    SkipDraws,
    roll_back_step,
)
from steadytrain.events import Remedy
from steadytrain.train.feed import Exclusion
from steadytrain.train.losses import ZLoss
from steadytrain.train.schedule import Schedule


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What remedies ask of one update.

    Attributes:
        lr_factor, epsilon_factor: multiply the planned learning rate and Adam's epsilon.
        shrinks: (alpha, reach) for each shrinking of the shallow gradients.
        own_z_loss: weight of the run's own z-loss.
        z_loss: added to that.
        clipping: running threshold in force beside the run's own limit.
        resets_moments: Adam's moments are set to zero before this very update.
        limits_updates: each tensor's update is limited by what its gradients were expected to be.
        attention_threshold: largest attention logit that is let be.
        excluded_ranks: whose gradients do not count.
        decay_from: the decay begins after this step, None as planned.
    """

    lr_factor: float = 1.0
    epsilon_factor: float = 1.0
    shrinks: tuple[tuple[float, float], ...] = ()
    own_z_loss: float = 1.0
    z_loss: ZLoss = field(default_factory=ZLoss)
    clipping: Clipping | None = None
    resets_moments: bool = False
    limits_updates: bool = False
    attention_threshold: float | None = None
    excluded_ranks: tuple[int, ...] = ()
    decay_from: int | None = None

    @property
    def objective(self) -> tuple[Any, ...]:
        """What a backward pass depends on."""
        return self.own_z_loss, self.z_loss, self.excluded_ranks


@dataclass(frozen=True, slots=True)
class _Order:
    """An action and the remedy that it belongs to."""

    remedy: str
    action: Plan


class Orders:
    """Remedies in force, in the order in which they were given.

    A roll-back abandons a branch and with it the settings that began on it; draws once left out
    stay out, since bad text is bad on every branch. What was cancelled stays so: its settings end
    where the roll-back leads to.

    Attributes:
        remedies: all that were ever installed, by id, in their order.
    """

    def __init__(self, remedies: Iterable[Remedy] = ()) -> None:
        self._orders: list[_Order] = []
        self.remedies: dict[str, Remedy] = {}
        for remedy in remedies:
            self.install(remedy)

    def install(self, remedy: Remedy) -> None:
        """Let a remedy's settings hold from their own steps on. Installing twice is harmless."""
        if remedy.id in self.remedies:
            return
        self.remedies[remedy.id] = remedy
        back = roll_back_step(remedy.plan)
        if back is not None:
            earlier = (_rolled_back(order, back) for order in self._orders)
            self._orders = [order for order in earlier if order is not None]
        self._orders += [_Order(remedy.id, action) for action in remedy.plan]

    def exclusions(self) -> list[Exclusion]:
        """What the feed must leave out, and in which steps."""
        ends = self._ends()
        return [
            Exclusion(order.action.from_step, order.action.ranges, ends.get(order.remedy, math.inf))
            for order in self._orders
            if isinstance(order.action, SkipDraws)
        ]

    def standing(self) -> list[tuple[str, Plan]]:
        """Every action that no roll-back has abandoned, with the id of its remedy."""
        return [(order.remedy, order.action) for order in self._orders]

    def zeroed_after(self, step: int) -> int | None:
        """The update after which moments were set to zero last, as the state after `step` has it;
        None if they never were."""
        ends = self._ends()
        zeroed = [
            order.action.from_step
            for order in self._orders
            if isinstance(order.action, ResetMoments)
            and order.action.from_step < min(step, ends.get(order.remedy, math.inf))
        ]
        return max(zeroed, default=None)

    def at(self, step: int) -> Settings:
        """The settings of update `step`."""
        ends = self._ends()
        settings = Settings()
        for order in self._orders:
            since = step - getattr(order.action, "from_step", step)
            if since > 0 and step <= ends.get(order.remedy, math.inf):
                settings = _with(settings, order.action, since)
        return settings

    def _ends(self) -> dict[str, float]:
        """The last step of each remedy that was cancelled."""
        ends: dict[str, float] = {}
        for order in self._orders:
            if isinstance(order.action, Cancel):
                old = ends.get(order.action.remedy, math.inf)
                ends[order.action.remedy] = min(old, order.action.from_step)
        return ends


def _with(settings: Settings, action: Plan, since: int) -> Settings:
    """The settings and what an action adds to them in its update number `since`, from 1."""
    match action:
        case ScaleLearningRate():
            factor = _relax(action.factor, since - action.hold_steps, action.rewarm_steps)
            return replace(settings, lr_factor=settings.lr_factor * factor)
        case ScaleEpsilon():
            return replace(settings, epsilon_factor=settings.epsilon_factor * action.factor)
        case ScaleShallowGradients():
            alpha = _relax(action.alpha, since - action.hold_steps, action.relax_steps)
            if alpha == 1.0:
                return settings
            return replace(settings, shrinks=(*settings.shrinks, (alpha, action.reach)))
        case SetZLoss():
            over = 0 if action.hold_steps is None else since - action.hold_steps
            share = 1.0 - _relax(0.0, over, action.relax_steps)
            is_largest = action.form == "max"
            wanted = ZLoss(
                logsumexp=0.0 if is_largest else action.coefficient,
                largest=action.coefficient if is_largest else 0.0,
            )
            return replace(
                settings,
                own_z_loss=(1.0 - share) * settings.own_z_loss,
                z_loss=settings.z_loss.faded(share, wanted),
            )
        case SetClipping() if _is_held(action.hold_steps, since):
            return replace(settings, clipping=action.method)
        case ResetMoments():
            return replace(settings, resets_moments=settings.resets_moments or since == 1)
        case LimitUpdates() if _is_held(action.hold_steps, since):
            return replace(settings, limits_updates=True)
        case ClipAttention() if _is_held(action.hold_steps, since):
            old = settings.attention_threshold
            lowest = action.threshold if old is None else min(old, action.threshold)
            return replace(settings, attention_threshold=lowest)
        case ExcludeRank():
            ranks = tuple(sorted({*settings.excluded_ranks, action.rank}))
            return replace(settings, excluded_ranks=ranks)
        case BeginDecay():
            old_step = settings.decay_from
            first = action.from_step if old_step is None else min(old_step, action.from_step)
            return replace(settings, decay_from=first)
    return settings


class Dials:
    """Learning rate and epsilon of a live optimizer, set before each update.

    Args:
        schedule: the plan; None leaves the learning rate to the user's own scheduler, and a
            remedy's factor is put on for the update only.
        z_loss: the run's own coefficient.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule | None,
        *,
        z_loss: float,
    ) -> None:
        self._groups = optimizer.param_groups
        self._schedule = schedule
        self._z_loss = z_loss
        first = float(self._groups[0]["lr"])
        self._ratios = [float(group["lr"]) / first for group in self._groups]
        self._epsilons = [float(group.get("eps", 0.0)) for group in self._groups]

    @property
    def planned(self) -> float:
        """The first group's learning rate as it was set last."""
        return self._used

    @property
    def has_schedule(self) -> bool:
        return self._schedule is not None

    def z_loss(self, settings: Settings) -> ZLoss:
        """The coefficients in force."""
        own = settings.own_z_loss * self._z_loss
        return replace(settings.z_loss, logsumexp=own + settings.z_loss.logsumexp)

    def set(self, step: int, settings: Settings) -> float:
        """Turn the dials for update `step`; returns the first group's planned learning rate."""
        if self._schedule is None:
            # A rate that is a tensor on a GPU is waited for: only its owner knows it.
            self._found = [float(group["lr"]) for group in self._groups]
            rates = [rate * settings.lr_factor for rate in self._found]
        else:
            rates = self.rates(step, settings)
        for group, rate, epsilon in zip(self._groups, rates, self._epsilons, strict=True):
            turn(group, "lr", rate)
            if is_adams(group):
                turn(group, "eps", epsilon * settings.epsilon_factor)
        self._used = rates[0]
        return self._used

    def rates(self, step: int, settings: Settings) -> list[float]:
        """Learning rate of each group for update `step`, as planned and as remedies ask."""
        rates = [float(group["lr"]) for group in self._groups]
        if self._schedule is not None:
            planned = self._schedule.lr(step, decay_from=settings.decay_from)
            rates = [planned * ratio for ratio in self._ratios]
        return [rate * settings.lr_factor for rate in rates]

    def left(self, used: float, *, planned: float, settings: Settings) -> float:
        """What stands in the first group after an update that used this rate."""
        if self._schedule is not None or not settings.lr_factor:
            return used
        return planned / settings.lr_factor

    def used(self, settings: Settings) -> dict[str, float]:
        """What the optimizer uses besides its learning rate, without what remedies asked for."""
        group = self._groups[0]
        found = {"eps": float(group["eps"])} if "eps" in group else {}
        own = self._epsilons[0]
        if found.get("eps") == own * settings.epsilon_factor:
            found["eps"] = own
        for number, beta in enumerate(group.get("betas", ()), start=1):
            found[f"beta{number}"] = float(beta)
        return found

    def release(self) -> float:
        """After the update: the rate that was used; the user's own rate is put back."""
        rate = self._groups[0]["lr"]
        # A tensor is as it was filled; reading it from a GPU would wait.
        used = self._used if isinstance(rate, Tensor) else float(rate)
        if self._schedule is None:
            for group, found in zip(self._groups, self._found, strict=True):
                turn(group, "lr", found)
        return used


def is_adams(group: dict[str, Any]) -> bool:
    """Whether a group's epsilon is Adam's: Muon's, for one, belongs to its orthogonalisation."""
    return "eps" in group and "betas" in group


def turn(group: dict[str, Any], key: str, value: float) -> None:
    """Set a hyperparameter; one that is a tensor stays the tensor that a captured graph knows."""
    if isinstance(group[key], Tensor):
        group[key].fill_(value)
    else:
        group[key] = value


def _rolled_back(order: _Order, step: int) -> _Order | None:
    """What is left of an order after a return to `step`."""
    began = getattr(order.action, "from_step", -1)
    if began <= step or isinstance(order.action, SkipDraws):
        return order
    if isinstance(order.action, Cancel):
        return _Order(order.remedy, msgspec.structs.replace(order.action, from_step=step))
    return None


def _is_held(hold_steps: int | None, since: int) -> bool:
    return hold_steps is None or since <= hold_steps


def _relax(factor: float, since: int, steps: int) -> float:
    """`factor` while held, then linearly back to 1 over `steps`."""
    if since <= 0:
        return factor
    if since >= steps:
        return 1.0
    return factor + (1.0 - factor) * since / steps
