"""Standing orders: settings as a pure function of the step."""

import pytest
import torch

from steadytrain.actions import (
    BeginDecay,
    RollBack,
    ScaleEpsilon,
    ScaleLearningRate,
    ScaleShallowGradients,
    SetZLoss,
    SkipDraws,
)
from steadytrain.events import (
    Remedy,
)
from steadytrain.train import WarmupStableDecay
from steadytrain.train.feed import Exclusion
from steadytrain.train.hands import Dials, Orders, Settings
from steadytrain.train.losses import ZLoss


def remedy(*plan, number=1):
    return Remedy(
        id=f"remedy-{number}", incident="i", step=10, due=12, rung=0, cause="c", plan=plan, why="w"
    )


LOWER = ScaleLearningRate(factor=0.5, from_step=10, hold_steps=4, rewarm_steps=10)


def test_without_orders_nothing_is_changed():
    assert Orders().at(5) == Settings()


def test_a_lowered_rate_is_held_and_then_rewarmed():
    orders = Orders([remedy(LOWER)])
    factors = [orders.at(step).lr_factor for step in (10, 11, 14, 19, 24, 30)]
    assert factors == pytest.approx([1.0, 0.5, 0.5, 0.75, 1.0, 1.0])


def test_factors_multiply():
    orders = Orders(
        [
            remedy(LOWER),
            remedy(
                LOWER.__class__(factor=0.5, from_step=11, hold_steps=4, rewarm_steps=10), number=2
            ),
        ]
    )
    assert orders.at(12).lr_factor == 0.25


def test_every_setting_holds_from_its_step_on():
    orders = Orders(
        [
            remedy(
                ScaleEpsilon(factor=0.1, from_step=10),
                ScaleShallowGradients(alpha=0.1, from_step=10, hold_steps=0, relax_steps=9),
                SetZLoss(coefficient=1e-4, from_step=10),
                BeginDecay(from_step=10),
            )
        ]
    )
    assert orders.at(10).epsilon_factor == 1.0
    at_once = orders.at(11)
    assert at_once.epsilon_factor == 0.1
    assert at_once.shrinks == ((pytest.approx(0.2), 1 / 3),)
    assert (at_once.own_z_loss, at_once.z_loss) == (0.0, ZLoss(logsumexp=1e-4))
    assert at_once.decay_from == 10
    assert orders.at(19).shrinks == ()


def test_a_rollback_withdraws_settings_of_the_branch_it_leaves_but_no_exclusion():
    orders = Orders([remedy(LOWER, SkipDraws(ranges=((5, 6),), from_step=10))])
    orders.install(remedy(RollBack(to_step=3), number=2))
    assert orders.at(11).lr_factor == 1.0
    assert orders.exclusions() == [Exclusion(10, ((5, 6),))]


def test_installing_twice_is_harmless():
    orders = Orders([remedy(LOWER), remedy(LOWER)])
    assert orders.at(11).lr_factor == 0.5


def _optimizer():
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": rate} for rate in (0.1, 0.2)]
    return torch.optim.AdamW(groups, eps=1e-8)


def test_dials_keep_the_ratio_between_groups():
    optimizer = _optimizer()
    plan = WarmupStableDecay(peak=1.0, steps=10, warmup=0, decay=0)
    planned = Dials(optimizer, plan, z_loss=0.0).set(1, Settings(lr_factor=0.5, epsilon_factor=0.1))
    assert planned == 0.5
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 1.0]
    assert optimizer.param_groups[0]["eps"] == pytest.approx(1e-9)


def test_without_a_schedule_the_users_rate_is_put_back():
    optimizer = _optimizer()
    dials = Dials(optimizer, None, z_loss=0.0)
    dials.set(1, Settings(lr_factor=0.5))
    assert dials.release() == pytest.approx(0.05)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.2]
