"""Values that no healthy state holds: a copy can be true to the bit and yet bad."""

import math

import torch

from steadytrain.train.state import TrainingState, is_of_guard, is_of_optimizer, local

SQUARES = ("exp_avg_sq", "max_exp_avg_sq")
"""Averages of squares, as torch.optim names them; the root of a negative one is NaN."""

LARGEST_SQUARE = 1e20
"""A second moment beyond this is a flipped exponent: its weight would not move for a long while,
and nothing else shows it. No gradient of a run that goes on is 1e10. Source: guess."""


@torch.no_grad()
def unsound(state: TrainingState) -> list[str]:
    """A sentence for each tensor of this rank whose next update could only make NaN.

    Buffers may hold what they like (a mask of -inf), and so may the guard's own tensors.
    """
    found = []
    passed_over = state.buffers().keys()
    for name, tensor in state.tensors().items():
        part = local(tensor)
        if name in passed_over or is_of_guard(name) or not _can_be_told(part):
            continue
        low, high = (float(one) for one in torch.aminmax(part))
        if math.isnan(low) or (not is_of_optimizer(name) and math.isinf(max(-low, high))):
            found.append(f"{name} holds values that are not finite")
        elif low < 0 and name.endswith(SQUARES):
            found.append(f"{name} holds negative squares")
        elif high > LARGEST_SQUARE and name.endswith(SQUARES):
            found.append(f"{name} holds squares up to {high:.3g}, which no gradient has")
    return found


def _can_be_told(part: torch.Tensor) -> bool:
    return part.is_floating_point() and part.numel() > 0
