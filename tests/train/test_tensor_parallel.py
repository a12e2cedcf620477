"""Ranks that share each layer read the same sequences: they count once, and decide alike."""

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)

from steadytrain.errors import SettingError
from steadytrain.events import BatchExamined, Diagnosis, Outcome, PanelRecord, Remedy, StepRecord
from steadytrain.lab.model import Config, Transformer
from steadytrain.provenance import read
from steadytrain.train import Feed, Ranks, Session
from tests import rig
from tests.ranks import need_shards_on_the_cpu, together
from tests.train.test_fsdp import equal, full, of

GARBLED = range(40 * rig.BATCH, 43 * rig.BATCH)
STEPS = 60


def _train_on(rank, home, out, readers, stop_at):
    torch.set_num_threads(1)
    ranks = Ranks.join()
    model = Transformer(Config(width=16, layers=2, heads=2, context=rig.CONTEXT), seed=3)
    reader = 0
    if ranks.world > 1:
        mesh = init_device_mesh(
            "cpu", (readers, ranks.world // readers), mesh_dim_names=("data", "tensor")
        )
        for block in model.blocks:
            plan = {"gate": ColwiseParallel(), "up": ColwiseParallel(), "down": RowwiseParallel()}
            parallelize_module(block.swiglu, mesh["tensor"], plan)
        if readers > 1:
            for block in model.blocks:
                fully_shard(block, mesh=mesh["data"])
            fully_shard(model, mesh=mesh["data"])
        reader = mesh["data"].get_local_rank()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95), foreach=False)
    feed = Feed(rig.Words(GARBLED), batch_size=rig.BATCH // readers, rank=reader, world=readers)
    with Session(
        model, optimizer, feed, home=home, steps=STEPS, ranks=ranks, judge=rig.judge(),
        schedule=rig.schedule(STEPS), panel=rig.panel(), panel_every=20, snapshot_every=5,
        checkpoint_every=10, fence=False,
    ) as run:  # fmt: skip
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
            if run.step_number == stop_at:
                break
    torch.save(full(model, optimizer), out / f"{home.name}-{rank}.pt")
    if dist.is_initialized():
        dist.destroy_process_group()


def train(folder, name, *, world, readers=1, stop_at=None):
    """Home and whole state at the end, the same on every rank."""
    if readers > 1:
        need_shards_on_the_cpu()
    home = folder / name
    together(world, _train_on, home, folder, readers, stop_at)
    first, *others = (torch.load(folder / f"{name}-{rank}.pt") for rank in range(world))
    assert all(equal(first, other) for other in others)
    return home, first


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return train(tmp_path_factory.mktemp("alone"), "run", world=1)


@pytest.mark.parametrize(("world", "readers"), [(2, 1), (4, 2)], ids=["TP", "FSDP2 and TP"])
def test_ranks_of_one_layer_tell_what_one_rank_tells(alone, tmp_path, world, readers):
    home, state = train(tmp_path, "run", world=world, readers=readers)
    for one, other in zip(of(alone[0], StepRecord), of(home, StepRecord), strict=True):
        assert (one.tokens, one.sequences, one.corrupt) == (
            other.tokens, other.sequences, other.corrupt,
        )  # fmt: skip
        assert other.loss == pytest.approx(one.loss, rel=1e-3)
        assert other.grad_norm == pytest.approx(one.grad_norm, rel=2e-2)
    for one, other in zip(of(alone[0], PanelRecord), of(home, PanelRecord), strict=True):
        assert (one.step, one.tokens) == (other.step, other.tokens)
        assert other.nll == pytest.approx(one.nll, rel=1e-3)
    (seen,), (there,) = of(home, BatchExamined), of(alone[0], BatchExamined)
    assert sorted(one.draw for one in seen.sequences) == sorted({o.draw for o in seen.sequences})
    assert seen.flagged == there.flagged
    assert of(home, Diagnosis)[0].causes[0].name == of(alone[0], Diagnosis)[0].causes[0].name
    assert [one.plan for one in of(home, Remedy)] == [one.plan for one in of(alone[0], Remedy)]
    assert [one.result for one in of(home, Outcome)] == ["cured"]
    assert len(read(home, 1, STEPS)) == len(read(alone[0], 1, STEPS))
    for name, tensor in alone[1].items():
        assert torch.allclose(state[name].float(), tensor.float(), atol=5e-3), name


def test_a_restart_goes_on_bit_for_bit(tmp_path):
    _, whole = train(tmp_path, "whole", world=2)
    train(tmp_path, "broken", world=2, stop_at=33)
    _, again = train(tmp_path, "broken", world=2)
    assert equal(whole, again)


def _misread(rank, out):
    ranks = Ranks.join()
    try:
        ranks.reading(0 if rank < 3 else 1, 2)
    except SettingError as error:
        (out / str(rank)).write_text(str(error))
    dist.destroy_process_group()


def test_parts_that_some_ranks_read_oftener_than_others_are_refused(tmp_path):
    together(4, _misread, tmp_path)
    said = {(tmp_path / str(rank)).read_text() for rank in range(4)}
    assert len(said) == 1
    assert "4 ranks read parts 0, 0, 0, 1 of 2" in said.pop()


def _one_stage(rank, out):
    ranks = Ranks.join()
    model = Transformer(Config(width=16, layers=2, heads=2, context=rig.CONTEXT), seed=3)
    model.blocks[rank] = torch.nn.Identity()  # as pipeline parallelism cuts a model
    optimizer = torch.optim.AdamW(model.parameters())
    feed = Feed(rig.Words(), batch_size=rig.BATCH)
    with pytest.raises(SettingError, match="steadytrain run") as refused:
        Session(model, optimizer, feed, home=out / "run", steps=5, ranks=ranks)
    (out / str(rank)).write_text(str(refused.value))
    dist.destroy_process_group()


def test_the_stages_of_a_pipeline_are_refused_by_every_rank(tmp_path):
    together(2, _one_stage, tmp_path)
    first, second = ((tmp_path / str(rank)).read_text() for rank in range(2))
    assert first == second
    assert "ranks 0 and 1 train different parameters" in first
    assert "blocks." in first


def test_one_rank_reads_everything():
    ranks = Ranks().reading(0, 1)
    assert (ranks.reader, ranks.readers, ranks.counts) == (0, 1, True)
    with pytest.raises(SettingError, match="1 ranks read parts 0 of 2"):
        Ranks().reading(0, 2)
