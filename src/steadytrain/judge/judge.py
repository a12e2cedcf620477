"""The judge: `update(state, event) -> (state, judgments)`. Pure; the same live and over a journal.

It composes its siblings and decides nothing by itself: signals are read from a record, a detector
scores them, alarms make a case; what becomes of the case is `treatment.py`'s.

After a restart the run repeats steps that were judged already; they are compared with what was seen
(the same state and data must give the same loss) and not judged again.
"""

import math

import msgspec

from steadytrain.events import (
    Advice,
    Alarm,
    AttemptBegan,
    BatchExamined,
    CheckpointFailed,
    CheckpointSaved,
    Event,
    Judgment,
    OptimizerSettings,
    PanelDrawn,
    PanelRecord,
    PersonSaid,
    RemedyDone,
    ReplicasCompared,
    RestoreVerified,
    RunBegan,
    RunBranched,
    StepRecord,
    TrialDone,
)
from steadytrain.judge import replicas
from steadytrain.judge.clocks import Clocks
from steadytrain.judge.detectors import Score
from steadytrain.judge.durability import account, begin_life, watch
from steadytrain.judge.incidents import (
    alarm_of,
    alarms_of,
    announce,
    changed_settings,
    domains_advice,
    grow_case,
    mixture_advice,
    open_case,
    opens_case,
    rate_alarms,
    repeat_alarms,
    settings_alarms,
    text_alarms,
)
from steadytrain.judge.outlook import Outlook
from steadytrain.judge.requests import why_not
from steadytrain.judge.restored import restore_advice
from steadytrain.judge.seen import (
    MIXTURE_AFTER,
    mixture_of,
    remember,
)
from steadytrain.judge.state import (
    LAG,
    Case,
    Limits,
    State,
    amend,
    amend_case,
    rewind,
)
from steadytrain.judge.treatment import Treatment
from steadytrain.judge.votes import foretell, vote
from steadytrain.signals import Observation, observe

NEARLY_RTOL = 0.01
"""Of a repeated step's loss, after a change of the number of ranks or on a GPU: the same sums in
another order differ by 1e-7, and updates that build on them drift apart. Source: 100 M parameters
on an H200: 1e-6 after one update, 1e-5 after 40, 1e-4 after 64, 1e-3 after 120 (LOG.md
2026-11-28)."""

RECENT = 64
"""Steps remembered one by one: more than any onset or evidence reaches back. [steps]"""

Conclusion = tuple[State, tuple[Judgment, ...]]


class Judge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the judge. All memory is in `State`.

    Attributes:
        treatment: what becomes of a case. outlook: how the panel is followed.
        gate_sigmas, gate_loss, gate_grad: an update is held back when its loss is beyond
            max(gate_sigmas * sigma, gate_loss * level) or its gradient norm beyond
            max(gate_sigmas * sigma, gate_grad) above the forecast.
        gate_patience: so many updates held back in a row and the gate opens: a fixed limit once
            starved a run of 393 of 394 steps (wandb/senpai #3294).
        stalled_factor, stalled_steps: throughput below 1 / factor of its forecast for so long.

    Source: gate_sigmas 12: twice the alarm; the other constants are guesses, LOG.md 2026-11-24.
    """

    detector: Clocks = Clocks(steps_per_false_alarm=100_000.0)
    treatment: Treatment = Treatment()
    outlook: Outlook = Outlook()
    gate_sigmas: float = 12.0
    gate_loss: float = 0.1
    gate_grad: float = math.log(8.0)
    gate_patience: int = 8
    stalled_factor: float = 3.0
    stalled_steps: int = 5

    def init(self) -> State:
        return State()

    def update(self, state: State, event: Event) -> Conclusion:
        """What follows from one more fact or deed. Judgments in the order of their reasons."""
        match event:
            case RunBegan():
                return self._begin(state, event)
            case AttemptBegan():
                is_restart = event.cause != "rollback"
                world = event.world if is_restart else state.world
                kept = begin_life(state.durability, event.step, is_restart=is_restart)
                return amend(
                    state, attempt=event.attempt, durability=kept,
                    world=world,  # with another one, a rank's number is another machine's
                    named=state.named if world == state.world else (),
                    repeat_rtol=self._repeat_rtol(state, event),
                ), ()  # fmt: skip
            case CheckpointSaved() | CheckpointFailed():
                kept, told = account(state.durability, event)
                return amend(state, durability=kept), told
            case StepRecord():
                return self._step(state, event)
            case ReplicasCompared():
                state, unlike = replicas.compare(state, event, self.detector)
                if unlike is None:
                    return state, ()
                return self.treatment.differ(state, unlike, replicas.alarms_of(event, unlike))
            case OptimizerSettings():
                return self._compare_settings(state, event)
            case BatchExamined():
                return self._examine(state, event)
            case TrialDone():
                return self.treatment.try_out(state, event)
            case RemedyDone():
                state = self.treatment.done(state, event, self.detector)
                looks = self.outlook.happen(state.looks, "remedy", state.step)
                return self._label(amend(state, looks=looks)), ()
            case PanelDrawn():
                return amend(state, looks=self.outlook.redraw(state.looks, event)), ()
            case PanelRecord():
                return self._look(state, event)
            case PersonSaid():
                return self._hear(state, event)
            case RestoreVerified():
                if event.taken:  # not as on record: what came of it shows in the panel
                    looks = self.outlook.happen(state.looks, "restored", state.step)
                    state = amend(state, looks=looks)
                return state, restore_advice(event)
            case RunBranched():
                at = event.step
                looks = self.outlook.branch(state.looks)
                return amend(state, begin=at, step=at, healthy_until=at, looks=looks), ()
            case _:
                return state, ()

    def limits(self, state: State) -> Limits:
        """Limits for the gate at step `state.step + 1`; none for a run that is only observed. What
        is not finite is held back in every mode."""
        if (state.mode or self.treatment.mode) == "observe":
            return Limits()
        held = 0
        for seen in reversed(state.recent):
            if seen.committed:
                break
            held += 1
        if held >= self.gate_patience:
            return Limits()
        return Limits(
            loss=self._limit(state, "loss", 0.0, self.gate_loss),
            grad_norm=_exp(self._limit(state, "grad norm", self.gate_grad, 0.0)),
        )

    def _begin(self, state: State, event: RunBegan) -> Conclusion:
        begun = amend(
            state,
            domains=event.domains,
            layers=event.layers,
            sizes=((0, event.draws_per_step), *event.ramp),
            steps=event.steps,
            can=event.can,
            looks=self.outlook.begin(state.looks, event),
        )
        told = replicas.advice(event)
        if len(event.domains) > 1 or "domains" in state.advised:
            return begun, told
        return amend(begun, advised=(*state.advised, "domains")), (domains_advice(), *told)

    def _compare_settings(self, state: State, event: OptimizerSettings) -> Conclusion:
        """A setting of the optimizer that changed by itself is an incident before any curve moves:
        a restore with the wrong betas or epsilon shows in no loss for hundreds of steps."""
        known = state.optimizer
        changed = changed_settings(known, event.settings)
        if not changed:
            return amend(state, optimizer=known or event.settings, changed_settings={}), ()
        alarms = settings_alarms(event, changed)
        state = amend(state, changed_settings=changed)
        if state.case is not None:
            case = grow_case(state.case, alarms, None)
            return amend(state, case=case), alarms
        number = state.num_incidents + 1
        case, incident = open_case(
            number, alarms, onset=event.step, examine_at=event.step + LAG, loss=None
        )
        return amend(state, case=case, num_incidents=number), (*alarms, incident)

    def _step(self, state: State, record: StepRecord) -> Conclusion:
        if record.step <= state.step:
            return self._repeat(state, record)
        observations = foretell(
            observe(record, state.domains, state.layers), state.windows, self.detector, record.step
        )
        scores = tuple(self._score(state, record.step, seen) for seen in observations)
        voted = vote(observations, scores, state.windows)
        strange = (
            *rate_alarms(record),
            *text_alarms(record, state.domains, state.recent),
            *repeat_alarms(record, state.recent),
        )
        alarms = (*alarms_of(record, observations, voted), *strange)
        opens = bool(strange) or opens_case(observations, voted)
        learns = record.committed and _is_calm(state.case, opens=opens)
        settle = self.detector.learn if learns else self.detector.note
        windows = dict(state.windows)
        for seen, score in zip(observations, scores, strict=True):
            window = windows.get(seen.name) or self.detector.init(seen)
            windows[seen.name] = settle(window, record.step, seen, score=score)
        state = amend(
            state,
            step=record.step,
            windows=windows,
            recent=(*state.recent, remember(record, in_band=not opens))[-RECENT:],
        )
        state, told = self._speed(state, record, observations, scores)
        state, judgments = self._case(state, record, alarms if opens else ())
        state, moved = self._note_mixture(state)
        looks, wanted = self.outlook.step(
            state.looks, record, state.domains, begin=state.begin, last=state.steps
        )
        kept, late = watch(state.durability, record.step)
        state = self._label(amend(state, looks=looks, durability=kept))
        return state, (*told, *judgments, *moved, *late, *wanted)

    def _look(self, state: State, record: PanelRecord) -> Conclusion:
        """What the panel says of the case, and of the run."""
        looks, told = self.outlook.look(
            state.looks, record, state.domains, is_treated=state.is_treated
        )
        state, judgments = self.treatment.look(amend(state, looks=looks), record)
        return state, (*told, *judgments)

    def _note_mixture(self, state: State) -> Conclusion:
        """Say once that the shares of the domains moved: no incident, but a reason for much."""
        if state.step < state.mixture_told + RECENT or len(state.recent) < RECENT:
            return state, ()
        before, after = list(state.recent[:-MIXTURE_AFTER]), list(state.recent[-MIXTURE_AFTER:])
        moved = mixture_of(state.domains, before, after, sizes=state.sizes)
        if moved is None:
            return state, ()
        return amend(state, mixture_told=state.step), (mixture_advice(moved, state.step),)

    def _case(self, state: State, record: StepRecord, alarms: tuple[Alarm, ...]) -> Conclusion:
        """Open a case, or follow the open one, in the light of one more step."""
        if state.case is not None:
            return self.treatment.follow(state, record, alarms)
        return self.treatment.open(state, record, alarms) if alarms else (state, ())

    def _examine(self, state: State, event: BatchExamined) -> Conclusion:
        if state.case is None or state.case.id != event.incident:
            return state, ()
        if state.case.phase != "examining":
            return state, ()
        state = amend_case(state, state.case, unlike=replicas.examined(state, event))
        return self.treatment.conclude(state, event)

    def _hear(self, state: State, said: PersonSaid) -> Conclusion:
        """A person's word. What cannot be done is answered, and changes nothing."""
        open_one = state.proposed
        match said.verb:
            case "observe" | "ask" | "act":
                state = amend(state, mode=said.verb)
                if said.verb == "act" and open_one is not None:
                    return self.treatment.accept(state)
                return state, ()
            case "accept" | "refuse" if open_one is None or said.remedy not in (None, open_one.id):
                name = said.remedy or "a plan"
                return state, (_answer(f"{said.who} would {said.verb} {name}: not proposed now"),)
            case "accept":
                return self.treatment.accept(state)
            case "refuse":
                return self.treatment.refuse(state)
            case "order":
                reason = why_not(state, said.plan)
                if reason is not None:
                    return state, (_answer(f"{said.who}'s order is not carried out: {reason}"),)
                return self.treatment.order(state, said.plan, said.who, said.words)

    def _repeat_rtol(self, state: State, event: AttemptBegan) -> float:
        """Other ranks, and a GPU's kernels, add the same numbers up in another order, and steps
        build on that."""
        if event.cause == "rollback":
            return state.repeat_rtol
        return 0.0 if event.exact and event.world == state.world else NEARLY_RTOL

    def _repeat(self, state: State, record: StepRecord) -> Conclusion:
        before = next((seen for seen in state.recent if seen.step == record.step), None)
        if before is None or _same(before.loss, record.loss, rtol=state.repeat_rtol):
            return state, ()
        advice = Advice(
            topic="not reproducible",
            text=f"Step {record.step} had loss {before.loss!r}; repeated from the same state and "
            f"data it has {record.loss!r}. Hardware, a nondeterministic kernel or an incomplete "
            "restore; what follows is judged afresh.",
        )
        state = rewind(state, record.step - 1, self.detector)
        told: tuple[Judgment, ...] = (advice,)
        case = state.case
        if case is not None and case.phase in ("treating", "verifying"):
            # Its remedy holds or is on its way: it is judged on what comes after it, counted anew.
            state = amend_case(state, case, good_steps=0, good_sum=0.0, panel_due=None)
        elif case is not None and case.opened >= record.step:
            closed = announce(
                case, "closed", record.attempt, record.step, reason="it did not come back"
            )
            state = amend(
                state, case=None, examined=None, plan_rolls_back=None, proposed=None, candidates=()
            )
            told = (advice, closed)
        state, judgments = self._step(state, record)
        return state, (*told, *judgments)

    def _speed(
        self,
        state: State,
        record: StepRecord,
        observations: tuple[Observation, ...],
        scores: tuple[Score, ...],
    ) -> Conclusion:
        for seen, score in zip(observations, scores, strict=True):
            if seen.name != "tokens/s":
                continue
            is_slow = score.alarms and seen.value < score.expected - math.log(self.stalled_factor)
            slow = state.slow_steps + 1 if is_slow else 0
            state = amend(state, slow_steps=slow)
            if slow == self.stalled_steps:
                return state, (alarm_of(record, seen, score, "stalled"),)
        return state, ()

    def _score(self, state: State, step: int, seen: Observation) -> Score:
        window = state.windows.get(seen.name) or self.detector.init(seen)
        return self.detector.score(window, step, seen)

    def _limit(self, state: State, name: str, absolute: float, relative: float) -> float | None:
        window = state.windows.get(name)
        forecast = self.detector.forecast(window, state.step + 1) if window is not None else None
        if forecast is None:
            return None
        expected, sigma = forecast
        return expected + max(self.gate_sigmas * sigma, absolute, relative * abs(expected))

    def _label(self, state: State) -> State:
        """Move the mark up to which the run is known to be healthy."""
        if state.case is None:
            good = state.step - self.treatment.verification.good_steps
            if state.agreed is not None and state.compared_in == state.attempt:
                good = min(good, state.agreed)
            return amend(state, healthy_until=max(state.healthy_until, good))
        before = max(0, state.case.onset - 1 - self.treatment.ladder.doses.margin)
        return amend(state, healthy_until=min(state.healthy_until, before))


def _is_calm(case: Case | None, *, opens: bool) -> bool:
    """Whether a step may be learned from: not while something is examined, treated or verified and
    looks wrong. While one only watches or waits, what lasts must be able to become normal."""
    if case is None or case.phase == "verifying":
        return not opens
    return case.phase in ("watching", "waiting")


def _same(one: float, other: float, *, rtol: float) -> bool:
    return math.isclose(one, other, rel_tol=rtol) or (math.isnan(one) and math.isnan(other))


def _exp(value: float | None) -> float | None:
    return None if value is None else math.exp(min(value, 700.0))


def _answer(text: str) -> Advice:
    return Advice(topic="order", text=text)
