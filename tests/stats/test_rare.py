"""Intervals of counts, against the ends that tables give."""

import math

import pytest

from steadytrain.stats.rare import MOST_EXACT, count_interval


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(0, 0.0, 3.689), (1, 0.0253, 5.572), (2, 0.2422, 7.225), (10, 4.795, 18.39), (100, 81.36, 121.6)],
)  # fmt: skip
def test_the_ends_are_those_of_the_table(count, low, high):
    found = count_interval(count)
    assert found == pytest.approx((low, high), rel=2e-3)


def test_the_approximation_joins_the_exact_ends():
    exact, near = count_interval(MOST_EXACT), count_interval(MOST_EXACT + 1)
    assert near == pytest.approx(exact, rel=3e-3)


def test_the_interval_holds_the_count_and_grows():
    ends = [count_interval(count) for count in range(60)]
    assert all(low <= count <= high for count, (low, high) in enumerate(ends))
    assert all(math.isfinite(high) for _, high in ends)
    assert sorted(ends) == ends
