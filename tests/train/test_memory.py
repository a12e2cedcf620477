"""What a restart finds again of what was asked for and not done."""

from steadytrain.actions import RollBack
from steadytrain.events import Incident, PanelWanted, RemedyDone, TrialWanted
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
