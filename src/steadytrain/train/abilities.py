"""What this training side can carry out, and what it cannot, in words.

A judge that proposes what the optimizer or the model cannot do would wait for an effect that never
comes; so the run says at its beginning what can be done.
"""

from collections.abc import Mapping

import torch
from torch import nn

from steadytrain import actions
from steadytrain.actions import SPIKES, Action
from steadytrain.train.gradients import Shrinker
from steadytrain.train.hands import is_adams
from steadytrain.train.moments import keeps_moments

ACTIONS: tuple[str, ...] = (
    *(kind.__name__ for kind in Action.__subclasses__() if kind.__module__ == actions.__name__),
    SPIKES,
)


def can(
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    *,
    world: int,
    has_schedule: bool,
    refused: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """Names of the actions that can be carried out.

    Args:
        has_schedule: whether the session plans the learning rate.
        refused: what is known elsewhere to be impossible, as `cannot` gives it.
    """
    missing = cannot(optimizer, model, world=world, has_schedule=has_schedule)
    missing |= dict(refused or {})
    return tuple(name for name in ACTIONS if name not in missing)


def cannot(
    optimizer: torch.optim.Optimizer, model: nn.Module, *, world: int, has_schedule: bool
) -> dict[str, str]:
    """Name of each action that cannot be carried out -> why, and what would make it possible."""
    missing: dict[str, str] = {}
    name = type(optimizer).__name__
    if not any(is_adams(group) for group in optimizer.param_groups):
        missing["ScaleEpsilon"] = (
            f"{name} has no group with Adam's eps, so there is nothing to scale. AdamW has one."
        )
    if not keeps_moments(optimizer):
        missing |= dict.fromkeys(
            ("ResetMoments", "LimitUpdates", SPIKES),
            f"{name} is not known to keep Adam's exp_avg and exp_avg_sq, which this reads and "
            "writes. torch.optim.AdamW keeps them.",
        )
    shrinker = Shrinker(model)
    if not shrinker.has_embedding:
        missing["ScaleShallowGradients"] = (
            "the model has no module whose class is named like an embedding, so the layer where "
            "outbreaks begin is not known. Use nn.Embedding, or name yours ...Embedding."
        )
    if not has_schedule:
        missing["BeginDecay"] = (
            "the learning rate is the user's own, so there is no decay to begin. Give the session "
            "schedule=WarmupStableDecay(...)."
        )
    if world == 1:
        missing["ExcludeRank"] = "there is one rank, so leaving it out would leave nothing."
        missing["LeaveHost"] = "there is one rank, and no other that could say that it is wrong."
    return missing
