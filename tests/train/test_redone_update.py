"""An update that is thrown out and made again equals the one of a run that made it once."""

import pytest
import torch
from torch.nn import functional

from steadytrain import control, journal
from steadytrain.control import Word
from steadytrain.events import Advice, RemedyDone
from steadytrain.train import desk
from tests import rig

STEPS, AT = 30, 12


class Counting(torch.nn.Module):
    """Nothing, with a buffer that each forward pass in training moves on."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, hidden):
        if self.training:
            self.mean.lerp_(hidden.detach().mean(), 0.1)
        return functional.dropout(hidden + self.mean, 0.2, self.training)


def _make_noisy(model):
    model.noise = Counting()
    model.blocks[0].register_forward_hook(lambda module, given, out: model.noise(out))


def _train(home, *, stop_at=None, order=True):
    model, optimizer, guarded = rig.session(home, steps=STEPS, alter=_make_noisy)
    torch.manual_seed(5)
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
            if order and run.step_number == AT and run.attempt == 1:
                control.send(home, Word(verb="order", plan="z-loss 1e-3 hold 2000"))
            if run.step_number == stop_at:
                break
    return rig.digest(model, optimizer)


@pytest.fixture(autouse=True)
def _prompt_desk(monkeypatch):
    monkeypatch.setattr(desk, "EVERY_SECONDS", 0.0)


def test_a_life_that_made_it_once_ends_in_the_same_state(tmp_path):
    whole = _train(tmp_path / "whole")
    (done,) = [one for one in journal.read(tmp_path / "whole") if isinstance(one, RemedyDone)]
    assert AT < done.step < AT + 6  # in the middle of the run, so an update was thrown out
    assert whole != _train(tmp_path / "other", order=False)
    _train(tmp_path / "r", stop_at=19)  # the last checkpoint is from before the order
    assert _train(tmp_path / "r") == whole
    topics = [one.topic for one in journal.read(tmp_path / "r") if isinstance(one, Advice)]
    assert "not reproducible" not in topics
