"""What a restart finds again of what was asked for and not done."""

import pytest

from steadytrain import journal, replay
from steadytrain.actions import RollBack
from steadytrain.events import (
    Incident,
    JudgingEnded,
    PanelWanted,
    RemedyDone,
    StepRecord,
    TrialWanted,
)
from steadytrain.judge.judge import Judge
from steadytrain.judge.state import Limits, freeze
from steadytrain.recipes import pretrain
from steadytrain.train.memory import Memory
from tests.judge.test_judge import Court, _examined
from tests.judge.test_treatment import SICK, UNSTABLE, _look


class Recorded(Court):
    """Remembers all that it is told."""

    def tell(self, event):
        self.events = [*getattr(self, "events", []), event]
        return super().tell(event)


def _written(home, court):
    """The run's memory after a life that was told all this."""
    began, *later = court.events
    memory = Memory(home, court.judge, began, say=lambda _: None, fence=False)
    for event in later:
        memory.tell(event)
    memory.close()
    again = Memory(home, court.judge, began, say=lambda _: None, fence=False)
    again.close()
    return again


def _fall_ill(court):
    (incident,) = [one for one in court.train(1, **SICK) if isinstance(one, Incident)]
    court.train(1, **SICK)
    return court.tell(_examined(incident.id, court.step, **UNSTABLE))


def test_a_trial_that_was_asked_for_is_still_due_and_begins_from_a_healthy_state(tmp_path):
    court = Recorded(judge=pretrain(trials=1))
    court.train(120)
    wanted = _fall_ill(court)[-1]
    memory = _written(tmp_path, court)
    assert isinstance(wanted, TrialWanted)
    assert memory.pending() == [wanted]
    assert memory.allows(200, 1, 120)
    assert not memory.allows(200, 1, 121)


def test_a_look_at_the_panel_that_was_asked_for_is_still_due(tmp_path):
    court = Recorded(judge=pretrain())
    court.train(100)
    court.tell(_look(100, 2.5))
    court.train(20)
    remedy = _fall_ill(court)[-1]
    (back,) = [one.to_step for one in remedy.plan if isinstance(one, RollBack)]
    court.train(1, **SICK)
    court.tell(RemedyDone(remedy=remedy.id, attempt=1, step=back, restored_step=back))
    court.step = court.state.step
    (wanted,) = court.train(16, attempt=2)
    assert isinstance(wanted, PanelWanted)
    assert _written(tmp_path / "asked", court).pending() == [wanted]
    court.train(1, attempt=2)
    court.tell(_look(court.step, 2.45))
    assert _written(tmp_path / "answered", court).pending() == []


class Broken(Judge, frozen=True, kw_only=True):
    """A judge with a bug: it cannot judge one step, or cannot tell limits from one on."""

    dies_at: int = 10**9
    blind_from: int = 10**9

    def update(self, state, event):
        if isinstance(event, StepRecord) and event.step == self.dies_at:
            raise ZeroDivisionError("a bug")
        return super().update(state, event)

    def limits(self, state):
        if state.step >= self.blind_from:
            raise ZeroDivisionError("a bug")
        return super().limits(state)


def _remembered(home, judge, events, *, fence=True):
    memory = Memory(home, judge, events[0], say=lambda _: None, fence=fence)
    for event in events[1:]:
        memory.tell(event)
    return memory


def _events(steps):
    court = Recorded(judge=pretrain())
    court.train(steps)
    return court.events


def _failures(home):
    return [one for one in journal.read(home, "rank0") if isinstance(one, JudgingEnded)]


class TestAJudgeThatFails:
    def test_ends_judging_and_not_training(self, tmp_path):
        memory = _remembered(tmp_path, Broken(dies_at=5), _events(8))
        memory.close()
        (failure,) = _failures(tmp_path)
        assert failure.reason == "ZeroDivisionError: a bug"
        assert not memory.is_judging
        assert len(list(journal.read(tmp_path, "rank0"))) == len(_events(8)) + 1

    def test_over_the_limits_leaves_every_finite_update_through(self, tmp_path):
        memory = _remembered(tmp_path, Broken(blind_from=5), _events(8))
        assert memory.limits(9) == Limits()
        assert memory.limits(10) == Limits()
        memory.close()
        assert len(_failures(tmp_path)) == 1

    def test_before_it_could_say_so_does_not_stop_the_next_life(self, tmp_path):
        _remembered(tmp_path, pretrain(), _events(8)).close()
        judge = Broken(dies_at=5)
        again = _remembered(tmp_path, judge, _events(1)[:1])
        again.close()
        assert not again.is_judging
        assert len(_failures(tmp_path)) == 1
        later = _remembered(tmp_path, judge, _events(1)[:1])
        later.close()
        assert later.is_judging

    def test_is_heard_where_there_is_no_fence(self, tmp_path):
        *events, fatal = _events(5)
        memory = _remembered(tmp_path, Broken(dies_at=5), events, fence=False)
        with pytest.raises(ZeroDivisionError):
            memory.tell(fatal)
        memory.close()


class TestAnAdoptedMemory:
    """A replica that was away for fifty steps goes on as the judge that healed it."""

    @pytest.fixture
    def courts(self, tmp_path):
        """The judge of the replica that stayed, and the memory of the one that came back."""
        stayed, away = Recorded(judge=pretrain()), Recorded(judge=pretrain())
        stayed.train(150)
        away.train(100)
        began, *later = away.events
        memory = Memory(tmp_path, away.judge, began, say=lambda _: None, fence=False)
        for event in later:
            memory.tell(event)
        memory.adopt(freeze(stayed.state))
        yield stayed, memory
        memory.close()

    def test_gives_the_limits_and_judgments_of_the_other_one(self, courts):
        stayed, memory = courts
        assert memory.limits(151) == stayed.judge.limits(stayed.state)
        told = stayed.train(1, **SICK)
        assert list(memory.tell(stayed.events[-1])) == told
        assert any(isinstance(one, Incident) for one in told)

    def test_survives_a_restart_and_replays(self, courts, tmp_path):
        stayed, memory = courts
        stayed.train(5, **SICK)
        for event in stayed.events[-5:]:
            memory.tell(event)
        memory.close()
        began = memory.history.begun
        again = Memory(tmp_path, stayed.judge, began, say=lambda _: None, fence=False)
        again.close()
        assert freeze(again.state) == freeze(memory.state) == freeze(stayed.state)
        assert all(one.differences == () for one in replay(tmp_path))

    def test_of_an_older_checkpoint_forgets_what_came_after_it(self, courts, tmp_path):
        stayed, memory = courts
        memory.go_back(120)
        assert memory.state.step == 120
        assert 120 not in memory.history.limits
        memory.close()
        assert all(one.differences == () for one in replay(tmp_path))
