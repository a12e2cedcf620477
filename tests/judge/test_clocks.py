"""What the five clocks promise: small spikes, slow divergence, honest about new levels."""

import math
import random

import pytest

from steadytrain.judge.clocks import Clocks
from steadytrain.lab.curves import draw_curve
from steadytrain.signals import GRAD_NORM, LOSS, Observation

CLOCKS = Clocks()


class Watched:
    """One signal, watched point by point."""

    def __init__(self, clocks=CLOCKS, signal=LOSS):
        self.clocks, self.signal, self.step = clocks, signal, 0
        self.window = clocks.init(self._seen(0.0))
        self.told = []

    def see(self, *values):
        for value in values:
            self.step += 1
            score = self.clocks.score(self.window, self.step, self._seen(value))
            settle = self.clocks.learn if math.isfinite(value) else self.clocks.note
            self.window = settle(self.window, self.step, self._seen(value), score=score)
            self.told.append(score)
        return self.told[-len(values) :]

    def rang(self, last):
        return [one.clock or "shift" for one in self.told[-last:] if one.alarms or one.is_shift]

    def _seen(self, value):
        return Observation(name="loss", value=value, count=10, signal=self.signal)


def noise(count, level=2.0, spread=0.02, seed=0, slope=0.0):
    chance = random.Random(seed)
    return [level + slope * at + chance.gauss(0, spread) for at in range(count)]


@pytest.fixture
def calm():
    watched = Watched()
    watched.see(*noise(600))
    assert watched.rang(600) == []
    return watched


def test_one_point_rings_at_once_and_changes_nothing(calm):
    before = calm.window.scales
    assert calm.see(2.3)[0].clock == "point"
    calm.see(*noise(40, seed=1))
    assert calm.window.scales.sigma == pytest.approx(before.sigma, rel=0.1)
    assert calm.rang(40) == []


def test_two_lesser_points_within_five_ring_where_one_does_not(calm):
    odd = calm.window.line.now + 0.85 * calm.window.scales.limit * calm.window.scales.sigma
    assert not calm.see(odd)[0].alarms
    assert calm.see(2.0, odd)[-1].clock == "pair"


def test_a_rise_of_two_sigmas_that_lasts_rings_within_32_points(calm):
    calm.see(*noise(32, level=2.04, seed=1))
    assert calm.rang(32)[0] in ("eight", "thirty-two")


def test_slow_divergence_rings_though_each_point_follows_from_the_last(calm):
    """A creep of 1/300 sigma a step: a baseline that follows calls each point normal."""
    calm.see(*noise(1500, seed=1, slope=0.02 / 300))
    assert calm.rang(1500)[0] in ("slow", "thirty-two")


def test_a_lasting_new_level_is_named_and_becomes_the_baseline(calm):
    calm.see(*noise(60, level=3.0, seed=1))
    assert any(one.is_shift for one in calm.told[-60:])
    calm.see(*noise(200, level=3.0, seed=2))
    assert calm.rang(200) == []
    assert calm.see(3.3)[0].alarms


def test_coming_home_from_a_new_level_is_no_news(calm):
    calm.see(*noise(60, level=3.0, seed=1))
    calm.see(*noise(60, level=2.0, seed=2))
    assert calm.rang(60) == []


@pytest.mark.parametrize("blow", [math.nan, math.inf, 2.0 + 50 * 0.02])
def test_sound_again_within_20_steps_of_a_nan_or_a_jump_of_50_sigmas(calm, blow):
    assert calm.see(blow)[0].alarms
    assert not any(one.alarms for one in calm.see(*noise(20, seed=1)))
    assert calm.see(2.3)[0].alarms


def test_the_fall_of_a_decaying_learning_rate_does_not_ring(calm):
    falling = [2.0 - 0.3 * (1 - math.exp(-at / 150)) for at in range(600)]
    chance = random.Random(3)
    calm.see(*(value + chance.gauss(0, 0.02) for value in falling))
    assert calm.rang(600) == []


def test_a_drop_rings_and_says_so(calm):
    assert calm.see(1.6)[0].direction == "drop"


def test_a_drop_of_the_gradient_norm_is_no_news():
    watched = Watched(signal=GRAD_NORM)
    watched.see(*noise(200, level=0.0, spread=0.1))
    assert not watched.see(-5.0)[0].alarms


def test_values_rounded_to_bf16_do_not_ring():
    quantum = 0.0078125
    watched = Watched()
    watched.see(*(round(value / quantum) * quantum for value in noise(800, spread=0.004)))
    assert watched.rang(800) == []


def test_a_flat_line_is_known_to_be_flat():
    watched = Watched()
    watched.see(*[2.0] * 200)
    assert watched.rang(200) == []
    assert watched.see(2.1)[0].alarms


def test_fewer_false_alarms_are_asked_for_by_a_higher_limit():
    limits = []
    for steps in (1e3, 1e5, 1e7):
        watched = Watched(Clocks(steps_per_false_alarm=steps))
        watched.see(*noise(600))
        limits.append(watched.window.scales.limit)
    assert limits[0] < limits[1] < limits[2]


def test_signals_that_share_a_rate_ring_less_each():
    alone, shared = (
        CLOCKS.init(Observation(name="loss", value=2.0, count=1, signal=LOSS, peers=peers))
        for peers in (1, 10)
    )
    for step, value in enumerate(noise(200), start=1):
        seen = Observation(name="loss", value=value, count=1, signal=LOSS)
        alone = CLOCKS.learn(alone, step, seen, score=CLOCKS.score(alone, step, seen))
        shared = CLOCKS.learn(shared, step, seen, score=CLOCKS.score(shared, step, seen))
    assert shared.scales.limit > alone.scales.limit


def test_drawn_curves_without_events_ring_less_than_once_in_5_000_points():
    rings = points = 0
    for seed in range(3000, 3004):
        watched = Watched()
        curve = draw_curve(seed, events=False)
        watched.see(*curve.loss.tolist())
        tails = {at for one in curve.events for at in range(one.first - 2, one.last + 11)}
        rings += sum(one.alarms and at not in tails for at, one in enumerate(watched.told))
        points += len(curve.loss)
    assert rings <= points / 5_000
