"""Steps made again: they come out as recorded, or tell where they do not; the run is left alone."""

import copy
import random

import numpy as np
import pytest
import torch

from steadytrain import journal
from steadytrain.events import Alarm, Diagnosis, OptimizerSettings, Remedy, StepRecord
from steadytrain.train.reruns import merge_reruns, repeats_exactly
from tests import rig

STEPS = 24


def everything(model, optimizer):
    """All that a rerun could disturb, copied."""
    return {
        "weights": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "moments": copy.deepcopy(optimizer.state_dict()),
        "grads": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "rng": (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()),  # noqa: NPY002
    }


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


class Rerun:
    """A run of 24 steps that is looked at in the middle of its last one."""

    def __init__(self, home, disturb=lambda model, optimizer, step: None, **changes):
        self.model, self.optimizer, guarded = rig.session(home, steps=60, **changes)
        self.calls = []
        self.optimizer.register_step_post_hook(lambda *_: self.calls.append(1))
        with guarded as run:
            for batch in run:
                disturb(self.model, self.optimizer, run.step_number + 1)
                run.backward(self.model(batch.tokens_BT), batch)
                run.step()
                if run.step_number == STEPS:
                    run._hear()
                    self.look(run, batch)
                    break

    def look(self, run, batch):
        run.backward(self.model(batch.tokens_BT), batch)  # gradients under way
        examiner = run._deeds._examiner
        before = run._trajectory.snapshots.newest_at_or_before(STEPS - 4)
        flights = run._trajectory.recorder.between(before.step + 1, STEPS)
        self.before, self.calls_before = everything(self.model, self.optimizer), len(self.calls)
        self.remade = examiner._reruns.remake(
            before, flights, onset=STEPS - 1, control=lambda: examiner.loss(flights[0])
        )
        self.twins = examiner._reruns.twice(tuple(flights[0].draws.tolist()))
        self.after, self.calls_after = everything(self.model, self.optimizer), len(self.calls)


def test_a_healthy_run_comes_out_as_recorded(tmp_path):
    seen = Rerun(tmp_path / "r")
    assert seen.remade.differs_at is None
    assert (seen.remade.weights_differ, seen.remade.moments_differ) == (0, 0)
    assert seen.twins[0] == seen.twins[1]
    assert np.isfinite([seen.remade.full_rate, seen.remade.half_rate]).all()
    assert seen.remade.full_rate != seen.remade.half_rate


def _parts(*twins):
    nothing = {"differs_at": None, "differs_in": None, "weights_differ": 0, "moments_differ": 0}
    return [{**nothing, "twice": one} for one in twins]


def test_an_answer_in_other_last_bits_is_a_fault_where_the_device_repeats_itself():
    one, near, far = (2.5, 1.0, 1e-9), (2.5, 1.0 + 1e-6, 2e-9), (2.5, 1.1, 1e-9)
    alike = _parts((one, near), (near, one), (one, one))
    assert merge_reruns(alike, exact=True)["unlike_ranks"] == (0, 1)
    assert merge_reruns(alike, exact=False)["unlike_ranks"] == ()
    assert merge_reruns(_parts((one, near), (far, far), (near, one)), exact=False) == {
        "differs_at": None, "differs_in": None, "weights_differ": 0, "moments_differ": 0,
        "unlike_ranks": (1,),
    }  # fmt: skip
    assert merge_reruns(_parts((one, far)), exact=False)["unlike_ranks"] == (0,)
    assert merge_reruns(_parts((one, one), (far, far)), exact=False)["unlike_ranks"] == (0, 1)
    nothing = (float("nan"), 1.0)
    assert merge_reruns(_parts((nothing, nothing)), exact=True)["unlike_ranks"] == ()


def test_a_cpu_repeats_itself_and_a_gpu_does_if_told_to():
    assert repeats_exactly(torch.device("cpu"))
    assert not repeats_exactly(torch.device("cuda"))
    torch.use_deterministic_algorithms(True)
    try:
        assert repeats_exactly(torch.device("cuda"))
    finally:
        torch.use_deterministic_algorithms(False)


def test_the_run_is_left_as_it_was_to_the_bit(tmp_path):
    seen = Rerun(tmp_path / "r")
    assert same(seen.before, seen.after)
    assert seen.calls_before == seen.calls_after  # a user's hooks hear nothing


def test_a_weight_that_was_written_from_outside_is_seen_at_its_step(tmp_path):
    def flip(model, _, step):
        if step == STEPS - 1:
            with torch.no_grad():
                model.head.weight[0, 0] += 0.5

    seen = Rerun(tmp_path / "r", flip)
    assert (seen.remade.differs_at, seen.remade.differs_in) == (STEPS - 1, "loss")
    assert seen.remade.weights_differ > 0
    assert same(seen.before, seen.after)


def test_a_gradient_that_was_changed_is_told_from_a_changed_state(tmp_path):
    def once(model, _, step):
        handles = getattr(model, "handles", [])
        while handles:
            handles.pop().remove()
        if step == STEPS - 1:
            model.handles = [model.head.weight.register_hook(lambda grad: grad * 3)]

    seen = Rerun(tmp_path / "r", once)
    assert (seen.remade.differs_at, seen.remade.differs_in) == (STEPS - 1, "gradient norm")


@pytest.mark.parametrize(
    ("name", "value", "cause"),
    [("betas", (0.9, 0.999), "optimizer state"), ("eps", 1e-3, "epsilon")],
)
def test_a_setting_that_changes_by_itself_is_an_incident_at_once(tmp_path, name, value, cause):
    model, optimizer, guarded = rig.session(tmp_path / "r", steps=60)

    def wrong(chosen, *_):
        if guarded.step_number + 1 in (30, 31):
            for group in chosen.param_groups:
                group[name] = value

    optimizer.register_step_pre_hook(wrong)
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
    events = journal.load(tmp_path / "r")
    assert [one.step for one in events if isinstance(one, OptimizerSettings)][:2] == [1, 30]
    alarm = next(one for one in events if isinstance(one, Alarm))
    assert (alarm.direction, alarm.step) == ("changed", 30)
    assert next(one for one in events if isinstance(one, Diagnosis)).causes[0].name == cause
    assert next(one for one in events if isinstance(one, Remedy)).cause == cause


def test_a_record_holds_layer_norms_logsumexp_and_corrupt_sequences(tmp_path):
    rig.train(tmp_path / "r", steps=12)
    record = next(one for one in journal.load(tmp_path / "r") if isinstance(one, StepRecord))
    assert len(record.layer_norms) == 5
    assert record.grad_norm == pytest.approx(np.linalg.norm(record.layer_norms), rel=1e-5)
    assert record.logsumexp > 0
    assert record.corrupt == (0, 0)
