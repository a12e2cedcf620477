"""How often to save: the formula, and how honest its error is."""

import math

import pytest

from steadytrain.cadence import cadence, daly
from steadytrain.goodput import Account
from steadytrain.goodput_words import PART_WORDS, cadence_words, remarks, rows
from steadytrain.stints import PARTS


def account(**changes):
    fields = {
        "seconds": dict.fromkeys(PARTS, 0.0) | {"productive": 86_400.0},
        "running": 86_400.0,
        "clock": 86_400.0,
        "updates": 1_000,
        "updates_lost": 0,
        "updates_held": 0,
        "tokens": 1_000_000,
        "tokens_lost": 0,
        "failures": 2,
        "checkpoints": 24,
        "blocked": 10.0,
        "written": 60.0,
    }
    return Account(**(fields | changes))


def test_no_other_interval_loses_less():
    """Against the model itself: exponential failures, each begins the interval anew (Daly 2006)."""
    cost, between = 30.0, 3_600.0

    def lost(every):
        return between * math.expm1((every + cost) / between) / every

    best = min(range(10, 3_000), key=lost)
    assert daly(cost, between) == pytest.approx(best, rel=0.01)


def test_a_checkpoint_that_costs_more_than_a_failure_is_not_saved_more_often_than_they_come():
    assert daly(100.0, 40.0) == 40.0


def test_two_failures_tell_little_and_say_so():
    found = cadence(account())
    assert found.between_failures == 43_200.0
    assert (found.low, found.high) == pytest.approx((86_400 / 7.2247, 86_400 / 0.2422), rel=1e-3)
    assert found.best_low < found.best < found.best_high
    said = " ".join(cadence_words(found, "en"))
    assert "2 failures" in said
    assert "95 % interval: 3 h 19 min to 4 d 3 h" in said


def test_without_a_failure_only_a_lower_end_is_known():
    found = cadence(account(failures=0))
    assert (found.between_failures, found.best, found.high) == (None, None, math.inf)
    assert "probably more than 6 h 30 min" in cadence_words(found, "en")[0]


def test_nothing_is_advised_without_a_checkpoint():
    assert cadence(account(blocked=None, written=None, checkpoints=0)) is None


def test_no_interval_is_shorter_than_the_writing_takes():
    found = cadence(account(blocked=0.001, written=500.0, failures=1))
    assert found.best == 500.0
    assert "as often as one can be written" in cadence_words(found, "en")[0]


def test_a_present_interval_that_costs_much_is_told_with_what_would_be_saved():
    found = cadence(account(failures=200, checkpoints=3))
    assert found.is_worthwhile
    assert "of the time" in cadence_words(found, "en")[1]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_words_name_every_part_and_all_of_it(lang):
    assert set(PART_WORDS) == set(PARTS)
    found = account(seconds=dict.fromkeys(PARTS, 1.0), updates_lost=5, tokens_lost=500, clock=9e5)
    shown = rows(found, lang)
    assert len(shown) == len(PARTS) + 1
    assert shown[0][2] == "9.1%"
    assert len(remarks(found, lang)) == 4
