"""Recorded journals replay to the judgments stored in them: a change of judgments is a reviewed diff."""

from pathlib import Path

import pytest

from steadytrain import journal
from steadytrain.errors import JournalError
from steadytrain.events import (
    AttemptBegan,
    Diagnosis,
    Incident,
    JudgingEnded,
    Outcome,
    PersonSaid,
    Remedy,
    RunEnded,
)
from steadytrain.journal import Journal
from steadytrain.replaying import recall, recipe_of, replay
from tests.samples import began

GOLDEN = sorted((Path(__file__).parent / "golden" / "journals").iterdir())


@pytest.mark.parametrize("home", GOLDEN, ids=lambda path: path.name)
class TestEveryGoldenJournal:
    def test_replays_byte_for_byte(self, home):
        assert all(one.differences == () for one in replay(home))

    def test_holds_a_story_with_a_good_end(self, home):
        found = list(journal.read(home))
        assert any(isinstance(one, Diagnosis | PersonSaid) for one in found)
        assert [one.result for one in found if isinstance(one, Outcome)][-1] == "cured"
        assert isinstance(found[-1], RunEnded)


def test_a_recipe_of_another_version_is_named_as_such(tmp_path):
    with Journal(tmp_path, "rank0") as book:
        book.append(began())
    past = journal.load(tmp_path)
    strange = type(past[0])(
        run="r",
        recipe={"near": "far"},
        domains=(),
        model="m",
        parameters=1,
        world=1,
        draws_per_step=1,
    )
    with pytest.raises(JournalError, match="recipe in this journal is not one of this version"):
        recipe_of([strange])


def test_a_journal_without_its_first_line_is_an_error(tmp_path):
    with Journal(tmp_path, "rank0") as book:
        book.append(RunEnded(attempt=1, step=1))
    with pytest.raises(JournalError, match="no RunBegan line"):
        replay(tmp_path)


def test_a_judge_that_begins_afresh_gives_no_name_twice():
    past = [
        began(),
        Incident(
            id="incident-3", change="opened", attempt=1, step=9, onset=9, signals=(),
            directions=(), score=1.0,
        ),
        Remedy(
            id="remedy-5", incident="incident-3", step=9, due=11, rung=0, cause="c", plan=(),
            why="w",
        ),
        AttemptBegan(attempt=2, step=9, draw=0, cause="restart"),
        JudgingEnded(step=9, reason="a bug"),
    ]  # fmt: skip
    *_, (_, _, state) = recall(recipe_of(past), past)
    assert (state.num_incidents, state.num_remedies) == (3, 5)
