"""Replicas that come apart: seen within a few steps, the rank named, and the run as if unbroken."""

import json
import random

import pytest
import torch

from steadytrain import journal
from steadytrain.events import (
    BatchExamined,
    Diagnosis,
    Incident,
    Outcome,
    Remedy,
    ReplicasCompared,
    RunBegan,
)
from steadytrain.judge.ladder import Ladder
from steadytrain.judge.rungs import Doses
from steadytrain.replaying import replay
from tests import rig
from tests.ranks import together

EVERY = 5
STEPS = 60
KINDS = ("flip-weight", "flip-gradient", "flip-moment", "flip-square")


def _one_rank(rank, home, flips, changes):
    import torch.distributed as dist

    from steadytrain.lab.sabotage import flip_bit
    from steadytrain.train import Ranks

    settings = {"steps": STEPS, "compare_every": EVERY, "panel_every": None} | changes
    model, optimizer, guarded = rig.session(home, ranks=Ranks.join(), **settings)
    left = {step: (kind, who, seed) for step, kind, who, seed in flips}

    def flip(step, is_gradient):
        kind, who, seed = left.get(step, ("", -1, 0))
        if kind and (kind == "flip-gradient") == is_gradient:
            del left[step]
            if who == rank:
                flip_bit(kind, model.parameters(), optimizer, random.Random(seed))

    with guarded as run:
        for batch in run:
            flip(run.step_number + 1, False)
            run.backward(model(batch.tokens_BT), batch)
            flip(run.step_number + 1, True)
            run.step()
    _out(home, rank).write_text(json.dumps(rig.digest(model, optimizer)))
    dist.destroy_process_group()


class Noisy(torch.nn.Module):
    """Dropout, and running statistics of each rank's own batches."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.embed = torch.nn.Embedding(257, 16)
        self.norm = torch.nn.BatchNorm1d(rig.CONTEXT)
        self.drop = torch.nn.Dropout(0.2)
        self.head = torch.nn.Linear(16, 257)

    def forward(self, tokens_BT):
        return self.head(self.drop(self.norm(self.embed(tokens_BT))))


def _one_noisy_rank(rank, home, flips, changes):
    import torch.distributed as dist

    from steadytrain.train import Feed, Ranks, Session

    torch.set_num_threads(1)
    ranks, seed = Ranks.join(), changes["seed"]
    world = ranks.world
    model = torch.nn.parallel.DistributedDataParallel(Noisy(seed), broadcast_buffers=False)
    torch.manual_seed(1000 * seed + rank)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    size = rig.BATCH // world
    feed = Feed(rig.Words(), batch_size=size, accumulate=((0, 1), (9, 2)), rank=rank, world=world)
    session = Session(
        model, optimizer, feed, home=home, steps=40, judge=rig.judge(), ranks=ranks, fence=False,
        compare_every=3, snapshot_every=5, checkpoint_every=20,
    )  # fmt: skip
    with session as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
    buffers = [one.tolist() for one in model.buffers()]
    _out(home, rank).write_text(
        json.dumps([rig.digest(model.module, optimizer)["optimizer"], buffers])
    )
    dist.destroy_process_group()


def train(folder, name, world, flips=(), *, ends=0, rank_of=_one_rank, **changes):
    """Home of a run, and what each rank held at its end."""
    home = folder / name
    together(world, rank_of, home, flips, changes, ends=ends)
    outs = [_out(home, rank) for rank in range(world)]
    return home, [json.loads(out.read_text()) for out in outs if out.exists()]


def _out(home, rank):
    return home.with_name(f"{home.name}-{rank}.json")


def of(home, kind):
    return [one for one in journal.read(home) if isinstance(one, kind)]


def opened(home):
    return [one for one in of(home, Incident) if one.change == "opened"]


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Runs without a fault, by the number of ranks; made when they are asked for."""
    folder = tmp_path_factory.mktemp("clean")
    made = {}

    def of_world(world):
        if world not in made:
            made[world] = train(folder, f"clean{world}", world)
        return made[world]

    return of_world


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """Four ranks, a flip in another one each time; the first right after a snapshot."""
    flips = [(11 + 12 * at, kind, at, 7 + at) for at, kind in enumerate(KINDS)]
    return train(tmp_path_factory.mktemp("broken"), "broken", 4, flips)


def test_a_flip_in_each_part_of_the_state_leaves_no_trace(broken, clean):
    home, ends = broken
    whole = clean(4)[1]
    assert ends == whole
    assert len({str(one) for one in whole}) == 1
    results = [one.result for one in of(home, Outcome)]
    assert results == ["cured"] * len(of(home, Remedy))
    assert [one.differences for one in replay(home)] == [()]


def test_each_flip_is_seen_within_the_interval_and_its_rank_named(broken):
    home, _ = broken
    causes = [one.causes[0] for one in of(home, Diagnosis)]
    assert [one.name for one in causes] == [
        "corrupted weights", "corrupted gradient", "corrupted moments", "corrupted moments",
    ]  # fmt: skip
    for rank, (cause, incident) in enumerate(zip(causes, opened(home), strict=True)):
        flipped = 11 + 12 * rank
        assert f"rank {rank} holds other bits" in cause.evidence[0]
        assert cause.confidence >= 0.99
        assert flipped - 1 <= incident.step < flipped + EVERY  # the state before the update
        assert incident.onset <= flipped


def test_the_run_returns_to_the_last_state_on_which_all_agreed(broken):
    home, _ = broken
    found = of(home, ReplicasCompared)
    for remedy in of(home, Remedy):
        (action,) = remedy.plan
        apart = next(one for one in found if one.unlike and one.step <= remedy.step)
        agreed = [one.step for one in found[: found.index(apart)] if not one.unlike]
        assert action.to_step == agreed[-1]
        found = found[found.index(apart) + 1 :]


def test_the_tensor_is_named_and_the_updates_made_again_come_out_alike(broken):
    home, _ = broken
    for seen in of(home, BatchExamined):
        assert seen.copies == 4
        assert seen.unlike
        assert seen.remade_alike is True
    (first, *_) = of(home, BatchExamined)
    assert first.unlike_kinds == {"weights": 1}


def test_a_run_without_a_fault_has_no_incident_and_agrees_every_few_steps(clean):
    home, _ = clean(4)
    found = of(home, ReplicasCompared)
    assert [one.step for one in found] == [*range(0, STEPS, EVERY), STEPS]
    assert {one.copies for one in found} == {4}
    assert not any(one.unlike for one in found)
    assert opened(home) == []
    assert of(home, RunBegan)[0].copies == 4


def test_of_two_replicas_one_is_wrong_and_nobody_can_tell_which(tmp_path, clean):
    home, ends = train(tmp_path, "two", 2, [(13, "flip-weight", 1, 5)])
    assert ends == clean(2)[1]
    (diagnosis,) = of(home, Diagnosis)
    assert "cannot tell which is wrong" in diagnosis.causes[0].evidence[0]
    assert [one.result for one in of(home, Outcome)] == ["cured"]


def test_the_host_of_a_rank_that_is_named_twice_is_left(tmp_path):
    flips = [(8, "flip-weight", 1, 5), (28, "flip-weight", 1, 6)]
    home, ends = train(tmp_path, "twice", 3, flips, ends=75, steps=50)
    assert ends == []
    first, second = of(home, Remedy)
    assert [type(one).__name__ for one in first.plan] == ["RollBack"]
    assert [type(one).__name__ for one in second.plan] == ["RollBack", "LeaveHost"]
    assert second.plan[1].rank == 1
    home, ends = train(tmp_path, "twice", 3, steps=50)
    assert ends == train(tmp_path, "whole", 3, steps=50)[1]
    assert [one.result for one in of(home, Outcome)] == ["cured", "cured"]
    assert [one.differences for one in replay(home)] == [()]


def no_false_alarm(folder, world, seed):
    home, ends = train(folder, "noisy", world, rank_of=_one_noisy_rank, seed=seed)
    found = of(home, ReplicasCompared)
    assert len(found) == 15
    assert not any(one.unlike for one in found)
    assert not [one for one in opened(home) if any("replica" in name for name in one.signals)]
    assert len({optimizer for optimizer, _ in ends}) == 1
    assert ends[0][1] != ends[1][1]  # statistics of a batch are each rank's own


def test_dropout_batch_statistics_and_a_batch_ramp_are_no_alarm(tmp_path):
    no_false_alarm(tmp_path, 2, 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_no_seed_gives_a_false_alarm(tmp_path, seed):
    no_false_alarm(tmp_path, 2 + seed % 3, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_random_flips_on_random_ranks_leave_no_trace(tmp_path, clean, seed):
    world = 2 + seed % 3
    chance = random.Random(f"flips-{seed}")
    kinds = chance.sample(KINDS, len(KINDS))
    ranks = [chance.randrange(world) for _ in kinds]
    steps = [chance.randrange(2 + 14 * at, 12 + 14 * at) for at in range(len(kinds))]
    flips = [
        (step, kind, rank, chance.randrange(2**31))
        for step, kind, rank in zip(steps, kinds, ranks, strict=True)
    ]
    # A rank that is named twice is left, which is another test's; four faults in 60 updates are more
    # than the budget of a run that is made again.
    recipe = rig.judge(ladder=Ladder(doses=Doses(leave_after=99), max_lost=1.0))
    home, ends = train(tmp_path, "flipped", world, flips, judge=recipe)
    assert ends == clean(world)[1]
    seen = [one for one in of(home, ReplicasCompared) if one.unlike]
    for event in seen:
        last = max(at for at, step in enumerate(steps) if step - 1 <= event.step)
        assert event.step < steps[last] + EVERY
        for one in event.unlike:
            usual = max(set(one.digests), key=one.digests.count)
            unlike = [rank for rank, digest in enumerate(one.digests) if digest != usual]
            assert world == 2 or unlike == [ranks[last]]
    (tmp_path / "seen.json").write_text(json.dumps([len(seen), len(flips)]))
    assert all(one.result == "cured" for one in of(home, Outcome))
    assert [one.differences for one in replay(home)] == [()]
