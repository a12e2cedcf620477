"""A few short texts of one domain together: do they sound like another domain?

A window of text is too short to tell English from code; a dozen are not. How far clean ones of the
domain lead towards another is learned from its own text, since programs hold prose.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from steadytrain.stats.means import design_effect, mean_limit
from steadytrain.text.belonging import wrong_script_together
from steadytrain.text.profile import Profile, surprises
from steadytrain.text.verdict import Verdict, corrupt

CHANCE = 1e-7
"""That clean text of a domain is called foreign in one update: 1 in a million updates of ten
domains."""

LEAST_LEAD = 0.25
"""Bits a gram below which nothing is called foreign. Source: guess."""

NEIGHBOURS = 8
"""Texts in a row whose means say how alike neighbours are."""

MOST_TEXTS, MOST_CHARACTERS = 16, 8000
"""So much is read of a group."""

FEW_TEXTS = 24
"""Nothing is learned from fewer."""


class Together:
    """What groups of clean texts of one domain reach.

    Args:
        texts: clean texts that the profiles have not seen, in the order in which they come.
        domain: whose texts they are.
        profiles: of domains; without one of `domain` and of another, only the script can tell.

    Attributes:
        effects: by other domain, how much less a text is worth than an independent one.
    """

    def __init__(self, texts: Sequence[str], domain: str, profiles: Mapping[str, Profile]) -> None:
        self.effects: dict[str, float] = {}
        self._domain = domain
        self._leads: dict[str, NDArray[np.float64]] = {}
        self._limits: dict[tuple[str, int], float] = {}
        top = domain.split("/")[0]
        self._profiles = {
            name: one
            for name, one in profiles.items()
            if name == domain or name.split("/")[0] != top
        }
        if len(texts) >= FEW_TEXTS and domain in profiles:
            self._leads = self._leads_of(texts)
            self.effects = {
                name: design_effect(some, NEIGHBOURS) for name, some in self._leads.items()
            }

    def judge(self, texts: Sequence[str]) -> Verdict | None:
        """What is wrong with these texts together; None: nothing that can be told."""
        stride = math.ceil(len(texts) / MOST_TEXTS)
        some = texts[::stride]
        text = "\n".join(one[: MOST_CHARACTERS // len(some)] for one in some)
        found = wrong_script_together(text, self._domain.split("/")[0])
        if found is not None or not self._leads:
            return found
        means = {name: float(leads.mean()) for name, leads in self._leads_of(some).items()}
        name = max(means, key=lambda one: means[one])
        if means[name] < self.limit(name, len(some)):
            return None
        evidence = f"it sounds like {name}, by {means[name]:.2f} bits a gram"
        return corrupt("wrong_domain", 0.7, ((0, len(text)),), evidence)

    def limit(self, name: str, count: int) -> float:
        """The mean lead towards another domain from which `count` texts are foreign; inf: never."""
        if (name, count) not in self._limits:
            known = mean_limit(self._leads[name], count / self.effects[name], CHANCE)
            self._limits[name, count] = max(LEAST_LEAD, known)
        return self._limits[name, count]

    def _leads_of(self, texts: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """By other domain, how many bits a gram each text sounds more like it than like its own."""
        size = MOST_CHARACTERS // MOST_TEXTS
        costs = [surprises(text[:size], self._profiles) for text in texts]
        own = np.array([one[self._domain] for one in costs])
        others = [name for name in self._profiles if name != self._domain]
        return {name: own - np.array([one[name] for one in costs]) for name in others}
