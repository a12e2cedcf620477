"""A loss that is somewhat off counts when a gradient norm rings with it; a mixture foretells."""

import msgspec

from steadytrain.judge.clocks import Clocks
from steadytrain.judge.detectors import Score
from steadytrain.judge.votes import foretell, vote
from steadytrain.signals import GRAD_NORM, LOSS, SPEED, Observation

CLOCKS = Clocks()


def seen(name, signal, value=2.0, parts=()):
    return Observation(name=name, value=value, count=1, signal=signal, parts=parts)


def scored(distance, *, alarms=False):
    return Score(distance=distance, expected=2.0, limit=6.0, alarms=alarms, sigma=0.1)


def test_a_loss_backed_by_a_gradient_norm_alarms():
    pair = (seen("loss", LOSS), seen("grad norm", GRAD_NORM))
    loss, _ = vote(pair, (scored(4.0), scored(7.0, alarms=True)), {})
    assert (loss.alarms, loss.clock, loss.direction) == (True, "vote", "rise")
    loss, _ = vote(pair, (scored(-4.0), scored(7.0, alarms=True)), {})
    assert loss.direction == "drop"


def test_neither_is_enough_without_the_other():
    pair = (seen("loss", LOSS), seen("grad norm", GRAD_NORM))
    assert not vote(pair, (scored(4.0), scored(3.0)), {})[0].alarms
    assert not vote(pair, (scored(3.0), scored(7.0, alarms=True)), {})[0].alarms


def test_a_gradient_norm_backs_a_loss_for_four_steps():
    pair = (seen("loss", LOSS), seen("grad norm", GRAD_NORM))
    rang = msgspec.structs.replace(CLOCKS.init(pair[1]), is_open=True)
    for calm, backs in ((0, True), (3, True), (4, False)):
        windows = {"grad norm": msgspec.structs.replace(rang, calm=calm)}
        assert vote(pair, (scored(4.0), scored(0.0)), windows)[0].alarms is backs


def test_a_slow_step_says_nothing_about_a_loss():
    pair = (seen("loss", LOSS), seen("tokens/s", SPEED))
    assert not vote(pair, (scored(4.0), scored(-9.0, alarms=True)), {})[0].alarms


def learned(name, level):
    window = CLOCKS.init(seen(name, LOSS))
    for step in range(1, 101):
        one = seen(name, LOSS, level)
        window = CLOCKS.learn(window, step, one, score=CLOCKS.score(window, step, one))
    return window


def test_a_total_is_foretold_by_its_domains_and_their_shares():
    windows = {"loss:zh": learned("loss:zh", 4.0), "loss:en": learned("loss:en", 2.0)}
    observations = (
        seen("loss", LOSS, 3.5, parts=(("loss:zh", 0.75), ("loss:en", 0.25))),
        seen("loss:zh", LOSS, 4.0),
        seen("loss:en", LOSS, 2.0),
    )
    total, zh, _ = foretell(observations, windows, CLOCKS, 101)
    assert abs(total.foretold - 3.5) < 1e-9
    assert zh.foretold is None


def test_a_domain_that_is_not_known_yet_counts_as_it_is():
    windows = {"loss:zh": learned("loss:zh", 4.0)}
    observations = (
        seen("loss", LOSS, 3.0, parts=(("loss:zh", 0.5), ("loss:new", 0.5))),
        seen("loss:zh", LOSS, 4.0),
        seen("loss:new", LOSS, 9.0),
    )
    assert abs(foretell(observations, windows, CLOCKS, 101)[0].foretold - 6.5) < 1e-9
    assert foretell(observations, {}, CLOCKS, 101)[0].foretold is None
