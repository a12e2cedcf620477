"""Medians and lines against slow obvious versions, and at the edges."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steadytrain.stats import rolling

finite = st.floats(-1e9, 1e9)


@given(st.lists(finite, min_size=1, max_size=50))
def test_the_median_is_that_of_the_standard_library(values):
    assert rolling.median(values) == pytest.approx(statistics.median(values), rel=1e-12, abs=1e-12)


@given(st.lists(finite, min_size=2, max_size=50))
def test_sigma_is_the_scaled_median_distance(values):
    centre = statistics.median(values)
    slow = 1.4826 * statistics.median(abs(value - centre) for value in values)
    assert rolling.sigma(values, centre) == pytest.approx(slow, rel=1e-12, abs=1e-9)


def test_sigma_of_one_value_is_nothing():
    assert rolling.sigma([3.0], 3.0) == 0.0


def test_sigma_of_normal_noise_is_its_standard_deviation():
    chance = random.Random(0)
    values = [chance.gauss(0, 2.0) for _ in range(20_000)]
    assert rolling.sigma(values, 0.0) == pytest.approx(2.0, rel=0.03)  # 3 standard errors


def test_a_line_follows_a_falling_loss():
    line = rolling.fit_line(range(64), [5.0 - 0.01 * step for step in range(64)])
    assert line.slope == pytest.approx(-0.01)
    assert line.forecast(70) == pytest.approx(4.3)


def test_a_line_that_may_not_rise_is_level():
    line = rolling.fit_line(range(64), [0.01 * step for step in range(64)], may_rise=False)
    assert line.slope == 0.0


def test_one_huge_outlier_moves_neither_line_nor_spread():
    chance = random.Random(1)
    clean = [2.0 + chance.gauss(0, 0.01) for _ in range(64)]
    spoiled = [*clean[:40], 1e9, *clean[41:]]
    before = rolling.fit_line(range(64), clean)
    after = rolling.fit_line(range(64), spoiled)
    assert after.forecast(64) == pytest.approx(before.forecast(64), abs=0.01)
    assert rolling.spread(after, range(64), spoiled) < 0.03


def test_an_offset_of_a_billion_changes_no_spread():
    values = [(-1.0) ** step * 0.5 for step in range(64)]
    near = rolling.spread(rolling.fit_line(range(64), values), range(64), values)
    far_values = [value + 1e9 for value in values]
    far = rolling.spread(rolling.fit_line(range(64), far_values), range(64), far_values)
    assert far == pytest.approx(near, rel=1e-6)


@pytest.mark.parametrize(
    ("values", "step"), [([2.0, 2.0078125, 2.015625], 0.0078125), ([1.0, 1.0], 0.0), ([1.0], 0.0)]
)
def test_the_quantum_is_the_smallest_step(values, step):
    assert rolling.quantum(values) == step


@given(st.lists(finite, min_size=1, max_size=40), st.floats(0.01, 1.0))
def test_an_upper_quantile_is_not_exceeded_by_its_share(values, share):
    found = rolling.upper_quantile(values, share)
    assert sum(value <= found for value in values) >= math.floor(share * len(values))


def test_an_upper_quantile_of_nothing_is_zero():
    assert rolling.upper_quantile([], 0.9) == 0.0
