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
from steadytrain.text.belonging import unlike, wrong_script_together
from steadytrain.text.verdict import CLEAN, Verdict
from steadytrain.train.feed import DataOrder

LEARNED_BYTES = 120_000
"""Text of a domain that its profile learns from: 100 kB tell domains apart."""

LEARNED_DRAWS = 8192
"""At most so many draws are read for it, from the first on."""

TRIED = 12
"""Groups of sequences that say how far clean ones lead towards another domain."""

GROUPS = (4, 8, 16, 32)
"""Sizes of groups that are tried: the smaller a group, the farther a clean one may lead. Fewer than
four windows of text are not judged together: under a batch ramp, two clean ones of code were called
foreign twice in 10,000 steps (LOG.md 2026-11-27)."""

LEAST_LEAD, SLACK_LEAD = 0.25, 1.3
"""A group is called foreign from this lead on [bits a gram], and from 1.3 times the largest lead
of the groups tried. Source: guess; 2 x 10^4 groups of the lab's clean text gave none."""

MOST_CHARACTERS = 8000

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
        self._profiles: dict[str, Profile] | None = None
        self._leads: dict[str, dict[int, float]] = {}
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
                found = self._read_together([texts[at] for at in mine], names[domain])
                for at in mine:
                    verdicts[at] = found or CLEAN
        leaks: list[int | None] = [None] * len(draws)
        if self._overlap is not None:
            leaks = [one.sequence if one else None for one in self._overlap.find(texts)]
        return tuple(
            Reading(draw=draw, domain=domain, verdict=verdict, leaked=leaked)
            for draw, domain, verdict, leaked in zip(draws, domains, verdicts, leaks, strict=True)
        )

    def _read_together(self, texts: Sequence[str], name: str) -> Verdict | None:
        text = "\n".join(texts)[:MOST_CHARACTERS]
        found = wrong_script_together(text, name.split("/")[0])
        if found is not None:
            return found
        profiles = self._learned()
        leads = self._leads.get(name, {})
        size = max((one for one in leads if one <= len(texts)), default=None)
        return None if size is None else unlike(text, name, profiles, lead=leads[size])

    def _learned(self) -> dict[str, Profile]:
        """Profiles of the domains, from their first texts; how far clean groups lead, from later
        ones."""
        if self._profiles is not None:
            return self._profiles
        opening: list[str] = []
        if self._overlap is not None:
            opening = [self._order.text(draw) for draw in range(COMMON_DRAWS)]
            self._overlap.learn_common(opening)
        names = self._order.domains
        texts: dict[str, list[str]] = {name: [] for name in names}
        sizes = dict.fromkeys(names, 0)
        for draw in range(LEARNED_DRAWS):
            name = names[self._order.block(draw).domain]
            if sizes[name] < 2 * LEARNED_BYTES:
                is_read = draw < len(opening)
                texts[name].append(opening[draw] if is_read else self._order.text(draw))
                sizes[name] += len(texts[name][-1].encode("utf-8", "replace"))
            if all(size >= 2 * LEARNED_BYTES for size in sizes.values()):
                break
        halves = {name: len(some) // 2 for name, some in texts.items() if len(some) >= 2 * TRIED}
        self._profiles = {name: Profile.learn(texts[name][:half]) for name, half in halves.items()}
        for name, half in halves.items():
            self._habits[name] = Habits.learn(texts[name][:half], domain=name)
            later = texts[name][half:]
            self._leads[name] = {
                size: self._usual_lead(later, name, size)
                for size in GROUPS
                if len(later) >= TRIED * size
            }
        return self._profiles

    def _usual_lead(self, texts: Sequence[str], name: str, size: int) -> float:
        """The lead from which a group is foreign: above what groups of its own kind reach."""
        assert self._profiles is not None
        largest = 0.0
        for first in range(0, len(texts) - size + 1, size):
            group = "\n".join(texts[first : first + size])[:MOST_CHARACTERS]
            costs = {other: one.surprise(group) for other, one in self._profiles.items()}
            largest = max(largest, costs[name] - min(costs.values()))
        return max(LEAST_LEAD, SLACK_LEAD * largest)


def count_corrupt(readings: Sequence[Reading], domains: int) -> list[int]:
    """Corrupt sequences of each domain."""
    defects = [one.domain for one in readings if one.defect]
    return [defects.count(domain) for domain in range(domains)]


def count_leaked(readings: Sequence[Reading], domains: int) -> list[int]:
    """Sequences of each domain that hold text of the panel."""
    leaked = [one.domain for one in readings if one.leaked is not None]
    return [leaked.count(domain) for domain in range(domains)]
