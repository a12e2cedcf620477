"""A run whose attention logits grow: seen, named, brought down; and made again to the bit."""

import zlib

import pytest
import torch

from steadytrain import journal
from steadytrain.actions import ClipAttention
from steadytrain.events import (
    Alarm,
    BatchExamined,
    Diagnosis,
    Outcome,
    Remedy,
    RunBegan,
    StepRecord,
)
from steadytrain.lab.model import Config, Transformer
from steadytrain.replaying import replay
from steadytrain.train import Feed, Session
from steadytrain.train.attention import AttentionProbe
from steadytrain.train.deeds import Deeds
from tests import rig
from tests.train.test_session import _CountSyncs

STEPS = 180
GROWS = range(60, 140)
"""Updates in which the weights of queries and keys are drawn the way in which they grow."""

PULL = 0.03
SHARPER = 4.0
"""Times the usual size of queries and keys, so that logits are near 100 when the growth begins."""


def _of(home, kind):
    return [event for event in journal.read(home) if isinstance(event, kind)]


class Growth:
    """A fault in the model's own arithmetic, for the batches of some steps: made again, it comes
    again."""

    def __init__(self, model, steps):
        feed = Feed(rig.Words(), batch_size=rig.BATCH)
        draws = [tuple(range((step - 1) * rig.BATCH, step * rig.BATCH)) for step in steps]
        self._marks = {self._mark(feed.batch(one).tokens_BT) for one in draws}
        self._is_on = False
        model.register_forward_pre_hook(self._look)
        for block in model.blocks:
            block.attend.qkv.weight.register_hook(self._pull(block.attend.qkv.weight))

    @staticmethod
    def _mark(tokens_BT):
        return zlib.crc32(tokens_BT[:2].numpy().tobytes())

    def _look(self, _, given):
        self._is_on = self._mark(given[0]) in self._marks

    def _pull(self, weight):
        def pull(grad):
            if not self._is_on:
                return grad
            rows = 2 * len(weight) // 3
            grown = grad.clone()
            grown[:rows] -= PULL * weight[:rows].sign()
            return grown

        return pull


def begin(home, *, orders=(), steps=STEPS, grows=GROWS, **changes):
    """A run whose queries and keys are sharper than usual and learn faster than the rest."""
    torch.set_num_threads(1)
    model = Transformer(Config(width=16, layers=2, heads=2, context=rig.CONTEXT), seed=3)
    sharp = [block.attend.qkv.weight for block in model.blocks]
    with torch.no_grad():
        for weight in sharp:
            weight[:32] *= SHARPER
    others = [one for one in model.parameters() if not any(one is weight for weight in sharp)]
    groups = [{"params": others}, {"params": sharp, "lr": 5 * 3e-3}]
    optimizer = torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.95), fused=True)
    settings = {
        "judge": rig.judge(), "schedule": rig.schedule(steps), "panel": rig.panel(),
        "panel_every": 20, "snapshot_every": 5, "checkpoint_every": 10, "fence": False,
        "say": lambda words: None,
    }  # fmt: skip
    feed = Feed(rig.Words(), batch_size=rig.BATCH)
    guarded = Session(model, optimizer, feed, home=home, steps=steps, **(settings | changes))
    Growth(model, grows)
    # What holds from the beginning is known before the run is.
    guarded._deeds.adopt = lambda remedies: Deeds.adopt(guarded._deeds, (*orders, *remedies))
    return model, optimizer, guarded


def train(home, *, stop_at=None, **changes):
    model, optimizer, guarded = begin(home, **changes)
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
            if run.step_number == stop_at:
                break
    return rig.digest(model, optimizer)


def clip_at(threshold, from_step=0):
    return Remedy(
        id="remedy-x", incident="incident-x", step=from_step, due=from_step + 1, rung=1,
        cause="logit growth", plan=(ClipAttention(from_step=from_step, threshold=threshold),),
        why="a test",
    )  # fmt: skip


def logits_of(home):
    """Step -> largest attention logit on the branch that survived."""
    return {one.step: one.attention_logit for one in _of(home, StepRecord)}


@pytest.fixture(scope="module")
def healed(tmp_path_factory):
    home = tmp_path_factory.mktemp("attention") / "r"
    train(home)
    return home


def test_logits_that_grow_are_named_and_a_clip_brings_them_down(healed):
    alarms = _of(healed, Alarm)
    assert {one.signal for one in alarms} == {"attention logit"}
    assert alarms[0].value > 100.0
    (diagnosis,) = _of(healed, Diagnosis)
    assert diagnosis.causes[0].name == "logit growth"
    (remedy,) = _of(healed, Remedy)
    assert [type(one).__name__ for one in remedy.plan] == ["ClipAttention"]
    after = [value for step, value in logits_of(healed).items() if step > remedy.due]
    # One update and other sequences lie between a clip and the next look.
    assert max(after) < 1.25 * remedy.plan[0].threshold
    assert [one.result for one in _of(healed, Outcome)] == ["cured"]


def test_the_loss_does_not_suffer_from_the_clip(healed, tmp_path):
    train(tmp_path / "never", watch_attention=False)
    mine, other = (
        [one.loss for one in _of(home, StepRecord) if one.step > STEPS - 20]
        for home in (healed, tmp_path / "never")
    )
    assert sum(mine) < 1.02 * sum(other)


def test_the_logits_of_the_output_are_told_as_evidence(healed):
    (examined,) = _of(healed, BatchExamined)
    assert examined.logit_max > 1.0
    assert [cap for cap, _ in examined.capped_loss] == [30.0, 50.0]
    assert all(
        loss == pytest.approx(examined.control_now, rel=0.05) for _, loss in examined.capped_loss
    )
    assert examined.logits_at_cap < 0.05
    (diagnosis,) = _of(healed, Diagnosis)
    assert any(
        "with a soft cap its loss would be at 30" in one for one in diagnosis.causes[0].evidence
    )


def test_a_run_whose_logits_grow_replays_to_the_same_judgments(healed):
    (result,) = replay(healed)
    assert result.differences == ()


def test_a_clip_in_force_is_made_again_to_the_bit(tmp_path):
    model, optimizer, guarded = begin(
        tmp_path / "r", steps=60, orders=(clip_at(20.0),), grows=range(10, 60)
    )
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
            if run.step_number == 24:
                break
        run._hear()
        model(run._feed.batch(tuple(range(rig.BATCH))).tokens_BT).sum().backward()
        heard = run._attention.largest(torch.device("cpu"))
        before, examiner = rig.digest(model, optimizer), run._deeds._examiner
        snapshot = run._trajectory.snapshots.newest_at_or_before(20)
        flights = run._trajectory.recorder.between(snapshot.step + 1, 24)
        remade = examiner._reruns.remake(
            snapshot, flights, onset=22, control=lambda: examiner.loss(flights[0])
        )
        assert max(logits_of(tmp_path / "r")[step] for step in range(21, 25)) > 20.0
        assert (remade.differs_at, remade.weights_differ, remade.moments_differ) == (None, 0, 0)
        assert rig.digest(model, optimizer) == before
        assert run._attention.largest(torch.device("cpu")) == heard


def test_what_a_clip_makes_smaller_is_no_mark_of_damage(tmp_path):
    model, _, guarded = begin(tmp_path / "r", steps=60, orders=(clip_at(20.0, from_step=20),))
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
            if run.step_number == 24:
                break
        run._hear()
        examiner = run._deeds._examiner
        before = run._trajectory.snapshots.newest_at_or_before(20)
        assert examiner._look_for_marks(before, 24)["weight_excess"] < 1.0
        flights = run._trajectory.recorder.between(21, 24)
        told = examiner._marks.impossible(before, flights, was_reset=False)
        assert told["weight_excess"] > 1.0


def test_a_run_that_is_clipped_goes_on_where_it_stopped(tmp_path):
    settings = {"steps": 50, "orders": (clip_at(20.0, from_step=10),), "grows": range(10, 50)}
    whole = train(tmp_path / "whole", **settings)
    train(tmp_path / "r", stop_at=27, **settings)
    assert train(tmp_path / "r", **settings) == whole
    assert logits_of(tmp_path / "r") == logits_of(tmp_path / "whole")


def test_no_host_sync_on_the_steps_path_while_attention_is_clipped(tmp_path):
    model, _, guarded = begin(
        tmp_path / "r", steps=20, orders=(clip_at(20.0),), panel=None,
        checkpoint_every=100, snapshot_every=100,
    )  # fmt: skip
    counts = []
    with guarded as run:
        for batch in run:
            with _CountSyncs() as counter:
                logits = model(batch.tokens_BT)
                run.backward(logits, batch)
                run.step()
            counts.append(counter.found)
    # The second update hears of the rehearsal with which a life begins; the last one ends the run.
    assert counts[2:-1] == [[]] * 17


def test_a_watched_run_computes_what_an_unwatched_one_does(tmp_path):
    watched = rig.train(tmp_path / "a", steps=20)
    assert rig.train(tmp_path / "b", steps=20, watch_attention=False) == watched
    (seen,), (unseen,) = (_of(tmp_path / name, RunBegan) for name in "ab")
    assert "ClipAttention" in seen.can
    assert "ClipAttention" not in unseen.can
    assert all(one.attention_logit is None for one in _of(tmp_path / "b", StepRecord))


def test_looking_at_the_panel_does_not_change_what_is_recorded(tmp_path):
    rig.train(tmp_path / "often", steps=20, panel_every=2)
    rig.train(tmp_path / "never", steps=20, panel=None)
    assert logits_of(tmp_path / "often") == logits_of(tmp_path / "never")


def test_the_recorded_logit_is_the_largest_of_the_step(tmp_path):
    model, _, guarded = rig.session(tmp_path / "r", steps=5)
    expected = []
    with guarded as run:
        probe = AttentionProbe(model)
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            expected.append(float(probe.largest(torch.device("cpu"))))
            probe.begin()
            run.step()
    assert list(logits_of(tmp_path / "r").values()) == expected
