"""Hosts meet in a store: who comes late, who dies meanwhile, who serves, who must not begin."""

import threading
import time

from steadytrain.errors import SettingError
from steadytrain.launch.hosts import Hosts
from steadytrain.launch.letters import Order, Report, Word
from steadytrain.launch.line import Line
from steadytrain.launch.meeting import Ended, Meeting, Round


class Memory:
    """A store in this process, with the calls and the failures of torch's."""

    def __init__(self):
        self.values = {}
        self.lock = threading.RLock()
        self.is_lost = False

    def clone(self):
        return self

    def _open(self):
        if self.is_lost:
            raise RuntimeError("Connection reset by peer")
        return self.lock

    def set(self, key, value):
        with self._open():
            self.values[key] = value.encode() if isinstance(value, str) else bytes(value)

    def get(self, key):
        with self._open():
            if key not in self.values:
                raise RuntimeError(f"wait timeout, key {key}")
            return self.values[key]

    def multi_get(self, keys):
        return [self.get(key) for key in keys]

    def check(self, keys):
        with self._open():
            return all(key in self.values for key in keys)

    def add(self, key, amount):
        with self._open():
            now = int(self.values.get(key, b"0")) + amount
            self.values[key] = str(now).encode()
            return now

    def compare_set(self, key, expected, desired):
        with self._open():
            if self.values.get(key, b"") == expected.encode():
                self.values[key] = desired.encode()
            return self.values.get(key, expected.encode())


class Hall:
    """Hosts that share one store; endpoints answer without a network."""

    def __init__(self, monkeypatch, **changes):
        self.store = Memory()
        settings = {
            "least": 2, "most": 3, "endpoints": (("a", 1),), "silent_seconds": 2.0,
            "last_call_seconds": 0.3, "join_seconds": 5.0, "rejoin_seconds": 5.0,
        }  # fmt: skip
        self.settings = settings | changes
        self.found = {}
        monkeypatch.setattr(Meeting, "_answers", lambda meeting, at: not self.store.is_lost)

    def meeting(self, name, **more):
        hosts = Hosts(**self.settings, address=name, **more)
        return Meeting(
            hosts, token=f"token-{name}", nproc=1,
            open_store=lambda address, port, serve, seconds: self.store,
            is_to_leave=lambda: False,
        )  # fmt: skip

    def come(self, meeting, name, *, seconds=5.0, is_new=True):
        def gather():
            self.found[name] = meeting.gather(seconds, is_new=is_new)

        thread = threading.Thread(target=gather)
        thread.start()
        return thread


def _all_come(hall, names, **more):
    meetings = {name: hall.meeting(name) for name in names}
    threads = [hall.come(meetings[name], name, **more) for name in names]
    for thread in threads:
        thread.join()
    return meetings


def test_all_that_are_expected_begin_at_once_in_the_order_of_their_names(monkeypatch):
    hall = Hall(monkeypatch, last_call_seconds=60.0)
    _all_come(hall, ["c", "a", "b"])
    assert [hall.found[name].rank for name in "abc"] == [0, 1, 2]
    assert [one.name for one in hall.found["c"].members] == ["a", "b", "c"]


def _static(monkeypatch, **changes):
    return Hall(monkeypatch, least=3, last_call_seconds=0.1, backend="static", **changes)


def test_a_fixed_order_is_that_of_the_places_whoever_comes_first(monkeypatch):
    hall = _static(monkeypatch)
    threads = []
    for name, place in (("a", 2), ("b", 1), ("c", 0)):  # the first to come is the last in order
        threads.append(hall.come(hall.meeting(name, place=place), name, is_new=place > 0))
        time.sleep(0.3)
    for thread in threads:
        thread.join()
    assert [one.name for one in hall.found["a"].members] == ["c", "b", "a"]
    assert hall.found["c"].leads


def test_in_a_fixed_order_nobody_is_done_without(monkeypatch):
    hall = _static(monkeypatch)
    threads = [
        hall.come(hall.meeting(name, place=place), name, seconds=1.5)
        for name, place in (("a", 0), ("b", 1))
    ]
    for thread in threads:
        thread.join()
    assert hall.found == {"a": None, "b": None}


def test_of_two_in_one_place_one_is_told_so(monkeypatch):
    hall = _static(monkeypatch, silent_seconds=0.7)
    told = []
    threads = []
    for name, place in (("a", 0), ("b", 1), ("late", 1), ("c", 2)):
        meeting = hall.meeting(name, place=place)

        def gather(meeting=meeting, name=name):
            try:
                hall.found[name] = meeting.gather(20.0, is_new=True)
            except SettingError as error:
                told.append((name, str(error)))

        threads.append(threading.Thread(target=gather))
        threads[-1].start()
        time.sleep(0.2)
    threads[0].join()
    first = hall.found["a"]
    line = Line(first.store, first.path, rank=0, members=first.members)  # the run goes on
    for thread in threads:
        thread.join()
    line.close()
    ((name, words),) = told
    assert name == "b"
    assert "late trains as --node-rank 1 already" in words
    assert [one.name for one in first.members] == ["a", "late", "c"]


def test_the_least_number_begins_after_the_last_call(monkeypatch):
    hall = Hall(monkeypatch)
    _all_come(hall, ["a", "b"])
    assert len(hall.found["a"].members) == 2


def test_too_few_give_up_within_their_time(monkeypatch):
    hall = Hall(monkeypatch)
    began = time.monotonic()
    _all_come(hall, ["a"], seconds=1.0)
    assert hall.found["a"] is None
    assert time.monotonic() - began < 3.0


def test_who_comes_late_is_seen_waiting_and_is_in_the_next_round(monkeypatch):
    hall = Hall(monkeypatch)
    meetings = _all_come(hall, ["b", "c"])
    first = hall.found["b"]
    line = Line(first.store, first.path, rank=0, members=first.members)
    late = hall.come(hall.meeting("a"), "a", seconds=20.0)
    end = time.monotonic() + 10.0
    while line.waiting() != ["a"] and time.monotonic() < end:
        time.sleep(0.05)
    assert line.waiting() == ["a"]
    line.close()
    meetings["b"].end_round(3)
    again = [hall.come(meetings[name], name, is_new=False) for name in "bc"]
    for thread in (late, *again):
        thread.join()
    # It knows nothing of what was, so it does not lead, whatever its name.
    assert [one.name for one in hall.found["a"].members] == ["b", "c", "a"]


def test_who_waits_hears_that_the_run_has_ended(monkeypatch):
    hall = Hall(monkeypatch)
    _all_come(hall, ["b", "c"])
    first = hall.found["b"]
    line = Line(first.store, first.path, rank=0, members=first.members)
    line.speak(Word(order=Order(what="end", status=93)))
    hall.come(hall.meeting("a"), "a", seconds=10.0).join()
    line.close()
    assert hall.found["a"] == Ended(93)


def test_a_round_whose_hosts_are_all_gone_is_not_waited_for(monkeypatch):
    hall = Hall(monkeypatch, last_call_seconds=0.1, silent_seconds=1.0)
    _all_come(hall, ["a", "b"])
    _all_come(hall, ["c", "d"], seconds=20.0)
    assert isinstance(hall.found["c"], Round)
    assert [one.name for one in hall.found["c"].members] == ["c", "d"]


def test_a_line_tells_how_old_what_it_heard_is_and_when_the_store_is_lost(monkeypatch):
    hall = Hall(monkeypatch)
    _all_come(hall, ["a", "b"])
    lines = [
        Line(found.store, found.path, rank=found.rank, members=found.members)
        for found in (hall.found["a"], hall.found["b"])
    ]
    lines[1].tell(Report(ready=4))
    lines[0].speak(Word(start=2))
    time.sleep(1.0)
    assert lines[0].heard()[1].report.ready == 4
    assert lines[1].word.start == 2
    lines[1].close()
    time.sleep(1.0)
    assert lines[0].heard()[1].age > 0.8
    assert lines[0].age < 0.5
    hall.store.is_lost = True
    time.sleep(0.5)
    assert lines[0].age == float("inf")
    assert "reset by peer" in lines[0].why_broken
    lines[0].close()
