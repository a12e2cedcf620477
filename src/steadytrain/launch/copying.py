"""The leader's part in copies: which state all hosts copy next, and what failed."""

import time
from collections.abc import Sequence

from steadytrain.events import CopiesLacking, Fact, StatesBrought
from steadytrain.launch.book import Book
from steadytrain.launch.errands import Errand, go_on
from steadytrain.launch.letters import Member, Report
from steadytrain.launch.output import say
from steadytrain.wording import sentence


class Copying:
    """In one round.

    Attributes:
        errand: what hosts copy now.
    """

    def __init__(self, book: Book, members: Sequence[Member]) -> None:
        self.errand = Errand()
        self._book = book
        self._members = members
        self._told: set[tuple[int, str]] = set()

    def copied(self) -> tuple[int | None, float | None]:
        """Step of the newest state that each host's neighbour has, and its age in seconds."""
        if self.errand.safe is None:
            return None, None
        return self.errand.safe[1], round(time.monotonic() - self.errand.safe_at, 3)

    def look(self, generation: int, reports: Sequence[Report], *, slowest: int | None) -> Errand:
        """What follows from the reports of all hosts about the present start; see `go_on`."""
        before = self.errand
        self.errand = go_on(before, reports, slowest=slowest, now=time.monotonic())
        if self.errand != before:
            self._note_lacks(generation, reports)
            if before.safe is None and self.errand.safe is not None:
                step = self.errand.safe[1]
                say(f"every host's states are in its neighbour's memory too, as of step {step}")
        return self.errand

    def note_brought(self, generation: int, reports: Sequence[Report]) -> None:
        """Which states went to other hosts before the round's first start, if any did."""
        found = [one.brought for one in reports if one.brought is not None]
        why = [one.why for one in found if one.why is not None]
        ranks = [rank for one in found for rank in one.ranks]
        if not (ranks or why):
            return
        self._note(
            StatesBrought(
                generation=generation,
                step=found[0].step,
                ranks=tuple(ranks),
                hosts=tuple(name for one in found for name in one.hosts),
                bytes=sum(one.bytes for one in found),
                seconds=max(one.seconds for one in found),
                why=why[0] if why else None,
            )
        )

    def _note_lacks(self, generation: int, reports: Sequence[Report]) -> None:
        if self.errand.copy is None:
            return
        for at, one in enumerate(reports):
            is_new = one.lacks and (at, one.lacks) not in self._told
            if is_new and one.copied is not None:
                self._told.add((at, one.lacks))
                name = self._members[at].name
                self._note(CopiesLacking(generation=generation, host=name, why=one.lacks))

    def _note(self, told: Fact) -> None:
        self._book.note(told)
        say(str(sentence(told)))
