"""Grades from journals: a leaked panel is no incident, it must be told."""

import pytest

from steadytrain.causes import LEAKED, STARVED
from steadytrain.events import PanelRecord, RunBegan, StepRecord, Trend
from steadytrain.journal import Journal
from steadytrain.lab import grading
from steadytrain.lab.faults import Fault

LEAK = Fault(kind="leak", step=101, seed=0, domain=1, first_draw=100 * 8, end_draw=500 * 8)


def began():
    return RunBegan(
        run="r", recipe={}, domains=("zh", "en"), model="m", parameters=1, world=1, draws_per_step=8
    )


def record(step):
    return StepRecord(
        attempt=1, step=step, draw=8 * (step - 1), draw_end=8 * step, loss=1.0, nll=(1.0, 1.0),
        tokens=(1, 1), bytes=(1, 1), sequences=(4, 4), squares=(1.0, 1.0),
    )  # fmt: skip


def look(step, *nll):
    return PanelRecord(
        attempt=1, step=step, nll=nll, tokens=(1, 1), bytes=(1, 1), losses=((nll[0],), (nll[1],))
    )


def trend(step, pattern, *domains, state="explained"):
    return Trend(
        id="trend-1", state=state, step=step, pattern=pattern, domains=domains, begun=100,
        is_expected=False,
    )  # fmt: skip


def graded(home, *events):
    with Journal(home, "rank0") as journal:
        for event in (began(), *map(record, range(98, 300)), *events):
            journal.append(event)
    (grade,) = grading.grade(home, [LEAK])
    return grade


class TestLeak:
    def test_it_is_passed_where_it_is_told_of_its_domain(self, tmp_path):
        grade = graded(tmp_path, trend(160, LEAKED, "en"))
        assert (grade.detected_after, grade.is_named, grade.outcome) == (59, True, "told")
        assert grade.is_passed

    def test_another_name_that_came_first_does_not_hide_it(self, tmp_path):
        grade = graded(tmp_path, trend(120, STARVED, "zh"), trend(200, LEAKED, "en"))
        assert (grade.detected_after, grade.is_passed) == (99, True)

    @pytest.mark.parametrize(
        "told",
        [
            (trend(160, LEAKED, "zh"),),
            (trend(160, STARVED, "en"),),
            (trend(160, LEAKED, "en", state="gave way"),),
            (trend(99, LEAKED, "en"),),
            (),
        ],
        ids=["another domain", "another name", "no explanation", "before the leak", "nothing"],
    )
    def test_whatever_else_is_told_does_not_pass(self, tmp_path, told):
        assert not graded(tmp_path, *told).is_passed

    def test_its_panel_is_compared_with_nothing(self, tmp_path):
        for name, nll in (("ours", (1.0, 0.2)), ("theirs", (1.0, 1.0))):
            with Journal(tmp_path / name, "rank0") as journal:
                journal.append(look(100, *nll))
        compared = grading.compare(tmp_path / "ours", tmp_path / "theirs", ("zh", "en"), [LEAK])
        assert [(one.domain, one.is_passed) for one in compared] == [("zh", True)]
        plain = grading.compare(tmp_path / "ours", tmp_path / "theirs", ("zh", "en"))
        assert [one.is_passed for one in plain] == [True, False]
