"""Where persons are heard: rank 0 reads the control folder between two updates.

A word becomes a fact of the journal, the judge concludes from it as from any other, and what it
orders travels to all ranks the ordinary way. Whatever lies in the folder, training goes on.
"""

import time
from collections.abc import Callable
from pathlib import Path

from steadytrain import plans
from steadytrain.actions import Plan, roll_back_step
from steadytrain.control import Inbox, Letter
from steadytrain.errors import SettingError
from steadytrain.events import PersonSaid, Proposal
from steadytrain.judge.state import LAG
from steadytrain.train.memory import Memory

EVERY_SECONDS = 0.5
"""Between two looks at the folder, far below what a person notices. A look takes 25 us on a local
disk, and one question to the server on a network file system; an update without one 0.4 us."""


class Desk:
    """Reads words, refuses what the run cannot do, tells the rest to the memory.

    Args:
        oldest: gives the step of the oldest state that the run can return to, None without one.
        say: is told of every word that is refused.
    """

    def __init__(
        self,
        home: Path,
        memory: Memory,
        *,
        oldest: Callable[[], int | None],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inbox = Inbox(home)
        self._memory = memory
        self._oldest = oldest
        self._say = say
        self._clock = clock
        self._next_look = 0.0
        self._unsettled: dict[str, tuple[int, int]] = {}
        self._stuck: set[str] = set()
        try:
            self._inbox.prepare()
        except OSError as error:
            self._complain("", error)

    def attend(self) -> None:
        """Read what waits, if it is time to look again."""
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + EVERY_SECONDS
            self.read()

    def read(self) -> None:
        """Read what waits. To be called after the last update's record was judged."""
        for name in self._waiting():
            try:
                self._hear(name)
            except OSError as error:
                self._complain(name, error)

    def close(self) -> None:
        """The run has ended: refuse what nobody will hear any more."""
        for name in self._waiting():
            if name in self._memory.standing.said:
                continue
            try:
                self._refuse(name, "the run ended before it could be heard")
            except OSError as error:
                self._complain(name, error)

    def _waiting(self) -> list[str]:
        try:
            found = self._inbox.waiting()
        except OSError as error:
            self._complain("", error)
            return []
        return [name for name in found if name not in self._stuck] if found else found

    def _hear(self, name: str) -> None:
        if name in self._memory.standing.said:
            if self._inbox.was_taken(name):
                self._refuse(name, "another word had this name before. Give the file a new name")
            else:
                # The run died between writing it down and moving it away.
                self._inbox.take(name)
            return
        try:
            letter = self._inbox.open(name)
        except FileNotFoundError:
            return  # taken back
        except SettingError as error:
            self._refuse_if_settled(name, str(error))
            return
        try:
            said = self._understand(letter)
        except SettingError as error:
            self._refuse(name, str(error), letter.who)
            return
        self._memory.tell(said)
        self._inbox.take(name)

    def _understand(self, letter: Letter) -> PersonSaid:
        """What was said, as a fact.

        Raises:
            SettingError: the run cannot do it.
        """
        word, standing = letter.word, self._memory.standing
        if not self._memory.is_judging:
            raise SettingError(
                "the judge has failed, so nothing can be concluded from a word; the run goes on "
                "unguarded. Start it again"
            )
        plan: tuple[Plan, ...] = ()
        incident, remedy = word.incident, None
        if word.verb in ("accept", "refuse"):
            proposal = standing.proposal(word.remedy)
            incident, remedy = proposal.incident, proposal.id
            if word.verb == "accept":
                self._refuse_lost_state(proposal)
        elif word.verb == "act":
            for waiting in standing.proposals.values():
                self._refuse_lost_state(waiting)  # to act is to accept it
        elif word.verb == "order":
            after = self._memory.state.step + LAG - 1
            plan = plans.parse(word.plan, after=after)
            standing.refuse_impossible(plan, after=after, oldest=self._oldest())
            # An incident may have closed since it was said; the order stands for itself then.
            incident = incident if incident in standing.incidents else None
        return PersonSaid(
            id=letter.id,
            who=letter.who,
            verb=word.verb,
            step=standing.step,
            remedy=remedy,
            incident=incident,
            plan=plan,
            words=word.words,
        )

    def _refuse_lost_state(self, proposal: Proposal) -> None:
        """A proposal may have waited for so long that no state is kept to go back to."""
        back = roll_back_step(proposal.plan)
        if back is not None:
            try:
                self._memory.standing.refuse_return(back, self._oldest())
            except SettingError as error:
                raise SettingError(
                    f"{proposal.id} has waited for too long: {error}. Refuse it first"
                ) from error

    def _refuse_if_settled(self, name: str, why: str) -> None:
        """Refuse what cannot be read, unless somebody seems to be writing it: then look again."""
        stamp = self._inbox.stamp(name)
        if self._unsettled.get(name) == stamp:
            self._refuse(name, why)
        else:
            self._unsettled[name] = stamp

    def _refuse(self, name: str, why: str, who: str = "a person") -> None:
        self._inbox.refuse(name, why)
        self._say(f"step {self._memory.standing.step}: a word of {who}, {name}, is refused: {why}")

    def _complain(self, name: str, error: OSError) -> None:
        """Say once that something cannot be read or moved, and go on without it."""
        if name in self._stuck:
            return
        self._stuck.add(name)
        what = f"the word {name} cannot be moved" if name else "the control folder cannot be read"
        self._say(f"{what} ({error.strerror}); training goes on without it")
