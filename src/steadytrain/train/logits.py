"""Attention logits of some queries against all their keys."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

# B sequences, S of them that are looked at, Q queries, T and K positions of queries and keys,
# H query heads, G key heads, M = Q * H / G, D width of a head, N = Q * K.

QUERIES = 16
SEQUENCES = 4
"""Source: on the lab's model, steps 50 to 300, 16 queries of 4 sequences find 0.69 to 0.98 of the
largest logit of all and 0.83 of each head's on average; of one sequence 0.67 to 0.98 and 0.68; of
all 32 sequences 0.94 to 1.00 and 0.95, at eight times the price."""

HIDDEN = -1000.0
"""A mask that takes so much off a logit hides the key. Source: exp(-1000) is 0 in any float, and
the slopes of ALiBi take off less within 2,000 positions."""


def head_maxima(
    q_BHTD: Tensor,
    k_BGKD: Tensor,
    *,
    allowed: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
    queries: int = QUERIES,
    sequences: int = SEQUENCES,
) -> Tensor:
    """The largest logit [H] among some queries and all keys that they may see, in float32.

    scale * q . k; every ceil(T / queries)-th query, the last one among them; the first sequences.

    Cost: queries / T of one Q K^T for each of the sequences, and a copy of their keys in float32.

    Args:
        allowed: keys that a query may see; broadcast to [B, H, T, K].
        is_causal: query t sees the keys up to t, as in `scaled_dot_product_attention`.
        scale: 1 / sqrt(D) if None.
    """
    length = q_BHTD.shape[2]
    q_SHQD, k_SGKD = picked(q_BHTD, k_BGKD, queries=queries, sequences=sequences)
    logits_SHQK = _products(q_SHQD, k_SGKD)
    if is_causal:
        logits_SHQK = logits_SHQK.masked_fill(_later(length, logits_SHQK, queries), -torch.inf)
    if allowed is not None:
        if allowed.dim() == 4 and len(allowed) > 1:
            allowed = allowed[:sequences]
        if allowed.shape[-2] > 1:
            allowed = allowed[..., _rows(length, queries), :]
        logits_SHQK = torch.where(allowed, logits_SHQK, -torch.inf)
    largest_H: Tensor = logits_SHQK.amax((0, 2, 3)) * _scale(q_SHQD, scale)
    return largest_H


def picked(
    q_BHTD: Tensor, k_BGKD: Tensor, *, queries: int = QUERIES, sequences: int = SEQUENCES
) -> tuple[Tensor, Tensor]:
    """Views of the queries that are looked at and of all keys of their sequences."""
    return q_BHTD[:sequences, :, _rows(q_BHTD.shape[2], queries)], k_BGKD[:sequences]


def head_maxima_of_calls(
    picks: Sequence[tuple[Tensor, Tensor]],
    *,
    length: int,
    is_causal: bool,
    scale: float | None,
    queries: int = QUERIES,
) -> Tensor:
    """`head_maxima` of C calls of one shape, [C, H], with as few operations as one of them takes.

    Args:
        picks: what `picked` gave of each call, of queries of this `length`.
    """
    q_RHQD, k_RGKD = (torch.cat(some) for some in zip(*picks, strict=True))  # R = C * S
    logits_RHQK = _products(q_RHQD, k_RGKD)
    if is_causal:
        logits_RHQK = logits_RHQK.masked_fill_(_later(length, logits_RHQK, queries), -torch.inf)
    logits_CSHN = logits_RHQK.view(len(picks), -1, q_RHQD.shape[1], logits_RHQK[0, 0].numel())
    largest_CH: Tensor = logits_CSHN.amax((1, 3)) * _scale(q_RHQD, scale)
    return largest_CH


def _products(q_SHQD: Tensor, k_SGKD: Tensor) -> Tensor:
    """q . k of each query and key, in float32: [S, H, Q, K]."""
    sequences, heads, queries, width = q_SHQD.shape
    q_SGMD = q_SHQD.float().reshape(sequences, k_SGKD.shape[1], -1, width)
    return (q_SGMD @ k_SGKD.float().transpose(2, 3)).view(sequences, heads, queries, -1)


def _scale(q_SHQD: Tensor, scale: float | None) -> float:
    return q_SHQD.shape[-1] ** -0.5 if scale is None else scale


def _rows(length: int, queries: int) -> slice:
    """Evenly spread positions of queries, the last one among them."""
    stride = -(-length // queries)
    return slice((length - 1) % stride, None, stride)


def _later(length: int, logits_SHQK: Tensor, queries: int) -> Tensor:
    """Which keys come later than the query [Q, K]."""
    return _later_on(length, logits_SHQK.shape[3], queries, logits_SHQK.device)


@functools.lru_cache(maxsize=8)  # made anew in each layer it would take a third of the time
def _later_on(length: int, keys: int, queries: int, device: torch.device) -> Tensor:
    position_T = torch.arange(max(length, keys), device=device)
    return position_T[:keys] > position_T[:length][_rows(length, queries), None]


def seen_keys(mask: Tensor) -> Tensor:
    """Which keys may be seen, as `scaled_dot_product_attention` reads a mask."""
    mask = mask.detach()
    return mask if mask.dtype == torch.bool else mask > HIDDEN


def hidden_keys(mask: Tensor) -> Tensor:
    """Which keys are hidden, as nn.MultiheadAttention reads a mask."""
    mask = mask.detach()
    return mask if mask.dtype == torch.bool else mask <= HIDDEN
