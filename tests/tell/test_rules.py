"""What of a journal people are told, how urgently, and in which thread."""

import pytest

from steadytrain import actions as ac
from steadytrain import events as ev
from steadytrain.tell.notes import Threads
from steadytrain.tell.rules import Rules
from steadytrain.tell.vigil import Vigil
from steadytrain.vitals import Vitals
from tests.tell.makers import Run, closed, diagnosed, opened


class Listener:
    """A run that is written, and the rules that listen to it."""

    def __init__(self, home, *, mode="act", lang="en", **patience):
        self.run = Run(home).begin(mode)
        self.vitals = Vitals(home=home, clock=self.run.clock)
        self.threads = Threads(lang=lang)
        self.rules = Rules(home=home, threads=self.threads)
        # Each test asks for the clock's news of its own sort, and for no other.
        never = {"silent_after": 1e9, "no_checkpoint_after": 1e9}
        self.vigil = Vigil(home=home, threads=self.threads, **(never | patience))

    def hear(self, *events, **how):
        """The notes of these events alone."""
        self.read()
        self.run.write(*events, **how)
        return self.read()

    def read(self):
        notes = []
        for item in self.vitals.news.poll():
            self.vitals.note(item)
            notes += self.rules.hear(item, self.vitals)
        return notes

    def tick(self, seconds=0.0, **how):
        self.run.now += seconds
        self.read()
        return self.vigil.tick(self.run.now, self.vitals, **how)


@pytest.fixture
def listener(tmp_path):
    return Listener(tmp_path)


def levels(notes):
    return [one.level for one in notes]


BACK = (ac.RollBack(to_step=9),)


def remedy(plan=BACK, name="remedy-1"):
    return ev.Remedy(
        id=name, incident="incident-1", step=13, due=15, rung=0, cause="c", plan=plan, why="w"
    )


def outcome(result):
    return ev.Outcome(
        incident="incident-1", remedy="remedy-1", step=30, result=result, steps=16, why="w"
    )


class TestIncidents:
    def test_a_story_from_its_opening_to_its_end(self, listener):
        alarm = ev.Alarm(
            attempt=1,
            step=12,
            signal="loss:zh",
            direction="rise",
            value=6.2,
            expected=2.2,
            score=9.0,
        )
        notes = listener.hear(
            alarm, opened(), diagnosed(), remedy(),
            ev.RemedyDone(remedy="remedy-1", attempt=1, step=9), outcome("cured"), closed(),
        )  # fmt: skip
        assert levels(notes) == ["warning", *["info"] * 5]
        assert {one.thread for one in notes} == {"incident-1"}
        assert "loss:zh rise: 6.2 where 2.2 was expected" in notes[0].text
        assert [one.ends for one in notes] == [False] * 5 + [True]
        assert listener.threads.by_id["incident-1"].subject == "loss:zh rise | bad text (zh)"

    @pytest.mark.parametrize(
        ("result", "level"), [("cured", "info"), ("not cured", "warning"), ("worse", "critical")]
    )
    def test_an_outcome_is_as_urgent_as_it_is_bad(self, listener, result, level):
        listener.hear(opened())
        assert levels(listener.hear(outcome(result))) == [level]

    @pytest.mark.parametrize(
        ("mode", "level"), [("act", "warning"), ("ask", "critical"), ("observe", "critical")]
    )
    def test_what_is_not_finite_is_critical_where_nobody_acts(self, tmp_path, mode, level):
        listener = Listener(tmp_path, mode=mode)
        assert levels(listener.hear(opened(directions=("not finite",)))) == [level]

    def test_a_question_to_a_person_is_critical(self, listener):
        listener.hear(opened())
        (note,) = listener.hear(remedy((ac.AskPerson(question="lower the peak?"),)))
        assert (note.level, "lower the peak?" in note.text) == ("critical", True)

    def test_a_proposal_that_waits_says_how_to_accept_it(self, tmp_path):
        listener = Listener(tmp_path, mode="ask")
        listener.hear(opened())
        (note,) = listener.hear(proposal())
        assert note.level == "critical"
        assert f"steadytrain remedy {tmp_path} accept remedy-2" in note.text

    def test_in_the_mode_observe_nobody_is_waited_for(self, tmp_path):
        listener = Listener(tmp_path, mode="observe")
        listener.hear(opened())
        (note,) = listener.hear(proposal())
        assert (note.level, "observe" in note.text) == ("info", True)

    def test_chinese_is_chinese(self, tmp_path):
        listener = Listener(tmp_path, lang="zh")
        texts = [one.text for one in listener.hear(opened(), diagnosed(), closed())]
        assert all("\u7b2c" in text for text in texts)
        assert listener.threads.by_id["incident-1"].subject.startswith(
            "\u635f\u5931\uff08zh\uff09\u4e0a\u5347"
        )


def proposal():
    return ev.Proposal(
        id="remedy-2", incident="incident-1", step=14, rung=0, cause="c",
        plan=(ac.RollBack(to_step=9),), why="w",
    )  # fmt: skip


class TestAcknowledgement:
    def test_nobody_looked_so_it_becomes_critical_three_times(self, tmp_path):
        listener = Listener(tmp_path, escalate_after=600.0)
        listener.hear(opened())
        assert listener.tick(599) == []
        (note,) = listener.tick(1)
        assert (note.level, note.id) == ("critical", "incident-1/escalated-1")
        assert f"steadytrain tell {tmp_path} --acknowledge incident-1" in note.text
        assert len(listener.tick(600)) == 1
        assert len(listener.tick(600)) == 1
        assert listener.tick(6000) == []

    def test_after_a_long_sleep_one_reminder_is_enough(self, tmp_path):
        listener = Listener(tmp_path, escalate_after=600.0)
        listener.hear(opened())
        assert len(listener.tick(1300)) == 1
        assert listener.tick(1) == []

    @pytest.mark.parametrize("verb", ["accept", "refuse", "order"])
    def test_a_word_to_the_run_is_an_acknowledgement(self, tmp_path, verb):
        listener = Listener(tmp_path, escalate_after=600.0)
        listener.hear(opened())
        said = ev.PersonSaid(
            id="w", who="ada", verb=verb, step=14, remedy="r", incident="incident-1"
        )
        (note,) = listener.hear(said)
        assert "ada" in note.text
        assert listener.tick(9999) == []

    def test_an_order_for_no_incident_shows_that_somebody_looks_at_all(self, tmp_path):
        listener = Listener(tmp_path, escalate_after=600.0)
        listener.hear(opened(), opened("incident-2"))
        listener.hear(ev.PersonSaid(id="w", who="ada", verb="order", step=14))
        assert listener.tick(9999) == []

    def test_an_incident_that_is_over_wakes_nobody(self, tmp_path):
        listener = Listener(tmp_path, escalate_after=600.0)
        listener.hear(opened(), closed())
        assert listener.tick(9999) == []

    def test_what_was_escalated_in_an_earlier_life_is_not_again(self, tmp_path):
        listener = Listener(tmp_path, escalate_after=600.0)
        listener.hear(opened())
        sent = ev.AlertSent(channel="c", state="sending", notes=("incident-1/escalated-1",))
        listener.vigil.restore(sent, listener.run.now)
        assert listener.tick(700) == []


class TestProcesses:
    def exited(self, generation=0, **how):
        return ev.ProcessExited(generation=generation, rank=0, pid=7, step=12, **how)

    def test_a_death_and_the_restart_after_it_are_one_thread(self, listener):
        died = listener.hear(self.exited(signal="SIGKILL"))
        again = listener.hear(ev.Restart(generation=1, cause="c", wait_seconds=0.0, why="it helps"))
        back = listener.hear(
            ev.AttemptBegan(attempt=2, step=10, draw=320, cause="restart", checkpoint="a1")
        )
        assert {one.thread for one in died + again + back} == {"exit-g0"}
        assert levels(died + again + back) == ["warning", "info", "info"]
        assert back[-1].ends

    def test_giving_up_is_critical_and_waits_for_somebody(self, tmp_path):
        listener = Listener(tmp_path, escalate_after=600.0)
        listener.hear(self.exited(code=1))
        (note,) = listener.hear(ev.GiveUp(generation=1, cause="c", why="it dies at the same step"))
        assert (note.level, note.thread) == ("critical", "exit-g0")
        assert levels(listener.tick(700)) == ["critical"]

    def test_a_supervisor_that_is_gone_is_told_once(self, listener):
        assert levels(listener.tick(vanished=99)) == ["critical"]
        assert listener.tick(vanished=99) == []


class TestCheckpoints:
    def failed(self, step):
        return ev.CheckpointFailed(attempt=1, step=step, reason="disk full")

    def saved(self, step=50):
        return ev.CheckpointSaved(
            attempt=1, step=step, draw=0, path="p", bytes=1, digest="d", seconds=1.0,
            blocked_seconds=0.1,
        )  # fmt: skip

    def test_one_failure_is_no_news_two_are_and_four_are_critical(self, listener):
        assert levels(listener.hear(self.failed(10))) == []
        assert levels(listener.hear(self.failed(20))) == ["warning"]
        assert levels(listener.hear(self.failed(30), self.failed(40))) == ["warning", "critical"]
        (note,) = listener.hear(self.saved())
        assert note.ends

    def test_failures_with_a_success_between_are_not_in_a_row(self, listener):
        assert listener.hear(self.failed(10), self.saved(20), self.failed(30)) == []

    def test_a_mirror_that_fails_is_told_ever_more_rarely_until_it_works(self, listener):
        failed = ev.MirrorFailed(step=10, reason="no route to host")
        notes = listener.hear(*[failed] * 9)
        assert levels(notes) == ["warning"] * 4
        assert len({one.thread for one in notes}) == 1
        assert "the mirror failed: no route to host" in notes[0].text
        (over,) = listener.hear(
            ev.CheckpointMirrored(attempt=1, step=20, path="s3://b/r/c", bytes=1, seconds=1.0)
        )
        assert (over.level, over.ends) == ("info", True)
        assert listener.hear(failed)[0].thread != notes[0].thread

    def test_no_checkpoint_for_long_is_a_warning_while_the_run_moves(self, tmp_path):
        listener = Listener(tmp_path, no_checkpoint_after=600.0)
        listener.run.train(1, 10)
        assert listener.tick(500) == []
        listener.run.train(11, 12, seconds=100.0)
        (note,) = listener.tick()
        assert (note.level, note.thread) == ("warning", "no-checkpoint-s0")
        assert listener.tick(1) == []
        (over,) = listener.hear(self.saved())
        assert over.ends

    def test_a_run_that_was_down_is_not_overdue_when_it_begins_again(self, tmp_path):
        listener = Listener(tmp_path, no_checkpoint_after=600.0)
        listener.hear(self.saved(5))
        listener.run.now += 9999
        listener.hear(ev.AttemptBegan(attempt=2, step=5, draw=0, cause="restart"))
        listener.run.train(6, 8)
        assert listener.tick() == []


class TestSilence:
    def test_a_run_that_does_not_move_is_critical_until_it_moves(self, tmp_path):
        listener = Listener(tmp_path, silent_after=None)
        listener.run.train(1, 10)
        assert listener.tick(299) == []
        (note,) = listener.tick(2)
        assert (note.level, note.id) == ("critical", "silence-a1-s10/told")
        assert listener.tick(100) == []
        listener.run.train(11, 11)
        (over,) = listener.tick()
        assert over.ends
        assert "moves again" in over.text

    def test_a_slow_run_has_more_patience(self, tmp_path):
        listener = Listener(tmp_path, silent_after=None)
        listener.run.train(1, 10, seconds=90.0)
        assert listener.tick(899) == []
        assert len(listener.tick(2)) == 1

    def test_a_run_that_has_ended_may_be_silent(self, listener):
        listener.run.train(1, 10)
        listener.hear(ev.RunEnded(attempt=1, step=10))
        assert listener.tick(99_999) == []

    def test_old_silences_are_not_told_from_the_journal(self, tmp_path):
        listener = Listener(tmp_path, silent_after=None)
        listener.run.train(1, 10)
        listener.run.now += 9999
        listener.run.train(11, 20)
        assert listener.tick() == []


class TestTrends:
    def trend(self, *, state="explained", is_expected=False):
        move = ev.PanelMove(
            domain="zh",
            since=300,
            before=2.0,
            now=2.25,
            change=0.25,
            low=0.2,
            high=0.3,
            sequences=9,
        )
        return ev.Trend(
            id="trend-1", state=state, step=400, pattern="starved domain", domains=("zh",),
            begun=300, is_expected=is_expected, moves=(move,), evidence=("its share fell",),
            expected="it stays",
        )  # fmt: skip

    def test_an_unplanned_movement_is_a_warning_with_its_numbers(self, listener):
        (note,) = listener.hear(self.trend())
        assert note.level == "warning"
        assert (
            "zh: 2.0000 -> 2.2500 nats since step 300 (+0.2500, 95 %: +0.2000 to +0.3000)"
            in note.text
        )
        assert "its share fell" in note.text

    def test_a_planned_one_is_no_news_unless_it_does_not_come_true(self, listener):
        assert listener.hear(self.trend(is_expected=True)) == []
        assert listener.hear(self.trend(is_expected=True, state="came true")) == []
        assert levels(listener.hear(self.trend(is_expected=True, state="did not"))) == ["warning"]

    def test_it_is_over_when_it_came_true(self, listener):
        listener.hear(self.trend())
        (note,) = listener.hear(self.trend(state="came true"))
        assert note.ends


def test_an_unguarded_run_is_critical_until_the_judge_is_back(listener):
    (note,) = listener.hear(ev.JudgingEnded(step=9, reason="bug"))
    assert note.level == "critical"
    (back, *_) = [
        one
        for one in listener.hear(ev.AttemptBegan(attempt=2, step=5, draw=0, cause="restart"))
        if one.thread == note.thread
    ]
    assert back.ends


def test_the_end_of_a_run_says_its_losses(listener):
    listener.run.train(1, 3)
    (note,) = listener.hear(ev.RunEnded(attempt=1, step=3))
    assert note.text == "the run has ended at step 3: zh 2.000, en 2.500, code 1.500"


def test_the_same_journal_gives_the_same_ids(listener, tmp_path):
    listener.run.train(1, 3)
    first = listener.hear(opened(), diagnosed(), remedy(), outcome("cured"), closed())
    vitals = Vitals(home=tmp_path)
    rules = Rules(home=tmp_path, threads=Threads())
    ids = []
    for item in vitals.news.poll():
        vitals.note(item)
        ids += [one.id for one in rules.hear(item, vitals)]
    assert ids == ["began/told", *(one.id for one in first)]
