"""What is done to Adam's moments and by them, against plain loops; on each kind of Adam."""

import copy
import math

import pytest
import torch
from torch import nn

from steadytrain.train import moments

KINDS = {
    "fused": {"fused": True},
    "foreach": {"foreach": True},
    "one by one": {"foreach": False},
}


def make(kind=torch.optim.AdamW, **options):
    """Two tensors with an optimizer over them."""
    torch.manual_seed(0)
    model = nn.ParameterDict({"a": torch.randn(3, 4), "b": torch.randn(5)})
    settings = {"lr": 0.01, "betas": (0.9, 0.95), "eps": 1e-3, "weight_decay": 0.1}
    return model, kind(model.parameters(), **(settings | options))


def grads(step, *, spike_at=()):
    chance = torch.Generator().manual_seed(100 + step)
    size = 30.0 if step in spike_at else 1.0
    return [torch.randn(3, 4, generator=chance) * size, torch.randn(5, generator=chance)]


def give(model, step, **options):
    for parameter, grad in zip(model.parameters(), grads(step, **options), strict=True):
        parameter.grad = grad


def weights(model):
    return [parameter.detach().clone() for parameter in model.parameters()]


def close(left, right, **tolerance):
    return all(torch.allclose(a, b, **tolerance) for a, b in zip(left, right, strict=True))


class SlowStableAdamW:
    """optimi's algorithm written out: a learning rate of its own for each tensor."""

    def __init__(self, tensors, *, amsgrad):
        self.w = [one.double() for one in tensors]
        self.m = [torch.zeros_like(one) for one in self.w]
        self.v = [torch.zeros_like(one) for one in self.w]
        self.top = [torch.zeros_like(one) for one in self.w]
        self.t, self.amsgrad, self.rms = 0, amsgrad, []

    def step(self, given, lr=0.01, b1=0.9, b2=0.95, eps=1e-3, decay=0.1):
        self.t += 1
        self.rms = []
        for i, g in enumerate(one.double() for one in given):
            self.m[i] = b1 * self.m[i] + (1 - b1) * g
            self.v[i] = b2 * self.v[i] + (1 - b2) * g**2
            self.top[i] = torch.maximum(self.top[i], self.v[i])
            v_hat = (self.top[i] if self.amsgrad else self.v[i]) / (1 - b2**self.t)
            rms = (g**2 / v_hat.clamp(min=eps**2)).mean().sqrt().item()
            own = lr / max(1.0, rms)
            m_hat = self.m[i] / (1 - b1**self.t)
            self.w[i] = self.w[i] * (1 - own * decay) - own * m_hat / (v_hat.sqrt() + eps)
            self.rms.append(rms)


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_limited_updates_are_those_of_stable_adamw(kind, amsgrad):
    # torch takes a rate that is a tensor in fused optimizers only, but for captured graphs.
    rate = torch.tensor(0.01) if kind == "fused" else 0.01
    model, optimizer = make(amsgrad=amsgrad, lr=rate, **KINDS[kind])
    slow = SlowStableAdamW(weights(model), amsgrad=amsgrad)
    limiter, limited = moments.UpdateLimit(optimizer), 0
    for step in range(30):
        give(model, step, spike_at=(10, 20))
        before = limiter.mark()
        optimizer.step()
        limiter.limit(before)
        slow.step(grads(step, spike_at=(10, 20)))
        limited += max(slow.rms) > 1.2
        # float32 against float64 over 30 steps of size 0.01.
        assert close(weights(model), [one.float() for one in slow.w], atol=2e-6), step
    assert limited >= 2


def test_an_update_within_its_bounds_is_left_to_the_bit():
    model, optimizer = make(fused=True)
    twin, other = make(fused=True)
    limiter = moments.UpdateLimit(optimizer)
    for step in range(20):
        give(model, step)
        give(twin, step)
        # Smaller and smaller gradients are never larger than expected.
        for parameter in [*model.parameters(), *twin.parameters()]:
            parameter.grad *= 0.5**step
        before = limiter.mark()
        optimizer.step()
        other.step()
        limiter.limit(before)
        assert all(map(torch.equal, weights(model), weights(twin)))


def test_an_update_that_was_held_back_leaves_the_weights():
    model, optimizer = make(fused=True)
    limiter = moments.UpdateLimit(optimizer)
    for step in range(2):
        give(model, step)
        optimizer.step()
    for bad in (math.nan, math.inf, 1e30):
        give(model, 5)
        model["a"].grad[0, 0] = bad
        kept = weights(model)
        before = limiter.mark()
        optimizer.grad_scale, optimizer.found_inf = None, torch.tensor(1.0)
        optimizer.step()
        limiter.limit(before)
        assert all(map(torch.equal, weights(model), kept))


def test_weights_in_half_precision_are_limited_too():
    model, optimizer = make(foreach=True)
    model = model.bfloat16()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.5, betas=(0.9, 0.95), foreach=True)
    limiter = moments.UpdateLimit(optimizer)
    for step in range(6):
        for parameter, grad in zip(model.parameters(), grads(step, spike_at=(5,)), strict=True):
            parameter.grad = grad.bfloat16()
        kept, before = weights(model), limiter.mark()
        optimizer.step()
        full = weights(model)
        limiter.limit(before)
    moved = [(now - was).abs().max().item() for now, was in zip(weights(model), kept, strict=True)]
    would = [(now - was).abs().max().item() for now, was in zip(full, kept, strict=True)]
    assert moved[0] < 0.5 * would[0]
    assert moved[1] > 0.5 * would[1]


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_reset_moments_are_those_of_an_optimizer_that_never_stepped(kind, amsgrad):
    model, optimizer = make(amsgrad=amsgrad, **KINDS[kind])
    for step in range(7):
        give(model, step)
        optimizer.step()
    twin = copy.deepcopy(model)
    fresh = torch.optim.AdamW(
        twin.parameters(), lr=0.01, betas=(0.9, 0.95), eps=1e-3, weight_decay=0.1,
        amsgrad=amsgrad, **KINDS[kind],
    )  # fmt: skip
    moments.reset(optimizer)
    for step in range(7, 12):
        give(model, step)
        give(twin, step)
        optimizer.step()
        fresh.step()
    assert all(map(torch.equal, weights(model), weights(twin)))


def test_a_reset_before_the_first_step_is_harmless():
    model, optimizer = make()
    moments.reset(optimizer)
    give(model, 0)
    optimizer.step()
    assert optimizer.state[model["a"]]["step"] == 1


def slow_cut(grad, v, t, beta2, eps):
    """SPAM's rule, one number at a time."""
    flat = []
    for g, one in zip(grad.flatten().tolist(), v.flatten().tolist(), strict=True):
        bound = math.sqrt(5000 * max(one / (1 - beta2**t), eps**2))
        is_spike = t >= 20 and one > 0 and abs(g) > bound
        flat.append(math.copysign(bound, g) if is_spike else g)
    return torch.tensor(flat).view_as(grad)


@pytest.mark.parametrize("kind", KINDS)
def test_spikes_are_cut_element_by_element(kind):
    model, optimizer = make(betas=(0.9, 0.999), **KINDS[kind])
    cut = 0
    for step in range(40):
        give(model, step)
        spiky = {5: 0, 25: 1, 35: 2}  # too early to be told from the rest, then two that are cut
        if step in spiky:
            model["a"].grad[spiky[step]] *= 1000.0
        model["a"].grad[1, 1] = 0.0 if step < 30 else 7.0  # a weight that was never met
        given = [parameter.grad.clone() for parameter in model.parameters()]
        state = [optimizer.state.get(parameter) for parameter in model.parameters()]
        expected = given
        if step:
            expected = [
                slow_cut(grad, one["exp_avg_sq"], float(one["step"]), 0.999, 1e-3)
                for grad, one in zip(given, state, strict=True)
            ]
        moments.cut_spikes(optimizer)
        found = [parameter.grad for parameter in model.parameters()]
        assert close(found, expected, rtol=1e-3)  # 1 - 0.999^t in float32
        cut += not close(found, given)
        assert model["a"].grad[1, 1] == given[0][1, 1] or step > 30
        optimizer.step()
    assert cut == 2


def test_optimizers_that_keep_no_such_moments_are_left_alone():
    model = nn.ParameterDict({"a": torch.ones(3), "b": torch.ones(2)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    limiter = moments.UpdateLimit(optimizer)
    moments.cut_spikes(optimizer)
    before = limiter.mark()
    optimizer.step()
    limiter.limit(before)
    moments.reset(optimizer)
    assert model["a"].tolist() == pytest.approx([0.9] * 3)
    assert not moments.keeps_moments(optimizer)
