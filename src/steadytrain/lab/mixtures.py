"""A corpus whose domains change their shares on a plan, at once or little by little.

A deliberate change, as a curriculum or an annealing phase makes one: no fault. No block is read
again or left out by it: each domain goes on where it stood.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steadytrain.errors import SettingError
from steadytrain.lab.texts import Block, Corpus, decode, pattern

# S slots of a pattern.

PARTS = 16
"""A gradual change is made of so many equal stretches, each with its own shares."""

Phases = tuple[tuple[int, tuple[float, ...]], ...]
"""Pairs (first draw, share of each domain), until the next pair."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """The shares that hold after step `done`; from `after` to `done` they move there evenly.

    Attributes:
        shares: of each domain, any positive scale.
    """

    shares: tuple[float, ...]
    after: int
    done: int


def parse(text: str) -> tuple[Change, ...]:
    """`"0.2,0.4,0.4@0;0.5,0.25,0.25@600"`: other shares from step 601 on; `@600-900`: little by
    little, from step 601 to step 900.

    Raises:
        SettingError: this is no plan, or it does not begin at step 0.

    >>> parse("1,1@0;3,1@10-20")[1]
    Change(shares=(3.0, 1.0), after=10, done=20)
    """
    changes = []
    try:
        for one in text.split(";"):
            shares, _, when = one.partition("@")
            after, _, done = when.partition("-")
            changes.append(
                Change(
                    shares=tuple(float(share) for share in shares.split(",")),
                    after=int(after),
                    done=int(done or after),
                )
            )
    except ValueError as error:
        raise SettingError(
            f"--mixture {text} is no plan of shares ({error}). Write the shares of all domains and "
            "the step after which they hold, such as 0.2,0.4,0.4@0;0.5,0.25,0.25@600."
        ) from error
    edges = [edge for one in changes for edge in (one.after, one.done)]
    if edges != sorted(edges) or edges[:2] != [0, 0]:
        raise SettingError(
            f"--mixture {text} does not begin at step 0, or its steps do not rise, so some steps "
            "would have no shares. Write shares@0 first, then later steps in their order."
        )
    return tuple(changes)


def phases(changes: Sequence[Change], first_draw: Callable[[int], int]) -> Phases:
    """The plan by draws.

    Args:
        first_draw: the first draw of an update, if no draw is left out.
    """
    found: list[tuple[int, tuple[float, ...]]] = []
    shares = _normal(changes[0].shares)
    for change in changes:
        goal = _normal(change.shares)
        begin, end = first_draw(change.after + 1), first_draw(change.done + 1)
        for part in range(PARTS if end > begin else 0):
            way = (part + 0.5) / PARTS
            found.append((
                begin + (end - begin) * part // PARTS,
                tuple(old + way * (new - old) for old, new in zip(shares, goal, strict=True)),
            ))  # fmt: skip
        found.append((end, goal))
        shares = goal
    return tuple(found)


class Mixture:
    """A corpus drawn by a plan of shares. A pure function of the draw.

    With one phase it is the corpus that was loaded with these shares.

    Raises:
        SettingError: a phase does not have one share for each domain.
    """

    def __init__(self, corpus: Corpus, plan: Phases) -> None:
        self.domains = corpus.domains
        self._corpus = corpus
        self._phases: list[_Phase] = []
        turns = np.zeros(len(corpus.domains), np.int64)
        for number, (first, shares) in enumerate(plan):
            if len(shares) != len(corpus.domains):
                raise SettingError(
                    f"{len(shares)} shares do not divide the draws among "
                    f"{', '.join(corpus.domains)}. Write one for each, in this order."
                )
            if self._phases:
                turns = turns + self._phases[-1].turns(first - self._phases[-1].first)
            seed = corpus.seed if number == 0 else (corpus.seed, number)
            named = dict(zip(corpus.domains, shares, strict=True))
            slot_S, before_S, period = pattern(corpus.domains, named, seed)
            self._phases.append(
                _Phase(
                    first=first,
                    begun=turns,
                    slot_S=slot_S,
                    before_S=before_S,
                    period=np.array(period, np.int64),
                )
            )

    def block(self, draw: int) -> Block:
        """The training block at an absolute position."""
        phase = next(one for one in reversed(self._phases) if one.first <= max(0, draw))
        rounds, slot = divmod(draw - phase.first, len(phase.slot_S))
        domain = int(phase.slot_S[slot])
        turn = phase.begun[domain] + rounds * phase.period[domain] + phase.before_S[slot]
        return self._corpus.take(domain, int(turn))

    def text(self, draw: int) -> str:
        """The block at a draw, for people and for `steadytrain.text`."""
        return decode(self.block(draw).tokens)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Phase:
    """Shares that hold from a draw on; `begun` are the turns that each domain had before."""

    first: int
    begun: NDArray[np.int64]
    slot_S: NDArray[np.int64]
    before_S: NDArray[np.int64]
    period: NDArray[np.int64]

    def turns(self, draws: int) -> NDArray[np.int64]:
        """Turns of each domain among the first `draws` of the phase."""
        rounds, rest = divmod(draws, len(self.slot_S))
        started = np.bincount(self.slot_S[:rest], minlength=len(self.period))
        return rounds * self.period + started


def _normal(shares: tuple[float, ...]) -> tuple[float, ...]:
    total = sum(shares)
    return tuple(share / total for share in shares) if total > 0 else shares
