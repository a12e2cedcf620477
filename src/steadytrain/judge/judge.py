"""The judge: `update(state, event) -> (state, judgments)`. Pure; the same live and over a journal.

It composes its siblings and decides nothing by itself: signals are read from a record, a detector
scores them, alarms make a case, evidence makes a diagnosis, a diagnosis makes a remedy, and the
steps after it make an outcome.

Two rules keep memory honest. A baseline belongs to a trajectory: when a remedy rolls the model
back, the windows forget what came later. A case belongs to the run: it never rolls back, or the
ladder would loop for ever. After a restart the run repeats steps that were judged already; they are
compared with what was seen (the same state and data must give the same loss) and not judged again.
"""

import math
from typing import Any

import msgspec

from steadytrain.actions import AskPerson, RollBack
from steadytrain.events import (
    Advice,
    Alarm,
    AttemptBegan,
    BatchExamined,
    Diagnosis,
    Event,
    Judgment,
    OptimizerSettings,
    Outcome,
    Remedy,
    RemedyDone,
    RunBegan,
    StepRecord,
)
from steadytrain.judge import damage
from steadytrain.judge.clocks import Clocks
from steadytrain.judge.detectors import Score, Window
from steadytrain.judge.diagnosis import diagnose
from steadytrain.judge.evidence import Evidence
from steadytrain.judge.incidents import (
    Case,
    alarm_of,
    alarms_of,
    announce,
    changed_settings,
    find_onset,
    grow_case,
    mixture_advice,
    open_case,
    opens_case,
    rate_alarms,
    repeat_alarms,
    settings_alarms,
    tells_more,
    text_alarms,
)
from steadytrain.judge.ladder import Ladder, Place
from steadytrain.judge.outcome import Verification
from steadytrain.judge.seen import (
    MIXTURE_AFTER,
    Seen,
    corrupt_rate,
    farness,
    layer_ratios,
    lr_jump,
    mixture_of,
    remember,
    repeated_rate,
)
from steadytrain.judge.votes import foretell, vote
from steadytrain.ranges import Ranges, overlaps
from steadytrain.signals import Observation, observe

RECENT = 64
"""Steps remembered one by one: more than any onset or evidence reaches back. [steps]"""

LAG = 2
"""A record of step k is read while step k + 1 runs, and all ranks hear of it before k + 2."""


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """One remedy of the run's history."""

    incident: str
    remedy: str
    cause: str
    rung: int
    onset: int
    result: str


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate compares with; None lets everything finite pass."""

    loss: float | None = None
    grad_norm: float | None = None


class State(msgspec.Struct, frozen=True, kw_only=True):
    """All that the judge remembers; plain data that a journal can hold.

    Attributes:
        step: last step judged on the present trajectory. Earlier ones are repeats.
        healthy_until: checkpoints up to this step are known to be good.
        mixture_told: step at which a change of the mixture was said last.
        optimizer: settings that the run began with.
        changed_settings: name -> (what it was, what it became) in the open case.
        plan_rolls_back: for the remedy under way, the step to return to.
    """

    domains: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    draws_per_step: int = 1
    attempt: int = 0
    step: int = 0
    windows: dict[str, Window] = {}
    recent: tuple[Seen, ...] = ()
    case: Case | None = None
    examined: BatchExamined | None = None
    history: tuple[Tried, ...] = ()
    num_incidents: int = 0
    num_remedies: int = 0
    num_rollbacks: int = 0
    slow_steps: int = 0
    mixture_told: int = 0
    optimizer: dict[str, float] = {}
    changed_settings: dict[str, tuple[float, float]] = {}
    healthy_until: int = 0
    plan_rolls_back: int | None = None
    advised: tuple[str, ...] = ()


Conclusion = tuple[State, tuple[Judgment, ...]]


class Judge(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the judge. All memory is in `State`.

    Attributes:
        reach, near: an onset is looked for `reach` steps back, among points beyond `near` sigmas.
        gate_sigmas, gate_loss, gate_grad: an update is held back when its loss is beyond
            max(gate_sigmas * sigma, gate_loss * level) or its gradient norm beyond
            max(gate_sigmas * sigma, gate_grad) above the forecast.
        gate_patience: so many updates held back in a row and the gate opens: a fixed limit once
            starved a run of 393 of 394 steps (wandb/senpai #3294).
        stalled_factor, stalled_steps: throughput below 1 / factor of its forecast for so long.
        examine_patience: without evidence after so many steps, the diagnosis does without.
        relapse: an incident that begins so soon after the last one's place continues its ladder.

    Source: gate_sigmas 12: twice the alarm; the other constants are guesses, LOG.md 2026-11-24.
    """

    detector: Clocks = Clocks(steps_per_false_alarm=100_000.0)
    ladder: Ladder = Ladder()
    verification: Verification = Verification()
    near: float = 3.0
    reach: int = 8
    gate_sigmas: float = 12.0
    gate_loss: float = 0.1
    gate_grad: float = math.log(8.0)
    gate_patience: int = 8
    stalled_factor: float = 3.0
    stalled_steps: int = 5
    examine_patience: int = 8
    relapse: int = 8

    def init(self) -> State:
        return State()

    def update(self, state: State, event: Event) -> Conclusion:
        """What follows from one more fact or deed. Judgments in the order of their reasons."""
        match event:
            case RunBegan():
                return self._begin(state, event)
            case AttemptBegan():
                return _with(state, attempt=event.attempt), ()
            case StepRecord():
                return self._step(state, event)
            case OptimizerSettings():
                return self._compare_settings(state, event)
            case BatchExamined():
                return self._examine(state, event)
            case RemedyDone():
                return self._done(state, event), ()
            case _:
                return state, ()

    def limits(self, state: State) -> Limits:
        """Limits for the gate at step `state.step + 1`."""
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
        begun = _with(
            state,
            domains=event.domains,
            layers=event.layers,
            draws_per_step=event.draws_per_step,
        )
        if len(event.domains) > 1 or "domains" in state.advised:
            return begun, ()
        advice = Advice(
            topic="domains",
            text="This run has one undivided loss, so it can be seen that something goes wrong but "
            "not where. Give each sequence a domain (zh, en, code) to see which one it is.",
        )
        return _with(begun, advised=(*state.advised, "domains")), (advice,)

    def _compare_settings(self, state: State, event: OptimizerSettings) -> Conclusion:
        """A setting of the optimizer that changed by itself is an incident before any curve moves:
        a restore with the wrong betas or epsilon shows in no loss for hundreds of steps."""
        known = state.optimizer
        changed = changed_settings(known, event.settings)
        if not changed:
            return _with(state, optimizer=known or event.settings, changed_settings={}), ()
        alarms = settings_alarms(event, changed)
        state = _with(state, changed_settings=changed)
        if state.case is not None:
            case = grow_case(state.case, alarms, None)
            return _with(state, case=case), alarms
        number = state.num_incidents + 1
        case, incident = open_case(
            number, alarms, onset=event.step, examine_at=event.step + LAG, loss=None
        )
        return _with(state, case=case, num_incidents=number), (*alarms, incident)

    def _step(self, state: State, record: StepRecord) -> Conclusion:
        if record.step <= state.step:
            return self._repeat(state, record)
        observations = foretell(
            observe(record, state.domains, state.layers), state.windows, self.detector, record.step
        )
        scores = tuple(self._score(state, record.step, seen) for seen in observations)
        voted = vote(observations, scores, state.windows)
        rates = [corrupt_rate(state.recent, at) for at in range(len(record.corrupt))]
        strange = (
            *rate_alarms(record),
            *text_alarms(record, state.domains, rates),
            *repeat_alarms(record, repeated_rate(state.recent)),
        )
        alarms = (*alarms_of(record, observations, voted), *strange)
        opens = bool(strange) or opens_case(observations, voted)
        learns = record.committed and _is_calm(state.case, opens=opens)
        settle = self.detector.learn if learns else self.detector.note
        windows = dict(state.windows)
        for seen, score in zip(observations, scores, strict=True):
            window = windows.get(seen.name) or self.detector.init(seen)
            windows[seen.name] = settle(window, record.step, seen, score=score)
        state = _with(
            state,
            step=record.step,
            windows=windows,
            recent=(*state.recent, remember(record, in_band=not opens))[-RECENT:],
        )
        state, told = self._speed(state, record, observations, scores)
        state, judgments = self._case(state, record, alarms if opens else ())
        state, moved = self._note_mixture(state)
        return self._label(state), (*told, *judgments, *moved)

    def _note_mixture(self, state: State) -> Conclusion:
        """Say once that the shares of the domains moved: no incident, but a reason for much."""
        if state.step < state.mixture_told + RECENT or len(state.recent) < RECENT:
            return state, ()
        before, after = list(state.recent[:-MIXTURE_AFTER]), list(state.recent[-MIXTURE_AFTER:])
        moved = mixture_of(state.domains, before, after, draws_per_step=state.draws_per_step)
        if moved is None:
            return state, ()
        return _with(state, mixture_told=state.step), (mixture_advice(moved, state.step),)

    def _case(self, state: State, record: StepRecord, alarms: tuple[Alarm, ...]) -> Conclusion:
        """Open, grow, verify or close the case in the light of one more step."""
        case = state.case
        loss = record.loss if math.isfinite(record.loss) else None
        if case is None:
            return self._open(state, record, alarms, loss) if alarms else (state, ())
        if case.phase in ("examining", "treating"):
            fresh = tuple(alarm for alarm in alarms if alarm.signal not in case.signals)
            if alarms:
                case = grow_case(case, alarms, loss)
                state = _with(state, case=case)
            if case.phase == "examining" and record.step >= case.examine_at + self.examine_patience:
                return self._conclude(state, None)
            return state, fresh
        if case.phase == "waiting":
            return self._wait(state, case, alarms, record)
        return self._verify(state, case, alarms, record, loss)

    def _open(
        self, state: State, record: StepRecord, alarms: tuple[Alarm, ...], loss: float | None
    ) -> Conclusion:
        number = state.num_incidents + 1
        case, incident = open_case(
            number,
            alarms,
            onset=self._onset(state, record.step, alarms),
            examine_at=record.step + LAG,
            loss=loss,
        )
        return _with(state, case=case, num_incidents=number), (*alarms, incident)

    def _verify(
        self,
        state: State,
        case: Case,
        alarms: tuple[Alarm, ...],
        record: StepRecord,
        loss: float | None,
    ) -> Conclusion:
        if case.phase == "watching" and alarms and not tells_more(alarms):
            # Looked at already, and no loss is up: it will calm down or become the baseline.
            return _with(state, case=msgspec.structs.replace(case, good_steps=0)), ()
        good = case.good_steps + (record.committed and not alarms)
        result = self.verification.read(
            good_steps=good, alarmed=bool(alarms), loss=loss, peak=case.peak
        )
        if result is None:
            return _with(state, case=msgspec.structs.replace(case, good_steps=good)), ()
        outcome = None
        if case.remedy is not None:
            outcome = Outcome(
                incident=case.id,
                remedy=case.remedy,
                step=record.step,
                result=result,
                steps=good,
                why=_outcome_words(result, good, alarms),
            )
            state = _with(state, history=_settle(state.history, case.remedy, result))
        told: tuple[Judgment, ...] = () if outcome is None else (outcome,)
        if result == "cured":
            reason = result if outcome else "it went away by itself"
            closed = announce(case, "closed", record.attempt, record.step, reason=reason)
            return _with(state, case=None, examined=None), (*told, closed)
        # The evidence is asked for afresh: what goes wrong now may be something else.
        again = msgspec.structs.replace(
            grow_case(case, alarms, loss),
            phase="examining",
            onset=self._onset(state, record.step, alarms),
            opened=record.step,
            examine_at=record.step + LAG,
            good_steps=0,
        )
        grew = msgspec.structs.replace(
            announce(again, "grew", record.attempt, record.step), examine_at=again.examine_at
        )
        return _with(state, case=again), (*told, *alarms, grew)

    def _wait(
        self, state: State, case: Case, alarms: tuple[Alarm, ...], record: StepRecord
    ) -> Conclusion:
        good = 0 if alarms else case.good_steps + record.committed
        if good < self.verification.good_steps:
            return _with(state, case=msgspec.structs.replace(case, good_steps=good)), ()
        closed = announce(
            case,
            "closed",
            record.attempt,
            record.step,
            reason="it went away while a person was asked",
        )
        return _with(state, case=None, examined=None), (closed,)

    def _examine(self, state: State, event: BatchExamined) -> Conclusion:
        if state.case is None or state.case.id != event.incident:
            return state, ()
        if state.case.phase != "examining":
            return state, ()
        return self._conclude(state, event)

    def _conclude(self, state: State, examined: BatchExamined | None) -> Conclusion:
        """Diagnosis and remedy from all the evidence there will be."""
        case = state.case
        assert case is not None
        around = [seen for seen in state.recent if seen.step >= case.onset - 2]
        ratios = [(seen.lr_ratio, seen.step) for seen in around if seen.lr_ratio is not None]
        ratio, ratio_step = max(ratios, key=lambda one: farness(one[0]), default=(None, None))
        settled = [seen for seen in state.recent if seen.step < case.onset]
        recovered = bool(state.recent) and all(seen.in_band for seen in state.recent[-1:])
        evidence = Evidence(
            onset=case.onset,
            step=state.step,
            directions=case.directions,
            signals=case.signals,
            domains=state.domains,
            lr_ratio=ratio,
            lr_step=ratio_step,
            has_recovered=recovered,
            landed=_landed(state, case.onset),
            loss_is_finite=all(math.isfinite(seen.loss) for seen in around),
            examined=examined,
            lr_jump=lr_jump(around),
            changed_settings=state.changed_settings,
            layer_ratios=layer_ratios(state.layers, settled, around[2:]),
            mixture=mixture_of(
                state.domains, settled, around[2:], draws_per_step=state.draws_per_step
            ),
        )
        causes = diagnose(evidence, damage.ask(evidence))
        diagnosis = Diagnosis(incident=case.id, step=state.step, causes=causes)
        cause = causes[0].name
        place = self._place(state, case, cause, examined, recovered=recovered)
        plan, why = self.ladder.choose(place)
        case = msgspec.structs.replace(case, cause=cause, rung=place.rung)
        if not plan:
            watching = msgspec.structs.replace(case, phase="watching", remedy=None, good_steps=0)
            return _with(state, case=watching, examined=examined), (diagnosis,)
        number = state.num_remedies + 1
        remedy = Remedy(
            id=f"remedy-{number}",
            incident=case.id,
            step=state.step,
            due=place.due,
            rung=place.rung,
            cause=cause,
            plan=plan,
            why=why,
        )
        tried = Tried(
            incident=case.id,
            remedy=remedy.id,
            cause=cause,
            rung=place.rung,
            onset=case.onset,
            result="pending",
        )
        rolls_back = [action.to_step for action in plan if isinstance(action, RollBack)]
        asks = any(isinstance(action, AskPerson) for action in plan)
        case = msgspec.structs.replace(
            case, phase="waiting" if asks else "treating", remedy=remedy.id, good_steps=0
        )
        state = _with(
            state,
            case=case,
            examined=examined,
            num_remedies=number,
            history=(*state.history, tried),
            plan_rolls_back=rolls_back[0] if rolls_back else None,
        )
        return state, (diagnosis, remedy)

    def _place(
        self,
        state: State,
        case: Case,
        cause: str,
        examined: BatchExamined | None,
        *,
        recovered: bool,
    ) -> Place:
        flagged: Ranges = examined.flagged if examined else ()
        landed = [seen for seen in state.recent if seen.committed]
        hit = [seen.step for seen in landed if overlaps(flagged, seen.draw, seen.draw_end)]
        affected = [seen for seen in state.recent if seen.step >= case.onset]
        window: Ranges = ()
        if affected:
            # The steps that run while the remedy is on its way are affected as well.
            ahead = LAG * state.draws_per_step
            window = ((affected[0].draw, affected[-1].draw_end + ahead),)
        tried = [one for one in state.history if one.cause == cause and self._is_here(one, case)]
        return Place(
            cause=cause,
            rung=len(tried),
            onset=case.onset,
            due=state.step + LAG,
            first_flagged=hit[0] if hit else None,
            flagged=flagged,
            window=window,
            landed=_landed(state, case.onset),
            recovered=recovered,
            is_felt=any(not name.startswith(("text:", "repeats")) for name in case.signals),
            is_harmed=any(name.startswith("loss") for name in case.signals)
            and "rise" in case.directions,
            rollbacks=state.num_rollbacks,
        )

    def _is_here(self, tried: Tried, case: Case) -> bool:
        return tried.incident == case.id or abs(tried.onset - case.onset) <= self.relapse

    def _done(self, state: State, deed: RemedyDone) -> State:
        case = state.case
        if case is None or case.remedy != deed.remedy:
            return state
        if case.phase == "treating":
            case = msgspec.structs.replace(
                case, phase="verifying", healed_after=deed.step, good_steps=0
            )
        state = _with(state, case=case)
        back = state.plan_rolls_back
        if back is None:
            return state
        return self._label(
            _with(
                _rewind(state, back, self.detector),
                num_rollbacks=state.num_rollbacks + 1,
                plan_rolls_back=None,
            )
        )

    def _repeat(self, state: State, record: StepRecord) -> Conclusion:
        before = next((seen for seen in state.recent if seen.step == record.step), None)
        if before is None or _same(before.loss, record.loss):
            return state, ()
        advice = Advice(
            topic="not reproducible",
            text=f"Step {record.step} had loss {before.loss!r}; repeated from the same state and "
            f"data it has {record.loss!r}. Hardware, a nondeterministic kernel or an incomplete "
            "restore; what follows is judged afresh.",
        )
        state = _rewind(state, record.step - 1, self.detector)
        told: tuple[Judgment, ...] = (advice,)
        if state.case is not None and state.case.opened >= record.step:
            closed = announce(
                state.case, "closed", record.attempt, record.step, reason="it did not come back"
            )
            state = _with(state, case=None, examined=None, plan_rolls_back=None)
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
            state = _with(state, slow_steps=slow)
            if slow == self.stalled_steps:
                return state, (alarm_of(record, seen, score, "stalled"),)
        return state, ()

    def _score(self, state: State, step: int, seen: Observation) -> Score:
        window = state.windows.get(seen.name) or self.detector.init(seen)
        return self.detector.score(window, step, seen)

    def _onset(self, state: State, step: int, alarms: tuple[Alarm, ...]) -> int:
        windows = [state.windows[one.signal] for one in alarms if one.signal in state.windows]
        histories = tuple((one.recent_steps, one.recent_distances) for one in windows)
        return find_onset(histories, step, near=self.near, reach=self.reach)

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
            good = state.step - self.verification.good_steps
            return _with(state, healthy_until=max(state.healthy_until, good))
        before = max(0, state.case.onset - 1 - self.ladder.margin)
        return _with(state, healthy_until=min(state.healthy_until, before))


def freeze(state: State) -> dict[str, Any]:
    """The state as plain data for a `JudgeState` line."""
    plain: dict[str, Any] = msgspec.to_builtins(state)
    return plain


def thaw(plain: dict[str, Any]) -> State:
    """The state from a `JudgeState` line."""
    return msgspec.convert(plain, State)


def _with(state: State, **changes: Any) -> State:
    return msgspec.structs.replace(state, **changes)


def _rewind(state: State, step: int, detector: Clocks) -> State:
    return _with(
        state,
        step=min(state.step, step),
        windows={
            name: detector.forget_after(window, step) for name, window in state.windows.items()
        },
        recent=tuple(seen for seen in state.recent if seen.step <= step),
        slow_steps=0,
        healthy_until=min(state.healthy_until, step),
    )


def _is_calm(case: Case | None, *, opens: bool) -> bool:
    """Whether a step may be learned from: not while something is examined, treated or verified and
    looks wrong. While one only watches or waits, what lasts must be able to become normal."""
    if case is None or case.phase == "verifying":
        return not opens
    return case.phase in ("watching", "waiting")


def _landed(state: State, onset: int) -> bool:
    """Whether an update that looks affected changed the weights."""
    affected = (seen for seen in state.recent if seen.step >= onset)
    return any(seen.committed and not seen.in_band for seen in affected)


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _settle(history: tuple[Tried, ...], remedy: str, result: str) -> tuple[Tried, ...]:
    return tuple(
        msgspec.structs.replace(one, result=result) if one.remedy == remedy else one
        for one in history
    )


def _outcome_words(result: str, good: int, alarms: tuple[Alarm, ...]) -> str:
    if result == "cured":
        return f"{good} committed steps after it with every signal in its band"
    names = ", ".join(f"{alarm.signal} {alarm.direction}" for alarm in alarms)
    return f"after {good} good steps again: {names}"


def _exp(value: float | None) -> float | None:
    return None if value is None else math.exp(min(value, 700.0))
