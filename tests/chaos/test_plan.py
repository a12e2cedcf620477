"""Plans are read strictly, and the same plan and seed give the same moments."""

import pytest

from steadytrain.chaos import plan as plans
from steadytrain.chaos.kinds import SLOW_UPDATES
from steadytrain.chaos.plan import Fault, Plan
from steadytrain.errors import SettingError

SAVES = range(0, 101, 10)


def moments(plan, *, steps=100, world=2):
    return plans.trials(plan, steps=steps, world=world, saves=SAVES)


@pytest.mark.parametrize("name", plans.built_in())
def test_every_plan_that_comes_along_can_be_carried_out(name):
    found = moments(plans.read(name))
    assert found
    assert all(
        0 <= one.step < 100 and one.rank in (0, 1) for trial in found for one in trial.faults
    )


def test_the_plans_that_come_along_hold_every_kind():
    held = {fault.kind for name in plans.built_in() for fault in plans.read(name).fault}
    assert held == set(plans.KINDS)


def test_a_range_is_kept_to_and_both_its_ends_are_drawn():
    plan = Plan(repeats=200, fault=(Fault(kind="sigkill", step=(20, 22)),))
    assert {trial.faults[0].step for trial in moments(plan)} == {20, 21, 22}


def test_the_same_seed_gives_the_same_moments_and_another_gives_others():
    plan = Plan(seed=7, repeats=5, fault=(Fault(kind="sigkill"), Fault(kind="gil")))
    again = moments(plan)
    assert moments(plan) == again
    assert moments(plans.changed(plan, seed=8, repeats=None)) != again


def test_a_fault_more_in_the_plan_moves_no_other():
    one = Fault(kind="sigkill", trial="first")
    alone = moments(Plan(fault=(one,)))
    joined = moments(Plan(fault=(one, Fault(kind="gil"))))
    assert joined[0] == alone[0]


def test_faults_of_one_trial_are_done_to_one_run():
    plan = plans.parse(
        '[[fault]]\nkind = "exception"\ntrial = "a"\n[[fault]]\nkind = "exit"\ntrial = "a"\n'
        '[[fault]]\nkind = "gil"'
    )
    assert [[one.kind for one in trial.faults] for trial in moments(plan)] == [
        ["exception", "exit"],
        ["gil"],
    ]


def test_a_broken_disk_is_placed_before_a_save_that_is_not_the_last():
    plan = Plan(repeats=100, fault=(Fault(kind="disk-gone"),))
    steps = {trial.faults[0].step for trial in moments(plan)}
    assert steps == {save - plans.AHEAD_STEPS for save in SAVES if 0 < save < 100}


def test_several_plans_are_one_with_the_seed_of_the_first():
    joined = plans.joined([Plan(seed=3, fault=(Fault(kind="gil"),)), plans.read("ranks")])
    assert joined.seed == 3
    assert [fault.kind for fault in joined.fault] == ["gil", "disconnect", "desync"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[fault]", "it is no TOML"),
        ("seed = 1", "it has no fault"),
        ("[[fault]]\nstep = 3", "missing required field `kind`"),
        ('[[fault]]\nkind = "gremlin"', "'gremlin' is no kind of fault"),
        ('[[fault]]\nkind = "sigkill"\nat = 3', "unknown field `at`"),
        ('repeat = 3\n[[fault]]\nkind = "sigkill"', "unknown field `repeat`"),
        ('repeats = 0\n[[fault]]\nkind = "sigkill"', "repeats = 0 runs no trial"),
        ('[[fault]]\nkind = "sigkill"\nstep = [60, 20]', "is no range of updates made"),
        ('[[fault]]\nkind = "sigkill"\nstep = -1', "is no range of updates made"),
        ('[[fault]]\nkind = "sigkill"\nstep = "soon"', "Expected"),
        ('[[fault]]\nkind = "gil"\nphase = "lunch"', "'lunch' is no phase"),
        ('[[fault]]\nkind = "preempt"\nphase = "step"', "which cannot aim at a phase"),
        ('[[fault]]\nkind = "corrupt-weights"\nphase = "step"', "its place is fixed"),
        ('[[fault]]\nkind = "sigkill"\nseconds = 3', "those that last are slow-rank"),
        ('[[fault]]\nkind = "stall"\nseconds = 0', "seconds = 0"),
        ('[[fault]]\nkind = "sigkill"\nrank = -1', "there is no rank -1"),
        ('[[fault]]\nkind = "sigkill"\ntimes = 2', "Write the fault again"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_write(text, words):
    with pytest.raises(SettingError, match=words):
        plans.parse(text)


@pytest.mark.parametrize(
    ("fault", "world", "words"),
    [
        (Fault(kind="sigkill", step=100), 2, "lies beyond the run, which makes 100 updates"),
        (Fault(kind="sigkill", rank=2), 2, "--nproc 3"),
        (Fault(kind="disconnect"), 1, "--nproc 2"),
    ],
)
def test_what_the_run_does_not_have_is_refused(fault, world, words):
    with pytest.raises(SettingError, match=words):
        moments(Plan(fault=(fault,)), world=world)


def test_a_run_that_saves_nothing_before_its_end_has_no_save_to_fail():
    with pytest.raises(SettingError, match="Let it save more often"):
        plans.trials(Plan(fault=(Fault(kind="disk-full"),)), steps=9, world=1, saves=[0, 9])


def test_a_plan_that_is_not_there_names_those_that_are(tmp_path):
    with pytest.raises(SettingError, match="come along: hangs, numbers, processes"):
        plans.read(str(tmp_path / "no.toml"))


def test_an_error_in_a_file_names_the_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("seed = 'x'")
    with pytest.raises(SettingError, match=r"mine.toml: Expected `int`"):
        plans.read(str(path))


def test_a_slow_rank_has_the_updates_that_it_takes_to_be_told():
    plan = Plan(repeats=200, fault=(Fault(kind="slow-rank"),))
    steps = {trial.faults[0].step for trial in moments(plan)}
    assert min(steps) == 20
    assert max(steps) == 100 - SLOW_UPDATES - 1


@pytest.mark.parametrize(("step", "steps"), [(None, 45), (60, 100), ((50, 70), 100)])
def test_a_slow_rank_is_refused_where_the_run_ends_before_it_could_be_told(step, steps):
    with pytest.raises(SettingError, match="goes on for 40 updates"):
        moments(Plan(fault=(Fault(kind="slow-rank", step=step),)), steps=steps)
