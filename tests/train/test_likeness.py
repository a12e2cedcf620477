"""Two checkpoints are the same only if every bit that training uses is."""

import pytest
import torch

from steadytrain.errors import CheckpointError
from steadytrain.train.likeness import compare
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


def test_what_is_not_finite_is_named(home, tmp_path):
    model, _, guarded = rig.session(tmp_path / "bad", steps=2, checkpoint_every=1)
    name, weight = next(iter(model.named_parameters()))
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
            with torch.no_grad():
                weight.view(-1)[0] = float("nan")
            break
    _, unsound = compare(newest(tmp_path / "bad"), newest(home))
    assert unsound == () or any(name in one for one in unsound)


def test_a_damaged_manifest_is_refused(home, tmp_path):
    with pytest.raises(CheckpointError, match="never finished"):
        compare(tmp_path, newest(home))
