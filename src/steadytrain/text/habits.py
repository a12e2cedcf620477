"""What is usual in a run's own healthy text, and the limits of the lint raised above it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

import numpy as np

from steadytrain.text import belonging, encoded, garbled, repetition
from steadytrain.text.profile import Profile

USUAL = 0.999
"""Quantile of the healthy texts that a limit must clear. Source: facts, text rules."""

ROOM = 1.05
"""A limit lies so far above that quantile: the next text may be a little odder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Habits:
    """Limits of the rules; each rule calls a text corrupt above its own.

    limit = min(ceiling, max(default, 1.05 * p99.9 of the healthy texts)): learning only ever makes
    a rule more patient, and `CEILINGS` keeps a text that is corrupt as a whole above every limit.
    p99.9 and not the maximum: a few corrupt texts among thousands of healthy ones teach nothing.

    Attributes:
        repeated: share of a text's grams that stood earlier in it.
        encoded: share of its characters that are base64, hex or escapes.
        tags: share of its characters that are tags.
        foreign: share of its visible characters in a script that is not its domain's.
        rare_han: share of its Chinese characters outside the everyday ones.
        replaced: share of its characters that are U+FFFD.
        lead: by how much another domain's profile fits better. [bits a gram]

    Source: defaults are the constants of each rule's file; ceilings: see `CEILINGS`.

    >>> Habits.learn(["plain words"] * 3) == Habits()
    True
    """

    repeated: float = repetition.REPEATED_SHARE
    encoded: float = encoded.ENCODED_SHARE
    tags: float = belonging.TAG_SHARE
    foreign: float = belonging.FOREIGN_SHARE
    rare_han: float = garbled.RARE_HAN_SHARE
    replaced: float = garbled.REPLACED_SHARE
    lead: float = belonging.LEAD

    @classmethod
    def learn(
        cls,
        texts: Iterable[str],
        *,
        domain: str | None = None,
        profiles: Mapping[str, Profile] | None = None,
    ) -> "Habits":
        """The habits of one domain, from texts that are believed healthy; no text: the defaults.

        A thousand texts and more make the quantile what it says; of fewer it is the maximum.
        """
        seen = [measure(text, domain=domain, profiles=profiles) for text in texts if text]
        if not seen:
            return cls()
        usual = np.quantile(
            np.array(seen), USUAL, axis=0, method="lower" if len(seen) >= 1000 else "higher"
        )
        limits = {}
        for at, field in enumerate(fields(cls)):
            default = getattr(cls(), field.name)
            limits[field.name] = float(min(CEILINGS[field.name], max(default, ROOM * usual[at])))
        return cls(**limits)


CEILINGS: Mapping[str, float] = {
    "repeated": 0.9,
    "encoded": 0.8,
    "tags": 0.5,
    "foreign": 0.6,
    "rare_han": 0.3,
    "replaced": 0.03,
    "lead": 0.75,
}
"""No limit is raised above these. Source: 99 % of the fully corrupt texts of bench/lint.py's tuning
half measure more; exact copies, cut characters and text that can be read back have rules
of their own that nothing raises."""


def measure(
    text: str, *, domain: str | None = None, profiles: Mapping[str, Profile] | None = None
) -> tuple[float, ...]:
    """What each limit of Habits is compared with, in the order of its fields."""
    top = domain.split("/")[0] if domain else None
    replaced, rare_han = garbled.shares(text)
    raw = text.encode("utf-8", "replace")
    lead = belonging.lead_of(text, domain, profiles)
    return (
        repetition.share(text), encoded.share(text, raw), belonging.tag_share(text, top),
        belonging.foreign_share(text, top), rare_han, replaced, 0.0 if lead is None else lead[1],
    )  # fmt: skip
