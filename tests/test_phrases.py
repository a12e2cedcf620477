"""Plans in words."""

import pytest

from steadytrain.actions import FOR_GOOD, ScaleLearningRate, ScaleShallowGradients, SetZLoss
from steadytrain.phrases import plan_words

LOWER = ScaleLearningRate(factor=0.5, from_step=10, hold_steps=8, rewarm_steps=32)
DAMP = ScaleShallowGradients(alpha=0.1, from_step=10, hold_steps=FOR_GOOD, relax_steps=200)


@pytest.mark.parametrize(
    ("plan", "en", "zh"),
    [
        (
            LOWER, "learning rate x0.5 for 8 steps, re-warmed over 32 steps",
            "学习率乘以 0.5，保持 8 步，32 步内回升",
        ),
        (DAMP, "shallow gradients x0.1 for good", "浅层梯度乘以 0.1，此后一直如此"),
        (SetZLoss(coefficient=1e-4, from_step=10), "z-loss 0.0001", "z-loss 设为 0.0001"),
    ],
)  # fmt: skip
def test_how_long_a_setting_holds_is_said(plan, en, zh):
    assert plan_words([plan], "en") == en
    assert plan_words([plan], "zh") == zh
