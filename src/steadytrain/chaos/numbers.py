"""The same where a fault touches a tensor or a text: `python -m steadytrain.chaos.numbers SCRIPT`.

The script's `Session` is given away to the lab's saboteur; a script without one cannot be broken
in this way, and the fault never falls.
"""

import os
import random
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from steadytrain.chaos import inside
from steadytrain.chaos.kinds import KINDS
from steadytrain.chaos.plan import Planned
from steadytrain.chaos.strikes import FOLDER
from steadytrain.lab.faults import Fault
from steadytrain.lab.sabotage import NOISY_RANK, Saboteur
from steadytrain.progress import Beacon, Phase
from steadytrain.train import Session

BAD_STEPS = 4
"""Updates whose text is bad."""


class Shuffled:
    """A data order with the letters of some draws shuffled: tokens and text, in a way of their own.

    A function of the draw alone, as the order that it stands before.
    """

    def __init__(self, order: Any, first: int, end: int, seed: int) -> None:
        self._order = order
        self._first, self._end, self._seed = first, end, seed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._order, name)

    def block(self, draw: int) -> Any:
        block = self._order.block(draw)
        if not self._first <= draw < self._end:
            return block
        order = np.random.default_rng((self._seed, draw)).permutation(len(block.tokens))
        return replace(block, tokens=np.asarray(block.tokens)[order])

    def text(self, draw: int) -> str:
        text: str = self._order.text(draw)
        if not self._first <= draw < self._end:
            return text
        letters = list(text)
        random.Random(f"{self._seed}-{draw}").shuffle(letters)
        return "".join(letters)


@dataclass(kw_only=True)
class Accomplice:
    """Tells a rank's saboteur when its moments come."""

    saboteur: Saboteur | None = None
    step: int = 0

    def look(self, phase: Phase, step: int | None) -> None:
        self.step = self.step if step is None else step
        if self.saboteur is not None and phase == "forward":
            self.saboteur.before_forward(self.step + 1)
        if self.saboteur is not None and phase == "step":
            self.saboteur.after_backward(self.step + 1)


def enlist(accomplice: Accomplice, faults: tuple[Planned, ...], *, trial: Path, rank: int) -> None:
    """From here on a `Session` gives its model, optimizer and data order away."""
    begin, say = Session.__init__, Beacon.beat
    wanted = [
        Fault(kind=one.of.sabotage, step=one.step + 1, seed=one.seed)
        for one in faults
        if one.of.sabotage is not None
    ]

    def init(self: Session, model: Any, optimizer: Any, feed: Any, **more: Any) -> None:
        for one in faults:
            if one.kind == "bad-text":
                draws = feed.draws_per_step(1)
                first = one.step * draws
                feed.order = Shuffled(feed.order, first, first + BAD_STEPS * draws, one.seed)
        begin(self, model, optimizer, feed, **more)
        if wanted:
            accomplice.saboteur = Saboteur(
                getattr(model, "module", model),
                optimizer,
                wanted,
                fired=trial / f"fired{rank}.json",
                rank=NOISY_RANK,  # the plan has said already that it is this one
            )

    def beat(self: Beacon, phase: Phase, step: int | None = None) -> None:
        say(self, phase, step)
        accomplice.look(phase, step)

    Session.__init__ = init  # type: ignore[method-assign]
    Beacon.beat = beat  # type: ignore[method-assign]


def main() -> None:
    """Arm what is planned, then be the script."""
    rank, trial = int(os.environ.get("RANK", "0")), Path(os.environ[FOLDER])
    striker = inside.Striker(trial, rank=rank, deeds=dict.fromkeys(KINDS, _only_note))
    enlist(Accomplice(), striker.faults, trial=trial, rank=rank)
    inside.arm(striker)
    inside.run(sys.argv[1:])


def _only_note(one: Planned) -> None:
    """The saboteur does it at the same word."""


if __name__ == "__main__":
    main()
