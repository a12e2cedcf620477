"""What a soft cap on the output logits would do: one look at a batch, as evidence.

Source: Gemma 2, section 2: cap * tanh(logits / cap), with 30 for the output and 50 for attention.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steadytrain.train.losses import sequence_sums, token_losses

# B sequences, T positions, V vocabulary.

CAPS = (30.0, 50.0)

NEAR = 0.01
"""A logit within this share of the largest seen is at it: tanh is within 1 % of 1 from 2.65 caps
on, so a saturated cap gathers its logits there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CapLook:
    """What the logits of a batch are like.

    Attributes:
        logit_max: the largest by absolute value.
        capped_loss: (cap, mean loss with the logits softly capped there). [nats/token]
        at_top: share of the tokens whose own largest logit by absolute value is near `logit_max`.
            Without a cap that is a token or two of thousands; beyond a tenth a cap is saturated.
    """

    logit_max: float
    capped_loss: tuple[tuple[float, float], ...]
    at_top: float


@torch.no_grad()
def look(
    logits_BTV: Tensor, targets_BT: Tensor, counted_BT: Tensor, *, caps: Sequence[float] = CAPS
) -> CapLook:
    """Look at a batch's logits. Waits for the device; one sequence is capped at a time.

    Tokens that do not count are left out of everything.
    """
    top_BT = torch.where(counted_BT, logits_BTV.abs().amax(-1).float(), 0.0)
    largest = float(top_BT.max())
    tokens = max(1, int(counted_BT.sum()))
    near = int((counted_BT & (top_BT >= (1 - NEAR) * largest)).sum())
    losses = []
    for cap in caps:
        nll = 0.0
        for logits_TV, targets_T, counted_T in zip(logits_BTV, targets_BT, counted_BT, strict=True):
            capped_1TV = (cap * torch.tanh(logits_TV.float() / cap))[None]
            nll_1T, _ = token_losses(capped_1TV, targets_T[None])
            nll += float(sequence_sums(nll_1T, counted_T[None])[0].double())
        losses.append((cap, nll / tokens))
    return CapLook(logit_max=largest, capped_loss=tuple(losses), at_top=near / tokens)
