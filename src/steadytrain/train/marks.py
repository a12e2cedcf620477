"""Marks that damage leaves on weights and moments: what no optimizer step could have done."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from steadytrain.train.ranks import Ranks
from steadytrain.train.recorder import Flight
from steadytrain.train.snapshots import Snapshot
from steadytrain.train.state import TrainingState, local

SLACK = 10.0
"""Room over Adam's bound before a weight's move is called impossible."""

FEW = 0.01
"""Fewer moments than this share fall by accident; a reset or a wrong file touches all of them."""

SAMPLE = 4096
MOST_SAMPLED = 1_000_000
"""Numbers of each second moment, and of all, from which a quantile is told."""

TINY = 1e-30
"""Second moments below this are rounding, not history."""


class Marks:
    """Looks at this rank's part of the state. Every method: every rank, same order.

    Args:
        clip: global gradient norm limit, None for none. [L2]
    """

    def __init__(
        self,
        state: TrainingState,
        optimizer: torch.optim.Optimizer,
        ranks: Ranks,
        *,
        clip: float | None,
    ) -> None:
        self._state = state
        self._optimizer = optimizer
        self._ranks = ranks
        self._clip = clip

    @torch.no_grad()
    def impossible(
        self,
        before: Snapshot,
        flights: list[Flight],
        *,
        was_reset: bool,
        shrunk: Sequence[Tensor] = (),
    ) -> dict[str, float]:
        """Moves that no step of Adam could have made in these steps since a snapshot.

        Args:
            was_reset: a remedy set the moments to zero meanwhile, so their fall is no mark.
            shrunk: weights that a remedy may have scaled down, so being smaller is none.

        A step moves a weight by at most lr * max(1, (1 - beta1) / sqrt(1 - beta2)) (Kingma and Ba
        2015, section 2.1) plus lr * weight decay * |w|; a second moment falls by at most beta2.
        """
        group = self._optimizer.param_groups[0]
        if "betas" not in group:
            return {}
        beta1, beta2 = (float(beta) for beta in group["betas"])
        cap = max(1.0, (1 - beta1) / math.sqrt(1 - beta2))
        reach = SLACK * sum(flight.lr for flight in flights)
        decay = reach * float(group.get("weight_decay", 0.0))
        floor = beta2 ** len(flights)
        may_shrink = {id(one) for one in shrunk}
        weight = moment = 0.0
        lost = flipped = counted = 0
        for name, tensor in self._state.tensors().items():
            old = before.tensors.get(name)
            if old is None:
                continue
            now = local(tensor).detach().float()
            was = local(old).to(now.device).float()
            if name.startswith("model.") and reach > 0:
                moved = now - was
                if id(tensor) in may_shrink:  # from anywhere between there and 0
                    moved = now - now.clamp(was.clamp(max=0.0), was.clamp(min=0.0))
                excess = moved.abs() / (reach * cap + decay * was.abs())
                weight = max(weight, _largest(excess))
            elif name.endswith(".exp_avg") and self._clip is not None:
                # Clipped gradients are at most `clip` long, so a first moment is at most that.
                flipped += int((now.abs() > 2 * self._clip + was.abs()).sum())
            elif name.endswith(".exp_avg_sq"):
                history = (was > TINY) & (not was_reset)
                fall = torch.where(history, floor * was / now.clamp(min=TINY), 0.0)
                moment = max(moment, _largest(fall) / 1.01)  # 1.01: rounding of the decay
                lost += int((fall > 2.0).sum())
                counted += int(history.sum())
                if self._clip is not None:
                    flipped += int((now > 2 * self._clip**2 + was).sum())
                flipped += int((~torch.isfinite(now)).sum())
        return {
            "weight_excess": weight,
            "moment_excess": moment,
            "moments_lost": lost / max(1, counted),
            "moments_flipped": flipped + (lost if lost < FEW * counted else 0),
        }

    def count_nonfinite(self) -> int:
        """Weights that are NaN or infinite, over all ranks where each holds a part of them."""
        tensors = [local(v) for k, v in self._state.tensors().items() if k.startswith("model.")]
        mine = sum((~torch.isfinite(t)).sum().item() for t in tensors if t.is_floating_point())
        counts = self._ranks.gather(int(mine))
        return sum(counts) if self._state.is_sharded else max(counts)

    @torch.no_grad()
    def below_epsilon(self) -> float | None:
        """Share of the weights whose gradients are smaller than Adam's epsilon."""
        group = self._optimizer.param_groups[0]
        if "betas" not in group or not group.get("eps"):
            return None
        low = counted = 0
        for name, tensor in self._state.tensors().items():
            if name.endswith(".exp_avg_sq"):
                sizes = local(tensor)
                low += int((sizes.float().sqrt() < float(group["eps"])).sum())
                counted += sizes.numel()
        parts = self._ranks.gather((low, counted))
        counted = sum(part[1] for part in parts)
        return float(sum(part[0] for part in parts) / counted) if counted else None

    @torch.no_grad()
    def harmless_epsilon(self) -> float | None:
        """An epsilon that is below a tenth of all but 1 % of the gradients, by Adam's own measure.

        Of each second moment an evenly spread sample is looked at; over the ranks, the smallest.
        """
        roots = []
        for name, tensor in self._state.tensors().items():
            if name.endswith(".exp_avg_sq"):
                flat = local(tensor).flatten()
                roots.append(flat[:: max(1, flat.numel() // SAMPLE)].float().sqrt())
        mine = torch.cat(roots) if roots else torch.zeros(0)
        mine = mine[torch.isfinite(mine) & (mine > 0)]
        # torch.quantile takes 16 million numbers at most: so many tensors are thinned again.
        mine = mine[:: max(1, mine.numel() // MOST_SAMPLED)]
        found = 0.1 * float(mine.quantile(0.01)) if mine.numel() else math.inf
        least = min(self._ranks.gather(found))
        return least if math.isfinite(least) else None


def merge_marks(parts: list[dict[str, float]]) -> dict[str, Any]:
    names = {name for part in parts for name in part}
    return {name: max(part[name] for part in parts if name in part) for name in names}


def _largest(values: Tensor) -> float:
    if not values.numel():
        return 0.0
    return float(torch.nan_to_num(values, nan=math.inf, posinf=math.inf).max())
