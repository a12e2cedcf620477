"""Standing orders: settings as a pure function of the step."""

import msgspec
import pytest
import torch

from steadytrain.actions import (
    BeginDecay,
    Cancel,
    ClipAttention,
    ExcludeRank,
    LimitUpdates,
    ResetMoments,
    RollBack,
    ScaleEpsilon,
    ScaleLearningRate,
    ScaleShallowGradients,
    SetClipping,
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


def test_an_action_of_two_remedies_holds_twice_and_a_remedy_installed_twice_once():
    orders = Orders([remedy(LOWER), remedy(LOWER, number=2), remedy(LOWER)])
    assert orders.at(11).lr_factor == 0.25


@pytest.mark.parametrize(
    ("action", "name", "value"),
    [
        (SetClipping(method="adagc", from_step=10, hold_steps=3), "clipping", "adagc"),
        (LimitUpdates(from_step=10, hold_steps=3), "limits_updates", True),
        (ClipAttention(from_step=10, threshold=50.0, hold_steps=3), "attention_threshold", 50.0),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_is_held_ends_and_what_is_for_good_does_not(action, name, value):
    orders = Orders([remedy(action)])
    off = getattr(Settings(), name)
    found = [getattr(orders.at(step), name) for step in (10, 11, 13, 14)]
    assert found == [off, value, value, off]
    for_good = Orders([remedy(msgspec.structs.replace(action, hold_steps=None))])
    assert getattr(for_good.at(10**6), name) == value


def test_the_last_clipping_given_is_the_one_in_force():
    zclip = SetClipping(method="zclip", from_step=5)
    orders = Orders([remedy(zclip, SetClipping(method="spikes", from_step=10, hold_steps=5))])
    assert [orders.at(step).clipping for step in (5, 6, 10, 11, 15, 16)] == [
        None, "zclip", "zclip", "spikes", "spikes", "zclip",
    ]  # fmt: skip


def test_moments_are_reset_before_one_update_only():
    orders = Orders([remedy(ResetMoments(from_step=10))])
    assert [step for step in range(5, 20) if orders.at(step).resets_moments] == [11]


def test_ranks_are_excluded_for_good():
    orders = Orders([remedy(ExcludeRank(rank=3, from_step=10), ExcludeRank(rank=1, from_step=12))])
    assert [orders.at(step).excluded_ranks for step in (10, 11, 13)] == [(), (3,), (1, 3)]


def z_losses_of(*plan, own, steps):
    optimizer = _optimizer()
    dials, orders = Dials(optimizer, None, z_loss=own), Orders([remedy(*plan)])
    found = [dials.z_loss(orders.at(step)) for step in steps]
    return [(one.logsumexp, one.largest) for one in found]


def test_a_z_loss_relaxes_linearly_to_the_runs_own():
    action = SetZLoss(coefficient=1.0, from_step=10, hold_steps=2, relax_steps=4)
    found = z_losses_of(action, own=0.2, steps=(10, 11, 12, 13, 14, 15, 16, 17))
    expected = [0.2, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2, 0.2]
    assert [one for one, _ in found] == pytest.approx(expected)


def test_a_z_loss_on_the_largest_logit_takes_the_place_of_the_runs_own_and_gives_it_back():
    action = SetZLoss(coefficient=1.0, from_step=10, form="max", hold_steps=2, relax_steps=2)
    found = z_losses_of(action, own=0.2, steps=(10, 11, 13, 14))
    assert found == [(0.2, 0.0), (0.0, 1.0), pytest.approx((0.1, 0.5)), (0.2, 0.0)]


def test_without_a_remedy_the_runs_own_z_loss_is_untouched():
    assert z_losses_of(own=0.1, steps=(1,)) == [(0.1, 0.0)]


def test_what_was_cancelled_ends_after_its_step():
    shallow = ScaleShallowGradients(alpha=0.1, from_step=10, hold_steps=99, relax_steps=9)
    plan = (LOWER, shallow, SetZLoss(coefficient=1.0, from_step=10), BeginDecay(from_step=10),
        ScaleEpsilon(factor=0.1, from_step=10), SkipDraws(ranges=((5, 6),), from_step=10),
        ResetMoments(from_step=12))  # fmt: skip
    orders = Orders([remedy(*plan), remedy(Cancel(remedy="remedy-1", from_step=11), number=2)])
    assert orders.at(11).lr_factor == 0.5
    assert all(orders.at(step) == Settings() for step in (12, 13, 40))
    assert orders.exclusions() == [Exclusion(10, ((5, 6),), 11)]


def test_a_cancellation_ends_one_remedy_and_leaves_the_others():
    orders = Orders([remedy(LOWER), remedy(LOWER, number=2)])
    orders.install(remedy(Cancel(remedy="remedy-1", from_step=11), number=3))
    assert [orders.at(step).lr_factor for step in (11, 12)] == [0.25, 0.5]


def test_what_was_cancelled_stays_so_after_a_return_to_before_that():
    long = SetClipping(method="zclip", from_step=10)
    orders = Orders(
        [
            remedy(long),
            remedy(Cancel(remedy="remedy-1", from_step=30), number=2),
            remedy(RollBack(to_step=20), number=3),
        ]
    )
    assert [orders.at(step).clipping for step in (20, 21, 31)] == ["zclip", None, None]


def test_a_hyperparameter_that_is_a_tensor_stays_that_tensor():
    rate, epsilon = torch.tensor(0.1), torch.tensor(1e-8)
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.AdamW([weight], lr=rate, fused=True)
    optimizer.param_groups[0]["eps"] = epsilon
    dials = Dials(optimizer, None, z_loss=0.0)
    dials.set(1, Settings(lr_factor=0.5, epsilon_factor=0.1))
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["eps"]) == (rate, epsilon)
    assert (rate.item(), epsilon.item()) == pytest.approx((0.05, 1e-9))
    assert dials.release() == pytest.approx(0.05)
    assert rate.item() == pytest.approx(0.1)
    planned = Dials(optimizer, WarmupStableDecay(peak=1.0, steps=9, warmup=0, decay=0), z_loss=0.0)
    planned.set(1, Settings())
    assert (rate.item(), planned.release()) == (1.0, 1.0)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="PyTorch 2.9 and later have Muon")
def test_an_epsilon_that_is_not_adams_is_left_alone():
    muon = torch.optim.Muon([torch.nn.Parameter(torch.ones(2, 2))], lr=0.1)
    before = muon.param_groups[0]["eps"]
    Dials(muon, None, z_loss=0.0).set(1, Settings(epsilon_factor=0.1))
    assert muon.param_groups[0]["eps"] == before
