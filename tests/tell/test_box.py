"""When a message goes: grouping, pauses, quiet hours, tries; under a clock of our own."""

from datetime import UTC, datetime

import pytest

from steadytrain.errors import SettingError
from steadytrain.events import AlertSent
from steadytrain.tell.box import MOST_WAITING, Box, Manners
from steadytrain.tell.message import Arrived, Refused, TryAgain
from steadytrain.tell.notes import Note, Thread
from steadytrain.tell.quiet import QuietHours


class Desk:
    """A box, its threads and its clock."""

    def __init__(self, **manners):
        self.now = 1000.0
        self.threads = {}
        settings = {"spacing": 0.0} | manners
        self.box = Box(channel="c", run="r1", manners=Manners(**settings))

    def tell(self, thread, text, level="warning", *, rule="incident", ends=False):
        known = self.threads.get(thread)
        if known is None:
            known = Thread(id=thread, rule=rule, opened_at=self.now, subject=f"about {thread}")
            self.threads[thread] = known
        name = f"{thread}/{len(known.notes)}"
        note = known.add(
            Note(id=name, thread=thread, level=level, at=self.now, text=text, ends=ends)
        )
        self.box.put(note, known, self.now)
        return note

    def sent(self, *, until, answer=None, every=1.0):
        """(time, message) of what goes out until then."""
        found = []
        while self.now < until:
            message = self.box.due(self.now)
            if message is not None:
                self.box.answered(answer or Arrived(), self.now)
                found.append((self.now, message))
            else:
                self.now += every
        return found

    def wait(self, seconds):
        self.now += seconds


def test_news_that_come_together_are_one_message():
    desk = Desk()
    desk.tell("incident-1", "opened")
    desk.wait(5)
    desk.tell("incident-1", "diagnosed", "info")
    ((at, message),) = desk.sent(until=1100)
    assert message.text == "opened\ndiagnosed"
    assert at == 1020
    assert message.notes == ("incident-1/0", "incident-1/1")


def test_what_is_critical_hardly_waits():
    desk = Desk()
    desk.tell("incident-1", "not finite", "critical")
    ((at, message),) = desk.sent(until=1100)
    assert at == 1003
    assert message.headline == "[critical] r1: incident-1: about incident-1"


def test_what_follows_waits_for_its_pause_and_the_end_does_not():
    desk = Desk()
    desk.tell("incident-1", "opened")
    desk.sent(until=1021)
    desk.tell("incident-1", "remedy", "info")
    ((later, second),) = desk.sent(until=1100)
    assert later == 1080
    desk.tell("incident-1", "cured", "info", ends=True)
    ((end, third),) = desk.sent(until=1200)
    assert end == 1120
    assert (second.number, third.number) == (2, 3)
    assert third.story == "opened\nremedy\ncured"
    assert third.headline == "[recovered] r1: incident-1: about incident-1"


def test_an_incident_that_is_over_at_once_is_one_message():
    desk = Desk()
    desk.tell("incident-1", "opened")
    desk.tell("incident-1", "cured", "info", ends=True)
    ((_, message),) = desk.sent(until=1200)
    assert message.is_recovered
    assert message.level == "warning"


def test_what_happens_once_does_not_recover():
    desk = Desk()
    desk.tell("refused-1", "a checkpoint was refused", "warning", rule="checkpoint", ends=True)
    ((_, message),) = desk.sent(until=1200)
    assert not message.is_recovered
    assert message.headline.startswith("[warning]")


def test_after_one_of_a_kind_the_next_are_gathered_until_the_cooldown_is_over():
    desk = Desk(cooldown=300.0)
    desk.tell("incident-1", "one")
    desk.sent(until=1030)
    for number in (2, 3, 4):
        desk.tell(f"incident-{number}", f"text {number}")
        desk.wait(20)
    desk.tell("trend-1", "another kind", rule="trend")
    told = desk.sent(until=1500)
    assert [one.threads for _, one in told] == [
        ("trend-1",),
        ("incident-2", "incident-3", "incident-4"),
    ]
    at, message = told[1]
    assert at == 1320
    assert message.text == "text 2\ntext 3\ntext 4"
    assert message.title == "incident-2: about incident-2 (3 of them)"


def test_what_is_critical_knows_no_cooldown():
    desk = Desk(cooldown=300.0)
    desk.tell("incident-1", "one")
    desk.sent(until=1030)
    desk.tell("incident-2", "two", "critical")
    ((at, message),) = desk.sent(until=1100)
    assert at == 1033
    assert message.threads == ("incident-2",)


def test_a_channel_hears_of_a_thread_from_its_level_on_and_then_of_all_of_it():
    desk = Desk(level="critical")
    desk.tell("incident-1", "opened")
    assert desk.sent(until=1200) == []
    desk.tell("incident-1", "worse", "critical")
    desk.tell("incident-1", "cured", "info", ends=True)
    ((_, message),) = desk.sent(until=1300)
    assert message.text == "opened\nworse\ncured"


class TestQuietHours:
    NIGHT = QuietHours.parse("22:30-08:00", "Asia/Shanghai")
    ELEVEN_PM = 1767279600.0
    EIGHT_AM = ELEVEN_PM + 9 * 3600

    def desk(self):
        desk = Desk(quiet=self.NIGHT)
        desk.now = self.ELEVEN_PM
        return desk

    def test_a_warning_waits_until_morning_with_what_became_of_it(self):
        desk = self.desk()
        desk.tell("incident-1", "opened")
        desk.wait(600)
        desk.tell("incident-1", "cured", "info", ends=True)
        desk.tell("incident-2", "opened too")
        ((at, message),) = desk.sent(until=self.EIGHT_AM + 3600, every=60.0)
        assert at == self.EIGHT_AM
        assert message.threads == ("incident-1", "incident-2")

    def test_what_is_critical_passes(self):
        desk = self.desk()
        desk.tell("incident-1", "opened")
        desk.wait(60)
        desk.tell("incident-1", "worse", "critical")
        ((at, message),) = desk.sent(until=self.ELEVEN_PM + 3600)
        assert at < self.ELEVEN_PM + 70
        assert message.text == "opened\nworse"

    @pytest.mark.parametrize("hours", ["", "22-8", "25:00-08:00", "22:60-08:00", "08:00-08:00"])
    def test_hours_that_are_none_are_refused(self, hours):
        with pytest.raises(SettingError, match="hours"):
            QuietHours.parse(hours, "UTC")

    def test_an_unknown_zone_is_refused(self):
        with pytest.raises(SettingError, match="time zone"):
            QuietHours.parse("22:00-08:00", "Mars/Olympus")

    def test_summer_time_moves_them(self):
        night = QuietHours.parse("23:00-07:00", "Europe/Berlin")
        winter = datetime(2026, 1, 15, 5, 30, tzinfo=UTC).timestamp()
        summer = datetime(2026, 7, 15, 5, 30, tzinfo=UTC).timestamp()
        assert (night.contains(winter), night.contains(summer)) == (True, False)

    def test_hours_of_one_day_work_too(self):
        noon = QuietHours.parse("12:00-14:00", "UTC")
        assert [noon.contains(hour * 3600.0) for hour in (11, 12, 13, 14)] == [
            False,
            True,
            True,
            False,
        ]


class TestTries:
    def test_pauses_double_and_what_the_service_asks_for_is_kept(self):
        desk = Desk(gather_critical=0.0)
        desk.tell("incident-1", "x", "critical")
        times = []
        for answer in (TryAgain("a"), TryAgain("b"), TryAgain("c", 100.0), Arrived()):
            while desk.box.due(desk.now) is None:
                desk.wait(1)
            times.append(desk.now - 1000)
            desk.box.answered(answer, desk.now)
        assert times == [0, 2, 6, 106]

    def test_it_is_given_up_after_so_many_tries_and_the_next_message_says_so(self):
        desk = Desk(most_tries=3)
        desk.tell("incident-1", "x")
        desk.sent(until=1100, answer=TryAgain("down"))
        assert desk.box.is_empty
        desk.tell("incident-2", "y")
        ((_, message),) = desk.sent(until=2000)
        assert "1 earlier messages could not be delivered" in message.text
        assert desk.box.lost == []

    def test_it_is_given_up_after_so_long(self):
        desk = Desk(most_seconds=500.0, most_tries=1000, longest_pause=50.0)
        desk.tell("incident-1", "x")
        told = desk.sent(until=5000, answer=TryAgain("down"))
        assert 1500 <= told[-1][0] <= 1600

    def test_a_refusal_is_final(self):
        desk = Desk()
        desk.tell("incident-1", "x")
        assert len(desk.sent(until=2000, answer=Refused("wrong key"))) == 1

    def test_what_may_have_arrived_says_so_when_it_comes_again(self):
        desk = Desk()
        desk.tell("incident-1", "x")
        desk.wait(30)
        first = desk.box.due(desk.now)
        desk.box.answered(TryAgain("timeout", may_have_arrived=True), desk.now)
        desk.wait(30)
        again = desk.box.due(desk.now)
        assert (first.key, first.is_again, again.is_again) == (again.key, False, True)
        assert "second time" in again.body

    def test_nothing_overtakes_a_message_that_is_tried(self):
        desk = Desk()
        desk.tell("incident-1", "first")
        desk.wait(30)
        desk.box.due(desk.now)
        desk.box.answered(TryAgain("busy", 60.0), desk.now)
        desk.tell("incident-2", "second", "critical")
        told = desk.sent(until=1500)
        assert [one.text for _, one in told] == ["first", "second"]

    def test_a_dead_channel_does_not_fill_the_memory(self):
        desk = Desk()
        for number in range(MOST_WAITING + 500):
            desk.tell(f"incident-{number}", "x")
        desk.tell("incident-c", "y", "critical")
        waiting = sum(len(one.notes) for one in desk.box._waiting.values())
        assert waiting == MOST_WAITING + 1


def test_spacing_of_the_service_is_kept():
    desk = Desk(spacing=3.1, gather_critical=0.0)
    for number in range(3):
        desk.tell(f"incident-{number}", "x", "critical")
    times = [at for at, _ in desk.sent(until=1100, every=0.1)]
    assert all(b - a >= 3.1 for a, b in zip(times, times[1:], strict=False))


def test_a_box_restored_tells_nothing_twice():
    desk = Desk()
    desk.tell("incident-1", "opened")
    desk.wait(30)
    message = desk.box.due(desk.now)
    planned, sent = desk.box.planned(message), desk.box.answered(Arrived("ref"), desk.now)
    other = Desk()
    for one in (AlertSent(channel="c", state="begun"), planned, sent):
        other.box.restore(one, 1000.0)
    other.now = desk.now
    other.threads = desk.threads
    for note in desk.threads["incident-1"].notes:
        other.box.put(note, desk.threads["incident-1"], other.now)
    assert other.box.is_empty
    other.tell("incident-1", "cured", "info", ends=True)
    ((_, follow),) = other.sent(until=1200)
    assert (follow.id, follow.number, follow.reference, follow.text) == ("2", 2, "ref", "cured")


def test_what_was_given_up_is_told_after_a_restart_if_it_is_still_open():
    desk = Desk(most_tries=1)
    desk.tell("incident-1", "still open")
    desk.tell("incident-2", "over", ends=True)
    other = Desk()
    for name in ("incident-1/0", "incident-2/0"):
        other.box.restore(
            AlertSent(channel="c", state="given up", notes=(name,), title=name), 1000.0
        )
    other.box.settle_given_up(desk.threads.values())
    for thread in desk.threads.values():
        other.box.put(thread.notes[0], thread, other.now)
    ((_, message),) = other.sent(until=1200)
    assert message.threads == ("incident-1",)
