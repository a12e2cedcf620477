"""A restored state is compared with the record; what is broken is named, and an older one taken."""

import numpy as np
import pytest
import torch

from steadytrain import journal
from steadytrain.actions import ScaleLearningRate
from steadytrain.events import (
    Advice,
    AttemptBegan,
    CheckpointRefused,
    Remedy,
    RemedyDone,
    RestoreVerified,
    StepRecord,
)
from steadytrain.replaying import replay
from steadytrain.train import Feed, Session
from steadytrain.train.checkpoints import Checkpoints
from steadytrain.train.restores import Restores
from steadytrain.train.snapshots import Snapshots
from steadytrain.train.track import Expected
from tests import rig

GARBLED = range(40 * rig.BATCH, 43 * rig.BATCH)
ALL = ("rng", "draw", "lr", "epsilon", "betas", "step count", "loss")


def of(home, kind):
    return [one for one in journal.read(home) if isinstance(one, kind)]


def restores(home):
    """What was found of restored states, rehearsals left out."""
    return [one for one in of(home, RestoreVerified) if one.source != "rehearsal"]


def heal(home, **changes):
    """A run that garbled text makes roll back from step 40; state kept every 5 steps."""
    changes = {"steps": 60, "garbled": GARBLED} | changes
    return rig.train(home, **changes)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    home = tmp_path_factory.mktemp("sound") / "run"
    return home, heal(home)


def test_a_rollback_compares_everything_and_finds_no_difference(sound):
    (found,) = restores(sound[0])
    assert found.source == "snapshot"
    assert sorted(found.checked) == sorted(ALL)
    assert found.differences == ()
    (record,) = [
        one for one in of(sound[0], StepRecord) if one.step == found.step + 1 and one.attempt == 1
    ]
    assert found.recorded_loss == record.loss
    assert found.loss == pytest.approx(record.loss, rel=1e-6)


def test_a_life_begins_with_a_rehearsal_of_the_forward_pass(sound):
    (found,) = [one for one in of(sound[0], RestoreVerified) if one.source == "rehearsal"]
    assert (found.attempt, found.step, found.differences) == (1, 0, ())
    assert found.loss == pytest.approx(found.recorded_loss, rel=1e-6)


def test_a_restart_compares_everything_and_goes_on_exactly(sound, tmp_path):
    home = tmp_path / "run"
    model, _, guarded = rig.session(home, steps=60, garbled=GARBLED)
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
            if run.step_number == 37:
                break
    assert heal(home) == sound[1]
    found = restores(home)[0]
    assert (found.source, found.step) == ("a0001-s00000030", 30)
    assert (sorted(found.checked), found.differences) == (sorted(ALL), ())
    assert found.loss == pytest.approx(found.recorded_loss, rel=1e-6)


def spoil(monkeypatch, damage, *, times=1):
    """The first snapshots that are restored into the run (not for a rerun) come back damaged."""
    real, left = Snapshots.restore, [times]

    def restore(self, snapshot):
        real(self, snapshot)
        if left[0] and len(self.steps) > 1:
            left[0] -= 1
            with torch.no_grad():
                damage(self._state)

    monkeypatch.setattr(Snapshots, "restore", restore)


def groups(state):
    return state._optimizer.param_groups


def change_betas(state):
    groups(state)[0]["betas"] = (0.9, 0.999)


def change_rate(state):
    groups(state)[0]["lr"] *= 10


def change_counters(state):
    for one in state._optimizer.state.values():
        one["step"] += 1


def change_rng(state):
    torch.rand(1)


def change_numpy_rng(state):
    np.random.rand()  # noqa: NPY002


def flip_weights(state):
    state.tensors()["model.head.weight"][:64] *= -1.0


DAMAGE = {
    "beta2 is 0.999, on record is 0.95": change_betas,
    "the learning rate is": change_rate,
    "the optimizer has counted": change_counters,
    "the random state is": change_rng,
    "the random state": change_numpy_rng,
    "sequences of update": flip_weights,
}


@pytest.mark.parametrize("words", DAMAGE)
def test_what_is_broken_is_named_and_an_older_state_taken(sound, tmp_path, monkeypatch, words):
    spoil(monkeypatch, DAMAGE[words])
    home = tmp_path / "run"
    digests = heal(home)
    refused, taken = restores(home)
    assert len(refused.differences) == 1
    assert words in refused.differences[0]
    assert not refused.taken
    assert taken.differences == ()
    assert taken.step == refused.step - 5
    (deed,) = of(home, RemedyDone)
    assert deed.restored_step == taken.step
    # The steps in between were made again, so the run ends as if nothing had been wrong.
    assert digests == sound[1]
    assert rig.losses(home) == rig.losses(sound[0])
    assert [one.differences for one in replay(home)] == [()]


def test_a_shifted_draw_is_named(sound, tmp_path, monkeypatch):
    (usual,) = restores(sound[0])
    real = Snapshots.take

    def take(self, step, draw, **named):
        is_spoiled = step == usual.step and self._keep > 1
        return real(self, step, draw + 1 if is_spoiled else draw, **named)

    monkeypatch.setattr(Snapshots, "take", take)
    home = tmp_path / "run"
    heal(home)
    refused, taken = restores(home)
    draw = usual.step * rig.BATCH
    assert refused.differences[0] == (
        f"the data goes on at draw {draw + 1}, update {usual.step} ended at {draw}"
    )
    assert (taken.step, taken.differences) == (usual.step - 5, ())


def test_a_rate_that_does_not_reach_the_optimizer_is_named(tmp_path):
    # torch's own load_state_dict puts other groups in place: a dial that holds on to the old ones
    # turns nothing any more.
    home = tmp_path / "run"
    model, optimizer, guarded = rig.session(home, steps=60, garbled=GARBLED)
    with guarded as run:
        for batch in run:
            if run.step_number == 20 and run.attempt == 1:
                optimizer.load_state_dict(optimizer.state_dict())
            run.backward(model(batch.tokens_BT), batch)
            run.step()
    assert all(one.differences == () for one in restores(home))


def test_snapshots_that_are_all_broken_lead_to_a_checkpoint(sound, tmp_path, monkeypatch):
    spoil(monkeypatch, flip_weights, times=3)
    home = tmp_path / "run"
    assert heal(home) == sound[1]
    found = restores(home)
    assert [bool(one.differences) for one in found] == [True, True, True, False]
    assert found[-1].source.startswith("a0001-s000000")
    (began,) = [one for one in of(home, AttemptBegan) if one.cause == "rollback"]
    assert began.checkpoint == found[-1].source


class TestWhereNothingAgrees:
    @pytest.fixture
    def home(self, tmp_path, monkeypatch):
        real = Snapshots.restore

        def restore(self, snapshot):
            real(self, snapshot)
            if len(self.steps) > 1:
                change_counters(self._state)
                change_rng(self._state)

        monkeypatch.setattr(Snapshots, "restore", restore)
        real_load = Checkpoints.load

        def load(self, path, manifest):
            real_load(self, path, manifest)
            change_counters(self._state)

        monkeypatch.setattr(Checkpoints, "load", load)
        heal(tmp_path / "run")
        return tmp_path / "run"

    def test_the_newest_of_the_least_unlike_is_taken_and_said_loudly(self, home):
        found = restores(home)
        assert len(found) == 7  # three snapshots, three checkpoints, and the one that was taken
        assert [one.taken for one in found] == [False] * 6 + [True]
        newest = max(found[3:6], key=lambda one: one.step)
        assert found[-1].source == newest.source
        (advice,) = [one for one in of(home, Advice) if one.topic == "restored state differs"]
        assert "has counted" in advice.text

    def test_each_checkpoint_is_refused_with_its_reason(self, home):
        refused = of(home, CheckpointRefused)
        assert len(refused) == 3
        assert all("the optimizer has counted" in one.reason for one in refused)

    def test_the_run_goes_on_to_its_end_and_replays(self, home):
        assert max(one.step for one in of(home, StepRecord)) == 60
        assert [one.differences for one in replay(home)] == [()]


def test_a_restart_from_unrestored_weights_takes_an_older_checkpoint(sound, tmp_path, monkeypatch):
    home = tmp_path / "run"
    model, _, guarded = rig.session(home, steps=60, garbled=GARBLED)
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
            if run.step_number == 37:
                break
    real, left = Checkpoints.load, [1]

    def load(self, path, manifest):
        real(self, path, manifest)
        if left[0]:
            left[0] -= 1
            with torch.no_grad():
                flip_weights(self._state)

    monkeypatch.setattr(Checkpoints, "load", load)
    assert heal(home) == sound[1]
    refused, taken = restores(home)[:2]
    assert refused.source == "a0001-s00000030"
    assert "the batch of update 31 has loss" in refused.differences[0]
    assert (taken.source, taken.differences) == ("a0001-s00000020", ())
    (event,) = of(home, CheckpointRefused)
    assert "a0001-s00000030" in event.path
    assert [one.differences for one in replay(home)] == [()]


def test_a_loop_that_computes_otherwise_is_found_out_and_its_states_are_not_accused(tmp_path):
    home = tmp_path / "run"
    model, _, guarded = rig.session(home, steps=60, garbled=GARBLED)
    with guarded as run:
        for batch in run:
            # As autocast around the model would: our own forward pass has no such thing.
            run.backward(1.01 * model(batch.tokens_BT), batch)
            run.step()
    (rehearsal,) = [one for one in of(home, RestoreVerified) if one.source == "rehearsal"]
    assert rehearsal.differences
    assert [one.topic for one in of(home, Advice)] == ["loss not comparable"]
    for found in restores(home):
        assert (found.differences, found.loss) == ((), None)
        assert "loss" not in found.checked
    assert of(home, Remedy)


class Noisy(torch.nn.Module):
    """Dropout, and a buffer that a forward pass in training changes."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(256, 8)
        self.drop = torch.nn.Dropout(0.5)
        self.norm = torch.nn.BatchNorm1d(8)
        self.head = torch.nn.Linear(8, 256)

    def forward(self, tokens_BT):
        x = self.drop(self.embed(tokens_BT))
        return self.head(self.norm(x.transpose(1, 2)).transpose(1, 2))


def run_noisy(home, model, optimizer, *, steps, stop_at=None):
    feed = Feed(rig.Words(), batch_size=4)
    guarded = Session(
        model, optimizer, feed, home=home, steps=steps, judge=rig.judge(), fence=False,
        snapshot_every=2, checkpoint_every=4, say=lambda words: None,
    )  # fmt: skip
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
            if run.step_number == stop_at:
                break


def noisy(seed=5):
    torch.manual_seed(seed)
    model = Noisy()
    return model, torch.optim.AdamW(model.parameters(), lr=1e-3)


def test_the_rehearsal_leaves_random_state_and_running_statistics_alone(tmp_path, monkeypatch):
    model, optimizer = noisy()
    run_noisy(tmp_path / "with", model, optimizer, steps=4)
    assert of(tmp_path / "with", RestoreVerified)[0].differences == ()
    monkeypatch.setattr(Restores, "rehearse", lambda self, draws: None)
    again, moments = noisy()
    run_noisy(tmp_path / "without", again, moments, steps=4)
    assert rig.digest(model, optimizer) == rig.digest(again, moments)


def test_dropout_and_running_statistics_come_out_the_same_after_a_restart(tmp_path):
    model, optimizer = noisy()
    run_noisy(tmp_path / "whole", model, optimizer, steps=12)
    again, moments = noisy()
    run_noisy(tmp_path / "run", again, moments, steps=12, stop_at=7)
    again, moments = noisy()
    torch.manual_seed(99)
    run_noisy(tmp_path / "run", again, moments, steps=12)
    assert rig.digest(model, optimizer) == rig.digest(again, moments)
    (found,) = restores(tmp_path / "run")
    assert (found.step, found.differences) == (4, ())
    assert "loss" in found.checked
    assert found.loss == pytest.approx(found.recorded_loss, rel=1e-6)


def test_a_rate_that_is_a_tensor_is_put_back_after_the_comparison(tmp_path):
    _, optimizer, guarded = rig.session(tmp_path / "r", steps=20, schedule=None)
    rate = optimizer.param_groups[0]["lr"] = torch.tensor(3e-3)
    lower = ScaleLearningRate(factor=0.5, from_step=0, hold_steps=20, rewarm_steps=1)
    guarded._deeds.adopt([
        Remedy(
            id="remedy-1", incident="i", step=0, due=1, rung=0, cause="", plan=(lower,), why=""
        )
    ])  # fmt: skip
    guarded._restores.verify(Expected(step=5), attempt=1, source="snapshot", rng=None, flight=None)
    assert optimizer.param_groups[0]["lr"] is rate
    assert float(rate) == pytest.approx(3e-3)
