import json
import random
import warnings

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.parallel import DistributedDataParallel

from steadytrain.errors import CheckpointError, SettingError
from steadytrain.train.state import TrainingState, layout


class Tied(nn.Module):
    """A head tied to its embedding, and one buffer of each sort."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("table", torch.ones(3), persistent=False)

    def forward(self, x):
        return self.head(self.norm(self.embed(x)))


def make(model=None, **options):
    model = model or Tied()
    return model, torch.optim.AdamW(model.parameters(), **{"lr": 0.01, "fused": True, **options})


def train(model, optimizer, steps=1):
    for _ in range(steps):
        model(torch.randint(0, 7, (2, 3))).logsumexp(-1).sum().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.fixture
def one_rank():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class TestNames:
    def test_tied_parameters_appear_once_and_derived_buffers_not_at_all(self):
        state = TrainingState(*make())
        assert list(state.tensors()) == [
            "model.embed.weight",
            "model.norm.weight",
            "model.norm.bias",
            "model.mean",
        ]
        assert state.num_parameters == 7 * 4 + 4 + 4

    def test_optimizer_tensors_are_named_after_their_parameter(self):
        model, optimizer = make()
        train(model, optimizer)
        names = {name for name in TrainingState(model, optimizer).tensors() if "norm.bias" in name}
        assert names == {
            "model.norm.bias",
            "optimizer.norm.bias.step",
            "optimizer.norm.bias.exp_avg",
            "optimizer.norm.bias.exp_avg_sq",
        }

    def test_wrappers_leave_no_trace_in_names_and_fingerprint(self, one_rank):
        model, optimizer = make()
        bare = TrainingState(model, optimizer)
        wrapped = TrainingState(
            DistributedDataParallel(torch.compile(model, backend="eager")), optimizer
        )
        assert wrapped.tensors().keys() == bare.tensors().keys()
        assert wrapped.fingerprint() == bare.fingerprint()

    def test_a_child_that_is_really_called_module_keeps_its_name(self):
        model = nn.ModuleDict({"module": nn.Linear(2, 2, bias=False)})
        state = TrainingState(model, torch.optim.SGD(model.parameters(), lr=0.1))
        assert list(state.tensors()) == ["model.module.weight"]

    def test_a_trained_tensor_outside_the_model_is_refused(self):
        stray = nn.Parameter(torch.zeros(2, 5))
        model, _ = make()
        with pytest.raises(SettingError, match=r"shape \[2, 5\] that is no parameter of the model"):
            TrainingState(model, torch.optim.SGD([*model.parameters(), stray], lr=0.1))

    def test_fsdp1_is_refused(self, one_rank):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = FullyShardedDataParallel(Tied(), device_id=torch.device("cpu"))
        with pytest.raises(SettingError, match=r"FSDP1.*Write torch.distributed.fsdp.fully_shard"):
            TrainingState(model, torch.optim.SGD(model.parameters(), lr=0.1))


class TestTensors:
    def test_they_are_the_live_ones(self):
        model, optimizer = make()
        train(model, optimizer)
        live = TrainingState(model, optimizer).tensors()
        assert live["model.norm.bias"] is model.norm.bias
        assert live["optimizer.norm.bias.step"] is optimizer.state[model.norm.bias]["step"]

    def test_a_buffer_that_is_bound_anew_is_followed(self):
        model, optimizer = make()
        state = TrainingState(model, optimizer)
        model.mean = model.mean + 1
        assert state.tensors()["model.mean"] is model.mean

    @pytest.mark.parametrize(
        "other",
        [nn.Linear(4, 6), nn.Linear(4, 5).double(), nn.Sequential(nn.Linear(4, 5))],
        ids=["shape", "dtype", "name"],
    )
    def test_fingerprint_tells_models_apart(self, other):
        mine = nn.Linear(4, 5)
        prints = {TrainingState(*make(one)).fingerprint() for one in (mine, nn.Linear(4, 5))}
        assert len(prints) == 1
        assert TrainingState(*make(other)).fingerprint() not in prints


class TestLeaves:
    def test_they_survive_json_and_come_back_in_their_own_form(self):
        model, optimizer = make()
        state = TrainingState(model, optimizer)
        saved = json.loads(json.dumps(state.leaves(), allow_nan=False))
        optimizer.param_groups[0].update(lr=5.0, betas=(0.0, 0.0), weight_decay=7.0)
        state.load_leaves(saved)
        group = optimizer.param_groups[0]
        assert (group["lr"], group["betas"], group["weight_decay"]) == (0.01, (0.9, 0.999), 0.01)

    def test_a_tensor_learning_rate_is_saved_as_a_float_and_filled_in_place(self):
        rate = torch.tensor(0.25)
        model, optimizer = make(lr=rate)
        state = TrainingState(model, optimizer)
        saved = state.leaves()
        rate.fill_(9.0)
        state.load_leaves(saved)
        assert saved["groups"][0]["lr"] == 0.25
        assert optimizer.param_groups[0]["lr"] is rate
        assert rate == 0.25

    def test_a_learning_rate_that_is_not_finite_survives(self):
        model, optimizer = make()
        optimizer.param_groups[0]["lr"] = float("inf")
        state = TrainingState(model, optimizer)
        saved = json.loads(json.dumps(state.leaves(), allow_nan=False))
        optimizer.param_groups[0]["lr"] = 1.0
        state.load_leaves(saved)
        assert optimizer.param_groups[0]["lr"] == float("inf")

    def test_how_the_optimizer_is_computed_is_left_to_the_program(self):
        model, optimizer = make()
        saved = TrainingState(model, optimizer).leaves()
        other = torch.optim.AdamW(model.parameters(), lr=3.0, foreach=True)
        TrainingState(model, other).load_leaves(saved)
        assert other.param_groups[0]["lr"] == 0.01
        assert other.param_groups[0]["foreach"] is True
        assert not other.param_groups[0]["fused"]

    def test_plain_optimizer_state_comes_back_and_surplus_goes(self):
        model, optimizer = make()
        state = TrainingState(model, optimizer)
        optimizer.state[model.norm.bias]["count"] = 3
        saved = state.leaves()
        optimizer.state[model.norm.bias].update(count=4, later=True)
        state.load_leaves(saved)
        assert optimizer.state[model.norm.bias] == {"count": 3}

    def test_what_json_cannot_hold_is_refused_by_name(self):
        model, optimizer = make()
        state = TrainingState(model, optimizer)
        optimizer.state[model.norm.bias]["nested"] = {"moment": torch.zeros(4)}
        with pytest.raises(
            SettingError, match=r"state of norm.bias .* holds a dict.* would lose it"
        ):
            state.leaves()

    def test_another_number_of_groups_is_refused(self):
        model, optimizer = make()
        saved = TrainingState(model, optimizer).leaves()
        saved["groups"] *= 2
        with pytest.raises(CheckpointError, match="has 2 parameter groups, this one has 1"):
            TrainingState(model, optimizer).load_leaves(saved)


class TestOptimizerState:
    def test_missing_tensors_are_made_as_the_optimizer_makes_them(self):
        model, optimizer = make()
        train(model, optimizer)
        state = TrainingState(model, optimizer)
        wanted = {k: v for k, v in layout(state.tensors()).items() if k.startswith("optimizer.")}
        state.clear_optimizer_state()
        assert state.optimizer_is_empty
        state.make_optimizer_state(wanted)
        made = {k: v for k, v in state.tensors().items() if k.startswith("optimizer.")}
        assert layout(made) == wanted
        assert all(not tensor.any() for tensor in made.values())
        train(model, optimizer)
        assert optimizer.state[model.norm.bias]["step"] == 1

    def test_what_fits_stays_and_surplus_goes(self):
        model, optimizer = make()
        train(model, optimizer)
        state = TrainingState(model, optimizer)
        step = optimizer.state[model.norm.bias]["step"]
        state.make_optimizer_state({"optimizer.norm.bias.step": ((), torch.float32)})
        assert optimizer.state == {model.norm.bias: {"step": step}}
        assert optimizer.state[model.norm.bias]["step"] is step

    def test_state_of_another_shape_is_made_too(self):
        model, optimizer = make()
        state = TrainingState(model, optimizer)
        state.make_optimizer_state({"optimizer.embed.weight.row_var": ((7, 1), torch.float64)})
        made = state.tensors()["optimizer.embed.weight.row_var"]
        assert (made.shape, made.dtype) == ((7, 1), torch.float64)

    def test_state_of_an_untrained_parameter_is_refused(self):
        state = TrainingState(*make())
        with pytest.raises(CheckpointError, match=r"trained lost.weight, this one does not"):
            state.make_optimizer_state({"optimizer.lost.weight.exp_avg": ((2,), torch.float32)})


def test_every_random_generator_comes_back():
    state = TrainingState(*make())
    random.gauss(0, 1)  # leaves a second value waiting
    np.random.standard_normal()  # noqa: NPY002

    def draw():
        return (
            torch.rand(3).tolist(),
            np.random.standard_normal(3).tolist(),  # noqa: NPY002
            [random.gauss(0, 1) for _ in range(3)],
        )

    saved = state.rng()
    first = draw()
    state.load_rng(saved)
    assert draw() == first
    assert all(one.dtype == torch.uint8 for one in saved.values())


class TestExtras:
    def test_they_stand_under_a_name_of_their_own(self):
        seen = torch.zeros(3)
        state = TrainingState(*make(), extras={"clip.zclip": seen})
        assert state.tensors()["guard.clip.zclip"] is seen
        assert state.fingerprint() == TrainingState(*make()).fingerprint()
        assert state.num_parameters == TrainingState(*make()).num_parameters

    def test_those_named_begin_anew(self):
        seen, other = torch.zeros(3), torch.ones(2)
        state = TrainingState(*make(), extras={"seen": seen, "other": other})
        seen.fill_(4.0)
        other.fill_(4.0)
        state.begin_extras_anew(["guard.other"])
        assert (seen.tolist(), other.tolist()) == ([4.0] * 3, [1.0] * 2)
