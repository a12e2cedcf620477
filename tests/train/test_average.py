"""Ranks left out of the average of gradients: the update is the mean of the others' gradients."""

import json
import multiprocessing
import os
import socket

import pytest
import torch
from torch import nn
from torch.distributed.fsdp import fully_shard

from steadytrain.train.average import Average

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["torch", "steadytrain.train"])


def _one_rank(rank, world, port, out, experiment):
    import torch.distributed as dist

    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    found = globals()[experiment](rank, world)
    (out / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def run(tmp_path, world, experiment):
    """An experiment on every rank; what each of them found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [
        _server.Process(target=_one_rank, args=(rank, world, port, tmp_path, experiment))
        for rank in range(world)
    ]
    for one in ranks:
        one.start()
    for one in ranks:
        one.join(120)
        assert one.exitcode == 0
    return [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(world)]


def bare():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(37, 50), nn.Tanh(), nn.Linear(50, 3))


def batch(rank, step):
    return torch.randn(8, 37, generator=torch.Generator().manual_seed(100 * step + rank))


def backward(model, rank, step):
    for parameter in model.parameters():
        parameter.grad = None
    model(batch(rank, step)).square().mean().backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def mean_of(ranks, step):
    """The slow obvious version: each rank's gradient by itself, then their mean."""
    parts = [backward(bare(), rank, step) for rank in ranks]
    return [torch.stack(same).mean(0) for same in zip(*parts, strict=True)]


def is_close(found, wanted):
    # Float32 sums of the same few numbers in another order.
    return all(
        torch.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in zip(found, wanted, strict=True)
    )


def equal(found, wanted):
    return all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def one_noisy_rank(rank, world):
    """The last rank adds noise, then NaN; it is left out after the third backward pass."""
    model = bare()
    wrapped = nn.parallel.DistributedDataParallel(model)
    average, last = Average(wrapped), world - 1
    noise = [0.0]
    if rank == last:
        for parameter in model.parameters():
            parameter.register_hook(lambda grad: grad + noise[0] * torch.ones_like(grad))
    plain = [backward(wrapped, rank, 0) for _ in range(3)][-1]  # DDP lays out its buckets anew once
    noise[0] = 5.0
    spoiled = backward(wrapped, rank, 1)
    average.leave_out(frozenset({last}))
    healed = backward(wrapped, rank, 2)
    noise[0] = float("nan")
    without_nan = backward(wrapped, rank, 3)
    noise[0] = 0.0
    average.leave_out(frozenset())
    again = backward(wrapped, rank, 0)
    return {
        "plain": is_close(plain, mean_of(range(world), 0)),
        "spoiled": is_close(spoiled, mean_of(range(world), 1)),
        "healed": is_close(healed, mean_of(range(last), 2)),
        "without nan": is_close(without_nan, mean_of(range(last), 3)),
        "again": equal(again, plain),
        "sum": float(sum(grad.double().sum() for grad in healed)),
    }


@pytest.mark.parametrize("world", [2, 3])
def test_the_update_is_the_mean_of_the_other_ranks_gradients(tmp_path, world):
    found = run(tmp_path, world, "one_noisy_rank")
    for one in found:
        assert one["plain"]
        assert not one["spoiled"]
        assert one["healed"]
        assert one["without nan"]
    assert len({one["sum"] for one in found}) == 1


@pytest.mark.parametrize("world", [2, 3])
def test_with_nobody_left_out_the_hook_is_not_felt_to_the_bit(tmp_path, world):
    assert all(one["again"] for one in run(tmp_path, world, "one_noisy_rank"))


def refusals(rank, world):
    own = nn.parallel.DistributedDataParallel(bare())
    own.register_comm_hook(None, lambda state, bucket: None)
    built_in = nn.parallel.DistributedDataParallel(bare())
    built_in._register_builtin_comm_hook(torch.distributed.BuiltinCommHookType.ALLREDUCE)
    sharded = fully_shard(bare())
    plain = nn.parallel.DistributedDataParallel(bare())
    found = {
        "own": Average(own).reason_not(),
        "built in": Average(built_in).reason_not(),
        "sharded": Average(sharded).reason_not(),
        "plain": Average(plain).reason_not({1}),
        "unknown": Average(plain).reason_not({2}),
        "all": Average(plain).reason_not({0, 1}),
    }
    with pytest.warns(UserWarning, match="cannot be left out of the average: .*hook of its own"):
        Average(own).leave_out(frozenset({1}))
    return found


def test_it_is_refused_in_words_where_it_cannot_be_done(tmp_path):
    found = run(tmp_path, 2, "refusals")[0]
    assert "communication hook of its own" in found["own"]
    assert "communication hook of its own" in found["built in"]
    assert "fully_shard" in found["sharded"]
    assert found["plain"] is None
    assert "rank 2 is none of the 2 ranks" in found["unknown"]
    assert "none of the 2 ranks would be left" in found["all"]


def test_one_rank_has_nobody_to_leave_out():
    assert "one rank only" in Average(bare()).reason_not()
