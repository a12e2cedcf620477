"""Steps as arrays: branches, sums, what is unusual."""

import math

import numpy as np

from steadytrain.board.track import BASELINE, BLOCK, PLAIN, Track
from steadytrain.news import Step

NAN = math.nan


def made(number, losses=(2.0, 3.0), tokens=(100, 300), **more):
    nll = tuple(loss * count for loss, count in zip(losses, tokens, strict=True))
    told = {"at": float(number), "attempt": 1, "loss": 2.5, "seconds": 1.0} | more
    return Step(step=number, draw_end=8 * number, nll=nll, tokens=tokens, **told)


def track(*steps):
    one = Track(domains=("zh", "en"))
    one.add(steps)
    return one


def test_losses_of_domains_are_means_and_absent_where_there_are_no_tokens():
    one = track(made(1), made(2, tokens=(0, 300)))
    values = one.pyramid.values()
    assert values[len(PLAIN)].tolist()[0] == 2.0
    assert math.isnan(values[len(PLAIN), 1])
    assert one.odd == []


def test_a_value_that_is_no_number_is_told_apart_from_one_that_is_absent():
    one = track(made(1, grad_norm=NAN), made(2, losses=(math.inf, 3.0), grad_norm=None))
    assert one.odd == [(0, PLAIN.index("grad_norm")), (1, len(PLAIN))]


def test_a_return_makes_what_came_later_a_branch_and_sums_go_on_from_there():
    one = track(*(made(at) for at in range(1, 11)))
    one.go_back(6, attempt=2)
    one.add([made(7, losses=(1.0, 1.0), attempt=2, at=20.0)])
    (branch,) = one.branches
    assert branch.step.tolist() == [7, 8, 9, 10]
    assert (branch.attempt, branch.until) == (1, 2)
    assert one.number("step").tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert one.number("tokens")[-1] == 7 * 400


def test_a_return_to_the_newest_step_gives_nothing_up():
    one = track(made(1), made(2))
    one.go_back(2, attempt=2)
    assert one.branches == []


def test_marks_of_a_branch_that_was_given_up_go_with_it():
    one = track(made(1), made(2, grad_norm=NAN))
    one.go_back(1, attempt=2)
    assert one.odd == []


def test_strangeness_is_the_robust_distance_from_the_two_blocks_before():
    rng = np.random.default_rng(0)
    losses = 2.0 + 0.1 * rng.standard_normal(500)
    losses[430] = 5.0
    one = track(*(made(at + 1, losses=(loss, 3.0), loss=loss) for at, loss in enumerate(losses)))
    far = one.strangeness().values()[0]
    start = 430 // BLOCK * BLOCK
    before = losses[start - BASELINE : start].astype(np.float32).astype(np.float64)
    middle = np.median(before)
    slow = (losses[430] - middle) / (1.4826 * np.median(np.abs(before - middle)))
    np.testing.assert_allclose(far[430], slow, rtol=1e-4)  # values are kept as float32
    assert np.abs(far[: BLOCK // 2]).max() == 0.0


def test_strangeness_is_the_same_however_the_steps_came():
    losses = 2.0 + 0.1 * np.random.default_rng(0).standard_normal(700)
    steps = [made(at + 1, losses=(loss, 3.0), loss=loss) for at, loss in enumerate(losses)]
    whole, parts = track(*steps), Track(domains=("zh", "en"))
    for first in range(0, 700, 37):
        parts.add(steps[first : first + 37])
        parts.strangeness()
    np.testing.assert_array_equal(whole.strangeness().values(), parts.strangeness().values())


def test_a_branch_remembers_how_strange_it_was():
    losses = 2.0 + 0.1 * np.random.default_rng(0).standard_normal(300)
    losses[-1] = 7.0
    one = track(*(made(at + 1, losses=(loss, 3.0), loss=loss) for at, loss in enumerate(losses)))
    one.go_back(290, attempt=2)
    assert one.branches[0].strange[0, -1] > 20


def test_domains_that_nobody_named_have_numbers():
    one = Track()
    one.add([made(1)])
    assert one.domains == ("0", "1")
