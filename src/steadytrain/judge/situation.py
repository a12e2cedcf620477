"""What is known at a look at the panel, domain by domain: words of the table and the rest."""

import math
from typing import Literal

import msgspec

from steadytrain.events import PanelMove
from steadytrain.judge.looks import Happening

Direction = Literal["rise", "drop"]

TRAINED = 0.01
"""A domain with less of the tokens is not trained on, and no pattern waits for it."""


class Domain(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one domain at a look.

    Attributes:
        z: distance from its curve. [standard deviations]
        rung: direction in which it rang and is not explained; "" if it did not.
        share_before, share_after: of the tokens. is_new: never trained on before.
        share, corrupt, leaked: what was heard of it, if it was.
        trained: training loss over that of before the event, and the error of that. [nats/token]
    """

    name: str
    z: float
    rung: Literal["", "rise", "drop"]
    move: PanelMove
    share_before: float
    share_after: float
    is_new: bool = False
    share: Happening | None = None
    corrupt: Happening | None = None
    leaked: Happening | None = None
    trained: tuple[float, float] | None = None

    @property
    def is_trained(self) -> bool:
        return self.share_after >= TRAINED

    @property
    def share_ratio(self) -> float:
        return self.share_after / self.share_before if self.share_before else math.inf


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What is known at a look.

    Attributes:
        lr: newest turn of the learning rate that may still show.
        steeper: ln of the factor of the gradient norm, and its error; None if not known.
        reads_leaks: text of the panel is looked for in the training data.
        gap: steps between looks. looks: since the first that was odd.
    """

    step: int
    domains: tuple[Domain, ...]
    lr: Happening | None
    steeper: tuple[float, float] | None
    reads_leaks: bool
    gap: int
    looks: int

    @property
    def trained(self) -> tuple[Domain, ...]:
        return tuple(one for one in self.domains if one.is_trained)

    @property
    def has_event(self) -> bool:
        """Whether something happened that may explain more than is seen yet."""
        heard = (one.share or one.corrupt or one.leaked for one in self.domains)
        return self.lr is not None or any(heard)


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A pattern that fits; fields as of `Trend`. about: the domains, by name."""

    pattern: str
    about: tuple[str, ...]
    begun: int
    is_expected: bool
    evidence: tuple[str, ...]
    against: tuple[str, ...] = ()
    expected: str = ""
    due: int | None = None
    refuted_by: str = ""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How the domains of an explanation stand at a look.

    Attributes:
        series: their mean loss at each look since the one compared with, that first.
        z: mean distance from the old curves; None where there is no old curve.
        jitter: of a look. [nats/token]
        is_over: what was to last has ended by itself, such as corrupt texts.
        gap: steps between looks.
    """

    step: int
    series: tuple[float, ...]
    z: float | None
    jitter: float
    is_over: bool
    gap: int
