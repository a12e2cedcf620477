"""Perplexity of a Hugging Face causal language model on a fixed panel of a user's own texts.

Beside `evaluate`'s metric: tokens are counted and not texts, so the headline is a perplexity and no
mean of perplexities; windows are drawn one a document, so the interval is honest; and a panel that
was written is measured again on the next model, paired.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from steadytrain.corpora import inputs
from steadytrain.corpora.documents import Piece, Trouble
from steadytrain.errors import CorpusError, PanelError, SettingError
from steadytrain.events import PanelRecord
from steadytrain.panels import FixedPanel, draw, named
from steadytrain.panels.fixed import PER_DOMAIN
from steadytrain.train.feed import Batch
from steadytrain.train.losses import token_losses
from steadytrain.train.panel import Panel
from steadytrain.train.ranks import Ranks

WINDOW = 1024
"""Tokens of a window where the model reads so many. Source: GPT-2's context."""


class HubModel:
    """A causal language model with its tokenizer.

    Args:
        name: a local folder, or a name on the hub.
        dtype: of the weights; float32 gives the numbers that the model's authors would get from
            full precision, others what it does when it is served so.

    Raises:
        SettingError: there is no such model, or no tokenizer with it.
    """

    def __init__(self, name: str, *, device: str = "cpu", dtype: str = "float32") -> None:
        self.name = name
        self._device = torch.device(device)
        if self._device.type == "cuda" and not torch.cuda.is_available():
            raise SettingError(
                f"--device {device} needs a GPU that this PyTorch can use, and it sees none. Write "
                "--device cpu."
            )
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(name)
            model: Any = AutoModelForCausalLM.from_pretrained(
                name, dtype="auto" if dtype == "auto" else getattr(torch, dtype)
            )
        except (OSError, ValueError, KeyError, ImportError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise SettingError(
                f"{name} could not be loaded as a causal language model with its tokenizer "
                f"({first}). Write a folder with config.json, weights and tokenizer.json, or a "
                "name on the hub that can be reached from here."
            ) from error
        self._model: nn.Module = model.to(self._device)

    @property
    def tokenizer(self) -> str:
        """Name and digest of the vocabulary."""
        return named(type(self._tokenizer).__name__, self._tokenizer.get_vocab())

    @property
    def most_tokens(self) -> int | None:
        """Positions that the model has; None where its configuration names no limit."""
        found = getattr(self._model.config, "max_position_embeddings", None)
        return found if isinstance(found, int) and found > 0 else None

    @property
    def begin(self) -> int | None:
        """The token that its tokenizer puts before a text, None if it puts none."""
        first = self._tokenizer.bos_token_id
        return (
            first if first is not None and self._tokenizer("a")["input_ids"][0] == first else None
        )

    def encode(self, text: str) -> Sequence[int]:
        """Token ids without special tokens."""
        ids: Sequence[int] = self._tokenizer(text, add_special_tokens=False, verbose=False)[
            "input_ids"
        ]
        return ids

    def draw(
        self,
        domains: Sequence[str],
        documents: Iterator[Piece],
        *,
        seed: int,
        per_domain: int,
        window: int | None,
    ) -> FixedPanel:
        """A panel of these documents for this model; see `steadytrain.panels.draw`."""
        most = self.most_tokens
        size = window or min(WINDOW, most or WINDOW)
        return draw(
            documents,
            domains=domains,
            seed=seed,
            encode=self.encode,
            window=size,
            tokenizer=self.tokenizer,
            per_domain=per_domain,
            begin=self.begin,
        )

    def measure(self, panel: FixedPanel, *, batch_size: int = 8) -> PanelRecord:
        """Loss of every sequence of a panel.

        Raises:
            PanelError: the panel was made with another tokenizer.
            SettingError: its windows are longer than the model can read.
        """
        if panel.tokenizer is not None and panel.tokenizer != self.tokenizer:
            raise PanelError(
                f"the panel was made with the tokenizer {panel.tokenizer}, {self.name} has "
                f"{self.tokenizer}: its token ids would be other words here. Draw a panel of the "
                "same texts for this model (--texts) and compare bits per byte."
            )
        longest = max(len(one.tokens) - 1 for one in panel.sequences)
        if self.most_tokens is not None and longest > self.most_tokens:
            raise SettingError(
                f"the panel has windows of {longest} tokens, {self.name} reads {self.most_tokens} "
                f"at most. Draw it with --window {self.most_tokens}."
            )
        return Panel(panel, batch_size=batch_size, losses=_losses).evaluate(
            self._model,
            ranks=Ranks(),
            device=self._device,
            attempt=0,
            step=0,
            beat=lambda: None,
            why="measured",
        )


def look(
    name: str,
    *,
    texts: Sequence[str] = (),
    panel: Path | None = None,
    out: Path | None = None,
    per_domain: int = PER_DOMAIN,
    window: int | None = None,
    seed: int = 0,
    column: str = "text",
    batch_size: int = 8,
    device: str = "cpu",
    dtype: str = "float32",
) -> tuple[FixedPanel, PanelRecord]:
    """A model's losses on a panel that is drawn from texts here, or was written before.

    Args:
        texts: "domain=path", or paths whose names are the domains.
        panel, out: file of a panel to measure on; where to write the one that is drawn.

    Raises:
        SettingError, CorpusError, PanelError: there is no such model, text or panel, or they do
            not go together.
    """
    given = named_texts(texts)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    getLogger("huggingface_hub").setLevel(ERROR)  # what matters comes as an error of ours
    fixed = None if panel is None else FixedPanel.read(panel)  # before the weights: it is quicker
    model = HubModel(name, device=device, dtype=dtype)
    if fixed is None:
        pieces = documents(given, column=column)
        fixed = model.draw(tuple(given), pieces, seed=seed, per_domain=per_domain, window=window)
    if out is not None:
        fixed.write(out)
    return fixed, model.measure(fixed, batch_size=batch_size)


def named_texts(given: Sequence[str]) -> dict[str, str]:
    """`["zh=a.txt", "texts"]` -> domain -> path; of a folder alone, what lies in it by name.

    Raises:
        SettingError: a name or a path is missing, or a name comes twice.
    """
    found: dict[str, str] = {}
    for one in given:
        name, mark, path = one.partition("=")
        pairs = [(name, path)] if mark else _within(Path(one))
        for domain, where in pairs:
            if not domain or not where or domain in found:
                raise SettingError(
                    f"--texts {one} gives the domain {domain!r} no text of its own. Write each "
                    "domain once, such as --texts zh=texts/zh en=texts/en.jsonl."
                )
            found[domain] = where
    return found


def documents(texts: dict[str, str], *, column: str = "text") -> Iterator[Piece]:
    """The documents of each domain, in any format that `steadytrain lint` reads.

    Raises:
        CorpusError: a path holds nothing that can be read.
    """
    for domain, path in texts.items():
        count = 0
        why = "it is not there"
        for file in inputs.find([path]):
            for piece in inputs.read(file, column=column, can_decode=False):
                if isinstance(piece, Trouble):
                    why = piece.why
                    if piece.level == "lost":
                        yield piece
                    continue
                count += 1
                yield replace(piece, domain=domain)
        if not count:
            raise CorpusError(
                f"{path} gives the domain {domain} no text ({why}). Write a path with "
                f"{inputs.FORMATS}."
            )


def _within(folder: Path) -> list[tuple[str, str]]:
    if folder.is_dir():
        return [
            (one.name.partition(".")[0], str(one))
            for one in sorted(folder.iterdir())
            if not one.name.startswith(".")
        ]
    return [(folder.name.partition(".")[0], str(folder))]


def _losses(model: nn.Module, batch: Batch) -> Tensor:
    """Padding stands behind the text, where no token before it can see it: no mask is needed."""
    logits_BTV: Tensor = model(input_ids=batch.tokens_BT, use_cache=False).logits
    return token_losses(logits_BTV, batch.targets_BT)[0]
