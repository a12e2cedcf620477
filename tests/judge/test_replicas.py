"""What the judge concludes where replicas of the state differ, by events alone."""

import math

import pytest

from steadytrain.actions import AskPerson, LeaveHost, RollBack
from steadytrain.events import (
    Advice,
    Alarm,
    AttemptBegan,
    BatchExamined,
    Diagnosis,
    Incident,
    Outcome,
    Proposal,
    Remedy,
    RemedyDone,
    ReplicasCompared,
    RunBegan,
    StepRecord,
    UnlikeReplicas,
)
from steadytrain.judge.judge import Judge
from steadytrain.judge.outcome import Verification
from steadytrain.judge.replicas import vote
from steadytrain.judge.treatment import Treatment

EVERY = 10


def judge(**changes):
    return Judge(treatment=Treatment(verification=Verification(good_steps=4), **changes))


def begun(**changes):
    settings = {
        "run": "r", "recipe": {}, "domains": ("a", "b"), "model": "m", "parameters": 1, "world": 3,
        "draws_per_step": 8, "steps": 1000, "copies": 3,
    }  # fmt: skip
    return RunBegan(**(settings | changes))


def record(step, *, attempt=1):
    return StepRecord(
        attempt=attempt, step=step, draw=8 * (step - 1), draw_end=8 * step, loss=3.0,
        nll=(15.0, 15.0), tokens=(5, 5), bytes=(5, 5), sequences=(4, 4), squares=(36.0, 36.0),
        grad_norm=1.0, lr=1e-3, lr_planned=1e-3, seconds=1.0,
    )  # fmt: skip


def compared(step, digests="aaa", *, attempt=1, moments="mmm"):
    def unlike(part, found):
        if len(set(found)) == 1:
            return ()
        return (UnlikeReplicas(part=part, ranks=tuple(range(len(found))), digests=tuple(found)),)

    return ReplicasCompared(
        attempt=attempt, step=step, copies=len(digests), digests=(digests[0], moments[0]),
        unlike=(*unlike("weights", digests), *unlike("moments", moments)),
    )  # fmt: skip


def examined(incident, step, *, kinds=None, digests="aba", **changes):
    names = {"weights": "model.w", "exp_avg": "optimizer.w.exp_avg"}
    kinds = {"weights": 1} if kinds is None else kinds
    return BatchExamined(
        incident=incident, attempt=1, step=step, copies=len(digests),
        unlike=tuple(
            UnlikeReplicas(
                part=names.get(kind, f"optimizer.w.{kind}"), ranks=tuple(range(len(digests))),
                digests=tuple(digests),
            )
            for kind in kinds
        ),
        unlike_kinds=kinds, remade_alike=True, before_step=10, **changes,
    )  # fmt: skip


class Run:
    """A judge that is told a healthy run, in which replicas come apart when a test says so."""

    def __init__(self, mind=None, **began):
        self.judge = mind or judge()
        self.state = self.judge.init()
        self.told = []
        self.attempt = 0
        self.tell(begun(**began))
        self.begin(0)

    def tell(self, event):
        self.state, judgments = self.judge.update(self.state, event)
        self.told += judgments
        return judgments

    def begin(self, step, cause="start"):
        self.attempt += 1
        self.step = step
        self.is_first = True
        self.tell(AttemptBegan(attempt=self.attempt, step=step, draw=8 * step, cause=cause))

    def go(self, to, **compare):
        """Updates up to `to`, each after the comparison that is due before it."""
        while self.step < to:
            if self.is_first or self.step % EVERY == 0:
                self.tell(compared(self.step, attempt=self.attempt, **compare))
            self.is_first = False
            self.step += 1
            self.tell(record(self.step, attempt=self.attempt))

    def of(self, kind):
        return [one for one in self.told if isinstance(one, kind)]

    def come_apart(self, after, digests="aba", **evidence):
        """Replicas differ after `after`; evidence is gathered, and the remedy decided."""
        self.go(after)
        self.tell(compared(after, digests, attempt=self.attempt))
        self.is_first = False
        self.step += 1
        self.tell(record(self.step, attempt=self.attempt))
        self.step += 1
        self.tell(record(self.step, attempt=self.attempt))
        incident = self.of(Incident)[-1]
        self.tell(examined(incident.id, self.step, digests=digests, **evidence))

    def carry_out(self):
        remedy = self.of(Remedy)[-1]
        back = next(one.to_step for one in remedy.plan if isinstance(one, RollBack))
        self.tell(RemedyDone(remedy=remedy.id, attempt=self.attempt, step=back, restored_step=back))
        self.begin(back, "rollback")
        return remedy


def test_equal_digests_are_no_news():
    run = Run()
    run.go(60)
    assert run.told == []
    assert run.state.agreed == 50


def test_a_majority_names_the_rank_and_the_run_returns_to_where_all_agreed():
    run = Run()
    run.come_apart(30)
    (alarm,) = run.of(Alarm)
    assert (alarm.signal, alarm.direction, alarm.value) == ("replica weights", "differs", 1.0)
    (incident,) = run.of(Incident)
    assert (incident.step, incident.onset, incident.examine_at) == (30, 21, 33)
    (diagnosis,) = run.of(Diagnosis)
    assert diagnosis.causes[0].name == "corrupted weights"
    assert diagnosis.causes[0].evidence[:2] == (
        "after update 30 rank 1 holds other bits than the rest of 3 replicas: weights",
        "after update 20 all replicas were alike",
    )
    (remedy,) = run.of(Remedy)
    assert remedy.plan == (RollBack(to_step=20),)
    run.carry_out()
    run.go(40)
    assert [one.result for one in run.of(Outcome)] == ["cured"]
    assert run.state.case is None


@pytest.mark.parametrize(
    ("kinds", "cause"),
    [
        ({"weights": 2}, "corrupted weights"),
        ({"weights": 9, "exp_avg": 9, "exp_avg_sq": 9}, "corrupted gradient"),
        ({"weights": 1, "exp_avg": 1}, "corrupted moments"),
        ({"exp_avg_sq": 1}, "corrupted moments"),
    ],
)
def test_the_kind_of_the_tensors_tells_what_was_changed(kinds, cause):
    run = Run()
    run.come_apart(30, kinds=kinds)
    (diagnosis,) = run.of(Diagnosis)
    assert diagnosis.causes[0].name == cause
    corrupted = [one for one in diagnosis.causes if one.name.startswith("corrupted")]
    assert len(corrupted) == 1


def test_with_two_replicas_nobody_is_named():
    run = Run(copies=2, world=2)
    run.come_apart(30, "ab")
    (diagnosis,) = run.of(Diagnosis)
    assert "cannot tell which is wrong" in diagnosis.causes[0].evidence[0]
    assert run.state.named == ()
    assert run.of(Remedy)[0].plan == (RollBack(to_step=20),)


def test_two_against_two_name_nobody():
    found = vote(compared(30, "aabb").unlike, ["weights"], step=30, agreed=20, copies=4)
    assert (found.suspects, found.is_named, found.has_twins) == ((0, 1, 2, 3), False, True)


def test_another_part_can_say_who_it_was():
    event = compared(30, "aab", moments="abc")
    found = vote(event.unlike, ["weights", "moments"], step=30, agreed=20, copies=3)
    assert (found.suspects, found.is_named) == ((2,), True)


def test_shards_of_several_groups_are_compared_within_their_group():
    unlike = [UnlikeReplicas(part="weights", ranks=(1, 3, 5), digests=("x", "x", "y"))]
    found = vote(unlike, ["weights"], step=30, agreed=20, copies=3)
    assert found.suspects == (5,)


def test_where_no_two_are_alike_a_person_is_asked_and_nothing_is_undone():
    run = Run()
    run.come_apart(30, "abc")
    (remedy,) = run.of(Remedy)
    assert isinstance(remedy.plan[0], AskPerson)


def test_replicas_that_come_apart_again_lead_further_back_then_to_a_person():
    run = Run(copies=2, world=2)
    for back in (20, 0):
        run.come_apart(30, "ab")
        assert run.of(Remedy)[-1].plan == (RollBack(to_step=back),)
        run.carry_out()
    run.come_apart(30, "ab")
    assert isinstance(run.of(Remedy)[-1].plan[0], AskPerson)


def test_the_host_of_a_rank_that_is_named_twice_is_left_and_the_count_begins_anew():
    run = Run()
    run.come_apart(30)
    run.carry_out()
    run.go(60)
    run.come_apart(100)
    remedy = run.carry_out()
    assert remedy.plan == (RollBack(to_step=90), LeaveHost(rank=1))
    assert run.state.named == ()


@pytest.mark.parametrize(("world", "named"), [(None, (1,)), (2, ())])
def test_with_other_hosts_a_ranks_number_is_another_machines(world, named):
    run = Run()
    run.come_apart(30)
    run.carry_out()
    assert run.state.named == (1,)
    run.tell(AttemptBegan(attempt=9, step=30, draw=240, cause="restart", world=world))
    assert run.state.named == named


def test_another_rank_the_second_time_is_no_reason_to_leave():
    run = Run()
    run.come_apart(30)
    run.carry_out()
    run.go(60)
    run.come_apart(100, "aab")
    assert run.of(Remedy)[-1].plan == (RollBack(to_step=90),)


def test_what_cannot_leave_goes_back_only():
    run = Run(can=("RollBack",))
    for after in (30, 100):
        run.come_apart(after)
        run.carry_out()
        run.go(after + 30)
    assert [len(one.plan) for one in run.of(Remedy)] == [1, 1]


def test_no_state_is_called_healthy_beyond_the_last_agreement():
    run = Run()
    run.go(39)
    assert run.state.healthy_until == 30
    run.go(41)
    assert run.state.healthy_until == 37
    run.come_apart(50)
    assert run.state.healthy_until <= 40


def test_a_life_that_compares_nothing_is_not_held_back_by_an_earlier_one():
    run = Run()
    run.go(33)
    run.begin(33, "restart")
    run.is_first = False
    while run.step < 60:
        run.step += 1
        run.tell(record(run.step, attempt=run.attempt))
    assert run.state.healthy_until == 56


def test_a_difference_in_a_step_that_a_restart_repeats_is_judged_afresh():
    run = Run()
    run.go(38)
    run.begin(30, "restart")
    run.tell(compared(30, "aba", attempt=run.attempt))
    (incident,) = run.of(Incident)
    assert (incident.step, incident.onset) == (30, 30)
    assert run.state.step == 30


def test_an_open_case_takes_the_difference_in():
    run = Run(judge(mode="ask"))
    run.come_apart(30)
    (proposal,) = run.of(Proposal)
    run.go(40)
    before = run.state.case
    run.tell(compared(40, "aba", attempt=run.attempt))
    assert run.state.case.phase == "proposed"
    assert run.state.case.id == before.id
    assert proposal.plan == (RollBack(to_step=20),)


def test_a_run_that_is_only_watched_is_told_once_and_not_examined_for_ever():
    run = Run(judge(mode="observe"))
    run.come_apart(30)
    told = len(run.told)
    run.go(100, digests="aba")
    assert len(run.of(Diagnosis)) == 1
    assert len(run.told) == told
    assert run.state.case is not None


def test_what_was_seen_by_a_loss_first_is_explained_by_the_replicas():
    run = Run()
    run.go(35)
    run.tell(
        StepRecord(**{
            **{name: getattr(record(36), name) for name in StepRecord.__struct_fields__},
            "loss": math.inf, "nll": (math.inf, math.inf),
        })
    )  # fmt: skip
    (incident,) = run.of(Incident)
    run.tell(examined(incident.id, 37))
    (diagnosis,) = run.of(Diagnosis)
    assert diagnosis.causes[0].name == "corrupted weights"
    assert run.of(Remedy)[0].plan == (RollBack(to_step=30),)


def test_a_run_of_shards_alone_is_told_that_nothing_is_held_twice():
    run = Run(copies=1, world=4)
    (advice,) = run.of(Advice)
    assert advice.topic == "replicas"
    assert Run(copies=1, world=1).told == []
    assert Run(copies=None, world=4).told == []
