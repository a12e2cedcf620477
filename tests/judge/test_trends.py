"""Whether an explanation came true is read from the looks after it, and not before it is due."""

import pytest

from steadytrain import causes
from steadytrain.events import Alarm, Incident, PanelRecord, Proposal, Remedy, Trend
from steadytrain.judge.judge import Judge
from steadytrain.judge.looks import Open
from steadytrain.judge.situation import Progress
from steadytrain.judge.state import freeze, thaw
from steadytrain.judge.trends import EXTENSIONS, settle
from tests.judge.voyage import Voyage


def _open(pattern, *, due=200, extended=0):
    trend = Trend(
        id="trend-1", state="explained", step=120, pattern=pattern, domains=("zh",), begun=100,
        is_expected=True, due=due,
    )  # fmt: skip
    return Open(trend=trend, anchor=100, base=(0, 100), due=due, extended=extended)


def _at(step, *, series=(2.0, 2.1), z=0.0, is_over=False):
    return Progress(step=step, series=series, z=z, jitter=0.01, is_over=is_over, gap=20)


@pytest.mark.parametrize(
    "pattern",
    [causes.STARVED, causes.LEARNING, causes.LEAKED, causes.ANNEALING, causes.HARDER_BATCHES],
)
def test_nothing_is_settled_before_it_is_due(pattern):
    one = _open(pattern)
    assert settle(one, _at(180, z=9.0)) == one


@pytest.mark.parametrize(
    ("pattern", "z", "result"),
    [
        (causes.STARVED, 3.0, "came true"),
        (causes.STARVED, 0.5, "did not"),
        (causes.CORRUPT_SOURCE, 3.0, "came true"),
        (causes.UNSTABLE, -1.0, "did not"),
        (causes.LEARNING, -3.0, "came true"),
        (causes.LEARNING, 0.0, "did not"),
        (causes.ANNEALING, -3.0, "came true"),
        (causes.LEAKED, -3.0, "came true"),
        (causes.HARDER_BATCHES, 0.5, "came true"),
        (causes.HARDER_BATCHES, 3.0, "did not"),
    ],
)
def test_what_should_last_is_compared_with_the_old_curve(pattern, z, result):
    assert settle(_open(pattern), _at(200, z=z))[0] == result


def test_what_cannot_be_told_yet_is_put_off_but_not_for_ever():
    one = settle(_open(causes.STARVED), _at(200, z=1.5))
    assert (one.due, one.extended) == (280, 1)
    last = _open(causes.STARVED, extended=EXTENSIONS)
    assert settle(last, _at(200, z=1.5))[0] == "did not"


def test_what_ended_by_itself_neither_came_true_nor_failed():
    assert settle(_open(causes.CORRUPT_SOURCE), _at(200, is_over=True))[0] == "gave way"


@pytest.mark.parametrize(
    ("series", "step", "result"),
    [
        ((2.0, 2.1, 2.2, 2.1, 2.05), 150, "came true"),
        ((2.0, 2.1, 2.2, 2.19, 2.2), 150, None),
        ((2.0, 2.1, 2.2, 2.3, 2.4), 200, "did not"),
        ((2.0, 2.1, 2.2, 2.1, 2.2), 150, None),
    ],
    ids=["turned", "flat on top", "still rising when due", "one look down"],
)
def test_a_bump_came_true_when_it_has_turned(series, step, result):
    found = settle(_open(causes.REWARM), _at(step, series=series))
    assert (found if isinstance(found, Open) else found[0]) == (result or _open(causes.REWARM))


def test_without_an_old_curve_the_first_look_is_compared_with():
    assert settle(_open(causes.STARVED), _at(200, z=None, series=(2.0, 2.1)))[0] == "came true"


def _facts():
    """A run whose domain zh loses its share and gets worse."""
    voyage = Voyage(is_branch=False).sail(22)
    voyage.weights = {"zh": 2, "en": 14, "code": 16}
    return voyage.sail(4, zh=0.04).sail(4).facts


def _judged(facts, *, through_the_journal=False):
    judge = Judge()
    state, said = judge.init(), []
    for fact in facts:
        state, judgments = judge.update(state, fact)
        said += judgments
        if through_the_journal and isinstance(fact, PanelRecord):
            state = thaw(freeze(state))
    return said


def test_the_judge_reaches_the_same_through_a_restart_at_every_look():
    facts = _facts()
    whole = _judged(facts)
    assert next(one.pattern for one in whole if isinstance(one, Trend)) == causes.STARVED
    assert _judged(facts, through_the_journal=True) == whole


def test_what_the_panel_says_opens_no_incident_and_asks_for_no_remedy():
    said = _judged(_facts())
    alarms = [one for one in said if isinstance(one, Alarm) and one.signal.startswith("panel")]
    cases = [one for one in said if isinstance(one, Incident | Proposal | Remedy)]
    assert alarms
    assert not any("panel" in signal for one in cases for signal in getattr(one, "signals", ()))
    looks = {one.step for one in alarms}
    assert not any(one.step in looks for one in cases)
