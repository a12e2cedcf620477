"""Reads the text of every batch before its update lands: some damage shows in no loss at all.

And text of the fixed panel, which training must not see, or its perplexity tells nothing.

Repeated lines, markup or the wrong language move a loss little or late; newlines alone move it up
before it falls. On a GPU the host reads while the device computes, so it costs nothing there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from steadytrain.panels.overlap import Overlap
from steadytrain.provenance import LEAKED
from steadytrain.text import Habits, Profile, lint
from steadytrain.text.together import FEW_TEXTS, Together
from steadytrain.text.verdict import CLEAN, Verdict
from steadytrain.train.feed import DataOrder

LEARNED_BYTES = 120_000
"""Text of a domain that its profile learns from: 100 kB tell domains apart."""

LEARNED_DRAWS = 8192
"""At most so many draws are read for it, from the first on."""

COMMON_DRAWS = 2048
"""The first draws, from which is learned what of the panel's text is boilerplate. Source:
bench/leaks.py."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What was read of one sequence.

    Attributes:
        leaked: number of the panel sequence whose text it holds; None for none.
    """

    draw: int
    domain: int
    verdict: Verdict
    leaked: int | None = None

    @property
    def defect(self) -> str | None:
        return self.verdict.kind if self.verdict.verdict == "corrupt" else None

    @property
    def mark(self) -> str | None:
        """What the provenance keeps of it."""
        return self.defect or (LEAKED if self.leaked is not None else None)


class Proofreader:
    """Lints the sequences of a data order, alone and together with those of their domain.

    Profiles of the domains, and what is usual in their text, are learned from the first draws of
    the order, wherever the run stands: a restart learns the same.

    Args:
        overlap: finds text of the panel; None: it is not looked for.
    """

    def __init__(self, order: DataOrder, overlap: Overlap | None = None) -> None:
        self._order = order
        self._overlap = overlap
        self._together: dict[str, Together] = {}
        self._habits: dict[str, Habits] = {}

    def prepare(self) -> None:
        """Learn from the first draws, as the first reading would."""
        self._learned()

    def read(self, draws: Sequence[int]) -> tuple[Reading, ...]:
        """What is wrong with each of these sequences, drawn for one step."""
        names = self._order.domains
        domains = [self._order.block(draw).domain for draw in draws]
        texts = [self._order.text(draw) for draw in draws]
        self._learned()
        verdicts = [
            lint(text, domain=names[domain], habits=self._habits.get(names[domain]))
            for text, domain in zip(texts, domains, strict=True)
        ]
        for domain in set(domains):
            # A window of text is too short to tell a language from another; a dozen are not.
            mine = [at for at, one in enumerate(domains) if one == domain]
            if all(verdicts[at] == CLEAN for at in mine):
                found = self._together[names[domain]].judge([texts[at] for at in mine])
                for at in mine:
                    verdicts[at] = found or CLEAN
        leaks: list[int | None] = [None] * len(draws)
        if self._overlap is not None:
            leaks = [one.sequence if one else None for one in self._overlap.find(texts)]
        return tuple(
            Reading(draw=draw, domain=domain, verdict=verdict, leaked=leaked)
            for draw, domain, verdict, leaked in zip(draws, domains, verdicts, leaks, strict=True)
        )

    def _learned(self) -> None:
        """Learn profiles and habits of the domains from their first texts, and from later ones what
        clean texts sound like together."""
        if self._together:
            return
        opening: list[str] = []
        if self._overlap is not None:
            opening = [self._order.text(draw) for draw in range(COMMON_DRAWS)]
            self._overlap.learn_common(opening)
        names = self._order.domains
        texts: dict[str, list[str]] = {name: [] for name in names}
        sizes = dict.fromkeys(names, 0)
        for draw in range(LEARNED_DRAWS):
            name = names[self._order.block(draw).domain]
            if sizes[name] < 2 * LEARNED_BYTES or len(texts[name]) < 2 * FEW_TEXTS:
                is_read = draw < len(opening)
                texts[name].append(opening[draw] if is_read else self._order.text(draw))
                sizes[name] += len(texts[name][-1].encode("utf-8", "replace"))
            elif all(
                sizes[one] >= 2 * LEARNED_BYTES and len(texts[one]) >= 2 * FEW_TEXTS
                for one in names
            ):
                break
        halves = {name: len(some) // 2 for name, some in texts.items()}
        known = [name for name in names if halves[name] >= FEW_TEXTS]
        profiles = {name: Profile.learn(texts[name][: halves[name]]) for name in known}
        self._habits = {
            name: Habits.learn(texts[name][: halves[name]], domain=name) for name in known
        }
        self._together = {
            name: Together(texts[name][halves[name] :], name, profiles) for name in names
        }


def count_corrupt(readings: Sequence[Reading], domains: int) -> list[int]:
    """Corrupt sequences of each domain."""
    defects = [one.domain for one in readings if one.defect]
    return [defects.count(domain) for domain in range(domains)]


def count_leaked(readings: Sequence[Reading], domains: int) -> list[int]:
    """Sequences of each domain that hold text of the panel."""
    leaked = [one.domain for one in readings if one.leaked is not None]
    return [leaked.count(domain) for domain in range(domains)]
