"""Intervals of a panel: over sequences, not tokens, and honest about small samples."""

import math
import random
import statistics

import pytest

from steadytrain.stats.paired import interval


def _losses(count, spread=0.4, seed=0):
    chance = random.Random(seed)
    return [2.0 + chance.gauss(0, spread) for _ in range(count)]


def test_equal_lengths_give_the_textbook_error():
    losses = _losses(200)
    found = interval(losses)
    assert found.loss == pytest.approx(statistics.mean(losses))
    assert found.error == pytest.approx(statistics.stdev(losses) / math.sqrt(200))


def test_unequal_lengths_weigh_by_tokens():
    assert interval([1.0, 3.0], [30, 10]).loss == pytest.approx(1.5)


def test_perplexity_lies_inside_its_interval():
    found = interval(_losses(200))
    assert found.perplexity_low < found.perplexity < found.perplexity_high


def test_ninety_five_percent_intervals_cover_the_truth_as_often():
    covered = sum(
        found.perplexity_low <= math.exp(2.0) <= found.perplexity_high
        for found in (interval(_losses(200, seed=seed)) for seed in range(2000))
    )
    assert 0.935 <= covered / 2000 <= 0.965  # three standard errors of 2000 trials


def test_few_sequences_are_called_too_weak_and_the_need_is_named():
    found = interval(_losses(67))
    assert found.is_too_weak
    assert 200 < found.sequences_needed < 350
    assert interval(_losses(29, spread=0.01)).is_too_weak


def test_enough_sequences_are_enough():
    assert not interval(_losses(400)).is_too_weak


def test_one_sequence_has_no_error_to_tell():
    found = interval([2.0])
    assert found.error == math.inf
    assert found.is_too_weak
