"""A branch begins from a healthy checkpoint of another run, which goes on and is left alone."""

import shutil

import msgspec
import pytest

from steadytrain import journal
from steadytrain.actions import (
    AskPerson,
    Cancel,
    ExcludeRank,
    ResetMoments,
    RollBack,
    ScaleLearningRate,
    SkipDraws,
)
from steadytrain.errors import CheckpointError, SettingError
from steadytrain.events import (
    AttemptBegan,
    CheckpointRefused,
    CheckpointSaved,
    PersonSaid,
    Remedy,
    RestoreVerified,
    RunBranched,
    RunEnded,
    StepRecord,
)
from steadytrain.judge.places import in_place_of
from steadytrain.judge.state import Case
from steadytrain.replaying import replay
from steadytrain.train import WarmupStableDecay, branch_step
from steadytrain.train.branches import Parent, inherited
from steadytrain.train.hands import Orders
from steadytrain.train.trajectory import Trajectory
from tests import rig

GARBLED = range(40 * rig.BATCH, 43 * rig.BATCH)
STEPS = 60
RUN = {"steps": STEPS, "garbled": GARBLED, "keep": 10}


def of(home, kind):
    return [one for one in journal.read(home) if isinstance(one, kind)]


def train(home, *, stop_at=None, at=None, do=None, **changes):
    """Train to the end or to a step; `do` is called once before update `at` + 1."""
    model, optimizer, guarded = rig.session(home, **(RUN | changes))
    with guarded as run:
        for batch in run:
            if run.step_number == at and do is not None:
                call, do = do, None
                call()
            run.backward(model(batch.tokens_BT), batch)
            run.step()
            if run.step_number == stop_at:
                break
    return rig.digest(model, optimizer)


def everything_in(home):
    """What a home holds, and when it was written last."""
    return {
        path.relative_to(home): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in sorted(home.rglob("*"))
    }


@pytest.fixture(scope="module")
def stable(tmp_path_factory):
    """A run that healed garbled text at step 40."""
    home = tmp_path_factory.mktemp("stable") / "stable"
    return home, train(home)


@pytest.fixture(scope="module")
def branch(stable, tmp_path_factory):
    home = tmp_path_factory.mktemp("branch") / "branch"
    before = everything_in(stable[0])
    digests = train(home, branch_from=(stable[0], 34))
    assert everything_in(stable[0]) == before  # nothing was written there
    return home, digests


def test_it_begins_from_the_newest_healthy_checkpoint_at_or_before_the_step(branch, stable):
    (branched,) = of(branch[0], RunBranched)
    assert (branched.run, branched.step, branched.draw) == ("stable", 30, 30 * rig.BATCH)
    assert branched.checkpoint == "a0001-s00000030"
    assert branched.updates == 30
    (began,) = of(branch[0], AttemptBegan)
    assert (began.cause, began.step, began.checkpoint) == ("start", 30, branched.checkpoint)


def test_with_its_parents_schedule_it_equals_its_parent_to_the_bit(branch, stable):
    # The draws that its parent left out later are left out here from the beginning.
    assert branch[1] == stable[1]
    assert not of(branch[0], Remedy)
    mine = rig.losses(branch[0])
    assert mine == {step: one for step, one in rig.losses(stable[0]).items() if step > 30}


def test_what_was_restored_is_compared_with_the_parents_record(branch):
    found = [one for one in of(branch[0], RestoreVerified) if one.source != "rehearsal"]
    (one,) = found
    assert one.differences == ()
    assert set(one.checked) >= {"rng", "draw", "lr", "betas", "step count", "loss"}


def test_its_journal_explains_itself(branch):
    assert [one.differences for one in replay(branch[0])] == [()]
    (branched,) = of(branch[0], RunBranched)
    (remedy,) = branched.remedies
    assert remedy.id == "stable:remedy-1"
    assert [type(action).__name__ for action in remedy.plan] == ["SkipDraws"]


def test_its_first_state_is_kept_in_its_own_home(branch):
    assert min(one.step for one in of(branch[0], CheckpointSaved)) == 30


def test_a_restart_goes_on_exactly_and_needs_no_parent(branch, stable, tmp_path):
    parent = tmp_path / "stable"
    shutil.copytree(stable[0], parent)
    home = tmp_path / "branch"
    train(home, branch_from=(parent, 34), stop_at=33)
    shutil.rmtree(parent)
    assert train(home, branch_from=(parent, 34)) == branch[1]
    assert rig.losses(home) == rig.losses(branch[0])
    assert len(of(home, RunBranched)) == 1
    assert [one.differences for one in replay(home)] == [()]


def test_a_death_before_its_own_checkpoint_begins_from_the_parent_again(
    branch, stable, tmp_path, monkeypatch
):
    home = tmp_path / "branch"

    def die(self, **_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Trajectory, "begin", die)
        with pytest.raises(KeyboardInterrupt):
            train(home, branch_from=(stable[0], 34))
    # Without saying it again: the journal knows where it came from.
    assert train(home) == branch[1]
    assert rig.losses(home) == rig.losses(branch[0])
    assert [one.step for one in of(home, RunBranched)] == [30, 30]
    assert [one.differences for one in replay(home)] == [()]


def test_a_checkpoint_that_vanishes_meanwhile_leads_to_an_older_one(stable, tmp_path, monkeypatch):
    parent = tmp_path / "stable"
    shutil.copytree(stable[0], parent)
    real = Parent.origins

    def origins(self, at_or_before):
        found = real(self, at_or_before)
        shutil.rmtree(found[0].ref.path)
        return found

    monkeypatch.setattr(Parent, "origins", origins)
    home = tmp_path / "branch"
    assert train(home, branch_from=(parent, 34)) == stable[1]
    (branched,) = of(home, RunBranched)
    assert branched.step == 20
    (refused,) = of(home, CheckpointRefused)
    assert "a0001-s00000030" in refused.path
    assert "never finished" in refused.reason


def test_it_can_begin_while_its_parent_is_running(stable, tmp_path):
    parent, home = tmp_path / "stable", tmp_path / "branch"
    found = {}

    def branch_off():
        found["step"] = branch_step(parent, home=home)
        found["digests"] = train(
            home, branch_from=parent, steps=found["step"] + 10, schedule=decay(found["step"])
        )

    assert train(parent, at=38, do=branch_off) == stable[1]
    assert found["step"] == 20  # step 30 had not seen 8 good steps after it
    rates = [one.lr for one in of(home, StepRecord)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == 0.0
    assert of(home, RunEnded)


def decay(step):
    return WarmupStableDecay(peak=3e-3, steps=step + 10, warmup=5, decay=10)


def test_where_a_branch_began_is_known_from_its_own_journal(branch, stable):
    assert branch_step(stable[0], home=branch[0]) == 30
    assert branch_step(stable[0], home="nowhere") > 30


def test_a_state_that_is_not_known_to_be_healthy_is_not_taken(tmp_path):
    parent = tmp_path / "stable"
    train(parent, stop_at=43)  # the incident of step 41 is open
    healthy = Parent(parent).healthy_until
    assert healthy < 40
    assert [one.branched.step for one in Parent(parent).origins()] == [30, 20, 10, 0]
    assert branch_step(parent, home=tmp_path / "b") == 30
    assert branch_step(parent, home=tmp_path / "b", at_or_before=29) == 20


def test_an_abandoned_branch_is_no_origin(stable):
    # Steps 41 and 42 of the first attempt were abandoned; what came after them is of the second.
    refs = [one.ref for one in Parent(stable[0]).origins()]
    assert all(ref.attempt == 1 or ref.step > 40 for ref in refs)
    assert all(ref.attempt == 2 or ref.step <= 40 for ref in refs)


class TestGoingBackInABranch:
    """The parent's earlier states are not there to go back to."""

    def state(self):
        event = RunBranched(run="s", home="s", step=30, draw=360, checkpoint="a0001-s00000030")
        state, _ = rig.judge().update(rig.judge().init(), event)
        return state

    def test_a_plan_goes_back_to_its_beginning_at_most(self):
        case = Case(
            id="incident-1", phase="examining", attempt=1, opened=33, onset=32, last_alarm=33,
            signals=("loss",), directions=("rise",), score=9.0, examine_at=35,
        )  # fmt: skip
        skip = SkipDraws(ranges=((1, 2),), from_step=24)
        plan = in_place_of(self.state(), case, (RollBack(to_step=24), skip))
        assert plan == (RollBack(to_step=30), SkipDraws(ranges=((1, 2),), from_step=30))
        assert in_place_of(self.state(), case, (RollBack(to_step=31),)) == (RollBack(to_step=31),)

    def test_a_person_cannot_order_what_is_not_there(self):
        said = PersonSaid(
            id="1", who="ada", verb="order", step=30, plan=(RollBack(to_step=20),), words=""
        )
        state = msgspec.structs.replace(self.state(), step=40)
        _, (advice,) = rig.judge().update(state, said)
        assert "the run began after step 30, later than step 20" in advice.text

    def test_its_first_state_is_known_to_be_healthy(self):
        assert self.state().healthy_until == 30


class TestWhatIsInherited:
    def orders(self, *plans):
        return Orders(
            Remedy(
                id=f"remedy-{number}", incident="i", step=1, due=3, rung=0, cause="c", plan=plan,
                why="w",
            )
            for number, plan in enumerate(plans, start=1)
        )  # fmt: skip

    def actions(self, orders, step):
        return [action for one in inherited(orders, step, run="s") for action in one.plan]

    def test_draws_left_out_later_are_left_out_too(self):
        skip = SkipDraws(ranges=((1, 2),), from_step=90)
        assert self.actions(self.orders((skip,)), 50) == [skip]

    def test_settings_hold_that_were_in_force_there(self):
        lower = ScaleLearningRate(factor=0.5, from_step=40, hold_steps=8, rewarm_steps=8)
        later = ScaleLearningRate(factor=0.5, from_step=60, hold_steps=8, rewarm_steps=8)
        assert self.actions(self.orders((lower,), (later,)), 50) == [lower]

    def test_what_a_rollback_abandoned_is_not_inherited(self):
        lower = ScaleLearningRate(factor=0.5, from_step=40, hold_steps=8, rewarm_steps=8)
        assert self.actions(self.orders((lower,), (RollBack(to_step=30),)), 30) == []

    def test_moments_that_are_reset_already_are_not_reset_again(self):
        orders = self.orders((ResetMoments(from_step=40),), (ResetMoments(from_step=50),))
        assert self.actions(orders, 50) == [ResetMoments(from_step=50)]

    def test_what_concerns_a_moment_or_a_machine_is_not_inherited(self):
        orders = self.orders((RollBack(to_step=9), AskPerson(question="q")),
                             (ExcludeRank(rank=1, from_step=9),))  # fmt: skip
        assert self.actions(orders, 50) == []

    def test_names_are_the_parents(self):
        lower = ScaleLearningRate(factor=0.5, from_step=10, hold_steps=99, rewarm_steps=8)
        orders = self.orders((lower,), (Cancel(remedy="remedy-1", from_step=20),))
        found = inherited(orders, 50, run="s")
        assert [one.id for one in found] == ["s:remedy-1", "s:remedy-2"]
        assert found[1].plan == (Cancel(remedy="s:remedy-1", from_step=20),)
        assert Orders(found).at(51) == orders.at(51)


class TestRefusals:
    def test_a_home_without_a_run(self, tmp_path):
        with pytest.raises(CheckpointError, match="holds no run to branch from"):
            train(tmp_path / "b", branch_from=tmp_path / "nothing")

    def test_a_run_that_would_end_before_it_begins(self, stable, tmp_path):
        with pytest.raises(SettingError, match="steps=20 ends before the branch begins"):
            train(tmp_path / "b", branch_from=(stable[0], 34), steps=20)

    def test_a_home_that_holds_a_run_of_its_own(self, stable, tmp_path):
        train(tmp_path / "b", stop_at=3)
        shutil.rmtree(tmp_path / "b" / "checkpoints")
        with pytest.raises(CheckpointError, match="began by itself"):
            train(tmp_path / "b", branch_from=(stable[0], 34))

    def test_another_model(self, stable, tmp_path, monkeypatch):
        real = rig.Transformer

        def larger(config, seed):
            return real(rig.Config(width=32, layers=2, heads=2, context=rig.CONTEXT), seed=seed)

        monkeypatch.setattr(rig, "Transformer", larger)
        with pytest.raises(CheckpointError, match="can be branched from: .*another model"):
            train(tmp_path / "b", branch_from=(stable[0], 34))

    def test_another_data_order(self, stable, tmp_path, monkeypatch):
        monkeypatch.setattr(rig.Words, "domains", ("prose", "verse"))
        with pytest.raises(CheckpointError, match="goes on in its parent's data order"):
            train(tmp_path / "b", branch_from=(stable[0], 34), panel=None)

    def test_a_parent_that_is_too_young(self, tmp_path):
        train(tmp_path / "young", stop_at=1)
        shutil.rmtree(tmp_path / "young" / "checkpoints")
        with pytest.raises(SettingError, match="no checkpoint that is known to be healthy"):
            branch_step(tmp_path / "young", home=tmp_path / "b")
