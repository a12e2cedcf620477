"""The supervisor's journal, with the policy reading along: what is on record there is done."""

from collections.abc import Callable

from steadytrain.events import Event, Fact, Judgment, WorkersStarted
from steadytrain.journal import Journal
from steadytrain.judge.restarts import RestartPolicy


class Book:
    """The supervisor's journal, with the policy reading along.

    Attributes:
        next_generation: of the next start; goes on where the journal ends.
        tally: what the policy remembers.
    """

    def __init__(
        self,
        own: Journal,
        past: list[Event],
        *,
        policy: RestartPolicy,
        on_event: Callable[[Event], None],
    ) -> None:
        self._own = own
        self._policy = policy
        self._on_event = on_event
        self.tally = policy.init()
        started = [one.generation for one in past if isinstance(one, WorkersStarted)]
        self.next_generation = max(started, default=-1) + 1
        reached: list[Judgment] = []
        for event in past:
            if not isinstance(event, Judgment):
                self.tally, judgments = policy.update(self.tally, event)
                reached += judgments
        # A supervisor that was killed between a fact and its judgment owes the journal the latter.
        for judgment in reached[sum(isinstance(one, Judgment) for one in past) :]:
            self._write(judgment)

    @property
    def step(self) -> int | None:
        """The highest step that was ever reported; None if none was, or only 0."""
        return max(self.tally.best, self.tally.reached or 0) or None

    def close(self) -> None:
        self._own.close()

    def note(self, fact: Fact) -> Judgment | None:
        """Write a fact down, then what follows from it; returns the latter."""
        self._write(fact)
        self.tally, judgments = self._policy.update(self.tally, fact)
        for judgment in judgments:
            self._write(judgment)
        return judgments[-1] if judgments else None

    def _write(self, event: Event) -> None:
        self._own.append(event)
        self._on_event(event)
