"""Student's t against printed tables, and against chance."""

import math

import numpy as np
import pytest

from steadytrain.stats.student import two_sided

# Abramowitz and Stegun 1964, table 26.10.
TABLE_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 29: 2.045, 120: 1.980}


@pytest.mark.parametrize(("degrees", "expected"), TABLE_95.items())
def test_it_is_the_tables_t(degrees, expected):
    assert two_sided(degrees) == pytest.approx(expected, rel=1.5e-3)  # the worst, at three


def test_it_falls_to_the_normal_quantile():
    values = [two_sided(degrees) for degrees in range(1, 400)]
    assert values == sorted(values, reverse=True)
    assert two_sided(10**9) == pytest.approx(1.959964, abs=1e-6)


def test_without_degrees_of_freedom_nothing_is_told():
    assert two_sided(0) == math.inf


def test_it_holds_the_share_that_it_says():
    chance = np.random.default_rng(0)
    draws = chance.normal(size=(40_000, 5))
    means, errors = draws.mean(1), draws.std(1, ddof=1) / math.sqrt(5)
    inside = np.abs(means / errors) <= two_sided(4, level=0.9)
    assert inside.mean() == pytest.approx(0.9, abs=0.006)  # four standard errors of 40,000
