"""Two ranks that heard different sequences clip alike: with DDP, and with FSDP2's shards."""

from pathlib import Path

import pytest
import torch

from tests.ranks import need_shards_on_the_cpu, together
from tests.train.attentions import Fused, Model, Separate

TAU = 0.35


def _model(kind):
    torch.manual_seed(5)
    make = {"separate": Separate, "thirds": lambda: Fused("thirds"), "gpt2": lambda: Fused("gpt2")}
    model = Model(make[kind](), make[kind]())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "attend" in name:
                parameter.mul_(1.5)
    return model


def _tokens(rank):
    return torch.randint(0, 11, (3, 12), generator=torch.Generator().manual_seed(40 + rank))


def _one_rank(rank: int, out: Path, kind: str, wrapper: str) -> None:
    import torch.distributed as dist
    from torch.distributed.fsdp import fully_shard
    from torch.nn.parallel import DistributedDataParallel

    from steadytrain.train import Ranks
    from steadytrain.train.attention import AttentionProbe
    from steadytrain.train.qkclip import QKClip

    torch.set_num_threads(1)
    ranks = Ranks.join()
    model = _model(kind)
    if wrapper == "ddp":
        wrapped = DistributedDataParallel(model)
    else:
        mesh = dist.device_mesh.init_device_mesh("cpu", (2,))
        for block in model.blocks:
            fully_shard(block, mesh=mesh)
        wrapped = fully_shard(model, mesh=mesh)
    probe = AttentionProbe(wrapped, queries=12, sequences=3)
    clip = QKClip(probe, ranks)
    wrapped(_tokens(rank)).square().mean().backward()
    heard = [probe.heads(site.name, 4).clone() for site in probe.sites]
    clip.after_step(TAU, torch.ones(()))
    assert clip.refusal is None
    whole = {
        name: (one.full_tensor() if wrapper == "fsdp" else one).detach().clone()
        for name, one in model.named_parameters()
    }
    torch.save((heard, whole), out / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def _run(tmp_path, kind, wrapper):
    if wrapper == "fsdp":
        need_shards_on_the_cpu()
    together(2, _one_rank, tmp_path, kind, wrapper)
    return [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]


def _expected(kind, heard):
    """One process that knows both ranks' logits."""
    from steadytrain.train import Ranks
    from steadytrain.train.attention import AttentionProbe
    from steadytrain.train.qkclip import QKClip

    model = _model(kind)
    probe = AttentionProbe(model, queries=12, sequences=3)
    model(_tokens(0)).square().mean().backward()
    for site, one, other in zip(probe.sites, *heard, strict=True):
        probe._found[site.name, 4] = torch.maximum(one, other)
    QKClip(probe, Ranks()).after_step(TAU, torch.ones(()))
    return dict(model.named_parameters())


@pytest.mark.parametrize(
    ("kind", "wrapper"),
    [("separate", "ddp"), ("separate", "fsdp"), ("thirds", "fsdp"), ("gpt2", "fsdp")],
)
def test_ranks_that_heard_different_sequences_scale_the_same_rows(tmp_path, kind, wrapper):
    (heard_0, weights_0), (heard_1, weights_1) = _run(tmp_path, kind, wrapper)
    assert not all(map(torch.equal, heard_0, heard_1))
    expected = _expected(kind, (heard_0, heard_1))
    before = dict(_model(kind).named_parameters())
    for name, weight in weights_0.items():
        assert torch.equal(weight, weights_1[name])
        torch.testing.assert_close(weight, expected[name.removeprefix("module.")].detach())
    assert any(not torch.equal(weights_0[name], before[name]) for name in weights_0)
