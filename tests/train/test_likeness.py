"""Two checkpoints are the same only if every bit that training uses is."""

import pytest
import torch

from steadytrain.errors import CheckpointError
from steadytrain.train.checkpoints import Checkpoints
from steadytrain.train.likeness import compare
from steadytrain.train.snapshots import Snapshots
from steadytrain.train.state import TrainingState
from tests import rig


def newest(home):
    return max((home / "checkpoints").glob("a*-s????????"))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("likeness") / "run"
    rig.train(home, steps=10)
    return home


def test_the_same_run_twice_is_the_same_though_nobody_seeded_its_generators(home, tmp_path):
    torch.manual_seed(99)
    rig.train(tmp_path / "again", steps=10)
    assert compare(newest(tmp_path / "again"), newest(home)) == ((), ())


def test_another_state_differs_in_tensors_and_settings(home):
    first = min((home / "checkpoints").glob("a*-s????????"))
    differing, unsound = compare(first, newest(home))
    assert any(name.startswith("model.") for name in differing)
    assert any(name.startswith("settings of ") for name in differing)
    assert unsound == ()


def save(home, model):
    """A checkpoint of a model as it stands."""
    state = TrainingState(model, torch.optim.AdamW(model.parameters()))
    checkpoints = Checkpoints(home / "checkpoints", state)
    checkpoints.save(Snapshots(state, keep=1).take(1, 1), 1, {}, blocked_seconds=0.0)
    checkpoints.wait()
    return newest(home)


def test_what_is_not_finite_is_named_and_equals_itself(tmp_path):
    model = torch.nn.Linear(2, 1)
    torch.nn.init.constant_(model.weight, float("nan"))
    ours, theirs = save(tmp_path / "ours", model), save(tmp_path / "theirs", model)
    assert compare(ours, theirs) == ((), ("model.weight",))


def test_one_flipped_bit_is_another_checkpoint(tmp_path):
    model = torch.nn.Linear(2, 1)
    theirs = save(tmp_path / "theirs", model)
    with torch.no_grad():
        model.weight.view(torch.int32)[0, 1] ^= 1
    assert compare(save(tmp_path / "ours", model), theirs) == (("model.weight",), ())


def test_a_damaged_manifest_is_refused(home, tmp_path):
    with pytest.raises(CheckpointError, match="never finished"):
        compare(tmp_path, newest(home))
