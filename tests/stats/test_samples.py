"""Sums that merge: any cutting of a sample into parts gives what the whole gives."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steadytrain.stats.samples import Sample, sample


def plain_error(values, lengths):
    """The ratio estimator as a textbook writes it (Cochran 1977, 6.3)."""
    x, w = np.array(values), np.array(lengths, dtype=float)
    mean = (w * x).sum() / w.sum()
    residuals = w * (x - mean)
    n = len(x)
    return mean, math.sqrt((residuals**2).sum() / (n * (n - 1))) / w.mean()


ROWS = st.lists(st.tuples(st.floats(0, 20), st.integers(1, 4096)), min_size=2, max_size=40)


@given(ROWS, st.integers(0, 40))
def test_parts_add_up_to_the_whole(rows, cut):
    values, lengths = zip(*rows, strict=True)
    cut = min(cut, len(rows))
    whole = sample(values, lengths)
    merged = sample(values[:cut], lengths[:cut]) + sample(values[cut:], lengths[cut:])
    assert merged.sequences == whole.sequences
    assert merged.mean == pytest.approx(whole.mean, rel=1e-12, abs=1e-12)
    assert merged.spread == pytest.approx(whole.spread, rel=1e-6, abs=1e-9)


@given(ROWS)
def test_it_is_the_textbooks_ratio_estimator(rows):
    values, lengths = zip(*rows, strict=True)
    mean, error = plain_error(values, lengths)
    found = sample(values, lengths)
    assert found.mean == pytest.approx(mean, rel=1e-12, abs=1e-12)
    assert found.error == pytest.approx(error, rel=1e-6, abs=1e-9)


def test_a_small_spread_on_a_large_offset_survives_merging():
    values = [1e9 + 0.1 * index for index in range(10)]
    merged = sum((sample([one]) for one in values), Sample())
    assert merged.spread == pytest.approx(np.std(values, ddof=1), rel=1e-6)


def test_nothing_is_a_gap_and_adds_nothing():
    assert Sample().mean is None
    assert Sample() + sample([1.0, 2.0]) == sample([1.0, 2.0]) == sample([1.0, 2.0]) + Sample()


def test_nan_is_not_hidden():
    found = sample([1.0, math.nan, 2.0]) + sample([1.0])
    assert math.isnan(found.mean)
    assert math.isnan(found.error)


def test_infinity_is_not_hidden():
    assert sample([1.0, math.inf]).mean == math.inf
