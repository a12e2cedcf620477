"""What becomes of a case: who decides, what is verified, what is taken back, what it may cost."""

import msgspec
import pytest

from steadytrain.actions import (
    AskPerson,
    Cancel,
    ExcludeRank,
    ResetMoments,
    RollBack,
    ScaleLearningRate,
    SetZLoss,
    SkipDraws,
    SkipUpdate,
)
from steadytrain.events import (
    Advice,
    Diagnosis,
    Incident,
    Outcome,
    PanelRecord,
    PanelWanted,
    PersonSaid,
    Proposal,
    Remedy,
    RemedyDone,
    RestoreVerified,
    Trial,
    TrialDone,
    TrialWanted,
)
from steadytrain.judge.ladder import Ladder
from steadytrain.judge.rung import Place
from steadytrain.judge.rungs import Doses
from steadytrain.judge.state import Limits
from steadytrain.recipes import pretrain
from tests.judge.test_judge import Court, _corrupt, _examined
from tests.samples import began

SICK = {"losses": (6.0, 6.0, 6.0)}
UNSTABLE = {"control_now": 6.0, "control_before": 2.6, "before_step": 110}


def _court(judge=None):
    court = Court(judge=judge)
    court.train(120)
    return court


def _of(told, kind):
    return [one for one in told if isinstance(one, kind)]


def _fall_ill(court, **fields):
    """An incident, its evidence, and what the judge made of it."""
    (incident,) = _of(court.train(1, **SICK), Incident)
    court.train(1, **SICK)
    return court.tell(_examined(incident.id, court.step, **(UNSTABLE | fields)))


def _carry_out(court, remedy):
    back = next((one.to_step for one in remedy.plan if isinstance(one, RollBack)), None)
    court.train(1, **SICK)
    kept = back if back is not None else court.step
    told = court.tell(RemedyDone(remedy=remedy.id, attempt=1, step=kept, restored_step=back))
    court.step = court.state.step
    return told


def _look(step, level, count=40, domains=3):
    losses = tuple(tuple(level + 0.01 * (at % 7) for at in range(count)) for _ in range(domains))
    return PanelRecord(
        attempt=1, step=step, losses=losses, tokens=(count,) * domains, bytes=(count,) * domains,
        nll=tuple(sum(one) for one in losses),
    )  # fmt: skip


def _say(court, verb, **fields):
    fields = {"id": "1", "who": "ada", "step": court.step} | fields
    return court.tell(PersonSaid(verb=verb, **fields))


class TestModes:
    def test_to_observe_is_to_tell_what_would_be_done_and_do_nothing(self):
        court = _court(pretrain(mode="observe"))
        told = _fall_ill(court)
        assert [type(one) for one in told] == [Diagnosis, Proposal]
        assert _of(court.train(40, losses=(2.6, 2.6, 2.6)), Remedy) == []
        assert court.state.case is None

    def test_a_run_that_is_observed_has_no_limits(self):
        assert _court().judge.limits(_court().state).loss is not None
        court = _court(pretrain(mode="observe"))
        assert court.judge.limits(court.state) == Limits()
        _say(court, "act")
        assert court.judge.limits(court.state).loss is not None

    def test_what_the_gate_has_done_already_is_not_proposed(self):
        court = _court(pretrain(mode="ask"))
        (incident,) = _of(court.train(1, grad_norm=float("inf"), committed=False), Incident)
        court.train(1)
        (remedy,) = _of(court.tell(_examined(incident.id, court.step)), Remedy)
        assert [type(one) for one in remedy.plan] == [SkipUpdate]

    def test_to_ask_is_to_propose_and_wait(self):
        court = _court(pretrain(mode="ask"))
        (proposal,) = _of(_fall_ill(court), Proposal)
        assert any(isinstance(one, RollBack) for one in proposal.plan)
        assert _of(court.train(5, **SICK), Remedy) == []
        assert court.state.proposed == proposal

    def test_what_is_accepted_is_carried_out_as_it_was_proposed(self):
        court = _court(pretrain(mode="ask"))
        (proposal,) = _of(_fall_ill(court), Proposal)
        court.train(3, **SICK)
        (remedy,) = _say(court, "accept")
        assert (remedy.id, remedy.plan) == (proposal.id, proposal.plan)
        assert remedy.due == court.step + 2

    def test_a_setting_that_is_accepted_late_begins_late(self):
        court = _court(pretrain(mode="ask"))
        (incident,) = _of(court.train(1, **SICK, committed=False), Incident)
        court.train(1, committed=False)
        seen = {"flagged": ((3840, 3844),), "flagged_domains": (0,), "defect": "garbled"}
        told = court.tell(
            _examined(incident.id, court.step, **seen, sequences=(_corrupt(3841, 121),))
        )
        (proposal,) = _of(told, Proposal)
        assert [type(one) for one in proposal.plan] == [SkipDraws]
        court.train(9, **SICK)
        (remedy,) = _say(court, "accept")
        assert remedy.plan[0].from_step == remedy.due - 1 == court.step + 1

    def test_what_is_refused_gives_way_to_the_next_rung(self):
        court = _court(pretrain(mode="ask"))
        (first,) = _of(_fall_ill(court), Proposal)
        (second,) = _of(_say(court, "refuse", remedy=first.id), Proposal)
        assert second.rung == first.rung + 1
        assert second.plan != first.plan

    def test_a_proposal_ends_when_the_trouble_goes_away(self):
        court = _court(pretrain(mode="ask"))
        _fall_ill(court)
        (closed,) = _of(court.train(17), Incident)
        assert closed.reason == "it went away while a person was asked"
        assert court.state.proposed is None

    def test_a_person_can_change_the_mode_while_the_run_goes_on(self):
        court = _court(pretrain(mode="ask"))
        _fall_ill(court)
        (remedy,) = _say(court, "act")
        assert isinstance(remedy, Remedy)
        again = _court()
        _say(again, "observe")
        assert _of(_fall_ill(again), Remedy) == []

    def test_an_answer_to_nothing_is_told_and_changes_nothing(self):
        court = _court()
        before = court.state
        (advice,) = _say(court, "accept")
        assert isinstance(advice, Advice)
        assert court.state == before


class TestOrders:
    def test_an_order_in_a_healthy_run_is_carried_out_and_verified(self):
        court = _court()
        plan = (ScaleLearningRate(factor=0.5, from_step=121, hold_steps=8, rewarm_steps=8),)
        opened, remedy = _say(court, "order", plan=plan)
        assert (opened.change, remedy.plan) == ("opened", plan)
        assert opened.examine_at is None  # nothing is wrong that evidence could be gathered of
        court.train(1)
        court.tell(RemedyDone(remedy=remedy.id, attempt=1, step=121))
        (outcome,) = _of(court.train(16), Outcome)
        assert outcome.result == "cured"
        assert court.state.case is None

    @pytest.mark.parametrize(
        ("plan", "words"),
        [
            ((), "empty"),
            ((RollBack(to_step=500),), "not before the present step"),
            ((SetZLoss(coefficient=1e-4, from_step=3),), "which is over"),
            ((AskPerson(question="q"),), "nothing that a person can order"),
        ],
    )
    def test_an_impossible_order_is_answered_and_not_carried_out(self, plan, words):
        court = _court()
        (advice,) = _say(court, "order", plan=plan)
        assert words in advice.text

    def test_an_order_that_this_run_cannot_carry_out_is_answered(self):
        court = Court()
        court.tell(msgspec.structs.replace(began(), can=("RollBack",)))
        court.train(5)
        (advice,) = _say(court, "order", plan=(SetZLoss(coefficient=1e-4, from_step=9),))
        assert "cannot be carried out in this run" in advice.text

    def test_a_remedy_on_its_way_is_not_crossed(self):
        court = _court()
        _fall_ill(court)
        (advice,) = _say(court, "order", plan=(RollBack(to_step=100),))
        assert "on its way" in advice.text


class TestThePanel:
    def test_a_cure_is_not_believed_before_the_panel_was_looked_at(self):
        court = _court()
        court.tell(_look(100, 2.5))
        (remedy,) = _of(_fall_ill(court), Remedy)
        _carry_out(court, remedy)
        told = court.train(16)
        assert [type(one) for one in told] == [PanelWanted]
        court.train(2)
        outcome, closed = court.tell(_look(court.step, 2.45))
        assert outcome.result == "cured"
        assert outcome.panel_after[0] < outcome.panel_before[0]
        assert closed.change == "closed"

    def test_a_panel_that_is_worse_than_before_the_incident_climbs(self):
        court = _court()
        court.tell(_look(100, 2.5))
        (remedy,) = _of(_fall_ill(court), Remedy)
        _carry_out(court, remedy)
        court.train(18)
        told = court.tell(_look(court.step, 2.6))
        assert _of(told, Outcome)[0].result == "not cured"
        assert {one.signal for one in told if hasattr(one, "signal")} == {
            "panel:zh", "panel:en", "panel:code",
        }  # fmt: skip
        assert court.state.case.phase == "examining"

    def test_a_look_from_after_the_onset_is_no_baseline(self):
        court = _court()
        court.tell(_look(100, 3.0))
        (remedy,) = _of(_fall_ill(court), Remedy)
        court.tell(_look(122, 9.0))
        _carry_out(court, remedy)
        court.train(18)
        assert _of(court.tell(_look(court.step, 3.2)), Outcome)[0].result == "not cured"

    def test_a_look_that_a_restart_repeats_is_neither_a_cure_nor_another_baseline(self):
        court = _court()
        court.tell(_look(100, 2.5))
        court.tell(_look(110, 2.5))
        court.tell(_look(100, 2.5))
        assert (court.state.panel.step, court.state.panel_now.step) == (100, 110)
        (remedy,) = _of(_fall_ill(court), Remedy)
        _carry_out(court, remedy)
        court.train(16)
        assert court.tell(_look(court.step - 3, 2.45)) == ()
        assert court.state.case.phase == "verifying"

    def test_without_a_look_the_losses_have_to_be_enough(self):
        court = _court()
        court.tell(_look(100, 2.5))
        (remedy,) = _of(_fall_ill(court), Remedy)
        _carry_out(court, remedy)
        assert _of(court.train(30), Outcome)[0].result == "cured"

    def test_an_outcome_has_before_and_after_in_numbers(self):
        court = _court()
        (remedy,) = _of(_fall_ill(court), Remedy)
        _carry_out(court, remedy)
        (outcome,) = _of(court.train(16), Outcome)
        assert outcome.loss_before == pytest.approx(2.7, abs=0.1)
        assert outcome.loss_peak == 6.0
        assert outcome.loss_after == pytest.approx(2.65, abs=0.1)


class TestClimbing:
    def _relapse(self, court, losses):
        court.train(3, attempt=2)
        told = court.train(1, attempt=2, losses=losses)
        (grew,) = _of(told, Incident)
        court.train(1, attempt=2, losses=losses)
        return _of(court.tell(_examined(grew.id, court.step, **UNSTABLE)), Remedy)[0]

    def test_a_higher_rung_takes_the_place_of_a_lower_one(self):
        court = _court()
        (first,) = _of(_fall_ill(court), Remedy)
        _carry_out(court, first)
        second = self._relapse(court, (5.0, 5.0, 5.0))
        assert not _of(second.plan, Cancel)  # the first set nothing that holds on
        _carry_out(court, second)
        third = self._relapse(court, (5.0, 5.0, 5.0))
        (cancel,) = _of(third.plan, Cancel)
        assert cancel.remedy == second.id

    def test_what_made_things_worse_is_undone_from_before_it_was_done(self):
        court = _court()
        plan = (SetZLoss(coefficient=0.5, from_step=121),)
        remedy = _say(court, "order", plan=plan)[1]
        court.train(1)
        court.tell(RemedyDone(remedy=remedy.id, attempt=1, step=121))
        court.train(2)
        (grew,) = [
            one for one in court.train(1, losses=(9.0, 9.0, 9.0)) if isinstance(one, Incident)
        ]
        told = court.tell(_examined(grew.id, court.step, **UNSTABLE))
        (undone,) = _of(told, Remedy)
        assert _of(undone.plan, Cancel)[0].remedy == remedy.id
        assert _of(undone.plan, RollBack)[0].to_step <= 121

    def test_a_return_that_is_not_far_enough_to_undo_the_harm_goes_further(self):
        court = _court()
        (first,) = _of(_fall_ill(court), Remedy)
        _carry_out(court, first)
        second = self._relapse(court, (5.0, 5.0, 5.0))
        _carry_out(court, second)
        began = court.state.history[-1].began
        court.train(9, attempt=2)
        (grew,) = _of(court.train(1, attempt=2, losses=(9.0, 9.0, 9.0)), Incident)
        told = court.tell(_examined(grew.id, court.step, **UNSTABLE))
        assert court.state.history[1].result == "worse"
        (third,) = _of(told, Remedy)
        assert _of(third.plan, RollBack)[0].to_step == began
        assert {one.from_step for one in third.plan if hasattr(one, "from_step")} == {began}

    def test_rungs_that_were_taken_back_do_not_use_the_learning_rate_up(self):
        court = _court()
        (first,) = _of(_fall_ill(court), Remedy)
        _carry_out(court, first)
        for _ in range(4):
            remedy = self._relapse(court, (5.0, 5.0, 5.0))
            _carry_out(court, remedy)
        assert remedy.rung == 4
        (lower,) = _of(remedy.plan, ScaleLearningRate)
        assert lower.factor == 0.5
        assert "not possible" not in remedy.why

    def test_the_same_data_elsewhere_continue_the_ladder(self):
        court = _court()
        (first,) = _of(_fall_ill(court), Remedy)
        assert court.state.history[0].window[0][0] == 120 * 32
        assert first.rung == 0

    def test_a_step_that_was_too_long_is_shortened_at_once(self):
        (remedy,) = _of(_fall_ill(_court(), full_rate=6.0, half_rate=2.6), Remedy)
        assert [type(one) for one in remedy.plan] == [RollBack, ScaleLearningRate]

    def test_a_restored_state_that_is_not_as_recorded_is_told(self):
        event = RestoreVerified(
            attempt=2,
            step=9,
            source="snapshot",
            checked=("lr",),
            taken=True,
            differences=("lr is 2, not 1",),
        )
        (advice,) = _court().tell(event)
        assert "lr is 2, not 1" in advice.text


class TestTrials:
    def test_candidates_are_tried_and_the_mildest_that_works_is_taken(self):
        court = _court(pretrain(trials=2))
        (wanted,) = _of(_fall_ill(court), TrialWanted)
        assert len(wanted.candidates) == 3
        first, second, third = wanted.candidates
        done = TrialDone(
            incident=wanted.incident, attempt=1, step=court.step, control_before=2.6,
            trials=(
                Trial(plan=first, losses=(2.7, float("nan")), control=9.0),
                Trial(plan=second, losses=(2.7, 2.65), control=2.62),
                Trial(plan=third, losses=(2.7, 2.65), control=2.61),
            ),
        )  # fmt: skip
        (remedy,) = court.tell(done)
        assert remedy.plan == second
        assert remedy.rung == 1
        assert "the mildest of 3" in remedy.why

    def test_where_none_could_be_tried_the_mildest_is_taken(self):
        court = _court(pretrain(trials=2))
        (wanted,) = _of(_fall_ill(court), TrialWanted)
        done = TrialDone(incident=wanted.incident, attempt=1, step=court.step, trials=())
        (remedy,) = court.tell(done)
        assert (remedy.plan, remedy.rung) == (wanted.candidates[0], 0)

    def test_what_is_milder_than_a_candidate_that_failed_is_passed_over(self):
        court = _court(pretrain(trials=1))
        (wanted,) = _of(_fall_ill(court), TrialWanted)
        trials = tuple(Trial(plan=one, losses=(9.0,)) for one in wanted.candidates)
        done = TrialDone(incident=wanted.incident, attempt=1, step=court.step, trials=trials)
        (first,) = court.tell(done)
        assert first.rung == 2
        _carry_out(court, first)
        court.train(3, attempt=2)
        (grew,) = _of(court.train(1, attempt=2, **SICK), Incident)
        court.train(1, attempt=2, **SICK)
        (second,) = _of(court.tell(_examined(grew.id, court.step, **UNSTABLE)), Remedy)
        assert second.rung == 3
        assert _of(second.plan, Cancel)[0].remedy == first.id

    def test_a_plan_without_a_return_begins_after_its_trial(self):
        court = _court(pretrain(trials=1))
        (incident,) = _of(court.train(1, **SICK), Incident)
        court.train(1, **SICK)
        case = msgspec.structs.replace(court.state.case, phase="trying")
        plan = (SetZLoss(coefficient=1e-4, from_step=court.step + 1),)
        offered = Proposal(
            id="remedy-1", incident=incident.id, step=court.step, rung=0, cause="logit growth",
            plan=plan, why="",
        )  # fmt: skip
        court.state = msgspec.structs.replace(court.state, case=case, candidates=(offered,))
        court.train(2, **SICK)
        (remedy,) = court.tell(
            TrialDone(
                incident=incident.id, attempt=1, step=court.step,
                trials=(Trial(plan=plan, losses=(2.6,)),),
            )
        )  # fmt: skip
        assert remedy.plan[0].from_step == remedy.due - 1

    def test_a_trial_that_never_reports_does_not_hold_the_remedy_up(self):
        court = _court(pretrain(trials=2))
        (wanted,) = _of(_fall_ill(court), TrialWanted)
        (remedy,) = _of(court.train(12, **SICK), Remedy)
        assert remedy.plan == wanted.candidates[0]

    def test_trials_have_a_budget(self):
        court = _court(pretrain(trials=0))
        assert _of(_fall_ill(court), TrialWanted) == []


def _place(**fields):
    plain = {
        "cause": "instability", "rung": 0, "onset": 500, "due": 505, "first_flagged": None,
        "flagged": (), "window": ((16_000, 16_160),), "landed": True, "recovered": False,
        "is_harmed": True, "rollbacks": 0, "steps": 1000, "draws_per_step": 32,
    }  # fmt: skip
    return Place(**(plain | fields))


class TestTheLadder:
    def test_every_rung_is_another_plan_and_the_last_asks(self):
        rungs = Ladder().rungs(_place())
        plans = [rung.plan for rung in rungs]
        assert len(set(map(repr, plans))) == len(plans)
        assert isinstance(plans[-1][0], AskPerson)
        assert all(rung.why for rung in rungs)

    def test_what_cannot_be_done_here_is_left_out_and_said(self):
        can = ("RollBack", "SkipDraws", "ScaleLearningRate")
        rungs = Ladder().rungs(_place(can=can))
        done = {type(action).__name__ for rung in rungs for action in rung.plan}
        assert done == {*can, "AskPerson"}
        assert any("not possible here: SetClipping" in rung.why for rung in rungs)

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"rollbacks": 24}, "rolled back 24 times"),
            ({"tries": 8}, "has had 8 remedies"),
            ({"steps_lost": 251}, "251 of 1000 updates"),
        ],
    )
    def test_a_budget_that_is_spent_ends_in_a_question(self, fields, words):
        rung = Ladder().choose(_place(**fields))
        assert isinstance(rung.plan[0], AskPerson)
        assert words in rung.why

    def test_what_costs_nothing_is_free(self):
        rung = Ladder().choose(
            _place(cause="numeric overflow", rollbacks=99, landed=False, recovered=True)
        )
        assert not isinstance(rung.plan[0], AskPerson)

    def test_an_outbreak_that_is_over_and_has_harmed_nothing_is_watched(self):
        place = _place(cause="shallow gradient outbreak", recovered=True, is_harmed=False)
        assert [rung.plan for rung in Ladder().rungs(place)] == [()]
        for fields in ({"recovered": False}, {"is_harmed": True}):
            assert Ladder().choose(msgspec.structs.replace(place, **fields)).plan

    def test_the_learning_rate_is_not_lowered_without_end(self):
        rungs = Ladder().rungs(_place(lr_left=0.05))
        assert not any(isinstance(a, ScaleLearningRate) for rung in rungs for a in rung.plan)

    def test_a_second_window_is_wider_than_the_first(self):
        first, second = Ladder().rungs(_place())[:2]
        (narrow,), (wide,) = (
            _of(first.plan, SkipDraws)[0].ranges,
            _of(second.plan, SkipDraws)[0].ranges,
        )
        assert wide[0] < narrow[0]
        assert narrow[1] < wide[1]

    def test_a_lowered_rate_is_held_longer_in_a_longer_run(self):
        def held(steps):
            rungs = Ladder().rungs(_place(steps=steps))
            return _of(rungs[1].plan, ScaleLearningRate)[0].hold_steps

        assert held(1000) == Doses().hold_steps
        assert held(100_000) == 200

    def test_a_rank_whose_gradients_stay_wrong_is_left_out(self):
        place = _place(cause="corrupted gradient", unlike_ranks=(3,))
        excluded = [
            a for rung in Ladder().rungs(place) for a in rung.plan if isinstance(a, ExcludeRank)
        ]
        assert [one.rank for one in excluded] == [3]

    def test_a_wrong_gradient_that_lands_after_one_that_did_not_is_returned_from(self):
        rung = Ladder().choose(_place(cause="corrupted gradient", rung=1))
        assert isinstance(rung.plan[0], RollBack)

    def test_moments_that_are_wrong_everywhere_begin_anew(self):
        rungs = Ladder().rungs(_place(cause="optimizer state"))
        assert any(isinstance(a, ResetMoments) for a in rungs[2].plan)

    def test_epsilon_is_set_to_what_was_measured(self):
        rungs = Ladder().rungs(_place(epsilon_factor=0.003))
        factors = [
            a.factor for rung in rungs for a in rung.plan if type(a).__name__ == "ScaleEpsilon"
        ]
        assert set(factors) == {0.003}
