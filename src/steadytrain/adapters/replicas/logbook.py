"""What one replica puts on record of the whole run: its journal, its judge, its lives.

Every replica writes the same updates and judges them alike, so any of them can be lost. One that is
healed leaves its own way: a new attempt begins, with the judge's memory of the replica that healed
it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from steadytrain.events import (
    AttemptBegan,
    Event,
    RemedyDone,
    ReplicasChanged,
    RunBegan,
    RunEnded,
    StepRecord,
)
from steadytrain.judge.judge import Judge
from steadytrain.judge.state import Limits, freeze
from steadytrain.train.memory import Memory
from steadytrain.train.ranks import Ranks

PEER = "another replica"
"""What a life begins from that was healed, in the place of a checkpoint's name."""


class Logbook:
    """Of a replica. Rank 0 writes and judges; the others know the attempt only.

    Attributes:
        memory: of rank 0, once it has been opened.
        attempt: number of the present life.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.memory: Memory | None = None
        self.attempt = 0
        self._ranks = ranks
        self._told: tuple[int, int | None] | None = None
        self._source: str | None = None
        self._discarded = 0

    def open(
        self,
        home: Path,
        judge: Judge,
        began: RunBegan,
        *,
        say: Callable[[str], None],
        fence: bool,
    ) -> None:
        """Read what earlier lives wrote. Every rank.

        Raises:
            CheckpointError: the home holds another run.
            JournalError: it cannot be written.
        """
        if self._ranks.rank == 0:
            self.memory = Memory(home, judge, began, say=say, fence=fence)
            self._carry_out(self.memory)
            self.attempt = self.memory.history.attempt
        self.attempt = self._ranks.tell(self.attempt)

    def close(self) -> None:
        if self.memory is not None:
            self.memory.close()

    def begin_at(self, step: int, checkpoint: str | None) -> None:
        """A checkpoint was loaded, or none: what the judge saw after it is another way."""
        self._source = checkpoint
        if self.memory is not None:
            self.memory.go_back(step)

    def limits(self, step: int) -> Limits | None:
        """What this replica's judge asks of the gate; None where there is no judge."""
        return self.memory.limits(step) if self.memory is not None else None

    def hand_over(self) -> dict[str, Any] | None:
        """The judge's memory for a replica that is healed."""
        memory = self.memory
        return freeze(memory.state) if memory is not None and memory.is_judging else None

    def take_over(self, judge: dict[str, Any] | None) -> None:
        """This replica was healed with what another one handed over."""
        if self.memory is not None and judge is not None:
            self.memory.adopt(judge)
        self._source = PEER

    def meet(self, step: int, draw: int, *, replicas: int, place: int | None) -> None:
        """The replicas have met for update `step + 1`; written down if that is news."""
        is_healed = self._source == PEER
        begins = self._told is None or is_healed
        if self._told == (replicas, place) and not begins and not self._discarded:
            return
        if begins:
            self.attempt += 1
            self._tell(
                AttemptBegan(
                    attempt=self.attempt,
                    step=step,
                    draw=draw,
                    cause="restart" if self.attempt > 1 else "start",
                    checkpoint=self._source,
                )
            )
        self._tell(
            ReplicasChanged(
                attempt=self.attempt,
                step=step,
                replicas=replicas,
                place=place,
                healed=is_healed,
                discarded=self._discarded,
            )
        )
        self._told, self._source, self._discarded = (replicas, place), None, 0

    def note(self, record: StepRecord) -> None:
        """An update is complete."""
        if self.memory is not None:
            self.memory.tell(record)
            self._carry_out(self.memory)

    def note_lost_update(self) -> None:
        self._discarded += 1

    def end(self, step: int) -> None:
        self._tell(RunEnded(attempt=self.attempt, step=step))

    def _carry_out(self, memory: Memory) -> None:
        """All that a judge can order here is done with the word: a person was asked, or the gate
        has held an update back."""
        memory.take_orders()
        history = memory.history
        for remedy in [one for one in history.remedies if one.id not in history.done]:
            memory.tell(RemedyDone(remedy=remedy.id, attempt=self.attempt, step=memory.state.step))

    def _tell(self, event: Event) -> None:
        if self.memory is not None:
            self.memory.tell(event)
