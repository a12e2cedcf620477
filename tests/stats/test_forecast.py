"""The forecast is least squares with its textbook error, whatever the abscissa."""

import math
import random

import numpy as np
import pytest

from steadytrain.stats.forecast import Curve, normal

STEPS = [400, 450, 520, 600, 640, 700, 800, 850, 950, 1000]
LINE = Curve(powers=(0.0,))


def _noisy(domains=1, seed=0, spread=0.01):
    chance = random.Random(seed)
    return [
        [3.0 - 0.2 * math.log(step) + chance.gauss(0, spread) for _ in range(domains)]
        for step in STEPS
    ]


def test_one_domain_over_ln_step_is_the_prediction_of_ordinary_least_squares():
    losses = _noisy()
    found = LINE.fit(STEPS, losses).at(1100)
    design = np.stack([np.ones(len(STEPS)), np.log(STEPS)], axis=1)
    answer, squares, *_ = np.linalg.lstsq(design, np.asarray(losses)[:, 0], rcond=None)
    new = np.asarray([1.0, math.log(1100)])
    inverse = np.linalg.inv(design.T @ design)
    error = math.sqrt(squares[0] / (len(STEPS) - 2) * (1 + new @ inverse @ new))
    assert found.loss[0] == pytest.approx(float(new @ answer), rel=1e-9)
    assert found.error[0] == pytest.approx(error, rel=1e-6)
    assert found.freedom == (len(STEPS) - 2,)


@pytest.mark.parametrize("power", [0.0, 0.25, 0.5, 1.0])
def test_a_curve_without_noise_is_followed_in_its_own_abscissa(power):
    def loss(step):
        return 1.0 - 0.2 * math.log(step) if power == 0 else 1.0 + 30 * step**-power

    line = Curve().fit(STEPS, [[loss(step)] for step in STEPS])
    assert line.powers.tolist() == [power]
    assert line.at(1500).loss[0] == pytest.approx(loss(1500), abs=1e-9)


def test_the_error_is_never_below_the_floor_and_grows_with_the_distance():
    line = Curve().fit(STEPS, [[2.0]] * len(STEPS))
    near, far = line.at(1050).error[0], line.at(3000).error[0]
    assert 0.003 < near < far


def test_fewer_looks_than_asked_for_give_no_forecast():
    assert Curve().fit(STEPS[:7], _noisy()[:7]) is None
    assert Curve().fit([], []) is None


def test_looks_of_long_ago_are_left_out():
    steps = [0, 10, 20, *range(400, 1300, 100)]
    assert Curve().usable(steps) == range(3, len(steps))


def test_a_calm_domain_beside_noisy_ones_is_not_trusted_fully():
    losses = [[2.0, *row] for row in _noisy(2, spread=0.02)]
    alone = Curve().fit(STEPS, [[row[0]] for row in losses])
    beside = Curve().fit(STEPS, losses)
    assert beside.spread[0] > alone.spread[0]
    assert beside.freedom == alone.freedom + Curve().shared


@pytest.mark.parametrize(
    ("freedom", "t", "z"),
    [(5, 2.5706, 1.9600), (10, 2.2281, 1.9600), (10, 3.1693, 2.5758), (30, 3.6460, 3.2905)],
)
def test_a_students_t_becomes_the_normal_deviate_of_the_same_rarity(freedom, t, z):
    assert normal(t, freedom) == pytest.approx(z, abs=0.03)  # Wallace's own bound
    assert normal(-t, freedom) == -normal(t, freedom)


def test_a_loss_that_is_not_finite_is_infinitely_far_off():
    found = Curve().fit(STEPS, _noisy()).at(1100)
    assert found.score(0, math.nan) == math.inf
