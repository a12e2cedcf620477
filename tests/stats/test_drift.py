"""A panel on its curve, and leaving it."""

import math
import random

import msgspec
import pytest

from steadytrain.stats.drift import Course, Drift

RULE = Drift()


class Walk:
    """Looks every 50 steps at curves with noise; `shift` is added to the first domain."""

    def __init__(self, domains=3, seed=0):
        self.chance = random.Random(seed)
        self.course = RULE.init()
        self.domains, self.step = domains, 400
        self.scores = None

    def look(self, count=1, shift=0.0, is_held=False):
        rings = []
        for _ in range(count):
            losses = [
                2 + 10 * self.step**-0.4 + shift * (at == 0) + self.chance.gauss(0, 0.01)
                for at in range(self.domains)
            ]
            self.scores = RULE.score(self.course, self.step, losses)
            self.course = RULE.learn(self.course, self.step, losses, self.scores, is_held=is_held)
            rings.append([one.alarms for one in self.scores.evidence])
            self.step += 50
        return rings


def test_nothing_is_said_before_there_is_a_curve():
    walk = Walk()
    assert walk.look(8) == [[]] * 8
    assert walk.scores.forecast is None


def test_a_shift_of_one_domain_rings_there_and_only_there():
    walk = Walk()
    assert not any(any(row) for row in walk.look(20))
    heard = walk.look(3, shift=0.1)
    assert any(row[0] == "rise" for row in heard)
    assert not any(name for row in heard for name in row[1:])


def test_a_shifted_look_is_not_learned_at_once():
    walk = Walk()
    walk.look(20)
    steps = walk.course.steps
    walk.look(2, shift=0.15)
    assert walk.course.steps == steps
    assert len(walk.course.aside) == 2


def test_a_domain_that_wanders_does_not_keep_a_look_from_being_learned():
    walk = Walk()
    walk.look(20)
    losses = [2.0 + 10 * walk.step**-0.4 + 0.2 * (at == 0) for at in range(3)]
    steady = [False, True, True]
    assert RULE.score(walk.course, walk.step, losses).is_odd
    assert not RULE.score(walk.course, walk.step, losses, steady=steady).is_odd


def test_a_lone_odd_look_is_learned_when_the_next_is_back():
    walk = Walk()
    walk.look(20)
    walk.look(1, shift=0.035)
    assert len(walk.course.aside) == 1
    walk.look(1)
    assert walk.course.aside == ()
    assert len(walk.course.steps) == 22


def test_a_new_level_becomes_the_curve_after_patience():
    walk = Walk()
    walk.look(20)
    walk.look(RULE.patience, shift=0.3)
    assert len(walk.course.steps) == RULE.patience
    assert not any(any(row) for row in walk.look(10, shift=0.3))


def test_held_looks_are_compared_with_the_old_curve():
    walk = Walk()
    walk.look(20)
    steps = walk.course.steps
    walk.look(3, is_held=True)
    assert walk.course.steps == steps
    assert len(walk.course.aside) == 3


def test_looks_since_something_happened_are_set_aside_afterwards():
    walk = Walk()
    walk.look(20)
    steps = walk.course.steps
    held = RULE.hold(walk.course, after=steps[-3])
    assert (held.steps, held.aside) == (steps[:-2], steps[-2:])
    assert RULE.hold(held, after=steps[-1]) == held


def test_a_loss_that_is_not_finite_is_not_learned():
    walk = Walk()
    walk.look(20)
    scores = RULE.score(walk.course, walk.step, [math.nan, 2.0, 2.0])
    assert scores.z[0] == math.inf
    assert RULE.learn(walk.course, walk.step, [math.nan, 2.0, 2.0], scores) == walk.course


def test_going_back_forgets_what_came_later():
    walk = Walk()
    walk.look(20)
    before = walk.course
    walk.look(4, shift=0.02)
    back = RULE.rewind(walk.course, before.steps[-1])
    assert (back.steps, back.losses, back.aside) == (before.steps, before.losses, before.aside)


def test_scoring_does_not_learn_and_the_memory_is_bounded_plain_data():
    walk = Walk()
    walk.look(200)
    assert len(walk.course.steps) <= RULE.curve.most + RULE.patience
    plain = msgspec.json.decode(msgspec.json.encode(walk.course), type=Course)
    losses = [2.1, 2.0, 2.2]
    assert RULE.score(plain, walk.step, losses) == RULE.score(walk.course, walk.step, losses)


@pytest.mark.parametrize("domains", [1, 2, 12])
def test_calm_runs_are_left_alone(domains):
    rang = [any(any(row) for row in Walk(domains, seed=seed).look(120)) for seed in range(4)]
    assert sum(rang) <= 1  # of 480 looks; bench/panel_power.py counts them in thousands
