"""Kill -9 while settings of remedies hold: moments reset once, thresholds, factors, added losses.

The finished run equals, bit for bit, one that was never killed, and every restored state is as the
journal says, the counters of an optimizer that was reset included.
"""

import json
import multiprocessing
import os
import random
import signal

import pytest

from steadytrain import journal
from steadytrain.actions import (
    Cancel,
    LimitUpdates,
    ResetMoments,
    ScaleEpsilon,
    ScaleLearningRate,
    ScaleShallowGradients,
    SetClipping,
    SetZLoss,
)
from steadytrain.events import PersonSaid, Remedy, RemedyDone, RestoreVerified
from steadytrain.replaying import replay
from steadytrain.train import Session
from tests import rig
from tests.faults.test_exactness import KillAtEvent

STEPS = 60
SAID_AFTER = 22
BEGIN = 24

PLANS = {
    "moments": (
        ResetMoments(from_step=BEGIN),
        ScaleLearningRate(factor=0.5, from_step=BEGIN, hold_steps=4, rewarm_steps=16),
        ScaleEpsilon(factor=0.1, from_step=BEGIN),
        LimitUpdates(from_step=BEGIN, hold_steps=20),
    ),
    "gradients": (
        SetClipping(method="zclip", from_step=BEGIN, hold_steps=20),
        ScaleShallowGradients(alpha=0.1, from_step=BEGIN, hold_steps=4, relax_steps=16),
        SetZLoss(coefficient=1e-3, from_step=BEGIN, form="max", hold_steps=8, relax_steps=8),
    ),
}

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["tests.rig"])


def _live(home, out, name, bomb):
    """One life of a run that a person gives an order; said once, whatever life it is."""
    if bomb is not None:
        bomb()
    model, optimizer, guarded = rig.session(home, steps=STEPS)
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
            _say(run, SAID_AFTER, PersonSaid(
                id="1", who="ada", verb="order", step=SAID_AFTER, plan=PLANS[name]
            ))  # fmt: skip
            _say(run, SAID_AFTER + 20, PersonSaid(
                id="2", who="ada", verb="order", step=SAID_AFTER + 20,
                plan=(Cancel(remedy="remedy-1", from_step=BEGIN + 20),),
            ))  # fmt: skip
    out.write_text(json.dumps(rig.digest(model, optimizer)))


def _say(run, step, said):
    if run.step_number == step and said.id not in run._memory.standing.said:
        run._memory.tell(said)


def _run(home, name, bombs=()):
    out = home.parent / f"{home.name}.json"
    for bomb in [*bombs, None]:
        life = _server.Process(target=_live, args=(home, out, name, bomb))
        life.start()
        life.join(120)
        assert life.exitcode == (0 if bomb is None else -signal.SIGKILL)
    return json.loads(out.read_text())


def of(home, kind):
    return [one for one in journal.read(home) if isinstance(one, kind)]


class KillAfterStep:
    """Die as soon as an update has been made."""

    def __init__(self, step):
        self.step = step

    def __repr__(self):
        return f"after update {self.step}"

    def __call__(self):
        real = Session.step

        def step(run):
            real(run)
            if run.step_number == self.step:
                run._trajectory.finish_saving()
                os.kill(os.getpid(), signal.SIGKILL)

        Session.step = step


@pytest.fixture(scope="module", params=PLANS)
def unbroken(request, tmp_path_factory):
    home = tmp_path_factory.mktemp(request.param) / "run"
    digests = _run(home, request.param)
    return request.param, home, digests


def _assert_exact(tmp_path, unbroken, bombs):
    name, whole, digests = unbroken
    home = tmp_path / "run"
    assert _run(home, name, bombs) == digests
    assert rig.losses(home) == rig.losses(whole)
    assert [one.differences for one in replay(home)] == [()]
    found = [one for one in of(home, RestoreVerified) if one.source != "rehearsal"]
    assert all(one.differences == () for one in found)
    assert all("step count" in one.checked for one in found)


def test_the_orders_are_carried_out(unbroken):
    name, home, _ = unbroken
    first, second = of(home, Remedy)
    assert first.plan == PLANS[name]
    assert len(of(home, RemedyDone)) == 2
    assert isinstance(second.plan[0], Cancel)


@pytest.mark.parametrize(
    "bomb",
    [
        KillAtEvent(Remedy, after=True),
        KillAtEvent(RemedyDone, after=False),
        KillAfterStep(BEGIN + 3),  # back to before the settings began
        KillAfterStep(BEGIN + 13),  # back to a state in which they hold
    ],
    ids=repr,
)
def test_death_while_settings_hold(tmp_path, unbroken, bomb):
    _assert_exact(tmp_path, unbroken, [bomb])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_three_deaths_at_random_updates(tmp_path, unbroken, seed):
    chance = random.Random(seed)
    steps = sorted(chance.sample(range(2, STEPS - 1), 3))
    _assert_exact(tmp_path, unbroken, [KillAfterStep(step) for step in steps])
