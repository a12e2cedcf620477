"""Carry out a remedy: standing orders, and settings as a pure function of the step.

Nothing about remedies lives in a checkpoint. The journal names every remedy; installing them in
order gives the same settings at every step, in every life of the run.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from steadytrain.actions import (
    BeginDecay,
    Plan,
    ScaleEpsilon,
    ScaleLearningRate,
    ScaleShallowGradients,
    SetZLoss,
    SkipDraws,
    roll_back_step,
)
from steadytrain.events import (
    Remedy,
)
from steadytrain.ranges import Ranges
from steadytrain.train.schedule import WarmupStableDecay


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What remedies ask of one update.

    Attributes:
        lr_factor, epsilon_factor: multiply the planned learning rate and Adam's epsilon.
        shallow_alpha: multiplies the gradients of the embedding and lowest block.
        z_loss: coefficient, None for the run's own.
        decay_from: the decay begins after this step, None as planned.
    """

    lr_factor: float = 1.0
    epsilon_factor: float = 1.0
    shallow_alpha: float = 1.0
    z_loss: float | None = None
    decay_from: int | None = None


class Orders:
    """Remedies in force, in the order in which they were given.

    A roll-back abandons a branch and with it the settings that began on it; draws once left out
    stay out, since bad text is bad on every branch.
    """

    def __init__(self, remedies: Iterable[Remedy] = ()) -> None:
        self._actions: list[Plan] = []
        for remedy in remedies:
            self.install(remedy)

    def install(self, remedy: Remedy) -> None:
        """Let a remedy's settings hold from their own steps on. Installing twice is harmless."""
        back = roll_back_step(remedy.plan)
        if back is not None:
            self._actions = [action for action in self._actions if not _began_after(action, back)]
        self._actions += [action for action in remedy.plan if action not in self._actions]

    def exclusions(self) -> list[tuple[int, Ranges]]:
        """What the feed must leave out, as (from_step, ranges)."""
        return [
            (action.from_step, action.ranges)
            for action in self._actions
            if isinstance(action, SkipDraws)
        ]

    def at(self, step: int) -> Settings:
        """The settings of update `step`."""
        lr_factor = epsilon_factor = shallow_alpha = 1.0
        z_loss: float | None = None
        decay_from: int | None = None
        for action in self._actions:
            match action:
                case ScaleLearningRate() if step > action.from_step:
                    since = step - action.from_step - action.hold_steps
                    lr_factor *= _relax(action.factor, since, action.rewarm_steps)
                case ScaleEpsilon() if step > action.from_step:
                    epsilon_factor *= action.factor
                case ScaleShallowGradients() if step > action.from_step:
                    since = step - action.from_step - action.hold_steps
                    shallow_alpha *= _relax(action.alpha, since, action.relax_steps)
                case SetZLoss() if step > action.from_step:
                    z_loss = action.coefficient
                case BeginDecay():
                    earliest = action.from_step
                    decay_from = earliest if decay_from is None else min(decay_from, earliest)
        return Settings(
            lr_factor=lr_factor,
            epsilon_factor=epsilon_factor,
            shallow_alpha=shallow_alpha,
            z_loss=z_loss,
            decay_from=decay_from,
        )


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
        schedule: WarmupStableDecay | None,
        *,
        z_loss: float,
    ) -> None:
        self._groups = optimizer.param_groups
        self._schedule = schedule
        self._z_loss = z_loss
        first = float(self._groups[0]["lr"])
        self._ratios = [float(group["lr"]) / first for group in self._groups]
        self._epsilons = [float(group.get("eps", 0.0)) for group in self._groups]

    def z_loss(self, settings: Settings) -> float:
        """The coefficient in force."""
        return self._z_loss if settings.z_loss is None else settings.z_loss

    def set(self, step: int, settings: Settings) -> float:
        """Turn the dials for update `step`; returns the first group's planned learning rate."""
        self._found = [float(group["lr"]) for group in self._groups]
        rates = self._found
        if self._schedule is not None:
            planned = self._schedule.lr(step, decay_from=settings.decay_from)
            rates = [planned * ratio for ratio in self._ratios]
        for group, rate, epsilon in zip(self._groups, rates, self._epsilons, strict=True):
            group["lr"] = rate * settings.lr_factor
            if "eps" in group:
                group["eps"] = epsilon * settings.epsilon_factor
        return rates[0] * settings.lr_factor

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
        used = float(self._groups[0]["lr"])
        if self._schedule is None:
            for group, rate in zip(self._groups, self._found, strict=True):
                group["lr"] = rate
        return used


def _began_after(action: Plan, step: int) -> bool:
    if isinstance(action, SkipDraws):
        return False
    return getattr(action, "from_step", -1) > step


def _relax(factor: float, since: int, steps: int) -> float:
    """`factor` while held, then linearly back to 1 over `steps`."""
    if since <= 0:
        return factor
    if since >= steps:
        return 1.0
    return factor + (1.0 - factor) * since / steps
