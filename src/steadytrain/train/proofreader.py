"""Reads the text of every batch before its update lands: some damage shows in no loss at all.

Repeated lines, markup or the wrong language move a loss little or late; newlines alone move it up
before it falls. On a GPU the host reads while the device computes, so it costs nothing there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from steadytrain.text import lint, lint_together
from steadytrain.text.verdict import CLEAN, Verdict
from steadytrain.train.feed import DataOrder


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What was read of one sequence."""

    draw: int
    domain: int
    verdict: Verdict

    @property
    def defect(self) -> str | None:
        return self.verdict.kind if self.verdict.verdict == "corrupt" else None


class Proofreader:
    """Lints the sequences of a data order, alone and together with those of their domain."""

    def __init__(self, order: DataOrder) -> None:
        self._order = order

    def read(self, draws: Sequence[int]) -> tuple[Reading, ...]:
        """What is wrong with each of these sequences, drawn for one step."""
        names = self._order.domains
        domains = [self._order.block(draw).domain for draw in draws]
        texts = [self._order.text(draw) for draw in draws]
        verdicts = [
            lint(text, domain=names[domain]) for text, domain in zip(texts, domains, strict=True)
        ]
        for domain in set(domains):
            # A window of text is too short to tell a language from another; a dozen are not.
            mine = [at for at, one in enumerate(domains) if one == domain]
            if all(verdicts[at] == CLEAN for at in mine):
                found = lint_together([texts[at] for at in mine], domain=names[domain])
                if found.verdict == "corrupt":
                    for at in mine:
                        verdicts[at] = found
        return tuple(
            Reading(draw=draw, domain=domain, verdict=verdict)
            for draw, domain, verdict in zip(draws, domains, verdicts, strict=True)
        )
