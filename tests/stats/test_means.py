"""The mean of a few values stays below its limit as often as was asked."""

import math

import numpy as np
import pytest

from steadytrain.stats.means import design_effect, mean_limit


@pytest.mark.parametrize("count", [8, 16, 32])
def test_the_limit_of_normal_values_is_chernoffs(count):
    values = np.random.default_rng(0).normal(3.0, 2.0, 100_000)
    expected = 3.0 + 2.0 * math.sqrt(2 * math.log(1e5) / count)
    assert mean_limit(values, count, 1e-5) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("draw", ["normal", "exponential", "pareto"])
def test_means_pass_the_limit_no_more_often_than_the_chance(draw):
    def some(shape):
        return rng.pareto(5.0, shape) if draw == "pareto" else getattr(rng, draw)(size=shape)

    rng = np.random.default_rng(1)
    limit = mean_limit(some(1_000), 8, 1e-3)
    assert limit < math.inf
    assert (some((100_000, 8)).mean(axis=1) > limit).mean() < 1e-3


def test_more_values_in_the_mean_have_a_lower_limit():
    values = np.random.default_rng(2).exponential(size=1_000)
    limits = [mean_limit(values, count, 1e-7) for count in (5, 8, 16, 64, 1_000)]
    assert limits == sorted(limits, reverse=True)
    assert limits[-1] == pytest.approx(float(values.mean()), abs=0.25)


def test_nothing_is_said_beyond_what_the_sample_knows():
    values = np.arange(24.0)
    assert mean_limit(values, 4, 1e-7) == math.inf
    assert values.mean() < mean_limit(values, 16, 1e-7) <= values.max()


def test_equal_values_are_their_own_limit():
    assert mean_limit(np.full(1_000, 0.1), 16, 1e-7) == pytest.approx(0.1)


@pytest.mark.parametrize("arguments", [([], 4, 0.1), ([1.0], 0, 0.1), ([1.0], 4, 0.0)])
def test_senseless_arguments_are_refused(arguments):
    values, count, chance = arguments
    with pytest.raises(ValueError, match="positive count"):
        mean_limit(np.array(values), count, chance)


def test_neighbours_that_are_alike_count_for_less():
    rng = np.random.default_rng(3)
    assert design_effect(rng.normal(size=8_000), 8) == pytest.approx(1.0, abs=0.15)
    alike = np.repeat(rng.normal(size=1_000), 8)
    assert design_effect(alike, 8) == pytest.approx(8.0, rel=0.05)
    assert design_effect(np.arange(9.0), 8) == 1.0
