"""Real text cut into blocks, with a panel set aside and an order of draws that has no state.

A block is context + 1 bytes, the same for every domain, so that a loss means the same everywhere.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytrain.errors import FeedError, SettingError
from steadytrain.lab.documents import Document, read_domain
from steadytrain.panels import FixedPanel, PanelSequence
from steadytrain.panels.drawing import weaknesses

__all__ = ["Block", "Corpus", "Document", "decode", "pattern", "read_domain"]

# N bytes of a domain, M documents, K blocks, D domains, S slots of the draw pattern.

PANEL_PART = 4  # one block of so many may go to the panel; guess: the rest must still teach
SLOTS = 1000  # of the pattern per domain: equal shares, and shares of three decimals, are exact


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Block:
    """One sequence to train on or to measure.

    Attributes:
        tokens: context + 1 bytes: the last is only a target. Read-only. [uint8]
        domain: index into `Corpus.domains`.
        source: `file:offset` or `file#part:offset`; offset in bytes of that file or part.
    """

    tokens: NDArray[np.uint8]
    domain: int
    source: str

    @property
    def num_bytes(self) -> int:
        """Bytes of original text that it predicts: one a token."""
        return len(self.tokens) - 1


class Corpus:
    """Domains of real text: a fixed panel, and a training block for every draw.

    Attributes:
        domains: names, in the order that they were asked for.
        panel: blocks never trained on, domain by domain; one of each document where they suffice.
        notes: sentences about what could not be done as asked.
        num_blocks: training blocks of each domain.
        seed: that decides the panel and the order.
    """

    @classmethod
    def load(
        cls,
        domains: Mapping[str, str | None] | None = None,
        *,
        context: int = 128,
        seed: int,
        shares: Mapping[str, float] | None = None,
        panel_sequences: int = 200,
    ) -> "Corpus":
        """Read, cut, set the panel aside.

        Args:
            domains: name -> where to read it (see `read_domain`); None: zh, en and code.
            context: tokens that a sequence predicts; a block is one byte longer.
            seed: decides the panel and the order of draws, on every machine alike.
            shares: name -> part of the draws, any positive scale; 0 measures without training.
            panel_sequences: blocks per domain in the panel, at most a quarter of its blocks.

        Raises:
            SettingError: a size, a share or a name is impossible.
            FeedError: a text is missing, not text, or too short.

        Source: 200 sequences put the 95 % interval of a domain's mean loss at 1.6 % (zh), 2.6 %
        (en) and 3.1 % (code) of it, measured on the default model after 250 steps of 32 blocks.
        """
        wheres = {"zh": None, "en": None, "code": None} if domains is None else domains
        if not wheres or context < 1 or panel_sequences < 1:
            raise SettingError(
                f"{len(wheres)} domains, context={context}, panel_sequences={panel_sequences}: one "
                f"is below 1, so nothing is left to train or to measure. Write "
                f"Corpus.load(seed=0) if unsure."
            )
        read = {name: read_domain(name, where) for name, where in wheres.items()}
        texts = [_cut(name, read[name], context + 1) for name in wheres]
        return cls(texts, seed=int(seed), shares=shares, panel_sequences=panel_sequences)

    def __init__(
        self,
        texts: "Sequence[_Text]",
        *,
        seed: int,
        shares: Mapping[str, float] | None,
        panel_sequences: int,
    ) -> None:
        self.domains = tuple(text.name for text in texts)
        self._texts, self.seed, notes = texts, seed, list[str]()
        self._slot_S, self._before_S, self._per_period = pattern(self.domains, shares, seed)
        self._orders: dict[int, tuple[int, NDArray[np.int64]]] = {}
        panel: list[PanelSequence] = []
        for domain, text in enumerate(texts):
            distinct = list({text.tokens(k).tobytes(): k for k in range(len(text))}.values())
            size = min(panel_sequences, len(distinct) // PANEL_PART)
            if size == 0:
                raise FeedError(
                    f"domain {text.name!r} has {len(distinct)} different blocks of {text.size} "
                    f"bytes; a panel and training need {PANEL_PART} at the least, and hundreds to "
                    f"be worth a number. Give it more text, or write a smaller context."
                )
            if size < panel_sequences:
                notes.append(
                    f"The panel of {text.name} has {size} sequences, not {panel_sequences}: a "
                    f"quarter of its {len(distinct)} different blocks. Its perplexity is less sure."
                )
            order = [distinct[i] for i in _order(len(distinct), seed, "panel", text.name)]
            chosen = sorted(_one_of_each(order, text.document)[:size])
            mine = [self._panel_sequence(domain, k) for k in chosen]
            notes += weaknesses(text.name, size, [one.document for one in mine])
            panel += mine
        self.panel = FixedPanel(
            sequences=tuple(panel), domains=self.domains, seed=seed, window=texts[0].size - 1,
            tokenizer="bytes", notes=tuple(notes),
        )  # fmt: skip
        self.notes = tuple(notes)
        kept_out = {block.tokens.tobytes() for block in panel}  # by content: twins must not leak
        self._train = [
            np.array([k for k in range(len(t)) if t.tokens(k).tobytes() not in kept_out], np.int64)
            for t in texts
        ]
        self.num_blocks = {text.name: len(k) for text, k in zip(texts, self._train, strict=True)}
        for name, num in self.num_blocks.items():
            if num == 0:
                raise FeedError(
                    f"every block of domain {name!r} is also in a panel, so nothing is left to "
                    f"train on. Give the domains different texts."
                )

    def block(self, draw: int) -> Block:
        """The training block at an absolute position: a pure function of (seed, draw).

        Domains take turns in a pattern that repeats; the k-th turn of a domain with n blocks takes
        block `order[k % n]` of epoch `k // n`, each epoch in an order of its own.

        Raises:
            FeedError: the draw is negative.
        """
        if draw < 0:
            raise FeedError(
                f"draw={draw} is before the first; the order of draws has no block there. "
                f"Write a draw of 0 or more."
            )
        period, slot = divmod(draw, len(self._slot_S))
        domain = int(self._slot_S[slot])
        return self.take(domain, period * self._per_period[domain] + int(self._before_S[slot]))

    def take(self, domain: int, turn: int) -> Block:
        """The training block of a domain's k-th turn, counted from 0."""
        epoch, position = divmod(turn, len(self._train[domain]))
        return self._block(domain, int(self._epoch_order(domain, epoch)[position]))

    def text(self, draw: int) -> str:
        """The block at a draw, for people and for `steadytrain.text`."""
        return decode(self.block(draw).tokens)

    def _block(self, domain: int, block: int) -> Block:
        text = self._texts[domain]
        return Block(tokens=text.tokens(block), domain=domain, source=text.source(block))

    def _panel_sequence(self, domain: int, block: int) -> PanelSequence:
        found = self._block(domain, block)
        return PanelSequence(
            domain=domain, tokens=found.tokens, num_bytes=found.num_bytes, source=found.source,
            text=decode(found.tokens), document=self._texts[domain].document(block),
        )  # fmt: skip

    def _epoch_order(self, domain: int, epoch: int) -> NDArray[np.int64]:
        kept = self._orders.get(domain)
        if kept is None or kept[0] != epoch:
            order = _order(
                len(self._train[domain]), self.seed, "order", self.domains[domain], epoch
            )
            kept = self._orders[domain] = (epoch, self._train[domain][order])
        return kept[1]


def pattern(
    domains: Sequence[str], shares: Mapping[str, float] | None, seed: object
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[int]]:
    """Whose turn each slot is, its domain's turns before it, and each domain's turns in all.

    A domain's i-th of c turns lies at random within [i / c, (i + 1) / c): shuffled, and yet any
    stretch of draws holds each domain in its share, to about two.
    """
    turns = _apportion(domains, shares)
    where = [
        (np.arange(count) + _uniform(count, seed, "pattern", name)) / max(count, 1)
        for name, count in zip(domains, turns, strict=True)
    ]
    order = np.argsort(np.concatenate(where), kind="stable")
    slot_S = np.repeat(np.arange(len(domains)), turns)[order]
    before_S = np.concatenate([np.arange(count) for count in turns])[order]
    return slot_S, before_S, turns


def decode(tokens: NDArray[Any] | Sequence[int]) -> str:
    """Bytes as text: a character cut at either edge is dropped, other faults become U+FFFD.

    Ids from 256 up are no bytes and are left out.

    >>> decode("\\u597d\\u4eba".encode()[1:-1]), decode(b"a\\xffb")
    ('', 'a\\ufffdb')
    >>> decode([256, 104, 105])
    'hi'
    """
    ids = np.frombuffer(tokens, np.uint8) if isinstance(tokens, bytes) else np.asarray(tokens)
    text = ids[ids < 256].astype(np.uint8).tobytes()
    begin, end = 0, len(text)
    while begin < min(3, end) and 0x80 <= text[begin] < 0xC0:
        begin += 1
    for back in range(1, min(3, end - begin) + 1):
        byte = text[end - back]
        if byte >= 0xC0:  # a first byte: does its character end beyond the edge?
            needed = 2 + (byte >= 0xE0) + (byte >= 0xF0)
            end -= back if needed > back else 0
            break
        if byte < 0x80:
            break
    return text[begin:end].decode("utf-8", "replace")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Text:
    """A domain's documents end to end, and where its blocks begin."""

    name: str
    size: int
    bytes_N: NDArray[np.uint8]
    begin_K: NDArray[np.int64]
    document_M: NDArray[np.int64]
    sources: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.begin_K)

    def tokens(self, block: int) -> NDArray[np.uint8]:
        begin = int(self.begin_K[block])
        return self.bytes_N[begin : begin + self.size]

    def source(self, block: int) -> str:
        begin, at = int(self.begin_K[block]), self._document(block)
        return f"{self.sources[at]}:{begin - int(self.document_M[at])}"

    def document(self, block: int) -> str:
        """The document that a block begins in."""
        return self.sources[self._document(block)]

    def _document(self, block: int) -> int:
        begin = int(self.begin_K[block])
        return int(np.searchsorted(self.document_M, begin, side="right")) - 1


def _cut(name: str, documents: Sequence[Document], size: int) -> _Text:
    """Cut documents into blocks; one that is too short goes on, after a newline, into the next."""
    pieces: list[bytes] = []
    document_M: list[int] = []
    begin_K: list[int] = []
    begin = end = 0
    for document in documents:
        if end > begin:
            pieces.append(b"\n")
            end += 1
        document_M.append(end)
        pieces.append(document.text)
        end += len(document.text)
        if len(document.text) >= size:
            begin_K += range(begin, end - size + 1, size)
            begin = end
    begin_K += range(begin, end - size + 1, size)
    return _Text(
        name=name,
        size=size,
        bytes_N=np.frombuffer(b"".join(pieces), np.uint8),
        begin_K=np.array(begin_K, np.int64),
        document_M=np.array(document_M, np.int64),
        sources=tuple(document.source for document in documents),
    )


def _apportion(domains: Sequence[str], shares: Mapping[str, float] | None) -> list[int]:
    """Turns of each domain in a period of SLOTS per domain, by largest remainder."""
    wanted = dict.fromkeys(domains, 1.0) if shares is None else dict(shares)
    total, slots = math.fsum(wanted.values()), SLOTS * len(domains)
    if set(wanted) != set(domains) or not 0 < total < math.inf or min(wanted.values()) < 0:
        raise SettingError(
            f"shares={shares} do not divide the draws among {', '.join(domains)}; a draw would "
            f"belong to no domain. Write one finite share, 0 or more, for each of them."
        )
    quotas = [wanted[name] / total * slots for name in domains]
    turns = [math.floor(quota) for quota in quotas]
    by_remainder = sorted(range(len(turns)), key=lambda d: turns[d] - quotas[d])
    for domain in by_remainder[: slots - sum(turns)]:
        turns[domain] += 1
    for name, count in zip(domains, turns, strict=True):
        if count == 0 and wanted[name] > 0:
            raise SettingError(
                f"share {wanted[name]} of {name!r} is under one draw in {slots}; it might never be "
                f"drawn. Write 0 to only measure it, or {total / slots:.2g} or more."
            )
    return turns


def _uniform(count: int, *key: object) -> NDArray[np.float64]:
    """Numbers in [0, 1) that depend on the key alone, in every version of numpy.

    NEP 19 promises the raw stream of PCG64, but not what Generator's methods make of it.
    """
    digest = blake2b(repr(key).encode(), digest_size=16).digest()
    raw = np.random.PCG64(int.from_bytes(digest, "little")).random_raw(count)
    return (np.asarray(raw, np.uint64) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _order(count: int, *key: object) -> NDArray[np.int64]:
    return np.argsort(_uniform(count, *key), kind="stable")


def _one_of_each(blocks: Sequence[int], document: Callable[[int], str]) -> list[int]:
    """The blocks with the first of each document ahead, then the second, and so on."""
    turns: Counter[str] = Counter()
    ranked = []
    for at, block in enumerate(blocks):
        name = document(block)
        ranked.append((turns[name], at, block))
        turns[name] += 1
    return [block for _, _, block in sorted(ranked)]
