"""The extremes of every stretch, beside a slow obvious version; smoothing beside its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steadytrain.board.pyramid import BLOCK, Pyramid, smooth


def slow_extremes(values, starts, stride):
    """Lowest and highest finite value of each stretch, one after the other."""
    low, high = [], []
    for start in starts:
        part = values[start : start + stride]
        part = part[np.isfinite(part)]
        low.append(part.min() if part.size else np.nan)
        high.append(part.max() if part.size else np.nan)
    return np.array(low, np.float32), np.array(high, np.float32)


def noise(rows, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(rows)
    values[rng.random(rows) < 0.05] = np.nan
    values[rng.random(rows) < 0.01] = np.inf
    return values


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 1500),
    stride=st.sampled_from([1, 2, 7, 63, 128, 192, 640]),
    part=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    cuts=st.lists(st.integers(1, 400), max_size=4),
)
def test_every_stretch_shows_its_lowest_and_highest(rows, stride, part, cuts):
    values = noise(rows)
    one = Pyramid(1)
    edges = sorted({0, rows, *[cut for cut in cuts if cut < rows]})
    for first, end in zip(edges, edges[1:], strict=False):
        one.append(values[None, first:end])
    first, end = sorted(int(share * rows) for share in part)
    first = min(first, rows - 1)
    end = max(end, first + 1)
    found = one.extremes(first, end, stride=stride)
    seen = end if stride < 2 * BLOCK else -(-end // BLOCK) * BLOCK  # whole blocks at its ends
    low, high = slow_extremes(values[:seen], found.starts, found.stride)
    np.testing.assert_array_equal(found.lowest[0], low)
    np.testing.assert_array_equal(found.highest[0], high)
    assert found.starts[0] <= first
    assert found.starts[-1] + found.stride >= end


def test_a_spike_of_one_step_in_250000_is_in_the_widest_picture():
    values = 2.0 + 0.01 * noise(250_000)
    values[137_420] = 9.0
    one = Pyramid(1)
    one.append(values[None])
    found = one.extremes(0, 250_000, stride=256)
    assert np.nanmax(found.highest) == 9.0


def test_the_order_of_the_extremes_is_told():
    one = Pyramid(2)
    one.append(np.array([[1.0, 5.0, 2.0, 2.0], [5.0, 1.0, 2.0, 2.0]]))
    found = one.extremes(0, 4, stride=4)
    assert found.is_low_first[:, 0].tolist() == [True, False]


def test_what_is_cut_and_grown_again_is_as_if_it_had_never_been():
    values, other = noise(900), noise(900, seed=1)
    one, fresh = Pyramid(1), Pyramid(1)
    one.append(values[None])
    one.cut(331)
    one.append(other[None])
    fresh.append(np.concatenate([values[:331], other])[None])
    for stride in (1, 7, 128, 256):
        mine, theirs = (each.extremes(0, 1231, stride=stride) for each in (one, fresh))
        np.testing.assert_array_equal(mine.lowest, theirs.lowest)
        np.testing.assert_array_equal(mine.highest, theirs.highest)


def test_a_stretch_without_a_finite_value_has_none():
    one = Pyramid(1)
    one.append(np.full((1, 300), np.nan))
    for stride in (10, 128):
        assert np.isnan(one.extremes(0, 300, stride=stride).highest).all()


@pytest.mark.parametrize("span", [1.0, 3.0, 50.0, 2000.0])
def test_smoothing_is_its_definition(span):
    values = noise(1500)
    keep = 1.0 - 2.0 / (span + 1.0)
    above = below = 0.0
    slow = []
    for value in values:
        known = np.isfinite(value)
        above, below = keep * above + (value if known else 0.0), keep * below + known
        slow.append(above / below if below > 1e-12 else np.nan)
    # rel: sums of 1,500 terms in another order.
    np.testing.assert_allclose(smooth(values[None], span)[0], slow, rtol=1e-9, equal_nan=True)


def test_the_mean_of_a_block_is_that_of_its_finite_values():
    values = noise(BLOCK * 3 + 10)
    one = Pyramid(1)
    one.append(values[None])
    found = one.block_means(0, len(values), series=np.array([0]))[0]
    blocks = [values[at : at + BLOCK] for at in range(0, len(values), BLOCK)]
    slow = [block[np.isfinite(block)].mean() for block in blocks]
    np.testing.assert_allclose(found, slow, rtol=1e-6)  # kept as float32
