"""Domains as a tree: `zh/news` and `zh/wiki` make `zh`, and all of them make `all`.

Two averages that disagree by design. The micro average weighs a domain by its tokens: the loss of
all text together. The macro average counts every child of a node alike, so that a small domain is
heard. Both are weighted means of the leaves' losses, so one formula gives either its error:

    loss = sum c_k loss_k, error^2 = sum c_k^2 error_k^2

since sequences of different domains are drawn separately. The weights are taken as given: the panel
chooses how many sequences a domain has. Perplexity is taken last: a mean of perplexities is none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from steadytrain.stats.paired import Change, Interval

ALL = "all"


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A domain, or several under one name.

    Attributes:
        label: the last part of the name.
        depth: how many nodes stand above it.
        leaves: indexes of the domains that belong to it.
        shares: weight of each leaf in the macro average.
    """

    name: str
    label: str
    depth: int
    leaves: tuple[int, ...]
    shares: tuple[float, ...]

    @property
    def is_leaf(self) -> bool:
        return len(self.leaves) == 1


def tree(domains: Sequence[str]) -> tuple[Node, ...]:
    """Every domain and every node above two or more, parents before children.

    A parent with a single child is left out; a parent whose name is a domain's own is called
    `zh/*`. In the macro average a child that has children counts by its own macro average.

    >>> [(node.name, node.depth) for node in tree(["zh/news", "zh/wiki", "code/rust"])]
    [('all', 0), ('zh', 1), ('zh/news', 2), ('zh/wiki', 2), ('code/rust', 1)]
    >>> tree(["zh/news", "zh/wiki", "code/rust"])[0].shares
    (0.25, 0.25, 0.5)
    """
    members = [(index, tuple(domain.split("/"))) for index, domain in enumerate(domains)]
    return tuple(_grow(members, 0, 0, 0)) if members else ()


def weighted_interval(parts: Sequence[Interval], weights: Sequence[float]) -> Interval:
    """The mean of independent means. Degrees of freedom: Welch 1947, Satterthwaite 1946."""
    shares = _normed(weights)
    error, degrees = _combined([(one.error, one.degrees) for one in parts], shares)
    count = sum(one.sequences for one in parts)
    return Interval(
        loss=math.fsum(c * one.loss for c, one in zip(shares, parts, strict=True)),
        error=error,
        sequences=count,
        spread=error * math.sqrt(count),
        degrees=degrees,
    )


def weighted_change(
    parts: Sequence[Change], weights: Sequence[float], *, jitter: float = 0.0
) -> Change:
    """The mean of changes of independent samples.

    Args:
        jitter: of that mean, estimated from its own looks; domains jump together, not apart.
    """
    shares = _normed(weights)
    error, degrees = _combined([(one.error, one.degrees) for one in parts], shares)
    count = sum(one.sequences for one in parts)
    return Change(
        mean=math.fsum(c * one.mean for c, one in zip(shares, parts, strict=True)),
        error=error,
        sequences=count,
        spread=error * math.sqrt(count),
        degrees=degrees,
        jitter=jitter,
    )


def _normed(weights: Sequence[float]) -> list[float]:
    whole = math.fsum(weights)
    return [weight / whole for weight in weights]


def _combined(parts: Sequence[tuple[float, int]], shares: Sequence[float]) -> tuple[float, int]:
    """Standard error of a weighted mean and its degrees of freedom."""
    variances = [(c * error) ** 2 for c, (error, _) in zip(shares, parts, strict=True)]
    whole = math.fsum(variances)
    least = sum(max(1, degrees) for _, degrees in parts)
    if not 0 < whole < math.inf:
        return math.sqrt(whole), least
    below = math.fsum(
        variance**2 / max(1, degrees)
        for variance, (_, degrees) in zip(variances, parts, strict=True)
    )
    return math.sqrt(whole), max(1, math.floor(whole * whole / below)) if below else least


def _grow(
    members: Sequence[tuple[int, tuple[str, ...]]], depth: int, above: int, known: int
) -> list[Node]:
    """The node of these domains and those below it, parents before children.

    Args:
        above, known: parts of their paths that stand in the parent's name, and that they share.
    """
    (index, path), *others = members
    if not others:
        label = "/".join(path[above:]) or path[-1]
        name = "/".join(path)
        return [Node(name=name, label=label, depth=depth, leaves=(index,), shares=(1.0,))]
    groups: dict[str, list[tuple[int, tuple[str, ...]]]] = {}
    for member in members:
        groups.setdefault("/".join(member[1][known : known + 1]), []).append(member)
    if len(groups) == 1:  # a single child: the longer name says it all
        return _grow(members, depth, above, known + 1)
    rest = ("*",) if "" in groups else ()  # a domain has the name of its parent
    below: list[Node] = []
    shares: dict[int, float] = {}
    for group in groups.values():
        grown = _grow(group, depth + 1, known, known + 1)
        top = grown[0]
        shares |= {k: c / len(groups) for k, c in zip(top.leaves, top.shares, strict=True)}
        below += grown
    return [
        Node(
            name="/".join(path[:known] + rest) or ALL,
            label="/".join(path[above:known] + rest) or ALL,
            depth=depth,
            leaves=tuple(shares),
            shares=tuple(shares.values()),
        ),
        *below,
    ]
