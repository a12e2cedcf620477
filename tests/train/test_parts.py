"""Losses, gate, gradients and schedule against slow obvious versions."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from steadytrain.errors import SettingError
from steadytrain.lab.model import Config, Transformer
from steadytrain.train import WarmupStableDecay, Waypoints, gradients
from steadytrain.train.gate import Gate
from steadytrain.train.losses import (
    ZLoss,
    add_z_loss,
    domain_sums,
    largest_logits,
    sequence_sums,
    token_losses,
    z_losses,
)


def test_token_losses_are_cross_entropy_and_logsumexp():
    torch.manual_seed(0)
    logits, targets = torch.randn(3, 5, 11) * 4, torch.randint(0, 11, (3, 5))
    nll, lse = token_losses(logits, targets)
    slow = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    assert torch.allclose(nll.flatten(), slow, atol=1e-5)
    assert torch.allclose(lse, logits.logsumexp(-1), atol=1e-5)


def test_the_z_loss_has_the_gradient_of_logsumexp_squared():
    logits = torch.randn(2, 3, 7, requires_grad=True)
    _, lse = token_losses(logits, torch.zeros(2, 3, dtype=torch.long))
    (ours,) = torch.autograd.grad(z_losses(lse).sum(), logits)
    (slow,) = torch.autograd.grad(logits.logsumexp(-1).square().sum(), logits)
    assert torch.allclose(ours, slow, atol=1e-5)


def test_the_other_z_loss_has_the_gradient_of_the_largest_logit_squared():
    logits = torch.randn(2, 3, 7, requires_grad=True)
    (ours,) = torch.autograd.grad(largest_logits(logits).square().sum(), logits)
    slow = torch.zeros_like(logits)
    for row in range(2):
        for at in range(3):
            top = logits[row, at].argmax()
            slow[row, at, top] = 2 * logits[row, at, top]
    assert torch.allclose(ours, slow.detach())


def test_both_z_losses_are_means_over_the_counted_tokens():
    counted = torch.tensor([[True, True, False], [True, False, False]])
    z, largest = torch.rand(2, 3) * 9, torch.randn(2, 3)
    z[0, 2], largest[1, 1] = math.nan, math.inf  # padding
    mean, z_loss = torch.tensor(2.0), ZLoss(logsumexp=0.1, largest=0.3)
    found = add_z_loss(mean, counted, z_loss, z_BT=z, largest_BT=largest)
    slow = 2.0
    for row, at in ((0, 0), (0, 1), (1, 0)):
        slow += (0.1 * z[row, at].item() + 0.3 * largest[row, at].item() ** 2) / 3
    assert found.item() == pytest.approx(slow, rel=1e-6)
    assert add_z_loss(mean, counted, z_loss, z_BT=None, largest_BT=None) is mean
    assert add_z_loss(mean, counted, ZLoss(), z_BT=z, largest_BT=largest) is mean


def test_half_precision_logits_are_summed_in_float32():
    nll, _ = token_losses(torch.randn(1, 2, 9).bfloat16(), torch.zeros(1, 2, dtype=torch.long))
    assert nll.dtype == torch.float32


def test_domain_sums_are_those_of_a_loop():
    nll = torch.tensor([6.0, 2.0, 9.0, 1.0])
    tokens = torch.tensor([3, 2, 3, 0])
    size = torch.tensor([4, 2, 5, 0])
    domain = torch.tensor([0, 1, 0, 1])
    found = domain_sums(nll, tokens, size, domain, domains=3).tolist()
    assert found[0] == [15.0, 6.0, 9.0, 2.0, 2.0**2 + 3.0**2]
    assert found[1] == [3.0, 2.0, 2.0, 1.0, 1.0]
    assert found[2] == [0.0] * 5


def test_nan_in_one_domain_stays_there():
    nll = torch.tensor([math.nan, 2.0])
    found = domain_sums(nll, torch.ones(2), torch.ones(2), torch.tensor([0, 1]), domains=2)
    assert math.isnan(found[0, 0])
    assert found[1, 0] == 2.0


def test_padding_is_not_counted_even_where_it_is_nan():
    nll = torch.tensor([[1.0, math.nan]])
    sums, count = sequence_sums(nll, torch.tensor([[True, False]]))
    assert (sums.item(), count.item()) == (1.0, 1)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_a_skipped_update_leaves_weights_moments_and_counter(kind, fused):
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = kind([weight], lr=0.1, fused=fused, weight_decay=0.1)
    gate = Gate(optimizer, torch.device("cpu"))
    weight.grad = torch.ones(4)
    gate.step(torch.tensor(1.0))
    before = (weight.detach().clone(), str(optimizer.state_dict()))
    weight.grad = torch.full((4,), math.nan)
    gate.step(torch.tensor(0.0))
    assert torch.equal(weight.detach(), before[0])
    assert str(optimizer.state_dict()) == before[1]
    assert not hasattr(optimizer, "found_inf")


@pytest.mark.parametrize(
    ("loss", "norm", "commits"),
    [
        (2.0, 1.0, 1.0),
        (math.nan, 1.0, 0.0),
        (2.0, math.inf, 0.0),
        (5.0, 1.0, 0.0),
        (2.0, 9.0, 0.0),
        (3.0, 4.0, 1.0),
    ],
)
def test_the_gate_lets_pass_what_is_finite_and_within_the_limits(loss, norm, commits):
    weight = torch.nn.Parameter(torch.ones(1))
    gate = Gate(torch.optim.AdamW([weight], fused=True), torch.device("cpu"))
    three, four = torch.tensor(3.0), torch.tensor(4.0)
    found = gate.decide(torch.tensor(loss), torch.tensor(norm), loss_limit=three, grad_limit=four)
    assert found.item() == commits


def test_clipping_is_that_of_torch():
    model = torch.nn.Linear(3, 3)
    norms = gradients.LayerNorms(model)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 2.0)
    norm = norms.measure().total
    assert norm.item() == pytest.approx(math.sqrt(48))
    gradients.clip(list(model.parameters()), norm, max_norm=1.0)
    assert norms.measure().total.item() == pytest.approx(1.0, rel=1e-5)


def test_each_group_of_layers_has_a_gradient_norm_of_its_own():
    model = Transformer(Config(width=16, layers=3, heads=2), seed=0)
    for name, parameter in model.named_parameters():
        size = {"embed": 1.0, "blocks": 1.0 + int(name.split(".")[1]) if "blocks" in name else 0.0}
        parameter.grad = torch.zeros_like(parameter)
        parameter.grad.view(-1)[0] = size.get(name.split(".")[0], 0.0)
    total, groups, _ = gradients.LayerNorms(model).measure()
    per_block = sum(name.startswith("blocks.0.") for name, _ in model.named_parameters())
    expected = [1.0, *[depth * math.sqrt(per_block) for depth in (1, 2, 3)], 0.0]
    assert groups.tolist() == pytest.approx(expected, rel=1e-6)
    assert total.item() == pytest.approx(math.hypot(*expected), rel=1e-6)


def shrunk(model, alpha, reach):
    """Factor of each parameter's gradient, by name."""
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    gradients.Shrinker(model).shrink(alpha, reach)
    found = {name: p.grad.unique().tolist() for name, p in model.named_parameters()}
    return {name: factor for name, [factor] in found.items()}


@pytest.mark.parametrize("reach", [0.0, 0.1, 1 / 3, 0.5, 1.0])
def test_shallow_gradients_shrink_less_from_block_to_block(reach):
    found = shrunk(Transformer(Config(width=16, layers=6, heads=2), seed=0), 0.1, reach)
    for name, factor in found.items():
        expected = 1.0
        if name.startswith("embed"):
            expected = 0.1
        elif name.startswith("blocks."):
            block = int(name.split(".")[1])
            if block < reach * 6:
                expected = min(1.0, 0.1 ** (1 - (block + 0.5) / (reach * 6)))
        assert factor == pytest.approx(expected, rel=1e-6), name


def test_a_model_without_embedding_or_blocks_is_left_alone():
    model = torch.nn.Linear(2, 2)
    assert set(shrunk(model, 0.1, 1.0).values()) == {1.0}
    assert not gradients.Shrinker(model).has_embedding


def test_scaled_shallow_gradients_equal_a_shrunk_embedding():
    table = torch.nn.Embedding(5, 3)
    seen = torch.tensor([1, 2])
    alpha = 0.1
    out = table(seen)
    (alpha * out + (1 - alpha) * out.detach()).square().sum().backward()
    shrunk = table.weight.grad.clone()
    table.zero_grad()
    table(seen).square().sum().backward()
    gradients.Shrinker(table).shrink(alpha, 0.0)
    assert torch.allclose(table.weight.grad, shrunk)


@pytest.mark.parametrize("shape", ["1-sqrt", "linear", "cosine", "exponential"])
def test_the_schedule_warms_up_holds_and_decays(shape):
    plan = WarmupStableDecay(peak=2.0, steps=100, warmup=10, decay=20, shape=shape, floor=0.1)
    rates = [plan.lr(step) for step in range(1, 101)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9:80] == [2.0] * 71
    assert all(later <= earlier for earlier, later in zip(rates[80:], rates[81:], strict=False))
    assert rates[-1] == pytest.approx(2.0 * (0.1 + 0.9 * plan._left(1.0)))


def test_a_decay_can_begin_early():
    plan = WarmupStableDecay(peak=1.0, steps=100, warmup=0, decay=20, shape="linear")
    assert plan.lr(50, decay_from=40) == pytest.approx(0.5)
    assert plan.lr(90, decay_from=99) == plan.lr(90)


def test_waypoints_are_joined_by_straight_lines_and_held_outside():
    points = ((10, 0.0), (20, 1.0), (50, 1.0), (60, 0.2))
    plan = Waypoints(points=points)
    slow = np.interp(range(100), *zip(*points, strict=True))
    assert [plan.lr(step) for step in range(100)] == pytest.approx(list(slow), abs=1e-12)


def test_a_decay_that_begins_early_leaves_the_waypoints_and_never_exceeds_them():
    plan = Waypoints(points=((0, 1.0), (100, 1.0), (110, 0.0), (120, 1.0)), decay=40)
    assert plan.lr(60, decay_from=60) == 1.0
    assert plan.lr(70, decay_from=60) == pytest.approx(1 - math.sqrt(10 / 40))
    assert plan.lr(100, decay_from=60) == 0.0
    assert plan.lr(120, decay_from=60) == 0.0
    assert all(plan.lr(step, decay_from=95) <= plan.lr(step) for step in range(130))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"points": ()}, "do not name a rate.*Write .update, rate. pairs"),
        ({"points": ((5, 1.0), (5, 2.0))}, "updates that rise"),
        ({"points": ((5, -1.0),)}, "Write rates of 0 or more"),
        ({"points": ((5, math.nan),)}, "Write rates of 0 or more"),
        ({"points": ((5, 1.0),), "decay": 0}, "Write decay=100"),
    ],
)
def test_waypoints_that_make_no_sense_are_refused(fields, words):
    with pytest.raises(SettingError, match=words):
        Waypoints(**fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"peak": 0.0}, "trains nothing"),
        ({"warmup": 90, "decay": 20}, "do not fit into 100"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(fields, words):
    settings = {"peak": 1.0, "steps": 100, "warmup": 10, "decay": 10} | fields
    with pytest.raises(SettingError, match=words):
        WarmupStableDecay(**settings)
