"""Adam's moments on a live optimizer: cut spikes by them, reset them, limit what comes of them.

Everything here works on what `torch.optim.Adam` and `AdamW` keep of each parameter (`exp_avg`,
`exp_avg_sq`, `max_exp_avg_sq` with amsgrad, `step`), fused, foreach or one by one, and on any other
optimizer that keeps the same. Of a sharded tensor each rank handles its own part.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Partial, Replicate

from steadytrain.train.state import local

# P parameters.

SPIKE = 5000.0
"""A squared gradient so many times its running mean is a spike. Source: SPAM (Huang 2025)."""

GRACE = 20
"""Updates that a second moment must have seen to be compared with. Source: SPAM's own code, which
waits as long at the start and after each reset."""


@dataclass(frozen=True, slots=True)
class _Second:
    """A parameter with its running mean of squared gradients, and what that mean is worth.

    Attributes:
        mean: this rank's part; divided by `correction` it is unbiased.
        divisor: what the optimizer divides by: with amsgrad the largest mean so far, else `mean`.
        updates: how many it has seen, a scalar where the optimizer keeps it.
    """

    parameter: nn.Parameter
    mean: Tensor
    divisor: Tensor
    updates: Tensor
    correction: Tensor
    epsilon: Any


def keeps_moments(optimizer: torch.optim.Optimizer) -> bool:
    """Whether it keeps Adam's moments; of one that has made no step yet, by its class."""
    if isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
        return True
    # NAdam's product of momenta would have to begin anew too.
    return any(
        {"exp_avg", "exp_avg_sq", "step"} <= state.keys() and "mu_product" not in state
        for state in optimizer.state.values()
    )


@torch.no_grad()
def reset(optimizer: torch.optim.Optimizer) -> None:
    """Set moments and step counters to zero, as before the first update.

    The counter too: the bias correction then makes the next updates of full size from the new
    gradients alone. They point where one gradient points, so re-warm the learning rate.

    Source: momentum reset of SPAM (Huang et al. 2025).
    """
    moments, counters = [], []
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            moments += [
                local(state[key])
                for key in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
                if key in state
            ]
            if isinstance(state.get("step"), Tensor):
                counters.append(local(state["step"]))
            elif "step" in state:
                state["step"] = 0
    for tensors in (moments, counters):
        if tensors:
            torch._foreach_zero_(tensors)


@torch.no_grad()
def cut_spikes(optimizer: torch.optim.Optimizer) -> None:
    """Bring elements of the gradients down to what their history allows, in place.

        g^2 > 5000 v:  g -> sign(g) * sqrt(5000 v)

    v is bias-corrected, unlike the paper's: its Adam corrects nothing, torch's does, and without it
    the first hundreds of updates after a start or reset, whose plain v is (1 - beta2^t) too small,
    would be cut for no reason. v counts as at least epsilon^2, below which Adam makes small updates
    anyway. Where v is 0 there is no history (a token not met yet), and nothing is cut: the paper's
    rule would hold such a weight for ever.

    Source: spike-aware clipping of SPAM (Huang et al. 2025).
    """
    for one in _seconds(optimizer):
        if one.parameter.grad is None:
            continue
        grad = local(one.parameter.grad)
        # Scalars stay where the counter lies: on the host or on the device, without a sync.
        allowed = torch.where(one.updates >= GRACE, SPIKE, math.inf) / one.correction
        bound = (one.mean.float() * allowed).clamp_(min=SPIKE * one.epsilon**2).sqrt_()
        bound = bound.masked_fill_(one.mean <= 0, math.inf).to(grad.dtype)
        torch.minimum(grad, bound, out=grad)
        torch.maximum(grad, bound.neg_(), out=grad)


class UpdateLimit:
    """Divides each tensor's update by how much larger its gradients are than expected.

        RMS = sqrt(mean(g^2 / max(v, epsilon^2)));   lr -> lr / max(1, RMS)

    with v the bias-corrected second moment after the update (with amsgrad, its maximum), and the
    mean over the whole tensor, all ranks. The optimizer makes its step, fused or foreach, and each
    weight is brought back to w + (w' - w) / max(1, RMS): its step is linear in the learning rate,
    decoupled decay included, so this equals a learning rate of its own for each tensor.

    While in force it needs memory for a second copy of this rank's trained weights, and one pass
    over them; nothing otherwise.

    Source: update clipping of Adafactor (Shazeer and Stern 2018) as in StableAdamW (Wortsman et al.
    2023); v and epsilon as in optimi's implementation.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer

    @torch.no_grad()
    def mark(self) -> dict[nn.Parameter, Tensor]:
        """The weights before the update."""
        return {
            parameter: local(parameter).clone()
            for group in self._optimizer.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        }

    @torch.no_grad()
    def limit(self, before: dict[nn.Parameter, Tensor]) -> None:
        """After the update, while the gradients are still there. Every rank, same order."""
        seconds = [one for one in _seconds(self._optimizer) if one.parameter in before]
        if not seconds:
            return
        sums = [_surprise(one) for one in seconds]
        parameters = [one.parameter for one in seconds]
        mean_P = torch.stack(
            [
                total / parameter.numel()
                for total, parameter in zip(_over_ranks(sums, parameters), parameters, strict=True)
            ]
        )
        # 1 - 1 / max(1, RMS) of the way back; 0 leaves the optimizer's weights to the bit. An
        # update that the gate held back may have gradients that are not finite: nothing to undo.
        back_P = torch.nan_to_num(1 - 1 / mean_P.clamp(min=1.0).sqrt(), nan=0.0)
        for parameter, back in zip(parameters, back_P.unbind(), strict=True):
            weight, was = local(parameter), before[parameter]
            if weight.dtype == torch.float32:
                weight.lerp_(was, back)
            else:
                weight.copy_(weight.float().lerp_(was.float(), back))


def _surprise(one: _Second) -> Tensor:
    """Sum of g^2 / max(v, epsilon^2) over this rank's part."""
    assert one.parameter.grad is not None
    square = local(one.parameter.grad).float().square()
    expected = (one.divisor.float() / one.correction).clamp_(min=one.epsilon**2)
    return square.div_(expected).sum()


def _over_ranks(sums: Sequence[Tensor], parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Each rank's sums added up where the parameter is sharded: one collective per sharding.

    Every rank, same order.
    """
    whole = list(sums)
    kinds: dict[tuple[Any, ...], list[int]] = {}
    for index, parameter in enumerate(parameters):
        if isinstance(parameter, DTensor):
            kinds.setdefault((parameter.device_mesh, parameter.placements), []).append(index)
    for (mesh, placements), members in kinds.items():
        parts = [Replicate() if one.is_replicate() else Partial("sum") for one in placements]
        stacked = torch.stack([sums[index] for index in members])
        added = DTensor.from_local(stacked, mesh, parts).full_tensor()
        for index, one in zip(members, added.unbind(), strict=True):
            whole[index] = one
    return whole


def _seconds(optimizer: torch.optim.Optimizer) -> Iterator[_Second]:
    for group in optimizer.param_groups:
        if "betas" not in group or "eps" not in group:
            continue
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            if "exp_avg_sq" not in state or "step" not in state:
                continue
            updates = torch.as_tensor(state["step"], dtype=torch.float32)
            yield _Second(
                parameter,
                local(state["exp_avg_sq"]),
                local(state.get("max_exp_avg_sq", state["exp_avg_sq"])),
                updates,
                1 - group["betas"][1] ** updates,
                group["eps"],
            )
