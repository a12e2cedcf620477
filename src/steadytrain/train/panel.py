"""Perplexity of a fixed panel: the same sequences, drawn before the run, at every look."""

import math
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from steadytrain.errors import PanelError, SettingError
from steadytrain.events import PanelRecord
from steadytrain.panels import FixedPanel, PanelSequence
from steadytrain.train.feed import Batch, DataOrder, Feed
from steadytrain.train.losses import segment_sums, sequence_sums, token_losses
from steadytrain.train.ranks import Ranks

Losses = Callable[[nn.Module, Batch], Tensor]
"""(model, batch) -> cross-entropy of each token [B, T], in nats."""

_Row = tuple[int, int, int, float, int, int]
"""Sequence, segment, domain, summed loss, tokens, bytes."""


class _Fixed:
    """A panel as a data order, so that a Feed makes its batches."""

    def __init__(self, panel: FixedPanel) -> None:
        self._panel = panel
        self.domains = panel.domains

    def block(self, draw: int) -> PanelSequence:
        return self._panel.sequences[draw]

    def text(self, draw: int) -> str:
        return self._panel.sequences[draw].text


class Panel:
    """A fixed panel as a run looks at it.

    Args:
        fixed: the sequences, of `panels.draw` or `FixedPanel.read`.
        batch_size: sequences of one forward pass.
        losses: cross-entropy of each token, as training computes it: under its autocast, of a
            model that returns more than logits, by a fused kernel. None: of `model(tokens_BT)`.
        rebase: why this panel takes the place of the one that the run has; without a reason another
            panel is refused.

    Attributes:
        looked_in: type of the logits of the newest look, as far as it is known.

    Raises:
        SettingError: a batch of nothing, or a reason without words.
    """

    def __init__(
        self,
        fixed: FixedPanel,
        *,
        batch_size: int = 32,
        losses: Losses | None = None,
        rebase: str | None = None,
    ) -> None:
        if batch_size < 1 or (rebase is not None and not rebase.strip()):
            raise SettingError(
                f"batch_size={batch_size}, rebase={rebase!r}: a look at nothing, or a reason that "
                'tells nobody anything. Write Panel(fixed, rebase="code added at step 9000").'
            )
        self.fixed = fixed
        self.rebase = rebase
        self._batch_size = batch_size
        self._losses = losses
        self.looked_in: torch.dtype | None = None

    @property
    def digest(self) -> str:
        return self.fixed.digest

    def fitted(self, order: DataOrder, model: nn.Module) -> "Panel":
        """The panel in the order's domains.

        Raises:
            PanelError: its domains, tokenizer or token ids are not those of the run.
        """
        tokenizer = getattr(order, "tokenizer", None)
        mine = self.fixed.tokenizer
        if mine is not None and tokenizer is not None and mine != tokenizer:
            raise PanelError(
                f"the panel was made with the tokenizer {mine}, the data order with {tokenizer}: "
                "its token ids would be other words to this model. Draw a panel with the order's "
                "tokenizer."
            )
        known = [one.num_embeddings for one in model.modules() if isinstance(one, nn.Embedding)]
        largest = max(int(one.tokens.max()) for one in self.fixed.sequences)
        if known and largest >= max(known):
            raise PanelError(
                f"the panel holds token id {largest}, the model's largest embedding has "
                f"{max(known)} rows: it was made with another tokenizer. Draw a panel with this "
                "model's."
            )
        return Panel(
            self.fixed.arranged(order.domains), batch_size=self._batch_size,
            losses=self._losses, rebase=self.rebase,
        )  # fmt: skip

    def used_in(self, run: str) -> FixedPanel:
        """What is written into the home of a run."""
        return self.fixed if self.fixed.origin else replace(self.fixed, origin=run)

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
        version: int = 1,
        why: str = "schedule",
    ) -> PanelRecord:
        """Loss of every panel sequence. Every rank, same order; each rank computes a part.

        The model is put into eval mode and each of its modules back; random states stay as they
        are. The batches are the same for any number of ranks. Packed sequences count document by
        document. A loss that is not finite stays so.

        Args:
            beat: called before each batch, to show that the evaluation moves.
        """
        began = time.monotonic()
        modes = [(one, one.training) for one in model.modules()]
        model.eval()
        try:
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                rows = self._rows(model, ranks, device, beat)
        finally:
            for one, was_training in modes:
                one.training = was_training
        domains = range(len(self.fixed.domains))
        mine = [[row for row in rows if row[2] == domain] for domain in domains]
        return PanelRecord(
            attempt=attempt,
            step=step,
            nll=tuple(math.fsum(row[3] for row in some) for some in mine),
            tokens=tuple(sum(row[4] for row in some) for some in mine),
            bytes=tuple(sum(row[5] for row in some) for some in mine),
            losses=tuple(tuple(row[3] / row[4] for row in some) for some in mine),
            seconds=time.monotonic() - began,
            version=version,
            why=why,
        )

    def _of_logits(self, model: nn.Module, batch: Batch) -> Tensor:
        logits_BTV = model(batch.tokens_BT)
        if not isinstance(logits_BTV, Tensor):
            raise SettingError(
                f"the model returns {type(logits_BTV).__name__}, not logits, so the panel cannot "
                "be looked at. Write Panel(fixed, losses=f), where f(model, batch) gives the "
                "cross-entropy of each token of batch.targets_BT, as your loop computes it."
            )
        self.looked_in = logits_BTV.dtype
        return token_losses(logits_BTV, batch.targets_BT)[0]

    def _rows(
        self, model: nn.Module, ranks: Ranks, device: torch.device, beat: Callable[[], None]
    ) -> list[_Row]:
        """What each sequence gave, or each document of a packed one, in the panel's order."""
        feed = Feed(_Fixed(self.fixed), batch_size=self._batch_size, device=device)
        size = len(self.fixed.sequences)
        starts = list(range(0, size, self._batch_size))
        parts: list[_Row] = []
        # Every rank makes the same number of forward passes: FSDP's are collective.
        for turn in range(0, len(starts), ranks.readers):
            beat()
            first = starts[min(turn + ranks.reader, len(starts) - 1)]
            batch = feed.batch(tuple(range(first, min(first + self._batch_size, size))))
            found = _sums((self._losses or self._of_logits)(model, batch), batch)
            if turn + ranks.reader < len(starts) and ranks.counts:
                parts += found
        return sorted(
            (row for part in ranks.gather(parts) for row in part), key=lambda row: row[:2]
        )


def _sums(nll_BT: Tensor, batch: Batch) -> list[_Row]:
    if batch.segment_BT is None:
        nll_B, tokens_B = sequence_sums(nll_BT, batch.counted_BT)
        sums = nll_B[:, None], tokens_B[:, None], batch.domain_B[:, None], batch.bytes_B[:, None]
    else:
        assert batch.domain_BS is not None
        assert batch.bytes_BS is not None
        nll_BS, tokens_BS = segment_sums(
            nll_BT, batch.counted_BT, batch.segment_BT, segments=batch.domain_BS.shape[1]
        )
        sums = nll_BS, tokens_BS, batch.domain_BS, batch.bytes_BS
    nll, tokens, domains, sizes = (one.double().tolist() for one in sums)
    return [
        (draw, at, int(domains[row][at]), nll[row][at], int(count), int(sizes[row][at]))
        for row, draw in enumerate(batch.draws)
        for at, count in enumerate(tokens[row])
        if count
    ]
