"""Two ranks and an object store: everyone's files go up, and all come down to a host without disk."""

import json
import os
import time

import pytest

from steadytrain.events import AttemptBegan, CheckpointMirrored
from tests.buckets import Bucket
from tests.ranks import need_shards_on_the_cpu, together
from tests.train.mirroring import STOP, of, train


@pytest.fixture(scope="module")
def bucket():
    made = Bucket()
    yield made
    made.close()


def _one_rank(rank, home, url, environment, changes):
    import torch.distributed as dist

    from steadytrain.train import Ranks
    from steadytrain.train.state import TrainingState, local

    os.environ.update(environment)
    kept = []
    train(home, url, ranks=Ranks.join(), keeps=kept.append, **changes)
    tensors = TrainingState(*kept[0]).tensors().items()
    found = {name: local(one.detach()).numpy().tobytes().hex() for name, one in tensors}
    home.with_name(f"{home.name}-{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def _train(bucket, home, url, **changes):
    together(2, _one_rank, home, url, bucket.environment, changes)
    return [json.loads(home.with_name(f"{home.name}-{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("shards", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_fresh_host_goes_on_with_every_ranks_files(bucket, tmp_path, shards):
    if shards:
        need_shards_on_the_cpu()
    whole = _train(bucket, tmp_path / "whole/r", None, shards=shards)
    url = f"s3://runs/shards-{shards}/r"
    _train(bucket, tmp_path / "first/r", url, shards=shards, stop_at=STOP)
    assert (tmp_path / "first/r/checkpoints/a0001-s00000020/__1_0.distcp").exists()
    # The newest is damaged on its way, in the file of one rank alone: all take the one before.
    bucket.faults = [("GET", "s00000020/__1_0.distcp", "flipped", 99)]
    assert _train(bucket, tmp_path / "second/r", url, shards=shards) == whole
    assert of(tmp_path / "second/r", AttemptBegan)[-1].checkpoint == "a0001-s00000010"
    assert of(tmp_path / "second/r", CheckpointMirrored)[-1].step == 40


def test_a_store_out_of_reach_ends_all_ranks_and_none_waits_for_another(bucket, tmp_path):
    bucket.faults = [("HEAD", "run.json", "error", 99)]
    began = time.monotonic()
    together(2, _one_rank, tmp_path / "r", "s3://runs/away/r", bucket.environment, {}, ends=1)
    assert time.monotonic() - began < 300  # gloo itself gives up after 1800
