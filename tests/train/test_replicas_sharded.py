"""Replicas of shards (HSDP), plain shards, and models that nobody keeps equal."""

import json

import pytest
import torch

from steadytrain import journal
from steadytrain.events import Advice, Diagnosis, Outcome, ReplicasCompared, RunBegan
from steadytrain.replaying import replay
from tests import rig
from tests.ranks import need_shards_on_the_cpu, together

STEPS = 30


def _one_rank(rank, home, outs, copies, flip_at):
    import torch.distributed as dist

    from steadytrain.train import Ranks
    from steadytrain.train.state import TrainingState, local

    model, optimizer, guarded = rig.session(
        home, steps=STEPS, ranks=Ranks.join(), shards=True, copies=copies, compare_every=5,
        panel_every=None,
    )  # fmt: skip
    with guarded as run:
        for batch in run:
            if run.step_number + 1 == flip_at and run.attempt == 1 and rank == 3:
                parts = [local(one.detach()) for one in model.parameters()]
                mine = next(one for one in parts if one.numel() > 9)
                mine.view(-1).view(torch.int32)[5] ^= 1 << 12
            run.backward(model(batch.tokens_BT), batch)
            run.step()
    tensors = TrainingState(model, optimizer).tensors()
    found = {name: local(one.detach()).numpy().tobytes().hex() for name, one in tensors.items()}
    outs[rank].write_text(json.dumps(found))
    dist.destroy_process_group()


def train(folder, name, world, *, copies, flip_at=None):
    need_shards_on_the_cpu()
    home = folder / name
    outs = [folder / f"{name}-{rank}.json" for rank in range(world)]
    together(world, _one_rank, home, outs, copies, flip_at)
    return home, [json.loads(out.read_text()) for out in outs]


def of(home, kind):
    return [one for one in journal.read(home) if isinstance(one, kind)]


@pytest.fixture(scope="module")
def healed(tmp_path_factory):
    return train(tmp_path_factory.mktemp("hsdp"), "hsdp", 4, copies=2, flip_at=13)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return train(tmp_path_factory.mktemp("clean"), "clean", 4, copies=2)


def test_copies_of_shards_are_compared_within_their_group(healed, clean):
    home, ends = healed
    assert of(home, RunBegan)[0].copies == 2
    apart = [one for one in of(home, ReplicasCompared) if one.unlike]
    assert {one.ranks for event in apart for one in event.unlike} == {(1, 3)}
    (diagnosis,) = of(home, Diagnosis)
    assert "ranks 1, 3 hold different bits (weights)" in diagnosis.causes[0].evidence[0]
    assert [one.result for one in of(home, Outcome)] == ["cured"]
    assert ends == clean[1]
    assert [one.differences for one in replay(home)] == [()]


def test_copies_of_shards_agree_in_a_run_without_a_fault(clean):
    home, ends = clean
    found = of(home, ReplicasCompared)
    assert len(found) == STEPS // 5 + 1
    assert not any(one.unlike for one in found)
    assert ends[0] == ends[2]
    assert ends[1] == ends[3]
    assert ends[0] != ends[1]


def test_a_run_of_plain_shards_compares_nothing_and_says_so(tmp_path):
    home, _ = train(tmp_path, "plain", 2, copies=1)
    assert of(home, RunBegan)[0].copies == 1
    assert of(home, ReplicasCompared) == []
    (advice,) = [one for one in of(home, Advice) if one.topic == "replicas"]
    assert "mesh of two dimensions" in advice.text
