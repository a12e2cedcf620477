"""The run's memory: journal in, judge's state out; what a restart needs to go on as if unbroken."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from steadytrain import codec, journal
from steadytrain.actions import roll_back_step
from steadytrain.errors import CheckpointError
from steadytrain.events import (
    AttemptBegan,
    Event,
    Incident,
    JudgeState,
    JudgingEnded,
    Judgment,
    PanelDrawn,
    PanelRecord,
    PanelWanted,
    PersonSaid,
    Remedy,
    RemedyDone,
    RunBegan,
    RunBranched,
    RunEnded,
    StepRecord,
    TrialWanted,
)
from steadytrain.judge.judge import Conclusion, Judge
from steadytrain.judge.state import Limits, State, freeze, rewind, thaw
from steadytrain.replaying import memory_begins, recall
from steadytrain.standing import Standing
from steadytrain.train.lives import Lives
from steadytrain.train.track import Track
from steadytrain.train.trust import Trust
from steadytrain.wording import sentence

T = TypeVar("T")

Order = Incident | Remedy | PanelWanted | TrialWanted
"""What rank 0 asks all ranks to do before a later update."""


@dataclass(kw_only=True, slots=True)
class History:
    """What a journal says about the lives of a run so far.

    Attributes:
        begun: the run's first line, None for a new home.
        branched: where it came from, None for a run that began by itself.
        attempt: number of the newest life, 0 before the first.
        remedies: all remedies ever given, oldest first.
        done: ids of those carried out.
        abandoned: (attempt, step): states of that attempt or an earlier one, after that step, lie
            on a branch that was given up.
        trial, panel: what was asked for last, on account of an incident.
        planned: looks at the panel that were asked for otherwise and not made yet.
        drawn: the panel in use, and `looks` at it and earlier ones: step -> version.
        limits: what the gate compared with at each step of the present branch.
        track: what each state of the present branch must look like.
        draws: position after each step of the present branch.
        lives: of its processes: which states led to the same death.
        trust: in each checkpoint.
        num_binding: lines that the next life obeys, wherever it begins.
    """

    begun: RunBegan | None = None
    branched: RunBranched | None = None
    attempt: int = 0
    remedies: list[Remedy] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    abandoned: list[tuple[int, int]] = field(default_factory=list)
    trial: TrialWanted | None = None
    panel: PanelWanted | None = None
    planned: list[PanelWanted] = field(default_factory=list)
    drawn: PanelDrawn | None = None
    looks: dict[int, int] = field(default_factory=dict)
    limits: dict[int, Limits] = field(default_factory=dict)
    track: Track = field(default_factory=Track)
    lives: Lives = field(default_factory=Lives)
    trust: Trust = field(default_factory=Trust)
    has_ended: bool = False
    num_binding: int = 0

    def note(self, event: Event) -> None:
        self.track.note(event)
        self.lives.note(event)
        self.trust.note(event)
        self.num_binding += isinstance(event, Incident | Remedy | RemedyDone | PersonSaid)
        match event:
            case RunBegan():
                self.begun = event
            case RunBranched():
                self.branched = event
            case AttemptBegan():
                self.attempt = max(self.attempt, event.attempt)
                self.has_ended = False
            case Remedy():
                self.remedies.append(event)
                self._abandon(event)
            case RemedyDone():
                self.done.add(event.remedy)
                self._abandon(next(one for one in self.remedies if one.id == event.remedy))
            case TrialWanted():
                self.trial = event
            case PanelWanted(incident=None):
                self.planned.append(event)
            case PanelWanted():
                self.panel = event
            case PanelDrawn():
                self.drawn = event
            case PanelRecord():
                self.looks[event.step] = event.version
                self.planned = [one for one in self.planned if one.due - 1 > event.step]
            case StepRecord():
                # An update that was held back is held back again, whatever held it: the fault may
                # have been one of that moment, and the branch went on without the update.
                loss = event.loss_limit if event.committed else -math.inf
                self.limits[event.step] = Limits(loss=loss, grad_norm=event.grad_limit)
            case RunEnded():
                self.has_ended = True

    def _abandon(self, remedy: Remedy) -> None:
        """A rollback gives up what came later, from the moment that it is decided."""
        back = roll_back_step(remedy.plan)
        if back is not None:
            self.abandoned.append((self.attempt, back))
            self.track.abandon(back)
            self.limits = {at: one for at, one in self.limits.items() if at <= back}
            self.looks = {at: one for at, one in self.looks.items() if at <= back}
            self.planned = [one for one in self.planned if one.step <= back]

    def is_on_branch(self, attempt: int, step: int) -> bool:
        """Whether a state saved in `attempt` after `step` belongs to the present branch."""
        return all(attempt > given_up or step <= kept for given_up, kept in self.abandoned)


_WITH_OTHER_RANKS = (
    "; with another number of ranks, write Feed(order, sequences=...), which keeps an update's size"
)


class Memory:
    """Rank 0's journal and judge. Each event is written first and judged after.

    A judge that fails ends judging, loudly, and never training: the one broad `except` of the
    package stands here. Tests switch it off with `fence=False`.

    Args:
        began: the run's first line; written to a new home, compared with that of an old one.
        rebase: why another panel may take the place of the run's; None: it may not.
        say: is told, in one line each, what a person would want to hear.

    Raises:
        CheckpointError: the home holds a run of another model, data or panel.
    """

    def __init__(
        self,
        home: Path,
        judge: Judge,
        began: RunBegan,
        *,
        say: Callable[[str], None],
        fence: bool = True,
        rebase: str | None = None,
    ) -> None:
        self._home = home
        self._judge: Judge | None = judge
        self._fence = fence
        self._say = say
        self._domains = began.domains
        self.history = History()
        self.standing = Standing()
        self.state: State = judge.init()
        self._orders: list[Order] = []
        earlier = journal.load(home, "rank0")
        self._failure: str | None = None
        nothing: list[Judgment] = []
        unsaid = self._fenced(lambda: self._recall(judge, earlier), otherwise=nothing)
        if self.history.begun is not None:
            self._refuse_another_run(self.history.begun, began)
            self._refuse_another_panel(began.panel, rebase)
        self._journal = journal.Journal(home, "rank0")
        for judgment in unsaid:
            self._write(judgment)
        self._own_up()
        if self.history.begun is None:
            self.tell(began)

    @property
    def is_judging(self) -> bool:
        """Whether there is still a judge that concludes from what it is told."""
        return self._judge is not None

    def allows(self, at_or_before: int, attempt: int, step: int) -> bool:
        """Whether a state saved in `attempt` after `step` may be gone back to."""
        case = self.state.case
        if case is not None and case.phase in ("examining", "trying", "treating"):
            # A state saved while something was wrong may be what is wrong.
            at_or_before = min(at_or_before, case.onset - 1)
        is_known = self.history.track.knows(step)
        return is_known and step <= at_or_before and self.history.is_on_branch(attempt, step)

    def tell(self, event: Event) -> tuple[Judgment, ...]:
        """Write a fact or deed, judge it, write what follows from it."""
        self._write(event)
        judgments = self._conclude(event)
        for judgment in judgments:
            self._write(judgment)
            if isinstance(judgment, Order) and _is_asked(judgment):
                self._orders.append(judgment)
        return judgments

    def take_orders(self) -> list[Order]:
        """Orders given since the last call."""
        orders, self._orders = self._orders, []
        return orders

    def limits(self, step: int) -> Limits:
        """The gate's limits at a step: as they were, if the step is repeated."""
        if step in self.history.limits:
            return self.history.limits[step]
        judge = self._judge
        if judge is None:
            return Limits()
        limits = self._fenced(lambda: judge.limits(self.state), otherwise=Limits())
        self._own_up()
        return limits

    def save_state(self) -> None:
        """Write the judge's memory down, so that a restart reads less."""
        if self.is_judging:
            self._write(JudgeState(step=self.state.step, state=freeze(self.state)))

    def adopt(self, state: dict[str, Any]) -> None:
        """Go on with another judge's memory, frozen: that of a replica whose state was taken over.

        The limits on record are those of a way that is left.
        """
        if self._judge is not None:
            self.state = thaw(state)
            self.history.limits = {}
            self._write(JudgeState(step=self.state.step, state=state, adopted=True))

    def go_back(self, step: int) -> None:
        """Forget what came after `step`, to which the run has gone back on a way of its own."""
        if self._judge is not None and step < self.state.step:
            self.adopt(freeze(rewind(self.state, step, self._judge.detector)))

    def pending(self) -> list[Order]:
        """Orders of an earlier life that were never carried out."""
        case = self.state.case
        open_orders: list[Order] = [
            remedy for remedy in self.history.remedies if remedy.id not in self.history.done
        ]
        if case is not None and case.phase == "examining":
            open_orders.append(
                Incident(
                    id=case.id,
                    change="opened",
                    attempt=case.attempt,
                    step=case.opened,
                    onset=case.onset,
                    signals=case.signals,
                    directions=case.directions,
                    score=case.score,
                    examine_at=case.examine_at,
                )
            )
        trial, panel = self.history.trial, self.history.panel
        if case is not None and case.phase == "trying" and trial is not None:
            open_orders.append(trial)
        if case is not None and case.panel_due is not None and panel is not None:
            open_orders.append(panel)
        return open_orders + self.history.planned

    def close(self) -> None:
        self._journal.close()

    def _recall(self, judge: Judge, past: list[Event]) -> list[Judgment]:
        """Judge an old journal again; returns what the last life had no time to write."""
        for event in past:
            self.history.note(event)
            self.standing.note(event)
        begin = memory_begins(past)
        on_record = [codec.encode(one) for one in past[begin:] if isinstance(one, Judgment)]
        concluded: list[Judgment] = []
        for _, judgments, self.state in recall(judge, past, from_saved_state=True):
            concluded += judgments
        # As JSON, since NaN is not equal to itself.
        if [codec.encode(one) for one in concluded[: len(on_record)]] != on_record:
            raise CheckpointError(
                f"the journal of {self._home} holds judgments that this judge does not reach from "
                "the same facts, so the run's memory cannot be trusted. Go on with the recipe and "
                "version that began the run, or choose a new home."
            )
        return concluded[len(on_record) :]

    def _refuse_another_run(self, earlier: RunBegan, began: RunBegan) -> None:
        for what in ("model", "domains", "draws_per_step", "ramp"):
            before, now = getattr(earlier, what), getattr(began, what)
            if before != now:
                raise CheckpointError(
                    f"{self._home} holds a run whose {what} is {before!r}, this run's is {now!r}: "
                    "going on would mix two runs. Choose another home, or run what began there"
                    f"{_WITH_OTHER_RANKS if what in ('draws_per_step', 'ramp') else ''}."
                )

    def _refuse_another_panel(self, panel: str | None, rebase: str | None) -> None:
        begun, drawn = self.history.begun, self.history.drawn
        assert begun is not None
        before = drawn.digest if drawn is not None else begun.panel
        if before != panel and (panel is None or rebase is None):
            raise CheckpointError(
                f"{self._home} holds a run whose panel is {before!r}, this run's is {panel!r}: "
                "their perplexities cannot be compared. Choose another home; or take the run's "
                "own panel, FixedPanel.read of a file in its panels folder; or say why another "
                'takes its place, Panel(fixed, rebase="...").'
            )

    def _conclude(self, event: Event) -> tuple[Judgment, ...]:
        judge = self._judge
        if judge is None:
            return ()
        unchanged: Conclusion = (self.state, ())
        self.state, judgments = self._fenced(
            lambda: judge.update(self.state, event), otherwise=unchanged
        )
        self._own_up()
        return judgments

    def _fenced(self, conclude: Callable[[], T], *, otherwise: T) -> T:
        """What the judge says, or `otherwise` if it fails; that was its last word then."""
        try:
            return conclude()
        except CheckpointError:
            raise
        except Exception as error:
            if not self._fence:
                raise
            self._failure = f"{type(error).__name__}: {error}"
            self._judge = None
            return otherwise

    def _own_up(self) -> None:
        """Put on record that the judge has failed, once."""
        if self._failure is not None:
            reason, self._failure = self._failure, None
            self._write(JudgingEnded(step=self.state.step, reason=reason))

    def _write(self, event: Event) -> None:
        self._journal.append(event)
        self.history.note(event)
        self.standing.note(event)
        words = sentence(event, domains=self._domains)
        if words is not None:
            self._say(words)


def _is_asked(judgment: Order) -> bool:
    return not isinstance(judgment, Incident) or judgment.examine_at is not None
