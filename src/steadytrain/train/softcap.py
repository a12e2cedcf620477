"""What a soft cap on the output logits would do: one look at a batch, as evidence.

Source: Gemma 2, section 2: cap * tanh(logits / cap), with 30 for the output and 50 for attention.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from steadytrain.train.feed import Feed
from steadytrain.train.losses import sequence_sums, token_losses

# B sequences, T positions, V vocabulary.

CAPS = (30.0, 50.0)

GROWING = {"logsumexp", "attention logit"}
"""Signals of logits that grow: what asks for such a look."""

NEAR = 0.01
"""A logit within this share of the largest seen is at it: tanh is within 1 % of 1 from 2.65 caps
on, so a saturated cap gathers its logits there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CapLook:
    """What the logits of some sequences are like.

    Attributes:
        logit_max: the largest by absolute value.
        capped_loss: (cap, mean loss with the logits softly capped there). [nats/token]
        at_cap: share of the tokens whose own largest logit by absolute value is near `logit_max`.
            Without a cap that is a token or two of thousands.
    """

    logit_max: float
    capped_loss: tuple[tuple[float, float], ...]
    at_cap: float


@torch.no_grad()
def look(
    batches: Iterable[tuple[Tensor, Tensor, Tensor]], *, caps: Sequence[float] = CAPS
) -> CapLook:
    """Look at logits. Waits for the device; one sequence is capped at a time.

    Args:
        batches: (logits_BTV, targets_BT, counted_BT); tokens that do not count are left out.
    """
    tops, nlls = [], [0.0] * len(caps)
    for logits_BTV, targets_BT, counted_BT in batches:
        tops.append(logits_BTV.abs().amax(-1).float()[counted_BT])
        for logits_TV, targets_T, counted_T in zip(logits_BTV, targets_BT, counted_BT, strict=True):
            for index, cap in enumerate(caps):
                capped_1TV = (cap * torch.tanh(logits_TV.float() / cap))[None]
                nll_1T, _ = token_losses(capped_1TV, targets_T[None])
                nlls[index] += float(sequence_sums(nll_1T, counted_T[None])[0].double())
    top = torch.cat(tops)
    tokens = max(1, top.numel())
    largest = float(top.amax()) if top.numel() else 0.0
    return CapLook(
        logit_max=largest,
        capped_loss=tuple((cap, nll / tokens) for cap, nll in zip(caps, nlls, strict=True)),
        at_cap=int((top >= (1 - NEAR) * largest).sum()) / tokens,
    )


def look_at(model: nn.Module, feed: Feed, draws: Sequence[int]) -> CapLook:
    """The same of a model on some sequences. Every rank, same order, if the model is sharded."""
    was_training = model.training
    model.eval()
    batches = (
        feed.batch(tuple(draws[first : first + feed.batch_size]))
        for first in range(0, len(draws), feed.batch_size)
    )
    try:
        with torch.no_grad():
            return look((model(one.tokens_BT), one.targets_BT, one.counted_BT) for one in batches)
    finally:
        model.train(was_training)


def as_evidence(looks: Sequence[CapLook | None]) -> dict[str, Any]:
    """What all ranks saw, as fields of BatchExamined."""
    seen = [one for one in looks if one is not None]
    if not seen:
        return {}
    losses = zip(*(one.capped_loss for one in seen), strict=True)
    return {
        "logit_max": max(one.logit_max for one in seen),
        "capped_loss": tuple(
            (pairs[0][0], sum(loss for _, loss in pairs) / len(pairs)) for pairs in losses
        ),
        "logits_at_cap": sum(one.at_cap for one in seen) / len(seen),
    }
