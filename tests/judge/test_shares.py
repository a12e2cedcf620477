"""Advice about shares: only with a known sign, with its error, and with the law where it can be."""

import math

from steadytrain.judge.looks import Effect
from steadytrain.judge.shares import mixing_advice


def _effect(before, after, moved, *, error=0.01, domain=0, step=100):
    return Effect(
        domain=domain, step=step, updates=120, before=before, after=after, moved=moved, error=error
    )


def test_one_change_tells_sign_and_size_and_says_that_it_is_one():
    told = mixing_advice([_effect(0.34, 0.06, 0.1)], ("zh", "en"), 320)
    assert told.topic == "mixing"
    assert "zh: d loss / d ln(share) -0.058 +-0.006 (1 change" in told.text
    assert "en" not in told.text.split("curve: ")[1].split(". Where")[0]


def test_a_change_within_its_error_tells_nothing():
    assert mixing_advice([_effect(0.34, 0.30, 0.005)], ("zh",), 320) is None


def test_three_changes_tell_the_law():
    def loss(share):
        return 0.5 * math.exp(-8.0 * share)

    shares = (0.3, 0.1, 0.6, 0.2)
    effects = [
        _effect(one, other, loss(other) - loss(one), step=100 * at)
        for at, (one, other) in enumerate(zip(shares, shares[1:], strict=False))
    ]
    told = mixing_advice(effects, ("zh",), 900)
    assert f"by the mixing law from 20% to 40% {loss(0.4) - loss(0.2):+.3f} nats" in told.text
