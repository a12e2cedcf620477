"""What a run makes of its faults is graded from facts alone, and nothing bad is overlooked."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from steadytrain import journal
from steadytrain.chaos.plan import Fault, Plan, Trial, trials
from steadytrain.chaos.strikes import Strike
from steadytrain.chaos.trial import Follower, Life, Observed
from steadytrain.chaos.verdict import Likeness, grade
from steadytrain.events import ProcessExited, WorkersFinished, WorkersStarted
from steadytrain.judge.restarts import RestartPolicy
from steadytrain.progress import Beat
from tests import rig

STEPS = 20
PIDS = (11, 12)
SAME = Likeness()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    home = tmp_path_factory.mktemp("undisturbed") / "run"
    rig.train(home, steps=STEPS)
    return seen(home)


def seen(home, **changes):
    life = Life(pid=11, began=0.0, first_step=0, last_step=STEPS, advanced=0.1, updates=STEPS)
    usual = {
        "statuses": (0,),
        "lives": (life,),
        "strikes": (),
        "orphans": (),
        "leaked": None,
        "is_late": False,
        "seconds": 3.0,
    }
    return Observed(home=home, **(usual | changes))


def supervised(tmp_path, undisturbed, *facts):
    """A home with the undisturbed run's journal, and what its supervisor wrote and judged."""
    home = tmp_path / "run"
    shutil.copytree(undisturbed.home, home)
    supervise(home, *facts)
    return home


def supervise(home, *facts):
    policy = RestartPolicy()
    tally = policy.init()
    with journal.Journal(home, "supervisor") as book:
        for fact in (WorkersStarted(generation=0, pids=PIDS), *facts):
            book.append(fact)
            tally, judgments = policy.update(tally, fact)
            for judgment in judgments:
                book.append(judgment)


def planned(kind):
    (trial,) = trials(Plan(fault=(Fault(kind=kind, rank=0),)), steps=60, world=2, saves=[0, 10, 20])
    return trial


def killed(pid=11, **more):
    return ProcessExited(
        generation=0, rank=PIDS.index(pid), pid=pid, signal="SIGKILL", step=7, **more
    )


STRUCK = Strike(index=0, clock=10.0, step=7, pid=11)
LIVES = (
    Life(pid=11, began=1.0, first_step=0, last_step=7, advanced=1.1, updates=7),
    Life(pid=21, began=10.2, first_step=5, last_step=20, advanced=10.5, updates=15),
)


def test_a_death_that_leads_back_to_the_same_run_is_survived(tmp_path, undisturbed):
    home = supervised(tmp_path, undisturbed, killed(), WorkersFinished(generation=1))
    result = grade(
        planned("sigkill"), seen(home, strikes=(STRUCK,), lives=LIVES), undisturbed, SAME
    )
    assert result.complaints == ()
    assert result.is_survived
    assert (result.steps_lost, result.recover_seconds, result.is_equal) == (2, (0.5,), True)
    assert (result.restarts, result.wrong_kills) == (1, 0)


def test_a_fault_that_never_fell_proves_nothing(tmp_path, undisturbed):
    result = grade(planned("sigkill"), seen(supervised(tmp_path, undisturbed)), undisturbed, SAME)
    assert not result.is_survived
    assert "sigkill never fell" in result.complaints[0]


def test_a_hang_that_is_taken_for_a_death_is_not_survived(tmp_path, undisturbed):
    home = supervised(tmp_path, undisturbed, killed())
    result = grade(planned("gil"), seen(home, strikes=(STRUCK,)), undisturbed, SAME)
    assert "the rank is found hung and named" in result.complaints[0]


def test_another_rank_named_is_a_wrong_kill(tmp_path, undisturbed):
    hung = killed(12, hung=True, silent_seconds=5.0, phase="forward", error="in sleep, train.py:3")
    home = supervised(tmp_path, undisturbed, hung)
    result = grade(planned("gil"), seen(home, strikes=(STRUCK,)), undisturbed, SAME)
    assert result.wrong_kills == 1
    assert any("rank 1 was called hung and killed at step 7" in one for one in result.complaints)
    assert any("its end is not on record" in one for one in result.complaints)


@pytest.mark.parametrize(("seconds", "is_on_record"), [(0.02, True), (2.0, False)])
def test_of_two_ranks_that_are_struck_together_one_end_is_enough(
    tmp_path, undisturbed, seconds, is_on_record
):
    both = Plan(
        fault=(
            Fault(kind="sigkill", rank=0, trial="both"),
            Fault(kind="sigterm", rank=1, trial="both"),
        )
    )
    (trial,) = trials(both, steps=STEPS, world=2)
    other = Strike(index=1, clock=STRUCK.clock + seconds, step=7, pid=12)
    home = supervised(tmp_path, undisturbed, killed(), WorkersFinished(generation=1))
    result = grade(trial, seen(home, strikes=(STRUCK, other), lives=LIVES), undisturbed, SAME)
    assert result.is_survived == is_on_record
    assert ("sigterm: rank 1 was struck" in " ".join(result.complaints)) != is_on_record


def test_a_slow_rank_must_be_told_and_left_alone(tmp_path, undisturbed):
    home = supervised(tmp_path, undisturbed)
    result = grade(planned("slow-rank"), seen(home, strikes=(STRUCK,)), undisturbed, SAME)
    assert result.complaints == ("slow-rank: no Straggler is on record",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"statuses": (93,)}, "it ended with status 93"),
        ({"is_late": True}, "it did not end within 3 s"),
        ({"orphans": ("99 python",)}, "processes outlived it: 99 python"),
        ({"leaked": Path("/dev/shm/steadytrain-x")}, "shared memory is left behind"),
    ],
)
def test_what_is_left_or_ends_otherwise_is_told(tmp_path, undisturbed, changes, words):
    home = supervised(tmp_path, undisturbed, killed())
    result = grade(planned("sigkill"), seen(home, strikes=(STRUCK,), **changes), undisturbed, SAME)
    assert any(words in one for one in result.complaints)


def test_another_state_at_the_end_is_not_survived(tmp_path, undisturbed):
    home = supervised(tmp_path, undisturbed, killed())
    other = Likeness(differing=("model.a", "model.b"))
    result = grade(planned("sigkill"), seen(home, strikes=(STRUCK,)), undisturbed, other)
    assert result.complaints == ("the final checkpoint differs in 2 places: model.a, model.b",)
    assert result.is_equal is False


def test_another_loss_at_a_step_is_not_survived(tmp_path, undisturbed):
    home = tmp_path / "run"
    rig.train(home, steps=STEPS, garbled=range(10 * rig.BATCH, 11 * rig.BATCH))
    supervise(home, killed())
    result = grade(planned("sigkill"), seen(home, strikes=(STRUCK,)), undisturbed, SAME)
    assert "the run is another from step 11 on" in result.complaints[0]


def test_a_crash_loop_must_end_with_status_93_and_one_cause(tmp_path, undisturbed):
    crash = ProcessExited(generation=0, rank=0, pid=11, code=93, step=7)
    home = supervised(tmp_path, undisturbed, crash)
    loop = seen(home, strikes=(STRUCK,), statuses=(93,))
    assert grade(planned("crash-loop"), loop, undisturbed, SAME).is_survived
    endless = dataclasses.replace(loop, statuses=(0,))
    assert not grade(planned("crash-loop"), endless, undisturbed, SAME).is_survived


class TestBrokenNumbers:
    def test_need_not_lead_to_the_same_end_but_must_be_seen(self, tmp_path, undisturbed):
        struck = seen(supervised(tmp_path, undisturbed), strikes=(STRUCK,))
        other = Likeness(differing=("model.a",))
        result = grade(planned("corrupt-weights"), struck, undisturbed, other)
        assert result.complaints == ("corrupt-weights: nobody has noticed it",)

    def test_must_not_leave_an_end_that_is_not_finite(self, tmp_path, undisturbed):
        struck = seen(supervised(tmp_path, undisturbed), strikes=(STRUCK,))
        broken = Likeness(differing=("model.a",), unsound=("model.a",))
        result = grade(planned("corrupt-weights"), struck, undisturbed, broken)
        assert "the final checkpoint is not finite: model.a" in result.complaints


def test_a_script_without_a_session_has_nothing_to_compare(tmp_path):
    home = tmp_path / "run"
    supervise(home, killed())
    result = grade(planned("sigkill"), seen(home, strikes=(STRUCK,)), seen(home), None)
    assert result.is_equal is None
    assert result.is_survived


def test_updates_are_counted_over_lives_and_rollbacks():
    follower = Follower()
    said = [(1, 0), (1, 1), (1, 2), (1, 2), (1, 0), (1, 1), (2, 1), (2, 2), (2, 3)]
    for clock, (pid, step) in enumerate(said):
        follower.look(
            Beat(
                pid=pid, generation=0, step=step, phase="data", clock=float(clock), beats=clock + 1
            )
        )
    first, second = follower.lives
    assert (first.updates, second.updates) == (3, 2)
    assert (second.began, second.first_step, second.advanced, second.last_step) == (6.0, 1, 7.0, 3)


def test_a_trial_is_survived_only_if_all_of_its_faults_fell(tmp_path, undisturbed):
    both = Plan(
        fault=(
            Fault(kind="sigkill", rank=0, trial="both"),
            Fault(kind="sigterm", rank=0, trial="both"),
        )
    )
    (trial,) = trials(both, steps=STEPS, world=2)
    assert isinstance(trial, Trial)
    home = supervised(tmp_path, undisturbed, killed())
    result = grade(trial, seen(home, strikes=(STRUCK,)), undisturbed, SAME)
    assert not result.fell
    assert not result.is_survived
