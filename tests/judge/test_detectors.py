"""One contract for every detector of the package: found, not listed."""

import importlib
import math
import pkgutil
import random

import msgspec
import pytest

import steadytrain.judge
from steadytrain.judge import detectors
from steadytrain.signals import LOSS, Observation


def every_detector():
    """Each configurable class of the judge's modules that can score and learn."""
    modules = [
        importlib.import_module(f"steadytrain.judge.{one.name}")
        for one in pkgutil.iter_modules(steadytrain.judge.__path__)
    ]
    kinds = {
        one
        for module in modules
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, msgspec.Struct) and hasattr(one, "learn")
    }
    assert kinds
    return [kind() for kind in sorted(kinds, key=repr)]


def see(value, count=10, signal=LOSS):
    return Observation(name="loss", value=value, count=count, signal=signal)


def learned(detector, values, first=1, signal=LOSS):
    window = detector.init(see(0.0, signal=signal))
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
        assert not detector.score(detector.init(see(5.0)), 1, see(5.0)).alarms

    def test_rises_and_drops_are_found(self, detector):
        window = learned(detector, noisy(100))
        assert detector.score(window, 101, see(2.5)).alarms
        assert detector.score(window, 101, see(1.5)).alarms

    @pytest.mark.parametrize("kept", [64, 80, 100, 119])
    def test_a_rollback_gives_the_baseline_back_to_within_one_block(self, detector, kept):
        values = noisy(120)
        there = learned(detector, values[: kept // 8 * 8])
        back = detector.forget_after(learned(detector, values), kept)
        assert detector.forecast(back, 121) == detector.forecast(there, 121)

    def test_distances_carry_their_steps(self, detector):
        window = learned(detector, noisy(80))
        assert window.recent_steps[-1] == 80
        assert len(window.recent_steps) == len(window.recent_distances)
