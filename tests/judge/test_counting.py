"""A model that knows how often each token occurs, and little else, is told of once."""

import msgspec
import pytest

from steadytrain.events import Advice, PanelDrawn
from tests.judge.voyage import SEQUENCES, Voyage

COUNTING = {"zh": 4.1, "en": 3.2, "code": 3.1}


def voyage(**changes):
    found = Voyage(is_branch=False, every=50, **changes)
    drawn = PanelDrawn(
        attempt=1, step=0, digest="p", lengths=((100,) * SEQUENCES,) * 3,
        unigram=tuple(COUNTING.values()),
    )  # fmt: skip
    found.looks = found.outlook.redraw(found.looks, drawn)
    return found


def stuck(found, share):
    """Let every look cost this share of what counting costs."""
    found._curve = lambda name: share * COUNTING[name]
    return found


def told(found):
    return [one for one in found.said if isinstance(one, Advice) and one.topic == "unigram"]


@pytest.mark.parametrize("share", [0.97, 1.1])
def test_a_run_that_learns_nothing_but_frequencies_is_told_so_once(share):
    found = stuck(voyage(), share).sail(12)
    (advice,) = told(found)
    assert "At step 250 " in advice.text
    assert f"{share:.0%} of what it costs to know" in advice.text
    assert "mean of 3 domains" in advice.text


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_one_that_learns_more_is_left_alone(share):
    assert told(stuck(voyage(), share).sail(12)) == []


def test_one_rotten_domain_is_not_the_whole_model():
    found = stuck(voyage(), 0.6)
    found.shift["zh"] = 0.6 * COUNTING["zh"]
    assert told(found.sail(12)) == []


def test_nothing_is_said_while_the_rate_still_rises():
    found = stuck(voyage(), 1.0)
    for _ in range(12):
        found.lr *= 1.2
        found.sail(1)
    assert told(found) == []
    assert len(told(found.sail(3))) == 1


def test_one_bad_look_between_good_ones_is_not_enough():
    found = voyage().sail(4)
    for share in (1.0, 0.6, 1.0, 0.6, 1.0):
        stuck(found, share).sail(1)
    assert told(found) == []


def test_without_frequencies_on_record_nothing_is_said():
    assert told(stuck(Voyage(is_branch=False, every=50), 1.1).sail(12)) == []


def test_a_domain_without_sequences_does_not_count():
    found = stuck(voyage(), 1.0)
    found.looks = msgspec.structs.replace(found.looks, unigram=(None, 3.2, 3.1))
    assert "mean of 2 domains" in told(found.sail(8))[0].text


def test_another_panel_begins_anew():
    found = stuck(voyage(), 1.0).sail(4)
    found.looks = found.outlook.redraw(
        found.looks,
        PanelDrawn(attempt=1, step=200, digest="q", lengths=((100,),) * 3, version=2),
    )
    assert found.looks.unigram == ()
    assert found.looks.no_better == 0
