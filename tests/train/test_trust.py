"""Trust in a checkpoint grows with what the journal knows of it; and which states are tried again."""

import pytest

from steadytrain.events import (
    AttemptBegan,
    CheckpointRefused,
    CheckpointSaved,
    RestoreVerified,
)
from steadytrain.train.lives import Lives
from steadytrain.train.trust import Trust
from tests.judge.test_durability import step

NAME = "a0001-s00000100"
SAVED = CheckpointSaved(
    attempt=1,
    step=100,
    draw=1,
    path=f"checkpoints/{NAME}",
    bytes=1,
    digest="d",
    seconds=1.0,
    blocked_seconds=0.1,
)
LOADED = RestoreVerified(attempt=2, step=100, source=NAME, checked=("lr",))
UNLIKE = RestoreVerified(attempt=2, step=100, source=NAME, checked=("lr",), differences=("lr",))
REFUSED = CheckpointRefused(path=f"checkpoints/{NAME}", reason="damaged")


@pytest.mark.parametrize(
    ("events", "healthy_until", "label"),
    [
        ([SAVED], 99, "candidate"),
        ([SAVED], 100, "healthy"),
        ([SAVED, LOADED], 100, "proven"),
        ([SAVED, LOADED], 99, "candidate"),
        ([SAVED, UNLIKE, REFUSED], 100, "refused"),
        ([SAVED, REFUSED, LOADED], 100, "proven"),
    ],
)
def test_a_checkpoint_is_trusted_as_far_as_it_was_proven(events, healthy_until, label):
    trust = Trust()
    for event in events:
        trust.note(event)
    assert trust.label(NAME, healthy_until=healthy_until) == label


def begin(at, cause="restart"):
    return AttemptBegan(attempt=1, step=at, draw=at, cause=cause)


def ceiling(*events):
    lives = Lives()
    for event in events:
        lives.note(event)
    return lives.ceiling()


class TestLives:
    def test_a_first_death_says_nothing_about_the_state(self):
        assert ceiling(begin(0, "start"), step(56)) is None

    def test_a_second_one_at_the_same_update_sends_the_next_life_further_back(self):
        assert ceiling(begin(0, "start"), step(56), begin(50), step(51), step(56)) == 49

    def test_and_a_third_one_further_still(self):
        deaths = [begin(0, "start"), step(56), begin(50), step(56), begin(40), step(56)]
        assert ceiling(*deaths) == 39

    def test_a_death_elsewhere_is_another_one(self):
        assert ceiling(begin(0, "start"), step(56), begin(50), step(55)) is None
        assert (
            ceiling(begin(0, "start"), step(56), begin(50), step(56), begin(40), step(60)) is None
        )

    def test_a_death_before_the_first_update_is_at_the_state_itself(self):
        assert ceiling(begin(0, "start"), step(56), begin(50), begin(50)) == 49

    def test_a_rollback_is_no_new_process(self):
        found = ceiling(
            begin(0, "start"), step(56), begin(50), step(54), begin(40, "rollback"), step(56)
        )
        assert found == 49
