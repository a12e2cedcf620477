"""The jitter of a curve: a trend is not jitter, a jump is not, noise is."""

import math

import numpy as np
import pytest

from steadytrain.stats.jitter import FLOOR, jitter


def curve(count, noise, seed, *, steps=None):
    steps = np.linspace(500, 5000, count) if steps is None else steps
    loss = 2.0 + 3.0 * steps**-0.3
    return steps, loss + np.random.default_rng(seed).normal(0, noise, len(steps))


def test_noise_about_a_falling_curve_is_found_on_the_average():
    found = [jitter(*curve(20, 0.012, seed)) for seed in range(400)]
    assert np.median(found) == pytest.approx(0.012, rel=0.1)


def test_uneven_steps_do_not_bias_it():
    steps = np.array([100, 200, 400, 500, 1000, 1500, 1550, 1600, 1650, 2000, 2500, 3000.0])
    found = [jitter(*curve(12, 0.012, seed, steps=steps)) for seed in range(600)]
    assert np.median(found) == pytest.approx(0.012, rel=0.15)


def test_a_trend_alone_is_no_jitter():
    assert jitter(*curve(20, 0.0, 0)) == FLOOR
    assert jitter(range(20), [3.0 - 0.1 * step for step in range(20)]) < 0.05


def test_one_jump_of_the_level_does_not_widen_it():
    calm, moved = [], []
    for seed in range(200):
        steps, losses = curve(20, 0.012, seed)
        calm.append(jitter(steps, losses))
        moved.append(jitter(steps, losses + np.where(steps > 3000, 0.5, 0.0)))
    assert np.median(moved) < 1.4 * np.median(calm)


def test_only_the_last_twenty_looks_count():
    steps, losses = curve(60, 0.001, 0)
    losses[:30] += np.random.default_rng(1).normal(0, 0.3, 30)
    assert jitter(steps, losses) == FLOOR


def test_seven_looks_are_too_few_and_a_look_that_is_not_finite_is_none():
    steps, losses = curve(8, 0.01, 0)
    assert jitter(steps, losses) is not None
    assert jitter(steps[:7], losses[:7]) is None
    losses[3] = math.nan
    assert jitter(steps, losses) is None
