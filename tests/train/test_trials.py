"""Candidates are tried for a few updates each, and the run does not feel it."""

import math

import pytest

from steadytrain import journal
from steadytrain.actions import RollBack, ScaleLearningRate, SkipDraws
from steadytrain.events import StepRecord, TrialDone, TrialWanted
from steadytrain.train.schedule import WarmupStableDecay
from tests import rig

ONSET, NOW, UPDATES = 48, 50, 6
GENTLE = (RollBack(to_step=46),)
WILD = (
    RollBack(to_step=46),
    ScaleLearningRate(factor=1e4, from_step=46, hold_steps=50, rewarm_steps=1),
)
TOO_FAR = (RollBack(to_step=0),)
NEW_DATA = (RollBack(to_step=46), SkipDraws(ranges=((47 * 12, 50 * 12),), from_step=46))


def _train(home, candidates, **changes):
    """Train to the end; before one update, try candidates as the judge would ask for it."""
    model, optimizer, guarded = rig.session(home, steps=60, **changes)
    done = None
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            if candidates and run.step_number == NOW and done is None:
                run._hear()
                wanted = TrialWanted(
                    incident="incident-1", step=NOW - 1, due=NOW + 1, onset=ONSET,
                    candidates=candidates, updates=UPDATES,
                )  # fmt: skip
                run._deeds.pending.append(wanted)
                run._deeds.obey(NOW + 1, draws=run._draws, first_draw=run._first_draw)
                done = True
            run.step()
    found = [one for one in journal.read(home) if isinstance(one, TrialDone)]
    return rig.digest(model, optimizer), found[0] if found else None


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    return _train(tmp_path_factory.mktemp("tried") / "r", (GENTLE, WILD, TOO_FAR, NEW_DATA))


def test_the_run_goes_on_as_if_nothing_had_been_tried(tried, tmp_path):
    assert _train(tmp_path / "r", ())[0] == tried[0]


def test_a_candidate_that_changes_nothing_gives_the_losses_that_the_run_had(tried, tmp_path):
    rig.train(tmp_path / "r", steps=60)
    records = {one.step: one for one in journal.read(tmp_path / "r") if isinstance(one, StepRecord)}
    expected = [records[step].loss for step in range(ONSET, ONSET + UPDATES)]
    gentle = tried[1].trials[0]
    assert gentle.plan == GENTLE
    assert gentle.losses == pytest.approx(expected, rel=1e-5)  # float32 means of 64 tokens


def test_a_candidate_that_does_harm_is_seen_to(tried):
    gentle, wild = tried[1].trials[:2]
    assert not wild.control <= 2 * gentle.control
    assert gentle.control < tried[1].control_before < 1.5 * gentle.control


def test_what_lies_too_far_back_is_not_tried(tried):
    assert TOO_FAR not in [one.plan for one in tried[1].trials]


def test_data_that_a_candidate_leaves_out_are_left_out(tried):
    last = tried[1].trials[-1]
    assert last.plan == NEW_DATA
    assert last.losses != tried[1].trials[0].losses
    assert all(math.isfinite(one) for one in last.losses)


def test_without_a_schedule_a_factor_counts_once_and_not_again_at_every_update(tmp_path):
    half = (
        RollBack(to_step=46),
        ScaleLearningRate(factor=0.5, from_step=46, hold_steps=50, rewarm_steps=1),
    )
    constant = WarmupStableDecay(peak=3e-3, steps=60, warmup=0, decay=0)
    (planned,) = _train(tmp_path / "planned", (half,), schedule=constant)[1].trials
    (unplanned,) = _train(tmp_path / "unplanned", (half,), schedule=None)[1].trials
    assert unplanned.losses == planned.losses
