"""A run as a report reads it: every event of its journal, what is damaged left out and counted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from steadytrain import codec, journal
from steadytrain.errors import JournalError
from steadytrain.events import Event, JudgeState, RunBegan
from steadytrain.goodput import Account
from steadytrain.news import Noted
from steadytrain.vitals import Vitals

_STATE = codec.mark_of(JudgeState)
E = TypeVar("E", bound=Event)


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A run, read once.

    Attributes:
        events: of rank 0, in their order; `noted`: all but steps, of all writers, by the clock.
        found: how the run is.
        num_bad: lines that cannot be read.
    """

    home: Path
    began: RunBegan
    events: Sequence[Event]
    noted: Sequence[Noted]
    found: Vitals
    account: Account
    num_bad: int

    @property
    def name(self) -> str:
        return self.began.run

    def of(self, *kinds: type[E]) -> Iterator[E]:
        """Events of rank 0 of these kinds."""
        return (one for one in self.events if isinstance(one, kinds))


def read(home: Path) -> Record:
    """A run's journal.

    Raises:
        JournalError: the home holds no run, or a file cannot be read.
    """
    home = Path(home)
    events: list[Event] = []
    for path in journal.files(home, "rank0"):
        for lines in journal.whole_lines(path):
            events += _decoded([one for one in lines if not codec.is_of(one, _STATE)])
    began = next((event for event in events if isinstance(event, RunBegan)), None)
    if began is None:
        raise JournalError(
            f"{home} holds no journal of a run, so there is nothing to report. "
            "Give the folder that the run was started with, such as runs/r1."
        )
    found = Vitals(home=home)
    noted = [one for one in found.refresh() if isinstance(one, Noted)]
    return Record(
        home=home,
        began=began,
        events=events,
        noted=noted,
        found=found,
        account=found.timesheet.account(),
        num_bad=found.news.num_bad,
    )


def _decoded(lines: Sequence[bytes]) -> list[Event]:
    """The events of whole lines; those that are none are left out."""
    try:
        return codec.decode_all(lines)
    except (msgspec.DecodeError, ValueError):
        pass  # once more, line by line
    found: list[Event] = []
    for line in lines:
        try:
            found.append(codec.decode(line))
        except (msgspec.DecodeError, ValueError):
            continue
    return found
