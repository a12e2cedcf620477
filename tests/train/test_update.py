"""Remedies in force: they change the run, cost no sync, and a restart repeats them to the bit."""

import functools

import pytest
import torch

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
    SkipDraws,
)
from steadytrain.events import Remedy, RemedyDone, StepRecord
from steadytrain.judge.judge import Judge
from steadytrain.judge.state import amend
from steadytrain.train import Feed, Session, abilities, clipping
from steadytrain.train.gate import Gate
from steadytrain.train.hands import Settings
from steadytrain.train.update import Update
from tests import rig
from tests.train.test_session import _CountSyncs

DUE = 16
STEPS = 32
QUICK = {"panel": None, "clip": 20.0, "provenance": False, "read_texts": False}

REMEDIES = {
    "zclip": (SetClipping(method="zclip", from_step=DUE),),
    "adagc": (SetClipping(method="adagc", from_step=DUE, hold_steps=12),),
    "spikes": (SetClipping(method="spikes", from_step=DUE),),
    "reset": (
        ResetMoments(from_step=DUE + 7),
        ScaleLearningRate(factor=0.1, from_step=DUE + 7, hold_steps=2, rewarm_steps=8),
    ),
    "limit": (LimitUpdates(from_step=DUE, hold_steps=14),),
    "z-loss": (SetZLoss(coefficient=0.1, from_step=DUE, hold_steps=6, relax_steps=8),),
    "z-loss at once": (SetZLoss(coefficient=0.1, from_step=DUE - 1),),
    "max z-loss": (SetZLoss(coefficient=0.1, from_step=DUE, form="max"),),
    "shallow": (ScaleShallowGradients(alpha=0.1, from_step=DUE, hold_steps=6, relax_steps=9),),
    "epsilon": (ScaleEpsilon(factor=1e4, from_step=DUE),),
}
TOGETHER = (
    ("zclip", "limit", "z-loss", "shallow"),
    ("adagc", "reset", "epsilon", "max z-loss"),
    ("spikes", "z-loss at once"),
)


class Doctor(Judge, frozen=True):
    """Gives its plans at their steps, whatever happens, and notices nothing."""

    plans: tuple[tuple[int, tuple[SetClipping | SetZLoss | LimitUpdates | SkipDraws | ResetMoments
        | ScaleLearningRate | ScaleEpsilon | ScaleShallowGradients | Cancel, ...]], ...] = ()  # fmt: skip

    def _step(self, state, record):
        if record.step <= state.step:
            return state, ()
        state = amend(state, step=record.step)
        given = [
            Remedy(
                id=f"remedy-{at}", incident="i", step=at, due=at + 2, rung=0, cause="c",
                plan=plan, why="w",
            )
            for at, plan in self.plans
            if at == record.step
        ]  # fmt: skip
        return state, tuple(given)

    def _done(self, state, event):
        return state, ()


@pytest.fixture(autouse=True)
def short_warm_up(monkeypatch):
    monkeypatch.setattr(clipping, "ZClip", functools.partial(clipping.ZClip, warmup=8, sigmas=0.5))
    monkeypatch.setattr(clipping, "AdaGC", functools.partial(clipping.AdaGC, warmup=8))


def session(home, plan, **changes):
    """The run that is given one remedy; its gradients spike now and then."""
    plans = plan if plan and isinstance(plan[0], tuple) else ((DUE - 2, plan),)
    doctor = Doctor(plans=plans)
    return rig.session(home, steps=STEPS, **(QUICK | {"judge": doctor} | changes))


def disturb(model, step):
    if step > DUE and step % 5 == 3:
        model.head.weight.grad[0] *= 50.0
        model.embed.weight.grad[7, 3] += 900.0
    if step == 24:
        model.head.weight.grad[0, 0] = float("nan")


def go(home, plan, *, stop_at=None, seen=lambda run, batch: None, **changes):
    """Train, to the end or to a step; returns what weights, moments and thresholds are then."""
    model, optimizer, guarded = session(home, plan, **changes)
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            disturb(model, run.step_number + 1)
            run.step()
            if run.step_number == stop_at:
                seen(run, batch)
                break
    learned = {name: one.tolist() for name, one in run._making.learned.items()}
    return rig.digest(model, optimizer) | learned


@pytest.fixture(scope="module")
def untreated(tmp_path_factory):
    return go(tmp_path_factory.mktemp("plain") / "r", ())


def plan_of(names):
    return tuple(action for name in names for action in REMEDIES[name])


@pytest.mark.parametrize("name", REMEDIES)
def test_a_remedy_changes_the_run_without_a_host_sync(name, tmp_path, untreated):
    model, optimizer, guarded = session(
        tmp_path / "r", REMEDIES[name], checkpoint_every=100, snapshot_every=100
    )
    counts = {}
    with guarded as run:
        for batch in run:
            logits = model(batch.tokens_BT)
            with _CountSyncs() as counter:
                run.backward(logits, batch)
                disturb(model, run.step_number + 1)
                run.step()
            counts[run.step_number] = counter.found
    # The first update makes the optimizer's state, the second compares what the run began with;
    # the last one ends the run.
    assert [step for step in range(3, STEPS) if counts[step]] == []
    assert rig.digest(model, optimizer)["weights"] != untreated["weights"]


@pytest.mark.parametrize("names", TOGETHER, ids="+".join)
def test_a_restart_in_the_middle_of_a_remedy_repeats_it_to_the_bit(names, tmp_path):
    whole = go(tmp_path / "whole", plan_of(names))
    for stop_at in (DUE + 1, 27):  # back to step 10, before the remedy, and to 20, inside of it
        home = tmp_path / f"stopped-{stop_at}"
        go(home, plan_of(names), stop_at=stop_at)
        assert go(home, plan_of(names)) == whole, stop_at
    done = [one for one in journal.read(tmp_path / "whole") if isinstance(one, RemedyDone)]
    assert len(done) == 1


@pytest.mark.parametrize("names", TOGETHER, ids="+".join)
def test_steps_made_again_under_a_remedy_come_out_as_recorded(names, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.train.test_update.disturb", lambda model, step: None)
    found = []

    def look(run, batch):
        run._hear()
        before = run._trajectory.snapshots.newest_at_or_before(14)
        flights = run._trajectory.recorder.between(before.step + 1, 29)
        kept = {name: one.clone() for name, one in run._making.learned.items()}
        reruns = run._deeds._examiner._reruns
        found.append(reruns.remake(before, flights, onset=27, control=lambda: 0.0))
        assert all(torch.equal(kept[name], one) for name, one in run._making.learned.items())

    go(tmp_path / "r", plan_of(names), stop_at=29, seen=look, snapshots=8)
    [remade] = found
    assert (remade.differs_at, remade.weights_differ, remade.moments_differ) == (None, 0, 0)


def test_moments_that_a_remedy_has_reset_are_no_mark_of_damage(tmp_path):
    found = []

    def look(run, batch):
        run._hear()
        before = run._trajectory.snapshots.newest_at_or_before(20)
        examiner = run._deeds._examiner
        flights = run._trajectory.recorder.between(before.step + 1, 27)
        found.append(examiner._look_for_marks(before, 27))
        found.append(examiner._marks.impossible(before, flights, was_reset=False))

    go(tmp_path / "r", REMEDIES["reset"], stop_at=27, seen=look)
    excused, accused = found
    assert accused["moment_excess"] > 1
    assert (excused["moment_excess"], excused["moments_lost"]) == (0, 0)


def test_draws_that_were_left_out_come_again_when_that_is_cancelled(tmp_path):
    def draws_of(home):
        records = [one for one in journal.read(home) if isinstance(one, StepRecord)]
        kept = {one.step: (one.draw, one.draw_end) for one in records}
        return [kept[step] for step in range(20, 31)]

    begin = 20 * rig.BATCH
    skip = SkipDraws(ranges=((begin, begin + 1), (begin + 120, begin + 121)), from_step=DUE)
    plans = ((DUE - 2, (skip,)), (23, (Cancel(remedy=f"remedy-{DUE - 2}", from_step=25),)))
    whole = go(tmp_path / "whole", plans)
    spans = draws_of(tmp_path / "whole")
    assert [end - first for first, end in spans] == [12, 13, *[12] * 9]
    go(tmp_path / "r", plans, stop_at=28)
    assert go(tmp_path / "r", plans) == whole


def test_a_cancelled_setting_ends_at_its_step(tmp_path, untreated):
    (shallow,) = REMEDIES["shallow"]
    plans = ((DUE - 2, (shallow,)), (DUE - 1, (Cancel(remedy=f"remedy-{DUE - 2}", from_step=DUE),)))
    assert go(tmp_path / "r", plans)["weights"] == untreated["weights"]


def test_the_largest_logit_is_pulled_down(tmp_path):
    sizes = {}
    for name in ("max z-loss", "z-loss"):
        model, _, guarded = session(tmp_path / name, (SetZLoss(
            coefficient=0.1, from_step=2, form="max" if name == "max z-loss" else "logsumexp"),))  # fmt: skip
        with guarded as run:
            for batch in run:
                logits = model(batch.tokens_BT)
                run.backward(logits, batch)
                run.step()
        sizes[name] = (logits.amax(-1).square().mean().item(), run)
        records = [one for one in journal.read(tmp_path / name) if isinstance(one, StepRecord)]
        assert (records[-1].z_loss is None) == (name == "max z-loss")
    assert sizes["max z-loss"][0] < sizes["z-loss"][0]


def slow_update(model, optimizer, clip):
    """What an update does without a remedy, in torch's own words."""
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_without_remedies_an_update_is_the_optimizers_own(kind, clip):
    torch.manual_seed(0)
    model, twin = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    twin.load_state_dict(model.state_dict())
    optimizer, other = kind(model.parameters(), lr=0.1), kind(twin.parameters(), lr=0.1)
    update = Update(model, optimizer, Gate(optimizer, torch.device("cpu")), clip=clip)
    for _ in range(5):
        grad = torch.randn(3, 4)
        for one in (model, twin):
            one.weight.grad, one.bias.grad = grad.clone(), None  # one tensor without a gradient
        norms = update.measure(Settings())
        assert norms.tensor_P.tolist() == pytest.approx([grad.norm().item(), 0.0])
        update.land(norms, Settings(), torch.tensor(1.0))
        slow_update(twin, other, clip or 1e9)
        assert torch.equal(model.weight, twin.weight)


def test_what_cannot_be_carried_out_is_said_in_words():
    model = rig.Transformer(rig.Config(width=16, layers=2, heads=2, context=8), seed=0)
    adam = torch.optim.AdamW(model.parameters())
    assert abilities.cannot(adam, model, world=2, has_schedule=True) == {}
    assert set(abilities.can(adam, model, world=2, has_schedule=True)) == set(abilities.ACTIONS)
    plain = torch.nn.Linear(2, 2)
    sgd = torch.optim.SGD(plain.parameters(), lr=0.1)
    missing = abilities.cannot(sgd, plain, world=1, has_schedule=False)
    assert set(missing) == {
        "ScaleEpsilon", "ResetMoments", "LimitUpdates", "SetClipping:spikes",
        "ScaleShallowGradients", "BeginDecay", "ExcludeRank", "LeaveHost",
    }  # fmt: skip
    assert missing["LimitUpdates"].startswith("SGD is not known to keep")
    able = abilities.can(
        sgd, plain, world=1, has_schedule=False, refused={"ClipAttention": "no attention"}
    )
    assert {"SetClipping", "RollBack", "AskPerson", "Cancel"} <= set(able)
    assert not {*missing, "ClipAttention"} & set(able)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="PyTorch 2.9 and later have Muon")
def test_muons_epsilon_is_not_adams():
    weight = torch.nn.Parameter(torch.ones(4, 4))
    muon = torch.optim.Muon([weight], lr=0.1)
    model = torch.nn.ParameterList([weight])
    missing = abilities.cannot(muon, model, world=1, has_schedule=True)
    assert "ScaleEpsilon" in missing


def test_a_run_says_at_its_beginning_what_it_can_do(tmp_path):
    go(tmp_path / "r", (), stop_at=2)
    began = next(iter(journal.read(tmp_path / "r")))
    assert "LimitUpdates" in began.can
    assert "ExcludeRank" not in began.can


def test_accumulated_micro_batches_are_treated_once(tmp_path):
    model, optimizer, _ = rig.session(tmp_path / "unused", steps=4)
    feed = Feed(rig.Words(), batch_size=4, accumulate=3)
    doctor = Doctor(plans=((2, (SetZLoss(coefficient=0.1, from_step=3),)),))
    guarded = Session(
        model, optimizer, feed, home=tmp_path / "r", steps=8, fence=False, judge=doctor
    )
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
    records = {one.step: one for one in journal.read(tmp_path / "r") if isinstance(one, StepRecord)}
    assert [records[step].z_loss is not None for step in range(2, 7)] == [False] * 2 + [True] * 3
