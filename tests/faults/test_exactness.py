"""Kill -9 at any moment: the finished run equals, bit for bit, one that was never killed."""

import json
import multiprocessing
import os
import random
import signal
from pathlib import Path

import pytest

from steadytrain.events import Remedy, RemedyDone
from steadytrain.journal import Journal
from steadytrain.replaying import replay
from steadytrain.train import Session
from steadytrain.train.checkpoints import Checkpoints
from steadytrain.train.snapshots import Snapshots
from tests import rig

GARBLED = range(40 * rig.BATCH, 43 * rig.BATCH)
STEPS = 80
RUN = {"steps": STEPS, "garbled": GARBLED}

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["tests.rig"])


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


def _live(home: Path, out: Path, changes: dict, bomb) -> None:
    """One life of a run in a process of its own; `bomb` may arm a way to die."""
    if bomb is not None:
        bomb()
    rig.train_and_note(home, out, changes)


def _run_with_deaths(home: Path, bombs) -> dict:
    """Live, die once by each bomb, and live to the end; returns the digests."""
    out = home.parent / f"{home.name}.json"
    for bomb in [*bombs, None]:
        life = _server.Process(target=_live, args=(home, out, RUN, bomb))
        life.start()
        life.join(120)
        assert life.exitcode == (0 if bomb is None else -signal.SIGKILL), f"{bomb}: {life.exitcode}"
    return json.loads(out.read_text())


class KillAtEvent:
    """Die just before or after the n-th event of a kind is written."""

    def __init__(self, kind, *, after: bool, nth: int = 1) -> None:
        self.kind, self.after, self.nth = kind, after, nth

    def __repr__(self) -> str:
        return f"{'after' if self.after else 'before'} {self.kind.__name__} {self.nth}"

    def __call__(self) -> None:
        real, left = Journal.append, [self.nth]

        def append(book, event):
            if isinstance(event, self.kind):
                left[0] -= 1
            is_now = isinstance(event, self.kind) and left[0] == 0
            if is_now and not self.after:
                _die()
            real(book, event)
            if is_now:
                _die()

        Journal.append = append


class KillAtCall:
    """Die in the n-th call of a method, at its beginning or at its end."""

    def __init__(self, owner, name: str, nth: int, *, after: bool) -> None:
        self.owner, self.name, self.nth, self.after = owner, name, nth, after

    def __repr__(self) -> str:
        where = "after" if self.after else "before"
        return f"{where} {getattr(self.owner, '__name__', 'os')}.{self.name} {self.nth}"

    def __call__(self) -> None:
        owner = os if self.owner == "os" else self.owner  # a module cannot be sent to a process
        real, left = getattr(owner, self.name), [self.nth]

        def call(*args, **named):
            left[0] -= 1
            if left[0] == 0 and not self.after:
                _die()
            found = real(*args, **named)
            if left[0] == 0:
                _die()
            return found

        setattr(owner, self.name, call)


def random_moments(first_seed):
    """Twenty; all but the first six only where there is time."""
    return [
        pytest.param(
            KillSoonAfterStep(first_seed + seed), marks=pytest.mark.slow if seed >= 6 else ()
        )
        for seed in range(20)
    ]


class KillSoonAfterStep:
    """Die a few milliseconds after some update has begun: wherever the run is by then."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self.nth, self.seconds = chance.randrange(1, STEPS - 5), chance.uniform(1e-4, 0.02)

    def __repr__(self) -> str:
        return f"{1e3 * self.seconds:.1f} ms after update {self.nth}"

    def __call__(self) -> None:
        real, left = Session.step, [self.nth]
        signal.signal(signal.SIGALRM, lambda *_: _die())

        def step(run):
            left[0] -= 1
            if left[0] == 0:
                signal.setitimer(signal.ITIMER_REAL, self.seconds)
            real(run)

        Session.step = step


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    home = tmp_path_factory.mktemp("unbroken") / "run"
    return {"digests": _run_with_deaths(home, []), "losses": rig.losses(home)}


def _assert_exact(home, unbroken, bombs):
    assert _run_with_deaths(home, bombs) == unbroken["digests"]
    assert rig.losses(home) == unbroken["losses"]
    assert [one.differences for one in replay(home)] == [()]


@pytest.mark.parametrize(
    "bomb",
    [
        KillAtEvent(Remedy, after=False),
        KillAtEvent(Remedy, after=True),
        KillAtEvent(RemedyDone, after=False),
        KillAtEvent(RemedyDone, after=True),
        KillAtCall(Snapshots, "restore", 1, after=False),
        KillAtCall(Snapshots, "restore", 1, after=True),
    ],
    ids=repr,
)
def test_death_between_a_remedy_and_its_deed(tmp_path, unbroken, bomb):
    _assert_exact(tmp_path / "run", unbroken, [bomb])


@pytest.mark.parametrize(
    "bomb",
    [
        KillAtCall("os", "fsync", 9, after=False),
        KillAtCall("os", "fsync", 25, after=True),
        KillAtCall("os", "rename", 3, after=False),
        KillAtCall("os", "rename", 3, after=True),
        KillAtCall(Checkpoints, "save", 3, after=True),
        KillAtCall(Snapshots, "take", 7, after=True),
    ],
    ids=repr,
)
def test_death_while_a_state_is_saved(tmp_path, unbroken, bomb):
    _assert_exact(tmp_path / "run", unbroken, [bomb])


@pytest.mark.parametrize("bomb", random_moments(0), ids=repr)
def test_death_at_a_random_moment(tmp_path, unbroken, bomb):
    _assert_exact(tmp_path / "run", unbroken, [bomb])


def test_three_deaths_in_a_row(tmp_path, unbroken):
    bombs = [
        KillAtEvent(Remedy, after=True),
        KillAtEvent(RemedyDone, after=False),
        KillAtCall(Snapshots, "take", 4, after=False),
    ]
    _assert_exact(tmp_path / "run", unbroken, bombs)
