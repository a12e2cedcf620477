"""How a run stands: what is proposed, what is in force, and what can be asked of it now.

A fold over the journal, the same where a person asks (`steadytrain remedy`) and where the run hears
of it, so that both refuse the same things in the same words.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from steadytrain import codec, journal
from steadytrain.actions import (
    AskPerson,
    Cancel,
    ExcludeRank,
    LeaveHost,
    Plan,
    ResetMoments,
    RollBack,
    SkipDraws,
    SkipUpdate,
    ability,
    roll_back_step,
)
from steadytrain.errors import JournalError, SettingError
from steadytrain.events import (
    AttemptBegan,
    Diagnosis,
    Event,
    Incident,
    Outcome,
    PersonSaid,
    Proposal,
    Remedy,
    RemedyDone,
    RunBegan,
    RunBranched,
    RunEnded,
    StepRecord,
)
from steadytrain.plans import openings, write
from steadytrain.ramps import total_before
from steadytrain.ranges import size

_STEP = codec.mark_of(StepRecord)

_AT_ONCE = (SkipUpdate, RollBack, ResetMoments, Cancel, AskPerson)


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One action of a remedy that holds now; `until` is its last update, None for good."""

    remedy: str
    action: Plan
    until: int | None


@dataclass(kw_only=True, slots=True)
class Standing:
    """What a journal says of a run as it stands.

    Attributes:
        step, draw: last update made on the present branch, and the position in the data after it.
        proposals: those that a person may still accept or refuse, by id; `suggested`: those told in
            the mode "observe", for which nobody is waited.
        remedies: every remedy given, by id; `done` those carried out.
        incidents: the open ones; `diagnoses` the newest of each incident.
        said: every word of a person, by id.
    """

    began: RunBegan | None = None
    attempt: int = 0
    step: int = 0
    draw: int = 0
    has_ended: bool = False
    mode: str = "act"
    proposals: dict[str, Proposal] = field(default_factory=dict)
    suggested: dict[str, Proposal] = field(default_factory=dict)
    remedies: dict[str, Remedy] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    incidents: dict[str, Incident] = field(default_factory=dict)
    diagnoses: dict[str, Diagnosis] = field(default_factory=dict)
    said: dict[str, PersonSaid] = field(default_factory=dict)
    _actions: list[tuple[str, Plan]] = field(default_factory=list)

    def note(self, event: Event) -> None:
        match event:
            case StepRecord():
                self.step, self.draw = event.step, event.draw_end
            case RunBegan():
                self.began = event
                self.mode = event.recipe.get("treatment", {}).get("mode", self.mode)
            case AttemptBegan():
                self.attempt, self.step, self.draw = event.attempt, event.step, event.draw
                self.has_ended = False
            case RunBranched():
                for remedy in event.remedies:
                    self._give(remedy)
                    self.done.add(remedy.id)
            case RunEnded():
                self.has_ended = True
            case Incident(change="closed"):
                self.incidents.pop(event.id, None)
                self._withdraw(event.id)
            case Incident():
                self.incidents[event.id] = event
            case Diagnosis():
                self.diagnoses[event.incident] = event
            case Proposal():
                self._withdraw(event.incident)
                told = self.suggested if self.mode == "observe" else self.proposals
                told[event.id] = event
            case Remedy():
                self._withdraw(event.incident)
                self._give(event)
            case RemedyDone():
                self.done.add(event.remedy)
            case Outcome():
                self.outcomes[event.remedy] = event
            case PersonSaid():
                self._hear(event)

    def in_force(self) -> list[Setting]:
        """Settings that the next update is made under, and those that begin later."""
        upcoming = self.step + 1
        # A cancel stays whatever is rolled back: what it ended has not come back.
        ended = {action.remedy for _, action in self._actions if isinstance(action, Cancel)}
        found = [
            Setting(remedy=remedy, action=action, until=_until(action))
            for remedy, action in self._actions
            if not isinstance(action, _AT_ONCE) and remedy not in ended
        ]
        return [one for one in found if one.until is None or upcoming <= one.until]

    def asks(self) -> list[Remedy]:
        """Questions to a person whose incidents are open."""
        return [
            remedy
            for remedy in self.remedies.values()
            if remedy.incident in self.incidents
            and any(isinstance(action, AskPerson) for action in remedy.plan)
        ]

    def proposal(self, name: str | None) -> Proposal:
        """The proposal of this id, or the only one.

        Raises:
            SettingError: there is none, or several and no id; the message says what became of it.
        """
        if name is None:
            if len(self.proposals) == 1:
                return next(iter(self.proposals.values()))
            if not self.proposals:
                raise SettingError(
                    "nothing is proposed, so there is nothing to accept or refuse. To change the "
                    "run by yourself, write: steadytrain remedy RUN order PLAN"
                )
            raise SettingError(
                f"{len(self.proposals)} proposals wait, and no id says which is meant. "
                f"Write one of: {', '.join(self.proposals)}"
            )
        if name in self.proposals:
            return self.proposals[name]
        raise SettingError(f"{name} cannot be accepted or refused: {self._what_became_of(name)}")

    def refuse_impossible(
        self, plan: Iterable[Plan], *, after: int, oldest: int | None = None
    ) -> None:
        """Pass over a plan that the run can carry out.

        Args:
            after: the last update that is made without the plan, if it does not roll back.
            oldest: the step of the oldest state that is kept; None if none is.

        Raises:
            SettingError: it cannot; the message says why, and what to write.
        """
        plan = tuple(plan)
        back = roll_back_step(plan)
        since = after if back is None else back
        for action in plan:
            self._refuse_inability(action)
            match action:
                case RollBack():
                    self.refuse_return(action.to_step, oldest)
                case SkipDraws():
                    self._refuse_draws(action, is_past=back is None)
                case ExcludeRank():
                    self._refuse_rank(action.rank)
                case LeaveHost():
                    self._refuse_rank(action.rank, leaves=True)
                case Cancel():
                    self._refuse_cancelling(action.remedy)
            self._refuse_time(action, since)

    def _give(self, remedy: Remedy) -> None:
        self.remedies[remedy.id] = remedy
        back = roll_back_step(remedy.plan)
        if back is not None:
            # Draws once left out stay out; other settings of an abandoned branch end with it.
            self._actions = [
                (name, action)
                for name, action in self._actions
                if isinstance(action, SkipDraws | Cancel)
                or getattr(action, "from_step", -1) <= back
            ]
        self._actions += [(remedy.id, action) for action in remedy.plan]

    def _withdraw(self, incident: str) -> None:
        for told in (self.proposals, self.suggested):
            for name in [one.id for one in told.values() if one.incident == incident]:
                del told[name]

    def _hear(self, event: PersonSaid) -> None:
        self.said[event.id] = event
        if event.verb == "refuse" and event.remedy is not None:
            self.proposals.pop(event.remedy, None)
        elif event.verb in ("observe", "ask", "act"):
            self.mode = event.verb

    def _what_became_of(self, name: str) -> str:
        if name in self.remedies:
            how = "was carried out" if name in self.done else "is on its way"
            return f"it {how} already. To end what it set, write: order 'cancel {name}'"
        if name in self.suggested:
            return (
                "in the mode 'observe' nobody is waited for. Write: mode ask, or order its plan: "
                f"{write(self.suggested[name].plan)}"
            )
        for one in self.said.values():
            if one.verb == "refuse" and one.remedy == name:
                return f"{one.who} refused it after step {one.step}"
        known = f"Those that wait: {', '.join(self.proposals)}" if self.proposals else "None waits"
        return f"no such proposal waits. {known}; write: steadytrain remedy RUN, to see them"

    def _refuse_inability(self, action: Plan) -> None:
        name = type(action).__name__
        if isinstance(action, AskPerson):
            raise SettingError("you are the person who would be asked. Write what shall be done")
        if isinstance(action, SkipUpdate):
            raise SettingError(
                "an update is held back by the gate in the moment in which it goes wrong; nobody "
                f"can order it. To undo update {action.step}, write: roll back {action.step - 1}"
            )
        can = self.began.can if self.began is not None else None
        needed = ability(action)
        if can is not None and needed not in can:
            wanted = f"{openings([name])[0]} {needed.partition(':')[2]}".strip()
            known = ", ".join(f"'{words}'" for words in openings(can))
            raise SettingError(
                f"this run cannot '{wanted}': its model, optimizer or schedule lacks what that "
                f"needs. Write a plan of: {known}"
            )

    def refuse_return(self, step: int, oldest: int | None) -> None:
        """Pass over a step that the run can return to.

        Raises:
            SettingError: it cannot; the message says why.
        """
        if step >= self.step:
            raise SettingError(
                f"the run has made {self.step} updates, so it cannot return to {step}. "
                f"Write a step before {self.step}"
            )
        if oldest is None or step < oldest:
            kept = "no state is kept" if oldest is None else f"the oldest state is of step {oldest}"
            raise SettingError(
                f"the run cannot return to step {step}: {kept}. "
                "Write a later step; Session(keep=...) decides how far back states reach"
            )

    def _refuse_draws(self, action: SkipDraws, *, is_past: bool) -> None:
        first, end = action.ranges[0][0], action.ranges[-1][1]
        if is_past and end <= self.draw:
            raise SettingError(
                f"draws up to {self.draw - 1} have been used, so to leave out {first} to {end - 1} "
                "changes nothing. Roll back to before them in the same plan: "
                f"roll back STEP; skip draws {first}-{end - 1}"
            )
        steps = self.began.steps if self.began is not None else None
        if self.began is None or steps is None:
            return
        left_out = sum(
            size(one.ranges) for _, one in self._actions if isinstance(one, SkipDraws)
        ) + size(action.ranges)
        sizes = ((0, self.began.draws_per_step), *self.began.ramp)
        ahead = total_before(sizes, steps + 1) - total_before(sizes, self.step + 1)
        last = self.draw + max(0, ahead) + left_out
        if first >= last:
            raise SettingError(
                f"no update of this run will come to draw {first}: the last one ends before draw "
                f"{last}. Write draws before that"
            )

    def _refuse_rank(self, rank: int, *, leaves: bool = False) -> None:
        world = self.began.world if self.began is not None else 1
        found = [one.action for one in self.in_force()]
        out = {rank} | {one.rank for one in found if isinstance(one, ExcludeRank)}
        if rank >= world:
            raise SettingError(f"there is no rank {rank}. Write one from 0 to {world - 1}")
        if len(out) == world and not leaves:
            raise SettingError(
                f"without rank {rank} no rank's gradient would be left. Write another plan"
            )

    def _refuse_cancelling(self, remedy: str) -> None:
        known = list(dict.fromkeys(one.remedy for one in self.in_force()))
        if remedy not in known:
            shown = f"Write one of: {', '.join(known)}" if known else "Nothing is in force"
            raise SettingError(f"nothing that {remedy} set is in force. {shown}")

    def _refuse_time(self, action: Plan, since: int) -> None:
        begins = getattr(action, "from_step", None)
        if begins is None:
            return
        if begins < since:
            raise SettingError(
                f"'from {begins}' lies in the past: the plan can hold after update {since} at the "
                "earliest. Leave 'from' out, or roll back to there in the same plan"
            )
        steps = self.began.steps if self.began is not None else None
        if steps is not None and begins >= steps:
            raise SettingError(
                f"the plan would hold after update {begins}, and the run's last one is {steps}. "
                "Roll back in the same plan"
            )


def look(home: Path) -> Standing:
    """How the run of this home stands by its journal; quick however long the run is.

    Raises:
        JournalError: the home holds no run.
    """
    standing = Standing()
    for path in journal.files(home, "rank0"):
        for lines in journal.whole_lines(path):
            for event in journal.decode_lines(path, _notable(lines)):
                standing.note(event)
    if standing.began is None:
        raise JournalError(
            f"{home} holds no journal of a run, so there is nobody to hear a word. "
            "Give the folder that the run was started with, such as runs/r1."
        )
    return standing


def _notable(lines: list[bytes]) -> list[bytes]:
    """All lines but the steps', of which the last is enough."""
    is_step = [codec.is_of(line, _STEP) for line in lines]
    last = len(lines) - 1 - is_step[::-1].index(True) if True in is_step else -1
    return [line for at, line in enumerate(lines) if at == last or not is_step[at]]


def _until(action: Plan) -> int | None:
    hold = getattr(action, "hold_steps", None)
    if hold is None:
        return None
    begins: int = getattr(action, "from_step", 0)
    relax: int = getattr(action, "rewarm_steps", getattr(action, "relax_steps", 0))
    return begins + int(hold) + relax
