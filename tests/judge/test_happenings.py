"""What happened is heard with its step, once, and not of noise."""

import math

import pytest

from steadytrain.judge.happenings import note_step, root
from steadytrain.judge.looks import Looks, merged, rewound
from tests.samples import record

DOMAINS = ("zh", "en")


def _run(updates, *, looks=None, first=1, is_branch=False, **fields):
    """Updates with fields that are functions of the step."""
    looks = looks or Looks()
    if is_branch:
        looks = Looks(swing=type(looks.swing)(is_first=False))
    for step in range(first, first + updates):
        told = {name: make(step) for name, make in fields.items()}
        told.setdefault("sequences", (10, 10))
        told.setdefault("tokens", tuple(100 * one for one in told["sequences"]))
        looks = note_step(looks, record(step, (2.0, 2.0), **told), DOMAINS)
    return looks


def _kinds(looks):
    return [(one.kind, one.domain) for one in looks.happenings]


def test_the_root_is_that_of_the_likelihood_ratio_of_two_binomials():
    def log_likelihood(hits, tries, chance):
        return hits * math.log(chance) + (tries - hits) * math.log(1 - chance)

    apart = log_likelihood(5, 60, 5 / 60) + log_likelihood(90, 300, 0.3)
    together = log_likelihood(95, 360, 95 / 360) + 0.0
    assert root(5, 60, 90, 300) == pytest.approx(-math.sqrt(2 * (apart - together)))


@pytest.mark.parametrize("counts", [(0, 60, 0, 300), (60, 60, 300, 300), (3, 0, 9, 30)])
def test_where_there_is_nothing_to_tell_the_root_is_zero(counts):
    assert root(*counts) == 0.0


def test_a_share_that_changed_is_heard_with_its_first_update_and_the_other_share():
    looks = _run(320, sequences=lambda step: (10, 10) if step <= 200 else (2, 18))
    assert _kinds(looks) == [("share down", "zh"), ("share up", "en")]
    one = looks.happenings[0]
    assert (one.step, one.before, one.after) == (200, 0.5, 0.1)


def test_shares_that_only_jump_about_are_not_heard():
    looks = _run(400, sequences=lambda step: (10 + 4 * (step % 3 - 1), 10))
    assert looks.happenings == ()


def test_a_new_domain_is_a_share_that_rose_from_nothing():
    looks = _run(200, sequences=lambda step: (0, 20) if step <= 120 else (4, 16))
    assert looks.happenings[0].before == 0.0
    assert looks.happenings[0].kind == "share up"


def test_the_first_warm_up_of_a_run_is_no_news_and_that_of_a_branch_is():
    rate = {"lr": lambda step: min(step, 50) * 1e-5}
    assert _run(100, **rate).happenings == ()
    (one,) = _run(100, is_branch=True, **rate).happenings
    assert (one.kind, one.step, one.until, one.after) == ("lr up", 1, 50, 50e-5)


def test_a_rate_that_turns_is_heard_once_with_where_it_led():
    def rate(step):
        return 1e-3 if step <= 60 else max(1e-4, 1e-3 * (1 - (step - 60) / 50))

    (one,) = _run(200, lr=rate).happenings
    assert (one.kind, one.step, one.before) == ("lr down", 60, 1e-3)
    assert one.after == pytest.approx(1e-4)
    assert one.until >= 105


def test_up_and_down_again_are_two_turns():
    looks = _run(90, lr=lambda step: 1e-3 if step <= 30 or step > 60 else 2e-3)
    assert [one.kind for one in looks.happenings] == ["lr up", "lr down"]


def test_corrupt_texts_far_above_the_usual_are_heard_once():
    looks = _run(200, corrupt=lambda step: (5 if step > 100 else int(step % 40 == 0), 0))
    assert _kinds(looks) == [("corrupt", "zh")]
    assert looks.happenings[0].step in range(96, 104)
    assert ("corrupt", 0) in looks.ill


def test_texts_that_are_as_usual_again_are_not_ill_and_can_be_so_again():
    def ill(step):
        return (5 if 100 < step <= 150 or step > 300 else 0, 0)

    looks = _run(380, corrupt=ill)
    assert _kinds(looks) == [("corrupt", "zh")] * 2


def test_single_corrupt_texts_are_not_heard():
    assert _run(400, corrupt=lambda step: (int(step % 30 == 0), 0)).happenings == ()


def test_text_of_the_panel_from_the_first_update_on_is_heard():
    assert _kinds(_run(40, leaked=lambda step: (0, 2))) == [("leaked", "en")]


def test_an_update_that_was_held_back_is_not_counted():
    looks = _run(10, committed=lambda step: step % 2 == 0)
    assert looks.stretch.steps == 5


def test_sums_of_stretches_are_the_sums_of_their_updates():
    whole = _run(24).stretch
    parts = [_run(8, first=first).stretch for first in (1, 9, 17)]
    assert merged(parts) == whole


def test_going_back_forgets_what_happened_later():
    looks = _run(320, sequences=lambda step: (10, 10) if step <= 200 else (2, 18))
    assert rewound(looks, 150).happenings == ()
