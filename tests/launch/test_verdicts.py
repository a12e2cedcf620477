"""What the leader concludes from reports: who is lost, who is guilty, who only waits."""

from msgspec.structs import replace

from steadytrain.events import ProcessExited
from steadytrain.launch.letters import Report, read_report, write
from steadytrain.launch.silence import Seen
from steadytrain.launch.stacks import Place
from steadytrain.launch.verdicts import (
    Alone,
    Ask,
    Died,
    Distrusted,
    Finished,
    Gone,
    Heard,
    Hung,
    Left,
    conclude,
)
from steadytrain.progress import Beat

KILLED = ProcessExited(generation=0, rank=1, pid=7, signal="SIGKILL", step=4)
VICTIM = ProcessExited(
    generation=0, rank=0, pid=6, code=1, step=4, error="RuntimeError: Connection closed by peer"
)


def _conclude(*reports, ages=None, **changes):
    heard = [
        Heard(report=report, age=age)
        for report, age in zip(reports, ages or [0.0] * len(reports), strict=True)
    ]
    given = {
        "least": 1, "silent_seconds": 10.0, "asks": 0, "death_seconds": 0.0, "is_leaving": False,
    }  # fmt: skip
    return conclude(heard, **(given | changes))


def _rank(number, step=9, phase="forward", *, is_over=False, may_be_busy=False):
    beat = Beat(pid=1, generation=0, step=step, phase=phase, clock=0.0, beats=5)
    return Seen(
        number=number, beat=beat, seconds=5.0 + number, is_over=is_over, may_be_busy=may_be_busy
    )


def test_nothing_follows_from_ranks_that_move():
    assert _conclude(Report(seen=(_rank(0, may_be_busy=True),)), Report()) is None


def test_a_killed_rank_is_named_at_once_and_its_victim_after_it():
    verdict = _conclude(Report(exits=(VICTIM,)), Report(exits=(KILLED,)))
    assert verdict == Died((KILLED, VICTIM))


def test_a_victim_waits_for_the_host_that_has_not_said_why():
    reports = Report(exits=(VICTIM,)), Report()
    assert _conclude(*reports, death_seconds=0.5) is None
    assert _conclude(*reports, death_seconds=2.5, ages=[0.0, 2.6]) is None
    # A connection was closed and its host says nothing: that host is dead, not cut off.
    assert _conclude(*reports, death_seconds=3.1, ages=[0.0, 3.2]) == Gone((1,))
    assert _conclude(Report(), Report(), ages=[0.0, 9.9]) is None


def test_victims_alone_are_believed_once_every_host_has_told_of_later():
    reports = Report(exits=(VICTIM,)), Report()
    assert _conclude(*reports, death_seconds=1.5, ages=[0.0, 0.3]) == Died((VICTIM,))


def test_a_host_is_left_where_its_rank_alone_asks_to_be_started_elsewhere():
    asks = Report(exits=(ProcessExited(generation=0, rank=1, pid=7, code=75),))
    mourns = Report(exits=(VICTIM,))
    assert _conclude(Report(), asks) is None  # others may ask the same in a moment
    assert _conclude(mourns, asks, death_seconds=0.6) == Distrusted(1)
    assert _conclude(asks, death_seconds=0.6) == Died(asks.exits)
    both = _conclude(Report(exits=(replace(asks.exits[0], rank=0),)), asks, death_seconds=0.6)
    assert isinstance(both, Died)
    crash = Report(exits=(*asks.exits, KILLED))
    assert isinstance(_conclude(Report(), crash, death_seconds=0.6), Died)


def test_hosts_that_went_together_go_together():
    assert _conclude(Report(), Report(), Report(), ages=[0.0, 10.1, 9.6]) == Gone((1, 2))


def test_a_host_that_says_goodbye_is_not_waited_for():
    assert _conclude(Report(), Report(is_going=True)) == Gone((1,))


def test_who_hears_of_too_few_is_the_one_that_may_be_cut_off():
    assert _conclude(Report(), Report(), Report(), ages=[0.0, 8.0, 8.0], least=2) == Alone()
    assert _conclude(Report(), Report(), Report(), ages=[0.0, 8.0, 0.0], least=2) is None


def test_all_have_finished_only_when_all_have():
    done = Report(has_finished=True, has_left=True)
    assert _conclude(done, Report()) is None
    assert _conclude(done, done) == Finished()


def test_ranks_that_leave_as_asked_have_not_died():
    left = Report(has_left=True, exits=(KILLED,))
    assert _conclude(left, Report(), is_leaving=True) is None
    assert _conclude(left, left, is_leaving=True) == Left()


def test_of_a_hang_the_stacks_are_asked_for_and_then_the_one_at_work_is_guilty():
    waits = Report(seen=(_rank(0, is_over=True),))
    works = Report(seen=(_rank(1, is_over=True),))
    assert _conclude(waits, works) == Ask()
    answers = (
        Report(seen=waits.seen, answered=1, places={0: Place(is_waiting=True, words="waits")}),
        Report(seen=works.seen, answered=1, places={1: Place(words="in scrub")}),
    )
    assert _conclude(waits, answers[1], asks=1) == Ask()
    assert _conclude(*answers, asks=1) == Hung(works.seen[0], Place(words="in scrub"))


def test_a_rank_that_waits_for_a_busy_one_of_another_host_does_not_hang():
    waits = Report(seen=(_rank(0, is_over=True),))
    busy = Report(seen=(_rank(1, phase="checkpoint", may_be_busy=True),))
    assert _conclude(waits, busy) is None


def test_a_report_comes_back_as_it_was_sent():
    report = Report(
        beat=3, ready=1, start=1, pids=(7, 8), seen=(_rank(0),), exits=(KILLED,), answered=1,
        places={0: Place(is_stopped=True)},
    )  # fmt: skip
    assert read_report(write(report)) == report
