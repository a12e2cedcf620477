"""Axes of the report's charts."""

import math

import pytest

from steadytrain.board import charts


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (3e-6, 0.02, ["1e-5", "0.0001", "0.001", "0.01"]),
        (0.3, 22.0, ["0.5", "1", "2", "5", "10", "20"]),
        (2.6, 3.4, ["2.6", "2.8", "3", "3.2", "3.4"]),
        (1e-12, 1e12, ["1e-12", "1e-8", "0.0001", "1", "10,000", "100,000,000", "1e+12"]),
    ],
)
def test_a_logarithmic_axis_has_round_numbers(low, high, expected):
    ticks = charts._log_ticks(math.log(low) - 1e-9, math.log(high) + 1e-9)
    assert [charts._number(math.exp(one)) for one in ticks] == expected
