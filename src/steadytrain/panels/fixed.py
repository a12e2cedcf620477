"""The panel as data: the same sequences at every look, under the hash of their contents."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from steadytrain import durable
from steadytrain.errors import PanelError
from steadytrain.stats.unigram import unigram_entropy

FOLDER = "panels"
"""In a run's home: its panels, each under its digest."""

PER_DOMAIN = 200
"""Sequences of a domain. Source: with 200, a paired change of 2.4 % of perplexity is found in 80 of
100 cases (docs/panel.md); far beyond, it is the checkpoints' jitter that limits."""

FLOOR = 30
"""Fewer sequences give no trustworthy spread. Source: rule of thumb, Cochran 1977."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelSegment:
    """One document of a packed panel sequence; fields as of a data order's `Segment`."""

    begin: int
    domain: int
    source: str
    num_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PanelSequence:
    """One sequence of a panel.

    Attributes:
        domain: index into `FixedPanel.domains`.
        tokens: [T + 1]; the first one is not predicted.
        num_bytes: of the original text that is predicted.
        source, document: where it is from; equal documents are one.
        text: what stands there; empty where nobody knows it, and then no leak can be found.
        segments: of a packed sequence, two or more: each is counted for itself.
    """

    domain: int
    tokens: NDArray[np.integer]
    num_bytes: int
    source: str = ""
    text: str = ""
    document: str = ""
    segments: tuple[PanelSegment, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class FixedPanel:
    """Sequences whose perplexity is followed over a run, and what they were made of.

    Attributes:
        sequences: in the order in which losses are told.
        domains: names.
        seed, window: of the draw; the most tokens that a sequence predicts. None if not known.
        tokenizer: what made the tokens, see `named`.
        origin: the run that it was first used in.
        notes: sentences about what could not be done as asked.

    Raises:
        PanelError: it has no sequence, or one without a token to predict or of no domain.
    """

    sequences: tuple[PanelSequence, ...]
    domains: tuple[str, ...]
    seed: int | None = None
    window: int | None = None
    tokenizer: str | None = None
    origin: str | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.sequences:
            raise PanelError(
                "the panel has no sequences, so no perplexity could be followed. Give at least "
                f"{FLOOR} per domain ({PER_DOMAIN} is usual), or leave panel=None."
            )
        for one in self.sequences:
            if len(one.tokens) < 2 or not 0 <= one.domain < len(self.domains):
                raise PanelError(
                    f"a panel sequence of {one.source or 'unknown source'} has {len(one.tokens)} "
                    f"tokens and domain index {one.domain} of {len(self.domains)} domains, so it "
                    "predicts nothing or counts for nobody. Leave it out."
                )

    @cached_property
    def digest(self) -> str:
        """Hash of what a loss depends on: domains' names, tokens, bytes, order, tokenizer.

        The order of the domains does not matter.
        """
        found = blake2b(repr((1, self.tokenizer)).encode(), digest_size=16)
        for name in sorted(self.domains):
            index = self.domains.index(name)
            mine = [one for one in self.sequences if one.domain == index]
            found.update(repr((name, len(mine))).encode())
            for one in mine:
                parts = [
                    (part.begin, self.domains[part.domain], part.num_bytes) for part in one.segments
                ]
                found.update(repr((len(one.tokens), one.num_bytes, parts)).encode())
                found.update(one.tokens.astype("<i8").tobytes())
        return found.hexdigest()

    @property
    def lengths(self) -> tuple[tuple[int, ...], ...]:
        """Tokens that each sequence predicts, or each document of a packed one, per domain."""
        return tuple(tuple(map(len, mine)) for mine in self._predicted())

    @property
    def unigram(self) -> tuple[float | None, ...]:
        """What each domain costs who only knows how often each of its tokens occurs; None for one
        without sequences. [nats/token]"""
        return tuple(
            unigram_entropy(np.concatenate(mine)) if mine else None for mine in self._predicted()
        )

    def _predicted(self) -> list[list[NDArray[np.integer]]]:
        """Tokens that each sequence predicts, or each document of a packed one, per domain."""
        found: list[list[NDArray[np.integer]]] = [[] for _ in self.domains]
        for one in self.sequences:
            tokens = one.tokens[1:]
            if len(one.segments) < 2:
                found[one.domain].append(tokens)
                continue
            edges = [max(0, part.begin - 1) for part in one.segments] + [len(tokens)]
            for part, (first, end) in zip(one.segments, pairwise(edges), strict=True):
                if end > first:
                    found[part.domain].append(tokens[first:end])
        return found

    def write(self, path: str | Path) -> Path:
        """Write it as JSON Lines, whole or not at all: first what it is, then a sequence a line.

        Raises:
            OSError: the disk does not take it.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [self._head(), *(_line_of(one, self.domains) for one in self.sequences)]
        durable.write(path, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        return path

    @classmethod
    def read(cls, path: str | Path) -> "FixedPanel":
        """A panel that was written.

        Raises:
            PanelError: it is not there, is no panel, or is not what its hash says.
        """
        try:
            lines = Path(path).read_bytes().splitlines()
            head = msgspec.json.decode(lines[0] if lines else b"", type=_Head)
            rows = [msgspec.json.decode(line, type=_Line) for line in lines[1:]]
            sequences = tuple(_sequence_of(row, head.domains) for row in rows)
        except OSError as error:
            raise PanelError(
                f"{path} cannot be read ({error.strerror}), so there is no panel. Write the path "
                "of a file that `FixedPanel.write` or a run wrote, such as HOME/panels/*.jsonl."
            ) from error
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            raise PanelError(
                f"{path} holds no panel ({error}), so its perplexity would be of other text. Write "
                "the path of a file that `FixedPanel.write` or a run wrote."
            ) from error
        found = cls(
            sequences=sequences, domains=head.domains, seed=head.seed, window=head.window,
            tokenizer=head.tokenizer, origin=head.origin, notes=head.notes,
        )  # fmt: skip
        if found.digest != head.digest:
            raise PanelError(
                f"{path} is not the panel that its first line names ({head.digest}; its contents "
                f"give {found.digest}): it was changed or cut off, and its numbers would be called "
                "those of the other. Take it from a copy, or draw a panel anew."
            )
        return found

    def arranged(self, domains: Sequence[str]) -> "FixedPanel":
        """The same panel with the domains in this order; those that it lacks stay empty.

        Raises:
            PanelError: it has sequences of a domain that is not among them.
        """
        if tuple(domains) == self.domains:
            return self
        used = {self.domains[one.domain] for one in self.sequences}
        used |= {self.domains[part.domain] for one in self.sequences for part in one.segments}
        if unknown := used - set(domains):
            raise PanelError(
                f"the panel has the domains {', '.join(sorted(unknown))}, which the data order "
                f"does not name ({', '.join(domains)}), so nobody would hear of them. Let "
                "order.domains name them too (a share of 0 only measures), or draw a panel of "
                "the order's domains."
            )
        index = {old: tuple(domains).index(name) for old, name in enumerate(self.domains)
                 if name in used}  # fmt: skip
        return replace(
            self,
            domains=tuple(domains),
            sequences=tuple(
                replace(
                    one,
                    domain=index[one.domain],
                    segments=tuple(replace(p, domain=index[p.domain]) for p in one.segments),
                )
                for one in self.sequences
            ),
        )

    def rebase(self, newer: "FixedPanel") -> "FixedPanel":
        """This panel, with the domains that it lacks taken from a newer one.

        What was followed before goes on as it was, sequence for sequence.

        Raises:
            PanelError: the newer one has no new domain, or another tokenizer.
        """
        _refuse_another_tokenizer(self, newer.tokenizer)
        mine = {self.domains[one.domain] for one in self.sequences}
        domains = self.domains + tuple(name for name in newer.domains if name not in self.domains)
        added = [one for one in newer.sequences if newer.domains[one.domain] not in mine]
        if not added:
            raise PanelError(
                f"the newer panel has no domain beside {', '.join(self.domains)}, so this one "
                "would stay as it is. Use the newer one itself, or draw one with the new domain."
            )
        moved = [
            replace(one, domain=domains.index(newer.domains[one.domain]), segments=tuple(
                replace(part, domain=domains.index(newer.domains[part.domain]))
                for part in one.segments
            ))
            for one in added
        ]  # fmt: skip
        return replace(
            self, domains=domains, sequences=(*self.sequences, *moved), origin=None,
            notes=(*self.notes, *newer.notes),
        )  # fmt: skip

    def _head(self) -> "_Head":
        return _Head(
            digest=self.digest, domains=self.domains, seed=self.seed, window=self.window,
            tokenizer=self.tokenizer, origin=self.origin, notes=self.notes,
        )  # fmt: skip


class _Head(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A file's first line."""

    digest: str
    domains: tuple[str, ...]
    panel: int = 1
    seed: int | None = None
    window: int | None = None
    tokenizer: str | None = None
    origin: str | None = None
    notes: tuple[str, ...] = ()


class _Line(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A sequence; segments are (begin, domain, source, bytes)."""

    domain: str
    tokens: list[int]
    bytes: int
    source: str = ""
    document: str = ""
    text: str = ""
    segments: tuple[tuple[int, str, str, int], ...] = ()


def _line_of(one: PanelSequence, domains: Sequence[str]) -> _Line:
    return _Line(
        domain=domains[one.domain], tokens=one.tokens.tolist(), bytes=one.num_bytes,
        source=one.source, document=one.document,
        text=one.text.encode("utf-8", "replace").decode(),
        segments=tuple(
            (part.begin, domains[part.domain], part.source, part.num_bytes) for part in one.segments
        ),
    )  # fmt: skip


def _sequence_of(row: _Line, domains: tuple[str, ...]) -> PanelSequence:
    return PanelSequence(
        domain=domains.index(row.domain), tokens=np.array(row.tokens, np.int64),
        num_bytes=row.bytes, source=row.source, document=row.document, text=row.text,
        segments=tuple(
            PanelSegment(begin=begin, domain=domains.index(name), source=source, num_bytes=size)
            for begin, name, source, size in row.segments
        ),
    )  # fmt: skip


def _refuse_another_tokenizer(panel: FixedPanel, tokenizer: str | None) -> None:
    if panel.tokenizer is not None and tokenizer is not None and panel.tokenizer != tokenizer:
        raise PanelError(
            f"the panel was made with the tokenizer {panel.tokenizer}, this is {tokenizer}: its "
            "token ids would be other words here. Draw a panel with this tokenizer."
        )
