"""What one replica gives, another one is."""

import pytest
import torch
from torch import nn

from steadytrain.adapters.replicas.handover import pack, unpack
from steadytrain.errors import CheckpointError
from steadytrain.train.state import TrainingState


def replica(seed, *, steps, width=4):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1 / (seed + 1))
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(8, 3)).square().mean().backward()
        optimizer.step()
    return TrainingState(model, optimizer, extras={"seen": torch.full((2,), float(seed))})


def values(state):
    return {name: tensor.clone() for name, tensor in state.tensors().items()}


@pytest.mark.parametrize("steps", [(3, 0), (3, 2), (0, 2)])
def test_weights_moments_buffers_and_rates_are_those_of_the_giver(steps):
    giver, taker = replica(1, steps=steps[0]), replica(2, steps=steps[1])
    unpack(taker, pack(giver))
    given, taken = values(giver), values(taker)
    assert given.keys() == taken.keys()
    assert all(torch.equal(given[name], taken[name]) for name in given)
    assert taker.leaves() == giver.leaves()
    assert taker.optimizer_is_empty == giver.optimizer_is_empty


def test_buffers_do_not_change_while_they_are_sent():
    giver = replica(1, steps=1)
    given = pack(giver)
    before = given["tensors"]["model.1.running_mean"].clone()
    giver.tensors()["model.1.running_mean"].add_(1.0)
    assert torch.equal(given["tensors"]["model.1.running_mean"], before)


def test_another_model_is_refused():
    with pytest.raises(CheckpointError, match="Build the same model in every replica"):
        unpack(replica(1, steps=0), pack(replica(1, steps=0, width=5)))


def test_a_shard_of_another_size_is_refused():
    given = pack(replica(1, steps=1))
    given["tensors"]["model.0.weight"] = given["tensors"]["model.0.weight"][:2]
    with pytest.raises(CheckpointError, match=r"hold \[2, 3\] of it: model.0.weight"):
        unpack(replica(1, steps=1), given)


def test_a_tensor_that_is_not_there_is_named():
    given = pack(replica(1, steps=1))
    del given["tensors"]["guard.seen"]
    with pytest.raises(CheckpointError, match=r"lack it: guard.seen"):
        unpack(replica(1, steps=1), given)
