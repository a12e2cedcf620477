"""When the panel is looked at if the judge may choose, and how dense around what happens."""

import pytest

from steadytrain.judge import schedule
from steadytrain.judge.looks import Happening, Looks, Mark, Tally
from tests.judge.voyage import Voyage


def _sail(updates, *, seconds=10.0, **settings):
    """Updates of .1 s and looks where they are asked for; returns their steps."""
    voyage = Voyage(every=None, **settings)
    looked, due = [], None
    for _ in range(updates):
        voyage.update()
        asked = voyage.wanted()
        if asked and asked[-1][0] - 1 != due:
            due = asked[-1][0] - 1
        if voyage.step == due:
            voyage.look(seconds=seconds)
            looked.append(voyage.step)
    return voyage, looked


def test_early_looks_then_by_the_budget():
    voyage, looked = _sail(9000, is_branch=False)
    assert looked[:3] == [100, 200, 400]
    # 10 s of look in 0.1 s of step at 0.5 %: every 20,000 steps, and 2,000 is the widest.
    assert [after - one for one, after in zip(looked[2:], looked[3:], strict=False)] == [2000] * 4


def test_a_cheap_panel_is_looked_at_more_often_but_not_too_closely():
    _, looked = _sail(1000, seconds=0.1, is_branch=False)
    # 0.1 s of look in 0.1 s of step at 0.5 %: every 200 steps.
    assert looked == [100, 200, 400, 600, 800, 1000]
    _, looked = _sail(700, seconds=0.001, is_branch=False)
    assert min(after - one for one, after in zip(looked, looked[1:], strict=False)) >= 25


def test_the_budget_is_kept_in_the_long_run():
    _, looked = _sail(6000, seconds=0.1, is_branch=False)
    assert 0.1 * (len(looked) - 3) <= schedule.BUDGET * 0.1 * 6000


def test_looks_around_what_happens_are_twice_as_far_apart_each_time():
    looks = Looks(has_panel=True, every=400)
    rose = Happening(kind="lr up", step=1000, until=1010)
    found = schedule.extras(looks, (rose,), 1010, 2)
    assert found.extra == tuple((1012 + far, "the learning rate rose") for far in (50, 100, 200))


def test_a_close_grid_needs_no_extra_looks():
    looks = Looks(has_panel=True, every=18)
    rose = Happening(kind="lr up", step=1000, until=1010)
    assert schedule.extras(looks, (rose,), 1010, 2).extra == ()


def test_a_fixed_grid_is_not_doubled():
    voyage = Voyage(every=50).sail(20)
    assert voyage.wanted() == []


def test_without_a_panel_nothing_is_asked_for():
    assert schedule.want(Looks(), begin=0, step=400, last=None, lag=2) is None


def test_the_last_update_is_looked_at_anyway():
    looks = Looks(has_panel=True)
    assert schedule.want(looks, begin=0, step=99, last=100, lag=2) is None


@pytest.mark.parametrize(("step", "is_asked"), [(100, False), (103, False), (104, True)])
def test_a_look_that_was_lost_with_a_life_is_asked_for_again(step, is_asked):
    looks = schedule.asked(Looks(has_panel=True), 101)
    wanted = schedule.want(looks, begin=0, step=step, last=None, lag=2)
    assert (wanted is not None) == is_asked


def test_an_extra_look_just_after_another_is_left_out():
    mark = Mark(step=1000, losses=(), since=Tally())
    looks = Looks(has_panel=True, every=400, marks=(mark,), extra=((1004, "why"),))
    assert schedule.want(looks, begin=0, step=1002, last=None, lag=2) is None
