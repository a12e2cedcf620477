"""Intervals of a panel: over sequences, not tokens, and honest about small samples."""

import math
import random
import statistics

import pytest

from steadytrain.stats.paired import POWER, change, interval, perplexity, window_interval
from steadytrain.stats.sums import DomainSums


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


@pytest.mark.parametrize("count", [5, 30, 200])
def test_ninety_five_percent_intervals_cover_the_truth_as_often(count):
    covered = sum(
        found.perplexity_low <= math.exp(2.0) <= found.perplexity_high
        for found in (interval(_losses(count, seed=seed)) for seed in range(2000))
    )
    assert 0.935 <= covered / 2000 <= 0.965  # three standard errors of 2000 trials


# spread -> +- % of perplexity at 30, 67, 200, 1000 sequences and the n for 5 % and 2 %. By the
# normal quantile; Student's t asks for up to a twentieth more width and three sequences more.
TABLE = {
    0.30: (11.3, 7.4, 4.2, 1.9, 145, 881),
    0.37: (14.2, 9.3, 5.3, 2.3, 220, 1341),
    0.50: (19.6, 12.7, 7.2, 3.1, 403, 2449),
    0.60: (23.9, 15.5, 8.7, 3.8, 580, 3526),
}


@pytest.mark.parametrize(("spread", "row"), TABLE.items())
def test_what_so_many_sequences_tell_is_as_in_the_table(spread, row):
    for count, percent in zip((30, 67, 200, 1000), row, strict=False):
        alternating = [2.0 + spread * (-1) ** index for index in range(count)]
        assert 100 * interval(alternating).tells == pytest.approx(percent, rel=0.09)
    found = interval([2.0 + spread * (-1) ** index for index in range(10_000)])
    assert 0 <= found.needed(0.05) - row[4] <= 4
    assert 0 <= found.needed(0.02) - row[5] <= 4


@pytest.mark.parametrize("spread", [0.2, 0.3, 0.37, 0.5, 0.9])
def test_so_many_as_are_needed_are_enough_and_one_fewer_is_not(spread):
    needed = interval([2.0 + spread * (-1) ** i for i in range(1000)]).needed(0.05)

    def tells(count):
        exact = spread * math.sqrt((count - 1) / count)
        return interval([2.0 + exact * (-1) ** i for i in range(count - count % 2)]).tells

    assert tells(needed + 4) <= 0.05
    assert needed == 30 or tells(needed - 6) > 0.05


def test_few_sequences_are_called_too_weak_and_the_need_is_named():
    found = interval(_losses(67))
    assert found.is_too_weak
    assert 200 < found.needed() < 350
    assert interval(_losses(29, spread=0.01)).is_too_weak


def test_enough_sequences_are_enough():
    assert not interval(_losses(400)).is_too_weak


def test_one_sequence_has_no_error_to_tell():
    found = interval([2.0])
    assert found.error == math.inf
    assert found.is_too_weak
    assert found.needed() is None


def test_a_loss_that_is_not_finite_is_shown_as_such():
    found = interval([2.0, math.nan, 2.0])
    assert math.isnan(found.perplexity)
    assert found.is_too_weak
    assert perplexity(800.0) == math.inf == perplexity(math.inf)


def test_a_window_of_training_gives_the_same_as_its_sequences():
    losses = _losses(64)
    sums = DomainSums(
        nll=10 * math.fsum(losses), tokens=640, bytes=640, sequences=64,
        squares=math.fsum(one * one for one in losses),
    )  # fmt: skip
    found, plain = window_interval(sums), interval(losses)
    assert found.loss == pytest.approx(plain.loss)
    assert found.error == pytest.approx(plain.error)
    assert window_interval(DomainSums()) is None


class TestAChange:
    def test_the_same_sequences_tell_more_than_new_ones(self):
        before = _losses(200)
        after = [x + chance for x, chance in zip(before, _noise(200, 0.1), strict=True)]
        paired = change(before, after)
        apart = math.hypot(interval(before).error, interval(after).error)
        assert paired.error < apart / 4

    def test_unequal_lengths_give_the_change_of_the_loss(self):
        before, after, tokens = [1.0, 3.0], [2.0, 3.5], [30, 10]
        moved = interval(after, tokens).loss - interval(before, tokens).loss
        assert change(before, after, tokens=tokens).mean == pytest.approx(moved)

    def test_its_interval_covers_the_truth_with_jitter_in_both_looks(self):
        chance = random.Random(3)
        covered = 0
        for _ in range(2000):
            lift = chance.gauss(0, 0.012) - chance.gauss(0, 0.012)
            moves = [0.02 + lift + chance.gauss(0, 0.12) for _ in range(200)]
            found = change([0.0] * 200, moves, jitter=0.012)
            covered += found.low <= 0.02 <= found.high
        assert 0.935 <= covered / 2000 <= 0.965

    def test_without_the_jitter_it_would_not(self):
        chance = random.Random(3)
        covered = 0
        for _ in range(500):
            lift = chance.gauss(0, 0.012) - chance.gauss(0, 0.012)
            found = change([0.0] * 200, [lift + chance.gauss(0, 0.12) for _ in range(200)])
            covered += found.low <= 0 <= found.high
        assert covered / 500 < 0.75

    # spread of the change, MDE at n = 200, n for 1 %, 2 %, 5 %
    @pytest.mark.parametrize(
        ("spread", "percent", "needs"),
        [
            (0.05, 1.0, (199, 51, 9)),
            (0.12, 2.4, (1142, 289, 48)),
            (0.18, 3.6, (2570, 649, 107)),
            (0.566, 11.9, (25376, 6407, 1056)),
        ],
    )
    def test_power_is_as_in_the_table(self, spread, percent, needs):
        found = change([0.0] * 200, [spread * (-1) ** i * math.sqrt(199 / 200) for i in range(200)])
        assert 100 * math.expm1(found.detectable) == pytest.approx(percent, abs=0.06)
        for share, need in zip((0.01, 0.02, 0.05), needs, strict=True):
            assert found.needed(share) == pytest.approx(need, rel=0.01, abs=1)

    def test_a_shift_of_the_detectable_size_is_found_in_four_cases_of_five(self):
        chance = random.Random(5)
        found = 0
        size = POWER * math.sqrt(0.12**2 / 200 + 2 * 0.01**2)
        for _ in range(2000):
            lift = size + chance.gauss(0, 0.01) - chance.gauss(0, 0.01)
            moved = change(
                [0.0] * 200, [lift + chance.gauss(0, 0.12) for _ in range(200)], jitter=0.01
            )
            found += moved.is_told
        assert found / 2000 == pytest.approx(0.8, abs=0.03)

    def test_jitter_is_a_limit_that_no_number_of_sequences_lifts(self):
        moves = [0.12 * (-1) ** i for i in range(3200)]
        found = change([0.0] * 3200, moves, jitter=0.01)
        assert 100 * math.expm1(found.detectable) == pytest.approx(4.1, abs=0.1)
        assert found.is_limited_by_jitter
        assert found.needed(0.02) is None
        assert found.needed(0.05) < 3200
        calm = change([0.0] * 100, moves[:100], jitter=0.01)
        assert not calm.is_limited_by_jitter

    def test_one_sequence_tells_nothing(self):
        found = change([1.0], [2.0])
        assert not found.is_told
        assert found.detectable == math.inf
        assert found.needed(0.05) is None

    def test_nan_is_never_told_as_a_change(self):
        found = change([1.0, 2.0, 3.0], [1.0, math.nan, 3.0])
        assert math.isnan(found.mean)
        assert not found.is_told


def _noise(count, spread, seed=9):
    chance = random.Random(seed)
    return [chance.gauss(0, spread) for _ in range(count)]
