"""What only a GPU can show: no wait for it on the step's path, and the same promises as on a CPU."""

import pytest
import torch

from steadytrain import journal
from steadytrain.actions import (
    ClipAttention,
    LimitUpdates,
    Plan,
    ResetMoments,
    ScaleShallowGradients,
    SetClipping,
    SetZLoss,
    SkipDraws,
)
from steadytrain.events import BatchExamined, Outcome, Remedy, RestoreVerified, StepRecord
from steadytrain.lab.model import Config, Transformer
from steadytrain.replaying import replay
from steadytrain.train import Feed, Session
from tests import rig

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:Synchronization debug mode"),
]
GARBLED = range(40 * rig.BATCH, 43 * rig.BATCH)
EVERY: tuple[Plan, ...] = (
    SetClipping(method="zclip", from_step=0),
    SetClipping(method="adagc", from_step=0),
    SetClipping(method="spikes", from_step=0),
    LimitUpdates(from_step=0),
    ResetMoments(from_step=11),
    ScaleShallowGradients(alpha=0.1, from_step=0, hold_steps=99, relax_steps=1),
    SetZLoss(coefficient=1e-3, from_step=0),
    SetZLoss(coefficient=1e-3, from_step=0, form="max"),
    ClipAttention(from_step=0, threshold=0.01),
)


@pytest.fixture(autouse=True)
def _deterministic(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def _session(home, *, steps, garbled=range(0), left_out=(), **changes):
    model = Transformer(Config(width=16, layers=2, heads=2, context=rig.CONTEXT), seed=3).cuda()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    feed = Feed(rig.Words(garbled), batch_size=rig.BATCH, device="cuda", left_out=left_out)
    settings = {
        "judge": rig.judge(), "schedule": rig.schedule(steps), "snapshot_every": 5,
        "checkpoint_every": 10, "fence": False, "watch_attention": True,
    }  # fmt: skip
    return model, Session(model, optimizer, feed, home=home, steps=steps, **(settings | changes))


def _train(home, **changes):
    model, guarded = _session(home, **changes)
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _of(home, kind):
    return [one for one in journal.read(home) if isinstance(one, kind)]


@pytest.mark.parametrize("action", [None, *EVERY], ids=repr)
def test_nothing_on_the_steps_path_waits_for_the_device(tmp_path, action):
    model, guarded = _session(
        tmp_path / "r", steps=20, checkpoint_every=100, snapshot_every=100, panel=None
    )
    with guarded as run:
        if action is not None:
            remedy = Remedy(
                id="r", incident="i", step=0, due=1, rung=0, cause="", plan=(action,), why=""
            )
            run._deeds.orders.install(remedy)
        for batch in run:
            logits = model(batch.tokens_BT)
            is_calm = 3 <= run.step_number <= 17
            torch.cuda.set_sync_debug_mode("error" if is_calm else "default")
            try:
                run.backward(logits, batch)
                run.step()
            finally:
                torch.cuda.set_sync_debug_mode("default")
    assert len(_of(tmp_path / "r", StepRecord)) == 20


def test_bad_data_is_healed_as_if_it_had_never_been_seen(tmp_path):
    healed = _train(tmp_path / "r", steps=80, garbled=GARBLED)
    assert [one.result for one in _of(tmp_path / "r", Outcome)] == ["cured"]
    (remedy,) = _of(tmp_path / "r", Remedy)
    skip = next(action for action in remedy.plan if isinstance(action, SkipDraws))
    clean = _train(tmp_path / "clean", steps=80, garbled=GARBLED, left_out=skip.ranges)
    assert all(torch.equal(healed[name], clean[name]) for name in healed)
    assert [one.differences for one in replay(tmp_path / "r")] == [()]


def test_a_restored_state_is_as_it_was_recorded(tmp_path):
    _train(tmp_path / "r", steps=80, garbled=GARBLED)
    found = _of(tmp_path / "r", RestoreVerified)
    assert found
    assert all(one.differences == () for one in found)


def test_steps_made_again_come_out_as_recorded(tmp_path):
    model, guarded = _session(tmp_path / "r", steps=80)
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            if run.step_number + 1 == 60:
                with torch.no_grad():
                    model.head.weight[0, 0] = 1e4
            run.step()
    examined = _of(tmp_path / "r", BatchExamined)
    assert examined[0].remade_steps
    assert examined[0].differs_at in (60, 61)
