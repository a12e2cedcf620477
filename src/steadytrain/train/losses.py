"""Cross-entropy and z-loss per token, and their sums per domain and per sequence.

The z-loss is kept apart from the reported loss: a fused kernel that adds it inside shows a loss
that is not the language model's (Liger adds lse_square_scale * lse^2 to what it returns).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from steadytrain.train.feed import Batch

# B sequences, T positions, V vocabulary, K domains.

NUM_SUMS = 5
"""Columns of the per-domain sums: nll, tokens, bytes, sequences, squares."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ZLoss:
    """Coefficients of what pulls the logits down: a step's objective adds the mean over tokens of

        logsumexp * (log of the sum of the exponentials)^2 + largest * (largest logit)^2

    Source: PaLM, section 5 (logsumexp 1e-4); Baichuan 2 (largest 2e-4, its "max-z loss").
    """

    logsumexp: float = 0.0
    largest: float = 0.0

    def faded(self, share: float, other: "ZLoss") -> "ZLoss":
        """This one with the weight 1 - share, the other with the weight share."""
        return ZLoss(
            logsumexp=(1 - share) * self.logsumexp + share * other.logsumexp,
            largest=(1 - share) * self.largest + share * other.largest,
        )


def token_losses(logits_BTV: Tensor, targets_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy [nats] and logsumexp of each token, in float32.

    log p = log_softmax(logits); nll = -log p[target]; logsumexp = logits[0] - log p[0]: one pass
    gives both, and on a CPU it is quicker than cross-entropy itself.
    """
    logits_BTV = logits_BTV.float()
    logp_BTV = torch.log_softmax(logits_BTV, dim=-1)
    nll_BT = -logp_BTV.gather(-1, targets_BT.unsqueeze(-1)).squeeze(-1)
    return nll_BT, logits_BTV[..., 0] - logp_BTV[..., 0]


def z_losses(lse_BT: Tensor) -> Tensor:
    """logsumexp^2 of each token; its coefficient pulls the logits' normaliser towards 1.

    Source: PaLM, section 5 (coefficient 1e-4).
    """
    return lse_BT.square()


def largest_logits(logits_BTV: Tensor) -> Tensor:
    """The largest logit of each token, in float32. Equal largest ones share the gradient."""
    return logits_BTV.amax(-1).float()


def add_z_loss(
    mean: Tensor,
    counted_BT: Tensor,
    z_loss: ZLoss,
    *,
    z_BT: Tensor | None,
    largest_BT: Tensor | None,
) -> Tensor:
    """The objective: the mean cross-entropy and the z-losses; one that is not given is left out.

    Args:
        z_BT: logsumexp^2 of each token.
        largest_BT: largest logit of each token.
    """
    counted = counted_BT.sum()
    if z_BT is not None and z_loss.logsumexp:
        mean = mean + z_loss.logsumexp * torch.where(counted_BT, z_BT, 0.0).sum() / counted
    if largest_BT is not None and z_loss.largest:
        square_BT = torch.where(counted_BT, largest_BT, 0.0).square()
        mean = mean + z_loss.largest * square_BT.sum() / counted
    return mean


def sequence_sums(nll_BT: Tensor, counted_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Summed loss [nats] and number of counted tokens of each sequence."""
    nll_B = torch.where(counted_BT, nll_BT, 0.0).sum(1)  # where, not *: 0 * nan is nan
    return nll_B, counted_BT.sum(1)


def mean_loss(nll_BT: Tensor, counted_BT: Tensor) -> Tensor:
    """Mean cross-entropy of the counted tokens. [nats/token]"""
    nll_B, _ = sequence_sums(nll_BT, counted_BT)
    return nll_B.sum() / counted_BT.sum()


@torch.no_grad()
def batch_sums(
    nll_BT: Tensor, batch: Batch, *, z_BT: Tensor | None, domains: int
) -> tuple[Tensor, Tensor, Tensor]:
    """What a micro-batch adds to the record: the sums of each domain [K, 5], the sum of
    logsumexp^2 (0 if it is not known), and the mean loss of each sequence [B]."""
    nll_B, tokens_B = sequence_sums(nll_BT, batch.counted_BT)
    z_nll = nll_B.new_zeros(())
    if z_BT is not None:
        z_nll = torch.where(batch.counted_BT, z_BT, 0.0).sum()
    parts = (nll_B, tokens_B, batch.bytes_B, batch.domain_B)
    if batch.segment_BT is not None:
        parts = segment_parts(nll_BT, batch)
    return domain_sums(*parts, domains=domains), z_nll, nll_B / tokens_B.clamp(min=1)


def segment_sums(
    nll_BT: Tensor, counted_BT: Tensor, segment_BT: Tensor, *, segments: int
) -> tuple[Tensor, Tensor]:
    """The same of each segment of packed sequences: of shape [B, S].

    A mask and a sum for each, not an indexed addition: the order of its additions would vary.
    """
    masks = [counted_BT & (segment_BT == number) for number in range(segments)]
    nll_BS = torch.stack([torch.where(mask_BT, nll_BT, 0.0).sum(1) for mask_BT in masks], dim=1)
    return nll_BS, torch.stack([mask_BT.sum(1) for mask_BT in masks], dim=1)


def domain_sums(
    nll_B: Tensor, tokens_B: Tensor, bytes_B: Tensor, domain_B: Tensor, *, domains: int
) -> Tensor:
    """The five sums of each domain, on the device, this rank only: float64 of shape [K, 5].

    Of packed sequences, B counts their segments.

    A mask and a sum, not an indexed addition: atomic additions on a GPU would make the sums
    depend on the order of threads.
    """
    nll_B = nll_B.double()
    mean_B = nll_B / tokens_B.clamp(min=1)
    has_tokens_B = tokens_B > 0
    columns = torch.stack(
        (
            nll_B,
            tokens_B.double(),
            bytes_B.double(),
            has_tokens_B.double(),
            torch.where(has_tokens_B, mean_B.square(), 0.0),
        ),
        dim=1,
    )
    index_K = torch.arange(domains, device=domain_B.device)
    member_KB = index_K[:, None] == domain_B
    return torch.where(member_KB[:, :, None], columns, 0.0).sum(1)


def segment_parts(nll_BT: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss, tokens, bytes and domain of each document of packed sequences."""
    assert batch.segment_BT is not None
    assert batch.domain_BS is not None
    assert batch.bytes_BS is not None
    nll_BS, tokens_BS = segment_sums(
        nll_BT, batch.counted_BT, batch.segment_BT, segments=batch.domain_BS.shape[1]
    )
    return (
        nll_BS.flatten(),
        tokens_BS.flatten(),
        batch.bytes_BS.flatten(),
        batch.domain_BS.flatten(),
    )
