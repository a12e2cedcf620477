"""The teller as a whole: once, in order, nothing lost over a restart, however it was ended."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from steadytrain import acknowledgements
from steadytrain import events as ev
from steadytrain.acknowledgements import Seen
from steadytrain.errors import SettingError
from steadytrain.journal import files
from steadytrain.news import News
from steadytrain.tell.box import Manners
from steadytrain.tell.ledger import Ledger, held
from steadytrain.tell.message import Arrived, TryAgain
from steadytrain.tell.teller import Patience, Teller
from steadytrain.tell.ways import Way
from tests.tell import services as svc
from tests.tell.makers import OPEN, Run, closed, diagnosed, opened


class Notebook:
    """A channel that writes down what it is sent."""

    spacing = 0.0

    def __init__(self, name="c"):
        self.name = name
        self.messages = []
        self.answer = Arrived()

    def send(self, message):
        if isinstance(self.answer, Arrived):
            self.messages.append(message)
        return self.answer


class Office:
    """A teller that a test lives step by step; `again` is its next life."""

    def __init__(self, home, *channels, run, **manners):
        self.run, self.home = run, home
        self.channels = channels or (Notebook(),)
        settings = Manners(**({"spacing": 0.0} | manners))
        self.ledger = Ledger(home)
        OPEN.append(self.ledger)
        self.teller = Teller(
            home=home,
            ways=[Way(channel=one, manners=settings) for one in self.channels],
            ledger=self.ledger,
            blot=lambda text: text,
            clock=run.clock,
            patience=Patience(escalate_after=1800.0),
        )
        self.teller.begin()

    def live(self, seconds):
        for _ in range(int(seconds)):
            self.teller.look()
            for courier in self.teller.couriers:
                courier.step()
            self.run.now += 1.0
        return self

    @property
    def told(self):
        return [one.text for one in self.channels[0].messages]

    def again(self):
        self.ledger.close()
        return Office(self.home, *self.channels, run=self.run)


@pytest.fixture
def run(tmp_path):
    # Where nobody acts, what is not finite is critical, and hardly waits: tests are quick.
    return Run(tmp_path, now=time.time()).begin(mode="observe").train(1, 11)


def ledger_of(home):
    return [
        item.event
        for item in News(home, writers=("tell",)).poll()
        if isinstance(getattr(item, "event", None), ev.AlertSent)
    ]


def test_an_incident_is_told_as_it_develops(tmp_path, run):
    office = Office(tmp_path, run=run)
    run.write(opened())
    office.live(30)
    run.write(diagnosed())
    office.live(90)
    run.write(closed())
    office.live(30)
    assert [one.number for one in office.channels[0].messages] == [1, 2, 3]
    assert office.channels[0].messages[-1].is_recovered


def test_what_was_over_before_the_first_start_is_not_told_and_what_is_open_is(tmp_path, run):
    run.write(opened("incident-1"), closed("incident-1"), opened("incident-2"), seconds=1)
    run.now += 60
    office = Office(tmp_path, run=run).live(60)
    (message,) = office.channels[0].messages
    assert message.threads == ("incident-2",)


def test_what_happened_while_no_teller_ran_is_told_afterwards(tmp_path, run):
    office = Office(tmp_path, run=run).live(5)
    run.now += 100
    run.write(opened(), diagnosed(), closed())
    run.now += 100
    office = office.again().live(30)
    (message,) = office.channels[0].messages
    assert message.threads == ("incident-1",)
    assert message.is_recovered


def test_a_restart_tells_nothing_twice(tmp_path, run):
    office = Office(tmp_path, run=run)
    run.write(opened())
    office.live(30)
    for _ in range(3):
        office = office.again().live(30)
    run.write(closed())
    office = office.again().live(60)
    assert len(office.told) == 2


def test_each_message_is_on_record_before_and_after_it_went_out(tmp_path, run):
    office = Office(tmp_path, run=run)
    run.write(opened())
    office.live(30)
    begun, sending, sent = ledger_of(tmp_path)
    assert (begun.state, sending.state, sent.state) == ("begun", "sending", "sent")
    assert sending.notes == sent.notes == ("incident-1/opened",)
    assert "incident-1 opened" in sending.text


def test_a_teller_that_died_while_it_sent_sends_the_same_again(tmp_path, run):
    office = Office(tmp_path, run=run)
    run.write(opened())
    office.channels[0].answer = TryAgain("x")
    office.live(22)
    office.channels[0].answer = Arrived()
    run.write(diagnosed())
    office = office.again().live(100)
    first, second = office.channels[0].messages
    assert (first.id, first.is_again, first.notes) == ("1", True, ("incident-1/opened",))
    assert second.id == "2"


def test_a_silence_of_an_earlier_life_is_over_when_the_run_moves(tmp_path, run):
    office = Office(tmp_path, run=run).live(400)
    assert "nothing has moved" in office.told[-1]
    office = office.again().live(5)
    run.train(12, 13)
    office.live(30)
    assert len(office.told) == 2
    assert "moves again" in office.told[-1]
    assert office.channels[0].messages[-1].is_recovered


def test_channels_do_not_wait_for_each_other(tmp_path, run):
    dead, good = Notebook("dead"), Notebook("good")
    dead.answer = TryAgain("down")
    office = Office(tmp_path, dead, good, run=run)
    run.write(opened())
    office.live(60)
    assert len(good.messages) == 1
    dead.answer = Arrived()
    office.live(120)
    assert [one.threads for one in dead.messages] == [("incident-1",)]


def test_a_new_channel_is_told_of_what_comes(tmp_path, run):
    office = Office(tmp_path, Notebook("a"), run=run)
    run.write(opened(), closed())
    office.live(40)
    office.ledger.close()
    other = Notebook("b")
    office = Office(tmp_path, office.channels[0], other, run=run).live(60)
    assert other.messages == []
    run.write(opened("incident-2"))
    office.live(30)
    assert len(other.messages) == 1


def test_somebody_has_seen_it_and_nobody_else_is_woken(tmp_path, run):
    office = Office(tmp_path, run=run)
    run.write(opened())
    office.live(60)
    acknowledgements.acknowledge(tmp_path, Seen(thread="incident-1", name="Ada", words="I look"))
    office.live(100)
    assert "as Ada has seen it: I look" in office.told[-1]
    for step in range(12, 60):
        run.train(step, step, seconds=0.0)
        office.live(60)
    assert len(office.told) == 2
    assert not acknowledgements.waiting(tmp_path)


def test_nobody_has_seen_it_so_somebody_is_woken(tmp_path, run):
    office = Office(tmp_path, run=run)
    run.write(opened())
    for step in range(12, 45):
        run.train(step, step, seconds=0.0)
        office.live(60)
    assert office.channels[0].messages[-1].level == "critical"
    assert "--acknowledge incident-1" in office.told[-1]


def test_a_damaged_line_stops_nobody(tmp_path, run):
    run.write(opened())
    path = next((tmp_path / "journal").glob("rank0.*"))
    with open(path, "ab") as file:
        file.write(b'{"v":1,"seq":99,"at":1.0,"kind":"Dre\n\x00\x00\x00\n')
    run.book._written = path.stat().st_size
    run.write(diagnosed())
    office = Office(tmp_path, run=run).live(30)
    assert "bad text" in office.told[-1]


def test_two_tellers_of_one_run_are_refused(tmp_path):
    with (
        held(tmp_path),
        pytest.raises(SettingError, match="another steadytrain tell"),
        held(tmp_path),
    ):
        pass


class Process:
    """`steadytrain tell` as a process, told of the local server."""

    def __init__(self, home, services, *more):
        environment = os.environ | {
            "STEADYTRAIN_WEBHOOK_URL": f"{services.url}/webhook/hook-0123",
            "STEADYTRAIN_WEBHOOK_SECRET": svc.HOOK_SECRET,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "steadytrain", "tell", str(home), "--to", "webhook"),
                *("--cooldown", "0", *more),
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def kill(self):
        self.process.kill()
        return self.process.communicate()[0].decode()

    def end(self, seconds=60.0):
        out = self.process.communicate(timeout=seconds)[0].decode()
        return self.process.returncode, out


def wait_for(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_killed_between_the_answer_and_the_record_it_is_sent_once_more_and_says_so(
    tmp_path, run, services
):
    teller = Process(tmp_path, services)
    taken = threading.Event()
    take = services._webhook

    def kill_after(request, said, body):
        answer = take(request, said, body)
        if not taken.is_set():
            taken.set()
            teller.process.kill()
        return answer

    services._webhook = kill_after
    wait_for(lambda: ledger_of(tmp_path))
    run.write(opened(directions=("not finite",)))
    wait_for(taken.is_set)
    teller.kill()
    assert [one.state for one in ledger_of(tmp_path)] == ["begun", "sending"]
    again = Process(tmp_path, services)
    wait_for(lambda: ledger_of(tmp_path)[-1].state == "sent")
    again.kill()
    (_, first), (_, second) = services.received
    assert first["key"] == second["key"]
    assert first["text"] == second["text"]
    assert (first["again"], second["again"]) == (False, True)


@pytest.mark.slow
def test_killed_at_any_moment_everything_is_told_in_order(tmp_path, run, services):
    # News is gathered for 3 s and looked for each second: most of these are about the sending.
    for number, seconds in enumerate((0.0, 1.5, 2.9, 3.2, 3.6, 4.2), 1):
        teller = Process(tmp_path, services)
        wait_for(lambda lives=number: len(files(tmp_path, "tell")) == lives)
        wait_for(lambda: ledger_of(tmp_path))
        run.write(opened(f"incident-{number}", directions=("not finite",)))
        time.sleep(seconds)
        teller.kill()
    run.write(ev.RunEnded(attempt=1, step=11))
    status, out = Process(tmp_path, services).end()
    assert status == 0, out
    told = {}
    for _, said in services.received:
        told.setdefault(said["key"], said["threads"])
    threads = [name for one in told.values() for name in one if name.startswith("incident")]
    assert threads == [f"incident-{number}" for number in range(1, 7)]
    assert [one for _, one in services.received if one["title"].startswith("the run has ended")]


def test_a_dead_service_stops_neither_the_teller_nor_its_end(tmp_path, run, services):
    services.always = 500
    teller = Process(tmp_path, services)
    wait_for(lambda: ledger_of(tmp_path))
    run.write(opened(directions=("not finite",)))
    wait_for(lambda: len(services.asked) >= 2)
    teller.process.send_signal(signal.SIGTERM)
    status, out = teller.end()
    assert status == 0
    assert "webhook: not yet: the service answers 500" in out
    assert "0123" not in out
    assert "0123" not in json.dumps([str(one) for one in ledger_of(tmp_path)])
