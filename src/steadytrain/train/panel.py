"""Perplexity of a fixed panel: the same sequences, drawn before the run, at every look."""

import time
from collections.abc import Callable
from collections.abc import Sequence as Many

import torch
from torch import nn

from steadytrain.errors import SettingError
from steadytrain.events import PanelRecord
from steadytrain.train.feed import Feed, Sequence
from steadytrain.train.losses import sequence_sums, token_losses
from steadytrain.train.ranks import Ranks


class _Fixed:
    """A panel as a data order, so that a Feed makes its batches."""

    def __init__(self, blocks: Many[Sequence], domains: tuple[str, ...]) -> None:
        self._blocks = blocks
        self.domains = domains

    def block(self, draw: int) -> Sequence:
        return self._blocks[draw]

    def text(self, draw: int) -> str:
        return ""


class Panel:
    """A fixed sample of sequences and its content hash.

    Attributes:
        digest: hash of the contents; a run refuses another panel under the same home.

    Raises:
        SettingError: a panel without sequences.
    """

    def __init__(
        self,
        blocks: Many[Sequence],
        *,
        domains: tuple[str, ...],
        digest: str,
        batch_size: int = 32,
    ) -> None:
        if not blocks:
            raise SettingError(
                "the panel has no sequences, so no perplexity could be followed. Give at least 30 "
                "per domain (200 is usual), or leave panel=None."
            )
        self.digest = digest
        self.num_sequences = len(blocks)
        self._domains = domains
        self._order = _Fixed(blocks, domains)
        self._batch_size = batch_size

    @torch.no_grad()
    def evaluate(
        self,
        model: nn.Module,
        *,
        ranks: Ranks,
        device: torch.device,
        attempt: int,
        step: int,
        beat: Callable[[], None],
    ) -> PanelRecord:
        """Loss of every panel sequence. Every rank, same order; each rank computes a part.

        The model is put into eval mode and back; no random number is drawn.

        Args:
            beat: called before each batch, to show that the evaluation moves.
        """
        began = time.monotonic()
        was_training = model.training
        model.eval()
        feed = Feed(self._order, batch_size=self._batch_size, device=device)
        parts: list[tuple[int, int, float, int, int]] = []
        starts = list(range(0, self.num_sequences, self._batch_size))
        # Every rank makes the same number of forward passes: FSDP's are collective.
        for turn in range(0, len(starts), ranks.world):
            beat()
            mine = min(turn + ranks.rank, len(starts) - 1)
            is_extra = turn + ranks.rank > len(starts) - 1
            first = starts[mine]
            draws = tuple(range(first, min(first + self._batch_size, self.num_sequences)))
            batch = feed.batch(draws)
            nll_BT, _ = token_losses(model(batch.tokens_BT), batch.targets_BT)
            nll_B, tokens_B = sequence_sums(nll_BT, batch.counted_BT)
            if not is_extra:
                parts += zip(
                    draws,
                    batch.domain_B.tolist(),
                    nll_B.double().tolist(),
                    tokens_B.tolist(),
                    batch.bytes_B.tolist(),
                    strict=True,
                )
        model.train(was_training)
        rows = sorted(row for part in ranks.gather(parts) for row in part)
        domains = range(len(self._domains))
        return PanelRecord(
            attempt=attempt,
            step=step,
            nll=tuple(sum(row[2] for row in rows if row[1] == domain) for domain in domains),
            tokens=tuple(sum(row[3] for row in rows if row[1] == domain) for domain in domains),
            bytes=tuple(sum(row[4] for row in rows if row[1] == domain) for domain in domains),
            losses=tuple(
                tuple(row[2] / row[3] for row in rows if row[1] == domain) for domain in domains
            ),
            seconds=time.monotonic() - began,
        )
