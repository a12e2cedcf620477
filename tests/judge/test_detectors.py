"""One contract for every detector of the package, and what Duo alone promises."""

import math
import random

import msgspec
import pytest

from steadytrain.judge import detectors
from steadytrain.signals import GRAD_NORM, LOSS, Observation


def every_detector():
    """Found, not listed: each configurable class of detectors.py that can score."""
    return [
        one()
        for one in vars(detectors).values()
        if isinstance(one, type) and issubclass(one, msgspec.Struct) and hasattr(one, "score")
    ]


def see(value, count=10, signal=LOSS):
    return Observation(name="loss", value=value, count=count, signal=signal)


def learned(detector, values, first=1, signal=LOSS):
    window = detector.init()
    for step, value in enumerate(values, start=first):
        score = detector.score(window, step, see(value, signal=signal))
        window = detector.learn(window, step, see(value, signal=signal), score=score)
    return window


def noisy(count, level=2.0, spread=0.02, seed=0):
    chance = random.Random(seed)
    return [level + chance.gauss(0, spread) for _ in range(count)]


@pytest.mark.parametrize("detector", every_detector(), ids=repr)
class TestEveryDetector:
    def test_score_does_not_learn(self, detector):
        window = learned(detector, noisy(80))
        before = msgspec.json.encode(window)
        detector.score(window, 81, see(9.0))
        assert msgspec.json.encode(window) == before

    def test_nan_alarms_and_a_flat_line_does_not(self, detector):
        window = learned(detector, [2.0] * 80)
        assert detector.score(window, 81, see(math.nan)).alarms
        assert not detector.score(window, 81, see(2.0)).alarms

    def test_state_survives_the_journal(self, detector):
        window = learned(detector, noisy(80))
        again = msgspec.json.decode(msgspec.json.encode(window), type=detectors.Window)
        assert again == window
        assert detector.score(again, 81, see(2.1)) == detector.score(window, 81, see(2.1))

    def test_a_new_detector_is_silent(self, detector):
        assert not detector.score(detector.init(), 1, see(5.0)).alarms

    def test_rises_and_drops_are_found(self, detector):
        window = learned(detector, noisy(100))
        assert detector.score(window, 101, see(2.5)).alarms
        assert detector.score(window, 101, see(1.5)).alarms

    def test_a_rollback_gives_the_baseline_back(self, detector):
        values = noisy(120)
        there = learned(detector, values[:100])
        back = detector.forget_after(learned(detector, values), 100)
        assert back == there


DUO = detectors.Duo()


def test_a_drop_of_the_gradient_norm_is_no_news():
    window = learned(DUO, noisy(100), signal=GRAD_NORM)
    assert not DUO.score(window, 101, see(-5.0, signal=GRAD_NORM)).alarms


def test_two_lesser_points_in_five_alarm_where_one_does_not():
    window = learned(DUO, noisy(100))
    sigma = DUO.score(window, 101, see(2.0)).sigma
    odd = see(DUO.score(window, 101, see(2.0)).expected + 5.2 * sigma)
    first = DUO.score(window, 101, odd)
    assert not first.alarms
    assert DUO.score(DUO.note(window, 101, score=first), 102, odd).alarms


def test_values_rounded_to_bf16_do_not_ring():
    quantum = 0.0078125
    values = [round(value / quantum) * quantum for value in noisy(400, spread=0.004)]
    window = learned(DUO, values[:200])
    rings = 0
    for step, value in enumerate(values[200:], start=201):
        score = DUO.score(window, step, see(value))
        rings += score.alarms
        window = DUO.learn(window, step, see(value), score=score)
    assert rings == 0


def test_a_lasting_new_level_becomes_the_baseline():
    window = learned(DUO, noisy(100))
    window = learned_on(window, noisy(60, level=3.0, seed=1), first=101)
    assert not DUO.score(window, 161, see(3.0)).alarms


def learned_on(window, values, first):
    for step, value in enumerate(values, start=first):
        score = DUO.score(window, step, see(value))
        window = DUO.learn(window, step, see(value), score=score)
    return window


def test_an_outlier_leaving_the_window_changes_nothing():
    values = noisy(300)
    clean = learned(DUO, values)
    spoiled = learned(DUO, [*values[:10], 1e6, *values[11:]])
    assert DUO.score(spoiled, 301, see(2.0)).sigma == pytest.approx(
        DUO.score(clean, 301, see(2.0)).sigma, rel=0.05
    )


def test_fewer_sequences_widen_the_band():
    window = learned(DUO, noisy(100))
    full = DUO.score(window, 101, see(2.1, count=10))
    thin = DUO.score(window, 101, see(2.1, count=1))
    assert thin.distance < full.distance / 2
