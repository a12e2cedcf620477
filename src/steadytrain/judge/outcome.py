"""After a remedy: cured, not cured, worse; after how many steps."""

from typing import Literal

import msgspec


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """When a remedy counts as having held.

    Attributes:
        good_steps: judged, committed updates in a row with every signal in its band. [steps]
        worse_factor: a total loss beyond the incident's own peak by this factor is worse.

    Source: good_steps 16: twice the longest lead of a gradient norm over a spike, and half of the
    verification window that healing within tens of steps needs (BLOOM 176B); a later relapse opens
    an incident of its own that remembers this one. worse_factor: guess.
    """

    good_steps: int = 16
    worse_factor: float = 1.1

    def read(
        self, *, good_steps: int, alarmed: bool, loss: float | None, peak: float | None
    ) -> Literal["cured", "not cured", "worse"] | None:
        """The outcome as far as it is known; None while it is too early to tell."""
        if alarmed:
            is_worse = loss is not None and peak is not None and loss > peak * self.worse_factor
            return "worse" if is_worse else "not cured"
        return "cured" if good_steps >= self.good_steps else None
