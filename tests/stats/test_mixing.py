"""What a share is worth: least squares beside a slow one, and a law that is found again."""

import math

import pytest

from steadytrain.stats.mixing import Step, law, slope


def test_the_slope_is_weighted_least_squares_through_the_origin():
    steps = [
        Step(before=0.3, after=0.6, moved=-0.06, error=0.01),
        Step(before=0.6, after=0.2, moved=0.09, error=0.02),
    ]
    found = slope(steps)
    grid = [at / 1e5 for at in range(-20_000, 0)]

    def misfit(one):
        return sum(((s.moved - one * math.log(s.after / s.before)) / s.error) ** 2 for s in steps)

    assert found.slope == pytest.approx(min(grid, key=misfit), abs=2e-5)  # half of the grid
    assert found.changes == 2
    assert found.is_sure


def test_one_change_has_the_error_that_it_was_measured_with():
    found = slope([Step(before=0.4, after=0.2, moved=0.05, error=0.01)])
    assert found.error == pytest.approx(0.01 / math.log(2))
    assert found.moved(2.0) == pytest.approx((-0.05, 0.01))


def test_changes_that_contradict_each_other_widen_the_error():
    agree = [Step(before=0.4, after=0.2, moved=0.05, error=0.001)] * 2
    differ = [*agree[:1], Step(before=0.4, after=0.2, moved=0.15, error=0.001)]
    assert slope(differ).error > 10 * slope(agree).error


@pytest.mark.parametrize(
    "steps",
    [[], [Step(before=0.0, after=0.3, moved=-5.0, error=0.1)]],
    ids=["none", "a new domain"],
)
def test_where_there_is_no_ratio_there_is_no_slope(steps):
    assert slope(steps) is None


def test_a_law_is_found_again_from_changes_that_follow_it():
    def loss(share):
        return 1.7 + 0.5 * math.exp(-8.0 * share)

    shares = (0.3, 0.1, 0.6, 0.2, 0.45)
    steps = [
        Step(before=one, after=other, moved=loss(other) - loss(one), error=0.01)
        for one, other in zip(shares, shares[1:], strict=False)
    ]
    found = law(steps)
    assert found.rate == pytest.approx(-8.0)
    assert found.moved(0.8) == pytest.approx(loss(0.8) - loss(0.3), abs=1e-6)


def test_two_changes_are_too_few_for_a_law_and_so_is_going_to_and_fro():
    change = Step(before=0.3, after=0.1, moved=0.1, error=0.01)
    back = Step(before=0.1, after=0.3, moved=-0.1, error=0.01)
    assert law([change, back]) is None
    assert law([change, back, change, back]) is None


def test_a_domain_that_more_of_it_would_harm_has_no_such_law():
    steps = [
        Step(before=one, after=other, moved=0.3 * (other - one), error=0.01)
        for one, other in ((0.1, 0.2), (0.2, 0.4), (0.4, 0.8))
    ]
    assert law(steps) is None
