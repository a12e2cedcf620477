"""Two ranks, replicated and sharded, treat an update as one process does."""

import json
import subprocess
import sys

import pytest

from tests.ranks import need_shards_on_the_cpu

TWO_RANKS = """
import functools, json, sys, warnings
from pathlib import Path
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from steadytrain.train import clipping
from steadytrain.train.gate import Gate
from steadytrain.train.hands import Settings
from steadytrain.train.state import TrainingState
from steadytrain.train.update import Update

home, rank = Path(sys.argv[1]), int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{home}/store", rank=rank, world_size=2)
torch.set_num_threads(1)
clipping.AdaGC = functools.partial(clipping.AdaGC, warmup=5)
clipping.ZClip = functools.partial(clipping.ZClip, warmup=5, sigmas=0.5)

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 6)
        # 7 rows do not divide among 2 ranks.
        self.layers = nn.ModuleList([nn.Linear(6, 7), nn.Linear(7, 6), nn.Linear(6, 1)])
    def forward(self, x):
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x).tanh()
        return x

def whole(tensor):
    tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return tensor.detach().clone()

def run(kind, settings, fused):
    torch.manual_seed(3)
    model = Model()
    trained = model
    if kind == "ddp":
        trained = DistributedDataParallel(model)
    elif kind == "fsdp":
        fully_shard(model.layers[1])
        fully_shard(model)
    optimizer = torch.optim.AdamW(
        trained.parameters(), lr=0.02, betas=(0.9, 0.95), fused=fused, foreach=not fused
    )
    gate = Gate(optimizer, torch.device("cpu"))
    update = Update(trained, optimizer, gate, clip=0.8)
    state = TrainingState(trained, optimizer, extras=update.learned)
    chance = torch.Generator().manual_seed(7)
    for step in range(40):
        x = torch.randint(0, 5, (8, 3), generator=chance)
        size = 40.0 if step in (25, 30) else 1.0
        (trained(x) * size).square().mean().backward()
        chosen = settings if step > 10 else Settings()
        norms = update.measure(chosen)
        update.land(norms, chosen, torch.tensor(0.0 if step == 33 else 1.0))
        optimizer.zero_grad()
    return {name: whole(tensor) for name, tensor in state.tensors().items()}

def far(left, right):
    assert left.keys() == right.keys()
    return max((left[name] - right[name]).abs().max().item() for name in left)

told = {}
ways = {
    "nothing": Settings(),
    "zclip": Settings(clipping="zclip", limits_updates=True),
    "adagc": Settings(clipping="adagc", shrinks=((0.1, 1.0),)),
    "spikes": Settings(clipping="spikes", limits_updates=True),
}
for name, settings in ways.items():
    for fused in (True, False):
        alone = run("alone", settings, fused)
        for kind in ("ddp", "fsdp"):
            found = run(kind, settings, fused)
            learned = {k: v.tolist() for k, v in found.items() if k.startswith("guard.")}
            told[f"{name} {kind} {fused}"] = [far(found, alone), learned]
    told[f"{name} changes"] = far(alone, run("alone", Settings(), False))
(home / f"told{rank}.json").write_text(json.dumps(told))
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    need_shards_on_the_cpu()
    home = tmp_path_factory.mktemp("two-ranks")
    command = [sys.executable, "-W", "ignore", "-c", TWO_RANKS, home]
    ranks = [
        subprocess.Popen([*command, str(rank)], stderr=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    for rank in ranks:
        _, errors = rank.communicate(timeout=100)
        assert rank.returncode == 0, errors
    return [json.loads((home / f"told{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("way", ["nothing", "zclip", "adagc", "spikes"])
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_ranks_come_to_the_weights_of_one(told, way, kind):
    for fused in (True, False):
        for facts in told:
            # float32 sums in another order, over 40 updates.
            assert facts[f"{way} {kind} {fused}"][0] < 2e-4
    assert told[0][f"{way} changes"] > 1e-3 or way == "nothing"


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_ranks_learn_the_same_thresholds_to_the_bit(told, kind):
    names = [name for name in told[0] if f" {kind} " in name]
    assert len(names) == 8
    for name in names:
        first, second = (facts[name][1] for facts in told)
        assert first == second
        assert first["guard.clip.zclip"][0] == 39  # of 40 one was held back
