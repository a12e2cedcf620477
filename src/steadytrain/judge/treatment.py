"""What becomes of a case: evidence, diagnosis, remedy or proposal, outcome, the next rung."""

import msgspec

from steadytrain.actions import AskPerson, LeaveHost, Plan, SkipUpdate, begun_now, roll_back_step
from steadytrain.events import (
    Alarm,
    BatchExamined,
    Diagnosis,
    Judgment,
    PanelRecord,
    PanelWanted,
    Proposal,
    RemedyDone,
    StepRecord,
    TrialDone,
)
from steadytrain.judge import damage
from steadytrain.judge.detectors import Detector
from steadytrain.judge.diagnosis import diagnose
from steadytrain.judge.evidence import Unlike
from steadytrain.judge.incidents import (
    announce,
    find_onset,
    grow_case,
    open_case,
    ordered_case,
    panel_alarms,
    tells_more,
)
from steadytrain.judge.ladder import Ladder
from steadytrain.judge.outcome import (
    Result,
    Verification,
    finite,
    outcome_of,
    panel_before,
    settled,
)
from steadytrain.judge.places import (
    STATE_CAUSES,
    best_of,
    evidence_of,
    offer,
    place_of,
    remedy_of,
    trial_of,
    tried_of,
)
from steadytrain.judge.seen import calm_level
from steadytrain.judge.state import (
    LAG,
    Case,
    Mode,
    State,
    amend,
    amend_case,
    rewind,
)

Conclusion = tuple[State, tuple[Judgment, ...]]


class Treatment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a case is treated. All memory is in `State`.

    Attributes:
        mode: "act": carry remedies out; "ask": propose and wait for a person; "observe": only tell.
        near, reach: an onset is looked for `reach` steps back, among points beyond `near` sigmas.
        examine_patience: without evidence after so many steps, the diagnosis does without.
        relapse: an incident that begins so soon after the last one's place continues its ladder;
            `cool_down`: the same for causes in the model's own state. [steps]
        trials: how many trials a run may have; 0: none. A trial makes `trial_updates` updates with
            each of `trial_candidates` remedies at most, and takes the mildest that works.

    Source: guesses, LOG.md 2026-11-24 and 2026-11-27.
    """

    mode: Mode = "act"
    ladder: Ladder = Ladder()
    verification: Verification = Verification()
    near: float = 3.0
    reach: int = 8
    examine_patience: int = 8
    relapse: int = 8
    cool_down: int = 64
    trials: int = 0
    trial_updates: int = 12
    trial_candidates: int = 3

    def open(self, state: State, record: StepRecord, alarms: tuple[Alarm, ...]) -> Conclusion:
        """A new case from the alarms of one step."""
        onset = self._onset(state, record.step, alarms)
        return self._open(state, alarms, onset, record.step, finite(record.loss))

    def differ(self, state: State, unlike: Unlike, alarms: tuple[Alarm, ...]) -> Conclusion:
        """Replicas of the state differ: a case of its own, or part of the open one."""
        case, step = state.case, unlike.step + 1  # told with the record of the next update
        if case is None:
            state, told = self._open(state, alarms, unlike.onset, step, None)
            return amend_case(state, _open_case(state), unlike=unlike), told
        fresh = tuple(alarm for alarm in alarms if alarm.signal not in case.signals)
        if case.phase == "verifying" or (case.phase == "watching" and fresh):
            state, told = self._settle(state, case, "not cured", alarms=alarms)
            state, told = self._look_again(state, alarms, step, None, told, onset=unlike.onset)
            return amend_case(state, _open_case(state), unlike=unlike), told
        onset, grown = min(case.onset, unlike.onset), grow_case(case, alarms, None)
        return amend_case(state, grown, unlike=unlike, onset=onset, good_steps=0), fresh

    def follow(self, state: State, record: StepRecord, alarms: tuple[Alarm, ...]) -> Conclusion:
        """The open case in the light of one more step."""
        case = _open_case(state)
        if case.phase in ("examining", "trying", "treating"):
            fresh = tuple(alarm for alarm in alarms if alarm.signal not in case.signals)
            if alarms:
                case = grow_case(case, alarms, finite(record.loss))
                state = amend(state, case=case)
            is_late = record.step >= case.examine_at + self.examine_patience
            if is_late and case.phase == "examining":
                return self.conclude(state, None)
            if is_late and case.phase == "trying":
                return self._take(state, state.candidates[0])
            return state, fresh
        if case.phase in ("waiting", "proposed"):
            return self._wait(state, case, alarms, record)
        return self._verify(state, case, alarms, record)

    def conclude(self, state: State, examined: BatchExamined | None) -> Conclusion:
        """Diagnosis and remedy from all the evidence there will be."""
        case = _open_case(state)
        evidence = evidence_of(state, case, examined)
        causes = diagnose(evidence, damage.ask(evidence))
        diagnosis = Diagnosis(incident=case.id, step=state.step, causes=causes)
        cause = causes[0].name
        if case.unlike is not None and case.unlike.is_named:
            state = amend(state, named=(*state.named, *case.unlike.suspects))
        state = amend(state, examined=examined, case=msgspec.structs.replace(case, cause=cause))
        state, judgments = self._choose(state, cause)
        return state, (diagnosis, *judgments)

    def try_out(self, state: State, done: TrialDone) -> Conclusion:
        """The mildest candidate of a trial that worked; the strongest if none did."""
        case = state.case
        if case is None or case.phase != "trying" or case.id != done.incident:
            return state, ()
        return self._take(state, best_of(state.candidates, done, case.level))

    def done(self, state: State, deed: RemedyDone, detector: Detector) -> State:
        """A remedy was carried out."""
        case = state.case
        if case is None or case.remedy != deed.remedy:
            return state
        if case.phase == "treating":
            state = amend_case(
                state, case, phase="verifying", healed_after=deed.step, good_steps=0, good_sum=0.0
            )
        back = state.plan_rolls_back
        if back is None:
            return state
        restored = back if deed.restored_step is None else deed.restored_step
        lost = max(0, state.step - restored)
        state = rewind(state, back, detector)
        return amend(
            state,
            num_rollbacks=state.num_rollbacks + 1,
            steps_lost=state.steps_lost + lost,
            plan_rolls_back=None,
        )

    def accept(self, state: State) -> Conclusion:
        """A person agrees to what is proposed."""
        assert state.proposed is not None
        plan = begun_now(state.proposed.plan, state.step + LAG - 1)
        return self._carry_out(state, msgspec.structs.replace(state.proposed, plan=plan))

    def refuse(self, state: State) -> Conclusion:
        """A person does not want what is proposed: the next rung, or nothing."""
        proposed, case = state.proposed, state.case
        assert proposed is not None
        assert case is not None
        state = amend(
            state,
            proposed=None,
            history=(*state.history, tried_of(state, case, proposed, "refused")),
        )
        return self._choose(state, proposed.cause)

    def order(self, state: State, plan: tuple[Plan, ...], who: str, words: str) -> Conclusion:
        """A person's own plan, inside the open case or in one of its own."""
        told: tuple[Judgment, ...] = ()
        if state.case is None:
            at = state.num_incidents + 1
            case, opened = ordered_case(at, state.attempt, state.step, who)
            state, told = amend(state, case=case, num_incidents=at), (opened,)
        assert state.case is not None
        ordered = Proposal(
            id=f"remedy-{state.num_remedies + 1}", incident=state.case.id, step=state.step, rung=0,
            cause="a person's order", plan=plan, why=words or f"{who} ordered it",
        )  # fmt: skip
        state = amend(state, num_remedies=state.num_remedies + 1)
        state, remedy = self._carry_out(state, ordered)
        return state, (*told, *remedy)

    def look(self, state: State, record: PanelRecord) -> Conclusion:
        """A look at the panel: what a cure is verified by, or a baseline for later."""
        case = state.case
        if case is None:
            newest = state.panel_now
            if newest is None or record.step > newest.step:
                state = amend(state, panel=newest or state.panel, panel_now=record)
            return state, ()  # an older look is one that a restart repeats
        if case.phase != "verifying" or case.panel_due is None:
            return state, ()
        if record.step < case.panel_due - LAG:
            return state, ()  # a restart repeats it: the remedy has not been judged good by then
        before = panel_before(state, case)
        assert before is not None
        harmed = self.verification.harmed(before, record)
        if not harmed:
            state = amend(state, panel=before, panel_now=record)
            return self._settle(state, case, "cured", panel=(before, record))
        alarms = panel_alarms(record, harmed, state.domains)
        state, told = self._settle(state, case, "not cured", panel=(before, record), alarms=alarms)
        return self._look_again(state, alarms, record.step, None, told)

    def _open(
        self, state: State, alarms: tuple[Alarm, ...], onset: int, step: int, loss: float | None
    ) -> Conclusion:
        number = state.num_incidents + 1
        level = calm_level(state.recent, onset)
        case, incident = open_case(
            number, alarms, onset=onset, examine_at=step + LAG, loss=loss, level=level
        )
        return amend(state, case=case, num_incidents=number), (*alarms, incident)

    def _choose(self, state: State, cause: str) -> Conclusion:
        """The next rung for the case's cause: tried first, proposed, carried out, or none."""
        case = _open_case(state)
        place = place_of(state, case, cause, relapse=self.relapse, cool_down=self.cool_down)
        rung = self.ladder.choose(place)
        if not rung.plan:
            return amend_case(state, case, phase="watching", remedy=None, good_steps=0), ()
        state = amend(state, num_remedies=state.num_remedies + 1)
        wants_trial = cause in STATE_CAUSES and state.num_trials < self.trials
        rungs = self.ladder.candidates(place, self.trial_candidates) if wants_trial else ()
        if len(rungs) < 2:
            return self._take(state, offer(state, case, place, 0, rung))
        due = state.step + LAG
        state = amend(
            amend_case(state, case, phase="trying", examine_at=due),
            candidates=tuple(offer(state, case, place, at, one) for at, one in enumerate(rungs)),
            num_trials=state.num_trials + 1,
        )
        return state, (trial_of(state, case, self.trial_updates),)

    def _take(self, state: State, offered: Proposal) -> Conclusion:
        """Propose or carry out, as the mode says."""
        case = _open_case(state)
        mode = state.mode or self.mode
        # A trial took its time: nothing of the plan may begin before it can be carried out.
        plan = begun_now(offered.plan, state.step + LAG - 1)
        offered = msgspec.structs.replace(offered, plan=plan)
        # A question is a person's anyway, and the gate has held an update back already.
        if mode == "act" or all(isinstance(one, AskPerson | SkipUpdate) for one in offered.plan):
            return self._carry_out(state, offered)
        if mode == "observe":
            state = amend(state, candidates=())
            return amend_case(state, case, phase="watching", remedy=None, good_steps=0), (offered,)
        state = amend(state, proposed=offered, candidates=())
        return amend_case(state, case, phase="proposed", good_steps=0), (offered,)

    def _carry_out(self, state: State, offered: Proposal) -> Conclusion:
        case = _open_case(state)
        asks = any(isinstance(action, AskPerson) for action in offered.plan)
        leaves = any(isinstance(action, LeaveHost) for action in offered.plan)
        remedy = remedy_of(offered, state.step)
        state = amend(
            state,
            proposed=None,
            candidates=(),
            history=(*state.history, tried_of(state, case, offered, "pending")),
            plan_rolls_back=roll_back_step(offered.plan),
            named=() if leaves else state.named,  # elsewhere a rank's number is another machine's
        )
        state = amend_case(
            state,
            case,
            phase="waiting" if asks else "treating",
            remedy=offered.id,
            rung=offered.rung,
            good_steps=0,
            panel_due=None,
        )
        return state, (remedy,)

    def _verify(
        self, state: State, case: Case, alarms: tuple[Alarm, ...], record: StepRecord
    ) -> Conclusion:
        if case.phase == "watching" and alarms and not tells_more(alarms):
            # Looked at already, and no loss is up: it will calm down or become the baseline.
            return amend_case(state, case, good_steps=0), ()
        if case.healed_after is not None and record.step <= case.healed_after:
            return state, ()  # a restart makes it again from before the remedy
        loss = finite(record.loss)
        is_good = record.committed and not alarms and case.unlike is None
        case = msgspec.structs.replace(
            case,
            good_steps=case.good_steps + is_good,
            good_sum=case.good_sum + (record.loss if is_good else 0.0),
        )
        state = amend(state, case=case)
        result = self.verification.read(
            good_steps=case.good_steps, alarmed=bool(alarms), loss=loss, peak=case.peak
        )
        if result is None:
            return state, ()
        if result == "cured":
            return self._ask_panel(state, case, record.step)
        state, told = self._settle(state, case, result, alarms=alarms)
        return self._look_again(state, alarms, record.step, loss, told)

    def _ask_panel(self, state: State, case: Case, step: int) -> Conclusion:
        """The losses are back: what does the panel say? Without one they have to be enough."""
        is_over = case.panel_due is not None and step > case.panel_due + LAG
        if case.remedy is None or is_over or panel_before(state, case) is None:
            return self._settle(state, case, "cured")
        if case.panel_due is not None:
            return state, ()
        due = step + LAG
        wanted = PanelWanted(incident=case.id, step=step, due=due)
        return amend_case(state, case, panel_due=due), (wanted,)

    def _settle(
        self,
        state: State,
        case: Case,
        result: Result,
        *,
        alarms: tuple[Alarm, ...] = (),
        panel: tuple[PanelRecord, PanelRecord] | None = None,
    ) -> Conclusion:
        """The outcome of the case's remedy; a case that is cured is closed."""
        told: tuple[Judgment, ...] = ()
        if case.remedy is not None:
            outcome = outcome_of(state, case, result, alarms=alarms, panel=panel)
            state = amend(state, history=settled(state.history, case.remedy, result))
            told = (outcome,)
        if result != "cured":
            return state, told
        reason = result if case.remedy is not None else "it went away by itself"
        closed = announce(case, "closed", state.attempt, state.step, reason=reason)
        return amend(state, case=None, examined=None), (*told, closed)

    def _look_again(
        self,
        state: State,
        alarms: tuple[Alarm, ...],
        step: int,
        loss: float | None,
        told: tuple[Judgment, ...],
        *,
        onset: int | None = None,
    ) -> Conclusion:
        """Ask for evidence afresh: what goes wrong now may be something else."""
        case = _open_case(state)
        again = msgspec.structs.replace(
            grow_case(case, alarms, loss),
            phase="examining",
            onset=self._onset(state, step, alarms) if onset is None else onset,
            opened=step,
            examine_at=step + LAG,
            good_steps=0,
            good_sum=0.0,
            panel_due=None,
            unlike=None,
        )
        grew = msgspec.structs.replace(
            announce(again, "grew", state.attempt, step), examine_at=again.examine_at
        )
        return amend(state, case=again), (*told, *alarms, grew)

    def _wait(
        self, state: State, case: Case, alarms: tuple[Alarm, ...], record: StepRecord
    ) -> Conclusion:
        good = 0 if alarms or case.unlike else case.good_steps + record.committed
        if good < self.verification.good_steps:
            return amend_case(state, case, good_steps=good), ()
        reason = "it went away while a person was asked"
        closed = announce(case, "closed", record.attempt, record.step, reason=reason)
        return amend(state, case=None, examined=None, proposed=None), (closed,)

    def _onset(self, state: State, step: int, alarms: tuple[Alarm, ...]) -> int:
        windows = [state.windows[one.signal] for one in alarms if one.signal in state.windows]
        histories = tuple((one.recent_steps, one.recent_distances) for one in windows)
        return find_onset(histories, step, near=self.near, reach=self.reach)


def _open_case(state: State) -> Case:
    assert state.case is not None
    return state.case
