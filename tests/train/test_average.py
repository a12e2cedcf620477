"""Ranks left out of the average of gradients: the update is the mean of the others' gradients."""

import json
import math

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard

from steadytrain import journal
from steadytrain.actions import ExcludeRank
from steadytrain.events import PersonSaid, Remedy, RemedyDone, StepRecord
from steadytrain.train import Ranks
from steadytrain.train.average import Average
from tests import rig
from tests.ranks import together


def _one_rank(rank, out, experiment):
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    found = globals()[experiment](rank, dist.get_world_size())
    (out / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def run(tmp_path, world, experiment):
    """An experiment on every rank; what each of them found."""
    together(world, _one_rank, tmp_path, experiment, seconds=120)
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


def _train_with_noise(rank, home, out, noise_after, stop_at):
    """Rank 1 is left out after update 24, by a person's order; from some update on it is noisy."""
    model, optimizer, guarded = rig.session(home, steps=40, ranks=Ranks.join())
    is_noisy = [False]
    if rank == 1:
        for parameter in model.parameters():
            parameter.register_hook(
                lambda grad: grad + torch.full_like(grad, math.nan) if is_noisy[0] else grad
            )
    with guarded as run:
        for batch in run:
            if run.step_number == 22 and rank == 0:
                order = (ExcludeRank(rank=1, from_step=24),)
                run._memory.tell(PersonSaid(id="1", who="ada", verb="order", step=22, plan=order))
            is_noisy[0] = run.step_number >= noise_after
            run.backward(model(batch.tokens_BT), batch)
            run.step()
            if run.step_number == stop_at:
                break
    (out / f"{home.name}-{rank}.json").write_text(json.dumps(rig.digest(model, optimizer)))
    dist.destroy_process_group()


def train(tmp_path, name, *, noise_after=1000, stop_at=None):
    together(2, _train_with_noise, tmp_path / name, tmp_path, noise_after, stop_at, seconds=180)
    first, second = (json.loads((tmp_path / f"{name}-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    return first


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quiet")
    return folder / "run", train(folder, "run")


class TestInARun:
    def test_nothing_that_the_rank_computes_reaches_the_weights(self, quiet, tmp_path):
        # Even NaN: from update 25 on, which is the first one without it.
        assert train(tmp_path, "run", noise_after=24) == quiet[1]

    def test_its_losses_stay_on_record(self, quiet):
        records = [one for one in journal.read(quiet[0]) if isinstance(one, StepRecord)]
        assert {sum(one.sequences) for one in records} == {rig.BATCH}

    def test_the_order_was_carried_out_before_its_first_update(self, quiet):
        found = list(journal.read(quiet[0]))
        (remedy,) = [one for one in found if isinstance(one, Remedy)]
        (deed,) = [one for one in found if isinstance(one, RemedyDone)]
        assert remedy.plan == (ExcludeRank(rank=1, from_step=24),)
        assert deed.step <= 24

    def test_a_restart_goes_on_exactly(self, quiet, tmp_path):
        train(tmp_path, "run", stop_at=33)
        assert train(tmp_path, "run") == quiet[1]
