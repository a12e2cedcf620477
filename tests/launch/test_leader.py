"""The leader of a round, told made-up reports: what it orders, and what it writes down."""

import types

import pytest

from steadytrain import journal
from steadytrain.events import (
    GiveUp,
    HostGone,
    HostsWaiting,
    ProcessExited,
    Restart,
    WorkersFinished,
    WorkersStarted,
)
from steadytrain.judge.restarts import RestartPolicy
from steadytrain.launch import leader as room
from steadytrain.launch.book import Book
from steadytrain.launch.hosts import Hosts
from steadytrain.launch.leader import Leader
from steadytrain.launch.letters import Member, Report, Word
from steadytrain.launch.meeting import Round
from steadytrain.launch.silence import Seen
from steadytrain.launch.stacks import Place
from steadytrain.launch.verdicts import Heard
from steadytrain.progress import Beat

NAMES = ("a", "b", "c")


class Wire:
    """A line on which everything has been heard already."""

    why_broken = None

    def __init__(self):
        self.word = Word()
        self.reports = [Report(start=0, pids=(10 + at,)) for at in range(3)]
        self.ages = [0.0] * 3
        self.names_waiting = []

    def heard(self):
        return [
            Heard(report=report, age=age)
            for report, age in zip(self.reports, self.ages, strict=True)
        ]

    def waiting(self):
        return self.names_waiting

    def speak(self, word):
        self.word = word

    def say(self, at, **changes):
        self.reports[at] = Report(**({"start": 0, "pids": (10 + at,)} | changes))


class Hall:
    def __init__(self):
        self.expected = []

    def end_round(self, expected):
        self.expected.append(expected)


class Scene:
    def __init__(self, home, monkeypatch, **changes):
        self.home, self.now = home, 100.0
        monkeypatch.setattr(room, "time", types.SimpleNamespace(monotonic=lambda: self.now))
        self.line, self.hall = Wire(), Hall()
        settings = {"least": 2, "most": 4, "endpoints": (("a", 1),)} | changes
        members = [Member(token=f"t{name}", name=name, address=name, nproc=1) for name in NAMES]
        self.round = Round(path="p", rank=0, members=members, store=None)
        self.book = Book(
            journal.Journal(home, "supervisor"),
            journal.load(home, "supervisor"),
            policy=RestartPolicy(),
            on_event=lambda event: None,
        )
        self.leader = Leader(
            self.book, self.round, self.line, self.hall, hosts=Hosts(**settings),
            tell=lambda seen: None, grace_seconds=25.0,
        )  # fmt: skip
        self.leader.call(0, "a", 1234)

    def look(self, seconds=0.1):
        self.now += seconds
        self.leader.lead()
        return self.line.word.order

    def train(self, step, **changes):
        for at in range(3):
            self.line.say(at, seen=(_rank(at, step),), **changes)

    def told(self, kind):
        return [one for one in journal.read(self.home, "supervisor") if isinstance(one, kind)]


def _rank(number, step=9, *, is_over=False):
    beat = Beat(pid=1, generation=0, step=step, phase="forward", clock=0.0, beats=5)
    return Seen(number=number, beat=beat, seconds=5.0, is_over=is_over, may_be_busy=not is_over)


@pytest.fixture
def make(tmp_path, monkeypatch):
    made = []

    def make(**changes):
        made.append(Scene(tmp_path, monkeypatch, **changes))
        return made[-1]

    yield make
    for scene in made:
        scene.book.close()


@pytest.fixture
def scene(make):
    return make()


def test_a_start_is_on_record_once_with_the_pids_and_hosts_of_all_ranks(scene):
    scene.line.say(2, start=-1, pids=())
    assert scene.look() is None
    assert scene.told(WorkersStarted) == []
    scene.line.say(2)
    scene.look()
    scene.look()
    (start,) = scene.told(WorkersStarted)
    assert (start.generation, start.pids, start.hosts) == (0, (10, 11, 12), NAMES)


def test_a_death_is_judged_once_and_all_begin_again(scene):
    scene.look()
    death = ProcessExited(generation=0, rank=1, pid=11, signal="SIGKILL", step=4)
    scene.line.say(1, exits=(death,))
    order = scene.look()
    assert (order.what, order.words) == ("again", "rank 1: killed by SIGKILL")
    scene.look()
    assert (scene.told(ProcessExited), len(scene.told(Restart))) == ([death], 1)


def test_what_cannot_help_ends_all_hosts(scene):
    scene.look()
    scene.line.say(0, exits=(ProcessExited(generation=0, rank=0, pid=10, code=93),))
    order = scene.look()
    assert (order.what, order.status) == ("end", 93)
    assert len(scene.told(GiveUp)) == 1


def test_a_lost_host_is_on_record_and_those_that_stay_are_expected(scene):
    scene.look()
    scene.line.ages[2] = 10.5
    assert scene.look().what == "regroup"
    (gone,) = scene.told(HostGone)
    assert (gone.host, gone.ranks, gone.why) == ("c", (2,), "silent")
    assert scene.hall.expected == [2]
    assert scene.leader.is_obeyed(0) is False
    for at in (0, 1):
        scene.line.say(at, obeyed=0)
    assert scene.leader.is_obeyed(0)  # the lost one never will


def test_who_waits_is_let_in_after_a_step_that_all_make_once_there_is_progress(scene):
    scene.line.names_waiting = ["d"]
    scene.train(0)
    scene.look(2.0)
    assert scene.line.word.leave_step is None
    scene.train(6)
    scene.look(2.0)
    assert scene.line.word.leave_step == 6 + 2 + 3  # two steps, and what is made in a second
    scene.train(14, has_left=True)
    assert scene.look().what == "regroup"
    assert len(scene.told(HostsWaiting)) == 1
    assert scene.told(HostGone) == []
    assert scene.hall.expected == [4]


def test_a_full_run_lets_nobody_in(make):
    scene = make(most=3)
    scene.line.names_waiting = ["d"]
    for step in (0, 5, 10, 15):
        scene.train(step)
        scene.look(2.0)
    assert scene.line.word.leave_step is None


def test_when_all_are_asked_to_leave_the_run_ends_and_asks_to_be_started_again(scene):
    scene.look()
    scene.train(8, wants_out=True)
    scene.look()
    assert scene.line.word.leave_step >= 10
    scene.train(10, wants_out=True, has_left=True)
    order = scene.look()
    assert (order.what, order.status) == ("end", 75)
    assert scene.told(Restart) + scene.told(HostGone) == []


def test_ranks_that_do_not_leave_in_time_are_not_waited_for(scene):
    scene.look()
    scene.train(8)
    scene.line.say(1, seen=(_rank(1, 8),), wants_out=True)
    scene.look()
    assert scene.look(10.0) is None
    assert scene.look(20.0).what == "regroup"


def test_each_hang_is_asked_about_anew(scene):
    scene.look()
    stuck = {"seen": (_rank(1, is_over=True),)}
    scene.line.say(1, **stuck)
    for at in (0, 2):
        scene.line.say(at, seen=(_rank(at, 20),))
    scene.look()
    assert scene.line.word.asks == 1
    scene.line.say(1, seen=(_rank(1, 20),))  # it went on by itself
    scene.look()
    scene.line.say(1, **stuck, answered=1, places={1: Place(words="old")})
    assert scene.look() is None
    assert scene.line.word.asks == 2
    scene.line.say(1, **stuck, answered=2, places={1: Place(words="in scrub")})
    assert scene.look().what == "again"
    (gone,) = scene.told(ProcessExited)
    assert (gone.rank, gone.pid, gone.hung, gone.error) == (1, 11, True, "in scrub")


def test_the_end_of_all_is_on_record(scene):
    scene.look()
    scene.train(20, has_finished=True)
    order = scene.look()
    assert (order.what, order.status) == ("end", 0)
    assert len(scene.told(WorkersFinished)) == 1


def test_a_host_that_its_rank_does_not_trust_is_left_by_the_others(scene):
    scene.look()
    asks = ProcessExited(generation=0, rank=1, pid=11, code=75, step=9)
    scene.line.say(1, exits=(asks,))
    scene.look()
    order = scene.look(0.6)
    assert (order.what, order.without, scene.hall.expected) == ("regroup", 1, [2])
    (gone,) = scene.told(HostGone)
    assert (gone.host, gone.ranks, gone.why, gone.step) == ("b", (1,), "distrusted", 9)
    assert "b is not to be trusted" in scene.told(Restart)[0].cause
    assert scene.told(ProcessExited) == []


def test_if_too_few_would_be_left_all_ask_to_be_started_elsewhere(make):
    scene = make(least=3)
    scene.look()
    scene.line.say(1, exits=(ProcessExited(generation=0, rank=1, pid=11, code=75),))
    scene.look()
    order = scene.look(0.6)
    assert (order.what, order.status) == ("end", 75)
    assert len(scene.told(GiveUp)) == 1


def test_with_several_endpoints_a_minority_writes_nothing_down(make):
    scene = make(most=3, endpoints=(("a", 1), ("b", 1)))
    scene.look()
    scene.line.ages[1:] = [8.0, 8.0]
    assert scene.look().what == "regroup"
    assert scene.told(HostGone) == []


def test_a_new_leader_writes_down_that_the_old_one_is_gone(make):
    old = make()
    old.look()
    new = make()
    before = Round(
        path="p", rank=1, store=None,
        members=[Member(token="old", name="z", address="z", nproc=2), *new.round.members],
    )  # fmt: skip
    new.leader.note_the_missing(before, None)
    (gone,) = new.told(HostGone)
    assert (gone.host, gone.ranks) == ("z", (0, 1))
    assert len(new.told(Restart)) == 1
    new.leader.note_the_missing(before, None)
    assert len(new.told(HostGone)) == 1
