"""Bets against noise: slow products beside the logarithms, both signs, and no learning in a score."""

import math
import random

import pytest

from steadytrain.stats.sequential import Bets, Whitening


def _slow(zs, lambdas, sign):
    products = [1.0] * len(lambdas)
    for z in zs:
        products = [
            max(before, 1.0) * math.exp(size * sign * z - size**2 / 2)
            for before, size in zip(products, lambdas, strict=True)
        ]
    return sum(products)


def test_the_evidence_is_the_product_of_the_bets_each_begun_anew_below_one():
    chance = random.Random(1)
    zs = [chance.gauss(0.4, 1) for _ in range(60)]
    rule = Bets()
    bets = rule.init()
    for z in zs[:-1]:
        bets = rule.learn(bets, z)
    found = rule.score(bets, zs[-1])
    assert found.rise == pytest.approx(math.log(_slow(zs, rule.lambdas, 1)), rel=1e-9)
    assert found.drop == pytest.approx(math.log(_slow(zs, rule.lambdas, -1)), rel=1e-9)


def test_a_score_does_not_learn():
    rule = Bets()
    bets = rule.learn(rule.init(), 1.0)
    assert rule.score(bets, 3.0) == rule.score(bets, 3.0)


@pytest.mark.parametrize(("shift", "name"), [(2.0, "rise"), (-2.0, "drop")])
def test_a_lasting_shift_rings_in_its_direction(shift, name):
    rule = Bets()
    bets, heard = rule.init(), ""
    for _ in range(12):
        heard = heard or rule.score(bets, shift).alarms
        bets = rule.learn(bets, shift)
    assert heard == name


def test_a_single_score_far_out_rings_at_once_and_further_out_for_many_series():
    rule = Bets()
    assert rule.limit() == pytest.approx(4.0, abs=1e-3)
    assert rule.score(rule.init(), 4.1).alarms == "rise"
    assert rule.score(rule.init(), -4.1, series=10).alarms == ""
    assert rule.score(rule.init(), -math.inf).alarms == "drop"


def test_noise_rings_at_most_as_often_as_promised():
    rule, rings, count = Bets(alpha=0.01), 0, 20_000
    chance, bets = random.Random(2), Bets().init()
    for _ in range(count):
        z = chance.gauss(0, 1)
        if rule.score(bets, z).alarms:
            rings, bets = rings + 1, rule.init()
        else:
            bets = rule.learn(bets, z)
    assert 0 < rings <= 0.01 * count


def test_what_is_left_after_whitening_is_uncorrelated_and_of_unit_spread():
    chance, rule = random.Random(3), Whitening(prior=0)
    zs = [chance.gauss(0, 1)]
    for _ in range(20_000):
        zs.append(0.5 * zs[-1] + math.sqrt(0.75) * chance.gauss(0, 1))
    pairs = list(zip(zs, zs[1:], strict=False))
    r = rule.correlation(sum(a * b for a, b in pairs), sum(a * a for a, _ in pairs))
    new = [rule.innovation(after, before, r) for before, after in pairs]
    assert r == pytest.approx(0.5, abs=0.02)  # 3 standard errors of 20,000
    assert sum(a * b for a, b in zip(new, new[1:], strict=False)) / len(new) == pytest.approx(
        0, abs=0.02
    )
    assert sum(one * one for one in new) / len(new) == pytest.approx(1, abs=0.03)


def test_a_correlation_fades_with_the_distance_and_is_never_below_zero():
    rule = Whitening()
    assert rule.correlation(50, 100, distance=2) == pytest.approx(rule.correlation(50, 100) ** 2)
    assert rule.correlation(-90, 100) == 0.0
    assert rule.innovation(1.5, None, 0.3) == 1.5
