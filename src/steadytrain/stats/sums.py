"""Per-domain sums: what travels between ranks, windows and attempts, since sums merge by addition.

Means are taken last. A mean of means is wrong as soon as ranks or domains differ in size, and a
mean of perplexities is not a perplexity (50.1 against 45.9 on one English panel).
"""

import math
from collections.abc import Sequence

import msgspec


class DomainSums(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over the tokens and sequences of one domain. Add them; read means at the end."""

    nll: float = 0.0
    tokens: int = 0
    bytes: int = 0
    sequences: int = 0
    squares: float = 0.0

    def __add__(self, other: "DomainSums") -> "DomainSums":
        return DomainSums(
            nll=self.nll + other.nll,
            tokens=self.tokens + other.tokens,
            bytes=self.bytes + other.bytes,
            sequences=self.sequences + other.sequences,
            squares=self.squares + other.squares,
        )

    @property
    def loss(self) -> float | None:
        """Mean loss [nats/token]; None where the domain has no tokens: a gap, not a zero."""
        return self.nll / self.tokens if self.tokens else None

    @property
    def perplexity(self) -> float | None:
        loss = self.loss
        return None if loss is None else (math.exp(loss) if loss < 700 else math.inf)

    @property
    def bits_per_byte(self) -> float | None:
        """nll / (ln 2 * bytes of the original text): comparable across tokenizers and domains."""
        return self.nll / (math.log(2) * self.bytes) if self.bytes else None


def total(parts: Sequence[DomainSums]) -> DomainSums:
    """The sum of several domains: the micro average once a mean is taken."""
    whole = DomainSums()
    for part in parts:
        whole = whole + part
    return whole


def ancestors(domain: str) -> tuple[str, ...]:
    """Names above a domain, nearest first: `code/python/web` -> `code/python`, `code`."""
    parts = domain.split("/")
    return tuple("/".join(parts[:depth]) for depth in range(len(parts) - 1, 0, -1))


def inner_domains(domains: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Every inner node with at least two leaves below it -> indexes of those leaves.

    >>> inner_domains(["zh/news", "zh/wiki", "code"])
    {'zh': (0, 1)}
    """
    members: dict[str, list[int]] = {}
    for index, domain in enumerate(domains):
        for name in ancestors(domain):
            members.setdefault(name, []).append(index)
    return {
        name: tuple(indexes)
        for name, indexes in members.items()
        if len(indexes) > 1 and name not in domains
    }
