"""Which texts hold text of a panel? So that the panel stays what the model has not seen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from steadytrain.corpora.documents import Document, Trouble
from steadytrain.corpora.skips import Skip
from steadytrain.panels.fixed import FixedPanel
from steadytrain.ranges import Ranges, merge
from steadytrain.text.shingles import SIZE, folded, shingles

SHARE = 0.4
"""A text holds text of a panel sequence when so many of its shingles stand there, or of their own,
if the text is shorter. Source: bench/leaks.py, docs/panel.md."""

STRIDE = 4
"""Of a panel sequence every so many shingles are kept; of a text all are looked up, so that a piece
of 35 bytes in common cannot slip through, wherever it stands."""

LEAST = 8
"""Fewer shingles of a panel sequence are no proof: 60 bytes in a row. Source: guess."""

COMMON = 3
"""A shingle in so many different texts of those that are learned from is boilerplate, such as the
head of a licence, and says nothing. Source: bench/leaks.py."""

DIFFERENT = 8
"""Shingles of fewer different bytes are rulers and tables, not text. Source: bench/leaks.py."""

SMALLEST = 4
"""A text that holds less than a quarter of a panel sequence holds too little. Source: guess."""

CHUNK = 1 << 18
"""Bytes looked up at a time, so that the arrays stay in the processor's cache."""

LOAD = 8
"""Places in the table for each shingle kept: of those that fall on one place, 6 % at the most, all
but one are not kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A text holds `share` of the text of panel sequence number `sequence`."""

    sequence: int
    share: float


class Overlap:
    """Finds text of a panel in other text, whatever its white space, case or edges.

    A text is compared by shingles of 32 bytes, as in the decontamination of corpora, but whole: a
    share of a panel sequence is asked for, so that a heading or a licence in common is none.

    Attributes:
        blind: panel sequences that cannot be found: without text, too short, or all boilerplate.
        common: those of them that training texts made so, see `learn_common`.

    Source: shingles, Broder 1997; n-grams in common as contamination, GPT-3, appendix C.
    """

    def __init__(self, panel: FixedPanel, *, share: float = SHARE) -> None:
        self._share = share
        hashes, owners = [], []
        for number, one in enumerate(panel.sequences):
            raw = folded(one.text)
            mine = shingles(raw)[::STRIDE][_is_telling(raw)]
            hashes.append(np.unique(mine))
            owners.append(np.full(len(hashes[-1]), number))
        every, whose = np.concatenate(hashes), np.concatenate(owners)
        bits = max(10, int(LOAD * max(1, len(every)) - 1).bit_length())
        self._shift = np.uint64(64 - bits)
        # One place, one hash: of two that fall on one place the larger is not kept at all.
        values = np.unique(every)
        _, kept = np.unique(values >> self._shift, return_index=True)
        order = np.argsort(every, kind="stable")
        order = order[np.isin(every[order], values[kept])]
        self._hashes: NDArray[np.uint64] = every[order]
        self._owners: NDArray[np.int64] = whose[order]
        self._first = np.full(1 << bits, -1, np.int32)
        places = (self._hashes >> self._shift).view(np.int64)
        self._first[places[::-1]] = np.arange(len(places) - 1, -1, -1)
        self._count_of = np.zeros(len(places), np.int64)
        np.add.at(self._count_of, self._first[places], 1)
        self._is_common = np.zeros(len(order), bool)
        self._sizes = np.zeros(0, np.int64)
        self.common: tuple[int, ...] = ()
        self._documents = [one.document or str(at) for at, one in enumerate(panel.sequences)]
        self._mark_shared()
        self._count()

    @property
    def blind(self) -> tuple[int, ...]:
        return tuple(np.flatnonzero(self._sizes < LEAST).tolist())

    def learn_common(self, texts: Iterable[str]) -> None:
        """Learn from texts of the training data what of the panel's is boilerplate.

        Equal texts count once: a copy of the panel that is read again and again is none. A panel
        sequence that stands whole in several different ones is in the training data already:
        no leak is heard of it from there on, and it is among those called common.
        """
        before = set(self.blind)
        times = np.zeros(len(self._hashes), np.int64)
        seen: set[bytes] = set()
        for text in texts:
            raw = folded(text)
            mark = blake2b(raw, digest_size=8).digest()
            if mark in seen:
                continue
            seen.add(mark)
            times[np.unique(self._hits(shingles(raw))[0])] += 1
        self._is_common |= times >= COMMON
        self._count()
        self.common = tuple(at for at in self.blind if at not in before)

    def find(self, texts: Sequence[str]) -> list[Found | None]:
        """For each text the panel sequence of which it holds the most, if it is enough."""
        found: list[Found | None] = []
        raws: list[bytes] = []
        waiting = 0
        for text in texts:
            raws.append(folded(text))
            waiting += len(raws[-1])
            if waiting >= CHUNK:
                found += self._find(raws)
                raws, waiting = [], 0
        return found + self._find(raws)

    def _find(self, raws: Sequence[bytes]) -> list[Found | None]:
        """All at once: one pass over many texts, not one over each. A NUL stands in no shingle of
        the panel, so what reaches over an edge is never found."""
        found: list[Found | None] = [None] * len(raws)
        entries, places = self._hits(shingles(b"\0".join(raws)))
        is_kept = ~self._is_common[entries]
        entries, places = entries[is_kept], places[is_kept]
        if len(entries) < LEAST:
            return found
        lengths = np.array([len(one) + 1 for one in raws], np.int64)
        text_of = np.searchsorted(np.cumsum(lengths), places, side="right")
        panel = len(self._sizes)
        pairs = np.unique(text_of * len(self._hashes) + entries)
        texts, entries = np.divmod(pairs, len(self._hashes))
        keys, counts = np.unique(texts * panel + self._owners[entries], return_counts=True)
        texts, numbers = np.divmod(keys, panel)
        own = np.maximum(0, lengths[texts] - SIZE) // STRIDE
        room = np.maximum(np.minimum(self._sizes[numbers], own), self._sizes[numbers] // SMALLEST)
        shares = np.minimum(1.0, counts / np.maximum(1, room))
        is_found = (counts >= LEAST) & (shares >= self._share)
        for at in np.flatnonzero(is_found).tolist():
            text, share = int(texts[at]), float(shares[at])
            known = found[text]
            if known is None or share > known.share:
                found[text] = Found(sequence=int(numbers[at]), share=share)
        return found

    def _hits(self, marks: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Entries of the panel that stand there, and where each does. [shingles]"""
        first = np.take(self._first, (marks >> self._shift).view(np.int64))
        maybe = np.flatnonzero(first >= 0)
        maybe = maybe[self._hashes[first[maybe]] == marks[maybe]]
        first = first[maybe].astype(np.int64)
        count = self._count_of[first]
        places = np.repeat(maybe, count)
        within = np.arange(len(places)) - np.repeat(np.cumsum(count) - count, count)
        return np.repeat(first, count) + within, places

    def _mark_shared(self) -> None:
        """What stands in two documents of the panel is boilerplate as well."""
        if not len(self._hashes):
            return
        begins = np.flatnonzero(self._count_of)
        ids = {name: at for at, name in enumerate(dict.fromkeys(self._documents))}
        document = np.array([ids[name] for name in self._documents])[self._owners]
        is_one = np.maximum.reduceat(document, begins) == np.minimum.reduceat(document, begins)
        self._is_common |= ~np.repeat(is_one, self._count_of[begins])

    def _count(self) -> None:
        """Entries of each panel sequence that say something."""
        kept = self._owners[~self._is_common]
        self._sizes = np.bincount(kept, minlength=len(self._documents))


def _is_telling(raw: bytes) -> NDArray[np.bool_]:
    """Which of the shingles kept have enough different bytes to be somebody's text."""
    starts = range(0, max(0, len(raw) - SIZE + 1), STRIDE)
    return np.array([len(set(raw[at : at + SIZE])) >= DIFFERENT for at in starts], bool)


class Order(Protocol):
    """What is asked of a data order here."""

    def text(self, draw: int) -> str: ...


def exclude(panel: FixedPanel, documents: Iterable[Document | Trouble]) -> tuple[Skip, ...]:
    """The documents that training should leave out, as entries of a skip list.

    Those that the panel was drawn from, whole, and those that hold text of it. Written to a file or
    not, `SkipList.of(...)` and `draws_left_out` make draws of them for the feed.
    """
    overlap = Overlap(panel)
    own = {one.document for one in panel.sequences}
    found = []
    for one in documents:
        if isinstance(one, Trouble) or one.text is None:
            continue
        raw = one.text.encode("utf-8", "replace")
        (match,) = overlap.find([one.text])
        if match is None and blake2b(raw, digest_size=8).hexdigest() not in own:
            continue
        source = panel.sequences[match.sequence].source if match else one.source
        share = match.share if match else 1.0
        found.append(
            Skip(
                source=one.file, document=one.id, number=one.number, domain=one.domain,
                kind="panel", evidence=f"holds {share:.0%} of the panel's text from {source}",
            )
        )  # fmt: skip
    return tuple(found)


def draws_holding(
    panel: FixedPanel, order: Order, first: int, end: int, *, batch: int = 256
) -> Ranges:
    """Draws of [first, end) whose text holds text of the panel: for `Feed(left_out=...)`."""
    overlap = Overlap(panel)
    found: list[tuple[int, int]] = []
    for begin in range(first, end, batch):
        draws = range(begin, min(begin + batch, end))
        for draw, match in zip(draws, overlap.find([order.text(d) for d in draws]), strict=True):
            if match is not None:
                found.append((draw, draw + 1))
    return merge(found)
