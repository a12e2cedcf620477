import math

import numpy as np
import pytest

from steadytrain.stats.unigram import unigram_entropy


def test_of_kinds_that_are_equally_frequent_it_is_the_logarithm_of_their_number():
    tokens = np.arange(100_000) % 8
    assert unigram_entropy(tokens) == pytest.approx(math.log(8), abs=1e-4)


def test_of_one_kind_it_is_nothing():
    assert unigram_entropy(np.array([7, 7, 7])) == 0.0


@pytest.mark.parametrize("size", [300, 3_000, 30_000])
def test_a_sample_comes_near_the_truth_from_below(size):
    shares = 1 / np.arange(1, 2001)
    shares /= shares.sum()
    truth = -(shares * np.log(shares)).sum()
    found = [
        unigram_entropy(np.random.default_rng(seed).choice(2000, size, p=shares))
        for seed in range(20)
    ]
    plain = truth - (2000 - 1) / (2 * size)
    assert max(found) < truth * 1.01
    assert np.mean(found) > min(plain, 0.85 * truth)
