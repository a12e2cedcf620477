"""The judge's promises: pure, honest about what it learns, loyal to the trajectory."""

import math
import random

import msgspec
import pytest

from steadytrain.actions import (
    AskPerson,
    RollBack,
    ScaleLearningRate,
    SkipDraws,
    SkipUpdate,
)
from steadytrain.events import (
    Advice,
    Alarm,
    AttemptBegan,
    BatchExamined,
    Diagnosis,
    ExaminedSequence,
    Incident,
    Outcome,
    Remedy,
    RemedyDone,
)
from steadytrain.judge.judge import Judge
from steadytrain.judge.state import freeze, thaw
from tests.samples import began, record


class Court:
    """A judge and a run made up for it: falling losses with seeded noise."""

    def __init__(self, judge=None, seed=1, domains=("zh", "en", "code")):
        self.judge = judge or Judge()
        self.state = self.judge.init()
        self.chance = random.Random(seed)
        self.said = []
        self.tell(began(domains))
        self.tell(AttemptBegan(attempt=1, step=0, draw=0, cause="start"))
        self.step = 0

    def tell(self, event):
        self.state, judgments = self.judge.update(self.state, event)
        self.said += judgments
        return judgments

    def losses(self, step):
        level = 2.0 + 3.0 * math.exp(-step / 80)
        return tuple(level + self.chance.gauss(0, 0.06) for _ in range(3))

    def train(self, steps, **changes):
        told = []
        for _ in range(steps):
            self.step += 1
            fields = {"grad_norm": math.exp(self.chance.gauss(0, 0.1))} | changes
            losses = fields.pop("losses", None) or self.losses(self.step)
            told += self.tell(record(self.step, losses, **fields))
        return told

    def kinds(self):
        return [type(one).__name__ for one in self.said]


@pytest.fixture
def court():
    fixture = Court()
    fixture.train(120)
    assert fixture.said == []
    return fixture


def _examined(incident, step, **fields):
    return BatchExamined(incident=incident, attempt=1, step=step, scanned=96, **fields)


def learned(court, signal):
    """All that a forecast is made of."""
    window = court.state.windows[signal]
    return window.blocks, window.points, window.line, window.scales


def _corrupt(draw, step):
    return ExaminedSequence(
        draw=draw,
        step=step,
        domain=0,
        loss=7.0,
        z=30.0,
        verdict="corrupt",
        defect="garbled",
        evidence="u+fffd",
        source="s",
    )


def test_a_falling_loss_with_noise_raises_no_alarm():
    for seed in range(5):
        quiet = Court(seed=seed)
        quiet.train(600)
        assert quiet.said == []


def test_a_rise_in_one_domain_opens_an_incident_that_names_it(court):
    court.train(1, losses=(5.0, 2.7, 2.7))
    alarms = [one for one in court.said if isinstance(one, Alarm)]
    assert {alarm.signal for alarm in alarms} >= {"loss:zh"}
    assert "loss:en" not in {alarm.signal for alarm in alarms}
    assert isinstance(court.said[-1], Incident)


def test_a_drop_alarms_as_well(court):
    court.train(1, losses=(0.3, 2.7, 2.7))
    assert {one.direction for one in court.said if isinstance(one, Alarm)} == {"drop"}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_alarms_and_is_never_learned(court, value):
    before = learned(court, "grad norm")
    court.train(1, grad_norm=value, committed=False)
    assert "not finite" in {one.direction for one in court.said if isinstance(one, Alarm)}
    assert learned(court, "grad norm") == before


def test_one_nan_does_not_blind_the_judge(court):
    court.train(1, grad_norm=math.nan, committed=False)
    court.train(20)
    court.said.clear()
    court.train(1, losses=(6.0, 2.6, 2.6))
    assert "Alarm" in court.kinds()


def test_a_skipped_update_is_not_learned(court):
    before = learned(court, "loss")
    court.train(1, committed=False)
    assert learned(court, "loss") == before


def test_an_undivided_loss_is_advised_against_once():
    alone = Court(domains=("all",))
    for _ in range(3):
        alone.tell(began(("all",)))
    assert [one.topic for one in alone.said if isinstance(one, Advice)] == ["domains"]


def test_the_same_events_give_the_same_judgments_and_state(court):
    again = Court()
    again.train(120)
    assert freeze(again.state) == freeze(court.state)


def test_the_state_survives_the_journal(court):
    court.train(1, losses=(5.0, 2.7, 2.7))
    text = msgspec.json.encode(freeze(court.state))
    assert thaw(msgspec.json.decode(text)) == court.state


def test_corrupt_text_is_named_rolled_back_and_skipped(court):
    incident = next(i for i in court.train(1, losses=(5.0, 2.7, 2.7)) if isinstance(i, Incident))
    court.train(1, losses=(5.0, 2.7, 2.7))
    draws = ((120 * 32, 120 * 32 + 4), (121 * 32, 121 * 32 + 4))
    told = court.tell(
        _examined(
            incident.id,
            court.step,
            flagged=draws,
            flagged_domains=(0, 0),
            defect="garbled",
            sequences=(_corrupt(3841, 121),),
        )
    )
    diagnosis, remedy = told
    assert isinstance(diagnosis, Diagnosis)
    assert diagnosis.causes[0].name == "bad text"
    assert diagnosis.causes[0].domain == "zh"
    assert remedy.plan == (RollBack(to_step=120), SkipDraws(ranges=draws, from_step=120))
    assert remedy.due == court.step + 2


def test_text_that_never_landed_is_only_skipped(court):
    incident = next(
        i
        for i in court.train(1, losses=(5.0, 2.7, 2.7), committed=False)
        if isinstance(i, Incident)
    )
    told = court.tell(
        _examined(
            incident.id,
            court.step,
            flagged=((3840, 3844),),
            flagged_domains=(0,),
            defect="garbled",
            sequences=(_corrupt(3841, 121),),
        )
    )
    assert [type(action) for action in told[1].plan] == [SkipDraws]


def test_a_gradient_overflow_that_did_not_land_costs_one_update(court):
    incident = next(
        i for i in court.train(1, grad_norm=math.inf, committed=False) if isinstance(i, Incident)
    )
    court.train(1)
    remedy = court.tell(_examined(incident.id, court.step))[1]
    assert remedy.cause == "numeric overflow"
    assert remedy.plan == (SkipUpdate(step=121),)


def test_a_learning_rate_off_its_plan_is_named_with_its_factor(court):
    incident = next(
        i for i in court.train(2, losses=(6.0, 6.0, 6.0), lr=0.04) if isinstance(i, Incident)
    )
    diagnosis, remedy = court.tell(_examined(incident.id, court.step))
    assert "40 times" in diagnosis.causes[0].evidence[0]
    assert [type(action) for action in remedy.plan] == [RollBack, ScaleLearningRate]


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"weight_excess": 1e30, "before_step": 110}, "corrupted weights"),
        ({"nonfinite_weights": 3}, "corrupted weights"),
        ({"moment_excess": 1e3, "moments_lost": 0.9, "before_step": 110}, "optimizer state"),
        ({"moments_flipped": 2, "weight_excess": 1e9, "before_step": 110}, "corrupted moments"),
        (
            {
                "remade_steps": 9,
                "differs_at": 121,
                "differs_in": "gradient norm",
                "norm_again": 1.0,
            },
            "corrupted gradient",
        ),
    ],
)
def test_what_no_optimizer_could_do_is_named(court, fields, cause):
    incident = next(i for i in court.train(1, losses=(6.0, 6.0, 6.0)) if isinstance(i, Incident))
    diagnosis, remedy = court.tell(_examined(incident.id, court.step, **fields))
    assert diagnosis.causes[0].name == cause
    assert remedy.plan == (RollBack(to_step=118),)


def _treat(court):
    incident = next(i for i in court.train(1, losses=(6.0, 6.0, 6.0)) if isinstance(i, Incident))
    court.train(1, losses=(6.0, 6.0, 6.0))
    remedy = court.tell(_examined(incident.id, court.step, weight_excess=9.0, before_step=110))[1]
    court.train(1, losses=(6.0, 6.0, 6.0))
    court.tell(RemedyDone(remedy=remedy.id, attempt=1, step=118, restored_step=110))
    court.tell(AttemptBegan(attempt=2, step=110, draw=110 * 32, cause="rollback"))
    return remedy


def test_a_rollback_takes_the_baseline_back_and_leaves_the_case(court):
    _treat(court)
    assert court.state.step == 118
    blocks, points, _, _ = learned(court, "loss")
    assert max(one.last for one in blocks) <= 118
    assert all(one.step <= 118 for one in points)
    assert court.state.case is not None
    assert court.state.num_rollbacks == 1


def test_sixteen_good_steps_are_a_cure(court):
    _treat(court)
    court.step = 118
    told = court.train(16, attempt=2)
    outcome = next(one for one in told if isinstance(one, Outcome))
    assert (outcome.result, outcome.steps) == ("cured", 16)
    assert told[-1].change == "closed"
    assert court.state.case is None


def test_an_alarm_after_the_remedy_climbs_the_ladder(court):
    first = _treat(court)
    court.step = 118
    court.train(3, attempt=2)
    told = court.train(1, attempt=2, losses=(5.0, 5.0, 5.0))
    outcome = next(one for one in told if isinstance(one, Outcome))
    assert (outcome.result, outcome.remedy) == ("not cured", first.id)
    second = court.tell(_examined(first.incident, court.step, weight_excess=9.0, before_step=110))[
        1
    ]
    assert second.rung == 1
    assert second.plan[0].to_step < 118


def test_a_person_is_asked_when_the_ladder_ends(court):
    remedy = _treat(court)
    for _ in range(3):
        court.step = court.state.step
        court.train(2, attempt=2, losses=(6.0, 6.0, 6.0))
        told = court.tell(_examined(remedy.incident, court.step, weight_excess=9.0, before_step=90))
        remedy = next(one for one in told if isinstance(one, Remedy))
        if isinstance(remedy.plan[0], AskPerson):
            return
        court.tell(RemedyDone(remedy=remedy.id, attempt=2, step=remedy.plan[0].to_step))
    pytest.fail("nobody was asked")


def test_a_loss_beyond_the_incidents_own_peak_is_worse(court):
    _treat(court)
    court.step = 118
    told = court.train(1, attempt=2, losses=(9.0, 9.0, 9.0))
    assert next(one for one in told if isinstance(one, Outcome)).result == "worse"


def test_steps_repeated_by_a_restart_are_not_judged_again(court):
    before = court.state
    court.tell(AttemptBegan(attempt=2, step=100, draw=3200, cause="restart"))
    chance = Court()
    chance.train(120)
    seen = {one.step: one.loss for one in before.recent}
    for step in range(101, 121):
        loss = seen[step]
        again = record(step, (loss, loss, loss), attempt=2)
        assert court.tell(msgspec.structs.replace(again, loss=loss)) == ()
    assert court.state.windows == before.windows


def test_a_repeated_step_with_another_loss_is_told(court):
    court.tell(AttemptBegan(attempt=2, step=118, draw=3776, cause="restart"))
    told = court.tell(record(119, (2.7, 2.7, 2.7), attempt=2))
    assert told[0].topic == "not reproducible"


def test_a_remedy_gets_its_outcome_where_a_restart_repeats_steps_otherwise(court):
    remedy = _treat(court)
    court.step = 118
    court.train(10, attempt=2)
    court.tell(AttemptBegan(attempt=3, step=115, draw=115 * 32, cause="restart"))
    court.step = 115
    assert court.train(1, attempt=3)[0].topic == "not reproducible"
    told = court.train(2 + 15, attempt=3)  # two that are from before the remedy do not count
    assert [one for one in told if isinstance(one, Outcome)] == []
    told = court.train(1, attempt=3)
    (outcome,) = [one for one in told if isinstance(one, Outcome)]
    assert (outcome.remedy, outcome.result, outcome.steps) == (remedy.id, "cured", 16)


def test_a_remedy_on_its_way_is_not_forgotten_where_a_restart_repeats_steps_otherwise(court):
    incident = next(i for i in court.train(1, losses=(6.0, 6.0, 6.0)) if isinstance(i, Incident))
    court.train(1, losses=(6.0, 6.0, 6.0))
    remedy = court.tell(_examined(incident.id, court.step, weight_excess=9.0, before_step=110))[1]
    court.tell(AttemptBegan(attempt=2, step=115, draw=115 * 32, cause="restart"))
    court.step = 115
    told = court.train(8, attempt=2)
    assert told[0].topic == "not reproducible"
    assert not [one for one in told if isinstance(one, Incident)]
    court.tell(RemedyDone(remedy=remedy.id, attempt=2, step=118, restored_step=110))
    court.step = 118
    told = court.train(16, attempt=3)
    (outcome,) = [one for one in told if isinstance(one, Outcome)]
    assert (outcome.remedy, outcome.result) == (remedy.id, "cured")


def test_a_step_repeated_by_another_number_of_ranks_may_differ_in_the_last_bits(court):
    seen = {one.step: one.loss for one in court.state.recent}
    court.tell(AttemptBegan(attempt=2, step=117, draw=3744, cause="restart", world=2))
    near = msgspec.structs.replace(record(118, (1.0,) * 3, attempt=2), loss=seen[118] * (1 + 1e-6))
    assert court.tell(near) == ()
    far = msgspec.structs.replace(record(119, (1.0,) * 3, attempt=2), loss=seen[119] * 1.05)
    assert court.tell(far)[0].topic == "not reproducible"
    court.tell(AttemptBegan(attempt=3, step=117, draw=3744, cause="restart", world=2))
    again = msgspec.structs.replace(near, attempt=3, loss=near.loss * (1 + 1e-6))
    assert court.tell(again)[0].topic == "not reproducible"


def test_a_step_repeated_on_a_gpu_may_differ_in_the_last_bits_in_every_later_attempt(court):
    seen = {one.step: one.loss for one in court.state.recent}
    for attempt, cause in ((2, "restart"), (3, "rollback")):
        court.tell(
            AttemptBegan(
                attempt=attempt, step=117, draw=3744, cause=cause, exact=cause != "restart"
            )
        )
        near = msgspec.structs.replace(
            record(118, (1.0,) * 3, attempt=attempt), loss=seen[118] * (1 + 1e-4)
        )
        assert court.tell(near) == ()
    far = msgspec.structs.replace(record(119, (1.0,) * 3, attempt=3), loss=seen[119] * 1.05)
    assert court.tell(far)[0].topic == "not reproducible"


def test_limits_hold_back_what_is_far_beyond_the_band_and_no_more(court):
    limits = court.judge.limits(court.state)
    level = court.state.windows["loss"].blocks[-1].level
    assert level * 1.05 < limits.loss < level * 2
    assert limits.grad_norm > 4


def test_the_gate_opens_again_rather_than_starve_the_run(court):
    court.train(8, losses=(6.0, 6.0, 6.0), committed=False)
    limits = court.judge.limits(court.state)
    assert limits.loss is None
    assert limits.grad_norm is None


def test_the_healthy_mark_stays_before_an_open_incident(court):
    assert court.state.healthy_until == 104
    court.train(1, losses=(6.0, 6.0, 6.0))
    court.train(30, losses=(6.0, 6.0, 6.0))
    assert court.state.healthy_until <= 118


def test_without_evidence_the_diagnosis_does_without(court):
    court.train(1, losses=(6.0, 6.0, 6.0))
    told = court.train(12)
    assert any(isinstance(one, Diagnosis) for one in told)


def test_throughput_is_told_and_never_treated(court):
    told = court.train(10, seconds=5.0)
    assert [one.direction for one in told] == ["stalled"]


def test_a_thin_step_of_a_domain_does_not_alarm_for_its_noise(court):
    thin = record(121, (3.1, 2.7, 2.7), sequences=(1, 10, 10), tokens=(100, 1000, 1000))
    thin = msgspec.structs.replace(thin, nll=(310.0, 2700.0, 2700.0), loss=3320 / 1200 * 0.98)
    assert court.tell(thin) == ()


def test_a_gradient_norm_and_an_update_that_fall_and_turn_are_no_incident():
    for seed in range(5):
        early = Court(seed=seed)
        for step in range(1, 300):
            dip = 1.0 - 0.6 * math.exp(-(((step - 45) / 20) ** 2))
            early.train(1, update=2e-4 * dip * math.exp(early.chance.gauss(0, 0.02)), grad_norm=dip)
        assert early.said == []


def test_an_update_size_alone_is_looked_at_and_left_alone(court):
    court.train(1, update=1e-3)
    incident = next(one for one in court.said if isinstance(one, Incident))
    court.train(1)
    told = court.tell(_examined(incident.id, court.step))
    assert [type(one) for one in told] == [Diagnosis]
    assert told[0].causes[0].name == "not known"


def test_a_new_level_while_a_person_is_asked_does_not_ring_for_ever(court):
    incident = next(i for i in court.train(1, losses=(6.0, 6.0, 6.0)) if isinstance(i, Incident))
    waiting = msgspec.structs.replace(court.state.case, phase="waiting")
    court.state = msgspec.structs.replace(court.state, case=waiting)
    told = court.train(80, losses=(4.0, 4.0, 4.0))
    assert [one.change for one in told if isinstance(one, Incident)] == ["closed"]
    assert told[-1].id == incident.id
    assert "Alarm" in [type(one).__name__ for one in court.train(1, losses=(9.0, 4.0, 4.0))]


def test_a_gradient_norm_alone_opens_an_incident_only_beyond_what_the_gate_holds_back(court):
    assert court.train(1, grad_norm=2.4) == []
    told = court.train(1, grad_norm=40.0)
    assert [type(one) for one in told] == [Alarm, Incident]


def test_a_change_of_mixture_alone_raises_no_alarm():
    """Two domains far apart; their shares of the tokens change from one step to the next."""
    mixed = Court(domains=("zh", "code"))
    for step in range(1, 400):
        share = 500 if step < 200 else 900
        fields = {"tokens": (share, 1000 - share), "sequences": (share // 50, 20 - share // 50)}
        losses = tuple(level + mixed.chance.gauss(0, 0.02) for level in (4.0, 1.5))
        nll = losses[0] * share + losses[1] * (1000 - share)
        mixed.train(1, losses=losses, nll=(losses[0] * share, losses[1] * (1000 - share)),
                    loss=nll / 1000, **fields)  # fmt: skip
    assert {type(one) for one in mixed.said} <= {Advice}


def test_sequences_that_came_before_are_named_as_repeated_data(court):
    incident = next(i for i in court.train(1, losses=(6.0, 6.0, 6.0)) if isinstance(i, Incident))
    seen = {"repeated": 1.0, "repeated_before": 0.02}
    diagnosis, remedy = court.tell(_examined(incident.id, court.step, **seen))
    assert diagnosis.causes[0].name == "repeated data"
    assert [type(action) for action in remedy.plan] == [RollBack, SkipDraws]


def test_a_rank_that_answers_otherwise_is_named(court):
    incident = next(i for i in court.train(1, losses=(6.0, 6.0, 6.0)) if isinstance(i, Incident))
    seen = {"remade_steps": 9, "unlike_ranks": (3,)}
    (cause, *_) = court.tell(_examined(incident.id, court.step, **seen))[0].causes
    assert cause.name == "corrupted gradient"
    assert any("rank 3" in words for words in cause.evidence)


def test_corrupt_texts_alarm_before_any_loss_moves(court):
    calm = court.train(40, corrupt=(0, 0, 0))
    assert not any(isinstance(one, Incident) for one in calm)
    alarm, incident = court.train(1, corrupt=(6, 0, 0))[:2]
    assert (alarm.signal, alarm.direction) == ("text:zh", "rise")
    assert incident.change == "opened"


def test_one_corrupt_text_among_many_is_no_incident(court):
    assert not any(isinstance(one, Incident) for one in court.train(30, corrupt=(1, 0, 0)))


def test_repeats_alarm_when_they_are_no_accident(court):
    court.train(40, repeated=0)
    assert court.train(1, repeated=20)[0].signal == "repeats"
