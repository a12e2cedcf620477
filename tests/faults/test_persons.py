"""A person decides while the run goes on, and the run is killed -9 at the worst moments: the word is
obeyed once, the end is the same to the bit, and every judgment is reached again."""

import json
import multiprocessing
import os
import signal

import pytest

from steadytrain import control, journal
from steadytrain.control import Inbox, Word
from steadytrain.events import Outcome, PersonSaid, Proposal, Remedy, RemedyDone
from steadytrain.journal import Journal
from steadytrain.replaying import replay
from steadytrain.train import desk
from tests import rig

GARBLED = range(40 * rig.BATCH, 43 * rig.BATCH)
STEPS = 80

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["tests.rig"])


def _live(home, out, verb, bomb):
    """One life: the word is said as soon as something is proposed, unless it was said before."""
    desk.EVERY_SECONDS = 0.0
    if bomb is not None:
        bomb()
    model, optimizer, guarded = rig.session(
        home, steps=STEPS, garbled=GARBLED, judge=rig.judge(mode="ask")
    )
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
            _say(run, home, verb)
    out.write_text(json.dumps(rig.digest(model, optimizer)))


def _say(run, home, verb):
    standing = run._memory.standing
    if standing.said or not standing.proposals or Inbox(home).waiting():
        return
    control.send(home, Word(verb=verb, remedy=next(iter(standing.proposals)), words="I looked"))


def _run(home, verb, bombs=()):
    out = home.parent / f"{home.name}.json"
    for bomb in [*bombs, None]:
        life = _server.Process(target=_live, args=(home, out, verb, bomb))
        life.start()
        life.join(120)
        assert life.exitcode == (0 if bomb is None else -signal.SIGKILL)
    return json.loads(out.read_text())


class KillAround:
    """Die before or after the first call of a method, or the first append of a kind of event."""

    def __init__(self, what, *, after):
        self.what, self.after = what, after

    def __repr__(self):
        return f"{'after' if self.after else 'before'} {self.what}"

    def __call__(self):
        owner, name = (Inbox, "take") if self.what == "take" else (Journal, "append")
        real = getattr(owner, name)

        def call(one, given):
            is_now = self.what == "take" or type(given).__name__ == self.what
            if is_now and not self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            real(one, given)
            if is_now:
                os.kill(os.getpid(), signal.SIGKILL)

        setattr(owner, name, call)


def _found(home, kind):
    return [one for one in journal.read(home) if isinstance(one, kind)]


@pytest.fixture(scope="module")
def accepted(tmp_path_factory):
    home = tmp_path_factory.mktemp("accepted") / "run"
    return home, _run(home, "accept")


def test_what_is_proposed_waits_and_what_is_accepted_is_done_and_cures(accepted):
    home, _ = accepted
    (proposal,) = _found(home, Proposal)
    (said,) = _found(home, PersonSaid)
    (remedy,) = _found(home, Remedy)
    assert (said.verb, said.remedy, said.incident) == ("accept", proposal.id, proposal.incident)
    assert (remedy.id, remedy.step) == (proposal.id, said.step)
    assert [one.result for one in _found(home, Outcome)] == ["cured"]
    assert [one.differences for one in replay(home)] == [()]


def test_what_is_refused_is_not_done(tmp_path):
    home = tmp_path / "run"
    _run(home, "refuse")
    (said,) = _found(home, PersonSaid)
    assert said.words == "I looked"
    assert said.remedy not in {one.remedy for one in _found(home, RemedyDone)}
    assert [one.differences for one in replay(home)] == [()]


@pytest.mark.parametrize(
    "bomb",
    [
        KillAround("PersonSaid", after=False),
        KillAround("PersonSaid", after=True),
        KillAround("take", after=False),
        KillAround("take", after=True),
        KillAround("Remedy", after=True),
        KillAround("RemedyDone", after=False),
    ],
    ids=repr,
)
def test_death_around_a_persons_word_changes_nothing(tmp_path, accepted, bomb):
    home = tmp_path / "run"
    assert _run(home, "accept", [bomb]) == accepted[1]
    assert len(_found(home, PersonSaid)) == len(_found(home, RemedyDone)) == 1
    assert Inbox(home).waiting() == []
    assert [one.differences for one in replay(home)] == [()]
