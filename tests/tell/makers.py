"""Messages, threads and runs for the tests of `tell`."""

from steadytrain import events as ev
from steadytrain.journal import Journal
from steadytrain.tell.message import Message
from tests.samples import began, record


def message(**changes):
    fields = {
        "id": "1",
        "key": "key-1",
        "run": "r1",
        "threads": ("incident-1",),
        "notes": ("incident-1/opened",),
        "level": "warning",
        "title": "incident-1: loss:zh rise",
        "text": "step 12: loss:zh rise\nstep 12: incident-1 opened",
        "story": "step 12: loss:zh rise\nstep 12: incident-1 opened",
        "link": "http://board.example/",
    }
    return Message(**(fields | changes))


def opened(name="incident-1", step=12, directions=("rise",), change="opened", reason=""):
    return ev.Incident(
        id=name, change=change, attempt=1, step=step, onset=step, signals=("loss:zh",),
        directions=directions, score=9.0, reason=reason,
    )  # fmt: skip


def closed(name="incident-1", step=40):
    return opened(name, step, change="closed", reason="cured")


def diagnosed(name="incident-1", step=13):
    cause = ev.Cause(name="bad text", confidence=0.95, evidence=("8 of 8",), domain="zh")
    return ev.Diagnosis(incident=name, step=step, causes=(cause,))


OPEN = []
"""Journals that a test left open; closed behind it (conftest.py)."""


class Run:
    """A journal that is written under a clock of the test's own."""

    def __init__(self, home, now=1_000_000.0, writer="rank0"):
        self.home = home
        self.now = now
        self.book = Journal(home, writer, clock=lambda: self.now)
        OPEN.append(self.book)

    def clock(self):
        return self.now

    def begin(self, mode="act", steps=1000):
        recipe = {"treatment": {"mode": mode}}
        run = began()
        fields = {name: getattr(run, name) for name in run.__struct_fields__}
        self.write(ev.RunBegan(**(fields | {"recipe": recipe, "steps": steps})))
        self.write(ev.AttemptBegan(attempt=1, step=0, draw=0, cause="start"))
        return self

    def write(self, *events, seconds=0.0):
        self.now += seconds
        for event in events:
            self.book.append(event)
        return self

    def train(self, first, last, seconds=1.0, attempt=1):
        for step in range(first, last + 1):
            self.now += seconds
            self.book.append(record(step, (2.0, 2.5, 1.5), attempt=attempt, seconds=seconds))
        return self
